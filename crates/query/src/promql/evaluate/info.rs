//! `info(v, {selector})`: adds the data labels of info metrics to the series of `v` that they identify.

use model::{Error, LabelsBuilder, METRIC_NAME, MatchOp, Matcher, Result};
use rustc_hash::FxHashMap;

use super::Evaluator;
use crate::promql::ast::{Expr, Kind};
use crate::vector::binary::braced;
use crate::vector::{Grid, Row, is_present, merge};

/// Labels that series of one target have in common with its info metrics.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// The info metric when none is named.
const DEFAULT_NAME: &str = "target_info";

/// `(instance, job)`.
type Identity = [String; 2];

/// The second argument.
struct Wanted {
    /// On the name of the info metric.
    names: Vec<Matcher>,
    /// On its data labels; when there are any, only those labels are added.
    data: Vec<Matcher>,
}

impl Wanted {
    fn new(selector: Option<&Expr>) -> Self {
        let matchers = match selector.map(|s| &s.kind) {
            Some(Kind::Selector(s)) => s.matchers.clone(),
            _ => Vec::new(),
        };
        let (mut names, data): (Vec<_>, Vec<_>) =
            matchers.into_iter().partition(|m| m.name() == METRIC_NAME);
        if !names.iter().any(|m| matches!(m.op(), MatchOp::Equal | MatchOp::Regex)) {
            names.push(Matcher::equal(METRIC_NAME, DEFAULT_NAME));
        }
        Self { names, data }
    }

    fn adds(&self, label: &str) -> bool {
        label != METRIC_NAME
            && !IDENTIFYING.contains(&label)
            && (self.data.is_empty() || self.data.iter().any(|m| m.name() == label))
    }
}

impl Evaluator<'_> {
    /// `info(v)` and `info(v, {selector})`.
    pub(super) fn info_call(&mut self, args: &[Expr], grid: Grid) -> Result<Vec<Row>> {
        let [base, rest @ ..] = args else { return Ok(Vec::new()) };
        let wanted = Wanted::new(rest.first());
        let rows = self.eval_vector(base, grid)?;
        let matchers = wanted.names.iter().chain(&wanted.data).cloned().collect();
        let times = self.reference_grid(base, grid)?;
        let infos = self.picked_times(matchers, times)?;
        let mut by_identity: FxHashMap<Identity, Vec<usize>> = FxHashMap::default();
        for (index, info) in infos.iter().enumerate() {
            by_identity.entry(identity(info)).or_default().push(index);
        }
        let mut result = Vec::new();
        for row in rows {
            self.budget.check()?;
            if wanted.names.iter().all(|m| m.matches_labels(&row.labels)) {
                result.push(row);
                continue;
            }
            let own = identity(&row);
            let found = by_identity.get(&own).filter(|_| own.iter().any(|part| !part.is_empty()));
            let candidates: Vec<&Row> = found.into_iter().flatten().map(|i| &infos[*i]).collect();
            enrich(&row, &candidates, &wanted, &mut result)?;
        }
        self.charge_rows(result.len(), grid.count)?;
        merge(result)
    }

    /// The times at which the samples behind `expr` were read: info metrics are looked up there too.
    fn reference_grid(&self, expr: &Expr, grid: Grid) -> Result<Grid> {
        Ok(match &expr.kind {
            Kind::Number(_) | Kind::Text { .. } => grid,
            Kind::Paren(inner) | Kind::Unary { inner, .. } => self.reference_grid(inner, grid)?,
            Kind::Binary(b) => self.reference_grid(&b.left, grid)?,
            Kind::Selector(s) | Kind::Range { selector: s, .. } => {
                self.shifted(grid, self.at_ms(s.at), s.offset.as_ref())?
            }
            Kind::Subquery(s) => {
                let outer = self.shifted(grid, self.at_ms(s.at), s.offset.as_ref())?;
                self.reference_grid(&s.inner, outer)?
            }
            Kind::Call { args, .. } => {
                let vector =
                    args.iter().find(|a| !matches!(a.kind, Kind::Number(_) | Kind::Text { .. }));
                vector.map_or(Ok(grid), |arg| self.reference_grid(arg, grid))?
            }
            Kind::Aggregate(a) => self.reference_grid(&a.inner, grid)?,
        })
    }
}

fn identity(row: &Row) -> Identity {
    IDENTIFYING.map(|name| row.labels.get(name).unwrap_or("").to_owned())
}

/// Splits `row` by what info metrics say about it over time.
fn enrich(row: &Row, candidates: &[&Row], wanted: &Wanted, result: &mut Vec<Row>) -> Result<()> {
    let must_match = wanted.data.iter().any(|m| !m.matches_empty());
    // Output rows of this series by the info series in force.
    let mut places: FxHashMap<Vec<usize>, usize> = FxHashMap::default();
    for step in (0..row.values.len()).filter(|step| row.is_present(*step)) {
        let chosen = newest_per_name(candidates, step)?;
        if chosen.is_empty() && must_match {
            continue;
        }
        let place = match places.get(&chosen) {
            Some(place) => *place,
            None => {
                let labels = enriched(row, candidates, &chosen, wanted)?;
                result.push(Row::empty(labels, row.drop_name, row.values.len()));
                places.insert(chosen, result.len() - 1);
                result.len() - 1
            }
        };
        result[place].copy_step(row, step);
    }
    Ok(())
}

/// For each info metric name, the series with the latest sample at `step`; places among `candidates`.
fn newest_per_name(candidates: &[&Row], step: usize) -> Result<Vec<usize>> {
    let mut chosen: Vec<usize> = Vec::new();
    for (index, info) in candidates.iter().enumerate() {
        if info.histogram(step).is_some() {
            return Err(Error::invalid("info sample should be float"));
        }
        let time = info.values[step];
        if !is_present(time) {
            continue;
        }
        let name = info.labels.metric_name();
        let rival = chosen.iter_mut().find(|c| candidates[**c].labels.metric_name() == name);
        match rival {
            None => chosen.push(index),
            Some(rival) if candidates[*rival].values[step] < time => *rival = index,
            Some(rival) if candidates[*rival].values[step] == time => {
                return Err(Error::invalid(format!(
                    "found duplicate series for info metric: existing {} @ {time}, new {} @ {time}",
                    braced(&candidates[*rival].labels),
                    braced(&info.labels)
                )));
            }
            Some(_) => {}
        }
    }
    Ok(chosen)
}

fn enriched(
    row: &Row,
    candidates: &[&Row],
    chosen: &[usize],
    wanted: &Wanted,
) -> Result<model::Labels> {
    let mut added = LabelsBuilder::default();
    for index in chosen {
        for (name, value) in candidates[*index].labels.iter() {
            if !wanted.adds(name) || row.labels.get(name).is_some() {
                continue;
            }
            let before = added.get(name);
            if !before.is_empty() && before != value {
                return Err(Error::invalid(format!("conflicting label: {name}")));
            }
            added.set(name, value);
        }
    }
    let mut labels = row.labels.to_builder();
    added.pairs().for_each(|(name, value)| labels.set(name, value));
    Ok(labels.build())
}

//! Metrics over spans: series over time of how many there were and what values they had.
//!
//! A span counts at its start. Steps are aligned to multiples of their length, and a point at `t` is about the spans of
//! `[t - step, t)`; an instant query is one step from start to end. Nothing is sampled. Does not own: which spans count
//! (`spansets`), what one cell holds (`cells`), `compare` (`split`), operations on finished series (`combine`).

mod cells;
mod combine;
mod split;

use std::collections::HashMap;
use std::ops::ControlFlow;

use model::{Budget, Error, ErrorKind, Result, TimeRange, Trace, TraceSource};

use self::cells::Cells;
use self::split::Sides;
use super::Query;
use super::ast::{Aggregate, Function, Metric, Root, SpanMetric};
use super::demand::Demand;
use super::field::Field;
use super::spansets;
use super::value::Value;
use super::view::View;

/// Points of one series.
const POINTS_MAX: i64 = 11_000;

/// When to look.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Unix nanoseconds, UTC.
    pub start_ns: i64,
    /// Unix nanoseconds, UTC; after the start.
    pub end_ns: i64,
    /// Nanoseconds from point to point; 0 for one point at the end, about all the time.
    pub step_ns: i64,
    /// Exemplars at most, of all series together.
    pub exemplars: usize,
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it is of, in the order of the query.
    pub labels: Vec<(String, Value<'static>)>,
    /// Unix nanoseconds and value, ascending.
    pub points: Vec<(i64, f64)>,
    /// Some of the spans it was made of.
    pub exemplars: Vec<Exemplar>,
}

/// A span that a point was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// 128-bit trace id.
    pub trace_id: u128,
    /// 64-bit span id.
    pub span_id: u64,
    /// Start of the span, Unix nanoseconds, UTC.
    pub t_ns: i64,
    /// Its value; that of the point where spans are counted.
    pub value: f64,
}

/// Steps of equal length.
#[derive(Debug, Clone, Copy)]
struct Steps {
    start_ns: i64,
    step_ns: i64,
    count: usize,
}

impl Steps {
    fn new(times: &Times) -> Result<Self> {
        let Times { start_ns, end_ns, step_ns, .. } = *times;
        if end_ns <= start_ns || step_ns < 0 {
            return Err(Error::invalid(format!(
                "the end of a metrics query ({end_ns}) must be after its start ({start_ns}), and its step not negative"
            )));
        }
        let span_ns = end_ns.checked_sub(start_ns).ok_or_else(|| {
            Error::invalid("start and end of a metrics query are over 292 years apart")
        })?;
        if step_ns == 0 {
            return Ok(Self { start_ns, step_ns: span_ns, count: 1 });
        }
        let aligned_ns = start_ns.saturating_sub(start_ns.rem_euclid(step_ns));
        let count = end_ns.saturating_sub(aligned_ns).saturating_sub(1) / step_ns + 1;
        if count > POINTS_MAX {
            return Err(Error::invalid(format!(
                "{count} points in each series; the limit is {POINTS_MAX}: take a longer step or a shorter range"
            )));
        }
        Ok(Self { start_ns: aligned_ns, step_ns, count: count as usize })
    }

    fn range(&self) -> TimeRange {
        TimeRange::new(self.start_ns, self.t_ns(self.count - 1))
    }

    /// The step that `t_ns` is in.
    fn index(&self, t_ns: i64) -> Option<usize> {
        let index = usize::try_from(t_ns.checked_sub(self.start_ns)? / self.step_ns).ok()?;
        (t_ns >= self.start_ns && index < self.count).then_some(index)
    }

    /// Where the point of step `index` stands.
    fn t_ns(&self, index: usize) -> i64 {
        self.start_ns.saturating_add(self.step_ns.saturating_mul(index as i64 + 1))
    }
}

/// Evaluates a metrics query over `source`.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) when the query is a search, or the times make no steps; [`Limit`](ErrorKind::Limit) or
/// [`Cancelled`](ErrorKind::Cancelled) from `budget`; failures of `source`.
pub fn metrics(
    source: &dyn TraceSource,
    query: &Query,
    times: &Times,
    budget: &Budget,
) -> Result<Vec<Series>> {
    let Root::Metrics(metric) = &query.root else {
        return Err(Error::invalid(
            "the query has no metric: end it with a function of the spans, as in {} | rate()",
        ));
    };
    let steps = Steps::new(times)?;
    let exemplars = match query.hint("exemplars") {
        Some(Value::Bool(false)) => 0,
        Some(Value::Int(count)) => usize::try_from(*count).unwrap_or(0).min(times.exemplars),
        _ => times.exemplars,
    };
    let context = Context { source, steps, exemplars, budget };
    let mut series = context.evaluate(metric)?;
    series.retain(|series| !series.points.is_empty());
    Ok(series)
}

struct Context<'q> {
    source: &'q dyn TraceSource,
    steps: Steps,
    exemplars: usize,
    budget: &'q Budget,
}

impl Context<'_> {
    fn evaluate(&self, metric: &Metric) -> Result<Vec<Series>> {
        self.budget.check()?;
        match metric {
            Metric::Spans(metric) => self.spans(metric),
            Metric::Extreme { of, count, is_top } => {
                Ok(combine::extremes(self.evaluate(of)?, *count, *is_top))
            }
            Metric::Filter(comparison, of, number) => {
                Ok(combine::filter(self.evaluate(of)?, *comparison, *number))
            }
            Metric::Calculate(op, left, right) => match (&**left, &**right) {
                (Metric::Number(number), of) => {
                    Ok(combine::map(self.evaluate(of)?, |value| op.on_floats(*number, value)))
                }
                (of, Metric::Number(number)) => {
                    Ok(combine::map(self.evaluate(of)?, |value| op.on_floats(value, *number)))
                }
                (left, right) => {
                    let (left, right) = (self.evaluate(left)?, self.evaluate(right)?);
                    Ok(combine::join(left, right, |l, r| op.on_floats(l, r)))
                }
            },
            Metric::Number(_) => Err(Error::new(ErrorKind::Bug, "a number alone is no series")),
        }
    }

    fn spans(&self, metric: &SpanMetric) -> Result<Vec<Series>> {
        let mut demand = Demand::default();
        demand.stages(&metric.stages);
        metric.by.iter().for_each(|field| demand.field(field));
        match &metric.function {
            Function::Rate | Function::CountOverTime => {}
            Function::OverTime(_, field)
            | Function::Quantile(field, _)
            | Function::Histogram(field) => demand.field(field),
            Function::Compare(split) => {
                demand.expr(&split.selection);
                demand.all_attributes = true;
                // The root of the trace is compared, too.
                demand.is_whole = true;
            }
        }
        let plan = demand.plan(&metric.stages, self.steps.range());
        let mut gathered = match &metric.function {
            Function::Compare(split) => Gathered::Sides(Sides::new(split)),
            _ => Gathered::Groups(Groups::default()),
        };
        let mut failure = None;
        self.source.scan(&plan, self.budget, &mut |trace| match self.gather(
            trace,
            metric,
            &mut gathered,
        ) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failure = Some(e);
                ControlFlow::Break(())
            }
        })?;
        if let Some(e) = failure {
            return Err(e);
        }
        Ok(match gathered {
            Gathered::Sides(sides) => sides.finish(&self.steps),
            Gathered::Groups(groups) => groups.finish(metric, &self.steps, self.exemplars),
        })
    }

    fn gather(
        &self,
        trace: &Trace,
        metric: &SpanMetric,
        gathered: &mut Gathered<'_>,
    ) -> Result<()> {
        self.budget.check()?;
        let view = View::paid(trace, self.budget)?;
        for set in spansets::run(&view, &metric.stages)? {
            for span in set.spans {
                let Some(step) = self.steps.index(view.span(span).start_ns) else { continue };
                match gathered {
                    Gathered::Sides(sides) => {
                        sides.add(&view, span, step, self.steps.count, self.budget)?;
                    }
                    Gathered::Groups(groups) => {
                        groups.add(metric, &view, span, step, self.steps.count, self.budget)?;
                    }
                }
            }
        }
        Ok(())
    }
}

enum Gathered<'m> {
    Sides(Sides<'m>),
    Groups(Groups),
}

/// Cells of each group of spans.
#[derive(Default)]
struct Groups {
    by_key: HashMap<String, usize, rustc_hash::FxBuildHasher>,
    all: Vec<Group>,
    key: String,
}

struct Group {
    labels: Vec<(String, Value<'static>)>,
    cells: Cells,
    /// One for each step that has spans: the first that came.
    exemplars: Vec<(usize, Exemplar)>,
}

/// Numbers of a field, durations in seconds.
fn numbers(value: &Value<'_>, f: &mut dyn FnMut(f64)) {
    match value {
        Value::Duration(ns) => f(*ns as f64 / 1e9),
        Value::Many(all) => all.iter().for_each(|value| numbers(value, f)),
        other => {
            if let Some(number) = other.number().filter(|number| !number.is_nan()) {
                f(number);
            }
        }
    }
}

impl Groups {
    fn add(
        &mut self,
        metric: &SpanMetric,
        view: &View<'_>,
        span: u32,
        step: usize,
        steps: usize,
        budget: &Budget,
    ) -> Result<()> {
        let field: Option<&Field> = match &metric.function {
            Function::OverTime(_, field)
            | Function::Quantile(field, _)
            | Function::Histogram(field) => Some(field),
            Function::Rate | Function::CountOverTime | Function::Compare(_) => None,
        };
        let mut values = Vec::new();
        if let Some(field) = field {
            numbers(&view.value(span, field), &mut |number| values.push(number));
            if values.is_empty() {
                return Ok(());
            }
        }
        let group = self.group(metric, view, span, steps, budget)?;
        let before = group.cells.memory_bytes();
        match field {
            None => group.cells.add(step, 1.0),
            Some(_) => values.iter().for_each(|value| group.cells.add(step, *value)),
        }
        let grown = group.cells.memory_bytes().saturating_sub(before);
        if grown > 0 {
            budget.charge_bytes(grown as u64)?;
        }
        if !group.exemplars.iter().any(|(known, _)| *known == step) {
            let of = view.span(span);
            let value = values.first().copied().unwrap_or(f64::NAN);
            let (trace_id, span_id, t_ns) = (of.trace_id, of.span_id, of.start_ns);
            group.exemplars.push((step, Exemplar { trace_id, span_id, t_ns, value }));
        }
        Ok(())
    }

    fn group(
        &mut self,
        metric: &SpanMetric,
        view: &View<'_>,
        span: u32,
        steps: usize,
        budget: &Budget,
    ) -> Result<&mut Group> {
        use std::fmt::Write as _;
        self.key.clear();
        for field in &metric.by {
            let _infallible = write!(self.key, "{:?}\0", view.value(span, field));
        }
        let at = match self.by_key.get(&self.key) {
            Some(at) => *at,
            None => {
                let label =
                    |field: &Field| (field.text.clone(), view.value(span, field).into_owned());
                let labels: Vec<_> = metric.by.iter().map(label).collect();
                let cells = Cells::new(&metric.function, steps);
                let bytes = cells.memory_bytes() + steps.min(64) * size_of::<(usize, Exemplar)>();
                budget.charge_bytes((bytes + 2 * self.key.len() + size_of::<Group>()) as u64)?;
                self.all.push(Group { labels, cells, exemplars: Vec::new() });
                self.by_key.insert(self.key.clone(), self.all.len() - 1);
                self.all.len() - 1
            }
        };
        Ok(&mut self.all[at])
    }

    fn finish(mut self, metric: &SpanMetric, steps: &Steps, exemplars: usize) -> Vec<Series> {
        // Whatever came first: results do not depend on where spans are stored.
        self.all.sort_by_cached_key(|group| format!("{:?}", group.labels));
        let name = match &metric.function {
            Function::Rate => "rate",
            Function::CountOverTime => "count_over_time",
            Function::OverTime(Aggregate::Min, _) => "min_over_time",
            Function::OverTime(Aggregate::Max, _) => "max_over_time",
            Function::OverTime(Aggregate::Avg, _) => "avg_over_time",
            Function::OverTime(Aggregate::Sum, _) => "sum_over_time",
            Function::Quantile(..) | Function::Histogram(_) | Function::Compare(_) => "",
        };
        let each = exemplars.div_ceil(self.all.len().max(1));
        let mut left = exemplars;
        let mut all = Vec::new();
        for group in self.all {
            let mut shown = spread(group.exemplars, each.min(left));
            left -= shown.len();
            for (extra, points) in group.cells.series(&metric.function, steps) {
                let mut labels = group.labels.clone();
                labels.extend(extra);
                if labels.is_empty() && !name.is_empty() {
                    labels.push(("__name__".to_owned(), Value::Text(name.into())));
                }
                // Of several series of one group, the first has them.
                let exemplars = std::mem::take(&mut shown);
                let exemplars = exemplars.into_iter().map(|(step, mut exemplar)| {
                    if exemplar.value.is_nan() {
                        let t_ns = steps.t_ns(step);
                        let point = points.iter().find(|(at, _)| *at == t_ns);
                        exemplar.value = point.map_or(0.0, |(_, value)| *value);
                    }
                    exemplar
                });
                let exemplars = exemplars.collect();
                all.push(Series { labels, points, exemplars });
            }
        }
        all
    }
}

/// At most `count` of `all`, spread over them, in order of time.
fn spread(mut all: Vec<(usize, Exemplar)>, count: usize) -> Vec<(usize, Exemplar)> {
    all.sort_by_key(|(step, _)| *step);
    let len = all.len();
    if len <= count {
        return all;
    }
    let mut index = 0;
    all.retain(|_| {
        let is_kept = (index + 1) * count / len > index * count / len;
        index += 1;
        is_kept
    });
    all
}

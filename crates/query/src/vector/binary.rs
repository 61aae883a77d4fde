//! Binary operators over rows: with scalars, between vectors by matching labels, and the set operators.

use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::sync::Arc;

use model::{Budget, Error, Histogram, Labels, ResetHint, Result};
use rustc_hash::FxHashMap;

use super::projection::{Numbering, Projection};
use super::remarks::{Remark, Remarks};
use super::{ABSENT, Cell, Row, is_metadata_label, is_present};
use crate::histogram::{self, Total};
use crate::syntax::quote;

/// An operator between numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    /// `</`: the part of a histogram below a value.
    TrimUpper,
    /// `>/`: the part above it.
    TrimLower,
}

impl Op {
    /// Whether it compares; comparisons filter unless `bool` is given.
    pub(crate) fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Greater
                | Self::GreaterEqual
                | Self::Less
                | Self::LessEqual
        )
    }

    /// Whether it cuts histograms.
    pub(crate) fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    /// Whether results are still what the metric name says.
    fn keeps_name(self) -> bool {
        self.is_comparison() || self.is_trim()
    }

    /// The result of an arithmetic operator; 1 or 0 of a comparison; nothing of a cut.
    #[inline]
    pub(crate) fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::TrimUpper | Self::TrimLower => ABSENT,
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Mod => a % b,
            Self::Pow => a.powf(b),
            Self::Atan2 => a.atan2(b),
            _ => f64::from(u8::from(self.holds(a, b))),
        }
    }

    /// Whether a comparison holds.
    #[inline]
    pub(crate) fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Self::Equal => a == b,
            Self::NotEqual => a != b,
            Self::Greater => a > b,
            Self::GreaterEqual => a >= b,
            Self::Less => a < b,
            Self::LessEqual => a <= b,
            _ => true,
        }
    }

    /// The value a vector element gets: `keep` when a filtering comparison holds, [`ABSENT`] when it does not.
    #[inline]
    fn element(self, a: f64, b: f64, keep: f64, returns_bool: bool) -> f64 {
        if self.is_comparison() && !returns_bool {
            if self.holds(a, b) { keep } else { ABSENT }
        } else {
            self.apply(a, b)
        }
    }

    /// The element of two values of any kind; of filtering comparisons that hold, `keep`.
    fn of_cells(
        self,
        (a, b): (Cell<'_>, Cell<'_>),
        keep: Cell<'_>,
        returns_bool: bool,
        remarks: &mut Remarks,
    ) -> Option<Element> {
        let kept = || match keep {
            Cell::Number(value) => Element::Number(value),
            Cell::Histogram(histogram) => Element::Histogram(histogram.clone()),
        };
        let unknown = match (a, b) {
            (Cell::Number(_), Cell::Number(_)) if self.is_trim() => Remark::FloatFloat,
            (Cell::Number(a), Cell::Number(b)) => {
                let Cell::Number(keep) = keep else { return None };
                let value = self.element(a, b, keep, returns_bool);
                return is_present(value).then_some(Element::Number(value));
            }
            (Cell::Number(x), Cell::Histogram(h)) | (Cell::Histogram(h), Cell::Number(x))
                if self == Self::Mul =>
            {
                return Some(Element::new(histogram::scaled(h, x)));
            }
            (Cell::Histogram(h), Cell::Number(x)) if self == Self::Div => {
                let mut total = Total::new(h);
                total.divide(x);
                return Some(Element::new(total.into_histogram()));
            }
            (Cell::Histogram(h), Cell::Number(x)) if self.is_trim() => {
                return Some(Element::new(histogram::trimmed(h, x, self == Self::TrimUpper)));
            }
            (Cell::Histogram(a), Cell::Histogram(b)) => match self {
                Self::Add | Self::Sub => return self.merged(a, b, remarks),
                Self::Equal | Self::NotEqual => {
                    let holds = histogram::equal(a, b) == (self == Self::Equal);
                    if returns_bool {
                        return Some(Element::Number(f64::from(u8::from(holds))));
                    }
                    return holds.then(kept);
                }
                _ => Remark::HistogramHistogram,
            },
            (Cell::Number(_), Cell::Histogram(_)) => Remark::FloatHistogram,
            (Cell::Histogram(_), Cell::Number(_)) => Remark::HistogramFloat,
        };
        remarks.add(unknown);
        None
    }

    /// `a + b` or `a - b`. A difference is a gauge.
    fn merged(self, a: &Histogram, b: &Histogram, remarks: &mut Remarks) -> Option<Element> {
        let adds = self == Self::Add;
        let mut total = Total::new(a);
        let merged = if adds { total.add(b) } else { total.subtract(b) };
        let Ok(merged) = merged else {
            remarks.add(Remark::MixedSchemas);
            return None;
        };
        if !adds {
            total.set_hint(ResetHint::Gauge);
        }
        if merged.collision {
            let (add, subtract) = (Remark::CollisionInAddition, Remark::CollisionInSubtraction);
            remarks.add(if adds { add } else { subtract });
        }
        if merged.reconciled {
            let (add, subtract) = (Remark::ReconciledInAddition, Remark::ReconciledInSubtraction);
            remarks.add(if adds { add } else { subtract });
        }
        Some(Element::new(total.into_histogram()))
    }
}

/// A computed value of one step.
#[derive(Debug)]
enum Element {
    Number(f64),
    Histogram(Arc<Histogram>),
}

impl Element {
    fn new(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

/// An operator on which series there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOp {
    And,
    Or,
    Unless,
}

/// Which side may have several series per match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Many {
    #[default]
    Neither,
    /// `group_left`
    Left,
    /// `group_right`
    Right,
}

/// Which series of the two sides belong together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Matching {
    /// `on (labels)` rather than `ignoring (labels)`.
    pub(crate) on: bool,
    pub(crate) labels: Vec<String>,
    pub(crate) many: Many,
    /// Labels copied from the one side.
    pub(crate) include: Vec<String>,
    /// Stands in for a missing left side (the right one under `group_right`).
    pub(crate) fill_left: Option<f64>,
    /// Stands in for a missing right side (the left one under `group_right`).
    pub(crate) fill_right: Option<f64>,
}

impl Matching {
    /// What two series must have in common.
    fn projection(&self) -> Projection<'_> {
        Projection::new(&self.labels, !self.on)
    }

    /// Labels of the result of `many op one`.
    fn result_labels(&self, op: Op, many: &Labels, one: Option<&Labels>) -> Labels {
        let drop_name = !op.keeps_name();
        let one_to_one = self.many == Many::Neither;
        let named = |name: &str| self.labels.iter().any(|l| l == name);
        let kept = many.iter().filter(|(n, _)| {
            let dropped = drop_name && is_metadata_label(n);
            let unmatched = one_to_one && named(n) != self.on;
            !dropped && !unmatched
        });
        let labels: Labels = kept.collect();
        if self.include.is_empty() {
            return labels;
        }
        let mut builder = labels.to_builder();
        for name in &self.include {
            builder.set(name, one.and_then(|labels| labels.get(name)).unwrap_or(""));
        }
        builder.build()
    }
}

/// `left op right` of two scalars, step by step.
pub(crate) fn scalars(op: Op, left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().zip(right).map(|(a, b)| op.apply(*a, *b)).collect()
}

/// `rows op scalar`, or `scalar op rows` when `swapped`.
///
/// # Errors
/// Those of `budget`.
pub(crate) fn with_scalar(
    op: Op,
    mut rows: Vec<Row>,
    scalar: &[f64],
    swapped: bool,
    returns_bool: bool,
    budget: &Budget,
    remarks: &mut Remarks,
) -> Result<Vec<Row>> {
    for row in &mut rows {
        if op.is_trim() || row.histograms.is_some() {
            budget.check()?;
            cells_with_scalar(op, row, scalar, swapped, returns_bool, remarks);
            continue;
        }
        for (value, s) in row.values.iter_mut().zip(scalar) {
            if is_present(*value) {
                let (a, b) = if swapped { (*s, *value) } else { (*value, *s) };
                *value = op.element(a, b, *value, returns_bool);
            }
        }
        row.drop_name |= !op.keeps_name() || returns_bool;
    }
    rows.retain(Row::any);
    Ok(rows)
}

fn cells_with_scalar(
    op: Op,
    row: &mut Row,
    scalar: &[f64],
    swapped: bool,
    returns_bool: bool,
    remarks: &mut Remarks,
) {
    let mut out = Row::empty(row.labels.clone(), row.drop_name, row.values.len());
    for (step, s) in scalar.iter().enumerate() {
        let Some(cell) = row.cell(step) else { continue };
        let s = Cell::Number(*s);
        let pair = if swapped { (s, cell) } else { (cell, s) };
        match op.of_cells(pair, cell, returns_bool, remarks) {
            Some(Element::Number(value)) => out.values[step] = value,
            Some(Element::Histogram(histogram)) => out.put_histogram(step, histogram),
            None => {}
        }
    }
    out.drop_name |= !op.keeps_name() || returns_bool;
    *row = out;
}

/// Rows of both sides with the same signature.
#[derive(Default)]
struct Pairing {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// `left op right` between vectors of `steps` steps.
///
/// # Errors
/// `Invalid` for matches that are not unique at some step; those of `budget`.
pub(crate) fn between(
    op: Op,
    left: &[Row],
    right: &[Row],
    (matching, returns_bool): (&Matching, bool),
    steps: usize,
    budget: &Budget,
    remarks: &mut Remarks,
) -> Result<Vec<Row>> {
    let swapped = matching.many == Many::Right;
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    // As in Prometheus the left filling goes to the many side, whichever side that was written on.
    let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
    let mut joiner = Joiner {
        op,
        matching,
        swapped,
        returns_bool,
        steps,
        many,
        one,
        fill_many,
        fill_one,
        out: Vec::new(),
        places: FxHashMap::default(),
        budget,
        remarks,
    };
    for (signature, pairing) in pairings(many, one, matching) {
        budget.check()?;
        joiner.join(&signature, &pairing)?;
    }
    let mut out = joiner.out;
    out.retain(Row::any);
    Ok(out)
}

fn pairings(many: &[Row], one: &[Row], matching: &Matching) -> Vec<(Labels, Pairing)> {
    let mut numbering = Numbering::new(matching.projection());
    let mut pairings: Vec<Pairing> = Vec::new();
    for (is_many, rows) in [(true, many), (false, one)] {
        for (index, row) in rows.iter().enumerate() {
            let number = numbering.number(&row.labels);
            if number == pairings.len() {
                pairings.push(Pairing::default());
            }
            let pairing = &mut pairings[number];
            if is_many { pairing.many.push(index) } else { pairing.one.push(index) }
        }
    }
    numbering.keys().zip(pairings).collect()
}

struct Joiner<'a> {
    op: Op,
    matching: &'a Matching,
    /// The many side is the right one.
    swapped: bool,
    returns_bool: bool,
    steps: usize,
    many: &'a [Row],
    one: &'a [Row],
    fill_many: Option<f64>,
    fill_one: Option<f64>,
    out: Vec<Row>,
    places: FxHashMap<(Labels, bool), usize>,
    budget: &'a Budget,
    remarks: &'a mut Remarks,
}

impl Joiner<'_> {
    fn join(&mut self, signature: &Labels, pairing: &Pairing) -> Result<()> {
        if (pairing.one.is_empty() && self.fill_one.is_none())
            || (pairing.many.is_empty() && self.fill_many.is_none())
        {
            self.unique_one(signature, pairing)?;
            return Ok(());
        }
        let one_at = self.unique_one(signature, pairing)?;
        let mut matched = vec![false; self.steps];
        for m in &pairing.many {
            self.join_row(*m, &one_at, &mut matched)?;
        }
        if let Some(fill) = self.fill_many {
            for o in &pairing.one {
                self.fill_row(*o, fill, signature, pairing)?;
            }
        }
        Ok(())
    }

    /// For each step, which row of the one side has a value (`usize::MAX` for none).
    fn unique_one(&self, signature: &Labels, pairing: &Pairing) -> Result<Vec<usize>> {
        let mut one_at = vec![usize::MAX; self.steps];
        for o in &pairing.one {
            for (step, slot) in one_at.iter_mut().enumerate() {
                if !self.one[*o].is_present(step) {
                    continue;
                }
                let fills = self.fill_many.or(self.fill_one).is_some();
                // Without anything on the other side Prometheus does not look at this side either.
                if *slot != usize::MAX
                    && (fills || self.many.iter().any(|row| row.is_present(step)))
                {
                    return Err(self.many_to_many(signature, *slot, *o));
                }
                *slot = *o;
            }
        }
        Ok(one_at)
    }

    fn many_to_many(&self, signature: &Labels, first: usize, second: usize) -> Error {
        let side = if self.swapped { "left" } else { "right" };
        let mut pair = [braced(&self.one[first].labels), braced(&self.one[second].labels)];
        pair.sort();
        Error::invalid(format!(
            "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
            braced(signature),
            pair[0],
            pair[1]
        ))
    }

    /// Joins one row of the many side.
    fn join_row(&mut self, m: usize, one_at: &[usize], matched: &mut [bool]) -> Result<()> {
        let (many, all_one) = (self.many, self.one);
        let row = &many[m];
        // The row written last and the partner it is for: partners change rarely.
        let mut current: Option<(usize, usize)> = None;
        for (step, partner) in one_at.iter().copied().enumerate() {
            let Some(value) = row.cell(step) else { continue };
            let filling = self.fill_one.map(Cell::Number);
            let other = all_one.get(partner).map_or(filling, |one| one.cell(step));
            let Some(other) = other else { continue };
            if self.matching.many == Many::Neither && std::mem::replace(&mut matched[step], true) {
                return Err(Error::invalid(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                ));
            }
            let Some(result) = self.element(value, other) else { continue };
            let place = match current {
                Some((p, place)) if p == partner => place,
                _ => self.place(&row.labels, row.drop_name, all_one.get(partner))?,
            };
            current = Some((partner, place));
            self.put(place, step, result)?;
        }
        Ok(())
    }

    /// Joins a row of the one side with the filling value wherever the many side has nothing.
    fn fill_row(
        &mut self,
        o: usize,
        fill: f64,
        signature: &Labels,
        pairing: &Pairing,
    ) -> Result<()> {
        let row = &self.one[o];
        let mut place = None;
        for step in 0..self.steps {
            let Some(value) = row.cell(step) else { continue };
            if pairing.many.iter().any(|m| self.many[*m].is_present(step)) {
                continue;
            }
            if let Some(result) = self.element(Cell::Number(fill), value) {
                let at = match place {
                    Some(place) => place,
                    None => self.place(signature, false, Some(row))?,
                };
                place = Some(at);
                self.put(at, step, result)?;
            }
        }
        Ok(())
    }

    fn element(&mut self, many: Cell<'_>, one: Cell<'_>) -> Option<Element> {
        let (a, b) = if self.swapped { (one, many) } else { (many, one) };
        self.op.of_cells((a, b), a, self.returns_bool, self.remarks)
    }

    /// The output row for a pair.
    fn place(&mut self, many: &Labels, drop_name: bool, one: Option<&Row>) -> Result<usize> {
        let labels = self.matching.result_labels(self.op, many, one.map(|row| &row.labels));
        let drop_name = (drop_name && self.op.keeps_name()) || self.returns_bool;
        Ok(match self.places.entry((labels, drop_name)) {
            Entry::Occupied(slot) => *slot.get(),
            Entry::Vacant(slot) => {
                self.budget.charge_bytes(self.steps as u64 * 8 + 64)?;
                let labels = slot.key().0.clone();
                self.out.push(Row::empty(labels, drop_name, self.steps));
                *slot.insert(self.out.len() - 1)
            }
        })
    }

    fn put(&mut self, place: usize, step: usize, element: Element) -> Result<()> {
        let row = &mut self.out[place];
        if row.is_present(step) {
            return Err(Error::invalid(
                "multiple matches for labels: grouping labels must ensure unique matches",
            ));
        }
        match element {
            Element::Number(value) => row.values[step] = value,
            Element::Histogram(histogram) => {
                self.budget.charge_bytes(histogram::bytes(&histogram))?;
                row.put_histogram(step, histogram);
            }
        }
        Ok(())
    }
}

/// `left and right`, `left or right`, `left unless right`.
pub(crate) fn set(
    op: SetOp,
    mut left: Vec<Row>,
    mut right: Vec<Row>,
    matching: &Matching,
) -> Vec<Row> {
    let steps = left.first().or(right.first()).map_or(0, |row| row.values.len());
    let (filtered, by) = if op == SetOp::Or { (&mut right, &left) } else { (&mut left, &right) };
    // For each match group, the steps at which the deciding side has something.
    let mut numbering = Numbering::new(matching.projection());
    let mut present: Vec<Vec<bool>> = Vec::new();
    for row in by {
        let number = numbering.number(&row.labels);
        if number == present.len() {
            present.push(vec![false; steps]);
        }
        for (at, value) in present[number].iter_mut().zip(&row.values) {
            *at |= is_present(*value);
        }
        for (step, _) in row.histogram_steps() {
            present[number][step] = true;
        }
    }
    for row in filtered.iter_mut() {
        match (numbering.find(&row.labels), op) {
            (None, SetOp::And) => {
                row.values.fill(ABSENT);
                row.histograms = None;
            }
            (None, _) => {}
            (Some(number), _) => {
                for (step, there) in present[number].iter().enumerate() {
                    if *there != (op == SetOp::And) {
                        row.clear_step(step);
                    }
                }
            }
        }
    }
    filtered.retain(Row::any);
    if op == SetOp::Or {
        left.append(&mut right);
    }
    left
}

/// `{__name__="a", b="c"}`, as Prometheus prints labels in errors.
pub(crate) fn braced(labels: &Labels) -> String {
    let mut out = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        let _infallible = write!(out, "{separator}{name}={}", quote(value));
    }
    out.push('}');
    out
}

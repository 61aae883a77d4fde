//! Operations on series over the steps of a query, with Loki's rules.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use model::{Error, Labels, Result};
use rustc_hash::FxBuildHasher;

use super::ast::{AggregateOp, BinaryExpr, BinaryOp, Grouping, LabelReplaceExpr, Many, Matching};
use super::range::RangeSeries;

/// Aggregates series that are the same in the labels of `grouping`.
pub(super) fn aggregate(
    op: AggregateOp,
    param: Option<f64>,
    grouping: Option<&Grouping>,
    mut series: Vec<RangeSeries>,
    steps: usize,
) -> Result<Vec<RangeSeries>> {
    match op {
        AggregateOp::Sort | AggregateOp::SortDesc => {
            sort(&mut series, op == AggregateOp::SortDesc);
            return Ok(series);
        }
        AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::ApproxTopK => {
            let k = param.unwrap_or(1.0) as usize;
            return Ok(select(series, grouping, k, op == AggregateOp::BottomK, steps));
        }
        _ => {}
    }
    let mut groups: BTreeMap<Labels, Vec<Vec<Option<f64>>>> = BTreeMap::new();
    for one in series {
        groups.entry(group_labels(&one.labels, grouping)).or_default().push(one.values);
    }
    let combine = |(labels, members): (Labels, Vec<Vec<Option<f64>>>)| {
        let at = |i: usize| -> Option<f64> {
            let values: Vec<f64> =
                members.iter().filter_map(|m| m.get(i).copied().flatten()).collect();
            (!values.is_empty()).then(|| combine(op, &values))
        };
        RangeSeries { labels, values: (0..steps).map(at).collect() }
    };
    Ok(groups.into_iter().map(combine).collect())
}

fn group_labels(labels: &Labels, grouping: Option<&Grouping>) -> Labels {
    let Some(Grouping { without, names }) = grouping else { return Labels::default() };
    labels.iter().filter(|(n, _)| names.iter().any(|x| x == n) != *without).collect()
}

fn combine(op: AggregateOp, values: &[f64]) -> f64 {
    let sum = || values.iter().sum::<f64>();
    let count = values.len() as f64;
    match op {
        AggregateOp::Sum => sum(),
        AggregateOp::Avg => sum() / count,
        AggregateOp::Min => values.iter().copied().fold(f64::NAN, f64::min),
        AggregateOp::Max => values.iter().copied().fold(f64::NAN, f64::max),
        AggregateOp::StdVar => variance(values),
        AggregateOp::StdDev => variance(values).sqrt(),
        _ => count,
    }
}

fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (0.0, 0.0);
    for (i, value) in values.iter().enumerate() {
        let delta = value - mean;
        mean += delta / (i + 1) as f64;
        squares += delta * (value - mean);
    }
    squares / values.len() as f64
}

/// NaN behind everything, whichever way the numbers go.
fn order(a: f64, b: f64, descending: bool) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) if descending => b.total_cmp(&a),
        (false, false) => a.total_cmp(&b),
        (a_nan, b_nan) => a_nan.cmp(&b_nan),
    }
}

fn sort(series: &mut [RangeSeries], descending: bool) {
    let first = |s: &RangeSeries| s.values.iter().copied().flatten().next().unwrap_or(f64::NAN);
    series.sort_by(|a, b| order(first(a), first(b), descending));
}

/// Keeps the `k` largest or smallest values of each group at each step.
fn select(
    mut series: Vec<RangeSeries>,
    grouping: Option<&Grouping>,
    k: usize,
    smallest: bool,
    steps: usize,
) -> Vec<RangeSeries> {
    let mut groups: BTreeMap<Labels, Vec<usize>> = BTreeMap::new();
    for (i, one) in series.iter().enumerate() {
        groups.entry(group_labels(&one.labels, grouping)).or_default().push(i);
    }
    for members in groups.values() {
        for step in 0..steps {
            let mut present: Vec<(f64, usize)> =
                members.iter().filter_map(|i| Some((series[*i].values[step]?, *i))).collect();
            present.sort_by(|a, b| order(a.0, b.0, !smallest));
            for (_, i) in present.iter().skip(k) {
                series[*i].values[step] = None;
            }
        }
    }
    series.retain(|s| s.values.iter().any(Option::is_some));
    sort(&mut series, !smallest);
    series
}

/// `a op b`.
pub(super) fn on_numbers(op: BinaryOp, a: f64, b: f64) -> f64 {
    arithmetic(op, a, b).unwrap_or_else(|| f64::from(u8::from(compare(op, a, b))))
}

/// The result of an arithmetic operator; `None` for a comparison. Division by zero is NaN in LogQL.
fn arithmetic(op: BinaryOp, a: f64, b: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div if b == 0.0 => f64::NAN,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        _ => return None,
    })
}

fn compare(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Greater => a > b,
        BinaryOp::GreaterEqual => a >= b,
        BinaryOp::Less => a < b,
        BinaryOp::LessEqual => a <= b,
        _ => false,
    }
}

/// `a op b` for samples; a comparison that does not hold gives nothing, one that does gives `kept`.
fn on_samples(expr: &BinaryExpr, a: f64, b: f64, kept: f64) -> Option<f64> {
    if let Some(value) = arithmetic(expr.op, a, b) {
        return Some(value);
    }
    let holds = compare(expr.op, a, b);
    if expr.returns_bool { Some(f64::from(u8::from(holds))) } else { holds.then_some(kept) }
}

/// Each series with a number, which stands on the left when `is_left`.
pub(super) fn with_number(
    expr: &BinaryExpr,
    mut series: Vec<RangeSeries>,
    number: f64,
    is_left: bool,
) -> Vec<RangeSeries> {
    for one in &mut series {
        for slot in &mut one.values {
            *slot = slot.and_then(|value| {
                let (a, b) = if is_left { (number, value) } else { (value, number) };
                on_samples(expr, a, b, value)
            });
        }
    }
    series.retain(|s| s.values.iter().any(Option::is_some));
    series
}

/// Series with series, matched by labels.
pub(super) fn binary(
    expr: &BinaryExpr,
    left: Vec<RangeSeries>,
    right: Vec<RangeSeries>,
    steps: usize,
) -> Result<Vec<RangeSeries>> {
    let matching = &expr.matching;
    let right_by = by_signature(matching, &right);
    if expr.op.is_set() {
        return Ok(set_operation(expr, left, right, steps));
    }
    let mut out = Output { steps, series: Vec::new(), by_labels: HashMap::default() };
    let left_by = by_signature(matching, &left);
    for (signature, left_ids) in &left_by {
        let Some(right_ids) = right_by.get(signature) else { continue };
        // The "one" side is on the right except for group_right.
        let swapped = matching.many == Many::Right;
        let (many_ids, one_ids) =
            if swapped { (right_ids, left_ids) } else { (left_ids, right_ids) };
        let (many, one) = if swapped { (&right, &left) } else { (&left, &right) };
        let sides = Sides { many, one, many_ids, one_ids, swapped };
        for step in 0..steps {
            match_step(expr, &sides, signature, step, &mut out)?;
        }
    }
    Ok(out.series)
}

struct Sides<'s> {
    many: &'s [RangeSeries],
    one: &'s [RangeSeries],
    many_ids: &'s [usize],
    one_ids: &'s [usize],
    swapped: bool,
}

fn match_step(
    expr: &BinaryExpr,
    sides: &Sides<'_>,
    signature: &Labels,
    step: usize,
    out: &mut Output,
) -> Result<()> {
    let present = |series: &[RangeSeries], ids: &[usize]| -> Vec<(usize, f64)> {
        ids.iter().filter_map(|i| Some((*i, series[*i].values[step]?))).collect()
    };
    let ones = present(sides.one, sides.one_ids);
    let manies = present(sides.many, sides.many_ids);
    if ones.len() > 1 {
        let side = if sides.swapped { "left" } else { "right" };
        return Err(Error::invalid(format!(
            "found duplicate series on the {side} hand-side of the operation for the match group {signature}; many-to-many \
             matching is not allowed: matching labels must be unique on one side"
        )));
    }
    let Some((one_id, one_value)) = ones.first().copied() else { return Ok(()) };
    if expr.matching.many == Many::Neither && manies.len() > 1 {
        return Err(Error::invalid(
            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
        ));
    }
    for (many_id, many_value) in manies {
        let (a, b) = if sides.swapped { (one_value, many_value) } else { (many_value, one_value) };
        let Some(value) = on_samples(expr, a, b, a) else { continue };
        let labels =
            result_labels(&expr.matching, &sides.many[many_id].labels, &sides.one[one_id].labels);
        if !out.put(labels, step, value) {
            return Err(Error::invalid(
                "multiple matches for labels: grouping labels must ensure unique matches",
            ));
        }
    }
    Ok(())
}

fn result_labels(matching: &Matching, many: &Labels, one: &Labels) -> Labels {
    if matching.many == Many::Neither {
        return signature(matching, many);
    }
    let mut builder = many.to_builder();
    for name in &matching.include {
        builder.set(name, one.get(name).unwrap_or(""));
    }
    builder.build()
}

/// Result series under construction.
struct Output {
    steps: usize,
    series: Vec<RangeSeries>,
    by_labels: HashMap<Labels, usize, FxBuildHasher>,
}

impl Output {
    /// Sets a value; `false` when there is one already.
    fn put(&mut self, labels: Labels, step: usize, value: f64) -> bool {
        let steps = self.steps;
        let index = *self.by_labels.entry(labels).or_insert_with_key(|labels| {
            self.series.push(RangeSeries { labels: labels.clone(), values: vec![None; steps] });
            self.series.len() - 1
        });
        self.series[index].values[step].replace(value).is_none()
    }
}

/// The labels that say what belongs together.
fn signature(matching: &Matching, labels: &Labels) -> Labels {
    let is_named = |name: &str| matching.labels.iter().any(|l| l == name);
    labels.iter().filter(|(n, _)| is_named(n) == matching.on).collect()
}

fn by_signature(matching: &Matching, series: &[RangeSeries]) -> BTreeMap<Labels, Vec<usize>> {
    let mut groups: BTreeMap<Labels, Vec<usize>> = BTreeMap::new();
    for (i, one) in series.iter().enumerate() {
        groups.entry(signature(matching, &one.labels)).or_default().push(i);
    }
    groups
}

fn set_operation(
    expr: &BinaryExpr,
    mut left: Vec<RangeSeries>,
    right: Vec<RangeSeries>,
    steps: usize,
) -> Vec<RangeSeries> {
    let presence = |series: &[RangeSeries]| {
        let mut present: HashMap<Labels, Vec<bool>, FxBuildHasher> = HashMap::default();
        for one in series {
            let flags = present
                .entry(signature(&expr.matching, &one.labels))
                .or_insert_with(|| vec![false; steps]);
            for (flag, value) in flags.iter_mut().zip(&one.values) {
                *flag |= value.is_some();
            }
        }
        present
    };
    // Keeps a series only where the other side is present, or where it is not.
    let keep = |series: &mut Vec<RangeSeries>, other: &[RangeSeries], wanted: bool| {
        let present = presence(other);
        for one in series.iter_mut() {
            let flags = present.get(&signature(&expr.matching, &one.labels));
            for (i, slot) in one.values.iter_mut().enumerate() {
                if flags.is_some_and(|f| f[i]) != wanted {
                    *slot = None;
                }
            }
        }
        series.retain(|s| s.values.iter().any(Option::is_some));
    };
    match expr.op {
        BinaryOp::And => keep(&mut left, &right, true),
        BinaryOp::Unless => keep(&mut left, &right, false),
        _ => {
            let mut added = right;
            keep(&mut added, &left, false);
            for one in added {
                match left.iter_mut().find(|l| l.labels == one.labels) {
                    Some(same) => {
                        for (slot, value) in same.values.iter_mut().zip(one.values) {
                            *slot = slot.or(value);
                        }
                    }
                    None => left.push(one),
                }
            }
        }
    }
    left
}

/// Sets a label of each series whose source label fits the pattern.
pub(super) fn label_replace(
    expr: &LabelReplaceExpr,
    mut series: Vec<RangeSeries>,
) -> Result<Vec<RangeSeries>> {
    let regex = model::anchored_regex(&expr.pattern)?;
    for one in &mut series {
        let source = one.labels.get(&expr.source).unwrap_or("");
        let Some(captures) = regex.captures(source) else { continue };
        let mut value = String::new();
        captures.expand(&expr.replacement, &mut value);
        one.labels = one.labels.with(&expr.target, &value);
    }
    let mut seen: Vec<&Labels> = series.iter().map(|s| &s.labels).collect();
    seen.sort_unstable();
    if let Some(twin) = seen.windows(2).find(|w| w[0] == w[1]) {
        return Err(Error::invalid(format!(
            "label_replace makes two series the same: {}",
            twin[0]
        )));
    }
    Ok(series)
}

//! Pipelines over the spans of one trace: filters, operators between sets, grouping, aggregates.
//!
//! A pipeline starts with one set, all spans of the trace, and ends with the sets that are left; a set without spans is none.

use std::collections::BTreeMap;

use model::Result;

use super::ast::{Aggregate, Expr, Form, Scalar, Spanset, SpansetOp, Stage};
use super::value::{Value, compare};
use super::view::View;

/// Some spans of a trace, and what stages said of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    /// Ascending.
    pub(super) spans: Vec<u32>,
    /// Values of groups and aggregates by their names.
    pub(super) said: Vec<(String, Value<'static>)>,
}

/// Memory that a set takes beside its spans and texts, about.
const SET_BYTES: usize = 256;
/// Memory that something said of a set takes beside its texts, about.
const SAID_BYTES: usize = 96;

/// Runs `stages` over all spans of a trace.
///
/// # Errors
/// As [`View::pay`], which pays for groups.
pub(super) fn run(view: &View<'_>, stages: &[Stage]) -> Result<Vec<Set>> {
    let all = Set { spans: (0..view.len() as u32).collect(), said: Vec::new() };
    run_on(view, stages, vec![all])
}

fn run_on(view: &View<'_>, stages: &[Stage], mut sets: Vec<Set>) -> Result<Vec<Set>> {
    for stage in stages {
        sets = match stage {
            Stage::Spans(spanset) => {
                let selected = |set: Set| {
                    Ok(Set { spans: select(view, spanset, &set.spans)?, said: set.said })
                };
                sets.into_iter().map(selected).collect::<Result<_>>()?
            }
            Stage::By(key) => {
                let mut groups = Vec::new();
                for set in sets {
                    groups.append(&mut group(view, key, set)?);
                }
                groups
            }
            Stage::Coalesce => {
                let mut spans: Vec<u32> = sets.into_iter().flat_map(|set| set.spans).collect();
                spans.sort_unstable();
                spans.dedup();
                vec![Set { spans, said: Vec::new() }]
            }
            // What is selected is shown (`search`); it leaves nothing out.
            Stage::Select(_) => sets,
            Stage::Scalar(comparison, left, right) => {
                let mut kept = Vec::new();
                for mut set in sets {
                    let l = scalar(view, left, &set.spans)?;
                    let r = scalar(view, right, &set.spans)?;
                    let (Some(l), Some(r)) = (l, r) else { continue };
                    if !compare(*comparison, &l, &r) {
                        continue;
                    }
                    for (side, value) in [(left, l), (right, r)] {
                        if let Some(name) = name(side) {
                            set.said.push((name, value));
                        }
                    }
                    if let Some(spans) = spans_of_pipelines(view, [left, right], &set.spans)? {
                        set.spans = spans;
                    }
                    kept.push(set);
                }
                kept
            }
        };
        sets.retain(|set| !set.spans.is_empty());
        if sets.is_empty() {
            break;
        }
    }
    Ok(sets)
}

/// Those of `from` that `spanset` selects.
fn select(view: &View<'_>, spanset: &Spanset, from: &[u32]) -> Result<Vec<u32>> {
    Ok(match spanset {
        Spanset::Filter(Expr::Literal(Value::Bool(true))) => from.to_vec(),
        Spanset::Filter(expr) => from.iter().copied().filter(|s| expr.holds(view, *s)).collect(),
        Spanset::Pipeline(stages) => pipeline(view, stages, from)?,
        Spanset::Operation(op, left, right) => {
            let left = select(view, left, from)?;
            if left.is_empty() && *op == SpansetOp::And {
                return Ok(left);
            }
            let right = select(view, right, from)?;
            operate(view, *op, &left, &right)
        }
    })
}

/// What an operator makes of two selections.
pub(super) fn operate(view: &View<'_>, op: SpansetOp, left: &[u32], right: &[u32]) -> Vec<u32> {
    match op {
        SpansetOp::And if left.is_empty() || right.is_empty() => Vec::new(),
        SpansetOp::And | SpansetOp::Or => union(left, right),
        SpansetOp::Structural(relation, form) => {
            let related = view.tree().related(relation, left);
            let is_unrelated = form == Form::Unrelated;
            let keep = |span: &u32| related[*span as usize] != is_unrelated;
            let found: Vec<u32> = right.iter().copied().filter(keep).collect();
            if form != Form::Union {
                return found;
            }
            let related = view.tree().related(relation.inverse(), right);
            let other: Vec<u32> =
                left.iter().copied().filter(|span| related[*span as usize]).collect();
            union(&other, &found)
        }
    }
}

fn union(left: &[u32], right: &[u32]) -> Vec<u32> {
    let mut all = [left, right].concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// A set for each value of `key`, in order of their first spans.
fn group(view: &View<'_>, key: &Expr, set: Set) -> Result<Vec<Set>> {
    let described = format!("by({})", describe(key));
    let mut by_value: BTreeMap<String, usize> = BTreeMap::new();
    let mut groups: Vec<Set> = Vec::new();
    for span in set.spans {
        let value = key.value(view, span);
        // Values of different types are different groups.
        let name = format!("{value:?}");
        let at = match by_value.get(&name) {
            Some(at) => *at,
            None => {
                // What was said before, and the value twice: as the key and as what is said.
                let texts = (set.said.len() + 1) * (described.len() + SAID_BYTES);
                view.pay(SET_BYTES + texts + 2 * name.len())?;
                let mut said = set.said.clone();
                said.push((described.clone(), value.into_owned()));
                groups.push(Set { spans: Vec::new(), said });
                by_value.insert(name, groups.len() - 1);
                groups.len() - 1
            }
        };
        groups[at].spans.push(span);
    }
    Ok(groups)
}

/// An expression in few words: the field it is, or the fields it is made of.
fn describe(expr: &Expr) -> String {
    let mut fields: Vec<&str> = Vec::new();
    expr.each_field(&mut |field| fields.push(&field.text));
    fields.dedup();
    fields.join(", ")
}

fn name(scalar: &Scalar) -> Option<String> {
    Some(match scalar {
        Scalar::Literal(_) | Scalar::Calculate(..) => return None,
        Scalar::Count => "count()".to_owned(),
        Scalar::Aggregate(function, expr) => {
            let function = match function {
                Aggregate::Avg => "avg",
                Aggregate::Min => "min",
                Aggregate::Max => "max",
                Aggregate::Sum => "sum",
            };
            format!("{function}({})", describe(expr))
        }
        Scalar::Pipeline(_, inner) => return name(inner),
    })
}

/// The number that `scalar` says of `spans`; `None` when no span has a value.
fn scalar(view: &View<'_>, scalar: &Scalar, spans: &[u32]) -> Result<Option<Value<'static>>> {
    Ok(match scalar {
        Scalar::Literal(value) => Some(value.clone()),
        Scalar::Count => Some(Value::Int(spans.len() as i64)),
        Scalar::Calculate(op, left, right) => {
            let left = self::scalar(view, left, spans)?;
            let right = self::scalar(view, right, spans)?;
            left.zip(right).map(|(left, right)| op.on_values(&left, &right))
        }
        Scalar::Pipeline(stages, inner) => {
            let selected = pipeline(view, stages, spans)?;
            if selected.is_empty() { None } else { self::scalar(view, inner, &selected)? }
        }
        Scalar::Aggregate(function, expr) => {
            let values = spans.iter().map(|span| expr.value(view, *span));
            aggregate(*function, values)
        }
    })
}

/// One number of many; what is no number does not count.
fn aggregate<'t>(
    function: Aggregate,
    values: impl Iterator<Item = Value<'t>>,
) -> Option<Value<'static>> {
    let mut count = 0_u64;
    let mut result = 0.0;
    let mut is_duration = true;
    for value in values {
        let Some(number) = value.number() else { continue };
        is_duration &= matches!(value, Value::Duration(_));
        result = match function {
            _ if count == 0 => number,
            Aggregate::Min => f64::min(result, number),
            Aggregate::Max => f64::max(result, number),
            Aggregate::Avg | Aggregate::Sum => result + number,
        };
        count += 1;
    }
    if count == 0 {
        return None;
    }
    if function == Aggregate::Avg {
        result /= count as f64;
    }
    Some(if is_duration { Value::Duration(result as i64) } else { Value::Float(result) })
}

/// Spans of all sets that a pipeline leaves of `spans`.
fn pipeline(view: &View<'_>, stages: &[Stage], spans: &[u32]) -> Result<Vec<u32>> {
    let start = Set { spans: spans.to_vec(), said: Vec::new() };
    let sets = run_on(view, stages, vec![start])?;
    let mut all: Vec<u32> = sets.into_iter().flat_map(|set| set.spans).collect();
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Where numbers are of pipelines in parentheses: the spans that these select.
fn spans_of_pipelines(
    view: &View<'_>,
    sides: [&Scalar; 2],
    spans: &[u32],
) -> Result<Option<Vec<u32>>> {
    fn collect<'s>(scalar: &'s Scalar, out: &mut Vec<&'s [Stage]>) {
        match scalar {
            Scalar::Pipeline(stages, _) => out.push(stages),
            Scalar::Calculate(_, left, right) => {
                collect(left, out);
                collect(right, out);
            }
            Scalar::Literal(_) | Scalar::Count | Scalar::Aggregate(..) => {}
        }
    }
    let mut pipelines = Vec::new();
    sides.into_iter().for_each(|side| collect(side, &mut pipelines));
    let mut all = None;
    for stages in pipelines {
        let spans = pipeline(view, stages, spans)?;
        all = Some(all.map_or_else(|| spans.clone(), |left: Vec<u32>| union(&left, &spans)));
    }
    Ok(all)
}

//! Values that a field has, for those who write queries: all of them, or those on spans that a query selects.
//!
//! What cannot be read from a source's lists is gathered from spans, the newest traces first.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;

use model::{
    AttributeScope, Budget, ErrorKind, Result, SpanKind, SpanStatus, TimeRange, TraceSource,
};

use super::ast::{Expr, Root, Spanset, Stage};
use super::demand::Demand;
use super::field::{self, Field, FieldKind, Intrinsic};
use super::parse::parse;
use super::value::Value;
use super::view::View;

/// Traces whose spans are looked at, where a source has no list: the newest ones.
const TRACES_MAX: usize = 10_000;

/// Memory that a value takes beside its texts, about.
const VALUE_BYTES: usize = 128;

/// Values of the field called `name`, as in `resource.service.name`, `.foo`, `name` or `span:status`, of spans that start
/// within `range`; each once, in order of their texts, `limit` at most.
///
/// `filter` is a selection of spans such as `{ span.a = 1 && resource.b = "x" }`; of one that is not finished, as somebody
/// types it, the conditions that are sound count. Where spans have to be looked at one by one, the newest 10,000 traces are,
/// and fewer when the budget for samples or memory is spent.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) when `name` is no field; [`Cancelled`](ErrorKind::Cancelled) from `budget`; failures of
/// `source`.
pub fn values(
    source: &dyn TraceSource,
    name: &str,
    filter: &str,
    range: TimeRange,
    limit: usize,
    budget: &Budget,
) -> Result<Vec<Value<'static>>> {
    let field = field::parse_field(name)?;
    let filter = selection(filter);
    let listed = match &filter {
        None => listed(source, &field, range, limit, budget),
        Some(_) => Ok(None),
    };
    let mut values = match listed? {
        Some(values) => values,
        None => {
            let filter = filter.unwrap_or(Expr::Literal(Value::Bool(true)));
            gathered(source, &field, filter, range, limit, budget)?
        }
    };
    values.truncate(limit);
    Ok(values)
}

/// The values as the source lists them, if it does.
fn listed(
    source: &dyn TraceSource,
    field: &Field,
    range: TimeRange,
    limit: usize,
    budget: &Budget,
) -> Result<Option<Vec<Value<'static>>>> {
    let text = |text: String| Value::Text(text.into());
    if field.is_of_parent {
        return Ok(None);
    }
    Ok(Some(match &field.kind {
        FieldKind::Intrinsic(Intrinsic::Status) => {
            SpanStatus::ALL.into_iter().map(Value::Status).collect()
        }
        FieldKind::Intrinsic(Intrinsic::Kind) => {
            SpanKind::ALL.into_iter().map(Value::Kind).collect()
        }
        FieldKind::Intrinsic(Intrinsic::Name) => {
            let mut all = Distinct::default();
            for service in source.services(range, budget)? {
                for operation in source.operations(&service, range, budget)? {
                    all.add(text(operation.name));
                }
            }
            all.finish()
        }
        FieldKind::Attribute(Some(AttributeScope::Resource), name) if name == "service.name" => {
            source.services(range, budget)?.into_iter().map(text).collect()
        }
        FieldKind::Attribute(scope, name) => {
            let scopes = match scope {
                Some(scope) => vec![*scope],
                None => vec![AttributeScope::Span, AttributeScope::Resource],
            };
            let mut all = Distinct::default();
            for scope in scopes {
                for value in source.attribute_values(scope, name, range, limit, budget)? {
                    all.add(Value::from(&value));
                }
            }
            all.finish()
        }
        FieldKind::Intrinsic(_) => return Ok(None),
    }))
}

fn gathered(
    source: &dyn TraceSource,
    field: &Field,
    filter: Expr,
    range: TimeRange,
    limit: usize,
    budget: &Budget,
) -> Result<Vec<Value<'static>>> {
    let mut demand = Demand::default();
    demand.expr(&filter);
    demand.field(field);
    let stages = [Stage::Spans(Spanset::Filter(filter))];
    let plan = demand.plan(&stages, range);
    let [Stage::Spans(Spanset::Filter(filter))] = &stages else { return Ok(Vec::new()) };
    let mut all = Distinct::default();
    let held = budget.hold();
    let mut traces = 0;
    let outcome = source.scan(&plan, budget, &mut |trace| {
        traces += 1;
        let Ok(view) = View::paid(trace, budget) else { return ControlFlow::Break(()) };
        let mut is_over = traces >= TRACES_MAX || budget.check().is_err();
        for span in 0..view.len() as u32 {
            if range.contains(view.span(span).start_ns) && filter.holds(&view, span) {
                let bytes = all.add(view.value(span, field));
                is_over |= held.add(bytes).is_err() || all.0.len() >= limit;
                if is_over {
                    break;
                }
            }
        }
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match outcome {
        Err(e) if e.kind() != ErrorKind::Limit => Err(e),
        _ => budget.check().map(|()| all.finish()),
    }
}

/// Values by their text; texts come apart from other values that look the same.
#[derive(Default)]
struct Distinct(BTreeMap<(String, bool), Value<'static>>);

impl Distinct {
    /// Adds what is new, and says how many bytes of memory that takes, about.
    fn add(&mut self, value: Value<'_>) -> u64 {
        match value {
            Value::Nil => 0,
            Value::Many(all) => all.into_iter().map(|value| self.add(value)).sum(),
            value => {
                let key = (value.to_string(), matches!(value, Value::Text(_)));
                let bytes = key.0.len() + value.heap_bytes() + VALUE_BYTES;
                match self.0.entry(key) {
                    Entry::Occupied(_) => 0,
                    Entry::Vacant(place) => {
                        place.insert(value.into_owned());
                        bytes as u64
                    }
                }
            }
        }
    }

    fn finish(self) -> Vec<Value<'static>> {
        self.0.into_values().collect()
    }
}

/// The condition of a selection of spans; of one that does not parse, the conditions joined by `&&` that do. `None` when
/// it leaves nothing out.
fn selection(text: &str) -> Option<Expr> {
    let whole = |text: &str| match parse(text).ok()?.root {
        Root::Spans(mut stages) if stages.len() == 1 => match stages.pop() {
            Some(Stage::Spans(Spanset::Filter(expr))) => Some(expr),
            _ => None,
        },
        _ => None,
    };
    let is_open = |expr: &Expr| matches!(expr, Expr::Literal(Value::Bool(true)));
    if let Some(expr) = whole(text) {
        return Some(expr).filter(|expr| !is_open(expr));
    }
    let inside = text.trim().trim_start_matches('{').trim_end_matches('}');
    let sound = inside.split("&&").filter_map(|part| whole(&format!("{{{part}}}")));
    sound
        .filter(|expr| !is_open(expr))
        .reduce(|left, right| Expr::And(Box::new(left), Box::new(right)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_unfinished_selection_the_sound_conditions_count() {
        let parts = |text: &str| {
            let mut fields = Vec::new();
            if let Some(expr) = selection(text) {
                expr.each_field(&mut |field| fields.push(field.text.clone()));
            }
            fields.join(" ")
        };
        assert_eq!(parts("{ .a = 1 && resource.b = }"), ".a");
        assert_eq!(parts("{ .a = 1 || .b = 2 }"), ".a .b");
        assert_eq!(parts("{ span.a = \"x\" && && kind = server"), "span.a kind");
        assert_eq!(parts("{}"), "");
        assert_eq!(parts(""), "");
        assert_eq!(parts("nonsense"), "");
        assert_eq!(parts("{ .a } && { .b }"), "");
    }
}

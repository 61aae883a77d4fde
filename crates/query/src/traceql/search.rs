//! Searches: the newest traces of which a pipeline leaves something, and the spans that it leaves.

use std::ops::ControlFlow;

use model::{Budget, Error, Result, TimeRange, Trace, TraceSource};

use super::ast::{Root, Stage};
use super::demand::Demand;
use super::field::{Field, FieldKind, Intrinsic};
use super::spansets::{self, Set};
use super::value::Value;
use super::view::View;
use super::{Query, ast};

/// What to search, and how much of it to show.
#[derive(Debug, Clone)]
pub struct Search {
    /// One of the spans found in a trace starts within it.
    pub range: TimeRange,
    /// Traces at most: the newest ones.
    pub limit: usize,
    /// Spans shown of a set at most.
    pub spans_per_set: usize,
    /// Nanoseconds a trace took at least.
    pub duration_ns_min: Option<u64>,
    /// Nanoseconds a trace took at most.
    pub duration_ns_max: Option<u64>,
}

/// A trace that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundTrace {
    /// 128-bit trace id.
    pub trace_id: u128,
    /// Service of the root span, if stored.
    pub root_service: Option<String>,
    /// Name of the root span, if stored.
    pub root_name: Option<String>,
    /// Start of its first span, Unix nanoseconds, UTC.
    pub start_ns: i64,
    /// Nanoseconds from its first start to its last end.
    pub duration_ns: u64,
    /// At least one.
    pub sets: Vec<FoundSet>,
}

/// Spans of a trace that satisfy the query together.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSet {
    /// The first ones, in order of start.
    pub spans: Vec<FoundSpan>,
    /// How many there are, those not shown included.
    pub matched: usize,
    /// Values of groups and aggregates: `by(name)`, `count()`.
    pub attributes: Vec<(String, Value<'static>)>,
}

/// A span that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSpan {
    /// 64-bit span id.
    pub span_id: u64,
    /// Its name.
    pub name: String,
    /// Unix nanoseconds, UTC.
    pub start_ns: i64,
    /// Nanoseconds.
    pub duration_ns: u64,
    /// Values of the fields that the query names, as far as the span has them.
    pub attributes: Vec<(String, Value<'static>)>,
}

/// Searches `source`, newest traces first.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when the query is a metric; [`Limit`](model::ErrorKind::Limit) or
/// [`Cancelled`](model::ErrorKind::Cancelled) from `budget`; failures of `source`.
pub fn search(
    source: &dyn TraceSource,
    query: &Query,
    search: &Search,
    budget: &Budget,
) -> Result<Vec<FoundTrace>> {
    let Root::Spans(stages) = &query.root else { return Err(no_search()) };
    if search.limit == 0 {
        return Ok(Vec::new());
    }
    let fields = fields(stages);
    // What is said of a trace is said of all of it.
    let mut demand = Demand::default();
    demand.is_whole = true;
    demand.stages(stages);
    let plan = demand.plan(stages, search.range);
    let mut found = Vec::new();
    let mut failure = None;
    source.scan(
        &plan,
        budget,
        &mut |trace| match look_at(trace, stages, &fields, search, budget) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(trace)) => {
                found.push(trace);
                if found.len() == search.limit {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }
            Err(e) => {
                failure = Some(e);
                ControlFlow::Break(())
            }
        },
    )?;
    failure.map_or(Ok(found), Err)
}

/// Calls `visit` with the whole traces that `query` finds, all they have included, newest first, `search.limit` at most.
/// Nothing is shown of spans: `search.spans_per_set` does not matter.
///
/// # Errors
/// As [`search`](self::search), and those of `visit`, which end it.
pub fn visit_traces(
    source: &dyn TraceSource,
    query: &Query,
    search: &Search,
    budget: &Budget,
    visit: &mut dyn FnMut(&Trace) -> Result<()>,
) -> Result<()> {
    let Root::Spans(stages) = &query.root else { return Err(no_search()) };
    if search.limit == 0 {
        return Ok(());
    }
    let mut demand = Demand::default();
    (demand.is_whole, demand.all_attributes) = (true, true);
    demand.stages(stages);
    let plan = demand.plan(stages, search.range);
    let mut left = search.limit;
    let mut outcome = Ok(());
    source.scan(&plan, budget, &mut |trace| {
        outcome = look_at(trace, stages, &[], search, budget).and_then(|found| {
            left -= usize::from(found.is_some());
            if found.is_some() { visit(trace) } else { Ok(()) }
        });
        if outcome.is_err() || left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    outcome
}

fn no_search() -> Error {
    Error::invalid(
        "the query is a metric: it has series and no traces; ask for it as a metrics query",
    )
}

fn look_at(
    trace: &Trace,
    stages: &[Stage],
    fields: &[&Field],
    search: &Search,
    budget: &Budget,
) -> Result<Option<FoundTrace>> {
    budget.check()?;
    let view = View::paid(trace, budget)?;
    let duration_ns = view.duration_ns();
    if search.duration_ns_min.is_some_and(|min| duration_ns < min)
        || search.duration_ns_max.is_some_and(|max| duration_ns > max)
    {
        return Ok(None);
    }
    let sets = spansets::run(&view, stages)?;
    let is_within = |span: &u32| search.range.contains(view.span(*span).start_ns);
    if !sets.iter().flat_map(|set| &set.spans).any(is_within) {
        return Ok(None);
    }
    budget.charge_bytes(size_of::<FoundTrace>() as u64)?;
    let shown = sets.into_iter().map(|set| show(&view, set, fields, search, budget));
    let sets = shown.collect::<Result<_>>()?;
    Ok(Some(FoundTrace {
        trace_id: trace.trace_id,
        root_service: view.root_service().map(str::to_owned),
        root_name: view.root_name().map(str::to_owned),
        start_ns: view.start_ns(),
        duration_ns,
        sets,
    }))
}

/// What is shown of a set, which `budget` pays for.
fn show(
    view: &View<'_>,
    set: Set,
    fields: &[&Field],
    search: &Search,
    budget: &Budget,
) -> Result<FoundSet> {
    let matched = set.spans.len();
    let said = set.said.iter().map(|(name, value)| pair_bytes(name, value)).sum::<usize>();
    budget.charge_bytes((size_of::<FoundSet>() + said) as u64)?;
    let span = |index: u32| {
        let span = view.span(index);
        let value = |field: &&Field| match view.value(index, field) {
            Value::Nil => None,
            value => Some((key(field), value.into_owned())),
        };
        let attributes: Vec<_> = fields.iter().filter_map(value).collect();
        let pairs = attributes.iter().map(|(name, value)| pair_bytes(name, value));
        let bytes = size_of::<FoundSpan>() + span.name.len() + pairs.sum::<usize>();
        budget.charge_bytes(bytes as u64)?;
        Ok(FoundSpan {
            span_id: span.span_id,
            name: span.name.to_string(),
            start_ns: span.start_ns,
            duration_ns: span.duration_ns(),
            attributes,
        })
    };
    let spans = set.spans.into_iter().take(search.spans_per_set).map(span);
    Ok(FoundSet { spans: spans.collect::<Result<_>>()?, matched, attributes: set.said })
}

/// Memory that a pair of a name and a value takes, about.
fn pair_bytes(name: &str, value: &Value<'_>) -> usize {
    size_of::<(String, Value<'_>)>() + name.len() + value.heap_bytes()
}

/// What a field is called in results: attributes go without their scope.
fn key(field: &Field) -> String {
    match &field.kind {
        FieldKind::Attribute(_, name) if !field.is_of_parent => name.clone(),
        _ => field.text.clone(),
    }
}

/// Fields to show of spans: all that the query names but those that every span is shown with, each once.
fn fields(stages: &[Stage]) -> Vec<&Field> {
    let mut all: Vec<&Field> = Vec::new();
    ast::each_field(stages, &mut |field| {
        let is_shown = !field.is_of_parent
            && matches!(
                field.kind,
                FieldKind::Intrinsic(
                    Intrinsic::Name | Intrinsic::Duration | Intrinsic::SpanId | Intrinsic::IsRoot
                )
            );
        if !is_shown && !all.iter().any(|known| key(known) == key(field)) {
            all.push(field);
        }
    });
    all
}

//! A source of traces in memory: applies plans literally, so that what a plan leaves out is missed.

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{
    AttributeScope, AttributeValue, Attributes, Budget, Operation, Resource, Result, Scope, Span,
    SpanCondition, SpanEvent, SpanField, SpanGroup, SpanKind, SpanStatus, TimeRange, Trace,
    TracePlan, TraceSource,
};

/// 2024-05-01T00:00:00Z.
pub(super) const MAY_NS: i64 = 1_714_521_600_000_000_000;
pub(super) const MS: i64 = 1_000_000;

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) traces: Vec<Trace>,
}

pub(super) fn attributes(all: &[(&str, AttributeValue)]) -> Attributes {
    all.iter().map(|(name, value)| (Arc::from(*name), value.clone())).collect()
}

pub(super) fn text(text: &str) -> AttributeValue {
    AttributeValue::String(text.to_owned())
}

/// A span of `service`, in milliseconds from [`MAY_NS`].
pub(super) fn span(id: u64, parent_id: u64, name: &str, start: i64, duration: i64) -> Span {
    Span {
        trace_id: 1,
        span_id: id,
        parent_id,
        name: Arc::from(name),
        start_ns: MAY_NS + start * MS,
        end_ns: MAY_NS + (start + duration) * MS,
        ..Span::default()
    }
}

pub(super) fn group(service: &str, spans: Vec<Span>) -> SpanGroup {
    let resource = Resource {
        attributes: attributes(&[("service.name", text(service)), ("cluster", text("one"))]),
        ..Resource::default()
    };
    let scope = Scope { name: "lib".to_owned(), version: "1.2".to_owned(), ..Scope::default() };
    SpanGroup { resource: Arc::new(resource), scope: Arc::new(scope), spans }
}

/// A shop: `web` calls `cart` twice and `db` below it; one call of `db` fails. A second later, a trace of one span; and long
/// before both one whose root is not stored.
pub(super) fn shop() -> Table {
    let mut root = span(1, 0, "GET /", 0, 100);
    root.kind = SpanKind::Server;
    root.attributes = attributes(&[
        ("http.method", text("GET")),
        ("http.status_code", AttributeValue::Int(500)),
        ("tags", AttributeValue::Array(vec![text("a"), text("b")])),
        ("hit", AttributeValue::Bool(true)),
    ]);
    let mut first = span(2, 1, "cart.add", 10, 30);
    first.kind = SpanKind::Client;
    first.attributes = attributes(&[("size", AttributeValue::Int(10)), ("cluster", text("two"))]);
    let mut second = span(3, 1, "cart.list", 50, 20);
    second.attributes = attributes(&[("size", AttributeValue::Double(2.5))]);
    let mut query = span(4, 2, "SELECT", 15, 5);
    query.status = SpanStatus::Ok;
    let mut failed = span(5, 2, "INSERT", 22, 10);
    failed.status = SpanStatus::Error;
    failed.status_message = "lock timeout".to_owned();
    failed.events = vec![
        SpanEvent {
            t_ns: failed.start_ns + 9 * MS,
            name: Arc::from("exception"),
            attributes: attributes(&[("exception.type", text("Timeout"))]),
            ..SpanEvent::default()
        },
        SpanEvent { t_ns: failed.start_ns, name: Arc::from("log"), ..SpanEvent::default() },
    ];
    let first_trace = Trace {
        trace_id: 1,
        groups: vec![
            group("web", vec![root]),
            group("cart", vec![first, second]),
            group("db", vec![query, failed]),
        ],
    };
    let mut single = span(7, 0, "GET /health", 1000, 1);
    single.trace_id = 2;
    let mut orphan = span(8, 6, "late", -5000, 2);
    orphan.trace_id = 3;
    let single = Trace { trace_id: 2, groups: vec![group("web", vec![single])] };
    let orphan = Trace { trace_id: 3, groups: vec![group("worker", vec![orphan])] };
    Table { traces: vec![orphan, first_trace, single] }
}

fn holds(condition: &SpanCondition, group: &SpanGroup, span: &Span) -> bool {
    let (field, test) = match condition {
        SpanCondition::Always => return true,
        SpanCondition::All(all) => return all.iter().all(|c| holds(c, group, span)),
        SpanCondition::Any(any) => return any.iter().any(|c| holds(c, group, span)),
        SpanCondition::Test(field, test) => (field, test),
    };
    let test = |value: &AttributeValue| {
        let holds = test.holds(value);
        // What is known of a test is what it says.
        match value {
            AttributeValue::String(text) => {
                assert!(test.text().is_none_or(|wanted| (text == wanted) == holds), "{text}");
            }
            AttributeValue::Int(n) => {
                assert!(test.ints().is_none_or(|ints| ints.contains(n) == holds), "{n}");
            }
            _ => {}
        }
        holds
    };
    let int = |n: i64| test(&AttributeValue::Int(n));
    let has = |attributes: &Attributes, name: &str| {
        attributes.iter().any(|(key, value)| **key == *name && test(value))
    };
    match field {
        SpanField::Name => test(&text(&span.name)),
        SpanField::Kind => int(span.kind as i64),
        SpanField::Status => int(span.status as i64),
        SpanField::Duration { ns_min } => {
            span.duration_ns() >= *ns_min && int(span.duration_ns() as i64)
        }
        SpanField::Root => test(&AttributeValue::Bool(span.parent_id == 0)),
        SpanField::Service => group.resource.service().is_some_and(|s| test(&text(s))),
        SpanField::Attribute(scope, name) => match scope {
            AttributeScope::Resource => has(&group.resource.attributes, name),
            AttributeScope::Instrumentation => has(&group.scope.attributes, name),
            AttributeScope::Span => has(&span.attributes, name),
            AttributeScope::Event => span.events.iter().any(|e| has(&e.attributes, name)),
            AttributeScope::Link => span.links.iter().any(|l| has(&l.attributes, name)),
        },
    }
}

fn project(plan: &TracePlan, span: &Span) -> Span {
    let mut span = span.clone();
    let keep = |attributes: &mut Attributes| {
        attributes.retain(|(name, _)| plan.attributes.as_ref().is_none_or(|w| w.contains(&**name)));
    };
    keep(&mut span.attributes);
    span.events.iter_mut().for_each(|e| keep(&mut e.attributes));
    span.links.iter_mut().for_each(|l| keep(&mut l.attributes));
    if !plan.details {
        span.events.clear();
        span.links.clear();
        span.status_message.clear();
    }
    span
}

impl TraceSource for Table {
    fn scan(
        &self,
        plan: &TracePlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&Trace) -> ControlFlow<()>,
    ) -> Result<()> {
        for trace in self.traces.iter().rev() {
            let all = || trace.groups.iter().flat_map(|g| g.spans.iter().map(move |s| (g, s)));
            budget.charge_samples(all().count() as u64)?;
            let is_wanted = |group: &SpanGroup, span: &Span| {
                plan.range.contains(span.start_ns)
                    && plan.conditions.iter().any(|c| holds(c, group, span))
            };
            let is_complete = plan.conditions.iter().all(|c| all().any(|(g, s)| holds(c, g, s)));
            if plan.is_whole && !(is_complete && all().any(|(g, s)| is_wanted(g, s))) {
                continue;
            }
            let mut shown = trace.clone();
            for group in &mut shown.groups {
                let of = SpanGroup { spans: Vec::new(), ..group.clone() };
                group.spans.retain(|span| plan.is_whole || is_wanted(&of, span));
                group.spans.iter_mut().for_each(|span| *span = project(plan, span));
            }
            if visit(&shown).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn trace(&self, _: u128, _: &Budget) -> Result<Option<Trace>> {
        unreachable!("TraceQL scans")
    }

    fn services(&self, _: TimeRange, _: &Budget) -> Result<Vec<String>> {
        unreachable!("TraceQL scans")
    }

    fn operations(&self, _: &str, _: TimeRange, _: &Budget) -> Result<Vec<Operation>> {
        unreachable!("TraceQL scans")
    }

    fn attribute_names(&self, _: TimeRange, _: &Budget) -> Result<Vec<(AttributeScope, String)>> {
        unreachable!("TraceQL scans")
    }

    fn attribute_values(
        &self,
        _: AttributeScope,
        _: &str,
        _: TimeRange,
        _: usize,
        _: &Budget,
    ) -> Result<Vec<AttributeValue>> {
        unreachable!("TraceQL scans")
    }
}

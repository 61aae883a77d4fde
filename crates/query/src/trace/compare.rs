//! What is different about some traces: two sets of them, value by value of their attributes and service by service.
//!
//! A trace counts once for a value, however many of its spans have it, so that large traces weigh as much as small ones.
//! Time is that of spans without their children. Of a call (a client's span, or one without a kind whose children are all
//! of other services) it passes on the way and in the queues of the service that is called, and counts for that one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::{AttributeValue, Attributes, Budget, Result, SpanKind, SpanStatus, Trace};

use super::Waterfall;
use super::waterfall::{Row, is_same_service};
use crate::traceql::Value;

/// Values told apart of one attribute; further ones are left out, and the attribute is named.
const VALUES_MAX: usize = 10_000;

/// Which of the sets a trace is of; Tempo's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What is usual.
    Baseline,
    /// What is to be explained.
    Selection,
}

/// Two sets of traces, being gathered. Pairs are of the baseline and the selection, in this order.
#[derive(Debug, Default)]
pub struct Comparison {
    durations_ns: [Vec<u64>; 2],
    spans: [u64; 2],
    failed: [u64; 2],
    attributes: BTreeMap<String, Values>,
    services: BTreeMap<Option<String>, Times>,
    operations: BTreeMap<(Option<String>, String), Times>,
    /// Number of the last trace, from 1.
    number: u64,
}

/// Values of one attribute.
#[derive(Debug, Default)]
struct Values {
    counts: BTreeMap<String, Count>,
    is_cut: bool,
}

/// Traces that have something.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    traces: [u64; 2],
    /// The last one.
    number: u64,
}

impl Count {
    fn add(&mut self, side: usize, number: u64) {
        if self.number != number {
            self.number = number;
            self.traces[side] += 1;
        }
    }
}

#[derive(Debug, Default)]
struct Times {
    in_traces: Count,
    spans: [u64; 2],
    errors: [u64; 2],
    duration_ns: [u64; 2],
    self_ns: [u64; 2],
}

/// One set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SideTime {
    /// Traces in it.
    pub traces: u64,
    /// Spans of these.
    pub spans: u64,
    /// Traces with a span that failed.
    pub failed: u64,
    /// Nanoseconds from first start to last end: median, nearest rank.
    pub median_ns: u64,
    /// Likewise, the longest.
    pub max_ns: u64,
}

/// How many traces of each set have a value.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeShare {
    /// As TraceQL spells it: `span.http.route`, `resource.service.version`, `name`, `kind`, `status`, `statusMessage`.
    pub name: String,
    /// The value as text.
    pub value: String,
    /// Traces with a span that has it.
    pub traces: [u64; 2],
    /// The same as parts of all traces of the set, 0 to 1.
    pub shares: [f64; 2],
}

impl AttributeShare {
    /// By how much more of the selection has it than of the baseline, -1 to 1.
    pub fn difference(&self) -> f64 {
        self.shares[1] - self.shares[0]
    }
}

/// Time spent in a service, that of calls to it included.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceTime {
    /// Its name; `None` for spans that name none.
    pub service: Option<String>,
    /// Traces with one of its spans, or with a call to it.
    pub traces: [u64; 2],
    /// Its spans, and calls to it.
    pub spans: [u64; 2],
    /// Those that failed.
    pub errors: [u64; 2],
    /// Nanoseconds of all of them without their children.
    pub self_ns: [u64; 2],
    /// The same for each trace of the set, on average.
    pub self_ns_per_trace: [f64; 2],
    /// The same as a part of that of all services, 0 to 1.
    pub self_shares: [f64; 2],
}

/// Spans of one name and service.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationTime {
    /// Name of the service, if they have one.
    pub service: Option<String>,
    /// Name of the spans.
    pub name: String,
    /// Traces with one of them.
    pub traces: [u64; 2],
    /// How many there are.
    pub spans: [u64; 2],
    /// Those that failed.
    pub errors: [u64; 2],
    /// Nanoseconds of one, on average; `None` where there is none.
    pub duration_ns: [Option<f64>; 2],
    /// Nanoseconds without their children for each trace of the set, on average.
    pub self_ns_per_trace: [f64; 2],
}

/// What is different.
#[derive(Debug, Clone, PartialEq)]
pub struct Sides {
    /// The sets.
    pub sides: [SideTime; 2],
    /// The largest differences first, in either direction.
    pub attributes: Vec<AttributeShare>,
    /// Where time was added first.
    pub services: Vec<ServiceTime>,
    /// Where time was added first.
    pub operations: Vec<OperationTime>,
    /// Attributes with more values than are told apart.
    pub cut: Vec<String>,
}

impl Comparison {
    /// Adds a trace, whole.
    ///
    /// # Errors
    /// [`Limit`](model::ErrorKind::Limit) or [`Cancelled`](model::ErrorKind::Cancelled) from `budget`, which pays for each
    /// value once.
    pub fn add(&mut self, side: Side, trace: &Trace, budget: &Budget) -> Result<()> {
        let waterfall = Waterfall::new(trace, budget)?;
        self.number += 1;
        let side = side as usize;
        self.durations_ns[side].push(waterfall.duration_ns);
        self.spans[side] += waterfall.rows.len() as u64;
        let callees = callees(&waterfall.rows);
        let mut has_failed = false;
        for (row, callee) in waterfall.rows.iter().zip(callees) {
            has_failed |= row.span.status == SpanStatus::Error;
            self.span(side, row, budget)?;
            let own = row.service().map(str::to_owned);
            let operation = (own.clone(), row.span.name.to_string());
            let charged = match callee {
                Some(callee) => waterfall.rows[callee as usize].service().map(str::to_owned),
                None => own,
            };
            budget.charge_bytes(if self.services.contains_key(&charged) { 0 } else { 200 })?;
            budget.charge_bytes(if self.operations.contains_key(&operation) { 0 } else { 300 })?;
            self.services.entry(charged).or_default().add(side, self.number, row);
            self.operations.entry(operation).or_default().add(side, self.number, row);
        }
        self.failed[side] += u64::from(has_failed);
        for (at, group) in trace.groups.iter().enumerate() {
            let is_known = |before: &model::SpanGroup| {
                std::sync::Arc::ptr_eq(&before.resource, &group.resource)
            };
            if !trace.groups[..at].last().is_some_and(is_known) {
                self.attributes(side, "resource", &group.resource.attributes, budget)?;
            }
        }
        // What it took to take the trace apart is free again.
        budget.release_bytes(Waterfall::cost_bytes(waterfall.rows.len()));
        Ok(())
    }

    fn span(&mut self, side: usize, row: &Row<'_>, budget: &Budget) -> Result<()> {
        let span = row.span;
        self.value(side, "name", &span.name, budget)?;
        self.value(side, "kind", &Value::Kind(span.kind).to_string(), budget)?;
        self.value(side, "status", &Value::Status(span.status).to_string(), budget)?;
        if !span.status_message.is_empty() {
            self.value(side, "statusMessage", &span.status_message, budget)?;
        }
        self.attributes(side, "span", &span.attributes, budget)
    }

    fn attributes(
        &mut self,
        side: usize,
        scope: &str,
        attributes: &Attributes,
        budget: &Budget,
    ) -> Result<()> {
        let (mut name, mut text) = (String::new(), String::new());
        for (key, value) in attributes {
            name.clear();
            text.clear();
            // Writing to a string cannot fail.
            let _infallible = write!(name, "{scope}.{key}");
            match value {
                AttributeValue::String(value) => text.push_str(value),
                value => {
                    let _infallible = write!(text, "{value}");
                }
            }
            self.value(side, &name, &text, budget)?;
        }
        Ok(())
    }

    fn value(&mut self, side: usize, name: &str, value: &str, budget: &Budget) -> Result<()> {
        if !self.attributes.contains_key(name) {
            budget.charge_bytes(name.len() as u64 + 100)?;
            self.attributes.insert(name.to_owned(), Values::default());
        }
        let Some(values) = self.attributes.get_mut(name) else { return Ok(()) };
        if let Some(count) = values.counts.get_mut(value) {
            count.add(side, self.number);
        } else if values.counts.len() < VALUES_MAX {
            budget.charge_bytes(value.len() as u64 + 100)?;
            values.counts.entry(value.to_owned()).or_default().add(side, self.number);
        } else {
            values.is_cut = true;
        }
        Ok(())
    }

    /// What is different about the selection.
    pub fn finish(self) -> Sides {
        let traces = self.durations_ns.each_ref().map(|all| all.len() as u64);
        let part = |of: u64, all: u64| if all == 0 { 0.0 } else { of as f64 / all as f64 };
        let each = |of: [u64; 2]| [part(of[0], traces[0]), part(of[1], traces[1])];
        let mut durations_ns = self.durations_ns;
        let sides = [0, 1].map(|side| {
            let all = &mut durations_ns[side];
            all.sort_unstable();
            SideTime {
                traces: traces[side],
                spans: self.spans[side],
                failed: self.failed[side],
                median_ns: all.get(all.len().div_ceil(2).saturating_sub(1)).copied().unwrap_or(0),
                max_ns: all.last().copied().unwrap_or(0),
            }
        });
        let (mut attributes, mut cut) = (Vec::new(), Vec::new());
        for (name, values) in self.attributes {
            if values.is_cut {
                cut.push(name.clone());
            }
            attributes.extend(values.counts.into_iter().map(|(value, count)| {
                let (traces, shares) = (count.traces, each(count.traces));
                AttributeShare { name: name.clone(), value, traces, shares }
            }));
        }
        // Stable: of equal differences those of the first names and values.
        attributes.sort_by(|a, b| b.difference().abs().total_cmp(&a.difference().abs()));
        let total_ns = [0, 1].map(|side| self.services.values().map(|t| t.self_ns[side]).sum());
        let mut services: Vec<ServiceTime> = self
            .services
            .into_iter()
            .map(|(service, times)| ServiceTime {
                service,
                traces: times.in_traces.traces,
                spans: times.spans,
                errors: times.errors,
                self_ns: times.self_ns,
                self_ns_per_trace: each(times.self_ns),
                self_shares: [0, 1].map(|side| part(times.self_ns[side], total_ns[side])),
            })
            .collect();
        services.sort_by(|a, b| added(b.self_ns_per_trace).total_cmp(&added(a.self_ns_per_trace)));
        let mut operations: Vec<OperationTime> = self
            .operations
            .into_iter()
            .map(|((service, name), times)| OperationTime {
                service,
                name,
                traces: times.in_traces.traces,
                spans: times.spans,
                errors: times.errors,
                duration_ns: [0, 1].map(|side| {
                    let spans = times.spans[side];
                    (spans > 0).then(|| part(times.duration_ns[side], spans))
                }),
                self_ns_per_trace: each(times.self_ns),
            })
            .collect();
        operations
            .sort_by(|a, b| added(b.self_ns_per_trace).total_cmp(&added(a.self_ns_per_trace)));
        Sides { sides, attributes, services, operations, cut }
    }
}

fn added(of: [f64; 2]) -> f64 {
    of[1] - of[0]
}

impl Times {
    fn add(&mut self, side: usize, number: u64, row: &Row<'_>) {
        self.in_traces.add(side, number);
        self.spans[side] += 1;
        self.errors[side] += u64::from(row.span.status == SpanStatus::Error);
        // Times of broken clocks do not wrap around.
        let add = |sum: &mut u64, ns: u64| *sum = sum.saturating_add(ns);
        add(&mut self.duration_ns[side], row.span.duration_ns());
        add(&mut self.self_ns[side], row.self_ns);
    }
}

/// For each row that is a call, a row of the service that it calls: its first child of another one.
fn callees(rows: &[Row<'_>]) -> Vec<Option<u32>> {
    let mut callees: Vec<Option<u32>> = vec![None; rows.len()];
    let mut has_inner = vec![false; rows.len()];
    for (at, row) in rows.iter().enumerate() {
        let Some(parent) = row.parent.map(|parent| parent as usize) else { continue };
        if is_same_service(rows[parent].group, row.group) {
            has_inner[parent] = true;
        } else {
            callees[parent] = callees[parent].or(Some(at as u32));
        }
    }
    for ((row, callee), has_inner) in rows.iter().zip(&mut callees).zip(has_inner) {
        let is_call = match row.span.kind {
            SpanKind::Client | SpanKind::Producer => true,
            SpanKind::Unspecified => !has_inner,
            SpanKind::Internal | SpanKind::Server | SpanKind::Consumer => false,
        };
        if !is_call {
            *callee = None;
        }
    }
    callees
}

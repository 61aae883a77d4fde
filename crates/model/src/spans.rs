//! Traces: the span with all that OTLP says of it, batches of spans, and the plans with which queries ask for traces.
//!
//! Nothing that came is lost: the types keep order, types and repetitions of attributes, and ends before starts.
//! Does not own: wire formats (`ingest`), what a tree of spans looks like (`query`).

mod edges;
mod plan;

use std::fmt::{self, Write as _};
use std::ops::ControlFlow;
use std::sync::Arc;

pub use edges::{
    CallSide, Connection, DATABASES, Durations, Edge, EdgePlan, EdgeTable, Family, Member, PEERS,
    Peer, USER,
};
pub use plan::{SpanCondition, SpanField, TracePlan, ValueTest};

use crate::{Budget, Result, TimeRange};

/// A value of an attribute, as OTLP types them.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// No value at all.
    Empty,
    /// Text.
    String(String),
    /// Truth value.
    Bool(bool),
    /// Integer.
    Int(i64),
    /// Floating point.
    Double(f64),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    Array(Vec<AttributeValue>),
    /// Named values in order.
    Map(Vec<(String, AttributeValue)>),
}

impl fmt::Display for AttributeValue {
    /// As the OpenTelemetry collector writes values as text: bytes in base64, arrays and maps as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::String(text) => f.write_str(text),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value}"),
            Self::Bytes(bytes) => write_base64(bytes, f),
            Self::Array(_) | Self::Map(_) => self.write_json(f),
        }
    }
}

impl AttributeValue {
    fn write_json(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("null"),
            Self::String(text) => write_quoted(text, f),
            Self::Double(value) if !value.is_finite() => write!(f, "\"{value}\""),
            Self::Bool(_) | Self::Int(_) | Self::Double(_) => write!(f, "{self}"),
            Self::Bytes(bytes) => {
                f.write_char('"')?;
                write_base64(bytes, f)?;
                f.write_char('"')
            }
            Self::Array(values) => {
                f.write_char('[')?;
                for (i, value) in values.iter().enumerate() {
                    f.write_str(if i > 0 { "," } else { "" })?;
                    value.write_json(f)?;
                }
                f.write_char(']')
            }
            Self::Map(values) => {
                f.write_char('{')?;
                for (i, (name, value)) in values.iter().enumerate() {
                    f.write_str(if i > 0 { "," } else { "" })?;
                    write_quoted(name, f)?;
                    f.write_char(':')?;
                    value.write_json(f)?;
                }
                f.write_char('}')
            }
        }
    }
}

fn write_quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

fn write_base64(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            f.write_char(if i > three.len() { '=' } else { char::from(digit) })?;
        }
    }
    Ok(())
}

/// Attributes in the order they came, names that repeat included.
pub type Attributes = Vec<(Arc<str>, AttributeValue)>;

/// What a span was to its neighbours; numbers as in OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SpanKind {
    /// Not said.
    #[default]
    Unspecified,
    /// Inside of a service.
    Internal,
    /// The server's side of a call.
    Server,
    /// The caller's side of a call.
    Client,
    /// Sent a message.
    Producer,
    /// Received a message.
    Consumer,
}

impl SpanKind {
    /// All, by their number.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::Internal,
        Self::Server,
        Self::Client,
        Self::Producer,
        Self::Consumer,
    ];
}

/// Status of a span; numbers as in OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SpanStatus {
    /// Not set.
    #[default]
    Unset,
    /// Declared good.
    Ok,
    /// Failed.
    Error,
}

impl SpanStatus {
    /// All, by their number.
    pub const ALL: [Self; 3] = [Self::Unset, Self::Ok, Self::Error];
}

/// Something that happened at a moment of a span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpanEvent {
    /// Unix nanoseconds, UTC.
    pub t_ns: i64,
    /// What.
    pub name: Arc<str>,
    /// In order.
    pub attributes: Attributes,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
}

/// Another span that this one has to do with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpanLink {
    /// 128-bit trace id.
    pub trace_id: u128,
    /// 64-bit span id.
    pub span_id: u64,
    /// W3C `tracestate` of the other span.
    pub trace_state: String,
    /// W3C trace flags.
    pub flags: u32,
    /// In order.
    pub attributes: Attributes,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
}

/// Who sent spans: a service's process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    /// In order (`service.name`, …).
    pub attributes: Attributes,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
    /// URL of the conventions its names follow.
    pub schema_url: String,
}

/// The library that made spans.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// In order.
    pub attributes: Attributes,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
    /// URL of the conventions its names follow.
    pub schema_url: String,
}

/// One operation of one service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Span {
    /// 128-bit trace id, never 0.
    pub trace_id: u128,
    /// 64-bit span id, never 0.
    pub span_id: u64,
    /// Parent's span id; 0 for a root.
    pub parent_id: u64,
    /// W3C `tracestate`.
    pub trace_state: String,
    /// W3C trace flags and what OTLP adds to them.
    pub flags: u32,
    /// Operation name.
    pub name: Arc<str>,
    /// What it was to its neighbours.
    pub kind: SpanKind,
    /// Unix nanoseconds, UTC.
    pub start_ns: i64,
    /// Unix nanoseconds, UTC; before `start_ns` when a sender's clock was set meanwhile.
    pub end_ns: i64,
    /// Status.
    pub status: SpanStatus,
    /// What the sender said of its status.
    pub status_message: String,
    /// In order.
    pub attributes: Attributes,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
    /// In order.
    pub events: Vec<SpanEvent>,
    /// Events that the sender left out.
    pub dropped_events: u32,
    /// In order.
    pub links: Vec<SpanLink>,
    /// Links that the sender left out.
    pub dropped_links: u32,
}

impl Span {
    /// Nanoseconds from start to end; 0 when it ends before it starts.
    pub fn duration_ns(&self) -> u64 {
        u64::try_from(i128::from(self.end_ns) - i128::from(self.start_ns)).unwrap_or(0)
    }
}

/// Spans of one library in one process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpanGroup {
    /// Whose they are; the same allocation for groups of one resource where the receiver can.
    pub resource: Arc<Resource>,
    /// What made them.
    pub scope: Arc<Scope>,
    /// In the order they came.
    pub spans: Vec<Span>,
}

/// What a receiver hands over: spans of any number of traces.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpanBatch {
    /// Who took them (`otlp`, `zipkin`); the ledger's source.
    pub source: Arc<str>,
    /// The spans.
    pub groups: Vec<SpanGroup>,
}

impl SpanBatch {
    /// Spans in it.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.spans.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.spans.is_empty())
    }
}

impl Resource {
    /// `service.name`, if it is text.
    pub fn service(&self) -> Option<&str> {
        self.attributes.iter().find_map(|(name, value)| match value {
            AttributeValue::String(text) if &**name == "service.name" => Some(text.as_str()),
            _ => None,
        })
    }
}

/// All stored spans of one trace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// 128-bit trace id.
    pub trace_id: u128,
    /// Spans by resource and scope, ascending by start within each.
    pub groups: Vec<SpanGroup>,
}

impl Trace {
    /// How many spans it has.
    pub fn span_count(&self) -> usize {
        self.groups.iter().map(|group| group.spans.len()).sum()
    }

    /// Bytes of memory its spans take, about; names, which many share, are not counted.
    pub fn memory_bytes(&self) -> usize {
        fn value_bytes(value: &AttributeValue) -> usize {
            match value {
                AttributeValue::String(text) => text.len(),
                AttributeValue::Bytes(bytes) => bytes.len(),
                AttributeValue::Array(list) => {
                    list.iter().map(|value| size_of::<AttributeValue>() + value_bytes(value)).sum()
                }
                AttributeValue::Map(map) => {
                    let pair = size_of::<(String, AttributeValue)>();
                    map.iter().map(|(name, value)| pair + name.len() + value_bytes(value)).sum()
                }
                _ => 0,
            }
        }
        fn attribute_bytes(attributes: &Attributes) -> usize {
            let pair = size_of::<(Arc<str>, AttributeValue)>();
            attributes.iter().map(|(_, value)| pair + value_bytes(value)).sum()
        }
        let span_bytes = |span: &Span| {
            let events = span.events.iter();
            let events = events.map(|e| size_of::<SpanEvent>() + attribute_bytes(&e.attributes));
            let links = span.links.iter();
            let links = links.map(|l| size_of::<SpanLink>() + attribute_bytes(&l.attributes));
            size_of::<Span>()
                + attribute_bytes(&span.attributes)
                + events.chain(links).sum::<usize>()
                + span.trace_state.len()
                + span.status_message.len()
        };
        self.groups.iter().flat_map(|group| &group.spans).map(span_bytes).sum()
    }
}

/// Where an attribute stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttributeScope {
    /// On the resource.
    Resource,
    /// On the library that made the span.
    Instrumentation,
    /// On the span itself.
    Span,
    /// On one of its events.
    Event,
    /// On one of its links.
    Link,
}

impl AttributeScope {
    /// All, in order.
    pub const ALL: [Self; 5] =
        [Self::Resource, Self::Instrumentation, Self::Span, Self::Event, Self::Link];
}

/// What a service does: a name of its spans.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation {
    /// Name of the spans.
    pub name: String,
    /// Number of their kind, in [`SpanKind::ALL`].
    pub kind: u8,
}

/// Memory that an edge takes, about.
pub const EDGE_BYTES: u64 = 4 << 10;

/// Something that holds traces.
pub trait TraceSource: Send + Sync {
    /// One trace by its id.
    ///
    /// # Errors
    /// [`Limit`](crate::ErrorKind::Limit) or [`Cancelled`](crate::ErrorKind::Cancelled) from `budget`, or a failure to
    /// read.
    fn trace(&self, trace_id: u128, budget: &Budget) -> Result<Option<Trace>>;

    /// Calls `visit` with the traces of `plan`, newest first by the start of their first spans, until it breaks.
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn scan(
        &self,
        plan: &TracePlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&Trace) -> ControlFlow<()>,
    ) -> Result<()>;

    /// Services with spans that start within `range`, sorted. Sources may add those of spans stored beside them.
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn services(&self, range: TimeRange, budget: &Budget) -> Result<Vec<String>>;

    /// What `service` does within `range`, sorted; as [`services`](Self::services).
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn operations(
        &self,
        service: &str,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Operation>>;

    /// Calls between services, by caller, called and kind. Sources that know a cheaper way than to look at whole traces take
    /// it; of a call whose two spans start on both sides of an end of the range they may take the caller's for unanswered.
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn edges(&self, plan: &EdgePlan, budget: &Budget) -> Result<Vec<Edge>> {
        let traces = TracePlan {
            range: plan.range,
            conditions: vec![SpanCondition::Always],
            is_whole: true,
            attributes: Some(PEERS.iter().map(|name| (*name).to_owned()).collect()),
            details: false,
        };
        let mut table = EdgeTable::default();
        let mut held = 0;
        let mut outcome = Ok(());
        self.scan(&traces, budget, &mut |trace| {
            table.add_trace(trace, plan);
            let edges = table.len() as u64;
            outcome = budget.charge_bytes((edges - held) * EDGE_BYTES);
            held = edges;
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        budget.release_bytes(held * EDGE_BYTES);
        outcome.map(|()| table.finish())
    }

    /// Names of attributes within `range`, sorted; as [`services`](Self::services).
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn attribute_names(
        &self,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<(AttributeScope, String)>>;

    /// Values of the attribute `name` of `scope` within `range`, each once, sorted by their text and not more than
    /// `limit`; as [`services`](Self::services).
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn attribute_values(
        &self,
        scope: AttributeScope,
        name: &str,
        range: TimeRange,
        limit: usize,
        budget: &Budget,
    ) -> Result<Vec<AttributeValue>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_collectors_texts() {
        let text = |t: &str| AttributeValue::String(t.to_owned());
        let check = |value: AttributeValue, expect: &str| assert_eq!(value.to_string(), expect);
        check(text("a\"b"), "a\"b");
        check(AttributeValue::Int(-3), "-3");
        check(AttributeValue::Double(0.5), "0.5");
        check(AttributeValue::Empty, "");
        check(AttributeValue::Bytes(b"foobar".to_vec()), "Zm9vYmFy");
        check(AttributeValue::Bytes(b"fooba".to_vec()), "Zm9vYmE=");
        check(AttributeValue::Bytes(b"f".to_vec()), "Zg==");
        let nested = AttributeValue::Map(vec![
            ("a".to_owned(), AttributeValue::Array(vec![text("x\"\n"), AttributeValue::Empty])),
            ("b".to_owned(), AttributeValue::Bool(true)),
            ("c".to_owned(), AttributeValue::Bytes(vec![0])),
        ]);
        check(nested, r#"{"a":["x\"\n",null],"b":true,"c":"AA=="}"#);
    }
}

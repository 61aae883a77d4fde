//! Traces: the span, and the plans with which queries ask for traces.

use std::sync::Arc;

use crate::{Budget, Labels, Result, TimeRange};

/// A value of an attribute, as OTLP types them.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
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

/// Status of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpanStatus {
    /// Not set.
    #[default]
    Unset,
    /// Declared good.
    Ok,
    /// Failed.
    Error,
}

/// One operation of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// 128-bit trace id.
    pub trace_id: u128,
    /// 64-bit span id.
    pub span_id: u64,
    /// Parent's span id; 0 for a root.
    pub parent_id: u64,
    /// Operation name.
    pub name: Arc<str>,
    /// Resource labels (`service.name`, …) as text.
    pub resource: Labels,
    /// Unix nanoseconds, UTC.
    pub start_ns: i64,
    /// Nanoseconds.
    pub duration_ns: u64,
    /// Status.
    pub status: SpanStatus,
    /// Attributes in order.
    pub attributes: Vec<(Arc<str>, AttributeValue)>,
}

/// All stored spans of one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// 128-bit trace id.
    pub trace_id: u128,
    /// Ascending by start.
    pub spans: Vec<Span>,
}

/// What a search says about one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSummary {
    /// 128-bit trace id.
    pub trace_id: u128,
    /// Service of the root span, if stored.
    pub root_service: Arc<str>,
    /// Name of the root span, if stored.
    pub root_name: Arc<str>,
    /// Unix nanoseconds, UTC.
    pub start_ns: i64,
    /// Nanoseconds.
    pub duration_ns: u64,
}

/// One request for traces.
#[derive(Debug, Clone)]
pub struct SpanPlan {
    /// Times wanted.
    pub range: TimeRange,
    /// Service name, or any.
    pub service: Option<String>,
    /// Traces wanted at most.
    pub limit: usize,
}

/// Something that holds traces.
pub trait TraceSource: Send + Sync {
    /// Traces for `plan`, newest first.
    ///
    /// # Errors
    /// [`Limit`](crate::ErrorKind::Limit) or [`Cancelled`](crate::ErrorKind::Cancelled) from `budget`, or a failure to
    /// read.
    fn find(&self, plan: &SpanPlan, budget: &Budget) -> Result<Vec<TraceSummary>>;

    /// One trace by its id.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    fn trace(&self, trace_id: u128, budget: &Budget) -> Result<Option<Trace>>;
}

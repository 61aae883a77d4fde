//! The words all rooms share: labels, samples, log records, spans, time, errors, and the traits between rooms.
//!
//! Owns: the vocabulary ([`Labels`], [`MetricBatch`], [`LogBatch`], [`SpanBatch`], [`TimeRange`], [`ErrorKind`]), the
//! [`Clock`], and the traits through which data flows in ([`Sink`]) and out ([`MetricSource`], [`LogSource`],
//! [`TraceSource`]). Does not own: bytes on disk (`storage`), wire formats (`ingest`), query languages (`query`), and
//! anything asynchronous. It depends on nothing above it and does no I/O.

mod budget;
mod duration;
mod error;
pub mod histogram;
pub mod http;
mod labels;
pub mod layout;
mod logs;
mod matcher;
mod metrics;
pub mod re2;
mod retention;
mod rollup;
mod sampling;
mod sink;
mod spans;
mod time;
mod visit;

pub use budget::{Budget, Held, Limits};
pub use duration::{DurationMistake, go_duration_ns, go_unit_ns, sum_of_units};
pub use error::{Error, ErrorKind, Result};
pub use histogram::{BucketSpan, Histogram, ResetHint};
pub use labels::{Labels, LabelsBuilder, METRIC_NAME, Pair};
pub use logs::{
    LineFilter, LineFilterOp, LogAggregation, LogBatch, LogDeletion, LogDemand, LogPlan, LogRecord,
    LogRow, LogRows, LogSource, Order, PATTERN_LABEL, StepCounts, StreamVolume, TENANT_LABEL,
    bytes_of_text, label_of, shown_text, text_of_bytes,
};
pub use matcher::{MatchOp, Matcher, anchored_regex, line_regex};
pub use metrics::{
    Exemplar, ExemplarRow, Grouping, HistogramRow, MetricBatch, MetricKind, MetricMetadata,
    MetricPlan, MetricRow, MetricSource, STALE_NAN_BITS, Selected, SeriesData, SeriesExemplars,
    StampedRow, StartTimes, SteadyRows, is_stale, stale_nan,
};
pub use retention::{RetentionPreview, RetentionRule};
pub use rollup::{FIRST_EVERY, Fall, ROLL_UP_MS, RollUpNeeds, RollUpView, RollUpWindow, window_of};
pub use sampling::{Outcome, TraceSampler, Verdict};
pub use sink::{Done, Receipt, RejectReason, Sink};
pub use spans::{
    AttributeScope, AttributeValue, Attributes, CallSide, Connection, DATABASES, Durations,
    EDGE_BYTES, Edge, EdgePlan, EdgeTable, Family, Member, Operation, PEERS, Peer, Resource, Scope,
    Span, SpanBatch, SpanCondition, SpanEvent, SpanField, SpanGroup, SpanKind, SpanLink,
    SpanStatus, Trace, TracePlan, TraceSource, USER, ValueTest,
};
pub use time::{Clock, ManualClock, SystemClock, TimeRange};
pub use visit::{MetricVisitor, MetricWorker, SeriesView, Together, Visited, group_labels};

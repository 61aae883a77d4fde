//! OTLP: requests in protobuf and JSON; metrics, and what they become as series; logs (`logs.rs`); traces (`traces.rs`).
//!
//! Owns: the messages ([`Request`] and below), their two encodings (`protobuf.rs`, `json.rs`), names (`names.rs`), the
//! translation into rows (`translate.rs`) and delta sums turned cumulative (`delta.rs`). Does not own: compression, HTTP
//! and gRPC (`server`), storing. [`Value`] and attributes are shared by all signals.
//!
//! Source: opentelemetry-proto `metrics/v1`; OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".

pub mod delta;
mod json;
pub mod logs;
pub mod names;
mod protobuf;
#[cfg(test)]
mod tests;
pub mod traces;
pub mod translate;
mod value;

use model::{Error, ErrorKind, Result};

pub(crate) use value::base64;
pub use value::unbase64;
pub use value::{Attributes, Value};

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Binary protobuf.
    Protobuf,
    /// OTLP/JSON.
    Json,
}

impl Encoding {
    /// The one a `Content-Type` header names.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        if media_type.eq_ignore_ascii_case("application/x-protobuf") {
            return Some(Self::Protobuf);
        }
        media_type.eq_ignore_ascii_case("application/json").then_some(Self::Json)
    }
}

/// `ExportMetricsServiceRequest`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// One per resource.
    pub resources: Vec<ResourceMetrics>,
}

/// Metrics of one resource.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceMetrics {
    /// The resource's attributes.
    pub attributes: Attributes,
    /// One per instrumentation scope.
    pub scopes: Vec<ScopeMetrics>,
}

/// Metrics of one instrumentation scope.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScopeMetrics {
    /// Name of the scope.
    pub name: String,
    /// Version of the scope.
    pub version: String,
    /// Attributes of the scope.
    pub attributes: Attributes,
    /// Schema of the metrics.
    pub schema_url: String,
    /// The metrics.
    pub metrics: Vec<Metric>,
}

/// One metric with its points.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metric {
    /// Name.
    pub name: String,
    /// Help.
    pub description: String,
    /// Unit, as UCUM spells it.
    pub unit: String,
    /// Points.
    pub data: Data,
}

/// Points of a metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Data {
    /// None, or of a kind that is not known here.
    #[default]
    Absent,
    /// Current values.
    Gauge(Vec<NumberPoint>),
    /// Sums.
    Sum {
        /// Points.
        points: Vec<NumberPoint>,
        /// Since when they count.
        temporality: Temporality,
        /// Whether they never decrease.
        monotonic: bool,
    },
    /// Histograms with listed bounds.
    Histogram {
        /// Points.
        points: Vec<HistogramPoint>,
        /// Since when they count.
        temporality: Temporality,
    },
    /// Histograms with exponential bounds.
    Exponential {
        /// Points.
        points: Vec<ExponentialPoint>,
        /// Since when they count.
        temporality: Temporality,
    },
    /// Precomputed quantiles.
    Summary(Vec<SummaryPoint>),
}

/// Since when a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Temporality {
    /// Not said; such metrics are refused.
    #[default]
    Unspecified,
    /// Since the point before.
    Delta,
    /// Since a fixed start.
    Cumulative,
}

impl Temporality {
    fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Delta,
            2 => Self::Cumulative,
            _ => Self::Unspecified,
        }
    }
}

/// What every point has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Point {
    /// Its attributes.
    pub attributes: Attributes,
    /// When, Unix nanoseconds.
    pub time_ns: u64,
    /// Whether it says that there is no value any more.
    pub no_value: bool,
    /// Exemplars.
    pub exemplars: Vec<ExemplarPoint>,
}

/// A point of a gauge or sum.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NumberPoint {
    /// Attributes, time, flags.
    pub point: Point,
    /// Value; whole numbers are exact up to 2^53.
    pub value: f64,
}

/// A point of a histogram with listed bounds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistogramPoint {
    /// Attributes, time, flags.
    pub point: Point,
    /// Observations.
    pub count: u64,
    /// Their sum, if it is known.
    pub sum: Option<f64>,
    /// Observations per bucket; one more than `bounds`, or none.
    pub bucket_counts: Vec<u64>,
    /// Upper bounds, ascending.
    pub bounds: Vec<f64>,
}

/// A point of a histogram with exponential bounds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExponentialPoint {
    /// Attributes, time, flags.
    pub point: Point,
    /// Observations.
    pub count: u64,
    /// Their sum, if it is known.
    pub sum: Option<f64>,
    /// Bounds grow by 2^(2^-scale).
    pub scale: i32,
    /// Observations around zero.
    pub zero_count: u64,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Positive observations.
    pub positive: ExponentialBuckets,
    /// Negative observations.
    pub negative: ExponentialBuckets,
}

/// Consecutive buckets from index `offset` on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExponentialBuckets {
    /// Index of the first; bucket `i` holds `(base^i, base^(i+1)]`.
    pub offset: i32,
    /// Observations per bucket.
    pub counts: Vec<u64>,
}

/// A point of a summary.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SummaryPoint {
    /// Attributes, time, flags.
    pub point: Point,
    /// Observations.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Quantile and value.
    pub quantiles: Vec<(f64, f64)>,
}

/// An exemplar of a point.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExemplarPoint {
    /// Attributes that were left out of the point's.
    pub attributes: Attributes,
    /// When, Unix nanoseconds.
    pub time_ns: u64,
    /// What was observed.
    pub value: f64,
    /// 16 bytes, or none.
    pub trace_id: Vec<u8>,
    /// 8 bytes, or none.
    pub span_id: Vec<u8>,
}

/// Reads a request. `elements_max` bounds everything that is kept: resources, scopes, metrics, points, attributes,
/// exemplars, quantiles, and every sixteenth bucket.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) when the body is not such a request, naming the place; [`Limit`](ErrorKind::Limit)
/// beyond the bound.
pub fn decode(encoding: Encoding, body: &[u8], elements_max: usize) -> Result<Request> {
    match encoding {
        Encoding::Protobuf => protobuf::decode(body, elements_max),
        Encoding::Json => json::decode(body, elements_max),
    }
}

/// Whether a request holds points that count since the one before.
pub fn has_delta(request: &Request) -> bool {
    request.resources.iter().flat_map(|r| &r.scopes).flat_map(|s| &s.metrics).any(|metric| {
        matches!(
            metric.data,
            Data::Sum { temporality: Temporality::Delta, .. }
                | Data::Histogram { temporality: Temporality::Delta, .. }
                | Data::Exponential { temporality: Temporality::Delta, .. }
        )
    })
}

fn too_many(elements_max: usize) -> Error {
    Error::new(
        ErrorKind::Limit,
        format!(
            "request has more elements (points, attributes, …) than the limit of {elements_max}; \
             send it in smaller requests"
        ),
    )
}

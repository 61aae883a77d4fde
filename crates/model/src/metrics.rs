//! Metrics: what collectors hand over, and the plans with which queries ask for series.

use std::sync::Arc;

use crate::visit::visit_selected;
use crate::{Budget, Histogram, Labels, Matcher, MetricVisitor, Result, TimeRange, Visited};

/// Bit pattern of the sample value that marks a series as gone. Source: Prometheus `model/value`.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the staleness marker (and not any other NaN).
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One series' value at its batch's time.
#[derive(Debug, Clone)]
pub struct MetricRow {
    /// Full identity, with `__name__`.
    pub labels: Labels,
    /// Value; [`stale_nan`] ends the series.
    pub value: f64,
}

/// Values of series that came before: in the same order, and the list is the same allocation each time. What the list
/// says is then found out once, not for every sample; senders whose bodies are alike give nearly all samples so.
///
/// Shape: both have the same length, which may be 0.
#[derive(Debug, Clone, Default)]
pub struct SteadyRows {
    /// Full identities, with `__name__`.
    pub series: Arc<[Labels]>,
    /// Their values; [`stale_nan`] ends a series.
    pub values: Vec<f64>,
    /// Whether the series are of one target out of several of the batch's source, which may send more of it for the same
    /// time: as with pushes. Otherwise they are what the source has.
    pub is_group: bool,
}

/// One series' value at a time of its own.
#[derive(Debug, Clone)]
pub struct StampedRow {
    /// Full identity, with `__name__`.
    pub labels: Labels,
    /// Unix milliseconds, UTC.
    pub t_ms: i64,
    /// Value; [`stale_nan`] ends the series.
    pub value: f64,
    /// [`Labels::target`] of `labels`: stores put what one target sent for one time together.
    pub target: u64,
}

impl StampedRow {
    /// A row whose target is looked up in its labels; who has many of a series looks once.
    pub fn new(labels: Labels, t_ms: i64, value: f64) -> Self {
        let target = labels.target();
        Self { labels, t_ms, value, target }
    }
}

/// One series' native histogram at a time of its own. A [`MetricRow`] or [`StampedRow`] with [`stale_nan`] ends such a
/// series like any other.
#[derive(Debug, Clone)]
pub struct HistogramRow {
    /// Full identity, with `__name__`.
    pub labels: Labels,
    /// Unix milliseconds, UTC.
    pub t_ms: i64,
    /// Value; its sender has [validated](Histogram::validate) it.
    pub value: Arc<Histogram>,
}

/// An observation that stands for many: usually one that carries a trace id.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its own labels, e.g. `trace_id`.
    pub labels: Labels,
    /// What was observed.
    pub value: f64,
    /// When, Unix milliseconds, UTC.
    pub t_ms: i64,
}

/// An exemplar of a series.
#[derive(Debug, Clone)]
pub struct ExemplarRow {
    /// Identity of the series, with `__name__`.
    pub series: Labels,
    /// The exemplar.
    pub exemplar: Exemplar,
}

/// Exemplars of one series, ascending by time.
#[derive(Debug, Clone)]
pub struct SeriesExemplars {
    /// Identity, with `__name__`.
    pub labels: Labels,
    /// The exemplars.
    pub exemplars: Vec<Exemplar>,
}

/// What one collector saw at one moment: a scrape, a round of container or host readings.
///
/// Shape: `rows` keep their order from scrape to scrape wherever the source does; stores predict the next series from
/// it. Labels should be the same allocations each time (collectors cache them), which makes the check a pointer
/// comparison.
#[derive(Debug, Clone, Default)]
pub struct MetricBatch {
    /// Stable key of the producer (`scrape/<job>/<instance>`, `containers`, `host`): batches of one source go to one
    /// shard and share timestamps.
    pub source: Arc<str>,
    /// Time of `rows` and `steady`, Unix milliseconds, UTC.
    pub t_ms: i64,
    /// Samples at `t_ms`.
    pub rows: Vec<MetricRow>,
    /// More samples at `t_ms`, of series in a well-known order.
    pub steady: SteadyRows,
    /// Samples with times of their own.
    pub stamped: Vec<StampedRow>,
    /// Native histograms, each with its time.
    pub histograms: Vec<HistogramRow>,
    /// Exemplars; stores may keep only the latest of a series.
    pub exemplars: Vec<ExemplarRow>,
    /// Type, help and unit of metrics; only what changed since the last batch of this source.
    pub metadata: Vec<MetricMetadata>,
}

impl MetricBatch {
    /// The samples at its time, `steady` first.
    pub fn samples(&self) -> impl Iterator<Item = (&Labels, f64)> {
        let steady = self.steady.series.iter().zip(self.steady.values.iter().copied());
        steady.chain(self.rows.iter().map(|row| (&row.labels, row.value)))
    }

    /// Samples and histograms: the rows of which a store says what became of them.
    pub fn sample_count(&self) -> usize {
        let at_its_time = self.steady.values.len() + self.rows.len();
        at_its_time + self.stamped.len() + self.histograms.len()
    }
}

/// Metric types of the exposition formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Only ever increases, apart from resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets.
    Histogram,
    /// Buckets of a momentary distribution.
    GaugeHistogram,
    /// Precomputed quantiles.
    Summary,
    /// Constant labels about the target.
    Info,
    /// One of several states.
    StateSet,
    /// Not declared.
    Unknown,
}

impl MetricKind {
    /// As the HTTP API and the exposition formats spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }
}

/// Type, help and unit of one metric (family) name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricMetadata {
    /// Family name, e.g. `http_requests_total`.
    pub name: Arc<str>,
    /// Declared type.
    pub kind: MetricKind,
    /// Help text, unescaped.
    pub help: Arc<str>,
    /// Unit, or `""`.
    pub unit: Arc<str>,
}

/// Labels by which the query will aggregate the series it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// The names.
    pub labels: Vec<String>,
    /// Whether the names are left out (`without`) instead of kept (`by`).
    pub without: bool,
}

/// One request for series. Hints may be ignored; matchers and times may not.
///
/// Units: Unix milliseconds, UTC; `[start_ms, end_ms]`, both inside: the samples wanted, with look-back and range
/// already included.
#[derive(Debug, Clone)]
pub struct MetricPlan {
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// First millisecond wanted.
    pub start_ms: i64,
    /// Last millisecond wanted.
    pub end_ms: i64,
    /// Hint: evaluation step in milliseconds, 0 for an instant query.
    pub step_ms: i64,
    /// Hint: width of the range selector in milliseconds, 0 for an instant selector.
    pub range_ms: i64,
    /// Hint: the function applied directly to the selector (`rate`, `sum_over_time`, …), or `""`.
    pub function: &'static str,
    /// Hint: how the result will be aggregated.
    pub grouping: Option<Grouping>,
}

/// Samples of one series inside the plan's times.
///
/// Shape: `timestamps` and `values` have the same length; timestamps (Unix milliseconds) strictly ascend; values may be
/// the staleness marker. Series of one target share their timestamp allocation where they can. A series' histograms are
/// beside its floats: no time is in both, and most series have one kind only.
#[derive(Debug, Clone)]
pub struct SeriesData {
    /// Identity, with `__name__`.
    pub labels: Labels,
    /// Unix milliseconds, ascending.
    pub timestamps: Arc<[i64]>,
    /// Values at those times.
    pub values: Vec<f64>,
    /// Native histograms with their times (Unix milliseconds, ascending).
    pub histograms: Vec<(i64, Arc<Histogram>)>,
    /// Since when the samples count, where the source knows.
    pub starts: Option<Box<StartTimes>>,
}

/// The times since which samples count (their start timestamps): Unix milliseconds, 0 where unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartTimes {
    /// One for each of [`SeriesData::values`].
    pub values: Vec<i64>,
    /// One for each of [`SeriesData::histograms`].
    pub histograms: Vec<i64>,
}

/// What a source found, and what it must say about it.
#[derive(Debug, Default)]
pub struct Selected {
    /// Sorted by labels, each series once.
    pub series: Vec<SeriesData>,
    /// Why the answer may be partial (a quarantined part), for the reader.
    pub warnings: Vec<String>,
}

/// Something that holds series: the embedded store, a cluster, a test's table.
pub trait MetricSource: Send + Sync {
    /// Series and samples for `plan`; a series without samples in range is left out.
    ///
    /// # Errors
    /// [`Limit`](crate::ErrorKind::Limit) or [`Cancelled`](crate::ErrorKind::Cancelled) from `budget`, or a failure to
    /// read.
    fn select(&self, plan: &MetricPlan, budget: &Budget) -> Result<Selected>;

    /// Shows the series of `plan` to `visitor`, on as many threads as are worth it, grouped exactly by `plan.grouping`
    /// (all labels are equal here, `__name__` too; no grouping is one group). No labels are made but those of groups.
    ///
    /// # Errors
    /// As [`select`](Self::select), and those of `visitor`.
    fn visit(
        &self,
        plan: &MetricPlan,
        visitor: &dyn MetricVisitor,
        budget: &Budget,
    ) -> Result<Visited> {
        visit_selected(self, plan, visitor, budget)
    }

    /// Identities of the series that match any of `selectors` (each a conjunction; none means all) and have samples in
    /// `range`; sorted, without duplicates.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    fn series(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Labels>>;

    /// Label names of those series, sorted.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>>;

    /// Values of label `name` of those series, sorted.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>>;

    /// Known metadata, of `metric` or of all, sorted by name.
    fn metadata(&self, metric: Option<&str>) -> Vec<MetricMetadata>;

    /// Exemplars in `range` of the series that match any of `selectors`, sorted by labels. A source that keeps none
    /// answers with none.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    fn exemplars(
        &self,
        _selectors: &[Vec<Matcher>],
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<Vec<SeriesExemplars>> {
        Ok(Vec::new())
    }
}

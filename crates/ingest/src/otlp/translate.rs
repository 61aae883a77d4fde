//! What a request becomes as series: names, labels, rows of every kind of point, and `target_info`.
//!
//! Owns: the rules of Prometheus' OTLP receiver and its settings. A point that cannot become rows is rejected alone and
//! named. Deltas are made cumulative on the way (`delta.rs`). Does not own: reading requests.

mod histograms;
mod labels;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{
    Error, ErrorKind, Exemplar, ExemplarRow, HistogramRow, Labels, MetricKind, MetricMetadata,
    Result, StampedRow, stale_nan,
};
use rustc_hash::FxHashSet;

use super::delta::Totals;
use super::names::{Kind, LabelRules, Strategy, metric_name, unit_name};
use super::{Data, Metric, NumberPoint, Point, Request, SummaryPoint, Temporality};

use labels::LabelMaker;

/// Settings, as the `otlp` block of `prometheus.yml` has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How names are translated.
    pub strategy: Strategy,
    /// Which resource attributes become labels of every series.
    pub promote: Promote,
    /// Whether `target_info` keeps `service.name`, `service.namespace` and `service.instance.id`.
    pub keep_identifying: bool,
    /// Whether histograms with listed bounds become native ones.
    pub custom_buckets: bool,
    /// Whether name, version and attributes of the scope become labels.
    pub promote_scope: bool,
    /// Whether `_x` becomes `key_x` where names are escaped.
    pub key_before_underscore: bool,
    /// Whether several underscores in a row stay where names are escaped.
    pub keep_underscores: bool,
}

impl Default for Config {
    /// Prometheus' defaults.
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            promote: Promote::These(BTreeSet::new()),
            keep_identifying: false,
            custom_buckets: false,
            promote_scope: false,
            key_before_underscore: true,
            keep_underscores: true,
        }
    }
}

impl Config {
    fn label_rules(&self) -> LabelRules {
        LabelRules {
            utf8: matches!(
                self.strategy,
                Strategy::NoUtf8EscapingWithSuffixes | Strategy::NoTranslation
            ),
            key_before_underscore: self.key_before_underscore,
            keep_underscores: self.keep_underscores,
        }
    }
}

/// Which resource attributes become labels.
#[derive(Debug, Clone, PartialEq)]
pub enum Promote {
    /// These.
    These(BTreeSet<String>),
    /// All but these.
    AllBut(BTreeSet<String>),
}

impl Promote {
    fn wants(&self, attribute: &str) -> bool {
        match self {
            Self::These(names) => names.contains(attribute),
            Self::AllBut(names) => !names.contains(attribute),
        }
    }
}

/// Bounds of what a request becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows of all kinds.
    pub rows_max: usize,
    /// Labels of one series, its name included.
    pub labels_max: usize,
    /// Bytes of a metric or label name.
    pub name_bytes_max: usize,
    /// Bytes of a label value.
    pub value_bytes_max: usize,
    /// Bytes of all series' labels together.
    pub label_bytes_max: usize,
}

/// What a request became.
#[derive(Debug, Default)]
pub struct Translated {
    /// Float samples.
    pub samples: Vec<StampedRow>,
    /// Native histograms, validated.
    pub histograms: Vec<HistogramRow>,
    /// Exemplars.
    pub exemplars: Vec<ExemplarRow>,
    /// Type, help and unit of what is in it.
    pub metadata: Vec<MetricMetadata>,
    /// Points the request had.
    pub points: u64,
    /// Points that became no rows.
    pub rejected: u64,
    /// Why, of the first few.
    pub reasons: Vec<String>,
}

const REASONS_MAX: usize = 10;
/// Distance of `target_info` samples between the first and the last point of a resource: half of the usual look-back.
const TARGET_INFO_STEP_MS: i64 = 150_000;
/// `target_info` samples of one resource; a request that spans more time gets the latest.
const TARGET_INFO_MAX: i64 = 1_000;

/// Translates a whole request. `now_ms` is when it came. Whoever calls must then [`keep`](Totals::keep) or
/// [`take back`](Totals::take_back) what it added to `totals`.
///
/// # Errors
/// [`Limit`](ErrorKind::Limit) when the request becomes more than `limits` allow.
pub fn translate(
    request: &Request,
    config: &Config,
    limits: &Limits,
    totals: &mut Totals,
    now_ms: i64,
) -> Result<Translated> {
    let mut translator = Translator {
        config,
        limits,
        totals,
        now_ms,
        out: Translated::default(),
        described: FxHashSet::default(),
        label_bytes: 0,
    };
    for resource in &request.resources {
        translator.resource(resource)?;
    }
    Ok(translator.out)
}

struct Translator<'a> {
    config: &'a Config,
    limits: &'a Limits,
    totals: &'a mut Totals,
    now_ms: i64,
    out: Translated,
    /// Names in `out.metadata`.
    described: FxHashSet<Arc<str>>,
    label_bytes: usize,
}

/// Why a point becomes no rows, or the whole request nothing.
enum Refusal {
    Point(String),
    Request(Error),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Point(reason)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::Limit {
            Self::Request(error)
        } else {
            Self::Point(error.message().to_owned())
        }
    }
}

type Refusable<T = ()> = std::result::Result<T, Refusal>;

impl Translator<'_> {
    fn resource(&mut self, resource: &super::ResourceMetrics) -> Result<()> {
        let config = self.config;
        let (samples, histograms) = (self.out.samples.len(), self.out.histograms.len());
        for scope in &resource.scopes {
            let maker = LabelMaker::new(config, &resource.attributes, scope);
            for metric in &scope.metrics {
                self.metric(metric, &maker)?;
            }
        }
        let times = || {
            let samples = self.out.samples.iter().skip(samples).map(|row| row.t_ms);
            samples.chain(self.out.histograms.iter().skip(histograms).map(|row| row.t_ms))
        };
        if let Some((first_ms, last_ms)) = times().min().zip(times().max()) {
            self.target_info(resource, first_ms, last_ms)?;
        }
        Ok(())
    }

    fn metric(&mut self, metric: &Metric, maker: &LabelMaker) -> Result<()> {
        let mut points = 0;
        each_point(&metric.data, |_| points += 1);
        self.out.points += points;
        let (name, kind) = match self.named(metric) {
            Ok(named) => named,
            Err(reason) => {
                self.reject(points, reason);
                return Ok(());
            }
        };
        let before = self.out.rejected;
        match &metric.data {
            Data::Absent => {}
            Data::Gauge(points) => {
                for point in points {
                    let row = self.number(&name, point, maker, Temporality::Cumulative, false);
                    self.settle(row)?;
                }
            }
            Data::Sum { points, temporality, monotonic } => {
                for point in points {
                    let row = self.number(&name, point, maker, *temporality, *monotonic);
                    self.settle(row)?;
                }
            }
            Data::Histogram { points, temporality } => {
                for point in points {
                    let rows = if self.config.custom_buckets {
                        self.custom_histogram(&name, point, maker, *temporality)
                    } else {
                        self.classic_histogram(&name, point, maker, *temporality)
                    };
                    self.settle(rows)?;
                }
            }
            Data::Exponential { points, temporality } => {
                for point in points {
                    let row = self.exponential(&name, point, maker, *temporality);
                    self.settle(row)?;
                }
            }
            Data::Summary(points) => {
                for point in points {
                    let rows = self.summary(&name, point, maker);
                    self.settle(rows)?;
                }
            }
        }
        if self.out.rejected - before < points {
            self.describe(&name, kind, &metric.description, &metric.unit);
        }
        Ok(())
    }

    /// Name and declared type, or why the metric cannot be taken.
    fn named(&self, metric: &Metric) -> std::result::Result<(String, MetricKind), String> {
        let (suffix, kind, temporality) = match &metric.data {
            Data::Absent => {
                return Err(format!("metric {:?} has no points known here", metric.name));
            }
            Data::Gauge(_) => (Kind::Gauge, MetricKind::Gauge, Temporality::Cumulative),
            Data::Sum { monotonic: true, temporality, .. } => {
                (Kind::Counter, MetricKind::Counter, *temporality)
            }
            Data::Sum { temporality, .. } => (Kind::Other, MetricKind::Gauge, *temporality),
            Data::Histogram { temporality, .. } | Data::Exponential { temporality, .. } => {
                (Kind::Other, MetricKind::Histogram, *temporality)
            }
            Data::Summary(_) => (Kind::Other, MetricKind::Summary, Temporality::Cumulative),
        };
        if temporality == Temporality::Unspecified {
            return Err(format!("metric {:?} does not say its temporality", metric.name));
        }
        let name = metric_name(&metric.name, &metric.unit, suffix, self.config.strategy, "")?;
        if name.len() > self.limits.name_bytes_max {
            return Err(format!(
                "metric name {name:.64?}… has {} bytes; the limit is {}",
                name.len(),
                self.limits.name_bytes_max
            ));
        }
        Ok((name, kind))
    }

    fn number(
        &mut self,
        name: &str,
        number: &NumberPoint,
        maker: &LabelMaker,
        temporality: Temporality,
        with_exemplars: bool,
    ) -> Refusable {
        let labels = maker.labels(&number.point.attributes, self.limits)?.series(name, &[]);
        let value = if number.point.no_value {
            self.totals.end(&labels);
            stale_nan()
        } else if temporality == Temporality::Delta {
            self.totals.add_number(&labels, number.point.time_ns, self.now_ms, number.value)?
        } else {
            number.value
        };
        if with_exemplars {
            self.exemplars(&number.point, &mut |_| labels.clone(), maker)?;
        }
        self.sample(labels, time_ms(&number.point), value)
    }

    fn summary(&mut self, name: &str, summary: &SummaryPoint, maker: &LabelMaker) -> Refusable {
        let labels = maker.labels(&summary.point.attributes, self.limits)?;
        let t_ms = time_ms(&summary.point);
        let value = |value: f64| if summary.point.no_value { stale_nan() } else { value };
        self.sample(labels.series(&format!("{name}_sum"), &[]), t_ms, value(summary.sum))?;
        let count = value(summary.count as f64);
        self.sample(labels.series(&format!("{name}_count"), &[]), t_ms, count)?;
        for (quantile, observed) in &summary.quantiles {
            let quantile = decimal(*quantile);
            self.sample(labels.series(name, &[("quantile", &quantile)]), t_ms, value(*observed))?;
        }
        Ok(())
    }

    fn target_info(
        &mut self,
        resource: &super::ResourceMetrics,
        first_ms: i64,
        last_ms: i64,
    ) -> Result<()> {
        let made = labels::target_info(self.config, &resource.attributes, self.limits);
        let Some(labels) = made else { return Ok(()) };
        let step = TARGET_INFO_STEP_MS;
        let from_ms = first_ms.max(last_ms.saturating_sub(step * TARGET_INFO_MAX));
        let mut t_ms = from_ms;
        loop {
            // No point of the request hangs on this row.
            if let Err(Refusal::Request(error)) = self.sample(labels.clone(), t_ms, 1.0) {
                return Err(error);
            }
            if t_ms >= last_ms {
                break;
            }
            t_ms = (t_ms + step).min(last_ms);
        }
        self.describe("target_info", MetricKind::Gauge, "Target metadata", "");
        Ok(())
    }

    /// Exemplars of a point; `series` finds the series for an observed value.
    fn exemplars(
        &mut self,
        point: &Point,
        series: &mut dyn FnMut(f64) -> Labels,
        maker: &LabelMaker,
    ) -> Refusable {
        for exemplar in &point.exemplars {
            let labels = maker.exemplar(exemplar);
            self.charge(&labels)?;
            self.out.exemplars.push(ExemplarRow {
                series: series(exemplar.value),
                exemplar: Exemplar {
                    labels,
                    value: exemplar.value,
                    t_ms: ms(if exemplar.time_ns == 0 { point.time_ns } else { exemplar.time_ns }),
                },
            });
        }
        Ok(())
    }

    fn sample(&mut self, labels: Labels, t_ms: i64, value: f64) -> Refusable {
        self.charge(&labels)?;
        self.out.samples.push(StampedRow::new(labels, t_ms, value));
        Ok(())
    }

    /// A row costs its labels; many rows share what the request says once.
    fn charge(&mut self, labels: &Labels) -> Result<()> {
        let limit = |what: &str, max: usize| {
            Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "request becomes more {what} than the limit of {max}; send it in smaller requests"
                ),
            ))
        };
        self.label_bytes += labels.packed_len();
        let rows = self.out.samples.len() + self.out.histograms.len() + self.out.exemplars.len();
        if rows >= self.limits.rows_max {
            return limit("rows", self.limits.rows_max);
        }
        if self.label_bytes > self.limits.label_bytes_max {
            return limit("bytes of labels", self.limits.label_bytes_max);
        }
        Ok(())
    }

    fn describe(&mut self, name: &str, kind: MetricKind, help: &str, unit: &str) {
        if self.described.contains(name) {
            return;
        }
        let name: Arc<str> = name.into();
        self.described.insert(name.clone());
        let unit = unit_name(unit, self.config.strategy).into();
        self.out.metadata.push(MetricMetadata { name, kind, help: help.into(), unit });
    }

    fn settle(&mut self, outcome: Refusable) -> Result<()> {
        match outcome {
            Ok(()) => Ok(()),
            Err(Refusal::Point(reason)) => {
                self.reject(1, reason);
                Ok(())
            }
            Err(Refusal::Request(error)) => Err(error),
        }
    }

    fn reject(&mut self, points: u64, reason: String) {
        self.out.rejected += points;
        if self.out.reasons.len() < REASONS_MAX {
            self.out.reasons.push(reason);
        }
    }
}

fn each_point(data: &Data, mut visit: impl FnMut(&Point)) {
    match data {
        Data::Absent => {}
        Data::Gauge(points) | Data::Sum { points, .. } => {
            points.iter().for_each(|p| visit(&p.point));
        }
        Data::Histogram { points, .. } => points.iter().for_each(|p| visit(&p.point)),
        Data::Exponential { points, .. } => points.iter().for_each(|p| visit(&p.point)),
        Data::Summary(points) => points.iter().for_each(|p| visit(&p.point)),
    }
}

fn time_ms(point: &Point) -> i64 {
    ms(point.time_ns)
}

fn ms(time_ns: u64) -> i64 {
    i64::try_from(time_ns / 1_000_000).unwrap_or(i64::MAX)
}

/// A bound or quantile as a label: shortest digits without exponent.
fn decimal(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

//! The `metrics` stage: counters, gauges and histograms of what lines say.
//!
//! [`Metrics`] holds them for all pipelines of a process; each has the labels its line had at that stage. One that nobody
//! has touched for its idle time is forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::{Clock, Error, Labels, Result};

use super::Entry;
use super::stage::Context;

/// One metric of a `metrics` stage.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricConfig {
    /// Its name behind the prefix.
    pub name: String,
    /// What it is.
    pub kind: MetricKind,
    /// Its help text.
    pub description: String,
    /// The value it is made from; its name when absent.
    pub source: Option<String>,
    /// In front of the name; `promtail_custom_` when absent.
    pub prefix: Option<String>,
    /// After so many nanoseconds without a line a series ends; 5 min when absent.
    pub max_idle_ns: Option<i64>,
    /// Only lines whose value is this text count.
    pub value: Option<String>,
    /// Counters: every line counts, with or without the value.
    pub match_all: bool,
    /// Counters: the line's bytes are added.
    pub count_entry_bytes: bool,
    /// `inc`, `add`; gauges also `set`, `dec`, `sub`; histograms have none.
    pub action: String,
    /// Upper bounds of a histogram.
    pub buckets: Vec<f64>,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values below bounds.
    Histogram,
}

impl MetricKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a line does to a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Update {
    Inc,
    Dec,
    Add,
    Sub,
    Set,
    Observe,
}

/// A number of a metric, as a scrape shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Labels with the name, and `le` for a histogram's bucket.
    pub labels: Labels,
    /// The number.
    pub value: f64,
}

/// Name, kind and help of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// With its prefix.
    pub name: String,
    /// What it is.
    pub kind: MetricKind,
    /// Its help text.
    pub help: String,
}

impl Family {
    /// Whether a sample's name is its own, or one of a histogram's.
    fn has(&self, name: &str) -> bool {
        let suffix = name.strip_prefix(self.name.as_str());
        suffix.is_some_and(|suffix| match self.kind {
            MetricKind::Histogram => matches!(suffix, "_bucket" | "_count" | "_sum"),
            _ => suffix.is_empty(),
        })
    }
}

/// A metric that is declared by itself, not in a pipeline; it never ends, and has no prefix.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// Its whole name.
    pub name: String,
    /// A counter or a histogram.
    pub kind: MetricKind,
    /// Its help text.
    pub help: String,
    /// Upper bounds of a histogram.
    pub buckets: Vec<f64>,
}

/// Series of a declared metric; further ones are counted together, all their labels being [`FOLDED`].
const DECLARED_SERIES_MAX: usize = 10_000;
const FOLDED: &str = "other";

/// The metrics of all pipelines of a process.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    families: Arc<Mutex<BTreeMap<String, Held>>>,
}

#[derive(Debug)]
struct Held {
    family: Family,
    max_idle_ns: i64,
    buckets: Vec<f64>,
    series: BTreeMap<Labels, Series>,
}

#[derive(Debug, Default)]
struct Series {
    /// Of a histogram the sum.
    value: f64,
    /// Of a histogram: how many values fell into each bucket, the last has no bound.
    counts: Vec<u64>,
    touched_ns: i64,
}

const PREFIX: &str = "promtail_custom_";
const MAX_IDLE_NS: i64 = 300_000_000_000;

/// A compiled stage.
#[derive(Debug, Clone)]
pub(super) struct Counting {
    metrics: Metrics,
    rules: Arc<[Rule]>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    source: String,
    value: Option<String>,
    match_all: bool,
    count_entry_bytes: bool,
    update: Update,
}

impl Metrics {
    /// All series that are not idle, by name and labels.
    pub fn samples(&self, clock: &dyn Clock) -> Vec<Sample> {
        let now_ns = clock.monotonic_ns();
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples = Vec::new();
        for held in families.values_mut() {
            let max_idle_ns = held.max_idle_ns;
            held.series.retain(|_, s| now_ns.saturating_sub(s.touched_ns) <= max_idle_ns);
            for (labels, series) in &held.series {
                push_samples(held, labels, series, &mut samples);
            }
        }
        samples
    }

    /// Writes all series that are not idle in the Prometheus text format 0.0.4.
    pub fn write_text(&self, clock: &dyn Clock, out: &mut String) {
        let (samples, mut rest) = (self.samples(clock), self.families().into_iter());
        let mut family: Option<Family> = None;
        for sample in samples {
            let name = sample.labels.metric_name();
            while !family.as_ref().is_some_and(|family| family.has(name)) {
                let Some(next) = rest.next() else { return };
                if next.has(name) {
                    let help = next.help.replace('\\', "\\\\").replace('\n', "\\n");
                    let kind = next.kind.as_str();
                    out.push_str(&format!("# HELP {0} {help}\n# TYPE {0} {kind}\n", next.name));
                }
                family = Some(next);
            }
            out.push_str(name);
            let mut separator = '{';
            for (name, value) in sample.labels.iter().filter(|(n, _)| *n != model::METRIC_NAME) {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                out.push_str(&format!("{separator}{name}=\"{value}\""));
                separator = ',';
            }
            let close = if separator == ',' { "}" } else { "" };
            out.push_str(&format!("{close} {}\n", sample.value));
        }
    }

    /// Declares a metric, or the same one once more.
    ///
    /// # Errors
    /// When its name or its buckets cannot be, or when it is something else already.
    pub fn declare(&self, metric: &Declared) -> Result<()> {
        if !is_metric_name(&metric.name) {
            return Err(Error::invalid(format!("{:?} cannot be a metric's name", metric.name)));
        }
        if metric.kind == MetricKind::Histogram {
            check_buckets(&metric.buckets)?;
        }
        let family =
            Family { name: metric.name.clone(), kind: metric.kind, help: metric.help.clone() };
        self.hold(family, i64::MAX, &metric.buckets)
    }

    /// Adds `by` to a declared counter, or counts it in a declared histogram. A counter does not take less than 0.
    pub fn add(&self, name: &str, labels: &Labels, by: f64, clock: &dyn Clock) {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = families.get_mut(name) else { return };
        let update = match held.family.kind {
            MetricKind::Histogram => Update::Observe,
            MetricKind::Counter | MetricKind::Gauge => Update::Add,
        };
        let is_full = held.series.len() >= DECLARED_SERIES_MAX && !held.series.contains_key(labels);
        let folded = || Labels::from_pairs(labels.iter().map(|(name, _)| (name, FOLDED)));
        let folded = is_full.then(folded);
        held.update(folded.as_ref().unwrap_or(labels), update, by, clock.monotonic_ns());
    }

    /// What there is, by name.
    pub fn families(&self) -> Vec<Family> {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        families.values().map(|held| held.family.clone()).collect()
    }

    /// Compiles a stage.
    pub(super) fn stage(&self, configs: &[MetricConfig]) -> Result<Counting> {
        if configs.is_empty() {
            return Err(Error::invalid("cannot be empty"));
        }
        let mut rules = Vec::with_capacity(configs.len());
        for config in configs {
            let rule = check(config).map_err(|e| e.context(format!("metric {:?}", config.name)))?;
            self.register(&rule, config)?;
            rules.push(rule);
        }
        Ok(Counting { metrics: self.clone(), rules: rules.into() })
    }

    fn register(&self, rule: &Rule, config: &MetricConfig) -> Result<()> {
        let help = config.description.clone();
        let family = Family { name: rule.name.clone(), kind: config.kind, help };
        self.hold(family, config.max_idle_ns.unwrap_or(MAX_IDLE_NS), &config.buckets)
    }

    fn hold(&self, family: Family, max_idle_ns: i64, buckets: &[f64]) -> Result<()> {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, kind) = (family.name.clone(), family.kind);
        let held = families.entry(name.clone()).or_insert_with(|| Held {
            family,
            max_idle_ns,
            buckets: buckets.to_vec(),
            series: BTreeMap::new(),
        });
        if held.family.kind != kind || held.buckets != buckets {
            return Err(Error::invalid(format!("metric {name:?} is something else elsewhere")));
        }
        Ok(())
    }
}

fn push_samples(held: &Held, labels: &Labels, series: &Series, samples: &mut Vec<Sample>) {
    let name = &held.family.name;
    let sample = |suffix: &str, value: f64| Sample {
        labels: labels.with(model::METRIC_NAME, &format!("{name}{suffix}")),
        value,
    };
    if held.family.kind != MetricKind::Histogram {
        samples.push(sample("", series.value));
        return;
    }
    let mut below = 0;
    let bounds = held.buckets.iter().copied().chain([f64::INFINITY]);
    for (bound, count) in bounds.zip(&series.counts) {
        below += count;
        let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
        let mut bucket = sample("_bucket", below as f64);
        bucket.labels = bucket.labels.with("le", &bound);
        samples.push(bucket);
    }
    samples.push(sample("_count", below as f64));
    samples.push(sample("_sum", series.value));
}

fn is_metric_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn check_buckets(buckets: &[f64]) -> Result<()> {
    if buckets.is_empty() {
        return Err(Error::invalid("needs buckets"));
    }
    if !buckets.is_sorted_by(|a, b| a < b) || buckets.iter().any(|bound| !bound.is_finite()) {
        return Err(Error::invalid("buckets must ascend"));
    }
    Ok(())
}

fn check(config: &MetricConfig) -> Result<Rule> {
    let invalid = |what: &str| Err(Error::invalid(what));
    if config.max_idle_ns.is_some_and(|ns| ns < 1_000_000_000) {
        return invalid("max_idle_duration must be 1s or more");
    }
    let update = match (config.kind, config.action.to_ascii_lowercase().as_str()) {
        (MetricKind::Histogram, _) => Update::Observe,
        (MetricKind::Counter | MetricKind::Gauge, "inc") => Update::Inc,
        (MetricKind::Counter | MetricKind::Gauge, "add") => Update::Add,
        (MetricKind::Gauge, "dec") => Update::Dec,
        (MetricKind::Gauge, "sub") => Update::Sub,
        (MetricKind::Gauge, "set") => Update::Set,
        (MetricKind::Counter, _) => return invalid("action of a counter must be inc or add"),
        (MetricKind::Gauge, _) => {
            return invalid("action of a gauge must be set, inc, dec, add or sub");
        }
    };
    if config.match_all && config.value.is_some() {
        return invalid("takes only one of match_all and value");
    }
    if config.count_entry_bytes && !config.match_all {
        return invalid("count_entry_bytes needs match_all: true");
    }
    if config.count_entry_bytes && update != Update::Add {
        return invalid("count_entry_bytes needs action: add");
    }
    if config.kind == MetricKind::Histogram {
        check_buckets(&config.buckets)?;
    }
    let prefix = config.prefix.as_deref().filter(|p| !p.is_empty()).unwrap_or(PREFIX);
    let name = format!("{prefix}{}", config.name);
    if config.name.is_empty() || !is_metric_name(&name) {
        return Err(Error::invalid(format!("{name:?} cannot be a metric's name")));
    }
    Ok(Rule {
        name,
        source: config.source.clone().unwrap_or_else(|| config.name.clone()),
        value: config.value.clone(),
        match_all: config.match_all && config.kind == MetricKind::Counter,
        count_entry_bytes: config.count_entry_bytes,
        update,
    })
}

impl Counting {
    pub(super) fn process(&self, entry: &Entry, context: &Context<'_>) {
        let mut families = None;
        for rule in self.rules.iter() {
            let text = entry.values.get(&rule.source);
            let known = rule.match_all || entry.values.contains(&rule.source);
            let meant = rule.value.as_deref().is_none_or(|value| text == Some(value));
            if !known || !meant {
                continue;
            }
            let by = match rule.update {
                Update::Inc | Update::Dec => 1.0,
                _ if rule.count_entry_bytes => entry.line.len() as f64,
                _ => match text.and_then(number) {
                    Some(number) => number,
                    None => continue,
                },
            };
            let families = families.get_or_insert_with(|| {
                self.metrics.families.lock().unwrap_or_else(PoisonError::into_inner)
            });
            if let Some(held) = families.get_mut(&rule.name) {
                held.update(&entry.labels, rule.update, by, context.clock.monotonic_ns());
            }
        }
    }
}

impl Held {
    fn update(&mut self, labels: &Labels, update: Update, by: f64, now_ns: i64) {
        // A counter never falls.
        if self.family.kind == MetricKind::Counter && (by < 0.0 || by.is_nan()) {
            return;
        }
        let Self { series, buckets, max_idle_ns, .. } = self;
        let series = series.entry(labels.clone()).or_default();
        if now_ns.saturating_sub(series.touched_ns) > *max_idle_ns {
            *series = Series::default();
        }
        series.touched_ns = now_ns;
        match update {
            Update::Inc | Update::Add => series.value += by,
            Update::Dec | Update::Sub => series.value -= by,
            Update::Set => series.value = by,
            Update::Observe => {
                series.counts.resize(buckets.len() + 1, 0);
                let at = buckets.partition_point(|bound| *bound < by);
                if let Some(count) = series.counts.get_mut(at) {
                    *count += 1;
                }
                series.value += by;
            }
        }
    }
}

/// A number, or a duration in Go's notation as seconds; `true` is 1.
fn number(text: &str) -> Option<f64> {
    match text {
        "true" => return Some(1.0),
        "false" => return Some(0.0),
        _ => {}
    }
    text.parse().ok().or_else(|| model::go_duration_ns(text).ok().map(|ns| ns / 1e9))
}

//! The rules about whole metric families that the specifications state and scrapers in the field do not enforce.
//!
//! For OpenMetrics: metadata before samples and once each, no clashing names, groups and timestamps in order, and what
//! each type demands of its samples. For the Prometheus format: metadata once, `# TYPE` before samples, numeric `le` and
//! `quantile`, known escapes. Used where input should be clean (checks, tests), not on the scrape path; it allocates.

use std::collections::{BTreeSet, HashMap, HashSet};

use model::{Error, Labels, METRIC_NAME, MetricKind, Result};

use super::{
    Format, Limits, Metadata, Parser, Sample, Visitor, locate, number, series_labels, unit_fits,
};

/// Parses like [`super::parse`] and checks the rules of the format's specification about metric families.
///
/// # Errors
/// As [`super::parse`], and for every broken rule.
///
/// Source: OpenMetrics 1.0; Prometheus "Exposition formats", text format details.
pub fn validate(body: &[u8], format: Format, limits: &Limits) -> Result<()> {
    // The parser proper reports oversized and non-UTF-8 bodies.
    super::parse(body, format, limits, &mut Ignore)?;
    let text = std::str::from_utf8(body)
        .map_err(|e| Error::invalid("body is not UTF-8").with_source(e))?;
    let mut parser =
        Parser { text, format, limits, samples: 0, escapes_strict: format == Format::Prometheus };
    let placed = |(at, e)| locate(body, at, e);
    match format {
        Format::Prometheus => parser.run(&mut PrometheusRules::default()).map_err(placed),
        Format::OpenMetrics => {
            let mut rules = OpenMetricsRules::default();
            parser.run(&mut rules).map_err(placed)?;
            rules.finish_family().map_err(|e| locate(body, body.len(), e))
        }
    }
}

struct Ignore;

impl Visitor for Ignore {
    fn sample(&mut self, _: Sample<'_>) -> Result<()> {
        Ok(())
    }

    fn metadata(&mut self, _: Metadata<'_>) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct PrometheusRules {
    helps: HashSet<String>,
    kinds: HashMap<String, MetricKind>,
    sampled: HashSet<String>,
}

impl Visitor for PrometheusRules {
    fn sample(&mut self, sample: Sample<'_>) -> Result<()> {
        let labels = series_labels(sample.series, Format::Prometheus)?;
        let name = labels.metric_name();
        for (suffix, kind, bound) in
            [("", MetricKind::Summary, "quantile"), ("_bucket", MetricKind::Histogram, "le")]
        {
            let Some(family) = name.strip_suffix(suffix) else { continue };
            if self.kinds.get(family) == Some(&kind)
                && labels.get(bound).is_some_and(|v| number(v).is_none())
            {
                return Err(Error::invalid(format!("expected a number as {bound} of {family}")));
            }
        }
        for suffix in ["", "_bucket", "_sum", "_count"] {
            if let Some(family) = name.strip_suffix(suffix) {
                let owns = suffix.is_empty()
                    || matches!(
                        self.kinds.get(family),
                        Some(MetricKind::Histogram | MetricKind::Summary)
                    );
                if owns && !self.sampled.contains(family) {
                    self.sampled.insert(family.to_owned());
                }
            }
        }
        Ok(())
    }

    fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()> {
        match metadata {
            Metadata::Type { name, kind } => {
                if self.sampled.contains(&*name) {
                    return Err(Error::invalid(format!(
                        "expected # TYPE {name} before its samples"
                    )));
                }
                if self.kinds.insert(name.to_string(), kind).is_some() {
                    return Err(Error::invalid(format!(
                        "expected one # TYPE line for {name}, found a second"
                    )));
                }
            }
            Metadata::Help { name, .. } => {
                if !self.helps.insert(name.to_string()) {
                    return Err(Error::invalid(format!(
                        "expected one # HELP line for {name}, found a second"
                    )));
                }
            }
            Metadata::Unit { .. } => {}
        }
        Ok(())
    }
}

/// Samples of a histogram between two changes of group or timestamp.
#[derive(Default)]
struct Buckets {
    last: Option<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
    negative: bool,
}

#[derive(Default)]
struct OpenMetricsRules {
    /// Names taken by finished families, with their suffixes.
    names: BTreeSet<String>,
    family: Option<Family>,
}

struct Family {
    name: String,
    kind: Option<MetricKind>,
    help: bool,
    unit: Option<String>,
    sampled: bool,
    groups: HashSet<Labels>,
    group: Option<(Labels, Option<i64>)>,
    buckets: Buckets,
}

impl Family {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: None,
            help: false,
            unit: None,
            sampled: false,
            groups: HashSet::new(),
            group: None,
            buckets: Buckets::default(),
        }
    }

    fn suffixes(&self) -> &'static [&'static str] {
        match self.kind.unwrap_or(MetricKind::Unknown) {
            MetricKind::Counter => &["_total", "_created"],
            MetricKind::Summary => &["", "_count", "_sum", "_created"],
            MetricKind::Histogram => &["_count", "_sum", "_bucket", "_created"],
            MetricKind::GaugeHistogram => &["_gcount", "_gsum", "_bucket"],
            MetricKind::Info => &["_info"],
            MetricKind::Gauge | MetricKind::StateSet | MetricKind::Unknown => &[""],
        }
    }

    /// The suffix that makes `name` one of this family's samples.
    fn suffix_of(&self, name: &str) -> Option<&'static str> {
        let rest = name.strip_prefix(self.name.as_str())?;
        self.suffixes().iter().copied().find(|s| *s == rest)
    }

    fn sample(&mut self, suffix: &str, labels: &Labels, sample: &Sample<'_>) -> Result<()> {
        self.sampled = true;
        let kind = self.kind.unwrap_or(MetricKind::Unknown);
        self.check_labels(kind, suffix, labels)?;
        self.check_value(kind, suffix, sample.value)?;
        let exemplar_fits = matches!(
            (kind, suffix),
            (MetricKind::Counter, "_total")
                | (MetricKind::Histogram | MetricKind::GaugeHistogram, "_bucket")
        );
        if sample.exemplar.is_some() && !exemplar_fits {
            return Err(Error::invalid("expected no exemplar on this kind of sample"));
        }
        self.check_group(kind, suffix, labels, sample.timestamp_ms)?;
        if matches!(kind, MetricKind::Histogram | MetricKind::GaugeHistogram) {
            self.check_bucket(suffix, labels, sample.value)?;
        }
        Ok(())
    }

    fn check_labels(&self, kind: MetricKind, suffix: &str, labels: &Labels) -> Result<()> {
        let needed = match (kind, suffix) {
            (MetricKind::StateSet, _) => {
                return match labels.get(&self.name) {
                    Some(_) => Ok(()),
                    None => {
                        Err(Error::invalid(format!("expected label {} on a stateset", self.name)))
                    }
                };
            }
            (MetricKind::Summary, "") => "quantile",
            (MetricKind::Histogram | MetricKind::GaugeHistogram, "_bucket") => "le",
            _ => return Ok(()),
        };
        let text = labels.get(needed).unwrap_or("");
        let value = number(text).filter(|v| !v.is_nan());
        let fits = match (needed, value) {
            (_, None) => false,
            ("quantile", Some(q)) => (0.0..=1.0).contains(&q),
            (_, Some(le)) => le != f64::INFINITY || text == "+Inf",
        };
        if fits {
            return Ok(());
        }
        Err(Error::invalid(format!("expected a valid {needed} label, found {text:?}")))
    }

    fn check_value(&self, kind: MetricKind, suffix: &str, value: f64) -> Result<()> {
        let problem = match (kind, suffix) {
            (MetricKind::StateSet, _) if value != 0.0 && value != 1.0 => {
                "0 or 1 as value of a stateset"
            }
            (MetricKind::Info, _) if value != 1.0 => "1 as value of an info",
            (MetricKind::Summary, "") if value < 0.0 => "no negative quantile",
            (_, "_total" | "_sum" | "_count" | "_bucket" | "_gcount" | "_gsum")
                if value.is_nan() =>
            {
                "a number, not NaN"
            }
            (_, "_total" | "_sum" | "_count" | "_bucket" | "_gcount") if value < 0.0 => {
                "no negative value in a sample that only increases"
            }
            _ => return Ok(()),
        };
        Err(Error::invalid(format!("expected {problem}, found {value}")))
    }

    fn check_group(
        &mut self,
        kind: MetricKind,
        suffix: &str,
        labels: &Labels,
        t_ms: Option<i64>,
    ) -> Result<()> {
        let own = match (kind, suffix) {
            (MetricKind::StateSet, _) => self.name.as_str(),
            (MetricKind::Summary, "") => "quantile",
            (MetricKind::Histogram | MetricKind::GaugeHistogram, "_bucket") => "le",
            _ => "",
        };
        let group = if kind == MetricKind::Info {
            Labels::default()
        } else {
            labels.without(METRIC_NAME).without(own)
        };
        if let Some((current, current_ms)) = &self.group
            && *current == group
        {
            if current_ms.is_some() != t_ms.is_some() {
                return Err(Error::invalid(
                    "expected timestamps on all samples of a group or on none",
                ));
            }
            if kind != MetricKind::Info && t_ms < *current_ms {
                return Err(Error::invalid(
                    "expected timestamps that do not go backwards within a group",
                ));
            }
            if t_ms == *current_ms {
                return Ok(());
            }
        } else if !self.groups.insert(group.clone()) {
            return Err(Error::invalid("expected the samples of a group next to each other"));
        }
        self.finish_buckets()?;
        self.group = Some((group, t_ms));
        Ok(())
    }

    fn check_bucket(&mut self, suffix: &str, labels: &Labels, value: f64) -> Result<()> {
        match suffix {
            "_bucket" => {
                let le = labels.get("le").and_then(number).unwrap_or(f64::NAN);
                if let Some((last_le, last_value)) = self.buckets.last {
                    if le <= last_le {
                        return Err(Error::invalid("expected buckets in ascending order of le"));
                    }
                    if value < last_value {
                        return Err(Error::invalid("expected bucket counts that do not decrease"));
                    }
                }
                self.buckets.negative |= le < 0.0;
                self.buckets.last = Some((le, value));
            }
            "_count" | "_gcount" => self.buckets.count = Some(value),
            "_sum" | "_gsum" => self.buckets.sum = Some(value),
            _ => {}
        }
        Ok(())
    }

    /// The rules about one histogram as a whole.
    fn finish_buckets(&mut self) -> Result<()> {
        let Buckets { last, count, sum, negative } = std::mem::take(&mut self.buckets);
        let is_gauge = self.kind == Some(MetricKind::GaugeHistogram);
        let problem = match (last, count, sum) {
            (None, None, None) => return Ok(()),
            (last, ..) if last.is_none_or(|(le, _)| le != f64::INFINITY) => {
                "a bucket with le=\"+Inf\""
            }
            (Some((_, total)), Some(count), _) if total != count => {
                "a count equal to the +Inf bucket"
            }
            (_, Some(_), None) | (_, None, Some(_)) => "sum and count together",
            (_, _, Some(_)) if negative && !is_gauge => "no sum beside buckets below zero",
            (_, _, Some(sum)) if !negative && is_gauge && sum < 0.0 => {
                "no negative sum without buckets below zero"
            }
            _ => return Ok(()),
        };
        Err(Error::invalid(format!("expected {problem} in histogram {}", self.name)))
    }
}

impl OpenMetricsRules {
    fn finish_family(&mut self) -> Result<()> {
        let Some(mut family) = self.family.take() else { return Ok(()) };
        family.finish_buckets()?;
        if let Some(unit) = family.unit.as_deref().filter(|u| !u.is_empty()) {
            if !unit_fits(&family.name, unit) {
                return Err(Error::invalid(format!(
                    "expected the name {} to end with its unit {unit}",
                    family.name
                )));
            }
            if matches!(family.kind, Some(MetricKind::Info | MetricKind::StateSet)) {
                return Err(Error::invalid(format!("expected no unit on {}", family.name)));
            }
        }
        let mut names = vec![family.name.clone()];
        names.extend(
            family
                .suffixes()
                .iter()
                .filter(|s| !s.is_empty())
                .map(|s| format!("{}{s}", family.name)),
        );
        for name in names {
            if !self.names.insert(name.clone()) {
                return Err(Error::invalid(format!(
                    "expected each metric name in one family, found {name} in two"
                )));
            }
        }
        Ok(())
    }

    /// Makes `name` the current family; one that is finished may not come back.
    fn enter(&mut self, name: &str) -> Result<&mut Family> {
        if self.family.as_ref().is_none_or(|f| f.name != name) {
            self.finish_family()?;
        }
        Ok(self.family.get_or_insert_with(|| Family::new(name)))
    }
}

impl Visitor for OpenMetricsRules {
    fn sample(&mut self, sample: Sample<'_>) -> Result<()> {
        let labels = series_labels(sample.series, Format::OpenMetrics)?;
        let name = labels.metric_name();
        let suffix = self.family.as_ref().and_then(|f| f.suffix_of(name));
        let suffix = match suffix {
            Some(suffix) => suffix,
            None => {
                self.finish_family()?;
                self.family = Some(Family::new(name));
                ""
            }
        };
        let family = self.family.get_or_insert_with(|| Family::new(name));
        family.sample(suffix, &labels, &sample)
    }

    fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()> {
        let (Metadata::Type { name, .. }
        | Metadata::Help { name, .. }
        | Metadata::Unit { name, .. }) = &metadata;
        let family = self.enter(name)?;
        if family.sampled {
            return Err(Error::invalid(format!("expected metadata of {name} before its samples")));
        }
        let repeated = match &metadata {
            Metadata::Type { kind, .. } => family.kind.replace(*kind).is_some(),
            Metadata::Help { .. } => std::mem::replace(&mut family.help, true),
            Metadata::Unit { unit, .. } => family.unit.replace(unit.to_string()).is_some(),
        };
        if repeated {
            return Err(Error::invalid(format!("expected each kind of metadata once for {name}")));
        }
        Ok(())
    }
}

//! Pushed groups: what the Pushgateway's API puts, replaces and deletes.
//!
//! Owns: paths of groups, reading a push, whether it fits to the groups that are there, and the groups themselves as a
//! value ([`Groups`]) with its file format (`file.rs`) and its listing (`listing.rs`). Does not own: HTTP, files, when
//! groups are appended to the store (all `server`).
//!
//! Source: README of prometheus/pushgateway.

mod file;
mod listing;
mod path;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Error, ErrorKind, Histogram, Labels, METRIC_NAME, MetricKind, Result};
use rustc_hash::FxHashSet;

use crate::exposition::{self, Encoding, Histograms, Metadata, NativeSample, Sample, Visitor};

pub use path::group_labels;

/// Name of the gauge that says when a group was last changed.
pub const PUSH_TIME: &str = "push_time_seconds";
/// Name of the gauge that says when changing a group last failed.
pub const PUSH_FAILURE_TIME: &str = "push_failure_time_seconds";

/// Bounds of all groups together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bounds of one push.
    pub push: exposition::Limits,
    /// Groups.
    pub groups_max: usize,
    /// Series of all groups; a native histogram counts as one.
    pub series_max: usize,
}

/// Metrics of one name, as they were pushed.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Declared type.
    pub kind: MetricKind,
    /// Help text.
    pub help: String,
    /// Series with their grouping labels, and values.
    pub samples: Vec<(Labels, f64)>,
    /// Native histograms likewise.
    pub histograms: Vec<(Labels, Arc<Histogram>)>,
    /// When it was pushed, Unix milliseconds.
    pub pushed_ms: i64,
}

/// Families by name.
pub type Families = BTreeMap<String, Family>;

/// One group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// The grouping labels.
    pub labels: Labels,
    /// What was pushed.
    pub families: Families,
    /// When it was last changed, Unix milliseconds.
    pub pushed_ms: Option<i64>,
    /// When changing it last failed, Unix milliseconds.
    pub failed_ms: Option<i64>,
}

impl Group {
    /// All float series of the group and their values, its two times included.
    pub fn samples(&self) -> impl Iterator<Item = (Labels, f64)> + '_ {
        let time = |name: &str, at_ms: Option<i64>| {
            (self.labels.with(METRIC_NAME, name), at_ms.unwrap_or(0) as f64 / 1e3)
        };
        self.families
            .values()
            .flat_map(|family| family.samples.iter().cloned())
            .chain([time(PUSH_TIME, self.pushed_ms), time(PUSH_FAILURE_TIME, self.failed_ms)])
    }

    /// All native histograms of the group.
    pub fn histograms(&self) -> impl Iterator<Item = &(Labels, Arc<Histogram>)> {
        self.families.values().flat_map(|family| &family.histograms)
    }

    /// Names of all series of the group.
    fn series_count(&self) -> usize {
        self.families.values().map(|f| f.samples.len() + f.histograms.len()).sum::<usize>() + 2
    }

    /// Series of this group that `after` (or nothing) has no more.
    pub fn series_gone(&self, after: Option<&Self>) -> Vec<Labels> {
        let names = |group: &Self| -> Vec<Labels> {
            let histograms = group.histograms().map(|(labels, _)| labels.clone());
            group.samples().map(|(labels, _)| labels).chain(histograms).collect()
        };
        let there: FxHashSet<Labels> = after.map(names).unwrap_or_default().into_iter().collect();
        names(self).into_iter().filter(|labels| !there.contains(labels)).collect()
    }
}

/// All groups.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    groups: BTreeMap<Labels, Group>,
    series: usize,
}

impl Groups {
    /// All groups, by labels.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// The group of `labels`.
    pub fn get(&self, labels: &Labels) -> Option<&Group> {
        self.groups.get(labels)
    }

    /// What the group of `labels` is after a push: with `replace` it has nothing else, otherwise other families stay.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when a name has another type in another group, [`Limit`](ErrorKind::Limit) naming
    /// the bound.
    pub fn pushed(
        &self,
        labels: &Labels,
        families: Families,
        replace: bool,
        now_ms: i64,
        limits: &Limits,
    ) -> Result<Group> {
        let old = self.groups.get(labels);
        for other in self.iter().filter(|group| group.labels != *labels) {
            for (name, family) in &families {
                let known = other.families.get(name).map(|known| known.kind);
                if let Some(kind) = known.filter(|kind| *kind != family.kind) {
                    return Err(Error::invalid(format!(
                        "pushed metrics are inconsistent with existing ones: {name} is a {}, in group {} it is a {}",
                        family.kind.as_str(),
                        other.labels,
                        kind.as_str()
                    )));
                }
            }
        }
        let mut group = old.cloned().unwrap_or_default();
        group.labels = labels.clone();
        group.pushed_ms = Some(now_ms);
        if replace {
            group.families = families;
        } else {
            group.families.extend(families);
        }
        let mut seen = FxHashSet::default();
        let all = group.families.values();
        for (series, _) in all.clone().flat_map(|family| &family.samples) {
            if !seen.insert(series) {
                return Err(Error::invalid(format!(
                    "pushed metrics are inconsistent: series {series} is there twice"
                )));
            }
        }
        for (series, _) in all.flat_map(|family| &family.histograms) {
            if !seen.insert(series) {
                return Err(Error::invalid(format!(
                    "pushed metrics are inconsistent: series {series} is there twice"
                )));
            }
        }
        self.check_limits(old, &group, limits)?;
        Ok(group)
    }

    /// What the group of `labels` is after a push that was refused.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit) when it would be a new group too many.
    pub fn failed(&self, labels: &Labels, now_ms: i64, limits: &Limits) -> Result<Group> {
        let old = self.groups.get(labels);
        let mut group = old.cloned().unwrap_or_default();
        group.labels = labels.clone();
        group.failed_ms = Some(now_ms);
        self.check_limits(old, &group, limits)?;
        Ok(group)
    }

    fn check_limits(&self, old: Option<&Group>, new: &Group, limits: &Limits) -> Result<()> {
        let limit = |message| Err(Error::new(ErrorKind::Limit, message));
        if old.is_none() && self.groups.len() >= limits.groups_max {
            return limit(format!(
                "there are {} groups already; that is the limit",
                limits.groups_max
            ));
        }
        let series = self.series - old.map_or(0, Group::series_count) + new.series_count();
        if series > limits.series_max {
            return limit(format!(
                "all groups together would have {series} series; the limit is {}",
                limits.series_max
            ));
        }
        Ok(())
    }

    /// Puts a group in its place; returns what was there.
    pub fn set(&mut self, group: Group) -> Option<Group> {
        self.series += group.series_count();
        let old = self.groups.insert(group.labels.clone(), group);
        self.series -= old.as_ref().map_or(0, Group::series_count);
        old
    }

    /// Removes a group.
    pub fn remove(&mut self, labels: &Labels) -> Option<Group> {
        let old = self.groups.remove(labels);
        self.series -= old.as_ref().map_or(0, Group::series_count);
        old
    }
}

/// Reads a push. Its series get the labels of `group`, whatever they say themselves.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) for what is not in the format and for samples with a time of their own,
/// [`Limit`](ErrorKind::Limit) beyond a bound; with the place.
pub fn read(
    body: &[u8],
    encoding: Encoding,
    group: &Labels,
    limits: &exposition::Limits,
    now_ms: i64,
) -> Result<Families> {
    let mut push = Push {
        group,
        format: encoding.series_format(),
        families: Families::new(),
        kinds: BTreeMap::new(),
        now_ms,
    };
    exposition::decode(body, encoding, limits, &mut push)?;
    for (name, (kind, help)) in push.kinds {
        if let Some(family) = push.families.get_mut(&name) {
            family.kind = kind;
            family.help = help;
        }
    }
    Ok(push.families)
}

struct Push<'a> {
    group: &'a Labels,
    format: exposition::Format,
    families: Families,
    /// What was declared, by name.
    kinds: BTreeMap<String, (MetricKind, String)>,
    now_ms: i64,
}

impl Push<'_> {
    /// The family a series belongs to: classic histograms and summaries are several series under one name.
    fn family(&mut self, series: &str) -> &mut Family {
        let stem = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| {
            let stem = series.strip_suffix(suffix)?;
            let (kind, _) = self.kinds.get(stem)?;
            let belongs = match kind {
                MetricKind::Histogram | MetricKind::GaugeHistogram => true,
                MetricKind::Summary => *suffix != "_bucket",
                _ => false,
            };
            belongs.then_some(stem)
        });
        let pushed_ms = self.now_ms;
        self.families.entry(stem.unwrap_or(series).to_owned()).or_insert_with(|| Family {
            kind: MetricKind::Unknown,
            help: String::new(),
            samples: Vec::new(),
            histograms: Vec::new(),
            pushed_ms,
        })
    }

    /// Labels of a pushed series; `None` for those the group says itself.
    fn labels(&self, series: &str, timestamp_ms: Option<i64>) -> Result<Option<Labels>> {
        if timestamp_ms.is_some() {
            return Err(Error::invalid("pushed metrics must not have timestamps"));
        }
        let mut labels = exposition::series_labels(series, self.format)?.to_builder();
        if matches!(labels.get(METRIC_NAME), PUSH_TIME | PUSH_FAILURE_TIME) {
            return Ok(None);
        }
        for (name, value) in self.group.iter() {
            labels.set(name, value);
        }
        Ok(Some(labels.build()))
    }
}

impl Visitor for Push<'_> {
    fn histograms(&self) -> Histograms {
        Histograms::NativeAndClassic
    }

    fn sample(&mut self, sample: Sample<'_>) -> Result<()> {
        if let Some(labels) = self.labels(sample.series, sample.timestamp_ms)? {
            let name = labels.metric_name().to_owned();
            self.family(&name).samples.push((labels, sample.value));
        }
        Ok(())
    }

    fn histogram(&mut self, sample: NativeSample<'_>) -> Result<()> {
        if let Some(labels) = self.labels(sample.series, sample.timestamp_ms)? {
            let name = labels.metric_name().to_owned();
            self.family(&name).histograms.push((labels, Arc::new(sample.value)));
        }
        Ok(())
    }

    fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()> {
        let entry = |kinds: &mut BTreeMap<String, (MetricKind, String)>, name: &str| {
            kinds.entry(name.to_owned()).or_insert((MetricKind::Unknown, String::new())).clone()
        };
        match metadata {
            Metadata::Type { name, kind } => {
                let (_, help) = entry(&mut self.kinds, &name);
                self.kinds.insert(name.into_owned(), (kind, help));
            }
            Metadata::Help { name, text } => {
                let (kind, _) = entry(&mut self.kinds, &name);
                self.kinds.insert(name.into_owned(), (kind, text.into_owned()));
            }
            Metadata::Unit { .. } => {}
        }
        Ok(())
    }
}

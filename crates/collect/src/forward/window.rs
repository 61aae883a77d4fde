//! From records of the queue to the series of requests: labels, relabelling, what does not leave, shards.

use std::sync::Arc;

use hashbrown::HashMap;
use ingest::compression::{Encoding, unpack};
use ingest::relabel;
use ingest::remote_write::{Limits, Message, decode};
use ingest::write_request::{Series, series_of};
use model::{Labels, MetricBatch, Result};
use rustc_hash::{FxBuildHasher, FxHasher};
use std::hash::{Hash as _, Hasher as _};

use super::Record;
use super::config::Remote;
use super::figures::{Figures, add};

/// Relabelled series remembered.
const REMEMBERED_MAX: usize = 200_000;
/// Bytes of an unpacked record at most; a batch is far smaller.
const RECORD_BYTES_MAX: usize = 1 << 30;
/// More than any record holds; this process wrote them itself, within its own limits.
const PLENTY: usize = 1 << 40;
const NO_LIMITS: Limits = Limits {
    rows_max: PLENTY,
    labels_max: PLENTY,
    name_bytes_max: PLENTY,
    value_bytes_max: PLENTY,
    label_bytes_max: PLENTY,
    buckets_max: PLENTY,
};

/// What becomes of series on their way out.
pub(super) struct Outbound {
    remote: Arc<Remote>,
    external_labels: Labels,
    figures: Arc<Figures>,
    /// Labels as they leave; `None` for dropped series.
    remembered: HashMap<Labels, Option<Labels>, FxBuildHasher>,
}

impl Outbound {
    pub(super) fn new(remote: Arc<Remote>, external_labels: Labels, figures: Arc<Figures>) -> Self {
        Self { remote, external_labels, figures, remembered: HashMap::default() }
    }

    /// The series of `records`, each once per shard, over as many shards as their samples fill.
    pub(super) fn shards(&mut self, records: &[Record]) -> Vec<Vec<Series>> {
        let samples: u64 = records.iter().map(|record| record.samples).sum();
        let queue = &self.remote.queue;
        let wanted =
            usize::try_from(samples).unwrap_or(usize::MAX).div_ceil(queue.max_samples_per_send);
        let count = wanted.clamp(queue.min_shards, queue.max_shards);
        let mut shards = vec![Shard::default(); count];
        for record in records {
            match series_in(record) {
                Ok(series) => {
                    for one in series {
                        if let Some(one) = self.leaving(one) {
                            let mut hasher = FxHasher::default();
                            one.labels.hash(&mut hasher);
                            // The upper bits: the lower ones choose places in tables.
                            let shard = (hasher.finish() >> 32) as usize % count;
                            shards[shard].add(one);
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(%error, seq = record.seq, "remote write: a queued batch is unreadable");
                    add(&self.figures.damaged, 1);
                }
            }
        }
        shards.into_iter().map(|shard| shard.series).filter(|series| !series.is_empty()).collect()
    }

    /// The series as it leaves, unless it does not.
    fn leaving(&mut self, mut series: Series) -> Option<Series> {
        if !self.remote.send_native_histograms && !series.histograms.is_empty() {
            add(&self.figures.dropped_histograms, series.histograms.len());
            series.histograms.clear();
        }
        if !self.remote.send_exemplars {
            series.exemplars.clear();
        }
        if series.sample_count() == 0 && series.exemplars.is_empty() {
            return None;
        }
        match self.outside_labels(&series.labels) {
            Some(labels) => series.labels = labels,
            None => {
                add(&self.figures.dropped_relabelled, series.sample_count());
                return None;
            }
        }
        Some(series)
    }

    fn outside_labels(&mut self, labels: &Labels) -> Option<Labels> {
        if self.external_labels.is_empty() && self.remote.relabel.is_empty() {
            return Some(labels.clone());
        }
        if let Some(known) = self.remembered.get(labels) {
            return known.clone();
        }
        let mut builder = labels.to_builder();
        for (name, value) in self.external_labels.iter() {
            if labels.get(name).is_none() {
                builder.set(name, value);
            }
        }
        let outside = relabel::apply(&self.remote.relabel, &mut builder)
            .then(|| builder.build())
            .filter(|labels| !labels.is_empty());
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert(labels.clone(), outside.clone());
        outside
    }
}

/// Series of a shard: samples of several records gathered, floats and histograms apart.
#[derive(Debug, Default, Clone)]
struct Shard {
    series: Vec<Series>,
    places: HashMap<(Labels, bool), usize, FxBuildHasher>,
}

impl Shard {
    fn add(&mut self, series: Series) {
        let key = (series.labels.clone(), series.histograms.is_empty());
        match self.places.get(&key) {
            Some(&at) => {
                let known = &mut self.series[at];
                known.samples.extend(series.samples);
                known.histograms.extend(series.histograms);
                known.exemplars.extend(series.exemplars);
            }
            None => {
                self.places.insert(key, self.series.len());
                self.series.push(series);
            }
        }
    }
}

fn series_in(record: &Record) -> Result<Vec<Series>> {
    let body = unpack(Encoding::Snappy, &record.payload, RECORD_BYTES_MAX)?;
    let request = decode(Message::V2, &body, &NO_LIMITS)?;
    Ok(series_of(&MetricBatch {
        stamped: request.samples,
        histograms: request.histograms,
        exemplars: request.exemplars,
        ..MetricBatch::default()
    }))
}

/// Splits series into requests of at most `samples_max` samples, in order.
pub(super) fn requests(series: Vec<Series>, samples_max: usize) -> Vec<Vec<Series>> {
    let (mut requests, mut request, mut room) = (Vec::new(), Vec::new(), samples_max);
    for mut one in series {
        loop {
            let rest = split(&mut one, room);
            room -= one.sample_count().min(room);
            request.push(one);
            if room == 0 {
                requests.push(std::mem::take(&mut request));
                room = samples_max;
            }
            match rest {
                Some(rest) => one = rest,
                None => break,
            }
        }
    }
    if !request.is_empty() {
        requests.push(request);
    }
    requests
}

/// Leaves at most `max` samples and histograms in `series`; what is behind them.
fn split(series: &mut Series, max: usize) -> Option<Series> {
    if series.sample_count() <= max {
        return None;
    }
    let mut rest = Series::new(series.labels.clone());
    let floats = series.samples.len().min(max);
    rest.samples = series.samples.drain(floats..).collect();
    rest.histograms = series.histograms.split_off((max - floats).min(series.histograms.len()));
    Some(rest)
}

//! What one target sent last time: raw series texts with their finished labels, in order.
//!
//! A scrape walks the body and the previous order side by side. While both agree, a series costs one comparison of bytes
//! and one clone of its labels; only where they differ is there a hash look-up, and only a new series is parsed and
//! relabelled. Series that stop coming end with staleness markers.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use ingest::exposition::{Format, Limits, Metadata, Sample, Visitor, parse, series_labels};
use ingest::relabel;
use model::{
    Error, ErrorKind, Labels, LabelsBuilder, METRIC_NAME, MetricKind, MetricMetadata, MetricRow,
    Result, StampedRow, stale_nan,
};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::config::ScrapeJob;

/// Failed scrapes in a row after which nothing of the target is kept.
const FAILURES_KEPT: u32 = 3;

#[derive(Debug)]
struct Entry {
    raw: Box<str>,
    /// `None` when metric relabelling drops the series.
    labels: Option<Labels>,
    /// Number of the scrape that saw it last.
    seen: u64,
    /// Its place in the order of that scrape.
    place: u32,
    /// Whether it has a current value at scrape time, and so needs a staleness marker one day.
    live: bool,
}

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct SeriesCache {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_raw: HashTable<u32>,
    /// Entries in the order of the last good scrape.
    order: Vec<u32>,
    scrape: u64,
    failures: u32,
    format: Option<Format>,
    /// Live series whose texts were forgotten; they end unless the next scrape brings their labels again.
    orphans: Vec<Labels>,
    /// Hash of name to hash of what was last handed on about it.
    metadata: FxHashMap<u64, u64>,
}

/// The result of one scrape on its way to the store.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<MetricRow>,
    pub(super) stamped: Vec<StampedRow>,
    pub(super) metadata: Vec<MetricMetadata>,
    pub(super) counts: Counts,
}

/// What the `scrape_*` series report.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) scraped: u64,
    pub(super) kept: u64,
    pub(super) added: u64,
    /// Samples left out because their series came before in the same body.
    pub(super) duplicates: u64,
}

impl SeriesCache {
    /// Reads a body. On error the counts reached are in `rows`, and the caller goes on with [`fail`](Self::fail).
    pub(super) fn read(
        &mut self,
        body: &[u8],
        format: Format,
        job: &ScrapeJob,
        target: &Labels,
        limits: &Limits,
        rows: &mut Rows,
    ) -> Result<()> {
        if self.format != Some(format) {
            // Raw texts of one format may mean something else in the other.
            self.forget_texts();
            self.format = Some(format);
        }
        self.scrape += 1;
        rows.rows.reserve(self.order.len() + 16);
        let order = std::mem::take(&mut self.order);
        let mut reader = Reader {
            cache: self,
            order,
            next: 0,
            new_order: Vec::new(),
            fresh: Vec::new(),
            job,
            target,
            format,
            rows,
            pending: None,
            over_sample_limit: false,
        };
        reader.new_order.reserve(reader.order.len());
        let parsed = parse(body, format, limits, &mut reader);
        reader.flush_metadata();
        let over = reader.over_sample_limit;
        let Reader { order, new_order, fresh, .. } = reader;
        let outcome = parsed.and_then(|()| {
            if !over {
                return Ok(());
            }
            let limit = job.limits.samples;
            Err(Error::new(
                ErrorKind::Limit,
                format!("target sent {} samples; sample_limit is {limit}", rows.counts.kept),
            ))
        });
        match outcome {
            Ok(()) => {
                self.retire(&order, rows);
                self.order = new_order;
                self.failures = 0;
                Ok(())
            }
            Err(e) => {
                for id in fresh {
                    self.remove(id);
                }
                self.order = order;
                rows.rows.clear();
                rows.stamped.clear();
                Err(e)
            }
        }
    }

    /// Ends all live series: the target failed or is gone.
    pub(super) fn fail(&mut self, rows: &mut Rows) {
        rows.rows.clear();
        rows.stamped.clear();
        let orphans = std::mem::take(&mut self.orphans);
        rows.rows
            .extend(orphans.into_iter().map(|labels| MetricRow { labels, value: stale_nan() }));
        for &id in &self.order {
            if let Some(entry) = self.entries.get_mut(id as usize).and_then(Option::as_mut)
                && std::mem::take(&mut entry.live)
                && let Some(labels) = &entry.labels
            {
                rows.rows.push(MetricRow { labels: labels.clone(), value: stale_nan() });
            }
        }
        self.failures += 1;
        if self.failures >= FAILURES_KEPT {
            let scrape = self.scrape;
            *self = Self { scrape, ..Self::default() };
        }
    }

    /// Makes the next scrape hand on all metadata again.
    pub(super) fn forget_metadata(&mut self) {
        self.metadata.clear();
    }

    fn forget_texts(&mut self) {
        let mut ended = Rows::default();
        self.fail(&mut ended);
        let orphans = ended.rows.into_iter().map(|row| row.labels).collect();
        *self = Self { scrape: self.scrape, failures: self.failures, orphans, ..Self::default() };
    }

    /// Ends the series of the previous order that this scrape did not bring, under any spelling.
    fn retire(&mut self, previous: &[u32], rows: &mut Rows) {
        let mut ended = std::mem::take(&mut self.orphans);
        for &id in previous {
            let gone = self.entries[id as usize].as_ref().is_some_and(|e| e.seen != self.scrape);
            if gone && let Some(Entry { labels: Some(labels), live: true, .. }) = self.remove(id) {
                ended.push(labels);
            }
        }
        if ended.is_empty() {
            return;
        }
        let present: FxHashSet<&Labels> = rows.rows.iter().map(|row| &row.labels).collect();
        ended.retain(|labels| !present.contains(labels));
        rows.rows.extend(ended.into_iter().map(|labels| MetricRow { labels, value: stale_nan() }));
    }

    fn find(&self, raw: &str) -> Option<u32> {
        let hash = FxBuildHasher.hash_one(raw);
        let same = |id: &u32| self.entries[*id as usize].as_ref().is_some_and(|e| *e.raw == *raw);
        self.by_raw.find(hash, same).copied()
    }

    fn insert(&mut self, raw: &str, labels: Option<Labels>) -> u32 {
        let entry = Entry { raw: raw.into(), labels, seen: 0, place: u32::MAX, live: false };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = Some(entry);
                id
            }
            None => {
                self.entries.push(Some(entry));
                u32::try_from(self.entries.len() - 1)
                    .expect("BUG: a body holds fewer than 2^32 series")
            }
        };
        let entries = &self.entries;
        let rehash = |id: &u32| {
            entries[*id as usize].as_ref().map_or(0, |e| FxBuildHasher.hash_one(&*e.raw))
        };
        self.by_raw.insert_unique(FxBuildHasher.hash_one(raw), id, rehash);
        id
    }

    fn remove(&mut self, id: u32) -> Option<Entry> {
        let raw = &self.entries[id as usize].as_ref()?.raw;
        if let Ok(found) =
            self.by_raw.find_entry(FxBuildHasher.hash_one(&**raw), |other| *other == id)
        {
            found.remove();
        }
        self.free.push(id);
        self.entries[id as usize].take()
    }
}

/// The walk through one body.
struct Reader<'a> {
    cache: &'a mut SeriesCache,
    /// Order of the last good scrape.
    order: Vec<u32>,
    /// Place in it expected next.
    next: usize,
    new_order: Vec<u32>,
    /// Entries made by this scrape.
    fresh: Vec<u32>,
    job: &'a ScrapeJob,
    target: &'a Labels,
    format: Format,
    rows: &'a mut Rows,
    pending: Option<MetricMetadata>,
    over_sample_limit: bool,
}

impl Reader<'_> {
    /// The entry of a series, made if it is new.
    fn entry(&mut self, sample: &Sample<'_>) -> Result<u32> {
        if sample.predicted {
            let id = self.order[self.next];
            self.next += 1;
            return Ok(id);
        }
        if let Some(id) = self.cache.find(sample.series) {
            let place =
                self.cache.entries[id as usize].as_ref().map_or(u32::MAX, |e| e.place) as usize;
            if self.order.get(place) == Some(&id) {
                self.next = place + 1;
            }
            return Ok(id);
        }
        let labels = finish_labels(sample.series, self.format, self.job, self.target)?;
        if labels.is_some() {
            self.rows.counts.added += 1;
        }
        let id = self.cache.insert(sample.series, labels);
        self.fresh.push(id);
        Ok(id)
    }

    fn flush_metadata(&mut self) {
        let Some(metadata) = self.pending.take() else { return };
        let name = FxBuildHasher.hash_one(&*metadata.name);
        let content = FxBuildHasher.hash_one((metadata.kind, &*metadata.help, &*metadata.unit));
        if self.cache.metadata.insert(name, content) != Some(content) {
            self.rows.metadata.push(metadata);
        }
    }
}

impl Visitor for Reader<'_> {
    fn expected(&self) -> &str {
        let id = self.order.get(self.next).copied();
        id.and_then(|id| self.cache.entries[id as usize].as_ref()).map_or("", |e| &e.raw)
    }

    fn sample(&mut self, sample: Sample<'_>) -> Result<()> {
        self.rows.counts.scraped += 1;
        let id = self.entry(&sample)?;
        let scrape = self.cache.scrape;
        let entry = self.cache.entries[id as usize].as_mut().expect("BUG: entry was just found");
        if entry.seen == scrape {
            self.rows.counts.duplicates += 1;
            return Ok(());
        }
        entry.seen = scrape;
        entry.place = u32::try_from(self.new_order.len()).unwrap_or(u32::MAX);
        self.new_order.push(id);
        let Some(labels) = &entry.labels else { return Ok(()) };
        self.rows.counts.kept += 1;
        let limit = self.job.limits.samples;
        if limit > 0 && self.rows.counts.kept > limit {
            // Go on counting, as the report says how many there are.
            self.over_sample_limit = true;
            return Ok(());
        }
        let own_time = sample.timestamp_ms.filter(|_| self.job.honor_timestamps);
        entry.live = own_time.is_none() || self.job.track_timestamps_staleness;
        match own_time {
            Some(t_ms) => {
                self.rows.stamped.push(StampedRow {
                    labels: labels.clone(),
                    t_ms,
                    value: sample.value,
                });
            }
            None => self.rows.rows.push(MetricRow { labels: labels.clone(), value: sample.value }),
        }
        Ok(())
    }

    fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()> {
        let (Metadata::Type { name, .. }
        | Metadata::Help { name, .. }
        | Metadata::Unit { name, .. }) = &metadata;
        if self.pending.as_ref().is_none_or(|p| *p.name != **name) {
            self.flush_metadata();
        }
        let pending = self.pending.get_or_insert_with(|| MetricMetadata {
            name: Arc::from(&**name),
            kind: MetricKind::Unknown,
            help: Arc::from(""),
            unit: Arc::from(""),
        });
        match metadata {
            Metadata::Type { kind, .. } => pending.kind = kind,
            Metadata::Help { text, .. } => pending.help = Arc::from(&*text),
            Metadata::Unit { unit, .. } => pending.unit = Arc::from(&*unit),
        }
        Ok(())
    }
}

/// Labels under which a series is stored; `None` when relabelling drops it.
fn finish_labels(
    series: &str,
    format: Format,
    job: &ScrapeJob,
    target: &Labels,
) -> Result<Option<Labels>> {
    let mut labels = series_labels(series, format)?.to_builder();
    if job.honor_labels {
        for (name, value) in target.iter() {
            if labels.get(name).is_empty() {
                labels.set(name, value);
            }
        }
    } else {
        put_target_first(&mut labels, target);
    }
    if !relabel::apply(&job.metric_relabel, &mut labels) {
        return Ok(None);
    }
    let labels = labels.build();
    if labels.is_empty() {
        return Ok(None);
    }
    if labels.metric_name().is_empty() {
        return Err(Error::invalid("series has no name after metric relabelling"));
    }
    check_limits(&labels, job)?;
    Ok(Some(labels))
}

/// The target's labels win; the body's move to `exported_…`, with the prefix as often as it takes.
fn put_target_first(labels: &mut LabelsBuilder, target: &Labels) {
    let mut moved = Vec::new();
    for (name, value) in target.iter() {
        let exposed = labels.get(name).to_owned();
        if !exposed.is_empty() {
            moved.push((name, exposed));
        }
        labels.set(name, value);
    }
    for (name, value) in moved {
        let mut name = format!("exported_{name}");
        while !labels.get(&name).is_empty() {
            name.insert_str(0, "exported_");
        }
        labels.set(&name, &value);
    }
}

fn check_limits(labels: &Labels, job: &ScrapeJob) -> Result<()> {
    let limit = |what: &str, found: usize, max: u64| {
        if max == 0 || found as u64 <= max {
            return Ok(());
        }
        let name = labels.get(METRIC_NAME).unwrap_or("");
        Err(Error::new(
            ErrorKind::Limit,
            format!("series {name:.128} has {what} {found}; the limit is {max}"),
        ))
    };
    limit("a label count of", labels.len(), job.limits.labels)?;
    for (name, value) in labels.iter() {
        limit("a label name length of", name.len(), job.limits.label_name_bytes)?;
        limit("a label value length of", value.len(), job.limits.label_value_bytes)?;
    }
    Ok(())
}

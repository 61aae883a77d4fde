//! What one target sent last time: how it wrote its series, with their finished labels, in order.
//!
//! A scrape walks the body and the previous order side by side. While both agree, a series costs one hash of its bytes
//! and one clone of its labels; only where they differ is there a look-up, and only a new series is parsed and relabelled.
//! Series that stop coming end with staleness markers.
//!
//! A target that sent the same series twice in the same order most probably does so again: then the [`Shape`] of its body
//! is kept with the list of their labels, and while only numbers change, only they are read, for all series at once.
//!
//! Of the text of a series length and hash are kept ([`Spelling`]), as the text itself would be as large as all else
//! that is known of a series.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

use hashbrown::HashTable;
use ingest::exposition::{
    CustomBuckets, Encoding, Families, Histograms, Limits, Metadata, NativeSample, RawExemplar,
    Sample, Shape, Visitor, decode,
};
use ingest::native_histogram;
use model::histogram::{SCHEMA_MAX, SCHEMA_MIN};
use model::{
    Error, ErrorKind, ExemplarRow, Histogram, HistogramRow, Labels, MetricKind, MetricMetadata,
    MetricRow, Result, StampedRow, SteadyRows, stale_nan,
};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::config::ScrapeJob;
use super::labels::finish_labels;

/// Failed scrapes in a row after which nothing of the target is kept.
const FAILURES_KEPT: u32 = 3;

/// How a target wrote a series: length and hash of the text. The hash is keyed at random for each process; two texts of
/// one target have the same by a chance of 1 in 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spelling {
    hash: u64,
    len: u32,
}

impl Spelling {
    fn of(text: &str) -> Self {
        // Bodies are far below 4 GiB; a longer text would have another length, and so be new each time.
        Self { hash: hash(text.as_bytes()), len: u32::try_from(text.len()).unwrap_or(u32::MAX) }
    }

    /// Its length, if `text` starts with it.
    #[inline]
    fn starts(self, text: &str) -> Option<usize> {
        let (len, bytes) = (self.len as usize, text.as_bytes());
        let start = bytes.get(..len)?;
        // What stands behind a series tells most others apart without a hash.
        let ends = matches!(bytes.get(len), None | Some(b' ' | b'\t'));
        (ends && hash(start) == self.hash).then_some(len)
    }
}

#[inline]
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SeedableRandomState::with_seed(1, SharedSeed::global_random()).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

#[derive(Debug)]
struct Entry {
    spelling: Spelling,
    /// `None` when metric relabelling drops the series.
    labels: Option<Labels>,
    /// Number of the scrape that saw it last.
    seen: u32,
    /// Its place in the order of that scrape.
    place: u32,
    /// Whether it has a current value at scrape time, and so needs a staleness marker one day.
    live: bool,
}

/// What a body that repeats the last one but for its numbers brings.
#[derive(Debug)]
struct Steady {
    shape: Shape,
    /// Labels of the series that are kept, in the order of the body.
    series: Arc<[Labels]>,
    /// Places in the body of those that are not.
    dropped: Vec<u32>,
}

impl Steady {
    /// The values of all series that are kept; `None` when the body is not of that kind.
    fn read(&self, body: &[u8]) -> Option<Vec<f64>> {
        let mut values = self.shape.read(body)?;
        let mut dropped = self.dropped.iter().peekable();
        if dropped.peek().is_some() {
            let mut place = 0;
            values.retain(|_| {
                place += 1;
                dropped.next_if_eq(&&(place - 1)).is_none()
            });
        }
        Some(values)
    }
}

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct SeriesCache {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_spelling: HashTable<u32>,
    /// Entries in the order of the last good scrape.
    order: Vec<u32>,
    /// If that scrape was like the one before.
    steady: Option<Steady>,
    /// Starts anew after 2^32.
    scrape: u32,
    failures: u32,
    encoding: Option<Encoding>,
    /// Live series whose texts were forgotten; they end unless the next scrape brings their labels again.
    orphans: Vec<Labels>,
    /// Hash of name to hash of what was last handed on about it.
    metadata: FxHashMap<u64, u64>,
    /// Hashes of the exemplars a series had last, for the series that have any.
    exemplars: FxHashMap<u32, SmallVec<[u64; 2]>>,
}

/// A body and what is known about where it comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scrape<'a> {
    pub(super) body: &'a [u8],
    pub(super) encoding: Encoding,
    /// Time of its samples, Unix milliseconds.
    pub(super) t_ms: i64,
    pub(super) job: &'a ScrapeJob,
    /// Labels of the target.
    pub(super) target: &'a Labels,
    pub(super) limits: &'a Limits,
}

/// The result of one scrape on its way to the store.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<MetricRow>,
    pub(super) steady: SteadyRows,
    pub(super) stamped: Vec<StampedRow>,
    pub(super) histograms: Vec<HistogramRow>,
    pub(super) exemplars: Vec<ExemplarRow>,
    pub(super) metadata: Vec<MetricMetadata>,
    pub(super) counts: Counts,
}

impl Rows {
    /// Forgets all that a failed scrape brought; its counts stay, since the report tells them.
    fn clear(&mut self) {
        self.rows.clear();
        self.steady = SteadyRows::default();
        self.stamped.clear();
        self.histograms.clear();
        self.exemplars.clear();
    }
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
    pub(super) fn read(&mut self, scrape: &Scrape<'_>, rows: &mut Rows) -> Result<()> {
        if self.encoding != Some(scrape.encoding) {
            // Raw texts of one format may mean something else in the other.
            self.forget_texts();
            self.encoding = Some(scrape.encoding);
        }
        if let Some(steady) = self.read_steady(scrape, &mut rows.counts) {
            rows.steady = steady;
            self.failures = 0;
            return Ok(());
        }
        self.scrape = self.scrape.wrapping_add(1);
        rows.rows.reserve(self.order.len() + 16);
        let order = std::mem::take(&mut self.order);
        let mut reader = Reader {
            new_order: Vec::with_capacity(order.len()),
            cache: self,
            order,
            next: 0,
            fresh: Vec::new(),
            series_ends: Vec::new(),
            // What becomes of a converted histogram is more than its lines.
            is_steady: !scrape.job.histograms.convert_classic,
            scrape,
            schema_max: schema_max(scrape.job.histograms.min_bucket_factor),
            rows,
            kind: MetricKind::Unknown,
            families: Families::default(),
            over_sample_limit: false,
            over_bucket_limit: None,
        };
        let decoded = reader.decode();
        let last = reader.families.finish();
        reader.hand_on(last);
        let (over_samples, over_buckets) =
            (reader.over_sample_limit, reader.over_bucket_limit.take());
        let is_steady = reader.is_steady && reader.next == reader.order.len();
        let Reader { order, new_order, fresh, series_ends, .. } = reader;
        let outcome = decoded.and_then(|()| {
            if over_samples {
                let limit = scrape.job.limits.samples;
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("target sent {} samples; sample_limit is {limit}", rows.counts.kept),
                ));
            }
            over_buckets.map_or(Ok(()), Err)
        });
        match outcome {
            Ok(()) => {
                self.retire(&order, rows);
                self.order = new_order;
                self.failures = 0;
                if is_steady {
                    self.steady = self.learn(scrape.body, &series_ends);
                }
                Ok(())
            }
            Err(e) => {
                for id in fresh {
                    self.remove(id);
                }
                self.order = order;
                // Those of this body were noted, and are not handed on.
                self.exemplars.clear();
                rows.clear();
                Err(e)
            }
        }
    }

    /// Reads a body that differs from the last one in its numbers only. Anything else is left to a full reading, with the
    /// cache as if every scrape since the last one of these had been the same as that.
    fn read_steady(&mut self, scrape: &Scrape<'_>, counts: &mut Counts) -> Option<SteadyRows> {
        let steady = self.steady.take()?;
        let (body, job, limits) = (scrape.body, scrape.job, scrape.limits);
        let (scraped, kept) = (steady.shape.len() as u64, steady.series.len() as u64);
        let is_within = body.len() <= limits.body_bytes_max
            && steady.shape.len() <= limits.samples_max
            && (job.limits.samples == 0 || kept <= job.limits.samples);
        let values = is_within.then(|| steady.read(body)).flatten()?;
        *counts = Counts { scraped, kept, ..Counts::default() };
        let series = Arc::clone(&steady.series);
        self.steady = Some(steady);
        Some(SteadyRows { series, values, is_group: false })
    }

    /// What the next body may repeat, after a scrape that had the series in `order`, all of them live and each once.
    fn learn(&self, body: &[u8], series_ends: &[u32]) -> Option<Steady> {
        let shape = Shape::of(body, series_ends).filter(|shape| shape.len() == self.order.len())?;
        let (mut series, mut dropped) = (Vec::with_capacity(self.order.len()), Vec::new());
        for (place, id) in (0..).zip(&self.order) {
            match self.entries[*id as usize].as_ref()?.labels.clone() {
                // The store refuses it, and says so each time.
                Some(labels) if labels.is_empty() => return None,
                Some(labels) => series.push(labels),
                None => dropped.push(place),
            }
        }
        Some(Steady { shape, series: series.into(), dropped })
    }

    /// Ends all live series: the target failed or is gone.
    pub(super) fn fail(&mut self, rows: &mut Rows) {
        rows.clear();
        self.steady = None;
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
        self.steady = None;
    }

    /// Reads the next body in full.
    #[cfg(test)]
    pub(super) fn forget_steady(&mut self) {
        self.steady = None;
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
        let histograms = rows.histograms.iter().map(|row| &row.labels);
        let present: FxHashSet<&Labels> =
            rows.rows.iter().map(|row| &row.labels).chain(histograms).collect();
        ended.retain(|labels| !present.contains(labels));
        rows.rows.extend(ended.into_iter().map(|labels| MetricRow { labels, value: stale_nan() }));
    }

    fn find(&self, spelling: Spelling) -> Option<u32> {
        let same =
            |id: &u32| self.entries[*id as usize].as_ref().is_some_and(|e| e.spelling == spelling);
        self.by_spelling.find(spelling.hash, same).copied()
    }

    fn insert(&mut self, spelling: Spelling, labels: Option<Labels>) -> u32 {
        let entry = Entry { spelling, labels, seen: 0, place: u32::MAX, live: false };
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
        let rehash = |id: &u32| entries[*id as usize].as_ref().map_or(0, |e| e.spelling.hash);
        self.by_spelling.insert_unique(spelling.hash, id, rehash);
        id
    }

    fn remove(&mut self, id: u32) -> Option<Entry> {
        let hash = self.entries[id as usize].as_ref()?.spelling.hash;
        if let Ok(found) = self.by_spelling.find_entry(hash, |other| *other == id) {
            found.remove();
        }
        self.free.push(id);
        self.exemplars.remove(&id);
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
    /// Where in the body the series end, while it is in the order of the last one.
    series_ends: Vec<u32>,
    is_steady: bool,
    scrape: &'a Scrape<'a>,
    /// Finest schema the job keeps.
    schema_max: i32,
    rows: &'a mut Rows,
    /// Type declared last.
    kind: MetricKind,
    families: Families,
    over_sample_limit: bool,
    over_bucket_limit: Option<Error>,
}

impl Reader<'_> {
    fn decode(&mut self) -> Result<()> {
        let Scrape { body, encoding, job, limits, .. } = *self.scrape;
        if !job.histograms.convert_classic {
            return decode(body, encoding, limits, self);
        }
        let keep_classic = job.histograms.always_classic;
        let mut converted = CustomBuckets::new(self, encoding.series_format(), keep_classic);
        decode(body, encoding, limits, &mut converted)?;
        converted.finish()
    }

    /// The entry of a series, made if it is new.
    fn entry(&mut self, series: &str, predicted: bool) -> Result<u32> {
        if predicted {
            let id = self.order[self.next];
            self.next += 1;
            return Ok(id);
        }
        let spelling = Spelling::of(series);
        if let Some(id) = self.cache.find(spelling) {
            let place =
                self.cache.entries[id as usize].as_ref().map_or(u32::MAX, |e| e.place) as usize;
            if self.order.get(place) == Some(&id) {
                self.next = place + 1;
            }
            return Ok(id);
        }
        let Scrape { encoding, job, target, .. } = *self.scrape;
        let labels = finish_labels(series, encoding.series_format(), self.kind, job, target)?;
        if labels.is_some() {
            self.rows.counts.added += 1;
        }
        let id = self.cache.insert(spelling, labels);
        self.fresh.push(id);
        Ok(id)
    }

    /// Notes that a series is there; its labels and time, or `None` when nothing of it is to be stored. A time is
    /// `None` when it is the scrape's.
    fn admit(&mut self, id: u32, timestamp_ms: Option<i64>) -> Option<(Labels, Option<i64>)> {
        let (scrape, job) = (self.cache.scrape, self.scrape.job);
        let entry = self.cache.entries[id as usize].as_mut().expect("BUG: entry was just found");
        let own_ms = timestamp_ms.filter(|_| job.honor_timestamps);
        let again = std::mem::replace(&mut entry.seen, scrape) == scrape;
        if !again {
            entry.place = u32::try_from(self.new_order.len()).unwrap_or(u32::MAX);
            self.new_order.push(id);
        }
        let labels = entry.labels.as_ref()?;
        self.rows.counts.kept += 1;
        let limit = job.limits.samples;
        if limit > 0 && self.rows.counts.kept > limit {
            // Go on counting, as the report says how many there are.
            self.over_sample_limit = true;
            return None;
        }
        if again && own_ms.is_none() {
            // Several samples of a series need times of their own.
            self.rows.counts.duplicates += 1;
            return None;
        }
        entry.live = own_ms.is_none() || job.track_timestamps_staleness;
        Some((labels.clone(), own_ms))
    }

    /// Hands on the exemplars that the series did not have last time.
    fn exemplars(&mut self, id: u32, labels: &Labels, raw: &[RawExemplar<'_>]) -> Result<()> {
        if raw.is_empty() {
            return Ok(());
        }
        let hashes: SmallVec<[u64; 2]> =
            raw.iter().map(|e| FxBuildHasher.hash_one(e.bytes())).collect();
        let known = self.cache.exemplars.entry(id).or_default();
        if *known == hashes {
            return Ok(());
        }
        for (raw, hash) in raw.iter().zip(&hashes) {
            if known.contains(hash) {
                continue;
            }
            match raw.decode(self.scrape.t_ms) {
                Ok(exemplar) => {
                    self.rows.exemplars.push(ExemplarRow { series: labels.clone(), exemplar });
                }
                // Too long to keep is not worth a scrape.
                Err(e) if e.kind() == ErrorKind::Limit => {}
                Err(e) => return Err(e),
            }
        }
        *known = hashes;
        Ok(())
    }

    /// Merges buckets until the histogram is within the job's bounds.
    fn bound_buckets(&mut self, series: &str, value: &mut Histogram) {
        native_histogram::reduce_resolution(value, self.schema_max);
        let limit = self.scrape.job.histograms.bucket_limit;
        let buckets = |h: &Histogram| (h.positive.len() + h.negative.len()) as u64;
        while limit > 0 && buckets(value) > limit {
            if value.has_custom_bounds() || value.schema <= SCHEMA_MIN {
                let found = buckets(value);
                self.over_bucket_limit.get_or_insert_with(|| {
                    Error::new(
                        ErrorKind::Limit,
                        format!(
                            "series {series:.128} has {found} buckets; \
                             native_histogram_bucket_limit is {limit}"
                        ),
                    )
                });
                return;
            }
            native_histogram::reduce_resolution(value, value.schema - 1);
        }
    }

    /// Hands on what is new about a family.
    fn hand_on(&mut self, metadata: Option<MetricMetadata>) {
        let Some(metadata) = metadata else { return };
        let name = FxBuildHasher.hash_one(&*metadata.name);
        let content = FxBuildHasher.hash_one((metadata.kind, &*metadata.help, &*metadata.unit));
        if self.cache.metadata.insert(name, content) != Some(content) {
            self.rows.metadata.push(metadata);
        }
    }
}

impl Visitor for Reader<'_> {
    fn expects(&self, text: &str) -> Option<usize> {
        let id = *self.order.get(self.next)?;
        self.cache.entries[id as usize].as_ref()?.spelling.starts(text)
    }

    fn sample(&mut self, sample: Sample<'_>) -> Result<()> {
        self.rows.counts.scraped += 1;
        self.is_steady &= sample.predicted;
        if self.is_steady {
            let end = sample.series_end.and_then(|end| u32::try_from(end).ok());
            self.is_steady = end.is_some();
            self.series_ends.extend(end);
        }
        let id = self.entry(sample.series, sample.predicted)?;
        let Some((labels, own_ms)) = self.admit(id, sample.timestamp_ms) else { return Ok(()) };
        if let Some(exemplar) = sample.exemplar {
            self.exemplars(id, &labels, &[exemplar])?;
        }
        match own_ms {
            Some(t_ms) => {
                self.rows.stamped.push(StampedRow::new(labels, t_ms, sample.value));
            }
            None => self.rows.rows.push(MetricRow { labels, value: sample.value }),
        }
        Ok(())
    }

    fn histograms(&self) -> Histograms {
        let options = &self.scrape.job.histograms;
        match (options.scrape_native, options.always_classic) {
            (false, _) => Histograms::Classic,
            (true, false) => Histograms::Native,
            (true, true) => Histograms::NativeAndClassic,
        }
    }

    fn histogram(&mut self, mut sample: NativeSample<'_>) -> Result<()> {
        self.rows.counts.scraped += 1;
        self.is_steady = false;
        let id = self.entry(sample.series, sample.predicted)?;
        let Some((labels, own_ms)) = self.admit(id, sample.timestamp_ms) else { return Ok(()) };
        self.exemplars(id, &labels, sample.exemplars)?;
        self.bound_buckets(sample.series, &mut sample.value);
        let (t_ms, value) = (own_ms.unwrap_or(self.scrape.t_ms), Arc::new(sample.value));
        self.rows.histograms.push(HistogramRow { labels, t_ms, value });
        Ok(())
    }

    fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()> {
        if let Metadata::Type { kind, .. } = &metadata {
            self.kind = *kind;
        }
        let before = self.families.add(metadata);
        self.hand_on(before);
        Ok(())
    }
}

/// The finest schema whose buckets are at least `factor` times as wide as the one before; 0 asks for nothing.
#[expect(clippy::cast_possible_truncation, reason = "the value is bounded before")]
fn schema_max(factor: f64) -> i32 {
    if factor <= 1.0 {
        return SCHEMA_MAX;
    }
    // A bucket of schema n grows by 2^(2^-n).
    let schema = (-factor.log2().log2()).floor();
    schema.clamp(f64::from(SCHEMA_MIN), f64::from(SCHEMA_MAX)) as i32
}

//! The writer's side of the store: from batches to WAL records and into the head, and back from records after a start.
//!
//! Owns: what the single writer thread notes down for the next batch: per source the expected order of series, the last
//! row, who was in it. Does not own: what readers see ([`head`](crate::head)), writing parts ([`flush`](crate::flush)).
//!
//! Order rules, per series: a sample after its last one is ordered; at the time of the last one it is a duplicate (same
//! bits: stored already; other bits: refused); an earlier one is out of order and kept as loose, where the last one to
//! arrive counts. Ordered samples of a scrape go into the target's row, all others are loose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{HistogramRow, Labels, MetricBatch, MetricMetadata, Receipt, RejectReason, Result};
use rustc_hash::FxHashMap;
use storage::codec::Reader;
use storage::wal::Wal;

use crate::bitmap::Bitmap;
use crate::buckets;
use crate::exemplars::{Stored, Verdict};
use crate::flush::Running;
use crate::head::{COLUMNS_MAX, Frame, Head, LOOSE_BYTES, TailRow, TargetSamples};
use crate::histograms::{self, HeadPage};
use crate::record::{self, HistogramSample, LooseSample, Record, RecordRow};
use crate::registry::Home;
use crate::row::RowState;
use crate::shard::{Common, Shared};

/// WAL record kind of the store's only record.
pub(crate) const RECORD: u8 = 1;

/// Scrapes of a tail; then it is sealed and a new row chain starts.
const TAIL_ROWS: u32 = 64;
/// Records after which a target is defined anew in the WAL, so that one lost record does not cost all later ones.
const RESET_RECORDS: u64 = 256;
/// Batches into which a sender may split a target's scrape; samples of more are loose.
const GROUPS_MAX: usize = 64;
/// No column.
pub(crate) const NONE: u32 = u32::MAX;

/// A batch on its way through the writer.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) batch: MetricBatch,
    /// Whether its rows are of one target, of which other batches may have more at the same time.
    is_group: bool,
    plan: Plan,
}

impl Batch {
    pub(crate) fn new(batch: MetricBatch, is_group: bool) -> Self {
        Self { batch, is_group, plan: Plan::default() }
    }
}

/// What a batch will change, and how to undo what encoding it noted down.
#[derive(Debug, Default)]
struct Plan {
    target: u32,
    row: Option<(i64, bool, Arc<[u8]>)>,
    /// Number of series, time, bits.
    loose: Vec<(u32, i64, u64)>,
    /// Number of series, time, bytes.
    histograms: Vec<(u32, i64, Arc<[u8]>)>,
    exemplars: Vec<Stored>,
    metadata: Vec<MetricMetadata>,
    /// Rows over the series limit, by metric.
    over_limit: BTreeMap<String, u64>,
    ledger: Ledger,
    last_ms_before: i64,
    loose_last_before: Vec<(u32, Option<(i64, u64)>)>,
}

impl Plan {
    /// Whether there is anything to write down.
    fn has_changes(&self) -> bool {
        let samples = self.row.is_some() || !self.loose.is_empty() || !self.histograms.is_empty();
        samples || !self.exemplars.is_empty() || !self.metadata.is_empty()
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Ledger {
    stored: u64,
    too_old: u64,
    too_new: u64,
    duplicate: u64,
    series_limit: u64,
    invalid: u64,
}

impl Ledger {
    fn receipt(&self) -> Receipt {
        let reasons = [
            (RejectReason::TooOld, self.too_old),
            (RejectReason::TooNew, self.too_new),
            (RejectReason::DuplicateTimestamp, self.duplicate),
            (RejectReason::SeriesLimit, self.series_limit),
            (RejectReason::Invalid, self.invalid),
        ];
        let rejected = reasons.into_iter().filter(|(_, n)| *n > 0).collect();
        Receipt { stored: self.stored, rejected }
    }
}

/// What the writer knows about one source.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) key: Arc<str>,
    /// Number of the series of each column; [`NONE`] for those whose series left the head.
    pub(crate) columns: Vec<u32>,
    /// Columns without a series.
    pub(crate) holes: usize,
    /// Column that followed each column in the last batch.
    next: Vec<u32>,
    first: u32,
    /// Columns whose series has its rows here.
    homes: Bitmap,
    /// Columns of series that have their rows elsewhere or nowhere, by series.
    foreign: FxHashMap<u32, u32>,
    state: RowState,
    /// Time of the last row; `i64::MIN` before the first.
    last_ms: i64,
    /// Last sample of columns that were not in the last row.
    left: FxHashMap<u32, (i64, u64)>,
    /// Columns with a row since the last flush.
    pub(crate) seen: Bitmap,
    rows_in_tail: u32,
    chain: u64,
    /// Columns that the WAL knows.
    defined: usize,
    /// The WAL must hear of everything anew.
    redefine: bool,
    steady: Option<Steady>,
}

/// The list of series that came last, and their columns.
#[derive(Debug)]
struct Steady {
    series: Arc<[Labels]>,
    columns: Box<[u32]>,
}

impl Encoder {
    fn new(key: Arc<str>) -> Self {
        Self {
            key,
            columns: Vec::new(),
            holes: 0,
            next: Vec::new(),
            first: NONE,
            homes: Bitmap::default(),
            foreign: FxHashMap::default(),
            state: RowState::default(),
            last_ms: i64::MIN,
            left: FxHashMap::default(),
            seen: Bitmap::default(),
            rows_in_tail: 0,
            chain: 0,
            defined: 0,
            redefine: true,
            steady: None,
        }
    }

    fn add_column(&mut self, series: u32, home: bool) -> u32 {
        let column = u32::try_from(self.columns.len()).unwrap_or(NONE);
        self.columns.push(series);
        self.next.push(NONE);
        self.homes.resize(self.columns.len());
        if home {
            self.homes.set(column as usize);
        } else {
            self.foreign.insert(series, column);
        }
        column
    }

    /// Whether `resolved` is all columns, in order, and each the home of its series.
    fn is_all(&self, resolved: &[u32]) -> bool {
        resolved.len() == self.columns.len()
            && resolved.iter().zip(0u32..).all(|(column, expected)| *column == expected)
            && self.homes.count() == resolved.len()
    }

    /// Last sample that column `column` has in a row.
    fn last_of(&self, column: u32) -> Option<(i64, u64)> {
        if self.state.present().get(column as usize) {
            return Some((self.last_ms, self.state.values()[column as usize]));
        }
        self.left.get(&column).copied()
    }

    /// Encodes the row at `t_ms`; returns whether it starts a chain, and its bytes.
    fn row(&mut self, t_ms: i64, values: &[u64], present: &Bitmap) -> (bool, Arc<[u8]>) {
        self.note_departures(present);
        let keyframe = self.redefine || self.rows_in_tail >= TAIL_ROWS || self.rows_in_tail == 0;
        if keyframe {
            self.state.clear();
            self.rows_in_tail = 0;
        }
        let mut bytes = Vec::new();
        self.state.encode(values, present, &mut bytes);
        self.rows_in_tail += 1;
        self.last_ms = t_ms;
        self.seen.merge(present);
        (keyframe, Arc::from(bytes))
    }

    fn note_departures(&mut self, present: &Bitmap) {
        let before = self.state.present();
        if before == present {
            return;
        }
        for column in before.ones().filter(|c| !present.get(*c)) {
            let last = (self.last_ms, self.state.values()[column]);
            self.left.insert(u32::try_from(column).unwrap_or(NONE), last);
        }
        if !self.left.is_empty() {
            self.left.retain(|column, _| !present.get(*column as usize));
        }
    }

    /// Bytes it takes in memory.
    fn memory_bytes(&self) -> usize {
        let bits = (self.homes.len() + self.seen.len()) / 8;
        let foreign = self.foreign.capacity() * 9;
        let left = self.left.capacity() * (size_of::<(u32, (i64, u64))>() + 1);
        let columns = (self.columns.capacity() + self.next.capacity()) * 4;
        let steady = self.steady.as_ref();
        let steady = steady.map_or(0, |s| size_of_val(&*s.series) + size_of_val(&*s.columns));
        size_of::<Self>()
            + self.key.len()
            + columns
            + steady
            + bits
            + foreign
            + left
            + self.state.memory_bytes()
    }

    /// After a flush the WAL starts empty and so does the tail.
    pub(crate) fn restart(&mut self) {
        self.redefine = true;
        self.rows_in_tail = 0;
        self.seen.reset(self.columns.len());
    }

    /// Forgets the columns that had no row since the last call, and those that never have one and whose series is not
    /// active otherwise; returns the series whose home they were. Numbers of columns stay.
    pub(crate) fn drop_unseen(&mut self, is_active: &dyn Fn(u32) -> bool) -> Vec<u32> {
        let mut dropped = Vec::new();
        self.steady = None;
        for c in 0..self.columns.len() {
            let series = self.columns[c];
            let is_home = self.homes.get(c);
            if series == NONE || (if is_home { self.seen.get(c) } else { is_active(series) }) {
                continue;
            }
            if is_home {
                dropped.push(series);
                self.homes.unset(c);
            } else {
                self.foreign.remove(&series);
            }
            self.columns[c] = NONE;
            self.holes += 1;
            self.state.forget(c);
            self.left.remove(&u32::try_from(c).unwrap_or(NONE));
        }
        self.restart();
        dropped
    }

    /// Whether most columns are without a series.
    pub(crate) fn is_sparse(&self) -> bool {
        self.holes > 64.max(self.columns.len() / 2)
    }

    /// Numbers the columns that have a series anew; returns the old number and the series of each.
    pub(crate) fn compact(&mut self) -> Vec<(u32, u32)> {
        let lasts: Vec<Option<(i64, u64)>> = (0..self.columns.len())
            .map(|c| self.last_of(u32::try_from(c).unwrap_or(NONE)))
            .collect();
        let (columns, homes) = (std::mem::take(&mut self.columns), std::mem::take(&mut self.homes));
        let seen = std::mem::take(&mut self.seen);
        self.steady = None;
        self.next.clear();
        self.foreign.clear();
        self.left.clear();
        self.state.clear();
        (self.first, self.holes) = (NONE, 0);
        let mut kept = Vec::new();
        for (c, series) in columns.into_iter().enumerate().filter(|(_, series)| *series != NONE) {
            let column = self.add_column(series, homes.get(c));
            if let Some(last) = lasts[c] {
                self.left.insert(column, last);
            }
            kept.push((u32::try_from(c).unwrap_or(NONE), series));
        }
        self.restart();
        for (column, (c, _)) in kept.iter().enumerate() {
            if seen.get(*c as usize) {
                self.seen.set(column);
            }
        }
        kept
    }
}

/// What replaying the WAL found.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Replayed {
    pub(crate) samples: u64,
    pub(crate) damaged_records: u64,
}

/// A target as the records of the WAL number it.
#[derive(Debug)]
struct ReplayTarget {
    live: u32,
    /// Live column of each column.
    columns: Vec<u32>,
    state: RowState,
    next_chain: u64,
}

/// The store's [`storage::writer::Engine`].
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) encoders: Vec<Option<Encoder>>,
    by_key: FxHashMap<Arc<str>, u32>,
    /// Latest loose sample of each series that has any since the flush before last.
    pub(crate) loose_last: FxHashMap<u32, (i64, u64)>,
    /// Whether the last flush failed: the head holds samples from before the last line that was drawn.
    pub(crate) unwritten: bool,
    /// The flush that is being written.
    pub(crate) flushing: Option<Running>,
    /// When the oldest unflushed sample arrived, or the flush before it happened.
    pub(crate) dirty_since_ms: Option<i64>,
    pub(crate) index_swept_ms: i64,
    pub(crate) memory_looked_ms: i64,
    /// Whether there is metadata that only the WAL has.
    pub(crate) metadata_dirty: bool,
    /// Whether the series limit holds; not during replay, as these were accepted once.
    limited: bool,
    replay_targets: FxHashMap<u32, ReplayTarget>,
    pub(crate) replayed: Replayed,
    values: Vec<u64>,
    present: Bitmap,
    resolved: Vec<u32>,
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            encoders: Vec::new(),
            by_key: FxHashMap::default(),
            loose_last: FxHashMap::default(),
            unwritten: false,
            flushing: None,
            dirty_since_ms: None,
            index_swept_ms: 0,
            memory_looked_ms: 0,
            metadata_dirty: false,
            limited: false,
            replay_targets: FxHashMap::default(),
            replayed: Replayed::default(),
            values: Vec::new(),
            present: Bitmap::default(),
            resolved: Vec::new(),
        }
    }

    fn target(&mut self, key: &Arc<str>) -> u32 {
        if let Some(target) = self.by_key.get(key) {
            return *target;
        }
        let encoder = Some(Encoder::new(Arc::clone(key)));
        let slot = match self.encoders.iter().position(Option::is_none) {
            Some(slot) => {
                self.encoders[slot] = encoder;
                slot
            }
            None => {
                self.encoders.push(encoder);
                self.shared.head.write().targets.push(TargetSamples::default());
                self.encoders.len() - 1
            }
        };
        self.shared.head.write().targets[slot].key = Arc::clone(key);
        let target = u32::try_from(slot).expect("BUG: fewer sources than series");
        self.by_key.insert(Arc::clone(key), target);
        target
    }

    /// The target of a group of `source` at `t_ms`. A sender may split a scrape over several batches, which cannot share a
    /// row: a group goes where its first series is at home, else to the first target of its source that has no such
    /// time yet.
    fn group_target(&mut self, source: &Arc<str>, first: &Labels, t_ms: i64) -> u32 {
        let home = {
            let head = self.shared.head.read();
            let registry = &head.registry;
            registry.find(first).and_then(|id| registry.get(id)).and_then(|series| series.home())
        };
        if let Some((target, _)) = home
            && self.encoder(target).key.starts_with(&**source)
        {
            return target;
        }
        let mut target = self.target(source);
        for number in 2..=GROUPS_MAX {
            if self.encoder(target).last_ms < t_ms {
                break;
            }
            target = self.target(&format!("{source}#{number}").into());
        }
        target
    }

    /// Forgets a source without columns.
    pub(crate) fn forget_target(&mut self, target: usize) {
        if let Some(encoder) = self.encoders[target].take() {
            self.by_key.remove(&encoder.key);
        }
    }

    fn encoder(&mut self, target: u32) -> &mut Encoder {
        self.encoders[target as usize].as_mut().expect("BUG: target has an encoder")
    }

    /// Bytes of what it notes down about all sources.
    pub(crate) fn memory_bytes(&self) -> usize {
        let loose = self.loose_last.capacity() * (size_of::<(u32, (i64, u64))>() + 1);
        self.encoders.iter().flatten().map(Encoder::memory_bytes).sum::<usize>() + loose
    }

    /// Finds the column of each row into `self.resolved`; [`NONE`] for series over the limit.
    fn resolve<'a>(&mut self, target: u32, rows: impl Iterator<Item = &'a Labels> + Clone) {
        let mut resolved = std::mem::take(&mut self.resolved);
        resolved.clear();
        let encoder = self.encoders[target as usize].as_mut().expect("BUG: target has an encoder");
        let shared = Arc::clone(&self.shared);
        let (mut unknown, mut as_before) = (false, true);
        {
            let head = shared.head.read();
            let mut expected = encoder.first;
            for labels in rows.clone() {
                let column = predicted(&head, encoder, expected, labels).unwrap_or_else(|| {
                    as_before = false;
                    known(&head, encoder, target, labels).unwrap_or(NONE)
                });
                unknown |= column == NONE;
                expected = encoder.next.get(column as usize).copied().unwrap_or(NONE);
                resolved.push(column);
            }
        }
        if as_before {
            self.resolved = resolved;
            return;
        }
        if unknown {
            let mut head = shared.head.write();
            for (labels, column) in rows.zip(&mut resolved) {
                if *column == NONE {
                    let limit = (&*shared.common, self.limited);
                    *column = introduce(&mut head, encoder, target, labels, limit);
                }
            }
        }
        let mut before = NONE;
        for &column in &resolved {
            match encoder.next.get_mut(before as usize) {
                Some(next) => *next = column,
                None => encoder.first = column,
            }
            before = column;
        }
        self.resolved = resolved;
    }

    /// Finds the columns of a batch's samples at its time, as [`resolve`](Self::resolve); those of a list of series that
    /// came before are known.
    fn resolve_batch(&mut self, target: u32, batch: &MetricBatch) {
        self.resolve(target, batch.rows.iter().map(|row| &row.labels));
        let series = &batch.steady.series;
        if series.is_empty() {
            return;
        }
        let of_rows = std::mem::take(&mut self.resolved);
        let encoder = self.encoder(target);
        let last = encoder.steady.take().filter(|last| Arc::ptr_eq(&last.series, series));
        let steady = last.unwrap_or_else(|| {
            self.resolve(target, series.iter());
            Steady { series: Arc::clone(series), columns: self.resolved.as_slice().into() }
        });
        self.resolved.clear();
        self.resolved.extend_from_slice(&steady.columns);
        self.resolved.extend_from_slice(&of_rows);
        // Those over the limit may be within it next time.
        if !steady.columns.contains(&NONE) {
            self.encoder(target).steady = Some(steady);
        }
    }

    /// Counts rows just resolved that are over the series limit by their metric.
    fn fold<'a>(&self, plan: &mut Plan, rows: impl Iterator<Item = &'a Labels>) {
        if !self.resolved.contains(&NONE) {
            return;
        }
        for (labels, _) in rows.zip(&self.resolved).filter(|(_, column)| **column == NONE) {
            let name = labels.metric_name();
            match plan.over_limit.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(plan.over_limit.insert(name.to_owned(), 1)),
            }
        }
    }

    /// Last sample of a series anywhere in the head.
    fn last_of(&self, series: u32, home: Option<Home>) -> Option<(i64, u64)> {
        let rows = home.and_then(|(target, column)| {
            self.encoders.get(target as usize)?.as_ref()?.last_of(column)
        });
        let loose = self.loose_last.get(&series).copied();
        // Of two at the same time the loose one came later.
        match (rows, loose) {
            (Some(rows), Some(loose)) => Some(if rows.0 > loose.0 { rows } else { loose }),
            (rows, loose) => rows.or(loose),
        }
    }

    /// Decides about a sample that is not plainly the next one of its row. True: it belongs into the row.
    fn place(
        &mut self,
        plan: &mut Plan,
        column: u32,
        sample: (i64, u64),
        row_ms: Option<i64>,
    ) -> bool {
        let encoder = self.encoders[plan.target as usize].as_ref().expect("BUG: has an encoder");
        let (series, row_before) = (encoder.columns[column as usize], encoder.last_ms);
        let home = self.shared.head.read().registry.get(series).and_then(|s| s.home());
        let last = self.last_of(series, home);
        match last {
            Some((t, bits)) if t == sample.0 => {
                if bits == sample.1 {
                    plan.ledger.stored += 1;
                } else {
                    plan.ledger.duplicate += 1;
                }
                return false;
            }
            _ => {}
        }
        let is_ordered = last.is_none_or(|(t, _)| t < sample.0);
        if is_ordered && row_ms.is_some_and(|t| t > row_before) {
            if home.is_none() {
                self.shared.head.write().registry.set_home(series, Some((plan.target, column)));
                let encoder = self.encoder(plan.target);
                encoder.foreign.remove(&series);
                encoder.homes.set(column as usize);
                return true;
            }
            if home == Some((plan.target, column)) {
                return true;
            }
        }
        plan.ledger.stored += 1;
        plan.loose.push((series, sample.0, sample.1));
        self.note_loose(plan, series, sample);
        false
    }

    /// Notes a sample down that is in no row, so that the next ones are compared with it.
    fn note_loose(&mut self, plan: &mut Plan, series: u32, sample: (i64, u64)) {
        let before = self.loose_last.get(&series).copied();
        plan.loose_last_before.push((series, before));
        if before.is_none_or(|(t, _)| t <= sample.0) {
            self.loose_last.insert(series, sample);
        }
    }

    /// Decides about a batch's histograms.
    fn plan_histograms(
        &mut self,
        plan: &mut Plan,
        mut rows: Vec<HistogramRow>,
        (oldest_ms, newest_ms): (i64, i64),
    ) {
        if rows.is_empty() {
            return;
        }
        let mut keep = |count: &mut u64, keep: &dyn Fn(&HistogramRow) -> bool| {
            let before = rows.len();
            rows.retain(keep);
            *count += (before - rows.len()) as u64;
        };
        let ledger = &mut plan.ledger;
        keep(&mut ledger.invalid, &|row| {
            !row.labels.is_empty() && buckets::check(&row.value).is_ok()
        });
        keep(&mut ledger.too_old, &|row| row.t_ms >= oldest_ms);
        keep(&mut ledger.too_new, &|row| row.t_ms <= newest_ms);
        self.resolve(plan.target, rows.iter().map(|row| &row.labels));
        self.fold(plan, rows.iter().map(|row| &row.labels));
        let resolved = std::mem::take(&mut self.resolved);
        for (row, column) in rows.iter().zip(&resolved) {
            if *column == NONE {
                plan.ledger.series_limit += 1;
                continue;
            }
            let mut bytes = Vec::new();
            buckets::encode_one(&row.value, &mut bytes);
            self.place_histogram(plan, *column, (row.t_ms, bytes.into()));
        }
        self.resolved = resolved;
    }

    /// Decides about a batch's exemplars and metadata.
    fn plan_notes(
        &self,
        plan: &mut Plan,
        batch: &mut MetricBatch,
        (oldest_ms, newest_ms): (i64, i64),
    ) {
        if !batch.exemplars.is_empty() {
            let all = std::mem::take(&mut batch.exemplars);
            let (mut refused, kept) = (0, self.shared.exemplars.read());
            for new in all.into_iter().map(Stored::from) {
                match kept.judge(&new) {
                    _ if !(oldest_ms..=newest_ms).contains(&new.t_ms) => refused += 1,
                    Verdict::Take => plan.exemplars.push(new),
                    Verdict::Known => {}
                    Verdict::Refuse => refused += 1,
                }
            }
            drop(kept);
            self.shared.exemplars.write().count_dropped(refused);
        }
        if !batch.metadata.is_empty() {
            let known = self.shared.common.metadata.read();
            let all = std::mem::take(&mut batch.metadata).into_iter();
            plan.metadata.extend(all.filter(|metadata| known.is_news(metadata)));
        }
    }

    /// Takes in what a plan says about exemplars and metadata.
    fn take_notes(&mut self, plan: &mut Plan) {
        if !plan.exemplars.is_empty() {
            let mut kept = self.shared.exemplars.write();
            plan.exemplars.drain(..).for_each(|exemplar| kept.add(exemplar));
        }
        if !plan.metadata.is_empty() {
            self.metadata_dirty = true;
            let mut known = self.shared.common.metadata.write();
            plan.metadata.drain(..).for_each(|metadata| known.add(metadata));
        }
    }

    /// Forgets the last samples of all series: what comes next is compared with none. Only after a flush, when rows of
    /// the head cannot build on them.
    pub(crate) fn forget_lasts(&mut self) {
        self.loose_last.clear();
        for encoder in self.encoders.iter_mut().flatten() {
            encoder.state.clear();
            encoder.left.clear();
            encoder.redefine = true;
        }
    }

    /// Whether there are exemplars or metadata that only the WAL has.
    pub(crate) fn has_notes(&self) -> bool {
        self.metadata_dirty || self.shared.exemplars.read().is_dirty
    }

    /// As [`place`](Self::place), for a histogram: it is never part of a row.
    fn place_histogram(&mut self, plan: &mut Plan, column: u32, (t_ms, bytes): histograms::One) {
        let encoder = self.encoders[plan.target as usize].as_ref().expect("BUG: has an encoder");
        let series = encoder.columns[column as usize];
        let home = self.shared.head.read().registry.get(series).and_then(|s| s.home());
        let fingerprint = buckets::fingerprint(&bytes);
        match self.last_of(series, home) {
            Some((t, last)) if t == t_ms && last == fingerprint => plan.ledger.stored += 1,
            Some((t, _)) if t == t_ms => plan.ledger.duplicate += 1,
            _ => {
                plan.ledger.stored += 1;
                plan.histograms.push((series, t_ms, bytes));
                self.note_loose(plan, series, (t_ms, fingerprint));
            }
        }
    }

    /// Packs tails that became long, without holding the lock meanwhile.
    fn seal_histograms(&self, plan: &Plan) -> Vec<(u32, usize, Vec<HeadPage>)> {
        let full: Vec<(u32, Vec<histograms::One>)> = {
            let head = self.shared.head.read();
            let of = |series: u32| head.histograms.get(&series).map_or(&[][..], |h| h.open_tail());
            let series = plan.histograms.iter().map(|(series, ..)| *series);
            let series: BTreeSet<u32> =
                series.filter(|series| of(*series).len() >= histograms::TAIL_MAX).collect();
            series.into_iter().map(|series| (series, of(series).to_vec())).collect()
        };
        let seal = |(series, tail): (u32, Vec<histograms::One>)| {
            let pages = HeadPage::seal(&tail).expect("BUG: tails in memory are what was encoded");
            (series, histograms::tail_bytes(&tail), pages)
        };
        full.into_iter().map(seal).collect()
    }

    /// Fills `values` and `present` with what belongs into the row at `t_ms`.
    fn plan_row(&mut self, plan: &mut Plan, t_ms: i64, rows: impl Iterator<Item = u64>) {
        let resolved = std::mem::take(&mut self.resolved);
        let mut values = std::mem::take(&mut self.values);
        let mut present = std::mem::take(&mut self.present);
        let nothing_loose = self.loose_last.is_empty();
        let encoder = self.encoder(plan.target);
        let columns = encoder.columns.len();
        let is_next = t_ms > encoder.last_ms;
        if is_next && nothing_loose && encoder.is_all(&resolved) {
            // As usual: the series of before in the order of before, all at home here.
            values.clear();
            values.extend(rows);
            present.fill(columns);
            plan.ledger.stored += columns as u64;
            (self.resolved, self.values, self.present) = (resolved, values, present);
            return;
        }
        values.resize(columns, 0);
        present.reset(columns);
        for (&column, bits) in resolved.iter().zip(rows) {
            let c = column as usize;
            if column == NONE {
                plan.ledger.series_limit += 1;
            } else if present.get(c) {
                let same = values[c] == bits;
                plan.ledger.stored += u64::from(same);
                plan.ledger.duplicate += u64::from(!same);
            } else if self.is_plain(plan.target, column, is_next)
                || self.place(plan, column, (t_ms, bits), Some(t_ms))
            {
                plan.ledger.stored += 1;
                present.set(c);
                values[c] = bits;
            }
        }
        self.resolved = resolved;
        self.values = values;
        self.present = present;
    }

    #[inline]
    fn is_plain(&self, target: u32, column: u32, is_next: bool) -> bool {
        let Some(Some(encoder)) = self.encoders.get(target as usize) else { return false };
        is_next
            && encoder.homes.get(column as usize)
            && (self.loose_last.is_empty()
                || !self.loose_last.contains_key(&encoder.columns[column as usize]))
    }

    /// Encodes the planned row, if it has any value.
    fn encode_row(&mut self, plan: &mut Plan, t_ms: i64) {
        if self.present.count() == 0 {
            return;
        }
        let (values, present) =
            (std::mem::take(&mut self.values), std::mem::take(&mut self.present));
        let (keyframe, bytes) = self.encoder(plan.target).row(t_ms, &values, &present);
        plan.row = Some((t_ms, keyframe, bytes));
        self.values = values;
        self.present = present;
    }

    /// Times accepted now: `[oldest, newest]`.
    fn window(&self) -> (i64, i64) {
        let now_ms = self.shared.clock.now_ms();
        let config = &self.shared.common.config;
        (self.shared.oldest_ms(), now_ms.saturating_add(config.future_ms_max))
    }

    fn write_record(&mut self, plan: &Plan, record: &mut Vec<u8>) {
        let shared = Arc::clone(&self.shared);
        let encoder = self.encoder(plan.target);
        let keyframe = plan.row.as_ref().is_some_and(|(_, keyframe, _)| *keyframe);
        let reset = encoder.redefine || (keyframe && encoder.chain >= RESET_RECORDS);
        if reset {
            (encoder.chain, encoder.defined) = (0, 0);
            if plan.row.is_none() {
                // Replay forgets the row before at a reset, so the next one must not build on it.
                encoder.rows_in_tail = 0;
            }
        }
        let head = shared.head.read();
        let labels = |series: &u32| head.registry.labels(*series);
        let columns = encoder.columns[encoder.defined..].iter();
        let columns: Vec<Labels> = columns.map(|s| labels(s).unwrap_or_default()).collect();
        // Columns of loose samples are found by series; those of this target's rows are the home, others foreign.
        let column_of = |series: u32| match head.registry.get(series).and_then(|s| s.home()) {
            Some((target, column)) if target == plan.target => column,
            _ => encoder.foreign.get(&series).copied().unwrap_or(NONE),
        };
        let loose = plan.loose.iter().map(|&(series, t_ms, bits)| LooseSample {
            column: column_of(series),
            t_ms,
            bits,
        });
        let histograms = plan.histograms.iter().map(|(series, t_ms, bytes)| HistogramSample {
            column: column_of(*series),
            t_ms: *t_ms,
            bytes: Arc::clone(bytes),
        });
        let key = Arc::clone(&encoder.key);
        let row = plan.row.as_ref();
        Record {
            target: plan.target,
            chain: encoder.chain,
            key: reset.then_some(&*key),
            columns,
            row: row.map(|(t_ms, keyframe, bytes)| RecordRow {
                t_ms: *t_ms,
                keyframe: *keyframe,
                bytes,
            }),
            loose: loose.collect(),
            histograms: histograms.collect(),
            exemplars: plan.exemplars.clone(),
            metadata: plan.metadata.clone(),
        }
        .encode(record);
        encoder.defined = encoder.columns.len();
        encoder.chain += 1;
        encoder.redefine = false;
    }

    /// Puts what a plan says into the head.
    fn take_in(&mut self, plan: &mut Plan) {
        let target = plan.target as usize;
        let starts_chain = plan.row.as_ref().is_some_and(|(_, keyframe, _)| *keyframe);
        let sealed = if starts_chain { self.seal(target) } else { None };
        self.take_notes(plan);
        let sealed_histograms = self.seal_histograms(plan);
        let mut head = self.shared.head.write();
        let head = &mut *head;
        for (series, tail_bytes, pages) in sealed_histograms {
            let bytes = head.histograms.entry(series).or_default().sealed(pages);
            head.sample_bytes = head.sample_bytes.saturating_sub(tail_bytes as u64) + bytes as u64;
        }
        for (series, t_ms, bytes) in plan.histograms.drain(..) {
            let one = (t_ms, bytes);
            head.sample_bytes += histograms::tail_bytes(std::slice::from_ref(&one)) as u64;
            head.histograms.entry(series).or_default().push(one);
        }
        if let Some(frame) = sealed {
            let samples = &mut head.targets[target];
            let tail_bytes: usize = samples.tail.iter().map(TailRow::memory_bytes).sum();
            head.sample_bytes =
                head.sample_bytes.saturating_sub(tail_bytes as u64) + frame.memory_bytes() as u64;
            samples.tail.clear();
            samples.frames.push(Arc::new(frame));
        }
        if let Some((t_ms, keyframe, bytes)) = plan.row.take() {
            let row = TailRow { t_ms, keyframe, bytes };
            head.sample_bytes += row.memory_bytes() as u64;
            head.targets[target].tail.push(row);
        }
        for (series, t_ms, bits) in plan.loose.drain(..) {
            head.sample_bytes += LOOSE_BYTES as u64;
            head.loose.entry(series).or_default().push((t_ms, bits));
        }
        head.samples += plan.ledger.stored;
    }

    /// Packs a target's tail, without holding the lock meanwhile; not while a flush is writing some of its rows.
    fn seal(&self, target: usize) -> Option<Frame> {
        let tail = {
            let head = self.shared.head.read();
            let samples = &head.targets[target];
            if samples.tail.is_empty() || samples.frozen.1 > 0 {
                return None;
            }
            samples.tail.clone()
        };
        Some(Frame::seal(&tail).expect("BUG: rows in memory are what was encoded"))
    }

    /// Takes one record of the WAL in, as it was before the process ended.
    pub(crate) fn replay(&mut self, payload: &[u8]) {
        match record::decode(payload).and_then(|r| r.map_or(Ok(()), |r| self.replay_record(&r))) {
            Ok(()) => {}
            Err(e) => {
                tracing::warn!(error = %e, "wal record of the metric store is skipped");
                self.replayed.damaged_records += 1;
            }
        }
    }

    fn replay_record(&mut self, record: &Record<'_>) -> Result<()> {
        let live = match (record.key, self.replay_targets.get(&record.target)) {
            (Some(key), _) => {
                let live = self.target(&Arc::from(key));
                let (columns, state) = (Vec::new(), RowState::default());
                let next_chain = record.chain;
                self.replay_targets
                    .insert(record.target, ReplayTarget { live, columns, state, next_chain });
                live
            }
            (None, Some(target)) if target.next_chain == record.chain => target.live,
            _ => {
                self.replay_targets.remove(&record.target);
                let chain = record.chain;
                return Err(model::Error::corrupt(format!(
                    "records before number {chain} of target {} are missing",
                    record.target
                )));
            }
        };
        self.resolve(live, record.columns.iter());
        let Some(mut target) = self.replay_targets.remove(&record.target) else { return Ok(()) };
        target.columns.extend_from_slice(&self.resolved);
        target.next_chain = record.chain + 1;
        let outcome = self.replay_samples(record, &mut target);
        self.replay_targets.insert(record.target, target);
        outcome
    }

    fn replay_samples(&mut self, record: &Record<'_>, target: &mut ReplayTarget) -> Result<()> {
        let mut plan = Plan { target: target.live, ..Plan::default() };
        if let Some(row) = &record.row {
            if row.keyframe {
                target.state.clear();
            }
            target.state.decode(&mut Reader::new(row.bytes), COLUMNS_MAX)?;
            let (columns, present) = (&target.columns, target.state.present());
            self.resolved.clear();
            self.resolved.extend(present.ones().map(|c| columns.get(c).copied().unwrap_or(NONE)));
            let bits: Vec<u64> = present.ones().map(|c| target.state.values()[c]).collect();
            self.plan_row(&mut plan, row.t_ms, bits.into_iter());
            self.encode_row(&mut plan, row.t_ms);
        }
        for sample in &record.loose {
            let column = target.columns.get(sample.column as usize).copied().unwrap_or(NONE);
            if column != NONE {
                self.place(&mut plan, column, (sample.t_ms, sample.bits), None);
            }
        }
        for sample in &record.histograms {
            let column = target.columns.get(sample.column as usize).copied().unwrap_or(NONE);
            if column != NONE {
                self.place_histogram(&mut plan, column, (sample.t_ms, Arc::clone(&sample.bytes)));
            }
        }
        plan.exemplars.clone_from(&record.exemplars);
        plan.metadata.clone_from(&record.metadata);
        self.replayed.samples += plan.ledger.stored;
        // Rows just encoded are not in the WAL under this numbering, but nothing appends before `end_replay`.
        self.encoder(target.live).redefine = false;
        self.take_in(&mut plan);
        Ok(())
    }

    /// Ends replaying: the WAL hears of every target anew.
    pub(crate) fn end_replay(&mut self) {
        self.replay_targets = FxHashMap::default();
        self.limited = true;
        self.encoders.iter_mut().flatten().for_each(|encoder| encoder.redefine = true);
        if self.replayed.samples > 0 || self.has_notes() {
            self.dirty_since_ms = Some(self.shared.clock.now_ms());
        }
    }
}

/// The expected column, if it is the one of `labels`.
#[inline]
fn predicted(head: &Head, encoder: &Encoder, expected: u32, labels: &Labels) -> Option<u32> {
    let series = head.registry.get(*encoder.columns.get(expected as usize)?)?;
    (series.fingerprint == labels.fingerprint()).then_some(expected)
}

/// The column of a series that this target had before.
fn known(head: &Head, encoder: &Encoder, target: u32, labels: &Labels) -> Option<u32> {
    let id = head.registry.find(labels)?;
    match head.registry.get(id)?.home() {
        Some((home, column)) if home == target => Some(column),
        _ => encoder.foreign.get(&id).copied(),
    }
}

/// Makes a column, and the series if there is none and the limit allows; [`NONE`] otherwise.
fn introduce(
    head: &mut Head,
    encoder: &mut Encoder,
    target: u32,
    labels: &Labels,
    (common, limited): (&Common, bool),
) -> u32 {
    if labels.is_empty() {
        // In the WAL: a column whose series had left the head.
        return NONE;
    }
    if let Some(column) = known(head, encoder, target, labels) {
        // Twice in the same batch.
        return column;
    }
    let id = match head.registry.find(labels) {
        Some(id) => id,
        None if !common.take_series(limited) => return NONE,
        None => head.registry.insert(labels),
    };
    encoder.add_column(id, false)
}

impl storage::writer::Engine for Engine {
    type Batch = Batch;

    fn encode(&mut self, batch: &mut Batch, record: &mut Vec<u8>) -> Result<u8> {
        let (oldest_ms, newest_ms) = self.window();
        let Batch { batch, is_group, plan } = batch;
        let first = batch.samples().next().map(|(labels, _)| labels);
        plan.target = match first {
            Some(first) if *is_group => self.group_target(&batch.source, first, batch.t_ms),
            _ => self.target(&batch.source),
        };
        plan.last_ms_before = self.encoder(plan.target).last_ms;
        let valid_before = batch.rows.len() + batch.stamped.len();
        // Looking first costs less than moving every row to where it is.
        if batch.rows.iter().any(|row| row.labels.is_empty()) {
            batch.rows.retain(|row| !row.labels.is_empty());
        }
        let at_its_time = batch.rows.len() + batch.steady.values.len();
        batch.stamped.retain(|row| !row.labels.is_empty());
        plan.ledger.invalid += (valid_before - batch.rows.len() - batch.stamped.len()) as u64;
        if batch.t_ms < oldest_ms {
            plan.ledger.too_old += at_its_time as u64;
        } else if batch.t_ms > newest_ms {
            plan.ledger.too_new += at_its_time as u64;
        } else if at_its_time > 0 {
            self.resolve_batch(plan.target, batch);
            self.fold(plan, batch.samples().map(|(labels, _)| labels));
            self.plan_row(plan, batch.t_ms, batch.samples().map(|(_, value)| value.to_bits()));
            self.encode_row(plan, batch.t_ms);
        }
        let before = batch.stamped.len();
        batch.stamped.retain(|row| row.t_ms >= oldest_ms);
        plan.ledger.too_old += (before - batch.stamped.len()) as u64;
        let before = batch.stamped.len();
        batch.stamped.retain(|row| row.t_ms <= newest_ms);
        plan.ledger.too_new += (before - batch.stamped.len()) as u64;
        if !batch.stamped.is_empty() {
            self.resolve(plan.target, batch.stamped.iter().map(|row| &row.labels));
            self.fold(plan, batch.stamped.iter().map(|row| &row.labels));
            let resolved = std::mem::take(&mut self.resolved);
            for (row, column) in batch.stamped.iter().zip(&resolved) {
                if *column == NONE {
                    plan.ledger.series_limit += 1;
                } else {
                    self.place(plan, *column, (row.t_ms, row.value.to_bits()), None);
                }
            }
            self.resolved = resolved;
        }
        self.plan_histograms(plan, std::mem::take(&mut batch.histograms), (oldest_ms, newest_ms));
        self.plan_notes(plan, batch, (oldest_ms, newest_ms));
        if plan.has_changes() {
            self.write_record(plan, record);
        }
        Ok(RECORD)
    }

    fn apply(&mut self, mut batch: Batch, _seq: u64) -> Receipt {
        if batch.plan.has_changes() {
            self.dirty_since_ms.get_or_insert_with(|| self.shared.clock.now_ms());
            self.take_in(&mut batch.plan);
        }
        if !batch.plan.over_limit.is_empty() {
            self.shared.common.fold(std::mem::take(&mut batch.plan.over_limit));
        }
        batch.plan.ledger.receipt()
    }

    fn discard(&mut self, batch: Batch) {
        let plan = batch.plan;
        let encoder = self.encoder(plan.target);
        if plan.row.is_some() {
            // The last values are those of the lost row: forget them, so that nothing is compared with them.
            encoder.last_ms = plan.last_ms_before;
            encoder.state.clear();
        }
        encoder.redefine = true;
        for (series, before) in plan.loose_last_before.into_iter().rev() {
            match before {
                Some(last) => self.loose_last.insert(series, last),
                None => self.loose_last.remove(&series),
            };
        }
    }

    fn maintain(&mut self, wal: &mut Wal, now_ms: i64) -> Result<()> {
        self.maintain_store(wal, now_ms)
    }

    fn close(&mut self, wal: &mut Wal) -> Result<()> {
        self.flush(wal)
    }
}

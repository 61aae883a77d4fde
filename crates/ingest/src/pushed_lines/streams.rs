//! [`Streams`]: the labels of streams that were pushed before, and labels that have too many values.
//!
//! A sender spells its streams the same way request after request: the spelling is looked up, and its labels are neither
//! parsed nor allocated again. The memory is bounded in bytes and emptied when it is full.
//!
//! Every combination of labels is a stream, with blocks of its own. A label with a value per request would make a stream
//! per line; so of one name only so many values are labels, and further ones become a field of their lines, which is
//! searched as easily. Values are forgotten when they were not named for one to two days. Which names that befell is
//! kept, to be shown.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::mem;
use std::sync::{PoisonError, RwLock};

use model::{Labels, Result};
use rustc_hash::{FxBuildHasher, FxHashMap};

/// Values not named for so long (up to twice as long) no longer count.
const FORGET_MS: i64 = 86_400_000;
/// What a known stream takes beside its texts, in bytes.
const ENTRY_BYTES: usize = 96;
/// Values of all names together, in times those of one.
const NAMES_FULL: usize = 100;
/// Names that have values as labels.
const NAMES_MAX: usize = 10_000;
/// Demoted names that are told apart; more are counted together.
const DEMOTED_MAX: usize = 1_000;
const OTHERS: &str = "(others)";
/// The label of streams of which no other is left: a selector needs something to hold on to.
const ALL_DEMOTED: (&str, &str) = ("demoted", "true");
/// The label that says whose the lines are.
const SERVICE_NAME: &str = "service_name";
/// Labels that name the service where no label of that name does, the first that is there; as Loki has them.
const SERVICE_LABELS: [&str; 12] = [
    "service",
    "app",
    "application",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];
const UNKNOWN_SERVICE: &str = "unknown_service";

/// A stream as its lines are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// Its labels.
    pub labels: Labels,
    /// Labels that became fields of its lines.
    pub demoted: Labels,
}

/// A label of which some values became fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demoted {
    /// Its name.
    pub name: String,
    /// Streams whose value did.
    pub streams: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Streams {
    inner: RwLock<Inner>,
    bytes_max: usize,
    values_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    by_spelling: FxHashMap<Box<str>, Stream>,
    bytes: usize,
    /// Hashes of values by name: of this day, and of the one before.
    values: [HashMap<Box<str>, HashSet<u64, FxBuildHasher>>; 2],
    value_count: usize,
    day_began_ms: Option<i64>,
    demoted: BTreeMap<String, u64>,
    /// Names that were demoted for the first time.
    news: Vec<String>,
}

impl Streams {
    /// Nothing known; spellings and labels take at most `bytes_max`, a name has at most `values_max` values as a label.
    pub fn new(bytes_max: usize, values_max: usize) -> Self {
        Self { inner: RwLock::default(), bytes_max, values_max }
    }

    /// The stream spelled `spelling`; its labels come from `labels` if it is not known. Spellings of different syntaxes
    /// must differ.
    ///
    /// # Errors
    /// Those of `labels`.
    pub fn of(
        &self,
        spelling: &str,
        now_ms: i64,
        labels: impl FnOnce() -> Result<Labels>,
    ) -> Result<Stream> {
        // On a new day streams name their values again.
        let known = |inner: &Inner| {
            if inner.is_over(now_ms) { None } else { inner.by_spelling.get(spelling).cloned() }
        };
        if let Some(stream) = known(&self.inner.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(stream);
        }
        let labels = with_service(labels()?);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.begin_day(now_ms);
        let stream = inner.admit(&labels, self.values_max);
        let bytes = spelling.len() + labels.packed_len() + ENTRY_BYTES;
        if inner.bytes + bytes > self.bytes_max {
            inner.by_spelling.clear();
            inner.bytes = 0;
        }
        if bytes <= self.bytes_max
            && inner.by_spelling.insert(Box::from(spelling), stream.clone()).is_none()
        {
            inner.bytes += bytes;
        }
        Ok(stream)
    }

    /// Labels of which values became fields, by name.
    pub fn demoted(&self) -> Vec<Demoted> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let each =
            |(name, streams): (&String, &u64)| Demoted { name: name.clone(), streams: *streams };
        inner.demoted.iter().map(each).collect()
    }

    /// Names that were demoted for the first time since this was asked last.
    pub fn news(&self) -> Vec<String> {
        if self.inner.read().unwrap_or_else(PoisonError::into_inner).news.is_empty() {
            return Vec::new();
        }
        mem::take(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner).news)
    }
}

impl Inner {
    /// Whether the day that values are counted in has ended.
    fn is_over(&self, now_ms: i64) -> bool {
        self.day_began_ms.is_some_and(|began_ms| now_ms - began_ms >= FORGET_MS)
    }

    fn begin_day(&mut self, now_ms: i64) {
        self.day_began_ms.get_or_insert(now_ms);
        if !self.is_over(now_ms) {
            return;
        }
        self.day_began_ms = Some(now_ms);
        let [today, before] = &mut self.values;
        *before = mem::take(today);
        self.value_count = 0;
        self.by_spelling.clear();
        self.bytes = 0;
    }

    fn admit(&mut self, labels: &Labels, values_max: usize) -> Stream {
        let mut demoted = Vec::new();
        for (name, value) in labels.iter() {
            if !self.has_room(name, value, values_max) {
                demoted.push((name, value));
            }
        }
        if demoted.is_empty() {
            return Stream { labels: labels.clone(), demoted: Labels::default() };
        }
        for (name, _) in &demoted {
            let is_known = self.demoted.contains_key(*name);
            let name = if is_known || self.demoted.len() < DEMOTED_MAX { name } else { OTHERS };
            match self.demoted.get_mut(name) {
                Some(streams) => *streams += 1,
                None => {
                    self.demoted.insert(name.to_owned(), 1);
                    self.news.push(name.to_owned());
                }
            }
        }
        let is_kept = |name: &str| demoted.iter().all(|(demoted, _)| *demoted != name);
        let kept: Labels = labels.iter().filter(|(name, _)| is_kept(name)).collect();
        let kept = if kept.is_empty() { Labels::from_pairs([ALL_DEMOTED]) } else { kept };
        Stream { labels: kept, demoted: demoted.into_iter().collect() }
    }

    /// Whether `value` may be a label; it then counts.
    fn has_room(&mut self, name: &str, value: &str, values_max: usize) -> bool {
        let hash = FxBuildHasher.hash_one(value);
        let [today, before] = &mut self.values;
        if today.get(name).is_some_and(|seen| seen.contains(&hash)) {
            return true;
        }
        let seen_before = before.get(name).is_some_and(|seen| seen.contains(&hash));
        let count = today.get(name).map_or(0, HashSet::len);
        let is_full = count >= values_max
            || (count == 0 && today.len() >= NAMES_MAX)
            || self.value_count >= values_max.saturating_mul(NAMES_FULL)
            || (!seen_before && before.get(name).map_or(0, HashSet::len) >= values_max);
        if is_full {
            return false;
        }
        today.entry(Box::from(name)).or_default().insert(hash);
        self.value_count += 1;
        true
    }
}

/// `labels` with `service_name`, as Loki finds it in the others where it is not among them.
pub fn with_service(labels: Labels) -> Labels {
    if labels.get(SERVICE_NAME).is_some() {
        return labels;
    }
    let service =
        SERVICE_LABELS.iter().find_map(|name| labels.get(name)).unwrap_or(UNKNOWN_SERVICE);
    labels.with(SERVICE_NAME, service)
}

//! Exemplars: the last ones of each series, as a ring in memory that survives restarts.
//!
//! Owns: which are kept, their bytes, and answering for them. Does not own: when they are saved
//! ([`flush`](crate::flush)), nor the file ([`side`](crate::side)).
//!
//! Rules, those of Prometheus: one that equals the last of its series is stored already; an older one is out of order
//! and left out, as is one of the same time with a smaller value; labels have at most 128 characters together. Kept are
//! the last [`PER_SERIES_MAX`] of a series and the last 100,000 of a store; the oldest make room.
//!
//! ```text
//! exemplars = definitions (as of columns in a record): series and own labels, alternating, exemplars × ( t zigzag, bits u64 )
//! ```

use std::collections::VecDeque;

use model::{Error, Exemplar, ExemplarRow, Labels, Matcher, Result, SeriesExemplars};
use rustc_hash::FxHashMap;
use storage::codec::{Reader, put_zigzag};

use crate::record::{decode_columns, encode_columns};

/// Exemplars of one series at most.
pub const PER_SERIES_MAX: usize = 64;
/// Exemplars of a store at most, all shards together.
pub(crate) const STORE_MAX: usize = 100_000;
/// Characters of an exemplar's labels at most, names and values together. Source: OpenMetrics 1.0.
const LABEL_CHARS_MAX: usize = 128;

/// One exemplar of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Identity of the series.
    pub series: Labels,
    /// Its own labels.
    pub labels: Labels,
    /// Unix milliseconds.
    pub t_ms: i64,
    /// Bits of the value.
    pub bits: u64,
}

impl From<ExemplarRow> for Stored {
    fn from(row: ExemplarRow) -> Self {
        let ExemplarRow { series, exemplar: Exemplar { labels, value, t_ms } } = row;
        Self { series, labels, t_ms, bits: value.to_bits() }
    }
}

/// Appends exemplars.
pub(crate) fn encode(exemplars: &[Stored], out: &mut Vec<u8>) {
    let labels: Vec<Labels> =
        exemplars.iter().flat_map(|e| [e.series.clone(), e.labels.clone()]).collect();
    encode_columns(&labels, out);
    for exemplar in exemplars {
        put_zigzag(out, exemplar.t_ms);
        out.extend_from_slice(&exemplar.bits.to_le_bytes());
    }
}

/// Reads exemplars written by [`encode`].
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
pub fn decode(bytes: &[u8]) -> Result<Vec<Stored>> {
    let mut r = Reader::new(bytes);
    let labels = decode_columns(&mut r)?;
    let (pairs, []) = labels.as_chunks::<2>() else {
        return Err(Error::corrupt("an exemplar has no labels of its own"));
    };
    pairs
        .iter()
        .map(|[series, labels]| {
            let (series, labels) = (series.clone(), labels.clone());
            Ok(Stored { series, labels, t_ms: r.zigzag()?, bits: r.u64()? })
        })
        .collect()
}

/// What became of an exemplar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is new.
    Take,
    /// It is the last one of its series.
    Known,
    /// It breaks a rule.
    Refuse,
}

/// Exemplars kept.
#[derive(Debug, Default)]
pub(crate) struct Exemplars {
    /// With the number of their arrival.
    by_series: FxHashMap<Labels, VecDeque<(u64, Exemplar)>>,
    /// All in order of arrival, and some that made room within their series since.
    order: VecDeque<(u64, Labels)>,
    kept: usize,
    max: usize,
    arrived: u64,
    dropped: u64,
    /// Whether there is anything that is not saved.
    pub(crate) is_dirty: bool,
}

impl Exemplars {
    /// Keeps at most `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// Exemplars kept.
    pub(crate) fn len(&self) -> usize {
        self.kept
    }

    /// Exemplars that broke a rule since the store was opened.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Counts one that broke a rule.
    pub(crate) fn count_dropped(&mut self, count: u64) {
        self.dropped += count;
    }

    /// What is to be done with an exemplar.
    pub(crate) fn judge(&self, new: &Stored) -> Verdict {
        let chars = new.labels.iter().map(|(n, v)| n.chars().count() + v.chars().count());
        if new.series.is_empty() || chars.sum::<usize>() > LABEL_CHARS_MAX {
            return Verdict::Refuse;
        }
        let Some((_, last)) = self.by_series.get(&new.series).and_then(VecDeque::back) else {
            return Verdict::Take;
        };
        let (value, last_bits) = (f64::from_bits(new.bits), last.value.to_bits());
        if (last.t_ms, last_bits) == (new.t_ms, new.bits) && last.labels == new.labels {
            return Verdict::Known;
        }
        let is_before = value < last.value || (last_bits == new.bits && new.labels < last.labels);
        if new.t_ms < last.t_ms || (new.t_ms == last.t_ms && is_before) {
            return Verdict::Refuse;
        }
        Verdict::Take
    }

    /// Takes one in, if it keeps the rules.
    pub(crate) fn add(&mut self, new: Stored) {
        if self.judge(&new) != Verdict::Take || self.max == 0 {
            return;
        }
        let Stored { series, labels, t_ms, bits } = new;
        self.is_dirty = true;
        self.arrived += 1;
        self.order.push_back((self.arrived, series.clone()));
        let all = self.by_series.entry(series).or_default();
        all.push_back((self.arrived, Exemplar { labels, value: f64::from_bits(bits), t_ms }));
        self.kept += 1;
        if all.len() > PER_SERIES_MAX {
            all.pop_front();
            self.kept -= 1;
        }
        while self.kept > self.max {
            self.drop_oldest();
        }
        // Those that made room within their series are still in the order.
        if self.order.len() > 2 * self.kept + PER_SERIES_MAX {
            let by_series = &self.by_series;
            let first = |series: &Labels| by_series.get(series)?.front().map(|(number, _)| *number);
            self.order.retain(|(number, series)| first(series).is_some_and(|f| f <= *number));
        }
    }

    fn drop_oldest(&mut self) {
        let Some((number, series)) = self.order.pop_front() else { return };
        let Some(all) = self.by_series.get_mut(&series) else { return };
        if all.front().is_some_and(|(front, _)| *front == number) {
            all.pop_front();
            self.kept -= 1;
        }
        if all.is_empty() {
            self.by_series.remove(&series);
        }
    }

    /// Forgets those before `oldest_ms`.
    pub(crate) fn expire(&mut self, oldest_ms: i64) {
        let mut kept = 0;
        self.by_series.retain(|_, all| {
            all.retain(|(_, exemplar)| exemplar.t_ms >= oldest_ms);
            kept += all.len();
            !all.is_empty()
        });
        self.is_dirty |= kept != self.kept;
        self.kept = kept;
    }

    /// Forgets those of the series that `is_deleted` says, in `[start_ms, end_ms]`.
    pub(crate) fn delete(
        &mut self,
        is_deleted: impl Fn(&Labels) -> bool,
        (start_ms, end_ms): (i64, i64),
    ) {
        let mut kept = 0;
        self.by_series.retain(|series, all| {
            if is_deleted(series) {
                all.retain(|(_, e)| !(start_ms..=end_ms).contains(&e.t_ms));
            }
            kept += all.len();
            !all.is_empty()
        });
        self.is_dirty |= kept != self.kept;
        self.kept = kept;
    }

    /// All, in order of arrival.
    pub(crate) fn all(&self) -> Vec<Stored> {
        let stored = |series: &Labels, (number, exemplar): &(u64, Exemplar)| {
            let Exemplar { labels, value, t_ms } = exemplar.clone();
            let series = series.clone();
            (*number, Stored { series, labels, t_ms, bits: value.to_bits() })
        };
        let of_series = |(series, all): (&Labels, &VecDeque<(u64, Exemplar)>)| {
            all.iter().map(|exemplar| stored(series, exemplar)).collect::<Vec<_>>()
        };
        let mut all: Vec<(u64, Stored)> = self.by_series.iter().flat_map(of_series).collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, exemplar)| exemplar).collect()
    }

    /// Those in `[start_ms, end_ms]` of series that match any of `selectors` (none means all), sorted by labels.
    pub(crate) fn find(
        &self,
        selectors: &[Vec<Matcher>],
        (start_ms, end_ms): (i64, i64),
    ) -> Vec<SeriesExemplars> {
        let is_wanted = |series: &Labels| {
            let all = |matchers: &Vec<Matcher>| matchers.iter().all(|m| m.matches_labels(series));
            selectors.is_empty() || selectors.iter().any(all)
        };
        let of_series = |(series, all): (&Labels, &VecDeque<(u64, Exemplar)>)| {
            let inside = all.iter().filter(|(_, e)| (start_ms..=end_ms).contains(&e.t_ms));
            let exemplars: Vec<Exemplar> = inside.map(|(_, e)| e.clone()).collect();
            (!exemplars.is_empty()).then(|| SeriesExemplars { labels: series.clone(), exemplars })
        };
        let wanted = self.by_series.iter().filter(|(series, _)| is_wanted(series));
        let mut found: Vec<SeriesExemplars> = wanted.filter_map(of_series).collect();
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }
}

/// One series of each identity out of those of several shards.
pub(crate) fn join(mut all: Vec<SeriesExemplars>) -> Vec<SeriesExemplars> {
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut joined: Vec<SeriesExemplars> = Vec::with_capacity(all.len());
    for next in all {
        match joined.last_mut() {
            Some(last) if last.labels == next.labels => {
                last.exemplars.extend(next.exemplars);
                last.exemplars.sort_by_key(|exemplar| exemplar.t_ms);
                last.exemplars.dedup();
            }
            _ => joined.push(next),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(series: &str, id: &str, t_ms: i64, value: f64) -> Stored {
        let series = Labels::from_pairs([("__name__", series)]);
        let labels = Labels::from_pairs([("trace_id", id)]);
        Stored { series, labels, t_ms, bits: value.to_bits() }
    }

    #[test]
    fn order_and_bounds_hold() {
        let mut kept = Exemplars::new(100);
        kept.add(of("a", "1", 10, 1.0));
        let cases = [
            (of("a", "1", 10, 1.0), Verdict::Known),
            (of("a", "1", 9, 1.0), Verdict::Refuse),
            (of("a", "1", 10, 0.5), Verdict::Refuse),
            (of("a", "0", 10, 1.0), Verdict::Refuse),
            (of("a", "2", 10, 1.0), Verdict::Take),
            (of("a", "1", 11, 1.0), Verdict::Take),
            (of("b", "1", 9, 1.0), Verdict::Take),
            (of("b", &"x".repeat(121), 9, 1.0), Verdict::Refuse),
            (of("b", &"é".repeat(120), 9, 1.0), Verdict::Take),
        ];
        for (new, expected) in cases {
            assert_eq!(kept.judge(&new), expected, "{new:?}");
        }
        for i in 0..1000 {
            kept.add(of("a", "1", 20 + i, 1.0));
        }
        assert_eq!(kept.len(), PER_SERIES_MAX);
        assert!(kept.order.len() <= 3 * PER_SERIES_MAX, "{}", kept.order.len());
        for i in 0..90 {
            kept.add(of(&format!("s{i}"), "1", 5, 1.0));
        }
        assert_eq!(kept.len(), 100);
        let found = kept.find(&[vec![Matcher::equal("__name__", "a")]], (0, i64::MAX));
        let times: Vec<i64> = found[0].exemplars.iter().map(|e| e.t_ms).collect();
        assert_eq!(times, (1010..1020).collect::<Vec<_>>());
        kept.expire(1018);
        assert_eq!(kept.len(), 2);
    }

    proptest! {
        #[test]
        fn exemplars_survive(all in proptest::collection::vec(("[a-c]{1,2}", "[a-z]{0,9}", any::<i64>(), any::<u64>()), 0..20)) {
            let all: Vec<Stored> = all.into_iter()
                .map(|(series, id, t, bits)| of(&series, &id, t, f64::from_bits(bits))).collect();
            let mut bytes = Vec::new();
            encode(&all, &mut bytes);
            prop_assert_eq!(decode(&bytes).unwrap(), all);
        }

        #[test]
        fn noise_is_refused_or_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(all) = decode(&bytes) {
                prop_assert!(all.len() <= bytes.len());
            }
        }
    }
}

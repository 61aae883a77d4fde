//! What is hidden: samples under a tombstone, and samples past the retention of their class of series.
//!
//! Owns: tombstones and their bytes, retention classes, and cutting both out of what a part or the head gives. Does not
//! own: when parts are written anew without it ([`merge`](crate::merge)), the manifest that keeps tombstones.
//!
//! A tombstone hides what was there when it was made: it holds for parts up to a sequence number that were not written
//! since. A delete flushes the head first, so nothing of the head is meant. A series belongs to the first retention rule
//! that matches it, or to none, for which the store's retention holds.
//!
//! ```text
//! tombstone = version u8, number, seq, start ms zigzag, end ms zigzag, matchers, matchers × ( op u8, name, value strings )
//! op        = 0 equal, 1 not equal, 2 regex, 3 not regex
//! ```

use std::sync::Arc;

use model::{Error, ErrorKind, Labels, MatchOp, Matcher, Result, RetentionRule};
use roaring::RoaringBitmap;
use smallvec::SmallVec;
use storage::codec::{Reader, put_bytes, put_count, put_varint, put_zigzag};

use crate::histograms::Samples;
use crate::index::Index;
use crate::part::Part;
use crate::postings::{Lookup, matching};
use crate::scan::Piece;

/// Manifest keys of tombstones start with it.
pub(crate) const KEY_PREFIX: &str = "tombstone/";
/// Tombstones of a shard at most; cleaning makes room.
pub const TOMBSTONES_MAX: usize = 1000;
/// Rules of retention at most.
pub const RULES_MAX: usize = 8;

const VERSION: u8 = 1;
const OPS: [MatchOp; 4] = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];

/// A deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Counts up from 1.
    pub number: u64,
    /// Parts with a higher last sequence number are newer.
    pub seq: u64,
    /// First millisecond deleted.
    pub start_ms: i64,
    /// Last millisecond deleted.
    pub end_ms: i64,
    /// All must hold.
    pub matchers: Vec<Matcher>,
}

impl Tombstone {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_varint(out, self.number);
        put_varint(out, self.seq);
        put_zigzag(out, self.start_ms);
        put_zigzag(out, self.end_ms);
        put_count(out, self.matchers.len());
        for matcher in &self.matchers {
            let op = OPS.iter().position(|op| *op == matcher.op()).unwrap_or(0);
            out.push(op.to_le_bytes()[0]);
            put_bytes(out, matcher.name().as_bytes());
            put_bytes(out, matcher.value().as_bytes());
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) on short or impossible input, [`Invalid`](ErrorKind::Invalid) for a newer
    /// version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes);
        let version = r.u8()?;
        if version != VERSION {
            return Err(Error::invalid(format!(
                "tombstone has version {version}; this program reads version {VERSION}"
            )));
        }
        let (number, seq) = (r.varint()?, r.varint()?);
        let (start_ms, end_ms) = (r.zigzag()?, r.zigzag()?);
        let count = r.count(r.remaining() / 3)?;
        let mut matchers = Vec::new();
        for _ in 0..count {
            let op = r.u8()?;
            let Some(op) = OPS.get(usize::from(op)).copied() else {
                return Err(Error::corrupt(format!("unknown operator {op}")));
            };
            let (name, value) = (r.str()?, r.str()?);
            matchers.push(Matcher::new(op, name, value).map_err(|e| {
                Error::new(ErrorKind::Corrupt, format!("matcher on {name}: {}", e.message()))
            })?);
        }
        Ok(Self { number, seq, start_ms, end_ms, matchers })
    }

    /// Key in the manifest.
    pub(crate) fn key(&self) -> String {
        format!("{KEY_PREFIX}{:010}", self.number)
    }

    /// Whether samples of `part` can be meant: it is old enough and was not written since.
    pub(crate) fn concerns(&self, part: &Part) -> bool {
        let meta = part.meta();
        meta.last_seq <= self.seq
            && meta.clean < self.number
            && part.overlaps(self.start_ms, self.end_ms)
    }
}

/// The rules of a store, and the retention of series that none of them matches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention<'a> {
    pub(crate) rules: &'a [RetentionRule],
    pub(crate) default_ms: i64,
    pub(crate) now_ms: i64,
}

impl Retention<'_> {
    /// Earliest millisecond that any series keeps.
    pub(crate) fn oldest_ms(&self) -> i64 {
        let longest =
            self.rules.iter().map(|rule| rule.retention_ms).fold(self.default_ms, i64::max);
        self.now_ms.saturating_sub(longest)
    }

    /// Earliest millisecond that a series keeps.
    pub(crate) fn oldest_of(&self, labels: &Labels) -> i64 {
        let is_its = |rule: &&RetentionRule| rule.matchers.iter().all(|m| m.matches_labels(labels));
        let rule = self.rules.iter().find(is_its);
        self.now_ms.saturating_sub(rule.map_or(self.default_ms, |rule| rule.retention_ms))
    }

    /// Of the series of an index, those that keep nothing before the millisecond beside them; only where that is later
    /// than `first_ms`.
    fn classes(&self, index: &Index, first_ms: i64) -> Vec<(RoaringBitmap, i64)> {
        if self.rules.is_empty() {
            // Queries start inside the store's retention anyway.
            return Vec::new();
        }
        let mut rest = index.all();
        let mut classes = Vec::new();
        for rule in self.rules {
            let ids = matching(index, &rule.matchers) & &rest;
            rest -= &ids;
            classes.push((ids, self.now_ms.saturating_sub(rule.retention_ms)));
        }
        classes.push((rest, self.now_ms.saturating_sub(self.default_ms)));
        classes.retain(|(ids, oldest_ms)| *oldest_ms > first_ms && !ids.is_empty());
        classes
    }

    /// Whether an index has series that keep nothing up to `last_ms`.
    pub(crate) fn has_expired(&self, index: &Index, last_ms: i64) -> bool {
        !self.classes(index, last_ms).is_empty()
    }

    /// Which classes (bit per rule, then the rest) keep nothing before a moment after `last_ms`.
    pub(crate) fn expired(&self, last_ms: i64) -> u16 {
        let all = self.rules.iter().map(|rule| rule.retention_ms).chain([self.default_ms]);
        let is_over = |ms: i64| self.now_ms.saturating_sub(ms) > last_ms;
        all.enumerate().fold(0, |bits, (k, ms)| bits | (u16::from(is_over(ms)) << k))
    }
}

/// What is hidden of one part: series, and the milliseconds `[start, end]`.
#[derive(Debug, Default)]
pub(crate) struct Cuts(Vec<(RoaringBitmap, i64, i64)>);

impl Cuts {
    /// What is hidden of `part` between `start_ms` and `end_ms`.
    pub(crate) fn of(
        part: &Part,
        index: &Index,
        tombstones: &[Arc<Tombstone>],
        retention: &Retention<'_>,
        (start_ms, end_ms): (i64, i64),
    ) -> Self {
        let mut cuts = Vec::new();
        let inside =
            |t: &&Arc<Tombstone>| t.concerns(part) && t.start_ms <= end_ms && t.end_ms >= start_ms;
        for tombstone in tombstones.iter().filter(inside) {
            cuts.push((matching(index, &tombstone.matchers), tombstone.start_ms, tombstone.end_ms));
        }
        for (ids, oldest_ms) in retention.classes(index, start_ms.max(part.meta().first_ms)) {
            cuts.push((ids, i64::MIN, oldest_ms - 1));
        }
        cuts.retain(|(ids, ..)| !ids.is_empty());
        Self(cuts)
    }

    /// Series of which something is hidden.
    pub(crate) fn series(&self) -> RoaringBitmap {
        self.0.iter().fold(RoaringBitmap::new(), |all, (ids, ..)| all | ids)
    }

    /// Whether something is hidden of series `id`.
    pub(crate) fn hides(&self, id: usize) -> bool {
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        self.0.iter().any(|(ids, ..)| ids.contains(id))
    }

    /// What is hidden of series `id`.
    fn ranges(&self, id: usize) -> SmallVec<[(i64, i64); 2]> {
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        let hit = self.0.iter().filter(|(ids, ..)| ids.contains(id));
        hit.map(|(_, start_ms, end_ms)| (*start_ms, *end_ms)).collect()
    }

    /// What is left of some samples of series `id`; `None` when nothing is.
    pub(crate) fn piece(&self, id: usize, piece: Piece) -> Option<Piece> {
        if self.0.is_empty() {
            return Some(piece);
        }
        without(piece, &self.ranges(id))
    }

    /// What is left of some histograms of series `id`.
    pub(crate) fn samples(&self, id: usize, mut samples: Samples) -> Samples {
        if !self.0.is_empty() {
            let ranges = self.ranges(id);
            samples.retain(|(t, _)| !is_inside(&ranges, *t));
        }
        samples
    }
}

fn is_inside(ranges: &[(i64, i64)], t_ms: i64) -> bool {
    ranges.iter().any(|(start_ms, end_ms)| (*start_ms..=*end_ms).contains(&t_ms))
}

/// A piece without the samples in `ranges`; `None` when nothing is left.
pub(crate) fn without(piece: Piece, ranges: &[(i64, i64)]) -> Option<Piece> {
    if !piece.times.iter().any(|t| is_inside(ranges, *t)) {
        return Some(piece);
    }
    let rest =
        piece.times.iter().copied().zip(piece.values).filter(|(t, _)| !is_inside(ranges, *t));
    let (times, values): (Vec<i64>, Vec<f64>) = rest.unzip();
    (!times.is_empty()).then(|| Piece { times: times.into(), values })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rule = |name: &str, retention_ms| RetentionRule {
            matchers: vec![Matcher::equal("__name__", name)],
            retention_ms,
        };
        let rules = [rule("a", 10), rule("a", 20), rule("b", 500)];
        let retention = Retention { rules: &rules, default_ms: 100, now_ms: 1000 };
        let oldest = |name| retention.oldest_of(&Labels::from_pairs([("__name__", name)]));
        assert_eq!((oldest("a"), oldest("b"), oldest("c")), (990, 500, 900));
        assert_eq!(retention.oldest_ms(), 500);
        assert_eq!(retention.expired(985), 0b0001);
        assert_eq!(retention.expired(899), 0b1011);
    }

    #[test]
    fn ranges_are_cut_out() {
        let piece = || Piece { times: [1, 2, 3, 4].into(), values: vec![1.0, 2.0, 3.0, 4.0] };
        let left = |ranges: &[(i64, i64)]| without(piece(), ranges).map(|p| p.times.to_vec());
        assert_eq!(left(&[(2, 3)]), Some(vec![1, 4]));
        assert_eq!(left(&[(i64::MIN, 1), (4, i64::MAX)]), Some(vec![2, 3]));
        assert_eq!(left(&[(1, 4)]), None);
        assert_eq!(left(&[]), Some(vec![1, 2, 3, 4]));
    }

    proptest! {
        #[test]
        fn tombstones_survive(number: u64, seq: u64, range: (i64, i64),
            all in proptest::collection::vec((0usize..4, "[a-z]{1,5}", "[a-z|.]{0,9}"), 0..5)) {
            let matchers = all.iter().filter_map(|(op, n, v)| Matcher::new(OPS[*op], n, v).ok()).collect();
            let tombstone = Tombstone { number, seq, start_ms: range.0, end_ms: range.1, matchers };
            let mut bytes = Vec::new();
            tombstone.encode(&mut bytes);
            prop_assert_eq!(Tombstone::decode(&bytes).unwrap(), tombstone);
        }

        #[test]
        fn noise_is_refused_or_bounded(mut bytes in proptest::collection::vec(any::<u8>(), 1..100)) {
            bytes[0] = VERSION;
            if let Ok(tombstone) = Tombstone::decode(&bytes) {
                prop_assert!(tombstone.matchers.len() <= bytes.len());
            }
        }
    }
}

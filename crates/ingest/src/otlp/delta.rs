//! Delta points turned cumulative: the running totals of every series that sends differences.
//!
//! Owns: the totals, their bound, when they are forgotten, and taking back what a request added when it could not be
//! stored (its sender sends it again). Does not own: which points those are (`translate.rs`). Totals live in memory; after
//! a restart a series starts anew at its next difference, which queries see as the reset of a counter.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use model::Labels;
use rustc_hash::FxBuildHasher;

use super::{ExponentialBuckets, ExponentialPoint, HistogramPoint};

/// Buckets one side of an exponential total may have; beyond that its bounds get coarser.
const BUCKETS_MAX: usize = 2_048;
/// How often totals that nobody adds to are looked for.
const SWEEP_EVERY_MS: i64 = 60_000;
/// Memory of one bucket, in series.
const BUCKETS_PER_SERIES: usize = 16;

/// Bounds of the totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Series with a total at most; sixteen buckets count as one more.
    pub series_max: usize,
    /// A total to which nothing was added for so long is forgotten, in milliseconds.
    pub stale_after_ms: i64,
}

/// What a series has come to.
#[derive(Debug, Clone, PartialEq)]
enum Total {
    Number(f64),
    Histogram { count: u64, sum: Option<f64>, bucket_counts: Vec<u64>, bounds: Vec<f64> },
    Exponential(Box<ExponentialPoint>),
}

impl Total {
    fn cost(&self) -> usize {
        let buckets = match self {
            Self::Number(_) => 0,
            Self::Histogram { bucket_counts, .. } => bucket_counts.len(),
            Self::Exponential(point) => point.positive.counts.len() + point.negative.counts.len(),
        };
        1 + buckets / BUCKETS_PER_SERIES
    }
}

#[derive(Debug, Clone)]
struct Stream {
    total: Total,
    /// Time of the last point.
    time_ns: u64,
    /// When that came, by our clock.
    touched_ms: i64,
}

/// All totals.
#[derive(Debug)]
pub struct Totals {
    config: Config,
    streams: HashMap<Labels, Stream, FxBuildHasher>,
    cost: usize,
    swept_ms: i64,
    /// What the streams touched since the last [`keep`](Self::keep) were before.
    before: Vec<(Labels, Option<Stream>)>,
}

impl Totals {
    /// No totals yet.
    pub fn new(config: Config) -> Self {
        Self { config, streams: HashMap::default(), cost: 0, swept_ms: 0, before: Vec::new() }
    }

    /// Series with a total.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// What was added since the last call is stored: it stays.
    pub fn keep(&mut self) {
        self.before.clear();
    }

    /// What was added since the last [`keep`](Self::keep) could not be stored: totals are as they were.
    pub fn take_back(&mut self) {
        while let Some((labels, stream)) = self.before.pop() {
            let gone = match stream {
                Some(stream) => {
                    self.cost += stream.total.cost();
                    self.streams.insert(labels, stream)
                }
                None => self.streams.remove(&labels),
            };
            self.cost -= gone.map_or(0, |stream| stream.total.cost());
        }
    }

    /// Forgets totals nobody adds to; looks at most once a minute.
    pub fn sweep(&mut self, now_ms: i64) {
        if now_ms.saturating_sub(self.swept_ms) < SWEEP_EVERY_MS {
            return;
        }
        self.swept_ms = now_ms;
        let oldest_ms = now_ms.saturating_sub(self.config.stale_after_ms);
        let mut freed = 0;
        self.streams.retain(|_, stream| {
            let stays = stream.touched_ms >= oldest_ms;
            freed += if stays { 0 } else { stream.total.cost() };
            stays
        });
        self.cost -= freed;
    }

    /// The series ends: its total is forgotten.
    pub fn end(&mut self, series: &Labels) {
        if let Some(stream) = self.streams.remove(series) {
            self.cost -= stream.total.cost();
            self.before.push((series.clone(), Some(stream)));
        }
    }

    /// Adds a difference and gives the total.
    ///
    /// # Errors
    /// In words, when the point is not newer than the one before or there is no room for another total.
    pub fn add_number(
        &mut self,
        series: &Labels,
        time_ns: u64,
        now_ms: i64,
        value: f64,
    ) -> Result<f64, String> {
        let total = self.add(series, time_ns, now_ms, |total| match total {
            Some(Total::Number(sum)) => Total::Number(sum + value),
            _ => Total::Number(value),
        })?;
        Ok(match total {
            Total::Number(sum) => *sum,
            _ => value,
        })
    }

    /// Adds the observations of `point` and makes it the total. Other bounds than before start anew.
    ///
    /// # Errors
    /// As [`add_number`](Self::add_number).
    pub fn add_histogram(
        &mut self,
        series: &Labels,
        now_ms: i64,
        point: &mut HistogramPoint,
    ) -> Result<(), String> {
        let total = self.add(series, point.point.time_ns, now_ms, |total| match total {
            Some(Total::Histogram { count, sum, bucket_counts, bounds })
                if *bounds == point.bounds && bucket_counts.len() == point.bucket_counts.len() =>
            {
                let added = bucket_counts.iter().zip(&point.bucket_counts);
                Total::Histogram {
                    count: count.saturating_add(point.count),
                    sum: sum.zip(point.sum).map(|(a, b)| a + b),
                    bucket_counts: added.map(|(a, b)| a.saturating_add(*b)).collect(),
                    bounds: bounds.clone(),
                }
            }
            _ => Total::Histogram {
                count: point.count,
                sum: point.sum,
                bucket_counts: point.bucket_counts.clone(),
                bounds: point.bounds.clone(),
            },
        })?;
        if let Total::Histogram { count, sum, bucket_counts, .. } = total {
            (point.count, point.sum) = (*count, *sum);
            point.bucket_counts.clone_from(bucket_counts);
        }
        Ok(())
    }

    /// Adds the observations of `point` and makes it the total, in the coarser of both resolutions.
    ///
    /// # Errors
    /// As [`add_number`](Self::add_number).
    pub fn add_exponential(
        &mut self,
        series: &Labels,
        now_ms: i64,
        point: &mut ExponentialPoint,
    ) -> Result<(), String> {
        let total = self.add(series, point.point.time_ns, now_ms, |total| match total {
            // A zero bucket of another width would have to swallow others; that is rare enough to start anew.
            Some(Total::Exponential(old)) if old.zero_threshold == point.zero_threshold => {
                Total::Exponential(Box::new(merged(old, point)))
            }
            _ => {
                let fresh = ExponentialPoint { point: super::Point::default(), ..point.clone() };
                Total::Exponential(Box::new(fresh))
            }
        })?;
        if let Total::Exponential(total) = total {
            let own = std::mem::take(&mut point.point);
            *point = ExponentialPoint { point: own, ..(**total).clone() };
        }
        Ok(())
    }

    fn add(
        &mut self,
        series: &Labels,
        time_ns: u64,
        now_ms: i64,
        next: impl FnOnce(Option<&Total>) -> Total,
    ) -> Result<&Total, String> {
        let full = self.cost >= self.config.series_max;
        match self.streams.entry(series.clone()) {
            Entry::Occupied(entry) => {
                let stream = entry.into_mut();
                if time_ns <= stream.time_ns {
                    return Err(format!(
                        "delta point of {series} at {time_ns} ns is not newer than the one before"
                    ));
                }
                let total = next(Some(&stream.total));
                self.cost = self.cost + total.cost() - stream.total.cost();
                let old = std::mem::replace(stream, Stream { total, time_ns, touched_ms: now_ms });
                self.before.push((series.clone(), Some(old)));
                Ok(&stream.total)
            }
            Entry::Vacant(_) if full => Err(format!(
                "no room for the total of {series}; the limit is {} series",
                self.config.series_max
            )),
            Entry::Vacant(entry) => {
                let total = next(None);
                self.cost += total.cost();
                self.before.push((series.clone(), None));
                Ok(&entry.insert(Stream { total, time_ns, touched_ms: now_ms }).total)
            }
        }
    }
}

fn merged(a: &ExponentialPoint, b: &ExponentialPoint) -> ExponentialPoint {
    let mut scale = a.scale.min(b.scale);
    let coarse = |point: &ExponentialPoint, scale| {
        let by = u32::try_from(point.scale - scale).unwrap_or(0);
        (point.positive.coarser(by), point.negative.coarser(by))
    };
    let (positive, negative) = loop {
        let ((ap, an), (bp, bn)) = (coarse(a, scale), coarse(b, scale));
        match (ap.merged(&bp), an.merged(&bn)) {
            (Some(positive), Some(negative)) => break (positive, negative),
            // Coarser bounds bring any two indexes next to each other in the end.
            _ => scale -= 1,
        }
    };
    ExponentialPoint {
        point: super::Point::default(),
        count: a.count.saturating_add(b.count),
        sum: a.sum.zip(b.sum).map(|(a, b)| a + b),
        scale,
        zero_count: a.zero_count.saturating_add(b.zero_count),
        zero_threshold: a.zero_threshold,
        positive,
        negative,
    }
}

impl ExponentialBuckets {
    /// The same observations in buckets `2^by` times as wide (in the exponent).
    #[must_use]
    pub fn coarser(&self, by: u32) -> Self {
        if by == 0 || self.counts.is_empty() {
            return self.clone();
        }
        // Beyond 31 every index is 0 or -1.
        let by = by.min(31);
        let offset = self.offset >> by;
        let mut counts: Vec<u64> = Vec::new();
        for (i, count) in (0_i64..).zip(&self.counts) {
            let index = (i64::from(self.offset) + i) >> by;
            let at = usize::try_from(index - i64::from(offset)).unwrap_or(0);
            if at >= counts.len() {
                counts.resize(at + 1, 0);
            }
            counts[at] = counts[at].saturating_add(*count);
        }
        Self { offset, counts }
    }

    /// Both together; `None` when that has too many buckets.
    fn merged(&self, other: &Self) -> Option<Self> {
        if self.counts.is_empty() {
            return Some(other.clone());
        }
        if other.counts.is_empty() {
            return Some(self.clone());
        }
        let end = |buckets: &Self| i64::from(buckets.offset) + buckets.counts.len() as i64;
        let offset = self.offset.min(other.offset);
        let len = end(self).max(end(other)) - i64::from(offset);
        let len = usize::try_from(len).ok()?;
        if len > BUCKETS_MAX.max(self.counts.len()).max(other.counts.len()) {
            return None;
        }
        let mut counts = vec![0_u64; len];
        for buckets in [self, other] {
            let from = usize::try_from(i64::from(buckets.offset) - i64::from(offset)).ok()?;
            for (total, count) in counts.iter_mut().skip(from).zip(&buckets.counts) {
                *total = total.saturating_add(*count);
            }
        }
        Some(Self { offset, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)])
    }

    const CONFIG: Config = Config { series_max: 2, stale_after_ms: 1_000_000 };

    #[test]
    fn numbers_add_up_and_are_taken_back() {
        let mut totals = Totals::new(CONFIG);
        assert_eq!(totals.add_number(&series("a"), 10, 0, 2.0), Ok(2.0));
        totals.keep();
        assert_eq!(totals.add_number(&series("a"), 20, 0, 3.0), Ok(5.0));
        assert_eq!(totals.add_number(&series("b"), 20, 0, 1.0), Ok(1.0));
        totals.take_back();
        assert_eq!((totals.len(), totals.cost), (1, 1));
        assert_eq!(totals.add_number(&series("a"), 20, 0, 3.0), Ok(5.0));
        assert!(totals.add_number(&series("a"), 20, 0, 3.0).unwrap_err().contains("not newer"));
        assert_eq!(totals.add_number(&series("b"), 20, 0, 1.0), Ok(1.0));
        assert!(totals.add_number(&series("c"), 20, 0, 1.0).unwrap_err().contains("limit is 2"));
        totals.keep();
        totals.sweep(2_000_000);
        assert!(totals.is_empty() && totals.cost == 0);
    }

    #[test]
    fn exponential_histograms_meet_in_the_coarser_resolution() {
        let point = |scale, offset, counts: &[u64], time_ns| ExponentialPoint {
            point: super::super::Point { time_ns, ..Default::default() },
            count: counts.iter().sum(),
            sum: Some(1.0),
            scale,
            positive: ExponentialBuckets { offset, counts: counts.to_vec() },
            ..ExponentialPoint::default()
        };
        let mut totals = Totals::new(CONFIG);
        totals.add_exponential(&series("h"), 0, &mut point(1, -3, &[1, 2, 3, 4], 1)).unwrap();
        let mut second = point(0, 1, &[5], 2);
        totals.add_exponential(&series("h"), 0, &mut second).unwrap();
        // Indexes -3, -2, -1, 0 at scale 1 are -2, -1, -1, 0 at scale 0.
        assert_eq!(second.positive, ExponentialBuckets { offset: -2, counts: vec![1, 5, 4, 5] });
        assert_eq!((second.scale, second.count, second.sum), (0, 15, Some(2.0)));
        // Far apart: still bounded.
        let mut far = point(0, 2_000_000_000, &[1], 3);
        totals.add_exponential(&series("h"), 0, &mut far).unwrap();
        assert!(
            far.positive.counts.len() <= BUCKETS_MAX
                && far.positive.counts.iter().sum::<u64>() == 16
        );
    }

    #[test]
    fn histograms_with_other_bounds_start_anew() {
        let point = |bounds: &[f64], time_ns| HistogramPoint {
            point: super::super::Point { time_ns, ..Default::default() },
            count: 3,
            sum: Some(4.0),
            bucket_counts: vec![1, 2],
            bounds: bounds.to_vec(),
        };
        let mut totals = Totals::new(CONFIG);
        totals.add_histogram(&series("h"), 0, &mut point(&[1.0], 1)).unwrap();
        let mut second = point(&[1.0], 2);
        totals.add_histogram(&series("h"), 0, &mut second).unwrap();
        assert_eq!((second.count, second.bucket_counts.as_slice()), (6, &[2, 4][..]));
        let mut other = point(&[2.0], 3);
        totals.add_histogram(&series("h"), 0, &mut other).unwrap();
        assert_eq!(other.count, 3);
    }
}

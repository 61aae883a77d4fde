//! Where one test's samples are: series in memory that take samples in the order of time only, as Prometheus' store.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Error, Histogram, Labels, Result};
use query::promql::Sample;
use query::promql::testing::{MemorySource, Noted, identical, parse_series_start};

use super::file::Test;

/// The value of a series' newest sample.
#[derive(Debug, Clone)]
enum Newest {
    Number(f64),
    Histogram(Arc<Histogram>),
}

#[derive(Debug, Default)]
pub(super) struct Storage {
    source: MemorySource,
    newest: HashMap<Labels, (i64, Newest)>,
}

impl Storage {
    pub(super) fn source(&self) -> &MemorySource {
        &self.source
    }

    /// Stores one sample.
    pub(super) fn append(&mut self, sample: &Sample) -> Result<()> {
        let value =
            sample.histogram.clone().map_or(Newest::Number(sample.value), Newest::Histogram);
        if let Some((newest_ms, newest)) = self.newest.get(&sample.labels) {
            if sample.t_ms < *newest_ms {
                return Err(Error::invalid("out of order sample"));
            }
            let same = match (newest, &value) {
                (Newest::Number(a), Newest::Number(b)) => a.to_bits() == b.to_bits(),
                (Newest::Histogram(a), Newest::Histogram(b)) => identical(a, b),
                _ => false,
            };
            if sample.t_ms == *newest_ms {
                let duplicate = || Error::invalid("duplicate sample for timestamp");
                return if same { Ok(()) } else { Err(duplicate()) };
            }
        }
        match &value {
            Newest::Number(value) => self.source.insert(&sample.labels, [(sample.t_ms, *value)]),
            Newest::Histogram(h) => {
                self.source.insert_histograms(&sample.labels, [(sample.t_ms, h.clone())]);
            }
        }
        self.newest.insert(sample.labels.clone(), (sample.t_ms, value));
        Ok(())
    }
}

/// Input series, from which samples are taken as time goes on.
#[derive(Debug)]
pub(super) struct Input {
    series: Vec<Vec<Sample>>,
    /// How many of each are stored.
    taken: Vec<usize>,
}

impl Input {
    /// Reads the input series of `test` as far as `last_ms` after its start; of two with the same labels the later one
    /// counts.
    pub(super) fn new(test: &Test, last_ms: i64) -> Result<Self> {
        let count = usize::try_from(last_ms / test.interval_ms).unwrap_or(0).saturating_add(1);
        let mut series: Vec<(Labels, Vec<Sample>)> = Vec::new();
        for (name, values) in &test.series {
            let (labels, values) = parse_series_start(&format!("{} {values}", name.trim()), count)
                .map_err(|e| e.context(format!("input series {name:?}")))?;
            let sample = |(i, noted): (usize, Option<Noted>)| {
                let t_ms = test.start_ms.saturating_add(test.interval_ms.saturating_mul(i as i64));
                let (value, histogram) = match noted? {
                    Noted::Number(value) => (value, None),
                    Noted::Histogram { histogram, .. } => (f64::NAN, Some(histogram)),
                };
                Some(Sample { labels: labels.clone(), t_ms, value, histogram })
            };
            let samples = values.into_iter().enumerate().filter_map(sample).collect();
            match series.iter_mut().find(|(known, _)| *known == labels) {
                Some((_, known)) => *known = samples,
                None => series.push((labels, samples)),
            }
        }
        let series: Vec<Vec<Sample>> = series.into_iter().map(|(_, samples)| samples).collect();
        let taken = vec![0; series.len()];
        Ok(Self { series, taken })
    }

    /// Stores what is not stored yet, up to `t_ms`.
    pub(super) fn store_until(&mut self, t_ms: i64, storage: &mut Storage) -> Result<()> {
        for (samples, taken) in self.series.iter().zip(&mut self.taken) {
            while let Some(sample) = samples.get(*taken).filter(|sample| sample.t_ms <= t_ms) {
                storage.append(sample).map_err(|e| e.context(sample.labels.to_string()))?;
                *taken += 1;
            }
        }
        Ok(())
    }
}

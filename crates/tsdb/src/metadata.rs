//! Metadata: type, help and unit of metrics, for all shards of a store; survives restarts.
//!
//! Owns: what is kept, its bound, its bytes. Does not own: the file ([`side`](crate::side)).
//!
//! ```text
//! metadata = count, count × ( name, kind u8, help, unit: strings )
//! kind     = 0 unknown, 1 counter, 2 gauge, 3 histogram, 4 gauge histogram, 5 summary, 6 info, 7 state set
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Error, MetricKind, MetricMetadata, Result};
use storage::codec::{Reader, put_bytes, put_count};

/// Bytes of names, helps and units at most; what would be beyond is left out and counted.
const BYTES_MAX: usize = 32 << 20;

const KINDS: [MetricKind; 8] = [
    MetricKind::Unknown,
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Histogram,
    MetricKind::GaugeHistogram,
    MetricKind::Summary,
    MetricKind::Info,
    MetricKind::StateSet,
];

/// Appends metadata.
pub(crate) fn encode<'a>(
    all: impl ExactSizeIterator<Item = &'a MetricMetadata>,
    out: &mut Vec<u8>,
) {
    put_count(out, all.len());
    for metadata in all {
        put_bytes(out, metadata.name.as_bytes());
        let kind = KINDS.iter().position(|kind| *kind == metadata.kind).unwrap_or(0);
        out.push(kind.to_le_bytes()[0]);
        put_bytes(out, metadata.help.as_bytes());
        put_bytes(out, metadata.unit.as_bytes());
    }
}

/// Reads metadata written by [`encode`].
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input.
pub fn decode(bytes: &[u8]) -> Result<Vec<MetricMetadata>> {
    let mut r = Reader::new(bytes);
    let count = r.count(r.remaining() / 4)?;
    let mut all = Vec::new();
    for _ in 0..count {
        let name = Arc::from(r.str()?);
        let number = r.u8()?;
        let Some(kind) = KINDS.get(usize::from(number)).copied() else {
            return Err(Error::corrupt(format!("unknown kind of metric {number}")));
        };
        all.push(MetricMetadata { name, kind, help: r.str()?.into(), unit: r.str()?.into() });
    }
    Ok(all)
}

/// Metadata by name of the metric family.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    known: BTreeMap<Arc<str>, MetricMetadata>,
    bytes: usize,
    /// Metrics at most.
    max: usize,
    dropped: u64,
}

fn bytes_of(metadata: &MetricMetadata) -> usize {
    metadata.name.len() + metadata.help.len() + metadata.unit.len()
}

impl Metadata {
    /// Keeps at most `max` metrics.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// Whether this says anything new.
    pub(crate) fn is_news(&self, metadata: &MetricMetadata) -> bool {
        self.known.get(&metadata.name) != Some(metadata)
    }

    /// Takes one in, in the place of what was known of that metric.
    pub(crate) fn add(&mut self, metadata: MetricMetadata) {
        if !self.is_news(&metadata) {
            return;
        }
        let before = self.known.get(&metadata.name);
        let bytes = self.bytes - before.map_or(0, bytes_of) + bytes_of(&metadata);
        if bytes > BYTES_MAX || (before.is_none() && self.known.len() >= self.max) {
            if self.dropped == 0 {
                let max = self.max;
                tracing::warn!(max, BYTES_MAX, "metadata of further metrics is not kept");
            }
            self.dropped += 1;
            return;
        }
        self.bytes = bytes;
        self.known.insert(Arc::clone(&metadata.name), metadata);
    }

    /// Metadata of `metric` or of all, sorted by name.
    pub(crate) fn find(&self, metric: Option<&str>) -> Vec<MetricMetadata> {
        match metric {
            Some(metric) => self.known.get(metric).cloned().into_iter().collect(),
            None => self.known.values().cloned().collect(),
        }
    }

    /// Metadata left out since the store was opened.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(name: &str, kind: usize, help: &str) -> MetricMetadata {
        let (name, help, unit) = (name.into(), help.into(), "seconds".into());
        MetricMetadata { name, kind: KINDS[kind], help, unit }
    }

    #[test]
    fn the_last_word_counts_and_bounds_hold() {
        let mut kept = Metadata::new(2);
        kept.add(of("a", 1, "x"));
        kept.add(of("a", 1, "y"));
        assert_eq!(kept.find(Some("a")), [of("a", 1, "y")]);
        kept.add(of("a", 1, "y"));
        kept.add(of("b", 2, &"x".repeat(BYTES_MAX)));
        assert_eq!((kept.dropped(), kept.find(None).len()), (1, 1));
        kept.add(of("b", 2, ""));
        kept.add(of("c", 2, ""));
        assert_eq!((kept.dropped(), kept.find(None).len()), (2, 2));
    }

    proptest! {
        #[test]
        fn metadata_survives(all in proptest::collection::vec(("[a-z]{0,5}", 0usize..8, ".{0,20}"), 0..20)) {
            let all: Vec<MetricMetadata> =
                all.iter().map(|(name, kind, help)| of(name, *kind, help)).collect();
            let mut bytes = Vec::new();
            encode(all.iter(), &mut bytes);
            prop_assert_eq!(decode(&bytes).unwrap(), all);
        }

        #[test]
        fn noise_is_refused_or_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(all) = decode(&bytes) {
                prop_assert!(all.iter().map(bytes_of).sum::<usize>() <= bytes.len());
            }
        }
    }
}

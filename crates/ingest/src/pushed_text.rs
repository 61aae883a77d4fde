//! Exposition text that is pushed: samples to be stored as they are, at their own times or at that of the request.
//!
//! Owns: what labels of the request add to those of the text, and recognising series that come again as in
//! [`remote_write`](crate::remote_write). Does not own: the grammar ([`exposition`](crate::exposition)), HTTP, storing.
//! Unlike a scrape, a push says nothing about series that are not in it: none ends.

use std::hash::BuildHasher;

use model::{
    Error, ErrorKind, ExemplarRow, Labels, MetricKind, MetricMetadata, Result, StampedRow,
};
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::exposition::{self, Format, Metadata, Sample, Visitor, parse, series_labels};
use crate::known::{Entry, Key, Known, News, Walk};

/// How a series was spelled: the same text means the same in the same format and with the same labels added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spelled {
    text: Box<str>,
    format: Format,
    added: Labels,
}

impl Key for Spelled {
    fn hash(&self, _: &Labels) -> u64 {
        FxBuildHasher.hash_one(&*self.text)
    }

    fn heap_bytes(&self) -> usize {
        // The added labels are mostly shared, but need not be.
        size_of::<Self>() + self.text.len() + self.added.packed_len()
    }
}

/// Bounds of one push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of the text.
    pub text: exposition::Limits,
    /// Bytes of all samples' labels together: added ones are there once and count with every sample.
    pub label_bytes_max: usize,
}

/// What a push says beside its text.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// The text's format.
    pub format: Format,
    /// Labels every series gets; they win over its own.
    pub added: &'a Labels,
    /// Time of samples without one, Unix milliseconds.
    pub t_ms: i64,
}

/// What a push holds.
#[derive(Debug, Default)]
pub struct Pushed {
    /// Samples, in the order of the text.
    pub samples: Vec<StampedRow>,
    /// Exemplars (OpenMetrics).
    pub exemplars: Vec<ExemplarRow>,
    /// Type, help and unit, once per name.
    pub metadata: Vec<MetricMetadata>,
}

/// Reads a push with what is known of earlier ones under the same limits, and says what was new in it.
///
/// Cost: one pass; a known series in its usual place costs a comparison of its text.
///
/// # Errors
/// As [`parse`]: nothing of a text with a mistake is kept.
pub fn read(
    text: &[u8],
    push: Push<'_>,
    limits: &Limits,
    known: &Known<Spelled>,
) -> Result<(Pushed, News<Spelled>)> {
    let mut reader = Reader {
        push,
        walk: known.walk(),
        is_remembering: known.has_room(),
        label_bytes: 0,
        label_bytes_max: limits.label_bytes_max,
        pushed: Pushed::default(),
        described: FxHashMap::default(),
    };
    parse(text, push.format, &limits.text, &mut reader)?;
    Ok((reader.pushed, reader.walk.finish()))
}

struct Reader<'a> {
    push: Push<'a>,
    walk: Walk<'a, Spelled>,
    /// Whether new series are noted.
    is_remembering: bool,
    label_bytes: usize,
    label_bytes_max: usize,
    pushed: Pushed,
    /// Place of each name in the metadata.
    described: FxHashMap<Box<str>, usize>,
}

impl Spelled {
    /// Whether its text means the same in this push.
    fn is_of(&self, push: &Push<'_>) -> bool {
        self.format == push.format && self.added == *push.added
    }
}

impl Reader<'_> {
    /// Labels and target of a series that is not where it was last time.
    fn series(&mut self, text: &str) -> Result<(Labels, u64)> {
        let hash = FxBuildHasher.hash_one(text);
        let push = self.push;
        let (format, added) = (push.format, push.added);
        let same = |entry: &Entry<Spelled>| *entry.key.text == *text && entry.key.is_of(&push);
        if let Some(entry) = self.walk.find(hash, same) {
            return Ok((entry.labels.clone(), entry.target));
        }
        let mut labels = series_labels(text, format)?;
        if !added.is_empty() {
            let mut builder = labels.to_builder();
            added.iter().for_each(|(name, value)| builder.set(name, value));
            labels = builder.build();
        }
        if labels.metric_name().is_empty() {
            return Err(Error::invalid(format!("expected a metric name, {text:.64?} has none")));
        }
        let target = if self.is_remembering {
            self.walk.add(Spelled { text: text.into(), format, added: added.clone() }, &labels)
        } else {
            labels.target()
        };
        Ok((labels, target))
    }

    fn metadata_of(&mut self, name: &str) -> &mut MetricMetadata {
        let all = &mut self.pushed.metadata;
        let at = match self.described.get(name) {
            Some(at) => *at,
            None => {
                self.described.insert(name.into(), all.len());
                all.push(MetricMetadata {
                    name: name.into(),
                    kind: MetricKind::Unknown,
                    help: "".into(),
                    unit: "".into(),
                });
                all.len() - 1
            }
        };
        &mut all[at]
    }
}

impl Visitor for Reader<'_> {
    #[inline]
    fn expected(&self) -> &str {
        match self.walk.expected() {
            Some(entry) if entry.key.is_of(&self.push) => &entry.key.text,
            _ => "",
        }
    }

    fn sample(&mut self, sample: Sample<'_>) -> Result<()> {
        let (labels, target) = match self.walk.expected().filter(|_| sample.predicted) {
            Some(entry) => {
                self.walk.advance();
                (entry.labels.clone(), entry.target)
            }
            None => self.series(sample.series)?,
        };
        self.label_bytes += labels.packed_len();
        if self.label_bytes > self.label_bytes_max {
            let max = self.label_bytes_max;
            return Err(Error::new(
                ErrorKind::Limit,
                format!("labels of all samples have more bytes than the limit of {max}"),
            ));
        }
        let t_ms = sample.timestamp_ms.unwrap_or(self.push.t_ms);
        if let Some(exemplar) = sample.exemplar {
            match exemplar.decode(t_ms) {
                Ok(exemplar) => {
                    self.pushed.exemplars.push(ExemplarRow { series: labels.clone(), exemplar });
                }
                // Too long to keep is not worth a push.
                Err(e) if e.kind() == ErrorKind::Limit => {}
                Err(e) => return Err(e),
            }
        }
        self.pushed.samples.push(StampedRow { labels, t_ms, value: sample.value, target });
        Ok(())
    }

    fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()> {
        match metadata {
            Metadata::Type { name, kind } => self.metadata_of(&name).kind = kind,
            Metadata::Help { name, text } => self.metadata_of(&name).help = (&*text).into(),
            Metadata::Unit { name, unit } => self.metadata_of(&name).unit = (&*unit).into(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        text: exposition::Limits {
            body_bytes_max: 1_000,
            samples_max: 20,
            labels_max: 4,
            name_bytes_max: 32,
            value_bytes_max: 32,
        },
        label_bytes_max: 200,
    };

    fn check(known: &mut Known<Spelled>, text: &str, added: &[(&str, &str)], expected: &str) {
        let added = Labels::from_pairs(added.iter().copied());
        let push = Push { format: Format::Prometheus, added: &added, t_ms: 7 };
        let found = match read(text.as_bytes(), push, &LIMITS, known) {
            Ok((pushed, news)) => {
                known.learn(news, 0);
                let rows = pushed.samples.iter();
                let all: Vec<String> =
                    rows.map(|row| format!("{} {}@{}", row.labels, row.value, row.t_ms)).collect();
                all.join("; ")
            }
            Err(e) => e.message().to_owned(),
        };
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn text_is_read_the_same_again_and_by_what_is_added() {
        let mut known = Known::new(1 << 16);
        let text = "# TYPE a counter\na{b=\"c\"} 1\nd 2 50\n";
        for _ in 0..3 {
            check(&mut known, text, &[], "a{b=\"c\"} 1@7; d{} 2@50");
            check(&mut known, text, &[("b", "x")], "a{b=\"x\"} 1@7; d{b=\"x\"} 2@50");
        }
        assert_eq!(known.len(), 4);
        check(
            &mut known,
            "a{b=\"c\"} 1\nd two\n",
            &[],
            "line 2, column 3: expected a value, found 't'",
        );
    }

    fn line() -> impl Strategy<Value = String> {
        let series = prop_oneof![
            "[ab]",
            "[ab]\\{c=\"[de]?\"\\}",
            "[ab] \\{ c=\"d\", e=\"f\" \\}",
            "\\{\"[ab]\"\\}",
            "# TYPE a gauge"
        ];
        (series, prop_oneof![" 1", " -0.5 3", "  NaN", " 1e3", "", " x"])
            .prop_map(|(series, value)| format!("{series}{value}\n"))
    }

    proptest! {
        #[test]
        fn what_is_known_changes_nothing(
            pushes in proptest::collection::vec(
                (proptest::collection::vec(line(), 0..8), 0usize..3, any::<bool>()), 1..8),
        ) {
            let mut known = Known::new(3_000);
            let added = ["", "1", "2"].map(|value| Labels::from_pairs([("c", value)]));
            for (lines, number, is_open_metrics) in pushes {
                let (mut text, mut format) = (lines.concat(), Format::Prometheus);
                if is_open_metrics {
                    (text, format) = (text + "# EOF\n", Format::OpenMetrics);
                }
                let push = Push { format, added: &added[number], t_ms: 7 };
                let told = |pushed: Result<Pushed>| pushed.map_or_else(|e| e.message().to_owned(), |p| format!("{p:?}"));
                for _ in 0..2 {
                    let plain = read(text.as_bytes(), push, &LIMITS, &Known::new(0)).map(|(pushed, _)| pushed);
                    let predicted = read(text.as_bytes(), push, &LIMITS, &known);
                    let predicted = predicted.map(|(pushed, news)| {
                        known.learn(news, 0);
                        pushed
                    });
                    prop_assert_eq!(told(predicted), told(plain));
                }
            }
        }

        #[test]
        fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let added = Labels::default();
            for format in [Format::Prometheus, Format::OpenMetrics] {
                let push = Push { format, added: &added, t_ms: 0 };
                if let Ok((pushed, _)) = read(&noise, push, &LIMITS, &Known::new(1_000)) {
                    prop_assert!(pushed.samples.len() <= LIMITS.text.samples_max);
                }
            }
        }
    }
}

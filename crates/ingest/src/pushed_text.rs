//! Exposition text that is pushed: samples to be stored as they are, at their own times or at that of the request.
//!
//! Owns: what labels of the request add to those of the text, and recognising series that come again as in
//! [`remote_write`](crate::remote_write), or all of a text at once that differs from an earlier one in its numbers only
//! ([`known_bodies`](crate::known_bodies)). Does not own: the grammar ([`exposition`](crate::exposition)), HTTP, storing.
//! Unlike a scrape, a push says nothing about series that are not in it: none ends.

use std::hash::BuildHasher;
use std::sync::Arc;

use model::{
    Error, ErrorKind, ExemplarRow, Labels, MetricKind, MetricMetadata, Result, StampedRow,
    SteadyRows,
};
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::exposition::{self, Format, Metadata, Sample, Shape, Visitor, parse, series_labels};
use crate::known::{Entry, Key, Known, News, Walk};
use crate::known_bodies::{Bodies, Body, start};

/// Texts of fewer samples are not worth remembering as a whole.
const STEADY_MIN: usize = 8;

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

/// What is known of earlier pushes.
#[derive(Debug)]
pub struct KnownTexts {
    series: Known<Spelled>,
    bodies: Bodies,
}

/// What was new in a push.
#[derive(Debug)]
pub struct NewTexts {
    series: News<Spelled>,
    /// The text as a whole, with the hash of its start.
    body: Option<(u64, Body)>,
}

impl NewTexts {
    /// Whether there is nothing to learn.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.body.is_none()
    }
}

impl KnownTexts {
    /// An empty memory that never takes more than `bytes_max`, labels included.
    pub fn new(bytes_max: usize) -> Self {
        Self { series: Known::new(bytes_max / 2), bodies: Bodies::new(bytes_max / 2) }
    }

    /// Takes in what was new in a push; `now_ms` is the present, Unix milliseconds.
    pub fn learn(&mut self, news: NewTexts, now_ms: i64) {
        if !news.series.is_empty() {
            self.series.learn(news.series, now_ms);
        }
        if let Some((start, body)) = news.body {
            self.bodies.learn(start, body, now_ms);
        }
    }
}

/// What a push holds.
#[derive(Debug, Default)]
pub struct Pushed {
    /// Samples without a time of their own, of a text that came before but for its numbers; then there are none in
    /// `samples`.
    pub steady: SteadyRows,
    /// Samples, in the order of the text.
    pub samples: Vec<StampedRow>,
    /// Exemplars (OpenMetrics).
    pub exemplars: Vec<ExemplarRow>,
    /// Type, help and unit, once per name.
    pub metadata: Vec<MetricMetadata>,
}

/// Reads a push with what is known of earlier ones under the same limits, and says what was new in it.
///
/// Cost: one pass; a known series in its usual place costs a comparison of its text. In a known text nothing but the
/// numbers is read.
///
/// # Errors
/// As [`parse`]: nothing of a text with a mistake is kept.
pub fn read(
    text: &[u8],
    push: Push<'_>,
    limits: &Limits,
    known: &KnownTexts,
) -> Result<(Pushed, NewTexts)> {
    let is_within = text.len() <= limits.text.body_bytes_max;
    let repeated = is_within.then(|| known.bodies.read(text, push.format, push.added)).flatten();
    if let Some((body, values)) = repeated {
        let series = Arc::clone(&body.series);
        let steady = SteadyRows { series, values, is_group: true };
        let news = NewTexts { series: known.series.walk().finish(), body: None };
        return Ok((
            Pushed { steady, metadata: body.metadata.to_vec(), ..Pushed::default() },
            news,
        ));
    }
    let mut reader = Reader {
        push,
        walk: known.series.walk(),
        is_remembering: known.series.has_room(),
        is_steady: known.bodies.has_room(),
        series_ends: Vec::new(),
        label_bytes: 0,
        label_bytes_max: limits.label_bytes_max,
        pushed: Pushed::default(),
        described: FxHashMap::default(),
    };
    parse(text, push.format, &limits.text, &mut reader)?;
    let body = reader.body(text);
    Ok((reader.pushed, NewTexts { series: reader.walk.finish(), body }))
}

struct Reader<'a> {
    push: Push<'a>,
    walk: Walk<'a, Spelled>,
    /// Whether new series are noted.
    is_remembering: bool,
    /// Whether all series but the first came where they were expected.
    is_steady: bool,
    /// Where in the text they end, while that is so.
    series_ends: Vec<u32>,
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
    /// The text as a whole, if the next one may differ in its numbers only and all its series are of one target.
    fn body(&self, text: &[u8]) -> Option<(u64, Body)> {
        let rows = &self.pushed.samples;
        let target = rows.first()?.target;
        let is_worth_it = self.is_steady && rows.len() >= STEADY_MIN;
        if !is_worth_it || rows.iter().any(|row| row.target != target) {
            return None;
        }
        let shape = Shape::of(text, &self.series_ends).filter(|shape| shape.len() == rows.len())?;
        let series = rows.iter().map(|row| row.labels.clone()).collect();
        let metadata = self.pushed.metadata.as_slice().into();
        let Push { format, added, .. } = self.push;
        Some((start(text, format, added), Body::new(shape, series, metadata, (format, added))))
    }

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
        if self.is_steady {
            let end = sample.series_end.and_then(|end| u32::try_from(end).ok());
            self.is_steady = end.is_some() && (sample.predicted || self.series_ends.is_empty());
            self.series_ends.extend(end);
        }
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

    /// Samples, exemplars and metadata, one line each.
    fn told(pushed: &Pushed, t_ms: i64) -> Vec<String> {
        let steady = pushed.steady.series.iter().zip(&pushed.steady.values);
        let mut lines: Vec<String> = steady.map(|(l, v)| format!("{l} {v}@{t_ms}")).collect();
        let rows = pushed.samples.iter();
        lines.extend(rows.map(|row| format!("{} {}@{}", row.labels, row.value, row.t_ms)));
        lines.extend(pushed.exemplars.iter().map(|e| format!("{e:?}")));
        lines.extend(pushed.metadata.iter().map(|m| format!("{m:?}")));
        lines
    }

    fn check(known: &mut KnownTexts, text: &str, added: &[(&str, &str)], expected: &str) {
        let added = Labels::from_pairs(added.iter().copied());
        let push = Push { format: Format::Prometheus, added: &added, t_ms: 7 };
        let found = match read(text.as_bytes(), push, &LIMITS, known) {
            Ok((pushed, news)) => {
                known.learn(news, 0);
                let lines = told(&Pushed { metadata: Vec::new(), ..pushed }, 7);
                lines.join("; ")
            }
            Err(e) => e.message().to_owned(),
        };
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn text_is_read_the_same_again_and_by_what_is_added() {
        let mut known = KnownTexts::new(1 << 17);
        let text = "# TYPE a counter\na{b=\"c\"} 1\nd 2 50\n";
        for _ in 0..3 {
            check(&mut known, text, &[], "a{b=\"c\"} 1@7; d{} 2@50");
            check(&mut known, text, &[("b", "x")], "a{b=\"x\"} 1@7; d{b=\"x\"} 2@50");
        }
        assert_eq!(known.series.len(), 4);
        check(
            &mut known,
            "a{b=\"c\"} 1\nd two\n",
            &[],
            "line 2, column 3: expected a value, found 't'",
        );
    }

    #[test]
    fn a_text_with_other_numbers_only_shares_the_list_of_its_series() {
        let mut known = KnownTexts::new(1 << 17);
        let added = Labels::from_pairs([("job", "j")]);
        let push = Push { format: Format::Prometheus, added: &added, t_ms: 7 };
        let text = |value: f64, job: &str| {
            let line = |i: usize| format!("m{{i=\"{i}\",job=\"{job}\"}} {}\n", value + i as f64);
            "# TYPE m gauge\n".to_owned() + &(0..10).map(line).collect::<String>()
        };
        let mut read = |text: &str, added: &Labels| {
            let limits = Limits { label_bytes_max: 10_000, ..LIMITS };
            let push = Push { added, ..push };
            let (pushed, news) = super::read(text.as_bytes(), push, &limits, &known).unwrap();
            known.learn(news, 0);
            pushed
        };
        // Learnt by series, then seen in order, then seen so again.
        for value in 0..3 {
            assert_eq!(read(&text(f64::from(value), "x"), &added).samples.len(), 10);
        }
        let fourth = read(&text(4.0, "x"), &added);
        let fifth = read(&text(5.5, "x"), &added);
        assert!(fourth.samples.is_empty() && fifth.steady.is_group);
        assert!(Arc::ptr_eq(&fourth.steady.series, &fifth.steady.series));
        assert_eq!(told(&fifth, 7)[9], "m{i=\"9\", job=\"j\"} 14.5@7");
        assert_eq!(fifth.metadata[0].kind, MetricKind::Gauge);
        // Another text, another way to read it, and one that only begins like it.
        assert_eq!(read(&text(4.0, "y"), &added).samples.len(), 10);
        assert_eq!(read(&text(4.0, "x"), &Labels::default()).samples.len(), 10);
        assert_eq!(read(&text(4.0, "x").replace("9\"", "7\""), &added).samples.len(), 10);
    }

    #[test]
    fn whole_texts_are_bounded_and_forgotten() {
        let added = Labels::default();
        let push = Push { format: Format::Prometheus, added: &added, t_ms: 7 };
        let mut known = KnownTexts::new(10_000);
        let mut send = |number: usize, now_ms: i64| {
            let line = |i: usize| format!("m{{i=\"{i}\",n=\"{number}\"}} 1\n");
            let text: String = (0..10).map(line).collect();
            let limits = Limits { label_bytes_max: 10_000, ..LIMITS };
            let (pushed, news) = read(text.as_bytes(), push, &limits, &known).unwrap();
            known.learn(news, now_ms);
            let held: usize = known.bodies.bytes();
            assert!(held <= 5_000, "{held}");
            pushed.samples.is_empty()
        };
        // Four times, or more where the series were forgotten in between.
        let mut sent_often = |number: usize, now_ms: i64| {
            assert!((0..8).any(|_| send(number, now_ms)), "{number}");
        };
        (0..30).for_each(|number| sent_often(number, 0));
        assert!(send(29, 0), "the last one is there");
        assert!(!send(0, 0), "the memory was emptied since the first");
        // Forgotten when others came for two rounds, and this one did not.
        for (number, round) in [(40, 1), (41, 2)] {
            (0..8).for_each(|_| _ = send(number, crate::known::FORGET_MS * round));
        }
        assert!(!send(29, crate::known::FORGET_MS * 2));
    }

    /// Line `at` of a text.
    fn line() -> impl Strategy<Value = (String, String)> {
        let series = prop_oneof![
            8 => "a@",
            4 => "b@\\{c=\"[de]?\"\\}",
            1 => "[ab]",
            1 => "[ab] \\{ c=\"d\", e=\"f\" \\}",
            1 => "\\{\"[ab]\"\\}",
            1 => "# TYPE a gauge"
        ];
        let value = prop_oneof![20 => " 1", 9 => " -0.5", 5 => " NaN", 1 => " -0.5 3", 1 => "  1", 5 => " 1e3", 1 => "", 1 => " x"];
        (series, value)
    }

    fn text(lines: &[(String, String)], shift: usize) -> String {
        let line = |(at, (series, _)): (usize, &(String, String))| {
            // The same series with the numbers of other lines.
            let (_, value) = &lines[(at + shift) % lines.len()];
            format!("{}{value}\n", series.replace('@', &at.to_string()))
        };
        lines.iter().enumerate().map(line).collect()
    }

    proptest! {
        #[test]
        fn what_is_known_changes_nothing(
            pushes in proptest::collection::vec(
                (proptest::collection::vec(line(), 0..14), 0usize..3, any::<bool>()), 1..8),
            room in 0usize..20_000,
        ) {
            let mut known = KnownTexts::new(room);
            let added = ["", "1", "2"].map(|value| Labels::from_pairs([("c", value)]));
            for (lines, number, is_open_metrics) in pushes {
                let (end, format) = match is_open_metrics {
                    true => ("# EOF\n", Format::OpenMetrics),
                    false => ("", Format::Prometheus),
                };
                let push = Push { format, added: &added[number], t_ms: 7 };
                let told = |pushed: Result<Pushed>| pushed.map_or_else(|e| vec![e.message().to_owned()], |p| told(&p, 7));
                for shift in [0, 0, 1, 2, 0, 3] {
                    let text = text(&lines, shift) + end;
                    let plain = read(text.as_bytes(), push, &LIMITS, &KnownTexts::new(0)).map(|(pushed, _)| pushed);
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
                if let Ok((pushed, _)) = read(&noise, push, &LIMITS, &KnownTexts::new(1_000)) {
                    prop_assert!(pushed.samples.len() <= LIMITS.text.samples_max);
                }
            }
        }
    }
}

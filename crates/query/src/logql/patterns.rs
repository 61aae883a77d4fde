//! Patterns mined from lines: lines that differ only in numbers, ids and other values are one pattern.
//!
//! A line is split into words and what stands between them. Words with digits are values from the start; then lines of
//! the same shape, which begin with the same word, become one where most of their words agree, and the words that do not
//! are values too (the clustering of Drain, with a table in place of its tree). What comes out can be used behind `|>`.
//! Patterns are mined from the rows when somebody asks: nothing is kept of them in between.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use hashbrown::HashMap;
use model::{Budget, Error, LogPlan, LogSource, Matcher, Order, Result, TimeRange, label_of};
use rustc_hash::FxBuildHasher;

/// How a value is written.
const VALUE: &str = "<_>";
/// What separates words.
const SEPARATORS: &[u8] = b" \t=,:;\"'`{}[]()<>|&?/\\";
/// Words of a line that are looked at; the rest of a longer one is one value. Patterns may have few more captures.
const WORDS_MAX: usize = 60;
/// Bytes of a line that are looked at.
const LINE_BYTES_MAX: usize = 2048;
/// Clusters of lines of one shape; further lines join the most similar one.
const CLUSTERS_PER_SHAPE_MAX: usize = 50;
/// Shapes; lines of further ones are counted as one pattern that says nothing.
const SHAPES_MAX: usize = 2000;
/// Of ten words, so many must agree for lines to be one pattern.
const SIMILAR_TENTHS: usize = 6;

/// A pattern and how often it occurred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinedPattern {
    /// As `|>` takes it.
    pub pattern: String,
    /// Level of its rows; empty when they have none.
    pub level: String,
    /// Start of a step (Unix nanoseconds) and rows within it; steps without are left out.
    pub counts: Vec<(i64, u64)>,
}

impl MinedPattern {
    /// Rows altogether.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

/// The patterns of the rows selected, the most frequent first, counted per step.
///
/// Cost: reads all rows in `range`.
///
/// # Errors
/// As [`LogSource::scan`].
pub fn mine_patterns(
    source: &dyn LogSource,
    matchers: &[Matcher],
    range: TimeRange,
    step_ns: i64,
    budget: &Budget,
) -> Result<Vec<MinedPattern>> {
    let plan = LogPlan {
        matchers: matchers.to_vec(),
        needed_fields: Some(vec!["detected_level".to_owned(), "level".to_owned()]),
        ..LogPlan::all(range, Order::Any)
    };
    let step_ns = step_ns.max(1);
    let mut miner = Miner::default();
    let mut failure: Option<Error> = None;
    source.scan(&plan, budget, &mut |row| {
        let level = match label_of(row.stream, row.fields, "detected_level") {
            "" => label_of(row.stream, row.fields, "level"),
            level => level,
        };
        let is_new = miner.add(row.line, level, row.t_ns.div_euclid(step_ns) * step_ns);
        match if is_new { budget.charge_bytes(row.line.len() as u64 * 4) } else { Ok(()) } {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failure = Some(e);
                ControlFlow::Break(())
            }
        }
    })?;
    match failure {
        Some(e) => Err(e),
        None => Ok(miner.finish()),
    }
}

/// Lines of one shape: the separators of a line and its first word, and the level of its row.
#[derive(Debug, Default)]
struct Miner {
    clusters: HashMap<(String, String), Vec<Cluster>, FxBuildHasher>,
    /// Lines of shapes beyond the bound.
    other: BTreeMap<i64, u64>,
    /// Scratch space.
    shape: String,
}

#[derive(Debug)]
struct Cluster {
    /// `None` for a value.
    words: Vec<Option<String>>,
    separators: Vec<String>,
    counts: BTreeMap<i64, u64>,
}

impl Miner {
    /// Counts a line; whether it begins a pattern.
    fn add(&mut self, line: &str, level: &str, step_ns: i64) -> bool {
        let (words, separators) = split(line);
        self.shape.clear();
        if let Some(first) = words.first().copied().flatten() {
            self.shape.push_str(first);
        }
        for separator in &separators {
            self.shape.push('\n');
            self.shape.push_str(separator);
        }
        let shape = std::mem::take(&mut self.shape);
        let count = self.clusters.len();
        let key = (shape, level.to_owned());
        if count >= SHAPES_MAX && !self.clusters.contains_key(&key) {
            *self.other.entry(step_ns).or_default() += 1;
            self.shape = key.0;
            return false;
        }
        let clusters = self.clusters.entry(key).or_default();
        let best = clusters
            .iter()
            .enumerate()
            .map(|(i, cluster)| (cluster.agreement(&words), i))
            .max_by_key(|(agreement, i)| (*agreement, std::cmp::Reverse(*i)));
        let is_full = clusters.len() >= CLUSTERS_PER_SHAPE_MAX;
        match best.filter(|(a, _)| is_full || a * 10 >= words.len() * SIMILAR_TENTHS) {
            Some((_, i)) => {
                clusters[i].take(&words, step_ns);
                false
            }
            None => {
                clusters.push(Cluster {
                    words: words.iter().map(|w| w.map(str::to_owned)).collect(),
                    separators: separators.into_iter().map(str::to_owned).collect(),
                    counts: BTreeMap::from([(step_ns, 1)]),
                });
                true
            }
        }
    }

    fn finish(self) -> Vec<MinedPattern> {
        let mut merged: BTreeMap<(String, String), BTreeMap<i64, u64>> = BTreeMap::new();
        let mut add = |pattern: String, level: String, counts: BTreeMap<i64, u64>| {
            let all = merged.entry((pattern, level)).or_default();
            counts.into_iter().for_each(|(step, count)| *all.entry(step).or_default() += count);
        };
        // The order in which clusters are added up has no influence.
        let mut clusters: Vec<_> = self.clusters.into_iter().collect();
        clusters.sort_by(|a, b| a.0.cmp(&b.0));
        for ((_, level), clusters) in clusters {
            for cluster in clusters {
                add(cluster.pattern(), level.clone(), cluster.counts);
            }
        }
        if !self.other.is_empty() {
            add(VALUE.to_owned(), String::new(), self.other);
        }
        let mut patterns: Vec<MinedPattern> = merged
            .into_iter()
            .map(|((pattern, level), counts)| MinedPattern {
                pattern,
                level,
                counts: counts.into_iter().collect(),
            })
            .collect();
        patterns.sort_by_key(|p| std::cmp::Reverse(p.total()));
        patterns
    }
}

impl Cluster {
    /// How many words are the same, or values in both.
    fn agreement(&self, words: &[Option<&str>]) -> usize {
        self.words.iter().zip(words).filter(|(own, other)| own.as_deref() == **other).count()
    }

    fn take(&mut self, words: &[Option<&str>], step_ns: i64) {
        for (own, other) in self.words.iter_mut().zip(words) {
            if own.as_deref() != *other {
                *own = None;
            }
        }
        *self.counts.entry(step_ns).or_default() += 1;
    }

    /// Values that only punctuation separates are one.
    fn pattern(&self) -> String {
        let mut out = String::new();
        let mut after_value = false;
        for (i, separator) in self.separators.iter().enumerate() {
            let is_value = self.words.get(i).is_some_and(Option::is_none);
            let joins = !separator.contains([' ', '\t', '=', '"', '{', '}']);
            if !(after_value && is_value && joins) {
                out.push_str(separator);
            }
            match self.words.get(i) {
                Some(Some(word)) => out.push_str(word),
                Some(None) if after_value && joins => {}
                Some(None) => out.push_str(VALUE),
                None => {}
            }
            after_value = is_value;
        }
        out
    }
}

/// Words (`None` for a value) and what stands before each of them and behind the last: one more separator than words.
fn split(line: &str) -> (Vec<Option<&str>>, Vec<&str>) {
    let bytes = line.as_bytes();
    let is_separator = |b: &u8| SEPARATORS.contains(b);
    let (mut words, mut separators) = (Vec::new(), Vec::new());
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let gap = rest.iter().take_while(|b| is_separator(b)).count();
        // Separators are ASCII, so that both ends are character boundaries.
        separators.push(line.get(at..at + gap).unwrap_or(""));
        at += gap;
        let len = bytes[at..].iter().take_while(|b| !is_separator(b)).count();
        if len == 0 {
            return (words, separators);
        }
        if words.len() >= WORDS_MAX || at > LINE_BYTES_MAX {
            words.push(None);
            separators.push("");
            return (words, separators);
        }
        let word = line.get(at..at + len).unwrap_or("");
        let before = separators.last().copied().unwrap_or("");
        // `<name>` would be a capture of another kind.
        let is_capture = before.ends_with('<') && bytes.get(at + len) == Some(&b'>');
        let has_digit = word.bytes().any(|b| b.is_ascii_digit());
        words.push((!has_digit && !is_capture).then_some(word));
        at += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expect: &[(&str, u64)]) {
        let mut miner = Miner::default();
        for line in lines {
            miner.add(line, "", 0);
        }
        let mined = miner.finish();
        let got: Vec<(&str, u64)> = mined.iter().map(|p| (p.pattern.as_str(), p.total())).collect();
        assert_eq!(got, expect);
        for pattern in &mined {
            let matched = lines
                .iter()
                .filter(|line| {
                    let text = serde_json::to_string(&pattern.pattern).unwrap();
                    let query = format!("{{a=\"b\"}} |> {text}");
                    let pipeline = crate::logql::Pipeline::parse(&query).unwrap();
                    let (stream, fields) = Default::default();
                    let row = model::LogRow { stream: &stream, t_ns: 0, line, fields: &fields };
                    pipeline.process(&row).is_some()
                })
                .count();
            assert!(matched as u64 >= pattern.total(), "{pattern:?} matches {matched} lines");
        }
    }

    #[test]
    fn lines_that_differ_in_values_are_one_pattern_that_finds_them() {
        check(
            &[
                "level=info msg=\"request done\" took=20ms user=anna",
                "level=info msg=\"request done\" took=7ms user=bob",
                "level=info msg=\"request done\" took=1ms user=eve",
                "level=warn msg=\"disk is full\" path=/var/lib",
            ],
            &[
                ("level=info msg=\"request done\" took=<_> user=<_>", 3),
                ("level=warn msg=\"disk is full\" path=/var/lib", 1),
            ],
        );
        check(
            &[
                r#"{"t":"2024-05-01T10:00:00Z","msg":"hi","n":1}"#,
                r#"{"t":"2024-05-01T10:00:01Z","msg":"hi","n":22}"#,
            ],
            &[(r#"{"t":"<_>","msg":"hi","n":<_>}"#, 2)],
        );
        check(&["GET /a/1 200", "GET /a/2 404", "é 1"], &[("GET /a/<_> <_>", 2), ("é <_>", 1)]);
    }

    #[test]
    fn counts_are_per_step_and_level() {
        let mut miner = Miner::default();
        for (level, step) in [("info", 0), ("info", 10), ("info", 10), ("warn", 10)] {
            miner.add("user 5 came", level, step);
        }
        let mined = miner.finish();
        assert_eq!(mined.len(), 2);
        assert_eq!(
            (mined[0].level.as_str(), &mined[0].counts[..]),
            ("info", &[(0, 1), (10, 2)][..])
        );
        assert_eq!(mined[1].pattern, "user <_> came");
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_bounded(line in "(\\PC|[ =0-9a\"<>]){0,400}") {
            let (words, separators) = split(&line);
            proptest::prop_assert!(words.len() <= WORDS_MAX + 1);
            proptest::prop_assert_eq!(separators.len(), words.len() + 1);
            let mut miner = Miner::default();
            proptest::prop_assert!(miner.add(&line, "", 0));
            proptest::prop_assert!(!miner.add(&line, "", 0));
        }
    }
}

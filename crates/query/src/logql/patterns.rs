//! Patterns of lines and how often they came: counted by the source, which knows the pattern of every row.
//!
//! Does not own: what the pattern of a line is, which is the source's; queries that name [`PATTERN_LABEL`] are evaluated as any.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use model::{
    Budget, LogAggregation, LogPlan, LogSource, Order, PATTERN_LABEL, Result, StepCounts,
    TimeRange, label_of,
};

use super::pipeline::Selection;
use super::scan::scan;

/// Labels that may say a row's level, the first one that does.
const LEVELS: [&str; 2] = ["detected_level", "level"];

/// A pattern and how often it occurred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternCounts {
    /// As `|>` takes it.
    pub pattern: String,
    /// Level of its rows; empty when they have none, or it was not asked for.
    pub level: String,
    /// When the first and the last of its rows came, Unix nanoseconds.
    pub extent: (i64, i64),
    /// Start of a step (Unix nanoseconds) and rows within it; steps without are left out.
    pub counts: Vec<(i64, u64)>,
}

impl PatternCounts {
    /// Rows altogether.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

/// A pattern, and whether it was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternHistory {
    /// In the range of time asked for; `extent` begins with its first row in the time looked back at.
    pub counts: PatternCounts,
    /// Whether none of its rows came in the time looked back at.
    pub is_new: bool,
}

/// The patterns of the rows selected, by level if `by_level`, counted per step; the most frequent first.
///
/// Steps begin at multiples of `step_ns`. Cost: a pass over a column of numbers, no line is read.
///
/// # Errors
/// As [`LogSource::aggregate`].
pub fn count_patterns(
    source: &dyn LogSource,
    selection: &Selection,
    range: TimeRange,
    (step_ns, by_level): (i64, bool),
    budget: &Budget,
) -> Result<Vec<PatternCounts>> {
    let step_ns = step_ns.max(1);
    if range.start_ns >= range.end_ns {
        return Ok(Vec::new());
    }
    let first_ns = range.start_ns.div_euclid(step_ns).saturating_mul(step_ns);
    let levels: &[&str] = if by_level { &LEVELS } else { &[] };
    let plan = LogPlan {
        matchers: selection.matchers.clone(),
        line_filters: selection.line_filters.clone(),
        label_filters: selection.label_filters.clone(),
        needs_line: false,
        needed_fields: Some(levels.iter().map(|name| (*name).to_owned()).collect()),
        patterns: true,
        ..LogPlan::all(range, Order::Any)
    };
    // A window reaches back from its step, which belongs to it.
    let last_of_first_ns = first_ns.saturating_add(step_ns - 1);
    let steps = range.end_ns.saturating_sub(1).saturating_sub(first_ns) / step_ns;
    let mut by: Vec<String> = levels.iter().map(|name| (*name).to_owned()).collect();
    by.push(PATTERN_LABEL.to_owned());
    by.sort_unstable();
    let aggregation = LogAggregation {
        start_ns: last_of_first_ns,
        end_ns: last_of_first_ns.saturating_add(steps.saturating_mul(step_ns)),
        step_ns,
        window_ns: step_ns,
        bytes: false,
        extents: true,
        by: Some(by),
    };
    let mut found = Found::default();
    match source.aggregate(&plan, &aggregation, budget)? {
        Some(groups) => {
            for StepCounts { labels, counts, extent } in groups {
                let level = levels.iter().find_map(|name| labels.get(name)).unwrap_or("");
                let pattern = labels.get(PATTERN_LABEL).unwrap_or("");
                let steps = counts.iter().zip(0_i64..).filter(|(count, _)| **count > 0);
                let counts =
                    steps.map(|(count, step)| (first_ns.saturating_add(step * step_ns), *count));
                found.add(pattern, level, counts, extent.unwrap_or((range.start_ns, range.end_ns)));
            }
        }
        None => count_rows(source, &plan, step_ns, levels, &mut found, budget)?,
    }
    Ok(found.finish())
}

/// Counts row by row, where a source cannot count by itself.
fn count_rows(
    source: &dyn LogSource,
    plan: &LogPlan,
    step_ns: i64,
    levels: &[&str],
    found: &mut Found,
    budget: &Budget,
) -> Result<()> {
    scan(source, plan, budget, |row| {
        let label = |name: &str| label_of(row.stream, row.fields, name);
        let level = levels.iter().map(|name| label(name)).find(|level| !level.is_empty());
        let step = row.t_ns.div_euclid(step_ns).saturating_mul(step_ns);
        let pattern = row.fields.get(PATTERN_LABEL).unwrap_or("");
        let before = found.bytes;
        found.add(pattern, level.unwrap_or(""), [(step, 1)], (row.t_ns, row.t_ns));
        budget.charge_bytes(found.bytes - before)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

/// The patterns of the rows selected, the most frequent first, and which of them did not come in the `lookback_ns` before
/// `range`.
///
/// # Errors
/// As [`count_patterns`].
pub fn pattern_history(
    source: &dyn LogSource,
    selection: &Selection,
    range: TimeRange,
    step_ns: i64,
    lookback_ns: i64,
    budget: &Budget,
) -> Result<Vec<PatternHistory>> {
    let counted = count_patterns(source, selection, range, (step_ns, false), budget)?;
    let lookback_ns = lookback_ns.max(0);
    let before = TimeRange::new(range.start_ns.saturating_sub(lookback_ns), range.start_ns);
    let known = count_patterns(source, selection, before, (lookback_ns, false), budget)?;
    let known: BTreeMap<&str, i64> =
        known.iter().map(|k| (k.pattern.as_str(), k.extent.0)).collect();
    let history = counted.into_iter().map(|mut counts| {
        let first_ns = known.get(counts.pattern.as_str());
        counts.extent.0 = first_ns.map_or(counts.extent.0, |first| *first);
        PatternHistory { counts, is_new: first_ns.is_none() }
    });
    Ok(history.collect())
}

/// Counts by pattern and level.
#[derive(Default)]
struct Found {
    groups: BTreeMap<(String, String), Group>,
    /// About what they take.
    bytes: u64,
}

#[derive(Default)]
struct Group {
    steps: BTreeMap<i64, u64>,
    extent: Option<(i64, i64)>,
}

impl Found {
    fn add(
        &mut self,
        pattern: &str,
        level: &str,
        counts: impl IntoIterator<Item = (i64, u64)>,
        extent: (i64, i64),
    ) {
        let key = (pattern.to_owned(), level.to_owned());
        let bytes = (pattern.len() + level.len() + size_of::<Group>()) as u64;
        let group = self.groups.entry(key).or_insert_with(|| {
            self.bytes += bytes;
            Group::default()
        });
        for (step, count) in counts {
            *group.steps.entry(step).or_insert_with(|| {
                self.bytes += 32;
                0
            }) += count;
        }
        let (first, last) = group.extent.unwrap_or(extent);
        group.extent = Some((first.min(extent.0), last.max(extent.1)));
    }

    fn finish(self) -> Vec<PatternCounts> {
        let counts = |((pattern, level), group): ((String, String), Group)| PatternCounts {
            pattern,
            level,
            extent: group.extent.unwrap_or_default(),
            counts: group.steps.into_iter().collect(),
        };
        let mut found: Vec<PatternCounts> = self.groups.into_iter().map(counts).collect();
        found.sort_by_key(|p| std::cmp::Reverse(p.total()));
        found
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::logql::tests::table::{Row, Table};

    /// Rows whose pattern is their field.
    fn source(aggregates: bool) -> Table {
        let row = |t_ns: i64, pattern: &str, level: &str| Row {
            stream: Labels::from_pairs([("app", "web")]),
            t_ns,
            line: String::new(),
            fields: Labels::from_pairs([(PATTERN_LABEL, pattern), ("level", level)]),
        };
        let rows = vec![
            row(5, "old <_>", "info"),
            row(101, "old <_>", "info"),
            row(109, "old <_>", "warn"),
            row(110, "new <_>", "warn"),
            row(139, "old <_>", "info"),
            row(140, "behind", "info"),
        ];
        Table { rows, aggregates }
    }

    #[test]
    fn counts_are_per_step_and_level() {
        let selection = Selection::parse("{app=\"web\"}").unwrap();
        let range = TimeRange::new(100, 140);
        for aggregates in [false, true] {
            let source = source(aggregates);
            let budget = Budget::unlimited();
            let got = count_patterns(&source, &selection, range, (10, true), &budget).unwrap();
            let got: Vec<String> =
                got.iter().map(|p| format!("{}, {}: {:?}", p.pattern, p.level, p.counts)).collect();
            let expect = [
                "old <_>, info: [(100, 1), (130, 1)]",
                "new <_>, warn: [(110, 1)]",
                "old <_>, warn: [(100, 1)]",
            ];
            assert_eq!(got, expect, "{aggregates}");
        }
    }

    #[test]
    fn new_is_what_did_not_come_before() {
        let selection = Selection::parse("{app=\"web\"}").unwrap();
        let range = TimeRange::new(100, 140);
        let check = |lookback_ns: i64, expect: &[&str]| {
            let source = source(true);
            let budget = Budget::unlimited();
            let got = pattern_history(&source, &selection, range, 10, lookback_ns, &budget);
            let got: Vec<String> = got
                .unwrap()
                .iter()
                .map(|PatternHistory { counts, is_new }| {
                    let (first, last) = counts.extent;
                    let new = if *is_new { "new" } else { "known" };
                    format!("{} {} {new} {first} to {last}", counts.pattern, counts.total())
                })
                .collect();
            assert_eq!(got, expect, "{lookback_ns}");
        };
        check(100, &["old <_> 3 known 5 to 139", "new <_> 1 new 110 to 110"]);
        let both_new = ["old <_> 3 new 101 to 139", "new <_> 1 new 110 to 110"];
        check(50, &both_new);
        check(0, &both_new);
    }
}

//! Patterns of rows are those of a naive miner, wherever the rows are, and stay through merges, restarts and deletions.

use std::collections::BTreeMap;

use model::{LogAggregation, LogDeletion, MatchOp, Matcher, PATTERN_LABEL};

use super::*;
use crate::patterns;

/// What a row's pattern is called, without anything that a block knows.
fn name(store: &Store, line: &str) -> String {
    let known = Arc::clone(&store.shared.view.read().known);
    known.resolve(&patterns::of_line(line)).into_owned()
}

/// Every way to ask for patterns says what the naive miner says of `all`, which are the rows there are.
pub(super) fn check_patterns(store: &Store, all: &[LogRecord]) {
    // Whoever asks for patterns has those of rows not sealed yet compared; from then on they stay.
    drop(rows(store, &LogPlan { patterns: true, ..LogPlan::all(TimeRange::ALL, Order::Any) }));
    let names: Vec<String> = all.iter().map(|row| name(store, &row.line)).collect();
    let key = |row: &LogRecord| (row.t_ns, row.stream.clone(), row.line.clone());
    let mut expect: Vec<_> = all.iter().zip(&names).map(|(r, name)| (key(r), name)).collect();
    expect.sort();
    for order in [Order::Any, Order::Forward, Order::Backward] {
        let plan = LogPlan { patterns: true, ..LogPlan::all(TimeRange::ALL, order) };
        let got = rows(store, &plan);
        let field = |row: &LogRecord| row.fields.get(PATTERN_LABEL).unwrap_or("").to_owned();
        let mut got: Vec<_> = got.iter().map(|row| (key(row), field(row))).collect();
        got.sort();
        assert_eq!(got.len(), expect.len());
        for (got, expect) in got.iter().zip(&expect) {
            assert_eq!((&got.0, &got.1), (&expect.0, expect.1));
        }
    }
    let some = names.first().cloned().unwrap_or_default();
    for matcher in [
        Matcher::equal(PATTERN_LABEL, some.clone()),
        Matcher::new(MatchOp::NotEqual, PATTERN_LABEL, some).unwrap(),
        Matcher::new(MatchOp::Regex, PATTERN_LABEL, ".*user <_>.*|").unwrap(),
        Matcher::equal(PATTERN_LABEL, "none such"),
    ] {
        let plan = LogPlan {
            label_filters: vec![matcher.clone()],
            ..LogPlan::all(TimeRange::ALL, Order::Any)
        };
        let count = names.iter().filter(|name| matcher.matches(name)).count();
        assert_eq!(rows(store, &plan).len(), count, "{matcher}");
    }
    for by in [vec![PATTERN_LABEL], vec![PATTERN_LABEL, "level"]] {
        for step_ns in [7_000_000_000, 90_000_000_000] {
            check_counts(store, all, &names, &by, step_ns);
        }
    }
}

fn check_counts(store: &Store, all: &[LogRecord], names: &[String], by: &[&str], step_ns: i64) {
    let (Some(start_ns), Some(end_ns)) =
        (all.iter().map(|r| r.t_ns).min(), all.iter().map(|r| r.t_ns).max())
    else {
        return;
    };
    let aggregation = LogAggregation {
        start_ns,
        end_ns: start_ns + (end_ns - start_ns) / step_ns * step_ns + step_ns,
        step_ns,
        window_ns: step_ns,
        bytes: false,
        extents: true,
        by: Some(by.iter().map(|name| (*name).to_owned()).collect()),
    };
    let mut expect: BTreeMap<Labels, (Vec<u64>, (i64, i64))> = BTreeMap::new();
    let steps = ((aggregation.end_ns - start_ns) / step_ns + 1) as usize;
    for (row, name) in all.iter().zip(names) {
        let value = |label: &str| match label {
            PATTERN_LABEL => name.clone(),
            label => model::label_of(&row.stream, &row.fields, label).to_owned(),
        };
        let values: Vec<String> = by.iter().map(|label| value(label)).collect();
        let pairs = by.iter().zip(&values).map(|(label, value)| (*label, value.as_str()));
        let (counts, extent) = expect
            .entry(Labels::from_pairs(pairs))
            .or_insert_with(|| (vec![0; steps], (i64::MAX, i64::MIN)));
        let step = ((row.t_ns - start_ns) as usize).div_ceil(step_ns as usize);
        counts[step] += 1;
        *extent = (extent.0.min(row.t_ns), extent.1.max(row.t_ns));
    }
    let plan = LogPlan::all(TimeRange::ALL, Order::Any);
    let got = store.aggregate(&plan, &aggregation, &Budget::unlimited()).unwrap().unwrap();
    let got: BTreeMap<Labels, (Vec<u64>, (i64, i64))> =
        got.into_iter().map(|s| (s.labels, (s.counts, s.extent.unwrap()))).collect();
    assert_eq!(got, expect);
}

const NAMES: [&str; 14] = [
    "ann", "bob", "cem", "dan", "eve", "fay", "gus", "hal", "ida", "jim", "kay", "lea", "max",
    "nia",
];

fn people(count: usize, from: usize) -> Vec<LogRecord> {
    let stream = Labels::from_pairs([("app", "door")]);
    let line = |i: usize| {
        let name = NAMES[(i / 3 + from) % NAMES.len()];
        match i % 3 {
            0 => format!("user {name} logged in from 10.0.0.{i}"),
            1 => format!("{{\"level\":\"info\",\"msg\":\"door {i} opened by {name}\",\"n\":{i}}}"),
            _ => format!("level=info msg=\"{name} left\" door={i}"),
        }
    };
    let at = |i: usize| (MAY_MS + (from * 100 + i) as i64) * 1_000_000;
    (0..count).map(|i| record(&stream, at(i), line(i))).collect()
}

#[test]
fn words_that_vary_are_one_pattern_through_merges_restarts_and_deletions() {
    let rig = Rig::new();
    let store = rig.open();
    // Too few names in the first part for anybody to know that they vary.
    let mut all = people(20, 0);
    append(&store, batch("s", all.clone(), None)).unwrap();
    store.flush().unwrap();
    check_patterns(&store, &all);
    assert_eq!(name(&store, &all[0].line), "user ann logged in from <_>");
    let more = people(60, 20);
    append(&store, batch("s", more.clone(), None)).unwrap();
    all.extend(more);
    check_patterns(&store, &all);
    assert_eq!(name(&store, &all[0].line), "user <_> logged in from <_>");
    store.flush().unwrap();
    let expect = [
        "user <_> logged in from <_>",
        "<_>\"msg\":\"door <_> opened by <_>\"<_>",
        "level=info msg=\"<_> left\" door=<_>",
    ];
    let check = |store: &Store, all: &[LogRecord]| {
        check_patterns(store, all);
        for (row, expect) in all.iter().zip(expect) {
            assert_eq!(name(store, &row.line), expect);
        }
    };
    check(&store, &all);
    store.close().unwrap();
    let store = rig.open();
    check(&store, &all);
    let deletion = LogDeletion {
        id: "1".to_owned(),
        query: "{app=\"door\"} |= \"left\"".to_owned(),
        matchers: vec![Matcher::equal("app", "door")],
        line_filters: vec![
            model::LineFilter::new(model::LineFilterOp::Contains, vec!["left".to_owned()]).unwrap(),
        ],
        range: TimeRange::ALL,
        created_ms: MAY_MS,
        done: false,
    };
    store.delete(deletion).unwrap();
    all.retain(|row| !row.line.contains("left"));
    check_patterns(&store, &all);
    rig.clock.advance_ms(3 * DAY_MS);
    store.merge().unwrap();
    check_patterns(&store, &all);
    store.close().unwrap();
    let store = rig.open();
    check_patterns(&store, &all);
    assert_eq!(store.stats().parts, 1);
}

//! Every answer equals that of a plain list of rows, wherever the rows are.

use std::collections::HashSet;
use std::path::Path;

use model::{
    ErrorKind, Limits, LineFilter, LineFilterOp, LogAggregation, LogDeletion, LogDemand, MatchOp,
    Matcher, RejectReason, label_of,
};
use storage::writer::WriterState;

use super::*;

fn filter(op: LineFilterOp, patterns: &[&str]) -> LineFilter {
    let regexes = match op {
        LineFilterOp::Regex | LineFilterOp::NotRegex => {
            patterns.iter().map(|p| regex::Regex::new(p).unwrap()).collect()
        }
        _ => Vec::new(),
    };
    LineFilter { op, patterns: patterns.iter().map(|p| (*p).to_owned()).collect(), regexes }
}

fn naive(all: &[LogRecord], plan: &LogPlan) -> Vec<LogRecord> {
    let mut rows: Vec<LogRecord> = all
        .iter()
        .filter(|r| {
            plan.matchers.iter().all(|m| m.matches_labels(&r.stream))
                && plan.range.contains(r.t_ns)
                && plan.line_filters.iter().all(|f| f.matches(&r.line))
                && plan.demands.iter().all(|d| {
                    let LogRecord { stream, t_ns, line, fields } = r;
                    d.matches(&model::LogRow { stream, t_ns: *t_ns, line, fields })
                })
                && plan
                    .label_filters
                    .iter()
                    .all(|m| m.matches(label_of(&r.stream, &r.fields, m.name())))
        })
        .cloned()
        .collect();
    rows.sort_by_key(|r| r.t_ns);
    if plan.order == Order::Backward {
        rows.reverse();
    }
    rows
}

/// Same rows; per stream in the same order. Rows of equal time of different streams may come in any order.
fn assert_same(got: &[LogRecord], expect: &[LogRecord], plan: &LogPlan) {
    assert_eq!(got.len(), expect.len(), "{plan:?}");
    let by_stream = |rows: &[LogRecord]| {
        let mut rows = rows.to_vec();
        if plan.order == Order::Any {
            rows.sort_by(|a, b| (&a.stream, a.t_ns, &a.line).cmp(&(&b.stream, b.t_ns, &b.line)));
        } else {
            rows.sort_by(|a, b| a.stream.cmp(&b.stream));
        }
        rows
    };
    assert!(by_stream(got) == by_stream(expect), "{plan:?}");
    if plan.order != Order::Any {
        let times = |rows: &[LogRecord]| rows.iter().map(|r| r.t_ns).collect::<Vec<_>>();
        assert_eq!(times(got), times(expect), "{plan:?}");
    }
}

fn made_rows(count: u64, random: &mut Random) -> Vec<LogRecord> {
    let streams: Vec<Labels> = (0..5)
        .map(|i| Labels::from_pairs([("app", ["web", "db"][i % 2]), ("pod", &format!("p{i}"))]))
        .collect();
    // Rows that are equal in everything are stored once (`repeats`): here all differ.
    let mut seen = HashSet::new();
    (0..count)
        .map(|i| {
            let stream = &streams[(random.below(25) as f64).sqrt() as usize];
            // Mostly ascending, some late, many equal.
            let late = if random.below(20) == 0 { random.below(DAY_MS as u64) as i64 } else { 0 };
            let t_ns = (MAY_MS + DAY_MS / 4 + (i / 3) as i64 * 100 - late) * 1_000_000;
            let n = random.below(1000);
            let line = match random.below(4) {
                0 => format!(
                    r#"{{"level":"{}","n":{n},"msg":"user {} did {n}"}}"#,
                    ["info", "error"][usize::from(n.is_multiple_of(7))],
                    i % 50
                ),
                1 => format!("GET /api/v1/item/{n} 200 {}ms", n * 3),
                2 => format!(
                    "level=warn msg=\"slow query\" took={n}ms id={:016x}",
                    n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
                ),
                _ if n.is_multiple_of(9) => format!("tas\u{212a} {n} ").repeat(n as usize % 4),
                _ if n.is_multiple_of(11) => {
                    model::text_of_bytes(b"bytes \xff\x00 77").into_owned()
                }
                _ => "plain line, the same".to_owned(),
            };
            let fields = match n % 4 {
                0 => {
                    Labels::from_pairs([("trace_id", format!("t{i}").as_str()), ("level", "info")])
                }
                1 => Labels::from_pairs([("level", "error")]),
                _ => Labels::default(),
            };
            let mut record = LogRecord { stream: stream.clone(), t_ns, line, fields };
            let key = |r: &LogRecord| (r.stream.clone(), r.t_ns, r.line.clone(), r.fields.clone());
            while !seen.insert(key(&record)) {
                record.t_ns += 1;
            }
            record
        })
        .collect()
}

fn made_plans(random: &mut Random, order: Order) -> Vec<LogPlan> {
    use LineFilterOp::{Contains, NotContains, NotRegex, Regex};
    let at = |ms: i64| (MAY_MS + DAY_MS / 4 + ms) * 1_000_000;
    let matchers = [
        vec![],
        vec![Matcher::equal("app", "web")],
        vec![Matcher::new(MatchOp::Regex, "pod", "p[23]").unwrap()],
        vec![Matcher::equal("app", "none")],
    ];
    let filters = [
        vec![],
        vec![filter(Contains, &["error"])],
        vec![filter(Contains, &["\"level\":\"error\""]), filter(NotContains, &["user 1"])],
        vec![filter(Contains, &["took=77ms", "/item/77 "])],
        vec![filter(Regex, &["did [0-9]*7\"", "item/1."])],
        vec![filter(NotRegex, &["plain"]), filter(NotContains, &["GET", "msg=\"slow"])],
        vec![filter(Contains, &[" never there "])],
        vec![filter(Contains, &[""])],
        vec![filter(Regex, &["warn|user 7 |/item/1", "same$"])],
        vec![filter(NotRegex, &["info|200"])],
        // Over the borders of slots: whole ones, from one into the next, at the ends of lines.
        vec![filter(Contains, &[",\"msg\":\"user 1", "did 7\"}"])],
        vec![filter(
            Contains,
            &["{\"level\":\"info\",\"n\":77,\"msg\":\"user 7 did 77\"}", "/7 200 2"],
        )],
        vec![filter(Contains, &["\"", "{"]), filter(NotContains, &["77"])],
        vec![filter(Contains, &["7"]), filter(Contains, &["1 "])],
        vec![filter(Contains, &["ms id=", "=warn msg=\"slow query\" took="])],
        vec![filter(Contains, &["id=0", "9e37", "f"])],
        vec![filter(Contains, &[&model::text_of_bytes(b"\xff\x00"), "\u{20ac}"])],
        vec![filter(NotContains, &[""])],
        vec![filter(Regex, &["(?i)LEVEL"]), filter(NotRegex, &["(?i)ERROR|took=[0-9]7"])],
        vec![filter(Regex, &["(?i)sLOW q", ".*user 4.*"])],
        vec![filter(Regex, &["^GET /api", "took=[0-9]+ms id=[0-9a-f]{3}7"])],
        vec![filter(NotRegex, &["(user|item).[0-9]+7", "same$"])],
        vec![filter(Regex, &["(?i)k"])],
        // Ids by themselves: one that is there, others that are not, and the beginning of one.
        vec![filter(Contains, &["9e3779b97f4a7c15", "daa66d2c7ddf743f"])],
        vec![filter(Contains, &["0123456789abcdef0123456789abcdef"])],
        vec![filter(Contains, &["plain_line_the_same"])],
    ];
    let label_filters = [
        vec![],
        vec![],
        vec![Matcher::equal("level", "error")],
        vec![Matcher::new(MatchOp::NotEqual, "level", "error").unwrap()],
        vec![
            Matcher::new(MatchOp::Regex, "trace_id", "t1.*|").unwrap(),
            Matcher::equal("pod", "p3"),
        ],
        vec![Matcher::equal("app", "")],
        vec![Matcher::equal("trace_id", "t40")],
        vec![Matcher::new(MatchOp::NotEqual, "trace_id", "t40").unwrap()],
        vec![
            Matcher::new(MatchOp::NotRegex, "level", "err.*").unwrap(),
            Matcher::new(MatchOp::NotEqual, "trace_id", "").unwrap(),
        ],
        vec![Matcher::equal("level", "nothing")],
    ];
    let ranges = [
        TimeRange::ALL,
        TimeRange::new(at(2_000), at(9_000)),
        TimeRange::new(at(-DAY_MS), at(0)),
        TimeRange::new(at(5_000), at(5_001)),
    ];
    let demand = |name: &str, value: &str| LogDemand {
        label: Matcher::equal(name, value),
        texts: vec![value.to_owned(), "\\".to_owned()],
    };
    let demands = [
        vec![],
        vec![],
        vec![demand("level", "error")],
        vec![demand("pod", "p3"), demand("level", "info")],
        vec![demand("who", "user 7 ")],
    ];
    (0..24)
        .map(|_| LogPlan {
            demands: demands[random.below(demands.len() as u64) as usize].clone(),
            matchers: matchers[random.below(4) as usize].clone(),
            line_filters: filters[random.below(filters.len() as u64) as usize].clone(),
            label_filters: label_filters[random.below(label_filters.len() as u64) as usize].clone(),
            ..LogPlan::all(ranges[random.below(4) as usize], order)
        })
        .collect()
}

fn check_all(store: &Store, all: &[LogRecord], random: &mut Random) {
    super::patterns::check_patterns(store, all);
    for order in [Order::Any, Order::Forward, Order::Backward] {
        for mut plan in made_plans(random, order) {
            let expect = naive(all, &plan);
            assert_same(&rows(store, &plan), &expect, &plan);
            let limit = 1 + random.below(300) as usize;
            plan.limit = Some(limit);
            let got = rows(store, &plan);
            assert_eq!(got.len(), expect.len().min(limit));
            if order != Order::Any {
                let times = |rows: &[LogRecord]| rows.iter().map(|r| r.t_ns).collect::<Vec<_>>();
                assert_eq!(times(&got), times(&expect[..got.len()]), "{plan:?}");
            }
            check_aggregate(store, &expect, &plan, random);
        }
    }
    for range in [TimeRange::ALL, TimeRange::new(i64::MIN, all[0].t_ns)] {
        let mut expect: Vec<Labels> = all
            .iter()
            .filter(|r| range.contains(r.t_ns) && r.stream.get("app") == Some("web"))
            .map(|r| r.stream.clone())
            .collect();
        expect.sort_unstable();
        expect.dedup();
        let selectors = [vec![Matcher::equal("app", "web")]];
        assert_eq!(store.streams(&selectors, range, &Budget::unlimited()).unwrap(), expect);
    }
}

fn check_aggregate(store: &Store, expect: &[LogRecord], plan: &LogPlan, random: &mut Random) {
    let start_ns = (MAY_MS + DAY_MS / 4 + random.below(5_000) as i64) * 1_000_000;
    let step_ns = (1 + random.below(4_000) as i64) * 1_000_000;
    let aggregation = LogAggregation {
        start_ns,
        end_ns: start_ns + 20_000_000_000,
        step_ns,
        window_ns: if random.below(2) == 0 {
            step_ns
        } else {
            1 + random.below(9_000_000_000) as i64
        },
        bytes: random.below(2) == 0,
        extents: false,
        by: [
            None,
            Some(vec![]),
            Some(vec!["level"]),
            Some(vec!["app", "level"]),
            Some(vec!["pod"]),
        ][random.below(5) as usize]
            .clone()
            .map(|names| names.into_iter().map(str::to_owned).collect()),
    };
    let group = |r: &LogRecord| match &aggregation.by {
        None => r.stream.clone(),
        Some(names) => Labels::from_pairs(
            names.iter().map(|n| (n.as_str(), label_of(&r.stream, &r.fields, n))),
        ),
    };
    let got = store.aggregate(plan, &aggregation, &Budget::unlimited()).unwrap().unwrap();
    let mut streams: Vec<Labels> = expect.iter().map(group).collect();
    streams.sort_unstable();
    streams.dedup();
    let mut want: Vec<(Labels, Vec<u64>)> = Vec::new();
    for stream in streams {
        let mut counts = Vec::new();
        let mut t = start_ns;
        while t <= aggregation.end_ns {
            let inside = expect.iter().filter(|r| {
                group(r) == stream && r.t_ns > t - aggregation.window_ns && r.t_ns <= t
            });
            counts.push(
                inside.map(|r| if aggregation.bytes { r.line.len() as u64 } else { 1 }).sum(),
            );
            t += step_ns;
        }
        if counts.iter().any(|c| *c > 0) {
            want.push((stream, counts));
        }
    }
    let got: Vec<(Labels, Vec<u64>)> = got.into_iter().map(|s| (s.labels, s.counts)).collect();
    assert_eq!(got, want, "{plan:?} {aggregation:?}");
}

#[test]
fn answers_are_those_of_a_plain_list_wherever_rows_are() {
    let mut random = Random(7);
    let mut rig = Rig::new();
    rig.config.head_bytes_max = 1 << 20;
    let store = rig.open();
    let all = made_rows(3_000, &mut random);
    for (i, chunk) in all.chunks(61).enumerate() {
        let receipt = append(&store, batch("s", chunk.to_vec(), None)).unwrap();
        assert_eq!(receipt, Receipt { stored: chunk.len() as u64, rejected: Vec::new() });
        if i % 9 == 8 {
            store.flush().unwrap();
        }
        if i == 24 {
            check_all(&store, &all[..25 * 61], &mut random);
        }
    }
    assert!(store.stats().rows_head > 0 && store.stats().parts > 3);
    check_all(&store, &all, &mut random);
    store.flush().unwrap();
    assert!(rig.config.head_bytes_max > 0 && store.stats().rows_head == 0);
    drop(store);
    let store = rig.open();
    check_all(&store, &all, &mut random);
    rig.clock.advance_ms(2 * DAY_MS);
    assert!(store.merge().unwrap() > 0);
    assert_eq!(store.stats().parts, 2, "one per day");
    check_all(&store, &all, &mut random);
}

#[test]
fn sealed_blocks_in_memory_are_searched_too() {
    let mut random = Random(11);
    let mut rig = Rig::new();
    // Sealed after half of this, flushed only when compressed blocks reach it.
    rig.config.head_bytes_max = 200_000;
    let store = rig.open();
    let all = made_rows(4_000, &mut random);
    for chunk in all.chunks(100) {
        append(&store, batch("s", chunk.to_vec(), None)).unwrap();
    }
    assert!(!store.shared.snapshot().sealed.is_empty());
    check_all(&store, &all, &mut random);
}

#[test]
fn unusable_rows_are_refused_and_counted() {
    let mut rig = Rig::new();
    rig.config.streams_max = 2;
    rig.config.line_bytes_max = 10;
    let store = rig.open();
    let stream = |i: u32| Labels::from_pairs([("n", i.to_string().as_str())]);
    let now = (MAY_MS + DAY_MS / 2) * 1_000_000;
    let day = DAY_MS * 1_000_000;
    let records = vec![
        record(&stream(1), now, "ok"),
        record(&stream(1), now - 31 * day, "old"),
        record(&stream(1), now + day, "new"),
        record(&stream(2), now - 29 * day, "0123456789€"),
        record(&stream(3), now, "one stream too many"),
        record(&stream(1), now + 1, model::text_of_bytes(b"\xff is kept")),
        record(&stream(1), now + 2, model::text_of_bytes(b"\xff is too long")),
        // Cut before: the mark does not count for the length.
        record(&stream(1), now + 3, "0123456789…[truncated 5 bytes]"),
        record(&stream(1), now + 4, "0123456789abc…[truncated 5 bytes]"),
        record(&stream(1), now + 5, "0123456789abc…[truncated]"),
        record(&stream(1), now + 6, "0123456789abc…[truncated x]"),
    ];
    let receipt = append(&store, batch("s", records, Some("c"))).unwrap();
    assert_eq!(receipt.stored, 8);
    let reasons = [RejectReason::TooOld, RejectReason::TooNew, RejectReason::SeriesLimit];
    assert_eq!(receipt.rejected, reasons.map(|r| (r, 1)));
    let lines: Vec<String> =
        rows(&store, &plan(Order::Forward)).into_iter().map(|r| r.line).collect();
    assert_eq!(lines[..2], ["0123456789…[truncated 3 bytes]", "ok"]);
    // The limit is of the line's bytes, not of the text that stands for them.
    assert_eq!(*model::bytes_of_text(&lines[2]), b"\xff is kept"[..]);
    let marked = "…[truncated 3 bytes]".as_bytes();
    assert_eq!(*model::bytes_of_text(&lines[3]), [&b"\xff is too l"[..], marked].concat()[..]);
    let cut = ["…[truncated 5 bytes]", "…[truncated 8 bytes]", "…[truncated]"];
    assert_eq!(lines[4..7], cut.map(|mark| format!("0123456789{mark}")));
    assert_eq!(lines[7], "0123456789…[truncated 19 bytes]");
    assert_eq!(store.cursor("s"), Some(b"c".to_vec()));
    assert_eq!((store.stats().truncated_lines, store.stats().streams), (6, 2));
}

#[test]
fn retention_and_disk_limit_remove_the_oldest() {
    let rig = Rig::new();
    let store = rig.open();
    let stream = Labels::from_pairs([("a", "b")]);
    for day in 0..5 {
        let t_ns = (MAY_MS - day * DAY_MS) * 1_000_000;
        append(&store, batch("s", vec![record(&stream, t_ns, format!("day {day}"))], None))
            .unwrap();
        store.flush().unwrap();
    }
    assert_eq!(store.stats().parts, 5);
    let freed = store.enforce_disk(1).unwrap();
    assert!(freed > 0);
    let lines = |store: &Store| {
        rows(store, &plan(Order::Forward)).into_iter().map(|r| r.line).collect::<Vec<_>>()
    };
    assert_eq!(lines(&store), ["day 3", "day 2", "day 1", "day 0"]);
    rig.clock.advance_ms(28 * DAY_MS);
    store.flush().unwrap();
    assert_eq!(lines(&store), ["day 1", "day 0"]);
    drop(store);
    let store = rig.open();
    assert_eq!(lines(&store), ["day 1", "day 0"]);
    assert!(store.enforce_disk(u64::MAX).unwrap() > 0);
    assert_eq!((lines(&store).len(), store.stats().streams), (0, 0));
}

#[test]
fn merges_leave_parts_that_are_small_pieces_of_the_disk_limit() {
    let mut rig = Rig::new();
    let stream = Labels::from_pairs([("a", "b")]);
    let mut random = Random(7);
    let mut fill = |store: &Store| {
        for part in 0..20_i64 {
            let one = |i: i64| {
                let text =
                    format!("{:016x}{:016x}", random.below(u64::MAX), random.below(u64::MAX));
                record(&stream, (MAY_MS + part * 1_000 + i) * 1_000_000, text)
            };
            let rows = (0..[200, 20, 20][part as usize % 3]).map(one).collect();
            append(store, batch("s", rows, None)).unwrap();
            store.flush().unwrap();
        }
    };
    rig.config.part_bytes_max = 20_000;
    let store = rig.open();
    fill(&store);
    rig.clock.advance_ms(2 * DAY_MS);
    let before = (rows(&store, &plan(Order::Forward)), store.stats().parts);
    assert!(store.merge().unwrap() > 0);
    assert_eq!(rows(&store, &plan(Order::Forward)), before.0);
    let sizes: Vec<u64> = store.shared.snapshot().parts.iter().map(|part| part.bytes).collect();
    assert!(sizes.len() < 9 && sizes.iter().all(|bytes| *bytes <= 20_000), "{sizes:?}");
    assert!(sizes.iter().filter(|bytes| **bytes <= 10_000).count() <= 1, "{sizes:?}");
    assert!((1..=20_000).contains(&store.enforce_disk(1).unwrap()));
}

fn part_files(rig: &Rig) -> Vec<std::path::PathBuf> {
    let dir = Path::new("/logs/parts");
    let entries = rig.fs.list(dir).unwrap();
    entries.iter().filter(|e| e.name.ends_with(".part")).map(|e| dir.join(&e.name)).collect()
}

#[test]
fn damage_is_set_aside_and_the_rest_served() {
    let rig = Rig::new();
    let store = rig.open();
    let stream = Labels::from_pairs([("a", "b")]);
    for i in 0..3 {
        let line = format!("line {i} {}", "x".repeat(40));
        append(&store, batch("s", vec![record(&stream, MAY_MS * 1_000_000 + i, line)], None))
            .unwrap();
        store.flush().unwrap();
    }
    let files = part_files(&rig);
    // Damage in a block shows when it is read.
    rig.fs.flip_bit(&files[1], 8 * 20).unwrap();
    let mut seen = Vec::new();
    let scan = |seen: &mut Vec<i64>| {
        store
            .scan(&plan(Order::Backward), &Budget::unlimited(), &mut |row| {
                seen.push(row.t_ns - MAY_MS * 1_000_000);
                ControlFlow::Continue(())
            })
            .unwrap()
    };
    for _ in 0..2 {
        seen.clear();
        let warnings = scan(&mut seen);
        assert_eq!(seen, [2, 0]);
        assert!(warnings.len() == 1 && warnings[0].contains("damaged"), "{warnings:?}");
    }
    assert_eq!(store.stats().quarantined, 1);
    rig.clock.advance_ms(3 * DAY_MS);
    store.merge().unwrap();
    drop(store);
    // Damage in the footer shows when opening.
    let file = part_files(&rig).pop().unwrap();
    let len = rig.fs.read(&file).unwrap().len() as u64;
    rig.fs.flip_bit(&file, (len - 10) * 8).unwrap();
    let (store, report) = rig.try_open().unwrap();
    assert_eq!((report.quarantined, report.warnings.len()), (1, 1), "{report:?}");
    assert_eq!(store.stats().quarantined, 1);
    drop(store);
    let names = rig.fs.list(Path::new("/logs/parts")).unwrap();
    assert_eq!(names.iter().filter(|e| e.name.ends_with(".corrupt")).count(), 1);
    assert_eq!(rig.try_open().unwrap().1.warnings, Vec::<String>::new());
}

#[test]
fn budgets_and_a_full_disk_are_respected() {
    let rig = Rig::new();
    let store = rig.open();
    let mut random = Random(3);
    append(&store, batch("s", made_rows(2_000, &mut random), None)).unwrap();
    store.flush().unwrap();
    let limits = Limits { samples_max: 1_000, bytes_max: u64::MAX, time_ms_max: 1_000_000 };
    let budget = Budget::new(Arc::clone(&rig.clock) as _, limits);
    let outcome = store.scan(&plan(Order::Any), &budget, &mut |_| ControlFlow::Continue(()));
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Limit);
    let budget = Budget::unlimited();
    budget.cancel();
    let outcome = store.scan(&plan(Order::Forward), &budget, &mut |_| ControlFlow::Continue(()));
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);

    rig.fs.set_capacity(Some(1));
    let refused = append(&store, batch("s", made_rows(2_000, &mut random), Some("x"))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    assert!(matches!(store.stats().state, WriterState::DiskFull { .. }));
    assert_eq!(rows(&store, &plan(Order::Any)).len(), 2_000);
    assert_eq!(store.cursor("s"), None);
    rig.fs.set_capacity(None);
    store.flush().unwrap();
    append(&store, batch("s", made_rows(10, &mut random), None)).unwrap();
    assert_eq!(rows(&store, &plan(Order::Any)).len(), 2_010);
}

#[test]
fn a_limited_scan_does_not_read_it_all() {
    let rig = Rig::new();
    let store = rig.open();
    let stream = Labels::from_pairs([("a", "b")]);
    for part in 0..6_i64 {
        let records = (0..500)
            .map(|i| {
                record(&stream, MAY_MS * 1_000_000 + part * 1_000 + i, format!("row {part} {i}"))
            })
            .collect();
        append(&store, batch("s", records, None)).unwrap();
        store.flush().unwrap();
    }
    let mut plan = plan(Order::Backward);
    plan.limit = Some(10);
    let budget = Budget::unlimited();
    let mut count = 0;
    store
        .scan(&plan, &budget, &mut |_| {
            count += 1;
            if count == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(budget.samples(), 500, "one block of six");
}

#[test]
fn small_parts_are_merged_in_the_background() {
    let mut rig = Rig::new();
    rig.config.background_merge = true;
    let store = rig.open();
    let mut random = Random(5);
    let all = made_rows(900, &mut random);
    for chunk in all.chunks(30) {
        append(&store, batch("s", chunk.to_vec(), None)).unwrap();
        store.flush().unwrap();
    }
    // Whatever the other thread has not done yet is done here.
    store.merge().unwrap();
    assert!(store.stats().parts < 16, "{} parts of 2 days", store.stats().parts);
    check_all(&store, &all, &mut random);
    store.close().unwrap();
    assert_eq!(rows(&store, &plan(Order::Any)).len(), 900, "a closed store still answers");
    assert_eq!(append(&store, batch("s", Vec::new(), None)).unwrap_err().kind(), ErrorKind::Busy);
    drop(store);
    check_all(&rig.open(), &all, &mut random);
}

/// Lines of real programs, where the data is at hand.
#[test]
fn real_lines_come_back_byte_for_byte() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    let mut files = Vec::new();
    for dir in ["logs", "docker-json-logs", "logs-zeek-json", "logs-windows-json", "loki"] {
        collect_files(&root.join(dir), &mut files);
    }
    if files.is_empty() {
        println!("skipped: no log files under {}", root.display());
        return;
    }
    files.sort();
    let mut rig = Rig::new();
    rig.config.streams_max = 1_000;
    let store = rig.open();
    let mut all = Vec::new();
    for (i, file) in files.iter().enumerate() {
        let Some(text) = read_text(file) else { continue };
        let stream = Labels::from_pairs([("file", i.to_string().as_str())]);
        let lines = text.lines().take(400).filter(|l| l.len() < 100_000);
        let records: Vec<LogRecord> = lines
            .enumerate()
            .map(|(n, line)| record(&stream, (MAY_MS + n as i64) * 1_000_000 + i as i64, line))
            .collect();
        all.extend(records.iter().cloned());
        assert_eq!(append(&store, batch("s", records, None)).unwrap().rejected, []);
    }
    store.flush().unwrap();
    let mut checked = plan(Order::Forward);
    assert_same(&rows(&store, &checked), &naive(&all, &checked), &checked);
    for needle in ["error", "\"id\":", " 200 ", "127.0.0.1", "\"", "[", "GET /"] {
        checked.line_filters = vec![filter(LineFilterOp::Contains, &[needle])];
        assert_same(&rows(&store, &checked), &naive(&all, &checked), &checked);
    }
    let stats = store.stats();
    println!(
        "{} real lines, {:.1} times smaller",
        all.len(),
        stats.part_raw_bytes as f64 / stats.part_bytes as f64
    );
}

fn collect_files(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_files(&path, files);
        } else if files.len() < 120 {
            files.push(path);
        }
    }
}

fn read_text(file: &Path) -> Option<String> {
    use std::io::Read;
    let bytes = std::fs::read(file).ok()?;
    let mut plain = Vec::new();
    let is_gzip = bytes.starts_with(&[0x1f, 0x8b]);
    if is_gzip {
        flate2::read::MultiGzDecoder::new(&bytes[..]).take(1 << 20).read_to_end(&mut plain).ok()?;
    } else {
        plain = bytes;
    }
    // A cut in the middle of a character, or a file that is no text.
    Some(String::from_utf8_lossy(&plain).into_owned())
}

#[test]
fn deleted_rows_are_gone_at_once_and_off_the_disk_a_day_later() {
    let mut random = Random(5);
    let rig = Rig::new();
    let store = rig.open();
    let all = made_rows(2_000, &mut random);
    for chunk in all[..1_500].chunks(100) {
        append(&store, batch("s", chunk.to_vec(), None)).unwrap();
    }
    store.flush().unwrap();
    append(&store, batch("s", all[1_500..].to_vec(), None)).unwrap();
    let deletion = |patterns: &[&str], range: TimeRange| LogDeletion {
        id: String::new(),
        query: "as asked".to_owned(),
        matchers: vec![Matcher::equal("app", "web")],
        line_filters: if patterns.is_empty() {
            Vec::new()
        } else {
            vec![filter(LineFilterOp::Contains, patterns)]
        },
        range,
        created_ms: 0,
        done: false,
    };
    let middle = all[1_000].t_ns;
    let some = deletion(&["did", "took=77"], TimeRange::new(i64::MIN, middle));
    let rest = deletion(&[], TimeRange::new(middle + 1, i64::MAX));
    let is_gone = |d: &LogDeletion, r: &LogRecord| {
        d.matchers.iter().all(|m| m.matches_labels(&r.stream))
            && d.range.contains(r.t_ns)
            && d.line_filters.iter().all(|f| f.matches(&r.line))
    };
    let left = |deletions: &[&LogDeletion]| -> Vec<LogRecord> {
        let stays = |r: &&LogRecord| !deletions.iter().any(|d| is_gone(d, r));
        all.iter().filter(stays).cloned().collect()
    };
    let first = store.delete(some.clone()).unwrap();
    let second = store.delete(rest.clone()).unwrap();
    check_all(&store, &left(&[&some, &rest]), &mut random);
    store.cancel_deletion(&second.id, false).unwrap();
    assert_eq!(store.cancel_deletion(&second.id, false).unwrap_err().kind(), ErrorKind::NotFound);
    check_all(&store, &left(&[&some]), &mut random);
    drop(store);
    let store = rig.open();
    let kept = store.deletions();
    assert_eq!((kept.len(), kept[0].id.as_str(), kept[0].done), (1, first.id.as_str(), false));
    check_all(&store, &left(&[&some]), &mut random);

    let expect = left(&[&some]);
    rig.clock.advance_ms(2 * DAY_MS);
    assert_eq!(store.cancel_deletion(&first.id, false).unwrap_err().kind(), ErrorKind::Invalid);
    store.merge().unwrap();
    assert!(store.deletions()[0].done);
    assert_eq!(store.stats().part_rows, expect.len() as u64);
    check_all(&store, &expect, &mut random);
    // A part of which nothing is left goes as a whole; the deletion itself when retention has passed its range.
    let all_of_it = deletion(&[], TimeRange::ALL);
    let everything = LogDeletion { matchers: Vec::new(), ..all_of_it };
    store.delete(everything).unwrap();
    rig.clock.advance_ms(2 * DAY_MS);
    store.merge().unwrap();
    assert_eq!((store.stats().parts, store.stats().part_rows), (0, 0));
    assert_eq!(store.deletions().len(), 2);
}

#[test]
fn volumes_are_read_off_the_index() {
    let mut random = Random(3);
    let rig = Rig::new();
    let store = rig.open();
    let all = made_rows(1_000, &mut random);
    for (i, chunk) in all.chunks(200).enumerate() {
        append(&store, batch("s", chunk.to_vec(), None)).unwrap();
        if i == 2 {
            store.flush().unwrap();
        }
    }
    let matchers = [Matcher::equal("app", "web")];
    let budget = Budget::unlimited();
    let volumes = store.volumes(&matchers, TimeRange::ALL, &budget).unwrap();
    let of_web: Vec<&LogRecord> =
        all.iter().filter(|r| r.stream.get("app") == Some("web")).collect();
    assert_eq!(volumes.iter().map(|v| v.rows).sum::<u64>(), of_web.len() as u64);
    // Bytes are those of the streams, though streams of short and of long lines share blocks.
    for volume in &volumes {
        let lines = of_web.iter().filter(|r| r.stream == volume.stream);
        assert_eq!(volume.bytes, lines.map(|r| r.line.len() as u64).sum::<u64>());
    }
    assert!(volumes.iter().all(|v| v.blocks > 0));
    let before = TimeRange::new(i64::MIN, all.iter().map(|r| r.t_ns).min().unwrap());
    assert_eq!(store.volumes(&matchers, before, &budget).unwrap(), []);
}

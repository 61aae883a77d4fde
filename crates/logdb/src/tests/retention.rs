//! Retention by stream: classes have parts of their own, older mixed parts lose what is past its time, previews agree.

use model::{Labels, Matcher, Order, RejectReason, RetentionPreview, RetentionRule};

use super::{DAY_MS, MAY_MS, Rig, append, batch, plan, record, rows};
use crate::Store;

const NOON_MS: i64 = MAY_MS + DAY_MS / 2;

fn rule(name: &str, value: &str, days: i64) -> RetentionRule {
    RetentionRule { matchers: vec![Matcher::equal(name, value)], retention_ms: days * DAY_MS }
}

/// Debug lines go after a day, audit lines after 90, others after 30; audit wins over debug.
fn rules() -> Vec<RetentionRule> {
    vec![rule("app", "audit", 90), rule("level", "debug", 1)]
}

fn streams() -> [Labels; 4] {
    [("audit", "info"), ("audit", "debug"), ("web", "debug"), ("web", "info")]
        .map(|(app, level)| Labels::from_pairs([("app", app), ("level", level)]))
}

fn fill(store: &Store) {
    for minute in 0..10 {
        let t_ns = (NOON_MS + minute * 60_000 - 600_000) * 1_000_000;
        let all = streams().iter().map(|s| record(s, t_ns, format!("line {minute}"))).collect();
        append(store, batch("s", all, None)).unwrap();
        if minute == 4 {
            store.flush().unwrap();
        }
    }
}

/// Which of [`streams`] still have all their ten rows, the others having none.
fn whole(store: &Store) -> Vec<usize> {
    let found = rows(store, &plan(Order::Forward));
    let count = |stream: &Labels| found.iter().filter(|r| r.stream == *stream).count();
    let counts = streams().map(|s| count(&s));
    assert!(counts.iter().all(|c| [0, 10].contains(c)), "{counts:?}");
    (0..counts.len()).filter(|i| counts[*i] == 10).collect()
}

#[test]
fn each_class_goes_in_its_time() {
    let mut rig = Rig::new();
    rig.config.retention_rules = rules();
    let store = rig.open();
    fill(&store);
    store.flush().unwrap();
    assert_eq!(store.stats().parts, 6, "three classes, two flushes");
    store.merge().unwrap();
    assert_eq!(whole(&store), [0, 1, 2, 3]);
    for (days, expect) in [(2, vec![0, 1, 3]), (30, vec![0, 1]), (60, vec![])] {
        rig.clock.advance_ms(days * DAY_MS);
        store.flush().unwrap();
        store.merge().unwrap();
        assert_eq!(whole(&store), expect, "{days} days later");
    }
    assert_eq!(store.stats().parts, 0);
}

#[test]
fn parts_from_before_a_rule_lose_what_is_past_its_time() {
    let mut rig = Rig::new();
    let store = rig.open();
    fill(&store);
    store.close().unwrap();
    assert_eq!(store.stats().parts, 2);
    drop(store);
    rig.config.retention_rules = rules();
    let store = rig.open();
    let preview = store.preview_retention(rules(), 30 * DAY_MS).unwrap();
    assert_eq!(preview.iter().map(|p| p.going_rows).collect::<Vec<_>>(), [0, 0, 0]);
    rig.clock.advance_ms(2 * DAY_MS);
    let preview = store.preview_retention(rules(), 30 * DAY_MS).unwrap();
    let rows_of = |p: &RetentionPreview| (p.streams, p.rows, p.going_rows);
    assert_eq!(
        preview.iter().map(rows_of).collect::<Vec<_>>(),
        [(2, 20, 0), (1, 10, 10), (1, 10, 0)]
    );
    let bytes: u64 = preview.iter().map(|p| p.disk_bytes).sum();
    assert!(bytes.abs_diff(store.stats().part_bytes) <= 8, "all bytes of files belong to a class");
    store.merge().unwrap();
    assert_eq!(whole(&store), [0, 1, 3]);
    // Nothing is written again for it.
    assert_eq!(store.merge().unwrap(), 0);
    rig.clock.advance_ms(30 * DAY_MS);
    store.merge().unwrap();
    store.flush().unwrap();
    assert_eq!(whole(&store), [0, 1]);
    drop(store);
    assert_eq!(whole(&rig.open()), [0, 1]);
}

#[test]
fn rows_are_taken_as_far_back_as_their_class_is_kept() {
    let mut rig = Rig::new();
    rig.config.retention_rules = rules();
    let store = rig.open();
    let old = |days: i64| {
        let t_ns = (NOON_MS - days * DAY_MS) * 1_000_000;
        let all = streams().iter().map(|s| record(s, t_ns, "old")).collect();
        append(&store, batch("s", all, None)).unwrap()
    };
    assert_eq!((old(0).stored, old(2).stored, old(31).stored, old(91).stored), (4, 3, 2, 0));
    assert_eq!(old(2).rejected, [(RejectReason::TooOld, 1)]);
}

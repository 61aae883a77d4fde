//! What may be sent again is stored once; what comes from elsewhere is stored as often as it comes.

use std::collections::HashSet;

use super::*;

/// A batch that may have come before.
fn pushed(records: Vec<LogRecord>) -> LogBatch {
    let mut batch = batch("push", records, None);
    batch.rows.set_may_repeat();
    batch
}

/// Rows of few streams, times and texts, so that many are equal.
fn made_rows(random: &mut Random, clock_ms: i64, count: u64) -> Vec<LogRecord> {
    let made = |random: &mut Random| {
        let stream = Labels::from_pairs([("app", ["a", "b", "c"][random.below(3) as usize])]);
        let t_ns = (clock_ms - 1_000 * random.below(40) as i64) * 1_000_000;
        let line = format!("line {} of many words that make it long enough", random.below(3));
        let mut record = record(&stream, t_ns, line);
        if random.below(3) == 0 {
            record.fields = Labels::from_pairs([("n", random.below(2).to_string().as_str())]);
        }
        record
    };
    (0..count).map(|_| made(random)).collect()
}

fn sorted(mut rows: Vec<LogRecord>) -> Vec<LogRecord> {
    rows.sort_by(|a, b| {
        (a.t_ns, &a.stream, &a.line, &a.fields).cmp(&(b.t_ns, &b.stream, &b.line, &b.fields))
    });
    rows
}

#[test]
fn rows_sent_again_are_stored_once() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut rig = Rig::new();
        rig.config.head_bytes_max = 4 << 10;
        let mut store = rig.open();
        let (mut seen, mut expected, mut sent) = (HashSet::new(), Vec::new(), 0);
        for _ in 0..30 {
            match random.below(8) {
                0 => store.flush().unwrap(),
                1 => drop(store.merge().unwrap()),
                2 => {
                    // The process dies; what was acknowledged is in the WAL or in parts.
                    rig.fs.crash(seed);
                    drop(store);
                    store = rig.open();
                    sent = 0;
                }
                _ => {}
            }
            let now_ms = MAY_MS + DAY_MS / 2;
            let count = 1 + random.below(60);
            let rows = made_rows(&mut random, now_ms, count);
            for row in &rows {
                let key = (row.stream.clone(), row.t_ns, row.line.clone(), row.fields.clone());
                if seen.insert(key) {
                    expected.push(row.clone());
                } else {
                    sent += 1;
                }
            }
            let receipt = append(&store, pushed(rows)).unwrap();
            assert_eq!((receipt.stored, receipt.rejected.len()), (count, 0));
            assert_eq!(store.stats().repeated_rows, sent, "seed {seed}");
        }
        let stored = rows(&store, &plan(Order::Forward));
        assert!(sorted(stored) == sorted(expected), "seed {seed}");
    }
}

#[test]
fn lines_that_nobody_sends_again_are_all_kept() {
    let store = Rig::new().open();
    let stream = Labels::from_pairs([("app", "a")]);
    let twice = || vec![record(&stream, MAY_MS * 1_000_000, "same"); 2];
    append(&store, batch("file", twice(), Some("1"))).unwrap();
    append(&store, batch("udp", twice(), None)).unwrap();
    assert_eq!(rows(&store, &plan(Order::Forward)).len(), 4);
    append(&store, pushed(twice())).unwrap();
    assert_eq!(rows(&store, &plan(Order::Forward)).len(), 4);
    assert_eq!(store.stats().repeated_rows, 2);
}

//! The queue across restarts, with several receivers, and at its bound.

use std::path::Path;
use std::sync::mpsc::channel;

use collect::forward::Spool as _;
use model::{Labels, ManualClock, MetricRow};
use storage::fs::RealFs;

use super::*;

fn open(dir: &Path, bytes_max: u64, ids: &[&str]) -> Spool {
    let settings = Settings {
        what: "test",
        dir: dir.join("remote_write"),
        durability: Durability::Strict,
        bytes_max,
    };
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    Spool::open(Arc::new(RealFs), Arc::new(ManualClock::at_ms(0)), settings, ids).unwrap()
}

/// Queues a batch of `samples` and waits until it is durable.
fn queue(spool: &Spool, t_ms: i64, samples: usize) {
    let rows = (0..samples).map(|n| MetricRow {
        labels: Labels::from_pairs([("__name__", "m"), ("n", &n.to_string())]),
        value: t_ms as f64,
    });
    let batch = MetricBatch { t_ms, rows: rows.collect(), ..MetricBatch::default() };
    let (answer, wait) = channel();
    spool.send(Entry::of(&batch), Done::new(move |outcome| answer.send(outcome).unwrap()));
    assert_eq!(wait.recv().unwrap().unwrap().stored, samples as u64);
}

/// Numbers and sample counts of what `id` has before it.
fn waiting(spool: &Spool, id: &str) -> Vec<(u64, u64)> {
    let end = *spool.end().borrow();
    let mut reader = spool.reader(spool.cursor(id).acked);
    let records = reader.read(end, u64::MAX).unwrap();
    records.iter().map(|record| (record.seq, record.samples)).collect()
}

#[test]
fn what_is_queued_is_there_after_a_restart_until_everybody_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), 1 << 30, &["a", "b"]);
    for t_ms in 1..=3 {
        queue(&spool, t_ms, t_ms as usize);
    }
    assert_eq!(waiting(&spool, "a"), [(1, 1), (2, 2), (3, 3)]);
    let under_way = Cursor { acked: 2, sending: 3 };
    spool.set_cursor("a", under_way).unwrap();
    spool.close().unwrap();

    let spool = open(dir.path(), 1 << 30, &["a", "b", "new"]);
    assert_eq!(spool.cursor("a"), under_way);
    assert_eq!((waiting(&spool, "a").len(), waiting(&spool, "b").len()), (2, 3));
    assert_eq!((waiting(&spool, "new"), spool.behind("b"), spool.newest_ms()), (vec![], 3, 3));
    queue(&spool, 4, 4);
    assert_eq!(waiting(&spool, "new"), [(4, 4)]);
    // Receivers that are gone hold nothing back and begin anew when they return.
    spool.keep_only(vec!["a".to_owned()]);
    spool.set_cursor("b", Cursor::default()).unwrap();
    spool.set_cursor("a", Cursor { acked: 5, sending: 5 }).unwrap();
    spool.writer.flush().unwrap();
    spool.close().unwrap();
    let spool = open(dir.path(), 1 << 30, &["a", "b"]);
    assert_eq!((waiting(&spool, "a"), waiting(&spool, "b")), (vec![], vec![]));
    assert_eq!(spool.shared.newest_ms.load(Ordering::Relaxed), i64::MIN);
}

#[test]
fn beyond_its_bound_the_oldest_go_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let bytes_max = 64 << 10;
    let spool = open(dir.path(), bytes_max, &["slow", "fast"]);
    for t_ms in 1..=300 {
        queue(&spool, t_ms, 100);
        let end = *spool.end().borrow();
        spool.set_cursor("fast", Cursor { acked: end, sending: end }).unwrap();
    }
    spool.writer.flush().unwrap();
    let (bytes, limit) = spool.bytes();
    assert!(bytes <= limit && limit == bytes_max, "{bytes}");
    let left: u64 = waiting(&spool, "slow").iter().map(|(_, samples)| samples).sum();
    assert!(left > 0 && left < 30_000, "{left}");
    assert_eq!((left + spool.lost("slow"), spool.lost("fast")), (30_000, 0));
    assert_eq!(waiting(&spool, "slow").last(), Some(&(300, 100)));
}

#[test]
fn a_damaged_cursor_means_everything() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), 1 << 30, &["a"]);
    queue(&spool, 1, 1);
    spool.close().unwrap();
    drop(spool);
    let cursor = dir.path().join("remote_write/a.cursor");
    storage::fs::Fs::truncate(&RealFs, &cursor, 5).unwrap();
    let spool = open(dir.path(), 1 << 30, &["a"]);
    assert_eq!(waiting(&spool, "a"), [(1, 1)]);
}

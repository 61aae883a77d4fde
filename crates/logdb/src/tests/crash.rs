//! Lines and cursors agree after any crash; no line is lost or repeated.

use model::{Clock as _, ErrorKind};
use storage::fs::FsCall;

use super::*;

/// A source of numbered lines: reading goes on at the cursor, as a collector does.
struct Source {
    name: &'static str,
    /// Lines acknowledged.
    acknowledged: u64,
    /// Lines ever sent.
    sent: u64,
    waiting: Vec<(u64, mpsc::Receiver<Result<Receipt>>)>,
    /// Position of the reader.
    at: u64,
}

impl Source {
    fn new(name: &'static str) -> Self {
        Self { name, acknowledged: 0, sent: 0, waiting: Vec::new(), at: 0 }
    }

    fn stream(&self) -> Labels {
        Labels::from_pairs([("source", self.name)])
    }

    fn resume(&mut self, store: &Store) {
        let cursor = store.cursor(self.name).map(|c| String::from_utf8(c).unwrap());
        self.at = cursor.map_or(0, |c| c.parse().unwrap());
        self.waiting.clear();
    }

    fn send(&mut self, store: &Store, count: u64) {
        let stream = self.stream();
        let records = (self.at..self.at + count)
            // Every third line is from the day before; times are not in order.
            .map(|i| {
                let t_ms = MAY_MS + i as i64 * 37 % 1000 - if i % 3 == 0 { DAY_MS / 2 } else { 0 };
                record(
                    &stream,
                    t_ms * 1_000_000,
                    format!("{} line {i} of {}", self.name, i * 7919 % 1000),
                )
            })
            .collect();
        self.at += count;
        self.sent = self.sent.max(self.at);
        let cursor = self.at.to_string();
        self.waiting.push((self.at, send(store, batch(self.name, records, Some(&cursor)))));
    }

    fn note_answers(&mut self, wait: bool) {
        for (at, answer) in std::mem::take(&mut self.waiting) {
            let outcome = if wait { answer.recv().ok() } else { answer.try_recv().ok() };
            match outcome {
                Some(Ok(_)) => self.acknowledged = self.acknowledged.max(at),
                Some(Err(_)) => {}
                None => self.waiting.push((at, answer)),
            }
        }
    }

    /// The oracle.
    fn check(&self, store: &Store, context: &str) {
        let cursor: u64 =
            store.cursor(self.name).map_or(0, |c| String::from_utf8(c).unwrap().parse().unwrap());
        assert!(
            cursor >= self.acknowledged,
            "{context}: {} acknowledged, cursor {cursor}",
            self.acknowledged
        );
        assert!(cursor <= self.sent, "{context}");
        let mut plan = plan(Order::Any);
        plan.matchers = vec![model::Matcher::equal("source", self.name)];
        let mut numbers: Vec<u64> = rows(store, &plan)
            .iter()
            .map(|r| r.line.split(' ').nth(2).unwrap().parse().unwrap())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..cursor).collect::<Vec<_>>(), "{context}: rows and cursor disagree");
    }
}

fn plan_fault(rig: &Rig, random: &mut Random) {
    let calls = [
        FsCall::Write,
        FsCall::Sync,
        FsCall::SyncDir,
        FsCall::Rename,
        FsCall::Create,
        FsCall::Remove,
        FsCall::Change,
    ];
    let call = calls[random.below(calls.len() as u64) as usize];
    let nth = random.below(12);
    if random.below(3) == 0 { rig.fs.fail_full(call, nth) } else { rig.fs.fail_io(call, nth) }
}

fn crash_run(seed: u64) {
    let mut random = Random(seed);
    let mut rig = Rig::new();
    if seed.is_multiple_of(4) {
        rig.config.head_bytes_max = 20_000;
    }
    let mut sources = [Source::new("a"), Source::new("b")];
    for round in 0..10 {
        let (store, report) = rig.try_open().unwrap();
        assert_eq!(report.quarantined, 0, "seed {seed}: {report:?}");
        for source in &mut sources {
            source.check(&store, &format!("seed {seed}, round {round}"));
            source.resume(&store);
        }
        if random.below(2) == 0 {
            plan_fault(&rig, &mut random);
        }
        for _ in 0..random.below(12) {
            match random.below(8) {
                // Failures are planned: what matters is what is there after the restart.
                0 => store.flush().unwrap_or(()),
                1 => store.merge().map(drop).unwrap_or(()),
                2 => rig.clock.advance_ms(random.below(200_000) as i64),
                _ => {
                    let source = &mut sources[random.below(2) as usize];
                    // One batch at a time, as collectors do: one behind a refused batch would move the cursor past it.
                    if !source.waiting.is_empty() {
                        source.note_answers(true);
                        source.resume(&store);
                    }
                    source.send(&store, 1 + random.below(30));
                    source.note_answers(random.below(2) == 0);
                    // A refused batch is read again, from the cursor.
                    if source.waiting.is_empty() {
                        source.resume(&store);
                    }
                }
            }
        }
        let orderly = random.below(5) == 0;
        if orderly {
            store.close().unwrap_or(());
        }
        match random.below(4) {
            0 => rig.fs.kill(),
            _ => rig.fs.crash(random.below(u64::MAX)),
        }
        rig.fs.clear_faults();
        sources.iter_mut().for_each(|s| s.note_answers(false));
        drop(store);
        sources.iter_mut().for_each(|s| s.note_answers(false));
        rig.fs.clear_faults();
    }
    let store = rig.open();
    for source in &mut sources {
        source.check(&store, &format!("seed {seed}, end"));
        // Reading on from the cursor brings every line exactly once.
        source.resume(&store);
        source.send(&store, 10);
        source.note_answers(true);
        source.check(&store, &format!("seed {seed}, after reading on"));
    }
}

#[test]
fn lines_and_cursors_agree_after_any_crash() {
    for seed in 0..40 {
        crash_run(seed);
    }
}

#[test]
fn every_single_fault_during_a_flush_is_survived() {
    for nth in 0..24 {
        for full in [false, true] {
            let rig = Rig::new();
            let mut source = Source::new("a");
            let store = rig.open();
            source.send(&store, 20);
            source.note_answers(true);
            assert_eq!(source.acknowledged, 20);
            if full {
                rig.fs.fail_full(FsCall::Change, nth)
            } else {
                rig.fs.fail_io(FsCall::Change, nth)
            }
            let flushed = store.flush();
            // Readers are served whatever the flush came to.
            source.check(&store, &format!("fault {nth}"));
            if let Err(e) = flushed {
                // A full disk that shows in a sync leaves as little trust as any failed sync.
                assert!(matches!(e.kind(), ErrorKind::Busy | ErrorKind::Io), "fault {nth}: {e}");
            }
            rig.fs.crash(nth);
            drop(store);
            rig.fs.clear_faults();
            source.check(&rig.open(), &format!("fault {nth} after restart"));
        }
    }
}

/// A power loss in interval mode may take WAL records whose rows are in parts already.
#[test]
fn numbers_of_lost_records_are_not_given_out_again() {
    for seed in 0..40 {
        let mut rig = Rig::new();
        rig.config.durability = Durability::Interval { ms: 1_000_000 };
        let web = Labels::from_pairs([("container", "web")]);
        let now_ns = rig.clock.now_ns();
        let line = |n: i64| batch("web", vec![record(&web, now_ns + n, format!("line {n}"))], None);
        let store = rig.open();
        for n in 0..5 {
            append(&store, line(n)).unwrap();
        }
        store.flush().unwrap();
        rig.fs.crash(seed);
        drop(store);
        let store = rig.open();
        append(&store, line(5)).unwrap();
        // The process dies; what it wrote stays with the kernel.
        rig.fs.kill();
        drop(store);
        let lines = rows(&rig.open(), &plan(Order::Forward)).len();
        assert_eq!(lines, 6, "seed {seed}");
    }
}

#[test]
fn quiet_sources_are_forgotten() {
    let rig = Rig::new();
    let store = rig.open();
    append(&store, batch("old", Vec::new(), Some("1"))).unwrap();
    store.flush().unwrap();
    rig.clock.advance_ms(31 * DAY_MS);
    append(&store, batch("new", Vec::new(), Some("2"))).unwrap();
    store.flush().unwrap();
    assert_eq!((store.cursor("old"), store.cursor("new")), (None, Some(b"2".to_vec())));
    drop(store);
    let store = rig.open();
    assert_eq!((store.cursor("old"), store.cursor("new")), (None, Some(b"2".to_vec())));
}

//! No span that was acknowledged is lost in a crash, and none is stored twice however often it is sent.

use model::{Clock as _, ErrorKind};
use storage::fs::FsCall;

use super::sampling::Even;
use super::*;

const CALLS: [FsCall; 7] = [
    FsCall::Write,
    FsCall::Sync,
    FsCall::SyncDir,
    FsCall::Rename,
    FsCall::Create,
    FsCall::Remove,
    FsCall::Change,
];

/// An exporter that sends a batch again until it is acknowledged.
#[derive(Default)]
struct Exporter {
    acknowledged: Plain,
    sent: Plain,
    waiting: Vec<(Vec<SpanGroup>, mpsc::Receiver<Result<Receipt>>)>,
    unsure: Vec<Vec<SpanGroup>>,
    /// Whether only traces that [`Even`] keeps must be there.
    is_sampled: bool,
}

impl Exporter {
    fn send(&mut self, store: &Store, groups: Vec<SpanGroup>) {
        self.sent.add(&groups);
        self.waiting.push((groups.clone(), send(store, groups)));
    }

    fn note_answers(&mut self, wait: bool) {
        for (groups, answer) in std::mem::take(&mut self.waiting) {
            let outcome = if wait { answer.recv().ok() } else { answer.try_recv().ok() };
            match outcome {
                Some(Ok(_)) => self.acknowledged.add(&groups),
                Some(Err(_)) => self.unsure.push(groups),
                None if wait => self.unsure.push(groups),
                None => self.waiting.push((groups, answer)),
            }
        }
    }

    /// The oracle: what is stored lies between what was acknowledged and what was sent, each span once.
    fn check(&self, store: &Store, context: &str) {
        for id in self.sent.trace_ids() {
            let stored = spans_of(store, id);
            let texts = |plain: &Plain| -> Vec<String> {
                plain.of(id).iter().map(|(r, s, span)| format!("{r:?} {s:?} {span:?}")).collect()
            };
            let (sent, acknowledged) = (texts(&self.sent), texts(&self.acknowledged));
            let mut once = stored.clone();
            once.dedup();
            assert_eq!(once.len(), stored.len(), "{context}: spans are there twice");
            if self.is_sampled && !Even::keeps(id) {
                continue;
            }
            assert!(acknowledged.iter().all(|s| stored.contains(s)), "{context}: spans are lost");
            assert!(stored.iter().all(|s| sent.contains(s)), "{context}: spans nobody sent");
        }
    }
}

/// Spans whose key says what they are: a second one with the same key is the same.
fn groups_of(batch: u64, now_ns: i64) -> Vec<SpanGroup> {
    let mut groups = Random(batch).groups(now_ns, 10, 12);
    for (i, span) in groups.iter_mut().flat_map(|g| &mut g.spans).enumerate() {
        span.span_id = batch << 16 | (i as u64 + 1);
    }
    groups
}

pub(super) fn crash_run(seed: u64, sampler: Option<Arc<Even>>) {
    let mut random = Random(seed);
    let mut rig = Rig::new();
    if seed.is_multiple_of(4) {
        rig.config.head_bytes_max = 50_000;
    }
    let mut exporter = Exporter { is_sampled: sampler.is_some(), ..Exporter::default() };
    rig.config.sampler = sampler.map(|sampler| sampler as _);
    let mut batch = 0;
    for round in 0..8 {
        let (store, report) = rig.try_open().unwrap();
        assert_eq!(report.quarantined, 0, "seed {seed}: {report:?}");
        exporter.check(&store, &format!("seed {seed}, round {round}"));
        if random.below(2) == 0 {
            let (call, nth) = (random.one_of(&CALLS), random.below(14));
            if random.below(3) == 0 {
                rig.fs.fail_full(call, nth)
            } else {
                rig.fs.fail_io(call, nth)
            }
        }
        for _ in 0..random.below(12) {
            match random.below(9) {
                // Failures are planned: what matters is what is there after the restart.
                0 => store.flush().unwrap_or(()),
                1 => store.merge().map(drop).unwrap_or(()),
                2 => rig.clock.advance_ms(random.below(4_000_000) as i64),
                3 if !exporter.unsure.is_empty() => {
                    let again = exporter.unsure.swap_remove(0);
                    exporter.send(&store, again);
                }
                _ => {
                    batch += 1;
                    exporter.send(&store, groups_of(batch, rig.clock.now_ns()));
                    exporter.note_answers(random.below(2) == 0);
                }
            }
        }
        if random.below(5) == 0 {
            store.close().unwrap_or(());
        }
        match random.below(4) {
            0 => rig.fs.kill(),
            _ => rig.fs.crash(random.below(u64::MAX)),
        }
        rig.fs.clear_faults();
        exporter.note_answers(false);
        drop(store);
        exporter.note_answers(true);
        rig.fs.clear_faults();
    }
    let store = rig.open();
    exporter.check(&store, &format!("seed {seed}, end"));
    // All is sent again, whether it was acknowledged or not.
    for batch in std::mem::take(&mut exporter.unsure) {
        exporter.send(&store, batch);
    }
    exporter.note_answers(true);
    exporter.check(&store, &format!("seed {seed}, sent again"));
    if exporter.is_sampled {
        rig.clock.advance_ms(30_000);
        store.flush().unwrap();
        exporter.check(&store, &format!("seed {seed}, decided"));
        let left =
            exporter.sent.trace_ids().into_iter().filter(|id| !spans_of(&store, *id).is_empty());
        assert!(left.into_iter().all(Even::keeps), "seed {seed}: traces that should be gone");
        return;
    }
    check_all(&store, &exporter.sent, &format!("seed {seed}, sent again"));
    store.flush().unwrap();
    store.merge().unwrap();
    check_all(&store, &exporter.sent, &format!("seed {seed}, merged"));
}

#[test]
fn acknowledged_spans_survive_any_crash_once() {
    for seed in 0..40 {
        crash_run(seed, None);
    }
}

#[test]
fn every_single_fault_during_a_flush_or_merge_is_survived() {
    for is_merge in [false, true] {
        for nth in 0..24 {
            for full in [false, true] {
                let rig = Rig::new();
                let mut exporter = Exporter::default();
                let store = rig.open();
                let now_ns = rig.clock.now_ns();
                for batch in 1..4 {
                    exporter.send(&store, groups_of(batch, now_ns));
                    exporter.note_answers(true);
                    if is_merge {
                        store.flush().unwrap();
                    }
                }
                rig.clock.advance_ms(2 * DAY_MS);
                if full {
                    rig.fs.fail_full(FsCall::Change, nth);
                } else {
                    rig.fs.fail_io(FsCall::Change, nth);
                }
                let done = if is_merge { store.merge().map(drop) } else { store.flush() };
                // Readers are served whatever it came to.
                exporter.check(&store, &format!("fault {nth}"));
                if let Err(e) = done {
                    assert!(
                        matches!(e.kind(), ErrorKind::Busy | ErrorKind::Io),
                        "fault {nth}: {e}"
                    );
                }
                rig.fs.crash(nth);
                drop(store);
                rig.fs.clear_faults();
                let store = rig.open();
                exporter.check(&store, &format!("fault {nth} after restart"));
                check_all(&store, &exporter.sent, &format!("fault {nth} after restart"));
            }
        }
    }
}

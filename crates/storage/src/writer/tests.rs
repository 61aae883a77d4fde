//! Batches are answered once durable, in order, and every failure has its state.

use std::path::Path;

use crossbeam_channel::unbounded;
use model::{ManualClock, RejectReason};

use super::*;
use crate::fs::{FaultyFs, Fs, FsCall};
use crate::wal::{Durability, WalConfig};

/// Notes down what it is asked to do. Batch `b"panic"` panics, `b"refuse"` is refused, `b"gate"` waits.
#[derive(Default)]
struct Notebook {
    encoded: Vec<Vec<u8>>,
    applied: Vec<(u64, Vec<u8>)>,
    gate: Option<Receiver<()>>,
    log: Arc<Mutex<Vec<&'static str>>>,
    maintain_error: Option<ErrorKind>,
}

impl Engine for Notebook {
    type Batch = Vec<u8>;

    fn encode(&mut self, batch: &mut Vec<u8>, record: &mut Vec<u8>) -> Result<u8> {
        assert!(record.is_empty());
        match batch.as_slice() {
            b"refuse" => return Err(Error::invalid("refused")),
            b"gate" => self.gate.as_ref().unwrap().recv().unwrap(),
            _ => {}
        }
        record.extend_from_slice(batch);
        self.encoded.push(batch.clone());
        Ok(5)
    }

    fn apply(&mut self, batch: Vec<u8>, seq: u64) -> Receipt {
        assert_ne!(batch, b"panic", "as the test wishes");
        self.applied.push((seq, batch));
        Receipt { stored: seq, rejected: vec![(RejectReason::TooOld, 1)] }
    }

    fn discard(&mut self, batch: Vec<u8>) {
        assert_eq!(self.encoded.pop().unwrap(), batch);
    }

    fn maintain(&mut self, _wal: &mut Wal, _now_ms: i64) -> Result<()> {
        self.maintain_error.take().map_or(Ok(()), |kind| Err(Error::new(kind, "cannot maintain")))
    }

    fn close(&mut self, _wal: &mut Wal) -> Result<()> {
        self.log.lock().push("close");
        Ok(())
    }
}

const DIR: &str = "/wal";

struct Desk {
    fs: FaultyFs,
    clock: Arc<ManualClock>,
    gate: Sender<()>,
    log: Arc<Mutex<Vec<&'static str>>>,
    writer: Writer<Notebook>,
}

fn desk(durability: Durability, free_floor_bytes: u64) -> Desk {
    let fs = FaultyFs::new();
    let clock = Arc::new(ManualClock::at_ms(1_000_000));
    let config = WalConfig { segment_bytes: 500, durability };
    let (wal, _) =
        Wal::open(Arc::new(fs.clone()), Path::new(DIR), config, &mut |_| Ok(())).unwrap();
    let (gate, wait) = unbounded();
    let engine = Notebook { gate: Some(wait), ..Notebook::default() };
    let log = Arc::clone(&engine.log);
    let config =
        WriterConfig { queue: 64, group_window_ms: 20, free_floor_bytes: Some(free_floor_bytes) };
    let writer = Writer::spawn("writer", engine, wal, clock.clone(), config).unwrap();
    Desk { fs, clock, gate, log, writer }
}

impl Desk {
    /// Sends and returns where the answer will be.
    fn send(&self, batch: &[u8]) -> Receiver<Result<Receipt>> {
        let (answer, wait) = unbounded();
        let done = Done::new(move |outcome| answer.send(outcome).unwrap());
        self.writer.send(batch.to_vec(), done);
        wait
    }

    fn put(&self, batch: &[u8]) -> Result<u64> {
        self.send(batch).recv().unwrap().map(|receipt| receipt.stored)
    }

    fn replayed(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let config = WalConfig { segment_bytes: 1 << 20, durability: Durability::Strict };
        Wal::open(Arc::new(self.fs.clone()), Path::new(DIR), config, &mut |r| {
            assert_eq!(r.kind, 5);
            records.push(r.payload.to_vec());
            Ok(())
        })
        .unwrap();
        records
    }
}

#[test]
fn an_answered_batch_survives_power_loss() {
    for seed in 0..20 {
        let desk = desk(Durability::Strict, 0);
        assert_eq!((desk.put(b"a").unwrap(), desk.put(b"b").unwrap()), (1, 2));
        desk.fs.crash(seed);
        assert_eq!(desk.replayed(), [b"a", b"b"]);
    }
}

#[test]
fn what_queues_up_is_one_group_and_a_lone_batch_is_not_delayed() {
    let desk = desk(Durability::Strict, 0);
    let gate = desk.send(b"gate");
    let waiting: Vec<_> = (0..30_u8).map(|i| desk.send(&[i])).collect();
    assert!(waiting.iter().all(|w| w.is_empty()));
    desk.gate.send(()).unwrap();
    assert_eq!(gate.recv().unwrap().unwrap().stored, 1);
    for (i, wait) in waiting.into_iter().enumerate() {
        assert_eq!(wait.recv().unwrap().unwrap().stored, i as u64 + 2);
    }
    let stats = desk.writer.stats();
    assert_eq!((stats.groups, stats.syncs, stats.batches), (1, 1, 31));
    // The clock stands still: nothing here waits for a window to pass.
    desk.put(b"lone").unwrap();
    assert_eq!(desk.writer.stats().groups, 2);
    let applied = desk.writer.run(|engine, _| engine.applied.clone()).unwrap();
    assert!(applied.is_sorted_by_key(|(seq, _)| *seq));
    assert_eq!(applied.len(), 32);
}

#[test]
fn a_refused_batch_leaves_no_record_and_disturbs_nobody() {
    let desk = desk(Durability::Strict, 0);
    assert_eq!(desk.put(b"refuse").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(desk.put(b"a").unwrap(), 1);
    assert_eq!(desk.writer.state(), WriterState::Ok);
    assert_eq!(desk.replayed(), [b"a"]);
    assert_eq!(desk.writer.stats().refused, 1);
}

#[test]
fn interval_mode_answers_after_the_write_and_syncs_when_due() {
    let desk = desk(Durability::Interval { ms: 200 }, 0);
    desk.put(b"a").unwrap();
    assert_eq!(desk.writer.stats().syncs, 0);
    desk.clock.advance_ms(199);
    desk.put(b"b").unwrap();
    assert_eq!(desk.writer.stats().syncs, 0);
    assert!(!desk.writer.run(|_, wal| wal.is_synced()).unwrap());
    desk.clock.advance_ms(1);
    desk.put(b"c").unwrap();
    assert!(desk.writer.run(|_, wal| wal.is_synced()).unwrap());
    assert_eq!(desk.writer.stats().syncs, 1);
    desk.put(b"d").unwrap();
    desk.fs.kill();
    assert_eq!(desk.replayed(), [b"a", b"b", b"c", b"d"], "a dead process loses nothing");
}

#[test]
fn flush_and_close_make_everything_durable() {
    for close in [false, true] {
        let desk = desk(Durability::Interval { ms: 3_600_000 }, 0);
        desk.put(b"a").unwrap();
        if close {
            desk.writer.close().unwrap();
            desk.writer.close().unwrap();
            assert_eq!(*desk.log.lock(), ["close"]);
            assert_eq!(desk.put(b"b").unwrap_err().kind(), ErrorKind::Busy);
            assert_eq!(desk.writer.flush().unwrap_err().kind(), ErrorKind::Busy);
        } else {
            desk.writer.flush().unwrap();
        }
        desk.fs.crash(0);
        assert_eq!(desk.replayed(), [b"a"]);
    }
}

#[test]
fn a_failed_sync_stops_it_for_good() {
    let desk = desk(Durability::Strict, 0);
    desk.put(b"a").unwrap();
    desk.fs.fail_io(FsCall::Sync, 0);
    assert_eq!(desk.put(b"b").unwrap_err().kind(), ErrorKind::Io);
    assert!(matches!(desk.writer.state(), WriterState::Failed { .. }));
    assert_eq!(desk.put(b"c").unwrap_err().kind(), ErrorKind::Io);
    let applied = desk.writer.run(|engine, _| engine.applied.clone()).unwrap();
    assert_eq!(applied, [(1, b"a".to_vec())], "what may be lost is not shown");
    assert_eq!(desk.writer.flush().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(desk.writer.close().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(*desk.log.lock(), [""; 0]);
}

#[test]
fn a_full_disk_refuses_and_goes_on_by_itself() {
    let desk = desk(Durability::Strict, 0);
    desk.put(b"a").unwrap();
    let used: u64 = desk.fs.list(Path::new(DIR)).unwrap().iter().map(|e| e.len).sum();
    desk.fs.set_capacity(Some(used + 5));
    let error = desk.put(&[1; 100]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(matches!(desk.writer.state(), WriterState::DiskFull { .. }));
    assert_eq!(desk.put(b"b").unwrap_err().kind(), ErrorKind::Busy);
    let encoded = desk.writer.run(|engine, _| engine.encoded.len()).unwrap();
    assert_eq!(encoded, 1, "the engine was told to forget the record");
    desk.fs.set_capacity(None);
    desk.writer.flush().unwrap();
    assert_eq!(desk.put(b"c").unwrap(), 2);
    desk.fs.crash(1);
    assert_eq!(desk.replayed(), [b"a", b"c"]);
}

/// A flush that is queued behind the batch that met the full disk still sees the disk as it is now.
#[test]
fn a_flush_looks_at_the_disk_anew() {
    let desk = desk(Durability::Strict, 0);
    let used: u64 = desk.fs.list(Path::new(DIR)).unwrap().iter().map(|e| e.len).sum();
    desk.fs.set_capacity(Some(used + 60));
    let gate = desk.send(b"gate");
    let fs = desk.fs.clone();
    desk.writer.send(vec![1; 100], Done::new(move |_| fs.set_capacity(None)));
    std::thread::scope(|scope| {
        let flushed = scope.spawn(|| desk.writer.flush());
        while desk.writer.queue_len() < 2 {
            std::thread::yield_now();
        }
        desk.gate.send(()).unwrap();
        flushed.join().unwrap().unwrap();
        gate.recv().unwrap().unwrap();
    });
    assert_eq!(desk.writer.state(), WriterState::Ok);
}

/// Of a group that fills the disk, what came before counts and what comes after is refused.
#[test]
fn a_disk_that_runs_full_inside_a_group_splits_it() {
    let desk = desk(Durability::Strict, 0);
    let used: u64 = desk.fs.list(Path::new(DIR)).unwrap().iter().map(|e| e.len).sum();
    desk.fs.set_capacity(Some(used + 21 + 117 + 50));
    let answers = [&b"gate"[..], &[1; 100], &[2; 100], &[3; 10]].map(|batch| desk.send(batch));
    desk.gate.send(()).unwrap();
    let kinds = answers.map(|a| a.recv().unwrap().map(|r| r.stored).map_err(|e| e.kind()));
    assert_eq!(kinds, [Ok(1), Ok(2), Err(ErrorKind::Busy), Err(ErrorKind::Busy)]);
    desk.fs.set_capacity(None);
    desk.fs.crash(4);
    assert_eq!(desk.replayed(), [b"gate".to_vec(), vec![1; 100]]);
}

#[test]
fn ingest_stops_at_the_floor_of_free_space() {
    let desk = desk(Durability::Strict, 1000);
    desk.fs.set_capacity(Some(5000));
    desk.put(b"a").unwrap();
    desk.fs.set_capacity(Some(1000));
    let error = desk.put(b"b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains("bytes free"), "{error}");
    assert_eq!(desk.writer.flush().unwrap_err().kind(), ErrorKind::Busy);
    desk.fs.set_capacity(Some(5000));
    desk.writer.flush().unwrap();
    desk.put(b"c").unwrap();
    assert_eq!(desk.replayed(), [b"a", b"c"]);
}

#[test]
fn errors_of_maintenance_have_their_state() {
    for (kind, recovers) in [(ErrorKind::Busy, true), (ErrorKind::Io, false)] {
        let desk = desk(Durability::Strict, 0);
        desk.writer.run(move |engine, _| engine.maintain_error = Some(kind)).unwrap();
        assert_eq!(desk.writer.flush().is_ok(), recovers);
        assert_eq!(desk.put(b"a").is_ok(), recovers);
    }
}

#[test]
fn a_panic_of_the_engine_fails_the_store_and_answers_everyone() {
    let desk = desk(Durability::Strict, 0);
    assert_eq!(desk.put(b"panic").unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(desk.writer.close().unwrap_err().kind(), ErrorKind::Bug);
    assert!(matches!(desk.writer.state(), WriterState::Failed { .. }));
    assert_eq!(desk.put(b"a").unwrap_err().kind(), ErrorKind::Io);
}

/// Whichever call fails, with EIO or a full disk, and wherever the power goes: what was answered is there, what was refused
/// as busy is not.
#[test]
fn every_failing_call_keeps_answers_true() {
    for nth in 0..70 {
        for (seed, full) in [(1, true), (2, true), (3, false), (4, false)] {
            let at = format!("call {nth} seed {seed}");
            let desk = desk(Durability::Strict, 0);
            if full {
                desk.fs.fail_full(FsCall::Change, nth);
            } else {
                desk.fs.fail_io(FsCall::Change, nth);
            }
            let (mut stored, mut busy) = (Vec::new(), Vec::new());
            for i in 0..30_u8 {
                let batch = vec![i; 40];
                match desk.put(&batch) {
                    Ok(_) => stored.push(batch),
                    Err(e) if e.kind() == ErrorKind::Busy => busy.push(batch),
                    Err(_) => {}
                }
                if i == 20 {
                    desk.writer.run(|_, wal| wal.drop_before(1)).unwrap().ok();
                }
            }
            desk.fs.crash(seed);
            let replayed = desk.replayed();
            assert!(stored.iter().all(|b| replayed.contains(b)), "{at}: lost");
            assert!(busy.iter().all(|b| !replayed.contains(b)), "{at}: refused, but there");
            assert!(replayed.is_sorted(), "{at}");
        }
    }
}

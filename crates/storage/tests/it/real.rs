//! The same layers once through on the real file system.

use std::path::Path;
use std::sync::Arc;

use ::model::{Done, ErrorKind, Receipt, Result, SystemClock};
use crossbeam_channel::unbounded;
use storage::fs::{Fs, RealFs, lock_dir};
use storage::manifest::{Edit, Manifest};
use storage::part::{PartReader, PartWriter};
use storage::wal::{Durability, Wal, WalConfig};
use storage::writer::{Engine, Writer, WriterConfig};

/// Keeps lines in memory; writes them to a part when told to close.
struct Lines {
    fs: Arc<dyn Fs>,
    manifest: Manifest,
    lines: Vec<Vec<u8>>,
}

impl Engine for Lines {
    type Batch = Vec<u8>;

    fn encode(&mut self, batch: &mut Vec<u8>, record: &mut Vec<u8>) -> Result<u8> {
        record.extend_from_slice(batch);
        Ok(1)
    }

    fn apply(&mut self, batch: Vec<u8>, _seq: u64) -> Receipt {
        self.lines.push(batch);
        Receipt { stored: 1, rejected: Vec::new() }
    }

    fn maintain(&mut self, _wal: &mut Wal, _now_ms: i64) -> Result<()> {
        Ok(())
    }

    fn close(&mut self, wal: &mut Wal) -> Result<()> {
        let path = self.manifest.dir().join("lines");
        let mut part = PartWriter::create(Arc::clone(&self.fs), &path)?;
        let mut refs = Vec::new();
        for line in &self.lines {
            part.block(1, line)?.encode(&mut refs);
        }
        part.finish(&refs)?;
        self.manifest.commit(&[Edit::AddPart { name: "lines".into(), meta: Vec::new() }])?;
        wal.drop_before(wal.next_seq())
    }
}

fn open(dir: &Path) -> (Lines, Wal) {
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let (manifest, state) = Manifest::open(Arc::clone(&fs), dir).unwrap();
    assert_eq!((state.damage, state.orphans.len(), state.missing.len()), (None, 0, 0));
    let mut lines = Vec::new();
    if state.parts.contains_key("lines") {
        let part = PartReader::open(&*fs, &dir.join("lines")).unwrap();
        let mut refs = part.meta();
        while let Some(block) = storage::part::BlockRef::decode(&mut refs) {
            lines.push(part.block(block, 1).unwrap());
        }
    }
    let config = WalConfig { segment_bytes: 4096, durability: Durability::Strict };
    let (wal, recovery) = Wal::open(Arc::clone(&fs), &dir.join("wal"), config, &mut |r| {
        lines.push(r.payload.to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!(recovery.damage, []);
    (Lines { fs, manifest, lines }, wal)
}

#[test]
fn a_store_survives_restarts_on_the_real_file_system() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data/store");
    let mut expected = Vec::new();
    for round in 0..4_u32 {
        let lock = lock_dir(&dir).unwrap();
        assert_eq!(lock_dir(&dir).unwrap_err().kind(), ErrorKind::Busy);
        let (engine, wal) = open(&dir);
        assert_eq!(engine.lines, expected, "round {round}");
        let config = WriterConfig { queue: 8, group_window_ms: 20, free_floor_bytes: Some(0) };
        let writer = Writer::spawn("lines", engine, wal, Arc::new(SystemClock), config).unwrap();
        let (answer, wait) = unbounded();
        for i in 0..200_u32 {
            let line = format!("round {round} line {i}").into_bytes();
            expected.push(line.clone());
            let answer = answer.clone();
            writer.send(line, Done::new(move |outcome| answer.send(outcome).unwrap()));
        }
        for _ in 0..200 {
            assert_eq!(wait.recv().unwrap().unwrap().stored, 1);
        }
        let stats = writer.stats();
        assert_eq!(stats.batches, 200);
        assert!(stats.groups <= 200 && stats.syncs <= stats.groups);
        if round % 2 == 0 {
            writer.close().unwrap();
        } else {
            // As `kill -9`: no orderly shutdown. The thread and its open files go with the process in real life.
            std::mem::forget(writer);
        }
        drop(lock);
    }
}

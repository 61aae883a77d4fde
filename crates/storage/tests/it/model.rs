//! Random histories of WAL, manifest and parts on the faulty file system, checked against an oracle of maps: what was
//! acknowledged is there after every restart, and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::model::{ErrorKind, Result};
use storage::fs::{FaultyFs, Fs, FsCall};
use storage::manifest::{Edit, Manifest};
use storage::part::{BlockRef, PartReader, PartWriter};
use storage::wal::{Durability, Wal, WalConfig};

use crate::dice::{Dice, seeds};

const DIR: &str = "/s";
const WAL_DIR: &str = "/s/wal";
const CONFIG: WalConfig = WalConfig { segment_bytes: 400, durability: Durability::Strict };
const STEPS_PER_SEED: u64 = 150;

type RecordBody = (u8, Vec<u8>);

/// What must, and what may, be found after a restart.
#[derive(Default)]
struct Oracle {
    /// Records that must be replayed, unless below `dropped_before`.
    synced: BTreeMap<u64, RecordBody>,
    /// Records appended since: a prefix of them may be replayed.
    unsynced: BTreeMap<u64, RecordBody>,
    /// A record whose append failed: may be replayed behind all of `unsynced`.
    failed: Option<(u64, RecordBody)>,
    dropped_before: u64,
    state: State,
    /// What a commit that failed halfway would have made of `state`.
    maybe: Option<State>,
    /// Contents of all parts ever written: name → blocks.
    parts: BTreeMap<String, Vec<RecordBody>>,
}

#[derive(Default, Clone, PartialEq, Debug)]
struct State {
    parts: BTreeMap<String, Vec<u8>>,
    values: BTreeMap<String, Vec<u8>>,
}

struct Store {
    wal: Wal,
    manifest: Manifest,
}

struct World {
    seed: u64,
    dice: Dice,
    fs: FaultyFs,
    oracle: Oracle,
    store: Store,
    step: u64,
    next_part: u64,
    restarts: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let fs = FaultyFs::new();
        let (store, ..) = open(&fs).unwrap();
        let dice = Dice::new(seed);
        let oracle = Oracle::default();
        Self { seed, dice, fs, oracle, store, step: 0, next_part: 0, restarts: 0 }
    }

    fn at(&self) -> String {
        format!("seed {} step {}", self.seed, self.step)
    }

    fn run(&mut self) {
        for step in 0..STEPS_PER_SEED {
            self.step = step;
            match self.dice.roll(100) {
                0..45 => self.append(),
                45..65 => self.sync(),
                65..72 => self.drop_before(),
                72..82 => self.flush_part(),
                82..86 => self.remove_part(),
                86..88 => self.set_value(),
                88..92 => self.plan_fault(),
                92..94 => self.resize_disk(),
                94..97 => self.restart(true),
                _ => self.restart(false),
            }
        }
        self.restart(true);
    }

    fn append(&mut self) {
        let body = (self.dice.roll(128) as u8, self.dice.bytes(120));
        let seq = self.store.wal.next_seq();
        match self.store.wal.append(body.0, &body.1) {
            Ok(got) => {
                assert_eq!(got, seq, "{}", self.at());
                self.oracle.unsynced.insert(seq, body);
            }
            Err(e) if e.kind() == ErrorKind::Busy => {}
            Err(_) => {
                self.oracle.failed = Some((seq, body));
                self.restart_after_failure();
            }
        }
    }

    fn sync(&mut self) {
        match self.store.wal.sync() {
            Ok(()) => {
                let unsynced = std::mem::take(&mut self.oracle.unsynced);
                self.oracle.synced.extend(unsynced);
            }
            Err(_) => self.restart_after_failure(),
        }
    }

    fn drop_before(&mut self) {
        let end = self.oracle.synced.last_key_value().map_or(0, |(seq, _)| seq + 1);
        let seq = self.dice.roll(end + 1);
        self.oracle.dropped_before = self.oracle.dropped_before.max(seq);
        if let Err(e) = self.store.wal.drop_before(seq)
            && e.kind() != ErrorKind::Busy
        {
            self.restart_after_failure();
        }
    }

    fn flush_part(&mut self) {
        let name = format!("part{}", self.next_part);
        self.next_part += 1;
        let count = self.dice.roll(4);
        let blocks: Vec<RecordBody> =
            (0..count).map(|_| (self.dice.roll(255) as u8, self.dice.bytes(200))).collect();
        if self.write_part(&name, &blocks).is_err() {
            return;
        }
        self.oracle.parts.insert(name.clone(), blocks);
        let meta = self.dice.bytes(20);
        let value = self.store.wal.next_seq().to_le_bytes().to_vec();
        let edits = [Edit::AddPart { name, meta }, Edit::Set { key: "flushed".into(), value }];
        self.commit(&edits);
    }

    fn write_part(&mut self, name: &str, blocks: &[RecordBody]) -> Result<()> {
        let fs: Arc<dyn Fs> = Arc::new(self.fs.clone());
        let mut writer = PartWriter::create(fs, &Path::new(DIR).join(name))?;
        let mut meta = Vec::new();
        for (kind, bytes) in blocks {
            writer.block(*kind, bytes)?.encode(&mut meta);
        }
        writer.finish(&meta)?;
        Ok(())
    }

    fn remove_part(&mut self) {
        let count = self.oracle.state.parts.len() as u64;
        if count == 0 {
            return;
        }
        let victim = self.dice.roll(count) as usize;
        let name = self.oracle.state.parts.keys().nth(victim).unwrap().clone();
        if self.commit(&[Edit::RemovePart { name: name.clone() }]) {
            self.fs.remove(&path(&name)).ok();
        }
    }

    fn set_value(&mut self) {
        let key = format!("k{}", self.dice.roll(3));
        let value = self.dice.bytes(30_000);
        let edit = if value.is_empty() { Edit::Unset { key } } else { Edit::Set { key, value } };
        self.commit(&[edit]);
    }

    fn commit(&mut self, edits: &[Edit]) -> bool {
        let mut next = self.oracle.state.clone();
        for edit in edits {
            match edit.clone() {
                Edit::AddPart { name, meta } => drop(next.parts.insert(name, meta)),
                Edit::RemovePart { name } => drop(next.parts.remove(&name)),
                Edit::Set { key, value } => drop(next.values.insert(key, value)),
                Edit::Unset { key } => drop(next.values.remove(&key)),
            }
        }
        match self.store.manifest.commit(edits) {
            Ok(()) => {
                self.oracle.state = next;
                return true;
            }
            Err(e) if e.kind() == ErrorKind::Busy => {}
            Err(_) => {
                self.oracle.maybe = Some(next);
                self.restart_after_failure();
            }
        }
        false
    }

    fn plan_fault(&mut self) {
        let calls = [
            FsCall::Create,
            FsCall::Write,
            FsCall::Sync,
            FsCall::SyncDir,
            FsCall::Rename,
            FsCall::Remove,
            FsCall::Truncate,
            FsCall::Read,
            FsCall::Change,
        ];
        let call = calls[self.dice.roll(calls.len() as u64) as usize];
        let nth = self.dice.roll(15);
        if self.dice.roll(2) == 0 {
            self.fs.fail_io(call, nth);
        } else {
            self.fs.fail_full(call, nth);
        }
    }

    fn resize_disk(&mut self) {
        let capacity = match self.dice.roll(3) {
            0 => None,
            _ => {
                let free = self.dice.roll(3000);
                self.fs.set_capacity(Some(1 << 40));
                let used = (1 << 40) - self.fs.free_bytes(Path::new(DIR)).unwrap();
                Some(used + free)
            }
        };
        self.fs.set_capacity(capacity);
    }

    fn restart_after_failure(&mut self) {
        let power_loss = self.dice.roll(2) == 0;
        self.restart(power_loss);
    }

    /// The process dies, perhaps with the machine, and starts again; possibly several times, failing in the middle.
    fn restart(&mut self, power_loss: bool) {
        let mut power_lost = false;
        for attempt in 0..5 {
            if (attempt == 0 && power_loss) || (attempt > 0 && self.dice.roll(2) == 0) {
                power_lost = true;
                self.fs.crash(self.dice.roll(u64::MAX));
            } else {
                self.fs.kill();
            }
            self.restarts += 1;
            if attempt < 4 && self.dice.roll(3) == 0 {
                self.plan_fault();
            }
            if attempt == 4 {
                self.fs.set_capacity(None);
            }
            if let Ok(opened) = open(&self.fs) {
                self.fs.clear_faults();
                self.check_wal(&opened.0, &opened.1, power_lost);
                self.check_manifest(&opened.0, &opened.2);
                self.store = opened.0;
                return;
            }
        }
        panic!("{}: does not open on a good disk", self.at());
    }

    fn check_wal(&mut self, store: &Store, replay: &Replay, power_lost: bool) {
        let at = self.at();
        let Replay { records, recovery } = replay;
        assert_eq!(recovery.damage, [], "{at}");
        let oracle = &mut self.oracle;
        // Removals of several dropped segments may be lost one by one, which leaves a gap among dropped records.
        let kept: Vec<u64> = records.range(oracle.dropped_before..).map(|(seq, _)| *seq).collect();
        assert!(kept.windows(2).all(|w| w[0] + 1 == w[1]), "{at}: a gap in {kept:?}");
        assert!(recovery.missing_records < oracle.dropped_before.max(1), "{at}");
        let mut must = oracle.synced.clone();
        if !power_lost {
            must.extend(oracle.unsynced.clone());
        }
        for (seq, body) in must.range(oracle.dropped_before..) {
            assert_eq!(records.get(seq), Some(body), "{at}: record {seq} is lost");
        }
        for (seq, body) in records {
            let known = oracle.synced.get(seq).or_else(|| oracle.unsynced.get(seq));
            let failed = oracle.failed.as_ref().filter(|(s, _)| s == seq).map(|(_, b)| b);
            assert!(known.or(failed) == Some(body), "{at}: record {seq} is invented");
        }
        let acknowledged = oracle.synced.last_key_value().map_or(0, |(seq, _)| *seq);
        assert!(store.wal.next_seq() > acknowledged, "{at}: number used twice");
        // What was shown once stays: it is part of the store now.
        oracle.synced.clone_from(records);
        oracle.unsynced.clear();
        oracle.failed = None;
    }

    fn check_manifest(&mut self, store: &Store, found: &Found) {
        let at = self.at();
        let Found { state, missing, damage } = found;
        assert_eq!((missing, damage), (&Vec::new(), &None), "{at}");
        let certain = *state == self.oracle.state;
        assert!(
            certain || Some(state) == self.oracle.maybe.as_ref(),
            "{at}: manifest says {:?}, not {:?}",
            state.parts.keys(),
            self.oracle.state.parts.keys()
        );
        self.oracle.state = state.clone();
        self.oracle.maybe = None;
        for name in state.parts.keys() {
            let reader = PartReader::open(&self.fs, &path(name)).unwrap();
            let mut refs = reader.meta();
            for (kind, bytes) in &self.oracle.parts[name] {
                let block = BlockRef::decode(&mut refs).unwrap();
                assert_eq!(reader.block(block, *kind).unwrap(), *bytes, "{at}: part {name}");
            }
            assert!(refs.is_empty(), "{at}: part {name}");
        }
        let known = store.manifest.parts().keys().cloned().collect::<Vec<_>>();
        for entry in self.fs.list(Path::new(DIR)).unwrap().into_iter().filter(|e| !e.is_dir) {
            let expected = entry.name == "MANIFEST"
                || known.contains(&entry.name)
                || entry.name.ends_with(".orphan");
            assert!(expected, "{at}: leftover {}", entry.name);
        }
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

struct Replay {
    records: BTreeMap<u64, RecordBody>,
    recovery: storage::wal::Recovery,
}

struct Found {
    state: State,
    missing: Vec<String>,
    damage: Option<String>,
}

fn open(fs: &FaultyFs) -> Result<(Store, Replay, Found)> {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let (manifest, found) = Manifest::open(Arc::clone(&fs), Path::new(DIR))?;
    let mut records = BTreeMap::new();
    let (wal, recovery) = Wal::open(fs, Path::new(WAL_DIR), CONFIG, &mut |r| {
        let old = records.insert(r.seq, (r.kind, r.payload.to_vec()));
        assert_eq!(old, None, "record {} came twice", r.seq);
        Ok(())
    })?;
    let state = State { parts: found.parts, values: found.values };
    let found = Found { state, missing: found.missing, damage: found.damage };
    Ok((Store { wal, manifest }, Replay { records, recovery }, found))
}

#[test]
fn acknowledged_is_kept_and_nothing_is_invented() {
    let seeds = seeds(400, 20_000);
    let mut restarts = 0;
    for seed in 0..seeds {
        let mut world = World::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
        if let Err(panic) = outcome {
            eprintln!("failing seed: {seed} (step {})", world.step);
            std::panic::resume_unwind(panic);
        }
        restarts += world.restarts;
    }
    assert!(restarts > seeds, "the histories contain restarts");
}

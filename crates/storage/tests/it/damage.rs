//! Random damage to the files of a store: it always opens, never shows a wrong byte, and says what it misses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::model::ErrorKind;
use storage::fs::{FaultyFs, Fs};
use storage::manifest::{Edit, Manifest};
use storage::part::{BlockRef, PartReader, PartWriter};
use storage::wal::{Durability, Wal, WalConfig};

use crate::dice::{Dice, seeds};

const DIR: &str = "/s";
const WAL_DIR: &str = "/s/wal";
const CONFIG: WalConfig = WalConfig { segment_bytes: 600, durability: Durability::Strict };

/// What was written.
#[derive(Default)]
struct History {
    records: BTreeMap<u64, Vec<u8>>,
    parts: BTreeMap<String, Vec<Vec<u8>>>,
}

fn write(fs: &FaultyFs, dice: &mut Dice) -> History {
    let mut history = History::default();
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let (mut manifest, _) = Manifest::open(Arc::clone(&fs), Path::new(DIR)).unwrap();
    let (mut wal, _) =
        Wal::open(Arc::clone(&fs), Path::new(WAL_DIR), CONFIG, &mut |_| Ok(())).unwrap();
    for _ in 0..30 {
        for _ in 0..=dice.roll(3) {
            let payload = dice.bytes(60);
            history.records.insert(wal.append(1, &payload).unwrap(), payload);
        }
        wal.sync().unwrap();
        if dice.roll(6) == 0 {
            let name = format!("part{}", history.parts.len());
            let mut part =
                PartWriter::create(Arc::clone(&fs), &Path::new(DIR).join(&name)).unwrap();
            let (mut meta, mut blocks) = (Vec::new(), Vec::new());
            for _ in 0..dice.roll(4) {
                blocks.push(dice.bytes(100));
                part.block(7, &blocks[blocks.len() - 1]).unwrap().encode(&mut meta);
            }
            part.finish(&meta).unwrap();
            history.parts.insert(name.clone(), blocks);
            manifest.commit(&[Edit::AddPart { name, meta: b"meta".to_vec() }]).unwrap();
        }
    }
    history
}

/// Damages one file and says which.
fn damage(fs: &FaultyFs, dice: &mut Dice) -> PathBuf {
    let mut files = Vec::new();
    for dir in [DIR, WAL_DIR] {
        let entries = fs.list(Path::new(dir)).unwrap();
        files
            .extend(entries.into_iter().filter(|e| !e.is_dir).map(|e| Path::new(dir).join(e.name)));
    }
    let path = files[dice.roll(files.len() as u64) as usize].clone();
    let mut bytes = fs.read(&path).unwrap();
    let len = bytes.len() as u64;
    match dice.roll(6) {
        0 => fs.remove(&path).unwrap(),
        1 => fs.put(&path, &vec![0; bytes.len()]),
        2 => fs.put(&path, &bytes[..dice.roll(len + 1) as usize]),
        3 => {
            let from = dice.roll(len + 1) as usize;
            let to = from + dice.roll(len + 1 - from as u64) as usize;
            bytes[from..to].fill(dice.roll(256) as u8);
            fs.put(&path, &bytes);
        }
        _ if len > 0 => fs.flip_bit(&path, dice.roll(len * 8)).unwrap(),
        _ => {}
    }
    path
}

fn check(fs: &FaultyFs, history: &History, at: &str) -> (BTreeMap<u64, Vec<u8>>, bool) {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let (_, state) = Manifest::open(Arc::clone(&fs), Path::new(DIR)).expect(at);
    for name in state.parts.keys().chain(&state.orphans) {
        let written = name.strip_suffix(".orphan").unwrap_or(name);
        let blocks = history.parts.get(written).unwrap_or_else(|| panic!("{at}: {name} invented"));
        match PartReader::open(&*fs, &Path::new(DIR).join(name)) {
            Ok(part) => check_part(&part, blocks, at),
            Err(e) => {
                let kind = e.kind();
                let missing = kind == ErrorKind::NotFound && state.missing.contains(name);
                assert!(missing || kind == ErrorKind::Corrupt, "{at}: {e}");
            }
        }
    }
    let mut records = BTreeMap::new();
    let (_, recovery) = Wal::open(fs, Path::new(WAL_DIR), CONFIG, &mut |r| {
        records.insert(r.seq, r.payload.to_vec());
        Ok(())
    })
    .expect(at);
    for (seq, payload) in &records {
        assert_eq!(history.records.get(seq), Some(payload), "{at}: record {seq} is wrong");
    }
    let told =
        !recovery.damage.is_empty() || recovery.torn_bytes > 0 || recovery.missing_records > 0;
    (records, told)
}

fn check_part(part: &PartReader, blocks: &[Vec<u8>], at: &str) {
    let mut refs = part.meta();
    for bytes in blocks {
        let block = BlockRef::decode(&mut refs).unwrap();
        match part.block(block, 7) {
            Ok(found) => assert_eq!(found, *bytes, "{at}"),
            Err(e) => assert_eq!(e.kind(), ErrorKind::Corrupt, "{at}: {e}"),
        }
    }
}

#[test]
fn damaged_stores_open_and_never_lie() {
    for seed in 0..seeds(400, 10_000) {
        let mut dice = Dice::new(seed);
        let fs = FaultyFs::new();
        let history = write(&fs, &mut dice);
        let mut damaged = Vec::new();
        for _ in 0..=dice.roll(3) {
            damaged.push(damage(&fs, &mut dice));
        }
        let at = format!("seed {seed}, damaged {damaged:?}");
        let (records, told) = check(&fs, &history, &at);
        // Only the ends of the list can go without a trace: an old segment may have been dropped on purpose, and the file
        // of the youngest may be gone or end after some frame.
        if let (Some((first, _)), Some((last, _))) =
            (records.first_key_value(), records.last_key_value())
        {
            let inside = history.records.range(first..=last).count();
            assert!(records.len() == inside || told, "{at}: silent loss");
        }
        // Repaired is repaired: the next start finds the same, whatever the power does.
        fs.crash(seed);
        let (again, _) = check(&fs, &history, &format!("{at}, second start"));
        assert_eq!(records, again, "{at}");
    }
}

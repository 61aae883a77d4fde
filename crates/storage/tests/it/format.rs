//! Files of every released version stay readable, and what is written today is the version it says.
//!
//! The files in `tests/format/vN` are never changed; a new version gets a new folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::fs::{FaultyFs, Fs};
use storage::manifest::{Edit, MANIFEST_FILE, Manifest};
use storage::part::{BlockRef, PartReader, PartWriter};
use storage::wal::{Durability, Wal, WalConfig};

const DIR: &str = "/s";
const WAL_DIR: &str = "/s/wal";
const SEGMENT: &str = "00000000000000000001.wal";
const CONFIG: WalConfig = WalConfig { segment_bytes: 1 << 20, durability: Durability::Strict };

const V1_WAL: &[u8] = include_bytes!("../format/v1/00000000000000000001.wal");
const V1_MANIFEST: &[u8] = include_bytes!("../format/v1/MANIFEST");
const V1_PART: &[u8] = include_bytes!("../format/v1/part");

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn open_wal(fs: &Arc<dyn Fs>) -> (Wal, Vec<(u64, u8, Vec<u8>)>) {
    let mut records = Vec::new();
    let (wal, recovery) = Wal::open(Arc::clone(fs), Path::new(WAL_DIR), CONFIG, &mut |r| {
        records.push((r.seq, r.kind, r.payload.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!((recovery.damage.len(), recovery.torn_bytes), (0, 0));
    (wal, records)
}

#[test]
fn version_1_is_what_is_written() {
    let faulty = FaultyFs::new();
    let fs: Arc<dyn Fs> = Arc::new(faulty.clone());
    let (mut manifest, _) = Manifest::open(Arc::clone(&fs), Path::new(DIR)).unwrap();
    let mut part = PartWriter::create(Arc::clone(&fs), &path("part")).unwrap();
    let mut meta = Vec::new();
    part.block(1, b"first block").unwrap().encode(&mut meta);
    part.block(200, b"").unwrap().encode(&mut meta);
    part.finish(&meta).unwrap();
    let add = Edit::AddPart { name: "part".into(), meta: b"meta of part".to_vec() };
    let flushed = Edit::Set { key: "flushed".into(), value: vec![2] };
    manifest.commit(&[add, flushed]).unwrap();
    let other = Edit::AddPart { name: "other".into(), meta: Vec::new() };
    manifest.commit(&[other, Edit::Unset { key: "never".into() }]).unwrap();
    manifest.commit(&[Edit::RemovePart { name: "other".into() }]).unwrap();
    let (mut wal, _) = open_wal(&fs);
    wal.append(1, b"first record").unwrap();
    wal.append(127, b"").unwrap();
    wal.sync().unwrap();
    wal.append(3, &[0xFF, 0]).unwrap();
    wal.sync().unwrap();
    assert_eq!(fs.read(&Path::new(WAL_DIR).join(SEGMENT)).unwrap(), V1_WAL);
    assert_eq!(fs.read(&path(MANIFEST_FILE)).unwrap(), V1_MANIFEST);
    assert_eq!(fs.read(&path("part")).unwrap(), V1_PART);
}

#[test]
fn version_1_is_read() {
    let faulty = FaultyFs::new();
    faulty.create_dir_all(Path::new(WAL_DIR)).unwrap();
    faulty.put(&Path::new(WAL_DIR).join(SEGMENT), V1_WAL);
    faulty.put(&path(MANIFEST_FILE), V1_MANIFEST);
    faulty.put(&path("part"), V1_PART);
    let fs: Arc<dyn Fs> = Arc::new(faulty);
    let (manifest, state) = Manifest::open(Arc::clone(&fs), Path::new(DIR)).unwrap();
    assert_eq!(state.damage, None);
    assert_eq!(manifest.value("flushed"), Some(&[2][..]));
    let parts: Vec<_> = state.parts.into_iter().collect();
    assert_eq!(parts, [("part".to_owned(), b"meta of part".to_vec())]);
    let part = PartReader::open(&*fs, &path("part")).unwrap();
    let mut refs = part.meta();
    let (first, second) =
        (BlockRef::decode(&mut refs).unwrap(), BlockRef::decode(&mut refs).unwrap());
    assert_eq!(part.block(first, 1).unwrap(), b"first block");
    assert_eq!(part.block(second, 200).unwrap(), b"");
    let (wal, records) = open_wal(&fs);
    let expected = [(1, 1, b"first record".to_vec()), (2, 127, Vec::new()), (3, 3, vec![0xFF, 0])];
    assert_eq!(records, expected);
    assert_eq!(wal.next_seq(), 4);
}

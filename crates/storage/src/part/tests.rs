//! Parts appear whole or not at all, and no damage passes.

use model::ErrorKind;
use proptest::prelude::*;

use super::*;
use crate::fs::{FaultyFs, FsCall};

const DIR: &str = "/d";
const PATH: &str = "/d/p";

fn disk() -> (FaultyFs, Arc<dyn Fs>) {
    let faulty = FaultyFs::new();
    faulty.create_dir_all(Path::new(DIR)).unwrap();
    (faulty.clone(), Arc::new(faulty))
}

fn write(fs: &Arc<dyn Fs>, blocks: &[(u8, Vec<u8>)], meta: &[u8]) -> Result<Vec<BlockRef>> {
    let mut writer = PartWriter::create(Arc::clone(fs), Path::new(PATH))?;
    let refs = blocks.iter().map(|(kind, b)| writer.block(*kind, b)).collect::<Result<Vec<_>>>()?;
    let expected = writer.bytes();
    let bytes = writer.finish(meta)?;
    assert!(bytes > expected);
    Ok(refs)
}

fn blocks() -> Vec<(u8, Vec<u8>)> {
    let big = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    vec![(1, b"one".to_vec()), (2, Vec::new()), (3, big), (1, vec![0; 1000])]
}

#[test]
fn what_was_written_is_read() {
    let (_, fs) = disk();
    let refs = write(&fs, &blocks(), b"meta").unwrap();
    let reader = PartReader::open(&*fs, Path::new(PATH)).unwrap();
    assert_eq!((reader.meta(), reader.block_count()), (&b"meta"[..], 4));
    assert_eq!(reader.bytes(), fs.list(Path::new(DIR)).unwrap()[0].len);
    let mut buffer = Vec::new();
    for (r, (kind, bytes)) in refs.iter().zip(blocks()) {
        assert_eq!(reader.block(*r, kind).unwrap(), bytes);
        assert_eq!(reader.block_in(*r, kind, &mut buffer).unwrap(), bytes);
        let error = reader.block(*r, kind + 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(&format!("{PATH} at {}", r.offset)), "{error}");
    }
}

#[test]
fn references_survive_encoding_and_lies_are_refused() {
    let (_, fs) = disk();
    let refs = write(&fs, &blocks(), b"").unwrap();
    let mut bytes = Vec::new();
    for r in &refs {
        r.encode(&mut bytes);
    }
    assert_eq!(bytes.len(), refs.len() * BlockRef::ENCODED_BYTES);
    let mut rest = bytes.as_slice();
    for r in &refs {
        assert_eq!(BlockRef::decode(&mut rest), Some(*r));
    }
    assert_eq!(BlockRef::decode(&mut rest), None);
    let reader = PartReader::open(&*fs, Path::new(PATH)).unwrap();
    for (offset, len) in [(0, u32::MAX), (u64::MAX, 1), (u64::MAX - 5, u32::MAX), (9, 3), (8, 4)] {
        let error = reader.block(BlockRef { offset, len }, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{offset} {len}");
    }
}

/// A part is there whole or not at all, whichever call fails and however the machine goes down.
#[test]
fn every_failing_call_and_crash_leaves_all_or_nothing() {
    let blocks = [(1, b"one".to_vec()), (2, vec![7; BUFFER_BYTES - 10]), (3, b"three".to_vec())];
    let (faulty, fs) = disk();
    write(&fs, &blocks, b"meta").unwrap();
    let calls = faulty.changes();
    assert!(calls >= 6, "create, two writes, sync, rename, sync_dir");
    for nth in 0..calls {
        for seed in 0..8 {
            let (faulty, fs) = disk();
            faulty.fail_io(FsCall::Change, nth);
            let finished = write(&fs, &blocks, b"meta").is_ok();
            faulty.crash(seed);
            match PartReader::open(&*fs, Path::new(PATH)) {
                Ok(reader) => assert_eq!(reader.meta(), b"meta", "call {nth} seed {seed}"),
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::NotFound, "call {nth} seed {seed}: {e}");
                    assert!(!finished, "call {nth} seed {seed}: finished part is gone");
                }
            }
        }
    }
}

#[test]
fn a_full_disk_is_busy_and_leaves_no_file() {
    let (faulty, fs) = disk();
    faulty.set_capacity(Some(100_000));
    assert_eq!(write(&fs, &blocks(), b"").unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(fs.list(Path::new(DIR)).unwrap(), []);
}

#[test]
fn limits_are_refused() {
    let (_, fs) = disk();
    let mut writer = PartWriter::create(Arc::clone(&fs), Path::new(PATH)).unwrap();
    assert_eq!(writer.block(KIND_MAX + 1, b"").unwrap_err().kind(), ErrorKind::Invalid);
    drop(writer);
    assert_eq!(fs.list(Path::new(DIR)).unwrap(), [], "nothing is left of a dropped writer");
}

fn small_part() -> (FaultyFs, Arc<dyn Fs>, Vec<BlockRef>, Vec<u8>) {
    let (faulty, fs) = disk();
    let refs = write(&fs, &[(1, b"alpha".to_vec()), (2, b"beta".to_vec())], b"meta").unwrap();
    let bytes = faulty.read(Path::new(PATH)).unwrap();
    (faulty, fs, refs, bytes)
}

#[test]
fn every_flipped_bit_is_found_or_harmless() {
    let (faulty, fs, refs, bytes) = small_part();
    for bit in 0..bytes.len() as u64 * 8 {
        faulty.put(Path::new(PATH), &bytes);
        faulty.flip_bit(Path::new(PATH), bit).unwrap();
        let Ok(reader) = PartReader::open(&*fs, Path::new(PATH)) else { continue };
        assert_eq!(reader.meta(), b"meta");
        for (r, (kind, content)) in refs.iter().zip([(1, "alpha"), (2, "beta")]) {
            if let Ok(block) = reader.block(*r, kind) {
                assert_eq!(block, content.as_bytes(), "bit {bit}");
            }
        }
    }
}

#[test]
fn every_shorter_or_longer_file_is_refused() {
    let (faulty, fs, _, mut bytes) = small_part();
    for len in 0..bytes.len() {
        faulty.put(Path::new(PATH), &bytes[..len]);
        let error = PartReader::open(&*fs, Path::new(PATH)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{len}");
    }
    let trailer = bytes[bytes.len() - TRAILER_BYTES..].to_vec();
    bytes.extend_from_slice(&trailer);
    faulty.put(Path::new(PATH), &bytes);
    assert_eq!(PartReader::open(&*fs, Path::new(PATH)).unwrap_err().kind(), ErrorKind::Corrupt);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind: u8) {
        prop_assert!(decode_footer(&bytes).is_err());
        decode_block(&bytes, 0, kind).ok();
    }

    #[test]
    fn forged_trailers_are_survived(
        offset: u64, len: u32, count: u32, file_bytes: u64, version in 0_u32..3, exact: bool
    ) {
        let (faulty, fs) = disk();
        let mut bytes = MAGIC.to_vec();
        let file_bytes = if exact { (MAGIC.len() + TRAILER_BYTES) as u64 } else { file_bytes };
        BlockRef { offset, len }.encode(&mut bytes);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&file_bytes.to_le_bytes());
        bytes.extend_from_slice(&version.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[MAGIC.len()..]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&MAGIC);
        faulty.put(Path::new(PATH), &bytes);
        prop_assert!(PartReader::open(&*fs, Path::new(PATH)).is_err());
    }
}

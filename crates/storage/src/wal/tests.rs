//! Replay after every kind of ending. The random model test is in `tests/it`.

use model::ErrorKind;
use proptest::prelude::*;

use super::*;
use crate::fs::{FaultyFs, FsCall};

const DIR: &str = "/wal";

type Records = Vec<(u64, u8, Vec<u8>)>;

fn config(segment_bytes: u64) -> WalConfig {
    WalConfig { segment_bytes, durability: Durability::Strict }
}

fn try_open(fs: &FaultyFs, segment_bytes: u64) -> Result<(Wal, Recovery, Records)> {
    let mut records = Vec::new();
    let (wal, recovery) =
        Wal::open(Arc::new(fs.clone()), Path::new(DIR), config(segment_bytes), &mut |r| {
            records.push((r.seq, r.kind, r.payload.to_vec()));
            Ok(())
        })?;
    assert_eq!(recovery.records, records.len() as u64);
    Ok((wal, recovery, records))
}

fn open(fs: &FaultyFs, segment_bytes: u64) -> (Wal, Recovery, Records) {
    try_open(fs, segment_bytes).unwrap()
}

fn payload(seq: u64) -> Vec<u8> {
    (0..seq % 40).map(|i| (seq * 7 + i) as u8).collect()
}

/// Appends and syncs `count` records; what they are follows from their sequence numbers.
fn fill(wal: &mut Wal, count: u64) -> Records {
    let mut records = Vec::new();
    for _ in 0..count {
        let next = wal.next_seq();
        let (kind, payload) = ((next % 128) as u8, payload(next));
        assert_eq!(wal.append(kind, &payload).unwrap(), next);
        records.push((next, kind, payload));
    }
    wal.sync().unwrap();
    records
}

fn segments(fs: &FaultyFs) -> Vec<String> {
    let names = fs.list(Path::new(DIR)).unwrap().into_iter().map(|e| e.name);
    names.filter(|n| n.ends_with(".wal")).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

#[test]
fn replay_gives_back_what_was_synced_across_segments_and_restarts() {
    let fs = FaultyFs::new();
    let (mut wal, recovery, records) = open(&fs, 200);
    assert_eq!((records.len(), recovery.next_seq), (0, 1));
    let mut expected = fill(&mut wal, 50);
    for seed in 0..10 {
        fs.crash(seed);
        let (mut wal, recovery, records) = open(&fs, 200);
        assert_eq!(records, expected);
        assert_eq!((&recovery.damage[..], recovery.missing_records), (&[][..], 0));
        expected.extend(fill(&mut wal, 5));
        let on_disk: u64 = fs.list(Path::new(DIR)).unwrap().iter().map(|e| e.len).sum();
        assert_eq!(wal.bytes(), on_disk);
    }
    assert!(segments(&fs).len() > 5);
}

#[test]
fn sequence_numbers_go_on_when_all_records_are_dropped() {
    let fs = FaultyFs::new();
    let (mut wal, ..) = open(&fs, 200);
    fill(&mut wal, 50);
    wal.drop_before(20).unwrap();
    fs.crash(1);
    let (mut wal, recovery, records) = open(&fs, 200);
    let first = records[0].0;
    assert!((10..=20).contains(&first), "{first}");
    assert_eq!((records.len() as u64, recovery.missing_records), (51 - first, 0));
    wal.drop_before(51).unwrap();
    assert_eq!(segments(&fs).len(), 1);
    for seed in 0..5 {
        fs.crash(seed);
        let (wal, recovery, records) = open(&fs, 200);
        assert_eq!((wal.next_seq(), records.len(), recovery.missing_records), (51, 0, 0));
    }
}

/// In interval mode a part can be ahead of what the WAL has after a power loss.
#[test]
fn numbers_that_a_part_has_are_not_given_again() {
    for seed in 0..20 {
        let fs = FaultyFs::new();
        let (mut wal, ..) = open(&fs, 1 << 20);
        fill(&mut wal, 5);
        for _ in 0..5 {
            wal.append(1, b"in a part, not synced here").unwrap();
        }
        fs.crash(seed);
        let (mut wal, _, records) = open(&fs, 1 << 20);
        wal.ensure_next_seq(11).unwrap();
        assert_eq!(wal.next_seq(), 11);
        wal.ensure_next_seq(3).unwrap();
        assert_eq!(wal.append(2, b"new").unwrap(), 11);
        wal.sync().unwrap();
        fs.crash(seed + 1);
        let (_, recovery, again) = open(&fs, 1 << 20);
        assert_eq!(again, [records, vec![(11, 2, b"new".to_vec())]].concat());
        assert_eq!(recovery.damage, []);
    }
}

/// P8: a WAL cut at any byte starts, with a prefix of its records.
#[test]
fn cut_at_every_byte_leaves_a_prefix() {
    let fs = FaultyFs::new();
    let (mut wal, ..) = open(&fs, 1 << 20);
    let expected = fill(&mut wal, 30);
    drop(wal);
    let file = path(&segments(&fs)[0]);
    let bytes = fs.read(&file).unwrap();
    for len in 0..=bytes.len() {
        let fs = FaultyFs::new();
        fs.create_dir_all(Path::new(DIR)).unwrap();
        fs.put(&file, &bytes[..len]);
        let (mut wal, recovery, records) = open(&fs, 1 << 20);
        assert!(expected.starts_with(&records), "cut at {len}");
        assert_eq!(recovery.damage, [], "cut at {len}");
        if len >= SEGMENT_HEADER_BYTES {
            let good: usize =
                records.iter().map(|(_, _, p)| p.len() + frame::FRAME_HEADER_BYTES).sum();
            let torn = (len - SEGMENT_HEADER_BYTES - good) as u64;
            assert_eq!(recovery.torn_bytes, torn, "cut at {len}");
        }
        // It goes on from there, and the next start sees the old and the new.
        let new = fill(&mut wal, 2);
        let (_, recovery, again) = open(&fs, 1 << 20);
        assert_eq!(again, [records, new].concat(), "cut at {len}");
        assert_eq!((recovery.torn_bytes, &recovery.damage[..]), (0, &[][..]), "cut at {len}");
    }
}

/// A flipped bit costs at most the record it is in (the last synced group may go with it), and is reported.
#[test]
fn every_flipped_bit_costs_one_record_or_the_unproven_tail() {
    let fs = FaultyFs::new();
    let (mut wal, ..) = open(&fs, 300);
    let mut expected = Vec::new();
    for _ in 0..12 {
        expected.extend(fill(&mut wal, 2));
    }
    drop(wal);
    let names = segments(&fs);
    assert!(names.len() > 2);
    let contents: Vec<Vec<u8>> = names.iter().map(|n| fs.read(&path(n)).unwrap()).collect();
    for (i, name) in names.iter().enumerate() {
        for bit in 0..contents[i].len() as u64 * 8 {
            let fs = FaultyFs::new();
            fs.create_dir_all(Path::new(DIR)).unwrap();
            for (name, bytes) in names.iter().zip(&contents) {
                fs.put(&path(name), bytes);
            }
            fs.flip_bit(&path(name), bit).unwrap();
            let (_, recovery, records) = open(&fs, 300);
            let at = format!("segment {i} bit {bit}: {recovery:?}");
            assert!(records.iter().all(|r| expected.contains(r)), "invented: {at}");
            assert!(records.is_sorted_by_key(|r| r.0), "{at}");
            let lost = expected.len() - records.len();
            if recovery.damage.is_empty() {
                assert!(i == names.len() - 1 && recovery.torn_bytes > 0 && lost <= 2, "{at}");
            } else {
                assert!(lost <= 1, "{at}");
                let kept = fs.read(&path(&recovery.damage[0].kept_as)).unwrap();
                assert_eq!(kept.len(), contents[i].len(), "{at}");
            }
            // What could be saved was written anew: the next start finds it without damage.
            let (_, recovery, again) = open(&fs, 300);
            assert_eq!((again, &recovery.damage[..]), (records, &[][..]), "{at}");
        }
    }
}

#[test]
fn zeroed_and_missing_segments_cost_only_themselves() {
    for zero in [true, false] {
        let fs = FaultyFs::new();
        let (mut wal, ..) = open(&fs, 200);
        let expected = fill(&mut wal, 50);
        drop(wal);
        let names = segments(&fs);
        let victim = path(&names[3]);
        let len = fs.read(&victim).unwrap().len();
        if zero {
            fs.put(&victim, &vec![0; len]);
        } else {
            fs.remove(&victim).unwrap();
        }
        let (_, recovery, records) = open(&fs, 200);
        assert_eq!(recovery.damage.len(), usize::from(zero));
        assert_eq!(recovery.missing_records, (expected.len() - records.len()) as u64);
        assert!(recovery.missing_records > 0);
        assert!(records.iter().all(|r| expected.contains(r)));
    }
}

/// A write that arrived only in part must not let later ones of the same unsynced group through: they were promised to
/// come after it.
#[test]
fn nothing_follows_a_lost_unsynced_record() {
    for seed in 0..300 {
        let fs = FaultyFs::new();
        let (mut wal, ..) = open(&fs, 1 << 20);
        let synced = fill(&mut wal, 3);
        for seq in 4..12 {
            wal.append((seq % 128) as u8, &[seq as u8; 100]).unwrap();
        }
        fs.crash(seed);
        let (_, recovery, records) = open(&fs, 1 << 20);
        assert!(records.starts_with(&synced), "seed {seed}");
        let seqs: Vec<u64> = records.iter().map(|r| r.0).collect();
        assert_eq!(seqs, (1..=records.len() as u64).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(recovery.damage, [], "seed {seed}");
    }
}

#[test]
fn a_failed_sync_ends_it() {
    let fs = FaultyFs::new();
    let (mut wal, ..) = open(&fs, 1 << 20);
    wal.append(1, b"x").unwrap();
    fs.fail_io(FsCall::Sync, 0);
    assert_eq!(wal.sync().unwrap_err().kind(), ErrorKind::Io);
    for outcome in [wal.append(1, b"y").map(drop), wal.sync(), wal.drop_before(9)] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.message().contains("restart"), "{error}");
    }
}

#[test]
fn a_full_disk_passes() {
    let fs = FaultyFs::new();
    let (mut wal, ..) = open(&fs, 1 << 20);
    let mut expected = fill(&mut wal, 10);
    fs.set_capacity(Some(wal.bytes() + 20));
    assert_eq!(wal.append(1, &[9; 100]).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(wal.append(1, &[9; 100]).unwrap_err().kind(), ErrorKind::Busy);
    fs.set_capacity(None);
    expected.extend(fill(&mut wal, 10));
    // The same for the start of a new segment.
    let (mut wal, _, records) = open(&fs, 100);
    assert_eq!(records, expected);
    expected.extend(fill(&mut wal, 10));
    fs.set_capacity(Some(0));
    assert_eq!(wal.append(1, &[9; 200]).unwrap_err().kind(), ErrorKind::Busy);
    fs.set_capacity(None);
    expected.extend(fill(&mut wal, 10));
    fs.crash(3);
    let (_, recovery, records) = open(&fs, 1 << 20);
    assert_eq!((records, &recovery.damage[..]), (expected, &[][..]));
}

#[test]
fn limits_are_refused() {
    let fs = FaultyFs::new();
    let (mut wal, ..) = open(&fs, 100);
    assert_eq!(wal.append(KIND_MAX + 1, b"").unwrap_err().kind(), ErrorKind::Invalid);
    let big = vec![0; PAYLOAD_BYTES_MAX + 1];
    assert_eq!(wal.append(1, &big).unwrap_err().kind(), ErrorKind::Invalid);
    // A record larger than a segment, and than what is read at a time.
    wal.append(1, &vec![7; 3 << 20]).unwrap();
    wal.append(2, b"").unwrap();
    let (_, _, records) = open(&fs, 100);
    assert_eq!(records.iter().map(|r| r.2.len()).collect::<Vec<_>>(), [3 << 20, 0]);
}

#[test]
fn a_newer_version_is_refused_untouched() {
    let fs = FaultyFs::new();
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let mut header = segment_header(1);
    header[8] = 2;
    let crc = crc32c::crc32c(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    let file = path(&recovery::segment_name(1));
    fs.put(&file, &header);
    let error = try_open(&fs, 100).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("version 2"), "{error}");
    assert_eq!(fs.read(&file).unwrap(), header);
}

#[test]
fn an_error_of_the_visitor_ends_the_replay() {
    let fs = FaultyFs::new();
    let (mut wal, ..) = open(&fs, 100);
    fill(&mut wal, 3);
    let error = Wal::open(Arc::new(fs), Path::new(DIR), config(100), &mut |r| {
        if r.seq == 2 { Err(Error::corrupt("cannot read that")) } else { Ok(()) }
    });
    assert_eq!(error.unwrap_err().message(), "replay wal record 2: cannot read that");
}

/// Salvage looks at every byte; bytes made to look like huge frames everywhere must not make that quadratic.
#[test]
fn salvage_is_bounded() {
    let mut bytes = Vec::new();
    while bytes.len() < 1 << 20 {
        // Every header claims a frame of half the input with the right sequence number.
        frame::encode(1, 1, false, b"", &mut bytes);
        let at = bytes.len() - frame::FRAME_HEADER_BYTES;
        bytes[at..at + 4].copy_from_slice(&(1_u32 << 19).to_le_bytes());
    }
    assert_eq!(frame::salvage(&bytes, 1, u64::MAX), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_survived(
        files in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..4),
        with_header: bool,
    ) {
        let fs = FaultyFs::new();
        fs.create_dir_all(Path::new(DIR)).unwrap();
        for (i, bytes) in files.iter().enumerate() {
            let first_seq = 1 + i as u64 * 10;
            let mut content = if with_header { segment_header(first_seq).to_vec() } else { vec![] };
            content.extend_from_slice(bytes);
            fs.put(&path(&recovery::segment_name(first_seq)), &content);
        }
        let (mut wal, _, records) = open(&fs, 100);
        prop_assert_eq!(records.len(), 0);
        let new = fill(&mut wal, 3);
        let (_, _, records) = open(&fs, 100);
        prop_assert_eq!(records, new);
    }

    #[test]
    fn decode_frames_survives_edits(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = Vec::new();
        let mut original = Vec::new();
        for seq in 1..10 {
            frame::encode(seq, 3, seq == 1, &payload(seq), &mut bytes);
            original.push((seq, payload(seq)));
        }
        for (index, value) in edits {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let mut seen = Vec::new();
        let decoded = decode_frames(&bytes, 1, &mut |r| {
            seen.push((r.seq, r.payload.to_vec()));
            Ok(())
        }).unwrap();
        prop_assert!(original.starts_with(&seen));
        prop_assert!(decoded.consumed <= bytes.len());
        let saved = frame::salvage(&bytes, 1, u64::MAX);
        for (_, f) in saved {
            prop_assert!(original.contains(&(f.seq, f.payload.to_vec())));
        }
    }
}

/// All records of `tail` below `end_seq`.
fn tailed(tail: &mut Tail, end_seq: u64) -> Records {
    let mut records = Vec::new();
    while let Some(record) =
        tail.next(end_seq, &mut |r| Ok((r.seq, r.kind, r.payload.to_vec()))).unwrap()
    {
        records.push(record);
    }
    records
}

#[test]
fn a_tail_reads_while_the_log_is_written_and_cut() {
    let fs = FaultyFs::new();
    let (mut wal, ..) = open(&fs, 200);
    let mut tail = Tail::new(Arc::new(fs.clone()), Path::new(DIR), 1);
    assert_eq!(tailed(&mut tail, wal.next_seq()), []);
    let mut written = fill(&mut wal, 3);
    // Not further than it is told.
    assert_eq!(tailed(&mut tail, 3), written[..2]);
    written.extend(fill(&mut wal, 40));
    assert!(segments(&fs).len() > 3);
    assert_eq!(tailed(&mut tail, wal.next_seq()), written[2..]);
    assert_eq!(tail.next_seq(), wal.next_seq());
    // Another one begins in the middle, and behind what is gone.
    let mut middle = Tail::new(Arc::new(fs.clone()), Path::new(DIR), 20);
    assert_eq!(tailed(&mut middle, 25), written[19..24]);
    wal.drop_before(wal.next_seq()).unwrap();
    middle = Tail::new(Arc::new(fs.clone()), Path::new(DIR), 25);
    assert_eq!(tailed(&mut middle, wal.next_seq()), []);
    let more = fill(&mut wal, 2);
    assert_eq!(tailed(&mut middle, wal.next_seq()), more);
    assert_eq!(tailed(&mut tail, wal.next_seq()), more);
}

//! Commits are atomic and durable, and damage never throws parts away.

use proptest::prelude::*;

use super::*;
use crate::fs::{FaultyFs, FsCall};

const DIR: &str = "/m";

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn open(fs: &FaultyFs) -> (Manifest, ManifestState) {
    Manifest::open(Arc::new(fs.clone()), Path::new(DIR)).unwrap()
}

fn add(name: &str, meta: &[u8]) -> Edit {
    Edit::AddPart { name: name.into(), meta: meta.into() }
}

fn remove(name: &str) -> Edit {
    Edit::RemovePart { name: name.into() }
}

fn set(key: &str, value: &[u8]) -> Edit {
    Edit::Set { key: key.into(), value: value.into() }
}

fn parts(state: &ManifestState) -> Vec<&str> {
    state.parts.keys().map(String::as_str).collect()
}

/// A manifest with parts `a` and `b` (their files exist), and one record per edit.
fn two_parts() -> FaultyFs {
    let fs = FaultyFs::new();
    let (mut manifest, _) = open(&fs);
    for name in ["a", "b"] {
        fs.put(&path(name), name.as_bytes());
        manifest.commit(&[add(name, b"meta"), set("last", name.as_bytes())]).unwrap();
    }
    fs
}

#[test]
fn commits_survive_and_leftovers_go() {
    let fs = two_parts();
    for name in ["c", "d.tmp", "x.corrupt", "00000000000000000001.wal", fs::LOCK_FILE] {
        fs.put(&path(name), b"?");
    }
    fs.create_dir_all(&path("wal")).unwrap();
    fs.crash(7);
    let (manifest, state) = open(&fs);
    assert_eq!(parts(&state), ["a", "b"]);
    assert_eq!(manifest.value("last"), Some(&b"b"[..]));
    assert_eq!((&state.missing, &state.orphans, &state.damage), (&vec![], &vec![], &None));
    let names: Vec<String> = fs.list(Path::new(DIR)).unwrap().into_iter().map(|e| e.name).collect();
    let kept = ["00000000000000000001.wal", "MANIFEST", "a", "b", "lock", "wal", "x.corrupt"];
    assert_eq!(names, kept);
}

#[test]
fn removals_count_and_missing_files_are_named() {
    let fs = two_parts();
    let (mut manifest, _) = open(&fs);
    manifest.commit(&[remove("a"), remove("never"), Edit::Unset { key: "last".into() }]).unwrap();
    assert_eq!(manifest.parts().len(), 1);
    fs.remove(&path("b")).unwrap();
    let (manifest, state) = open(&fs);
    assert_eq!((parts(&state), manifest.value("last")), (vec!["b"], None));
    assert_eq!(state.missing, ["b"]);
    assert!(!fs.exists(&path("a")).unwrap(), "a dead part is a leftover");
}

#[test]
fn it_is_compacted_when_mostly_history() {
    let fs = two_parts();
    let (mut manifest, _) = open(&fs);
    let value = vec![1; 1000];
    for i in 0..1000_u32 {
        manifest.commit(&[set("k", &value), set("n", &i.to_le_bytes())]).unwrap();
    }
    let bytes = fs.read(&path(MANIFEST_FILE)).unwrap().len() as u64;
    assert!(bytes < COMPACT_BYTES_MIN + 2000, "{bytes}");
    fs.crash(1);
    let (manifest, state) = open(&fs);
    assert_eq!(parts(&state), ["a", "b"]);
    assert_eq!(manifest.value("n"), Some(&999_u32.to_le_bytes()[..]));
}

#[test]
fn unusable_names_are_refused() {
    let fs = two_parts();
    let (mut manifest, _) = open(&fs);
    for name in ["", ".", "..", "x/y", "MANIFEST", "MANIFEST.tmp", "x.corrupt", "lock", "1.wal"] {
        let error = manifest.commit(&[add(name, b"")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
    }
    assert_eq!(manifest.parts().len(), 2);
}

#[test]
fn a_full_disk_passes_and_a_failed_sync_does_not() {
    let fs = two_parts();
    let (mut manifest, _) = open(&fs);
    fs.fail_full(FsCall::Write, 0);
    assert_eq!(manifest.commit(&[set("x", b"1")]).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(manifest.value("x"), None);
    manifest.commit(&[set("y", b"2")]).unwrap();
    fs.crash(1);
    let (mut manifest, state) = open(&fs);
    assert_eq!(state.values.keys().collect::<Vec<_>>(), ["last", "y"]);
    assert_eq!(state.damage, None);
    fs.fail_io(FsCall::Sync, 0);
    assert_eq!(manifest.commit(&[set("x", b"1")]).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(manifest.commit(&[set("x", b"1")]).unwrap_err().kind(), ErrorKind::Io);
}

/// Whatever bit flips: no part is thrown away, nothing is invented, and it opens.
#[test]
fn every_flipped_bit_keeps_all_part_files() {
    let fs = two_parts();
    let bytes = fs.read(&path(MANIFEST_FILE)).unwrap();
    for bit in 0..bytes.len() as u64 * 8 {
        let fs = two_parts();
        fs.flip_bit(&path(MANIFEST_FILE), bit).unwrap();
        for start in 0..2 {
            let (_, state) = open(&fs);
            let at = format!("bit {bit} start {start}: {state:?}");
            for name in ["a", "b"] {
                let orphan = format!("{name}.orphan");
                let live = state.parts.contains_key(name);
                assert!(live != state.orphans.contains(&orphan), "{at}");
                let file = path(if live { name } else { &orphan });
                assert_eq!(fs.read(&file).unwrap(), name.as_bytes(), "{at}");
            }
            assert!(state.parts.values().all(|meta| meta == b"meta"), "{at}");
            // The second start finds a whole manifest again.
            assert!(start == 0 || state.damage.is_none(), "{at}");
        }
    }
}

#[test]
fn every_cut_keeps_all_part_files_and_a_prefix() {
    let fs = two_parts();
    let bytes = fs.read(&path(MANIFEST_FILE)).unwrap();
    for len in 0..bytes.len() {
        let fs = two_parts();
        fs.put(&path(MANIFEST_FILE), &bytes[..len]);
        let (_, state) = open(&fs);
        assert!(matches!(parts(&state)[..], [] | ["a"]), "cut at {len}");
        // A cut between two records looks like an older manifest: only then are unknown files leftovers.
        let clean = decode(&bytes[..len]).unwrap();
        if clean.damage.is_some() || clean.torn_bytes > 0 {
            assert_eq!(state.parts.len() + state.orphans.len(), 2, "cut at {len}: {state:?}");
        }
    }
}

#[test]
fn a_missing_manifest_orphans_what_is_there_and_orphans_can_be_adopted() {
    let fs = two_parts();
    fs.remove(&path(MANIFEST_FILE)).unwrap();
    let (mut manifest, state) = open(&fs);
    assert_eq!(state.orphans, ["a.orphan", "b.orphan"]);
    assert!(state.damage.is_some());
    manifest.commit(&[add("a.orphan", b"meta")]).unwrap();
    let (_, state) = open(&fs);
    assert_eq!(parts(&state), ["a.orphan"]);
    assert_eq!((state.orphans, state.damage), (vec!["b.orphan".to_owned()], None));
}

#[test]
fn a_newer_version_is_refused_untouched() {
    let fs = two_parts();
    let mut bytes = fs.read(&path(MANIFEST_FILE)).unwrap();
    bytes[..HEADER_BYTES].copy_from_slice(&header_of(2));
    fs.put(&path(MANIFEST_FILE), &bytes);
    let error = Manifest::open(Arc::new(fs.clone()), Path::new(DIR)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("version 2"), "{error}");
    assert_eq!(fs.read(&path(MANIFEST_FILE)).unwrap(), bytes);
    assert!(fs.exists(&path("a")).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_are_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), with_header: bool, framed: bool
    ) {
        let mut content = if with_header { header().to_vec() } else { Vec::new() };
        if framed {
            // Passes the checksum, so that the edits themselves are foreign bytes.
            frame::encode(1, KIND_EDITS, true, &bytes, &mut content);
        } else {
            content.extend_from_slice(&bytes);
        }
        let fs = FaultyFs::new();
        fs.create_dir_all(Path::new(DIR)).unwrap();
        fs.put(&path(MANIFEST_FILE), &content);
        let (mut manifest, _) = open(&fs);
        manifest.commit(&[set("k", b"v")]).unwrap();
        let (manifest, state) = open(&fs);
        prop_assert_eq!(manifest.value("k"), Some(&b"v"[..]));
        prop_assert_eq!(state.damage, None);
    }

    #[test]
    fn edits_survive_encoding(names in proptest::collection::vec((".{0,8}", any::<Vec<u8>>()), 0..8)) {
        let mut edits = Vec::new();
        for (i, (name, value)) in names.into_iter().enumerate() {
            edits.push(match i % 4 {
                0 => Edit::AddPart { name, meta: value },
                1 => Edit::RemovePart { name },
                2 => Edit::Set { key: name, value },
                _ => Edit::Unset { key: name },
            });
        }
        let mut payload = Vec::new();
        edits::encode(&edits, &mut payload).unwrap();
        prop_assert_eq!(edits::decode(KIND_EDITS, &payload).unwrap(), edits);
    }
}

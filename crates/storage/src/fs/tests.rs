//! Both file systems keep the trait's promises.

use std::path::Path;

use super::*;

fn check_basics(fs: &dyn Fs, root: &Path) {
    let dir = root.join("a/b");
    fs.create_dir_all(&dir).unwrap();
    fs.create_dir_all(&dir).unwrap();
    let (x, y) = (dir.join("x"), dir.join("y"));
    let mut file = fs.create(&x).unwrap();
    file.write_all(b"hello world").unwrap();
    file.set_len(5).unwrap();
    file.write_all(b"!").unwrap();
    file.sync_data().unwrap();
    assert_eq!(file.len(), 6);
    fs.sync_dir(&dir).unwrap();
    assert_eq!(fs.read(&x).unwrap(), b"hello!");
    let mut file = fs.open_append(&x).unwrap();
    file.write_all(b"?").unwrap();
    fs.rename(&x, &y).unwrap();
    assert!(!fs.exists(&x).unwrap());
    let read = fs.open_read(&y).unwrap();
    let mut buf = [0; 3];
    read.read_exact_at(&mut buf, 4).unwrap();
    assert_eq!((&buf, read.len()), (b"o!?", 7));
    assert_eq!(
        read.read_exact_at(&mut buf, 5).unwrap_err().kind(),
        std::io::ErrorKind::UnexpectedEof
    );
    fs.truncate(&y, 2).unwrap();
    let entry = DirEntry { name: "y".into(), len: 2, is_dir: false };
    assert_eq!(fs.list(&dir).unwrap(), [entry]);
    let entry = DirEntry { name: "b".into(), len: 0, is_dir: true };
    assert_eq!(fs.list(&root.join("a")).unwrap(), [entry]);
    fs.remove(&y).unwrap();
    assert_eq!(fs.open_read(&y).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    fs.remove_dir_all(&root.join("a")).unwrap();
    assert!(!fs.exists(&dir).unwrap());
    assert!(fs.free_bytes(root).unwrap() <= fs.total_bytes(root).unwrap());
}

#[test]
fn real_and_faulty_agree() {
    let temp = tempfile::tempdir().unwrap();
    check_basics(&RealFs, temp.path());
    let faulty = FaultyFs::new();
    faulty.create_dir_all(Path::new("/root")).unwrap();
    check_basics(&faulty, Path::new("/root"));
}

#[test]
fn a_second_lock_on_a_directory_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let lock = lock_dir(&dir).unwrap();
    let error = lock_dir(&dir).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains(&dir.display().to_string()), "{error}");
    drop(lock);
    lock_dir(&dir).unwrap();
}

#[test]
fn unsynced_bytes_and_names_may_be_lost_and_synced_ones_never_are() {
    let (mut name_lost, mut bytes_lost, mut bytes_kept) = (false, false, false);
    let dir = Path::new("/d");
    for seed in 0..200 {
        let fs = FaultyFs::new();
        fs.create_dir_all(dir).unwrap();
        let mut file = fs.create(&dir.join("synced")).unwrap();
        file.write_all(b"safe").unwrap();
        file.sync_data().unwrap();
        fs.sync_dir(dir).unwrap();
        file.write_all(b"risky").unwrap();
        fs.create(&dir.join("nameless")).unwrap();
        fs.crash(seed);
        let bytes = fs.read(&dir.join("synced")).unwrap();
        assert!(bytes.starts_with(b"safe"), "seed {seed}");
        bytes_lost |= bytes == b"safe";
        bytes_kept |= bytes == b"saferisky";
        name_lost |= !fs.exists(&dir.join("nameless")).unwrap();
        assert!(file.write_all(b"x").is_err(), "handles die in a crash");
    }
    assert!(name_lost && bytes_lost && bytes_kept);
}

#[test]
fn a_failed_sync_is_not_healed_by_the_next() {
    let mut lost = false;
    for seed in 0..50 {
        let fs = FaultyFs::new();
        let path = Path::new("/d/x");
        fs.create_dir_all(Path::new("/d")).unwrap();
        let mut file = fs.create(path).unwrap();
        fs.sync_dir(Path::new("/d")).unwrap();
        file.write_all(b"x").unwrap();
        fs.fail_io(FsCall::Sync, 0);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        fs.crash(seed);
        lost |= fs.read(path).unwrap() != b"x";
    }
    assert!(lost);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let fs = FaultyFs::new();
    let (dir, path) = (Path::new("/d"), Path::new("/d/x"));
    fs.create_dir_all(dir).unwrap();
    fs.set_capacity(Some(10));
    let mut file = fs.create(path).unwrap();
    file.write_all(b"12345678").unwrap();
    let error = file.write_all(b"abc").unwrap_err();
    assert!(is_full(&error));
    file.set_len(8).unwrap();
    assert_eq!(fs.free_bytes(dir).unwrap(), 2);
    fs.set_capacity(Some(11));
    file.write_all(b"abc").unwrap();
    assert_eq!(fs.read(path).unwrap(), b"12345678abc");
}

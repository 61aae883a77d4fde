//! Single things that happen to logs.

use std::os::unix::fs::{FileExt as _, symlink};

use super::*;

#[test]
fn new_lines_are_read_once_with_labels_and_rising_times() {
    let mut scene = Scene::new(&["**/*.log"]);
    scene.append("a.log", "one level=error\ntwo\n");
    scene.look();
    scene.append("a.log", "three\r\nfo");
    scene.look();
    scene.append("a.log", "ur\n");
    fs::create_dir(scene.path("sub")).unwrap();
    scene.append("sub/b.log", "five\n");
    scene.append("sub/b.txt", "no\n");
    scene.look();
    assert_eq!(scene.lines(), ["one level=error", "two", "three", "four", "five"]);
    let held = scene.store.held.lock();
    let (labels, mut last_ns) = (&held.rows[0].0, 0);
    let filename = scene.path("a.log").display().to_string();
    let pairs = [("job", "test"), ("filename", filename.as_str()), ("service_name", "test")];
    assert_eq!(*labels, Labels::from_pairs(pairs));
    for (stream, t_ns, _) in held.rows.iter().filter(|(stream, _, _)| stream == labels) {
        assert!(*t_ns > last_ns, "{stream:?}");
        last_ns = *t_ns;
    }
    let source = format!("file/t{filename}");
    assert!(held.cursors.contains_key(&source), "{:?}", held.cursors.keys());
}

#[test]
fn a_last_line_without_newline_is_taken_when_nothing_follows() {
    let mut scene = Scene::new(&["a.log"]);
    scene.append("a.log", "one\nla");
    scene.look();
    scene.wait_ms(9_000);
    scene.append("a.log", "st");
    scene.look();
    assert_eq!(scene.lines(), ["one"]);
    scene.wait_ms(11_000);
    scene.look();
    assert_eq!(scene.lines(), ["one", "last"]);
}

#[test]
fn a_busy_store_is_waited_for() {
    let mut scene = Scene::new(&["a.log"]);
    scene.answer(Answer::Refuses);
    scene.append("a.log", "one\n");
    scene.look();
    scene.append("a.log", "two\n");
    scene.look();
    assert!(scene.tailer().is_waiting());
    assert_eq!(scene.lines(), [""; 0]);
    scene.answer(Answer::Stores);
    scene.wait_ms(10_000);
    scene.look();
    scene.look();
    assert_eq!(scene.lines(), ["one", "two"]);
    assert!(!scene.tailer().is_waiting());
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_let_go() {
    let mut scene = Scene::new(&["a.log"]);
    let mut writer = appending(&scene.path("a.log"));
    writer.write_all(b"one\n").unwrap();
    scene.look();
    remove(&scene.path("a.log"));
    writer.write_all(b"two\nthr").unwrap();
    scene.look();
    writer.write_all(b"ee").unwrap();
    scene.look();
    let is_open = |scene: &Scene| {
        let name = format!("{} (deleted)", scene.path("a.log").display());
        open_files().into_iter().filter(|path| path.as_os_str() == name.as_str()).count()
    };
    assert_eq!(is_open(&scene), 2);
    scene.wait_long();
    assert_eq!(is_open(&scene), 1);
    assert_eq!(scene.lines(), ["one", "two", "three"]);
    // A new file of that name is a new file.
    scene.append("a.log", "four\n");
    scene.look();
    assert_eq!(scene.lines(), ["one", "two", "three", "four"]);
}

#[test]
fn what_writers_add_after_a_rotation_is_read() {
    let mut scene = Scene::new(&["*.log"]);
    let mut writer = appending(&scene.path("a.log"));
    writer.write_all(b"one\n").unwrap();
    scene.look();
    rename(&scene.path("a.log"), &scene.path("a.log.1"));
    scene.append("a.log", "three\n");
    scene.look();
    writer.write_all(b"two\n").unwrap();
    scene.look();
    assert_eq!(counted(scene.lines()).len(), 3);
    assert_eq!(scene.count("log_file_rotations"), 1);
    scene.restart();
    writer.write_all(b"four\n").unwrap();
    scene.look();
    assert_eq!(scene.lines().len(), 4);
    assert_eq!(scene.lines()[3], "four");
}

#[test]
fn what_writers_add_to_a_file_that_was_rotated_empty_is_read() {
    let mut scene = Scene::new(&["*.log"]);
    let mut writer = appending(&scene.path("a.log"));
    scene.look();
    rename(&scene.path("a.log"), &scene.path("a.log.1"));
    scene.append("a.log", "");
    scene.answer(Answer::Loses);
    scene.look();
    scene.restart();
    for _ in 0..20 {
        scene.look();
    }
    writer.write_all(b"late\n").unwrap();
    scene.wait_long();
    assert_eq!(scene.lines(), ["late"]);
    assert!(!scene.tailer().is_waiting());
}

#[test]
fn a_copy_made_within_a_line_is_not_read() {
    let mut scene = Scene::new(&["*.log"]);
    scene.append("a.log", "one ");
    scene.look();
    fs::copy(scene.path("a.log"), scene.path("a.log.bak")).unwrap();
    for _ in 0..8 {
        scene.look();
    }
    scene.restart();
    scene.append("a.log", "line\n");
    fs::copy(scene.path("a.log"), scene.path("a.log.1")).unwrap();
    emptied(&scene.path("a.log"));
    scene.wait_long();
    assert_eq!(scene.lines(), ["one line"]);
}

#[test]
fn nul_bytes_left_by_a_writer_that_goes_on_at_its_place_are_no_text() {
    let mut scene = Scene::new(&["a.log"]);
    let path = scene.path("a.log");
    scene.append("a.log", "one\n".repeat(1000));
    scene.look();
    fs::copy(&path, scene.path("a.log.1")).unwrap();
    let file = emptied(&path);
    scene.look();
    let hole = fs::File::from(
        rustix::fs::open(&path, rustix::fs::OFlags::WRONLY, rustix::fs::Mode::empty()).unwrap(),
    );
    hole.write_all_at(b"two\n\0three\n", 4000).unwrap();
    scene.look();
    drop(file);
    assert_eq!(scene.lines()[1000..], ["two", "\0three"]);
    assert_eq!(scene.count("log_file_truncations"), 1);
}

#[test]
fn an_emptied_file_without_a_copy_is_told() {
    let mut scene = Scene::new(&["a.log"]);
    scene.append("a.log", "one\ntwo\n");
    scene.look();
    emptied(&scene.path("a.log")).write_all(b"three\n").unwrap();
    scene.look();
    assert_eq!(scene.lines(), ["one", "two", "three"]);
    assert_eq!(scene.count("log_gaps"), 0);
    scene.wait_long();
    assert_eq!((scene.count("log_gaps"), scene.count("log_file_truncations")), (1, 1));
    assert_eq!(scene.lines().len(), 3);
}

#[test]
fn unread_ends_that_vanished_while_nothing_read_are_told() {
    let mut scene = Scene::new(&["*.log"]);
    let logs = ["copied.log", "emptied.log", "deleted.log", "moved.log", "renamed.log"];
    for log in logs {
        scene.append(log, "# header\none\n");
    }
    scene.look();
    scene.restart();
    for log in logs {
        scene.append(log, "unread\n");
    }
    let path = |log: &str| scene.path(log);
    fs::copy(path("copied.log"), path("copied.log.1")).unwrap();
    drop((emptied(&path("copied.log")), emptied(&path("emptied.log"))));
    remove(&path("deleted.log"));
    fs::create_dir(path("elsewhere")).unwrap();
    rename(&path("moved.log"), &path("elsewhere/moved.log.1"));
    rename(&path("renamed.log"), &path("renamed.log.1"));
    for log in logs {
        scene.append(log, "# header\ntwo\n");
    }
    scene.look();
    assert_eq!(scene.count("log_gaps"), 0);
    // Who is killed while it looks goes on looking.
    scene.wait_ms(30_000);
    scene.look();
    scene.restart();
    scene.wait_long();
    assert_eq!(scene.count("log_gaps"), 3);
    let counts = counted(scene.lines());
    assert_eq!((counts["one"], counts["two"], counts["unread"]), (5, 5, 2));
    // Once.
    scene.restart();
    scene.wait_long();
    assert_eq!((scene.count("log_gaps"), scene.lines().len()), (3, 22));
}

#[test]
fn a_log_that_is_emptied_again_and_again_keeps_its_place() {
    // Each file that was read may lie in a copy somewhere; more of them are looked for than a cursor has room for.
    let mut scene = Scene::new(&["a.log"]);
    let mut expected = Vec::new();
    scene.append("a.log", "");
    scene.look();
    for round in 0..200 {
        emptied(&scene.path("a.log")).write_all(format!("{round} one\n").as_bytes()).unwrap();
        scene.pump();
        scene.append("a.log", format!("{round} two\n"));
        scene.pump();
        expected.extend([format!("{round} one"), format!("{round} two")]);
    }
    scene.restart();
    scene.append("a.log", "last\n");
    scene.look();
    expected.push("last".to_owned());
    assert_eq!(scene.lines(), expected);
    scene.wait_long();
    assert_eq!((scene.lines().len(), scene.count("log_gaps")), (401, 199));
}

#[test]
fn files_of_which_nothing_was_read_do_not_fill_the_cursor() {
    let mut scene = Scene::new(&["a.log"]);
    scene.append("a.log", "0\n");
    scene.look();
    // Nothing is stored for so long that more files come than a cursor has room for.
    scene.answer(Answer::Refuses);
    for round in 1..=100 {
        scene.append("a.log", format!("{round}\n"));
        rename(&scene.path("a.log"), &scene.path(&format!("a.log.{round}")));
        scene.append("a.log", "");
        scene.look();
    }
    scene.answer_after(2, Answer::Loses);
    scene.wait_ms(10_000);
    scene.look();
    scene.restart();
    scene.wait_long();
    let expected = counted((0..=100).map(|round| round.to_string()));
    assert_eq!(counted(scene.lines()), expected);
}

#[test]
fn a_file_that_took_the_place_while_nothing_read_is_a_new_file() {
    // Same inode, and the same beginning: only what stands at the old place tells.
    let mut scene = Scene::new(&["a.log"]);
    let header = "# the same header\n".repeat(100);
    scene.append("a.log", format!("{header}one\ntwo\n"));
    scene.look();
    scene.restart();
    emptied(&scene.path("a.log"))
        .write_all(format!("{header}three\nfour, which is longer\n").as_bytes())
        .unwrap();
    scene.look();
    let counts = counted(scene.lines());
    assert_eq!(counts["# the same header"], 200);
    assert_eq!(counts.len(), 5);
}

#[test]
fn links_out_of_the_directories_are_not_followed_and_told_once() {
    let mut scene = Scene::new(&["in/*.log"]);
    for sub in ["in", "out"] {
        fs::create_dir(scene.path(sub)).unwrap();
    }
    scene.append("out/secret", "secret\n");
    scene.append("in/real", "real\n");
    symlink(scene.path("out/secret"), scene.path("in/a.log")).unwrap();
    symlink("real", scene.path("in/b.log")).unwrap();
    scene.look();
    scene.look();
    assert_eq!(scene.lines(), ["real"]);
    assert_eq!(scene.count("log_file_errors"), 1);
    scene.target.follow = vec![scene.path("out")];
    scene.restart();
    scene.look();
    assert_eq!(scene.lines(), ["real", "secret"]);
    // A link that is switched to another file.
    scene.append("in/real2", "real2\n");
    remove(&scene.path("in/b.log"));
    symlink("real2", scene.path("in/b.log")).unwrap();
    scene.append("in/real", "late\n");
    scene.look();
    assert_eq!(counted(scene.lines()).len(), 4);
}

#[test]
fn one_file_under_two_names_is_read_once() {
    let mut scene = Scene::new(&["*.log"]);
    scene.append("a.log", "one\n");
    fs::hard_link(scene.path("a.log"), scene.path("b.log")).unwrap();
    scene.look();
    scene.append("b.log", "two\n");
    scene.look();
    scene.restart();
    scene.append("b.log", "three\n");
    scene.look();
    assert_eq!(scene.lines(), ["one", "two", "three"]);
}

#[test]
fn a_rotated_name_that_matches_too_is_not_read_again() {
    let mut scene = Scene::new(&["*.log"]);
    scene.append("app.log", "one\n");
    scene.look();
    rename(&scene.path("app.log"), &scene.path("app-2026-01-31.log"));
    scene.append("app.log", "two\n");
    scene.look();
    scene.wait_long();
    scene.restart();
    scene.look();
    scene.append("app-2026-01-31.log", "three\n");
    scene.look();
    assert_eq!(scene.lines(), ["one", "two", "three"]);
}

#[test]
fn rotated_files_are_history_of_their_log() {
    let mut scene = Scene::new(&["*log*"]);
    for (name, text) in [("app.log.2", "one\n"), ("app.log.1", "two\n"), ("app.log", "three\n")] {
        scene.append(name, text);
        let at = std::time::UNIX_EPOCH
            + std::time::Duration::from_secs(if name.ends_with('2') { 1000 } else { 2000 });
        appending(&scene.path(name)).set_modified(at).unwrap();
    }
    scene.look();
    assert_eq!(scene.lines(), ["one", "two", "three"]);
    assert_eq!(scene.store.held.lock().cursors.len(), 1);
    rename(&scene.path("app.log.1"), &scene.path("app.log.2"));
    rename(&scene.path("app.log"), &scene.path("app.log.1"));
    // For a moment there is none.
    scene.restart();
    scene.look();
    scene.append("app.log", "four\n");
    scene.look();
    assert_eq!(scene.lines(), ["one", "two", "three", "four"]);
}

#[test]
fn only_what_is_new_when_asked_so() {
    let mut scene = Scene::new(&["*log*"]);
    scene.target.start_at_end = true;
    scene.append("a.log.1", "older\n");
    scene.append("a.log", "old\n");
    scene.look();
    scene.append("a.log", "new\n");
    scene.append("b.log", "of a new file\n");
    scene.look();
    assert_eq!(scene.lines(), ["new", "of a new file"]);
    scene.restart();
    scene.append("a.log", "newer\n");
    scene.look();
    assert_eq!(scene.lines()[2..], ["newer"]);
}

#[test]
fn positions_of_another_program_are_taken_over() {
    let mut scene = Scene::new(&["*.log"]);
    for name in ["a.log", "b.log", "c.log"] {
        scene.append(name, "read\nnot read\n");
    }
    // This one was rotated since: the path names a shorter file.
    rename(&scene.path("c.log"), &scene.path("c.log.1"));
    scene.append("c.log", "c\n");
    let positions = [("a.log", 5), ("c.log", 5), ("gone.log", 7)];
    let offsets = positions.into_iter().map(|(name, at)| (scene.path(name), at)).collect();
    scene.target.positions = Arc::new(FilePositions { offsets, saved_ns: None });
    scene.look();
    let counts = counted(scene.lines());
    assert_eq!((counts["read"], counts["not read"], counts["c"]), (1, 3, 1));
    // Once there is a cursor, it alone counts.
    scene.restart();
    scene.append("a.log", "more\n");
    scene.look();
    assert_eq!(scene.lines().len(), 6);
}

#[test]
fn compressed_files_are_read_when_asked_so() {
    for unpacks in [false, true] {
        let mut scene = Scene::new(&["*"]);
        scene.target.unpacks = unpacks;
        scene.append("a.txt", "one\ntwo\n".repeat(50_000));
        gzip(&scene.path("a.txt"));
        let packed = zstd::bulk::compress(b"three\n", 1).unwrap();
        scene.append("b.txt.zst", packed);
        scene.append("c.bz2", "BZh9");
        scene.look();
        scene.look();
        assert_eq!(scene.lines().len(), if unpacks { 100_001 } else { 0 });
        assert_eq!(scene.count("log_files_skipped"), if unpacks { 1 } else { 3 });
        scene.restart();
        scene.look();
        assert_eq!(scene.lines().len(), if unpacks { 100_001 } else { 0 });
    }
}

#[test]
fn encodings_and_long_lines() {
    let mut scene = Scene::new(&["*.log"]);
    scene.target.encoding = Encoding::by_name("utf-16").unwrap();
    let utf16: Vec<u8> =
        "\u{feff}Zürich\r\n🐟\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let (first, rest) = utf16.split_at(9);
    scene.append("a.log", first);
    scene.look();
    scene.append("a.log", rest);
    scene.restart();
    scene.look();
    assert_eq!(scene.lines(), ["Zürich", "🐟"]);

    let mut scene = Scene::new(&["*.log"]);
    scene.append("a.log", "a".repeat(1 << 20));
    scene.look();
    scene.restart();
    scene.append("a.log", "a".repeat(1 << 20));
    scene.look();
    scene.append("a.log", b"\nb\0\xff\n");
    scene.look();
    let lines = scene.lines();
    assert_eq!(lines[0], format!("{}…[truncated]", "a".repeat(256 << 10)));
    assert_eq!(model::bytes_of_text(&lines[1]), b"b\0\xff".as_slice());
    assert_eq!(lines.len(), 2);
    assert_eq!(scene.count("log_bytes_truncated"), (2 << 20) - (256 << 10));
}

#[test]
fn a_copy_that_somebody_keeps_is_not_read() {
    let mut scene = Scene::new(&["a.log"]);
    scene.append("a.log", "one\n");
    scene.look();
    fs::copy(scene.path("a.log"), scene.path("a.log.1")).unwrap();
    scene.append("a.log", "two\n");
    scene.look();
    scene.wait_long();
    scene.restart();
    fs::copy(scene.path("a.log"), scene.path("a.log.bak")).unwrap();
    scene.wait_long();
    assert_eq!(scene.lines(), ["one", "two"]);
}

#[test]
fn a_file_being_compressed_is_not_read_twice() {
    let mut scene = Scene::new(&["a.log"]);
    scene.append("a.log", "one\n");
    scene.look();
    scene.restart();
    // Two came while nothing read, and one of them is being compressed now.
    rename(&scene.path("a.log"), &scene.path("a.log.2"));
    scene.append("a.log.2", "two\n");
    scene.append("a.log.1", "three\n".repeat(10));
    scene.append("a.log", "four\n");
    fs::copy(scene.path("a.log.1"), scene.path("kept")).unwrap();
    gzip(&scene.path("kept"));
    let mut packed = Vec::new();
    File::open(scene.path("kept.gz")).unwrap().read_to_end(&mut packed).unwrap();
    scene.append("a.log.1.gz", &packed[..packed.len() / 2]);
    scene.look();
    scene.append("a.log.1.gz", &packed[packed.len() / 2..]);
    scene.look();
    remove(&scene.path("a.log.1"));
    scene.look();
    scene.wait_long();
    let counts = counted(scene.lines());
    assert_eq!((counts["three"], counts.len(), scene.lines().len()), (10, 4, 13));
}

#[test]
fn idle_files_are_closed_where_few_may_be_open() {
    let mut scene = Scene::new(&["*.log"]);
    scene.open_max = 8;
    let name = |number: usize| format!("{number}.log");
    let open = |scene: &Scene| {
        open_files().into_iter().filter(|path| path.starts_with(&scene.dir)).count()
    };
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in 0..50 {
            scene.append(&name(number), format!("{round} {number}\n"));
            expected.push(format!("{round} {number}"));
        }
        scene.look();
        assert!(open(&scene) <= 8, "{}", open(&scene));
    }
    // What happens to a closed file is seen when it is opened again.
    scene.append("1.log", "late\n");
    rename(&scene.path("1.log"), &scene.path("1.log.1"));
    scene.append("1.log", "new\n");
    emptied(&scene.path("2.log")).write_all(b"other\n").unwrap();
    scene.look();
    scene.wait_long();
    expected.extend(["late", "new", "other"].map(str::to_owned));
    assert_eq!(counted(scene.lines()), counted(expected));
    assert!(open(&scene) <= 8, "{}", open(&scene));
}

fn open_files() -> Vec<PathBuf> {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter_map(|fd| fs::read_link(fd.path()).ok()).collect()
}

#[test]
fn a_copy_with_the_inode_of_a_deleted_file_is_another_file() {
    for open_max in [0, 100] {
        let mut scene = Scene::new(&["*.log"]);
        scene.open_max = open_max;
        scene.append("app.log", "one\n");
        scene.look();
        let old = File::open(scene.path("app.log")).unwrap();
        remove(&scene.path("app.log"));
        scene.append("app.log", "two\n");
        drop(old);
        fs::copy(scene.path("app.log"), scene.path("app-20260131.log")).unwrap();
        emptied(&scene.path("app.log"));
        scene.look();
        scene.wait_long();
        assert_eq!(scene.lines(), ["one", "two"]);
    }
}

#[test]
fn a_file_compressed_before_its_new_name_was_seen_is_not_read_again() {
    let mut scene = Scene::new(&["*.log"]);
    scene.append("app.log", "one\n");
    scene.look();
    rename(&scene.path("app.log"), &scene.path("app.log.1"));
    scene.append("app.log", "two\n");
    gzip(&scene.path("app.log.1"));
    scene.pump();
    scene.wait_long();
    assert_eq!(scene.lines(), ["one", "two"]);
}

#[test]
fn a_file_compressed_while_nobody_read_is_found_where_names_never_settle() {
    let mut scene = Scene::new(&["*.log"]);
    scene.append("app.log", "one\n");
    scene.look();
    scene.append("app.log", "two\n");
    scene.restart();
    rename(&scene.path("app.log"), &scene.path("app.log.1"));
    scene.append("app.log", "three\n");
    gzip(&scene.path("app.log.1"));
    for n in 1..6 {
        // Other logs of the directory are rotated all the time, and this one is, too.
        scene.append(&format!("other.{n}"), "");
        let [from, to] = [n, n + 1].map(|n| scene.path(&format!("app.log.{n}.gz")));
        rename(&from, &to);
        scene.look();
    }
    remove(&scene.path("app.log.6.gz"));
    scene.wait_long();
    assert_eq!(counted(scene.lines()), counted(["one", "two", "three"].map(str::to_owned)));
    assert_eq!(scene.count("log_gaps"), 0);
}

#[test]
fn a_log_that_is_absent_at_the_start_is_known_by_its_dated_files() {
    let mut scene = Scene::new(&["*.log"]);
    scene.append("app.log", "one\n");
    scene.look();
    scene.restart();
    rename(&scene.path("app.log"), &scene.path("app-20260131.log"));
    // For a moment there is none.
    scene.look();
    scene.append("app.log", "two\n");
    scene.append("app-20260131.log", "late\n");
    scene.wait_long();
    assert_eq!(counted(scene.lines()), counted(["one", "two", "late"].map(str::to_owned)));
}

#[test]
fn dated_copies_that_match_are_known_by_what_they_hold() {
    let mut scene = Scene::new(&["*.log"]);
    scene.append("app.log", "one\ntwo\n");
    scene.look();
    scene.append("app.log", "three\n");
    fs::copy(scene.path("app.log"), scene.path("app-20260131.log")).unwrap();
    emptied(&scene.path("app.log")).write_all(b"four\n").unwrap();
    // One that begins the same and goes on differently is another log.
    scene.append("app-2.log", "one\nother\n");
    scene.look();
    scene.wait_long();
    scene.restart();
    scene.wait_long();
    let counts = counted(scene.lines());
    assert_eq!((counts["one"], counts.len(), scene.lines().len()), (2, 5, 6));
    // A copy that grows is a log from there on.
    fs::copy(scene.path("app.log"), scene.path("app-3.log")).unwrap();
    scene.wait_long();
    scene.append("app-3.log", "five\n");
    scene.append("app.log", "six\n");
    scene.look();
    let counts = counted(scene.lines());
    assert_eq!((counts["five"], counts["six"], scene.lines().len()), (1, 1, 8));
}

#[test]
fn a_dated_copy_that_is_made_slowly_is_not_read() {
    for (is_emptied, dies) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut scene = Scene::new(&["*.log"]);
        let text: String = (0..400).map(|n| format!("line {n} of the log\n")).collect();
        scene.append("app.log", &text);
        scene.look();
        // Longer than anybody waits for a file to be copied.
        let pieces = text.as_bytes().chunks(text.len() / 4 + 7);
        for piece in pieces {
            scene.append("app-20260131.log", piece);
            for _ in 0..8 {
                scene.look();
            }
            if dies {
                scene.restart();
            }
        }
        if is_emptied {
            drop(emptied(&scene.path("app.log")));
        }
        scene.append("app.log", "next\n");
        scene.wait_long();
        let mut expected: Vec<String> = text.lines().map(str::to_owned).collect();
        expected.push("next".to_owned());
        assert_eq!(counted(scene.lines()), counted(expected.clone()), "{is_emptied} {dies}");
        // What comes to it now is its own.
        scene.append("app-20260131.log", "own\n");
        scene.append("app.log", "last\n");
        scene.wait_long();
        expected.extend(["own", "last"].map(str::to_owned));
        assert_eq!(counted(scene.lines()), counted(expected), "{is_emptied} {dies}");
    }
}

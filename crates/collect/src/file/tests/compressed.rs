//! Rotated files that are compressed under a name from which their log is guessed, and files that are damaged.

use super::*;

/// The numbers as lines.
fn numbers(range: std::ops::RangeInclusive<usize>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

fn expected(range: std::ops::RangeInclusive<usize>) -> BTreeMap<String, usize> {
    counted(range.map(|n| n.to_string()))
}

/// Files as the lines of a label say, with how many lines each has.
fn by_file(scene: &Scene) -> BTreeMap<String, usize> {
    let rows = &scene.store.held.lock().rows;
    counted(rows.iter().map(|(labels, _, _)| {
        let file = labels.get("filename").unwrap();
        file.rsplit_once('/').unwrap().1.to_owned()
    }))
}

/// The log becomes a compressed file of another name.
fn rotate(scene: &Scene, log: &str, packed: &str) {
    let plain = packed.rsplit_once('.').unwrap().0;
    rename(&scene.path(log), &scene.path(plain));
    gzip(&scene.path(plain));
}

#[test]
fn compressed_files_that_came_and_went_are_read_whatever_their_names_are() {
    let of_numbers: [[&str; 2]; 3] =
        [["a.2.log.gz", "a.1.log.gz"], ["a-2.log.gz", "a-1.log.gz"], ["a.log.2.gz", "a.log.1.gz"]];
    let of_dates: [[&str; 2]; 3] = [
        ["a-20260130.log.gz", "a-20260131.log.gz"],
        ["a.2026-01-31.0.log.gz", "a.2026-01-31.1.log.gz"],
        ["a-2026-01-31T10-00-00.000.log.gz", "a-2026-01-31T10-00-01.000.log.gz"],
    ];
    for [first, second] in of_numbers.into_iter().chain(of_dates) {
        for (pattern, stops) in
            [("*.log", false), ("*.log", true), ("a.log", false), ("*log*", true)]
        {
            let mut scene = Scene::new(&[pattern]);
            scene.append("a.log", numbers(1..=3));
            scene.look();
            if stops {
                scene.restart();
            }
            scene.append("a.log", numbers(4..=8));
            rotate(&scene, "a.log", first);
            scene.append("a.log", numbers(9..=13));
            rotate(&scene, "a.log", second);
            scene.append("a.log", numbers(14..=18));
            scene.look();
            scene.wait_long();
            assert_eq!(counted(scene.lines()), expected(1..=18), "{second} {pattern} {stops}");
            assert_eq!(scene.count("log_gaps"), 0);
            scene.restart();
            scene.append("a.log", numbers(19..=19));
            scene.wait_long();
            assert_eq!(counted(scene.lines()), expected(1..=19), "{second} {pattern} {stops}");
        }
    }
}

#[test]
fn what_is_there_at_the_first_start_is_not_taken_for_unseen() {
    let mut scene = Scene::new(&["*.log"]);
    scene.append("a-1.log", numbers(1..=3));
    gzip(&scene.path("a-1.log"));
    scene.append("a.log", numbers(4..=5));
    scene.look();
    scene.wait_long();
    rename(&scene.path("a.log"), &scene.path("a.log.1"));
    scene.append("a.log", numbers(6..=7));
    scene.wait_long();
    assert_eq!(counted(scene.lines()), expected(4..=7));
}

#[test]
fn a_compressed_file_belongs_to_the_log_whose_name_is_nearest() {
    let mut scene = Scene::new(&["*.log"]);
    scene.append("w.log", numbers(1..=2));
    scene.append("w-1.log", numbers(3..=4));
    scene.look();
    for log in ["w.log", "w-1.log"] {
        rename(&scene.path(log), &scene.path(&format!("{log}.1")));
    }
    // Came and went.
    scene.append("w-1.log", numbers(5..=7));
    rotate(&scene, "w-1.log", "w-1-2.log.gz");
    scene.append("w.log", numbers(8..=8));
    scene.append("w-1.log", numbers(9..=9));
    scene.look();
    scene.wait_long();
    assert_eq!(counted(scene.lines()), expected(1..=9));
    let files = [("w-1.log", 6), ("w.log", 3)].map(|(file, count)| (file.to_owned(), count));
    assert_eq!(by_file(&scene), BTreeMap::from(files));
}

#[test]
fn a_log_that_ends_by_being_compressed_is_not_read_again_for_another() {
    for (stops, is_whole) in [(false, true), (true, true), (true, false)] {
        let mut scene = Scene::new(&["*.log"]);
        scene.append("w.log", numbers(1..=2));
        scene.append("w-1.log", numbers(3..=6));
        scene.look();
        if stops {
            scene.restart();
        }
        if !is_whole {
            scene.append("w-1.log", numbers(7..=8));
        }
        rotate(&scene, "w.log", "w-2.log.gz");
        pack(&scene.path("w-1.log"), &scene.path("w-1.log.gz"));
        remove(&scene.path("w-1.log"));
        scene.append("w.log", numbers(9..=10));
        scene.look();
        scene.wait_long();
        let mut expected = expected(1..=10);
        if is_whole {
            expected.retain(|n, _| n != "7" && n != "8");
        }
        assert_eq!(counted(scene.lines()), expected, "{stops} {is_whole}");
        scene.restart();
        scene.wait_long();
        assert_eq!(counted(scene.lines()), expected, "{stops} {is_whole}");
    }
}

#[test]
fn a_dated_copy_that_is_compressed_later_is_not_read_again() {
    for (dies, grows) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut scene = Scene::new(&["*.log"]);
        scene.append("a.log", numbers(1..=50));
        scene.look();
        // Slowly.
        for piece in numbers(1..=50).as_bytes().chunks(40) {
            scene.append("a-20260131.log", piece);
            for _ in 0..8 {
                scene.look();
            }
        }
        drop(emptied(&scene.path("a.log")));
        scene.append("a.log", numbers(51..=60));
        scene.wait_long();
        if grows {
            scene.append("a-20260131.log", numbers(61..=65));
            scene.look();
        }
        if dies {
            scene.restart();
        }
        // With a time of its own.
        pack(&scene.path("a-20260131.log"), &scene.path("a-20260131.log.gz"));
        remove(&scene.path("a-20260131.log"));
        rename(&scene.path("a.log"), &scene.path("a.log.1"));
        scene.append("a.log", numbers(66..=70));
        scene.wait_long();
        let mut expected = expected(1..=70);
        if !grows {
            expected.retain(|n, _| !(61..=65).contains(&n.parse().unwrap()));
        }
        assert_eq!(counted(scene.lines()), expected, "{dies} {grows}");
    }
}

#[test]
fn a_file_compressed_for_long_is_read_once_it_is_whole() {
    let mut scene = Scene::new(&["*.log"]);
    scene.append("a.log", numbers(1..=3));
    scene.look();
    rename(&scene.path("a.log"), &scene.path("a.log.1"));
    scene.append("kept", numbers(4..=400));
    gzip(&scene.path("kept"));
    let packed = fs::read(scene.path("kept.gz")).unwrap();
    scene.append("a-1.log.gz", &packed[..packed.len() / 2]);
    scene.append("a.log", numbers(401..=402));
    for _ in 0..8 {
        scene.look();
    }
    scene.append("a-1.log.gz", &packed[packed.len() / 2..]);
    scene.wait_long();
    assert_eq!(counted(scene.lines()), expected(1..=402));
}

#[test]
fn of_damaged_files_what_is_whole_is_read() {
    let text = numbers(1..=20_000);
    let pack_bytes = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let whole = pack_bytes(&text);
    let members =
        [pack_bytes(&numbers(1..=10_000)), pack_bytes(&numbers(10_001..=20_000))].concat();
    let zstd = zstd::bulk::compress(text.as_bytes(), 1).unwrap();
    let cut = |bytes: &[u8]| bytes[..bytes.len() * 3 / 4].to_vec();
    for (name, bytes, gaps, is_whole) in [
        ("a.gz", whole.clone(), 0, true),
        ("members.gz", members.clone(), 0, true),
        ("filled.gz", [whole.clone(), vec![0; 100_000]].concat(), 0, true),
        ("followed.gz", [whole.clone(), b"else".to_vec()].concat(), 1, true),
        ("cut.gz", cut(&whole), 1, false),
        ("cut-members.gz", cut(&members), 1, false),
        ("cut.zst", cut(&zstd), 1, false),
        ("nothing.gz", vec![0; 100], 1, false),
    ] {
        let mut scene = Scene::new(&["*"]);
        scene.target.unpacks = true;
        scene.append(name, &bytes);
        scene.look();
        // It may still be written.
        assert_eq!(scene.count("log_gaps"), 0, "{name}");
        scene.wait_long();
        scene.wait_long();
        assert_eq!(scene.count("log_gaps"), gaps, "{name}");
        let (lines, all) = (scene.lines(), text.lines().collect::<Vec<_>>());
        if is_whole {
            assert_eq!(lines, all, "{name}");
        } else if name != "nothing.gz" && !name.ends_with("zst") {
            // The last one is cut anywhere.
            let (last, whole) = lines.split_last().unwrap();
            assert!(
                whole.len() > 5_000
                    && all.starts_with(&whole.iter().map(String::as_str).collect::<Vec<_>>()),
                "{name}"
            );
            assert!(all[whole.len()].starts_with(last.as_str()), "{name} {last}");
        }
        assert!(!scene.tailer().is_waiting(), "{name}");
    }
}

#[test]
fn a_compressed_file_that_is_written_slowly_is_read_as_it_comes() {
    let mut scene = Scene::new(&["*"]);
    scene.target.unpacks = true;
    scene.append("kept", numbers(1..=50_000));
    pack(&scene.path("kept"), &scene.path("packed"));
    let packed = fs::read(scene.path("packed")).unwrap();
    remove(&scene.path("kept"));
    remove(&scene.path("packed"));
    for piece in packed.chunks(packed.len() / 5 + 1) {
        scene.append("a.gz", piece);
        for _ in 0..3 {
            scene.wait_ms(15_000);
            scene.look();
        }
    }
    scene.wait_long();
    assert_eq!(counted(scene.lines()), expected(1..=50_000));
    assert_eq!(scene.count("log_gaps"), 0);
}

#[test]
fn rotated_files_of_a_kind_that_is_not_read_are_told() {
    // The content of such a file is not looked at; its times are those of what was compressed.
    let pack = |scene: &Scene, plain: &str, ending: &str| {
        let packed = scene.path(&format!("{plain}.{ending}"));
        let modified = fs::metadata(scene.path(plain)).unwrap().modified().unwrap();
        rename(&scene.path(plain), &scene.path("packing"));
        appending(&packed).set_modified(modified).unwrap();
        remove(&scene.path("packing"));
    };
    for ending in ["xz", "bz2"] {
        for (stops, gaps) in [(true, 2), (false, 1)] {
            let mut scene = Scene::new(&["*.log"]);
            scene.append("a.log", numbers(1..=3));
            scene.look();
            if stops {
                scene.restart();
            }
            scene.append("a.log", numbers(4..=8));
            // The open file is read to its end, whatever becomes of it.
            rename(&scene.path("a.log"), &scene.path("a.log.2"));
            pack(&scene, "a.log.2", ending);
            scene.append("a.log", numbers(9..=13));
            rename(&scene.path("a.log"), &scene.path("a.log.1"));
            pack(&scene, "a.log.1", ending);
            scene.append("a.log", numbers(14..=18));
            scene.wait_long();
            assert_eq!(scene.count("log_gaps"), gaps, "{ending} {stops}");
            let mut expected = expected(14..=18);
            let read = if stops { 1..=3 } else { 1..=8 };
            expected.extend(read.map(|n: usize| (n.to_string(), 1)));
            assert_eq!(counted(scene.lines()), expected, "{ending} {stops}");
            // Once.
            scene.append("a.log", numbers(19..=19));
            rename(&scene.path("a.log"), &scene.path("a.log.1"));
            scene.append("a.log", numbers(20..=20));
            scene.wait_long();
            pack(&scene, "a.log.1", ending);
            scene.append("a.log", numbers(21..=21));
            scene.wait_long();
            assert_eq!(scene.count("log_gaps"), gaps, "{ending} {stops}");
        }
    }
}

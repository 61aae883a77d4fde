//! Logs that another program had read before, and that were rotated since it stopped.

use super::*;

/// The numbers as lines.
fn numbers(range: std::ops::RangeInclusive<usize>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

/// Waits until what is made now is younger than what was made before, as the system's clock has it; returns its time.
fn tick(scene: &Scene) -> i64 {
    let marker = scene.path("marker");
    let made_ns = || {
        appending(&marker);
        let made = fs::metadata(&marker).unwrap().created().unwrap();
        remove(&marker);
        i64::try_from(made.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()).unwrap()
    };
    let before_ns = made_ns();
    loop {
        let now_ns = made_ns();
        if now_ns > before_ns {
            return now_ns;
        }
    }
}

/// `d.log` has lines 1 to 20, of which `read` were read, and an older file is there; then things happen.
fn check(what: &str, read: usize, gaps: u64, expected: &[usize], act: impl FnOnce(&Scene)) {
    let mut scene = Scene::new(&["*.log"]);
    scene.append("d.log.1", "older\n".repeat(50));
    tick(&scene);
    scene.append("d.log", numbers(1..=20));
    let saved_ns = Some(tick(&scene));
    let offsets = [(scene.path("d.log"), numbers(1..=read).len() as u64)].into_iter().collect();
    scene.target.positions = Arc::new(FilePositions { offsets, saved_ns });
    tick(&scene);
    act(&scene);
    for _ in 0..2 {
        scene.look();
        scene.wait_long();
        let expected = counted(expected.iter().map(ToString::to_string));
        assert_eq!(counted(scene.lines()), expected, "{what}");
        assert_eq!(scene.count("log_gaps"), gaps, "{what}");
        scene.restart();
    }
}

fn shift(scene: &Scene) {
    tick(scene);
    for ending in ["", ".gz"] {
        for n in [2, 1] {
            let [from, to] = [n, n + 1].map(|n| scene.path(&format!("d.log.{n}{ending}")));
            if from.exists() {
                rename(&from, &to);
            }
        }
    }
    rename(&scene.path("d.log"), &scene.path("d.log.1"));
}

fn copy_and_empty(scene: &Scene) {
    rename(&scene.path("d.log.1"), &scene.path("d.log.2"));
    fs::copy(scene.path("d.log"), scene.path("d.log.1")).unwrap();
    drop(emptied(&scene.path("d.log")));
}

#[test]
fn files_rotated_since_the_positions_were_saved_are_read_on() {
    let rest: Vec<usize> = (11..=60).collect();
    let next = |scene: &Scene| scene.append("d.log", numbers(21..=60));
    check("nothing", 10, 0, &rest, next);
    check("renamed", 10, 0, &rest, |scene| {
        shift(scene);
        next(scene);
    });
    check("renamed and compressed", 10, 0, &rest, |scene| {
        shift(scene);
        gzip(&scene.path("d.log.1"));
        next(scene);
    });
    check("written to and renamed", 10, 0, &rest, |scene| {
        scene.append("d.log", numbers(21..=30));
        shift(scene);
        scene.append("d.log", numbers(31..=60));
    });
    check("written to, renamed and compressed", 10, 0, &rest, |scene| {
        scene.append("d.log", numbers(21..=30));
        shift(scene);
        gzip(&scene.path("d.log.1"));
        scene.append("d.log", numbers(31..=60));
    });
    for is_written in [false, true] {
        check("renamed twice", 10, 0, &rest, |scene| {
            if is_written {
                scene.append("d.log", numbers(21..=30));
            }
            shift(scene);
            scene.append("d.log", numbers(if is_written { 31..=45 } else { 21..=45 }));
            shift(scene);
            scene.append("d.log", numbers(46..=60));
        });
    }
    check("a name that matches", 10, 0, &rest, |scene| {
        rename(&scene.path("d.log"), &scene.path("d-20260131.log"));
        next(scene);
    });
    check("renamed when all was read", 20, 0, &rest[10..], |scene| {
        shift(scene);
        next(scene);
    });
    check("renamed twice when all was read", 20, 0, &rest[10..], |scene| {
        shift(scene);
        scene.append("d.log", numbers(21..=45));
        shift(scene);
        gzip(&scene.path("d.log.2"));
        gzip(&scene.path("d.log.1"));
        scene.append("d.log", numbers(46..=60));
    });
    check("copied and emptied", 10, 0, &rest, |scene| {
        copy_and_empty(scene);
        next(scene);
    });
    check("a copy that is kept", 10, 0, &rest, |scene| {
        fs::copy(scene.path("d.log"), scene.path("d.log.bak")).unwrap();
        next(scene);
    });
    check("gone", 10, 1, &rest[10..], |scene| {
        remove(&scene.path("d.log"));
        next(scene);
    });
}

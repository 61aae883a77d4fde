//! Log files under the real program, which is killed while they are written and rotated.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Options, Taffrail, eventually};

use crate::{PROGRAM, now_ns, quiet_config};

struct Log {
    path: PathBuf,
    written: usize,
}

impl Log {
    fn write(&mut self, lines: usize) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
        for _ in 0..lines {
            writeln!(file, "{{\"level\":\"info\",\"line\":{}}}", self.written).unwrap();
            self.written += 1;
        }
    }

    fn rotated(&self, number: usize, ending: &str) -> PathBuf {
        PathBuf::from(format!("{}.{number}{ending}", self.path.display()))
    }

    /// Rotates in one of three ways.
    fn rotate(&self, way: usize) {
        for number in (1..20).rev() {
            for ending in ["", ".gz"] {
                let from = self.rotated(number, ending);
                if from.exists() {
                    fs::rename(from, self.rotated(number + 1, ending)).unwrap();
                }
            }
        }
        let first = self.rotated(1, "");
        if way == 1 {
            fs::copy(&self.path, &first).unwrap();
            fs::OpenOptions::new().write(true).truncate(true).open(&self.path).unwrap();
        } else {
            fs::rename(&self.path, &first).unwrap();
        }
        if way == 2 {
            assert!(Command::new("gzip").arg(&first).status().unwrap().success());
        }
    }
}

fn start(dir: &Path, logs: &Path) -> Taffrail {
    let more = format!(
        "host:\n  enabled: false\nquery:\n  max_log_lines: 100000\nfiles:\n- paths: ['{}/*.log']\n  labels: {{job: shop}}\n",
        logs.display()
    );
    let options = Options { config: quiet_config(&more), ..Options::default() };
    Taffrail::start(PROGRAM, dir, &options)
}

#[test]
fn rotated_logs_are_stored_once_whenever_the_program_dies() {
    let begun_ns = now_ns();
    let (data, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut log = Log { path: logs.path().join("app.log"), written: 0 };
    let lines = |taffrail: &Taffrail| taffrail.logql("{job=\"shop\"}", begun_ns, 100_000);
    for round in 0..9 {
        log.write(500);
        let taffrail = start(data.path(), logs.path());
        log.write(1_000);
        if round % 2 == 0 {
            let some = eventually("lines", 30, || Some(lines(&taffrail)).filter(|l| !l.is_empty()));
            assert!(some.len() <= log.written);
        }
        log.rotate(round % 3);
        log.write(700);
        taffrail.kill();
        log.write(300);
        log.rotate((round / 3) % 3);
    }
    log.write(10);
    let taffrail = start(data.path(), logs.path());
    let stored = eventually("all lines", 60, || {
        Some(lines(&taffrail)).filter(|stored| stored.len() >= log.written)
    });
    let mut numbers: Vec<usize> = stored
        .iter()
        .map(|(_, line)| line.trim_end_matches('}').rsplit(':').next().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..log.written), "{} of {}", numbers.len(), log.written);
    taffrail.assert_quiet(&[]);
}

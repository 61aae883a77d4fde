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

/// Files below `dir`, sorted.
fn files_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// What a file holds, unpacked.
fn text_of(path: &Path) -> String {
    let bytes = match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => Command::new("gzip").arg("-dc").arg(path).output().unwrap().stdout,
        _ => fs::read(path).unwrap(),
    };
    String::from_utf8(bytes).unwrap()
}

/// Logs of real programs, where the data is at hand: files as they are, and Docker's own through the stage `docker`.
#[test]
fn real_logs_are_stored_to_the_byte() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    let [plain, docker] = [&["logs", "logs-zeek-json"][..], &["docker-json-logs"]].map(|dirs| {
        let files = dirs.iter().flat_map(|dir| files_in(&root.join(dir)));
        let is_log = |path: &PathBuf| !path.ends_with("LICENSE") && !path.ends_with("README.txt");
        files.filter(is_log).collect::<Vec<_>>()
    });
    if plain.is_empty() || docker.is_empty() {
        println!("skipped: no logs under {}", root.display());
        return;
    }
    // Each by a name of its own, so that none is taken for the history of another; the biggest one alone takes minutes.
    let (data, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut expected = Vec::new();
    for (number, file) in plain.iter().chain(&docker).enumerate() {
        let is_docker = number >= plain.len();
        let text = text_of(file);
        if text.len() > 8 << 20 {
            println!("left out: {} ({} bytes)", file.display(), text.len());
            continue;
        }
        let kind = if is_docker { "docker" } else { "log" };
        let copy = logs.path().join(format!("f{number}-real.{kind}"));
        fs::write(&copy, &text).unwrap();
        let text = match is_docker {
            false => text.replace("\r\n", "\n"),
            true => {
                let line = |line: &str| -> String {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    line["log"].as_str().unwrap().to_owned()
                };
                text.lines().map(line).collect()
            }
        };
        expected.push((copy, is_docker, text));
    }
    let dir = logs.path().display();
    let promtail = format!(
        "clients: [{{url: \"http://loki:3100/loki/api/v1/push\"}}]\nscrape_configs:\n\
         - job_name: plain\n  static_configs:\n  - labels: {{job: plain, __path__: \"{dir}/*.log\"}}\n\
         - job_name: docker\n  static_configs:\n  - labels: {{job: docker, __path__: \"{dir}/*.docker\"}}\n  \
         pipeline_stages: [{{docker: {{}}}}]\n"
    );
    fs::write(data.path().join("promtail.yml"), promtail).unwrap();
    // Docker's lines carry times of years ago.
    let more = "host:\n  enabled: false\nlogs:\n  retention: 50y\nquery:\n  max_log_lines: 200000\n\
                promtail: promtail.yml\n";
    let options = Options { config: quiet_config(more), ..Options::default() };
    let taffrail = Taffrail::start(PROGRAM, data.path(), &options);
    let mut bytes = 0;
    for (path, is_docker, text) in &expected {
        let query = format!("{{filename=\"{}\"}}", path.display());
        let stored = eventually(&format!("all of {}", path.display()), 120, || {
            let records = taffrail.logql(&query, 0, 200_000);
            let mut lines: Vec<String> = records
                .iter()
                .flat_map(|(_, record)| record.trim_end_matches('\n').split('\n'))
                .map(|line| line.to_owned())
                .collect();
            let mut wanted: Vec<String> = text.lines().map(str::to_owned).collect();
            if *is_docker {
                // Ordered by the times that the lines carry.
                lines.sort_unstable();
                wanted.sort_unstable();
            }
            (lines.len() >= wanted.len()).then_some((lines, wanted))
        });
        let (lines, wanted) = stored;
        let differs = lines.iter().zip(&wanted).position(|(a, b)| a != b);
        assert_eq!((lines.len(), differs), (wanted.len(), None), "{}", path.display());
        bytes += text.len();
    }
    println!("{} files, {bytes} bytes", expected.len());
    taffrail.assert_quiet(&[]);
}

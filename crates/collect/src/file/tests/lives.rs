//! Random lives of a log: written, rotated in every way, compressed, under a reader that crashes at any moment.

use proptest::prelude::*;

use super::*;

/// Rotated files that are kept.
const KEPT: usize = 6;

#[derive(Debug, Clone)]
enum Step {
    Write {
        lines: usize,
        width: usize,
    },
    /// The beginning of a line.
    WritePart,
    /// A rename; the writer learns of it at once, or goes on for a while.
    Rename {
        late: bool,
    },
    CopyAndEmpty,
    /// The copy is compressed at once.
    PackAndEmpty,
    /// Somebody keeps a copy.
    KeepCopy,
    /// Everything was read, and the file is deleted; another one follows.
    Delete,
    Compress,
    Look,
    Pump,
    /// What is read now is not stored, or stored without an answer; then the reader dies.
    Crash {
        stored: bool,
    },
    /// The reader dies when nothing was on its way.
    Stop,
    Refuse,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..40_usize, 0..300_usize).prop_map(|(lines, width)| Step::Write { lines, width }),
        1 => Just(Step::WritePart),
        3 => any::<bool>().prop_map(|late| Step::Rename { late }),
        2 => Just(Step::CopyAndEmpty),
        1 => Just(Step::PackAndEmpty),
        1 => Just(Step::KeepCopy),
        1 => Just(Step::Delete),
        2 => Just(Step::Compress),
        4 => Just(Step::Look),
        1 => Just(Step::Pump),
        2 => any::<bool>().prop_map(|stored| Step::Crash { stored }),
        2 => Just(Step::Stop),
        1 => Just(Step::Refuse),
    ]
}

/// What rotated files are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// `app.log.1`, which becomes `app.log.2`.
    Numbered,
    /// `app-20260131.log`, which matches the pattern of the log as well.
    Dated,
}

struct Life {
    scene: Scene,
    names: Names,
    /// Number of the last dated name.
    date: usize,
    writer: File,
    late_writer: Option<File>,
    written: Vec<String>,
    /// A line whose end was not written yet.
    part: String,
    header: Option<String>,
    /// Rotations since everything was read.
    unread_rotations: usize,
}

impl Life {
    fn new(pattern: &str, names: Names, has_header: bool, open_max: usize) -> Self {
        let mut scene = Scene::new(&[pattern]);
        scene.open_max = open_max;
        let mut life = Self {
            names,
            date: 20_260_131,
            writer: appending(&scene.path("app.log")),
            scene,
            late_writer: None,
            written: Vec::new(),
            part: String::new(),
            // Longer than what a file is recognised by.
            header: has_header.then(|| format!("#{}", "=".repeat(1400))),
            unread_rotations: 0,
        };
        life.write_header();
        life
    }

    fn write_header(&mut self) {
        if let Some(header) = self.header.clone() {
            // Something that only this file has follows: one that is emptied and filled with the very bytes that were
            // read cannot be told from one that was left alone.
            let first = format!("first {}", self.written.len());
            self.writer.write_all(format!("{header}\n{first}\n").as_bytes()).unwrap();
            self.written.extend([header, first]);
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Write { lines, width } => {
                for _ in 0..lines {
                    let rest = format!("line {} {}", self.written.len(), "x".repeat(width));
                    writeln!(self.writer, "{rest}").unwrap();
                    let part = std::mem::take(&mut self.part);
                    self.written.push(part + &rest);
                }
                if let Some(mut late) = self.late_writer.take() {
                    let line = format!("late {}", self.written.len());
                    writeln!(late, "{line}").unwrap();
                    self.written.push(line);
                }
            }
            Step::WritePart => {
                let part = format!("part {} ", self.written.len());
                self.writer.write_all(part.as_bytes()).unwrap();
                self.part += &part;
            }
            Step::Rename { late } => {
                self.make_room();
                rename(&self.scene.path("app.log"), &self.rotated(""));
                self.begin_file(late);
            }
            Step::Delete => {
                self.end_line();
                self.scene.look();
                self.scene.look();
                remove(&self.scene.path("app.log"));
                self.begin_file(false);
            }
            Step::CopyAndEmpty => {
                self.make_room();
                fs::copy(self.scene.path("app.log"), self.rotated("")).unwrap();
                self.empty();
            }
            Step::PackAndEmpty => {
                self.make_room();
                if self.names == Names::Dated {
                    // Nobody reads a file of such a name unless some of it is known.
                    self.scene.look();
                }
                pack(&self.scene.path("app.log"), &self.rotated(".gz"));
                self.empty();
            }
            Step::KeepCopy => {
                let name = if self.names == Names::Dated { "app-9.log" } else { "app.log.bak" };
                if !self.scene.path(name).exists() {
                    fs::copy(self.scene.path("app.log"), self.scene.path(name)).unwrap();
                    // Until it is known that the log is not emptied, it might be all that is left of it.
                    for _ in 0..8 {
                        self.scene.look();
                    }
                }
            }
            // As logrotate does: not one that is still written to.
            Step::Compress if self.late_writer.is_none() => {
                if self.names == Names::Dated {
                    self.scene.look();
                }
                if let Some(path) = self.plain().last() {
                    gzip(path);
                }
            }
            Step::Compress => {}
            Step::Look => self.scene.look(),
            Step::Pump => self.scene.pump(),
            Step::Crash { stored } => {
                let answer = if stored { Answer::StoresSilently } else { Answer::Loses };
                self.scene.answer(answer);
                self.scene.look();
                self.scene.restart();
            }
            Step::Stop => self.scene.restart(),
            Step::Refuse => {
                self.scene.answer(Answer::Refuses);
                self.scene.look();
                self.scene.answer(Answer::Stores);
            }
        }
    }

    /// The reader may be away for as long as rotated files are kept, not longer.
    fn make_room(&mut self) {
        if self.names == Names::Dated {
            // The rest of a line could be compressed before it is due, and nobody reads a file of such a name of which
            // nothing is known.
            self.end_line();
        }
        self.unread_rotations += 1;
        if self.unread_rotations >= KEPT {
            self.end_line();
            for _ in 0..8 {
                self.scene.look();
                self.scene.wait_ms(10_000);
            }
            self.unread_rotations = 0;
        }
        self.late_writer = None;
        if self.names == Names::Dated {
            self.date += 1;
            for ending in ["", ".gz"] {
                let oldest = format!("app-{}.log{ending}", self.date - KEPT);
                rustix::fs::unlink(self.scene.path(&oldest)).ok();
            }
            return;
        }
        for n in (1..=KEPT).rev() {
            for ending in ["", ".gz"] {
                let from = self.scene.path(&format!("app.log.{n}{ending}"));
                if !from.exists() {
                } else if n == KEPT {
                    remove(&from);
                } else {
                    rename(&from, &self.scene.path(&format!("app.log.{}{ending}", n + 1)));
                }
            }
        }
    }

    /// What the log is called once it is rotated.
    fn rotated(&self, ending: &str) -> PathBuf {
        self.scene.path(&match self.names {
            Names::Numbered => format!("app.log.1{ending}"),
            Names::Dated => format!("app-{}.log{ending}", self.date),
        })
    }

    /// The rotated files that are not compressed, the newest first.
    fn plain(&self) -> Vec<PathBuf> {
        let names = (0..KEPT).map(|n| match self.names {
            Names::Numbered => format!("app.log.{}", n + 1),
            Names::Dated => format!("app-{}.log", self.date - n),
        });
        names.map(|name| self.scene.path(&name)).filter(|path| path.exists()).collect()
    }

    /// Writes to a new file from now on.
    fn begin_file(&mut self, late: bool) {
        let next = appending(&self.scene.path("app.log"));
        let before = std::mem::replace(&mut self.writer, next);
        self.end_part();
        // A late line behind a part would be one with it.
        let is_whole = self.written.last().is_none_or(|line| !line.starts_with("part"));
        self.late_writer = (late && is_whole).then_some(before);
        self.write_header();
    }

    fn empty(&mut self) {
        self.writer.set_len(0).unwrap();
        self.end_part();
        self.write_header();
    }

    fn end_line(&mut self) {
        if !self.part.is_empty() {
            self.writer.write_all(b"\n").unwrap();
            self.end_part();
        }
    }

    fn end_part(&mut self) {
        if !self.part.is_empty() {
            self.written.push(std::mem::take(&mut self.part));
        }
    }

    fn check(mut self) {
        self.end_part();
        self.scene.look();
        self.scene.wait_long();
        // What tells the lines apart is at their beginning.
        let short = |lines: Vec<String>| {
            lines.into_iter().map(|line| match line.len() {
                1401 => "header".to_owned(),
                _ => line.trim_end_matches('x').to_owned() + &line.len().to_string(),
            })
        };
        let (written, read) = (counted(short(self.written)), counted(short(self.scene.lines())));
        let missing: Vec<_> = written.iter().filter(|(l, n)| read.get(*l) != Some(n)).collect();
        let beyond: Vec<_> = read.iter().filter(|(l, n)| written.get(*l) != Some(n)).collect();
        assert!(missing.is_empty() && beyond.is_empty(), "written {missing:?}, read {beyond:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_stored_once(
        steps in proptest::collection::vec(step(), 1..25),
        has_header in any::<bool>(),
        matches_all in any::<bool>(),
        is_dated in any::<bool>(),
        // Hardly any file may stay open.
        is_short in any::<bool>(),
    ) {
        let pattern = if matches_all { "*log*" } else { "*.log" };
        let names = if is_dated { Names::Dated } else { Names::Numbered };
        let mut life = Life::new(pattern, names, has_header, if is_short { 0 } else { 100 });
        life.scene.look();
        for step in steps {
            life.apply(step);
        }
        life.check();
    }
}

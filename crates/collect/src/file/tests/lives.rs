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
        2 => Just(Step::Compress),
        4 => Just(Step::Look),
        1 => Just(Step::Pump),
        2 => any::<bool>().prop_map(|stored| Step::Crash { stored }),
        2 => Just(Step::Stop),
        1 => Just(Step::Refuse),
    ]
}

struct Life {
    scene: Scene,
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
    fn new(pattern: &str, has_header: bool) -> Self {
        let scene = Scene::new(&[pattern]);
        let mut life = Self {
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
                rename(&self.scene.path("app.log"), &self.scene.path("app.log.1"));
                let next = appending(&self.scene.path("app.log"));
                let before = std::mem::replace(&mut self.writer, next);
                self.end_part();
                // A late line behind a part would be one with it.
                let is_whole = self.written.last().is_none_or(|line| !line.starts_with("part"));
                self.late_writer = (late && is_whole).then_some(before);
                self.write_header();
            }
            Step::CopyAndEmpty => {
                self.make_room();
                let path = self.scene.path("app.log");
                fs::copy(&path, self.scene.path("app.log.1")).unwrap();
                self.writer.set_len(0).unwrap();
                self.end_part();
                self.write_header();
            }
            Step::Compress => {
                let plain = (1..=KEPT).map(|n| self.scene.path(&format!("app.log.{n}")));
                // As logrotate does: not one that is still written to.
                if let Some(path) = plain.rev().find(|path| path.exists())
                    && self.late_writer.is_none()
                {
                    gzip(&path);
                }
            }
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
        self.unread_rotations += 1;
        if self.unread_rotations >= KEPT {
            if !self.part.is_empty() {
                self.writer.write_all(b"\n").unwrap();
                self.end_part();
            }
            for _ in 0..8 {
                self.scene.look();
                self.scene.wait_ms(10_000);
            }
            self.unread_rotations = 0;
        }
        self.late_writer = None;
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
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_stored_once(
        steps in proptest::collection::vec(step(), 1..25),
        has_header in any::<bool>(),
        matches_rotated in any::<bool>(),
    ) {
        let pattern = if matches_rotated { "*log*" } else { "*.log" };
        let mut life = Life::new(pattern, has_header);
        life.scene.look();
        for step in steps {
            life.apply(step);
        }
        life.check();
    }
}

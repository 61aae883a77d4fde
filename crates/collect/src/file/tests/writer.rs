//! Who writes and rotates a log: step by step, and beside a reader at any moment between two of its calls of the system.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::*;

/// Rotated files that are kept.
pub(super) const KEPT: usize = 6;

thread_local! {
    /// Whoever acts beside the reader of this thread.
    static BESIDE: RefCell<Option<Rc<RefCell<Writer>>>> = const { RefCell::new(None) };
}

/// The reader is about to ask the system for something.
pub(in crate::file) fn others_act() {
    let writer = BESIDE.with_borrow(Clone::clone);
    if let Some(writer) = writer {
        writer.borrow_mut().may_act();
    }
}

/// What rotated files are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// `app.log.1`, which becomes `app.log.2`.
    Numbered,
    /// `app-20260131.log`, which matches the pattern of the log as well.
    Dated,
}

/// What a writer and its rotation do.
#[derive(Debug, Clone)]
pub(super) enum Task {
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
    /// The newest rotated file is compressed.
    Compress,
}

/// What of a task nobody sees a half of.
#[derive(Debug, Clone)]
enum Act {
    Write {
        lines: usize,
        width: usize,
    },
    WritePart,
    EndLine,
    /// The late writer closes its file.
    EndLate,
    /// The rotated file of this number has the next one now; the last one goes.
    Shift(usize),
    NextDate,
    Rename,
    Begin {
        late: bool,
    },
    Header,
    /// The copy has the first half of what it will hold, or all.
    Copy {
        packed: bool,
        is_whole: bool,
    },
    Empty,
    BeginPacking,
    Pack,
    RemovePlain,
}

/// A log, its writer and its rotation.
pub(super) struct Writer {
    dir: PathBuf,
    pub(super) names: Names,
    /// Number of the last dated name.
    date: usize,
    file: File,
    late: Option<File>,
    pub(super) written: Vec<String>,
    /// A line whose end was not written yet.
    part: String,
    header: Option<String>,
    /// The file being compressed.
    packing: Option<PathBuf>,
    acts: VecDeque<Act>,
    /// How many chances to act are not taken between two acts, again and again.
    gaps: Vec<u8>,
    gap: u8,
    gap_index: usize,
}

impl Writer {
    /// Writes `app.log` in `dir`, and acts beside whatever reads in this thread.
    pub(super) fn begin(
        dir: &Path,
        names: Names,
        header: Option<String>,
        gaps: Vec<u8>,
    ) -> Rc<RefCell<Self>> {
        let mut writer = Self {
            dir: dir.to_owned(),
            names,
            date: 20_260_131,
            file: appending(&dir.join("app.log")),
            late: None,
            written: Vec::new(),
            part: String::new(),
            header,
            packing: None,
            acts: VecDeque::new(),
            gaps,
            gap: 0,
            gap_index: 0,
        };
        writer.run(Act::Header);
        let writer = Rc::new(RefCell::new(writer));
        BESIDE.set(Some(Rc::clone(&writer)));
        writer
    }

    /// Does it now, and what was put off before it.
    pub(super) fn apply(&mut self, task: &Task) {
        self.put_off(task);
        self.finish();
    }

    /// Does it later, beside the reader.
    pub(super) fn put_off(&mut self, task: &Task) {
        let acts = self.acts_of(task);
        self.acts.extend(acts);
    }

    /// Does what was put off.
    pub(super) fn finish(&mut self) {
        while let Some(act) = self.acts.pop_front() {
            self.run(act);
        }
    }

    fn may_act(&mut self) {
        if self.acts.is_empty() {
        } else if self.gap > 0 {
            self.gap -= 1;
        } else if let Some(act) = self.acts.pop_front() {
            self.run(act);
            self.gap = self.gaps.get(self.gap_index % self.gaps.len().max(1)).copied().unwrap_or(0);
            self.gap_index += 1;
        }
    }

    fn acts_of(&self, task: &Task) -> Vec<Act> {
        let mut acts = match *task {
            Task::Write { lines, width } => return vec![Act::Write { lines, width }],
            Task::WritePart => return vec![Act::WritePart],
            Task::Compress => return vec![Act::BeginPacking, Act::Pack, Act::RemovePlain],
            Task::Rename { .. } | Task::CopyAndEmpty | Task::PackAndEmpty => match self.names {
                // The rest of a line could be compressed before it is due.
                Names::Dated => vec![Act::EndLine, Act::EndLate, Act::NextDate],
                Names::Numbered => {
                    let shifts = (1..=KEPT).rev().map(Act::Shift);
                    [Act::EndLate].into_iter().chain(shifts).collect()
                }
            },
        };
        if let Task::Rename { late } = *task {
            acts.extend([Act::Rename, Act::Begin { late }, Act::Header]);
        } else {
            let packed = matches!(task, Task::PackAndEmpty);
            acts.extend([false, true].map(|is_whole| Act::Copy { packed, is_whole }));
            acts.extend([Act::Empty, Act::Header]);
        }
        acts
    }

    fn run(&mut self, act: Act) {
        match act {
            Act::Write { lines, width } => self.write(lines, width),
            Act::WritePart => {
                let part = format!("part {} ", self.written.len());
                self.file.write_all(part.as_bytes()).unwrap();
                self.part += &part;
            }
            Act::EndLine => {
                if !self.part.is_empty() {
                    self.file.write_all(b"\n").unwrap();
                    self.end_part();
                }
            }
            Act::EndLate => self.late = None,
            Act::Shift(number) => {
                for ending in ["", ".gz"] {
                    let from = self.path(&format!("app.log.{number}{ending}"));
                    if !from.exists() {
                    } else if number == KEPT {
                        remove(&from);
                    } else {
                        rename(&from, &self.path(&format!("app.log.{}{ending}", number + 1)));
                    }
                }
            }
            Act::NextDate => {
                self.date += 1;
                for ending in ["", ".gz"] {
                    let oldest = format!("app-{}.log{ending}", self.date - KEPT);
                    rustix::fs::unlink(self.path(&oldest)).ok();
                }
            }
            Act::Rename => rename(&self.path("app.log"), &self.rotated("")),
            Act::Begin { late } => {
                let next = appending(&self.path("app.log"));
                let before = std::mem::replace(&mut self.file, next);
                self.end_part();
                // A late line behind a part would be one with it.
                let is_whole = self.written.last().is_none_or(|line| !line.starts_with("part"));
                self.late = (late && is_whole).then_some(before);
            }
            Act::Header => self.write_header(),
            Act::Copy { packed, is_whole } => self.copy(packed, is_whole),
            Act::Empty => {
                self.file.set_len(0).unwrap();
                self.end_part();
            }
            Act::BeginPacking if self.late.is_none() => {
                // As logrotate does: not one that is still written to.
                self.packing = self.plain().pop();
                if let Some(path) = &self.packing {
                    let whole = packed(&fs::read(path).unwrap());
                    emptied(&added(path, ".gz")).write_all(&whole[..whole.len() / 2]).unwrap();
                }
            }
            Act::BeginPacking => {}
            Act::Pack => {
                if let Some(path) = &self.packing {
                    let whole = packed(&fs::read(path).unwrap());
                    let mut file = appending(&added(path, ".gz"));
                    file.write_all(&whole[whole.len() / 2..]).unwrap();
                    // As gzip: the compressed file has the times of the plain one, which is removed last.
                    file.set_modified(fs::metadata(path).unwrap().modified().unwrap()).unwrap();
                }
            }
            Act::RemovePlain => {
                if let Some(path) = self.packing.take() {
                    remove(&path);
                }
            }
        }
    }

    fn write(&mut self, lines: usize, width: usize) {
        for _ in 0..lines {
            let rest = format!("line {} {}", self.written.len(), "x".repeat(width));
            writeln!(self.file, "{rest}").unwrap();
            let part = std::mem::take(&mut self.part);
            self.written.push(part + &rest);
        }
        if let Some(mut late) = self.late.take() {
            let line = format!("late {}", self.written.len());
            writeln!(late, "{line}").unwrap();
            self.written.push(line);
        }
    }

    fn write_header(&mut self) {
        if let Some(header) = self.header.clone() {
            // Something that only this file has follows: one that is emptied and filled with the very bytes that were
            // read cannot be told from one that was left alone.
            let first = format!("first {}", self.written.len());
            self.file.write_all(format!("{header}\n{first}\n").as_bytes()).unwrap();
            self.written.extend([header, first]);
        }
    }

    /// The copy is written in two pieces.
    fn copy(&self, is_packed: bool, is_whole: bool) {
        let mut bytes = fs::read(self.path("app.log")).unwrap();
        if is_packed {
            bytes = packed(&bytes);
        }
        let half = bytes.len() / 2;
        let bytes = if is_whole { &bytes[half..] } else { &bytes[..half] };
        let path = self.rotated(if is_packed { ".gz" } else { "" });
        appending(&path).write_all(bytes).unwrap();
    }

    /// The end of the life: a line without its end is one, too.
    pub(super) fn end_part(&mut self) {
        if !self.part.is_empty() {
            self.written.push(std::mem::take(&mut self.part));
        }
    }

    /// Ends a line and begins another file, at once.
    pub(super) fn end_line(&mut self) {
        self.finish();
        self.run(Act::EndLine);
    }

    /// The file was deleted; another one follows.
    pub(super) fn begin_file(&mut self) {
        self.run(Act::Begin { late: false });
        self.run(Act::Header);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What the log is called once it is rotated.
    fn rotated(&self, ending: &str) -> PathBuf {
        self.path(&match self.names {
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
        names.map(|name| self.path(&name)).filter(|path| path.exists()).collect()
    }
}

fn added(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

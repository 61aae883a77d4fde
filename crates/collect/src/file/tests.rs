//! Logs are rotated, emptied, compressed and deleted under a reader that crashes; each line must be stored once.

mod compressed;
mod handover;
mod lives;
mod scenes;
pub(super) mod writer;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Done, Labels, LogBatch, ManualClock, MetricBatch, Receipt, Result, Sink};
use parking_lot::Mutex;

use super::tailer::Tailer;
use super::{Encoding, FilePositions, Pattern, Target, specs};
use crate::counters::Counters;
use crate::lines::Treatment;

/// What a store does with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Stores,
    /// Stores it, and the process dies before it hears of it.
    StoresSilently,
    /// The process dies before it is stored.
    Loses,
    Refuses,
}

/// Remembers lines and cursors as a store does: together.
#[derive(Default)]
struct Store {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    answer: Option<Answer>,
    /// Batches that are stored before.
    stored_before: usize,
    cursors: HashMap<String, Vec<u8>>,
    rows: Vec<(Labels, i64, String)>,
    waiting: Vec<Done>,
}

impl Sink for Store {
    fn append_metrics(&self, _: MetricBatch, done: Done) {
        drop(done);
    }

    fn append_logs(&self, batch: LogBatch, done: Done) {
        let mut held = self.held.lock();
        let mut answer = held.answer.unwrap_or(Answer::Stores);
        if held.stored_before > 0 {
            held.stored_before -= 1;
            answer = Answer::Stores;
        }
        if matches!(answer, Answer::Stores | Answer::StoresSilently) {
            let rows = batch.rows.iter().map(|r| (r.stream.clone(), r.t_ns, r.line.to_owned()));
            held.rows.extend(rows);
            held.cursors.insert(batch.source.to_string(), batch.cursor.unwrap());
        }
        match answer {
            Answer::Stores => {
                drop(held);
                done.call(Ok(Receipt { stored: batch.rows.len() as u64, rejected: Vec::new() }));
            }
            Answer::StoresSilently | Answer::Loses => held.waiting.push(done),
            Answer::Refuses => {
                drop(held);
                drop(done);
            }
        }
    }

    fn cursor(&self, source: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.held.lock().cursors.get(source).cloned())
    }
}

/// A directory with logs, and a reader of them.
struct Scene {
    _temp: tempfile::TempDir,
    dir: PathBuf,
    store: Arc<Store>,
    clock: Arc<ManualClock>,
    counters: Arc<Counters>,
    target: Target,
    /// Files that may be open.
    open_max: usize,
    /// When the directory was last changed; a time of its own.
    changed_at: std::time::SystemTime,
    ticks: u64,
    tailer: Option<Tailer>,
}

impl Scene {
    /// Reads what `patterns` name below a new directory.
    fn new(patterns: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().canonicalize().unwrap();
        let pattern = |text: &&str| Pattern::parse(&format!("{}/{text}", dir.display())).unwrap();
        let target = Target {
            name: "t".to_owned(),
            paths: patterns.iter().map(pattern).collect(),
            exclude: Vec::new(),
            labels: Labels::from_pairs([("job", "test")]),
            treatment: Arc::new(Treatment::plain(true)),
            encoding: Encoding::Utf8,
            start_at_end: false,
            unpacks: false,
            follow: Vec::new(),
            positions: Arc::default(),
        };
        Self {
            _temp: temp,
            dir,
            store: Arc::default(),
            clock: Arc::new(ManualClock::at_ms(1_700_000_000_000)),
            counters: Arc::default(),
            target,
            open_max: 100,
            changed_at: std::time::UNIX_EPOCH,
            ticks: 0,
            tailer: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        appending(&self.path(name)).write_all(text.as_ref()).unwrap();
    }

    fn tailer(&mut self) -> &mut Tailer {
        self.tailer.get_or_insert_with(|| {
            Tailer::new(
                specs(vec![self.target.clone()]),
                self.store.clone(),
                self.clock.clone(),
                Arc::clone(&self.counters),
                Arc::new(|| {}),
                self.open_max,
            )
        })
    }

    /// A crash, and a new reader.
    fn restart(&mut self) {
        self.tailer = None;
        let waiting = std::mem::take(&mut self.store.held.lock().waiting);
        drop(waiting);
        self.answer(Answer::Stores);
    }

    fn answer(&self, answer: Answer) {
        self.answer_after(0, answer);
    }

    /// Some batches are stored, and the ones after them not.
    fn answer_after(&self, stored_before: usize, answer: Answer) {
        let mut held = self.store.held.lock();
        (held.stored_before, held.answer) = (stored_before, Some(answer));
    }

    /// The system's clock ticks between two looks, as it does where they are as far apart as the reader's clock says.
    fn tick(&mut self) {
        let dir = File::open(&self.dir).unwrap();
        let changed_at = dir.metadata().unwrap().modified().unwrap();
        if changed_at != self.changed_at {
            // Not that of a later change within the same tick, nor later than it.
            self.ticks += 1;
            self.changed_at = changed_at - std::time::Duration::from_micros(self.ticks);
            dir.set_modified(self.changed_at).unwrap();
        }
    }

    /// Reads everything that can be read.
    fn look(&mut self) {
        self.tick();
        self.wait_ms(300);
        self.tailer().scan();
        self.pump();
    }

    /// Reads what is there without looking for other files.
    fn pump(&mut self) {
        self.tick();
        self.wait_ms(1);
        self.tailer().touch_all(false);
        for _ in 0..10_000 {
            let before = self.lines().len();
            let has_more = self.tailer().pump();
            let is_stuck = !self.store.held.lock().waiting.is_empty() || self.tailer().is_waiting();
            if !has_more && (is_stuck || (self.tailer().is_idle() && before == self.lines().len()))
            {
                return;
            }
        }
        panic!("the reader does not come to rest");
    }

    fn wait_ms(&self, ms: i64) {
        self.clock.advance_ms(ms);
    }

    /// Lets all times of patience pass.
    fn wait_long(&mut self) {
        for _ in 0..10 {
            self.wait_ms(20_000);
            for _ in 0..3 {
                self.look();
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        self.store.held.lock().rows.iter().map(|(_, _, line)| line.clone()).collect()
    }

    fn count(&self, counter: &str) -> u64 {
        self.counters.snapshot().into_iter().find(|(name, _)| *name == counter).unwrap().1
    }
}

fn appending(path: &Path) -> File {
    let create =
        rustix::fs::OFlags::CREATE | rustix::fs::OFlags::APPEND | rustix::fs::OFlags::WRONLY;
    rustix::fs::open(path, create, rustix::fs::Mode::from_raw_mode(0o644)).unwrap().into()
}

fn emptied(path: &Path) -> File {
    let file = appending(path);
    file.set_len(0).unwrap();
    file
}

/// As gzip: the compressed file has the times of the plain one, which is removed last.
fn gzip(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let packed = PathBuf::from(format!("{}.gz", path.display()));
    pack(path, &packed);
    appending(&packed).set_modified(modified).unwrap();
    remove(path);
}

/// As `gzip -c`.
fn pack(path: &Path, packed: &Path) {
    let mut encoder = flate2::write::GzEncoder::new(emptied(packed), flate2::Compression::fast());
    encoder.write_all(&fs::read(path).unwrap()).unwrap();
    encoder.finish().unwrap();
}

fn remove(path: &Path) {
    rustix::fs::unlink(path).unwrap();
}

fn rename(from: &Path, to: &Path) {
    rustix::fs::rename(from, to).unwrap();
}

fn counted(lines: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

//! Measures the reader of log files: the share of a core it takes while logs are written line by line and rotated in every
//! way, and whether each line arrives once.
//!
//! `cargo run --release -p collect --example bench_tail -- [seconds] [lines per second] [logs] [seconds between rotations]`
//!
//! The store is a table of the lines that came, which answers at once: what a real one costs is measured elsewhere. CPU
//! time is that of the reading thread.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "it writes logs as other programs do")]

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use collect::file::{Encoding, Pattern, Target};
use model::{Clock, Done, Labels, LogBatch, MetricBatch, Receipt, Sink, SystemClock};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Rotated files kept of each log.
const KEPT: usize = 8;
/// Lines written at once.
const BURST_EVERY: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Table {
    cursors: Mutex<HashMap<String, Vec<u8>>>,
    /// How often each line came, by its number.
    seen: Mutex<Vec<u8>>,
    delays_ns: Mutex<Vec<i64>>,
}

impl Sink for Table {
    fn append_metrics(&self, _: MetricBatch, done: Done) {
        drop(done);
    }

    fn append_logs(&self, batch: LogBatch, done: Done) {
        let mut seen = self.seen.lock();
        let mut oldest_ns = i64::MAX;
        for row in batch.rows.iter() {
            let mut words = row.line.split(' ');
            let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
            let (Some(line), Some(written_ns)) = (number(), number()) else { continue };
            if line >= seen.len() {
                seen.resize(line + 1, 0);
            }
            seen[line] = seen[line].saturating_add(1);
            oldest_ns = oldest_ns.min(i64::try_from(written_ns).unwrap_or(i64::MAX));
        }
        drop(seen);
        if oldest_ns < i64::MAX {
            self.delays_ns.lock().push(SystemClock.now_ns() - oldest_ns);
        }
        if let Some(cursor) = batch.cursor {
            self.cursors.lock().insert(batch.source.to_string(), cursor);
        }
        done.call(Ok(Receipt { stored: batch.rows.len() as u64, rejected: Vec::new() }));
    }

    fn cursor(&self, source: &str) -> model::Result<Option<Vec<u8>>> {
        Ok(self.cursors.lock().get(source).cloned())
    }
}

fn argument<T: std::str::FromStr>(number: usize, default: T) -> T {
    std::env::args().nth(number).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn appending(path: &Path) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(path)?)
}

/// Rotates a log, and what it is now written to: by a new name, by a copy, or compressed.
fn rotate(path: &Path, way: usize) -> Result<File> {
    let name =
        |number: usize, ending: &str| PathBuf::from(format!("{}.{number}{ending}", path.display()));
    for number in (1..=KEPT).rev() {
        for ending in ["", ".gz"] {
            let from = name(number, ending);
            if number == KEPT {
                fs::remove_file(from).ok();
            } else {
                fs::rename(from, name(number + 1, ending)).ok();
            }
        }
    }
    if way == 1 {
        fs::copy(path, name(1, ""))?;
        OpenOptions::new().write(true).truncate(true).open(path)?;
    } else {
        fs::rename(path, name(1, ""))?;
    }
    let file = appending(path)?;
    if way == 2 {
        // Not the newest: somebody may write to it still.
        std::process::Command::new("gzip").arg("-q").arg(name(2, "")).status().ok();
    }
    Ok(file)
}

/// CPU nanoseconds of the reading thread.
fn reader_cpu_ns() -> Result<i64> {
    for task in fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if fs::read_to_string(path.join("comm"))?.trim() == "files" {
            let stat = fs::read_to_string(path.join("schedstat"))?;
            return Ok(stat.split(' ').next().context("schedstat has a first field")?.parse()?);
        }
    }
    Ok(0)
}

#[tokio::main]
async fn main() -> Result<()> {
    let (seconds, lines_per_second) = (argument(1, 20_u64), argument(2, 50_000_usize));
    let (logs, rotate_every) = (argument(3, 1_usize).max(1), argument(4, 2.0_f64));
    let dir = tempfile::tempdir()?;
    let pattern = Pattern::parse(&format!("{}/*.log", dir.path().display()))?;
    let target = Target {
        treatment: Arc::new(collect::lines::Treatment::plain(true)),
        name: "bench".to_owned(),
        paths: vec![pattern],
        exclude: Vec::new(),
        labels: Labels::default(),
        encoding: Encoding::Utf8,
        start_at_end: false,
        unpacks: false,
        follow: Vec::new(),
        positions: Arc::default(),
    };
    let (table, cancel) = (Arc::new(Table::default()), CancellationToken::new());
    let paths: Vec<PathBuf> = (0..logs).map(|n| dir.path().join(format!("{n}.log"))).collect();
    let mut files = paths.iter().map(|path| appending(path)).collect::<Result<Vec<_>>>()?;
    let counters = Arc::default();
    let clock = Arc::new(SystemClock);
    let handle =
        collect::file::spawn(vec![target], table.clone(), clock, counters, cancel.clone())?;
    tokio::time::sleep(Duration::from_millis(500)).await;

    let (begun_ns, begun_cpu_ns) = (SystemClock.monotonic_ns(), reader_cpu_ns()?);
    let (mut written, mut rotations, mut bytes) = (0_usize, 0_usize, 0_usize);
    let mut tick = tokio::time::interval(BURST_EVERY);
    loop {
        tick.tick().await;
        let age = (SystemClock.monotonic_ns() - begun_ns) as f64 / 1e9;
        if age >= seconds as f64 {
            break;
        }
        let due = (age * lines_per_second as f64) as usize;
        while written < due {
            let line = format!(
                "{written} {} level=info msg=\"request served\" method=GET path=/api/cart/{} status=200 duration=0.0{}s user=u{:08x}\n",
                SystemClock.now_ns(),
                written % 977,
                written % 89,
                written.wrapping_mul(2_654_435_761) & 0xffff_ffff
            );
            files[written % logs].write_all(line.as_bytes())?;
            bytes += line.len();
            written += 1;
        }
        if rotate_every > 0.0 && age > (rotations + 1) as f64 * rotate_every {
            let log = rotations % logs;
            files[log] = rotate(&paths[log], rotations % 3)?;
            rotations += 1;
        }
    }
    let took_ns = SystemClock.monotonic_ns() - begun_ns;
    let cpu_ns = reader_cpu_ns()? - begun_cpu_ns;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let seen = table.seen.lock().clone();
    let lost = written - seen.iter().filter(|times| **times > 0).count();
    let twice = seen.iter().filter(|times| **times > 1).count();
    let mut delays = table.delays_ns.lock().clone();
    delays.sort_unstable();
    let delay = |share: f64| {
        let at = ((delays.len() as f64 * share) as usize).min(delays.len().saturating_sub(1));
        delays.get(at).copied().unwrap_or(0) as f64 / 1e6
    };
    println!(
        "{written} lines ({:.1} MB) in {logs} logs, {rotations} rotations, {:.0} lines/s",
        bytes as f64 / 1e6,
        written as f64 / (took_ns as f64 / 1e9)
    );
    println!(
        "reader: {:.1} % of a core, {:.2} us per line; oldest line of a batch after {:.0} ms (median), {:.0} ms (99 %)",
        cpu_ns as f64 / took_ns as f64 * 100.0,
        cpu_ns as f64 / 1e3 / written as f64,
        delay(0.5),
        delay(0.99)
    );
    println!("lost {lost}, twice {twice}");
    for (what, count) in handle.counters.snapshot().into_iter().filter(|(_, count)| *count > 0) {
        println!("  {what} {count}");
    }
    cancel.cancel();
    handle.stopped().await;
    anyhow::ensure!(lost == 0 && twice == 0, "lines were lost or repeated");
    Ok(())
}

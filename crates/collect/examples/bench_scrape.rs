//! Measures ingest of text inside the process: parsing alone, with the shape of the body known, and all the way into the
//! store's log and head, with the least that must be done beside it; memory of all that; and the time to open the store
//! again after a kill.
//!
//! `cargo run --release -p collect --example bench_scrape -- [series] [scrapes] [series per target] [directory]`
//!
//! The data is the documented mix of `testkit::mix`. CPU time is that of the threads that do the work, so that a core
//! shared with others does not count.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use collect::scrape::{BodyReader, ScrapeJob};
use ingest::exposition::{Encoding, Format, Limits, Metadata, Sample, Visitor, parse};
use model::{Clock, Done, Labels, ManualClock, MetricBatch, SystemClock};
use storage::fs::{Fs, RealFs};
use storage::wal::Durability;
use testkit::mix::{Mix, STEP_MS};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START_MS: i64 = 20_000 * 86_400_000;
const TEXT: Encoding = Encoding::Text(Format::Prometheus);

/// Only counts: the cost of reading text at first sight.
struct Count(u64);

impl Visitor for Count {
    fn sample(&mut self, _: Sample<'_>) -> model::Result<()> {
        self.0 += 1;
        Ok(())
    }

    fn metadata(&mut self, _: Metadata<'_>) -> model::Result<()> {
        Ok(())
    }
}

fn argument<T: std::str::FromStr>(number: usize, default: T) -> T {
    std::env::args().nth(number).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Nanoseconds of CPU of the threads whose names start with `name`; `None`: of the calling thread.
fn cpu_ns(name: Option<&str>) -> Result<i64> {
    let own = |path: &str| -> Result<i64> {
        let stat = std::fs::read_to_string(path)?;
        Ok(stat.split(' ').next().context("schedstat has a first field")?.parse()?)
    };
    let Some(name) = name else { return own("/proc/thread-self/schedstat") };
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if std::fs::read_to_string(path.join("comm"))?.starts_with(name) {
            total += own(&path.join("schedstat").to_string_lossy())?;
        }
    }
    Ok(total)
}

fn resident_bytes() -> Result<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: i64 = statm.split(' ').nth(1).context("statm has a second field")?.parse()?;
    Ok(pages * 4096)
}

/// The body that target `number` sends: the labels that scraping does not add.
fn body(mix: &Mix, values: &[f64], number: usize) -> String {
    let mut text = String::new();
    let start = number * mix.per_target();
    for (at, value) in values.iter().enumerate().skip(start).take(mix.per_target()) {
        let labels = mix.labels(at);
        let name = labels.iter().find(|(n, _)| n == "__name__").map_or("", |(_, v)| v);
        let own = labels.iter().filter(|(n, _)| !["__name__", "job", "instance"].contains(&&**n));
        let set: Vec<String> = own.map(|(n, v)| format!("{n}=\"{v}\"")).collect();
        writeln!(text, "{name}{{{}}} {}", set.join(","), value).ok();
    }
    text
}

fn reader(mix: &Mix, number: usize) -> BodyReader {
    let labels = mix.labels(number * mix.per_target());
    let kept = labels.iter().filter(|(n, _)| n == "job" || n == "instance");
    let target = Labels::from_pairs(kept.map(|(n, v)| (n.as_str(), v.as_str())));
    let source = format!("scrape/pods/{number}").into();
    BodyReader::new(source, ScrapeJob::new("pods"), target, Limits::NONE)
}

fn store(dir: &std::path::Path, clock: &Arc<ManualClock>) -> Result<(Arc<tsdb::Store>, u64)> {
    let config = tsdb::Config {
        dir: dir.to_owned(),
        durability: Durability::Interval { ms: 200 },
        shards: 0,
        retention_ms: 30 * 86_400_000,
        retention_rules: Vec::new(),
        head_bytes_max: 1 << 30,
        flush_after_ms: 30 * 60_000,
        series_max: 10_000_000,
        index_bytes_max: 256 << 20,
        future_ms_max: 600_000,
        free_bytes_floor: 0,
    };
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let (store, report) = tsdb::Store::open(Arc::new(RealFs), clock, config)?;
    Ok((store, report.recovered_samples))
}

fn rate(samples: u64, ns: i64) -> f64 {
    samples as f64 / (ns.max(1) as f64 / 1e9) / 1e6
}

/// CPU nanoseconds by stage, of the samples of all scrapes after the first two: those learn.
#[derive(Default)]
struct Spent {
    samples: u64,
    copy_ns: i64,
    compare_ns: i64,
    parse_ns: i64,
    read_ns: i64,
}

/// The least that ingest of text must do: see that each line begins as it did before, and read the number behind. No
/// check of the number, no errors, nothing stored.
fn compare_and_parse(text: &[u8], before: &[u8], prefixes: &[usize], values: &mut Vec<f64>) {
    values.clear();
    let (mut at, mut at_before) = (0, 0);
    for len in prefixes {
        let same = text.get(at..at + len) == before.get(at_before..at_before + len);
        let (mut digits, mut scale, mut is_fraction) = (0u64, 1.0, !same);
        at += len;
        while text[at] != b'\n' {
            match text[at] {
                b'.' => is_fraction = true,
                byte => {
                    digits = digits.wrapping_mul(10).wrapping_add(u64::from(byte & 15));
                    scale *= if is_fraction { 10.0 } else { 1.0 };
                }
            }
            at += 1;
        }
        at += 1;
        at_before += len;
        while before[at_before] != b'\n' {
            at_before += 1;
        }
        at_before += 1;
        values.push(digits as f64 / scale);
    }
}

/// Bytes of each line up to its value.
fn prefixes(text: &str) -> Vec<usize> {
    text.lines().map(|line| line.rfind(' ').map_or(0, |at| at + 1)).collect()
}

fn main() -> Result<()> {
    let (count, rounds) = (argument(1, 100_000usize), argument(2, 40usize).max(4));
    let per_target = argument(3, 500usize).min(count);
    let dir: PathBuf = argument(4, std::env::temp_dir().join("taffrail-bench-scrape"));
    if RealFs.exists(&dir)? {
        RealFs.remove_dir_all(&dir)?;
    }
    let mut mix = Mix::new(1, count, per_target);
    let targets = count.div_ceil(per_target);
    let clock = Arc::new(ManualClock::at_ms(START_MS));
    let mut values = Vec::new();
    let before_bytes = resident_bytes()?;
    let (store, _) = self::store(&dir, &clock)?;
    let mut readers: Vec<BodyReader> = (0..targets).map(|number| reader(&mix, number)).collect();
    let (mut spent, mut first_ns, mut changed_ns) = (Spent::default(), 0, 0);
    let (mut stored, mut sent, mut text_bytes, mut first_stored) = (0, 0, 0, 0);
    let mut first_writer_ns = 0;
    let (mut read, mut copied) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        clock.advance_ms(STEP_MS);
        mix.scrape(&mut values);
        let (sender, receiver) = crossbeam_channel::unbounded();
        // Some targets at a time, so that looking at the clock costs nothing and the texts are as warm as just received.
        for (group, readers) in readers.chunks_mut(16).enumerate() {
            let first = group * 16;
            let texts: Vec<String> =
                (first..first + readers.len()).map(|number| body(&mix, &values, number)).collect();
            let all_prefixes: Vec<Vec<usize>> = texts.iter().map(|text| prefixes(text)).collect();
            let before = texts.clone();
            let started_ns = cpu_ns(None)?;
            for text in &texts {
                copied.clear();
                copied.extend_from_slice(std::hint::black_box(text).as_bytes());
                std::hint::black_box(&mut copied);
            }
            let copied_ns = cpu_ns(None)?;
            for ((text, before), prefixes) in texts.iter().zip(&before).zip(&all_prefixes) {
                compare_and_parse(text.as_bytes(), before.as_bytes(), prefixes, &mut read);
                std::hint::black_box(&mut read);
            }
            let compared_ns = cpu_ns(None)?;
            let mut counted = Count(0);
            for text in &texts {
                parse(text.as_bytes(), Format::Prometheus, &Limits::NONE, &mut counted)?;
            }
            let parsed_ns = cpu_ns(None)?;
            let mut batches: Vec<MetricBatch> = Vec::with_capacity(texts.len());
            for (text, reader) in texts.iter().zip(readers) {
                batches.push(reader.read(text.as_bytes(), TEXT, clock.now_ms())?);
            }
            let done_ns = cpu_ns(None)?;
            sent += counted.0;
            text_bytes += texts.iter().map(String::len).sum::<usize>();
            match round {
                0 => first_ns += done_ns - parsed_ns,
                1 => {}
                _ => {
                    spent.samples += counted.0;
                    spent.copy_ns += copied_ns - started_ns;
                    spent.compare_ns += compared_ns - copied_ns;
                    spent.parse_ns += parsed_ns - compared_ns;
                    spent.read_ns += done_ns - parsed_ns;
                }
            }
            for batch in batches {
                let sender = sender.clone();
                store.append(batch, Done::new(move |outcome| drop(sender.send(outcome))));
            }
        }
        drop(sender);
        for outcome in receiver {
            stored += outcome?.stored;
        }
        if round == 0 {
            first_stored = stored;
        }
        if round == 1 {
            first_writer_ns = cpu_ns(Some("tsdb-writer"))?;
        }
    }
    let writer_ns = cpu_ns(Some("tsdb-writer"))? - first_writer_ns;
    let resident = resident_bytes()? - before_bytes;
    // What is not stored any more: bodies with a series that was not there before.
    for (number, reader) in readers.iter_mut().enumerate() {
        let text = format!("a_series_like_no_other 1\n{}", body(&mix, &values, number));
        let started_ns = cpu_ns(None)?;
        reader.read(text.as_bytes(), TEXT, clock.now_ms())?;
        changed_ns += cpu_ns(None)? - started_ns;
    }
    let later = spent.samples;
    let stats = store.stats();
    println!(
        "| {count} series, {rounds} scrapes, {per_target} series per target, {:.0} B per line | |",
        text_bytes as f64 / sent as f64
    );
    let (copy, compare) = (rate(later, spent.copy_ns), rate(later, spent.compare_ns));
    println!("| memcpy of the text, Ms/s | {copy:.1} |");
    println!("| compare and parse, the least there is to do, Ms/s | {compare:.1} |");
    println!("| parse at first sight, Ms/s | {:.1} |", rate(later, spent.parse_ns));
    println!("| first scrape: parse, labels, cache, Ms/s | {:.2} |", rate(first_stored, first_ns));
    println!(
        "| parse of a body with one new series, Ms/s | {:.1} |",
        rate((count + targets) as u64, changed_ns)
    );
    println!(
        "| parse of a body with new numbers, Ms/s (limit {compare:.0}: compare and parse) | {:.1} |",
        rate(later, spent.read_ns)
    );
    println!("| wal and head, writer thread, Ms/s | {:.1} |", rate(later, writer_ns));
    println!(
        "| all of it, Ms/s per core (aim 8; limit {compare:.0}: compare and parse) | {:.1} |",
        rate(later, spent.read_ns + writer_ns)
    );
    let per_series = |bytes: f64| bytes / count as f64;
    println!(
        "| resident, scrape caches and store, B/series (aim 500, limit about 130) | {:.0} |",
        per_series(resident as f64)
    );
    println!(
        "| of it samples in the head, B/series | {:.0} |",
        per_series(stats.head_bytes as f64)
    );
    println!("| wal, B/sample | {:.3} |", stats.wal_bytes as f64 / stored as f64);
    let with_caches = resident_bytes()?;
    drop(readers);
    println!(
        "| freed with the scrape caches, B/series | {:.0} |",
        per_series((with_caches - resident_bytes()?) as f64)
    );
    // As after a kill: nothing is closed, the WAL is all there is.
    let crashed = dir.with_extension("killed");
    if RealFs.exists(&crashed)? {
        RealFs.remove_dir_all(&crashed)?;
    }
    copy_files(&dir, &crashed)?;
    drop(store);
    let started_ns = SystemClock.monotonic_ns();
    let (reopened, recovered) = self::store(&crashed, &clock)?;
    let opened_s = (SystemClock.monotonic_ns() - started_ns) as f64 / 1e9;
    let lost = stored.saturating_sub(recovered + reopened.stats().part_samples);
    println!(
        "| open after a kill, s (aim 10), {recovered} samples from the wal, {lost} lost | {opened_s:.2} |"
    );
    drop(reopened);
    RealFs.remove_dir_all(&crashed)?;
    RealFs.remove_dir_all(&dir)?;
    Ok(())
}

/// The files as a killed process leaves them.
fn copy_files(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    RealFs.create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let path = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &path)?;
        } else {
            std::fs::copy(entry.path(), &path)?;
        }
    }
    Ok(())
}

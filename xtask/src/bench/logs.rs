//! `bench logs`: the log store over HTTP in the real binary, beside what plain files give: `zstd -3`, ripgrep, memcpy.
//!
//! The lines are `JSON 24 streams` of the test kit. CPU is the server's own, from the scheduler; the generator's is not in
//! it. Sizes count all files of the log store after an orderly end. Each phase is one function and prints its rows; a run
//! of several prints them once more in one table.

mod load;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use self::load::{Lines, Server, Wire};
use super::{example, table};
use crate::setup;
use crate::shell::{Cmd, step, target};

/// Rows of most phases, and of a day.
const ROWS: usize = 288_000;
const DAY_ROWS: usize = 10_000_000;
/// How often a query is asked.
const ASKED: u32 = 10;

/// Where a run puts its files, and how much data it makes.
struct Run {
    work: PathBuf,
    /// 1, or the divisor of all numbers of rows: to try the harness, not to measure.
    divisor: usize,
}

/// Measure, ours, baseline, ratio, aim.
type Row = [String; 5];
type Phase = fn(&Run) -> Result<Vec<Row>>;

/// In the order in which all are run.
const PHASES: [(&str, Phase); 4] =
    [("push", push), ("size", size), ("search", search), ("count", count)];

/// `cargo xtask bench logs [PHASE…] [--small]`.
pub(crate) fn logs(args: &[String]) -> Result<()> {
    if args.first().is_some_and(|arg| arg == "store") {
        return example("logdb", "bench_logs", args.get(1..).unwrap_or_default());
    }
    let (mut phases, mut is_small) = (Vec::new(), false);
    for arg in args {
        if arg == "--small" {
            is_small = true;
        } else if let Some(phase) = PHASES.iter().find(|(name, _)| name == arg) {
            phases.push(phase);
        } else {
            let phases = PHASES.map(|(name, _)| name).join(", ");
            bail!(
                "unknown {arg:?}; usage: cargo xtask bench logs [store [FILE…] | PHASE… --small], phases: {phases}; \
                 without any, all"
            );
        }
    }
    if phases.is_empty() {
        phases.extend(&PHASES);
    }
    if cfg!(debug_assertions) {
        // The generator shares the cores with what is measured: it must not be slow.
        let mut again = vec!["run", "--release", "--quiet", "--package", "xtask", "--"];
        again.extend(["bench", "logs"]);
        again.extend(args.iter().map(String::as_str));
        return Cmd::new("cargo", &again).replace();
    }
    setup::ui()?;
    setup::packages(&[("zstd", "zstd"), ("rg", "ripgrep")])?;
    step("building taffrail (release)");
    Cmd::new("cargo", &["build", "--release", "--package", "taffrail"]).run()?;
    let run = Run { work: target().join("bench-logs"), divisor: if is_small { 10 } else { 1 } };
    let mut all = Vec::new();
    for (name, phase) in &phases {
        if run.work.exists() {
            std::fs::remove_dir_all(&run.work)?;
        }
        std::fs::create_dir_all(&run.work)?;
        let began = Instant::now();
        let rows = phase(&run).with_context(|| format!("phase {name}"))?;
        print(&rows);
        println!("\n{name} took {:.0} s", began.elapsed().as_secs_f64());
        all.extend(rows);
    }
    std::fs::remove_dir_all(&run.work)?;
    if phases.len() > 1 {
        step("all phases");
        print(&all);
    }
    if is_small {
        println!("\na tenth of the rows (--small): the harness works, the figures mean nothing");
    }
    Ok(())
}

fn print(rows: &[Row]) {
    let head = ["measure", "taffrail", "baseline", "ratio", "aim"].map(str::to_owned);
    let mut with_head = vec![head];
    with_head.extend(rows.iter().cloned());
    table(&with_head);
}

fn row(measure: &str, ours: f64, baseline: (f64, &str), aim: &str) -> Row {
    let (value, what) = baseline;
    let shown = if value.is_nan() { "-".to_owned() } else { format!("{} ({what})", short(value)) };
    let ratio = if value.is_nan() { "-".to_owned() } else { short(ours / value) };
    [measure.to_owned(), short(ours), shown, ratio, aim.to_owned()]
}

/// Three digits.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// From push to durable, flushed and merged: MB of lines for each CPU second of the whole server.
fn push(run: &Run) -> Result<Vec<Row>> {
    let lines = Lines::new(ROWS / run.divisor)?;
    let (zstd_cpu, _) = zstd(&run.work, &lines)?;
    let mb = lines.mb();
    let mut rows = Vec::new();
    for (wire, name) in [(Wire::Protobuf, "protobuf + snappy"), (Wire::Json, "JSON")] {
        let server = Server::start(&run.work)?;
        server.push(&lines, wire)?;
        let pushed = server.process.cpu_seconds();
        let peak_mb = server.process.memory_mb("VmHWM");
        let flushed = server.end()?;
        rows.push(row(
            &format!("push by {name}, MB/s of a core until durable"),
            mb / pushed,
            (mb / zstd_cpu, "zstd -3"),
            "-",
        ));
        rows.push(row(
            &format!("push by {name}, MB/s of a core until flushed"),
            mb / flushed,
            (mb / zstd_cpu, "zstd -3"),
            ">= 150",
        ));
        rows.push(row(&format!("push by {name}, peak memory MB"), peak_mb, (f64::NAN, ""), "-"));
    }
    Ok(rows)
}

/// Bytes of all files of the log store for each row.
fn size(run: &Run) -> Result<Vec<Row>> {
    let lines = Lines::new(ROWS / run.divisor)?;
    let (_, packed) = zstd(&run.work, &lines)?;
    let server = Server::start(&run.work)?;
    let data = server.data();
    server.push(&lines, Wire::Protobuf)?;
    server.end()?;
    let bytes = load::dir_bytes(&data.join("logs"))?;
    let rows = lines.len() as f64;
    let floor = format!("<= 23 (entropy {:.1})", lines.entropy_bytes);
    Ok(vec![row(
        "JSON 24 streams, bytes a row, all files",
        bytes as f64 / rows,
        (packed as f64 / rows, "zstd -3"),
        &floor,
    )])
}

/// Needles over HTTP, beside ripgrep on the raw lines.
fn search(run: &Run) -> Result<Vec<Row>> {
    let lines = Lines::new(ROWS / run.divisor)?;
    let raw = lines.write(&run.work)?;
    let server = Server::start(&run.work)?;
    server.push(&lines, Wire::Protobuf)?;
    let server = server.restart()?;
    let gb = lines.mb() / 1e3;
    let mut rows = Vec::new();
    for (what, needle) in [
        ("miss", "zzz_never_seen "),
        ("rare", "stack trace in the error tracker"),
        ("frequent", "timeout after"),
    ] {
        let query = format!("sum(count_over_time({{app=~\".+\"}} |= \"{needle}\" [1d]))");
        let cpu = server.query_cpu(&query, &lines, ASKED)?;
        let (rg, _) = child_cpu(&format!("rg -c -F '{needle}' {} || true", raw.display()))?;
        let name = format!("count of lines with a {what} needle, GB/s of raw lines");
        rows.push(row(&name, gb / cpu, (gb / rg, "ripgrep"), ">= 6"));
    }
    server.end()?;
    let copy = memcpy(&raw)?;
    rows.push(row("memcpy of the raw lines, GB/s", copy, (f64::NAN, ""), "limit"));
    Ok(rows)
}

/// Counting a day of rows by level.
fn count(run: &Run) -> Result<Vec<Row>> {
    let lines = Lines::new(DAY_ROWS / run.divisor)?;
    let server = Server::start(&run.work)?;
    server.push(&lines, Wire::Protobuf)?;
    let server = server.restart()?;
    let mut rows = Vec::new();
    for (what, query) in [
        (
            "sum by (detected_level)",
            "sum by (detected_level) (count_over_time({app=~\".+\"} [1h]))",
        ),
        ("sum by (app)", "sum by (app) (count_over_time({app=~\".+\"} [1h]))"),
    ] {
        let cpu = server.query_cpu(query, &lines, ASKED)?;
        let name = format!("{what} of a day by the hour, CPU ms");
        rows.push(row(&name, cpu * 1e3, (f64::NAN, ""), "<= 50"));
    }
    server.end()?;
    Ok(rows)
}

/// CPU seconds and bytes of `zstd -3` over the raw lines.
fn zstd(work: &Path, lines: &Lines) -> Result<(f64, u64)> {
    let raw = lines.write(work)?;
    let packed = work.join("raw.zst");
    let (cpu, _) =
        child_cpu(&format!("zstd -3 -q -f -T1 {} -o {}", raw.display(), packed.display()))?;
    Ok((cpu, std::fs::metadata(packed)?.len()))
}

/// CPU seconds of a shell command, and what it printed.
fn child_cpu(command: &str) -> Result<(f64, String)> {
    let output = Command::new("bash").arg("-c").arg(format!("{command}; times")).output()?;
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    // The last line: user and system time of children, as 0m0.000s.
    let last = text.trim_end().lines().last().unwrap_or_default();
    let seconds = last.split_whitespace().filter_map(|time| {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    });
    Ok((seconds.sum::<f64>().max(1e-3), text))
}

/// GB/s at which the file's bytes are copied in memory.
fn memcpy(file: &Path) -> Result<f64> {
    let bytes = std::fs::read(file)?;
    let mut copy = vec![0; bytes.len()];
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let began = Instant::now();
        copy.copy_from_slice(std::hint::black_box(&bytes));
        best = best.min(began.elapsed().as_secs_f64());
        std::hint::black_box(&copy);
    }
    Ok(bytes.len() as f64 / 1e9 / best)
}

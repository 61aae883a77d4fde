//! Benchmarks of one store in phases: how they are run, what they print, and what they compare with: `zstd -3`, other
//! commands, memcpy.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use super::table;
use crate::setup;
use crate::shell::{Cmd, step, target};

/// Measure, ours, baseline, ratio, aim.
pub(crate) type Row = [String; 5];

/// Where a run puts its files, and how much data it makes.
pub(crate) struct Run {
    pub(crate) work: PathBuf,
    /// 1, or the divisor of all numbers of rows: to try the harness, not to measure.
    pub(crate) divisor: usize,
}

/// A phase's name and what it measures.
pub(crate) type Phase = (&'static str, fn(&Run) -> Result<Vec<Row>>);

/// `cargo xtask bench SUITE [PHASE…] [--small]`: the phases named in `args`, or all, in the order of `phases`. `usage` is
/// what else may be typed.
pub(crate) fn run(suite: &str, phases: &[Phase], usage: &str, args: &[String]) -> Result<()> {
    let (mut wanted, mut is_small) = (Vec::new(), false);
    for arg in args {
        if arg == "--small" {
            is_small = true;
        } else if let Some(phase) = phases.iter().find(|(name, _)| name == arg) {
            wanted.push(phase);
        } else {
            let names: Vec<&str> = phases.iter().map(|(name, _)| *name).collect();
            bail!(
                "unknown {arg:?}; usage: cargo xtask bench {suite} [{usage}PHASE… --small], phases: {}; without any, all",
                names.join(", ")
            );
        }
    }
    if wanted.is_empty() {
        wanted.extend(phases);
    }
    if cfg!(debug_assertions) {
        // The generator shares the cores with what is measured: it must not be slow.
        let mut again = vec!["run", "--release", "--quiet", "--package", "xtask", "--"];
        again.extend(["bench", suite]);
        again.extend(args.iter().map(String::as_str));
        return Cmd::new("cargo", &again).replace();
    }
    setup::ui()?;
    setup::packages(&[("zstd", "zstd"), ("rg", "ripgrep")])?;
    step("building taffrail (release)");
    Cmd::new("cargo", &["build", "--release", "--package", "taffrail"]).run()?;
    let divisor = if is_small { 10 } else { 1 };
    let run = Run { work: target().join(format!("bench-{suite}")), divisor };
    let mut all = Vec::new();
    for (name, phase) in &wanted {
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
    if wanted.len() > 1 {
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

pub(crate) fn row(measure: &str, ours: f64, baseline: (f64, &str), aim: &str) -> Row {
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

/// CPU seconds and bytes of `zstd -3` over a file.
pub(crate) fn zstd(file: &Path) -> Result<(f64, u64)> {
    let packed = PathBuf::from(format!("{}.zst", file.display()));
    let (cpu, _) =
        child_cpu(&format!("zstd -3 -q -f -T1 {} -o {}", file.display(), packed.display()))?;
    Ok((cpu, std::fs::metadata(packed)?.len()))
}

/// CPU seconds of a shell command, and what it printed.
pub(crate) fn child_cpu(command: &str) -> Result<(f64, String)> {
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
pub(crate) fn memcpy(file: &Path) -> Result<f64> {
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

/// Bytes of all files in `dir` and below.
pub(crate) fn dir_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { dir_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

//! `bench metrics`: the metric store in process, then over HTTP beside Debian's victoria-metrics and prometheus: the same
//! generated samples, one server after the other, each on the same cores.
//!
//! CPU is the server's own, from the scheduler; the generator's is not in it. Sizes count all files of a data directory.
//! Each phase prints its rows; a run of all phases prints them once more in one table.

mod comparison;
mod crash;
mod in_process;
pub(super) mod load;
mod push;
mod query;
mod scrape;
pub(super) mod servers;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use self::comparison::Comparison;
use self::servers::{KINDS, Kind};
use super::example;
use crate::setup;
use crate::shell::{Cmd, step, target};

const SEED: u64 = 1;
const SERIES_PER_TARGET: usize = 1000;
/// Requests under way at once; acknowledged writes are synced in groups.
const CONNECTIONS: usize = 16;
const DAY_MS: i64 = 86_400_000;

type Phase = fn(&Run) -> Result<Comparison>;

/// Where a run puts its files, and how much data it makes.
struct Run {
    work: PathBuf,
    /// 1, or the divisor of all numbers of series: to try the harness, not to measure.
    divisor: usize,
    /// The servers to measure.
    servers: Vec<Kind>,
}

impl Run {
    fn series(&self, full: usize) -> usize {
        full / self.divisor
    }

    fn includes(&self, kind: Kind) -> bool {
        self.servers.contains(&kind)
    }
}

/// In the order in which all are run.
const PHASES: [(&str, Phase); 7] = [
    ("process", in_process::ingest),
    ("push", push::closed_day),
    ("hot", push::open_day),
    ("text", push::text),
    ("query", query::query),
    ("scrape", scrape::scrape),
    ("crash", crash::crash),
];

/// `cargo xtask bench metrics [PHASE…] [SERVER…] [--small]`.
pub(crate) fn metrics(args: &[String]) -> Result<()> {
    if args.first().is_some_and(|arg| arg == "store") {
        return example("tsdb", "bench_metrics", args.get(1..).unwrap_or_default());
    }
    let (mut phases, mut servers, mut is_small) = (Vec::new(), Vec::new(), false);
    for arg in args {
        if arg == "--small" {
            is_small = true;
        } else if let Some(kind) = KINDS.iter().find(|kind| kind.name() == arg) {
            servers.push(*kind);
        } else if let Some(phase) = PHASES.iter().find(|(name, _)| name == arg) {
            phases.push(phase);
        } else {
            let phases = PHASES.map(|(name, _)| name).join(", ");
            let servers = KINDS.map(Kind::name).join(", ");
            bail!(
                "unknown {arg:?}; usage: cargo xtask bench metrics [store [ARGS] | PHASE… SERVER… --small], \
                 phases: {phases}; servers: {servers}; without any, all"
            );
        }
    }
    if phases.is_empty() {
        phases.extend(&PHASES);
    }
    if servers.is_empty() {
        servers.extend(KINDS);
    }
    if cfg!(debug_assertions) {
        // The generator shares the cores with what is measured: it must not be slow.
        let mut again = vec!["run", "--release", "--quiet", "--package", "xtask", "--"];
        again.extend(["bench", "metrics"]);
        again.extend(args.iter().map(String::as_str));
        return Cmd::new("cargo", &again).replace();
    }
    setup::ui()?;
    setup::packages(&[("prometheus", "prometheus"), ("victoria-metrics", "victoria-metrics")])?;
    step("building taffrail (release)");
    Cmd::new("cargo", &["build", "--release", "--package", "taffrail"]).run()?;
    let run = Run {
        work: target().join("bench-metrics"),
        divisor: if is_small { 10 } else { 1 },
        servers,
    };
    let mut all = Comparison::default();
    let started = Instant::now();
    for (name, phase) in &phases {
        if run.work.exists() {
            std::fs::remove_dir_all(&run.work)?;
        }
        std::fs::create_dir_all(&run.work)?;
        let began = Instant::now();
        all.extend(phase(&run).with_context(|| format!("phase {name}"))?);
        println!("\n{name} took {:.0} s", began.elapsed().as_secs_f64());
    }
    std::fs::remove_dir_all(&run.work)?;
    if phases.len() > 1 {
        step(&format!("all phases, {:.0} s", started.elapsed().as_secs_f64()));
        all.print();
    }
    if is_small {
        println!("\na tenth of the series (--small): the harness works, the figures mean nothing");
    }
    Ok(())
}

fn now_ms() -> Result<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis())?)
}

/// A moment of yesterday, whose day is closed; at an odd millisecond, so that no window ends on a sample.
fn yesterday_ms() -> Result<i64> {
    Ok(now_ms()? / DAY_MS * DAY_MS - DAY_MS + 137)
}

/// Runs `measure` on each server of the run in turn; rows of measures become columns of servers.
fn each<const N: usize>(
    run: &Run,
    mut measure: impl FnMut(Kind) -> Result<[f64; N]>,
) -> Result<[[f64; 3]; N]> {
    let mut columns = [[f64::NAN; N]; 3];
    for (column, kind) in columns.iter_mut().zip(KINDS).filter(|(_, kind)| run.includes(*kind)) {
        *column = measure(kind).with_context(|| kind.name())?;
    }
    let mut rows = [[f64::NAN; 3]; N];
    for (k, column) in columns.iter().enumerate() {
        for (row, value) in rows.iter_mut().zip(column) {
            row[k] = *value;
        }
    }
    Ok(rows)
}

//! `bench logs`: the log store over HTTP in the real binary, beside what plain files give: `zstd -3`, ripgrep, memcpy.
//!
//! The lines are `JSON 24 streams` of the test kit. CPU is the server's own, from the scheduler; the generator's is not in
//! it. Sizes count all files of the log store after an orderly end. Each phase is one function and prints its rows; a run
//! of several prints them once more in one table.

mod load;

use anyhow::Result;

use self::load::{Lines, Wire};
use super::example;
use super::server::Server;
use super::suite::{self, Phase, Row, Run, child_cpu, dir_bytes, memcpy, row, zstd};

/// Rows of most phases, and of a day.
const ROWS: usize = 288_000;
const DAY_ROWS: usize = 10_000_000;
/// What is wanted of ingest: 150 MB/s on the machine whose `zstd -3` packs such lines at 504 MB/s (`ENGINE.md` D).
const AIM: &str = ">= 0.30 (150 of 504)";
/// How often a query is asked.
const ASKED: u32 = 10;

/// In the order in which all are run.
const PHASES: [Phase; 4] = [("push", push), ("size", size), ("search", search), ("count", count)];

/// `cargo xtask bench logs [PHASE…] [--small]`.
pub(crate) fn logs(args: &[String]) -> Result<()> {
    if args.first().is_some_and(|arg| arg == "store") {
        return example("logdb", "bench_logs", args.get(1..).unwrap_or_default());
    }
    suite::run("logs", &PHASES, "store [FILE…] | ", args)
}

/// From push to durable, flushed and merged: MB of lines for each CPU second of the whole server.
fn push(run: &Run) -> Result<Vec<Row>> {
    let lines = Lines::new(ROWS / run.divisor)?;
    let (zstd_cpu, _) = zstd(&lines.write(&run.work)?)?;
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
            AIM,
        ));
        rows.push(row(&format!("push by {name}, peak memory MB"), peak_mb, (f64::NAN, ""), "-"));
    }
    Ok(rows)
}

/// Bytes of all files of the log store for each row.
fn size(run: &Run) -> Result<Vec<Row>> {
    let lines = Lines::new(ROWS / run.divisor)?;
    let (_, packed) = zstd(&lines.write(&run.work)?)?;
    let server = Server::start(&run.work)?;
    let data = server.data();
    server.push(&lines, Wire::Protobuf)?;
    server.end()?;
    let bytes = dir_bytes(&data.join("logs"))?;
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

//! `bench metrics`: the metric store in process, then over HTTP beside Debian's victoria-metrics and prometheus: the same
//! generated samples, one server after the other, each on the same cores.
//!
//! Pushed by remote write 1.0 (what all three take) and scraped as text; then sizes on disk, memory, queries. CPU is the
//! server's own, from the scheduler; the generator's is not in it.

mod load;
mod servers;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use testkit::get;
use testkit::mix::{Mix, STEP_MS};

use self::load::{Bodies, Exporter};
use self::servers::{KINDS, Kind, Server};
use super::{example, table};
use crate::setup;
use crate::shell::{Cmd, step, target};

const SEED: u64 = 1;
const SERIES_PER_TARGET: usize = 1000;
/// Requests under way at once; acknowledged writes are synced in groups.
const CONNECTIONS: usize = 16;
const QUERY_RUNS: usize = 7;

const USAGE: &str =
    "usage: cargo xtask bench metrics [store [ARGS] | push | query | scrape | crash]";

pub(crate) fn metrics(args: &[String]) -> Result<()> {
    let phase = args.first().map(String::as_str);
    if let Some("store") = phase {
        return example("tsdb", "bench_metrics", args.get(1..).unwrap_or_default());
    }
    ensure!(args.len() <= 1, USAGE);
    let wanted = |name: &str| phase.is_none_or(|phase| phase == name);
    if !["push", "query", "scrape", "crash"].iter().any(|name| wanted(name)) {
        bail!(USAGE);
    }
    setup::ui()?;
    setup::packages(&[("prometheus", "prometheus"), ("victoria-metrics", "victoria-metrics")])?;
    step("building taffrail (release)");
    Cmd::new("cargo", &["build", "--release", "--package", "taffrail"]).run()?;
    let work = target().join("bench-metrics");
    if work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    std::fs::create_dir_all(&work)?;
    if phase.is_none() {
        example("tsdb", "bench_metrics", &[])?;
    }
    if wanted("push") {
        push(&work)?;
    }
    if wanted("query") {
        query(&work)?;
    }
    if wanted("scrape") {
        scrape(&work)?;
    }
    if wanted("crash") {
        crash(&work)?;
    }
    Ok(std::fs::remove_dir_all(&work)?)
}

/// The first moment of the data: yesterday, so that its day is closed, at an odd millisecond, so that no window ends
/// on a sample.
fn first_ms() -> Result<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let day_ms = 86_400_000;
    Ok(i64::try_from(now.as_millis())? / day_ms * day_ms - day_ms + 137)
}

/// A column per server, the ratio of ours to each peer behind them.
struct Comparison {
    rows: Vec<[String; 6]>,
}

impl Comparison {
    fn new() -> Self {
        let head =
            ["measure", "taffrail", "victoria-metrics", "prometheus", "ours/VM", "ours/Prom"];
        Self { rows: vec![head.map(str::to_owned)] }
    }

    /// `values` in the order of [`KINDS`].
    fn row(&mut self, what: &str, values: [f64; 3]) {
        let shown = |v: f64| if v.is_finite() { short(v) } else { "-".to_owned() };
        let ratio = |peer: f64| shown(values[0] / peer);
        let [ours, vm, prometheus] = values;
        self.rows.push([
            what.to_owned(),
            shown(ours),
            shown(vm),
            shown(prometheus),
            ratio(vm),
            ratio(prometheus),
        ]);
    }

    fn print(&self) {
        table(&self.rows);
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Runs `measure` on each server in turn; rows of measures become columns of servers.
fn each<const N: usize>(
    mut measure: impl FnMut(Kind) -> Result<[f64; N]>,
) -> Result<[[f64; 3]; N]> {
    let mut columns = [[f64::NAN; N]; 3];
    for (column, kind) in columns.iter_mut().zip(KINDS) {
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

/// 10,000 series × 6 h: ingest speed, memory, bytes on disk.
fn push(work: &Path) -> Result<()> {
    step("push: 10,000 series, 6 h of 15 s, by remote write");
    let mut mix = Mix::new(SEED, 10_000, SERIES_PER_TARGET);
    let bodies = Bodies::generate(&mut mix, first_ms()?, 1440);
    let samples = bodies.samples as f64;
    let rows = each(|kind| {
        let mut server = Server::start(kind, work, "")?;
        let (wall_s, cpu_s) = server.push(&bodies, CONNECTIONS)?;
        let rss = server.process.memory_mb("VmHWM");
        let bytes = server.settled_bytes()? as f64;
        Ok([samples / cpu_s / 1e6, samples / wall_s / 1e6, rss, bytes / samples])
    })?;
    let mut comparison = Comparison::new();
    let names = [
        "ingest, M samples per CPU second",
        "ingest, M samples per second of wall time",
        "peak RSS, MB",
        "bytes per sample on disk, all files, settled",
    ];
    names.iter().zip(rows).for_each(|(name, row)| comparison.row(name, row));
    comparison.print();
    println!(
        "\nlimits: {:.3} B/sample is the entropy of the values; the day of the data is closed (cold)",
        mix.entropy_bits() / 8.0
    );
    Ok(())
}

/// 100,000 series × 70 min: memory per series and queries.
fn query(work: &Path) -> Result<()> {
    step("query: 100,000 series, 70 min of 15 s");
    let rounds = 280;
    let first_ms = first_ms()?;
    let mut mix = Mix::new(SEED, 100_000, SERIES_PER_TARGET);
    let bodies = Bodies::generate(&mut mix, first_ms, rounds);
    let end_s = (first_ms + i64::try_from(rounds)? * STEP_MS) / 1000 - 30;
    let queries = questions();
    let mut values: Vec<[(f64, f64); 3]> = vec![[(f64::NAN, f64::NAN); 3]; queries.len()];
    let mut per_series = [f64::NAN; 3];
    let mut answers: Vec<[f64; 3]> = vec![[f64::NAN; 3]; queries.len()];
    for (k, kind) in KINDS.into_iter().enumerate() {
        let mut server = Server::start(kind, work, "")?;
        server.push(&bodies, CONNECTIONS)?;
        per_series[k] = server.process.memory_mb("VmRSS") * 1e6 / mix.len() as f64;
        for (number, (_, text, step_s)) in queries.iter().enumerate() {
            let asked = ask(&mut server, text, end_s, *step_s)
                .with_context(|| format!("{}: {text}", kind.name()))?;
            values[number][k] = (asked.cpu_ms, asked.wall_ms);
            answers[number][k] = asked.sum;
        }
    }
    let mut comparison = Comparison::new();
    comparison.row("RSS with 280 scrapes, B per series", per_series);
    for ((name, ..), values) in queries.iter().zip(&values) {
        comparison.row(&format!("{name}, CPU ms"), values.map(|v| v.0));
        comparison.row(&format!("{name}, wall ms (median)"), values.map(|v| v.1));
    }
    comparison.print();
    for ((name, ..), [ours, _, prometheus]) in queries.iter().zip(&answers) {
        let differ = (ours - prometheus).abs() > 1e-9 * prometheus.abs();
        ensure!(!differ, "{name}: the sum of all values is {ours}, prometheus says {prometheus}");
    }
    println!(
        "\nlimits: 6 ms to decode and 0.2 ms to read 45 k series of 240 samples; sums of all values equal prometheus' to 1e-9"
    );
    Ok(())
}

/// Name, expression, step in seconds (0: instant, otherwise over the last hour).
fn questions() -> Vec<(&'static str, String, i64)> {
    // 9 of 20 namespaces: 45 k series of 100 k.
    let most = "namespace=~\"team-[0-8]\"";
    vec![
        ("sum by (rate), 45 k series, 1 h", format!("sum by (namespace) (rate({{{most}}}[5m]))"), 60),
        ("sum by (rate), 45 k series, now", format!("sum by (namespace) (rate({{{most}}}[5m]))"), 0),
        ("avg by (max_over_time), 45 k series, 1 h", format!("avg by (namespace) (max_over_time({{{most}}}[5m]))"), 60),
        ("histogram_quantile, 19 k buckets, 1 h", "histogram_quantile(0.9, sum by (le, namespace) (rate(request_duration_seconds_bucket[5m])))".to_owned(), 60),
        ("count of 100 k series, now", "count({job=\"kubernetes-pods\"})".to_owned(), 0),
        ("panel: 9 series, 1 h", "rate(requests_total{instance=\"10.0.0.7:9100\",path=\"/api/v1/thing/3\"}[5m])".to_owned(), 60),
    ]
}

struct Asked {
    cpu_ms: f64,
    wall_ms: f64,
    /// Of all values of the answer.
    sum: f64,
}

fn ask(server: &mut Server, text: &str, end_s: i64, step_s: i64) -> Result<Asked> {
    let (start, end, step) = ((end_s - 3300).to_string(), end_s.to_string(), step_s.to_string());
    let range = [("query", text), ("start", &start), ("end", &end), ("step", &step)];
    let instant = [("query", text), ("time", &end)];
    let (path, params) = match step_s {
        0 => ("/api/v1/query", &instant[..]),
        _ => ("/api/v1/query_range", &range[..]),
    };
    let mut walls = Vec::new();
    let mut sum = f64::NAN;
    for run in 0..=QUERY_RUNS {
        let started = Instant::now();
        let answer = get(server.address, path, params)?;
        if run == 0 {
            // Warm now; and this answer is looked at.
            ensure!(answer.status == 200, "{}", answer.body);
            sum = sum_of(&answer.json())?;
            server.process.mark();
        } else {
            walls.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    walls.sort_by(f64::total_cmp);
    let cpu_ms = server.process.cpu_seconds() * 1e3 / QUERY_RUNS as f64;
    Ok(Asked { cpu_ms, wall_ms: walls[walls.len() / 2], sum })
}

fn sum_of(json: &serde_json::Value) -> Result<f64> {
    let mut sum = 0.0;
    for series in json["data"]["result"].as_array().context("no result")? {
        let points = series["values"].as_array().cloned();
        for point in points.unwrap_or_else(|| vec![series["value"].clone()]) {
            let value: f64 = point[1].as_str().context("no value")?.parse()?;
            sum += if value.is_nan() { 0.0 } else { value };
        }
    }
    Ok(sum)
}

/// 100 targets × 1,000 series every second for 30 s.
fn scrape(work: &Path) -> Result<()> {
    step("scrape: 100 targets of 1,000 series as text, every second for 30 s");
    let seconds = 30.0;
    let rows = each(|kind| {
        let exporter = Exporter::start(Mix::new(SEED, 100_000, SERIES_PER_TARGET))?;
        let mut server = Server::start(kind, work, &exporter.scrape_configs())?;
        // The first scrapes introduce the series; what goes on is measured.
        exporter.wait_for(3 * exporter.targets(), Duration::from_secs(60))?;
        let (before, started) = (exporter.scrapes(), Instant::now());
        server.process.mark();
        std::thread::sleep(Duration::from_secs_f64(seconds));
        let scrapes = (exporter.scrapes() - before) as f64;
        let cpu_s = server.process.cpu_seconds();
        let wall_s = started.elapsed().as_secs_f64();
        let samples = scrapes * SERIES_PER_TARGET as f64;
        Ok([samples / cpu_s / 1e6, scrapes / wall_s, server.process.memory_mb("VmRSS")])
    })?;
    let mut comparison = Comparison::new();
    let names = ["scraped, M samples per CPU second", "scrapes per second", "RSS, MB"];
    names.iter().zip(rows).for_each(|(name, row)| comparison.row(name, row));
    comparison.print();
    println!("\nlimits: 45 M samples/s to compare and parse the text, 220 to copy it");
    Ok(())
}

/// One million series, `kill -9` in the middle of it.
fn crash(work: &Path) -> Result<()> {
    step("crash: 1,000,000 series, kill -9 while they are pushed, restart");
    let first_ms = first_ms()?;
    let mut mix = Mix::new(SEED, 1_000_000, SERIES_PER_TARGET);
    let bodies = Bodies::generate(&mut mix, first_ms, 8);
    let kind = KINDS[0];
    let mut server = Server::start(kind, work, "")?;
    // Seven of eight scrapes are acknowledged, then it dies in the eighth.
    let (acknowledged, sent) = server.push_and_kill(&bodies, CONNECTIONS, 7.5 / 8.0)?;
    let rss = server.peak_mb;
    let started = Instant::now();
    let restarted = server.restart()?;
    let ready_s = started.elapsed().as_secs_f64();
    let at = ((first_ms + 8 * STEP_MS) / 1000).to_string();
    let text = "sum(count_over_time({job=\"kubernetes-pods\"}[10m]))";
    let answer = get(restarted.address, "/api/v1/query", &[("query", text), ("time", &at)])?;
    ensure!(answer.status == 200, "{}", answer.body);
    let found = sum_of(&answer.json())?;
    let mut rows = vec![["measure".to_owned(), "taffrail".to_owned()]];
    let mut row = |what: &str, value: String| rows.push([what.to_owned(), value]);
    row("samples sent", sent.to_string());
    row("samples acknowledged before kill -9", acknowledged.to_string());
    row("samples found after the restart", format!("{found:.0}"));
    row("acknowledged samples lost", (acknowledged as f64 - found).max(0.0).to_string());
    row("restart until ready, s", format!("{ready_s:.2}"));
    row("peak RSS before, B per series", format!("{:.0}", rss * 1e6 / mix.len() as f64));
    table(&rows);
    println!("\nlimit: 130 B per series");
    Ok(())
}

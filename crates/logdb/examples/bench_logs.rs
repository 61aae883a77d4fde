//! Measures the log store on generated lines and on files given as arguments: ingest, bytes on disk, search, counting.
//!
//! `cargo run --release -p logdb --example bench_logs [FILE…]`. Files ending in `.gz` are unpacked. Figures are wall time
//! on one client thread; the store's writer has its own.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::error::Error;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use logdb::{Config, Store};
use model::{
    Budget, Clock, Done, Labels, LineFilter, LineFilterOp, LogAggregation, LogBatch, LogPlan,
    LogRecord, LogRows, LogSource, Order, PATTERN_LABEL, SystemClock, TimeRange,
};
use storage::fs::RealFs;
use storage::wal::Durability;
use testkit::service_logs::{STREAMS, ServiceLogs};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// 2026-01-01T00:00:00Z in nanoseconds.
const START_NS: i64 = 1_767_225_600_000_000_000;
const BATCH_ROWS: usize = 2_000;

fn main() -> Outcome<()> {
    let mut random = Random(42);
    bench(
        "JSON 24 streams",
        service_rows(288_000),
        &["timeout after", "\"level\":\"error\"", "zzz-never", "7f3a"],
    )?;
    bench(
        "json, 128-bit ids",
        json_rows(288_000, &mut random),
        &["timeout after", "\"level\":\"error\"", "zzz-never", "7f3a"],
    )?;
    bench(
        "access log (4 streams)",
        access_rows(300_000, &mut random),
        &["/api/v1/cart", "\" 500 ", "zzz-never"],
    )?;
    for file in std::env::args().skip(1) {
        let lines = read_lines(Path::new(&file))?;
        let stream = Labels::from_pairs([("file", file.as_str())]);
        let rows = lines
            .into_iter()
            .enumerate()
            .map(|(i, line)| row(&stream, START_NS + i as i64 * 1_000_000, line))
            .collect();
        bench(&file, rows, &["error", "zzz-never"])?;
    }
    Ok(())
}

fn bench(name: &str, rows: Vec<LogRecord>, needles: &[&str]) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let clock = Arc::new(SystemClock);
    let config = Config {
        dir: dir.path().to_owned(),
        durability: Durability::Interval { ms: 200 },
        retention_ms: 3_650 * 86_400_000,
        retention_rules: Vec::new(),
        head_bytes_max: 64 << 20,
        cache_bytes_max: 0,
        flush_after_ms: 300_000,
        streams_max: 10_000,
        line_bytes_max: 256 << 10,
        future_ms_max: 3_650 * 86_400_000,
        free_bytes_floor: Some(0),
        part_bytes_max: u64::MAX,
        background_merge: false,
    };
    let (store, _) = Store::open(Arc::new(RealFs), Arc::clone(&clock) as _, config)?;
    let (count, raw): (usize, usize) = (rows.len(), rows.iter().map(|r| r.line.len()).sum());
    println!(
        "\n{name}: {count} rows, {:.1} MB, {:.0} B/row",
        raw as f64 / 1e6,
        raw as f64 / count as f64
    );
    let end_ns = rows.iter().map(|r| r.t_ns).max().unwrap_or(START_NS);
    let mut batches: Vec<LogRows> =
        rows.chunks(BATCH_ROWS).map(|rows| rows.iter().cloned().collect()).collect();
    let timer = Timer::start();
    let mb = raw as f64 / 1e6;
    for rows in batches.drain(..) {
        store.append(LogBatch { source: "bench".into(), rows, cursor: None }, Done::ignore());
    }
    let appended = timer.stop().1;
    store.flush()?;
    let flushed = timer.stop().1;
    show_size(&store, "flushed", count);
    let merges = store.merge()?;
    let merged = timer.stop().1;
    println!(
        "  CPU: {:.2} s until flushed ({appended:.2} of it while appending), {:.2} s for {merges} merges",
        flushed,
        merged - flushed
    );
    println!(
        "  ingest: {:.0} MB/s per CPU second flushed, {:.0} merged",
        mb / flushed,
        mb / merged
    );
    show_size(&store, "merged", count);
    for needle in needles {
        let plan = plan(Some(needle), Order::Any);
        let (mut hits, timer) = (0_u64, Timer::start());
        let mut runs = 0;
        while runs < 10 {
            hits = 0;
            store.scan(&plan, &Budget::unlimited(), &mut |_| {
                hits += 1;
                ControlFlow::Continue(())
            })?;
            runs += 1;
        }
        let (wall, cpu) = timer.stop();
        let (seconds, cpu) = (wall / f64::from(runs), cpu / f64::from(runs));
        println!(
            "  |= {needle:?}: {hits} hits, {:.2} ms, {:.2} GB/s wall, {:.2} GB/s CPU",
            seconds * 1e3,
            mb / 1e3 / seconds,
            mb / 1e3 / cpu
        );
    }
    count_speed(&store, count, end_ns)?;
    let timer = Timer::start();
    let mut plan = plan(None, Order::Backward);
    plan.limit = Some(1_000);
    let mut seen = 0;
    store.scan(&plan, &Budget::unlimited(), &mut |_| {
        seen += 1;
        if seen == 1_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    println!("  newest {seen} rows: {:.2} ms", timer.stop().0 * 1e3);
    let timer = Timer::start();
    let mut bytes = 0;
    let plan = LogPlan { order: Order::Any, limit: None, ..plan };
    store.scan(&plan, &Budget::unlimited(), &mut |row| {
        bytes += row.line.len();
        ControlFlow::Continue(())
    })?;
    assert_eq!(bytes, raw, "every byte comes back");
    println!("  read all: {:.2} GB/s", mb / 1e3 / timer.stop().0);
    store.close()?;
    Ok(())
}

fn show_size(store: &Store, what: &str, rows: usize) {
    let stats = store.stats();
    println!(
        "  {what}: {} parts, {:.2} B/row, {:.1}x smaller",
        stats.parts,
        stats.part_bytes as f64 / rows as f64,
        stats.part_raw_bytes as f64 / stats.part_bytes as f64
    );
}

fn count_speed(store: &Store, rows: usize, end_ns: i64) -> Outcome<()> {
    let step_ns = ((end_ns - START_NS) / 100).max(1);
    let by = |name: &str| Some(vec![name.to_owned()]);
    for (what, bytes, needle, by) in [
        ("count", false, None, None),
        ("bytes", true, None, None),
        ("count |= \"error\"", false, Some("error"), None),
        ("count by pattern", false, None, by(PATTERN_LABEL)),
    ] {
        let aggregation = LogAggregation {
            start_ns: START_NS,
            end_ns,
            step_ns,
            window_ns: step_ns,
            bytes,
            extents: false,
            by,
        };
        let plan = plan(needle, Order::Any);
        let first = Timer::start();
        let groups = store.aggregate(&plan, &aggregation, &Budget::unlimited())?;
        let first_ms = first.stop().0 * 1e3;
        let groups = groups.map_or(0, |groups| groups.len());
        let timer = Timer::start();
        for _ in 0..10 {
            store.aggregate(&plan, &aggregation, &Budget::unlimited())?;
        }
        let (wall, cpu) = timer.stop();
        let (seconds, cpu) = (wall / 10.0, cpu / 10.0);
        println!(
            "  {what} over 100 steps, {groups} groups: {first_ms:.2} ms at first, then {:.2} ms, {:.1} M rows/s wall, {:.1} CPU",
            seconds * 1e3,
            rows as f64 / 1e6 / seconds,
            rows as f64 / 1e6 / cpu
        );
    }
    Ok(())
}

fn plan(needle: Option<&str>, order: Order) -> LogPlan {
    let filter = needle.map(|n| LineFilter {
        op: LineFilterOp::Contains,
        patterns: vec![n.to_owned()],
        regexes: Vec::new(),
    });
    LogPlan { line_filters: filter.into_iter().collect(), ..LogPlan::all(TimeRange::ALL, order) }
}

fn row(stream: &Labels, t_ns: i64, line: String) -> LogRecord {
    LogRecord { stream: stream.clone(), t_ns, line, fields: Labels::default() }
}

/// The documented service logs.
fn service_rows(count: usize) -> Vec<LogRecord> {
    let labels = |stream| {
        let pairs = ServiceLogs::labels(stream);
        Labels::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str())))
    };
    let streams: Vec<Labels> = (0..STREAMS).map(labels).collect();
    let mut logs = ServiceLogs::new(1, START_NS / 1_000_000, 10_000_000);
    println!("\nentropy of JSON 24 streams: {:.1} B/row", logs.entropy_bits() / 8.0);
    let mut line = String::new();
    (0..count)
        .map(|_| {
            let (stream, t_ms) = logs.next_into(&mut line);
            row(&streams[stream], t_ms * 1_000_000, line.clone())
        })
        .collect()
}

/// JSON lines of services: level, message with numbers, request and trace ids, user, latency.
fn json_rows(count: usize, random: &mut Random) -> Vec<LogRecord> {
    let streams: Vec<Labels> = (0..24)
        .map(|i| {
            Labels::from_pairs([
                ("app", format!("svc{}", i % 8).as_str()),
                ("pod", &format!("pod-{i}")),
            ])
        })
        .collect();
    let mut t_ns = START_NS;
    (0..count)
        .map(|_| {
            t_ns += random.below(600_000) as i64 * 1_000;
            let ms = t_ns / 1_000_000;
            let (seconds, fraction) = (ms / 1_000 % 86_400, ms % 1_000);
            let level = ["info", "info", "info", "info", "info", "info", "debug", "debug", "warn", "error"][random.below(10)];
            let message = match random.below(5) {
                0 => format!("request served in {}ms", random.below(900)),
                1 => format!("cache miss for key user:{}", random.below(50_000)),
                2 => format!("timeout after {}ms calling svc{}", 1_000 + random.below(4_000), random.below(8)),
                3 => format!("processed order {} with {} items", random.below(1_000_000), 1 + random.below(9)),
                _ => "health check passed".to_owned(),
            };
            let line = format!(
                r#"{{"ts":"2026-01-01T{:02}:{:02}:{:02}.{fraction:03}Z","level":"{level}","logger":"com.example.api.Handler{}","msg":"{message}","trace_id":"{:016x}{:016x}","user_id":{},"path":"/api/v1/{}","status":{},"latency_ms":{}.{:03},"ip":"10.{}.{}.{}"}}"#,
                seconds / 3_600, seconds / 60 % 60, seconds % 60,
                random.below(20), random.next(), random.next(), random.below(100_000),
                ["cart", "orders", "users", "search", "login"][random.below(5)],
                [200, 200, 200, 201, 404, 500][random.below(6)],
                random.below(900), random.below(1_000),
                random.below(4), random.below(256), random.below(256),
            );
            row(&streams[random.below(24)], t_ns, line)
        })
        .collect()
}

/// Lines in the combined format of web servers.
fn access_rows(count: usize, random: &mut Random) -> Vec<LogRecord> {
    let streams: Vec<Labels> =
        (0..4).map(|i| Labels::from_pairs([("app", "nginx"), ("pod", &format!("n{i}"))])).collect();
    let agents: Vec<String> = (0..60)
        .map(|i| format!("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.{i} (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36", 80 + i))
        .collect();
    let mut t_ns = START_NS;
    (0..count)
        .map(|_| {
            t_ns += random.below(200_000) as i64 * 1_000;
            let seconds = t_ns / 1_000_000_000 % 86_400;
            let path = match random.below(4) {
                0 => format!("/api/v1/cart/{}", random.below(100_000)),
                1 => format!("/static/js/app.{:08x}.js", random.below(40) * 77_777),
                2 => format!("/search?q=term{}&page={}", random.below(3_000), random.below(9)),
                _ => "/index.html".to_owned(),
            };
            let line = format!(
                r#"10.{}.{}.{} - - [01/Jan/2026:{:02}:{:02}:{:02} +0000] "GET {path} HTTP/1.1" {} {} "-" "{}""#,
                random.below(4), random.below(256), random.below(256),
                seconds / 3_600, seconds / 60 % 60, seconds % 60,
                [200, 200, 200, 200, 304, 404, 500][random.below(7)], random.below(60_000),
                agents[random.below(60)],
            );
            row(&streams[random.below(4)], t_ns, line)
        })
        .collect()
}

fn read_lines(path: &Path) -> Outcome<Vec<String>> {
    let mut bytes = std::fs::read(path)?;
    if path.extension().is_some_and(|e| e == "gz") {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain)?;
        bytes = plain;
    }
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}

/// Wall and process CPU time.
struct Timer {
    wall_ns: i64,
    cpu: f64,
}

impl Timer {
    fn start() -> Self {
        Self { wall_ns: SystemClock.monotonic_ns(), cpu: cpu_seconds() }
    }

    fn stop(&self) -> (f64, f64) {
        let wall = (SystemClock.monotonic_ns() - self.wall_ns) as f64 / 1e9;
        (wall.max(1e-9), (cpu_seconds() - self.cpu).max(1e-9))
    }
}

/// CPU seconds of this process so far, from `/proc` (ticks of 10 ms); 0 where there is none.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or("").split_whitespace().skip(11).take(2);
    ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

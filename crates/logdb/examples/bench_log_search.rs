//! Measures what queries cost inside the log store, in CPU time of one thread: needles, regular expressions, counting by
//! level, the newest rows, one id among all.
//!
//! `cargo run --release -p logdb --example bench_log_search [ROWS [REPEATS]]`. Each line is measured with nothing in memory
//! (`cold`: read from the page cache and decoded) and again with what was decoded (`hot`).

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;

use logdb::{Config, Store};
use model::{
    Budget, Done, Labels, LineFilter, LineFilterOp, LogAggregation, LogBatch, LogPlan, LogRecord,
    LogRows, LogSource, Matcher, Order, PATTERN_LABEL, SystemClock, TimeRange,
};
use storage::fs::RealFs;
use storage::wal::Durability;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// 2026-01-01T00:00:00Z in nanoseconds.
const START_NS: i64 = 1_767_225_600_000_000_000;
const DAY_NS: i64 = 86_400_000_000_000;
const STREAMS: usize = 24;
const BATCH_ROWS: usize = 2_000;
/// CPU time given to each query when it is measured hot.
const HOT_SECONDS: f64 = 0.1;
const HOT_BYTES: u64 = 8 << 30;
/// A row whose id is looked for is so many rows before the end.
const FROM_END: usize = 123_456;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let rows: usize = arguments.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let repeats: u32 = arguments.next().map_or(Ok(5), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    let (cold, _) = Store::open(Arc::new(RealFs), Arc::new(SystemClock), config(&dir, 0))?;
    let (raw, id) = fill(&cold, rows)?;
    cold.flush()?;
    cold.merge()?;
    let stats = cold.stats();
    println!(
        "{rows} rows of {:.0} B, {:.2} GB; {} parts, {:.2} B/row",
        raw as f64 / rows as f64,
        raw as f64 / 1e9,
        stats.parts,
        stats.part_bytes as f64 / rows as f64
    );
    cold.close()?;
    drop(cold);
    let bench = Bench { raw, repeats };
    println!(
        "{:<44} {:>9} {:>9} {:>9}  {:>9} {:>9}",
        "", "rows", "cold ms", "GB/s", "hot ms", "GB/s"
    );
    let all = || LogPlan::all(TimeRange::ALL, Order::Any);
    let lines = |op, patterns: &[&str]| -> Outcome<LogPlan> {
        let patterns = patterns.iter().map(|p| (*p).to_owned()).collect();
        Ok(LogPlan { line_filters: vec![LineFilter::new(op, patterns)?], ..all() })
    };
    use LineFilterOp::{Contains, NotContains, Regex};
    let needles: Vec<(String, LogPlan)> = vec![
        ("|= `\"zzz never\"` (filter miss)".into(), lines(Contains, &["\"zzz never there\""])?),
        ("|= `zzz-never`".into(), lines(Contains, &["zzz-never"])?),
        ("|= `7f3a9`".into(), lines(Contains, &["7f3a9"])?),
        ("|= `31415`".into(), lines(Contains, &["31415"])?),
        ("|= `timeout after 31`".into(), lines(Contains, &["timeout after 31"])?),
        ("|= `\"level\":\"error\"`".into(), lines(Contains, &["\"level\":\"error\""])?),
        ("!= `e`".into(), lines(NotContains, &["e"])?),
        ("|~ `(?i)TIMEOUT AFTER 31`".into(), lines(Regex, &["(?i)TIMEOUT AFTER 31"])?),
        ("|~ `timeout after 31[0-9]+ms`".into(), lines(Regex, &["timeout after 31[0-9]+ms"])?),
        ("|~ `zzz|yyy-never`".into(), lines(Regex, &["zzz-|yyy-never"])?),
        ("|= `<one trace id>`".into(), lines(Contains, &[&id])?),
        (
            "| request_id=`<one>` (metadata)".into(),
            LogPlan { label_filters: vec![Matcher::equal("request_id", &id)], ..all() },
        ),
    ];
    let hot = config(&dir, HOT_BYTES);
    for (name, plan) in &needles {
        // Counted, so that it is the search that is measured; and with the lines given out.
        let counted =
            LogPlan { needs_line: false, needed_fields: Some(Vec::new()), ..plan.clone() };
        bench.scan(&format!("count {name}"), &hot, &counted)?;
    }
    for (name, plan) in
        needles.iter().filter(|(name, _)| name.contains("31") || name.contains("level"))
    {
        bench.scan(&format!("lines {name}"), &hot, plan)?;
    }
    let newest = LogPlan { limit: Some(1_000), ..LogPlan::all(TimeRange::ALL, Order::Backward) };
    bench.scan("newest 1000", &hot, &newest)?;
    let newest =
        LogPlan { limit: Some(1_000), order: Order::Backward, ..lines(Contains, &["timeout"])? };
    bench.scan("newest 1000 |= `timeout`", &hot, &newest)?;
    let by = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    for (name, by, steps, bytes) in [
        ("sum by (detected_level) (count 1d)", by(&["detected_level"]), 1, false),
        ("sum by (detected_level) (count 5m)", by(&["detected_level"]), 288, false),
        ("sum by (level, detected_level) (count 5m)", by(&["detected_level", "level"]), 288, false),
        ("sum by (__pattern__) (count 1d)", by(&[PATTERN_LABEL]), 1, false),
        ("sum by (__pattern__) (count 5m)", by(&[PATTERN_LABEL]), 288, false),
        ("sum by (app) (rate 5m)", by(&["app"]), 288, false),
        ("sum (bytes_over_time 5m)", by(&[]), 288, true),
    ] {
        let step_ns = DAY_NS / steps;
        let aggregation = LogAggregation {
            extents: false,
            start_ns: START_NS + step_ns,
            end_ns: START_NS + DAY_NS,
            step_ns,
            window_ns: step_ns,
            bytes,
            by,
        };
        bench.aggregate(name, &hot, &all(), &aggregation)?;
    }
    Ok(())
}

fn config(dir: &tempfile::TempDir, cache_bytes_max: u64) -> Config {
    Config {
        dir: dir.path().to_owned(),
        durability: Durability::Interval { ms: 200 },
        retention_ms: 3_650 * 86_400_000,
        retention_rules: Vec::new(),
        head_bytes_max: 64 << 20,
        cache_bytes_max,
        flush_after_ms: 300_000,
        streams_max: 10_000,
        line_bytes_max: 256 << 10,
        future_ms_max: 3_650 * 86_400_000,
        free_bytes_floor: Some(0),
        part_bytes_max: u64::MAX,
        background_merge: false,
    }
}

struct Bench {
    raw: u64,
    repeats: u32,
}

impl Bench {
    fn scan(&self, name: &str, config: &Config, plan: &LogPlan) -> Outcome<()> {
        self.run(name, config, &|store| {
            let (mut hits, mut bytes) = (0_u64, 0);
            store.scan(plan, &Budget::unlimited(), &mut |row| {
                hits += 1;
                bytes += row.line.len();
                match plan.limit.is_some_and(|limit| hits >= limit as u64) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
            std::hint::black_box(bytes);
            Ok(hits)
        })
    }

    fn aggregate(
        &self,
        name: &str,
        config: &Config,
        plan: &LogPlan,
        aggregation: &LogAggregation,
    ) -> Outcome<()> {
        self.run(name, config, &|store| {
            let counts = store.aggregate(plan, aggregation, &Budget::unlimited())?;
            let sum = counts.unwrap_or_default().iter().flat_map(|s| s.counts.clone()).sum();
            Ok(sum)
        })
    }

    fn run(
        &self,
        name: &str,
        config: &Config,
        query: &dyn Fn(&Store) -> Outcome<u64>,
    ) -> Outcome<()> {
        let (mut cold_s, mut hot_s, mut hits, mut cache) = (f64::MAX, f64::MAX, 0, 0);
        for _ in 0..self.repeats {
            // A store that has nothing in memory yet.
            let (store, _) = Store::open(Arc::new(RealFs), Arc::new(SystemClock), config.clone())?;
            let before = cpu_seconds();
            hits = query(&store)?;
            let between = cpu_seconds();
            cold_s = cold_s.min(between - before);
            // As often as the clock needs to tell: it ticks every 4 ms.
            let mut runs = 0;
            while runs < 3 || (runs < 10_000 && cpu_seconds() - between < HOT_SECONDS) {
                query(&store)?;
                runs += 1;
            }
            hot_s = hot_s.min((cpu_seconds() - between) / f64::from(runs));
            cache = store.stats().cache_bytes;
            store.close()?;
        }
        let speed = |seconds: f64| self.raw as f64 / 1e9 / seconds.max(1e-9);
        println!(
            "{name:<44} {hits:>9} {:>9.2} {:>9.1}  {:>9.3} {:>9.1}  {:.0} MB",
            cold_s * 1e3,
            speed(cold_s),
            hot_s * 1e3,
            speed(hot_s),
            cache as f64 / 1e6,
        );
        Ok(())
    }
}

/// A day of JSON lines of 24 services, flushed forty times: bytes of the lines, and the id of one row near the end.
fn fill(store: &Store, rows: usize) -> Outcome<(u64, String)> {
    let mut random = Random(42);
    let streams: Vec<Labels> = (0..STREAMS)
        .map(|i| {
            Labels::from_pairs([
                ("app", format!("svc{}", i % 8).as_str()),
                ("pod", &format!("pod-{i}")),
            ])
        })
        .collect();
    let (mut raw, mut id) = (0, String::new());
    let batches = rows.div_ceil(BATCH_ROWS);
    for batch in 0..batches {
        let first = batch * BATCH_ROWS;
        let records: LogRows = (first..(first + BATCH_ROWS).min(rows))
            .map(|i| {
                let t_ns = START_NS + (DAY_NS as f64 * (i as f64 / rows as f64)) as i64;
                let (level, trace, line) = line(t_ns, &mut random);
                if i + FROM_END.min(rows / 2) == rows {
                    id.clone_from(&trace);
                }
                raw += line.len() as u64;
                let fields =
                    Labels::from_pairs([("detected_level", level), ("request_id", &trace)]);
                LogRecord { stream: streams[random.below(STREAMS)].clone(), t_ns, line, fields }
            })
            .collect();
        store.append(
            LogBatch { source: "bench".into(), rows: records, cursor: None },
            Done::ignore(),
        );
        if (batch + 1).is_multiple_of(batches.div_ceil(40)) {
            store.flush()?;
        }
    }
    Ok((raw, id))
}

fn line(t_ns: i64, random: &mut Random) -> (&'static str, String, String) {
    let ms = t_ns / 1_000_000;
    let (seconds, fraction) = (ms / 1_000 % 86_400, ms % 1_000);
    let level = ["info", "info", "info", "info", "info", "info", "debug", "debug", "warn", "error"]
        [random.below(10)];
    let message = match random.below(5) {
        0 => format!("request served in {}ms", random.below(900)),
        1 => format!("cache miss for key user:{}", random.below(50_000)),
        2 => format!(
            "timeout after {}ms calling svc{}",
            1_000 + random.below(4_000),
            random.below(8)
        ),
        3 => format!(
            "processed order {} with {} items",
            random.below(1_000_000),
            1 + random.below(9)
        ),
        _ => "health check passed".to_owned(),
    };
    let trace = format!("{:016x}{:016x}", random.next(), random.next());
    let line = format!(
        r#"{{"ts":"2026-01-01T{:02}:{:02}:{:02}.{fraction:03}Z","level":"{level}","logger":"com.example.api.Handler{}","msg":"{message}","trace_id":"{trace}","user_id":{},"path":"/api/v1/{}","status":{},"latency_ms":{}.{:03},"ip":"10.{}.{}.{}"}}"#,
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        random.below(20),
        random.below(100_000),
        ["cart", "orders", "users", "search", "login"][random.below(5)],
        [200, 200, 200, 201, 404, 500][random.below(6)],
        random.below(900),
        random.below(1_000),
        random.below(4),
        random.below(256),
        random.below(256),
    );
    (level, trace, line)
}

/// CPU seconds of this thread so far.
fn cpu_seconds() -> f64 {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = schedule.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok());
    ns.unwrap_or(0.0) / 1e9
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

//! Measures how levels of pushed lines are found: `cargo run --release -p ingest --example bench_levels [FILE…]`. One
//! thread; files are text lines.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::error::Error;

use ingest::logline::detected::detect_levels;
use model::{Clock as _, Labels, LogRows, SystemClock};

const ROWS: usize = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let level = |i: usize| ["info", "info", "info", "warn", "error"][i % 5];
    let json = |i: usize| {
        format!(
            r#"{{"time":"2026-01-01T00:00:00.{:03}Z","level":"{}","service":"shop","msg":"order {} placed","path":"/api/v1/orders/{i}"}}"#,
            i % 1000,
            level(i),
            i * 7919,
        )
    };
    let logfmt = |i: usize| {
        format!(
            "ts=2026-01-01T00:00:00.{:03}Z level={} msg=\"order {i} placed\" took={}ms",
            i % 1000,
            level(i),
            i % 977
        )
    };
    let access = |i: usize| {
        format!(
            "10.0.{}.{} - - [01/Jan/2026:00:00:00 +0000] \"GET /api/v1/orders/{i} HTTP/1.1\" 200 {i}",
            i % 256,
            i % 251
        )
    };
    bench("json", (0..ROWS).map(json));
    bench("logfmt", (0..ROWS).map(logfmt));
    bench("access log, without levels", (0..ROWS).map(access));
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path)?;
        bench(&path, text.lines().map(str::to_owned));
    }
    Ok(())
}

fn bench(name: &str, lines: impl Iterator<Item = String>) {
    let stream = Labels::from_pairs([("app", "shop")]);
    let mut rows = LogRows::default();
    lines.for_each(|line| rows.push(&stream, 1, &line, &Labels::default()));
    let mut times: Vec<f64> = (0..201)
        .map(|_| {
            let mut rows = rows.clone();
            let started_ns = SystemClock.monotonic_ns();
            detect_levels(&mut rows);
            (SystemClock.monotonic_ns() - started_ns) as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (count, bytes) = (rows.len() as f64, rows.line_bytes() as f64);
    println!(
        "{name}: {:.0} ns a line of {:.0} B, {:.2} GB/s",
        times[0] / count,
        bytes / count,
        bytes / times[0]
    );
}

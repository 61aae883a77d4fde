//! Measures redaction: `cargo run --release -p ingest --example bench_redact [FILE…]`. One thread; files are text lines.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::error::Error;

use ingest::redact::{Kind, Redactor};
use model::{Clock as _, Labels, LogRows, SystemClock};

const ROWS: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let redactor = Redactor::new(&Kind::ALL, Vec::new())?;
    let json: Vec<String> = (0..ROWS)
        .map(|i| {
            format!(
                r#"{{"time":"2026-01-01T00:00:{:02}.{:03}Z","level":"info","service":"shop","msg":"order {} placed in {} ms","trace_id":"{:016x}{:016x}","path":"/api/v1/orders/{}"}}"#,
                i / 1000 % 60,
                i % 1000,
                i * 7919,
                i % 977,
                i as u64 * 0x9E37_79B9_7F4A_7C15,
                i as u64 ^ 0x5DEE_CE66_D123_4567,
                i
            )
        })
        .collect();
    bench(&redactor, "json, no secrets", &json);
    let secret: Vec<String> =
        json.iter().map(|line| format!("{line} password=x{}", line.len())).collect();
    bench(&redactor, "a secret in every line", &secret);
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path)?;
        bench(&redactor, &path, &text.lines().map(str::to_owned).collect::<Vec<_>>());
    }
    Ok(())
}

fn bench(redactor: &Redactor, name: &str, lines: &[String]) {
    let stream = Labels::from_pairs([("app", "shop")]);
    let mut rows = LogRows::default();
    lines.iter().for_each(|line| rows.push(&stream, 1, line, &Labels::default()));
    let mut found = Vec::new();
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let started_ns = SystemClock.monotonic_ns();
            let counts =
                redactor.redact(&rows, |_| false, &Default::default()).map(|(_, counts)| counts);
            found = counts.unwrap_or_default();
            (SystemClock.monotonic_ns() - started_ns) as f64 / 1e9
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let bytes = rows.line_bytes() as f64;
    println!(
        "{name}: {} rows, {} secrets, {:.2} GB/s",
        rows.len(),
        found.iter().sum::<u64>(),
        bytes / 1e9 / times[10]
    );
    for (kind, count) in redactor.names().zip(&found).filter(|(_, count)| **count > 0) {
        println!("  {kind}: {count}");
    }
    // What was found in files, to see whether it is secret.
    let redacted = redactor.redact(&rows, |_| false, &Default::default());
    for row in redacted.iter().flat_map(|(rows, _)| rows.iter()).filter(|_| name.contains('/')) {
        if let Some(at) = row.line.find("[redacted:") {
            let from = row.line.floor_char_boundary(at.saturating_sub(60));
            println!("  …{}", &row.line[from..row.line.ceil_char_boundary(at + 40)]);
        }
    }
}

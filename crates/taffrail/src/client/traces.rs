//! `taffrail traces`: the traces that a TraceQL search finds, or the series of a TraceQL metric.

mod bars;
pub mod compare;
pub mod waterfall;

use std::io::Write;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use self::bars::graph;
use super::{Client, last, local_time, table, visible};
use crate::cli::{Output, TracesArgs};

/// Columns of a series' graph.
const GRAPH_COLUMNS: usize = 40;

/// Tempo's answer to a search, as far as it is printed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    #[serde(default)]
    traces: Vec<FoundTrace>,
    /// What was left out.
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FoundTrace {
    #[serde(rename = "traceID")]
    trace_id: String,
    root_service_name: String,
    root_trace_name: String,
    start_time_unix_nano: String,
    duration_ms: u64,
    #[serde(default)]
    span_sets: Vec<FoundSet>,
}

#[derive(Deserialize)]
struct FoundSet {
    matched: u64,
}

/// Tempo's answer to a metrics query, likewise.
#[derive(Deserialize)]
struct Metrics {
    #[serde(default)]
    series: Vec<MetricSeries>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricSeries {
    prom_labels: String,
    #[serde(default)]
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    value: serde_json::Value,
}

/// Start and end of what is asked for: `--from` and `--to`, or the last `--since`.
fn range(since: &str, from: Option<&str>, to: Option<&str>) -> Result<[String; 2]> {
    let [start, end] = last(since)?;
    Ok([from.map_or(start, str::to_owned), to.map_or(end, str::to_owned)])
}

/// Runs `taffrail traces`.
///
/// # Errors
/// When the server cannot be reached or refuses the query.
pub async fn traces(args: &TracesArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::new(&args.client)?;
    let [start, end] = range(&args.since, args.from.as_deref(), args.to.as_deref())?;
    let query = args.query.as_deref().unwrap_or("{}");
    // What cannot be parsed is for the server to refuse.
    let is_metric = query::traceql::parse(query).is_ok_and(|query| query.is_metric());
    let limit = args.limit.to_string();
    let mut params = vec![("q", query), ("start", &start), ("end", &end)];
    let path = if is_metric { "/api/metrics/query_range" } else { "/api/search" };
    if is_metric {
        params.extend(args.step.as_deref().map(|step| ("step", step)));
    } else {
        params.extend([("limit", limit.as_str()), ("spss", "1")]);
    }
    let body = client.get(path, &params).await?;
    if args.client.output == Output::Json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    if is_metric {
        let answer: Metrics =
            serde_json::from_str(&body).context("the server's answer holds no series")?;
        return print_series(&answer.series, out);
    }
    let found: Found =
        serde_json::from_str(&body).context("the server's answer holds no traces")?;
    print_traces(&found.traces, args, out)?;
    if !found.message.is_empty() {
        writeln!(std::io::stderr(), "note: {}", visible(&found.message))?;
    }
    Ok(())
}

fn print_traces(traces: &[FoundTrace], args: &TracesArgs, out: &mut impl Write) -> Result<()> {
    if traces.is_empty() {
        let note = "no trace in this time is found; --since and --from look further back";
        writeln!(std::io::stderr(), "note: {note}")?;
        return Ok(());
    }
    let row = |trace: &FoundTrace| {
        let start_ns = trace.start_time_unix_nano.parse().unwrap_or(0);
        let took = match trace.duration_ms {
            0 => "<1ms".to_owned(),
            ms => took(ms.saturating_mul(1_000_000)),
        };
        [
            trace.trace_id.clone(),
            trace.root_service_name.clone(),
            local_time(start_ns, "%Y-%m-%d %H:%M:%S%.3f"),
            took,
            trace.span_sets.iter().map(|set| set.matched).sum::<u64>().to_string(),
            trace.root_trace_name.clone(),
        ]
    };
    let rows: Vec<[String; 6]> = traces.iter().map(row).collect();
    table(out, ["TRACE", "SERVICE", "START", "TOOK", "SPANS", "NAME"], &rows)?;
    if traces.len() == args.limit {
        writeln!(std::io::stderr(), "note: the newest {} traces; -n shows more", args.limit)?;
    }
    Ok(())
}

fn print_series(series: &[MetricSeries], out: &mut impl Write) -> Result<()> {
    if series.is_empty() {
        writeln!(std::io::stderr(), "note: no span in this time is found, so there are no series")?;
        return Ok(());
    }
    let rows: Vec<[String; 6]> = series
        .iter()
        .map(|series| {
            let values: Vec<f64> = series.samples.iter().map(Sample::number).collect();
            let known = || values.iter().copied().filter(|value| !value.is_nan());
            let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
            let average = known().sum::<f64>() / known().count() as f64;
            [
                series.prom_labels.clone(),
                shown(known().reduce(f64::min)),
                shown(known().next().map(|_| average)),
                shown(known().reduce(f64::max)),
                shown(values.last().copied()),
                graph(&values, GRAPH_COLUMNS),
            ]
        })
        .collect();
    table(out, ["SERIES", "MIN", "AVG", "MAX", "LAST", "GRAPH"], &rows)
}

impl Sample {
    /// Values that JSON has no number for come as texts, and zeros may be left out.
    fn number(&self) -> f64 {
        match &self.value {
            serde_json::Value::String(text) => text.parse().unwrap_or(f64::NAN),
            value => value.as_f64().unwrap_or(0.0),
        }
    }
}

/// A number with four digits that matter.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A duration with three digits that matter: `45ns`, `1.2ms`, `2m3s`.
fn took(ns: u64) -> String {
    let unit = |of: f64, unit: &str| {
        let digits = if of < 9.995 { 2 } else { usize::from(of < 99.95) };
        let text = format!("{of:.digits$}");
        let text =
            if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        format!("{text}{unit}")
    };
    match ns {
        0..1_000 => format!("{ns}ns"),
        1_000..999_500 => unit(ns as f64 / 1e3, "µs"),
        999_500..999_500_000 => unit(ns as f64 / 1e6, "ms"),
        999_500_000..59_950_000_000 => unit(ns as f64 / 1e9, "s"),
        _ => {
            let seconds = ns.saturating_add(500_000_000) / 1_000_000_000;
            match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
                (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
                (hours, minutes, _) => format!("{hours}h{minutes}m"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        let check = |ns: u64, expected: &str| assert_eq!(took(ns), expected);
        check(0, "0ns");
        check(999, "999ns");
        check(1_000, "1µs");
        check(1_234, "1.23µs");
        check(999_499, "999µs");
        check(999_500, "1ms");
        check(12_340_000, "12.3ms");
        check(100_000_000, "100ms");
        check(1_500_000_000, "1.5s");
        check(59_940_000_000, "59.9s");
        check(59_990_000_000, "1m0s");
        check(7_322_000_000_000, "2h2m");
        check(u64::MAX, "5124095h34m");
    }

    #[test]
    fn numbers_have_four_digits() {
        let check = |value: f64, expected: &str| assert_eq!(number(value), expected);
        check(0.0, "0");
        check(1.0, "1");
        check(1_234_567.8, "1234568");
        check(0.012_345_6, "0.01235");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn answers_of_tempos_api_are_tables() {
        let found: Found = serde_json::from_str(
            r#"{"traces":[{"traceID":"ab","rootServiceName":"web","rootTraceName":"GET \u001b[31m","startTimeUnixNano":"x","durationMs":0,
                "spanSets":[{"matched":2,"spans":[]},{"matched":1}]}]}"#,
        )
        .unwrap();
        let args = TracesArgs { limit: 2, ..parsed(&["{}"]) };
        let mut out = Vec::new();
        print_traces(&found.traces, &args, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("TRACE  SERVICE  START"), "{text}");
        assert!(text.contains("<1ms  3      GET ␛[31m\n"), "{text}");
        let metrics: Metrics = serde_json::from_str(
            r#"{"series":[{"promLabels":"{a=\"b\"}","samples":[{"timestampMs":"1","value":1},{"value":"NaN"},{"timestampMs":"2"},{"value":8}]}]}"#,
        )
        .unwrap();
        let mut out = Vec::new();
        print_series(&metrics.series, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "SERIES   MIN  AVG  MAX  LAST  GRAPH\n{a=\"b\"}  0    3    8    8     ▁  █\n"
        );
    }

    fn parsed(words: &[&str]) -> TracesArgs {
        use clap::Parser as _;
        let cli = crate::cli::Cli::parse_from([&["taffrail", "traces"], words].concat());
        match cli.command {
            Some(crate::cli::Command::Traces(args)) => *args,
            _ => unreachable!("BUG: the command is traces"),
        }
    }
}

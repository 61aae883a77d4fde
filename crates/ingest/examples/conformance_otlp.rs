//! Suite `otlp`: names of metrics, units and labels as Prometheus translates them, and the payloads of other projects.
//! Usage: `conformance_otlp DIR`, DIR with the layout of that topic.
//!
//! A name passes when it, its unit or its error is the expected one. A payload of metrics passes when it decodes and at
//! least one of its points becomes rows, or when it holds none of a kind OTLP still has. Payloads of traces and logs are
//! skipped.

#![expect(clippy::print_stdout, reason = "a command line tool")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ingest::otlp::delta::{self, Totals};
use ingest::otlp::names::{Kind, LabelRules, Strategy, label_name, metric_name, unit_name};
use ingest::otlp::translate::{Config, Limits, translate};
use ingest::otlp::{Data, Encoding, decode};
use serde_json::Value;

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn book(&mut self, what: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(problem) => {
                println!("FAIL {what}: {problem}");
                self.failed += 1;
            }
        }
    }
}

fn main() -> ExitCode {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap_or_default());
    let mut tally = Tally::default();
    let facts = |name: &str| -> Result<Vec<Value>, String> {
        let path = dir.join("facts").join(name);
        let text = std::fs::read_to_string(&path)
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let facts: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        Ok(facts["cases"].as_array().cloned().unwrap_or_default())
    };
    let (metrics, labels) = match (
        facts("otlp-to-prometheus-metric-name.json"),
        facts("otlp-to-prometheus-label-name.json"),
    ) {
        (Ok(metrics), Ok(labels)) => (metrics, labels),
        (Err(error), _) | (_, Err(error)) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for case in &metrics {
        tally.book(&format!("metric name: {}", text(&case["name"])), metric_case(case));
    }
    for case in &labels {
        tally.book(&format!("label name: {}", text(&case["label"])), label_case(case));
    }
    let mut files = Vec::new();
    payloads(&dir, &mut files);
    files.sort();
    let (mut traces, mut logs, mut others) = (0, 0, 0);
    for file in &files {
        match payload(file) {
            Payload::Metrics(outcome) => {
                let shown = file.strip_prefix(&dir).unwrap_or(file).display().to_string();
                tally.book(&shown, outcome);
            }
            Payload::Traces => traces += 1,
            Payload::Logs => logs += 1,
            Payload::Other => others += 1,
        }
    }
    println!("skipped {traces}: traces, stored by a later part");
    println!("skipped {logs}: logs, stored by a later part");
    println!("skipped {others}: other formats, and expectations about traces and logs");
    tally.skipped = traces + logs + others;
    let Tally { passed, failed, skipped } = tally;
    println!("otlp: {passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn metric_case(case: &Value) -> Result<(), String> {
    let (namer, metric) = (&case["namer"], &case["metric"]);
    let (strategy, namespace) = if text(&namer["call"]) == "NewMetricNamer" {
        let name = text(&namer["args"][1]["go"]);
        let strategy = Strategy::from_name(name).ok_or_else(|| format!("strategy {name}"))?;
        (strategy, text(&namer["args"][0]))
    } else {
        let flag = |key: &str| namer[key].as_bool().unwrap_or(false);
        let strategy = match (flag("UTF8Allowed"), flag("WithMetricSuffixes")) {
            (false, true) => Strategy::UnderscoreEscapingWithSuffixes,
            (false, false) => Strategy::UnderscoreEscapingWithoutSuffixes,
            (true, true) => Strategy::NoUtf8EscapingWithSuffixes,
            (true, false) => Strategy::NoTranslation,
        };
        (strategy, text(&namer["Namespace"]))
    };
    let kind = match text(&metric["Type"]["go"]) {
        "MetricTypeGauge" => Kind::Gauge,
        "MetricTypeMonotonicCounter" => Kind::Counter,
        _ => Kind::Other,
    };
    let (name, unit) = (text(&metric["Name"]), text(&metric["Unit"]));
    same(metric_name(name, unit, kind, strategy, namespace), case, "wantMetricName", "wantError")?;
    if case["wantError"].is_null() {
        let built = unit_name(unit, strategy);
        if built != text(&case["wantUnitName"]) {
            return Err(format!("unit {built:?}, expected {:?}", text(&case["wantUnitName"])));
        }
    }
    Ok(())
}

fn same(
    built: Result<String, String>,
    case: &Value,
    name_key: &str,
    error_key: &str,
) -> Result<(), String> {
    let wanted_error = match &case[error_key] {
        Value::Null => None,
        Value::String(message) => Some(message.as_str()),
        object => Some(text(&object["err"])),
    };
    match (built, wanted_error) {
        (Ok(name), None) if name == text(&case[name_key]) => Ok(()),
        (Err(message), Some(wanted)) if message == wanted => Ok(()),
        (built, wanted) => {
            Err(format!("{built:?}, expected {:?} or error {wanted:?}", text(&case[name_key])))
        }
    }
}

fn label_case(case: &Value) -> Result<(), String> {
    let label = text(&case["label"]);
    let build = |utf8, key_before_underscore, keep_underscores| {
        let rules = LabelRules { utf8, key_before_underscore, keep_underscores };
        label_name(label, rules).map(std::borrow::Cow::into_owned)
    };
    let check = |built, name_key: &str, error_key: &str| {
        same(built, case, name_key, error_key).map_err(|e| format!("{name_key}: {e}"))
    };
    check(build(false, false, false), "sanitized", "wantSanitizationError")?;
    if !case["sanitizedUnderscoreLabelSanitization"].is_null() {
        check(build(false, true, false), "sanitizedUnderscoreLabelSanitization", "-")?;
    }
    if !case["sanitizedMultipleUnderscores"].is_null()
        || !case["wantSanitizationMultipleUnderscoresError"].is_null()
    {
        check(
            build(false, false, true),
            "sanitizedMultipleUnderscores",
            "wantSanitizationMultipleUnderscoresError",
        )?;
    }
    let utf8 = build(true, false, true);
    match (utf8, case["wantUTF8Error"]["err"].as_str()) {
        (Ok(name), None) if name == label => Ok(()),
        (Err(message), Some(wanted)) if message == wanted => Ok(()),
        (built, wanted) => Err(format!("UTF-8: {built:?}, expected error {wanted:?}")),
    }
}

fn payloads(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("facts") {
                payloads(&path, files);
            }
        } else if path.extension().is_some_and(|e| e == "json" || e == "binpb") {
            files.push(path);
        }
    }
}

enum Payload {
    Metrics(Result<(), String>),
    Traces,
    Logs,
    Other,
}

fn payload(file: &Path) -> Payload {
    let Ok(body) = std::fs::read(file) else {
        return Payload::Metrics(Err("cannot be read".to_owned()));
    };
    if file.extension().is_some_and(|e| e == "binpb") {
        return Payload::Metrics(decoded(Encoding::Protobuf, &body));
    }
    let Ok(json) = serde_json::from_slice::<Value>(&body) else { return Payload::Other };
    if json.get("resourceMetrics").is_some() {
        Payload::Metrics(decoded(Encoding::Json, &body))
    } else if json.get("resourceSpans").is_some() {
        Payload::Traces
    } else if json.get("resourceLogs").is_some() {
        Payload::Logs
    } else {
        Payload::Other
    }
}

fn decoded(encoding: Encoding, body: &[u8]) -> Result<(), String> {
    let request = decode(encoding, body, 1_000_000).map_err(|e| e.to_string())?;
    let metrics = request.resources.iter().flat_map(|r| &r.scopes).flat_map(|s| &s.metrics);
    let known = metrics.clone().filter(|m| m.data != Data::Absent).count();
    let limits = Limits {
        rows_max: 1_000_000,
        labels_max: 64,
        name_bytes_max: 512,
        value_bytes_max: 8 << 10,
        label_bytes_max: 256 << 20,
    };
    let mut totals = Totals::new(delta::Config { series_max: 1_000, stale_after_ms: 1_000 });
    let rows = translate(&request, &Config::default(), &limits, &mut totals, 0)
        .map_err(|e| e.to_string())?;
    if rows.samples.is_empty() && rows.histograms.is_empty() && known > 0 {
        return Err(format!(
            "no point of {known} metrics became a row: {}",
            rows.reasons.join("; ")
        ));
    }
    Ok(())
}

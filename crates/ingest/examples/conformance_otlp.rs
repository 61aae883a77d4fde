//! Suite `otlp`: names of metrics, units and labels as Prometheus translates them, and the payloads of other projects.
//! Usage: `conformance_otlp DIR`, DIR with the layout of that topic.
//!
//! A name passes when it, its unit or its error is the expected one. A payload of metrics passes when it decodes and at
//! least one of its points becomes rows, or when it holds none of a kind OTLP still has. A payload of traces passes when
//! all its spans are read and come back from what is written of them, one of Jaeger or Zipkin when all its spans are read,
//! and a malformed span when it is refused. A payload of logs passes when each record becomes a line, and one of text has
//! that text. Cases of fluent-bit pass when what is read, or refused, is what it reads or refuses.

#![expect(clippy::print_stdout, reason = "a command line tool")]

#[path = "spans/batches.rs"]
mod batches;
#[path = "otlp/fluent_bit.rs"]
mod fluent_bit;
#[expect(dead_code, reason = "the other suite uses the rest")]
#[path = "spans/shown.rs"]
mod shown;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ingest::jaeger::answer::{Adjustment, answer};
use ingest::jaeger::{decode_protobuf, decode_thrift};
use ingest::otlp::delta::{self, Totals};
use ingest::otlp::logs;
use ingest::otlp::names::{Kind, LabelRules, Strategy, label_name, metric_name, unit_name};
use ingest::otlp::traces::{self, IdForm};
use ingest::otlp::translate::{Config, Limits, translate};
use ingest::otlp::{Data, Encoding, decode};
use ingest::pushed_lines;
use ingest::spans::Received;
use ingest::thrift::Protocol;
use ingest::zipkin::{self, Form};
use model::{SpanGroup, Trace};
use serde_json::{Map, Value};

use fluent_bit::Outcome;

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

    fn skip(&mut self, count: usize, why: &str) {
        if count > 0 {
            println!("skipped {count}: {why}");
            self.skipped += count;
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
    for file in &files {
        let shown = file.strip_prefix(&dir).unwrap_or(file).display().to_string();
        match payload(file) {
            Payload::Known(outcome) => tally.book(&shown, outcome),
            Payload::Table => {}
            Payload::Other => tally.skip(1, &format!("{shown}: of OpenCensus")),
        }
    }
    let unasked = malformed_spans(&dir, &mut tally);
    tally.skip(unasked, "what protocol buffers allow: absent fields, links without ids");
    cases_of_fluent_bit(&dir, &mut tally);
    tally.book("otlp2jaeger-multi", shown_by_jaeger(&dir));
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
        } else if ["json", "json.txt", "binpb"]
            .iter()
            .any(|end| path.to_string_lossy().ends_with(&format!(".{end}")))
        {
            files.push(path);
        }
    }
}

enum Payload {
    Known(Result<(), String>),
    /// Cases, or what is expected of another file; they are gone through by themselves.
    Table,
    Other,
}

fn payload(file: &Path) -> Payload {
    let Ok(body) = std::fs::read(file) else {
        return Payload::Known(Err("cannot be read".to_owned()));
    };
    if file.extension().is_some_and(|e| e == "binpb") {
        return Payload::Known(decoded(Encoding::Protobuf, &body));
    }
    // Requests one below the other, as the collector writes them to a file.
    let requests = serde_json::Deserializer::from_slice(&body).into_iter::<Value>();
    let Ok(requests) = requests.collect::<Result<Vec<_>, _>>() else {
        return Payload::Known(Err("is no JSON".to_owned()));
    };
    match requests.as_slice() {
        [json] => request(file, json, &body),
        several => {
            let read = |json: &Value| spans(json.to_string().as_bytes()).map(|_| ());
            Payload::Known(several.iter().try_for_each(read))
        }
    }
}

fn request(file: &Path, json: &Value, body: &[u8]) -> Payload {
    let has = |names: [&str; 2]| names.iter().any(|name| json.get(*name).is_some());
    if has(["resourceMetrics", "resource_metrics"]) {
        Payload::Known(decoded(Encoding::Json, body))
    } else if has(["resourceSpans", "resource_spans"]) {
        Payload::Known(spans(body).map(|_| ()))
    } else if has(["resourceLogs", "resource_logs"]) {
        Payload::Known(log_lines(json, body))
    } else if let Some(outcome) = other_spans(file, json, body) {
        Payload::Known(outcome)
    } else if file.ends_with("oltp2jaeger-multi-out.json") || json.as_object().is_some_and(is_table)
    {
        Payload::Table
    } else if json["data"][0]["spans"].is_array() {
        Payload::Known(answer_comes_back(json))
    } else {
        Payload::Other
    }
}

/// Whether these are cases by name.
fn is_table(cases: &Map<String, Value>) -> bool {
    cases.values().all(|case| case.get("input").is_some())
}

/// An answer of Jaeger, sent as a batch and answered again.
fn answer_comes_back(json: &Value) -> Result<(), String> {
    // Scopes were called libraries.
    let renamed = json["data"][0].to_string().replace("otel.library.", "otel.scope.");
    let expected: Value = serde_json::from_str(&renamed).map_err(|e| e.to_string())?;
    let expected = shown::spans(&expected, false);
    let groups = whole(decode_protobuf(&shown::batch(&expected), ELEMENTS_MAX))?;
    let trace_id = groups.first().and_then(|group| group.spans.first()).map(|span| span.trace_id);
    let trace = Trace { trace_id: trace_id.ok_or("no spans")?, groups };
    let found: Vec<u8> = answer(vec![trace], &[], Adjustment::None).flatten().collect();
    let found: Value = serde_json::from_slice(&found).map_err(|e| e.to_string())?;
    let found = shown::spans(&found["data"][0], false);
    if found == expected { Ok(()) } else { Err(format!("{found:?}, expected {expected:?}")) }
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

/// Lines of the records.
fn log_lines(json: &Value, body: &[u8]) -> Result<(), String> {
    let request = logs::decode(Encoding::Json, body, ELEMENTS_MAX).map_err(|e| e.to_string())?;
    let limits = pushed_lines::Limits {
        rows_max: ELEMENTS_MAX,
        labels_max: 64,
        name_bytes_max: 512,
        value_bytes_max: 8 << 10,
        line_fields_bytes_max: 64 << 10,
        field_bytes_max: 256 << 20,
        future_ms_max: i64::MAX,
    };
    let streams = pushed_lines::Streams::new(1 << 20, 64);
    let pushed =
        logs::lines(&request, &limits, &streams, NOW_NS / 1_000_000).map_err(|e| e.to_string())?;
    let list = |value: &Value, names: [&str; 2]| {
        let list = names.iter().find_map(|name| value[*name].as_array());
        list.cloned().unwrap_or_default()
    };
    let resources = list(json, ["resourceLogs", "resource_logs"]);
    let scopes = resources.iter().flat_map(|resource| list(resource, ["scopeLogs", "scope_logs"]));
    let records: Vec<Value> =
        scopes.flat_map(|scope| list(&scope, ["logRecords", "log_records"])).collect();
    if records.is_empty() || pushed.rows.len() != records.len() {
        let reasons = pushed.refused.reasons.join("; ");
        return Err(format!("{} lines of {} records: {reasons}", pushed.rows.len(), records.len()));
    }
    for (record, row) in records.iter().zip(pushed.rows.iter()) {
        let body = &record["body"];
        let wanted = body["stringValue"].as_str().or(body["string_value"].as_str());
        if wanted.is_some_and(|text| text != row.line) {
            return Err(format!("{:?} became {:?}", wanted, row.line));
        }
    }
    Ok(())
}

const ELEMENTS_MAX: usize = 1_000_000;
const NOW_NS: i64 = 1_700_000_000_000_000_000;

fn whole(received: model::Result<Received>) -> Result<Vec<SpanGroup>, String> {
    let received = received.map_err(|e| e.to_string())?;
    match received.refused.reasons.as_slice() {
        [] => Ok(received.groups),
        reasons => Err(reasons.join("; ")),
    }
}

/// Spans of OTLP/JSON, which come back from what is written of them.
fn spans(body: &[u8]) -> Result<Vec<SpanGroup>, String> {
    let read = |encoding, body: &[u8]| whole(traces::decode(encoding, body, ELEMENTS_MAX));
    let groups = read(Encoding::Json, body)?;
    if groups.is_empty() {
        return Err("no spans".to_owned());
    }
    if read(Encoding::Protobuf, &traces::to_protobuf(&groups))? != groups {
        return Err("differs after protobuf".to_owned());
    }
    let json = traces::to_json(&groups, IdForm::Hexadecimal);
    if read(Encoding::Json, json.as_bytes())? != groups {
        return Err("differs after JSON".to_owned());
    }
    Ok(groups)
}

/// Spans of Jaeger and Zipkin, which are told by the names of their files.
fn other_spans(file: &Path, json: &Value, body: &[u8]) -> Option<Result<(), String>> {
    let name = file.file_name()?.to_str()?;
    let folder = file.parent()?.to_str()?;
    let zipkin = |form, body: &[u8]| whole(zipkin::decode(form, body, ELEMENTS_MAX, NOW_NS));
    let (groups, count) = if folder.ends_with("translator/jaeger/testdata") {
        let groups = if name.starts_with("thrift_batch") {
            decode_thrift(Protocol::Binary, &batches::jaeger_thrift(json), ELEMENTS_MAX)
        } else if name.contains("proto_batch") && !name.starts_with("ocproto") {
            decode_protobuf(&batches::jaeger_protobuf(json), ELEMENTS_MAX)
        } else {
            return None;
        };
        (whole(groups), json["spans"].as_array()?.len())
    } else if name.starts_with("zipkin_v1_thrift") {
        (zipkin(Form::V1Thrift, &batches::zipkin_thrift(json)), json.as_array()?.len())
    } else if name == "zipkin_v1_multiple_batches.json" {
        let lists = json.as_array()?.iter();
        let read = lists.map(|list| zipkin(Form::V1Json, list.to_string().as_bytes()));
        (read.collect::<Result<Vec<_>, _>>().map(|all| all.concat()), json.as_array()?.len())
    } else if name.starts_with("zipkin_v1") {
        (zipkin(Form::V1Json, body), json.as_array()?.len())
    } else if name.starts_with("zipkin_v2") || folder.ends_with("zipkinreceiver/testdata") {
        (zipkin(Form::V2Json, body), json.as_array()?.len())
    } else {
        return None;
    };
    Some(groups.and_then(|groups| {
        let found: usize = groups.iter().map(|group| group.spans.len()).sum();
        if found == count { Ok(()) } else { Err(format!("{found} of {count} spans")) }
    }))
}

/// Cases of metrics and logs.
fn cases_of_fluent_bit(dir: &Path, tally: &mut Tally) {
    let folder = dir.join("fluent__fluent-bit/tests/internal/data/opentelemetry");
    let mut skipped = BTreeMap::<&str, usize>::new();
    for name in ["metrics.json", "logs.json"] {
        let cases = std::fs::read(folder.join(name)).ok();
        let cases = cases.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let Some(Value::Object(cases)) = cases else {
            tally.book(name, Err("cannot be read".to_owned()));
            continue;
        };
        for (case_name, case) in &cases {
            let outcome = match name {
                "metrics.json" => fluent_bit::metrics(case_name, case),
                _ => fluent_bit::logs(case),
            };
            match outcome {
                Outcome::Ran(outcome) => tally.book(&format!("{name}: {case_name}"), outcome),
                Outcome::Skipped(why) => *skipped.entry(why).or_default() += 1,
            }
        }
    }
    for (why, count) in skipped {
        tally.skip(count, why);
    }
}

/// Spans that are right or wrong in one way each; returns how many are skipped.
fn malformed_spans(dir: &Path, tally: &mut Tally) -> usize {
    let file = dir.join("fluent__fluent-bit/tests/internal/data/opentelemetry/traces.json");
    let cases =
        std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let Some(Value::Object(cases)) = cases else {
        tally.book("traces.json", Err(format!("cannot read {}", file.display())));
        return 0;
    };
    let mut skipped = 0;
    for (name, case) in &cases {
        let is_allowed = name.ends_with("_missing")
            || matches!(
                name.as_str(),
                "event_missing_name"
                    | "link_missing_trace_id"
                    | "link_trace_id_zero_length"
                    | "link_span_id_zero_length"
            );
        if is_allowed {
            skipped += 1;
            continue;
        }
        let read = spans(case["input"].to_string().as_bytes());
        let outcome = match (read, case["expected_error"]["code"].as_str()) {
            (Ok(_), None) | (Err(_), Some(_)) => Ok(()),
            (Ok(_), Some(error)) => Err(format!("read, expected {error}")),
            (Err(error), None) => Err(error),
        };
        tally.book(&format!("traces.json: {name}"), outcome);
    }
    skipped
}

/// A trace as Jaeger's UI keeps it, of which it adds relations between spans by itself.
fn shown_by_jaeger(dir: &Path) -> Result<(), String> {
    let dir = dir.join("jaegertracing__jaeger-ui/packages/jaeger-ui/src/utils/fixtures");
    let read = |name: &str| std::fs::read(dir.join(name)).map_err(|e| format!("{name}: {e}"));
    let groups = spans(&read("otlp2jaeger-multi-in-combined.json")?)?;
    let trace_id = groups.first().and_then(|group| group.spans.first()).map(|span| span.trace_id);
    let trace = Trace { trace_id: trace_id.unwrap_or(0), groups };
    let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).map_err(|e| e.to_string());
    let found: Vec<u8> = answer(vec![trace], &[], Adjustment::None).flatten().collect();
    let found = parse(&found)?;
    // Scopes were called libraries.
    let expected = String::from_utf8(read("oltp2jaeger-multi-out.json")?)
        .map_err(|e| e.to_string())?
        .replace("otel.library.", "otel.scope.");
    let expected = parse(expected.as_bytes())?;
    let known = |answer: &Value| {
        let trace = &answer["data"][0];
        let spans = trace["spans"].as_array().into_iter().flatten().map(|span| {
            let mut span = span.clone();
            for name in
                ["warnings", "process", "relativeStartTime", "depth", "hasChildren", "childSpanIds"]
            {
                span.as_object_mut().map(|span| span.remove(name));
            }
            for reference in span["references"].as_array_mut().into_iter().flatten() {
                reference.as_object_mut().map(|reference| reference.remove("span"));
            }
            span
        });
        (spans.collect::<Vec<_>>(), trace["processes"].clone())
    };
    let (found, expected) = (known(&found), known(&expected));
    if found == expected { Ok(()) } else { Err(format!("{found:?}, expected {expected:?}")) }
}

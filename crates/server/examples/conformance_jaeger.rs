//! Suite `jaeger`: spans as Jaeger and Zipkin keep them, answers of Jaeger's query API, and searches.
//! Usage: `conformance_jaeger DIR`, DIR with the layout of that topic.
//!
//! Traces of OTLP and Zipkin pass when all their spans are read and, of OTLP, come back from what is written of them. Batches
//! in Thrift pass when they are the spans that Jaeger makes of them. Answers pass when they are those of Jaeger. Searches are
//! made over a store with all traces of the suite, by HTTP in both versions, from memory and from files, and pass when
//! they find the traces expected and no others, whole. Traces as Jaeger's UI keeps them, its anonymizer and Elasticsearch
//! pass when they are sent as a batch, stored, and answered as they were.

#![expect(clippy::print_stdout, reason = "a command line tool")]
#![expect(clippy::unwrap_used, reason = "a file that is not as it should be ends the suite")]

#[path = "../../ingest/examples/spans/batches.rs"]
#[expect(dead_code, reason = "the other suite uses the rest")]
mod batches;
#[path = "../../ingest/examples/spans/shown.rs"]
mod shown;
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/it/table.rs"]
mod table;
#[path = "../tests/it/traced.rs"]
mod traced;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ingest::jaeger::answer::{Adjustment, answer};
use ingest::jaeger::{decode_protobuf, decode_thrift};
use ingest::otlp::Encoding;
use ingest::otlp::traces::{self, IdForm};
use ingest::spans::Received;
use ingest::thrift::Protocol;
use ingest::zipkin;
use model::{AttributeValue, Resource, Span, SpanGroup, Trace};
use serde_json::{Value, json};
use traced::Traced;

const ELEMENTS_MAX: usize = 1_000_000;
const NOW_NS: i64 = 1_700_000_000_000_000_000;

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
        println!("skipped {count}: {why}");
        self.skipped += count;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap_or_default());
    let mut tally = Tally::default();
    let jaeger = dir.join("jaegertracing__jaeger");
    for file in files(&jaeger.join("internal/storage/integration/fixtures/traces")) {
        tally.book(&name_of(&file), otlp_file(&file));
    }
    for file in files(&dir.join("openzipkin__zipkin/zipkin-lens/testdata")) {
        tally.book(&name_of(&file), zipkin_file(&file));
    }
    let batches = jaeger.join("internal/converter/thrift/jaeger/fixtures");
    for number in ["01", "02"] {
        let outcome = thrift_batch(
            &batches.join(format!("thrift_batch_{number}.json")),
            &batches.join(format!("domain_{number}.json")),
        );
        tally.book(&format!("thrift_batch_{number}"), outcome);
    }
    let ui = jaeger.join("internal/uimodel/converter/v1/json/fixtures");
    tally.book("ui_01", ui_answer(&ui.join("domain_01.json"), &ui.join("ui_01.json")));
    let query = jaeger.join("cmd/jaeger/internal/extension/jaegerquery/internal");
    let transformed = transformed(
        &query.join("fixture/otlp2jaeger-in.json"),
        &query.join("fixture/otlp2jaeger-out.json"),
    );
    tally.book("otlp2jaeger", transformed);
    for name in ["GetTrace.json", "FindTraces.json"] {
        tally.book(name, snapshot(&query.join("apiv3/snapshots").join(name)));
    }
    let integration = jaeger.join("internal/storage/integration/fixtures");
    searches(&integration, &mut tally).await;
    let services = query.join("apiv3/snapshots/GetServices.json");
    tally.book("GetServices.json", services_listed(&services).await);
    let ui = dir.join("jaegertracing__jaeger-ui");
    let graphs = ui.join("packages/jaeger-ui/src/components/DependencyGraph/sample_data");
    let graphs = files(&graphs);
    for file in &graphs {
        tally.book(&name_of(file), dependencies(file).await);
    }
    let mut kept = files_below(&ui);
    kept.retain(|file| !graphs.contains(file));
    kept.push(jaeger.join("cmd/anonymizer/app/uiconv/fixtures/trace_success.json"));
    for file in &kept {
        match read(file).map(|trace| shown::spans(&trace, false)) {
            Ok(spans) if shown::has_repeated(&spans) => {
                tally.skip(1, "two spans of one id, kind and start: one, sent again");
            }
            Ok(spans) => tally.book(&name_of(file), stored_and_shown(&spans).await),
            Err(problem) => tally.book(&name_of(file), Err(problem)),
        }
    }
    let ui = jaeger.join("internal/uimodel/converter/v1/json/fixtures");
    let outcome = document(&ui.join("domain_es_01.json"), &ui.join("es_01.json")).await;
    tally.book("es_01.json", outcome);
    let idl = dir.join("jaegertracing__jaeger-idl/swagger/api_v3/query_service.openapi.json");
    tally.book("query_service.openapi.json", described(&idl));
    tally.skip(3, "files that Jaeger's anonymizer refuses to read: traces are not read from files");
    tally
        .skip(3, "answers of a Prometheus that Jaeger asks: metrics of spans lie in the own store");
    let Tally { passed, failed, skipped } = tally;
    println!("jaeger: {passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// JSON files of a folder, by name.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "json"));
    files.sort();
    files
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    let mut found: Vec<_> = folders.flat_map(|folder| files_below(&folder)).collect();
    found.extend(files(dir));
    found.sort();
    found
}

fn text(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))
}

fn read(file: &Path) -> Result<Value, String> {
    serde_json::from_str(&text(file)?).map_err(|e| format!("{}: {e}", file.display()))
}

fn whole(received: model::Result<Received>) -> Result<Vec<SpanGroup>, String> {
    let received = received.map_err(|e| e.to_string())?;
    match received.refused.reasons.as_slice() {
        [] => Ok(received.groups),
        reasons => Err(reasons.join("; ")),
    }
}

fn otlp(json: &str) -> Result<Vec<SpanGroup>, String> {
    let decode = |encoding, body: &[u8]| whole(traces::decode(encoding, body, ELEMENTS_MAX));
    let groups = decode(Encoding::Json, json.as_bytes())?;
    let count: usize = groups.iter().map(|group| group.spans.len()).sum();
    if count != json.matches("\"spanId\"").count() - json.matches("opentracing.ref_type").count() {
        return Err(format!("{count} spans are not all"));
    }
    if decode(Encoding::Protobuf, &traces::to_protobuf(&groups))? != groups {
        return Err("differs after protobuf".to_owned());
    }
    let json = traces::to_json(&groups, IdForm::Hexadecimal);
    if decode(Encoding::Json, json.as_bytes())? != groups {
        return Err("differs after JSON".to_owned());
    }
    Ok(groups)
}

fn otlp_file(file: &Path) -> Result<(), String> {
    otlp(&text(file)?).map(|_| ())
}

/// An answer of the API's third version, which is OTLP.
fn snapshot(file: &Path) -> Result<(), String> {
    otlp(&read(file)?["result"].to_string()).map(|_| ())
}

fn zipkin_file(file: &Path) -> Result<(), String> {
    let json = text(file)?;
    let spans = read(file)?.as_array().map_or(0, Vec::len);
    let form = zipkin::Form::V2Json;
    let groups = whole(zipkin::decode(form, json.as_bytes(), ELEMENTS_MAX, NOW_NS))?;
    let found: usize = groups.iter().map(|group| group.spans.len()).sum();
    if found == spans { Ok(()) } else { Err(format!("{found} of {spans} spans")) }
}

fn thrift_batch(thrift: &Path, domain: &Path) -> Result<(), String> {
    let body = batches::jaeger_thrift(&read(thrift)?);
    let found = whole(decode_thrift(Protocol::Binary, &body, ELEMENTS_MAX))?;
    let body = batches::jaeger_protobuf(&read(domain)?);
    let expected = whole(decode_protobuf(&body, ELEMENTS_MAX))?;
    if found == expected { Ok(()) } else { Err(format!("{found:#?}, expected {expected:#?}")) }
}

fn answered(groups: Vec<SpanGroup>) -> Result<Value, String> {
    let trace_id = groups.first().and_then(|group| group.spans.first()).map(|span| span.trace_id);
    let trace = Trace { trace_id: trace_id.ok_or("no spans")?, groups };
    let body: Vec<u8> = answer(vec![trace], &[], Adjustment::None).flatten().collect();
    serde_json::from_slice(&body).map_err(|e| e.to_string())
}

fn transformed(given: &Path, expected: &Path) -> Result<(), String> {
    let (found, expected) = (answered(otlp(&text(given)?)?)?, read(expected)?);
    if found == expected { Ok(()) } else { Err(format!("{found}, expected {expected}")) }
}

fn ui_answer(domain: &Path, expected: &Path) -> Result<(), String> {
    let body = batches::jaeger_protobuf(&read(domain)?);
    let mut found = answered(whole(decode_protobuf(&body, ELEMENTS_MAX))?)?["data"][0].take();
    let mut expected = read(expected)?;
    // Warnings of traces are not sent with spans.
    expected["warnings"].take();
    for trace in [&mut found, &mut expected] {
        for span in trace["spans"].as_array_mut().into_iter().flatten() {
            // The parent comes first here; in which order other references come is nowhere said.
            if let Some(references) = span["references"].as_array_mut() {
                references.sort_by_key(Value::to_string);
            }
            // An error is told twice, as the collector does; where the tag stands is nowhere said.
            if let Some(tags) = span["tags"].as_array_mut() {
                tags.retain(|tag| tag["key"] != "otel.status_code");
                tags.sort_by_key(Value::to_string);
            }
        }
    }
    if found == expected { Ok(()) } else { Err(format!("{found}, expected {expected}")) }
}

/// A trace that is sent by Jaeger's protobuf, stored, and asked for.
async fn stored_and_shown(expected: &[Value]) -> Result<(), String> {
    let found = through_store(&shown::batch(expected)).await?;
    if found == expected { Ok(()) } else { Err(format!("{found:#?}, expected {expected:#?}")) }
}

/// A span as Jaeger's own structure and as its document in Elasticsearch.
async fn document(domain: &Path, document: &Path) -> Result<(), String> {
    let expected = shown::spans(&json!([read(document)?]), true);
    let batch = batches::jaeger_protobuf(&json!({"spans": [read(domain)?]}));
    let found = through_store(&batch).await?;
    if found == expected { Ok(()) } else { Err(format!("{found:#?}, expected {expected:#?}")) }
}

async fn through_store(batch: &[u8]) -> Result<Vec<Value>, String> {
    let groups = whole(decode_protobuf(batch, ELEMENTS_MAX))?;
    let id = groups.first().and_then(|group| group.spans.first()).map(|span| span.trace_id);
    let path = format!("/api/traces/{:032x}", id.ok_or("no spans")?);
    let traced = Traced::start();
    traced.send(&groups).await;
    traced.store.flush().unwrap();
    let found = ask(&traced, &path, &[("raw", "true".to_owned())]).await?;
    Ok(shown::spans(&found["data"][0], false))
}

/// A store with all traces of a folder.
async fn stored(
    dir: &Path,
) -> Result<(Traced, BTreeMap<String, u128>, BTreeMap<u128, usize>), String> {
    let traced = Traced::start();
    let (mut ids, mut counts) = (BTreeMap::new(), BTreeMap::<u128, usize>::new());
    for file in files(&dir.join("traces")) {
        let groups = otlp(&text(&file)?)?;
        traced.send(&groups).await;
        for span in groups.iter().flat_map(|group| &group.spans) {
            *counts.entry(span.trace_id).or_default() += 1;
            ids.insert(name_of(&file).trim_end_matches(".json").to_owned(), span.trace_id);
        }
    }
    Ok((traced, ids, counts))
}

async fn searches(dir: &Path, tally: &mut Tally) {
    let (traced, ids, counts) = match stored(dir).await {
        Ok(stored) => stored,
        Err(e) => return tally.book("traces to search", Err(e)),
    };
    for file in ["queries.json", "queries_es.json"] {
        let cases = read(&dir.join(file)).unwrap_or_else(|e| panic!("{e}"));
        for case in cases.as_array().into_iter().flatten() {
            let expected = case["ExpectedFixtures"].as_array().into_iter().flatten();
            let expected: BTreeMap<u128, usize> = expected
                .map(|name| ids[name.as_str().unwrap_or("")])
                .map(|id| (id, counts[&id]))
                .collect();
            let mut outcome = search(&traced, &case["Query"], &expected).await;
            // Once more, out of a file.
            traced.store.flush().unwrap();
            if outcome.is_ok() {
                outcome = search(&traced, &case["Query"], &expected).await;
            }
            tally.book(&format!("{file}: {}", case["Caption"]), outcome);
        }
    }
}

async fn search(
    traced: &Traced,
    query: &Value,
    expected: &BTreeMap<u128, usize>,
) -> Result<(), String> {
    let text = |name: &str| query[name].as_str().unwrap_or("").to_owned();
    let us = |name: &str| {
        let time: jiff::Timestamp = text(name).parse().unwrap();
        time.as_microsecond().to_string()
    };
    let duration = |name: &str| match query[name].as_i64() {
        None | Some(0) => String::new(),
        Some(ns) => format!("{ns}ns"),
    };
    let tags: BTreeMap<String, String> = query["Tags"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            (name.clone(), value.as_str().map_or(value.to_string(), str::to_owned))
        })
        .collect();
    let tags = json!(tags).to_string();
    let params = [
        ("service", text("ServiceName")),
        ("operation", text("OperationName")),
        ("tags", tags.clone()),
        ("start", us("StartTimeMin")),
        ("end", us("StartTimeMax")),
        ("minDuration", duration("DurationMin")),
        ("maxDuration", duration("DurationMax")),
        ("limit", query["NumTraces"].to_string()),
    ];
    let found = ask(traced, "/api/traces", &params).await?;
    let found = found["data"].as_array().into_iter().flatten().map(|trace| {
        let id = u128::from_str_radix(trace["traceID"].as_str().unwrap_or(""), 16).unwrap_or(0);
        (id, trace["spans"].as_array().map_or(0, Vec::len))
    });
    let found: BTreeMap<u128, usize> = found.collect();
    if found != *expected {
        return Err(format!("version 1 finds {found:x?}, expected {expected:x?}"));
    }
    let params = [
        ("query.service_name", text("ServiceName")),
        ("query.operation_name", text("OperationName")),
        ("query.attributes", tags),
        ("query.start_time_min", text("StartTimeMin")),
        ("query.start_time_max", text("StartTimeMax")),
        ("query.duration_min", duration("DurationMin")),
        ("query.duration_max", duration("DurationMax")),
        ("query.search_depth", query["NumTraces"].to_string()),
    ];
    let found = ask(traced, "/api/v3/traces", &params).await?;
    let groups = otlp(&found["result"].to_string())?;
    let mut found = BTreeMap::<u128, usize>::new();
    for span in groups.iter().flat_map(|group| &group.spans) {
        *found.entry(span.trace_id).or_default() += 1;
    }
    let is_right = found == *expected;
    if is_right {
        Ok(())
    } else {
        Err(format!("version 3 finds {found:x?}, expected {expected:x?}"))
    }
}

async fn ask(traced: &Traced, path: &str, params: &[(&str, String)]) -> Result<Value, String> {
    let params: Vec<(&str, &str)> = params.iter().map(|(n, v)| (*n, v.as_str())).collect();
    match traced.get(path, &params).await {
        (200, body) => serde_json::from_str(&body).map_err(|e| e.to_string()),
        (status, body) => Err(format!("{path}: {status} {body}")),
    }
}

fn span_of(service: &str, trace_id: u128, span_id: u64, parent_id: u64) -> SpanGroup {
    let value = AttributeValue::String(service.to_owned());
    let attributes = vec![("service.name".into(), value)];
    let span = Span { trace_id, span_id, parent_id, start_ns: 1, end_ns: 2, ..Span::default() };
    SpanGroup {
        resource: Resource { attributes, ..Resource::default() }.into(),
        spans: vec![span],
        ..SpanGroup::default()
    }
}

/// The list of services that there are spans of.
async fn services_listed(file: &Path) -> Result<(), String> {
    let expected = read(file)?;
    let traced = Traced::start();
    for (i, name) in expected["services"].as_array().into_iter().flatten().enumerate() {
        traced.send(&[span_of(name.as_str().unwrap_or(""), i as u128 + 1, 1, 0)]).await;
    }
    let found = ask(&traced, "/api/v3/services", &[]).await?;
    if found == expected { Ok(()) } else { Err(format!("{found}, expected {expected}")) }
}

/// Dependencies that come of calls: a hundredth of them, rounded up, lest it takes for ever.
async fn dependencies(file: &Path) -> Result<(), String> {
    let links = read(file)?;
    let traced = Traced::start();
    let mut expected = BTreeMap::<(String, String), u64>::new();
    let mut trace_id = 0;
    for link in links.as_array().into_iter().flatten() {
        let name = |end: &str| link[end].as_str().unwrap_or("").to_owned();
        let calls = link["callCount"].as_u64().unwrap_or(0).div_ceil(100);
        let mut groups = Vec::new();
        for _ in 0..calls {
            trace_id += 1;
            groups.push(span_of(&name("parent"), trace_id, 1, 0));
            groups.push(span_of(&name("child"), trace_id, 2, 1));
        }
        if calls > 0 {
            traced.send(&groups).await;
            // Services do not depend on themselves.
            if name("parent") != name("child") {
                *expected.entry((name("parent"), name("child"))).or_default() += calls;
            }
        }
    }
    traced.store.flush().unwrap();
    let params = [("endTs", "1000".to_owned()), ("lookback", "1000".to_owned())];
    let found = ask(&traced, "/api/dependencies", &params).await?;
    let found: BTreeMap<(String, String), u64> = found["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|link| {
            let name = |end: &str| link[end].as_str().unwrap_or("").to_owned();
            ((name("parent"), name("child")), link["callCount"].as_u64().unwrap_or(0))
        })
        .collect();
    if found == expected { Ok(()) } else { Err(format!("{found:?}, expected {expected:?}")) }
}

/// Whether all calls that a description names are served.
fn described(file: &Path) -> Result<(), String> {
    let description = read(file)?;
    let served: BTreeSet<(String, String)> = server::route_list()
        .map(|route| (route.method.to_lowercase(), route.path.to_owned()))
        .collect();
    let mut missing = Vec::new();
    let paths = description["paths"].as_object().ok_or("no paths")?;
    for (path, methods) in paths {
        // Names of what stands in a path are free.
        let path = path.replace("{traceId}", "{id}").replace("{trace_id}", "{id}");
        for method in methods.as_object().into_iter().flatten().map(|(method, _)| method) {
            if !served.contains(&(method.clone(), path.clone())) {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("not served: {}", missing.join(", "))) }
}

//! Suite `jaeger`: spans as Jaeger and Zipkin keep them, and answers of Jaeger's query API.
//! Usage: `conformance_jaeger DIR`, DIR with the layout of that topic.
//!
//! Traces of OTLP and Zipkin pass when all their spans are read and, of OTLP, come back from what is written of them. Batches
//! in Thrift pass when they are the spans that Jaeger makes of them. Answers pass when they are those of Jaeger. What asks a
//! store or the API is skipped.

#![expect(clippy::print_stdout, reason = "a command line tool")]

#[path = "spans/batches.rs"]
#[expect(dead_code, reason = "the other suite uses the rest")]
mod batches;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ingest::jaeger::answer::{Adjustment, answer};
use ingest::jaeger::{decode_protobuf, decode_thrift};
use ingest::otlp::Encoding;
use ingest::otlp::traces::{self, IdForm};
use ingest::spans::Received;
use ingest::thrift::Protocol;
use ingest::zipkin;
use model::{SpanGroup, Trace};
use serde_json::Value;

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

fn main() -> ExitCode {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap_or_default());
    let mut tally = Tally::default();
    let jaeger = dir.join("jaegertracing__jaeger");
    for file in files(&jaeger.join("internal/storage/integration/fixtures/traces")) {
        tally.book(&shown(&file), otlp_file(&file));
    }
    for file in files(&dir.join("openzipkin__zipkin/zipkin-lens/testdata")) {
        tally.book(&shown(&file), zipkin_file(&file));
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
    let queries = |name: &str| {
        let file = jaeger.join("internal/storage/integration/fixtures").join(name);
        read(&file).map_or(0, |json| json.as_array().map_or(0, Vec::len))
    };
    tally.skip(queries("queries.json") + queries("queries_es.json"), "queries: no store yet");
    tally.skip(1, "a list of services: no store yet");
    tally.skip(2, "documents of Elasticsearch");
    tally.skip(4, "what Jaeger's anonymizer reads");
    tally.skip(3, "answers of a Prometheus");
    tally.skip(files_below(&dir.join("jaegertracing__jaeger-ui")), "input of Jaeger's own UI");
    tally.skip(files_below(&dir.join("jaegertracing__jaeger-idl")), "a description of the API");
    let Tally { passed, failed, skipped } = tally;
    println!("jaeger: {passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn shown(file: &Path) -> String {
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

fn files_below(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let count = |path: PathBuf| if path.is_dir() { files_below(&path) } else { 0 };
    files(dir).len() + entries.map(|entry| count(entry.path())).sum::<usize>()
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
    serde_json::from_str(&answer(&[trace], Adjustment::None)).map_err(|e| e.to_string())
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

//! Suite `loki-api`: bodies of Loki's HTTP API, out of its own tests, against our router. Usage: `conformance_loki_api DIR`,
//! DIR with the layout of the topic `loki`.
//!
//! An answer is taken apart into the lines it was made of; these are stored, the call is made, and what comes back must
//! be the same JSON. Statistics must have the same shape: theirs are those of Loki's own stores. A push must be stored as
//! it says. Patterns, whose texts and steps differ on purpose, must have the same shape.

#![expect(clippy::print_stdout, reason = "a command line tool")]

#[path = "../tests/it/stored.rs"]
mod stored;
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/it/table.rs"]
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::StreamExt as _;
use http::Request;
use http_body_util::BodyExt as _;
use model::{Labels, LogRecord};
use serde_json::{Value, json};
use server::{Listener, TailHub};
use stored::Stored;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const FLAGS: (&str, &str) = ("x-loki-response-encoding-flags", "categorize-labels");
const START: &str = "start=0&end=2000000000000000000";
/// A live tail that has not answered by then never will.
const TAIL_TIME_MAX: Duration = Duration::from_secs(60);

enum Outcome {
    Passed,
    Failed(String),
    Skipped(&'static str),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let dir = std::env::args().nth(1).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for file in ["api-marshal", "api-unmarshal", "api-legacy"] {
        let path = Path::new(&dir).join(format!("facts/{file}.json"));
        let facts = std::fs::read_to_string(&path).ok();
        let Some(facts) = facts.and_then(|text| serde_json::from_str::<Value>(&text).ok()) else {
            println!("cannot read {}", path.display());
            return ExitCode::FAILURE;
        };
        for (number, case) in facts["cases"].as_array().into_iter().flatten().enumerate() {
            match run(file, &case["json"]).await {
                Outcome::Passed => passed += 1,
                Outcome::Failed(what) => {
                    println!("FAIL {file} #{number}: {what}");
                    failed += 1;
                }
                Outcome::Skipped(why) => *skipped.entry(why).or_default() += 1,
            }
        }
    }
    for (reason, count) in &skipped {
        println!("skipped {count}: {reason}");
    }
    let skipped: usize = skipped.values().sum();
    println!("loki-api: {passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn run(file: &str, body: &Value) -> Outcome {
    match file {
        "api-unmarshal" => push(body).await,
        "api-legacy" if body["streams"].is_array() => legacy(body).await,
        "api-legacy" => legacy_labels(body).await,
        _ if body["querier"].is_object() => statistics(body).await,
        _ if body["streams"].is_array() => tail(body).await,
        _ if body["data"]["resultType"] == "streams" => streams(body).await,
        _ if body["data"]["resultType"].is_string() => samples(body).await,
        _ if body["data"][0]["pattern"].is_string() => patterns(body).await,
        _ => nothing(body).await,
    }
}

/// A server, the store behind it, and what its tails listen to.
struct Server {
    router: Router,
    stored: Arc<Stored>,
    hub: Arc<TailHub>,
}

impl Server {
    fn new(lines: Vec<LogRecord>, warnings: &Value) -> Self {
        let texts = warnings.as_array().into_iter().flatten().filter_map(Value::as_str);
        let stored = Stored { lines: lines.into(), warnings: texts.map(str::to_owned).collect() };
        let stored = Arc::new(stored);
        let (app, hub) = table::app_storing(table::open_access(), stored.clone());
        Self { router: server::router(&app), stored, hub }
    }

    async fn get(&self, path: &str, query: &str, flags: bool) -> Result<Value, String> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let mut request = Request::get(format!("{path}&query={query}")).header("host", "localhost");
        if flags {
            request = request.header(FLAGS.0, FLAGS.1);
        }
        let (status, text) = self.send(request.body(Body::empty())).await;
        if status != 200 {
            return Err(format!("{path}: {status} {text}"));
        }
        serde_json::from_str(&text).map_err(|e| format!("{path}: {e}: {text}"))
    }

    async fn send(&self, request: http::Result<Request<Body>>) -> (u16, String) {
        let request = request.expect("BUG: the request is sound");
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map(|body| body.to_bytes());
        let body = body.unwrap_or_default();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

fn labels(json: &Value) -> Labels {
    let pairs = json.as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect()
}

/// Lines of the streams of an answer. What an entry does not say of its labels is taken from the line: a label `msg` of
/// a line with `msg=` was parsed, others are fields, unless all streams have them.
fn lines_of(streams: &Value) -> Vec<LogRecord> {
    let all: Vec<&Value> = streams.as_array().into_iter().flatten().collect();
    let common = |name: &str| all.iter().all(|stream| stream["stream"].get(name).is_some());
    let mut lines = Vec::new();
    for one in &all {
        for value in one["values"].as_array().into_iter().flatten() {
            let line = value[1].as_str().unwrap_or("").to_owned();
            let of_line = labels(&value[2]["structuredMetadata"]);
            let whole = labels(&one["stream"]);
            let is_parsed = |name: &str| line.contains(&format!("{name}="));
            let stream = whole.iter().filter(|(name, _)| common(name)).collect();
            let fields = whole.iter().filter(|(name, _)| !common(name) && !is_parsed(name));
            let fields = fields.chain(of_line.iter()).collect();
            let t_ns = value[0].as_str().and_then(|t| t.parse().ok()).unwrap_or(0);
            lines.push(LogRecord { stream, t_ns, line, fields });
        }
    }
    lines
}

/// Streams in one order, and their entries by time.
fn sorted(streams: &Value) -> Value {
    let mut streams = streams.as_array().cloned().unwrap_or_default();
    for stream in &mut streams {
        if let Some(values) = stream["values"].as_array_mut() {
            values.sort_by_key(|value| value[0].to_string());
        }
    }
    streams.sort_by_key(|stream| stream["stream"].to_string());
    Value::Array(streams)
}

fn same(got: &Value, want: &Value) -> Outcome {
    if got == want { Outcome::Passed } else { Outcome::Failed(format!("got {got}, want {want}")) }
}

/// `got` without its statistics, whose place must be there.
fn without_statistics(mut got: Value) -> Value {
    if let Some(data) = got["data"].as_object_mut()
        && data.get("stats").is_some_and(Value::is_object)
    {
        data.insert("stats".to_owned(), json!("<stats object elided>"));
    }
    got
}

async fn streams(want: &Value) -> Outcome {
    let lines = lines_of(&want["data"]["result"]);
    let flags = want["data"].get("encodingFlags").is_some();
    let of_stream = |stream: &Value| labels(&stream["stream"]).len() > 1;
    if flags && want["data"]["result"].as_array().into_iter().flatten().any(of_stream) {
        return Outcome::Skipped("with the flag, labels of lines are not labels of their streams");
    }
    let parses = lines.iter().any(|line| line.line.contains('='));
    let server = Server::new(lines, &want["warnings"]);
    let stage = if parses { " | logfmt" } else { "" };
    let path = format!("/loki/api/v1/query_range?{START}&direction=forward");
    let got = server.get(&path, &format!("{{test=\"test\"}}{stage}"), flags).await;
    let mut got = match got {
        Ok(got) => without_statistics(got),
        Err(what) => return Outcome::Failed(what),
    };
    let mut want = want.clone();
    for answer in [&mut got, &mut want] {
        let data = &mut answer["data"];
        data["result"] = sorted(&data["result"]);
        // The test data of Loki spells no flag.
        if data.get("encodingFlags").is_some() {
            data["encodingFlags"] = json!("set");
        }
    }
    same(&got, &want)
}

/// Values of series, each as a line with its value at its time.
async fn samples(want: &Value) -> Outcome {
    let result = want["data"]["result"].as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    let mut times = BTreeSet::new();
    for series in &result {
        let points = series["values"].as_array().cloned();
        for point in points.unwrap_or_else(|| vec![series["value"].clone()]) {
            let t_ms = (point[0].as_f64().unwrap_or(0.0) * 1000.0).round() as i64;
            times.insert(t_ms);
            lines.push(LogRecord {
                stream: labels(&series["metric"]),
                t_ns: t_ms * 1_000_000,
                line: format!("v={}", point[1].as_str().unwrap_or("")),
                fields: Labels::default(),
            });
        }
    }
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return Outcome::Failed("no points".to_owned());
    };
    let path = if want["data"]["resultType"] == "vector" {
        format!("/loki/api/v1/query?time={first}000000")
    } else {
        let step_s = (last - first).max(1) as f64 / 1000.0;
        format!("/loki/api/v1/query_range?start={first}000000&end={last}000000&step={step_s}")
    };
    let names: BTreeSet<&String> =
        result.iter().filter_map(|s| s["metric"].as_object()).flatten().map(|(n, _)| n).collect();
    let by: Vec<&str> = names.into_iter().map(String::as_str).collect();
    let query = format!(
        "max by ({}) (max_over_time({{job=~\".+\"}} | logfmt | unwrap v [1ms]))",
        by.join(", ")
    );
    let server = Server::new(lines, &want["warnings"]);
    match server.get(&path, &query, false).await {
        Ok(got) => same(&without_statistics(got), want),
        Err(what) => Outcome::Failed(what),
    }
}

async fn statistics(want: &Value) -> Outcome {
    let server = Server::new(Vec::new(), &Value::Null);
    let path = format!("/loki/api/v1/query_range?{START}");
    match server.get(&path, "{test=\"test\"}", false).await {
        Ok(got) => same(&shape(&got["data"]["stats"]), &shape(want)),
        Err(what) => Outcome::Failed(what),
    }
}

/// Keys and the kinds of their values.
fn shape(json: &Value) -> Value {
    match json {
        Value::Object(map) => {
            map.iter().map(|(name, value)| (name.clone(), shape(value))).collect()
        }
        Value::Array(list) => list.first().map_or_else(|| json!([]), |one| json!([shape(one)])),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Bool(_) => json!("bool"),
        Value::Null => Value::Null,
    }
}

async fn nothing(want: &Value) -> Outcome {
    let server = Server::new(Vec::new(), &Value::Null);
    let path = format!("/loki/api/v1/series?{START}&match[]=%7Btest%3D%22test%22%7D");
    match server.get(&path, "", false).await {
        Ok(got) => same(&got, want),
        Err(what) => Outcome::Failed(what),
    }
}

async fn patterns(want: &Value) -> Outcome {
    let mut lines = Vec::new();
    for one in want["data"].as_array().into_iter().flatten() {
        let pattern = one["pattern"].as_str().unwrap_or("");
        for i in 0..3_i64 {
            lines.push(LogRecord {
                stream: Labels::from_pairs([("test", "test")]),
                t_ns: (table::NOW_MS - i) * 1_000_000,
                line: pattern.replace("<*>", &i.to_string()),
                fields: Labels::from_pairs([("level", one["level"].as_str().unwrap_or(""))]),
            });
        }
    }
    let server = Server::new(lines, &Value::Null);
    let got = server.get("/loki/api/v1/patterns?since=1h", "{test=\"test\"}", false).await;
    let got = match got {
        Ok(got) => got,
        Err(what) => return Outcome::Failed(what),
    };
    // Those that Loki lists without samples are none here.
    let mut want = want.clone();
    for one in want["data"].as_array_mut().into_iter().flatten() {
        one["samples"] = json!([[1, 1]]);
    }
    same(&shape(&got), &shape(&want))
}

async fn tail(want: &Value) -> Outcome {
    let Ok(listener) = Listener::bind(([127, 0, 0, 1], 0).into()).await else {
        return Outcome::Failed("cannot listen".to_owned());
    };
    let lines = lines_of(&want["streams"]);
    let parses = lines.iter().any(|line| line.line.contains('='));
    let server = Server::new(Vec::new(), &Value::Null);
    let stop = CancellationToken::new();
    let address = listener.address();
    let serving = tokio::spawn(server::serve(listener, server.router.clone(), 4, stop.clone()));
    let query = if parses { "{test=\"test\"} | logfmt" } else { "{test=\"test\"}" };
    let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let url = format!("ws://{address}/loki/api/v1/tail?query={query}&start=0");
    let flags = want.get("encodingFlags").is_some();
    let outcome = tokio::time::timeout(TAIL_TIME_MAX, async {
        let got = tailed(&url, flags, &server.hub, lines).await?;
        let (mut got, mut want) = (got, want.clone());
        for message in [&mut got, &mut want] {
            message["streams"] = sorted(&message["streams"]);
            if message.get("encodingFlags").is_some() {
                message["encodingFlags"] = json!("set");
            }
            // Only slow clients lose entries.
            message.as_object_mut().map(|message| message.remove("dropped_entries"));
        }
        Ok(same(&got, &want))
    })
    .await;
    server.hub.stop();
    stop.cancel();
    drop(serving.await);
    match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(what)) => Outcome::Failed(what),
        Err(_) => Outcome::Failed("the tail did not answer".to_owned()),
    }
}

/// The first message of a tail that is open while `lines` are stored.
async fn tailed(
    url: &str,
    flags: bool,
    hub: &TailHub,
    lines: Vec<LogRecord>,
) -> Result<Value, String> {
    let mut request = url.into_client_request().map_err(|e| e.to_string())?;
    if flags {
        let flag = FLAGS.1.parse().map_err(|_| "flag is no header")?;
        request.headers_mut().insert(FLAGS.0, flag);
    }
    let (mut socket, _) =
        tokio_tungstenite::connect_async(request).await.map_err(|e| e.to_string())?;
    while !hub.has_listeners() {
        tokio::task::yield_now().await;
    }
    hub.publish(Arc::new(lines.into_iter().collect()));
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(&text).map_err(|e| e.to_string());
            }
            Some(Ok(_)) => {}
            other => return Err(format!("the tail ended: {other:?}")),
        }
    }
}

async fn legacy(want: &Value) -> Outcome {
    let mut lines = Vec::new();
    for stream in want["streams"].as_array().into_iter().flatten() {
        let Ok(matchers) = query::logql::parse_selector(stream["labels"].as_str().unwrap_or(""))
        else {
            return Outcome::Failed("cannot read the labels".to_owned());
        };
        for entry in stream["entries"].as_array().into_iter().flatten() {
            let time = entry["ts"].as_str().and_then(|ts| ts.parse::<jiff::Timestamp>().ok());
            lines.push(LogRecord {
                stream: matchers.iter().map(|m| (m.name(), m.value())).collect(),
                t_ns: time.map_or(0, |t| t.as_nanosecond() as i64),
                line: entry["line"].as_str().unwrap_or("").to_owned(),
                fields: Labels::default(),
            });
        }
    }
    let stream = lines.first().map(|line| line.stream.to_string()).unwrap_or_default();
    let server = Server::new(lines, &Value::Null);
    let path = format!("/api/prom/query?{START}&direction=forward");
    let mut got = match server.get(&path, &stream, false).await {
        Ok(got) => got,
        Err(what) => return Outcome::Failed(what),
    };
    if got["stats"].is_object() {
        got["stats"] = want["stats"].clone();
    }
    same(&got, want)
}

async fn legacy_labels(want: &Value) -> Outcome {
    let names = want["values"].as_array().cloned().unwrap_or_default();
    let stream = names.iter().filter_map(Value::as_str).map(|name| (name, "x")).collect();
    let line = LogRecord { stream, t_ns: 1, line: String::new(), fields: Labels::default() };
    let server = Server::new(vec![line], &Value::Null);
    match server.get(&format!("/api/prom/label?{START}"), "", false).await {
        Ok(got) => same(&got, want),
        Err(what) => Outcome::Failed(what),
    }
}

/// What is pushed is stored as it stands; labels that are no texts are stored as their JSON.
async fn push(body: &Value) -> Outcome {
    let server = Server::new(Vec::new(), &Value::Null);
    let request = Request::post("/loki/api/v1/push")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()));
    let (status, answer) = server.send(request).await;
    let mut wanted = Vec::new();
    for stream in body["streams"].as_array().into_iter().flatten() {
        for value in stream["values"].as_array().into_iter().flatten() {
            if !value.is_array() {
                return match status {
                    400 => Outcome::Passed,
                    _ => Outcome::Failed(format!("{status} for a line that is none: {answer}")),
                };
            }
            let pairs = stream["stream"].as_object().into_iter().flatten();
            let pairs = pairs.map(|(name, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!("{name}={text}")
            });
            let line = value[1].as_str().unwrap_or("").to_owned();
            wanted.push((pairs.collect::<BTreeSet<String>>(), line, labels(&value[2])));
        }
    }
    if status != 204 {
        return Outcome::Failed(format!("{status}: {answer}"));
    }
    let stored = server.stored.lines.lock().clone();
    // The service and the level are found by Loki, too, behind what is tested there. Times in the first year of Unix time
    // are replaced, and kept in a field.
    let got = stored.iter().map(|record| {
        let pairs = record.stream.iter().filter(|(name, _)| *name != "service_name");
        let pairs = pairs.map(|(name, value)| format!("{name}={value}"));
        (
            pairs.collect(),
            record.line.clone(),
            record.fields.without("detected_level").without("original_timestamp"),
        )
    });
    let got: Vec<(BTreeSet<String>, String, Labels)> = got.collect();
    if got == wanted {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("stored {got:?}, want {wanted:?}"))
    }
}

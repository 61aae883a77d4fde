//! Suite `prometheus-api`: every documented request of Prometheus' HTTP API against our router, the answer's shape compared
//! with the documented one. Usage: `conformance_prometheus_api DIR`, DIR with the layout of that topic.
//!
//! A case passes when our answer has status 200 and every key of the documented answer with a value of the same JSON
//! type. Answers that are grammar (`<value>`) instead of examples, and requests without an example answer, are skipped.

#![expect(clippy::print_stdout, reason = "a command line tool")]

#[expect(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/it/table.rs"]
mod table;

use std::path::Path;
use std::process::ExitCode;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::Value;
use tower::ServiceExt as _;

#[derive(Deserialize)]
struct Facts {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    request: Option<String>,
    response: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let dir = std::env::args().nth(1).unwrap_or_default();
    let path = Path::new(&dir).join("facts/http-api-examples.json");
    let facts: Facts = match std::fs::read_to_string(&path)
        .map_err(|e| e.to_string())
        .and_then(|t| serde_json::from_str(&t).map_err(|e| e.to_string()))
    {
        Ok(facts) => facts,
        Err(error) => {
            println!("cannot read {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    let router = server::router(&table::app(table::open_access()));
    let (mut passed, mut failed) = (0, 0);
    let (mut without_request, mut not_json) = (0, 0);
    for (number, case) in facts.cases.iter().enumerate() {
        let Some(request) = case.request.as_deref().and_then(parse_curl) else {
            without_request += 1;
            continue;
        };
        let Some(expected) =
            case.response.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok())
        else {
            not_json += 1;
            continue;
        };
        let (method, uri) = &request;
        let outcome = match ask(&router, method, uri).await {
            Ok(answer) => missing(&expected, &answer, "$"),
            Err(problem) => Some(problem),
        };
        match outcome {
            None => passed += 1,
            Some(problem) => {
                println!("FAIL #{number} {method} {uri}: {problem}");
                failed += 1;
            }
        }
    }
    println!("skipped {without_request}: grammar without a request");
    println!("skipped {not_json}: no example answer that is JSON");
    println!(
        "prometheus-api: {passed} passed, {failed} failed, {} skipped",
        without_request + not_json
    );
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn ask(router: &axum::Router, method: &str, uri: &str) -> Result<Value, String> {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "localhost")
        .body(Body::empty())
        .map_err(|e| e.to_string())?;
    let response = router.clone().oneshot(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let bytes = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
    if status != 200 {
        return Err(format!("status {status}: {:.80}", String::from_utf8_lossy(&bytes).trim()));
    }
    serde_json::from_slice(&bytes).map_err(|e| e.to_string())
}

/// Method, path and query of a `curl` command line.
fn parse_curl(command: &str) -> Option<(String, String)> {
    let words = split_words(command);
    let mut words = words.iter().map(String::as_str);
    if words.next() != Some("curl") {
        return None;
    }
    let (mut method, mut uri, mut query) = ("GET".to_owned(), None, Vec::new());
    while let Some(word) = words.next() {
        match word {
            "-X" => method = words.next()?.to_owned(),
            "--data-urlencode" => query.push(words.next()?.to_owned()),
            "-XPOST" => method = "POST".to_owned(),
            word if word.starts_with("http") => {
                uri = Some(word.split_once("://")?.1.split_once('/')?.1.to_owned())
            }
            _ => {}
        }
    }
    let uri = uri?;
    let (path, given) = uri.split_once('?').unwrap_or((&uri, ""));
    query.splice(0..0, given.split('&').filter(|p| !p.is_empty()).map(str::to_owned));
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    for pair in &query {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        encoded.append_pair(name, value);
    }
    Some((method, format!("/{path}?{}", encoded.finish())))
}

/// Words as a shell splits them: quotes, and backslashes at line ends.
fn split_words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in command.replace("\\\n", " ").chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if c == q => quote = None,
            (None, c) if c.is_whitespace() => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)))
            }
            _ => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// The first place where `answer` lacks something of `expected`. Keys of label sets and names in maps are data, not
/// shape: below `metric`, `labels` and their like only types are compared.
fn missing(expected: &Value, answer: &Value, at: &str) -> Option<String> {
    const DATA: [&str; 4] = ["metric", "labels", "discoveredLabels", "droppedTargetCounts"];
    match (expected, answer) {
        (Value::Object(expected), Value::Object(answer)) => {
            let last = at.rsplit('.').next().unwrap_or("");
            if DATA.contains(&last) {
                return None;
            }
            expected.iter().find_map(|(key, value)| match answer.get(key) {
                Some(ours) => missing(value, ours, &format!("{at}.{key}")),
                // A list of series: their labels are data.
                None if at.ends_with(']') && answer.contains_key("__name__") => None,
                None => Some(format!("{at}.{key} is missing")),
            })
        }
        (Value::Array(expected), Value::Array(answer)) => {
            match (expected.first(), answer.first()) {
                (Some(expected), Some(ours)) => missing(expected, ours, &format!("{at}[0]")),
                (Some(_), None) => Some(format!("{at} is empty")),
                _ => None,
            }
        }
        _ => (std::mem::discriminant(expected) != std::mem::discriminant(answer))
            .then(|| format!("{at} has another type")),
    }
}

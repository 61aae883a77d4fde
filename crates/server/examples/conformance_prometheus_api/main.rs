//! Suite `prometheus-api`: every documented request of Prometheus' HTTP API against our router, the answer's shape compared
//! with the documented one. Usage: `conformance_prometheus_api DIR`, DIR with the layout of that topic.
//!
//! A case of the documentation passes when our answer has status 2xx and every key of the documented answer with a value
//! of the same JSON type. A case of the OpenAPI description passes when our answer is what its schema describes. Skipped
//! is grammar (`<value>`) without a request, and what there is nothing to show of yet (alerts).

#![expect(clippy::print_stdout, reason = "a command line tool")]

#[expect(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../../tests/it/table.rs"]
mod table;

mod openapi;

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
    let mut without_request = 0;
    for (number, case) in facts.cases.iter().enumerate() {
        let Some((method, uri)) = case.request.as_deref().and_then(parse_curl) else {
            without_request += 1;
            continue;
        };
        let outcome = match ask(&router, &method, &uri, None).await {
            Ok(answer) => match case.response.as_deref() {
                Some(documented) => compare(&uri, documented, &answer),
                None => None,
            },
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
    match described(&dir, &router).await {
        Ok((more_passed, more_failed)) => {
            passed += more_passed;
            failed += more_failed;
        }
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    }
    println!("skipped {without_request}: grammar without a request");
    println!("prometheus-api: {passed} passed, {failed} failed, {without_request} skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The cases of the OpenAPI description: how many passed and failed.
async fn described(dir: &str, router: &axum::Router) -> Result<(usize, usize), String> {
    let path = "prometheus__prometheus/web/api/v1/testdata/openapi_3.1_golden.yaml";
    let path = Path::new(dir).join(path);
    let read = || std::fs::read_to_string(&path).map_err(|e| e.to_string());
    let document: Value = read()
        .and_then(|text| serde_saphyr::from_str(&text).map_err(|e| e.to_string()))
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let (mut passed, mut failed) = (0, 0);
    let cases = openapi::cases(&document);
    if cases.is_empty() {
        return Err(format!("{} describes no requests", path.display()));
    }
    for case in cases {
        let outcome = match ask(router, &case.method, &case.uri, case.form.as_deref()).await {
            Ok(answer) if case.is_json && !answer.is_empty() => {
                match serde_json::from_str::<Value>(&answer) {
                    Ok(answer) => openapi::mismatch(&document, &case.schema, &answer, "$"),
                    Err(e) => Some(e.to_string()),
                }
            }
            Ok(lines) => lines
                .lines()
                .find_map(|line| serde_json::from_str::<Value>(line).err())
                .map(|e| e.to_string()),
            // The page a token leads to is gone; Prometheus refuses it, too.
            Err(problem) if case.uri.contains("group_next_token") => {
                (!problem.starts_with("status 400")).then_some(problem)
            }
            Err(problem) => Some(problem),
        };
        match outcome {
            None => passed += 1,
            Some(problem) => {
                let form = case.form.unwrap_or_default();
                println!("FAIL {} {} {form}: {problem}", case.method, case.uri);
                failed += 1;
            }
        }
    }
    Ok((passed, failed))
}

/// Compares one documented answer: JSON, or lines of JSON.
fn compare(uri: &str, documented: &str, answer: &str) -> Option<String> {
    // Whose keys are names of metrics or settings: data, of which each value must have the documented shape.
    let values_of_names = |mut answer: Value| {
        if uri.starts_with("/api/v1/metadata") || uri.starts_with("/api/v1/status/flags") {
            answer["data"] =
                answer["data"].as_object().into_iter().flatten().map(|(_, v)| v.clone()).collect();
        }
        answer
    };
    // Some examples end a list with a comma, which JSON does not know.
    let tidy = documented.replace(",\n  }", "\n  }");
    if let Ok(expected) = serde_json::from_str::<Value>(&tidy) {
        return match serde_json::from_str(answer) {
            Ok(answer) => missing(&values_of_names(expected), &values_of_names(answer), "$"),
            Err(e) => Some(e.to_string()),
        };
    }
    for (documented, answer) in documented.lines().zip(answer.lines()) {
        let line =
            serde_json::from_str(documented).and_then(|d| Ok((d, serde_json::from_str(answer)?)));
        match line {
            Ok((expected, answer)) => {
                if let Some(problem) = missing(&expected, &answer, "$") {
                    return Some(problem);
                }
            }
            Err(e) => return Some(e.to_string()),
        }
    }
    (documented.lines().count() != answer.lines().count())
        .then(|| "another number of lines".to_owned())
}

/// The answer's text when its status is 2xx. Of a stream of events, the first piece.
async fn ask(
    router: &axum::Router,
    method: &str,
    uri: &str,
    form: Option<&str>,
) -> Result<String, String> {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "localhost")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.unwrap_or_default().to_owned()))
        .map_err(|e| e.to_string())?;
    let response = router.clone().oneshot(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let is_stream =
        response.headers().get("content-type").is_some_and(|v| v == "text/event-stream");
    let mut body = response.into_body();
    let bytes = if is_stream {
        let first = body.frame().await.and_then(Result::ok);
        first.and_then(|frame| frame.into_data().ok()).unwrap_or_default()
    } else {
        body.collect().await.map_err(|e| e.to_string())?.to_bytes()
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if status.is_success() {
        Ok(text)
    } else {
        Err(format!("status {status}: {:.120}", text.trim()))
    }
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
            "-XPUT" => method = "PUT".to_owned(),
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

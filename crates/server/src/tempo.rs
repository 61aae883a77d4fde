//! Tempo's HTTP API, as Grafana's Tempo data source asks it: search, metrics and traces by id here, tags in `tempo/tags.rs`.
//!
//! Source: Tempo documentation, "HTTP API". Does not own: TraceQL (`query`), how traces are written (`ingest`).

mod json;
pub(crate) mod tags;

use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ingest::otlp::traces::{IdForm, json_pieces, protobuf_bytes, to_protobuf};
use ingest::protobuf::Writer;
use model::{Budget, Error, ErrorKind, Result, TimeRange, Trace};
use query::traceql::{self, Query, Search, Times};

use crate::paid_body::{PaidBody, Pieces};
use crate::params::{Params, duration_ms, loki_time_ns};
use crate::tenants::Reader;
use crate::{App, assets, error, jaeger, streamed};

const HOUR_NS: i64 = 3_600_000_000_000;
const TRACES_DEFAULT: usize = 20;
/// Traces of one answer.
const TRACES_MAX: usize = 10_000;
const SPANS_PER_SET_DEFAULT: usize = 3;
/// Exemplars of one answer, and unless it is asked for fewer.
const EXEMPLARS_MAX: usize = 100;
/// The version of Tempo whose API this is: clients choose by it what they ask.
const API_VERSION: &str = "2.8.0";

pub(crate) async fn echo() -> Response {
    let mut response = Response::new(Body::from("echo"));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

pub(crate) async fn build_info() -> Response {
    let revision = option_env!("TAFFRAIL_REVISION").unwrap_or("unknown");
    let body = serde_json::json!({
        "version": API_VERSION,
        "revision": revision,
        "branch": "main",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "Taffrail",
    });
    error::json(StatusCode::OK, body.to_string())
}

/// Tempo's errors are plain text.
fn fail(error: &Error) -> Response {
    assets::plain(error::status(error.kind()), &error::public_message(error))
}

fn respond_in_pieces(answer: Result<Pieces>) -> Response {
    match answer {
        Ok(body) => body.respond(),
        Err(e) => fail(&e),
    }
}

fn respond(answer: Result<String>) -> Response {
    match answer {
        Ok(body) => error::json(StatusCode::OK, body),
        Err(e) => fail(&e),
    }
}

/// Parses TraceQL; mistakes are named with their line and column.
pub(crate) fn parse(text: &str) -> Result<Query> {
    traceql::parse(text).map_err(|error| match error.span() {
        None => error,
        Some((start, _)) => {
            let (line, column) = ::query::promql::position(text, start);
            error.context(format!("parse error at line {line}, col {column}"))
        }
    })
}

/// `start` and `end`, all time by default: seconds, nanoseconds or RFC 3339.
pub(crate) fn range(params: &Params) -> Result<TimeRange> {
    let start_ns = time(params, "start")?.unwrap_or(i64::MIN);
    let end_ns = time(params, "end")?.unwrap_or(i64::MAX);
    if end_ns < start_ns {
        return Err(Error::invalid("invalid parameter \"end\": before \"start\""));
    }
    Ok(TimeRange::new(start_ns, end_ns))
}

pub(crate) fn time(params: &Params, name: &str) -> Result<Option<i64>> {
    params
        .non_empty(name)
        .map(|text| {
            loki_time_ns(text).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid parameter {name:?}: {text:?} is neither a Unix time nor RFC 3339"
                ))
            })
        })
        .transpose()
}

/// A duration in nanoseconds.
pub(crate) fn duration(params: &Params, name: &str) -> Result<Option<i64>> {
    params
        .non_empty(name)
        .map(|text| {
            let go_ns = model::go_duration_ns(text).ok().map(|ns| ns as i64);
            go_ns
                .or_else(|| duration_ms(text)?.checked_mul(1_000_000))
                .filter(|ns| *ns >= 0)
                .ok_or_else(|| {
                    Error::invalid(format!(
                        "invalid parameter {name:?}: {text:?} is not a duration of 0 or more"
                    ))
                })
        })
        .transpose()
}

pub(crate) async fn search(app: Reader, params: Params) -> Response {
    respond_in_pieces(found(&app, &params).await)
}

async fn found(app: &Reader, params: &Params) -> Result<Pieces> {
    let text = match params.non_empty("q") {
        Some(text) => text.to_owned(),
        None => tags::selection(params.get("tags"))?,
    };
    let query = parse(&text)?;
    let limit = params.count("limit")?.unwrap_or(TRACES_DEFAULT);
    if !(1..=TRACES_MAX).contains(&limit) {
        return Err(Error::invalid(format!(
            "invalid parameter \"limit\": {limit} is not between 1 and {TRACES_MAX}"
        )));
    }
    let in_ns = |name: &str| Ok::<_, Error>(duration(params, name)?.map(i64::unsigned_abs));
    let search = Search {
        range: range(params)?,
        limit,
        spans_per_set: params.count("spss")?.unwrap_or(SPANS_PER_SET_DEFAULT),
        duration_ns_min: in_ns("minDuration")?,
        duration_ns_max: in_ns("maxDuration")?,
    };
    let source = app.traces.clone();
    let work = move |budget: &Budget| {
        budget.allow_leaving_out();
        let traces = traceql::search(source.as_ref(), &query, &search, budget)?;
        let mut left_out = budget.left_out();
        if traces.is_empty() && !left_out.is_empty() {
            return Err(left_out.swap_remove(0).1);
        }
        let mut body = PaidBody::new(budget);
        json::search(&mut body, &traces, &left_out, budget.samples())?;
        Ok(body.finish())
    };
    app.queries.run(None, work).await
}

pub(crate) async fn query_range(app: Reader, params: Params) -> Response {
    respond_in_pieces(series(&app, &params, false).await)
}

pub(crate) async fn query(app: Reader, params: Params) -> Response {
    respond_in_pieces(series(&app, &params, true).await)
}

async fn series(app: &Reader, params: &Params, is_instant: bool) -> Result<Pieces> {
    let text = params.non_empty("q").unwrap_or_else(|| params.get("query"));
    let query = parse(text)?;
    let times = times(app, params, is_instant)?;
    let source = app.traces.clone();
    let work = move |budget: &Budget| {
        let series = traceql::metrics(source.as_ref(), &query, &times, budget)?;
        let mut body = PaidBody::new(budget);
        json::series(&mut body, &series, is_instant, budget.samples())?;
        Ok(body.finish())
    };
    app.queries.run(None, work).await
}

/// The last hour by default, or what `since` says, in about 100 steps of whole seconds.
fn times(app: &App, params: &Params, is_instant: bool) -> Result<Times> {
    let end_ns = time(params, "end")?.unwrap_or_else(|| app.clock.now_ns());
    let since_ns = duration(params, "since")?.unwrap_or(HOUR_NS);
    let start_ns = time(params, "start")?.unwrap_or_else(|| end_ns.saturating_sub(since_ns));
    let step_ns = match duration(params, "step")?.filter(|_| !is_instant) {
        Some(0) => return Err(Error::invalid("invalid parameter \"step\": 0 is no step")),
        Some(step_ns) => step_ns,
        None if is_instant => 0,
        None => {
            let second = 1_000_000_000;
            (end_ns.saturating_sub(start_ns) / 100 / second).max(1) * second
        }
    };
    let exemplars = params.count("exemplars")?.unwrap_or(EXEMPLARS_MAX).min(EXEMPLARS_MAX);
    Ok(Times { start_ns, end_ns, step_ns, exemplars })
}

/// `GET /api/traces/{id}` is Jaeger's call and Tempo's: the latter's clients want protobuf.
pub(crate) async fn trace_or_jaeger(
    app: Reader,
    id: Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    if !wants_protobuf(&headers) {
        return jaeger::trace(app, id, params).await;
    }
    match trace(&app, &id, in_protobuf).await {
        Ok(answer) => protobuf(answer),
        Err(e) => fail(&e),
    }
}

pub(crate) async fn trace_by_id(app: Reader, id: Path<String>, headers: HeaderMap) -> Response {
    if wants_protobuf(&headers) {
        let wrapped = |trace, budget: &Budget| {
            let trace = in_protobuf(trace, budget)?;
            budget.charge_bytes(trace.len() as u64)?;
            let mut answer = Writer::new();
            answer.always_bytes(1, &trace);
            Ok(answer.finish())
        };
        return match trace(&app, &id, wrapped).await {
            Ok(answer) => protobuf(answer),
            Err(e) => fail(&e),
        };
    }
    let in_json = |trace: Trace, _: &Budget| {
        Ok(json_pieces(trace.groups, IdForm::Base64, "{\"trace\":", ",\"metrics\":{}}"))
    };
    match trace(&app, &id, in_json).await {
        Ok(pieces) => streamed::respond(pieces, "application/json"),
        Err(e) => fail(&e),
    }
}

/// A message's length stands before it: it cannot be made while it is sent.
fn in_protobuf(trace: Trace, budget: &Budget) -> Result<Vec<u8>> {
    budget.charge_bytes(protobuf_bytes(&trace.groups) as u64)?;
    Ok(to_protobuf(&trace.groups))
}

/// What `finish` makes of a trace.
async fn trace<T: Send + 'static>(
    app: &Reader,
    id: &str,
    finish: impl FnOnce(Trace, &Budget) -> Result<T> + Send + 'static,
) -> Result<T> {
    let id = trace_id(id)?;
    let source = app.traces.clone();
    let work = move |budget: &Budget| {
        let trace = source.trace(id, budget)?;
        finish(trace.ok_or_else(|| Error::new(ErrorKind::NotFound, "trace not found"))?, budget)
    };
    app.queries.run(None, work).await
}

/// A trace's id: up to 32 hexadecimal digits.
pub(crate) fn trace_id(text: &str) -> Result<u128> {
    let is_sound = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let id = is_sound.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    id.ok_or_else(|| {
        Error::invalid(format!("trace id {text:.64?} is not 1 to 32 hexadecimal digits"))
    })
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim() == "application/protobuf")
}

fn protobuf(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    let kind = HeaderValue::from_static("application/protobuf");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

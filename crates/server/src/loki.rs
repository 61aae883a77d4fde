//! Loki's HTTP API: queries, labels, series here; what is beside them in the modules.
//!
//! Source: Loki documentation, "HTTP API". Times of ranges are `[start, end)`.

pub(crate) mod deletes;
pub(crate) mod fields;
pub(crate) mod json;
pub(crate) mod legacy;
pub(crate) mod patterns;
pub(crate) mod process;
pub(crate) mod volume;

use std::collections::BTreeSet;

use axum::extract::Path;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use model::{Error, Matcher, Order, Result, TimeRange};
use query::logql::{self, LogQuery};

use self::json::Encoding;
use crate::params::{Params, duration_ms, loki_time_ns};
use crate::tenants::Reader;
use crate::{App, error};

const HOUR_NS: i64 = 3_600_000_000_000;
const ROWS_DEFAULT: usize = 100;
/// Loki's bound on points per series.
const POINTS_MAX: i64 = 11_000;
/// How clients ask for more in an answer than Loki's first versions had.
const ENCODING_FLAGS: &str = "x-loki-response-encoding-flags";

pub(crate) async fn query(app: Reader, headers: HeaderMap, params: Params) -> Response {
    respond(instant(&app, &params, encoding(&headers)).await)
}

async fn instant(app: &Reader, params: &Params, encoding: Encoding) -> Result<String> {
    let at_ns = time(params, "time")?.unwrap_or_else(|| app.clock.now_ns());
    let query = LogQuery {
        text: params.get("query").to_owned(),
        start_ns: at_ns,
        end_ns: at_ns,
        step_ns: 0,
        limit: limit(app, params)?,
        order: order(params)?,
        interval_ns: 0,
        categorize: encoding.categorize,
    };
    let parsed = logql::parse(&query.text).map_err(|e| positioned(e, &query.text))?;
    if parsed.is_log_query() {
        return Err(Error::invalid(
            "log queries are not supported as an instant query type, please change your query to a range query type",
        ));
    }
    evaluate(app, query, encoding).await
}

pub(crate) async fn query_range(app: Reader, headers: HeaderMap, params: Params) -> Response {
    respond(range(&app, &params, encoding(&headers)).await)
}

async fn range(app: &Reader, params: &Params, encoding: Encoding) -> Result<String> {
    let query = range_query(app, params, encoding.categorize)?;
    evaluate(app, query, encoding).await
}

/// The query that the parameters of a range query ask for.
fn range_query(app: &App, params: &Params, categorize: bool) -> Result<LogQuery> {
    let (start_ns, end_ns) = bounds(app, params, HOUR_NS)?;
    let step_ns = step(params, start_ns, end_ns)?;
    let interval_ns = match params.non_empty("interval") {
        None => 0,
        Some(text) => duration_ms(text)
            .and_then(|ms| ms.checked_mul(1_000_000))
            .filter(|ns| *ns >= 0)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "could not parse \"interval\" parameter: {text:?} is not a duration of 0 or more"
                ))
            })?,
    };
    Ok(LogQuery {
        text: params.get("query").to_owned(),
        start_ns,
        end_ns,
        step_ns,
        limit: limit(app, params)?,
        order: order(params)?,
        interval_ns,
        categorize,
    })
}

/// The distance of steps from `step`, by default such that there are about 250, at least a second apart.
fn step(params: &Params, start_ns: i64, end_ns: i64) -> Result<i64> {
    let span_ns = end_ns.saturating_sub(start_ns);
    let step_ns = match params.non_empty("step") {
        Some(text) => duration_ms(text)
            .and_then(|ms| ms.checked_mul(1_000_000))
            .filter(|ns| *ns > 0)
            .ok_or_else(|| Error::invalid(format!("zero or negative query resolution step widths are not accepted. Try a positive integer: {text:?}")))?,
        None => (span_ns / 250 / 1_000_000_000).max(1) * 1_000_000_000,
    };
    if span_ns / step_ns > POINTS_MAX {
        return Err(Error::invalid(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ));
    }
    Ok(step_ns)
}

/// What the client wants beyond Loki's first form of entries.
pub(crate) fn encoding(headers: &HeaderMap) -> Encoding {
    let flags = headers.get_all(ENCODING_FLAGS).iter().filter_map(|v| v.to_str().ok());
    flags
        .flat_map(|v| v.split(','))
        .fold(Encoding::default(), |encoding, flag| encoding.with(flag.trim()))
}

async fn evaluate(app: &Reader, query: LogQuery, encoding: Encoding) -> Result<String> {
    let (answer, took_ns) = evaluated(app, query).await?;
    Ok(json::query_answer(&answer, encoding, took_ns))
}

/// The result of a query and how long it took, in nanoseconds.
async fn evaluated(app: &Reader, query: LogQuery) -> Result<(logql::Evaluated, i64)> {
    let (source, clock) = (app.logs.clone(), app.clock.clone());
    app.queries
        .run(None, move |budget| {
            let started_ns = clock.monotonic_ns();
            let answer = logql::evaluate(source.as_ref(), &query, budget)
                .map_err(|e| positioned(e, &query.text))?;
            Ok((answer, clock.monotonic_ns() - started_ns))
        })
        .await
}

/// The query laid out for reading; Loki's answer to a malformed one differs from that of its other calls.
pub(crate) async fn format_query(params: Params) -> Response {
    let text = params.get("query");
    match logql::prettify(text) {
        Ok(pretty) => {
            let body = serde_json::json!({"status": "success", "data": pretty});
            error::json(StatusCode::OK, body.to_string())
        }
        Err(e) => {
            let message = positioned(e, text).message().to_owned();
            let body = serde_json::json!({"status": "invalid-query", "error": message});
            error::json(StatusCode::BAD_REQUEST, body.to_string())
        }
    }
}

/// Loki words parse errors as `parse error at line 1, col 5: …`.
pub(crate) fn positioned(error: Error, text: &str) -> Error {
    let Some((start, _)) = error.span() else { return error };
    let (line, column) = query::promql::position(text, start);
    error.context(format!("parse error at line {line}, col {column}"))
}

pub(crate) async fn labels(app: Reader, params: Params) -> Response {
    let answer = async {
        let streams = streams(&app, &params, selector(&params)?).await?;
        let names: BTreeSet<&str> =
            streams.iter().flat_map(|s| s.iter().map(|(name, _)| name)).collect();
        Ok(json::string_list(names))
    };
    respond(answer.await)
}

pub(crate) async fn label_values(
    app: Reader,
    Path(name): Path<String>,
    params: Params,
) -> Response {
    let answer = async {
        let streams = streams(&app, &params, selector(&params)?).await?;
        let values: BTreeSet<&str> = streams.iter().filter_map(|s| s.get(&name)).collect();
        Ok(json::string_list(values))
    };
    respond(answer.await)
}

pub(crate) async fn series(app: Reader, params: Params) -> Response {
    let answer = async {
        let selectors = params
            .all("match[]")
            .chain(params.all("match"))
            .map(parse_selector)
            .collect::<Result<Vec<_>>>()?;
        Ok(json::series_list(&streams(&app, &params, selectors).await?))
    };
    respond(answer.await)
}

/// Streams with rows in the asked range; six hours back by default, as Loki has it for labels.
async fn streams(
    app: &Reader,
    params: &Params,
    selectors: Vec<Vec<Matcher>>,
) -> Result<Vec<model::Labels>> {
    let (start_ns, end_ns) = bounds(app, params, 6 * HOUR_NS)?;
    let source = app.logs.clone();
    app.queries
        .run(None, move |budget| {
            source.streams(&selectors, TimeRange::new(start_ns, end_ns), budget)
        })
        .await
}

fn selector(params: &Params) -> Result<Vec<Vec<Matcher>>> {
    params.non_empty("query").map(parse_selector).into_iter().collect()
}

fn parse_selector(text: &str) -> Result<Vec<Matcher>> {
    logql::parse_selector(text).map_err(|e| positioned(e, text))
}

pub(crate) fn respond(answer: Result<String>) -> Response {
    match answer {
        Ok(body) => error::json(StatusCode::OK, body),
        Err(e) => error::loki(&e),
    }
}

fn time(params: &Params, name: &str) -> Result<Option<i64>> {
    params
        .non_empty(name)
        .map(|text| {
            loki_time_ns(text).ok_or_else(|| {
                Error::invalid(format!(
                    "could not parse {name:?} parameter: {text:?} is not a time"
                ))
            })
        })
        .transpose()
}

/// `[start, end)` from `start`, `end` and `since`.
fn bounds(app: &App, params: &Params, default_ns: i64) -> Result<(i64, i64)> {
    let end_ns = time(params, "end")?.unwrap_or_else(|| app.clock.now_ns());
    let since_ns = match params.non_empty("since") {
        Some(text) => {
            duration_ms(text).and_then(|ms| ms.checked_mul(1_000_000)).ok_or_else(|| {
                Error::invalid(format!(
                    "could not parse \"since\" parameter: {text:?} is not a duration"
                ))
            })?
        }
        None => default_ns,
    };
    let since_from_ns = end_ns.min(app.clock.now_ns());
    let start_ns = time(params, "start")?.unwrap_or(since_from_ns.saturating_sub(since_ns));
    if end_ns < start_ns {
        return Err(Error::invalid("end timestamp must not be before or equal to start time"));
    }
    Ok((start_ns, end_ns))
}

pub(crate) fn limit(app: &App, params: &Params) -> Result<usize> {
    let limit = params.count("limit")?.unwrap_or(ROWS_DEFAULT);
    let max = app.config.log_rows_max;
    if limit == 0 {
        return Err(Error::invalid("limit must be a positive value"));
    }
    if limit > max {
        return Err(Error::invalid(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {max})"
        )));
    }
    Ok(limit)
}

fn order(params: &Params) -> Result<Order> {
    match params.get("direction").to_ascii_lowercase().as_str() {
        "" | "backward" => Ok(Order::Backward),
        "forward" => Ok(Order::Forward),
        other => {
            Err(Error::invalid(format!("invalid direction {other:?}; it is forward or backward")))
        }
    }
}

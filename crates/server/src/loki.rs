//! Loki's HTTP API: queries, labels, series.
//!
//! Source: Loki documentation, "HTTP API". Times of ranges are `[start, end)`.

pub(crate) mod json;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use model::{Error, Matcher, Order, Result, TimeRange};
use query::logql::{self, LogQuery};

use crate::params::{Params, duration_ms, loki_time_ns};
use crate::{App, error};

const HOUR_NS: i64 = 3_600_000_000_000;
const ROWS_DEFAULT: usize = 100;
/// Loki's bound on points per series.
const POINTS_MAX: i64 = 11_000;

pub(crate) async fn query(State(app): State<Arc<App>>, params: Params) -> Response {
    respond(instant(&app, &params).await)
}

async fn instant(app: &Arc<App>, params: &Params) -> Result<String> {
    let at_ns = time(params, "time")?.unwrap_or_else(|| app.clock.now_ns());
    // Loki looks one hour back when a log query is asked as an instant one.
    let query = LogQuery {
        text: params.get("query").to_owned(),
        start_ns: at_ns.saturating_sub(HOUR_NS),
        end_ns: at_ns,
        step_ns: 0,
        limit: limit(app, params)?,
        order: order(params)?,
    };
    evaluate(app, query).await
}

pub(crate) async fn query_range(State(app): State<Arc<App>>, params: Params) -> Response {
    respond(range(&app, &params).await)
}

async fn range(app: &Arc<App>, params: &Params) -> Result<String> {
    let (start_ns, end_ns) = bounds(app, params, HOUR_NS)?;
    let step_ns = match params.non_empty("step") {
        Some(text) => duration_ms(text)
            .and_then(|ms| ms.checked_mul(1_000_000))
            .filter(|ns| *ns > 0)
            .ok_or_else(|| Error::invalid(format!("zero or negative query resolution step widths are not accepted. Try a positive integer: {text:?}")))?,
        // About 250 points, at least a second apart.
        None => ((end_ns - start_ns) / 250 / 1_000_000_000).max(1) * 1_000_000_000,
    };
    if (end_ns - start_ns) / step_ns > POINTS_MAX {
        return Err(Error::invalid(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ));
    }
    let query = LogQuery {
        text: params.get("query").to_owned(),
        start_ns,
        end_ns,
        step_ns,
        limit: limit(app, params)?,
        order: order(params)?,
    };
    evaluate(app, query).await
}

async fn evaluate(app: &Arc<App>, query: LogQuery) -> Result<String> {
    let (source, clock) = (app.logs.clone(), app.clock.clone());
    app.queries
        .run(None, move |budget| {
            let started_ns = clock.monotonic_ns();
            let answer = logql::evaluate(source.as_ref(), &query, budget)
                .map_err(|e| positioned(e, &query.text))?;
            Ok(json::query_answer(&answer, clock.monotonic_ns() - started_ns))
        })
        .await
}

/// Loki words parse errors as `parse error at line 1, col 5: …`.
pub(crate) fn positioned(error: Error, text: &str) -> Error {
    let Some((start, _)) = error.span() else { return error };
    let (line, column) = query::promql::position(text, start);
    error.context(format!("parse error at line {line}, col {column}"))
}

pub(crate) async fn labels(State(app): State<Arc<App>>, params: Params) -> Response {
    let answer = async {
        let streams = streams(&app, &params, selector(&params)?).await?;
        let names: BTreeSet<&str> =
            streams.iter().flat_map(|s| s.iter().map(|(name, _)| name)).collect();
        Ok(json::string_list(names))
    };
    respond(answer.await)
}

pub(crate) async fn label_values(
    State(app): State<Arc<App>>,
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

pub(crate) async fn series(State(app): State<Arc<App>>, params: Params) -> Response {
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
    app: &Arc<App>,
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

fn respond(answer: Result<String>) -> Response {
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
    let start_ns = time(params, "start")?.unwrap_or(end_ns.saturating_sub(since_ns));
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

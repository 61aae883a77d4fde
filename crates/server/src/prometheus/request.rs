//! Queries: `query`, `query_range`, `query_exemplars`, `format_query`, `parse_query`.

use std::sync::Arc;

use ::query::promql::{self, Evaluated, Options, PromQuery, Value};
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Error, ErrorKind, Result, TimeRange};

use super::statistics::{Statistics, Wanted};
use super::{json, limit, parameter, positioned, required_time, respond, time, time_range};
use crate::params::{Params, duration_ms};
use crate::{App, error, streamed};

/// Prometheus' bound on points per series of a range query.
const POINTS_MAX: i64 = 11_000;

pub(crate) async fn query(State(app): State<Arc<App>>, params: Params) -> Response {
    answer(instant(&app, &params).await)
}

async fn instant(app: &Arc<App>, params: &Params) -> Result<Outcome> {
    let limit = limit(params)?;
    let at_ms = time(params, "time")?.unwrap_or_else(|| app.clock.now_ms());
    let timeout_ms = timeout(params)?;
    let query = promql_query(app, params, at_ms, at_ms, 0)?;
    evaluate(app, params, query, limit, timeout_ms).await
}

pub(crate) async fn query_range(State(app): State<Arc<App>>, params: Params) -> Response {
    answer(range(&app, &params).await)
}

async fn range(app: &Arc<App>, params: &Params) -> Result<Outcome> {
    let limit = limit(params)?;
    let start_ms = required_time(params, "start")?;
    let end_ms = required_time(params, "end")?;
    if end_ms < start_ms {
        return Err(parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = duration(params.get("step")).map_err(|why| parameter("step", &why))?;
    if step_ms <= 0 {
        return Err(parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end_ms.saturating_sub(start_ms) / step_ms > POINTS_MAX {
        return Err(Error::invalid(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let timeout_ms = timeout(params)?;
    let query = promql_query(app, params, start_ms, end_ms, step_ms)?;
    evaluate(app, params, query, limit, timeout_ms).await
}

fn timeout(params: &Params) -> Result<Option<i64>> {
    let timeout = params.non_empty("timeout").map(duration).transpose();
    timeout.map_err(|why| parameter("timeout", &why))
}

/// Milliseconds, or Prometheus' words for what is none.
fn duration(text: &str) -> std::result::Result<i64, String> {
    duration_ms(text).ok_or_else(|| {
        let overflow = if text.parse::<f64>().is_ok_and(|n| !n.is_nan()) {
            ". It overflows int64"
        } else {
            ""
        };
        format!("cannot parse {text:?} to a valid duration{overflow}")
    })
}

fn promql_query(
    app: &App,
    params: &Params,
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
) -> Result<PromQuery> {
    let lookback =
        params.non_empty("lookback_delta").map(duration).transpose().map_err(|why| {
            Error::invalid(format!("error parsing lookback delta duration: {why}"))
        })?;
    // As in Prometheus, what is not above zero means the configured one.
    let lookback_ms = lookback.filter(|ms| *ms > 0).unwrap_or(app.config.lookback_ms);
    Ok(PromQuery { text: params.get("query").to_owned(), start_ms, end_ms, step_ms, lookback_ms })
}

/// A query that was evaluated, or what its data made impossible.
type Outcome = std::result::Result<Answer, Error>;

struct Answer {
    evaluated: Evaluated,
    statistics: Option<Statistics>,
}

async fn evaluate(
    app: &Arc<App>,
    params: &Params,
    query: PromQuery,
    limit: usize,
    timeout_ms: Option<i64>,
) -> Result<Outcome> {
    let wanted = Wanted::of(params.get("stats"));
    let (source, clock) = (app.metrics.clone(), app.clock.clone());
    let options = Options {
        experimental: app.config.promql_experimental,
        subquery_step_ms: app.config.evaluation_interval_ms,
    };
    let asked_ns = clock.monotonic_ns();
    app.queries
        .run(timeout_ms, move |budget| {
            let started_ns = clock.monotonic_ns();
            // Parsed first of all, so that errors of the text are told from those of its evaluation by their place.
            promql::parse(&query.text).map_err(|e| parameter_of_query(e, &query.text))?;
            let parsed_ns = clock.monotonic_ns();
            let mut evaluated = match promql::evaluate(source.as_ref(), &query, &options, budget) {
                Ok(evaluated) => evaluated,
                Err(e) if is_execution_error(&e) => return Ok(Err(e)),
                Err(e) => return Err(parameter_of_query(e, &query.text)),
            };
            let statistics = wanted.is_some().then(|| Statistics {
                queue_ns: started_ns - asked_ns,
                preparation_ns: parsed_ns - started_ns,
                evaluation_ns: clock.monotonic_ns() - parsed_ns,
                samples: budget.samples(),
            });
            if truncate(&mut evaluated.value, limit) {
                evaluated.warnings.push(json::TRUNCATED.to_owned());
            }
            evaluated.warnings.extend(wanted.and_then(Wanted::warning));
            Ok(Ok(Answer { evaluated, statistics }))
        })
        .await
}

/// Cuts a vector or matrix to `limit` series; 0 means all. Whether there were more.
fn truncate(value: &mut Value, limit: usize) -> bool {
    let keep = if limit == 0 { usize::MAX } else { limit };
    match value {
        Value::Vector(samples) => {
            let cut = samples.len() > keep;
            samples.truncate(keep);
            cut
        }
        Value::Matrix(series) => {
            let cut = series.len() > keep;
            series.truncate(keep);
            cut
        }
        Value::Scalar(..) | Value::String(..) => false,
    }
}

/// Whether the query was sound and its evaluation failed. Parse errors point into the text; the one other error about
/// the text alone is that of the result's type.
fn is_execution_error(error: &Error) -> bool {
    error.kind() == ErrorKind::Invalid
        && error.span().is_none()
        && !error.message().starts_with("invalid expression type")
}

/// `invalid parameter "query": 1:5: parse error: …`; other errors as they are.
fn parameter_of_query(error: Error, text: &str) -> Error {
    let is_about_text = error.kind() == ErrorKind::Invalid;
    let error = positioned(error, text);
    if is_about_text { error.context("invalid parameter \"query\"") } else { error }
}

fn answer(outcome: Result<Outcome>) -> Response {
    let Answer { evaluated, statistics } = match outcome {
        Ok(Ok(answer)) => answer,
        Ok(Err(e)) => return error::prometheus_execution(&e),
        Err(e) => return error::prometheus(&e),
    };
    let mut tail = String::new();
    if let Some(statistics) = statistics {
        tail.push_str(",\"stats\":");
        tail.push_str(&statistics.to_json().to_string());
    }
    tail.push('}');
    json::notes(&mut tail, &evaluated.warnings, &evaluated.infos);
    tail.push('}');
    let mut head = String::from("{\"status\":\"success\",\"data\":");
    match evaluated.value {
        Value::Vector(samples) => {
            head.push_str(json::VECTOR_HEAD);
            streamed::list(head, samples, json::sample, tail)
        }
        Value::Matrix(series) => {
            head.push_str(json::MATRIX_HEAD);
            streamed::list(head, series, json::series, tail)
        }
        value => {
            json::typed_result(&mut head, &value);
            head.push_str(&tail);
            error::json(StatusCode::OK, head)
        }
    }
}

pub(crate) async fn format_query(params: Params) -> Response {
    let text = params.get("query");
    respond(promql::parse(text).map_err(|e| parameter_of_query(e, text)).map(|expression| {
        let mut out = String::from("{\"status\":\"success\",\"data\":");
        json::string(&mut out, &promql::format(&expression));
        out.push('}');
        out
    }))
}

pub(crate) async fn parse_query(params: Params) -> Response {
    let text = params.get("query");
    respond(
        promql::parse(text)
            .map_err(|e| parameter_of_query(e, text))
            .map(|expression| json::success(&promql::tree(&expression))),
    )
}

pub(crate) async fn query_exemplars(State(app): State<Arc<App>>, params: Params) -> Response {
    match exemplars(&app, &params).await {
        Ok(Some(response)) => response,
        // A query without selectors has nothing to ask; Prometheus answers without content.
        Ok(None) => error::empty(StatusCode::NO_CONTENT),
        Err(e) => error::prometheus(&e),
    }
}

async fn exemplars(app: &Arc<App>, params: &Params) -> Result<Option<Response>> {
    let range: TimeRange = time_range(params, "end timestamp must not be before start timestamp")?;
    let text = params.get("query");
    let expression = promql::parse(text).map_err(|e| positioned(e, text))?;
    let selectors: Vec<Vec<model::Matcher>> =
        promql::selectors(&expression).into_iter().map(<[_]>::to_vec).collect();
    if selectors.is_empty() {
        return Ok(None);
    }
    let source = app.metrics.clone();
    let found =
        app.queries.run(None, move |budget| source.exemplars(&selectors, range, budget)).await?;
    let head = String::from("{\"status\":\"success\",\"data\":");
    Ok(Some(streamed::list(head, found, json::exemplars, String::from("}"))))
}

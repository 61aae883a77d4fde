//! Prometheus' HTTP API v1: queries, labels, series, metadata, targets, build information.
//!
//! Source: Prometheus documentation, "HTTP API".

pub(crate) mod json;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use model::{Error, ErrorKind, Matcher, Result, TimeRange};
use query::promql::{self, Evaluated, Options, PromQuery};

use crate::params::{Params, duration_ms, prometheus_time_ms};
use crate::{App, error};

/// Prometheus' bound on points per series of a range query.
const POINTS_MAX: i64 = 11_000;

pub(crate) async fn query(State(app): State<Arc<App>>, params: Params) -> Response {
    respond_query(instant(&app, &params).await)
}

async fn instant(app: &Arc<App>, params: &Params) -> Result<Outcome> {
    let at_ms = time(params, "time")?.unwrap_or_else(|| app.clock.now_ms());
    let query = promql_query(app, params, at_ms, at_ms, 0)?;
    evaluate(app, params, query).await
}

pub(crate) async fn query_range(State(app): State<Arc<App>>, params: Params) -> Response {
    respond_query(range(&app, &params).await)
}

async fn range(app: &Arc<App>, params: &Params) -> Result<Outcome> {
    let start_ms = required_time(params, "start")?;
    let end_ms = required_time(params, "end")?;
    if end_ms < start_ms {
        return Err(Error::invalid(
            "invalid parameter \"end\": end timestamp must not be before start time",
        ));
    }
    let step = params.get("step");
    let step_ms = duration_ms(step).ok_or_else(|| {
        Error::invalid(format!(
            "invalid parameter \"step\": cannot parse {step:?} to a valid duration"
        ))
    })?;
    if step_ms <= 0 {
        return Err(Error::invalid(
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if (end_ms - start_ms) / step_ms > POINTS_MAX {
        return Err(Error::invalid(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let query = promql_query(app, params, start_ms, end_ms, step_ms)?;
    evaluate(app, params, query).await
}

fn promql_query(
    app: &App,
    params: &Params,
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
) -> Result<PromQuery> {
    let lookback_ms = match params.non_empty("lookback_delta") {
        Some(text) => duration_ms(text).filter(|ms| *ms > 0).ok_or_else(|| {
            Error::invalid(format!(
                "invalid parameter \"lookback_delta\": cannot parse {text:?} to a valid duration"
            ))
        })?,
        None => app.config.lookback_ms,
    };
    Ok(PromQuery { text: params.get("query").to_owned(), start_ms, end_ms, step_ms, lookback_ms })
}

/// The body of a query that was evaluated, or what its data made impossible.
type Outcome = std::result::Result<String, Error>;

async fn evaluate(app: &Arc<App>, params: &Params, query: PromQuery) -> Result<Outcome> {
    let timeout_ms = match params.non_empty("timeout") {
        Some(text) => Some(duration_ms(text).ok_or_else(|| {
            Error::invalid(format!(
                "invalid parameter \"timeout\": cannot parse {text:?} to a valid duration"
            ))
        })?),
        None => None,
    };
    let source = app.metrics.clone();
    let options = Options {
        experimental: app.config.promql_experimental,
        subquery_step_ms: app.config.evaluation_interval_ms,
    };
    app.queries
        .run(timeout_ms, move |budget| {
            // The range query's form for a point in time is a step of 0; the JSON differs, the evaluation does not.
            match promql::evaluate(source.as_ref(), &query, &options, budget) {
                Ok(Evaluated { value, warnings, infos }) => {
                    Ok(Ok(json::query_answer(&value, &warnings, &infos)))
                }
                Err(e) if is_execution_error(&e) => Ok(Err(e)),
                Err(e) => Err(positioned(e, &query.text)),
            }
        })
        .await
}

/// Whether the query was sound and its evaluation failed. Parse errors point into the text; the one other error about
/// the text alone is that of the result's type.
fn is_execution_error(error: &Error) -> bool {
    error.kind() == ErrorKind::Invalid
        && error.span().is_none()
        && !error.message().starts_with("invalid expression type")
}

/// Prometheus words parse errors as `invalid parameter "query": 1:5: parse error: …`.
fn positioned(error: Error, text: &str) -> Error {
    let Some((start, _)) = error.span() else { return error };
    let (line, column) = promql::position(text, start);
    error.context(format!("invalid parameter \"query\": {line}:{column}: parse error"))
}

pub(crate) async fn format_query(params: Params) -> Response {
    let text = params.get("query");
    respond(promql::parse(text).map_err(|e| positioned(e, text)).map(|expression| {
        let mut out = String::from("{\"status\":\"success\",\"data\":");
        json::string(&mut out, &promql::format(&expression));
        out.push('}');
        out
    }))
}

pub(crate) async fn labels(State(app): State<Arc<App>>, params: Params) -> Response {
    let answer = async {
        let (selectors, range, limit) =
            (selectors(&params)?, time_range(&params)?, params.count("limit")?);
        let source = app.metrics.clone();
        let names = app
            .queries
            .run(None, move |budget| source.label_names(&selectors, range, budget))
            .await?;
        Ok(json::string_list(&names, limit))
    };
    respond(answer.await)
}

pub(crate) async fn label_values(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    params: Params,
) -> Response {
    let answer = async {
        // Prometheus accepts UTF-8 names, also in its `U__` escaping.
        let name = promql::unescape_label_name(&name);
        if name.is_empty() {
            return Err(Error::invalid("invalid label name: \"\""));
        }
        let (selectors, range, limit) =
            (selectors(&params)?, time_range(&params)?, params.count("limit")?);
        let source = app.metrics.clone();
        let values = app
            .queries
            .run(None, move |budget| source.label_values(&name, &selectors, range, budget))
            .await?;
        Ok(json::string_list(&values, limit))
    };
    respond(answer.await)
}

pub(crate) async fn series(State(app): State<Arc<App>>, params: Params) -> Response {
    let answer = async {
        let (selectors, range, limit) =
            (selectors(&params)?, time_range(&params)?, params.count("limit")?);
        if selectors.is_empty() {
            return Err(Error::invalid("no match[] parameter provided"));
        }
        let source = app.metrics.clone();
        let series =
            app.queries.run(None, move |budget| source.series(&selectors, range, budget)).await?;
        Ok(json::series_list(&series, limit))
    };
    respond(answer.await)
}

pub(crate) async fn metadata(State(app): State<Arc<App>>, params: Params) -> Response {
    respond(params.count("limit").map(|limit| {
        let all = app.metrics.metadata(params.non_empty("metric"));
        json::metadata(&all, limit.unwrap_or(usize::MAX))
    }))
}

pub(crate) async fn targets(State(app): State<Arc<App>>, params: Params) -> Response {
    let (state, pool) = (params.get("state"), params.get("scrapePool"));
    let answer = match state {
        "" | "any" | "active" | "dropped" => Ok(json::targets(&app.host.targets(), state, pool)),
        other => {
            Err(Error::invalid(format!("unknown state {other:?}; it is active, dropped or any")))
        }
    };
    respond(answer)
}

pub(crate) async fn build_info() -> Response {
    respond(Ok(format!("{{\"status\":\"success\",\"data\":{}}}", json::build_info())))
}

/// Loki's build information comes without the envelope.
pub(crate) async fn bare_build_info() -> Response {
    respond(Ok(json::build_info()))
}

fn respond_query(answer: Result<Outcome>) -> Response {
    match answer {
        Ok(Err(e)) => error::prometheus_execution(&e),
        Ok(Ok(body)) => respond(Ok(body)),
        Err(e) => respond(Err(e)),
    }
}

fn respond(answer: Result<String>) -> Response {
    match answer {
        Ok(body) => error::json(StatusCode::OK, body),
        Err(e) => error::prometheus(&e),
    }
}

fn time(params: &Params, name: &str) -> Result<Option<i64>> {
    params
        .non_empty(name)
        .map(|text| {
            prometheus_time_ms(text).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp"
                ))
            })
        })
        .transpose()
}

fn required_time(params: &Params, name: &str) -> Result<i64> {
    time(params, name)?.ok_or_else(|| {
        Error::invalid(format!(
            "invalid parameter {name:?}: cannot parse \"\" to a valid timestamp"
        ))
    })
}

/// `start` and `end`, both inside; everything stored when absent.
fn time_range(params: &Params) -> Result<TimeRange> {
    let start_ms = time(params, "start")?.unwrap_or(i64::MIN / 1_000_000);
    let end_ms = time(params, "end")?.unwrap_or(i64::MAX / 1_000_000 - 1);
    if end_ms < start_ms {
        return Err(Error::invalid(
            "invalid parameter \"end\": end timestamp must not be before start time",
        ));
    }
    Ok(TimeRange::from_ms_inclusive(start_ms, end_ms))
}

fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>> {
    params
        .all("match[]")
        .map(|text| {
            promql::parse_selector(text).map_err(|e| {
                let (line, column) = promql::position(text, e.span().map_or(0, |(start, _)| start));
                e.context(format!("invalid parameter \"match[]\": {line}:{column}: parse error"))
            })
        })
        .collect()
}

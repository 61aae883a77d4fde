//! Our own API of traces: one as a waterfall, its log lines, and the comparison of two sets of them.
//!
//! Does not own: what is computed (`query::trace`), the APIs of Jaeger and Tempo.

mod json;

use axum::extract::Path;
use axum::response::Response;
use model::{Budget, Error, ErrorKind, Result, TimeRange, Trace};
use query::trace::{self, Comparison, Side, Waterfall};
use query::traceql::{self, Query, Search};

use crate::paid_body::{PaidBody, Pieces};
use crate::params::Params;
use crate::tenants::Reader;
use crate::{error, tempo};

/// Spans of a waterfall, rows of a comparison and log lines when nothing is said.
const SPANS_DEFAULT: usize = 10_000;
const ROWS_DEFAULT: usize = 20;
const LINES_DEFAULT: usize = 1_000;
/// Traces of each set when nothing is said, and at most.
const TRACES_DEFAULT: usize = 500;
const TRACES_MAX: usize = 10_000;
/// What programs write of a trace they write so long before its first span starts or after its last one ends, unless
/// something else is said.
const SLACK_NS: i64 = 60_000_000_000;

fn respond(answer: Result<Pieces>) -> Response {
    match answer {
        Ok(body) => body.respond(),
        Err(e) => error::prometheus(&e),
    }
}

pub(crate) async fn waterfall(app: Reader, Path(id): Path<String>, params: Params) -> Response {
    let answer = async {
        let id = tempo::trace_id(&id)?;
        let limit = params.count("limit")?.unwrap_or(SPANS_DEFAULT);
        // All of them.
        let limit = if limit == 0 { usize::MAX } else { limit };
        let source = app.traces.clone();
        let work = move |budget: &Budget| {
            let Some(trace) = source.trace(id, budget)? else { return Err(not_found(id)) };
            let waterfall = Waterfall::new(&trace, budget)?;
            let mut body = PaidBody::new(budget);
            json::waterfall(&mut body, id, &waterfall, limit)?;
            Ok(body.finish())
        };
        app.queries.run(None, work).await
    };
    respond(answer.await)
}

fn not_found(id: u128) -> Error {
    Error::new(ErrorKind::NotFound, format!("no trace {id:032x} is stored"))
}

pub(crate) async fn lines(app: Reader, Path(id): Path<String>, params: Params) -> Response {
    let answer = async {
        let id = tempo::trace_id(&id)?;
        let limit = params.count("limit")?.unwrap_or(LINES_DEFAULT);
        let max = app.config.log_rows_max;
        if !(1..=max).contains(&limit) {
            return Err(Error::invalid(format!(
                "invalid parameter \"limit\": {limit} is not between 1 and {max}"
            )));
        }
        let slack_ns = tempo::duration(&params, "slack")?.unwrap_or(SLACK_NS);
        let is_bounded = params.non_empty("start").is_some() || params.non_empty("end").is_some();
        let asked = tempo::range(&params)?;
        let (traces, logs) = (app.traces.clone(), app.logs.clone());
        let work = move |budget: &Budget| {
            let range = match traces.trace(id, budget)? {
                _ if is_bounded => asked,
                Some(trace) => around(&trace, slack_ns),
                None => {
                    let why = "its log lines may be: give start or end to look for them";
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!("{}; {why}", not_found(id).message()),
                    ));
                }
            };
            let found = trace::lines(logs.as_ref(), id, range, limit, budget)?;
            let mut body = PaidBody::new(budget);
            json::lines(&mut body, id, range, &found)?;
            Ok(body.finish())
        };
        app.queries.run(None, work).await
    };
    respond(answer.await)
}

/// From before the first start until after the last end.
fn around(trace: &Trace, slack_ns: i64) -> TimeRange {
    let spans = || trace.groups.iter().flat_map(|group| &group.spans);
    let start_ns = spans().map(|span| span.start_ns).min().unwrap_or(0);
    let end_ns = spans().map(|span| span.end_ns.max(span.start_ns)).max().unwrap_or(0);
    TimeRange::new(start_ns.saturating_sub(slack_ns), end_ns.saturating_add(slack_ns))
}

pub(crate) async fn compare(app: Reader, params: Params) -> Response {
    respond(compared(&app, &params).await)
}

/// The sets `baseline` and `selection`, each a search; or one search `q`, of which traces that took at least `slower`
/// are the selection.
async fn compared(app: &Reader, params: &Params) -> Result<Pieces> {
    let rows = params.count("limit")?.unwrap_or(ROWS_DEFAULT);
    let traces = params.count("traces")?.unwrap_or(TRACES_DEFAULT);
    if !(1..=TRACES_MAX).contains(&traces) {
        return Err(Error::invalid(format!(
            "invalid parameter \"traces\": {traces} is not between 1 and {TRACES_MAX}"
        )));
    }
    let range = tempo::range(params)?;
    let search = |range| Search {
        range,
        limit: traces,
        spans_per_set: 0,
        duration_ns_min: None,
        duration_ns_max: None,
    };
    let given = |name| params.non_empty(name).map(|text| query(name, text)).transpose();
    let sets: [(Query, Search); 2] = match (
        given("q")?,
        tempo::duration(params, "slower")?,
        given("baseline")?,
        given("selection")?,
    ) {
        (Some(q), Some(slower_ns), None, None) => {
            let slower_ns = slower_ns.unsigned_abs();
            let Some(faster_ns) = slower_ns.checked_sub(1) else {
                return Err(Error::invalid(
                    "invalid parameter \"slower\": nothing is faster than 0",
                ));
            };
            let faster = Search { duration_ns_max: Some(faster_ns), ..search(range) };
            let slower = Search { duration_ns_min: Some(slower_ns), ..search(range) };
            [(q.clone(), faster), (q, slower)]
        }
        (None, None, Some(baseline), Some(selection)) => {
            let start_ns = tempo::time(params, "baselineStart")?.unwrap_or(range.start_ns);
            let end_ns = tempo::time(params, "baselineEnd")?.unwrap_or(range.end_ns);
            if end_ns < start_ns {
                return Err(Error::invalid(
                    "invalid parameter \"baselineEnd\": before \"baselineStart\"",
                ));
            }
            let usual = search(TimeRange::new(start_ns, end_ns));
            [(baseline, usual), (selection, search(range))]
        }
        _ => {
            return Err(Error::invalid(
                "give \"baseline\" and \"selection\", or \"q\" and \"slower\": two searches, or one and a duration",
            ));
        }
    };
    let source = app.traces.clone();
    let work = move |budget: &Budget| {
        let mut comparison = Comparison::default();
        for (side, (query, search)) in [Side::Baseline, Side::Selection].into_iter().zip(&sets) {
            traceql::visit_traces(source.as_ref(), query, search, budget, &mut |trace| {
                comparison.add(side, trace, budget)
            })?;
        }
        let mut body = PaidBody::new(budget);
        json::sides(&mut body, &comparison.finish(), rows, traces)?;
        Ok(body.finish())
    };
    app.queries.run(None, work).await
}

/// A search; mistakes are named with their parameter, line and column.
fn query(name: &str, text: &str) -> Result<Query> {
    let query = tempo::parse(text).map_err(|e| e.context(format!("parameter {name:?}")))?;
    if query.is_metric() {
        return Err(Error::invalid(format!("parameter {name:?} is a metric and finds no traces")));
    }
    Ok(query)
}

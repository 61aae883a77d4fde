//! Jaeger's query API, as Jaeger UI and Grafana's Jaeger data source ask it: version 1 here, version 3 in `jaeger/v3.rs`, the
//! services over gRPC in `jaeger/grpc.rs`, dependencies in `jaeger/dependencies.rs`, metrics of services in
//! `jaeger/metrics.rs`.
//!
//! Does not own: how traces are written (`ingest::jaeger::answer`), receiving spans ([`receive`](crate::receive)).

pub(crate) mod dependencies;
mod go;
pub(crate) mod grpc;
pub(crate) mod metrics;
mod search;
pub(crate) mod v3;

use std::collections::BTreeSet;

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use ingest::jaeger::answer::{Adjustment, NOT_FOUND, answer, kind_name};
use model::{Budget, Done, Error, ErrorKind, Result, SpanKind, TimeRange, Trace};
use serde_json::{Value, json};

use crate::params::Params;
use crate::tenants::Reader;
use crate::{error, streamed};
use search::Asked;

/// Memory that what is said of each span takes, about.
const SHOWN_BYTES: usize = 128;

pub(crate) async fn trace(app: Reader, Path(id): Path<String>, params: Params) -> Response {
    let adjustment = adjustment(params.get("raw") == "true");
    let answered = async {
        one_trace(&app, trace_id(&id)?, move |trace, budget| {
            pay_for_shown(std::slice::from_ref(&trace), budget)?;
            Ok(answer(vec![trace], &[], adjustment))
        })
        .await
    };
    send(answered.await)
}

/// `GET /api/traces`.
pub(crate) async fn search(app: Reader, params: Params) -> Response {
    let adjustment = adjustment(params.get("raw") == "true");
    let written = move |traces: Vec<Trace>, missing: &[u128], budget: &Budget| {
        let mut left_out = budget.left_out();
        if traces.is_empty() && !left_out.is_empty() {
            return Err(left_out.swap_remove(0).1);
        }
        pay_for_shown(&traces, budget)?;
        let missing = missing.iter().map(|id| (*id, NOT_FOUND));
        let left_out = left_out.iter().map(|(id, why)| (*id, why.message()));
        Ok(answer(traces, &missing.chain(left_out).collect::<Vec<_>>(), adjustment))
    };
    let answered = async {
        match search::asked(&params, app.clock.now_ns())? {
            Asked::Search(query) => {
                let finish = move |found, budget: &Budget| written(found, &[], budget);
                search::find(&app, query, true, finish).await
            }
            Asked::Ids(ids) => search::by_ids(&app, ids, written).await,
        }
    };
    send(answered.await)
}

fn pay_for_shown(traces: &[Trace], budget: &Budget) -> Result<()> {
    let spans: usize = traces.iter().map(Trace::span_count).sum();
    budget.charge_bytes((spans * SHOWN_BYTES) as u64)
}

/// Clocks are compared, and nothing is moved: Jaeger's default.
fn adjustment(is_raw: bool) -> Adjustment {
    if is_raw { Adjustment::None } else { Adjustment::Clocks { skew_ns_max: 0 } }
}

/// What `finish` makes of the trace.
async fn one_trace<T: Send + 'static>(
    app: &Reader,
    id: u128,
    finish: impl FnOnce(Trace, &Budget) -> Result<T> + Send + 'static,
) -> Result<T> {
    let finish = move |mut found: Vec<Trace>, _: &[u128], budget: &Budget| {
        let trace = found.pop().ok_or_else(|| Error::new(ErrorKind::NotFound, NOT_FOUND))?;
        finish(trace, budget)
    };
    search::by_ids(app, vec![id], finish).await
}

/// A trace's id: up to 32 hexadecimal digits.
///
/// # Errors
/// In Jaeger's words.
fn trace_id(text: &str) -> Result<u128> {
    go::trace_id(text).map_err(Error::invalid)
}

/// What Jaeger says without a store for archived traces.
const NO_ARCHIVE: &str = "archive span storage was not configured";

/// `POST /api/archive/{id}`.
pub(crate) async fn archive(app: Reader, Path(id): Path<String>) -> Response {
    let outcome = match trace_id(&id) {
        Ok(_) if app.archive.is_none() => {
            return fail(StatusCode::INTERNAL_SERVER_ERROR, NO_ARCHIVE);
        }
        Ok(id) => keep(&app, id).await,
        Err(e) => Err(e),
    };
    let empty = json!({"data": [], "total": 0, "limit": 0, "offset": 0, "errors": []});
    respond(outcome.map(|()| empty.to_string()))
}

/// Copies a trace into the archive.
async fn keep(app: &Reader, id: u128) -> Result<()> {
    let archive = app.archive.clone().ok_or_else(|| Error::invalid(NO_ARCHIVE))?;
    let trace = one_trace(app, id, |trace, _| Ok(trace)).await?;
    let (answer, wait) = tokio::sync::oneshot::channel();
    // Encoding takes its time.
    let keeping = tokio::task::spawn_blocking(move || {
        archive.keep(&trace, Done::new(move |outcome| answer.send(outcome).unwrap_or(())));
    });
    let lost = || Error::new(ErrorKind::Busy, "server is stopping");
    keeping.await.map_err(|_| lost())?;
    let receipt = wait.await.map_err(|_| lost())??;
    match receipt.rejected.first() {
        None => Ok(()),
        Some((reason, count)) => {
            let message = format!("{count} spans of the trace cannot be archived: {reason:?}");
            Err(Error::new(ErrorKind::Limit, message))
        }
    }
}

pub(crate) async fn services(app: Reader) -> Response {
    respond(service_names(&app).await.map(|names| list(&names)))
}

async fn service_names(app: &Reader) -> Result<Vec<String>> {
    let traces = app.traces.clone();
    app.queries.run(None, move |budget| traces.services(TimeRange::ALL, budget)).await
}

/// Names and kinds of what `service` does; those of `kind` alone unless it is empty.
async fn operations_of(
    app: &Reader,
    service: &str,
    kind: &str,
) -> Result<Vec<(String, &'static str)>> {
    let (traces, service) = (app.traces.clone(), service.to_owned());
    let work = move |budget: &Budget| traces.operations(&service, TimeRange::ALL, budget);
    let all = app.queries.run(None, work).await?;
    let named = all.into_iter().map(|operation| {
        let kind = SpanKind::ALL.get(usize::from(operation.kind)).copied().unwrap_or_default();
        (operation.name, kind_name(kind))
    });
    Ok(named.filter(|(_, of)| kind.is_empty() || *of == kind).collect())
}

fn unique_names(operations: &[(String, &str)]) -> BTreeSet<String> {
    operations.iter().map(|(name, _)| name.clone()).collect()
}

/// `GET /api/operations`.
pub(crate) async fn operations(app: Reader, params: Params) -> Response {
    let answered = async {
        let service = params
            .non_empty("service")
            .ok_or_else(|| Error::invalid("parameter 'service' is required"))?;
        let found = operations_of(&app, service, params.get("spanKind")).await?;
        Ok(list(&as_json(&found)))
    };
    respond(answered.await)
}

fn as_json(operations: &[(String, &str)]) -> Vec<Value> {
    operations.iter().map(|(name, kind)| json!({"name": name, "spanKind": kind})).collect()
}

/// `GET /api/services/{service}/operations`: names alone, of all kinds.
pub(crate) async fn operation_names(app: Reader, Path(service): Path<String>) -> Response {
    let found = operations_of(&app, &service, "").await;
    respond(found.map(|found| list(&unique_names(&found).into_iter().collect::<Vec<_>>())))
}

/// An answer with a list in it.
fn list<T: serde::Serialize>(items: &[T]) -> String {
    wrapped(&json!(items), items.len())
}

fn wrapped(data: &Value, total: usize) -> String {
    json!({"data": data, "total": total, "limit": 0, "offset": 0, "errors": null}).to_string()
}

/// An answer, or an error in Jaeger's words for it.
fn respond(outcome: Result<String>) -> Response {
    match outcome {
        Ok(body) => error::json(StatusCode::OK, body),
        Err(e) => fail(error::status(e.kind()), &error::public_message(&e)),
    }
}

/// Likewise, of pieces.
fn send(outcome: Result<impl Iterator<Item = Vec<u8>> + Send + 'static>) -> Response {
    match outcome {
        Ok(pieces) => streamed::respond(pieces, "application/json"),
        Err(e) => respond(Err(e)),
    }
}

fn fail(status: StatusCode, message: &str) -> Response {
    let errors = [json!({"code": status.as_u16(), "msg": message})];
    let body = json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors});
    error::json(status, body.to_string())
}

/// For fuzzing: `text` as a search in both versions, and as what stands in one.
pub(crate) fn fuzz(text: &str) {
    let params = Params::from_query(text);
    // Either outcome is fine; it must come back.
    search::asked(&params, 0).ok();
    v3::fuzz(&params, text.as_bytes());
    trace_id(text).ok();
    go::parse_int(text).ok();
    go::duration_ns(text).ok();
}

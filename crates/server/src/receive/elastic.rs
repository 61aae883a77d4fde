//! Elasticsearch's API as far as shippers need it: `_bulk`, `_doc`, `_create`, and what they ask before they send.
//!
//! Filebeat, Logstash, Fluent Bit, Vector and client libraries first ask who is there, which licence it has, and put
//! templates, policies and pipelines. Those are acknowledged and not kept: there is nothing here that they would change.
//! Everything is below `/elasticsearch`; what only writes is at the root as well.
//!
//! Does not own: reading requests (`ingest::elastic`).

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use ingest::compression::{self, Encoding as Packing};
use ingest::elastic::{self, Action, Bulk, Item};
use model::{Error, ErrorKind, Receipt, RejectReason, Result};
use serde_json::{Value, json};

use super::{body::Held, lines, off_runtime, reasons, rejected, status};
use crate::params::Params;
use crate::tenants::Owner;
use crate::{App, error};

const SOURCE: &str = "elasticsearch";
/// What we are compatible with; shippers look at it.
const VERSION: &str = "8.17.0";
const PRODUCT: HeaderName = HeaderName::from_static("x-elastic-product");
const ACKNOWLEDGED: &str = r#"{"acknowledged":true}"#;

/// `POST _bulk`
pub(crate) async fn bulk(State(app): State<Arc<App>>, owner: Owner, request: Request) -> Response {
    receive_bulk(&app, owner, None, request).await
}

/// `POST {index}/_bulk`
pub(crate) async fn index_bulk(
    State(app): State<Arc<App>>,
    owner: Owner,
    Path(index): Path<String>,
    request: Request,
) -> Response {
    receive_bulk(&app, owner, Some(index), request).await
}

/// `POST {index}/_doc`
pub(crate) async fn document(
    State(app): State<Arc<App>>,
    owner: Owner,
    Path(index): Path<String>,
    request: Request,
) -> Response {
    receive_one(&app, owner, Action::Index, index, None, request).await
}

/// `PUT {index}/_doc/{id}`
pub(crate) async fn document_of_id(
    State(app): State<Arc<App>>,
    owner: Owner,
    Path((index, id)): Path<(String, String)>,
    request: Request,
) -> Response {
    receive_one(&app, owner, Action::Index, index, Some(id), request).await
}

/// `PUT {index}/_create/{id}`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    owner: Owner,
    Path((index, id)): Path<(String, String)>,
    request: Request,
) -> Response {
    receive_one(&app, owner, Action::Create, index, Some(id), request).await
}

async fn receive_bulk(
    app: &Arc<App>,
    owner: Owner,
    index: Option<String>,
    request: Request,
) -> Response {
    let (packing, held) = match read(app, request).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    let started_ns = app.clock.monotonic_ns();
    let outcome = store(app, owner, packing, held, move |body, limits, streams, now_ms| {
        elastic::bulk(body, index.as_deref(), limits, streams, now_ms)
    })
    .await;
    let took_ms = (app.clock.monotonic_ns() - started_ns) / 1_000_000;
    match outcome {
        Ok(stored) => {
            let items: Vec<Value> = (0..stored.items.len())
                .map(|i| json!({stored.items[i].action.as_str(): stored.answer(i)}))
                .collect();
            let errors = stored.items.iter().any(|item| item.refused.is_some());
            let body = json!({"took": took_ms, "errors": errors, "items": items});
            answer(StatusCode::OK, body.to_string())
        }
        Err(error) => failure(&error),
    }
}

async fn receive_one(
    app: &Arc<App>,
    owner: Owner,
    action: Action,
    index: String,
    id: Option<String>,
    request: Request,
) -> Response {
    let (packing, held) = match read(app, request).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    let outcome = store(app, owner, packing, held, move |body, limits, streams, now_ms| {
        elastic::document(body, action, (&index, id.as_deref()), limits, streams, now_ms)
    })
    .await;
    match outcome {
        Ok(stored) => match stored.items.first().and_then(|item| item.refused.as_deref()) {
            Some(why) => failure(&Error::invalid(why)),
            None => answer(StatusCode::CREATED, stored.answer(0).to_string()),
        },
        Err(error) => failure(&error),
    }
}

/// The body and how it is packed, or the answer that refuses it.
async fn read(app: &App, request: Request) -> Result<(Packing, Held), Response> {
    let (parts, body) = request.into_parts();
    let packing = parts.headers.get(header::CONTENT_ENCODING).and_then(|v| v.to_str().ok());
    let packing = packing.unwrap_or("");
    let Some(packing) = Packing::from_header(packing) else {
        let message = format!("Content-Encoding {packing:.64?} is not supported");
        return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "parsing_exception", &message));
    };
    let limits = app.receivers.limits;
    let held = app.receivers.bodies.read(body, limits.body_bytes_max).await;
    let kind = "es_rejected_execution_exception";
    Ok((packing, held.map_err(|(status, reason)| refusal(status, kind, &reason))?))
}

/// What became of a request.
struct Stored {
    items: Vec<Item>,
    now_ms: i64,
}

impl Stored {
    /// What Elasticsearch says of item `i`.
    fn answer(&self, i: usize) -> Value {
        let item = &self.items[i];
        let id = match &item.id {
            Some(id) => id.to_string(),
            None => format!("{:x}-{i:x}", self.now_ms),
        };
        match &item.refused {
            Some(why) => json!({
                "_index": &*item.index,
                "_id": id,
                "status": 400,
                "error": {"type": "document_parsing_exception", "reason": why},
            }),
            None => json!({
                "_index": &*item.index,
                "_id": id,
                "_version": 1,
                "result": "created",
                "_shards": {"total": 1, "successful": 1, "failed": 0},
                "_seq_no": i,
                "_primary_term": 1,
                "status": 201,
            }),
        }
    }
}

async fn store(
    app: &Arc<App>,
    owner: Owner,
    packing: Packing,
    held: Held,
    decode: impl FnOnce(
        &[u8],
        &ingest::pushed_lines::Limits,
        &ingest::pushed_lines::Streams,
        i64,
    ) -> Result<Bulk>
    + Send
    + 'static,
) -> Result<Stored> {
    let lane = app.receivers.lane().await?;
    let (decoding, now_ms) = (app.clone(), app.clock.now_ms());
    let (mut items, times, sent) = off_runtime(move || {
        let _lane = lane;
        let receivers = &decoding.receivers;
        let body = compression::unpack(packing, &held.bytes, receivers.limits.unpacked_bytes_max)?;
        let limits = lines::limits(&receivers.limits);
        let bulk = decode(&body, &limits, &receivers.lines.streams, now_ms)?;
        let rows = &bulk.pushed.rows;
        let times: Vec<i64> = (0..rows.len()).map(|row| rows.t_ns(row)).collect();
        Ok((bulk.items, times, lines::hand_over_once(&decoding, &owner, SOURCE, bulk.pushed)))
    })
    .await?;
    let receipt = sent.get().await?;
    mark_refused(&mut items, &times, &receipt);
    Ok(Stored { items, now_ms })
}

/// Marks the items that the store refused. A receipt says how many and why, not which: those that are too old are the
/// oldest ones; if there was another reason, it may have been any of the rest.
fn mark_refused(items: &mut [Item], times: &[i64], receipt: &Receipt) {
    if rejected(receipt) == 0 {
        return;
    }
    let too_old: u64 = receipt
        .rejected
        .iter()
        .filter(|(reason, _)| *reason == RejectReason::TooOld)
        .map(|(_, count)| count)
        .sum();
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let oldest =
        too_old.checked_sub(1).and_then(|last| sorted.get(usize::try_from(last).ok()?).copied());
    let why: Vec<String> = reasons(receipt).collect();
    let is_clear = rejected(receipt) == too_old;
    for item in items {
        let Some(t_ns) = item.row.and_then(|row| times.get(row)) else { continue };
        if !is_clear || oldest.is_some_and(|oldest| *t_ns <= oldest) {
            item.refused = Some(why.join("; "));
        }
    }
}

fn answer(status: StatusCode, body: String) -> Response {
    let mut response = error::json(status, body);
    response.headers_mut().insert(PRODUCT, HeaderValue::from_static("Elasticsearch"));
    response
}

fn failure(error: &Error) -> Response {
    let kind = match error.kind() {
        ErrorKind::Invalid => "illegal_argument_exception",
        ErrorKind::Limit => "content_too_long_exception",
        ErrorKind::Busy => "es_rejected_execution_exception",
        _ => "exception",
    };
    refusal(status(error.kind()), kind, &error::public_message(error))
}

/// Elasticsearch's body of errors.
fn refusal(status: StatusCode, kind: &str, reason: &str) -> Response {
    let cause = json!({"type": kind, "reason": reason});
    let body = json!({
        "error": {"root_cause": [cause], "type": kind, "reason": reason},
        "status": status.as_u16(),
    });
    answer(status, body.to_string())
}

/// `GET /`: who is there.
pub(crate) async fn info() -> Response {
    let body = json!({
        "name": "taffrail",
        "cluster_name": "taffrail",
        "cluster_uuid": "taffrail",
        "version": {
            "number": VERSION,
            "build_flavor": "default",
            "build_type": "tar",
            "build_hash": "unknown",
            "build_date": "2024-12-11T00:00:00.000000000Z",
            "build_snapshot": false,
            "lucene_version": "9.12.0",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    });
    answer(StatusCode::OK, body.to_string())
}

fn licence() -> Value {
    json!({"status": "active", "uid": "taffrail", "type": "basic", "mode": "basic", "issued_to": "taffrail"})
}

/// `GET _license`
pub(crate) async fn license() -> Response {
    answer(StatusCode::OK, json!({"license": licence()}).to_string())
}

/// `GET _xpack`
pub(crate) async fn xpack() -> Response {
    let absent = json!({"available": false, "enabled": false});
    let features = json!({"ilm": absent, "security": absent, "monitoring": absent});
    let body = json!({"license": licence(), "features": features, "tagline": "You know, for X"});
    answer(StatusCode::OK, body.to_string())
}

/// `GET _cluster/health`
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let status = if app.host.ready().is_ok() { "green" } else { "red" };
    let body = json!({
        "cluster_name": "taffrail",
        "status": status,
        "timed_out": false,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": 1,
        "active_shards": 1,
    });
    answer(StatusCode::OK, body.to_string())
}

/// `GET _nodes`, `GET _nodes/http`: none that a client could go to instead.
pub(crate) async fn nodes() -> Response {
    let count = json!({"total": 1, "successful": 1, "failed": 0});
    let body = json!({"_nodes": count, "cluster_name": "taffrail", "nodes": {}});
    answer(StatusCode::OK, body.to_string())
}

/// `GET _cat/{what}`: no rows.
pub(crate) async fn cat(request: Request) -> Response {
    let params = Params::from_query(request.uri().query().unwrap_or(""));
    let is_json = params.non_empty("format") == Some("json");
    answer(StatusCode::OK, if is_json { "[]" } else { "" }.to_owned())
}

/// Templates, policies, pipelines, aliases, indices: there are none, and putting one is acknowledged.
pub(crate) async fn setting(State(app): State<Arc<App>>, request: Request) -> Response {
    if matches!(*request.method(), Method::PUT | Method::POST) {
        return match read(&app, request).await {
            Ok(_ignored) => answer(StatusCode::OK, ACKNOWLEDGED.to_owned()),
            Err(refusal) => refusal,
        };
    }
    refusal(StatusCode::NOT_FOUND, "resource_not_found_exception", "nothing of this kind is kept")
}

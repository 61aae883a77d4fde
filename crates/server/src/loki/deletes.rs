//! Deletion of log lines: `GET`, `POST`, `PUT` and `DELETE /loki/api/v1/delete`.
//!
//! Changing calls are off unless the administration interface is configured on, as Loki's are off unless a deletion mode
//! is configured.

use axum::response::Response;
use http::StatusCode;
use model::{Error, ErrorKind, LogDeletion, Matcher, Result, TimeRange};
use query::logql;
use serde_json::json;

use super::{positioned, time};
use crate::params::Params;
use crate::tenants::Reader;
use crate::{Host, assets, error};

const DISABLED: &str = "deletion is not available for this tenant; it takes server.admin_api: true";

/// All deletions known, the oldest first.
pub(crate) async fn list(app: Reader) -> Response {
    let shown: Vec<_> = app
        .host
        .log_deletions()
        .iter()
        .filter(|deletion| is_own(&app, deletion))
        .map(|deletion| {
            let seconds = |ns: i64| ns.div_euclid(1_000_000_000);
            json!({
                "request_id": deletion.id,
                "start_time": seconds(deletion.range.start_ns),
                "end_time": seconds(deletion.range.end_ns),
                "query": deletion.query,
                "status": if deletion.done { "processed" } else { "received" },
                "created_at": deletion.created_ms as f64 / 1000.0,
            })
        })
        .collect();
    error::json(StatusCode::OK, json!(shown).to_string())
}

pub(crate) async fn request(app: Reader, params: Params) -> Response {
    let deletion = match parse(&app, &params) {
        Ok(deletion) => deletion,
        Err(e) => return error::loki(&e),
    };
    changed(&app, move |host| host.delete_logs(deletion)).await
}

pub(crate) async fn cancel(app: Reader, params: Params) -> Response {
    let id = params.get("request_id").to_owned();
    if id.is_empty() {
        return error::loki(&Error::invalid("request_id not set"));
    }
    let force = matches!(params.get("force"), "true" | "1");
    let reader = app.clone();
    changed(&app, move |host| {
        let deletions = host.log_deletions();
        // Another tenant's is as good as none; the host says so of ids that are not there.
        let is_foreign = |d: &LogDeletion| d.id == id && !is_own(&reader, d);
        let id = if deletions.iter().any(is_foreign) { "" } else { &id };
        host.cancel_log_deletion(id, force)
    })
    .await
}

/// Whether a deletion is of the tenant that asks.
fn is_own(app: &Reader, deletion: &LogDeletion) -> bool {
    let is_scope = |scope: &Matcher| {
        deletion.matchers.last().is_some_and(|last| last.to_string() == scope.to_string())
    };
    app.scope().is_none_or(is_scope)
}

fn parse(app: &Reader, params: &Params) -> Result<LogDeletion> {
    let text = params.get("query");
    if text.is_empty() {
        return Err(Error::invalid("query not set"));
    }
    let selection = logql::parse_selection(text).map_err(|e| positioned(e, text))?;
    let now_ns = app.clock.now_ns();
    let start_ns = time(params, "start")?.ok_or_else(|| Error::invalid("start time not set"))?;
    let end_ns = time(params, "end")?.unwrap_or(now_ns);
    if end_ns > now_ns {
        return Err(Error::invalid("deletes in the future are not allowed"));
    }
    if start_ns > end_ns {
        return Err(Error::invalid("start time can't be greater than end time"));
    }
    let (mut matchers, line_filters) = selection;
    app.check_one()?;
    matchers.extend(app.scope().cloned());
    Ok(LogDeletion {
        id: String::new(),
        query: text.to_owned(),
        matchers,
        line_filters,
        // The end belongs to what Loki deletes.
        range: TimeRange::new(start_ns, end_ns.saturating_add(1)),
        created_ms: 0,
        done: false,
    })
}

/// Runs what writes files off the async workers. It is not cut short when the client goes away.
async fn changed(
    app: &Reader,
    work: impl FnOnce(&dyn Host) -> Result<()> + Send + 'static,
) -> Response {
    if !app.config.admin_api {
        return assets::plain(StatusCode::FORBIDDEN, DISABLED);
    }
    let host = app.host.clone();
    let done = tokio::task::spawn_blocking(move || work(host.as_ref())).await;
    let done = done.unwrap_or_else(|panic| {
        Err(Error::new(ErrorKind::Bug, "deletion ended unexpectedly").with_source(panic))
    });
    match done {
        Ok(()) => error::empty(StatusCode::NO_CONTENT),
        Err(e) => error::loki(&e),
    }
}

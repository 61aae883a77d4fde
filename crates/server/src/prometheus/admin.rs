//! The administration of the metric store: `admin/tsdb/{delete_series,clean_tombstones,snapshot}`. Off unless
//! configured, as in Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Error, ErrorKind, Result};
use serde_json::json;

use super::{TIME_MS, flag, json as text, respond, selectors, time};
use crate::params::Params;
use crate::{App, Host, error};

const DISABLED: &str = "admin APIs disabled";

pub(crate) async fn delete_series(State(app): State<Arc<App>>, params: Params) -> Response {
    if !app.config.admin_api {
        return error::prometheus_unavailable(DISABLED);
    }
    let answer = async {
        if params.all("match[]").next().is_none() {
            return Err(Error::invalid("no match[] parameter provided"));
        }
        let start_ms = time(&params, "start")?.unwrap_or(*TIME_MS.start());
        let end_ms = time(&params, "end")?.unwrap_or(*TIME_MS.end());
        let selectors = selectors(&params)?;
        blocking(&app, move |host| host.delete_series(&selectors, start_ms, end_ms)).await
    };
    no_content(answer.await)
}

pub(crate) async fn clean_tombstones(State(app): State<Arc<App>>) -> Response {
    if !app.config.admin_api {
        return error::prometheus_unavailable(DISABLED);
    }
    no_content(blocking(&app, |host| host.clean_tombstones()).await)
}

pub(crate) async fn snapshot(State(app): State<Arc<App>>, params: Params) -> Response {
    if !app.config.admin_api {
        return error::prometheus_unavailable(DISABLED);
    }
    let answer = async {
        let skip_head = flag(&params, "skip_head")?;
        let name = blocking(&app, move |host| host.snapshot(skip_head)).await?;
        Ok(text::success(&json!({ "name": name })))
    };
    respond(answer.await)
}

/// Runs what writes files off the async workers. It is not cut short when the client goes away.
async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&dyn Host) -> Result<T> + Send + 'static,
) -> Result<T> {
    let host = app.host.clone();
    let done = tokio::task::spawn_blocking(move || work(host.as_ref())).await;
    done.unwrap_or_else(|panic| {
        Err(Error::new(ErrorKind::Bug, "administration ended unexpectedly").with_source(panic))
    })
}

fn no_content(answer: Result<()>) -> Response {
    match answer {
        Ok(()) => error::empty(StatusCode::NO_CONTENT),
        Err(e) => error::prometheus(&e),
    }
}

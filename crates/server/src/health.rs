//! Liveness, readiness, and our own `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use crate::{App, assets, figures};

/// The process answers; nothing is said about it.
pub(crate) async fn live() -> Response {
    assets::plain(StatusCode::OK, "OK")
}

pub(crate) async fn healthy() -> Response {
    assets::plain(StatusCode::OK, "Taffrail is Healthy.")
}

pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.host.ready() {
        Ok(()) => assets::plain(StatusCode::OK, "Taffrail is Ready."),
        Err(reason) => assets::plain(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

/// Loki's `/ready` says `ready`.
pub(crate) async fn loki_ready(State(app): State<Arc<App>>) -> Response {
    match app.host.ready() {
        Ok(()) => assets::plain(StatusCode::OK, "ready"),
        Err(reason) => assets::plain(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut all = app.host.figures();
    all.extend(app.requests.figures());
    all.extend(app.receivers.lines.figures());
    let mut text = figures::render(&all);
    app.host.line_metrics().iter().for_each(|m| m.write_text(&*app.clock, &mut text));
    let mut response = assets::plain(StatusCode::OK, text.trim_end());
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

pub(crate) async fn reload(State(app): State<Arc<App>>) -> Response {
    match app.host.reload().await {
        Ok(()) => assets::plain(StatusCode::OK, "configuration reloaded"),
        Err(error) => assets::plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("failed to reload config: {error}"),
        ),
    }
}

/// The orderly end, as Prometheus' lifecycle API has it; the answer may still be on its way then.
pub(crate) async fn quit(State(app): State<Arc<App>>) -> Response {
    app.host.quit();
    assets::plain(StatusCode::OK, "Requesting termination... Goodbye!")
}

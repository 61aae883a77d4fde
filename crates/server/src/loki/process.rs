//! What Loki says of itself: its rules (there are none of it here), settings, services.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::{App, assets, error};

/// Rules over logs are not evaluated: the answer of a Loki without any.
pub(crate) async fn rules() -> Response {
    assets::plain(StatusCode::NOT_FOUND, "no rule groups found")
}

pub(crate) async fn rule_group() -> Response {
    assets::plain(StatusCode::NOT_FOUND, "group does not exist")
}

/// The same in Prometheus' form.
pub(crate) async fn prometheus_rules() -> Response {
    let body = json!({"status": "success", "data": {"groups": []}, "errorType": "", "error": ""});
    error::json(StatusCode::OK, body.to_string())
}

pub(crate) async fn prometheus_alerts() -> Response {
    let body = json!({"status": "success", "data": {"alerts": []}, "errorType": "", "error": ""});
    error::json(StatusCode::OK, body.to_string())
}

/// The limits that matter to clients, under Loki's names.
pub(crate) async fn config(State(app): State<Arc<App>>) -> Response {
    let limits = &app.config.query_limits;
    let yaml = format!(
        "auth_enabled: {}\nlimits_config:\n  allow_structured_metadata: true\n  \
         discover_log_levels: true\n  max_entries_limit_per_query: {}\n  query_timeout: {}ms\n  volume_enabled: true\n\
         pattern_ingester:\n  enabled: true\n",
        app.config.access.tenants.from_header, app.config.log_rows_max, limits.time_ms_max
    );
    assets::plain(StatusCode::OK, &yaml)
}

/// What Grafana's Logs Drilldown wants to know first.
pub(crate) async fn drilldown_limits(State(app): State<Arc<App>>) -> Response {
    let limits = &app.config.query_limits;
    let body = json!({
        "limits": {
            "discover_log_levels": true,
            "max_entries_limit_per_query": app.config.log_rows_max,
            "query_timeout": format!("{}ms", limits.time_ms_max),
            "volume_enabled": true,
        },
        "pattern_ingester_enabled": true,
        "version": env!("CARGO_PKG_VERSION"),
    });
    error::json(StatusCode::OK, body.to_string())
}

pub(crate) async fn services(State(app): State<Arc<App>>) -> Response {
    let state = if app.host.ready().is_ok() { "Running" } else { "Starting" };
    assets::plain(StatusCode::OK, &format!("server => {state}\nstore => {state}"))
}

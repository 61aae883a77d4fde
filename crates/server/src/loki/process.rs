//! What Loki says of itself: its rules, settings, services.

use std::sync::Arc;

use ::alert::group::{GroupReport, RuleReport};
use ::alert::rule::Expression;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::params::Params;
use crate::{App, assets, error, prometheus};

/// Files of rules are kept elsewhere: the answer of a Loki whose rules nobody wrote through this API.
pub(crate) async fn rules() -> Response {
    assets::plain(StatusCode::NOT_FOUND, "no rule groups found")
}

pub(crate) async fn rule_group() -> Response {
    assets::plain(StatusCode::NOT_FOUND, "group does not exist")
}

/// Rules over lines as they are evaluated, in Prometheus' form.
pub(crate) async fn prometheus_rules(State(app): State<Arc<App>>, params: Params) -> Response {
    match prometheus::rules_of(&of_lines(&app), &params) {
        Ok(body) => error::json(StatusCode::OK, with_no_error(body)),
        Err(e) => error::prometheus(&e),
    }
}

pub(crate) async fn prometheus_alerts(State(app): State<Arc<App>>) -> Response {
    error::json(StatusCode::OK, with_no_error(prometheus::alerts_of(&of_lines(&app))))
}

/// Groups whose rules are about lines.
fn of_lines(app: &App) -> Vec<GroupReport> {
    let mut groups = app.host.rule_groups();
    groups.retain(|group| {
        let is_logql = |rule: &RuleReport| matches!(rule.rule.expr, Expression::Logql(_));
        group.rules.first().is_some_and(is_logql)
    });
    groups
}

/// Loki says so of answers without one.
fn with_no_error(mut body: String) -> String {
    body.pop();
    body + ",\"errorType\":\"\",\"error\":\"\"}"
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

//! Rules and alerts. Rules are not evaluated yet, so there are no groups, no alerts and no Alertmanagers to tell; the
//! parameters are checked as they will be.

use ::query::promql;
use axum::response::Response;
use http::StatusCode;
use model::Result;
use serde_json::json;

use super::{flag, json as text, parameter, positioned, respond};
use crate::error;
use crate::params::Params;

pub(crate) async fn rules(params: Params) -> Response {
    respond(check(&params).map(|()| text::success(&json!({ "groups": [] }))))
}

fn check(params: &Params) -> Result<()> {
    let kind = params.get("type").to_ascii_lowercase();
    if !matches!(&*kind, "" | "alert" | "record") {
        return Err(parameter("type", &format!("not supported value {kind:?}")));
    }
    flag(params, "exclude_alerts")?;
    for text in params.all("match[]") {
        promql::parse_selector(text).map_err(|e| positioned(e, text))?;
    }
    let group_limit = params.get("group_limit");
    if !group_limit.is_empty() && !group_limit.parse::<i64>().is_ok_and(|n| n > 0) {
        return Err(parameter(
            "group_limit",
            &format!("group_limit needs to be a valid number of 1 or more: {group_limit:?}"),
        ));
    }
    match params.non_empty("group_next_token") {
        Some(_) if group_limit.is_empty() => Err(parameter(
            "group_limit",
            "group_limit needs to be present in order to paginate over the groups",
        )),
        Some(token) => Err(parameter(
            "group_next_token",
            &format!("invalid group_next_token {token:?}. were rule groups changed?"),
        )),
        None => Ok(()),
    }
}

pub(crate) async fn alerts() -> Response {
    error::json(StatusCode::OK, text::success(&json!({ "alerts": [] })))
}

pub(crate) async fn alertmanagers() -> Response {
    let none = json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] });
    error::json(StatusCode::OK, text::success(&none))
}

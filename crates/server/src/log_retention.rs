//! How long log streams and traces are kept, and what other rules would remove: `/api/taffrail/v1/logs/retention` and
//! `/api/taffrail/v1/traces/retention`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Error, ErrorKind, MatchOp, Matcher, Result, RetentionPreview, RetentionRule};
use query::logql;
use serde_json::{Value, json};

use crate::access::Caller;
use crate::params::{Params, duration_ms};
use crate::{App, assets, error};

/// The rules in force with what they keep; with `selector=` and `keep=` (in pairs), or `default=`, the same for those.
pub(crate) async fn preview(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Response {
    respond(&caller, "streams", || {
        let in_force = app.host.log_retention();
        let (selectors, rules, default_ms) = asked(&params, "selector", in_force, rule)?;
        let classes = app.host.preview_log_retention(rules, default_ms)?;
        Ok(shown("selector", "streams", &selectors, classes))
    })
}

/// Likewise for traces, with `service=`, a regular expression of the whole name, and `keep=`.
pub(crate) async fn preview_traces(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Response {
    if let Some(refusal) = refusal(&caller, "services") {
        return refusal;
    }
    // Reads blocks of all files.
    let preview = move || {
        let in_force = app.host.trace_retention();
        let (services, rules, default_ms) = asked(&params, "service", in_force, service_rule)?;
        let classes = app.host.preview_trace_retention(rules, default_ms)?;
        Ok(shown("service", "services", &services, classes))
    };
    match tokio::task::spawn_blocking(preview).await {
        Ok(Ok(answer)) => error::json(StatusCode::OK, answer.to_string()),
        Ok(Err(e)) => error::prometheus(&e),
        Err(e) => error::prometheus(&Error::new(ErrorKind::Bug, e.to_string())),
    }
}

fn refusal(caller: &Caller, what: &str) -> Option<Response> {
    let tenant = caller.tenant.as_ref()?;
    let why = format!("this looks at all {what}; the token is of tenant {tenant}");
    Some(assets::plain(StatusCode::FORBIDDEN, &why))
}

fn respond(caller: &Caller, what: &str, answer: impl FnOnce() -> Result<Value>) -> Response {
    if let Some(refusal) = refusal(caller, what) {
        return refusal;
    }
    match answer() {
        Ok(answer) => error::json(StatusCode::OK, answer.to_string()),
        Err(e) => error::prometheus(&e),
    }
}

/// Rules with what they are about as text, and the retention of the rest.
type Rules = (Vec<(String, RetentionRule)>, i64);

/// The rules that `params` ask about, or those in force.
fn asked(
    params: &Params,
    key: &str,
    (mut rules, mut default_ms): Rules,
    read: impl Fn((&str, &str)) -> Result<(String, RetentionRule)>,
) -> Result<(Vec<String>, Vec<RetentionRule>, i64)> {
    let selectors: Vec<&str> = params.all(key).collect();
    let keeps: Vec<&str> = params.all("keep").collect();
    if selectors.len() != keeps.len() {
        return Err(Error::invalid(format!(
            "{} {key}s and {} times to keep: each {key}= needs its keep=",
            selectors.len(),
            keeps.len()
        )));
    }
    let default = params.non_empty("default");
    if default.is_some() || !selectors.is_empty() {
        rules = selectors.into_iter().zip(keeps).map(read).collect::<Result<_>>()?;
    }
    if let Some(default) = default {
        default_ms = keep_ms(default)?;
    }
    let (selectors, rules): (Vec<String>, Vec<RetentionRule>) = rules.into_iter().unzip();
    Ok((selectors, rules, default_ms))
}

fn shown(key: &str, counted: &str, of: &[String], classes: Vec<RetentionPreview>) -> Value {
    let class = |(i, class): (usize, RetentionPreview)| {
        json!({
            key: of.get(i),
            "keepMs": class.keep_ms,
            counted: class.streams,
            "rows": class.rows,
            "diskBytes": class.disk_bytes,
            "oldestMs": class.oldest_ns.map(|ns| ns.div_euclid(1_000_000)),
            "goingRows": class.going_rows,
            "goingDiskBytes": class.going_disk_bytes,
        })
    };
    json!({ "classes": classes.into_iter().enumerate().map(class).collect::<Vec<Value>>() })
}

fn service_rule((service, keep): (&str, &str)) -> Result<(String, RetentionRule)> {
    let matcher = Matcher::new(MatchOp::Regex, "service.name", service)?;
    let retention_ms = keep_ms(keep)?;
    Ok((service.to_owned(), RetentionRule { matchers: vec![matcher], retention_ms }))
}

fn rule((selector, keep): (&str, &str)) -> Result<(String, RetentionRule)> {
    let matchers = logql::parse_selector(selector)
        .map_err(|e| Error::invalid(format!("selector {selector:?}: {}", e.message())))?;
    let retention_ms = keep_ms(keep)?;
    Ok((selector.to_owned(), RetentionRule { matchers, retention_ms }))
}

fn keep_ms(text: &str) -> Result<i64> {
    duration_ms(text)
        .filter(|ms| *ms > 0)
        .ok_or_else(|| Error::invalid(format!("{text:?} is not a duration such as 12h or 30d")))
}

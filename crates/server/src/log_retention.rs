//! How long log streams are kept, and what other rules would remove: `/api/taffrail/v1/logs/retention`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Error, Result, RetentionRule};
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
    if let Some(tenant) = &caller.tenant {
        let why = format!("this looks at all streams; the token is of tenant {tenant}");
        return assets::plain(StatusCode::FORBIDDEN, &why);
    }
    match answer(&app, &params) {
        Ok(answer) => error::json(StatusCode::OK, answer.to_string()),
        Err(e) => error::prometheus(&e),
    }
}

fn answer(app: &App, params: &Params) -> Result<Value> {
    let (mut rules, mut default_ms) = app.host.log_retention();
    let selectors: Vec<&str> = params.all("selector").collect();
    let keeps: Vec<&str> = params.all("keep").collect();
    if selectors.len() != keeps.len() {
        return Err(Error::invalid(format!(
            "{} selectors and {} times to keep: each selector= needs its keep=",
            selectors.len(),
            keeps.len()
        )));
    }
    let default = params.non_empty("default");
    if default.is_some() || !selectors.is_empty() {
        rules = selectors.into_iter().zip(keeps).map(rule).collect::<Result<_>>()?;
    }
    if let Some(default) = default {
        default_ms = keep_ms(default)?;
    }
    let (selectors, rules): (Vec<String>, Vec<RetentionRule>) = rules.into_iter().unzip();
    let classes: Vec<Value> = app
        .host
        .preview_log_retention(rules, default_ms)?
        .into_iter()
        .enumerate()
        .map(|(i, class)| {
            json!({
                "selector": selectors.get(i),
                "keepMs": class.keep_ms,
                "streams": class.streams,
                "rows": class.rows,
                "diskBytes": class.disk_bytes,
                "oldestMs": class.oldest_ns.map(|ns| ns.div_euclid(1_000_000)),
                "goingRows": class.going_rows,
                "goingDiskBytes": class.going_disk_bytes,
            })
        })
        .collect();
    Ok(json!({ "classes": classes }))
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

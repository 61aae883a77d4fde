//! Jaeger's query API over HTTP, version 1, as Jaeger UI and Grafana's Jaeger data source ask it.
//!
//! Does not own: how traces are written (`ingest::jaeger::answer`), receiving spans ([`receive`](crate::receive)).

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use ingest::jaeger::answer::{Adjustment, answer};
use model::{Error, ErrorKind, Result, TimeRange};
use serde_json::json;

use crate::error;
use crate::params::Params;
use crate::tenants::Reader;

/// Memory that the answer takes for each span, about.
const ANSWER_BYTES: u64 = 1_024;

pub(crate) async fn trace(app: Reader, Path(id): Path<String>, params: Params) -> Response {
    respond(one_trace(&app, &id, &params).await)
}

async fn one_trace(app: &Reader, id: &str, params: &Params) -> Result<String> {
    let id = trace_id(id)?;
    let adjustment = match params.get("raw") {
        "true" => Adjustment::None,
        _ => Adjustment::Clocks { skew_ns_max: 0 },
    };
    let traces = app.traces.clone();
    let found = app.queries.run(None, move |budget| {
        let Some(trace) = traces.trace(id, budget)? else { return Ok(None) };
        let spans: usize = trace.groups.iter().map(|group| group.spans.len()).sum();
        budget.charge_bytes(spans as u64 * ANSWER_BYTES)?;
        Ok(Some(answer(&[trace], adjustment)))
    });
    found.await?.ok_or_else(|| Error::new(ErrorKind::NotFound, "trace not found"))
}

/// A trace's id: up to 32 hexadecimal digits.
pub(crate) fn trace_id(text: &str) -> Result<u128> {
    let is_sound = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let id = is_sound.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    id.ok_or_else(|| {
        Error::invalid(format!("trace id {text:.64?} is not 1 to 32 hexadecimal digits"))
    })
}

pub(crate) async fn services(app: Reader) -> Response {
    let traces = app.traces.clone();
    let found = app.queries.run(None, move |budget| traces.services(TimeRange::ALL, budget));
    respond(found.await.map(|names| list(&names)))
}

/// An answer with a list in it.
pub(crate) fn list<T: serde::Serialize>(items: &[T]) -> String {
    json!({"data": items, "total": items.len(), "limit": 0, "offset": 0, "errors": null})
        .to_string()
}

/// An answer, or an error in Jaeger's words for it.
pub(crate) fn respond(outcome: Result<String>) -> Response {
    let error = match outcome {
        Ok(body) => return error::json(StatusCode::OK, body),
        Err(error) => error,
    };
    let status = error::status(error.kind());
    let errors = [json!({"code": status.as_u16(), "msg": error::public_message(&error)})];
    let body = json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors});
    error::json(status, body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal() {
        let check = |text: &str, expected: Option<u128>| {
            assert_eq!(trace_id(text).ok(), expected, "{text}");
        };
        check("1", Some(1));
        check("00000000000000ff", Some(255));
        check("ffffffffffffffffffffffffffffffff", Some(u128::MAX));
        check("", None);
        check("+1", None);
        check("0x1", None);
        check("000000000000000000000000000000001", None);
    }
}

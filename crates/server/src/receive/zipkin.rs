//! Zipkin's receivers: `POST /api/v2/spans` (JSON, protobuf) and `POST /api/v1/spans` (JSON, Thrift).
//!
//! The answer is 202 as Zipkin's is, but once the spans are stored; some that cannot be are counted and named in the body,
//! and it is an error when none can. Does not own: spans (`ingest::zipkin`).
//!
//! Source: zipkin-api, `zipkin2-api.yaml`, `zipkin-api.yaml`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use ingest::zipkin::{self, Form};

use super::{body, refuse, spans};
use crate::tenants::Owner;
use crate::{App, assets};

const SOURCE: &str = "zipkin";

pub(crate) async fn v1(State(app): State<Arc<App>>, owner: Owner, request: Request) -> Response {
    let form = |essence: &str| match essence {
        "application/x-thrift" => Some(Form::V1Thrift),
        _ => json(essence, Form::V1Json),
    };
    let known = "application/json or application/x-thrift";
    receive(app, owner, request, form, known).await
}

pub(crate) async fn v2(State(app): State<Arc<App>>, owner: Owner, request: Request) -> Response {
    let form = |essence: &str| match essence {
        "application/x-protobuf" | "application/protobuf" => Some(Form::V2Protobuf),
        _ => json(essence, Form::V2Json),
    };
    let known = "application/json or application/x-protobuf";
    receive(app, owner, request, form, known).await
}

/// JSON is what is meant when nothing is said, and by what `curl -d` says.
fn json(essence: &str, form: Form) -> Option<Form> {
    let is_json = ["", "application/json", "text/json", "application/x-www-form-urlencoded"];
    is_json.contains(&essence).then_some(form)
}

async fn receive(
    app: Arc<App>,
    owner: Owner,
    request: Request,
    form: impl Fn(&str) -> Option<Form>,
    known: &str,
) -> Response {
    let (parts, sent) = request.into_parts();
    let form = match form_of(&parts.headers, form, known) {
        Ok(form) => form,
        Err(reason) => return assets::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason),
    };
    let packing = match body::packing(&parts.headers) {
        Ok(packing) => packing,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    let bytes_max = app.receivers.limits.body_bytes_max;
    let held = match app.receivers.bodies.read(sent, bytes_max).await {
        Ok(held) => held,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    let now_ns = app.clock.now_ns();
    let received = spans::receive(&app, owner, SOURCE, packing, held, move |body, limits| {
        zipkin::decode(form, body, spans::elements_max(limits), now_ns)
    });
    match received.await.and_then(spans::Outcome::or_error) {
        Ok(outcome) => spans::accepted(&outcome),
        Err(error) => refuse(&error),
    }
}

fn form_of(
    headers: &HeaderMap,
    form: impl Fn(&str) -> Option<Form>,
    known: &str,
) -> Result<Form, String> {
    let content_type = body::header_text(headers, header::CONTENT_TYPE);
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    form(&essence.to_ascii_lowercase())
        .ok_or_else(|| format!("content type {content_type:.64?} is not {known}"))
}

//! One place where an [`ErrorKind`] becomes an HTTP status and each API's error body.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use model::{Error, ErrorKind};

/// Status of an error that happened while executing a request.
pub(crate) fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Limit => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Busy | ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Corrupt | ErrorKind::Io | ErrorKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Text for the client: internal failures are logged here, where they are handled, and only named outside.
pub(crate) fn public_message(error: &Error) -> String {
    if status(error.kind()) == StatusCode::INTERNAL_SERVER_ERROR {
        let id = format!(
            "{:08x}",
            twox_hash::XxHash64::oneshot(0, format!("{error:?}").as_bytes()) as u32
        );
        tracing::error!(error = ?error, id, "request failed");
        return format!("internal error {id}; see the log");
    }
    error.message().to_owned()
}

/// Prometheus' body: `{"status":"error","errorType":…,"error":…}`.
pub(crate) fn prometheus(error: &Error) -> Response {
    let kind = match error.kind() {
        ErrorKind::Invalid => "bad_data",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Limit => "execution",
        ErrorKind::Busy => "unavailable",
        ErrorKind::Cancelled if error.message().contains("timed out") => "timeout",
        ErrorKind::Cancelled => "canceled",
        ErrorKind::Corrupt | ErrorKind::Io | ErrorKind::Bug => "internal",
    };
    failure(status(error.kind()), kind, &public_message(error))
}

/// Prometheus' words for what is switched off or not there yet: 503 `unavailable`.
pub(crate) fn prometheus_unavailable(message: &str) -> Response {
    failure(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
}

fn failure(status: StatusCode, kind: &str, message: &str) -> Response {
    let mut body = format!("{{\"status\":\"error\",\"errorType\":\"{kind}\",\"error\":");
    crate::prometheus::json::string(&mut body, message);
    body.push('}');
    json(status, body)
}

/// Prometheus' answer to a sound query that the data made impossible: 422 `execution`.
pub(crate) fn prometheus_execution(error: &Error) -> Response {
    failure(StatusCode::UNPROCESSABLE_ENTITY, "execution", error.message())
}

/// Loki's body: the message as plain text.
pub(crate) fn loki(error: &Error) -> Response {
    let status = match error.kind() {
        ErrorKind::Limit => StatusCode::BAD_REQUEST,
        ErrorKind::Cancelled => StatusCode::GATEWAY_TIMEOUT,
        kind => status(kind),
    };
    crate::assets::plain(status, &public_message(error))
}

/// No body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(crate) fn json(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

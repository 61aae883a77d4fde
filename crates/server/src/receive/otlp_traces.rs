//! OTLP traces over HTTP: `POST /v1/traces`.
//!
//! As for [metrics](super::otlp): protobuf and JSON, spans that cannot be stored are a partial success.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use ingest::compression::Encoding;
use ingest::otlp;
use model::Result;

use super::otlp::{Partial, body, failure, success};
use super::{body::Held, spans, status};
use crate::App;
use crate::tenants::Owner;

const SOURCE: &str = "otlp";

pub(crate) async fn traces(
    State(app): State<Arc<App>>,
    owner: Owner,
    request: Request,
) -> Response {
    let (encoding, packing, held) = match body(&app, request).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    match receive(&app, owner, encoding, packing, held).await {
        Ok(partial) => success(encoding, &partial, "rejectedSpans"),
        Err(error) => failure(status(error.kind()), encoding, &error),
    }
}

/// Decodes and stores one request.
pub(super) async fn receive(
    app: &Arc<App>,
    owner: Owner,
    encoding: otlp::Encoding,
    packing: Encoding,
    held: Held,
) -> Result<Partial> {
    let outcome = spans::receive(app, owner, SOURCE, packing, held, move |body, limits| {
        let elements_max = match encoding {
            otlp::Encoding::Protobuf => spans::elements_max(limits),
            otlp::Encoding::Json => limits.rows_max,
        };
        otlp::traces::decode(encoding, body, elements_max)
    })
    .await?;
    Ok(Partial { rejected: outcome.refused.rows, message: outcome.why() })
}

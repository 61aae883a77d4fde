//! Remote read, `POST /api/v1/read`: raw samples for other Prometheus-like systems, in both response types.
//!
//! Source: Prometheus, "Remote Read API" and `prompb`. Requests are one snappy block; nothing is sized by what it claims
//! beyond [`REQUEST_BYTES_MAX`]. `SAMPLES` is one snappy message and therefore whole in memory, inside the query's budget;
//! `STREAMED_XOR_CHUNKS` is made frame by frame while it is sent.

mod bits;
mod histograms;
mod request;
mod response;
mod xor;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use model::{Error, ErrorKind, Labels, Matcher, MetricPlan, Result, SeriesData};

use crate::{App, assets, streamed};
use request::{Query, ReadRequest, ResponseType};

pub(crate) use request::decode as decode_request;

/// Bytes of a compressed request, and of a decompressed one.
const REQUEST_BYTES_MAX: usize = 4 << 20;
const SAMPLES_TYPE: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const STREAMED_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

pub(crate) async fn read(State(app): State<Arc<App>>, request: Request) -> Response {
    answer(&app, request.into_body()).await.unwrap_or_else(|e| failure(&e))
}

/// Errors are plain text, as remote-read clients expect.
fn failure(error: &Error) -> Response {
    let status = match error.kind() {
        ErrorKind::Invalid | ErrorKind::Limit => StatusCode::BAD_REQUEST,
        ErrorKind::Busy | ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    assets::plain(status, &crate::error::public_message(error))
}

async fn answer(app: &Arc<App>, body: Body) -> Result<Response> {
    let body = Limited::new(body, REQUEST_BYTES_MAX).collect().await.map_err(|e| {
        Error::invalid(format!("read request of at most {REQUEST_BYTES_MAX} bytes: {e}"))
    })?;
    let request = decompressed(&body.to_bytes())?;
    let ReadRequest { queries, response_type } = request::decode(&request)?;
    let external = app.host.external_labels();
    let external = Labels::from_pairs(external.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    let source = app.metrics.clone();
    let answers = app
        .queries
        .run(None, move |budget| {
            queries
                .into_iter()
                .map(|query| {
                    let selected = source.select(&plan(query, &external), budget)?;
                    Ok(selected.series.into_iter().map(|s| with(s, &external)).collect())
                })
                .collect::<Result<Vec<Vec<SeriesData>>>>()
        })
        .await?;
    match response_type {
        ResponseType::Samples => {
            let message = response::samples(&answers);
            let compressed = snap::raw::Encoder::new().compress_vec(&message).map_err(|e| {
                Error::new(ErrorKind::Limit, format!("compress {} bytes: {e}", message.len()))
            })?;
            let mut response = Response::new(Body::from(compressed));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, SAMPLES_TYPE);
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
            Ok(response)
        }
        ResponseType::StreamedXorChunks => {
            Ok(streamed::respond(response::Frames::new(answers), STREAMED_TYPE))
        }
    }
}

/// One snappy block; its length header is checked before anything is allocated.
fn decompressed(block: &[u8]) -> Result<Vec<u8>> {
    let invalid = |e: &dyn std::fmt::Display| Error::invalid(format!("snappy: {e}"));
    let length = snap::raw::decompress_len(block).map_err(|e| invalid(&e))?;
    if length > REQUEST_BYTES_MAX {
        return Err(Error::invalid(format!(
            "read request has {length} bytes decompressed; the limit is {REQUEST_BYTES_MAX}"
        )));
    }
    snap::raw::Decoder::new().decompress_vec(block).map_err(|e| invalid(&e))
}

/// External labels are not stored: conditions they satisfy are left out.
fn plan(query: Query, external: &Labels) -> MetricPlan {
    let outside = |m: &Matcher| {
        external
            .get(m.name())
            .is_some_and(|value| m.op() == model::MatchOp::Equal && m.value() == value)
    };
    MetricPlan {
        matchers: query.matchers.into_iter().filter(|m| !outside(m)).collect(),
        start_ms: query.start_ms,
        end_ms: query.end_ms,
        step_ms: 0,
        range_ms: 0,
        function: "",
        grouping: None,
    }
}

/// `series` with the external labels it does not have itself.
fn with(mut series: SeriesData, external: &Labels) -> SeriesData {
    if !external.is_empty() {
        let pairs = external.iter().chain(series.labels.iter());
        series.labels = Labels::from_pairs(pairs);
    }
    series
}

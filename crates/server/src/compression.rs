//! Answers compressed with zstd or gzip where the client takes it, piece by piece as they are made.

use std::io::Write as _;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, StatusCode, header};

/// Answers known to be smaller are sent as they are.
const BYTES_MIN: u64 = 1 << 10;
const ZSTD_LEVEL: i32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Zstd,
    Gzip,
}

/// The best coding that an `Accept-Encoding` names; `None` for none.
fn accepted(offers: &str) -> Option<Coding> {
    let mut best: Option<(u32, Coding)> = None;
    for offer in offers.split(',') {
        let (name, parameters) = offer.split_once(';').unwrap_or((offer, ""));
        let coding = match name.trim() {
            "zstd" => Coding::Zstd,
            "gzip" | "x-gzip" => Coding::Gzip,
            _ => continue,
        };
        let quality =
            parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        let weight = (f64::clamp(quality, 0.0, 1.0) * 1000.0) as u32;
        // At the same weight zstd wins: it costs a third of the time.
        let rank = (weight, coding == Coding::Zstd);
        if weight > 0 && best.is_none_or(|(w, c)| rank > (w, c == Coding::Zstd)) {
            best = Some((weight, coding));
        }
    }
    best.map(|(_, coding)| coding)
}

enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> std::io::Result<Self> {
        Ok(match coding {
            Coding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
            Coding::Gzip => {
                Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()))
            }
        })
    }

    /// What is ready after `bytes`.
    fn push(&mut self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => {
                encoder.write_all(bytes)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

/// `response` in a coding that `accept` (the request's `Accept-Encoding`) names, if that is worth it. Event streams stay as they are: their events must
/// not wait for a full block.
pub(crate) fn apply(accept: Option<&HeaderValue>, response: Response) -> Response {
    let skip = response.headers().contains_key(header::CONTENT_ENCODING)
        || response.status() == StatusCode::SWITCHING_PROTOCOLS
        || response.body().size_hint().exact().is_some_and(|bytes| bytes < BYTES_MIN)
        || response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream"));
    let offers = accept.and_then(|v| v.to_str().ok()).unwrap_or("");
    let Some(coding) = accepted(offers).filter(|_| !skip) else { return response };
    let Ok(encoder) = Encoder::new(coding) else { return response };
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let name = if coding == Coding::Zstd { "zstd" } else { "gzip" };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let pieces = stream::unfold(
        (body.into_data_stream(), Some(encoder)),
        |(mut source, mut encoder)| async move {
            loop {
                let piece = match (source.next().await, encoder.as_mut()) {
                    (_, None) => return None,
                    (Some(Ok(bytes)), Some(encoder)) => {
                        encoder.push(&bytes).map_err(axum::Error::new)
                    }
                    (Some(Err(e)), Some(_)) => Err(e),
                    (None, Some(_)) => {
                        let last = encoder.take().map(Encoder::finish).transpose();
                        last.map(Option::unwrap_or_default).map_err(axum::Error::new)
                    }
                };
                match piece {
                    Ok(bytes) if bytes.is_empty() && encoder.is_some() => {}
                    Ok(bytes) => return Some((Ok(Bytes::from(bytes)), (source, encoder))),
                    // The client sees a cut answer, never a whole one that is wrong.
                    Err(e) => return Some((Err(e), (source, None))),
                }
            }
        },
    );
    Response::from_parts(parts, Body::from_stream(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_chosen_by_weight() {
        let check = |text: &str, expected| assert_eq!(accepted(text), expected, "{text}");
        check("gzip, deflate, br, zstd", Some(Coding::Zstd));
        check("gzip", Some(Coding::Gzip));
        check("zstd;q=0, gzip;q=0.5", Some(Coding::Gzip));
        check("zstd;q=0.4, gzip;q=0.5", Some(Coding::Gzip));
        check("identity", None);
        check("br;q=1", None);
        check("", None);
    }
}

//! `POST /upload`: journal entries as `systemd-journal-upload` sends them, a body of any length in one request.
//!
//! Owns: reading the body piece by piece, each stored before the next is read, so that a journal of gigabytes takes no more
//! memory than an entry. Does not own: entries (`ingest::journal`).
//!
//! The sender remembers how far it came only when a request has succeeded; after a failure it sends entries again.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use ingest::journal::{self, Decoder};
use ingest::pushed_lines::Lines;
use model::{Error, Result};

use super::{Answer, lines, off_runtime, refuse};
use crate::tenants::Owner;
use crate::{App, assets};

const SOURCE: &str = "journal";
const CONTENT_TYPE: &str = "application/vnd.fdo.journal";
/// Time for the next piece to come.
const PIECE_TIME_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    owner: Owner,
    request: Request,
) -> Response {
    let (parts, mut body) = request.into_parts();
    if let Err(why) = check(&parts.headers) {
        return assets::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &why);
    }
    let mut decoder = Decoder::new(journal::Limits::default());
    loop {
        let piece = match tokio::time::timeout(PIECE_TIME_MAX, body.frame()).await {
            Err(_) => {
                let why = format!("nothing came for {} s", PIECE_TIME_MAX.as_secs());
                return assets::plain(StatusCode::REQUEST_TIMEOUT, &why);
            }
            Ok(Some(Err(error))) => {
                return refuse(&Error::invalid(format!("body breaks off: {error}")));
            }
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) => Some(piece),
                Err(_trailers) => continue,
            },
            Ok(None) => None,
        };
        let is_last = piece.is_none();
        decoder = match take(&app, &owner, decoder, piece).await {
            Ok(decoder) => decoder,
            Err(error) => return refuse(&error),
        };
        if is_last {
            return assets::plain(StatusCode::ACCEPTED, "OK.");
        }
    }
}

fn check(headers: &HeaderMap) -> Result<(), String> {
    let of = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").trim();
    let content_type = of(header::CONTENT_TYPE);
    if !content_type.is_empty() && content_type.split(';').next() != Some(CONTENT_TYPE) {
        return Err(format!("content type {content_type:.64?} is not {CONTENT_TYPE}"));
    }
    match of(header::CONTENT_ENCODING) {
        "" | "identity" => Ok(()),
        other => Err(format!("content encoding {other:.64?} is not supported here; send it plain")),
    }
}

/// Stores the entries that end in `piece`; without one, what is left.
async fn take(
    app: &Arc<App>,
    owner: &Owner,
    decoder: Decoder,
    piece: Option<bytes::Bytes>,
) -> Result<Decoder> {
    let lane = app.receivers.patient_lane().await;
    let (decoding, owner, now_ms) = (app.clone(), owner.clone(), app.clock.now_ms());
    let (decoder, answer): (Decoder, Answer) = off_runtime(move || {
        let _lane = lane;
        let receivers = &decoding.receivers;
        let mut lines = Lines::new(&lines::limits(&receivers.limits), now_ms);
        let (mut decoder, mut cut) = (decoder, 0);
        let mut visit = |entry: journal::Entry| {
            cut += u64::from(entry.missing_bytes > 0);
            journal::add(&entry, &receivers.lines.streams, &mut lines).map(drop)
        };
        match piece {
            Some(piece) => decoder.read(&piece, &mut visit)?,
            None => {
                let fresh = Decoder::new(journal::Limits::default());
                std::mem::replace(&mut decoder, fresh).finish(&mut visit)?;
            }
        }
        if cut > 0 {
            receivers.lines.count("cut", SOURCE, "", cut);
        }
        Ok((decoder, lines::hand_over_once(&decoding, &owner, SOURCE, lines.finish())))
    })
    .await?;
    answer.get().await?;
    Ok(decoder)
}

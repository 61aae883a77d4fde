//! `POST /insert/jsonline`: one JSON object per line, with VictoriaLogs' parameters and headers.
//!
//! Parameters win over headers. Lines that are no objects are refused by their number, and the others stored; the answer
//! is then 400.
//!
//! Does not own: reading the lines (`ingest::jsonline`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use ingest::compression::{self, Encoding as Packing};
use ingest::document::{More, Roles};
use ingest::jsonline;
use ingest::pushed_lines::Refused;
use model::{Error, Result};

use super::{body::Held, lines, off_runtime, reasons, refuse};
use crate::params::Params;
use crate::tenants::Owner;
use crate::{App, assets, error};

const SOURCE: &str = "jsonline";
/// Names in one parameter.
const NAMES_MAX: usize = 64;

/// What a request says beside its body.
struct Asked {
    packing: Packing,
    roles: Roles,
    /// Fields every line gets.
    fields: Vec<(String, String)>,
}

pub(crate) async fn insert(
    State(app): State<Arc<App>>,
    owner: Owner,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let asked = match asked(&parts.headers, parts.uri.query().unwrap_or("")) {
        Ok(asked) => asked,
        Err(error) => return refuse(&error),
    };
    let limits = app.receivers.limits;
    let held = match app.receivers.bodies.read(body, limits.body_bytes_max).await {
        Ok(held) => held,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    match receive(&app, owner, asked, held).await {
        Ok(refused) if refused.is_empty() => error::empty(StatusCode::OK),
        Ok(refused) => assets::plain(StatusCode::BAD_REQUEST, &refused.reasons.join("\n")),
        Err(error) => refuse(&error),
    }
}

fn asked(headers: &HeaderMap, query: &str) -> Result<Asked> {
    let params = Params::from_query(query);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let list = |parameter: &str, name: &str| -> Result<Vec<String>> {
        let text = params.non_empty(parameter).or_else(|| header(name)).unwrap_or("");
        let names: Vec<String> =
            text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect();
        if names.len() > NAMES_MAX {
            return Err(Error::invalid(format!(
                "{parameter} has {} names; the limit is {NAMES_MAX}",
                names.len()
            )));
        }
        Ok(names)
    };
    let or = |names: Vec<String>, default: &str| {
        if names.is_empty() { vec![default.to_owned()] } else { names }
    };
    let packing = header(header::CONTENT_ENCODING.as_str()).unwrap_or("");
    let packing = Packing::from_header(packing).ok_or_else(|| {
        Error::invalid(format!("content encoding {packing:.64?} is not supported"))
    })?;
    let fields = list("extra_fields", "vl-extra-fields")?.into_iter().map(|pair| {
        pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(
            || Error::invalid(format!("extra_fields: {pair:.64?} is not of the form name=value")),
        )
    });
    Ok(Asked {
        packing,
        roles: Roles {
            message: or(list("_msg_field", "vl-msg-field")?, "_msg"),
            time: or(list("_time_field", "vl-time-field")?, "_time"),
            labels: list("_stream_fields", "vl-stream-fields")?,
            ignored: list("ignore_fields", "vl-ignore-fields")?,
        },
        fields: fields.collect::<Result<_>>()?,
    })
}

async fn receive(app: &Arc<App>, owner: Owner, asked: Asked, held: Held) -> Result<Refused> {
    let lane = app.receivers.lane().await?;
    let (decoding, now_ms) = (app.clone(), app.clock.now_ms());
    let (mut refused, answer) = off_runtime(move || {
        let _lane = lane;
        let receivers = &decoding.receivers;
        let bytes_max = receivers.limits.unpacked_bytes_max;
        let body = compression::unpack(asked.packing, &held.bytes, bytes_max)?;
        let limits = lines::limits(&receivers.limits);
        let streams = &receivers.lines.streams;
        // An extra field that is named as a label is one.
        let extra = asked.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let (labels, fields): (Vec<_>, Vec<_>) =
            extra.partition(|(name, _)| asked.roles.labels.iter().any(|label| label == name));
        let more = More { labels: &labels, fields: &fields };
        let pushed = jsonline::decode(&body, &asked.roles, &more, &limits, streams, now_ms)?;
        let refused = pushed.refused.clone();
        Ok((refused, lines::hand_over_once(&decoding, &owner, SOURCE, pushed)))
    })
    .await?;
    let receipt = answer.get().await?;
    for reason in reasons(&receipt) {
        refused.add(0, reason);
    }
    Ok(refused)
}

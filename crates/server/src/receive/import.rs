//! `POST /api/v1/import/prometheus`: exposition text, as VictoriaMetrics takes it.
//!
//! Labels may come with the request, in its path as for the Pushgateway (`…/metrics/job/backup`) or as
//! `extra_label=name=value`; they win over those of the text. Samples without a time get that of `timestamp`, else the
//! present. A text with a mistake is refused with its line and column, and nothing of it is stored; VictoriaMetrics leaves
//! out such lines in silence.
//!
//! Does not own: reading the text (`ingest::pushed_text`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use ingest::compression::{self, Encoding as Packing};
use ingest::exposition::{self, Encoding, Format};
use ingest::pushed_text::{self, Push, Pushed};
use ingest::pushgateway::group_labels;
use model::{Error, ErrorKind, Labels, MetricBatch, Result};

use super::body::Held;
use super::{Receivers, hand_over, off_runtime, reasons, refuse, rejected};
use crate::params::Params;
use crate::{App, assets, error};

const SOURCE: &str = "import";
const PATH: &str = "/api/v1/import/prometheus";
/// Labels a request may add.
const ADDED_MAX: usize = 64;

/// What a request says beside its body.
struct Asked {
    added: Labels,
    format: Format,
    packing: Packing,
    t_ms: i64,
}

pub(crate) async fn text(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (format, packing) = match negotiate(&parts.headers) {
        Ok(negotiated) => negotiated,
        Err(reason) => return assets::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason),
    };
    let params = Params::from_query(parts.uri.query().unwrap_or(""));
    let asked = added_labels(parts.uri.path(), &params, &app).and_then(|added| {
        let t_ms = match params.non_empty("timestamp") {
            None => app.clock.now_ms(),
            Some(text) => text.parse().map_err(|_| {
                Error::invalid(format!(
                    "invalid parameter \"timestamp\": {text:.64?} is not a number of milliseconds"
                ))
            })?,
        };
        Ok(Asked { added, format, packing, t_ms })
    });
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => return refuse(&error),
    };
    let limits = app.receivers.limits;
    let held = match app.receivers.bodies.read(body, limits.body_bytes_max).await {
        Ok(held) => held,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    match receive(&app, asked, held).await {
        Ok(()) => error::empty(StatusCode::NO_CONTENT),
        Err(error) => {
            if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Limit) {
                super::book_refused(&app, SOURCE, 1);
            }
            refuse(&error)
        }
    }
}

/// Format and packing; what is not said to be something else is Prometheus text.
fn negotiate(headers: &HeaderMap) -> Result<(Format, Packing), String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let packing = text(header::CONTENT_ENCODING);
    let packing = Packing::from_header(packing)
        .ok_or_else(|| format!("content encoding {packing:.64?} is not supported"))?;
    let media_type = text(header::CONTENT_TYPE).split(';').next().unwrap_or("").trim();
    match Encoding::of_media_type(media_type) {
        Some(Encoding::Protobuf) => Err("protobuf is not supported here; send text".to_owned()),
        Some(Encoding::Text(format)) => Ok((format, packing)),
        None => Ok((Format::Prometheus, packing)),
    }
}

/// Labels from the path and the parameters; the latter win.
fn added_labels(path: &str, params: &Params, app: &App) -> Result<Labels> {
    let limits = app.receivers.limits;
    let rest = path.strip_prefix(PATH).unwrap_or("");
    let group = match rest.strip_prefix("/metrics/") {
        // The raw path counts: in it `%2F` is not a separator.
        Some(group) => group_labels(group)?,
        None => Labels::default(),
    };
    let mut builder = group.to_builder();
    for (number, text) in params.all("extra_label").enumerate() {
        let (name, value) =
            text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid parameter \"extra_label\": {text:.64?} is not of the form name=value"
                ))
            })?;
        if number >= ADDED_MAX {
            return Err(Error::invalid(format!("more than {ADDED_MAX} extra labels")));
        }
        builder.set(name, value);
    }
    let added = builder.build();
    for (name, value) in added.iter() {
        if name.len() > limits.name_bytes_max || value.len() > limits.value_bytes_max {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "label {name:.64?} has a name of {} and a value of {} bytes; the limits are {} and {}",
                    name.len(),
                    value.len(),
                    limits.name_bytes_max,
                    limits.value_bytes_max
                ),
            ));
        }
    }
    Ok(added)
}

async fn receive(app: &Arc<App>, asked: Asked, held: Held) -> Result<()> {
    let lane = app.receivers.lane().await?;
    let (decoding, now_ms) = (app.clone(), app.clock.now_ms());
    let (sent, answer) = off_runtime(move || {
        let _lane = lane;
        let receivers = &decoding.receivers;
        let pushed = read(receivers, &asked, &held.bytes, now_ms)?;
        drop(held);
        let sent = pushed.samples.len() + pushed.steady.values.len();
        let batch = MetricBatch {
            source: Arc::from(SOURCE),
            t_ms: asked.t_ms,
            stamped: pushed.samples,
            steady: pushed.steady,
            exemplars: pushed.exemplars,
            metadata: pushed.metadata,
            ..MetricBatch::default()
        };
        Ok((sent, hand_over(&receivers.sink, batch)))
    })
    .await?;
    let receipt = answer.get().await?;
    let refused = rejected(&receipt);
    if refused == 0 {
        return Ok(());
    }
    let why: Vec<String> = reasons(&receipt).collect();
    Err(Error::invalid(format!("{refused} of {sent} samples refused: {}", why.join("; "))))
}

/// Reads a text with what is known of the series in it, and learns what is not.
fn read(receivers: &Receivers, asked: &Asked, packed: &[u8], now_ms: i64) -> Result<Pushed> {
    let limits = receivers.limits;
    let text = compression::unpack(asked.packing, packed, limits.unpacked_bytes_max)?;
    let of_text = exposition::Limits {
        body_bytes_max: limits.unpacked_bytes_max,
        samples_max: limits.rows_max,
        labels_max: limits.labels_max,
        name_bytes_max: limits.name_bytes_max,
        value_bytes_max: limits.value_bytes_max,
    };
    let bounds = pushed_text::Limits { text: of_text, label_bytes_max: limits.label_bytes_max() };
    let push = Push { format: asked.format, added: &asked.added, t_ms: asked.t_ms };
    let (pushed, news) = {
        let known = receivers.known_texts.read();
        pushed_text::read(&text, push, &bounds, &known)?
    };
    if !news.is_empty() {
        receivers.known_texts.write().learn(news, now_ms);
    }
    Ok(pushed)
}

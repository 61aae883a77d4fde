//! incident.io: the message of a webhook, of a bounded size and with a token.

use model::http::HttpOptions;

use super::render::{Render, secret};
use super::webhook::message;
use super::{Begun, Request, Sequence, answer};
use crate::receiver::IncidentIo;

/// Version of the message.
const VERSION: &str = "1";
/// Bytes of a message that incident.io takes.
const BODY_BYTES_MAX: usize = 512 * 1024;

pub(super) fn incident_io<'a>(
    it: &IncidentIo,
    http: &HttpOptions,
    mut render: Render<'_>,
) -> Begun<'a> {
    let url = secret("incidentio.url", it.url.as_ref())?;
    let mut body = message(&mut render, it.max_alerts, VERSION);
    if body.len() > BODY_BYTES_MAX {
        body = message(&mut render, 1, VERSION);
    }
    let mut request = Request::post(url.trim(), body);
    if it.alert_source_token.is_some() || http.authorization.is_none() {
        let token = secret("incidentio.alert_source_token", it.alert_source_token.as_ref())?;
        request = request.with("Authorization", format!("Bearer {token}"));
    }
    Sequence::of([request], answer::status)
}

//! Alerts and their groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::alert::active::{ActiveAlert, Fingerprint, pairs};
use ::alert::dispatch::{ALERTS_MAX as MOST, Dispatcher};
use ::alert::matcher::Matcher;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use model::{Error, ErrorKind, Labels, Result};
use serde::{Deserialize, Serialize};

use super::ask;
use crate::params::Params;
use crate::{App, assets, error};

/// Alerts of one request.
const ALERTS_MAX: usize = 100_000;
/// Bytes of one label's or annotation's value, and of a URL.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Labels or annotations of one alert.
const PAIRS_MAX: usize = 256;

/// 9999-12-30T00:00:00Z, the last day that times are counted to, Unix milliseconds.
const FOREVER_MS: i64 = 253_402_128_000_000;

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    inhibited_by: Vec<String>,
    muted_by: Vec<String>,
    silenced_by: Vec<String>,
    state: &'static str,
}

/// In the order in which Alertmanager writes its fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    annotations: &'a BTreeMap<String, String>,
    ends_at: String,
    fingerprint: String,
    receivers: Vec<Named<'a>>,
    starts_at: String,
    status: Status,
    updated_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    generator_url: &'a str,
    labels: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownGroup<'a> {
    alerts: Vec<Shown<'a>>,
    labels: BTreeMap<String, String>,
    receiver: Named<'a>,
    route_labels: &'a BTreeMap<String, String>,
}

/// What is asked for.
struct Wanted {
    filters: Vec<Matcher>,
    receiver: Option<regex::Regex>,
    active: bool,
    silenced: bool,
    inhibited: bool,
    muted: bool,
}

impl Wanted {
    fn of(params: &Params) -> Result<Self> {
        Ok(Self {
            filters: ask::filters(params)?,
            receiver: ask::receiver(params)?,
            active: ask::is_on(params, "active"),
            silenced: ask::is_on(params, "silenced"),
            inhibited: ask::is_on(params, "inhibited"),
            muted: ask::is_on(params, "muted"),
        })
    }

    fn receiver(&self, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|regex| regex.is_match(name))
    }

    /// The alert as it is shown; `None` if it is over or not wanted.
    fn shown<'a>(
        &self,
        state: &Dispatcher,
        alert: &'a ActiveAlert,
        muted_by: &[String],
        now_ms: i64,
    ) -> Option<Shown<'a>> {
        if alert.resolved(now_ms) || !ask::meets(&self.filters, |name| alert.labels.get(name)) {
            return None;
        }
        let muted = state.muted(&alert.labels, now_ms);
        let is_active = muted.is_empty();
        let is_wanted = (self.active || !is_active)
            && (self.silenced || muted.silenced_by.is_empty())
            && (self.inhibited || muted.inhibited_by.is_empty());
        is_wanted.then(|| Shown {
            annotations: &alert.annotations,
            ends_at: super::time(alert.ends_ms),
            fingerprint: alert.fingerprint().to_string(),
            receivers: Vec::new(),
            starts_at: super::time(alert.starts_ms),
            status: Status {
                inhibited_by: muted.inhibited_by.iter().map(Fingerprint::to_string).collect(),
                muted_by: muted_by.to_vec(),
                silenced_by: muted.silenced_by,
                state: if is_active { "active" } else { "suppressed" },
            },
            updated_at: super::time(alert.updated_ms),
            generator_url: &alert.generator_url,
            labels: pairs(&alert.labels),
        })
    }
}

/// `GET /api/v2/alerts`.
pub(crate) async fn list(State(app): State<Arc<App>>, params: Params) -> Response {
    let wanted = match Wanted::of(&params) {
        Ok(wanted) => wanted,
        Err(error) => return super::failed(&error),
    };
    let now_ms = app.clock.now_ms();
    let text = super::look(&app, |state| {
        let mut shown: Vec<(String, Shown<'_>)> = Vec::new();
        for (_, alert) in state.alerts() {
            let routes = state.config().route.matching(&alert.labels);
            if !routes.iter().any(|route| wanted.receiver(&route.receiver)) {
                continue;
            }
            let Some(mut one) = wanted.shown(state, alert, &[], now_ms) else { continue };
            one.receivers = routes.iter().map(|route| Named { name: &route.receiver }).collect();
            shown.push((one.fingerprint.clone(), one));
        }
        shown.sort_by(|a, b| a.0.cmp(&b.0));
        written(&shown.into_iter().map(|(_, one)| one).collect::<Vec<_>>())
    });
    sent(text)
}

/// `GET /api/v2/alerts/groups`.
pub(crate) async fn groups(State(app): State<Arc<App>>, params: Params) -> Response {
    let wanted = match Wanted::of(&params) {
        Ok(wanted) => wanted,
        Err(error) => return super::failed(&error),
    };
    let now_ms = app.clock.now_ms();
    let text = super::look(&app, |state| {
        let mut shown = Vec::new();
        let groups: Vec<_> = state.groups(now_ms).collect();
        // Which receivers an alert goes to, in all groups.
        let mut receivers: BTreeMap<Fingerprint, BTreeSet<&str>> = BTreeMap::new();
        for group in &groups {
            for alert in &group.alerts {
                receivers.entry(alert.fingerprint()).or_default().insert(group.receiver);
            }
        }
        for group in groups.iter().filter(|group| wanted.receiver(group.receiver)) {
            let with_receivers = |alert: &&'_ Arc<ActiveAlert>| {
                let names = receivers.get(&alert.fingerprint()).into_iter().flatten();
                names.map(|name| Named { name }).collect::<Vec<_>>()
            };
            let alerts = group.alerts.iter().filter_map(|alert| {
                let one = wanted.shown(state, alert, &group.muted_by, now_ms)?;
                Some(Shown { receivers: with_receivers(alert), ..one })
            });
            let alerts: Vec<_> = alerts.collect();
            let all_muted = alerts.iter().all(|alert| alert.status.state == "suppressed");
            if alerts.is_empty() || (!wanted.muted && (all_muted || !group.muted_by.is_empty())) {
                continue;
            }
            shown.push(ShownGroup {
                alerts,
                labels: pairs(group.labels),
                receiver: Named { name: group.receiver },
                route_labels: group.route_labels,
            });
        }
        shown.sort_by(|a, b| (&a.labels, a.receiver.name).cmp(&(&b.labels, b.receiver.name)));
        written(&shown)
    });
    sent(text)
}

fn written<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::new(ErrorKind::Bug, e.to_string()))
}

fn sent(text: Result<Result<String>>) -> Response {
    match text.and_then(|text| text) {
        Ok(text) => error::json(StatusCode::OK, format!("{text}\n")),
        Err(error) => super::failed(&error),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: Option<String>,
}

/// `POST /api/v2/alerts`. What is sound of a request is taken, though others of it are not.
pub(crate) async fn post(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(response) = not_json(&parts.headers) {
        return response;
    }
    let limits = app.receivers.limits;
    let held = match app.receivers.bodies.read(body, limits.body_bytes_max).await {
        Ok(held) => held,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    let posted: Vec<Posted> = match serde_json::from_slice(&held.bytes) {
        Ok(posted) => posted,
        Err(e) => {
            let message = format!("parsing alerts body from \"\" failed, because {e}");
            return super::coded(StatusCode::BAD_REQUEST, 400, &message);
        }
    };
    drop(held);
    if posted.len() > ALERTS_MAX {
        let message = format!("{} alerts in one request; at most {ALERTS_MAX}", posted.len());
        return super::coded(StatusCode::UNPROCESSABLE_ENTITY, 422, &message);
    }
    if let Some(number) = posted.iter().position(|alert| alert.labels.is_none()) {
        let message = format!("{number}.labels in body is required");
        return super::coded(StatusCode::UNPROCESSABLE_ENTITY, 602, &message);
    }
    let now_ms = app.clock.now_ms();
    let timeout_ms = match super::look(&app, |state| state.config().resolve_timeout_ms) {
        Ok(timeout_ms) => timeout_ms,
        Err(error) => return super::failed(&error),
    };
    let (mut sound, mut mistakes) = (Vec::new(), Vec::new());
    for alert in posted {
        match alert.read(timeout_ms, now_ms) {
            Ok(alert) => sound.push(alert),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    let resolved = sound.iter().filter(|alert| alert.resolved(now_ms)).count() as u64;
    if let Ok(desk) = super::desk(&app) {
        desk.told(sound.len() as u64 - resolved, resolved, mistakes.len() as u64);
    }
    let taken = super::change(&app, move |state| match state.tell(sound, now_ms) {
        0 => Ok(()),
        refused => Err(Error::new(
            ErrorKind::Busy,
            format!("{refused} alerts are not taken: there are {MOST} already"),
        )),
    });
    match taken.await {
        Err(error) => super::failed(&error),
        Ok(()) if mistakes.is_empty() => error::empty(StatusCode::OK),
        Ok(()) => super::said(StatusCode::BAD_REQUEST, &mistakes.join("; ")),
    }
}

/// The answer to a body that does not say it is JSON.
pub(super) fn not_json(headers: &http::HeaderMap) -> Option<Response> {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or("application/octet-stream");
    let name = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if name == "application/json" {
        return None;
    }
    let message = format!("unsupported media type {kind:?}, only [application/json] are allowed");
    Some(super::coded(StatusCode::UNSUPPORTED_MEDIA_TYPE, 415, &message))
}

impl Posted {
    fn read(self, timeout_ms: u64, now_ms: i64) -> std::result::Result<ActiveAlert, String> {
        let labels = self.labels.unwrap_or_default();
        let annotations = self.annotations.unwrap_or_default();
        check("label set", &labels)?;
        check("annotations", &annotations)?;
        let labels = Labels::from_pairs(labels.iter().map(|(n, v)| (&**n, &**v)));
        if labels.is_empty() {
            return Err("at least one label pair required".to_owned());
        }
        let generator_url = self.generator_url.unwrap_or_default();
        if generator_url.len() > TEXT_BYTES_MAX {
            let len = generator_url.len();
            return Err(format!("generatorURL of {len} bytes is over {TEXT_BYTES_MAX}"));
        }
        let (starts, ends) = (posted_time(self.starts_at)?, posted_time(self.ends_at)?);
        let starts_ms = starts.or(ends).unwrap_or(now_ms);
        let (ends_ms, timeout) = match ends {
            Some(ends_ms) => (ends_ms, false),
            None => (now_ms.saturating_add_unsigned(timeout_ms), true),
        };
        if ends_ms < starts_ms {
            return Err("start time must be before end time".to_owned());
        }
        Ok(ActiveAlert {
            labels,
            annotations,
            starts_ms,
            ends_ms,
            updated_ms: now_ms,
            generator_url,
            timeout,
        })
    }
}

fn check(what: &str, pairs: &BTreeMap<String, String>) -> std::result::Result<(), String> {
    if pairs.len() > PAIRS_MAX {
        return Err(format!("invalid {what}: {} entries; at most {PAIRS_MAX}", pairs.len()));
    }
    if pairs.contains_key("") {
        return Err(format!("invalid {what}: invalid name \"\""));
    }
    match pairs.iter().find(|(name, value)| name.len() + value.len() > TEXT_BYTES_MAX) {
        Some((name, _)) => {
            Err(format!("invalid {what}: {name:.64?} is over {TEXT_BYTES_MAX} bytes"))
        }
        None => Ok(()),
    }
}

/// A time in milliseconds; Go's zero time is none.
pub(super) fn posted_time(text: Option<String>) -> std::result::Result<Option<i64>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.starts_with("0001-01-01T00:00:00") {
        return Ok(None);
    }
    // How people write that something never ends.
    if text.starts_with("9999-12-31T") {
        return Ok(Some(FOREVER_MS));
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(Some(time.as_millisecond())),
        Err(_) => Err(format!("{text:?} is not a time in RFC 3339")),
    }
}

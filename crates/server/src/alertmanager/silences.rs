//! Silences.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use ::alert::matcher::{Matcher, Matchers, Op};
use ::alert::silence::{Silence, SilenceState};
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use model::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::alerts::{not_json, posted_time};
use super::ask;
use crate::params::Params;
use crate::{App, assets, error};

/// Bytes of a silence in a request.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Conditions of one silence.
const MATCHERS_MAX: usize = 256;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MatcherForm {
    #[serde(default = "yes")]
    is_equal: bool,
    is_regex: bool,
    name: String,
    value: String,
}

fn yes() -> bool {
    true
}

/// In the order in which Alertmanager writes its fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    status: serde_json::Value,
    updated_at: String,
    annotations: BTreeMap<String, String>,
    comment: String,
    created_by: String,
    ends_at: String,
    matchers: Vec<MatcherForm>,
    starts_at: String,
}

impl Shown {
    fn of(silence: &Silence, now_ms: i64) -> Self {
        let matchers = silence.matchers.0.iter().map(|matcher| MatcherForm {
            is_equal: matches!(matcher.op(), Op::Equal | Op::Regex),
            is_regex: matches!(matcher.op(), Op::Regex | Op::NotRegex),
            name: matcher.name().to_owned(),
            value: matcher.value().to_owned(),
        });
        Self {
            id: silence.id.clone(),
            status: serde_json::json!({ "state": silence.state(now_ms).as_str() }),
            updated_at: super::time(silence.updated_ms),
            annotations: silence.annotations.clone(),
            comment: silence.comment.clone(),
            created_by: silence.created_by.clone(),
            ends_at: super::time(silence.ends_ms),
            matchers: matchers.collect(),
            starts_at: super::time(silence.starts_ms),
        }
    }
}

/// `GET /api/v2/silences`: active ones that end first, pending ones that begin first, expired ones that ended last.
pub(crate) async fn list(State(app): State<Arc<App>>, params: Params) -> Response {
    let filters = match ask::filters(&params) {
        Ok(filters) => filters,
        Err(error) => return super::failed(&error),
    };
    let is_wanted = |state: SilenceState| ask::is_on(&params, state.as_str());
    let now_ms = app.clock.now_ms();
    super::answer(super::look(&app, |state| {
        let meets = |silence: &&Arc<Silence>| {
            let value = |name: &str| {
                let mut matchers = silence.matchers.0.iter();
                matchers.find(|matcher| matcher.name() == name).map(Matcher::value)
            };
            is_wanted(silence.state(now_ms)) && ask::meets(&filters, value)
        };
        let mut found: Vec<&Arc<Silence>> = state.silences().iter().filter(meets).collect();
        found.sort_by_key(|silence| match silence.state(now_ms) {
            SilenceState::Active => (0, silence.ends_ms, Reverse(0)),
            SilenceState::Pending => (1, silence.starts_ms, Reverse(0)),
            SilenceState::Expired => (2, 0, Reverse(silence.ends_ms)),
        });
        found.into_iter().map(|silence| Shown::of(silence, now_ms)).collect::<Vec<_>>()
    }))
}

/// `GET /api/v2/silence/{id}`.
pub(crate) async fn get(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    if let Some(response) = no_uuid(&id) {
        return response;
    }
    let now_ms = app.clock.now_ms();
    let found = super::look(&app, |state| state.silences().get(&id).map(|s| Shown::of(s, now_ms)));
    match found {
        Ok(Some(shown)) => super::answer(Ok(shown)),
        Ok(None) => error::empty(StatusCode::NOT_FOUND),
        Err(error) => super::failed(&error),
    }
}

/// `DELETE /api/v2/silence/{id}`. To end one that is over changes nothing.
pub(crate) async fn expire(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    if let Some(response) = no_uuid(&id) {
        return response;
    }
    let now_ms = app.clock.now_ms();
    let expired = super::change(&app, move |state| {
        let known = state.silences().get(&id);
        if known.is_some_and(|silence| silence.state(now_ms) == SilenceState::Expired) {
            return Ok(());
        }
        state.expire_silence(&id, now_ms)
    });
    match expired.await {
        Ok(()) => error::empty(StatusCode::OK),
        Err(error) if error.kind() == ErrorKind::NotFound => error::empty(StatusCode::NOT_FOUND),
        Err(error) => super::failed(&error),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    #[serde(default)]
    id: Option<String>,
    matchers: Option<Vec<MatcherForm>>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    created_by: Option<String>,
    comment: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// `POST /api/v2/silences`.
pub(crate) async fn post(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(response) = not_json(&parts.headers) {
        return response;
    }
    let held = match app.receivers.bodies.read(body, BODY_BYTES_MAX).await {
        Ok(held) => held,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    let posted: Posted = match serde_json::from_slice(&held.bytes) {
        Ok(posted) => posted,
        Err(e) => {
            let message = format!("parsing silence body from \"\" failed, because {e}");
            return super::coded(StatusCode::BAD_REQUEST, 400, &message);
        }
    };
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    if let Some(name) = posted.missing() {
        return super::coded(unprocessable, 602, &format!("{name} in body is required"));
    }
    if posted.matchers.as_ref().is_some_and(Vec::is_empty) {
        return super::coded(unprocessable, 612, "matchers in body should have at least 1 items");
    }
    let now_ms = app.clock.now_ms();
    let silence = match posted.read(now_ms) {
        Ok(silence) => silence,
        Err(error) => return super::failed(&error),
    };
    let new_id = new_uuid();
    let set = super::change(&app, move |state| state.set_silence(silence, new_id, now_ms));
    super::answer(set.await.map(|id| serde_json::json!({ "silenceID": id })))
}

impl Posted {
    fn missing(&self) -> Option<&'static str> {
        [
            ("comment", self.comment.is_none()),
            ("createdBy", self.created_by.is_none()),
            ("endsAt", self.ends_at.is_none()),
            ("matchers", self.matchers.is_none()),
            ("startsAt", self.starts_at.is_none()),
        ]
        .into_iter()
        .find_map(|(name, is_missing)| is_missing.then_some(name))
    }

    fn read(self, now_ms: i64) -> Result<Silence> {
        let invalid = |what: &str| Error::invalid(format!("Failed to create silence: {what}"));
        let time = |text| posted_time(text).map_err(|e| invalid(&e));
        let (starts_ms, ends_ms) =
            (time(self.starts_at)?.unwrap_or(0), time(self.ends_at)?.unwrap_or(0));
        if starts_ms >= ends_ms {
            return Err(invalid("start time must be before end time"));
        }
        if ends_ms < now_ms {
            return Err(invalid("end time can't be in the past"));
        }
        let posted = self.matchers.unwrap_or_default();
        if posted.len() > MATCHERS_MAX {
            return Err(invalid(&format!("{} matchers; at most {MATCHERS_MAX}", posted.len())));
        }
        let matchers = posted.into_iter().enumerate().map(|(number, form)| {
            if form.name.is_empty() {
                let message = format!("invalid label matcher {number}: invalid label name \"\"");
                return Err(Error::invalid(format!("invalid silence: {message}")));
            }
            let op = match (form.is_equal, form.is_regex) {
                (true, false) => Op::Equal,
                (false, false) => Op::NotEqual,
                (true, true) => Op::Regex,
                (false, true) => Op::NotRegex,
            };
            Matcher::new(form.name, op, form.value).map_err(|e| {
                let message = e.message();
                Error::invalid(format!(
                    "invalid silence: invalid label matcher {number}: {message}"
                ))
            })
        });
        Ok(Silence {
            id: self.id.unwrap_or_default(),
            matchers: Matchers(matchers.collect::<Result<_>>()?),
            starts_ms,
            ends_ms,
            updated_ms: now_ms,
            created_by: self.created_by.unwrap_or_default(),
            comment: self.comment.unwrap_or_default(),
            annotations: self.annotations.unwrap_or_default(),
        })
    }
}

fn no_uuid(id: &str) -> Option<Response> {
    let is_uuid = id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    (!is_uuid).then(|| {
        let message = format!("silenceID in path must be of type uuid: {id:?}");
        super::coded(StatusCode::UNPROCESSABLE_ENTITY, 601, &message)
    })
}

/// A random UUID of version 4.
fn new_uuid() -> String {
    let mut bits = [0_u8; 16];
    let filled = rustix::rand::getrandom(&mut bits[..], rustix::rand::GetRandomFlags::empty());
    assert_eq!(filled.ok(), Some(bits.len()), "BUG: the kernel gives random bytes");
    let bits = u128::from_be_bytes(bits);
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{bits:032x}");
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or("");
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

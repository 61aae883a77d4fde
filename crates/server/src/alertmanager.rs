//! Alertmanager's API v2: alerts, groups, silences, receivers, status, as `amtool`, Prometheus and Grafana ask it.
//!
//! Owns: parameters, bodies and answers in Alertmanager's words. Does not own: what alerts and silences are
//! (`alert::dispatch`), durability ([`AlertDesk`]).

mod alerts;
mod ask;
mod silences;

pub(crate) use alerts::{groups, list, post};
pub(crate) use silences::{
    expire as expire_silence, get as silence, list as silences, post as post_silence,
};

use std::sync::Arc;

use ::alert::dispatch::Dispatcher;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::json;

use crate::{App, error};

/// Where alerts, silences and their configuration are; the binary implements it.
pub trait AlertDesk: Send + Sync {
    /// Shows what there is. Short: others wait meanwhile.
    fn read(&self, look: &mut dyn FnMut(&Dispatcher));

    /// Changes it; what changed is durable on return. Blocks.
    ///
    /// # Errors
    /// Those of `change`, and of the disk.
    fn change(&self, change: &mut dyn FnMut(&mut Dispatcher) -> Result<()>) -> Result<()>;

    /// Counts alerts that came over the API.
    fn told(&self, firing: u64, resolved: u64, invalid: u64);

    /// The configuration in force, without secrets.
    fn yaml(&self) -> String;
}

/// The desk.
///
/// # Errors
/// Busy when there is none.
fn desk(app: &App) -> Result<Arc<dyn AlertDesk>> {
    let none = || Error::new(ErrorKind::Busy, "alerting does not run in this process");
    app.host.alerting().ok_or_else(none)
}

/// What `look` makes of what there is.
fn look<T>(app: &App, mut look: impl FnMut(&Dispatcher) -> T) -> Result<T> {
    let mut found = None;
    desk(app)?.read(&mut |state| found = Some(look(state)));
    found.ok_or_else(|| Error::new(ErrorKind::Bug, "BUG: the desk did not look"))
}

/// What `change` makes, once it is durable.
async fn change<T: Send + 'static>(
    app: &App,
    change: impl FnOnce(&mut Dispatcher) -> Result<T> + Send + 'static,
) -> Result<T> {
    let desk = desk(app)?;
    let work = move || {
        let (mut change, mut out) = (Some(change), None);
        desk.change(&mut |state| {
            out = change.take().map(|change| change(state)).transpose()?;
            Ok(())
        })?;
        out.ok_or_else(|| Error::new(ErrorKind::Bug, "BUG: the desk did not change anything"))
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(Error::new(ErrorKind::Bug, e.to_string())))
}

/// A text as the whole answer, as Alertmanager answers errors of its own.
fn said(status: StatusCode, text: &str) -> Response {
    error::json(status, format!("{}\n", json!(text)))
}

/// An error of the request's form, as Alertmanager's framework answers it.
fn coded(status: StatusCode, code: u16, message: &str) -> Response {
    error::json(status, json!({ "code": code, "message": message }).to_string())
}

fn failed(error: &Error) -> Response {
    said(error::status(error.kind()), &error::public_message(error))
}

fn answer<T: Serialize>(outcome: Result<T>) -> Response {
    let text = outcome.and_then(|value| {
        serde_json::to_string(&value).map_err(|e| Error::new(ErrorKind::Bug, e.to_string()))
    });
    match text {
        Ok(text) => error::json(StatusCode::OK, format!("{text}\n")),
        Err(error) => failed(&error),
    }
}

/// A time as Alertmanager's API writes it: UTC, always with milliseconds.
fn time(t_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(t_ms) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => "0001-01-01T00:00:00.000Z".to_owned(),
    }
}

/// `GET /api/v2/status`.
pub(crate) async fn status(State(app): State<Arc<App>>) -> Response {
    let yaml = match desk(&app) {
        Ok(desk) => desk.yaml(),
        Err(error) => return failed(&error),
    };
    answer(Ok(json!({
        "cluster": { "peers": [], "status": "disabled" },
        "config": { "original": yaml },
        "uptime": time(app.host.started_ms()),
        "versionInfo": {
            "branch": "",
            "buildDate": "",
            "buildUser": "",
            "goVersion": "",
            "revision": "",
            "version": env!("CARGO_PKG_VERSION"),
        },
    })))
}

/// `GET /api/v2/receivers`.
pub(crate) async fn receivers(State(app): State<Arc<App>>) -> Response {
    answer(look(&app, |state| {
        let receivers = state.config().receivers.iter();
        receivers.map(|receiver| json!({ "name": receiver.name })).collect::<Vec<_>>()
    }))
}

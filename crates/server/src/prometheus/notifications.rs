//! What the operator must know: `notifications`, and `notifications/live` as server-sent events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::json as text;
use crate::operations::Notification;
use crate::{App, error};

/// Streams at the same time, as many as Prometheus has by default.
pub(crate) const LISTENERS_MAX: usize = 16;
/// How often the process is asked; a comment is sent when nothing changed, so that a client that is gone is noticed.
const ASKED_EVERY: Duration = Duration::from_secs(5);

pub(crate) async fn notifications(State(app): State<Arc<App>>) -> Response {
    let all: Vec<Value> = app.host.notifications().iter().map(|n| shown(n, true)).collect();
    error::json(StatusCode::OK, text::success(&json!(all)))
}

fn shown(notification: &Notification, active: bool) -> Value {
    json!({"text": notification.text, "date": text::rfc3339(notification.since_ms), "active": active})
}

/// Active notifications first, then every change: one event each.
pub(crate) async fn live(State(app): State<Arc<App>>) -> Response {
    let Ok(slot) = app.listeners.clone().try_acquire_owned() else {
        return error::empty(StatusCode::NO_CONTENT);
    };
    let state = Listener { app, sent: BTreeMap::new(), first: true, _slot: slot };
    let events = stream::unfold(state, |mut state| async move {
        if !std::mem::take(&mut state.first) {
            tokio::select! {
                () = tokio::time::sleep(ASKED_EVERY) => {}
                () = state.app.tail.stopped() => return None,
            }
        }
        let now = state.app.host.notifications();
        let events = changes(&mut state.sent, now);
        Some((Ok::<_, Infallible>(Bytes::from(events)), state))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

struct Listener {
    app: Arc<App>,
    sent: BTreeMap<String, Notification>,
    first: bool,
    _slot: OwnedSemaphorePermit,
}

/// The events that lead from `sent` to `now`; a comment when there are none.
fn changes(sent: &mut BTreeMap<String, Notification>, now: Vec<Notification>) -> String {
    let now: BTreeMap<String, Notification> =
        now.into_iter().map(|n| (n.text.clone(), n)).collect();
    let mut out = String::new();
    let gone = sent.values().filter(|n| !now.contains_key(&n.text)).map(|n| (n, false));
    let new = now.values().filter(|n| !sent.contains_key(&n.text)).map(|n| (n, true));
    for (notification, active) in gone.chain(new) {
        out.push_str(&format!("data: {}\n\n", shown(notification, active)));
    }
    *sent = now;
    if out.is_empty() { ":\n\n".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told_once() {
        let one = |text: &str| Notification { text: text.into(), since_ms: 1_435_781_460_000 };
        let mut sent = BTreeMap::new();
        assert_eq!(
            changes(&mut sent, vec![one("a")]),
            "data: {\"active\":true,\"date\":\"2015-07-01T20:11:00Z\",\"text\":\"a\"}\n\n"
        );
        assert_eq!(changes(&mut sent, vec![one("a")]), ":\n\n");
        let events = changes(&mut sent, vec![one("b")]);
        assert_eq!(events.matches("data: ").count(), 2);
        assert!(
            events.contains("{\"active\":false,\"date\":\"2015-07-01T20:11:00Z\",\"text\":\"a\"}")
        );
    }
}

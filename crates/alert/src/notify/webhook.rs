//! Webhooks: the whole notification as JSON, for programs.

use query::template::Value;

use super::object::{Object, expanded};
use super::render::{Render, secret};
use super::{Begun, Request, Sequence, answer};
use crate::expand::alertmanager::{CONTEXTS_FIELD, field, json};
use crate::receiver::Webhook;

/// Version of the message.
const VERSION: &str = "4";

pub(super) fn compose<'a>(it: &Webhook, mut render: Render<'_>) -> Begun<'a> {
    let url = render.address("webhook.url", secret("webhook.url", it.url.as_ref())?)?;
    let body = match &it.payload {
        Some(payload) => {
            expanded(payload, &mut |template| render.part("webhook.payload", template)) + "\n"
        }
        None => message(&mut render, it.max_alerts, VERSION),
    };
    Sequence::of([Request::post(url.trim(), body)], answer::status)
}

/// The notification as JSON, with its first `max_alerts` alerts (0: with all).
pub(super) fn message(render: &mut Render<'_>, max_alerts: u64, version: &str) -> String {
    let all = render.notice.notification.alerts.len();
    let max = usize::try_from(max_alerts).ok().filter(|max| *max > 0).unwrap_or(all);
    let data = render.data_of(max);
    let member = |object: Object, (name, field_name): (&str, &str)| {
        let value = field(&data, field_name).unwrap_or(&Value::Nil);
        object.raw(name, &json::write(value).unwrap_or_else(|_| "null".to_owned()))
    };
    let members = [
        ("receiver", "Receiver"),
        ("status", "Status"),
        ("alerts", "Alerts"),
        ("groupLabels", "GroupLabels"),
        ("commonLabels", "CommonLabels"),
        ("commonAnnotations", "CommonAnnotations"),
        ("externalURL", "ExternalURL"),
    ];
    let mut object = members.into_iter().fold(Object::new(), member);
    object = object.filled("notification_reason", &render.notice.notification.notification_reason);
    let route_labels = render.route_labels();
    if !route_labels.is_empty() {
        let pair = |o: Object, (name, value): &(String, String)| o.text(name, value);
        object = object.raw("routeLabels", &route_labels.iter().fold(Object::new(), pair).end());
    }
    if let Some(contexts) = field(&data, CONTEXTS_FIELD) {
        let contexts = json::write(contexts).unwrap_or_else(|_| "null".to_owned());
        object = object.raw("taffrail", &contexts);
    }
    object
        .text("version", version)
        .text("groupKey", &render.notice.group_key)
        .raw("truncatedAlerts", &all.saturating_sub(max).to_string())
        .body()
}

//! PagerDuty's events, of version 2 (routing keys) and 1 (service keys).

use super::object::{Object, expanded};
use super::render::{Render, secret};
use super::truncate::chars;
use super::{Begun, Request, Sequence, answer};
use crate::receiver::PagerDuty;

/// Where events of version 1 go.
const VERSION_1: &str = "https://events.pagerduty.com/generic/2010-04-15/create_event.json";
/// Characters of an event's summary. Source: PagerDuty's events API.
const SUMMARY_CHARS_MAX: usize = 1024;
/// Bytes of an event.
const EVENT_BYTES_MAX: usize = 512_000;
/// What the details of a larger event become.
const TOO_LARGE: &str =
    "Custom details have been removed because the original event exceeds the maximum size of 512KB";

pub(super) fn compose<'a>(it: &PagerDuty, mut render: Render<'_>) -> Begun<'a> {
    let details = details(it, &mut render);
    let is_v1 = it.service_key.is_some();
    let event = match is_v1 {
        true => Event::V1(Key::new("pagerduty.service_key", it, &mut render)?),
        false => Event::V2(Key::new("pagerduty.routing_key", it, &mut render)?),
    };
    let parts = Parts::new(it, &mut render, is_v1);
    let mut body = event.body(&parts, &details);
    if body.len() > EVENT_BYTES_MAX {
        body = event.body(&parts, &Object::new().text("error", TOO_LARGE).end());
    }
    match event {
        Event::V1(_) => Sequence::of([Request::post(VERSION_1, body)], answer::status_or_forbidden),
        Event::V2(_) => Sequence::of([Request::post(it.url.trim(), body)], answer::status),
    }
}

/// Whom the event is for, and which incident it belongs to.
struct Key {
    key: String,
    incident: String,
}

impl Key {
    fn new(name: &str, it: &PagerDuty, render: &mut Render<'_>) -> Result<Self, super::Outcome> {
        let template = secret(name, it.service_key.as_ref().or(it.routing_key.as_ref()))?;
        let key = render.address(name, template)?;
        match key.is_empty() {
            true => Err(super::Outcome::refused(format!("{name} is empty once it is expanded"))),
            false => Ok(Self { key, incident: render.notice.group_hash() }),
        }
    }
}

enum Event {
    V1(Key),
    V2(Key),
}

/// Its texts.
struct Parts {
    action: &'static str,
    summary: String,
    client: String,
    client_url: String,
    source: String,
    severity: String,
    class: String,
    component: String,
    group: String,
    images: Vec<String>,
    links: Vec<String>,
}

impl Parts {
    fn new(it: &PagerDuty, render: &mut Render<'_>, is_v1: bool) -> Self {
        let is_resolved = render.notice.is_resolved();
        let or = |text: &str, default: &str| {
            if text.is_empty() { default.to_owned() } else { text.to_owned() }
        };
        let mut text = |key: &str, template: &str| render.text(key, template);
        // An event of version 1 that resolves says no more who found it.
        let names_client = !(is_v1 && is_resolved);
        let named = |template: &str| if names_client { template.to_owned() } else { String::new() };
        let mut images = Vec::new();
        for image in &it.images {
            let src = text("pagerduty.images.src", &image.src);
            let alt = text("pagerduty.images.alt", &image.alt);
            let href = text("pagerduty.images.href", &image.href);
            if !src.is_empty() {
                images.push(
                    Object::new().text("src", &src).text("alt", &alt).text("href", &href).end(),
                );
            }
        }
        let mut links = Vec::new();
        for link in &it.links {
            let href = text("pagerduty.links.href", &link.href);
            let label = text("pagerduty.links.text", &link.text);
            if !href.is_empty() {
                links.push(Object::new().text("href", &href).text("text", &label).end());
            }
        }
        Self {
            action: if is_resolved { "resolve" } else { "trigger" },
            client: text("pagerduty.client", &named(&it.client)),
            client_url: text("pagerduty.client_url", &named(&it.client_url)),
            source: text("pagerduty.source", &or(&it.source, &it.client)),
            severity: or(&text("pagerduty.severity", &or(&it.severity, "error")), "error"),
            class: text("pagerduty.class", &it.class),
            component: text("pagerduty.component", &it.component),
            group: text("pagerduty.group", &it.group),
            images,
            links,
            summary: chars(
                &render.main("pagerduty.description", &it.description),
                SUMMARY_CHARS_MAX,
            ),
        }
    }
}

impl Event {
    fn body(&self, parts: &Parts, details: &str) -> String {
        let event = Object::new();
        match self {
            Self::V1(key) => event
                .text("service_key", &key.key)
                .text("incident_key", &key.incident)
                .text("event_type", parts.action)
                .filled("description", &parts.summary)
                .text("event_action", "")
                .raw("payload", "null")
                .filled("client", &parts.client)
                .filled("client_url", &parts.client_url)
                .raw("details", details)
                .body(),
            Self::V2(key) => {
                let payload = Object::new()
                    .text("summary", &parts.summary)
                    .text("source", &parts.source)
                    .text("severity", &parts.severity)
                    .filled("class", &parts.class)
                    .filled("component", &parts.component)
                    .filled("group", &parts.group)
                    .raw("custom_details", details)
                    .end();
                event
                    .text("routing_key", &key.key)
                    .text("dedup_key", &key.incident)
                    .text("event_action", parts.action)
                    .raw("payload", &payload)
                    .filled("client", &parts.client)
                    .filled("client_url", &parts.client_url)
                    .list("images", &parts.images)
                    .list("links", &parts.links)
                    .body()
            }
        }
    }
}

/// The details of the configuration and the others there are by default, by name.
fn details(it: &PagerDuty, render: &mut Render<'_>) -> String {
    let mut all = it.details.clone();
    for (name, template) in PagerDuty::DETAILS {
        all.entry(name.to_owned()).or_insert_with(|| template.into());
    }
    let member = |object: Object, (name, value): (&String, &serde_json::Value)| {
        let key = format!("pagerduty.details.{name}");
        object.raw(name, &expanded(value, &mut |template| render.text(&key, template)))
    };
    all.iter().fold(Object::new(), member).end()
}

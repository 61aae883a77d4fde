//! OpsGenie, VictorOps, Pushover, ntfy.

use super::object::{Object, list, quoted};
use super::render::{Render, secret};
use super::truncate::{bytes, chars};
use super::url::{join, query, segment};
use super::{Begun, Request, Sequence, answer};
use crate::receiver::{Ntfy, OpsGenie, OpsGenieResponder, Pushover, VictorOps};

/// Characters of OpsGenie's messages. Source: its alert API.
const OPSGENIE_MESSAGE_CHARS_MAX: usize = 130;
/// Characters of VictorOps' messages. Source: its glossary of fields.
const VICTOROPS_MESSAGE_CHARS_MAX: usize = 20_480;
/// Kinds of events of VictorOps; any other is critical.
const VICTOROPS_TYPES: [&str; 3] = ["INFO", "WARNING", "CRITICAL"];
/// Where Pushover takes messages, and their limits. Source: its API.
const PUSHOVER: &str = "https://api.pushover.net/1/messages.json";
const PUSHOVER_TITLE_CHARS_MAX: usize = 250;
const PUSHOVER_MESSAGE_CHARS_MAX: usize = 1024;
const PUSHOVER_URL_CHARS_MAX: usize = 512;
/// Bytes of a message that ntfy's servers show by default; a longer one becomes a file.
const NTFY_MESSAGE_BYTES_MAX: usize = 4096;

pub(super) fn opsgenie<'a>(it: &OpsGenie, mut render: Render<'_>) -> Begun<'a> {
    let api_key =
        render.address("opsgenie.api_key", secret("opsgenie.api_key", it.api_key.as_ref())?)?;
    let authorization = format!("GenieKey {}", api_key.trim());
    let alias = render.notice.group_hash();
    let alert =
        |what: &str| join(&it.api_url, &format!("v2/alerts/{alias}/{what}?identifierType=alias"));
    let source = render.text("opsgenie.source", &it.source);
    let mut requests = Vec::new();
    if render.notice.is_resolved() {
        requests.push(Request::post(alert("close"), Object::new().text("source", &source).body()));
    } else {
        let (message, description, body) = opsgenie_alert(it, &mut render, &alias, &source);
        requests.push(Request::post(join(&it.api_url, "v2/alerts"), body));
        if it.update_alerts {
            let put = |url: String, object: Object| Request {
                method: "PUT",
                ..Request::post(url, object.body())
            };
            requests.push(put(alert("message"), Object::new().filled("message", &message)));
            requests
                .push(put(alert("description"), Object::new().filled("description", &description)));
        }
    }
    let requests = requests.into_iter().map(|r| r.with("Authorization", authorization.clone()));
    Sequence::of(requests, answer::status)
}

/// Message, description, and the alert with both.
fn opsgenie_alert(
    it: &OpsGenie,
    render: &mut Render<'_>,
    alias: &str,
    source: &str,
) -> (String, String, String) {
    let mut details: std::collections::BTreeMap<String, String> =
        render.common_labels().into_iter().collect();
    for (name, template) in &it.details {
        details.insert(name.clone(), render.text(&format!("opsgenie.details.{name}"), template));
    }
    let details = details.iter().fold(Object::new(), |o, (name, text)| o.text(name, text)).end();
    let responders: Vec<String> =
        it.responders.iter().flat_map(|responder| opsgenie_responders(responder, render)).collect();
    let message = render.text("opsgenie.message", &it.message);
    let message = chars(&message, OPSGENIE_MESSAGE_CHARS_MAX);
    let tags = parts(&render.text("opsgenie.tags", &it.tags));
    let note = render.text("opsgenie.note", &it.note);
    let priority = render.text("opsgenie.priority", &it.priority);
    let entity = render.text("opsgenie.entity", &it.entity);
    let actions = parts(&render.text("opsgenie.actions", &it.actions));
    let description = render.main("opsgenie.description", &it.description);
    let body = Object::new()
        .text("alias", alias)
        .text("message", &message)
        .filled("description", &description)
        .raw("details", &details)
        .text("source", source)
        .list("responders", &responders)
        .list("tags", &tags)
        .filled("note", &note)
        .filled("priority", &priority)
        .filled("entity", &entity)
        .list("actions", &actions)
        .body();
    (message, description, body)
}

fn opsgenie_responders(responder: &OpsGenieResponder, render: &mut Render<'_>) -> Vec<String> {
    let id = render.text("opsgenie.responders.id", &responder.id);
    let name = render.text("opsgenie.responders.name", &responder.name);
    let username = render.text("opsgenie.responders.username", &responder.username);
    let kind = render.text("opsgenie.responders.type", &responder.kind);
    if [&id, &name, &username, &kind].iter().all(|text| text.is_empty()) {
        return Vec::new();
    }
    if kind == "teams" {
        let team = |name: &str| Object::new().text("name", name).text("type", "team").end();
        return name.trim().split(',').filter(|n| !n.is_empty()).map(team).collect();
    }
    let object = Object::new()
        .filled("id", &id)
        .filled("name", &name)
        .filled("username", &username)
        .text("type", &kind);
    vec![object.end()]
}

/// What stands between commas, in JSON.
fn parts(text: &str) -> Vec<String> {
    text.trim().split(',').filter(|part| !part.is_empty()).map(quoted).collect()
}

pub(super) fn victorops<'a>(it: &VictorOps, mut render: Render<'_>) -> Begun<'a> {
    let api_key = secret("victorops.api_key", it.api_key.as_ref())?;
    let routing_key = render.address("victorops.routing_key", &it.routing_key)?;
    // A label must not lead elsewhere.
    let routing_key =
        if it.routing_key.contains("{{") { segment(&routing_key) } else { routing_key };
    let url = join(&it.api_url, &format!("{}/{routing_key}", segment(api_key)));
    let kind = render.text("victorops.message_type", &it.message_type);
    let kind = match kind.as_str() {
        _ if render.notice.is_resolved() => "RECOVERY",
        kind if VICTOROPS_TYPES.contains(&kind) => kind,
        _ => "CRITICAL",
    };
    let mut members = std::collections::BTreeMap::from([
        ("message_type".to_owned(), kind.to_owned()),
        ("entity_id".to_owned(), render.notice.group_hash()),
    ]);
    let mut insert = |name: &str, text: String| members.insert(name.to_owned(), text);
    insert(
        "entity_display_name",
        render.text("victorops.entity_display_name", &it.entity_display_name),
    );
    insert("monitoring_tool", render.text("victorops.monitoring_tool", &it.monitoring_tool));
    for (name, template) in &it.custom_fields {
        insert(name, render.text(&format!("victorops.custom_fields.{name}"), template));
    }
    let message = render.main("victorops.state_message", &it.state_message);
    insert("state_message", chars(&message, VICTOROPS_MESSAGE_CHARS_MAX));
    let body = members.iter().fold(Object::new(), |o, (name, text)| o.text(name, text)).body();
    Sequence::of([Request::post(url, body)], answer::status)
}

pub(super) fn pushover<'a>(it: &Pushover, mut render: Render<'_>) -> Begun<'a> {
    let token = render.address("pushover.token", secret("pushover.token", it.token.as_ref())?)?;
    let user =
        render.address("pushover.user_key", secret("pushover.user_key", it.user_key.as_ref())?)?;
    let title = chars(&render.text("pushover.title", &it.title), PUSHOVER_TITLE_CHARS_MAX);
    let link = chars(&render.text("pushover.url", &it.url), PUSHOVER_URL_CHARS_MAX);
    let link_title = render.text("pushover.url_title", &it.url_title);
    let priority = render.text("pushover.priority", &it.priority);
    let device = render.text("pushover.device", &it.device);
    let sound = render.text("pushover.sound", &it.sound);
    let message = match it.html {
        true => render.main_html("pushover.message", &it.message),
        false => render.main("pushover.message", &it.message),
    };
    let message = chars(&message, PUSHOVER_MESSAGE_CHARS_MAX);
    // Pushover refuses empty messages.
    let message = match message.trim() {
        "" => "(no details)",
        message => message,
    };
    let seconds = |ms: u64| (ms / 1000).to_string();
    let (retry, expire, ttl) = (seconds(it.retry_ms), seconds(it.expire_ms), seconds(it.ttl_ms));
    let mut parameters = vec![
        ("token", token.as_str()),
        ("user", user.as_str()),
        ("title", title.as_str()),
        ("message", message),
        ("url", link.as_str()),
        ("url_title", link_title.as_str()),
        ("priority", priority.as_str()),
        ("retry", retry.as_str()),
        ("expire", expire.as_str()),
        ("device", device.as_str()),
        ("sound", sound.as_str()),
    ];
    let switches = [("html", it.html), ("monospace", it.monospace)];
    parameters.extend(switches.iter().filter(|(_, on)| *on).map(|(name, _)| (*name, "1")));
    if it.ttl_ms >= 1000 {
        parameters.push(("ttl", ttl.as_str()));
    }
    // In the body and not in the URL, where proxies would log the secrets.
    let form = "application/x-www-form-urlencoded".to_owned();
    let request = Request {
        method: "POST",
        url: PUSHOVER.to_owned(),
        headers: vec![("Content-Type", form)],
        body: query(&parameters),
    };
    Sequence::of([request], answer::status)
}

pub(super) fn ntfy<'a>(it: &Ntfy, mut render: Render<'_>) -> Begun<'a> {
    let topic = render.address("ntfy.topic", &it.topic)?;
    let title = render.text("ntfy.title", &it.title);
    let priority = render.text("ntfy.priority", &it.priority);
    let tags = parts(&render.text("ntfy.tags", &it.tags));
    let click = render.text("ntfy.click", &it.click);
    let icon = render.text("ntfy.icon", &it.icon);
    let message = render.main("ntfy.message", &it.message);
    let mut object = Object::new()
        .text("topic", &topic)
        .filled("title", title.trim())
        .text("message", &bytes(message.trim(), NTFY_MESSAGE_BYTES_MAX));
    if let Some(level) = ntfy_priority(priority.trim()) {
        object = object.raw("priority", level);
    }
    if !tags.is_empty() {
        object = object.raw("tags", &list(&tags));
    }
    let body = object
        .filled("click", click.trim())
        .filled("icon", icon.trim())
        .flag("markdown", it.markdown)
        .body();
    let mut request = Request::post(it.url.trim(), body);
    if it.token.is_some() {
        let token = secret("ntfy.token", it.token.as_ref())?;
        request = request.with("Authorization", format!("Bearer {token}"));
    }
    Sequence::of([request], answer::status)
}

/// ntfy's number of a priority; `None` for what it has no word for.
fn ntfy_priority(text: &str) -> Option<&'static str> {
    Some(match text {
        "1" | "min" => "1",
        "2" | "low" => "2",
        "3" | "default" => "3",
        "4" | "high" => "4",
        "5" | "max" | "urgent" => "5",
        _ => return None,
    })
}

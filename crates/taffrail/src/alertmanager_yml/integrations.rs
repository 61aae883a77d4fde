//! From the keys of an integration, which are known to be well-formed, to what it is: defaults, what it takes from the
//! global settings, and what Alertmanager refuses, in its words.

mod chat;
mod mail;
mod page;

use alert::receiver::{IncidentIo, Integration, Jira, JiraLabels, JiraText, Kind, Webhook};
use collect::scrape::parse_duration;
use model::http::Secret;

use super::fields::Fields;
use super::globals::Globals;
use crate::prometheus_yml::http::{self, json};
use crate::prometheus_yml::node::{Node, Placed, Value};

pub(super) use self::mail::host_port;

type Read = fn(&Fields<'_>, &Globals) -> Result<Kind, Placed>;

/// The integrations by name, which is their key without `_configs`.
const READERS: [(&str, Read); 20] = [
    ("discord", chat::discord),
    ("email", mail::email),
    ("incidentio", incident_io),
    ("jira", jira),
    ("matrix", chat::matrix),
    ("mattermost", chat::mattermost),
    ("msteams", chat::ms_teams),
    ("msteamsv2", chat::ms_teams_v2),
    ("ntfy", page::ntfy),
    ("opsgenie", page::ops_genie),
    ("pagerduty", page::pager_duty),
    ("pushover", page::pushover),
    ("rocketchat", chat::rocket_chat),
    ("slack", chat::slack),
    ("sns", page::sns),
    ("telegram", chat::telegram),
    ("victorops", page::victor_ops),
    ("webex", chat::webex),
    ("webhook", webhook),
    ("wechat", chat::we_chat),
];

/// Whether there is such an integration.
pub(super) fn is_known(kind: &str) -> bool {
    READERS.iter().any(|(name, _)| *name == kind)
}

/// Reads the integration of a known `kind`.
pub(super) fn read(kind: &str, f: &Fields<'_>, globals: &Globals) -> Result<Integration, Placed> {
    let Some((_, read)) = READERS.iter().find(|(name, _)| *name == kind) else {
        return f.wrong(format!("unknown integration {kind:?}"));
    };
    let mut integration = Integration::new(read(f, globals)?);
    integration.send_resolved = f.bool("send_resolved", integration.send_resolved);
    integration.http = match f.node.get("http_config") {
        Some(node) => {
            real_credentials(f, node)?;
            http::options(node, f.dir)
        }
        None => globals.http.clone(),
    };
    Ok(integration)
}

/// Refuses credentials that somebody meant to replace.
fn real_credentials(f: &Fields<'_>, node: &Node) -> Result<(), Placed> {
    let inner = |key: &str| node.get(key).and_then(|node| Some((node, node.text_of("password")?)));
    let credentials =
        node.get("authorization").and_then(|node| Some((node, node.text_of("credentials")?)));
    for (node, text) in inner("basic_auth").into_iter().chain(credentials) {
        let keys = Fields { node, dir: f.dir, strict: f.strict };
        keys.is_real(
            if node.get("password").is_some() { "password" } else { "credentials" },
            text,
        )?;
    }
    Ok(())
}

/// `key` or `key_file`, one of which must be there.
fn one_secret(
    f: &Fields<'_>,
    key: &str,
    read: impl Fn(&str, &str) -> Result<Option<Secret>, Placed>,
) -> Result<Option<Secret>, Placed> {
    let file = format!("{key}_file");
    match read(key, &file)? {
        None => f.wrong(format!("one of {key} or {file} must be configured")),
        found => Ok(found),
    }
}

fn webhook(f: &Fields<'_>, _: &Globals) -> Result<Kind, Placed> {
    let url = one_secret(f, "url", |key, file| {
        let secret = f.secret(key, file)?;
        // What a template becomes is not known.
        if !f.given(key).is_some_and(|url| url.contains("{{")) {
            f.check_given_url(key)?;
        }
        Ok(secret)
    })?;
    Ok(Kind::Webhook(Box::new(Webhook {
        url,
        max_alerts: f.number("max_alerts"),
        timeout_ms: f.ms("timeout", 0),
        payload: f.node.get("payload").map(json),
    })))
}

fn incident_io(f: &Fields<'_>, _: &Globals) -> Result<Kind, Placed> {
    let url = one_secret(f, "url", |key, file| f.secret_url(key, file))?;
    let token = f.secret("alert_source_token", "alert_source_token_file")?;
    let http = f.node.get("http_config");
    let has_authorization = http.is_some_and(|node| node.get("authorization").is_some());
    match (token.is_some(), has_authorization) {
        (true, true) => f.wrong(
            "cannot specify alert_source_token or alert_source_token_file when using http_config.authorization",
        ),
        (false, false) => f.wrong(
            "at least one of alert_source_token, alert_source_token_file or http_config.authorization must be configured",
        ),
        _ => Ok(Kind::IncidentIo(Box::new(IncidentIo {
            url,
            alert_source_token: token,
            max_alerts: f.number("max_alerts"),
            timeout_ms: f.ms("timeout", 0),
        }))),
    }
}

fn jira(f: &Fields<'_>, globals: &Globals) -> Result<Kind, Placed> {
    let mut it = Jira::default();
    globals.put_url("jira_api_url", &mut it.api_url)?;
    f.put_url("api_url", &mut it.api_url)?;
    f.put_all([
        ("api_type", &mut it.api_type),
        ("project", &mut it.project),
        ("priority", &mut it.priority),
        ("issue_type", &mut it.issue_type),
        ("reopen_transition", &mut it.reopen_transition),
        ("resolve_transition", &mut it.resolve_transition),
        ("wont_fix_resolution", &mut it.wont_fix_resolution),
    ]);
    it.reopen_duration_ms = f.given("reopen_duration").and_then(parse_duration).unwrap_or(0);
    it.summary = jira_text(f, "summary", it.summary)?;
    it.description = jira_text(f, "description", it.description)?;
    it.labels = jira_labels(f, it.labels)?;
    let fields = f.node.get("fields").map(Node::entries).unwrap_or_default();
    it.fields = fields.iter().map(|(key, value)| (key.name.clone(), json(value))).collect();
    if it.project.is_empty() {
        return f.wrong("missing project in jira_config");
    }
    if it.issue_type.is_empty() {
        return f.wrong("missing issue_type in jira_config");
    }
    if !matches!(it.api_type.as_str(), "auto" | "cloud" | "datacenter") {
        return f.wrong("unknown api_type on jira_config, must be auto, cloud or datacenter");
    }
    if it.api_url.is_empty() {
        return f.wrong("no global Jira Cloud URL set");
    }
    Ok(Kind::Jira(Box::new(it)))
}

/// A text, or an object with `template` and `enable_update`.
fn jira_text(f: &Fields<'_>, key: &str, default: JiraText) -> Result<JiraText, Placed> {
    let Some(node) = f.node.get_or_null(key) else { return Ok(default) };
    match &node.value {
        Value::Map(entries) => {
            known(
                entries.iter().map(|(key, _)| (key.line, key.name.as_str())),
                key,
                &["template", "enable_update"],
            )?;
            let inner = Fields { node, dir: f.dir, strict: f.strict };
            let mut text = default;
            inner.put("template", &mut text.template);
            text.enable_update = inner.bool("enable_update", true);
            Ok(text)
        }
        Value::List(_) => Err((node.line, format!("{key} must be a text, or have a template"))),
        _ => {
            let template = node.text().unwrap_or("").to_owned();
            Ok(JiraText { template, enable_update: true })
        }
    }
}

/// A list, or an object with `values` and `enable_update`.
fn jira_labels(f: &Fields<'_>, default: JiraLabels) -> Result<JiraLabels, Placed> {
    let Some(node) = f.node.get("labels") else { return Ok(default) };
    let texts = |items: &[Node]| -> Result<Vec<String>, Placed> {
        let text = |item: &Node| {
            let text = item.text().map(str::to_owned);
            text.ok_or_else(|| (item.line, "labels must be texts".to_owned()))
        };
        items.iter().map(text).collect()
    };
    match &node.value {
        Value::List(items) => Ok(JiraLabels { values: texts(items)?, enable_update: true }),
        Value::Map(entries) => {
            known(
                entries.iter().map(|(key, _)| (key.line, key.name.as_str())),
                "labels",
                &["values", "enable_update"],
            )?;
            let inner = Fields { node, dir: f.dir, strict: f.strict };
            let values = node.get("values").map(Node::items).unwrap_or_default();
            Ok(JiraLabels {
                values: texts(values)?,
                enable_update: inner.bool("enable_update", true),
            })
        }
        _ => Err((node.line, "labels must be a list".to_owned())),
    }
}

/// Refuses keys that an object with two forms does not have.
fn known<'a>(
    keys: impl Iterator<Item = (usize, &'a str)>,
    object: &str,
    known: &[&str],
) -> Result<(), Placed> {
    for (line, key) in keys {
        if !known.contains(&key) {
            let known = known.join(", ");
            return Err((line, format!("unknown key {key:?} in {object}; known here: {known}")));
        }
    }
    Ok(())
}

//! Services that wake people: pagers, push messages, text messages.

use alert::receiver::{
    Kind, Ntfy, OpsGenie, OpsGenieResponder, PagerDuty, PagerDutyImage, PagerDutyLink, Pushover,
    Sns, VictorOps,
};

use super::super::fields::Fields;
use super::super::globals::Globals;
use super::one_secret;
use crate::prometheus_yml::http::json;
use crate::prometheus_yml::node::{Node, Placed};

const RESPONDERS: [&str; 5] = ["team", "teams", "user", "escalation", "schedule"];

pub(super) fn pager_duty(f: &Fields<'_>, globals: &Globals) -> Result<Kind, Placed> {
    let mut it = PagerDuty::default();
    globals.put_url("pagerduty_url", &mut it.url)?;
    f.put_url("url", &mut it.url)?;
    it.routing_key = f.secret("routing_key", "routing_key_file")?;
    it.service_key = f.secret("service_key", "service_key_file")?;
    if it.routing_key.is_none() && it.service_key.is_none() {
        return f.wrong("missing service or routing key in PagerDuty config");
    }
    f.put_all([
        ("client", &mut it.client),
        ("client_url", &mut it.client_url),
        ("description", &mut it.description),
        ("source", &mut it.source),
        ("severity", &mut it.severity),
        ("class", &mut it.class),
        ("component", &mut it.component),
        ("group", &mut it.group),
    ]);
    let details = f.node.get("details").map(Node::entries).unwrap_or_default();
    it.details = details.iter().map(|(key, value)| (key.name.clone(), json(value))).collect();
    let image = |item: Fields<'_>| PagerDutyImage {
        src: item.text("src"),
        alt: item.text("alt"),
        href: item.text("href"),
    };
    it.images = f.items("images").map(image).collect();
    let link =
        |item: Fields<'_>| PagerDutyLink { href: item.text("href"), text: item.text("text") };
    it.links = f.items("links").map(link).collect();
    it.timeout_ms = f.ms("timeout", 0);
    Ok(Kind::PagerDuty(Box::new(it)))
}

pub(super) fn ops_genie(f: &Fields<'_>, globals: &Globals) -> Result<Kind, Placed> {
    let mut it = OpsGenie::default();
    globals.put_url("opsgenie_api_url", &mut it.api_url)?;
    f.put_url("api_url", &mut it.api_url)?;
    it.responders = f.items("responders").map(|item| responder(&item)).collect::<Result<_, _>>()?;
    it.api_key = match f.secret("api_key", "api_key_file")? {
        Some(own) => Some(own),
        None => globals.secret("opsgenie_api_key")?,
    };
    if it.api_key.is_none() {
        return f.wrong("no global OpsGenie API Key set either inline or in a file");
    }
    f.put_all([
        ("message", &mut it.message),
        ("description", &mut it.description),
        ("source", &mut it.source),
        ("entity", &mut it.entity),
        ("actions", &mut it.actions),
        ("tags", &mut it.tags),
        ("note", &mut it.note),
        ("priority", &mut it.priority),
    ]);
    it.details = f.texts("details");
    it.update_alerts = f.bool("update_alerts", false);
    with_slash(&mut it.api_url);
    Ok(Kind::OpsGenie(Box::new(it)))
}

fn responder(f: &Fields<'_>) -> Result<OpsGenieResponder, Placed> {
    let it = OpsGenieResponder {
        id: f.text("id"),
        name: f.text("name"),
        username: f.text("username"),
        kind: f.text("type"),
    };
    let shown = format!("{{{} {} {} {}}}", it.id, it.name, it.username, it.kind);
    if it.id.is_empty() && it.name.is_empty() && it.username.is_empty() {
        return f.wrong(format!(
            "opsGenieConfig responder {shown} has to have at least one of id, username or name specified"
        ));
    }
    let is_known = it.kind.contains("{{") || RESPONDERS.contains(&it.kind.to_lowercase().as_str());
    if !is_known {
        return f.wrong(format!(
            "opsGenieConfig responder {shown} type does not match valid options ^({})$",
            RESPONDERS.join("|")
        ));
    }
    Ok(it)
}

pub(super) fn victor_ops(f: &Fields<'_>, globals: &Globals) -> Result<Kind, Placed> {
    let mut it = VictorOps::default();
    globals.put_url("victorops_api_url", &mut it.api_url)?;
    f.put_url("api_url", &mut it.api_url)?;
    f.put_all([
        ("routing_key", &mut it.routing_key),
        ("message_type", &mut it.message_type),
        ("state_message", &mut it.state_message),
        ("entity_display_name", &mut it.entity_display_name),
        ("monitoring_tool", &mut it.monitoring_tool),
    ]);
    if it.routing_key.is_empty() {
        return f.wrong("missing Routing key in VictorOps config");
    }
    it.custom_fields = f.texts("custom_fields");
    let reserved = |name: &&String| VictorOps::RESERVED_FIELDS.contains(&name.as_str());
    if let Some(name) = it.custom_fields.keys().find(reserved) {
        return f.wrong(format!(
            "victorOps config contains custom field {name} which cannot be used as it conflicts with the fixed/static \
             fields"
        ));
    }
    it.api_key = match f.secret("api_key", "api_key_file")? {
        Some(own) => Some(own),
        None => globals.secret("victorops_api_key")?,
    };
    if it.api_key.is_none() {
        return f.wrong("no global VictorOps API Key set");
    }
    with_slash(&mut it.api_url);
    Ok(Kind::VictorOps(Box::new(it)))
}

pub(super) fn pushover(f: &Fields<'_>, _: &Globals) -> Result<Kind, Placed> {
    let mut it = Pushover {
        user_key: one_secret(f, "user_key", |key, file| f.secret(key, file))?,
        token: one_secret(f, "token", |key, file| f.secret(key, file))?,
        ..Pushover::default()
    };
    f.put_all([
        ("title", &mut it.title),
        ("message", &mut it.message),
        ("url", &mut it.url),
        ("url_title", &mut it.url_title),
        ("device", &mut it.device),
        ("sound", &mut it.sound),
        ("priority", &mut it.priority),
    ]);
    it.retry_ms = f.ms("retry", it.retry_ms);
    it.expire_ms = f.ms("expire", it.expire_ms);
    it.ttl_ms = f.ms("ttl", it.ttl_ms);
    it.html = f.bool("html", false);
    it.monospace = f.bool("monospace", false);
    if it.html && it.monospace {
        return f.wrong("at most one of monospace & html must be configured");
    }
    Ok(Kind::Pushover(Box::new(it)))
}

pub(super) fn sns(f: &Fields<'_>, _: &Globals) -> Result<Kind, Placed> {
    let mut it = Sns::default();
    f.put_all([
        ("api_url", &mut it.api_url),
        ("topic_arn", &mut it.topic_arn),
        ("phone_number", &mut it.phone_number),
        ("target_arn", &mut it.target_arn),
        ("subject", &mut it.subject),
        ("message", &mut it.message),
    ]);
    if it.topic_arn.is_empty() && it.phone_number.is_empty() && it.target_arn.is_empty() {
        let why = "must provide either a Target ARN, Topic ARN, or Phone Number for SNS config";
        return f.wrong(why);
    }
    it.attributes = f.texts("attributes");
    if let Some(sigv4) = f.object("sigv4") {
        sigv4.put_all([
            ("region", &mut it.region),
            ("access_key", &mut it.access_key),
            ("profile", &mut it.profile),
            ("role_arn", &mut it.role_arn),
        ]);
        it.secret_key = sigv4.secret("secret_key", "secret_key_file")?;
        if it.access_key.is_empty() != it.secret_key.is_none() {
            return sigv4.wrong(
                "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config",
            );
        }
    }
    Ok(Kind::Sns(Box::new(it)))
}

pub(super) fn ntfy(f: &Fields<'_>, _: &Globals) -> Result<Kind, Placed> {
    let mut it = Ntfy::default();
    f.put_url("url", &mut it.url)?;
    f.put_all([
        ("topic", &mut it.topic),
        ("title", &mut it.title),
        ("message", &mut it.message),
        ("priority", &mut it.priority),
        ("tags", &mut it.tags),
        ("click", &mut it.click),
        ("icon", &mut it.icon),
    ]);
    it.token = f.secret("token", "token_file")?;
    it.markdown = f.bool("markdown", false);
    if it.topic.is_empty() {
        return f.wrong("missing topic in ntfy config");
    }
    Ok(Kind::Ntfy(Box::new(it)))
}

/// Paths are joined to it.
fn with_slash(url: &mut String) {
    if !url.ends_with('/') {
        url.push('/');
    }
}

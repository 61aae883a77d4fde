//! Every key Alertmanager knows, with its type, in the form of [`schema`](crate::prometheus_yml::schema); the keys of
//! `http_config`, `tls_config` and `sigv4` are Prometheus'.
//!
//! Source: Alertmanager documentation, "Configuration", of its main branch.

use crate::prometheus_yml::node::{Node, Placed};
use crate::prometheus_yml::rules;
use crate::prometheus_yml::schema::Table;

/// Integrations are looked at one by one: one that is wrong does not stop the others.
pub(super) const OBJECTS: Table = &[
    (
        "alertmanager.yml",
        "global:any route:{route} inhibit_rules:[{inhibit_rule}] receivers:[any] templates:[str] \
        mute_time_intervals:[{mute_time_interval}] time_intervals:[{time_interval}] -tracing:{tracing}",
    ),
    (
        "global",
        "resolve_timeout:dur http_config:{http} smtp_from:str smtp_hello:str smtp_smarthost:str \
        smtp_auth_username:str smtp_auth_password:str smtp_auth_password_file:str smtp_auth_secret:str \
        smtp_auth_secret_file:str smtp_auth_identity:str smtp_require_tls:bool smtp_tls_config:{tls} \
        smtp_force_implicit_tls:bool slack_api_url:str slack_api_url_file:str slack_app_token:str \
        slack_app_token_file:str slack_app_url:str pagerduty_url:str opsgenie_api_url:str opsgenie_api_key:str \
        opsgenie_api_key_file:str wechat_api_url:str wechat_api_secret:str wechat_api_secret_file:str \
        wechat_api_corp_id:str victorops_api_url:str victorops_api_key:str victorops_api_key_file:str \
        telegram_api_url:str telegram_bot_token:str telegram_bot_token_file:str webex_api_url:str \
        rocketchat_api_url:str rocketchat_token:str rocketchat_token_file:str rocketchat_token_id:str \
        rocketchat_token_id_file:str jira_api_url:str mattermost_webhook_url:str mattermost_webhook_url_file:str",
    ),
    (
        "route",
        "receiver:str group_by:[str] match:<str> match_re:<str> matchers:[str] continue:bool \
        mute_time_intervals:[str] active_time_intervals:[str] group_wait:dur group_interval:dur \
        repeat_interval:dur labels:<str> routes:[{route}]",
    ),
    (
        "inhibit_rule",
        "name:str source_match:<str> source_match_re:<str> source_matchers:[str] target_match:<str> \
        target_match_re:<str> target_matchers:[str] equal:[str]",
    ),
    ("mute_time_interval", "name:str time_intervals:[{time_interval_spec}]"),
    ("time_interval", "name:str time_intervals:[{time_interval_spec}]"),
    (
        "time_interval_spec",
        "times:[{time_range}] weekdays:[str] days_of_month:[str] months:[str] years:[str] location:str",
    ),
    ("time_range", "start_time:str end_time:str"),
    (
        "receiver",
        "name:str discord_configs:[any] email_configs:[any] incidentio_configs:[any] jira_configs:[any] matrix_configs:[any] ntfy_configs:[any] \
        mattermost_configs:[any] msteams_configs:[any] msteamsv2_configs:[any] opsgenie_configs:[any] \
        pagerduty_configs:[any] pushover_configs:[any] rocketchat_configs:[any] slack_configs:[any] \
        sns_configs:[any] telegram_configs:[any] victorops_configs:[any] webex_configs:[any] \
        webhook_configs:[any] wechat_configs:[any]",
    ),
    ("base", "send_resolved:bool http_config:{http}"),
    (
        "discord",
        "webhook_url:str webhook_url_file:str content:str title:str message:str username:str avatar_url:str +base",
    ),
    (
        "email",
        "send_resolved:bool to:str from:str hello:str smarthost:str auth_username:str auth_password:str \
        auth_password_file:str auth_secret:str auth_secret_file:str auth_identity:str headers:<str> html:str \
        text:str require_tls:bool tls_config:{tls} force_implicit_tls:bool threading:{email_threading}",
    ),
    ("email_threading", "enabled:bool thread_by_date:str"),
    (
        "incidentio",
        "url:str url_file:str alert_source_token:str alert_source_token_file:str max_alerts:int timeout:godur +base",
    ),
    (
        "jira",
        "api_url:str api_type:str project:str summary:any description:any labels:any priority:str issue_type:str \
        reopen_transition:str resolve_transition:str wont_fix_resolution:str reopen_duration:dur fields:<any> +base",
    ),
    ("jira_text", "template:str enable_update:bool"),
    ("jira_labels", "values:[str] enable_update:bool"),
    (
        "matrix",
        "homeserver_url:str room_id:str access_token:str access_token_file:str notice:bool message:str html:str +base",
    ),
    (
        "mattermost",
        "webhook_url:str webhook_url_file:str channel:str username:str icon_emoji:str attachments:[{mattermost_attachment}] \
        type:str props:{mattermost_props} priority:{mattermost_priority} icon_url:str +mattermost_attachment +base",
    ),
    (
        "mattermost_attachment",
        "fallback:str color:str pretext:str text:str author_name:str author_link:str author_icon:str title:str \
        title_link:str fields:[{titled_value}] thumb_url:str footer:str footer_icon:str image_url:str",
    ),
    ("mattermost_props", "card:str"),
    ("mattermost_priority", "priority:str requested_ack:bool persistent_notifications:bool"),
    ("titled_value", "title:str value:str short:bool"),
    ("msteams", "webhook_url:str webhook_url_file:str title:str summary:str text:str +base"),
    ("msteamsv2", "webhook_url:str webhook_url_file:str title:str text:str +base"),
    (
        "ntfy",
        "url:str topic:str token:str token_file:str title:str message:str priority:str tags:str click:str icon:str \
        markdown:bool +base",
    ),
    (
        "opsgenie",
        "api_key:str api_key_file:str api_url:str message:str description:str source:str details:<str> entity:str \
        responders:[{opsgenie_responder}] actions:str tags:str note:str priority:str update_alerts:bool +base",
    ),
    ("opsgenie_responder", "id:str name:str username:str type:str"),
    (
        "pagerduty",
        "routing_key:str routing_key_file:str service_key:str service_key_file:str url:str client:str client_url:str \
        description:str details:<any> images:[{pagerduty_image}] links:[{pagerduty_link}] source:str severity:str \
        class:str component:str group:str timeout:godur +base",
    ),
    ("pagerduty_image", "src:str alt:str href:str"),
    ("pagerduty_link", "href:str text:str"),
    (
        "pushover",
        "user_key:str user_key_file:str token:str token_file:str title:str message:str url:str url_title:str \
        device:str sound:str priority:str retry:godur expire:godur ttl:godur html:bool monospace:bool +base",
    ),
    (
        "rocketchat",
        "api_url:str token:str token_file:str token_id:str token_id_file:str channel:str color:str title:str \
        title_link:str text:str fields:[{titled_value}] short_fields:bool emoji:str icon_url:str image_url:str \
        thumb_url:str link_names:bool actions:[{rocketchat_action}] +base",
    ),
    ("rocketchat_action", "type:str text:str url:str msg:str"),
    (
        "slack",
        "api_url:str api_url_file:str app_token:str app_token_file:str app_url:str channel:str username:str color:str \
        title:str title_link:str pretext:str text:str message_text:str fields:[{titled_value}] short_fields:bool \
        footer:str fallback:str callback_id:str icon_emoji:str icon_url:str image_url:str thumb_url:str \
        link_names:bool mrkdwn_in:[str] actions:[{slack_action}] update_message:bool post_updates_to_thread:bool \
        timeout:godur +base",
    ),
    (
        "slack_action",
        "type:str text:str url:str style:str name:str value:str confirm:{slack_confirm}",
    ),
    ("slack_confirm", "text:str title:str ok_text:str dismiss_text:str"),
    (
        "sns",
        "api_url:str sigv4:{sigv4} topic_arn:str phone_number:str target_arn:str subject:str message:str \
        attributes:<str> +base",
    ),
    (
        "telegram",
        "api_url:str bot_token:str bot_token_file:str chat_id:num chat_id_file:str message_thread_id:num message:str \
        disable_notifications:bool parse_mode:str timeout:godur +base",
    ),
    (
        "victorops",
        "api_key:str api_key_file:str api_url:str routing_key:str message_type:str state_message:str \
        entity_display_name:str monitoring_tool:str custom_fields:<str> +base",
    ),
    ("webex", "api_url:str message:str room_id:str +base"),
    ("webhook", "url:str url_file:str max_alerts:int timeout:godur payload:any +base"),
    (
        "wechat",
        "api_secret:str api_secret_file:str corp_id:str message:str api_url:str to_user:str to_party:str to_tag:str \
        agent_id:str message_type:str +base",
    ),
];

/// What somebody meant by a key that Alertmanager does not know.
pub(super) struct Meant {
    /// Which object it stands in.
    object: &'static str,
    /// What is written.
    written: &'static str,
    /// The key that is meant, or holds what is meant.
    pub(super) key: &'static str,
    /// How it is written right.
    pub(super) right: &'static str,
}

const MEANT: [Meant; 6] = [
    Meant { object: "email", written: "body", key: "text", right: "text (html is a page)" },
    Meant { object: "email", written: "subject", key: "headers", right: "Subject in headers" },
    Meant { object: "email", written: "smtp_smarthost", key: "smarthost", right: "smarthost" },
    Meant { object: "email", written: "smtp_from", key: "from", right: "from" },
    Meant { object: "slack", written: "webhook_url", key: "api_url", right: "api_url" },
    Meant { object: "slack", written: "message", key: "text", right: "text" },
];

/// What is meant by `key` in `object`, where that is known.
pub(super) fn meant(object: &str, key: &str) -> Option<&'static Meant> {
    MEANT.iter().find(|meant| meant.object == object && meant.written == key)
}

/// What is demanded of objects that Prometheus has too.
pub(super) fn check(name: &str, node: &Node) -> Result<(), Placed> {
    if OBJECTS.iter().any(|(own, _)| *own == name) {
        return Ok(());
    }
    rules::check(name, node)?;
    // Any text is a path to Go, unless it has a colon where a scheme would end.
    let proxy = node.get("proxy_url").filter(|_| name == "http");
    match proxy.and_then(|proxy| Some((proxy.line, proxy.text()?))) {
        Some((line, url)) if url.chars().any(|c| c.is_ascii_control()) => {
            Err((line, format!("parse {url:?}: net/url: invalid control character in URL")))
        }
        Some((line, url)) if is_scheme_missing(url) => {
            let why = format!("parse {url:?}: first path segment in URL cannot contain colon");
            Err((line, why))
        }
        _ => Ok(()),
    }
}

fn is_scheme_missing(url: &str) -> bool {
    let is_scheme = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let first = url.split(['/', '?', '#']).next().unwrap_or("");
    first.split_once(':').is_some_and(|(scheme, _)| !is_scheme(scheme))
}

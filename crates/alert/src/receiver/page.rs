//! Services that wake people: pagers, push messages, text messages.

use std::collections::BTreeMap;

use model::http::Secret;
use serde_json::Value as Json;

fn template(name: &str) -> String {
    format!("{{{{ template \"{name}\" . }}}}")
}

/// PagerDuty, by its events API of version 2 with a routing key, of version 1 with a service key.
#[derive(Debug, Clone, PartialEq)]
pub struct PagerDuty {
    /// `routing_key` or `routing_key_file`; a template.
    pub routing_key: Option<Secret>,
    /// `service_key` or `service_key_file`; a template.
    pub service_key: Option<Secret>,
    /// Of version 2; version 1 has one address for all.
    pub url: String,
    /// Who reports; a template.
    pub client: String,
    /// Where the client is; a template.
    pub client_url: String,
    /// What the incident is called; a template.
    pub description: String,
    /// JSON whose texts are templates. The defaults are those whose names are not here.
    pub details: BTreeMap<String, Json>,
    /// Pictures.
    pub images: Vec<PagerDutyImage>,
    /// Links.
    pub links: Vec<PagerDutyLink>,
    /// Where the problem is; a template. The client if empty.
    pub source: String,
    /// How bad it is; a template. `error` if empty.
    pub severity: String,
    /// What kind of problem it is; a template.
    pub class: String,
    /// Which part is concerned; a template.
    pub component: String,
    /// A group of sources; a template.
    pub group: String,
    /// How long a request may take; 0 means the sender's own bound.
    pub timeout_ms: u64,
}

impl Default for PagerDuty {
    fn default() -> Self {
        Self {
            routing_key: None,
            service_key: None,
            url: "https://events.pagerduty.com/v2/enqueue".to_owned(),
            client: template("pagerduty.default.client"),
            client_url: template("pagerduty.default.clientURL"),
            description: template("pagerduty.default.description"),
            details: BTreeMap::new(),
            images: Vec::new(),
            links: Vec::new(),
            source: String::new(),
            severity: String::new(),
            class: String::new(),
            component: String::new(),
            group: String::new(),
            timeout_ms: 0,
        }
    }
}

impl PagerDuty {
    /// The details there are unless `details` has others of the same name.
    pub const DETAILS: [(&'static str, &'static str); 4] = [
        ("firing", "{{ .Alerts.Firing | toJson }}"),
        ("num_firing", "{{ .Alerts.Firing | len }}"),
        ("num_resolved", "{{ .Alerts.Resolved | len }}"),
        ("resolved", "{{ .Alerts.Resolved | toJson }}"),
    ];
}

/// A picture of an incident; templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PagerDutyImage {
    /// Where it is; left out if empty.
    pub src: String,
    /// What stands for it.
    pub alt: String,
    /// What it links to.
    pub href: String,
}

/// A link of an incident; templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PagerDutyLink {
    /// Where it leads; left out if empty.
    pub href: String,
    /// What it says.
    pub text: String,
}

/// OpsGenie.
#[derive(Debug, Clone, PartialEq)]
pub struct OpsGenie {
    /// `api_key` or `api_key_file`; a template.
    pub api_key: Option<Secret>,
    /// Base of the API, with a slash at its end.
    pub api_url: String,
    /// A template.
    pub message: String,
    /// A template.
    pub description: String,
    /// Where it comes from; a template.
    pub source: String,
    /// Beside the common labels; templates.
    pub details: BTreeMap<String, String>,
    /// What is concerned; a template.
    pub entity: String,
    /// Who is told.
    pub responders: Vec<OpsGenieResponder>,
    /// What can be done, separated by commas; a template.
    pub actions: String,
    /// Separated by commas; a template.
    pub tags: String,
    /// A template.
    pub note: String,
    /// `P1` to `P5`; a template.
    pub priority: String,
    /// Whether an alert that is there already gets the new message and description.
    pub update_alerts: bool,
}

impl Default for OpsGenie {
    fn default() -> Self {
        Self {
            api_key: None,
            api_url: "https://api.opsgenie.com/".to_owned(),
            message: template("opsgenie.default.message"),
            description: template("opsgenie.default.description"),
            source: template("opsgenie.default.source"),
            details: BTreeMap::new(),
            entity: String::new(),
            responders: Vec::new(),
            actions: String::new(),
            tags: String::new(),
            note: String::new(),
            priority: String::new(),
            update_alerts: false,
        }
    }
}

/// Who is told; templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpsGenieResponder {
    /// One of this and the next two.
    pub id: String,
    /// Of `teams` several, separated by commas.
    pub name: String,
    /// Of a user.
    pub username: String,
    /// `team`, `teams`, `user`, `escalation` or `schedule`.
    pub kind: String,
}

/// VictorOps, now Splunk On-Call.
#[derive(Debug, Clone, PartialEq)]
pub struct VictorOps {
    /// `api_key` or `api_key_file`.
    pub api_key: Option<Secret>,
    /// Base of the API, with a slash at its end.
    pub api_url: String,
    /// Which team; a template.
    pub routing_key: String,
    /// `CRITICAL`, `WARNING` or `INFO`; a template.
    pub message_type: String,
    /// The long text; a template.
    pub state_message: String,
    /// The short text; a template.
    pub entity_display_name: String,
    /// Who reports; a template.
    pub monitoring_tool: String,
    /// Further fields; templates.
    pub custom_fields: BTreeMap<String, String>,
}

impl Default for VictorOps {
    fn default() -> Self {
        Self {
            api_key: None,
            api_url: "https://alert.victorops.com/integrations/generic/20131114/alert/".to_owned(),
            routing_key: String::new(),
            message_type: "CRITICAL".to_owned(),
            state_message: template("victorops.default.state_message"),
            entity_display_name: template("victorops.default.entity_display_name"),
            monitoring_tool: template("victorops.default.monitoring_tool"),
            custom_fields: BTreeMap::new(),
        }
    }
}

impl VictorOps {
    /// Fields that `custom_fields` must not name.
    pub const RESERVED_FIELDS: [&'static str; 7] = [
        "routing_key",
        "message_type",
        "state_message",
        "entity_display_name",
        "monitoring_tool",
        "entity_id",
        "entity_state",
    ];
}

/// Pushover.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushover {
    /// `user_key` or `user_key_file`; a template.
    pub user_key: Option<Secret>,
    /// `token` or `token_file`; a template.
    pub token: Option<Secret>,
    /// A template.
    pub title: String,
    /// A template.
    pub message: String,
    /// A template.
    pub url: String,
    /// What the link says; a template.
    pub url_title: String,
    /// Which device; a template. All if empty.
    pub device: String,
    /// A template.
    pub sound: String,
    /// A template.
    pub priority: String,
    /// How often the user is told again until there is an answer.
    pub retry_ms: u64,
    /// How long the user is told again.
    pub expire_ms: u64,
    /// How long the message is kept; 0 means for ever.
    pub ttl_ms: u64,
    /// Whether the message is HTML.
    pub html: bool,
    /// Whether the message is shown with letters of one width.
    pub monospace: bool,
}

impl Default for Pushover {
    fn default() -> Self {
        Self {
            user_key: None,
            token: None,
            title: template("pushover.default.title"),
            message: template("pushover.default.message"),
            url: template("pushover.default.url"),
            url_title: String::new(),
            device: String::new(),
            sound: String::new(),
            priority: r#"{{ if eq .Status "firing" }}2{{ else }}0{{ end }}"#.to_owned(),
            retry_ms: 60_000,
            expire_ms: 3_600_000,
            ttl_ms: 0,
            html: false,
            monospace: false,
        }
    }
}

/// Amazon's simple notification service.
#[derive(Debug, Clone, PartialEq)]
pub struct Sns {
    /// A template; the region's if empty.
    pub api_url: String,
    /// `sigv4.region`
    pub region: String,
    /// `sigv4.access_key`
    pub access_key: String,
    /// `sigv4.secret_key`
    pub secret_key: Option<Secret>,
    /// `sigv4.profile`
    pub profile: String,
    /// `sigv4.role_arn`
    pub role_arn: String,
    /// A template; one of this and the next two.
    pub topic_arn: String,
    /// A template.
    pub phone_number: String,
    /// A template.
    pub target_arn: String,
    /// A template.
    pub subject: String,
    /// A template.
    pub message: String,
    /// Templates.
    pub attributes: BTreeMap<String, String>,
}

impl Default for Sns {
    fn default() -> Self {
        Self {
            api_url: String::new(),
            region: String::new(),
            access_key: String::new(),
            secret_key: None,
            profile: String::new(),
            role_arn: String::new(),
            topic_arn: String::new(),
            phone_number: String::new(),
            target_arn: String::new(),
            subject: template("sns.default.subject"),
            message: template("sns.default.message"),
            attributes: BTreeMap::new(),
        }
    }
}

/// ntfy, the public server or one's own. Source: <https://docs.ntfy.sh/publish/>, "Publish as JSON".
#[derive(Debug, Clone, PartialEq)]
pub struct Ntfy {
    /// The server.
    pub url: String,
    /// A template.
    pub topic: String,
    /// `token` or `token_file`; without one `http_config` may have credentials.
    pub token: Option<Secret>,
    /// A template.
    pub title: String,
    /// A template.
    pub message: String,
    /// `min`, `low`, `default`, `high`, `max` or 1 to 5; a template.
    pub priority: String,
    /// Tags and names of emojis, separated by commas; a template.
    pub tags: String,
    /// What a touch opens; a template.
    pub click: String,
    /// A picture; a template.
    pub icon: String,
    /// Whether the message is Markdown.
    pub markdown: bool,
}

impl Default for Ntfy {
    fn default() -> Self {
        Self {
            url: "https://ntfy.sh".to_owned(),
            topic: String::new(),
            token: None,
            title: template("ntfy.default.title"),
            message: template("ntfy.default.message"),
            priority: template("ntfy.default.priority"),
            tags: template("ntfy.default.tags"),
            click: template("ntfy.default.click"),
            icon: String::new(),
            markdown: false,
        }
    }
}

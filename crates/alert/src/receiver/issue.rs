//! Services that keep incidents and issues.

use std::collections::BTreeMap;

use model::http::Secret;
use serde_json::Value as Json;

/// incident.io: alerts of a source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IncidentIo {
    /// `url` or `url_file`.
    pub url: Option<Secret>,
    /// Proof of the source; without one `http_config.authorization` has it.
    pub alert_source_token: Option<Secret>,
    /// Alerts of one message at most, the others are only counted; 0 means all.
    pub max_alerts: u64,
    /// How long a request may take; 0 means the sender's own bound.
    pub timeout_ms: u64,
}

/// Jira: issues that are made, updated, resolved and reopened.
#[derive(Debug, Clone, PartialEq)]
pub struct Jira {
    /// With the path of the API, such as `https://company.atlassian.net/rest/api/2/`.
    pub api_url: String,
    /// `auto`, `cloud` or `datacenter`.
    pub api_type: String,
    /// Key of the project; a template.
    pub project: String,
    /// Its title.
    pub summary: JiraText,
    /// What it says.
    pub description: JiraText,
    /// What it is labelled with.
    pub labels: JiraLabels,
    /// A template.
    pub priority: String,
    /// Such as `Bug`; a template.
    pub issue_type: String,
    /// The transition that reopens an issue; none if empty.
    pub reopen_transition: String,
    /// The transition that resolves an issue; none if empty.
    pub resolve_transition: String,
    /// Issues with this resolution stay closed.
    pub wont_fix_resolution: String,
    /// How long after its resolution an issue may be reopened, in milliseconds; 0 means always.
    pub reopen_duration_ms: u64,
    /// Further fields: JSON whose texts are templates.
    pub fields: BTreeMap<String, Json>,
}

impl Default for Jira {
    fn default() -> Self {
        let text = |template: &str| JiraText { template: template.to_owned(), enable_update: true };
        Self {
            api_url: String::new(),
            api_type: "auto".to_owned(),
            project: String::new(),
            summary: text(r#"{{ template "jira.default.summary" . }}"#),
            description: text(r#"{{ template "jira.default.description" . }}"#),
            labels: JiraLabels { values: Vec::new(), enable_update: true },
            priority: r#"{{ template "jira.default.priority" . }}"#.to_owned(),
            issue_type: String::new(),
            reopen_transition: String::new(),
            resolve_transition: String::new(),
            wont_fix_resolution: String::new(),
            reopen_duration_ms: 0,
            fields: BTreeMap::new(),
        }
    }
}

/// A text of an issue; in the file a text, or an object with these keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JiraText {
    /// What it is made from.
    pub template: String,
    /// Whether an issue that is there already gets it, too.
    pub enable_update: bool,
}

/// Labels of an issue; in the file a list, or an object with these keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JiraLabels {
    /// Templates.
    pub values: Vec<String>,
    /// Whether an issue that is there already gets them, too.
    pub enable_update: bool,
}

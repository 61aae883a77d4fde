//! What is global: settings that integrations take when they have none of their own.

use std::path::{Path, PathBuf};

use collect::scrape::parse_duration;
use model::http::{HttpOptions, Secret};

use super::fields::{Fields, check_url};
use super::integrations::host_port;
use super::{Reading, line_of};
use crate::prometheus_yml::http;
use crate::prometheus_yml::node::{Node, Placed, Value};

/// `global:`
pub(super) struct Globals {
    node: Node,
    dir: PathBuf,
    strict: bool,
    pub(super) resolve_timeout_ms: Option<u64>,
    /// How requests are made.
    pub(super) http: HttpOptions,
}

/// Keys of which one at most may be given; a `/` stands between keys that are one setting.
const EXCLUDING: [(&str, &str); 13] = [
    ("slack_api_url", "slack_api_url_file"),
    ("slack_app_token", "slack_app_token_file"),
    ("slack_app_token/slack_app_token_file", "slack_api_url/slack_api_url_file"),
    ("opsgenie_api_key", "opsgenie_api_key_file"),
    ("victorops_api_key", "victorops_api_key_file"),
    ("telegram_bot_token", "telegram_bot_token_file"),
    ("wechat_api_secret", "wechat_api_secret_file"),
    ("rocketchat_token", "rocketchat_token_file"),
    ("rocketchat_token_id", "rocketchat_token_id_file"),
    ("mattermost_webhook_url", "mattermost_webhook_url_file"),
    ("smtp_auth_password", "smtp_auth_password_file"),
    ("smtp_auth_secret", "smtp_auth_secret_file"),
    ("bearer_token", "bearer_token_file"),
];

const URLS: [&str; 11] = [
    "slack_api_url",
    "slack_app_url",
    "pagerduty_url",
    "opsgenie_api_url",
    "wechat_api_url",
    "victorops_api_url",
    "telegram_api_url",
    "webex_api_url",
    "rocketchat_api_url",
    "jira_api_url",
    "mattermost_webhook_url",
];

impl Globals {
    /// Reads `node`; a value whose variable is not set counts as not given.
    pub(super) fn read(reading: &mut Reading<'_>, node: Option<&Node>) -> Self {
        let mut node = node.cloned().unwrap_or(Node { line: 1, value: Value::Null });
        if let Value::Map(entries) = &mut node.value {
            entries.retain_mut(|(key, value)| match reading.expand(value) {
                Ok(()) => true,
                Err((line, why)) => {
                    reading.warnings.push((line, format!("{}: {why}; it is not read", key.name)));
                    false
                }
            });
        }
        reading.walk("global", &node);
        let globals = Self {
            resolve_timeout_ms: node.text_of("resolve_timeout").and_then(parse_duration),
            http: node
                .get("http_config")
                .map_or_else(HttpOptions::plain, |http| http::options(http, reading.dir)),
            dir: reading.dir.to_owned(),
            strict: reading.options.strict,
            node,
        };
        for (one, other) in EXCLUDING {
            let given =
                |keys: &'static str| keys.split('/').find(|key| globals.text(key).is_some());
            if let (Some(_), Some(key)) = (given(one), given(other)) {
                let line = globals.node.get(key).map_or(1, |value| value.line);
                let why = format!("at most one of {one} & {other} must be configured");
                reading.mistakes.push((line, why));
            }
        }
        // Otherwise told of the integrations that use them, which are switched off.
        if reading.options.strict {
            if let Some(value) = globals.node.get("smtp_smarthost")
                && let Err(why) = host_port(value.text().unwrap_or(""))
            {
                reading.mistakes.push((value.line, why));
            }
            for key in URLS {
                let Some(value) = globals.node.get(key) else { continue };
                if let Err(why) = check_url(value.text().unwrap_or("")) {
                    reading.mistakes.push((value.line, format!("{key}: {why}")));
                }
            }
        }
        globals
    }

    /// The text of `key` unless it is empty.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.node.text_of(key).filter(|text| !text.is_empty())
    }

    pub(super) fn bool(&self, key: &str) -> Option<bool> {
        self.node.bool_of(key)
    }

    /// The object at `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.node.get(key)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The secret of `key`, or of the file that `key` with `_file` names.
    pub(super) fn secret(&self, key: &str) -> Result<Option<Secret>, Placed> {
        self.fields().secret(key, &format!("{key}_file")).map_err(globally)
    }

    /// As [`Globals::secret`], of a URL.
    pub(super) fn secret_url(&self, key: &str) -> Result<Option<Secret>, Placed> {
        self.fields().secret_url(key, &format!("{key}_file")).map_err(globally)
    }

    /// Puts the URL of `key`, when it is there, where its default stands.
    pub(super) fn put_url(&self, key: &str, to: &mut String) -> Result<(), Placed> {
        // A key without a value takes its default away.
        let is_null = self.node.get_or_null(key).is_some_and(|value| value.value == Value::Null);
        if self.strict && is_null && key != "telegram_api_url" {
            return Err((line_of(&self.node, key), format!("no global {key} set")));
        }
        self.fields().put_url(key, to).map_err(globally)
    }

    fn fields(&self) -> Fields<'_> {
        Fields { node: &self.node, dir: &self.dir, strict: self.strict }
    }
}

/// Says that the key that is wrong is a global one.
fn globally((line, why): Placed) -> Placed {
    (line, format!("global {why}"))
}

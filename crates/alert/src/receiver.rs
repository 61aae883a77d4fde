//! Receivers: whom notifications go to, as plain data.
//!
//! Owns: every integration of Alertmanager with its keys and their defaults, and those it does not have (ntfy, Matrix).
//! Does not own: YAML and what of a file is refused (the binary), what is sent ([`crate::notify`]) and sending it (the
//! binary). A key that upstream expands as a template is a text here, the template itself; its default is upstream's.
//! Values of `global` are filled in by whoever reads the file.
//!
//! Source: Alertmanager's documentation, page "Configuration", of its main branch.

mod chat;
mod issue;
mod mail;
mod page;

use std::time::Duration;

use model::http::{HttpOptions, Secret};
use serde_json::Value as Json;

pub use self::chat::{
    Discord, Matrix, Mattermost, MattermostAttachment, MattermostField, MattermostPriority,
    MsTeams, MsTeamsV2, RocketChat, RocketChatAction, RocketChatField, Slack, SlackAction,
    SlackConfirmation, SlackField, Telegram, WeChat, Webex,
};
pub use self::issue::{IncidentIo, Jira, JiraLabels, JiraText};
pub use self::mail::{Email, EmailThreads, SmartHost};
pub use self::page::{
    Ntfy, OpsGenie, OpsGenieResponder, PagerDuty, PagerDutyImage, PagerDutyLink, Pushover, Sns,
    VictorOps,
};

/// Named integrations that all get the same notifications.
#[derive(Debug, Clone, PartialEq)]
pub struct Receiver {
    /// As routes name it.
    pub name: String,
    /// In the order of the file, kind by kind.
    pub integrations: Vec<Integration>,
}

impl Receiver {
    /// The integrations, each with its number among those of its kind, as `slack[0]` names them.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &Integration)> {
        self.integrations.iter().enumerate().map(|(i, integration)| {
            let name = integration.kind.name();
            let before = self.integrations.iter().take(i);
            (before.filter(|other| other.kind.name() == name).count(), integration)
        })
    }
}

/// One way to somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct Integration {
    /// Whether it is told of alerts that are over.
    pub send_resolved: bool,
    /// How its requests are made; e-mail makes none.
    pub http: HttpOptions,
    /// What it is.
    pub kind: Kind,
}

impl Integration {
    /// An integration with plain requests that is told of resolved alerts as upstream does unless told otherwise.
    pub fn new(kind: Kind) -> Self {
        Self { send_resolved: kind.sends_resolved(), http: HttpOptions::plain(), kind }
    }
}

/// The integrations.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `discord_configs`
    Discord(Box<Discord>),
    /// `email_configs`
    Email(Box<Email>),
    /// `incidentio_configs`
    IncidentIo(Box<IncidentIo>),
    /// `jira_configs`
    Jira(Box<Jira>),
    /// `matrix_configs`, not in Alertmanager.
    Matrix(Box<Matrix>),
    /// `mattermost_configs`
    Mattermost(Box<Mattermost>),
    /// `msteams_configs`
    MsTeams(Box<MsTeams>),
    /// `msteamsv2_configs`
    MsTeamsV2(Box<MsTeamsV2>),
    /// `ntfy_configs`, not in Alertmanager.
    Ntfy(Box<Ntfy>),
    /// `opsgenie_configs`
    OpsGenie(Box<OpsGenie>),
    /// `pagerduty_configs`
    PagerDuty(Box<PagerDuty>),
    /// `pushover_configs`
    Pushover(Box<Pushover>),
    /// `rocketchat_configs`
    RocketChat(Box<RocketChat>),
    /// `slack_configs`
    Slack(Box<Slack>),
    /// `sns_configs`
    Sns(Box<Sns>),
    /// `telegram_configs`
    Telegram(Box<Telegram>),
    /// `victorops_configs`
    VictorOps(Box<VictorOps>),
    /// `webex_configs`
    Webex(Box<Webex>),
    /// `webhook_configs`
    Webhook(Box<Webhook>),
    /// `wechat_configs`
    WeChat(Box<WeChat>),
}

impl Kind {
    /// As upstream's metrics, logs and notification log call it; the key of the file is this and `_configs`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Discord(_) => "discord",
            Self::Email(_) => "email",
            Self::IncidentIo(_) => "incidentio",
            Self::Jira(_) => "jira",
            Self::Matrix(_) => "matrix",
            Self::Mattermost(_) => "mattermost",
            Self::MsTeams(_) => "msteams",
            Self::MsTeamsV2(_) => "msteamsv2",
            Self::Ntfy(_) => "ntfy",
            Self::OpsGenie(_) => "opsgenie",
            Self::PagerDuty(_) => "pagerduty",
            Self::Pushover(_) => "pushover",
            Self::RocketChat(_) => "rocketchat",
            Self::Slack(_) => "slack",
            Self::Sns(_) => "sns",
            Self::Telegram(_) => "telegram",
            Self::VictorOps(_) => "victorops",
            Self::Webex(_) => "webex",
            Self::Webhook(_) => "webhook",
            Self::WeChat(_) => "wechat",
        }
    }

    /// The default of `send_resolved`.
    pub fn sends_resolved(&self) -> bool {
        !matches!(self, Self::Email(_) | Self::RocketChat(_) | Self::Slack(_) | Self::WeChat(_))
    }

    /// How long one request may take, where the configuration says so.
    pub fn timeout(&self) -> Option<Duration> {
        let ms = match self {
            Self::IncidentIo(it) => it.timeout_ms,
            Self::PagerDuty(it) => it.timeout_ms,
            Self::Slack(it) => it.timeout_ms,
            Self::Telegram(it) => it.timeout_ms,
            Self::Webhook(it) => it.timeout_ms,
            _ => 0,
        };
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    /// All secrets, so that whoever sends can put texts where files are named. Not those of the HTTP and TLS options.
    pub fn secrets_mut(&mut self) -> Vec<&mut Secret> {
        let secrets: Vec<Option<&mut Secret>> = match self {
            Self::Discord(it) => vec![it.webhook_url.as_mut()],
            Self::Email(it) => vec![it.auth_password.as_mut(), it.auth_secret.as_mut()],
            Self::IncidentIo(it) => vec![it.url.as_mut(), it.alert_source_token.as_mut()],
            Self::Jira(_) | Self::Webex(_) => Vec::new(),
            Self::Matrix(it) => vec![it.access_token.as_mut()],
            Self::Mattermost(it) => vec![it.webhook_url.as_mut()],
            Self::MsTeams(it) => vec![it.webhook_url.as_mut()],
            Self::MsTeamsV2(it) => vec![it.webhook_url.as_mut()],
            Self::Ntfy(it) => vec![it.token.as_mut()],
            Self::OpsGenie(it) => vec![it.api_key.as_mut()],
            Self::PagerDuty(it) => vec![it.routing_key.as_mut(), it.service_key.as_mut()],
            Self::Pushover(it) => vec![it.user_key.as_mut(), it.token.as_mut()],
            Self::RocketChat(it) => vec![it.token.as_mut(), it.token_id.as_mut()],
            Self::Slack(it) => vec![it.api_url.as_mut(), it.app_token.as_mut()],
            Self::Sns(it) => vec![it.secret_key.as_mut()],
            Self::Telegram(it) => vec![it.bot_token.as_mut(), it.chat_id.as_mut()],
            Self::VictorOps(it) => vec![it.api_key.as_mut()],
            Self::Webhook(it) => vec![it.url.as_mut()],
            Self::WeChat(it) => vec![it.api_secret.as_mut()],
        };
        secrets.into_iter().flatten().collect()
    }
}

/// Any server that takes JSON by `POST`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Webhook {
    /// `url` or `url_file`; a template.
    pub url: Option<Secret>,
    /// Alerts of one message at most, the others are only counted; 0 means all.
    pub max_alerts: u64,
    /// How long a request may take; 0 means the sender's own bound.
    pub timeout_ms: u64,
    /// What is sent instead of upstream's message: JSON whose texts are templates.
    pub payload: Option<Json>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kinds: Vec<Kind>, expected: &[(usize, &str)]) {
        let integrations = kinds.into_iter().map(Integration::new).collect();
        let receiver = Receiver { name: "team".to_owned(), integrations };
        let found: Vec<_> = receiver.numbered().map(|(n, of)| (n, of.kind.name())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn integrations_are_numbered_by_kind() {
        let slack = || Kind::Slack(Box::default());
        let kinds = vec![slack(), Kind::Webhook(Box::default()), slack()];
        check(kinds, &[(0, "slack"), (0, "webhook"), (1, "slack")]);
    }

    #[test]
    fn secrets_never_show() {
        let secret = || Some(Secret::Text("s3cret".to_owned()));
        let kinds = [
            Kind::Webhook(Box::new(Webhook { url: secret(), ..Webhook::default() })),
            Kind::Telegram(Box::new(Telegram { bot_token: secret(), ..Telegram::default() })),
            Kind::Sns(Box::new(Sns { secret_key: secret(), ..Sns::default() })),
        ];
        for mut kind in kinds {
            assert!(!format!("{kind:?}").contains("s3cret"), "{kind:?}");
            let found = kind.secrets_mut();
            assert!(found.iter().any(|s| **s == Secret::Text("s3cret".to_owned())), "{found:?}");
        }
    }

    #[test]
    fn resolved_alerts_are_told_by_default_where_upstream_does() {
        assert!(!Kind::Email(Box::default()).sends_resolved());
        assert!(!Kind::Slack(Box::default()).sends_resolved());
        assert!(!Kind::RocketChat(Box::default()).sends_resolved());
        assert!(!Kind::WeChat(Box::default()).sends_resolved());
        assert!(Kind::PagerDuty(Box::default()).sends_resolved());
        assert!(Kind::Mattermost(Box::default()).sends_resolved());
    }
}

//! Notifiers: what each integration is told, and what its answers mean.
//!
//! Owns: messages as Alertmanager makes them (texts by templates, limits of length, keys by which a service knows that it was
//! told before), conversations of several requests, and which failures are worth another try. Does not own: sending
//! ([`Exchange`] says what to send and is told the answer; the binary does both), when and how often (the dispatcher), and
//! keeping notifications until they are sent (the outbox).
//!
//! A template that fails takes no notification with it: what failed is said at the end of the main text, with the alerts as
//! plain text. Only an address that cannot be known (a channel, a room, a URL) refuses the notification.
//!
//! Source: Alertmanager's behaviour, version 0.25 for what Debian's package can be compared with, its main branch otherwise.

mod answer;
mod chat;
mod defaults;
mod issue;
mod jira;
mod mail;
mod matrix;
mod object;
mod pager;
mod pagerduty;
mod render;
mod slack;
mod sns;
mod telegram;
#[cfg(test)]
mod tests;
mod truncate;
mod url;
mod webhook;
mod wechat;

use std::collections::VecDeque;
use std::fmt;

use ring::digest;

use crate::expand::alertmanager::{Notification, Pairs, Templates};
use crate::receiver::{Integration, Kind};

pub use self::answer::Answer;
pub use self::defaults::default_templates;
pub use self::mail::Mail;

use self::answer::Judge;
use self::render::Render;

/// A notification for one integration of one receiver.
#[derive(Debug, Clone, Default)]
pub struct Notice {
    /// What is told.
    pub notification: Notification,
    /// Identity of the group of alerts, as `{}/{team="a"}:{alertname="Down"}`.
    pub group_key: String,
    /// What [`Outcome::Delivered`] of the last notification of this group asked to remember.
    pub remembered: Pairs,
    /// When it was made, Unix nanoseconds; the same at every try.
    pub made_at_ns: i64,
}

impl Notice {
    /// Whether no alert of it fires any more.
    pub fn is_resolved(&self) -> bool {
        self.notification.alerts.iter().all(|alert| alert.resolved)
    }

    /// The group's identity in the length all services take: SHA-256 of its key, in hexadecimal digits.
    pub fn group_hash(&self) -> String {
        hexadecimal(digest::digest(&digest::SHA256, self.group_key.as_bytes()).as_ref())
    }
}

/// What notifications are made with.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Of the configuration, on top of [`default_templates`].
    pub templates: &'a Templates,
    /// What this host is called, for the identities of mails.
    pub host_name: &'a str,
}

/// An HTTP request. It holds secrets and does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// In capitals.
    pub method: &'static str,
    /// Absolute, but not yet looked at: whoever sends it refuses what is none.
    pub url: String,
    /// Beside those of the integration's HTTP options, which these replace.
    pub headers: Vec<(&'static str, String)>,
    /// Empty with `GET`.
    pub body: String,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Request {
    /// `POST` of a JSON text.
    fn post(url: impl Into<String>, body: String) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Self { method: "POST", url: url.into(), headers, body }
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// What became of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Delivered {
        /// What the next notification of the same group must know.
        remember: Pairs,
    },
    /// It did not, and may at another time.
    Retry {
        /// How long the service asks to wait, in milliseconds.
        after_ms: Option<u64>,
        /// What happened; without secrets.
        reason: String,
    },
    /// It did not and never will as it is.
    Refused {
        /// What happened; without secrets.
        reason: String,
    },
}

impl Outcome {
    fn delivered() -> Self {
        Self::Delivered { remember: Pairs::new() }
    }

    fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Send this and come back with the answer. No answer is [`Outcome::Retry`].
    Http(Request),
    /// Send this; what becomes of it is what becomes of the notification.
    Mail(Box<Mail>),
    /// Nothing.
    Done(Outcome),
}

/// One try to tell one integration: requests and answers in turn.
pub struct Exchange<'a>(Box<dyn Talk + Send + 'a>);

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl<'a> Exchange<'a> {
    /// Begins to tell `integration` of `notice` at `now_ns`. Its secrets must be texts (see [`Kind::secrets_mut`]).
    pub fn new(
        integration: &'a Integration,
        notice: &'a Notice,
        surroundings: Surroundings<'a>,
        now_ns: i64,
    ) -> Self {
        let render = Render::new(notice, surroundings, now_ns);
        Self(begin(integration, render).unwrap_or_else(|outcome| Box::new(Settled(outcome))))
    }

    /// What to do first (`None`), or after this answer.
    pub fn next(&mut self, answer: Option<&Answer>) -> Step {
        self.0.next(answer)
    }
}

/// A conversation with a service.
trait Talk {
    fn next(&mut self, answer: Option<&Answer>) -> Step;
}

type Begun<'a> = Result<Box<dyn Talk + Send + 'a>, Outcome>;

fn begin<'a>(integration: &'a Integration, render: Render<'a>) -> Begun<'a> {
    match &integration.kind {
        Kind::Discord(it) => chat::discord(it, render),
        Kind::Email(it) => mail::compose(it, render),
        Kind::IncidentIo(it) => issue::incident_io(it, &integration.http, render),
        Kind::Jira(it) => jira::begin(it, render),
        Kind::Matrix(it) => matrix::compose(it, render),
        Kind::Mattermost(it) => chat::mattermost(it, render),
        Kind::MsTeams(it) => chat::ms_teams(it, render),
        Kind::MsTeamsV2(it) => chat::ms_teams_v2(it, render),
        Kind::Ntfy(it) => pager::ntfy(it, render),
        Kind::OpsGenie(it) => pager::opsgenie(it, render),
        Kind::PagerDuty(it) => pagerduty::compose(it, render),
        Kind::Pushover(it) => pager::pushover(it, render),
        Kind::RocketChat(it) => chat::rocket_chat(it, render),
        Kind::Slack(it) => slack::begin(it, render),
        Kind::Sns(it) => sns::compose(it, render),
        Kind::Telegram(it) => telegram::begin(it, render),
        Kind::VictorOps(it) => pager::victorops(it, render),
        Kind::Webex(it) => chat::webex(it, render),
        Kind::Webhook(it) => webhook::compose(it, render),
        Kind::WeChat(it) => wechat::begin(it, render),
    }
}

/// It is over before it begins.
struct Settled(Outcome);

impl Talk for Settled {
    fn next(&mut self, _: Option<&Answer>) -> Step {
        Step::Done(self.0.clone())
    }
}

/// Requests one after the other, each of which must succeed.
struct Sequence {
    requests: VecDeque<Request>,
    judge: Judge,
}

impl Sequence {
    fn of<'a>(requests: impl IntoIterator<Item = Request>, judge: Judge) -> Begun<'a> {
        Ok(Box::new(Self { requests: requests.into_iter().collect(), judge }))
    }
}

impl Talk for Sequence {
    fn next(&mut self, answer: Option<&Answer>) -> Step {
        if let Some(Err(outcome)) = answer.map(|answer| (self.judge)(answer)) {
            return Step::Done(outcome);
        }
        match self.requests.pop_front() {
            Some(request) => Step::Http(request),
            None => Step::Done(Outcome::delivered()),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

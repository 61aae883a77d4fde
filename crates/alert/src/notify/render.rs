//! Texts of a notification: templates expanded for it, and what is said when one fails.

use model::http::Secret;
use query::template::Value;

use super::{Notice, Outcome, Surroundings};
use crate::expand::alertmanager::{Alert, Notification, field};

/// Alerts that a plain text lists; the others are counted.
const LISTED_ALERTS_MAX: usize = 20;

/// What is known while one notification is made.
#[derive(Debug)]
pub(super) struct Render<'a> {
    pub(super) notice: &'a Notice,
    surroundings: Surroundings<'a>,
    /// The notification as templates see it.
    data: Value,
    pub(super) now_ns: i64,
    /// What could not be expanded, and why.
    failures: Vec<String>,
}

impl<'a> Render<'a> {
    pub(super) fn new(notice: &'a Notice, surroundings: Surroundings<'a>, now_ns: i64) -> Self {
        let data = named(&notice.notification).value();
        Self { notice, surroundings, data, now_ns, failures: Vec::new() }
    }

    pub(super) fn host_name(&self) -> &'a str {
        self.surroundings.host_name
    }

    /// The notification with its first `max` alerts, as templates see it.
    pub(super) fn data_of(&self, max: usize) -> Value {
        if self.notice.notification.alerts.len() <= max {
            return self.data.clone();
        }
        let mut notification = named(&self.notice.notification);
        notification.alerts.truncate(max);
        notification.value()
    }

    /// A text that may be missing: empty when its template fails, which the main text then says.
    pub(super) fn text(&mut self, key: &str, template: &str) -> String {
        let expanded = self.surroundings.templates.text(template, &self.data, self.now_ns);
        expanded.unwrap_or_else(|error| self.failed(key, &error))
    }

    /// An address, without which there is no notification.
    pub(super) fn address(&self, key: &str, template: &str) -> Result<String, Outcome> {
        let expanded = self.surroundings.templates.text(template, &self.data, self.now_ns);
        expanded.map_err(|error| Outcome::refused(format!("cannot expand {key}: {error}")))
    }

    /// One of several texts of which none is the main one: in the place of one that fails stands why.
    pub(super) fn part(&mut self, key: &str, template: &str) -> String {
        let expanded = self.surroundings.templates.text(template, &self.data, self.now_ns);
        expanded.unwrap_or_else(|error| {
            format!("cannot expand {key}: {error}\n{}", plain(&self.notice.notification))
        })
    }

    /// The text that is read first of all. Asked for last: it says at its end what of the others failed.
    pub(super) fn main(&mut self, key: &str, template: &str) -> String {
        let text = self.text(key, template);
        self.with_failures(text)
    }

    /// As [`Render::main`], of HTML.
    pub(super) fn main_html(&mut self, key: &str, template: &str) -> String {
        let expanded = self.surroundings.templates.html(template, &self.data, self.now_ns);
        let html = expanded.unwrap_or_else(|error| self.failed(key, &error));
        match self.failures.is_empty() {
            true => html,
            false => format!("{html}\n<pre>{}</pre>", escaped(&self.report())),
        }
    }

    /// `text` and what failed so far.
    pub(super) fn with_failures(&self, text: String) -> String {
        match (self.failures.is_empty(), text.is_empty()) {
            (true, _) => text,
            (false, true) => self.report(),
            (false, false) => format!("{text}\n{}", self.report()),
        }
    }

    /// Notes that `key` could not be expanded. Returns what stands in its place.
    fn failed(&mut self, key: &str, error: &str) -> String {
        self.failures.push(format!("cannot expand {key}: {error}"));
        String::new()
    }

    /// What failed, and the alerts without any template.
    fn report(&self) -> String {
        format!("{}\n{}", self.failures.join("\n"), plain(&self.notice.notification))
    }

    /// The labels of the route, expanded.
    pub(super) fn route_labels(&mut self) -> Vec<(String, String)> {
        let labels = self.notice.notification.route_labels.clone();
        labels
            .into_iter()
            .map(|(name, template)| {
                let text = self.text(&format!("route label {name:?}"), &template);
                (name, text)
            })
            .collect()
    }

    /// A label that all alerts have.
    pub(super) fn common_labels(&self) -> Vec<(String, String)> {
        let Some(Value::Map(labels)) = field(&self.data, "CommonLabels") else { return Vec::new() };
        let pair = |(name, value): &(String, Value)| (name.clone(), value.as_text().to_owned());
        labels.items().iter().map(pair).collect()
    }
}

/// The notification with the receiver's name as upstream hands it to templates: as a pattern that matches it.
fn named(notification: &Notification) -> Notification {
    let mut notification = notification.clone();
    notification.receiver = pattern(&notification.receiver);
    notification
}

/// A regular expression that matches `text`, as Go's `QuoteMeta` writes it.
fn pattern(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The alerts as text, line by line.
fn plain(notification: &Notification) -> String {
    let alerts = &notification.alerts;
    let firing = alerts.iter().filter(|alert| !alert.resolved).count();
    let mut out = format!("{firing} firing, {} resolved:", alerts.len() - firing);
    for alert in alerts.iter().take(LISTED_ALERTS_MAX) {
        out.push_str(&line(alert));
    }
    if let Some(more) = alerts.len().checked_sub(LISTED_ALERTS_MAX).filter(|more| *more > 0) {
        out.push_str(&format!("\n- and {more} more"));
    }
    out
}

fn line(alert: &Alert) -> String {
    let state = if alert.resolved { "resolved" } else { "firing" };
    let labels = alert.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let labels = labels.collect::<Vec<_>>().join(", ");
    let summary = ["summary", "description", "message"]
        .iter()
        .find_map(|name| alert.annotations.get(*name))
        .map_or(String::new(), |text| format!(": {text}"));
    format!("\n- {state} {labels}{summary}")
}

pub(super) fn escaped(text: &str) -> String {
    query::template::html(text)
}

/// A secret that is needed, its file already read.
pub(super) fn secret<'s>(key: &str, secret: Option<&'s Secret>) -> Result<&'s str, Outcome> {
    match secret {
        Some(Secret::Text(text)) if !text.is_empty() => Ok(text),
        Some(Secret::File(path)) => {
            Err(Outcome::refused(format!("{key}: {} was not read", path.display())))
        }
        _ => Err(Outcome::refused(format!("{key} is missing"))),
    }
}

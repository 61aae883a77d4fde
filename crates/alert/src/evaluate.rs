//! One evaluation of one rule, and what a rule remembers from one evaluation to the next.
//!
//! Owns: what recording rules make of a result, the life of an alert (pending, firing, resolved), the series that tell
//! of alerts, the markers of series that are gone, which alerts are due to be sent. Does not own: when, and what becomes
//! of the samples. Rules of a group are evaluated one after the other, and the samples of each must be found by the next.
//!
//! Asking ([`find`]) knows no state and may take long; applying the answer ([`RuleState::apply`]) is quick, so that who
//! shows a rule never waits for its query.

mod ask;
mod restore;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use model::{
    Budget, Error, ErrorKind, Labels, LogSource, METRIC_NAME, MetricSource, Result, TraceSource,
    stale_nan,
};
use query::promql::{self, Sample};

use crate::expand::prometheus::{Surroundings, alert_data, expand_alert, link};
use crate::rule::{ALERT_NAME, Alerting, Kind, Rule};
use crate::sink::PostableAlert;
pub use ask::vector;
pub use restore::{OUTAGE_MS_MAX, Seen};
pub use state::{Alert, State};

/// The series with 1 for each pending or firing alert.
pub const ALERTS: &str = "ALERTS";

/// The series with the time since when an alert is active, Unix seconds; from it state is restored.
pub const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";

/// What rules are evaluated with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Where samples are.
    pub source: &'a dyn MetricSource,
    /// Where log lines are, for rules in LogQL.
    pub logs: Option<&'a dyn LogSource>,
    /// Where spans are, for rules in TraceQL.
    pub traces: Option<&'a dyn TraceSource>,
    /// What the language may contain.
    pub options: promql::Options,
    /// How far back an instant selector looks for a sample, and a rule in TraceQL for spans, milliseconds.
    pub lookback_ms: i64,
    /// For templates.
    pub external_labels: &'a Labels,
    /// For templates.
    pub external_url: &'a str,
    /// How far back in time rules are evaluated, milliseconds.
    pub query_offset_ms: u64,
    /// Most series or active alerts of a rule; 0 for no limit.
    pub limit: usize,
    /// What one evaluation may cost.
    pub budget: &'a Budget,
}

/// What a rule's expression found, before it meets what the rule remembers.
#[derive(Debug)]
pub struct Found {
    at_ms: i64,
    /// The time of its samples.
    t_ms: i64,
    what: What,
}

#[derive(Debug)]
enum What {
    Samples(Vec<Sample>),
    /// Each as if it were new.
    Alerts(BTreeMap<Labels, Alert>),
}

/// Asks for what `rule` is about at `at_ms` (Unix milliseconds), and expands the templates of alerts.
///
/// # Errors
/// Those of the expression; a result that is no vector or scalar; two series with the same labels.
pub fn find(rule: &Rule, cx: &Context<'_>, at_ms: i64) -> Result<Found> {
    let offset_ms = i64::try_from(cx.query_offset_ms).unwrap_or(i64::MAX);
    let t_ms = at_ms.saturating_sub(offset_ms);
    let result = ask::ask(cx, &rule.expr, &rule.text, t_ms)?;
    let what = match &rule.kind {
        Kind::Recording => What::Samples(record(rule, result)?),
        Kind::Alerting(alerting) => What::Alerts(found(rule, alerting, result, cx, at_ms)?),
    };
    Ok(Found { at_ms, t_ms, what })
}

/// A rule and what it remembers.
#[derive(Debug)]
pub struct RuleState {
    rule: Arc<Rule>,
    active: BTreeMap<Labels, Alert>,
    /// Series of the last evaluation that did not fail.
    returned: HashSet<Labels>,
    /// Alerts of before a restart that were not found since; they are neither resolved nor forgotten yet.
    awaited: BTreeSet<Labels>,
    /// Whether alerts came, went or moved on since it was asked last.
    is_changed: bool,
}

impl RuleState {
    /// A rule that was never evaluated.
    pub fn new(rule: Arc<Rule>) -> Self {
        Self {
            rule,
            active: BTreeMap::new(),
            returned: HashSet::new(),
            awaited: BTreeSet::new(),
            is_changed: false,
        }
    }

    /// The rule.
    pub fn rule(&self) -> &Arc<Rule> {
        &self.rule
    }

    /// Pending and firing alerts, and those that were resolved in the last 15 minutes; by labels.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.active.values()
    }

    /// Evaluates the rule at `at_ms` (Unix milliseconds) and gives the samples to store, then stale markers of the
    /// series that were there last time and are not any more.
    ///
    /// # Errors
    /// Those of [`find`] and [`apply`](Self::apply).
    pub fn evaluate(&mut self, cx: &Context<'_>, at_ms: i64) -> Result<Vec<Sample>> {
        let found = find(&self.rule, cx, at_ms)?;
        self.apply(found, cx.limit)
    }

    /// Moves on with what was found by this rule, and gives the samples to store, then stale markers of the series that
    /// were there last time and are not any more.
    ///
    /// # Errors
    /// More than `limit` (0 for none), in which case alerts are forgotten. As in Prometheus nothing is stored then, no
    /// markers either.
    pub fn apply(&mut self, found: Found, limit: usize) -> Result<Vec<Sample>> {
        let Found { at_ms, t_ms, what } = found;
        let mut samples = match (what, &self.rule.kind) {
            (What::Alerts(found), Kind::Alerting(alerting)) => {
                let moved =
                    state::advance(&mut self.active, &mut self.awaited, alerting, found, at_ms);
                self.is_changed |= moved;
                let count = self.living().count();
                if limit > 0 && count > limit {
                    self.active.clear();
                    self.is_changed = true;
                    return Err(over_limit(limit, count, "alerts"));
                }
                self.living().flat_map(|alert| told(&self.rule.name, alert, t_ms)).collect()
            }
            (What::Samples(samples), _) if limit > 0 && samples.len() > limit => {
                return Err(over_limit(limit, samples.len(), "series"));
            }
            (What::Samples(samples), _) => samples,
            (What::Alerts(_), Kind::Recording) => {
                return Err(Error::new(ErrorKind::Bug, "alerts of a recording rule"));
            }
        };
        let returned: HashSet<Labels> = samples.iter().map(|s| s.labels.clone()).collect();
        let mut gone: Vec<&Labels> = self.returned.difference(&returned).collect();
        gone.sort_unstable();
        samples.extend(gone.into_iter().map(|labels| number(labels.clone(), t_ms, stale_nan())));
        self.returned = returned;
        Ok(samples)
    }

    /// Pending and firing alerts.
    pub fn living(&self) -> impl Iterator<Item = &Alert> {
        self.active.values().filter(|alert| alert.state != State::Inactive)
    }

    /// The series of the last evaluation, by labels: what ends when the rule goes.
    pub fn series(&self) -> Vec<Labels> {
        let mut series: Vec<Labels> = self.returned.iter().cloned().collect();
        series.sort_unstable();
        series
    }

    /// The alerts that are to be sent at `at_ms`: firing or resolved ones that were not sent for `resend_ms`. They count
    /// as sent now. `interval_ms` is that of the group; `external_url` begins their links.
    pub fn due(
        &mut self,
        at_ms: i64,
        interval_ms: u64,
        resend_ms: i64,
        external_url: &str,
    ) -> Vec<PostableAlert> {
        let is_due = |alert: &Alert| match (alert.state, alert.resolved_ms, alert.sent_ms) {
            (State::Pending, ..) => false,
            (_, _, None) => true,
            (_, Some(resolved_ms), Some(sent_ms)) if resolved_ms > sent_ms => true,
            (_, _, Some(sent_ms)) => sent_ms.saturating_add(resend_ms) < at_ms,
        };
        let mut url = None;
        let mut due = Vec::new();
        // Time for two evaluations that fail, or two that nobody could be told of.
        let interval_ms = i64::try_from(interval_ms).unwrap_or(i64::MAX);
        let valid_ms = interval_ms.max(resend_ms).saturating_mul(4);
        for alert in self.active.values_mut().filter(|alert| is_due(alert)) {
            alert.sent_ms = Some(at_ms);
            let link = || format!("{external_url}{}", link(&self.rule.shown(), 1));
            due.push(PostableAlert {
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                starts_ms: alert.fired_ms.unwrap_or(alert.active_ms),
                ends_ms: alert.resolved_ms.unwrap_or(at_ms.saturating_add(valid_ms)),
                generator_url: url.get_or_insert_with(link).clone(),
            });
        }
        due
    }
}

fn number(labels: Labels, t_ms: i64, value: f64) -> Sample {
    Sample { labels, t_ms, value, histogram: None }
}

fn over_limit(limit: usize, count: usize, what: &str) -> Error {
    Error::new(ErrorKind::Limit, format!("exceeded limit of {limit} with {count} {what}"))
}

/// The samples of a recording rule.
fn record(rule: &Rule, mut result: Vec<Sample>) -> Result<Vec<Sample>> {
    let mut seen = HashSet::with_capacity(result.len());
    for sample in &mut result {
        sample.labels = recorded(rule, &sample.labels);
        if !seen.insert(sample.labels.clone()) {
            return Err(Error::invalid(
                "vector contains metrics with the same labelset after applying rule labels",
            ));
        }
    }
    Ok(result)
}

/// The labels of what a recording rule stores.
fn recorded(rule: &Rule, found: &Labels) -> Labels {
    let mut labels = found.to_builder();
    labels.set(METRIC_NAME, &rule.name);
    rule.labels.iter().for_each(|(name, value)| labels.set(name, value));
    labels.build()
}

/// What errors call the templates of a rule.
pub fn template_name(rule: &str) -> String {
    format!("__alert_{rule}")
}

/// The alerts that a result stands for, each as if it were new.
fn found(
    rule: &Rule,
    alerting: &Alerting,
    result: Vec<Sample>,
    cx: &Context<'_>,
    at_ms: i64,
) -> Result<BTreeMap<Labels, Alert>> {
    let query = |text: &str| ask::ask_text(cx, &rule.expr, text, at_ms);
    let surroundings = Surroundings { query: &query, t_ms: at_ms, external_url: cx.external_url };
    let mut alerts = BTreeMap::new();
    for sample in result {
        let data = || alert_data(&sample, cx.external_labels, cx.external_url);
        // As in Prometheus: a template that fails makes the alert say so, and the alert is there all the same.
        let expand = |text: &String| {
            // Most texts are no templates.
            if !text.contains("{{") {
                return text.clone();
            }
            let expanded = expand_alert(&template_name(&rule.name), text, data(), &surroundings);
            expanded.unwrap_or_else(|e| format!("<error expanding template: {e}>"))
        };
        let mut labels = sample.labels.to_builder();
        labels.remove(METRIC_NAME);
        rule.labels.iter().for_each(|(name, text)| labels.set(name, &expand(text)));
        labels.set(ALERT_NAME, &rule.name);
        let annotations = alerting.annotations.iter();
        let alert = Alert {
            labels: labels.build(),
            annotations: annotations.map(|(name, text)| (name.clone(), expand(text))).collect(),
            value: sample.value,
            state: State::Pending,
            active_ms: at_ms,
            fired_ms: None,
            resolved_ms: None,
            keep_firing_since_ms: None,
            sent_ms: None,
        };
        if alerts.insert(alert.labels.clone(), alert).is_some() {
            return Err(Error::invalid(
                "vector contains metrics with the same labelset after applying alert labels",
            ));
        }
    }
    Ok(alerts)
}

/// The two series that tell of an alert.
fn told(rule: &str, alert: &Alert, t_ms: i64) -> [Sample; 2] {
    let named = |name: &str| {
        let mut labels = alert.labels.to_builder();
        labels.set(METRIC_NAME, name);
        labels.set(ALERT_NAME, rule);
        labels
    };
    let mut state = named(ALERTS);
    state.set("alertstate", alert.state.as_str());
    let since_s = alert.active_ms.div_euclid(1000) as f64;
    [number(state.build(), t_ms, 1.0), number(named(ALERTS_FOR_STATE).build(), t_ms, since_s)]
}

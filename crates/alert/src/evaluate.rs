//! One evaluation of one rule, and what a rule remembers from one evaluation to the next.
//!
//! Owns: what recording rules make of a result, the life of an alert (pending, firing, resolved), the series that tell
//! of alerts, the markers of series that are gone. Does not own: when, and what becomes of the samples. Rules of a group
//! are evaluated one after the other, and the samples of each must be found by the next.

mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Budget, Error, ErrorKind, Labels, METRIC_NAME, MetricSource, Result, stale_nan};
use query::promql::{self, PromQuery, Sample, Value};

use crate::expand::prometheus::{Surroundings, alert_data, expand_alert};
use crate::rule::{ALERT_NAME, Alerting, Kind, Rule};
pub use state::{Alert, State};

/// The series with 1 for each pending or firing alert.
pub const ALERTS: &str = "ALERTS";

/// The series with the time since when an alert is active, Unix seconds; from it state is restored.
pub const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";

/// What rules are evaluated with.
pub struct Context<'a> {
    /// Where samples are.
    pub source: &'a dyn MetricSource,
    /// What the language may contain.
    pub options: promql::Options,
    /// How far back an instant selector looks for a sample, milliseconds.
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

/// A rule and what it remembers.
#[derive(Debug)]
pub struct RuleState {
    rule: Arc<Rule>,
    active: BTreeMap<Labels, Alert>,
    /// Series of the last evaluation that did not fail.
    returned: BTreeSet<Labels>,
}

impl RuleState {
    /// A rule that was never evaluated.
    pub fn new(rule: Arc<Rule>) -> Self {
        Self { rule, active: BTreeMap::new(), returned: BTreeSet::new() }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
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
    /// Those of the expression; a result that is no vector or scalar; two series with the same labels; more than the
    /// limit, in which case alerts are forgotten. As in Prometheus nothing is stored then, no markers either.
    pub fn evaluate(&mut self, cx: &Context<'_>, at_ms: i64) -> Result<Vec<Sample>> {
        let offset_ms = i64::try_from(cx.query_offset_ms).unwrap_or(i64::MAX);
        let t_ms = at_ms.saturating_sub(offset_ms);
        let rule = self.rule.clone();
        let query = instant(&rule.text, t_ms, cx.lookback_ms);
        let result = promql::evaluate_expr(cx.source, &rule.expr, &query, &cx.options, cx.budget)?;
        let result = vector(result.value)?;
        let mut samples = match &rule.kind {
            Kind::Recording => record(&rule, result, cx.limit)?,
            Kind::Alerting(alerting) => {
                let found = found(&rule, alerting, result, cx, at_ms)?;
                state::advance(&mut self.active, alerting, found, at_ms);
                let living = self.active.values().filter(|alert| alert.state != State::Inactive);
                if cx.limit > 0 && living.clone().count() > cx.limit {
                    let count = living.count();
                    self.active.clear();
                    return Err(over_limit(cx.limit, count, "alerts"));
                }
                living.flat_map(|alert| told(&rule.name, alert, t_ms)).collect()
            }
        };
        let returned: BTreeSet<Labels> = samples.iter().map(|s| s.labels.clone()).collect();
        let gone = self.returned.difference(&returned);
        samples.extend(gone.map(|labels| number(labels.clone(), t_ms, stale_nan())));
        self.returned = returned;
        Ok(samples)
    }
}

fn instant(text: &str, t_ms: i64, lookback_ms: i64) -> PromQuery {
    PromQuery { text: text.to_owned(), start_ms: t_ms, end_ms: t_ms, step_ms: 0, lookback_ms }
}

/// A result as the elements of a vector; a scalar is one without labels.
///
/// # Errors
/// For texts and range vectors.
pub fn vector(value: Value) -> Result<Vec<Sample>> {
    match value {
        Value::Vector(samples) => Ok(samples),
        Value::Scalar(t_ms, value) => Ok(vec![number(Labels::default(), t_ms, value)]),
        Value::String(..) | Value::Matrix(_) => {
            Err(Error::invalid("rule result is not a vector or scalar"))
        }
    }
}

fn number(labels: Labels, t_ms: i64, value: f64) -> Sample {
    Sample { labels, t_ms, value, histogram: None }
}

fn over_limit(limit: usize, count: usize, what: &str) -> Error {
    Error::new(ErrorKind::Limit, format!("exceeded limit of {limit} with {count} {what}"))
}

/// The samples of a recording rule.
fn record(rule: &Rule, mut result: Vec<Sample>, limit: usize) -> Result<Vec<Sample>> {
    let mut seen = BTreeSet::new();
    for sample in &mut result {
        let mut labels = sample.labels.to_builder();
        labels.set(METRIC_NAME, &rule.name);
        rule.labels.iter().for_each(|(name, value)| labels.set(name, value));
        sample.labels = labels.build();
        if !seen.insert(sample.labels.clone()) {
            return Err(Error::invalid(
                "vector contains metrics with the same labelset after applying rule labels",
            ));
        }
    }
    if limit > 0 && result.len() > limit {
        return Err(over_limit(limit, result.len(), "series"));
    }
    Ok(result)
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
    let query = |text: &str| {
        let query = instant(text, at_ms, cx.lookback_ms);
        vector(promql::evaluate(cx.source, &query, &cx.options, cx.budget)?.value)
    };
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

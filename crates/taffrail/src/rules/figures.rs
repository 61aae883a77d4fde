//! Figures about rules, under the names that alerts about rules ask for.

use std::sync::atomic::Ordering;

use alert::group::GroupFigures;
use server::Figure;

use super::Rules;

type Row = (&'static str, &'static str, &'static str, fn(&GroupFigures) -> f64);

const OF_GROUPS: &[Row] = &[
    ("prometheus_rule_evaluations_total", "counter", "Evaluations of rules.", |g| {
        g.evaluations as f64
    }),
    (
        "prometheus_rule_evaluation_failures_total",
        "counter",
        "Evaluations of rules that failed.",
        |g| g.failures as f64,
    ),
    (
        "prometheus_rule_group_iterations_total",
        "counter",
        "Evaluations of the group that were due.",
        |g| g.iterations as f64,
    ),
    (
        "prometheus_rule_group_iterations_missed_total",
        "counter",
        "Evaluations of the group that did not take place because there was no time.",
        |g| g.missed as f64,
    ),
    ("prometheus_rule_group_interval_seconds", "gauge", "Seconds between evaluations.", |g| {
        g.interval_s
    }),
    (
        "prometheus_rule_group_last_duration_seconds",
        "gauge",
        "Duration of the last evaluation.",
        |g| g.last_duration_s,
    ),
    (
        "prometheus_rule_group_last_rule_duration_sum_seconds",
        "gauge",
        "Durations of the rules in the last evaluation, added up.",
        |g| g.last_rules_s,
    ),
    (
        "prometheus_rule_group_last_evaluation_samples",
        "gauge",
        "Samples of the last evaluation.",
        |g| g.last_samples as f64,
    ),
    (
        "prometheus_rule_group_last_evaluation_timestamp_seconds",
        "gauge",
        "What the last evaluation was about, Unix time.",
        |g| g.last_ms as f64 / 1e3,
    ),
    ("prometheus_rule_group_rules", "gauge", "Rules of the group.", |g| g.rules as f64),
];

/// Figures of all groups, and of rules as a whole.
pub(crate) fn figures(rules: &Rules) -> Vec<Figure> {
    let members = rules.shared.members.read().clone();
    let groups: Vec<(String, GroupFigures)> = members
        .iter()
        .map(|member| {
            let group = member.state.group();
            (format!("{};{}", group.file, group.name), member.state.figures())
        })
        .collect();
    let mut all = Vec::new();
    for (name, kind, help, value) in OF_GROUPS.iter().copied() {
        all.extend(groups.iter().map(|(group, figures)| Figure {
            name,
            kind,
            help,
            labels: vec![("rule_group", group.clone())],
            value: value(figures),
        }));
    }
    let count = |name, help, value: u64| Figure {
        name,
        kind: "counter",
        help,
        labels: Vec::new(),
        value: value as f64,
    };
    all.push(count(
        "taffrail_rule_state_failures_total",
        "Times that the state of a group's alerts could not be written down.",
        rules.shared.unsaved.load(Ordering::Relaxed),
    ));
    all.push(count(
        "taffrail_rule_alerts_dropped_total",
        "Alerts that alert_relabel_configs took out.",
        rules.shared.dropped_alerts.load(Ordering::Relaxed),
    ));
    all
}

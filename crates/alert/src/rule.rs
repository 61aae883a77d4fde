//! Groups and rules as data, after every check. Source: Prometheus documentation, "Recording rules" and "Alerting
//! rules".

use std::collections::BTreeMap;

use query::{logql, promql, traceql};

/// The label that holds an alert's name.
pub const ALERT_NAME: &str = "alertname";

/// Rules that are evaluated one after the other, at the same time.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name, which no other group of its file has.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// Milliseconds between evaluations; `None` for the global interval.
    pub interval_ms: Option<u64>,
    /// How far back in time it is evaluated, milliseconds; `None` for the global offset.
    pub query_offset_ms: Option<u64>,
    /// Most series of a recording rule, and most active alerts of an alerting rule; 0 for no limit.
    pub limit: usize,
    /// In the order of the file.
    pub rules: Vec<Rule>,
}

impl Group {
    /// Whether `other` would do the same: what is written is the same, wherever it stands in its file.
    pub fn is_same(&self, other: &Self) -> bool {
        let head = |group: &Self| {
            (group.interval_ms, group.query_offset_ms, group.limit, group.rules.len())
        };
        self.name == other.name
            && self.file == other.file
            && head(self) == head(other)
            && self.rules.iter().zip(&other.rules).all(|(a, b)| a.is_same(b))
    }
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The series that is recorded, or the alert.
    pub name: String,
    /// The expression as written.
    pub text: String,
    /// The expression.
    pub expr: Expression,
    /// The group's labels and its own; templates in those of alerts.
    pub labels: BTreeMap<String, String>,
    /// What it does with the result.
    pub kind: Kind,
    /// Line in its file, from 1.
    pub line: usize,
}

impl Rule {
    /// The expression in the layout in which Prometheus shows it: on one line. Other languages are shown as written.
    pub fn shown(&self) -> String {
        match &self.expr {
            Expression::Promql(expr) => promql::one_line(expr),
            Expression::Logql(_) | Expression::Traceql(_) => self.text.clone(),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.text == other.text
            && std::mem::discriminant(&self.expr) == std::mem::discriminant(&other.expr)
            && self.labels == other.labels
            && self.kind == other.kind
    }

    /// Whether it alerts.
    pub fn is_alerting(&self) -> bool {
        matches!(self.kind, Kind::Alerting(_))
    }
}

/// An expression in the language of its group.
#[derive(Debug, Clone)]
pub enum Expression {
    /// Over samples.
    Promql(promql::Expr),
    /// Over log lines; a metric query.
    Logql(Box<logql::Expr>),
    /// Over spans; a metrics query.
    Traceql(Box<traceql::Query>),
}

/// What a rule does with what its expression gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Stores it under another name.
    Recording,
    /// Alerts.
    Alerting(Alerting),
}

/// What alerting rules have beside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alerting {
    /// How long the expression must hold before an alert fires, milliseconds.
    pub for_ms: u64,
    /// How long an alert goes on firing after it, milliseconds.
    pub keep_firing_for_ms: u64,
    /// Templates by name.
    pub annotations: BTreeMap<String, String>,
}

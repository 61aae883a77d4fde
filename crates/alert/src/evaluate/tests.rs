//! The lives of alerts and of recorded series, step by step.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use model::{Budget, Labels, is_stale};
use query::promql::testing::{MemorySource, Noted, parse_series};
use query::promql::{self, Options, Sample};

use super::{Context, RuleState};
use crate::rule::{Alerting, Expression, Kind, Rule};

fn rule(name: &str, expr: &str, labels: &[(&str, &str)], kind: Kind) -> Rule {
    let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Rule {
        name: name.to_owned(),
        text: expr.to_owned(),
        expr: Expression::Promql(promql::parse(expr).unwrap()),
        labels,
        kind,
        line: 1,
    }
}

fn alerting(for_m: u64, keep_m: u64) -> Kind {
    let annotations = BTreeMap::from([("text".to_owned(), "is {{ $labels.a }}".to_owned())]);
    Kind::Alerting(Alerting {
        for_ms: for_m * 60_000,
        keep_firing_for_ms: keep_m * 60_000,
        annotations,
    })
}

fn source(series: &[&str]) -> MemorySource {
    let mut source = MemorySource::default();
    for line in series {
        let (labels, values) = parse_series(line).unwrap();
        let numbers = values.into_iter().enumerate().filter_map(|(i, noted)| match noted {
            Some(Noted::Number(value)) => Some((i as i64 * 60_000, value)),
            _ => None,
        });
        source.insert(&labels, numbers.collect::<Vec<_>>());
    }
    source
}

/// What `rule` gives in each minute from 0 on: samples with values, `!` for stale markers, or the error.
fn check(rule: Rule, series: &[&str], offset_ms: u64, limit: usize, expected: &[&str]) {
    let source = source(series);
    let budget = Budget::unlimited();
    let cx = Context {
        source: &source,
        logs: None,
        traces: None,
        options: Options::default(),
        lookback_ms: 300_000,
        external_labels: &Labels::default(),
        external_url: "",
        query_offset_ms: offset_ms,
        limit,
        budget: &budget,
    };
    let mut state = RuleState::new(Arc::new(rule));
    let got: Vec<String> = (0..expected.len() as i64)
        .map(|minute| match state.evaluate(&cx, minute * 60_000) {
            Err(e) => e.to_string(),
            Ok(samples) => shown(&samples),
        })
        .collect();
    assert_eq!(got, expected);
}

fn shown(samples: &[Sample]) -> String {
    let mut text = String::new();
    for s in samples {
        let value = if is_stale(s.value) { "!".to_owned() } else { s.value.to_string() };
        write!(text, "{}={value}@{} ", s.labels, s.t_ms / 1000).unwrap();
    }
    text.trim_end().to_owned()
}

const PENDING: &str = r#"ALERTS{alertname="A", alertstate="pending", l="v-1"}"#;
const FIRING: &str = r#"ALERTS{alertname="A", alertstate="firing", l="v-1"}"#;
const SINCE: &str = r#"ALERTS_FOR_STATE{alertname="A", l="v-1"}"#;

fn alert(for_m: u64, keep_m: u64) -> Rule {
    let mut rule =
        rule("A", "x > 0", &[("l", "v-{{ $labels.a }}"), ("a", "")], alerting(for_m, keep_m));
    rule.name = "A".to_owned();
    rule
}

#[test]
fn alerts_wait_fire_and_are_gone() {
    check(
        alert(1, 0),
        &[r#"x{a="1"} 1 1 0 0 1"#],
        0,
        0,
        &[
            &format!("{PENDING}=1@0 {SINCE}=0@0"),
            &format!("{FIRING}=1@60 {SINCE}=0@60 {PENDING}=!@60"),
            &format!("{FIRING}=!@120 {SINCE}=!@120"),
            "",
            &format!("{PENDING}=1@240 {SINCE}=240@240"),
        ],
    );
}

#[test]
fn firing_goes_on_for_a_while() {
    check(
        alert(0, 2),
        &[r#"x{a="1"} 1 0 1 0 0 0"#],
        0,
        0,
        &[
            &format!("{FIRING}=1@0 {SINCE}=0@0"),
            &format!("{FIRING}=1@60 {SINCE}=0@60"),
            &format!("{FIRING}=1@120 {SINCE}=0@120"),
            &format!("{FIRING}=1@180 {SINCE}=0@180"),
            &format!("{FIRING}=1@240 {SINCE}=0@240"),
            &format!("{FIRING}=!@300 {SINCE}=!@300"),
        ],
    );
}

#[test]
fn offsets_move_the_evaluation_and_its_samples_back() {
    check(
        alert(1, 0),
        &[r#"x{a="1"} 1 1 1"#],
        60_000,
        0,
        &[
            "",
            &format!("{PENDING}=1@0 {SINCE}=60@0"),
            &format!("{FIRING}=1@60 {SINCE}=60@60 {PENDING}=!@60"),
        ],
    );
}

#[test]
fn a_limit_forgets_alerts_and_refuses_series() {
    check(
        alert(0, 0),
        &[r#"x{a="1"} 1 1"#, r#"x{a="2"} 0 1"#],
        0,
        1,
        &[&format!("{FIRING}=1@0 {SINCE}=0@0"), "exceeded limit of 1 with 2 alerts"],
    );
    check(
        rule("r", "x", &[], Kind::Recording),
        &[r#"x{a="1"} 1 1 stale"#, r#"x{a="2"} _ 1 stale"#],
        0,
        1,
        &[r#"r{a="1"}=1@0"#, "exceeded limit of 1 with 2 series", r#"r{a="1"}=!@120"#],
    );
}

#[test]
fn recorded_series_get_name_and_labels_once() {
    let labels = [("a", ""), ("b", "{{x}}")];
    check(
        rule("r", "x", &labels, Kind::Recording),
        &[r#"x{a="1"} 1 1"#, r#"x{a="2"} _ 1"#],
        0,
        0,
        &[
            r#"r{b="{{x}}"}=1@0"#,
            "vector contains metrics with the same labelset after applying rule labels",
        ],
    );
    check(rule("r", "time()", &[], Kind::Recording), &[], 0, 0, &["r{}=0@0", "r{}=60@60"]);
    let text = "rule result is not a vector or scalar";
    check(rule("r", "'x'", &[], Kind::Recording), &[], 0, 0, &[text]);
    check(
        rule("A", "x", &[("a", "")], alerting(0, 0)),
        &[r#"x{a="1"} 1"#, r#"x{a="2"} 1"#],
        0,
        0,
        &["vector contains metrics with the same labelset after applying alert labels"],
    );
}

#[test]
fn resolved_alerts_are_kept_for_15_minutes_and_templates_may_ask() {
    let source = source(&[r#"x{a="1"} 1 0x40"#]);
    let budget = Budget::unlimited();
    let cx = Context {
        source: &source,
        logs: None,
        traces: None,
        options: Options::default(),
        lookback_ms: 300_000,
        external_labels: &Labels::from_pairs([("e", "x")]),
        external_url: "http://here",
        query_offset_ms: 0,
        limit: 0,
        budget: &budget,
    };
    let annotations = BTreeMap::from([("n".to_owned(), "{{ query `count(x)` | first | value }} {{ $value }} {{ nope }}".to_owned()),
        ("m".to_owned(), "{{ query `count(x)` | first | value }} {{ $value }} {{ $externalLabels.e }} {{ $externalURL }}".to_owned()),
    ]);
    let kind = Kind::Alerting(Alerting { annotations, ..Alerting::default() });
    let mut state = RuleState::new(Arc::new(rule("A", "x > 0", &[], kind)));
    for minute in 0..=17 {
        state.evaluate(&cx, minute * 60_000).unwrap();
        assert_eq!(state.alerts().count(), usize::from(minute <= 16), "{minute}");
        if let Some(alert) = state.alerts().next() {
            assert_eq!(alert.annotations["m"], "1 1 x http://here");
            assert!(
                alert.annotations["n"]
                    .starts_with("<error expanding template: error parsing template __alert_A: ")
            );
            assert_eq!(alert.resolved_ms, (minute > 0).then_some(60_000));
        }
    }
}

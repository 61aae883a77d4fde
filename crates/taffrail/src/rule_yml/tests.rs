//! What rule files mean and what is wrong in them.

use std::path::Path;

use alert::rule::Kind;

use super::{OBJECTS, load};

fn check(text: &str, expected: &str) {
    let mistakes = load(Path::new("r.yml"), text, false).unwrap_err();
    let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(mistakes.join("\n"), expected);
}

#[test]
fn the_table_is_well_formed() {
    crate::prometheus_yml::schema::tests::check(&[OBJECTS]);
}

#[test]
fn everything_in_a_file_is_kept() {
    let text = "
groups:
- name: g
  interval: 30s
  query_offset: 1m
  limit: 10
  labels: {team: a, severity: low}
  rules:
  - &base
    alert: Down
    expr: up == 0
    for: 5m
    keep_firing_for: 10m
    labels: {severity: page}
    annotations: {summary: '{{ $labels.job }} down', n: 1}
  - <<: *base
    alert: Again
  - record: a:b
    expr: 1
";
    let groups = load(Path::new("r.yml"), text, false).unwrap();
    let [group] = groups.as_slice() else { panic!("{groups:?}") };
    assert_eq!(
        (group.interval_ms, group.query_offset_ms, group.limit),
        (Some(30_000), Some(60_000), 10)
    );
    let names: Vec<_> = group.rules.iter().map(|r| (r.name.as_str(), r.text.as_str())).collect();
    assert_eq!(names, [("Down", "up == 0"), ("Again", "up == 0"), ("a:b", "1")]);
    assert_eq!(format!("{:?}", group.rules[1].labels), r#"{"severity": "page", "team": "a"}"#);
    assert_eq!(format!("{:?}", group.rules[2].labels), r#"{"severity": "low", "team": "a"}"#);
    let Kind::Alerting(alerting) = &group.rules[1].kind else { panic!() };
    assert_eq!((alerting.for_ms, alerting.keep_firing_for_ms), (300_000, 600_000));
    assert_eq!(alerting.annotations["n"], "1");
    assert!(matches!(group.rules[2].kind, Kind::Recording));
    let object =
        format!("kind: PrometheusRule\nmetadata: {{a: b}}\nspec:\n{}", text.replace('\n', "\n  "));
    assert_eq!(load(Path::new("r.yml"), &object, false).unwrap()[0].rules.len(), 3);
    assert!(load(Path::new("r.yml"), "# nothing\n", false).unwrap().is_empty());
}

#[test]
fn all_mistakes_are_named_with_their_places() {
    check(
        "groups:\n- name: g\n  rules:\n  - record: a\n    expr: sum(\n    for: 1m\n  - alert: b\n    record: c\n    expr: x\n- name: g\n  rules:\n  - expr: y\n    labels: {__name__: z}\n",
        "r.yml:5:5: cannot parse expr of \"a\": 1:4: unclosed left parenthesis\n\
         r.yml:6:5: for means nothing in recording rule \"a\"\n\
         r.yml:7:5: only one of record and alert may be set\n\
         r.yml:10:3: group name \"g\" is repeated in this file\n\
         r.yml:12:5: a rule needs record or alert\n\
         r.yml:13:5: \"__name__\" is not a label name that can be set",
    );
    check(
        "groups:\n- name: g\n  rules:\n  - alert: a\n    annotation: {}\n",
        "r.yml:5:5: unknown key \"annotation\" in rule; the nearest known key is \"annotations\"",
    );
    check(
        "groups:\n- name: g\n  rules:\n  - alert: a\n    expr: b\n    annotations:\n      ok: '{{ $value }}'\n      bad: '{{ $label.x }}'\n",
        "r.yml:8:7: annotations.bad: error parsing template __alert_a: template: __alert_a:1: undefined variable \"$label\"",
    );
    check(
        "groups:\n- name: g\n  type: sql\n",
        "r.yml:3:3: type must be one of promql, logql, traceql; not \"sql\"",
    );
    check(
        "groups:\n- rules:\n  - record: 'a{b=\"c\"}'\n    expr: x\n",
        "r.yml:2:3: a group needs a name\n\
         r.yml:3:5: braces in recording rule name \"a{b=\\\"c\\\"}\"; do they belong in expr?",
    );
}

#[test]
fn unknown_keys_can_be_ignored() {
    let text = "owner: x\ngroups:\n- name: g\n  owner: {a: b}\n  rules:\n  - {record: a, expr: b, owner: c, labels: {owner: d}}\n";
    let groups = load(Path::new("r.yml"), text, true).unwrap();
    assert_eq!(groups[0].rules[0].labels["owner"], "d");
    assert!(load(Path::new("r.yml"), text, false).is_err());
}

#[test]
fn groups_have_a_language() {
    let group = |language: &str, expr: &str| {
        format!(
            "groups:\n- name: g\n  type: {language}\n  rules:\n  - alert: a\n    expr: '{expr}'\n"
        )
    };
    let [promql, logql, traceql] = [
        "rate(x[5m]) > 1",
        "sum(rate({app=\"x\"} |= \"e\" [5m])) > 1",
        "{ status = error } | rate() > 1",
    ];
    for (language, expr) in [("promql", promql), ("logql", logql), ("traceql", traceql)] {
        load(Path::new("r.yml"), &group(language, expr), false).unwrap();
    }
    let shown = |language, expr| {
        load(Path::new("r.yml"), &group(language, expr), false).unwrap_err()[0].to_string()
    };
    let wrong = shown("promql", logql);
    assert!(wrong.starts_with("r.yml:6:5: cannot parse expr of \"a\": 1:"), "{wrong}");
    assert!(wrong.ends_with("; the group is of type promql, and this is logql"), "{wrong}");
    let wrong = shown("logql", traceql);
    assert!(wrong.ends_with("; the group is of type logql, and this is traceql"), "{wrong}");
    assert!(shown("logql", "{app=\"x\"}").contains("it gives lines"));
    assert!(shown("traceql", "{ status = error }").contains("it gives traces"));
}

//! Whole test files.

#![expect(clippy::disallowed_methods, reason = "rule files of somebody's, not of the stores")]

use std::path::Path;

use regex::Regex;

use super::{Options, run_file};

const RULES: &str = "
groups:
- name: a
  rules:
  - alert: Down
    expr: up == 0
    for: 5m
    labels: {severity: page}
    annotations: {text: is down}
- name: b
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - record: twice
    expr: job:up:sum * 2
";

/// Runs `tests` beside [`RULES`]; gives what failed, one line per test.
fn check(tests: &str, options: &Options, expected: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("r/one")).unwrap();
    std::fs::write(dir.path().join("r/one/rules.yml"), RULES).unwrap();
    std::fs::write(dir.path().join("t.yml"), tests).unwrap();
    let report = run_file(&dir.path().join("t.yml"), options);
    let shown = |text: &str| text.replace(&format!("{}/", dir.path().display()), "");
    let mut got: Vec<String> = report.error.iter().map(|e| shown(e)).collect();
    let failures =
        report.tests.iter().map(|test| format!("{}: {}", test.name, test.failures.join("|")));
    got.extend(failures.map(|text| shown(&text)));
    got.extend(report.warnings.iter().map(|text| shown(text)));
    assert_eq!(got, expected);
    assert_eq!(report.success, report.error.is_none() && report.tests.iter().all(|t| t.success));
}

#[test]
fn alerts_and_expressions_are_compared() {
    check(
        "rule_files: ['r/*/ru?es.yml']
tests:
- input_series:
  - {series: 'up{job=\"x\"}', values: '0x20'}
  alert_rule_test:
  - {eval_time: 4m59s, alertname: Down}
  - eval_time: 5m
    alertname: Down
    exp_alerts:
    - exp_labels: {severity: page, job: x}
      exp_annotations: {text: is down}
  promql_expr_test:
  - {expr: 'twice', eval_time: 5m, exp_samples: [{labels: 'twice{job=\"x\"}', value: 0}]}
  - {expr: 'ALERTS', eval_time: 2m, exp_samples: [{labels: 'ALERTS{alertname=\"Down\",alertstate=\"pending\",job=\"x\",severity=\"page\"}', value: 1}]}
- name: wrong
  input_series:
  - {series: 'up{job=\"x\"}', values: '0x20'}
  alert_rule_test:
  - {eval_time: 5m, alertname: Down}
  promql_expr_test:
  - {expr: 'up + on() vector(1.5)', exp_samples: [{labels: '{job=\"x\"}', value: 1}]}
  - {expr: 'up +'}
  - {expr: \"'text'\"}
",
        &Options::default(),
        &[
            "unnamed#0: ",
            "wrong:     name: wrong,\n    alertname: Down, time: 5m, \n        exp: [], \n        got: [\n            0:\n              \
             Labels:{alertname=\"Down\", job=\"x\", severity=\"page\"}\n              Annotations:{text=\"is down\"}\n            ]|    \
             expr: \"up + on() vector(1.5)\", time: 0s,\n        exp: {job=\"x\"} 1E+00, \n        got: {} 1.5E+00|    \
             expr: \"up +\", time: 0s, err: unexpected end of input|    \
             expr: \"'text'\", time: 0s, err: rule result is not a vector or scalar",
        ],
    );
}

#[test]
fn differences_runs_and_strange_names() {
    let tests = "
rule_files: [r/one/rules.yml, none/*.yml]
group_eval_order: [b, c]
tests:
- name: one
  input_series: [{series: up, values: 0x9}]
  alert_rule_test:
  - {eval_time: 5m, alertname: Down, exp_alerts: [{exp_labels: {severity: low}}]}
- name: two
  promql_expr_test: [{expr: 1, exp_samples: [{value: 2}]}]
";
    let options =
        Options { run: vec![Regex::new("^on").unwrap()], diff: true, ..Options::default() };
    check(
        tests,
        &options,
        &[
            "one:     name: one,\n    alertname: Down, time: 5m, \n        diff (- expected, + got):\n            [\n            0:\n          \
             -   Labels:{alertname=\"Down\", severity=\"low\"}\n          -   Annotations:{}\n          \
             +   Labels:{alertname=\"Down\", severity=\"page\"}\n          +   Annotations:{text=\"is down\"}\n            ]",
            "no file matches the pattern none/*.yml",
            "no group is called \"c\"",
        ],
    );
}

#[test]
fn order_of_groups_decides_what_rules_see() {
    let tests = |order: &str, value: u8| {
        format!(
            "rule_files: [r.yml]\ngroup_eval_order: {order}\ntests:\n- input_series: [{{series: x, values: 1 2}}]\n  promql_expr_test:\n  \
             - {{expr: second, eval_time: 1m, exp_samples: [{{labels: second, value: {value}}}]}}\n"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let rules = "groups:\n- {name: a, rules: [{record: second, expr: first}]}\n- {name: b, rules: [{record: first, expr: x}]}\n";
    std::fs::write(dir.path().join("r.yml"), rules).unwrap();
    for (order, value) in [("[a, b]", 1), ("[b, a]", 2), ("[]", 1)] {
        std::fs::write(dir.path().join("t.yml"), tests(order, value)).unwrap();
        let report = run_file(&dir.path().join("t.yml"), &Options::default());
        assert!(report.success, "{order}: {report:?}");
    }
}

#[test]
fn rules_that_fail_or_overwrite_end_the_test() {
    let dir = tempfile::tempdir().unwrap();
    let check = |expr: &str, expected: &str| {
        let rules = format!("groups:\n- {{name: a, rules: [{{record: y, expr: {expr}}}]}}\n");
        std::fs::write(dir.path().join("r.yml"), rules).unwrap();
        let tests = "rule_files: [r.yml]\ntests:\n- input_series: [{series: y, values: 1}, {series: 'x{a=\"1\"}', values: 1}, {series: 'x{a=\"2\"}', values: 1}]\n";
        std::fs::write(dir.path().join("t.yml"), tests).unwrap();
        let report = run_file(&dir.path().join("t.yml"), &Options::default());
        let got: Vec<_> = report.tests.iter().flat_map(|test| test.failures.clone()).collect();
        assert_eq!(got.join("\n"), expected);
    };
    check("vector(1)", "");
    check("vector(2)", "    rule: y, time: 0s, err: duplicate sample for timestamp");
    check(
        "'label_replace(x, \"a\", \"\", \"\", \"\")'",
        "    rule: y, time: 0s, err: vector cannot contain metrics with the same labelset",
    );
    let missing = run_file(Path::new("/nowhere/t.yml"), &Options::default());
    assert!(!missing.success && missing.error.unwrap().starts_with("/nowhere/t.yml: cannot read"));
}

#[test]
fn the_rules_that_come_with_taffrail_fire_and_keep_silent() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/base/rules_test.yml");
    let report = run_file(&path, &Options::default());
    let failures: Vec<_> = report.tests.iter().flat_map(|test| &test.failures).collect();
    assert!(report.success, "{:?} {failures:?}", report.error);
    assert_eq!(report.tests.len(), 5);
}

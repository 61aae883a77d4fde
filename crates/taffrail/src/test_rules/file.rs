//! Files of unit tests as data. Source: Prometheus documentation, "Unit testing for rules".

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use collect::scrape::parse_duration;
use model::Labels;

use crate::prometheus_yml::mistake;
use crate::prometheus_yml::node::{Node, Placed, Value, parse_bool};
use crate::prometheus_yml::schema::{Table, Walk};
use crate::rule_yml::texts;
use crate::yaml::ConfigError;

pub(crate) const OBJECTS: Table = &[
    (
        "test_file",
        "rule_files:[str] evaluation_interval:dur group_eval_order:[str] tests:[{test}] \
        fuzzy_compare:bool",
    ),
    (
        "test",
        "name:str interval:dur start_timestamp:str input_series:[{series}] \
        alert_rule_test:[{alert_test}] promql_expr_test:[{expr_test}] external_labels:<str> \
        external_url:str",
    ),
    ("series", "series:str values:str"),
    ("alert_test", "eval_time:dur alertname:str exp_alerts:[{alert}]"),
    ("alert", "exp_labels:<str> exp_annotations:<str>"),
    ("expr_test", "expr:str eval_time:dur exp_samples:[{sample}]"),
    ("sample", "labels:str value:str histogram:str"),
];

/// A minute, the interval of files that name none.
const INTERVAL_MS: i64 = 60_000;

#[derive(Debug)]
pub(super) struct TestFile {
    /// Patterns, relative to the file.
    pub(super) rule_files: Vec<String>,
    pub(super) interval_ms: i64,
    /// Names of groups, in the order in which they are evaluated.
    pub(super) order: Vec<String>,
    /// Numbers that are neighbours are the same.
    pub(super) is_fuzzy: bool,
    pub(super) tests: Vec<Test>,
}

#[derive(Debug)]
pub(super) struct Test {
    pub(super) name: String,
    /// Milliseconds between samples of input series.
    pub(super) interval_ms: i64,
    /// What times count from, Unix milliseconds.
    pub(super) start_ms: i64,
    /// Series and values, as written.
    pub(super) series: Vec<(String, String)>,
    pub(super) alerts: Vec<AlertTest>,
    pub(super) expressions: Vec<ExpressionTest>,
    pub(super) external_labels: Labels,
    pub(super) external_url: String,
}

/// An alert as labels and annotations.
pub(super) type Texts = (BTreeMap<String, String>, BTreeMap<String, String>);

#[derive(Debug)]
pub(super) struct AlertTest {
    /// Since the start.
    pub(super) at_ms: i64,
    pub(super) name: String,
    pub(super) expected: Vec<Texts>,
}

#[derive(Debug)]
pub(super) struct ExpressionTest {
    /// Since the start.
    pub(super) at_ms: i64,
    pub(super) text: String,
    pub(super) expected: Vec<ExpectedSample>,
}

#[derive(Debug)]
pub(super) struct ExpectedSample {
    pub(super) labels: String,
    pub(super) value: f64,
    /// Empty for a number.
    pub(super) histogram: String,
}

/// Reads the test file `text` that lies at `path`.
pub(super) fn load(path: &Path, text: &str) -> Result<TestFile, ConfigError> {
    read(path, text).map_err(|placed| mistake(path, text, placed))
}

fn read(path: &Path, text: &str) -> Result<TestFile, Placed> {
    let says_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let mut root = if text.lines().all(says_nothing) {
        Node { line: 1, value: Value::Null }
    } else {
        Node::parse(text)?
    };
    fill(&mut root);
    let (file, mut notes) = (path.display().to_string(), Vec::new());
    Walk { tables: &[OBJECTS], file: &file, notes: &mut notes, check: &|_, _| Ok(()) }.object(
        "test_file",
        &root,
        false,
    )?;
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let interval_ms = nonzero(&root, "evaluation_interval", INTERVAL_MS);
    let order = owned(root.texts_of("group_eval_order"));
    let mut seen = BTreeSet::new();
    if let Some(name) = order.iter().find(|name| !seen.insert(*name)) {
        let line = root.get("group_eval_order").map_or(root.line, |node| node.line);
        return Err((line, format!("group name repeated in evaluation order: {name}")));
    }
    let tests = root.get("tests").map(Node::items).unwrap_or_default();
    Ok(TestFile {
        rule_files: owned(root.texts_of("rule_files")),
        interval_ms,
        order,
        is_fuzzy: root.text_of("fuzzy_compare").and_then(parse_bool) == Some(true),
        tests: tests.iter().map(|node| test(node, interval_ms)).collect::<Result<_, _>>()?,
    })
}

/// An entry of a list that says nothing is one without keys.
fn fill(node: &mut Node) {
    match &mut node.value {
        Value::List(items) => {
            for item in items {
                if item.value == Value::Null {
                    item.value = Value::Map(Vec::new());
                }
                fill(item);
            }
        }
        Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| fill(value)),
        Value::Null | Value::Bare(_) | Value::Text(_) => {}
    }
}

fn duration_ms(node: &Node, key: &str) -> i64 {
    let ms = node.text_of(key).and_then(parse_duration).unwrap_or(0);
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn nonzero(node: &Node, key: &str, default_ms: i64) -> i64 {
    Some(duration_ms(node, key)).filter(|ms| *ms > 0).unwrap_or(default_ms)
}

fn text(node: &Node, key: &str) -> String {
    node.text_of(key).unwrap_or("").to_owned()
}

fn test(node: &Node, interval_ms: i64) -> Result<Test, Placed> {
    let list = |key: &str| node.get(key).map(Node::items).unwrap_or_default();
    let alert =
        |alert: &Node| (texts(alert.get("exp_labels")), texts(alert.get("exp_annotations")));
    let alert_test = |case: &Node| AlertTest {
        at_ms: duration_ms(case, "eval_time"),
        name: text(case, "alertname"),
        expected: case
            .get("exp_alerts")
            .map(Node::items)
            .unwrap_or_default()
            .iter()
            .map(alert)
            .collect(),
    };
    let expressions = list("promql_expr_test").iter().map(expression_test);
    let labels = texts(node.get("external_labels"));
    Ok(Test {
        name: text(node, "name"),
        interval_ms: nonzero(node, "interval", interval_ms),
        start_ms: start_ms(node)?,
        series: list("input_series")
            .iter()
            .map(|s| (text(s, "series"), text(s, "values")))
            .collect(),
        alerts: list("alert_rule_test").iter().map(alert_test).collect(),
        expressions: expressions.collect::<Result<_, _>>()?,
        external_labels: labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
        external_url: text(node, "external_url"),
    })
}

fn expression_test(node: &Node) -> Result<ExpressionTest, Placed> {
    let samples = node.get("exp_samples").map(Node::items).unwrap_or_default();
    let sample = |sample: &Node| {
        let value = match sample.get("value") {
            Some(value) => number(value).ok_or_else(|| {
                let shown = value.text().unwrap_or("");
                (value.line, format!("value must be a number such as 1e3 or .inf, not {shown:?}"))
            })?,
            None => 0.0,
        };
        Ok(ExpectedSample {
            labels: text(sample, "labels"),
            value,
            histogram: text(sample, "histogram"),
        })
    };
    Ok(ExpressionTest {
        at_ms: duration_ms(node, "eval_time"),
        text: text(node, "expr"),
        expected: samples.iter().map(sample).collect::<Result<_, Placed>>()?,
    })
}

/// A number as YAML 1.1 has it.
fn number(node: &Node) -> Option<f64> {
    let text = match &node.value {
        Value::Bare(text) => text.as_str(),
        // Unlike YAML 1.2, 1.1 has numbers such as 1_000.
        Value::Text(text) if text.contains('_') => text,
        _ => return None,
    };
    let unsigned = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let negative = text.starts_with('-');
    let value = match unsigned.as_str() {
        ".inf" => f64::INFINITY,
        ".nan" => f64::NAN,
        digits => {
            let digits = digits.replace('_', "");
            match [("0x", 16), ("0b", 2), ("0o", 8)].iter().find(|(p, _)| digits.starts_with(p)) {
                Some((_, radix)) => u64::from_str_radix(digits.get(2..)?, *radix).ok()? as f64,
                None if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
                    digits.parse().ok()?
                }
                None => return None,
            }
        }
    };
    Some(if negative { -value } else { value })
}

/// Unix seconds or a time of RFC 3339, as Unix milliseconds.
fn start_ms(node: &Node) -> Result<i64, Placed> {
    let Some(value) = node.get("start_timestamp") else { return Ok(0) };
    let text = value.text().unwrap_or("");
    let parsed = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Some((seconds * 1000.0) as i64),
        _ => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond),
    };
    parsed.ok_or_else(|| {
        let why = format!("start_timestamp must be Unix seconds or RFC 3339, not {text:?}");
        (value.line, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        crate::prometheus_yml::schema::tests::check(&[OBJECTS]);
    }

    #[test]
    fn defaults_null_items_and_numbers() {
        let text = "evaluation_interval: 2m\ntests:\n- {}\n- interval: 5s\n  start_timestamp: 2024-01-01T00:00:00Z\n  \
                    alert_rule_test:\n  - alertname: A\n    eval_time: 1m\n    exp_alerts:\n    -\n  promql_expr_test:\n  - expr: 1\n    \
                    exp_samples: [{value: 1_000}, {value: -.inf}, {value: 1e3}, {labels: x}, {value: 0x10}, {value: .5}]\n";
        let file = load(Path::new("t.yml"), text).unwrap();
        assert_eq!((file.tests[0].interval_ms, file.tests[0].start_ms), (120_000, 0));
        let test = &file.tests[1];
        assert_eq!((test.interval_ms, test.start_ms), (5_000, 1_704_067_200_000));
        assert_eq!(test.alerts[0].expected, [Texts::default()]);
        assert_eq!(test.expressions[0].text, "1");
        let values: Vec<f64> = test.expressions[0].expected.iter().map(|s| s.value).collect();
        assert_eq!(values, [1000.0, f64::NEG_INFINITY, 1000.0, 0.0, 16.0, 0.5]);
    }

    #[test]
    fn mistakes_have_places() {
        let check = |text: &str, expected: &str| {
            assert_eq!(load(Path::new("t.yml"), text).unwrap_err().to_string(), expected);
        };
        check(
            "tests:\n- promql_expr_test:\n  - exp_samples:\n    - value: NaN\n",
            "t.yml:4:7: value must be a number such as 1e3 or .inf, not \"NaN\"",
        );
        check(
            "tests:\n- input_serie: []\n",
            "t.yml:2:3: unknown key \"input_serie\" in test; the nearest known key is \"input_series\"",
        );
        check(
            "group_eval_order: [a, b, a]\n",
            "t.yml:1:1: group name repeated in evaluation order: a",
        );
    }
}

//! Own scripts, the upstream ones where they are, and what scripts cannot say: places, plans, limits, printing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use model::{
    Budget, ErrorKind, Labels, Limits, ManualClock, Matcher, MetricMetadata, MetricPlan,
    MetricSource, Result, Selected, TimeRange,
};

use super::*;
use crate::promql::testing::{MemorySource, run_script};

mod hostile;

fn scripts(dir: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "test"));
    paths.sort();
    paths.into_iter().map(|p| (p.clone(), std::fs::read_to_string(&p).unwrap())).collect()
}

#[test]
fn own_scripts_pass() {
    let scripts = scripts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata"));
    assert!(scripts.len() >= 4);
    for (path, text) in scripts {
        let outcome = run_script(&text).unwrap();
        assert!(outcome.failures.is_empty(), "{}: {:#?}", path.display(), outcome.failures);
        assert!(outcome.passed >= 5, "{}: only {} passed", path.display(), outcome.passed);
    }
}

#[test]
fn upstream_scripts_pass() {
    let dir = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/data/promql/prometheus__prometheus/promql/promqltest/testdata"
    );
    if !Path::new(dir).is_dir() {
        println!("skipped: no {dir}");
        return;
    }
    let mut passed = 0;
    for (path, text) in scripts(Path::new(dir)) {
        let outcome = run_script(&text).unwrap();
        assert!(outcome.failures.is_empty(), "{}: {:#?}", path.display(), outcome.failures);
        passed += outcome.passed;
    }
    assert!(passed >= 1484, "only {passed} passed");
}

#[test]
fn a_script_that_expects_something_else_fails() {
    let outcome = run_script("load 1m\n  a 1 2\n\neval instant at 1m a\n  a 3\n").unwrap();
    assert_eq!((outcome.passed, outcome.failures.len()), (0, 1));
    assert_eq!(outcome.failures[0].line, 4);
    assert!(run_script("lod 1m\n").is_err());
    assert!(testing::parse_series("a 1+1").is_err());
}

/// Message and place (line, column) of the error.
fn refused(text: &str) -> (String, (usize, usize)) {
    let error = parse(text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let at = position(text, error.span().unwrap().0);
    (error.message().to_owned(), at)
}

#[test]
fn errors_name_the_place() {
    let cases = [
        (
            "sum(\n  rate(up))",
            "expected type range vector in call to function \"rate\", got instant vector",
            (2, 8),
        ),
        ("up == ", "unexpected end of input", (1, 7)),
        ("foo{a=b}", "unexpected identifier \"b\" in label matching, expected string", (1, 7)),
        ("1 == 1", "comparisons between scalars must use BOOL modifier", (1, 1)),
        ("nope(1)", "unknown function with name \"nope\"", (1, 1)),
        (
            "sum(incraese(x[5m]))",
            "unknown function with name \"incraese\"; did you mean \"increase\"?",
            (1, 5),
        ),
        ("x ofset 5m", "unexpected identifier \"ofset\"; did you mean \"offset\"?", (1, 3)),
        ("{\"a\", __name__=\"b\"}", "metric name must not be set twice: \"a\" or \"b\"", (1, 1)),
        ("up[0s]", "duration must be greater than 0", (1, 4)),
        ("up{a=~\"(\"}", "invalid regular expression \"(\": unclosed group", (1, 4)),
        ("\"\\q\"", "unknown escape sequence U+0071 'q'", (1, 1)),
        ("", "no expression found in input", (1, 1)),
    ];
    for (text, message, place) in cases {
        assert_eq!(refused(text), (message.to_owned(), place), "{text}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    for (open, close) in [("(", ")"), ("-(", ")"), ("abs(", ")"), ("sum(", ")")] {
        let inner = if open.len() > 2 { "up" } else { "1" };
        let deep = |n: usize| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
        assert!(parse(&deep(30)).is_ok());
        assert!(refused(&deep(2000)).0.contains("nested too deeply"));
    }
    assert!(
        refused(&"1+".repeat(5000).replace("+", "+1+")[..9999]).0.contains("nested too deeply")
    );
    assert!(refused(&format!("foo[{}1]", "1+".repeat(3000))).0.contains("nested too deeply"));
    assert!(refused(&format!("foo{}", "[1m:1m]".repeat(1500))).0.contains("subquery"));
    assert!(refused(&" ".repeat(20_000)).0.contains("the limit is 16384"));
    // As deep as it may be, evaluation still fits a small stack.
    let deep = format!("{}1{}", "(".repeat(99), ")".repeat(99));
    let run = move || instant(&MemorySource::default(), &deep).unwrap().value;
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap();
    assert_eq!(thread.join().unwrap(), Value::Scalar(60_000, 1.0));
    let chain = format!("{}1", "1+".repeat(298));
    assert_eq!(format(&parse(&chain).unwrap()).matches('1').count(), 299);
    let run = move || instant(&MemorySource::default(), &chain).unwrap().value;
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
    assert_eq!(thread.join().unwrap(), Value::Scalar(60_000, 299.0));
}

fn instant(source: &dyn MetricSource, text: &str) -> Result<Evaluated> {
    let query = PromQuery {
        text: text.to_owned(),
        start_ms: 60_000,
        end_ms: 60_000,
        step_ms: 0,
        lookback_ms: 300_000,
    };
    evaluate(source, &query, &Options::default(), &Budget::unlimited())
}

#[test]
fn experimental_parts_need_the_option() {
    let source = MemorySource::default();
    for text in
        ["mad_over_time(a[1m])", "limitk(1, a)", "rate(a[1m] anchored)", "a + fill(0) b", "info(a)"]
    {
        let error = instant(&source, text).unwrap_err();
        assert!(error.message().contains("experimental"), "{text}: {error}");
    }
}

#[test]
fn printing_is_canonical_and_reads_back() {
    let cases = [
        ("SUM  BY(a,b)(up{x='y'})", "sum by (a, b) (up{x=\"y\"})"),
        ("sum(up)without(a)", "sum without (a) (up)"),
        ("rate(up[300s]  offset 1h)", "rate(up[5m] offset 1h)"),
        ("a+on(x)group_left()b", "a + on (x) group_left () b"),
        ("{\"a b\",c!~\"d\"}", "{\"a b\",c!~\"d\"}"),
        ("-1^2", "-1 ^ 2"),
        ("foo @ 12.5 offset -5m", "foo @ 12.500 offset -5m"),
        ("max_over_time(a[1h:] @ end())", "max_over_time(a[1h:] @ end())"),
        ("a[step()+5s]", "a[step() + 5s]"),
        ("1e30 + 0.00001 + Inf", "1e+30 + 1e-05 + +Inf"),
        ("a == bool b", "a == bool b"),
    ];
    for (text, expected) in cases {
        let printed = format(&parse(text).unwrap());
        assert_eq!(printed, expected);
        assert_eq!(format(&parse(&printed).unwrap()), expected);
    }
    let long = "sum by (namespace) (rate(container_cpu_usage_seconds_total{namespace!=\"\"}[5m])) / on (namespace) group_left () kube_quota";
    let expected = "  sum by (namespace) (rate(container_cpu_usage_seconds_total{namespace!=\"\"}[5m]))\n/ on (namespace) group_left ()\n  kube_quota";
    assert_eq!(format(&parse(long).unwrap()), expected);
}

/// Remembers the plans it gets.
struct Recorder(Mutex<Vec<MetricPlan>>);

impl MetricSource for Recorder {
    fn select(&self, plan: &MetricPlan, _: &Budget) -> Result<Selected> {
        self.0.lock().unwrap().push(plan.clone());
        Ok(Selected { series: Vec::new(), warnings: vec!["part 7 is quarantined".into()] })
    }

    fn series(&self, _: &[Vec<Matcher>], _: TimeRange, _: &Budget) -> Result<Vec<Labels>> {
        Ok(Vec::new())
    }

    fn label_names(&self, _: &[Vec<Matcher>], _: TimeRange, _: &Budget) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &str,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: &Budget,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: Option<&str>) -> Vec<MetricMetadata> {
        Vec::new()
    }
}

#[test]
fn one_plan_per_selector_with_hints() {
    let source = Recorder(Mutex::new(Vec::new()));
    let query = PromQuery {
        text: "sum by (job) (rate(a_total[5m] offset 1m)) / b".into(),
        start_ms: 600_000,
        end_ms: 1_200_000,
        step_ms: 60_000,
        lookback_ms: 300_000,
    };
    let evaluated = evaluate(&source, &query, &Options::default(), &Budget::unlimited()).unwrap();
    assert_eq!(evaluated.value, Value::Matrix(Vec::new()));
    assert_eq!(evaluated.warnings, ["part 7 is quarantined"]);
    let plans = source.0.lock().unwrap();
    let [rate, b] = plans.as_slice() else { panic!("{plans:?}") };
    assert_eq!((rate.start_ms, rate.end_ms), (240_001, 1_140_000));
    assert_eq!((rate.step_ms, rate.range_ms, rate.function), (60_000, 300_000, "rate"));
    // Names are asked for because a rate has something to say about them.
    assert_eq!(rate.grouping.as_ref().unwrap().labels, ["job", "__name__", "__type__"]);
    assert_eq!((b.start_ms, b.end_ms, b.range_ms, b.function), (300_001, 1_200_000, 0, ""));
    assert!(b.grouping.is_none());
}

#[test]
fn budgets_end_queries() {
    let mut source = MemorySource::default();
    let labels = Labels::from_pairs([("__name__", "a")]);
    source.insert(&labels, (0..100).map(|i| (i * 1000, 1.0)));
    let limits = Limits { samples_max: 50, bytes_max: u64::MAX, time_ms_max: 1000 };
    let budget = Budget::new(Arc::new(ManualClock::at_ms(0)), limits);
    let query = |text: &str, end_ms: i64, step_ms: i64| PromQuery {
        text: text.into(),
        start_ms: 0,
        end_ms,
        step_ms,
        lookback_ms: 300_000,
    };
    let error =
        evaluate(&source, &query("a", 100_000, 1000), &Options::default(), &budget).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let limits = Limits { samples_max: 50, bytes_max: 1 << 20, time_ms_max: 1000 };
    let budget = Budget::new(Arc::new(ManualClock::at_ms(0)), limits);
    // The steps alone would need more memory than allowed; refused before it is allocated.
    let error = evaluate(&source, &query("vector(1)", i64::MAX, 1), &Options::default(), &budget)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    // So would the steps of a subquery, and the rows of distinct values.
    for text in ["sum_over_time(vector(1)[100y:1ms])", "count_values(\"v\", a * time())"] {
        let limits = Limits { samples_max: 1 << 30, bytes_max: 1 << 20, time_ms_max: 1000 };
        let budget = Budget::new(Arc::new(ManualClock::at_ms(0)), limits);
        let query = query(text, 2_000_000, 1000);
        let error = evaluate(&source, &query, &Options::default(), &budget).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{text}");
    }
    // Rows are paid for beside those they are made of.
    let distinct = "count_values(\"v\", a * time())";
    for (text, fits) in [(distinct.to_owned(), true), (format!("sum by (v) ({distinct})"), false)] {
        let limits = Limits { samples_max: 1 << 30, bytes_max: 120 << 10, time_ms_max: 1000 };
        let budget = Budget::new(Arc::new(ManualClock::at_ms(0)), limits);
        let outcome = evaluate(&source, &query(&text, 90_000, 1000), &Options::default(), &budget);
        assert_eq!(outcome.err().map(|e| e.kind()), (!fits).then_some(ErrorKind::Limit), "{text}");
    }
    let budget = Budget::unlimited();
    budget.cancel();
    let error =
        evaluate(&source, &query("a", 1000, 1000), &Options::default(), &budget).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

/// Much data, so that windows are walked by several threads, gives what little data gives.
#[test]
fn threads_do_not_change_results() {
    let mut source = MemorySource::default();
    for i in 0..300_i64 {
        let labels = Labels::from_pairs([("__name__", "n_total"), ("i", &i.to_string())]);
        source.insert(&labels, (0..2000).map(|t| (t * 1000, (t * i) as f64)));
    }
    let query = |text: &str| PromQuery {
        text: text.into(),
        start_ms: 1_000_000,
        end_ms: 1_900_000,
        step_ms: 300_000,
        lookback_ms: 300_000,
    };
    let run = |text: &str| {
        evaluate(&source, &query(text), &Options::default(), &Budget::unlimited()).unwrap().value
    };
    let Value::Matrix(all) = run("rate(n_total[900s])") else { panic!() };
    assert_eq!(all.len(), 300);
    for i in [0, 1, 150, 299] {
        let Value::Matrix(one) = run(&format!("rate(n_total{{i=\"{i}\"}}[900s])")) else {
            panic!()
        };
        assert!(all.contains(&one[0]));
        assert!((one[0].points[0].1 - f64::from(i)).abs() < 1e-9);
    }
}

#[test]
fn escaped_label_names_are_read() {
    assert_eq!(unescape_label_name("job"), "job");
    assert_eq!(unescape_label_name("U__http_2e_route"), "http.route");
    assert_eq!(unescape_label_name("U__a__b"), "a_b");
    assert_eq!(unescape_label_name("U__a_zz_b"), "a_zz_b");
}

#[test]
fn selectors_alone_are_matchers() {
    let matchers = parse_selector("up{job=\"a\"}").unwrap();
    assert_eq!(matchers, [Matcher::equal("__name__", "up"), Matcher::equal("job", "a")]);
    assert!(parse_selector("up offset 5m").is_err());
    assert!(parse_selector("sum(up)").is_err());
}

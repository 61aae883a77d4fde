//! Queries over a small table: what comes out, and what is asked of the store.

pub(crate) mod table;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use model::{
    Budget, ErrorKind, Labels, Limits, LogAggregation, LogPlan, LogRow, LogSource, ManualClock,
    Matcher, Order, Result, StepCounts, StreamVolume, TimeRange,
};
use proptest::prelude::*;

use self::table::{Row, Table};
use super::{Entry, LogQuery, Pipeline, Stats, Value, evaluate, parse};
use crate::promql;

const SECOND_NS: i64 = 1_000_000_000;

fn table() -> Table {
    let row = |stream: &[(&str, &str)], second: i64, line: &str, fields: &[(&str, &str)]| Row {
        stream: Labels::from_pairs(stream.iter().copied()),
        t_ns: second * SECOND_NS,
        line: line.to_owned(),
        fields: Labels::from_pairs(fields.iter().copied()),
    };
    let web = [("app", "web"), ("env", "prod")];
    let db = [("app", "db")];
    Table {
        rows: vec![
            row(&web, 10, r#"{"status":200,"took":"20ms"}"#, &[("level", "info")]),
            row(&web, 20, r#"{"status":500,"took":"2s"}"#, &[("level", "error")]),
            row(&web, 30, r#"{"status":200,"took":"5ms"}"#, &[("level", "info")]),
            row(&db, 15, "level=warn msg=\"slow query\" size=2KB", &[]),
            row(&db, 25, "level=info msg=done size=1KB", &[]),
        ],
        aggregates: false,
    }
}

fn query(text: &str) -> LogQuery {
    LogQuery {
        text: text.to_owned(),
        start_ns: 0,
        end_ns: 60 * SECOND_NS,
        step_ns: 0,
        limit: 100,
        order: Order::Backward,
        interval_ns: 0,
        categorize: false,
    }
}

/// Entries of a log query as `labels second line`, stream after stream.
fn logs(text: &str) -> Vec<String> {
    let answer = evaluate(&table(), &query(text), &Budget::unlimited()).unwrap();
    let Value::Streams(streams) = answer.value else { panic!("{text} is no log query") };
    streams
        .iter()
        .flat_map(|s| s.entries.iter().map(|e| (s.labels.clone(), e)))
        .map(|(labels, Entry { t_ns, line, .. })| format!("{labels} {} {line}", t_ns / SECOND_NS))
        .collect()
}

/// The samples of an instant query as `labels value`.
fn instant(source: &dyn LogSource, text: &str) -> Result<Vec<String>> {
    let answer = evaluate(source, &query(text), &Budget::unlimited())?;
    Ok(match answer.value {
        Value::Metric(promql::Value::Vector(samples)) => {
            samples.iter().map(|s| format!("{} {}", s.labels, s.value)).collect()
        }
        Value::Metric(promql::Value::Scalar(_, value)) => vec![value.to_string()],
        other => panic!("{text} gives {other:?}"),
    })
}

fn check(text: &str, expect: &[&str]) {
    assert_eq!(instant(&table(), text).unwrap(), expect, "{text}");
    // A store that counts by itself must not make a difference.
    let counting = Table { aggregates: true, ..table() };
    assert_eq!(instant(&counting, text).unwrap(), expect, "{text}, counted by the store");
}

fn check_error(text: &str, expect: &str) {
    let error = instant(&table(), text).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
    assert!(error.message().contains(expect), "{text}: {error}");
}

#[test]
fn streams_carry_metadata_and_parsed_labels() {
    assert_eq!(
        logs(r#"{app="web"} | json | status >= 500 | line_format "{{.took}} {{.env | ToUpper}}""#),
        [r#"{app="web", env="prod", level="error", status="500", took="2s"} 20 2s PROD"#]
    );
    assert_eq!(
        logs(r#"{app="db"} | logfmt | msg =~ "slow.*" or size < 2kb | keep level"#),
        [
            r#"{level="info"} 25 level=info msg=done size=1KB"#,
            r#"{level="warn"} 15 level=warn msg="slow query" size=2KB"#,
        ]
    );
}

#[test]
fn distinct_keeps_the_first_row_of_each_value_in_the_order_of_the_query() {
    let newest = [r#"{app="db", level="info"} 25 level=info msg=done size=1KB"#];
    assert_eq!(logs(r#"{app="db"} | logfmt | distinct app | keep app, level"#), newest);
    // What stands behind it does not see what it left out, and does not choose what it sees.
    assert!(logs(r#"{app="db"} | distinct app |= "warn""#).is_empty());
    assert!(logs(r#"{app="db"} | logfmt | distinct app | level="warn""#).is_empty());
    assert_eq!(logs(r#"{app="db"} |= "msg" | distinct nosuch | logfmt | keep app, level"#), newest);
    assert_eq!(logs(r#"{app="db"} | logfmt | distinct level, msg"#).len(), 2);
    check_error(r#"count_over_time({app="db"} | distinct app [1m])"#, "for log queries");
    let refused = Pipeline::parse(r#"{app="db"} | distinct app"#).unwrap_err();
    assert!(refused.to_string().contains("queries of a range alone"));
}

#[test]
fn order_limit_and_range_decide_which_entries_come() {
    let entries = |order, limit, end_s: i64| {
        let query =
            LogQuery { order, limit, end_ns: end_s * SECOND_NS, ..query(r#"{app=~".+"} != "x""#) };
        let answer = evaluate(&table(), &query, &Budget::unlimited()).unwrap();
        let Value::Streams(streams) = answer.value else { panic!("no streams") };
        let entries = streams.iter().flat_map(|s| s.entries.iter().map(|e| e.t_ns / SECOND_NS));
        let mut seconds: Vec<i64> = entries.collect();
        seconds.sort_unstable();
        seconds
    };
    assert_eq!(entries(Order::Backward, 2, 60), [25, 30]);
    assert_eq!(entries(Order::Forward, 3, 60), [10, 15, 20]);
    // The end does not belong to the range of a log query.
    assert_eq!(entries(Order::Backward, 100, 30), [10, 15, 20, 25]);
}

#[test]
fn metrics_over_windows() {
    check(r#"count_over_time({app="db"}[60s])"#, &[r#"{app="db"} 2"#]);
    check(
        r#"sum by (app) (count_over_time({app=~".+"}[60s]))"#,
        &[r#"{app="db"} 2"#, r#"{app="web"} 3"#],
    );
    // `level` is metadata of one stream and absent from the other, which no store can count by stream.
    check(r#"sum by (level) (rate({app="web"}[10s] offset 40s))"#, &[r#"{level="error"} 0.1"#]);
    check(r#"sum(bytes_over_time({app="db"} |= "done" [1m]))"#, &["{} 28"]);
    check(
        r#"sum by (env) (sum_over_time({app="web"} | json | unwrap duration(took) [1m]))"#,
        &[r#"{env="prod"} 2.025"#],
    );
    check(
        r#"topk(1, max by (level) (max_over_time({app="db"} | logfmt | unwrap bytes(size) [1m])))"#,
        &[r#"{level="warn"} 2000"#],
    );
    check(r#"absent_over_time({app="db"} |= "nothing" [1m]) + 1 / 0"#, &[r#"{app="db"} NaN"#]);
    check("2 ^ 3 ^ 0 - -1", &["3"]);
}

#[test]
fn failures_name_the_cause() {
    check_error(r#"count_over_time({app="db"} | json [1m])"#, "JSONParserErr");
    check_error(r#"sum_over_time({app="db"}[1m])"#, "without unwrap");
    check_error(r#"{app=~".*"}"#, "at least one");
    check_error(r#"rate({app="db"})"#, "expecting RANGE");
    check_error(r#"{app="db""#, "syntax error: unexpected $end, expecting } or ,");
    check_error(r#"{app="db" k="a"}"#, "syntax error: unexpected IDENTIFIER, expecting } or ,");
    check_error(r#"{app="db"} | line_format "{{.x""#, "unclosed action");
    check_error(r#"{app="db"} |~ "(""#, "error parsing regexp");
    let error = parse(r#"{app="db"} | drop 5"#).unwrap_err();
    assert_eq!(error.span(), Some((18, 19)));
}

#[test]
fn nesting_and_length_are_bounded() {
    for text in [
        "(".repeat(5000),
        format!("{}1", "sum(".repeat(4000)),
        format!("1{}", "^1".repeat(5000)),
        format!("1{}", "+1".repeat(5000)),
        format!("{{a=\"b\"}} | {}x=1", "(".repeat(5000)),
        format!("{{a=\"b\"}} | x=1{}", " or x=1".repeat(2000)),
        format!("{{a=\"b\"}} | line_format \"{}\"", "{{if .a}}".repeat(1500)),
        format!("{{a=\"b\"}}{}", " ".repeat(20_000)),
    ] {
        assert!(parse(&text).is_err(), "{:.60}", text);
    }
}

#[test]
fn the_largest_expressions_evaluate_on_a_thread_of_usual_size() {
    let chain = format!("vector(1){}", " + vector(1)".repeat(500));
    check(&chain, &["{} 501"]);
    let powers = format!("1{}", "^1".repeat(500));
    check(&powers, &["1"]);
    let nested = format!("{}vector(1){}", "sum(".repeat(90), ")".repeat(90));
    check(&nested, &["{} 1"]);
    let filter = format!("x=\"\"{}", " or (x=\"\")".repeat(99));
    check(&format!("count_over_time({{app=\"db\"}} | {filter} [1m])"), &[r#"{app="db"} 2"#]);
}

#[test]
fn patterns_are_seen_by_queries_that_name_them() {
    let row = |second: i64, line: &str, pattern: &str| Row {
        stream: Labels::from_pairs([("app", "web")]),
        t_ns: second * SECOND_NS,
        line: line.to_owned(),
        fields: Labels::from_pairs([("__pattern__", pattern), ("level", "info")]),
    };
    let rows =
        vec![row(1, "{\"n\":1}", "a <_>"), row(2, "{\"n\":2}", "b <_>"), row(3, "{}", "a <_>")];
    let answers = |text: &str| -> Vec<String> {
        let answer = |aggregates: bool| {
            let table = Table { rows: rows.clone(), aggregates };
            let query = query(text);
            match evaluate(&table, &query, &Budget::unlimited()).unwrap().value {
                Value::Streams(streams) => streams
                    .iter()
                    .map(|s| format!("{} {}", s.labels, s.entries.len()))
                    .collect::<Vec<_>>(),
                Value::Metric(promql::Value::Vector(samples)) => {
                    samples.iter().map(|s| format!("{} {}", s.labels, s.value)).collect()
                }
                Value::Metric(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(answer(false), answer(true), "{text}");
        answer(true)
    };
    let check = |text: &str, expect: &[&str]| assert_eq!(answers(text), expect, "{text}");
    check(r#"{app="web"}"#, &[r#"{app="web", level="info"} 3"#]);
    check(
        r#"{app="web"} | json"#,
        &[
            r#"{app="web", level="info"} 1"#,
            r#"{app="web", level="info", n="1"} 1"#,
            r#"{app="web", level="info", n="2"} 1"#,
        ],
    );
    let a = [r#"{__pattern__="a <_>", app="web", level="info"} 2"#];
    check(r#"{app="web"} | __pattern__="a <_>""#, &a);
    check(r#"{app="web"} | json | __pattern__="a <_>" | drop n"#, &a);
    check(r#"{app="web"} | drop __pattern__"#, &[r#"{app="web", level="info"} 3"#]);
    let both = [r#"{__pattern__="a <_>"} 2"#, r#"{__pattern__="b <_>"} 1"#];
    check(r#"sum by (__pattern__) (count_over_time({app="web"}[1m]))"#, &both);
    check(r#"sum by (__pattern__) (count_over_time({app="web"} | json [1m]))"#, &both);
    check(
        r#"sum by (app) (count_over_time({app="web"} | __pattern__!="b <_>" [1m]))"#,
        &[r#"{app="web"} 2"#],
    );
    let new = r#"sum by (__pattern__) (count_over_time({app="web"}[58s500ms])) unless sum by (__pattern__) (count_over_time({app="web"}[1h] offset 58s500ms))"#;
    check(new, &[r#"{__pattern__="b <_>"} 1"#]);
    assert!(Pipeline::parse_arriving(r#"{app="web"} |> "a <_>""#).is_ok());
    let refused = Pipeline::parse_arriving(r#"{app="web"} | __pattern__="a <_>""#).unwrap_err();
    assert!(refused.to_string().contains("__pattern__ is not known of lines as they arrive"));
}

/// Remembers what it was asked for.
#[derive(Default)]
struct Witness {
    inner: Table,
    plans: Mutex<Vec<LogPlan>>,
}

impl LogSource for Witness {
    fn scan(
        &self,
        plan: &LogPlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&LogRow<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<String>> {
        self.plans.lock().unwrap().push(plan.clone());
        self.inner.scan(plan, budget, visit)
    }

    fn aggregate(
        &self,
        plan: &LogPlan,
        aggregation: &LogAggregation,
        budget: &Budget,
    ) -> Result<Option<Vec<StepCounts>>> {
        self.inner.aggregate(plan, aggregation, budget)
    }

    fn volumes(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<StreamVolume>> {
        self.inner.volumes(matchers, range, budget)
    }

    fn streams(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Labels>> {
        self.inner.streams(selectors, range, budget)
    }
}

#[test]
fn the_store_gets_all_it_can_do() {
    let plan = |text: &str| {
        let witness = Witness { inner: table(), ..Witness::default() };
        evaluate(&witness, &query(text), &Budget::unlimited()).unwrap();
        let plan = witness.plans.lock().unwrap().remove(0);
        (plan.line_filters.len(), plan.needs_line, plan.limit)
    };
    assert_eq!(plan(r#"{app="db"} |= "a" !~ "b" or "c""#), (2, true, Some(100)));
    assert_eq!(plan(r#"{app="db"} | logfmt |= "a" | line_format "x" |= "x""#), (1, true, None));
    assert_eq!(plan(r#"{app="db"} |= ip("10.0.0.1") |= "a""#), (1, true, None));
    assert_eq!(plan(r#"count_over_time({app="db"} |= "a" | x="" [1m])"#), (1, false, None));
    assert_eq!(plan(r#"bytes_over_time({app="db"} [1m])"#), (0, true, None));
}

#[test]
fn counting_stores_read_no_rows() {
    let stats = |text: &str| {
        let counting = Table { aggregates: true, ..table() };
        evaluate(&counting, &query(text), &Budget::unlimited()).unwrap().stats
    };
    assert_eq!(stats(r#"sum by (app) (rate({app=~".+"}[1m]))"#), Stats::default());
    assert_eq!(stats(r#"sum by (level) (rate({app="web"} | level!="info" [1m]))"#).rows, 0);
    // Metadata that a stream label hides has a name that no store knows.
    assert_eq!(stats(r#"sum by (app_extracted) (rate({app="web"}[1m]))"#).rows, 3);
}

#[test]
fn results_are_charged_to_the_budget() {
    let limits = Limits { samples_max: 1000, bytes_max: 100, time_ms_max: 1000 };
    let budget = Budget::new(Arc::new(ManualClock::at_ms(0)), limits);
    let error = evaluate(&table(), &query(r#"{app="web"}"#), &budget).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}

fn pipeline(stages: &str, line: &str) -> Option<(Labels, String)> {
    let pipeline = Pipeline::parse(&format!("{{a=\"b\"}} {stages}")).unwrap();
    let (stream, fields) = (Labels::from_pairs([("a", "b")]), Labels::default());
    pipeline.process(&LogRow { stream: &stream, t_ns: 0, line, fields: &fields })
}

#[test]
fn a_pipeline_follows_rows() {
    let (labels, line) =
        pipeline("| json | line_format `{{.m}}`", r#"{"m":"hi","n":{"o":1}}"#).unwrap();
    assert_eq!((labels.to_string().as_str(), line.as_str()), (r#"{a="b", m="hi", n_o="1"}"#, "hi"));
    assert!(pipeline("|= `x`", "y").is_none());
    assert!(Pipeline::parse("rate({a=\"b\"}[1m])").is_err());
    let formatted =
        |template: &str| pipeline(&format!("| line_format `{template}`"), "x y").unwrap().1;
    for (template, expect) in [
        ("{{ range $i, $w := fromJson `[1,2]` }}{{$i}}={{$w}};{{ else }}none{{ end }}", "0=1;1=2;"),
        ("{{- if eq .a \"c\" -}} no {{- else if .a -}} yes {{- end }}", "yes"),
        ("{{ with .nothing }}x{{ else }}{{ __line__ | len }}{{ end }}", "3"),
        ("{{ printf `%-5s|%05.1f|%x` .a 2.25 255 }}", "b    |002.2|ff"),
        ("{{ date `Jan _2 15:04:05.000 MST 2006` __timestamp__ }}", "Jan  1 00:00:00.000 UTC 1970"),
        ("{{ $x := add 1 2 }}{{ mul $x $x }}", "9"),
        ("{{ . }}{{ .a | count `b|c` }}", "map[a:b]1"),
        ("{{ regexReplaceAll `(x) (y)` __line__ `$2${1}!` }}", "yx!"),
        (
            "{{ range fromJson `[1,2,3]` }}{{ range fromJson `[1,2]` }}{{ . }}{{ end }}{{ end }}",
            "121212",
        ),
        ("{{ slice __line__ 1 }}|{{ slice (fromJson `[1,2,3]`) 1 2 }}", " y|[2]"),
        (
            "{{ html `<a>` __line__ }}{{ js `a=\\n` }}{{ urlquery `a b` }}",
            "&lt;a&gt;x ya\\u003D\\u000Aa+b",
        ),
        ("{{/* nothing */}}{{ .a | title | repeat 3 }}", "BBB"),
    ] {
        // Backquotes cannot stand inside backquotes.
        let template = template.replace('`', "\"");
        assert_eq!(formatted(&template), expect, "{template}");
    }
}

#[test]
fn templates_are_bounded() {
    for template in [
        "{{ repeat 2000000 __line__ }}",
        "{{ $x := repeat 1000000 __line__ }}{{ print $x $x }}",
        "{{ regexReplaceAll \"x\" (repeat 1000000 \"x\") \"0123456789\" }}",
        "{{ $n := fromJson (printf \"[%s0]\" (repeat 1000 \"0,\")) }}\
         {{ range $n }}{{ range $n }}{{ end }}{{ $y := 1 }}{{ range $n }}{{ $y = 2 }}{{ end }}{{ end }}",
    ] {
        let (labels, line) = pipeline(&format!("| line_format `{template}`"), "x").unwrap();
        assert_eq!(labels.get("__error__"), Some("TemplateFormatErr"), "{template}");
        assert_eq!(line, "x");
    }
}

proptest! {
    #[test]
    fn foreign_queries_never_panic(text in "\\PC{0,80}") {
        for text in [text.clone(), format!("{{a=\"b\"}} {text}")] {
            if let Err(e) = parse(&text) {
                prop_assert_eq!(e.kind(), ErrorKind::Invalid);
                prop_assert!(e.span().is_none_or(|(start, end)| start <= end && end <= text.len()));
            }
        }
    }

    #[test]
    fn foreign_patterns_never_panic(pattern in "(\\PC|\\\\|\\[|\\]|\\{|\\^|:){0,20}") {
        if let Ok(regex) = super::regexes::compile(&pattern) {
            prop_assert!(regex.captures_len() > 0);
        }
    }

    #[test]
    fn foreign_templates_never_panic(
        template in "(\\{\\{|\\}\\}|-| |if |end|else|range |printf |date |\\.a|\"%5.2é\"|\\||\\(|\\)|x|é|[0-9]){0,12}",
    ) {
        let text = format!("{{a=\"b\"}} | line_format `{template}`");
        if let Ok(pipeline) = Pipeline::parse(&text) {
            let (stream, fields) = (Labels::from_pairs([("a", "é%d")]), Labels::default());
            let row = LogRow { stream: &stream, t_ns: i64::MIN, line: "é", fields: &fields };
            prop_assert!(pipeline.process(&row).is_some());
        }
    }

    #[test]
    fn foreign_lines_never_panic(line in "([{}\\[\\]\":,=\\\\u ]|[a-f0-9é]|null|true|<|>|\u{1b}\\[){0,60}") {
        for stages in [
            "| json", "| json x=\"a[0].b\"", "| logfmt", "| logfmt --strict --keep-empty", "| unpack",
            "| pattern \"<x>=<y> \"", "| decolorize", "|> \"<_>=<_>\"", "|= ip(\"::/0\")",
            "| regexp \"(?P<x>é*)\" | x > 5s or x > 5MB",
            "| line_format \"{{__line__ | trunc -3 | urldecode}}{{fromJson __line__}}\"",
            "| label_format x=\"{{toDate \\\"2006-01-02\\\" __line__ | unixEpoch}}\"",
        ] {
            if let Some((labels, _)) = pipeline(stages, &line) {
                prop_assert_eq!(labels.get("a"), Some("b"));
            }
        }
    }
}

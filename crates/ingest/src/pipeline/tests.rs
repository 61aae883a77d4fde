//! Stages one by one, what they do together, and what they refuse.

use std::sync::Arc;

use model::{Labels, ManualClock};

use super::*;

const NOW_MS: i64 = 1_795_000_000_000;

fn pair(name: &str, source: &str) -> (String, String) {
    (name.to_owned(), source.to_owned())
}

fn json(expressions: &[(&str, &str)]) -> StageConfig {
    let expressions = expressions.iter().map(|(n, e)| pair(n, e)).collect();
    StageConfig::Json(JsonConfig { expressions, ..JsonConfig::default() })
}

fn labels(pairs: &[(&str, &str)]) -> StageConfig {
    StageConfig::Labels(pairs.iter().map(|(n, s)| pair(n, s)).collect())
}

fn regex(expression: &str) -> StageConfig {
    StageConfig::Regex(RegexConfig { expression: expression.to_owned(), source: None })
}

fn timestamp(source: &str, format: &str) -> StageConfig {
    StageConfig::Timestamp(TimestampConfig::new(source, format))
}

fn output(source: &str) -> StageConfig {
    StageConfig::Output(source.to_owned())
}

fn entry(line: &str, position: u64) -> Entry {
    Entry {
        labels: Labels::from_pairs([("filename", "/f.log"), ("job", "j")]),
        t_ns: 7,
        line: line.to_owned(),
        position,
        ..Entry::default()
    }
}

struct Bench {
    pipeline: Pipeline,
    clock: ManualClock,
    metrics: Metrics,
}

fn bench(stages: &[StageConfig]) -> Bench {
    let metrics = Metrics::default();
    let pipeline = Pipeline::new(stages, &metrics).unwrap();
    Bench { pipeline, clock: ManualClock::at_ms(NOW_MS), metrics }
}

impl Bench {
    fn send(&mut self, entry: Entry) -> Vec<Entry> {
        let mut out = Vec::new();
        self.pipeline.process(entry, &self.clock, &mut out);
        out
    }

    fn line(&mut self, line: &str) -> Vec<String> {
        self.send(entry(line, 0)).into_iter().map(|e| e.line).collect()
    }

    fn due(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        self.pipeline.flush_due(&self.clock, &mut out);
        out.into_iter().map(|e| e.line).collect()
    }

    fn dropped(&mut self) -> Vec<(String, u64)> {
        self.pipeline.take_dropped().into_iter().map(|(r, n)| (r.to_string(), n)).collect()
    }
}

/// The one entry that comes out of `stages` for `line`.
fn one(stages: &[StageConfig], line: &str) -> Entry {
    let mut out = bench(stages).send(entry(line, 0));
    assert_eq!(out.len(), 1, "{out:?}");
    out.remove(0)
}

fn values(entry: &Entry) -> Vec<(&str, &str)> {
    entry.values.iter().filter(|(name, _)| !["filename", "job"].contains(name)).collect()
}

#[test]
fn docker_lines_give_time_stream_and_text() {
    let line =
        r#"{"log":"level=info ts=2026\n","stream":"stderr","time":"2026-11-23T02:50:23.5Z"}"#;
    let out = one(&[StageConfig::Docker], line);
    assert_eq!(out.line, "level=info ts=2026\n");
    assert_eq!(out.labels.get("stream"), Some("stderr"));
    assert_eq!(out.t_ns, 1_795_402_223_500_000_000);
    let other = one(&[StageConfig::Docker], "no docker line");
    assert_eq!((other.line.as_str(), other.t_ns), ("no docker line", 7));
}

#[test]
fn parts_of_cri_lines_are_put_together_per_stream() {
    let mut bench = bench(&[StageConfig::Cri(CriConfig::default())]);
    let send = |bench: &mut Bench, line: &str, at: u64| bench.send(entry(line, at));
    assert!(send(&mut bench, "2026-11-23T02:50:23Z stdout P one ", 10).is_empty());
    assert!(send(&mut bench, "2026-11-23T02:50:23Z stderr P err ", 11).is_empty());
    assert_eq!(bench.pipeline.oldest_held(), Some(10));
    let out = send(&mut bench, "2026-11-23T02:50:24Z stdout F two", 12);
    assert_eq!((out[0].line.as_str(), out[0].position), ("one two", 10));
    assert_eq!(out[0].labels.get("stream"), Some("stdout"));
    assert_eq!(out[0].t_ns, 1_795_402_224_000_000_000);
    assert_eq!(bench.pipeline.oldest_held(), Some(11));
    assert_eq!(send(&mut bench, "2026-11-23T02:50:24Z stderr F ", 13)[0].line, "err ");
    assert_eq!(send(&mut bench, "x stdin F y", 14)[0].line, "x stdin F y");
}

#[test]
fn json_takes_values_of_every_kind() {
    let stage = json(&[
        ("msg", ""),
        ("user", "who.\"first-name\""),
        ("n", "n"),
        ("big", "big"),
        ("list", "list"),
        ("null", "nothing"),
        ("ok", "ok"),
    ]);
    let line = r#"{"msg":"hi","who":{"first-name":"Ada"},"n":1.50,"big":9007199254740993,
        "list":[1,{"a":null}],"ok":true}"#;
    let out = one(&[stage], line);
    let expected = [
        ("big", "9007199254740993"),
        ("list", r#"[1,{"a":null}]"#),
        ("msg", "hi"),
        ("n", "1.5"),
        ("ok", "true"),
        ("user", "Ada"),
    ];
    assert_eq!(values(&out), expected);
    assert!(out.values.contains("null"));
}

#[test]
fn malformed_json_passes_or_is_dropped_and_counted() {
    let config = |drop_malformed| {
        let expressions = vec![pair("a", "")];
        StageConfig::Json(JsonConfig { expressions, source: None, drop_malformed })
    };
    assert_eq!(bench(&[config(false)]).line("{\"a\""), ["{\"a\""]);
    let mut bench = bench(&[config(true)]);
    assert!(bench.line("{\"a\"").is_empty());
    assert!(bench.line("[1]").is_empty());
    assert_eq!(bench.dropped(), [("malformed_json".to_owned(), 2)]);
    assert_eq!(bench.dropped(), []);
}

#[test]
fn a_source_is_read_instead_of_the_line() {
    let inner = StageConfig::Json(JsonConfig {
        expressions: vec![pair("user", "")],
        source: Some("extra".to_owned()),
        drop_malformed: false,
    });
    let out = one(&[json(&[("extra", "")]), inner], r#"{"extra":"{\"user\":\"marco\"}"}"#);
    assert_eq!(out.values.get("user"), Some("marco"));
}

#[test]
fn logfmt_takes_what_is_asked_for() {
    let stage = |mapping: &[(&str, &str)]| {
        let mapping = mapping.iter().map(|(n, k)| pair(n, k)).collect();
        StageConfig::Logfmt(LogfmtConfig { mapping, source: None })
    };
    let wanted = [("timestamp", "time"), ("app", ""), ("m", "msg"), ("flag", "")];
    let out = one(&[stage(&wanted)], "time=2026 app=loki msg=\"a \\\"b\\\" \\u00e9\" flag x=1");
    let expected = [("app", "loki"), ("flag", ""), ("m", "a \"b\" é"), ("timestamp", "2026")];
    assert_eq!(values(&out), expected);
    // Behind a mistake nothing is read.
    assert_eq!(values(&one(&[stage(&[("a", ""), ("b", "")])], "a=1 =x b=2")), [("a", "1")]);
    assert_eq!(values(&one(&[stage(&[("a", "")])], "a=\"open")), []);
}

#[test]
fn regex_takes_named_groups() {
    let stage = regex(r"^(?P<ip>\S+) (?P<user>\S+) (?P<rest>x)?");
    let out = one(std::slice::from_ref(&stage), "11.11.11.11 frank GET");
    assert_eq!(values(&out), [("ip", "11.11.11.11"), ("rest", ""), ("user", "frank")]);
    assert_eq!(values(&one(&[stage], "nothing")), []);
}

/// A template for tests: `{}` stands for the value.
#[derive(Debug)]
struct Around(&'static str);

impl Template for Around {
    fn render(
        &self,
        _: i64,
        _: &str,
        values: &dyn TemplateValues,
    ) -> std::result::Result<String, String> {
        match self.0 {
            "fail" => Err("failed".to_owned()),
            "all" => {
                let mut all = String::new();
                values.for_each(&mut |name, value| all.push_str(&format!("{name}={value};")));
                Ok(all)
            }
            text => Ok(text.replace("{}", values.get("Value").unwrap_or("<no value>"))),
        }
    }
}

#[test]
fn replace_rewrites_groups() {
    let check = |expression: &str, template: &'static str, line: &str, expected: &str| {
        let config = ReplaceConfig {
            expression: expression.to_owned(),
            source: None,
            replace: Arc::new(Around(template)),
        };
        let out = one(&[StageConfig::Replace(config)], line);
        assert_eq!(out.line, expected, "{expression}");
        out
    };
    let out = check(r"password (?P<secret>\S+)", "****", "password my1 ok", "password **** ok");
    assert_eq!(out.values.get("secret"), Some("****"));
    check(
        r"(\d{2}\.\d{2}) - (\S+)",
        "<{}>",
        "11.11 - frank 12.12 - bob",
        "<11.11> - <frank> <12.12> - <bob>",
    );
    check(r"(a(b)c)", "[{}]", "abc abc", "[abc] [abc]");
    check(r"(x)", "", "axbxc", "abc");
    check(r"(x)", "fail", "axb", "axb");
    check(r"x", "-", "axb", "axb");
}

#[test]
fn templates_make_and_remove_values() {
    let stage = |source: &str, template: &'static str| {
        StageConfig::Template(TemplateConfig {
            source: source.to_owned(),
            template: Arc::new(Around(template)),
        })
    };
    let before = json(&[("app", "")]);
    let line = r#"{"app":"loki"}"#;
    let run = |source, template| one(&[before.clone(), stage(source, template)], line);
    assert_eq!(run("app", "{} doki").values.get("app"), Some("loki doki"));
    assert_eq!(run("new", "{}").values.get("new"), Some("<no value>"));
    assert!(!run("app", "").values.contains("app"));
    assert_eq!(run("app", "fail").values.get("app"), Some("loki"));
    let all = run("app", "all");
    let expected = format!("Entry={line};Value=loki;app=loki;filename=/f.log;job=j;");
    assert_eq!(all.values.get("app"), Some(expected.as_str()));
}

#[test]
fn times_are_read_in_every_format() {
    let check = |format: &str, text: &str, expected: i64| {
        let out = one(&[regex("(?P<t>.*)"), timestamp("t", format)], text);
        assert_eq!(out.t_ns, expected, "{text:?} as {format}");
    };
    const SECOND: i64 = 1_000_000_000;
    let at = 1_795_402_223 * SECOND;
    check("Unix", "1795402223", at);
    check("Unix", "1795402223.25", at + SECOND / 4);
    check("UnixMs", "1795402223000", at);
    check("UnixUs", "1795402223000000", at);
    check("UnixNs", "1795402223000000000", at);
    check("RFC3339", "2026-11-23T02:50:23Z", at);
    check("RFC3339Nano", "2026-11-23T03:50:23.000000001+01:00", at + 1);
    check("RFC1123Z", "Mon, 23 Nov 2026 03:50:23 +0100", at);
    check("ANSIC", "Mon Nov 23 02:50:23 2026", at);
    check("RFC822", "23 Nov 26 02:50 UTC", at - 23 * SECOND);
    check("02/Jan/2006:15:04:05 -0700", "23/Nov/2026:02:50:23 +0000", at);
    check("2006-01-02 15:04:05,000", "2026-11-23 02:50:23,500", at + SECOND / 2);
    // What cannot be read leaves the time as it is.
    for (format, text) in [("Unix", "x"), ("Unix", "1.x"), ("Unix", "1."), ("RFC3339", "2026")] {
        check(format, text, 7);
    }
    check("UnixMs", "99999999999999999", 7);
}

#[test]
fn times_have_zones_fallbacks_and_the_nearest_year() {
    let mut config = TimestampConfig::new("t", "2006-01-02 15:04:05");
    config.location = Some("Europe/Berlin".to_owned());
    config.fallback_formats = vec!["Unix".to_owned(), "Jan _2 15:04:05".to_owned()];
    let stages = [regex("(?P<t>.*)"), StageConfig::Timestamp(config)];
    let check = |text: &str, expected: &str| {
        let out = one(&stages, text);
        let time = jiff::Timestamp::from_nanosecond(out.t_ns.into()).unwrap();
        assert_eq!(time.to_string(), expected, "{text}");
    };
    check("2026-07-01 12:00:00", "2026-07-01T10:00:00Z");
    check("1795402223", "2026-11-23T02:50:23Z");
    // The clock of these tests shows 18 November 2026.
    check("Nov  1 12:00:00", "2026-11-01T11:00:00Z");
    check("Jul 31 12:00:00", "2026-07-31T10:00:00Z");
    check("Feb 29 12:00:00", "2026-03-01T11:00:00Z");
}

#[test]
fn december_in_january_was_last_year() {
    let stages = [regex("(?P<t>.*)"), timestamp("t", "Jan _2 15:04:05")];
    let check = |now_s: i64, text: &str, expected: &str| {
        let mut bench = bench(&stages);
        bench.clock = ManualClock::at_ms(now_s * 1_000);
        let out = bench.send(entry(text, 0));
        let time = jiff::Timestamp::from_nanosecond(out[0].t_ns.into()).unwrap();
        assert_eq!(time.to_string(), expected);
    };
    check(1_798_761_601, "Dec 31 23:59:59", "2026-12-31T23:59:59Z");
    check(1_798_761_599, "Jan  1 00:00:00", "2027-01-01T00:00:00Z");
}

#[test]
fn times_that_cannot_be_read_are_fudged_per_stream() {
    let mut bench = bench(&[regex("(?P<t>.*)"), timestamp("t", "Unix")]);
    let mut time = |line: &str, stream: &str| {
        let mut entry = entry(line, 0);
        entry.labels = entry.labels.with("s", stream);
        bench.send(entry).remove(0).t_ns
    };
    assert_eq!(time("x", "a"), 7);
    assert_eq!(time("100", "a"), 100_000_000_000);
    assert_eq!(time("x", "a"), 100_000_000_001);
    assert_eq!(time("x", "a"), 100_000_000_002);
    assert_eq!(time("x", "b"), 7);
    let mut config = TimestampConfig::new("t", "Unix");
    config.action_on_failure = OnFailure::Skip;
    let mut bench = super::tests::bench(&[regex("(?P<t>.*)"), StageConfig::Timestamp(config)]);
    assert_eq!(bench.send(entry("100", 0))[0].t_ns, 100_000_000_000);
    assert_eq!(bench.send(entry("x", 0))[0].t_ns, 7);
}

#[test]
fn labels_come_go_and_move_to_fields() {
    let stages = [
        json(&[("level", ""), ("trace", ""), ("msg", "")]),
        labels(&[("level", ""), ("severity", "level"), ("absent", "")]),
        StageConfig::StaticLabels(vec![
            StaticLabel { name: "site".into(), value: "x".into() },
            StaticLabel { name: "empty".into(), value: String::new() },
        ]),
        StageConfig::StructuredMetadata(vec![pair("trace_id", "trace"), pair("filename", "")]),
        StageConfig::LabelDrop(vec!["severity".into()]),
        output("msg"),
    ];
    let out = one(&stages, r#"{"level":"warn","trace":"abc","msg":"hi"}"#);
    assert_eq!(out.labels, Labels::from_pairs([("job", "j"), ("level", "warn"), ("site", "x")]));
    assert_eq!(out.fields, Labels::from_pairs([("filename", "/f.log"), ("trace_id", "abc")]));
    assert_eq!(out.line, "hi");
    let allow = StageConfig::LabelAllow(vec!["job".into(), "none".into()]);
    assert_eq!(one(&[allow], "x").labels, Labels::from_pairs([("job", "j")]));
}

#[test]
fn tenants_come_from_values_labels_or_the_file() {
    let check = |config: TenantConfig, expected: Option<&str>| {
        let stages = [json(&[("customer", "")]), StageConfig::Tenant(config)];
        assert_eq!(one(&stages, r#"{"customer":"c1"}"#).tenant.as_deref(), expected);
    };
    let source = |s: &str| TenantConfig { source: Some(s.into()), ..TenantConfig::default() };
    check(source("customer"), Some("c1"));
    check(source("absent"), None);
    check(TenantConfig { label: Some("job".into()), ..TenantConfig::default() }, Some("j"));
    check(TenantConfig { value: Some("fix".into()), ..TenantConfig::default() }, Some("fix"));
}

#[test]
fn packed_lines_hold_labels_and_the_line() {
    let pack = |ingest_timestamp| {
        let labels = vec!["job".into(), "user".into(), "absent".into()];
        StageConfig::Pack(PackConfig { labels, ingest_timestamp })
    };
    let line = r#"{"user":"a\"b"}"#;
    let out = one(&[json(&[("user", "")]), pack(false)], line);
    assert_eq!(out.line, r#"{"_entry":"{\"user\":\"a\\\"b\"}","job":"j","user":"a\"b"}"#);
    assert_eq!(out.labels, Labels::from_pairs([("filename", "/f.log")]));
    assert_eq!(out.t_ns, 7);
    assert_eq!(one(&[pack(true)], line).t_ns, NOW_MS * 1_000_000);
}

#[test]
fn colours_are_removed() {
    let check = |line: &str, expected: &str| {
        assert_eq!(bench(&[StageConfig::Decolorize]).line(line), [expected]);
    };
    check("\u{1b}[31;1mred\u{1b}[0m plain", "red plain");
    check("a\u{9b}2Kb", "ab");
    check("\u{1b}]0;title\u{7}text\u{1b}]8;;http://x\u{1b}\\link", "textlink");
    check("\u{1b}(Bx\u{1b}cy\u{1b}", "xy");
    check("[31m é", "[31m é");
}

#[test]
fn drop_needs_all_that_is_given() {
    let line = r#"{"level":"debug","app":"web","msg":"m"}"#;
    let check = |config: DropConfig, is_dropped: bool| {
        let shown = format!("{config:?}");
        let stages = [json(&[("level", ""), ("app", "")]), StageConfig::Drop(config)];
        assert_eq!(bench(&stages).line(line).is_empty(), is_dropped, "{shown}");
    };
    let of = |sources: &[&str], value: Option<&str>, expression: Option<&str>| DropConfig {
        source: sources.iter().map(|s| (*s).to_owned()).collect(),
        value: value.map(str::to_owned),
        expression: expression.map(str::to_owned),
        ..DropConfig::default()
    };
    check(of(&["level"], None, None), true);
    check(of(&["absent"], None, None), false);
    check(of(&["level"], Some("debug"), None), true);
    check(of(&["level"], Some("debu"), None), false);
    check(of(&["level"], None, Some("^de")), true);
    check(of(&[], None, Some("\"m\"")), true);
    check(of(&[], None, Some("xyz")), false);
    check(of(&["level", "app"], None, Some("^debug;web$")), true);
    check(of(&["level", "app"], Some("debug;web"), None), true);
    check(of(&["level", "absent"], None, None), false);
    let longer = |bytes| DropConfig { longer_than_bytes: Some(bytes), ..DropConfig::default() };
    check(longer(8), true);
    check(longer(line.len() as u64), false);
    let older = DropConfig { older_than_ns: Some(1), ..DropConfig::default() };
    check(older.clone(), true);
    let both = DropConfig { source: vec!["absent".into()], ..older };
    check(both, false);
}

#[test]
fn dropped_lines_are_counted_by_reason() {
    let drop = |reason: Option<&str>| {
        StageConfig::Drop(DropConfig {
            expression: Some("x".into()),
            drop_counter_reason: reason.map(str::to_owned),
            ..DropConfig::default()
        })
    };
    let mut named = bench(&[drop(Some("noise"))]);
    assert!(named.line("x").is_empty() && named.line("xx").is_empty());
    assert_eq!(named.line("y"), ["y"]);
    assert_eq!(named.dropped(), [("noise".to_owned(), 2)]);
    let mut unnamed = bench(&[drop(None)]);
    assert!(unnamed.line("x").is_empty());
    assert_eq!(unnamed.dropped(), [("drop_stage".to_owned(), 1)]);
}

#[derive(Debug)]
struct Holds(&'static str);

impl Selector for Holds {
    fn selects(&self, labels: &Labels, _: &Labels, _: i64, line: &str) -> bool {
        labels.get("job") == Some("j") && line.contains(self.0)
    }
}

#[test]
fn match_runs_its_stages_for_some_lines_only() {
    let stages = [StageConfig::Match(MatchConfig {
        selector: Arc::new(Holds("error")),
        action: SelectedAction::Keep(vec![
            regex("(?P<word>\\w+)$"),
            labels(&[("word", "")]),
            StageConfig::Match(MatchConfig {
                selector: Arc::new(Holds("secret")),
                action: SelectedAction::Drop(None),
            }),
        ]),
    })];
    let mut bench = bench(&stages);
    let out = bench.send(entry("error of disk", 0));
    assert_eq!(out[0].labels.get("word"), Some("disk"));
    assert_eq!(bench.send(entry("fine", 0))[0].labels.get("word"), None);
    assert!(bench.line("error with secret").is_empty());
    assert_eq!(bench.dropped(), [("match_stage".to_owned(), 1)]);
}

#[test]
fn limits_drop_or_pause() {
    let config = |drop, by: Option<&str>| {
        StageConfig::Limit(LimitConfig {
            rate: 10.0,
            burst: 2,
            drop,
            by_label_name: by.map(str::to_owned),
            max_distinct_labels: 0,
        })
    };
    let mut dropping = bench(&[config(true, None)]);
    assert_eq!((0..5).filter(|_| !dropping.line("x").is_empty()).count(), 2);
    dropping.clock.advance_ms(100);
    assert_eq!((0..5).filter(|_| !dropping.line("x").is_empty()).count(), 1);
    assert_eq!(dropping.dropped(), [("ratelimit_drop_stage".to_owned(), 7)]);
    // Another source of the same job shares the limit.
    let mut fork = dropping.pipeline.fork();
    let mut out = Vec::new();
    fork.process(entry("x", 0), &dropping.clock, &mut out);
    assert!(out.is_empty());

    let mut waiting = bench(&[config(false, None)]);
    assert_eq!((0..4).filter(|_| !waiting.line("x").is_empty()).count(), 4);
    assert_eq!(waiting.pipeline.paused_until_ns(), Some(NOW_MS * 1_000_000 + 200_000_000));

    let mut by_label = bench(&[json(&[("k", "")]), labels(&[("k", "")]), config(true, Some("k"))]);
    let kept: Vec<bool> = [1, 1, 1, 2, 2, 2]
        .iter()
        .map(|k| !by_label.line(&format!("{{\"k\":{k}}}")).is_empty())
        .collect();
    assert_eq!(kept, [true, true, false, true, true, false]);
    assert_eq!((0..3).filter(|_| !by_label.line("no label").is_empty()).count(), 3);
}

fn multiline(max_lines: u64) -> StageConfig {
    StageConfig::Multiline(MultilineConfig {
        firstline: r"^\d".to_owned(),
        max_wait_ns: 3_000_000_000,
        max_lines,
    })
}

#[test]
fn blocks_end_with_the_next_first_line_or_by_time() {
    let mut bench = bench(&[multiline(128)]);
    assert_eq!(bench.line(" before any block"), [" before any block"]);
    assert!(bench.line("1 first").is_empty());
    assert!(bench.line(" more").is_empty());
    assert_eq!(bench.line("2 second"), ["1 first\n more"]);
    assert_eq!(bench.pipeline.next_due_ns(), Some((NOW_MS + 3_000) * 1_000_000));
    bench.clock.advance_ms(2_999);
    assert!(bench.due().is_empty());
    bench.clock.advance_ms(1);
    assert_eq!(bench.due(), ["2 second"]);
    assert_eq!((bench.pipeline.next_due_ns(), bench.pipeline.oldest_held()), (None, None));
    assert!(bench.line(" late").is_empty());
    let mut out = Vec::new();
    bench.pipeline.flush(&bench.clock, &mut out);
    assert_eq!(out[0].line, " late");
}

#[test]
fn blocks_are_bounded_and_per_stream() {
    let mut short = bench(&[multiline(2)]);
    assert!(short.line("1").is_empty());
    assert_eq!(short.line("a"), ["1\na"]);
    assert!(short.line("b").is_empty());
    let mut bench = bench(&[multiline(0)]);
    let mut send = |line: &str, stream: &str, position: u64| {
        let mut entry = entry(line, position);
        entry.labels = entry.labels.with("s", stream);
        bench.send(entry)
    };
    assert!(send("1 a", "a", 100).is_empty());
    assert!(send("1 b", "b", 110).is_empty());
    assert!(send(" a", "a", 120).is_empty());
    let out = send("2 b", "b", 130);
    assert_eq!((out[0].line.as_str(), out[0].position), ("1 b", 110));
    assert_eq!(bench.pipeline.oldest_held(), Some(100));
}

#[test]
fn what_is_held_back_passes_the_stages_behind() {
    let mut bench = bench(&[multiline(0), regex(r"(?s)^(?P<n>\d)"), labels(&[("n", "")])]);
    assert!(bench.line("1 a").is_empty());
    let out = bench.send(entry("2 b", 0));
    assert_eq!(out[0].labels.get("n"), Some("1"));
    let mut out = Vec::new();
    let mut fork = bench.pipeline.fork();
    fork.flush(&bench.clock, &mut out);
    assert!(out.is_empty(), "a fork holds back nothing of the first");
    bench.pipeline.flush(&bench.clock, &mut out);
    assert_eq!(out[0].labels.get("n"), Some("2"));
}

#[test]
fn sampling_keeps_its_share() {
    let kept = |rate: f64| {
        let config = SamplingConfig { rate, drop_counter_reason: None };
        let mut bench = bench(&[StageConfig::Sampling(config)]);
        (0..10_000).filter(|_| !bench.line("x").is_empty()).count()
    };
    assert_eq!(kept(0.0), 0);
    assert_eq!(kept(1.0), 10_000);
    // Ten standard deviations.
    assert!((2_000..3_000).contains(&kept(0.25)), "{}", kept(0.25));
}

#[test]
fn event_messages_become_values() {
    let run = |config: EventLogConfig| {
        let stages =
            [json(&[("message", ""), ("Known", "")]), StageConfig::EventLogMessage(config)];
        one(
            &stages,
            r#"{"message":"Image: C:\\x.exe\r\nParent Id:7\r\nKnown: new\r\nnothing","Known":"old"}"#,
        )
    };
    let out = run(EventLogConfig::default());
    assert_eq!(out.values.get("Image"), Some("C:\\x.exe"));
    assert_eq!(out.values.get("Parent_Id"), Some("7"));
    assert_eq!(out.values.get("Known"), Some("old"));
    let out =
        run(EventLogConfig { drop_invalid_labels: true, overwrite_existing: true, source: None });
    assert_eq!(out.values.get("Parent_Id"), None);
    assert_eq!(out.values.get("Known"), Some("new"));
}

fn metric(name: &str, kind: MetricKind, action: &str) -> MetricConfig {
    MetricConfig {
        name: name.to_owned(),
        kind,
        description: "text".to_owned(),
        source: None,
        prefix: None,
        max_idle_ns: None,
        value: None,
        match_all: false,
        count_entry_bytes: false,
        action: action.to_owned(),
        buckets: Vec::new(),
    }
}

#[test]
fn lines_are_counted_summed_and_sorted_into_buckets() {
    let of = |source: &str, config: MetricConfig| MetricConfig {
        source: Some(source.to_owned()),
        ..config
    };
    let metrics = vec![
        MetricConfig { match_all: true, ..metric("lines_total", MetricKind::Counter, "inc") },
        MetricConfig {
            match_all: true,
            count_entry_bytes: true,
            prefix: Some("my_".into()),
            ..metric("bytes_total", MetricKind::Counter, "add")
        },
        MetricConfig {
            value: Some("error".into()),
            ..of("level", metric("errors_total", MetricKind::Counter, "inc"))
        },
        of("took", metric("last", MetricKind::Gauge, "set")),
        of("took", metric("net", MetricKind::Gauge, "sub")),
        MetricConfig {
            buckets: vec![0.5, 1.0],
            ..of("took", metric("h", MetricKind::Histogram, ""))
        },
    ];
    let stages = [
        json(&[("level", ""), ("took", "")]),
        StageConfig::LabelDrop(vec!["filename".into()]),
        StageConfig::Metrics(metrics),
    ];
    let mut bench = bench(&stages);
    bench.line(r#"{"level":"error","took":"250ms"}"#);
    bench.line(r#"{"level":"info","took":1}"#);
    bench.line(r#"{"took":"no number"}"#);
    let shown: Vec<String> = bench
        .metrics
        .samples(&bench.clock)
        .into_iter()
        .map(|s| format!("{} {}", s.labels, s.value))
        .collect();
    assert_eq!(
        shown,
        [
            "my_bytes_total{job=\"j\"} 77",
            "promtail_custom_errors_total{job=\"j\"} 1",
            "promtail_custom_h_bucket{job=\"j\", le=\"0.5\"} 1",
            "promtail_custom_h_bucket{job=\"j\", le=\"1\"} 2",
            "promtail_custom_h_bucket{job=\"j\", le=\"+Inf\"} 2",
            "promtail_custom_h_count{job=\"j\"} 2",
            "promtail_custom_h_sum{job=\"j\"} 1.25",
            "promtail_custom_last{job=\"j\"} 1",
            "promtail_custom_lines_total{job=\"j\"} 3",
            "promtail_custom_net{job=\"j\"} -1.25",
        ]
    );
    assert_eq!(bench.metrics.families().len(), 6);
    bench.clock.advance_ms(300_001);
    assert_eq!(bench.metrics.samples(&bench.clock), []);
}

#[test]
fn wrong_stages_are_refused_by_name() {
    let check = |stage: StageConfig, expected: &str| {
        let error = Pipeline::new(&[stage], &Metrics::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(json(&[]), "invalid json stage: needs expressions");
    check(json(&[("a", "thumbs-up")]), "unexpected - at 6");
    check(regex(""), "invalid regex stage: needs an expression");
    check(regex("("), "regular expression");
    check(output(""), "invalid output stage: needs a source");
    check(timestamp("t", ""), "needs a source and a format");
    let mut zone = TimestampConfig::new("t", "Unix");
    zone.location = Some("Atlantis".into());
    check(StageConfig::Timestamp(zone), "unknown location \"Atlantis\"");
    check(labels(&[("a-b", "")]), "invalid label name \"a-b\"");
    check(StageConfig::LabelDrop(vec![]), "needs at least one label");
    check(StageConfig::Tenant(TenantConfig::default()), "needs source, label or value");
    check(StageConfig::Drop(DropConfig::default()), "needs at least one of source");
    check(StageConfig::Limit(LimitConfig::default()), "needs a rate and a burst");
    check(
        StageConfig::Sampling(SamplingConfig { rate: 1.5, drop_counter_reason: None }),
        "from 0 to 1",
    );
    check(
        StageConfig::Metrics(vec![metric("x", MetricKind::Counter, "set")]),
        "metric \"x\": action of a counter must be inc or add",
    );
    check(StageConfig::Metrics(vec![metric("x", MetricKind::Histogram, "")]), "needs buckets");
    check(
        StageConfig::Metrics(vec![
            metric("x", MetricKind::Counter, "inc"),
            metric("x", MetricKind::Gauge, "inc"),
        ]),
        "something else elsewhere",
    );
}

proptest::proptest! {
    #[test]
    fn noise_passes_every_stage_bounded(lines in proptest::collection::vec("\\PC{0,80}", 0..20)) {
        let stages = [
            StageConfig::Docker,
            StageConfig::Cri(CriConfig::default()),
            StageConfig::Decolorize,
            json(&[("a", "a[*].b || to_string(@)")]),
            StageConfig::Logfmt(LogfmtConfig { mapping: vec![pair("b", "")], source: None }),
            regex("(?P<c>.)(?P<t>.*)"),
            timestamp("t", "2006-01-02T15:04:05.000Z07:00"),
            StageConfig::EventLogMessage(EventLogConfig { source: Some("t".into()), ..EventLogConfig::default() }),
            multiline(3),
            StageConfig::Pack(PackConfig { labels: vec!["c".into()], ingest_timestamp: false }),
        ];
        let mut bench = bench(&stages);
        let mut out = 0;
        for line in &lines {
            out += bench.line(line).len();
        }
        let mut rest = Vec::new();
        bench.pipeline.flush(&bench.clock, &mut rest);
        proptest::prop_assert!(out + rest.len() <= lines.len());
        proptest::prop_assert_eq!(bench.pipeline.oldest_held(), None);
    }
}

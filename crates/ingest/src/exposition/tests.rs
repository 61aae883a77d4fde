//! Parser cases: what comes out of a body, and the text of errors.

use model::Result;
use proptest::prelude::*;

use super::{Format, Limits, Metadata, Sample, Visitor, parse, series_labels, validate};

/// Writes everything down, one line each; offers the series of `expected` in turn.
#[derive(Default)]
struct Scribe {
    lines: Vec<String>,
    expected: Vec<String>,
    at: usize,
}

impl Visitor for Scribe {
    fn expected(&self) -> &str {
        self.expected.get(self.at).map_or("", String::as_str)
    }

    fn sample(&mut self, s: Sample<'_>) -> Result<()> {
        self.at += 1;
        let time = s.timestamp_ms.map(|t| format!(" @{t}")).unwrap_or_default();
        let predicted = if s.predicted { " predicted" } else { "" };
        self.lines.push(format!("{} {}{time}{predicted}", s.series, s.value));
        Ok(())
    }

    fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()> {
        self.lines.push(match metadata {
            Metadata::Type { name, kind } => format!("type {name} {}", kind.as_str()),
            Metadata::Help { name, text } => format!("help {name} {text:?}"),
            Metadata::Unit { name, unit } => format!("unit {name} {unit}"),
        });
        Ok(())
    }
}

fn read(body: &str, format: Format) -> std::result::Result<Vec<String>, String> {
    let mut scribe = Scribe::default();
    parse(body.as_bytes(), format, &Limits::NONE, &mut scribe)
        .map(|()| scribe.lines)
        .map_err(|e| e.message().to_owned())
}

fn check(body: &str, expect: &[&str]) {
    assert_eq!(read(body, Format::Prometheus).unwrap(), expect, "{body}");
}

fn check_error(format: Format, body: &str, expect: &str) {
    assert_eq!(read(body, format).unwrap_err(), expect, "{body}");
}

#[test]
fn prometheus_lines() {
    check("a 1\n", &["a 1"]);
    check("a 1", &["a 1"]);
    check("\n  a{b=\"c\"}\t 2.5e3  -17 \n", &["a{b=\"c\"} 2500 @-17"]);
    check("a {b=\"}\",} +Inf\nb NaN\n", &["a {b=\"}\",} inf", "b NaN"]);
    check(
        "a{ b = \"c\" , d=\"\\\"\" } 0x\n".replace("0x", "0").as_str(),
        &["a{ b = \"c\" , d=\"\\\"\" } 0"],
    );
    check(
        "# TYPE a counter\n# HELP a b\\\\c\\nd \\\"\n#HELP a x\n# comment\n",
        &["type a counter", "help a \"b\\\\c\\nd \\\\\\\"\""],
    );
    check(
        "{\"my.metric\",\"label name\"=\"x\"} 1\n# TYPE \"my.metric\" gauge\n",
        &["{\"my.metric\",\"label name\"=\"x\"} 1", "type my.metric gauge"],
    );
    check("a{b=\"c\"}1\n", &["a{b=\"c\"} 1"]);
    check("n{a=\"x\0\"} 1\n", &["n{a=\"x\0\"} 1"]);
}

#[test]
fn open_metrics_lines() {
    let body = "# TYPE a counter\n# UNIT a \na_total{b=\"c # \"} 1 1.5 # {t=\"x\"} 0.5 3\n# EOF\n";
    let lines = read(body, Format::OpenMetrics).unwrap();
    assert_eq!(lines, ["type a counter", "unit a ", "a_total{b=\"c # \"} 1 @1500"]);
}

#[test]
fn errors_name_line_column_and_expectation() {
    let old = Format::Prometheus;
    check_error(old, "a 1\nb x\n", "line 2, column 3: expected a value, found 'x'");
    check_error(old, "a{b=c} 1", "line 1, column 5: expected a quoted label value, found 'c'");
    check_error(
        old,
        "a{b=\"c} 1",
        "line 1, column 10: expected a closing quote, found the end of the body",
    );
    check_error(old, "a 1 2 3", "line 1, column 7: expected the end of the line, found '3'");
    check_error(old, "a 0x1p-2", "line 1, column 3: expected a value, found '0'");
    check_error(
        old,
        "a 1 1.5",
        "line 1, column 5: expected a timestamp in milliseconds, found '1'",
    );
    check_error(
        old,
        "a-b 1",
        "line 1, column 2: expected { or a space after the metric name, found '-'",
    );
    check_error(old, "{a=\"b\"} 1", "line 1, column 7: expected a quoted metric name, found '}'");
    check_error(
        old,
        "# TYPE a fancy",
        "line 1, column 10: expected a metric type, found \"fancy\"",
    );
    check_error(old, "\0", "line 1, column 1: expected a metric name, found '\\0'");
    let new = Format::OpenMetrics;
    check_error(new, "a 1\n", "line 2, column 1: expected # EOF as the last line");
    check_error(new, "a  1\n# EOF\n", "line 1, column 3: expected a value, found ' '");
    check_error(new, "# EOF\na", "line 2, column 1: expected nothing after # EOF, found 'a'");
    check_error(
        new,
        "a 1 # {} x\n# EOF",
        "line 1, column 10: expected an exemplar value, found 'x'",
    );
}

#[test]
fn invalid_utf8_is_located() {
    let mut scribe = Scribe::default();
    let body = b"a 1\nb{c=\"\xff\"} 1\n";
    let error = parse(body, Format::Prometheus, &Limits::NONE, &mut scribe).unwrap_err();
    assert_eq!(error.message(), "line 2, column 6: expected UTF-8, found an invalid byte");
    assert_eq!(error.span(), Some((9, 9)));
}

#[test]
fn a_nan_never_looks_like_a_staleness_marker() {
    struct Bits(u64);
    impl Visitor for Bits {
        fn sample(&mut self, s: Sample<'_>) -> Result<()> {
            self.0 = s.value.to_bits();
            Ok(())
        }
        fn metadata(&mut self, _: Metadata<'_>) -> Result<()> {
            Ok(())
        }
    }
    let mut bits = Bits(0);
    parse(b"a nan", Format::Prometheus, &Limits::NONE, &mut bits).unwrap();
    assert_eq!(bits.0, super::NORMAL_NAN_BITS);
    check_error(Format::Prometheus, "a -nan", "line 1, column 3: expected a value, found '-'");
}

#[test]
fn limits_are_errors_that_name_the_bound() {
    let limits = Limits {
        body_bytes_max: 60,
        samples_max: 2,
        labels_max: 1,
        name_bytes_max: 4,
        value_bytes_max: 3,
    };
    let check = |body: &str, expect: &str| {
        let error = parse(body.as_bytes(), Format::Prometheus, &limits, &mut Scribe::default())
            .unwrap_err();
        assert_eq!(error.message(), expect);
        assert_eq!(error.kind(), model::ErrorKind::Limit);
    };
    check(&"#".repeat(61), "body has 61 bytes; the limit is 60");
    check("a 1\na 1\na 1\n", "line 3, column 1: body has more samples than the limit of 2");
    check("a{b=\"\",c=\"\"} 1", "line 1, column 8: series has more labels than the limit of 1");
    check("abcde 1", "line 1, column 1: metric name has 5 bytes; the limit is 4");
    check("a{b=\"1234\"} 1", "line 1, column 5: label value has 4 bytes; the limit is 3");
    // Escapes count as what they stand for.
    parse(b"a{b=\"\\n\\n\\n\"} 1", Format::Prometheus, &limits, &mut Scribe::default()).unwrap();
}

#[test]
fn predictions_hold_only_for_the_whole_series() {
    let expected = ["a", "a{b=\"c\"}", "a", "ab"].map(str::to_owned).to_vec();
    let mut scribe = Scribe { expected, ..Scribe::default() };
    let body = b"a 1\na{b=\"c\"} 2\na {x=\"y\"} 3\nabc 4\n";
    parse(body, Format::Prometheus, &Limits::NONE, &mut scribe).unwrap();
    assert_eq!(scribe.lines, ["a 1 predicted", "a{b=\"c\"} 2 predicted", "a {x=\"y\"} 3", "abc 4"]);
}

#[test]
fn series_become_labels() {
    let check = |series: &str, expect: &str| {
        assert_eq!(series_labels(series, Format::Prometheus).unwrap().to_string(), expect);
    };
    check("a", "a{}");
    check("a {c=\"1\\n\\\\\\\"\\t\", b=\"\"}", r#"a{c="1\n\\\"\\t"}"#);
    check("{\"x y\", \"l l\"=\"1\"}", r#"x y{l l="1"}"#);
    let twice = series_labels("a{b=\"1\",b=\"2\"}", Format::Prometheus).unwrap_err();
    assert_eq!(twice.message(), "expected each label once, found \"b\" twice");
    assert!(series_labels("a{__name__=\"b\"}", Format::Prometheus).is_err());
}

#[test]
fn validate_refuses_what_parse_lets_pass() {
    for body in ["# TYPE a gauge\n# TYPE a gauge\n", "a 1\n# TYPE a gauge\n", "a{b=\"\\t\"} 1\n"] {
        assert!(read(body, Format::Prometheus).is_ok(), "{body}");
        assert!(validate(body.as_bytes(), Format::Prometheus, &Limits::NONE).is_err(), "{body}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let (first, second) = (validate(&body, format, &Limits::NONE), validate(&body, format, &Limits::NONE));
            prop_assert_eq!(first.is_ok(), second.is_ok());
        }
    }

    #[test]
    fn near_misses_never_panic(body in "([a-c#{}\"\\\\=, \n0-9é]|# TYPE |# HELP |# UNIT |# EOF\n| # ){0,60}") {
        for format in [Format::Prometheus, Format::OpenMetrics] {
            // What the strict rules accept, the scraper must accept, too.
            let lenient = parse(body.as_bytes(), format, &Limits::NONE, &mut Scribe::default());
            prop_assert!(validate(body.as_bytes(), format, &Limits::NONE).is_err() || lenient.is_ok());
        }
    }

    #[test]
    fn written_series_read_back(name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,9}", value in "\\PC{0,20}", number in -1.0e9..1.0e9_f64) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        let body = format!("{name}{{l=\"{escaped}\"}} {number}\n");
        let lines = read(&body, Format::Prometheus).unwrap();
        prop_assert_eq!(lines.len(), 1);
        let (series, _) = body.rsplit_once(' ').unwrap();
        let labels = series_labels(series, Format::Prometheus).unwrap();
        prop_assert_eq!(labels.metric_name(), name);
        prop_assert_eq!(labels.get("l").unwrap_or(""), value);
    }
}

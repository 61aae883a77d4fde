//! The JSON bodies of Prometheus' API, written straight into a string: values are quoted numbers, times are seconds.

use std::fmt::Write as _;
use std::num::FpCategory;

use ::query::promql::{Sample, Series, Value};
use model::histogram::Bucket;
use model::{Histogram, Labels, MetricMetadata, SeriesExemplars};

/// Warning of an answer that `limit` cut.
pub(crate) const TRUNCATED: &str = "results truncated due to limit";
/// How the data of an instant vector begins, up to its list.
pub(crate) const VECTOR_HEAD: &str = "{\"resultType\":\"vector\",\"result\":";
/// How the data of a matrix begins, up to its list.
pub(crate) const MATRIX_HEAD: &str = "{\"resultType\":\"matrix\",\"result\":";

/// `{"status":"success","data":…}`.
pub(crate) fn success(data: &serde_json::Value) -> String {
    format!("{{\"status\":\"success\",\"data\":{data}}}")
}

/// `,"warnings":[…],"infos":[…]`, each only when there are any.
pub(crate) fn notes(out: &mut String, warnings: &[String], infos: &[String]) {
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            let _infallible = write!(out, ",\"{name}\":");
            list(out, texts, |out, text| string(out, text));
        }
    }
}

/// `{"resultType":"…","result":…` without the closing brace, so that statistics can follow; also Loki's metric answers.
pub(crate) fn typed_result(out: &mut String, value: &Value) {
    match value {
        Value::Scalar(t_ms, number) => {
            out.push_str("{\"resultType\":\"scalar\",\"result\":");
            out.push('[');
            short_seconds(out, *t_ms);
            out.push_str(",\"");
            // As in Prometheus, scalars alone never have an exponent.
            let _infallible = match number.classify() {
                FpCategory::Nan => write!(out, "NaN"),
                FpCategory::Infinite => write!(out, "{}Inf", if *number > 0.0 { '+' } else { '-' }),
                _ => write!(out, "{number}"),
            };
            out.push_str("\"]");
        }
        Value::String(t_ms, text) => {
            out.push_str("{\"resultType\":\"string\",\"result\":[");
            short_seconds(out, *t_ms);
            out.push(',');
            string(out, text);
            out.push(']');
        }
        Value::Vector(samples) => {
            out.push_str(VECTOR_HEAD);
            list(out, samples, sample);
        }
        Value::Matrix(all) => {
            out.push_str(MATRIX_HEAD);
            list(out, all, series);
        }
    }
}

/// One element of a vector.
pub(crate) fn sample(out: &mut String, sample: &Sample) {
    out.push_str("{\"metric\":");
    labels(out, &sample.labels);
    match &sample.histogram {
        None => {
            out.push_str(",\"value\":");
            point(out, sample.t_ms, sample.value);
        }
        Some(h) => {
            out.push_str(",\"histogram\":");
            histogram_point(out, sample.t_ms, h);
        }
    }
    out.push('}');
}

/// One series of a matrix.
pub(crate) fn series(out: &mut String, one: &Series) {
    out.push_str("{\"metric\":");
    labels(out, &one.labels);
    if !one.points.is_empty() || one.histograms.is_empty() {
        out.push_str(",\"values\":");
        list(out, &one.points, |out, (t_ms, number)| point(out, *t_ms, *number));
    }
    if !one.histograms.is_empty() {
        out.push_str(",\"histograms\":");
        list(out, &one.histograms, |out, (t_ms, h)| histogram_point(out, *t_ms, h));
    }
    out.push('}');
}

/// Exemplars of one series.
pub(crate) fn exemplars(out: &mut String, of: &SeriesExemplars) {
    out.push_str("{\"seriesLabels\":");
    labels(out, &of.labels);
    out.push_str(",\"exemplars\":");
    list(out, &of.exemplars, |out, exemplar| {
        out.push_str("{\"labels\":");
        labels(out, &exemplar.labels);
        out.push_str(",\"value\":\"");
        number(out, exemplar.value);
        out.push_str("\",\"timestamp\":");
        seconds(out, exemplar.t_ms);
        out.push('}');
    });
    out.push('}');
}

/// Metadata by metric: the first `limit` metrics, of each at most `per_metric`.
pub(crate) fn metadata(all: &[MetricMetadata], limit: usize, per_metric: usize) -> String {
    let mut out = String::from("{\"status\":\"success\",\"data\":{");
    let mut previous: Option<&str> = None;
    let (mut names, mut of_metric) = (0, 0);
    for entry in all {
        of_metric = if previous == Some(&entry.name) { of_metric + 1 } else { 1 };
        if of_metric > per_metric {
            continue;
        }
        if previous != Some(&entry.name) {
            if names == limit {
                break;
            }
            names += 1;
            out.push_str(if previous.is_some() { "]," } else { "" });
            string(&mut out, &entry.name);
            out.push_str(":[");
        } else {
            out.push(',');
        }
        previous = Some(&entry.name);
        let _infallible = write!(out, "{{\"type\":\"{}\",\"help\":", entry.kind.as_str());
        string(&mut out, &entry.help);
        out.push_str(",\"unit\":");
        string(&mut out, &entry.unit);
        out.push('}');
    }
    out.push_str(if previous.is_some() { "]}}" } else { "}}" });
    out
}

pub(crate) fn list<T>(out: &mut String, items: &[T], mut item: impl FnMut(&mut String, &T)) {
    out.push('[');
    let mut first = true;
    for one in items {
        if !first {
            out.push(',');
        }
        first = false;
        item(out, one);
    }
    out.push(']');
}

pub(crate) fn labels(out: &mut String, labels: &Labels) {
    out.push('{');
    let mut separator = "";
    for (name, value) in labels.iter() {
        out.push_str(separator);
        string(out, name);
        out.push(':');
        string(out, value);
        separator = ",";
    }
    out.push('}');
}

/// A JSON string.
pub(crate) fn string(out: &mut String, text: &str) {
    out.push('"');
    // The first byte of the line separators counts as one of them; most texts have nothing of the kind.
    let is_plain = |b: &u8| *b >= b' ' && !matches!(*b, b'"' | b'\\' | 0xe2);
    if text.as_bytes().iter().all(is_plain) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Below space, and the two line separators that are not valid in JavaScript source.
            c if c < ' ' || c == '\u{2028}' || c == '\u{2029}' => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// `[1435781451.781,"0.5"]`.
fn point(out: &mut String, t_ms: i64, value: f64) {
    out.push('[');
    seconds(out, t_ms);
    out.push_str(",\"");
    number(out, value);
    out.push_str("\"]");
}

/// `[t,{"count":"3","sum":"5","buckets":[[rule,"lower","upper","count"],…]}]`; buckets that hold something.
fn histogram_point(out: &mut String, t_ms: i64, h: &Histogram) {
    out.push('[');
    seconds(out, t_ms);
    out.push_str(",{\"count\":\"");
    number(out, h.count);
    out.push_str("\",\"sum\":\"");
    number(out, h.sum);
    out.push('"');
    let buckets: Vec<Bucket> = h.buckets().into_iter().filter(|b| b.count != 0.0).collect();
    if !buckets.is_empty() {
        out.push_str(",\"buckets\":");
        list(out, &buckets, |out, bucket| {
            let _infallible = write!(out, "[{}", bucket.boundary_rule());
            for value in [bucket.lower, bucket.upper, bucket.count] {
                out.push_str(",\"");
                number(out, value);
                out.push('"');
            }
            out.push(']');
        });
    }
    out.push_str("}]");
}

/// Milliseconds as seconds with up to three decimals, never in exponent form.
pub(crate) fn seconds(out: &mut String, t_ms: i64) {
    if t_ms < 0 {
        out.push('-');
    }
    let (whole, ms) = (t_ms.unsigned_abs() / 1000, t_ms.unsigned_abs() % 1000);
    integer(out, whole);
    if ms > 0 {
        out.push('.');
        out.push_str(if ms < 10 {
            "00"
        } else if ms < 100 {
            "0"
        } else {
            ""
        });
        integer(out, ms);
    }
}

/// A whole number; several times as fast as `write!`, in answers of a million of them.
fn integer(out: &mut String, mut value: u64) {
    let mut text = [b'0'; 20];
    let mut start = text.len();
    loop {
        start -= 1;
        text[start] = b'0' + (value % 10).to_le_bytes()[0];
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&text[start..]).unwrap_or_default());
}

/// As [`seconds`], without zeros at the end: scalars and strings have their time so in Prometheus.
fn short_seconds(out: &mut String, t_ms: i64) {
    seconds(out, t_ms);
    if t_ms % 1000 != 0 {
        out.truncate(out.trim_end_matches('0').len());
    }
}

/// The shortest text that reads back as `value`, as Go's `strconv` prints it: exponents below 1e-6 and from 1e21 on.
pub(crate) fn number(out: &mut String, value: f64) {
    #[expect(clippy::cast_possible_truncation, reason = "compared with what it was")]
    let whole = value as i64;
    #[expect(clippy::cast_precision_loss, reason = "compared with what it was")]
    let is_whole = whole as f64 == value && whole.unsigned_abs() < 1 << 53;
    if is_whole && (whole != 0 || value.is_sign_positive()) {
        if whole < 0 {
            out.push('-');
        }
        integer(out, whole.unsigned_abs());
    } else if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) =
            exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        let _infallible = write!(out, "{mantissa}e{sign}{digits:0>2}");
    } else {
        let _infallible = write!(out, "{value}");
    }
}

/// RFC 3339 in UTC; Go's zero time for 0.
pub(crate) fn rfc3339(t_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(t_ms) {
        Ok(time) if t_ms > 0 => time.to_string(),
        // Go's zero time, which clients know as "never".
        _ => "0001-01-01T00:00:00Z".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_print_as_clients_expect() {
        let print = |value| {
            let mut out = String::new();
            number(&mut out, value);
            out
        };
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (-120.0, "-120"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (-9_007_199_254_740_994.0, "-9007199254740994"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-07"),
            (1e-300, "1e-300"),
            (0.000001, "0.000001"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(print(value), expected);
        }
        let mut out = String::new();
        for t in [1_435_781_451_781, 1_435_781_430_000, 1_001, -500, 12_050, 0] {
            seconds(&mut out, t);
            out.push(' ');
        }
        assert_eq!(out, "1435781451.781 1435781430 1.001 -0.500 12.050 0 ");
    }

    #[test]
    fn strings_are_escaped() {
        let mut out = String::new();
        string(&mut out, "a\"\\\n\u{1}\u{2028}é</script>");
        assert_eq!(out, "\"a\\\"\\\\\\n\\u0001\\u2028é</script>\"");
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), "a\"\\\n\u{1}\u{2028}é</script>");
    }
}

//! How results of tests are printed: as `promtool` does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use query::promql::Sample;
use query::promql::testing::notation;

use super::file::Texts;

/// What was expected and what was there, or the lines in which they differ.
pub(super) fn both(expected: &str, got: &str, diff: bool) -> String {
    if diff {
        return format!("        diff (- expected, + got):\n{}", differences(expected, got));
    }
    let shown = |text: &str| text.replace('\n', "\n            ");
    format!("        exp: {}, \n        got: {}", shown(expected), shown(got))
}

/// Lines with `-`, `+` or a blank in front.
fn differences(expected: &str, got: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    // Length of the longest common subsequence of what follows each pair of places.
    let mut common = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        let (mark, line) = if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
            (' ', a[i - 1])
        } else if j >= b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', a[i - 1])
        } else {
            j += 1;
            ('+', b[j - 1])
        };
        out.push_str(&format!("          {mark} {line}\n"));
    }
    out.truncate(out.trim_end().len());
    out
}

/// Alerts, numbered.
pub(super) fn alerts(alerts: &[Texts]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let mut out = String::from("[");
    for (i, (labels, annotations)) in alerts.iter().enumerate() {
        let separator = if i == 0 { "" } else { "," };
        let (labels, annotations) = (pairs(labels), pairs(annotations));
        let more = format!("{separator}\n{i}:\n  Labels:{labels}\n  Annotations:{annotations}");
        out.push_str(&more);
    }
    out + "\n]"
}

fn pairs(texts: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = texts.iter().map(|(name, text)| format!("{name}={text:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// Samples, one per line.
pub(super) fn samples(samples: &[Sample]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let mut out = String::new();
    for sample in samples {
        let labels: Vec<String> =
            sample.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let value = sample.histogram.as_deref().map_or_else(|| scientific(sample.value), notation);
        let separator = if out.is_empty() { "" } else { "\n" };
        let _infallible = write!(out, "{separator}{{{}}} {value}", labels.join(", "));
    }
    out
}

/// `1.5E+01`
fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return match value {
            f64::INFINITY => "+Inf".to_owned(),
            f64::NEG_INFINITY => "-Inf".to_owned(),
            _ => "NaN".to_owned(),
        };
    }
    let text = format!("{value:E}");
    let (mantissa, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}E{sign}{digits:0>2}")
}

/// `1h0m0s`, as Go prints durations.
pub(super) fn go_duration(ms: i64) -> String {
    let (hours, minutes, rest_ms) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    let seconds = format!("{}s", rest_ms as f64 / 1000.0);
    match (hours, minutes) {
        (0, 0) if (1..1000).contains(&rest_ms) => format!("{rest_ms}ms"),
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_written_as_go_does() {
        let check = |got: String, expected: &str| assert_eq!(got, expected);
        check(scientific(15.0), "1.5E+01");
        check(scientific(0.001), "1E-03");
        check(scientific(-0.0), "-0E+00");
        check(scientific(1e120), "1E+120");
        check(scientific(f64::NEG_INFINITY), "-Inf");
        check(go_duration(0), "0s");
        check(go_duration(1500), "1.5s");
        check(go_duration(20), "20ms");
        check(go_duration(600_000), "10m0s");
        check(go_duration(90_061_000), "25h1m1s");
    }

    #[test]
    fn differences_keep_what_is_common() {
        assert_eq!(
            differences("a\nb\nc", "a\nx\nc\nd"),
            "            a\n          - b\n          + x\n            c\n          + d"
        );
    }
}

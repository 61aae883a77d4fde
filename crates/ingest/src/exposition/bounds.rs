//! How bounds and quantiles are spelt in labels: one way, whatever the target's.
//!
//! Source: OpenMetrics 1.0, "Considerations: canonical numbers"; Prometheus 3 rewrites `le` and `quantile` on ingestion.

use std::borrow::Cow;

use model::MetricKind;

use super::number;

/// A float with the fewest digits that read back as the same, and with a point or an exponent: `1.0`, `0.25`, `1e+06`.
pub fn open_metrics_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) && value != 0.0 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = value.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// The value label `name` has in storage, for a family of type `kind`.
pub fn canonical_bound<'a>(kind: MetricKind, name: &str, value: &'a str) -> Cow<'a, str> {
    let is_bound =
        matches!((kind, name), (MetricKind::Histogram, "le") | (MetricKind::Summary, "quantile"));
    match number(value) {
        Some(bound) if is_bound => Cow::Owned(open_metrics_float(bound)),
        _ => Cow::Borrowed(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_spelt_one_way() {
        for (value, expect) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-1.0, "-1.0"),
            (0.25, "0.25"),
            (100_000.0, "100000.0"),
            (1e6, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(open_metrics_float(value), expect);
        }
    }

    #[test]
    fn only_bounds_of_their_own_kind_change() {
        let check = |kind, name, value, expect: &str| {
            assert_eq!(canonical_bound(kind, name, value), expect);
        };
        check(MetricKind::Histogram, "le", "1", "1.0");
        check(MetricKind::Histogram, "le", "+Inf", "+Inf");
        check(MetricKind::Histogram, "le", "inf", "+Inf");
        check(MetricKind::Histogram, "le", "x", "x");
        check(MetricKind::Summary, "quantile", "0.50", "0.5");
        check(MetricKind::Gauge, "le", "1", "1");
        check(MetricKind::Summary, "le", "1", "1");
    }
}

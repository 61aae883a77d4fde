//! Functions of the samples in a window: `avg_over_time`, `quantile_over_time`, `rate_counter`, …

use super::ast::RangeOp;
use crate::vector::numeric::{Mean, Sum, Variance, quantile};

/// A number taken from a row at a time in Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) t_ns: i64,
    pub(crate) value: f64,
}

/// The window a step looks at: `(end_ns - range_ns, end_ns]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) end_ns: i64,
    pub(crate) range_ns: i64,
}

/// The value of `op` over `samples`, which ascend by time and lie in `window`; `None` when there is none.
pub(crate) fn compute(
    op: RangeOp,
    param: Option<f64>,
    samples: &[Sample],
    window: Window,
) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    let values = || samples.iter().map(|s| s.value);
    let sum = || {
        let mut sum = Sum::default();
        values().for_each(|x| sum.add(x));
        sum.value()
    };
    let variance = || {
        let mut variance = Variance::default();
        values().for_each(|x| variance.add(x));
        variance.value()
    };
    Some(match op {
        RangeOp::Sum => sum(),
        RangeOp::Rate => sum() / (window.range_ns as f64 / 1e9),
        RangeOp::Avg => {
            let mut mean = Mean::default();
            values().for_each(|x| mean.add(x));
            mean.value()
        }
        RangeOp::Min => values().fold(f64::NAN, f64::min),
        RangeOp::Max => values().fold(f64::NAN, f64::max),
        RangeOp::StdVar => variance(),
        RangeOp::StdDev => variance().sqrt(),
        RangeOp::Quantile => quantile(param.unwrap_or(f64::NAN), &mut values().collect::<Vec<_>>()),
        RangeOp::First => first.value,
        RangeOp::Last => last.value,
        RangeOp::RateCounter => return rate_counter(samples, window),
        RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Absent => {
            samples.len() as f64
        }
    })
}

/// The increase per second of a counter that may restart, extrapolated to the window as Prometheus does.
fn rate_counter(samples: &[Sample], window: Window) -> Option<f64> {
    let [first, .., last] = samples else { return None };
    let resets: f64 = samples
        .windows(2)
        .map(|pair| if pair[1].value < pair[0].value { pair[0].value } else { 0.0 })
        .sum();
    let increase = last.value - first.value + resets;
    let seconds = |ns: i64| ns as f64 / 1e9;
    let sampled_s = seconds(last.t_ns - first.t_ns);
    if sampled_s == 0.0 {
        return None;
    }
    let spacing_s = sampled_s / (samples.len() - 1) as f64;
    // Gaps not much larger than the usual spacing are taken for the counter's edges outside of the window.
    let reach = |gap_s: f64| if gap_s >= spacing_s * 1.1 { spacing_s / 2.0 } else { gap_s };
    let mut to_start_s = reach(seconds(first.t_ns - window.end_ns.saturating_sub(window.range_ns)));
    let to_end_s = reach(seconds(window.end_ns - last.t_ns));
    if increase > 0.0 && first.value >= 0.0 {
        // A counter cannot have been below zero.
        to_start_s = to_start_s.min(sampled_s * (first.value / increase));
    }
    let factor = (sampled_s + to_start_s + to_end_s) / sampled_s;
    Some(increase * factor / seconds(window.range_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: RangeOp, param: Option<f64>, samples: &[(i64, f64)], range_s: i64, expect: f64) {
        let samples: Vec<Sample> = samples
            .iter()
            .map(|(s, value)| Sample { t_ns: s * 1_000_000_000, value: *value })
            .collect();
        let end_ns = samples.last().unwrap().t_ns;
        let window = Window { end_ns, range_ns: range_s * 1_000_000_000 };
        let value = compute(op, param, &samples, window).unwrap();
        assert!((value - expect).abs() < 1e-12, "{op:?} gives {value}, not {expect}");
    }

    #[test]
    fn statistics() {
        let samples = [(10, 1.0), (20, 2.0), (30, 3.0), (40, 4.0), (50, 5.0)];
        check(RangeOp::Quantile, Some(0.25), &samples, 60, 2.0);
        check(RangeOp::Quantile, Some(0.9), &samples, 60, 4.6);
        check(RangeOp::StdVar, None, &samples, 60, 2.0);
        check(RangeOp::Rate, None, &samples, 60, 0.25);
        check(RangeOp::Min, None, &[(1, f64::NAN), (2, 7.0)], 60, 7.0);
    }

    #[test]
    fn counters_restart_and_reach_no_further_than_zero() {
        let reset = [(60, 60.0), (90, 90.0), (120, 30.0), (150, 60.0)];
        check(RangeOp::RateCounter, None, &reset, 120, 1.0);
        check(RangeOp::RateCounter, None, &[(180, 40.0), (210, 100.0)], 90, 1.0);
        check(RangeOp::RateCounter, None, &[(150, 600.0), (180, 660.0)], 90, 1.0);
    }
}

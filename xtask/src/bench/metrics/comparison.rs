//! The table of `bench metrics`: ours beside the peers, the ratios, what is aimed for and what physics allows.
//!
//! Does not own how anything is measured.

use crate::bench::table;

/// What a row aims for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Aim {
    None,
    AtMost(f64),
    AtLeast(f64),
    /// At least so many times VictoriaMetrics' figure.
    TimesVm(f64),
    /// At most this figure, and at most this part of VictoriaMetrics'.
    AtMostAndPartOfVm(f64, f64),
}

impl Aim {
    /// In words, with how far `ours` is from it.
    fn told(self, [ours, vm, _]: [f64; 3]) -> String {
        // Above 1: missed by this factor.
        let (text, missed) = match self {
            Self::None => return "-".to_owned(),
            Self::AtMost(bound) if ours <= bound => (format!("<= {}", short(bound)), 1.0),
            Self::AtMost(bound) => (format!("<= {}", short(bound)), ours / bound),
            Self::AtLeast(bound) => (format!(">= {}", short(bound)), bound / ours),
            Self::TimesVm(times) => (format!(">= {times} x VM"), times * vm / ours),
            Self::AtMostAndPartOfVm(bound, part) => {
                (format!("<= {}, <= VM/{part}", short(bound)), (ours / bound).max(ours * part / vm))
            }
        };
        match missed {
            m if m <= 1.0 => format!("{text}: met"),
            m if m.is_finite() => format!("{text}: missed {m:.2} x"),
            _ => text,
        }
    }
}

/// A column per server, the ratio of ours to each peer behind them, then aim and limit.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    rows: Vec<[String; 8]>,
}

impl Comparison {
    /// `values` in the order of [`KINDS`](super::servers::KINDS); what was not measured is NaN. `limit` is what no
    /// program can pass, in the unit of the row; an empty text where none is known.
    pub(super) fn row(&mut self, what: &str, values: [f64; 3], aim: Aim, limit: &str) {
        let [ours, vm, prometheus] = values;
        self.rows.push([
            what.to_owned(),
            short(ours),
            short(vm),
            short(prometheus),
            short(ours / vm),
            short(ours / prometheus),
            aim.told(values),
            if limit.is_empty() { "-".to_owned() } else { limit.to_owned() },
        ]);
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }

    pub(super) fn print(&self) {
        let head = [
            "measure",
            "taffrail",
            "victoria-metrics",
            "prometheus",
            "ours/VM",
            "ours/Prom",
            "aim",
            "limit",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.rows.iter().cloned());
        table(&rows);
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => "-".to_owned(),
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_say_by_how_much_they_are_missed() {
        let check = |aim: Aim, values, expected: &str| assert_eq!(aim.told(values), expected);
        check(Aim::AtMost(0.58), [0.5, 1.0, 2.0], "<= 0.5800: met");
        check(Aim::AtMost(0.0), [0.0, 1.0, 2.0], "<= 0: met");
        check(Aim::AtMost(30.0), [45.0, 1.0, 2.0], "<= 30.00: missed 1.50 x");
        check(Aim::AtLeast(8.0), [16.0, f64::NAN, f64::NAN], ">= 8.00: met");
        check(Aim::TimesVm(5.0), [2.0, 1.0, 1.0], ">= 5 x VM: missed 2.50 x");
        check(Aim::TimesVm(5.0), [2.0, f64::NAN, 1.0], ">= 5 x VM");
        let both = Aim::AtMostAndPartOfVm(30.0, 8.0);
        check(both, [30.0, 240.0, 1.0], "<= 30.00, <= VM/8: met");
        check(both, [20.0, 80.0, 1.0], "<= 30.00, <= VM/8: missed 2.00 x");
    }
}

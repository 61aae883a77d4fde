//! Histograms as text.

use std::fmt::Write as _;

use model::Histogram;

/// `{count:3, sum:5, [-2,-1):1, (1,2]:2}`: what `count_values` labels a histogram with.
pub fn describe(h: &Histogram) -> String {
    let mut out = format!("{{count:{}, sum:{}", format_general(h.count), format_general(h.sum));
    for b in h.buckets().iter().filter(|b| b.count != 0.0) {
        let _infallible = write!(
            out,
            ", {}{},{}{}:{}",
            if b.lower_inclusive { '[' } else { '(' },
            format_general(b.lower),
            format_general(b.upper),
            if b.upper_inclusive { ']' } else { ')' },
            format_general(b.count)
        );
    }
    out.push('}');
    out
}

/// A float as Go's shortest `'g'` format: with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn format_general(value: f64) -> String {
    if value == 0.0 || !value.is_finite() || (1e-4..1e6).contains(&value.abs()) {
        return crate::syntax::format_float(value);
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

//! Orders of instant vectors: by value, by labels.

use std::cmp::Ordering;

use super::Row;
use super::aggregate::nan_last;

/// Sorts by the number at the only step, NaN last. Histograms have no order: none of them stays.
pub(crate) fn by_value(rows: &mut Vec<Row>, descending: bool) {
    for row in rows.iter_mut() {
        row.histograms = None;
    }
    rows.retain(Row::any);
    let value = |row: &Row| row.values.first().copied().unwrap_or(f64::NAN);
    rows.sort_by(|a, b| {
        let (a, b) = (value(a), value(b));
        if descending && !a.is_nan() && !b.is_nan() { nan_last(b, a) } else { nan_last(a, b) }
    });
}

/// Sorts by the values of `names` in natural order (`a2` before `a10`), then by all labels.
pub(crate) fn by_labels(rows: &mut [Row], names: &[String], descending: bool) {
    rows.sort_by(|a, b| {
        let of = |row: &Row, name: &str| row.labels.get(name).unwrap_or("").to_owned();
        let ordering = names
            .iter()
            .map(|name| natural(&of(a, name), &of(b, name)))
            .find(|o| o.is_ne())
            .unwrap_or_else(|| a.labels.cmp(&b.labels));
        if descending { ordering.reverse() } else { ordering }
    });
}

/// Compares with runs of digits as numbers.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) else {
            return a.len().cmp(&b.len());
        };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (run_a, rest_a) = digits(a);
            let (run_b, rest_b) = digits(b);
            let (short_a, short_b) = (run_a.trim_start_matches('0'), run_b.trim_start_matches('0'));
            let ordering = short_a
                .len()
                .cmp(&short_b.len())
                .then_with(|| short_a.cmp(short_b))
                .then_with(|| run_a.len().cmp(&run_b.len()));
            if ordering.is_ne() {
                return ordering;
            }
            (a, b) = (rest_a, rest_b);
        } else if x == y {
            a = a.split_at(x.len_utf8()).1;
            b = b.split_at(y.len_utf8()).1;
        } else {
            return x.cmp(&y);
        }
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

//! Whether two histograms are the same, and whether one of them started anew.

use model::histogram::upper_bound;
use model::{Histogram, ResetHint};

use super::Total;

/// Whether both hold the same observations in the same buckets; NaN equals NaN, empty buckets do not count.
pub(crate) fn equal(a: &Histogram, b: &Histogram) -> bool {
    let same = |a: f64, b: f64| a == b || a.to_bits() == b.to_bits();
    let same_side = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
    };
    let numbers = [
        (a.zero_threshold, b.zero_threshold),
        (a.zero_count, b.zero_count),
        (a.count, b.count),
        (a.sum, b.sum),
    ];
    if a.schema != b.schema
        || a.custom_bounds != b.custom_bounds
        || numbers.iter().any(|(a, b)| !same(*a, *b))
    {
        return false;
    }
    let (a, b) = (Total::new(a).populated(), Total::new(b).populated());
    same_side(&a[0], &b[0]) && same_side(&a[1], &b[1])
}

/// Whether the counter started anew between `previous` and `current`: some count fell. A hint decides before any count.
pub(crate) fn is_reset(current: &Histogram, previous: &Histogram) -> bool {
    match current.hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if current.count < previous.count {
        return true;
    }
    if same_layout(current, previous) {
        return current.zero_count < previous.zero_count
            || fell(&current.positive, &previous.positive)
            || fell(&current.negative, &previous.negative);
    }
    if current.has_custom_bounds() != previous.has_custom_bounds() {
        return true;
    }
    let (mut now, mut before) = (Total::new(current), Total::new(previous));
    if current.has_custom_bounds() {
        now.align(&mut before);
    } else {
        // Nobody makes buckets finer or the zero bucket smaller without starting anew.
        if current.schema > previous.schema || current.zero_threshold < previous.zero_threshold {
            return true;
        }
        before.widen_zero_bucket(current.zero_threshold);
        if before.zero_threshold() != current.zero_threshold
            || current.zero_count < before.zero_count()
        {
            return true;
        }
        before.reduce(current.schema);
    }
    let outside = |index: i32| {
        current.has_custom_bounds()
            || upper_bound(index, current.schema, &[]) > current.zero_threshold
    };
    before.populated().iter().zip(now.populated()).any(|(before, now)| {
        before.iter().filter(|(index, _)| outside(*index)).any(|(index, count)| {
            let found = now.binary_search_by_key(index, |(index, _)| *index);
            found.map_or(0.0, |at| now[at].1) < *count
        })
    })
}

fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    a.schema == b.schema
        && a.zero_threshold == b.zero_threshold
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.custom_bounds == b.custom_bounds
}

fn fell(now: &[f64], before: &[f64]) -> bool {
    now.iter().zip(before).any(|(now, before)| now < before)
}

#[cfg(test)]
mod tests {
    use crate::promql::testing::parse_histogram;

    fn check(before: &str, now: &str, expected: bool) {
        let [before, now] = [before, now].map(|text| parse_histogram(text).unwrap());
        assert_eq!(super::is_reset(&now, &before), expected, "{before:?} to {now:?}");
    }

    #[test]
    fn resets_are_seen_in_any_count() {
        check("{{count:4 buckets:[1 2 1]}}", "{{count:5 buckets:[1 2 2]}}", false);
        check("{{count:4 buckets:[1 2 1]}}", "{{count:5 buckets:[1 1 3]}}", true);
        check("{{count:4 buckets:[4]}}", "{{count:3 buckets:[4]}}", true);
        check("{{count:4 buckets:[0 4]}}", "{{count:4 offset:1 buckets:[4]}}", false);
        check("{{count:4 buckets:[1 3]}}", "{{count:4 offset:1 buckets:[4]}}", true);
        check("{{count:1 schema:1 buckets:[1]}}", "{{count:1 buckets:[1]}}", false);
        check("{{count:1 buckets:[1]}}", "{{count:1 schema:1 buckets:[1]}}", true);
        check("{{count:1 z_bucket_w:1}}", "{{count:1 z_bucket_w:0.5}}", true);
        check("{{count:1 buckets:[1]}}", "{{count:1 z_bucket:1 z_bucket_w:1}}", false);
        check("{{count:1 buckets:[1]}}", "{{count:1 z_bucket:1 z_bucket_w:0.75}}", true);
        check("{{count:3}}", "{{count:1 counter_reset_hint:not_reset}}", false);
        check("{{count:1}}", "{{count:3 counter_reset_hint:reset}}", true);
        let custom = |bounds: &str, counts: &str| {
            format!("{{{{schema:-53 count:9 custom_values:[{bounds}] buckets:[{counts}]}}}}")
        };
        check(&custom("2 4", "1 2 3"), &custom("2", "1 5"), false);
        check(&custom("2 4", "1 2 3"), &custom("2 5", "0 6"), true);
        check(&custom("2 4", "1 2 3"), "{{count:9 buckets:[9]}}", true);
    }
}

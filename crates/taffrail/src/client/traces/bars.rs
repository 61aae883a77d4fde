//! Bars of characters: a span within its trace, and a series over time.

/// Heights of a graph's bars; the highest value fills a line.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A span where the trace waited for it, and where it did not.
const CRITICAL: char = '█';
const OTHER: char = '░';

/// Values beside each other, in `columns` at most: the highest of those that share one. Zeros and what is no number are
/// gaps.
pub(super) fn graph(values: &[f64], columns: usize) -> String {
    let columns = columns.min(values.len());
    let mut shown = vec![0.0_f64; columns];
    for (i, value) in values.iter().enumerate() {
        let column = &mut shown[i * columns / values.len()];
        *column = column.max(*value);
    }
    let highest = shown.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    let bar = |value: &f64| match (*value * HEIGHTS.len() as f64 / highest).ceil() {
        height if height >= 1.0 => HEIGHTS[(height as usize - 1).min(HEIGHTS.len() - 1)],
        _ => ' ',
    };
    shown.iter().map(bar).collect::<String>().trim_end().to_owned()
}

/// Where things lie in a trace: `[start, start + length)` in nanoseconds since its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) start_ns: u64,
    pub(super) length_ns: u64,
}

/// A span's bar, at least one column long, in a line of `columns` that are `whole_ns` together.
pub(super) fn bar(span: Stretch, critical: &[Stretch], whole_ns: u64, columns: usize) -> String {
    let column = |ns: u64| {
        let at = u128::from(ns) * columns as u128 / u128::from(whole_ns.max(1));
        usize::try_from(at).unwrap_or(columns).min(columns)
    };
    let place = |of: &Stretch| {
        let start = column(of.start_ns).min(columns.saturating_sub(1));
        let end = column(of.start_ns.saturating_add(of.length_ns));
        start..end.max(start + 1)
    };
    let own = place(&span);
    let mut cells = vec![' '; own.end];
    cells[own.clone()].fill(OTHER);
    for part in critical {
        let part = place(part);
        cells[part.start.clamp(own.start, own.end)..part.end.clamp(own.start, own.end)]
            .fill(CRITICAL);
    }
    cells.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_lie_where_they_were() {
        let check = |span: (u64, u64), critical: &[(u64, u64)], whole: u64, expected: &str| {
            let stretch = |of: &(u64, u64)| Stretch { start_ns: of.0, length_ns: of.1 };
            let critical: Vec<Stretch> = critical.iter().map(stretch).collect();
            assert_eq!(bar(stretch(&span), &critical, whole, 10), expected, "{span:?}");
        };
        check((0, 100), &[(0, 20), (90, 10)], 100, "██░░░░░░░█");
        check((50, 20), &[], 100, "     ░░");
        check((50, 0), &[], 100, "     ░");
        check((100, 0), &[], 100, "         ░");
        check((0, 0), &[], 0, "░");
        check((7, u64::MAX), &[(0, u64::MAX)], u64::MAX, "██████████");
    }

    #[test]
    fn series_fill_the_line_with_their_highest_value() {
        let check = |values: &[f64], expected: &str| assert_eq!(graph(values, 4), expected);
        check(&[], "");
        check(&[0.0, 0.0], "");
        check(&[1.0, 4.0, f64::NAN, 8.0], "▁▄ █");
        check(&[1.0, 8.0, 0.0, 0.0, 0.0, 0.0, 4.0, 0.0], "█  ▄");
        check(&[1.0], "█");
    }
}

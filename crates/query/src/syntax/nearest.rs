//! The name someone may have meant.

/// Longer names are no misspelt ones.
const NAME_BYTES_MAX: usize = 64;

/// The candidate that differs least from `name`, if it differs in at most a third of its letters. Case does not count.
pub(crate) fn nearest<'c>(
    name: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let bound = name.chars().count().min(15) / 3;
    candidates
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters have to be put in, left out, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_found_and_far_ones_not() {
        let names = ["rate", "irate", "increase", "histogram_quantile"];
        let find = |name| nearest(name, names.into_iter());
        assert_eq!(find("raet"), Some("rate"));
        assert_eq!(find("Rate"), Some("rate"));
        assert_eq!(find("incraese"), Some("increase"));
        assert_eq!(find("histogram_quantil"), Some("histogram_quantile"));
        assert_eq!((find("nope"), find("x"), find("")), (None, None, None));
    }
}

//! What the start times of two neighbouring samples say. Unix milliseconds, 0 where unknown.

/// A sample's start and its own time.
pub(super) type Stamps = (i64, i64);

/// Whether the counter started anew between `before` and `now`.
pub(super) fn is_reset(before: Stamps, now: Stamps) -> bool {
    let ((start_before, t_before), (start, t_ms)) = (before, now);
    // Without a start, or counting from its own time or later, a sample says nothing.
    if start == 0 || start >= t_ms {
        return false;
    }
    if start != t_before {
        return start > t_before;
    }
    // It counts from the sample before it: it holds a difference, unless that one did not know its start either, which
    // is how a sum of unknown start begins.
    start_before != 0 && start_before < t_before
}

/// Whether `now` says that it counts since before the sample `before`, but not since when that one does.
pub(super) fn overlaps(before: Stamps, start: i64) -> bool {
    start != 0 && start < before.1 && start != before.0
}

/// The start of a window's first sample, where it can stand for a sample of zero: inside the window, before the first.
pub(super) fn usable(start: Option<i64>, from_ms: i64, first_ms: i64) -> Option<i64> {
    start.filter(|start| *start != 0 && *start > from_ms && *start < first_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_tell_resets() {
        assert!(!is_reset((0, 60), (0, 120)) && !is_reset((30, 60), (30, 120)));
        assert!(is_reset((30, 60), (90, 120)) && is_reset((30, 60), (60, 120)));
        // Of unknown start, of an invalid start, from its own time.
        assert!(!is_reset((0, 60), (60, 120)) && !is_reset((60, 60), (60, 120)));
        assert!(!is_reset((90, 60), (60, 120)) && !is_reset((30, 60), (120, 120)));
        assert!(overlaps((20, 60), 30) && !overlaps((30, 60), 30) && !overlaps((30, 60), 60));
        assert_eq!(usable(Some(30), 20, 60), Some(30));
        assert_eq!(usable(Some(20), 20, 60).or(usable(Some(60), 20, 60)), None);
    }
}

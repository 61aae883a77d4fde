//! Texts cut to what a service takes, with a mark where something is missing.

const MARK: &str = "…";

/// `text` in at most `max` characters.
pub(super) fn chars(text: &str, max: usize) -> String {
    let end_of = |count: usize| text.char_indices().nth(count).map(|(at, _)| at);
    if end_of(max).is_none() {
        return text.to_owned();
    }
    // No mark where it would be most of what is left.
    let (kept, mark) = if max <= 3 { (max, "") } else { (max - 1, MARK) };
    let kept = end_of(kept).and_then(|end| text.get(..end)).unwrap_or("");
    format!("{kept}{mark}")
}

/// `text` in at most `max` bytes, which are more than three.
pub(super) fn bytes(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max.saturating_sub(MARK.len()));
    format!("{}{MARK}", text.get(..end).unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &str, expected: &str) {
        assert_eq!(found, expected);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        check(&chars("aäb", 3), "aäb");
        check(&chars("aäbc", 3), "aäb");
        check(&chars("aäbcd", 4), "aäb…");
        check(&chars("", 0), "");
        check(&bytes("aäbcd", 6), "aäbcd");
        check(&bytes("aäbcde", 6), "aä…");
        check(&bytes("äääää", 6), "ä…");
    }
}

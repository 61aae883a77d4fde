//! Texts in quotes, also inside other texts in quotes: `"x"`, `\"x\"` in JSON, `\\\"x\\\"` in JSON inside JSON.

/// Texts inside each other so far are told apart.
const DEPTH_MAX: u32 = 4;

/// A quotation mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quote {
    /// `"` or `'`.
    pub(super) byte: u8,
    /// How many texts it stands in.
    depth: u32,
}

impl Quote {
    /// That of JSON.
    pub(super) const JSON: Self = Self { byte: b'"', depth: 0 };

    /// Backslashes before it.
    fn escapes(self) -> usize {
        (1 << self.depth) - 1
    }

    /// It as it is written.
    pub(super) fn put(self, out: &mut String) {
        out.extend(std::iter::repeat_n('\\', self.escapes()));
        out.push(char::from(self.byte));
    }

    /// What of a quotation mark behind `backslashes` ends a text that began with this one: so many of them belong to what
    /// ends it. `None` when the mark is part of the text.
    fn ends_at(self, backslashes: usize) -> Option<usize> {
        let mut left = backslashes;
        for depth in 0..=self.depth {
            // An even number stands for half as many, and the mark ends the text around.
            if left.is_multiple_of(2) {
                return Some((1 << depth) - 1);
            }
            left /= 2;
        }
        None
    }
}

/// Behind a quotation mark at `at`, if there is one.
pub(super) fn skip_quote(line: &[u8], at: usize) -> (usize, Option<Quote>) {
    let escapes_max = (1_usize << DEPTH_MAX) - 1;
    let rest = line.get(at..).unwrap_or_default();
    let escapes = rest.iter().take(escapes_max + 1).take_while(|b| **b == b'\\').count();
    match rest.get(escapes) {
        Some(byte @ (b'"' | b'\''))
            if (escapes + 1).is_power_of_two() && escapes <= escapes_max =>
        {
            let depth = (escapes + 1).trailing_zeros();
            (at + escapes + 1, Some(Quote { byte: *byte, depth }))
        }
        _ => (at, None),
    }
}

/// Where a text in quotes ends; the end of the line when it is not closed. `it''s` is one text, as in SQL.
pub(super) fn closing(line: &[u8], from: usize, quote: Quote) -> usize {
    let mut backslashes = 0;
    let mut at = from;
    while let Some(byte) = line.get(at) {
        if *byte == b'\\' {
            backslashes += 1;
        } else if *byte == quote.byte
            && let Some(own) = quote.ends_at(backslashes)
        {
            let is_doubled = *byte == b'\'' && at > from && line.get(at + 1) == Some(&b'\'');
            if !is_doubled {
                return at - own.min(backslashes);
            }
            at += 1;
            backslashes = 0;
        } else {
            backslashes = 0;
        }
        at += 1;
    }
    line.len()
}

//! What a text is searched for: bytes anywhere in it, at its beginning, at its end, or all of it.
//!
//! Owns: comparing a needle with one text, and finding it in a long one. Does not own: what texts there are (`column`).

use std::borrow::Cow;

use memchr::memmem::Finder;

/// Bytes that a text must have, as they are or in either case of their ASCII letters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Needle {
    /// In lower case when `fold` is set.
    text: Box<[u8]>,
    /// The text must begin with it.
    pub(crate) start: bool,
    /// The text must end with it.
    pub(crate) end: bool,
    fold: bool,
}

impl Needle {
    /// A text that contains `text`.
    pub(crate) fn contains(text: &[u8]) -> Self {
        Self { text: text.into(), start: false, end: false, fold: false }
    }

    /// A text that contains `text`, whatever the case of its ASCII letters.
    pub(crate) fn contains_folded(text: &[u8]) -> Self {
        let fold = text.iter().any(u8::is_ascii_alphabetic);
        Self { text: text.to_ascii_lowercase().into(), start: false, end: false, fold }
    }

    /// A text that is `text`.
    pub(crate) fn equals(text: &[u8]) -> Self {
        Self { start: true, end: true, ..Self::contains(text) }
    }

    /// A piece of it, with ends of its own.
    pub(crate) fn piece(&self, text: &[u8], start: bool, end: bool) -> Self {
        Self { text: text.into(), start, end, fold: self.fold }
    }

    /// The bytes; in lower case when cases do not count.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether cases do not count.
    pub(crate) fn is_folded(&self) -> bool {
        self.fold
    }

    /// Whether every text has it.
    pub(crate) fn is_trivial(&self) -> bool {
        self.text.is_empty() && !(self.start && self.end)
    }

    /// Whether `a`, which is part of a text, is the same as `b`, which is part of the needle.
    #[inline]
    pub(crate) fn same(&self, a: &[u8], b: &[u8]) -> bool {
        if self.fold { a.eq_ignore_ascii_case(b) } else { a == b }
    }

    /// Whether all bytes of the needle are ones that `is_known`; for letters in either case, when cases do not count.
    pub(crate) fn is_spelled_with(&self, is_known: impl Fn(u8) -> bool) -> bool {
        self.text.iter().all(|b| is_known(*b) || (self.fold && is_known(b.to_ascii_uppercase())))
    }

    /// Whether `value` has it.
    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        let len = self.text.len();
        match (self.start, self.end) {
            (true, true) => self.same(value, &self.text),
            (true, false) => value.get(..len).is_some_and(|v| self.same(v, &self.text)),
            (false, true) => {
                let start = value.len().checked_sub(len);
                start.is_some_and(|start| self.same(&value[start..], &self.text))
            }
            (false, false) => self.finder().find(value).is_some(),
        }
    }

    /// Finds its bytes, wherever they are.
    pub(crate) fn finder(&self) -> Search<'_> {
        if self.fold { Search::Folded(Folded::new(&self.text)) } else { Search::exact(&self.text) }
    }
}

/// A search prepared for many texts.
#[derive(Debug)]
pub(crate) enum Search<'n> {
    Exact(Box<Finder<'n>>),
    Folded(Folded<'n>),
}

impl<'n> Search<'n> {
    /// A search for `text` as it is.
    pub(crate) fn exact(text: &'n [u8]) -> Self {
        Self::Exact(Box::new(Finder::new(text)))
    }

    /// The same, for itself.
    pub(crate) fn into_owned(self) -> Search<'static> {
        match self {
            Self::Exact(finder) => Search::Exact(Box::new(finder.into_owned())),
            Self::Folded(folded) => {
                let text = Cow::Owned(folded.text.into_owned());
                Search::Folded(Folded { text, ..folded })
            }
        }
    }

    /// Where the needle is first.
    pub(crate) fn find(&self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Exact(finder) => finder.find(text),
            Self::Folded(folded) => folded.find(text),
        }
    }
}

/// A search in which cases do not count: for the rarest byte, then for what is around it.
#[derive(Debug)]
pub(crate) struct Folded<'n> {
    text: Cow<'n, [u8]>,
    /// Where in `text` the rarest byte is.
    at: usize,
    lower: u8,
    upper: u8,
}

impl<'n> Folded<'n> {
    fn new(text: &'n [u8]) -> Self {
        let at = (0..text.len()).min_by_key(|i| commonness(text[*i])).unwrap_or(0);
        let lower = text.get(at).copied().unwrap_or(0);
        Self { text: Cow::Borrowed(text), at, lower, upper: lower.to_ascii_uppercase() }
    }

    fn find(&self, text: &[u8]) -> Option<usize> {
        let last = text.len().checked_sub(self.text.len())?;
        if self.text.is_empty() {
            return Some(0);
        }
        let mut from = 0;
        while from <= last {
            let window = &text[from + self.at..=last + self.at];
            let hit = if self.lower == self.upper {
                memchr::memchr(self.lower, window)
            } else {
                memchr::memchr2(self.lower, self.upper, window)
            };
            from += hit?;
            if text[from..from + self.text.len()].eq_ignore_ascii_case(&self.text) {
                return Some(from);
            }
            from += 1;
        }
        None
    }
}

/// How common a byte is in log lines, roughly: what is in no list is rarest, then letters from rare to common.
fn commonness(b: u8) -> usize {
    const RISING: &[u8] = b"qzxjkvwybgfphmucdlnrsoitae0123456789\"=:./- ";
    RISING.iter().position(|x| *x == b).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_cases() {
        let check = |needle: &Needle, value: &str, expect: bool| {
            assert_eq!(needle.matches(value.as_bytes()), expect, "{needle:?} in {value:?}");
        };
        check(&Needle::contains(b"b"), "abc", true);
        check(&Needle::contains(b"B"), "abc", false);
        check(&Needle::contains_folded(b"BC"), "aBcd", true);
        check(&Needle::contains_folded(b"eRRor=1"), "an ERROR=1", true);
        check(&Needle::contains_folded(b"eRRor=1"), "an ERROR=", false);
        check(&Needle::contains_folded(b""), "", true);
        let n = Needle::contains(b"ab");
        check(&n.piece(b"ab", true, false), "abc", true);
        check(&n.piece(b"ab", true, false), "cab", false);
        check(&n.piece(b"ab", false, true), "cab", true);
        check(&n.piece(b"ab", true, true), "ab", true);
        check(&n.piece(b"ab", true, true), "abab", false);
        check(&n.piece(b"", true, true), "a", false);
    }
}

//! Reading JSON (RFC 8259) where it stands: one pass, token by token, for bodies too large and too many for a tree.
//!
//! Owns: tokens, texts and their escapes, skipping what is not wanted, and errors that name line and column. Nothing is
//! kept, nothing is allocated but texts that have escapes. Does not own: what members mean; decoders ask for what they
//! expect. Texts are bytes: whether they are UTF-8 is looked at by who wants a `str`.
//!
//! Bounds: values nest [`DEPTH_MAX`] deep, a text is never longer than what stands there.

#[cfg(test)]
mod tests;
mod text;
mod write;

use std::borrow::Cow;

use fearless_simd::Level;
use model::{Error, Result};

pub(crate) use write::{Writer, quote};

/// Lists and objects inside of each other at most.
pub(crate) const DEPTH_MAX: usize = 128;

/// A place in a body of JSON.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    level: Level,
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, level: Level::new() }
    }

    /// A reader of the same body at another place, such as one that [`place`](Self::place) told.
    pub(crate) fn at(&self, at: usize) -> Self {
        Self { at, ..self.clone() }
    }

    /// Where the next value begins.
    pub(crate) fn place(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// The first byte of the next token, `None` at the end.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Goes past `byte` if it is the next token.
    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// Goes past `null` if it is the next token.
    pub(crate) fn null(&mut self) -> bool {
        let is_null =
            self.peek() == Some(b'n') && self.bytes.get(self.at..self.at + 4) == Some(b"null");
        self.at += if is_null { 4 } else { 0 };
        is_null
    }

    /// The end, behind the only value.
    ///
    /// # Errors
    /// When something follows.
    pub(crate) fn end(&mut self) -> Result<()> {
        if self.peek().is_some() { Err(self.error("trailing characters")) } else { Ok(()) }
    }

    /// Begins an object.
    ///
    /// # Errors
    /// When something else is there; `what` says what was expected.
    pub(crate) fn object(&mut self, what: &str) -> Result<Members> {
        if self.eat(b'{') { Ok(Members { is_first: true }) } else { Err(self.expected(what)) }
    }

    /// Begins a list.
    ///
    /// # Errors
    /// As [`object`](Self::object).
    pub(crate) fn list(&mut self, what: &str) -> Result<Items> {
        if self.eat(b'[') { Ok(Items { is_first: true }) } else { Err(self.expected(what)) }
    }

    /// A text: what stands there, or a copy when it has escapes.
    ///
    /// # Errors
    /// When something else is there, for escapes that are none, for control characters, and at the end of the body.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, [u8]>> {
        let mut copy = Vec::new();
        let start = self.begin_text()?;
        if let Some(plain) = self.plain_text(start, &mut copy)? {
            return Ok(Cow::Borrowed(plain));
        }
        Ok(Cow::Owned(copy))
    }

    /// [`text`](Self::text) with its copy, if there must be one, in `copy`.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub(crate) fn text_in<'c>(&mut self, copy: &'c mut Vec<u8>) -> Result<&'c [u8]>
    where
        'a: 'c,
    {
        let start = self.begin_text()?;
        Ok(match self.plain_text(start, copy)? {
            Some(plain) => plain,
            None => copy,
        })
    }

    /// [`text`](Self::text) that must be UTF-8.
    ///
    /// # Errors
    /// As [`text`](Self::text), and when it is not.
    pub(crate) fn utf8(&mut self) -> Result<Cow<'a, str>> {
        let start = self.place();
        let invalid = |_| self.at(start).error("a text is not UTF-8");
        let mut after = self.clone();
        let text = match after.text()? {
            Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).map_err(invalid)?),
            Cow::Owned(bytes) => {
                Cow::Owned(String::from_utf8(bytes).map_err(|e| invalid(e.utf8_error()))?)
            }
        };
        *self = after;
        Ok(text)
    }

    fn begin_text(&mut self) -> Result<usize> {
        if !self.eat(b'"') {
            return Err(self.expected("a string"));
        }
        Ok(self.at)
    }

    /// The text that begins at `start` if it has no escapes; otherwise it is in `copy`.
    fn plain_text(&mut self, start: usize, copy: &mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        let end = text::plain_end(self.level, self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(self.bytes.get(start..end));
        }
        copy.clear();
        copy.extend_from_slice(self.bytes.get(start..end).unwrap_or_default());
        match text::unescape(self.level, self.bytes, end, copy) {
            Ok(end) => {
                self.at = end + 1;
                Ok(None)
            }
            Err((at, why)) => {
                self.at = at;
                Err(self.error(why))
            }
        }
    }

    /// A number, `true`, `false` or `null` as it is written.
    ///
    /// # Errors
    /// When something else is there.
    pub(crate) fn bare(&mut self) -> Result<&'a str> {
        self.peek();
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_bare = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
        let word = rest.iter().take_while(is_bare).count();
        let word = rest.get(..word).and_then(|word| std::str::from_utf8(word).ok());
        match word {
            Some(word) if matches!(word, "true" | "false" | "null") || is_number(word) => {
                self.at += word.len();
                Ok(word)
            }
            _ => Err(self.error(if rest.is_empty() { ENDS } else { "expected a value" })),
        }
    }

    /// Goes past a value of any kind and gives it as it is written.
    ///
    /// # Errors
    /// When it is not JSON, or nests too deep.
    pub(crate) fn skip(&mut self) -> Result<&'a [u8]> {
        let start = self.place();
        // What is open, innermost last: a bit each, set for objects.
        let (mut open, mut depth) = (0_u128, 0);
        let mut copy = Vec::new();
        loop {
            // A value.
            match self.peek() {
                Some(b'"') => drop(self.text_in(&mut copy)?),
                Some(bracket @ (b'{' | b'[')) => {
                    if depth == DEPTH_MAX {
                        let why = format!("values nest more than {DEPTH_MAX} deep");
                        return Err(self.error(&why));
                    }
                    self.at += 1;
                    let is_object = bracket == b'{';
                    if !self.eat(if is_object { b'}' } else { b']' }) {
                        (open, depth) = (open << 1 | u128::from(is_object), depth + 1);
                        if is_object {
                            self.key_in(&mut copy)?;
                        }
                        continue;
                    }
                }
                _ => drop(self.bare()?),
            }
            // What stands behind it.
            loop {
                if depth == 0 {
                    return Ok(self.bytes.get(start..self.at).unwrap_or_default());
                }
                let is_object = open & 1 == 1;
                if self.eat(b',') {
                    if is_object {
                        self.key_in(&mut copy)?;
                    }
                    break;
                }
                if !self.eat(if is_object { b'}' } else { b']' }) {
                    return Err(self.expected(if is_object { "`,` or `}`" } else { "`,` or `]`" }));
                }
                (open, depth) = (open >> 1, depth - 1);
            }
        }
    }

    fn key_in(&mut self, copy: &mut Vec<u8>) -> Result<()> {
        self.text_in(copy)?;
        self.colon()
    }

    fn colon(&mut self) -> Result<()> {
        if self.eat(b':') { Ok(()) } else { Err(self.expected("`:`")) }
    }

    fn expected(&mut self, what: &str) -> Error {
        match self.peek() {
            Some(_) => self.error(&format!("expected {what}")),
            None => self.error(ENDS),
        }
    }

    /// `message` and the place.
    pub(crate) fn error(&self, message: &str) -> Error {
        let before = self.bytes.get(..self.at).unwrap_or(self.bytes);
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        Error::invalid(format!("{message} at line {line} column {column}"))
    }
}

const ENDS: &str = "body ends inside of a value";

/// Members of an object that is being read.
#[derive(Debug)]
pub(crate) struct Members {
    is_first: bool,
}

impl Members {
    /// The next member's name; its value is to be read next. `None` behind the last.
    ///
    /// # Errors
    /// When there is neither a member nor the end.
    pub(crate) fn next<'a>(&mut self, reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>> {
        if reader.eat(b'}') {
            return Ok(None);
        }
        if !std::mem::take(&mut self.is_first) && !reader.eat(b',') {
            return Err(reader.expected("`,` or `}`"));
        }
        let name = reader.utf8()?;
        reader.colon()?;
        Ok(Some(name))
    }
}

/// Items of a list that is being read.
#[derive(Debug)]
pub(crate) struct Items {
    is_first: bool,
}

impl Items {
    /// Whether there is another item, which is to be read next.
    ///
    /// # Errors
    /// When there is neither an item nor the end.
    pub(crate) fn next(&mut self, reader: &mut Reader<'_>) -> Result<bool> {
        let is_first = std::mem::take(&mut self.is_first);
        if reader.eat(b']') {
            return Ok(false);
        }
        if !is_first && !reader.eat(b',') {
            return Err(reader.expected("`,` or `]`"));
        }
        Ok(true)
    }
}

/// Whether `word` is a number as JSON writes it.
fn is_number(word: &str) -> bool {
    let digits =
        |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let text = word.strip_prefix('-').unwrap_or(word);
    let whole = digits(text);
    let (whole_part, mut rest) = text.split_at(whole);
    if whole == 0 || (whole > 1 && whole_part.starts_with('0')) {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let count = digits(exponent);
        return count > 0 && count == exponent.len();
    }
    rest.is_empty()
}

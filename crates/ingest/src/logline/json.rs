//! A skimming reader of one JSON object: keys of interest at its top, and in the objects `log`, `trace` and `span`.

use memchr::memchr2;

use super::{Field, Found, field_of_key};

/// Deepest nesting that is skipped over; deeper lines are taken for plain text.
const DEPTH_MAX: usize = 64;

/// Reads the object in `head` into `found`; false when it is not JSON. When the line was `cut`, its end may be missing.
pub(super) fn scan<'a>(head: &'a [u8], cut: bool, found: &mut Found<'a>) -> bool {
    let mut skimmer = Skimmer { bytes: head, at: 0 };
    match skimmer.object("", 0, found) {
        // What stands behind the object (a second one, a comment) does not matter.
        Some(()) => true,
        None => cut && skimmer.at >= head.len(),
    }
}

struct Skimmer<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Skimmer<'a> {
    /// An object; `None` on a syntax error or at the end of the bytes, where `at` then is.
    fn object(&mut self, parent: &str, depth: usize, found: &mut Found<'a>) -> Option<()> {
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.peek()?;
            let key = self.string()?;
            self.expect(b':')?;
            self.member(key, parent, depth, found)?;
            if found.is_enough() {
                return Some(());
            }
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    fn member(
        &mut self,
        key: &[u8],
        parent: &str,
        depth: usize,
        found: &mut Found<'a>,
    ) -> Option<()> {
        let field = field_in(parent, key);
        match self.peek()? {
            b'"' => {
                let value = self.string()?;
                if let Some(field) = field {
                    found.text(field, value);
                }
            }
            b'{' if depth == 0 && parent.is_empty() => {
                let inside = match key {
                    b"log" => "log",
                    b"trace" => "trace",
                    b"span" => "span",
                    _ => return self.skip_nested(),
                };
                self.object(inside, depth + 1, found)?;
            }
            b'{' | b'[' => self.skip_nested()?,
            _ => {
                let value = self.bare()?;
                if let Some(field) = field {
                    found.number(field, value);
                }
            }
        }
        Some(())
    }

    /// Skips an object or list with all it holds.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let byte = *self.bytes.get(self.at)?;
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
            if depth > DEPTH_MAX {
                return None;
            }
        }
    }

    /// Contents of the string here, escapes as written.
    fn string(&mut self) -> Option<&'a [u8]> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let start = self.at + 1;
        let mut from = start;
        loop {
            let Some(found) = self.bytes.get(from..).and_then(|rest| memchr2(b'"', b'\\', rest))
            else {
                self.at = self.bytes.len();
                return None;
            };
            from += found;
            if self.bytes[from] == b'"' {
                self.at = from + 1;
                return self.bytes.get(start..from);
            }
            from += 2;
        }
    }

    /// A number, `true`, `false` or `null`.
    fn bare(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        while self
            .bytes
            .get(self.at)
            .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        {
            self.at += 1;
        }
        self.bytes.get(start..self.at).filter(|value| !value.is_empty())
    }

    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }
}

fn field_in(parent: &str, key: &[u8]) -> Option<Field> {
    match (parent, key) {
        ("", _) => field_of_key(key),
        ("log", b"level") => Some(Field::Level),
        ("trace", b"id") => Some(Field::TraceId),
        ("span", b"id") => Some(Field::SpanId),
        _ => None,
    }
}

//! The `logfmt` stage: `key=value key="quoted value"`.

use std::borrow::Cow;

use super::row::{RowLabels, sanitize_name};

/// `__error__` of this stage.
const ERROR_KIND: &str = "LogfmtParserErr";

/// What the stage was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logfmt {
    /// `--strict`: the first malformed pair ends the row with an error instead of being skipped.
    pub(crate) strict: bool,
    /// `--keep-empty`: keys without value become labels too.
    pub(crate) keep_empty: bool,
    /// `label="key"` pairs; none means all keys.
    pub(crate) wanted: Vec<(String, String)>,
}

impl Logfmt {
    /// Extracts the pairs of `line`.
    pub(crate) fn extract(&self, line: &str, labels: &mut RowLabels<'_>) {
        let mut name = String::new();
        for pair in Pairs::new(line) {
            match pair {
                Ok((_, value)) if value.is_empty() && !self.keep_empty => {}
                Ok((key, value)) => self.take(key, &value, &mut name, labels),
                Err(details) if self.strict => {
                    labels.set_error(ERROR_KIND, details);
                    return;
                }
                Err(_) => {}
            }
        }
        for (label, _) in &self.wanted {
            if labels.get(label).is_none() {
                labels.extract(label, "");
            }
        }
    }

    fn take(&self, key: &str, value: &str, name: &mut String, labels: &mut RowLabels<'_>) {
        let value = if value.contains('\u{FFFD}') {
            Cow::Owned(value.replace('\u{FFFD}', " "))
        } else {
            Cow::Borrowed(value)
        };
        if !self.wanted.is_empty() {
            for (label, _) in self.wanted.iter().filter(|(_, k)| k == key) {
                labels.extract(label, &value);
            }
            return;
        }
        name.clear();
        sanitize_name(key, name, true);
        if !name.is_empty() {
            labels.extract(name, &value);
        }
    }
}

/// Splits a line into pairs; malformed ones come as errors, and reading goes on behind the next white space.
struct Pairs<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Pairs<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn is_blank(byte: u8) -> bool {
        byte <= b' '
    }

    /// Reads on to the first byte that ends a bare word.
    fn word(&mut self) -> &'t str {
        let start = self.at;
        while self.byte().is_some_and(|b| !Self::is_blank(b) && b != b'=' && b != b'"') {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or("")
    }

    fn fail<T>(&mut self, what: &str) -> Result<T, String> {
        let number = self.at + 1;
        while self.byte().is_some_and(|b| !Self::is_blank(b)) {
            self.at += 1;
        }
        Err(format!("logfmt syntax error at pos {number} : {what}"))
    }

    fn pair(&mut self) -> Result<(&'t str, Cow<'t, str>), String> {
        let key = self.word();
        match self.byte() {
            Some(b'"') => return self.fail("unexpected '\"'"),
            Some(b'=') if key.is_empty() => return self.fail("unexpected '='"),
            _ if key.contains('\u{FFFD}') => return self.fail("invalid key"),
            Some(b'=') => self.at += 1,
            _ => return Ok((key, Cow::Borrowed(""))),
        }
        if self.byte() == Some(b'"') {
            return self.quoted().map(|value| (key, value));
        }
        let value = self.word();
        match self.byte() {
            Some(b'=') => self.fail("unexpected '='"),
            Some(b'"') => self.fail("unexpected '\"'"),
            _ => Ok((key, Cow::Borrowed(value))),
        }
    }

    fn quoted(&mut self) -> Result<Cow<'t, str>, String> {
        let text = self.text;
        let bytes = text.as_bytes();
        let start = self.at + 1;
        let mut end = start;
        let mut has_escape = false;
        loop {
            let skipped = bytes.get(end..).and_then(|b| memchr::memchr2(b'"', b'\\', b));
            let Some(skipped) = skipped else {
                self.at = bytes.len();
                return self.fail("unterminated quoted value");
            };
            end += skipped;
            if bytes[end] == b'"' {
                break;
            }
            has_escape = true;
            end += 2;
        }
        self.at = end + 1;
        // Both ends lie next to an ASCII quote, so they are character boundaries.
        let raw = text.get(start..end).unwrap_or("");
        if !has_escape {
            return Ok(Cow::Borrowed(raw));
        }
        match unescape(raw) {
            Some(value) => Ok(Cow::Owned(value)),
            None => self.fail("invalid quoted value"),
        }
    }
}

impl<'t> Iterator for Pairs<'t> {
    type Item = Result<(&'t str, Cow<'t, str>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.byte().is_some_and(Self::is_blank) {
            self.at += 1;
        }
        self.byte().map(|_| self.pair())
    }
}

fn unescape(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let digits = chars.as_str().get(..4)?;
                chars = chars.as_str().get(4..)?.chars();
                char::from_u32(u32::from_str_radix(digits, 16).ok()?).unwrap_or('\u{FFFD}')
            }
            c @ ('"' | '\\' | '/' | '\'') => c,
            _ => return None,
        });
    }
    Some(out)
}

//! Label sets as text: `{job="a", path="C:\\x"}`, as Prometheus' language writes them.
//!
//! Values stand in double or single quotes with the escapes of Go, or raw in backquotes. A name may be quoted, too, but
//! must still be one that LogQL can spell.

use std::borrow::Cow;

/// A name and a value.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The pairs of a label set in the order they stand there, duplicates included. More than `pairs_max` are refused.
///
/// # Errors
/// What is wrong and where, as `1:column: parse error: …`.
pub fn parse(text: &str, pairs_max: usize) -> Result<Vec<Pair<'_>>, String> {
    let mut parser = Parser { text, at: 0 };
    let mut pairs = Vec::new();
    parser.space();
    parser.expect('{', "\"{\"")?;
    loop {
        parser.space();
        if parser.eat('}') {
            break;
        }
        let at = parser.at;
        let name = parser.name()?;
        if !is_name(&name) {
            return Err(parser.error(at, format_args!("{name:.64?} is not a valid label name")));
        }
        parser.space();
        parser.expect('=', "\"=\"")?;
        parser.space();
        let value = parser.quoted("string")?;
        if pairs.len() >= pairs_max {
            return Err(parser.error(at, format_args!("more than {pairs_max} labels")));
        }
        pairs.push((name, value));
        parser.space();
        if !parser.eat(',') {
            parser.expect('}', "\",\" or \"}\"")?;
            break;
        }
    }
    parser.space();
    match parser.peek() {
        None => Ok(pairs),
        Some(_) => Err(parser.unexpected("the end")),
    }
}

/// Whether queries can spell it: letters, digits and `_`, no digit first.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, c: char) -> bool {
        let is_there = self.peek() == Some(c);
        if is_there {
            self.at += c.len_utf8();
        }
        is_there
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|c| matches!(c, ' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, c: char, what: &str) -> Result<(), String> {
        if self.eat(c) { Ok(()) } else { Err(self.unexpected(what)) }
    }

    fn unexpected(&self, expected: &str) -> String {
        match self.peek() {
            Some(c) => {
                let found = format_args!(
                    "unexpected {:?} in label set, expected {expected}",
                    c.to_string()
                )
                .to_string();
                self.error(self.at, format_args!("{found}"))
            }
            None => self.error(
                self.at,
                format_args!("unexpected end of input in label set, expected {expected}"),
            ),
        }
    }

    fn error(&self, at: usize, message: std::fmt::Arguments<'_>) -> String {
        let column = self.text.get(..at).unwrap_or("").chars().count() + 1;
        format!("1:{column}: parse error: {message}")
    }

    fn name(&mut self) -> Result<Cow<'a, str>, String> {
        if matches!(self.peek(), Some('"' | '\'' | '`')) {
            return self.quoted("identifier");
        }
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or("");
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.unexpected("identifier or \"}\""));
        }
        self.at += end;
        Ok(Cow::Borrowed(name))
    }

    fn quoted(&mut self, what: &str) -> Result<Cow<'a, str>, String> {
        let opened = self.at;
        let Some(quote @ ('"' | '\'' | '`')) = self.peek() else {
            return Err(self.unexpected(what));
        };
        self.at += 1;
        let begin = self.at;
        let mut owned: Option<Vec<u8>> = None;
        loop {
            let from = self.at;
            match self.next() {
                None => {
                    return Err(self.error(opened, format_args!("unterminated quoted string")));
                }
                Some(c) if c == quote => {
                    let plain = self.text.get(begin..from).unwrap_or("");
                    return match owned {
                        None => Ok(Cow::Borrowed(plain)),
                        Some(bytes) => String::from_utf8(bytes)
                            .map(Cow::Owned)
                            .map_err(|_| self.error(opened, format_args!("string is not UTF-8"))),
                    };
                }
                Some('\n') if quote != '`' => {
                    return Err(self.error(opened, format_args!("unterminated quoted string")));
                }
                Some('\\') if quote != '`' => {
                    let so_far = self.text.get(begin..from).unwrap_or("");
                    let bytes = owned.get_or_insert_with(|| so_far.as_bytes().to_vec());
                    unescape(self.text, &mut self.at, quote, bytes).ok_or_else(|| {
                        self.error(from, format_args!("invalid escape sequence in string"))
                    })?;
                }
                Some(c) => {
                    if let Some(bytes) = &mut owned {
                        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
            }
        }
    }
}

/// Reads what follows a backslash at `at`, as Go has it.
fn unescape(text: &str, at: &mut usize, quote: char, out: &mut Vec<u8>) -> Option<()> {
    let rest = text.get(*at..)?;
    let c = rest.chars().next()?;
    let mut digits = |skip: usize, count: usize, radix: u32| {
        let digits = rest.get(skip..skip + count)?;
        let is_digits = digits.chars().all(|c| c.is_digit(radix));
        *at += skip + count;
        is_digits.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
    };
    let byte = match c {
        'x' => u8::try_from(digits(1, 2, 16)?).ok()?,
        '0'..='7' => u8::try_from(digits(0, 3, 8)?).ok()?,
        'u' | 'U' => {
            let c = char::from_u32(digits(1, if c == 'u' { 4 } else { 8 }, 16)?)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(());
        }
        _ => {
            *at += c.len_utf8();
            match c {
                'a' => 7,
                'b' => 8,
                'f' => 12,
                'n' => b'\n',
                'r' => b'\r',
                't' => b'\t',
                'v' => 11,
                '\\' => b'\\',
                c if c == quote => u8::try_from(c).ok()?,
                _ => return None,
            }
        }
    };
    out.push(byte);
    Some(())
}

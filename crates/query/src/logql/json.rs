//! The `json` and `unpack` stages: a scanner that walks a line once and allocates only for what is wanted.
//!
//! It is forgiving where log lines are sloppy: text behind the value that was asked for is not looked at.

use std::borrow::Cow;

use model::{Error, Result};

use super::row::{RowLabels, sanitize_name};

/// `__error__` of both stages.
const ERROR_KIND: &str = "JSONParserErr";
/// Objects and arrays within each other; deeper lines are errors.
const DEPTH_MAX: usize = 128;
/// Key of the packed line in `unpack`.
const PACKED_ENTRY: &str = "_entry";

type Scanned<T> = Result<T, &'static str>;

/// `json` with expressions: which path gives which label.
#[derive(Debug, Clone)]
pub(crate) struct JsonExpressions {
    targets: Vec<(String, Vec<PathStep>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PathStep {
    Key(String),
    Index(usize),
}

/// Extracts all scalar values of the line; nested keys are joined with `_`, arrays and nulls skipped.
pub(crate) fn extract_all(line: &str, labels: &mut RowLabels<'_>) {
    let mut scanner = Scanner::new(line);
    let mut name = String::new();
    let walked = scanner.enter_object().and_then(|()| walk(&mut scanner, &mut name, labels, 0));
    if let Err(details) = walked {
        labels.set_error(ERROR_KIND, details.to_owned());
    }
}

fn walk(
    scanner: &mut Scanner<'_>,
    name: &mut String,
    labels: &mut RowLabels<'_>,
    depth: usize,
) -> Scanned<()> {
    if depth > DEPTH_MAX {
        return Err("value is nested too deeply");
    }
    let prefix_len = name.len();
    while let Some(key) = scanner.next_key()? {
        name.truncate(prefix_len);
        if prefix_len > 0 && !key.trim().is_empty() {
            name.push('_');
        }
        sanitize_name(&key, name, prefix_len == 0);
        match scanner.peek() {
            Some(b'{') => {
                scanner.enter_object()?;
                walk(scanner, name, labels, depth + 1)?;
            }
            Some(b'[') => {
                scanner.skip_value(depth + 1)?;
            }
            _ => {
                if let Some(text) = scanner.scalar()? {
                    labels.extract(name, &text);
                }
            }
        }
    }
    name.truncate(prefix_len);
    Ok(())
}

/// Calls `visit` with the label name, the keys and the text of each value that `json` extracts; `false` when the line is
/// no JSON object, possibly behind some values.
pub(crate) fn visit_scalars(line: &str, visit: &mut impl FnMut(&str, &[String], &str)) -> bool {
    let mut scanner = Scanner::new(line);
    let mut path = Vec::new();
    scanner.enter_object().and_then(|()| walk_paths(&mut scanner, &mut path, visit)).is_ok()
}

fn walk_paths(
    scanner: &mut Scanner<'_>,
    path: &mut Vec<String>,
    visit: &mut impl FnMut(&str, &[String], &str),
) -> Scanned<()> {
    if path.len() > DEPTH_MAX {
        return Err("value is nested too deeply");
    }
    while let Some(key) = scanner.next_key()? {
        path.push(key.into_owned());
        match scanner.peek() {
            Some(b'{') => {
                scanner.enter_object()?;
                walk_paths(scanner, path, visit)?;
            }
            Some(b'[') => {
                scanner.skip_value(path.len())?;
            }
            _ => {
                if let Some(text) = scanner.scalar()? {
                    let mut name = String::new();
                    for key in path.iter() {
                        if !name.is_empty() && !key.trim().is_empty() {
                            name.push('_');
                        }
                        let is_first = name.is_empty();
                        sanitize_name(key, &mut name, is_first);
                    }
                    visit(&name, path, &text);
                }
            }
        }
        path.pop();
    }
    Ok(())
}

impl JsonExpressions {
    /// Compiles `(label, expression)` pairs such as `("ua", "request.headers[\"User-Agent\"]")`.
    ///
    /// # Errors
    /// Invalid when an expression is malformed.
    pub(crate) fn compile(pairs: &[(String, String)]) -> Result<Self> {
        let targets = pairs
            .iter()
            .map(|(label, path)| Ok((label.clone(), parse_path(path)?)))
            .collect::<Result<_>>()?;
        Ok(Self { targets })
    }

    /// Extracts each label, empty when the line has no such value.
    pub(crate) fn extract(&self, line: &str, labels: &mut RowLabels<'_>) {
        let starts_like_json = |b: u8| {
            matches!(b, b'{' | b'[' | b'"' | b'-' | b't' | b'f' | b'n') || b.is_ascii_digit()
        };
        if !Scanner::new(line).peek().is_some_and(starts_like_json) {
            labels.set_error(ERROR_KIND, String::new());
            return;
        }
        for (label, path) in &self.targets {
            let found = find(line, path).ok().flatten().unwrap_or_default();
            labels.extract(label, &found);
        }
    }
}

/// The value at `path` as text: strings without quotes, objects and arrays as they stand.
fn find<'t>(line: &'t str, path: &[PathStep]) -> Scanned<Option<Cow<'t, str>>> {
    let mut scanner = Scanner::new(line);
    for step in path {
        let is_there = match step {
            PathStep::Key(wanted) => scanner.seek_key(wanted)?,
            PathStep::Index(wanted) => scanner.seek_index(*wanted)?,
        };
        if !is_there {
            return Ok(None);
        }
    }
    match scanner.peek() {
        Some(b'{' | b'[') => Ok(Some(Cow::Borrowed(scanner.skip_value(0)?))),
        _ => scanner.scalar(),
    }
}

/// Reads `a.b["c d"][0]`.
fn parse_path(text: &str) -> Result<Vec<PathStep>> {
    let broken =
        || Error::invalid(format!("cannot parse expression [{text}]: unexpected end or character"));
    let mut steps = Vec::new();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(broken());
    }
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('[') {
            let (step, tail) = parse_bracket(tail).ok_or_else(broken)?;
            steps.push(step);
            rest = tail;
            continue;
        }
        if !steps.is_empty() {
            rest = rest.strip_prefix('.').ok_or_else(broken)?;
        }
        let len = rest.find(['.', '[', ']', '"', ' ']).unwrap_or(rest.len());
        let (key, tail) = rest.split_at(len);
        if key.is_empty() || tail.starts_with([']', '"', ' ']) {
            return Err(broken());
        }
        steps.push(PathStep::Key(key.to_owned()));
        rest = tail;
    }
    Ok(steps)
}

/// Behind `[`: `"key"]` or `3]`.
fn parse_bracket(text: &str) -> Option<(PathStep, &str)> {
    if text.starts_with('"') {
        let mut scanner = Scanner::new(text);
        let key = scanner.string().ok()?;
        let tail = text.split_at(scanner.at).1.strip_prefix(']')?;
        return Some((PathStep::Key(key.into_owned()), tail));
    }
    let (index, tail) = text.split_once(']')?;
    Some((PathStep::Index(index.trim().parse().ok()?), tail))
}

/// Takes string values as labels and the one under `_entry` as the new line; `None` when there is no packed line.
pub(crate) fn unpack(line: &str, labels: &mut RowLabels<'_>) -> Option<String> {
    match unpack_object(line) {
        Ok((packed, found)) => {
            let packed = packed?;
            for (key, value) in found {
                let mut name = String::new();
                sanitize_name(&key, &mut name, true);
                if !value.is_empty() {
                    labels.extract(&name, &value);
                }
            }
            Some(packed.into_owned())
        }
        Err(details) => {
            labels.set_error(ERROR_KIND, details.to_owned());
            None
        }
    }
}

type Pair<'t> = (Cow<'t, str>, Cow<'t, str>);

fn unpack_object(line: &str) -> Scanned<(Option<Cow<'_, str>>, Vec<Pair<'_>>)> {
    let mut scanner = Scanner::new(line);
    if scanner.peek() != Some(b'{') {
        return Err("expecting json object(6), but it is not");
    }
    scanner.enter_object()?;
    let (mut packed, mut found) = (None, Vec::new());
    while let Some(key) = scanner.next_key()? {
        if scanner.peek() != Some(b'"') {
            scanner.skip_value(0)?;
            continue;
        }
        let value = scanner.string()?;
        if key == PACKED_ENTRY {
            packed = Some(value);
        } else {
            found.push((key, value));
        }
    }
    Ok((packed, found))
}

/// A position in a JSON text.
struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// Steps over `{`.
    fn enter_object(&mut self) -> Scanned<()> {
        if self.take(b'{') { Ok(()) } else { Err("value is not an object") }
    }

    /// The next key and its colon, or `None` behind the closing brace.
    fn next_key(&mut self) -> Scanned<Option<Cow<'t, str>>> {
        self.take(b',');
        if self.take(b'}') {
            return Ok(None);
        }
        if self.peek() != Some(b'"') {
            return Err("Value looks like object, but can't find closing '}' symbol");
        }
        let key = self.string()?;
        if !self.take(b':') {
            return Err("key is not followed by ':'");
        }
        Ok(Some(key))
    }

    /// Goes to the value of `wanted` in the object here.
    fn seek_key(&mut self, wanted: &str) -> Scanned<bool> {
        if !self.take(b'{') {
            return Ok(false);
        }
        while let Some(key) = self.next_key()? {
            if key == wanted {
                return Ok(true);
            }
            self.skip_value(0)?;
        }
        Ok(false)
    }

    /// Goes to element `wanted` of the array here.
    fn seek_index(&mut self, wanted: usize) -> Scanned<bool> {
        if !self.take(b'[') {
            return Ok(false);
        }
        for index in 0.. {
            match self.peek() {
                None => return Err("array is not closed"),
                Some(b']') => return Ok(false),
                Some(_) if index == wanted => return Ok(true),
                Some(_) => {}
            }
            self.skip_value(0)?;
            if !self.take(b',') && self.peek() != Some(b']') {
                return Err("array elements are not separated by ','");
            }
        }
        Ok(false)
    }

    /// Steps over any value and returns its text.
    fn skip_value(&mut self, depth: usize) -> Scanned<&'t str> {
        let text = self.text;
        self.peek();
        let start = self.at;
        let mut open = depth;
        loop {
            match self.peek() {
                Some(b'{' | b'[') => {
                    open += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') if open > depth => {
                    open -= 1;
                    self.at += 1;
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b',' | b':') if open > depth => self.at += 1,
                _ => {
                    self.bare()?;
                }
            }
            if open > DEPTH_MAX {
                return Err("value is nested too deeply");
            }
            if open == depth {
                return Ok(text.get(start..self.at).unwrap_or(""));
            }
        }
    }

    /// A string, number or word as label text; `None` for null.
    fn scalar(&mut self) -> Scanned<Option<Cow<'t, str>>> {
        if self.peek() == Some(b'"') {
            return self.string().map(Some);
        }
        let word = self.bare()?;
        Ok((word != "null").then_some(Cow::Borrowed(word)))
    }

    /// A number or one of the three words.
    fn bare(&mut self) -> Scanned<&'t str> {
        self.peek();
        let start = self.at;
        let is_bare = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let len = self.text.as_bytes()[start..].iter().take_while(|b| is_bare(b)).count();
        self.at = start + len;
        let word = self.text.get(start..self.at).unwrap_or("");
        let is_number = word.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        if is_number || matches!(word, "true" | "false" | "null") {
            Ok(word)
        } else {
            Err("Unknown value type")
        }
    }

    /// A quoted string here, unescaped.
    fn string(&mut self) -> Scanned<Cow<'t, str>> {
        const UNCLOSED: &str = "Value is string, but can't find closing '\"' symbol";
        let text = self.text;
        let start = self.at + 1;
        let bytes = text.as_bytes();
        let mut end = start;
        let mut has_escape = false;
        loop {
            let skipped = bytes.get(end..).and_then(|b| memchr::memchr2(b'"', b'\\', b));
            end += skipped.ok_or(UNCLOSED)?;
            if bytes[end] == b'"' {
                break;
            }
            has_escape = true;
            end += 2;
        }
        self.at = end + 1;
        // Both ends lie next to an ASCII quote, so they are character boundaries.
        let raw = text.get(start..end).unwrap_or("");
        if has_escape { unescape(raw).map(Cow::Owned) } else { Ok(Cow::Borrowed(raw)) }
    }
}

/// `raw` with its backslash escapes replaced; lone surrogates become U+FFFD.
fn unescape(raw: &str) -> Scanned<String> {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('u') => unescape_unicode(&mut chars)?,
            Some(c @ ('"' | '\\' | '/')) => c,
            _ => return Err("Encountered an invalid escape sequence in a string"),
        });
    }
    Ok(out)
}

fn unescape_unicode(chars: &mut std::str::Chars<'_>) -> Scanned<char> {
    const INVALID: &str = "Encountered an invalid escape sequence in a string";
    let unit = |chars: &mut std::str::Chars<'_>| -> Option<u32> {
        let digits = chars.as_str().get(..4)?;
        *chars = chars.as_str().get(4..)?.chars();
        u32::from_str_radix(digits, 16).ok()
    };
    let high = unit(chars).ok_or(INVALID)?;
    if (0xD800..0xDC00).contains(&high) && chars.as_str().starts_with("\\u") {
        let mut ahead = chars.as_str().get(2..).unwrap_or("").chars();
        if let Some(low @ 0xDC00..0xE000) = unit(&mut ahead) {
            *chars = ahead;
            let scalar = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
            return Ok(char::from_u32(scalar).unwrap_or('\u{FFFD}'));
        }
    }
    Ok(char::from_u32(high).unwrap_or('\u{FFFD}'))
}

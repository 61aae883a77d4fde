//! The tokens of a TraceQL text. An attribute is one token: names run on to a space, bracket, comma or operator, and parts
//! of them may be quoted.
//!
//! Does not own: what words mean (`field`, `parse`). String literals are those of `syntax`.

use model::{Error, Result, go_duration_ns};

use crate::syntax::{duration_ms, unquote};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters, digits and `_`; with a colon inside when it names an intrinsic of a scope: `span:name`.
    Word,
    /// `.name`, or a scope with a name: `span.name`, `parent.resource.name`.
    Attribute,
    /// A quoted text, with its quotes.
    Text,
    /// `1`, `1.5`, `1e3`, `1h30m`.
    Number,
    /// An operator or bracket.
    Sign,
    End,
}

/// A token and its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    /// Byte range `[start, end)`.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A number as it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
}

/// Words before whose dot an attribute begins.
const SCOPES: [&str; 6] = ["span", "resource", "event", "link", "instrumentation", "parent"];
/// Words before whose colon an intrinsic's name begins.
const INTRINSIC_SCOPES: [&str; 5] = ["trace", "span", "event", "link", "instrumentation"];

/// Operators and brackets, longer spellings before their prefixes.
const SIGNS: &[&str] = &[
    "!>>", "!<<", "&>>", "&<<", "!=", "!~", "!>", "!<", "=~", ">=", "<=", ">>", "<<", "&&", "||",
    "&>", "&<", "&~", "{", "}", "(", ")", ",", "|", "=", ">", "<", "~", "!", "+", "-", "*", "/",
    "%", "^",
];

/// Splits `text`; the last token is the end.
///
/// # Errors
/// Invalid with the place: unknown characters, texts that do not end, malformed numbers, attributes without a name.
pub(super) fn tokenize(text: &str) -> Result<Vec<Token<'_>>> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(first) = rest(text, at).chars().next() {
        let here = rest(text, at);
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if here.starts_with("//") {
            at += here.find('\n').unwrap_or(here.len());
            continue;
        }
        let (kind, len) = token(first, here, at)?;
        all.push(Token { kind, text: here.get(..len).unwrap_or(here), start: at, end: at + len });
        at += len;
    }
    all.push(Token { kind: Kind::End, text: "", start: text.len(), end: text.len() });
    Ok(all)
}

fn rest(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or("")
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn token(first: char, here: &str, at: usize) -> Result<(Kind, usize)> {
    let second_is_digit = here.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
    match first {
        '"' | '`' => Ok((Kind::Text, quoted_len(first, here, at)?)),
        '.' if !second_is_digit => Ok((Kind::Attribute, attribute_len(here, 1, at)?)),
        '.' | '0'..='9' => {
            let len = number_len(here);
            number(here.get(..len).unwrap_or(here), at)?;
            Ok((Kind::Number, len))
        }
        c if is_word(c) => word(here, at),
        _ => {
            let sign = SIGNS.iter().find(|sign| here.starts_with(**sign));
            let len = sign.map(|sign| sign.len()).ok_or_else(|| {
                Error::invalid(format!("unexpected character {first:?}"))
                    .with_span(at, at + first.len_utf8())
            })?;
            Ok((Kind::Sign, len))
        }
    }
}

fn word(here: &str, at: usize) -> Result<(Kind, usize)> {
    let len = here.find(|c| !is_word(c)).unwrap_or(here.len());
    let (word, behind) = here.split_at(len);
    if behind.starts_with('.') && SCOPES.contains(&word) {
        let nested = ["span.", "resource."].iter().find(|s| rest(behind, 1).starts_with(**s));
        let prefix = len + 1 + nested.filter(|_| word == "parent").map_or(0, |s| s.len());
        return Ok((Kind::Attribute, attribute_len(here, prefix, at)?));
    }
    if behind.starts_with(':') && INTRINSIC_SCOPES.contains(&word) {
        let name = rest(behind, 1).find(|c| !is_word(c)).unwrap_or(behind.len() - 1);
        return Ok((Kind::Word, len + 1 + name));
    }
    Ok((Kind::Word, len))
}

/// Length of an attribute whose name begins at `prefix`.
fn attribute_len(here: &str, prefix: usize, at: usize) -> Result<usize> {
    let mut len = prefix;
    while let Some(c) = rest(here, len).chars().next() {
        if c == '"' {
            len += quoted_len(c, rest(here, len), at + len)?;
            continue;
        }
        if c.is_whitespace() || "{}()=~!<>&|^,".contains(c) {
            break;
        }
        len += c.len_utf8();
    }
    if len == prefix {
        return Err(Error::invalid("an attribute's name is missing behind the dot")
            .with_span(at, at + prefix));
    }
    Ok(len)
}

/// The name of an attribute, its quoted parts read; `raw` has no scope any more.
pub(super) fn attribute_name(raw: &str) -> String {
    let mut name = String::with_capacity(raw.len());
    let mut is_quoted = false;
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => {
                name.extend(chars.next_if(|c| matches!(c, '"' | '\\')).or(Some(c)))
            }
            c => name.push(c),
        }
    }
    name
}

fn quoted_len(quote: char, here: &str, at: usize) -> Result<usize> {
    let mut chars = here.char_indices().skip(1);
    while let Some((len, c)) = chars.next() {
        match c {
            c if c == quote => return Ok(len + 1),
            '\\' if quote != '`' => {
                chars.next();
            }
            _ => {}
        }
    }
    Err(Error::invalid(format!("text has no closing {quote}")).with_span(at, at + here.len()))
}

/// The text a token of kind [`Kind::Text`] stands for.
///
/// # Errors
/// Invalid for escapes that do not exist.
pub(super) fn text_of(token: Token<'_>) -> Result<String> {
    Ok(unquote(token.text, token.start)?.text)
}

fn number_len(here: &str) -> usize {
    let mut previous = ' ';
    let mut is_plain = true;
    for (at, c) in here.char_indices() {
        let is_exponent_sign = matches!(c, '+' | '-') && is_plain && matches!(previous, 'e' | 'E');
        if !(c.is_alphanumeric() || c == '.' || is_exponent_sign) {
            return at;
        }
        is_plain &= c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
        previous = c;
    }
    here.len()
}

/// What the number `text`, which begins at `at`, says.
///
/// # Errors
/// Invalid, also when it is outside of what 64 bits hold.
pub(super) fn number(text: &str, at: usize) -> Result<Number> {
    let fail = |what: String| Err(Error::invalid(what).with_span(at, at + text.len()));
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse() {
            Ok(value) => Ok(Number::Int(value)),
            Err(_) => fail(format!("{text} is over the largest integer, {}", i64::MAX)),
        };
    }
    if text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        && let Ok(value) = text.parse::<f64>()
        && value.is_finite()
    {
        return Ok(Number::Float(value));
    }
    if let Ok(ns) = go_duration_ns(text) {
        return Ok(Number::Duration(ns as i64));
    }
    match duration_ms(text).and_then(|ms| ms.checked_mul(1_000_000)) {
        Some(ns) => Ok(Number::Duration(ns)),
        None => fail(format!("{text:?} is neither a number nor a duration such as 1h30m or 50ms")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(Kind, &str)]) {
        let tokens = tokenize(text).unwrap();
        let got: Vec<_> = tokens.iter().map(|t| (t.kind, t.text)).collect();
        assert_eq!(&got[..got.len() - 1], expect, "{text}");
    }

    #[test]
    fn attributes_are_one_token_up_to_what_cannot_be_in_a_name() {
        use Kind::{Attribute, Number, Sign, Text, Word};
        check(
            "{.a-b/c>=1}",
            &[(Sign, "{"), (Attribute, ".a-b/c"), (Sign, ">="), (Number, "1"), (Sign, "}")],
        );
        check(
            "parent.span.x span:name spanx.y",
            &[
                (Attribute, "parent.span.x"),
                (Word, "span:name"),
                (Word, "spanx"),
                (Attribute, ".y"),
            ],
        );
        check(
            ".5 .\"a b\".c, `x\n` 1h30m // !",
            &[
                (Number, ".5"),
                (Attribute, ".\"a b\".c"),
                (Sign, ","),
                (Text, "`x\n`"),
                (Number, "1h30m"),
            ],
        );
        check(
            "1-1 &>>!<<",
            &[(Number, "1"), (Sign, "-"), (Number, "1"), (Sign, "&>>"), (Sign, "!<<")],
        );
        assert_eq!(attribute_name("\"foo\\\" = \\\"bar\".x\"a\\\\b\""), "foo\" = \"bar.xa\\b");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let place = |text: &str| tokenize(text).unwrap_err().span();
        assert_eq!(place("{ span. }"), Some((2, 7)));
        assert_eq!(place("{ .a = \"x }"), Some((7, 11)));
        assert_eq!(place("{ 99999999999999999999 = 1 }"), Some((2, 22)));
        assert_eq!(place("{ 5q = 1 }"), Some((2, 4)));
        assert_eq!(place("[ true ]"), Some((0, 1)));
    }
}

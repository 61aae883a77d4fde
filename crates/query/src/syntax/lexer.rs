//! Text to tokens. Whitespace and `#` comments are dropped; every token knows its bytes.

use model::{Error, Result};

/// What a token is; its text is the slice of the query between `start` and `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Letters, digits, `_`, and `:` outside braces and brackets. Keywords are words too.
    Word,
    /// Starts with a digit or `.`: a number or a duration.
    Number,
    /// In `"`, `'` or backquotes, quotes included.
    Text,
    /// An operator or bracket, by its longest spelling.
    Sign,
    /// After the last token; empty, at the end of the text.
    End,
}

/// A token in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// First byte.
    pub(crate) start: usize,
    /// Byte after the last.
    pub(crate) end: usize,
}

/// Operators and brackets, longer spellings before their prefixes.
const SIGNS: &[&str] = &[
    "==", "!=", "=~", "!~", "<=", ">=", "</", ">/", "&&", "||", "|=", "|~", "+", "-", "*", "/",
    "%", "^", "(", ")", "{", "}", "[", "]", ",", ":", "=", "<", ">", "@", "|", ".", "&", "!",
];

/// Which bracket the lexer stands in; `:` belongs to names only outside both.
#[derive(Default)]
struct Inside {
    braces: bool,
    brackets: bool,
}

/// Tokens of `text`, the last of them [`Kind::End`].
///
/// # Errors
/// `Invalid` with the place: unterminated strings, unknown characters, malformed numbers and durations, brackets that
/// do not pair.
pub(crate) fn tokenize(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut inside = Inside::default();
    let mut parens: Vec<usize> = Vec::new();
    while let Some(c) = rest(text, at).chars().next() {
        let start = at;
        let kind = match c {
            _ if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '#' => {
                at += rest(text, at).find('\n').unwrap_or(text.len() - at);
                continue;
            }
            '"' | '\'' | '`' => {
                at = quoted_end(text, at, c)?;
                Kind::Text
            }
            '0'..='9' => {
                at = number_end(text, at, &inside)?;
                Kind::Number
            }
            '.' if rest(text, at + 1).starts_with(|d: char| d.is_ascii_digit()) => {
                at = number_end(text, at, &inside)?;
                Kind::Number
            }
            _ if is_word(c) || (c == ':' && !inside.braces && !inside.brackets) => {
                let colon = !inside.braces && !inside.brackets;
                let len = rest(text, at).find(|c| !(is_word(c) || (c == ':' && colon)));
                at += len.unwrap_or(text.len() - at);
                Kind::Word
            }
            _ => {
                at += sign(text, at, &inside)?;
                track(text, start, &mut inside, &mut parens)?;
                Kind::Sign
            }
        };
        tokens.push(Token { kind, start, end: at });
    }
    let end = text.len();
    if inside.braces {
        return Err(Error::invalid("unexpected end of input inside braces").with_span(end, end));
    }
    if let Some(open) = parens.last() {
        return Err(Error::invalid("unclosed left parenthesis").with_span(*open, open + 1));
    }
    tokens.push(Token { kind: Kind::End, start: end, end });
    Ok(tokens)
}

fn rest(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or("")
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Keeps count of brackets.
fn track(text: &str, at: usize, inside: &mut Inside, parens: &mut Vec<usize>) -> Result<()> {
    let unexpected = |what: String| Err(Error::invalid(what).with_span(at, at + 1));
    match rest(text, at).as_bytes().first() {
        Some(b'{') if inside.braces => {
            return unexpected("unexpected character inside braces: '{'".into());
        }
        Some(b'{') => inside.braces = true,
        Some(b'}') if !inside.braces => return unexpected("unexpected character: '}'".into()),
        Some(b'}') => inside.braces = false,
        Some(b'[') if inside.brackets => {
            return unexpected("unexpected left bracket '[' inside brackets".into());
        }
        Some(b'[') => inside.brackets = true,
        Some(b']') if !inside.brackets => return unexpected("unexpected right bracket ']'".into()),
        Some(b']') => inside.brackets = false,
        Some(b'(') => parens.push(at),
        Some(b')') if parens.pop().is_none() => {
            return unexpected("unexpected right parenthesis ')'".into());
        }
        _ => {}
    }
    Ok(())
}

/// Length of the operator at `at`.
fn sign(text: &str, at: usize, inside: &Inside) -> Result<usize> {
    let here = rest(text, at);
    let c = here.chars().next().unwrap_or(' ');
    let found = SIGNS.iter().find(|s| here.starts_with(**s)).copied();
    // Inside braces only matchers and commas, elsewhere no matchers.
    let allowed = |s: &str| match s {
        "{" | "}" | "," | "=" | "!=" => true,
        "=~" | "!~" => inside.braces,
        _ => !inside.braces,
    };
    let mut chars = here.chars().skip(1);
    match found {
        Some("==") if inside.braces => Ok(1),
        Some(s) if allowed(s) && !matches!(s, "." | "!" | "|" | "&") => Ok(s.len()),
        Some("=~" | "!~") => {
            let next = chars.next().unwrap_or(' ');
            Err(Error::invalid(format!("unexpected character after '{c}': '{next}'"))
                .with_span(at, at + 2))
        }
        _ if inside.braces => {
            Err(Error::invalid(format!("unexpected character inside braces: '{c}'"))
                .with_span(at, at + c.len_utf8()))
        }
        _ => {
            Err(Error::invalid(format!("unexpected character: '{c}'"))
                .with_span(at, at + c.len_utf8()))
        }
    }
}

/// End of the quoted string that starts at `at`. Escapes are checked when the string is read.
fn quoted_end(text: &str, at: usize, quote: char) -> Result<usize> {
    let mut chars = rest(text, at + 1).char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok(at + 1 + i + 1),
            '\\' if quote != '`' && chars.next().is_none() => {
                return Err(
                    Error::invalid("escape sequence not terminated").with_span(at, text.len())
                );
            }
            '\n' if quote != '`' => break,
            _ => {}
        }
    }
    let what = if quote == '`' { "unterminated raw string" } else { "unterminated quoted string" };
    Err(Error::invalid(what).with_span(at, text.len()))
}

/// End of the number or duration that starts at `at`; its spelling is checked here so that the error has the run.
fn number_end(text: &str, at: usize, inside: &Inside) -> Result<usize> {
    let bytes = rest(text, at).as_bytes();
    if inside.braces {
        let c = char::from(bytes.first().copied().unwrap_or(b'0'));
        return Err(Error::invalid(format!("unexpected character inside braces: '{c}'"))
            .with_span(at, at + 1));
    }
    let hex = bytes.len() > 1 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X');
    let mut len = 0;
    while let Some(b) = bytes.get(len) {
        let sign_of_exponent = matches!(b, b'+' | b'-')
            && !hex
            && matches!(bytes.get(len.wrapping_sub(1)), Some(b'e' | b'E'))
            && bytes.get(len + 1).is_some_and(u8::is_ascii_digit);
        if !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_') || sign_of_exponent) {
            break;
        }
        len += 1;
    }
    let run = rest(text, at).get(..len).unwrap_or("");
    if super::parse_number(run).is_some()
        || super::duration_ms(run).is_some()
        || is_duration_shaped(run)
    {
        return Ok(at + len);
    }
    Err(Error::invalid(format!("bad number or duration syntax: {run:?}")).with_span(at, at + len))
}

/// Digits and units in any order or size, which deserves a more telling error than "bad syntax".
fn is_duration_shaped(run: &str) -> bool {
    let units = ["y", "w", "d", "h", "m", "s", "ms"];
    let mut rest = run;
    let mut count = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if digits == 0 || !units.contains(&unit) {
            return false;
        }
        rest = tail;
        count += 1;
    }
    count > 0
}

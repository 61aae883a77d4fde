//! What was JSON stays JSON: marks lie inside of texts, or take the place of a number as a text.
//!
//! The rules look at what stands around a secret, not at the whole line; here the places they find are fitted to a line that
//! is an object or a list of JSON. Lines that only have JSON somewhere in them are not looked at.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::Kind;
use super::found::Found;
use super::quotes::Quote;

/// Fits the places found in `line`, which are in order and do not overlap, to its texts and numbers when it is JSON.
///
/// A place that goes over several is in the first one if a rule found it, and in all of them if a pattern of one's own did.
///
/// Cost: one pass over the line to see whether it is JSON, another one over its texts.
pub(super) fn fit(line: &str, found: Vec<Found>) -> Vec<Found> {
    let text = line.trim_ascii();
    let is_container = text.starts_with(['{', '[']) && text.ends_with(['}', ']']);
    if found.is_empty() || !is_container || serde_json::from_str::<IgnoredAny>(line).is_err() {
        return found;
    }
    let mut fitted: Vec<Found> = Vec::with_capacity(found.len());
    let mut cursor = 0;
    let mut tokens = Tokens { line: line.as_bytes(), at: 0 }.peekable();
    for secret in found {
        let is_own = secret.what >= Kind::ALL.len();
        let mut goes_on = secret.goes_on;
        while let Some(token) = tokens.peek() {
            if token.at.start >= secret.at.end && !token.at.is_empty() {
                break;
            }
            if token.at.end > secret.at.start
                && let Some(part) = part_of(line.as_bytes(), token, &secret, &mut cursor)
                // Two places in one number are one mark.
                && fitted.last().is_none_or(|last| last.at.end <= part.at.start)
            {
                fitted.push(Found { goes_on, ..part });
                goes_on = true;
                if !is_own {
                    break;
                }
            }
            if token.at.end > secret.at.end {
                break;
            }
            tokens.next();
        }
    }
    fitted
}

/// The part of a secret that lies in a token.
fn part_of(line: &[u8], token: &Token, secret: &Found, cursor: &mut usize) -> Option<Found> {
    if !token.is_text {
        return Some(Found { at: token.at.clone(), quote: Some(Quote::JSON), ..secret.clone() });
    }
    let start = secret.at.start.max(token.at.start);
    let end = secret.at.end.min(token.at.end);
    let at = whole_escapes(line, token.at.clone(), start..end, cursor);
    // A mark in quotes of its own would end the text around it.
    let quote = secret.quote.filter(|quote| *quote != Quote::JSON);
    (!at.is_empty()).then(|| Found { at, quote, ..secret.clone() })
}

/// `at` in the text, widened so that it neither begins nor ends inside an escaped character. Before `cursor`, where a character
/// begins, everything was looked at for a place before this one.
fn whole_escapes(
    line: &[u8],
    text: Range<usize>,
    at: Range<usize>,
    cursor: &mut usize,
) -> Range<usize> {
    *cursor = text.start.max(*cursor);
    let (mut start, mut end) = (at.start.max(*cursor), at.end);
    while *cursor < at.end {
        let next = *cursor + escape_len(&line[*cursor..text.end]);
        if (*cursor..next).contains(&start) {
            start = *cursor;
        }
        end = end.max(next.min(text.end));
        *cursor = next;
    }
    start..end
}

/// Bytes of the character at the beginning of `text` as it is written.
fn escape_len(text: &[u8]) -> usize {
    let is_high =
        |code: &[u8]| matches!(code, [b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', _, _]);
    match text {
        [b'\\', b'u', code @ ..] if code.len() >= 10 && is_high(&code[..4]) => 12,
        [b'\\', b'u', ..] => 6.min(text.len()),
        [b'\\', _, ..] => 2,
        _ => 1,
    }
}

/// A text without its quotes, or a number.
struct Token {
    at: Range<usize>,
    is_text: bool,
}

/// Texts and numbers of JSON that is well formed.
struct Tokens<'a> {
    line: &'a [u8],
    at: usize,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        while let Some(byte) = self.line.get(self.at) {
            let start = self.at;
            match byte {
                b'"' => {
                    let mut end = start + 1;
                    while self.line.get(end).is_some_and(|b| *b != b'"') {
                        end += if self.line[end] == b'\\' { 2 } else { 1 };
                    }
                    let end = end.min(self.line.len());
                    self.at = end + 1;
                    return Some(Token { at: start + 1..end, is_text: true });
                }
                b'0'..=b'9' | b'-' => {
                    let is_number = |b: &u8| {
                        b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E')
                    };
                    let len = self.line[start..].iter().take_while(|b| is_number(b)).count();
                    self.at = start + len;
                    return Some(Token { at: start..self.at, is_text: false });
                }
                _ => self.at += 1,
            }
        }
        None
    }
}

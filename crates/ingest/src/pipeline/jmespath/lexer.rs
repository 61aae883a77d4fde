//! Tokens of JMESPath.

use model::{Error, Result};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Quoted(String),
    Literal(Value),
    Number(i64),
    /// `.` `*` `@` `&` `&&` `|` `||` `!` `!=` `==` `<` `<=` `>` `>=` `(` `)` `{` `}` `[` `[]` `[?` `]` `,` `:`
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 24] = [
    "&&", "||", "!=", "==", "<=", ">=", "[]", "[?", ".", "*", "@", "&", "|", "!", "<", ">", "(",
    ")", "{", "}", "[", "]", ",", ":",
];

/// All tokens with the place where each begins, counted from 0; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let (token, len) = token(at, rest, first)?;
        found.push((at, token));
        rest = rest.get(len..).unwrap_or("").trim_start();
    }
    found.push((text.len(), Token::End));
    Ok(found)
}

/// The first token of `rest` and its length.
fn token(at: usize, rest: &str, first: char) -> Result<(Token, usize)> {
    if first.is_ascii_alphabetic() || first == '_' {
        let len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        return Ok((Token::Name(rest.split_at(len).0.to_owned()), len));
    }
    if first.is_ascii_digit() || first == '-' {
        let digits = rest.bytes().skip(1).take_while(u8::is_ascii_digit).count() + 1;
        let number = rest.split_at(digits).0;
        let wrong = || Error::invalid(format!("unexpected {number} at {at}"));
        return Ok((Token::Number(number.parse().map_err(|_| wrong())?), digits));
    }
    if matches!(first, '"' | '\'' | '`') {
        let len = quoted_len(rest, first)
            .ok_or_else(|| Error::invalid(format!("{first} at {at} has no end")))?;
        let inside = rest.get(1..len - 1).unwrap_or("");
        let token = match first {
            '\'' => Token::Literal(Value::String(inside.replace("\\'", "'"))),
            '`' => {
                let json = inside.replace("\\`", "`");
                Token::Literal(serde_json::from_str(&json).map_err(|_| {
                    Error::invalid(format!("the literal at {at} is not JSON: `{inside}`"))
                })?)
            }
            _ => Token::Quoted(serde_json::from_str(rest.split_at(len).0).map_err(|_| {
                Error::invalid(format!("the name at {at} is no JSON string: \"{inside}\""))
            })?),
        };
        return Ok((token, len));
    }
    let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
    let sign = sign.ok_or_else(|| Error::invalid(format!("unexpected {first:?} at {at}")))?;
    Ok((Token::Sign(sign), sign.len()))
}

/// Bytes of the quoted text at the start of `rest`, both quotes included.
fn quoted_len(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

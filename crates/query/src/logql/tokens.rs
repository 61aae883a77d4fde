//! The tokens of a LogQL text, and reading along them with Loki's wording for what was not expected.
//!
//! They differ from PromQL's: numbers may carry size units and fractions of durations, and pipelines have operators of
//! their own. String literals are those of `syntax`.

use model::{Error, Result};

use crate::syntax::unquote;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    /// A quoted text, with its quotes.
    Text,
    /// A number, duration or size: `5`, `1h30m`, `20MB`, `0x1p3`.
    Number,
    /// An operator or bracket.
    Punct,
    End,
}

/// What the parser took a token for, as far as that matters to how it is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    /// Begins a stage.
    Stage,
    /// Stands between two operands.
    Operator,
    /// Joins its neighbours: the `=` in `a="b"`.
    Tight,
    /// Belongs to the number behind it.
    Sign,
}

/// A token and its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'t> {
    pub(crate) kind: Kind,
    pub(crate) role: Role,
    pub(crate) text: &'t str,
    /// Byte range `[start, end)`.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A position in the tokens of a text.
#[derive(Debug)]
pub(crate) struct Tokens<'t> {
    all: Vec<Token<'t>>,
    at: usize,
    end: Token<'t>,
}

impl<'t> Tokens<'t> {
    /// Splits `text`.
    pub(crate) fn new(text: &'t str) -> Result<Self> {
        let mut all = Vec::new();
        let mut at = 0;
        while let Some(first) = text.get(at..).and_then(|t| t.chars().next()) {
            let rest = text.get(at..).unwrap_or("");
            if first.is_whitespace() {
                at += first.len_utf8();
                continue;
            }
            if first == '#' {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            let (kind, len) = token(first, rest)
                .map_err(|what| Error::invalid(what).with_span(at, at + first.len_utf8()))?;
            let piece = rest.get(..len).unwrap_or(rest);
            all.push(Token { kind, role: Role::Plain, text: piece, start: at, end: at + len });
            at += len;
        }
        let (start, end) = (text.len(), text.len());
        let end = Token { kind: Kind::End, role: Role::Plain, text: "", start, end };
        Ok(Self { all, at: 0, end })
    }

    /// The next token.
    pub(crate) fn peek(&self) -> Token<'t> {
        self.all.get(self.at).copied().unwrap_or(self.end)
    }

    /// The one behind it.
    pub(crate) fn peek_second(&self) -> Token<'t> {
        self.all.get(self.at + 1).copied().unwrap_or(self.end)
    }

    /// Steps over the next token.
    pub(crate) fn next(&mut self) -> Token<'t> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Notes what the next token is.
    pub(crate) fn mark(&mut self, role: Role) {
        if let Some(token) = self.all.get_mut(self.at) {
            token.role = role;
        }
    }

    /// All tokens with what was noted of them.
    pub(crate) fn into_all(self) -> Vec<Token<'t>> {
        self.all
    }

    /// How many tokens have been stepped over.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Steps over the next token if it is `text`.
    pub(crate) fn take(&mut self, text: &str) -> bool {
        let is_there = self.peek().text == text;
        self.at += usize::from(is_there);
        is_there
    }

    /// Steps over `text`, which must be next.
    pub(crate) fn expect(&mut self, text: &str) -> Result<()> {
        if self.take(text) { Ok(()) } else { Err(self.unexpected(text)) }
    }

    /// Steps over a word, which must be next.
    pub(crate) fn word(&mut self) -> Result<String> {
        if self.peek().kind != Kind::Word {
            return Err(self.unexpected("IDENTIFIER"));
        }
        Ok(self.next().text.to_owned())
    }

    /// Steps over a quoted text, which must be next, and gives what it says.
    pub(crate) fn string(&mut self) -> Result<String> {
        if self.peek().kind != Kind::Text {
            return Err(self.unexpected("STRING"));
        }
        let token = self.peek();
        let text = unquote(token.text, token.start)?.text;
        self.at += 1;
        Ok(text)
    }

    /// Whether a parenthesis with nothing but names in it is next.
    pub(crate) fn is_name_list(&self) -> bool {
        let rest = self.all.get(self.at + 1..).unwrap_or(&[]);
        let inside = rest.iter().take_while(|t| t.kind == Kind::Word || t.text == ",").count();
        rest.get(inside).is_some_and(|t| t.text == ")")
    }

    /// An error about the next token, which is none of `expecting` (possibly empty).
    pub(crate) fn unexpected(&self, expecting: &str) -> Error {
        let token = self.peek();
        let found = match token.kind {
            Kind::Word if token.text == "ip" => "ip",
            Kind::Word => "IDENTIFIER",
            Kind::Text => "STRING",
            Kind::Number => "NUMBER",
            Kind::Punct if token.text == "[" => "RANGE",
            Kind::Punct => token.text,
            Kind::End => "$end",
        };
        let expecting =
            if expecting.is_empty() { String::new() } else { format!(", expecting {expecting}") };
        self.fail(&format!("syntax error: unexpected {found}{expecting}"))
    }

    /// An error at the next token.
    pub(crate) fn fail(&self, what: &str) -> Error {
        let token = self.peek();
        Error::invalid(what).with_span(token.start, token.end)
    }
}

fn token(first: char, rest: &str) -> std::result::Result<(Kind, usize), String> {
    let second_is_digit = rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
    match first {
        '"' | '\'' | '`' => quoted_len(first, rest).map(|len| (Kind::Text, len)),
        c if c.is_ascii_digit() => Ok((Kind::Number, number_len(rest))),
        '.' if second_is_digit => Ok((Kind::Number, number_len(rest))),
        c if c.is_alphabetic() || c == '_' => {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            Ok((Kind::Word, len))
        }
        _ => {
            const PUNCTUATION: &[&str] = &[
                "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "{", "}", "(", ")",
                "[", "]", ",", "|", "=", ">", "<", "+", "-", "*", "/", "%", "^",
            ];
            let found = PUNCTUATION.iter().find(|p| rest.starts_with(**p));
            found
                .map(|p| (Kind::Punct, p.len()))
                .ok_or_else(|| format!("syntax error: unexpected character {first:?}"))
        }
    }
}

fn quoted_len(quote: char, rest: &str) -> std::result::Result<usize, String> {
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok(at + 1),
            '\\' if quote != '`' => {
                chars.next();
            }
            '\n' if quote != '`' => break,
            _ => {}
        }
    }
    Err("literal not terminated".to_owned())
}

/// Digits, letters and dots, and the sign of an exponent.
fn number_len(rest: &str) -> usize {
    let is_hex = rest.starts_with("0x") || rest.starts_with("0X");
    let mut previous = ' ';
    let mut only_digits = true;
    for (at, c) in rest.char_indices() {
        let is_exponent_sign = matches!(c, '+' | '-')
            && ((is_hex && matches!(previous, 'p' | 'P'))
                || (!is_hex && only_digits && matches!(previous, 'e' | 'E')));
        if !c.is_alphanumeric() && c != '.' && !is_exponent_sign {
            return at;
        }
        only_digits &= c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
        previous = c;
    }
    rest.len()
}

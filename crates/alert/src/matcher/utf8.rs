//! The grammar of matchers since Alertmanager 0.27: names and values of any UTF-8, in Go's double quotes where they have
//! blanks or one of ``{}!=~,\"'` ``.
//!
//! Errors begin with the columns `[start, end)`, in characters from 0.

use model::{Error, Result};
use query::template::go_unquote;

use super::{Matcher, Matchers, Op, is_reserved};

/// Reads matchers between commas, with or without braces around all of them.
pub(super) fn parse(text: &str) -> Result<Matchers> {
    let mut tokens = Tokens { text, at: 0, column: 0, ahead: None };
    let mut matchers = Matchers::default();
    let Some(first) = tokens.peek()? else { return Ok(matchers) };
    let has_brace = first.kind == Kind::Open;
    if has_brace {
        tokens.next()?;
    }
    loop {
        match tokens.peek()? {
            Some(token) if token.kind == Kind::Close => break,
            None if !matchers.0.is_empty() || has_brace => break,
            _ => {}
        }
        matchers.0.push(matcher(&mut tokens)?);
        let why = "expected a comma or close brace";
        match tokens.peek().map_err(|e| and(&e, why))? {
            Some(token) if token.kind == Kind::Comma => {
                tokens.next()?;
                let why = "expected a matcher or close brace after comma";
                if let Some(token) = tokens.peek().map_err(|e| and(&e, why))?
                    && !matches!(token.kind, Kind::Close | Kind::Quoted | Kind::Bare)
                {
                    return Err(token.unexpected(why));
                }
            }
            Some(token) if token.kind != Kind::Close => return Err(token.unexpected(why)),
            _ => {}
        }
    }
    close(&mut tokens, has_brace)?;
    Ok(matchers)
}

/// Reads what is one matcher.
pub(super) fn parse_one(text: &str) -> Result<Matcher> {
    let mut found = parse(text)?.0;
    match (found.len(), found.pop()) {
        (1, Some(matcher)) => Ok(matcher),
        (0, _) => Err(Error::invalid("no matchers")),
        (count, _) => Err(Error::invalid(format!("expected 1 matcher, found {count}"))),
    }
}

fn close(tokens: &mut Tokens<'_>, has_brace: bool) -> Result<()> {
    match tokens.next()? {
        Some(token) if token.kind == Kind::Close && !has_brace => {
            return Err(Error::invalid(format!("0:{}: }}: expected opening brace", token.end)));
        }
        None if has_brace => return Err(tokens.ended("expected close brace")),
        _ => {}
    }
    let why = "expected end of input";
    match tokens.next().map_err(|e| and(&e, why))? {
        None => Ok(()),
        Some(token) => {
            let Token { text, start, end, .. } = token;
            Err(Error::invalid(format!("{start}:{end}: {text}: {why}")))
        }
    }
}

fn matcher(tokens: &mut Tokens<'_>) -> Result<Matcher> {
    let name = text(tokens, "expected label name")?;
    let why = "expected an operator such as '=', '!=', '=~' or '!~'";
    let op = match tokens.next().map_err(|e| and(&e, why))? {
        Some(Token { kind: Kind::Op(op), .. }) => op,
        Some(token) => return Err(token.unexpected(why)),
        None => return Err(tokens.ended(why)),
    };
    let value = text(tokens, "expected label value")?;
    Matcher::new(name, op, value)
        .map_err(|e| Error::invalid(format!("failed to create matcher: {}", e.message())))
}

fn text(tokens: &mut Tokens<'_>, why: &str) -> Result<String> {
    match tokens.next().map_err(|e| and(&e, why))? {
        Some(token) if token.kind == Kind::Bare => Ok(token.text.to_owned()),
        Some(token) if token.kind == Kind::Quoted => go_unquote(token.text).map_err(|_| {
            let Token { text, start, end, .. } = token;
            Error::invalid(format!("{start}:{end}: {text}: invalid input"))
        }),
        Some(token) => Err(token.unexpected(why)),
        None => Err(tokens.ended(why)),
    }
}

/// What is wrong with a text, and what should have stood there.
fn and(error: &Error, why: &str) -> Error {
    Error::invalid(format!("{}: {why}", error.message()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Close,
    Comma,
    Op(Op),
    Quoted,
    Bare,
}

#[derive(Debug, Clone, Copy)]
struct Token<'t> {
    kind: Kind,
    text: &'t str,
    /// Columns in characters.
    start: usize,
    end: usize,
}

impl Token<'_> {
    fn unexpected(&self, why: &str) -> Error {
        let Self { text, start, end, .. } = self;
        Error::invalid(format!("{start}:{end}: unexpected {text}: {why}"))
    }
}

struct Tokens<'t> {
    text: &'t str,
    /// Byte and column of what was not read yet.
    at: usize,
    column: usize,
    ahead: Option<Token<'t>>,
}

impl<'t> Tokens<'t> {
    fn ended(&self, why: &str) -> Error {
        Error::invalid(format!("0:{}: end of input: {why}", self.column))
    }

    fn peek(&mut self) -> Result<Option<Token<'t>>> {
        if self.ahead.is_none() {
            self.ahead = self.scan()?;
        }
        Ok(self.ahead)
    }

    fn next(&mut self) -> Result<Option<Token<'t>>> {
        let next = self.peek();
        self.ahead = None;
        next
    }

    fn scan(&mut self) -> Result<Option<Token<'t>>> {
        let rest = &self.text[self.at..];
        let blank = rest.len() - rest.trim_start().len();
        self.skip(blank);
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let mut token = |kind, bytes| {
            let (at, start) = (self.at, self.column);
            self.skip(bytes);
            Ok(Some(Token { kind, text: &self.text[at..self.at], start, end: self.column }))
        };
        match first {
            '{' => token(Kind::Open, 1),
            '}' => token(Kind::Close, 1),
            ',' => token(Kind::Comma, 1),
            '=' | '!' => {
                let ops = [Op::Regex, Op::NotRegex, Op::NotEqual, Op::Equal];
                match ops.into_iter().find(|op| rest.starts_with(op.as_str())) {
                    Some(op) => token(Kind::Op(op), op.as_str().len()),
                    None if rest.len() == 1 => {
                        let (start, end) = (self.column, self.column + 1);
                        let why = "unexpected end of input, expected one of '=~'";
                        Err(Error::invalid(format!("{start}:{end}: {why}")))
                    }
                    None => Err(self.wrong(1, "expected one of '=~'")),
                }
            }
            '"' => match quoted_len(rest) {
                Some(bytes) => token(Kind::Quoted, bytes),
                None => Err(self.wrong(rest.len(), "missing end \"")),
            },
            c if is_reserved(c) => Err(self.wrong(c.len_utf8(), "invalid input")),
            _ => token(Kind::Bare, rest.find(is_reserved).unwrap_or(rest.len())),
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.column += self.text[self.at..self.at + bytes].chars().count();
        self.at += bytes;
    }

    /// What is wrong with the next `bytes`.
    fn wrong(&self, bytes: usize, why: &str) -> Error {
        let text = &self.text[self.at..self.at + bytes];
        let end = self.column + text.chars().count();
        Error::invalid(format!("{}:{end}: {text}: {why}", self.column))
    }
}

/// Bytes of the string that begins `text`, with its quotes.
fn quoted_len(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    let is_end = |c: char| {
        let was_escaped = is_escaped;
        is_escaped = c == '\\' && !was_escaped;
        c == '"' && !was_escaped
    };
    Some(text.get(1..)?.find(is_end)? + 2)
}

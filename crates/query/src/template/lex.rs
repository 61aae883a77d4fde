//! Templates as tokens: text between actions, and what stands inside them.

use std::fmt;

use super::escapes::{go_quote, shown_char};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its text says what is wrong; always the last one.
    Error,
    Text,
    Eof,
    LeftDelim,
    RightDelim,
    Space,
    Assign,
    Declare,
    Bool,
    /// A printable character that has no meaning of its own, such as a comma.
    Char,
    CharConstant,
    Dot,
    /// `.name`
    Field,
    Identifier,
    LeftParen,
    RightParen,
    Nil,
    Number,
    Pipe,
    RawString,
    String,
    /// `$name`
    Variable,
    /// `if`, `end` and the like.
    Keyword,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: Box<str>,
    /// Byte offset in the whole text.
    pub(super) pos: usize,
    /// From 1.
    pub(super) line: usize,
}

impl Token {
    /// Whether it is the keyword `word`.
    pub(super) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Keyword && &*self.text == word
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Eof => f.write_str("EOF"),
            Kind::Error => f.write_str(&self.text),
            Kind::Keyword | Kind::Dot | Kind::Nil => write!(f, "<{}>", self.text),
            _ if self.text.len() > 10 => {
                let start: String = self.text.chars().take(10).collect();
                write!(f, "{}...", go_quote(&start))
            }
            _ => f.write_str(&go_quote(&self.text)),
        }
    }
}

/// The tokens of `text`; ends with one of kind [`Kind::Eof`] or [`Kind::Error`].
pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, start: 0, line: 1, parens: 0, tokens: Vec::new() };
    match lexer.run() {
        Ok(()) => lexer.emit(Kind::Eof),
        Err(message) => {
            let (pos, line) = (lexer.start, lexer.line);
            lexer.tokens.push(Token { kind: Kind::Error, text: message.into(), pos, line });
        }
    }
    lexer.tokens
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];
const KEYWORDS: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// Where the token that is being read starts.
    start: usize,
    /// The line of `start`.
    line: usize,
    parens: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn emit(&mut self, kind: Kind) {
        let text = self.text.get(self.start..self.at).unwrap_or("");
        let newlines = text.matches('\n').count();
        let token = Token { kind, text: text.into(), pos: self.start, line: self.line };
        self.tokens.push(token);
        self.start = self.at;
        self.line += newlines;
    }

    /// Leaves out what was read.
    fn skip(&mut self) {
        self.line += self.text.get(self.start..self.at).unwrap_or("").matches('\n').count();
        self.start = self.at;
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            let Some(found) = self.rest().find("{{") else {
                self.at = self.text.len();
                if self.at > self.start {
                    self.emit(Kind::Text);
                }
                return Ok(());
            };
            let delim = self.at + found;
            let inside = self.text.get(delim + 2..).unwrap_or("");
            let trims = inside.strip_prefix('-').is_some_and(|t| t.starts_with(SPACES));
            let text = self.text.get(self.at..delim).unwrap_or("");
            self.at += if trims { text.trim_end_matches(SPACES).len() } else { text.len() };
            if self.at > self.start {
                self.emit(Kind::Text);
            }
            self.at = delim;
            self.skip();
            self.at = delim + 2 + if trims { 2 } else { 0 };
            if self.rest().starts_with("/*") {
                self.skip();
                self.comment()?;
            } else {
                self.emit(Kind::LeftDelim);
                self.parens = 0;
                while !self.inside_action()? {}
            }
        }
    }

    fn comment(&mut self) -> Result<(), String> {
        self.at += self.rest().find("*/").ok_or("unclosed comment")? + 2;
        let (ends, trims) = self.at_right_delim();
        if !ends {
            return Err("comment ends before closing delimiter".to_owned());
        }
        self.at += if trims { 4 } else { 2 };
        self.trim(trims);
        Ok(())
    }

    /// Goes on behind the end of an action.
    fn trim(&mut self, trims: bool) {
        if trims {
            self.at += self.rest().len() - self.rest().trim_start_matches(SPACES).len();
        }
        self.skip();
    }

    /// Whether the end of the action follows, and whether that trims the text behind.
    fn at_right_delim(&self) -> (bool, bool) {
        let rest = self.rest();
        let trims = rest.strip_prefix(SPACES).is_some_and(|t| t.starts_with("-}}"));
        (trims || rest.starts_with("}}"), trims)
    }

    /// Reads a token; true at the end of the action.
    fn inside_action(&mut self) -> Result<bool, String> {
        let (ends, trims) = self.at_right_delim();
        if ends {
            if self.parens > 0 {
                return Err("unclosed left paren".to_owned());
            }
            self.at += if trims { 4 } else { 2 };
            self.emit(Kind::RightDelim);
            self.trim(trims);
            return Ok(true);
        }
        let Some(c) = self.next() else { return Err("unclosed action".to_owned()) };
        let kind = match c {
            c if SPACES.contains(&c) => {
                self.spaces();
                Kind::Space
            }
            '=' => Kind::Assign,
            ':' if self.next() == Some('=') => Kind::Declare,
            ':' => return Err("expected :=".to_owned()),
            '|' => Kind::Pipe,
            '"' => self.quoted('"', "unterminated quoted string", Kind::String)?,
            '\'' => self.quoted('\'', "unterminated character constant", Kind::CharConstant)?,
            '`' => {
                self.at += self.rest().find('`').ok_or("unterminated raw quoted string")? + 1;
                Kind::RawString
            }
            '$' => self.name(Kind::Variable)?,
            '.' if !self.rest().starts_with(|c: char| c.is_ascii_digit()) => {
                if self.at_terminator() { Kind::Dot } else { self.name(Kind::Field)? }
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.at = self.start;
                self.number()?
            }
            c if is_name(c) => self.word()?,
            '(' => {
                self.parens += 1;
                Kind::LeftParen
            }
            ')' => {
                // One too many is the parser's to refuse.
                self.parens = self.parens.saturating_sub(1);
                Kind::RightParen
            }
            ' '..='~' => Kind::Char,
            c => return Err(format!("unrecognized character in action: {}", shown_char(c))),
        };
        self.emit(kind);
        Ok(false)
    }

    /// All white space but the one that belongs to a trim marker.
    fn spaces(&mut self) {
        self.at = self.start;
        while self.rest().starts_with(SPACES) && !self.at_right_delim().0 {
            self.at += 1;
        }
    }

    fn quoted(&mut self, quote: char, unterminated: &str, kind: Kind) -> Result<Kind, String> {
        loop {
            match self.next() {
                Some('\\') if !matches!(self.next(), None | Some('\n')) => {}
                Some(c) if c == quote => return Ok(kind),
                None | Some('\n' | '\\') => return Err(unterminated.to_owned()),
                Some(_) => {}
            }
        }
    }

    fn at_terminator(&self) -> bool {
        let next = self.rest().chars().next();
        let ends = |c: char| SPACES.contains(&c) || ".,|:)(".contains(c);
        next.is_none_or(ends) || self.rest().starts_with("}}")
    }

    fn name(&mut self, kind: Kind) -> Result<Kind, String> {
        let rest = self.rest();
        self.at += rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        if !self.at_terminator() {
            let c = self.rest().chars().next().unwrap_or(' ');
            return Err(format!("bad character {}", shown_char(c)));
        }
        Ok(kind)
    }

    fn word(&mut self) -> Result<Kind, String> {
        self.name(Kind::Identifier)?;
        Ok(match self.text.get(self.start..self.at).unwrap_or("") {
            "true" | "false" => Kind::Bool,
            "nil" => Kind::Nil,
            word if KEYWORDS.contains(&word) => Kind::Keyword,
            _ => Kind::Identifier,
        })
    }

    fn number(&mut self) -> Result<Kind, String> {
        let rest = self.rest();
        let mut len = usize::from(rest.starts_with(['+', '-']));
        let tail = |len: usize| rest.get(len..).unwrap_or("");
        let lower = tail(len).get(..2).unwrap_or("").to_ascii_lowercase();
        let (base, prefix) = match lower.as_str() {
            "0x" => (16, 2),
            "0o" => (8, 2),
            "0b" => (2, 2),
            _ => (10, 0),
        };
        len += prefix;
        let digits =
            |len: usize| tail(len).bytes().take_while(|b| is_digit(*b, base)).count() + len;
        len = digits(len);
        if tail(len).starts_with('.') {
            len = digits(len + 1);
        }
        let exponent: &[char] = match base {
            10 => &['e', 'E'],
            16 => &['p', 'P'],
            _ => &[],
        };
        if tail(len).starts_with(exponent) {
            len += 1;
            len += usize::from(tail(len).starts_with(['+', '-']));
            len += tail(len).bytes().take_while(|b| is_digit(*b, 10)).count();
        }
        if let Some(c) = tail(len).chars().next().filter(|c| is_name(*c)) {
            len += c.len_utf8();
            let text = rest.get(..len).unwrap_or(rest);
            return Err(format!("bad number syntax: {}", go_quote(text)));
        }
        self.at += len;
        Ok(Kind::Number)
    }
}

fn is_digit(byte: u8, base: u32) -> bool {
    byte == b'_' || char::from(byte).is_digit(base)
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphabetic() || c.is_numeric()
}

//! Parsing templates: text and actions into nodes.

use std::sync::Arc;

use model::{Error, Result};

use super::functions;
use super::value::Value;
use super::{Node, Operand, OperandKind, Pipeline, Place};
use crate::logql::{regexes, units};

/// Blocks and parentheses within each other.
const DEPTH_MAX: usize = 32;

/// Parses `text`; `name` appears in errors.
pub(super) fn parse(name: &'static str, text: &str) -> Result<Vec<Node>> {
    let mut parser = Parser { name, pieces: split(name, text)?, at: 0 };
    let (nodes, end) = parser.nodes(0)?;
    match end {
        End::Text => Ok(nodes),
        End::Else(_) | End::Block => {
            Err(parser.fail("unexpected {{end}} or {{else}} outside of a block"))
        }
    }
}

/// Text between actions, or what stands inside one.
#[derive(Debug)]
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Debug, Clone)]
struct Token {
    kind: TokenKind,
    line: usize,
    /// Byte offset in the line.
    column: usize,
    source: String,
    /// Whether white space stands in front.
    spaced: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum TokenKind {
    Word,
    /// `.name`
    Field,
    /// A dot alone.
    Dot,
    /// `$name`
    Variable,
    Text(String),
    Number(f64),
    Pipe,
    Open,
    Close,
    Assign,
    Comma,
}

fn split(name: &str, text: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trims_left = false;
    loop {
        let rest = text.get(at..).unwrap_or("");
        let Some(found) = rest.find("{{") else {
            push_text(&mut pieces, rest, trims_left, false);
            return Ok(pieces);
        };
        let inside = at + found + 2;
        let trims_right = text.get(inside..).is_some_and(opens_with_trim);
        push_text(&mut pieces, rest.split_at(found).0, trims_left, trims_right);
        let start = if trims_right { inside + 1 } else { inside };
        let (tokens, end, trims) = lex(name, text, start)?;
        // An action without tokens is a comment.
        if !tokens.is_empty() {
            pieces.push(Piece::Action(tokens));
        }
        (at, trims_left) = (end, trims);
    }
}

fn opens_with_trim(inside: &str) -> bool {
    inside.strip_prefix('-').is_some_and(|t| t.starts_with(char::is_whitespace))
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trims_left: bool, trims_right: bool) {
    let text = if trims_left { text.trim_start() } else { text };
    let text = if trims_right { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Tokens of the action from `at` on, the position behind it, and whether it trims the text that follows.
fn lex(name: &str, text: &str, mut at: usize) -> Result<(Vec<Token>, usize, bool)> {
    let mut tokens = Vec::new();
    let mut spaced = false;
    loop {
        let rest = text.get(at..).unwrap_or("");
        let fail = |what: &str| {
            let number = text.get(..at).unwrap_or("").matches('\n').count() + 1;
            Error::invalid(format!("template: {name}:{number}: {what}"))
        };
        if let Some(tail) = rest.strip_prefix("}}") {
            return Ok((tokens, text.len() - tail.len(), false));
        }
        if spaced && let Some(tail) = rest.strip_prefix("-}}") {
            return Ok((tokens, text.len() - tail.len(), true));
        }
        let Some(first) = rest.chars().next() else { return Err(fail("unclosed action")) };
        if first.is_whitespace() {
            at += first.len_utf8();
            spaced = true;
            continue;
        }
        if rest.starts_with("/*") {
            at += rest.find("*/").ok_or_else(|| fail("unclosed comment"))? + 2;
            continue;
        }
        let (kind, len) = token(rest).map_err(|what| fail(&what))?;
        let line_start = text.get(..at).and_then(|t| t.rfind('\n')).map_or(0, |i| i + 1);
        tokens.push(Token {
            kind,
            line: text.get(..at).unwrap_or("").matches('\n').count() + 1,
            column: at - line_start,
            source: rest.split_at(len).0.to_owned(),
            spaced,
        });
        spaced = false;
        at += len;
    }
}

/// The token `rest` starts with and its length.
fn token(rest: &str) -> std::result::Result<(TokenKind, usize), String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let name_len = |text: &str| text.find(|c| !is_name(c)).unwrap_or(text.len());
    let first = rest.chars().next().unwrap_or(' ');
    Ok(match first {
        '|' => (TokenKind::Pipe, 1),
        '(' => (TokenKind::Open, 1),
        ')' => (TokenKind::Close, 1),
        ',' => (TokenKind::Comma, 1),
        '=' => (TokenKind::Assign, 1),
        ':' if rest.starts_with(":=") => (TokenKind::Assign, 2),
        '"' => quoted(rest)?,
        '`' => {
            let (raw, _) =
                rest.split_at(1).1.split_once('`').ok_or("unterminated raw quoted string")?;
            (TokenKind::Text(raw.to_owned()), raw.len() + 2)
        }
        '$' => (TokenKind::Variable, 1 + name_len(rest.split_at(1).1)),
        '.' if rest.split_at(1).1.starts_with(|c: char| c.is_ascii_digit()) => number(rest)?,
        '.' => match name_len(rest.split_at(1).1) {
            0 => (TokenKind::Dot, 1),
            len => (TokenKind::Field, 1 + len),
        },
        '0'..='9' | '-' | '+' => number(rest)?,
        c if is_name(c) => (TokenKind::Word, name_len(rest)),
        c => return Err(format!("unexpected {c:?} in command")),
    })
}

fn number(rest: &str) -> std::result::Result<(TokenKind, usize), String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let text = rest.split_at(len).0;
    let value = units::parse_number(text).map_err(|_| format!("bad number syntax: {text:?}"))?;
    Ok((TokenKind::Number(value), len))
}

fn quoted(rest: &str) -> std::result::Result<(TokenKind, usize), String> {
    const UNTERMINATED: &str = "unterminated quoted string";
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((TokenKind::Text(text), at + 1)),
            '\\' => text.push(escape(&mut chars).ok_or(UNTERMINATED)?),
            '\n' => break,
            c => text.push(c),
        }
    }
    Err(UNTERMINATED.to_owned())
}

fn escape(chars: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let hex = |digits: usize, chars: &mut dyn Iterator<Item = (usize, char)>| {
        let mut value = 0;
        for _ in 0..digits {
            value = value * 16 + chars.next()?.1.to_digit(16)?;
        }
        char::from_u32(value)
    };
    let (_, c) = chars.next()?;
    Some(match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        'x' => hex(2, chars)?,
        'u' => hex(4, chars)?,
        'U' => hex(8, chars)?,
        '\\' | '"' | '\'' => c,
        _ => return None,
    })
}

struct Parser {
    name: &'static str,
    pieces: Vec<Piece>,
    at: usize,
}

/// What ended a list of nodes.
enum End {
    /// The end of the template.
    Text,
    /// `{{end}}`
    Block,
    /// `{{else}}` with the tokens behind the word.
    Else(Vec<Token>),
}

impl Parser {
    fn fail(&self, what: impl std::fmt::Display) -> Error {
        let line = self.pieces.iter().take(self.at).rev().find_map(|p| match p {
            Piece::Action(tokens) => tokens.first().map(|t| t.line),
            Piece::Text(_) => None,
        });
        Error::invalid(format!("template: {}:{}: {what}", self.name, line.unwrap_or(1)))
    }

    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, End)> {
        if depth > DEPTH_MAX {
            return Err(self.fail(format!("nested over {DEPTH_MAX} levels deep")));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get_mut(self.at) {
            self.at += 1;
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(std::mem::take(text)));
                    continue;
                }
                // Kept in place for the line in error texts.
                Piece::Action(tokens) => tokens.clone(),
            };
            let word = match tokens.first() {
                Some(t) if t.kind == TokenKind::Word => t.source.clone(),
                _ => String::new(),
            };
            let rest = tokens.get(1..).unwrap_or(&[]);
            match word.as_str() {
                "end" => return Ok((nodes, End::Block)),
                "else" => return Ok((nodes, End::Else(rest.to_vec()))),
                "if" => nodes.push(self.parse_if(rest, depth)?),
                "with" => nodes.push(self.parse_with(rest, depth)?),
                "range" => nodes.push(self.parse_range(rest, depth)?),
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(self.fail(format!("{{{{{word}}}}} is not supported")));
                }
                _ => nodes.push(self.action(&tokens)?),
            }
        }
        Ok((nodes, End::Text))
    }

    fn action(&self, tokens: &[Token]) -> Result<Node> {
        let (variables, rest) = self.declarations(tokens)?;
        let pipeline = self.pipeline(rest)?;
        Ok(match variables.into_iter().next() {
            Some(variable) => Node::Assign { variable, value: pipeline },
            None => Node::Print(pipeline),
        })
    }

    /// `$a := …` or `$a, $b := …`.
    fn declarations<'t>(&self, tokens: &'t [Token]) -> Result<(Vec<String>, &'t [Token])> {
        let Some(at) = tokens.iter().position(|t| t.kind == TokenKind::Assign) else {
            return Ok((Vec::new(), tokens));
        };
        let (names, rest) = tokens.split_at(at);
        let mut variables = Vec::new();
        for (i, token) in names.iter().enumerate() {
            match token.kind {
                TokenKind::Variable if i % 2 == 0 => {
                    variables.push(token.source.trim_start_matches('$').to_owned());
                }
                TokenKind::Comma if i % 2 == 1 => {}
                _ => return Err(self.fail(format!("unexpected {:?} in declaration", token.source))),
            }
        }
        Ok((variables, rest.get(1..).unwrap_or(&[])))
    }

    fn parse_if(&mut self, tokens: &[Token], depth: usize) -> Result<Node> {
        let condition = self.pipeline(tokens)?;
        let (body, otherwise) = self.block(depth)?;
        Ok(Node::If { condition, body, otherwise })
    }

    fn parse_with(&mut self, tokens: &[Token], depth: usize) -> Result<Node> {
        let (variables, rest) = self.declarations(tokens)?;
        let value = self.pipeline(rest)?;
        let (body, otherwise) = self.block(depth)?;
        Ok(Node::With { value, variable: variables.into_iter().next(), body, otherwise })
    }

    fn parse_range(&mut self, tokens: &[Token], depth: usize) -> Result<Node> {
        let (variables, rest) = self.declarations(tokens)?;
        let over = self.pipeline(rest)?;
        let (body, otherwise) = self.block(depth)?;
        Ok(Node::Range { over, variables, body, otherwise })
    }

    /// The nodes up to `{{end}}`, and those behind `{{else}}`.
    fn block(&mut self, depth: usize) -> Result<(Vec<Node>, Vec<Node>)> {
        let (body, end) = self.nodes(depth + 1)?;
        let else_tokens = match end {
            End::Block => return Ok((body, Vec::new())),
            End::Text => return Err(self.fail("unexpected EOF: missing {{end}}")),
            End::Else(tokens) => tokens,
        };
        if let Some((word, rest)) = else_tokens.split_first() {
            // `else if` shares the end of the block it stands in.
            return match word.source.as_str() {
                "if" => Ok((body, vec![self.parse_if(rest, depth + 1)?])),
                "with" => Ok((body, vec![self.parse_with(rest, depth + 1)?])),
                other => Err(self.fail(format!("unexpected {other:?} behind else"))),
            };
        }
        match self.nodes(depth + 1)? {
            (otherwise, End::Block) => Ok((body, otherwise)),
            (_, End::Else(_)) => Err(self.fail("expected end; found {{else}}")),
            (_, End::Text) => Err(self.fail("unexpected EOF: missing {{end}}")),
        }
    }

    fn pipeline(&self, tokens: &[Token]) -> Result<Pipeline> {
        let mut at = 0;
        let pipeline = self.commands(tokens, &mut at, 0)?;
        match tokens.get(at) {
            None => Ok(pipeline),
            Some(token) => Err(self.fail(format!("unexpected {:?} in command", token.source))),
        }
    }

    fn commands(&self, tokens: &[Token], at: &mut usize, depth: usize) -> Result<Pipeline> {
        if depth > DEPTH_MAX {
            return Err(self.fail(format!("nested over {DEPTH_MAX} levels deep")));
        }
        let mut commands = vec![Vec::new()];
        while let Some(token) = tokens.get(*at) {
            match token.kind {
                TokenKind::Close => break,
                TokenKind::Pipe => {
                    if commands.last().is_some_and(Vec::is_empty) {
                        return Err(self.fail("missing value for command"));
                    }
                    commands.push(Vec::new());
                    *at += 1;
                }
                _ => {
                    let operand = self.operand(tokens, at, depth)?;
                    commands.last_mut().expect("BUG: starts with one command").push(operand);
                }
            }
        }
        if commands.last().is_some_and(Vec::is_empty) {
            return Err(self.fail("missing value for command"));
        }
        commands.iter_mut().for_each(|c| compile_pattern(c));
        Ok(Pipeline { commands })
    }

    fn operand(&self, tokens: &[Token], at: &mut usize, depth: usize) -> Result<Operand> {
        let token = &tokens[*at];
        *at += 1;
        let mut fields = Vec::new();
        let kind = match &token.kind {
            TokenKind::Dot => OperandKind::Dot,
            TokenKind::Field => {
                fields.push(token.source.trim_start_matches('.').to_owned());
                OperandKind::Dot
            }
            TokenKind::Variable => {
                OperandKind::Variable(token.source.trim_start_matches('$').to_owned())
            }
            TokenKind::Text(text) => OperandKind::Literal(Value::Text(text.clone())),
            TokenKind::Number(value) => OperandKind::Literal(number_value(&token.source, *value)),
            TokenKind::Word => self.word(&token.source)?,
            TokenKind::Open => {
                let nested = self.commands(tokens, at, depth + 1)?;
                if tokens.get(*at).map(|t| &t.kind) != Some(&TokenKind::Close) {
                    return Err(self.fail("unclosed left paren"));
                }
                *at += 1;
                OperandKind::Nested(nested)
            }
            TokenKind::Pipe | TokenKind::Close | TokenKind::Assign | TokenKind::Comma => {
                return Err(self.fail(format!("unexpected {:?} in operand", token.source)));
            }
        };
        let mut source = token.source.clone();
        while let Some(next) = tokens.get(*at).filter(|t| t.kind == TokenKind::Field && !t.spaced) {
            fields.push(next.source.trim_start_matches('.').to_owned());
            source.push_str(&next.source);
            *at += 1;
        }
        let place = Place { line: token.line, column: token.column, source };
        Ok(Operand { kind, fields, place })
    }

    fn word(&self, word: &str) -> Result<OperandKind> {
        Ok(match word {
            "true" => OperandKind::Literal(Value::Bool(true)),
            "false" => OperandKind::Literal(Value::Bool(false)),
            "nil" => OperandKind::Literal(Value::Nil),
            _ => match functions::find(word) {
                Some(function) => OperandKind::Function(function),
                None => return Err(self.fail(format!("function {word:?} not defined"))),
            },
        })
    }
}

/// Compiles the pattern of a function that takes one, if it is written out; a malformed one fails when it is used.
fn compile_pattern(command: &mut [Operand]) {
    if let [function, argument, ..] = command
        && functions::takes_pattern(&function.place.source)
        && let OperandKind::Literal(Value::Text(text)) = &argument.kind
        && let Ok(regex) = regexes::compile(text)
    {
        argument.kind = OperandKind::Literal(Value::Regex(Arc::new(regex)));
    }
}

fn number_value(source: &str, value: f64) -> Value {
    match source.parse::<i64>() {
        Ok(n) => Value::Int(n),
        Err(_) => Value::Float(value),
    }
}

//! The grammar of JMESPath, by binding power.

use model::{Error, Result};

use super::functions::Function;
use super::lexer::{Token, tokens};
use super::{Comparison, Node};

/// Longest expression.
const EXPRESSION_BYTES_MAX: usize = 4 << 10;
/// How deep expressions may be nested.
const DEPTH_MAX: usize = 64;
/// What binds weaker ends a projection.
const PROJECTION_STOP: u8 = 10;

pub(super) fn parse(text: &str) -> Result<Node> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let len = text.len();
        return Err(Error::invalid(format!(
            "expression has {len} bytes; the limit is {EXPRESSION_BYTES_MAX}"
        )));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let node = parser.expression(0)?;
    match parser.peek() {
        Token::End => Ok(node),
        _ => Err(parser.unexpected()),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

fn binding_power(token: &Token) -> u8 {
    match token {
        Token::Sign(sign) => match *sign {
            "|" => 1,
            "||" => 2,
            "&&" => 3,
            "==" | "!=" | "<" | "<=" | ">" | ">=" => 5,
            "[]" => 9,
            "*" => 20,
            "[?" => 21,
            "." => 40,
            "!" => 45,
            "{" => 50,
            "[" => 55,
            "(" => 60,
            _ => 0,
        },
        _ => 0,
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(_, token)| token)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is(&self, sign: &'static str) -> bool {
        *self.peek() == Token::Sign(sign)
    }

    /// Goes past `sign` if it is next.
    fn skip(&mut self, sign: &'static str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &'static str) -> Result<()> {
        if self.skip(sign) {
            return Ok(());
        }
        Err(match self.tokens.get(self.at) {
            Some((at, token)) if *token != Token::End => {
                Error::invalid(format!("expected {sign} at {at}"))
            }
            _ => Error::invalid(format!("expected {sign} at the end")),
        })
    }

    fn unexpected(&self) -> Error {
        match self.tokens.get(self.at) {
            Some((at, Token::Sign(sign))) => Error::invalid(format!("unexpected {sign} at {at}")),
            Some((_, Token::End)) | None => {
                Error::invalid("expression ends where a value is wanted")
            }
            Some((at, _)) => Error::invalid(format!("unexpected value at {at}")),
        }
    }

    fn expression(&mut self, power: u8) -> Result<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::invalid(format!(
                "expression is nested deeper than {DEPTH_MAX} levels"
            )));
        }
        let mut left = self.first()?;
        while power < binding_power(self.peek()) {
            left = self.behind(left)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// What can begin an expression.
    fn first(&mut self) -> Result<Node> {
        Ok(match self.next() {
            Token::Literal(value) => Node::Literal(value),
            Token::Name(name) => Node::Field(name),
            Token::Quoted(name) if !self.is("(") => Node::Field(name),
            Token::Sign("@") => Node::Current,
            Token::Sign("&") => Node::Reference(Box::new(self.expression(0)?)),
            Token::Sign("!") => Node::Not(Box::new(self.expression(45)?)),
            Token::Sign("*") => {
                let right = if self.is("]") { Node::Current } else { self.projected(20)? };
                Node::EachValue(Box::new(Node::Current), Box::new(right))
            }
            Token::Sign("[?") => self.filter(Node::Current)?,
            Token::Sign("[]") => self.flattened(Node::Current)?,
            Token::Sign("{") => self.object()?,
            Token::Sign("(") => {
                let inside = self.expression(0)?;
                self.expect(")")?;
                inside
            }
            Token::Sign("[") => match self.peek() {
                Token::Number(_) | Token::Sign(":") => self.index(Node::Current)?,
                Token::Sign("*")
                    if self.tokens.get(self.at + 1).map(|(_, t)| t) == Some(&Token::Sign("]")) =>
                {
                    self.at += 2;
                    self.each(Node::Current)?
                }
                _ => self.list()?,
            },
            _ => {
                self.at -= 1;
                return Err(self.unexpected());
            }
        })
    }

    /// What can stand behind `left`.
    fn behind(&mut self, left: Node) -> Result<Node> {
        let two = |make: fn(Box<Node>, Box<Node>) -> Node, left, right| {
            make(Box::new(left), Box::new(right))
        };
        let Token::Sign(sign) = self.next() else {
            self.at -= 1;
            return Err(self.unexpected());
        };
        Ok(match sign {
            "." if self.skip("*") => {
                let right = self.projected(40)?;
                two(Node::EachValue, left, right)
            }
            "." => {
                let right = self.behind_dot(40)?;
                two(Node::Then, left, right)
            }
            "|" => {
                let right = self.expression(1)?;
                two(Node::Then, left, right)
            }
            "||" => {
                let right = self.expression(2)?;
                two(Node::Or, left, right)
            }
            "&&" => {
                let right = self.expression(3)?;
                two(Node::And, left, right)
            }
            "[?" => self.filter(left)?,
            "[]" => self.flattened(left)?,
            "[" if matches!(self.peek(), Token::Number(_) | Token::Sign(":")) => {
                self.index(left)?
            }
            "[" => {
                self.expect("*")?;
                self.expect("]")?;
                self.each(left)?
            }
            "(" => self.call(left)?,
            _ => {
                let comparison = match sign {
                    "==" => Comparison::Equal,
                    "!=" => Comparison::NotEqual,
                    "<" => Comparison::Less,
                    "<=" => Comparison::LessOrEqual,
                    ">" => Comparison::Greater,
                    ">=" => Comparison::GreaterOrEqual,
                    _ => {
                        self.at -= 1;
                        return Err(self.unexpected());
                    }
                };
                let right = self.expression(5)?;
                Node::Compare(comparison, Box::new(left), Box::new(right))
            }
        })
    }

    fn each(&mut self, left: Node) -> Result<Node> {
        Ok(Node::Each(Box::new(left), Box::new(self.projected(20)?)))
    }

    fn flattened(&mut self, left: Node) -> Result<Node> {
        let flat = Box::new(Node::Flatten(Box::new(left)));
        Ok(Node::Each(flat, Box::new(self.projected(9)?)))
    }

    fn filter(&mut self, list: Node) -> Result<Node> {
        let condition = Box::new(self.expression(0)?);
        self.expect("]")?;
        let then = if self.is("[]") { Node::Current } else { self.projected(21)? };
        Ok(Node::Filter { list: Box::new(list), condition, then: Box::new(then) })
    }

    /// What is done to each item of a projection.
    fn projected(&mut self, power: u8) -> Result<Node> {
        if binding_power(self.peek()) < PROJECTION_STOP {
            return Ok(Node::Current);
        }
        if self.is("[") || self.is("[?") {
            return self.expression(power);
        }
        self.expect(".")?;
        self.behind_dot(power)
    }

    fn behind_dot(&mut self, power: u8) -> Result<Node> {
        match self.peek() {
            Token::Name(_) | Token::Quoted(_) | Token::Sign("*") => self.expression(power),
            Token::Sign("[") => {
                self.at += 1;
                self.list()
            }
            Token::Sign("{") => {
                self.at += 1;
                self.object()
            }
            Token::End => Err(Error::invalid("expression ends after a dot")),
            _ => Err(self.unexpected()),
        }
    }

    /// `[n]` or `[start:end:step]`, from behind the bracket.
    fn index(&mut self, left: Node) -> Result<Node> {
        let mut parts = [None; 3];
        let mut colons = 0;
        loop {
            match self.next() {
                Token::Number(n) if parts.get(colons).is_some_and(Option::is_none) => {
                    parts[colons] = Some(n);
                }
                Token::Sign(":") if colons < 2 => colons += 1,
                Token::Sign("]") => break,
                _ => {
                    self.at -= 1;
                    return self.expect("]").map(|()| Node::Current);
                }
            }
        }
        let left = Box::new(left);
        if colons == 0 {
            let index = Node::Index(parts[0].unwrap_or(0));
            return Ok(Node::Then(left, Box::new(index)));
        }
        let [start, end, step] = parts;
        let step = step.unwrap_or(1);
        if step == 0 {
            return Err(Error::invalid("step of a slice cannot be 0"));
        }
        let slice = Node::Then(left, Box::new(Node::Slice { start, end, step }));
        self.each(slice)
    }

    /// `a, b]`
    fn list(&mut self) -> Result<Node> {
        let mut nodes = Vec::new();
        loop {
            nodes.push(self.expression(0)?);
            if !self.skip(",") {
                self.expect("]")?;
                return Ok(Node::List(nodes));
            }
        }
    }

    /// `a: b, c: d}`
    fn object(&mut self) -> Result<Node> {
        let mut entries = Vec::new();
        loop {
            let (Token::Name(name) | Token::Quoted(name)) = self.next() else {
                self.at -= 1;
                return Err(self.unexpected());
            };
            self.expect(":")?;
            entries.push((name, self.expression(0)?));
            if !self.skip(",") {
                self.expect("}")?;
                return Ok(Node::Object(entries));
            }
        }
    }

    /// Arguments of the function `left`, from behind the parenthesis.
    fn call(&mut self, left: Node) -> Result<Node> {
        let Node::Field(name) = left else {
            self.at -= 1;
            return Err(self.unexpected());
        };
        let mut arguments = Vec::new();
        while !self.is(")") {
            arguments.push(self.expression(0)?);
            if !self.skip(",") {
                break;
            }
        }
        self.expect(")")?;
        let function = Function::called(&name, &arguments)?;
        Ok(Node::Call(function, arguments))
    }
}

//! Parsing templates: tokens into nodes, with the checks that Go makes before anything runs.

use std::sync::Arc;

use model::{Error, Result};

use super::ast::{Command, Node, Operand, Pipe, Source, Term, Tree};
use super::builtins;
use super::escapes::go_quote;
use super::function::{Function, Param};
use super::lex::{Kind, Token, lex};
use super::numbers;
use super::value::Value;
use crate::syntax;

/// Blocks and parentheses within each other.
const DEPTH_MAX: usize = 64;
/// Longest template in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// The template `name` that `text` is, and those it defines.
pub(super) fn parse(name: &str, text: &str, functions: &'static [Function]) -> Result<Vec<Tree>> {
    if text.len() > TEXT_BYTES_MAX {
        let bytes = text.len();
        return Err(Error::invalid(format!(
            "template: {name} has {bytes} bytes; the limit is {TEXT_BYTES_MAX}"
        )));
    }
    let name: Arc<str> = name.into();
    let source = Arc::new(Source { name: Arc::clone(&name), text: text.into() });
    let mut parser = Parser {
        source: Arc::clone(&source),
        functions,
        tokens: lex(text),
        at: 0,
        action_line: 0,
        variables: vec!["$".into()],
        range_depth: 0,
        depth: 0,
        trees: Vec::new(),
    };
    let nodes = parser.top()?;
    parser.add(Tree { name, source, nodes })?;
    Ok(parser.trees)
}

struct Parser {
    source: Arc<Source>,
    functions: &'static [Function],
    tokens: Vec<Token>,
    /// The next token.
    at: usize,
    /// Where the action began that is being read.
    action_line: usize,
    /// The variables in scope.
    variables: Vec<Box<str>>,
    range_depth: usize,
    depth: usize,
    trees: Vec<Tree>,
}

/// What ended a list of nodes.
enum End {
    End,
    Else,
}

impl End {
    fn written(&self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        let last = self.tokens.len() - 1;
        &self.tokens[self.at.min(last)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn peek_non_space(&mut self) -> &Token {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
        self.peek()
    }

    fn next_non_space(&mut self) -> Token {
        self.peek_non_space();
        self.next()
    }

    /// An error at the token read last.
    fn fail(&self, what: impl std::fmt::Display) -> Error {
        let token = self.tokens.get(self.at.saturating_sub(1)).unwrap_or_else(|| self.peek());
        Error::invalid(format!("template: {}:{}: {what}", self.source.name, token.line))
    }

    fn unexpected(&self, token: &Token, context: &str) -> Error {
        if token.kind != Kind::Error {
            return self.fail(format!("unexpected {token} in {context}"));
        }
        let mut what = token.to_string();
        if self.action_line != 0 && self.action_line != token.line {
            what.push_str(if what.ends_with(" action") { "" } else { " in action" });
            what.push_str(&format!(" started at {}:{}", self.source.name, self.action_line));
        }
        self.fail(what)
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token> {
        let token = self.next_non_space();
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(&token, context)) }
    }

    fn add(&mut self, tree: Tree) -> Result<()> {
        match self.trees.iter().position(|t| t.name == tree.name) {
            None => self.trees.push(tree),
            Some(at) if self.trees[at].is_empty() => self.trees[at] = tree,
            Some(_) if tree.is_empty() => {}
            Some(_) => {
                let name = go_quote(&tree.name);
                return Err(self.fail(format!("template: multiple definition of template {name}")));
            }
        }
        Ok(())
    }

    fn top(&mut self) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        while self.peek().kind != Kind::Eof {
            if self.peek().kind == Kind::LeftDelim {
                let delim = self.at;
                self.at += 1;
                if self.peek_non_space().is("define") {
                    self.at += 1;
                    self.definition()?;
                    continue;
                }
                self.at = delim;
            }
            match self.text_or_action()? {
                Ok(node) => nodes.push(node),
                Err(end) => return Err(self.fail(format!("unexpected {}", end.written()))),
            }
        }
        Ok(nodes)
    }

    fn template_name(&self, token: &Token, context: &str) -> Result<Box<str>> {
        match token.kind {
            Kind::String | Kind::RawString => self.unquote(token).map(Into::into),
            _ => Err(self.unexpected(token, context)),
        }
    }

    fn unquote(&self, token: &Token) -> Result<String> {
        let unquoted = syntax::unquote(&token.text, 0);
        unquoted.map(|q| q.text).map_err(|_| self.fail("invalid syntax"))
    }

    fn definition(&mut self) -> Result<()> {
        const CONTEXT: &str = "define clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        self.expect(Kind::RightDelim, CONTEXT)?;
        self.tree(&name, CONTEXT)
    }

    /// The template up to `{{end}}`, with variables of its own.
    fn tree(&mut self, name: &str, context: &str) -> Result<()> {
        let outer_variables = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let outer_depth = std::mem::replace(&mut self.range_depth, 0);
        let (nodes, end) = self.list()?;
        if let End::Else = end {
            return Err(self.fail(format!("unexpected {} in {context}", end.written())));
        }
        (self.variables, self.range_depth) = (outer_variables, outer_depth);
        self.add(Tree { name: name.into(), source: Arc::clone(&self.source), nodes })
    }

    /// Nodes up to `{{end}}` or `{{else}}`.
    fn list(&mut self) -> Result<(Vec<Node>, End)> {
        self.deeper()?;
        let mut nodes = Vec::new();
        while self.peek_non_space().kind != Kind::Eof {
            match self.text_or_action()? {
                Ok(node) => nodes.push(node),
                Err(end) => {
                    self.depth -= 1;
                    return Ok((nodes, end));
                }
            }
        }
        self.at += 1;
        Err(self.fail("unexpected EOF"))
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fail(format!("nested over {DEPTH_MAX} levels deep")));
        }
        Ok(())
    }

    fn text_or_action(&mut self) -> Result<std::result::Result<Node, End>> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Ok(Node::Text(token.text))),
            Kind::LeftDelim => {
                self.action_line = token.line;
                let node = self.action();
                self.action_line = 0;
                node
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Result<std::result::Result<Node, End>> {
        let token = self.peek_non_space().clone();
        if token.kind != Kind::Keyword || token.is("define") {
            return self.pipeline("command", Kind::RightDelim).map(|pipe| Ok(Node::Action(pipe)));
        }
        self.at += 1;
        Ok(Ok(match &*token.text {
            "block" => self.block()?,
            "break" => self.jump("{{break}}", Node::Break)?,
            "continue" => self.jump("{{continue}}", Node::Continue)?,
            "if" => {
                self.control("if", |pipe, body, otherwise| Node::If { pipe, body, otherwise })?
            }
            "with" => {
                self.control("with", |pipe, body, otherwise| Node::With { pipe, body, otherwise })?
            }
            "range" => self.control("range", |pipe, body, otherwise| Node::Range {
                pipe,
                body,
                otherwise,
            })?,
            "template" => self.template()?,
            "else" => {
                let next = self.peek_non_space();
                // What follows reads as a block of its own, which ends with the one it stands in.
                if !next.is("if") && !next.is("with") {
                    self.expect(Kind::RightDelim, "else")?;
                }
                return Ok(Err(End::Else));
            }
            _ => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Err(End::End));
            }
        }))
    }

    fn jump(&mut self, written: &str, node: Node) -> Result<Node> {
        let token = self.next_non_space();
        if token.kind != Kind::RightDelim {
            return Err(self.unexpected(&token, written));
        }
        if self.range_depth == 0 {
            return Err(self.fail(format!("{written} outside {{{{range}}}}")));
        }
        Ok(node)
    }

    fn control(
        &mut self,
        word: &str,
        node: fn(Pipe, Vec<Node>, Vec<Node>) -> Node,
    ) -> Result<Node> {
        let outer = self.variables.len();
        let pipe = self.pipeline(word, Kind::RightDelim)?;
        let is_range = usize::from(word == "range");
        self.range_depth += is_range;
        let (body, end) = self.list()?;
        self.range_depth -= is_range;
        let mut otherwise = Vec::new();
        if let End::Else = end {
            if word != "range" && self.peek_non_space().is(word) {
                self.at += 1;
                self.deeper()?;
                otherwise.push(self.control(word, node)?);
                self.depth -= 1;
            } else {
                let end;
                (otherwise, end) = self.list()?;
                if let End::Else = end {
                    return Err(self.fail(format!("expected end; found {}", end.written())));
                }
            }
        }
        self.variables.truncate(outer);
        Ok(node(pipe, body, otherwise))
    }

    fn template(&mut self) -> Result<Node> {
        const CONTEXT: &str = "template clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = if self.peek_non_space().kind == Kind::RightDelim {
            self.at += 1;
            None
        } else {
            Some(self.pipeline(CONTEXT, Kind::RightDelim)?)
        };
        Ok(Node::Template { pos: token.pos, name, pipe })
    }

    fn block(&mut self) -> Result<Node> {
        const CONTEXT: &str = "block clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::RightDelim)?;
        self.tree(&name, CONTEXT)?;
        Ok(Node::Template { pos: token.pos, name, pipe: Some(pipe) })
    }

    /// Commands up to `end`, which is read too.
    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe> {
        self.deeper()?;
        let pos = self.peek_non_space().pos;
        let mut pipe = Pipe { pos, variables: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.at -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        if pipe.commands.is_empty() {
            return Err(self.fail(format!("missing value for {context}")));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            let is_value = command.args.first().is_some_and(|operand| {
                operand.fields.is_empty()
                    && matches!(operand.term, Term::Dot | Term::Nil | Term::Literal { .. })
            });
            if is_value {
                let stage = i + 1;
                let what = format!("non executable command in pipeline stage {stage}");
                return Err(self.fail(what));
            }
        }
        self.depth -= 1;
        Ok(pipe)
    }

    /// `$a :=`, `$a =`, and in a range `$a, $b :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<()> {
        while self.peek_non_space().kind == Kind::Variable {
            let start = self.at;
            let variable = self.next().text;
            let next = self.peek_non_space().clone();
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    self.at += 1;
                    pipe.assigns = next.kind == Kind::Assign;
                    self.variables.push(variable.clone());
                    pipe.variables.push(variable);
                    return Ok(());
                }
                Kind::Char if &*next.text == "," => {
                    self.at += 1;
                    self.variables.push(variable.clone());
                    pipe.variables.push(variable);
                    if context != "range" || pipe.variables.len() >= 2 {
                        return Err(self.fail(format!("too many declarations in {context}")));
                    }
                    let kind = self.peek_non_space().kind;
                    if !matches!(kind, Kind::Variable | Kind::RightDelim | Kind::RightParen) {
                        return Err(self.fail("range can only initialize variables"));
                    }
                }
                _ => {
                    self.at = start;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command> {
        let mut command = Command { pos: self.peek_non_space().pos, args: Vec::new() };
        loop {
            self.peek_non_space();
            if let Some(operand) = self.operand()? {
                command.args.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelim | Kind::RightParen => {
                    self.at -= 1;
                    break;
                }
                Kind::Pipe => break,
                _ => return Err(self.unexpected(&token, "operand")),
            }
        }
        if command.args.is_empty() {
            return Err(self.fail("empty command"));
        }
        compile_pattern(&mut command.args);
        Ok(command)
    }

    fn operand(&mut self) -> Result<Option<Operand>> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(operand));
        }
        let is_plain = operand.fields.is_empty();
        if is_plain && matches!(operand.term, Term::Dot | Term::Nil | Term::Literal { .. }) {
            let term = go_quote(&operand.to_string());
            self.at += 1;
            return Err(self.fail(format!("unexpected . after term {term}")));
        }
        // Go counts the position of a chain from its first link.
        operand.pos = self.peek().pos;
        while self.peek().kind == Kind::Field {
            let field = self.next().text;
            operand.fields.push(field.trim_start_matches('.').into());
        }
        Ok(Some(operand))
    }

    fn term(&mut self) -> Result<Option<Operand>> {
        let token = self.peek().clone();
        self.at += 1;
        let mut fields = Vec::new();
        let literal = |value| Term::Literal { value, text: token.text.clone() };
        let term = match token.kind {
            Kind::Identifier => Term::Function(self.function(&token.text)?),
            Kind::Dot => Term::Dot,
            Kind::Nil => Term::Nil,
            Kind::Variable => {
                if !self.variables.contains(&token.text) {
                    let name = go_quote(&token.text);
                    return Err(self.fail(format!("undefined variable {name}")));
                }
                Term::Variable(token.text)
            }
            Kind::Field => {
                fields.push(token.text.trim_start_matches('.').into());
                Term::Dot
            }
            Kind::Bool => literal(Value::Bool(&*token.text == "true")),
            Kind::CharConstant => {
                let text = self.unquote(&token)?;
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(c), None) => literal(Value::Int(u32::from(c).into())),
                    _ => {
                        let text = &token.text;
                        return Err(self.fail(format!("malformed character constant: {text}")));
                    }
                }
            }
            Kind::Number => {
                literal(numbers::constant(&token.text).map_err(|what| self.fail(what))?)
            }
            Kind::String | Kind::RawString => literal(Value::Text(self.unquote(&token)?)),
            Kind::LeftParen => {
                Term::Nested(self.pipeline("parenthesized pipeline", Kind::RightParen)?)
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { pos: token.pos, term, fields }))
    }

    fn function(&self, name: &str) -> Result<&'static Function> {
        let own = self.functions.iter().find(|f| f.name == name);
        own.or_else(|| builtins::find(name))
            .ok_or_else(|| self.fail(format!("function {} not defined", go_quote(name))))
    }
}

/// Compiles the pattern of a function that takes one, if it is written out; a malformed one fails when it is used.
fn compile_pattern(command: &mut [Operand]) {
    let Some((first, args)) = command.split_first_mut() else { return };
    let Term::Function(function) = first.term else { return };
    for (i, operand) in args.iter_mut().enumerate() {
        if function.param(i) == Param::Pattern
            && operand.fields.is_empty()
            && let Term::Literal { value, .. } = &mut operand.term
            && let Value::Text(text) = value
            && let Ok(regex) = model::line_regex(text)
        {
            *value = Value::Regex(Arc::new(regex));
        }
    }
}

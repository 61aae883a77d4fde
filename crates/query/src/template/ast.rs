//! What templates are parsed into, and how error texts write it: normalized, as Go does.

use std::fmt;
use std::sync::Arc;

use super::function::Function;
use super::value::Value;

/// A named template.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) name: Arc<str>,
    /// What it was parsed from.
    pub(super) source: Arc<Source>,
    pub(super) nodes: Vec<Node>,
}

/// A parsed text, for positions in error texts.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: Arc<str>,
    pub(super) text: Box<str>,
}

impl Tree {
    /// Whether it says nothing but white space.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.iter().all(|n| matches!(n, Node::Text(t) if t.trim().is_empty()))
    }
}

impl Source {
    /// `name:line:column` of byte `pos`; the column counts bytes from 0.
    pub(super) fn place(&self, pos: usize) -> String {
        let before = self.text.get(..pos).unwrap_or(&self.text);
        let column = pos - before.rfind('\n').map_or(0, |at| at + 1);
        format!("{}:{}:{column}", self.name, before.matches('\n').count() + 1)
    }
}

#[derive(Debug)]
pub(super) enum Node {
    Text(Box<str>),
    Action(Pipe),
    /// `else if` chains are nested in `otherwise`.
    If {
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Template {
        pos: usize,
        name: Box<str>,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) pos: usize,
    /// Variables the value goes to, with their `$`.
    pub(super) variables: Vec<Box<str>>,
    /// `=` instead of `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A function, method or value, and its arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) pos: usize,
    pub(super) args: Vec<Operand>,
}

/// A term and the fields taken from it: `.a.b`, `$x.a`, `(f 1).a`.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) pos: usize,
    pub(super) term: Term,
    pub(super) fields: Vec<Box<str>>,
}

#[derive(Debug)]
pub(super) enum Term {
    Dot,
    Nil,
    Literal {
        value: Value,
        /// As written.
        text: Box<str>,
    },
    /// With its `$`.
    Variable(Box<str>),
    Function(&'static Function),
    Nested(Pipe),
}

/// Where the rendering is, for error texts.
#[derive(Debug, Clone, Copy)]
pub(super) enum At<'t> {
    Start,
    Pipe(&'t Pipe),
    Command(&'t Command),
    Operand(&'t Operand),
    Template { pos: usize, name: &'t str, pipe: Option<&'t Pipe> },
}

impl At<'_> {
    pub(super) fn pos(&self) -> usize {
        match self {
            At::Start => 0,
            At::Pipe(pipe) => pipe.pos,
            At::Command(command) => command.pos,
            At::Operand(operand) => operand.pos,
            At::Template { pos, .. } => *pos,
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Start => Ok(()),
            At::Pipe(pipe) => pipe.fmt(f),
            At::Command(command) => command.fmt(f),
            At::Operand(operand) => operand.fmt(f),
            At::Template { name, pipe, .. } => {
                write!(f, "{{{{template {}", super::go_quote(name))?;
                pipe.map_or(Ok(()), |pipe| write!(f, " {pipe}"))?;
                f.write_str("}}")
            }
        }
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let assign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {assign} ", self.variables.join(", "))?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if i == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, operand) in self.args.iter().enumerate() {
            write!(f, "{}{operand}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Dot if self.fields.is_empty() => f.write_str("."),
            Term::Dot => Ok(()),
            Term::Nil => f.write_str("nil"),
            Term::Literal { text, .. } => f.write_str(text),
            Term::Variable(name) => f.write_str(name),
            Term::Function(function) => f.write_str(function.name),
            Term::Nested(pipe) => write!(f, "({pipe})"),
        }?;
        self.fields.iter().try_for_each(|field| write!(f, ".{field}"))
    }
}

/// Calls `visit` with the first field taken from a dot or variable, `*` for a bare one.
pub(super) fn visit_fields(nodes: &[Node], visit: &mut dyn FnMut(&str)) {
    for node in nodes {
        match node {
            Node::Text(_) | Node::Break | Node::Continue => {}
            Node::Action(pipe) => visit_pipe(pipe, visit),
            Node::Template { pipe, .. } => pipe.iter().for_each(|p| visit_pipe(p, visit)),
            Node::If { pipe, body, otherwise }
            | Node::With { pipe, body, otherwise }
            | Node::Range { pipe, body, otherwise } => {
                visit_pipe(pipe, visit);
                visit_fields(body, visit);
                visit_fields(otherwise, visit);
            }
        }
    }
}

fn visit_pipe(pipe: &Pipe, visit: &mut dyn FnMut(&str)) {
    for operand in pipe.commands.iter().flat_map(|c| &c.args) {
        match &operand.term {
            Term::Nested(nested) => visit_pipe(nested, visit),
            Term::Dot | Term::Variable(_) => visit(operand.fields.first().map_or("*", |f| f)),
            Term::Nil | Term::Literal { .. } | Term::Function(_) => {}
        }
    }
}

//! The template language of `line_format` and `label_format`: the part of Go's text/template that formats a row —
//! fields, pipelines, functions, variables, `if`, `with`, `range`; no `define`, `template` or methods.
//!
//! Parsing reports what is wrong with the template; rendering fails with a text for `__error_details__`. Output and
//! nesting are bounded, since template and row are both foreign.

mod escapes;
mod functions;
mod parse;
mod printf;
mod value;

use std::fmt;

use model::Result;

use self::functions::Function;
use self::value::Value;
use super::row::RowLabels;

/// Bytes one rendering may produce.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Nodes one rendering may go through, so that nested loops come to an end.
const NODES_MAX: usize = 100_000;

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    /// What it is for; appears in error texts.
    name: &'static str,
    nodes: Vec<Node>,
}

/// What a template can name: the labels of a row, the values of a pipeline.
pub trait Names {
    /// The text called `name`.
    fn get(&self, name: &str) -> Option<&str>;
    /// Visits all, in no particular order.
    fn for_each(&self, visit: &mut dyn FnMut(&str, &str));
    /// Whether what is not there is an empty text, as for LogQL, or nothing, which prints as `<no value>`.
    fn missing_is_empty(&self) -> bool;
}

impl Names for RowLabels<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.get(name)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&str, &str)) {
        self.for_each(visit);
    }

    fn missing_is_empty(&self) -> bool {
        true
    }
}

/// The row a template is rendered for.
pub struct Context<'c> {
    /// Unix nanoseconds.
    pub t_ns: i64,
    /// The line, as `__line__` gives it.
    pub line: &'c str,
    /// What the template can name.
    pub labels: &'c dyn Names,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("t_ns", &self.t_ns).finish_non_exhaustive()
    }
}

impl Context<'_> {
    /// The value called `name`.
    fn value(&self, name: &str) -> Value {
        match self.labels.get(name) {
            Some(text) => Value::Text(text.to_owned()),
            None if self.labels.missing_is_empty() => Value::Text(String::new()),
            None => Value::Nil,
        }
    }
}

#[derive(Debug, Clone)]
enum Node {
    Text(String),
    Print(Pipeline),
    Assign {
        variable: String,
        value: Pipeline,
    },
    /// `else if` chains are nested in `otherwise`.
    If {
        condition: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        value: Pipeline,
        variable: Option<String>,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        over: Pipeline,
        variables: Vec<String>,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Debug, Clone)]
struct Pipeline {
    commands: Vec<Vec<Operand>>,
}

#[derive(Debug, Clone)]
struct Operand {
    kind: OperandKind,
    /// Fields taken from it: `.a.b`.
    fields: Vec<String>,
    place: Place,
}

#[derive(Debug, Clone)]
enum OperandKind {
    Dot,
    Literal(Value),
    Variable(String),
    Function(&'static Function),
    Nested(Pipeline),
}

/// Where an operand stands, for error texts.
#[derive(Debug, Clone)]
struct Place {
    line: usize,
    column: usize,
    source: String,
}

impl Template {
    /// Parses `text`; `name` appears in errors.
    ///
    /// # Errors
    /// Invalid with the reason and line: unclosed action, unknown function, nested too deeply.
    pub fn parse(name: &'static str, text: &str) -> Result<Self> {
        parse::parse(name, text).map(|nodes| Self { name, nodes })
    }

    /// Renders it for a row.
    ///
    /// # Errors
    /// The text for `__error_details__`.
    pub fn render(&self, context: &Context<'_>) -> Result<String, String> {
        let mut renderer = Renderer {
            template: self,
            context,
            out: String::new(),
            variables: Vec::new(),
            nodes_rendered: 0,
        };
        renderer.nodes(&self.nodes, &Value::Row)?;
        Ok(renderer.out)
    }

    /// Calls `visit` with the name of each label it reads, `*` when it may read all.
    pub(crate) fn for_each_label(&self, visit: &mut impl FnMut(&str)) {
        visit_nodes(&self.nodes, visit);
    }
}

struct Renderer<'r, 'c> {
    template: &'r Template,
    context: &'r Context<'c>,
    out: String,
    variables: Vec<(String, Value)>,
    nodes_rendered: usize,
}

impl Renderer<'_, '_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        for node in nodes {
            self.node(node, dot)?;
            self.nodes_rendered += 1;
            if self.out.len() > OUTPUT_BYTES_MAX || self.nodes_rendered > NODES_MAX {
                return Err(format!(
                    "template: {}: output exceeds {OUTPUT_BYTES_MAX} bytes or {NODES_MAX} pieces",
                    self.template.name
                ));
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => match self.pipeline(pipeline, dot)? {
                Value::Row => self.all_labels().print(&mut self.out),
                value => value.print(&mut self.out),
            },
            Node::Assign { variable, value } => {
                let value = self.pipeline(value, dot)?;
                match self.variables.iter_mut().rev().find(|(n, _)| n == variable) {
                    Some((_, slot)) => *slot = value,
                    None => self.variables.push((variable.clone(), value)),
                }
            }
            Node::If { condition, body, otherwise } => {
                let holds = self.pipeline(condition, dot)?.is_true();
                self.scope(if holds { body } else { otherwise }, dot)?;
            }
            Node::With { value, variable, body, otherwise } => {
                let value = self.pipeline(value, dot)?;
                if !value.is_true() {
                    return self.scope(otherwise, dot);
                }
                let outer = self.variables.len();
                if let Some(variable) = variable {
                    self.variables.push((variable.clone(), value.clone()));
                }
                self.nodes(body, &value)?;
                self.variables.truncate(outer);
            }
            Node::Range { over, variables, body, otherwise } => {
                let over = self.pipeline(over, dot)?;
                self.range(over, variables, (body, otherwise), dot)?;
            }
        }
        Ok(())
    }

    /// Renders `nodes`, forgetting the variables they declare.
    fn scope(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        let outer = self.variables.len();
        self.nodes(nodes, dot)?;
        self.variables.truncate(outer);
        Ok(())
    }

    fn range(
        &mut self,
        over: Value,
        variables: &[String],
        (body, otherwise): (&[Node], &[Node]),
        dot: &Value,
    ) -> Result<(), String> {
        let over = if matches!(over, Value::Row) { self.all_labels() } else { over };
        let items: Vec<(Value, Value)> = match over {
            Value::List(items) => {
                items.into_iter().enumerate().map(|(i, v)| (Value::index(i), v)).collect()
            }
            Value::Map(items) => items.into_iter().map(|(k, v)| (Value::Text(k), v)).collect(),
            Value::Nil => Vec::new(),
            other => {
                return Err(format!("range can't iterate over {}", other.to_text()));
            }
        };
        if items.is_empty() {
            return self.scope(otherwise, dot);
        }
        for (key, value) in items {
            let outer = self.variables.len();
            match variables {
                [] => {}
                [one] => self.variables.push((one.clone(), value.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), value.clone()));
                }
            }
            self.nodes(body, &value)?;
            self.variables.truncate(outer);
        }
        Ok(())
    }

    /// The labels of the row, by name.
    fn all_labels(&self) -> Value {
        let mut items = Vec::new();
        let mut take = |n: &str, v: &str| items.push((n.to_owned(), Value::Text(v.to_owned())));
        self.context.labels.for_each(&mut take);
        items.sort_by(|a, b| a.0.cmp(&b.0));
        Value::Map(items)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(
        &mut self,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, String> {
        let Some((first, rest)) = operands.split_first() else { return Ok(Value::Nil) };
        let OperandKind::Function(function) = &first.kind else {
            if rest.is_empty() && piped.is_none() {
                return self.operand(first, dot);
            }
            let what = match first.fields.last() {
                Some(field) => format!("{field} is not a method but has arguments"),
                None => "can't give argument to non-function".to_owned(),
            };
            return Err(self.fail(&first.place, what));
        };
        let mut args = Vec::with_capacity(rest.len() + 1);
        if function.is_short_circuit() {
            return self.short_circuit(function, rest, piped, dot);
        }
        for operand in rest {
            args.push(self.operand(operand, dot)?);
        }
        args.extend(piped);
        let value =
            function.call(self.context, &args).map_err(|what| self.fail(&first.place, what))?;
        self.fields(value, first)
    }

    /// `and` and `or` evaluate only as far as needed.
    fn short_circuit(
        &mut self,
        function: &Function,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, String> {
        let mut last = Value::Nil;
        for operand in operands {
            last = self.operand(operand, dot)?;
            if last.is_true() == function.stops_on() {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        let value = match &operand.kind {
            OperandKind::Dot => match (dot, operand.fields.as_slice()) {
                // By far the most common operand; saves a copy of all labels.
                (Value::Row, [name]) => return Ok(self.context.value(name)),
                _ => dot.clone(),
            },
            OperandKind::Literal(value) => value.clone(),
            OperandKind::Variable(name) if name.is_empty() => Value::Row,
            OperandKind::Variable(name) => {
                let found = self.variables.iter().rev().find(|(n, _)| n == name);
                found.map(|(_, v)| v.clone()).ok_or_else(|| {
                    self.fail(&operand.place, format!("undefined variable: ${name}"))
                })?
            }
            OperandKind::Function(function) => {
                function.call(self.context, &[]).map_err(|what| self.fail(&operand.place, what))?
            }
            OperandKind::Nested(pipeline) => self.pipeline(pipeline, dot)?,
        };
        self.fields(value, operand)
    }

    fn fields(&self, mut value: Value, operand: &Operand) -> Result<Value, String> {
        for field in &operand.fields {
            value = match value {
                Value::Row => self.context.value(field),
                Value::Map(items) => {
                    items.into_iter().find(|(k, _)| k == field).map_or(Value::Nil, |(_, v)| v)
                }
                Value::Nil => Value::Nil,
                other => {
                    let what =
                        format!("can't evaluate field {field} in type {}", other.type_name());
                    return Err(self.fail(&operand.place, what));
                }
            };
        }
        Ok(value)
    }

    fn fail(&self, place: &Place, what: impl fmt::Display) -> String {
        let (name, Place { line, column, source }) = (self.template.name, place);
        format!("template: {name}:{line}:{column}: executing {name:?} at <{source}>: {what}")
    }
}

fn visit_nodes(nodes: &[Node], visit: &mut impl FnMut(&str)) {
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Print(p) | Node::Assign { value: p, .. } => visit_pipeline(p, visit),
            Node::If { condition: p, body, otherwise }
            | Node::With { value: p, body, otherwise, .. }
            | Node::Range { over: p, body, otherwise, .. } => {
                visit_pipeline(p, visit);
                visit_nodes(body, visit);
                visit_nodes(otherwise, visit);
            }
        }
    }
}

fn visit_pipeline(pipeline: &Pipeline, visit: &mut impl FnMut(&str)) {
    for operand in pipeline.commands.iter().flatten() {
        match &operand.kind {
            OperandKind::Nested(nested) => visit_pipeline(nested, visit),
            OperandKind::Dot | OperandKind::Variable(_) => {
                // A bare dot stands for all labels.
                visit(operand.fields.first().map_or("*", String::as_str));
            }
            OperandKind::Literal(_) | OperandKind::Function(_) => {}
        }
    }
}

//! Rendering templates.

use std::cell::Cell;

use super::ast::{At, Command, Node, Operand, Pipe, Term, Tree};
use super::builtins;
use super::function::{Function, Run};
use super::html::Page;
use super::value::{Trust, Value};
use super::{Env, NODES_MAX, OUTPUT_BYTES_MAX, Set};

/// Templates and blocks within each other.
const DEPTH_MAX: usize = 200;

/// The rendering that calls a function of an [`Env`].
pub struct Caller<'r> {
    set: &'r Set,
    env: &'r dyn Env,
    nodes_rendered: &'r Cell<usize>,
    depth: usize,
}

impl std::fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("depth", &self.depth).finish_non_exhaustive()
    }
}

impl Caller<'_> {
    /// Renders the template `name` of the same set for `dot`.
    ///
    /// # Errors
    /// As [`Set::render`], and when renderings are nested too deeply.
    pub fn render(&self, name: &str, dot: Value) -> Result<String, String> {
        render(self, name, dot)
    }
}

/// Renders the template `name` of `set` for `dot`.
pub(super) fn start(set: &Set, name: &str, env: &dyn Env, dot: Value) -> Result<String, String> {
    render(&Caller { set, env, nodes_rendered: &Cell::new(0), depth: 0 }, name, dot)
}

fn render(caller: &Caller<'_>, name: &str, dot: Value) -> Result<String, String> {
    let Caller { set, env, nodes_rendered, depth } = *caller;
    let Some(tree) = set.trees.get(name) else {
        let name = super::go_quote(name);
        return Err(format!("template: no template {name} associated with template {name}"));
    };
    let mut renderer = Renderer {
        set,
        env,
        tree,
        at: At::Start,
        out: String::new(),
        page: set.escapes_html.then(Page::default),
        root: dot.clone(),
        variables: Vec::new(),
        nodes_rendered,
        depth,
    };
    renderer.list(&tree.nodes, &dot)?;
    Ok(renderer.out)
}

/// How a list of nodes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Renderer<'r> {
    set: &'r Set,
    env: &'r dyn Env,
    /// The template being rendered.
    tree: &'r Tree,
    at: At<'r>,
    out: String,
    /// Where in an HTML page the output is, if it is one.
    page: Option<Page>,
    /// `$`, what the template being rendered is rendered for.
    root: Value,
    /// The others of it.
    variables: Vec<(&'r str, Value)>,
    /// Shared with renderings that functions start.
    nodes_rendered: &'r Cell<usize>,
    depth: usize,
}

type Outcome<T> = Result<T, String>;

/// What is not escaped a second time in a page: it went through the function that escapes for such a place last.
fn escaped_by(pipe: &Pipe) -> Option<Trust> {
    let last = pipe.commands.last()?.args.first()?;
    match &last.term {
        Term::Function(function) if last.fields.is_empty() => match function.name {
            "urlquery" => Some(Trust::Url),
            "html" => Some(Trust::Html),
            _ => None,
        },
        _ => None,
    }
}

impl<'r> Renderer<'r> {
    fn fail(&self, what: impl std::fmt::Display) -> String {
        let place = self.tree.source.place(self.at.pos());
        let name = super::go_quote(&self.tree.name);
        format!("template: {place}: executing {name} at <{}>: {what}", self.at)
    }

    fn list(&mut self, nodes: &'r [Node], dot: &Value) -> Outcome<Flow> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fail(format!("exceeded maximum template depth ({DEPTH_MAX})")));
        }
        for node in nodes {
            let flow = self.node(node, dot)?;
            self.spend_node()?;
            if flow != Flow::On {
                self.depth -= 1;
                return Ok(flow);
            }
        }
        self.depth -= 1;
        Ok(Flow::On)
    }

    fn spend_node(&self) -> Outcome<()> {
        let count = self.nodes_rendered.get() + 1;
        self.nodes_rendered.set(count);
        if self.out.len() > OUTPUT_BYTES_MAX || count > NODES_MAX {
            return Err(
                self.fail(format!("output exceeds {OUTPUT_BYTES_MAX} bytes or {NODES_MAX} pieces"))
            );
        }
        Ok(())
    }

    fn node(&mut self, node: &'r Node, dot: &Value) -> Outcome<Flow> {
        match node {
            Node::Text(text) => match &mut self.page {
                Some(page) => page.push_text(text, &mut self.out),
                None => self.out.push_str(text),
            },
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    match self.page.as_ref().and_then(|_| escaped_by(pipe)) {
                        Some(trust) => {
                            self.print(&Value::Trusted(trust, value.as_text().to_owned()))?;
                        }
                        None => self.print(&value)?,
                    }
                }
            }
            Node::If { pipe, body, otherwise } => {
                let outer = self.variables.len();
                let holds = self.pipe(pipe, dot)?.is_true();
                let flow = self.list(if holds { body } else { otherwise }, dot);
                self.variables.truncate(outer);
                return flow;
            }
            Node::With { pipe, body, otherwise } => {
                let outer = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                let flow = match value.is_true() {
                    true => self.list(body, &value),
                    false => self.list(otherwise, dot),
                };
                self.variables.truncate(outer);
                return flow;
            }
            Node::Range { pipe, body, otherwise } => {
                let outer = self.variables.len();
                let flow = self.range(pipe, body, otherwise, dot);
                self.variables.truncate(outer);
                return flow;
            }
            Node::Template { pos, name, pipe } => self.template(*pos, name, pipe.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn print(&mut self, value: &Value) -> Outcome<()> {
        let all;
        let value = match value {
            Value::Root => {
                all = self.env.all();
                &all
            }
            value => value,
        };
        match &mut self.page {
            Some(page) => page.push_value(value, &mut self.out).map_err(|what| self.fail(what)),
            None => {
                value.print(&mut self.out);
                Ok(())
            }
        }
    }

    fn template(
        &mut self,
        pos: usize,
        name: &'r str,
        pipe: Option<&'r Pipe>,
        dot: &Value,
    ) -> Outcome<()> {
        self.at = At::Template { pos, name, pipe };
        let Some(tree) = self.set.trees.get(name) else {
            let name = super::go_quote(name);
            return Err(self.fail(format!("template {name} not defined")));
        };
        let dot = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Nil,
        };
        let outer_tree = std::mem::replace(&mut self.tree, tree);
        let outer_root = std::mem::replace(&mut self.root, dot.clone());
        let outer_variables = std::mem::take(&mut self.variables);
        self.list(&tree.nodes, &dot)?;
        (self.tree, self.root, self.variables) = (outer_tree, outer_root, outer_variables);
        Ok(())
    }

    fn range(
        &mut self,
        pipe: &'r Pipe,
        body: &'r [Node],
        otherwise: &'r [Node],
        dot: &Value,
    ) -> Outcome<Flow> {
        let over = match self.pipe(pipe, dot)? {
            Value::Root => self.env.all(),
            value => value,
        };
        let turn = Turn { pipe, body, inner: self.variables.len() };
        let mut ran = false;
        match &over {
            Value::List(list) => {
                for (i, item) in list.items.iter().enumerate() {
                    ran = true;
                    if turn.run(self, Value::index(i), item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, item) in map.items() {
                    ran = true;
                    if turn.run(self, Value::Text(key.clone()), item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Int(count) | Value::Duration(count) => {
                if pipe.variables.len() > 1 {
                    return Err(self.fail(format!(
                        "can't use {count} to iterate over more than one variable"
                    )));
                }
                for i in 0..*count {
                    ran = true;
                    if turn.run(self, Value::Int(i), &Value::Int(i))? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Nil => {}
            other => {
                return Err(self.fail(format!("range can't iterate over {}", other.to_text())));
            }
        }
        if ran { Ok(Flow::On) } else { self.list(otherwise, dot) }
    }

    /// Takes an assignment's value to a variable that exists.
    fn assign(&mut self, name: &str, value: Value) -> Outcome<()> {
        let found = self.variables.iter_mut().rev().find(|(n, _)| *n == name);
        let slot = found.map(|(_, slot)| slot).or((name == "$").then_some(&mut self.root));
        match slot {
            Some(slot) => {
                *slot = value;
                Ok(())
            }
            None => Err(self.fail(format!("undefined variable: {name}"))),
        }
    }

    fn pipe(&mut self, pipe: &'r Pipe, dot: &Value) -> Outcome<Value> {
        self.at = At::Pipe(pipe);
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, last, dot)?);
        }
        let value = last.unwrap_or(Value::Nil);
        for variable in &pipe.variables {
            if pipe.assigns {
                self.assign(variable, value.clone())?;
            } else {
                self.variables.push((variable, value.clone()));
            }
        }
        Ok(value)
    }

    fn command(
        &mut self,
        command: &'r Command,
        last: Option<Value>,
        dot: &Value,
    ) -> Outcome<Value> {
        let Some((first, args)) = command.args.split_first() else { return Ok(Value::Nil) };
        match &first.term {
            Term::Function(function) if first.fields.is_empty() => {
                self.at = At::Operand(first);
                return self.call(function, At::Command(command), args, last, dot);
            }
            Term::Nil => {
                self.at = At::Operand(first);
                return Err(self.fail("nil is not a command"));
            }
            _ => {}
        }
        if !first.fields.is_empty() {
            return self.chain(first, args, last, dot);
        }
        if !args.is_empty() || last.is_some() {
            self.at = At::Operand(first);
            return Err(self.fail(format!("can't give argument to non-function {first}")));
        }
        self.operand(first, dot)
    }

    /// The value of an operand that is given no arguments.
    fn operand(&mut self, operand: &'r Operand, dot: &Value) -> Outcome<Value> {
        if !operand.fields.is_empty() {
            return self.chain(operand, &[], None, dot);
        }
        self.at = At::Operand(operand);
        self.term(operand, dot)
    }

    fn term(&mut self, operand: &'r Operand, dot: &Value) -> Outcome<Value> {
        Ok(match &operand.term {
            Term::Dot => dot.clone(),
            Term::Nil => Value::Nil,
            Term::Literal { value, .. } => value.clone(),
            Term::Variable(name) if &**name == "$" => self.root.clone(),
            Term::Variable(name) => {
                match self.variables.iter().rev().find(|(n, _)| *n == &**name) {
                    Some((_, value)) => value.clone(),
                    None => return Err(self.fail(format!("undefined variable: {name}"))),
                }
            }
            Term::Function(function) => {
                self.call(function, At::Operand(operand), &[], None, dot)?
            }
            Term::Nested(pipe) => self.pipe(pipe, dot)?,
        })
    }

    /// The fields of an operand, the last of which may be a method with arguments.
    fn chain(
        &mut self,
        operand: &'r Operand,
        args: &'r [Operand],
        last: Option<Value>,
        dot: &Value,
    ) -> Outcome<Value> {
        self.at = At::Operand(operand);
        if let (Term::Dot, Value::Root, [name], None) =
            (&operand.term, dot, &*operand.fields, &last)
            && args.is_empty()
        {
            // By far the most common operand; saves a copy of all labels.
            return Ok(self.env.field(name));
        }
        let mut value = self.term(operand, dot)?;
        let count = operand.fields.len();
        let mut last = last;
        let mut boxed = false;
        for (i, field) in operand.fields.iter().enumerate() {
            let is_last = i + 1 == count;
            let args = if is_last { args } else { &[] };
            let piped = if is_last { last.take() } else { None };
            // Go says that what such a map holds is anything, before it looks what it is.
            let boxed_next = matches!(&value, Value::Map(map) if !map.kind.is_of_texts);
            value = self.field(value, (boxed, field), operand, args, piped, dot)?;
            boxed = boxed_next || matches!(value, Value::Nil);
        }
        Ok(value)
    }

    fn field(
        &mut self,
        receiver: Value,
        (boxed, name): (bool, &str),
        operand: &'r Operand,
        args: &'r [Operand],
        last: Option<Value>,
        dot: &Value,
    ) -> Outcome<Value> {
        if let Some(method) = receiver.methods().iter().find(|m| m.name == name) {
            let values = self.arguments(method, args, last, dot)?;
            let mut all = Vec::with_capacity(values.len() + 1);
            all.push(receiver);
            all.extend(values);
            return self.run(method, At::Operand(operand), &all);
        }
        let has_args = !args.is_empty() || last.is_some();
        match &receiver {
            Value::Root | Value::Map(_) if has_args => {
                Err(self.fail(format!("{name} is not a method but has arguments")))
            }
            Value::Root => Ok(self.env.field(name)),
            Value::Map(map) => Ok(builtins::missing(
                map.get(name),
                map.kind.is_of_texts && self.set.missing_is_zero,
            )),
            Value::Struct(record) => {
                match record.fields.iter().find(|(field, _)| *field == name) {
                    Some(_) if has_args => Err(self
                        .fail(format!("{name} has arguments but cannot be invoked as function"))),
                    Some((_, value)) => Ok(value.clone()),
                    None => Err(self.no_field(name, &receiver, boxed)),
                }
            }
            // Nothing has no fields, but what is missing altogether passes.
            Value::Nil if !boxed || !self.set.missing_is_zero => Ok(Value::Nil),
            Value::Nil => Err(self.fail(format!("nil pointer evaluating interface {{}}.{name}"))),
            _ => Err(self.no_field(name, &receiver, boxed)),
        }
    }

    fn no_field(&self, name: &str, receiver: &Value, boxed: bool) -> String {
        let kind = if boxed { "interface {}" } else { receiver.type_name() };
        self.fail(format!("can't evaluate field {name} in type {kind}"))
    }

    fn arguments(
        &mut self,
        function: &Function,
        args: &'r [Operand],
        last: Option<Value>,
        dot: &Value,
    ) -> Outcome<Vec<Value>> {
        let count = args.len() + usize::from(last.is_some());
        function.check_count(count).map_err(|what| self.fail(what))?;
        let mut values = Vec::with_capacity(count);
        for (i, operand) in args.iter().enumerate() {
            let value = self.operand(operand, dot)?;
            values.push(self.converted(value, function, i, Some(operand))?);
        }
        if let Some(last) = last {
            values.push(self.converted(last, function, args.len(), None)?);
        }
        Ok(values)
    }

    /// `value` as argument `index` of `function`, evaluated from `operand` or piped.
    fn converted(
        &self,
        value: Value,
        function: &Function,
        index: usize,
        operand: Option<&Operand>,
    ) -> Outcome<Value> {
        let param = function.param(index);
        let written = match operand {
            Some(Operand { term: Term::Literal { text, .. }, fields, .. }) if fields.is_empty() => {
                Some(&**text)
            }
            Some(Operand { term: Term::Nil, .. }) if param != super::Param::Any => {
                let what = format!("cannot assign nil to {}", param.type_name());
                return Err(self.fail(what));
            }
            _ => None,
        };
        if let (Value::Nil, Some(operand)) = (&value, operand)
            && !operand.fields.is_empty()
            && param != super::Param::Any
        {
            let kind = param.type_name();
            let what = format!("wrong type for value; expected {kind}; got interface {{}}");
            return Err(self.fail(what));
        }
        let value = match value {
            // Functions see what is there, not that it is not made yet.
            Value::Root => self.env.all(),
            value => value,
        };
        value.convert(param, written).map_err(|what| self.fail(what))
    }

    fn call(
        &mut self,
        function: &'static Function,
        at: At<'r>,
        args: &'r [Operand],
        last: Option<Value>,
        dot: &Value,
    ) -> Outcome<Value> {
        if let Run::Stop(stops_on) = function.run {
            let count = args.len() + usize::from(last.is_some());
            function.check_count(count).map_err(|what| self.fail(what))?;
            let mut value = Value::Nil;
            for operand in args {
                value = self.operand(operand, dot)?;
                if value.is_true() == stops_on {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let values = self.arguments(function, args, last, dot)?;
        self.run(function, at, &values)
    }

    fn run(&mut self, function: &Function, at: At<'r>, values: &[Value]) -> Outcome<Value> {
        let outcome = match function.run {
            Run::Plain(run) => run(values),
            Run::Env => {
                let Self { set, env, nodes_rendered, depth, .. } = *self;
                let caller = Caller { set, env, nodes_rendered, depth };
                self.env.call(&caller, function.name, values)
            }
            Run::Stop(_) => Err("cannot be called here".to_owned()),
        };
        outcome.map_err(|what| {
            self.at = at;
            self.fail(format!("error calling {}: {what}", function.name))
        })
    }
}

/// One turn of a range.
struct Turn<'r> {
    pipe: &'r Pipe,
    body: &'r [Node],
    /// How many variables there are when the body begins.
    inner: usize,
}

impl<'r> Turn<'r> {
    fn run(&self, renderer: &mut Renderer<'r>, key: Value, item: &Value) -> Outcome<Flow> {
        renderer.spend_node()?;
        let first = if self.pipe.variables.len() == 1 { item.clone() } else { key };
        let values = [first, item.clone()];
        for (i, (variable, value)) in self.pipe.variables.iter().zip(values).enumerate() {
            if self.pipe.assigns {
                renderer.assign(variable, value)?;
            } else if let Some((_, slot)) =
                renderer.variables.get_mut(self.inner - self.pipe.variables.len() + i)
            {
                *slot = value;
            }
        }
        let flow = renderer.list(self.body, item)?;
        renderer.variables.truncate(self.inner);
        Ok(flow)
    }
}

//! Go's text/template: the one engine of LogQL's `line_format`, Promtail's `template`, Prometheus' rules and
//! Alertmanager's notifications.
//!
//! Owns: the grammar, values and how they print, the functions all of Go's templates have, error texts as Go words them.
//! Does not own: the functions and data of a user, who brings a [table](Function) and an [`Env`]. Templates and data are
//! both foreign: output, nodes gone through, nesting and recursion are bounded. Source: the documentation of Go 1.24.
//! Complex numbers and calling a function that is a value are refused.

mod ast;
mod builtins;
mod escapes;
mod function;
mod html;
mod lex;
mod moment;
mod numbers;
mod parse;
mod printf;
mod render;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Result;

pub use self::builtins::url_query;
pub use self::escapes::{go_quote, go_unquote, html};
pub use self::function::{Function, Param, Run, bounded};
pub use self::moment::{Moment, duration_text};
pub(crate) use self::numbers::read_number;
pub use self::numbers::{float_text, float_text_with, parse_float};
pub use self::render::Caller;
pub use self::value::{
    ANY_LIST, ANY_MAP, List, Map, Struct, TEXT_LIST, TEXT_MAP, Trust, Type, Value,
};

use self::ast::Tree;

/// Bytes one rendering may produce.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Nodes one rendering may go through, so that nested loops come to an end.
const NODES_MAX: usize = 100_000;

/// What a template is rendered in: the functions that are not the same everywhere, and data read only as far as asked for.
pub trait Env {
    /// Runs the function `name` of the user's table, one with [`Run::Env`].
    ///
    /// # Errors
    /// Why it cannot; appears behind `error calling NAME:`.
    fn call(
        &self,
        caller: &Caller<'_>,
        name: &'static str,
        args: &[Value],
    ) -> Result<Value, String>;

    /// The field `name` of [`Value::Root`].
    fn field(&self, _name: &str) -> Value {
        Value::Nil
    }

    /// All of [`Value::Root`], a map.
    fn all(&self) -> Value {
        Value::Nil
    }
}

/// Named templates that may use each other, and the functions they may call.
#[derive(Debug, Clone)]
pub struct Set {
    functions: &'static [Function],
    trees: BTreeMap<Arc<str>, Arc<Tree>>,
    /// Whether the text of what a map has not is empty where the map holds texts (`missingkey=zero`).
    missing_is_zero: bool,
    escapes_html: bool,
}

impl Set {
    /// An empty set whose templates may call `functions` and those that all of Go's templates have. What a map of texts
    /// has not is an empty text, as with Go's option `missingkey=zero`.
    pub fn new(functions: &'static [Function]) -> Self {
        Self { functions, trees: BTreeMap::new(), missing_is_zero: true, escapes_html: false }
    }

    /// The same for pages of HTML: what is printed is escaped for the place it stands in, as by Go's html/template.
    pub fn escaping_html(mut self) -> Self {
        self.escapes_html = true;
        self
    }

    /// Parses `text` and adds it as `name`, and the templates it defines. One with the name of an earlier one replaces it,
    /// unless it is empty.
    ///
    /// # Errors
    /// Invalid, in Go's words with name and line; the set is then as before.
    pub fn parse(&mut self, name: &str, text: &str) -> Result<()> {
        for tree in parse::parse(name, text, self.functions)? {
            let old = self.trees.get(&tree.name);
            if tree.is_empty() && old.is_some_and(|old| !old.is_empty()) {
                continue;
            }
            self.trees.insert(Arc::clone(&tree.name), Arc::new(tree));
        }
        Ok(())
    }

    /// Whether there is a template called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.trees.contains_key(name)
    }

    /// The names of all templates, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.trees.keys().map(AsRef::as_ref)
    }

    /// Renders the template `name` for `dot`.
    ///
    /// # Errors
    /// In Go's words: `template: name:line:column: executing "name" at <…>: …`.
    pub fn render(&self, name: &str, env: &dyn Env, dot: Value) -> Result<String, String> {
        render::start(self, name, env, dot)
    }

    /// Calls `visit` with the name of each field of the data that any template may read, `*` when it may read all.
    pub fn for_each_field(&self, visit: &mut dyn FnMut(&str)) {
        for tree in self.trees.values() {
            ast::visit_fields(&tree.nodes, visit);
        }
    }
}

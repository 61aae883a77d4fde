//! The templates of `line_format` and `label_format`: Go's, with the functions Loki documents and a row as their data.
//!
//! Parsing reports what is wrong with the template; rendering fails with a text for `__error_details__`.

mod functions;

use std::fmt;

use model::{Clock as _, Result, SystemClock};

use super::row::RowLabels;
use crate::template::{Caller, Env, Moment, Set, TEXT_MAP, Value};

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    /// What it is for; appears in error texts.
    name: &'static str,
    set: Set,
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

impl Env for Context<'_> {
    fn call(
        &self,
        _: &Caller<'_>,
        name: &'static str,
        _: &[Value],
    ) -> std::result::Result<Value, String> {
        Ok(match name {
            "__line__" => Value::Text(self.line.to_owned()),
            "__timestamp__" => Value::Time(Moment::utc(self.t_ns)),
            _ => Value::Time(Moment::utc(SystemClock.now_ns())),
        })
    }

    fn field(&self, name: &str) -> Value {
        match self.labels.get(name) {
            Some(text) => Value::Text(text.to_owned()),
            None if self.labels.missing_is_empty() => Value::Text(String::new()),
            None => Value::Nil,
        }
    }

    fn all(&self) -> Value {
        let mut items = Vec::new();
        let mut take = |n: &str, v: &str| items.push((n.to_owned(), Value::Text(v.to_owned())));
        self.labels.for_each(&mut take);
        Value::map(&TEXT_MAP, items)
    }
}

impl Template {
    /// Parses `text`; `name` appears in errors.
    ///
    /// # Errors
    /// Invalid with the reason and line: unclosed action, unknown function, nested too deeply.
    pub fn parse(name: &'static str, text: &str) -> Result<Self> {
        let mut set = Set::new(functions::FUNCTIONS);
        set.parse(name, text)?;
        Ok(Self { name, set })
    }

    /// Renders it for a row.
    ///
    /// # Errors
    /// The text for `__error_details__`.
    pub fn render(&self, context: &Context<'_>) -> Result<String, String> {
        self.set.render(self.name, context, Value::Root)
    }

    /// Calls `visit` with the name of each label it reads, `*` when it may read all.
    pub(crate) fn for_each_label(&self, visit: &mut impl FnMut(&str)) {
        self.set.for_each_field(visit);
    }
}

//! Functions and methods of templates: their arguments and what runs them.

use super::{OUTPUT_BYTES_MAX, Value};

/// A function of a template, or a method of a value, whose receiver is then the first argument that [`Run`] gets but none of
/// `params`.
#[derive(Debug)]
pub struct Function {
    /// As templates call it.
    pub name: &'static str,
    /// Arguments it must have.
    pub params: &'static [Param],
    /// What any further arguments are.
    pub rest: Option<Param>,
    /// What runs it.
    pub run: Run,
}

/// What an argument must be. Literals are converted as Go converts constants; other values have to be of the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// Anything.
    Any,
    /// A text.
    Text,
    /// A text that is a regular expression; one written out in the template is compiled with it.
    Pattern,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// A moment.
    Time,
    /// A duration.
    Duration,
    /// A list.
    List,
    /// A list of texts.
    Texts,
    /// A struct or map.
    Record,
}

/// What runs a function.
#[derive(Debug, Clone, Copy)]
pub enum Run {
    /// Its arguments are all it needs.
    Plain(fn(&[Value]) -> Result<Value, String>),
    /// [`Env::call`](super::Env::call).
    Env,
    /// Evaluates its arguments one by one and stops at the first that is as true as this.
    Stop(bool),
}

impl Param {
    /// The type in error texts.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text | Self::Pattern => "string",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Time => "time.Time",
            Self::Duration => "time.Duration",
            Self::List => "[]interface {}",
            Self::Texts => "[]string",
            Self::Record => "struct",
        }
    }
}

impl Function {
    /// A function of exactly these arguments.
    pub const fn new(
        name: &'static str,
        params: &'static [Param],
        run: fn(&[Value]) -> Result<Value, String>,
    ) -> Self {
        Self { name, params, rest: None, run: Run::Plain(run) }
    }

    /// A function of these arguments and any number of `rest`.
    pub const fn variadic(
        name: &'static str,
        params: &'static [Param],
        rest: Param,
        run: fn(&[Value]) -> Result<Value, String>,
    ) -> Self {
        Self { name, params, rest: Some(rest), run: Run::Plain(run) }
    }

    /// A function that [`Env::call`](super::Env::call) runs.
    pub const fn env(name: &'static str, params: &'static [Param]) -> Self {
        Self { name, params, rest: None, run: Run::Env }
    }

    /// What argument `index` must be.
    pub(super) fn param(&self, index: usize) -> Param {
        self.params.get(index).copied().or(self.rest).unwrap_or(Param::Any)
    }

    /// Checks how many arguments there are.
    pub(super) fn check_count(&self, count: usize) -> Result<(), String> {
        let (name, want) = (self.name, self.params.len());
        match self.rest {
            Some(_) if count < want => {
                Err(format!("wrong number of args for {name}: want at least {want} got {count}"))
            }
            None if count != want => {
                Err(format!("wrong number of args for {name}: want {want} got {count}"))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a result of more bytes than a rendering may have.
///
/// # Errors
/// With both figures.
pub fn bounded(bytes: usize) -> Result<(), String> {
    if bytes > OUTPUT_BYTES_MAX {
        return Err(format!("result has {bytes} bytes; the limit is {OUTPUT_BYTES_MAX}"));
    }
    Ok(())
}

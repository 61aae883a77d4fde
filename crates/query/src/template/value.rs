//! Values a template computes with, and how Go prints them.

use std::fmt::Write as _;
use std::sync::Arc;

use regex::Regex;

use super::function::{Function, Param, bounded};
use super::moment::{self, Moment, duration_text};
use super::numbers::float_text;

/// A value. Copies of lists, maps and structs share what they hold.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing.
    Nil,
    /// The data of the [`Env`](super::Env), a map of texts that is not made before it is needed.
    Root,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// A text that needs no more escaping where it says.
    Trusted(Trust, String),
    /// The pattern of a function that takes one, compiled.
    Regex(Arc<Regex>),
    /// A moment.
    Time(Moment),
    /// Nanoseconds between two moments.
    Duration(i64),
    /// Values in order.
    List(Arc<List>),
    /// Values by name.
    Map(Arc<Map>),
    /// Values by fixed names.
    Struct(Arc<Struct>),
}

/// Where a text was said to be safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// HTML.
    Html,
    /// A URL.
    Url,
}

/// What values of one Go type have in common.
#[derive(Debug)]
pub struct Type {
    /// In error texts.
    pub name: &'static str,
    /// What can be called on them; `String`, if there is one without arguments, prints them.
    pub methods: &'static [Function],
    /// Whether a map's or list's values are texts, so that a missing one is an empty text.
    pub is_of_texts: bool,
}

/// A list.
#[derive(Debug)]
pub struct List {
    /// Its type.
    pub kind: &'static Type,
    /// Its values.
    pub items: Vec<Value>,
}

/// A map.
#[derive(Debug)]
pub struct Map {
    /// Its type.
    pub kind: &'static Type,
    /// Sorted by name.
    items: Vec<(String, Value)>,
}

/// A struct.
#[derive(Debug)]
pub struct Struct {
    /// Its type; one whose name begins with `*` prints as a pointer does.
    pub kind: &'static Type,
    /// In the order of declaration.
    pub fields: Vec<(&'static str, Value)>,
}

/// `[]interface {}`.
pub static ANY_LIST: Type = Type { name: "[]interface {}", methods: &[], is_of_texts: false };
/// `[]string`.
pub static TEXT_LIST: Type = Type { name: "[]string", methods: &[], is_of_texts: true };
/// `map[string]interface {}`.
pub static ANY_MAP: Type =
    Type { name: "map[string]interface {}", methods: &[], is_of_texts: false };
/// `map[string]string`.
pub static TEXT_MAP: Type = Type { name: "map[string]string", methods: &[], is_of_texts: true };

impl Map {
    /// Its values by name, sorted.
    pub fn items(&self) -> &[(String, Value)] {
        &self.items
    }

    /// The value called `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.items.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok()?;
        self.items.get(at).map(|(_, value)| value)
    }
}

impl Value {
    /// A list.
    pub fn list(kind: &'static Type, items: Vec<Self>) -> Self {
        Self::List(Arc::new(List { kind, items }))
    }

    /// A map; of several values with one name the last one counts.
    pub fn map(kind: &'static Type, mut items: Vec<(String, Self)>) -> Self {
        items.reverse();
        items.sort_by(|a, b| a.0.cmp(&b.0));
        items.dedup_by(|later, first| later.0 == first.0);
        Self::Map(Arc::new(Map { kind, items }))
    }

    /// A struct.
    pub fn record(kind: &'static Type, fields: Vec<(&'static str, Self)>) -> Self {
        Self::Struct(Arc::new(Struct { kind, fields }))
    }

    /// A position or size.
    pub fn index(i: usize) -> Self {
        Self::Int(i64::try_from(i).unwrap_or(i64::MAX))
    }

    /// Whether `if` takes the first branch.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Root | Self::Time(_) | Self::Struct(_) => true,
            Self::Text(text) | Self::Trusted(_, text) => !text.is_empty(),
            Self::Regex(regex) => !regex.as_str().is_empty(),
            Self::Int(n) | Self::Duration(n) => *n != 0,
            Self::Float(x) => *x != 0.0,
            Self::Bool(b) => *b,
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.items.is_empty(),
        }
    }

    /// The name of its type in error texts.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Root => TEXT_MAP.name,
            Self::Text(_) | Self::Regex(_) => "string",
            Self::Trusted(Trust::Html, _) => "template.HTML",
            Self::Trusted(Trust::Url, _) => "template.URL",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Bool(_) => "bool",
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
            Self::List(list) => list.kind.name,
            Self::Map(map) => map.kind.name,
            Self::Struct(record) => record.kind.name,
        }
    }

    /// What can be called on it.
    pub(super) fn methods(&self) -> &'static [Function] {
        match self {
            Self::Time(_) => moment::TIME_METHODS,
            Self::Duration(_) => moment::DURATION_METHODS,
            Self::List(list) => list.kind.methods,
            Self::Map(map) => map.kind.methods,
            Self::Struct(record) => record.kind.methods,
            _ => &[],
        }
    }

    /// The text it is, `""` for what is none.
    pub fn as_text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Trusted(_, text) => text,
            _ => "",
        }
    }

    /// The whole number it is, 0 for what is none.
    pub fn as_int(&self) -> i64 {
        match self {
            Self::Int(n) | Self::Duration(n) => *n,
            _ => 0,
        }
    }

    /// Its items, none for what is no list.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(list) => &list.items,
            _ => &[],
        }
    }

    /// It as an argument that must be `param`; a literal is converted as Go converts constants.
    pub(super) fn convert(self, param: Param, literal: Option<&str>) -> Result<Self, String> {
        let fits = match (param, &self) {
            (Param::Any, _)
            | (Param::Text | Param::Pattern, Self::Text(_))
            | (Param::Pattern, Self::Regex(_))
            | (Param::Int, Self::Int(_))
            | (Param::Float, Self::Float(_))
            | (Param::Time, Self::Time(_))
            | (Param::Duration, Self::Duration(_))
            | (Param::List, Self::List(_))
            | (Param::Record, Self::Struct(_) | Self::Map(_)) => true,
            (Param::Texts, Self::List(list)) => list.kind.is_of_texts,
            _ => false,
        };
        if fits {
            return Ok(self);
        }
        let Some(written) = literal else {
            return Err(match self {
                Self::Nil => format!("invalid value; expected {}", param.type_name()),
                value => format!(
                    "wrong type for value; expected {}; got {}",
                    param.type_name(),
                    value.type_name()
                ),
            });
        };
        match (param, self) {
            (Param::Float, Self::Int(n)) => Ok(Self::Float(n as f64)),
            (Param::Duration, Self::Int(n)) => Ok(Self::Duration(n)),
            (Param::Int, Self::Float(x)) if x.fract() == 0.0 && x.abs() < 9e18 => {
                Ok(Self::Int(x as i64))
            }
            (Param::Text | Param::Pattern, _) => Err(format!("expected string; found {written}")),
            (Param::Int | Param::Duration, _) => Err(format!("expected integer; found {written}")),
            (Param::Float, _) => Err(format!("expected float; found {written}")),
            _ => Err(format!("can't handle {written} for arg of type {}", param.type_name())),
        }
    }

    /// Appends it as an action prints it.
    pub(super) fn print(&self, out: &mut String) {
        match self {
            Self::Nil => out.push_str("<no value>"),
            value => value.print_nested(out),
        }
    }

    /// Appends it as Go's `%v` prints it.
    pub(super) fn print_nested(&self, out: &mut String) {
        // What holds itself twice, many times over, would take forever.
        if bounded(out.len()).is_err() {
            return;
        }
        if let Some(text) = self.own_text() {
            out.push_str(&text);
            return;
        }
        match self {
            Self::Nil => out.push_str("<nil>"),
            Self::Root => out.push_str("map[]"),
            Self::Text(text) | Self::Trusted(_, text) => out.push_str(text),
            Self::Regex(regex) => out.push_str(regex.as_str()),
            Self::Int(n) => push_display(out, n),
            Self::Float(x) => out.push_str(&float_text(*x)),
            Self::Bool(b) => push_display(out, b),
            Self::Time(time) => out.push_str(&time.to_text()),
            Self::Duration(ns) => out.push_str(&duration_text(*ns)),
            Self::List(list) => {
                out.push('[');
                print_all(out, list.items.iter().map(|item| ("", item)));
                out.push(']');
            }
            Self::Map(map) => {
                out.push_str("map[");
                print_all(out, map.items.iter().map(|(key, item)| (key.as_str(), item)));
                out.push(']');
            }
            Self::Struct(record) => {
                out.push_str(if record.kind.name.starts_with('*') { "&{" } else { "{" });
                print_all(out, record.fields.iter().map(|(_, item)| ("", item)));
                out.push('}');
            }
        }
    }

    /// What its own method says it prints as.
    fn own_text(&self) -> Option<String> {
        let (Self::List(_) | Self::Map(_) | Self::Struct(_)) = self else { return None };
        let method = self.methods().iter().find(|m| m.name == "String" && m.params.is_empty())?;
        match method.run {
            super::Run::Plain(run) => run(std::slice::from_ref(self)).ok().map(|v| v.to_text()),
            _ => None,
        }
    }

    /// It as text.
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            value => {
                let mut out = String::new();
                value.print_nested(&mut out);
                out
            }
        }
    }
}

fn print_all<'v>(out: &mut String, items: impl Iterator<Item = (&'v str, &'v Value)>) {
    for (i, (key, item)) in items.enumerate() {
        if i > 0 {
            out.push(' ');
        }
        if !key.is_empty() {
            out.push_str(key);
            out.push(':');
        }
        item.print_nested(out);
    }
}

fn push_display(out: &mut String, value: &dyn std::fmt::Display) {
    write!(out, "{value}").expect("BUG: writing to a string cannot fail");
}

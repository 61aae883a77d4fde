//! Values a template computes with, and how Go prints them.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::layout::Layout;
use regex::Regex;

use crate::logql::units;

/// How a time prints when no layout is given.
const DEFAULT_LAYOUT: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Nil,
    /// All labels of the row.
    Row,
    Text(String),
    /// The pattern of a function that takes one, written out in the template.
    Regex(Arc<Regex>),
    Int(i64),
    Float(f64),
    Bool(bool),
    Time(Time),
    List(Vec<Value>),
    /// Sorted by key.
    Map(Vec<(String, Value)>),
}

/// A moment and the zone it is shown in.
#[derive(Debug, Clone)]
pub(super) struct Time {
    /// Unix nanoseconds.
    pub(super) t_ns: i128,
    pub(super) zone: TimeZone,
}

impl Time {
    /// It in `layout`; times out of range print as their Unix nanoseconds.
    pub(super) fn format(&self, layout: &str) -> String {
        match Timestamp::from_nanosecond(self.t_ns) {
            Ok(timestamp) => Layout::new(layout).write(&timestamp.to_zoned(self.zone.clone())),
            Err(_) => self.t_ns.to_string(),
        }
    }

    /// Reads `text` in `layout`; without an offset in it, it is a wall clock time in `zone`.
    pub(super) fn parse(layout: &str, text: &str, zone: &TimeZone) -> Result<Self, String> {
        let read = Layout::new(layout).read(text).and_then(|time| time.to_zoned(zone));
        let zoned = read.ok_or_else(|| {
            let (text, layout) = (units::excerpt(text), units::excerpt(layout));
            format!("parsing time {text:?} as {layout:?}: cannot parse")
        })?;
        let t_ns = zoned.timestamp().as_nanosecond();
        Ok(Self { t_ns, zone: zoned.time_zone().clone() })
    }
}

impl Value {
    /// A position in a list.
    pub(super) fn index(i: usize) -> Self {
        Self::Int(i64::try_from(i).unwrap_or(i64::MAX))
    }

    /// Whether `if` takes the first branch.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Row | Self::Time(_) => true,
            Self::Text(text) => !text.is_empty(),
            Self::Regex(regex) => !regex.as_str().is_empty(),
            Self::Int(n) => *n != 0,
            Self::Float(x) => *x != 0.0,
            Self::Bool(b) => *b,
            Self::List(items) => !items.is_empty(),
            Self::Map(items) => !items.is_empty(),
        }
    }

    /// The name of its type in error texts.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Row => "map[string]string",
            Self::Text(_) | Self::Regex(_) => "string",
            Self::Int(_) => "int64",
            Self::Float(_) => "float64",
            Self::Bool(_) => "bool",
            Self::Time(_) => "time.Time",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// Appends it as an action prints it.
    pub(super) fn print(&self, out: &mut String) {
        match self {
            Self::Nil => out.push_str("<no value>"),
            Self::Row => out.push_str("map[]"),
            Self::Text(text) => out.push_str(text),
            Self::Regex(regex) => out.push_str(regex.as_str()),
            Self::Int(n) => push_display(out, n),
            Self::Float(x) => out.push_str(&format_float(*x)),
            Self::Bool(b) => push_display(out, b),
            Self::Time(time) => out.push_str(&time.format(DEFAULT_LAYOUT)),
            Self::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    item.print(out);
                }
                out.push(']');
            }
            Self::Map(items) => {
                out.push_str("map[");
                for (i, (key, item)) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    out.push_str(key);
                    out.push(':');
                    item.print(out);
                }
                out.push(']');
            }
        }
    }

    /// It as text.
    pub(super) fn to_text(&self) -> String {
        let mut out = String::new();
        self.print(&mut out);
        out
    }

    /// It as a whole number; what is no number counts as 0.
    pub(super) fn to_int(&self) -> i64 {
        match self {
            Self::Int(n) => *n,
            Self::Bool(b) => i64::from(*b),
            Self::Text(text) => match text.parse() {
                Ok(n) => n,
                Err(_) => saturate(text.parse().unwrap_or(0.0)),
            },
            Self::Float(x) => saturate(*x),
            Self::Nil | Self::Row | Self::Regex(_) => 0,
            Self::Time(_) | Self::List(_) | Self::Map(_) => 0,
        }
    }

    /// It as a number; what is no number counts as 0.
    pub(super) fn to_float(&self) -> f64 {
        match self {
            Self::Float(x) => *x,
            Self::Text(text) => text.parse().unwrap_or(0.0),
            other => other.to_int() as f64,
        }
    }
}

/// Cuts off the fraction and keeps within bounds.
pub(super) fn saturate(x: f64) -> i64 {
    x as i64
}

fn push_display(out: &mut String, value: &dyn std::fmt::Display) {
    write!(out, "{value}").expect("BUG: writing to a string cannot fail");
}

/// `x` as Go prints a float: the shortest digits that read back as `x`, with an exponent below 1e-4 and from 1e6 on.
pub(super) fn format_float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{x}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

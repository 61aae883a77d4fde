//! The functions all of Go's templates have.

use std::cmp::Ordering;

use super::escapes;
use super::function::{Function, Param, Run, bounded};
use super::printf;
use super::value::Value;

/// The function called `name`.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    BUILTINS.iter().find(|f| f.name == name)
}

static BUILTINS: &[Function] = &[
    Function { name: "and", params: &[Param::Any], rest: Some(Param::Any), run: Run::Stop(false) },
    Function { name: "or", params: &[Param::Any], rest: Some(Param::Any), run: Run::Stop(true) },
    Function::new("not", &[Param::Any], |a| Ok(Value::Bool(!first(a).is_true()))),
    Function::variadic("call", &[Param::Any], Param::Any, |a| match first(a) {
        Value::Nil => Err("call of nil".to_owned()),
        other => Err(format!("non-function of type {}", other.type_name())),
    }),
    Function::variadic("eq", &[Param::Any], Param::Any, |a| equal(first(a), tail(a)).map(truth)),
    Function::new("ne", &[Param::Any; 2], |a| equal(first(a), tail(a)).map(|is| truth(!is))),
    Function::new("lt", &[Param::Any; 2], |a| less(a).map(truth)),
    Function::new("le", &[Param::Any; 2], |a| less_or_equal(a).map(truth)),
    Function::new("gt", &[Param::Any; 2], |a| less_or_equal(a).map(|is| truth(!is))),
    Function::new("ge", &[Param::Any; 2], |a| less(a).map(|is| truth(!is))),
    Function::new("len", &[Param::Any], |a| length(first(a))),
    Function::variadic("index", &[Param::Any], Param::Any, |a| index(first(a), tail(a))),
    Function::variadic("slice", &[Param::Any], Param::Any, |a| slice(first(a), tail(a))),
    Function::variadic("print", &[], Param::Any, |a| printed(a).map(Value::Text)),
    Function::variadic("println", &[], Param::Any, |a| {
        joined(a, " ").map(|t| Value::Text(t + "\n"))
    }),
    Function::variadic("printf", &[Param::Text], Param::Any, |a| {
        printf::format(first(a).as_text(), tail(a)).map(Value::Text)
    }),
    Function::variadic("html", &[], Param::Any, |a| escaped(a, escapes::html)),
    Function::variadic("js", &[], Param::Any, |a| escaped(a, escapes::js)),
    Function::variadic("urlquery", &[], Param::Any, |a| escaped(a, url_query)),
];

fn first(args: &[Value]) -> &Value {
    args.first().unwrap_or(&Value::Nil)
}

fn tail(args: &[Value]) -> &[Value] {
    args.get(1..).unwrap_or(&[])
}

fn truth(is: bool) -> Value {
    Value::Bool(is)
}

fn escaped(args: &[Value], escape: fn(&str) -> String) -> Result<Value, String> {
    let shown = |value: &Value| match value {
        Value::Nil => Value::Text("<no value>".to_owned()),
        value => value.clone(),
    };
    let text = match args {
        [Value::Text(text)] => escape(text),
        args => escape(&printed(&args.iter().map(shown).collect::<Vec<_>>())?),
    };
    bounded(text.len())?;
    Ok(Value::Text(text))
}

/// `text` as the value of a parameter of a URL.
pub fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The values' texts, with a space between two neither of which is a text.
fn printed(args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut last_is_text = true;
    for value in args {
        let is_text = matches!(value, Value::Text(_));
        if !is_text && !last_is_text {
            out.push(' ');
        }
        last_is_text = is_text;
        value.print_nested(&mut out);
        bounded(out.len())?;
    }
    Ok(out)
}

/// The values' texts with `separator` between them.
fn joined(args: &[Value], separator: &str) -> Result<String, String> {
    let mut out = String::new();
    for (i, value) in args.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { separator });
        value.print_nested(&mut out);
        bounded(out.len())?;
    }
    Ok(out)
}

/// What kinds of values can be compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basic {
    Bool,
    Int,
    Float,
    Text,
}

fn basic(value: &Value) -> Option<Basic> {
    Some(match value {
        Value::Bool(_) => Basic::Bool,
        Value::Int(_) | Value::Duration(_) => Basic::Int,
        Value::Float(_) => Basic::Float,
        Value::Text(_) | Value::Trusted(..) => Basic::Text,
        _ => return None,
    })
}

/// The order of two values of one basic kind; `None` when one is no number.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        _ if basic(a) == Some(Basic::Int) => Some(a.as_int().cmp(&b.as_int())),
        _ => Some(a.as_text().cmp(b.as_text())),
    }
}

/// Whether `a` equals one of `others`.
fn equal(a: &Value, others: &[Value]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for b in others {
        let is = match (basic(a), basic(b)) {
            (Some(left), Some(right)) if left == right => order(a, b) == Some(Ordering::Equal),
            (None, None) => match (a, b) {
                (Value::Nil, Value::Nil) => true,
                (Value::Nil, _) | (_, Value::Nil) => false,
                (Value::Time(a), Value::Time(b)) => a.t_ns == b.t_ns,
                _ => {
                    let text = printf::format("%s", std::slice::from_ref(b))?;
                    let kind = b.type_name();
                    return Err(format!("non-comparable type {text}: {kind}"));
                }
            },
            _ if matches!(a, Value::Nil) || matches!(b, Value::Nil) => false,
            _ => return Err("incompatible types for comparison".to_owned()),
        };
        if is {
            return Ok(true);
        }
    }
    Ok(false)
}

fn less(args: &[Value]) -> Result<bool, String> {
    let (a, b) = (first(args), first(tail(args)));
    match (basic(a), basic(b)) {
        (Some(left), Some(right)) if left != right => {
            Err("incompatible types for comparison".to_owned())
        }
        (Some(Basic::Bool) | None, _) | (_, None) => Err("invalid type for comparison".to_owned()),
        _ => Ok(order(a, b) == Some(Ordering::Less)),
    }
}

fn less_or_equal(args: &[Value]) -> Result<bool, String> {
    Ok(less(args)? || equal(first(args), tail(args))?)
}

fn length(value: &Value) -> Result<Value, String> {
    Ok(Value::index(match value {
        Value::Text(text) | Value::Trusted(_, text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.items().len(),
        Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    }))
}

/// `step` as a position, at most `max`.
fn position(step: &Value, max: usize) -> Result<usize, String> {
    match step {
        Value::Int(at) => usize::try_from(*at)
            .ok()
            .filter(|at| *at <= max)
            .ok_or_else(|| format!("index out of range: {at}")),
        Value::Nil => Err("cannot index slice/array with nil".to_owned()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

/// `index x 1 "a"`: the item 1 of `x`, and of that what is called `a`.
fn index(value: &Value, path: &[Value]) -> Result<Value, String> {
    if matches!(value, Value::Nil) {
        return Err("index of untyped nil".to_owned());
    }
    let mut value = value.clone();
    for step in path {
        let of_len = |len: usize| {
            let at = position(step, len)?;
            if at < len { Ok(at) } else { Err(format!("index out of range: {at}")) }
        };
        value = match &value {
            Value::List(list) => list.items[of_len(list.items.len())?].clone(),
            Value::Text(text) => Value::Int(text.as_bytes()[of_len(text.len())?].into()),
            Value::Map(map) => {
                let Value::Text(key) = step else {
                    let kind = step.type_name();
                    return Err(format!("value has type {kind}; should be string"));
                };
                missing(map.get(key), map.kind.is_of_texts)
            }
            Value::Nil => return Err("index of nil pointer".to_owned()),
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

/// What a map says for a name; its zero value when it has none.
pub(super) fn missing(found: Option<&Value>, is_of_texts: bool) -> Value {
    match found {
        Some(value) => value.clone(),
        None if is_of_texts => Value::Text(String::new()),
        None => Value::Nil,
    }
}

/// `slice x 1 3`: the items or bytes `[1, 3)`; either end may be left out.
fn slice(value: &Value, ends: &[Value]) -> Result<Value, String> {
    let len = match value {
        Value::Text(text) if ends.len() <= 2 => text.len(),
        Value::Text(_) if ends.len() == 3 => {
            return Err("cannot 3-index slice a string".to_owned());
        }
        Value::List(list) => list.items.len(),
        Value::Nil => return Err("slice of untyped nil".to_owned()),
        other if ends.len() <= 3 => {
            return Err(format!("can't slice item of type {}", other.type_name()));
        }
        _ => 0,
    };
    if ends.len() > 3 {
        return Err(format!("too many slice indexes: {}", ends.len()));
    }
    let end = |i: usize, default: usize| match ends.get(i) {
        Some(end) => position(end, len),
        None => Ok(default),
    };
    let (from, to) = (end(0, 0)?, end(1, len)?);
    let capacity = end(2, to)?;
    for (low, high) in [(from, to), (to, capacity)] {
        if low > high {
            return Err(format!("invalid slice index: {low} > {high}"));
        }
    }
    Ok(match value {
        Value::List(list) => Value::list(list.kind, list.items[from..to].to_vec()),
        other => {
            let bytes = &other.as_text().as_bytes()[from..to];
            Value::Text(String::from_utf8_lossy(bytes).into_owned())
        }
    })
}

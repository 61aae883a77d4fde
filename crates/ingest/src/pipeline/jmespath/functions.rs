//! The functions of JMESPath.

use std::cmp::Ordering;

use model::{Error, Result};
use serde_json::{Map, Number, Value};

use super::{NULL, Node, equal, evaluate};

/// A function.
#[derive(Debug, Clone, Copy)]
pub(super) struct Function {
    name: &'static str,
    run: Run,
}

#[derive(Debug, Clone, Copy)]
enum Run {
    One(fn(&Value) -> Option<Value>),
    Two(fn(&Value, &Value) -> Option<Value>),
    /// As many as there are, one at least.
    Many(fn(&[Value]) -> Option<Value>),
    /// A list and a reference; or the other way round for `map`.
    By(Way),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Map,
    Max,
    Min,
    Sort,
}

const FUNCTIONS: [Function; 26] = [
    Function { name: "abs", run: Run::One(|v| float(v, f64::abs)) },
    Function { name: "avg", run: Run::One(average) },
    Function { name: "ceil", run: Run::One(|v| float(v, f64::ceil)) },
    Function { name: "contains", run: Run::Two(contains) },
    Function { name: "ends_with", run: Run::Two(|v, w| text2(v, w, |v, w| v.ends_with(w))) },
    Function { name: "floor", run: Run::One(|v| float(v, f64::floor)) },
    Function { name: "join", run: Run::Two(join) },
    Function { name: "keys", run: Run::One(keys) },
    Function { name: "length", run: Run::One(length) },
    Function { name: "map", run: Run::By(Way::Map) },
    Function { name: "max", run: Run::One(|v| extreme(v, Ordering::Greater)) },
    Function { name: "max_by", run: Run::By(Way::Max) },
    Function { name: "merge", run: Run::Many(merge) },
    Function { name: "min", run: Run::One(|v| extreme(v, Ordering::Less)) },
    Function { name: "min_by", run: Run::By(Way::Min) },
    Function { name: "not_null", run: Run::Many(not_null) },
    Function { name: "reverse", run: Run::One(reverse) },
    Function { name: "sort", run: Run::One(sort) },
    Function { name: "sort_by", run: Run::By(Way::Sort) },
    Function { name: "starts_with", run: Run::Two(|v, w| text2(v, w, |v, w| v.starts_with(w))) },
    Function { name: "sum", run: Run::One(sum) },
    Function { name: "to_array", run: Run::One(to_array) },
    Function { name: "to_number", run: Run::One(to_number) },
    Function { name: "to_string", run: Run::One(to_string) },
    Function { name: "type", run: Run::One(|v| Some(Value::from(type_of(v)))) },
    Function { name: "values", run: Run::One(values) },
];

impl Function {
    /// The function `name`, which must be able to take so many arguments.
    pub(super) fn called(name: &str, arguments: &[Node]) -> Result<Self> {
        let function = FUNCTIONS.into_iter().find(|f| f.name == name);
        let function =
            function.ok_or_else(|| Error::invalid(format!("unknown function {name}")))?;
        let (fits, wanted) = match function.run {
            Run::One(_) => (arguments.len() == 1, "1 argument"),
            Run::Two(_) => (arguments.len() == 2, "2 arguments"),
            Run::Many(_) => (!arguments.is_empty(), "1 argument or more"),
            Run::By(_) => (function.reference(arguments).is_some(), "a list and an &expression"),
        };
        let count = arguments.len();
        if !fits {
            return Err(Error::invalid(format!("{name}() takes {wanted}, not {count}")));
        }
        Ok(function)
    }

    /// List and expression of a function that calls it.
    fn reference(self, arguments: &[Node]) -> Option<(&Node, &Node)> {
        match (self.run, arguments) {
            (Run::By(Way::Map), [Node::Reference(by), list])
            | (Run::By(Way::Max | Way::Min | Way::Sort), [list, Node::Reference(by)]) => {
                Some((list, by))
            }
            _ => None,
        }
    }

    pub(super) fn call(
        self,
        arguments: &[Node],
        value: &Value,
    ) -> std::result::Result<Value, String> {
        if let (Run::By(way), Some((list, by))) = (self.run, self.reference(arguments)) {
            return self.call_by(way, &*evaluate(list, value)?, by);
        }
        let given = arguments
            .iter()
            .map(|node| evaluate(node, value).map(std::borrow::Cow::into_owned))
            .collect::<std::result::Result<Vec<Value>, String>>()?;
        let found = match (self.run, given.as_slice()) {
            (Run::One(run), [one]) => run(one),
            (Run::Two(run), [one, two]) => run(one, two),
            (Run::Many(run), all) => run(all),
            _ => None,
        };
        found.ok_or_else(|| {
            let types: Vec<String> =
                given.iter().map(|value| format!("a {}", type_of(value))).collect();
            format!("{}() cannot take {}", self.name, types.join(" and "))
        })
    }

    fn call_by(self, way: Way, list: &Value, by: &Node) -> std::result::Result<Value, String> {
        let Value::Array(items) = list else {
            return Err(format!("{}() cannot take a {}", self.name, type_of(list)));
        };
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            found.push((evaluate(by, item)?.into_owned(), item));
        }
        if way == Way::Map {
            return Ok(Value::Array(found.into_iter().map(|(value, _)| value).collect()));
        }
        let comparable = found.windows(2).all(|w| match w {
            [(left, _), (right, _)] => order(left, right).is_some(),
            _ => true,
        });
        if !comparable || found.iter().any(|(value, _)| order(value, value).is_none()) {
            return Err(format!("{}() needs numbers only or texts only", self.name));
        }
        found.sort_by(|(left, _), (right, _)| order(left, right).unwrap_or(Ordering::Equal));
        Ok(match way {
            Way::Sort => Value::Array(found.into_iter().map(|(_, item)| item.clone()).collect()),
            Way::Max => found.last().map_or(NULL, |(_, item)| (*item).clone()),
            Way::Map | Way::Min => found.first().map_or(NULL, |(_, item)| (*item).clone()),
        })
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A number, whole if it is.
fn number(x: f64) -> Value {
    // So many whole numbers have a float of their own.
    if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 {
        return Value::from(x as i64);
    }
    Number::from_f64(x).map_or(NULL, Value::Number)
}

fn float(value: &Value, f: fn(f64) -> f64) -> Option<Value> {
    value.as_f64().map(|x| number(f(x)))
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}

fn average(value: &Value) -> Option<Value> {
    let numbers = numbers(value)?;
    if numbers.is_empty() {
        return Some(NULL);
    }
    let average = numbers.iter().sum::<f64>() / numbers.len() as f64;
    Some(Number::from_f64(average).map_or(NULL, Value::Number))
}

fn sum(value: &Value) -> Option<Value> {
    numbers(value).map(|numbers| number(numbers.iter().sum()))
}

fn contains(value: &Value, wanted: &Value) -> Option<Value> {
    Some(Value::Bool(match value {
        Value::Array(items) => items.iter().any(|item| equal(item, wanted)),
        Value::String(text) => wanted.as_str().is_some_and(|wanted| text.contains(wanted)),
        _ => return None,
    }))
}

fn text2(value: &Value, other: &Value, f: fn(&str, &str) -> bool) -> Option<Value> {
    Some(Value::Bool(f(value.as_str()?, other.as_str()?)))
}

fn join(separator: &Value, items: &Value) -> Option<Value> {
    let items: Option<Vec<&str>> = items.as_array()?.iter().map(Value::as_str).collect();
    Some(Value::from(items?.join(separator.as_str()?)))
}

fn keys(value: &Value) -> Option<Value> {
    Some(value.as_object()?.keys().map(String::as_str).collect())
}

fn values(value: &Value) -> Option<Value> {
    Some(value.as_object()?.values().cloned().collect())
}

fn length(value: &Value) -> Option<Value> {
    Some(Value::from(match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        _ => return None,
    }))
}

/// Order of two numbers or two texts.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn sorted(value: &Value) -> Option<Vec<Value>> {
    let mut items = value.as_array()?.clone();
    let first = items.first()?.clone();
    if items.iter().any(|item| order(item, &first).is_none()) {
        return None;
    }
    items.sort_by(|left, right| order(left, right).unwrap_or(Ordering::Equal));
    Some(items)
}

fn sort(value: &Value) -> Option<Value> {
    if value.as_array().is_some_and(Vec::is_empty) {
        return Some(value.clone());
    }
    sorted(value).map(Value::Array)
}

fn extreme(value: &Value, which: Ordering) -> Option<Value> {
    if value.as_array().is_some_and(Vec::is_empty) {
        return Some(NULL);
    }
    let mut items = sorted(value)?;
    if which == Ordering::Less { items.into_iter().next() } else { items.pop() }
}

fn merge(objects: &[Value]) -> Option<Value> {
    let mut merged = Map::new();
    for object in objects {
        merged.extend(object.as_object()?.clone());
    }
    Some(Value::Object(merged))
}

fn not_null(values: &[Value]) -> Option<Value> {
    Some(values.iter().find(|value| !value.is_null()).cloned().unwrap_or(NULL))
}

fn reverse(value: &Value) -> Option<Value> {
    Some(match value {
        Value::String(text) => Value::from(text.chars().rev().collect::<String>()),
        Value::Array(items) => items.iter().rev().cloned().collect(),
        _ => return None,
    })
}

fn to_array(value: &Value) -> Option<Value> {
    Some(if value.is_array() { value.clone() } else { Value::Array(vec![value.clone()]) })
}

fn to_number(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Number(_) => value.clone(),
        Value::String(text) => text
            .parse::<i64>()
            .map(Value::from)
            .ok()
            .or_else(|| text.parse().ok().and_then(Number::from_f64).map(Value::Number))
            .unwrap_or(NULL),
        _ => NULL,
    })
}

fn to_string(value: &Value) -> Option<Value> {
    Some(if value.is_string() { value.clone() } else { Value::from(value.to_string()) })
}

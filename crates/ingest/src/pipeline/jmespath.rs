//! JMESPath: the expressions with which the `json` stage takes values out of a line.
//!
//! Owns: the whole language and its functions. Does not own: reading JSON. An expression that cannot be is refused when
//! it is compiled, unknown functions by name; a function that gets what it cannot take fails with a text.
//!
//! Source: the specification at jmespath.org.

mod functions;
mod lexer;
mod parse;

use std::borrow::Cow;

use model::Result;
use serde_json::{Map, Value};

use self::functions::Function;

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    root: Node,
}

#[derive(Debug, Clone)]
enum Node {
    Current,
    Field(String),
    Index(i64),
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    },
    /// The right side, seen from the left one.
    Then(Box<Node>, Box<Node>),
    /// The right side, seen from each item of the list at the left.
    Each(Box<Node>, Box<Node>),
    /// The same for the values of an object.
    EachValue(Box<Node>, Box<Node>),
    Filter {
        list: Box<Node>,
        condition: Box<Node>,
        then: Box<Node>,
    },
    Flatten(Box<Node>),
    Literal(Value),
    Or(Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
    Call(Function, Vec<Node>),
    /// `&expression`, an argument for functions that call it.
    Reference(Box<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const NULL: Value = Value::Null;

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) with the place and what is wrong there.
    pub(super) fn compile(text: &str) -> Result<Self> {
        parse::parse(text).map(|root| Self { root })
    }

    /// What it finds in `value`.
    ///
    /// # Errors
    /// In words, when a function gets what it cannot take.
    pub(super) fn search<'v>(
        &'v self,
        value: &'v Value,
    ) -> std::result::Result<Cow<'v, Value>, String> {
        evaluate(&self.root, value)
    }
}

type Found<'v> = std::result::Result<Cow<'v, Value>, String>;

fn evaluate<'v>(node: &'v Node, value: &'v Value) -> Found<'v> {
    Ok(match node {
        Node::Current => Cow::Borrowed(value),
        Node::Field(name) => Cow::Borrowed(value.get(name).unwrap_or(&NULL)),
        Node::Index(index) => Cow::Borrowed(item(value, *index)),
        Node::Slice { start, end, step } => Cow::Owned(slice(value, *start, *end, *step)),
        Node::Then(left, right) => return then(evaluate(left, value)?, right),
        Node::Each(left, right) => match &*evaluate(left, value)? {
            Value::Array(items) => Cow::Owned(each(items.iter(), right)?),
            _ => Cow::Owned(NULL),
        },
        Node::EachValue(left, right) => match &*evaluate(left, value)? {
            Value::Object(map) => Cow::Owned(each(map.values(), right)?),
            _ => Cow::Owned(NULL),
        },
        Node::Filter { list, condition, then } => match &*evaluate(list, value)? {
            Value::Array(items) => {
                let mut kept = Vec::new();
                for item in items {
                    if is_true(&*evaluate(condition, item)?) {
                        kept.push(item);
                    }
                }
                Cow::Owned(each(kept.into_iter(), then)?)
            }
            _ => Cow::Owned(NULL),
        },
        Node::Flatten(inner) => match evaluate(inner, value)?.into_owned() {
            Value::Array(items) => Cow::Owned(Value::Array(flatten(items))),
            _ => Cow::Owned(NULL),
        },
        Node::Literal(literal) => Cow::Borrowed(literal),
        Node::Or(left, right) => {
            let left = evaluate(left, value)?;
            if is_true(&left) { left } else { return evaluate(right, value) }
        }
        Node::And(left, right) => {
            let left = evaluate(left, value)?;
            if is_true(&left) { return evaluate(right, value) } else { left }
        }
        Node::Not(inner) => Cow::Owned(Value::Bool(!is_true(&*evaluate(inner, value)?))),
        Node::Compare(comparison, left, right) => {
            Cow::Owned(compare(*comparison, &*evaluate(left, value)?, &*evaluate(right, value)?))
        }
        Node::List(nodes) if !value.is_null() => {
            let items = nodes.iter().map(|node| evaluate(node, value).map(Cow::into_owned));
            Cow::Owned(Value::Array(items.collect::<std::result::Result<_, _>>()?))
        }
        Node::Object(entries) if !value.is_null() => {
            let mut map = Map::new();
            for (name, node) in entries {
                map.insert(name.clone(), evaluate(node, value)?.into_owned());
            }
            Cow::Owned(Value::Object(map))
        }
        Node::List(_) | Node::Object(_) => Cow::Owned(NULL),
        Node::Call(function, arguments) => Cow::Owned(function.call(arguments, value)?),
        Node::Reference(_) => return Err("& stands where a value is wanted".to_owned()),
    })
}

/// `right` seen from `left`.
fn then<'v>(left: Cow<'v, Value>, right: &'v Node) -> Found<'v> {
    match left {
        Cow::Borrowed(left) => evaluate(right, left),
        Cow::Owned(left) => Ok(Cow::Owned(evaluate(right, &left)?.into_owned())),
    }
}

/// `right` seen from each of `items`, without the nulls.
fn each<'v>(
    items: impl Iterator<Item = &'v Value>,
    right: &'v Node,
) -> std::result::Result<Value, String> {
    let mut found = Vec::new();
    for item in items {
        let value = evaluate(right, item)?;
        if !value.is_null() {
            found.push(value.into_owned());
        }
    }
    Ok(Value::Array(found))
}

fn flatten(items: Vec<Value>) -> Vec<Value> {
    let mut flat = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::Array(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    flat
}

fn item(value: &Value, index: i64) -> &Value {
    let Value::Array(items) = value else { return &NULL };
    let from_end = || items.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?);
    let at = if index < 0 { from_end() } else { usize::try_from(index).ok() };
    at.and_then(|at| items.get(at)).unwrap_or(&NULL)
}

/// Items as Python takes them with `[start:end:step]`; `step` is not 0.
fn slice(value: &Value, start: Option<i64>, end: Option<i64>, step: i64) -> Value {
    let Value::Array(items) = value else { return NULL };
    let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let (lowest, highest) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let bound = |at: Option<i64>, absent: i64| match at {
        None => absent,
        Some(at) if at < 0 => at.saturating_add(len).clamp(lowest, highest),
        Some(at) => at.clamp(lowest, highest),
    };
    let (first, stop) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    let (mut at, stop) = (bound(start, first), bound(end, stop));
    let mut taken = Vec::new();
    while if step > 0 { at < stop } else { at > stop } {
        taken.extend(usize::try_from(at).ok().and_then(|at| items.get(at)).cloned());
        at = at.saturating_add(step);
    }
    Value::Array(taken)
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Number(_) => true,
    }
}

fn compare(comparison: Comparison, left: &Value, right: &Value) -> Value {
    let by_number = |holds: fn(&f64, &f64) -> bool| match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => Value::Bool(holds(&left, &right)),
        _ => NULL,
    };
    match comparison {
        Comparison::Equal => Value::Bool(equal(left, right)),
        Comparison::NotEqual => Value::Bool(!equal(left, right)),
        Comparison::Less => by_number(f64::lt),
        Comparison::LessOrEqual => by_number(f64::le),
        Comparison::Greater => by_number(f64::gt),
        Comparison::GreaterOrEqual => by_number(f64::ge),
    }
}

/// Whether two values are the same; `1` and `1.0` are.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(l), Value::Number(r)) => l == r || l.as_f64() == r.as_f64(),
        (Value::Array(l), Value::Array(r)) => {
            l.len() == r.len() && l.iter().zip(r).all(|(l, r)| equal(l, r))
        }
        (Value::Object(l), Value::Object(r)) => {
            l.len() == r.len() && l.iter().all(|(name, l)| r.get(name).is_some_and(|r| equal(l, r)))
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(expression: &str, value: &Value, expected: Value) {
        let compiled = Expression::compile(expression).unwrap_or_else(|e| panic!("{e:?}"));
        let found = compiled.search(value).map(Cow::into_owned);
        assert_eq!(found, Ok(expected), "{expression} in {value}");
    }

    #[test]
    fn paths_indexes_and_projections() {
        let doc = json!({
            "a": {"b": {"c": 7}, "d-e": true, "f": [1, [2, 3], [], [[4]]]},
            "people": [
                {"name": "Ada", "age": 36, "langs": ["en", "fr"]},
                {"name": "Bo", "age": 9},
                {"age": 51, "langs": ["de"]},
            ],
            "empty": {}, "text": "x"
        });
        for (expression, expected) in [
            ("a.b.c", json!(7)),
            ("a.\"d-e\"", json!(true)),
            ("a.missing.c", json!(null)),
            ("a.f[0]", json!(1)),
            ("a.f[-1]", json!([[4]])),
            ("a.f[]", json!([1, 2, 3, [4]])),
            ("a.f[][]", json!([1, 2, 3, 4])),
            ("a.f[9]", json!(null)),
            ("people[*].name", json!(["Ada", "Bo"])),
            ("people[].langs[]", json!(["en", "fr", "de"])),
            ("people[0:2].age", json!([36, 9])),
            ("people[::-1].age", json!([51, 9, 36])),
            ("people[?age > `10`].age", json!([36, 51])),
            ("people[?name == 'Bo'] | [0].age", json!(9)),
            ("people[?langs && age < `40`].name", json!(["Ada"])),
            ("people[?!langs].name | [0]", json!("Bo")),
            ("a.*.c", json!([7])),
            ("people[*].{n: name, y: age} | [1]", json!({"n": "Bo", "y": 9})),
            ("[text, a.b.c]", json!(["x", 7])),
            ("missing || text", json!("x")),
            ("empty || 'none'", json!("none")),
            ("text && a.b.c", json!(7)),
            ("@.text", json!("x")),
            ("text[*]", json!(null)),
            ("(missing || a).b.c", json!(7)),
            ("`{\"k\": [1, \"\\`\"]}`.k[1]", json!("`")),
            ("'it\\'s'", json!("it's")),
        ] {
            check(expression, &doc, expected);
        }
    }

    #[test]
    fn functions_do_what_the_specification_says() {
        let doc = json!({
            "n": [3, 1, 2], "s": ["b", "a"], "o": {"x": 1, "y": 2}, "t": "häh", "f": -1.5,
            "p": [{"k": 2, "v": "b"}, {"k": 1, "v": "a"}]
        });
        for (expression, expected) in [
            ("abs(f)", json!(1.5)),
            ("avg(n)", json!(2.0)),
            ("ceil(f)", json!(-1)),
            ("floor(f)", json!(-2)),
            ("contains(s, 'a')", json!(true)),
            ("contains(t, 'ä')", json!(true)),
            ("ends_with(t, 'h')", json!(true)),
            ("starts_with(t, 'x')", json!(false)),
            ("join('-', s)", json!("b-a")),
            ("keys(o)", json!(["x", "y"])),
            ("values(o)", json!([1, 2])),
            ("length(t)", json!(3)),
            ("length(o)", json!(2)),
            ("map(&v, p)", json!(["b", "a"])),
            ("max(n)", json!(3)),
            ("min(s)", json!("a")),
            ("max_by(p, &k).v", json!("b")),
            ("min_by(p, &k).v", json!("a")),
            ("merge(o, `{\"y\": 5}`)", json!({"x": 1, "y": 5})),
            ("not_null(missing, t)", json!("häh")),
            ("reverse(n)", json!([2, 1, 3])),
            ("reverse(t)", json!("häh")),
            ("sort(n)", json!([1, 2, 3])),
            ("sort_by(p, &k)[*].v", json!(["a", "b"])),
            ("sum(n)", json!(6)),
            ("to_array(f)", json!([-1.5])),
            ("to_number('12')", json!(12)),
            ("to_number('x')", json!(null)),
            ("to_string(n)", json!("[3,1,2]")),
            ("type(n[0])", json!("number")),
        ] {
            check(expression, &doc, expected);
        }
        let failed = Expression::compile("length(f)").unwrap();
        assert_eq!(
            failed.search(&doc).map(Cow::into_owned),
            Err("length() cannot take a number".to_owned())
        );
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_place() {
        for (expression, expected) in [
            ("", "expression ends where a value is wanted"),
            ("thumbs-up", "unexpected - at 6"),
            ("a.", "expression ends after a dot"),
            ("a[", "expected * at the end"),
            ("a[0", "expected ] at the end"),
            ("nope(a)", "unknown function nope"),
            ("length()", "length() takes 1"),
            ("a[::0]", "step of a slice cannot be 0"),
            ("'open", "no end"),
            ("`{`", "not JSON"),
            ("a b", "unexpected"),
            ("\"x\"(a)", "unexpected"),
            ("foo[*", "expected ]"),
            ("{a: b", "expected"),
        ] {
            let error = Expression::compile(expression).unwrap_err();
            assert!(error.message().contains(expected), "{expression}: {}", error.message());
        }
        let deep = "(".repeat(1_000) + "a";
        assert!(Expression::compile(&deep).unwrap_err().message().contains("nested"));
    }

    proptest::proptest! {
        #[test]
        fn noise_is_refused_or_bounded(
            text in "[a-c\\.\\[\\]\\*\\?@&|!=<>(){}`'\":,0-9\\- ]{0,40}",
        ) {
            let doc = json!({"a": [{"b": [1, 2]}, {"c": "x"}], "b": {"c": null}});
            if let Ok(compiled) = Expression::compile(&text) {
                drop(compiled.search(&doc));
            }
        }
    }
}

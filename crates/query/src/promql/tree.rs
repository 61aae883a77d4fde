//! An expression as others walk it: the JSON tree of `/api/v1/parse_query`, and the selectors inside.
//!
//! Source: the answers of Prometheus' API; its user interface draws them.

use model::{METRIC_NAME, Matcher};
use serde_json::{Value, json};

use super::ast::{Aggregate, At, Binary, Duration, Edges, Expr, Kind, Selector, Subquery, Type};
use crate::vector::binary::Many;

/// `expr` as `/api/v1/parse_query` answers it.
pub fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        Kind::Number(n) => json!({"type": "numberLiteral", "val": plain_number(*n)}),
        Kind::Text { value, .. } => json!({"type": "stringLiteral", "val": value}),
        Kind::Paren(inner) => json!({"type": "parenExpr", "expr": tree(inner)}),
        Kind::Unary { negate, inner } => {
            json!({"type": "unaryExpr", "op": if *negate { "-" } else { "+" }, "expr": tree(inner)})
        }
        Kind::Binary(b) => binary(b),
        Kind::Selector(s) => selector("vectorSelector", s),
        Kind::Range { selector: s, range } => {
            let mut out = selector("matrixSelector", s);
            out["range"] = json!(literal_ms(Some(range)));
            out
        }
        Kind::Subquery(s) => subquery(s),
        Kind::Call { function, args } => json!({
            "type": "call",
            "func": {
                "name": function.name,
                "argTypes": function.args.iter().map(|t| type_name(*t)).collect::<Vec<_>>(),
                "variadic": function.optional,
                "returnType": type_name(function.returns),
            },
            "args": args.iter().map(tree).collect::<Vec<_>>(),
        }),
        Kind::Aggregate(a) => aggregate(a),
    }
}

/// The conditions of every selector in `expr`, in the order they are written.
pub fn selectors(expr: &Expr) -> Vec<&[Matcher]> {
    let mut found = Vec::new();
    collect(expr, &mut found);
    found
}

fn collect<'a>(expr: &'a Expr, found: &mut Vec<&'a [Matcher]>) {
    match &expr.kind {
        Kind::Number(_) | Kind::Text { .. } => {}
        Kind::Paren(inner) | Kind::Unary { inner, .. } => collect(inner, found),
        Kind::Binary(b) => {
            collect(&b.left, found);
            collect(&b.right, found);
        }
        Kind::Selector(s) | Kind::Range { selector: s, .. } => found.push(&s.matchers),
        Kind::Subquery(s) => collect(&s.inner, found),
        Kind::Call { args, .. } => args.iter().for_each(|arg| collect(arg, found)),
        Kind::Aggregate(a) => {
            a.param.iter().for_each(|param| collect(param, found));
            collect(&a.inner, found);
        }
    }
}

fn aggregate(a: &Aggregate) -> Value {
    json!({
        "type": "aggregation",
        "op": a.op.as_str(),
        "expr": tree(&a.inner),
        "param": a.param.as_ref().map(tree),
        "grouping": a.grouping.labels,
        "without": a.grouping.without,
    })
}

fn binary(b: &Binary) -> Value {
    let between_vectors = b.left.type_of() == Type::Vector && b.right.type_of() == Type::Vector;
    let card = match b.matching.many {
        _ if b.op.is_set() => "many-to-many",
        Many::Neither => "one-to-one",
        Many::Left => "many-to-one",
        Many::Right => "one-to-many",
    };
    let matching = between_vectors.then(|| {
        json!({
            "card": card,
            "labels": b.matching.labels,
            "on": b.matching.on,
            "include": b.matching.include,
            "fillValues": {"lhs": b.matching.fill_left, "rhs": b.matching.fill_right},
        })
    });
    json!({
        "type": "binaryExpr",
        "op": b.op.as_str(),
        "lhs": tree(&b.left),
        "rhs": tree(&b.right),
        "matching": matching,
        "bool": b.returns_bool,
    })
}

fn selector(kind: &str, s: &Selector) -> Value {
    // The name in front of the braces comes last, as Prometheus has it.
    let is_name = |m: &&Matcher| m.name() == METRIC_NAME && s.name.as_deref() == Some(m.value());
    let matchers: Vec<Value> = s
        .matchers
        .iter()
        .filter(|m| !is_name(m))
        .chain(s.matchers.iter().find(is_name))
        .map(|m| json!({"name": m.name(), "value": m.value(), "type": m.op().as_str()}))
        .collect();
    json!({
        "type": kind,
        "name": s.name.as_deref().unwrap_or(""),
        "offset": literal_ms(s.offset.as_ref()),
        "matchers": matchers,
        "timestamp": timestamp(s.at),
        "startOrEnd": start_or_end(s.at),
        "anchored": s.edges == Edges::Anchored,
        "smoothed": s.edges == Edges::Smoothed,
    })
}

fn subquery(s: &Subquery) -> Value {
    json!({
        "type": "subquery",
        "expr": tree(&s.inner),
        "range": literal_ms(Some(&s.range)),
        "offset": literal_ms(s.offset.as_ref()),
        "step": literal_ms(s.step.as_ref()),
        "timestamp": timestamp(s.at),
        "startOrEnd": start_or_end(s.at),
    })
}

fn timestamp(at: Option<At>) -> Option<i64> {
    match at {
        Some(At::Time(ms)) => Some(ms),
        _ => None,
    }
}

fn start_or_end(at: Option<At>) -> Option<&'static str> {
    match at {
        Some(At::Start) => Some("start"),
        Some(At::End) => Some("end"),
        _ => None,
    }
}

/// Milliseconds of a literal; an expression is not known before it is evaluated and is 0, as in Prometheus.
fn literal_ms(duration: Option<&Duration>) -> i64 {
    match duration {
        Some(Duration::Literal(ms)) => *ms,
        Some(Duration::Number(seconds)) => (seconds * 1000.0) as i64,
        Some(Duration::Paren(inner)) => literal_ms(Some(inner)),
        Some(Duration::Negative(inner)) => -literal_ms(Some(inner)),
        _ => 0,
    }
}

fn type_name(t: Type) -> &'static str {
    match t {
        Type::Scalar => "scalar",
        Type::Text => "string",
        Type::Vector => "vector",
        Type::Matrix => "matrix",
    }
}

/// A number without exponent, however long.
fn plain_number(n: f64) -> String {
    if n.is_infinite() {
        return if n > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    n.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn trees_are_those_of_prometheus() {
        let of = |text: &str| tree(&parse(text).unwrap());
        let foo = json!({
            "type": "vectorSelector", "name": "foo", "offset": 0, "timestamp": null, "startOrEnd": null,
            "matchers": [{"name": "__name__", "type": "=", "value": "foo"}], "anchored": false, "smoothed": false,
        });
        assert_eq!(of("foo"), foo);
        let quotient = of("foo / on (a) group_left (b) foo");
        assert_eq!((&quotient["lhs"], &quotient["rhs"]), (&foo, &foo));
        assert_eq!(
            quotient["matching"],
            json!({"card": "many-to-one", "labels": ["a"], "on": true, "include": ["b"], "fillValues": {"lhs": null, "rhs": null}})
        );
        assert_eq!(of("foo > bool 1e30")["matching"], Value::Null);
        assert_eq!(of("1e30")["val"], "1000000000000000000000000000000");
        let range = of("rate(foo{a!~\"b\"}[5m] offset -1m @ end())");
        assert_eq!(range["func"]["argTypes"], json!(["matrix"]));
        let inner = &range["args"][0];
        assert_eq!(
            (&inner["type"], &inner["range"], &inner["offset"], &inner["startOrEnd"]),
            (&json!("matrixSelector"), &json!(300_000), &json!(-60_000), &json!("end"))
        );
        assert_eq!(inner["matchers"][0], json!({"name": "a", "type": "!~", "value": "b"}));
        assert_eq!(of("topk by (x) (3, foo)")["param"]["val"], "3");
        assert_eq!(of("foo[1h:5m] @ 10")["timestamp"], 10_000);
        assert_eq!(of("foo and foo")["matching"]["card"], "many-to-many");
    }

    #[test]
    fn every_selector_is_found() {
        let expr = parse("sum(a + b) / quantile(scalar(c), -(rate(d[1m]))) > 1").unwrap();
        let names: Vec<&str> = selectors(&expr).iter().map(|m| m[0].value()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
    }
}

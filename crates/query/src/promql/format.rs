//! Expressions back to text: one line as Prometheus prints them, several when they are long.

use std::fmt::Write as _;

use super::ast::{At, Duration, Edges, Expr, Kind, Selector};
use crate::syntax::{format_duration_ms, format_float, quote};
use crate::vector::binary::{Many, Matching, Op};
use model::METRIC_NAME;

/// Columns after which an expression is broken into lines.
const COLUMNS_MAX: usize = 100;

/// `expr` in Prometheus' canonical layout, as `/api/v1/format_query` answers.
pub fn format(expr: &Expr) -> String {
    let mut out = String::new();
    pretty(&mut out, expr, 0);
    out
}

fn indent(out: &mut String, level: usize) {
    (0..level).for_each(|_| out.push_str("  "));
}

/// Writes `expr` at an indentation; children get their own lines when it does not fit on one.
fn pretty(out: &mut String, expr: &Expr, level: usize) {
    let flat = one_line(expr);
    if flat.chars().count() <= COLUMNS_MAX {
        indent(out, level);
        out.push_str(&flat);
        return;
    }
    match &expr.kind {
        Kind::Paren(inner) => bracketed(out, "(", &[inner], level, true),
        Kind::Unary { negate, inner } => {
            indent(out, level);
            out.push(if *negate { '-' } else { '+' });
            let mut text = String::new();
            pretty(&mut text, inner, level);
            out.push_str(text.trim_start());
        }
        Kind::Binary(b) => {
            pretty(out, &b.left, level + 1);
            out.push('\n');
            indent(out, level);
            out.push_str(&operator(b.op.as_str(), b.returns_bool, &b.matching));
            out.push('\n');
            pretty(out, &b.right, level + 1);
        }
        Kind::Call { function, args } => {
            let args: Vec<&Expr> = args.iter().collect();
            bracketed(out, &format!("{}(", function.name), &args, level, true);
        }
        Kind::Aggregate(a) => {
            let args: Vec<&Expr> = a.param.iter().chain([&a.inner]).collect();
            let head = format!("{}{}(", a.op.as_str(), grouping(a));
            bracketed(out, &head, &args, level, true);
        }
        Kind::Subquery(s) => {
            pretty(out, &s.inner, level);
            let _infallible = write!(out, "{}", subquery_suffix(s));
        }
        _ => {
            indent(out, level);
            out.push_str(&flat);
        }
    }
}

fn bracketed(out: &mut String, head: &str, args: &[&Expr], level: usize, own_line: bool) {
    if own_line {
        indent(out, level);
    }
    out.push_str(head);
    out.push('\n');
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            out.push_str(",\n");
        }
        pretty(out, arg, level + 1);
    }
    out.push('\n');
    indent(out, level);
    out.push(')');
}

/// `expr` on one line, as Prometheus shows the expressions of rules.
pub fn one_line(expr: &Expr) -> String {
    match &expr.kind {
        Kind::Number(n) => number(*n),
        Kind::Text { value, .. } => quote(value),
        Kind::Paren(inner) => format!("({})", one_line(inner)),
        Kind::Unary { negate, inner } => {
            format!("{}{}", if *negate { "-" } else { "+" }, one_line(inner))
        }
        Kind::Binary(b) => {
            let operator = operator(b.op.as_str(), b.returns_bool, &b.matching);
            format!("{} {operator} {}", one_line(&b.left), one_line(&b.right))
        }
        Kind::Selector(s) => format!("{}{}", selector(s), modifiers(s)),
        Kind::Range { selector: s, range } => {
            format!("{}[{}]{}", selector(s), duration(range), modifiers(s))
        }
        Kind::Subquery(s) => format!("{}{}", one_line(&s.inner), subquery_suffix(s)),
        Kind::Call { function, args } => {
            let args: Vec<String> = args.iter().map(one_line).collect();
            format!("{}({})", function.name, args.join(", "))
        }
        Kind::Aggregate(a) => {
            let args: Vec<String> = a.param.iter().chain([&a.inner]).map(one_line).collect();
            format!("{}{}({})", a.op.as_str(), grouping(a), args.join(", "))
        }
    }
}

/// A number as Go prints it: with an exponent when it is very large or very small.
fn number(n: f64) -> String {
    if n == 0.0 || !n.is_finite() || (1e-4..1e21).contains(&n.abs()) {
        return format_float(n);
    }
    let text = format!("{n:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn grouping(a: &super::ast::Aggregate) -> String {
    match (a.grouping.without, a.grouped && !a.grouping.labels.is_empty()) {
        (true, _) => format!(" without ({}) ", names(&a.grouping.labels)),
        (false, true) => format!(" by ({}) ", names(&a.grouping.labels)),
        (false, false) => String::new(),
    }
}

fn names(names: &[String]) -> String {
    names.iter().map(|n| name(n)).collect::<Vec<_>>().join(", ")
}

/// A label name, quoted unless it is a plain word.
fn name(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { name.to_owned() } else { quote(name) }
}

fn operator(op: &str, returns_bool: bool, matching: &Matching) -> String {
    let mut out = op.to_owned();
    if returns_bool {
        out.push_str(" bool");
    }
    if matching.on || !matching.labels.is_empty() || matching.many != Many::Neither {
        let word = if matching.on { "on" } else { "ignoring" };
        let _infallible = write!(out, " {word} ({})", names(&matching.labels));
    }
    match matching.many {
        Many::Neither => {}
        Many::Left => {
            let _infallible = write!(out, " group_left ({})", names(&matching.include));
        }
        Many::Right => {
            let _infallible = write!(out, " group_right ({})", names(&matching.include));
        }
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(l), Some(r)) if l.to_bits() == r.to_bits() => {
            let _infallible = write!(out, " fill ({})", format_float(l));
        }
        (left, right) => {
            for (word, value) in [("fill_left", left), ("fill_right", right)] {
                if let Some(value) = value {
                    let _infallible = write!(out, " {word} ({})", format_float(value));
                }
            }
        }
    }
    out
}

fn selector(s: &Selector) -> String {
    let plain_name = s.name.as_deref().filter(|n| {
        n.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':'))
            && n.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
    });
    let mut inside: Vec<String> = Vec::new();
    let mut name_left_out = false;
    for m in &s.matchers {
        let is_name =
            m.name() == METRIC_NAME && !name_left_out && s.name.as_deref() == Some(m.value());
        if is_name {
            name_left_out = true;
            if plain_name.is_none() {
                inside.insert(0, quote(m.value()));
            }
            continue;
        }
        inside.push(format!("{}{}{}", name(m.name()), m.op().as_str(), quote(m.value())));
    }
    let mut out = plain_name.unwrap_or("").to_owned();
    if !inside.is_empty() || plain_name.is_none() {
        let _infallible = write!(out, "{{{}}}", inside.join(","));
    }
    out
}

fn modifiers(s: &Selector) -> String {
    let edges = match s.edges {
        Edges::Plain => "",
        Edges::Anchored => " anchored",
        Edges::Smoothed => " smoothed",
    };
    format!("{edges}{}", at_and_offset(s.at, s.offset.as_ref()))
}

fn at_and_offset(at: Option<At>, offset: Option<&Duration>) -> String {
    let mut out = String::new();
    match at {
        None => {}
        Some(At::Start) => out.push_str(" @ start()"),
        Some(At::End) => out.push_str(" @ end()"),
        Some(At::Time(t_ms)) => {
            let _infallible = write!(out, " @ {:.3}", t_ms as f64 / 1000.0);
        }
    }
    if let Some(offset) = offset {
        let _infallible = write!(out, " offset {}", duration(offset));
    }
    out
}

fn subquery_suffix(s: &super::ast::Subquery) -> String {
    let step = s.step.as_ref().map(duration).unwrap_or_default();
    format!("[{}:{step}]{}", duration(&s.range), at_and_offset(s.at, s.offset.as_ref()))
}

fn duration(d: &Duration) -> String {
    match d {
        Duration::Literal(ms) => format_duration_ms(*ms),
        Duration::Number(n) => number(*n),
        Duration::Step => "step()".to_owned(),
        Duration::Range => "range()".to_owned(),
        Duration::Negative(inner) => format!("-{}", duration(inner)),
        Duration::Paren(inner) => format!("({})", duration(inner)),
        Duration::Binary(parts) => {
            let op = match parts.1 {
                Op::Add => "+",
                Op::Sub => "-",
                Op::Mul => "*",
                Op::Div => "/",
                Op::Mod => "%",
                _ => "^",
            };
            format!("{} {op} {}", duration(&parts.0), duration(&parts.2))
        }
        Duration::Extreme { max, pair } => {
            let word = if *max { "max_of" } else { "min_of" };
            format!("{word}({}, {})", duration(&pair.0), duration(&pair.1))
        }
    }
}

//! Names and values of tags, and searches by tags from before there was TraceQL.

use std::collections::BTreeMap;

use ::query::traceql::{self, Value};
use axum::extract::Path;
use axum::response::Response;
use model::{AttributeScope, Error, Result};
use serde_json::{Value as Json, json};

use super::{range, respond};
use crate::params::Params;
use crate::tenants::Reader;

/// Names or values of one answer.
const LIST_MAX: usize = 10_000;
/// Values unless it is asked for more.
const VALUES_DEFAULT: usize = 1_000;

const SCOPES: [(AttributeScope, &str); 5] = [
    (AttributeScope::Resource, "resource"),
    (AttributeScope::Span, "span"),
    (AttributeScope::Event, "event"),
    (AttributeScope::Link, "link"),
    (AttributeScope::Instrumentation, "instrumentation"),
];

const INTRINSIC: &str = "intrinsic";

/// Names by scope, in the order of scopes.
async fn names(app: &Reader, params: &Params) -> Result<Vec<(&'static str, Vec<String>)>> {
    let wanted = params.get("scope").to_owned();
    let all = SCOPES.iter().map(|(_, name)| *name).chain([INTRINSIC]);
    if !matches!(&*wanted, "" | "all" | "none") && !all.clone().any(|name| name == wanted) {
        let all: Vec<&str> = all.collect();
        let all = all.join(", ");
        return Err(Error::invalid(format!(
            "invalid parameter \"scope\": {wanted:?} is none of {all}"
        )));
    }
    let limit = limit(params, LIST_MAX)?;
    let range = range(params)?;
    let source = app.traces.clone();
    let found = app.queries.run(None, move |budget| source.attribute_names(range, budget)).await?;
    let mut by_scope: BTreeMap<AttributeScope, Vec<String>> = BTreeMap::new();
    for (scope, name) in found {
        let names = by_scope.entry(scope).or_default();
        if names.len() < limit {
            names.push(name);
        }
    }
    let is_wanted = |name: &str| matches!(&*wanted, "" | "all" | "none") || wanted == name;
    let mut answer: Vec<(&str, Vec<String>)> = SCOPES
        .into_iter()
        .filter(|(_, name)| is_wanted(name))
        .filter_map(|(scope, name)| Some((name, by_scope.remove(&scope)?)))
        .collect();
    if is_wanted(INTRINSIC) {
        let mut names: Vec<String> = traceql::intrinsics().map(str::to_owned).collect();
        names.sort();
        answer.push((INTRINSIC, names));
    }
    Ok(answer)
}

fn limit(params: &Params, default: usize) -> Result<usize> {
    // Tempo takes 0 for no limit of its own.
    let asked = params.count("limit")?.filter(|limit| *limit > 0);
    Ok(asked.unwrap_or(default).min(LIST_MAX))
}

/// Names of all scopes in one list; intrinsics only when they are asked for.
pub(crate) async fn list(app: Reader, params: Params) -> Response {
    let answer = async {
        let wants_all = params.get("scope") != INTRINSIC;
        let scopes = names(&app, &params).await?;
        let of = scopes.into_iter().filter(|(scope, _)| *scope != INTRINSIC || !wants_all);
        let mut names: Vec<String> = of.flat_map(|(_, names)| names).collect();
        names.sort();
        names.dedup();
        Ok(json!({"tagNames": names, "metrics": {}}).to_string())
    };
    respond(answer.await)
}

/// Names by scope.
pub(crate) async fn list_by_scope(app: Reader, params: Params) -> Response {
    let answer = async {
        let scopes = names(&app, &params).await?;
        let one = |(name, tags): (&str, Vec<String>)| json!({"name": name, "tags": tags});
        let scopes: Vec<Json> = scopes.into_iter().map(one).collect();
        Ok(json!({"scopes": scopes, "metrics": {}}).to_string())
    };
    respond(answer.await)
}

async fn found(app: &Reader, name: String, params: &Params) -> Result<Vec<Value<'static>>> {
    let limit = limit(params, VALUES_DEFAULT)?;
    let range = range(params)?;
    let filter = params.get("q").to_owned();
    let source = app.traces.clone();
    let work = move |budget: &model::Budget| {
        traceql::values(source.as_ref(), &name, &filter, range, limit, budget)
    };
    app.queries.run(None, work).await
}

/// Values as texts; the tag goes without a scope.
pub(crate) async fn values(app: Reader, Path(name): Path<String>, params: Params) -> Response {
    let answer = async {
        let is_field = name.starts_with('.')
            || traceql::intrinsics().any(|known| known == name)
            || SCOPES.iter().any(|(_, scope)| {
                name.strip_prefix(scope).is_some_and(|rest| rest.starts_with('.'))
            });
        let field = if is_field { name } else { format!(".{}", quoted(&name)) };
        let mut texts: Vec<String> =
            found(&app, field, &params).await?.iter().map(Value::to_string).collect();
        texts.dedup();
        Ok(json!({"tagValues": texts, "metrics": {}}).to_string())
    };
    respond(answer.await)
}

/// Values with their types; the tag is a field of TraceQL.
pub(crate) async fn typed_values(
    app: Reader,
    Path(name): Path<String>,
    params: Params,
) -> Response {
    let answer = async {
        let kind = |value: &Value<'_>| match value {
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Duration(_) => "duration",
            Value::Status(_) | Value::Kind(_) => "keyword",
            Value::Nil | Value::Text(_) | Value::Many(_) => "string",
        };
        let found = found(&app, name, &params).await?;
        let one = |value: &Value<'_>| json!({"type": kind(value), "value": value.to_string()});
        let values: Vec<Json> = found.iter().map(one).collect();
        Ok(json!({"tagValues": values, "metrics": {}}).to_string())
    };
    respond(answer.await)
}

/// A name in quotes where it takes them.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// TraceQL for `tags`: pairs in logfmt. Values match wherever they stand in a text, in any case; numbers and truth values
/// as such.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when they are no pairs.
pub(crate) fn selection(tags: &str) -> Result<String> {
    let conditions = pairs(tags)?.into_iter().map(|(name, value)| {
        // A pattern as a literal of TraceQL: each backslash twice.
        let pattern = escaped(&value).replace('\\', "\\\\").replace('"', "\\\"");
        let matches = |field: &str| format!("{field} =~ \"(?is).*{pattern}.*\"");
        match &*name {
            "name" => matches("name"),
            "root.name" => matches("rootName"),
            "root.service.name" => matches("rootServiceName"),
            "error" if value == "true" => "status = error".to_owned(),
            "error" if value == "false" => "status != error".to_owned(),
            "status.code" if matches!(&*value, "error" | "ok" | "unset") => {
                format!("status = {value}")
            }
            _ => {
                let field = format!(".{}", quoted(&name));
                let is_literal = matches!(&*value, "true" | "false")
                    || value.parse::<f64>().is_ok_and(f64::is_finite)
                        && value.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
                let text = matches(&field);
                if is_literal { format!("({text} || {field} = {value})") } else { text }
            }
        }
    });
    Ok(format!("{{ {} }}", conditions.collect::<Vec<_>>().join(" && ")).replace("{  }", "{}"))
}

/// The text with every character that means something in a pattern escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// `name=value name="other value"`.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let wrong = || {
            Error::invalid(format!("invalid parameter \"tags\": {rest:.64?} is no pair name=value"))
        };
        let (name, behind) = rest.split_once('=').ok_or_else(wrong)?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let mut value = String::new();
        let end = if let Some(quoted) = behind.strip_prefix('"') {
            let mut chars = quoted.char_indices();
            loop {
                match chars.next().ok_or_else(wrong)? {
                    (at, '"') => break at + 2,
                    (_, '\\') => value.push(chars.next().ok_or_else(wrong)?.1),
                    (_, c) => value.push(c),
                }
            }
        } else {
            let end = behind.find(char::is_whitespace).unwrap_or(behind.len());
            value.push_str(behind.get(..end).unwrap_or(behind));
            end
        };
        all.push((name.to_owned(), value));
        rest = behind.get(end..).unwrap_or("").trim_start();
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_traceql() {
        let check = |tags: &str, expect: &str| {
            let text = selection(tags).unwrap();
            assert_eq!(text, expect, "{tags}");
            traceql::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        };
        check("", "{}");
        check("service.name=cart", "{ .service.name =~ \"(?is).*cart.*\" }");
        check(
            "name=\"GET \\\"x\\\"\" error=true",
            "{ name =~ \"(?is).*GET \\\"x\\\".*\" && status = error }",
        );
        check("http.status=500", "{ (.http.status =~ \"(?is).*500.*\" || .http.status = 500) }");
        check("a(b)=x.y", "{ .\"a(b)\" =~ \"(?is).*x\\\\.y.*\" }");
        assert!(selection("cart").is_err());
        assert!(selection("a b=c").is_err());
        assert!(selection("a=\"b").is_err());
    }
}

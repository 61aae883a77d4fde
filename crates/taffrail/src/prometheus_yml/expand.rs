//! `${VAR}` and `${VAR:-default}` in the values of a file.

use super::node::{Node, Placed, Value};

/// Keys whose values have `$` of their own: references to groups of a regular expression.
const NOT_EXPANDED: [&str; 3] = ["regex", "replacement", "target_label"];

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Expands all values below `node`. Below `external_labels` also `$VAR` counts and an unset variable is empty, as in
/// Prometheus; elsewhere an unset variable without default is an error.
pub(super) fn expand(node: &mut Node, env: Environment<'_>, lenient: bool) -> Result<(), Placed> {
    match &mut node.value {
        Value::Text(text) if text.contains('$') => {
            *text = expand_text(text, env, lenient).map_err(|name| {
                (
                    node.line,
                    format!(
                        "environment variable {name} is not set; ${{{name}:-}} would allow that"
                    ),
                )
            })?;
        }
        Value::List(items) => {
            for item in items {
                expand(item, env, lenient)?;
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                if !NOT_EXPANDED.contains(&key.name.as_str()) {
                    expand(value, env, lenient || key.name == "external_labels")?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The error is the name of a variable that is not set.
fn expand_text(text: &str, env: Environment<'_>, lenient: bool) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if lenient && after.starts_with('$') {
            out.push('$');
            rest = &after[1..];
            continue;
        }
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, default, tail) = match braced {
            Some((inner, tail)) => match inner.split_once(":-") {
                Some((name, default)) => (name, Some(default), tail),
                None => (inner, None, tail),
            },
            None if lenient => {
                let len =
                    after.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                (&after[..len], None, &after[len..])
            }
            None => ("", None, after),
        };
        if !is_name(name) {
            out.push('$');
            rest = after;
            continue;
        }
        match (env(name).filter(|value| default.is_none() || !value.is_empty()), default) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) if lenient => {}
            (None, None) => return Err(name.to_owned()),
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

//! `${VAR}` and `${VAR:-default}` in configuration files. A lone `$` stays as it is, so that `$1` of relabelling keeps its
//! meaning.

use std::path::Path;

use crate::yaml::ConfigError;

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces the variables in the lines of `content`, which was read from `path`; comments stay as they are.
///
/// # Errors
/// Names line and variable when it is not set and has no default.
pub fn lines(path: &Path, content: &str, env: Environment<'_>) -> Result<String, ConfigError> {
    let mut out = String::with_capacity(content.len());
    for (index, line) in content.split_inclusive('\n').enumerate() {
        // Comments often show variables that nobody has to set.
        if line.trim_start().starts_with('#') {
            out.push_str(line);
            continue;
        }
        out.push_str(&text(line, env, false).map_err(|name| {
            let message =
                format!("environment variable {name} is not set; ${{{name}:-}} would allow that");
            ConfigError { path: path.to_owned(), line: index as u64 + 1, column: 1, message }
        })?);
    }
    Ok(out)
}

/// Replaces `${VAR}` and `${VAR:-default}` in `text`. With `lenient`, as Prometheus has it for external labels, `$VAR` counts
/// too, `$$` is one dollar sign and an unset variable is empty.
///
/// # Errors
/// The name of a variable that is not set and has no default.
pub fn text(text: &str, env: Environment<'_>, lenient: bool) -> Result<String, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_defaults_and_dollars() {
        let env = |name: &str| (name == "A").then(|| "1".to_owned());
        let expand = |text: &str| lines(Path::new("f.yml"), text, &env).map_err(|e| e.to_string());
        assert_eq!(expand("a: ${A} ${B:-x y} $1 ${1} $\n").unwrap(), "a: 1 x y $1 ${1} $\n");
        assert_eq!(expand("# ${B}\n").unwrap(), "# ${B}\n");
        assert_eq!(
            expand("x\n${B}\n").unwrap_err(),
            "f.yml:2:1: environment variable B is not set; ${B:-} would allow that"
        );
        assert_eq!(text("$A $$ $B", &env, true).unwrap(), "1 $ ");
    }
}

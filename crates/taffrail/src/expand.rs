//! `${VAR}` and `${VAR:-default}` in configuration files. `$$` stands for one dollar sign; a lone `$` stays as it is, so
//! that `$1` of relabelling keeps its meaning.

use std::path::Path;

use crate::yaml::ConfigError;

/// Replaces the variables of `text`, the content of `path`, with what `env` knows.
///
/// # Errors
/// Names line and variable when it is not set and has no default, or when the brace is not closed.
pub fn variables(
    path: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ConfigError> {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        // Comments often show variables that nobody has to set.
        if line.trim_start().starts_with('#') {
            out.push_str(line);
            continue;
        }
        let mistake = |message: String| ConfigError {
            path: path.to_owned(),
            line: index as u64 + 1,
            column: 1,
            message,
        };
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            rest = if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                after
            } else if let Some(inside) =
                after.strip_prefix('{').filter(|inside| is_variable(inside))
            {
                let (variable, after) = inside
                    .split_once('}')
                    .ok_or_else(|| mistake("`${` is never closed with `}`".to_owned()))?;
                let (name, default) = variable
                    .split_once(":-")
                    .map_or((variable, None), |(name, default)| (name, Some(default)));
                let value = env(name).filter(|value| !value.is_empty() || default.is_none());
                let value = value.or(default.map(str::to_owned));
                out.push_str(&value.ok_or_else(|| mistake(format!("environment variable {name} is not set; write ${{{name}:-default}} to allow that")))?);
                after
            } else {
                out.push('$');
                after
            };
        }
        out.push_str(rest);
    }
    Ok(out)
}

/// `${1}` is a capture group of relabelling, not a variable.
fn is_variable(inside: &str) -> bool {
    inside.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_defaults_and_dollars() {
        let env = |name: &str| (name == "A").then(|| "1".to_owned());
        let expand =
            |text: &str| variables(Path::new("f.yml"), text, &env).map_err(|e| e.to_string());
        assert_eq!(expand("a: ${A} ${B:-x y} $$ $1 ${1} $\n").unwrap(), "a: 1 x y $ $1 ${1} $\n");
        assert_eq!(expand("# ${B}\n").unwrap(), "# ${B}\n");
        assert_eq!(
            expand("x\n${B}\n").unwrap_err(),
            "f.yml:2:1: environment variable B is not set; write ${B:-default} to allow that"
        );
        assert!(expand("${A\n").is_err());
    }
}

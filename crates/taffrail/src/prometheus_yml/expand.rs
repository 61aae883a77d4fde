//! `${VAR}` and `${VAR:-default}` in the values of a file.

use super::node::{Node, Placed, Value};
pub use crate::expand::Environment;

/// Keys whose values have `$` of their own: references to groups of a regular expression, variables of a template.
const NOT_EXPANDED: [&str; 4] = ["regex", "replacement", "target_label", "pipeline_stages"];

/// Expands all values below `node`. Below `external_labels` also `$VAR` counts and an unset variable is empty, as in
/// Prometheus; elsewhere an unset variable without default is an error.
pub(crate) fn expand(node: &mut Node, env: Environment<'_>, lenient: bool) -> Result<(), Placed> {
    match &mut node.value {
        Value::Text(text) if text.contains('$') => {
            *text = crate::expand::text(text, env, lenient).map_err(|name| {
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

//! Functions that rewrite labels.

use model::{Budget, METRIC_NAME, Result};
use regex::Regex;

use super::{Row, merge};

/// Sets `target` to `replacement` with the groups of `pattern`, where `pattern` matches all of label `source`.
///
/// # Errors
/// `Invalid` when two series end up with the same labels at the same time; those of `budget`.
pub(crate) fn label_replace(
    mut rows: Vec<Row>,
    target: &str,
    replacement: &str,
    source: &str,
    pattern: &Regex,
    budget: &Budget,
) -> Result<Vec<Row>> {
    for (i, row) in rows.iter_mut().enumerate() {
        if i % 1024 == 0 {
            budget.check()?;
        }
        let value = row.labels.get(source).unwrap_or("");
        let Some(captures) = pattern.captures(value) else { continue };
        let mut replaced = String::new();
        captures.expand(replacement, &mut replaced);
        set(row, target, &replaced);
    }
    merge(rows)
}

/// Sets `target` to the values of `sources` with `separator` between them.
///
/// # Errors
/// As [`label_replace`].
pub(crate) fn label_join(
    mut rows: Vec<Row>,
    target: &str,
    separator: &str,
    sources: &[String],
) -> Result<Vec<Row>> {
    for row in &mut rows {
        let values: Vec<&str> =
            sources.iter().map(|name| row.labels.get(name).unwrap_or("")).collect();
        let joined = values.join(separator);
        set(row, target, &joined);
    }
    merge(rows)
}

fn set(row: &mut Row, target: &str, value: &str) {
    row.labels = row.labels.with(target, value);
    // A name that was set on purpose stays.
    row.drop_name &= target != METRIC_NAME;
}

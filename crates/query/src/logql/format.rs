//! Stages that change rows without looking into the line: `line_format`, `label_format`, `drop`, `keep`, `decolorize`.

use std::sync::LazyLock;

use model::{Error, Matcher, Result};
use regex::Regex;

use super::row::{ERROR_DETAILS_LABEL, ERROR_LABEL, RowLabels};
use super::template::{Context, Template};

/// `__error__` of the two formatting stages.
const ERROR_KIND: &str = "TemplateFormatErr";

/// `label_format a=b, c="{{.d}}"`.
#[derive(Debug, Clone)]
pub(crate) struct LabelFormat {
    assignments: Vec<(String, LabelSource)>,
}

/// Where a formatted label comes from.
#[derive(Debug, Clone)]
pub(crate) enum LabelSource {
    /// Another label, which goes away.
    Rename(String),
    /// A template.
    Template(Template),
}

impl LabelFormat {
    /// Checks the targets.
    ///
    /// # Errors
    /// Invalid when a label is assigned twice or may not be.
    pub(crate) fn compile(assignments: Vec<(String, LabelSource)>) -> Result<Self> {
        for (i, (name, _)) in assignments.iter().enumerate() {
            if name == ERROR_LABEL || name == ERROR_DETAILS_LABEL {
                return Err(Error::invalid(format!("label {name} cannot be formatted")));
            }
            if assignments.iter().take(i).any(|(n, _)| n == name) {
                return Err(Error::invalid(format!(
                    "multiple label name '{name}' found: a label name can only appear once per stage"
                )));
            }
        }
        Ok(Self { assignments })
    }

    /// Calls `visit` with the name of each label it reads, `*` when it may read all.
    pub(crate) fn for_each_label(&self, visit: &mut impl FnMut(&str)) {
        for (_, source) in &self.assignments {
            match source {
                LabelSource::Rename(from) => visit(from),
                LabelSource::Template(template) => template.for_each_label(visit),
            }
        }
    }

    /// Applies the assignments in order.
    pub(crate) fn apply(&self, t_ns: i64, line: &str, labels: &mut RowLabels<'_>) {
        for (name, source) in &self.assignments {
            match source {
                LabelSource::Rename(from) => {
                    if let Some(value) = labels.get(from).map(str::to_owned) {
                        labels.remove(from);
                        labels.set(name, value);
                    }
                }
                LabelSource::Template(template) => {
                    match template.render(&Context { t_ns, line, labels }) {
                        Ok(value) => labels.set(name, value),
                        Err(details) => labels.set_error(ERROR_KIND, details),
                    }
                }
            }
        }
    }
}

/// The new line, or `None` (and an error label) when the template fails.
pub(crate) fn format_line(
    template: &Template,
    t_ns: i64,
    line: &str,
    labels: &mut RowLabels<'_>,
) -> Option<String> {
    match template.render(&Context { t_ns, line, labels }) {
        Ok(line) => Some(line),
        Err(details) => {
            labels.set_error(ERROR_KIND, details);
            None
        }
    }
}

/// What `drop` and `keep` name: labels, or labels with certain values.
#[derive(Debug, Clone)]
pub(crate) struct LabelSelection {
    pub(crate) names: Vec<String>,
    pub(crate) matchers: Vec<Matcher>,
}

impl LabelSelection {
    fn selects(&self, name: &str, value: &str) -> bool {
        self.names.iter().any(|n| n == name)
            || self.matchers.iter().any(|m| m.name() == name && m.matches(value))
    }

    /// Removes what is selected.
    pub(crate) fn drop_from(&self, labels: &mut RowLabels<'_>) {
        for name in &self.names {
            labels.remove(name);
        }
        for matcher in &self.matchers {
            if labels.get(matcher.name()).is_some_and(|v| matcher.matches(v)) {
                labels.remove(matcher.name());
            }
        }
    }

    /// Removes everything else.
    pub(crate) fn keep_in(&self, labels: &mut RowLabels<'_>) {
        labels.retain(|name, value| self.selects(name, value));
    }
}

/// `line` without terminal colour sequences; `None` when there are none.
pub(crate) fn decolorize(line: &str) -> Option<String> {
    static SEQUENCE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new("[\u{1b}\u{9b}][\\[()#;?]*(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-ORZcf-nqry=><]")
            .expect("BUG: fixed expression")
    });
    if !line.contains(['\u{1b}', '\u{9b}']) {
        return None;
    }
    Some(SEQUENCE.replace_all(line, "").into_owned())
}

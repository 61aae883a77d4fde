//! Annotations of a result: warnings and infos with the place they are about, each once.

use crate::syntax::position;

/// Collects annotations for one query text.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

impl Notes {
    /// Something that makes the result doubtful, about the expression at byte `at` of `text`.
    pub(crate) fn warn(&mut self, text: &str, at: usize, message: &str) {
        let (line, column) = position(text, at);
        push(&mut self.warnings, format!("PromQL warning: {message} ({line}:{column})"));
    }

    /// Something worth knowing.
    pub(crate) fn info(&mut self, text: &str, at: usize, message: &str) {
        let (line, column) = position(text, at);
        push(&mut self.infos, format!("PromQL info: {message} ({line}:{column})"));
    }

    /// A source's own words.
    pub(crate) fn source_warning(&mut self, message: String) {
        push(&mut self.warnings, message);
    }
}

/// Annotations of one kind that a result may carry.
const NOTES_MAX: usize = 50;

fn push(list: &mut Vec<String>, message: String) {
    if list.contains(&message) {
        return;
    }
    match list.len() {
        n if n < NOTES_MAX => list.push(message),
        NOTES_MAX => list.push(format!("more than {NOTES_MAX} annotations; the rest is left out")),
        _ => {}
    }
}

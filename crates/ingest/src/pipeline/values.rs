//! The values that stages find in a line and hand on to each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Labels;

use super::TemplateValues;

/// Values by name. One that is JSON's `null` is there and has no text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    by_name: BTreeMap<Arc<str>, Option<String>>,
}

impl Values {
    /// The text of `name`; `None` when it is not there or null.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.by_name.get(name)?.as_deref()
    }

    /// Whether `name` is there, be it null.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Sets `name`, in place of what it was.
    pub fn set(&mut self, name: &Arc<str>, text: String) {
        self.by_name.insert(Arc::clone(name), Some(text));
    }

    /// Sets `name` to null.
    pub fn set_null(&mut self, name: &Arc<str>) {
        self.by_name.insert(Arc::clone(name), None);
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// All that have a text, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_name.iter().filter_map(|(name, text)| Some((&**name, text.as_deref()?)))
    }

    /// Every label becomes a value, as at the start of each pipeline.
    pub(super) fn take_labels(&mut self, labels: &Labels) {
        for (name, value) in labels.iter() {
            match self.by_name.get_mut(name) {
                Some(text) => *text = Some(value.to_owned()),
                None => {
                    self.by_name.insert(Arc::from(name), Some(value.to_owned()));
                }
            }
        }
    }
}

/// What a template sees: all values, the line as `Entry`, and the one it works on as `Value`.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) values: &'a Values,
    pub(super) line: &'a str,
    pub(super) value: Option<&'a str>,
}

impl TemplateValues for Seen<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "Entry" => Some(self.line),
            "Value" if self.value.is_some() => self.value,
            _ => self.values.get(name),
        }
    }

    fn for_each(&self, visit: &mut dyn FnMut(&str, &str)) {
        visit("Entry", self.line);
        self.value.iter().for_each(|value| visit("Value", value));
        let hidden = |name: &str| name == "Entry" || (name == "Value" && self.value.is_some());
        self.values.iter().filter(|(name, _)| !hidden(name)).for_each(|(n, v)| visit(n, v));
    }
}

//! The labels of one row while it goes through a pipeline: stream labels, structured metadata and what the stages
//! extracted or changed, without copying what did not change.

use model::Labels;

use super::Categories;

/// Label that names the kind of failure a stage met in a row.
pub(crate) const ERROR_LABEL: &str = "__error__";
/// Label with the text of that failure.
pub(crate) const ERROR_DETAILS_LABEL: &str = "__error_details__";
/// What is appended to the name of an extracted label that would hide one of the stream.
pub(crate) const DUPLICATE_SUFFIX: &str = "_extracted";

/// Labels of one row. Names are unique: a change hides metadata, metadata never hides a stream label.
#[derive(Debug)]
pub(crate) struct RowLabels<'a> {
    stream: &'a Labels,
    fields: &'a Labels,
    changes: &'a mut Vec<Change>,
    /// Names worth extracting; `None` for all.
    wanted: Option<&'a [String]>,
}

/// One label that differs from what the row came with.
#[derive(Debug)]
pub(crate) struct Change {
    name: String,
    /// `None`: removed.
    value: Option<String>,
    /// Whether a parser put it there; the first parser to find a name wins.
    parsed: bool,
    /// Whether it is metadata under another name, as it came.
    metadata: bool,
}

impl<'a> RowLabels<'a> {
    /// Labels of a fresh row; `changes` is scratch space whose content is discarded. Metadata under the name of a
    /// stream label gets another name.
    pub(crate) fn new(
        stream: &'a Labels,
        fields: &'a Labels,
        changes: &'a mut Vec<Change>,
    ) -> Self {
        changes.clear();
        for (name, value) in fields.iter().filter(|(n, _)| stream.get(n).is_some()) {
            changes.push(Change {
                name: format!("{name}{DUPLICATE_SUFFIX}"),
                value: Some(value.to_owned()),
                parsed: false,
                metadata: true,
            });
        }
        Self { stream, fields, changes, wanted: None }
    }

    /// Ignores extracted labels that are not among `wanted`.
    pub(crate) fn extract_only(&mut self, wanted: Option<&'a [String]>) {
        self.wanted = wanted;
    }

    /// Value of `name`; `Some("")` for a label that is present without value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        if let Some(change) = self.changes.iter().find(|c| c.name == name) {
            return change.value.as_deref();
        }
        self.original(name)
    }

    fn original(&self, name: &str) -> Option<&str> {
        self.stream.get(name).or_else(|| self.fields.get(name))
    }

    /// Whether the row came with `name`.
    fn came_with(&self, name: &str) -> bool {
        self.stream.get(name).is_some() || self.fields.get(name).is_some()
    }

    /// Sets `name`, whatever it was.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.change(name, Some(value), false);
    }

    /// Removes `name`.
    pub(crate) fn remove(&mut self, name: &str) {
        if self.get(name).is_some() {
            self.change(name, None, false);
        }
    }

    fn change(&mut self, name: &str, value: Option<String>, parsed: bool) {
        match self.changes.iter_mut().find(|c| c.name == name) {
            Some(change) => {
                change.value = value;
                change.parsed |= parsed;
                change.metadata = false;
            }
            None => {
                let name = name.to_owned();
                self.changes.push(Change { name, value, parsed, metadata: false });
            }
        }
    }

    /// Adds a label found in the line: renamed when the row came with one of that name, ignored when a parser already
    /// found one.
    pub(crate) fn extract(&mut self, name: &str, value: &str) {
        if self.came_with(name) {
            let mut renamed = String::with_capacity(name.len() + DUPLICATE_SUFFIX.len());
            renamed.push_str(name);
            renamed.push_str(DUPLICATE_SUFFIX);
            self.extract_as(&renamed, value);
        } else {
            self.extract_as(name, value);
        }
    }

    fn extract_as(&mut self, name: &str, value: &str) {
        let is_unwanted = self.wanted.is_some_and(|names| !names.iter().any(|n| n == name));
        if is_unwanted || self.changes.iter().any(|c| c.parsed && c.name == name) {
            return;
        }
        self.change(name, Some(value.to_owned()), true);
    }

    /// Whether a stage has failed on this row.
    pub(crate) fn has_error(&self) -> bool {
        self.changes
            .iter()
            .any(|c| c.name == ERROR_LABEL && c.value.as_deref().is_some_and(|v| !v.is_empty()))
    }

    /// Records a failure; the first one stays.
    pub(crate) fn set_error(&mut self, kind: &'static str, details: String) {
        if self.has_error() {
            return;
        }
        self.set(ERROR_LABEL, kind.to_owned());
        if !details.is_empty() {
            self.set(ERROR_DETAILS_LABEL, details);
        }
    }

    /// Removes every label for which `keep(name, value)` is false; error labels stay.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) {
        let mut doomed = Vec::new();
        self.for_each(|name, value| {
            if name != ERROR_LABEL && name != ERROR_DETAILS_LABEL && !keep(name, value) {
                doomed.push(name.to_owned());
            }
        });
        for name in doomed {
            self.change(&name, None, false);
        }
    }

    /// Visits all present labels, in no particular order.
    pub(crate) fn for_each<'s>(&'s self, mut visit: impl FnMut(&'s str, &'s str)) {
        let changed = |name: &str| self.changes.iter().any(|c| c.name == name);
        for (name, value) in self.stream.iter() {
            if !changed(name) {
                visit(name, value);
            }
        }
        for (name, value) in self.fields.iter().filter(|(n, _)| self.stream.get(n).is_none()) {
            if !changed(name) {
                visit(name, value);
            }
        }
        for change in self.changes.iter() {
            if let Some(value) = &change.value {
                visit(&change.name, value);
            }
        }
    }

    /// The finished labels; labels without value are left out.
    pub(crate) fn build(&self) -> Labels {
        if self.changes.is_empty() && self.fields.is_empty() {
            return self.stream.clone();
        }
        self.build_filtered(|_| true)
    }

    /// The finished labels by where they come from: those of the stream that no stage changed, and the others.
    pub(crate) fn categorized(&self) -> (Labels, Categories) {
        let changed = |name: &str| self.changes.iter().any(|c| c.name == name);
        let stream = if self.stream.iter().any(|(name, _)| changed(name)) {
            self.stream.iter().filter(|(name, _)| !changed(name)).collect()
        } else {
            self.stream.clone()
        };
        let fields = self
            .fields
            .iter()
            .filter(|(n, v)| !v.is_empty() && self.stream.get(n).is_none() && !changed(n));
        let of_changes = |metadata: bool| {
            let found = self.changes.iter().filter(move |c| c.metadata == metadata);
            found.filter_map(|c| {
                c.value.as_deref().filter(|v| !v.is_empty()).map(|v| (c.name.as_str(), v))
            })
        };
        let metadata = Labels::from_pairs(fields.chain(of_changes(true)));
        (stream, Categories { metadata, parsed: Labels::from_pairs(of_changes(false)) })
    }

    /// The finished labels for whose names `keep` is true.
    pub(crate) fn build_filtered(&self, keep: impl Fn(&str) -> bool) -> Labels {
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(16);
        self.for_each(|name, value| {
            if !value.is_empty() && keep(name) {
                pairs.push((name, value));
            }
        });
        pairs.sort_unstable();
        pairs.into_iter().collect()
    }

    /// The finished labels among `names`, which are sorted.
    pub(crate) fn build_only(&self, names: &[String]) -> Labels {
        names
            .iter()
            .filter_map(|n| self.get(n).filter(|v| !v.is_empty()).map(|v| (n.as_str(), v)))
            .collect()
    }
}

/// Whether a fresh row has what is called `name` under that very name, if it has it: not a failure, and not metadata
/// with the name of a stream label.
pub(crate) fn is_stored(name: &str) -> bool {
    !name.ends_with(DUPLICATE_SUFFIX) && name != ERROR_LABEL && name != ERROR_DETAILS_LABEL
}

/// The fields that a row needs so that `names` can be told of it.
pub(crate) fn fields_behind(names: &[String]) -> Vec<String> {
    let originals = names.iter().filter_map(|n| n.strip_suffix(DUPLICATE_SUFFIX));
    let mut fields: Vec<String> =
        originals.map(str::to_owned).chain(names.iter().cloned()).collect();
    fields.sort_unstable();
    fields.dedup();
    fields
}

/// `key` as a label name: other characters become `_`, a leading digit gets one in front; may come out empty.
pub(crate) fn sanitize_name(key: &str, out: &mut String, is_first: bool) {
    let key = key.trim();
    if is_first && key.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
}

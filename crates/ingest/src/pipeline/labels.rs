//! Stages that make labels, fields and the tenant: `labels`, `labeldrop`, `labelallow`, `static_labels`,
//! `structured_metadata`, `tenant`.

use std::sync::Arc;

use model::{Error, Labels, LabelsBuilder, Result};

use super::Entry;

/// A label of the `static_labels` stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticLabel {
    /// Its name.
    pub name: String,
    /// Its value; one without is not set.
    pub value: String,
}

/// Settings of the `tenant` stage: exactly one is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantConfig {
    /// The label whose value names the tenant.
    pub label: Option<String>,
    /// The value that does.
    pub source: Option<String>,
    /// The tenant itself.
    pub value: Option<String>,
}

/// Whether `name` can be a label.
pub(super) fn is_label_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn check_name(name: &str) -> Result<()> {
    if is_label_name(name) {
        return Ok(());
    }
    Err(Error::invalid(format!("invalid label name {name:?}")))
}

/// Labels or fields, each from a value.
#[derive(Debug, Clone)]
pub(super) struct LabelSources {
    /// Name and where it is taken from.
    pairs: Arc<[(String, String)]>,
}

impl LabelSources {
    pub(super) fn new(pairs: &[(String, String)]) -> Result<Self> {
        if pairs.is_empty() {
            return Err(Error::invalid("cannot be empty"));
        }
        let mut checked = Vec::with_capacity(pairs.len());
        for (name, source) in pairs {
            check_name(name)?;
            let source = if source.is_empty() { name } else { source };
            checked.push((name.clone(), source.clone()));
        }
        Ok(Self { pairs: checked.into() })
    }

    pub(super) fn set_labels(&self, entry: &mut Entry) {
        let found = self
            .pairs
            .iter()
            .filter_map(|(name, source)| Some((name.as_str(), entry.values.get(source)?)));
        let changed = |(name, value): &(&str, &str)| entry.labels.get(name).unwrap_or("") != *value;
        let mut found = found.filter(changed).peekable();
        if found.peek().is_none() {
            return;
        }
        let mut labels = entry.labels.to_builder();
        found.for_each(|(name, value)| labels.set(name, value));
        entry.labels = labels.build();
    }

    /// A field that is taken from a label takes it away.
    pub(super) fn set_fields(&self, entry: &mut Entry) {
        let mut fields = entry.fields.to_builder();
        let mut labels: Option<LabelsBuilder> = None;
        for (name, source) in self.pairs.iter() {
            let of_label = entry.labels.get(source);
            if of_label.is_some() {
                labels.get_or_insert_with(|| entry.labels.to_builder()).remove(source);
            }
            if let Some(value) = of_label.or_else(|| entry.values.get(source)) {
                fields.set(name, value);
            }
        }
        entry.fields = fields.build();
        if let Some(labels) = labels {
            entry.labels = labels.build();
        }
    }
}

/// Names of labels to drop or to keep.
#[derive(Debug, Clone)]
pub(super) struct LabelNames {
    names: Arc<[String]>,
}

impl LabelNames {
    pub(super) fn new(names: &[String]) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::invalid("needs at least one label"));
        }
        Ok(Self { names: names.into() })
    }

    pub(super) fn drop_from(&self, entry: &mut Entry) {
        self.retain(entry, |names, name| !names.contains(&name.to_owned()));
    }

    pub(super) fn keep_in(&self, entry: &mut Entry) {
        self.retain(entry, |names, name| names.contains(&name.to_owned()));
    }

    fn retain(&self, entry: &mut Entry, keeps: fn(&[String], &str) -> bool) {
        if entry.labels.iter().all(|(name, _)| keeps(&self.names, name)) {
            return;
        }
        let mut labels = entry.labels.to_builder();
        labels.retain(|name| keeps(&self.names, name));
        entry.labels = labels.build();
    }
}

#[derive(Debug, Clone)]
pub(super) struct StaticLabels {
    labels: Labels,
}

impl StaticLabels {
    pub(super) fn new(labels: &[StaticLabel]) -> Result<Self> {
        if labels.is_empty() {
            return Err(Error::invalid("cannot be empty"));
        }
        labels.iter().try_for_each(|label| check_name(&label.name))?;
        let pairs = labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        Ok(Self { labels: Labels::from_pairs(pairs) })
    }

    pub(super) fn process(&self, entry: &mut Entry) {
        if self.labels.iter().all(|(name, value)| entry.labels.get(name) == Some(value)) {
            return;
        }
        let mut labels = entry.labels.to_builder();
        self.labels.iter().for_each(|(name, value)| labels.set(name, value));
        entry.labels = labels.build();
    }
}

#[derive(Debug, Clone)]
pub(super) enum Tenant {
    Label(String),
    Source(String),
    Value(String),
}

impl Tenant {
    pub(super) fn new(config: &TenantConfig) -> Result<Self> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        match (given(&config.label), given(&config.source), given(&config.value)) {
            (Some(label), None, None) => Ok(Self::Label(label)),
            (None, Some(source), None) => Ok(Self::Source(source)),
            (None, None, Some(value)) => Ok(Self::Value(value)),
            (None, None, None) => Err(Error::invalid("needs source, label or value")),
            _ => Err(Error::invalid("takes only one of source, label and value")),
        }
    }

    pub(super) fn process(&self, entry: &mut Entry) {
        let tenant = match self {
            Self::Label(label) => entry.labels.get(label),
            Self::Source(source) => entry.values.get(source),
            Self::Value(value) => Some(value.as_str()),
        };
        if let Some(tenant) = tenant.filter(|tenant| !tenant.is_empty()) {
            entry.tenant = Some(tenant.to_owned());
        }
    }
}

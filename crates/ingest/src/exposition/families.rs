//! Metadata lines, gathered into what they say about a family together.

use std::sync::Arc;

use model::{MetricKind, MetricMetadata};

use super::Metadata;

/// Gathers the lines of one family after the other: those of a family follow each other.
#[derive(Debug, Default)]
pub struct Families {
    pending: Option<MetricMetadata>,
}

impl Families {
    /// Adds a line; returns the family before when this line begins another.
    pub fn add(&mut self, line: Metadata<'_>) -> Option<MetricMetadata> {
        let (Metadata::Type { name, .. }
        | Metadata::Help { name, .. }
        | Metadata::Unit { name, .. }) = &line;
        let before = self.pending.take_if(|pending| *pending.name != **name);
        let pending = self.pending.get_or_insert_with(|| MetricMetadata {
            name: Arc::from(&**name),
            kind: MetricKind::Unknown,
            help: Arc::from(""),
            unit: Arc::from(""),
        });
        match line {
            Metadata::Type { kind, .. } => pending.kind = kind,
            Metadata::Help { text, .. } => pending.help = Arc::from(&*text),
            Metadata::Unit { unit, .. } => pending.unit = Arc::from(&*unit),
        }
        before
    }

    /// What is known so far about the family whose lines came last.
    pub fn last(&self) -> Option<&MetricMetadata> {
        self.pending.as_ref()
    }

    /// Likewise, for the last time.
    pub fn finish(&mut self) -> Option<MetricMetadata> {
        self.pending.take()
    }
}

//! Spans as they were received, whatever protocol brought them: groups, what was refused, and names that are kept once.
//!
//! Does not own: any wire format (`otlp`, `jaeger`, `zipkin`), sampling, storing.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use model::{
    AttributeValue, Attributes, Error, ErrorKind, Resource, Result, Scope, Span, SpanGroup,
};
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::json::Writer;
use crate::otlp::base64;
pub use crate::pushed_lines::Refused;

/// Spans of one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Received {
    /// What is to be stored: ids are not zero, times fit in 64 bits; an end may lie before its start.
    pub groups: Vec<SpanGroup>,
    /// How many cannot be, and why.
    pub refused: Refused,
}

impl Received {
    /// Spans to be stored.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.spans.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a span counts as among the elements of a request: it takes as much memory as so many attributes.
pub(crate) const SPAN_ELEMENTS: usize = 4;

/// What one request may still hold: spans, attributes, events, links, resources and scopes together.
#[derive(Debug, Clone)]
pub(crate) struct Elements {
    left: usize,
    max: usize,
}

impl Elements {
    pub(crate) fn new(max: usize) -> Self {
        Self { left: max, max }
    }

    /// Takes `count` of them.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit) when fewer are left.
    pub(crate) fn charge(&mut self, count: usize) -> Result<()> {
        self.left = self.left.checked_sub(count).ok_or_else(|| too_many(self.max))?;
        Ok(())
    }
}

pub(crate) fn too_many(elements_max: usize) -> Error {
    Error::new(
        ErrorKind::Limit,
        format!(
            "request has more elements (spans, attributes, events, …) than the limit of {elements_max}; \
             send it in smaller requests"
        ),
    )
}

const NAME_SLOTS: usize = 512;

/// Names met lately: those that come again, as nearly all do, share one allocation.
#[derive(Debug)]
pub(crate) struct Names {
    slots: Vec<Option<Arc<str>>>,
}

impl Names {
    pub(crate) fn new() -> Self {
        Self { slots: vec![None; NAME_SLOTS] }
    }

    /// `name`, as it was allocated before or anew.
    pub(crate) fn get(&mut self, name: &str) -> Arc<str> {
        let mut hasher = FxBuildHasher.build_hasher();
        hasher.write(name.as_bytes());
        let slot = &mut self.slots[hasher.finish() as usize % NAME_SLOTS];
        match slot {
            Some(known) if &**known == name => known.clone(),
            _ => slot.insert(name.into()).clone(),
        }
    }
}

/// Sorts spans that come one by one into groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: Vec<SpanGroup>,
    /// Place of a resource, which is the same allocation when it is the same, and of the scope's name and version.
    places: FxHashMap<(usize, String, String), usize>,
}

impl Groups {
    pub(crate) fn push(&mut self, resource: &Arc<Resource>, scope: ScopeName, span: Span) {
        let ScopeName { name, version } = scope;
        let key = (Arc::as_ptr(resource).addr(), name, version);
        let at = match self.places.get(&key) {
            Some(at) => *at,
            None => {
                let (_, name, version) = key.clone();
                self.groups.push(SpanGroup {
                    resource: resource.clone(),
                    scope: Arc::new(Scope { name, version, ..Scope::default() }),
                    spans: Vec::new(),
                });
                self.places.insert(key, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        self.groups[at].spans.push(span);
    }

    pub(crate) fn finish(self) -> Vec<SpanGroup> {
        self.groups
    }
}

/// What protocols without scopes say of them in attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ScopeName {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl ScopeName {
    /// Takes what says so out of a span's attributes, in today's and yesterday's words of OpenTelemetry.
    pub(crate) fn take(attributes: &mut Attributes) -> Self {
        let mut text = |names: [&str; 2]| {
            let found = names.map(|name| take(attributes, name));
            found.into_iter().flatten().find_map(text_of).unwrap_or_default()
        };
        Self {
            name: text(["otel.scope.name", "otel.library.name"]),
            version: text(["otel.scope.version", "otel.library.version"]),
        }
    }
}

pub(crate) fn text_of(value: AttributeValue) -> Option<String> {
    match value {
        AttributeValue::String(text) => Some(text),
        _ => None,
    }
}

/// Adds text.
pub(crate) fn put(attributes: &mut Attributes, name: &str, value: impl Into<String>) {
    attributes.push((name.into(), AttributeValue::String(value.into())));
}

/// Takes every attribute called `name` out and returns the last one's value.
pub(crate) fn take(attributes: &mut Attributes, name: &str) -> Option<AttributeValue> {
    let mut taken = None;
    attributes.retain_mut(|(known, value)| {
        let is_it = &**known == name;
        if is_it {
            taken = Some(std::mem::replace(value, AttributeValue::Empty));
        }
        !is_it
    });
    taken
}

/// The last attribute called `name`.
pub(crate) fn find<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a AttributeValue> {
    attributes.iter().rev().find(|(known, _)| &**known == name).map(|(_, value)| value)
}

/// A value as JSON, for what knows texts only: bytes in base64.
pub(crate) fn json_of(value: &AttributeValue) -> String {
    fn write(json: &mut Writer, value: &AttributeValue) {
        match value {
            AttributeValue::Empty => json.bare("null"),
            AttributeValue::String(text) => json.text(text),
            AttributeValue::Bool(value) => json.bare(value),
            AttributeValue::Int(value) => json.bare(value),
            AttributeValue::Double(value) => json.double(*value),
            AttributeValue::Bytes(bytes) => json.plain_text(base64(bytes)),
            AttributeValue::Array(values) => {
                json.list(|json| values.iter().for_each(|value| write(json, value)));
            }
            AttributeValue::Map(pairs) => json.object(|json| {
                for (name, value) in pairs {
                    json.key(name);
                    write(json, value);
                }
            }),
        }
    }
    let mut json = Writer::default();
    write(&mut json, value);
    json.finish()
}

/// Nanoseconds of microseconds, if they are in the range of 64 bits.
pub(crate) fn ns_of_us(us: i64) -> Option<i64> {
    us.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_once() {
        let mut names = Names::new();
        let first = names.get("http.method");
        assert!(Arc::ptr_eq(&first, &names.get("http.method")));
        for i in 0..2 * NAME_SLOTS {
            assert_eq!(*names.get(&i.to_string()), *i.to_string());
        }
        assert_eq!(first, names.get("http.method"));
    }

    #[test]
    fn the_last_of_attributes_counts() {
        let mut attributes = Vec::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            put(&mut attributes, name, value);
        }
        let text = |text: &str| Some(AttributeValue::String(text.to_owned()));
        assert_eq!(find(&attributes, "a").cloned(), text("3"));
        assert_eq!(take(&mut attributes, "a"), text("3"));
        assert_eq!(attributes.len(), 1);
        assert_eq!(take(&mut attributes, "a"), None);
    }

    #[test]
    fn elements_are_bounded() {
        let mut elements = Elements::new(3);
        elements.charge(3).unwrap();
        assert_eq!(elements.charge(1).unwrap_err().kind(), ErrorKind::Limit);
    }
}

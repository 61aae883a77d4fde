//! One trace as expressions see it: its spans in order, the values of their fields, and its tree where that is asked for.
//!
//! Does not own: what is done with the values (`expression`), what relates spans (`tree`).

use std::borrow::Cow;
use std::cell::OnceCell;

use model::{AttributeScope, Attributes, Budget, Held, Result, Span, SpanGroup, Trace};

use super::field::{Field, FieldKind, Intrinsic};
use super::tree::Tree;
use super::value::Value;

/// Memory that looking at a span takes, about: its place here and in a set, and in the tree.
const SPAN_BYTES: u64 = 96;

/// A trace to look at.
pub(super) struct View<'t> {
    /// Ascending by start.
    spans: Vec<(&'t SpanGroup, &'t Span)>,
    tree: OnceCell<Tree>,
    /// First start and last end.
    extent: (i64, i64),
    root: OnceCell<Option<u32>>,
    /// What is paid as long as the trace is looked at.
    held: Option<Held<'t>>,
}

impl<'t> View<'t> {
    pub(super) fn new(trace: &'t Trace) -> Self {
        let mut spans: Vec<(&SpanGroup, &Span)> =
            trace.groups.iter().flat_map(|g| g.spans.iter().map(move |s| (g, s))).collect();
        spans.sort_by_key(|(_, span)| span.start_ns);
        let start_ns = spans.first().map_or(0, |(_, span)| span.start_ns);
        let end_ns = spans.iter().map(|(_, span)| span.end_ns).max().unwrap_or(start_ns);
        let (tree, root) = (OnceCell::new(), OnceCell::new());
        Self { spans, tree, extent: (start_ns, end_ns), root, held: None }
    }

    /// The same, paid from `budget` with all that is made of it until it is dropped.
    ///
    /// # Errors
    /// As [`Budget::charge_bytes`].
    pub(super) fn paid(trace: &'t Trace, budget: &'t Budget) -> Result<Self> {
        let held = budget.hold();
        let spans: usize = trace.groups.iter().map(|group| group.spans.len()).sum();
        held.add(spans as u64 * SPAN_BYTES)?;
        Ok(Self { held: Some(held), ..Self::new(trace) })
    }

    /// Pays for `bytes` that are made of it.
    ///
    /// # Errors
    /// As [`Budget::charge_bytes`].
    pub(super) fn pay(&self, bytes: usize) -> Result<()> {
        self.held.as_ref().map_or(Ok(()), |held| held.add(bytes as u64))
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn span(&self, index: u32) -> &'t Span {
        self.spans[index as usize].1
    }

    pub(super) fn group(&self, index: u32) -> &'t SpanGroup {
        self.spans[index as usize].0
    }

    pub(super) fn start_ns(&self) -> i64 {
        self.extent.0
    }

    /// From the first start to the last end.
    pub(super) fn duration_ns(&self) -> u64 {
        u64::try_from(i128::from(self.extent.1) - i128::from(self.extent.0)).unwrap_or(0)
    }

    /// The first span without a parent.
    pub(super) fn root(&self) -> Option<u32> {
        let find = || (0..self.len() as u32).find(|i| self.span(*i).parent_id == 0);
        *self.root.get_or_init(find)
    }

    pub(super) fn root_service(&self) -> Option<&'t str> {
        self.root().and_then(|root| self.group(root).resource.service())
    }

    pub(super) fn root_name(&self) -> Option<&'t str> {
        self.root().map(|root| &*self.span(root).name)
    }

    pub(super) fn tree(&self) -> &Tree {
        self.tree.get_or_init(|| Tree::new(&self.spans))
    }

    /// What `field` is for a span.
    pub(super) fn value(&self, index: u32, field: &Field) -> Value<'t> {
        let index = if field.is_of_parent {
            match self.tree().parent(index) {
                Some(parent) => parent,
                None => return Value::Nil,
            }
        } else {
            index
        };
        match &field.kind {
            FieldKind::Intrinsic(intrinsic) => self.intrinsic(index, *intrinsic),
            FieldKind::Attribute(scope, name) => self.attribute(index, *scope, name),
        }
    }

    fn intrinsic(&self, index: u32, intrinsic: Intrinsic) -> Value<'t> {
        let span = self.span(index);
        let text = |text: &'t str| Value::Text(Cow::Borrowed(text));
        let optional = |found: Option<&'t str>| found.map_or(Value::Nil, text);
        let nanoseconds = |ns: u64| Value::Duration(i64::try_from(ns).unwrap_or(i64::MAX));
        let trace_id = |id: u128| Value::Text(Cow::Owned(format!("{id:032x}")));
        let span_id = |id: u64| Value::Text(Cow::Owned(format!("{id:016x}")));
        match intrinsic {
            Intrinsic::Duration => nanoseconds(span.duration_ns()),
            Intrinsic::ChildCount => Value::Int(i64::from(self.tree().child_count(index))),
            Intrinsic::Name => text(&span.name),
            Intrinsic::Status => Value::Status(span.status),
            Intrinsic::StatusMessage => text(&span.status_message),
            Intrinsic::Kind => Value::Kind(span.kind),
            Intrinsic::SpanId => span_id(span.span_id),
            Intrinsic::ParentId if span.parent_id == 0 => Value::Text(Cow::Borrowed("")),
            Intrinsic::ParentId => span_id(span.parent_id),
            Intrinsic::RootName => optional(self.root_name()),
            Intrinsic::RootService => optional(self.root_service()),
            Intrinsic::TraceDuration => nanoseconds(self.duration_ns()),
            Intrinsic::TraceId => trace_id(span.trace_id),
            Intrinsic::NestedSetLeft => Value::Int(self.tree().nested_set(index).0),
            Intrinsic::NestedSetRight => Value::Int(self.tree().nested_set(index).1),
            Intrinsic::NestedSetParent => {
                let is_root = span.parent_id == 0;
                Value::Int(self.tree().nested_set_parent(index).unwrap_or(-i64::from(is_root)))
            }
            Intrinsic::IsRoot => Value::Bool(span.parent_id == 0),
            Intrinsic::EventName => several(span.events.iter().map(|event| text(&event.name))),
            Intrinsic::EventTimeSinceStart => several(
                span.events.iter().map(|e| Value::Duration(e.t_ns.saturating_sub(span.start_ns))),
            ),
            Intrinsic::LinkTraceId => several(span.links.iter().map(|l| trace_id(l.trace_id))),
            Intrinsic::LinkSpanId => several(span.links.iter().map(|l| span_id(l.span_id))),
            Intrinsic::InstrumentationName => text(&self.group(index).scope.name),
            Intrinsic::InstrumentationVersion => text(&self.group(index).scope.version),
        }
    }

    fn attribute(&self, index: u32, scope: Option<AttributeScope>, name: &str) -> Value<'t> {
        let (group, span) = self.spans[index as usize];
        let own = |attributes: &'t Attributes| {
            let found = attributes.iter().find(|(key, _)| **key == *name);
            found.map_or(Value::Nil, |(_, value)| Value::from(value))
        };
        let of_resource = || match name {
            "service.name" => {
                let service = group.resource.service();
                service.map_or(Value::Nil, |service| Value::Text(Cow::Borrowed(service)))
            }
            _ => own(&group.resource.attributes),
        };
        match scope {
            None => match own(&span.attributes) {
                Value::Nil => of_resource(),
                found => found,
            },
            Some(AttributeScope::Span) => own(&span.attributes),
            Some(AttributeScope::Resource) => of_resource(),
            Some(AttributeScope::Instrumentation) => own(&group.scope.attributes),
            Some(AttributeScope::Event) => several(span.events.iter().map(|e| own(&e.attributes))),
            Some(AttributeScope::Link) => several(span.links.iter().map(|l| own(&l.attributes))),
        }
    }
}

/// Values of which some may be several themselves or none.
fn several<'t>(values: impl Iterator<Item = Value<'t>>) -> Value<'t> {
    let mut all = Vec::new();
    for value in values {
        match value {
            Value::Nil => {}
            Value::Many(inner) => all.extend(inner),
            single => all.push(single),
        }
    }
    match all.len() {
        0 => Value::Nil,
        1 => all.swap_remove(0),
        _ => Value::Many(all),
    }
}

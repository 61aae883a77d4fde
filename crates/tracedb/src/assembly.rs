//! Spans of the model made of rows: texts, resources and scopes that many spans share are made once.
//!
//! Does not own: the rows (`rows`), nor which of them are wanted.

use std::ops::Range;
use std::sync::Arc;

use model::{
    AttributeValue, Attributes, Resource, Result, Scope, Span, SpanEvent, SpanGroup, SpanLink,
};
use rustc_hash::FxHashMap;

use crate::rows::{Event, Link, Row, Rows, Stretch, Value};
use crate::texts::Text;

/// What was made of one set of tables so far.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    texts: FxHashMap<Text, Arc<str>>,
    resources: FxHashMap<Text, Arc<Resource>>,
    scopes: FxHashMap<Text, Arc<Scope>>,
}

/// Bytes that an allocation takes beside what is in it, about.
const ALLOCATION_BYTES: usize = 16;
/// A value within another one takes so many times the memory of what is stored of it, about.
const NESTED_FACTOR: usize = 16;

/// Bytes of memory that the spans of `wanted` rows take, about. Names and keys are shared.
pub(crate) fn span_bytes(rows: &Rows, wanted: Range<usize>) -> u64 {
    let text = |text: Text| match rows.texts.get(text).len() {
        0 => 0,
        len => len + ALLOCATION_BYTES,
    };
    let value = |value: Value| match value {
        Value::String(of) | Value::Bytes(of) => text(of),
        Value::Nested(of) => text(of) * NESTED_FACTOR,
        Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
    };
    let attributes = |of: Stretch| {
        let values = rows.attributes[of.range()].iter().map(|attribute| value(attribute.value));
        of.len() * size_of::<(Arc<str>, AttributeValue)>() + values.sum::<usize>()
    };
    let of_row = |row: &Row| {
        let events = rows.events[row.events.range()].iter();
        let links = rows.links[row.links.range()].iter();
        let link = |link: &Link| {
            size_of::<SpanLink>() + text(link.trace_state) + attributes(link.attributes)
        };
        // The span, and its place while they are put in order.
        size_of::<Span>()
            + size_of::<usize>()
            + text(row.trace_state)
            + text(row.status_message)
            + attributes(row.attributes)
            + events.map(|e| size_of::<SpanEvent>() + attributes(e.attributes)).sum::<usize>()
            + links.map(link).sum::<usize>()
    };
    rows.rows[wanted].iter().map(of_row).sum::<usize>() as u64
}

impl Assembly {
    /// The spans of `wanted` rows by origin, ascending by start within each. All calls are for the same `rows`.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt).
    pub(crate) fn groups(
        &mut self,
        rows: &Rows,
        wanted: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<SpanGroup>> {
        let mut order: Vec<usize> = wanted.into_iter().collect();
        // Stable: spans that start together stay as they arrived.
        order.sort_by_key(|i| rows.rows[*i].start_ns);
        let mut origins: Vec<u32> = order.iter().map(|i| rows.rows[*i].origin).collect();
        origins.sort_unstable();
        origins.dedup();
        let mut groups = Vec::with_capacity(origins.len());
        for origin in &origins {
            groups.push(self.group(rows, *origin)?);
        }
        for index in order {
            let span = self.span(rows, index)?;
            let origin = rows.rows[index].origin;
            groups[origins.partition_point(|known| *known < origin)].spans.push(span);
        }
        Ok(groups)
    }

    fn group(&mut self, rows: &Rows, origin: u32) -> Result<SpanGroup> {
        let texts = rows.origins[origin as usize];
        let resource = match self.resources.get(&texts.resource) {
            Some(resource) => Arc::clone(resource),
            None => {
                let resource = Arc::new(rows.resource(origin)?);
                self.resources.insert(texts.resource, Arc::clone(&resource));
                resource
            }
        };
        let scope = match self.scopes.get(&texts.scope) {
            Some(scope) => Arc::clone(scope),
            None => {
                let scope = Arc::new(rows.scope(origin)?);
                self.scopes.insert(texts.scope, Arc::clone(&scope));
                scope
            }
        };
        Ok(SpanGroup { resource, scope, spans: Vec::new() })
    }

    fn text(&mut self, rows: &Rows, text: Text) -> Result<Arc<str>> {
        if let Some(known) = self.texts.get(&text) {
            return Ok(Arc::clone(known));
        }
        let new: Arc<str> = Arc::from(rows.str(text)?);
        self.texts.insert(text, Arc::clone(&new));
        Ok(new)
    }

    fn attributes(&mut self, rows: &Rows, of: Stretch) -> Result<Attributes> {
        let attributes = rows.attributes[of.range()].iter();
        attributes.map(|a| Ok((self.text(rows, a.key)?, rows.value(a.value)?))).collect()
    }

    fn event(&mut self, rows: &Rows, event: &Event) -> Result<SpanEvent> {
        Ok(SpanEvent {
            t_ns: event.t_ns,
            name: self.text(rows, event.name)?,
            attributes: self.attributes(rows, event.attributes)?,
            dropped_attributes: event.dropped_attributes,
        })
    }

    fn link(&mut self, rows: &Rows, link: &Link) -> Result<SpanLink> {
        Ok(SpanLink {
            trace_id: link.trace_id,
            span_id: link.span_id,
            trace_state: rows.str(link.trace_state)?.to_owned(),
            flags: link.flags,
            attributes: self.attributes(rows, link.attributes)?,
            dropped_attributes: link.dropped_attributes,
        })
    }

    /// Row `index` as a span.
    fn span(&mut self, rows: &Rows, index: usize) -> Result<Span> {
        let row = &rows.rows[index];
        let events = rows.events[row.events.range()].iter();
        let links = rows.links[row.links.range()].iter();
        Ok(Span {
            trace_id: row.trace_id,
            span_id: row.span_id,
            parent_id: row.parent_id,
            trace_state: rows.str(row.trace_state)?.to_owned(),
            flags: row.flags,
            name: self.text(rows, row.name)?,
            kind: row.kind,
            start_ns: row.start_ns,
            end_ns: row.end_ns,
            status: row.status,
            status_message: rows.str(row.status_message)?.to_owned(),
            attributes: self.attributes(rows, row.attributes)?,
            dropped_attributes: row.dropped_attributes,
            events: events.map(|event| self.event(rows, event)).collect::<Result<_>>()?,
            dropped_events: row.dropped_events,
            links: links.map(|link| self.link(rows, link)).collect::<Result<_>>()?,
            dropped_links: row.dropped_links,
        })
    }
}

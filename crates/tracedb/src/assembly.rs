//! Spans of the model made of rows: texts, resources and scopes that many spans share are made once.
//!
//! Does not own: the rows (`rows`), nor which of them are wanted.

use std::sync::Arc;

use model::{Attributes, Resource, Result, Scope, Span, SpanEvent, SpanGroup, SpanLink};
use rustc_hash::FxHashMap;

use crate::rows::{Event, Link, Rows, Stretch};
use crate::texts::Text;

/// What was made of one set of tables so far.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    texts: FxHashMap<Text, Arc<str>>,
    resources: FxHashMap<Text, Arc<Resource>>,
    scopes: FxHashMap<Text, Arc<Scope>>,
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

//! Spans in flat tables, without an allocation of their own: what a batch, the head, a block being written and the answer
//! to a query are made of.
//!
//! Owns: the way from [`model::SpanGroup`] to rows and back, and from one set of tables to another. Does not own: bytes on
//! disk (`record`, `block`).

use std::ops::Range;

use model::{
    AttributeValue, Attributes, Error, Resource, Result, Scope, Span, SpanGroup, SpanKind,
    SpanStatus,
};
use storage::codec::Reader;

use crate::assembly::Assembly;
use crate::texts::{EMPTY, Text, Texts};
use crate::value;

/// Attributes, events and links that one span may have, those of its events and links included.
pub(crate) const SPAN_ITEMS_MAX: usize = 1 << 20;

/// Where a row's attributes, events or links are in their table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stretch {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Stretch {
    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(crate) fn len(self) -> usize {
        self.end as usize - self.start as usize
    }

    fn since(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }
}

/// A value; texts by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    Empty,
    String(Text),
    Bool(bool),
    Int(i64),
    /// Its bits.
    Double(u64),
    Bytes(Text),
    /// An array or map, encoded by `value`.
    Nested(Text),
}

impl Value {
    pub(crate) fn kind(self) -> u8 {
        match self {
            Self::Empty => value::kind::EMPTY,
            Self::String(_) => value::kind::STRING,
            Self::Bool(_) => value::kind::BOOL,
            Self::Int(_) => value::kind::INT,
            Self::Double(_) => value::kind::DOUBLE,
            Self::Bytes(_) => value::kind::BYTES,
            Self::Nested(_) => value::kind::NESTED,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) key: Text,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) t_ns: i64,
    pub(crate) name: Text,
    pub(crate) attributes: Stretch,
    pub(crate) dropped_attributes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) trace_state: Text,
    pub(crate) flags: u32,
    pub(crate) attributes: Stretch,
    pub(crate) dropped_attributes: u32,
}

/// Who made a span; both encoded by `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) resource: Text,
    pub(crate) scope: Text,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) parent_id: u64,
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
    pub(crate) origin: u32,
    pub(crate) name: Text,
    pub(crate) trace_state: Text,
    pub(crate) status_message: Text,
    pub(crate) flags: u32,
    pub(crate) dropped_attributes: u32,
    pub(crate) dropped_events: u32,
    pub(crate) dropped_links: u32,
    pub(crate) attributes: Stretch,
    pub(crate) events: Stretch,
    pub(crate) links: Stretch,
    pub(crate) kind: SpanKind,
    pub(crate) status: SpanStatus,
}

impl Row {
    pub(crate) fn duration_ns(&self) -> u64 {
        duration_ns(self.start_ns, self.end_ns)
    }
}

/// As [`Span::duration_ns`].
pub(crate) fn duration_ns(start_ns: i64, end_ns: i64) -> u64 {
    if end_ns < start_ns { 0 } else { end_ns.abs_diff(start_ns) }
}

/// Spans and all that belongs to them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) texts: Texts,
    pub(crate) origins: Vec<Origin>,
    pub(crate) rows: Vec<Row>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) events: Vec<Event>,
    pub(crate) links: Vec<Link>,
}

/// The numbers that texts and origins of one set of tables have in another.
#[derive(Debug)]
pub(crate) struct Renumbering {
    texts: Vec<u32>,
    origins: Vec<u32>,
}

const UNKNOWN: u32 = u32::MAX;

impl Renumbering {
    pub(crate) fn new(from: &Rows) -> Self {
        Self { texts: vec![UNKNOWN; from.texts.len()], origins: vec![UNKNOWN; from.origins.len()] }
    }
}

/// How many items there are in each table; to go back to.
#[derive(Clone, Copy)]
struct Mark {
    attributes: usize,
    events: usize,
    links: usize,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Attributes, events and links.
    pub(crate) fn items(&self) -> usize {
        self.attributes.len() + self.events.len() + self.links.len()
    }

    /// Bytes of memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.texts.memory_bytes()
            + self.rows.capacity() * size_of::<Row>()
            + self.attributes.capacity() * size_of::<Attribute>()
            + self.events.capacity() * size_of::<Event>()
            + self.links.capacity() * size_of::<Link>()
            + self.origins.capacity() * size_of::<Origin>()
    }

    /// Makes room for as much as `groups` have.
    pub(crate) fn reserve(&mut self, groups: &[SpanGroup]) {
        let spans = || groups.iter().flat_map(|group| &group.spans);
        self.rows.reserve_exact(spans().count());
        self.attributes.reserve_exact(spans().map(|span| span.attributes.len()).sum());
    }

    /// The number of the origin of `group`.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) when an attribute is nested too deep.
    pub(crate) fn origin_of(&mut self, group: &SpanGroup) -> Result<u32> {
        let mut bytes = Vec::new();
        value::encode_resource(&group.resource, &mut bytes)?;
        let resource = self.texts.intern(&bytes);
        bytes.clear();
        value::encode_scope(&group.scope, &mut bytes)?;
        let scope = self.texts.intern(&bytes);
        Ok(self.origin(Origin { resource, scope }))
    }

    /// The number of `origin`. Few are in use at a time, and the latest most.
    pub(crate) fn origin(&mut self, origin: Origin) -> u32 {
        let known = self.origins.iter().rposition(|known| *known == origin);
        known.unwrap_or_else(|| {
            self.origins.push(origin);
            self.origins.len() - 1
        }) as u32
    }

    /// Adds `span`.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) when an attribute is nested too deep, or there are over [`SPAN_ITEMS_MAX`]
    /// of them; nothing is added then.
    pub(crate) fn push(&mut self, origin: u32, span: &Span) -> Result<()> {
        let mark = self.mark();
        self.try_push(origin, span).inspect_err(|_| self.go_back(mark))
    }

    fn try_push(&mut self, origin: u32, span: &Span) -> Result<()> {
        let of = |attributes: &Attributes| attributes.len() + 1;
        let items = span.attributes.len()
            + span.events.iter().map(|e| of(&e.attributes)).sum::<usize>()
            + span.links.iter().map(|l| of(&l.attributes)).sum::<usize>();
        if items > SPAN_ITEMS_MAX {
            return Err(Error::invalid(format!(
                "span has {items} attributes, events and links; the limit is {SPAN_ITEMS_MAX}"
            )));
        }
        let attributes = self.push_attributes(&span.attributes)?;
        let first_event = self.events.len();
        for event in &span.events {
            let attributes = self.push_attributes(&event.attributes)?;
            self.events.push(Event {
                t_ns: event.t_ns,
                name: self.texts.intern(event.name.as_bytes()),
                attributes,
                dropped_attributes: event.dropped_attributes,
            });
        }
        let first_link = self.links.len();
        for link in &span.links {
            let attributes = self.push_attributes(&link.attributes)?;
            self.links.push(Link {
                trace_id: link.trace_id,
                span_id: link.span_id,
                trace_state: self.texts.intern(link.trace_state.as_bytes()),
                flags: link.flags,
                attributes,
                dropped_attributes: link.dropped_attributes,
            });
        }
        let row = Row {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_id: span.parent_id,
            start_ns: span.start_ns,
            end_ns: span.end_ns,
            origin,
            name: self.texts.intern(span.name.as_bytes()),
            trace_state: self.intern_rare(&span.trace_state),
            status_message: self.intern_rare(&span.status_message),
            flags: span.flags,
            dropped_attributes: span.dropped_attributes,
            dropped_events: span.dropped_events,
            dropped_links: span.dropped_links,
            attributes,
            events: Stretch::since(first_event, self.events.len()),
            links: Stretch::since(first_link, self.links.len()),
            kind: span.kind,
            status: span.status,
        };
        self.rows.push(row);
        Ok(())
    }

    fn intern_rare(&mut self, text: &str) -> Text {
        if text.is_empty() { EMPTY } else { self.texts.intern(text.as_bytes()) }
    }

    fn push_attributes(&mut self, attributes: &Attributes) -> Result<Stretch> {
        let start = self.attributes.len();
        // Spans of one program follow each other, and often have the same names, and some values, at the same places: to
        // compare them costs less than to look them up.
        let before = self.rows.last().map_or(0, |row| row.attributes.start as usize);
        for (at, (name, attribute)) in attributes.iter().enumerate() {
            let guess = self.attributes.get(before + at).copied();
            let is_it = |text: Text, wanted: &str| self.texts.get(text) == wanted.as_bytes();
            let known_key = guess.map(|guess| guess.key).filter(|key| is_it(*key, name));
            let known_text = match (guess, attribute) {
                (Some(guess), AttributeValue::String(wanted)) => match guess.value {
                    Value::String(text) => Some(text).filter(|text| is_it(*text, wanted)),
                    _ => None,
                },
                _ => None,
            };
            let key = known_key.unwrap_or_else(|| self.texts.intern(name.as_bytes()));
            let value = match attribute {
                AttributeValue::Empty => Value::Empty,
                AttributeValue::String(text) => {
                    Value::String(known_text.unwrap_or_else(|| self.texts.intern(text.as_bytes())))
                }
                AttributeValue::Bool(value) => Value::Bool(*value),
                AttributeValue::Int(value) => Value::Int(*value),
                AttributeValue::Double(value) => Value::Double(value.to_bits()),
                AttributeValue::Bytes(bytes) => Value::Bytes(self.texts.intern(bytes)),
                AttributeValue::Array(_) | AttributeValue::Map(_) => {
                    let mut bytes = Vec::new();
                    value::encode(attribute, &mut bytes)?;
                    Value::Nested(self.texts.intern(&bytes))
                }
            };
            self.attributes.push(Attribute { key, value });
        }
        Ok(Stretch::since(start, self.attributes.len()))
    }

    fn mark(&self) -> Mark {
        let (attributes, events) = (self.attributes.len(), self.events.len());
        Mark { attributes, events, links: self.links.len() }
    }

    fn go_back(&mut self, mark: Mark) {
        self.attributes.truncate(mark.attributes);
        self.events.truncate(mark.events);
        self.links.truncate(mark.links);
    }

    /// Adds row `index` of `from`; `map` is of these two tables alone.
    pub(crate) fn push_from(&mut self, from: &Self, index: usize, map: &mut Renumbering) {
        let row = &from.rows[index];
        let attributes = self.copy_attributes(from, row.attributes, map);
        let first_event = self.events.len();
        for event in &from.events[row.events.range()] {
            let attributes = self.copy_attributes(from, event.attributes, map);
            let name = self.copy_text(from, event.name, map);
            self.events.push(Event { name, attributes, ..*event });
        }
        let first_link = self.links.len();
        for link in &from.links[row.links.range()] {
            let attributes = self.copy_attributes(from, link.attributes, map);
            let trace_state = self.copy_text(from, link.trace_state, map);
            self.links.push(Link { trace_state, attributes, ..*link });
        }
        let mut origin = map.origins[row.origin as usize];
        if origin == UNKNOWN {
            let Origin { resource, scope } = from.origins[row.origin as usize];
            let resource = self.copy_text(from, resource, map);
            let scope = self.copy_text(from, scope, map);
            origin = self.origin(Origin { resource, scope });
            map.origins[row.origin as usize] = origin;
        }
        let copy = Row {
            origin,
            name: self.copy_text(from, row.name, map),
            trace_state: self.copy_text(from, row.trace_state, map),
            status_message: self.copy_text(from, row.status_message, map),
            attributes,
            events: Stretch::since(first_event, self.events.len()),
            links: Stretch::since(first_link, self.links.len()),
            ..*row
        };
        self.rows.push(copy);
    }

    fn copy_text(&mut self, from: &Self, text: Text, map: &mut Renumbering) -> Text {
        let known = map.texts[text as usize];
        if known != UNKNOWN {
            return known;
        }
        let own = self.texts.intern(from.texts.get(text));
        map.texts[text as usize] = own;
        own
    }

    fn copy_attributes(&mut self, from: &Self, of: Stretch, map: &mut Renumbering) -> Stretch {
        let start = self.attributes.len();
        for attribute in &from.attributes[of.range()] {
            let key = self.copy_text(from, attribute.key, map);
            let value = match attribute.value {
                Value::String(text) => Value::String(self.copy_text(from, text, map)),
                Value::Bytes(text) => Value::Bytes(self.copy_text(from, text, map)),
                Value::Nested(text) => Value::Nested(self.copy_text(from, text, map)),
                plain => plain,
            };
            self.attributes.push(Attribute { key, value });
        }
        Stretch::since(start, self.attributes.len())
    }

    /// The text as a string.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when it is not UTF-8, which only stored bytes can be; so for all below.
    pub(crate) fn str(&self, text: Text) -> Result<&str> {
        std::str::from_utf8(self.texts.get(text))
            .map_err(|e| Error::corrupt(format!("text of a span is not UTF-8: {e}")))
    }

    pub(crate) fn resource(&self, origin: u32) -> Result<Resource> {
        value::decode_resource(self.texts.get(self.origins[origin as usize].resource))
    }

    pub(crate) fn scope(&self, origin: u32) -> Result<Scope> {
        value::decode_scope(self.texts.get(self.origins[origin as usize].scope))
    }

    pub(crate) fn value(&self, value: Value) -> Result<AttributeValue> {
        Ok(match value {
            Value::Empty => AttributeValue::Empty,
            Value::String(text) => AttributeValue::String(self.str(text)?.to_owned()),
            Value::Bool(value) => AttributeValue::Bool(value),
            Value::Int(value) => AttributeValue::Int(value),
            Value::Double(bits) => AttributeValue::Double(f64::from_bits(bits)),
            Value::Bytes(text) => AttributeValue::Bytes(self.texts.get(text).to_vec()),
            Value::Nested(text) => value::decode(&mut Reader::new(self.texts.get(text)))?,
        })
    }

    /// All spans by origin, ascending by start within each.
    pub(crate) fn groups(&self) -> Result<Vec<SpanGroup>> {
        Assembly::default().groups(self, 0..self.len())
    }
}

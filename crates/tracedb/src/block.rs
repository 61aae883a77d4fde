//! Blocks: up to [`ROWS_MAX`] spans of whole traces where they fit, as columns in pieces.
//!
//! *Core* has what searches look at first (traces, times, services, names, parents), *ids* the span ids, *attributes* those
//! of the spans, *rest* what most spans do not have (events, links, flags). Does not own: where pieces lie (`part`).

use std::collections::BTreeSet;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::{Error, Result};
use storage::codec::{COUNT_MAX, Reader, ints, put_bytes, put_count, unzigzag, zigzag};

use crate::attributes::{self, AttributeColumns, Cursor};
use crate::column::{Encoder, TextColumn, take_codes, take_ints, unpack};
use crate::record::{kind_code, kind_of, take_id, take_u128};
use crate::rows::{Event, Link, Origin, Row, Rows, SPAN_ITEMS_MAX, Stretch};
use crate::texts::{EMPTY, Text};
use crate::values::{self, Hashes};

/// Spans of a block.
pub(crate) const ROWS_MAX: usize = 16 << 10;
/// A block with so many spans ends with a trace.
const ROWS_ENOUGH: usize = ROWS_MAX - 1024;
/// A block ends with the span that brings it to so many attributes, events and links, or bytes of texts.
const ITEMS_ENOUGH: usize = 2 << 20;
const TEXT_BYTES_ENOUGH: usize = 16 << 20;

/// Parents: none, one that is not among the trace's spans in this block, and from here on one that is.
const NO_PARENT: u64 = 0;
const FOREIGN_PARENT: u64 = 1;
const NEAR_PARENT: u64 = 2;

/// Neighbouring spans of one trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) trace_id: u128,
    /// First start of the trace's spans in the part: the part is sorted by it.
    pub(crate) trace_start_ns: i64,
    pub(crate) first: u32,
}

/// Rows on their way into a block, in its order.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    pub(crate) rows: Rows,
    pub(crate) runs: Vec<Run>,
}

impl Buffer {
    /// Notes that the row pushed last is of a trace that starts there.
    pub(crate) fn note(&mut self, trace_start_ns: i64) {
        let Some(row) = self.rows.rows.last() else { return };
        if self.runs.last().is_none_or(|run| run.trace_id != row.trace_id) {
            let first = self.rows.len() as u32 - 1;
            self.runs.push(Run { trace_id: row.trace_id, trace_start_ns, first });
        }
    }

    /// Whether the block ends before a span of `trace_id`: traces are only cut where they must be.
    pub(crate) fn must_end_before(&self, trace_id: u128) -> bool {
        let rows = &self.rows;
        let is_full = rows.len() >= ROWS_MAX
            || rows.items() >= ITEMS_ENOUGH
            || rows.texts.bytes_len() >= TEXT_BYTES_ENOUGH;
        is_full
            || (rows.len() >= ROWS_ENOUGH
                && self.runs.last().is_none_or(|run| run.trace_id != trace_id))
    }
}

/// A block's pieces, and the names of attributes in it: of spans, events, links.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) core: Vec<u8>,
    pub(crate) ids: Vec<u8>,
    pub(crate) attributes: Vec<u8>,
    pub(crate) rest: Vec<u8>,
    /// Filter of the values of the spans' attributes.
    pub(crate) values: Vec<u8>,
    pub(crate) keys: [Vec<Text>; 3],
}

/// Encodes the rows of `buffer`, at least one.
///
/// # Errors
/// [`Bug`](model::ErrorKind::Bug) when a library refuses.
pub(crate) fn encode(buffer: &Buffer, encoder: &mut Encoder) -> Result<Pieces> {
    let mut pieces = Pieces::default();
    put_core(buffer, encoder, &mut pieces.core)?;
    let rows = &buffer.rows;
    rows.rows.iter().for_each(|r| pieces.ids.extend_from_slice(&r.span_id.to_be_bytes()));
    let lists: Vec<Stretch> = rows.rows.iter().map(|r| r.attributes).collect();
    let mut hashes = Hashes::default();
    pieces.keys[0] = attributes::encode(
        &rows.texts,
        &rows.attributes,
        &lists,
        encoder,
        &mut hashes,
        &mut pieces.attributes,
    )?;
    values::encode(&hashes, &mut pieces.values);
    let [_, of_events, of_links] = &mut pieces.keys;
    put_rest(rows, encoder, [of_events, of_links], &mut pieces.rest)?;
    Ok(pieces)
}

fn put_ints<T>(items: &[T], number: impl Fn(&T) -> i64, out: &mut Vec<u8>) {
    ints::encode(&items.iter().map(number).collect::<Vec<_>>(), out);
}

fn put_core(buffer: &Buffer, encoder: &mut Encoder, out: &mut Vec<u8>) -> Result<()> {
    let Buffer { rows, runs } = buffer;
    put_count(out, runs.len());
    runs.iter().for_each(|run| out.extend_from_slice(&run.trace_id.to_be_bytes()));
    put_ints(runs, |run| i64::from(run.first), out);
    put_ints(runs, |run| run.trace_start_ns, out);
    let mut offsets = Vec::with_capacity(rows.len());
    let mut parents = Vec::with_capacity(rows.len());
    let mut foreign = Vec::new();
    let mut index_of: HashMap<u64, usize, RandomState> = HashMap::default();
    for (number, run) in runs.iter().enumerate() {
        let end = runs.get(number + 1).map_or(rows.len(), |next| next.first as usize);
        let of_run = &rows.rows[run.first as usize..end];
        let mut previous_ns = run.trace_start_ns;
        index_of.clear();
        for (index, row) in of_run.iter().enumerate() {
            offsets.push(row.start_ns.wrapping_sub(previous_ns));
            previous_ns = row.start_ns;
            index_of.entry(row.span_id).or_insert(index);
        }
        for (index, row) in of_run.iter().enumerate() {
            let code = match (row.parent_id, index_of.get(&row.parent_id)) {
                (0, _) => NO_PARENT,
                (_, Some(parent)) => NEAR_PARENT + zigzag(index as i64 - *parent as i64),
                (id, None) => {
                    foreign.extend_from_slice(&id.to_be_bytes());
                    FOREIGN_PARENT
                }
            };
            parents.push(code.cast_signed());
        }
    }
    ints::encode(&offsets, out);
    put_ints(&rows.rows, |row| row.end_ns.wrapping_sub(row.start_ns), out);
    put_ints(&rows.rows, |row| i64::from(kind_code(row)), out);
    put_origins(rows, encoder, out)?;
    let names: Vec<Text> = rows.rows.iter().map(|r| r.name).collect();
    encoder.texts(&rows.texts, &names, out)?;
    ints::encode(&parents, out);
    out.extend_from_slice(&foreign);
    Ok(())
}

fn put_origins(rows: &Rows, encoder: &mut Encoder, out: &mut Vec<u8>) -> Result<()> {
    let mut plain = Vec::new();
    for origin in &rows.origins {
        put_bytes(&mut plain, rows.texts.get(origin.resource));
        put_bytes(&mut plain, rows.texts.get(origin.scope));
    }
    put_count(out, rows.origins.len());
    encoder.pack(&plain, out)?;
    put_ints(&rows.rows, |row| i64::from(row.origin), out);
    Ok(())
}

fn put_rest(
    rows: &Rows,
    encoder: &mut Encoder,
    keys: [&mut Vec<Text>; 2],
    out: &mut Vec<u8>,
) -> Result<()> {
    let all = &rows.rows;
    put_ints(all, |row| i64::from(row.flags), out);
    let states: Vec<Text> = all.iter().map(|row| row.trace_state).collect();
    encoder.texts(&rows.texts, &states, out)?;
    let messages: Vec<Text> = all.iter().map(|row| row.status_message).collect();
    encoder.texts(&rows.texts, &messages, out)?;
    put_ints(all, |row| i64::from(row.dropped_attributes), out);
    put_ints(all, |row| i64::from(row.dropped_events), out);
    put_ints(all, |row| i64::from(row.dropped_links), out);
    put_ints(all, |row| row.events.len() as i64, out);
    put_ints(all, |row| row.links.len() as i64, out);
    // The tables may have been filled in another order than the rows'.
    let events: Vec<(&Row, &Event)> = all
        .iter()
        .flat_map(|r| rows.events[r.events.range()].iter().map(move |e| (r, e)))
        .collect();
    put_ints(&events, |(row, event)| event.t_ns.wrapping_sub(row.start_ns), out);
    let names: Vec<Text> = events.iter().map(|(_, e)| e.name).collect();
    encoder.texts(&rows.texts, &names, out)?;
    put_ints(&events, |(_, event)| i64::from(event.dropped_attributes), out);
    let lists: Vec<Stretch> = events.iter().map(|(_, e)| e.attributes).collect();
    let [of_events, of_links] = keys;
    let none = &mut Hashes::default();
    *of_events = attributes::encode(&rows.texts, &rows.attributes, &lists, encoder, none, out)?;
    let links: Vec<&Link> = all.iter().flat_map(|r| &rows.links[r.links.range()]).collect();
    links.iter().for_each(|link| out.extend_from_slice(&link.trace_id.to_be_bytes()));
    links.iter().for_each(|link| out.extend_from_slice(&link.span_id.to_be_bytes()));
    let states: Vec<Text> = links.iter().map(|l| l.trace_state).collect();
    encoder.texts(&rows.texts, &states, out)?;
    put_ints(&links, |link| i64::from(link.flags), out);
    put_ints(&links, |link| i64::from(link.dropped_attributes), out);
    let lists: Vec<Stretch> = links.iter().map(|l| l.attributes).collect();
    *of_links = attributes::encode(&rows.texts, &rows.attributes, &lists, encoder, none, out)?;
    Ok(())
}

/// What searches look at first.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) runs: Vec<Run>,
    pub(crate) starts_ns: Vec<i64>,
    pub(crate) ends_ns: Vec<i64>,
    /// Kinds and statuses, as `record::kind_code`.
    pub(crate) kinds: Vec<u8>,
    /// Resources and scopes, encoded.
    pub(crate) origins: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) origin_codes: Vec<u32>,
    pub(crate) names: TextColumn,
    parents: Vec<u64>,
    foreign_parents: Vec<u64>,
}

impl Core {
    /// Reads the core of a block of `rows` rows.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt); so for all that decode here.
    pub(crate) fn decode(bytes: &[u8], rows: usize) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let count = reader.count(rows)?;
        let ids = (0..count).map(|_| take_u128(&mut reader)).collect::<Result<Vec<_>>>()?;
        let firsts = take_codes(&mut reader, count, rows)?;
        if rows > 0 && (firsts.first() != Some(&0) || !firsts.is_sorted_by(|a, b| a < b)) {
            return Err(Error::corrupt("traces of a block do not begin where they should"));
        }
        let starts = take_ints(&mut reader, count)?;
        let run = |((trace_id, trace_start_ns), first)| Run { trace_id, trace_start_ns, first };
        let runs: Vec<Run> = ids.into_iter().zip(starts).zip(firsts).map(run).collect();
        let mut starts_ns = take_ints(&mut reader, rows)?;
        for (number, run) in runs.iter().enumerate() {
            let end = runs.get(number + 1).map_or(rows, |next| next.first as usize);
            let mut t_ns = run.trace_start_ns;
            for start_ns in &mut starts_ns[run.first as usize..end] {
                t_ns = t_ns.wrapping_add(*start_ns);
                *start_ns = t_ns;
            }
        }
        let mut ends_ns = take_ints(&mut reader, rows)?;
        ends_ns.iter_mut().zip(&starts_ns).for_each(|(end, start)| *end = end.wrapping_add(*start));
        let codes = take_codes(&mut reader, rows, 256)?;
        let kinds: Vec<u8> = codes.into_iter().map(|code| code as u8).collect();
        let largest = kinds.iter().copied().max().unwrap_or(0);
        kind_of(largest)?;
        let count = reader.count(COUNT_MAX)?;
        let plain = unpack(&mut reader)?;
        let mut table = Reader::new(&plain);
        if count > plain.len() / 2 {
            return Err(Error::corrupt(format!("{count} origins in {} bytes", plain.len())));
        }
        let origins = (0..count)
            .map(|_| Ok((table.bytes()?.to_vec(), table.bytes()?.to_vec())))
            .collect::<Result<Vec<_>>>()?;
        let origin_codes = take_codes(&mut reader, rows, count)?;
        let names = TextColumn::decode(&mut reader, rows)?;
        let parents: Vec<u64> =
            take_ints(&mut reader, rows)?.into_iter().map(i64::cast_unsigned).collect();
        let foreign = parents.iter().filter(|p| **p == FOREIGN_PARENT).count();
        let foreign_parents =
            (0..foreign).map(|_| take_id(&mut reader)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            runs,
            starts_ns,
            ends_ns,
            kinds,
            origins,
            origin_codes,
            names,
            parents,
            foreign_parents,
        })
    }

    /// The rows of run `number`.
    pub(crate) fn rows_of(&self, number: usize) -> Range<usize> {
        let end =
            self.runs.get(number + 1).map_or(self.starts_ns.len(), |next| next.first as usize);
        self.runs[number].first as usize..end
    }

    /// The rows of a trace, ascending.
    pub(crate) fn rows_of_trace(&self, trace_id: u128) -> Vec<usize> {
        let runs = self.runs.iter().enumerate().filter(|(_, run)| run.trace_id == trace_id);
        runs.flat_map(|(number, _)| self.rows_of(number)).collect()
    }

    /// The parent of each row.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when one is outside of its trace.
    pub(crate) fn parents(&self) -> Result<Vec<Parent>> {
        let mut foreign = self.foreign_parents.iter();
        let mut all = Vec::with_capacity(self.parents.len());
        for number in 0..self.runs.len() {
            let of_trace = self.rows_of(number);
            for row in of_trace.clone() {
                all.push(match self.parents[row] {
                    NO_PARENT => Parent::None,
                    FOREIGN_PARENT => {
                        Parent::Foreign(*foreign.next().ok_or_else(|| {
                            Error::corrupt("ids of parents end before the spans do")
                        })?)
                    }
                    near => Parent::Near(near_parent(row, near, &of_trace)?),
                });
            }
        }
        Ok(all)
    }

    /// Whether `row` is known to have no parent.
    pub(crate) fn is_root(&self, row: usize) -> bool {
        self.parents[row] == NO_PARENT
    }
}

/// The row that the code of a parent of `row` stands for.
fn near_parent(row: usize, code: u64, of_trace: &Range<usize>) -> Result<usize> {
    let parent = (row as i64).wrapping_sub(unzigzag(code - NEAR_PARENT));
    let parent = usize::try_from(parent).ok().filter(|parent| of_trace.contains(parent));
    parent.ok_or_else(|| Error::corrupt("parent of a span is outside its trace"))
}

/// A row's parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// It has none.
    None,
    /// A row of the same trace in the same block.
    Near(usize),
    /// The span of the id, which is not there.
    Foreign(u64),
}

/// What most spans do not have.
#[derive(Debug)]
pub(crate) struct Rest {
    flags: Vec<i64>,
    trace_states: TextColumn,
    messages: TextColumn,
    dropped: [Vec<i64>; 3],
    event_counts: Vec<i64>,
    link_counts: Vec<i64>,
    event_offsets: Vec<i64>,
    event_names: TextColumn,
    event_dropped: Vec<i64>,
    pub(crate) event_attributes: AttributeColumns,
    link_ids: Vec<(u128, u64)>,
    link_states: TextColumn,
    link_flags: Vec<i64>,
    link_dropped: Vec<i64>,
    pub(crate) link_attributes: AttributeColumns,
}

fn sum(counts: &[i64]) -> Result<usize> {
    counts.iter().try_fold(0_usize, |sum, count| {
        let count = usize::try_from(*count).ok().filter(|n| *n <= SPAN_ITEMS_MAX);
        count
            .map(|n| sum + n)
            .filter(|sum| *sum <= COUNT_MAX)
            .ok_or_else(|| Error::corrupt(format!("block has over {COUNT_MAX} events or links")))
    })
}

impl Rest {
    pub(crate) fn decode(bytes: &[u8], rows: usize) -> Result<Self> {
        let r = &mut Reader::new(bytes);
        let flags = take_ints(r, rows)?;
        let trace_states = TextColumn::decode(r, rows)?;
        let messages = TextColumn::decode(r, rows)?;
        let dropped = [take_ints(r, rows)?, take_ints(r, rows)?, take_ints(r, rows)?];
        let (event_counts, link_counts) = (take_ints(r, rows)?, take_ints(r, rows)?);
        let events = sum(&event_counts)?;
        let event_offsets = take_ints(r, events)?;
        let event_names = TextColumn::decode(r, events)?;
        let event_dropped = take_ints(r, events)?;
        let event_attributes = AttributeColumns::decode(r, events)?;
        let links = sum(&link_counts)?;
        let traces = (0..links).map(|_| take_u128(r)).collect::<Result<Vec<_>>>()?;
        let spans = (0..links).map(|_| take_id(r)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            flags,
            trace_states,
            messages,
            dropped,
            event_counts,
            link_counts,
            event_offsets,
            event_names,
            event_dropped,
            event_attributes,
            link_ids: traces.into_iter().zip(spans).collect(),
            link_states: TextColumn::decode(r, links)?,
            link_flags: take_ints(r, links)?,
            link_dropped: take_ints(r, links)?,
            link_attributes: AttributeColumns::decode(r, links)?,
        })
    }

    /// The row of each event, by its number.
    pub(crate) fn rows_of_events(&self) -> Vec<u32> {
        rows_by_count(&self.event_counts)
    }

    /// The row of each link, by its number.
    pub(crate) fn rows_of_links(&self) -> Vec<u32> {
        rows_by_count(&self.link_counts)
    }
}

fn rows_by_count(counts: &[i64]) -> Vec<u32> {
    let rows = counts.iter().enumerate();
    rows.flat_map(|(row, count)| std::iter::repeat_n(row as u32, *count as usize)).collect()
}

/// Ids of the spans of a block of `rows` rows.
pub(crate) fn decode_ids(bytes: &[u8], rows: usize) -> Result<Vec<u64>> {
    if bytes.len() != rows * 8 {
        return Err(Error::corrupt(format!("{} bytes of span ids for {rows} spans", bytes.len())));
    }
    let mut reader = Reader::new(bytes);
    (0..rows).map(|_| take_id(&mut reader)).collect()
}

/// What is read of spans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Projection<'p> {
    /// Names of attributes; all for `None`.
    pub(crate) attributes: Option<&'p BTreeSet<String>>,
    /// Whether the piece *rest* is read.
    pub(crate) details: bool,
}

impl Projection<'_> {
    pub(crate) const ALL: Self = Self { attributes: None, details: true };
}

/// A block with the pieces that reading spans takes.
#[derive(Debug)]
pub(crate) struct OpenBlock {
    pub(crate) core: Core,
    pub(crate) ids: Vec<u64>,
    pub(crate) attributes: AttributeColumns,
    /// Absent when it is not wanted.
    pub(crate) rest: Option<Rest>,
}

impl OpenBlock {
    /// Appends `wanted` rows, ascending, to `out`.
    pub(crate) fn read(
        &self,
        wanted: impl IntoIterator<Item = usize>,
        projection: Projection<'_>,
        out: &mut Rows,
    ) -> Result<()> {
        let core = &self.core;
        let mut attributes = self.attributes.cursor(projection.attributes);
        let mut details = self.rest.as_ref().map(|rest| Details::new(rest, projection));
        let mut origins: Vec<Option<u32>> = vec![None; core.origins.len()];
        let (mut row, mut foreign, mut number) = (0, 0, 0);
        for wanted in wanted {
            foreign += core.parents[row..wanted].iter().filter(|p| **p == FOREIGN_PARENT).count();
            row = wanted;
            while !core.rows_of(number).contains(&row) {
                number += 1;
            }
            let parent_id = match core.parents[row] {
                NO_PARENT => 0,
                FOREIGN_PARENT => core.foreign_parents[foreign],
                near => self.ids[near_parent(row, near, &core.rows_of(number))?],
            };
            let code = core.origin_codes[row] as usize;
            let origin = *origins[code].get_or_insert_with(|| {
                let (resource, scope) = &core.origins[code];
                let resource = out.texts.intern(resource);
                let scope = out.texts.intern(scope);
                out.origin(Origin { resource, scope })
            });
            attributes.skip_to(row);
            let own_attributes = attributes.next_into(out)?;
            let (kind, status) = kind_of(core.kinds[row])?;
            let plain = Row {
                trace_id: core.runs[number].trace_id,
                span_id: self.ids[row],
                parent_id,
                start_ns: core.starts_ns[row],
                end_ns: core.ends_ns[row],
                origin,
                name: out.texts.intern(core.names.get(row)),
                trace_state: EMPTY,
                status_message: EMPTY,
                flags: 0,
                dropped_attributes: 0,
                dropped_events: 0,
                dropped_links: 0,
                attributes: own_attributes,
                events: Stretch::default(),
                links: Stretch::default(),
                kind,
                status,
            };
            let new = match &mut details {
                Some(details) => details.complete(row, plain, out)?,
                None => plain,
            };
            out.rows.push(new);
        }
        Ok(())
    }
}

/// Reads the piece *rest* along with the rows.
struct Details<'r> {
    rest: &'r Rest,
    /// The row, event and link that come next.
    row: usize,
    event: usize,
    link: usize,
    event_attributes: Cursor<'r>,
    link_attributes: Cursor<'r>,
}

impl<'r> Details<'r> {
    fn new(rest: &'r Rest, projection: Projection<'_>) -> Self {
        let event_attributes = rest.event_attributes.cursor(projection.attributes);
        let link_attributes = rest.link_attributes.cursor(projection.attributes);
        Self { rest, row: 0, event: 0, link: 0, event_attributes, link_attributes }
    }

    /// Adds what the piece says of `row`, which is not behind.
    fn complete(&mut self, row: usize, mut span: Row, out: &mut Rows) -> Result<Row> {
        let rest = self.rest;
        let between = |counts: &[i64]| counts[self.row..row].iter().sum::<i64>() as usize;
        self.event += between(&rest.event_counts);
        self.link += between(&rest.link_counts);
        self.row = row + 1;
        self.event_attributes.skip_to(self.event);
        self.link_attributes.skip_to(self.link);
        span.events.start = out.events.len() as u32;
        for _ in 0..rest.event_counts[row] {
            let event = self.event;
            let name = out.texts.intern(rest.event_names.get(event));
            let attributes = self.event_attributes.next_into(out)?;
            out.events.push(Event {
                t_ns: span.start_ns.wrapping_add(rest.event_offsets[event]),
                name,
                attributes,
                dropped_attributes: rest.event_dropped[event] as u32,
            });
            self.event += 1;
        }
        span.events.end = out.events.len() as u32;
        span.links.start = out.links.len() as u32;
        for _ in 0..rest.link_counts[row] {
            let link = self.link;
            let (trace_id, span_id) = rest.link_ids[link];
            let trace_state = intern_rare(out, rest.link_states.get(link));
            let attributes = self.link_attributes.next_into(out)?;
            out.links.push(Link {
                trace_id,
                span_id,
                trace_state,
                flags: rest.link_flags[link] as u32,
                attributes,
                dropped_attributes: rest.link_dropped[link] as u32,
            });
            self.link += 1;
        }
        span.links.end = out.links.len() as u32;
        span.trace_state = intern_rare(out, rest.trace_states.get(row));
        span.status_message = intern_rare(out, rest.messages.get(row));
        span.flags = rest.flags[row] as u32;
        let [attributes, events, links] = &rest.dropped;
        span.dropped_attributes = attributes[row] as u32;
        span.dropped_events = events[row] as u32;
        span.dropped_links = links[row] as u32;
        Ok(span)
    }
}

fn intern_rare(out: &mut Rows, text: &[u8]) -> Text {
    if text.is_empty() { EMPTY } else { out.texts.intern(text) }
}

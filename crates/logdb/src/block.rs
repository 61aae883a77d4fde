//! Blocks: rows of a few streams, as the stored pieces times, lines, fields, token filter and patterns.
//!
//! A block is filled row by row ([`Buffer`]), encoded into pieces, and read piece by piece ([`Rows`]), so that a query
//! decodes no more than it needs. The pieces are drawn in `docs/format/logs.md`. Does not own: where pieces are kept
//! (`part`), reading fields (`fields`), nor which blocks a query wants (`scan`).

use model::{Labels, Result};
use rustc_hash::FxHashMap;
use storage::codec::{Reader, ints, put_bytes, put_count};

use crate::column::Encoder;
use crate::patterns::coded;
use crate::patterns::known::Known;

/// Rows a block may have.
pub(crate) const ROWS_MAX: usize = 64 << 10;
/// Raw bytes of lines after which a block is closed.
pub(crate) const RAW_BYTES_MAX: usize = 4 << 20;
/// A block with so many raw bytes is closed when another stream begins, so that large streams have blocks of their own.
const OWN_BLOCK_BYTES: usize = 256 << 10;

/// Neighbouring rows of one stream, ascending by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Index into the part's streams.
    pub(crate) stream: u32,
    pub(crate) rows: u32,
    /// Bytes of the lines.
    pub(crate) raw_bytes: u64,
    /// Time of the first row.
    pub(crate) min_ns: i64,
    /// Time of the last row.
    pub(crate) max_ns: i64,
}

/// The stored pieces of a block.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) times: Vec<u8>,
    pub(crate) lines: Vec<u8>,
    /// Empty when no row has fields.
    pub(crate) fields: Vec<u8>,
    /// Empty when there are too many tokens.
    pub(crate) filter: Vec<u8>,
    pub(crate) patterns: Vec<u8>,
}

/// Rows on their way into a block: by stream, ascending by time within it.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    text: Vec<u8>,
    ends: Vec<usize>,
    times: Vec<i64>,
    /// One per row, or none at all while no row has any.
    fields: Vec<Labels>,
    runs: Vec<Run>,
}

impl Buffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Whether a row of `line_bytes` of part stream `stream` belongs into another block.
    pub(crate) fn is_full_for(&self, stream: u32, line_bytes: usize) -> bool {
        let other = self.runs.last().is_some_and(|r| r.stream != stream);
        !self.is_empty()
            && (self.times.len() >= ROWS_MAX
                || self.text.len() + line_bytes > RAW_BYTES_MAX
                || (other && self.text.len() >= OWN_BLOCK_BYTES))
    }

    pub(crate) fn push(&mut self, stream: u32, t_ns: i64, line: &[u8], fields: &Labels) {
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len());
        if !fields.is_empty() || !self.fields.is_empty() {
            self.fields.resize(self.times.len(), Labels::default());
            self.fields.push(fields.clone());
        }
        self.times.push(t_ns);
        match self.runs.last_mut().filter(|r| r.stream == stream) {
            Some(run) => {
                run.rows += 1;
                run.raw_bytes += line.len() as u64;
                run.max_ns = t_ns;
            }
            None => {
                let raw_bytes = line.len() as u64;
                self.runs.push(Run { stream, rows: 1, raw_bytes, min_ns: t_ns, max_ns: t_ns });
            }
        }
    }

    /// Bytes of the lines.
    pub(crate) fn raw_bytes(&self) -> u64 {
        self.text.len() as u64
    }

    pub(crate) fn rows(&self) -> u32 {
        // At most `ROWS_MAX`.
        self.times.len() as u32
    }

    /// Encodes the rows.
    pub(crate) fn encode(&self, encoder: &mut Encoder, known: &Known) -> Pieces {
        let mut pieces = Pieces::default();
        ints::encode_sampled(&self.times, &mut pieces.times);
        let mut start = 0;
        let lines: Vec<&[u8]> = self
            .ends
            .iter()
            .map(|end| {
                let line = &self.text[start..*end];
                start = *end;
                line
            })
            .collect();
        encoder.column(&lines, &mut pieces.lines);
        if !self.fields.is_empty() {
            encode_fields(&self.fields, encoder, &mut pieces.fields);
        }
        // Of lines and fields: an id is usually in both.
        pieces.filter = encoder.take_filter();
        coded::encode(&lines, &pieces.lines, known, encoder, &mut pieces.patterns);
        pieces
    }

    /// Empties it and gives the runs away.
    pub(crate) fn take_runs(&mut self) -> Vec<Run> {
        self.text.clear();
        self.ends.clear();
        self.times.clear();
        self.fields.clear();
        std::mem::take(&mut self.runs)
    }
}

/// Sets of names, each row's set, and a column per name.
fn encode_fields(rows: &[Labels], encoder: &mut Encoder, out: &mut Vec<u8>) {
    let mut sets: FxHashMap<Vec<&str>, i64> = FxHashMap::default();
    let mut ordered: Vec<Vec<&str>> = Vec::new();
    let mut codes = Vec::with_capacity(rows.len());
    let mut columns: Vec<(&str, Vec<&[u8]>)> = Vec::new();
    let mut column_of: FxHashMap<&str, usize> = FxHashMap::default();
    // Names of the row before, and their columns: most rows have the same.
    let mut same: Vec<(&str, usize)> = Vec::new();
    let mut code = None;
    for row in rows {
        let is_same =
            row.len() == same.len() && row.iter().zip(&same).all(|((name, _), (n, _))| name == *n);
        if !is_same || code.is_none() {
            same.clear();
            for (name, _) in row.iter() {
                let column = *column_of.entry(name).or_insert_with(|| {
                    columns.push((name, Vec::new()));
                    columns.len() - 1
                });
                same.push((name, column));
            }
            let next = ordered.len() as i64;
            let names: Vec<&str> = same.iter().map(|(name, _)| *name).collect();
            code = Some(*sets.entry(names).or_insert_with_key(|names| {
                ordered.push(names.clone());
                next
            }));
        }
        codes.extend(code);
        for ((_, value), (_, column)) in row.iter().zip(&same) {
            columns[*column].1.push(value.as_bytes());
        }
    }
    put_count(out, columns.len());
    columns.iter().for_each(|(name, _)| put_bytes(out, name.as_bytes()));
    put_count(out, ordered.len());
    for set in &ordered {
        put_count(out, set.len());
        set.iter().for_each(|name| put_count(out, column_of[name]));
    }
    ints::encode(&codes, out);
    let mut body = Vec::new();
    for (_, values) in &columns {
        body.clear();
        encoder.column(values, &mut body);
        put_bytes(out, &body);
    }
}

/// Reads the times of `rows` rows.
pub(crate) fn decode_times(bytes: &[u8], rows: usize) -> Result<Vec<i64>> {
    let mut times = Vec::new();
    ints::decode(&mut Reader::new(bytes), rows, &mut times)?;
    Ok(times)
}

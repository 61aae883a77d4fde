//! Places of secrets in the rows of a batch.

use std::ops::Range;

use model::{Labels, LogRows};
use rustc_hash::FxHashSet;

use super::Kind;
use super::quotes::Quote;

/// A secret and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) row: usize,
    /// Bytes of the line.
    pub(super) at: Range<usize>,
    /// Index of its kind, or of a pattern of one's own behind the kinds.
    pub(super) what: usize,
    /// Quotes that the mark needs to be a value of JSON.
    pub(super) quote: Option<Quote>,
    /// Whether it is the rest of a secret that was counted already.
    pub(super) goes_on: bool,
}

impl Found {
    pub(super) fn new(row: usize, at: Range<usize>, kind: Kind) -> Self {
        let what = Kind::ALL.iter().position(|k| *k == kind).unwrap_or_default();
        Self { row, at, what, quote: None, goes_on: false }
    }

    pub(super) fn of_row(self, row: usize) -> Self {
        Self { row, ..self }
    }
}

/// A row and its place in the text of a batch.
pub(super) struct Row {
    pub(super) number: usize,
    pub(super) at: Range<usize>,
}

impl Row {
    pub(super) fn first(rows: &LogRows) -> Self {
        let len = if rows.is_empty() { 0 } else { rows.line_len(0) };
        Self { number: 0, at: 0..len }
    }

    /// Goes on to the row that has byte `offset` of the text; `false` when none has.
    pub(super) fn advance(&mut self, rows: &LogRows, offset: usize) -> bool {
        while offset >= self.at.end {
            if self.number + 1 >= rows.len() {
                return false;
            }
            self.number += 1;
            self.at = self.at.end..self.at.end + rows.line_len(self.number);
        }
        offset >= self.at.start
    }
}

/// Sorts by row and place and leaves out what overlaps something before it.
pub(super) fn disjoint(found: &mut Vec<Found>) {
    // Of two that begin at the same place the longer one stays.
    found.sort_by_key(|f| (f.row, f.at.start, std::cmp::Reverse(f.at.end)));
    let key = Found::new(0, 0..0, Kind::PrivateKey).what;
    let mut last: Option<(usize, usize)> = None;
    found.retain(|f| {
        let is_free = (!f.at.is_empty() || f.what == key)
            && last.is_none_or(|(row, end)| f.row > row || f.at.start >= end);
        if is_free {
            last = Some((f.row, f.at.end));
        }
        is_free
    });
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// Characters of a row of a key's body at most.
const BODY_BYTES_MAX: usize = 128;

/// Adds the rows into which private keys go on: those of their streams that look like one, up to the end. `open` are the
/// streams inside a key, before these rows and then after them.
pub(super) fn follow_keys(rows: &LogRows, open: &mut FxHashSet<Labels>, found: &mut Vec<Found>) {
    let key = Found::new(0, 0..0, Kind::PrivateKey).what;
    let mut starts = found.iter().filter(|f| f.what == key).map(|f| f.row).collect::<Vec<_>>();
    starts.dedup();
    if starts.is_empty() && open.is_empty() {
        return;
    }
    let mut more = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        if open.contains(row.stream) {
            let end = row.line.find(END);
            if end.is_some() || !is_body(row.line) {
                open.remove(row.stream);
            }
            // What is before the end on its row may be part of another text.
            let end = end.map(|end| if is_body(&row.line[..end]) { end } else { 0 });
            let at = 0..end.unwrap_or(row.line.len());
            if !at.is_empty() && (end.is_some() || open.contains(row.stream)) {
                more.push(Found { goes_on: true, ..Found::new(i, at, Kind::PrivateKey) });
            }
        }
        if starts.binary_search(&i).is_ok() && row.line.rfind(END) < row.line.rfind(BEGIN) {
            open.insert(row.stream.clone());
        }
    }
    found.extend(more);
    disjoint(found);
}

/// Base64, an empty row, or one of the headers of an encrypted key; anything else is another program's line, or the end
/// was lost.
fn is_body(line: &str) -> bool {
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    line.starts_with("Proc-Type:")
        || line.starts_with("DEK-Info:")
        || (line.len() <= BODY_BYTES_MAX && line.trim().bytes().all(is_base64))
}

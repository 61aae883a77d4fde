//! Places of secrets in the rows of a batch.

use std::ops::Range;

use model::LogRows;

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

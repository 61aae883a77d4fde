//! [`Keys`]: private keys that go on through the rows of a stream, also of further batches, and of batches that come again.
//!
//! A row inside a key does not say so itself: what came before it does. So the streams inside a key are known here, and
//! of each the rows that were inside one: a sender that had no answer sends them again when the key has long ended.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;

use model::{Labels, LogRows};
use parking_lot::Mutex;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::Kind;
use super::found::{Found, disjoint};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// Bytes of a row of a key's body at most, and of one that ends it.
const BODY_BYTES_MAX: usize = 128;
const LAST_BYTES_MAX: usize = 256;
/// Streams in which private keys stood. When there are more, those whose key has ended are forgotten; if none has, further
/// keys are replaced where they begin, and their other rows stay.
const STREAMS_MAX: usize = 1_000;
/// Rows of keys that are known of a stream: those of some keys of 4096 bits.
const ROWS_MAX: usize = 256;

/// Streams in which private keys stood. One for all batches; it may be shared.
#[derive(Debug, Default)]
pub struct Keys {
    streams: Mutex<FxHashMap<Labels, Stream>>,
}

#[derive(Debug, Default)]
struct Stream {
    /// Whether its last row is inside a key.
    is_open: bool,
    /// Hashes of the last rows that were.
    rows: VecDeque<u64>,
}

impl Keys {
    /// Adds to `found` the rows into which private keys go on: those of their streams that look like one, up to the end,
    /// and those that were inside one before.
    pub(super) fn follow(&self, rows: &LogRows, found: &mut Vec<Found>) {
        let key = Found::new(0, 0..0, Kind::PrivateKey).what;
        let mut starts = found.iter().filter(|f| f.what == key).map(|f| f.row).collect::<Vec<_>>();
        starts.dedup();
        let mut streams = self.streams.lock();
        let mut is_known: Vec<bool> = if streams.is_empty() {
            Vec::new()
        } else {
            rows.streams().iter().map(|stream| streams.contains_key(stream)).collect()
        };
        if starts.is_empty() && !is_known.contains(&true) {
            return;
        }
        is_known.resize(rows.streams().len(), false);
        let mut more = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let number = rows.stream_number(i) as usize;
            if is_known[number]
                && let Some(stream) = streams.get_mut(row.stream)
                && let Some(len) = stream.inside(row.line)
            {
                more.push(Found { goes_on: true, ..Found::new(i, 0..len, Kind::PrivateKey) });
            }
            if starts.binary_search(&i).is_ok() && row.line.rfind(END) < row.line.rfind(BEGIN) {
                is_known[number] |= open(&mut streams, row.stream);
            }
        }
        found.extend(more);
        disjoint(found);
    }

    /// How many streams are inside a key.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.streams.lock().values().filter(|stream| stream.is_open).count()
    }
}

/// Notes that a key begins in `stream`; whether there is room for it.
fn open(streams: &mut FxHashMap<Labels, Stream>, stream: &Labels) -> bool {
    if !streams.contains_key(stream) && streams.len() >= STREAMS_MAX {
        streams.retain(|_, stream| stream.is_open);
        if streams.len() >= STREAMS_MAX {
            return false;
        }
    }
    streams.entry(stream.clone()).or_default().is_open = true;
    true
}

impl Stream {
    /// How many bytes of the stream's next row are inside a key; `None` when none are.
    fn inside(&mut self, line: &str) -> Option<usize> {
        if self.is_open {
            let end = line.find(END);
            self.is_open = end.is_none() && is_body(line);
            let len = match end {
                // What is before the end on its row may be part of another text.
                Some(end) if is_body(&line[..end]) => end,
                None if self.is_open => line.len(),
                _ => 0,
            };
            if len > 0 && line.len() <= LAST_BYTES_MAX {
                let row = FxBuildHasher.hash_one(line);
                if !self.rows.contains(&row) {
                    self.rows.truncate(ROWS_MAX - 1);
                    self.rows.push_front(row);
                }
            }
            return (len > 0).then_some(len);
        }
        if line.len() > LAST_BYTES_MAX || line.is_empty() {
            return None;
        }
        let end = line.find(END).unwrap_or(line.len());
        let may_be = is_body(&line[..end]);
        (may_be && self.rows.contains(&FxBuildHasher.hash_one(line))).then_some(end)
    }
}

/// Base64, an empty row, or one of the headers of an encrypted key; anything else is another program's line, or the end
/// was lost.
fn is_body(line: &str) -> bool {
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    line.starts_with("Proc-Type:")
        || line.starts_with("DEK-Info:")
        || (line.len() <= BODY_BYTES_MAX && line.trim().bytes().all(is_base64))
}

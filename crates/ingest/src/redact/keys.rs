//! [`Keys`]: private keys that go on through the rows of a stream, also of further batches, and of batches that come again.
//!
//! A row inside a key does not say so itself: what came before it does. So the streams inside a key are known here, and
//! of each the rows that were inside one: a sender that had no answer sends them again when the key has long ended. What
//! came before the process began is asked of a [`Past`], once per stream and only when a row may be inside a key.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::BuildHasher as _;
use std::ops::ControlFlow;

use model::{Labels, LogRow, LogRows};
use parking_lot::Mutex;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::Kind;
use super::found::{Found, disjoint};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
/// What stands for the rows of a key, and behind what begins it.
const MARK: &str = "[redacted:private_key]";

/// Bytes of a row of a key's body at most, and of one that ends it.
const BODY_BYTES_MAX: usize = 128;
const LAST_BYTES_MAX: usize = 256;
/// Streams in which private keys stood. When there are more, those whose key has ended are forgotten; if none has, further
/// keys are replaced where they begin, and their other rows stay.
const STREAMS_MAX: usize = 1_000;
/// Rows of keys that are known of a stream: those of some keys of 4096 bits.
const ROWS_MAX: usize = 256;

/// Least length of a row of a key's body for which the past of its stream is asked: shorter ones are words of prose, or the
/// few characters at the end of a key.
const ASKED_BYTES_MIN: usize = 8;
/// Streams whose past is asked. Of further ones nothing is known but what comes while the process runs.
const ASKED_MAX: usize = 10_000;
/// Rows of the past that are looked at before it is given up.
const PAST_ROWS_MAX: usize = 64;

/// Rows as they were stored before these [`Keys`] began, redacted.
pub trait Past: Debug + Send + Sync {
    /// Visits times and lines of `stream` that are stored, up to and with `t_ns`, the last one first.
    fn visit_back(
        &self,
        stream: &Labels,
        t_ns: i64,
        visit: &mut dyn FnMut(i64, &str) -> ControlFlow<()>,
    );
}

/// Streams in which private keys stood. One for all batches; it may be shared.
#[derive(Debug, Default)]
pub struct Keys {
    known: Mutex<Known>,
    past: Option<Box<dyn Past>>,
}

#[derive(Debug, Default)]
struct Known {
    streams: FxHashMap<Labels, Stream>,
    /// Hashes of streams whose past was asked.
    asked: FxHashSet<u64>,
}

#[derive(Debug, Default)]
struct Stream {
    /// Whether its last row is inside a key.
    is_open: bool,
    /// Hashes of the last rows that were.
    rows: VecDeque<u64>,
}

impl Keys {
    /// Those that know which streams were inside a key before.
    pub fn with_past(past: Box<dyn Past>) -> Self {
        Self { past: Some(past), ..Self::default() }
    }

    /// Adds to `found` the rows into which private keys go on: those of their streams that look like one, up to the end,
    /// and those that were inside one before.
    pub(super) fn follow(&self, rows: &LogRows, found: &mut Vec<Found>) {
        let key = Found::new(0, 0..0, Kind::PrivateKey).what;
        let mut starts = found.iter().filter(|f| f.what == key).map(|f| f.row).collect::<Vec<_>>();
        starts.dedup();
        let mut known = self.known.lock();
        if let Some(past) = &self.past {
            known.ask(&**past, rows);
        }
        let streams = &mut known.streams;
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
                is_known[number] |= open(streams, row.stream);
            }
        }
        found.extend(more);
        disjoint(found);
    }

    /// How many streams are inside a key.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.known.lock().streams.values().filter(|stream| stream.is_open).count()
    }
}

impl Known {
    /// Asks the past of the streams that are first seen with a row that may be inside a key.
    ///
    /// Cost: a look at the first row of each stream, for nearly all rows at its first bytes; a question is a search.
    fn ask(&mut self, past: &dyn Past, rows: &LogRows) {
        let mut unseen = rows.streams().len();
        let mut is_seen = vec![false; unseen];
        for (i, row) in rows.iter().enumerate() {
            if unseen == 0 {
                return;
            }
            let is_seen = &mut is_seen[rows.stream_number(i) as usize];
            // An empty row is part of an encrypted key, and the next one says more.
            if *is_seen || row.line.is_empty() {
                continue;
            }
            *is_seen = true;
            unseen -= 1;
            let body = &row.line[..row.line.find(END).unwrap_or(row.line.len())];
            if body.len() >= ASKED_BYTES_MIN
                && is_body(body)
                && !self.streams.contains_key(row.stream)
                && self.asked.len() < ASKED_MAX
                && self.asked.insert(FxBuildHasher.hash_one(row.stream))
                && was_inside(past, &row, rows.may_repeat())
            {
                open(&mut self.streams, row.stream);
            }
        }
    }
}

/// Whether the stream of `row` was inside a key before it, as far as what is stored says: the last row that is not empty
/// ends with the mark of one. A row that may be there already is inside of one if one of its time is.
fn was_inside(past: &dyn Past, row: &LogRow<'_>, may_repeat: bool) -> bool {
    let (mut is_inside, mut is_first, mut rows_left) = (false, true, PAST_ROWS_MAX);
    past.visit_back(row.stream, row.t_ns, &mut |t_ns, line| {
        let may_be_row = may_repeat && t_ns == row.t_ns;
        rows_left -= 1;
        if !line.is_empty() && (is_first || may_be_row) {
            is_first = false;
            is_inside = line.ends_with(MARK) || (may_be_row && line.starts_with(MARK));
        }
        let is_decided = is_inside || (!is_first && !may_be_row) || rows_left == 0;
        if is_decided { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    is_inside
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

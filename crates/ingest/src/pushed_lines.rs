//! Log lines that are pushed: what all of their formats share.
//!
//! Owns: under which time a line is stored, the fields beside it, and the bounds of one request ([`Lines`]); streams that
//! come again and labels with too many values (`streams.rs`). Does not own: any format, HTTP, storing.
//!
//! A wrong time never costs a line. One that is missing, lies in the first year of Unix time (a clock that was never set,
//! or seconds taken for nanoseconds) or too far in the future is replaced by the time of arrival; what was sent stands
//! beside the line in the field [`ORIGINAL_TIMESTAMP`], and the replacement is counted by reason. Such lines of a request
//! are a nanosecond apart, so that equal ones are not taken for one that came twice.

mod fields;
mod streams;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use jiff::Timestamp;
use model::{Error, ErrorKind, Labels, LogRows, Result};

pub use fields::{FIELDS_MAX, Fields, field_name};
pub use streams::{Demoted, Stream, Streams, with_service};

/// The field that holds the time a line came with when it is stored under another.
pub const ORIGINAL_TIMESTAMP: &str = "original_timestamp";

/// Bytes of a request for each line of it.
const ROW_BYTES_TYPICAL: usize = 256;

/// Times before the second year of Unix time are those of clocks that were never set.
const FIRST_YEAR_NS: i64 = 365 * 86_400 * 1_000_000_000;

/// Bounds of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Lines.
    pub rows_max: usize,
    /// Labels of one stream.
    pub labels_max: usize,
    /// Bytes of a label's name.
    pub name_bytes_max: usize,
    /// Bytes of a label's value.
    pub value_bytes_max: usize,
    /// Bytes of all fields of one line.
    pub line_fields_bytes_max: usize,
    /// Bytes of all lines' fields together; lines in a row with the same ones share them.
    pub field_bytes_max: usize,
    /// How far ahead of the time of arrival a line's own may lie, in milliseconds.
    pub future_ms_max: i64,
}

/// Bounds that are soon reached, for tests of the formats.
#[cfg(test)]
pub(crate) const SMALL: Limits = Limits {
    rows_max: 100,
    labels_max: 5,
    name_bytes_max: 32,
    value_bytes_max: 32,
    line_fields_bytes_max: 1_000,
    field_bytes_max: 10_000,
    future_ms_max: 600_000,
};

/// The time a line came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent<'a> {
    /// Unix nanoseconds.
    At(i64),
    /// None.
    Absent,
    /// A text that is no time.
    Unreadable(&'a str),
}

/// Why lines were stored under the time of arrival, and how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Corrected {
    /// They had none.
    pub absent: u64,
    /// It was in the first year of Unix time, or before.
    pub epoch: u64,
    /// It was too far in the future.
    pub future: u64,
    /// It could not be read.
    pub unreadable: u64,
}

impl Corrected {
    /// Counts by the names of their reasons.
    pub fn by_reason(&self) -> [(&'static str, u64); 4] {
        [
            ("absent", self.absent),
            ("epoch", self.epoch),
            ("future", self.future),
            ("unreadable", self.unreadable),
        ]
    }
}

/// Lines that were refused, and the first reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// Lines.
    pub rows: u64,
    /// Why, of the first few.
    pub reasons: Vec<String>,
}

/// Reasons kept for the answer; the counts go on.
const REASONS_MAX: usize = 10;

impl Refused {
    /// Adds `rows` refused for `reason`.
    pub fn add(&mut self, rows: u64, reason: impl Into<String>) {
        self.rows += rows;
        if self.reasons.len() < REASONS_MAX {
            let reason = reason.into();
            if !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.rows == 0 && self.reasons.is_empty()
    }
}

/// Collects the lines of one request.
#[derive(Debug)]
pub struct Lines {
    /// The lines, with the times they are stored under.
    pub rows: LogRows,
    /// Times that were replaced.
    pub corrected: Corrected,
    /// What was refused.
    pub refused: Refused,
    limits: Limits,
    now_ns: i64,
    field_bytes: usize,
    /// The labels without any, made once.
    none: Labels,
}

/// What a request held, ready for the store.
#[derive(Debug, Default)]
pub struct Pushed {
    /// Lines to be stored.
    pub rows: LogRows,
    /// Times that were replaced.
    pub corrected: Corrected,
    /// What was refused.
    pub refused: Refused,
}

impl Lines {
    /// No lines yet, of a request that came at `now_ms`.
    pub fn new(limits: &Limits, now_ms: i64) -> Self {
        Self {
            rows: LogRows::default(),
            corrected: Corrected::default(),
            refused: Refused::default(),
            limits: *limits,
            now_ns: now_ms.saturating_mul(1_000_000),
            field_bytes: 0,
            none: Labels::default(),
        }
    }

    /// No lines yet, with room for those of a request of `bytes`.
    pub(crate) fn with_room(limits: &Limits, now_ms: i64, bytes: usize) -> Self {
        let rows = (bytes / ROW_BYTES_TYPICAL).min(limits.rows_max);
        Self { rows: LogRows::with_capacity(rows, bytes), ..Self::new(limits, now_ms) }
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// When the request came, Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.now_ns / 1_000_000
    }

    /// Adds a line; takes `fields`, which are empty afterwards. Says whether it was added: a line whose fields are too
    /// large is refused alone.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit) when the request holds too much.
    pub fn push(
        &mut self,
        stream: &Stream,
        sent: Sent<'_>,
        line: &str,
        fields: &mut Fields<'_>,
    ) -> Result<bool> {
        if self.rows.len() >= self.limits.rows_max {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "request has more lines than the limit of {}; send it in smaller requests",
                    self.limits.rows_max
                ),
            ));
        }
        let t_ns = self.time(sent, fields);
        if fields.is_empty() && stream.demoted.is_empty() {
            self.rows.push(&stream.labels, t_ns, line, &self.none);
            return Ok(true);
        }
        for (name, value) in stream.demoted.iter() {
            fields.set(Cow::Owned(name.to_owned()), Cow::Owned(value.to_owned()));
        }
        if fields.len() > FIELDS_MAX {
            let count = fields.len();
            fields.clear();
            self.refused.add(
                1,
                format!(
                    "stream '{}' has too many structured metadata labels: '{count}', limit: '{FIELDS_MAX}'",
                    stream.labels
                ),
            );
            return Ok(false);
        }
        let labels = if fields.is_empty() { self.none.clone() } else { fields.take() };
        let bytes = labels.packed_len();
        if bytes > self.limits.line_fields_bytes_max {
            self.refused.add(
                1,
                format!(
                    "stream '{}' has structured metadata too large: '{bytes}' bytes, limit: '{}' bytes",
                    stream.labels, self.limits.line_fields_bytes_max
                ),
            );
            return Ok(false);
        }
        let is_shared = self.rows.field_sets().last() == Some(&labels);
        if !is_shared {
            self.field_bytes += bytes;
        }
        if self.field_bytes > self.limits.field_bytes_max {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "fields of the request's lines take more than the limit of {} bytes; send it in smaller requests",
                    self.limits.field_bytes_max
                ),
            ));
        }
        self.rows.push(&stream.labels, t_ns, line, &labels);
        Ok(true)
    }

    /// The time to store a line under; one that is not its own is noted.
    fn time(&mut self, sent: Sent<'_>, fields: &mut Fields<'_>) -> i64 {
        let newest_ns =
            self.now_ns.saturating_add(self.limits.future_ms_max.saturating_mul(1_000_000));
        let original = match sent {
            Sent::At(t_ns) if (FIRST_YEAR_NS..=newest_ns).contains(&t_ns) => return t_ns,
            Sent::At(t_ns) => {
                let count = if t_ns < FIRST_YEAR_NS {
                    &mut self.corrected.epoch
                } else {
                    &mut self.corrected.future
                };
                *count += 1;
                spell(t_ns)
            }
            Sent::Absent => {
                self.corrected.absent += 1;
                return self.arrival_ns();
            }
            Sent::Unreadable(text) => {
                self.corrected.unreadable += 1;
                text.chars().take(64).collect()
            }
        };
        fields.set(Cow::Borrowed(ORIGINAL_TIMESTAMP), Cow::Owned(original));
        self.arrival_ns()
    }

    /// The time for the line of which the replaced time was counted last.
    fn arrival_ns(&self) -> i64 {
        let before = self.corrected.by_reason().iter().map(|(_, count)| count).sum::<u64>() - 1;
        self.now_ns.saturating_add(before.cast_signed())
    }

    /// What became of the request.
    pub fn finish(self) -> Pushed {
        Pushed { rows: self.rows, corrected: self.corrected, refused: self.refused }
    }
}

/// Whether a line may be stored under its own time `t_ns` when it comes at `now_ns`.
pub fn is_sound_time(t_ns: i64, now_ns: i64, future_ms_max: i64) -> bool {
    let newest_ns = now_ns.saturating_add(future_ms_max.saturating_mul(1_000_000));
    (FIRST_YEAR_NS..=newest_ns).contains(&t_ns)
}

/// RFC 3339 with as many digits as are needed.
pub fn spell(t_ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(t_ns))
        .map_or_else(|_| t_ns.to_string(), |t| t.to_string())
}

/// The time that a text as RFC 3339 writes it stands for, in Unix nanoseconds, held at the bounds of 64 bits.
pub fn rfc3339_ns(text: &str) -> Option<i64> {
    let t: Timestamp = text.trim().parse().ok()?;
    let bounds = (i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(t.as_nanosecond().clamp(bounds.0, bounds.1)).ok()
}

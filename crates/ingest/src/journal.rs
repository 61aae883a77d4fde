//! Entries of systemd's journal in its export format: `journalctl -o export`, `systemd-journal-upload`.
//!
//! Owns: taking a stream of any length apart piece by piece ([`Decoder`]), and entries as pushed lines ([`add`]). Does not
//! own: processes, HTTP, Promtail's labels.
//!
//! An entry costs bounded memory whatever it holds: values are cut, and fields beyond the bounds left out; how many bytes
//! are missing is said with the entry. Core dumps are fields of gigabytes.
//!
//! Source: systemd, "Journal Export Formats".

mod lines;
#[cfg(test)]
mod tests;

use model::{Error, Result, text_of_bytes};

pub use lines::add;

/// Bytes of a field's name; the journal itself allows 64.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of the length before a binary value.
const LENGTH_BYTES: usize = 8;

/// Bounds of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Fields.
    pub fields_max: usize,
    /// Bytes kept of one value.
    pub value_bytes_max: usize,
    /// Bytes kept of all names and values.
    pub entry_bytes_max: usize,
}

impl Default for Limits {
    /// A message of the longest line that is stored, and as much for everything beside it.
    fn default() -> Self {
        Self { fields_max: 1_024, value_bytes_max: 512 << 10, entry_bytes_max: 1 << 20 }
    }
}

/// One entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Names and values in the order they came, `__CURSOR` and the like included. Of bytes that are not UTF-8 the text is
    /// what [`text_of_bytes`] makes of them. A name may come more than once.
    pub fields: Vec<(String, String)>,
    /// Bytes of values and fields that were left out, as they are beyond the bounds.
    pub missing_bytes: u64,
}

impl Entry {
    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Where the entry stands in its journal.
    pub fn cursor(&self) -> Option<&str> {
        self.get("__CURSOR")
    }

    /// When the journal received it, Unix nanoseconds.
    pub fn t_ns(&self) -> Option<i64> {
        self.get("__REALTIME_TIMESTAMP")?.parse::<i64>().ok()?.checked_mul(1_000)
    }
}

/// Reads entries from a stream that comes in pieces.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    state: State,
    entry: Entry,
    /// Of the entry's names and values.
    entry_bytes: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Within what the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Name,
    /// A value that ends with its line.
    Text,
    /// The length of a binary value: bytes of it that are known, and what they say.
    Length(usize, u64),
    /// Bytes of a binary value that are to come.
    Binary(u64),
    /// The newline behind a binary value.
    BinaryEnd,
}

impl Decoder {
    /// Nothing read yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Name,
            entry: Entry::default(),
            entry_bytes: 0,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Reads the next piece and calls `visit` with each entry that ends in it.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) when the bytes are not in the format, and those of `visit`; nothing can be
    /// read after one.
    pub fn read(
        &mut self,
        mut bytes: &[u8],
        visit: &mut dyn FnMut(Entry) -> Result<()>,
    ) -> Result<()> {
        while let Some(&first) = bytes.first() {
            match self.state {
                State::Name => bytes = self.read_name(bytes, visit)?,
                State::Text => {
                    let end = memchr::memchr(b'\n', bytes);
                    self.keep(&bytes[..end.unwrap_or(bytes.len())]);
                    if end.is_some() {
                        self.end_field();
                    }
                    bytes = &bytes[end.map_or(bytes.len(), |end| end + 1)..];
                }
                State::Length(known, length) => {
                    let length = length | u64::from(first) << (8 * known);
                    self.state = match known + 1 {
                        LENGTH_BYTES if length == 0 => State::BinaryEnd,
                        LENGTH_BYTES => State::Binary(length),
                        known => State::Length(known, length),
                    };
                    bytes = &bytes[1..];
                }
                State::Binary(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    self.keep(&bytes[..here]);
                    let left = left - here as u64;
                    self.state = if left == 0 { State::BinaryEnd } else { State::Binary(left) };
                    bytes = &bytes[here..];
                }
                State::BinaryEnd => {
                    if first != b'\n' {
                        return Err(self.invalid("no newline behind a binary value"));
                    }
                    self.end_field();
                    bytes = &bytes[1..];
                }
            }
        }
        Ok(())
    }

    /// Ends the stream: an entry whose last empty line is missing is one all the same.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) when it ends within a field, and those of `visit`.
    pub fn finish(mut self, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        if self.state != State::Name || !self.name.is_empty() {
            return Err(self.invalid("the stream ends within a field"));
        }
        self.end_entry(visit)
    }

    /// Reads up to the end of a name, or of the entry.
    fn read_name<'b>(
        &mut self,
        bytes: &'b [u8],
        visit: &mut dyn FnMut(Entry) -> Result<()>,
    ) -> Result<&'b [u8]> {
        let end = memchr::memchr2(b'=', b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if self.name.len() + part.len() > NAME_BYTES_MAX {
            return Err(self.invalid("a name is longer than 256 bytes"));
        }
        let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if !part.iter().all(is_plain) {
            return Err(
                self.invalid("a name has other bytes than letters, digits, '_', '.' and '-'")
            );
        }
        self.name.extend_from_slice(part);
        let Some(end) = end else { return Ok(&[]) };
        match (bytes[end], self.name.is_empty()) {
            (b'\n', true) => self.end_entry(visit)?,
            (b'\n', false) => self.state = State::Length(0, 0),
            (_, true) => return Err(self.invalid("a field has no name")),
            (_, false) => self.state = State::Text,
        }
        Ok(&bytes[end + 1..])
    }

    /// Adds bytes to the value, as far as they fit.
    fn keep(&mut self, bytes: &[u8]) {
        let used = self.entry_bytes + self.name.len() + self.value.len();
        let room = self.limits.entry_bytes_max.saturating_sub(used);
        let room = room.min(self.limits.value_bytes_max.saturating_sub(self.value.len()));
        let kept = bytes.len().min(room);
        self.value.extend_from_slice(&bytes[..kept]);
        self.entry.missing_bytes += (bytes.len() - kept) as u64;
    }

    fn end_field(&mut self) {
        self.state = State::Name;
        let has_room = self.entry.fields.len() < self.limits.fields_max
            && self.entry_bytes + self.name.len() <= self.limits.entry_bytes_max;
        if has_room {
            self.entry_bytes += self.name.len() + self.value.len();
            let text = |bytes: &[u8]| text_of_bytes(bytes).into_owned();
            self.entry.fields.push((text(&self.name), text(&self.value)));
        } else {
            self.entry.missing_bytes += (self.name.len() + self.value.len()) as u64;
        }
        self.name.clear();
        self.value.clear();
    }

    fn end_entry(&mut self, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.entry_bytes = 0;
        let entry = std::mem::take(&mut self.entry);
        if entry.fields.is_empty() { Ok(()) } else { visit(entry) }
    }

    fn invalid(&self, why: &str) -> Error {
        let name = String::from_utf8_lossy(&self.name);
        let behind = self.entry.fields.last().map_or("", |(name, _)| name);
        Error::invalid(format!(
            "not journal entries in the export format: {why} (field {name:.64?} behind {behind:.64?})"
        ))
    }
}

//! Lists of strings, front-coded: each is the length of the prefix it shares with the one before, and the rest.
//!
//! ```text
//! strings = count varint, total bytes varint, count × ( shared varint, len varint, bytes )
//! ```
//! Any list survives; sorted ones are small.

use model::{Error, Result};

use super::{Reader, put_bytes, put_count};

/// Bytes all strings of one list may have together.
pub const TEXT_BYTES_MAX: usize = 1 << 30;

/// Appends `strings` in the order given.
pub fn encode<'a>(strings: impl ExactSizeIterator<Item = &'a str> + Clone, out: &mut Vec<u8>) {
    put_count(out, strings.len());
    put_count(out, strings.clone().map(str::len).sum());
    let mut previous: &[u8] = &[];
    for string in strings {
        let bytes = string.as_bytes();
        let shared = previous.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        put_count(out, shared);
        put_bytes(out, &bytes[shared..]);
        previous = bytes;
    }
}

/// Strings back to back in one allocation, addressed by number; binary search needs a list that was sorted.
#[derive(Debug, Clone, Default)]
pub struct Table {
    text: String,
    ends: Vec<u32>,
}

impl Table {
    /// Reads a list written by [`encode`].
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input, or text that is not UTF-8.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        // Every string takes at least two bytes of input.
        let count = r.count(r.remaining() / 2 + 1)?;
        let total = r.count(TEXT_BYTES_MAX)?;
        let mut text: Vec<u8> = Vec::new();
        let mut ends = Vec::with_capacity(count);
        let mut start = 0;
        for _ in 0..count {
            let shared = r.count(text.len() - start)?;
            let rest = r.bytes()?;
            if text.len() + shared + rest.len() > total {
                return Err(Error::corrupt(format!(
                    "strings have over the declared {total} bytes"
                )));
            }
            let now = text.len();
            text.extend_from_within(start..start + shared);
            text.extend_from_slice(rest);
            if std::str::from_utf8(text.get(now..).unwrap_or_default()).is_err() {
                return Err(Error::corrupt(format!("string {} is not UTF-8", ends.len())));
            }
            start = now;
            ends.push(u32::try_from(text.len()).map_err(|_| Error::corrupt("strings over 4 GiB"))?);
        }
        let text = String::from_utf8(text).map_err(|_| Error::corrupt("strings are not UTF-8"))?;
        Ok(Self { text, ends })
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String number `i`; `None` past the end.
    pub fn get(&self, i: usize) -> Option<&str> {
        let end = *self.ends.get(i)? as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        self.text.get(start..end)
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        (0..self.len()).map(|i| self.get(i).unwrap_or(""))
    }

    /// Number of the string equal to `wanted`, if the list was sorted.
    pub fn find(&self, wanted: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.get(middle)?.cmp(wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Bytes it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 4
    }
}

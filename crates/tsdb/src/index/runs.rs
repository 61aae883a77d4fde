//! Posting lists as runs of neighbouring numbers: building, encoding, reading.
//!
//! ```text
//! postings = runs varint, runs × ( gap << 1 | longer varint [ length - 2 ] )      gap: from the end of the run before
//! ```

use model::{Error, Result};
use storage::codec::{Reader, put_count, put_varint};

/// A list that grows at its end, kept as it will be encoded.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Encoded runs but the last.
    closed: Vec<u8>,
    count: usize,
    /// End of the last closed run.
    after: u32,
    /// The last run.
    first: u32,
    len: u32,
}

impl Runs {
    /// The list of one number.
    pub(super) fn new(id: u32) -> Self {
        Self { first: id, len: 1, ..Self::default() }
    }

    /// Adds a number that is over the ones before.
    pub(super) fn push(&mut self, id: u32) {
        if self.first + self.len == id {
            self.len += 1;
            return;
        }
        put_run(self.first - self.after, self.len, &mut self.closed);
        self.count += 1;
        (self.after, self.first, self.len) = (self.first + self.len, id, 1);
    }

    /// Appends the list.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.count + 1);
        out.extend_from_slice(&self.closed);
        put_run(self.first - self.after, self.len, out);
    }
}

fn put_run(gap: u32, len: u32, out: &mut Vec<u8>) {
    put_varint(out, u64::from(gap) << 1 | u64::from(len > 1));
    if len > 1 {
        put_varint(out, u64::from(len) - 2);
    }
}

/// Reads a list run by run.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunCursor {
    position: usize,
    left: usize,
    after: u64,
}

impl RunCursor {
    /// At the start of the list at `position`.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) when it says that it has more runs than there are series.
    pub(super) fn new(postings: &[u8], position: usize, series: usize) -> Result<Self> {
        let mut r = Reader::new(postings.get(position..).unwrap_or_default());
        let left = r.count(series)?;
        Ok(Self { position: position + r.position(), left, after: 0 })
    }

    /// The next run `[first, end)`, read from the same postings; `None` at the end.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) on short input or a run that is not inside `[0, series)`.
    pub(super) fn next(&mut self, postings: &[u8], series: usize) -> Result<Option<(u32, u32)>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut r = Reader::new(postings.get(self.position..).unwrap_or_default());
        let head = r.varint()?;
        let len = if head & 1 == 0 { 1 } else { r.varint()?.saturating_add(2) };
        self.position += r.position();
        let first = self.after.saturating_add(head >> 1);
        self.after = first.saturating_add(len);
        match (u32::try_from(first), u32::try_from(self.after)) {
            (Ok(first), Ok(end)) if self.after <= series as u64 => Ok(Some((first, end))),
            _ => {
                let end = self.after;
                Err(Error::corrupt(format!("postings end at {end} of {series} series")))
            }
        }
    }

    /// Where the next run begins, or the next list.
    pub(super) fn position(&self) -> usize {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_survive(gaps in proptest::collection::vec(prop_oneof![4 => Just(1u32), 1 => 1u32..500], 1..200)) {
            let ids: Vec<u32> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let mut runs = Runs::new(ids[0]);
            ids[1..].iter().for_each(|id| runs.push(*id));
            let mut bytes = Vec::new();
            runs.encode(&mut bytes);
            let series = *ids.last().unwrap() as usize + 1;
            let mut back = Vec::new();
            let mut cursor = RunCursor::new(&bytes, 0, series).unwrap();
            while let Some((first, end)) = cursor.next(&bytes, series).unwrap() {
                back.extend(first..end);
            }
            prop_assert_eq!(cursor.position(), bytes.len());
            prop_assert_eq!(&back, &ids);
            let small = RunCursor::new(&bytes, 0, series - 1);
            let last = |mut cursor: RunCursor| loop {
                match cursor.next(&bytes, series - 1) {
                    Ok(Some(_)) => {}
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            prop_assert!(small.map_or(true, last), "the last number is refused");
        }
    }
}

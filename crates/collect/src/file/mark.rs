//! How far a file was read, and by what it is recognised: the cursor that is stored with the lines.
//!
//! A file is known by device and inode, and by its content: the hash of its first bytes, and that of the bytes in front
//! of the place up to which it was read. So a file is found again under another name, and compressed; and one that only
//! has the inode or the first lines of another is told apart.
//!
//! ```text
//!  cursor   "v1" and a line per file, the oldest first
//!  line     state dev ino offset head_len head_hash tail_len tail_hash mtime_ns
//!  state    'r' still read | 'c' the same, within a line whose first part was taken | 'd' done
//!           | 'k' a copy of another, of which nothing is read
//! ```

use std::fmt::Write as _;

use twox_hash::XxHash3_64;

/// First bytes of a file that identify it.
pub(crate) const HEAD_BYTES: usize = 1024;
/// Bytes in front of the position that must be the same still.
pub(crate) const TAIL_BYTES: usize = 256;
/// Most files in a cursor.
pub(crate) const MARKS_MAX: usize = 64;

/// How far one file was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// Bytes read, of the unpacked content if it is compressed; where a line begins.
    pub(crate) offset: u64,
    pub(crate) head_len: usize,
    pub(crate) head: u64,
    pub(crate) tail_len: usize,
    pub(crate) tail: u64,
    /// Time of the file's last change when it was last read, Unix nanoseconds.
    pub(crate) mtime_ns: i64,
    /// The line that continues at `offset` is longer than a line may be, and its beginning is stored.
    pub(crate) is_cut: bool,
    /// Nothing more is expected.
    pub(crate) is_done: bool,
    /// Nothing is read of it, for it is a copy.
    pub(crate) is_copy: bool,
}

impl Mark {
    /// Device and inode.
    pub(crate) fn id(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// Notes the first bytes and the last ones read.
    pub(crate) fn set_content(&mut self, head: &[u8], tail: &[u8]) {
        (self.head_len, self.head) = (head.len(), hash(head));
        (self.tail_len, self.tail) = (tail.len(), hash(tail));
    }

    /// Whether these are the first bytes that were noted.
    pub(crate) fn has_head(&self, head: &[u8]) -> bool {
        (self.head_len, self.head) == (head.len(), hash(head))
    }

    /// Whether these are the bytes that were noted.
    pub(crate) fn has_content(&self, head: &[u8], tail: &[u8]) -> bool {
        self.has_head(head) && (self.tail_len, self.tail) == (tail.len(), hash(tail))
    }
}

/// 0 of nothing.
fn hash(bytes: &[u8]) -> u64 {
    if bytes.is_empty() { 0 } else { XxHash3_64::oneshot(bytes) }
}

/// The cursor of `marks`.
pub(crate) fn encode(marks: impl Iterator<Item = Mark>) -> Vec<u8> {
    let mut text = "v1".to_owned();
    for m in marks {
        let state = match (m.is_copy, m.is_done, m.is_cut) {
            (true, ..) => 'k',
            (_, true, _) => 'd',
            (_, _, true) => 'c',
            _ => 'r',
        };
        // Writing to a String cannot fail.
        write!(
            text,
            "\n{state} {} {} {} {} {:x} {} {:x} {}",
            m.dev, m.ino, m.offset, m.head_len, m.head, m.tail_len, m.tail, m.mtime_ns
        )
        .unwrap_or_default();
    }
    text.into_bytes()
}

/// The marks of a cursor; `None` when it is none of ours.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Mark>> {
    let mut lines = std::str::from_utf8(bytes).ok()?.split('\n');
    if lines.next() != Some("v1") {
        return None;
    }
    let marks: Vec<Mark> = lines.take(MARKS_MAX + 1).map(decode_mark).collect::<Option<_>>()?;
    (marks.len() <= MARKS_MAX).then_some(marks)
}

fn decode_mark(line: &str) -> Option<Mark> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    let state = word()?;
    if !matches!(state, "k" | "d" | "c" | "r") {
        return None;
    }
    let mark = Mark {
        is_copy: state == "k",
        is_done: state == "d",
        is_cut: state == "c",
        dev: word()?.parse().ok()?,
        ino: word()?.parse().ok()?,
        offset: word()?.parse().ok()?,
        head_len: word()?.parse().ok()?,
        head: u64::from_str_radix(word()?, 16).ok()?,
        tail_len: word()?.parse().ok()?,
        tail: u64::from_str_radix(word()?, 16).ok()?,
        mtime_ns: word()?.parse().ok()?,
    };
    let is_sound = word().is_none()
        && mark.head_len <= HEAD_BYTES
        && mark.tail_len <= TAIL_BYTES
        && mark.head_len.max(mark.tail_len) as u64 <= mark.offset;
    is_sound.then_some(mark)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark() -> impl Strategy<Value = Mark> {
        let place = (any::<u64>(), any::<u64>(), any::<u64>(), any::<i64>());
        let content = (0..=HEAD_BYTES, any::<u64>(), 0..=TAIL_BYTES, any::<u64>());
        (place, content, 0..4_u8).prop_map(|((dev, ino, offset, mtime_ns), content, state)| {
            let (head_len, head, tail_len, tail) = content;
            let (is_cut, is_done, is_copy) = (state == 1, state == 2, state == 3);
            let most = usize::try_from(offset).unwrap_or(usize::MAX);
            let (head_len, tail_len) = (head_len.min(most), tail_len.min(most));
            let noted =
                Mark { dev, ino, offset, head_len, head, tail_len, tail, ..Mark::default() };
            Mark { mtime_ns, is_cut, is_done, is_copy, ..noted }
        })
    }

    proptest! {
        #[test]
        fn marks_come_back(marks in proptest::collection::vec(mark(), 0..MARKS_MAX)) {
            prop_assert_eq!(decode(&encode(marks.iter().cloned())), Some(marks));
        }

        #[test]
        fn noise_is_refused_or_comes_back(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..80),
            marks in proptest::collection::vec(mark(), 0..3),
            at in any::<proptest::sample::Index>(),
        ) {
            if let Some(read) = decode(&bytes) {
                prop_assert!(read.len() <= MARKS_MAX);
            }
            let mut text = encode(marks.into_iter());
            let at = at.index(text.len());
            text.splice(at..at + 1, bytes.drain(..));
            if let Some(read) = decode(&text) {
                prop_assert_eq!(decode(&encode(read.iter().cloned())), Some(read));
            }
        }
    }

    #[test]
    fn what_no_cursor_is_is_refused() {
        for text in [
            "",
            "v2",
            "v1\n",
            "v1\nx 1 2 3 0 0 0 0 0",
            "v1\nr 1 2 3 4 0 0 0 0",
            "v1\nr 1 2 3 0 0 0 0 0 0",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(decode(b"v1"), Some(Vec::new()));
        let many = vec![Mark::default(); MARKS_MAX + 1];
        assert_eq!(decode(&encode(many.into_iter())), None);
    }
}

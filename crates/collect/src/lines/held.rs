//! Lines that were read and are not stored yet, inside a cursor.
//!
//! ```text
//!  cursor   position [0 line…]                       the position has no byte 0
//!  line     output u8, time i64 LE (Unix ns), length u32 LE, text, and labels and fields when output is 255
//!  both     count u16 LE, then for each the lengths of name and value, u32 LE, and both
//! ```

use model::{Labels, LabelsBuilder};

/// The output of a line that has labels of its own.
pub(crate) const LABELLED: usize = u8::MAX as usize;

/// A line as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldLine {
    /// 0, 1 for a container's stderr, or [`LABELLED`].
    pub(crate) output: usize,
    /// Of one that is labelled, as are the fields beside it.
    pub(crate) labels: Labels,
    pub(crate) fields: Labels,
    /// Unix nanoseconds.
    pub(crate) t_ns: i64,
    pub(crate) text: String,
}

/// Output, time, and length of the text.
const HEADER_BYTES: usize = 1 + 8 + 4;

impl HeldLine {
    pub(crate) fn encoded_len(&self) -> usize {
        let of = |labels: &Labels| labels.packed_len() + 8 * labels.len() + 2;
        HEADER_BYTES + self.text.len() + of(&self.labels) + of(&self.fields)
    }
}

/// Puts `lines` behind a position.
pub(crate) fn encode(lines: &[HeldLine], cursor: &mut Vec<u8>) {
    if lines.is_empty() {
        return;
    }
    cursor.push(0);
    for line in lines {
        cursor.push(u8::try_from(line.output).unwrap_or(u8::MAX));
        cursor.extend_from_slice(&line.t_ns.to_le_bytes());
        let len = u32::try_from(line.text.len()).unwrap_or(u32::MAX);
        cursor.extend_from_slice(&len.to_le_bytes());
        cursor.extend_from_slice(line.text.as_bytes());
        if line.output == LABELLED {
            put_labels(&line.labels, cursor);
            put_labels(&line.fields, cursor);
        }
    }
}

fn put_labels(labels: &Labels, cursor: &mut Vec<u8>) {
    let count = u16::try_from(labels.len()).unwrap_or(u16::MAX);
    cursor.extend_from_slice(&count.to_le_bytes());
    for (name, value) in labels.iter().take(usize::from(count)) {
        for text in [name, value] {
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            cursor.extend_from_slice(&len.to_le_bytes());
            cursor.extend_from_slice(text.as_bytes());
        }
    }
}

/// The position and the lines of a cursor; `None` when the lines are none.
pub(crate) fn decode(cursor: &[u8]) -> Option<(&[u8], Vec<HeldLine>)> {
    let Some(end) = memchr::memchr(0, cursor) else { return Some((cursor, Vec::new())) };
    let (position, mut rest) = (cursor.get(..end)?, cursor.get(end + 1..)?);
    let mut lines = Vec::new();
    while !rest.is_empty() {
        let (header, behind) = rest.split_first_chunk::<9>()?;
        let output = usize::from(*header.first()?);
        let t_ns = i64::from_le_bytes(header.get(1..)?.try_into().ok()?);
        rest = behind;
        let text = take_text(&mut rest)?.to_owned();
        let (mut labels, mut fields) = (Labels::default(), Labels::default());
        if output == LABELLED {
            labels = take_labels(&mut rest)?;
            fields = take_labels(&mut rest)?;
        }
        lines.push(HeldLine { output, labels, fields, t_ns, text });
    }
    // Without lines there is no byte 0.
    (!lines.is_empty()).then_some((position, lines))
}

fn take_text<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    let (len, behind) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (text, behind) = behind.split_at_checked(len)?;
    *rest = behind;
    std::str::from_utf8(text).ok()
}

/// Labels as they are written: in order, none twice, none without a value.
fn take_labels(rest: &mut &[u8]) -> Option<Labels> {
    let (count, behind) = rest.split_first_chunk::<2>()?;
    *rest = behind;
    let mut builder = LabelsBuilder::default();
    let mut last = None;
    for _ in 0..u16::from_le_bytes(*count) {
        let (name, value) = (take_text(rest)?, take_text(rest)?);
        if value.is_empty() || last.is_some_and(|last| last >= name) {
            return None;
        }
        builder.set(name, value);
        last = Some(name);
    }
    Some(builder.build())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line() -> impl Strategy<Value = HeldLine> {
        let labels = prop::collection::btree_map("[a-z]{1,3}", "(?s).{1,5}", 0..3);
        let output = prop_oneof![0..2_usize, Just(LABELLED)];
        (output, any::<i64>(), "(?s).{0,20}", labels).prop_map(|(output, t_ns, text, labels)| {
            let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let labels = Labels::from_pairs(labels.filter(|_| output == LABELLED));
            HeldLine { output, fields: labels.clone(), labels, t_ns, text }
        })
    }

    proptest! {
        #[test]
        fn lines_come_back(position in "[a-z0-9 |-]{0,30}", lines in prop::collection::vec(line(), 0..5)) {
            let mut cursor = position.clone().into_bytes();
            encode(&lines, &mut cursor);
            prop_assert_eq!(decode(&cursor), Some((position.as_bytes(), lines)));
        }

        #[test]
        fn noise_is_refused_or_comes_back(noise in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut cursor = b"1 2\0".to_vec();
            cursor.extend_from_slice(&noise);
            for cursor in [&cursor, &noise] {
                if let Some((position, lines)) = decode(cursor) {
                    let mut again = position.to_vec();
                    encode(&lines, &mut again);
                    prop_assert_eq!(&again, cursor);
                }
            }
        }
    }
}

//! Lines that were read and are not stored yet, inside a cursor.
//!
//! ```text
//!  cursor   position [0 line…]                       the position has no byte 0
//!  line     output u8, time i64 LE (Unix ns), length u32 LE, text
//! ```

/// A line as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldLine {
    /// 0, or 1 for a container's stderr.
    pub(crate) output: usize,
    /// Unix nanoseconds.
    pub(crate) t_ns: i64,
    pub(crate) text: String,
}

const HEADER_BYTES: usize = 1 + 8 + 4;

impl HeldLine {
    pub(crate) fn encoded_len(&self) -> usize {
        HEADER_BYTES + self.text.len()
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
    }
}

/// The position and the lines of a cursor; `None` when the lines are none.
pub(crate) fn decode(cursor: &[u8]) -> Option<(&[u8], Vec<HeldLine>)> {
    let Some(end) = memchr::memchr(0, cursor) else { return Some((cursor, Vec::new())) };
    let (position, mut rest) = (cursor.get(..end)?, cursor.get(end + 1..)?);
    let mut lines = Vec::new();
    while !rest.is_empty() {
        let (header, behind) = rest.split_at_checked(HEADER_BYTES)?;
        let t_ns = i64::from_le_bytes(header.get(1..9)?.try_into().ok()?);
        let len = u32::from_le_bytes(header.get(9..)?.try_into().ok()?);
        let (text, behind) = behind.split_at_checked(usize::try_from(len).ok()?)?;
        let text = std::str::from_utf8(text).ok()?.to_owned();
        lines.push(HeldLine { output: usize::from(*header.first()?), t_ns, text });
        rest = behind;
    }
    // Without lines there is no byte 0.
    (!lines.is_empty()).then_some((position, lines))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line() -> impl Strategy<Value = HeldLine> {
        (0..256_usize, any::<i64>(), "(?s).{0,20}").prop_map(|(output, t_ns, text)| HeldLine {
            output,
            t_ns,
            text,
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

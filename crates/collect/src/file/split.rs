//! From bytes of a file to lines: newlines, the longest line, encodings.
//!
//! Nothing is kept between calls but where the next line begins and whether its beginning was taken already, so that a
//! file is read on from its offset alone.

use std::borrow::Cow;

use encoding_rs::Encoding as Charset;
use model::text_of_bytes;

/// Longest line kept in bytes; the rest is cut and said so in the line.
pub(crate) const LINE_BYTES_MAX: usize = ingest::docker::frames::LINE_BYTES_MAX;

/// How the text of a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8; what is none is kept as it is.
    Utf8,
    /// Two bytes a unit, newlines among them; the byte order mark, if there is one, wins over `is_big`.
    Utf16 {
        /// The high byte comes first.
        is_big: bool,
    },
    /// Any in which the byte 0x0A is a newline and nothing else.
    Other(&'static Charset),
}

impl Encoding {
    /// The encoding by one of its names in the WHATWG's table (`utf-16le`, `latin1`, `shift_jis`, …).
    pub fn by_name(name: &str) -> Option<Self> {
        let charset = Charset::for_label_no_replacement(name.as_bytes())?;
        if charset == encoding_rs::UTF_8 {
            return Some(Self::Utf8);
        }
        if charset == encoding_rs::UTF_16LE || charset == encoding_rs::UTF_16BE {
            return Some(Self::Utf16 { is_big: charset == encoding_rs::UTF_16BE });
        }
        // The one left that has states, which a line by itself does not tell.
        (charset != encoding_rs::ISO_2022_JP).then_some(Self::Other(charset))
    }

    /// What the first bytes of the file say.
    pub(crate) fn with_mark(self, head: &[u8]) -> Self {
        match (self, head) {
            (Self::Utf16 { .. }, [0xFE, 0xFF, ..]) => Self::Utf16 { is_big: true },
            (Self::Utf16 { .. }, [0xFF, 0xFE, ..]) => Self::Utf16 { is_big: false },
            _ => self,
        }
    }

    fn unit_bytes(self) -> usize {
        if matches!(self, Self::Utf16 { .. }) { 2 } else { 1 }
    }

    /// Where the first newline of `bytes` begins.
    fn newline(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Utf16 { is_big } => {
                let newline: [u8; 2] = if is_big { [0, b'\n'] } else { [b'\n', 0] };
                bytes.chunks_exact(2).position(|unit| unit == newline).map(|unit| unit * 2)
            }
            Self::Utf8 | Self::Other(_) => memchr::memchr(b'\n', bytes),
        }
    }

    /// `line` without the carriage return at its end.
    fn without_return(self, line: &[u8]) -> &[u8] {
        let carriage_return: &[u8] = match self {
            Self::Utf16 { is_big: true } => &[0, b'\r'],
            Self::Utf16 { is_big: false } => &[b'\r', 0],
            Self::Utf8 | Self::Other(_) => b"\r",
        };
        line.strip_suffix(carriage_return).unwrap_or(line)
    }

    /// The line as text.
    pub(crate) fn decode(self, line: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => text_of_bytes(line),
            Self::Utf16 { is_big } => {
                let charset = if is_big { encoding_rs::UTF_16BE } else { encoding_rs::UTF_16LE };
                charset.decode_with_bom_removal(line).0
            }
            Self::Other(charset) => charset.decode_without_bom_handling(line).0,
        }
    }

    /// At most so many bytes of `line`, not ending within a character as far as that can be seen.
    fn head_of_line(self, line: &[u8], bytes_max: usize) -> &[u8] {
        let mut end = bytes_max.min(line.len());
        match self {
            // A continuation byte belongs to what stands before it.
            Self::Utf8 => {
                let is_inside = |end: usize| line.get(end).is_some_and(|b| b & 0xC0 == 0x80);
                if let Some(start) = (0..4).map(|n| end.saturating_sub(n)).find(|e| !is_inside(*e))
                {
                    end = start;
                }
            }
            Self::Utf16 { .. } => end &= !1,
            Self::Other(_) => {}
        }
        line.get(..end).unwrap_or(line)
    }
}

/// What came of some bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Split {
    /// Bytes done with.
    pub(crate) consumed: usize,
    /// Bytes of lines that were cut away.
    pub(crate) cut_bytes: u64,
    /// Lines that were cut.
    pub(crate) cut_lines: u64,
}

/// Cuts `bytes` into lines and gives each to `take`.
///
/// `is_cut` says that `bytes` begins within a line whose beginning was taken, and is kept up to date. Bytes without a
/// newline are left for later unless `to_the_end`, or unless they are as many as `bytes_max`, which is above
/// [`LINE_BYTES_MAX`]: then they are the beginning of a line that is cut.
pub(crate) fn split(
    encoding: Encoding,
    bytes: &[u8],
    is_cut: &mut bool,
    to_the_end: bool,
    bytes_max: usize,
    mut take: impl FnMut(&str),
) -> Split {
    let mut done = Split::default();
    loop {
        let rest = bytes.get(done.consumed..).unwrap_or_default();
        if rest.is_empty() {
            return done;
        }
        let newline = encoding.newline(rest);
        let line = rest.get(..newline.unwrap_or(rest.len())).unwrap_or_default();
        let behind = newline.map_or(line.len(), |at| at + encoding.unit_bytes());
        let is_whole = newline.is_some() || to_the_end;
        if *is_cut {
            // Units are not torn apart.
            let skipped = if is_whole { behind } else { behind - behind % encoding.unit_bytes() };
            done.cut_bytes += line.len().min(skipped) as u64;
            done.consumed += skipped;
            *is_cut = !is_whole;
            if !is_whole {
                return done;
            }
            continue;
        }
        if !is_whole && rest.len() < bytes_max {
            return done;
        }
        let line = if is_whole { encoding.without_return(line) } else { line };
        if line.len() <= LINE_BYTES_MAX {
            done.consumed += behind;
            take(&encoding.decode(line));
            continue;
        }
        let kept = encoding.head_of_line(line, LINE_BYTES_MAX);
        let mut text = encoding.decode(kept).into_owned();
        let missing = line.len() - kept.len();
        done.cut_lines += 1;
        if is_whole {
            text.push_str(&format!("…[truncated {missing} bytes]"));
            done.consumed += behind;
            done.cut_bytes += missing as u64;
        } else {
            // How much more will come is not known.
            text.push_str("…[truncated]");
            done.consumed += kept.len();
            *is_cut = true;
        }
        take(&text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = LINE_BYTES_MAX + 1000;

    /// Lines of `bytes`, read in windows of `BYTES_MAX` and pieces that grow by `step`, and the bytes cut.
    fn lines(encoding: Encoding, bytes: &[u8], step: usize) -> (Vec<String>, u64) {
        let (mut lines, mut at, mut is_cut, mut cut_bytes) = (Vec::new(), 0, false, 0);
        let mut end = 0;
        while at < bytes.len() {
            let is_last = end >= bytes.len();
            let window = &bytes[at..end.min(bytes.len()).min(at + BYTES_MAX)];
            let to_the_end = is_last && at + window.len() == bytes.len();
            let done = split(encoding, window, &mut is_cut, to_the_end, BYTES_MAX, |line| {
                lines.push(line.to_owned());
            });
            at += done.consumed;
            cut_bytes += done.cut_bytes;
            end += step;
        }
        (lines, cut_bytes)
    }

    #[test]
    fn lines_end_at_newlines() {
        for (text, expected) in [
            ("a\nb\r\n\nc", vec!["a", "b", "", "c"]),
            ("\r\n\n", vec!["", ""]),
            ("a\rb\n", vec!["a\rb"]),
            ("a\0b\n", vec!["a\0b"]),
        ] {
            for step in 1..5 {
                assert_eq!(lines(Encoding::Utf8, text.as_bytes(), step).0, expected);
            }
        }
        let broken = lines(Encoding::Utf8, b"caf\xe9\nx\n", 3).0;
        assert_eq!(model::bytes_of_text(&broken[0]), b"caf\xe9".as_slice());
    }

    #[test]
    fn encodings_are_read_by_name() {
        let utf16 = |text: &str, is_big: bool| -> Vec<u8> {
            text.encode_utf16()
                .flat_map(|unit| if is_big { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect()
        };
        let text = "\u{feff}Zürich 🐟\r\n\u{a00}\u{0a0a}b\nlast";
        let expected = ["Zürich 🐟", "\u{a00}\u{a0a}b", "last"];
        for is_big in [false, true] {
            let bytes = utf16(text, is_big);
            for step in 1..7 {
                let encoding = Encoding::by_name("UTF-16LE").unwrap().with_mark(&bytes);
                assert_eq!(lines(encoding, &bytes, step).0, expected);
            }
        }
        let latin = Encoding::by_name("latin1").unwrap();
        assert_eq!(lines(latin, b"caf\xe9\n", 9).0, ["café"]);
        let japanese = Encoding::by_name("shift_jis").unwrap();
        assert_eq!(lines(japanese, b"\x93\xfa\x96\x7b\n", 9).0, ["日本"]);
        assert_eq!(Encoding::by_name("utf-8"), Some(Encoding::Utf8));
        for name in ["", "utf-99", "iso-2022-jp", "hz-gb-2312"] {
            assert_eq!(Encoding::by_name(name), None, "{name}");
        }
    }

    #[test]
    fn long_lines_are_cut_once_and_counted() {
        let long = |len: usize| "é".repeat(len / 2);
        let marked =
            |missing: usize| format!("{}…[truncated {missing} bytes]", long(LINE_BYTES_MAX));
        let line = |len: usize| format!("first\n{}\nlast\n", long(len));
        let (got, cut) = lines(Encoding::Utf8, line(LINE_BYTES_MAX).as_bytes(), 4096);
        assert_eq!((got[1].len(), cut), (LINE_BYTES_MAX, 0));
        let (got, cut) = lines(Encoding::Utf8, line(LINE_BYTES_MAX + 10).as_bytes(), 1 << 20);
        assert_eq!((&got[1], cut), (&marked(10), 10));
        // A character more at the front, so that the cut would fall into one.
        let odd = format!("x{}\nlast\n", long(LINE_BYTES_MAX));
        assert!(
            lines(Encoding::Utf8, odd.as_bytes(), 1 << 20).0[0].contains("é…[truncated 2 bytes]")
        );
        // Longer than what is looked at: the length is not known in advance.
        let (got, cut) = lines(Encoding::Utf8, line(3 * BYTES_MAX).as_bytes(), 4096);
        assert_eq!((got.len(), got[2].as_str()), (3, "last"));
        assert_eq!(got[1], format!("{}…[truncated]", long(LINE_BYTES_MAX)));
        assert_eq!(cut, (3 * BYTES_MAX - LINE_BYTES_MAX) as u64);
    }

    proptest! {
        #[test]
        fn noise_is_kept_byte_for_byte(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            step in 1..50_usize,
        ) {
            let (got, cut) = lines(Encoding::Utf8, &bytes, step);
            let mut expected: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            let expected: Vec<&[u8]> =
                expected.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
            let got: Vec<Vec<u8>> =
                got.iter().map(|line| model::bytes_of_text(line).into_owned()).collect();
            prop_assert_eq!(got, expected);
            prop_assert_eq!(cut, 0);
            for big in [false, true] {
                // Whatever it is, it ends.
                let _ = lines(Encoding::Utf16 { is_big: big }, &bytes, step);
            }
        }
    }
}

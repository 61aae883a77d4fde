//! The way in for the fuzz target of what is read around log files: cursors and the lines in them, positions files,
//! patterns, and the lines.

use std::path::Path;

use super::split::{Encoding, LINE_BYTES_MAX, split};
use super::{Pattern, Positions, mark};
use crate::lines::held;

/// Reads `bytes` as each of them.
///
/// # Panics
/// When something read does not come back as it was, or bytes are lost.
pub fn file_texts(bytes: &[u8]) {
    if let Some(marks) = mark::decode(bytes) {
        assert_eq!(mark::decode(&mark::encode(marks.iter().cloned())), Some(marks));
    }
    if let Some((position, lines)) = held::decode(bytes) {
        let mut again = position.to_vec();
        held::encode(&lines, &mut again);
        assert_eq!(again, bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    drop(Positions::parse(&text));
    if let Ok(pattern) = Pattern::parse(&text) {
        pattern.matches(Path::new("/var/log/a.log"));
        pattern.matches(Path::new(text.as_ref()));
    }
    for encoding in [Encoding::Utf8, Encoding::Utf16 { is_big: false }] {
        let (mut is_cut, mut line_bytes) = (false, 0);
        let done = split(encoding, bytes, &mut is_cut, true, LINE_BYTES_MAX + 8, |line| {
            line_bytes += line.len();
        });
        assert_eq!(done.consumed, bytes.len());
        // A byte that is not UTF-8 becomes three.
        assert!(line_bytes <= bytes.len() * 3 + 64);
    }
}

//! Bytes of any kind as text and back, so that a line that is not UTF-8 is kept as it was.
//!
//! A byte that is not part of UTF-8 becomes the private character U+EF80 to U+EFFF of its lower seven bits. Bytes that
//! spell such a character themselves are treated as if they were not UTF-8, so that every text stands for one sequence
//! of bytes only. Everything else stays itself, and can be searched for.

use std::borrow::Cow;

const FIRST: u32 = 0xEF80;
/// What the encoding of U+EF80 … U+EFFF begins with; the second byte is 0xBE or 0xBF.
const LEAD: u8 = 0xEE;

fn is_private(c: char) -> bool {
    (FIRST..FIRST + 0x80).contains(&u32::from(c))
}

fn stand_in(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte & 0x7F)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The text that stands for `bytes`; they themselves if they are UTF-8 without the private characters.
pub fn text_of_bytes(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&LEAD) || !text.contains(is_private) => Cow::Borrowed(text),
        _ => Cow::Owned(kept(bytes)),
    }
}

fn kept(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_private(c) {
                text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(stand_in));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| stand_in(*byte)));
    }
    text
}

/// The bytes for which `text` stands.
pub fn bytes_of_text(text: &str) -> Cow<'_, [u8]> {
    if !has_bytes(text) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        if is_private(c) {
            bytes.push((u32::from(c) - FIRST) as u8 | 0x80);
        } else {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Cow::Owned(bytes)
}

/// `text` as it may be shown: U+FFFD in the place of bytes that are not UTF-8.
pub fn shown_text(text: &str) -> Cow<'_, str> {
    match bytes_of_text(text) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Whether `text` stands for bytes other than its own.
fn has_bytes(text: &str) -> bool {
    text.as_bytes().contains(&LEAD) && text.contains(is_private)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_of_bytes_comes_back() {
        let pieces: [&[u8]; 9] = [
            b"a",
            b"\0",
            b"\xff",
            b"\x80",
            b"\xee\xbe\x80",
            b"\xee\xbf\xbf",
            b"\xee\xbe",
            b"\xe2\x82\xac",
            b"\xc3",
        ];
        let mut seen = std::collections::HashMap::new();
        for i in 0..9_usize.pow(4) {
            let bytes: Vec<u8> = (0..4)
                .flat_map(|place| pieces[i / 9_usize.pow(place) % 9].iter().copied())
                .collect();
            let text = text_of_bytes(&bytes).into_owned();
            assert_eq!(bytes_of_text(&text), bytes, "{bytes:x?}");
            assert_eq!(shown_text(&text), String::from_utf8_lossy(&bytes));
            assert_eq!(seen.insert(text, bytes.clone()).unwrap_or(bytes.clone()), bytes);
        }
    }

    #[test]
    fn plain_text_is_itself() {
        for text in ["", "GET / 200", "Zürich €", "\u{ee00} of others"] {
            assert!(matches!(text_of_bytes(text.as_bytes()), Cow::Borrowed(t) if t == text));
            assert!(matches!(bytes_of_text(text), Cow::Borrowed(_)));
        }
        assert_eq!(shown_text(&text_of_bytes(b"caf\xe9")), "caf\u{fffd}");
        assert!(text_of_bytes(b"caf\xe9 au lait").contains(" au lait"));
    }
}

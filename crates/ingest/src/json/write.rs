//! The other direction: JSON written as it is made, without a tree.
//!
//! Commas are seen to; that members are named and containers closed is seen to by the shape of the calls.

use std::fmt::{Display, Write as _};

/// Appends values to a text.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: String,
    /// Whether something stands before the next value in its list or object.
    is_after: bool,
}

/// A piece of a text that is written while it is sent is given out when it has so many bytes.
const PIECE_BYTES: usize = 64 << 10;

impl Writer {
    /// Whether enough is there for a piece.
    pub(crate) fn has_piece(&self) -> bool {
        self.out.len() >= PIECE_BYTES
    }

    /// What was written so far; `None` when that is nothing. What follows is written behind it.
    pub(crate) fn take_piece(&mut self) -> Option<Vec<u8>> {
        let piece = std::mem::take(&mut self.out).into_bytes();
        Some(piece).filter(|piece| !piece.is_empty())
    }

    /// The beginning of a list or an object, for those that do not fit into one piece.
    pub(crate) fn open(&mut self, bracket: char) {
        self.separate();
        self.out.push(bracket);
        self.is_after = false;
    }

    /// Its end.
    pub(crate) fn close(&mut self, bracket: char) {
        self.out.push(bracket);
        self.is_after = true;
    }

    /// Members of an object that another writer wrote.
    pub(crate) fn members(&mut self, written: &str) {
        self.separate();
        self.out.push_str(written);
    }

    /// Appends what stands as it is around the value.
    pub(crate) fn around(&mut self, text: &str) {
        self.out.push_str(text);
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// A list; `items` writes values.
    pub(crate) fn list(&mut self, items: impl FnOnce(&mut Self)) {
        self.within('[', ']', items);
    }

    /// An object; `members` writes a [`key`](Self::key) before each value.
    pub(crate) fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.within('{', '}', members);
    }

    pub(crate) fn key(&mut self, name: &str) -> &mut Self {
        self.text(name);
        self.out.push(':');
        self.is_after = false;
        self
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.separate();
        quote(text, &mut self.out);
    }

    /// What needs no escapes, between quotes.
    pub(crate) fn plain_text(&mut self, text: impl Display) {
        self.separate();
        let _infallible = write!(self.out, "\"{text}\"");
    }

    /// A number, a truth value or `null`.
    pub(crate) fn bare(&mut self, value: impl Display) {
        self.separate();
        let _infallible = write!(self.out, "{value}");
    }

    /// A number; what is none as the text that protocol buffers have for it.
    pub(crate) fn double(&mut self, value: f64) {
        if value.is_finite() {
            self.bare(format_args!("{value:?}"));
        } else if value.is_nan() {
            self.plain_text("NaN");
        } else {
            self.plain_text(if value > 0.0 { "Infinity" } else { "-Infinity" });
        }
    }

    fn within(&mut self, open: char, close: char, content: impl FnOnce(&mut Self)) {
        self.open(open);
        content(self);
        self.close(close);
    }

    fn separate(&mut self) {
        if std::mem::replace(&mut self.is_after, true) {
            self.out.push(',');
        }
    }
}

/// `text` between quotes, with escapes.
pub(crate) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json() {
        let mut writer = Writer::default();
        writer.object(|json| {
            json.key("a\"\u{1}").list(|json| {
                json.bare(1);
                json.list(|_| {});
                json.object(|json| json.key("x").text("\n\u{7f}é"));
                json.double(1e300);
                json.double(f64::NEG_INFINITY);
                json.double(2.0);
            });
            json.key("b").plain_text(7);
            json.key("c").bare("null");
        });
        let json = writer.finish();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let expected = serde_json::json!({
            "a\"\u{1}": [1, [], {"x": "\n\u{7f}é"}, 1e300, "-Infinity", 2.0], "b": "7", "c": null});
        assert_eq!(value, expected, "{json}");
    }
}

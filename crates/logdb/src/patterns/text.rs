//! A pattern as text: literals and `<_>`, as LogQL's `|>` takes it.
//!
//! Of a line with a message (`"msg":"…"` of a JSON object, `msg="…"` of logfmt, the text of a klog line), the message is
//! taken apart as a line is; other strings are values. Of a JSON object with a message nothing else is told. Only the first
//! line of a text with several is looked at. Values next to each other, with nothing but punctuation between them, are one.

use std::borrow::Cow;

use crate::split::is_token_byte;

/// How a value is written.
pub(crate) const VALUE: &str = "<_>";
/// Bytes of a pattern, about; what follows is a value.
const TEXT_BYTES_MAX: usize = 1024;
/// Values of a pattern: `|>` takes 64. What follows is part of the last one.
const VALUES_MAX: usize = 60;
/// Values of a message, so that there is room beside it.
const MESSAGE_VALUES_MAX: usize = 40;
/// Keys under which loggers put what is for people to read; the first of these that is there.
const MESSAGE_KEYS: [&str; 11] = [
    "message",
    "msg",
    "_msg",
    "@message",
    "MESSAGE",
    "short_message",
    "textPayload",
    "log",
    "event",
    "body",
    "content",
];
/// Letters that could be a number in hexadecimal digits are one from this length on.
const HEX_LETTERS_MIN: usize = 8;

/// The pattern of a line with these literals between its slots; `message` is a slot and what is written for it.
pub(crate) fn of_line(literals: &[&[u8]], message: Option<(usize, &str)>) -> String {
    let is_json = literals.first().is_some_and(|l| l.starts_with(b"{"));
    if let (true, Some((slot, inner))) = (is_json, message) {
        let (before, after) = (literals[slot], literals[slot + 1]);
        let key = key_start(before).unwrap_or(0);
        let mut writer = Writer::new(VALUES_MAX);
        writer.value();
        writer.literal(&String::from_utf8_lossy(&before[key..]));
        writer.pattern(inner);
        writer.literal(if after.is_empty() { "" } else { "\"" });
        writer.value();
        return writer.finish();
    }
    write(literals, message, VALUES_MAX, "\n")
}

/// The pattern of a message, in which a newline is an escape.
pub(crate) fn of_message(literals: &[&[u8]]) -> String {
    write(literals, None, MESSAGE_VALUES_MAX, "\\n")
}

fn write(
    literals: &[&[u8]],
    message: Option<(usize, &str)>,
    values_max: usize,
    newline: &str,
) -> String {
    let mut writer = Writer::new(values_max);
    for (i, literal) in literals.iter().enumerate() {
        let text = String::from_utf8_lossy(literal);
        let end = text.find(newline);
        writer.literal(end.map_or(&text, |end| &text[..end]));
        if end.is_some() {
            writer.value();
            break;
        }
        match message {
            _ if i + 1 == literals.len() => {}
            Some((slot, inner)) if slot == i => writer.pattern(inner),
            _ => writer.value(),
        }
    }
    writer.finish()
}

/// `text`, in which words were replaced by values, with values put together where they are one.
pub(crate) fn normalised(text: &str) -> String {
    let mut writer = Writer::new(VALUES_MAX);
    writer.pattern(text);
    writer.finish()
}

/// Which slot is the message, if any: told by what stands around it.
pub(crate) fn message_slot(literals: &[&[u8]]) -> Option<usize> {
    let is_json = literals.first()?.starts_with(b"{");
    let mut best: Option<(usize, usize)> = None;
    let mut depth = 0_i32;
    for slot in 0..literals.len() - 1 {
        let before = literals[slot];
        let found = if is_json {
            depth +=
                before.iter().map(|b| i32::from(*b == b'{') - i32::from(*b == b'}')).sum::<i32>();
            json_key(before, depth)
        } else {
            logfmt_key(before).or_else(|| {
                // klog: `I0101 … file.go:12] "message" key="value"`.
                let after_bracket = before == b"] \"" && slot > 0;
                (after_bracket && !literals[slot - 1].ends_with(b"[")).then_some(MESSAGE_KEYS.len())
            })
        };
        if let Some(rank) = found.filter(|rank| best.is_none_or(|(known, _)| *rank < known)) {
            best = Some((rank, slot));
        }
    }
    best.map(|(_, slot)| slot)
}

/// Where in the literal before a JSON string its key begins, at the quote.
fn key_start(before: &[u8]) -> Option<usize> {
    let before = before.strip_suffix(b"\"")?.trim_ascii_end().strip_suffix(b":")?;
    let before = before.trim_ascii_end().strip_suffix(b"\"")?;
    before.iter().rposition(|b| *b == b'"')
}

fn json_key(before: &[u8], depth: i32) -> Option<usize> {
    let start = key_start(before)?;
    let key = before.get(start + 1..)?.split(|b| *b == b'"').next()?;
    match depth {
        1 => rank(key),
        // Rust's tracing has its fields in an object.
        2 => {
            let parent = before[..start].trim_ascii_end().strip_suffix(b"{")?.trim_ascii_end();
            let parent = parent.strip_suffix(b":")?.trim_ascii_end();
            parent.ends_with(b"\"fields\"").then(|| rank(key)).flatten()
        }
        _ => None,
    }
}

/// Of `msg="` at the end of a literal.
fn logfmt_key(before: &[u8]) -> Option<usize> {
    let before = before.strip_suffix(b"=\"")?;
    rank(before.rsplit(|b| matches!(b, b' ' | b'\t')).next()?)
}

fn rank(key: &[u8]) -> Option<usize> {
    MESSAGE_KEYS.iter().position(|known| known.as_bytes() == key)
}

/// Writes a pattern piece by piece.
struct Writer {
    out: String,
    /// Literal behind the last value.
    gap: String,
    values: usize,
    values_max: usize,
    is_full: bool,
}

impl Writer {
    fn new(values_max: usize) -> Self {
        Self { out: String::new(), gap: String::new(), values: 0, values_max, is_full: false }
    }

    /// A pattern that is written already.
    fn pattern(&mut self, text: &str) {
        for (i, literal) in text.split(VALUE).enumerate() {
            if i > 0 {
                self.value();
            }
            self.gap.push_str(literal);
        }
    }

    /// Literal text, of which some words are values nevertheless.
    fn literal(&mut self, text: &str) {
        let mut rest = text;
        while let Some((start, end)) = value_within(rest) {
            self.gap.push_str(&rest[..start]);
            self.value();
            rest = &rest[end..];
        }
        self.gap.push_str(rest);
    }

    fn value(&mut self) {
        if self.is_full || (self.values > 0 && is_joint(&self.gap)) {
            self.gap.clear();
            return;
        }
        // The sign of a number.
        if let Some(before) = self.gap.strip_suffix(['-', '+'])
            && (before.is_empty() || before.ends_with([' ', '\t', '=', ':', ',', '(', '[']))
        {
            self.gap.pop();
        }
        self.put_gap();
        if self.is_full {
            return;
        }
        self.out.push_str(VALUE);
        self.values += 1;
        self.is_full = self.values >= self.values_max;
    }

    fn put_gap(&mut self) {
        let room = TEXT_BYTES_MAX.saturating_sub(self.out.len());
        if self.gap.len() > room {
            let end = self.gap.floor_char_boundary(room);
            self.out.push_str(&self.gap[..end]);
            if !self.out.ends_with(VALUE) {
                self.out.push_str(VALUE);
            }
            self.is_full = true;
        } else {
            self.out.push_str(&self.gap);
        }
        self.gap.clear();
    }

    fn finish(mut self) -> String {
        if !self.is_full {
            self.put_gap();
        }
        self.out
    }
}

/// Whether values with `gap` between them are one.
fn is_joint(gap: &str) -> bool {
    gap.bytes().all(|b| !is_token_byte(b) && !matches!(b, b' ' | b'\t' | b'=' | b'"' | b'{' | b'}'))
}

/// The first word of a literal that is a value: letters that are hexadecimal digits, and a name in angle brackets, which
/// `|>` would take for a capture.
fn value_within(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !is_token_byte(bytes[at]) {
            at += 1;
            continue;
        }
        let len = bytes[at..].iter().take_while(|b| is_token_byte(**b)).count();
        let word = &bytes[at..at + len];
        let is_hex = len >= HEX_LETTERS_MIN && word.iter().all(u8::is_ascii_hexdigit);
        let is_capture = at > 0
            && bytes[at - 1] == b'<'
            && bytes.get(at + len) == Some(&b'>')
            && word.is_ascii();
        if is_hex || is_capture {
            return Some((at, at + len));
        }
        at += len;
    }
    None
}

/// Words of a pattern, for telling which ones vary.
pub(crate) struct Words<'t> {
    /// Bytes `[start, end)` of each word.
    pub(crate) ranges: Vec<(usize, usize)>,
    text: &'t str,
}

impl<'t> Words<'t> {
    /// Splits `text` at white space and most punctuation; `<_>` belongs to the word it is in.
    pub(crate) fn new(text: &'t str) -> Self {
        let bytes = text.as_bytes();
        let mut ranges = Vec::new();
        let (mut at, mut start) = (0, None);
        while at < bytes.len() {
            let is_value = bytes[at..].starts_with(VALUE.as_bytes());
            if is_value || !is_separator(bytes[at]) {
                start.get_or_insert(at);
                at += if is_value { VALUE.len() } else { 1 };
                continue;
            }
            ranges.extend(start.take().map(|start| (start, at)));
            at += 1;
        }
        ranges.extend(start.map(|start| (start, at)));
        Self { ranges, text }
    }

    /// Word `i`.
    pub(crate) fn get(&self, i: usize) -> &'t str {
        self.ranges.get(i).and_then(|(start, end)| self.text.get(*start..*end)).unwrap_or("")
    }

    /// What stands before each word, and behind the last.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = &'t str> {
        let starts = std::iter::once(0).chain(self.ranges.iter().map(|(_, end)| *end));
        let ends = self.ranges.iter().map(|(start, _)| *start).chain([self.text.len()]);
        starts.zip(ends).map(|(start, end)| self.text.get(start..end).unwrap_or(""))
    }

    /// The text with the words for which `is_value` is true replaced by values, not put together.
    pub(crate) fn replaced(&self, is_value: impl Fn(usize) -> bool) -> Cow<'t, str> {
        if !(0..self.ranges.len()).any(&is_value) {
            return Cow::Borrowed(self.text);
        }
        let mut out = String::with_capacity(self.text.len());
        for (i, gap) in self.gaps().enumerate() {
            out.push_str(gap);
            if i < self.ranges.len() {
                out.push_str(if is_value(i) { VALUE } else { self.get(i) });
            }
        }
        Cow::Owned(out)
    }
}

fn is_separator(b: u8) -> bool {
    matches!(
        b,
        b' ' | b'\t'
            | b'='
            | b','
            | b':'
            | b';'
            | b'"'
            | b'\''
            | b'`'
            | b'{'
            | b'}'
            | b'['
            | b']'
            | b'('
            | b')'
            | b'<'
            | b'>'
            | b'|'
            | b'&'
            | b'?'
            | b'/'
            | b'\\'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patterns;

    fn check(line: &str, pattern: &str) {
        assert_eq!(patterns::of_line(line), pattern, "{line}");
    }

    #[test]
    fn values_are_taken_out_of_lines() {
        check(
            "user 5 logged in from 10.0.0.1:8080 after 12.5ms",
            "user <_> logged in from <_> after <_>",
        );
        check("", "");
        check("plain", "plain");
        check("12345", "<_>");
        check("took -5 of +7, id=deadbeef at 2024-01-02", "took <_> of <_>, id=<_> at <_>");
        check("GET /a/1/2?x=7&y=8 200", "GET /a/<_>?x=<_>&y=<_> <_>");
        check("<5>the <b>bold</b> <_>", "<<_>>the <<_>>bold</b> <<_>>");
        check(
            r#"10.0.0.1 - - [19/Dec/2016:16:00:01 +0000] "GET /a?b=1 HTTP/1.1" 200 12 "-" "x y""#,
            r#"<_> - - [<_>] "<_>" <_> <_> "<_>" "<_>""#,
        );
        check("Exception 7 in thread\n\tat a.b(C.java:5)\n\tat d", "Exception <_> in thread<_>");
        check("größe 5 é", "größe <_> é");
    }

    #[test]
    fn messages_are_taken_apart() {
        check(
            r#"{"ts":"2024","level":"info","msg":"user 5 came, then 6","n":1}"#,
            r#"<_>"msg":"user <_> came, then <_>"<_>"#,
        );
        check(
            r#"{"log":"x 1", "message" : "no \"quotes 5\"", "a":{"msg":"z"}}"#,
            r#"<_>"message" : "no \"quotes <_>\""<_>"#,
        );
        check(
            r#"{"level":"INFO","fields":{"message":"started 4 workers","n":4},"target":"a"}"#,
            r#"<_>"message":"started <_> workers"<_>"#,
        );
        check(r#"{"a":"x","b":[1,2],"c":{"msg":"y"}}"#, r#"{"a":"<_>","b":<_>,"c":{"msg":"<_>"}}"#);
        check(
            r#"ts=2024-05-01T10:00:00Z level=info msg="user 5 did \"it\"" user=bob note="free text""#,
            r#"ts=<_> level=info msg="user <_> did \"it\"" user=bob note="<_>""#,
        );
        check(
            r#"I0101 10:00:00.123456    7 main.go:12] "Starting controller 5" name="x""#,
            r#"<_> <_>    <_> main.go:<_>] "Starting controller <_>" name="<_>""#,
        );
        check(r#"{"msg":"a\nb 1 c"}"#, r#"<_>"msg":"a<_>"<_>"#);
    }

    proptest::proptest! {
        #[test]
        fn any_line_has_a_bounded_pattern(line in "(\\PC|[ =0-9a\"<>_{}:,.\\\\n-]){0,600}") {
            for line in [line.clone(), format!("{{\"msg\":\"{line}\"}}"), line.repeat(9)] {
                let pattern = patterns::of_line(&line);
                proptest::prop_assert!(pattern.len() <= TEXT_BYTES_MAX + 3 * VALUE.len());
                proptest::prop_assert!(pattern.matches(VALUE).count() <= VALUES_MAX + 2);
                let two = [VALUE, VALUE].concat();
                proptest::prop_assert!(!pattern.contains(&two), "{}", pattern);
                let words = Words::new(&pattern);
                let again = words.replaced(|_| false);
                proptest::prop_assert_eq!(&*again, pattern.as_str());
            }
        }
    }
}

//! Names, label sets and escapes of the exposition formats.
//!
//! [`Scanner`] finds where a series ends and checks its syntax without allocating; [`series_labels`] reads the labels out
//! of a series text that was scanned before.

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use model::{Error, ErrorKind, Labels, LabelsBuilder, METRIC_NAME, Result};

use super::{At, Format, Limits, expected_at};

#[derive(Debug, Clone, Copy)]
pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) format: Format,
    pub(super) limits: Limits,
    pub(super) escapes_strict: bool,
}

/// What a scan of `{…}` meets, in order.
enum Part<'a> {
    /// A quoted metric name, still escaped.
    Name(&'a str),
    /// Label name (unquoted, but still escaped if `quoted`) and still escaped value.
    Label { name: &'a str, quoted: bool, value: &'a str },
}

impl<'a> Scanner<'a> {
    /// End of the series that starts at `at`; the line ends at `end`.
    pub(super) fn series(&self, at: usize, end: usize) -> Result<usize, At> {
        self.series_parts(at, end, &mut |_, _| Ok(()))
    }

    fn series_parts(
        &self,
        at: usize,
        end: usize,
        part: &mut impl FnMut(usize, Part<'a>) -> Result<(), At>,
    ) -> Result<usize, At> {
        if self.byte(at, end) == Some(b'{') {
            return self.label_set(at, end, NameIn::Braces, part);
        }
        let name_end = self.bare_name(at, end, true);
        if name_end == at {
            return Err(expected_at(self.text, at, "a metric name"));
        }
        self.check_len(at, name_end - at, "metric name", self.limits.name_bytes_max)?;
        part(at, Part::Name(&self.text[at..name_end]))?;
        let brace = match self.format {
            Format::Prometheus => self.skip_blanks(name_end, end),
            Format::OpenMetrics => name_end,
        };
        match self.byte(brace, end) {
            Some(b'{') => self.label_set(brace, end, NameIn::Front, part),
            _ if matches!(self.byte(name_end, end), Some(b' ' | b'\t')) => Ok(name_end),
            _ => Err(expected_at(self.text, name_end, "{ or a space after the metric name")),
        }
    }

    /// End of the label set at `at`, and the code points of its names and values.
    pub(super) fn exemplar_labels(&self, at: usize, end: usize) -> Result<(usize, usize), At> {
        if self.byte(at, end) != Some(b'{') {
            return Err(expected_at(self.text, at, "{ of the exemplar's labels"));
        }
        let mut chars = 0;
        let labels_end = self.label_set(at, end, NameIn::Nowhere, &mut |_, part| {
            if let Part::Label { name, value, .. } = part {
                chars += name.chars().count() + unescape(value).chars().count();
            }
            Ok(())
        })?;
        Ok((labels_end, chars))
    }

    /// Hands on the labels of an exemplar's set at `at`, unescaped; returns the offset behind it.
    pub(super) fn exemplar_label_pairs(
        &self,
        at: usize,
        end: usize,
        each: &mut impl FnMut(&str, &str),
    ) -> Result<usize, At> {
        self.label_set(at, end, NameIn::Nowhere, &mut |_, part| {
            if let Part::Label { name, quoted, value } = part {
                let name = if quoted { unescape(name) } else { Cow::Borrowed(name) };
                each(&name, &unescape(value));
            }
            Ok(())
        })
    }

    /// The set that opens with `{` at `at`; returns the offset behind `}`.
    fn label_set(
        &self,
        at: usize,
        end: usize,
        name_in: NameIn,
        part: &mut impl FnMut(usize, Part<'a>) -> Result<(), At>,
    ) -> Result<usize, At> {
        let mut at = self.blanks(at + 1, end);
        let (mut named, mut count) = (name_in != NameIn::Braces, 0);
        loop {
            if self.byte(at, end) == Some(b'}') {
                if !named {
                    return Err(expected_at(self.text, at, "a quoted metric name"));
                }
                return Ok(at + 1);
            }
            let label_at = at;
            let (name, quoted, after) = self.label_name(at, end)?;
            at = self.blanks(after, end);
            if quoted && !named && self.byte(at, end) != Some(b'=') {
                named = true;
                part(label_at, Part::Name(name))?;
            } else {
                if self.byte(at, end) != Some(b'=') {
                    return Err(expected_at(self.text, at, "= after the label name"));
                }
                let value_at = self.blanks(at + 1, end);
                let (value, after) = self.quoted(value_at, end, "a quoted label value")?;
                self.check_value(value_at, value)?;
                at = self.blanks(after, end);
                count += 1;
                if count > self.limits.labels_max {
                    let message = format!(
                        "series has more labels than the limit of {}",
                        self.limits.labels_max
                    );
                    return Err((label_at, Error::new(ErrorKind::Limit, message)));
                }
                part(label_at, Part::Label { name, quoted, value })?;
            }
            match self.byte(at, end) {
                Some(b',') => at = self.blanks(at + 1, end),
                Some(b'}') => {}
                _ => return Err(expected_at(self.text, at, ", or }")),
            }
        }
    }

    fn label_name(&self, at: usize, end: usize) -> Result<(&'a str, bool, usize), At> {
        let (name, quoted, after) = if self.byte(at, end) == Some(b'"') {
            let (name, after) = self.quoted(at, end, "a label name")?;
            (name, true, after)
        } else {
            let after = self.bare_name(at, end, false);
            (&self.text[at..after], false, after)
        };
        if name.is_empty() {
            return Err(expected_at(self.text, at, "a label name"));
        }
        self.check_len(at, name.len(), "name", self.limits.name_bytes_max)?;
        Ok((name, quoted, after))
    }

    /// Contents of the quoted text at `at` (escaped as written), and the offset behind the closing quote.
    fn quoted(&self, at: usize, end: usize, what: &str) -> Result<(&'a str, usize), At> {
        if self.byte(at, end) != Some(b'"') {
            return Err(expected_at(self.text, at, what));
        }
        let bytes = self.text.as_bytes();
        let mut from = at + 1;
        while let Some(found) = memchr2(b'"', b'\\', &bytes[from..end]) {
            let found = from + found;
            if bytes[found] == b'"' {
                return Ok((&self.text[at + 1..found], found + 1));
            }
            if self.escapes_strict && !matches!(bytes.get(found + 1), Some(b'\\' | b'"' | b'n')) {
                return Err(expected_at(
                    self.text,
                    found + 1,
                    "one of \\, \" and n after a backslash",
                ));
            }
            from = (found + 2).min(end);
            if !self.text.is_char_boundary(from) {
                // The escaped character is longer than a byte; none of its bytes is a quote.
                from -= 1;
            }
        }
        Err(expected_at(self.text, end, "a closing quote"))
    }

    /// The metric name of a metadata line, which both formats allow to be quoted.
    pub(super) fn metadata_name(&self, at: usize, end: usize) -> Result<(Cow<'a, str>, usize), At> {
        if self.byte(at, end) == Some(b'"') {
            let (name, after) = self.quoted(at, end, "a metric name")?;
            self.check_len(at, name.len(), "metric name", self.limits.name_bytes_max)?;
            return Ok((unescape(name), after));
        }
        let after = self.bare_name(at, end, true);
        if after == at {
            return Err(expected_at(self.text, at, "a metric name"));
        }
        self.check_len(at, after - at, "metric name", self.limits.name_bytes_max)?;
        Ok((Cow::Borrowed(&self.text[at..after]), after))
    }

    /// End of the unquoted name at `at`; `at` itself when there is none.
    fn bare_name(&self, at: usize, end: usize, colons: bool) -> usize {
        let bytes = self.text.as_bytes().get(at..end).unwrap_or_default();
        if bytes.first().is_some_and(u8::is_ascii_digit) {
            return at;
        }
        let fits = |b: &u8| NAME_BYTES[usize::from(*b)] || (colons && *b == b':');
        at + bytes.iter().position(|b| !fits(b)).unwrap_or(bytes.len())
    }

    fn check_value(&self, at: usize, value: &str) -> Result<(), At> {
        // Unescaping only shortens, so the cheap test comes first.
        if value.len() <= self.limits.value_bytes_max {
            return Ok(());
        }
        self.check_len(at, unescape(value).len(), "label value", self.limits.value_bytes_max)
    }

    fn check_len(&self, at: usize, len: usize, what: &str, max: usize) -> Result<(), At> {
        if len <= max {
            return Ok(());
        }
        Err((
            at,
            Error::new(ErrorKind::Limit, format!("{what} has {len} bytes; the limit is {max}")),
        ))
    }

    fn byte(&self, at: usize, end: usize) -> Option<u8> {
        if at < end { self.text.as_bytes().get(at).copied() } else { None }
    }

    fn skip_blanks(&self, mut at: usize, end: usize) -> usize {
        while matches!(self.byte(at, end), Some(b' ' | b'\t')) {
            at += 1;
        }
        at
    }

    /// Inside braces only the Prometheus format has blanks.
    fn blanks(&self, at: usize, end: usize) -> usize {
        if self.format == Format::Prometheus { self.skip_blanks(at, end) } else { at }
    }
}

/// ASCII letters, digits and the underscore.
const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    table
};

/// Where the metric name of a label set stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NameIn {
    Front,
    Braces,
    Nowhere,
}

/// The labels of a series as [`super::Sample::series`] gives it, `__name__` included; labels with empty values are left out.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) when `series` does not parse or has a label twice (or `__name__` as a label).
pub fn series_labels(series: &str, format: Format) -> Result<Labels> {
    series_labels_checked(series, format).map_err(|(_, e)| e)
}

fn series_labels_checked(series: &str, format: Format) -> Result<Labels, At> {
    // A blank behind a bare name tells the scanner that the name is complete.
    let padded = format!("{series} ");
    let scanner = Scanner { text: &padded, format, limits: Limits::NONE, escapes_strict: false };
    let mut builder = LabelsBuilder::default();
    let mut seen: smallvec::SmallVec<[Cow<'_, str>; 16]> = smallvec::SmallVec::new();
    scanner.series_parts(0, padded.len(), &mut |at, part| {
        let (name, value) = match part {
            Part::Name(name) => (Cow::Borrowed(METRIC_NAME), unescape(name)),
            Part::Label { name, quoted, value } => {
                let name = if quoted { unescape(name) } else { Cow::Borrowed(name) };
                (name, unescape(value))
            }
        };
        if seen.contains(&name) {
            return Err((
                at,
                Error::invalid(format!("expected each label once, found {name:?} twice")),
            ));
        }
        builder.set(&name, &value);
        seen.push(name);
        Ok(())
    })?;
    Ok(builder.build())
}

/// The text of a series that [`series_labels`] reads back, in both text formats.
pub(super) fn series_text(labels: &Labels) -> String {
    let name = labels.metric_name();
    let bare = is_bare(name, true);
    let mut text = String::new();
    if bare {
        text.push_str(name);
    } else {
        text.push('{');
        push_quoted(&mut text, name);
    }
    let mut separator = if bare { "{" } else { "," };
    let mut open = !bare;
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        text.push_str(separator);
        (separator, open) = (",", true);
        if is_bare(name, false) {
            text.push_str(name);
        } else {
            push_quoted(&mut text, name);
        }
        text.push('=');
        push_quoted(&mut text, value);
    }
    if open {
        text.push('}');
    }
    text
}

/// Whether a name needs no quotes.
pub(super) fn is_bare(name: &str, colons: bool) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || (colons && b == b':');
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(fits)
}

/// Appends `value` in quotes, escaped.
pub(super) fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text.push('"');
}

/// Undoes `\\`, `\"` and `\n`; other escapes stay as written, as in Prometheus.
fn unescape(text: &str) -> Cow<'_, str> {
    unescape_with(text, true)
}

/// Help texts: `\\` and `\n`, in OpenMetrics also `\"`.
pub(super) fn unescape_help(text: &str, quotes: bool) -> Cow<'_, str> {
    unescape_with(text, quotes)
}

fn unescape_with(text: &str, quotes: bool) -> Cow<'_, str> {
    if memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('\\') => plain.push('\\'),
            Some('"') if quotes => plain.push('"'),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    Cow::Owned(plain)
}

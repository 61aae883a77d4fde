//! What a log line says about itself: its level and the trace it belongs to, from JSON, logfmt or plain text.
//!
//! Owns: finding `level`, `trace_id` and `span_id` in one pass over the first 16 KiB of a line, without allocating unless
//! something is found. Does not own: query-time parsing of all fields (LogQL's `json` and `logfmt`), and multi-line
//! records. A wrong guess costs a colour, so plain text needs a clear sign (`ERROR`, `[warn]`, `error:`, klog's `E1122`).

pub mod detected;
mod json;
mod plain;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use model::Labels;

/// Bytes of a line that are looked at.
const SCAN_BYTES_MAX: usize = 16 << 10;

/// A severity, ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
    Fatal,
}

/// What the field `level` says.
const LEVELS: [(Level, &str); 7] = [
    (Level::Trace, "trace"),
    (Level::Debug, "debug"),
    (Level::Info, "info"),
    (Level::Warn, "warn"),
    (Level::Error, "error"),
    (Level::Critical, "fatal"),
    (Level::Fatal, "fatal"),
];

/// Most lines have a level and no trace, or nothing; these are made once.
static NOTHING: LazyLock<Labels> = LazyLock::new(Labels::default);
static LEVEL_ONLY: LazyLock<[Labels; 7]> =
    LazyLock::new(|| LEVELS.map(|(_, name)| Labels::from_pairs([("level", name)])));

/// Ids are those of fields (`trace_id`, `traceId`, W3C's `traceparent`, …), and in words what is named so: `TraceID: …`.
///
/// Finds `level` (`trace`, `debug`, `info`, `warn`, `error` or `fatal`), `trace_id` (16 or 32 lower-case hex digits) and
/// `span_id` (16) in `line`; what is not there is not in the result.
///
/// Cost: one pass over at most 16 KiB; allocates only when a trace or span is found.
pub fn recognise(line: &str) -> Labels {
    let mut found = Found::default();
    look(line, &mut found);
    found.into_labels()
}

/// Looks at the front of `line` until `found` has enough.
fn look<'a>(line: &'a str, found: &mut Found<'a>) {
    let bytes = line.as_bytes();
    let head = bytes.get(..SCAN_BYTES_MAX).unwrap_or(bytes).trim_ascii_start();
    if head.first() != Some(&b'{') || !json::scan(head, head.len() < bytes.len(), found) {
        *found = Found { level_only: found.level_only, ..Found::default() };
        plain::scan(head, found);
    }
    if let Some(message) = found.message.filter(|_| found.trace_id.is_none() && !found.level_only) {
        plain::ids(message, found);
    }
}

/// What has been seen so far; the first of each kind counts.
#[derive(Debug, Default)]
struct Found<'a> {
    level: Option<Level>,
    trace_id: Option<&'a [u8]>,
    span_id: Option<&'a [u8]>,
    /// Of JSON: its text for people, in which ids are looked for when no field has them.
    message: Option<&'a [u8]>,
    /// Nothing else is wanted.
    level_only: bool,
}

/// What a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Level,
    TraceId,
    SpanId,
    /// W3C's header: version, trace id, span id, flags.
    TraceParent,
    /// What the line says in words.
    Message,
}

impl<'a> Found<'a> {
    /// Whether nothing more is wanted.
    fn is_enough(&self) -> bool {
        self.level_only && self.level.is_some()
    }

    fn text(&mut self, field: Field, value: &'a [u8]) {
        match field {
            Field::Level => self.level = self.level.or_else(|| level_of_word(value)),
            Field::TraceId if is_id(value, &[16, 32]) => {
                self.trace_id = self.trace_id.or(Some(value))
            }
            Field::SpanId if is_id(value, &[16]) => self.span_id = self.span_id.or(Some(value)),
            Field::TraceId | Field::SpanId => {}
            Field::TraceParent => self.trace_parent(value),
            Field::Message => self.message = self.message.or(Some(value)),
        }
    }

    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
    fn trace_parent(&mut self, value: &'a [u8]) {
        let mut parts = value.split(|b| *b == b'-');
        if let (Some([_, _]), Some(trace_id), Some(span_id), Some([_, _])) =
            (parts.next(), parts.next(), parts.next(), parts.next())
            && trace_id.len() == 32
        {
            self.text(Field::TraceId, trace_id);
            self.text(Field::SpanId, span_id);
        }
    }

    /// Numbers of pino and bunyan: 10 is trace, 60 is fatal.
    fn number(&mut self, field: Field, value: &[u8]) {
        let level = match value {
            b"10" => Level::Trace,
            b"20" => Level::Debug,
            b"30" => Level::Info,
            b"40" => Level::Warn,
            b"50" => Level::Error,
            b"60" => Level::Fatal,
            _ => return,
        };
        if field == Field::Level {
            self.level = self.level.or(Some(level));
        }
    }

    fn into_labels(self) -> Labels {
        if self.trace_id.is_none() && self.span_id.is_none() {
            return match self.level {
                Some(level) => LEVEL_ONLY[level as usize].clone(),
                None => NOTHING.clone(),
            };
        }
        let hex = |id: Option<&[u8]>| {
            id.map(|id| String::from_utf8_lossy(id).to_ascii_lowercase()).unwrap_or_default()
        };
        let (trace_id, span_id) = (hex(self.trace_id), hex(self.span_id));
        let level = self.level.map_or("", |level| LEVELS[level as usize].1);
        let pairs =
            [("level", level), ("span_id", span_id.as_str()), ("trace_id", trace_id.as_str())];
        Labels::from_pairs(pairs)
    }
}

/// A hex id of one of the lengths, not all zeros.
fn is_id(value: &[u8], lengths: &[usize]) -> bool {
    lengths.contains(&value.len())
        && value.iter().all(u8::is_ascii_hexdigit)
        && value.iter().any(|b| *b != b'0')
}

/// Longest key or level word that is known.
const WORD_BYTES_MAX: usize = 13;

/// `word` in lower case; `None` when it is longer than any that is known.
fn lower_case(word: &[u8]) -> Option<([u8; WORD_BYTES_MAX], usize)> {
    let mut lower = [0; WORD_BYTES_MAX];
    let copy = lower.get_mut(..word.len())?;
    copy.copy_from_slice(word);
    copy.make_ascii_lowercase();
    Some((lower, word.len()))
}

/// What `key` names, in JSON and logfmt alike.
fn field_of_key(key: &[u8]) -> Option<Field> {
    // Nearly all keys are none of these, as their first letter says.
    if !matches!(key.first()? | 0x20, b'l' | b's' | b't' | b'o' | b'm' | b'`') {
        return None;
    }
    let (lower, len) = lower_case(key)?;
    match &lower[..len] {
        b"level" | b"lvl" | b"severity" | b"log.level" | b"levelname" | b"log_level"
        | b"loglevel" | b"severity_text" | b"severitytext" | b"@l" => Some(Field::Level),
        b"trace_id" | b"traceid" | b"trace.id" | b"trace-id" | b"oteltraceid"
        | b"otel.trace_id" => Some(Field::TraceId),
        b"span_id" | b"spanid" | b"span.id" | b"span-id" | b"otelspanid" | b"otel.span_id" => {
            Some(Field::SpanId)
        }
        b"traceparent" => Some(Field::TraceParent),
        b"message" | b"msg" | b"log" => Some(Field::Message),
        _ => None,
    }
}

/// The level a word stands for, in any case of letters.
fn level_of_word(word: &[u8]) -> Option<Level> {
    let (lower, len) = lower_case(word)?;
    Some(match &lower[..len] {
        b"trace" | b"trc" | b"trce" | b"verbose" | b"finer" | b"finest" => Level::Trace,
        b"debug" | b"dbg" | b"dbug" | b"debu" | b"fine" | b"config" | b"d" => Level::Debug,
        b"info" | b"inf" | b"information" | b"informational" | b"notice" | b"log" | b"i" => {
            Level::Info
        }
        b"warn" | b"warning" | b"wrn" | b"w" => Level::Warn,
        b"error" | b"err" | b"erro" | b"eror" | b"severe" | b"fail" | b"failure" | b"e" => {
            Level::Error
        }
        b"critical" | b"crit" => Level::Critical,
        b"fatal" | b"ftl" | b"panic" | b"dpanic" | b"emerg" | b"emergency" | b"alert" | b"f" => {
            Level::Fatal
        }
        _ => return None,
    })
}

//! What a log line says about itself: its level and the trace it belongs to, from JSON, logfmt or plain text.
//!
//! Owns: finding `level`, `trace_id` and `span_id` in one pass over the first 16 KiB of a line, without allocating unless
//! something is found. Does not own: query-time parsing of all fields (LogQL's `json` and `logfmt`), and multi-line
//! records. A wrong guess costs a colour, so plain text needs a clear sign (`ERROR`, `[warn]`, `error:`, klog's `E1122`).

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
    Fatal,
}

const LEVELS: [(Level, &str); 6] = [
    (Level::Trace, "trace"),
    (Level::Debug, "debug"),
    (Level::Info, "info"),
    (Level::Warn, "warn"),
    (Level::Error, "error"),
    (Level::Fatal, "fatal"),
];

/// Most lines have a level and no trace, or nothing; these are made once.
static NOTHING: LazyLock<Labels> = LazyLock::new(Labels::default);
static LEVEL_ONLY: LazyLock<[Labels; 6]> =
    LazyLock::new(|| LEVELS.map(|(_, name)| Labels::from_pairs([("level", name)])));

/// Finds `level` (`trace`, `debug`, `info`, `warn`, `error` or `fatal`), `trace_id` (16 or 32 lower-case hex digits) and
/// `span_id` (16) in `line`; what is not there is not in the result.
///
/// Cost: one pass over at most 16 KiB; allocates only when a trace or span is found.
pub fn recognise(line: &str) -> Labels {
    let bytes = line.as_bytes();
    let head = bytes.get(..SCAN_BYTES_MAX).unwrap_or(bytes).trim_ascii_start();
    let mut found = Found::default();
    if head.first() != Some(&b'{') || !json::scan(head, head.len() < bytes.len(), &mut found) {
        found = Found::default();
        plain::scan(head, &mut found);
    }
    found.into_labels()
}

/// What has been seen so far; the first of each kind counts.
#[derive(Debug, Default)]
struct Found<'a> {
    level: Option<Level>,
    trace_id: Option<&'a [u8]>,
    span_id: Option<&'a [u8]>,
}

/// What a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Level,
    TraceId,
    SpanId,
}

impl<'a> Found<'a> {
    fn text(&mut self, field: Field, value: &'a [u8]) {
        match field {
            Field::Level => self.level = self.level.or_else(|| level_of_word(value)),
            Field::TraceId if is_id(value, &[16, 32]) => {
                self.trace_id = self.trace_id.or(Some(value))
            }
            Field::SpanId if is_id(value, &[16]) => self.span_id = self.span_id.or(Some(value)),
            Field::TraceId | Field::SpanId => {}
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

/// What `key` names, in JSON and logfmt alike.
fn field_of_key(key: &[u8]) -> Option<Field> {
    const KEYS: [(&str, Field); 21] = [
        ("level", Field::Level),
        ("lvl", Field::Level),
        ("severity", Field::Level),
        ("log.level", Field::Level),
        ("levelname", Field::Level),
        ("log_level", Field::Level),
        ("loglevel", Field::Level),
        ("severity_text", Field::Level),
        ("severityText", Field::Level),
        ("@l", Field::Level),
        ("trace_id", Field::TraceId),
        ("traceid", Field::TraceId),
        ("trace.id", Field::TraceId),
        ("trace-id", Field::TraceId),
        ("otelTraceID", Field::TraceId),
        ("otel.trace_id", Field::TraceId),
        ("span_id", Field::SpanId),
        ("spanid", Field::SpanId),
        ("span.id", Field::SpanId),
        ("otelSpanID", Field::SpanId),
        ("otel.span_id", Field::SpanId),
    ];
    // Nearly all keys are none of these; their length or first letter says so.
    if !(2..=13).contains(&key.len()) || !matches!(key[0] | 0x20, b'l' | b's' | b't' | b'o' | b'`')
    {
        return None;
    }
    KEYS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(key)).map(|(_, field)| *field)
}

/// The level a word stands for, in any case of letters.
fn level_of_word(word: &[u8]) -> Option<Level> {
    const WORDS: [(&str, Level); 39] = [
        ("info", Level::Info),
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("warning", Level::Warn),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
        ("fatal", Level::Fatal),
        ("critical", Level::Fatal),
        ("crit", Level::Fatal),
        ("err", Level::Error),
        ("eror", Level::Error),
        ("erro", Level::Error),
        ("severe", Level::Error),
        ("failure", Level::Error),
        ("wrn", Level::Warn),
        ("inf", Level::Info),
        ("information", Level::Info),
        ("informational", Level::Info),
        ("notice", Level::Info),
        ("log", Level::Info),
        ("config", Level::Debug),
        ("dbg", Level::Debug),
        ("debu", Level::Debug),
        ("fine", Level::Debug),
        ("verbose", Level::Trace),
        ("finer", Level::Trace),
        ("finest", Level::Trace),
        ("trc", Level::Trace),
        ("ftl", Level::Fatal),
        ("panic", Level::Fatal),
        ("dpanic", Level::Fatal),
        ("emerg", Level::Fatal),
        ("emergency", Level::Fatal),
        ("alert", Level::Fatal),
        ("i", Level::Info),
        ("w", Level::Warn),
        ("e", Level::Error),
        ("f", Level::Fatal),
        ("d", Level::Debug),
    ];
    if !(1..=13).contains(&word.len()) {
        return None;
    }
    WORDS
        .iter()
        .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))
        .map(|(_, level)| *level)
}

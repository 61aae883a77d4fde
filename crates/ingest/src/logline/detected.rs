//! The field `detected_level` of pushed lines, as Loki adds it (`discover_log_levels`): of the stream's label, otherwise of
//! a field, otherwise out of the line, and `unknown` where none of them tells.
//!
//! A label or field that names a level, but none that is known, does not count. A line that comes with the field keeps it.

use model::{Labels, LogRow, LogRows};

use super::{Field, Found, Level, field_of_key, level_of_word, look};

/// The field.
pub const DETECTED_LEVEL: &str = "detected_level";

/// OpenTelemetry's number of a severity.
const SEVERITY_NUMBER: &str = "severity_number";

/// Gives all of `rows` the field.
///
/// Cost: a look at each line as far as its level; a set of fields for each of `rows` that has some already.
pub fn detect_levels(rows: &mut LogRows) {
    let of_streams: Vec<Option<Level>> = rows.streams().iter().map(of_labels).collect();
    rows.set_field(DETECTED_LEVEL, |stream, row| {
        let level = of_streams.get(stream as usize).copied().flatten();
        level.or_else(|| of_row(row)).map_or("unknown", name)
    });
}

fn of_row(row: &LogRow<'_>) -> Option<Level> {
    if !row.fields.is_empty()
        && let Some(level) = of_labels(row.fields).or_else(|| of_severity(row.fields))
    {
        return Some(level);
    }
    let mut found = Found { level_only: true, ..Found::default() };
    look(row.line, &mut found);
    found.level
}

/// The first level that a label names.
fn of_labels(labels: &Labels) -> Option<Level> {
    labels.iter().find_map(|(name, value)| match field_of_key(name.as_bytes()) {
        Some(Field::Level) => level_of_word(value.as_bytes()),
        _ => None,
    })
}

fn of_severity(fields: &Labels) -> Option<Level> {
    Some(match fields.get(SEVERITY_NUMBER)?.parse::<u8>().ok()? {
        1..=4 => Level::Trace,
        5..=8 => Level::Debug,
        9..=12 => Level::Info,
        13..=16 => Level::Warn,
        17..=20 => Level::Error,
        21..=24 => Level::Fatal,
        _ => return None,
    })
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
        Level::Critical => "critical",
        Level::Fatal => "fatal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: &[(&str, &str)], fields: &[(&str, &str)], line: &str, expected: &str) {
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        let mut rows = LogRows::default();
        rows.push(&labels(stream), 1, line, &labels(fields));
        detect_levels(&mut rows);
        let detected = rows.row(0).fields.get(DETECTED_LEVEL).unwrap_or("").to_owned();
        assert_eq!(detected, expected, "{stream:?} {fields:?} {line}");
    }

    #[test]
    fn labels_before_fields_before_the_line() {
        check(&[("level", "WARN")], &[("severity", "info")], "ERROR x", "warn");
        check(&[("app", "a")], &[("severity_text", "Info")], "ERROR x", "info");
        check(&[("app", "a")], &[("severity_number", "17")], "INFO x", "error");
        check(&[("app", "a")], &[("severity_number", "0")], "INFO x", "info");
        check(&[("app", "a")], &[("detected_level", "odd")], "INFO x", "odd");
        check(&[("level", "seven")], &[], "x", "unknown");
        check(&[], &[], "", "unknown");
    }

    #[test]
    fn lines_tell_their_level() {
        for (line, expected) in [
            (r#"{"msg":"x","level":"error","trace_id":"x"}"#, "error"),
            (r#"{"LEVEL":"Critical"}"#, "critical"),
            (r#"{"severity":"warning""#, "warn"),
            (r#"{"msg":"level=debug"}"#, "unknown"),
            ("ts=1 lvl=dbg msg=\"level=error\"", "debug"),
            ("2024-01-01 00:00:00 [CRITICAL] boom", "critical"),
            ("E1122 15:04:05.678901       1 x.go:1] no", "error"),
            ("GET / 200", "unknown"),
        ] {
            check(&[("app", "a")], &[], line, expected);
        }
    }

    #[test]
    fn rows_without_other_fields_share_theirs() {
        let mut rows = LogRows::default();
        let stream = Labels::from_pairs([("app", "a")]);
        let trace = Labels::from_pairs([("trace_id", "1")]);
        for i in 0..100 {
            let fields = if i % 10 < 2 { &trace } else { &Labels::default() };
            rows.push(&stream, i, ["level=info", "level=warn", "x"][(i % 3) as usize], fields);
        }
        let before: Vec<Labels> = rows.iter().map(|row| row.fields.clone()).collect();
        detect_levels(&mut rows);
        for (i, row) in rows.iter().enumerate() {
            let level = ["info", "warn", "unknown"][i % 3];
            assert_eq!(*row.fields, before[i].with(DETECTED_LEVEL, level), "{i}");
        }
        // The empty one, one per level, and of those with a trace one for each time the level changes among them.
        assert_eq!(rows.field_sets().len(), 1 + 3 + 11);
    }
}

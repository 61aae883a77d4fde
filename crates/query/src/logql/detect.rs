//! What could be filtered by: fields found in a sample of rows, as metadata or in their lines.
//!
//! Does not own: which stage a query would need for a field; each field says which parsers find it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use model::{Budget, Labels, LogPlan, LogRow, LogSource, Order, PATTERN_LABEL, Result, TimeRange};

use super::logfmt::Logfmt;
use super::pipeline::Pipeline;
use super::row::{DUPLICATE_SUFFIX, RowLabels};
use super::scan::scan;
use super::{json, units};

/// A field and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectedField {
    /// Label name.
    pub name: String,
    /// What all values seen can be read as.
    pub kind: FieldKind,
    /// Stages that extract it from the line (`json`, `logfmt`); none for metadata.
    pub parsers: Vec<&'static str>,
    /// Keys on the way to it in a JSON line; empty for others.
    pub json_path: Vec<String>,
    /// Distinct values seen.
    pub values: BTreeSet<String>,
}

/// What values can be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Boolean,
    /// `1h30m`.
    Duration,
    /// `20MB`.
    Bytes,
    /// Any text.
    String,
}

impl FieldKind {
    /// Loki's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Bytes => "bytes",
            Self::String => "string",
        }
    }

    fn of(value: &str) -> Self {
        if value.parse::<i64>().is_ok() {
            Self::Int
        } else if units::parse_number(value).is_ok() {
            Self::Float
        } else if matches!(value, "true" | "false" | "True" | "False" | "TRUE" | "FALSE") {
            Self::Boolean
        } else if units::parse_duration(value).is_ok() {
            Self::Duration
        } else if units::parse_bytes(value).is_ok() {
            Self::Bytes
        } else {
            Self::String
        }
    }

    /// What values of both kinds can be read as.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            _ => Self::String,
        }
    }
}

/// Fields of the newest `rows_max` rows that pass the log query `text`, in order of their names; no more than `fields_max`.
///
/// # Errors
/// Invalid for a malformed query; limits of `budget`; failures of `source`.
pub fn detect_fields(
    source: &dyn LogSource,
    text: &str,
    range: TimeRange,
    rows_max: usize,
    fields_max: usize,
    budget: &Budget,
) -> Result<Vec<DetectedField>> {
    let pipeline = Pipeline::parse(text)?;
    let plan = LogPlan {
        matchers: pipeline.matchers().to_vec(),
        line_filters: pipeline.line_filters().to_vec(),
        patterns: pipeline.names(PATTERN_LABEL),
        ..LogPlan::all(range, Order::Backward)
    };
    let mut found = Found { fields: BTreeMap::new(), fields_max };
    let mut rows = 0;
    scan(source, &plan, budget, |row| {
        if rows >= rows_max {
            return Ok(ControlFlow::Break(()));
        }
        let Some((stream, entry)) = pipeline.entry(row, true) else {
            return Ok(ControlFlow::Continue(()));
        };
        rows += 1;
        let categories = entry.categories.unwrap_or_default();
        let known = [&categories.metadata, &categories.parsed];
        for (name, value) in known.iter().flat_map(|labels| labels.iter()) {
            found.add(name, value, None, &[]);
        }
        found.add_line(&stream, known, &entry.line);
        budget.charge_bytes(entry.line.len() as u64)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found.fields.into_values().collect())
}

struct Found {
    fields: BTreeMap<String, DetectedField>,
    fields_max: usize,
}

impl Found {
    fn add(&mut self, name: &str, value: &str, parser: Option<&'static str>, path: &[String]) {
        if !self.fields.contains_key(name) {
            if self.fields.len() >= self.fields_max {
                return;
            }
            let field = DetectedField {
                name: name.to_owned(),
                kind: FieldKind::of(value),
                parsers: Vec::new(),
                json_path: path.to_vec(),
                values: BTreeSet::new(),
            };
            self.fields.insert(name.to_owned(), field);
        }
        let Some(field) = self.fields.get_mut(name) else { return };
        if let Some(parser) = parser.filter(|p| !field.parsers.contains(p)) {
            field.parsers.push(parser);
        }
        if !field.values.contains(value) {
            field.kind = field.kind.and(FieldKind::of(value));
            field.values.insert(value.to_owned());
        }
    }

    /// What `json` or, where that fails, `logfmt` finds in a line.
    fn add_line(&mut self, stream: &Labels, known: [&Labels; 2], line: &str) {
        let mut extracted = Vec::new();
        let is_json = json::visit_scalars(line, &mut |name, path, value| {
            let is_known = stream.get(name).is_some() || known[0].get(name).is_some();
            let suffix = if is_known { DUPLICATE_SUFFIX } else { "" };
            extracted.push((format!("{name}{suffix}"), path.to_vec(), value.to_owned()));
        });
        if is_json {
            for (name, path, value) in extracted {
                if known[1].get(&name).is_none() {
                    self.add(&name, &value, Some("json"), &path);
                }
            }
            return;
        }
        let mut changes = Vec::new();
        let mut labels = RowLabels::new(stream, known[0], &mut changes);
        Logfmt::default().extract(line, &mut labels);
        if labels.has_error() {
            return;
        }
        let (_, categories) = labels.categorized();
        for (name, value) in categories.parsed.iter().filter(|(n, _)| known[1].get(n).is_none()) {
            self.add(name, value, Some("logfmt"), &[]);
        }
    }
}

/// Rows around one row of a stream: those just before it and those just after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Oldest first; all of them before or at the time asked for.
    pub before: Vec<(i64, String)>,
    /// Oldest first; all of them at or behind that time.
    pub after: Vec<(i64, String)>,
}

/// The rows of `stream` around `t_ns`: `before` of them up to that time, without it, and `after` from it on.
///
/// # Errors
/// As [`LogSource::scan`].
pub fn surroundings(
    source: &dyn LogSource,
    stream: &Labels,
    t_ns: i64,
    (before, after): (usize, usize),
    budget: &Budget,
) -> Result<Surroundings> {
    let take = |range: TimeRange, order: Order, count: usize| -> Result<Vec<(i64, String)>> {
        let matchers = stream.iter().map(|(n, v)| model::Matcher::equal(n, v)).collect();
        let plan = LogPlan { matchers, limit: Some(count), ..LogPlan::all(range, order) };
        let mut rows = Vec::new();
        if count == 0 {
            return Ok(rows);
        }
        source.scan(&plan, budget, &mut |row: &LogRow<'_>| {
            // Matchers admit streams with more labels.
            if row.stream == stream {
                rows.push((row.t_ns, row.line.to_owned()));
            }
            if rows.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(rows)
    };
    let mut earlier = take(TimeRange::new(i64::MIN, t_ns), Order::Backward, before)?;
    earlier.reverse();
    let later = take(TimeRange::new(t_ns, i64::MAX), Order::Forward, after)?;
    Ok(Surroundings { before: earlier, after: later })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::tests::table::{Row, Table};

    fn source(lines: &[&str]) -> Table {
        let row = |(i, line): (usize, &&str)| Row {
            stream: Labels::from_pairs([("app", "web")]),
            t_ns: i as i64,
            line: (*line).to_owned(),
            fields: Labels::from_pairs([("trace", "t1")]),
        };
        Table { rows: lines.iter().enumerate().map(row).collect(), aggregates: false }
    }

    #[test]
    fn fields_come_from_metadata_and_lines_with_what_they_can_be_read_as() {
        let source = source(&[
            r#"{"app":"x","took":"2s","n":{"size":"2KB"},"code":200}"#,
            r#"{"took":"10ms","n":{"size":"x"},"code":1.5}"#,
            "ok=true msg=\"all done\"",
        ]);
        let budget = Budget::unlimited();
        let query = r#"{app="web"}"#;
        let fields = detect_fields(&source, query, TimeRange::ALL, 10, 10, &budget).unwrap();
        let shown: Vec<String> = fields
            .iter()
            .map(|f| {
                let (parsers, path) = (f.parsers.join("+"), f.json_path.join("."));
                format!("{} {} {} {parsers} {path}", f.name, f.kind.as_str(), f.values.len())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "app_extracted string 1 json app",
                "code float 2 json code",
                "msg string 1 logfmt ",
                "n_size string 2 json n.size",
                "ok boolean 1 logfmt ",
                "took duration 2 json took",
                "trace string 1  ",
            ]
        );
        let few = detect_fields(&source, query, TimeRange::ALL, 1, 2, &budget).unwrap();
        assert_eq!(few.len(), 2);
    }

    #[test]
    fn surroundings_are_of_one_stream_and_in_order() {
        let mut source = source(&["0", "1", "2", "3", "4"]);
        let more = Labels::from_pairs([("app", "web"), ("more", "x")]);
        source.rows.push(Row {
            stream: more,
            t_ns: 2,
            line: "no".into(),
            fields: Labels::default(),
        });
        let stream = Labels::from_pairs([("app", "web")]);
        let around = surroundings(&source, &stream, 2, (1, 2), &Budget::unlimited()).unwrap();
        assert_eq!(around.before, [(1, "1".to_owned())]);
        assert_eq!(around.after, [(2, "2".to_owned()), (3, "3".to_owned())]);
    }
}

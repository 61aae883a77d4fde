//! The log lines of a trace: those that came with its id, and those that have it in their text.

use std::ops::ControlFlow;

use model::{
    Budget, LineFilter, LineFilterOp, LogPlan, LogRecord, LogSource, MatchOp, Matcher, Order,
    Result, TimeRange,
};

/// Fields that have the id: the one in which it was recognised in a line, and those that senders make of it.
const FIELDS: [&str; 8] = [
    "trace_id",
    "traceid",
    "traceId",
    "traceID",
    "TraceId",
    "TraceID",
    "otelTraceID",
    "otel_trace_id",
];

/// Digits of an id of 64 bits.
const SHORT_DIGITS: usize = 16;

/// Log lines of a trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lines {
    /// Oldest first.
    pub rows: Vec<LogRecord>,
    /// Whether there are more.
    pub is_cut: bool,
    /// For the reader, of the source.
    pub warnings: Vec<String>,
}

/// The first `limit` lines of `range` that belong to the trace, by a field `trace_id` (or spelled otherwise) or by the id
/// anywhere in their text: in small or capital letters, with the dashes of a UUID, in 16 digits where it has no more.
///
/// # Errors
/// As [`LogSource::scan`].
pub fn lines(
    source: &dyn LogSource,
    trace_id: u128,
    range: TimeRange,
    limit: usize,
    budget: &Budget,
) -> Result<Lines> {
    let (fields, texts) = spellings(trace_id);
    let in_text = LogPlan {
        line_filters: vec![LineFilter::new(LineFilterOp::Contains, texts.clone())?],
        ..LogPlan::all(range, Order::Forward)
    };
    let mut plans = vec![in_text];
    let fields = fields.join("|");
    for (number, name) in FIELDS.iter().enumerate() {
        let is_it = |op, name: &str| Matcher::new(op, name, &*fields);
        // A line with several of them comes once.
        let mut filters = vec![is_it(MatchOp::Regex, name)?];
        for before in &FIELDS[..number] {
            filters.push(is_it(MatchOp::NotRegex, before)?);
        }
        plans.push(LogPlan { label_filters: filters, ..LogPlan::all(range, Order::Forward) });
    }
    let mut found = Lines::default();
    for (number, plan) in plans.iter().enumerate() {
        let mut left = limit.saturating_add(1);
        let is_of_text = number == 0;
        let warnings = source.scan(plan, budget, &mut |row| {
            if is_named(row.line, &texts) != is_of_text {
                return ControlFlow::Continue(());
            }
            found.rows.push(row.to_record());
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        found.warnings.extend(warnings);
        let bytes: usize = found.rows.iter().map(|row| row.line.len() + 200).sum();
        budget.charge_bytes(bytes as u64)?;
    }
    found.rows.sort_by_key(|row| row.t_ns);
    found.is_cut = found.rows.len() > limit;
    found.rows.truncate(limit);
    found.warnings.sort();
    found.warnings.dedup();
    Ok(found)
}

/// How programs write the id: as a field, and in texts.
fn spellings(trace_id: u128) -> (Vec<String>, Vec<String>) {
    let full = format!("{trace_id:032x}");
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    let uuid = parts.map(|(from, to)| &full[from..to]).join("-");
    let mut fields = vec![full.to_ascii_uppercase(), uuid.clone(), full.clone()];
    // Texts with all 32 digits have the last 16, too.
    let mut digits = full;
    if let Ok(short) = u64::try_from(trace_id) {
        digits = format!("{short:016x}");
        fields.extend([digits.to_ascii_uppercase(), digits.clone()]);
    }
    let mut texts = vec![digits.to_ascii_uppercase(), digits, uuid];
    // Without letters, capital ones are the same.
    texts.dedup();
    (fields, texts)
}

/// Whether one of `texts` stands in `line` by itself: not within more digits, but for a short id in a long one.
fn is_named(line: &str, texts: &[String]) -> bool {
    let digits = |bytes: &mut dyn Iterator<Item = &u8>| {
        bytes.take(SHORT_DIGITS + 1).take_while(|b| b.is_ascii_hexdigit()).count()
    };
    texts.iter().any(|text| {
        line.match_indices(text.as_str()).any(|(at, _)| {
            let (before, rest) = line.as_bytes().split_at(at);
            let before = digits(&mut before.iter().rev());
            let is_in_long = text.len() == SHORT_DIGITS && before == SHORT_DIGITS;
            digits(&mut rest[text.len()..].iter()) == 0 && (before == 0 || is_in_long)
        })
    })
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::logql::tests::table::{Row, Table};

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn check(trace_id: &str, limit: usize, expected: &[&str]) {
        let rows = [
            ("a a4bf92f3577b34da6a3ce929d0e0e4736", ""),
            ("b trace=4bf92f3577b34da6a3ce929d0e0e4736 x", ""),
            ("c", ID),
            ("d 4bf92f3577b34da6a3ce929d0e0e4736", ID),
            ("e 4BF92F3577B34DA6A3CE929D0E0E4736", ""),
            ("f 4bf92f35-77b3-4da6-a3ce-929d0e0e4736", ""),
            ("g a3ce929d0e0e4736", ""),
            ("h A3CE929D0E0E4736", "a3ce929d0e0e4736"),
            ("i", "a3ce929d0e0e4736"),
            ("j 0000000000000000a3ce929d0e0e4736", "0000000000000000a3ce929d0e0e4736"),
        ];
        let row = |(i, (line, id)): (usize, &(&str, &str))| Row {
            stream: Labels::from_pairs([("app", "web")]),
            t_ns: i as i64,
            line: (*line).to_owned(),
            fields: Labels::from_pairs([("trace_id", *id)].into_iter().filter(|f| !f.1.is_empty())),
        };
        let table = Table { rows: rows.iter().enumerate().map(row).collect(), aggregates: false };
        let id = u128::from_str_radix(trace_id, 16).unwrap();
        let budget = Budget::unlimited();
        let found = lines(&table, id, TimeRange::ALL, limit, &budget).unwrap();
        let texts: Vec<&str> = found.rows.iter().map(|row| &row.line[..1]).collect();
        assert_eq!(texts, expected, "{trace_id} {limit}");
        assert_eq!(found.is_cut, limit < 5);
    }

    #[test]
    fn fields_may_be_spelled_otherwise() {
        let upper = ID.to_ascii_uppercase();
        let rows = [
            ("a", vec![("traceId", ID)]),
            ("b", vec![("trace_id", &*upper)]),
            ("c", vec![("otelTraceID", "4bf92f35-77b3-4da6-a3ce-929d0e0e4736")]),
            ("d", vec![("trace_id", ID), ("traceId", ID)]),
            ("e 4bf92f3577b34da6a3ce929d0e0e47360", vec![("TraceID", ID)]),
            ("f", vec![("user", ID)]),
        ];
        let row = |(line, fields): &(&str, Vec<(&str, &str)>)| Row {
            stream: Labels::default(),
            t_ns: i64::from(line.as_bytes()[0]),
            line: (*line).to_owned(),
            fields: Labels::from_pairs(fields.iter().copied()),
        };
        let table = Table { rows: rows.iter().map(row).collect(), aggregates: false };
        let id = u128::from_str_radix(ID, 16).unwrap();
        let found = lines(&table, id, TimeRange::ALL, 99, &Budget::unlimited()).unwrap();
        assert!(found.rows.iter().map(|row| &row.line[..1]).eq(["a", "b", "c", "d", "e"]));
    }

    #[test]
    fn lines_belong_by_their_field_or_their_text_and_come_once() {
        check(ID, 5, &["b", "c", "d", "e", "f"]);
        check(ID, 3, &["b", "c", "d"]);
        // Programs cut ids to their last half: lines with the whole one are of the same trace.
        check("a3ce929d0e0e4736", 99, &["b", "d", "e", "g", "h", "i", "j"]);
    }
}

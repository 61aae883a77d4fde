//! What an example of a crate measures inside its process, as rows of the comparison.
//!
//! The examples print `| measure (aim 8; limit 45: why) | value |`; the brackets become columns.

use anyhow::{Result, ensure};

use super::Run;
use super::comparison::{Aim, Comparison};
use crate::shell::{Cmd, step};

/// Text to samples in the log and the head, without HTTP: one million series.
pub(super) fn ingest(run: &Run) -> Result<Comparison> {
    step("in process: 1,000,000 series as text, 12 scrapes, into log and head");
    let example =
        ["run", "--release", "--quiet", "--package", "collect", "--example", "bench_scrape"];
    let mut arguments = example.to_vec();
    let series = run.series(1_000_000).to_string();
    arguments.extend(["--", &series, "12", "1000"]);
    let output = Cmd::new("cargo", &arguments).output()?;
    let mut comparison = Comparison::default();
    let mut found = 0;
    for line in output.lines() {
        let cells: Vec<&str> = line.trim_matches(['|', ' ']).split('|').map(str::trim).collect();
        let [what, value] = cells[..] else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let Row { what, aim, limit } = Row::of(what);
        comparison.row(&format!("in process: {what}"), [value, f64::NAN, f64::NAN], aim, &limit);
        found += 1;
    }
    ensure!(found > 0, "the example printed no figures:\n{output}");
    comparison.print();
    Ok(comparison)
}

struct Row {
    what: String,
    aim: Aim,
    limit: String,
}

impl Row {
    fn of(text: &str) -> Self {
        let (what, notes) = match text.split_once(" (") {
            Some((what, rest)) => match rest.split_once(')') {
                Some((notes, behind)) => (format!("{what}{behind}"), notes),
                None => (text.to_owned(), ""),
            },
            None => (text.to_owned(), ""),
        };
        let (mut aim, mut limit) = (Aim::None, String::new());
        for note in notes.split([',', ';']).map(str::trim) {
            if let Some(bound) = note.strip_prefix("aim ").and_then(|n| n.parse().ok()) {
                // Speeds are to be reached, sizes and times not to be passed.
                aim = if what.contains("Ms/s") { Aim::AtLeast(bound) } else { Aim::AtMost(bound) };
            } else if let Some(text) = note.strip_prefix("limit ") {
                limit = text.trim_start_matches("about ").to_owned();
            }
        }
        Self { what, aim, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_become_columns() {
        let row = Row::of("resident, caches and store, B/series (aim 500, limit about 130)");
        assert_eq!((&*row.what, &*row.limit), ("resident, caches and store, B/series", "130"));
        assert!(matches!(row.aim, Aim::AtMost(500.0)));
        let row = Row::of("all of it, Ms/s per core (aim 8)");
        assert!(matches!(row.aim, Aim::AtLeast(8.0)) && row.what == "all of it, Ms/s per core");
        let row = Row::of("parse, Ms/s (limit 45: compare and parse)");
        assert_eq!(row.limit, "45: compare and parse");
        let row = Row::of("open after a kill, s (aim 10), 3 samples from the wal, 0 lost");
        assert!(
            matches!(row.aim, Aim::AtMost(10.0))
                && row.what.ends_with("s, 3 samples from the wal, 0 lost")
        );
    }
}

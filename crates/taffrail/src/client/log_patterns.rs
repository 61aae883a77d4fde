//! `taffrail logs patterns`: what lines say once their values are taken out, how often, and what is new.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{Client, last, local_time, table};
use crate::cli::{LogPatternsArgs, Output};

/// The answer, as far as it is printed.
#[derive(Deserialize)]
struct Answer {
    patterns: Vec<Pattern>,
}

#[derive(Deserialize)]
struct Pattern {
    pattern: String,
    count: u64,
    first_seen: String,
    last_seen: String,
    is_new: bool,
    samples: Vec<(i64, u64)>,
}

/// Runs `taffrail logs patterns`.
///
/// # Errors
/// When the server cannot be reached or refuses the query.
pub async fn patterns(args: &LogPatternsArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::new(&args.client)?;
    let query = super::logs::selector(args.query.as_deref())?;
    let [start, end] = last(&args.since)?;
    let mut params = vec![
        ("query", query.as_str()),
        ("start", &start),
        ("end", &end),
        ("lookback", &args.lookback),
        ("new", if args.new { "true" } else { "false" }),
    ];
    params.extend(args.step.as_deref().map(|step| ("step", step)));
    let body = client.get("/api/taffrail/v1/logs/patterns", &params).await?;
    if args.client.output == Output::Json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    let answer: Answer =
        serde_json::from_str(&body).context("the server's answer holds no patterns")?;
    print(&answer.patterns, args, out)
}

fn print(patterns: &[Pattern], args: &LogPatternsArgs, out: &mut impl Write) -> Result<()> {
    if patterns.is_empty() {
        let what = if args.new { "new patterns" } else { "lines" };
        writeln!(std::io::stderr(), "note: no {what} in the last {}", args.since)?;
        return Ok(());
    }
    let rows: Vec<[String; 6]> = patterns
        .iter()
        .take(args.limit)
        .map(|p| {
            [
                p.count.to_string(),
                if p.is_new { "new" } else { "" }.to_owned(),
                moment(&p.first_seen),
                moment(&p.last_seen),
                bars(&p.samples),
                if p.pattern.is_empty() { "(empty)".to_owned() } else { p.pattern.clone() },
            ]
        })
        .collect();
    table(out, ["COUNT", "NEW", "FIRST SEEN", "LAST SEEN", "RATE", "PATTERN"], &rows)?;
    if let Some(rest) = patterns.len().checked_sub(args.limit).filter(|rest| *rest > 0) {
        writeln!(std::io::stderr(), "note: {rest} more patterns; --limit shows them")?;
    }
    Ok(())
}

fn moment(ns: &str) -> String {
    ns.parse().map_or_else(|_| ns.to_owned(), |ns| local_time(ns, "%Y-%m-%d %H:%M:%S"))
}

/// Characters that show how high the counts of a pattern were in time, the highest of its own filling a line.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Columns of the graph.
const BARS_MAX: i64 = 20;

/// The counts between a pattern's first and last step, as a line of bars.
fn bars(samples: &[(i64, u64)]) -> String {
    let (Some((first, _)), Some((last, _))) = (samples.first(), samples.last()) else {
        return String::new();
    };
    let span = (last - first).max(1);
    let mut columns = vec![0_u64; if span == 1 { 1 } else { BARS_MAX as usize }];
    let last_column = columns.len() as i64 - 1;
    for (t, count) in samples {
        let column = usize::try_from((t - first) * last_column / span).unwrap_or(0);
        columns[column.min(last_column as usize)] += count;
    }
    let highest = columns.iter().copied().max().unwrap_or(1).max(1);
    let bar = |count: &u64| match count {
        0 => ' ',
        count => BARS[((count * BARS.len() as u64).div_ceil(highest) - 1).min(7) as usize],
    };
    columns.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_drawn_beside_each_other() {
        let check = |samples: &[(i64, u64)], expect: &str| assert_eq!(bars(samples), expect);
        check(&[], "");
        check(&[(60, 5)], "█");
        check(&[(0, 1), (190, 8)], "▁                  █");
        let all: Vec<(i64, u64)> = (0..20).map(|i| (i * 10, 8)).collect();
        check(&all, &"█".repeat(20));
    }
}

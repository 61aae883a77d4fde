//! `taffrail logs`: lines of the past, of a container or a query, with what surrounds them, and new ones as they come.

mod follow;
mod nothing;
mod pages;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use self::nothing::Asked;
use self::pages::{ANSWER_LINES_MAX, Pages};
use super::{Client, local_time, visible};
use crate::cli::{LogsArgs, Output};
use crate::config::duration_ms;

/// Makes entries say which labels they have beside those of their stream, and keep bytes that are not UTF-8.
const ENCODING: (&str, &str) = ("x-loki-response-encoding-flags", "categorize-labels,keep-bytes");

/// Lines printed when nobody says how many.
const LINES_USUAL: usize = 100;

/// The part of Loki's answers that is printed.
#[derive(Deserialize)]
struct Streams {
    #[serde(alias = "result")]
    streams: Vec<LogStream>,
    #[serde(default)]
    dropped_entries: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct LogStream {
    stream: BTreeMap<String, String>,
    values: Vec<Row>,
}

#[derive(Deserialize)]
struct Row(String, String, #[serde(default)] Categories);

impl Row {
    fn t_ns(&self) -> i64 {
        self.0.parse().unwrap_or(0)
    }
}

/// Labels of a row beside those of its stream.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Categories {
    structured_metadata: BTreeMap<String, String>,
    parsed: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct LogAnswer {
    data: Streams,
}

/// Rows around one.
#[derive(Deserialize)]
struct Around {
    before: Vec<(String, String)>,
    after: Vec<(String, String)>,
}

/// Runs `taffrail logs`.
///
/// # Errors
/// When the server cannot be reached or refuses the query.
pub async fn logs(args: &LogsArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::new(&args.client)?;
    let query = query(args)?;
    let start = match &args.from {
        Some(from) => from.clone(),
        None => {
            let since_ms = duration_ms(&args.since).with_context(|| {
                format!("--since {:?} is not a duration such as 30m or 6h", args.since)
            })?;
            let now_ns = jiff::Timestamp::now().as_nanosecond();
            (now_ns - i128::from(since_ms) * 1_000_000).to_string()
        }
    };
    let is_json = args.client.output == Output::Json;
    let is_paged = args.limit == Some(0) || args.limit.is_some_and(|n| n > ANSWER_LINES_MAX);
    if is_paged && !args.follow && (is_json || args.context > 0) {
        let what = if is_json { "--output json" } else { "--context" };
        bail!("{what} is for one answer of the server, which has {ANSWER_LINES_MAX} lines at most");
    }
    let limit = args.limit.unwrap_or(LINES_USUAL).to_string();
    let printer = Printer {
        args,
        colour: std::io::stdout().is_terminal() && !args.no_color,
        names: args.query.as_deref().is_none_or(|q| q.contains('{')),
    };
    let asked = Asked { client: &client, args, query: &query, start: &start };
    if args.follow {
        asked.note_absence().await?;
        return follow::follow(&client, &query, &start, &limit, &printer, out).await;
    }
    if is_paged {
        return print_pages(&asked, &printer, out).await;
    }
    let mut params = vec![("query", query.as_str()), ("start", &start), ("limit", &limit)];
    params.extend(args.to.as_deref().map(|to| ("end", to)));
    let body = client
        .get_with("/loki/api/v1/query_range", &params, (!is_json).then_some(ENCODING))
        .await?;
    if is_json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    let mut answer: LogAnswer = serde_json::from_str(&body)
        .context("the answer holds no log lines; use --output json for metric queries")?;
    oldest_first(&mut answer.data.streams);
    if answer.data.streams.is_empty() {
        return asked.explain_nothing().await;
    }
    let count: usize = answer.data.streams.iter().map(|s| s.values.len()).sum();
    if args.limit.is_none() && count == LINES_USUAL {
        writeln!(std::io::stderr(), "note: the newest {LINES_USUAL} lines; -n 0 prints all")?;
    }
    match args.context {
        0 => printer.print(&answer.data.streams, out),
        lines => with_context(&client, &answer.data.streams, lines, &printer, out).await,
    }
}

/// Turns the answer of a query that asks for the newest lines: of those with the same time the last one came first.
fn oldest_first(streams: &mut [LogStream]) {
    streams.iter_mut().for_each(|stream| stream.values.reverse());
}

/// Prints more lines than one answer may have: all of them, or the newest ones.
async fn print_pages(asked: &Asked<'_>, printer: &Printer<'_>, out: &mut impl Write) -> Result<()> {
    let now_ns = jiff::Timestamp::now().as_nanosecond().to_string();
    let end = asked.args.to.as_deref().unwrap_or(&now_ns);
    let newest = asked.args.limit.filter(|limit| *limit > 0);
    let mut pages = Pages::new(asked.client, asked.query, (asked.start, end), newest);
    // The newest ones come last page first.
    let mut held = Vec::new();
    let mut is_empty = true;
    while let Some(mut page) = pages.next().await? {
        is_empty = false;
        match newest {
            Some(_) => {
                oldest_first(&mut page);
                held.push(page);
            }
            None => printer.print(&page, out)?,
        }
    }
    held.iter().rev().try_for_each(|page| printer.print(page, out))?;
    if is_empty { asked.explain_nothing().await } else { Ok(()) }
}

/// The log query that `text` is, or of the container that it names, or of all containers.
pub(super) fn selector(text: Option<&str>) -> Result<String> {
    Ok(match text {
        None => "{stream=~\"stdout|stderr\"}".to_owned(),
        Some(query) if query.trim_start().starts_with('{') => query.to_owned(),
        // Brackets are not part of a container's name: what was meant is a metric query, or a broken one.
        Some(text) if text.contains(['(', '{', '|']) => {
            bail!("{text:?} is neither a container's name nor a log query, which begins with {{");
        }
        // Jobs that take a container over may name its outputs otherwise, or not at all.
        Some(container) => format!("{{container={container:?}, stream!=\"events\"}}"),
    })
}

/// The LogQL query that the options make.
fn query(args: &LogsArgs) -> Result<String> {
    let mut query = selector(args.query.as_deref())?;
    let mut add = |op: &str, patterns: &[String]| {
        let quoted: Vec<String> = patterns
            .iter()
            .map(|p| {
                let flags = if args.ignore_case { "(?i)" } else { "" };
                // JSON's quotes and escapes are LogQL's.
                serde_json::Value::from(format!("{flags}{p}")).to_string()
            })
            .collect();
        if !quoted.is_empty() {
            query.push_str(&format!(" {op} {}", quoted.join(" or ")));
        }
    };
    add("|~", &args.grep);
    add("!~", &args.exclude);
    Ok(query)
}

/// Each stream by itself, its rows with `lines` rows before and after them; what is next to each other is printed once,
/// and `--` stands where rows are left out.
async fn with_context(
    client: &Client,
    streams: &[LogStream],
    lines: usize,
    printer: &Printer<'_>,
    out: &mut impl Write,
) -> Result<()> {
    let lines = lines.to_string();
    let mut is_first = true;
    for stream in streams {
        let pairs: Vec<String> = stream
            .stream
            .iter()
            .map(|(name, value)| format!("{name}={}", serde_json::Value::from(value.as_str())))
            .collect();
        let selector = format!("{{{}}}", pairs.join(","));
        let mut times: Vec<&str> = stream.values.iter().map(|row| row.0.as_str()).collect();
        times.sort_by_key(|t| t.parse::<i64>().unwrap_or(0));
        times.dedup();
        let hits: BTreeMap<(&str, &str), &Categories> =
            stream.values.iter().map(|row| ((row.0.as_str(), row.1.as_str()), &row.2)).collect();
        let none = Categories::default();
        let mut printed_ns = i64::MIN;
        for t in times {
            if t.parse().unwrap_or(0) <= printed_ns {
                continue;
            }
            let params = [
                ("query", selector.as_str()),
                ("time", t),
                ("before", lines.as_str()),
                ("after", lines.as_str()),
            ];
            let body =
                client.get_with("/api/taffrail/v1/logs/context", &params, Some(ENCODING)).await?;
            let around: Around =
                serde_json::from_str(&body).context("the server's answer is no context")?;
            let rows: Vec<(i64, &str, &str)> = around
                .before
                .iter()
                .chain(&around.after)
                .map(|(t, line)| (t.parse().unwrap_or(0), t.as_str(), line.as_str()))
                .collect();
            let adjoins = rows.first().is_some_and(|(first_ns, ..)| *first_ns <= printed_ns);
            if !is_first && !adjoins {
                writeln!(out, "--")?;
            }
            is_first = false;
            for (t_ns, t, line) in rows {
                if t_ns > printed_ns {
                    // Only of what was found is known what it has beside its line.
                    let hit = hits.get(&(t, line));
                    let fields = hit.copied().unwrap_or(&none);
                    printer.line(stream, t_ns, line, fields, Some(hit.is_some()), out)?;
                }
            }
            let last = around.after.last().or(around.before.last());
            printed_ns = last.and_then(|(t, _)| t.parse().ok()).unwrap_or(printed_ns);
        }
    }
    Ok(())
}

/// Prints lines of several streams in the order of their times.
struct Printer<'a> {
    args: &'a LogsArgs,
    colour: bool,
    names: bool,
}

impl Printer<'_> {
    fn print(&self, streams: &[LogStream], out: &mut impl Write) -> Result<()> {
        let mut rows: Vec<(i64, &LogStream, &Row)> = Vec::new();
        for stream in streams {
            rows.extend(stream.values.iter().map(|row| (row.t_ns(), stream, row)));
        }
        rows.sort_by_key(|(t, ..)| *t);
        for (t_ns, stream, Row(_, line, categories)) in rows {
            self.line(stream, t_ns, line, categories, None, out)?;
        }
        Ok(())
    }

    /// One line; `is_hit` tells lines that were asked for from those around them.
    fn line(
        &self,
        stream: &LogStream,
        t_ns: i64,
        line: &str,
        categories: &Categories,
        is_hit: Option<bool>,
        out: &mut impl Write,
    ) -> Result<()> {
        if self.args.raw {
            out.write_all(&model::bytes_of_text(line))?;
            return Ok(out.write_all(b"\n")?);
        }
        let label = |name: &str| {
            let others = [&categories.parsed, &categories.structured_metadata, &stream.stream];
            others.into_iter().find_map(|labels| labels.get(name)).map(String::as_str)
        };
        let mut head = String::new();
        if self.args.timestamps {
            head.push_str(&local_time(t_ns, "%Y-%m-%dT%H:%M:%S%.3f%:z "));
        }
        if let Some(is_hit) = is_hit {
            head.push_str(if is_hit { "> " } else { "  " });
        }
        if self.names
            && let Some(container) = label("container")
        {
            head.push_str(&format!("{} | ", visible(container)));
        }
        for name in &self.args.fields {
            if let Some(value) = label(name) {
                head.push_str(&visible(&format!("{name}={value} ")));
            }
        }
        let colour = match label("level").or(label("detected_level")).unwrap_or("") {
            _ if !self.colour => "",
            "error" | "fatal" | "critical" => "\x1b[31m",
            "warn" | "warning" => "\x1b[33m",
            "debug" | "trace" => "\x1b[2m",
            _ => "",
        };
        let reset = if colour.is_empty() { "" } else { "\x1b[0m" };
        writeln!(out, "{head}{colour}{}{reset}", visible(&model::shown_text(line)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(words: &[&str]) -> LogsArgs {
        let cli = Cli::parse_from([&["taffrail", "logs"], words].concat());
        match cli.command {
            Some(Command::Logs(args)) => *args,
            _ => unreachable!("BUG: the command is logs"),
        }
    }

    #[test]
    fn options_make_a_query() {
        let check =
            |words: &[&str], expected: &str| assert_eq!(query(&args(words)).unwrap(), expected);
        check(&[], r#"{stream=~"stdout|stderr"}"#);
        check(
            &["web", "-e", "a\"b", "-e", "c", "--exclude", "d"],
            r#"{container="web", stream!="events"} |~ "a\"b" or "c" !~ "d""#,
        );
        check(&[r#"{a="b"}"#, "-i", "-e", "x"], r#"{a="b"} |~ "(?i)x""#);
    }

    #[test]
    fn lines_are_printed_in_order_with_the_fields_asked_for() {
        let streams: Streams = serde_json::from_str(
            r#"{"streams":[
              {"stream":{"container":"web"},"values":[
                ["2000000000","late",{"structuredMetadata":{"level":"error","trace":"t1"}}],
                ["1000000000","first \u001b[31m",{}]]},
              {"stream":{"container":"db"},"values":[["1500000000","middle"]]}]}"#,
        )
        .unwrap();
        let check = |words: &[&str], names: bool, expected: &str| {
            let args = args(words);
            let printer = Printer { args: &args, colour: false, names };
            let mut out = Vec::new();
            printer.print(&streams.streams, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(&[], true, "web | first ␛[31m\ndb | middle\nweb | late\n");
        check(
            &["--fields", "level,trace"],
            false,
            "first ␛[31m\nmiddle\nlevel=error trace=t1 late\n",
        );
        check(&["--raw"], true, "first \u{1b}[31m\nmiddle\nlate\n");
    }

    #[test]
    fn raw_lines_are_the_bytes_that_came() {
        let bytes = b"caf\xe9 \0 \xff";
        let line = model::text_of_bytes(bytes).into_owned();
        let stream = LogStream { stream: BTreeMap::new(), values: Vec::new() };
        let check = |words: &[&str], expected: &[u8]| {
            let args = args(words);
            let printer = Printer { args: &args, colour: false, names: false };
            let mut out = Vec::new();
            printer.line(&stream, 1, &line, &Categories::default(), None, &mut out).unwrap();
            assert_eq!(out, expected);
        };
        check(&["--raw"], b"caf\xe9 \0 \xff\n");
        check(&[], "caf\u{fffd} ␀ \u{fffd}\n".as_bytes());
    }
}

//! `taffrail trace`: one trace as a waterfall in the terminal, and its log lines.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::bars::{Stretch, bar};
use super::{Client, local_time, took, visible};
use crate::cli::{Output, TraceArgs};

/// Columns where standard output is no terminal and none are asked for.
const COLUMNS_USUAL: usize = 120;
/// Columns of the bars.
const BAR_COLUMNS_MIN: usize = 20;
const BAR_COLUMNS_MAX: usize = 120;
/// Widest columns of services and names that keep the columns behind them in line.
const SERVICE_CHARS_MAX: usize = 24;
const NAME_CHARS_MAX: usize = 60;
/// Longer services and names are cut where they stand in a line with others.
const OPERATION_CHARS_MAX: usize = 100;
/// Deeper spans are not moved further in.
const INDENT_MAX: u32 = 24;
/// Steps of the critical path that are named in one line.
const STEPS_MAX: usize = 5;
/// 256-colour numbers of services, light enough for dark terminals and dark enough for light ones.
const COLOURS: [u8; 8] = [33, 142, 167, 37, 134, 172, 175, 69];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    trace_id: String,
    root_service: Option<String>,
    root_name: Option<String>,
    start_ns: String,
    duration_ns: u64,
    span_count: usize,
    error_count: usize,
    services: Vec<String>,
    critical_ns: u64,
    waited_for: Vec<Step>,
    waited_for_count: usize,
    error_path: Vec<Step>,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    service: Option<String>,
    name: String,
    /// On the critical path: of this span, or of all of the name.
    critical_ns: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    depth: u32,
    service: Option<String>,
    name: String,
    status: String,
    #[serde(default)]
    status_message: String,
    start_ns: String,
    duration_ns: u64,
    self_ns: u64,
    critical: Vec<(String, u64)>,
    attributes: Vec<Attribute>,
    #[serde(default)]
    resource: Vec<Attribute>,
    #[serde(default)]
    events: Vec<Event>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Attribute {
    name: String,
    value: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    time_ns: String,
    name: String,
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lines {
    lines: Vec<Line>,
    is_cut: bool,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    time_ns: String,
    stream: BTreeMap<String, String>,
    line: String,
}

/// Runs `taffrail trace`.
///
/// # Errors
/// When the server cannot be reached, or no such trace is stored.
pub async fn trace(args: &TraceArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::new(&args.client)?;
    // An id is digits; anything else must not become another path.
    let id = digits(&args.id)
        .with_context(|| format!("trace id {:?} is not 1 to 32 hexadecimal digits", args.id))?;
    let path = format!("/api/taffrail/v1/traces/{id}");
    let limit = args.limit.to_string();
    let body = client.get(&path, &[("limit", &limit)]).await?;
    let lines = match args.logs {
        true => Some(client.get(&format!("{path}/logs"), &[]).await?),
        false => None,
    };
    if args.client.output == Output::Json {
        match lines {
            Some(lines) => writeln!(out, "{{\"trace\":{body},\"logs\":{lines}}}")?,
            None => writeln!(out, "{body}")?,
        }
        return Ok(());
    }
    let answer: Answer = serde_json::from_str(&body).context("the server's answer is no trace")?;
    let is_terminal = std::io::stdout().is_terminal();
    let printer = Printer {
        args,
        columns: args.width.unwrap_or_else(|| columns(is_terminal)),
        is_coloured: is_terminal && !args.no_color,
    };
    printer.print(&answer, out)?;
    if let Some(lines) = lines {
        let lines: Lines =
            serde_json::from_str(&lines).context("the server's answer holds no log lines")?;
        print_lines(&lines, out)?;
    }
    if answer.spans.len() < answer.span_count {
        let (shown, all) = (answer.spans.len(), answer.span_count);
        writeln!(std::io::stderr(), "note: {shown} of {all} spans; --limit 0 shows all")?;
    }
    Ok(())
}

/// The digits of an id, which some write in groups as a UUID has them.
fn digits(id: &str) -> Option<String> {
    let groups: Vec<usize> = id.split('-').map(str::len).collect();
    let is_uuid = groups == [8, 4, 4, 4, 12];
    let digits = if is_uuid { id.replace('-', "") } else { id.to_owned() };
    let is_sound =
        (1..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_sound.then_some(digits)
}

/// Columns of the terminal.
fn columns(is_terminal: bool) -> usize {
    let size = is_terminal.then(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok()).flatten();
    size.map_or(COLUMNS_USUAL, |size| usize::from(size.ws_col)).max(40)
}

struct Printer<'a> {
    args: &'a TraceArgs,
    columns: usize,
    is_coloured: bool,
}

impl Printer<'_> {
    fn print(&self, trace: &Answer, out: &mut impl Write) -> Result<()> {
        let start_ns: i64 = trace.start_ns.parse().unwrap_or(0);
        let start = local_time(start_ns, "%Y-%m-%d %H:%M:%S%.3f");
        let root = operation(trace.root_service.as_deref(), trace.root_name.as_deref());
        writeln!(out, "{}  {root}  {start}  {}", trace.trace_id, took(trace.duration_ns))?;
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        writeln!(
            out,
            "{}, {}, {}",
            count(trace.span_count, "span"),
            count(trace.services.len(), "service"),
            count(trace.error_count, "error")
        )?;
        self.print_paths(trace, out)?;
        writeln!(out)?;
        self.print_spans(trace, start_ns, out)
    }

    /// Where the time went, the longest first, and where the error came from.
    fn print_paths(&self, trace: &Answer, out: &mut impl Write) -> Result<()> {
        let steps = trace.waited_for.iter().take(STEPS_MAX);
        let mut shown: Vec<String> = steps
            .map(|step| {
                let name = operation(step.service.as_deref(), Some(&step.name));
                let percent = step.critical_ns as f64 * 100.0 / trace.critical_ns.max(1) as f64;
                format!("{name} {} ({percent:.0} %)", took(step.critical_ns))
            })
            .collect();
        let rest = trace.waited_for_count.saturating_sub(shown.len());
        if rest > 0 {
            shown.push(format!("{rest} more"));
        }
        if !shown.is_empty() {
            writeln!(out, "waited for: {}", shown.join(", "))?;
        }
        let step = |step: &Step| operation(step.service.as_deref(), Some(&step.name));
        let path: Vec<String> = trace.error_path.iter().map(step).collect();
        if !path.is_empty() {
            writeln!(out, "failed in:  {}", path.join(" > "))?;
        }
        Ok(())
    }

    fn print_spans(&self, trace: &Answer, start_ns: i64, out: &mut impl Write) -> Result<()> {
        let rows: Vec<[String; 4]> = trace.spans.iter().map(cells).collect();
        let width = |column: usize, head: &str, max: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.filter(|w| *w <= max).chain([head.len()]).max().unwrap_or(0)
        };
        let heads = ["SERVICE", "SPAN", "TOOK", "SELF"];
        let maxima = [SERVICE_CHARS_MAX, NAME_CHARS_MAX, usize::MAX, usize::MAX];
        let widths: [usize; 4] = std::array::from_fn(|i| width(i, heads[i], maxima[i]));
        let taken: usize = widths.iter().sum::<usize>() + 2 * widths.len() + 3;
        let columns = self.columns.saturating_sub(taken).clamp(BAR_COLUMNS_MIN, BAR_COLUMNS_MAX);
        let pad = |text: &str, width: usize| width.saturating_sub(text.chars().count());
        let [a, b, c, d] = heads;
        let [wa, wb, wc, wd] = widths;
        let whole = took(trace.duration_ns);
        let gap = columns.saturating_sub(whole.chars().count() + 1);
        writeln!(out, "   {a:wa$}  {b:wb$}  {c:>wc$}  {d:>wd$}  0{:gap$}{whole}", "")?;
        for (span, [service, name, took, own]) in trace.spans.iter().zip(&rows) {
            let is_error = span.status == "error";
            let marks = [is_error, !span.critical.is_empty(), !span.warnings.is_empty()];
            let marks: String =
                marks.iter().zip("!*?".chars()).map(|(is, c)| if *is { c } else { ' ' }).collect();
            let stretch = |at: &str, length_ns: u64| {
                let at_ns: i64 = at.parse().unwrap_or(start_ns);
                Stretch {
                    start_ns: at_ns.saturating_sub(start_ns).max(0).unsigned_abs(),
                    length_ns,
                }
            };
            let critical: Vec<Stretch> =
                span.critical.iter().map(|(at, length)| stretch(at, *length)).collect();
            let own_stretch = stretch(&span.start_ns, span.duration_ns);
            let bar = bar(own_stretch, &critical, trace.duration_ns, columns);
            let (colour, red, reset) = self.colours(trace, span, is_error);
            writeln!(
                out,
                "{red}{marks}{reset}{colour}{service}{reset}{:sa$}  {red}{name}{reset}{:sb$}  {:sc$}{took}  {:sd$}{own}  {colour}{bar}{reset}",
                "",
                "",
                "",
                "",
                sa = pad(service, wa),
                sb = pad(name, wb),
                sc = pad(took, wc),
                sd = pad(own, wd),
            )?;
            self.print_details(span, out)?;
        }
        Ok(())
    }

    fn colours(&self, trace: &Answer, span: &Span, is_error: bool) -> (String, &str, &str) {
        if !self.is_coloured {
            return (String::new(), "", "");
        }
        let place = trace.services.iter().position(|s| Some(s) == span.service.as_ref());
        let colour = place
            .map_or_else(String::new, |i| format!("\x1b[38;5;{}m", COLOURS[i % COLOURS.len()]));
        (colour, if is_error { "\x1b[31m" } else { "" }, "\x1b[0m")
    }

    /// What is said below a span.
    fn print_details(&self, span: &Span, out: &mut impl Write) -> Result<()> {
        for warning in &span.warnings {
            writeln!(out, "      ? {}", visible(warning))?;
        }
        if !span.status_message.is_empty() {
            writeln!(out, "      ! {}", visible(&span.status_message))?;
        }
        if self.args.attributes {
            for attribute in &span.attributes {
                writeln!(out, "      {}", pair(attribute))?;
            }
            for attribute in &span.resource {
                writeln!(out, "      resource.{}", pair(attribute))?;
            }
        }
        if self.args.events {
            let start_ns: i64 = span.start_ns.parse().unwrap_or(0);
            for event in &span.events {
                let after_ns = event.time_ns.parse().unwrap_or(start_ns).saturating_sub(start_ns);
                let sign = if after_ns < 0 { '-' } else { '+' };
                let pairs: Vec<String> = event.attributes.iter().map(pair).collect();
                let name = visible(&event.name);
                let after = took(after_ns.unsigned_abs());
                writeln!(out, "      {sign}{after} {name} {}", pairs.join(" "))?;
            }
        }
        Ok(())
    }
}

/// Service, name moved in by its depth, duration, time of its own.
fn cells(span: &Span) -> [String; 4] {
    let mut name = "  ".repeat(span.depth.min(INDENT_MAX) as usize);
    if span.depth > INDENT_MAX {
        name.push_str(&format!("({}) ", span.depth));
    }
    name.push_str(&visible(&span.name));
    let service = visible(span.service.as_deref().unwrap_or("-"));
    [service, name, took(span.duration_ns), took(span.self_ns)]
}

fn operation(service: Option<&str>, name: Option<&str>) -> String {
    let cut = |text: &str| match text.char_indices().nth(OPERATION_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    };
    let (service, name) = (service.unwrap_or("-"), name.unwrap_or("(no root)"));
    visible(&format!("{} {}", cut(service), cut(name)))
}

fn pair(attribute: &Attribute) -> String {
    visible(&format!("{}={}", attribute.name, attribute.value))
}

fn print_lines(lines: &Lines, out: &mut impl Write) -> Result<()> {
    writeln!(out)?;
    for line in &lines.lines {
        let time = local_time(line.time_ns.parse().unwrap_or(0), "%H:%M:%S%.3f");
        let name = |label: &str| line.stream.get(label);
        let source = name("container").or_else(|| name("service_name")).or_else(|| name("job"));
        let source = source.map_or_else(String::new, |source| format!("{} | ", visible(source)));
        writeln!(out, "{time}  {source}{}", visible(&line.line))?;
    }
    let note = match (lines.lines.len(), lines.is_cut) {
        (0, _) => "no log line has the id of this trace".to_owned(),
        (count, true) => format!("the first {count} log lines; there are more"),
        _ => String::new(),
    };
    for note in lines.warnings.iter().chain((!note.is_empty()).then_some(&note)) {
        writeln!(std::io::stderr(), "note: {}", visible(note))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    const ANSWER: &str = r#"{
      "traceId":"ab","rootService":"web","rootName":"GET /","startNs":"1000000000","durationNs":100000000,
      "spanCount":3,"errorCount":1,"services":["bank","web"],
      "criticalNs":100000000,"waitedForCount":2,
      "waitedFor":[{"service":"bank","name":"pay\u001b","criticalNs":80000000},{"service":"web","name":"GET /","criticalNs":20000000}],
      "errorPath":[{"service":"web","name":"GET /","criticalNs":1},{"service":"bank","name":"pay","criticalNs":1}],
      "spans":[
        {"depth":0,"service":"web","name":"GET /","status":"unset","startNs":"1000000000","durationNs":100000000,"selfNs":20000000,
         "critical":[["1000000000",10000000],["1090000000",10000000]],"attributes":[{"name":"a","value":[1,"x"]}],
         "resource":[{"name":"container.name","value":"web-1"}]},
        {"depth":1,"service":"bank","name":"pay\u001b","status":"error","statusMessage":"declined","startNs":"1010000000","durationNs":80000000,"selfNs":80000000,
         "critical":[["1010000000",80000000]],"attributes":[],"warnings":["odd"],
         "events":[{"timeNs":"1011000000","name":"retry","attributes":[{"name":"n","value":2}]}]},
        {"depth":30,"service":null,"name":"late","status":"ok","startNs":"1050000000","durationNs":0,"selfNs":0,"critical":[],"attributes":[]}
      ]}"#;

    fn check(words: &[&str], expected: &[&str]) {
        let cli = Cli::parse_from([&["taffrail", "trace", "ab"], words].concat());
        let Some(Command::Trace(args)) = cli.command else { panic!("not a trace") };
        let printer = Printer { args: &args, columns: 40, is_coloured: false };
        let mut out = Vec::new();
        printer.print(&serde_json::from_str(ANSWER).unwrap(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn a_trace_is_a_waterfall() {
        let indent = " ".repeat(48);
        let pad = |name: &str| format!("{name}{}", " ".repeat(57 - name.chars().count()));
        let span = pad("SPAN");
        let head = format!("   SERVICE  {span}   TOOK  SELF  0              100ms");
        let rows = [
            format!(" * web      {}  100ms  20ms  ██░░░░░░░░░░░░░░░░██", pad("GET /")),
            format!("!*?bank     {}   80ms  80ms    ████████████████", pad("  pay␛")),
            format!("   -        {}    0ns   0ns            ░", pad(&format!("{indent}(30) late"))),
        ];
        let [web, bank, late] = rows.each_ref().map(String::as_str);
        let first = [
            "3 spans, 2 services, 1 error",
            "waited for: bank pay␛ 80ms (80 %), web GET / 20ms (20 %)",
            "failed in:  web GET / > bank pay",
            "",
            &head,
        ];
        check(&[], &[&first[..], &[web, bank, "      ? odd", "      ! declined", late]].concat());
        let (attribute, event) = ("      a=[1,\"x\"]", "      +1ms retry n=2");
        let resource = "      resource.container.name=\"web-1\"";
        check(
            &["--events", "--attributes"],
            &[
                &first[..],
                &[web, attribute, resource, bank, "      ? odd", "      ! declined", event, late],
            ]
            .concat(),
        );
    }

    #[test]
    fn ids_are_digits_or_uuids() {
        let check = |id: &str, expected: Option<&str>| {
            assert_eq!(digits(id).as_deref(), expected, "{id}");
        };
        check("D005", Some("D005"));
        let uuid = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736";
        check(uuid, Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        check("4bf92f35-77b3", None);
        check("../x", None);
        check("", None);
    }

    #[test]
    fn long_names_are_cut_in_lines_with_others() {
        let text = operation(Some("web"), Some(&"é".repeat(100_000)));
        assert_eq!(text, format!("web {}…", "é".repeat(100)));
    }
}

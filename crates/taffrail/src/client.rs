//! The commands that talk to a running Taffrail: `query`, `series`, `labels`, `cardinality`, `logs`, `health`.
//!
//! What comes back is foreign text on its way to a terminal: control characters are shown, never passed on.

pub mod cardinality;
pub mod series;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::cli::{ClientArgs, HealthArgs, LogsArgs, Output, QueryArgs};
use crate::config::duration_ms;

/// Answers larger than this are not read.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A connection to a running Taffrail.
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<String>,
}

impl Client {
    fn new(args: &ClientArgs) -> Result<Self> {
        Self::open(&args.server, args.token_file.as_deref())
    }

    /// To the server at a URL, with the token in a file.
    pub(crate) fn open(server: &str, token_file: Option<&Path>) -> Result<Self> {
        let server = server.trim_end_matches('/').to_owned();
        let token = token_file.map(read_token).transpose()?;
        let builder =
            reqwest::Client::builder().user_agent(concat!("taffrail/", env!("CARGO_PKG_VERSION")));
        Ok(Self { http: builder.no_proxy().build()?, server, token })
    }

    /// The server's address.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// A request to be completed and sent by the caller.
    pub(crate) fn post(&self, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.server));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// `GET path?params`; the body of a good answer, otherwise the server's own words as the error.
    pub(crate) async fn get(&self, path: &str, params: &[(&str, &str)]) -> Result<String> {
        let (status, body) = self.get_any(path, params).await?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        #[derive(Deserialize)]
        struct Failure {
            error: String,
        }
        match serde_json::from_str::<Failure>(&body) {
            Ok(failure) => bail!("{}", failure.error),
            Err(_) => bail!("{} answered {status}: {}", self.server, body.trim()),
        }
    }

    async fn get_any(&self, path: &str, params: &[(&str, &str)]) -> Result<(u16, String)> {
        let mut request = self.http.get(format!("{}{path}", self.server)).query(params);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let unreachable = || {
            format!(
                "cannot reach {}; is taffrail running there? (--server, TAFFRAIL_SERVER)",
                self.server
            )
        };
        let response = request.send().await.with_context(unreachable)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(piece) = stream.next().await {
            body.extend_from_slice(&piece?);
            if body.len() > ANSWER_BYTES_MAX {
                bail!("the answer is larger than {} MiB; ask for less", ANSWER_BYTES_MAX >> 20);
            }
        }
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

fn read_token(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read token file {}", path.display()))?;
    Ok(text.lines().next().unwrap_or("").trim().to_owned())
}

/// The part of Prometheus' answers that tables show.
#[derive(Deserialize)]
struct QueryAnswer {
    data: QueryData,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", tag = "resultType", content = "result")]
enum QueryData {
    Scalar(Point),
    String(Point),
    Vector(Vec<VectorSample>),
    Matrix(Vec<MatrixSeries>),
}

#[derive(Deserialize)]
struct Point(f64, String);

#[derive(Deserialize)]
struct VectorSample {
    metric: BTreeMap<String, String>,
    value: Point,
}

#[derive(Deserialize)]
struct MatrixSeries {
    metric: BTreeMap<String, String>,
    values: Vec<Point>,
}

/// Runs `taffrail query`.
///
/// # Errors
/// When the server cannot be reached or refuses the query.
pub async fn query(args: &QueryArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::new(&args.client)?;
    let body = match &args.since {
        None => {
            let mut params = vec![("query", args.expression.as_str())];
            params.extend(args.time.as_deref().map(|time| ("time", time)));
            client.get("/api/v1/query", &params).await?
        }
        Some(since) => {
            let [start, end] = last(since)?;
            let since_ms = duration_ms(since).unwrap_or(0);
            let step =
                args.step.clone().unwrap_or_else(|| format!("{}", (since_ms / 60 / 1000).max(1)));
            let params = [
                ("query", args.expression.as_str()),
                ("start", &start),
                ("end", &end),
                ("step", &step),
            ];
            client.get("/api/v1/query_range", &params).await?
        }
    };
    if args.client.output == Output::Json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    let answer: QueryAnswer =
        serde_json::from_str(&body).context("the server's answer is not Prometheus'")?;
    match answer.data {
        QueryData::Scalar(Point(_, value)) | QueryData::String(Point(_, value)) => {
            writeln!(out, "{}", visible(&value))?
        }
        QueryData::Vector(samples) => {
            let rows = samples.iter().map(|s| [series_name(&s.metric), s.value.1.clone()]);
            table(out, ["SERIES", "VALUE"], &rows.collect::<Vec<_>>())?;
        }
        QueryData::Matrix(series) => {
            for one in &series {
                writeln!(out, "{}", series_name(&one.metric))?;
                for Point(t, value) in &one.values {
                    writeln!(
                        out,
                        "  {}  {}",
                        local_time((t * 1e9) as i64, "%Y-%m-%d %H:%M:%S"),
                        visible(value)
                    )?;
                }
            }
        }
    }
    for note in answer.warnings.iter().chain(&answer.infos) {
        writeln!(std::io::stderr(), "note: {}", visible(note))?;
    }
    Ok(())
}

fn series_name(metric: &BTreeMap<String, String>) -> String {
    let name = metric.get("__name__").map_or("", String::as_str);
    let labels: Vec<String> = metric
        .iter()
        .filter(|(n, _)| *n != "__name__")
        .map(|(n, v)| format!("{n}={v:?}"))
        .collect();
    visible(&format!("{name}{{{}}}", labels.join(", ")))
}

/// `start` and `end` of the last `since`, Unix seconds.
fn last(since: &str) -> Result<[String; 2]> {
    let since_ms = duration_ms(since)
        .with_context(|| format!("--since {since:?} is not a duration such as 30m or 6h"))?;
    let end_ms = jiff::Timestamp::now().as_millisecond();
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    Ok([seconds(end_ms - since_ms), seconds(end_ms)])
}

/// Cells of a left column that are wider than this do not move the right one for all other rows.
const COLUMN_CHARS_MAX: usize = 100;

/// Left column padded to its widest cell of up to [`COLUMN_CHARS_MAX`]. Nothing is cut, for what is printed is often
/// searched or copied.
fn table(out: &mut impl Write, head: [&str; 2], rows: &[[String; 2]]) -> Result<()> {
    let widths = rows.iter().map(|r| r[0].chars().count()).filter(|w| *w <= COLUMN_CHARS_MAX);
    let width = widths.chain([head[0].len()]).max().unwrap_or(0);
    writeln!(out, "{:width$}  {}", head[0], head[1])?;
    for [left, right] in rows {
        let pad = width.saturating_sub(left.chars().count());
        writeln!(out, "{left}{:pad$}  {}", "", visible(right))?;
    }
    Ok(())
}

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
    values: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct LogAnswer {
    data: Streams,
}

/// Runs `taffrail logs`.
///
/// # Errors
/// When the server cannot be reached or refuses the query.
pub async fn logs(args: &LogsArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::new(&args.client)?;
    let selector = match args.query.as_deref() {
        None => "{stream=~\"stdout|stderr\"}".to_owned(),
        Some(query) if query.trim_start().starts_with('{') => query.to_owned(),
        Some(container) => format!("{{container={container:?}, stream=~\"stdout|stderr\"}}"),
    };
    let since_ms = duration_ms(&args.since)
        .with_context(|| format!("--since {:?} is not a duration such as 30m or 6h", args.since))?;
    let start =
        (jiff::Timestamp::now().as_nanosecond() - i128::from(since_ms) * 1_000_000).to_string();
    let limit = args.limit.to_string();
    let mut printer = Printer {
        args,
        colour: std::io::stdout().is_terminal(),
        names: args.query.as_deref().is_none_or(|q| q.contains('{')),
    };
    if args.follow {
        return follow(&client, &selector, &start, &limit, &mut printer, out).await;
    }
    let body = client
        .get(
            "/loki/api/v1/query_range",
            &[("query", &selector), ("start", &start), ("limit", &limit)],
        )
        .await?;
    if args.client.output == Output::Json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    let answer: LogAnswer = serde_json::from_str(&body)
        .context("the answer holds no log lines; use --output json for metric queries")?;
    printer.print(&answer.data.streams, out)
}

async fn follow(
    client: &Client,
    selector: &str,
    start: &str,
    limit: &str,
    printer: &mut Printer<'_>,
    out: &mut impl Write,
) -> Result<()> {
    let server = client.server.replacen("http", "ws", 1);
    let url = reqwest::Url::parse_with_params(
        &format!("{server}/loki/api/v1/tail"),
        [("query", selector), ("start", start), ("limit", limit)],
    )?;
    let mut request = url.as_str().into_client_request()?;
    if let Some(token) = &client.token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
    }
    let (mut socket, _) = match tokio_tungstenite::connect_async(request).await {
        Ok(connected) => connected,
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            bail!("{}", String::from_utf8_lossy(body).trim());
        }
        Err(error) => {
            return Err(error).with_context(|| {
                format!("cannot reach {}; is taffrail running there?", client.server)
            });
        }
    };
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        if printer.args.client.output == Output::Json {
            writeln!(out, "{text}")?;
        } else {
            let streams: Streams = serde_json::from_str(&text)?;
            printer.print(&streams.streams, out)?;
            if streams.dropped_entries.is_some_and(|dropped| !dropped.is_empty()) {
                writeln!(
                    std::io::stderr(),
                    "note: lines were skipped because they came faster than they could be sent"
                )?;
            }
        }
        out.flush()?;
    }
    bail!("{} ended the stream", client.server)
}

/// Prints lines of several streams in the order of their times.
struct Printer<'a> {
    args: &'a LogsArgs,
    colour: bool,
    names: bool,
}

impl Printer<'_> {
    fn print(&mut self, streams: &[LogStream], out: &mut impl Write) -> Result<()> {
        let mut rows: Vec<(i64, &LogStream, &str)> = Vec::new();
        for stream in streams {
            rows.extend(
                stream
                    .values
                    .iter()
                    .map(|(t, line)| (t.parse().unwrap_or(0), stream, line.as_str())),
            );
        }
        rows.sort_by_key(|(t, ..)| *t);
        for (t_ns, stream, line) in rows {
            let mut head = String::new();
            if self.args.timestamps {
                head.push_str(&local_time(t_ns, "%Y-%m-%dT%H:%M:%S%.3f%:z "));
            }
            if self.names
                && let Some(container) = stream.stream.get("container")
            {
                head.push_str(&format!("{} | ", visible(container)));
            }
            let level = stream
                .stream
                .get("level")
                .or(stream.stream.get("detected_level"))
                .map_or("", String::as_str);
            let colour = match level {
                _ if !self.colour => "",
                "error" | "fatal" => "\x1b[31m",
                "warn" => "\x1b[33m",
                "debug" | "trace" => "\x1b[2m",
                _ => "",
            };
            let reset = if colour.is_empty() { "" } else { "\x1b[0m" };
            writeln!(out, "{head}{colour}{}{reset}", visible(line))?;
        }
        Ok(())
    }
}

/// Runs `taffrail health`; `false` when something is wrong.
///
/// # Errors
/// When the server cannot be reached.
pub async fn health(args: &HealthArgs, out: &mut impl Write) -> Result<bool> {
    let client = Client::new(&args.client)?;
    let (ready_status, ready) = client.get_any("/-/ready", &[]).await?;
    if ready_status == 401 || ready_status == 403 {
        bail!("{}", ready.trim());
    }
    let body = client.get("/api/taffrail/v1/status", &[]).await?;
    let healthy = ready_status == 200;
    if args.client.output == Output::Json {
        writeln!(out, "{body}")?;
        return Ok(healthy);
    }
    let status: serde_json::Value = serde_json::from_str(&body)?;
    let text = |path: &str| {
        status
            .pointer(path)
            .map_or(String::new(), |v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
    };
    let state = |path: &str| {
        let (state, message) = (text(&format!("{path}/state")), text(&format!("{path}/message")));
        visible(&if message.is_empty() { state } else { format!("{state} ({message})") })
    };
    let mib = |path: &str| {
        status
            .pointer(path)
            .and_then(serde_json::Value::as_f64)
            .map_or_else(|| "none".to_owned(), |b| format!("{:.0} MiB", b / 1_048_576.0))
    };
    let rows = [
        ["ready".to_owned(), if healthy { "yes".to_owned() } else { visible(ready.trim()) }],
        ["version".to_owned(), text("/version")],
        ["ingest".to_owned(), state("/ingest")],
        ["containers".to_owned(), state("/docker")],
        [
            "memory".to_owned(),
            format!("{} of {}", mib("/memory/rssBytes"), mib("/memory/limitBytes")),
        ],
        [
            "disk".to_owned(),
            format!(
                "{} used, limit {}, {} free",
                mib("/disk/usedBytes"),
                mib("/disk/limitBytes"),
                mib("/disk/freeBytes")
            ),
        ],
    ];
    let damage = status.pointer("/damage").and_then(serde_json::Value::as_array).cloned();
    let damage: Vec<[String; 2]> = damage
        .unwrap_or_default()
        .iter()
        .map(|what| ["damage".to_owned(), visible(what.as_str().unwrap_or_default())])
        .collect();
    let rows = [&rows[..], &damage[..]].concat();
    table(out, ["CHECK", "STATE"], &rows)?;
    Ok(healthy)
}

fn local_time(t_ns: i64, format: &str) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(t_ns)) {
        Ok(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string(),
        Err(_) => t_ns.to_string(),
    }
}

/// `text` with control characters (terminal escapes among them) replaced by visible ones; tabs stay.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => '\t',
            c if c < ' ' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_are_shown_not_passed_on() {
        assert_eq!(visible("a\x1b[31mb\tc\u{9b}"), "a␛[31mb\tc\u{fffd}");
    }

    #[test]
    fn tables_align_by_characters_and_long_cells_move_only_their_own_row() {
        let check = |rows: &[[&str; 2]], expected: &str| {
            let rows: Vec<_> = rows.iter().map(|row| row.map(str::to_owned)).collect();
            let mut out = Vec::new();
            table(&mut out, ["SERIES", "VALUE"], &rows).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(&[["é{}", "1"], ["longer{}", "2"]], "SERIES    VALUE\né{}       1\nlonger{}  2\n");
        let long = "x".repeat(COLUMN_CHARS_MAX + 1);
        check(&[["a", "1"], [&long, "2"]], &format!("SERIES  VALUE\na       1\n{long}  2\n"));
    }
}

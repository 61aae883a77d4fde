//! The commands that talk to a running Taffrail: `query`, `series`, `labels`, `cardinality`, `logs`, `trace`,
//! `traces`, `retention`, `health`.
//!
//! What comes back is foreign text on its way to a terminal: control characters are shown, never passed on.

pub mod cardinality;
pub mod log_patterns;
pub mod logs;
pub mod retention;
pub mod series;
pub mod traces;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use serde::Deserialize;

use crate::cli::{ClientArgs, HealthArgs, Output, QueryArgs};
use crate::config::duration_ms;

/// The header that names a tenant, as Loki's clients send it.
const TENANT_HEADER: &str = "x-scope-orgid";
/// Answers larger than this are not read.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A connection to a running Taffrail.
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<String>,
    tenant: Option<String>,
}

impl Client {
    fn new(args: &ClientArgs) -> Result<Self> {
        let client = Self::open(&args.server, args.token_file.as_deref())?;
        Ok(Self { tenant: args.tenant.clone(), ..client })
    }

    /// To the server at a URL, with the token in a file.
    pub(crate) fn open(server: &str, token_file: Option<&Path>) -> Result<Self> {
        let server = server.trim_end_matches('/').to_owned();
        let token = token_file.map(read_token).transpose()?;
        let builder =
            reqwest::Client::builder().user_agent(concat!("taffrail/", env!("CARGO_PKG_VERSION")));
        Ok(Self { http: builder.no_proxy().build()?, server, token, tenant: None })
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
        self.get_with(path, params, None).await
    }

    /// As [`get`](Self::get), with one more header.
    async fn get_with(
        &self,
        path: &str,
        params: &[(&str, &str)],
        header: Option<(&'static str, &'static str)>,
    ) -> Result<String> {
        let (status, body) = self.get_any(path, params, header).await?;
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

    async fn get_any(
        &self,
        path: &str,
        params: &[(&str, &str)],
        header: Option<(&'static str, &'static str)>,
    ) -> Result<(u16, String)> {
        let mut request = self.http.get(format!("{}{path}", self.server)).query(params);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header(TENANT_HEADER, tenant);
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
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

/// Cells that are wider than this do not move the columns behind them for all other rows.
const COLUMN_CHARS_MAX: usize = 100;

/// Columns padded to their widest cell of up to [`COLUMN_CHARS_MAX`], the last one not. Nothing is cut, for what is
/// printed is often searched or copied.
fn table<const N: usize>(
    out: &mut impl Write,
    head: [&str; N],
    rows: &[[String; N]],
) -> Result<()> {
    let shown: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|c| visible(c))).collect();
    let width = |column: usize| {
        let cells = shown.iter().map(|row| row[column].chars().count());
        cells.filter(|w| *w <= COLUMN_CHARS_MAX).chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(|i| if i + 1 == N { 0 } else { width(i) });
    let mut line = |cells: [&str; N]| -> Result<()> {
        for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let pad = width.saturating_sub(cell.chars().count());
            write!(out, "{}{cell}{:pad$}", if i > 0 { "  " } else { "" }, "")?;
        }
        Ok(writeln!(out)?)
    };
    line(head)?;
    shown.iter().try_for_each(|row| line(row.each_ref().map(String::as_str)))
}

/// Runs `taffrail health`; `false` when something is wrong.
///
/// # Errors
/// When the server cannot be reached.
pub async fn health(args: &HealthArgs, out: &mut impl Write) -> Result<bool> {
    let client = Client::new(&args.client)?;
    let (ready_status, ready) = client.get_any("/-/ready", &[], None).await?;
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

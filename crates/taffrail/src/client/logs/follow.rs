//! `taffrail logs --follow`: lines as they come, also from a server that was restarted meanwhile.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::pages::ANSWER_LINES_MAX;
use super::{ENCODING, LogStream, Printer, Streams};
use crate::cli::Output;
use crate::client::{Client, TENANT_HEADER};

/// Attempts to reach a server again, and milliseconds between the first of them and at most.
const ATTEMPTS_MAX: u32 = 10;
const PAUSE_MS: u64 = 500;
const PAUSE_MS_MAX: u64 = 5_000;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What was printed last: where to go on, and what not to print again.
#[derive(Debug, Default)]
struct Printed {
    /// Unix nanoseconds; `None` before the first line.
    newest_ns: Option<i64>,
    /// Streams and lines of that time.
    at_newest: BTreeSet<(Vec<(String, String)>, String)>,
}

impl Printed {
    /// Notes the lines of `streams`; with `is_repeated`, those that were printed are taken out.
    fn note(&mut self, streams: &mut [LogStream], is_repeated: bool) {
        let newest_ns = self.newest_ns.unwrap_or(i64::MIN);
        for LogStream { stream, values } in streams.iter_mut() {
            let labels: Vec<_> = stream.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
            values.retain(|row| {
                let is_known = row.t_ns() < newest_ns
                    || (row.t_ns() == newest_ns
                        && self.at_newest.contains(&(labels.clone(), row.1.clone())));
                !(is_repeated && is_known)
            });
        }
        for LogStream { stream, values } in streams.iter() {
            for row in values {
                let t_ns = row.t_ns();
                if self.newest_ns.is_none_or(|newest_ns| t_ns > newest_ns) {
                    self.newest_ns = Some(t_ns);
                    self.at_newest.clear();
                }
                if self.newest_ns == Some(t_ns) {
                    let labels = stream.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
                    self.at_newest.insert((labels, row.1.clone()));
                }
            }
        }
    }
}

/// Prints lines from `start` on, and then as they come, until the server cannot be reached any more.
pub(super) async fn follow(
    client: &Client,
    query: &str,
    start: &str,
    limit: &str,
    printer: &Printer<'_>,
    out: &mut impl Write,
) -> Result<()> {
    let is_json = printer.args.client.output == Output::Json;
    let mut printed = Printed::default();
    let mut socket = connect(client, query, start, limit, is_json).await?;
    let mut is_repeated = false;
    loop {
        let why = read(&mut socket, printer, is_repeated, &mut printed, out).await?;
        let server = &client.server;
        writeln!(std::io::stderr(), "note: {server} ended the stream ({why}); connecting again")?;
        let from = printed.newest_ns.map(|t_ns| t_ns.to_string());
        is_repeated = from.is_some();
        let (start, limit) = match &from {
            Some(from) => (from.as_str(), ANSWER_LINES_MAX.to_string()),
            None => (start, limit.to_owned()),
        };
        let mut pause_ms = PAUSE_MS;
        let mut attempt = 1;
        socket = loop {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            match connect(client, query, start, &limit, is_json).await {
                Ok(socket) => break socket,
                Err(error) if attempt == ATTEMPTS_MAX => return Err(error),
                Err(_) => attempt += 1,
            }
            pause_ms = (2 * pause_ms).min(PAUSE_MS_MAX);
        };
    }
}

async fn connect(
    client: &Client,
    query: &str,
    start: &str,
    limit: &str,
    is_json: bool,
) -> Result<Socket> {
    let server = client.server.replacen("http", "ws", 1);
    let url = reqwest::Url::parse_with_params(
        &format!("{server}/loki/api/v1/tail"),
        [("query", query), ("start", start), ("limit", limit)],
    )?;
    let mut request = url.as_str().into_client_request()?;
    if let Some(token) = &client.token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
    }
    if let Some(tenant) = &client.tenant {
        request.headers_mut().insert(TENANT_HEADER, tenant.parse()?);
    }
    if !is_json {
        request.headers_mut().insert(ENCODING.0, ENCODING.1.parse()?);
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            bail!("{}", String::from_utf8_lossy(body).trim());
        }
        Err(error) => Err(error)
            .with_context(|| format!("cannot reach {}; is taffrail running there?", client.server)),
    }
}

/// Prints what comes until the stream ends; says why it did.
async fn read(
    socket: &mut Socket,
    printer: &Printer<'_>,
    is_repeated: bool,
    printed: &mut Printed,
    out: &mut impl Write,
) -> Result<String> {
    while let Some(message) = socket.next().await {
        let text = match message {
            Ok(Message::Text(text)) => text,
            Ok(_) => continue,
            Err(error) => return Ok(error.to_string()),
        };
        let mut streams: Streams = serde_json::from_str(&text)?;
        let rows = |all: &[LogStream]| all.iter().map(|s| s.values.len()).sum::<usize>();
        let came = rows(&streams.streams);
        printed.note(&mut streams.streams, is_repeated);
        if printer.args.client.output != Output::Json {
            printer.print(&streams.streams, out)?;
            if streams.dropped_entries.is_some_and(|dropped| !dropped.is_empty()) {
                let what = "lines were skipped because they came faster than they could be sent";
                writeln!(std::io::stderr(), "note: {what}")?;
            }
        } else if rows(&streams.streams) == came {
            writeln!(out, "{text}")?;
        } else if rows(&streams.streams) > 0 {
            writeln!(out, "{}", without_printed(&text, &streams)?)?;
        }
        out.flush()?;
    }
    Ok("no more messages".to_owned())
}

/// The message with those of its lines that are left in `streams`.
fn without_printed(text: &str, streams: &Streams) -> Result<serde_json::Value> {
    let mut message: serde_json::Value = serde_json::from_str(text)?;
    let all = message["streams"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let left = all.into_iter().zip(&streams.streams).filter_map(|(mut stream, left)| {
        let is_left = |row: &serde_json::Value| {
            left.values.iter().any(|kept| row[0] == kept.0 && row[1] == kept.1)
        };
        stream["values"].as_array_mut()?.retain(is_left);
        (!left.values.is_empty()).then_some(stream)
    });
    message["streams"] = left.collect();
    Ok(message)
}

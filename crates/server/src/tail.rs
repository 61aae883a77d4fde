//! Live tail: rows go from the stores' acknowledgements to open WebSockets, through each client's own query.
//!
//! A client that reads too slowly loses rows, never the server's memory: each has a bounded queue, and what did not fit
//! is counted and sent to it as `dropped_entries`, as Loki does.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Response};
use model::{Error, Labels, LogPlan, LogRows, Order, Result, TimeRange};
use parking_lot::Mutex;
use query::logql::{Entry, Pipeline, Stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::loki::json::Encoding;
use crate::params::{Params, loki_time_ns};
use crate::tenants::Reader;
use crate::{error, loki};

/// Batches that may wait for one client.
const QUEUE_BATCHES: usize = 256;
/// A client that takes longer for one message is gone.
const SEND_TIME_MAX: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(15);
/// Longest time rows may be held back, in seconds.
const DELAY_S_MAX: usize = 5;
const HOUR_NS: i64 = 3_600_000_000_000;

/// Hands freshly stored rows to the open tails.
#[derive(Default)]
pub struct TailHub {
    listeners: Mutex<Vec<Listener>>,
    stopping: CancellationToken,
}

struct Listener {
    queue: mpsc::Sender<Arc<LogRows>>,
    dropped_rows: Arc<AtomicU64>,
}

impl TailHub {
    /// Whether anybody listens; producers skip the copy otherwise.
    pub fn has_listeners(&self) -> bool {
        !self.listeners.lock().is_empty()
    }

    /// Gives `rows`, which are durable by now, to every open tail.
    pub fn publish(&self, rows: Arc<LogRows>) {
        self.listeners.lock().retain(|listener| match listener.queue.try_send(rows.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(lost)) => {
                listener.dropped_rows.fetch_add(lost.len() as u64, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
    }

    /// Ends all tails, for the stop of the server.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Returns once [`stop`](Self::stop) was called.
    pub(crate) async fn stopped(&self) {
        self.stopping.cancelled().await;
    }

    fn listen(&self) -> (mpsc::Receiver<Arc<LogRows>>, Arc<AtomicU64>) {
        let (queue, rows) = mpsc::channel(QUEUE_BATCHES);
        let dropped_rows = Arc::new(AtomicU64::new(0));
        self.listeners.lock().push(Listener { queue, dropped_rows: dropped_rows.clone() });
        (rows, dropped_rows)
    }
}

/// What a client asked for.
struct Tail {
    pipeline: Pipeline,
    start_ns: i64,
    limit: usize,
    /// How long rows wait for others that are older.
    delay: Duration,
    /// What entries say beyond their line.
    encoding: Encoding,
    /// Whether labels are written as text, as Loki's first clients know them.
    legacy: bool,
}

pub(crate) async fn tail(app: Reader, request: Request) -> Response {
    open(app, request, false).await
}

pub(crate) async fn legacy_tail(app: Reader, request: Request) -> Response {
    open(app, request, true).await
}

async fn open(app: Reader, request: Request, legacy: bool) -> Response {
    let params = request.uri().query().map(Params::from_query).unwrap_or_default();
    let mut tail = match parse(&app, &params) {
        Ok(tail) => tail,
        Err(e) => return error::loki(&e),
    };
    if !legacy {
        tail.encoding = loki::encoding(request.headers());
    }
    tail.legacy = legacy;
    let (mut parts, _) = request.into_parts();
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => {
            upgrade.max_message_size(64 << 10).on_upgrade(move |socket| run(app, tail, socket))
        }
        Err(rejection) => rejection.into_response(),
    }
}

fn parse(app: &Reader, params: &Params) -> Result<Tail> {
    let text = params.get("query");
    app.check_one()?;
    let pipeline = Pipeline::parse_arriving(text).map_err(|e| loki::positioned(e, text))?;
    let start_ns = match params.non_empty("start") {
        Some(text) => loki_time_ns(text).ok_or_else(|| {
            Error::invalid(format!("could not parse \"start\" parameter: {text:?} is not a time"))
        })?,
        None => app.clock.now_ns() - HOUR_NS,
    };
    let delay_s = params.count("delay_for")?.unwrap_or(0);
    if delay_s > DELAY_S_MAX {
        return Err(Error::invalid(format!("delay_for can't be greater than {DELAY_S_MAX}")));
    }
    let delay = Duration::from_secs(delay_s as u64);
    let limit = loki::limit(app, params)?;
    Ok(Tail { pipeline, start_ns, limit, delay, encoding: Encoding::default(), legacy: false })
}

/// One client from greeting to goodbye.
async fn run(app: Reader, tail: Tail, mut socket: WebSocket) {
    // Listen before reading what is stored: a row in between arrives twice and is recognised, none is missed.
    let (mut rows, dropped_rows) = app.tail.listen();
    let tail = Arc::new(tail);
    let Ok(stored) = history(&app, tail.clone()).await else { return };
    let mut recent: HashSet<(i64, Labels, String)> = HashSet::new();
    for stream in &stored {
        recent
            .extend(stream.entries.iter().map(|e| (e.t_ns, stream.labels.clone(), e.line.clone())));
    }
    if !stored.is_empty() && send(&mut socket, &tail, &stored, 0).await.is_err() {
        return;
    }
    let mut ping = tokio::time::interval(PING_EVERY);
    loop {
        tokio::select! {
            () = app.tail.stopping.cancelled() => return,
            incoming = socket.recv() => match incoming {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(_)) => {}
            },
            _ = ping.tick() => {
                if timed(socket.send(Message::Ping(bytes::Bytes::new()))).await.is_err() {
                    return;
                }
            }
            batch = rows.recv() => {
                let Some(batch) = batch else { return };
                if !tail.delay.is_zero() {
                    tokio::time::sleep(tail.delay).await;
                }
                let mut streams = Grouped::default();
                streams.add(&app, &tail, &batch, &mut recent);
                while let Ok(batch) = rows.try_recv() {
                    streams.add(&app, &tail, &batch, &mut recent);
                }
                let dropped = dropped_rows.swap(0, Ordering::Relaxed);
                let streams = streams.finish(!tail.delay.is_zero());
                if (!streams.is_empty() || dropped > 0) && send(&mut socket, &tail, &streams, dropped).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The newest stored rows from `start` on, oldest first.
async fn history(app: &Reader, tail: Arc<Tail>) -> Result<Vec<Stream>> {
    let source = app.logs.clone();
    app.queries
        .run(None, move |budget| {
            let plan = LogPlan {
                matchers: tail.pipeline.matchers().to_vec(),
                line_filters: tail.pipeline.line_filters().to_vec(),
                ..LogPlan::all(TimeRange::new(tail.start_ns, i64::MAX), Order::Backward)
            };
            let mut taken = Vec::new();
            source.scan(&plan, budget, &mut |row| {
                taken.extend(tail.pipeline.entry(row, tail.encoding.categorize));
                if taken.len() < tail.limit {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            let mut streams = Grouped::default();
            for (labels, entry) in taken.into_iter().rev() {
                streams.push(labels, entry);
            }
            Ok(streams.finish(false))
        })
        .await
}

/// Rows gathered into result streams.
#[derive(Default)]
struct Grouped(BTreeMap<Labels, Vec<Entry>>);

impl Grouped {
    fn push(&mut self, labels: Labels, entry: Entry) {
        self.0.entry(labels).or_default().push(entry);
    }

    fn add(
        &mut self,
        app: &Reader,
        tail: &Tail,
        batch: &LogRows,
        recent: &mut HashSet<(i64, Labels, String)>,
    ) {
        for row in batch.iter() {
            if !app.sees(row.stream)
                || !tail.pipeline.matchers().iter().all(|m| m.matches_labels(row.stream))
            {
                continue;
            }
            let Some((labels, entry)) = tail.pipeline.entry(&row, tail.encoding.categorize) else {
                continue;
            };
            let is_known = !recent.is_empty()
                && recent.remove(&(entry.t_ns, labels.clone(), entry.line.clone()));
            if !is_known {
                self.push(labels, entry);
            }
        }
    }

    fn finish(self, sort: bool) -> Vec<Stream> {
        let stream = |(labels, mut entries): (Labels, Vec<Entry>)| {
            if sort {
                entries.sort_by_key(|e| e.t_ns);
            }
            Stream { labels, entries }
        };
        self.0.into_iter().map(stream).collect()
    }
}

async fn send(
    socket: &mut WebSocket,
    tail: &Tail,
    streams: &[Stream],
    dropped_rows: u64,
) -> Result<(), ()> {
    let mut out = String::from("{\"streams\":");
    if tail.legacy {
        loki::legacy::stream_list(&mut out, streams);
    } else {
        loki::json::stream_list(&mut out, streams, tail.encoding);
    }
    if dropped_rows > 0 {
        // Loki lists each dropped row's time and labels; a count is all a full queue leaves us.
        out.push_str(&format!(",\"dropped_entries\":[{{\"labels\":{{\"dropped_rows\":\"{dropped_rows}\"}},\"timestamp\":\"0\"}}]"));
    }
    if let Some(flags) = tail.encoding.flags() {
        out.extend([",", flags.as_str()]);
    }
    out.push('}');
    timed(socket.send(Message::Text(out.into()))).await
}

async fn timed<E>(send: impl Future<Output = Result<(), E>>) -> Result<(), ()> {
    match tokio::time::timeout(SEND_TIME_MAX, send).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(()),
    }
}

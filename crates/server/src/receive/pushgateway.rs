//! The Pushgateway's API: groups that are put, replaced and deleted, and appended to the store as if they were scraped.
//!
//! Owns: the running [`Gateway`]. A push is answered when its group is in a file of its own, written and renamed into
//! place, and its samples are durable; from then on they are appended every interval, so they stay current until the
//! group is deleted, across restarts. Series that a push or a delete takes away get a staleness marker.
//!
//! Does not own: reading pushes and what fits together (`ingest::pushgateway`), files ([`GroupFiles`], the binary's).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use ingest::compression::{self, Encoding as Packing};
use ingest::exposition::{Encoding, Format};
use ingest::pushgateway::{self, Group, Groups, Limits, group_labels};
use model::{
    Clock, ErrorKind, HistogramRow, Labels, MetricBatch, MetricMetadata, MetricRow, Result, Sink,
    stale_nan,
};
use tokio_util::sync::CancellationToken;

use super::{off_runtime, refuse, store};
use crate::{App, assets, error};

const SOURCE: &str = "pushgateway";

/// Files of groups, each with a number.
pub trait GroupFiles: Send + Sync {
    /// All that are there, by number.
    ///
    /// # Errors
    /// When they cannot be listed or read.
    fn load(&self) -> Result<BTreeMap<u64, Vec<u8>>>;

    /// Replaces the content of file `number`; durable on return, and never half.
    ///
    /// # Errors
    /// When it cannot be written; the old content stays.
    fn put(&self, number: u64, content: &[u8]) -> Result<()>;

    /// Removes file `number`; durable on return.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove(&self, number: u64) -> Result<()>;
}

/// The pushed groups of this process.
pub struct Gateway {
    limits: Limits,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    files: Arc<dyn GroupFiles>,
    /// Held while a change is written and appended, so that the store sees changes in their order.
    state: tokio::sync::Mutex<Held>,
}

#[derive(Default)]
struct Held {
    groups: Groups,
    /// File of each group.
    numbers: BTreeMap<Labels, u64>,
    next_number: u64,
    /// Time of the last batch; the next one is later.
    last_ms: i64,
}

impl Gateway {
    /// Opens the groups in `files`. Files that do not read are left where they are and named in the second part.
    ///
    /// # Errors
    /// When the files cannot be listed or read.
    pub fn open(
        limits: Limits,
        sink: Arc<dyn Sink>,
        clock: Arc<dyn Clock>,
        files: Arc<dyn GroupFiles>,
    ) -> Result<(Arc<Self>, Vec<String>)> {
        let mut held = Held::default();
        let mut damage = Vec::new();
        for (number, content) in files.load()? {
            held.next_number = held.next_number.max(number + 1);
            match Group::decode(&content) {
                Ok(group) => {
                    held.numbers.insert(group.labels.clone(), number);
                    held.groups.set(group);
                }
                Err(error) => damage.push(format!("pushgateway file {number}: {error}")),
            }
        }
        let state = tokio::sync::Mutex::new(held);
        Ok((Arc::new(Self { limits, sink, clock, files, state }), damage))
    }

    /// Appends all groups every `interval` until `stop`.
    pub async fn run(self: Arc<Self>, interval: Duration, stop: CancellationToken) {
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            match self.append_all().await {
                Ok(()) => is_failing = false,
                // Said once; the ledger counts every round.
                Err(error) if !is_failing => {
                    tracing::warn!(%error, "cannot append pushed groups");
                    is_failing = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Appends the current values of all groups.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn append_all(&self) -> Result<()> {
        let mut held = self.state.lock().await;
        let batch = {
            let t_ms = self.next_ms(&mut held);
            let mut batch = batch_at(t_ms);
            for group in held.groups.iter() {
                add(&mut batch, group);
            }
            batch
        };
        store(&self.sink, batch).await.map(|_| ())
    }

    fn next_ms(&self, held: &mut Held) -> i64 {
        held.last_ms = self.clock.now_ms().max(held.last_ms + 1);
        held.last_ms
    }

    async fn listing(&self) -> serde_json::Value {
        self.state.lock().await.groups.listing()
    }

    /// Applies a push: `families` is what was read, or why it was refused.
    async fn push(
        &self,
        labels: &Labels,
        families: Result<pushgateway::Families>,
        replace: bool,
    ) -> Result<()> {
        let mut held = self.state.lock().await;
        let now_ms = self.clock.now_ms();
        let pushed = families.and_then(|families| {
            held.groups.pushed(labels, families, replace, now_ms, &self.limits)
        });
        match pushed {
            Ok(group) => self.put(&mut held, group).await,
            Err(error) => {
                // The group remembers that a push failed, unless even that does not fit.
                if let Ok(group) = held.groups.failed(labels, now_ms, &self.limits) {
                    self.put(&mut held, group).await?;
                }
                Err(error)
            }
        }
    }

    /// Puts a changed group into its file, into memory and into the store, in this order.
    async fn put(&self, held: &mut Held, group: Group) -> Result<()> {
        let number = held.numbers.get(&group.labels).copied().unwrap_or(held.next_number);
        let (files, content) = (self.files.clone(), group.encode());
        off_runtime(move || files.put(number, &content)).await?;
        held.next_number = held.next_number.max(number + 1);
        held.numbers.insert(group.labels.clone(), number);
        let mut batch = batch_at(self.next_ms(held));
        add(&mut batch, &group);
        describe(&mut batch, &group);
        if let Some(old) = held.groups.get(&group.labels) {
            end(&mut batch, old.series_gone(Some(&group)));
        }
        held.groups.set(group);
        store(&self.sink, batch).await.map(|_| ())
    }

    async fn delete(&self, labels: &Labels) -> Result<()> {
        let mut held = self.state.lock().await;
        self.remove(&mut held, labels).await
    }

    async fn wipe(&self) -> Result<()> {
        let mut held = self.state.lock().await;
        let all: Vec<Labels> = held.groups.iter().map(|group| group.labels.clone()).collect();
        for labels in all {
            self.remove(&mut held, &labels).await?;
        }
        Ok(())
    }

    async fn remove(&self, held: &mut Held, labels: &Labels) -> Result<()> {
        let Some(number) = held.numbers.get(labels).copied() else { return Ok(()) };
        let files = self.files.clone();
        off_runtime(move || files.remove(number)).await?;
        held.numbers.remove(labels);
        let Some(group) = held.groups.remove(labels) else { return Ok(()) };
        let mut batch = batch_at(self.next_ms(held));
        end(&mut batch, group.series_gone(None));
        store(&self.sink, batch).await.map(|_| ())
    }
}

fn batch_at(t_ms: i64) -> MetricBatch {
    MetricBatch { source: Arc::from(SOURCE), t_ms, ..MetricBatch::default() }
}

fn add(batch: &mut MetricBatch, group: &Group) {
    batch.rows.extend(group.samples().map(|(labels, value)| MetricRow { labels, value }));
    let t_ms = batch.t_ms;
    batch.histograms.extend(group.histograms().map(|(labels, value)| HistogramRow {
        labels: labels.clone(),
        t_ms,
        value: value.clone(),
    }));
}

fn describe(batch: &mut MetricBatch, group: &Group) {
    batch.metadata.extend(group.families.iter().map(|(name, family)| MetricMetadata {
        name: name.as_str().into(),
        kind: family.kind,
        help: family.help.as_str().into(),
        unit: "".into(),
    }));
}

fn end(batch: &mut MetricBatch, gone: Vec<Labels>) {
    batch.rows.extend(gone.into_iter().map(|labels| MetricRow { labels, value: stale_nan() }));
}

pub(crate) async fn put(State(app): State<Arc<App>>, request: Request) -> Response {
    push(&app, request, true).await
}

pub(crate) async fn post(State(app): State<Arc<App>>, request: Request) -> Response {
    push(&app, request, false).await
}

pub(crate) async fn delete(State(app): State<Arc<App>>, request: Request) -> Response {
    let outcome = match group_of(&request) {
        Ok(labels) => app.receivers.gateway.delete(&labels).await,
        Err(error) => Err(error),
    };
    accepted(outcome)
}

pub(crate) async fn wipe(State(app): State<Arc<App>>) -> Response {
    accepted(app.receivers.gateway.wipe().await)
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    let data = app.receivers.gateway.listing().await;
    let body = serde_json::json!({"status": "success", "data": data});
    error::json(StatusCode::OK, body.to_string())
}

fn accepted(outcome: Result<()>) -> Response {
    match outcome {
        Ok(()) => empty(StatusCode::ACCEPTED),
        Err(error) => refuse(&error),
    }
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The group a request is about. The raw path counts: in it `%2F` is not a separator.
fn group_of(request: &Request) -> Result<Labels> {
    let path = request.uri().path();
    let path = path.strip_prefix("/metrics/").unwrap_or(path);
    group_labels(path)
}

async fn push(app: &Arc<App>, request: Request, replace: bool) -> Response {
    let labels = match group_of(&request) {
        Ok(labels) => labels,
        Err(error) => return refuse(&error),
    };
    let (parts, body) = request.into_parts();
    let (encoding, packing) = match negotiate(&parts.headers) {
        Ok(negotiated) => negotiated,
        Err(reason) => return assets::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason),
    };
    let receivers = &app.receivers;
    let limits = receivers.limits;
    let held = match receivers.bodies.read(body, limits.body_bytes_max).await {
        Ok(held) => held,
        Err((status, reason)) => return assets::plain(status, &reason),
    };
    let lane = match receivers.lane().await {
        Ok(lane) => lane,
        Err(error) => return refuse(&error),
    };
    let gateway = &receivers.gateway;
    let (group, now_ms) = (labels.clone(), app.clock.now_ms());
    let bounds = gateway.limits.push;
    let families = off_runtime(move || {
        let _lane = lane;
        let body = compression::unpack(packing, &held.bytes, bounds.body_bytes_max)?;
        pushgateway::read(&body, encoding, &group, &bounds, now_ms)
    })
    .await;
    match gateway.push(&labels, families, replace).await {
        Ok(()) => empty(StatusCode::OK),
        Err(error) => {
            if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Limit) {
                super::book_refused(app, SOURCE, 1);
            }
            refuse(&error)
        }
    }
}

/// Format and packing of a push. As with the original, what is not said to be protobuf or OpenMetrics is read as text.
fn negotiate(headers: &HeaderMap) -> Result<(Encoding, Packing), String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let packing = text(header::CONTENT_ENCODING);
    let packing = Packing::from_header(packing)
        .ok_or_else(|| format!("content encoding {packing:.64?} is not supported"))?;
    let content_type = text(header::CONTENT_TYPE);
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    let encoding =
        Encoding::of_media_type(media_type).unwrap_or(Encoding::Text(Format::Prometheus));
    if encoding == Encoding::Protobuf && !content_type.contains("delimited") {
        return Err("protobuf must be pushed with encoding=delimited".to_owned());
    }
    Ok((encoding, packing))
}

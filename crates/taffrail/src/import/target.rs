//! Where samples go: a running Taffrail, by remote write 2.0, or the stores of a data directory that nobody uses.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use ingest::write_request::{Version, encode_v1, encode_v2, series_of};
use model::{Clock, Done, MetricBatch, Receipt, Sink as _, SystemClock};
use reqwest::header;
use server::TailHub;

use crate::cli::ImportTarget;
use crate::client::Client;
use crate::config::{self, Overrides};
use crate::stores::Stores;

/// A request that failed for a reason that can pass is sent again so often.
const ATTEMPTS_MAX: u32 = 10;
const BACKOFF_MS: u64 = 100;
const BACKOFF_MS_MAX: u64 = 10_000;
/// Of a refusal, so much is kept.
const REASON_BYTES_MAX: usize = 300;

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Samples and histograms not taken.
    pub(super) refused: u64,
    /// Why.
    pub(super) reasons: Vec<String>,
}

/// Where samples go.
pub(super) enum Target {
    Stores {
        stores: Arc<Stores>,
        retention_ms: i64,
        data_dir: PathBuf,
        _lock: storage::fs::DirLock,
    },
    Server {
        client: Client,
        retention_ms: i64,
    },
}

impl Target {
    /// Opens the stores when a data directory (or a configuration that names one) is given, else asks the server.
    pub(super) async fn open(
        args: &ImportTarget,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        if args.data_dir.is_none() && args.config.is_none() {
            let client = Client::open(&args.server, args.token_file.as_deref())?;
            let status: serde_json::Value =
                serde_json::from_str(&client.get("/api/taffrail/v1/status", &[]).await?)?;
            let retention_ms = status["retentionMs"].as_i64().with_context(|| {
                format!("{} does not say how long it keeps data; is it a Taffrail?", args.server)
            })?;
            return Ok(Self::Server { client, retention_ms });
        }
        let overrides = Overrides {
            config: args.config.clone(),
            data_dir: args.data_dir.clone(),
            retention: args.retention.clone(),
            ..Overrides::default()
        };
        let config = config::load(&overrides, env).map_err(|e| anyhow::anyhow!("{e}"))?;
        let lock = storage::fs::lock_dir(&config.data_dir).map_err(|e| {
            anyhow::anyhow!(
                "{e}; to import into the running process leave out --data-dir and --config and name it with --server"
            )
        })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stores = Arc::new(Stores::open(&config, &clock, Arc::new(TailHub::default()))?);
        Ok(Self::Stores {
            stores,
            retention_ms: config.retention_ms,
            data_dir: config.data_dir,
            _lock: lock,
        })
    }

    /// How far back it keeps samples.
    pub(super) fn retention_ms(&self) -> i64 {
        match self {
            Self::Stores { retention_ms, .. } | Self::Server { retention_ms, .. } => *retention_ms,
        }
    }

    /// Tells it from other targets.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stores { data_dir, .. } => {
                let absolute = std::path::absolute(data_dir).unwrap_or(data_dir.clone());
                format!("data directory {}", absolute.display())
            }
            Self::Server { client, .. } => client.server().to_owned(),
        }
    }

    /// Where positions of imports into it are kept.
    pub(super) fn state_dir(&self, env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
        match self {
            Self::Stores { data_dir, .. } => data_dir.join("import"),
            Self::Server { .. } => {
                let state = env("XDG_STATE_HOME")
                    .map(PathBuf::from)
                    .or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".local/state")));
                state.unwrap_or_default().join("taffrail/import")
            }
        }
    }

    /// Writes a batch; durable when it returns.
    pub(super) async fn write(&self, batch: MetricBatch) -> Result<Outcome> {
        match self {
            Self::Stores { stores, .. } => write_to_stores(stores, batch).await,
            Self::Server { client, .. } => write_to_server(client, batch).await,
        }
    }

    /// Orderly end.
    pub(super) async fn close(self) -> Result<()> {
        match self {
            Self::Stores { stores, .. } => {
                tokio::task::spawn_blocking(move || stores.close()).await??;
                Ok(())
            }
            Self::Server { .. } => Ok(()),
        }
    }
}

async fn write_to_stores(stores: &Arc<Stores>, batch: MetricBatch) -> Result<Outcome> {
    let (answer, wait) = tokio::sync::oneshot::channel();
    let stores = stores.clone();
    // Blocks while the store's queue is full.
    tokio::task::spawn_blocking(move || {
        let done = Done::new(move |outcome: model::Result<Receipt>| drop(answer.send(outcome)));
        stores.append_metrics(batch, done);
    })
    .await?;
    let receipt = wait.await.context("the store gave no answer")??;
    let mut outcome = Outcome::default();
    for (reason, count) in receipt.rejected {
        outcome.refused += count;
        outcome.reasons.push(reason.as_str().to_owned());
    }
    Ok(outcome)
}

async fn write_to_server(client: &Client, batch: MetricBatch) -> Result<Outcome> {
    if !batch.metadata.is_empty() {
        // Version 2.0 describes series; only 1.0 names the metric itself.
        let metadata: Vec<_> = batch.metadata.iter().cloned().map(Arc::new).collect();
        send(client, Version::V1, encode_v1(&[], &metadata), 0).await?;
    }
    let series = series_of(&batch);
    if series.is_empty() {
        return Ok(Outcome::default());
    }
    let samples = (batch.stamped.len() + batch.histograms.len()) as u64;
    send(client, Version::V2, encode_v2(&series, |_| None), samples).await
}

/// Sends a request of so many samples, again for reasons that can pass.
async fn send(client: &Client, version: Version, body: Vec<u8>, samples: u64) -> Result<Outcome> {
    let body = Bytes::from(body);
    let mut backoff_ms = BACKOFF_MS;
    for attempt in 1..=ATTEMPTS_MAX {
        let request = client
            .post("/api/v1/write")
            .header(header::CONTENT_TYPE, version.content_type())
            .header(header::CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", version.header())
            .body(body.clone());
        let trouble = match request.send().await {
            Ok(response) => {
                let status = response.status();
                let number = |name: &str| {
                    let value = response.headers().get(name)?.to_str().ok()?;
                    value.parse::<u64>().ok()
                };
                let written = number("X-Prometheus-Remote-Write-Samples-Written").map(|samples| {
                    samples + number("X-Prometheus-Remote-Write-Histograms-Written").unwrap_or(0)
                });
                let retry_s = number("Retry-After");
                let body = response.text().await.unwrap_or_default();
                let text = first_line(&body);
                if status.is_success() {
                    return Ok(Outcome::default());
                }
                // Some of it was taken, the rest never will be.
                if let (400, Some(written)) = (status.as_u16(), written) {
                    let refused = samples.saturating_sub(written);
                    return Ok(Outcome { refused, reasons: vec![text] });
                }
                if !(status.is_server_error() || status.as_u16() == 429) {
                    bail!("{} answered {status}: {text}", client.server());
                }
                backoff_ms =
                    retry_s.map_or(backoff_ms, |s| s.saturating_mul(1_000)).min(BACKOFF_MS_MAX);
                format!("{} answered {status}: {text}", client.server())
            }
            Err(e) => format!("cannot reach {}: {e}", client.server()),
        };
        if attempt == ATTEMPTS_MAX {
            bail!(
                "{trouble}; gave up after {attempt} attempts, run the same command again to go on"
            );
        }
        tokio::time::sleep(Duration::from_millis(backoff_ms)).await;
        backoff_ms = (backoff_ms * 2).min(BACKOFF_MS_MAX);
    }
    unreachable!("BUG: the last attempt returns")
}

/// The first line of an answer, not too long.
fn first_line(body: &str) -> String {
    let line = body.lines().next().unwrap_or("").trim();
    let end = line.floor_char_boundary(REASON_BYTES_MAX.min(line.len()));
    line.get(..end).unwrap_or("").to_owned()
}

//! Containers of a Docker (or Podman) host: discovery, lifecycle events, metrics and logs.
//!
//! Owns: the tasks that watch one daemon and the [`Registry`] of what they see. Does not own: the API client
//! ([`crate::docker`]), formats (`ingest::docker`), storage. Three kinds of task share the registry: one watcher (list and
//! events), one poller (resource use, every interval), one log follower per container.
//!
//! ```text
//!  watch ── states ──► Registry ◄── poll ── batches "containers" ──► Sink
//!    ├── lives ──► logs (per container) ── lines and cursor "docker/<id>" ──► Sink
//!    └── records and cursor "docker/events" ──► Sink
//! ```

pub mod cgroup;
mod claims;
mod events;
mod logs;
pub mod metrics;
mod poll;
mod position;
mod reader;
mod recent;
mod registry;
mod steps;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{Clock, Result, Sink};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use claims::{ClaimJob, Claims};
pub use registry::{ContainerState, DockerState, DockerStatus, Registry};

use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::docker::{Client, engine_api};
use crate::lines::Treatment;

/// `job` label of container series.
pub const JOB: &str = "cadvisor";
/// Source key of container samples.
pub const SOURCE: &str = "containers";

/// Containers waiting for a reading of their own.
const POKES_MAX: usize = 1024;
/// Ended containers whose logs are read at once.
const CATCH_UP_AT_ONCE: usize = 8;
/// How long [`Handle::stopped`] waits for tasks that finish a batch.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// What to watch and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// `unix:///path` or a socket path, as in `DOCKER_HOST`; `None` watches nothing.
    pub endpoint: Option<String>,
    /// Distance between readings, milliseconds; at least 100.
    pub interval_ms: u64,
    /// `instance` label.
    pub host_name: String,
    /// Usually `/proc`; in a container, where the host's is mounted.
    pub proc_root: PathBuf,
    /// Usually `/sys`.
    pub sys_root: PathBuf,
    /// Whether logs are collected.
    pub logs: bool,
    /// Whether stack traces become one record.
    pub joins_traces: bool,
    /// Jobs that take over logs, also when logs are not collected otherwise.
    pub claims: Arc<Claims>,
    /// First time of log lines wanted of a container seen for the first time, Unix nanoseconds; 0 for all.
    pub logs_since_ns: i64,
}

/// A running container collector.
#[derive(Debug)]
pub struct Handle {
    /// What is known of all containers, and of the connection.
    pub registry: Arc<Registry>,
    /// What was cut, refused or repeated.
    pub counters: Arc<Counters>,
    tasks: TaskTracker,
}

impl Handle {
    /// Waits, after the cancellation, for all tasks to end; at most 2 s. `true` when they did.
    pub async fn stopped(self) -> bool {
        tokio::time::timeout(STOP_WAIT, self.tasks.wait()).await.is_ok()
    }
}

/// Starts watching; must be called inside a tokio runtime. It goes on until `cancel`, whatever the daemon does.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) for an endpoint that is no unix socket.
pub fn spawn(
    config: Config,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
) -> Result<Handle> {
    let counters = Arc::new(Counters::default());
    let tasks = TaskTracker::new();
    let Some(endpoint) = config.endpoint.clone() else {
        tasks.close();
        let registry = Registry::new(DockerState::Off, "", "containers are not watched");
        return Ok(Handle { registry: Arc::new(registry), counters, tasks });
    };
    let client = Arc::new(Client::new(&endpoint)?);
    let registry = Registry::new(DockerState::Unavailable, &endpoint, "connecting");
    let registry = Arc::new(registry);
    let delivery = Delivery { sink, counters: Arc::clone(&counters), cancel };
    let (pokes, poked) = mpsc::channel(POKES_MAX);
    let logs = logs::LogContext {
        client: Arc::clone(&client),
        delivery: delivery.clone(),
        clock: Arc::clone(&clock),
        treatment: Arc::new(Treatment::plain(config.joins_traces)),
        stores_unclaimed: config.logs,
        jobs: config.claims.subscribe(),
        api: engine_api(),
        since_ns: config.logs_since_ns,
        catch_up: Arc::new(Semaphore::new(CATCH_UP_AT_ONCE)),
    };
    let watcher = watch::Watcher {
        client: Arc::clone(&client),
        registry: Arc::clone(&registry),
        delivery: delivery.clone(),
        clock: Arc::clone(&clock),
        pokes,
        logs,
        tasks: tasks.clone(),
    };
    let poller = poll::Poller {
        config,
        client,
        registry: Arc::clone(&registry),
        delivery,
        clock,
        pokes: poked,
    };
    tasks.spawn(watcher.run());
    tasks.spawn(poller.run());
    tasks.close();
    Ok(Handle { registry, counters, tasks })
}

//! Runs what a `promtail.yml` says: files, containers, journals and what is pushed, each with its pipeline.
//!
//! Owns: which files a job reads (static and file discovery, relabelling), starting the readers again when that changes, and
//! the counts that Promtail shows. Does not own: reading the configuration (`promtail_yml`), files, journals, logs of
//! containers and pipelines (`collect`, `ingest`).
//!
//! Readers are replaced, not changed: the old one ends, the store answers for everything it handed over, and the new one
//! goes on where the cursors stand. So a reload neither loses nor repeats a line.

mod gelf;
mod listeners;
mod syslog;
mod targets;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use collect::container::{ClaimJob, Claims};
use collect::lines::{Dropped, Limits, ReadRate, Treatment};
use collect::{Counters, journal};
use ingest::pipeline::{Metrics, Pipeline};
use model::{Clock, Labels, Sink};
use parking_lot::Mutex;
use server::receive::Receivers;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::listeners::Listening;
use self::targets::{Found, ReadBefore};
use crate::promtail_yml::{self, Job, PromtailConfig};
use crate::yaml::ConfigError;

/// How often files of targets are looked at.
const DISCOVERY_EVERY: Duration = Duration::from_secs(5);

/// A `promtail.yml` that is sound, with everything compiled.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// `None` when no file is configured.
    config: Option<PromtailConfig>,
    jobs: Vec<Planned>,
    /// What `metrics` stages count.
    metrics: Metrics,
}

impl Plan {
    /// Hands in the jobs that take over logs of containers, as they are at the start. Reads the positions file.
    pub(crate) fn claim_first(&self, claims: &Claims, engine: Option<&Path>) {
        self.claim(claims, engine, &ReadBefore::of(self));
    }

    fn claim(&self, claims: &Claims, engine: Option<&Path>, before: &ReadBefore) {
        let claim = |planned: &Planned| {
            let (discovery, _) = targets::engines(&planned.job, engine);
            (!discovery.is_empty()).then(|| ClaimJob {
                name: planned.job.name.clone(),
                discovery,
                relabel: planned.job.relabel.clone(),
                treatment: Arc::clone(&planned.treatment),
                read_until_ns: Arc::clone(&before.containers_ns),
            })
        };
        claims.set(self.jobs.iter().filter_map(claim).collect());
    }
}

#[derive(Debug)]
struct Planned {
    job: Job,
    encoding: collect::file::Encoding,
    treatment: Arc<Treatment>,
}

/// Reads a `promtail.yml` and logs what it says that has no effect here. What lines are dropped for is counted in
/// `dropped`.
///
/// # Errors
/// The first mistake.
pub(crate) fn load(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    dropped: &Arc<Dropped>,
) -> Result<Plan, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError::whole_file(path, format!("cannot read: {e}")))?;
    let (config, notes) = promtail_yml::load(path, &text, env)?;
    for note in notes {
        tracing::info!(file = note.file, line = note.line, key = note.key, "{}", note.text());
    }
    plan(path, config, dropped)
}

/// Compiles what a file says, as [`load`] does.
///
/// # Errors
/// What cannot run, by the name of its job.
pub(crate) fn plan(
    path: &Path,
    config: PromtailConfig,
    dropped: &Arc<Dropped>,
) -> Result<Plan, ConfigError> {
    let (metrics, limits) = (Metrics::default(), Arc::new(limits(&config)));
    let external = config.external_labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let external = Labels::from_pairs(external);
    let mut jobs = Vec::with_capacity(config.jobs.len());
    for job in &config.jobs {
        let wrong =
            |what: String| ConfigError::whole_file(path, format!("job {:?}: {what}", job.name));
        let pipeline = Pipeline::new(&job.stages, &metrics).map_err(|e| wrong(e.to_string()))?;
        let encoding = targets::encoding(job).map_err(wrong)?;
        let treatment = Treatment::staged(
            pipeline,
            external.clone(),
            Arc::clone(&limits),
            Arc::clone(dropped),
            crate::stores::FUTURE_MS_MAX,
        );
        jobs.push(Planned { job: job.clone(), encoding, treatment: Arc::new(treatment) });
    }
    Ok(Plan { config: Some(config), jobs, metrics })
}

fn limits(config: &PromtailConfig) -> Limits {
    let limits = &config.limits;
    let rate = limits.readline.filter(|(per_second, burst, _)| *per_second > 0.0 && *burst > 0);
    let rate = rate.map(|(per_second, burst, drops)| ReadRate { per_second, burst, drops });
    Limits::new(limits.max_line_bytes, limits.max_line_size_truncate, rate, limits.max_streams)
}

/// What the running jobs need.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) host_name: String,
    /// Where jobs that take over logs of containers are handed in.
    pub(crate) claims: Arc<Claims>,
    /// Socket of the container engine, if containers are watched.
    pub(crate) engine: Option<PathBuf>,
    /// What receivers share.
    pub(crate) receivers: Arc<Receivers>,
    pub(crate) cancel: CancellationToken,
}

/// The jobs of a `promtail.yml`, running.
pub(crate) struct Promtail {
    plans: watch::Sender<Arc<Plan>>,
    /// Why lines were dropped.
    pub(crate) dropped: Arc<Dropped>,
    /// What the readers of files did.
    pub(crate) counters: Arc<Counters>,
    /// Targets and complaints, for the status page.
    found: Arc<Mutex<Vec<Found>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Promtail {
    /// Starts the jobs of `plan`; must be called inside a tokio runtime. They go on until the context's cancellation.
    pub(crate) fn start(plan: Plan, dropped: Arc<Dropped>, context: Context) -> Self {
        let (plans, planned) = watch::channel(Arc::new(plan));
        let (counters, found) = (Arc::<Counters>::default(), Arc::default());
        let supervisor = Supervisor {
            context,
            planned,
            counters: Arc::clone(&counters),
            dropped: Arc::clone(&dropped),
            found: Arc::clone(&found),
            complained: Vec::new(),
            has_claimed: false,
        };
        let task = Mutex::new(Some(tokio::spawn(supervisor.run())));
        Self { plans, dropped, counters, found, task }
    }

    /// From now on the jobs of `plan` run. Those that are the same as before go on as they are.
    pub(crate) fn reload(&self, plan: Plan) {
        let is_same = format!("{:?}", self.plans.borrow().config) == format!("{:?}", plan.config);
        if !is_same {
            // The receiver lives as long as the process.
            self.plans.send_replace(Arc::new(plan));
        }
    }

    /// What `metrics` stages count.
    pub(crate) fn metrics(&self) -> Metrics {
        self.plans.borrow().metrics.clone()
    }

    /// Jobs, their targets, and what is wrong with them.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::json!(*self.found.lock())
    }

    /// Waits, after the cancellation, for the end.
    pub(crate) async fn stopped(&self) {
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the jobs of promtail.yml ended unexpectedly");
        }
    }
}

struct Supervisor {
    context: Context,
    planned: watch::Receiver<Arc<Plan>>,
    counters: Arc<Counters>,
    dropped: Arc<Dropped>,
    found: Arc<Mutex<Vec<Found>>>,
    complained: Vec<String>,
    has_claimed: bool,
}

impl Supervisor {
    async fn run(mut self) {
        while !self.context.cancel.is_cancelled() {
            let plan = Arc::clone(&self.planned.borrow_and_update());
            let before = Arc::new(self.read_before(&plan).await);
            // Those of the first plan were handed in before containers were looked at.
            if std::mem::replace(&mut self.has_claimed, true) {
                plan.claim(&self.context.claims, self.context.engine.as_deref(), &before);
            }
            self.run_plan(&plan, &before).await;
        }
    }

    /// Runs the jobs of `plan` until another plan comes or the end.
    async fn run_plan(&mut self, plan: &Arc<Plan>, before: &Arc<ReadBefore>) {
        let journals: Vec<Running<journal::Handle>> =
            plan.jobs.iter().filter_map(|planned| self.start_journal(planned, before)).collect();
        let mut listening = Vec::new();
        for planned in &plan.jobs {
            let (context, dropped) = (&self.context, &self.dropped);
            listening.extend(Listening::start(planned, context, &self.counters, dropped).await);
        }
        let mut files: Option<Running<collect::file::Handle>> = None;
        loop {
            let found = self.discover(plan, before).await;
            let targets = found.iter().flat_map(|found| found.targets.iter().cloned()).collect();
            let is_same = *self.found.lock() == found && files.is_some();
            if !is_same {
                self.complain(&found);
                *self.found.lock() = found;
                if let Some(Running { handle, cancel }) = files.take() {
                    cancel.cancel();
                    handle.settled().await;
                }
                files = self.start_files(targets);
            }
            let is_looking = plan.jobs.iter().any(|planned| !planned.job.file_sd.is_empty());
            let next = async {
                if !is_looking {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(DISCOVERY_EVERY).await;
            };
            tokio::select! {
                () = self.context.cancel.cancelled() => break,
                changed = self.planned.changed() => {
                    if changed.is_err() {
                        self.context.cancel.cancelled().await;
                    }
                    break;
                }
                () = next => {}
            }
        }
        // All at once, and only then the store's answers are awaited.
        files.iter().for_each(|running| running.cancel.cancel());
        journals.iter().for_each(|running| running.cancel.cancel());
        for listening in listening {
            listening.end().await;
        }
        for running in journals {
            running.handle.settled().await;
        }
        if let Some(running) = files {
            running.handle.settled().await;
        }
    }

    /// Where Promtail stopped.
    async fn read_before(&self, plan: &Arc<Plan>) -> ReadBefore {
        let plan = Arc::clone(plan);
        let read = tokio::task::spawn_blocking(move || ReadBefore::of(&plan)).await;
        read.unwrap_or_default()
    }

    fn start_journal(
        &self,
        planned: &Planned,
        before: &ReadBefore,
    ) -> Option<Running<journal::Handle>> {
        let Planned { job, treatment, .. } = planned;
        let of_job = job.journal.as_ref()?;
        let matches = of_job.matches.as_deref().unwrap_or_default().split_whitespace();
        let labels = of_job.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let config = journal::Config {
            name: format!("promtail/{}", job.name),
            journalctl: PathBuf::from("journalctl"),
            directory: of_job.path.clone(),
            matches: matches.map(str::to_owned).collect(),
            max_age_ns: of_job.max_age_ns,
            is_json: of_job.json,
            labels: Labels::from_pairs(labels),
            relabel: job.relabel.clone(),
            treatment: Arc::clone(treatment),
            cursor: before.journals.get(&job.name).cloned(),
        };
        let Context { sink, clock, cancel, .. } = &self.context;
        let (sink, clock, cancel) = (Arc::clone(sink), Arc::clone(clock), cancel.child_token());
        let counters = Arc::clone(&self.counters);
        let handle = journal::spawn(config, sink, clock, counters, cancel.clone());
        Some(Running { handle, cancel })
    }

    /// The targets of all jobs as they are now.
    async fn discover(&self, plan: &Arc<Plan>, before: &Arc<ReadBefore>) -> Vec<Found> {
        let (plan, before) = (Arc::clone(plan), Arc::clone(before));
        let Context { host_name, engine, .. } = self.context.clone();
        let find = move || targets::find(&plan, &host_name, engine.as_deref(), &before);
        let found = tokio::task::spawn_blocking(find).await;
        found.unwrap_or_else(|error| {
            tracing::error!(%error, "finding the targets of promtail.yml failed");
            Vec::new()
        })
    }

    /// Says what is wrong with targets, once.
    fn complain(&mut self, found: &[Found]) {
        let all = found.iter().flat_map(|f| f.complaints.iter().map(|c| format!("{}: {c}", f.job)));
        let all: Vec<String> = all.collect();
        for complaint in all.iter().filter(|c| !self.complained.contains(c)) {
            tracing::warn!("promtail.yml: job {complaint}");
        }
        self.complained = all;
    }

    fn start_files(
        &self,
        targets: Vec<collect::file::Target>,
    ) -> Option<Running<collect::file::Handle>> {
        let cancel = self.context.cancel.child_token();
        let (sink, clock) = (Arc::clone(&self.context.sink), Arc::clone(&self.context.clock));
        let counters = Arc::clone(&self.counters);
        match collect::file::spawn(targets, sink, clock, counters, cancel.clone()) {
            Ok(handle) => Some(Running { handle, cancel }),
            Err(error) => {
                tracing::error!(%error, "the file targets of promtail.yml cannot be read");
                None
            }
        }
    }
}

struct Running<H> {
    handle: H,
    cancel: CancellationToken,
}

//! The task that owns jobs and targets: starts and stops discoveries and loops so that they match what is wanted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Clock, Labels, Sink};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{Config, ScrapeJob, TargetGroup};
use super::discovery::{self, Update};
use super::docker_sd::DockerApi;
use super::http::Http;
use super::target::{self, Outcome, Target, format_duration};
use super::worker::{Forced, Stop, Surroundings, Watched, Worker};
use super::{ActiveTarget, DroppedTarget, Health, TargetStatus, TargetsSnapshot};

/// Updates waiting for the owner; discoveries wait when it is full.
const UPDATES_MAX: usize = 64;

/// What the handle reads.
#[derive(Debug, Default)]
pub(super) struct Board {
    jobs: Mutex<BTreeMap<String, JobView>>,
}

#[derive(Debug, Default)]
struct JobView {
    active: Vec<Arc<Watched>>,
    dropped: Vec<Labels>,
    dropped_count: u64,
    problems: Vec<String>,
}

impl Board {
    pub(super) fn snapshot(&self) -> TargetsSnapshot {
        let mut snapshot = TargetsSnapshot::default();
        for (job, view) in &*self.jobs.lock() {
            snapshot.active.extend(view.active.iter().map(|w| active(job, w)));
            snapshot.dropped.extend(view.dropped.iter().map(|labels| DroppedTarget {
                discovered_labels: labels.clone(),
                scrape_pool: job.clone(),
            }));
            snapshot.dropped_counts.push((job.clone(), view.dropped_count));
            snapshot.problems.extend(view.problems.iter().map(|p| (job.clone(), p.clone())));
        }
        snapshot
    }
}

fn active(job: &str, watched: &Watched) -> ActiveTarget {
    let target = &watched.target;
    let status = watched.status.lock().clone();
    ActiveTarget {
        discovered_labels: target.discovered.clone(),
        labels: target.labels.clone(),
        scrape_pool: job.to_owned(),
        scrape_url: shown_url(target),
        global_url: shown_url(target),
        last_error: status.last_error,
        last_scrape_ms: status.last_scrape_ms,
        last_scrape_duration_s: status.last_scrape_duration_s,
        health: status.health,
        scrape_interval: format_duration(target.interval_ms),
        scrape_timeout: format_duration(target.timeout_ms),
    }
}

/// The URL without a password that the address may carry.
fn shown_url(target: &Target) -> String {
    let mut url = target.url.clone();
    if url.password().is_some() && url.set_password(None).is_err() {
        return String::new();
    }
    url.to_string()
}

type TargetKey = (Labels, String);

struct Running {
    watched: Arc<Watched>,
    stop: Arc<Stop>,
}

struct JobState {
    job: Arc<ScrapeJob>,
    /// Tells updates of this incarnation of the job from those of an earlier one.
    generation: u64,
    discovery: CancellationToken,
    /// What each provider of the job (by its number) found last.
    groups: BTreeMap<usize, Vec<TargetGroup>>,
    /// What each provider complains about.
    complaints: BTreeMap<usize, String>,
    running: BTreeMap<TargetKey, Running>,
    /// Loops of the job's previous form, until discovery says again which targets exist.
    inherited: BTreeMap<TargetKey, Running>,
    providers: usize,
    forced: Forced,
}

/// See the module's page.
pub(super) struct Pool {
    dropped_targets_max: usize,
    around: Surroundings,
    docker: Option<DockerApi>,
    cancel: CancellationToken,
    board: Arc<Board>,
    tasks: TaskTracker,
    jobs: BTreeMap<String, JobState>,
    generation: u64,
    updates: (mpsc::Sender<Update>, mpsc::Receiver<Update>),
}

impl Pool {
    pub(super) fn new(
        config: Config,
        sink: Arc<dyn Sink>,
        clock: Arc<dyn Clock>,
        docker: Option<DockerApi>,
        cancel: CancellationToken,
        board: Arc<Board>,
        tasks: TaskTracker,
    ) -> Self {
        let http = Arc::new(Http::new(&config.version, Arc::clone(&clock)));
        let around = Surroundings { sink, clock, http, limits: config.limits };
        Self {
            dropped_targets_max: config.dropped_targets_max,
            around,
            docker,
            cancel,
            board,
            tasks,
            jobs: BTreeMap::new(),
            generation: 0,
            updates: mpsc::channel(UPDATES_MAX),
        }
    }

    pub(super) async fn run(mut self, mut wanted: watch::Receiver<Vec<Arc<ScrapeJob>>>) {
        let cancel = self.cancel.clone();
        let jobs = wanted.borrow_and_update().clone();
        self.reload(jobs);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Ok(()) = wanted.changed() => {
                    let jobs = wanted.borrow_and_update().clone();
                    self.around.http.clear();
                    self.reload(jobs);
                }
                Some(update) = self.updates.1.recv() => self.take(update),
            }
        }
        // Loops and discoveries stop by themselves: their tokens are children of this one.
    }

    fn reload(&mut self, wanted: Vec<Arc<ScrapeJob>>) {
        let names: Vec<&String> = wanted.iter().map(|j| &j.job_name).collect();
        let gone: Vec<String> =
            self.jobs.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            if let Some(state) = self.jobs.remove(&name) {
                state.discovery.cancel();
                stop_all(state.running, true);
                stop_all(state.inherited, true);
            }
            self.board.jobs.lock().remove(&name);
        }
        for job in wanted {
            if self.jobs.get(&job.job_name).is_some_and(|state| *state.job == *job) {
                continue;
            }
            self.start(job);
        }
    }

    fn start(&mut self, job: Arc<ScrapeJob>) {
        self.generation += 1;
        let mut inherited = BTreeMap::new();
        if let Some(old) = self.jobs.remove(&job.job_name) {
            old.discovery.cancel();
            inherited = old.inherited;
            inherited.extend(old.running);
        }
        let discovery = self.cancel.child_token();
        let providers = discovery::start(discovery::Start {
            job: &job,
            generation: self.generation,
            updates: &self.updates.0,
            docker: self.docker.as_ref(),
            cancel: &discovery,
            tasks: &self.tasks,
            clock: &self.around.clock,
            http: &self.around.http,
        });
        let name = job.job_name.clone();
        let groups = BTreeMap::from([(0, job.static_targets.clone())]);
        let state = JobState {
            job,
            generation: self.generation,
            discovery,
            groups,
            complaints: BTreeMap::new(),
            running: BTreeMap::new(),
            inherited,
            providers,
            forced: Forced::default(),
        };
        self.jobs.insert(name.clone(), state);
        self.sync(&name);
    }

    fn take(&mut self, update: Update) {
        let Some(state) = self.jobs.get_mut(&update.job) else { return };
        if state.generation != update.generation {
            return;
        }
        match update.groups {
            Ok(groups) => {
                state.complaints.remove(&update.provider);
                state.groups.insert(update.provider, groups);
            }
            Err(complaint) => {
                state.complaints.insert(update.provider, complaint);
                // Heard from, though in vain: what was known stays.
                state.groups.entry(update.provider).or_default();
            }
        }
        if let Some(complaint) = update.also_bad {
            state.complaints.insert(update.provider, complaint);
        }
        self.sync(&update.job);
    }

    /// Makes the running loops match the groups.
    fn sync(&mut self, name: &str) {
        let Some(state) = self.jobs.get_mut(name) else { return };
        let job = Arc::clone(&state.job);
        let dropped_max = match job.limits.dropped_targets {
            0 => self.dropped_targets_max,
            own => usize::try_from(own).unwrap_or(usize::MAX),
        };
        let found = find_targets(&job, state.groups.values().flatten(), dropped_max);
        let mut problems: Vec<String> = state.complaints.values().cloned().collect();
        problems.extend(found.problems);
        let targets = found.active;
        let limit = job.limits.targets;
        let is_over = limit > 0 && targets.len() as u64 > limit;
        let forced =
            is_over.then(|| format!("job has {} targets; target_limit is {limit}", targets.len()));
        problems.extend(forced.clone());
        // As in Prometheus, all of them are down until there are fewer.
        *state.forced.lock() = forced.map(Arc::from);

        let mut previous = std::mem::take(&mut state.running);
        for (key, target) in targets {
            let running = match previous.remove(&key) {
                Some(running) if running.watched.target == target => running,
                other => {
                    for old in other.into_iter().chain(state.inherited.remove(&key)) {
                        stop(&old, false);
                    }
                    start_loop(&self.around, &self.tasks, &self.cancel, &job, &state.forced, target)
                }
            };
            state.running.insert(key, running);
        }
        stop_all(previous, true);
        if state.groups.len() == state.providers {
            // Every provider of the job's new form has spoken: what none of them named is gone.
            stop_all(std::mem::take(&mut state.inherited), true);
        }

        let active = state.running.values().map(|r| Arc::clone(&r.watched)).collect();
        let view = JobView {
            active,
            dropped: found.dropped,
            dropped_count: found.dropped_count,
            problems,
        };
        self.board.jobs.lock().insert(name.to_owned(), view);
    }
}

#[derive(Default)]
struct Found {
    active: BTreeMap<TargetKey, Target>,
    dropped: Vec<Labels>,
    dropped_count: u64,
    problems: Vec<String>,
}

fn find_targets<'a>(
    job: &'a ScrapeJob,
    groups: impl Iterator<Item = &'a TargetGroup>,
    dropped_max: usize,
) -> Found {
    let mut found = Found::default();
    for outcome in groups.flat_map(|group| target::from_group(job, group)) {
        match outcome {
            Ok(Outcome::Active(target)) => {
                found.active.insert(target.key(), *target);
            }
            Ok(Outcome::Dropped(labels)) => {
                found.dropped_count += 1;
                if found.dropped.len() < dropped_max {
                    found.dropped.push(labels);
                }
            }
            Err(e) => found.problems.push(e.message().to_owned()),
        }
    }
    found
}

fn start_loop(
    around: &Surroundings,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
    job: &Arc<ScrapeJob>,
    forced: &Forced,
    target: Target,
) -> Running {
    let status = TargetStatus {
        health: Health::Unknown,
        last_error: String::new(),
        last_scrape_ms: 0,
        last_scrape_duration_s: 0.0,
    };
    let watched = Arc::new(Watched { target, status: Mutex::new(status) });
    let stop = Arc::new(Stop { token: cancel.child_token(), ..Stop::default() });
    let worker = Worker::new(
        around.clone(),
        Arc::clone(job),
        Arc::clone(forced),
        Arc::clone(&watched),
        Arc::clone(&stop),
    );
    tasks.spawn(worker.run());
    Running { watched, stop }
}

fn stop(running: &Running, with_markers: bool) {
    running.stop.with_markers.store(with_markers, Ordering::Release);
    running.stop.token.cancel();
}

fn stop_all(all: BTreeMap<TargetKey, Running>, with_markers: bool) {
    for running in all.values() {
        stop(running, with_markers);
    }
}

//! Starts the discoveries of a job; each sends what it finds to the pool.

use std::sync::Arc;
use std::time::Duration;

use model::Clock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{DockerSd, FileSd, HttpSd, ScrapeJob, TargetGroup};
use super::docker_sd::{self, DockerApi};
use super::file_sd::Files;
use super::http::Http;
use super::http_sd;

/// How often files are looked at for changes.
const FILE_POLL: Duration = Duration::from_secs(5);

/// How soon an engine that did not answer is asked again; it may just be starting.
const RETRY: Duration = Duration::from_secs(5);

/// What a provider found.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) job: String,
    pub(super) generation: u64,
    pub(super) provider: usize,
    /// All groups of the provider, or why nothing new is known.
    pub(super) groups: Result<Vec<TargetGroup>, String>,
    /// A complaint beside groups that are good (one bad file among several).
    pub(super) also_bad: Option<String>,
}

/// What starting takes.
pub(super) struct Start<'a> {
    pub(super) job: &'a Arc<ScrapeJob>,
    pub(super) generation: u64,
    pub(super) updates: &'a mpsc::Sender<Update>,
    pub(super) docker: Option<&'a DockerApi>,
    pub(super) cancel: &'a CancellationToken,
    pub(super) tasks: &'a TaskTracker,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) http: &'a Arc<Http>,
}

/// Starts all discoveries of a job. Provider 0 is its static targets; returns how many providers there are.
pub(super) fn start(start: Start<'_>) -> usize {
    let mut provider = 0;
    let mut outlet = || {
        provider += 1;
        Outlet {
            job: start.job.job_name.clone(),
            generation: start.generation,
            provider,
            updates: start.updates.clone(),
        }
    };
    for config in &start.job.file_sd {
        let task = watch_files(config.clone(), outlet(), Arc::clone(start.clock));
        start.tasks.spawn(start.cancel.clone().run_until_cancelled_owned(task));
    }
    for config in &start.job.docker_sd {
        let task = watch_docker(config.clone(), outlet(), start.docker.cloned());
        start.tasks.spawn(start.cancel.clone().run_until_cancelled_owned(task));
    }
    for config in &start.job.http_sd {
        let task = watch_http(config.clone(), outlet(), Arc::clone(start.http));
        start.tasks.spawn(start.cancel.clone().run_until_cancelled_owned(task));
    }
    provider + 1
}

/// Where a provider's findings go.
struct Outlet {
    job: String,
    generation: u64,
    provider: usize,
    updates: mpsc::Sender<Update>,
}

impl Outlet {
    async fn send(&self, groups: Result<Vec<TargetGroup>, String>, also_bad: Option<String>) {
        let update = Update {
            job: self.job.clone(),
            generation: self.generation,
            provider: self.provider,
            groups,
            also_bad,
        };
        if self.updates.send(update).await.is_err() {
            tracing::debug!(job = %self.job, "discovery found targets after the scraper stopped");
        }
    }
}

async fn watch_files(config: FileSd, outlet: Outlet, clock: Arc<dyn Clock>) {
    let mut files = Files::new(config, clock);
    loop {
        let (returned, changed) = match tokio::task::spawn_blocking(move || {
            let changed = files.refresh();
            (files, changed)
        })
        .await
        {
            Ok(done) => done,
            Err(e) => {
                outlet.send(Err(format!("file discovery ended: {e}")), None).await;
                return;
            }
        };
        files = returned;
        if changed {
            let complaint = files.complaint();
            if let Some(complaint) = &complaint {
                tracing::warn!(job = %outlet.job, error = %complaint, "file discovery keeps what it had");
            }
            outlet.send(Ok(files.groups()), complaint).await;
        }
        tokio::time::sleep(FILE_POLL).await;
    }
}

async fn watch_docker(config: DockerSd, outlet: Outlet, api: Option<DockerApi>) {
    let refresh = Duration::from_millis(config.refresh_interval_ms.max(1000));
    let mut last = None;
    loop {
        let found = match &api {
            Some(api) => {
                docker_sd::discover(&config, api, false).await.map_err(|e| e.message().to_owned())
            }
            None => Err("docker discovery is not available in this process".to_owned()),
        };
        let pause = if found.is_ok() { refresh } else { refresh.min(RETRY) };
        report(&outlet, &config.host, found, &mut last).await;
        tokio::time::sleep(pause).await;
    }
}

async fn watch_http(config: HttpSd, outlet: Outlet, http: Arc<Http>) {
    let refresh = Duration::from_millis(config.refresh_interval_ms.max(1000));
    let mut last = None;
    loop {
        let found = http_sd::discover(&config, &http).await.map_err(|e| e.message().to_owned());
        let pause = if found.is_ok() { refresh } else { refresh.min(RETRY) };
        report(&outlet, &config.url, found, &mut last).await;
        tokio::time::sleep(pause).await;
    }
}

/// What a provider found when it was asked, or why it found nothing.
type Found = Result<Vec<TargetGroup>, String>;

/// Hands on what differs from the `last` time.
async fn report(outlet: &Outlet, provider: &str, found: Found, last: &mut Option<Found>) {
    if last.as_ref() == Some(&found) {
        return;
    }
    if let Err(error) = &found {
        tracing::warn!(job = %outlet.job, %provider, %error, "discovery keeps what it had");
    }
    outlet.send(found.clone(), None).await;
    *last = Some(found);
}

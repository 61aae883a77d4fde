//! One target's loop: wait for its place on the time grid, fetch, read, hand over, report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ingest::exposition::Limits;
use model::{
    Clock, Done, Error, ErrorKind, Labels, METRIC_NAME, MetricBatch, MetricRow, Receipt, Result,
    Sink, stale_nan,
};
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;
use tokio_util::sync::CancellationToken;

use super::cache::{Counts, Rows, Scrape, SeriesCache};
use super::config::ScrapeJob;
use super::http::{self, Http};
use super::target::Target;
use super::{Health, TargetStatus};

/// How far a scrape may be late and still carry the exact time of the grid. Source: Prometheus' timestamp tolerance.
const TOLERANCE_MS: i64 = 2;

/// What all loops share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) http: Arc<Http>,
    pub(super) limits: Limits,
}

/// A target and its loop's last outcome, as the API shows them.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) target: Target,
    pub(super) status: Mutex<TargetStatus>,
}

/// How a loop ends.
#[derive(Debug, Default)]
pub(super) struct Stop {
    pub(super) token: CancellationToken,
    /// Whether to end the target's series: it is gone, and the process is not.
    pub(super) with_markers: AtomicBool,
}

/// Why all scrapes of a job fail, whatever its targets answer.
pub(super) type Forced = Arc<Mutex<Option<Arc<str>>>>;

/// One target's loop.
pub(super) struct Worker {
    around: Surroundings,
    job: Arc<ScrapeJob>,
    forced: Forced,
    watched: Arc<Watched>,
    stop: Arc<Stop>,
    cache: SeriesCache,
    source: Arc<str>,
    report: ReportLabels,
    /// Set from the store's thread when a batch with metadata was lost.
    metadata_lost: Arc<AtomicBool>,
    /// The store refused the last scrape; said once, not at every scrape.
    unstored: Arc<AtomicBool>,
    /// The last scrape had series more than once; said once as well.
    has_duplicates: bool,
    limits: Limits,
    /// Time of the last batch; `i64::MIN` before the first.
    last_ms: i64,
}

impl Worker {
    pub(super) fn new(
        around: Surroundings,
        job: Arc<ScrapeJob>,
        forced: Forced,
        watched: Arc<Watched>,
        stop: Arc<Stop>,
    ) -> Self {
        let labels = &watched.target.labels;
        let source = format!(
            "scrape/{}/{}",
            labels.get("job").unwrap_or(&job.job_name),
            labels.get("instance").unwrap_or(watched.target.url.as_str())
        );
        let report = ReportLabels::new(labels, job.extra_scrape_metrics);
        let limits = limits_of(&job, &around.limits);
        Self {
            around,
            job,
            forced,
            watched,
            stop,
            cache: SeriesCache::default(),
            source: source.into(),
            report,
            metadata_lost: Arc::default(),
            unstored: Arc::default(),
            has_duplicates: false,
            limits,
            last_ms: i64::MIN,
        }
    }

    /// Runs until told to stop.
    pub(super) async fn run(mut self) {
        let stop = Arc::clone(&self.stop);
        let interval_ms = i64::try_from(self.watched.target.interval_ms).unwrap_or(i64::MAX);
        let offset_ms = grid_offset_ms(&self.watched.target, interval_ms);
        let mut previous_ms = None;
        loop {
            let now_ms = self.around.clock.now_ms();
            let due_ms = next_due_ms(now_ms, previous_ms, interval_ms, offset_ms);
            let wait = Duration::from_millis(u64::try_from(due_ms - now_ms).unwrap_or(0));
            tokio::select! {
                () = stop.token.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            previous_ms = Some(due_ms);
            let t_ms = scrape_time_ms(self.around.clock.now_ms(), due_ms, interval_ms);
            let scrape = self.scrape(t_ms);
            tokio::select! {
                () = stop.token.cancelled() => break,
                () = scrape => {}
            }
        }
        if stop.with_markers.load(Ordering::Acquire) {
            self.end_series().await;
        }
    }

    /// One scrape at `t_ms`, from request to report. Dropping it half-way leaves the cache as it was or complete.
    async fn scrape(&mut self, t_ms: i64) {
        let started_ns = self.around.clock.monotonic_ns();
        let t_ms = self.unique(t_ms);
        let fetched = self.fetch().await;
        let mut rows = Rows::default();
        if self.metadata_lost.swap(false, Ordering::AcqRel) {
            self.cache.forget_metadata();
        }
        #[expect(clippy::cast_precision_loss, reason = "sizes of bodies are far below 2^53")]
        let body_size = match &fetched {
            Ok(fetched) => fetched.body.len() as f64,
            // Prometheus' sign for a body over its limit.
            Err(e) if e.kind() == ErrorKind::Limit => -1.0,
            Err(_) => 0.0,
        };
        let outcome = fetched.and_then(|fetched| {
            let scrape = Scrape {
                body: &fetched.body,
                encoding: fetched.encoding,
                t_ms,
                job: &self.job,
                target: &self.watched.target.labels,
                limits: &self.limits,
            };
            self.cache.read(&scrape, &mut rows)
        });
        if outcome.is_err() {
            self.cache.fail(&mut rows);
        }
        let duration_ns = self.around.clock.monotonic_ns() - started_ns;
        self.warn_of_duplicates(&rows.counts);
        #[expect(clippy::cast_precision_loss, reason = "durations of scrapes are far below 2^53")]
        let duration_s = duration_ns as f64 / 1e9;
        let seen = Seen { up: outcome.is_ok(), duration_s, body_size, counts: rows.counts };
        self.report.append(&seen, &self.job, &self.watched.target, &mut rows.rows);
        self.note(t_ms, duration_s, outcome);
        self.hand_over(t_ms, rows).await;
    }

    async fn fetch(&self) -> Result<http::Fetched> {
        let forced = self.forced.lock().clone();
        if let Some(forced) = forced {
            return Err(Error::invalid(&*forced));
        }
        let target = &self.watched.target;
        http::fetch(&self.around.http, &self.job, target, self.limits.body_bytes_max).await
    }

    /// Two batches of a source at one time would contradict each other.
    fn unique(&self, t_ms: i64) -> i64 {
        if t_ms == self.last_ms { t_ms + 1 } else { t_ms }
    }

    fn warn_of_duplicates(&mut self, counts: &Counts) {
        let had = std::mem::replace(&mut self.has_duplicates, counts.duplicates > 0);
        if had || !self.has_duplicates {
            return;
        }
        tracing::warn!(
            target_url = %self.watched.target.url,
            duplicates = counts.duplicates,
            "target sent series more than once; the first value of each was kept"
        );
    }

    /// Publishes the outcome for the API, and logs changes of it.
    fn note(&self, t_ms: i64, duration_s: f64, outcome: Result<()>) {
        let last_error = outcome.err().map(|e| e.message().to_owned()).unwrap_or_default();
        let health = if last_error.is_empty() { Health::Up } else { Health::Down };
        let mut status = self.watched.status.lock();
        let changed = status.health != health;
        *status = TargetStatus {
            health,
            last_error,
            last_scrape_ms: t_ms,
            last_scrape_duration_s: duration_s,
        };
        if changed {
            let (url, error) = (&self.watched.target.url, &status.last_error);
            match health {
                Health::Down => tracing::info!(target_url = %url, %error, "target is down"),
                _ => tracing::info!(target_url = %url, "target is up"),
            }
        }
    }

    /// Hands a batch to the store, off the async threads, as the store may block for a moment.
    async fn hand_over(&mut self, t_ms: i64, rows: Rows) {
        self.last_ms = t_ms;
        let batch = MetricBatch {
            source: Arc::clone(&self.source),
            t_ms,
            rows: rows.rows,
            steady: rows.steady,
            stamped: rows.stamped,
            histograms: rows.histograms,
            exemplars: rows.exemplars,
            metadata: rows.metadata,
        };
        let sink = Arc::clone(&self.around.sink);
        let done = self.done(!batch.metadata.is_empty());
        if let Err(e) = tokio::task::spawn_blocking(move || sink.append_metrics(batch, done)).await
        {
            tracing::error!(source = %self.source, error = %e, "cannot hand a scrape to the store");
        }
    }

    fn done(&self, with_metadata: bool) -> Done {
        let source = Arc::clone(&self.source);
        let lost = Arc::clone(&self.metadata_lost);
        let unstored = Arc::clone(&self.unstored);
        Done::new(move |outcome: Result<Receipt>| match outcome {
            Ok(receipt) => {
                unstored.store(false, Ordering::Release);
                for (reason, count) in receipt.rejected {
                    tracing::debug!(%source, reason = reason.as_str(), count, "the store refused samples");
                }
            }
            Err(e) => {
                lost.fetch_or(with_metadata, Ordering::AcqRel);
                if !unstored.swap(true, Ordering::AcqRel) {
                    tracing::warn!(%source, error = %e, "scrapes are not stored");
                }
            }
        })
    }

    /// Staleness markers for everything the target had: its series and the report's.
    async fn end_series(&mut self) {
        let mut rows = Rows::default();
        self.cache.fail(&mut rows);
        if self.last_ms == i64::MIN {
            return;
        }
        self.report.end(&mut rows.rows);
        let t_ms = self.unique(self.around.clock.now_ms());
        self.hand_over(t_ms, rows).await;
    }
}

/// The job's limits where it has them, else the house's.
fn limits_of(job: &ScrapeJob, house: &Limits) -> Limits {
    let pick = |own: u64, house: usize| if own == 0 { house } else { usize::MAX };
    Limits {
        body_bytes_max: match job.limits.body_bytes {
            0 => house.body_bytes_max,
            own => usize::try_from(own).unwrap_or(usize::MAX),
        },
        // The job's own limits count what relabelling leaves, so the parser must let more through.
        samples_max: pick(job.limits.samples, house.samples_max),
        labels_max: pick(job.limits.labels, house.labels_max),
        name_bytes_max: pick(job.limits.label_name_bytes, house.name_bytes_max),
        value_bytes_max: pick(job.limits.label_value_bytes, house.value_bytes_max),
    }
}

/// Where in its interval a target is scraped: spread by what the target is, the same after every restart.
pub(super) fn grid_offset_ms(target: &Target, interval_ms: i64) -> i64 {
    let hash = FxBuildHasher.hash_one((target.labels.to_string(), target.url.as_str()));
    let spread = u64::try_from(interval_ms).unwrap_or(1).max(1);
    i64::try_from(hash % spread).unwrap_or(0)
}

/// The next grid time after `now_ms`, at least half an interval after the `previous` one if the clock stood still.
pub(super) fn next_due_ms(
    now_ms: i64,
    previous_ms: Option<i64>,
    interval_ms: i64,
    offset_ms: i64,
) -> i64 {
    let grid_after = |t: i64| t + interval_ms - (t - offset_ms).rem_euclid(interval_ms);
    let due_ms = grid_after(now_ms);
    match previous_ms {
        // A timer that fired a hair early must not fire again for the same place.
        Some(previous_ms) if due_ms == previous_ms => due_ms + interval_ms,
        _ => due_ms,
    }
}

/// The time a scrape carries: the grid's when it began within the tolerance, else the clock's.
pub(super) fn scrape_time_ms(now_ms: i64, due_ms: i64, interval_ms: i64) -> i64 {
    let tolerance_ms = TOLERANCE_MS.min(interval_ms / 100);
    if (now_ms - due_ms).abs() <= tolerance_ms { due_ms } else { now_ms }
}

/// What a scrape says about itself.
struct Seen {
    up: bool,
    duration_s: f64,
    body_size: f64,
    counts: Counts,
}

/// Labels of the series about the scrape, made once.
#[derive(Debug)]
struct ReportLabels(Vec<(&'static str, Labels)>);

impl ReportLabels {
    fn new(target: &Labels, extra: bool) -> Self {
        let base = [
            "up",
            "scrape_duration_seconds",
            "scrape_samples_scraped",
            "scrape_samples_post_metric_relabeling",
            "scrape_series_added",
        ];
        let more: &[&'static str] = if extra {
            &["scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes"]
        } else {
            &[]
        };
        Self(base.iter().chain(more).map(|name| (*name, target.with(METRIC_NAME, name))).collect())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of one scrape are far below 2^53")]
    fn append(&self, seen: &Seen, job: &ScrapeJob, target: &Target, rows: &mut Vec<MetricRow>) {
        for (name, labels) in &self.0 {
            let value = match *name {
                "up" => f64::from(u8::from(seen.up)),
                "scrape_duration_seconds" => seen.duration_s,
                "scrape_samples_scraped" => seen.counts.scraped as f64,
                "scrape_samples_post_metric_relabeling" => seen.counts.kept as f64,
                "scrape_series_added" => seen.counts.added as f64,
                "scrape_timeout_seconds" => target.timeout_ms as f64 / 1e3,
                "scrape_sample_limit" => job.limits.samples as f64,
                _ => seen.body_size,
            };
            rows.push(MetricRow { labels: labels.clone(), value });
        }
    }

    fn end(&self, rows: &mut Vec<MetricRow>) {
        rows.extend(
            self.0
                .iter()
                .map(|(_, labels)| MetricRow { labels: labels.clone(), value: stale_nan() }),
        );
    }
}

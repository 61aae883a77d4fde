//! Alerting at work: the state machine of `alert::dispatch` with a clock, a record on disk and senders.
//!
//! Owns: when it is driven, that what changed is durable before anything follows from it, the messages under way, the
//! configuration in force. Does not own: what is told when (`alert::dispatch`), how (`notify`), and the API (`server`).

mod context;
mod figures;
mod history;
mod record;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alert::active::ActiveAlert;
use alert::config::Config;
use alert::dispatch::Dispatcher;
use alert::expand::alertmanager::{Notification, Templates};
use alert::notify::{Notice, Outcome};
use alert::outbox::Job;
use alert::receiver::Receiver;
use alert::record::Change;
use alert::route::{Route, Written};
use alert::sink::{AlertSink, PostableAlert};
use model::{Clock, Result, Sink};
use parking_lot::Mutex;
use storage::fs::Fs;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::alertmanager_yml::{self, Options};
use crate::notify::Sender;
use crate::yaml::ConfigError;
pub(crate) use context::Knowledge;
use figures::Counts;
use history::History;
use record::Record;

/// Messages that are sent at the same time.
const SENDS_MAX: usize = 256;
/// How often what is over is forgotten.
const TIDY_EVERY_MS: i64 = 60_000;
/// An alert without an end, when there is no configuration: as Alertmanager.
const RESOLVE_TIMEOUT_MS: u64 = 300_000;
/// The receiver when there is no configuration.
const NOBODY: &str = "default";

/// What an `alertmanager.yml` says, ready to be used.
#[derive(Debug)]
pub(crate) struct Loaded {
    config: Arc<Config>,
    templates: Arc<Templates>,
    /// As the API shows it, without secrets.
    yaml: String,
}

impl Loaded {
    /// Reads the file at `path`; alerts are shown and told to nobody without one.
    ///
    /// # Errors
    /// All mistakes of the file or its templates.
    pub(crate) fn read(
        path: Option<&Path>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> std::result::Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::nobody()) };
        let all = |mistakes: Vec<ConfigError>| {
            let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            ConfigError::placed(&mistakes.join("\n"))
        };
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::whole_file(path, format!("cannot read: {e}")))?;
        let loaded = alertmanager_yml::load(path, &text, Options::default(), env).map_err(all)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        for off in &loaded.switched_off {
            tracing::warn!(
                receiver = off.receiver,
                integration = off.integration,
                "switched off: {}",
                off.reason
            );
        }
        let templates = alertmanager_yml::templates(&loaded.config).map_err(all)?;
        Ok(Self {
            config: Arc::new(loaded.config),
            templates: Arc::new(templates),
            yaml: loaded.yaml,
        })
    }

    fn nobody() -> Self {
        let route = Route::new(Written { receiver: Some(NOBODY.to_owned()), ..Written::default() });
        let config = Config {
            resolve_timeout_ms: RESOLVE_TIMEOUT_MS,
            templates: Vec::new(),
            route,
            receivers: vec![Receiver { name: NOBODY.to_owned(), integrations: Vec::new() }],
            inhibit_rules: Vec::new(),
            time_intervals: std::collections::BTreeMap::new(),
        };
        Self {
            config: Arc::new(config),
            templates: Arc::new(alert::notify::default_templates()),
            yaml: format!("route:\n  receiver: {NOBODY}\nreceivers:\n- name: {NOBODY}\n"),
        }
    }
}

/// Alerts, their groups, silences and messages of this process.
#[derive(Debug)]
pub(crate) struct Alerting {
    state: Mutex<Dispatcher>,
    /// Locked behind `state`, so that records are in the order of changes.
    record: Mutex<Record>,
    templates: Mutex<Arc<Templates>>,
    yaml: Mutex<String>,
    sender: Sender,
    knowledge: Arc<Knowledge>,
    clock: Arc<dyn Clock>,
    counts: Counts,
    history: History,
    woken: Notify,
}

impl Alerting {
    /// Takes up what was remembered below `data_dir`. Messages tell what `knowledge` has; what is done is written
    /// into the logs of `sink`.
    ///
    /// # Errors
    /// When the record cannot be opened.
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        data_dir: &Path,
        loaded: Loaded,
        knowledge: Knowledge,
        host_name: &str,
        sink: Arc<dyn Sink>,
    ) -> Result<Self> {
        let clock = knowledge.clock.clone();
        let mut state = Dispatcher::new(loaded.config.clone());
        let record = Record::open(fs, &data_dir.join("alerting"), &mut |change| {
            state.restore(change);
        })?;
        let now_ms = clock.now_ms();
        state.prolong(now_ms);
        state.reload(loaded.config, now_ms);
        Ok(Self {
            state: Mutex::new(state),
            record: Mutex::new(record),
            templates: Mutex::new(loaded.templates),
            yaml: Mutex::new(loaded.yaml),
            sender: Sender::new(env!("CARGO_PKG_VERSION"), host_name, clock.clone()),
            knowledge: Arc::new(knowledge),
            clock,
            counts: Counts::default(),
            history: History::new(sink),
            woken: Notify::new(),
        })
    }

    /// Another configuration.
    pub(crate) fn reload(&self, loaded: Loaded) {
        *self.templates.lock() = loaded.templates;
        *self.yaml.lock() = loaded.yaml;
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock();
        if *state.config() != loaded.config {
            state.reload(loaded.config, now_ms);
        }
        drop(state);
        self.woken.notify_one();
    }

    /// Changes the state; what changed is durable on return.
    ///
    /// # Errors
    /// Those of `f`, and of the disk; in the latter case the change holds in memory and is written down with the next.
    fn changed<T>(&self, f: impl FnOnce(&mut Dispatcher) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock();
        let before = state.next_ms();
        let outcome = f(&mut state);
        let (changes, moved) = (state.take_changes(), state.take_moved());
        let is_sooner = state.next_ms().is_some_and(|next| before.is_none_or(|b| next < b));
        let written = match changes.is_empty() {
            true => Ok(()),
            false => self.record.lock().append(&changes, &state),
        };
        // Whoever only looks may go on while this waits for the disk.
        drop(state);
        if is_sooner {
            self.woken.notify_one();
        }
        let silences = changes.iter().filter_map(|change| match change {
            Change::Silence(silence) => Some(silence.clone()),
            _ => None,
        });
        self.history.moved(&moved, &silences.collect::<Vec<_>>(), self.clock.now_ns());
        if !changes.is_empty() {
            written.and_then(|()| self.record.lock().sync())?;
        }
        outcome
    }

    /// As [`Alerting::changed`] where nobody can be told of a failing disk: it is logged, and life goes on.
    fn changed_anyway<T>(&self, f: impl FnOnce(&mut Dispatcher) -> T) -> Option<T> {
        let mut out = None;
        let outcome = self.changed(|state| {
            out = Some(f(state));
            Ok(())
        });
        if let Err(error) = outcome {
            self.counts.record_failed();
            tracing::error!(%error, "alerting cannot write down what it does; a crash now may repeat messages");
        }
        out
    }

    /// Drives the state and sends messages until `cancel` fires; what is under way then gets a moment to arrive.
    pub(crate) async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let slots = Arc::new(Semaphore::new(SENDS_MAX));
        let mut tidy_ms = 0;
        while !cancel.is_cancelled() {
            let now_ms = self.clock.now_ms();
            let tidies = now_ms >= tidy_ms;
            if tidies {
                tidy_ms = now_ms + TIDY_EVERY_MS;
            }
            let this = self.clone();
            let free = slots.available_permits();
            let stepped = tokio::task::spawn_blocking(move || this.step(tidies, free, now_ms));
            let (jobs, next_ms) = stepped.await.unwrap_or_default();
            for job in jobs {
                // There were as many free slots as messages were asked for, and nobody else takes any.
                let Ok(slot) = slots.clone().try_acquire_owned() else { break };
                let this = self.clone();
                tokio::spawn(async move {
                    this.send(job).await;
                    drop(slot);
                    this.woken.notify_one();
                });
            }
            let next_ms = next_ms.unwrap_or(tidy_ms).min(tidy_ms);
            let wait_ms = u64::try_from(next_ms - self.clock.now_ms()).unwrap_or(0);
            // With all slots taken there is nothing to be done until one is free.
            let wait_ms = if slots.available_permits() == 0 { wait_ms.max(100) } else { wait_ms };
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.woken.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            }
        }
        let all = u32::try_from(SENDS_MAX).unwrap_or(1);
        drop(tokio::time::timeout(Duration::from_secs(1), slots.acquire_many(all)).await);
    }

    fn step(&self, tidies: bool, free: usize, now_ms: i64) -> (Vec<Arc<Job>>, Option<i64>) {
        let step = |state: &mut Dispatcher| {
            state.advance(now_ms);
            if tidies {
                state.tidy(now_ms);
            }
            let dropped = state.take_dropped(now_ms);
            let jobs = state.due_jobs(free, now_ms);
            (dropped, jobs, state.next_ms())
        };
        let Some((dropped, jobs, next_ms)) = self.changed_anyway(step) else {
            return (Vec::new(), None);
        };
        for dropped in dropped {
            let key = &dropped.job.key;
            self.counts.dropped(&key.integration, &key.receiver);
            tracing::error!(
                receiver = key.receiver,
                integration = key.integration,
                group = key.group_key,
                "a notification is given up: {}",
                dropped.why
            );
        }
        (jobs, next_ms)
    }

    /// Sends one message, and notes what became of it.
    async fn send(self: &Arc<Self>, job: Arc<Job>) {
        let started_ns = self.clock.monotonic_ns();
        let (this, trying) = (self.clone(), job.clone());
        // A task of its own: what breaks in it must not leave the group's messages waiting for ever.
        let tried = tokio::spawn(async move { this.try_to_send(&trying).await }).await;
        let outcome = tried.unwrap_or_else(|e| Outcome::Refused { reason: format!("BUG: {e}") });
        let key = &job.key;
        let took_ns = self.clock.monotonic_ns() - started_ns;
        self.counts.sent(&key.integration, &key.receiver, &outcome, took_ns);
        self.history.sent(&job, &outcome, took_ns, self.clock.now_ns());
        match &outcome {
            Outcome::Delivered { .. } => {}
            Outcome::Retry { reason, .. } => tracing::warn!(
                receiver = key.receiver,
                integration = key.integration,
                index = key.index,
                "a notification did not arrive and is tried again: {reason}"
            ),
            Outcome::Refused { reason } => tracing::error!(
                receiver = key.receiver,
                integration = key.integration,
                index = key.index,
                "a notification is refused: {reason}"
            ),
        }
        let this = self.clone();
        let noted = tokio::task::spawn_blocking(move || {
            let now_ms = this.clock.now_ms();
            this.changed_anyway(|state| match outcome {
                Outcome::Delivered { remember } => state.delivered(&job, remember),
                Outcome::Retry { after_ms, .. } => {
                    let after_ms = after_ms.and_then(|ms| i64::try_from(ms).ok());
                    state.failed(&job, after_ms, now_ms);
                }
                Outcome::Refused { .. } => state.refused(&job),
            })
        });
        if let Err(error) = noted.await {
            tracing::error!(%error, "BUG: what became of a notification is not noted");
        }
    }

    async fn try_to_send(&self, job: &Arc<Job>) -> Outcome {
        let (knowledge, of) = (self.knowledge.clone(), job.clone());
        let contexts = tokio::task::spawn_blocking(move || knowledge.of(&of.alerts));
        let contexts = contexts.await.unwrap_or_default();
        let config = self.state.lock().config().clone();
        let remembered = self.state.lock().log().get(&job.key).map(|e| e.remembered.clone());
        let templates = self.templates.lock().clone();
        let key = &job.key;
        let integration = config.receiver(&key.receiver).and_then(|receiver| {
            let mut all = receiver.numbered();
            all.find(|(index, of)| *index == key.index && of.kind.name() == key.integration)
        });
        let Some((_, integration)) = integration else {
            let reason = "it is not in the configuration any more".to_owned();
            return Outcome::Refused { reason };
        };
        let notification = Notification {
            receiver: key.receiver.clone(),
            notification_reason: job.reason.as_str().to_owned(),
            alerts: job.alerts.iter().map(alert::outbox::Told::for_templates).collect(),
            group_labels: alert::active::pairs(&job.group_labels),
            external_url: self.knowledge.external_url.clone(),
            route_labels: job.route_labels.clone(),
            contexts,
        };
        let notice = Notice {
            notification,
            group_key: key.group_key.clone(),
            remembered: remembered.unwrap_or_default(),
            made_at_ns: job.at_ms.saturating_mul(1_000_000),
        };
        self.sender.send(integration, &notice, &templates).await
    }
}

impl server::AlertDesk for Alerting {
    fn read(&self, look: &mut dyn FnMut(&Dispatcher)) {
        look(&self.state.lock());
    }

    fn change(&self, change: &mut dyn FnMut(&mut Dispatcher) -> Result<()>) -> Result<()> {
        self.changed(change)
    }

    fn told(&self, firing: u64, resolved: u64, invalid: u64) {
        self.counts.told(firing, resolved, invalid);
    }

    fn yaml(&self) -> String {
        self.yaml.lock().clone()
    }
}

impl AlertSink for Alerting {
    fn send(&self, alerts: &[PostableAlert]) {
        if alerts.is_empty() {
            return;
        }
        let now_ms = self.clock.now_ms();
        let taken = alerts.iter().map(|alert| ActiveAlert {
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            starts_ms: alert.starts_ms,
            ends_ms: alert.ends_ms,
            updated_ms: now_ms,
            generator_url: alert.generator_url.clone(),
            timeout: false,
        });
        let resolved = alerts.iter().filter(|alert| alert.ends_ms <= now_ms).count() as u64;
        self.counts.told(alerts.len() as u64 - resolved, resolved, 0);
        let refused = self.changed_anyway(|state| state.tell(taken, now_ms)).unwrap_or(0);
        if refused > 0 {
            self.counts.told(0, 0, refused as u64);
            tracing::error!(refused, "alerts of rules are not taken: there are too many");
        }
    }
}

//! Keeps the registry current: the list of containers, the event stream, reconnects, and the record of every event.
//!
//! A session with the daemon: agree on the version, ask for the events missed, open the event stream, inspect all
//! containers, store what was missed, then live events until the connection ends. The daemon coming and going is normal.
//! Data: events go to the sink with their cursor, states to the registry, lives to the log followers, pokes to the poller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use ingest::docker::api::{self, Event, Inspected};
use model::{Clock, LogBatch, LogRecord};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::events::{self, Context, EVENTS_SOURCE, EventCursor};
use super::logs::{self, Life, LogContext};
use super::poll::Poke;
use super::registry::{ContainerState, DockerState, Registry};
use crate::counters::Counters;
use crate::delivery::{Backoff, Delivery};
use crate::docker::{Client, Error, Events, Result};

const RECONNECT_FIRST: Duration = Duration::from_millis(250);
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// Events wait at most this long to be stored together.
const BATCH_WAIT: Duration = Duration::from_millis(50);
const BATCH_EVENTS: usize = 200;
/// The list is compared with the registry this often, in case an event was lost.
const RESYNC: Duration = Duration::from_secs(60);
/// How many containers are inspected at once.
const INSPECT_AT_ONCE: usize = 8;

/// Everything the watching task needs.
pub(crate) struct Watcher {
    pub(crate) client: Arc<Client>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) delivery: Delivery,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pokes: mpsc::Sender<Poke>,
    pub(crate) logs: LogContext,
    pub(crate) tasks: TaskTracker,
}

/// State that outlives a session.
struct Session {
    cursor: EventCursor,
    first: bool,
    pending: Vec<LogRecord>,
    followers: BTreeMap<String, watch::Sender<Life>>,
    /// Containers with an `oom` event since their last end.
    oom: BTreeSet<String>,
}

impl Watcher {
    /// Runs until cancelled.
    pub(crate) async fn run(self) {
        let source: Arc<str> = Arc::from(EVENTS_SOURCE);
        let Ok(stored) = self.delivery.cursor(source).await else { return };
        let cursor = stored.and_then(|bytes| EventCursor::decode(&bytes));
        let mut session = Session {
            first: cursor.is_none(),
            cursor: cursor.unwrap_or_default(),
            pending: Vec::new(),
            followers: BTreeMap::new(),
            oom: BTreeSet::new(),
        };
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX);
        let cancel = self.delivery.cancel.clone();
        loop {
            let Some(ended) = cancel.run_until_cancelled(self.session(&mut session)).await else {
                return;
            };
            let was_connected = self.registry.docker_status().state == DockerState::Connected;
            if let Err(error) = ended {
                let state = match error {
                    Error::Denied(_) => DockerState::Denied,
                    _ => DockerState::Unavailable,
                };
                self.registry.set_status(state, &error.to_string());
            }
            if was_connected {
                Counters::add(&self.delivery.counters.docker_disconnects, 1);
                backoff.reset();
            }
            if !backoff.wait(&cancel).await {
                return;
            }
        }
    }

    async fn session(&self, session: &mut Session) -> Result<()> {
        self.client.ping().await?;
        let until_ns = self.clock.now_ns();
        let since_ns = session.cursor.since_ns();
        let missed = self.drain(self.client.events(since_ns, Some(until_ns)).await?).await?;
        // What lies before was asked for just now; what is asked for twice is still remembered.
        let live_since_ns = until_ns.saturating_sub(events::OVERLAP_NS / 2).max(since_ns);
        let mut live = self.client.events(live_since_ns, None).await?;
        let inspected = self.sync(session).await?;
        let version = self.client.version().await.unwrap_or_default();
        let message = format!("engine {} (API {})", version.version, version.api_version);
        self.registry.set_status(DockerState::Connected, &message);
        let told_ns = session.cursor.clone();
        for event in &missed {
            let state = inspected.iter().find(|i| i.id == event.id);
            self.note(session, event, state);
        }
        self.note_late_deaths(session, &told_ns, &inspected);
        session.first = false;
        session.cursor.advance(until_ns);
        self.store(session).await?;
        let mut resync_at_ns = self.resync_at_ns();
        loop {
            let patience = match session.pending.is_empty() {
                true => self.left(resync_at_ns),
                false => BATCH_WAIT,
            };
            match tokio::time::timeout(patience, live.next()).await {
                Err(_) if !session.pending.is_empty() => self.store(session).await?,
                Err(_) => {
                    self.sync(session).await?;
                    resync_at_ns = self.resync_at_ns();
                }
                Ok(Ok(Some(message))) => {
                    self.live_event(session, &message).await;
                    if session.pending.len() >= BATCH_EVENTS {
                        self.store(session).await?;
                    }
                }
                Ok(ended) => {
                    self.store(session).await?;
                    let reason = "docker closed the event stream".to_owned();
                    return Err(ended.err().unwrap_or(Error::Unavailable(reason)));
                }
            }
        }
    }

    fn resync_at_ns(&self) -> i64 {
        let resync_ns = i64::try_from(RESYNC.as_nanos()).unwrap_or(i64::MAX);
        self.clock.monotonic_ns().saturating_add(resync_ns)
    }

    fn left(&self, at_ns: i64) -> Duration {
        let left_ns = at_ns.saturating_sub(self.clock.monotonic_ns());
        Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0))
    }

    /// All events of an answer with an end.
    async fn drain(&self, mut events: Events) -> Result<Vec<Event>> {
        let mut all = Vec::new();
        while let Some(message) = events.next().await? {
            all.extend(self.decode(&message));
        }
        Ok(all)
    }

    fn decode(&self, message: &[u8]) -> Option<Event> {
        match api::decode_event(message) {
            Ok(event) if event.kind == "container" && !event.action.starts_with("exec_") => {
                Some(event)
            }
            Ok(_) => None,
            Err(error) => {
                Counters::add(&self.delivery.counters.docker_unreadable, 1);
                tracing::debug!(%error, "event left out");
                None
            }
        }
    }

    /// Lists and inspects everything, and brings registry and followers in line.
    async fn sync(&self, session: &mut Session) -> Result<Vec<Inspected>> {
        let (listed, unreadable) = self.client.list().await?;
        Counters::add(&self.delivery.counters.docker_unreadable, unreadable);
        let ids: Vec<String> = listed.iter().map(|container| container.id.clone()).collect();
        let answers: Vec<Result<Inspected>> = futures_util::stream::iter(ids)
            .map(|id| {
                let client = Arc::clone(&self.client);
                async move { client.inspect(&id).await }
            })
            .buffered(INSPECT_AT_ONCE)
            .collect()
            .await;
        let mut inspected = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(container) => inspected.push(container),
                Err(Error::NotFound(_)) => {}
                Err(error @ (Error::Unavailable(_) | Error::Denied(_))) => return Err(error),
                Err(error) => {
                    Counters::add(&self.delivery.counters.docker_unreadable, 1);
                    tracing::debug!(%error, "container left out");
                }
            }
        }
        for container in &inspected {
            self.take(session, container);
        }
        let there: BTreeSet<&str> = listed.iter().map(|c| c.id.as_str()).collect();
        for id in self.registry.ids() {
            if !there.contains(id.as_str()) {
                self.forget(session, &id);
            }
        }
        Ok(inspected)
    }

    /// Takes an inspected state into registry, follower and, when its run changed, the poller.
    fn take(&self, session: &mut Session, inspected: &Inspected) {
        let state = ContainerState::from_inspected(inspected);
        let before = self.registry.get(&state.id);
        let run = |s: &ContainerState| (s.pid, s.started_ms, s.name.clone());
        let changed = before.as_ref().map(run) != Some(run(&state));
        let finished_ns = api::decode_time_ns(&inspected.state.finished_at).unwrap_or(0);
        self.follow(session, &state.id, Life::of(&state, finished_ns));
        let id = state.id.clone();
        self.registry.put(state);
        if changed {
            self.poke(&id);
        }
    }

    fn forget(&self, session: &mut Session, id: &str) {
        self.registry.remove(id);
        session.oom.remove(id);
        if let Some(follower) = session.followers.remove(id) {
            follower.send_modify(|life| (life.running, life.removed) = (false, true));
        }
        self.poke(id);
    }

    fn poke(&self, id: &str) {
        // A full queue only means that the next round reads it.
        if self.pokes.try_send(Poke(id.to_owned())).is_err() {
            tracing::debug!(container = id, "reading waits for the next round");
        }
    }

    fn follow(&self, session: &mut Session, id: &str, life: Life) {
        match session.followers.get(id) {
            Some(follower) if !follower.is_closed() => {
                follower.send_if_modified(|known| {
                    let changed = *known != life;
                    *known = life;
                    changed
                });
            }
            _ => {
                let (sender, receiver) = watch::channel(life);
                self.tasks.spawn(logs::follow(self.logs.clone(), id.to_owned(), receiver));
                session.followers.insert(id.to_owned(), sender);
            }
        }
    }

    async fn live_event(&self, session: &mut Session, message: &[u8]) {
        let Some(event) = self.decode(message) else { return };
        let inspected = match event.action.as_str() {
            "destroy" | "remove" => {
                self.forget(session, &event.id);
                None
            }
            "start" => {
                // The log is opened before anything else: the container may live for a moment only.
                self.follow(session, &event.id, self.life_at_start(&event));
                self.inspect(session, &event).await
            }
            "kill" => None,
            _ => self.inspect(session, &event).await,
        };
        self.note(session, &event, inspected.as_ref());
    }

    fn life_at_start(&self, event: &Event) -> Life {
        let attribute = |name: &str| event.attributes.get(name).cloned().unwrap_or_default();
        Life {
            name: attribute("name"),
            image: attribute("image"),
            compose_project: attribute(api::COMPOSE_PROJECT),
            compose_service: attribute(api::COMPOSE_SERVICE),
            running: true,
            finished_ns: 0,
            removed: false,
            // The inspection that follows says it.
            rotates_at_bytes: None,
        }
    }

    /// Inspects the container of an event. When it is gone already, the event alone says how it ended.
    async fn inspect(&self, session: &mut Session, event: &Event) -> Option<Inspected> {
        match self.client.inspect(&event.id).await {
            Ok(inspected) => {
                self.take(session, &inspected);
                Some(inspected)
            }
            Err(Error::NotFound(_)) => {
                let t_ms = event.t_ns.div_euclid(1_000_000);
                if event.action.starts_with("die") {
                    self.registry.modify(&event.id, |state| {
                        "exited".clone_into(&mut state.state);
                        state.pid = None;
                        state.finished_ms = Some(t_ms);
                        state.exit_code = events::exit_code(event);
                    });
                    if let Some(follower) = session.followers.get(&event.id) {
                        follower.send_modify(|life| {
                            (life.running, life.finished_ns) = (false, event.t_ns);
                        });
                    }
                    self.poke(&event.id);
                }
                None
            }
            Err(error) => {
                tracing::debug!(%error, "container of an event cannot be inspected");
                None
            }
        }
    }

    /// Makes the record of an event, unless it is known.
    fn note(&self, session: &mut Session, event: &Event, inspected: Option<&Inspected>) {
        if !session.cursor.insert(event) {
            Counters::add(&self.delivery.counters.events_repeated, 1);
            return;
        }
        let oom_seen = match event.action.as_str() {
            "oom" => {
                session.oom.insert(event.id.clone());
                false
            }
            "start" | "die" | "died" => session.oom.remove(&event.id),
            _ => false,
        };
        session.pending.push(events::record(event, &Context { inspected, oom_seen, late: false }));
    }

    /// Ends that happened while nobody watched and that the daemon no longer tells of.
    fn note_late_deaths(&self, session: &mut Session, told: &EventCursor, inspected: &[Inspected]) {
        for container in inspected.iter().filter(|c| !c.state.running) {
            let Some(finished_ns) = api::decode_time_ns(&container.state.finished_at) else {
                continue;
            };
            if !told.missed_death(&container.id, finished_ns)
                || session.cursor.knows_death(&container.id, finished_ns)
            {
                continue;
            }
            if session.first {
                // Nothing was watched before: what ended then ended before our time, and is not to be found later.
                session.cursor.note_death(&container.id, finished_ns);
                continue;
            }
            let event = events::late_death(container, finished_ns);
            if session.cursor.insert(&event) {
                Counters::add(&self.delivery.counters.deaths_observed_late, 1);
                let context = Context { inspected: Some(container), oom_seen: false, late: true };
                session.pending.push(events::record(&event, &context));
            }
        }
    }

    /// Stores what is pending together with the cursor.
    async fn store(&self, session: &mut Session) -> Result<()> {
        let records = std::mem::take(&mut session.pending);
        Counters::add_len(&self.delivery.counters.events_stored, records.len());
        let batch = LogBatch {
            source: Arc::from(EVENTS_SOURCE),
            rows: records.into_iter().collect(),
            cursor: Some(session.cursor.encode()),
        };
        self.delivery.logs(batch).await.map_err(|e| Error::Unavailable(e.to_string()))
    }
}

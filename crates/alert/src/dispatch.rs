//! Dispatch: alerts come together in groups, and groups are told to receivers.
//!
//! Owns: which alerts there are, their groups and when each is told next, what keeps alerts silent (times, inhibition,
//! silences), and what was told. Does not own: sending ([`crate::outbox`] says what is to be sent and when again),
//! durability and clocks. A state machine: whoever drives it gives the time, asks [`Dispatcher::next_ms`] when to come
//! again, and makes [`Dispatcher::take_changes`] durable before anything that follows from them is seen outside.
//!
//! Source: Alertmanager's dispatcher and notification pipeline, as its acceptance tests show them.

mod group;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Labels, Result};

use crate::active::{ActiveAlert, Fingerprint};
use crate::config::Config;
use crate::expand::alertmanager::Pairs;
use crate::inhibit::Inhibitor;
use crate::notification_log::{LogEntry, LogKey, NotificationLog, Reason, due};
use crate::outbox::{Dropped, Job, Outbox, Told};
use crate::receiver::{Integration, Receiver};
use crate::record::Change;
use crate::route::Route;
use crate::silence::{Silence, Silences};
use group::{Group, GroupId};

/// How long what was told is remembered, and silences after their end: 120 h, as in Alertmanager.
pub const RETENTION_MS: u64 = 120 * 3_600_000;

/// Most alerts at a time, those that are over and still to be told among them.
pub const ALERTS_MAX: usize = 250_000;

/// What keeps an alert from being told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Muted {
    /// Alerts that inhibit it.
    pub inhibited_by: BTreeSet<Fingerprint>,
    /// Ids of silences that cover it.
    pub silenced_by: Vec<String>,
}

impl Muted {
    /// Whether nothing does.
    pub fn is_empty(&self) -> bool {
        self.inhibited_by.is_empty() && self.silenced_by.is_empty()
    }
}

/// A group of alerts as the API shows it.
#[derive(Debug)]
pub struct GroupView<'a> {
    /// What the alerts were grouped by.
    pub labels: &'a Labels,
    /// Of its route.
    pub receiver: &'a str,
    /// The id of its route.
    pub route_id: &'a str,
    /// Labels of its route.
    pub route_labels: &'a Pairs,
    /// Its alerts, by fingerprint.
    pub alerts: Vec<&'a Arc<ActiveAlert>>,
    /// Names of the time intervals that keep it silent now.
    pub muted_by: Vec<String>,
}

/// All alerts, groups, silences, and what was told.
#[derive(Debug)]
pub struct Dispatcher {
    config: Arc<Config>,
    routes: BTreeMap<Arc<str>, Arc<Route>>,
    alerts: BTreeMap<Fingerprint, Arc<ActiveAlert>>,
    groups: BTreeMap<GroupId, Group>,
    /// When each group is told next; the same as in the groups.
    timers: BTreeSet<(i64, GroupId)>,
    inhibitor: Inhibitor,
    silences: Silences,
    log: NotificationLog,
    outbox: Outbox,
    changes: Vec<Change>,
    /// Alerts that began to fire or are over.
    moved: Vec<Arc<ActiveAlert>>,
}

impl Dispatcher {
    /// Without alerts.
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            inhibitor: Inhibitor::new(config.inhibit_rules.clone()),
            routes: routes_of(&config.route),
            config,
            alerts: BTreeMap::new(),
            groups: BTreeMap::new(),
            timers: BTreeSet::new(),
            silences: Silences::default(),
            log: NotificationLog::default(),
            outbox: Outbox::default(),
            changes: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// Takes back what was remembered of a former life; alerts form groups with [`Dispatcher::reload`], which must
    /// follow.
    pub fn restore(&mut self, change: Change) {
        match change {
            Change::Alert(alert) => {
                self.alerts.insert(alert.fingerprint(), alert);
            }
            Change::AlertsGone(gone) => gone.iter().for_each(|fingerprint| {
                self.alerts.remove(fingerprint);
            }),
            Change::Silence(silence) => {
                self.silences.restore(Silence::clone(&silence));
            }
            Change::SilencesGone(ids) => self.silences.forget(&ids),
            Change::Told { key, entry } => self.log.set(key, entry),
            Change::Job(job) => self.outbox.restore(job),
            Change::JobsGone(ids) => self.outbox.remove(&ids),
        }
    }

    /// Everything that is remembered, so that the record of it can begin anew.
    pub fn snapshot(&self) -> impl Iterator<Item = Change> {
        let alerts = self.alerts.values().map(|alert| Change::Alert(alert.clone()));
        let silences = self.silences.iter().map(|silence| Change::Silence(silence.clone()));
        let told = self
            .log
            .iter()
            .map(|(key, entry)| Change::Told { key: key.clone(), entry: Some(entry.clone()) });
        let jobs = self.outbox.iter().map(|job| Change::Job(job.clone()));
        alerts.chain(silences).chain(told).chain(jobs)
    }

    /// Another configuration: groups are formed anew, and told at once if their alerts waited long enough, as far as
    /// anything is new to their receivers.
    pub fn reload(&mut self, config: Arc<Config>, now_ms: i64) {
        self.inhibitor = Inhibitor::new(config.inhibit_rules.clone());
        self.routes = routes_of(&config.route);
        self.config = config;
        self.groups.clear();
        self.timers.clear();
        let alerts: Vec<_> = self.alerts.values().cloned().collect();
        for alert in alerts {
            self.inhibitor.told(&alert);
            self.group(&alert, now_ms);
        }
    }

    /// Keeps alerts of a former life that fired when they were told last for another
    /// [`resolve_timeout_ms`](Config): whoever tells them may have had no occasion to do so since. (That they fire on
    /// is not recorded each time.)
    pub fn prolong(&mut self, now_ms: i64) {
        let until_ms = now_ms.saturating_add_unsigned(self.config.resolve_timeout_ms);
        for alert in self.alerts.values_mut() {
            if alert.ends_ms > alert.updated_ms && alert.ends_ms < until_ms {
                let mut longer = ActiveAlert::clone(alert);
                (longer.ends_ms, longer.timeout) = (until_ms, true);
                *alert = Arc::new(longer);
            }
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What changed since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Alerts that began to fire or are over since the last call, in order.
    pub fn take_moved(&mut self) -> Vec<Arc<ActiveAlert>> {
        std::mem::take(&mut self.moved)
    }

    /// Takes alerts that were told now; gives how many were not taken because there are [`ALERTS_MAX`].
    pub fn tell(&mut self, alerts: impl IntoIterator<Item = ActiveAlert>, now_ms: i64) -> usize {
        let mut refused = 0;
        for alert in alerts {
            let fingerprint = alert.fingerprint();
            let known = self.alerts.get(&fingerprint);
            if known.is_none() && self.alerts.len() >= ALERTS_MAX {
                refused += 1;
                continue;
            }
            let (merged, is_news) = match known {
                Some(known) => {
                    let merged = known.told_again(alert);
                    let is_news = !is_only_prolonged(known, &merged, now_ms);
                    (Arc::new(merged), is_news)
                }
                None => (Arc::new(alert), true),
            };
            if is_news {
                self.changes.push(Change::Alert(merged.clone()));
            }
            let fired = self.alerts.get(&fingerprint).is_some_and(|old| !old.resolved(now_ms));
            if fired == merged.resolved(now_ms) {
                self.moved.push(merged.clone());
            }
            self.alerts.insert(fingerprint, merged.clone());
            self.inhibitor.told(&merged);
            self.group(&merged, now_ms);
        }
        refused
    }

    /// Puts an alert into the groups of its routes.
    fn group(&mut self, alert: &Arc<ActiveAlert>, now_ms: i64) {
        let fingerprint = alert.fingerprint();
        let config = self.config.clone();
        for route in config.route.matching(&alert.labels) {
            let Some((route_id, route)) = self.routes.get_key_value(&*route.id) else { continue };
            let (route_id, route) = (route_id.clone(), route.clone());
            let id = GroupId { route: route_id, labels: route.group_labels(&alert.labels) };
            let waited_ms = alert.starts_ms.saturating_add_unsigned(route.group_wait_ms);
            if !self.groups.contains_key(&id) {
                // Nothing to tell of an alert that is over when nobody heard of it.
                if alert.resolved(now_ms) && !self.was_told(&route, &id) {
                    continue;
                }
                let at_ms = now_ms.saturating_add_unsigned(route.group_wait_ms);
                self.timers.insert((at_ms, id.clone()));
                self.groups.insert(id.clone(), Group::new(route, at_ms));
            }
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.alerts.insert(fingerprint);
            if !group.told && waited_ms < now_ms && group.next_ms > now_ms {
                self.timers.remove(&(group.next_ms, id.clone()));
                group.next_ms = now_ms;
                self.timers.insert((now_ms, id));
            }
        }
    }

    /// Whether a receiver was told that something of this group fires.
    fn was_told(&self, route: &Route, id: &GroupId) -> bool {
        let Some(receiver) = self.config.receiver(&route.receiver) else { return false };
        let group_key = id.key(&route.key);
        receiver.numbered().any(|(index, integration)| {
            let key = log_key(&group_key, receiver, index, integration);
            self.log.get(&key).is_some_and(|entry| !entry.firing.is_empty())
        })
    }

    /// When there is something to do next, Unix milliseconds.
    pub fn next_ms(&self) -> Option<i64> {
        let group = self.timers.first().map(|(at_ms, _)| *at_ms);
        group.into_iter().chain(self.outbox.next_ms()).min()
    }

    /// Tells groups whose time has come: what is to be sent goes to the outbox.
    pub fn advance(&mut self, now_ms: i64) {
        while let Some((at_ms, _)) = self.timers.first()
            && *at_ms <= now_ms
            && let Some((_, id)) = self.timers.pop_first()
        {
            self.flush(id, now_ms);
        }
    }

    fn flush(&mut self, id: GroupId, now_ms: i64) {
        let config = self.config.clone();
        let Some(mut group) = self.groups.remove(&id) else { return };
        let route = group.route.clone();
        group.told = true;
        let alerts: Vec<_> =
            group.alerts.iter().filter_map(|f| self.alerts.get(f)).cloned().collect();
        if config.muting(&route, now_ms).is_empty() {
            let loud = |alert: &&Arc<ActiveAlert>| self.muted(&alert.labels, now_ms).is_empty();
            let loud: Vec<_> = alerts.iter().filter(loud).cloned().collect();
            if !loud.is_empty() {
                self.tell_receiver(&route, &id, &loud, now_ms);
            }
        }
        let over = alerts.iter().filter(|alert| alert.resolved(now_ms));
        over.for_each(|alert| {
            group.alerts.remove(&alert.fingerprint());
            // Nobody said that it is over.
            if alert.ends_ms > alert.updated_ms {
                self.moved.push(alert.clone());
            }
        });
        if group.alerts.is_empty() {
            return;
        }
        group.next_ms = now_ms.saturating_add_unsigned(route.group_interval_ms);
        self.timers.insert((group.next_ms, id.clone()));
        self.groups.insert(id, group);
    }

    /// Queues messages for those integrations of the route's receiver to which something is new.
    fn tell_receiver(
        &mut self,
        route: &Route,
        id: &GroupId,
        alerts: &[Arc<ActiveAlert>],
        now_ms: i64,
    ) {
        let group_key = id.key(&route.key);
        let (resolved, firing): (Vec<_>, Vec<_>) =
            alerts.iter().partition(|alert| alert.resolved(now_ms));
        let set = |alerts: Vec<&Arc<ActiveAlert>>| -> BTreeSet<Fingerprint> {
            alerts.iter().map(|alert| alert.fingerprint()).collect()
        };
        let (firing, resolved) = (set(firing), set(resolved));
        let config = self.config.clone();
        // A receiver may be switched off.
        let Some(receiver) = config.receiver(&route.receiver) else { return };
        for (index, integration) in receiver.numbered() {
            let key = log_key(&group_key, receiver, index, integration);
            let last = self.log.get(&key);
            let reason = due(
                last,
                &firing,
                &resolved,
                integration.send_resolved,
                route.repeat_interval_ms,
                now_ms,
            );
            let Some(reason) = reason else { continue };
            // A receiver that cannot be reached need not hear the same twice when it is back.
            if reason == Reason::Repeat && self.outbox.waits(&key) {
                continue;
            }
            let former = last.cloned();
            let entry = LogEntry {
                firing: firing.clone(),
                resolved: resolved.clone(),
                told_ms: now_ms,
                expires_ms: now_ms.saturating_add_unsigned(
                    RETENTION_MS.max(route.repeat_interval_ms.saturating_mul(2)),
                ),
                remembered: former.as_ref().map(|f| f.remembered.clone()).unwrap_or_default(),
            };
            self.log.set(key.clone(), Some(entry.clone()));
            self.changes.push(Change::Told { key: key.clone(), entry: Some(entry) });
            let wanted = alerts.iter().filter(|a| integration.send_resolved || !a.resolved(now_ms));
            let mut told: Vec<_> = wanted.map(|alert| Told::new(alert, now_ms)).collect();
            if told.is_empty() {
                continue;
            }
            told.sort_by(Told::order);
            let job = Arc::new(Job {
                id: self.outbox.next_id(),
                key,
                reason,
                group_labels: id.labels.clone(),
                route_labels: route.labels.clone(),
                alerts: told,
                at_ms: now_ms,
                repeat_interval_ms: route.repeat_interval_ms,
                former,
            });
            self.changes.push(Change::Job(job.clone()));
            self.outbox.add(job);
        }
    }

    /// What keeps an alert with these labels silent now, times of its routes apart.
    pub fn muted(&self, labels: &Labels, now_ms: i64) -> Muted {
        let silences = self.silences.covering(labels, now_ms);
        Muted {
            inhibited_by: self.inhibitor.inhibitors(labels, now_ms),
            silenced_by: silences.map(|silence| silence.id.clone()).collect(),
        }
    }

    /// Messages that were given up since the last call: there were too many, or they waited too long.
    pub fn take_dropped(&mut self, now_ms: i64) -> Vec<Dropped> {
        self.outbox.forget_old(now_ms);
        let dropped = self.outbox.take_dropped();
        if !dropped.is_empty() {
            let ids = dropped.iter().map(|dropped| dropped.job.id).collect();
            self.changes.push(Change::JobsGone(ids));
        }
        for dropped in &dropped {
            self.told_nothing(&dropped.job);
        }
        dropped
    }

    /// Messages whose time has come, at most `max`; each is under way until one of [`Dispatcher::delivered`],
    /// [`Dispatcher::failed`] and [`Dispatcher::refused`] is called for it.
    pub fn due_jobs(&mut self, max: usize, now_ms: i64) -> Vec<Arc<Job>> {
        self.outbox.take_due(max, now_ms)
    }

    /// A message arrived; the next one of its group finds `remember` in its entry of the log.
    pub fn delivered(&mut self, job: &Job, remember: Pairs) {
        let Some(job) = self.outbox.done(&job.key, job.id) else { return };
        self.changes.push(Change::JobsGone(vec![job.id]));
        let entry = self.log.get(&job.key).filter(|entry| entry.remembered != remember).cloned();
        if let Some(entry) = entry {
            let entry = Some(LogEntry { remembered: remember, ..entry });
            self.log.set(job.key.clone(), entry.clone());
            self.changes.push(Change::Told { key: job.key.clone(), entry });
        }
    }

    /// What was told last.
    pub fn log(&self) -> &NotificationLog {
        &self.log
    }

    /// A message did not arrive and is tried again; `after_ms` if the receiver said when.
    pub fn failed(&mut self, job: &Job, after_ms: Option<i64>, now_ms: i64) {
        self.outbox.failed(&job.key, job.id, after_ms, now_ms);
    }

    /// A message was refused for good: it is dropped, and what fires is told anew when the group is told next.
    pub fn refused(&mut self, job: &Job) {
        let Some(job) = self.outbox.done(&job.key, job.id) else { return };
        self.changes.push(Change::JobsGone(vec![job.id]));
        self.told_nothing(&job);
    }

    /// What `job` said was not heard: the log, or the message behind it, stands as if it had not been made.
    fn told_nothing(&mut self, job: &Job) {
        if let Some(next) = self.outbox.told_nothing(job) {
            self.changes.push(Change::Job(next));
        } else if self.log.get(&job.key).is_some_and(|entry| entry.told_ms == job.at_ms) {
            self.log.set(job.key.clone(), job.former.clone());
            self.changes.push(Change::Told { key: job.key.clone(), entry: job.former.clone() });
        }
    }

    /// Makes, changes or ends a silence; see [`Silences::set`].
    ///
    /// # Errors
    /// As there.
    pub fn set_silence(&mut self, silence: Silence, new_id: String, now_ms: i64) -> Result<String> {
        let changed = self.silences.set(silence, new_id, now_ms)?;
        let id = changed.last().map(|silence| silence.id.clone()).unwrap_or_default();
        self.changes.extend(changed.into_iter().map(Change::Silence));
        Ok(id)
    }

    /// Ends a silence; see [`Silences::expire`].
    ///
    /// # Errors
    /// As there.
    pub fn expire_silence(&mut self, id: &str, now_ms: i64) -> Result<()> {
        let expired = self.silences.expire(id, now_ms)?;
        self.changes.push(Change::Silence(expired));
        Ok(())
    }

    /// All silences.
    pub fn silences(&self) -> &Silences {
        &self.silences
    }

    /// What waits to be sent.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// All alerts, those that are over and still to be told among them; by fingerprint.
    pub fn alerts(&self) -> impl Iterator<Item = (&Fingerprint, &Arc<ActiveAlert>)> {
        self.alerts.iter()
    }

    /// All groups, by route and labels.
    pub fn groups(&self, now_ms: i64) -> impl Iterator<Item = GroupView<'_>> {
        self.groups.iter().map(move |(id, group)| GroupView {
            labels: &id.labels,
            receiver: &group.route.receiver,
            route_id: &id.route,
            route_labels: &group.route.labels,
            alerts: group.alerts.iter().filter_map(|f| self.alerts.get(f)).collect(),
            muted_by: self.config.muting(&group.route, now_ms),
        })
    }

    /// Forgets what is over and was told: alerts, silences, entries of the log. To be called every minute or so.
    pub fn tidy(&mut self, now_ms: i64) {
        let grouped: BTreeSet<Fingerprint> =
            self.groups.values().flat_map(|group| group.alerts.iter().copied()).collect();
        let over = |f: &Fingerprint, alert: &mut Arc<ActiveAlert>| {
            alert.resolved(now_ms) && !grouped.contains(f)
        };
        let gone: Vec<_> = self.alerts.extract_if(.., over).map(|(f, _)| f).collect();
        if !gone.is_empty() {
            self.changes.push(Change::AlertsGone(gone));
        }
        self.inhibitor.forget_resolved(now_ms);
        let silences = self.silences.forget_expired(now_ms, RETENTION_MS);
        if !silences.is_empty() {
            self.changes.push(Change::SilencesGone(silences));
        }
        for key in self.log.forget_expired(now_ms) {
            self.changes.push(Change::Told { key, entry: None });
        }
    }
}

/// Whether all that `next` says is that `known` fires on.
fn is_only_prolonged(known: &ActiveAlert, next: &ActiveAlert, now_ms: i64) -> bool {
    !known.resolved(now_ms)
        && !next.resolved(now_ms)
        && known.starts_ms == next.starts_ms
        && known.annotations == next.annotations
        && known.generator_url == next.generator_url
}

fn log_key(group_key: &str, to: &Receiver, index: usize, integration: &Integration) -> LogKey {
    LogKey {
        group_key: group_key.to_owned(),
        receiver: to.name.clone(),
        integration: integration.kind.name().to_owned(),
        index,
    }
}

/// Every route of a tree by its id, without those inside of it.
fn routes_of(root: &Route) -> BTreeMap<Arc<str>, Arc<Route>> {
    let alone = |route: &Route| Arc::new(Route { routes: Vec::new(), ..route.clone() });
    root.walk().into_iter().map(|route| (Arc::from(&*route.id), alone(route))).collect()
}

//! The outbox: messages on their way to receivers, kept until they have arrived.
//!
//! Owns: the order of messages, when each is tried again, how many are kept for how long. Does not own: sending and
//! durability. Messages of one group to one integration arrive in order; groups do not wait for each other.

#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::Labels;

use crate::active::{ActiveAlert, Fingerprint, pairs};
use crate::expand::alertmanager::{self, Pairs};
use crate::notification_log::{LogEntry, LogKey, Reason};

/// Messages kept of one group to one integration; beyond, the oldest are dropped.
pub const GROUP_JOBS_MAX: usize = 100;
/// Messages kept altogether; beyond, the oldest of the group with the most are dropped.
pub const JOBS_MAX: usize = 20_000;
/// How long a message is tried: three days, so that one of a Friday evening arrives on Monday.
pub const JOB_AGE_MAX_MS: i64 = 72 * 3_600_000;
/// Messages to one integration that are under way at the same time.
pub const UNDER_WAY_MAX: usize = 8;
/// Before the second attempt.
const BACKOFF_MIN_MS: i64 = 500;
/// Between attempts at most.
const BACKOFF_MAX_MS: i64 = 60_000;
/// The same where the receiver asks to wait.
const ASKED_MAX_MS: i64 = 15 * 60_000;

/// An alert as a message tells it. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its identity.
    pub labels: Labels,
    /// What is said of it.
    pub annotations: Pairs,
    /// Since when.
    pub starts_ms: i64,
    /// Until when; `None` while it fires.
    pub ends_ms: Option<i64>,
    /// Where it comes from.
    pub generator_url: String,
}

impl Told {
    /// An alert as it is at `now_ms`.
    pub fn new(alert: &ActiveAlert, now_ms: i64) -> Self {
        Self {
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            starts_ms: alert.starts_ms,
            ends_ms: alert.resolved(now_ms).then_some(alert.ends_ms),
            generator_url: alert.generator_url.clone(),
        }
    }

    /// It as templates see it.
    pub fn for_templates(&self) -> alertmanager::Alert {
        let ns = |ms: i64| ms.saturating_mul(1_000_000);
        alertmanager::Alert {
            resolved: self.ends_ms.is_some(),
            labels: pairs(&self.labels),
            annotations: self.annotations.clone(),
            starts_at_ns: ns(self.starts_ms),
            ends_at_ns: self.ends_ms.map(ns),
            generator_url: self.generator_url.clone(),
            fingerprint: Fingerprint::of(&self.labels).to_string(),
        }
    }

    /// The order in which alerts are told: by job, by instance, then fewer labels first, then by labels.
    pub fn order(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.labels, &other.labels);
        // An alert that has the label comes first.
        let by = |name: &str| match (a.get(name), b.get(name)) {
            (None, None) => Ordering::Equal,
            (None, _) => Ordering::Greater,
            (_, None) => Ordering::Less,
            (a, b) => a.cmp(&b),
        };
        let labels =
            || a.iter().count().cmp(&b.iter().count()).then_with(|| a.iter().cmp(b.iter()));
        by("job").then_with(|| by("instance")).then_with(labels)
    }
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its number.
    pub id: u64,
    /// To whom, and of which group.
    pub key: LogKey,
    /// Why.
    pub reason: Reason,
    /// What its alerts were grouped by.
    pub group_labels: Labels,
    /// Labels of its route, templates themselves.
    pub route_labels: Pairs,
    /// Its alerts, in the order they are told.
    pub alerts: Vec<Told>,
    /// When it was made, Unix milliseconds.
    pub at_ms: i64,
    /// Of its route.
    pub repeat_interval_ms: u64,
    /// What was told before it.
    pub former: Option<LogEntry>,
}

/// A message that was given up.
#[derive(Debug)]
pub struct Dropped {
    /// It.
    pub job: Arc<Job>,
    /// Why.
    pub why: &'static str,
}

/// All messages that have not arrived.
#[derive(Debug, Default)]
pub struct Outbox {
    lanes: BTreeMap<LogKey, Lane>,
    count: usize,
    last_id: u64,
    dropped: Vec<Dropped>,
}

/// The messages of one group to one integration.
#[derive(Debug, Default)]
struct Lane {
    jobs: VecDeque<Arc<Job>>,
    /// How often the first was tried in vain.
    failures: u32,
    /// Not before, Unix milliseconds.
    next_ms: i64,
    /// Whether the first is being sent.
    under_way: bool,
}

impl Outbox {
    /// The number of the next message.
    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Puts a message behind those of the same group and integration.
    pub fn add(&mut self, job: Arc<Job>) {
        let lane = self.lanes.entry(job.key.clone()).or_default();
        lane.jobs.push_back(job);
        self.count += 1;
        let full = if lane.jobs.len() > GROUP_JOBS_MAX {
            lane.drop_oldest()
        } else if self.count > JOBS_MAX {
            // The oldest message of the longest lane; what is being sent stays.
            let of = |lane: &&mut Lane| {
                let at_ms = lane.droppable().map_or(i64::MAX, |job| job.at_ms);
                (lane.jobs.len() - usize::from(lane.under_way), Reverse(at_ms))
            };
            self.lanes.values_mut().max_by_key(of).and_then(Lane::drop_oldest)
        } else {
            return;
        };
        if let Some(job) = full {
            self.count -= 1;
            self.dropped.push(Dropped { job, why: "too many wait" });
        }
    }

    /// Takes back a message of a former life; one with the same number is replaced.
    pub fn restore(&mut self, job: Arc<Job>) {
        self.last_id = self.last_id.max(job.id);
        let mut lane = self.lanes.get_mut(&job.key).into_iter().flat_map(|lane| &mut lane.jobs);
        match lane.find(|known| known.id == job.id) {
            Some(known) => *known = job,
            None => self.add(job),
        }
    }

    /// Takes messages of a former life away that are done with.
    pub fn remove(&mut self, ids: &[u64]) {
        for id in ids {
            let has = |lane: &Lane| lane.jobs.iter().any(|job| job.id == *id);
            let key = self.lanes.iter().find(|(_, lane)| has(lane)).map(|(key, _)| key.clone());
            if let Some(key) = key {
                self.done(&key, *id);
            }
        }
    }

    /// `job` never arrived, and nobody knows what it told: the message behind it now stands after what was told before
    /// `job`. Gives that message as it is now.
    pub fn told_nothing(&mut self, job: &Job) -> Option<Arc<Job>> {
        let lane = self.lanes.get_mut(&job.key)?;
        let next = lane.jobs.iter_mut().find(|next| next.id > job.id)?;
        *next = Arc::new(Job { former: job.former.clone(), ..Job::clone(next) });
        Some(next.clone())
    }

    /// Whether a message waits there.
    pub fn waits(&self, key: &LogKey) -> bool {
        self.lanes.contains_key(key)
    }

    /// All messages, in order within a group and integration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.lanes.values().flat_map(|lane| &lane.jobs)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When the next can be sent, Unix milliseconds.
    pub fn next_ms(&self) -> Option<i64> {
        self.lanes.values().filter(|lane| !lane.under_way).map(|lane| lane.next_ms).min()
    }

    /// Messages that can be sent now, at most `max`, those that were made first before others; they are under way from
    /// now on. Of one integration no more than [`UNDER_WAY_MAX`] are under way at a time, so that one that hangs leaves
    /// room for others.
    pub fn take_due(&mut self, max: usize, now_ms: i64) -> Vec<Arc<Job>> {
        let mut under_way: BTreeMap<(String, String, usize), usize> = BTreeMap::new();
        let integration = |key: &LogKey| (key.receiver.clone(), key.integration.clone(), key.index);
        for (key, _) in self.lanes.iter().filter(|(_, lane)| lane.under_way) {
            *under_way.entry(integration(key)).or_default() += 1;
        }
        let is_due = |lane: &Lane| !lane.under_way && lane.next_ms <= now_ms;
        let due = self.lanes.values().filter(|lane| is_due(lane));
        let mut due: Vec<Arc<Job>> = due.filter_map(|lane| lane.jobs.front().cloned()).collect();
        due.sort_by_key(|job| (job.at_ms, job.id));
        let mut taken = Vec::new();
        for job in due {
            let count = under_way.entry(integration(&job.key)).or_default();
            if taken.len() == max || *count == UNDER_WAY_MAX {
                continue;
            }
            if let Some(lane) = self.lanes.get_mut(&job.key) {
                lane.under_way = true;
                *count += 1;
                taken.push(job);
            }
        }
        taken
    }

    /// The message `id` of `key` is done with; `None` if there is no such message.
    pub fn done(&mut self, key: &LogKey, id: u64) -> Option<Arc<Job>> {
        let lane = self.lanes.get_mut(key)?;
        let position = lane.jobs.iter().position(|job| job.id == id)?;
        let job = lane.jobs.remove(position)?;
        if position == 0 {
            (lane.failures, lane.next_ms, lane.under_way) = (0, 0, false);
        }
        if lane.jobs.is_empty() {
            self.lanes.remove(key);
        }
        self.count -= 1;
        Some(job)
    }

    /// The message `id` of `key` did not arrive; when it is tried again.
    pub fn failed(
        &mut self,
        key: &LogKey,
        id: u64,
        after_ms: Option<i64>,
        now_ms: i64,
    ) -> Option<i64> {
        let lane = self.lanes.get_mut(key)?;
        if lane.jobs.front().is_none_or(|job| job.id != id) {
            return None;
        }
        lane.under_way = false;
        let wait_ms = backoff_ms(lane.failures).max(after_ms.unwrap_or(0).min(ASKED_MAX_MS));
        lane.failures = lane.failures.saturating_add(1);
        lane.next_ms = now_ms.saturating_add(wait_ms);
        Some(lane.next_ms)
    }

    /// Gives up messages that waited too long.
    pub fn forget_old(&mut self, now_ms: i64) {
        let old = |job: &Job| job.at_ms.saturating_add(JOB_AGE_MAX_MS) < now_ms;
        for lane in self.lanes.values_mut().filter(|lane| !lane.under_way) {
            while lane.jobs.front().is_some_and(|job| old(job))
                && let Some(job) = lane.drop_oldest()
            {
                self.count -= 1;
                self.dropped.push(Dropped { job, why: "it waited for three days" });
            }
        }
        self.lanes.retain(|_, lane| !lane.jobs.is_empty());
    }

    /// Messages that were given up since the last call.
    pub fn take_dropped(&mut self) -> Vec<Dropped> {
        std::mem::take(&mut self.dropped)
    }
}

impl Lane {
    /// The oldest that is not being sent.
    fn droppable(&self) -> Option<&Arc<Job>> {
        self.jobs.get(usize::from(self.under_way))
    }

    /// Takes it out.
    fn drop_oldest(&mut self) -> Option<Arc<Job>> {
        self.jobs.remove(usize::from(self.under_way))
    }
}

/// How long to wait after so many failures in a row: half again as long each time.
pub fn backoff_ms(failures: u32) -> i64 {
    let wait_ms = BACKOFF_MIN_MS as f64 * 1.5_f64.powi(failures.min(64).cast_signed());
    (wait_ms as i64).min(BACKOFF_MAX_MS)
}

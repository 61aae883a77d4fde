//! Rules at work: threads that evaluate groups at their times, what becomes of samples and alerts, reloading.
//!
//! Owns: the threads, which belong to rules alone, so that no number of queries delays an alert; the queue of groups by the
//! time they are due; samples on their way to the stores; the seam to whom alerts are told. Does not own: rules' states and
//! times (`alert`), rule files' form (`rule_yml`), what survives a restart ([`state`]), HTTP.

mod figures;
mod load;
mod sender;
mod state;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use alert::evaluate::{ALERTS_FOR_STATE, OUTAGE_MS_MAX, Seen, vector};
use alert::group::{GroupReport, GroupState, Program, Settings, ended};
use alert::rule::Group;
use alert::schedule::Schedule;
use alert::sink::{AlertSink, PostableAlert};
use model::{
    Budget, Clock, Done, Error, ErrorKind, HistogramRow, Labels, Limits, LogSource, METRIC_NAME,
    MetricBatch, MetricRow, MetricSource, Result, Sink, TraceSource,
};
use parking_lot::{Condvar, Mutex, RwLock};
use query::promql::{self, PromQuery, Sample};

pub(crate) use figures::figures;
pub(crate) use load::{RuleSet, files, load, read};
pub(crate) use sender::Sender;
pub(crate) use state::StateFiles;

/// An alert that lasts is sent again after so long: as Prometheus does.
const RESEND_MS: i64 = 60_000;
/// Evaluations after a start before what is not found counts as over.
const ROUNDS_OF_GRACE: u64 = 2;
/// Threads at least: a slow group must not keep the others waiting.
const THREADS_MIN: usize = 4;
/// A sleeping thread looks at the clock at least so often: it may be set.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Series of a group that goes end after so many of its intervals; by then it may be back under another name.
const INTERVALS_UNTIL_END: i64 = 2;

/// What rules are evaluated over, and with what.
pub(crate) struct Parts {
    pub(crate) metrics: Arc<dyn MetricSource>,
    pub(crate) logs: Arc<dyn LogSource>,
    pub(crate) traces: Arc<dyn TraceSource>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) files: StateFiles,
    /// Where alerts go.
    pub(crate) sinks: Vec<Arc<dyn AlertSink>>,
    /// What one evaluation of one rule may cost.
    pub(crate) limits: Limits,
    pub(crate) lookback_ms: i64,
    pub(crate) experimental: bool,
}

/// The running rules.
pub(crate) struct Rules {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    parts: Parts,
    set: RwLock<Arc<RuleSet>>,
    /// By file and name.
    members: RwLock<Vec<Arc<Member>>>,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Threads that may still be started beside those that evaluate groups.
    helpers: AtomicUsize,
    /// Of evaluations under way, so that a stop can end them.
    budgets: Mutex<Vec<Weak<Budget>>>,
    /// State that could not be written down.
    unsaved: AtomicU64,
    /// Alerts that relabelling took out.
    dropped_alerts: AtomicU64,
}

/// A group in the queue.
struct Member {
    state: GroupState,
    schedule: Mutex<Schedule>,
    /// Evaluations since the start.
    rounds: AtomicU64,
    is_retired: AtomicBool,
    /// Held while the group is evaluated.
    running: Mutex<()>,
    /// The group before its file changed, as long as it is still being evaluated.
    before: Mutex<Option<Arc<Self>>>,
    /// What series told of alerts at the start.
    seen: Arc<HashMap<Labels, Seen>>,
}

#[derive(Default)]
struct Queue {
    jobs: BinaryHeap<Reverse<Job>>,
    job_count: u64,
    is_stopping: bool,
}

struct Job {
    due_ms: i64,
    /// Breaks ties: first come, first served.
    number: u64,
    task: Task,
}

enum Task {
    /// Evaluates a group.
    Evaluate(Arc<Member>),
    /// Ends the series of a group that went at that time.
    End(Arc<Member>, i64),
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Job {}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Job {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due_ms, self.number).cmp(&(other.due_ms, other.number))
    }
}

impl Rules {
    /// Starts evaluating `set`, with what is remembered of before. Reads files and series; blocks.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(parts: Parts, set: RuleSet) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let rules = Self::new(parts, set, cores);
        let threads = (0..cores.saturating_mul(2).max(THREADS_MIN)).map(|_| {
            let shared = rules.shared.clone();
            let thread = std::thread::Builder::new().name("rules".to_owned());
            thread.spawn(move || shared.work())
        });
        let threads = threads.collect::<std::io::Result<Vec<_>>>();
        *rules.threads.lock() = threads.map_err(|e| Error::io("start the threads of rules", e))?;
        Ok(rules)
    }

    /// As [`start`](Self::start), without threads.
    fn new(parts: Parts, set: RuleSet, cores: usize) -> Self {
        let shared = Shared {
            parts,
            set: RwLock::default(),
            members: RwLock::default(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            helpers: AtomicUsize::new(cores),
            budgets: Mutex::default(),
            unsaved: AtomicU64::new(0),
            dropped_alerts: AtomicU64::new(0),
        };
        let shared = Arc::new(shared);
        let seen = if set.groups.iter().any(|g| g.rules.iter().any(alert::rule::Rule::is_alerting))
        {
            shared.seen()
        } else {
            HashMap::new()
        };
        let known: Vec<(&str, &str)> =
            set.groups.iter().map(|g| (g.file.as_str(), g.name.as_str())).collect();
        let remembered = shared.parts.files.load(&known, shared.parts.clock.now_ms());
        shared.apply(set, &Arc::new(seen));
        let now_ms = shared.parts.clock.now_ms();
        for member in &*shared.members.read() {
            let group = member.state.group();
            let of = remembered.iter().find(|one| one.is_of(&group.file, &group.name));
            if let Some(saved) = of {
                member.state.restore(saved.rules.clone(), &member.seen, now_ms);
            }
        }
        Self { shared, threads: Mutex::default() }
    }

    /// Goes on with `set`. Groups that did not change are not disturbed; of changed ones the rules that stay keep what they
    /// remember; the series of the others end.
    pub(crate) fn reload(&self, set: RuleSet) {
        self.shared.apply(set, &Arc::default());
    }

    /// All groups as they are now, by file and name.
    pub(crate) fn report(&self) -> Vec<GroupReport> {
        self.shared.members.read().iter().map(|member| member.state.report()).collect()
    }

    /// Ends evaluation. What is being evaluated is given up, and comes again after the next start. Blocks.
    pub(crate) fn stop(&self) {
        self.shared.queue.lock().is_stopping = true;
        self.shared.wake.notify_all();
        for budget in self.shared.budgets.lock().iter().filter_map(Weak::upgrade) {
            budget.cancel();
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of rules ended unexpectedly");
            }
        }
    }
}

impl Shared {
    /// Puts `set` in force.
    fn apply(&self, set: RuleSet, seen: &Arc<HashMap<Labels, Seen>>) {
        let now_ms = self.parts.clock.now_ms();
        let set = Arc::new(set);
        *self.set.write() = set.clone();
        let mut members = self.members.write();
        let mut old: HashMap<(String, String), Arc<Member>> =
            members.drain(..).map(|member| (key(member.state.group()), member)).collect();
        let mut fresh = Vec::new();
        for group in &set.groups {
            let before = old.remove(&key(group));
            if let Some(member) = before.as_ref().filter(|member| member.is_as(group, &set)) {
                members.push(member.clone());
                continue;
            }
            let member = Arc::new(Member::new(group.clone(), &set, seen.clone(), now_ms));
            if let Some(before) = before {
                before.is_retired.store(true, Ordering::Relaxed);
                let running = before.running.try_lock();
                if running.is_some() {
                    member.state.take_over(&before.state);
                } else {
                    *member.before.lock() = Some(before.clone());
                }
            }
            fresh.push(member.clone());
            members.push(member);
        }
        members.sort_by_cached_key(|member| key(member.state.group()));
        drop(members);
        let mut gone: Vec<Arc<Member>> = old.into_values().collect();
        gone.sort_by_cached_key(|member| key(member.state.group()));
        for member in fresh {
            let due_ms = member.schedule.lock().next_ms();
            self.push(due_ms, Task::Evaluate(member));
        }
        for member in gone {
            member.is_retired.store(true, Ordering::Relaxed);
            let wait_ms = member.schedule.lock().interval_ms().saturating_mul(INTERVALS_UNTIL_END);
            self.push(now_ms.saturating_add(wait_ms), Task::End(member, now_ms));
        }
    }

    fn push(&self, due_ms: i64, task: Task) {
        let mut queue = self.queue.lock();
        queue.job_count += 1;
        let number = queue.job_count;
        queue.jobs.push(Reverse(Job { due_ms, number, task }));
        drop(queue);
        self.wake.notify_one();
    }

    fn work(&self) {
        while let Some(task) = self.next() {
            let done = catch_unwind(AssertUnwindSafe(|| self.carry_out(&task)));
            if done.is_err() {
                tracing::error!("evaluation of rules ended unexpectedly; it goes on with the next");
            }
            if let Task::Evaluate(member) = task
                && !member.is_retired.load(Ordering::Relaxed)
            {
                let due_ms = member.schedule.lock().next_ms();
                self.push(due_ms, Task::Evaluate(member));
            }
        }
    }

    /// Waits for what is due; `None` when it is time to stop.
    fn next(&self) -> Option<Task> {
        let mut queue = self.queue.lock();
        loop {
            if queue.is_stopping {
                return None;
            }
            let now_ms = self.parts.clock.now_ms();
            let wait_ms = queue.jobs.peek().map(|Reverse(job)| job.due_ms.saturating_sub(now_ms));
            match wait_ms {
                Some(..=0) => return queue.jobs.pop().map(|Reverse(job)| job.task),
                Some(wait_ms) => {
                    let wait = Duration::from_millis(wait_ms.unsigned_abs()).min(SLEEP_MAX);
                    self.wake.wait_for(&mut queue, wait);
                }
                None => self.wake.wait(&mut queue),
            }
        }
    }

    fn carry_out(&self, task: &Task) {
        match task {
            Task::Evaluate(member) => self.evaluate(member),
            Task::End(member, at_ms) => {
                let _finished = member.running.lock();
                let series = member.state.series();
                let group = member.state.group();
                if !series.is_empty()
                    && let Err(error) = self.store(group, ended(series, *at_ms))
                {
                    tracing::warn!(group = group.name, %error, "series of a group that went do not end");
                }
                // The group may be back.
                let is_back = |other: &Arc<Member>| key(other.state.group()) == key(group);
                if !self.members.read().iter().any(is_back) {
                    self.parts.files.remove(&group.file, &group.name);
                }
            }
        }
    }

    fn evaluate(&self, member: &Arc<Member>) {
        let _running = member.running.lock();
        if member.is_retired.load(Ordering::Relaxed) {
            return;
        }
        if let Some(before) = member.before.lock().take() {
            let _finished = before.running.lock();
            member.state.take_over(&before.state);
        }
        let Some(due) = member.schedule.lock().take(self.parts.clock.now_ms()) else { return };
        let set = self.set.read().clone();
        let settings = Settings {
            metrics: &*self.parts.metrics,
            logs: Some(&*self.parts.logs),
            traces: Some(&*self.parts.traces),
            options: promql::Options {
                experimental: self.parts.experimental,
                subquery_step_ms: i64::try_from(set.interval_ms).unwrap_or(i64::MAX),
            },
            lookback_ms: self.parts.lookback_ms,
            external_labels: &set.external_labels,
            external_url: &set.external_url,
            resend_ms: RESEND_MS,
            clock: &*self.parts.clock,
        };
        let program = Evaluation { shared: self, group: member.state.group(), set: &set };
        let failures = member.state.evaluate(&settings, &program, due.at_ms, due.missed);
        let is_stopping = self.queue.lock().is_stopping;
        for failure in failures.iter().filter(|_| !is_stopping) {
            let group = member.state.group();
            tracing::warn!(
                file = group.file,
                line = failure.rule.line,
                group = group.name,
                rule = failure.rule.name,
                "rule failed: {}",
                failure.error
            );
        }
        if member.rounds.fetch_add(1, Ordering::Relaxed) + 1 == ROUNDS_OF_GRACE {
            member.state.settle(&member.seen, self.parts.clock.now_ms());
        }
        self.save(member);
    }

    fn save(&self, member: &Member) {
        let Some(rules) = member.state.take_changed() else { return };
        let group = member.state.group();
        let saved =
            self.parts.files.save(&group.file, &group.name, rules, self.parts.clock.now_ms());
        if let Err(error) = saved {
            // It is written down with the next change; until then a restart has the state before.
            if self.unsaved.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::error!(%error, "state of alerts is not written down");
            }
        }
    }

    /// Stores samples of one time; queries find them once it returns.
    fn store(&self, group: &Group, samples: Vec<Sample>) -> Result<()> {
        let Some(t_ms) = samples.first().map(|sample| sample.t_ms) else { return Ok(()) };
        let (mut rows, mut histograms) = (Vec::with_capacity(samples.len()), Vec::new());
        for Sample { labels, value, histogram, .. } in samples {
            match histogram {
                Some(value) => histograms.push(HistogramRow { labels, t_ms, value }),
                None => rows.push(MetricRow { labels, value }),
            }
        }
        let source = Arc::from(format!("rules/{};{}", group.file, group.name));
        let batch = MetricBatch { source, t_ms, rows, histograms, ..MetricBatch::default() };
        let (stored, outcome) = std::sync::mpsc::sync_channel(1);
        self.parts.sink.append_metrics(batch, Done::new(move |outcome| drop(stored.send(outcome))));
        let gone = |_| Err(Error::new(ErrorKind::Busy, "the store is closing"));
        outcome.recv().unwrap_or_else(gone).map(drop)
    }

    /// What the series of alerts say of the time before the start, by labels of alerts.
    fn seen(&self) -> HashMap<Labels, Seen> {
        let ask = |text: String| {
            let now_ms = self.parts.clock.now_ms();
            let query = PromQuery {
                text,
                start_ms: now_ms,
                end_ms: now_ms,
                step_ms: 0,
                lookback_ms: OUTAGE_MS_MAX,
            };
            let budget = Budget::new(self.parts.clock.clone(), self.parts.limits);
            let options = promql::Options::default();
            let found = promql::evaluate(&*self.parts.metrics, &query, &options, &budget);
            let found = found.and_then(|found| vector(found.value)).unwrap_or_else(|error| {
                tracing::warn!(%error, "times of alerts are not restored from their series");
                Vec::new()
            });
            let named = found.into_iter().map(|s| (s.labels.without(METRIC_NAME), s.value));
            named.collect::<HashMap<Labels, f64>>()
        };
        let times = ask(format!("timestamp({ALERTS_FOR_STATE})"));
        let in_ms = |seconds: f64| (seconds * 1e3) as i64;
        let seen = ask(ALERTS_FOR_STATE.to_owned()).into_iter().filter_map(|(labels, active_s)| {
            let t_ms = in_ms(*times.get(&labels)?);
            Some((labels, Seen { t_ms, active_ms: in_ms(active_s) }))
        });
        seen.collect()
    }
}

/// One evaluation of a group.
struct Evaluation<'a> {
    shared: &'a Shared,
    group: &'a Group,
    set: &'a RuleSet,
}

impl Program for Evaluation<'_> {
    fn budget(&self) -> Arc<Budget> {
        let parts = &self.shared.parts;
        let budget = Arc::new(Budget::new(parts.clock.clone(), parts.limits));
        let mut budgets = self.shared.budgets.lock();
        if budgets.len() >= 64 {
            budgets.retain(|budget| budget.strong_count() > 0);
        }
        budgets.push(Arc::downgrade(&budget));
        drop(budgets);
        if self.shared.queue.lock().is_stopping {
            budget.cancel();
        }
        budget
    }

    fn store(&self, samples: Vec<Sample>) -> Result<()> {
        self.shared.store(self.group, samples)
    }

    fn each(&self, count: usize, one: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let claim = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return;
                }
                one(index);
            }
        };
        let helpers = &self.shared.helpers;
        let take = |free: usize| Some(free - free.min(count.saturating_sub(1)));
        let before = helpers.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).unwrap_or(0);
        let taken = before.min(count.saturating_sub(1));
        std::thread::scope(|scope| {
            for _ in 0..taken {
                let thread = std::thread::Builder::new().name("rules".to_owned());
                // Without a further thread this one does all.
                if thread.spawn_scoped(scope, claim).is_err() {
                    break;
                }
            }
            claim();
        });
        helpers.fetch_add(taken, Ordering::AcqRel);
    }

    fn send(&self, mut alerts: Vec<PostableAlert>) {
        let before = alerts.len();
        alerts.retain_mut(|alert| self.set.leaves(alert));
        let dropped = before - alerts.len();
        self.shared.dropped_alerts.fetch_add(dropped as u64, Ordering::Relaxed);
        if !alerts.is_empty() {
            self.shared.parts.sinks.iter().for_each(|sink| sink.send(&alerts));
        }
    }
}

impl Member {
    fn new(
        group: Arc<Group>,
        set: &RuleSet,
        seen: Arc<HashMap<Labels, Seen>>,
        now_ms: i64,
    ) -> Self {
        let state = GroupState::new(group.clone(), set.interval_ms, set.query_offset_ms);
        let schedule = Schedule::new(&group.file, &group.name, state.interval_ms(), now_ms);
        Self {
            state,
            schedule: Mutex::new(schedule),
            rounds: AtomicU64::new(0),
            is_retired: AtomicBool::new(false),
            running: Mutex::default(),
            before: Mutex::default(),
            seen,
        }
    }

    /// Whether it is `group` of `set` already.
    fn is_as(&self, group: &Group, set: &RuleSet) -> bool {
        self.state.interval_ms() == group.interval_ms.unwrap_or(set.interval_ms)
            && self.state.query_offset_ms() == group.query_offset_ms.unwrap_or(set.query_offset_ms)
            && self.state.group().is_same(group)
    }
}

fn key(group: &Group) -> (String, String) {
    (group.file.clone(), group.name.clone())
}

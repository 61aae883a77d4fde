//! Groups of rules at work: one evaluation of a group, and what is shown of it.
//!
//! Owns: the order in which rules see each other's samples ([`order`]), what goes to be stored together, how it went.
//! Does not own: when, on which threads, and where samples and alerts go: that is the [`Program`]'s.

mod order;
mod remembered;
#[cfg(test)]
mod tests;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use model::{
    Budget, Clock, Error, Labels, LogSource, MetricSource, Result, TraceSource, stale_nan,
};
use parking_lot::Mutex;
use query::promql::{self, Sample};

use crate::evaluate::{Alert, Context, RuleState, find};
use crate::rule::{Group, Rule};
use crate::sink::PostableAlert;
pub use remembered::Remembered;

/// Groups that took less than this last time have their rules evaluated by one thread: to hand them out takes time, too.
const SLOW_NS: i64 = 20_000_000;

/// What all groups are evaluated with.
pub struct Settings<'a> {
    /// Where samples are.
    pub metrics: &'a dyn MetricSource,
    /// Where log lines are.
    pub logs: Option<&'a dyn LogSource>,
    /// Where spans are.
    pub traces: Option<&'a dyn TraceSource>,
    /// What PromQL may contain.
    pub options: promql::Options,
    /// How far back instant selectors look, milliseconds.
    pub lookback_ms: i64,
    /// For templates.
    pub external_labels: &'a Labels,
    /// For templates and links.
    pub external_url: &'a str,
    /// How long an alert that was sent is not sent again, milliseconds.
    pub resend_ms: i64,
    /// Tells how long things take.
    pub clock: &'a dyn Clock,
}

/// The program around groups: threads, storage, budgets.
pub trait Program: Sync {
    /// What one evaluation of one rule may cost.
    fn budget(&self) -> Arc<Budget>;

    /// Stores samples of the group that is evaluated, all of one time; queries find them once it returns.
    ///
    /// # Errors
    /// When none of them is stored.
    fn store(&self, samples: Vec<Sample>) -> Result<()>;

    /// Calls `one` with every number below `count`, in any order and side by side where threads are free, and returns
    /// after the last.
    fn each(&self, count: usize, one: &(dyn Fn(usize) + Sync));

    /// Takes alerts that are due.
    fn send(&self, alerts: Vec<PostableAlert>);
}

/// How the last evaluation of a rule went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// There was none.
    #[default]
    Unknown,
    /// It worked.
    Ok,
    /// It failed.
    Err,
}

impl Health {
    /// As the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Err => "err",
        }
    }
}

/// The last evaluation of a rule.
#[derive(Debug, Clone, Default)]
struct Last {
    health: Health,
    error: String,
    at_ms: Option<i64>,
    took_ns: i64,
}

#[derive(Debug)]
struct Run {
    state: Mutex<RuleState>,
    last: Mutex<Last>,
}

/// A group and what its rules remember.
#[derive(Debug)]
pub struct GroupState {
    group: Arc<Group>,
    interval_ms: u64,
    query_offset_ms: u64,
    rules: Vec<Run>,
    /// Indexes of rules that may be evaluated together, level after level.
    levels: Vec<Vec<usize>>,
    /// Series of rules that are not there any more.
    departed: Mutex<Vec<Labels>>,
    figures: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    evaluations: AtomicU64,
    failures: AtomicU64,
    iterations: AtomicU64,
    missed: AtomicU64,
    last_ms: AtomicI64,
    last_took_ns: AtomicI64,
    last_rules_ns: AtomicI64,
    last_samples: AtomicU64,
}

impl Counts {
    /// Counters of a group go on when its file changes.
    fn continue_from(&self, other: &Self) {
        for (mine, theirs) in [
            (&self.evaluations, &other.evaluations),
            (&self.failures, &other.failures),
            (&self.iterations, &other.iterations),
            (&self.missed, &other.missed),
            (&self.last_samples, &other.last_samples),
        ] {
            mine.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        for (mine, theirs) in [
            (&self.last_ms, &other.last_ms),
            (&self.last_took_ns, &other.last_took_ns),
            (&self.last_rules_ns, &other.last_rules_ns),
        ] {
            mine.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// A group in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GroupFigures {
    /// Evaluations of its rules.
    pub evaluations: u64,
    /// Those that failed.
    pub failures: u64,
    /// Evaluations of the group, also those that did not take place.
    pub iterations: u64,
    /// Those that did not take place because there was no time.
    pub missed: u64,
    /// What the last evaluation was about, Unix milliseconds; 0 for none.
    pub last_ms: i64,
    /// How long the last evaluation took, seconds.
    pub last_duration_s: f64,
    /// How long its rules took, one by one, seconds.
    pub last_rules_s: f64,
    /// Samples of the last evaluation.
    pub last_samples: u64,
    /// Seconds between evaluations.
    pub interval_s: f64,
    /// Rules.
    pub rules: usize,
}

/// A group as it is shown.
#[derive(Debug, Clone)]
pub struct GroupReport {
    /// Name, file, limit.
    pub group: Arc<Group>,
    /// Milliseconds between evaluations.
    pub interval_ms: u64,
    /// What the last evaluation was about, Unix milliseconds.
    pub evaluated_ms: Option<i64>,
    /// How long it took, nanoseconds.
    pub took_ns: i64,
    /// In the order of the file.
    pub rules: Vec<RuleReport>,
}

/// A rule as it is shown.
#[derive(Debug, Clone)]
pub struct RuleReport {
    /// The rule.
    pub rule: Arc<Rule>,
    /// How the last evaluation went.
    pub health: Health,
    /// Why it failed, or `""`.
    pub last_error: String,
    /// What it was about, Unix milliseconds.
    pub evaluated_ms: Option<i64>,
    /// How long it took, nanoseconds.
    pub took_ns: i64,
    /// Pending and firing ones, by labels.
    pub alerts: Vec<Alert>,
}

/// A rule that began to fail.
#[derive(Debug)]
pub struct Failure {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Why.
    pub error: String,
}

impl GroupState {
    /// A group that was never evaluated; `interval_ms` and `query_offset_ms` are for groups that name none.
    pub fn new(group: Arc<Group>, interval_ms: u64, query_offset_ms: u64) -> Self {
        let run = |rule: &Rule| Run {
            state: Mutex::new(RuleState::new(Arc::new(rule.clone()))),
            last: Mutex::default(),
        };
        Self {
            interval_ms: group.interval_ms.unwrap_or(interval_ms),
            query_offset_ms: group.query_offset_ms.unwrap_or(query_offset_ms),
            rules: group.rules.iter().map(run).collect(),
            levels: order::levels(&group.rules),
            departed: Mutex::default(),
            figures: Counts::default(),
            group,
        }
    }

    /// The group.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// Milliseconds between evaluations.
    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// How far back in time it is evaluated, milliseconds.
    pub fn query_offset_ms(&self) -> u64 {
        self.query_offset_ms
    }

    /// Evaluates the group about `at_ms` (Unix milliseconds), after `missed` evaluations that did not take place. Gives the
    /// rules that failed and did not fail before. Not to be called twice at the same time.
    pub fn evaluate(
        &self,
        settings: &Settings<'_>,
        program: &dyn Program,
        at_ms: i64,
        missed: u64,
    ) -> Vec<Failure> {
        let started_ns = settings.clock.monotonic_ns();
        let is_slow = self.figures.last_took_ns.load(Ordering::Relaxed) >= SLOW_NS;
        let offset_ms = i64::try_from(self.query_offset_ms).unwrap_or(i64::MAX);
        let t_ms = at_ms.saturating_sub(offset_ms);
        let departed = std::mem::take(&mut *self.departed.lock());
        let mut batch = ended(departed, t_ms);
        let (mut failures, mut sample_count, mut rules_ns) = (Vec::new(), 0, 0);
        for level in &self.levels {
            let outcomes: Vec<Mutex<Option<Outcome>>> =
                level.iter().map(|_| Mutex::default()).collect();
            let one = |i: usize| {
                if let (Some(slot), Some(run)) =
                    (outcomes.get(i), level.get(i).and_then(|at| self.rules.get(*at)))
                {
                    *slot.lock() = Some(self.evaluate_rule(run, settings, program, at_ms));
                }
            };
            if is_slow && level.len() > 1 {
                program.each(level.len(), &one);
            } else {
                (0..level.len()).for_each(one);
            }
            // As in Prometheus, of two rules that give the same series the first one counts.
            for outcome in outcomes.into_iter().filter_map(Mutex::into_inner) {
                rules_ns += outcome.took_ns;
                failures.extend(outcome.failure);
                batch.extend(outcome.samples);
            }
            sample_count += batch.len();
            if !batch.is_empty()
                && let Err(error) = program.store(std::mem::take(&mut batch))
            {
                failures.extend(level.iter().filter_map(|at| self.not_stored(*at, &error)));
            }
        }
        let took_ns = settings.clock.monotonic_ns().saturating_sub(started_ns);
        let figures = &self.figures;
        figures.iterations.fetch_add(1 + missed, Ordering::Relaxed);
        figures.missed.fetch_add(missed, Ordering::Relaxed);
        figures.last_samples.store(sample_count as u64, Ordering::Relaxed);
        figures.last_rules_ns.store(rules_ns, Ordering::Relaxed);
        figures.last_took_ns.store(took_ns, Ordering::Relaxed);
        figures.last_ms.store(at_ms, Ordering::Relaxed);
        failures
    }

    fn evaluate_rule(
        &self,
        run: &Run,
        settings: &Settings<'_>,
        program: &dyn Program,
        at_ms: i64,
    ) -> Outcome {
        let started_ns = settings.clock.monotonic_ns();
        let budget = program.budget();
        let cx = Context {
            source: settings.metrics,
            logs: settings.logs,
            traces: settings.traces,
            options: settings.options,
            lookback_ms: settings.lookback_ms,
            external_labels: settings.external_labels,
            external_url: settings.external_url,
            query_offset_ms: self.query_offset_ms,
            limit: self.group.limit,
            budget: &budget,
        };
        let rule = run.state.lock().rule().clone();
        let found = find(&rule, &cx, at_ms);
        let mut state = run.state.lock();
        let applied = found.and_then(|found| state.apply(found, self.group.limit));
        let due = match &applied {
            Ok(_) if rule.is_alerting() => {
                state.due(at_ms, self.interval_ms, settings.resend_ms, settings.external_url)
            }
            _ => Vec::new(),
        };
        drop(state);
        if !due.is_empty() {
            program.send(due);
        }
        let took_ns = settings.clock.monotonic_ns().saturating_sub(started_ns);
        self.figures.evaluations.fetch_add(1, Ordering::Relaxed);
        let mut last = run.last.lock();
        let before = last.health;
        (last.at_ms, last.took_ns) = (Some(at_ms), took_ns);
        match applied {
            Ok(samples) => {
                (last.health, last.error) = (Health::Ok, String::new());
                Outcome { samples, took_ns, failure: None }
            }
            Err(error) => {
                self.figures.failures.fetch_add(1, Ordering::Relaxed);
                (last.health, last.error) = (Health::Err, error.to_string());
                let failure =
                    (before != Health::Err).then(|| Failure { rule, error: error.to_string() });
                Outcome { samples: Vec::new(), took_ns, failure }
            }
        }
    }

    /// Notes that the samples of a rule are not stored.
    fn not_stored(&self, index: usize, error: &Error) -> Option<Failure> {
        let run = self.rules.get(index)?;
        let mut last = run.last.lock();
        if last.health == Health::Err {
            return None;
        }
        self.figures.failures.fetch_add(1, Ordering::Relaxed);
        let error = format!("its samples are not stored: {error}");
        (last.health, last.error) = (Health::Err, error.clone());
        Some(Failure { rule: run.state.lock().rule().clone(), error })
    }

    /// The group as it is now. Waits for no query.
    pub fn report(&self) -> GroupReport {
        let rules = self.rules.iter().map(|run| {
            let last = run.last.lock().clone();
            let state = run.state.lock();
            RuleReport {
                rule: state.rule().clone(),
                health: last.health,
                last_error: last.error,
                evaluated_ms: last.at_ms,
                took_ns: last.took_ns,
                alerts: state.living().cloned().collect(),
            }
        });
        let last_ms = self.figures.last_ms.load(Ordering::Relaxed);
        GroupReport {
            group: self.group.clone(),
            interval_ms: self.interval_ms,
            evaluated_ms: (last_ms != 0).then_some(last_ms),
            took_ns: self.figures.last_took_ns.load(Ordering::Relaxed),
            rules: rules.collect(),
        }
    }

    /// The group in figures.
    pub fn figures(&self) -> GroupFigures {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = |ns: &AtomicI64| ns.load(Ordering::Relaxed) as f64 / 1e9;
        let figures = &self.figures;
        GroupFigures {
            evaluations: count(&figures.evaluations),
            failures: count(&figures.failures),
            iterations: count(&figures.iterations),
            missed: count(&figures.missed),
            last_ms: figures.last_ms.load(Ordering::Relaxed),
            last_duration_s: seconds(&figures.last_took_ns),
            last_rules_s: seconds(&figures.last_rules_ns),
            last_samples: count(&figures.last_samples),
            interval_s: self.interval_ms as f64 / 1e3,
            rules: self.rules.len(),
        }
    }
}

/// What one evaluation of a rule gave.
struct Outcome {
    samples: Vec<Sample>,
    took_ns: i64,
    failure: Option<Failure>,
}

/// Markers at `t_ms` for the end of `series`.
pub fn ended(series: Vec<Labels>, t_ms: i64) -> Vec<Sample> {
    let end = |labels| Sample { labels, t_ms, value: stale_nan(), histogram: None };
    series.into_iter().map(end).collect()
}

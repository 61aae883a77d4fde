//! Rules over a store in memory and a clock that is set by hand, without threads.

use std::path::Path;
use std::sync::Arc;

use alert::evaluate::State;
use model::{LogBatch, ManualClock, Receipt, SpanBatch, is_stale};
use parking_lot::Mutex;
use query::promql::testing::MemorySource;
use storage::fs::{FaultyFs, Fs};

use super::*;
use crate::rule_yml;

const START_MS: i64 = 1_700_000_000_000;

/// A store in memory, and who is told of alerts.
#[derive(Default)]
struct Scene {
    source: Mutex<MemorySource>,
    /// In the order they came.
    stored: Mutex<Vec<(Labels, i64, f64)>>,
    sent: Mutex<Vec<PostableAlert>>,
}

impl Sink for Scene {
    fn append_metrics(&self, batch: MetricBatch, done: Done) {
        for row in &batch.rows {
            self.source.lock().insert(&row.labels, [(batch.t_ms, row.value)]);
            self.stored.lock().push((row.labels.clone(), batch.t_ms, row.value));
        }
        done.call(Ok(Receipt { stored: batch.rows.len() as u64, rejected: Vec::new() }));
    }

    fn append_logs(&self, _: LogBatch, _: Done) {}

    fn append_spans(&self, _: SpanBatch, _: Done) {}

    fn cursor(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

impl AlertSink for Scene {
    fn send(&self, alerts: &[PostableAlert]) {
        self.sent.lock().extend_from_slice(alerts);
    }
}

impl MetricSource for Scene {
    fn select(&self, plan: &model::MetricPlan, budget: &Budget) -> Result<model::Selected> {
        self.source.lock().select(plan, budget)
    }

    fn series(
        &self,
        selectors: &[Vec<model::Matcher>],
        range: model::TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Labels>> {
        self.source.lock().series(selectors, range, budget)
    }

    fn label_names(
        &self,
        selectors: &[Vec<model::Matcher>],
        range: model::TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>> {
        self.source.lock().label_names(selectors, range, budget)
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<model::Matcher>],
        range: model::TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>> {
        self.source.lock().label_values(name, selectors, range, budget)
    }

    fn metadata(&self, _: Option<&str>) -> Vec<model::MetricMetadata> {
        Vec::new()
    }
}

struct World {
    scene: Arc<Scene>,
    clock: Arc<ManualClock>,
    fs: FaultyFs,
    rules: Rules,
}

fn set(text: &str) -> RuleSet {
    let groups = rule_yml::load(Path::new("r.yml"), text, false).unwrap();
    RuleSet {
        groups: groups.into_iter().map(Arc::new).collect(),
        interval_ms: 15_000,
        external_labels: Labels::from_pairs([("site", "x"), ("job", "never")]),
        external_url: "http://here".to_owned(),
        ..RuleSet::default()
    }
}

impl World {
    fn new(text: &str) -> Self {
        let fs = FaultyFs::new();
        let clock = Arc::new(ManualClock::at_ms(START_MS));
        Self::over(Arc::default(), clock, fs, text)
    }

    fn over(scene: Arc<Scene>, clock: Arc<ManualClock>, fs: FaultyFs, text: &str) -> Self {
        let shared: Arc<dyn Fs> = Arc::new(fs.clone());
        let traces = tempfile::tempdir().unwrap();
        let stores = stores(traces.path());
        let parts = Parts {
            metrics: scene.clone(),
            logs: stores.logs.clone(),
            traces: stores.traces.clone(),
            sink: scene.clone(),
            clock: clock.clone(),
            files: StateFiles::new(shared, Path::new("/data")),
            sinks: vec![scene.clone()],
            limits: Limits { samples_max: 1 << 20, bytes_max: 1 << 30, time_ms_max: 60_000 },
            lookback_ms: 300_000,
            experimental: false,
        };
        let rules = Rules::new(parts, set(text), 2);
        Self { scene, clock, fs, rules }
    }

    /// The process dies and starts again, with `text` for rules.
    fn restart(self, seed: u64, text: &str) -> Self {
        self.fs.crash(seed);
        self.scene.sent.lock().clear();
        Self::over(self.scene, self.clock, self.fs, text)
    }

    fn put(&self, series: &str, value: f64) {
        let labels = query::promql::testing::parse_series(series).unwrap().0;
        self.scene.source.lock().insert(&labels, [(self.clock.now_ms(), value)]);
    }

    /// Lets time pass and does what is due.
    fn pass(&self, seconds: i64) {
        for _ in 0..seconds {
            self.clock.advance_ms(1_000);
            let now_ms = self.clock.now_ms();
            loop {
                let is_due = |queue: &Queue| {
                    queue.jobs.peek().is_some_and(|Reverse(job)| job.due_ms <= now_ms)
                };
                if !is_due(&self.rules.shared.queue.lock()) {
                    break;
                }
                self.once();
            }
        }
    }

    fn once(&self) {
        let Some(task) = self.rules.shared.next() else { return };
        self.rules.shared.carry_out(&task);
        if let Task::Evaluate(member) = task
            && !member.is_retired.load(Ordering::Relaxed)
        {
            let due_ms = member.schedule.lock().next_ms();
            self.rules.shared.push(due_ms, Task::Evaluate(member));
        }
    }

    fn states(&self) -> Vec<String> {
        let report = self.rules.report();
        let alerts = report.iter().flat_map(|group| &group.rules).flat_map(|rule| &rule.alerts);
        let shown = alerts.map(|a| {
            let since_s = (a.active_ms - START_MS) / 1_000;
            format!(
                "{} {} since {since_s}",
                a.labels.get("alertname").unwrap_or(""),
                a.state.as_str()
            )
        });
        shown.collect()
    }

    fn stored(&self, name: &str) -> Vec<f64> {
        let stored = self.scene.stored.lock();
        stored.iter().filter(|(l, ..)| l.metric_name() == name).map(|(.., value)| *value).collect()
    }
}

/// Real ones for lines and spans, which these rules do not read.
fn stores(dir: &Path) -> crate::stores::Stores {
    let overrides = crate::config::Overrides {
        data_dir: Some(dir.join("data")),
        ..crate::config::Overrides::default()
    };
    let config = crate::config::load(&overrides, &|_| None).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(model::SystemClock);
    crate::stores::Stores::open(&config, &clock, Arc::default()).unwrap()
}

const RULES: &str = "
groups:
- name: g
  rules:
  - record: a
    expr: sum(x)
  - alert: A
    expr: a > 0
    for: 40s
    labels: {severity: page}
";

#[test]
fn groups_are_evaluated_at_their_times_and_their_alerts_leave() {
    let world = World::new(RULES);
    world.put("x{i=\"1\"}", 2.0);
    world.pass(61);
    assert_eq!(world.stored("a"), [2.0; 4]);
    let report = &world.rules.report()[0];
    let (group, at_ms) = (&report.group, report.evaluated_ms.unwrap());
    assert!(at_ms > START_MS + 45_000 && at_ms <= START_MS + 61_000);
    // The same second in every process.
    assert_eq!(at_ms, Schedule::new(&group.file, &group.name, 15_000, at_ms - 1).next_ms());
    assert_eq!(report.rules[1].alerts[0].state, State::Firing);
    let sent = world.scene.sent.lock().clone();
    let labels = [("alertname", "A"), ("job", "never"), ("severity", "page"), ("site", "x")];
    assert_eq!(sent[0].labels, Labels::from_pairs(labels));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].ends_ms, sent[0].starts_ms + 4 * RESEND_MS);
}

#[test]
fn what_is_late_is_skipped_and_counted() {
    let world = World::new(RULES);
    world.pass(15);
    world.clock.advance_ms(60_000);
    world.pass(15);
    let figures = figures(&world.rules);
    let value = |name: &str| figures.iter().find(|f| f.name == name).unwrap().value;
    assert_eq!(value("prometheus_rule_group_iterations_total"), 6.0);
    let missed = value("prometheus_rule_group_iterations_missed_total");
    assert!((3.0..=4.0).contains(&missed), "{missed}");
    assert_eq!(value("prometheus_rule_evaluations_total"), (6.0 - missed) * 2.0);
}

#[test]
fn a_crash_loses_no_time_of_an_alert() {
    for seed in 0..20 {
        let world = World::new(RULES);
        world.put("x", 1.0);
        world.pass(30);
        let before = world.states();
        assert!(before[0].starts_with("A pending since "), "{before:?}");
        let world = world.restart(seed, RULES);
        assert_eq!(world.states(), before, "seed {seed}");
        world.put("x", 1.0);
        world.pass(30);
        assert_eq!(world.states(), [before[0].replace("pending", "firing")], "seed {seed}");
        // It is over while nobody looks: told after the second evaluation.
        let world = world.restart(seed, RULES);
        world.put("x", 0.0);
        world.pass(15);
        assert_eq!(world.states().len(), 1);
        world.pass(30);
        assert!(world.states().is_empty());
        let sent = world.scene.sent.lock();
        assert!(sent.iter().any(|alert| alert.ends_ms <= world.clock.now_ms()), "seed {seed}");
    }
}

#[test]
fn a_reload_disturbs_only_what_changed() {
    let other = "
- name: h
  rules:
  - record: b
    expr: sum(x)
";
    let world = World::new(&format!("{RULES}{other}"));
    world.put("x", 1.0);
    world.pass(30);
    let before = world.states();
    // `a` becomes another rule, `h` goes, its series ends two intervals later.
    world.rules.reload(set(&RULES.replace("record: a", "record: c").replace("a > 0", "c > 0")));
    assert_eq!(world.states(), before);
    world.pass(15);
    assert!(world.stored("a").last().copied().is_some_and(is_stale));
    assert_eq!(world.stored("c"), [1.0]);
    assert!(!world.stored("b").last().copied().is_some_and(is_stale));
    world.pass(20);
    let stored = world.scene.stored.lock();
    let (_, t_ms, value) = stored.iter().rfind(|(l, ..)| l.metric_name() == "b").unwrap();
    assert!(is_stale(*value));
    assert_eq!(*t_ms, START_MS + 30_000);
}

#[test]
fn a_group_that_stays_is_not_disturbed() {
    let world = World::new(RULES);
    let member = world.rules.shared.members.read()[0].clone();
    world.rules.reload(set(&format!("# A comment\n{RULES}")));
    assert!(Arc::ptr_eq(&member, &world.rules.shared.members.read()[0]));
    let mut other = set(RULES);
    other.interval_ms = 30_000;
    world.rules.reload(other);
    assert!(!Arc::ptr_eq(&member, &world.rules.shared.members.read()[0]));
}

#[test]
fn threads_evaluate_and_stop() {
    let world = World::new(RULES);
    let shared = world.rules.shared.clone();
    let thread = std::thread::Builder::new().spawn(move || shared.work()).unwrap();
    world.rules.threads.lock().push(thread);
    world.put("x", 1.0);
    world.clock.advance_ms(15_000);
    world.rules.shared.wake.notify_all();
    while world.stored("a").is_empty() {
        std::thread::yield_now();
    }
    world.rules.stop();
    assert!(world.rules.threads.lock().is_empty());
}

//! Groups over a store in memory: what rules see of each other, what survives, what is sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::{
    Budget, Error, ErrorKind, Labels, ManualClock, Matcher, MetricMetadata, MetricPlan,
    MetricSource, Result, Selected, TimeRange, is_stale,
};
use parking_lot::{Mutex, RwLock};
use query::promql::testing::MemorySource;
use query::promql::{self, Options, Sample};

use super::{GroupState, Health, Program, Settings};
use crate::evaluate::{Seen, State};
use crate::rule::{Alerting, Expression, Group, Kind, Rule};
use crate::sink::PostableAlert;

const MINUTE_MS: i64 = 60_000;

/// A store in memory.
#[derive(Default)]
struct Scene {
    stored: RwLock<Vec<Sample>>,
    sent: Mutex<Vec<PostableAlert>>,
    is_full: bool,
}

impl Scene {
    fn put(&self, name: &str, t_ms: i64, value: f64) {
        let labels = Labels::from_pairs([("__name__", name)]);
        self.stored.write().push(Sample { labels, t_ms, value, histogram: None });
    }

    fn source(&self) -> MemorySource {
        let mut source = MemorySource::default();
        let mut stored = self.stored.read().clone();
        stored.sort_by_key(|sample| sample.t_ms);
        for sample in stored {
            source.insert(&sample.labels, [(sample.t_ms, sample.value)]);
        }
        source
    }

    /// Values by label sets at `t_ms`, `!` for stale markers.
    fn at(&self, t_ms: i64) -> Vec<String> {
        let stored = self.stored.read();
        let at = stored.iter().filter(|sample| sample.t_ms == t_ms);
        let shown = at.map(|s| {
            let value = if is_stale(s.value) { "!".to_owned() } else { s.value.to_string() };
            format!("{} {value}", s.labels)
        });
        shown.collect()
    }
}

/// The source is made anew for each level, because it is a copy.
struct Live<'a>(&'a Scene);

impl MetricSource for Live<'_> {
    fn select(&self, plan: &MetricPlan, budget: &Budget) -> Result<Selected> {
        self.0.source().select(plan, budget)
    }

    fn series(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Labels>> {
        self.0.source().series(selectors, range, budget)
    }

    fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>> {
        self.0.source().label_names(selectors, range, budget)
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>> {
        self.0.source().label_values(name, selectors, range, budget)
    }

    fn metadata(&self, _: Option<&str>) -> Vec<MetricMetadata> {
        Vec::new()
    }
}

impl Program for Scene {
    fn budget(&self) -> Arc<Budget> {
        Arc::new(Budget::unlimited())
    }

    fn store(&self, samples: Vec<Sample>) -> Result<()> {
        if self.is_full {
            return Err(Error::new(ErrorKind::Busy, "disk is full"));
        }
        self.stored.write().extend(samples);
        Ok(())
    }

    fn each(&self, count: usize, one: &(dyn Fn(usize) + Sync)) {
        (0..count).rev().for_each(one);
    }

    fn send(&self, alerts: Vec<PostableAlert>) {
        self.sent.lock().extend(alerts);
    }
}

fn group(rules: &[(&str, &str, u64)]) -> GroupState {
    let rule = |(i, (name, text, for_m)): (usize, &(&str, &str, u64))| Rule {
        name: (*name).to_owned(),
        text: (*text).to_owned(),
        expr: Expression::Promql(promql::parse(text).unwrap()),
        labels: BTreeMap::default(),
        kind: if name.starts_with(char::is_uppercase) {
            Kind::Alerting(Alerting { for_ms: for_m * 60_000, ..Alerting::default() })
        } else {
            Kind::Recording
        },
        line: i + 1,
    };
    let group = Group {
        name: "g".to_owned(),
        file: "f".to_owned(),
        interval_ms: Some(60_000),
        query_offset_ms: None,
        limit: 0,
        rules: rules.iter().enumerate().map(rule).collect(),
    };
    GroupState::new(Arc::new(group), 15_000, 0)
}

fn evaluate(scene: &Scene, group: &GroupState, minute: i64) -> Vec<String> {
    let source = Live(scene);
    let settings = Settings {
        metrics: &source,
        logs: None,
        traces: None,
        options: Options::default(),
        lookback_ms: 300_000,
        external_labels: &Labels::default(),
        external_url: "http://here",
        resend_ms: MINUTE_MS,
        clock: &ManualClock::at_ms(0),
    };
    let failures = group.evaluate(&settings, scene, minute * MINUTE_MS, 0);
    failures
        .into_iter()
        .map(|failure| format!("{}: {}", failure.rule.name, failure.error))
        .collect()
}

#[test]
fn rules_see_what_those_before_them_stored() {
    let scene = Scene::default();
    let group = group(&[("a", "x + 1", 0), ("b", "a + 1", 0), ("A", "b > 1", 0)]);
    scene.put("x", 0, 1.0);
    assert!(evaluate(&scene, &group, 0).is_empty());
    let alert = r#"ALERTS{alertname="A", alertstate="firing"} 1"#;
    let since = r#"ALERTS_FOR_STATE{alertname="A"} 0"#;
    assert_eq!(scene.at(0), ["x{} 1", "a{} 2", "b{} 3", alert, since]);
    // Shown with its alert.
    let report = group.report();
    assert_eq!(report.rules[2].alerts[0].state, State::Firing);
    assert_eq!(group.figures().last_samples, 4);
}

#[test]
fn a_full_store_fails_the_rules_and_is_told_once() {
    let mut scene = Scene::default();
    scene.put("x", 0, 1.0);
    let group = group(&[("a", "x", 0), ("bad", "x + on() {__name__=~\"x|y\"}", 0)]);
    scene.is_full = true;
    assert_eq!(
        evaluate(&scene, &group, 0),
        [
            "a: its samples are not stored: disk is full",
            "bad: its samples are not stored: disk is full"
        ]
    );
    assert!(group.report().rules.iter().all(|rule| rule.health == Health::Err));
    scene.is_full = false;
    scene.put("y", 0, 1.0);
    // It fails in another way now, which is not told again.
    assert!(evaluate(&scene, &group, 1).is_empty());
    let report = group.report();
    assert_eq!((report.rules[0].health, report.rules[1].health), (Health::Ok, Health::Err));
    assert!(report.rules[1].last_error.contains("many-to-"), "{}", report.rules[1].last_error);
    assert_eq!(group.figures().failures, 3);
}

#[test]
fn alerts_are_sent_when_they_fire_are_resolved_and_last() {
    let scene = Scene::default();
    let group = group(&[("A", "x > 0", 1)]);
    for (minute, value) in [(0, 1.0), (1, 1.0), (2, 1.0), (3, 0.0)] {
        scene.put("x", minute * MINUTE_MS, value);
        evaluate(&scene, &group, minute);
    }
    let sent: Vec<(i64, i64)> =
        scene.sent.lock().iter().map(|a| (a.starts_ms, a.ends_ms)).collect();
    // Pending ones are not; one that lasts is sent when more than a minute has passed.
    assert_eq!(sent, [(MINUTE_MS, 5 * MINUTE_MS), (MINUTE_MS, 3 * MINUTE_MS)]);
    let first = scene.sent.lock()[0].clone();
    assert_eq!(first.generator_url, "http://here/graph?g0.expr=x+%3E+0&g0.tab=1");
    assert_eq!(first.labels, Labels::from_pairs([("alertname", "A")]));
}

#[test]
fn a_restart_loses_no_time_and_resolves_nothing_before_the_second_look() {
    let scene = Scene::default();
    let rules = [("A", "x > 0", 3), ("F", "y > 0", 0)];
    let before = group(&rules);
    scene.put("x", 0, 1.0);
    scene.put("y", 0, 1.0);
    evaluate(&scene, &before, 0);
    let kept = before.take_changed().unwrap();
    assert!(before.take_changed().is_none());
    // Two minutes later; neither series is there yet.
    let seen = |minute: i64| {
        let alert = Labels::from_pairs([("alertname", "A")]);
        HashMap::from([(alert, Seen { t_ms: minute * MINUTE_MS, active_ms: 0 })])
    };
    let scene = Scene::default();
    let after = group(&rules);
    after.restore(kept.clone(), &seen(0), 2 * MINUTE_MS);
    evaluate(&scene, &after, 2);
    let states = |group: &GroupState| -> Vec<String> {
        let report = group.report();
        let alerts = report.rules.iter().flat_map(|rule| &rule.alerts);
        alerts
            .map(|a| {
                format!(
                    "{} {} {}",
                    a.labels.get("alertname").unwrap(),
                    a.state.as_str(),
                    a.active_ms
                )
            })
            .collect()
    };
    assert_eq!(states(&after), ["A pending 0", "F firing 0"]);
    scene.put("x", 3 * MINUTE_MS, 1.0);
    evaluate(&scene, &after, 3);
    after.settle(&seen(0), 3 * MINUTE_MS);
    assert_eq!(states(&after), ["A firing 0", "F firing 0"]);
    evaluate(&scene, &after, 4);
    assert_eq!(states(&after), ["A firing 0"]);
    let resolved = scene.sent.lock().iter().any(|a| a.ends_ms == 4 * MINUTE_MS);
    assert!(resolved, "what fired before is told to be over");
    // After a longer outage the time that nobody looked does not count; after a very long one all begins anew.
    let later = group(&rules);
    later.restore(kept.clone(), &seen(0), 30 * MINUTE_MS);
    assert_eq!(states(&later)[0], format!("A pending {}", 30 * MINUTE_MS));
    let much_later = group(&rules);
    much_later.restore(kept, &HashMap::new(), 600 * MINUTE_MS);
    assert_eq!(states(&much_later), ["F firing 0"]);
}

#[test]
fn series_alone_restore_long_waits_as_prometheus_does() {
    let scene = Scene::default();
    let alert = Labels::from_pairs([("alertname", "A")]);
    let restored = |for_m: u64, down_m: i64| {
        let group = group(&[("A", "x > 0", for_m)]);
        scene.put("x", 60 * MINUTE_MS, 1.0);
        evaluate(&scene, &group, 60);
        let seen = Seen { t_ms: down_m * MINUTE_MS, active_ms: 10 * MINUTE_MS };
        group.settle(&HashMap::from([(alert.clone(), seen)]), 60 * MINUTE_MS);
        group.report().rules[0].alerts[0].active_ms / MINUTE_MS
    };
    // 50 minutes of it are over: 10 more and it fires.
    assert_eq!(restored(60, 40), 10 + 20);
    // It fired before.
    assert_eq!(restored(30, 40), 10);
    // 5 minutes are left, but 10 are waited.
    assert_eq!(restored(35, 40), 60 + 10 - 35);
    // Short waits begin anew.
    assert_eq!(restored(9, 15), 60);
}

#[test]
fn a_changed_file_keeps_what_its_rules_remember_and_ends_the_others_series() {
    let scene = Scene::default();
    scene.put("x", 0, 1.0);
    let before = group(&[("A", "x > 0", 5), ("a", "x", 0), ("b", "x", 0)]);
    evaluate(&scene, &before, 0);
    let after = group(&[("b", "x + 1", 0), ("A", "x > 0", 5)]);
    after.take_over(&before);
    assert_eq!(after.report().rules[1].alerts[0].active_ms, 0);
    assert_eq!(after.report().rules[0].health, Health::Ok);
    scene.put("x", MINUTE_MS, 1.0);
    evaluate(&scene, &after, 1);
    let pending = r#"ALERTS{alertname="A", alertstate="pending"} 1"#;
    let since = r#"ALERTS_FOR_STATE{alertname="A"} 0"#;
    assert_eq!(scene.at(MINUTE_MS), ["x{} 1", "a{} !", "b{} 2", pending, since]);
    assert_eq!(after.figures().iterations, 2);
    let names: Vec<String> = after.series().iter().map(|l| l.metric_name().to_owned()).collect();
    assert_eq!(names, ["b", "ALERTS", "ALERTS_FOR_STATE"]);
}

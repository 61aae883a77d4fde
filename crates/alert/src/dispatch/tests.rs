//! Timelines of dispatch with a manual clock, and random lives with crashes.

use proptest::prelude::*;

use super::*;
use crate::inhibit::InhibitRule;
use crate::matcher::{Matcher, Matchers, Op};
use crate::receiver::Kind;
use crate::route::{GroupBy, Written};

/// One receiver with two webhooks, of which the second is not told of resolved alerts; groups by alert name, told after
/// 1 s, then every 5 s, repeated after 12 s.
fn config() -> Arc<Config> {
    let webhook = |send_resolved| Integration {
        send_resolved,
        ..Integration::new(Kind::Webhook(Box::default()))
    };
    let equals = |value: &str| Matchers(vec![Matcher::new("alertname", Op::Equal, value).unwrap()]);
    Arc::new(Config {
        resolve_timeout_ms: 10_000,
        templates: Vec::new(),
        route: Route::new(Written {
            receiver: Some("r".to_owned()),
            group_by: Some(GroupBy::Names(vec!["alertname".to_owned()])),
            group_wait_ms: Some(1_000),
            group_interval_ms: Some(5_000),
            repeat_interval_ms: Some(12_000),
            ..Written::default()
        }),
        receivers: vec![Receiver {
            name: "r".to_owned(),
            integrations: vec![webhook(true), webhook(false)],
        }],
        inhibit_rules: vec![InhibitRule {
            name: String::new(),
            source: equals("Down"),
            target: equals("Slow"),
            equal: vec!["host".to_owned()],
        }],
        time_intervals: BTreeMap::new(),
    })
}

/// An alert that was told at `now_ms` to fire for another 20 s, or to be over.
fn alert(name: &str, host: &str, starts_ms: i64, fires: bool, now_ms: i64) -> ActiveAlert {
    ActiveAlert {
        labels: Labels::from_pairs([("alertname", name), ("host", host)]),
        annotations: BTreeMap::new(),
        starts_ms,
        ends_ms: if fires { now_ms + 20_000 } else { now_ms },
        updated_ms: now_ms,
        generator_url: String::new(),
        timeout: false,
    }
}

/// Advances to `until_ms`, delivering everything at once; tells what arrived at the first webhook, or the second.
fn run(dispatcher: &mut Dispatcher, until_ms: i64, webhook: usize) -> Vec<String> {
    let mut arrived = Vec::new();
    while let Some(now_ms) = dispatcher.next_ms().filter(|t| *t <= until_ms) {
        dispatcher.advance(now_ms);
        for job in dispatcher.due_jobs(100, now_ms) {
            dispatcher.delivered(&job, BTreeMap::new());
            if job.key.index == webhook {
                arrived.push(format!("{now_ms} {}", told(&job)));
            }
        }
    }
    arrived
}

fn told(job: &Job) -> String {
    let told = job.alerts.iter().map(|alert| {
        let over = if alert.ends_ms.is_some() { " over" } else { "" };
        format!(
            "{}@{}{over}",
            alert.labels.get("alertname").unwrap(),
            alert.labels.get("host").unwrap()
        )
    });
    told.collect::<Vec<_>>().join(", ")
}

#[test]
fn groups_wait_then_tell_what_is_new_and_repeat() {
    for webhook in [0, 1] {
        let mut d = Dispatcher::new(config());
        d.tell([alert("A", "1", 0, true, 0)], 0);
        assert_eq!(run(&mut d, 1_500, webhook), ["1000 A@1"]);
        d.tell([alert("A", "2", 1_500, true, 1_500)], 1_500);
        assert_eq!(run(&mut d, 10_999, webhook), ["6000 A@1, A@2"], "nothing is new at 11000");
        d.tell([alert("A", "1", 0, true, 11_000), alert("A", "2", 1_500, true, 11_000)], 11_000);
        assert_eq!(
            run(&mut d, 21_000, webhook),
            ["21000 A@1, A@2"],
            "the first after 6000 + 12000"
        );
        d.tell([alert("A", "2", 1_500, false, 22_000)], 22_000);
        let some = run(&mut d, 26_000, webhook);
        d.tell([alert("A", "1", 0, false, 27_000)], 27_000);
        let all = run(&mut d, 60_000, webhook);
        match webhook {
            0 => assert_eq!(
                (some, all),
                (vec!["26000 A@1, A@2 over".into()], vec!["31000 A@1 over".into()])
            ),
            _ => assert_eq!((some.len(), all.len()), (0, 0)),
        }
        d.tidy(60_000);
        assert_eq!((d.alerts().count(), d.groups(60_000).count(), d.outbox().len()), (0, 0, 0));
    }
}

#[test]
fn alerts_that_are_not_told_again_end() {
    let mut d = Dispatcher::new(config());
    d.tell([alert("A", "1", 0, true, 0)], 0);
    assert_eq!(run(&mut d, 60_000, 0), ["1000 A@1", "16000 A@1", "21000 A@1 over"]);
}

#[test]
fn inhibited_and_silenced_alerts_are_told_when_nothing_covers_them() {
    let mut d = Dispatcher::new(config());
    d.tell([alert("Slow", "1", 0, true, 0), alert("Down", "1", 0, true, 0)], 0);
    d.tell([alert("Slow", "2", 0, true, 0)], 0);
    assert_eq!(run(&mut d, 2_000, 0), ["1000 Down@1", "1000 Slow@2"]);
    d.tell([alert("Down", "1", 0, false, 3_000)], 3_000);
    let silence = Silence {
        id: String::new(),
        matchers: Matchers(vec![Matcher::new("host", Op::Equal, "2").unwrap()]),
        starts_ms: 0,
        ends_ms: 10_000,
        updated_ms: 0,
        created_by: String::new(),
        comment: String::new(),
        annotations: BTreeMap::new(),
    };
    d.set_silence(silence, "s".to_owned(), 3_000).unwrap();
    assert_eq!(d.muted(&Labels::from_pairs([("host", "2")]), 3_000).silenced_by, ["s"]);
    assert_eq!(run(&mut d, 6_000, 0), ["6000 Down@1 over", "6000 Slow@1"]);
    assert_eq!(run(&mut d, 11_000, 0), ["11000 Slow@1, Slow@2"]);
}

#[test]
fn a_reload_asks_at_once_and_tells_only_what_is_new() {
    let mut d = Dispatcher::new(config());
    d.tell([alert("A", "1", 0, true, 0)], 0);
    run(&mut d, 2_000, 0);
    d.reload(config(), 3_000);
    assert_eq!(d.next_ms(), Some(3_000));
    d.tell([alert("A", "2", 4_000, true, 4_000)], 4_000);
    assert_eq!(run(&mut d, 8_000, 0), ["3000 A@1, A@2"], "told before 3000 was advanced to");
    d.tell([alert("A", "3", 8_500, true, 8_500)], 8_500);
    assert_eq!(run(&mut d, 13_000, 0), ["13000 A@1, A@2, A@3"]);
}

#[test]
fn what_was_refused_is_told_anew() {
    let mut d = Dispatcher::new(config());
    d.tell([alert("A", "1", 0, true, 0)], 0);
    d.advance(1_000);
    for job in d.due_jobs(10, 1_000) {
        d.refused(&job);
    }
    assert!(d.outbox().is_empty());
    assert_eq!(run(&mut d, 6_000, 0), ["6000 A@1"]);
}

#[test]
fn when_all_that_waited_was_refused_it_is_told_anew() {
    let mut d = Dispatcher::new(config());
    d.tell([alert("A", "1", 0, true, 0), alert("A", "2", 0, true, 0)], 0);
    d.advance(1_000);
    let first = d.due_jobs(10, 1_000);
    d.tell([alert("A", "2", 0, false, 2_000)], 2_000);
    d.advance(6_000);
    first.iter().for_each(|job| d.refused(job));
    let second = d.due_jobs(10, 6_000);
    assert_eq!(second.iter().map(|job| told(job)).collect::<Vec<_>>(), ["A@1, A@2 over"]);
    second.iter().for_each(|job| d.refused(job));
    d.tell([alert("A", "1", 0, true, 7_000)], 7_000);
    assert_eq!(run(&mut d, 11_000, 0), ["11000 A@1"]);
}

/// What can happen.
#[derive(Debug, Clone)]
enum Event {
    /// The alert with this number fires, or is over.
    Tell(u8, bool),
    /// So much time passes, milliseconds, and messages are tried: whether each arrives.
    Pass(i64, Vec<bool>),
    /// The process dies; so many of the newest changes were not durable.
    Crash,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..6_u8, any::<bool>()).prop_map(|(n, fires)| Event::Tell(n, fires)),
        4 => (1..8_000_i64, prop::collection::vec(any::<bool>(), 0..6))
            .prop_map(|(ms, arrives)| Event::Pass(ms, arrives)),
        1 => Just(Event::Crash),
    ];
    prop::collection::vec(event, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happens, in the end the receiver knows of each group what fires, and heard nothing twice in a row but
    /// repeats, and messages that were under way when the process died.
    #[test]
    fn receivers_know_the_truth_in_the_end(events in events()) {
        let mut life = Life::new();
        for event in &events {
            life.happen(event);
        }
        life.settle();
        life.check()?;
    }
}

/// A dispatcher with its record, and a receiver that remembers.
struct Life {
    dispatcher: Dispatcher,
    record: Vec<Vec<u8>>,
    now_ms: i64,
    fires: BTreeMap<u8, i64>,
    /// Per group: what the receiver was told last, and how often the same in a row.
    known: BTreeMap<String, BTreeSet<String>>,
    heard: BTreeSet<(u64, i64)>,
    twice: usize,
    crashes: usize,
}

impl Life {
    fn new() -> Self {
        Self {
            dispatcher: Dispatcher::new(config()),
            record: Vec::new(),
            now_ms: 1_000_000,
            fires: BTreeMap::new(),
            known: BTreeMap::new(),
            heard: BTreeSet::new(),
            twice: 0,
            crashes: 0,
        }
    }

    /// As a driver must: what changed is durable before it is seen.
    fn make_durable(&mut self) {
        self.record.extend(self.dispatcher.take_changes().iter().map(Change::encode));
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Tell(number, fires) => {
                match fires {
                    true => self.fires.entry(*number).or_insert(self.now_ms),
                    false => &mut self.fires.remove(number).unwrap_or(self.now_ms),
                };
                self.tell(*number);
                self.make_durable();
            }
            Event::Pass(ms, arrives) => self.pass(*ms, arrives),
            Event::Crash => self.crash(),
        }
    }

    fn tell(&mut self, number: u8) {
        let (name, host) = (["A", "B"][usize::from(number % 2)], number.to_string());
        let (starts_ms, fires) = match self.fires.get(&number) {
            Some(since_ms) => (*since_ms, true),
            None => (self.now_ms - 1, false),
        };
        let alert = alert(name, &host, starts_ms, fires, self.now_ms);
        self.dispatcher.tell([alert], self.now_ms);
    }

    fn pass(&mut self, ms: i64, arrives: &[bool]) {
        let until_ms = self.now_ms + ms;
        let mut arrives = arrives.iter();
        loop {
            self.dispatcher.advance(self.now_ms);
            self.make_durable();
            for job in self.dispatcher.due_jobs(100, self.now_ms) {
                match arrives.next() {
                    Some(false) => self.dispatcher.failed(&job, None, self.now_ms),
                    _ => {
                        self.hear(&job);
                        self.dispatcher.delivered(&job, BTreeMap::new());
                    }
                }
            }
            self.make_durable();
            // Whoever tells alerts tells them again.
            for number in self.fires.keys().copied().collect::<Vec<_>>() {
                self.tell(number);
            }
            let next_ms = self.dispatcher.next_ms().unwrap_or(until_ms);
            if self.now_ms == until_ms {
                return;
            }
            self.now_ms = next_ms.max(self.now_ms + 1).min(until_ms);
        }
    }

    fn hear(&mut self, job: &Job) {
        if job.key.index != 0 {
            return;
        }
        if !self.heard.insert((job.id, job.at_ms)) {
            self.twice += 1;
        }
        let firing = job.alerts.iter().filter(|alert| alert.ends_ms.is_none());
        let hosts = firing.map(|alert| alert.labels.get("host").unwrap().to_owned());
        self.known.insert(job.key.group_key.clone(), hosts.collect());
    }

    /// The process dies while messages are sent: they arrived, and nobody noted that.
    fn crash(&mut self) {
        self.crashes += 1;
        for job in self.dispatcher.due_jobs(100, self.now_ms) {
            self.hear(&job);
        }
        let mut dispatcher = Dispatcher::new(config());
        for bytes in &self.record {
            dispatcher.restore(Change::decode(bytes).unwrap());
        }
        self.now_ms += 700;
        dispatcher.prolong(self.now_ms);
        dispatcher.reload(config(), self.now_ms);
        // The record begins anew with a snapshot.
        self.record = dispatcher.snapshot().map(|change| change.encode()).collect();
        self.dispatcher = dispatcher;
    }

    fn settle(&mut self) {
        // Alerts whose end was said while the process was down are not told again; they end by themselves.
        self.pass(120_000, &[]);
        self.dispatcher.tidy(self.now_ms);
    }

    fn check(&self) -> std::result::Result<(), TestCaseError> {
        for (name, remainder) in [("A", 0), ("B", 1)] {
            let key = format!("{{}}:{{alertname=\"{name}\"}}");
            let known = self.known.get(&key).cloned().unwrap_or_default();
            let fires = self.fires.keys().filter(|number| **number % 2 == remainder);
            let fires: BTreeSet<_> = fires.map(u8::to_string).collect();
            prop_assert_eq!(known, fires, "{}", key);
        }
        let lanes = 2 * self.crashes;
        prop_assert!(self.twice <= lanes, "{} twice, {} crashes", self.twice, self.crashes);
        prop_assert_eq!(self.dispatcher.outbox().len(), 0);
        Ok(())
    }
}

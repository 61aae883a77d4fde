//! Sampling: which spans are stored as they come (head), and which traces stay once they are whole (tail).
//!
//! Owns: the rules of `traces.sampling`, and what they counted. Does not own: where spans wait and what late ones follow
//! (`tracedb`), metrics of spans, which are made of all of them (`stores`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Clock, Outcome, SpanGroup, Trace, TraceSampler, Verdict};
use parking_lot::Mutex;
use query::traceql::Selector;
use regex::Regex;

/// `traces.sampling`.
#[derive(Debug, Clone)]
pub struct Sampling {
    pub(crate) head: Vec<HeadRule>,
    pub(crate) tail: Vec<TailRule>,
    /// Between a trace's first span and the decision.
    pub(crate) wait_ms: i64,
    /// Decisions remembered.
    pub(crate) decisions_max: usize,
}

impl Default for Sampling {
    /// No rules.
    fn default() -> Self {
        Self { head: Vec::new(), tail: Vec::new(), wait_ms: 30_000, decisions_max: 262_144 }
    }
}

/// Which spans of a service are stored.
#[derive(Debug, Clone)]
pub(crate) struct HeadRule {
    pub(crate) name: String,
    /// All services without.
    pub(crate) service: Option<Regex>,
    pub(crate) amount: Amount,
}

/// Which traces stay.
#[derive(Debug, Clone)]
pub(crate) struct TailRule {
    pub(crate) name: String,
    /// All traces without.
    pub(crate) query: Option<Selector>,
    pub(crate) amount: Amount,
}

/// How much of it is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Amount {
    /// 0 to 100.
    pub(crate) percentage: f64,
    pub(crate) spans_per_second: Option<u32>,
}

impl Amount {
    /// Whether the trace is in the share: the same everywhere, and for a larger share as well.
    fn has(&self, trace_id: u128) -> bool {
        let bound = self.percentage / 100.0 * 2_f64.powi(64);
        u128::from(mixed(trace_id)) < bound as u128
    }
}

/// An id as a number that is as good as random, however ids are made: the last step of splitmix64.
fn mixed(trace_id: u128) -> u64 {
    let mut z = (trace_id as u64) ^ ((trace_id >> 64) as u64).rotate_left(32);
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Services whose rates are kept apart; further ones share one.
const SERVICES_MAX: usize = 10_000;
/// Seconds of services of which is known how many spans were kept.
const SECONDS_MAX: usize = 200_000;
/// Of seconds longer ago nothing is known: a trace that late has a rate of its own.
const SECONDS_KEPT: i64 = 900;

/// Spans by verdict.
pub(crate) type Tally = BTreeMap<Verdict, u64>;

/// Spans of a batch, sorted by the head rules.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub(crate) kept: Vec<SpanGroup>,
    pub(crate) dropped: Vec<SpanGroup>,
    pub(crate) tally: Tally,
}

impl Sorted {
    /// Spans that are not stored.
    pub(crate) fn dropped_spans(&self) -> u64 {
        self.dropped.iter().map(|group| group.spans.len() as u64).sum()
    }
}

/// The rules at work.
#[derive(Debug)]
pub(crate) struct Sampler {
    config: Sampling,
    clock: Arc<dyn Clock>,
    /// Spans that services may have at the moment, by rule.
    buckets: Mutex<HashMap<(u16, Arc<str>), Bucket>>,
    /// Spans kept, by rule, service and second.
    seconds: Mutex<HashMap<Second, u64>>,
    head: Mutex<Tally>,
    tail: Mutex<Tally>,
    hurried: AtomicU64,
}

/// A second of a rule and a service.
type Second = (u16, Arc<str>, i64);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    spans: f64,
    at_ns: i64,
}

impl Sampler {
    pub(crate) fn new(config: Sampling, clock: Arc<dyn Clock>) -> Self {
        Self {
            config,
            clock,
            buckets: Mutex::default(),
            seconds: Mutex::default(),
            head: Mutex::default(),
            tail: Mutex::default(),
            hurried: AtomicU64::new(0),
        }
    }

    /// Whether traces are decided about once they are whole.
    pub(crate) fn has_tail(&self) -> bool {
        !self.config.tail.is_empty()
    }

    /// Sorts spans as they come; `None` when all are stored and nobody counts.
    pub(crate) fn sort(&self, groups: &mut Vec<SpanGroup>) -> Option<Sorted> {
        if self.config.head.is_empty() {
            return None;
        }
        let mut sorted = Sorted::default();
        for mut group in std::mem::take(groups) {
            let service = group.resource.service().unwrap_or("");
            let about = |rule: &HeadRule| rule.service.as_ref().is_none_or(|s| s.is_match(service));
            let found = (0..).zip(&self.config.head).find(|(_, rule)| about(rule));
            let Some((number, rule)) = found else {
                let verdict = Verdict { rule: None, outcome: Outcome::Kept };
                *sorted.tally.entry(verdict).or_default() += group.spans.len() as u64;
                sorted.kept.push(group);
                continue;
            };
            let all = std::mem::take(&mut group.spans);
            let (mut kept, mut dropped) = (Vec::with_capacity(all.len()), Vec::new());
            let mut rest = Vec::new();
            let amount = rule.amount;
            for span in all {
                if amount.has(span.trace_id) { kept.push(span) } else { dropped.push(span) }
            }
            if let Some(rate) = amount.spans_per_second {
                let room = self.take(number, service, rate, kept.len());
                rest = kept.split_off(room);
            }
            for (outcome, spans) in
                [(Outcome::Kept, &kept), (Outcome::Share, &dropped), (Outcome::Rate, &rest)]
            {
                if !spans.is_empty() {
                    let verdict = Verdict { rule: Some(number), outcome };
                    *sorted.tally.entry(verdict).or_default() += spans.len() as u64;
                }
            }
            dropped.append(&mut rest);
            if !dropped.is_empty() {
                sorted.dropped.push(SpanGroup { spans: dropped, ..group.clone() });
            }
            if !kept.is_empty() {
                sorted.kept.push(SpanGroup { spans: kept, ..group });
            }
        }
        Some(sorted)
    }

    /// Of `wanted` spans so many as the service may have now: at most what comes in a second, at once.
    fn take(&self, rule: u16, service: &str, rate: u32, wanted: usize) -> usize {
        let now_ns = self.clock.monotonic_ns();
        let rate = f64::from(rate);
        let mut buckets = self.buckets.lock();
        let mut key = (rule, Arc::from(service));
        if buckets.len() >= SERVICES_MAX && !buckets.contains_key(&key) {
            key.1 = Arc::from("");
        }
        let bucket = buckets.entry(key).or_insert(Bucket { spans: rate, at_ns: now_ns });
        let seconds = now_ns.saturating_sub(bucket.at_ns).max(0) as f64 / 1e9;
        bucket.spans = (bucket.spans + seconds * rate).min(rate);
        bucket.at_ns = now_ns;
        let taken = wanted.min(bucket.spans as usize);
        bucket.spans -= taken as f64;
        taken
    }

    /// Counts what the head rules did, once what they kept is stored.
    pub(crate) fn note(&self, tally: &Tally) {
        let mut head = self.head.lock();
        tally.iter().for_each(|(verdict, spans)| *head.entry(*verdict).or_default() += spans);
    }

    /// Spans by stage, rule and outcome since the start.
    pub(crate) fn counts(&self) -> Vec<(&'static str, String, &'static str, u64)> {
        let heads = |number: u16| self.config.head.get(usize::from(number)).map(|r| r.name.clone());
        let tails = |number: u16| self.config.tail.get(usize::from(number)).map(|r| r.name.clone());
        let rows = |stage, tally: &Tally, name: &dyn Fn(u16) -> Option<String>| -> Vec<_> {
            let row = |(verdict, spans): (&Verdict, &u64)| {
                let rule = verdict.rule.and_then(name).unwrap_or_default();
                (stage, rule, verdict.outcome.as_str(), *spans)
            };
            tally.iter().map(row).collect()
        };
        let mut all = rows("head", &self.head.lock(), &heads);
        all.extend(rows("tail", &self.tail.lock(), &tails));
        all
    }

    /// Traces decided about before they had waited.
    pub(crate) fn hurried(&self) -> u64 {
        self.hurried.load(Ordering::Relaxed)
    }

    /// Whether `spans` that start in a second go into what rule and service may have of it.
    fn fits(&self, rule: u16, service: &str, start_ns: i64, spans: u64, rate: u32) -> bool {
        let second = start_ns.div_euclid(1_000_000_000);
        let mut seconds = self.seconds.lock();
        if seconds.len() >= SECONDS_MAX {
            let newest = seconds.keys().map(|(_, _, second)| *second).max().unwrap_or(second);
            seconds.retain(|(_, _, second), _| *second > newest - SECONDS_KEPT);
            if seconds.len() >= SECONDS_MAX {
                seconds.clear();
            }
        }
        let kept = seconds.entry((rule, Arc::from(service), second)).or_default();
        // A trace larger than a whole second may have is kept in a second that has nothing else: it would never be.
        let fits = *kept == 0 || *kept + spans <= u64::from(rate);
        if fits {
            *kept += spans;
        }
        fits
    }
}

impl TraceSampler for Sampler {
    fn wait_ms(&self) -> i64 {
        self.config.wait_ms
    }

    fn decisions_max(&self) -> usize {
        self.config.decisions_max
    }

    fn decide(&self, trace: &Trace) -> Verdict {
        let about = |rule: &TailRule| rule.query.as_ref().is_none_or(|query| query.matches(trace));
        let found = (0..).zip(&self.config.tail).find(|(_, rule)| about(rule));
        let Some((number, rule)) = found else {
            return Verdict { rule: None, outcome: Outcome::Kept };
        };
        let outcome = match rule.amount.spans_per_second {
            _ if !rule.amount.has(trace.trace_id) => Outcome::Share,
            Some(rate) => {
                let spans = trace.groups.iter().map(|group| group.spans.len() as u64).sum();
                let (service, start_ns) = beginning(trace);
                let fits = self.fits(number, service, start_ns, spans, rate);
                if fits { Outcome::Kept } else { Outcome::Rate }
            }
            None => Outcome::Kept,
        };
        Verdict { rule: Some(number), outcome }
    }

    fn settled(&self, verdict: Verdict, spans: u64) {
        *self.tail.lock().entry(verdict).or_default() += spans;
    }

    fn hurried(&self, traces: u64) {
        self.hurried.fetch_add(traces, Ordering::Relaxed);
    }
}

/// Service and time of the trace's first span.
fn beginning(trace: &Trace) -> (&str, i64) {
    let spans = trace.groups.iter().flat_map(|group| {
        group.spans.iter().map(move |span| (group.resource.service(), span.start_ns))
    });
    let first = spans.min_by_key(|(_, start_ns)| *start_ns);
    first.map_or(("", 0), |(service, start_ns)| (service.unwrap_or(""), start_ns))
}

#[cfg(test)]
mod tests {
    use model::{
        AttributeValue, Budget, Done, ManualClock, Resource, Sink as _, Span, SpanBatch,
        SpanStatus, TraceSource as _,
    };

    use super::*;
    use crate::config;
    use crate::stores::Stores;

    fn of(service: &str, ids: impl IntoIterator<Item = u128>) -> SpanGroup {
        let name = AttributeValue::String(service.to_owned());
        let attributes = vec![(Arc::from("service.name"), name)];
        let span = |trace_id| Span { trace_id, span_id: 1, ..Span::default() };
        SpanGroup {
            resource: Arc::new(Resource { attributes, ..Resource::default() }),
            spans: ids.into_iter().map(span).collect(),
            ..SpanGroup::default()
        }
    }

    fn amount(percentage: f64, spans_per_second: Option<u32>) -> Amount {
        Amount { percentage, spans_per_second }
    }

    fn counts(sampler: &Sampler) -> Vec<String> {
        let shown = |(stage, rule, outcome, spans)| format!("{stage} {rule:?} {outcome} {spans}");
        sampler.counts().into_iter().map(shown).collect()
    }

    #[test]
    fn shares_are_of_traces_nested_and_about_so_large() {
        let ids = |step: u128| (1..10_000_u128).map(move |i| i.wrapping_mul(step));
        for step in [1, 1 << 64, 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835] {
            let mut last = 0;
            for percentage in [0.0, 1.0, 10.0, 50.0, 99.9, 100.0] {
                let kept = ids(step).filter(|id| amount(percentage, None).has(*id)).count();
                let error = (kept as f64 / 9_999.0 - percentage / 100.0).abs();
                assert!(error < 0.015, "{percentage} % of ids {step:x}: {kept}");
                assert!(kept >= last);
                last = kept;
            }
            let small = amount(10.0, None);
            assert!(ids(step).filter(|id| small.has(*id)).all(|id| amount(11.0, None).has(id)));
            assert_eq!(ids(step).filter(|id| amount(100.0, None).has(*id)).count(), 9_999);
        }
    }

    #[test]
    fn the_first_rule_about_a_service_says_how_much_of_it_is_stored() {
        let service = |pattern: &str| Some(model::anchored_regex(pattern).unwrap());
        let rule =
            |name: &str, service, amount| HeadRule { name: name.to_owned(), service, amount };
        let config = Sampling {
            head: vec![
                rule("never", service("health.*"), amount(0.0, None)),
                rule("some", service("batch-[12]"), amount(100.0, Some(3))),
            ],
            ..Sampling::default()
        };
        let clock = Arc::new(ManualClock::at_ms(1_000_000));
        let sampler = Sampler::new(config, clock.clone());
        let run = |groups: Vec<SpanGroup>| {
            let mut groups = groups;
            let sorted = sampler.sort(&mut groups).unwrap();
            sampler.note(&sorted.tally);
            let shown = |groups: &[SpanGroup]| -> Vec<String> {
                let one =
                    |g: &SpanGroup| format!("{}:{}", g.resource.service().unwrap(), g.spans.len());
                groups.iter().map(one).collect()
            };
            (shown(&sorted.kept).join(" "), shown(&sorted.dropped).join(" "))
        };
        let is = |kept: &str, dropped: &str| (kept.to_owned(), dropped.to_owned());
        let all = || ["web", "health-check", "batch-1", "batch-2"].map(|s| of(s, 1..5)).to_vec();
        assert_eq!(
            run(all()),
            is("web:4 batch-1:3 batch-2:3", "health-check:4 batch-1:1 batch-2:1")
        );
        assert_eq!(run(vec![of("batch-1", 5..6)]), is("", "batch-1:1"));
        clock.advance_ms(700);
        assert_eq!(run(vec![of("batch-1", 5..9)]), is("batch-1:2", "batch-1:2"));
        clock.advance_ms(60_000);
        assert_eq!(run(vec![of("batch-1", 5..19)]), is("batch-1:3", "batch-1:11"));
        assert_eq!(
            counts(&sampler),
            [
                r#"head "" kept 4"#,
                r#"head "never" dropped_share 4"#,
                r#"head "some" kept 11"#,
                r#"head "some" dropped_rate 16"#
            ]
        );
    }

    #[test]
    fn the_first_rule_that_finds_a_trace_decides() {
        let rule = |name: &str, query: Option<&str>, amount| TailRule {
            name: name.to_owned(),
            query: query.map(|query| Selector::parse(query).unwrap()),
            amount,
        };
        let config = Sampling {
            tail: vec![
                rule("health", Some(r#"{ name = "/healthz" }"#), amount(0.0, None)),
                rule("errors", Some("{ status = error }"), amount(100.0, None)),
                rule("slow", Some("{ trace:duration > 1s }"), amount(100.0, Some(3))),
                rule("shop", Some(r#"{ .shop != nil }"#), amount(50.0, None)),
            ],
            ..Sampling::default()
        };
        let sampler = Sampler::new(config, Arc::new(ManualClock::at_ms(0)));
        let check = |trace_id: u128, change: &dyn Fn(&mut Vec<Span>), expect: &str| {
            let mut group = of("web", [trace_id, trace_id]);
            change(&mut group.spans);
            let spans = group.spans.len() as u64;
            let verdict = sampler.decide(&Trace { trace_id, groups: vec![group] });
            sampler.settled(verdict, spans);
            let rule = verdict.rule.map_or("none", |n| &*sampler.config.tail[usize::from(n)].name);
            assert_eq!(format!("{rule} {}", verdict.outcome.as_str()), expect);
        };
        check(1, &|_| {}, "none kept");
        check(1, &|spans| spans[1].name = Arc::from("/healthz"), "health dropped_share");
        check(1, &|spans| spans[1].status = SpanStatus::Error, "errors kept");
        let slow = |second: i64| {
            move |spans: &mut Vec<Span>| {
                spans[0].start_ns = second * 1_000_000_000;
                spans[1].start_ns = spans[0].start_ns;
                spans[1].end_ns = spans[0].start_ns + 1_000_000_001;
            }
        };
        check(1, &slow(5), "slow kept");
        check(2, &slow(5), "slow dropped_rate");
        check(3, &slow(6), "slow kept");
        let shop = |spans: &mut Vec<Span>| {
            spans[0].attributes.push((Arc::from("shop"), AttributeValue::Int(1)));
        };
        let half = amount(50.0, None);
        let (in_it, out_of_it) = ((1..).find(|id| half.has(*id)), (1..).find(|id| !half.has(*id)));
        check(in_it.unwrap(), &shop, "shop kept");
        check(out_of_it.unwrap(), &shop, "shop dropped_share");
        assert_eq!(
            counts(&sampler),
            [
                r#"tail "" kept 2"#,
                r#"tail "health" dropped_share 2"#,
                r#"tail "errors" kept 2"#,
                r#"tail "slow" kept 4"#,
                r#"tail "slow" dropped_rate 2"#,
                r#"tail "shop" kept 2"#,
                r#"tail "shop" dropped_share 2"#
            ]
        );
    }

    #[test]
    fn what_is_sampled_balances_and_metrics_are_of_all_spans() {
        let dir = tempfile::tempdir().unwrap();
        let overrides =
            config::Overrides { data_dir: Some(dir.path().join("data")), ..Default::default() };
        let mut config = config::load(&overrides, &|_| None).unwrap();
        let tail = |name: &str, query: Option<&str>, percentage| TailRule {
            name: name.to_owned(),
            query: query.map(|query| Selector::parse(query).unwrap()),
            amount: amount(percentage, None),
        };
        config.traces.sampling = Some(Sampling {
            head: vec![HeadRule {
                name: "none".to_owned(),
                service: Some(model::anchored_regex("batch").unwrap()),
                amount: amount(0.0, None),
            }],
            tail: vec![tail("errors", Some("{ status = error }"), 100.0), tail("rest", None, 0.0)],
            ..Sampling::default()
        });
        let clock = Arc::new(ManualClock::at_ms(1_700_000_000_000));
        let dynamic: Arc<dyn Clock> = clock.clone();
        let stores = Stores::open(&config, &dynamic, Arc::default()).unwrap();
        let group = |service: &str, ids: std::ops::Range<u128>, status| {
            let mut group = of(service, ids);
            for span in &mut group.spans {
                (span.start_ns, span.end_ns, span.status) =
                    (clock.now_ns(), clock.now_ns(), status);
            }
            group
        };
        let groups = vec![
            group("web", 1..4, SpanStatus::Ok),
            group("web", 4..6, SpanStatus::Error),
            group("batch", 6..10, SpanStatus::Error),
        ];
        let (answered, answer) = std::sync::mpsc::channel();
        let done = Done::new(move |outcome| drop(answered.send(outcome)));
        stores.append_spans(SpanBatch { source: Arc::from("test"), groups }, done);
        assert_eq!(answer.recv().unwrap().unwrap().stored, 5);
        stores.flush().unwrap();
        let stored = || {
            let has = |id| stores.traces.trace(id, &Budget::unlimited()).unwrap().is_some();
            (1..10).filter(|id| has(*id)).collect::<Vec<u128>>()
        };
        assert_eq!(stored(), [1, 2, 3, 4, 5], "they wait");
        clock.advance_ms(30_000);
        stores.flush().unwrap();
        assert_eq!(stored(), [4, 5]);
        let accounts = stores.ledger.accounts();
        let [(_, _, account)] = &accounts[..] else { panic!("{accounts:?}") };
        assert_eq!((account.received, account.stored, account.dropped["sampled"]), (9, 5, 4));
        assert_eq!(
            counts(stores.sampler.as_ref().unwrap()),
            [
                r#"head "" kept 5"#,
                r#"head "none" dropped_share 4"#,
                r#"tail "errors" kept 2"#,
                r#"tail "rest" dropped_share 3"#
            ]
        );
        let batch = stores.span_metrics.lock().collect(clock.now_ms());
        let calls = batch.rows.iter().filter(|r| r.labels.metric_name().ends_with("calls_total"));
        assert_eq!(calls.map(|row| row.value).sum::<f64>(), 9.0);
    }
}

//! Measures the trace store on generated spans: ingest, bytes on disk, traces by id, search, scans.
//!
//! `cargo run --release -p tracedb --example bench_spans [SPANS] [merged]`. Spans are those of the test kit. Figures are CPU
//! time of the whole process per span; `merged` also merges all parts, as after a day.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::collections::BTreeSet;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc;

use model::{
    AttributeScope, AttributeValue, Budget, Clock, Done, Resource, Scope, Span, SpanCondition,
    SpanField, SpanGroup, SpanKind, SpanStatus, SystemClock, TimeRange, TracePlan, TraceSource,
    ValueTest,
};
use storage::fs::RealFs;
use storage::wal::Durability;
use testkit::mix::Random;
use testkit::service_spans::{self, ServiceSpans};
use tracedb::{Config, Store};

// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

const BATCH_SPANS: usize = 2_000;
/// Nanoseconds between spans.
const SPACING_NS: i64 = 20_000;
const DAY_MS: i64 = 86_400_000;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let spans: usize = arguments.first().map_or(Ok(480_000), |n| n.parse())?;
    let is_merged = arguments.iter().any(|a| a == "merged");
    let dir = tempfile::tempdir()?;
    let now = SystemClock;
    let config = Config {
        dir: dir.path().to_owned(),
        durability: Durability::Strict,
        retention_ms: 3_650 * DAY_MS,
        retention_rules: Vec::new(),
        head_bytes_max: 128 << 20,
        flush_after_ms: 300_000,
        future_ms_max: DAY_MS,
        free_bytes_floor: Some(0),
        part_bytes_max: u64::MAX,
        sampler: None,
        background_merge: false,
    };
    let clock = Arc::new(Ahead { ms: std::sync::atomic::AtomicI64::new(0) });
    let (store, _) = Store::open(Arc::new(RealFs), Arc::clone(&clock) as _, config.clone())?;
    let mut shop = Shop::new(now.now_ns() - spans as i64 * SPACING_NS);
    let mut ids = BTreeSet::new();
    let mut otlp_bytes = 0;
    let (mut sent, mut append_cpu) = (0, 0.0);
    let (answer, answers) = mpsc::channel();
    let mut waiting = 0;
    while sent < spans {
        // Some batches at a time, so that generating is not measured with the rest.
        let mut batches = Vec::new();
        for _ in 0..16 {
            let groups = shop.batch(BATCH_SPANS.min(spans - sent), &mut ids);
            sent += groups.iter().map(|g| g.spans.len()).sum::<usize>();
            otlp_bytes += groups.iter().map(otlp_bytes_of).sum::<usize>();
            batches.push(groups);
        }
        let before = cpu_seconds();
        for groups in batches {
            let answer = answer.clone();
            waiting += 1;
            store.append(&groups, Done::new(move |outcome| answer.send(outcome).unwrap_or(())));
        }
        for _ in 0..std::mem::take(&mut waiting) {
            answers.recv()??;
        }
        append_cpu += cpu_seconds() - before;
    }
    let ids: Vec<u128> = ids.into_iter().collect();
    println!(
        "{sent} spans, {:.0} B of OTLP each, {} traces",
        otlp_bytes as f64 / sent as f64,
        ids.len()
    );
    let stats = store.stats();
    let in_head = stats.head_bytes as f64 / stats.spans_head.max(1) as f64;
    println!("head: {} spans of {in_head:.0} B; {} parts", stats.spans_head, stats.parts);
    let before = cpu_seconds();
    store.flush()?;
    let flush_cpu = cpu_seconds() - before;
    let per_core = |cpu: f64| sent as f64 / cpu / 1e3;
    println!(
        "CPU: {:.2} µs/span appended and durable, with flushes on the way; {:.0} k spans/s/core until all is flushed",
        append_cpu / sent as f64 * 1e6,
        per_core(append_cpu + flush_cpu)
    );
    show_size(&store, "flushed", sent);
    queries(&store, "flushed", &ids)?;
    if is_merged {
        clock.ms.store(3 * DAY_MS, std::sync::atomic::Ordering::Relaxed);
        let before = cpu_seconds();
        let merges = store.merge()?;
        println!("{merges} merges: {:.0} k spans/s/core", per_core(cpu_seconds() - before));
        show_size(&store, "merged", sent);
        queries(&store, "merged", &ids)?;
    }
    drop(store);
    let before = cpu_seconds();
    let (store, report) = Store::open(Arc::new(RealFs), Arc::clone(&clock) as _, config)?;
    println!("opened {} parts in {:.1} ms of CPU", report.parts, (cpu_seconds() - before) * 1e3);
    queries(&store, "opened again", &ids)
}

fn show_size(store: &Store, state: &str, spans: usize) {
    let stats = store.stats();
    println!(
        "{state}: {} parts, {:.2} B/span (of it in memory: filters {:.3})",
        stats.parts,
        stats.part_bytes as f64 / spans as f64,
        stats.filter_bytes as f64 / spans as f64
    );
}

fn queries(store: &Store, state: &str, ids: &[u128]) -> Outcome<()> {
    let budget = Budget::unlimited;
    let mut random = Random::new(9);
    let wanted: Vec<u128> = (0..100).map(|_| *random.pick(ids)).collect();
    let before = cpu_seconds();
    let mut spans = 0;
    for id in &wanted {
        let trace = store.trace(*id, &budget())?.ok_or("a trace is missing")?;
        spans += trace.groups.iter().map(|g| g.spans.len()).sum::<usize>();
    }
    println!(
        "{state}: trace by id {:.2} ms ({} spans each)",
        (cpu_seconds() - before) * 1e3 / wanted.len() as f64,
        spans / wanted.len()
    );
    let before = cpu_seconds();
    let services = store.services(TimeRange::ALL, &budget())?.len();
    let operations = store.operations("service-07", TimeRange::ALL, &budget())?.len();
    let ms = (cpu_seconds() - before) * 1e3;
    println!("{state}: {services} services, {operations} operations of one: {ms:.1} ms");
    scans(store, state)
}

/// How often each scan is asked.
const TIMES: u32 = 5;

/// What query languages ask.
fn scans(store: &Store, state: &str) -> Outcome<()> {
    let text = |wanted: &'static str| -> ValueTest {
        ValueTest::new(move |v| matches!(v, AttributeValue::String(t) if t == wanted))
            .with_text(wanted)
    };
    let service = || SpanCondition::Test(SpanField::Service, text("service-07"));
    let attribute = |name: &str, test| {
        SpanCondition::Test(SpanField::Attribute(AttributeScope::Span, name.to_owned()), test)
    };
    let failed = ValueTest::new(|v| *v == AttributeValue::Int(500)).with_ints(500..=500);
    let named = |name: &str| Some(BTreeSet::from([name.to_owned()]));
    let none = || Some(BTreeSet::new());
    let plan = |conditions, is_whole, attributes| TracePlan {
        range: TimeRange::ALL,
        conditions,
        is_whole,
        attributes,
        details: false,
    };
    let both = SpanCondition::All(vec![service(), attribute("http.status_code", failed.clone())]);
    let address = attribute("net.peer.ip", text("10.0.99.99"));
    let one = SpanCondition::All(vec![service(), address]);
    let scans = [
        ("newest 20 traces by service and status code", 20, plan(vec![both], true, none())),
        ("traces by service and address", usize::MAX, plan(vec![one], true, none())),
        (
            "traces by service and by status code",
            usize::MAX,
            plan(vec![service(), attribute("http.status_code", failed)], true, none()),
        ),
        ("spans of a service", usize::MAX, plan(vec![service()], false, none())),
        ("all spans", usize::MAX, plan(vec![SpanCondition::Always], false, none())),
        (
            "all spans with one attribute",
            usize::MAX,
            plan(vec![SpanCondition::Always], false, named("http.status_code")),
        ),
        ("all traces", usize::MAX, plan(vec![SpanCondition::Always], true, none())),
    ];
    for (what, limit, plan) in scans {
        let (cpu, began) = (cpu_seconds(), SystemClock.now_ns());
        let (mut traces, mut spans) = (0, 0);
        for _ in 0..TIMES {
            (traces, spans) = (0, 0);
            store.scan(&plan, &Budget::unlimited(), &mut |trace| {
                traces += 1;
                spans += trace.groups.iter().map(|g| g.spans.len()).sum::<usize>();
                if traces < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        let ms = |seconds: f64| seconds * 1e3 / f64::from(TIMES);
        let (cpu, took) =
            (ms(cpu_seconds() - cpu), ms((SystemClock.now_ns() - began) as f64 / 1e9));
        println!(
            "{state}: scan, {what}: {spans} spans in {traces} traces, {took:.1} ms ({cpu:.1} of CPU), {:.0} ns/span",
            cpu * 1e6 / spans.max(1) as f64
        );
    }
    Ok(())
}

/// The machine's clock, put forward.
#[derive(Debug)]
struct Ahead {
    ms: std::sync::atomic::AtomicI64,
}

impl Clock for Ahead {
    fn now_ns(&self) -> i64 {
        SystemClock.now_ns() + self.ms.load(std::sync::atomic::Ordering::Relaxed) * 1_000_000
    }

    fn monotonic_ns(&self) -> i64 {
        SystemClock.monotonic_ns()
    }
}

/// The spans of the test kit as the store takes them.
struct Shop {
    spans: ServiceSpans,
    resources: Vec<Arc<Resource>>,
    scope: Arc<Scope>,
    names: Vec<Arc<str>>,
    keys: [Arc<str>; 6],
}

impl Shop {
    fn new(start_ns: i64) -> Self {
        let resource = |service: usize| {
            let attributes = service_spans::resource(service);
            let attributes = attributes.map(|(k, v)| (Arc::from(k), AttributeValue::String(v)));
            Arc::new(Resource { attributes: attributes.into(), ..Resource::default() })
        };
        let keys =
            ["http.method", "http.status_code", "http.url", "net.peer.ip", "component", "retry"];
        Self {
            spans: ServiceSpans::new(42, start_ns, SPACING_NS),
            resources: (0..service_spans::SERVICES).map(resource).collect(),
            scope: Arc::new(Scope { name: "shop".into(), ..Scope::default() }),
            names: (0..service_spans::OPERATIONS)
                .map(|n| Arc::from(service_spans::operation(n)))
                .collect(),
            keys: keys.map(Arc::from),
        }
    }

    /// The next spans; `ids` also gets those of their traces.
    fn batch(&mut self, count: usize, ids: &mut BTreeSet<u128>) -> Vec<SpanGroup> {
        let group = |resource: &Arc<Resource>| SpanGroup {
            resource: Arc::clone(resource),
            scope: Arc::clone(&self.scope),
            spans: Vec::new(),
        };
        let mut groups: Vec<SpanGroup> = self.resources.iter().map(group).collect();
        for span in self.spans.take(count) {
            ids.insert(span.trace_id);
            let text = |t: &str| AttributeValue::String(t.to_owned());
            let values = [
                text(span.method),
                AttributeValue::Int(span.status_code().into()),
                text(&span.url),
                text(&span.peer),
                text("http"),
                AttributeValue::Bool(false),
            ];
            groups[span.service].spans.push(Span {
                trace_id: span.trace_id,
                span_id: span.span_id,
                parent_id: span.parent_id,
                name: Arc::clone(&self.names[span.operation]),
                kind: if span.is_server { SpanKind::Server } else { SpanKind::Client },
                start_ns: span.start_ns,
                end_ns: span.start_ns + span.duration_ns,
                status: if span.is_error { SpanStatus::Error } else { SpanStatus::Unset },
                attributes: self.keys.iter().map(Arc::clone).zip(values).collect(),
                ..Span::default()
            });
        }
        groups.retain(|g| !g.spans.is_empty());
        groups
    }
}

/// Bytes of the group as OTLP protobuf, about: tags and lengths of a byte or two each.
fn otlp_bytes_of(group: &SpanGroup) -> usize {
    let of_value = |value: &AttributeValue| match value {
        AttributeValue::String(text) => text.len() + 4,
        AttributeValue::Int(value) => 5 + usize::from(*value > 127),
        _ => 4,
    };
    let of = |attributes: &model::Attributes| {
        attributes.iter().map(|(key, value)| key.len() + 4 + of_value(value)).sum::<usize>()
    };
    let spans = group.spans.iter().map(|span| {
        let parent = if span.parent_id == 0 { 0 } else { 10 };
        3 + 18 + 10 + parent + 2 + span.name.len() + 2 + 9 + 9 + of(&span.attributes)
    });
    of(&group.resource.attributes) + 12 + spans.sum::<usize>()
}

/// CPU seconds of this process so far, from `/proc` (ticks of 10 ms); 0 where there is none.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or("").split_whitespace().skip(11).take(2);
    ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0
}

//! The store as a whole, against a plain list of spans and through crashes.

mod crash;
mod edges;
mod formats;
mod histories;
mod retention;
mod sampling;
mod scans;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc;

use model::{
    AttributeValue, Attributes, Budget, Done, ManualClock, Receipt, Resource, Result, Scope, Span,
    SpanCondition, SpanEvent, SpanGroup, SpanKind, SpanLink, SpanStatus, TimeRange, Trace,
    TracePlan, TraceSource as _,
};
use storage::fs::{FaultyFs, Fs};
use storage::wal::Durability;

use crate::{Config, OpenReport, Store};

/// 2024-05-01T00:00:00Z, in milliseconds.
const MAY_MS: i64 = 1_714_521_600_000;
const DAY_MS: i64 = 86_400_000;

/// A disk and a clock that outlive the store.
struct Rig {
    fs: FaultyFs,
    clock: Arc<ManualClock>,
    config: Config,
}

impl Rig {
    fn new() -> Self {
        let config = Config {
            dir: "/traces".into(),
            durability: Durability::Strict,
            retention_ms: 30 * DAY_MS,
            retention_rules: Vec::new(),
            head_bytes_max: 64 << 20,
            flush_after_ms: 300_000,
            future_ms_max: 600_000,
            free_bytes_floor: Some(0),
            part_bytes_max: u64::MAX,
            sampler: None,
            background_merge: false,
        };
        let clock = Arc::new(ManualClock::at_ms(MAY_MS + DAY_MS / 2));
        Self { fs: FaultyFs::new(), clock, config }
    }

    fn try_open(&self) -> Result<(Arc<Store>, OpenReport)> {
        let fs: Arc<dyn Fs> = Arc::new(self.fs.clone());
        Store::open(fs, Arc::clone(&self.clock) as _, self.config.clone())
    }

    fn open(&self) -> Arc<Store> {
        self.try_open().unwrap().0
    }
}

/// Appends without waiting.
fn send(store: &Store, groups: Vec<SpanGroup>) -> mpsc::Receiver<Result<Receipt>> {
    let (answer, wait) = mpsc::channel();
    store.append(&groups, Done::new(move |outcome| answer.send(outcome).unwrap_or(())));
    wait
}

fn append(store: &Store, groups: Vec<SpanGroup>) -> Receipt {
    send(store, groups).recv().unwrap().unwrap()
}

/// splitmix64: the same numbers on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn value(&mut self, depth: u32) -> AttributeValue {
        let doubles = [0.0, -0.0, 0.5, f64::NAN, f64::INFINITY, 1e300, 2.0];
        match self.below(if depth > 0 { 8 } else { 6 }) {
            0 => AttributeValue::Empty,
            1 | 2 => {
                AttributeValue::String(self.one_of(&["", "a", "GET", "2", "true", "ä\0"]).into())
            }
            3 => AttributeValue::Bool(self.below(2) == 0),
            4 => AttributeValue::Int(self.one_of(&[0, 1, 2, -1, i64::MIN, i64::MAX])),
            5 => match self.below(2) {
                0 => AttributeValue::Double(self.one_of(&doubles)),
                _ => AttributeValue::Bytes(vec![0xFF; self.below(4) as usize]),
            },
            6 => AttributeValue::Array((0..self.below(3)).map(|_| self.value(depth - 1)).collect()),
            _ => AttributeValue::Map(
                (0..self.below(3))
                    .map(|_| (self.one_of(&["x", "y"]).into(), self.value(depth - 1)))
                    .collect(),
            ),
        }
    }

    fn attributes(&mut self, max: u64) -> Attributes {
        let keys = ["http.method", "http.status", "a", "", "service.name"];
        (0..self.below(max + 1)).map(|_| (Arc::from(self.one_of(&keys)), self.value(2))).collect()
    }

    /// A few traces and span ids, so that spans meet each other, and some come again.
    fn span(&mut self, now_ns: i64, traces: u64) -> Span {
        let trace = self.below(traces);
        // Mostly in a trace's own second; some far from it.
        let base_ns = match self.below(20) {
            0 => now_ns - DAY_MS * 1_000_000,
            _ => now_ns - trace as i64 * 1_000_000_000,
        };
        let start_ns = base_ns + self.below(1000) as i64;
        let event = |random: &mut Self| SpanEvent {
            t_ns: start_ns + random.below(100) as i64 - 50,
            name: Arc::from(random.one_of(&["exception", "", "log"])),
            attributes: random.attributes(2),
            dropped_attributes: random.below(2) as u32 * 7,
        };
        let link = |random: &mut Self| SpanLink {
            trace_id: u128::from(random.below(9)),
            span_id: random.below(9),
            trace_state: random.one_of(&["", "k=v"]).into(),
            flags: random.below(3) as u32,
            attributes: random.attributes(2),
            dropped_attributes: random.below(2) as u32,
        };
        let rare = self.below(4) == 0;
        Span {
            trace_id: u128::from(trace + 1) << 64 | 5,
            span_id: 1 + self.below(60),
            parent_id: self.below(80),
            trace_state: if rare { self.one_of(&["", "a=b"]) } else { "" }.into(),
            flags: if rare { self.below(1 << 32) as u32 } else { 0 },
            name: Arc::from(self.one_of(&["GET /", "POST /cart", "query", ""])),
            kind: self.one_of(&SpanKind::ALL),
            start_ns,
            end_ns: if rare {
                self.one_of(&[i64::MIN, 0, i64::MAX])
            } else {
                start_ns + self.below(5000) as i64
            },
            status: self.one_of(&SpanStatus::ALL),
            status_message: if rare { self.one_of(&["", "broken"]) } else { "" }.into(),
            attributes: self.attributes(5),
            dropped_attributes: if rare { 3 } else { 0 },
            events: (0..self.below(3).saturating_sub(1)).map(|_| event(self)).collect(),
            dropped_events: if rare { u32::MAX } else { 0 },
            links: (0..self.below(3).saturating_sub(1)).map(|_| link(self)).collect(),
            dropped_links: if rare { 1 } else { 0 },
        }
    }

    fn groups(&mut self, now_ns: i64, traces: u64, spans: u64) -> Vec<SpanGroup> {
        (0..1 + self.below(3))
            .map(|_| {
                let mut attributes = self.attributes(2);
                if self.below(8) > 0 {
                    let service = self.one_of(&["cart", "web", "db"]);
                    attributes
                        .push((Arc::from("service.name"), AttributeValue::String(service.into())));
                }
                let scope = Scope {
                    name: self.one_of(&["", "lib"]).into(),
                    version: self.one_of(&["", "1"]).into(),
                    attributes: self.attributes(1),
                    dropped_attributes: self.below(2) as u32,
                    schema_url: self.one_of(&["", "s"]).into(),
                };
                let resource = Resource {
                    attributes,
                    dropped_attributes: self.below(2) as u32,
                    schema_url: self.one_of(&["", "s"]).into(),
                };
                let spans = (0..self.below(spans)).map(|_| self.span(now_ns, traces)).collect();
                SpanGroup { resource: Arc::new(resource), scope: Arc::new(scope), spans }
            })
            .collect()
    }
}

type Whole = (Arc<Resource>, Arc<Scope>, Span);

/// The plain list: spans by what they are known by; the first one counts.
#[derive(Default, Clone)]
struct Plain {
    spans: BTreeMap<(u128, u64, u8, i64), Whole>,
}

impl Plain {
    fn add(&mut self, groups: &[SpanGroup]) {
        for group in groups {
            for span in &group.spans {
                let key = (span.trace_id, span.span_id, span.kind as u8, span.start_ns);
                let value = (Arc::clone(&group.resource), Arc::clone(&group.scope), span.clone());
                self.spans.entry(key).or_insert(value);
            }
        }
    }

    fn trace_ids(&self) -> Vec<u128> {
        let mut ids: Vec<u128> = self.spans.keys().map(|(id, ..)| *id).collect();
        ids.dedup();
        ids
    }

    fn of(&self, trace_id: u128) -> Vec<&Whole> {
        self.spans.iter().filter(|(key, _)| key.0 == trace_id).map(|(_, value)| value).collect()
    }
}

/// Ids of the traces with a span that satisfies `condition`, sorted.
fn found(store: &Store, condition: SpanCondition) -> Vec<u128> {
    let plan = TracePlan {
        range: TimeRange::ALL,
        conditions: vec![condition],
        is_whole: true,
        attributes: Some(BTreeSet::new()),
        details: false,
    };
    let mut ids = Vec::new();
    let mut visit = |trace: &Trace| {
        ids.push(trace.trace_id);
        ControlFlow::Continue(())
    };
    store.scan(&plan, &Budget::unlimited(), &mut visit).unwrap();
    ids.sort_unstable();
    ids
}

/// As text: NaN is not equal to itself.
fn spans_of(store: &Store, trace_id: u128) -> Vec<String> {
    let trace = store.trace(trace_id, &Budget::unlimited()).unwrap();
    let mut all = Vec::new();
    for group in trace.into_iter().flat_map(|t| t.groups) {
        assert!(group.spans.is_sorted_by_key(|s| s.start_ns));
        assert!(!group.spans.is_empty());
        for span in &group.spans {
            all.push(format!("{:?} {:?} {span:?}", group.resource, group.scope));
        }
    }
    all.sort();
    all
}

/// Everything stored is what the list has.
fn check_all(store: &Store, plain: &Plain, context: &str) {
    for id in plain.trace_ids() {
        let mut expect: Vec<String> =
            plain.of(id).iter().map(|(r, s, span)| format!("{r:?} {s:?} {span:?}")).collect();
        expect.sort();
        assert_eq!(spans_of(store, id), expect, "{context}: trace {id:x}");
    }
    assert_eq!(found(store, SpanCondition::Always), plain.trace_ids(), "{context}");
}

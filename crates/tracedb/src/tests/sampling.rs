//! Sampling: spans wait in the head, are decided about by trace, and the late follow; through crashes, too.

use model::{Clock as _, Outcome, Trace, TraceSampler, Verdict};
use parking_lot::Mutex;

use super::crash::crash_run;
use super::*;

/// Keeps traces with an even id, or all that have an error if told so.
#[derive(Debug, Default)]
pub(super) struct Even {
    errors: bool,
    decisions_max: usize,
    asked: Mutex<Vec<(u128, usize)>>,
    tally: Mutex<BTreeMap<Verdict, u64>>,
    hurried: Mutex<u64>,
}

impl Even {
    pub(super) fn keeps(trace_id: u128) -> bool {
        trace_id.is_multiple_of(2)
    }

    fn counts(&self) -> (u64, u64) {
        let tally = self.tally.lock();
        let of = |outcome| tally.iter().filter(|(v, _)| v.outcome == outcome).map(|(_, n)| n).sum();
        (of(Outcome::Kept), of(Outcome::Share))
    }
}

impl TraceSampler for Even {
    fn wait_ms(&self) -> i64 {
        30_000
    }

    fn decisions_max(&self) -> usize {
        self.decisions_max
    }

    fn decide(&self, trace: &Trace) -> Verdict {
        let spans = || trace.groups.iter().flat_map(|group| &group.spans);
        self.asked.lock().push((trace.trace_id, spans().count()));
        let is_kept = if self.errors {
            spans().any(|span| span.status == SpanStatus::Error)
        } else {
            Self::keeps(trace.trace_id)
        };
        let outcome = if is_kept { Outcome::Kept } else { Outcome::Share };
        Verdict { rule: Some(0), outcome }
    }

    fn settled(&self, verdict: Verdict, spans: u64) {
        *self.tally.lock().entry(verdict).or_default() += spans;
    }

    fn hurried(&self, traces: u64) {
        *self.hurried.lock() += traces;
    }
}

fn span(trace_id: u128, span_id: u64, start_ns: i64, status: SpanStatus) -> Vec<SpanGroup> {
    let span = Span { trace_id, span_id, start_ns, end_ns: start_ns, status, ..Span::default() };
    vec![SpanGroup { spans: vec![span], ..SpanGroup::default() }]
}

fn rig_with(sampler: &Arc<Even>) -> Rig {
    let mut rig = Rig::new();
    rig.config.sampler = Some(Arc::clone(sampler) as _);
    rig
}

#[test]
fn traces_wait_are_decided_about_whole_and_the_late_follow() {
    let sampler = Arc::new(Even { errors: true, decisions_max: 100, ..Even::default() });
    let rig = rig_with(&sampler);
    let mut store = rig.open();
    let now_ns = rig.clock.now_ns();
    let counts = |store: &Store| [1, 2].map(|id| spans_of(store, id).len());
    append(&store, span(1, 1, now_ns, SpanStatus::Ok));
    append(&store, span(2, 1, now_ns, SpanStatus::Ok));
    store.flush().unwrap();
    assert_eq!((counts(&store), store.stats().parts), ([1, 1], 0), "they wait, and are found");
    // Also through a restart, after which they wait anew.
    rig.clock.advance_ms(29_000);
    store.close().unwrap();
    drop(store);
    store = rig.open();
    assert_eq!(store.stats().spans_head, 2);
    rig.clock.advance_ms(29_000);
    // The error comes late, but in time.
    append(&store, span(1, 2, now_ns, SpanStatus::Error));
    append(&store, span(2, 1, now_ns, SpanStatus::Ok));
    store.flush().unwrap();
    assert_eq!((counts(&store), store.stats().parts), ([2, 1], 0));
    rig.clock.advance_ms(1_000);
    store.flush().unwrap();
    assert_eq!((counts(&store), store.stats().parts), ([2, 0], 1));
    assert_eq!(sampler.counts(), (2, 1));
    // Late ones follow, whatever they say.
    append(&store, span(1, 3, now_ns, SpanStatus::Ok));
    append(&store, span(2, 2, now_ns, SpanStatus::Error));
    assert_eq!(counts(&store), [3, 1]);
    store.flush().unwrap();
    assert_eq!(counts(&store), [3, 0]);
    assert_eq!(sampler.counts(), (3, 2));
    assert_eq!(*sampler.asked.lock(), [(1, 2), (2, 1)], "each trace was asked about once");
    let stats = store.stats();
    assert_eq!((stats.spans_head, stats.part_spans), (0, 3));
    // What a part has comes again: it is known, and counted as stored.
    assert_eq!(append(&store, span(1, 1, now_ns, SpanStatus::Ok)).stored, 1);
    assert_eq!(counts(&store), [3, 0]);
}

#[test]
fn decisions_are_forgotten_from_the_oldest() {
    let sampler = Arc::new(Even { decisions_max: 1, ..Even::default() });
    let rig = rig_with(&sampler);
    let store = rig.open();
    for (nth, trace_id) in (1..).zip([1, 3, 3, 1]) {
        append(&store, span(trace_id, nth, rig.clock.now_ns(), SpanStatus::Ok));
        rig.clock.advance_ms(30_000);
        store.flush().unwrap();
    }
    let asked: Vec<u128> = sampler.asked.lock().iter().map(|(id, _)| *id).collect();
    assert_eq!((asked, sampler.counts()), (vec![1, 3, 1], (0, 4)));
}

#[test]
fn a_full_head_hurries_and_a_trickle_does_not_wait_for_ever() {
    let sampler = Arc::new(Even { decisions_max: 10_000, ..Even::default() });
    let mut rig = rig_with(&sampler);
    rig.config.head_bytes_max = 20_000;
    let store = rig.open();
    for id in 1..=500 {
        append(&store, span(id, 1, rig.clock.now_ns(), SpanStatus::Ok));
    }
    store.flush().unwrap();
    let (kept, dropped) = sampler.counts();
    assert_eq!(*sampler.hurried.lock(), kept + dropped);
    assert!(kept > 100 && dropped > 100, "{kept} {dropped}");
    assert!(store.stats().head_bytes <= 20_000, "{}", store.stats().head_bytes);
    // Every 10 s one more: each is decided about a flush after it waited, though it shares its chunk with newer ones.
    rig.clock.advance_ms(60_000);
    store.flush().unwrap();
    let before = sampler.asked.lock().len();
    for nth in 0..60_u32 {
        append(&store, span(1_000 + u128::from(nth), 1, rig.clock.now_ns(), SpanStatus::Ok));
        rig.clock.advance_ms(10_000);
        if nth % 6 == 5 {
            store.flush().unwrap();
        }
    }
    assert_eq!(sampler.asked.lock().len() - before, 58, "the last two wait");
}

#[test]
fn no_acknowledged_span_of_a_kept_trace_is_lost_in_a_crash() {
    for seed in 0..40 {
        crash_run(seed, Some(Arc::new(Even { decisions_max: 1_000, ..Even::default() })));
    }
}

//! Calls between services out of the columns: what a plain look at whole traces finds, wherever their spans lie.

use std::collections::BTreeMap;

use model::{Edge, EdgePlan, EdgeTable, Trace};

use super::*;

/// A trace of up to 14 spans: each below an earlier one, below none or below one that is missing. Clients' and servers'
/// spans share an id here and there.
fn trace(random: &mut Random, number: u64, start_ns: i64) -> Vec<SpanGroup> {
    let mut groups: Vec<SpanGroup> = Vec::new();
    let trace_id = (u128::from(number) << 64) | u128::from(number + 1);
    for id in 1..=1 + random.below(14) {
        let parent_id = match random.below(12) {
            0 => 99,
            1 => id,
            _ => random.below(id),
        };
        let mut span = Span {
            trace_id,
            span_id: id,
            parent_id,
            name: "op".into(),
            kind: random.one_of(&SpanKind::ALL),
            status: random.one_of(&SpanStatus::ALL),
            start_ns: start_ns + id as i64 * 1_000_000,
            ..Span::default()
        };
        span.end_ns = span.start_ns + random.below(9_000_000) as i64 - 500_000;
        if random.below(2) == 0 {
            let name = random.one_of(&["db.system", "db.name", "peer.service", "http.method"]);
            let value = AttributeValue::String(random.one_of(&["", "pg", "mail"]).to_owned());
            span.attributes.push((name.into(), value));
        }
        let mut push = |service: &str, span: Span| {
            let value = AttributeValue::String(service.to_owned());
            let attributes = match service {
                "" => Attributes::new(),
                _ => vec![("service.name".into(), value)],
            };
            let resource = Arc::new(Resource { attributes, ..Resource::default() });
            groups.push(SpanGroup { resource, spans: vec![span], ..SpanGroup::default() });
        };
        let services = ["web", "cart", "pay", ""];
        push(random.one_of(&services), span.clone());
        if span.kind == SpanKind::Client && random.below(4) == 0 {
            let start_ns = span.start_ns + 10;
            push(random.one_of(&services), Span { kind: SpanKind::Server, start_ns, ..span });
        }
    }
    groups
}

fn plain(traces: &BTreeMap<u128, Vec<SpanGroup>>, plan: &EdgePlan) -> Vec<Edge> {
    let mut table = EdgeTable::default();
    for (trace_id, groups) in traces {
        table.add_trace(&Trace { trace_id: *trace_id, groups: groups.clone() }, plan);
    }
    table.finish()
}

fn shown(edge: &Edge) -> String {
    let Edge { client, server, connection, calls, errors, client_ns, server_ns } = edge;
    let (seen, took) = (client_ns.mean_ns(), server_ns.mean_ns());
    format!("{client}>{server} {connection:?} {calls}/{errors} {seen}/{took}")
}

/// `split`: whether spans of one trace may come in batches of their own, between which everything may happen.
fn check(seed: u64, split: bool) {
    let mut random = Random(seed);
    let rig = Rig::new();
    let mut store = rig.open();
    let now_ns = (MAY_MS + DAY_MS / 2) * 1_000_000;
    let mut traces: BTreeMap<u128, Vec<SpanGroup>> = BTreeMap::new();
    for number in 0..40 {
        let groups = trace(&mut random, number, now_ns - number as i64 * 60_000_000_000);
        let trace_id = groups[0].spans[0].trace_id;
        traces.insert(trace_id, groups.clone());
        let mut batches: Vec<Vec<SpanGroup>> = vec![Vec::new(); 3];
        for group in groups {
            // Halves of a shared span are looked for in one place.
            let batch = if split { group.spans[0].span_id % 3 } else { 0 };
            batches[batch as usize].push(group);
        }
        for batch in batches {
            append(&store, batch);
            match random.below(8) {
                0 => store.flush().unwrap(),
                1 => drop(store.merge().unwrap()),
                2 => {
                    drop(store);
                    store = rig.open();
                }
                _ => {}
            }
        }
        let mut plans = vec![
            EdgePlan { range: TimeRange::ALL, outside: true },
            EdgePlan { range: TimeRange::ALL, outside: false },
        ];
        let start_ns = now_ns - random.below(2_400_000_000_000) as i64;
        let range = TimeRange::new(start_ns, start_ns + random.below(2_400_000_000_000) as i64);
        plans.push(EdgePlan { range, outside: false });
        for plan in plans {
            let budget = Budget::unlimited();
            let found = store.edges(&plan, &budget).unwrap();
            let expect = plain(&traces, &plan);
            let wrong: Vec<_> = found.iter().filter(|e| !expect.contains(e)).map(shown).collect();
            let missed: Vec<_> = expect.iter().filter(|e| !found.contains(e)).map(shown).collect();
            let context = format!("seed {seed}, {number} {plan:?}");
            assert!(found == expect, "{context}: {wrong:?} instead of {missed:?}");
        }
    }
}

#[test]
fn calls_are_those_of_whole_traces() {
    for seed in 0..20 {
        check(seed, false);
        check(seed + 1_000, true);
    }
}

#[test]
fn calls_cost_what_they_take() {
    let rig = Rig::new();
    let store = rig.open();
    let now_ns = (MAY_MS + DAY_MS / 2) * 1_000_000;
    for number in 0..20 {
        append(&store, trace(&mut Random(number), number, now_ns));
    }
    store.flush().unwrap();
    let limits = model::Limits { samples_max: 10, bytes_max: 1 << 30, time_ms_max: 10_000 };
    let budget = Budget::new(Arc::clone(&rig.clock) as _, limits);
    let plan = EdgePlan { range: TimeRange::ALL, outside: true };
    assert_eq!(store.edges(&plan, &budget).unwrap_err().kind(), model::ErrorKind::Limit);
    let limits = model::Limits { samples_max: 1_000, bytes_max: 1 << 10, time_ms_max: 10_000 };
    let budget = Budget::new(Arc::clone(&rig.clock) as _, limits);
    assert_eq!(store.edges(&plan, &budget).unwrap_err().kind(), model::ErrorKind::Limit);
}

//! Spans per second of one thread's CPU time: decoding and encoding requests as SDKs send them.
//! Usage: `bench_traces [SPANS] [ROUNDS]`.

#![expect(clippy::print_stdout, reason = "a command line tool")]

use std::cell::RefCell;
use std::sync::Arc;

use ingest::jaeger::answer::{Adjustment, answer};
use ingest::otlp::Encoding;
use ingest::otlp::traces::{IdForm, decode, to_json, to_protobuf};
use ingest::span_metrics::{SpanMetrics, SpanMetricsConfig};
use ingest::zipkin::{self, Form};
use model::{
    AttributeValue, Attributes, Resource, Scope, Span, SpanGroup, SpanKind, SpanStatus, Trace,
};

const T0_NS: i64 = 1_700_000_000_000_000_000;

/// Spans like those of web services: about 245 bytes of OTLP each, eight services, twelve spans to a trace.
fn groups(spans: u64) -> Vec<SpanGroup> {
    const SERVICES: [&str; 8] =
        ["front", "cart", "checkout", "stock", "payment", "mail", "search", "users"];
    let text = |text: String| AttributeValue::String(text);
    let per_service = spans / SERVICES.len() as u64;
    let group = |(service, name): (usize, &&str)| {
        let attributes: Attributes = vec![
            ("service.name".into(), text((*name).to_owned())),
            ("host.name".into(), text(format!("node-{service}"))),
            ("telemetry.sdk.name".into(), text("opentelemetry".to_owned())),
        ];
        let span = |i: u64| {
            let n = i * SERVICES.len() as u64 + service as u64;
            let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let trace = (n / 12).wrapping_mul(0xd6e8_feb8_6659_fd93) | 1;
            let start_ns = T0_NS + i64::try_from(n * 10_007).unwrap_or(0);
            Span {
                trace_id: u128::from(trace) << 64 | u128::from(!trace),
                span_id: mixed | 1,
                parent_id: mixed >> 1 | 1,
                name: format!("GET /api/v1/{name}/{{id}}").into(),
                kind: SpanKind::Server,
                start_ns,
                end_ns: start_ns + i64::try_from(mixed >> 40).unwrap_or(0),
                status: SpanStatus::Unset,
                attributes: vec![
                    ("http.request.method".into(), text("GET".to_owned())),
                    ("http.response.status_code".into(), AttributeValue::Int(200)),
                    ("url.path".into(), text(format!("/api/v1/{name}/{}", mixed % 100_000))),
                    ("client.address".into(), text(format!("10.0.{}.{}", mixed % 251, n % 13))),
                    ("network.protocol.version".into(), text("1.1".to_owned())),
                ],
                ..Span::default()
            }
        };
        SpanGroup {
            resource: Arc::new(Resource { attributes, ..Resource::default() }),
            scope: Arc::new(Scope { name: "web".to_owned(), ..Scope::default() }),
            spans: (0..per_service).map(span).collect(),
        }
    };
    SERVICES.iter().enumerate().map(group).collect()
}

fn main() {
    let mut args = std::env::args().skip(1).map_while(|arg| arg.parse().ok());
    let (spans, rounds) = (args.next().unwrap_or(8_192), args.next().unwrap_or(50));
    let groups = groups(spans);
    let spans: usize = groups.iter().map(|group| group.spans.len()).sum();
    let (protobuf, json) = (to_protobuf(&groups), to_json(&groups, IdForm::Hexadecimal));
    let zipkin = zipkin_json(&groups);
    let trace = [Trace { trace_id: 1, groups: groups.clone() }];
    let clocks = Adjustment::Clocks { skew_ns_max: 0 };
    println!(
        "{spans} spans of {} bytes of protobuf, {} of JSON",
        protobuf.len() / spans,
        json.len() / spans
    );
    let elements_max = 100 * spans;
    let measure = |name: &str, work: &dyn Fn() -> usize| {
        let before = cpu_seconds();
        let mut done = 0;
        for _ in 0..rounds {
            done += work();
        }
        let seconds = cpu_seconds() - before;
        println!("{name}: {:.0} k spans per CPU second", done as f64 / seconds / 1e3);
    };
    let read = |encoding, body: &[u8]| decode(encoding, body, elements_max).map_or(0, |r| r.len());
    measure("OTLP protobuf, decode", &|| read(Encoding::Protobuf, &protobuf));
    measure("OTLP JSON, decode", &|| read(Encoding::Json, json.as_bytes()));
    measure("Zipkin v2 JSON, decode", &|| {
        zipkin::decode(Form::V2Json, zipkin.as_bytes(), elements_max, 0).map_or(0, |r| r.len())
    });
    measure("OTLP protobuf, encode", &|| to_protobuf(&groups).len().min(spans));
    measure("OTLP JSON, encode", &|| to_json(&groups, IdForm::Hexadecimal).len().min(spans));
    measure("Jaeger's answer", &|| {
        let pieces = answer(trace.to_vec(), &[], clocks);
        pieces.map(|piece| piece.len()).sum::<usize>().min(spans)
    });
    let calls = calls(&groups);
    // All times are near enough: what is measured is told that a batch's spans wait no longer when the next one comes.
    let standard = SpanMetricsConfig { slack_ms: i64::MAX, ..SpanMetricsConfig::default() };
    for (name, config) in [
        ("metrics of spans", standard.clone()),
        ("metrics of spans, without calls", SpanMetricsConfig { edges: false, ..standard.clone() }),
        ("metrics of spans, with sizes", SpanMetricsConfig { sizes: true, ..standard }),
    ] {
        let state = RefCell::new((SpanMetrics::new(&config), T0_NS / 1_000_000));
        measure(name, &|| {
            let (metrics, now_ms) = &mut *state.borrow_mut();
            metrics.observe(&calls, *now_ms);
            *now_ms += 2 * config.wait_ms;
            spans
        });
    }
}

/// The same spans as calls: each second one is the server's side of the one before, in another service.
fn calls(groups: &[SpanGroup]) -> Vec<SpanGroup> {
    let mut groups = groups.to_vec();
    let count = groups.len() as u64;
    for (service, group) in (0..).zip(&mut groups) {
        for (i, span) in (0..).zip(&mut group.spans) {
            let n: u64 = i * count + service;
            let id = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            (span.span_id, span.parent_id) = (id(n), id(n.wrapping_sub(1)));
            span.kind = if n.is_multiple_of(2) { SpanKind::Client } else { SpanKind::Server };
        }
    }
    groups
}

fn zipkin_json(groups: &[SpanGroup]) -> String {
    let spans = groups.iter().flat_map(|group| {
        group.spans.iter().map(|span| {
            let tags: serde_json::Map<String, serde_json::Value> = span
                .attributes
                .iter()
                .filter_map(|(name, value)| match value {
                    AttributeValue::String(text) => Some((name.to_string(), text.as_str().into())),
                    _ => None,
                })
                .collect();
            serde_json::json!({
                "traceId": format!("{:032x}", span.trace_id), "id": format!("{:016x}", span.span_id),
                "parentId": format!("{:016x}", span.parent_id), "kind": "SERVER", "name": &*span.name,
                "timestamp": span.start_ns / 1_000, "duration": span.duration_ns() / 1_000,
                "localEndpoint": {"serviceName": group.resource.service()}, "tags": tags,
            })
        })
    });
    serde_json::Value::from_iter(spans).to_string()
}

/// CPU time of this process so far, in steps of the kernel's clock.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or("");
    let ticks = after_name.split(' ').skip(11).take(2).filter_map(|n| n.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

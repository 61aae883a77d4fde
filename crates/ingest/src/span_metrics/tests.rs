//! Spans in, series out: counts, exemplars, sides of calls in any order, bounds.

use model::{AttributeValue, Resource, Span, SpanKind, SpanStatus};
use proptest::prelude::*;

use super::*;

const SECOND_NS: i64 = 1_000_000_000;

fn span(trace_id: u128, span_id: u64, parent_id: u64, name: &str, kind: SpanKind) -> Span {
    let name = Arc::from(name);
    let (start_ns, end_ns) = (SECOND_NS, SECOND_NS + 30_000_000);
    Span { trace_id, span_id, parent_id, name, kind, start_ns, end_ns, ..Span::default() }
}

fn with(mut span: Span, name: &str, value: &str) -> Span {
    span.attributes.push((Arc::from(name), AttributeValue::String(value.to_owned())));
    span
}

fn of(service: &str, spans: Vec<Span>) -> SpanGroup {
    let name = AttributeValue::String(service.to_owned());
    let attributes = vec![(Arc::from("service.name"), name)];
    let resource = Arc::new(Resource { attributes, ..Resource::default() });
    SpanGroup { resource, spans, ..SpanGroup::default() }
}

/// Rows but buckets, as text, sorted.
fn shown(batch: &MetricBatch) -> Vec<String> {
    let rows = batch.rows.iter().filter(|row| row.labels.get("le").is_none());
    let mut rows: Vec<String> = rows
        .map(|row| format!("{} {}", row.labels, row.value))
        .filter(|r| !r.ends_with(" 0"))
        .collect();
    rows.sort();
    rows
}

fn only_edges() -> SpanMetricsConfig {
    SpanMetricsConfig { requests: false, ..SpanMetricsConfig::default() }
}

#[test]
fn requests_are_counted_by_service_name_kind_and_status() {
    let config = SpanMetricsConfig {
        edges: false,
        dimensions: vec!["http.method".to_owned(), "service".to_owned()],
        ..SpanMetricsConfig::default()
    };
    let mut metrics = SpanMetrics::new(&config);
    let get = || with(span(7, 1, 0, "GET /", SpanKind::Server), "http.method", "GET");
    let failed = Span { status: SpanStatus::Error, ..span(8, 2, 0, "GET /", SpanKind::Server) };
    metrics.observe(&[of("web", vec![get(), get(), with(failed, "service", "x")])], 5_000);
    let batch = metrics.collect(15_000);
    assert_eq!(
        shown(&batch),
        [
            r#"traces_spanmetrics_calls_total{__service="x", service="web", span_kind="SPAN_KIND_SERVER", span_name="GET /", status_code="STATUS_CODE_ERROR"} 1"#,
            r#"traces_spanmetrics_calls_total{http_method="GET", service="web", span_kind="SPAN_KIND_SERVER", span_name="GET /", status_code="STATUS_CODE_UNSET"} 2"#,
            r#"traces_spanmetrics_latency_count{__service="x", service="web", span_kind="SPAN_KIND_SERVER", span_name="GET /", status_code="STATUS_CODE_ERROR"} 1"#,
            r#"traces_spanmetrics_latency_count{http_method="GET", service="web", span_kind="SPAN_KIND_SERVER", span_name="GET /", status_code="STATUS_CODE_UNSET"} 2"#,
            r#"traces_spanmetrics_latency_sum{__service="x", service="web", span_kind="SPAN_KIND_SERVER", span_name="GET /", status_code="STATUS_CODE_ERROR"} 0.03"#,
            r#"traces_spanmetrics_latency_sum{http_method="GET", service="web", span_kind="SPAN_KIND_SERVER", span_name="GET /", status_code="STATUS_CODE_UNSET"} 0.06"#,
        ]
    );
    let bucket = |le: &str| {
        let rows = batch.rows.iter().filter(|row| row.labels.get("le") == Some(le));
        rows.map(|row| row.value).sum::<f64>()
    };
    assert_eq!(
        (bucket("0.016"), bucket("0.032"), bucket("4.1"), bucket("+Inf")),
        (0.0, 3.0, 3.0, 3.0)
    );
    // New series begin at 0, so that their first increase shows.
    assert!(batch.stamped.iter().all(|row| row.value == 0.0 && row.t_ms == 14_999));
    assert_eq!(batch.stamped.len(), batch.rows.len());
    assert_eq!(batch.metadata.len(), 2);
    // The latest of a bucket points to its trace.
    let mut exemplars: Vec<_> =
        batch.exemplars.iter().map(|e| e.exemplar.labels.get("traceID").unwrap()).collect();
    exemplars.sort_unstable();
    assert_eq!(exemplars, ["00000000000000000000000000000007", "00000000000000000000000000000008"]);
    assert!(batch.exemplars.iter().all(|e| e.series.get("le") == Some("0.032")));

    let again = metrics.collect(30_000);
    assert_eq!(shown(&again), shown(&batch));
    assert!(again.stamped.is_empty() && again.exemplars.is_empty() && again.metadata.is_empty());
    assert!(metrics.collect(5_001 + IDLE_MS).rows.is_empty(), "idle series end");
}

#[test]
fn sizes_are_those_of_otlp_and_only_on_request() {
    let spans = vec![
        span(1, 1, 0, "a", SpanKind::Server),
        with(span(1, 2, 1, "a", SpanKind::Server), "http.method", "GET"),
    ];
    // trace id 18, span id 10, name 3, kind 2, times 9 each; parent 10; the attribute: 2 around 13 of name and 7 of value.
    let whole = [51, 51 + 10 + 2 + 13 + 7];
    let config = SpanMetricsConfig { edges: false, sizes: true, ..SpanMetricsConfig::default() };
    let mut metrics = SpanMetrics::new(&config);
    metrics.observe(&[of("web", spans.clone())], 1_000);
    let batch = metrics.collect(2_000);
    let size = |batch: &MetricBatch| {
        let name = "traces_spanmetrics_size_total";
        let rows = batch.rows.iter().filter(|row| row.labels.metric_name() == name);
        rows.map(|row| row.value).collect::<Vec<_>>()
    };
    assert_eq!(size(&batch), [f64::from(whole.iter().sum::<u32>())]);
    let mut without = SpanMetrics::new(&SpanMetricsConfig { sizes: false, ..config });
    without.observe(&[of("web", spans)], 1_000);
    assert!(size(&without.collect(2_000)).is_empty());
}

#[test]
fn calls_are_counted_when_both_sides_came() {
    let client = span(1, 10, 0, "call", SpanKind::Client);
    let server = Span { status: SpanStatus::Error, ..span(1, 11, 10, "answer", SpanKind::Server) };
    let want = [
        r#"traces_service_graph_request_client_seconds_count{client="web", server="cart"} 1"#,
        r#"traces_service_graph_request_client_seconds_sum{client="web", server="cart"} 0.03"#,
        r#"traces_service_graph_request_failed_total{client="web", server="cart"} 1"#,
        r#"traces_service_graph_request_server_seconds_count{client="web", server="cart"} 1"#,
        r#"traces_service_graph_request_server_seconds_sum{client="web", server="cart"} 0.03"#,
        r#"traces_service_graph_request_total{client="web", server="cart"} 1"#,
    ];
    let sides = [of("web", vec![client]), of("cart", vec![server])];
    for order in [[0, 1], [1, 0]] {
        let mut metrics = SpanMetrics::new(&only_edges());
        for (at_ms, side) in (0..).zip(order) {
            metrics.observe(std::slice::from_ref(&sides[side]), at_ms * 9_000);
        }
        assert_eq!(shown(&metrics.collect(60_000)), want, "{order:?}");
        let mut metrics = SpanMetrics::new(&only_edges());
        for (at_ms, side) in (0..).zip(order) {
            metrics.observe(std::slice::from_ref(&sides[side]), at_ms * 10_000);
        }
        let late = shown(&metrics.collect(60_000));
        let unpaired = |client: &str, server: &str| {
            let labels = [("client", client), ("server", server)];
            let labels =
                labels.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}=\"{v}\""));
            format!("traces_service_graph_unpaired_spans_total{{{}}} 1", labels.collect::<String>())
        };
        assert_eq!(late, [unpaired("web", ""), unpaired("", "cart")], "{order:?}");
    }
}

#[test]
fn databases_peers_users_messages_and_spans_of_no_kind() {
    let totals = |groups: &[SpanGroup]| {
        let mut metrics = SpanMetrics::new(&only_edges());
        metrics.observe(groups, 0);
        let rows = shown(&metrics.collect(20_000));
        let name = "traces_service_graph_request_total";
        rows.iter().filter_map(|r| Some(r.strip_prefix(name)?.to_owned())).collect::<Vec<_>>()
    };
    let query = span(1, 2, 1, "SELECT", SpanKind::Client);
    let query = with(with(query, "db.system", "mysql"), "db.name", "orders");
    assert_eq!(
        totals(&[of("cart", vec![query])]),
        [r#"{client="cart", connection_type="database", server="orders"} 1"#]
    );
    let to_peer = with(span(1, 2, 1, "charge", SpanKind::Client), "peer.service", "bank");
    assert_eq!(
        totals(&[of("cart", vec![to_peer.clone()])]),
        [r#"{client="cart", connection_type="virtual_node", server="bank"} 1"#]
    );
    // An answer says better who was called.
    let answer = span(1, 3, 2, "charge", SpanKind::Server);
    assert_eq!(
        totals(&[of("cart", vec![to_peer]), of("payment", vec![answer])]),
        [r#"{client="cart", server="payment"} 1"#]
    );
    assert_eq!(
        totals(&[of("web", vec![span(1, 1, 0, "GET /", SpanKind::Server)])]),
        [r#"{client="user", connection_type="virtual_node", server="web"} 1"#]
    );
    let sent = span(1, 2, 1, "send", SpanKind::Producer);
    let taken = |id| span(1, id, 2, "take", SpanKind::Consumer);
    assert_eq!(
        totals(&[of("cart", vec![sent]), of("mail", vec![taken(3)]), of("stock", vec![taken(4)])]),
        [
            r#"{client="cart", connection_type="messaging_system", server="mail"} 1"#,
            r#"{client="cart", connection_type="messaging_system", server="stock"} 1"#,
        ]
    );
    let plain = |id, parent| span(1, id, parent, "work", SpanKind::Unspecified);
    assert_eq!(
        totals(&[
            of("web", vec![plain(2, 1), plain(1, 0), plain(3, 1)]),
            of("cart", vec![plain(4, 2), plain(5, 4)]),
        ]),
        [r#"{client="web", server="cart"} 1"#]
    );
}

/// Zipkin's clients give both sides of a call one id.
#[test]
fn halves_of_shared_spans_are_calls_in_any_order() {
    let check = |groups: [SpanGroup; 5], want: &[&str]| {
        for first in 0..groups.len() {
            let mut metrics = SpanMetrics::new(&only_edges());
            let rotated = groups[first..].iter().chain(&groups[..first]).cloned();
            rotated.for_each(|group| metrics.observe(&[group], 0));
            let rows = shown(&metrics.collect(20_000));
            let rows =
                rows.iter().filter(|r| r.contains("request_total") || r.contains("unpaired"));
            let rows: Vec<String> =
                rows.map(|r| r.replace("traces_service_graph_request_total", "")).collect();
            assert_eq!(rows, want, "from {first}");
        }
    };
    let call = |id, parent, kind| span(1, id, parent, "x", kind);
    let groups = |root| {
        [
            of("a", vec![call(2, root, SpanKind::Client)]),
            of("b", vec![call(2, root, SpanKind::Server)]),
            // Below the server's half, of no kind.
            of("b", vec![call(3, 2, SpanKind::Internal)]),
            of("b", vec![call(4, 3, SpanKind::Client)]),
            of("c", vec![call(4, 3, SpanKind::Server)]),
        ]
    };
    let calls = [r#"{client="a", server="b"} 1"#, r#"{client="b", server="c"} 1"#];
    check(groups(0), &calls);
    check(groups(9), &calls);
    // Ids that are not shared: a server without a parent, and one below its caller.
    let others = [
        of("a", vec![call(1, 0, SpanKind::Server)]),
        of("a", vec![call(2, 1, SpanKind::Client)]),
        of("b", vec![call(3, 2, SpanKind::Server)]),
        of("b", vec![call(4, 3, SpanKind::Client)]),
        of("c", vec![call(5, 4, SpanKind::Server)]),
    ];
    let user = r#"{client="user", connection_type="virtual_node", server="a"} 1"#;
    check(others, &[calls[0], calls[1], user]);
}

#[test]
fn what_is_too_much_is_counted() {
    let config =
        SpanMetricsConfig { series_max: 2, waiting_max: 3, ..SpanMetricsConfig::default() };
    let mut metrics = SpanMetrics::new(&config);
    let spans = (1..=10).map(|id| span(id.into(), id, 0, &id.to_string(), SpanKind::Client));
    metrics.observe(&[of("web", spans.collect())], 0);
    let batch = metrics.collect(1);
    let sum = |name: &str, label: (&str, &str)| {
        let rows = batch.rows.iter().filter(|row| row.labels.metric_name() == name);
        let rows = rows.filter(|row| row.labels.get(label.0) == Some(label.1));
        rows.map(|row| row.value).sum::<f64>()
    };
    assert_eq!(sum("traces_spanmetrics_calls_total", ("span_name", "other")), 8.0);
    assert_eq!(sum("traces_spanmetrics_calls_total", ("service", "web")), 2.0);
    assert_eq!(sum("traces_service_graph_dropped_spans_total", ("client", "web")), 7.0);
}

#[test]
fn spans_of_another_time_are_not_shown_now() {
    let mut metrics = SpanMetrics::new(&SpanMetricsConfig::default());
    let server = || vec![of("web", vec![span(1, 1, 0, "GET /", SpanKind::Server)])];
    metrics.observe(&server(), 32_000);
    assert_eq!((metrics.late(), metrics.collect(32_000).rows.len()), (1, 0));
    metrics.observe(&server(), 31_000);
    assert_eq!(metrics.late(), 1);
    assert!(!metrics.collect(33_000).rows.is_empty());
}

proptest! {
    /// However sides come, split and mixed, each call counts once.
    #[test]
    fn calls_do_not_depend_on_the_order(
        calls in proptest::collection::vec((0_u64..4, 0_usize..3, 0_usize..3), 1..40),
        keys in proptest::collection::vec(any::<u32>(), 80),
    ) {
        let services = ["a", "b", "c"];
        let mut sides = Vec::new();
        for (id, (trace, client, server)) in (1..).zip(&calls) {
            let (caller, called) = (id * 2, id * 2 + 1);
            let trace = u128::from(*trace) + 1;
            sides.push(of(services[*client], vec![span(trace, caller, 0, "call", SpanKind::Client)]));
            sides.push(of(services[*server], vec![span(trace, called, caller, "answer", SpanKind::Server)]));
        }
        let mut ordered: Vec<_> = keys.iter().zip(&sides).collect();
        ordered.sort_by_key(|(key, _)| **key);
        let mut metrics = SpanMetrics::new(&only_edges());
        for (_, side) in ordered {
            metrics.observe(std::slice::from_ref(side), 0);
        }
        let batch = metrics.collect(1);
        for client in services {
            for server in services {
                let want = calls.iter().filter(|(_, c, s)| services[*c] == client && services[*s] == server).count();
                let got = batch.rows.iter().find(|row| {
                    row.labels.metric_name() == "traces_service_graph_request_total"
                        && row.labels.get("client") == Some(client)
                        && row.labels.get("server") == Some(server)
                });
                prop_assert_eq!(got.map_or(0.0, |row| row.value), want as f64);
            }
        }
    }
}

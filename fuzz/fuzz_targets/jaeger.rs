//! Jaeger's batches, datagrams and requests of queries: never panics, what is accepted is bounded and has ids.

#![no_main]

use ingest::jaeger::{decode_datagram, decode_protobuf, decode_thrift, query};
use ingest::thrift::Protocol;
use libfuzzer_sys::fuzz_target;

const NOW_NS: i64 = 1_700_000_000_000_000_000;

fuzz_target!(|bytes: &[u8]| {
    let thrift = [Protocol::Binary, Protocol::Compact].into_iter().flat_map(|protocol| {
        [decode_thrift(protocol, bytes, 1_000), decode_datagram(protocol, bytes, 1_000, NOW_NS)]
    });
    for received in thrift.chain([decode_protobuf(bytes, 1_000)]).flatten() {
        assert!(received.len() <= 1_000);
        let mut spans = received.groups.iter().flat_map(|group| &group.spans);
        assert!(spans.all(|span| span.trace_id != 0 && span.span_id != 0));
    }
    if let Ok(Some(search)) = query::decode_search(bytes) {
        assert!(search.tags.len() <= 1_000);
    }
    let _read = query::decode_trace(bytes);
    let _read = query::decode_operations(bytes);
    let _read = query::decode_dependencies(bytes);
});

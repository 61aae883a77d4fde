//! Spans: what is sent, when it is sent again, and what is given up.

use ingest::compression::pack_snappy;
use ingest::otlp::traces::{decode, to_protobuf};
use model::{Span, SpanGroup};

use super::super::spans::{SpanQueue, SpanRemote, SpanSenders, spawn};
use super::*;

/// Spans of a request, and whether it was packed.
type Request = (Vec<u64>, bool);
/// Status, a header, body.
type Reply = (u16, Option<(&'static str, &'static str)>, &'static [u8]);

async fn otlp_receiver(script: &[Reply]) -> (String, UnboundedReceiver<Request>) {
    let (seen, requests) = unbounded_channel();
    let script = Arc::new(Mutex::new(script.iter().copied().collect::<VecDeque<Reply>>()));
    let answer = move |headers: HeaderMap, body: bytes::Bytes| {
        let (script, seen) = (script.clone(), seen.clone());
        async move {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let packing = headers.get("content-encoding").map(|v| v.to_str().unwrap().to_owned());
            let encoding = packing.as_deref().map_or(Encoding::Identity, |name| {
                assert_eq!(name, "gzip");
                Encoding::Gzip
            });
            let body = unpack(encoding, &body, 1 << 20).unwrap();
            let received = decode(ingest::otlp::Encoding::Protobuf, &body, 1_000).unwrap();
            let spans = received.groups.iter().flat_map(|group| &group.spans);
            let ids = spans.map(|span| span.span_id).collect();
            seen.send((ids, packing.is_some())).unwrap();
            let (status, header, body) = script.lock().pop_front().unwrap_or((200, None, b""));
            let mut response = body.into_response();
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some((name, value)) = header {
                response.headers_mut().insert(name, http::HeaderValue::from_static(value));
            }
            response
        }
    };
    let app = axum::Router::new().route("/v1/traces", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, requests)
}

fn push(memory: &Memory, ids: std::ops::Range<u64>) {
    let spans = ids.map(|span_id| Span { trace_id: 1, span_id, ..Span::default() });
    let group = SpanGroup { spans: spans.collect(), ..SpanGroup::default() };
    let (samples, payload) = (group.spans.len() as u64, pack_snappy(&to_protobuf(&[group])));
    let mut records = memory.records.lock();
    let seq = records.len() as u64 + 1;
    records.push(Record { seq, samples, payload });
    memory.end.send_replace(seq + 1);
}

fn start(memory: &Arc<Memory>, url: &str, gzip: bool) -> (SpanSenders, CancellationToken) {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let remote = SpanRemote {
        name: "test".to_owned(),
        id: "test".to_owned(),
        url: url.to_owned(),
        timeout_ms: 10_000,
        gzip,
        http: HttpOptions::plain(),
        queue: SpanQueue {
            max_shards: 2,
            max_spans_per_send: 3,
            batch_send_deadline_ms: 1,
            min_backoff_ms: 1,
            max_backoff_ms: 2,
        },
    };
    let (spool, cancel) = (Arc::new(Live(memory.clone())), CancellationToken::new());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at_ms(1_000_000));
    (spawn("1.2.3", vec![remote], &(spool as Arc<dyn Spool>), &clock, &cancel), cancel)
}

fn count(senders: &SpanSenders) -> [u64; 4] {
    let (_, figures) = &senders.figures()[0];
    [&figures.sent, &figures.refused, &figures.retried, &figures.damaged]
        .map(|counter| counter.load(Ordering::Relaxed))
}

#[tokio::test]
async fn batches_share_requests_and_move_the_cursor_once_they_are_taken() {
    for gzip in [true, false] {
        let (url, mut requests) = otlp_receiver(&[]).await;
        let (memory, mut cursors) = Memory::new(START);
        push(&memory, 1..3);
        push(&memory, 3..4);
        push(&memory, 4..9);
        let (senders, cancel) = start(&memory, &url, gzip);
        acked(&mut cursors, 4).await;
        let mut seen = [requests.recv().await.unwrap(), requests.recv().await.unwrap()];
        seen.sort();
        assert_eq!(seen, [(vec![1, 2, 3], gzip), (vec![4, 5, 6, 7, 8], gzip)]);
        assert_eq!(count(&senders), [8, 0, 0, 0]);
        cancel.cancel();
        senders.closed().await;
        // After a restart it goes on from there.
        push(&memory, 9..10);
        let (_senders, _cancel) = start(&memory, &url, gzip);
        assert_eq!(requests.recv().await.unwrap(), (vec![9], gzip));
    }
}

#[tokio::test]
async fn what_may_pass_is_sent_again_and_what_is_refused_is_counted() {
    // Two spans refused of a partial success: `{1: {1: 2, 2: "no"}}`.
    let partial = &[0x0a, 0x06, 0x08, 0x02, 0x12, 0x02, b'n', b'o'];
    let script: &[Reply] = &[
        (503, Some(("retry-after", "0")), b"busy"),
        (429, None, b""),
        (502, None, b""),
        (200, None, partial),
        (400, None, b"bad"),
        (500, None, b"never again"),
        (200, None, b"\xff\xffnot protobuf"),
    ];
    let (url, mut requests) = otlp_receiver(script).await;
    let (memory, mut cursors) = Memory::new(START);
    let (senders, _cancel) = start(&memory, &url, true);
    push(&memory, 1..4);
    acked(&mut cursors, 2).await;
    assert_eq!(count(&senders), [1, 2, 9, 0]);
    push(&memory, 4..5);
    acked(&mut cursors, 3).await;
    push(&memory, 5..6);
    acked(&mut cursors, 4).await;
    push(&memory, 6..7);
    acked(&mut cursors, 5).await;
    assert_eq!(count(&senders), [2, 4, 9, 0]);
    let mut all = Vec::new();
    while let Ok((ids, _)) = requests.try_recv() {
        all.push(ids[0]);
    }
    assert_eq!(all, [1, 1, 1, 1, 4, 5, 6]);
    // A record that nobody can read is passed over.
    memory.records.lock().push(Record { seq: 5, samples: 1, payload: vec![0xff; 3] });
    memory.end.send_replace(6);
    push(&memory, 7..8);
    acked(&mut cursors, 6).await;
    assert_eq!(count(&senders)[3], 1);
}

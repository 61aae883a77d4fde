//! Forwarding of spans keeps what was acknowledged through `kill -9` and an outage of the receiver.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ingest::compression::{Encoding, unpack};
use ingest::otlp;
use testkit::{Options, Taffrail, eventually};

use crate::{PROGRAM, now_ns, quiet_config};

/// A receiver that takes spans while it is up, and answers 503 otherwise; ends with the test process.
struct Receiver {
    address: SocketAddr,
    up: Arc<AtomicBool>,
    /// Ids of spans.
    taken: Arc<Mutex<BTreeSet<u64>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            up: Arc::default(),
            taken: Arc::default(),
        };
        let (up, taken) = (this.up.clone(), this.taken.clone());
        let serve = move || {
            for stream in listener.incoming() {
                let (up, taken, stream) = (up.clone(), taken.clone(), stream.unwrap());
                // A sender that was killed breaks off.
                let connection = move || drop(answer(stream, &up, &taken));
                std::thread::Builder::new().name("connection".into()).spawn(connection).unwrap();
            }
        };
        std::thread::Builder::new().name("receiver".into()).spawn(serve).unwrap();
        this
    }
}

/// Answers requests of a connection until it ends.
fn answer(
    mut stream: TcpStream,
    up: &AtomicBool,
    taken: &Mutex<BTreeSet<u64>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut length, mut token) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.trim().split_once(':') else {
                if line.trim().is_empty() { break } else { continue }
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "authorization" => token = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        assert_eq!(token, "Bearer of-the-receiver");
        let status = if up.load(Ordering::SeqCst) {
            let body = unpack(Encoding::Gzip, &body, 1 << 28).unwrap();
            let received = otlp::traces::decode(otlp::Encoding::Protobuf, &body, 1 << 20).unwrap();
            let spans = received.groups.iter().flat_map(|group| &group.spans);
            taken.lock().unwrap().extend(spans.map(|span| span.span_id));
            "200 OK"
        } else {
            "503 Service Unavailable"
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
    }
}

/// Sends ten spans; they are acknowledged when this returns.
fn push(taffrail: &Taffrail, batch: u64) {
    let now_ns = now_ns();
    let span = |n: u64| {
        format!(
            r#"{{"traceId":"{:032x}","spanId":"{:016x}","name":"op","startTimeUnixNano":"{now_ns}","endTimeUnixNano":"{now_ns}"}}"#,
            batch + 1,
            batch * 10 + n + 1
        )
    };
    let spans: Vec<String> = (0..10).map(span).collect();
    let body =
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","));
    let headers = [("Content-Type", "application/json")];
    let answer = testkit::send(taffrail.address, "POST /v1/traces", &headers, body.as_bytes());
    assert_eq!(answer.unwrap().status, 200);
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill_and_an_outage() {
    let receiver = Receiver::start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "of-the-receiver\n").unwrap();
    let config = quiet_config(&format!(
        "host:\n  enabled: false\ntraces:\n  forward:\n  - url: http://{}/v1/traces\n    \
         authorization: {{credentials_file: token}}\n    \
         queue_config: {{max_spans_per_send: 50, batch_send_deadline: 10ms, min_backoff: 10ms, max_backoff: 50ms}}\n",
        receiver.address
    ));
    let options = Options { config, args: vec![] };

    // Down; killed with everything in the queue.
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    (0..30).for_each(|batch| push(&taffrail, batch));
    taffrail.kill();
    // Up, and killed in the middle of sending.
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    receiver.up.store(true, Ordering::SeqCst);
    eventually("a part", 30, || (!receiver.taken.lock().unwrap().is_empty()).then_some(()));
    (30..40).for_each(|batch| push(&taffrail, batch));
    taffrail.kill();
    // Down again while more comes.
    receiver.up.store(false, Ordering::SeqCst);
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    (40..50).for_each(|batch| push(&taffrail, batch));
    receiver.up.store(true, Ordering::SeqCst);
    eventually("everything", 60, || (receiver.taken.lock().unwrap().len() == 500).then_some(()));
    assert!(receiver.taken.lock().unwrap().iter().eq(&(1..=500).collect::<BTreeSet<u64>>()));
    eventually("an empty queue", 30, || {
        let metrics = taffrail.get("/metrics", &[]).body;
        metrics.contains("taffrail_trace_forward_queue_batches{remote_name=").then_some(())?;
        let behind =
            metrics.lines().find(|l| l.starts_with("taffrail_trace_forward_queue_batches"));
        behind?.ends_with(" 0").then_some(())
    });
    let (status, _) = taffrail.stop();
    assert!(status.success());
}

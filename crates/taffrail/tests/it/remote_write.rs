//! Remote write keeps what was acknowledged through `kill -9` and an outage of the receiver.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ingest::compression::{Encoding, unpack};
use ingest::remote_write::{Limits, Message, decode};
use testkit::remote_write::{Series, encode};
use testkit::{Options, Taffrail, eventually};

use crate::{PROGRAM, now_ns, quiet_config};

const LIMITS: Limits = Limits {
    rows_max: 1 << 20,
    labels_max: 100,
    name_bytes_max: 1 << 10,
    value_bytes_max: 1 << 10,
    label_bytes_max: 1 << 24,
    buckets_max: 1 << 20,
};

/// A receiver that takes samples while it is up, and answers 503 otherwise; ends with the test process.
struct Receiver {
    address: SocketAddr,
    up: Arc<AtomicBool>,
    /// Series and times of `pushed`.
    taken: Arc<Mutex<BTreeSet<(String, i64)>>>,
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
    taken: &Mutex<BTreeSet<(String, i64)>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut length, mut message) = (0, Message::V1);
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
                "content-type" => message = Message::from_content_type(value.trim()).unwrap(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let status = if up.load(Ordering::SeqCst) {
            let body = unpack(Encoding::Snappy, &body, 1 << 28).unwrap();
            let request = decode(message, &body, &LIMITS).unwrap();
            let pushed = request.samples.iter().filter(|s| s.labels.metric_name() == "pushed");
            taken.lock().unwrap().extend(pushed.map(|s| (s.labels.to_string(), s.t_ms)));
            "204 No Content"
        } else {
            "503 Service Unavailable"
        };
        let written = "X-Prometheus-Remote-Write-Samples-Written: 1";
        write!(stream, "HTTP/1.1 {status}\r\n{written}\r\nContent-Length: 0\r\n\r\n")?;
    }
}

const SERIES: usize = 20;

/// Pushes a sample of every series at `t_ms`; it is acknowledged when this returns.
fn push(taffrail: &Taffrail, t_ms: i64) {
    let series: Vec<Series> = (0..SERIES)
        .map(|n| Series {
            labels: vec![
                ("__name__".to_owned(), "pushed".to_owned()),
                ("n".to_owned(), n.to_string()),
            ],
            samples: vec![(t_ms, n as f64)],
        })
        .collect();
    let body = encode(series.iter().map(|one| (one, &one.samples[..])));
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ];
    let answer = testkit::send(taffrail.address, "POST /api/v1/write", &headers, &body).unwrap();
    assert!((200..300).contains(&answer.status), "{}", answer.body);
}

#[test]
fn a_reload_begins_and_ends_sending() {
    let receiver = Receiver::start();
    receiver.up.store(true, Ordering::SeqCst);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prometheus.yml");
    let block = format!(
        "remote_write:\n  - url: http://{}/write\n    queue_config: {{batch_send_deadline: 10ms}}\n",
        receiver.address
    );
    std::fs::write(&file, "").unwrap();
    let config = quiet_config("host:\n  enabled: false\nprometheus: prometheus.yml\n");
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &Options { config, args: vec![] });
    let reload = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let answer = testkit::post(taffrail.address, "/-/reload").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    let start_ms = i64::try_from(now_ns() / 1_000_000).unwrap() - 60_000;
    let arrived = |of: i64| {
        let taken = receiver.taken.lock().unwrap();
        taken.iter().filter(|(_, t_ms)| *t_ms == start_ms + of).count()
    };
    let wait_for = |of: i64| {
        eventually("what was pushed", 30, || (arrived(of) == SERIES).then_some(()));
    };

    push(&taffrail, start_ms);
    reload(&block);
    push(&taffrail, start_ms + 1);
    wait_for(1);
    reload("");
    push(&taffrail, start_ms + 2);
    reload(&block);
    push(&taffrail, start_ms + 3);
    // In order: what was queued before would be there by then.
    wait_for(3);
    assert_eq!((arrived(0), arrived(2)), (0, 0));
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill_and_an_outage() {
    let receiver = Receiver::start();
    let dir = tempfile::tempdir().unwrap();
    let yml = format!(
        "global:\n  external_labels: {{region: eu}}\nremote_write:\n  - url: http://{}/write\n    \
         protobuf_message: io.prometheus.write.v2.Request\n    queue_config: {{max_samples_per_send: 100, \
         batch_send_deadline: 10ms, max_backoff: 50ms}}\n",
        receiver.address
    );
    std::fs::write(dir.path().join("prometheus.yml"), yml).unwrap();
    let config = quiet_config("host:\n  enabled: false\nprometheus: prometheus.yml\n");
    let options = Options { config, args: vec![] };
    let start_ms = i64::try_from(now_ns() / 1_000_000).unwrap() - 60_000;

    // Down; killed with everything in the queue.
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    (0..30).for_each(|k| push(&taffrail, start_ms + k));
    taffrail.kill();
    // Up, and killed in the middle of sending.
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    receiver.up.store(true, Ordering::SeqCst);
    eventually("a part", 30, || (!receiver.taken.lock().unwrap().is_empty()).then_some(()));
    (30..40).for_each(|k| push(&taffrail, start_ms + k));
    taffrail.kill();
    // Down again while more comes.
    receiver.up.store(false, Ordering::SeqCst);
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    (40..50).for_each(|k| push(&taffrail, start_ms + k));
    receiver.up.store(true, Ordering::SeqCst);
    eventually("everything", 60, || {
        (receiver.taken.lock().unwrap().len() == 50 * SERIES).then_some(())
    });
    let taken = receiver.taken.lock().unwrap();
    assert!(taken.iter().all(|(series, _)| series.contains("region=\"eu\"")));
    let times: BTreeSet<i64> = taken.iter().map(|(_, t_ms)| *t_ms - start_ms).collect();
    assert_eq!(times, (0..50).collect());
    let metrics = taffrail.get("/metrics", &[]).body;
    assert!(metrics.contains("prometheus_remote_storage_samples_total{"), "{metrics}");
    let (status, _) = taffrail.stop();
    assert!(status.success());
}

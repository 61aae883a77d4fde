//! What no sender should send, to every receiver of log lines: lines that are too long, bytes that are no text, times that
//! cannot be, bodies that are nothing. Each is kept, cut or refused as the guide says, and the receiver goes on.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use testkit::remote_write::{field, varint};
use testkit::{Answer, Options, Taffrail, eventually, send};

use crate::{PROGRAM, now_ns, quiet_config};

const LINE_BYTES_MAX: usize = 256 << 10;
/// Characters that no text has, one of them cut off, and NUL.
const BYTES: &[u8] = b"caf\xe9 \0 \xff\xfe \xf0\x9f end";
const DAY_NS: i128 = 86_400_000_000_000;

/// A way in.
struct Receiver {
    name: &'static str,
    /// Selects what came by it.
    selector: &'static str,
    /// Sends a line with a time; the answer's status, where there is one.
    send: fn(&Place<'_>, &[u8], i128) -> Option<u16>,
    /// Sends what is no message.
    send_noise: fn(&Place<'_>) -> Option<u16>,
    /// Whether a message says when it is.
    has_times: bool,
    /// What bytes that are no text become.
    bytes: Bytes,
    /// What a line of more than 256 KiB becomes.
    long: Long,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Kept,
    /// The body has to be UTF-8 by its protocol.
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Long {
    Cut,
    /// A datagram cannot have it.
    Impossible,
}

struct Place<'a> {
    taffrail: &'a Taffrail,
    dir: &'a Path,
}

impl Place<'_> {
    fn post(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        let headers = [("Content-Type", kind)];
        send(self.taffrail.address, &format!("POST {path}"), &headers, body).unwrap()
    }

    /// The port on which `what` listens, as the log says.
    fn port(&self, what: &str) -> String {
        let what = format!("{what} on ");
        let of = |line: &String| Some(line.split(&what).nth(1)?.trim().to_owned());
        eventually(&what, 30, || self.taffrail.log().iter().find_map(of))
    }

    fn connect(&self, what: &str) -> TcpStream {
        let stream = TcpStream::connect(self.port(what)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    fn write(&self, what: &str, bytes: &[u8]) -> Option<u16> {
        // One that is cut off may be closed before everything is sent.
        self.connect(what).write_all(bytes).ok();
        None
    }

    fn datagram(&self, what: &str, bytes: &[u8]) -> Option<u16> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(bytes, self.port(what)).unwrap();
        None
    }
}

/// A text of JSON whose bytes are those of `line`, valid or not.
fn json_text(line: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for byte in line {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            0..0x20 => text.extend(format!("\\u{byte:04x}").bytes()),
            byte => text.push(*byte),
        }
    }
    text.push(b'"');
    text
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// `2026-01-01T00:00:00.000000000Z`
fn rfc3339(t_ns: i128) -> String {
    jiff::Timestamp::from_nanosecond(t_ns).unwrap().to_string()
}

fn seconds(t_ns: i128) -> String {
    format!("{}.{:09}", t_ns.div_euclid(1_000_000_000), t_ns.rem_euclid(1_000_000_000))
}

fn loki_json(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    let head = format!(r#"{{"streams":[{{"stream":{{"app":"loki-json"}},"values":[["{t_ns}","#);
    let body = join(&[head.as_bytes(), &json_text(line), b"]]}]}"]);
    Some(place.post("/loki/api/v1/push", "application/json", &body).status)
}

fn loki_protobuf(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    let (mut time, mut entry, mut stream, mut request) = (vec![8], vec![], vec![], vec![]);
    varint(&mut time, i64::try_from(t_ns.div_euclid(1_000_000_000)).unwrap().cast_unsigned());
    time.push(16);
    varint(&mut time, u64::try_from(t_ns.rem_euclid(1_000_000_000)).unwrap());
    field(&mut entry, 1, &time);
    field(&mut entry, 2, line);
    field(&mut stream, 1, br#"{app="loki-protobuf"}"#);
    field(&mut stream, 2, &entry);
    field(&mut request, 1, &stream);
    let body = testkit::loki_push::compressed(&request);
    Some(place.post("/loki/api/v1/push", "application/x-protobuf", &body).status)
}

fn otlp_json(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    let head = br#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"otlp-json"}}]},"scopeLogs":[{"logRecords":[{"#;
    let time = format!(r#""timeUnixNano":"{t_ns}","body":{{"stringValue":"#);
    let body = join(&[head, time.as_bytes(), &json_text(line), b"}}]}]}]}"]);
    Some(place.post("/v1/logs", "application/json", &body).status)
}

fn elastic(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    let head = format!(
        "{{\"create\":{{\"_index\":\"elastic\"}}}}\n{{\"@timestamp\":\"{}\",\"message\":",
        rfc3339(t_ns)
    );
    let body = join(&[head.as_bytes(), &json_text(line), b"}\n"]);
    Some(place.post("/elasticsearch/_bulk", "application/x-ndjson", &body).status)
}

fn json_lines(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    let head = format!(r#"{{"app":"json-lines","_time":"{}","_msg":"#, rfc3339(t_ns));
    let body = join(&[head.as_bytes(), &json_text(line), b"}\n"]);
    Some(place.post("/insert/jsonline?_stream_fields=app", "application/x-ndjson", &body).status)
}

fn journal(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    let head =
        format!("__REALTIME_TIMESTAMP={}\nSYSLOG_IDENTIFIER=journal\nMESSAGE\n", t_ns / 1000);
    let len = (line.len() as u64).to_le_bytes();
    let body = join(&[head.as_bytes(), &len, line, b"\n\n"]);
    Some(place.post("/upload", "application/vnd.fdo.journal", &body).status)
}

fn syslog(line: &[u8], t_ns: i128, app: &str) -> Vec<u8> {
    join(&[format!("<13>1 {} box {app} - - - ", rfc3339(t_ns)).as_bytes(), line])
}

fn syslog_tcp(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    let message = syslog(line, t_ns, "syslog-tcp");
    place.write("syslog over TCP", &join(&[format!("{} ", message.len()).as_bytes(), &message]))
}

fn syslog_udp(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    place.datagram("syslog over UDP", &syslog(line, t_ns, "syslog-udp"))
}

/// `["fluent", t, {"message": line}]` as MessagePack, the time with nanoseconds.
fn fluent(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    let mut event = b"\x93\xa6fluent\xd7\x00".to_vec();
    // Seconds have 32 bits without a sign there.
    let seconds = (t_ns.div_euclid(1_000_000_000) & 0xffff_ffff) as u32;
    event.extend(seconds.to_be_bytes());
    event.extend(u32::try_from(t_ns.rem_euclid(1_000_000_000)).unwrap().to_be_bytes());
    event.extend(b"\x81\xa7message\xdb");
    event.extend(u32::try_from(line.len()).unwrap().to_be_bytes());
    event.extend(line);
    place.write("Fluentd's forward protocol over TCP", &event)
}

fn lumberjack(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    let head = format!(
        r#"{{"service":{{"name":"lumberjack"}},"@timestamp":"{}","message":"#,
        rfc3339(t_ns)
    );
    let event = join(&[head.as_bytes(), &json_text(line), b"}"]);
    let len = u32::try_from(event.len()).unwrap().to_be_bytes();
    let mut stream = place.connect("Lumberjack over TCP");
    stream.write_all(&join(&[b"2W\0\0\0\x012J\0\0\0\x01", &len, &event])).unwrap();
    let mut acknowledged = [0; 6];
    stream.read_exact(&mut acknowledged).unwrap();
    assert_eq!(&acknowledged, b"2A\0\0\0\x01");
    None
}

fn gelf(line: &[u8], t_ns: i128, app: &str) -> Vec<u8> {
    let head = format!(
        r#"{{"version":"1.1","host":"box","_app":"{app}","timestamp":{},"short_message":"#,
        seconds(t_ns)
    );
    join(&[head.as_bytes(), &json_text(line), b"}"])
}

fn gelf_tcp(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    place.write("GELF over TCP", &join(&[&gelf(line, t_ns, "gelf-tcp"), b"\0"]))
}

fn gelf_udp(place: &Place<'_>, line: &[u8], t_ns: i128) -> Option<u16> {
    place.datagram("GELF over UDP", &gelf(line, t_ns, "gelf-udp"))
}

fn file(place: &Place<'_>, line: &[u8], _: i128) -> Option<u16> {
    let path = place.dir.join("logs/a.log");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(&join(&[line, b"\n"])).unwrap();
    None
}

const NOISE: &[u8] = b"\xff\xff{]\x00noise\r\n\r\n\x81";

macro_rules! noise {
    ($path:expr, $kind:expr) => {
        |place| Some(place.post($path, $kind, NOISE).status)
    };
    ($what:expr) => {
        |place| place.write($what, NOISE)
    };
}

const RECEIVERS: [Receiver; 13] = [
    Receiver {
        name: "loki-json",
        selector: r#"{app="loki-json"}"#,
        send: loki_json,
        send_noise: noise!("/loki/api/v1/push", "application/json"),
        has_times: true,
        bytes: Bytes::Kept,
        long: Long::Cut,
    },
    Receiver {
        name: "loki-protobuf",
        selector: r#"{app="loki-protobuf"}"#,
        send: loki_protobuf,
        send_noise: noise!("/loki/api/v1/push", "application/x-protobuf"),
        has_times: true,
        bytes: Bytes::Kept,
        long: Long::Cut,
    },
    Receiver {
        name: "otlp-json",
        selector: r#"{service_name="otlp-json"}"#,
        send: otlp_json,
        send_noise: noise!("/v1/logs", "application/json"),
        has_times: true,
        bytes: Bytes::Refused,
        long: Long::Cut,
    },
    Receiver {
        name: "elastic",
        selector: r#"{index="elastic"}"#,
        send: elastic,
        send_noise: noise!("/elasticsearch/_bulk", "application/x-ndjson"),
        has_times: true,
        bytes: Bytes::Kept,
        long: Long::Cut,
    },
    Receiver {
        name: "json-lines",
        selector: r#"{app="json-lines"}"#,
        send: json_lines,
        send_noise: noise!("/insert/jsonline", "application/x-ndjson"),
        has_times: true,
        bytes: Bytes::Kept,
        long: Long::Cut,
    },
    Receiver {
        name: "journal",
        selector: r#"{job="journal"}"#,
        send: journal,
        send_noise: noise!("/upload", "application/vnd.fdo.journal"),
        has_times: true,
        bytes: Bytes::Kept,
        long: Long::Cut,
    },
    Receiver {
        name: "syslog-tcp",
        selector: r#"{app="syslog-tcp"}"#,
        send: syslog_tcp,
        send_noise: noise!("syslog over TCP"),
        has_times: true,
        bytes: Bytes::Kept,
        long: Long::Cut,
    },
    Receiver {
        name: "syslog-udp",
        selector: r#"{app="syslog-udp"}"#,
        send: syslog_udp,
        send_noise: |place| place.datagram("syslog over UDP", NOISE),
        has_times: true,
        bytes: Bytes::Kept,
        long: Long::Impossible,
    },
    Receiver {
        name: "fluent",
        selector: r#"{tag="fluent"}"#,
        send: fluent,
        send_noise: noise!("Fluentd's forward protocol over TCP"),
        has_times: true,
        bytes: Bytes::Kept,
        long: Long::Cut,
    },
    Receiver {
        name: "lumberjack",
        selector: r#"{service_name="lumberjack"}"#,
        send: lumberjack,
        send_noise: noise!("Lumberjack over TCP"),
        has_times: true,
        bytes: Bytes::Kept,
        long: Long::Cut,
    },
    Receiver {
        name: "gelf-tcp",
        selector: r#"{app="gelf-tcp"}"#,
        send: gelf_tcp,
        send_noise: noise!("GELF over TCP"),
        has_times: true,
        bytes: Bytes::Kept,
        long: Long::Cut,
    },
    Receiver {
        name: "gelf-udp",
        selector: r#"{app="gelf-udp"}"#,
        send: gelf_udp,
        send_noise: |place| place.datagram("GELF over UDP", NOISE),
        has_times: true,
        bytes: Bytes::Kept,
        long: Long::Impossible,
    },
    Receiver {
        name: "files",
        selector: r#"{job="files"}"#,
        send: file,
        send_noise: |_| None,
        has_times: false,
        bytes: Bytes::Kept,
        long: Long::Cut,
    },
];

/// Lines of `query` as the bytes that they stand for, once there are some.
fn stored(taffrail: &Taffrail, query: &str) -> Vec<(i128, Vec<u8>)> {
    eventually(query, 60, || {
        let path = format!(
            "GET /loki/api/v1/query_range?limit=100&start=0&query={}",
            testkit::url_encode(query)
        );
        let headers = [("X-Loki-Response-Encoding-Flags", "keep-bytes")];
        let answer = send(taffrail.address, &path, &headers, b"").unwrap();
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let mut rows = Vec::new();
        for stream in answer.json()["data"]["result"].as_array().unwrap() {
            for value in stream["values"].as_array().unwrap() {
                let bytes = model::bytes_of_text(value[1].as_str().unwrap()).into_owned();
                rows.push((value[0].as_str().unwrap().parse().unwrap(), bytes));
            }
        }
        (!rows.is_empty()).then_some(rows)
    })
}

#[test]
fn bad_input_is_kept_cut_or_refused_by_every_receiver() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    let sockets = ["syslog", "gelf"]
        .map(|name| format!("  {name}: {{tcp: '127.0.0.1:0', udp: '127.0.0.1:0'}}\n"));
    let config = quiet_config(&format!(
        "host: {{enabled: false}}\nreceive:\n{}  fluent: {{tcp: '127.0.0.1:0'}}\n  beats: {{tcp: '127.0.0.1:0'}}\nfiles:\n- paths: ['{}/*.log']\n  labels: {{job: files}}\n",
        sockets.concat(),
        dir.path().join("logs").display()
    ));
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &Options { config, ..Options::default() });
    let place = Place { taffrail: &taffrail, dir: dir.path() };
    let failed = std::thread::scope(|scope| {
        let check = |receiver| {
            scope.spawn({
                let place = &place;
                move || check(place, receiver)
            })
        };
        let all: Vec<_> = RECEIVERS.iter().map(|r| (r.name, check(r))).collect();
        let failed = all.into_iter().filter_map(|(name, thread)| thread.join().err().map(|_| name));
        failed.collect::<Vec<_>>()
    });
    assert_eq!(failed, [""; 0], "receivers; what failed stands above");
    // What is sent as noise.
    taffrail.assert_quiet(&["reason=\"protocol\""]);
}

fn check(place: &Place<'_>, receiver: &Receiver) {
    let now = now_ns();
    let Receiver { name, selector, .. } = *receiver;
    let of = |what: &str| format!("{selector} |= `{what}-{name}`");
    let put = |what: &str, line: &[u8], t_ns: i128| {
        let line = join(&[format!("{what}-{name} ").as_bytes(), line]);
        ((receiver.send)(place, &line, t_ns), line)
    };
    let is_stored = |status: Option<u16>| status.is_none_or(|s| (200..300).contains(&s));

    // Noise is refused, and what comes after it is not.
    let status = (receiver.send_noise)(place);
    assert!(status.is_none_or(|s| s == 400), "{name}: {status:?}");
    let (status, line) = put("good", b"line", now);
    assert!(is_stored(status), "{name}: {status:?}");
    assert_eq!(stored(place.taffrail, &of("good"))[0].1, line, "{name}");

    let (status, line) = put("bytes", BYTES, now);
    match receiver.bytes {
        Bytes::Kept => {
            assert!(is_stored(status), "{name}: {status:?}");
            assert_eq!(stored(place.taffrail, &of("bytes"))[0].1, line, "{name}");
        }
        Bytes::Refused => {
            assert_eq!(status, Some(400), "{name}");
            // NUL is text.
            let (status, line) = put("nul", b"a\0b", now);
            assert!(is_stored(status), "{name}: {status:?}");
            assert_eq!(stored(place.taffrail, &of("nul"))[0].1, line, "{name}");
        }
    }

    if receiver.long == Long::Cut {
        let (status, line) = put("long", &b"x".repeat(300 << 10), now);
        assert!(is_stored(status), "{name}: {status:?}");
        let (_, kept) = stored(place.taffrail, &of("long")).remove(0);
        let mark = kept.iter().position(|b| !line.contains(b)).unwrap();
        assert!(mark.abs_diff(LINE_BYTES_MAX) < 100, "{name}: {mark}");
        assert_eq!(kept[..mark], line[..mark], "{name}");
        let text = String::from_utf8_lossy(&kept[mark..]);
        assert!(text.contains("truncated") && text.len() < 100, "{name}: {text}");
    }

    // What cannot be, is stored with the time of its arrival, and says what was sent.
    // To OTLP 0 is no time at all, and it has none before 1970.
    let is_otlp = name == "otlp-json";
    let (epoch_ns, before_ns) = if is_otlp { (1, 1) } else { (0, -DAY_NS) };
    let wrong = [("epoch", epoch_ns), ("future", now + 400 * DAY_NS), ("negative", before_ns)];
    for (what, t_ns) in wrong.into_iter().filter(|_| receiver.has_times) {
        let (status, line) = put(what, b"time", t_ns);
        assert!(is_stored(status), "{name}: {what}: {status:?}");
        let query = format!("{} | original_timestamp != ``", of(what));
        let (stored_ns, kept) = stored(place.taffrail, &query).remove(0);
        assert_eq!(kept, line, "{name}: {what}");
        assert!((now - DAY_NS..now + DAY_NS).contains(&stored_ns), "{name}: {what}: {stored_ns}");
    }
}

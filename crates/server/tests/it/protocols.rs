//! Protocols with acknowledgements, and GELF, over their own sockets; journal entries over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use ingest::lumberjack::acknowledgement;
use ingest::messagepack::Writer;
use model::ErrorKind;
use server::receive::sockets::{Addresses, Sockets};
use server::receive::{beats, fluent, gelf};
use server::router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::ask;
use crate::sockets::{House, SOON, exchange, local, until_end};

async fn bind(addresses: Addresses) -> (Sockets, Addresses) {
    let sockets = Sockets::bind(&addresses, None).await.unwrap();
    let addresses = sockets.addresses();
    (sockets, addresses)
}

async fn beats_house() -> (House, SocketAddr) {
    let house = House::new();
    let (sockets, addresses) = bind(Addresses { tcp: local(), ..Addresses::default() }).await;
    tokio::spawn(beats::serve(sockets, house.app.clone(), house.stop.clone()));
    (house, addresses.tcp.unwrap())
}

fn window(events: &[&str]) -> Vec<u8> {
    let mut frames = [&b"2W"[..], &(events.len() as u32).to_be_bytes()].concat();
    for (number, json) in (1_u32..).zip(events) {
        frames.extend_from_slice(b"2J");
        frames.extend_from_slice(&number.to_be_bytes());
        frames.extend_from_slice(&(json.len() as u32).to_be_bytes());
        frames.extend_from_slice(json.as_bytes());
    }
    frames
}

async fn answer<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut answer = [0; N];
    tokio::time::timeout(SOON, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn beats_are_acknowledged_once_they_are_stored() {
    let (mut house, address) = beats_house().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    house.fail(&[ErrorKind::Busy]);
    let events = [
        r#"{"@timestamp":"2015-07-01T20:11:00Z","message":"one","host":{"name":"h"}}"#,
        "broken",
        r#"{"message":"two"}"#,
    ];
    stream.write_all(&window(&events)).await.unwrap();
    // The last of a window; those before may come by themselves.
    while answer::<6>(&mut stream).await[..] != acknowledgement(3) {}
    let stored = house.stored(2).await;
    assert_eq!(stored[0], r#"beats {host_name="h", job="beats"} +0 one"#);
    assert_eq!(stored[1], r#"beats {job="beats"} +0 two"#);
    stream.write_all(&window(&[r#"{"message":"three"}"#])).await.unwrap();
    assert_eq!(answer::<6>(&mut stream).await[..], acknowledgement(1));
    assert_eq!(house.stored(1).await[0], r#"beats {job="beats"} +0 three"#);

    // Windows that come together are waited for one by one.
    let numbered: Vec<String> = (0..7).map(|n| format!(r#"{{"message":"{n}"}}"#)).collect();
    let numbered: Vec<&str> = numbered.iter().map(String::as_str).collect();
    let both = [window(&numbered[..5]), window(&numbered[5..])].concat();
    stream.write_all(&both).await.unwrap();
    for count in [5, 2] {
        let mut number = 0;
        while number < count {
            let frame = answer::<6>(&mut stream).await;
            number = u32::from_be_bytes(frame[2..].try_into().unwrap());
        }
        assert_eq!(number, count);
    }
    house.stored(7).await;

    let mut stranger = TcpStream::connect(address).await.unwrap();
    assert!(exchange(&mut stranger, b"GET / HTTP/1.1\r\n\r\n").await.is_empty());
    let ended = "taffrail_receive_ended_connections_total{receiver=\"beats\",reason=\"protocol\"}";
    assert_eq!(house.figure(ended).await, "1");
    assert!(house.is_quiet());
}

fn event(message: &str, chunk: Option<&str>) -> Vec<u8> {
    let mut event = Writer::default().array(3 + u8::from(chunk.is_some())).text(b"tag").finish();
    // 2015-07-01T20:11:00Z
    event.extend_from_slice(b"\xce\x55\x94\x49\x54");
    event.extend(Writer::default().map(1).text(b"log").text(message.as_bytes()).finish());
    if let Some(chunk) = chunk {
        event.extend(Writer::default().map(1).text(b"chunk").text(chunk.as_bytes()).finish());
    }
    event
}

async fn fluent_house(key: Option<&str>) -> (House, Addresses) {
    let house = House::new();
    let (sockets, addresses) =
        bind(Addresses { tcp: local(), udp: local(), ..Addresses::default() }).await;
    let secret =
        key.map(|key| fluent::Secret { shared_key: Arc::from(key), host_name: Arc::from("box") });
    tokio::spawn(fluent::serve(sockets, secret, house.app.clone(), house.stop.clone()));
    (house, addresses)
}

#[tokio::test]
async fn fluent_chunks_are_acknowledged_once_they_are_stored() {
    let (mut house, addresses) = fluent_house(None).await;
    let mut stream = TcpStream::connect(addresses.tcp.unwrap()).await.unwrap();
    house.fail(&[ErrorKind::Io]);
    let events = [event("one", None), event("two", Some("c"))].concat();
    // In pieces, as the network has it.
    let (head, tail) = events.split_at(events.len() / 2 + 3);
    stream.write_all(head).await.unwrap();
    stream.write_all(tail).await.unwrap();
    let expected = ingest::fluent::acknowledgement(b"c");
    let mut acknowledged = vec![0; expected.len()];
    tokio::time::timeout(SOON, stream.read_exact(&mut acknowledged)).await.unwrap().unwrap();
    assert_eq!(acknowledged, expected);
    let stored = house.stored(2).await;
    assert_eq!(stored[0], r#"fluent {job="fluent", tag="tag"} +0 one"#);
    assert_eq!(stored[1], r#"fluent {job="fluent", tag="tag"} +0 two"#);
    // What comes before a mistake is stored, what comes after it is not read.
    let events = [event("three", None), b"\x92\x01\x01".to_vec(), event("four", None)].concat();
    assert!(exchange(&mut stream, &events).await.is_empty());
    assert_eq!(house.stored(1).await[0], r#"fluent {job="fluent", tag="tag"} +0 three"#);
    assert!(house.is_quiet());

    let heart = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    heart.send_to(&[0], addresses.udp.unwrap()).await.unwrap();
    let mut beat = [1; 8];
    let (len, _) = tokio::time::timeout(SOON, heart.recv_from(&mut beat)).await.unwrap().unwrap();
    assert_eq!(beat[..len], [0]);
}

/// SHA-512 of `parts`, hexadecimal.
fn digest(parts: &[&[u8]]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA512, &parts.concat());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn fluent_senders_show_that_they_know_the_key() {
    let (mut house, addresses) = fluent_house(Some("secret")).await;
    let shake = async |key: &[u8]| {
        let mut stream = TcpStream::connect(addresses.tcp.unwrap()).await.unwrap();
        // The greeting: texts of five bytes of head, "HELO", "nonce", 16 bytes, "auth", "", "keepalive", true.
        let mut hello = vec![0; ingest::fluent::hello(&[0; 16]).len()];
        stream.read_exact(&mut hello).await.unwrap();
        let at = hello.windows(5).position(|w| w == b"nonce").unwrap() + 5 + 5;
        let nonce = &hello[at..at + 16];
        let shown = digest(&[b"salt", b"me", nonce, key]);
        let ping = Writer::default().array(6).text(b"PING").text(b"me").text(b"salt");
        let ping = ping.text(shown.as_bytes()).text(b"").text(b"").finish();
        stream.write_all(&ping).await.unwrap();
        (stream, digest(&[b"salt", b"box", nonce, key]))
    };
    let (mut stream, ours) = shake(b"secret").await;
    let expected = ingest::fluent::pong(Ok(ours.as_bytes()), b"box");
    let mut pong = vec![0; expected.len()];
    tokio::time::timeout(SOON, stream.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(pong, expected);
    exchange(&mut stream, &event("inside", None)).await;
    assert!(house.stored(1).await[0].contains(" inside"));

    let (mut stream, _) = shake(b"guess").await;
    let pong = until_end(&mut stream).await;
    assert_eq!(pong, ingest::fluent::pong(Err("shared key mismatch"), b"box"));
    // Events without a word before them.
    let mut stream = TcpStream::connect(addresses.tcp.unwrap()).await.unwrap();
    exchange(&mut stream, &event("outside", None)).await;
    assert!(house.is_quiet());
}

#[tokio::test]
async fn gelf_comes_in_chunks_and_over_connections() {
    let mut house = House::new();
    let (sockets, addresses) =
        bind(Addresses { tcp: local(), udp: local(), ..Addresses::default() }).await;
    let store = gelf::to_store(&house.app, &house.stop);
    let (receivers, clock) = (house.app.receivers().clone(), house.clock.clone());
    tokio::spawn(gelf::serve(sockets, store, receivers, clock, house.stop.clone()));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = addresses.udp.unwrap();
    let message = |text: &str| {
        format!(
            r#"{{"version":"1.1","host":"h","short_message":"{text}","timestamp":1435781460,"level":4,"_a":"b"}}"#
        )
    };
    let whole = message("in chunks");
    let (head, tail) = whole.as_bytes().split_at(20);
    for (number, part) in [(1, tail), (0, head)] {
        let chunk = [&b"\x1e\x0f12345678"[..], &[number, 2], part].concat();
        socket.send_to(&chunk, address).await.unwrap();
    }
    let fields = r#"{a="b", level="warn", severity="warning"}"#;
    assert_eq!(
        house.stored(1).await[0],
        format!(r#"gelf {{host="h", job="gelf"}} +0 in chunks {fields}"#)
    );
    socket.send_to(b"\x1e\x0f1", address).await.unwrap();
    socket.send_to(message("whole").as_bytes(), address).await.unwrap();
    assert!(house.stored(1).await[0].contains(" whole "));
    let lost = "taffrail_receive_lost_datagrams_total{receiver=\"gelf\",reason=\"chunk\"}";
    assert_eq!(house.figure(lost).await, "1");

    let mut stream = TcpStream::connect(addresses.tcp.unwrap()).await.unwrap();
    let messages = format!("{}\0broken\0{}", message("one"), message("two"));
    exchange(&mut stream, messages.as_bytes()).await;
    let stored = house.stored(2).await;
    assert!(stored[0].contains(" one ") && stored[1].contains(" two "), "{stored:?}");
    let too_long = vec![b' '; (1 << 20) + 2];
    let mut stream = TcpStream::connect(addresses.tcp.unwrap()).await.unwrap();
    // It is closed on while it still sends.
    let _closed = stream.write_all(&too_long).await;
    until_end(&mut stream).await;
    let ended = "taffrail_receive_ended_connections_total{receiver=\"gelf\",reason=\"limit\"}";
    assert_eq!(house.figure(ended).await, "1");
    assert!(house.is_quiet());
}

#[tokio::test]
async fn journal_entries_are_uploaded() {
    let mut house = House::new();
    let send = async |path: &str, headers: &[(&str, &str)], body: Vec<u8>| {
        let mut request = Request::post(path).header("host", "localhost:7245");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (status, _, body) = ask(&router(&house.app), request.body(body.into()).unwrap()).await;
        (status.as_u16(), body)
    };
    const TYPE: (&str, &str) = ("content-type", "application/vnd.fdo.journal");
    let entry = b"__CURSOR=a\n__REALTIME_TIMESTAMP=1435781460000000\n_HOSTNAME=h\n_COMM=c\nPRIORITY=6\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n\n";
    for path in ["/upload", "/insert/journald/upload"] {
        assert_eq!(send(path, &[TYPE], entry.to_vec()).await, (202, "OK.\n".to_owned()));
    }
    let (status, why) = send("/upload", &[TYPE], b"A=1\n b\n".to_vec()).await;
    assert_eq!(status, 400);
    assert!(why.contains("not journal entries in the export format"), "{why}");
    let (status, why) = send("/upload", &[("content-type", "text/plain")], Vec::new()).await;
    assert_eq!(
        (status, why.as_str()),
        (415, "content type \"text/plain\" is not application/vnd.fdo.journal\n")
    );
    let (status, _) = send("/upload", &[TYPE, ("content-encoding", "xz")], Vec::new()).await;
    assert_eq!(status, 415);
    house.fail(&[ErrorKind::Busy]);
    assert_eq!(send("/upload", &[TYPE], entry.to_vec()).await.0, 503);
    let expected =
        "journal {app=\"c\", host=\"h\", job=\"journal\"} +0 a\nb {PRIORITY=\"6\", level=\"info\"}";
    assert_eq!(house.stored(2).await, [expected; 2]);
    assert!(house.is_quiet());
}

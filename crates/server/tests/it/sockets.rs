//! Receivers with sockets of their own: what reaches the store over them, and what happens when it is slow.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ingest::syslog::Format;
use model::{
    Clock, Done, Error, ErrorKind, LogBatch, ManualClock, MetricBatch, Receipt, Result, Sink,
};
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use server::receive::sockets::{Addresses, Sockets, certificate};
use server::receive::syslog;
use server::{App, router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ask;
use crate::table::{Files, NOW_MS, app_over, open_access};

/// Longest wait for something that is to happen.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A sink that hands on what it stores; first it fails as often as it was told to.
pub(crate) struct Told {
    batches: mpsc::UnboundedSender<LogBatch>,
    failures: Mutex<VecDeque<ErrorKind>>,
}

impl Sink for Told {
    fn append_metrics(&self, _batch: MetricBatch, done: Done) {
        done.call(Ok(Receipt::default()));
    }

    fn append_logs(&self, batch: LogBatch, done: Done) {
        if let Some(kind) = self.failures.lock().pop_front() {
            return done.call(Err(Error::new(kind, "told to fail")));
        }
        let stored = batch.rows.len() as u64;
        self.batches.send(batch).expect("BUG: the test listens");
        done.call(Ok(Receipt { stored, rejected: Vec::new() }));
    }

    fn cursor(&self, _source: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// An application whose stored lines can be waited for.
pub(crate) struct House {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: CancellationToken,
    sink: Arc<Told>,
    batches: mpsc::UnboundedReceiver<LogBatch>,
    waiting: VecDeque<String>,
}

impl House {
    pub(crate) fn new() -> Self {
        let (sender, batches) = mpsc::unbounded_channel();
        let sink = Arc::new(Told { batches: sender, failures: Mutex::default() });
        let (app, _) = app_over(open_access(), sink.clone(), Arc::new(Files::default()));
        let clock = Arc::new(ManualClock::at_ms(NOW_MS));
        let stop = CancellationToken::new();
        Self { app, clock, stop, sink, batches, waiting: VecDeque::new() }
    }

    /// Has the sink fail before it stores again.
    pub(crate) fn fail(&self, kinds: &[ErrorKind]) {
        self.sink.failures.lock().extend(kinds);
    }

    /// The next `count` lines as `source {labels} time line {fields}`.
    pub(crate) async fn stored(&mut self, count: usize) -> Vec<String> {
        while self.waiting.len() < count {
            let batch = tokio::time::timeout(SOON, self.batches.recv()).await;
            let batch =
                batch.expect("BUG: nothing was stored in time").expect("BUG: the sink lives");
            for row in batch.rows.iter() {
                let fields =
                    if row.fields.is_empty() { String::new() } else { format!(" {}", row.fields) };
                let stream = row.stream.without("service_name");
                let at_ns = row.t_ns - NOW_MS * 1_000_000;
                self.waiting
                    .push_back(format!("{} {stream} {at_ns:+} {}{fields}", batch.source, row.line));
            }
        }
        self.waiting.drain(..count).collect()
    }

    /// Whether nothing more was stored.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.waiting.is_empty() && self.batches.try_recv().is_err()
    }

    pub(crate) async fn figure(&self, line: &str) -> String {
        let request = http::Request::builder().uri("/metrics").header("host", "localhost:7245");
        let request = request.body(axum::body::Body::empty()).unwrap();
        let (_, _, body) = ask(&router(&self.app), request).await;
        let found = body.lines().find_map(|l| l.strip_prefix(line)).unwrap_or("none");
        found.trim().to_owned()
    }
}

pub(crate) fn local() -> Option<SocketAddr> {
    Some(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Sends `bytes`, ends, and returns what was answered until the other side ended.
pub(crate) async fn exchange(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    bytes: &[u8],
) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    until_end(stream).await
}

pub(crate) async fn until_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset is an end.
    let _ended = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
    answer
}

async fn syslog_house(
    options: syslog::Options,
    addresses: Addresses,
) -> (House, Addresses, CertificateDer<'static>) {
    let house = House::new();
    let key = KeyPair::generate().unwrap();
    let shown = CertificateParams::new(["box".to_owned()]).unwrap().self_signed(&key).unwrap();
    let tls = certificate(shown.pem().as_bytes(), key.serialize_pem().as_bytes(), None).unwrap();
    let sockets = Sockets::bind(&addresses, Some(tls)).await.unwrap();
    let addresses = sockets.addresses();
    let store = syslog::to_store(&house.app, &house.stop);
    tokio::spawn(syslog::serve(
        sockets,
        options,
        store,
        house.app.receivers().clone(),
        house.clock.clone(),
        house.stop.clone(),
    ));
    (house, addresses, shown.der().clone())
}

#[tokio::test]
async fn syslog_comes_over_tcp_tls_and_in_datagrams() {
    let all = Addresses { tcp: local(), tls: local(), udp: local() };
    let (mut house, addresses, shown) = syslog_house(syslog::Options::default(), all).await;
    let mut stream = TcpStream::connect(addresses.tcp.unwrap()).await.unwrap();
    let frames =
        b"40 <11>1 2015-07-01T20:11:00Z h a 7 M - one<13>two\n<14>Jul  1 20:11:00 h b[1]: three";
    assert!(exchange(&mut stream, frames).await.is_empty());
    assert_eq!(
        house.stored(3).await,
        [
            r#"syslog {app="a", host="h", job="syslog"} +0 one {facility="user", level="error", msg_id="M", proc_id="7", severity="error"}"#,
            r#"syslog {host="127.0.0.1", job="syslog"} +0 two {facility="user", level="info", severity="notice"}"#,
            r#"syslog {app="b", host="h", job="syslog"} +0 three {facility="user", level="info", proc_id="1", severity="informational"}"#,
        ]
    );

    let mut roots = rustls::RootCertStore::empty();
    roots.add(shown).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = TcpStream::connect(addresses.tls.unwrap()).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("box").unwrap(), stream).await.unwrap();
    exchange(&mut stream, b"<13>by tls\n").await;
    assert!(house.stored(1).await[0].contains(" by tls "));

    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(b"<13>a datagram\n", addresses.udp.unwrap()).await.unwrap();
    socket.send_to(b"\xff\0x", addresses.udp.unwrap()).await.unwrap();
    let stored = house.stored(2).await;
    assert!(stored[0].contains(" a datagram "), "{stored:?}");
    assert!(stored[1].ends_with("\u{efff}\0x"), "{stored:?}");
    assert_eq!(
        house.figure("taffrail_receive_kernel_dropped_datagrams_total{receiver=\"syslog\"}").await,
        "0"
    );
    assert_eq!(house.figure("taffrail_receive_connections_total{receiver=\"syslog\"}").await, "2");
    assert_eq!(
        house
            .figure("taffrail_receive_corrected_times_total{receiver=\"syslog\",reason=\"absent\"}")
            .await,
        "4"
    );

    let mut stranger = TcpStream::connect(addresses.tls.unwrap()).await.unwrap();
    exchange(&mut stranger, b"<13>in the clear\n").await;
    let refused = "taffrail_receive_ended_connections_total{receiver=\"syslog\",reason=\"tls\"}";
    assert_eq!(house.figure(refused).await, "1");
    assert!(house.is_quiet());
}

#[tokio::test]
async fn syslog_senders_wait_for_a_store_that_fails() {
    let tcp = Addresses { tcp: local(), ..Addresses::default() };
    let (mut house, addresses, _) = syslog_house(syslog::Options::default(), tcp).await;
    house.fail(&[ErrorKind::Busy, ErrorKind::Io]);
    let mut stream = TcpStream::connect(addresses.tcp.unwrap()).await.unwrap();
    // Ends only when the lines are stored.
    exchange(&mut stream, b"<13>one\n<13>two\n").await;
    let stored = house.stored(2).await;
    assert!(stored[0].contains(" one ") && stored[1].contains(" two "), "{stored:?}");
    assert!(house.is_quiet());
}

#[tokio::test]
async fn syslog_bounds_messages_and_silence() {
    let options = syslog::Options {
        message_bytes_max: 20,
        idle_max: Duration::from_millis(50),
        ..syslog::Options::default()
    };
    let tcp = Addresses { tcp: local(), ..Addresses::default() };
    let (mut house, addresses, _) = syslog_house(options, tcp).await;
    let mut stream = TcpStream::connect(addresses.tcp.unwrap()).await.unwrap();
    let long = ["<13>", &"x".repeat(100_000), "\n<13>y\n"].concat();
    stream.write_all(long.as_bytes()).await.unwrap();
    let stored = house.stored(2).await;
    assert!(stored[0].contains(" xxxxxxxxxxxxxxxx…[truncated] {"), "{stored:?}");
    assert!(stored[1].contains(" y {"), "{stored:?}");
    assert!(until_end(&mut stream).await.is_empty());
    assert_eq!(house.figure("taffrail_receive_cut_messages_total{receiver=\"syslog\"}").await, "1");
    let idle = "taffrail_receive_ended_connections_total{receiver=\"syslog\",reason=\"idle\"}";
    assert_eq!(house.figure(idle).await, "1");
}

#[tokio::test]
async fn a_stop_ends_connections_once_their_lines_are_stored() {
    let tcp = Addresses { tcp: local(), ..Addresses::default() };
    let (mut house, addresses, _) = syslog_house(syslog::Options::default(), tcp).await;
    let mut stream = TcpStream::connect(addresses.tcp.unwrap()).await.unwrap();
    stream.write_all(b"<13>one\n").await.unwrap();
    house.stored(1).await;
    house.stop.cancel();
    assert!(until_end(&mut stream).await.is_empty());
    assert!(house.is_quiet());
}

/// A destination of one's own, as jobs of other programs' configuration have it.
#[tokio::test]
async fn syslog_goes_where_it_is_wanted() {
    struct Wanted(mpsc::UnboundedSender<(SocketAddr, Format, String)>);
    impl syslog::Destination for Wanted {
        fn take(&self, received: &[syslog::Received<'_>]) -> syslog::Delivered {
            for one in received {
                self.0.send((one.peer, one.message.format, one.raw.to_owned())).unwrap();
            }
            Box::pin(std::future::ready(Ok(())))
        }
    }
    let house = House::new();
    let addresses = Addresses { tcp: local(), ..Addresses::default() };
    let sockets = Sockets::bind(&addresses, None).await.unwrap();
    let address = sockets.addresses().tcp.unwrap();
    let (sender, mut received) = mpsc::unbounded_channel();
    tokio::spawn(syslog::serve(
        sockets,
        syslog::Options::default(),
        Arc::new(Wanted(sender)),
        house.app.receivers().clone(),
        house.clock.clone(),
        house.stop.clone(),
    ));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let peer = stream.local_addr().unwrap();
    exchange(&mut stream, b"<13>1 - - - - - - x\n").await;
    assert_eq!(
        received.recv().await,
        Some((peer, Format::Rfc5424, "<13>1 - - - - - - x".to_owned()))
    );
    let Err(error) = Sockets::bind(&Addresses { tls: local(), ..Addresses::default() }, None).await
    else {
        panic!("bound without a certificate")
    };
    assert!(error.message().contains("needs a certificate"), "{error}");
}

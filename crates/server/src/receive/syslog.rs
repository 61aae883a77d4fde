//! Syslog: over TCP with both framings, by TLS, and in datagrams.
//!
//! Owns: the listener, for whoever wants its messages ([`Destination`]), and the destination that stores them. Does not own:
//! messages and frames (`ingest::syslog`), connections and datagrams as such.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ingest::pushed_lines::Lines;
use ingest::syslog::{Frames, Message, Missing, Reader};
use jiff::tz::TimeZone;
use model::{Clock, ErrorKind, Result, text_of_bytes};
use tokio_util::sync::CancellationToken;

use super::connections::{self, Conversation, Desk, Step};
use super::datagrams::{self, Datagram, Taker};
pub use super::delivery::Delivered;
use super::delivery::{self, Delivery};
use super::sockets::{Sockets, spell};
use super::{Receivers, lines};
use crate::App;

const SOURCE: &str = "syslog";
/// Messages handed over together, of a connection.
const BATCH_MAX: usize = 4_096;

/// A message, and who sent it.
#[derive(Debug)]
pub struct Received<'a> {
    /// The address it came from.
    pub peer: SocketAddr,
    /// What it says.
    pub message: Message<'a>,
    /// All of it, as it came.
    pub raw: &'a str,
}

/// Where messages go.
pub trait Destination: Send + Sync + 'static {
    /// Takes messages in the order they came; called off the runtime's workers, so it may block for a moment. Nothing more
    /// is read from their connection until what it returns is ready: once they are durable. After an error the connection is
    /// closed; messages the destination has then lost it has counted.
    fn take(&self, received: &[Received<'_>]) -> Delivered;
}

/// How a listener behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of one message; longer ones are cut there.
    pub message_bytes_max: usize,
    /// A connection on which nothing comes for so long is closed.
    pub idle_max: Duration,
    /// The zone of times that have none.
    pub zone: TimeZone,
}

impl Default for Options {
    /// Messages of four times the longest line that is stored; connections may be silent for an hour, as senders do not
    /// notice that theirs was closed before they have lost a message.
    fn default() -> Self {
        Self {
            message_bytes_max: 1 << 20,
            idle_max: Duration::from_secs(3_600),
            zone: TimeZone::UTC,
        }
    }
}

/// Listens on `sockets` until `stop` and gives all messages to `destination`.
pub async fn serve(
    mut sockets: Sockets,
    options: Options,
    destination: Arc<dyn Destination>,
    receivers: Arc<Receivers>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let desk = Desk { receiver: SOURCE, receivers, idle_max: options.idle_max };
    let hall = Hall { desk: desk.clone(), options, destination, clock };
    let udp = sockets.udp.take();
    let by_datagrams = async {
        let Some(socket) = udp else { return };
        datagrams::serve(socket, desk.clone(), stop.clone(), Box::new(hall.clone())).await;
    };
    let hall = hall.clone();
    let by_connections = connections::serve(sockets, desk.clone(), stop.clone(), move |peer| {
        let frames = Frames::new(hall.options.message_bytes_max);
        Box::new(Connection { hall: hall.clone(), peer, frames })
    });
    tokio::join!(by_datagrams, by_connections);
}

/// What a listener's connections and datagrams share.
#[derive(Clone)]
struct Hall {
    desk: Desk,
    options: Options,
    destination: Arc<dyn Destination>,
    clock: Arc<dyn Clock>,
}

impl Hall {
    fn take(&self, texts: &[(SocketAddr, Cow<'_, str>)]) -> Delivered {
        if texts.is_empty() {
            return delivery::nothing();
        }
        let reader = Reader::new(self.options.zone.clone(), self.clock.now_ms());
        let received: Vec<Received<'_>> = texts
            .iter()
            .map(|(peer, raw)| Received { peer: *peer, message: reader.read(raw), raw })
            .collect();
        self.destination.take(&received)
    }
}

struct Connection {
    hall: Hall,
    peer: SocketAddr,
    frames: Frames,
}

impl Conversation for Connection {
    fn read(&mut self, bytes: &[u8], ended: bool) -> Result<Step> {
        let (mut used, mut texts, mut cut) = (0, Vec::new(), 0);
        while texts.len() < BATCH_MAX
            && let Some(frame) = self.frames.next(bytes, &mut used, ended)
        {
            let mut text = text_of_bytes(frame.bytes);
            if frame.missing != Missing::Nothing {
                cut += 1;
                text.to_mut().push_str(&frame.missing.mark());
            }
            texts.push((self.peer, text));
        }
        if cut > 0 {
            self.hall.desk.receivers.lines.count("cut", SOURCE, "", cut);
        }
        let delivered = Some(self.hall.take(&texts));
        Ok(Step { used, delivered, ..Step::default() })
    }

    fn frame_bytes_max(&self) -> usize {
        // A count stands before the message.
        self.hall.options.message_bytes_max + 16
    }
}

impl Taker for Hall {
    fn take(&mut self, datagrams: &[Datagram]) -> Result<Delivered> {
        let texts: Vec<_> = datagrams.iter().map(|d| (d.peer, text_of_bytes(&d.bytes))).collect();
        Ok(Hall::take(self, &texts))
    }
}

/// The destination that stores messages, under the labels `job`, `host` and `app`.
pub fn to_store(app: &Arc<App>, stop: &CancellationToken) -> Arc<dyn Destination> {
    Arc::new(Stored { app: app.clone(), stop: stop.clone() })
}

struct Stored {
    app: Arc<App>,
    stop: CancellationToken,
}

impl Destination for Stored {
    fn take(&self, received: &[Received<'_>]) -> Delivered {
        let receivers = &self.app.receivers;
        let limits = lines::limits(&receivers.limits);
        let mut lines = Lines::new(&limits, self.app.clock.now_ms());
        for Received { peer, message, .. } in received {
            let peer = spell(peer.ip());
            let added = ingest::syslog::add(message, &peer, &receivers.lines.streams, &mut lines);
            if let Err(error) = added {
                debug_assert_eq!(error.kind(), ErrorKind::Limit);
                lines.refused.add(1, error.message());
            }
        }
        Delivery::begin(&self.app, SOURCE, lines.finish()).insist(self.stop.clone())
    }
}

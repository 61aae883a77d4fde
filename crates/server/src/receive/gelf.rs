//! GELF: datagrams, whole and in chunks, and connections with NUL between messages.
//!
//! Owns: the listener, for whoever wants its messages ([`Destination`]), and the destination that stores them. Does not own:
//! messages and chunks (`ingest::gelf`), connections and datagrams as such.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ingest::document::Roles;
use ingest::gelf::{self, Chunks, Given};
use ingest::pushed_lines::Lines;
use model::{Clock, Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use super::connections::{self, Conversation, Desk, Step};
use super::datagrams::{self, Datagram, Taker};
pub use super::delivery::Delivered;
use super::delivery::Delivery;
use super::sockets::Sockets;
use super::{Receivers, lines};
use crate::App;

const SOURCE: &str = "gelf";
/// Messages handed over together, of a connection.
const BATCH_MAX: usize = 4_096;
/// Senders do not notice that their connection was closed before they have lost a message.
const IDLE_MAX: Duration = Duration::from_secs(3_600);
/// Bytes of one message; what chunks can hold.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of chunks that wait for others.
const CHUNKS_BYTES_MAX: usize = 8 << 20;

/// Where messages go.
pub trait Destination: Send + Sync + 'static {
    /// Begins a batch of messages, those of one connection or of datagrams in the order they came.
    fn begin(&self) -> Box<dyn Batch + '_>;
}

/// Messages on their way. It is filled off the runtime's workers, so it may block for a moment.
pub trait Batch {
    /// Adds a message, unpacked.
    fn add(&mut self, message: &[u8]);

    /// Counts a message that does not unpack.
    fn refuse(&mut self, error: &Error);

    /// Hands the messages over. Nothing more is read from their connection until what it returns is ready: once they are
    /// durable. After an error the connection is closed; messages that the destination has then lost it has counted.
    fn deliver(self: Box<Self>) -> Delivered;
}

/// Listens on `sockets` until `stop` and gives all messages to `destination`.
pub async fn serve(
    mut sockets: Sockets,
    destination: Arc<dyn Destination>,
    receivers: Arc<Receivers>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let message_bytes_max = receivers.limits.unpacked_bytes_max.min(MESSAGE_BYTES_MAX);
    let desk = Desk { receiver: SOURCE, receivers, idle_max: IDLE_MAX };
    let hall = Hall { destination, message_bytes_max };
    let udp = sockets.udp.take();
    let by_datagrams = async {
        let Some(socket) = udp else { return };
        let chunks = Chunks::new(CHUNKS_BYTES_MAX);
        let reassembly = Reassembly { hall: hall.clone(), desk: desk.clone(), clock, chunks };
        datagrams::serve(socket, desk.clone(), stop.clone(), Box::new(reassembly)).await;
    };
    let begin_hall = hall.clone();
    let by_connections =
        connections::serve(sockets, desk.clone(), stop.clone(), move |_: SocketAddr| {
            Box::new(Connection { hall: begin_hall.clone() })
        });
    tokio::join!(by_datagrams, by_connections);
}

/// What connections and datagrams share.
#[derive(Clone)]
struct Hall {
    destination: Arc<dyn Destination>,
    /// Bytes of an unpacked message.
    message_bytes_max: usize,
}

impl Hall {
    fn add(&self, message: &[u8], batch: &mut dyn Batch) {
        match gelf::unpack(message, self.message_bytes_max) {
            Ok(plain) => batch.add(&plain),
            Err(error) => batch.refuse(&error),
        }
    }
}

struct Connection {
    hall: Hall,
}

impl Conversation for Connection {
    fn read(&mut self, bytes: &[u8], ended: bool) -> Result<Step> {
        let (mut batch, mut used, mut count) = (self.hall.destination.begin(), 0, 0);
        while count < BATCH_MAX {
            let rest = bytes.get(used..).unwrap_or_default();
            let end = memchr::memchr(0, rest);
            if end.unwrap_or(rest.len()) > MESSAGE_BYTES_MAX {
                // What came before it is stored first.
                if count > 0 {
                    break;
                }
                let why = format!("message of more than {MESSAGE_BYTES_MAX} bytes");
                return Err(model::Error::new(ErrorKind::Limit, why));
            }
            let message = match end {
                Some(end) => &rest[..end],
                None if ended => rest,
                None => break,
            };
            used += message.len() + usize::from(end.is_some());
            let message = message.trim_ascii();
            if !message.is_empty() {
                count += 1;
                self.hall.add(message, &mut *batch);
            }
            if end.is_none() {
                break;
            }
        }
        let delivered = (count > 0).then(|| batch.deliver());
        Ok(Step { used, delivered, ..Step::default() })
    }

    fn frame_bytes_max(&self) -> usize {
        MESSAGE_BYTES_MAX + 1
    }
}

/// Datagrams become messages.
struct Reassembly {
    hall: Hall,
    desk: Desk,
    clock: Arc<dyn Clock>,
    chunks: Chunks,
}

impl Taker for Reassembly {
    fn take(&mut self, datagrams: &[Datagram]) -> Result<Delivered> {
        let now_ns = self.clock.monotonic_ns();
        let mut batch = self.hall.destination.begin();
        for Datagram { peer, bytes } in datagrams {
            match self.chunks.give(peer.ip(), bytes, now_ns) {
                Given::Whole(message) => self.hall.add(message, &mut *batch),
                Given::Complete(message) => self.hall.add(&message, &mut *batch),
                Given::Waiting => {}
                Given::Unusable => self.desk.lose("chunk", 1),
            }
        }
        let lost = self.chunks.take_lost();
        for (reason, count) in [("incomplete", lost.late), ("crowded", lost.crowded)] {
            if count > 0 {
                self.desk.lose(reason, count);
            }
        }
        Ok(batch.deliver())
    }

    fn rest(&mut self) {
        self.chunks.expire(self.clock.monotonic_ns());
        let late = self.chunks.take_lost().late;
        if late > 0 {
            self.desk.lose("incomplete", late);
        }
    }
}

/// The destination that stores messages, as `ingest::gelf` says.
pub fn to_store(app: &Arc<App>, stop: &CancellationToken) -> Arc<dyn Destination> {
    Arc::new(Stored { app: app.clone(), roles: gelf::roles(), stop: stop.clone() })
}

struct Stored {
    app: Arc<App>,
    roles: Roles,
    stop: CancellationToken,
}

impl Destination for Stored {
    fn begin(&self) -> Box<dyn Batch + '_> {
        let limits = lines::limits(&self.app.receivers.limits);
        Box::new(Storing { stored: self, lines: Lines::new(&limits, self.app.clock.now_ms()) })
    }
}

struct Storing<'a> {
    stored: &'a Stored,
    lines: Lines,
}

impl Batch for Storing<'_> {
    fn add(&mut self, message: &[u8]) {
        let streams = &self.stored.app.receivers.lines.streams;
        if let Err(error) = gelf::add(message, &self.stored.roles, streams, &mut self.lines) {
            self.refuse(&error);
        }
    }

    fn refuse(&mut self, error: &Error) {
        self.lines.refused.add(1, error.message());
    }

    fn deliver(self: Box<Self>) -> Delivered {
        let Self { stored, lines } = *self;
        Delivery::begin(&stored.app, SOURCE, lines.finish()).insist(stored.stop.clone())
    }
}

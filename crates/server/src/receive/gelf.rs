//! GELF: datagrams, whole and in chunks, and connections with NUL between messages.
//!
//! Does not own: messages and chunks (`ingest::gelf`), connections and datagrams as such.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ingest::document::Roles;
use ingest::gelf::{self, Chunks, Given};
use ingest::pushed_lines::Lines;
use model::{ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use super::connections::{self, Conversation, Desk, Step};
use super::datagrams::{self, Datagram, Taker};
use super::delivery::{Delivered, Delivery};
use super::lines;
use super::sockets::Sockets;
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

/// Listens on `sockets` until `stop`.
pub async fn serve(mut sockets: Sockets, app: Arc<App>, stop: CancellationToken) {
    let receivers = app.receivers.clone();
    let desk = Desk { receiver: SOURCE, receivers, idle_max: IDLE_MAX };
    let hall = Hall { app, roles: Arc::new(gelf::roles()), stop: stop.clone() };
    let udp = sockets.udp.take();
    let by_datagrams = async {
        let Some(socket) = udp else { return };
        let chunks = Chunks::new(CHUNKS_BYTES_MAX);
        let reassembly = Reassembly { hall: hall.clone(), desk: desk.clone(), chunks };
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
    app: Arc<App>,
    roles: Arc<Roles>,
    stop: CancellationToken,
}

impl Hall {
    fn lines(&self) -> Lines {
        let limits = lines::limits(&self.app.receivers.limits);
        Lines::new(&limits, self.app.clock.now_ms())
    }

    /// Adds a message, or refuses it alone.
    fn add(&self, message: &[u8], lines: &mut Lines) {
        let bytes_max = self.app.receivers.limits.unpacked_bytes_max.min(MESSAGE_BYTES_MAX);
        let streams = &self.app.receivers.lines.streams;
        let added = gelf::unpack(message, bytes_max)
            .and_then(|plain| gelf::add(&plain, &self.roles, streams, lines));
        if let Err(error) = added {
            lines.refused.add(1, error.message());
        }
    }

    fn deliver(&self, lines: Lines) -> Delivered {
        Delivery::begin(&self.app, SOURCE, lines.finish()).insist(self.stop.clone())
    }
}

struct Connection {
    hall: Hall,
}

impl Conversation for Connection {
    fn read(&mut self, bytes: &[u8], ended: bool) -> Result<Step> {
        let (mut lines, mut used, mut count) = (self.hall.lines(), 0, 0);
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
                self.hall.add(message, &mut lines);
            }
            if end.is_none() {
                break;
            }
        }
        let delivered = (count > 0).then(|| self.hall.deliver(lines));
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
    chunks: Chunks,
}

impl Taker for Reassembly {
    fn take(&mut self, datagrams: &[Datagram]) -> Result<Delivered> {
        let now_ns = self.hall.app.clock.monotonic_ns();
        let mut lines = self.hall.lines();
        for Datagram { peer, bytes } in datagrams {
            match self.chunks.give(peer.ip(), bytes, now_ns) {
                Given::Whole(message) => self.hall.add(message, &mut lines),
                Given::Complete(message) => self.hall.add(&message, &mut lines),
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
        Ok(self.hall.deliver(lines))
    }

    fn rest(&mut self) {
        self.chunks.expire(self.hall.app.clock.monotonic_ns());
        let late = self.chunks.take_lost().late;
        if late > 0 {
            self.desk.lose("incomplete", late);
        }
    }
}

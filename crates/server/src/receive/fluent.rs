//! Fluentd's forward protocol: Fluentd, Fluent Bit, Docker's `fluentd` driver, and their libraries.
//!
//! Owns: the handshake with a shared key, acknowledgements once events are durable, heartbeats in datagrams. Does not own:
//! messages (`ingest::fluent`), connections as such.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ingest::document::Roles;
use ingest::fluent::{self, Decoder};
use ingest::messagepack::Measure;
use ingest::pushed_lines::Lines;
use model::{Error, Result};
use ring::digest::{Context, SHA512};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::connections::{self, Conversation, Desk, Step};
use super::delivery::Delivery;
use super::lines;
use super::sockets::Sockets;
use crate::App;
use crate::access::equal_in_constant_time;

const SOURCE: &str = "fluent";
/// Lines handed over together, about.
const BATCH_MAX: usize = 4_096;
/// Senders come again when theirs was closed; those without acknowledgements may lose an event then.
const IDLE_MAX: Duration = Duration::from_secs(3_600);
const NONCE_BYTES: usize = 16;

/// The key that senders must know, and the name we give ourselves.
#[derive(Clone)]
pub struct Secret {
    /// The key.
    pub shared_key: Arc<str>,
    /// Our name.
    pub host_name: Arc<str>,
}

/// Listens on `sockets` until `stop`; with a secret only to those who know it.
pub async fn serve(
    mut sockets: Sockets,
    secret: Option<Secret>,
    app: Arc<App>,
    stop: CancellationToken,
) {
    let receivers = app.receivers.clone();
    let desk = Desk { receiver: SOURCE, receivers, idle_max: IDLE_MAX };
    let hearts = sockets.udp.take().map(|socket| beat(socket, stop.clone()));
    let hearts = async {
        if let Some(hearts) = hearts {
            hearts.await;
        }
    };
    let roles = Arc::new(fluent::roles());
    let token = stop.clone();
    let by_connections = connections::serve(sockets, desk, stop, move |_: SocketAddr| {
        let bytes_max = app.receivers.limits.body_bytes_max;
        Box::new(Connection {
            app: app.clone(),
            roles: roles.clone(),
            measure: Measure::new(bytes_max),
            bytes_max,
            handshake: secret.clone().map(Handshake::new),
            stop: token.clone(),
        })
    });
    tokio::join!(hearts, by_connections);
}

/// Answers heartbeats: each datagram with one byte, whatever it says.
async fn beat(socket: UdpSocket, stop: CancellationToken) {
    let mut buffer = [0; 64];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        if let Ok((_, peer)) = received {
            let _best_effort = socket.send_to(&[0], peer).await;
        }
    }
}

struct Connection {
    app: Arc<App>,
    roles: Arc<Roles>,
    /// Of the message that is arriving.
    measure: Measure,
    bytes_max: usize,
    /// Until the client has shown that it knows the key.
    handshake: Option<Handshake>,
    stop: CancellationToken,
}

impl Conversation for Connection {
    fn greeting(&mut self) -> Result<Vec<u8>> {
        match &mut self.handshake {
            Some(handshake) => handshake.hello(),
            None => Ok(Vec::new()),
        }
    }

    fn read(&mut self, bytes: &[u8], _ended: bool) -> Result<Step> {
        if let Some(handshake) = &self.handshake {
            let Some(end) = self.measure.end(bytes)? else { return Ok(Step::default()) };
            let message = bytes.get(..end).unwrap_or_default();
            let (at_once, ends) = handshake.answer(message)?;
            self.handshake = None;
            return Ok(Step { used: end, at_once, ends, ..Step::default() });
        }
        let receivers = &self.app.receivers;
        let limits = lines::limits(&receivers.limits);
        let mut lines = Lines::new(&limits, self.app.clock.now_ms());
        let unpacked_bytes_max = receivers.limits.unpacked_bytes_max;
        let decoder = Decoder::new(&self.roles, &receivers.lines.streams, unpacked_bytes_max);
        let (mut used, mut then) = (0, Vec::new());
        while lines.rows.len() < BATCH_MAX {
            let rest = bytes.get(used..).unwrap_or_default();
            let Some(end) = self.measure.end(rest)? else { break };
            match decoder.message(&rest[..end], &mut lines) {
                Ok(Some(chunk)) => then.extend_from_slice(&fluent::acknowledgement(chunk)),
                Ok(None) => {}
                Err(error) if used == 0 => return Err(error),
                // What came before it is stored first; then it is looked at again.
                Err(_) => break,
            }
            used += end;
        }
        let delivery = Delivery::begin(&self.app, SOURCE, lines.finish());
        let delivered = (used > 0).then(|| delivery.insist(self.stop.clone()));
        Ok(Step { used, delivered, then, ..Step::default() })
    }

    fn frame_bytes_max(&self) -> usize {
        self.bytes_max
    }
}

/// Our side of the handshake.
struct Handshake {
    secret: Secret,
    nonce: [u8; NONCE_BYTES],
}

impl Handshake {
    fn new(secret: Secret) -> Self {
        Self { secret, nonce: [0; NONCE_BYTES] }
    }

    fn hello(&mut self) -> Result<Vec<u8>> {
        let mut filled = 0;
        while filled < NONCE_BYTES {
            filled += rustix::rand::getrandom(
                &mut self.nonce[filled..],
                rustix::rand::GetRandomFlags::empty(),
            )
            .map_err(|e| Error::io("get random bytes", e.into()))?;
        }
        Ok(fluent::hello(&self.nonce))
    }

    /// The answer to the client's; to a client that does not know the key it is the last one.
    fn answer(&self, message: &[u8]) -> Result<(Vec<u8>, Option<Error>)> {
        let ping = fluent::ping(message)?;
        let key = self.secret.shared_key.as_bytes();
        let ours = self.secret.host_name.as_bytes();
        let expected = digest(&[ping.salt, ping.host, &self.nonce, key]);
        if !equal_in_constant_time(expected.as_bytes(), ping.digest) {
            let why = "shared key mismatch";
            return Ok((fluent::pong(Err(why), ours), Some(Error::invalid(why))));
        }
        let shown = digest(&[ping.salt, ours, &self.nonce, key]);
        Ok((fluent::pong(Ok(shown.as_bytes()), ours), None))
    }
}

/// SHA-512 of `parts`, hexadecimal.
fn digest(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA512);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

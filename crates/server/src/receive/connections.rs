//! Connections of the receivers that are not HTTP: read, take apart, wait for the store, answer.
//!
//! Owns: the loop that all of their protocols share, its memory and its time limits. Does not own: protocols
//! ([`Conversation`]).
//!
//! While the store is slow nothing is read, so the sender's kernel makes it wait. Bytes being read take their part of the
//! budget of all bodies; a connection that gets none is closed, and its sender comes again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::body::Held;
use super::delivery::Delivered;
use super::sockets::{Sockets, keep_alive};
use super::{Receivers, off_runtime};
use crate::listen;

/// Connections of one socket at the same time.
const CONNECTIONS_MAX: usize = 1_024;
/// Bytes read at once, at least and at most.
const READ_BYTES_MIN: usize = 16 << 10;
const READ_BYTES_MAX: usize = 256 << 10;
/// Time for a TLS handshake, and for the peer to take an answer.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// A sender that waits for the store is told that it is not forgotten, this often.
const PATIENCE_EVERY: Duration = Duration::from_secs(5);

/// What one look at the bytes of a connection came to.
#[derive(Default)]
pub(super) struct Step {
    /// Bytes that are done with; 0 when more are needed.
    pub(super) used: usize,
    /// To be written before waiting for the store.
    pub(super) at_once: Vec<u8>,
    /// What to wait for.
    pub(super) delivered: Option<Delivered>,
    /// To be written after that.
    pub(super) then: Vec<u8>,
    /// Why the connection is to be closed now.
    pub(super) ends: Option<Error>,
}

/// A protocol, seen from the server's end of one connection.
pub(super) trait Conversation: Send + 'static {
    /// What the server says first.
    fn greeting(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Takes what stands at the beginning of `bytes`, and hands its lines over; off the runtime's workers. With `ended`
    /// nothing follows.
    fn read(&mut self, bytes: &[u8], ended: bool) -> Result<Step>;

    /// What is sent now and then while the store takes its time.
    fn patience(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Bytes that may have to be there before any of them can be used.
    fn frame_bytes_max(&self) -> usize;
}

/// What all connections of a receiver share.
#[derive(Clone)]
pub(super) struct Desk {
    /// Names it in figures and logs.
    pub(super) receiver: &'static str,
    pub(super) receivers: Arc<Receivers>,
    /// A connection on which nothing comes for so long is closed.
    pub(super) idle_max: Duration,
}

/// Serves the connections of `sockets` until `stop`; `begin` makes the conversation with a peer.
pub(super) async fn serve(
    sockets: Sockets,
    desk: Desk,
    stop: CancellationToken,
    begin: impl Fn(SocketAddr) -> Box<dyn Conversation> + Send + Sync + 'static,
) {
    let begin = Arc::new(begin);
    let Sockets { tcp, tls, .. } = sockets;
    let plain = async {
        let Some(listener) = tcp else { return };
        listen::accept(listener, CONNECTIONS_MAX, stop.clone(), |stream, stop, cut| {
            let (desk, begin) = (desk.clone(), begin.clone());
            async move {
                let Ok(peer) = stream.peer_addr() else { return };
                keep_alive(&stream);
                until(cut, hold(stream, begin(peer), peer, &desk, stop)).await;
            }
        })
        .await;
    };
    let by_tls = async {
        let Some((listener, acceptor)) = tls else { return };
        listen::accept(listener, CONNECTIONS_MAX, stop.clone(), |stream, stop, cut| {
            let (desk, begin, acceptor) = (desk.clone(), begin.clone(), acceptor.clone());
            async move {
                let Ok(peer) = stream.peer_addr() else { return };
                keep_alive(&stream);
                match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        until(cut, hold(stream, begin(peer), peer, &desk, stop)).await;
                    }
                    Ok(Err(error)) => desk.end(peer, "tls", &error),
                    Err(_) => desk.end(peer, "tls", &"the handshake takes too long"),
                }
            }
        })
        .await;
    };
    tokio::join!(plain, by_tls);
}

async fn until(cut: CancellationToken, connection: impl Future<Output = ()>) {
    tokio::select! {
        () = connection => {}
        () = cut.cancelled() => {}
    }
}

impl Desk {
    /// Notes why a connection was ended by us.
    fn end(&self, peer: SocketAddr, reason: &'static str, why: &dyn std::fmt::Display) {
        let count = self.receivers.lines.count("ended", self.receiver, reason, 1);
        let receiver = self.receiver;
        // The first of a kind is worth a look; a sender that comes again and again is seen in the figures.
        if count == 1 {
            tracing::warn!(receiver, %peer, reason, "connection closed: {why}");
        } else {
            tracing::debug!(receiver, %peer, reason, "connection closed: {why}");
        }
    }
}

/// Why a connection ends before its peer ends it.
struct Ended {
    reason: &'static str,
    why: String,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::Busy | ErrorKind::Io => "store",
            ErrorKind::Limit => "limit",
            ErrorKind::Bug => "bug",
            _ => "protocol",
        };
        Self { reason, why: error.to_string() }
    }
}

async fn hold(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    conversation: Box<dyn Conversation>,
    peer: SocketAddr,
    desk: &Desk,
    stop: CancellationToken,
) {
    desk.receivers.lines.count("accepted", desk.receiver, "", 1);
    if let Err(ended) = converse(stream, conversation, desk, &stop).await {
        desk.end(peer, ended.reason, &ended.why);
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut conversation: Box<dyn Conversation>,
    desk: &Desk,
    stop: &CancellationToken,
) -> Result<(), Ended> {
    let mut held = desk.receivers.bodies.hold();
    let mut read_bytes = READ_BYTES_MIN;
    let greeting = conversation.greeting()?;
    if !write(&mut stream, &greeting).await {
        return Ok(());
    }
    loop {
        let count = read(&mut stream, &mut held, &mut read_bytes, desk, stop).await?;
        let ended = count == 0;
        loop {
            let lane = desk.receivers.patient_lane().await;
            let looked = off_runtime(move || {
                let _lane = lane;
                let step = conversation.read(&held.bytes, ended);
                Ok((conversation, held, step))
            });
            let step;
            (conversation, held, step) = looked.await?;
            let step = step?;
            if !write(&mut stream, &step.at_once).await {
                return Ok(());
            }
            if let Some(delivered) = step.delivered {
                patiently(&mut stream, conversation.patience(), delivered).await?;
            }
            if !write(&mut stream, &step.then).await {
                return Ok(());
            }
            if let Some(error) = step.ends {
                return Err(error.into());
            }
            held.drain(step.used);
            if step.used == 0 || held.bytes.is_empty() {
                break;
            }
        }
        if ended {
            if !stop.is_cancelled() {
                let _best_effort = stream.shutdown().await;
            }
            return Ok(());
        }
        let frame_bytes_max = conversation.frame_bytes_max();
        if held.bytes.len() > frame_bytes_max {
            let why = format!("a frame takes more than {frame_bytes_max} bytes");
            return Err(Ended { reason: "limit", why });
        }
    }
}

/// Reads what is there; 0 bytes at the end, and at a stop: whoever is broken off then sends again what was not
/// acknowledged, and of the others the last piece is all there is.
async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    held: &mut Held,
    read_bytes: &mut usize,
    desk: &Desk,
    stop: &CancellationToken,
) -> Result<usize, Ended> {
    let wanted = held.bytes.len() + *read_bytes;
    if !held.reserve(wanted) {
        *read_bytes = READ_BYTES_MIN;
        if !held.reserve(held.bytes.len() + READ_BYTES_MIN) {
            let why = "what is being received takes all memory there is for it".to_owned();
            return Err(Ended { reason: "memory", why });
        }
    }
    let came = tokio::select! {
        () = stop.cancelled() => return Ok(0),
        came = tokio::time::timeout(desk.idle_max, stream.read_buf(&mut held.bytes)) => came,
    };
    match came {
        Err(_) => {
            let why = format!("nothing came for {} s", desk.idle_max.as_secs());
            Err(Ended { reason: "idle", why })
        }
        // A peer that breaks off is as one that ends; what it sent before is looked at.
        Ok(Err(_)) => Ok(0),
        Ok(Ok(count)) => {
            // Who fills what it is given sends much.
            *read_bytes = if count >= *read_bytes {
                (*read_bytes * 2).min(READ_BYTES_MAX)
            } else if count < *read_bytes / 4 {
                (*read_bytes / 2).max(READ_BYTES_MIN)
            } else {
                *read_bytes
            };
            Ok(count)
        }
    }
}

/// Writes an answer; `false` when the peer does not take it.
async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let writing = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    matches!(tokio::time::timeout(ANSWER_MAX, writing).await, Ok(Ok(())))
}

/// Waits for the store, with a sign of life for the peer every few seconds if there is one.
async fn patiently(
    stream: &mut (impl AsyncWrite + Unpin),
    sign: Vec<u8>,
    mut delivered: Delivered,
) -> Result<(), Ended> {
    if sign.is_empty() {
        return Ok(delivered.await?);
    }
    loop {
        match tokio::time::timeout(PATIENCE_EVERY, &mut delivered).await {
            Ok(outcome) => return Ok(outcome?),
            Err(_) => {
                write(stream, &sign).await;
            }
        }
    }
}

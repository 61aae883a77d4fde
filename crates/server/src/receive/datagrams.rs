//! Datagrams: taken from the kernel as they come, handed to the store in batches.
//!
//! Nobody waits for an answer to a datagram and nobody can be made to wait: what the store does not take in time is kept up
//! to a bound, and beyond it lost and counted. What the kernel itself has no room for it counts, and so it is shown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::Result;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::connections::Desk;
use super::delivery::Delivered;
use super::off_runtime;

/// Bytes of datagrams that wait for the store.
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// What a datagram costs beside its bytes.
const ENTRY_BYTES: usize = 64;
/// Datagrams handed over together.
const BATCH_MAX: usize = 4_096;
/// Silence after which a taker may look after itself.
const REST_EVERY: Duration = Duration::from_secs(5);
/// Largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// A datagram, and who sent it.
pub(super) struct Datagram {
    pub(super) peer: SocketAddr,
    pub(super) bytes: Box<[u8]>,
}

/// Takes datagrams in batches; off the runtime's workers.
pub(super) trait Taker: Send + 'static {
    fn take(&mut self, datagrams: &[Datagram]) -> Result<Delivered>;

    /// Called when nothing came for a while.
    fn rest(&mut self) {}
}

/// Receives on `socket` until `stop`, then hands over what waits.
pub(super) async fn serve(
    socket: UdpSocket,
    desk: Desk,
    stop: CancellationToken,
    taker: Box<dyn Taker>,
) {
    if let Ok(address) = socket.local_addr() {
        desk.receivers.lines.listens(desk.receiver, address.port());
    }
    let (queue, waiting) = mpsc::unbounded_channel();
    let queued = Arc::new(AtomicUsize::new(0));
    let storing = store(waiting, queued.clone(), desk.clone(), taker);
    tokio::join!(receive(socket, queue, queued, desk, stop), storing);
}

async fn receive(
    socket: UdpSocket,
    queue: mpsc::UnboundedSender<Datagram>,
    queued: Arc<AtomicUsize>,
    desk: Desk,
    stop: CancellationToken,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        // An error belongs to a datagram sent before (none is), or passes.
        let Ok((len, peer)) = received else { continue };
        let bytes = buffer.get(..len).unwrap_or_default();
        if bytes.is_empty() {
            desk.lose("empty", 1);
            continue;
        }
        if queued.load(Ordering::Relaxed) + len + ENTRY_BYTES > QUEUE_BYTES_MAX {
            desk.lose("queue", 1);
            continue;
        }
        queued.fetch_add(len + ENTRY_BYTES, Ordering::Relaxed);
        if queue.send(Datagram { peer, bytes: bytes.into() }).is_err() {
            return;
        }
    }
}

impl Desk {
    /// Counts datagrams that are lost.
    pub(super) fn lose(&self, reason: &'static str, count: u64) {
        let so_far = self.receivers.lines.count("lost", self.receiver, reason, count);
        if so_far == count {
            tracing::warn!(receiver = self.receiver, reason, "datagrams are lost");
        }
    }
}

async fn store(
    mut waiting: mpsc::UnboundedReceiver<Datagram>,
    queued: Arc<AtomicUsize>,
    desk: Desk,
    mut taker: Box<dyn Taker>,
) {
    let mut batch = Vec::new();
    loop {
        match tokio::time::timeout(REST_EVERY, waiting.recv_many(&mut batch, BATCH_MAX)).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(_) => {
                taker.rest();
                continue;
            }
        }
        let bytes: usize = batch.iter().map(|d: &Datagram| d.bytes.len() + ENTRY_BYTES).sum();
        let lane = desk.receivers.patient_lane().await;
        let taken = off_runtime(move || {
            let _lane = lane;
            let delivered = taker.take(&batch);
            Ok((taker, delivered))
        });
        let delivered;
        (taker, delivered) = match taken.await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!(receiver = desk.receiver, %error, "no more datagrams are received");
                return;
            }
        };
        let outcome = match delivered {
            Ok(delivered) => delivered.await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            // What it held is booked as lost where they were lost.
            tracing::debug!(receiver = desk.receiver, %error, "datagrams were not stored");
        }
        queued.fetch_sub(bytes, Ordering::Relaxed);
        batch = Vec::new();
    }
}

/// Datagrams that the kernel dropped as a socket on `port` had no room, as `/proc/net/udp` and its like have it.
pub(super) fn kernel_drops(table: &str, port: u16) -> u64 {
    let of_line = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        let local = columns.nth(1)?.rsplit_once(':')?.1;
        let is_ours = u16::from_str_radix(local, 16).ok()? == port;
        is_ours.then(|| columns.last()?.parse::<u64>().ok()).flatten()
    };
    table.lines().filter_map(of_line).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_it_dropped() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  361: 0100007F:05EA 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 6911 2 0000000000000000 12
  362: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 6912 2 0000000000000000 7\n";
        assert_eq!(kernel_drops(table, 1514), 12);
        assert_eq!(kernel_drops(table, 1515), 0);
        assert_eq!(kernel_drops("nonsense 1 :\n", 1), 0);
    }
}

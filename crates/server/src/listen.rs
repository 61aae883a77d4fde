//! Sockets: accept, bound, serve, and stop gracefully.

mod quoted;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use model::{Error, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::MapRequest;

use quoted::Quoted;

use crate::receive::origin::Peer;

/// Time a client has for its request head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Largest request head in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Requests in flight get this long once a stop was asked for.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    /// [`Io`](model::ErrorKind::Io) naming the address.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let failed = |e| Error::io(format!("listen on {address}"), e);
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }

    /// The address in use, with the real port when port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves `router` on `listener` until `stop`, then lets requests in flight finish for at most five seconds. What is
/// left then is dropped, so that its queries end as those of a client that went away.
pub async fn serve(
    listener: Listener,
    router: Router,
    connections_max: usize,
    stop: CancellationToken,
) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_buf_size(HEAD_BYTES_MAX);
    accept(listener, connections_max, stop, |stream, stop, cut| {
        let peer = stream.peer_addr().ok();
        let router = MapRequest::new(router.clone(), move |mut request: Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(Peer(peer.ip()));
            }
            request
        });
        let connection = http
            .serve_connection(TokioIo::new(Quoted::new(stream)), TowerToHyperService::new(router))
            .with_upgrades();
        async move {
            tokio::pin!(connection);
            tokio::select! {
                // A client that goes away mid-request is its own affair.
                _ended = connection.as_mut() => return,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                _ended = connection => {}
                () = cut.cancelled() => {}
            }
        }
    })
    .await;
}

/// Accepts connections until `stop`, at most `connections_max` at a time. `connection` serves one: it ends soon after
/// its first token is cancelled and at once after the second.
pub(crate) async fn accept<F>(
    listener: Listener,
    connections_max: usize,
    stop: CancellationToken,
    connection: impl Fn(TcpStream, CancellationToken, CancellationToken) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(connections_max));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.socket.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to be closed instead of spinning.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _best_effort = stream.set_nodelay(true);
        let served = connection(stream, stop.clone(), cut.clone());
        connections.spawn(async move {
            let _slot = slot;
            served.await;
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_TIME_MAX, connections.wait()).await.is_err() {
        tracing::warn!(
            seconds = DRAIN_TIME_MAX.as_secs(),
            "closing connections that did not finish in time"
        );
        cut.cancel();
        connections.wait().await;
    }
}

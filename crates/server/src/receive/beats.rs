//! Lumberjack: Beats (`output.logstash`), Logstash (`output { lumberjack }`).
//!
//! Owns: when events are acknowledged: once they are durable, and now and then a sign of life before. Does not own: frames
//! (`ingest::lumberjack`), connections as such.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ingest::document::Roles;
use ingest::lumberjack::{self, Decoder, acknowledgement};
use ingest::pushed_lines::Lines;
use model::Result;
use tokio_util::sync::CancellationToken;

use super::connections::{self, Conversation, Desk, Step};
use super::delivery::Delivery;
use super::lines;
use super::sockets::Sockets;
use crate::App;

const SOURCE: &str = "beats";
/// Events handed over together, about.
const BATCH_MAX: usize = 4_096;
/// Senders keep connections open; they come again when theirs was closed.
const IDLE_MAX: Duration = Duration::from_secs(3_600);

/// Listens on `sockets` until `stop`.
pub async fn serve(sockets: Sockets, app: Arc<App>, stop: CancellationToken) {
    let receivers = app.receivers.clone();
    let desk = Desk { receiver: SOURCE, receivers, idle_max: IDLE_MAX };
    let roles = Arc::new(lumberjack::roles());
    let token = stop.clone();
    connections::serve(sockets, desk, stop, move |_: SocketAddr| {
        let limits = app.receivers.limits;
        let limits = lumberjack::Limits {
            frame_bytes_max: limits.body_bytes_max,
            unpacked_bytes_max: limits.unpacked_bytes_max,
        };
        Box::new(Connection {
            app: app.clone(),
            roles: roles.clone(),
            decoder: Decoder::new(limits),
            frame_bytes_max: limits.frame_bytes_max,
            stop: token.clone(),
        })
    })
    .await;
}

struct Connection {
    app: Arc<App>,
    roles: Arc<Roles>,
    decoder: Decoder,
    frame_bytes_max: usize,
    stop: CancellationToken,
}

impl Conversation for Connection {
    fn read(&mut self, bytes: &[u8], _ended: bool) -> Result<Step> {
        let receivers = &self.app.receivers;
        let limits = lines::limits(&receivers.limits);
        let mut lines = Lines::new(&limits, self.app.clock.now_ms());
        let streams = &receivers.lines.streams;
        let (used, numbers) =
            self.decoder.read(bytes, BATCH_MAX, &self.roles, streams, &mut lines)?;
        let mut pushed = lines.finish();
        // A window without its acknowledgement is sent again.
        pushed.rows.set_equal_apart();
        pushed.rows.set_may_repeat();
        let delivery = Delivery::begin(&self.app, SOURCE, pushed);
        Ok(Step {
            used,
            delivered: (!numbers.is_empty()).then(|| delivery.insist(self.stop.clone())),
            then: numbers.into_iter().flat_map(acknowledgement).collect(),
            ..Step::default()
        })
    }

    fn patience(&self) -> Vec<u8> {
        acknowledgement(0)
    }

    fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }
}

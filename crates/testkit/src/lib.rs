//! For tests only: starts the real binary, talks to it, reads its log, and drives a real container engine.
//!
//! Owns no assertions about Taffrail's answers; those belong to the tests. Depends on nothing of the workspace, so that
//! what it checks goes through the same doors that users have.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "test support talks to the system directly, and a failed step is a failed test"
)]

mod alertmanager;
mod clients;
mod engine;
mod http;
pub mod loki_push;
pub mod mix;
mod prometheus;
mod recorder;
pub mod remote_write;
pub mod service_logs;
pub mod service_spans;
mod taffrail;

pub use alertmanager::Alertmanager;
pub use clients::{Instrumented, clients_wanted};
pub use engine::{Container, docker, engine_wanted, image};
pub use http::{Answer, get, post, send, url_encode};
pub use prometheus::Prometheus;
pub use recorder::{MailRecorder, Recorded, RecordedMail, Recorder, Reply};
pub use taffrail::{Options, Taffrail};

use std::time::{Duration, Instant};

/// Asks `probe` every 50 ms until it answers, for at most `seconds`.
///
/// # Panics
/// Naming `what` when it never did.
pub fn eventually<T>(what: &str, seconds: u64, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

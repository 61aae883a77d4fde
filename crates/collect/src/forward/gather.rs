//! From the queue to windows: as many records as fill requests, or those that have waited long enough.

use std::sync::Arc;
use std::time::Duration;

use model::Error;
use tokio::time::Instant;

use super::{Reader, Record, Spool};

/// Before the queue is read again after a failure.
const READ_AGAIN_MS: u64 = 1_000;

/// When there are enough records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Samples or spans that fill a request.
    pub(super) full: u64,
    /// Those of a window at most.
    pub(super) most: u64,
    /// How long the first record waits for more.
    pub(super) deadline_ms: u64,
}

/// The records of the next window: up to `repeated` if given, else as soon as they fill a request or have waited
/// long enough. `trouble` hears of failures to read; reading goes on.
pub(super) async fn next(
    spool: &Arc<dyn Spool>,
    mut reader: Box<dyn Reader>,
    repeated: Option<u64>,
    window: Window,
    trouble: impl Fn(Error),
) -> (Box<dyn Reader>, Vec<Record>) {
    let mut end = spool.end();
    let (mut records, mut samples, mut deadline) = (Vec::<Record>::new(), 0, None);
    loop {
        let until = repeated.unwrap_or(*end.borrow_and_update());
        let left =
            if repeated.is_some() { u64::MAX } else { window.most - samples.min(window.most) };
        let (back, read) = tokio::task::spawn_blocking(move || {
            let read = reader.read(until, left);
            (reader, read)
        })
        .await
        .expect("BUG: reading the queue panicked");
        reader = back;
        match read {
            Ok(more) => {
                samples += more.iter().map(|record| record.samples).sum::<u64>();
                records.extend(more);
            }
            Err(error) => {
                trouble(error);
                tokio::time::sleep(Duration::from_millis(READ_AGAIN_MS)).await;
            }
        }
        let now = Instant::now();
        if repeated.is_some() || samples >= window.full || deadline.is_some_and(|at| at <= now) {
            return (reader, records);
        }
        if !records.is_empty() && deadline.is_none() {
            deadline = Some(now + Duration::from_millis(window.deadline_ms));
        }
        let waited = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = end.changed() => {
                if changed.is_err() {
                    // The queue is closed; the process ends.
                    std::future::pending::<()>().await;
                }
            }
            () = waited => {}
        }
    }
}

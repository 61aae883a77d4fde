//! Bodies of requests: read whole, within the bound of one and within the budget of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use ingest::compression::Encoding;
use model::{Error, ErrorKind};

/// Time a client has to send its body.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// Room that is made for a body as its client announces it; a larger one grows into it.
const RESERVED_BYTES_MAX: usize = 4 << 20;

/// Bytes that all bodies may take together.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

/// A body, and its part of the budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    taken: usize,
    budget: Arc<Budget>,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// Nothing yet.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        Held { bytes: Vec::new(), taken: 0, budget: self.clone() }
    }

    /// Reads `body`. The budget is charged chunk by chunk: what a client only announces costs nothing.
    ///
    /// # Errors
    /// Status and message: 413 beyond `bytes_max`, 429 when all bodies together are too large, 408 when it takes too
    /// long, 400 when the client breaks off.
    pub(crate) async fn read(
        self: &Arc<Self>,
        body: Body,
        bytes_max: usize,
    ) -> Result<Held, (StatusCode, String)> {
        let mut held = self.hold();
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let reading = async {
            let mut body = body;
            while let Some(frame) = body.frame().await {
                let frame = frame
                    .map_err(|e| (StatusCode::BAD_REQUEST, format!("body breaks off: {e}")))?;
                let Ok(chunk) = frame.into_data() else { continue };
                if held.bytes.len() + chunk.len() > bytes_max {
                    return Err((
                        StatusCode::PAYLOAD_TOO_LARGE,
                        format!("body has more bytes than the limit of {bytes_max}"),
                    ));
                }
                self.take(chunk.len())?;
                held.taken += chunk.len();
                if held.bytes.is_empty() {
                    // Room that nothing is written to costs nothing.
                    held.bytes.reserve(announced.min(bytes_max).min(RESERVED_BYTES_MAX));
                }
                held.bytes.extend_from_slice(&chunk);
            }
            Ok(())
        };
        match tokio::time::timeout(BODY_TIME_MAX, reading).await {
            Ok(Ok(())) => Ok(held),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err((
                StatusCode::REQUEST_TIMEOUT,
                format!("body took more than {} s", BODY_TIME_MAX.as_secs()),
            )),
        }
    }

    fn take(&self, bytes: usize) -> Result<(), (StatusCode, String)> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        if used.saturating_add(bytes) <= self.max {
            return Ok(());
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        Err((
            StatusCode::TOO_MANY_REQUESTS,
            format!(
                "bodies being received take {used} bytes, the limit is {}; try again later",
                self.max
            ),
        ))
    }
}

impl Held {
    /// Makes room for `bytes` altogether, if the budget has them.
    pub(crate) fn reserve(&mut self, bytes: usize) -> bool {
        if self.charge(bytes).is_err() {
            return false;
        }
        self.bytes.reserve_exact(bytes.saturating_sub(self.bytes.len()));
        true
    }

    /// Has it count as `bytes` at least from now on.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) when all bodies together are too large.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes > self.taken {
            let taken = self.budget.take(bytes - self.taken);
            taken.map_err(|(_, reason)| Error::new(ErrorKind::Busy, reason))?;
            self.taken = bytes;
        }
        Ok(())
    }

    /// Lets go of the first `used` bytes, and of memory that is no longer needed.
    pub(crate) fn drain(&mut self, used: usize) {
        self.bytes.drain(..used.min(self.bytes.len()));
        if self.bytes.len() < self.taken / 4 {
            self.bytes.shrink_to(self.taken / 2);
            self.budget.used.fetch_sub(self.taken - self.taken / 2, Ordering::Relaxed);
            self.taken /= 2;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// A header as text; nothing when it is absent or is none.
pub(super) fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// How a body is packed.
pub(super) fn packing(headers: &HeaderMap) -> Result<Encoding, (StatusCode, String)> {
    let packing = header_text(headers, header::CONTENT_ENCODING);
    Encoding::from_header(packing).ok_or_else(|| {
        let known = "gzip, deflate, zstd, snappy and identity";
        let reason = format!("content encoding {packing:.64?} is not supported; known are {known}");
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_share_one_budget_and_give_it_back() {
        let budget = Arc::new(Budget::new(10));
        let read = |len: usize, max: usize| {
            let budget = budget.clone();
            async move { budget.read(Body::from(vec![1; len]), max).await.map_err(|e| e.0.as_u16()) }
        };
        let first = read(6, 8).await.unwrap();
        assert_eq!(first.bytes.len(), 6);
        assert_eq!(read(6, 8).await.unwrap_err(), 429);
        assert_eq!(read(9, 8).await.unwrap_err(), 413);
        assert!(read(4, 8).await.is_ok());
        drop(first);
        assert!(read(8, 8).await.is_ok());
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn held_bytes_grow_and_shrink_within_the_budget() {
        let budget = Arc::new(Budget::new(100));
        let mut held = budget.hold();
        assert!(held.reserve(80));
        held.bytes.extend_from_slice(&[1; 80]);
        assert!(!budget.hold().reserve(21) && !held.reserve(101) && held.reserve(100));
        assert_eq!(budget.hold().charge(1).unwrap_err().kind(), ErrorKind::Busy);
        held.charge(7).unwrap();
        held.drain(70);
        assert_eq!((held.bytes.len(), budget.used.load(Ordering::Relaxed)), (10, 50));
        drop(held);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}

//! Bodies of answers that the query's budget pays for while they are made, in pieces: an answer is never copied to grow.
//!
//! Does not own: how pieces are sent ([`streamed`]).

use std::io;

use axum::response::Response;
use model::{Budget, Error, Result};
use serde::Serialize;

use crate::streamed;

/// A piece has so many bytes, or what is put at once if that is more.
const PIECE_BYTES: usize = 64 << 10;

/// A body that is being made.
pub(crate) struct PaidBody<'b> {
    budget: &'b Budget,
    pieces: Vec<Vec<u8>>,
    failure: Option<Error>,
}

impl<'b> PaidBody<'b> {
    pub(crate) fn new(budget: &'b Budget) -> Self {
        Self { budget, pieces: Vec::new(), failure: None }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Limit`](model::ErrorKind::Limit) or [`Cancelled`](model::ErrorKind::Cancelled) from the budget.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        match self.pieces.last_mut() {
            Some(last) if last.len() + bytes.len() <= PIECE_BYTES => last.extend_from_slice(bytes),
            _ => {
                self.budget.check()?;
                let piece_bytes = bytes.len().max(PIECE_BYTES) as u64;
                self.budget.charge_bytes(piece_bytes)?;
                self.pieces.push(bytes.to_vec());
            }
        }
        Ok(())
    }

    /// Appends `value` in JSON.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut *self, value).map_err(|e| {
            let failure = self.failure.take();
            failure.unwrap_or_else(|| Error::new(model::ErrorKind::Bug, e.to_string()))
        })
    }

    pub(crate) fn finish(self) -> Pieces {
        Pieces(self.pieces)
    }
}

impl io::Write for PaidBody<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.put(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(e) => {
                self.failure = Some(e);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body that is made.
#[derive(Debug)]
pub(crate) struct Pieces(Vec<Vec<u8>>);

impl Pieces {
    /// An answer of JSON.
    pub(crate) fn respond(self) -> Response {
        streamed::respond(self.0.into_iter(), "application/json")
    }
}

/// A list of JSON whose items are made one by one as they are written.
pub(crate) struct Each<F>(pub(crate) F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for Each<F> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_seq((self.0)())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{ErrorKind, Limits, SystemClock};

    use super::*;

    fn budget(bytes_max: u64) -> Budget {
        let limits = Limits { samples_max: 0, bytes_max, time_ms_max: 100_000 };
        Budget::new(Arc::new(SystemClock), limits)
    }

    #[test]
    fn what_is_too_large_is_refused_while_it_is_made() {
        let budget = budget(10 * PIECE_BYTES as u64);
        let made = std::cell::Cell::new(0_u64);
        let endless = Each(|| (0_u64..).inspect(|n| made.set(*n)));
        let error = PaidBody::new(&budget).json(&endless).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(error.message().contains("memory_limit"), "{error}");
        assert!(made.get() < 10 * PIECE_BYTES as u64, "{}", made.get());
    }
}

//! Running queries: off the async workers, a bounded number at a time, stopped when the client goes away.

use std::sync::Arc;

use model::{Budget, Clock, Error, ErrorKind, Limits, Result};
use tokio::sync::Semaphore;

/// The lane in which interactive queries run.
pub(crate) struct QueryPool {
    clock: Arc<dyn Clock>,
    slots: Arc<Semaphore>,
    limits: Limits,
}

/// Cancels the work when the request's future is dropped, which is what happens when a client disconnects.
struct CancelOnDrop(Arc<Budget>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl QueryPool {
    pub(crate) fn new(clock: Arc<dyn Clock>, concurrency: usize, limits: Limits) -> Self {
        Self { clock, slots: Arc::new(Semaphore::new(concurrency)), limits }
    }

    /// Runs `work` on a blocking thread with a budget of its own; `time_ms_max` may only lower the configured time.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) when no slot frees up in time, otherwise what `work` answers.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        time_ms_max: Option<i64>,
        work: impl FnOnce(&Budget) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut limits = self.limits;
        limits.time_ms_max =
            time_ms_max.map_or(limits.time_ms_max, |ms| ms.clamp(1, limits.time_ms_max));
        let wait = std::time::Duration::from_millis(u64::try_from(limits.time_ms_max).unwrap_or(1));
        let slot = tokio::time::timeout(wait, self.slots.clone().acquire_owned())
            .await
            .map_err(|_| {
                Error::new(
                    ErrorKind::Busy,
                    format!(
                        "no query slot became free within {} ms (query.max_concurrency)",
                        limits.time_ms_max
                    ),
                )
            })?
            .map_err(|_| Error::new(ErrorKind::Busy, "server is stopping"))?;
        let budget = Arc::new(Budget::new(self.clock.clone(), limits));
        let cancel = CancelOnDrop(budget.clone());
        let outcome = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work(&budget)
        })
        .await;
        drop(cancel);
        outcome.unwrap_or_else(|panic| {
            Err(Error::new(ErrorKind::Bug, "query ended unexpectedly").with_source(panic))
        })
    }
}

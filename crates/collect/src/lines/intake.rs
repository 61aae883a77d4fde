//! Lines that are pushed to a job: through its treatment to the store, acknowledged once they are durable.
//!
//! One batch is on its way at a time, so that what is stored and what is held back agree: the cursor of each batch has the
//! lines that are held back, and these survive a crash as well.

use std::sync::Arc;
use std::time::Duration;

use model::{Clock, Error, ErrorKind, Labels, LogBatch, LogRows, Result, Sink};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::{Flow, HeldLine, Treatment, held};
use crate::counters::Counters;
use crate::delivery::{Delivery, answered};

/// What stands in front of lines held back in a cursor: there is no position.
const POSITION: &[u8] = b"1";
/// How often it is looked whether lines were held back long enough, and whether a pipeline wants lines again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A line that was pushed.
#[derive(Debug, Clone, Default)]
pub struct PushedLine {
    /// Labels of its stream.
    pub stream: Labels,
    /// Unix nanoseconds.
    pub t_ns: i64,
    /// The line.
    pub line: String,
    /// Fields beside it.
    pub fields: Labels,
}

/// Where a job's pushed lines go.
pub struct Intake {
    source: Arc<str>,
    delivery: Delivery,
    clock: Arc<dyn Clock>,
    /// `None` once it is closed.
    flow: Mutex<Option<Flow>>,
    /// Lines were held back.
    holding: Notify,
}

impl Intake {
    /// Opens the intake called `name`, which goes on with what an earlier one held back. `None` when cancelled meanwhile.
    pub async fn open(
        name: &str,
        treatment: Arc<Treatment>,
        sink: Arc<dyn Sink>,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
        cancel: CancellationToken,
    ) -> Option<Arc<Self>> {
        let source: Arc<str> = Arc::from(format!("push/{name}"));
        let delivery = Delivery { sink, counters, cancel };
        let stored = delivery.cursor(Arc::clone(&source)).await.ok()?;
        let mut flow = Flow::new(treatment);
        if let Some((_, lines)) = stored.as_deref().and_then(held::decode) {
            flow.restore(lines);
        }
        let (flow, holding) = (Mutex::new(Some(flow)), Notify::new());
        Some(Arc::new(Self { source, delivery, clock, flow, holding }))
    }

    /// Takes lines; they are durable, also as far as they are held back, when this returns.
    ///
    /// # Errors
    /// Those of the store; it is as if the lines had not come.
    pub async fn take(self: &Arc<Self>, lines: Vec<PushedLine>) -> Result<()> {
        let intake = Arc::clone(self);
        // Whoever sent them may go away; what was begun is ended all the same.
        let taking = tokio::spawn(async move {
            let mut guard = intake.flow.lock().await;
            let closed = || Error::new(ErrorKind::Busy, "the job ends; send the lines again");
            let flow = guard.as_mut().ok_or_else(closed)?;
            while flow.is_paused(intake.clock.monotonic_ns()) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let (before, mut rows) = (flow.held(), LogRows::default());
            for PushedLine { stream, t_ns, line, fields } in &lines {
                flow.push_labelled(stream, *t_ns, line, fields, &*intake.clock, &mut rows);
            }
            intake.store(flow, rows, before).await
        });
        taking.await.unwrap_or_else(|error| Err(Error::new(ErrorKind::Bug, error.to_string())))
    }

    /// Takes no more lines, once the store has answered for those taken.
    pub async fn close(&self) {
        drop(self.flow.lock().await.take());
    }

    /// Lets go of lines that were held back long enough, until the cancellation.
    pub async fn run(self: Arc<Self>) {
        let cancel = self.delivery.cancel.clone();
        let looking = async {
            loop {
                let is_holding = self.flow.lock().await.as_ref().is_some_and(Flow::is_holding);
                if !is_holding {
                    self.holding.notified().await;
                }
                tokio::time::sleep(LOOK_EVERY).await;
                let mut guard = self.flow.lock().await;
                let Some(flow) = guard.as_mut() else { return };
                let now_ns = self.clock.monotonic_ns();
                if flow.next_due_ns().is_none_or(|due_ns| due_ns > now_ns) {
                    continue;
                }
                let (before, mut rows) = (flow.held(), LogRows::default());
                flow.flush_due(&[], &*self.clock, &mut rows);
                // What the store does not take now is held back again.
                if let Err(error) = self.store(flow, rows, before).await {
                    tracing::debug!(source = %self.source, %error, "lines wait for the store");
                }
            }
        };
        cancel.run_until_cancelled(looking).await;
    }

    async fn store(&self, flow: &mut Flow, mut rows: LogRows, before: Vec<HeldLine>) -> Result<()> {
        let mut cursor = flow.cursor(POSITION.to_vec());
        if cursor.is_none() {
            flow.flush(&[], &*self.clock, &mut rows);
            cursor = flow.cursor(POSITION.to_vec());
        }
        if rows.is_empty() && before.is_empty() && !flow.is_holding() {
            // All of them were dropped on purpose.
            return Ok(());
        }
        let (sink, bytes) = (Arc::clone(&self.delivery.sink), rows.line_bytes());
        let batch = LogBatch { source: Arc::clone(&self.source), rows, cursor };
        match answered(move |done| sink.append_logs(batch, done)).await {
            Ok(receipt) => {
                let counters = &self.delivery.counters;
                let rejected = receipt.rejected.iter().map(|(_, n)| n).sum();
                Counters::add(&counters.log_lines_stored, receipt.stored);
                Counters::add_len(&counters.log_bytes_stored, bytes);
                Counters::add(&counters.log_lines_rejected, rejected);
                if flow.is_holding() {
                    self.holding.notify_one();
                }
                Ok(())
            }
            Err(error) => {
                flow.restore(before);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ingest::pipeline::{Metrics, MultilineConfig, Pipeline, StageConfig};
    use model::{Done, ManualClock, MetricBatch, Receipt};

    use super::*;

    /// Stores what it takes, and refuses every second batch.
    #[derive(Default)]
    struct Store {
        held: parking_lot::Mutex<(Vec<String>, Option<Vec<u8>>, usize)>,
    }

    impl Sink for Store {
        fn append_metrics(&self, _: MetricBatch, done: Done) {
            drop(done);
        }

        fn append_logs(&self, batch: LogBatch, done: Done) {
            let mut held = self.held.lock();
            held.2 += 1;
            if held.2.is_multiple_of(2) {
                return done.call(Err(Error::new(ErrorKind::Busy, "full")));
            }
            held.0.extend(batch.rows.iter().map(|row| row.line.to_owned()));
            held.1 = batch.cursor;
            done.call(Ok(Receipt { stored: batch.rows.len() as u64, rejected: Vec::new() }));
        }

        fn cursor(&self, source: &str) -> Result<Option<Vec<u8>>> {
            assert_eq!(source, "push/j");
            Ok(self.held.lock().1.clone())
        }
    }

    #[tokio::test]
    async fn what_is_acknowledged_is_stored_once_and_what_is_refused_never_came() {
        let multiline = MultilineConfig {
            firstline: "^begin".to_owned(),
            max_wait_ns: 3_600_000_000_000,
            max_lines: 128,
        };
        let pipeline = Pipeline::new(&[StageConfig::Multiline(multiline)], &Metrics::default());
        let (labels, limits, dropped) = (Labels::default(), Arc::default(), Arc::default());
        let treatment =
            Arc::new(Treatment::staged(pipeline.unwrap(), labels, limits, dropped, 600_000));
        let (store, clock) = (Arc::new(Store::default()), Arc::new(ManualClock::at_ms(1 << 40)));
        for round in 0..4 {
            let (sink, treatment) = (Arc::clone(&store) as Arc<dyn Sink>, Arc::clone(&treatment));
            let time = Arc::clone(&clock) as Arc<dyn Clock>;
            let opened =
                Intake::open("j", treatment, sink, time, Arc::default(), CancellationToken::new());
            let intake = opened.await.unwrap();
            for text in [format!("begin {round}"), "  more".to_owned()] {
                let stream = Labels::from_pairs([("app", "a")]);
                let (t_ns, fields) = (clock.now_ns(), Labels::default());
                let line = PushedLine { stream, t_ns, line: text, fields };
                // As a sender does.
                while intake.take(vec![line.clone()]).await.is_err() {}
            }
            intake.close().await;
            let ended = intake.take(Vec::new()).await.unwrap_err();
            assert_eq!(ended.kind(), ErrorKind::Busy);
        }
        let expected: Vec<String> = (0..3).map(|round| format!("begin {round}\n  more")).collect();
        assert_eq!(store.held.lock().0, expected);
    }
}

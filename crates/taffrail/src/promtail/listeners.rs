//! Addresses on which jobs of a `promtail.yml` are pushed to.

use std::sync::Arc;

use collect::Counters;
use collect::lines::Intake;
use model::{Error, Labels, Result};
use server::Listener;
use server::receive::push_target::{self, PushTarget};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Context, Planned, targets};
use crate::promtail_yml::Push;

/// Connections of one address at the same time.
const CONNECTIONS_MAX: usize = 256;

/// An address of a job, and who listens there.
pub(super) struct Listening {
    cancel: CancellationToken,
    intake: Arc<Intake>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Listens for a job, on whatever it says; what cannot be is logged.
    pub(super) async fn start(
        planned: &Planned,
        context: &Context,
        counters: &Arc<Counters>,
    ) -> Vec<Self> {
        let mut all = Vec::new();
        if let Some(push) = &planned.job.push {
            // A wrong address is among the complaints of the job's targets.
            if targets::push_address(push).is_ok() {
                match listen_for_pushes(planned, push, context, counters).await {
                    Ok(listening) => all.push(listening),
                    Err(error) => {
                        let job = &planned.job.name;
                        tracing::error!("promtail.yml: job {job:?}: {error}");
                    }
                }
            }
        }
        all
    }

    /// Listens no longer; returns when the store has answered for what came.
    pub(super) async fn end(self) {
        self.cancel.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a listener of promtail.yml ended unexpectedly");
        }
        self.intake.close().await;
    }
}

async fn listen_for_pushes(
    planned: &Planned,
    push: &Push,
    context: &Context,
    counters: &Arc<Counters>,
) -> Result<Listening> {
    let address = targets::push_address(push).map_err(Error::invalid)?;
    let listener = Listener::bind(address).await?;
    let cancel = context.cancel.child_token();
    let intake = open_intake(planned, context, counters, &cancel).await?;
    let labels = push.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let target = PushTarget {
        intake: Arc::clone(&intake),
        labels: Labels::from_pairs(labels),
        relabel: planned.job.relabel.clone(),
        keeps_time: push.use_incoming_timestamp,
        receivers: Arc::clone(&context.receivers),
        clock: Arc::clone(&context.clock),
    };
    let (router, stop, held) =
        (push_target::router(target), cancel.clone(), Arc::clone(&intake).run());
    tracing::info!(job = planned.job.name, "promtail.yml: pushes are taken on {address}");
    let task = tokio::spawn(async move {
        tokio::join!(server::serve(listener, router, CONNECTIONS_MAX, stop), held);
    });
    Ok(Listening { cancel, intake, task })
}

async fn open_intake(
    planned: &Planned,
    context: &Context,
    counters: &Arc<Counters>,
    cancel: &CancellationToken,
) -> Result<Arc<Intake>> {
    let name = format!("promtail/{}", planned.job.name);
    let intake = Intake::open(
        &name,
        Arc::clone(&planned.treatment),
        Arc::clone(&context.sink),
        Arc::clone(&context.clock),
        Arc::clone(counters),
        cancel.clone(),
    );
    intake.await.ok_or_else(|| Error::new(model::ErrorKind::Cancelled, "it is ended"))
}

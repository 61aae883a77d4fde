//! Addresses on which jobs of a `promtail.yml` are pushed to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use collect::Counters;
use collect::lines::{Dropped, Intake};
use model::{Error, Labels, Result};
use server::Listener;
use server::receive::push_target::{self, PushTarget};
use server::receive::sockets::{Addresses, Sockets, certificate};
use server::receive::syslog::Options;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::syslog::SyslogJob;
use super::{Context, Planned, targets};
use crate::promtail_yml::{Push, Syslog};

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
        dropped: &Arc<Dropped>,
    ) -> Vec<Self> {
        let mut all = Vec::new();
        // A wrong address is among the complaints of the job's targets.
        if let Some(push) = planned.job.push.as_ref().filter(|p| targets::push_address(p).is_ok()) {
            all.push(listen_for_pushes(planned, push, context, counters).await);
        }
        let syslog = planned.job.syslog.as_ref();
        if let Some(syslog) = syslog.filter(|s| targets::syslog_address(s).is_ok()) {
            all.push(listen_for_syslog(planned, syslog, context, counters, dropped).await);
        }
        let complain = |error: &Error| {
            tracing::error!("promtail.yml: job {:?}: {error}", planned.job.name);
        };
        all.into_iter().filter_map(|listening| listening.inspect_err(complain).ok()).collect()
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

async fn listen_for_syslog(
    planned: &Planned,
    config: &Syslog,
    context: &Context,
    counters: &Arc<Counters>,
    dropped: &Arc<Dropped>,
) -> Result<Listening> {
    let address = targets::syslog_address(config).map_err(Error::invalid)?;
    let read = |path: &Path| {
        std::fs::read(path).map_err(|e| Error::io(format!("read {}", path.display()), e))
    };
    let shown = match &config.tls {
        Some((chain, key)) => {
            let authorities = config.tls_ca.as_deref().map(read).transpose()?;
            Some(certificate(&read(chain)?, &read(key)?, authorities.as_deref())?)
        }
        None => None,
    };
    let mut addresses = Addresses::default();
    match (config.listen_protocol.as_str(), &shown) {
        ("udp", _) => addresses.udp = Some(address),
        (_, Some(_)) => addresses.tls = Some(address),
        (_, None) => addresses.tcp = Some(address),
    }
    let sockets = Sockets::bind(&addresses, shown).await?;
    let options = Options {
        message_bytes_max: usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX),
        idle_max: Duration::from_nanos(u64::try_from(config.idle_timeout_ns).unwrap_or(0)),
        ..Options::default()
    };
    let cancel = context.cancel.child_token();
    let intake = open_intake(planned, context, counters, &cancel).await?;
    let destination = Arc::new(SyslogJob {
        intake: Arc::clone(&intake),
        config: config.clone(),
        relabel: planned.job.relabel.clone(),
        clock: Arc::clone(&context.clock),
        dropped: Arc::clone(dropped),
        cancel: cancel.clone(),
    });
    let (receivers, clock) = (Arc::clone(&context.receivers), Arc::clone(&context.clock));
    let serving = server::receive::syslog::serve(
        sockets,
        options,
        destination,
        receivers,
        clock,
        cancel.clone(),
    );
    tracing::info!(job = planned.job.name, "promtail.yml: syslog is received on {address}");
    let held = Arc::clone(&intake).run();
    let task = tokio::spawn(async move {
        tokio::join!(serving, held);
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

//! Addresses on which jobs of a `promtail.yml` are pushed to.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use collect::Counters;
use collect::lines::{Dropped, Intake, PushedLine};
use futures_util::FutureExt as _;
use model::{Error, ErrorKind, Labels, Result};
use server::Listener;
use server::receive::gelf::Delivered;
use server::receive::push_target::{self, PushTarget};
use server::receive::sockets::{Addresses, Sockets, certificate};
use server::receive::syslog::Options;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::gelf::GelfJob;
use super::syslog::SyslogJob;
use super::{Context, Planned, targets};
use crate::promtail_yml::{Gelf, Push, Syslog};

/// Connections of one address at the same time.
const CONNECTIONS_MAX: usize = 256;
/// Waiting times before lines are offered again: they double from the first to the last.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

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
        if let Some(syslog) = &planned.job.syslog
            && let Ok(address) = targets::socket_address("syslog", &syslog.listen_address)
        {
            all.push(listen_for_syslog(planned, syslog, address, context, counters, dropped).await);
        }
        if let Some(gelf) = &planned.job.gelf
            && let Ok(address) = targets::socket_address("gelf", &gelf.listen_address)
        {
            all.push(listen_for_gelf(planned, gelf, address, context, counters, dropped).await);
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
    address: SocketAddr,
    context: &Context,
    counters: &Arc<Counters>,
    dropped: &Arc<Dropped>,
) -> Result<Listening> {
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

async fn listen_for_gelf(
    planned: &Planned,
    config: &Gelf,
    address: SocketAddr,
    context: &Context,
    counters: &Arc<Counters>,
    dropped: &Arc<Dropped>,
) -> Result<Listening> {
    let addresses = Addresses { udp: Some(address), ..Addresses::default() };
    let sockets = Sockets::bind(&addresses, None).await?;
    let cancel = context.cancel.child_token();
    let intake = open_intake(planned, context, counters, &cancel).await?;
    let destination = Arc::new(GelfJob {
        intake: Arc::clone(&intake),
        config: config.clone(),
        relabel: planned.job.relabel.clone(),
        clock: Arc::clone(&context.clock),
        dropped: Arc::clone(dropped),
        cancel: cancel.clone(),
    });
    let (receivers, clock) = (Arc::clone(&context.receivers), Arc::clone(&context.clock));
    let serving =
        server::receive::gelf::serve(sockets, destination, receivers, clock, cancel.clone());
    tracing::info!(job = planned.job.name, "promtail.yml: GELF is received on {address}");
    let held = Arc::clone(&intake).run();
    let task = tokio::spawn(async move {
        tokio::join!(serving, held);
    });
    Ok(Listening { cancel, intake, task })
}

/// Offers `lines` until the store takes them; at `cancel` those it has not taken are lost, and counted.
pub(super) fn insist(
    intake: &Arc<Intake>,
    lines: Vec<PushedLine>,
    dropped: &Arc<Dropped>,
    cancel: &CancellationToken,
) -> Delivered {
    let (intake, dropped, cancel) = (Arc::clone(intake), Arc::clone(dropped), cancel.clone());
    async move {
        let mut wait = WAIT.0;
        loop {
            let Err(error) = intake.take(lines.clone()).await else { return Ok(()) };
            let may_pass = matches!(error.kind(), ErrorKind::Busy | ErrorKind::Io);
            if !may_pass || cancel.is_cancelled() {
                dropped.add("not_stored", lines.len() as u64);
                return Err(error);
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(WAIT.1);
        }
    }
    .boxed()
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
    intake.await.ok_or_else(|| Error::new(ErrorKind::Cancelled, "it is ended"))
}

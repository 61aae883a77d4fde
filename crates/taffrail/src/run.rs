//! `taffrail run`: the life of the process, from open to close.
//!
//! Start: lock the data directory, open the stores (recovery), bind, start collectors, serve. Stop, on SIGTERM or
//! SIGINT, within eight seconds: collectors first, then HTTP, the stores last, so that everything accepted is durable.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alert::sink::AlertSink;
use anyhow::{Context as _, Result};
use model::{
    AttributeValue, Clock, Done, Labels, MetricBatch, MetricRow, Resource, Sink, SpanBatch,
    SystemClock,
};
use parking_lot::Mutex;
use server::receive::jaeger::{self, Datagrams};
use server::receive::pushgateway::Gateway;
use server::receive::sockets::{Addresses, Sockets};
use server::receive::{self, Receivers, beats, fluent, gelf, syslog};
use server::{App, Host as _, Listener, OwnSpans, TailHub};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::EnvFilter;

use crate::alerting::{self, Alerting, Knowledge};
use crate::config::Config;
use crate::memory;
use crate::process::{Loaded, Process, load_prometheus};
use crate::prometheus_yml::PrometheusConfig;
use crate::promtail::{self, Promtail};
use crate::pushed::PushedFiles;
use crate::remote_write::{RemoteWrite, Remotes};
use crate::rules::{self, Rules};
use crate::span_forward::SpanForward;
use crate::stores::Stores;

/// Open connections at the same time.
const CONNECTIONS_MAX: usize = 1024;
/// An orderly stop takes no longer than this from the signal on.
const STOP_MAX: Duration = Duration::from_millis(7_500);
/// Collectors get this long to hand over what they hold.
const COLLECTORS_STOP_MAX: Duration = Duration::from_secs(2);
/// Dropped targets kept per job, for the API.
const DROPPED_TARGETS_MAX: usize = 1_000;
/// Of a collector that is switched off and asks for one.
const DEFAULT_INTERVAL_MS: u64 = 15_000;
/// Pushed requests decoded at the same time.
const RECEIVE_LANES: usize = 4;
/// Bytes of what is kept to recognise pushed series, of each format.
const KNOWN_BYTES_MAX: usize = 512 << 20;
/// Groups of the Pushgateway's API.
const PUSHED_GROUPS_MAX: usize = 10_000;
/// Series of all groups together; they are appended every interval.
const PUSHED_SERIES_MAX: usize = 200_000;
/// Series whose deltas are added up.
const DELTA_SERIES_MAX: usize = 200_000;
/// Sums of deltas nobody adds to are forgotten.
const DELTA_STALE_AFTER_MS: i64 = 3_600_000;
/// How often limits are looked at and our own figures are stored.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(15);
/// Service and source of spans about ourselves.
const OWN_SOURCE: &str = "taffrail";
/// How often configuration files are checked for changes.
const FILES_CHECKED_EVERY: Duration = Duration::from_secs(5);

/// Runs until a signal ends it.
///
/// # Errors
/// When the data directory, the stores or the address cannot be used.
pub fn run(config: Config) -> Result<()> {
    let filter = EnvFilter::try_from_env("TAFFRAIL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .init();
    raise_open_files();
    // Two workers carry thousands of targets; queries have threads of their own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(config.query.concurrency + 8)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(live(config));
    // What still blocks was given up; the process does not wait for it.
    runtime.shutdown_background();
    outcome
}

/// Lets the process open as many files as it may. The lower limit is for programs that use `select`.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limits.maximum, ..limits };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

async fn live(config: Config) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let started_ms = clock.now_ms();
    let _lock = storage::fs::lock_dir(&config.data_dir)?;
    let tail = Arc::new(TailHub::default());
    let stores = Arc::new(Stores::open(&config, &clock, tail.clone())?);
    let listener = Listener::bind(config.listen).await?;
    let address = listener.address();

    let env = |name: &str| environment(name);
    let prometheus = config
        .prometheus
        .as_deref()
        .map(|path| load_prometheus(path, &env))
        .transpose()?
        .unwrap_or_default();
    let dropped = Arc::default();
    let promtail = config.promtail.as_deref().map(|path| promtail::load(path, &env, &dropped));
    let promtail = promtail.transpose()?.unwrap_or_default();
    let forwarding = CancellationToken::new();
    let remote_write =
        RemoteWrite::new(&config, stores.metrics.clone(), clock.clone(), forwarding.clone());
    // Before anything is collected, so that nothing is left out.
    let remotes = Remotes::of(prometheus.remote_write.clone(), &prometheus.external_labels);
    stores.forward_to(remote_write.reload(remotes)?);

    let span_forward = SpanForward::open(&config, &clock, &forwarding)?;
    stores.forward_spans_to(span_forward.as_ref().map(SpanForward::feed));

    let sink: Arc<dyn Sink> = stores.clone();
    let collectors = CancellationToken::new();
    let host = config.host.as_ref().map(|host| {
        let config = collect::host::Config {
            interval_ms: host.interval_ms,
            host_name: config.host_name.clone(),
            proc_root: host.proc.clone(),
            sys_root: host.sys.clone(),
            root: host.rootfs.clone(),
        };
        collect::host::spawn(config, sink.clone(), clock.clone(), collectors.clone())
    });
    let claims: Arc<collect::container::Claims> = Arc::default();
    let socket = config.containers.as_ref().map(|containers| containers.socket.clone());
    promtail.claim_first(&claims, socket.as_deref());
    let containers = collect::container::spawn(
        container_config(&config, claims.clone()),
        sink.clone(),
        clock.clone(),
        collectors.clone(),
    )?;
    let files = collect::file::spawn(
        file_targets(&config),
        sink.clone(),
        clock.clone(),
        Arc::default(),
        collectors.clone(),
    )?;
    let scrape_config = collect::scrape::Config {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        limits: scrape_limits(config.memory_limit_bytes),
        dropped_targets_max: DROPPED_TARGETS_MAX,
    };
    let engine = Some(collect::docker::engine_api());
    let scrape = collect::scrape::spawn(
        scrape_config,
        prometheus.jobs.clone(),
        sink.clone(),
        clock.clone(),
        engine,
        collectors.clone(),
    );

    let (receivers, damaged_groups) =
        open_receivers(&config, sink.clone(), clock.clone(), prometheus.otlp.clone())?;
    for damage in &damaged_groups {
        tracing::warn!("{damage}");
    }
    let context = promtail::Context {
        sink: sink.clone(),
        clock: clock.clone(),
        host_name: config.host_name.clone(),
        claims,
        engine: socket,
        receivers: receivers.clone(),
        cancel: collectors.clone(),
    };
    let promtail = Promtail::start(promtail, dropped, context);
    let pushing = tokio::spawn(
        receivers
            .gateway()
            .clone()
            .run(Duration::from_millis(config.receive.push_interval_ms), collectors.clone()),
    );

    let reached = reached(&config, address);
    let alertmanagers = collect::scrape::alertmanager::spawn(
        env!("CARGO_PKG_VERSION"),
        prometheus.alertmanagers.clone(),
        clock.clone(),
        Some(collect::docker::engine_api()),
        forwarding.clone(),
    );
    let alert_sender = rules::Sender::start(alertmanagers, forwarding.clone());
    let alerting = open_alerting(&config, &clock, &reached, containers.registry.clone(), &stores)?;
    let dispatching = tokio::spawn(alerting.clone().run(forwarding.clone()));
    let sinks: Vec<Arc<dyn AlertSink>> = vec![alerting.clone(), alert_sender.clone()];
    let rules = start_rules(&config, &stores, &clock, &prometheus, &reached, sinks).await?;
    let evaluation_interval_ms = evaluation_interval_ms(prometheus.evaluation_interval_ms);
    let process = Arc::new(Process {
        stores: stores.clone(),
        containers: containers.registry.clone(),
        collected: collected(&containers, host.as_ref(), &files, &promtail),
        promtail,
        scrape,
        receivers: receivers.clone(),
        remote_write,
        span_forward,
        rules,
        alerting,
        alert_sender,
        address: reached,
        own_spans: config.traces.self_tracing.then(|| Arc::new(own_spans(&config))),
        clock: clock.clone(),
        started_ms,
        env: environment,
        loaded: Arc::new(Mutex::new(Loaded { config: prometheus, at_ms: started_ms })),
        quit: CancellationToken::new(),
        last_reload: Arc::default(),
        config: config.clone(),
    });
    let server_config = server::Config {
        query_concurrency: config.query.concurrency,
        query_limits: config.query.limits,
        lookback_ms: config.query.lookback_ms,
        promql_experimental: config.query.experimental,
        evaluation_interval_ms,
        admin_api: config.admin_api,
        cors_origin: config.cors_origin.clone(),
        log_rows_max: config.query.log_rows_max,
        access: config.access.clone(),
        own_spans: process.own_spans.clone(),
    };
    let archived = stores.archived();
    let app = App::new(
        server_config,
        server::Sources {
            metrics: stores.metrics.clone(),
            logs: stores.logs.clone(),
            traces: archived.clone(),
            archive: Some(archived),
        },
        clock.clone(),
        process.clone(),
        tail.clone(),
        receivers,
    );
    let stop = CancellationToken::new();
    let http =
        tokio::spawn(server::serve(listener, server::router(&app), CONNECTIONS_MAX, stop.clone()));
    let grpc = match grpc_listener(&config).await? {
        Some(listener) => tokio::spawn(server::receive::grpc::serve(
            listener,
            app.clone(),
            CONNECTIONS_MAX,
            stop.clone(),
        )),
        None => tokio::spawn(std::future::ready(())),
    };
    let sockets = open_sockets(&config, &app, &clock, &stop).await?;
    let housekeeping = tokio::spawn(keep_house(process.clone(), sink.clone(), collectors.clone()));
    let watcher = tokio::spawn(watch_files(process.clone(), collectors.clone()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %config.data_dir.display(),
        memory_limit_mib = config.memory_limit_bytes >> 20,
        memory_limit_from = config.memory_limit_source,
        start_ms = clock.now_ms() - started_ms,
        "taffrail runs; open http://{address}"
    );

    wait_for_stop(&process).await?;
    let deadline = tokio::time::Instant::now() + STOP_MAX;
    collectors.cancel();
    tail.stop();
    stop.cancel();
    let handed_over = async {
        let host_stopped = async {
            match host {
                Some(host) => host.stopped().await,
                None => true,
            }
        };
        let (host, containers, files, (), ()) = tokio::join!(
            host_stopped,
            containers.stopped(),
            files.stopped(),
            process.promtail.stopped(),
            process.scrape.closed()
        );
        host && containers && files
    };
    if !tokio::time::timeout(COLLECTORS_STOP_MAX, handed_over).await.unwrap_or(false) {
        tracing::warn!(
            "collectors did not stop in time; what they held is read again at the next start"
        );
    }
    let ended = tokio::join!(http, grpc, housekeeping, watcher, pushing, sockets);
    let ended = [ended.0, ended.1, ended.2, ended.3, ended.4, ended.5];
    ended.into_iter().collect::<Result<(), _>>().context("a background task ended unexpectedly")?;
    store_own_spans(&process, &*sink);
    let ending = process.clone();
    tokio::task::spawn_blocking(move || ending.rules.stop()).await?;
    forwarding.cancel();
    dispatching.await.context("alerting ended unexpectedly")?;
    let closed = tokio::task::spawn_blocking(move || stores.close());
    match tokio::time::timeout_at(deadline, closed).await {
        Ok(closed) => {
            closed??;
            // The stores hand their last batches to the queue, so it closes behind them.
            process.remote_write.closed().await?;
            if let Some(forward) = &process.span_forward {
                forward.closed().await?;
            }
            tracing::info!("stopped");
        }
        // Every acknowledged row is in the log on disk already.
        Err(_) => tracing::warn!(
            "stopped before the heads were moved to disk; they are recovered at the next start"
        ),
    }
    Ok(())
}

/// Log files to read, with the positions of a Promtail that read them before.
fn file_targets(config: &Config) -> Vec<collect::file::Target> {
    let with_positions = |files: &crate::config::Files| {
        let mut target = files.target.clone();
        if let Some(path) = &files.positions {
            match collect::file::Positions::load(path) {
                Ok(positions) => target.positions = Arc::new(positions.files),
                // It is needed once; afterwards it may be deleted with the program it belonged to.
                Err(error) => tracing::warn!("positions are not taken over: {error}"),
            }
        }
        target
    };
    config.files.iter().map(with_positions).collect()
}

/// Host and port that links to this process name.
fn reached(config: &Config, address: SocketAddr) -> String {
    if address.ip().is_loopback() {
        return address.to_string();
    }
    format!("{}:{}", config.host_name, address.port())
}

/// Reads the `alertmanager.yml` and takes up what alerting remembers.
fn open_alerting(
    config: &Config,
    clock: &Arc<dyn Clock>,
    address: &str,
    containers: Arc<collect::container::Registry>,
    stores: &Arc<Stores>,
) -> Result<Arc<Alerting>> {
    let loaded = alerting::Loaded::read(config.alertmanager.as_deref(), &environment)?;
    let external_url = config.external_url.clone();
    let external_url = external_url.unwrap_or_else(|| format!("http://{address}"));
    let logs = stores.logs.clone();
    let knowledge = Knowledge { containers, logs, clock: clock.clone(), external_url };
    let fs = Arc::new(storage::fs::RealFs);
    let host_name = &config.host_name;
    Ok(Arc::new(Alerting::open(
        fs,
        &config.data_dir,
        loaded,
        knowledge,
        host_name,
        stores.clone(),
    )?))
}

/// Reads the rule files and starts evaluating them.
async fn start_rules(
    config: &Config,
    stores: &Arc<Stores>,
    clock: &Arc<dyn Clock>,
    prometheus: &PrometheusConfig,
    address: &str,
    sinks: Vec<Arc<dyn AlertSink>>,
) -> Result<Rules> {
    let set = rules::load(config, prometheus, address)?;
    let limits = &config.query.limits;
    let parts = rules::Parts {
        metrics: stores.metrics.clone(),
        logs: stores.logs.clone(),
        traces: stores.traces.clone(),
        sink: stores.clone(),
        clock: clock.clone(),
        files: rules::StateFiles::new(Arc::new(storage::fs::RealFs), &config.data_dir),
        sinks,
        limits: model::Limits { bytes_max: config.memory_limit_bytes / 100 * 5, ..*limits },
        lookback_ms: config.query.lookback_ms,
        experimental: config.query.experimental,
    };
    Ok(tokio::task::spawn_blocking(move || Rules::start(parts, set)).await??)
}

/// What to watch of containers; no endpoint when they are switched off.
fn container_config(
    config: &Config,
    claims: Arc<collect::container::Claims>,
) -> collect::container::Config {
    let host = config.host.as_ref();
    let roots = host.map_or(("/proc".into(), "/sys".into()), |h| (h.proc.clone(), h.sys.clone()));
    let containers = config.containers.as_ref();
    collect::container::Config {
        endpoint: containers.map(|c| c.socket.display().to_string()),
        interval_ms: containers.map_or(DEFAULT_INTERVAL_MS, |c| c.interval_ms),
        host_name: config.host_name.clone(),
        proc_root: roots.0,
        sys_root: roots.1,
        logs: containers.is_some_and(|c| c.logs),
        joins_traces: containers.is_some_and(|c| c.joins_traces),
        claims,
        logs_since_ns: 0,
    }
}

/// Bounds of a scrape for jobs that set none of their own. A body is read into memory whole, so several hostile targets at
/// once must fit below the limit.
/// The interval that `prometheus.yml` sets; a minute without such a file.
fn evaluation_interval_ms(set_ms: u64) -> i64 {
    i64::try_from(set_ms).ok().filter(|ms| *ms > 0).unwrap_or(60_000)
}

fn scrape_limits(memory_limit_bytes: u64) -> ingest::exposition::Limits {
    let body_bytes = (memory_limit_bytes / 32).clamp(4 << 20, 64 << 20);
    ingest::exposition::Limits {
        body_bytes_max: usize::try_from(body_bytes).unwrap_or(usize::MAX),
        samples_max: 500_000,
        labels_max: 64,
        name_bytes_max: 512,
        value_bytes_max: 8 << 10,
    }
}

/// The receivers over `sink`, and what of the pushed groups did not read.
fn open_receivers(
    config: &Config,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    otlp: ingest::otlp::translate::Config,
) -> Result<(Arc<Receivers>, Vec<String>)> {
    let scrape = scrape_limits(config.memory_limit_bytes);
    let request_bytes = config.receive.request_bytes_max;
    let limits = receive::Limits {
        body_bytes_max: request_bytes,
        unpacked_bytes_max: request_bytes,
        bodies_bytes_max: request_bytes.saturating_mul(4),
        lanes: RECEIVE_LANES,
        // What a request becomes in memory stays within a few times its largest size.
        rows_max: (request_bytes / 64).max(10_000),
        // The name is one of them here and none there.
        labels_max: scrape.labels_max + 1,
        name_bytes_max: scrape.name_bytes_max,
        value_bytes_max: scrape.value_bytes_max,
        // Mostly labels that the store has in memory anyway.
        known_bytes_max: usize::try_from(config.memory_limit_bytes / 8)
            .unwrap_or(usize::MAX)
            .min(KNOWN_BYTES_MAX),
        label_values_max: config.receive.label_values_max,
        future_ms_max: crate::stores::FUTURE_MS_MAX,
    };
    let groups = ingest::pushgateway::Limits {
        push: scrape,
        groups_max: PUSHED_GROUPS_MAX,
        series_max: PUSHED_SERIES_MAX,
    };
    let files = Arc::new(PushedFiles::new(Arc::new(storage::fs::RealFs), &config.data_dir));
    let (gateway, damage) = Gateway::open(groups, sink.clone(), clock, files)?;
    let totals = ingest::otlp::delta::Config {
        series_max: DELTA_SERIES_MAX,
        stale_after_ms: DELTA_STALE_AFTER_MS,
    };
    Ok((Receivers::new(limits, sink, otlp, totals, gateway), damage))
}

/// The socket of OTLP over gRPC. The standard port may be taken by a collector that forwards to us: then that is how data
/// comes.
async fn grpc_listener(config: &Config) -> Result<Option<Listener>> {
    let Some(address) = config.receive.otlp_grpc else { return Ok(None) };
    match Listener::bind(address).await {
        Ok(listener) => {
            tracing::info!("OTLP over gRPC on {}", listener.address());
            Ok(Some(listener))
        }
        Err(error) if config.receive.otlp_grpc_asked => Err(error.into()),
        Err(error) => {
            tracing::info!(%error, "OTLP over gRPC is off; receive.otlp_grpc sets another address");
            Ok(None)
        }
    }
}

/// Opens the sockets of the receivers that have their own and serves them until `stop`.
async fn open_sockets(
    config: &Config,
    app: &Arc<App>,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
) -> Result<JoinHandle<()>> {
    let wanted = &config.receive.sockets;
    let receivers = TaskTracker::new();
    let bind = async |name: &str, addresses: &Addresses| -> Result<Sockets> {
        let sockets =
            Sockets::bind(addresses, wanted.certificate.as_ref().map(|c| c.tls.clone())).await?;
        let Addresses { tcp, tls, udp } = sockets.addresses();
        for (how, address) in [("TCP", tcp), ("TLS", tls), ("UDP", udp)] {
            log_socket(name, how, address);
        }
        Ok(sockets)
    };
    if let Some(wanted) = &wanted.syslog {
        let sockets = bind("syslog", &wanted.addresses).await?;
        let options = syslog::Options { zone: wanted.zone.clone(), ..syslog::Options::default() };
        let (store, shared) = (syslog::to_store(app, stop), app.receivers().clone());
        receivers.spawn(syslog::serve(
            sockets,
            options,
            store,
            shared,
            clock.clone(),
            stop.clone(),
        ));
    }
    if let Some(wanted) = &wanted.fluent {
        let sockets = bind("Fluentd's forward protocol", &wanted.addresses).await?;
        let host_name: Arc<str> = Arc::from(config.host_name.as_str());
        let secret = wanted.shared_key.clone();
        let secret = secret.map(|shared_key| fluent::Secret { shared_key, host_name });
        receivers.spawn(fluent::serve(sockets, secret, app.clone(), stop.clone()));
    }
    if let Some(addresses) = &wanted.beats {
        let sockets = bind("Lumberjack", addresses).await?;
        receivers.spawn(beats::serve(sockets, app.clone(), stop.clone()));
    }
    if let Some(addresses) = &wanted.gelf {
        let sockets = bind("GELF", addresses).await?;
        let (store, shared) = (gelf::to_store(app, stop), app.receivers().clone());
        receivers.spawn(gelf::serve(sockets, store, shared, clock.clone(), stop.clone()));
    }
    open_trace_sockets(config, app, stop, &receivers).await?;
    receivers.close();
    Ok(tokio::spawn(async move { receivers.wait().await }))
}

/// Opens the sockets on which clients of Jaeger and Zipkin expect their servers.
async fn open_trace_sockets(
    config: &Config,
    app: &Arc<App>,
    stop: &CancellationToken,
    receivers: &TaskTracker,
) -> Result<()> {
    let wanted = &config.receive.sockets;
    let http = [
        ("Jaeger's Thrift over HTTP", wanted.jaeger.thrift_http, &["/api/traces"][..]),
        ("Zipkin over HTTP", wanted.zipkin, &["/api/v1/spans", "/api/v2/spans"][..]),
    ];
    for (name, address, paths) in http {
        let Some(address) = address else { continue };
        let listener = Listener::bind(address).await?;
        tracing::info!("{name} on {}", listener.address());
        let router = server::ingest_router(app, paths);
        receivers.spawn(server::serve(listener, router, CONNECTIONS_MAX, stop.clone()));
    }
    if let Some(address) = wanted.jaeger.grpc {
        let listener = Listener::bind(address).await?;
        tracing::info!("Jaeger over gRPC on {}", listener.address());
        let served = receive::grpc::serve(listener, app.clone(), CONNECTIONS_MAX, stop.clone());
        receivers.spawn(served);
    }
    let datagrams = [
        ("Jaeger's compact Thrift", wanted.jaeger.thrift_compact, Datagrams::Compact),
        ("Jaeger's binary Thrift", wanted.jaeger.thrift_binary, Datagrams::Binary),
    ];
    for (name, address, form) in datagrams {
        let Some(address) = address else { continue };
        let addresses = Addresses { udp: Some(address), ..Addresses::default() };
        let sockets = Sockets::bind(&addresses, None).await?;
        log_socket(name, "UDP", sockets.addresses().udp);
        receivers.spawn(jaeger::serve_datagrams(sockets, form, app.clone(), stop.clone()));
    }
    Ok(())
}

/// Says where a receiver listens that asks nobody who they are.
fn log_socket(name: &str, how: &str, address: Option<SocketAddr>) {
    let Some(address) = address else { return };
    tracing::info!("{name} over {how} on {address}");
    if !address.ip().is_loopback() && how != "TLS" {
        tracing::warn!(
            "{name} over {how} asks nobody who they are; whoever reaches {address} can write"
        );
    }
}

/// The collectors' own counters, by collector.
fn collected(
    containers: &collect::container::Handle,
    host: Option<&collect::host::Handle>,
    files: &collect::file::Handle,
    promtail: &Promtail,
) -> Vec<(&'static str, Arc<collect::Counters>)> {
    let mut all = vec![("containers", containers.counters.clone())];
    all.extend(host.map(|host| ("host", host.counters.clone())));
    all.push(("files", files.counters.clone()));
    all.push(("promtail", promtail.counters.clone()));
    all
}

#[expect(
    clippy::disallowed_methods,
    reason = "variables in configuration files; this is the binary's configuration"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Returns at SIGTERM, SIGINT and `/-/quit`; SIGHUP reloads.
async fn wait_for_stop(process: &Process) -> Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = process.quit.cancelled() => return Ok(()),
            // What went wrong is in the log and on the status page; the running configuration stays.
            _ = hang_up.recv() => drop(process.reload_now()),
        }
    }
}

/// Holds the disk and memory limits and stores our own figures.
async fn keep_house(process: Arc<Process>, sink: Arc<dyn Sink>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(HOUSEKEEPING_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let stores = process.stores.clone();
        let memory_limit = process.config.memory_limit_bytes;
        let kept = tokio::task::spawn_blocking(move || {
            match stores.hold_disk_limit() {
                Ok(0) => {}
                Ok(freed_bytes) => {
                    tracing::info!(freed_bytes, "deleted the oldest data to stay below disk_limit")
                }
                Err(error) => tracing::error!(%error, "cannot hold disk_limit"),
            }
            // A flush only helps when the heads are what takes the memory; otherwise it would litter small parts.
            if memory::usage().rss_bytes > memory_limit / 10 * 9
                && stores.head_bytes() > memory_limit / 20
            {
                tracing::warn!("memory is at 90 % of its limit; moving heads to disk");
                if let Err(error) = stores.flush() {
                    tracing::error!(%error, "flush failed");
                }
            }
        });
        if let Err(error) = kept.await {
            tracing::error!(%error, "housekeeping failed");
        }
        sink.append_metrics(own_figures(&process), Done::ignore());
        store_own_spans(&process, &*sink);
        let of_spans = process.stores.span_metrics.lock().collect(process.clock.now_ms());
        if !of_spans.rows.is_empty() {
            sink.append_metrics(of_spans, Done::ignore());
        }
    }
}

/// Who our own spans are of.
fn own_spans(config: &Config) -> OwnSpans {
    let text = |text: &str| AttributeValue::String(text.to_owned());
    let attributes = vec![
        (Arc::from("service.name"), text(OWN_SOURCE)),
        (Arc::from("service.version"), text(env!("CARGO_PKG_VERSION"))),
        (Arc::from("host.name"), text(&config.host_name)),
    ];
    let resource = Resource { attributes, ..Resource::default() };
    OwnSpans::new(resource, env!("CARGO_PKG_VERSION"))
}

/// Stores the spans about our own requests since the last time. Storing them is no request, so it makes none.
fn store_own_spans(process: &Arc<Process>, sink: &dyn Sink) {
    let groups = process.own_spans.as_ref().map(|spans| spans.take()).unwrap_or_default();
    let batch = SpanBatch { source: Arc::from(OWN_SOURCE), groups };
    if batch.is_empty() {
        return;
    }
    let (count, booking) = (batch.len() as u64, process.clone());
    let done = Done::new(move |outcome| {
        if let Err(error) = outcome {
            tracing::debug!(%error, "spans about our own requests are not stored");
            booking.dropped_spans(OWN_SOURCE, "failed", count);
        }
    });
    sink.append_spans(batch, done);
}

/// Our own figures as a batch, as if scraped.
fn own_figures(process: &Process) -> MetricBatch {
    let rows = process
        .figures()
        .iter()
        .map(|figure| {
            let own = [
                ("__name__", figure.name),
                ("job", "taffrail"),
                ("instance", process.config.host_name.as_str()),
            ];
            let labels = Labels::from_pairs(
                own.into_iter().chain(figure.labels.iter().map(|(n, v)| (*n, v.as_str()))),
            );
            MetricRow { labels, value: figure.value }
        })
        .chain(line_metrics(process))
        .collect();
    MetricBatch {
        source: Arc::from("taffrail"),
        t_ms: process.clock.now_ms(),
        rows,
        ..MetricBatch::default()
    }
}

/// What `metrics` stages and `logs.metrics` count, as if scraped: labels of targets are named so when ours are others.
fn line_metrics(process: &Process) -> Vec<MetricRow> {
    let own = [("job", "taffrail"), ("instance", process.config.host_name.as_str())];
    let row = |sample: ingest::pipeline::Sample| {
        let mut labels = sample.labels.to_builder();
        for (name, value) in own {
            if let Some(theirs) = sample.labels.get(name) {
                labels.set(&format!("exported_{name}"), theirs);
            }
            labels.set(name, value);
        }
        MetricRow { labels: labels.build(), value: sample.value }
    };
    let all = process.line_metrics();
    all.iter().flat_map(|metrics| metrics.samples(&*process.clock)).map(row).collect()
}

/// Reloads when `taffrail.yml`, `prometheus.yml`, `promtail.yml`, `alertmanager.yml` or a rule file changes.
async fn watch_files(process: Arc<Process>, stop: CancellationToken) {
    let Config { path, prometheus, promtail, alertmanager, .. } = &process.config;
    let files: Vec<PathBuf> =
        [path, prometheus, promtail, alertmanager].into_iter().flatten().cloned().collect();
    let stamp =
        |path: &PathBuf| std::fs::metadata(path).and_then(|m| Ok((m.modified()?, m.len()))).ok();
    let of_rules = || -> Vec<(PathBuf, Option<(SystemTime, u64)>)> {
        let files = rules::files(&process.config, &process.loaded.lock().config);
        files.into_iter().map(|file| (file.clone(), stamp(&file))).collect()
    };
    let mut seen: Vec<Option<(SystemTime, u64)>> = files.iter().map(stamp).collect();
    let mut rules_seen = of_rules();
    let mut rules_before = rules_seen.clone();
    let mut tick = tokio::time::interval(FILES_CHECKED_EVERY);
    while !files.is_empty() {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now: Vec<_> = files.iter().map(stamp).collect();
        // A file that is gone for a moment is being replaced.
        if now != seen && now.iter().all(Option::is_some) {
            seen = now;
            drop(process.reload_now());
            (rules_seen, rules_before) = (of_rules(), of_rules());
            continue;
        }
        // Which files there are is part of it: one that is being replaced must not be taken for gone.
        let rules_now = of_rules();
        if rules_now != rules_seen && rules_now == rules_before {
            rules_seen.clone_from(&rules_now);
            drop(process.reload_now());
        }
        rules_before = rules_now;
    }
}

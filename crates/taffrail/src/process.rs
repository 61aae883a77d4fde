//! What only the running process knows, for the server: readiness, status, figures, reload.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use collect::container::{ContainerState, Registry};
use collect::scrape::TargetsSnapshot;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::{Clock, Error, Receipt, RejectReason};
use parking_lot::Mutex;
use server::receive::Receivers;
use server::{Figure, Host, OwnSpans};
use storage::writer::WriterState;
use tokio_util::sync::CancellationToken;

use crate::alerting::{self, Alerting};
use crate::config::{Config, Overrides};
use crate::ledger::Signal;
use crate::prometheus_yml::PrometheusConfig;
use crate::promtail::{self, Promtail};
use crate::remote_write::{RemoteWrite, Remotes};
use crate::rules::{self, Rules};
use crate::span_forward::SpanForward;
use crate::stores::Stores;
use crate::yaml::ConfigError;
use crate::{config, memory, prometheus_yml};

/// The running process.
pub struct Process {
    pub(crate) config: Config,
    pub(crate) stores: Arc<Stores>,
    pub(crate) containers: Arc<Registry>,
    /// Counters of the collectors.
    pub(crate) collected: Vec<(&'static str, Arc<collect::Counters>)>,
    pub(crate) scrape: collect::scrape::Handle,
    pub(crate) receivers: Arc<Receivers>,
    /// The jobs of a `promtail.yml`.
    pub(crate) promtail: Promtail,
    pub(crate) remote_write: RemoteWrite,
    pub(crate) span_forward: Option<SpanForward>,
    pub(crate) rules: Rules,
    /// Alerts and whom they are told.
    pub(crate) alerting: Arc<Alerting>,
    /// Sends alerts to the Alertmanagers of `prometheus.yml`.
    pub(crate) alert_sender: Arc<rules::Sender>,
    /// Where this server is reached.
    pub(crate) address: String,
    /// Spans about our own requests.
    pub(crate) own_spans: Option<Arc<OwnSpans>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started_ms: i64,
    pub(crate) env: fn(&str) -> Option<String>,
    /// The scrape configuration in force.
    pub(crate) loaded: Arc<Mutex<Loaded>>,
    /// Fires when somebody asked for the end over HTTP.
    pub(crate) quit: CancellationToken,
    /// Outcome of the last reload, for the status page.
    pub(crate) last_reload: Arc<Mutex<Option<String>>>,
}

/// What a `prometheus.yml` said when it was last taken over.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) config: PrometheusConfig,
    /// When, Unix milliseconds.
    pub(crate) at_ms: i64,
}

impl Process {
    /// Reads the configuration files again. What `prometheus.yml` and `promtail.yml` say changes at once; for other settings it says which
    /// need a restart. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first mistake; the running configuration stays.
    pub fn reload_now(&self) -> Result<(), ConfigError> {
        let outcome = self.read_again();
        *self.last_reload.lock() = outcome.as_ref().err().map(ToString::to_string);
        match &outcome {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(mistake) => {
                tracing::warn!(%mistake, "configuration not reloaded; the running one stays")
            }
        }
        outcome
    }

    fn read_again(&self) -> Result<(), ConfigError> {
        let overrides = Overrides { config: self.config.path.clone(), ..Overrides::default() };
        let fresh = config::load(&overrides, &self.env)?;
        let prometheus = fresh
            .prometheus
            .as_deref()
            .map(|path| load_prometheus(path, &self.env))
            .transpose()?
            .unwrap_or_default();
        let set = rules::load(&fresh, &prometheus, &self.address)?;
        let alertmanager = alerting::Loaded::read(fresh.alertmanager.as_deref(), &self.env)?;
        let dropped = &self.promtail.dropped;
        let promtail =
            fresh.promtail.as_deref().map(|path| promtail::load(path, &self.env, dropped));
        let promtail = promtail.transpose()?.unwrap_or_default();
        if self.config.path.is_some() {
            for key in self.changed_keys(&fresh) {
                tracing::warn!(key, "changed in the file; takes effect at the next start");
            }
        }
        // First, because it is what can fail.
        let remotes = Remotes::of(prometheus.remote_write.clone(), &prometheus.external_labels);
        let feed = self.remote_write.reload(remotes).map_err(|e| {
            let file = fresh.prometheus.as_deref().unwrap_or(Path::new(""));
            ConfigError::whole_file(file, format!("cannot open the queue of remote_write: {e}"))
        })?;
        self.stores.forward_to(feed);
        self.scrape.reload(prometheus.jobs.clone());
        self.promtail.reload(promtail);
        self.alert_sender.reload(prometheus.alertmanagers.clone());
        self.rules.reload(set);
        self.alerting.reload(alertmanager);
        self.receivers.set_otlp(prometheus.otlp.clone());
        *self.loaded.lock() = Loaded { config: prometheus, at_ms: self.clock.now_ms() };
        Ok(())
    }

    /// Keys of `fresh` that differ from what runs and that only a start applies. Flags of the command line are not
    /// among them, they win over the file anyway.
    fn changed_keys(&self, fresh: &Config) -> Vec<&'static str> {
        let old = &self.config;
        let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
        [
            ("retention_rules", text(&old.retention_rules), text(&fresh.retention_rules)),
            ("durability", text(&old.durability), text(&fresh.durability)),
            ("containers", text(&old.containers), text(&fresh.containers)),
            ("files", text(&old.files), text(&fresh.files)),
            ("host", text(&old.host), text(&fresh.host)),
            ("query", text(&old.query), text(&fresh.query)),
            ("receive", text(&old.receive), text(&fresh.receive)),
            ("traces", text(&old.traces), text(&fresh.traces)),
        ]
        .into_iter()
        .filter_map(|(key, old, fresh)| (old != fresh).then_some(key))
        .collect()
    }
}

/// Reads a `prometheus.yml` and logs what it says that has no effect here.
pub(crate) fn load_prometheus(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<PrometheusConfig, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError::whole_file(path, format!("cannot read: {e}")))?;
    let (config, notes) = prometheus_yml::load(path, &text, env)?;
    for note in notes {
        tracing::info!(file = note.file, line = note.line, key = note.key, "{}", note.text());
    }
    Ok(config)
}

impl Host for Process {
    fn ready(&self) -> Result<(), &'static str> {
        match self.stores.state() {
            WriterState::Ok => Ok(()),
            WriterState::DiskFull { .. } => Err("the disk is full; nothing is stored"),
            WriterState::Failed { .. } => Err("a store has failed; nothing is stored"),
        }
    }

    fn status(&self) -> serde_json::Value {
        let (metrics, logs) = (self.stores.metrics.stats(), self.stores.logs.stats());
        let traces = self.stores.traces.stats();
        let (ingest, message) = match self.stores.state() {
            WriterState::Ok => ("ok", String::new()),
            WriterState::DiskFull { message } => ("disk_full", message),
            WriterState::Failed { message } => ("failed", message),
        };
        let docker = self.containers.docker_status();
        let ledger: Vec<serde_json::Value> = self
            .stores
            .ledger
            .accounts()
            .into_iter()
            .map(|(signal, source, account)| {
                let mut line = serde_json::json!(account);
                line["signal"] = serde_json::json!(signal);
                line["source"] = serde_json::json!(source);
                line
            })
            .collect();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "startedAtMs": self.started_ms,
            "nowMs": self.clock.now_ms(),
            "hostName": self.config.host_name,
            "docker": {"state": docker.state.as_str(), "message": docker.message, "endpoint": docker.endpoint},
            "ingest": {"state": ingest, "message": message},
            "reload": {"error": *self.last_reload.lock()},
            "memory": {"limitBytes": self.config.memory_limit_bytes, "limitSource": self.config.memory_limit_source, "rssBytes": memory::usage().rss_bytes},
            "disk": {"usedBytes": self.stores.disk_bytes(), "limitBytes": self.config.disk_limit_bytes, "freeBytes": self.stores.free_bytes()},
            "retentionMs": self.config.retention_ms,
            "damage": self.stores.damage,
            "promtail": self.promtail.status(),
            "ledger": ledger,
            "stores": [
                {"name": "tsdb", "series": metrics.series, "headBytes": metrics.head_bytes, "parts": metrics.parts,
                 "bytes": metrics.part_bytes + metrics.wal_bytes, "quarantined": metrics.quarantined},
                {"name": "logdb", "streams": logs.streams, "headBytes": logs.head_bytes, "parts": logs.parts,
                 "bytes": logs.part_bytes + logs.wal_bytes, "quarantined": logs.quarantined},
                {"name": "tracedb", "spans": traces.part_spans + traces.spans_head, "headBytes": traces.head_bytes,
                 "parts": traces.parts, "bytes": traces.part_bytes + traces.wal_bytes, "quarantined": traces.quarantined},
            ],
        })
    }

    fn containers(&self) -> Vec<ContainerState> {
        self.containers.snapshot()
    }

    fn container_of_id(&self, digits: &str) -> Option<ContainerState> {
        self.containers.of_id(digits)
    }

    fn container_at(&self, address: IpAddr) -> Option<ContainerState> {
        self.containers.at(address)
    }

    fn host_name(&self) -> &str {
        &self.config.host_name
    }

    fn targets(&self) -> TargetsSnapshot {
        self.scrape.targets()
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = Figures::default();
        let usage = memory::usage();
        figures.gauge(
            "taffrail_build_info",
            "1, with the version as a label.",
            vec![("version", env!("CARGO_PKG_VERSION").to_owned())],
            1.0,
        );
        figures.counter(
            "process_cpu_seconds_total",
            "CPU time of this process.",
            vec![],
            usage.cpu_seconds,
        );
        figures.gauge(
            "process_resident_memory_bytes",
            "Resident memory of this process.",
            vec![],
            usage.rss_bytes as f64,
        );
        figures.gauge(
            "process_virtual_memory_bytes",
            "Virtual memory of this process.",
            vec![],
            usage.virtual_bytes as f64,
        );
        figures.gauge("process_threads", "Threads of this process.", vec![], usage.threads as f64);
        figures.gauge(
            "process_open_fds",
            "Open file descriptors of this process.",
            vec![],
            usage.open_fds as f64,
        );
        figures.gauge(
            "process_start_time_seconds",
            "Start of this process, Unix time.",
            vec![],
            self.started_ms as f64 / 1e3,
        );
        figures.gauge(
            "taffrail_memory_limit_bytes",
            "Memory this process should stay below.",
            vec![],
            self.config.memory_limit_bytes as f64,
        );
        let (metrics, logs) = (self.stores.metrics.stats(), self.stores.logs.stats());
        let traces = self.stores.traces.stats();
        let all = |m: u64, l: u64, t: u64| [("metrics", m), ("logs", l), ("traces", t)];
        for (name, help, values) in [
            (
                "taffrail_store_head_bytes",
                "Memory of data not yet in parts.",
                all(metrics.head_bytes, logs.head_bytes, traces.head_bytes),
            ),
            (
                "taffrail_store_part_bytes",
                "Bytes of immutable parts on disk.",
                all(metrics.part_bytes, logs.part_bytes, traces.part_bytes),
            ),
            (
                "taffrail_store_wal_bytes",
                "Bytes of write-ahead log on disk.",
                all(metrics.wal_bytes, logs.wal_bytes, traces.wal_bytes),
            ),
            (
                "taffrail_store_parts",
                "Immutable parts.",
                all(metrics.parts, logs.parts, traces.parts),
            ),
            (
                "taffrail_store_quarantined",
                "Damaged files set aside.",
                all(metrics.quarantined, logs.quarantined, traces.quarantined),
            ),
        ] {
            for (store, value) in values {
                figures.gauge(name, help, vec![("store", store.to_owned())], value as f64);
            }
        }
        let archive = self.stores.archive.stats();
        figures.gauge(
            "taffrail_archive_spans",
            "Spans of archived traces.",
            vec![],
            (archive.part_spans + archive.spans_head) as f64,
        );
        figures.gauge(
            "taffrail_archive_bytes",
            "Bytes of archived traces on disk.",
            vec![],
            (archive.part_bytes + archive.wal_bytes) as f64,
        );
        for (part, bytes) in self.stores.metrics.memory().by_use() {
            figures.gauge(
                "taffrail_store_memory_bytes",
                "Memory of a store by what it is for.",
                vec![("store", "metrics".to_owned()), ("of", part.to_owned())],
                bytes as f64,
            );
        }
        figures.gauge(
            "taffrail_store_memory_bytes",
            "Memory of a store by what it is for.",
            vec![("store", "traces".to_owned()), ("of", "filters".to_owned())],
            traces.filter_bytes as f64,
        );
        figures.gauge(
            "taffrail_store_damage_at_start",
            "Damage found when the stores were opened; the status page names it.",
            vec![],
            self.stores.damage.len() as f64,
        );
        figures.gauge(
            "taffrail_store_active_series",
            "Series in the head.",
            vec![],
            metrics.series as f64,
        );
        figures.gauge(
            "taffrail_store_active_streams",
            "Log streams in the head.",
            vec![],
            logs.streams as f64,
        );
        figures.gauge(
            "taffrail_store_spans",
            "Spans kept.",
            vec![],
            (traces.part_spans + traces.spans_head) as f64,
        );
        figures.counter(
            "taffrail_spans_repeated_total",
            "Spans that came again and were stored already.",
            vec![],
            traces.repeated_spans as f64,
        );
        figures.counter(
            "taffrail_spans_late_total",
            "Spans stored that metrics made of spans leave out, because they ended more than 30 s ago.",
            vec![],
            self.stores.span_metrics.lock().late() as f64,
        );
        self.sampling_figures(&mut figures);
        if let Some(spans) = &self.own_spans {
            figures.counter(
                "taffrail_own_spans_dropped_total",
                "Spans about our own requests dropped because too many waited to be stored.",
                vec![],
                spans.dropped() as f64,
            );
        }
        figures.gauge(
            "taffrail_store_exemplars",
            "Exemplars kept.",
            vec![],
            metrics.exemplars as f64,
        );
        for (name, help, value) in [
            (
                "taffrail_store_exemplars_dropped_total",
                "Exemplars left out: out of order, or with labels of over 128 characters.",
                metrics.exemplars_dropped,
            ),
            (
                "taffrail_store_metadata_dropped_total",
                "Metadata left out because there is too much of it.",
                metrics.metadata_dropped,
            ),
        ] {
            figures.counter(name, help, vec![], value as f64);
        }
        for (metric, rows) in self.stores.metrics.over_limit() {
            figures.counter(
                "taffrail_store_series_limit_rows_total",
                "Rows refused because of the limit of active series, by metric; the empty one stands for all after 1,000.",
                vec![("metric", metric)],
                rows as f64,
            );
        }
        self.ledger_figures(&mut figures);
        self.line_figures(&mut figures);
        figures.0.extend(crate::remote_write::figures(&self.remote_write));
        figures.0.extend(self.span_forward.iter().flat_map(SpanForward::figures));
        figures.0.extend(rules::figures(&self.rules));
        figures.0.extend(self.alerting.figures());
        figures.0.extend(self.alert_sender.figures());
        for (reason, count) in self.promtail.dropped.snapshot() {
            figures.counter(
                "logentry_dropped_lines_total",
                "Lines that jobs of promtail.yml dropped, by reason.",
                vec![("reason", reason.to_string())],
                count as f64,
            );
        }
        for (collector, counters) in &self.collected {
            for (what, count) in counters.snapshot() {
                let labels =
                    vec![("collector", (*collector).to_owned()), ("what", what.to_owned())];
                figures.counter(
                    "taffrail_collector_total",
                    "What collectors stored, cut, refused or repeated.",
                    labels,
                    count as f64,
                );
            }
        }
        figures.0
    }

    fn line_metrics(&self) -> Vec<ingest::pipeline::Metrics> {
        vec![self.promtail.metrics(), self.stores.log_metrics.metrics().clone()]
    }

    fn refused(&self, source: &'static str, rows: u64) {
        let receipt = Receipt { stored: 0, rejected: vec![(RejectReason::Invalid, rows)] };
        self.stores.ledger.stored(Signal::Metrics, &Arc::from(source), &receipt);
    }

    fn refused_lines(&self, source: &'static str, rows: u64) {
        let receipt = Receipt { stored: 0, rejected: vec![(RejectReason::Invalid, rows)] };
        self.stores.ledger.stored(Signal::Logs, &Arc::from(source), &receipt);
    }

    fn dropped_lines(&self, source: &'static str, reason: &'static str, rows: u64) {
        self.stores.ledger.dropped(Signal::Logs, &Arc::from(source), reason, rows);
    }

    fn refused_spans(&self, source: &'static str, spans: u64) {
        let receipt = Receipt { stored: 0, rejected: vec![(RejectReason::Invalid, spans)] };
        self.stores.ledger.stored(Signal::Traces, &Arc::from(source), &receipt);
    }

    fn dropped_spans(&self, source: &'static str, reason: &'static str, spans: u64) {
        self.stores.ledger.dropped(Signal::Traces, &Arc::from(source), reason, spans);
    }

    fn alerting(&self) -> Option<Arc<dyn server::AlertDesk>> {
        Some(self.alerting.clone())
    }

    fn started_ms(&self) -> i64 {
        self.started_ms
    }

    fn quit(&self) {
        self.quit.cancel();
    }

    fn reload(&self) -> BoxFuture<'static, Result<(), Error>> {
        let outcome = self.reload_now().map_err(|mistake| Error::invalid(mistake.to_string()));
        async move { outcome }.boxed()
    }
}

impl Process {
    fn sampling_figures(&self, figures: &mut Figures) {
        let Some(sampler) = &self.stores.sampler else { return };
        for (stage, rule, outcome, spans) in sampler.counts() {
            figures.counter(
                "taffrail_sampling_spans_total",
                "Spans that traces.sampling decided about, by rule; the empty one stands for none.",
                vec![("stage", stage.to_owned()), ("rule", rule), ("outcome", outcome.to_owned())],
                spans as f64,
            );
        }
        figures.counter(
            "taffrail_sampling_hurried_traces_total",
            "Traces decided about before their time, because the head was full of waiting ones.",
            vec![],
            sampler.hurried() as f64,
        );
    }

    fn line_figures(&self, figures: &mut Figures) {
        let logs = self.stores.logs.stats();
        figures.counter(
            "taffrail_log_lines_cut_total",
            "Lines longer than the store's limit, cut there.",
            vec![],
            logs.truncated_lines as f64,
        );
        figures.counter(
            "taffrail_log_lines_repeated_total",
            "Pushed lines that were stored already.",
            vec![],
            logs.repeated_rows as f64,
        );
        figures.counter(
            "taffrail_log_metric_failures_total",
            "Lines that a rule of logs.metrics selects and cannot read.",
            vec![],
            self.stores.log_metrics.failed() as f64,
        );
        let counts = self.stores.redaction.iter().flat_map(|redaction| redaction.counts());
        for (rule, count) in counts {
            figures.counter(
                "taffrail_log_redactions_total",
                "Secrets replaced in log lines before they were stored.",
                vec![("rule", rule)],
                count as f64,
            );
        }
    }

    /// The ledger summed by signal: per-source lines are on the status page, where their number does no harm.
    fn ledger_figures(&self, figures: &mut Figures) {
        let mut sums: BTreeMap<(&'static str, String, &'static str), u64> = BTreeMap::new();
        for (signal, _, account) in self.stores.ledger.accounts() {
            let signal = serde_json::json!(signal).as_str().unwrap_or_default().to_owned();
            *sums
                .entry(("taffrail_ingest_received_rows_total", signal.clone(), ""))
                .or_default() += account.received;
            *sums.entry(("taffrail_ingest_stored_rows_total", signal.clone(), "")).or_default() +=
                account.stored;
            for (reason, count) in &account.rejected {
                *sums
                    .entry(("taffrail_ingest_rejected_rows_total", signal.clone(), reason))
                    .or_default() += count;
            }
            for (reason, count) in &account.dropped {
                *sums
                    .entry(("taffrail_ingest_dropped_rows_total", signal.clone(), reason))
                    .or_default() += count;
            }
        }
        for ((name, signal, reason), count) in sums {
            let mut labels = vec![("signal", signal)];
            if !reason.is_empty() {
                labels.push(("reason", reason.to_owned()));
            }
            figures.counter(
                name,
                "Rows by outcome: received = stored + rejected + dropped.",
                labels,
                count as f64,
            );
        }
    }
}

/// Collects figures.
#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
        value: f64,
    ) {
        self.0.push(Figure { name, kind: "gauge", help, labels, value });
    }

    fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
        value: f64,
    ) {
        self.0.push(Figure { name, kind: "counter", help, labels, value });
    }
}

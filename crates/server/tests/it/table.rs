//! An application over tables in memory: what the server needs, without stores or collectors.

#[path = "spans.rs"]
pub(crate) mod spans;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use alert::evaluate::{Alert, State};
use alert::group::{GroupReport, RuleReport};
use alert::rule::{Alerting, Expression, Group, Kind};
use collect::container::ContainerState;
use collect::scrape::{ActiveTarget, DroppedTarget, Health, TargetsSnapshot};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ingest::relabel::{Action, Rule, RuleConfig};
use model::{
    Budget, Clock, Done, Exemplar, Labels, LogAggregation, LogBatch, LogDeletion, LogPlan, LogRow,
    LogSource, ManualClock, Matcher, MetricBatch, MetricKind, MetricMetadata, MetricPlan,
    MetricSource, Order, PATTERN_LABEL, Receipt, RejectReason, Result, RetentionPreview,
    RetentionRule, Selected, SeriesData, SeriesExemplars, Sink, StepCounts, StreamVolume,
    TimeRange, TraceSource,
};
use parking_lot::Mutex;
use query::promql;
use server::operations::{
    Notification, Operations, PartInfo, Readers, RuleReader, RuntimeInfo, ScrapePool, StoreInfo,
};
use server::receive::pushgateway::{Gateway, GroupFiles};
use server::receive::{self, Receivers};
use server::{Access, App, Config, Figure, Host, OwnSpans, Role, Sources, TailHub, Tenants, Token};

use self::spans::Spans;

/// A container that runs, of compose's service `front` in the project `shop`.
pub(crate) const CONTAINER_ID: &str =
    "f00f00f00f00f00f00f00f00f00f00f00f00f00f00f00f00f00f00f00f00f00f";
/// Its address, one of this host's own that nobody else uses.
pub(crate) const CONTAINER_ADDRESS: &str = "127.77.0.9";

/// The moment all tests take place: the one of Prometheus' documentation.
pub(crate) const NOW_MS: i64 = 1_435_781_460_000;

/// Series with the same samples every 15 s.
pub(crate) struct Metrics;

const SERIES: [&[(&str, &str)]; 7] = [
    &[("__name__", "up"), ("job", "prometheus"), ("instance", "localhost:9090")],
    &[("__name__", "up"), ("job", "node"), ("instance", "localhost:9091")],
    &[
        ("__name__", "process_start_time_seconds"),
        ("job", "prometheus"),
        ("instance", "localhost:9090"),
    ],
    &[("__name__", "foo"), ("http_status_code", "200"), ("http.status_code", "404")],
    &[("__name__", "go_goroutines"), ("job", "prometheus"), ("instance", "127.0.0.1:9090")],
    &[("__name__", "test_exemplar_metric_total"), ("job", "prometheus"), ("service", "bar")],
    &[("__name__", "http_requests_total"), ("job", "prometheus"), ("code", "200")],
];

fn matching(selectors: &[Vec<Matcher>]) -> Vec<Labels> {
    let all = SERIES.iter().map(|pairs| Labels::from_pairs(pairs.iter().copied()));
    let wanted = |labels: &Labels| {
        selectors.is_empty() || selectors.iter().any(|s| s.iter().all(|m| m.matches_labels(labels)))
    };
    let mut found: Vec<Labels> = all.filter(wanted).collect();
    found.sort();
    found
}

impl MetricSource for Metrics {
    fn select(&self, plan: &MetricPlan, budget: &Budget) -> Result<Selected> {
        let timestamps: Arc<[i64]> = (0..=40)
            .map(|i| NOW_MS - 600_000 + i * 15_000)
            .filter(|t| (plan.start_ms..=plan.end_ms).contains(t))
            .collect();
        budget.charge_samples(timestamps.len() as u64)?;
        let series = matching(std::slice::from_ref(&plan.matchers));
        let data = |labels| SeriesData {
            labels,
            values: vec![1.0; timestamps.len()],
            timestamps: timestamps.clone(),
            histograms: Vec::new(),
            starts: None,
        };
        Ok(Selected { series: series.into_iter().map(data).collect(), warnings: Vec::new() })
    }

    fn series(
        &self,
        selectors: &[Vec<Matcher>],
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<Vec<Labels>> {
        Ok(matching(selectors))
    }

    fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<Vec<String>> {
        let mut names: Vec<String> = matching(selectors)
            .iter()
            .flat_map(|l| l.iter().map(|(n, _)| n.to_owned()).collect::<Vec<_>>())
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<Vec<String>> {
        let mut values: Vec<String> =
            matching(selectors).iter().filter_map(|l| l.get(name).map(str::to_owned)).collect();
        values.sort();
        values.dedup();
        Ok(values)
    }

    fn metadata(&self, metric: Option<&str>) -> Vec<MetricMetadata> {
        let one = |name: &str, kind, help: &str| MetricMetadata {
            name: name.into(),
            kind,
            help: help.into(),
            unit: "".into(),
        };
        let all = [
            one("cortex_ring_tokens", MetricKind::Gauge, "Number of tokens in the ring"),
            one("go_goroutines", MetricKind::Gauge, "Number of goroutines that currently exist."),
            one("http_requests_total", MetricKind::Counter, "Number of HTTP requests"),
            one("http_requests_total", MetricKind::Counter, "Amount of HTTP requests"),
        ];
        all.into_iter().filter(|m| metric.is_none_or(|wanted| *m.name == *wanted)).collect()
    }

    fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<Vec<SeriesExemplars>> {
        let of = |labels: Labels| SeriesExemplars {
            labels,
            exemplars: vec![Exemplar {
                labels: Labels::from_pairs([("trace_id", "EpTxMJ40fUus7aGY")]),
                value: 6.0,
                t_ms: NOW_MS - 1,
            }],
        };
        let with = |labels: &Labels| labels.metric_name() == "test_exemplar_metric_total";
        Ok(matching(selectors).into_iter().filter(with).map(of).collect())
    }
}

/// One job with two rules, two parts, a rule file.
impl Operations for Process {
    fn runtime(&self) -> RuntimeInfo {
        RuntimeInfo {
            started_ms: NOW_MS - 60_000,
            working_dir: "/".into(),
            host_name: "box".into(),
            reload_ok: true,
            config_ms: NOW_MS - 60_000,
            thread_count: 8,
            core_count: 4,
            memory_limit_bytes: 1 << 30,
            retention: "15d".into(),
            corruption_count: 0,
        }
    }

    fn flags(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("query.lookback-delta".to_owned(), "5m".to_owned())])
    }

    fn config_yaml(&self) -> String {
        "scrape_configs:\n  - job_name: prometheus\n".to_owned()
    }

    fn external_labels(&self) -> Vec<(String, String)> {
        vec![("site".to_owned(), "a".to_owned())]
    }

    fn scrape_pools(&self) -> Vec<ScrapePool> {
        let rule = |config| Rule::new(config).expect("BUG: the rules are sound");
        let development = rule(RuleConfig {
            target_label: Some("env".into()),
            replacement: Some("development".into()),
            ..RuleConfig::default()
        });
        let drop = rule(RuleConfig {
            source_labels: Some(vec!["__address__".into()]),
            regex: Some("localhost:.*".into()),
            action: Some(Action::Drop),
            ..RuleConfig::default()
        });
        vec![ScrapePool {
            name: "prometheus".into(),
            yaml: "job_name: prometheus\n".into(),
            relabel: vec![development, drop],
        }]
    }

    fn store(&self) -> StoreInfo {
        let part = PartInfo {
            name: "0001".into(),
            first_ms: NOW_MS - 7_200_000,
            last_ms: NOW_MS - 3_600_000,
            samples: 100,
            series: 4,
            columns: 4,
            level: 1,
        };
        StoreInfo {
            series: 6,
            head_samples: 240,
            disk_bytes: 340,
            part_samples: 100,
            parts: vec![part],
        }
    }

    fn notifications(&self) -> Vec<Notification> {
        let text = "Configuration reload has failed.".to_owned();
        vec![Notification { text, since_ms: NOW_MS }]
    }

    fn readers(&self) -> Readers {
        let rule = RuleReader {
            file: "rules.yml".into(),
            group: "example".into(),
            name: "job:up:sum".into(),
            kind: "recording",
            expression: "sum by (job) (up)".into(),
        };
        Readers { rules: vec![rule], problems: Vec::new() }
    }

    fn rule_groups(&self) -> Vec<GroupReport> {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", "HighRequestLatency"), ("severity", "page")]),
            annotations: BTreeMap::from([("summary".into(), "High request latency".into())]),
            value: 1.0,
            state: State::Firing,
            active_ms: NOW_MS,
            fired_ms: Some(NOW_MS),
            resolved_ms: None,
            keep_firing_since_ms: None,
            sent_ms: None,
        };
        let alerting = Alerting {
            for_ms: 600_000,
            keep_firing_for_ms: 0,
            annotations: alert.annotations.clone(),
        };
        let labels = BTreeMap::from([("severity".into(), "page".into())]);
        let rule = |name: &str, text: &str, labels, kind, alerts| RuleReport {
            rule: Arc::new(alert::rule::Rule {
                name: name.into(),
                text: text.into(),
                expr: Expression::Promql(promql::parse(text).expect("BUG: it is PromQL")),
                labels,
                kind,
                line: 1,
            }),
            health: alert::group::Health::Ok,
            last_error: String::new(),
            evaluated_ms: Some(NOW_MS),
            took_ns: 250_000,
            alerts,
        };
        let slow = "job:request_latency_seconds:mean5m{job=\"myjob\"} > 0.5";
        let sum = "sum by (job) (http_inprogress_requests)";
        let group = Group {
            name: "example".into(),
            file: "/rules.yaml".into(),
            interval_ms: None,
            query_offset_ms: None,
            limit: 0,
            rules: Vec::new(),
        };
        let rules = vec![
            rule("HighRequestLatency", slow, labels, Kind::Alerting(alerting), vec![alert]),
            rule("job:http_inprogress_requests:sum", sum, BTreeMap::new(), Kind::Recording, vec![]),
        ];
        vec![GroupReport {
            group: Arc::new(group),
            interval_ms: 60_000,
            evaluated_ms: Some(NOW_MS),
            took_ns: 500_000,
            rules,
        }]
    }

    fn alertmanagers(&self) -> (Vec<String>, Vec<String>) {
        let url = |host: &str| vec![format!("http://{host}/api/v2/alerts")];
        (url("127.0.0.1:9090"), url("127.0.0.1:9093"))
    }

    fn delete_series(&self, _: &[Vec<Matcher>], _: i64, _: i64) -> Result<()> {
        Ok(())
    }

    fn clean_tombstones(&self) -> Result<()> {
        Ok(())
    }

    fn snapshot(&self, skip_head: bool) -> Result<String> {
        Ok(format!("20150701T201100Z-{}", if skip_head { "parts" } else { "all" }))
    }

    fn log_retention(&self) -> (Vec<(String, RetentionRule)>, i64) {
        let matchers = vec![Matcher::equal("app", "debug")];
        let rule = RetentionRule { matchers, retention_ms: 86_400_000 };
        (vec![("{app=\"debug\"}".to_owned(), rule)], 15 * 86_400_000)
    }

    fn preview_log_retention(
        &self,
        rules: Vec<RetentionRule>,
        default_ms: i64,
    ) -> Result<Vec<RetentionPreview>> {
        let keeps = rules.iter().map(|rule| rule.retention_ms).chain([default_ms]);
        let class = |keep_ms| RetentionPreview { keep_ms, rows: 3, ..Default::default() };
        Ok(keeps.map(class).collect())
    }

    fn trace_retention(&self) -> (Vec<(String, RetentionRule)>, i64) {
        let matchers = vec![Matcher::equal("service.name", "noise")];
        (vec![("noise".to_owned(), RetentionRule { matchers, retention_ms: 60_000 })], 120_000)
    }

    fn preview_trace_retention(
        &self,
        rules: Vec<RetentionRule>,
        default_ms: i64,
    ) -> Result<Vec<RetentionPreview>> {
        self.preview_log_retention(rules, default_ms)
    }

    fn log_deletions(&self) -> Vec<LogDeletion> {
        let first = LogDeletion {
            id: "0000002a".into(),
            query: "{container=\"web\"}".into(),
            matchers: Vec::new(),
            line_filters: Vec::new(),
            range: TimeRange::new(0, NOW_MS * 1_000_000),
            created_ms: NOW_MS,
            done: false,
        };
        std::iter::once(first).chain(self.0.lock().iter().cloned()).collect()
    }

    fn delete_logs(&self, deletion: LogDeletion) -> Result<()> {
        assert_eq!(deletion.line_filters.len(), 1);
        self.0.lock().push(LogDeletion { id: "made".into(), ..deletion });
        Ok(())
    }

    fn cancel_log_deletion(&self, id: &str, _force: bool) -> Result<()> {
        match id {
            "0000002a" | "made" => Ok(()),
            _ => Err(model::Error::new(model::ErrorKind::NotFound, "no such deletion")),
        }
    }
}

/// Ten lines, one a second.
pub(crate) struct Logs;

impl LogSource for Logs {
    fn scan(
        &self,
        plan: &LogPlan,
        _budget: &Budget,
        visit: &mut dyn FnMut(&LogRow<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<String>> {
        let stream = Labels::from_pairs([("container", "web"), ("stream", "stdout")]);
        // As a store that finds them would say.
        let patterns = plan.patterns.then_some((PATTERN_LABEL, "line <_>"));
        let fields = Labels::from_pairs(patterns);
        let mut rows: Vec<(i64, String)> = (0..10)
            .map(|i| ((NOW_MS - 10_000 + i * 1_000) * 1_000_000, format!("line {i}")))
            .collect();
        if plan.order == Order::Backward {
            rows.reverse();
        }
        let selected = plan.matchers.iter().all(|m| m.matches_labels(&stream));
        for (t_ns, line) in rows.iter().filter(|(t, line)| {
            selected && plan.range.contains(*t) && plan.line_filters.iter().all(|f| f.matches(line))
        }) {
            if visit(&LogRow { stream: &stream, t_ns: *t_ns, line, fields: &fields }).is_break() {
                break;
            }
        }
        Ok(Vec::new())
    }

    fn aggregate(
        &self,
        _plan: &LogPlan,
        _aggregation: &LogAggregation,
        _budget: &Budget,
    ) -> Result<Option<Vec<StepCounts>>> {
        Ok(None)
    }

    fn volumes(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<StreamVolume>> {
        let plan = LogPlan { matchers: matchers.to_vec(), ..LogPlan::all(range, Order::Any) };
        let mut volumes: Vec<StreamVolume> = Vec::new();
        self.scan(&plan, budget, &mut |row| {
            if volumes.is_empty() {
                let stream = row.stream.clone();
                volumes.push(StreamVolume { stream, rows: 0, bytes: 0, blocks: 1 });
            }
            volumes[0].rows += 1;
            volumes[0].bytes += row.line.len() as u64;
            ControlFlow::Continue(())
        })?;
        Ok(volumes)
    }

    fn streams(
        &self,
        _selectors: &[Vec<Matcher>],
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<Vec<Labels>> {
        Ok(vec![Labels::from_pairs([("container", "web"), ("stream", "stdout")])])
    }
}

fn container() -> ContainerState {
    ContainerState {
        id: CONTAINER_ID.into(),
        name: "web".into(),
        compose_project: "shop".into(),
        compose_service: "front".into(),
        ..ContainerState::default()
    }
}

/// A process with one target, and the deletions it was asked for.
#[derive(Default)]
struct Process(Mutex<Vec<LogDeletion>>);

impl Host for Process {
    fn ready(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({"version": "test"})
    }

    fn containers(&self) -> Vec<ContainerState> {
        vec![ContainerState {
            id: "f00".into(),
            name: "web".into(),
            state: "running".into(),
            ..ContainerState::default()
        }]
    }

    fn container_of_id(&self, digits: &str) -> Option<ContainerState> {
        CONTAINER_ID.starts_with(digits).then(container)
    }

    fn container_at(&self, address: std::net::IpAddr) -> Option<ContainerState> {
        (address.to_string() == CONTAINER_ADDRESS).then(container)
    }

    fn host_name(&self) -> &str {
        "box"
    }

    fn targets(&self) -> TargetsSnapshot {
        let labels = Labels::from_pairs([("job", "prometheus"), ("instance", "127.0.0.1:9090")]);
        let active = ActiveTarget {
            discovered_labels: Labels::from_pairs([
                ("__address__", "127.0.0.1:9090"),
                ("job", "prometheus"),
            ]),
            labels: labels.clone(),
            scrape_pool: "prometheus".into(),
            scrape_url: "http://127.0.0.1:9090/metrics".into(),
            global_url: "http://example-prometheus:9090/metrics".into(),
            last_error: String::new(),
            last_scrape_ms: NOW_MS,
            last_scrape_duration_s: 0.05,
            health: Health::Up,
            scrape_interval: "1m".into(),
            scrape_timeout: "10s".into(),
        };
        let exporter = ActiveTarget {
            labels: Labels::from_pairs([("job", "node_exporter"), ("instance", "127.0.0.1:9091")]),
            scrape_pool: "node_exporter".into(),
            ..active.clone()
        };
        let dropped = DroppedTarget { discovered_labels: labels, scrape_pool: "node".into() };
        TargetsSnapshot {
            active: vec![active, exporter],
            dropped: vec![dropped],
            dropped_counts: vec![("node".into(), 1)],
            problems: Vec::new(),
        }
    }

    fn figures(&self) -> Vec<Figure> {
        vec![Figure {
            name: "a_total",
            kind: "counter",
            help: "A.",
            labels: vec![("b", "\"".into())],
            value: 1.0,
        }]
    }

    fn refused(&self, _source: &'static str, _rows: u64) {}

    fn refused_lines(&self, _source: &'static str, _rows: u64) {}

    fn dropped_lines(&self, _source: &'static str, _reason: &'static str, _rows: u64) {}

    fn refused_spans(&self, _source: &'static str, _spans: u64) {}

    fn dropped_spans(&self, _source: &'static str, _reason: &'static str, _spans: u64) {}

    fn quit(&self) {}

    fn reload(&self) -> BoxFuture<'static, Result<()>> {
        async { Ok(()) }.boxed()
    }
}

/// Access for everybody, as on loopback.
pub(crate) fn open_access() -> Access {
    Access {
        anonymous: Some(Role::Admin),
        tokens: Vec::new(),
        host_names: Vec::new(),
        tenants: Tenants::default(),
    }
}

/// A token per role, named after it.
pub(crate) fn token_access() -> Access {
    let roles = [Role::Viewer, Role::Editor, Role::Admin, Role::Ingest];
    let tokens =
        roles.map(|role| Token::new(&format!("{}-0123456789", role.as_str()), role)).to_vec();
    Access { anonymous: None, tokens, host_names: Vec::new(), tenants: Tenants::default() }
}

/// A sink that remembers everything, except for series named `refused` and lines that say it.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Mutex<Vec<MetricBatch>>, pub(crate) Mutex<Vec<LogBatch>>);

impl Sink for Kept {
    fn append_metrics(&self, mut batch: MetricBatch, done: Done) {
        let before = batch.stamped.len();
        batch.stamped.retain(|row| row.labels.metric_name() != "refused");
        let refused = (before - batch.stamped.len()) as u64;
        let rows = batch.sample_count() + batch.exemplars.len();
        self.0.lock().push(batch);
        let rejected = (refused > 0).then_some((RejectReason::TooOld, refused));
        done.call(Ok(Receipt { stored: rows as u64, rejected: rejected.into_iter().collect() }));
    }

    fn append_logs(&self, batch: LogBatch, done: Done) {
        let refused = batch.rows.iter().filter(|row| row.line == "refused").count() as u64;
        let stored = batch.rows.len() as u64 - refused;
        self.1.lock().push(batch);
        let rejected = (refused > 0).then_some((RejectReason::TooOld, refused));
        done.call(Ok(Receipt { stored, rejected: rejected.into_iter().collect() }));
    }

    fn cursor(&self, _source: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// Files in memory.
#[derive(Default)]
pub(crate) struct Files(pub(crate) Mutex<BTreeMap<u64, Vec<u8>>>);

impl GroupFiles for Files {
    fn load(&self) -> Result<BTreeMap<u64, Vec<u8>>> {
        Ok(self.0.lock().clone())
    }

    fn put(&self, number: u64, content: &[u8]) -> Result<()> {
        self.0.lock().insert(number, content.to_vec());
        Ok(())
    }

    fn remove(&self, number: u64) -> Result<()> {
        self.0.lock().remove(&number);
        Ok(())
    }
}

/// Bounds small enough to be reached.
pub(crate) const LIMITS: receive::Limits = receive::Limits {
    body_bytes_max: 1 << 20,
    unpacked_bytes_max: 4 << 20,
    bodies_bytes_max: 8 << 20,
    lanes: 2,
    rows_max: 10_000,
    labels_max: 64,
    name_bytes_max: 512,
    value_bytes_max: 8 << 10,
    known_bytes_max: 1 << 20,
    label_values_max: 3,
    future_ms_max: 600_000,
};

/// Receivers over `sink` and `files`.
pub(crate) fn receivers(
    sink: Arc<dyn Sink>,
    files: Arc<dyn GroupFiles>,
    clock: Arc<dyn Clock>,
) -> Arc<Receivers> {
    let push = ingest::exposition::Limits {
        body_bytes_max: 1 << 20,
        samples_max: 10_000,
        labels_max: 64,
        name_bytes_max: 512,
        value_bytes_max: 8 << 10,
    };
    let limits = ingest::pushgateway::Limits { push, groups_max: 3, series_max: 100 };
    let (gateway, damage) = Gateway::open(limits, sink.clone(), clock, files)
        .expect("BUG: files in memory are readable");
    assert!(damage.is_empty(), "{damage:?}");
    let totals = ingest::otlp::delta::Config { series_max: 100, stale_after_ms: 3_600_000 };
    Receivers::new(LIMITS, sink, ingest::otlp::translate::Config::default(), totals, gateway)
}

/// The application.
pub(crate) fn app(access: Access) -> Arc<App> {
    app_with_tail(access).0
}

/// The application, administration switched off.
pub(crate) fn app_without_admin() -> Arc<App> {
    let (sink, files) = (Arc::new(Kept::default()), Arc::new(Files::default()));
    build(open_access(), false, sink, Arc::new(Logs), Arc::new(Spans::default()), files).0
}

/// The application and the hub its tails listen to.
pub(crate) fn app_with_tail(access: Access) -> (Arc<App>, Arc<TailHub>) {
    let (sink, files) = (Arc::new(Kept::default()), Arc::new(Files::default()));
    build(access, true, sink, Arc::new(Logs), Arc::new(Spans::default()), files)
}

/// The application over a sink and files of the test's own.
pub(crate) fn app_over(
    access: Access,
    sink: Arc<dyn Sink>,
    files: Arc<dyn GroupFiles>,
) -> (Arc<App>, Arc<TailHub>) {
    build(access, true, sink, Arc::new(Logs), Arc::new(Spans::default()), files)
}

/// The application over a store of lines.
pub(crate) fn app_storing<S: Sink + LogSource + 'static>(
    access: Access,
    store: Arc<S>,
) -> (Arc<App>, Arc<TailHub>) {
    let files = Arc::new(Files::default());
    build(access, true, store.clone(), store, Arc::new(Spans::default()), files)
}

/// The application over a store of spans.
pub(crate) fn app_tracing(access: Access, store: Arc<Spans>) -> Arc<App> {
    let files = Arc::new(Files::default());
    build(access, true, store.clone(), Arc::new(Logs), store, files).0
}

/// The application over traces that are stored for good, of which one query may hold so many bytes.
pub(crate) fn app_over_traces(
    sink: Arc<dyn Sink>,
    traces: Arc<dyn TraceSource>,
    bytes_max: u64,
) -> Arc<App> {
    let files = Arc::new(Files::default());
    let limits = model::Limits { bytes_max, ..LIMITS_OF_QUERIES };
    build_with(None, limits, open_access(), true, sink, Arc::new(Logs), traces, files).0
}

const LIMITS_OF_QUERIES: model::Limits =
    model::Limits { samples_max: 1_000_000, bytes_max: 1 << 30, time_ms_max: 10_000 };

fn build(
    access: Access,
    admin_api: bool,
    sink: Arc<dyn Sink>,
    logs: Arc<dyn LogSource>,
    traces: Arc<dyn TraceSource>,
    files: Arc<dyn GroupFiles>,
) -> (Arc<App>, Arc<TailHub>) {
    build_with(None, LIMITS_OF_QUERIES, access, admin_api, sink, logs, traces, files)
}

/// The application that makes spans about itself.
pub(crate) fn app_traced(access: Access, own_spans: Arc<OwnSpans>) -> Arc<App> {
    let store = Arc::new(Spans::default());
    let files = Arc::new(Files::default());
    let limits = LIMITS_OF_QUERIES;
    build_with(Some(own_spans), limits, access, true, store.clone(), Arc::new(Logs), store, files).0
}

#[expect(clippy::too_many_arguments, reason = "everything that a test may choose")]
fn build_with(
    own_spans: Option<Arc<OwnSpans>>,
    limits: model::Limits,
    access: Access,
    admin_api: bool,
    sink: Arc<dyn Sink>,
    logs: Arc<dyn LogSource>,
    traces: Arc<dyn TraceSource>,
    files: Arc<dyn GroupFiles>,
) -> (Arc<App>, Arc<TailHub>) {
    let config = Config {
        query_concurrency: 4,
        query_limits: limits,
        lookback_ms: 300_000,
        promql_experimental: false,
        evaluation_interval_ms: 60_000,
        admin_api,
        cors_origin: model::anchored_regex(".*").ok(),
        log_rows_max: 5_000,
        access,
        own_spans,
    };
    let clock = Arc::new(ManualClock::at_ms(NOW_MS));
    let hub = Arc::new(TailHub::default());
    let metrics = Arc::new(Metrics);
    let receivers = receivers(sink, files, clock.clone());
    let process = Arc::new(Process::default());
    let sources = Sources { metrics, logs, traces, archive: None };
    (App::new(config, sources, clock, process, hub.clone(), receivers), hub)
}

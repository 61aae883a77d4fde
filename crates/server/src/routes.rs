//! The one table of routes: method, path, role. Router, authorisation and the authorisation test come from it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{Method, StatusCode, header};

use crate::access::Role;
use crate::{
    App, alertmanager, assets, cardinality, compression, cors, health, jaeger, log_retention, loki,
    own_api, prometheus, receive, tail, tempo, traces,
};

/// Bound of the table, for counters per route.
pub const ROUTE_COUNT_MAX: usize = 256;

/// What Loki answers of its parts, which are none here.
const LOKI_OF_SEVERAL: [&str; 10] = [
    "/ring",
    "/memberlist",
    "/distributor",
    "/ingester",
    "/indexgateway",
    "/scheduler",
    "/compactor",
    "/ruler",
    "/flush",
    "/log_level",
];

/// Where Prometheus' API begins.
const PROMETHEUS: &str = "/api/v1/";

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct RouteInfo {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// Path pattern in axum's notation.
    pub path: &'static str,
    /// What the caller must be allowed.
    pub role: Role,
}

struct Route {
    info: RouteInfo,
    handler: fn() -> MethodRouter<Arc<App>>,
}

macro_rules! routes {
    ($($method:ident $path:literal $role:ident => $handler:path;)*) => {
        const ROUTES: &[Route] = &[$(Route {
            info: RouteInfo { method: stringify!($method), path: $path, role: Role::$role },
            handler: || on(MethodFilter::$method, $handler),
        }),*];
    };
}

routes! {
    GET "/livez" Open => health::live;
    GET "/-/healthy" Open => health::healthy;
    GET "/-/ready" Open => health::ready;
    GET "/healthz" Open => health::healthy;
    GET "/readyz" Open => health::ready;
    GET "/ready" Open => health::loki_ready;
    GET "/metrics" Viewer => health::metrics;
    POST "/-/reload" Admin => health::reload;
    PUT "/-/reload" Admin => health::reload;
    POST "/-/quit" Admin => health::quit;
    PUT "/-/quit" Admin => health::quit;

    GET "/api/v1/query" Viewer => prometheus::query;
    POST "/api/v1/query" Viewer => prometheus::query;
    GET "/api/v1/query_range" Viewer => prometheus::query_range;
    POST "/api/v1/query_range" Viewer => prometheus::query_range;
    GET "/api/v1/query_exemplars" Viewer => prometheus::query_exemplars;
    POST "/api/v1/query_exemplars" Viewer => prometheus::query_exemplars;
    GET "/api/v1/format_query" Viewer => prometheus::format_query;
    POST "/api/v1/format_query" Viewer => prometheus::format_query;
    GET "/api/v1/parse_query" Viewer => prometheus::parse_query;
    POST "/api/v1/parse_query" Viewer => prometheus::parse_query;
    GET "/api/v1/labels" Viewer => prometheus::labels;
    POST "/api/v1/labels" Viewer => prometheus::labels;
    GET "/api/v1/label/{name}/values" Viewer => prometheus::label_values;
    GET "/api/v1/series" Viewer => prometheus::series;
    POST "/api/v1/series" Viewer => prometheus::series;
    GET "/api/v1/search/metric_names" Viewer => prometheus::search_metric_names;
    POST "/api/v1/search/metric_names" Viewer => prometheus::search_metric_names;
    GET "/api/v1/search/label_names" Viewer => prometheus::search_label_names;
    POST "/api/v1/search/label_names" Viewer => prometheus::search_label_names;
    GET "/api/v1/search/label_values" Viewer => prometheus::search_label_values;
    POST "/api/v1/search/label_values" Viewer => prometheus::search_label_values;
    GET "/api/v1/metadata" Viewer => prometheus::metadata;
    GET "/api/v1/targets" Viewer => prometheus::targets;
    GET "/api/v1/targets/metadata" Viewer => prometheus::target_metadata;
    GET "/api/v1/targets/relabel_steps" Viewer => prometheus::relabel_steps;
    GET "/api/v1/scrape_pools" Viewer => prometheus::scrape_pools;
    GET "/api/v1/scrape_pools/config" Viewer => prometheus::scrape_pool_config;
    GET "/api/v1/rules" Viewer => prometheus::rules;
    GET "/api/v1/alerts" Viewer => prometheus::alerts;
    GET "/api/v1/alertmanagers" Viewer => prometheus::alertmanagers;
    GET "/api/v1/status/config" Viewer => prometheus::config;
    GET "/api/v1/status/flags" Viewer => prometheus::flags;
    GET "/api/v1/status/runtimeinfo" Viewer => prometheus::runtime_info;
    GET "/api/v1/status/buildinfo" Viewer => prometheus::build_info;
    GET "/api/v1/status/tsdb" Viewer => prometheus::tsdb;
    GET "/api/v1/status/tsdb/blocks" Viewer => prometheus::blocks;
    GET "/api/v1/status/walreplay" Viewer => prometheus::wal_replay;
    GET "/api/v1/status/self_metrics" Viewer => prometheus::self_metrics;
    GET "/api/v1/features" Viewer => prometheus::features;
    GET "/api/v1/notifications" Viewer => prometheus::notifications;
    GET "/api/v1/notifications/live" Viewer => prometheus::notifications_live;
    POST "/api/v1/admin/tsdb/delete_series" Admin => prometheus::delete_series;
    PUT "/api/v1/admin/tsdb/delete_series" Admin => prometheus::delete_series;
    POST "/api/v1/admin/tsdb/clean_tombstones" Admin => prometheus::clean_tombstones;
    PUT "/api/v1/admin/tsdb/clean_tombstones" Admin => prometheus::clean_tombstones;
    POST "/api/v1/admin/tsdb/snapshot" Admin => prometheus::snapshot;
    PUT "/api/v1/admin/tsdb/snapshot" Admin => prometheus::snapshot;
    POST "/api/v1/read" Viewer => prometheus::read;
    GET "/federate" Viewer => prometheus::federate;

    GET "/api/v2/status" Viewer => alertmanager::status;
    GET "/api/v2/receivers" Viewer => alertmanager::receivers;
    GET "/api/v2/alerts" Viewer => alertmanager::list;
    POST "/api/v2/alerts" Ingest => alertmanager::post;
    GET "/api/v2/alerts/groups" Viewer => alertmanager::groups;
    GET "/api/v2/silences" Viewer => alertmanager::silences;
    POST "/api/v2/silences" Editor => alertmanager::post_silence;
    GET "/api/v2/silence/{id}" Viewer => alertmanager::silence;
    DELETE "/api/v2/silence/{id}" Editor => alertmanager::expire_silence;

    POST "/api/v1/write" Ingest => receive::remote_write::write;
    POST "/api/v1/import/prometheus" Ingest => receive::import::text;
    POST "/api/v1/import/prometheus/metrics/job/{*group}" Ingest => receive::import::text;
    POST "/api/v1/import/prometheus/metrics/job@base64/{*group}" Ingest => receive::import::text;
    POST "/v1/metrics" Ingest => receive::otlp::metrics;
    POST "/api/v1/otlp/v1/metrics" Ingest => receive::otlp::metrics;
    POST "/v1/logs" Ingest => receive::otlp_logs::logs;
    POST "/otlp/v1/logs" Ingest => receive::otlp_logs::logs;
    POST "/v1/traces" Ingest => receive::otlp_traces::traces;
    POST "/api/traces" Ingest => receive::jaeger::batch;
    POST "/api/v1/spans" Ingest => receive::zipkin::v1;
    POST "/api/v2/spans" Ingest => receive::zipkin::v2;
    PUT "/metrics/job/{*group}" Ingest => receive::pushgateway::put;
    POST "/metrics/job/{*group}" Ingest => receive::pushgateway::post;
    DELETE "/metrics/job/{*group}" Ingest => receive::pushgateway::delete;
    PUT "/metrics/job@base64/{*group}" Ingest => receive::pushgateway::put;
    POST "/metrics/job@base64/{*group}" Ingest => receive::pushgateway::post;
    DELETE "/metrics/job@base64/{*group}" Ingest => receive::pushgateway::delete;
    GET "/api/v1/metrics" Viewer => receive::pushgateway::list;
    PUT "/api/v1/admin/wipe" Admin => receive::pushgateway::wipe;

    GET "/loki/api/v1/query" Viewer => loki::query;
    POST "/loki/api/v1/query" Viewer => loki::query;
    GET "/loki/api/v1/query_range" Viewer => loki::query_range;
    POST "/loki/api/v1/query_range" Viewer => loki::query_range;
    GET "/loki/api/v1/labels" Viewer => loki::labels;
    POST "/loki/api/v1/labels" Viewer => loki::labels;
    GET "/loki/api/v1/label" Viewer => loki::labels;
    GET "/loki/api/v1/label/{name}/values" Viewer => loki::label_values;
    GET "/loki/api/v1/series" Viewer => loki::series;
    POST "/loki/api/v1/series" Viewer => loki::series;
    GET "/loki/api/v1/index/stats" Viewer => loki::volume::stats;
    POST "/loki/api/v1/index/stats" Viewer => loki::volume::stats;
    GET "/loki/api/v1/index/shards" Viewer => loki::volume::shards;
    POST "/loki/api/v1/index/shards" Viewer => loki::volume::shards;
    GET "/loki/api/v1/index/volume" Viewer => loki::volume::volume;
    POST "/loki/api/v1/index/volume" Viewer => loki::volume::volume;
    GET "/loki/api/v1/index/volume_range" Viewer => loki::volume::volume_range;
    POST "/loki/api/v1/index/volume_range" Viewer => loki::volume::volume_range;
    GET "/loki/api/v1/detected_labels" Viewer => loki::fields::labels;
    POST "/loki/api/v1/detected_labels" Viewer => loki::fields::labels;
    GET "/loki/api/v1/detected_fields" Viewer => loki::fields::fields;
    POST "/loki/api/v1/detected_fields" Viewer => loki::fields::fields;
    GET "/loki/api/v1/detected_field/{name}/values" Viewer => loki::fields::field_values;
    POST "/loki/api/v1/detected_field/{name}/values" Viewer => loki::fields::field_values;
    GET "/loki/api/v1/patterns" Viewer => loki::patterns::patterns;
    POST "/loki/api/v1/patterns" Viewer => loki::patterns::patterns;
    GET "/loki/api/v1/format_query" Viewer => loki::format_query;
    POST "/loki/api/v1/format_query" Viewer => loki::format_query;
    GET "/loki/api/v1/delete" Viewer => loki::deletes::list;
    POST "/loki/api/v1/delete" Admin => loki::deletes::request;
    PUT "/loki/api/v1/delete" Admin => loki::deletes::request;
    DELETE "/loki/api/v1/delete" Admin => loki::deletes::cancel;
    GET "/loki/api/v1/rules" Viewer => loki::process::rules;
    GET "/loki/api/v1/rules/{namespace}" Viewer => loki::process::rules;
    GET "/loki/api/v1/rules/{namespace}/{group}" Viewer => loki::process::rule_group;
    GET "/loki/api/v1/drilldown-limits" Viewer => loki::process::drilldown_limits;
    GET "/loki/api/v1/status/buildinfo" Viewer => prometheus::bare_build_info;
    POST "/loki/api/v1/push" Ingest => receive::loki::push;
    POST "/api/prom/push" Ingest => receive::loki::push;
    GET "/loki/api/v1/tail" Viewer => tail::tail;
    GET "/prometheus/api/v1/rules" Viewer => loki::process::prometheus_rules;
    GET "/prometheus/api/v1/alerts" Viewer => loki::process::prometheus_alerts;
    GET "/api/prom/query" Viewer => loki::legacy::query;
    GET "/api/prom/label" Viewer => loki::legacy::labels;
    GET "/api/prom/label/{name}/values" Viewer => loki::legacy::label_values;
    GET "/api/prom/series" Viewer => loki::series;
    POST "/api/prom/series" Viewer => loki::series;
    GET "/api/prom/tail" Viewer => tail::legacy_tail;
    GET "/api/prom/rules" Viewer => loki::process::rules;
    GET "/config" Viewer => loki::process::config;
    GET "/services" Viewer => loki::process::services;

    POST "/elasticsearch/_bulk" Ingest => receive::elastic::bulk;
    PUT "/elasticsearch/_bulk" Ingest => receive::elastic::bulk;
    POST "/elasticsearch/{index}/_bulk" Ingest => receive::elastic::index_bulk;
    PUT "/elasticsearch/{index}/_bulk" Ingest => receive::elastic::index_bulk;
    POST "/elasticsearch/{index}/_doc" Ingest => receive::elastic::document;
    POST "/elasticsearch/{index}/_doc/{id}" Ingest => receive::elastic::document_of_id;
    PUT "/elasticsearch/{index}/_doc/{id}" Ingest => receive::elastic::document_of_id;
    POST "/elasticsearch/{index}/_create/{id}" Ingest => receive::elastic::create;
    PUT "/elasticsearch/{index}/_create/{id}" Ingest => receive::elastic::create;
    POST "/_bulk" Ingest => receive::elastic::bulk;
    PUT "/_bulk" Ingest => receive::elastic::bulk;
    POST "/{index}/_bulk" Ingest => receive::elastic::index_bulk;
    PUT "/{index}/_bulk" Ingest => receive::elastic::index_bulk;
    POST "/{index}/_doc" Ingest => receive::elastic::document;
    POST "/{index}/_doc/{id}" Ingest => receive::elastic::document_of_id;
    PUT "/{index}/_doc/{id}" Ingest => receive::elastic::document_of_id;
    POST "/{index}/_create/{id}" Ingest => receive::elastic::create;
    PUT "/{index}/_create/{id}" Ingest => receive::elastic::create;
    GET "/elasticsearch" Ingest => receive::elastic::info;
    GET "/elasticsearch/" Ingest => receive::elastic::info;
    GET "/elasticsearch/_license" Ingest => receive::elastic::license;
    GET "/elasticsearch/_xpack" Ingest => receive::elastic::xpack;
    GET "/elasticsearch/_cluster/health" Ingest => receive::elastic::health;
    GET "/elasticsearch/_nodes" Ingest => receive::elastic::nodes;
    GET "/elasticsearch/_nodes/http" Ingest => receive::elastic::nodes;
    GET "/elasticsearch/_cat/{what}" Ingest => receive::elastic::cat;
    GET "/elasticsearch/_index_template/{name}" Ingest => receive::elastic::setting;
    PUT "/elasticsearch/_index_template/{name}" Ingest => receive::elastic::setting;
    GET "/elasticsearch/_component_template/{name}" Ingest => receive::elastic::setting;
    PUT "/elasticsearch/_component_template/{name}" Ingest => receive::elastic::setting;
    GET "/elasticsearch/_template/{name}" Ingest => receive::elastic::setting;
    PUT "/elasticsearch/_template/{name}" Ingest => receive::elastic::setting;
    GET "/elasticsearch/_ilm/policy/{name}" Ingest => receive::elastic::setting;
    PUT "/elasticsearch/_ilm/policy/{name}" Ingest => receive::elastic::setting;
    GET "/elasticsearch/_ingest/pipeline/{name}" Ingest => receive::elastic::setting;
    PUT "/elasticsearch/_ingest/pipeline/{name}" Ingest => receive::elastic::setting;
    GET "/elasticsearch/_data_stream/{name}" Ingest => receive::elastic::setting;
    PUT "/elasticsearch/_data_stream/{name}" Ingest => receive::elastic::setting;
    GET "/elasticsearch/_alias/{name}" Ingest => receive::elastic::setting;
    PUT "/elasticsearch/_alias/{name}" Ingest => receive::elastic::setting;
    GET "/elasticsearch/{index}" Ingest => receive::elastic::setting;
    PUT "/elasticsearch/{index}" Ingest => receive::elastic::setting;

    POST "/insert/jsonline" Ingest => receive::jsonline::insert;
    POST "/upload" Ingest => receive::journal::upload;
    POST "/insert/journald/upload" Ingest => receive::journal::upload;

    GET "/api/services" Viewer => jaeger::services;
    GET "/api/services/{service}/operations" Viewer => jaeger::operation_names;
    GET "/api/operations" Viewer => jaeger::operations;
    GET "/api/traces" Viewer => jaeger::search;
    GET "/api/traces/{id}" Viewer => tempo::trace_or_jaeger;
    POST "/api/archive/{id}" Editor => jaeger::archive;
    GET "/api/dependencies" Viewer => jaeger::dependencies::list;
    GET "/api/metrics/latencies" Viewer => jaeger::metrics::latencies;
    GET "/api/metrics/calls" Viewer => jaeger::metrics::calls;
    GET "/api/metrics/errors" Viewer => jaeger::metrics::errors;
    GET "/api/metrics/minstep" Viewer => jaeger::metrics::min_step;
    GET "/api/v3/services" Viewer => jaeger::v3::services;
    GET "/api/v3/operations" Viewer => jaeger::v3::operations;
    GET "/api/v3/traces" Viewer => jaeger::v3::find;
    POST "/api/v3/traces" Viewer => jaeger::v3::find_posted;
    GET "/api/v3/traces/{id}" Viewer => jaeger::v3::trace;
    GET "/api/v3/trace-summaries" Viewer => jaeger::v3::summaries;
    POST "/api/v3/trace-summaries" Viewer => jaeger::v3::summaries_posted;
    GET "/api/v3/dependencies" Viewer => jaeger::v3::dependency_list;

    GET "/api/echo" Viewer => tempo::echo;
    GET "/api/status/buildinfo" Viewer => tempo::build_info;
    GET "/api/search" Viewer => tempo::search;
    GET "/api/search/tags" Viewer => tempo::tags::list;
    GET "/api/search/tag/{name}/values" Viewer => tempo::tags::values;
    GET "/api/v2/search/tags" Viewer => tempo::tags::list_by_scope;
    GET "/api/v2/search/tag/{name}/values" Viewer => tempo::tags::typed_values;
    GET "/api/v2/traces/{id}" Viewer => tempo::trace_by_id;
    GET "/api/metrics/query_range" Viewer => tempo::query_range;
    GET "/api/metrics/query" Viewer => tempo::query;

    GET "/api/taffrail/v1/containers" Viewer => own_api::containers;
    GET "/api/taffrail/v1/status" Viewer => own_api::status;
    GET "/api/taffrail/v1/logs/context" Viewer => loki::fields::context;
    GET "/api/taffrail/v1/logs/patterns" Viewer => loki::patterns::history;
    POST "/api/taffrail/v1/logs/patterns" Viewer => loki::patterns::history;
    GET "/api/taffrail/v1/logs/retention" Viewer => log_retention::preview;
    GET "/api/taffrail/v1/traces/{id}" Viewer => traces::waterfall;
    GET "/api/taffrail/v1/traces/{id}/logs" Viewer => traces::lines;
    GET "/api/taffrail/v1/traces/compare" Viewer => traces::compare;
    GET "/api/taffrail/v1/service_graph" Viewer => jaeger::dependencies::service_graph;
    GET "/api/taffrail/v1/traces/retention" Viewer => log_retention::preview_traces;
    GET "/api/taffrail/v1/cardinality" Viewer => cardinality::cardinality;
    GET "/api/taffrail/v1/cardinality/drop" Viewer => cardinality::drop;
}

/// Every route, in the table's order.
pub fn route_list() -> impl Iterator<Item = RouteInfo> {
    ROUTES.iter().map(|route| route.info)
}

/// The router over `app`: the table's routes behind their roles, everything else is the UI.
pub fn router(app: &Arc<App>) -> Router {
    let router = routes_where(app, |_| true).fallback(ui).with_state(app.clone());
    router.layer(axum::middleware::from_fn_with_state(app.clone(), options))
}

/// A router of what is received at `paths` alone, for ports of their own.
pub fn ingest_router(app: &Arc<App>, paths: &[&str]) -> Router {
    let wanted = |info: &RouteInfo| info.role == Role::Ingest && paths.contains(&info.path);
    routes_where(app, wanted).with_state(app.clone())
}

fn routes_where(app: &Arc<App>, wanted: impl Fn(&RouteInfo) -> bool) -> Router<Arc<App>> {
    let mut router = Router::new();
    for (index, route) in ROUTES.iter().enumerate().filter(|(_, route)| wanted(&route.info)) {
        let gate = Gate {
            app: app.clone(),
            index,
            role: route.info.role,
            changes_state: changes_state(&route.info),
            prometheus: route.info.path.starts_with(PROMETHEUS),
        };
        router = router.route(
            route.info.path,
            (route.handler)().layer(axum::middleware::from_fn_with_state(gate, guard)),
        );
    }
    router
}

/// Questions of browsers before a request of another page: answered without looking at anything, as in Prometheus.
async fn options(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.method() != Method::OPTIONS || !request.uri().path().starts_with(PROMETHEUS) {
        return next.run(request).await;
    }
    let mut response = crate::error::empty(StatusCode::NO_CONTENT);
    cors::apply(&app.config, request.headers().get(header::ORIGIN), response.headers_mut());
    response
}

/// Whether a foreign page must not be able to trigger it: whatever needs more than reading, and streams, which
/// browsers open across origins without asking.
fn changes_state(info: &RouteInfo) -> bool {
    !matches!(info.role, Role::Open | Role::Viewer) || info.path.ends_with("/tail")
}

#[derive(Clone)]
struct Gate {
    app: Arc<App>,
    index: usize,
    role: Role,
    changes_state: bool,
    /// Whether it belongs to Prometheus' API, whose answers other pages may be allowed to read.
    prometheus: bool,
}

async fn guard(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let started_ns = gate.app.clock.monotonic_ns();
    let accepted = request.headers().get(header::ACCEPT_ENCODING).cloned();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let own_spans = gate.app.config.own_spans.clone();
    let span = own_spans.and_then(|spans| {
        let now_ns = gate.app.clock.now_ns();
        let (method, uri) = (request.method(), request.uri());
        let begun = spans.begin(gate.role, method, uri, request.headers(), now_ns)?;
        Some((spans, begun))
    });
    let response =
        match gate.app.config.access.check(request.headers(), gate.role, gate.changes_state) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                next.run(request).await
            }
            Err((status, message)) => assets::plain(status, &message),
        };
    let took_ns = gate.app.clock.monotonic_ns() - started_ns;
    let status = response.status().as_u16();
    gate.app.requests.count(gate.index, status, took_ns);
    if let Some((spans, begun)) = span {
        let end_ns = begun.start_ns().saturating_add(took_ns);
        spans.end(begun, ROUTES[gate.index].info.path, status, end_ns);
    }
    let mut response = compression::apply(accepted.as_ref(), response);
    if gate.prometheus {
        cors::apply(&gate.app.config, origin.as_ref(), response.headers_mut());
    }
    response
}

/// Pages and assets. They hold no data, so they need no role, but only for hosts that are ours. Unknown paths below an
/// API's prefix are not pages: their clients get a plain 404.
async fn ui(State(app): State<Arc<App>>, request: Request) -> Response {
    if let Err((status, message)) = app.config.access.check(request.headers(), Role::Open, false) {
        return assets::plain(status, &message);
    }
    let path = request.uri().path();
    let is_at = |prefix: &&str| {
        path.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if LOKI_OF_SEVERAL.iter().any(is_at) {
        let why = format!(
            "404: {path:.128} is of a Loki of several processes; this is Taffrail, one process"
        );
        return assets::plain(StatusCode::NOT_FOUND, &why);
    }
    let is_api = [
        "/api/",
        "/elasticsearch/",
        "/insert/",
        "/loki/",
        "/otlp/",
        "/v1/",
        "/tempo/",
        "/-/",
        "/federate",
        "/metrics/",
    ]
    .iter()
    .any(|prefix| path.starts_with(prefix));
    if is_api || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return assets::plain(http::StatusCode::NOT_FOUND, "404 page not found");
    }
    assets::serve(path, request.headers())
}

//! Who calls whom within a time range: Jaeger's dependencies, and the service map with kinds, failures and durations.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use ingest::jaeger::answer::NO_SERVICE;
use model::{Connection, Durations, Edge, EdgePlan, Error, Result, TimeRange};
use serde_json::{Value, json};

use super::go::{parse_error, parse_int};
use super::{respond, wrapped};
use crate::error;
use crate::params::{Params, loki_time_ns};
use crate::tenants::Reader;

const DAY_MS: i64 = 24 * 3_600 * 1_000;
const HOUR_NS: i64 = 3_600 * 1_000_000_000;

/// A caller, whom it called, and how often.
pub(super) struct Dependency {
    pub(super) parent: Arc<str>,
    pub(super) child: Arc<str>,
    pub(super) calls: u64,
}

/// Calls from one service to another, whatever the kind, sorted.
pub(super) async fn dependencies(app: &Reader, range: TimeRange) -> Result<Vec<Dependency>> {
    let mut sums: BTreeMap<(Arc<str>, Arc<str>), u64> = BTreeMap::new();
    for edge in edges(app, EdgePlan { range, outside: false }).await? {
        if edge.client != edge.server {
            *sums.entry((edge.client, edge.server)).or_default() += edge.calls;
        }
    }
    let one = |((parent, child), calls)| Dependency { parent, child, calls };
    Ok(sums.into_iter().map(one).collect())
}

async fn edges(app: &Reader, plan: EdgePlan) -> Result<Vec<Edge>> {
    let source = app.traces.clone();
    let mut edges = app.queries.run(None, move |budget| source.edges(&plan, budget)).await?;
    for edge in &mut edges {
        for name in [&mut edge.client, &mut edge.server] {
            if name.is_empty() {
                *name = Arc::from(NO_SERVICE);
            }
        }
    }
    Ok(edges)
}

/// `GET /api/dependencies`.
pub(crate) async fn list(app: Reader, params: Params) -> Response {
    let answer = async {
        let ms = |name: &str, default: i64| match params.non_empty(name) {
            None => Ok(default),
            Some(text) => parse_int(text).map_err(|e| parse_error(name, &e)),
        };
        let end_ms = ms("endTs", app.clock.now_ms())?;
        let start_ms = end_ms.saturating_sub(ms("lookback", DAY_MS)?);
        let range = TimeRange::from_ms_inclusive(start_ms, end_ms);
        let service = params.get("service");
        let is_wanted =
            |of: &Dependency| service.is_empty() || *of.parent == *service || *of.child == *service;
        let found = dependencies(&app, range).await?;
        let links: Vec<Value> = found.iter().filter(|of| is_wanted(of)).map(link).collect();
        Ok(wrapped(&Value::Array(links), 0))
    };
    respond(answer.await)
}

fn link(of: &Dependency) -> Value {
    json!({"parent": &*of.parent, "child": &*of.child, "callCount": of.calls})
}

/// `GET /api/taffrail/v1/service_graph`: services and the calls between them, also those to and from what sends no spans.
pub(crate) async fn service_graph(app: Reader, params: Params) -> Response {
    match graph(&app, &params).await {
        Ok(graph) => error::json(http::StatusCode::OK, graph.to_string()),
        Err(e) => error::prometheus(&e),
    }
}

async fn graph(app: &Reader, params: &Params) -> Result<Value> {
    let time = |name: &str| {
        let text = params.non_empty(name);
        text.map(|text| {
            loki_time_ns(text).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid parameter {name:?}: {text:?} is neither a Unix time nor RFC 3339"
                ))
            })
        })
        .transpose()
    };
    let end_ns = time("end")?.unwrap_or_else(|| app.clock.now_ns());
    let start_ns = time("start")?.unwrap_or_else(|| end_ns.saturating_sub(HOUR_NS));
    if end_ns < start_ns {
        return Err(Error::invalid("invalid parameter \"end\": before \"start\""));
    }
    let plan = EdgePlan { range: TimeRange::new(start_ns, end_ns), outside: true };
    let edges = edges(app, plan).await?;
    let seconds = (i128::from(end_ns) - i128::from(start_ns)) as f64 / 1e9;
    let rate = |calls: u64| if seconds > 0.0 { calls as f64 / seconds } else { 0.0 };
    let mut nodes: BTreeMap<(Arc<str>, &str), Node> = BTreeMap::new();
    for edge in &edges {
        let (client, server) = kinds(edge);
        nodes.entry((edge.client.clone(), client)).or_default();
        let node = nodes.entry((edge.server.clone(), server)).or_default();
        node.calls += edge.calls;
        node.errors += edge.errors;
    }
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|((name, kind), node)| {
            json!({"name": &**name, "kind": kind, "calls": node.calls, "errors": node.errors})
        })
        .collect();
    let one = |edge: &Edge| {
        json!({
            "client": &*edge.client,
            "server": &*edge.server,
            "connection": match edge.connection {
                Connection::Call => "",
                Connection::Message => "messaging_system",
                Connection::Database => "database",
                Connection::Outside => "virtual_node",
            },
            "calls": edge.calls,
            "errors": edge.errors,
            "callsPerSecond": rate(edge.calls),
            "clientMs": durations(&edge.client_ns),
            "serverMs": durations(&edge.server_ns),
        })
    };
    let edges: Vec<Value> = edges.iter().map(one).collect();
    Ok(json!({"nodes": nodes, "edges": edges}))
}

/// What a service was asked.
#[derive(Default)]
struct Node {
    calls: u64,
    errors: u64,
}

/// What the two ends of an edge are.
fn kinds(edge: &Edge) -> (&'static str, &'static str) {
    match edge.connection {
        Connection::Call | Connection::Message => ("service", "service"),
        Connection::Database => ("service", "database"),
        // Of such an edge only the end outside has no spans.
        Connection::Outside if edge.client_ns.count() == 0 => ("outside", "service"),
        Connection::Outside => ("service", "outside"),
    }
}

/// Milliseconds; `null` when this end said nothing.
fn durations(all: &Durations) -> Value {
    let quantile = |q: f64| all.quantile_ns(q).map(|ns| ns / 1e6);
    if all.count() == 0 {
        return Value::Null;
    }
    json!({
        "count": all.count(),
        "mean": all.mean_ns() / 1e6,
        "p50": quantile(0.5),
        "p95": quantile(0.95),
        "p99": quantile(0.99),
    })
}

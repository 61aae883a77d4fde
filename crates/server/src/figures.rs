//! Figures about ourselves, in the text exposition format, and the request counters.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::receive::grpc::Method;
use crate::routes::ROUTE_COUNT_MAX;

/// One number about this process.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Metric name.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// Help text.
    pub help: &'static str,
    /// Labels.
    pub labels: Vec<(&'static str, String)>,
    /// Value.
    pub value: f64,
}

/// Prints figures in the Prometheus text format 0.0.4; figures of one name must be neighbours.
pub fn render(figures: &[Figure]) -> String {
    let mut out = String::new();
    let mut previous = "";
    for figure in figures {
        if figure.name != previous {
            let _infallible = write!(
                out,
                "# HELP {} {}\n# TYPE {} {}\n",
                figure.name, figure.help, figure.name, figure.kind
            );
            previous = figure.name;
        }
        out.push_str(figure.name);
        let mut separator = '{';
        for (name, value) in &figure.labels {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _infallible = write!(out, "{separator}{name}=\"{value}\"");
            separator = ',';
        }
        let close = if figure.labels.is_empty() { "" } else { "}" };
        let _infallible = writeln!(out, "{close} {}", figure.value);
    }
    out
}

/// Requests by route and status class, and the time they took.
pub(crate) struct RequestCounters {
    routes: [RouteCounters; ROUTE_COUNT_MAX],
    /// By [`Method::ALL`].
    grpc: [RouteCounters; Method::ALL.len()],
}

#[derive(Default)]
struct RouteCounters {
    by_class: [AtomicU64; 5],
    duration_us: AtomicU64,
}

impl RouteCounters {
    fn count(&self, status: u16, duration_ns: i64) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        if let Some(counter) = self.by_class.get(class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let duration_us = u64::try_from(duration_ns / 1_000).unwrap_or(0);
        self.duration_us.fetch_add(duration_us, Ordering::Relaxed);
    }
}

impl Default for RequestCounters {
    fn default() -> Self {
        Self { routes: std::array::from_fn(|_| RouteCounters::default()), grpc: Default::default() }
    }
}

impl RequestCounters {
    pub(crate) fn count(&self, route_index: usize, status: u16, duration_ns: i64) {
        if let Some(route) = self.routes.get(route_index) {
            route.count(status, duration_ns);
        }
    }

    /// Counts a request over gRPC, by the HTTP status that means the same as its own.
    pub(crate) fn count_grpc(&self, method: Method, status: u16, duration_ns: i64) {
        if let Some(counters) = self.grpc.get(method as usize) {
            counters.count(status, duration_ns);
        }
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        let mut requests = Vec::new();
        let mut seconds = Vec::new();
        let routes = self.routes.iter().zip(crate::routes::route_list());
        let routes = routes.map(|(route, info)| (route, info.path, info.method));
        let grpc = self.grpc.iter().zip(Method::ALL);
        let grpc = grpc.map(|(route, method)| (route, method.path(), "POST"));
        for (route, path, method) in routes.chain(grpc) {
            let labels = |extra: Option<String>| {
                let mut labels = vec![("handler", path.to_owned()), ("method", method.to_owned())];
                labels.extend(extra.map(|code| ("code", code)));
                labels
            };
            let mut used = false;
            for (class, counter) in route.by_class.iter().enumerate() {
                let value = counter.load(Ordering::Relaxed);
                if value > 0 {
                    used = true;
                    requests.push(Figure {
                        name: "taffrail_http_requests_total",
                        kind: "counter",
                        help: "HTTP requests answered, by route and status class.",
                        labels: labels(Some(format!("{}xx", class + 1))),
                        value: value as f64,
                    });
                }
            }
            if used {
                seconds.push(Figure {
                    name: "taffrail_http_request_seconds_total",
                    kind: "counter",
                    help: "Seconds spent answering HTTP requests, by route.",
                    labels: labels(None),
                    value: route.duration_us.load(Ordering::Relaxed) as f64 / 1e6,
                });
            }
        }
        requests.extend(seconds);
        requests
    }
}

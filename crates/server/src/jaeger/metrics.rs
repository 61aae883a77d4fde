//! Jaeger's service performance monitoring: latencies, calls and errors of services, out of the metrics that are made of
//! spans (`traces_spanmetrics_*`).
//!
//! Latencies are in milliseconds, which its UI takes them for. Source: Jaeger, "Service Performance Monitoring".

use std::fmt::Write as _;
use std::sync::Arc;

use ::query::promql::{self, Options, PromQuery, Series, Value as PromValue};
use axum::extract::State;
use axum::response::Response;
use model::{Error, Result};
use serde_json::{Value, json};

use super::go::{parse_bool, parse_error, parse_int};
use super::{respond, wrapped};
use crate::App;
use crate::params::Params;

const HOUR_MS: i64 = 3_600_000;
const STEP_MS: i64 = 5_000;
const RATE_MS: i64 = 600_000;
/// Points of one series, as in Prometheus.
const STEPS_MAX: i64 = 11_000;

const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    /// The share of spans that took at most so long.
    Latency(f64),
    Calls,
    Errors,
}

/// Of which spans, when, and how.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    services: Vec<String>,
    kinds: Vec<&'static str>,
    by_operation: bool,
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
    rate_ms: i64,
}

fn asked(params: &Params, now_ms: i64) -> Result<Asked> {
    let services: Vec<String> = params.all("service").map(str::to_owned).collect();
    if services.is_empty() {
        return Err(parse_error("service", "please provide at least one service name"));
    }
    let by_operation = params.non_empty("groupByOperation").map(parse_bool).transpose();
    let by_operation = by_operation.map_err(|why| parse_error("groupByOperation", &why))?;
    let kind = |text: &str| {
        let known = KINDS.into_iter().find(|known| *known == text);
        known.ok_or_else(|| parse_error("spanKind", &format!("unsupported span kind: '{text}'")))
    };
    let mut kinds = params.all("spanKind").map(kind).collect::<Result<Vec<_>>>()?;
    if kinds.is_empty() {
        kinds.push("server");
    }
    let ms = |name: &str, default: i64| match params.non_empty(name) {
        None => Ok(default),
        Some(text) => parse_int(text).map_err(|why| parse_error(name, &why)),
    };
    let above_0 = |name: &str, default: i64| match ms(name, default)? {
        ms if ms > 0 => Ok(ms),
        ms => Err(parse_error(name, &format!("{ms} is not above 0"))),
    };
    let end_ms = ms("endTs", now_ms)?;
    let lookback_ms = above_0("lookback", HOUR_MS)?;
    let step_ms = above_0("step", STEP_MS)?;
    if lookback_ms / step_ms > STEPS_MAX {
        let why = format!("{} steps are more than {STEPS_MAX}", lookback_ms / step_ms);
        return Err(parse_error("step", &why));
    }
    Ok(Asked {
        services,
        kinds,
        by_operation: by_operation.unwrap_or(false),
        start_ms: end_ms.saturating_sub(lookback_ms),
        end_ms,
        step_ms,
        rate_ms: above_0("ratePer", RATE_MS)?,
    })
}

impl Asked {
    fn labels(&self) -> &'static str {
        if self.by_operation { "service, span_name" } else { "service" }
    }

    /// A rate of one of the metrics, summed.
    fn rate(&self, metric: &str, more: &str, le: &str) -> String {
        let escaped = |texts: &mut dyn Iterator<Item = String>| {
            let all: Vec<String> = texts.map(|text| regex::escape(&text)).collect();
            all.join("|").replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
        };
        let services = escaped(&mut self.services.iter().cloned());
        let kinds = self.kinds.iter().map(|kind| format!("SPAN_KIND_{}", kind.to_uppercase()));
        let kinds = escaped(&mut { kinds });
        format!(
            "sum by ({}{le}) (rate({metric}{{service=~\"{services}\", span_kind=~\"{kinds}\"{more}}}[{}ms]))",
            self.labels(),
            self.rate_ms,
        )
    }

    fn promql(&self, figure: Figure) -> String {
        let calls = "traces_spanmetrics_calls_total";
        match figure {
            Figure::Latency(q) => {
                let rate = self.rate("traces_spanmetrics_latency_bucket", "", ", le");
                format!("1000 * histogram_quantile({q}, {rate})")
            }
            Figure::Calls => self.rate(calls, "", ""),
            Figure::Errors => {
                let all = self.rate(calls, "", "");
                let failed = self.rate(calls, ", status_code=\"STATUS_CODE_ERROR\"", "");
                // What never failed has no series of failures.
                format!("({failed} or 0 * {all}) / {all}")
            }
        }
    }

    /// Name and help of the answer.
    fn title(&self, figure: Figure) -> (String, String) {
        let of = if self.by_operation { "service_operation" } else { "service" };
        let by = if self.by_operation { "service & operation" } else { "service" };
        match figure {
            Figure::Latency(q) => {
                (format!("{of}_latencies"), format!("{q:.2}th quantile latency, grouped by {by}"))
            }
            Figure::Calls => (format!("{of}_call_rate"), format!("calls/sec, grouped by {by}")),
            Figure::Errors => (
                format!("{of}_error_rate"),
                format!(
                    "error rate, computed as a fraction of errors/sec over calls/sec, grouped by {by}"
                ),
            ),
        }
    }
}

pub(crate) async fn latencies(State(app): State<Arc<App>>, params: Params) -> Response {
    let text = params.get("quantile");
    let quantile = text.parse::<f64>().map_err(|_| {
        parse_error("quantile", &format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
    });
    let answer = async { found(&app, &params, Figure::Latency(quantile?)).await };
    respond(answer.await)
}

pub(crate) async fn calls(State(app): State<Arc<App>>, params: Params) -> Response {
    respond(found(&app, &params, Figure::Calls).await)
}

pub(crate) async fn errors(State(app): State<Arc<App>>, params: Params) -> Response {
    respond(found(&app, &params, Figure::Errors).await)
}

/// The smallest step, in milliseconds.
pub(crate) async fn min_step() -> Response {
    respond(Ok(wrapped(&json!(1), 0)))
}

async fn found(app: &Arc<App>, params: &Params, figure: Figure) -> Result<String> {
    let asked = asked(params, app.clock.now_ms())?;
    let query = PromQuery {
        text: asked.promql(figure),
        start_ms: asked.start_ms,
        end_ms: asked.end_ms,
        step_ms: asked.step_ms,
        lookback_ms: app.config.lookback_ms,
    };
    let source = app.metrics.clone();
    let options = Options::default();
    let evaluated = app
        .queries
        .run(None, move |budget| promql::evaluate(source.as_ref(), &query, &options, budget))
        .await?;
    match evaluated.value {
        PromValue::Matrix(series) => Ok(family(&asked, figure, &series).to_string()),
        _ => Err(Error::new(model::ErrorKind::Bug, "a range query is no matrix")),
    }
}

fn family(asked: &Asked, figure: Figure, series: &[Series]) -> Value {
    let (name, help) = asked.title(figure);
    let metric = |series: &Series| {
        let mut labels = Vec::new();
        for (ours, theirs) in [("service", "service_name"), ("span_name", "operation")] {
            if let Some(value) = series.labels.get(ours) {
                labels.push(json!({"name": theirs, "value": value}));
            }
        }
        let point = |(t_ms, value): &(i64, f64)| json!({"gaugeValue": {"doubleValue": number(*value)}, "timestamp": time(*t_ms)});
        let points: Vec<Value> = series.points.iter().map(point).collect();
        json!({"labels": labels, "metricPoints": points})
    };
    let metrics: Vec<Value> = series.iter().map(metric).collect();
    json!({"name": name, "type": "GAUGE", "help": help, "metrics": metrics})
}

/// As protocol buffers' JSON has it.
fn number(value: f64) -> Value {
    match value {
        value if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        value => json!(value),
    }
}

fn time(t_ms: i64) -> String {
    let mut text = String::new();
    if let Ok(time) = jiff::Timestamp::from_millisecond(t_ms) {
        let _infallible = write!(text, "{time}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    fn of(text: &str) -> Result<Asked, String> {
        asked(&Params::from_query(text), 10_000_000).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn parameters_become_promql() {
        let check = |text: &str, figure: Figure, expected: &str| {
            let query = of(text).unwrap().promql(figure);
            assert_eq!(query, expected);
            promql::parse(&query).unwrap();
        };
        check(
            "service=a&service=b.\"&ratePer=60000",
            Figure::Calls,
            r#"sum by (service) (rate(traces_spanmetrics_calls_total{service=~"a|b\\.\"", span_kind=~"SPAN_KIND_SERVER"}[60000ms]))"#,
        );
        check(
            "service=a&groupByOperation=true&spanKind=client&spanKind=server",
            Figure::Latency(0.95),
            r#"1000 * histogram_quantile(0.95, sum by (service, span_name, le) (rate(traces_spanmetrics_latency_bucket{service=~"a", span_kind=~"SPAN_KIND_CLIENT|SPAN_KIND_SERVER"}[600000ms])))"#,
        );
        let errors = of("service=a").unwrap().promql(Figure::Errors);
        promql::parse(&errors).unwrap();
        assert!(errors.contains(r#", status_code="STATUS_CODE_ERROR"}"#), "{errors}");
        let asked = of("service=a&endTs=5000000&lookback=60000&step=1000").unwrap();
        assert_eq!((asked.start_ms, asked.end_ms, asked.step_ms), (4_940_000, 5_000_000, 1_000));
    }

    #[test]
    fn mistakes_have_jaegers_words() {
        let check = |text: &str, expected: &str| assert_eq!(of(text).unwrap_err(), expected);
        check("", "unable to parse param 'service': please provide at least one service name");
        check(
            "service=a&spanKind=SERVER",
            "unable to parse param 'spanKind': unsupported span kind: 'SERVER'",
        );
        check(
            "service=a&groupByOperation=x",
            "unable to parse param 'groupByOperation': strconv.ParseBool: parsing \"x\": invalid syntax",
        );
        check("service=a&step=0", "unable to parse param 'step': 0 is not above 0");
        check(
            "service=a&step=1",
            "unable to parse param 'step': 3600000 steps are more than 11000",
        );
    }

    #[test]
    fn answers_are_families() {
        let asked = of("service=a&groupByOperation=1").unwrap();
        let series = Series {
            labels: Labels::from_pairs([("service", "a"), ("span_name", "GET /")]),
            points: vec![(1_435_781_460_500, 1.5), (1_435_781_461_000, f64::NAN)],
            histograms: Vec::new(),
        };
        let expected = json!({
            "name": "service_operation_latencies",
            "type": "GAUGE",
            "help": "0.95th quantile latency, grouped by service & operation",
            "metrics": [{
                "labels": [
                    {"name": "service_name", "value": "a"},
                    {"name": "operation", "value": "GET /"},
                ],
                "metricPoints": [
                    {"gaugeValue": {"doubleValue": 1.5}, "timestamp": "2015-07-01T20:11:00.5Z"},
                    {"gaugeValue": {"doubleValue": "NaN"}, "timestamp": "2015-07-01T20:11:01Z"},
                ],
            }],
        });
        assert_eq!(family(&asked, Figure::Latency(0.95), &[series]), expected);
    }
}

//! Version 3 of Jaeger's query API over HTTP: traces in OTLP/JSON. Source: jaeger-idl, `swagger/api_v3`.
//!
//! Parameters may be spelled as in protocol buffers (`query.service_name`) or in their JSON (`query.serviceName`); searches
//! may be posted as JSON.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use ingest::jaeger::answer::enriched;
use ingest::otlp::traces::{IdForm, json_pieces};
use model::{Budget, Error, ErrorKind, Result, SpanStatus, TimeRange, Trace};
use serde_json::{Value, json};

use super::dependencies::dependencies;
use super::go::{duration_ns, parse_bool, parse_int};
use super::search::{self, Query, Tag, json_tags};
use super::{
    adjustment, as_json, one_trace, operations_of, pay_for_shown, service_names, trace_id,
};
use crate::params::{Params, rfc3339_ns};
use crate::tenants::Reader;
use crate::{error, streamed};

/// A posted search may not be larger, nor take longer to come.
const BODY_BYTES_MAX: usize = 1 << 20;
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

fn respond(outcome: Result<String>) -> Response {
    match outcome {
        Ok(body) => error::json(StatusCode::OK, body),
        Err(e) => {
            let status = error::status(e.kind());
            let message = error::public_message(&e);
            let error = json!({"httpCode": status.as_u16(), "message": message});
            error::json(status, json!({ "error": error }).to_string())
        }
    }
}

/// Likewise, of pieces.
fn send(outcome: Result<impl Pieces>) -> Response {
    match outcome {
        Ok(pieces) => streamed::respond(pieces, "application/json"),
        Err(e) => respond(Err(e)),
    }
}

/// What was asked, by the names of protocol buffers.
struct Given(BTreeMap<String, String>);

impl Given {
    fn of_params(params: &Params) -> Self {
        // The first of several counts.
        let pairs = params.pairs().rev().map(|(name, value)| (snake(name), value.to_owned()));
        Self(pairs.collect())
    }

    /// A body `{"query": {…}}`.
    fn of_json(body: &[u8]) -> Result<Self> {
        let wrong = |why: &dyn std::fmt::Display| Error::invalid(format!("malformed body: {why}"));
        let body: Value = serde_json::from_slice(body).map_err(|e| wrong(&e))?;
        let Some(query) = body["query"].as_object() else {
            return Err(wrong(&"no object \"query\""));
        };
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let pairs =
            query.iter().map(|(name, value)| (snake(&format!("query.{name}")), text(value)));
        Ok(Self(pairs.collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>> {
        let text = self.get(name);
        text.map(|text| parse(text).map_err(|why| malformed(name, &why))).transpose()
    }

    /// `start` and `end`, which must be there; the end is outside.
    fn range(&self, start: &str, end: &str) -> Result<TimeRange> {
        let (Some(start_ns), Some(end_ns)) = (self.parsed(start, time)?, self.parsed(end, time)?)
        else {
            return Err(Error::invalid(format!("{start} and {end} are required")));
        };
        Ok(TimeRange::new(start_ns, end_ns))
    }

    fn query(&self) -> Result<(Query, bool)> {
        if self.get("query.filter").is_some() {
            return Err(Error::invalid(
                "query.filter is not supported; use query.service_name, query.operation_name, query.attributes and \
                 durations",
            ));
        }
        let tags = self.parsed("query.attributes", json_tags)?.unwrap_or_default();
        let depth = match self.parsed("query.search_depth", parse_int)? {
            None => self.parsed("query.num_traces", parse_int)?,
            depth => depth,
        };
        let duration = |name: &str| self.parsed(name, duration_ns);
        let (duration_ns_min, duration_ns_max) =
            search::durations(duration("query.duration_min")?, duration("query.duration_max")?)?;
        let owned = |name: &str| self.get(name).map(str::to_owned);
        let query = Query {
            range: self.range("query.start_time_min", "query.start_time_max")?,
            service: owned("query.service_name"),
            operation: owned("query.operation_name"),
            tags: tags.iter().map(|(name, value)| Tag::new(name, value)).collect(),
            duration_ns_min,
            duration_ns_max,
            limit: search::limit(depth.unwrap_or(0))?,
        };
        Ok((query, self.parsed("query.raw_traces", parse_bool)?.unwrap_or(false)))
    }
}

/// For fuzzing: a search in parameters, and one in a body.
pub(super) fn fuzz(params: &Params, body: &[u8]) {
    Given::of_params(params).query().ok();
    Given::of_json(body).and_then(|given| given.query()).ok();
}

/// `query.serviceName` as `query.service_name`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn malformed(name: &str, why: &str) -> Error {
    Error::invalid(format!("malformed parameter {name}: {why}"))
}

fn time(text: &str) -> Result<i64, String> {
    rfc3339_ns(text).ok_or_else(|| format!("{text:?} is not a time in RFC 3339"))
}

async fn posted(body: Body) -> Result<Given> {
    let whole = tokio::time::timeout(BODY_TIME_MAX, Limited::new(body, BODY_BYTES_MAX).collect());
    let whole = whole.await.map_err(|_| Error::invalid("request body took over 10 s"))?;
    let whole = whole
        .map_err(|e| Error::invalid(format!("read body of at most {BODY_BYTES_MAX} bytes: {e}")))?;
    Given::of_json(&whole.to_bytes())
}

/// `GET /api/v3/traces/{id}`.
pub(crate) async fn trace(app: Reader, Path(id): Path<String>, params: Params) -> Response {
    let answer = async {
        let id = trace_id(&id).map_err(|e| malformed("trace_id", e.message()))?;
        let given = Given::of_params(&params);
        let is_raw = given.parsed("raw_traces", parse_bool)?.unwrap_or(false);
        one_trace(&app, id, move |trace, budget| traces_json(vec![trace], is_raw, budget)).await
    };
    send(answer.await)
}

/// `GET /api/v3/traces`.
pub(crate) async fn find(app: Reader, params: Params) -> Response {
    send(found(&app, Ok(Given::of_params(&params))).await)
}

/// `POST /api/v3/traces`.
pub(crate) async fn find_posted(app: Reader, body: Body) -> Response {
    send(found(&app, posted(body).await).await)
}

async fn found(app: &Reader, given: Result<Given>) -> Result<impl Pieces> {
    let (query, is_raw) = given?.query()?;
    let finish = move |traces: Vec<Trace>, budget: &Budget| {
        if traces.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "No traces found"));
        }
        traces_json(traces, is_raw, budget)
    };
    search::find(app, query, false, finish).await
}

/// A body that is made while it is sent.
trait Pieces: Iterator<Item = Vec<u8>> + Send + 'static {}

impl<P: Iterator<Item = Vec<u8>> + Send + 'static> Pieces for P {}

fn traces_json(traces: Vec<Trace>, is_raw: bool, budget: &Budget) -> Result<impl Pieces + use<>> {
    pay_for_shown(&traces, budget)?;
    let adjustment = adjustment(is_raw);
    let groups = traces.into_iter().flat_map(|trace| enriched(trace, adjustment).groups);
    Ok(json_pieces(groups.collect(), IdForm::Hexadecimal, "{\"result\":", "}"))
}

/// `GET /api/v3/trace-summaries`.
pub(crate) async fn summaries(app: Reader, params: Params) -> Response {
    respond(summarised(&app, Ok(Given::of_params(&params))).await)
}

/// `POST /api/v3/trace-summaries`.
pub(crate) async fn summaries_posted(app: Reader, body: Body) -> Response {
    respond(summarised(&app, posted(body).await).await)
}

async fn summarised(app: &Reader, given: Result<Given>) -> Result<String> {
    let (query, _) = given?.query()?;
    let one = |trace: &Trace| {
        let summary = Summary::of(trace);
        let service = |(name, counts): (&&str, &Counts)| json!({"name": name, "spanCount": counts.spans, "errorSpanCount": counts.errors});
        json!({
            "traceId": format!("{:032x}", trace.trace_id),
            "rootServiceName": summary.root_service,
            "rootOperationName": summary.root_name,
            "minStartTimeUnixNano": summary.start_ns.to_string(),
            "maxEndTimeUnixNano": summary.end_ns.to_string(),
            "spanCount": summary.all.spans,
            "errorSpanCount": summary.all.errors,
            "orphanSpanCount": summary.orphans,
            "services": summary.services.iter().map(service).collect::<Vec<_>>(),
        })
    };
    let finish = move |traces: Vec<Trace>, _: &Budget| {
        let summaries: Vec<Value> = traces.iter().map(one).collect();
        Ok(json!({ "summaries": summaries }).to_string())
    };
    search::find(app, query, false, finish).await
}

/// Spans, and those of them that failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) spans: usize,
    pub(super) errors: usize,
}

impl Counts {
    fn add(&mut self, status: SpanStatus) {
        self.spans += 1;
        self.errors += usize::from(status == SpanStatus::Error);
    }
}

/// What is said of a trace without its spans.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Summary<'t> {
    pub(super) root_service: &'t str,
    pub(super) root_name: &'t str,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    pub(super) all: Counts,
    pub(super) orphans: usize,
    pub(super) services: BTreeMap<&'t str, Counts>,
}

impl<'t> Summary<'t> {
    pub(super) fn of(trace: &'t Trace) -> Self {
        let spans = || trace.groups.iter().flat_map(|g| g.spans.iter().map(move |span| (g, span)));
        let ids: HashSet<u64> = spans().map(|(_, span)| span.span_id).collect();
        let mut summary = Self { start_ns: i64::MAX, end_ns: i64::MIN, ..Self::default() };
        let mut root_ns = i64::MAX;
        for (group, span) in spans() {
            let service = group.resource.service().unwrap_or("");
            summary.start_ns = summary.start_ns.min(span.start_ns);
            summary.end_ns = summary.end_ns.max(span.end_ns.max(span.start_ns));
            summary.all.add(span.status);
            summary.services.entry(service).or_default().add(span.status);
            if span.parent_id == 0 && span.start_ns < root_ns {
                root_ns = span.start_ns;
                (summary.root_service, summary.root_name) = (service, &span.name);
            }
            summary.orphans += usize::from(span.parent_id != 0 && !ids.contains(&span.parent_id));
        }
        summary
    }
}

/// `GET /api/v3/services`.
pub(crate) async fn services(app: Reader) -> Response {
    let found = service_names(&app).await;
    respond(found.map(|names| json!({ "services": names }).to_string()))
}

/// `GET /api/v3/operations`.
pub(crate) async fn operations(app: Reader, params: Params) -> Response {
    let answer = async {
        let given = Given::of_params(&params);
        let service = given.get("service").ok_or_else(|| malformed("service", "it is required"))?;
        let found = operations_of(&app, service, given.get("span_kind").unwrap_or("")).await?;
        Ok(json!({ "operations": as_json(&found) }).to_string())
    };
    respond(answer.await)
}

/// `GET /api/v3/dependencies`.
pub(crate) async fn dependency_list(app: Reader, params: Params) -> Response {
    let answer = async {
        let range = Given::of_params(&params).range("start_time", "end_time")?;
        let found = dependencies(&app, range).await?;
        let link = |of: &super::dependencies::Dependency| json!({"parent": &*of.parent, "child": &*of.child, "callCount": of.calls.to_string()});
        Ok(json!({ "dependencies": found.iter().map(link).collect::<Vec<_>>() }).to_string())
    };
    respond(answer.await)
}

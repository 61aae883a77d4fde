//! Jaeger's query services over gRPC: `jaeger.api_v2.QueryService` and `jaeger.api_v3.QueryService`.
//!
//! Answers are lists of messages; unary methods have one. Does not own: connections and framing
//! ([`receive::grpc`](crate::receive::grpc)).

use ingest::jaeger::answer::{chunks, enriched};
use ingest::jaeger::query::{self, SearchRequest};
use ingest::otlp::traces::{protobuf_bytes, to_protobuf};
use ingest::protobuf::Writer;
use model::{Budget, Error, Result, SpanGroup, TimeRange, Trace};

use super::dependencies::dependencies;
use super::search::{self, Query, Tag};
use super::v3::Summary;
use super::{
    adjustment, keep, one_trace, operations_of, pay_for_shown, service_names, trace_id,
    unique_names,
};
use crate::tenants::Reader;

/// Spans of one message of the third version: clients take messages of up to 4 MiB unless they are told otherwise.
const MESSAGE_SPANS: usize = 512;

/// A method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Trace,
    Archive,
    Search,
    Services,
    Operations,
    Dependencies,
    Summaries,
}

/// A version of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Two,
    Three,
}

/// Answers `message`.
///
/// # Errors
/// As over HTTP.
pub(crate) async fn answer(
    app: &Reader,
    version: Version,
    call: Call,
    message: &[u8],
) -> Result<Vec<Vec<u8>>> {
    match call {
        Call::Trace => {
            let request = query::decode_trace(message)?;
            let id = id(version, &request.trace_id)?;
            let raw = request.raw;
            one_trace(app, id, move |trace, budget| messages(version, vec![trace], raw, budget))
                .await
        }
        Call::Archive => {
            keep(app, id(version, &query::decode_trace(message)?.trace_id)?).await?;
            // `ArchiveTraceResponse` has no fields.
            Ok(vec![Vec::new()])
        }
        Call::Search => {
            let request = searched(message)?;
            let (query, raw) = asked(version, &request)?;
            let finish = move |traces, budget: &Budget| messages(version, traces, raw, budget);
            search::find(app, query, false, finish).await
        }
        Call::Services => {
            let mut answer = Writer::new();
            service_names(app).await?.iter().for_each(|name| answer.always_text(1, name));
            Ok(vec![answer.finish()])
        }
        Call::Operations => {
            let request = query::decode_operations(message)?;
            let found = operations_of(app, &request.service, &request.kind).await?;
            let mut answer = Writer::new();
            // The second version has lists of names alone, too.
            let field = if version == Version::Two { 2 } else { 1 };
            if version == Version::Two {
                unique_names(&found).iter().for_each(|name| answer.always_text(1, name));
            }
            for (name, kind) in &found {
                answer.message(field, |to| {
                    to.text(1, name);
                    to.text(2, kind);
                });
            }
            Ok(vec![answer.finish()])
        }
        Call::Dependencies => {
            let (start_ns, end_ns) = query::decode_dependencies(message)?;
            let range = TimeRange::new(start_ns.unwrap_or(i64::MIN), end_ns.unwrap_or(i64::MAX));
            let mut answer = Writer::new();
            for of in dependencies(app, range).await? {
                answer.message(1, |to| {
                    to.text(1, &of.parent);
                    to.text(2, &of.child);
                    to.uint(3, of.calls);
                });
            }
            Ok(vec![answer.finish()])
        }
        Call::Summaries => {
            let request = searched(message)?;
            let query = asked(version, &request)?.0;
            search::find(app, query, false, |traces, _| Ok(traces.iter().map(summary).collect()))
                .await
        }
    }
}

fn id(version: Version, bytes: &[u8]) -> Result<u128> {
    if version == Version::Two {
        let id = bytes.try_into().map(u128::from_be_bytes);
        return id.map_err(|_| {
            Error::invalid(format!("invalid length for TraceID: {} bytes; need 16", bytes.len()))
        });
    }
    trace_id(&String::from_utf8_lossy(bytes))
}

fn searched(message: &[u8]) -> Result<SearchRequest> {
    query::decode_search(message)?.ok_or_else(|| Error::invalid("missing query"))
}

fn asked(version: Version, request: &SearchRequest) -> Result<(Query, bool)> {
    if version == Version::Three && (request.start_ns.is_none() || request.end_ns.is_none()) {
        return Err(Error::invalid("start time min and max are required parameters"));
    }
    if request.has_filter {
        return Err(Error::invalid(
            "filter is not supported; use service_name, operation_name, attributes and durations",
        ));
    }
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let (duration_ns_min, duration_ns_max) =
        search::durations(request.duration_ns_min, request.duration_ns_max)?;
    let query = Query {
        range: TimeRange::new(
            request.start_ns.unwrap_or(i64::MIN),
            request.end_ns.unwrap_or(i64::MAX),
        ),
        service: text(&request.service),
        operation: text(&request.operation),
        tags: request.tags.iter().map(|(name, value)| Tag::new(name, value)).collect(),
        duration_ns_min,
        duration_ns_max,
        limit: search::limit(request.depth)?,
    };
    Ok((query, request.raw))
}

fn messages(
    version: Version,
    traces: Vec<Trace>,
    raw: bool,
    budget: &Budget,
) -> Result<Vec<Vec<u8>>> {
    let adjustment = adjustment(raw);
    let mut messages = Vec::new();
    for trace in traces {
        pay_for_shown(std::slice::from_ref(&trace), budget)?;
        // All messages wait until they are sent.
        budget.charge_bytes(protobuf_bytes(&trace.groups) as u64)?;
        match version {
            Version::Two => messages.extend(chunks(&trace, adjustment)),
            Version::Three => of_version_3(enriched(trace, adjustment), &mut messages),
        }
    }
    Ok(messages)
}

/// Spans of a trace, so many in a message.
fn of_version_3(trace: Trace, messages: &mut Vec<Vec<u8>>) {
    let mut groups: Vec<SpanGroup> = Vec::new();
    let mut count = 0;
    for SpanGroup { resource, scope, spans } in trace.groups {
        let mut spans = spans.into_iter();
        while spans.len() > 0 {
            let some: Vec<_> = spans.by_ref().take(MESSAGE_SPANS - count).collect();
            count += some.len();
            let (resource, scope) = (resource.clone(), scope.clone());
            groups.push(SpanGroup { resource, scope, spans: some });
            if count == MESSAGE_SPANS {
                messages.push(to_protobuf(&groups));
                groups.clear();
                count = 0;
            }
        }
    }
    if count > 0 {
        messages.push(to_protobuf(&groups));
    }
}

fn summary(trace: &Trace) -> Vec<u8> {
    let summary = Summary::of(trace);
    let mut answer = Writer::new();
    answer.message(1, |to| {
        to.text(1, &format!("{:032x}", trace.trace_id));
        to.text(2, summary.root_service);
        to.text(3, summary.root_name);
        to.fixed64(4, summary.start_ns.cast_unsigned());
        to.fixed64(5, summary.end_ns.cast_unsigned());
        to.uint(6, summary.all.spans as u64);
        to.uint(7, summary.all.errors as u64);
        to.uint(8, summary.orphans as u64);
        for (name, counts) in &summary.services {
            to.message(9, |to| {
                to.text(1, name);
                to.uint(2, counts.spans as u64);
                to.uint(3, counts.errors as u64);
            });
        }
    });
    answer.finish()
}

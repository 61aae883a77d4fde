//! Jaeger's spans as OpenTelemetry's.

use std::sync::Arc;

use model::{
    AttributeValue, Attributes, Resource, Span, SpanEvent, SpanKind, SpanLink, SpanStatus,
};

use crate::spans::{Groups, Received, Refused, ScopeName, find, put, take, text_of};

/// What Jaeger's own converters call a resource without a service.
const NO_SERVICE: &str = "OTLPResourceNoServiceName";
/// Attribute that keeps the warnings of a span, as in Jaeger 2.
pub(super) const WARNINGS: &str = "@jaeger@warnings";
/// Attribute of a link that says which kind of reference it was.
pub(super) const REF_TYPE: &str = "opentracing.ref_type";
pub(super) const CHILD_OF: &str = "child_of";
pub(super) const FOLLOWS_FROM: &str = "follows_from";

/// A span as both encodings have it.
#[derive(Debug, Default)]
pub(super) struct JaegerSpan {
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
    /// Parent by its own field, which only Thrift has; 0 if it is not set.
    pub(super) parent_id: u64,
    pub(super) name: Arc<str>,
    pub(super) references: Vec<Reference>,
    pub(super) flags: u32,
    pub(super) start_ns: i64,
    /// Negative when the clock was set meanwhile.
    pub(super) duration_ns: i64,
    pub(super) tags: Attributes,
    pub(super) logs: Vec<Log>,
    pub(super) warnings: Vec<String>,
    /// What is already known to be wrong.
    pub(super) refusal: Option<String>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reference {
    /// Otherwise it follows from the other.
    pub(super) is_child: bool,
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) t_ns: i64,
    pub(super) fields: Attributes,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) service: String,
    pub(super) tags: Attributes,
}

/// Collects the spans of one batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    groups: Groups,
    refused: Refused,
}

impl Batch {
    pub(super) fn push(&mut self, resource: &Arc<Resource>, span: JaegerSpan) {
        let name = span.name.clone();
        match translate(span) {
            Ok((scope, span)) => self.groups.push(resource, scope, span),
            Err(why) => {
                let shown: String = name.chars().take(64).collect();
                self.refused.add(1, format!("span {shown:?}: {why}"));
            }
        }
    }

    pub(super) fn finish(self) -> Received {
        Received { groups: self.groups.finish(), refused: self.refused }
    }
}

impl JaegerSpan {
    /// Notes what is wrong; the first of it is told.
    pub(super) fn refuse(&mut self, why: impl Into<String>) {
        self.refusal.get_or_insert_with(|| why.into());
    }

    /// The parent: by its own field, else the first child-of reference within the trace, else the first other one.
    fn parent(&self) -> u64 {
        if self.parent_id != 0 {
            return self.parent_id;
        }
        let mut within = self.references.iter().filter(|r| r.trace_id == self.trace_id);
        let first = within.clone().next();
        within.find(|reference| reference.is_child).or(first).map_or(0, |r| r.span_id)
    }
}

pub(super) fn resource(process: Process) -> Resource {
    let Process { service, tags } = process;
    if service == NO_SERVICE {
        return Resource::default();
    }
    let mut attributes = Attributes::with_capacity(tags.len() + 1);
    if !service.is_empty() {
        put(&mut attributes, "service.name", service);
    }
    attributes.extend(tags);
    if find(&attributes, "host.name").is_none() {
        rename(&mut attributes, "hostname", "host.name");
    }
    if find(&attributes, VERSION).is_none()
        && let Some(AttributeValue::String(version)) =
            rename(&mut attributes, "jaeger.version", VERSION)
    {
        version.insert_str(0, "Jaeger-");
    }
    Resource { attributes, ..Resource::default() }
}

/// Where the collector keeps the version of a Jaeger client.
const VERSION: &str = "opencensus.exporterversion";

/// Gives the last attribute called `from` another name, and leads to its value.
fn rename<'a>(
    attributes: &'a mut Attributes,
    from: &str,
    to: &str,
) -> Option<&'a mut AttributeValue> {
    let (name, value) = attributes.iter_mut().rev().find(|(name, _)| &**name == from)?;
    *name = to.into();
    Some(value)
}

fn translate(mut from: JaegerSpan) -> Result<(ScopeName, Span), String> {
    if let Some(why) = from.refusal.take() {
        return Err(why);
    }
    if from.trace_id == 0 || from.span_id == 0 {
        let what = if from.trace_id == 0 { "TraceID" } else { "SpanID" };
        return Err(format!("{what} is empty or all zeros"));
    }
    let end_ns = from.start_ns.checked_add(from.duration_ns).ok_or_else(|| {
        format!("its duration of {} ns ends after the year 2262", from.duration_ns)
    })?;
    let parent_id = from.parent();
    let mut tags = from.tags;
    let scope = ScopeName::take(&mut tags);
    let kind = take(&mut tags, "span.kind").and_then(text_of);
    let kind = kind.as_deref().map_or(SpanKind::Unspecified, kind_of);
    let (status, status_message) = status(&mut tags, kind);
    let trace_state = take(&mut tags, "w3c.tracestate").and_then(text_of).unwrap_or_default();
    if !from.warnings.is_empty() {
        let warnings = from.warnings.into_iter().map(AttributeValue::String).collect();
        tags.push((WARNINGS.into(), AttributeValue::Array(warnings)));
    }
    let is_parent = |reference: &Reference| {
        reference.is_child && reference.span_id == parent_id && reference.trace_id == from.trace_id
    };
    Ok((
        scope,
        Span {
            trace_id: from.trace_id,
            span_id: from.span_id,
            parent_id,
            trace_state,
            // The first bit means the same in both: that the trace is sampled.
            flags: from.flags & 1,
            name: from.name,
            kind,
            start_ns: from.start_ns,
            end_ns,
            status,
            status_message,
            attributes: tags,
            events: from.logs.into_iter().map(event).collect(),
            links: from.references.iter().filter(|r| !is_parent(r)).map(link).collect(),
            ..Span::default()
        },
    ))
}

fn kind_of(text: &str) -> SpanKind {
    match text {
        "internal" => SpanKind::Internal,
        "server" => SpanKind::Server,
        "client" => SpanKind::Client,
        "producer" => SpanKind::Producer,
        "consumer" => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}

/// The status that tags tell: `error` first, then `otel.status_code`, then the status of HTTP.
fn status(tags: &mut Attributes, kind: SpanKind) -> (SpanStatus, String) {
    let text = |tags: &Attributes, name| find(tags, name).cloned().and_then(text_of);
    let description =
        |tags: &mut Attributes| take(tags, "otel.status_description").and_then(text_of);
    let code = take(tags, "otel.status_code").and_then(text_of);
    if find(tags, "error") == Some(&AttributeValue::Bool(true)) {
        take(tags, "error");
        let message = description(tags).or_else(|| text(tags, "http.status_message"));
        return (SpanStatus::Error, message.unwrap_or_default());
    }
    if let Some(code) = code {
        let status = match code.to_ascii_uppercase().as_str() {
            "OK" => SpanStatus::Ok,
            "ERROR" => SpanStatus::Error,
            _ => SpanStatus::Unset,
        };
        return (status, description(tags).unwrap_or_default());
    }
    let http = match find(tags, "http.status_code") {
        Some(AttributeValue::Int(code)) => Some(*code),
        Some(AttributeValue::String(code)) => code.parse().ok(),
        _ => None,
    };
    match http {
        Some(100..400) | None => (SpanStatus::Unset, String::new()),
        // What a client did wrong is no failure of the server.
        Some(400..500) if kind == SpanKind::Server => (SpanStatus::Unset, String::new()),
        Some(_) => (SpanStatus::Error, text(tags, "http.status_message").unwrap_or_default()),
    }
}

fn event(log: Log) -> SpanEvent {
    let mut attributes = log.fields;
    let name = match find(&attributes, "event") {
        Some(AttributeValue::String(_)) => take(&mut attributes, "event").and_then(text_of),
        _ => None,
    };
    SpanEvent {
        t_ns: log.t_ns,
        name: name.unwrap_or_default().into(),
        attributes,
        dropped_attributes: 0,
    }
}

fn link(reference: &Reference) -> SpanLink {
    let mut attributes = Attributes::new();
    put(&mut attributes, REF_TYPE, if reference.is_child { CHILD_OF } else { FOLLOWS_FROM });
    SpanLink {
        trace_id: reference.trace_id,
        span_id: reference.span_id,
        attributes,
        ..SpanLink::default()
    }
}

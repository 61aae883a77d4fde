//! Spans about ourselves: one for each request to an API, kept until they are stored like any other.
//!
//! Requests that bring data make none, nor do questions whether we are well: so what is stored here never leads to more of
//! it. Does not own: storing them (the binary takes them at intervals), what headers of a trace look like (`ingest`).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, Method, Uri, header};
use ingest::trace_context::{self, TraceContext};
use model::{AttributeValue, Attributes, Resource, Scope, Span, SpanGroup, SpanKind, SpanStatus};
use parking_lot::Mutex;

use crate::access::Role;

/// Spans that wait to be taken; more are dropped, and counted.
const WAITING_MAX: usize = 10_000;
/// Bytes of a text from a request.
const TEXT_BYTES_MAX: usize = 256;

/// The spans of a process.
#[derive(Debug)]
pub struct OwnSpans {
    resource: Arc<Resource>,
    scope: Arc<Scope>,
    waiting: Mutex<Vec<Span>>,
    dropped: AtomicU64,
    random: RandomState,
    made: AtomicU64,
}

/// A request that becomes a span once it is answered.
#[derive(Debug)]
pub(crate) struct Begun {
    context: Option<TraceContext>,
    start_ns: i64,
    method: Method,
    path: String,
    agent: Option<String>,
}

impl Begun {
    /// Unix nanoseconds.
    pub(crate) fn start_ns(&self) -> i64 {
        self.start_ns
    }
}

impl OwnSpans {
    /// Of the process that `resource` names.
    pub fn new(resource: Resource, version: &str) -> Self {
        let scope =
            Scope { name: "taffrail".to_owned(), version: version.to_owned(), ..Scope::default() };
        Self {
            resource: Arc::new(resource),
            scope: Arc::new(scope),
            waiting: Mutex::default(),
            dropped: AtomicU64::new(0),
            random: RandomState::new(),
            made: AtomicU64::new(0),
        }
    }

    /// What was made since the last call; nothing when there is nothing.
    pub fn take(&self) -> Vec<SpanGroup> {
        let spans = std::mem::take(&mut *self.waiting.lock());
        if spans.is_empty() {
            return Vec::new();
        }
        vec![SpanGroup { resource: self.resource.clone(), scope: self.scope.clone(), spans }]
    }

    /// Spans dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A request to a route of `role`, which came at `start_ns`, Unix nanoseconds; `None` when it makes no span: the caller
    /// said so, or it brings data, or asks whether we are well.
    pub(crate) fn begin(
        &self,
        role: Role,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        start_ns: i64,
    ) -> Option<Begun> {
        if matches!(role, Role::Ingest | Role::Open) {
            return None;
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let context = trace_context::read(text);
        if context.as_ref().is_some_and(|context| context.is_sampled == Some(false)) {
            return None;
        }
        let agent = text(header::USER_AGENT.as_str());
        Some(Begun {
            context,
            start_ns,
            method: method.clone(),
            path: cut(uri.path()),
            agent: agent.map(cut),
        })
    }

    /// The request was answered at `end_ns`.
    pub(crate) fn end(&self, begun: Begun, route: &'static str, status: u16, end_ns: i64) {
        let Begun { context, start_ns, method, path, agent } = begun;
        let text = |text: &str| AttributeValue::String(text.to_owned());
        let mut attributes: Attributes = vec![
            (Arc::from("http.request.method"), text(method.as_str())),
            (Arc::from("http.route"), text(route)),
            (Arc::from("url.path"), text(&path)),
            (Arc::from("url.scheme"), text("http")),
            (Arc::from("http.response.status_code"), AttributeValue::Int(status.into())),
        ];
        attributes.extend(agent.map(|agent| (Arc::from("user_agent.original"), text(&agent))));
        let is_failed = status >= 500;
        if is_failed {
            attributes.push((Arc::from("error.type"), text(&status.to_string())));
        }
        let (trace_id, parent_id, trace_state) = match context {
            Some(context) => (context.trace_id, context.span_id, context.trace_state),
            None => (u128::from(self.id()) << 64 | u128::from(self.id()), 0, String::new()),
        };
        let span = Span {
            trace_id,
            span_id: self.id(),
            parent_id,
            trace_state,
            // Sampled.
            flags: 1,
            name: Arc::from(format!("{method} {route}")),
            kind: SpanKind::Server,
            start_ns,
            end_ns: end_ns.max(start_ns),
            status: if is_failed { SpanStatus::Error } else { SpanStatus::Unset },
            attributes,
            ..Span::default()
        };
        let mut waiting = self.waiting.lock();
        if waiting.len() < WAITING_MAX {
            waiting.push(span);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A random number other than 0: the hash of a counter with keys that the system drew.
    fn id(&self) -> u64 {
        self.random.hash_one(self.made.fetch_add(1, Ordering::Relaxed)).max(1)
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

//! `traces_service_graph_*`: calls from one service to another.
//!
//! A call has two sides, which come in any order and from two processes: the caller's span and the span of the one that
//! was called, whose parent it is. Each waits for the other for a while. A caller's span that names a database is a call
//! by itself; one that names a peer becomes a call to it when nothing answered; a server's span without a parent was
//! called by a `user`. Spans of no kind (old clients) are a call where parent and child are of different services.
//! Zipkin's clients give both sides one id: what may be such a half waits for the other by its own id, too.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{AttributeValue, Attributes, Span, SpanKind, SpanStatus};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::SpanMetricsConfig;
use super::table::{Metric, Table, put_text};

const TOTAL: usize = 0;
const FAILED: usize = 1;
const SERVER_SECONDS: usize = 2;
const CLIENT_SECONDS: usize = 3;
const UNPAIRED: usize = 0;
const DROPPED: usize = 1;

/// Attributes that name what a caller's span calls, the best first.
const PEERS: [&str; 6] = [
    "peer.service",
    "db.namespace",
    "db.name",
    "db.system.name",
    "db.system",
    "messaging.destination.name",
];
const DATABASES: [&str; 2] = ["db.system.name", "db.system"];
/// Who called a server's span without a parent, as Tempo has it.
const USER: &str = "user";
/// Services whose names are kept; then all are forgotten.
const NAMES_MAX: usize = 10_000;

/// A span's identity: trace and span id.
type Id = (u128, u64);

#[derive(Debug)]
pub(super) struct Edges {
    pub(super) calls: Table,
    /// What did not become a call.
    pub(super) lost: Table,
    /// Spans that may have called another service, by their own id.
    callers: FxHashMap<Id, Caller>,
    /// Spans whose parent has not come, by its id.
    called: FxHashMap<Id, SmallVec<[Side; 1]>>,
    /// Called sides that may share their id with their caller, by that id.
    halves: FxHashMap<Id, Half>,
    /// What waits, in the order it came, with the time its waiting ends.
    order: VecDeque<(i64, Id, Role)>,
    wait_ms: i64,
    waiting_max: usize,
    names: FxHashMap<Box<str>, Arc<str>>,
    key: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Caller,
    Called,
    Half,
}

#[derive(Debug, Clone)]
struct Side {
    /// Of its span.
    id: u64,
    service: Arc<str>,
    kind: SpanKind,
    seconds: f64,
    is_failed: bool,
}

#[derive(Debug)]
struct Caller {
    side: Side,
    peer: Option<String>,
    is_paired: bool,
    /// Who answered with the same id.
    half: Option<Arc<str>>,
}

#[derive(Debug)]
struct Half {
    side: Side,
    /// 0: no parent.
    parent_id: u64,
}

/// One call, as it is counted.
struct Call<'a> {
    client: &'a str,
    server: &'a str,
    /// `""` for one service asking another.
    connection: &'static str,
    is_failed: bool,
    client_seconds: Option<f64>,
    server_seconds: Option<f64>,
    trace_id: u128,
}

impl Edges {
    pub(super) fn new(config: &SpanMetricsConfig) -> Self {
        let bounds = &config.edge_bounds;
        let calls = vec![
            Metric::counter("traces_service_graph_request_total", "Calls between services."),
            Metric::counter("traces_service_graph_request_failed_total", "Calls that failed."),
            Metric::histogram(
                "traces_service_graph_request_server_seconds",
                "How long calls took, as the called service saw them.",
                bounds,
            ),
            Metric::histogram(
                "traces_service_graph_request_client_seconds",
                "How long calls took, as the caller saw them.",
                bounds,
            ),
        ];
        let lost = vec![
            Metric::counter(
                "traces_service_graph_unpaired_spans_total",
                "Spans whose other side did not come in time.",
            ),
            Metric::counter(
                "traces_service_graph_dropped_spans_total",
                "Spans that did not wait for their other side because too many did.",
            ),
        ];
        Self {
            calls: Table::new(calls, config.series_max),
            lost: Table::new(lost, config.series_max),
            callers: FxHashMap::default(),
            called: FxHashMap::default(),
            halves: FxHashMap::default(),
            order: VecDeque::new(),
            wait_ms: config.wait_ms,
            waiting_max: config.waiting_max.max(1),
            names: FxHashMap::default(),
            key: Vec::new(),
        }
    }

    /// Takes a span of `service`, which is from [`name`](Self::name); it may share its id with the other side of a call
    /// if `may_share`.
    pub(super) fn observe(
        &mut self,
        service: &Arc<str>,
        span: &Span,
        may_share: bool,
        now_ms: i64,
    ) {
        if span.kind == SpanKind::Internal {
            return;
        }
        let side = Side {
            id: span.span_id,
            service: Arc::clone(service),
            kind: span.kind,
            seconds: span.duration_ns() as f64 / 1e9,
            is_failed: span.status == SpanStatus::Error,
        };
        if matches!(span.kind, SpanKind::Server | SpanKind::Consumer | SpanKind::Unspecified) {
            self.observe_called(span, side.clone(), may_share, now_ms);
        }
        if matches!(span.kind, SpanKind::Client | SpanKind::Producer | SpanKind::Unspecified) {
            self.observe_caller(span, side, now_ms);
        }
    }

    /// The name of a service as the same allocation each time.
    pub(super) fn name(&mut self, service: &str) -> Arc<str> {
        if let Some(name) = self.names.get(service) {
            return Arc::clone(name);
        }
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        let name: Arc<str> = Arc::from(service);
        self.names.insert(Box::from(service), Arc::clone(&name));
        name
    }

    fn observe_called(&mut self, span: &Span, side: Side, may_share: bool, now_ms: i64) {
        let (own_id, parent_id) = ((span.trace_id, span.span_id), span.parent_id);
        let may_share = may_share && side.kind != SpanKind::Unspecified;
        if may_share && let Some(caller) = self.callers.get_mut(&own_id) {
            caller.is_paired = true;
            caller.half = Some(Arc::clone(&side.service));
            return pair(&mut self.calls, &mut self.key, &caller.side, &side, own_id.0, now_ms);
        }
        let id = (span.trace_id, parent_id);
        let is_answered = self.callers.contains_key(&id);
        if may_share && !is_answered {
            self.halves.insert(own_id, Half { side: side.clone(), parent_id });
            self.wait(own_id, Role::Half, now_ms);
        }
        if parent_id == 0 {
            if side.kind != SpanKind::Unspecified && !may_share {
                self.count_user(&side, span.trace_id, now_ms);
            }
            return;
        }
        match self.callers.get_mut(&id) {
            // What the other half did.
            Some(caller) if caller.half.as_ref() == Some(&side.service) => {}
            Some(caller) => {
                caller.is_paired = true;
                pair(&mut self.calls, &mut self.key, &caller.side, &side, id.0, now_ms);
            }
            None => {
                self.called.entry(id).or_default().push(side);
                self.wait(id, Role::Called, now_ms);
            }
        }
    }

    /// Counts a call by nobody known.
    fn count_user(&mut self, server: &Side, trace_id: u128, now_ms: i64) {
        let call = Call {
            client: USER,
            server: &server.service,
            connection: "virtual_node",
            is_failed: server.is_failed,
            client_seconds: None,
            server_seconds: Some(server.seconds),
            trace_id,
        };
        count(&mut self.calls, &mut self.key, &call, now_ms);
    }

    fn observe_caller(&mut self, span: &Span, side: Side, now_ms: i64) {
        let (peer, names_database) = peer_of(&span.attributes);
        if names_database && side.kind == SpanKind::Client {
            let server = peer.map(ToString::to_string).unwrap_or_default();
            let call = Call {
                client: &side.service,
                server: &server,
                connection: "database",
                is_failed: side.is_failed,
                client_seconds: Some(side.seconds),
                server_seconds: Some(side.seconds),
                trace_id: span.trace_id,
            };
            return count(&mut self.calls, &mut self.key, &call, now_ms);
        }
        let id = (span.trace_id, span.span_id);
        let half = self.halves.remove(&id);
        if let Some(Half { side: called, parent_id }) = &half {
            // It does not wait for its parent any more.
            if let Some(others) = self.called.get_mut(&(id.0, *parent_id)) {
                others.retain(|other| other.id != called.id);
            }
            pair(&mut self.calls, &mut self.key, &side, called, id.0, now_ms);
        }
        let half = half.map(|half| half.side.service);
        let mut waited = self.called.remove(&id).unwrap_or_default();
        waited.retain(|called| half.as_ref() != Some(&called.service));
        for called in &waited {
            pair(&mut self.calls, &mut self.key, &side, called, id.0, now_ms);
        }
        let peer = peer.filter(|_| side.kind != SpanKind::Unspecified).map(ToString::to_string);
        let is_paired = half.is_some() || !waited.is_empty();
        let caller = Caller { side, peer, is_paired, half };
        if self.callers.insert(id, caller).is_none() {
            self.wait(id, Role::Caller, now_ms);
        }
    }

    fn wait(&mut self, id: Id, role: Role, now_ms: i64) {
        self.order.push_back((now_ms.saturating_add(self.wait_ms), id, role));
        if self.order.len() > self.waiting_max
            && let Some((_, id, role)) = self.order.pop_front()
        {
            self.end(id, role, DROPPED, now_ms);
        }
    }

    /// Ends the waiting of what has waited long enough.
    pub(super) fn expire(&mut self, now_ms: i64) {
        while self.order.front().is_some_and(|(until_ms, ..)| *until_ms <= now_ms) {
            if let Some((_, id, role)) = self.order.pop_front() {
                self.end(id, role, UNPAIRED, now_ms);
            }
        }
    }

    /// Forgets what waits as `role`; what found no other side is counted as `lost`.
    fn end(&mut self, id: Id, role: Role, lost: usize, now_ms: i64) {
        if role == Role::Half {
            match self.halves.remove(&id) {
                Some(Half { side, parent_id: 0 }) if lost == UNPAIRED => {
                    self.count_user(&side, id.0, now_ms);
                }
                Some(Half { side, parent_id: 0 }) => {
                    self.count_lost("", &side.service, lost, now_ms);
                }
                // It waits for its parent, too, and is counted there.
                _ => {}
            }
            return;
        }
        if role == Role::Called {
            // All that wait for one parent came about together; of no kind they need not be calls.
            for side in self.called.remove(&id).unwrap_or_default() {
                if side.kind != SpanKind::Unspecified {
                    self.count_lost("", &side.service, lost, now_ms);
                }
            }
            return;
        }
        match self.callers.remove(&id) {
            Some(Caller { side, peer: Some(peer), is_paired: false, .. }) if lost == UNPAIRED => {
                let call = Call {
                    client: &side.service,
                    server: &peer,
                    connection: "virtual_node",
                    is_failed: side.is_failed,
                    client_seconds: Some(side.seconds),
                    server_seconds: None,
                    trace_id: id.0,
                };
                count(&mut self.calls, &mut self.key, &call, now_ms);
            }
            Some(Caller { side, is_paired: false, .. }) if side.kind != SpanKind::Unspecified => {
                self.count_lost(&side.service, "", lost, now_ms);
            }
            _ => {}
        }
    }

    fn count_lost(&mut self, client: &str, server: &str, lost: usize, now_ms: i64) {
        write_key(&mut self.key, &[client, server]);
        let labels = || named(&[("client", client), ("server", server)]);
        self.lost.series(&self.key, now_ms, labels).add(lost, 1.0);
    }
}

/// Counts a call of `client`, if the two sides are one.
fn pair(
    calls: &mut Table,
    key: &mut Vec<u8>,
    client: &Side,
    server: &Side,
    trace_id: u128,
    now_ms: i64,
) {
    let has_kinds = client.kind != SpanKind::Unspecified && server.kind != SpanKind::Unspecified;
    if !has_kinds && client.service == server.service {
        return;
    }
    let is_message = client.kind == SpanKind::Producer || server.kind == SpanKind::Consumer;
    let call = Call {
        client: &client.service,
        server: &server.service,
        connection: if is_message { "messaging_system" } else { "" },
        is_failed: client.is_failed || server.is_failed,
        client_seconds: Some(client.seconds),
        server_seconds: Some(server.seconds),
        trace_id,
    };
    count(calls, key, &call, now_ms);
}

fn count(calls: &mut Table, key: &mut Vec<u8>, call: &Call<'_>, now_ms: i64) {
    write_key(key, &[call.client, call.server, call.connection]);
    let labels = || {
        named(&[
            ("client", call.client),
            ("server", call.server),
            ("connection_type", call.connection),
        ])
    };
    let series = calls.series(key, now_ms, labels);
    series.add(TOTAL, 1.0);
    series.add(FAILED, f64::from(u8::from(call.is_failed)));
    for (metric, seconds) in
        [(SERVER_SECONDS, call.server_seconds), (CLIENT_SECONDS, call.client_seconds)]
    {
        if let Some(seconds) = seconds {
            series.record(metric, seconds, call.trace_id, now_ms);
        }
    }
}

/// What the attributes of a caller's span say it calls, and whether they name a database.
fn peer_of(attributes: &Attributes) -> (Option<&AttributeValue>, bool) {
    let mut best: Option<(usize, &AttributeValue)> = None;
    let mut names_database = false;
    for (name, value) in attributes {
        // Looked at for every span: most names are told apart by their first letter.
        if !matches!(name.as_bytes().first(), Some(b'p' | b'd' | b'm')) {
            continue;
        }
        let Some(rank) = PEERS.iter().position(|peer| *peer == &**name) else { continue };
        names_database |= DATABASES.contains(&PEERS[rank]);
        if best.is_none_or(|(known, _)| rank < known) {
            best = Some((rank, value));
        }
    }
    (best.map(|(_, value)| value), names_database)
}

fn named<'a>(pairs: &[(&str, &'a str)]) -> Vec<(String, &'a str)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

fn write_key(key: &mut Vec<u8>, texts: &[&str]) {
    key.clear();
    texts.iter().for_each(|text| put_text(key, text));
}

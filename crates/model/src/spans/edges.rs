//! Calls between services, as spans tell them: the rules by which two spans are the sides of a call, and their sums.
//!
//! A span whose parent is of another service was called by it; within one service only a server's span below a client's
//! (or a consumer's below a producer's) is a call. The two halves of a span that Zipkin's clients share are a call, too. On
//! demand calls have an end outside: clients' spans that nothing answered and that name whom they called, and servers'
//! spans without a parent. Does not own: how spans are found.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{AttributeValue, Attributes, Span, SpanKind, SpanStatus, Trace};
use crate::TimeRange;

/// Attributes that name what a caller's span calls, the best first.
pub const PEERS: [&str; 6] = [
    "peer.service",
    "db.namespace",
    "db.name",
    "db.system.name",
    "db.system",
    "messaging.destination.name",
];
/// Those of them that say that it is a database.
pub const DATABASES: [&str; 2] = ["db.system.name", "db.system"];
/// Who called a server's span without a parent.
pub const USER: &str = "user";

/// One request for calls between services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgePlan {
    /// Start of the span that was called, or of the caller's where there is none.
    pub range: TimeRange,
    /// Whether calls are wanted of which one end sends no spans.
    pub outside: bool,
}

/// What kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Connection {
    /// One service asks another.
    Call,
    /// One service sends another a message.
    Message,
    /// A database that sends no spans is asked.
    Database,
    /// One end sends no spans.
    Outside,
}

/// Durations of calls in buckets that are an eighth of a power of two wide.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Durations {
    count: u64,
    sum_ns: u128,
    buckets: Vec<u64>,
}

/// Buckets of one power of two.
const STEPS: u32 = 8;

impl Durations {
    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean in nanoseconds; 0 of none.
    pub fn mean_ns(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_ns as f64 / self.count as f64 }
    }

    /// Nanoseconds that the share `q` of them took at most, off by at most a sixteenth; `None` of none.
    pub fn quantile_ns(&self, q: f64) -> Option<f64> {
        let rank = ((self.count as f64 * q).ceil() as u64).max(1);
        let mut below = 0;
        for (number, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank {
                let (start, width) = bucket(number as u32);
                return Some(start as f64 + (width - 1) as f64 / 2.0);
            }
        }
        None
    }

    fn add(&mut self, ns: u64) {
        let number = bucket_of(ns);
        if self.buckets.len() <= number {
            self.buckets.resize(number + 1, 0);
        }
        self.buckets[number] += 1;
        self.count += 1;
        self.sum_ns += u128::from(ns);
    }

    fn remove(&mut self, ns: u64) {
        if let Some(count) = self.buckets.get_mut(bucket_of(ns)).filter(|count| **count > 0) {
            *count -= 1;
            self.count -= 1;
            self.sum_ns -= u128::from(ns);
            let used = self.buckets.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
            self.buckets.truncate(used);
        }
    }
}

fn bucket_of(ns: u64) -> usize {
    let Some(power) = ns.checked_ilog2().filter(|power| *power >= 3) else { return ns as usize };
    let step = (ns >> (power - 3)) as u32 % STEPS;
    ((power - 2) * STEPS + step) as usize
}

/// First value and width of a bucket.
fn bucket(number: u32) -> (u64, u64) {
    if number < STEPS {
        return (u64::from(number), 1);
    }
    let (power, step) = (number / STEPS - 1, u64::from(number % STEPS));
    ((u64::from(STEPS) + step) << power, 1 << power)
}

/// Calls of one service to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Who called; `""` for a service without a name.
    pub client: Arc<str>,
    /// Who was called, likewise.
    pub server: Arc<str>,
    /// How.
    pub connection: Connection,
    /// Calls.
    pub calls: u64,
    /// Those of them that failed, as one of the two said.
    pub errors: u64,
    /// What the caller saw, of spans that say they are callers.
    pub client_ns: Durations,
    /// What the called one saw.
    pub server_ns: Durations,
}

/// What is known of a call at one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSide {
    /// From [`EdgeTable::name`].
    pub service: u32,
    /// The span's.
    pub kind: SpanKind,
    /// The span's.
    pub status: SpanStatus,
    /// The span's.
    pub duration_ns: u64,
}

impl SpanKind {
    /// Whether it says that another was called.
    pub fn is_caller(self) -> bool {
        matches!(self, Self::Client | Self::Producer)
    }

    /// Whether it says that it was called.
    pub fn is_called(self) -> bool {
        matches!(self, Self::Server | Self::Consumer)
    }
}

impl CallSide {
    /// Whether a child of the span is one that it called.
    pub fn calls(&self, child: &Self) -> bool {
        self.service != child.service || (self.kind.is_caller() && child.kind.is_called())
    }
}

/// Both ends and the kind of a call, by numbers of their names.
type Ends = (u32, u32, Connection);

/// Sums of calls.
#[derive(Debug, Default)]
pub struct EdgeTable {
    names: Vec<Arc<str>>,
    number_of: HashMap<Arc<str>, u32, RandomState>,
    edges: HashMap<Ends, Edge, RandomState>,
}

impl EdgeTable {
    /// The number of a service's name.
    pub fn name(&mut self, name: &str) -> u32 {
        if let Some(number) = self.number_of.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        let name: Arc<str> = Arc::from(name);
        self.names.push(Arc::clone(&name));
        self.number_of.insert(name, number);
        number
    }

    /// Different calls so far.
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Counts a span and its parent, if one [calls](CallSide::calls) the other.
    pub fn add_call(&mut self, parent: &CallSide, child: &CallSide) {
        if !parent.calls(child) {
            return;
        }
        let is_message = parent.kind == SpanKind::Producer || child.kind == SpanKind::Consumer;
        let connection = if is_message { Connection::Message } else { Connection::Call };
        let is_failed = |side: &CallSide| side.status == SpanStatus::Error;
        let is_caller = parent.kind.is_caller();
        let edge = self.edge((parent.service, child.service, connection));
        edge.calls += 1;
        edge.errors += u64::from(is_failed(child) || (is_caller && is_failed(parent)));
        if is_caller {
            edge.client_ns.add(parent.duration_ns);
        }
        edge.server_ns.add(child.duration_ns);
    }

    /// Counts a caller's span that nothing answered; it names `peer`.
    pub fn add_unanswered(&mut self, caller: &CallSide, peer: &Peer) {
        let edge = self.edge(peer.ends(caller));
        edge.calls += 1;
        edge.errors += u64::from(caller.status == SpanStatus::Error);
        edge.client_ns.add(caller.duration_ns);
    }

    /// Takes back what [`add_unanswered`](Self::add_unanswered) counted: there was an answer.
    pub fn take_back(&mut self, caller: &CallSide, peer: &Peer) {
        let ends = peer.ends(caller);
        let edge = self.edge(ends);
        edge.calls = edge.calls.saturating_sub(1);
        edge.errors -= u64::from(caller.status == SpanStatus::Error).min(edge.errors);
        edge.client_ns.remove(caller.duration_ns);
        if edge.calls == 0 {
            self.edges.remove(&ends);
        }
    }

    /// Counts a span that something outside called.
    pub fn add_entry(&mut self, called: &CallSide) {
        let user = self.name(USER);
        let edge = self.edge((user, called.service, Connection::Outside));
        edge.calls += 1;
        edge.errors += u64::from(called.status == SpanStatus::Error);
        edge.server_ns.add(called.duration_ns);
    }

    fn edge(&mut self, ends: Ends) -> &mut Edge {
        let (client, server, connection) = ends;
        self.edges.entry(ends).or_insert_with(|| Edge {
            client: Arc::clone(&self.names[client as usize]),
            server: Arc::clone(&self.names[server as usize]),
            connection,
            calls: 0,
            errors: 0,
            client_ns: Durations::default(),
            server_ns: Durations::default(),
        })
    }

    /// All of them, by caller, called and kind.
    pub fn finish(self) -> Vec<Edge> {
        let mut edges: Vec<Edge> = self.edges.into_values().collect();
        edges.sort_by(|a, b| {
            (&a.client, &a.server, a.connection).cmp(&(&b.client, &b.server, b.connection))
        });
        edges
    }

    /// Counts the calls of a whole trace.
    pub fn add_trace(&mut self, trace: &Trace, plan: &EdgePlan) {
        let mut spans = Vec::new();
        for group in &trace.groups {
            let service = self.name(group.resource.service().unwrap_or(""));
            spans.extend(group.spans.iter().map(|span| (CallSide::of(service, span), span)));
        }
        let family = Family::new(spans.iter().map(|(_, span)| Member {
            id: span.span_id,
            parent_id: span.parent_id,
            kind: span.kind,
            start_ns: span.start_ns,
        }));
        let mut is_answered = vec![false; spans.len()];
        for (at, (side, span)) in spans.iter().enumerate() {
            let Some(parent) = family.parent(at) else {
                let is_entry = span.parent_id == 0 && side.kind.is_called();
                if plan.outside && is_entry && plan.range.contains(span.start_ns) {
                    self.add_entry(side);
                }
                continue;
            };
            is_answered[parent] |= spans[parent].0.calls(side);
            if plan.range.contains(span.start_ns) {
                self.add_call(&spans[parent].0, side);
            }
        }
        if !plan.outside {
            return;
        }
        for ((side, span), is_answered) in spans.iter().zip(is_answered) {
            if !is_answered
                && side.kind.is_caller()
                && plan.range.contains(span.start_ns)
                && let Some((name, is_database)) = peer_of(&span.attributes)
            {
                let peer = Peer { name: self.name(name), is_database };
                self.add_unanswered(side, &peer);
            }
        }
    }
}

impl CallSide {
    fn of(service: u32, span: &Span) -> Self {
        let Span { kind, status, .. } = *span;
        Self { service, kind, status, duration_ns: span.duration_ns() }
    }
}

/// Whom a caller's span names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// From [`EdgeTable::name`].
    pub name: u32,
    /// Whether it is a database.
    pub is_database: bool,
}

impl Peer {
    fn ends(&self, caller: &CallSide) -> Ends {
        let kind = if self.is_database { Connection::Database } else { Connection::Outside };
        (caller.service, self.name, kind)
    }
}

/// Whom a span names in its attributes, and whether that is a database.
fn peer_of(attributes: &Attributes) -> Option<(&str, bool)> {
    let text = |wanted: &&str| {
        attributes.iter().find_map(|(name, value)| match value {
            AttributeValue::String(text) if **name == **wanted && !text.is_empty() => {
                Some(text.as_str())
            }
            _ => None,
        })
    };
    Some((PEERS.iter().find_map(text)?, DATABASES.iter().find_map(text).is_some()))
}

/// A span among those of its trace.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Span id.
    pub id: u64,
    /// Parent's span id; 0 for none.
    pub parent_id: u64,
    /// Its kind.
    pub kind: SpanKind,
    /// Its start.
    pub start_ns: i64,
}

/// Who is whose parent among the spans of a trace.
#[derive(Debug)]
pub struct Family {
    members: Vec<Member>,
    by_id: HashMap<u64, SameId, RandomState>,
}

/// Spans of one id: the earliest of all, of the callers and of the called.
#[derive(Debug, Clone, Copy)]
struct SameId {
    first: usize,
    caller: Option<usize>,
    called: Option<usize>,
}

impl Family {
    /// The family of `members`.
    pub fn new(members: impl Iterator<Item = Member>) -> Self {
        let members: Vec<Member> = members.collect();
        let mut by_id: HashMap<u64, SameId, RandomState> =
            HashMap::with_capacity_and_hasher(members.len(), RandomState::default());
        let earlier = |at: usize, known: usize| members[at].start_ns < members[known].start_ns;
        for (at, member) in members.iter().enumerate() {
            let same =
                by_id.entry(member.id).or_insert(SameId { first: at, caller: None, called: None });
            if earlier(at, same.first) {
                same.first = at;
            }
            let of_kind = match member.kind {
                kind if kind.is_caller() => &mut same.caller,
                kind if kind.is_called() => &mut same.called,
                _ => continue,
            };
            if of_kind.is_none_or(|known| earlier(at, known)) {
                *of_kind = Some(at);
            }
        }
        Self { members, by_id }
    }

    /// The parent of member `at`, if it is there. The server's half of a shared span is the child of the client's, and
    /// the parent of what has their id for its parent's.
    pub fn parent(&self, at: usize) -> Option<usize> {
        let member = &self.members[at];
        if member.kind.is_called()
            && let Some(SameId { caller: Some(caller), .. }) = self.by_id.get(&member.id)
        {
            return Some(*caller);
        }
        if member.parent_id == 0 {
            return None;
        }
        let same = self.by_id.get(&member.parent_id)?;
        let parent = if same.caller.is_some() { same.called } else { None };
        Some(parent.unwrap_or(same.first)).filter(|parent| *parent != at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Resource, SpanGroup};

    /// `service kind id parent start..end` of each span; `!` behind it for an error, ` key=value` for attributes.
    fn trace(spans: &[&str]) -> Trace {
        let group = |text: &&str| {
            let mut words = text.split(' ');
            let mut word = || words.next().unwrap_or("");
            let service = AttributeValue::String(word().to_owned());
            let resource = Resource {
                attributes: vec![("service.name".into(), service)],
                ..Resource::default()
            };
            let kind = match word() {
                "server" => SpanKind::Server,
                "client" => SpanKind::Client,
                "producer" => SpanKind::Producer,
                "consumer" => SpanKind::Consumer,
                "internal" => SpanKind::Internal,
                _ => SpanKind::Unspecified,
            };
            let (span_id, parent_id) = (word().parse().unwrap(), word().parse().unwrap());
            let time = word();
            let status =
                if time.ends_with('!') { SpanStatus::Error } else { SpanStatus::default() };
            let (start, end) = time.trim_end_matches('!').split_once("..").unwrap();
            let attributes = words.map(|pair| {
                let (name, value) = pair.split_once('=').unwrap();
                (Arc::from(name), AttributeValue::String(value.to_owned()))
            });
            let span = Span {
                trace_id: 1,
                span_id,
                parent_id,
                kind,
                status,
                start_ns: start.parse().unwrap(),
                end_ns: end.parse().unwrap(),
                attributes: attributes.collect(),
                ..Span::default()
            };
            SpanGroup { resource: Arc::new(resource), spans: vec![span], ..SpanGroup::default() }
        };
        Trace { trace_id: 1, groups: spans.iter().map(group).collect() }
    }

    fn check_in(range: TimeRange, outside: bool, spans: &[&str], expect: &[&str]) {
        let mut table = EdgeTable::default();
        table.add_trace(&trace(spans), &EdgePlan { range, outside });
        let shown = |edge: &Edge| {
            let Edge { client, server, connection, calls, errors, client_ns, server_ns } = edge;
            let (seen, took) = (client_ns.mean_ns(), server_ns.mean_ns());
            format!("{client}>{server} {connection:?} {calls}/{errors} {seen}/{took}")
        };
        let edges: Vec<String> = table.finish().iter().map(shown).collect();
        assert_eq!(edges, expect, "{spans:?}");
    }

    fn check(spans: &[&str], expect: &[&str]) {
        check_in(TimeRange::ALL, true, spans, expect);
    }

    #[test]
    fn a_child_of_another_service_was_called() {
        check(&["a internal 1 0 0..9", "b internal 2 1 1..4!"], &["a>b Call 1/1 0/3"]);
        check(&["a x 1 0 0..9!", "b x 2 1 1..4", "b x 3 2 1..4"], &["a>b Call 1/0 0/3"]);
        check(&["a client 1 9 0..9!", "b server 2 1 1..4"], &["a>b Call 1/1 9/3"]);
        check(&["a client 1 9 0..9", "a server 2 1 1..4"], &["a>a Call 1/0 9/3"]);
        check(&["a producer 1 9 0..9", "b consumer 2 1 1..4"], &["a>b Message 1/0 9/3"]);
        // An end before the start, a parent that is missing, itself, or a circle.
        check(&["a client 1 9 9..0", "b server 2 1 1..4"], &["a>b Call 1/0 0/3"]);
        check(&["a internal 1 9 0..9", "b internal 2 2 1..4"], &[]);
        check(&["a x 1 2 0..9", "b x 2 1 1..4"], &["a>b Call 1/0 0/3", "b>a Call 1/0 0/9"]);
    }

    #[test]
    fn halves_of_a_shared_span_are_a_call() {
        let spans =
            ["a client 1 9 0..9", "b server 1 9 1..4", "b client 2 1 2..3", "c server 2 1 2..3"];
        check(&spans, &["a>b Call 1/0 9/3", "b>c Call 1/0 1/1"]);
    }

    #[test]
    fn ends_outside_are_counted_on_demand() {
        let spans = [
            "a server 1 0 0..9",
            "a client 2 1 1..2! db.system=pg db.name=shop",
            "a client 3 1 1..5 peer.service=mail",
            "a client 4 1 1..5 peer.service=b",
            "b server 5 4 2..4",
            "a client 6 1 1..5",
        ];
        let expect = [
            "a>b Call 1/0 4/2",
            "a>mail Outside 1/0 4/0",
            "a>shop Database 1/1 1/0",
            "user>a Outside 1/0 0/9",
        ];
        check(&spans, &expect);
        check_in(TimeRange::ALL, false, &spans, &expect[..1]);
        check_in(TimeRange::new(2, 3), true, &spans, &expect[..1]);
        check_in(TimeRange::new(0, 1), true, &spans, &expect[3..]);
    }

    #[test]
    fn what_was_taken_back_was_never_there() {
        let mut table = EdgeTable::default();
        let service = table.name("a");
        let peer = Peer { name: table.name("db"), is_database: true };
        let side = |duration_ns| CallSide {
            service,
            kind: SpanKind::Client,
            status: SpanStatus::Error,
            duration_ns,
        };
        table.add_unanswered(&side(5), &peer);
        table.add_unanswered(&side(7), &peer);
        table.take_back(&side(7), &peer);
        let edges = table.finish();
        let sums = (edges[0].calls, edges[0].errors, edges[0].client_ns.mean_ns());
        assert_eq!(sums, (1, 1, 5.0));
    }

    #[test]
    fn buckets_follow_each_other() {
        let mut next = 0;
        for number in 0..62 * STEPS {
            let (start, width) = bucket(number);
            assert_eq!(start, next);
            assert_eq!(bucket_of(start), number as usize);
            assert_eq!(bucket_of(start + (width - 1)), number as usize);
            next = start.wrapping_add(width);
        }
        assert_eq!(next, 0);
        assert!(bucket_of(u64::MAX) == 62 * STEPS as usize - 1);
    }

    #[test]
    fn quantiles_are_near() {
        let mut all = Durations::default();
        (1..=1_000).for_each(|ms| all.add(ms * 1_000_000));
        for (q, expect) in [(0.0, 1e6), (0.5, 500e6), (0.99, 990e6), (1.0, 1e9)] {
            let found = all.quantile_ns(q).unwrap();
            assert!((found / expect - 1.0).abs() < 1.0 / 16.0, "{q}: {found}");
        }
        assert_eq!(Durations::default().quantile_ns(0.5), None);
    }
}

//! `Spans of a shop`: the documented spans of a shop's 24 services, from a fixed seed, for benchmarks of everything that
//! takes, stores or searches traces.
//!
//! Traces of 4 to 20 spans that call each other, as many per second as wanted; random ids; six attributes of few and of
//! many values; about 245 bytes of OTLP a span. A span in 50 failed.

use crate::mix::Random;
use crate::remote_write::{field, varint};

/// Services there are.
pub const SERVICES: usize = 24;
/// Names of operations there are.
pub const OPERATIONS: usize = 200;
/// Spans of a trace on average.
const PER_TRACE: i64 = 12;
/// Services that are called from outside.
const FRONTS: u64 = 4;
/// How long the root of a trace may take.
const LONGEST_NS: i64 = 400_000_000;

/// One span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpan {
    /// Below [`SERVICES`].
    pub service: usize,
    /// Random.
    pub trace_id: u128,
    /// 0 of none.
    pub parent_id: u64,
    /// Random.
    pub span_id: u64,
    /// Below [`OPERATIONS`].
    pub operation: usize,
    /// Else it is a client's.
    pub is_server: bool,
    /// Unix nanoseconds.
    pub start_ns: i64,
    /// Nanoseconds.
    pub duration_ns: i64,
    /// Its status is an error.
    pub is_error: bool,
    /// Its attribute `http.method`.
    pub method: &'static str,
    /// Its attribute `http.url`.
    pub url: String,
    /// Its attribute `net.peer.ip`.
    pub peer: String,
}

impl ServiceSpan {
    /// Its attribute `http.status_code`.
    pub fn status_code(&self) -> u16 {
        if self.is_error { 500 } else { 200 }
    }
}

/// The name of a service.
pub fn service(number: usize) -> String {
    format!("service-{number:02}")
}

/// The attributes of a service's resource.
pub fn resource(number: usize) -> [(&'static str, String); 3] {
    [
        ("service.name", service(number)),
        ("service.version", "1.4.2".to_owned()),
        ("host.name", format!("node-{}", number % 5)),
    ]
}

/// The name of an operation.
pub fn operation(number: usize) -> String {
    format!("GET /api/v1/thing{number}/{{id}}")
}

/// Spans in order of their traces' starts, without end.
#[derive(Debug, Clone)]
pub struct ServiceSpans {
    random: Random,
    now_ns: i64,
    /// Longest time between two traces.
    gap_ns: u64,
    /// Spans that were made and not taken.
    left: Vec<ServiceSpan>,
}

impl ServiceSpans {
    /// The spans of `seed`, the first at `start_ns`, about one every `spacing_ns`.
    pub fn new(seed: u64, start_ns: i64, spacing_ns: i64) -> Self {
        let gap_ns = (spacing_ns * PER_TRACE * 2).max(1).cast_unsigned();
        Self { random: Random::new(seed), now_ns: start_ns, gap_ns, left: Vec::new() }
    }

    /// The next `count` spans; some traces go on in the next call.
    pub fn take(&mut self, count: usize) -> Vec<ServiceSpan> {
        while self.left.len() < count {
            self.trace();
        }
        self.left.drain(..count).collect()
    }

    fn trace(&mut self) {
        let random = &mut self.random;
        let trace_id = u128::from(random.draw()) << 64 | u128::from(random.draw());
        self.now_ns += random.below(self.gap_ns).cast_signed();
        // Span, start, longest time and service of those that may call.
        let mut callers: Vec<(u64, i64, i64, usize)> = Vec::new();
        for i in 0..4 + random.below(17) {
            // Everyone calls a few others, which take a part of the caller's time.
            let (parent_id, start_ns, longest_ns, caller) = match i {
                0 => (0, self.now_ns, LONGEST_NS, 0),
                _ => *random.pick(&callers),
            };
            let next = random.below(FRONTS) as usize;
            let service = if i == 0 { next } else { (caller * 5 + next) % SERVICES };
            let start_ns = start_ns + (longest_ns as f64 * random.unit() * 0.2) as i64;
            // Log-normal, about.
            let exponent = (random.unit() + random.unit() + random.unit() - 1.5) * 2.0;
            let duration_ns = ((longest_ns as f64 * 0.1 * exponent.exp()) as i64).max(2_000);
            let span_id = random.draw().max(1);
            callers.push((span_id, start_ns, duration_ns, service));
            let is_error = random.below(50) == 0;
            let operation = (service * 8 + random.below(8) as usize) % OPERATIONS;
            self.left.push(ServiceSpan {
                service,
                trace_id,
                parent_id,
                span_id,
                operation,
                is_server: i % 2 == 0,
                start_ns,
                duration_ns,
                is_error,
                method: random.pick::<&str>(&["GET", "GET", "POST", "PUT"]),
                url: format!("/api/v1/thing{operation}/{}", random.below(100_000)),
                peer: format!("10.0.{}.{}", random.below(100), random.below(100)),
            });
        }
    }
}

/// The spans as an `ExportTraceServiceRequest` in protobuf: one resource per service, as a collector sends them. Written
/// down field by field so that it does not share a mistake with the program's decoder.
pub fn otlp(spans: &[ServiceSpan]) -> Vec<u8> {
    let mut request = Vec::new();
    let mut of_service: Vec<Vec<u8>> = vec![Vec::new(); SERVICES];
    let (mut message, mut attributes) = (Vec::new(), Attributes::default());
    for span in spans {
        message.clear();
        field(&mut message, 1, &span.trace_id.to_be_bytes());
        field(&mut message, 2, &span.span_id.to_be_bytes());
        if span.parent_id != 0 {
            field(&mut message, 4, &span.parent_id.to_be_bytes());
        }
        field(&mut message, 5, operation(span.operation).as_bytes());
        number(&mut message, 6, if span.is_server { 2 } else { 3 });
        fixed(&mut message, 7, span.start_ns);
        fixed(&mut message, 8, span.start_ns + span.duration_ns);
        attributes.text(&mut message, 9, "http.method", span.method);
        attributes.add(&mut message, 9, "http.status_code", |value| {
            number(value, 3, u64::from(span.status_code()));
        });
        attributes.text(&mut message, 9, "http.url", &span.url);
        attributes.text(&mut message, 9, "net.peer.ip", &span.peer);
        attributes.text(&mut message, 9, "component", "http");
        attributes.add(&mut message, 9, "retry", |value| number(value, 2, 0));
        if span.is_error {
            field(&mut message, 15, &[3 << 3, 2]);
        }
        field(&mut of_service[span.service], 2, &message);
    }
    for (service, spans) in of_service.iter().enumerate().filter(|(_, spans)| !spans.is_empty()) {
        let mut found = Vec::new();
        for (key, value) in resource(service) {
            attributes.text(&mut found, 1, key, &value);
        }
        let mut scope = Vec::new();
        field(&mut scope, 1, &[&[1 << 3 | 2, 4][..], b"shop"].concat());
        scope.extend_from_slice(spans);
        message.clear();
        field(&mut message, 1, &found);
        field(&mut message, 2, &scope);
        field(&mut request, 1, &message);
    }
    request
}

/// Buffers for attributes that are written.
#[derive(Default)]
struct Attributes {
    pair: Vec<u8>,
    value: Vec<u8>,
}

impl Attributes {
    fn text(&mut self, out: &mut Vec<u8>, tag: u8, key: &str, text: &str) {
        self.add(out, tag, key, |value| field(value, 1, text.as_bytes()));
    }

    fn add(&mut self, out: &mut Vec<u8>, tag: u8, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.pair.clear();
        self.value.clear();
        write(&mut self.value);
        field(&mut self.pair, 1, key.as_bytes());
        field(&mut self.pair, 2, &self.value);
        field(out, tag, &self.pair);
    }
}

fn number(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag << 3);
    varint(out, value);
}

fn fixed(out: &mut Vec<u8>, tag: u8, value: i64) {
    out.push(tag << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_spans_of_the_documented_size() {
        let (mut a, mut b) = (ServiceSpans::new(1, 0, 20_000), ServiceSpans::new(1, 0, 20_000));
        let mut bytes = 0;
        for _ in 0..10 {
            let spans = a.take(2_000);
            assert_eq!(spans, b.take(2_000));
            bytes += otlp(&spans).len();
        }
        assert!((235..260).contains(&(bytes / 20_000)), "{}", bytes / 20_000);
        // About one every 20 µs.
        let span = a.take(1).remove(0);
        assert!((300..500).contains(&(span.start_ns / 1_000_000)), "{}", span.start_ns);
    }
}

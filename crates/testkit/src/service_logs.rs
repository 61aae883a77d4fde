//! `JSON 24 streams`: the documented log lines of a small shop's services, from a fixed seed, for benchmarks of everything
//! that takes, stores or searches logs.
//!
//! 24 streams (8 services of 3 pods), arrivals by a Poisson process at millisecond times, 311 bytes a line. A line is one
//! JSON object: time, level, logger, a message by one of 32 templates with numbers in it, trace id (64 random bits), user,
//! zone, thread, request, status and a lognormal duration in microseconds. [`ServiceLogs::entropy_bits`] is what the
//! distributions themselves hold (about 18 bytes a row), the floor below which no store can come.

use std::f64::consts::{E, TAU};
use std::fmt::Write as _;

use crate::mix::Random;

/// Streams there are.
pub const STREAMS: usize = 24;
/// Users, each as frequent as any other.
const USERS: u64 = 100_000;
const THREADS: u64 = 16;
/// Out of 100 lines that are not failures, how many have level `info`; the others have `debug`.
const INFO: u64 = 88;
/// Median in microseconds and standard deviation, in natural logarithm, of durations.
const DURATION_MEDIAN: f64 = 12_000.0;
const DURATION_SIGMA: f64 = 1.1;

const SERVICES: [&str; 8] =
    ["cart", "catalog", "checkout", "currency", "payment", "recommend", "search", "shipping"];

/// One kind of line. `#` in the message stands for a number below the next of `numbers`.
struct Template {
    /// Out of 1,000 lines.
    weight: u64,
    level: Option<&'static str>,
    logger: &'static str,
    message: &'static str,
    numbers: &'static [u64],
    method: &'static str,
    path: &'static str,
    status: u16,
}

const fn ok(
    weight: u64,
    logger: &'static str,
    message: &'static str,
    numbers: &'static [u64],
    request: (&'static str, &'static str),
) -> Template {
    let (method, path) = request;
    Template { weight, level: None, logger, message, numbers, method, path, status: 200 }
}

const fn failed(
    weight: u64,
    level: &'static str,
    status: u16,
    logger: &'static str,
    message: &'static str,
    numbers: &'static [u64],
    request: (&'static str, &'static str),
) -> Template {
    let (method, path) = request;
    Template { weight, level: Some(level), logger, message, numbers, method, path, status }
}

const CART: (&str, &str) = ("GET", "/api/v1/cart");
const ADD: (&str, &str) = ("POST", "/api/v1/cart/items");
const PRODUCT: (&str, &str) = ("GET", "/api/v1/products");
const SEARCH: (&str, &str) = ("GET", "/api/v1/search");
const ORDER: (&str, &str) = ("POST", "/api/v1/orders");
const PAY: (&str, &str) = ("POST", "/api/v1/payments");
const QUOTE: (&str, &str) = ("GET", "/api/v1/shipping/quote");
const HEALTH: (&str, &str) = ("GET", "/health/ready");

#[rustfmt::skip]
const TEMPLATES: [Template; 32] = [
    ok(90, "com.shop.web.AccessLog", "request completed, # bytes sent to the client over connection #", &[60_000, 900], CART),
    ok(80, "com.shop.web.AccessLog", "request completed, # bytes sent to the client over connection #", &[60_000, 900], PRODUCT),
    ok(60, "com.shop.web.AccessLog", "request completed, # bytes sent to the client over connection #", &[60_000, 900], SEARCH),
    ok(50, "com.shop.cart.CartService", "added # units of product # to the cart", &[9, 20_000], ADD),
    ok(50, "com.shop.cart.CartService", "cart # loaded from the session store with # positions", &[1_000_000, 30], CART),
    ok(60, "com.shop.catalog.ProductCache", "cache hit for key product:# after # lookups, entry is # seconds old", &[20_000, 5, 3_600], PRODUCT),
    ok(40, "com.shop.catalog.ProductCache", "cache miss for key product:#, loading it from the primary database", &[20_000], PRODUCT),
    ok(50, "com.shop.search.QueryPlanner", "query # matched # of # candidate documents in the index", &[1_000_000, 500, 40_000], SEARCH),
    ok(30, "com.shop.search.QueryPlanner", "query # rewritten with # synonyms before it was planned", &[1_000_000, 12], SEARCH),
    ok(50, "com.shop.checkout.OrderService", "order # accepted with # positions, total is # cents", &[10_000_000, 20, 50_000], ORDER),
    ok(40, "com.shop.checkout.OrderService", "order # is waiting for its payment to be authorised", &[10_000_000], ORDER),
    ok(40, "com.shop.payment.CardGateway", "payment of order # authorised by gateway #, reference #", &[10_000_000, 4, 100_000_000], PAY),
    ok(30, "com.shop.payment.CardGateway", "settlement batch # closed with # transactions", &[100_000, 2_000], PAY),
    ok(40, "com.shop.shipping.QuoteService", "quote # for # parcels computed from tariff table #", &[1_000_000, 9, 40], QUOTE),
    ok(25, "com.shop.shipping.LabelPrinter", "label for parcel # of order # was rendered", &[100_000_000, 10_000_000], QUOTE),
    ok(30, "com.shop.currency.RateTable", "rates reloaded from the upstream source, # currencies in # ms", &[180, 900], QUOTE),
    ok(30, "com.shop.recommend.Ranker", "ranked # products for the session with model version #", &[400, 12], PRODUCT),
    ok(20, "com.shop.recommend.Ranker", "feature vector of # dimensions fetched from shard #", &[512, 32], PRODUCT),
    ok(25, "com.shop.core.db.ConnectionPool", "connection # returned to the pool after # ms, # are idle", &[500, 5_000, 60], ORDER),
    ok(20, "com.shop.core.db.Transaction", "transaction # committed, # rows were written", &[100_000_000, 40], ORDER),
    ok(20, "com.shop.core.queue.Consumer", "consumed message at offset # of partition #", &[100_000_000, 48], ORDER),
    ok(20, "com.shop.core.queue.Producer", "published # bytes to partition # of topic orders", &[8_000, 48], ORDER),
    ok(10, "com.shop.core.jvm.Collector", "garbage collection finished, heap went from # to # MiB", &[4_096, 2_048], HEALTH),
    ok(30, "com.shop.web.Health", "health check passed, all dependencies have answered in time", &[], HEALTH),
    failed(15, "warn", 429, "com.shop.web.RateLimiter", "rate limit reached, client must wait # ms before it tries again", &[60_000], SEARCH),
    failed(12, "warn", 200, "com.shop.core.db.SlowQuery", "query took # ms which is above the threshold of 1000 ms", &[9_000], ORDER),
    failed(10, "warn", 404, "com.shop.catalog.ProductService", "product # is unknown, the client followed an old link", &[20_000], PRODUCT),
    failed(8, "warn", 200, "com.shop.core.http.Retry", "attempt # of 5 failed with connection reset, backing off # ms", &[5, 3_000], PAY),
    failed(6, "error", 504, "com.shop.core.http.Client", "timeout after # ms while calling upstream service, request abandoned", &[30_000], PAY),
    failed(4, "error", 402, "com.shop.payment.CardGateway", "payment of order # declined by the issuer with code #", &[10_000_000, 90], PAY),
    failed(3, "error", 500, "com.shop.core.db.Transaction", "deadlock detected, transaction # was rolled back and is retried", &[100_000_000], ORDER),
    failed(2, "error", 500, "com.shop.web.ErrorHandler", "unexpected null reference in handler #, see the stack trace in the error tracker", &[200], CART),
];

/// The lines, one after the other, in order of time over all streams.
#[derive(Debug, Clone)]
pub struct ServiceLogs {
    random: Random,
    t_ms: f64,
    gap_ms: f64,
    /// Templates by the thousandth that draws them.
    table: Vec<u8>,
}

impl ServiceLogs {
    /// Lines from `start_ms` (Unix) on, `per_day` of them in 24 hours on average.
    pub fn new(seed: u64, start_ms: i64, per_day: u64) -> Self {
        let entries = TEMPLATES.iter().enumerate();
        let table = entries.flat_map(|(i, t)| vec![i as u8; t.weight as usize]).collect();
        let gap_ms = 86_400_000.0 / per_day.max(1) as f64;
        Self { random: Random::new(seed), t_ms: start_ms as f64, gap_ms, table }
    }

    /// The label names and values of stream `stream`, which is below [`STREAMS`].
    pub fn labels(stream: usize) -> [(&'static str, String); 3] {
        let service = SERVICES[stream % SERVICES.len()];
        let pod = format!("{service}-{}", stream / SERVICES.len());
        [("app", service.to_owned()), ("namespace", "shop".to_owned()), ("pod", pod)]
    }

    /// Puts the next line into `line`, emptied before; returns its stream and its time in Unix milliseconds.
    pub fn next_into(&mut self, line: &mut String) -> (usize, i64) {
        let random = &mut self.random;
        self.t_ms -= self.gap_ms * (1.0 - random.unit()).ln();
        let t_ms = self.t_ms as i64;
        let stream = random.below(STREAMS as u64) as usize;
        let template = &TEMPLATES[usize::from(*random.pick(&self.table))];
        let level = template
            .level
            .unwrap_or_else(|| if random.below(100) < INFO { "info" } else { "debug" });
        line.clear();
        line.push_str("{\"ts\":\"");
        push_time(t_ms, line);
        let logger = template.logger;
        let _infallible = write!(line, r#"","level":"{level}","logger":"{logger}","msg":""#);
        let mut numbers = template.numbers.iter();
        for (i, piece) in template.message.split('#').enumerate() {
            if i > 0 {
                let number = random.below(numbers.next().copied().unwrap_or(1));
                let _infallible = write!(line, "{number}");
            }
            line.push_str(piece);
        }
        let (method, path, status) = (template.method, template.path, template.status);
        let (trace, user, thread) = (random.draw(), random.below(USERS), random.below(THREADS));
        let zone = ["a", "b", "c"][stream / SERVICES.len() % 3];
        let duration = (DURATION_MEDIAN * (DURATION_SIGMA * random.normal()).exp()) as u64;
        let _infallible = write!(
            line,
            r#"","trace_id":"{trace:016x}","user_id":{user},"az":"1{zone}","thread":"http-exec-{thread}","method":"{method}","path":"{path}","status":{status},"duration_ms":{}.{:03}}}"#,
            duration / 1_000,
            duration % 1_000,
        );
        (stream, t_ms)
    }

    /// Bits of randomness in a line, its time and its stream's order included: no store can take less.
    pub fn entropy_bits(&self) -> f64 {
        // Within a stream gaps are exponential, rounded to milliseconds.
        let time = (E * self.gap_ms * STREAMS as f64).log2();
        let total: u64 = TEMPLATES.iter().map(|t| t.weight).sum();
        let templates: f64 = TEMPLATES
            .iter()
            .map(|t| {
                let share = t.weight as f64 / total as f64;
                let numbers: f64 = t.numbers.iter().map(|n| (*n as f64).log2()).sum();
                let info = INFO as f64 / 100.0;
                let level = -(info * info.log2() + (1.0 - info) * (1.0 - info).log2());
                share * (numbers - share.log2() + if t.level.is_none() { level } else { 0.0 })
            })
            .sum();
        let ids = 64.0 + (USERS as f64).log2() + (THREADS as f64).log2();
        let duration =
            0.5 * (TAU * E * DURATION_SIGMA * DURATION_SIGMA).log2() + DURATION_MEDIAN.log2();
        time + templates + ids + duration
    }
}

/// `2026-01-01T00:00:00.000Z`.
fn push_time(t_ms: i64, line: &mut String) {
    let days = t_ms.div_euclid(86_400_000);
    let ms = t_ms.rem_euclid(86_400_000);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (month, day) = (if mp < 10 { mp + 3 } else { mp - 9 }, doy - (153 * mp + 2) / 5 + 1);
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let fraction = ms % 1_000;
    let _infallible = write!(
        line,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_the_page_says() {
        let mut logs = ServiceLogs::new(1, 1_767_225_600_000, 10_000_000);
        let (mut line, mut bytes, mut last) = (String::new(), 0, 0);
        for _ in 0..20_000 {
            let (stream, t_ms) = logs.next_into(&mut line);
            assert!(stream < STREAMS && t_ms >= last, "{stream} at {t_ms} after {last}");
            (last, bytes) = (t_ms, bytes + line.len());
            let object: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(object["ts"].as_str().unwrap().starts_with("2026-01-01T00:0"), "{line}");
        }
        let per_row = bytes as f64 / 20_000.0;
        assert!((308.0..314.0).contains(&per_row), "{per_row} bytes a line");
        let floor = logs.entropy_bits() / 8.0;
        assert!((17.0..19.0).contains(&floor), "{floor} bytes a row at least");
    }
}

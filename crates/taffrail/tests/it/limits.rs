//! Queries that cost too much are refused by name and cost, while samples go on coming in; a client that goes away stops
//! its query.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::remote_write::{Series, encode};
use testkit::{Options, Taffrail};

use crate::{PROGRAM, now_ns, quiet_config};

/// Sets the flag when the test ends, however it does.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

const SERIES: usize = 10;
const SAMPLES: i64 = 2_000;

fn push(taffrail: &Taffrail, times: impl Iterator<Item = i64> + Clone) {
    let one = |n: usize| Series {
        labels: vec![("__name__".into(), "load".into()), ("n".into(), n.to_string())],
        samples: times.clone().map(|t_ms| (t_ms, (t_ms % 997) as f64)).collect(),
    };
    let series: Vec<Series> = (0..SERIES).map(one).collect();
    let body = encode(series.iter().map(|one| (one, &one.samples[..])));
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    let answer = testkit::send(taffrail.address, "POST /api/v1/write", &headers, &body).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.body);
}

fn start(dir: &std::path::Path, query: &str) -> (Taffrail, i64) {
    let config = quiet_config(&format!("host:\n  enabled: false\nquery: {query}\n"));
    let taffrail = Taffrail::start(PROGRAM, dir, &Options { config, args: vec![] });
    let now_ms = i64::try_from(now_ns() / 1_000_000).unwrap();
    push(&taffrail, (0..SAMPLES).map(|k| now_ms - k * 1_000));
    (taffrail, now_ms)
}

#[test]
fn queries_of_death_are_refused_while_samples_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let (taffrail, now_ms) = start(dir.path(), "{max_samples: 15000}");
    let time = (now_ms / 1_000).to_string();
    let deep = format!("{}1{}", "(".repeat(1_000), ")".repeat(1_000));
    let deaths = [
        ("sum_over_time(load[1h])".to_owned(), "query.max_samples"),
        ("count_over_time(vector(1)[1y:1s])".to_owned(), "query.max_samples"),
        ("sum(load) + ".repeat(3_000) + "1", "limit"),
        (deep, "nest"),
    ];
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pushes = scope.spawn(|| {
            let mut count = 0;
            while !over.load(Ordering::SeqCst) {
                count += 1;
                push(&taffrail, std::iter::once(now_ms + count));
            }
            count
        });
        let ended = Over(&over);
        for (query, named) in &deaths {
            let body: String = [("query", query.as_str()), ("time", time.as_str())]
                .map(|(name, value)| format!("{name}={}", testkit::url_encode(value)))
                .join("&");
            let form = [("Content-Type", "application/x-www-form-urlencoded")];
            let answer =
                testkit::send(taffrail.address, "POST /api/v1/query", &form, body.as_bytes());
            let answer = answer.unwrap();
            let shown: String = query.chars().take(60).collect();
            assert!(
                (400..500).contains(&answer.status),
                "{shown}: {} {}",
                answer.status,
                answer.body
            );
            assert!(answer.body.contains(named), "{shown}: {}", answer.body);
        }
        drop(ended);
        let count = pushes.join().unwrap();
        let newest = taffrail
            .promql(&format!("timestamp(load{{n=\"0\"}} @ {})", now_ms as f64 / 1e3 + 60.0));
        assert_eq!(
            newest[0].1,
            (now_ms + count) as f64 / 1e3,
            "everything pushed meanwhile is there"
        );
    });
}

/// The one slot for queries is taken by one that would run into its time-out of an hour.
#[test]
fn a_client_that_goes_away_stops_its_query() {
    let dir = tempfile::tempdir().unwrap();
    let (taffrail, now_ms) =
        start(dir.path(), "{max_concurrency: 1, timeout: 1h, max_samples: 100000000000}");
    // Sorts 2,000 numbers 110,000 times for each of a hundred subqueries.
    let query = format!("0{}", " + sum(quantile_over_time(0.5, load[1h]))".repeat(100));
    let end_s = now_ms / 1_000;
    let path = format!(
        "/api/v1/query_range?query={}&start={}&end={end_s}&step=0.1",
        testkit::url_encode(&query),
        end_s - 1_000
    );
    let mut client = TcpStream::connect(taffrail.address).unwrap();
    write!(client, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", taffrail.address).unwrap();
    // Whether the slot is free is asked with a time of its own: refused while the first query has it.
    let ask = || {
        let params = [("query", "1"), ("timeout", "200ms")];
        taffrail.get("/api/v1/query", &params).status
    };
    testkit::eventually("the query to run", 30, || (ask() == 503).then_some(()));
    drop(client);
    testkit::eventually("the query to end", 60, || (ask() == 200).then_some(()));
}

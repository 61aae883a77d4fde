//! Thousands of generated queries over the same samples, answered by Debian's Prometheus 2.42 and by us: the same series,
//! values equal to 1e-12.
//!
//! What Prometheus 3 changed since 2.42 is kept out of the questions, not out of the comparison:
//! - ranges no longer contain their left end: samples lie at odd milliseconds, where no window begins, and
//!   windows of subqueries begin at half seconds;
//! - `rate` limits the extrapolation to zero after, not before, the threshold: `rate` is asked of counters
//!   far above zero;
//! - `.` matches a newline: there is none in a label; `holt_winters` has another name; `atan2` used to keep the metric name: not asked;
//! - `predict_linear` over a window fixed by `@` lost its samples after the first step: not asked; variances of
//!   infinity and NaN have other values: asked of finite samples;
//! - sums are compensated: values have one sign and few digits, so that both sums round alike.

mod data;
mod queries;

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::{Answer, Options, Prometheus, Taffrail, clients_wanted, remote_write, send};

use crate::{PROGRAM, quiet_config};

const QUERIES: u32 = 2400;
const TOLERANCE: f64 = 1e-12;
const DAY_MS: i64 = 86_400_000;

#[test]
fn answers_are_those_of_prometheus() {
    if clients_wanted().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(dir.path(), "global:\n  scrape_interval: 1h\n");
    let config = quiet_config("host:\n  enabled: false\n");
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &Options { config, ..Options::default() });
    let (start_ms, end_ms) = load(&[prometheus.address, taffrail.address]);

    let mut queries = queries::Generator::new(8, start_ms, end_ms);
    let (mut compared, mut refused, mut empty) = (0, 0, 0);
    for number in 0..QUERIES {
        let query = queries.next();
        let params: Vec<(&str, &str)> =
            query.params.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let theirs = prometheus.get(query.path, &params);
        let ours = taffrail.get(query.path, &params);
        let context = || format!("query {number} {}?{:?}", query.path, query.params);
        if theirs.status != 200 {
            assert_eq!(ours.status, theirs.status, "{}: {} {}", context(), theirs.body, ours.body);
            refused += 1;
            continue;
        }
        assert_eq!(ours.status, 200, "{}: {}", context(), ours.body);
        let (theirs, ours) = (result(&theirs), result(&ours));
        compare(&theirs, &ours).unwrap_or_else(|e| panic!("{}: {e}", context()));
        empty += u32::from(theirs.1.is_empty());
        compared += 1;
    }
    println!("{compared} compared ({empty} without result), {refused} refused by both");
    assert!(compared >= 2000, "{compared} compared, {refused} refused");
    assert!(empty * 4 < compared, "{empty} of {compared} answers are empty");
}

/// Sends the same samples to both; returns the times of the first and the last.
fn load(addresses: &[std::net::SocketAddr]) -> (i64, i64) {
    // The same time of day in every run: steps of subqueries are multiples of seconds since 1970, and so all of them
    // fall on the same samples.
    let now_ms = i64::try_from(crate::now_ns() / 1_000_000).unwrap();
    let start_ms = now_ms / DAY_MS * DAY_MS - DAY_MS + 7 * 3_600_000;
    let series = data::series(start_ms);
    let last = |s: &remote_write::Series| s.samples.last().map_or(start_ms, |(t, _)| *t);
    let end_ms = series.iter().map(last).max().unwrap();
    // In slices of time, as a sender would, so that nothing is out of order for either.
    for slice in 0..8 {
        let at = |part: i64| start_ms + (end_ms - start_ms + 1) * part / 8;
        let body = remote_write::encode(series.iter().map(|one| {
            let low = one.samples.partition_point(|(t, _)| *t < at(slice));
            let high = one.samples.partition_point(|(t, _)| *t < at(slice + 1));
            (one, &one.samples[low..high])
        }));
        for address in addresses {
            let headers = [
                ("Content-Type", "application/x-protobuf"),
                ("Content-Encoding", "snappy"),
                ("X-Prometheus-Remote-Write-Version", "0.1.0"),
            ];
            let answer = send(*address, "POST /api/v1/write", &headers, &body).unwrap();
            assert_eq!(answer.status, 204, "{}", answer.body);
        }
    }
    (start_ms, end_ms)
}

/// Values by time in milliseconds, by series.
type Series = BTreeMap<BTreeMap<String, String>, BTreeMap<i64, f64>>;

/// Type and series of an answer; a scalar is a series without labels.
fn result(answer: &Answer) -> (String, Series) {
    let json = answer.json();
    let (kind, value) = (&json["data"]["resultType"], &json["data"]["result"]);
    let mut series = Series::new();
    if kind == "scalar" {
        series.insert(BTreeMap::new(), BTreeMap::from([point(value)]));
    }
    for one in value.as_array().into_iter().flatten().filter(|one| one.is_object()) {
        let labels = one["metric"].as_object().unwrap().iter();
        let labels = labels.map(|(n, v)| (n.clone(), v.as_str().unwrap().to_owned())).collect();
        let points = match one["values"].as_array() {
            Some(points) => points.iter().map(point).collect(),
            None => BTreeMap::from([point(&one["value"])]),
        };
        assert!(series.insert(labels, points).is_none(), "a series comes twice");
    }
    (kind.as_str().unwrap().to_owned(), series)
}

fn point(value: &Value) -> (i64, f64) {
    let t_ms = (value[0].as_f64().unwrap() * 1000.0).round() as i64;
    (t_ms, value[1].as_str().unwrap().parse().unwrap())
}

fn compare(theirs: &(String, Series), ours: &(String, Series)) -> Result<(), String> {
    if theirs.0 != ours.0 {
        return Err(format!("type {} is theirs, {} ours", theirs.0, ours.0));
    }
    for labels in theirs.1.keys().chain(ours.1.keys()) {
        let (Some(theirs), Some(ours)) = (theirs.1.get(labels), ours.1.get(labels)) else {
            let side = if theirs.1.contains_key(labels) { "only theirs" } else { "only ours" };
            return Err(format!(
                "{side}: {labels:?}; {} theirs, {} ours",
                theirs.1.len(),
                ours.1.len()
            ));
        };
        for t_ms in theirs.keys().chain(ours.keys()) {
            let pair = (theirs.get(t_ms).copied(), ours.get(t_ms).copied());
            if !matches!(pair, (Some(a), Some(b)) if close(a, b)) {
                return Err(format!("{labels:?} at {t_ms}: (theirs, ours) = {pair:?}"));
            }
        }
    }
    Ok(())
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

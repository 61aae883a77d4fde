//! The JSON bodies of Loki's API. Metric answers are Prometheus', log answers are streams with nanosecond texts.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use model::Labels;
use query::logql::{Evaluated, Stream, Value};

use crate::prometheus::json as prometheus;

pub(crate) fn query_answer(answer: &Evaluated, took_ns: i64) -> String {
    let mut out = String::from("{\"status\":\"success\",\"data\":");
    match &answer.value {
        Value::Streams(streams) => {
            out.push_str("{\"resultType\":\"streams\",\"result\":");
            stream_list(&mut out, streams);
        }
        Value::Metric(value) => prometheus::typed_result(&mut out, value),
    }
    let seconds = took_ns as f64 / 1e9;
    let (rows, bytes) = (answer.stats.rows, answer.stats.bytes);
    let per_second = |n: u64| if seconds > 0.0 { (n as f64 / seconds) as u64 } else { 0 };
    let stats = serde_json::json!({"summary": {
        "bytesProcessedPerSecond": per_second(bytes),
        "linesProcessedPerSecond": per_second(rows),
        "totalBytesProcessed": bytes,
        "totalLinesProcessed": rows,
        "execTime": seconds,
    }});
    let _infallible = write!(out, ",\"stats\":{stats}}}");
    if !answer.warnings.is_empty() {
        let _infallible = write!(out, ",\"warnings\":{}", serde_json::json!(answer.warnings));
    }
    out.push('}');
    out
}

/// `[{"stream":{…},"values":[["<ns>","line"],…]},…]`; also the body of a tail message.
pub(crate) fn stream_list(out: &mut String, streams: &[Stream]) {
    out.push('[');
    for (i, stream) in streams.iter().enumerate() {
        out.push_str(if i == 0 { "{\"stream\":" } else { ",{\"stream\":" });
        prometheus::labels(out, &stream.labels);
        out.push_str(",\"values\":[");
        for (j, entry) in stream.entries.iter().enumerate() {
            let _infallible = write!(out, "{}[\"{}\",", if j == 0 { "" } else { "," }, entry.t_ns);
            prometheus::string(out, &model::shown_text(&entry.line));
            out.push(']');
        }
        out.push_str("]}");
    }
    out.push(']');
}

pub(crate) fn string_list(texts: BTreeSet<&str>) -> String {
    serde_json::json!({"status": "success", "data": texts}).to_string()
}

pub(crate) fn series_list(streams: &[Labels]) -> String {
    let mut out = String::from("{\"status\":\"success\",\"data\":[");
    for (i, stream) in streams.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        prometheus::labels(&mut out, stream);
    }
    out.push_str("]}");
    out
}

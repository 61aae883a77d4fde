//! The JSON bodies of Loki's API. Metric answers are Prometheus', log answers are streams with nanosecond texts.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use model::Labels;
use query::logql::{Evaluated, Stats, Stream, Value};
use serde_json::{Value as Json, json};

use crate::prometheus::json as prometheus;

/// The encoding flag with which entries say where their labels come from.
const CATEGORIZE: &str = "categorize-labels";
/// The encoding flag with which bytes that are not UTF-8 are written as they are stored, for
/// [`bytes_of_text`](model::bytes_of_text); without it U+FFFD stands in their place.
const KEEP_BYTES: &str = "keep-bytes";

/// What a client asked for beyond Loki's first form of entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// Whether entries say where their labels come from.
    pub(crate) categorize: bool,
    /// Whether bytes that are not UTF-8 can be had back.
    pub(crate) keep_bytes: bool,
}

impl Encoding {
    /// With one more flag, if it is known.
    pub(crate) fn with(mut self, flag: &str) -> Self {
        self.categorize |= flag == CATEGORIZE;
        self.keep_bytes |= flag == KEEP_BYTES;
        self
    }

    /// The text of a line.
    pub(crate) fn line(self, line: &str) -> Cow<'_, str> {
        if self.keep_bytes { Cow::Borrowed(line) } else { model::shown_text(line) }
    }

    /// `"encodingFlags":[…]`; `None` without any.
    pub(crate) fn flags(self) -> Option<String> {
        let flags = [(self.categorize, CATEGORIZE), (self.keep_bytes, KEEP_BYTES)];
        let named: Vec<&str> = flags.into_iter().filter(|(on, _)| *on).map(|(_, f)| f).collect();
        (!named.is_empty()).then(|| format!("\"encodingFlags\":{}", json!(named)))
    }
}

pub(crate) fn query_answer(answer: &Evaluated, encoding: Encoding, took_ns: i64) -> String {
    let mut out = String::from("{\"status\":\"success\",");
    if !answer.warnings.is_empty() {
        let _infallible = write!(out, "\"warnings\":{},", json!(answer.warnings));
    }
    out.push_str("\"data\":");
    let entries = match &answer.value {
        Value::Streams(streams) => {
            out.push_str("{\"resultType\":\"streams\",");
            if let Some(flags) = encoding.flags() {
                out.extend([flags.as_str(), ","]);
            }
            out.push_str("\"result\":");
            stream_list(&mut out, streams, encoding);
            streams.iter().map(|s| s.entries.len()).sum()
        }
        Value::Metric(value) => {
            prometheus::typed_result(&mut out, value);
            0
        }
    };
    let _infallible = write!(out, ",\"stats\":{}}}}}", statistics(answer.stats, entries, took_ns));
    out
}

/// Loki's statistics of a query. What it has no equal for here (chunks, caches, its own services) is 0.
pub(crate) fn statistics(stats: Stats, entries: usize, took_ns: i64) -> Json {
    let seconds = took_ns as f64 / 1e9;
    let Stats { rows, bytes } = stats;
    let per_second = |n: u64| if seconds > 0.0 { (n as f64 / seconds) as u64 } else { 0 };
    let store = |rows: u64, bytes: u64| {
        json!({
            "chunksDownloadTime": 0,
            "congestionControlLatency": 0,
            "totalChunksRef": 0,
            "totalChunksDownloaded": 0,
            "chunkRefsFetchTime": 0,
            "queryReferencedStructuredMetadata": false,
            "queryUsedV2Engine": false,
            "pipelineWrapperFilteredLines": 0,
            "chunk": {
                "compressedBytes": 0,
                "decompressedBytes": bytes,
                "decompressedLines": rows,
                "decompressedStructuredMetadataBytes": 0,
                "headChunkBytes": 0,
                "headChunkLines": 0,
                "headChunkStructuredMetadataBytes": 0,
                "postFilterLines": rows,
                "totalDuplicates": 0,
            },
            "dataobj": zeros(&[
                "pageBatches",
                "pagesDownloaded",
                "pagesDownloadedBytes",
                "pagesScanned",
                "postFilterRows",
                "postPredicateRows",
                "postPredicateDecompressedBytes",
                "postPredicateStructuredMetadataBytes",
                "prePredicateDecompressedRows",
                "prePredicateDecompressedBytes",
                "prePredicateDecompressedStructuredMetadataBytes",
                "totalPageDownloadTime",
                "totalRowsAvailable",
                "wireBytesTransferred",
            ]),
        })
    };
    let cache = || {
        zeros(&[
            "entriesFound",
            "entriesRequested",
            "entriesStored",
            "bytesReceived",
            "bytesSent",
            "requests",
            "downloadTime",
            "queryLengthServed",
        ])
    };
    let caches: serde_json::Map<String, Json> = [
        "chunk",
        "index",
        "statsResult",
        "seriesResult",
        "labelResult",
        "volumeResult",
        "instantMetricResult",
        "result",
        "logResult",
        "taskResult",
    ]
    .iter()
    .map(|name| ((*name).to_owned(), cache()))
    .collect();
    json!({
        "index": {
            "bloomFilterTime": 0,
            "chunkRefsLookupTime": 0,
            "postFilterChunks": 0,
            "totalChunks": 0,
            "totalStreams": 0,
            "usedBloomFilters": false,
            "shardsDuration": 0,
        },
        "ingester": {
            "store": store(0, 0),
            "totalBatches": 0,
            "totalChunksMatched": 0,
            "totalLinesSent": 0,
            "totalReached": 0,
        },
        "querier": {"querierExecTime": seconds, "store": store(rows, bytes)},
        "cache": caches,
        "summary": {
            "bytesProcessedPerSecond": per_second(bytes),
            "execTime": seconds,
            "linesProcessedPerSecond": per_second(rows),
            "queueTime": 0,
            "shards": 0,
            "splits": 0,
            "subqueries": 0,
            "totalBytesProcessed": bytes,
            "totalEntriesReturned": entries,
            "totalLinesProcessed": rows,
            "totalStructuredMetadataBytesProcessed": 0,
            "totalPostFilterLines": rows,
        },
    })
}

fn zeros(names: &[&str]) -> Json {
    Json::Object(names.iter().map(|name| ((*name).to_owned(), json!(0))).collect())
}

/// `[{"stream":{…},"values":[["<ns>","line"],…]},…]`; also the body of a tail message. Categorized entries have their
/// other labels as a third element.
pub(crate) fn stream_list(out: &mut String, streams: &[Stream], encoding: Encoding) {
    out.push('[');
    for (i, stream) in streams.iter().enumerate() {
        out.push_str(if i == 0 { "{\"stream\":" } else { ",{\"stream\":" });
        put_labels(out, &stream.labels, encoding);
        out.push_str(",\"values\":[");
        for (j, entry) in stream.entries.iter().enumerate() {
            let _infallible = write!(out, "{}[\"{}\",", if j == 0 { "" } else { "," }, entry.t_ns);
            prometheus::string(out, &encoding.line(&entry.line));
            if let Some(categories) = &entry.categories {
                out.push_str(",{");
                let named =
                    [("structuredMetadata", &categories.metadata), ("parsed", &categories.parsed)];
                let present = named.into_iter().filter(|(_, labels)| !labels.is_empty());
                for (k, (name, labels)) in present.enumerate() {
                    let comma = if k == 0 { "" } else { "," };
                    let _infallible = write!(out, "{comma}\"{name}\":");
                    put_labels(out, labels, encoding);
                }
                out.push('}');
            }
            out.push(']');
        }
        out.push_str("]}");
    }
    out.push(']');
}

/// Labels; values may have bytes that are not UTF-8 as lines may.
fn put_labels(out: &mut String, labels: &Labels, encoding: Encoding) {
    let is_text = |value| matches!(encoding.line(value), Cow::Borrowed(_));
    if labels.iter().all(|(_, value)| is_text(value)) {
        return prometheus::labels(out, labels);
    }
    let shown: Vec<(&str, Cow<'_, str>)> =
        labels.iter().map(|(name, value)| (name, encoding.line(value))).collect();
    let shown = Labels::from_pairs(shown.iter().map(|(name, value)| (*name, &**value)));
    prometheus::labels(out, &shown);
}

pub(crate) fn string_list(texts: BTreeSet<&str>) -> String {
    json!({"status": "success", "data": texts}).to_string()
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

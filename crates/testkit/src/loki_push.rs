//! Bodies for Loki's push call, written down field by field so that they do not share a mistake with the program's
//! decoder.

use std::fmt::Write as _;

use crate::remote_write::{field, varint};

/// The lines of one stream: its labels as `{name="value"}`, and for each line its time in nanoseconds and its text.
pub type Stream<'a> = (&'a str, Vec<(i64, &'a str)>);

/// A `logproto.PushRequest`, snappy-compressed, as Promtail sends it.
pub fn protobuf(streams: &[Stream<'_>]) -> Vec<u8> {
    let mut request = Vec::new();
    let (mut message, mut entry, mut time) = (Vec::new(), Vec::new(), Vec::new());
    for (labels, lines) in streams {
        message.clear();
        field(&mut message, 1, labels.as_bytes());
        for (t_ns, line) in lines {
            time.clear();
            time.push(1 << 3);
            varint(&mut time, t_ns.div_euclid(1_000_000_000).cast_unsigned());
            time.push(2 << 3);
            varint(&mut time, t_ns.rem_euclid(1_000_000_000).cast_unsigned());
            entry.clear();
            field(&mut entry, 1, &time);
            field(&mut entry, 2, line.as_bytes());
            field(&mut message, 2, &entry);
        }
        field(&mut request, 1, &message);
    }
    compressed(&request)
}

/// A body as Loki takes it: snappy's format without frames.
pub fn compressed(request: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(request).unwrap()
}

/// The same as JSON; `labels` of each stream must be simple enough to be rewritten by their commas.
pub fn json(streams: &[Stream<'_>]) -> Vec<u8> {
    let mut body = String::from("{\"streams\":[");
    for (i, (labels, lines)) in streams.iter().enumerate() {
        let pairs: Vec<String> = labels
            .trim_matches(['{', '}'])
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        let comma = if i > 0 { "," } else { "" };
        let _infallible = write!(body, "{comma}{{\"stream\":{{{}}},\"values\":[", pairs.join(","));
        for (k, (t_ns, line)) in lines.iter().enumerate() {
            let comma = if k > 0 { "," } else { "" };
            let line = serde_json::Value::from(*line);
            let _infallible = write!(body, "{comma}[\"{t_ns}\",{line}]");
        }
        body.push_str("]}");
    }
    body.push_str("]}");
    body.into_bytes()
}

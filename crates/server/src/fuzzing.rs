//! The ways in for the fuzz targets of request parameters and bodies (`fuzz/`). Not part of the server's interface.

use crate::params::{Params, duration_ms, loki_time_ns, prometheus_time_ms};
use crate::prometheus::decode_read_request;
use crate::{jaeger, tempo};

/// Reads `text` as a query string and as each kind of value.
///
/// # Panics
/// When a reader does.
pub fn params(text: &str) {
    let params = Params::from_query(text);
    // Either outcome is fine; it must come back.
    params.count("limit").ok();
    for name in ["query", "start", "match[]", ""] {
        assert_eq!(params.all(name).next().unwrap_or(""), params.get(name));
        let value = params.non_empty(name).unwrap_or(text);
        prometheus_time_ms(value);
        loki_time_ns(value);
        assert!(duration_ms(value).is_none_or(|ms| ms >= 0 || value.starts_with('-')));
    }
}

/// Reads `text` as a search of traces in every form: parameters of Jaeger's two versions, a posted one, tags.
///
/// # Panics
/// When a reader does.
pub fn trace_search(text: &str) {
    // Either outcome is fine; it must come back.
    jaeger::fuzz(text);
    let params = Params::from_query(text);
    tempo::tags::selection(text).ok();
    tempo::range(&params).ok();
    tempo::duration(&params, "step").ok();
    tempo::trace_id(text).ok();
    tempo::parse(text).ok();
}

/// Reads `bytes` as a decompressed request of remote read.
pub fn read_request(bytes: &[u8]) {
    // Either outcome is fine; it must come back.
    decode_read_request(bytes).ok();
}

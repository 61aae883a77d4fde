//! Pure, bounded decoders of every wire format, relabelling, and recognition of structured log lines.
//!
//! Bytes in, model types out. Does no I/O, knows no sockets, no stores, no tokio.

pub mod compression;
pub mod docker;
pub mod document;
pub mod elastic;
pub mod exposition;
pub mod fluent;
pub mod gelf;
pub mod jaeger;
pub mod journal;
mod json;
pub mod jsonline;
pub mod known;
mod known_bodies;
pub mod logline;
pub mod loki;
pub mod lumberjack;
pub mod messagepack;
pub mod native_histogram;
pub mod otlp;
pub mod pipeline;
pub mod prometheus_tsdb;
pub mod protobuf;
pub mod pushed_lines;
pub mod pushed_text;
pub mod pushgateway;
pub mod redact;
pub mod relabel;
pub mod remote_write;
pub mod span_metrics;
pub mod spans;
pub mod stack_traces;
pub mod syslog;
pub mod thrift;
pub mod trace_context;
pub mod write_request;
pub mod zipkin;

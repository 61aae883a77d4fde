//! A program that sends a trace by the OpenTelemetry SDK. Arguments: grpc, proto or json; URL; service name. Prints the
//! trace's id.

use std::error::Error;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [protocol, endpoint, service] = arguments.as_slice() else {
        return Err("usage: traces PROTOCOL URL SERVICE".into());
    };
    // The gRPC client lives on it.
    let runtime = tokio::runtime::Runtime::new()?;
    let over_http = |protocol| {
        let builder = SpanExporter::builder().with_http().with_protocol(protocol);
        builder.with_endpoint(endpoint).build()
    };
    let exporter = match protocol.as_str() {
        "proto" => over_http(Protocol::HttpBinary)?,
        "json" => over_http(Protocol::HttpJson)?,
        _ => {
            let build = || SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
            runtime.block_on(async { build() })?
        }
    };
    let resource = Resource::builder().with_service_name(service.clone());
    let resource = resource.with_attribute(KeyValue::new("deployment.environment.name", "test"));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let scope = InstrumentationScope::builder("demo").with_version("1.0").build();
    let tracer = provider.tracer_with_scope(scope);

    let mut parent = tracer.span_builder("checkout").with_kind(SpanKind::Server).start(&tracer);
    let list = |list: Array| Value::Array(list);
    for (name, value) in [
        ("http.route", "/checkout".into()),
        ("items", 3.into()),
        ("price", 9.5.into()),
        ("paid", false.into()),
        ("tags", list(Array::String(vec!["a".into(), "b".into()]))),
        ("sizes", list(Array::I64(vec![-1, i64::MAX]))),
        ("shares", list(Array::F64(vec![0.5, 1.5]))),
        ("flags", list(Array::Bool(vec![true, false]))),
    ] {
        parent.set_attribute(KeyValue::new(name, value));
    }
    let state = TraceState::from_key_value([("vendor", "x")])?;
    let other = SpanContext::new(7.into(), 9.into(), TraceFlags::SAMPLED, true, state);
    parent.add_link(other, vec![KeyValue::new("why", "retry")]);
    let trace_id = parent.span_context().trace_id();
    let inside = Context::new().with_span(parent);
    let builder = tracer.span_builder("charge card").with_kind(SpanKind::Client);
    let mut child = builder.start_with_context(&tracer, &inside);
    child.add_event("retry", vec![KeyValue::new("attempt", 2)]);
    child.record_error(&std::io::Error::other("declined"));
    child.set_status(Status::error("card declined"));
    child.end();
    inside.span().end();
    provider.force_flush()?;
    provider.shutdown()?;
    println!("{trace_id:032x}");
    Ok(())
}

//! Batches of Jaeger and Zipkin that other projects keep as the JSON of their structures, written as the bytes that would
//! have come over the wire.

use ingest::otlp::unbase64;
use ingest::protobuf::Writer;
use serde_json::Value;

/// The first member that is there, of several spellings.
fn get<'v>(value: &'v Value, names: &[&str]) -> &'v Value {
    names.iter().map(|name| &value[*name]).find(|found| !found.is_null()).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn whole(value: &Value) -> i64 {
    value.as_i64().or_else(|| text(value).parse().ok()).unwrap_or(0)
}

fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::Array(items) => items.iter().map(|item| whole(item) as u8).collect(),
        other => unbase64(text(other)).unwrap_or_default(),
    }
}

/// A `jaeger.api_v2.Batch` as a `PostSpansRequest` in protobuf.
pub(crate) fn jaeger_protobuf(batch: &Value) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.message(1, |writer| {
        for one in list(&batch["spans"]) {
            writer.message(1, |writer| span(writer, one));
        }
        if batch["process"].is_object() {
            writer.message(2, |writer| process(writer, &batch["process"]));
        }
    });
    writer.finish()
}

fn span(writer: &mut Writer, span: &Value) {
    writer.bytes(1, &bytes(get(span, &["traceId", "trace_id"])));
    writer.bytes(2, &bytes(get(span, &["spanId", "span_id"])));
    writer.text(3, text(get(span, &["operationName", "operation_name"])));
    for reference in list(&span["references"]) {
        writer.message(4, |writer| {
            writer.bytes(1, &bytes(get(reference, &["traceId", "trace_id"])));
            writer.bytes(2, &bytes(get(reference, &["spanId", "span_id"])));
            let kind = get(reference, &["refType", "ref_type"]);
            writer.uint(3, u64::from(*kind == 1 || kind == "FOLLOWS_FROM"));
        });
    }
    writer.message(6, |writer| time(writer, get(span, &["startTime", "start_time"])));
    writer.message(7, |writer| {
        let duration = &span["duration"];
        let ns = text(duration).strip_suffix("ns").and_then(|ns| ns.parse().ok());
        seconds(writer, ns.unwrap_or_else(|| whole(duration)));
    });
    tags(writer, 8, &span["tags"]);
    for log in list(&span["logs"]) {
        writer.message(9, |writer| {
            writer.message(1, |writer| time(writer, &log["timestamp"]));
            tags(writer, 2, &log["fields"]);
        });
    }
    if span["process"].is_object() {
        writer.message(10, |writer| process(writer, &span["process"]));
    }
    for warning in list(&span["warnings"]) {
        writer.text(12, text(warning));
    }
}

fn process(writer: &mut Writer, process: &Value) {
    writer.text(1, text(get(process, &["serviceName", "service_name"])));
    tags(writer, 2, &process["tags"]);
}

fn tags(writer: &mut Writer, number: u32, tags: &Value) {
    for tag in list(tags) {
        writer.message(number, |writer| {
            let kind = get(tag, &["vType", "v_type"]);
            let names = ["STRING", "BOOL", "INT64", "FLOAT64", "BINARY"];
            let named = names.iter().position(|name| kind == name);
            writer.text(1, text(&tag["key"]));
            writer.uint(2, named.map_or(kind.as_u64().unwrap_or(0), |at| at as u64));
            writer.text(3, text(get(tag, &["vStr", "v_str"])));
            writer.uint(4, u64::from(*get(tag, &["vBool", "v_bool"]) == true));
            writer.int(5, whole(get(tag, &["vInt64", "v_int64"])));
            writer.double(6, get(tag, &["vFloat64", "v_float64"]).as_f64().unwrap_or(0.0));
            writer.bytes(7, &bytes(get(tag, &["vBinary", "v_binary"])));
        });
    }
}

fn time(writer: &mut Writer, time: &Value) {
    let time: Option<jiff::Timestamp> = text(time).parse().ok();
    let ns = time.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
    seconds(writer, ns.unwrap_or(0));
}

fn seconds(writer: &mut Writer, ns: i64) {
    writer.int(1, ns / 1_000_000_000);
    writer.int(2, ns % 1_000_000_000);
}

/// Thrift's binary protocol, as far as batches need it.
#[derive(Default)]
struct Thrift(Vec<u8>);

impl Thrift {
    fn field(&mut self, kind: u8, id: u8) -> &mut Self {
        self.0.extend([kind, 0, id]);
        self
    }

    fn i32(&mut self, id: u8, value: i64) {
        self.field(8, id).0.extend((value as i32).to_be_bytes());
    }

    fn i64(&mut self, id: u8, value: &Value) {
        if !value.is_null() {
            self.field(10, id).0.extend(whole(value).to_be_bytes());
        }
    }

    fn bytes(&mut self, id: u8, value: &[u8]) {
        self.field(11, id).0.extend((value.len() as u32).to_be_bytes());
        self.0.extend(value);
    }

    fn structs(&mut self, id: u8, items: &Value, mut each: impl FnMut(&mut Self, &Value)) {
        if items.is_array() {
            self.field(15, id).list(items, &mut each);
        }
    }

    fn list(&mut self, items: &Value, each: &mut impl FnMut(&mut Self, &Value)) {
        self.0.push(12);
        self.0.extend((list(items).len() as u32).to_be_bytes());
        for item in list(items) {
            each(self, item);
            self.0.push(0);
        }
    }
}

/// A `jaeger.Batch` in Thrift's binary protocol.
pub(crate) fn jaeger_thrift(batch: &Value) -> Vec<u8> {
    let mut out = Thrift::default();
    out.field(12, 1);
    out.bytes(1, text(&batch["process"]["serviceName"]).as_bytes());
    out.structs(2, &batch["process"]["tags"], thrift_tag);
    out.0.push(0);
    out.structs(2, &batch["spans"], |out, span| {
        for (id, name) in
            [(1, "traceIdLow"), (2, "traceIdHigh"), (3, "spanId"), (4, "parentSpanId")]
        {
            out.i64(id, &span[name]);
        }
        out.bytes(5, text(&span["operationName"]).as_bytes());
        out.structs(6, &span["references"], |out, reference| {
            out.i32(1, i64::from(reference["refType"] == "FOLLOWS_FROM"));
            for (id, name) in [(2, "traceIdLow"), (3, "traceIdHigh"), (4, "spanId")] {
                out.i64(id, &reference[name]);
            }
        });
        out.i64(8, &span["startTime"]);
        out.i64(9, &span["duration"]);
        out.structs(10, &span["tags"], thrift_tag);
        out.structs(11, &span["logs"], |out, log| {
            out.i64(1, &log["timestamp"]);
            out.structs(2, &log["fields"], thrift_tag);
        });
    });
    out.0.push(0);
    out.0
}

fn thrift_tag(out: &mut Thrift, tag: &Value) {
    out.bytes(1, text(&tag["key"]).as_bytes());
    let names = ["STRING", "DOUBLE", "BOOL", "LONG", "BINARY"];
    out.i32(2, names.iter().position(|name| tag["vType"] == *name).unwrap_or(0) as i64);
    if let Some(text) = tag["vStr"].as_str() {
        out.bytes(3, text.as_bytes());
    }
    if let Some(value) = tag["vDouble"].as_f64() {
        out.field(4, 4).0.extend(value.to_be_bytes());
    }
    if let Some(value) = tag["vBool"].as_bool() {
        out.field(2, 5).0.push(u8::from(value));
    }
    out.i64(6, &tag["vLong"]);
    if !tag["vBinary"].is_null() {
        out.bytes(7, &bytes(&tag["vBinary"]));
    }
}

/// A list of `zipkincore.Span` in Thrift's binary protocol.
pub(crate) fn zipkin_thrift(spans: &Value) -> Vec<u8> {
    let mut out = Thrift::default();
    out.list(spans, &mut |out, span| {
        out.i64(1, &span["trace_id"]);
        out.bytes(3, text(&span["name"]).as_bytes());
        out.i64(4, &span["id"]);
        out.i64(5, &span["parent_id"]);
        out.structs(6, &span["annotations"], |out, annotation| {
            out.i64(1, &annotation["timestamp"]);
            out.bytes(2, text(&annotation["value"]).as_bytes());
            host(out, 3, &annotation["host"]);
        });
        out.structs(8, &span["binary_annotations"], |out, tag| {
            out.bytes(1, text(&tag["key"]).as_bytes());
            out.bytes(2, &bytes(&tag["value"]));
            let names = ["BOOL", "BYTES", "I16", "I32", "I64", "DOUBLE", "STRING"];
            let kind = names.iter().position(|name| tag["annotation_type"] == *name);
            out.i32(3, kind.unwrap_or(6) as i64);
            host(out, 4, &tag["host"]);
        });
        out.i64(10, &span["timestamp"]);
        out.i64(11, &span["duration"]);
    });
    out.0
}

fn host(out: &mut Thrift, id: u8, host: &Value) {
    if host.is_object() {
        out.field(12, id);
        out.i32(1, whole(&host["ipv4"]));
        out.field(6, 2).0.extend((whole(&host["port"]) as i16).to_be_bytes());
        out.bytes(3, text(&host["service_name"]).as_bytes());
        out.0.push(0);
    }
}

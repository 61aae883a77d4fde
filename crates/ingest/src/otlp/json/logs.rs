//! `ExportLogsServiceRequest` in OTLP/JSON.

use std::fmt;
use std::marker::PhantomData;

use memchr::memchr_iter;
use model::{Error, Result};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::{
    Fields, Hex, Number, Object, Or, RawKeyValue, RawResource, RawScope, RawValue, attributes,
};
use crate::otlp::logs::{Record, Request, ResourceLogs, ScopeLogs};
use crate::otlp::too_many;

pub(crate) fn decode(body: &[u8], elements_max: usize) -> Result<Request> {
    let objects = memchr_iter(b'{', body).count();
    if objects > elements_max.saturating_mul(2) {
        return Err(too_many(elements_max));
    }
    let raw: RawRequest = serde_json::from_slice(body)
        .map_err(|e| Error::invalid(format!("body is not an OTLP/JSON logs request: {e}")))?;
    let resource = |raw: RawResourceLogs| ResourceLogs {
        attributes: attributes(raw.resource.0.attributes),
        scopes: raw.scope_logs.0.into_iter().map(scope).collect(),
    };
    Ok(Request { resources: raw.resource_logs.0.into_iter().map(resource).collect() })
}

fn scope(raw: RawScopeLogs) -> ScopeLogs {
    let scope = raw.scope.0;
    ScopeLogs {
        name: scope.name.0,
        version: scope.version.0,
        attributes: attributes(scope.attributes),
        records: raw.log_records.0.into_iter().map(record).collect(),
    }
}

fn record(raw: RawRecord) -> Record {
    Record {
        time_ns: raw.time_unix_nano.0.0,
        observed_ns: raw.observed_time_unix_nano.0.0,
        severity_number: raw.severity_number.0.0,
        severity_text: raw.severity_text.0,
        body: raw.body.0.into_value(),
        attributes: attributes(raw.attributes),
        dropped_attributes: raw.dropped_attributes_count.0.0,
        flags: raw.flags.0.0,
        trace_id: raw.trace_id.0.0,
        span_id: raw.span_id.0.0,
        event_name: raw.event_name.0,
    }
}

message!(RawRequest { resource_logs("resource_logs"): Or<Vec<RawResourceLogs>>, });
message!(RawResourceLogs {
    resource: Or<RawResource>,
    scope_logs("scope_logs"): Or<Vec<RawScopeLogs>>,
});
message!(RawScopeLogs {
    scope: Or<RawScope>,
    log_records("log_records"): Or<Vec<RawRecord>>,
});
message!(RawRecord {
    time_unix_nano("time_unix_nano"): Or<Number<u64>>,
    observed_time_unix_nano("observed_time_unix_nano"): Or<Number<u64>>,
    severity_number("severity_number"): Or<Severity>,
    severity_text("severity_text"): Or<String>,
    body: Or<RawValue>,
    attributes: Or<Vec<RawKeyValue>>,
    dropped_attributes_count("dropped_attributes_count"): Or<Number<u32>>,
    flags: Or<Number<u32>>,
    trace_id("trace_id"): Or<Hex>,
    span_id("span_id"): Or<Hex>,
    event_name("event_name"): Or<String>,
});

/// `SEVERITY_NUMBER_…` or its number.
#[derive(Default)]
struct Severity(i32);

struct SeverityVisitor;

impl Visitor<'_> for SeverityVisitor {
    type Value = Severity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a severity number")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Severity, E> {
        Ok(Severity(i32::try_from(number).unwrap_or(0)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Severity, E> {
        const NAMES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
        let unknown = || E::custom(format!("{text:.64?} is not a severity number"));
        let name = text.strip_prefix("SEVERITY_NUMBER_").ok_or_else(unknown)?;
        if name == "UNSPECIFIED" {
            return Ok(Severity(0));
        }
        let (base, more) = match name.as_bytes().last() {
            Some(digit @ b'2'..=b'4') => {
                (name.get(..name.len() - 1).unwrap_or(""), i32::from(digit - b'1'))
            }
            _ => (name, 0),
        };
        let index = NAMES.iter().position(|known| *known == base).ok_or_else(unknown)?;
        Ok(Severity(i32::try_from(index).unwrap_or(0) * 4 + 1 + more))
    }
}

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeverityVisitor)
    }
}

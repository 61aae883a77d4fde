//! Requests of `jaeger.api_v2.QueryService` and `jaeger.api_v3.QueryService`, whose fields have the same numbers in both.
//!
//! Source: jaeger-idl, `api_v2/query.proto`, `api_v3/query_service.proto`.

use model::{Error, ErrorKind, Result};

use super::protobuf::each;
use crate::protobuf::{Field, Reader};

/// Tags that a search may name.
const TAGS_MAX: usize = 1_000;

/// `GetTraceRequest`, `ArchiveTraceRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceRequest {
    /// 16 bytes in version 2, hexadecimal digits in version 3.
    pub trace_id: Vec<u8>,
    /// Whether it is wanted as it was sent.
    pub raw: bool,
}

/// `TraceQueryParameters`. What is not said is 0 or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchRequest {
    /// Service of the span.
    pub service: String,
    /// Name of the span.
    pub operation: String,
    /// Tags, by name and value; of one name the last counts.
    pub tags: Vec<(String, String)>,
    /// Unix nanoseconds.
    pub start_ns: Option<i64>,
    /// Unix nanoseconds.
    pub end_ns: Option<i64>,
    /// Nanoseconds.
    pub duration_ns_min: Option<i64>,
    /// Nanoseconds.
    pub duration_ns_max: Option<i64>,
    /// Traces wanted.
    pub depth: i64,
    /// Whether they are wanted as they were sent.
    pub raw: bool,
    /// Whether it says more by an expression, which is not read.
    pub has_filter: bool,
}

/// `GetOperationsRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OperationsRequest {
    /// The service.
    pub service: String,
    /// Name of a kind; empty for all.
    pub kind: String,
}

/// Reads `GetTraceRequest` or `ArchiveTraceRequest`.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) when it is none, naming the place; so for all that is read here.
pub fn decode_trace(message: &[u8]) -> Result<TraceRequest> {
    let mut request = TraceRequest::default();
    read(message, "GetTraceRequest", |field| {
        match field.number {
            1 => request.trace_id = field.bytes()?.to_vec(),
            4 => request.raw = field.boolean()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(request)
}

/// Reads `FindTracesRequest` or `FindTraceSummariesRequest`; `None` without a query in it.
///
/// # Errors
/// As [`decode_trace`], and [`Limit`](ErrorKind::Limit) for more than a thousand tags.
pub fn decode_search(message: &[u8]) -> Result<Option<SearchRequest>> {
    let mut request = None;
    read(message, "FindTracesRequest", |field| {
        if field.number == 1 {
            each(field.message()?, |field| {
                parameter(&field, request.get_or_insert_with(SearchRequest::default))
            })?;
            request.get_or_insert_with(SearchRequest::default);
        }
        Ok(())
    })?;
    Ok(request)
}

fn parameter(field: &Field<'_>, request: &mut SearchRequest) -> Result<()> {
    match field.number {
        1 => field.text()?.clone_into(&mut request.service),
        2 => field.text()?.clone_into(&mut request.operation),
        3 => {
            let (mut name, mut value) = (String::new(), String::new());
            each(field.message()?, |field| {
                match field.number {
                    1 => field.text()?.clone_into(&mut name),
                    2 => field.text()?.clone_into(&mut value),
                    _ => {}
                }
                Ok(())
            })?;
            request.tags.retain(|(known, _)| *known != name);
            if request.tags.len() >= TAGS_MAX {
                let message = format!("search names more than {TAGS_MAX} tags");
                return Err(Error::new(ErrorKind::Limit, message));
            }
            request.tags.push((name, value));
        }
        4 => request.start_ns = Some(nanoseconds(field)?),
        5 => request.end_ns = Some(nanoseconds(field)?),
        6 => request.duration_ns_min = Some(nanoseconds(field)?),
        7 => request.duration_ns_max = Some(nanoseconds(field)?),
        8 => request.depth = i64::from(field.int32()?),
        9 => request.raw = field.boolean()?,
        10 => request.has_filter = true,
        _ => {}
    }
    Ok(())
}

/// Reads `GetOperationsRequest`.
///
/// # Errors
/// As [`decode_trace`].
pub fn decode_operations(message: &[u8]) -> Result<OperationsRequest> {
    let mut request = OperationsRequest::default();
    read(message, "GetOperationsRequest", |field| {
        match field.number {
            1 => field.text()?.clone_into(&mut request.service),
            2 => field.text()?.clone_into(&mut request.kind),
            _ => {}
        }
        Ok(())
    })?;
    Ok(request)
}

/// Reads `GetDependenciesRequest`: its start and end, Unix nanoseconds.
///
/// # Errors
/// As [`decode_trace`].
pub fn decode_dependencies(message: &[u8]) -> Result<(Option<i64>, Option<i64>)> {
    let (mut start_ns, mut end_ns) = (None, None);
    read(message, "GetDependenciesRequest", |field| {
        match field.number {
            1 => start_ns = Some(nanoseconds(&field)?),
            2 => end_ns = Some(nanoseconds(&field)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok((start_ns, end_ns))
}

fn read<'a>(
    message: &'a [u8],
    name: &str,
    visit: impl FnMut(Field<'a>) -> Result<()>,
) -> Result<()> {
    each(Reader::new(message), visit).map_err(|e| match e.kind() {
        ErrorKind::Limit => e,
        _ => e.context(format!("message is not a {name} of Jaeger")),
    })
}

/// `google.protobuf.Timestamp` and `Duration`, cut to what 64 bits of nanoseconds hold: Go's zero time is long before.
fn nanoseconds(field: &Field<'_>) -> Result<i64> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    each(field.message()?, |field| {
        match field.number {
            1 => seconds = field.int64()?,
            2 => nanos = field.int32()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Writer;

    #[test]
    fn searches_are_read() {
        let mut writer = Writer::new();
        writer.message(1, |query| {
            query.text(1, "shop");
            query.text(2, "GET /");
            for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
                query.message(3, |tag| {
                    tag.text(1, name);
                    tag.text(2, value);
                });
            }
            query.message(4, |time| time.int(1, 5));
            // Go's zero time.
            query.message(5, |time| time.int(1, -62_135_596_800));
            query.message(6, |time| time.int(2, 7));
            query.int(8, 20);
            query.uint(9, 1);
        });
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = SearchRequest {
            service: "shop".to_owned(),
            operation: "GET /".to_owned(),
            tags: vec![pair("b", "2"), pair("a", "3")],
            start_ns: Some(5_000_000_000),
            end_ns: Some(i64::MIN),
            duration_ns_min: Some(7),
            duration_ns_max: None,
            depth: 20,
            raw: true,
            has_filter: false,
        };
        assert_eq!(decode_search(&writer.finish()).unwrap(), Some(expected));
        assert_eq!(decode_search(&[]).unwrap(), None);
        assert_eq!(decode_search(&[0x0A, 0]).unwrap(), Some(SearchRequest::default()));
        let why = decode_search(&[0x0A]).unwrap_err();
        assert!(why.message().starts_with("message is not a FindTracesRequest of Jaeger"), "{why}");
    }

    #[test]
    fn tags_are_bounded() {
        let mut writer = Writer::new();
        writer.message(1, |query| {
            for i in 0..=TAGS_MAX {
                query.message(3, |tag| tag.text(1, &i.to_string()));
            }
        });
        assert_eq!(decode_search(&writer.finish()).unwrap_err().kind(), ErrorKind::Limit);
    }

    #[test]
    fn other_requests_are_read() {
        let trace = decode_trace(&[0x0A, 2, b'f', b'f', 0x20, 1]).unwrap();
        assert_eq!((trace.trace_id.as_slice(), trace.raw), (&b"ff"[..], true));
        let operations = decode_operations(&[0x0A, 1, b'a', 0x12, 1, b'k']).unwrap();
        assert_eq!((&*operations.service, &*operations.kind), ("a", "k"));
        let times = decode_dependencies(&[0x0A, 2, 0x08, 3, 0x12, 0]).unwrap();
        assert_eq!(times, (Some(3_000_000_000), Some(0)));
    }
}

//! The `ReadRequest` of remote read, decoded. Pure and bounded by its input.

use ingest::protobuf::Reader;
use model::{Error, MatchOp, Matcher, Result};

/// Queries of one request; Prometheus sends one.
const QUERIES_MAX: usize = 64;
const MATCHERS_MAX: usize = 256;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct ReadRequest {
    pub(super) queries: Vec<Query>,
    pub(super) response_type: ResponseType,
}

/// One selection. Unix milliseconds, both inside.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) matchers: Vec<Matcher>,
}

/// Forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseType {
    Samples,
    StreamedXorChunks,
}

/// Reads a decompressed `ReadRequest`.
///
/// # Errors
/// `Invalid` naming field and offset, or the bound.
pub(crate) fn decode(message: &[u8]) -> Result<ReadRequest> {
    let mut reader = Reader::new(message);
    let (mut queries, mut accepted) = (Vec::new(), Vec::new());
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => {
                if queries.len() == QUERIES_MAX {
                    return Err(Error::invalid(format!("more than {QUERIES_MAX} queries")));
                }
                queries.push(query(field.message()?)?);
            }
            // What is beyond the known ones and a few unknown ones makes no difference.
            2 => field.varints(|value| {
                accepted.extend((accepted.len() < 16).then_some(value));
                Ok(())
            })?,
            _ => {}
        }
    }
    // The first form that is known; none named is the old one.
    let response_type = accepted.iter().find_map(|value| match value {
        0 => Some(ResponseType::Samples),
        1 => Some(ResponseType::StreamedXorChunks),
        _ => None,
    });
    match response_type {
        Some(response_type) => Ok(ReadRequest { queries, response_type }),
        None if accepted.is_empty() => {
            Ok(ReadRequest { queries, response_type: ResponseType::Samples })
        }
        None => Err(Error::invalid(format!(
            "server does not support any of the requested response types: {accepted:?}; supported: 0 (SAMPLES), 1 (STREAMED_XOR_CHUNKS)"
        ))),
    }
}

fn query(mut reader: Reader<'_>) -> Result<Query> {
    let mut query = Query::default();
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => query.start_ms = field.int64()?,
            2 => query.end_ms = field.int64()?,
            3 => {
                if query.matchers.len() == MATCHERS_MAX {
                    return Err(field.error(format_args!("more than {MATCHERS_MAX} matchers")));
                }
                query.matchers.push(matcher(field.message()?)?);
            }
            _ => {}
        }
    }
    Ok(query)
}

fn matcher(mut reader: Reader<'_>) -> Result<Matcher> {
    let (mut op, mut name, mut value) = (MatchOp::Equal, "", "");
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => {
                op = match field.int32()? {
                    0 => MatchOp::Equal,
                    1 => MatchOp::NotEqual,
                    2 => MatchOp::Regex,
                    3 => MatchOp::NotRegex,
                    other => return Err(field.error(format_args!("unknown matcher type {other}"))),
                }
            }
            2 => name = field.text()?,
            3 => value = field.text()?,
            _ => {}
        }
    }
    Matcher::new(op, name, value)
}

//! Prometheus' HTTP API v1: one module per group of endpoints; shared here is how parameters are read and answers made.
//!
//! Source: Prometheus documentation, "HTTP API". Texts of errors are those clients know.

mod admin;
mod federate;
pub(crate) mod json;
mod metadata;
mod notifications;
mod read;
mod request;
mod rules;
mod search;
mod statistics;
mod status;
mod targets;
mod wire;

pub(crate) use admin::{clean_tombstones, delete_series, snapshot};
pub(crate) use federate::federate;
pub(crate) use metadata::{label_values, labels, metadata, series};
pub(crate) use notifications::{LISTENERS_MAX, live as notifications_live, notifications};
pub(crate) use read::{decode_request as decode_read_request, read};
pub(crate) use request::{format_query, parse_query, query, query_exemplars, query_range};
pub(crate) use rules::{alertmanagers, alerts, alerts_of, rules, rules_of};
pub(crate) use search::metric_names as search_metric_names;
pub(crate) use search::{label_names as search_label_names, label_values as search_label_values};
pub(crate) use status::{
    bare_build_info, blocks, build_info, config, features, flags, runtime_info, self_metrics, tsdb,
    wal_replay,
};
pub(crate) use targets::{
    relabel_steps, scrape_pool_config, scrape_pools, target_metadata, targets,
};

use ::query::promql;
use axum::response::Response;
use http::StatusCode;
use model::{Error, Matcher, Result, TimeRange};

use crate::error;
use crate::params::{Params, prometheus_time_ms};

/// Earliest and latest time that can be asked for, in Unix milliseconds.
const TIME_MS: std::ops::RangeInclusive<i64> = i64::MIN / 1_000_000..=i64::MAX / 1_000_000 - 1;

fn respond(answer: Result<String>) -> Response {
    match answer {
        Ok(body) => error::json(StatusCode::OK, body),
        Err(e) => error::prometheus(&e),
    }
}

/// `invalid parameter "name": why`.
fn parameter(name: &str, why: &str) -> Error {
    Error::invalid(format!("invalid parameter {name:?}: {why}"))
}

/// A parse error in Prometheus' words: `1:5: parse error: …`.
fn positioned(error: Error, text: &str) -> Error {
    let Some(span) = error.span() else { return error };
    if span == (0, 0) {
        return error.context("unknown position: parse error");
    }
    let (line, column) = promql::position(text, span.0);
    error.context(format!("{line}:{column}: parse error"))
}

/// A whole number of 0 or more; absent is 0, which means no limit.
fn limit(params: &Params) -> Result<usize> {
    let number = whole_number(params.get("limit")).map_err(|why| parameter("limit", &why))?;
    usize::try_from(number.unwrap_or(0))
        .map_err(|_| parameter("limit", "limit must be non-negative"))
}

/// A whole number, or the words of the parser that Prometheus uses.
fn whole_number(text: &str) -> std::result::Result<Option<i64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse::<i64>().map(Some).map_err(|e| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = match e.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing {text:?}: {why}")
    })
}

/// A truth value as Prometheus reads them; absent is `false`.
fn flag(params: &Params, name: &str) -> Result<bool> {
    match params.get(name) {
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        other => Err(parameter(
            name,
            &format!(
                "unable to parse boolean: strconv.ParseBool: parsing {other:?}: invalid syntax"
            ),
        )),
    }
}

fn timestamp(text: &str) -> std::result::Result<i64, String> {
    prometheus_time_ms(text).ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"))
}

/// An optional time, Unix milliseconds.
fn time(params: &Params, name: &str) -> Result<Option<i64>> {
    let parsed = params.non_empty(name).map(timestamp).transpose();
    parsed.map_err(|why| parameter(name, &format!("invalid time value for '{name}': {why}")))
}

fn required_time(params: &Params, name: &str) -> Result<i64> {
    timestamp(params.get(name)).map_err(|why| parameter(name, &why))
}

/// `start` and `end`, both inside; everything stored when absent.
fn time_range(params: &Params, reversed: &str) -> Result<TimeRange> {
    let start_ms = time(params, "start")?.unwrap_or(*TIME_MS.start());
    let end_ms = time(params, "end")?.unwrap_or(*TIME_MS.end());
    if end_ms < start_ms {
        return Err(Error::invalid(reversed));
    }
    Ok(TimeRange::from_ms_inclusive(start_ms, end_ms))
}

/// `time_range` in the words of the endpoints about series.
fn series_range(params: &Params) -> Result<TimeRange> {
    time_range(params, "invalid parameter \"end\": end timestamp must not be before start time")
}

/// The selectors of `match[]`.
fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>> {
    let all: Result<Vec<Vec<Matcher>>> = params
        .all("match[]")
        .map(|text| promql::parse_selector(text).map_err(|e| positioned(e, text)))
        .collect();
    all.map_err(|e| e.context("invalid parameter \"match[]\""))
}

//! What rows have besides stream labels, found by looking at some: detected labels and fields.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::Path;
use axum::response::Response;
use http::HeaderMap;
use model::{Error, ErrorKind, Labels, MatchOp, Result, TimeRange};
use query::logql::{self, DetectedField};
use serde_json::json;

use super::{bounds, encoding, parse_selector, positioned, respond, selector, streams, time};
use crate::params::Params;
use crate::tenants::Reader;

const HOUR_NS: i64 = 3_600_000_000_000;
/// Rows looked at, and fields returned, when nothing is said; and how many may be asked for.
const ROWS_DEFAULT: usize = 1000;
const FIELDS_DEFAULT: usize = 1000;
const FIELDS_MAX: usize = 10_000;
/// Rows before and after one, when nothing is said.
const CONTEXT_DEFAULT: usize = 10;

/// Labels worth choosing from: those of which some value is neither a number nor an id.
pub(crate) async fn labels(app: Reader, params: Params) -> Response {
    let answer = async {
        let selectors =
            if params.get("query").trim() == "{}" { Vec::new() } else { selector(&params)? };
        let streams = streams(&app, &params, selectors).await?;
        let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, value) in streams.iter().flat_map(|s| s.iter()) {
            values.entry(name).or_default().insert(value);
        }
        let labels: Vec<_> = values
            .into_iter()
            .filter(|(_, values)| values.iter().any(|v| !is_id(v)))
            .map(|(label, values)| json!({"label": label, "cardinality": values.len()}))
            .collect();
        Ok(json!({ "detectedLabels": labels }).to_string())
    };
    respond(answer.await)
}

/// Whether `value` is a number or a UUID.
fn is_id(value: &str) -> bool {
    let is_uuid = value.len() == 36
        && value.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
    is_uuid || value.parse::<f64>().is_ok()
}

pub(crate) async fn fields(app: Reader, params: Params) -> Response {
    let answer = async {
        let limit = limit(&params)?;
        let found = detect(&app, &params, limit).await?;
        let fields: Vec<_> = found
            .iter()
            .map(|field| {
                let mut shown = json!({
                    "label": field.name,
                    "type": field.kind.as_str(),
                    "cardinality": field.values.len(),
                    "parsers": if field.parsers.is_empty() { None } else { Some(&field.parsers) },
                });
                if !field.json_path.is_empty() {
                    shown["jsonPath"] = json!(field.json_path);
                }
                shown
            })
            .collect();
        Ok(json!({"fields": fields, "limit": limit}).to_string())
    };
    respond(answer.await)
}

pub(crate) async fn field_values(
    app: Reader,
    Path(name): Path<String>,
    params: Params,
) -> Response {
    let answer = async {
        // Here the limit is of values: which field it is stands in the path.
        let limit = limit(&params)?;
        let found = detect(&app, &params, FIELDS_MAX).await?;
        let values: Vec<&String> =
            found.iter().filter(|f| f.name == name).flat_map(|f| &f.values).take(limit).collect();
        Ok(json!({"values": values, "limit": limit}).to_string())
    };
    respond(answer.await)
}

/// Fields wanted at most, or values of one.
fn limit(params: &Params) -> Result<usize> {
    let limit = match params.count("limit")? {
        // What clients sent before `limit` had that name.
        None => params.count("field_limit")?.unwrap_or(FIELDS_DEFAULT),
        Some(limit) => limit,
    };
    if limit > FIELDS_MAX {
        return Err(Error::invalid(format!("limit is {limit}; the limit is {FIELDS_MAX}")));
    }
    Ok(limit)
}

async fn detect(app: &Reader, params: &Params, fields_max: usize) -> Result<Vec<DetectedField>> {
    let (start_ns, end_ns) = bounds(app, params, HOUR_NS)?;
    let rows_max = params.count("line_limit")?.unwrap_or(ROWS_DEFAULT);
    if rows_max > app.config.log_rows_max {
        return Err(Error::invalid(format!(
            "line_limit is {rows_max}; the limit is {}",
            app.config.log_rows_max
        )));
    }
    let (source, text) = (app.logs.clone(), params.get("query").to_owned());
    app.queries
        .run(None, move |budget| {
            let range = TimeRange::new(start_ns, end_ns);
            logql::detect_fields(source.as_ref(), &text, range, rows_max, fields_max, budget)
                .map_err(|e| positioned(e, &text))
        })
        .await
}

/// Whether `wanted` is among the streams that have its labels.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) with the labels that are missing.
fn is_stream(wanted: &Labels, found: &[Labels]) -> Result<()> {
    if found.contains(wanted) {
        return Ok(());
    }
    let why = match found {
        [] => format!("no stream has the labels {wanted}"),
        [first, ..] => {
            let missing = first.iter().filter(|(name, _)| wanted.get(name).is_none());
            let missing: Vec<&str> = missing.map(|(name, _)| name).collect();
            format!(
                "context is of one stream, whose labels must all be named; of {} streams with {wanted}, the first has {} \
                 besides",
                found.len(),
                missing.join(", ")
            )
        }
    };
    Err(Error::new(ErrorKind::NotFound, why))
}

/// Our own: rows before and after a moment of one stream, whose labels `query` names one by one.
pub(crate) async fn context(app: Reader, headers: HeaderMap, params: Params) -> Response {
    let encoding = encoding(&headers);
    let answer = async {
        let matchers = parse_selector(params.get("query"))?;
        if let Some(matcher) = matchers.iter().find(|m| m.op() != MatchOp::Equal) {
            return Err(Error::invalid(format!(
                "context is of one stream; {matcher} may select several"
            )));
        }
        let stream = Labels::from_pairs(matchers.iter().map(|m| (m.name(), m.value())));
        let t_ns = time(&params, "time")?.ok_or_else(|| Error::invalid("time not set"))?;
        let count = |name: &str| -> Result<usize> {
            let count = params.count(name)?.unwrap_or(CONTEXT_DEFAULT);
            let max = app.config.log_rows_max;
            if count > max {
                return Err(Error::invalid(format!("{name} is {count}; the limit is {max}")));
            }
            Ok(count)
        };
        // The row asked for is the first one behind.
        let counts = (count("before")?, count("after")? + 1);
        let (source, wanted) = (app.logs.clone(), stream.clone());
        let around = app
            .queries
            .run(None, move |budget| {
                logql::surroundings(source.as_ref(), &wanted, t_ns, counts, budget)
            })
            .await?;
        if around.before.is_empty() && around.after.is_empty() {
            let source = app.logs.clone();
            let always = TimeRange::new(i64::MIN, i64::MAX);
            let found =
                app.queries.run(None, move |budget| source.streams(&[matchers], always, budget));
            is_stream(&stream, &found.await?)?;
        }
        let rows = |rows: &[(i64, String)]| -> Vec<_> {
            rows.iter().map(|(t_ns, line)| json!([t_ns.to_string(), encoding.line(line)])).collect()
        };
        Ok(json!({"before": rows(&around.before), "after": rows(&around.after)}).to_string())
    };
    respond(answer.await)
}

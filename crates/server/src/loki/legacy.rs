//! The calls below `/api/prom`, as Loki's first clients know them: streams have their labels as text.

use std::fmt::Write as _;

use axum::extract::Path;
use axum::response::Response;
use model::{Error, Result};
use query::logql::{Stream, Value};
use serde_json::json;

use super::{evaluated, range_query, respond, selector, streams};
use crate::params::Params;
use crate::prometheus::json as prometheus;
use crate::tenants::Reader;

pub(crate) async fn query(app: Reader, params: Params) -> Response {
    respond(answer(&app, &params).await)
}

async fn answer(app: &Reader, params: &Params) -> Result<String> {
    let mut query = range_query(app, params, false)?;
    if let Some(regex) = params.non_empty("regexp") {
        let _infallible = write!(query.text, " |~ {}", json!(regex));
    }
    let (evaluated, took_ns) = evaluated(app, query).await?;
    let Value::Streams(streams) = &evaluated.value else {
        return Err(Error::invalid("legacy endpoints only support streams result type"));
    };
    let mut out = String::from("{\"streams\":");
    stream_list(&mut out, streams);
    let entries = streams.iter().map(|s| s.entries.len()).sum();
    let stats = super::json::statistics(evaluated.stats, entries, took_ns);
    let _infallible = write!(out, ",\"stats\":{stats}}}");
    Ok(out)
}

/// `[{"labels":"{…}","entries":[{"ts":"…","line":"…"},…]},…]`
pub(crate) fn stream_list(out: &mut String, streams: &[Stream]) {
    out.push('[');
    for (i, stream) in streams.iter().enumerate() {
        out.push_str(if i == 0 { "{\"labels\":" } else { ",{\"labels\":" });
        prometheus::string(out, &stream.labels.to_string());
        out.push_str(",\"entries\":[");
        for (j, entry) in stream.entries.iter().enumerate() {
            out.push_str(if j == 0 { "{\"ts\":\"" } else { ",{\"ts\":\"" });
            // Every i64 of nanoseconds is a time that can be written.
            if let Ok(time) = jiff::Timestamp::from_nanosecond(i128::from(entry.t_ns)) {
                let _infallible = write!(out, "{time}");
            }
            out.push_str("\",\"line\":");
            prometheus::string(out, &model::shown_text(&entry.line));
            out.push('}');
        }
        out.push_str("]}");
    }
    out.push(']');
}

pub(crate) async fn labels(app: Reader, params: Params) -> Response {
    let answer = async {
        let streams = streams(&app, &params, selector(&params)?).await?;
        let mut names: Vec<&str> =
            streams.iter().flat_map(|s| s.iter().map(|(name, _)| name)).collect();
        names.sort_unstable();
        names.dedup();
        Ok(json!({ "values": names }).to_string())
    };
    respond(answer.await)
}

pub(crate) async fn label_values(
    app: Reader,
    Path(name): Path<String>,
    params: Params,
) -> Response {
    let answer = async {
        let streams = streams(&app, &params, selector(&params)?).await?;
        let mut values: Vec<&str> = streams.iter().filter_map(|s| s.get(&name)).collect();
        values.sort_unstable();
        values.dedup();
        Ok(json!({ "values": values }).to_string())
    };
    respond(answer.await)
}

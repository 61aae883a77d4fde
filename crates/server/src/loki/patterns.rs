//! Patterns of lines and how often they came: as Loki answers, and with what is new about them.

use axum::response::Response;
use model::{Error, Result, TimeRange};
use query::logql::{self, Selection};
use serde_json::{Value, json};

use super::{HOUR_NS, bounds, parse_selector, positioned, respond, step};
use crate::params::{Params, duration_ms};
use crate::tenants::Reader;

/// Patterns are counted per so many nanoseconds at least.
const STEP_NS_MIN: i64 = 10_000_000_000;
/// How far back a pattern is looked for when nothing is said.
const LOOKBACK_NS: i64 = 24 * HOUR_NS;

/// Loki's: samples per step, by level.
pub(crate) async fn patterns(app: Reader, params: Params) -> Response {
    let answer = async {
        let (start_ns, end_ns) = bounds(&app, &params, HOUR_NS)?;
        let matchers = parse_selector(params.get("query"))?;
        let selection = Selection { matchers, line_filters: Vec::new(), label_filters: Vec::new() };
        let step_ns = step(&params, start_ns, end_ns)?.max(STEP_NS_MIN);
        let source = app.logs.clone();
        let counted = app
            .queries
            .run(None, move |budget| {
                let range = TimeRange::new(start_ns, end_ns);
                let source = source.as_ref();
                logql::count_patterns(source, &selection, range, (step_ns, true), budget)
            })
            .await?;
        // Lines without anything in them have none.
        let shown = counted.iter().filter(|counted| !counted.pattern.is_empty()).map(|counted| {
            let pattern = model::shown_text(&counted.pattern);
            json!({"pattern": pattern, "level": counted.level, "samples": samples(&counted.counts)})
        });
        Ok(json!({"status": "success", "data": shown.collect::<Vec<_>>()}).to_string())
    };
    respond(answer.await)
}

/// Our own: also when each was first and last seen, and whether it is new.
pub(crate) async fn history(app: Reader, params: Params) -> Response {
    let answer = async {
        let (start_ns, end_ns) = bounds(&app, &params, HOUR_NS)?;
        let text = params.get("query").to_owned();
        let selection = Selection::parse(&text).map_err(|e| positioned(e, &text))?;
        let step_ns = step(&params, start_ns, end_ns)?.max(STEP_NS_MIN);
        let lookback_ns = match params.non_empty("lookback") {
            None => LOOKBACK_NS,
            Some(text) => duration(text)?,
        };
        let only_new = match params.get("new") {
            "" | "false" => false,
            "true" => true,
            other => {
                return Err(Error::invalid(format!("new is {other:?}; it is true or false")));
            }
        };
        let source = app.logs.clone();
        let history = app
            .queries
            .run(None, move |budget| {
                let range = TimeRange::new(start_ns, end_ns);
                let source = source.as_ref();
                logql::pattern_history(source, &selection, range, step_ns, lookback_ns, budget)
            })
            .await?;
        let shown = history.iter().filter(|h| h.is_new || !only_new).map(|history| {
            let counts = &history.counts;
            json!({
                "pattern": model::shown_text(&counts.pattern),
                "count": counts.total(),
                "first_seen": counts.extent.0.to_string(),
                "last_seen": counts.extent.1.to_string(),
                "is_new": history.is_new,
                "samples": samples(&counts.counts),
            })
        });
        let answer = json!({
            "start": start_ns.to_string(),
            "end": end_ns.to_string(),
            "step_s": step_ns as f64 / 1e9,
            "lookback_s": lookback_ns as f64 / 1e9,
            "patterns": shown.collect::<Vec<_>>(),
        });
        Ok(answer.to_string())
    };
    respond(answer.await)
}

fn samples(counts: &[(i64, u64)]) -> Vec<Value> {
    counts.iter().map(|(t_ns, count)| json!([t_ns.div_euclid(1_000_000_000), count])).collect()
}

fn duration(text: &str) -> Result<i64> {
    let ns = duration_ms(text).filter(|ms| *ms >= 0).and_then(|ms| ms.checked_mul(1_000_000));
    ns.ok_or_else(|| Error::invalid(format!("lookback is {text:?}; it is a duration such as 24h")))
}

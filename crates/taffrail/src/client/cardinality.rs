//! `taffrail cardinality`.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Client, last, table, visible};
use crate::cli::{CardinalityArgs, Output};

/// Runs `taffrail cardinality`.
///
/// # Errors
/// When the server cannot be reached or refuses the selector.
pub async fn cardinality(args: &CardinalityArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::new(&args.client)?;
    let ([start, end], limit) = (last(&args.since)?, args.limit.to_string());
    let mut params = vec![("start", start.as_str()), ("end", &end), ("limit", &limit)];
    let selector = args.drop.as_deref().or(args.selector.as_deref());
    params.extend(selector.map(|selector| ("match[]", selector)));
    let path = match args.drop {
        Some(_) => "/api/taffrail/v1/cardinality/drop",
        None => "/api/taffrail/v1/cardinality",
    };
    let body = client.get(path, &params).await?;
    if args.client.output == Output::Json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    let answer: Value =
        serde_json::from_str(&body).context("the server's answer is not Taffrail's")?;
    match args.drop {
        Some(_) => print_drop(&answer, out),
        None => print_counts(&answer, out),
    }
}

fn text(of: &Value, key: &str) -> String {
    of[key].as_str().map_or_else(|| of[key].to_string(), str::to_owned)
}

fn print_counts(answer: &Value, out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "{} series of {} metrics, {:.1} new per hour",
        answer["series"],
        answer["metricCount"],
        answer["newPerHour"].as_f64().unwrap_or(0.0)
    )?;
    let store = &answer["store"];
    if let Some(per_sample) = store["bytesPerSample"].as_f64() {
        let mib = store["diskBytes"].as_f64().unwrap_or(0.0) / 1_048_576.0;
        writeln!(out, "{mib:.1} MiB on disk, {per_sample:.2} B per sample")?;
    }
    let rows = |key: &str, row: &dyn Fn(&Value) -> [String; 2]| -> Vec<[String; 2]> {
        answer[key].as_array().into_iter().flatten().map(row).collect()
    };
    writeln!(out)?;
    let metrics = rows("metrics", &|m| {
        let new = m["newPerHour"].as_f64().unwrap_or(0.0);
        [visible(&text(m, "name")), format!("{:<9} {new:.1}", text(m, "series"))]
    });
    table(out, ["METRIC", "SERIES    NEW/HOUR"], &metrics)?;
    writeln!(out)?;
    let labels = rows("labels", &|l| {
        let (values, series) = (text(l, "values"), text(l, "series"));
        [visible(&text(l, "name")), format!("{values:<9} {series:<9} {}", text(l, "bytes"))]
    });
    table(out, ["LABEL", "VALUES    SERIES    BYTES"], &labels)?;
    writeln!(out)?;
    let pairs = rows("pairs", &|p| {
        [visible(&format!("{}={:?}", text(p, "name"), text(p, "value"))), text(p, "series")]
    });
    table(out, ["PAIR", "SERIES"], &pairs)
}

fn print_drop(answer: &Value, out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "would drop {} of {} series, of {} metrics",
        answer["series"], answer["allSeries"], answer["metricCount"]
    )?;
    let rules: Vec<[String; 2]> = answer["rules"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|rule| {
            let name = format!("{} ({})", text(rule, "name"), text(rule, "reads"));
            let place = format!("{}, group {}", text(rule, "file"), text(rule, "group"));
            [visible(&name), place]
        })
        .collect();
    if rules.is_empty() {
        writeln!(out, "no rule of {} reads them", answer["ruleCount"])?;
    } else {
        writeln!(out)?;
        table(out, ["RULE THAT BREAKS", "WHERE"], &rules)?;
    }
    for problem in answer["problems"].as_array().into_iter().flatten() {
        writeln!(out, "not checked: {}", visible(problem.as_str().unwrap_or_default()))?;
    }
    if answer["dashboards"].is_null() {
        writeln!(out, "not checked: dashboards, which this release does not read yet")?;
    }
    Ok(())
}

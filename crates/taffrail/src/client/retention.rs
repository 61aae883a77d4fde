//! `taffrail retention`.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Client, table};
use crate::cli::{Output, RetentionArgs};
use crate::config::{self, Overrides};

/// Runs `taffrail retention`. `env` looks environment variables up.
///
/// # Errors
/// When the server cannot be reached, or the configuration file has a mistake.
pub async fn retention(
    args: &RetentionArgs,
    env: &dyn Fn(&str) -> Option<String>,
    out: &mut impl Write,
) -> Result<()> {
    let client = Client::new(&args.client)?;
    let (path, key, counted) = if args.traces {
        ("/api/taffrail/v1/traces/retention", "service", "services")
    } else {
        ("/api/taffrail/v1/logs/retention", "selector", "streams")
    };
    let mut params: Vec<(&str, String)> = Vec::new();
    if let Some(path) = &args.config {
        let overrides = Overrides { config: Some(path.clone()), ..Overrides::default() };
        let config = config::load(&overrides, env)?;
        let (default_ms, rules) = if args.traces {
            (config.traces.retention_ms, config.traces.retention_rules)
        } else {
            (config.logs.retention_ms, config.logs.retention_rules)
        };
        params.push(("default", format!("{default_ms}ms")));
        for (selector, rule) in rules {
            params.push((key, selector));
            params.push(("keep", format!("{}ms", rule.retention_ms)));
        }
    }
    let params: Vec<(&str, &str)> =
        params.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = client.get(path, &params).await?;
    if args.client.output == Output::Json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    let answer: Value =
        serde_json::from_str(&body).context("the server's answer is not Taffrail's")?;
    let mib = |value: &Value| format!("{:.1}", value.as_f64().unwrap_or(0.0) / 1_048_576.0);
    let rows: Vec<[String; 7]> = answer["classes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|class| {
            let keep_ms = class["keepMs"].as_u64().unwrap_or(0);
            [
                class[key].as_str().map_or_else(|| format!("all other {counted}"), str::to_owned),
                collect::scrape::format_duration(keep_ms),
                class[counted].to_string(),
                class["rows"].to_string(),
                mib(&class["diskBytes"]),
                class["goingRows"].to_string(),
                mib(&class["goingDiskBytes"]),
            ]
        })
        .collect();
    let (of, many, rows_of) = if args.traces {
        ("TRACES OF", "SERVICES", ["SPANS", "SPANS GOING"])
    } else {
        ("STREAMS OF", "STREAMS", ["ROWS", "ROWS GOING"])
    };
    table(out, [of, "KEEP", many, rows_of[0], "MIB", rows_of[1], "MIB GOING"], &rows)
}

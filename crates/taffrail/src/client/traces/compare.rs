//! `taffrail traces compare`: what is different about some traces.

use std::io::Write;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{Client, range, table, took};
use crate::cli::{CompareArgs, Output};

/// What of it is printed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    baseline: Side,
    selection: Side,
    attribute_count: usize,
    attributes: Vec<Share>,
    services: Vec<Service>,
    operation_count: usize,
    operations: Vec<Operation>,
    attributes_cut: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Side {
    traces: u64,
    limit_reached: bool,
    failed_traces: u64,
    median_ns: u64,
    max_ns: u64,
}

/// A figure of each set.
#[derive(Deserialize)]
struct Pair<T> {
    baseline: T,
    selection: T,
}

#[derive(Deserialize)]
struct Share {
    name: String,
    value: String,
    share: Pair<f64>,
    difference: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    service: Option<String>,
    errors: Pair<u64>,
    self_ns_per_trace: Pair<u64>,
    self_share: Pair<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    service: Option<String>,
    name: String,
    spans: Pair<u64>,
    duration_ns: Pair<Option<u64>>,
    self_ns_per_trace: Pair<u64>,
}

/// Runs `taffrail traces compare`.
///
/// # Errors
/// When the server cannot be reached or refuses a query; when there is nothing to compare.
pub async fn compare(args: &CompareArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::new(&args.client)?;
    let [start, end] = range(&args.since, args.from.as_deref(), args.to.as_deref())?;
    let (limit, traces) = (args.limit.to_string(), args.traces.to_string());
    let mut params =
        vec![("start", start.as_str()), ("end", &end), ("limit", &limit), ("traces", &traces)];
    match (args.queries.as_slice(), &args.slower) {
        ([query], Some(slower)) => params.extend([("q", query.as_str()), ("slower", slower)]),
        ([baseline, selection], None) => {
            params.extend([("baseline", baseline.as_str()), ("selection", selection.as_str())]);
            params.extend(args.baseline_from.as_deref().map(|from| ("baselineStart", from)));
            params.extend(args.baseline_to.as_deref().map(|to| ("baselineEnd", to)));
        }
        _ => bail!(
            "compare two queries, the usual traces and those to explain, or one with --slower"
        ),
    }
    let body = client.get("/api/taffrail/v1/traces/compare", &params).await?;
    if args.client.output == Output::Json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    let answer: Answer =
        serde_json::from_str(&body).context("the server's answer is no comparison")?;
    for (side, what) in [(&answer.baseline, "usual"), (&answer.selection, "to be explained")] {
        if side.traces == 0 {
            bail!("no trace in this time is found of those that are {what}");
        }
    }
    print(&answer, out)?;
    let mut notes = Vec::new();
    if answer.baseline.limit_reached || answer.selection.limit_reached {
        notes.push(format!("the newest {traces} traces of a set; --traces takes more"));
    }
    let hidden = answer.attribute_count.saturating_sub(answer.attributes.len())
        + answer.operation_count.saturating_sub(answer.operations.len());
    if hidden > 0 {
        notes.push(format!("{hidden} smaller differences; -n shows more"));
    }
    if !answer.attributes_cut.is_empty() {
        let names = answer.attributes_cut.join(", ");
        notes.push(format!("too many values to tell all apart: {names}"));
    }
    for note in notes {
        writeln!(std::io::stderr(), "note: {}", super::visible(&note))?;
    }
    Ok(())
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

/// `+1.2s`, `-30ms`.
fn change(of: &Pair<u64>) -> String {
    let sign = if of.selection < of.baseline { '-' } else { '+' };
    format!("{sign}{}", took(of.selection.abs_diff(of.baseline)))
}

fn print(answer: &Answer, out: &mut impl Write) -> Result<()> {
    let side = |name: &str, of: &Side| {
        [
            name.to_owned(),
            of.traces.to_string(),
            of.failed_traces.to_string(),
            took(of.median_ns),
            took(of.max_ns),
        ]
    };
    let sides = [side("usual", &answer.baseline), side("to explain", &answer.selection)];
    table(out, ["TRACES", "COUNT", "FAILED", "MEDIAN", "LONGEST"], &sides)?;
    writeln!(out)?;
    let name = |service: &Option<String>| service.clone().unwrap_or_else(|| "-".to_owned());
    let service = |of: &Service| {
        [
            change(&of.self_ns_per_trace),
            took(of.self_ns_per_trace.baseline),
            took(of.self_ns_per_trace.selection),
            percent(of.self_share.baseline),
            percent(of.self_share.selection),
            of.errors.baseline.to_string(),
            of.errors.selection.to_string(),
            name(&of.service),
        ]
    };
    let head = ["TIME", "USUAL", "NOW", "SHARE", "NOW", "ERRORS", "NOW", "SERVICE"];
    table(out, head, &answer.services.iter().map(service).collect::<Vec<_>>())?;
    writeln!(out)?;
    let each = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), took);
    let operation = |of: &Operation| {
        [
            change(&of.self_ns_per_trace),
            each(of.duration_ns.baseline),
            each(of.duration_ns.selection),
            of.spans.baseline.to_string(),
            of.spans.selection.to_string(),
            name(&of.service),
            of.name.clone(),
        ]
    };
    let head = ["TIME", "EACH", "NOW", "SPANS", "NOW", "SERVICE", "SPAN"];
    table(out, head, &answer.operations.iter().map(operation).collect::<Vec<_>>())?;
    writeln!(out)?;
    let share = |of: &Share| {
        [
            format!("{:+.0} %", of.difference * 100.0),
            percent(of.share.baseline),
            percent(of.share.selection),
            of.name.clone(),
            of.value.clone(),
        ]
    };
    let shares: Vec<_> = answer.attributes.iter().map(share).collect();
    table(out, ["TRACES", "USUAL", "NOW", "ATTRIBUTE", "VALUE"], &shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_three_tables() {
        let answer: Answer = serde_json::from_str(
            r#"{"baseline":{"traces":2,"limitReached":false,"spans":4,"failedTraces":0,"medianNs":20000000,"maxNs":20000000},
                "selection":{"traces":1,"limitReached":false,"spans":3,"failedTraces":1,"medianNs":60000000,"maxNs":60000000},
                "attributeCount":1,"attributes":[{"name":"span.a","value":"x","traces":{"baseline":1,"selection":1},"share":{"baseline":0.5,"selection":1},"difference":0.5}],
                "serviceCount":1,"services":[{"service":"bank","traces":{"baseline":2,"selection":1},"spans":{"baseline":2,"selection":1},"errors":{"baseline":0,"selection":1},
                  "selfNsPerTrace":{"baseline":10000000,"selection":50000000},"selfShare":{"baseline":0.5,"selection":0.8333}}],
                "operationCount":1,"operations":[{"service":null,"name":"pay","traces":{"baseline":0,"selection":1},"spans":{"baseline":0,"selection":1},"errors":{"baseline":0,"selection":0},
                  "durationNs":{"baseline":null,"selection":5000000},"selfNsPerTrace":{"baseline":5000000,"selection":0}}],
                "attributesCut":[]}"#,
        )
        .unwrap();
        let mut out = Vec::new();
        print(&answer, &mut out).unwrap();
        let expected = "\
TRACES      COUNT  FAILED  MEDIAN  LONGEST
usual       2      0       20ms    20ms
to explain  1      1       60ms    60ms

TIME   USUAL  NOW   SHARE  NOW   ERRORS  NOW  SERVICE
+40ms  10ms   50ms  50 %   83 %  0       1    bank

TIME  EACH  NOW  SPANS  NOW  SERVICE  SPAN
-5ms  -     5ms  0      1    -        pay

TRACES  USUAL  NOW    ATTRIBUTE  VALUE
+50 %   50 %   100 %  span.a     x
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

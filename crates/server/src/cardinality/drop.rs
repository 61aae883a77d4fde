//! What dropping series would break: the rules that read them, and the rules that read those rules' results.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::query::promql;
use axum::extract::State;
use axum::response::Response;
use model::{Budget, Error, Labels, METRIC_NAME, MatchOp, Matcher, Result, TimeRange};
use serde_json::{Value, json};

use super::{Counts, ROWS, answered, range, selectors, top};
use crate::App;
use crate::operations::{Readers, RuleReader};
use crate::params::Params;

pub(crate) async fn drop(State(app): State<Arc<App>>, params: Params) -> Response {
    answered(answer(&app, &params).await)
}

async fn answer(app: &Arc<App>, params: &Params) -> Result<Value> {
    let (start_ms, end_ms) = range(app, params)?;
    let dropped = selectors(params)?;
    if dropped.is_empty() {
        return Err(Error::invalid("no match[] parameter provided"));
    }
    let (source, readers) = (app.metrics.clone(), app.host.readers());
    let work = move |budget: &Budget| {
        let range = TimeRange::from_ms_inclusive(start_ms, end_ms);
        let series = source.series(&dropped, range, budget)?;
        let all = source.series(&[], range, budget)?.len();
        let counts = Counts::of(&series);
        let metrics: Vec<Value> = top(counts.metrics.iter().map(|(n, c)| (*n, *c)), ROWS)
            .into_iter()
            .map(|(name, series)| json!({"name": name, "series": series}))
            .collect();
        let (broken, problems) = broken(&readers, &dropped, &series);
        Ok(json!({
            "startMs": start_ms,
            "endMs": end_ms,
            "series": series.len(),
            "allSeries": all,
            "metricCount": counts.metrics.len(),
            "metrics": metrics,
            "rules": broken,
            "ruleCount": readers.rules.len(),
            "problems": problems,
            // Dashboards are not part of this release: nothing is known about them, which is not the same as none.
            "dashboards": Value::Null,
        }))
    };
    app.queries.run(None, work).await
}

/// Rules that would lose input, in their order, and what could not be told.
fn broken(
    readers: &Readers,
    dropped: &[Vec<Matcher>],
    series: &[Labels],
) -> (Vec<Value>, Vec<String>) {
    let mut problems = readers.problems.clone();
    let parsed: Vec<(&RuleReader, Vec<Vec<Matcher>>)> = readers
        .rules
        .iter()
        .filter_map(|rule| match promql::parse(&rule.expression) {
            Ok(expr) => {
                Some((rule, promql::selectors(&expr).into_iter().map(<[_]>::to_vec).collect()))
            }
            Err(e) => {
                problems.push(format!("{}: group {}: {}: {e}", rule.file, rule.group, rule.name));
                None
            }
        })
        .collect();
    let mut hits: Vec<Option<&'static str>> = parsed
        .iter()
        .map(|(_, selectors)| {
            let hit = selectors.iter().any(|selector| reads(selector, dropped, series));
            hit.then_some("direct")
        })
        .collect();
    // Until nothing changes: whoever reads what a broken rule records is broken, too.
    loop {
        let recorded: BTreeSet<&str> = parsed
            .iter()
            .zip(&hits)
            .filter(|((rule, _), hit)| hit.is_some() && rule.kind == "recording")
            .map(|((rule, _), _)| rule.name.as_str())
            .collect();
        let mut changed = false;
        for ((_, selectors), hit) in parsed.iter().zip(&mut hits) {
            if hit.is_none() && selectors.iter().any(|s| names_one_of(s, &recorded)) {
                *hit = Some("through a recording rule");
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let broken = parsed
        .iter()
        .zip(&hits)
        .filter_map(|((rule, _), hit)| {
            let reads = (*hit)?;
            Some(json!({
                "file": rule.file, "group": rule.group, "name": rule.name, "type": rule.kind,
                "expression": rule.expression, "reads": reads,
            }))
        })
        .collect();
    (broken, problems)
}

/// Whether `selector` matches one of the dropped series, or names a metric that a drop names while it has no series now.
fn reads(selector: &[Matcher], dropped: &[Vec<Matcher>], series: &[Labels]) -> bool {
    if series.iter().any(|labels| selector.iter().all(|m| m.matches_labels(labels))) {
        return true;
    }
    let name = |matchers: &[Matcher]| {
        matchers
            .iter()
            .find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal)
            .map(|m| m.value().to_owned())
    };
    let has_series = |name: &str| series.iter().any(|labels| labels.metric_name() == name);
    name(selector).is_some_and(|name_of_rule| {
        !has_series(&name_of_rule)
            && dropped.iter().any(|matchers| name(matchers).as_ref() == Some(&name_of_rule))
    })
}

fn names_one_of(selector: &[Matcher], names: &BTreeSet<&str>) -> bool {
    let of_name: Vec<&Matcher> = selector.iter().filter(|m| m.name() == METRIC_NAME).collect();
    !of_name.is_empty() && names.iter().any(|name| of_name.iter().all(|m| m.matches(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_break_directly_and_through_each_other() {
        let rule = |name: &str, kind, expression: &str| RuleReader {
            file: "r.yml".into(),
            group: "g".into(),
            name: name.into(),
            kind,
            expression: expression.into(),
        };
        let readers = Readers {
            rules: vec![
                rule("Slow", "alerting", "job:lat:rate5m > 1"),
                rule("job:lat:rate5m", "recording", "sum by (job) (rate(lat_sum{job=\"a\"}[5m]))"),
                rule("Other", "alerting", "rate(lat_sum{job=\"b\"}[5m]) > 1"),
                rule("Gone", "alerting", "absent(nothing)"),
                rule("Broken", "alerting", "sum("),
            ],
            problems: vec![],
        };
        let check = |drop: &str, expected: &[(&str, &str)]| {
            let dropped = vec![promql::parse_selector(drop).unwrap()];
            let all = [
                Labels::from_pairs([("__name__", "lat_sum"), ("job", "a")]),
                Labels::from_pairs([("__name__", "lat_sum"), ("job", "c")]),
            ];
            let series: Vec<Labels> = all
                .into_iter()
                .filter(|l| dropped[0].iter().all(|m| m.matches_labels(l)))
                .collect();
            let (broken, problems) = broken(&readers, &dropped, &series);
            let got: Vec<(&str, &str)> = broken
                .iter()
                .map(|r| (r["name"].as_str().unwrap(), r["reads"].as_str().unwrap()))
                .collect();
            assert_eq!(got, expected, "{drop}");
            assert_eq!(problems.len(), 1);
        };
        check("lat_sum", &[("Slow", "through a recording rule"), ("job:lat:rate5m", "direct")]);
        check("lat_sum{job=\"c\"}", &[]);
        check("nothing", &[("Gone", "direct")]);
    }
}

//! `traces.sampling:` of `taffrail.yml`: which spans and traces are kept when not all are.

use serde::Deserialize;

use super::Mistakes;
use crate::sampling::{Amount, HeadRule, Sampling, TailRule};
use crate::yaml::ConfigError;

/// `traces.sampling:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSampling {
    /// Spans that are dropped as they come; the first rule that is about their service counts. At most 32.
    pub head: Option<Vec<RawHeadRule>>,
    /// Traces that are dropped once they are whole; the first rule whose query finds the trace counts. At most 32.
    pub tail: Option<Vec<RawTailRule>>,
    /// How long after its first span a trace is decided about: `30s`. Default: 30s.
    pub decision_wait: Option<String>,
    /// Decisions that spans which come later follow; the oldest are forgotten first. Default: 262144.
    pub decision_cache: Option<usize>,
}

/// An entry of `traces.sampling.head`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawHeadRule {
    /// What figures call it.
    pub name: String,
    /// Services it is about: a regular expression of the whole name. Default: all.
    pub service: Option<String>,
    /// Share of the traces that is kept, by their ids: 0 to 100. Default: 100.
    pub sampling_percentage: Option<f64>,
    /// Spans of each service that are kept in a second at most. Default: no limit.
    pub spans_per_second: Option<u32>,
}

/// An entry of `traces.sampling.tail`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTailRule {
    /// What figures call it.
    pub name: String,
    /// Traces it is about, in TraceQL: `{ status = error }`. Default: all.
    pub query: Option<String>,
    /// Share of these traces that is kept, by their ids: 0 to 100. Default: 100.
    pub sampling_percentage: Option<f64>,
    /// Spans of these traces that are kept per second of their starts, for each service that begins traces. Default: no limit.
    pub spans_per_second: Option<u32>,
}

// What follows is what is meant.

const RULES_MAX: usize = 32;
const DECISIONS_MAX: usize = 10_000_000;

/// `None` when everything is kept.
pub(super) fn check(
    raw: RawSampling,
    mistakes: &Mistakes<'_>,
) -> Result<Option<Sampling>, ConfigError> {
    let standard = Sampling::default();
    let wait_ms = match &raw.decision_wait {
        Some(text) => mistakes.duration("traces.sampling.decision_wait", text, 1_000, 3_600_000)?,
        None => standard.wait_ms,
    };
    let decisions_max = raw.decision_cache.unwrap_or(standard.decisions_max);
    if !(1..=DECISIONS_MAX).contains(&decisions_max) {
        let key = "traces.sampling.decision_cache";
        let message = format!("{key}: {decisions_max} is not between 1 and {DECISIONS_MAX}");
        return Err(mistakes.error(key, message));
    }
    let (raw_head, raw_tail) = (raw.head.unwrap_or_default(), raw.tail.unwrap_or_default());
    let of = |name: &str, is_about_all| (name.to_owned(), is_about_all);
    let names: Vec<_> = raw_head.iter().map(|r| of(&r.name, r.service.is_none())).collect();
    check_order("traces.sampling.head", &names, mistakes)?;
    let names: Vec<_> = raw_tail.iter().map(|r| of(&r.name, r.query.is_none())).collect();
    check_order("traces.sampling.tail", &names, mistakes)?;
    let mut head = Vec::new();
    for (index, rule) in raw_head.into_iter().enumerate() {
        let place = format!("traces.sampling.head.{index}");
        let service = rule.service.map(|pattern| {
            model::anchored_regex(&pattern).map_err(|e| {
                let message = format!("traces.sampling.head: {:?}: {}", rule.name, e.message());
                mistakes.error(&format!("{place}.service"), message)
            })
        });
        let amount = amount(&place, rule.sampling_percentage, rule.spans_per_second, mistakes)?;
        head.push(HeadRule { name: rule.name, service: service.transpose()?, amount });
    }
    let mut tail = Vec::new();
    for (index, rule) in raw_tail.into_iter().enumerate() {
        let place = format!("traces.sampling.tail.{index}");
        let query = rule.query.map(|query| {
            query::traceql::Selector::parse(&query).map_err(|e| {
                let message = format!("traces.sampling.tail: {:?}: {}", rule.name, e.message());
                mistakes.error(&format!("{place}.query"), message)
            })
        });
        let amount = amount(&place, rule.sampling_percentage, rule.spans_per_second, mistakes)?;
        tail.push(TailRule { name: rule.name, query: query.transpose()?, amount });
    }
    let is_needed = !(head.is_empty() && tail.is_empty());
    Ok(is_needed.then_some(Sampling { head, tail, wait_ms, decisions_max }))
}

/// Names and how many there are; `rules` also says which rules are about everything.
fn check_order(
    key: &str,
    rules: &[(String, bool)],
    mistakes: &Mistakes<'_>,
) -> Result<(), ConfigError> {
    if rules.len() > RULES_MAX {
        let message = format!("{key}: {} rules; at most {RULES_MAX}", rules.len());
        return Err(mistakes.error(key, message));
    }
    for (index, (name, is_about_all)) in rules.iter().enumerate() {
        let error = |field: &str, why: &str| {
            mistakes.error(&format!("{key}.{index}{field}"), format!("{key}: {name:?}: {why}"))
        };
        if name.is_empty() {
            return Err(error(".name", "a rule needs a name"));
        }
        if rules[..index].iter().any(|(other, _)| other == name) {
            return Err(error(".name", "another rule has this name"));
        }
        if *is_about_all && index + 1 < rules.len() {
            return Err(error(
                ".name",
                "it is about everything, so no rule behind it is ever asked",
            ));
        }
    }
    Ok(())
}

fn amount(
    place: &str,
    percentage: Option<f64>,
    spans_per_second: Option<u32>,
    mistakes: &Mistakes<'_>,
) -> Result<Amount, ConfigError> {
    let percentage = percentage.unwrap_or(100.0);
    if !(0.0..=100.0).contains(&percentage) {
        let key = format!("{place}.sampling_percentage");
        let message = format!("{key}: {percentage} is not between 0 and 100");
        return Err(mistakes.error(&key, message));
    }
    if spans_per_second == Some(0) {
        let key = format!("{place}.spans_per_second");
        let message = format!("{key}: it must be 1 or more; sampling_percentage: 0 keeps nothing");
        return Err(mistakes.error(&key, message));
    }
    Ok(Amount { percentage, spans_per_second })
}

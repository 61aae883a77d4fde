//! Searches for traces as all versions of Jaeger's API make them: what is asked of one span, and the newest traces that
//! have one.
//!
//! A tag is what Jaeger shows as one: attributes of the span, its resource, scope, events and links, by name and by the
//! value as text, and what it makes tags of (`span.kind`, `error`, `otel.status_code`, …). Values with the signs of patterns
//! are patterns, too, as in Jaeger over Elasticsearch.

use std::ops::ControlFlow;

use ingest::jaeger::answer::kind_name;
use model::{
    AttributeScope, AttributeValue, Attributes, Budget, Error, Resource, Result, Scope, Span,
    SpanCondition, SpanField, SpanKind, SpanStatus, TimeRange, Trace, TracePlan, ValueTest,
};
use regex::Regex;

use super::go::{duration_ns, parse_error, parse_int};
use super::trace_id;
use crate::params::Params;
use crate::tenants::Reader;

/// Traces of one answer unless it is asked for more.
pub(super) const LIMIT_DEFAULT: usize = 100;
/// How far back a search looks that does not say from when on.
const LOOKBACK_NS: i64 = 2 * 24 * 3_600 * 1_000_000_000;
/// What makes a value of a tag a pattern.
const PATTERN_SIGNS: [char; 11] = ['*', '+', '?', '|', '[', ']', '(', ')', '{', '}', '\\'];

/// What one span of a trace must be. The default is any span of all time.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) range: TimeRange,
    pub(super) service: Option<String>,
    pub(super) operation: Option<String>,
    pub(super) tags: Vec<Tag>,
    pub(super) duration_ns_min: Option<u64>,
    pub(super) duration_ns_max: Option<u64>,
    /// Traces wanted at most.
    pub(super) limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            range: TimeRange::ALL,
            service: None,
            operation: None,
            tags: Vec::new(),
            duration_ns_min: None,
            duration_ns_max: None,
            limit: LIMIT_DEFAULT,
        }
    }
}

/// What `/api/traces` is asked for.
pub(super) enum Asked {
    Search(Query),
    Ids(Vec<u128>),
}

/// The parameters of version 1.
///
/// # Errors
/// In Jaeger's words.
pub(super) fn asked(params: &Params, now_ns: i64) -> Result<Asked> {
    let us = |name: &str| {
        let text = params.non_empty(name);
        text.map(|text| parse_int(text).map_err(|e| parse_error(name, &e))).transpose()
    };
    let start_ns = us("start")?.map(|us| us.saturating_mul(1_000));
    // The end is inside.
    let end_ns = us("end")?.map(|us| us.saturating_mul(1_000).saturating_add(1));
    let range = TimeRange::new(
        start_ns.unwrap_or_else(|| now_ns.saturating_sub(LOOKBACK_NS)),
        end_ns.unwrap_or(now_ns),
    );
    let mut tags = Vec::new();
    for tag in params.all("tag") {
        let Some((name, value)) = tag.split_once(':') else {
            return Err(Error::invalid(format!(
                "malformed 'tag' parameter, expecting key:value, received: {tag}"
            )));
        };
        set(&mut tags, name, value);
    }
    for json in params.all("tags") {
        let pairs = json_tags(json).map_err(|why| {
            Error::invalid(format!("malformed 'tags' parameter, cannot unmarshal JSON: {why}"))
        })?;
        pairs.iter().for_each(|(name, value)| set(&mut tags, name, value));
    }
    let limit = match params.non_empty("limit") {
        None => LIMIT_DEFAULT,
        Some(text) => limit(
            parse_int(text)
                .and_then(|limit| {
                    let fits = i32::try_from(limit).is_ok();
                    let why = || format!("strconv.ParseInt: parsing {text:?}: value out of range");
                    if fits { Ok(limit) } else { Err(why()) }
                })
                .map_err(Error::invalid)?,
        )?,
    };
    let duration = |name: &str| {
        let text = params.non_empty(name);
        text.map(|text| duration_ns(text).map_err(|e| parse_error(name, &e))).transpose()
    };
    let (duration_ns_min, duration_ns_max) = (duration("minDuration")?, duration("maxDuration")?);
    let mut ids = Vec::new();
    for text in params.all("traceID") {
        let id = trace_id(text);
        ids.push(id.map_err(|e| e.context("cannot parse traceID param"))?);
    }
    let service = params.non_empty("service").map(str::to_owned);
    if ids.is_empty() && service.is_none() {
        return Err(Error::invalid("parameter 'service' is required"));
    }
    let (duration_ns_min, duration_ns_max) = durations(duration_ns_min, duration_ns_max)?;
    if !ids.is_empty() {
        return Ok(Asked::Ids(ids));
    }
    let operation = params.non_empty("operation").map(str::to_owned);
    let tags = tags.iter().map(|(name, value)| Tag::new(name, value)).collect();
    Ok(Asked::Search(Query {
        range,
        service,
        operation,
        tags,
        duration_ns_min,
        duration_ns_max,
        limit,
    }))
}

/// Bounds of durations, 0 being none.
///
/// # Errors
/// When the upper one is below the other.
pub(super) fn durations(
    min_ns: Option<i64>,
    max_ns: Option<i64>,
) -> Result<(Option<u64>, Option<u64>)> {
    let bound = |ns: Option<i64>| ns.filter(|ns| *ns != 0);
    let (min_ns, max_ns) = (bound(min_ns), bound(max_ns));
    if let (Some(min), Some(max)) = (min_ns, max_ns)
        && max < min
    {
        return Err(Error::invalid("'maxDuration' should be greater than 'minDuration'"));
    }
    let positive = |ns: i64| u64::try_from(ns).unwrap_or(0);
    Ok((min_ns.map(positive), max_ns.map(positive)))
}

/// Traces wanted, 0 being the default.
///
/// # Errors
/// When there are fewer than none.
pub(super) fn limit(asked: i64) -> Result<usize> {
    match usize::try_from(asked) {
        Ok(0) => Ok(LIMIT_DEFAULT),
        Ok(limit) => Ok(limit),
        Err(_) => Err(Error::invalid(format!("limit {asked} is below 0"))),
    }
}

/// The latter of two tags of one name counts.
fn set(tags: &mut Vec<(String, String)>, name: &str, value: &str) {
    tags.retain(|(known, _)| known != name);
    tags.push((name.to_owned(), value.to_owned()));
}

/// An object of texts. The words of a mistake are Go's where it is one of types.
pub(super) fn json_tags(json: &str) -> Result<Vec<(String, String)>, String> {
    let value: serde_json::Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let kind = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "bool",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(_) => "array",
        serde_json::Value::Object(_) => "object",
    };
    let wrong = |value: &serde_json::Value, wanted: &str| {
        format!("json: cannot unmarshal {} into Go value of type {wanted}", kind(value))
    };
    let pairs = match &value {
        serde_json::Value::Null => return Ok(Vec::new()),
        serde_json::Value::Object(pairs) => pairs,
        other => return Err(wrong(other, "map[string]string")),
    };
    let mut tags = Vec::new();
    for (name, value) in pairs {
        match value {
            serde_json::Value::Null => tags.push((name.clone(), String::new())),
            serde_json::Value::String(text) => tags.push((name.clone(), text.clone())),
            other => return Err(wrong(other, "string")),
        }
    }
    Ok(tags)
}

/// A tag that a span must have.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    name: String,
    value: Wanted,
}

#[derive(Debug, Clone)]
struct Wanted {
    text: String,
    pattern: Option<Regex>,
}

impl Wanted {
    fn is(&self, text: &str) -> bool {
        text == self.text || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }

    fn is_value(&self, value: &AttributeValue) -> bool {
        match value {
            AttributeValue::String(text) => self.is(text),
            other => self.is(&other.to_string()),
        }
    }

    /// The test, with what is known of it beforehand.
    fn known(&self, test: ValueTest) -> ValueTest {
        if self.pattern.is_some() {
            return test;
        }
        let test = test.with_text(&self.text);
        // A number has one text only.
        let number = self.text.parse().ok().filter(|number: &i64| number.to_string() == self.text);
        match number {
            Some(number) => test.with_ints(number..=number),
            None => test.without_ints(),
        }
    }
}

impl Tag {
    pub(super) fn new(name: &str, value: &str) -> Self {
        let is_pattern = value.contains(PATTERN_SIGNS);
        // What is no pattern is a text.
        let pattern = is_pattern.then(|| model::anchored_regex(value).ok()).flatten();
        Self { name: name.to_owned(), value: Wanted { text: value.to_owned(), pattern } }
    }

    /// Whether a span has it.
    fn is_on(&self, resource: &Resource, scope: &Scope, span: &Span) -> bool {
        let has = |attributes: &Attributes, wanted: &str| {
            let mut all = attributes.iter();
            all.any(|(name, value)| **name == *wanted && self.value.is_value(value))
        };
        let name = self.name.as_str();
        let lists = [&span.attributes, &resource.attributes, &scope.attributes].into_iter();
        let events = span.events.iter().map(|event| &event.attributes);
        let links = span.links.iter().map(|link| &link.attributes);
        lists.chain(events).chain(links).any(|attributes| has(attributes, name))
            || match name {
                "span.kind" => is_named(span.kind, |kind| self.value.is(kind)),
                "error" => self.is_status_error(span.status),
                "otel.status_code" => status_name(span.status).is_some_and(|s| self.value.is(s)),
                "otel.status_description" => {
                    !span.status_message.is_empty() && self.value.is(&span.status_message)
                }
                "otel.scope.name" | "otel.library.name" => self.value.is(&scope.name),
                "otel.scope.version" | "otel.library.version" => self.value.is(&scope.version),
                "w3c.tracestate" => {
                    !span.trace_state.is_empty() && self.value.is(&span.trace_state)
                }
                "event" => span.events.iter().any(|event| self.value.is(&event.name)),
                _ => {
                    let of_scope = name.strip_prefix("otel.scope.");
                    of_scope.is_some_and(|name| has(&scope.attributes, name))
                }
            }
    }

    /// Spans that failed have the tag `error`; others are found by `error=false`.
    fn is_status_error(&self, status: SpanStatus) -> bool {
        self.value.text == if status == SpanStatus::Error { "true" } else { "false" }
    }

    /// What a source may decide of it.
    fn condition(&self) -> SpanCondition {
        let of = |field: SpanField| {
            let wanted = self.value.clone();
            let test = ValueTest::new(move |value| wanted.is_value(value));
            SpanCondition::Test(field, self.value.known(test))
        };
        let mut any: Vec<SpanCondition> = AttributeScope::ALL
            .into_iter()
            .map(|scope| of(SpanField::Attribute(scope, self.name.clone())))
            .collect();
        match self.name.as_str() {
            "span.kind" => {
                let wanted = self.value.clone();
                let holds = move |value: &AttributeValue| {
                    let kind = number_of(value).and_then(|n| SpanKind::ALL.get(n));
                    kind.is_some_and(|kind| is_named(*kind, |name| wanted.is(name)))
                };
                any.push(SpanCondition::Test(SpanField::Kind, ValueTest::new(holds)));
            }
            "error" | "otel.status_code" => {
                let tag = self.clone();
                let holds = ValueTest::new(move |value| {
                    let status = number_of(value).and_then(|n| SpanStatus::ALL.get(n)).copied();
                    status.is_some_and(|status| match tag.name.as_str() {
                        "error" => tag.is_status_error(status),
                        _ => status_name(status).is_some_and(|name| tag.value.is(name)),
                    })
                });
                any.push(SpanCondition::Test(SpanField::Status, holds));
            }
            "otel.scope.name"
            | "otel.library.name"
            | "otel.scope.version"
            | "otel.library.version"
            | "otel.status_description"
            | "w3c.tracestate"
            | "event" => {
                return SpanCondition::Always;
            }
            name => {
                if let Some(name) = name.strip_prefix("otel.scope.") {
                    let scope = AttributeScope::Instrumentation;
                    any.push(of(SpanField::Attribute(scope, name.to_owned())));
                }
            }
        }
        SpanCondition::Any(any)
    }
}

fn is_named(kind: SpanKind, is: impl Fn(&str) -> bool) -> bool {
    kind != SpanKind::Unspecified && is(kind_name(kind))
}

fn status_name(status: SpanStatus) -> Option<&'static str> {
    match status {
        SpanStatus::Unset => None,
        SpanStatus::Ok => Some("OK"),
        SpanStatus::Error => Some("ERROR"),
    }
}

fn number_of(value: &AttributeValue) -> Option<usize> {
    match value {
        AttributeValue::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

impl Query {
    /// Whether a span is one that is looked for.
    fn is_satisfied(&self, resource: &Resource, scope: &Scope, span: &Span) -> bool {
        self.range.contains(span.start_ns)
            && self.service.as_deref().is_none_or(|service| resource.service() == Some(service))
            && self.operation.as_deref().is_none_or(|name| *span.name == *name)
            && self.duration_ns_min.is_none_or(|min| span.duration_ns() >= min)
            && self.duration_ns_max.is_none_or(|max| span.duration_ns() <= max)
            && self.tags.iter().all(|tag| tag.is_on(resource, scope, span))
    }

    fn plan(&self) -> TracePlan {
        let text = |field: SpanField, wanted: &String| {
            let own = wanted.clone();
            let test = ValueTest::new(
                move |value| matches!(value, AttributeValue::String(text) if *text == own),
            );
            SpanCondition::Test(field, test.with_text(wanted))
        };
        let mut all = Vec::new();
        all.extend(self.service.as_ref().map(|service| text(SpanField::Service, service)));
        all.extend(self.operation.as_ref().map(|name| text(SpanField::Name, name)));
        if self.duration_ns_min.is_some() || self.duration_ns_max.is_some() {
            let ns_min = self.duration_ns_min.unwrap_or(0);
            let ns_max = self.duration_ns_max.unwrap_or(u64::MAX);
            let int = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
            let ints = int(ns_min)..=int(ns_max);
            let own = ints.clone();
            let test = ValueTest::new(
                move |value| matches!(value, AttributeValue::Int(ns) if own.contains(ns)),
            );
            all.push(SpanCondition::Test(SpanField::Duration { ns_min }, test.with_ints(ints)));
        }
        all.extend(self.tags.iter().map(Tag::condition));
        TracePlan {
            range: self.range,
            conditions: vec![SpanCondition::All(all)],
            is_whole: true,
            attributes: None,
            details: true,
        }
    }
}

/// What `finish` makes of the newest traces with a span that `query` asks for, whole. Where it `may_leave_out` those that
/// are too large, `finish` tells of them.
///
/// # Errors
/// As the source's, and those of `finish`.
pub(super) async fn find<T: Send + 'static>(
    app: &Reader,
    query: Query,
    may_leave_out: bool,
    finish: impl FnOnce(Vec<Trace>, &Budget) -> Result<T> + Send + 'static,
) -> Result<T> {
    let source = app.traces.clone();
    let work = move |budget: &Budget| {
        if may_leave_out {
            budget.allow_leaving_out();
        }
        let mut found: Vec<Trace> = Vec::new();
        let mut outcome = Ok(());
        source.scan(&query.plan(), budget, &mut |trace| {
            let is_wanted = trace.groups.iter().any(|group| {
                let mut spans = group.spans.iter();
                spans.any(|span| query.is_satisfied(&group.resource, &group.scope, span))
            });
            if is_wanted {
                let bytes = trace.memory_bytes() as u64;
                match budget.charge_bytes(bytes) {
                    Ok(()) => found.push(trace.clone()),
                    Err(e) => {
                        budget.release_bytes(bytes);
                        outcome = budget.leave_out(trace.trace_id, e);
                    }
                }
            }
            match outcome.is_err() || found.len() >= query.limit {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        outcome.and_then(|()| finish(found, budget))
    };
    app.queries.run(None, work).await
}

/// What `finish` makes of the traces of the ids, and of those ids that have none.
///
/// # Errors
/// As the source's, and those of `finish`.
pub(super) async fn by_ids<T: Send + 'static>(
    app: &Reader,
    ids: Vec<u128>,
    finish: impl FnOnce(Vec<Trace>, &[u128], &Budget) -> Result<T> + Send + 'static,
) -> Result<T> {
    let source = app.traces.clone();
    let work = move |budget: &Budget| {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for id in ids {
            match source.trace(id, budget)? {
                None => missing.push(id),
                Some(trace) => found.push(trace),
            }
        }
        finish(found, &missing, budget)
    };
    app.queries.run(None, work).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const NOW_NS: i64 = 1_700_000_000_000_000_000;

    fn query(text: &str) -> Result<Query, String> {
        match asked(&Params::from_query(text), NOW_NS) {
            Ok(Asked::Search(query)) => Ok(query),
            Ok(Asked::Ids(ids)) => Err(format!("{ids:?}")),
            Err(e) => Err(e.message().to_owned()),
        }
    }

    #[test]
    fn parameters_are_those_of_jaeger() {
        let found = query("service=a&start=1000&end=2000&limit=7&minDuration=1.5ms&maxDuration=2s");
        let found = found.unwrap();
        assert_eq!(found.range, TimeRange::new(1_000_000, 2_000_001));
        assert_eq!((found.limit, found.service.as_deref()), (7, Some("a")));
        let bounds = (found.duration_ns_min, found.duration_ns_max);
        assert_eq!(bounds, (Some(1_500_000), Some(2_000_000_000)));
        let found = query("service=a&tag=x:y:z&tag=x:w&tags=%7B%22n%22%3A%221%22%7D").unwrap();
        let tags = found.tags.iter().map(|tag| (&*tag.name, &*tag.value.text));
        assert_eq!(tags.collect::<Vec<_>>(), [("x", "w"), ("n", "1")]);
        assert_eq!(found.range, TimeRange::new(NOW_NS - LOOKBACK_NS, NOW_NS));
        assert_eq!((found.limit, found.duration_ns_min), (LIMIT_DEFAULT, None));
    }

    #[test]
    fn mistakes_have_jaegers_words() {
        let check = |text: &str, expected: &str| {
            assert_eq!(query(text).map(|_| ()).unwrap_err(), expected, "{text}");
        };
        check("", "parameter 'service' is required");
        check(
            "service=a&start=x",
            "unable to parse param 'start': strconv.ParseInt: parsing \"x\": invalid syntax",
        );
        check("service=a&limit=x", "strconv.ParseInt: parsing \"x\": invalid syntax");
        check(
            "service=a&limit=3000000000",
            "strconv.ParseInt: parsing \"3000000000\": value out of range",
        );
        check("service=a&limit=-1", "limit -1 is below 0");
        check(
            "service=a&minDuration=20",
            "unable to parse param 'minDuration': time: missing unit in duration \"20\"",
        );
        check(
            "service=a&minDuration=2s&maxDuration=1s",
            "'maxDuration' should be greater than 'minDuration'",
        );
        check("service=a&tag=x", "malformed 'tag' parameter, expecting key:value, received: x");
        check(
            "service=a&tags=%7B%22a%22%3A1%7D",
            "malformed 'tags' parameter, cannot unmarshal JSON: json: cannot unmarshal number into Go value of type string",
        );
        check(
            "traceID=xyz",
            "cannot parse traceID param: strconv.ParseUint: parsing \"xyz\": invalid syntax",
        );
        check("traceID=1&traceID=ff", "[1, 255]");
    }

    #[test]
    fn tags_are_what_is_shown_as_such() {
        let text = |text: &str| AttributeValue::String(text.to_owned());
        let pair = |name: &str, value| (Arc::from(name), value);
        let span = Span {
            kind: SpanKind::Server,
            status: SpanStatus::Error,
            status_message: "gone".into(),
            attributes: vec![pair("n", AttributeValue::Int(200)), pair("t", text("a*b"))],
            events: vec![model::SpanEvent {
                name: "retry".into(),
                attributes: vec![pair("e", AttributeValue::Double(72.5))],
                ..model::SpanEvent::default()
            }],
            links: vec![model::SpanLink {
                attributes: vec![pair("l", AttributeValue::Bool(true))],
                ..model::SpanLink::default()
            }],
            ..Span::default()
        };
        let resource =
            Resource { attributes: vec![pair("r", text("host-1"))], ..Resource::default() };
        let scope = Scope {
            name: "lib".into(),
            attributes: vec![pair("s", text("x"))],
            ..Scope::default()
        };
        let check = |name: &str, value: &str, expected: bool| {
            let found = Tag::new(name, value).is_on(&resource, &scope, &span);
            assert_eq!(found, expected, "{name}={value}");
        };
        for (name, value) in [
            ("n", "200"),
            ("t", "a*b"),
            ("t", "a\\*b"),
            ("e", "72.5"),
            ("l", "true"),
            ("r", "host-.*"),
            ("r", "host-[0-9]"),
            ("s", "x"),
            ("otel.scope.s", "x"),
            ("otel.scope.name", "lib"),
            ("span.kind", "server"),
            ("error", "true"),
            ("otel.status_code", "ERROR"),
            ("otel.status_description", "gone"),
            ("event", "retry"),
        ] {
            check(name, value, true);
        }
        for (name, value) in [
            ("n", "20"),
            ("n", "200.0"),
            ("r", "host-"),
            ("r", "HOST-1"),
            ("r", "ost-.*"),
            ("r", "host.1"),
            ("span.kind", "client"),
            ("error", "false"),
            ("otel.status_code", "OK"),
            ("w3c.tracestate", ""),
            ("missing", ""),
            ("r", "("),
        ] {
            check(name, value, false);
        }
    }
}

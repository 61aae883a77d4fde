//! Rules and alerts: `rules`, `alerts`, `alertmanagers`.
//!
//! Source: the answers of Prometheus, whose order of keys and forms of numbers these are; alerts come by labels, there
//! in any order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use ::alert::evaluate::{Alert, State as AlertState};
use ::alert::group::{GroupReport, RuleReport};
use ::alert::rule::Kind;
use ::query::promql;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Error, ErrorKind, Matcher, Result};

use super::{flag, json as text, parameter, positioned, respond};
use crate::params::Params;
use crate::{App, error};

pub(crate) async fn rules(State(app): State<Arc<App>>, params: Params) -> Response {
    respond(beside(move || rules_of(&app.host.rule_groups(), &params)).await)
}

/// What `make` makes, on a thread of its own: of ten thousand rules it takes a while.
async fn beside(make: impl FnOnce() -> Result<String> + Send + 'static) -> Result<String> {
    let made = tokio::task::spawn_blocking(make).await;
    made.unwrap_or_else(|panic| {
        Err(Error::new(ErrorKind::Bug, "the answer ended unexpectedly").with_source(panic))
    })
}

/// The answer about `groups` that `params` ask for.
///
/// # Errors
/// For parameters that are none.
pub(crate) fn rules_of(groups: &[GroupReport], params: &Params) -> Result<String> {
    answer(groups, &Wanted::of(params)?)
}

/// What of all rules is asked for.
#[derive(Debug, Default)]
struct Wanted {
    alerting: bool,
    recording: bool,
    exclude_alerts: bool,
    /// Empty ones want all.
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    /// Labels of rules, as written, match one of these.
    selectors: Vec<Vec<Matcher>>,
    group_limit: Option<usize>,
    next_token: Option<String>,
}

impl Wanted {
    fn of(params: &Params) -> Result<Self> {
        let kind = params.get("type").to_ascii_lowercase();
        if !matches!(&*kind, "" | "alert" | "record") {
            return Err(parameter("type", &format!("not supported value {kind:?}")));
        }
        let exclude_alerts = flag(params, "exclude_alerts")?;
        let selector = |text: &str| promql::parse_selector(text).map_err(|e| positioned(e, text));
        let selectors = params.all("match[]").map(selector).collect::<Result<_>>()?;
        let group_limit = params.get("group_limit");
        let limit = group_limit.parse::<usize>().ok().filter(|n| *n > 0);
        if !group_limit.is_empty() && limit.is_none() {
            return Err(parameter(
                "group_limit",
                &format!("group_limit needs to be a valid number of 1 or more: {group_limit:?}"),
            ));
        }
        let next_token = params.non_empty("group_next_token").map(str::to_owned);
        if next_token.is_some() && limit.is_none() {
            return Err(parameter(
                "group_limit",
                "group_limit needs to be present in order to paginate over the groups",
            ));
        }
        let all = |name: &str| params.all(name).map(str::to_owned).collect();
        Ok(Self {
            alerting: kind != "record",
            recording: kind != "alert",
            exclude_alerts,
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            selectors,
            group_limit: limit,
            next_token,
        })
    }

    fn takes_group(&self, group: &GroupReport) -> bool {
        let takes = |wanted: &[String], name: &String| wanted.is_empty() || wanted.contains(name);
        takes(&self.groups, &group.group.name) && takes(&self.files, &group.group.file)
    }

    fn takes(&self, rule: &RuleReport) -> bool {
        let rule = &rule.rule;
        let is_kind = if rule.is_alerting() { self.alerting } else { self.recording };
        let label = |name: &str| rule.labels.get(name).map_or("", String::as_str);
        is_kind
            && (self.names.is_empty() || self.names.contains(&rule.name))
            && (self.selectors.is_empty()
                || self
                    .selectors
                    .iter()
                    .any(|matchers| matchers.iter().all(|m| m.matches(label(m.name())))))
    }
}

/// What stands for a group where a list goes on: the same in every process.
fn token(group: &GroupReport) -> String {
    let text = format!("{};{}", group.group.file, group.group.name);
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut out, byte| {
        let _infallible = write!(out, "{byte:02x}");
        out
    })
}

fn answer(groups: &[GroupReport], wanted: &Wanted) -> Result<String> {
    let mut groups = groups.iter().filter(|group| wanted.takes_group(group)).peekable();
    if let Some(next) = &wanted.next_token {
        while groups.next_if(|group| token(group) != *next).is_some() {}
        if groups.peek().is_none() {
            return Err(parameter(
                "group_next_token",
                &format!("invalid group_next_token {next:?}. were rule groups changed?"),
            ));
        }
    }
    let mut out = String::from("{\"status\":\"success\",\"data\":{\"groups\":[");
    let (mut count, mut next_token) = (0, None);
    for report in groups {
        let rules: Vec<&RuleReport> =
            report.rules.iter().filter(|rule| wanted.takes(rule)).collect();
        if rules.is_empty() {
            continue;
        }
        if wanted.group_limit == Some(count) {
            next_token = Some(token(report));
            break;
        }
        out.push_str(if count > 0 { "," } else { "" });
        count += 1;
        group(&mut out, report, &rules, wanted.exclude_alerts);
    }
    out.push(']');
    if let Some(token) = next_token {
        let _infallible = write!(out, ",\"groupNextToken\":\"{token}\"");
    }
    out.push_str("}}");
    Ok(for_pages(&out))
}

/// JSON that may stand inside of a page, as Go writes it.
fn for_pages(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        match c {
            '<' | '>' | '&' => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn group(out: &mut String, report: &GroupReport, rules: &[&RuleReport], exclude_alerts: bool) {
    out.push_str("{\"name\":");
    text::string(out, &report.group.name);
    out.push_str(",\"file\":");
    text::string(out, &report.group.file);
    out.push_str(",\"rules\":");
    text::list(out, rules, |out, one| rule(out, one, exclude_alerts));
    out.push_str(",\"interval\":");
    number(out, report.interval_ms as f64 / 1e3);
    let _infallible = write!(out, ",\"limit\":{}", report.group.limit);
    evaluation(out, report.took_ns, report.evaluated_ms);
    out.push('}');
}

/// `,"evaluationTime":…,"lastEvaluation":…`
fn evaluation(out: &mut String, took_ns: i64, at_ms: Option<i64>) {
    out.push_str(",\"evaluationTime\":");
    number(out, took_ns as f64 / 1e9);
    let _infallible = write!(out, ",\"lastEvaluation\":\"{}\"", text::rfc3339(at_ms.unwrap_or(0)));
}

fn rule(out: &mut String, report: &RuleReport, exclude_alerts: bool) {
    let rule = &report.rule;
    let seconds = |out: &mut String, name: &str, ms: u64| {
        let _infallible = write!(out, ",\"{name}\":");
        number(out, ms as f64 / 1e3);
    };
    match &rule.kind {
        Kind::Alerting(alerting) => {
            let firing = |alert: &Alert| alert.state == AlertState::Firing;
            let state = match report.alerts.iter().any(firing) {
                true => AlertState::Firing,
                false if report.alerts.is_empty() => AlertState::Inactive,
                false => AlertState::Pending,
            };
            let _infallible = write!(out, "{{\"state\":\"{}\",\"name\":", state.as_str());
            text::string(out, &rule.name);
            out.push_str(",\"query\":");
            text::string(out, &rule.shown());
            seconds(out, "duration", alerting.for_ms);
            seconds(out, "keepFiringFor", alerting.keep_firing_for_ms);
            out.push_str(",\"labels\":");
            texts(out, &rule.labels);
            out.push_str(",\"annotations\":");
            texts(out, &alerting.annotations);
            out.push_str(",\"alerts\":");
            if exclude_alerts {
                out.push_str("null");
            } else {
                text::list(out, &report.alerts, alert);
            }
        }
        Kind::Recording => {
            out.push_str("{\"name\":");
            text::string(out, &rule.name);
            out.push_str(",\"query\":");
            text::string(out, &rule.shown());
            if !rule.labels.is_empty() {
                out.push_str(",\"labels\":");
                texts(out, &rule.labels);
            }
        }
    }
    let _infallible = write!(out, ",\"health\":\"{}\"", report.health.as_str());
    if !report.last_error.is_empty() {
        out.push_str(",\"lastError\":");
        text::string(out, &report.last_error);
    }
    evaluation(out, report.took_ns, report.evaluated_ms);
    out.push_str(if rule.is_alerting() {
        ",\"type\":\"alerting\"}"
    } else {
        ",\"type\":\"recording\"}"
    });
}

/// One alert, of `rules` and of `alerts`.
fn alert(out: &mut String, alert: &Alert) {
    out.push_str("{\"labels\":");
    text::labels(out, &alert.labels);
    out.push_str(",\"annotations\":");
    texts(out, &alert.annotations);
    let _infallible = write!(
        out,
        ",\"state\":\"{}\",\"activeAt\":\"{}\"",
        alert.state.as_str(),
        text::rfc3339(alert.active_ms)
    );
    if let Some(since_ms) = alert.keep_firing_since_ms {
        let _infallible = write!(out, ",\"keepFiringSince\":\"{}\"", text::rfc3339(since_ms));
    }
    out.push_str(",\"value\":\"");
    exponential(out, alert.value);
    out.push_str("\"}");
}

fn texts(out: &mut String, texts: &BTreeMap<String, String>) {
    out.push('{');
    for (i, (name, value)) in texts.iter().enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        text::string(out, name);
        out.push(':');
        text::string(out, value);
    }
    out.push('}');
}

/// A number of JSON as Go writes it: exponents have no zero in front.
fn number(out: &mut String, value: f64) {
    let mut number = String::new();
    text::number(&mut number, value);
    out.push_str(&number.replace("e-0", "e-").replace("e+0", "e+"));
}

/// A number with an exponent of at least two digits, as Go's format `e`.
fn exponential(out: &mut String, value: f64) {
    if !value.is_finite() {
        text::number(out, value);
        return;
    }
    let number = format!("{value:e}");
    let (mantissa, exponent) = number.split_once('e').unwrap_or((&number, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    let _infallible = write!(out, "{mantissa}e{sign}{digits:0>2}");
}

pub(crate) async fn alerts(State(app): State<Arc<App>>) -> Response {
    respond(beside(move || Ok(alerts_of(&app.host.rule_groups()))).await)
}

/// The answer about all alerts of `groups`.
pub(crate) fn alerts_of(groups: &[GroupReport]) -> String {
    let rules = groups.iter().flat_map(|group| &group.rules);
    let all: Vec<&Alert> = rules.flat_map(|rule| &rule.alerts).collect();
    let mut out = String::from("{\"status\":\"success\",\"data\":{\"alerts\":");
    text::list(&mut out, &all, |out, one| alert(out, one));
    out.push_str("}}");
    for_pages(&out)
}

pub(crate) async fn alertmanagers(State(app): State<Arc<App>>) -> Response {
    let (active, dropped) = app.host.alertmanagers();
    let mut out = String::from("{\"status\":\"success\",\"data\":{");
    for (name, urls) in [("activeAlertmanagers", active), ("droppedAlertmanagers", dropped)] {
        out.push_str(if name.starts_with('d') { "," } else { "" });
        let _infallible = write!(out, "\"{name}\":");
        text::list(&mut out, &urls, |out, url| {
            out.push_str("{\"url\":");
            text::string(out, url);
            out.push('}');
        });
    }
    out.push_str("}}");
    error::json(StatusCode::OK, out)
}

#[cfg(test)]
mod tests {
    use ::alert::group::Health;
    use ::alert::rule::{Alerting, Expression, Group, Rule};
    use model::Labels;

    use super::*;

    fn report(file: &str, name: &str, rules: Vec<RuleReport>) -> GroupReport {
        let group = Group {
            name: name.to_owned(),
            file: file.to_owned(),
            interval_ms: None,
            query_offset_ms: None,
            limit: 3,
            rules: Vec::new(),
        };
        GroupReport {
            group: Arc::new(group),
            interval_ms: 15_000,
            evaluated_ms: Some(1_435_781_460_250),
            took_ns: 420,
            rules,
        }
    }

    fn one(name: &str, kind: Kind, alerts: Vec<Alert>) -> RuleReport {
        let labels = if alerts.is_empty() { &[][..] } else { &[("severity", "page")][..] };
        let rule = Rule {
            name: name.to_owned(),
            text: "sum( x )>1".to_owned(),
            expr: Expression::Promql(promql::parse("sum( x )>1").unwrap()),
            labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            kind,
            line: 1,
        };
        RuleReport {
            rule: Arc::new(rule),
            health: Health::Ok,
            last_error: String::new(),
            evaluated_ms: None,
            took_ns: 1_500_000_000,
            alerts,
        }
    }

    fn groups() -> Vec<GroupReport> {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", "A")]),
            annotations: BTreeMap::from([("text".to_owned(), String::new())]),
            value: 12.5,
            state: AlertState::Pending,
            active_ms: 1_435_781_460_000,
            fired_ms: None,
            resolved_ms: None,
            keep_firing_since_ms: None,
            sent_ms: None,
        };
        let alerting = || Kind::Alerting(Alerting { for_ms: 60_000, ..Alerting::default() });
        vec![
            report(
                "a.yml",
                "g",
                vec![one("r", Kind::Recording, vec![]), one("A", alerting(), vec![alert])],
            ),
            report("b.yml", "g", vec![one("r", Kind::Recording, vec![])]),
            report("b.yml", "h", vec![one("B", alerting(), vec![])]),
        ]
    }

    fn shown(query: &str) -> String {
        let wanted = Wanted::of(&Params::from_query(query)).unwrap();
        answer(&groups(), &wanted).unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn rules_are_written_as_prometheus_does() {
        assert_eq!(
            shown("file[]=a.yml"),
            "{\"status\":\"success\",\"data\":{\"groups\":[{\"name\":\"g\",\"file\":\"a.yml\",\"rules\":[\
             {\"name\":\"r\",\"query\":\"sum(x) \\u003e 1\",\"health\":\"ok\",\"evaluationTime\":1.5,\
             \"lastEvaluation\":\"0001-01-01T00:00:00Z\",\"type\":\"recording\"},\
             {\"state\":\"pending\",\"name\":\"A\",\"query\":\"sum(x) \\u003e 1\",\"duration\":60,\"keepFiringFor\":0,\
             \"labels\":{\"severity\":\"page\"},\"annotations\":{},\"alerts\":[{\"labels\":{\"alertname\":\"A\"},\
             \"annotations\":{\"text\":\"\"},\"state\":\"pending\",\"activeAt\":\"2015-07-01T20:11:00Z\",\
             \"value\":\"1.25e+01\"}],\"health\":\"ok\",\"evaluationTime\":1.5,\
             \"lastEvaluation\":\"0001-01-01T00:00:00Z\",\"type\":\"alerting\"}],\"interval\":15,\"limit\":3,\
             \"evaluationTime\":4.2e-7,\"lastEvaluation\":\"2015-07-01T20:11:00.25Z\"}]}}"
        );
    }

    #[test]
    fn what_is_not_asked_for_is_left_out() {
        let count = |query: &str, part: &str| shown(query).matches(part).count();
        assert_eq!(count("type=alert", "\"type\":\"recording\""), 0);
        assert_eq!(count("type=record", "\"file\":"), 2);
        assert_eq!(count("rule_name[]=B&rule_name[]=C", "\"file\":"), 1);
        assert_eq!(count("rule_group[]=g", "\"file\":"), 2);
        assert_eq!(count("match[]={severity=\"page\"}", "\"type\":"), 1);
        assert_eq!(count("exclude_alerts=true", "\"alerts\":null"), 2);
        assert_eq!(shown("file[]=c"), "{\"status\":\"success\",\"data\":{\"groups\":[]}}");
    }

    #[test]
    fn groups_come_page_by_page() {
        let mut query = "group_limit=1".to_owned();
        let mut names = Vec::new();
        for _ in 0..3 {
            let body: serde_json::Value = serde_json::from_str(&shown(&query)).unwrap();
            names.push(body["data"]["groups"][0]["file"].as_str().unwrap().to_owned());
            let Some(token) = body["data"]["groupNextToken"].as_str() else { break };
            query = format!("group_limit=1&group_next_token={token}");
        }
        assert_eq!(names, ["a.yml", "b.yml", "b.yml"]);
        assert_eq!(
            shown("group_limit=1&group_next_token=x"),
            "invalid parameter \"group_next_token\": invalid group_next_token \"x\". were rule groups changed?"
        );
    }
}

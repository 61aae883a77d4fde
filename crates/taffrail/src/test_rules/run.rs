//! Running one test: rules are evaluated at each interval over the input series, and what must be there is compared.
//!
//! As in `promtool`: all groups are evaluated every `evaluation_interval`, whatever their own interval; an expression
//! is evaluated after all that, so input series end with the last evaluation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alert::evaluate::{Context, RuleState, State, vector};
use alert::rule::{Group, Kind};
use collect::scrape::format_duration;
use model::{Budget, Labels, Result, is_stale};
use query::promql::testing::{identical, parse_histogram, parse_series};
use query::promql::{self, PromQuery, Sample};

use super::file::{AlertTest, ExpectedSample, ExpressionTest, Test, TestFile, Texts};
use super::report;
use super::storage::{Input, Storage};

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// Experimental functions of PromQL.
    pub(super) is_experimental: bool,
    /// Differences instead of both sides.
    pub(super) diff: bool,
    /// Look-back of instant selectors.
    pub(super) lookback_ms: i64,
}

/// Runs `test`; gives what failed, in words.
pub(super) fn run(
    test: &Test,
    file: &TestFile,
    groups: &[Group],
    settings: Settings,
) -> Vec<String> {
    if let Some(case) = test.alerts.iter().find(|case| case.name.is_empty()) {
        let within = if test.name.is_empty() {
            String::new()
        } else {
            format!(" (in TestGroup {})", test.name)
        };
        return vec![format!(
            "an item under alert_rule_test misses required attribute alertname at eval_time {}{within}",
            shown(case.at_ms)
        )];
    }
    let input = match Input::new(test, last_ms(test)) {
        Ok(input) => input,
        Err(e) => return vec![e.to_string()],
    };
    let mut states = ordered(groups, &file.order);
    let mut running = Running {
        test,
        file,
        settings,
        storage: Storage::default(),
        input,
        budget: Budget::unlimited(),
        failures: Vec::new(),
    };
    if running.evaluations(&mut states) {
        running.expressions();
    }
    running.failures
}

/// Groups whose order is given come in that order, others with the first of them, otherwise as in their files.
fn ordered<'a>(groups: &'a [Group], order: &[String]) -> Vec<(&'a Group, Vec<RuleState>)> {
    let mut groups: Vec<&Group> = groups.iter().collect();
    groups.sort_by_key(|group| order.iter().position(|name| *name == group.name).unwrap_or(0));
    let states = |group: &'a Group| {
        group.rules.iter().map(|rule| RuleState::new(Arc::new(rule.clone()))).collect()
    };
    groups.into_iter().map(|group| (group, states(group))).collect()
}

/// When the last case of `test` looks, milliseconds since its start.
fn last_ms(test: &Test) -> i64 {
    let alerts = test.alerts.iter().map(|case| case.at_ms);
    alerts.chain(test.expressions.iter().map(|case| case.at_ms)).max().unwrap_or(0)
}

/// A duration as `promtool` prints times of tests.
fn shown(ms: i64) -> String {
    format_duration(u64::try_from(ms).unwrap_or(0))
}

struct Running<'a> {
    test: &'a Test,
    file: &'a TestFile,
    settings: Settings,
    storage: Storage,
    input: Input,
    budget: Budget,
    failures: Vec<String>,
}

impl Running<'_> {
    /// Evaluates rules as long as a case needs them, and looks at alerts on the way; false when a rule failed.
    fn evaluations(&mut self, groups: &mut [(&Group, Vec<RuleState>)]) -> bool {
        let last_ms = last_ms(self.test);
        let mut cases: Vec<&AlertTest> = self.test.alerts.iter().collect();
        cases.sort_by_key(|case| case.at_ms);
        let mut cases = cases.into_iter().peekable();
        let mut since_start_ms = 0_i64;
        while since_start_ms <= last_ms {
            let at_ms = self.test.start_ms.saturating_add(since_start_ms);
            if let Err(e) = self.input.store_until(at_ms, &mut self.storage) {
                self.failures.push(e.to_string());
            } else if !self.evaluate(groups, at_ms, since_start_ms) {
                return false;
            }
            let next_ms = since_start_ms.saturating_add(self.file.interval_ms);
            while let Some(case) = cases.next_if(|case| case.at_ms < next_ms) {
                let got = firing(groups, &case.name);
                self.alerts(case, got);
            }
            since_start_ms = next_ms;
        }
        true
    }

    fn evaluate(
        &mut self,
        groups: &mut [(&Group, Vec<RuleState>)],
        at_ms: i64,
        since_start_ms: i64,
    ) -> bool {
        let before = self.failures.len();
        for (group, rules) in groups {
            for rule in rules {
                if let Err(e) = self.evaluate_rule(group, rule, at_ms) {
                    let time = report::go_duration(since_start_ms);
                    let name = &rule.rule().name;
                    self.failures.push(format!("    rule: {name}, time: {time}, err: {e}"));
                }
            }
        }
        self.failures.len() == before
    }

    fn evaluate_rule(&mut self, group: &Group, rule: &mut RuleState, at_ms: i64) -> Result<()> {
        let context = Context {
            source: self.storage.source(),
            logs: None,
            traces: None,
            options: self.options(),
            lookback_ms: self.settings.lookback_ms,
            external_labels: &self.test.external_labels,
            external_url: &self.test.external_url,
            query_offset_ms: group.query_offset_ms.unwrap_or(0),
            limit: group.limit,
            budget: &self.budget,
        };
        let samples = rule.evaluate(&context, at_ms)?;
        let mut outcome = Ok(());
        for sample in &samples {
            let appended = self.storage.append(sample);
            // Another rule may go on with a series that this one has left.
            if appended.is_err() && !is_stale(sample.value) {
                outcome = appended;
            }
        }
        outcome
    }

    fn options(&self) -> promql::Options {
        promql::Options {
            experimental: self.settings.is_experimental,
            subquery_step_ms: self.file.interval_ms,
        }
    }

    fn alerts(&mut self, case: &AlertTest, mut got: Vec<Texts>) {
        let mut expected = case.expected.clone();
        for (labels, _) in &mut expected {
            labels.insert(alert::rule::ALERT_NAME.to_owned(), case.name.clone());
        }
        expected.sort();
        got.sort();
        if expected == got {
            return;
        }
        let name = match self.test.name.as_str() {
            "" => String::new(),
            name => format!("    name: {name},\n"),
        };
        let head = format!("{name}    alertname: {}, time: {}, \n", case.name, shown(case.at_ms));
        let (expected, got) = (report::alerts(&expected), report::alerts(&got));
        self.failures.push(head + &report::both(&expected, &got, self.settings.diff));
    }

    fn expressions(&mut self) {
        for case in &self.test.expressions {
            if let Err(why) = self.expression(case) {
                let head = format!("    expr: {:?}, time: {},", case.text, shown(case.at_ms));
                self.failures.push(head + &why);
            }
        }
    }

    fn expression(&self, case: &ExpressionTest) -> Result<(), String> {
        let failed = |e: model::Error| format!(" err: {e}");
        let at_ms = self.test.start_ms.saturating_add(case.at_ms);
        let query = PromQuery {
            text: case.text.clone(),
            start_ms: at_ms,
            end_ms: at_ms,
            step_ms: 0,
            lookback_ms: self.settings.lookback_ms,
        };
        let source = self.storage.source();
        let evaluated = promql::evaluate(source, &query, &self.options(), &self.budget);
        let mut got = evaluated.and_then(|e| vector(e.value)).map_err(failed)?;
        let expected = case.expected.iter().map(expected_sample).collect::<Result<Vec<_>>>();
        let mut expected = expected.map_err(failed)?;
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        got.sort_by(|a, b| a.labels.cmp(&b.labels));
        let fuzzy = self.file.is_fuzzy;
        let same = expected.len() == got.len()
            && expected.iter().zip(&got).all(|(expected, got)| same(expected, got, fuzzy));
        if same {
            return Ok(());
        }
        let (expected, got) = (report::samples(&expected), report::samples(&got));
        Err(format!("\n{}", report::both(&expected, &got, self.settings.diff)))
    }
}

/// The firing alerts of all rules called `name`.
fn firing(groups: &[(&Group, Vec<RuleState>)], name: &str) -> Vec<Texts> {
    let rules = groups.iter().flat_map(|(_, rules)| rules);
    let named = rules
        .filter(|rule| rule.rule().name == name && matches!(rule.rule().kind, Kind::Alerting(_)));
    let firing = named.flat_map(RuleState::alerts).filter(|alert| alert.state == State::Firing);
    let owned = |labels: &Labels| -> BTreeMap<String, String> {
        labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    };
    firing.map(|alert| (owned(&alert.labels), alert.annotations.clone())).collect()
}

fn expected_sample(expected: &ExpectedSample) -> Result<Sample> {
    let place = |e: model::Error| e.context(format!("labels {:?}", expected.labels));
    let (labels, values) = parse_series(&expected.labels).map_err(place)?;
    if !values.is_empty() {
        return Err(place(model::Error::invalid("something stands behind the series")));
    }
    let histogram = match expected.histogram.as_str() {
        "" => None,
        text => Some(Arc::new(parse_histogram(text).map_err(place)?)),
    };
    Ok(Sample { labels, t_ms: 0, value: expected.value, histogram })
}

fn same(expected: &Sample, got: &Sample, fuzzy: bool) -> bool {
    let same_value = match (&expected.histogram, &got.histogram) {
        (None, None) => same_number(expected.value, got.value, fuzzy),
        (Some(a), Some(b)) => identical(a, b),
        _ => false,
    };
    expected.labels == got.labels && same_value
}

/// Whether two numbers are the same, or neighbours when that is enough. As in `promtool`, NaN is no other NaN.
fn same_number(a: f64, b: f64, fuzzy: bool) -> bool {
    a == b || (fuzzy && (a.next_down() == b || a.next_up() == b))
}

/// Names of groups that stand in `order` and in no file.
pub(super) fn unknown_groups<'a>(groups: &[Group], order: &'a [String]) -> Vec<&'a str> {
    let known: BTreeSet<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    order.iter().map(String::as_str).filter(|name| !known.contains(name)).collect()
}

//! Timelines: alerts are pushed at certain seconds, and each webhook must be told certain alerts in certain windows, and
//! nothing else. Played through the dispatcher with a clock of its own.
//!
//! The facts do not say everything that upstream's tests do. Three things are filled in: `TestReload` loads its
//! configuration again at 3 s; a webhook of `TestRetry` or `TestWebhookTimeout` fails until the first window in which
//! it must be told something; a silence without matchers covers every alert.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use alert::active::ActiveAlert;
use alert::dispatch::Dispatcher;
use alert::matcher::{Matcher, Matchers, Op};
use alert::outbox::Job;
use alert::silence::Silence;
use model::Labels;
use serde_json::Value as Json;
use taffrail::alertmanager_yml::{self, Options};

use crate::Tally;

/// When the timelines begin, Unix milliseconds.
const START_MS: i64 = 1_700_000_000_000;

pub(crate) fn run(cases: &[Json], tally: &mut Tally) {
    for case in cases {
        let name = format!("acceptance {}", case["name"].as_str().unwrap_or("?"));
        tally.verdict(&name, timeline(case));
    }
}

/// What a webhook was told: when, and the alerts.
type Told = (i64, Vec<Shown>);

#[derive(Debug, Clone, PartialEq)]
struct Shown {
    labels: BTreeMap<String, String>,
    starts_ms: Option<i64>,
    ends_ms: Option<i64>,
}

struct Run<'a> {
    case: &'a Json,
    config: Arc<alert::config::Config>,
    dispatcher: Dispatcher,
    told: BTreeMap<usize, Vec<Told>>,
    silences: BTreeMap<String, String>,
}

fn timeline(case: &Json) -> Result<(), String> {
    let (_, yaml) = case
        .as_object()
        .and_then(|case| case.iter().find(|(key, _)| key.starts_with("config_yaml")))
        .ok_or("no configuration")?;
    let yaml = yaml.as_str().unwrap_or("").replace("%s", "127.0.0.1:1");
    let path = Path::new("alertmanager.yml");
    let loaded = alertmanager_yml::load(path, &yaml, Options::default(), &|_| None)
        .map_err(|mistakes| mistakes.first().map(ToString::to_string).unwrap_or_default())?;
    let config = Arc::new(loaded.config);
    let mut run = Run {
        case,
        dispatcher: Dispatcher::new(config.clone()),
        config,
        told: BTreeMap::new(),
        silences: BTreeMap::new(),
    };
    run.play()?;
    run.compare()
}

fn ms(seconds: &Json) -> i64 {
    START_MS + (seconds.as_f64().unwrap_or(0.0) * 1000.0).round() as i64
}

/// The number of a webhook, from 0: `co` and `co1` are the first.
fn webhook(target: &str) -> usize {
    let digits: String = target.chars().filter(char::is_ascii_digit).collect();
    digits.parse::<usize>().map_or(0, |number| number.saturating_sub(1))
}

impl Run<'_> {
    fn steps(&self) -> impl Iterator<Item = &Json> {
        self.case["steps"].as_array().into_iter().flatten()
    }

    fn is(&self, name: &str) -> bool {
        self.case["name"] == name
    }

    fn play(&mut self) -> Result<(), String> {
        let mut actions: Vec<(i64, Json)> = Vec::new();
        let mut end_ms = START_MS;
        for step in self.steps() {
            match step["do"].as_str() {
                Some("Want") => end_ms = end_ms.max(ms(&step["between_s"][1])),
                _ => actions.push((ms(&step["at_s"][0]), step.clone())),
            }
        }
        if self.is("TestReload") {
            actions.push((START_MS + 3000, serde_json::json!({ "do": "Reload" })));
        }
        actions.sort_by_key(|(at_ms, _)| *at_ms);
        for (at_ms, step) in actions {
            self.advance(at_ms - 1);
            self.act(&step, at_ms)?;
        }
        self.advance(end_ms + 150);
        Ok(())
    }

    /// Lives until `until_ms`.
    fn advance(&mut self, until_ms: i64) {
        while let Some(now_ms) = self.dispatcher.next_ms().filter(|t| *t <= until_ms) {
            self.dispatcher.advance(now_ms);
            for job in self.dispatcher.due_jobs(1000, now_ms) {
                if self.fails(job.key.index, now_ms) {
                    self.dispatcher.failed(&job, None, now_ms);
                    continue;
                }
                self.dispatcher.delivered(&job, BTreeMap::new());
                self.told.entry(job.key.index).or_default().push((now_ms, shown(&job)));
            }
        }
    }

    fn fails(&self, index: usize, now_ms: i64) -> bool {
        let first_ms = self.wants(index).map(|want| ms(&want["between_s"][0])).min();
        (self.is("TestRetry") || self.is("TestWebhookTimeout"))
            && first_ms.is_some_and(|first_ms| now_ms < first_ms)
    }

    fn wants(&self, index: usize) -> impl Iterator<Item = &Json> {
        self.steps().filter(move |step| {
            step["do"] == "Want" && webhook(step["target"].as_str().unwrap_or("")) == index
        })
    }

    fn act(&mut self, step: &Json, now_ms: i64) -> Result<(), String> {
        match step["do"].as_str() {
            Some("Push") => {
                let timeout_ms = self.config.resolve_timeout_ms;
                let alerts = step["alerts"].as_array().into_iter().flatten();
                let alerts = alerts.map(|alert| posted(alert, timeout_ms, now_ms));
                self.dispatcher.tell(alerts.collect::<Vec<_>>(), now_ms);
                Ok(())
            }
            Some("Reload") => {
                self.dispatcher.reload(self.config.clone(), now_ms);
                Ok(())
            }
            Some("SetSilence") => {
                let name = step["silence"].as_str().unwrap_or("").to_owned();
                let silence = silence(&name, now_ms)?;
                let id = self.dispatcher.set_silence(silence, name.clone(), now_ms);
                self.silences.insert(name, id.map_err(|e| e.message().to_owned())?);
                Ok(())
            }
            Some("DelSilence") => {
                let name = step["silence"].as_str().unwrap_or("");
                let id = self.silences.get(name).ok_or("no such silence")?;
                self.dispatcher.expire_silence(id, now_ms).map_err(|e| e.message().to_owned())
            }
            other => Err(format!("{other:?} is not known here")),
        }
    }

    fn compare(&self) -> Result<(), String> {
        let tolerance_ms = self.case["tolerance_ms"].as_i64().unwrap_or(0);
        let webhooks = self.config.receivers.iter().map(|r| r.integrations.len()).max();
        for index in 0..webhooks.unwrap_or(0) {
            let mut told = self.told.get(&index).cloned().unwrap_or_default();
            for want in self.wants(index) {
                let alerts: Vec<Shown> =
                    want["alerts"].as_array().into_iter().flatten().map(wanted).collect();
                if alerts.is_empty() {
                    continue;
                }
                let (from_ms, to_ms) = (ms(&want["between_s"][0]), ms(&want["between_s"][1]));
                let window = from_ms - tolerance_ms..=to_ms + tolerance_ms;
                let fits = |(at_ms, found): &Told| {
                    window.contains(at_ms) && is_same(&alerts, found, tolerance_ms)
                };
                let Some(position) = told.iter().position(fits) else {
                    let told: Vec<_> =
                        told.iter().map(|(t, alerts)| (t - START_MS, alerts)).collect();
                    return Err(format!("webhook {index}: no {want}; told {told:?}"));
                };
                told.remove(position);
            }
            if !told.is_empty() {
                return Err(format!("webhook {index}: also told {told:?}"));
            }
        }
        Ok(())
    }
}

fn is_same(wanted: &[Shown], found: &[Shown], tolerance_ms: i64) -> bool {
    let near = |wanted: Option<i64>, found: Option<i64>| match (wanted, found) {
        (Some(wanted), Some(found)) => (wanted - found).abs() <= tolerance_ms,
        (wanted, found) => wanted == found,
    };
    let same = |wanted: &Shown, found: &Shown| {
        wanted.labels == found.labels
            && near(wanted.starts_ms, found.starts_ms)
            && near(wanted.ends_ms, found.ends_ms)
    };
    wanted.len() == found.len() && wanted.iter().all(|w| found.iter().any(|f| same(w, f)))
}

fn labels(alert: &Json) -> BTreeMap<String, String> {
    let labels = alert["labels"].as_object().into_iter().flatten();
    labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or("").to_owned())).collect()
}

fn wanted(alert: &Json) -> Shown {
    let times = &alert["active_from_to_s"];
    let time = |at: usize| times.get(at).map(ms);
    Shown { labels: labels(alert), starts_ms: time(0), ends_ms: time(1) }
}

fn shown(job: &Job) -> Vec<Shown> {
    let shown = job.alerts.iter().map(|alert| Shown {
        labels: alert::active::pairs(&alert.labels),
        starts_ms: Some(alert.starts_ms),
        ends_ms: alert.ends_ms,
    });
    shown.collect()
}

/// An alert as the API takes it.
fn posted(alert: &Json, timeout_ms: u64, now_ms: i64) -> ActiveAlert {
    let Shown { labels, starts_ms, ends_ms } = wanted(alert);
    ActiveAlert {
        labels: Labels::from_pairs(labels.iter().map(|(n, v)| (&**n, &**v))),
        annotations: BTreeMap::new(),
        starts_ms: starts_ms.or(ends_ms).unwrap_or(now_ms),
        ends_ms: ends_ms.unwrap_or_else(|| now_ms.saturating_add_unsigned(timeout_ms)),
        updated_ms: now_ms,
        generator_url: String::new(),
        timeout: ends_ms.is_none(),
    }
}

/// `Silence(2.5, 4.5).Match("alertname", "test1")`
fn silence(text: &str, now_ms: i64) -> Result<Silence, String> {
    let calls: Vec<(&str, Vec<&str>)> = text
        .split(").")
        .filter_map(|call| call.trim_end_matches(')').split_once('('))
        .map(|(name, arguments)| {
            (name, arguments.split(',').map(|a| a.trim().trim_matches('"')).collect())
        })
        .collect();
    let (mut starts_ms, mut ends_ms) = (now_ms, now_ms + 3_600_000);
    let mut matchers = Vec::new();
    for (name, arguments) in calls {
        match (name, &arguments[..]) {
            ("Silence", [from, to]) => {
                let time = |text: &str| text.parse().map(|s: f64| ms(&s.into()));
                starts_ms = time(from).map_err(|e| e.to_string())?;
                ends_ms = time(to).map_err(|e| e.to_string())?;
            }
            ("Match" | "MatchRE", [label, value]) => {
                let op = if name == "Match" { Op::Equal } else { Op::Regex };
                matchers
                    .push(Matcher::new(*label, op, *value).map_err(|e| e.message().to_owned())?);
            }
            _ => return Err(format!("{text}: not understood")),
        }
    }
    if matchers.is_empty() {
        let all = Matcher::new("alertname", Op::Regex, ".+").map_err(|e| e.message().to_owned())?;
        matchers.push(all);
    }
    Ok(Silence {
        id: String::new(),
        matchers: Matchers(matchers),
        starts_ms,
        ends_ms,
        updated_ms: now_ms,
        created_by: String::new(),
        comment: String::new(),
        annotations: BTreeMap::new(),
    })
}

//! What messages tell of an alert beyond its rule: the container, how it is, its last lines, where to look.
//!
//! Owns: which container an alert is about, and what is worth telling of it. Does not own: how messages show it
//! (`alert::notify`). Lines were redacted before they were stored.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use alert::expand::alertmanager::{Context, Pairs};
use alert::outbox::Told;
use collect::container::{ContainerState, Registry};
use model::{Budget, Clock, Limits, LogPlan, LogSource, MatchOp, Matcher, Order, TimeRange};

/// Alerts of one message that are told more of.
const ALERTS_MAX: usize = 5;
/// Lines of one container.
const LINES_MAX: usize = 10;
/// Bytes of one line.
const LINE_BYTES_MAX: usize = 300;
/// How far back lines are looked for, nanoseconds: an hour.
const BACK_NS: i64 = 3_600_000_000_000;
/// Of the moment that is linked, before and after the alert's start, milliseconds.
const AROUND_MS: i64 = 15 * 60_000;
/// A message does not wait longer for its lines.
const LIMITS: Limits = Limits { samples_max: 1_000_000, bytes_max: 64 << 20, time_ms_max: 2_000 };
/// Labels that name a container, the surest first.
const NAMES: [&str; 3] = ["container", "container_name", "name"];
/// Labels that name a service of a compose project.
const SERVICES: [&str; 2] = ["compose_service", "container_label_com_docker_compose_service"];

/// Where to look things up.
pub(crate) struct Knowledge {
    pub(crate) containers: Arc<Registry>,
    pub(crate) logs: Arc<dyn LogSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) external_url: String,
}

impl std::fmt::Debug for Knowledge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Knowledge").finish_non_exhaustive()
    }
}

impl Knowledge {
    /// What is known of firing alerts, by fingerprint; nothing of those that are about no container here. Blocks.
    pub(super) fn of(&self, alerts: &[Told]) -> BTreeMap<String, Context> {
        let containers = self.containers.snapshot();
        let firing = alerts.iter().filter(|alert| alert.ends_ms.is_none()).take(ALERTS_MAX);
        let known = firing.filter_map(|alert| {
            let alert_data = alert.for_templates();
            let container = about(&alert_data.labels, &containers)?;
            Some((alert_data.fingerprint, self.context(alert, container)))
        });
        known.collect()
    }

    fn context(&self, alert: &Told, container: &ContainerState) -> Context {
        let url = self.external_url.trim_end_matches('/');
        let (from, to) = (alert.starts_ms - AROUND_MS, alert.starts_ms + AROUND_MS);
        let moment = format!("{url}/containers/{}?from={from}&to={to}", container.name);
        let mut links = vec![("Moment".to_owned(), moment)];
        if let Some(runbook) = alert.annotations.get("runbook_url") {
            links.push(("Runbook".to_owned(), runbook.clone()));
        }
        Context {
            container: container.name.clone(),
            image: container.image.clone(),
            values: values(container),
            log_lines: self.last_lines(&container.name),
            links,
        }
    }

    /// The last lines, oldest first; none when they cannot be had in time, for the message is worth more.
    fn last_lines(&self, container: &str) -> Vec<String> {
        let now_ns = self.clock.now_ns();
        // Its lifecycle stands in the figures.
        let is_said = Matcher::new(MatchOp::NotEqual, "stream", "events");
        let is_said = is_said.expect("BUG: it is no regular expression");
        let range = TimeRange::new(now_ns - BACK_NS, now_ns);
        let plan = LogPlan {
            matchers: vec![Matcher::equal("container", container), is_said],
            limit: Some(LINES_MAX),
            needed_fields: Some(Vec::new()),
            ..LogPlan::all(range, Order::Backward)
        };
        let budget = Budget::new(self.clock.clone(), LIMITS);
        let mut lines = Vec::new();
        let scanned = self.logs.scan(&plan, &budget, &mut |row| {
            lines.push(shortened(row.line));
            match lines.len() < LINES_MAX {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        if let Err(error) = scanned {
            tracing::warn!(%error, container, "a notification goes without all of its log lines");
        }
        lines.reverse();
        lines
    }
}

/// The container that labels are about: by name, or the one of a service that runs.
fn about<'c>(labels: &Pairs, containers: &'c [ContainerState]) -> Option<&'c ContainerState> {
    let value = |names: &[&str]| names.iter().find_map(|name| labels.get(*name));
    let named = value(&NAMES).and_then(|name| containers.iter().find(|c| c.name == *name));
    named.or_else(|| {
        let service = value(&SERVICES)?;
        let of_service = || containers.iter().filter(|c| c.compose_service == *service);
        of_service().find(|c| c.is_running()).or_else(|| of_service().next())
    })
}

fn values(container: &ContainerState) -> Vec<(String, String)> {
    let mut values = vec![("state", container.state.clone())];
    if !container.health.is_empty() {
        values.push(("health", container.health.clone()));
    }
    if let Some(code) = container.exit_code {
        let oom = if container.oom_killed { ", out of memory" } else { "" };
        values.push(("last exit code", format!("{code}{oom}")));
    }
    if container.restart_count > 0 {
        values.push(("restarts", container.restart_count.to_string()));
    }
    if container.memory_limit_bytes > 0 {
        values.push(("memory limit", format!("{} MiB", container.memory_limit_bytes >> 20)));
    }
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn shortened(line: &str) -> String {
    let line = line.trim_end();
    match line.char_indices().find(|(at, c)| at + c.len_utf8() > LINE_BYTES_MAX) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or("")),
        None => line.to_owned(),
    }
}

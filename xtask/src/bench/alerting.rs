//! `bench alerting`: rules over scraped series, beside Debian's prometheus: the same exporter, the same rule files, one
//! server after the other.
//!
//! A round is one evaluation of every rule. Its CPU is what a server uses with the rules less what it uses without them,
//! over the same time of the same scrapes; the exporter's is not in it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::get;
use testkit::mix::Mix;

use super::metrics::load::Exporter;
use super::metrics::servers::{Kind, Server};
use super::suite::{Phase, Row, row, run};
use crate::setup;
use crate::shell::step;

const SEED: u64 = 1;
const SERIES: usize = 100_000;
const SERIES_PER_TARGET: usize = 1_000;
const RULES: usize = 10_000;
const RULES_PER_GROUP: usize = 100;
/// Seconds between scrapes, and between evaluations.
const INTERVAL_S: u64 = 15;
/// Rounds that are measured.
const ROUNDS: u64 = 4;

const PHASES: [Phase; 1] = [("rules", rules)];

/// `cargo xtask bench alerting [PHASE…] [--small]`.
pub(crate) fn alerting(args: &[String]) -> Result<()> {
    setup::packages(&[("prometheus", "prometheus")])?;
    run("alerting", &PHASES, "", args)
}

fn rules(run: &super::suite::Run) -> Result<Vec<Row>> {
    let (series, rules) = (SERIES / run.divisor, RULES / run.divisor);
    step(&format!("{rules} rules over {series} series every {INTERVAL_S} s"));
    let mix = Mix::new(SEED, series, SERIES_PER_TARGET);
    let instances: Vec<String> = (0..series.div_ceil(SERIES_PER_TARGET))
        .map(|target| label(&mix, target * SERIES_PER_TARGET, "instance"))
        .collect();
    let files = run.work.join("rules");
    std::fs::create_dir_all(&files)?;
    std::fs::write(files.join("rules.yml"), rule_file(&instances, rules))?;
    let exporter = Exporter::start(mix)?;
    let configs = exporter.scrape_configs();
    let configs =
        configs.replace("scrape_interval: 1s", &format!("scrape_interval: {INTERVAL_S}s"));
    let configs = configs.replace("scrape_timeout: 1s", "scrape_timeout: 10s");
    let mut measured = Vec::new();
    for kind in [Kind::Taffrail, Kind::Prometheus] {
        let one = measure(kind, &run.work, &files, &exporter, &configs);
        measured.push(one.with_context(|| kind.name())?);
    }
    let [ours, theirs] = measured.as_slice() else { anyhow::bail!("two servers are measured") };
    let peer = |value: f64| (value, "prometheus");
    Ok(vec![
        row("CPU s per round of rules", ours.round_cpu_s, peer(theirs.round_cpu_s), "<= 0.5"),
        row("evaluations missed", ours.missed, peer(theirs.missed), "0"),
        row("rules that fail", ours.failed, peer(theirs.failed), "0"),
        row("alerts at that moment", ours.alerts, peer(theirs.alerts), "-"),
        row("longest evaluation of a group, s", ours.longest_s, peer(theirs.longest_s), "-"),
        row("RSS, MB", ours.rss_mb, peer(theirs.rss_mb), "-"),
        row(
            "restart after kill -9 until all alerts are back, s",
            ours.restored_s,
            peer(theirs.restored_s),
            "<= 2 s",
        ),
    ])
}

fn label(mix: &Mix, number: usize, name: &str) -> String {
    let labels = mix.labels(number);
    labels.iter().find(|(n, _)| n == name).map_or_else(String::new, |(_, value)| value.clone())
}

/// Half of them alert; each looks at series of one target, as rules for a service do.
fn rule_file(instances: &[String], count: usize) -> String {
    let mut text = String::from("groups:\n");
    for number in 0..count {
        if number % RULES_PER_GROUP == 0 {
            let _infallible = write!(
                text,
                "- name: g{}\n  interval: {INTERVAL_S}s\n  rules:\n",
                number / RULES_PER_GROUP
            );
        }
        let instance = instances.get(number % instances.len().max(1)).map_or("", String::as_str);
        let one = format!("{{instance=\"{instance}\"}}");
        let (expr, wait) = match number % 10 {
            0 => (format!("sum(rate(requests_total{one}[5m]))"), None),
            1 => (
                format!(
                    "sum by (instance) (rate(errors_total{one}[5m])) / sum by (instance) (rate(requests_total{one}[5m]))"
                ),
                None,
            ),
            2 => (format!("avg(memory_bytes{one})"), None),
            3 => (
                format!(
                    "histogram_quantile(0.9, sum by (le) (rate(request_duration_seconds_bucket{one}[5m])))"
                ),
                None,
            ),
            4 => (format!("max(usage_percent{one})"), None),
            5 => (format!("sum(rate(errors_total{one}[5m])) > 1000"), Some("5m")),
            6 => (format!("usage_percent{one} > 99.9"), Some("1m")),
            7 => (format!("goroutines{one} > 1e9"), Some("10m")),
            8 => (format!("avg_over_time(load{one}[5m]) > 1e12"), Some("5m")),
            // Always active, and so written down and restored.
            _ => (format!("count(config_limit{one}) > 0"), Some("1h")),
        };
        let _infallible = match wait {
            None => write!(text, "  - record: bench:r{number}\n    expr: '{expr}'\n"),
            Some(wait) => write!(
                text,
                "  - alert: Bench{number}\n    expr: '{expr}'\n    for: {wait}\n    labels: {{severity: page}}\n    \
                 annotations: {{summary: '{{{{ $labels.instance }}}} at {{{{ $value | humanize }}}}'}}\n"
            ),
        };
    }
    text
}

struct Figures {
    round_cpu_s: f64,
    missed: f64,
    failed: f64,
    alerts: f64,
    longest_s: f64,
    rss_mb: f64,
    restored_s: f64,
}

fn measure(
    kind: Kind,
    work: &Path,
    files: &Path,
    exporter: &Exporter,
    configs: &str,
) -> Result<Figures> {
    let patience = Duration::from_secs(INTERVAL_S * 8);
    let without = {
        let mut server = Server::start(kind, work, configs)?;
        exporter.wait_for(exporter.scrapes() + 2 * exporter.targets(), patience)?;
        server.process.mark();
        std::thread::sleep(Duration::from_secs(INTERVAL_S * ROUNDS));
        server.process.cpu_seconds()
    };
    let rule_files = format!("rule_files: ['{}/*.yml']\n", files.display());
    let mut server = Server::start_with(kind, work, configs, &rule_files)?;
    // The first rounds introduce the series and restore states.
    exporter.wait_for(exporter.scrapes() + 3 * exporter.targets(), patience)?;
    server.process.mark();
    std::thread::sleep(Duration::from_secs(INTERVAL_S * ROUNDS));
    let with = server.process.cpu_seconds();
    let rss_mb = server.process.memory_mb("VmRSS");
    let figures = get(server.address, "/metrics", &[])?.body;
    let sum = |name: &str| values(&figures, name).sum::<f64>();
    let longest =
        values(&figures, "prometheus_rule_group_last_duration_seconds").fold(0.0, f64::max);
    let before = alerts(&server)?;
    server.process.kill();
    let started = Instant::now();
    let server = server.restart_after_kill()?;
    let deadline = started + Duration::from_secs(120);
    while alerts(&server)? < before {
        ensure!(Instant::now() < deadline, "{} of {before} alerts after 120 s", alerts(&server)?);
        std::thread::sleep(Duration::from_millis(20));
    }
    let restored_s = started.elapsed().as_secs_f64();
    Ok(Figures {
        round_cpu_s: (with - without) / ROUNDS as f64,
        missed: sum("prometheus_rule_group_iterations_missed_total"),
        failed: sum("prometheus_rule_evaluation_failures_total"),
        alerts: before,
        longest_s: longest,
        rss_mb,
        restored_s,
    })
}

/// Values of all series of a metric in a text of figures.
fn values<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    let lines = text.lines().filter(move |line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

/// Pending and firing ones.
fn alerts(server: &Server) -> Result<f64> {
    let answer = get(server.address, "/api/v1/alerts", &[])?;
    let body: Value = serde_json::from_str(&answer.body).context("alerts")?;
    Ok(body["data"]["alerts"].as_array().map_or(0, Vec::len) as f64)
}

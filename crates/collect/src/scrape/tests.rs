//! Scraping without sockets: targets, the series cache, the time grid, discovery answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ingest::exposition::{Format, Limits};
use ingest::relabel::{Action, Rule, RuleConfig};
use model::{Labels, ManualClock, is_stale};

use super::cache::{Rows, SeriesCache};
use super::config::{DockerSd, FileSd, ScrapeJob, TargetGroup};
use super::docker_sd;
use super::file_sd::Files;
use super::target::{self, Outcome, Target, format_duration, parse_duration};
use super::worker::{next_due_ms, scrape_time_ms};

fn group(addresses: &[&str]) -> TargetGroup {
    TargetGroup::of_addresses("test", addresses.iter().map(|a| (*a).to_owned()), BTreeMap::new())
}

fn target(job: &ScrapeJob, address: &str) -> Result<Target, String> {
    let group = group(&[address]);
    let outcome =
        target::from_group(job, &group).next().unwrap().map_err(|e| e.message().to_owned())?;
    match outcome {
        Outcome::Active(target) => Ok(*target),
        Outcome::Dropped(labels) => Err(format!("dropped {labels}")),
    }
}

#[test]
fn targets_get_defaults_and_lose_their_working_labels() {
    let mut job = ScrapeJob::new("j");
    job.params.insert("module".to_owned(), vec!["a b".to_owned(), "c".to_owned()]);
    let found = target(&job, "host:9100").unwrap();
    assert_eq!(found.labels.to_string(), r#"{instance="host:9100", job="j"}"#);
    assert_eq!(found.url.as_str(), "http://host:9100/metrics?module=a+b&module=c");
    assert_eq!(found.discovered.get("__scrape_interval__"), Some("1m"));
    assert_eq!((found.interval_ms, found.timeout_ms), (60_000, 10_000));
    assert!(target(&job, "http://host/x").unwrap_err().contains("is not a host and port"));
}

#[test]
fn relabelling_moves_and_drops_targets() {
    let mut job = ScrapeJob::new("j");
    let rule = |edit: fn(&mut RuleConfig)| {
        let mut config = RuleConfig::default();
        edit(&mut config);
        Rule::new(config).unwrap()
    };
    job.relabel = vec![
        rule(|c| {
            c.source_labels = Some(vec!["__address__".to_owned()]);
            c.target_label = Some("__param_target".to_owned());
        }),
        rule(|c| {
            c.target_label = Some("__address__".to_owned());
            c.replacement = Some("probe:9115".to_owned());
        }),
        rule(|c| {
            c.source_labels = Some(vec!["__param_target".to_owned()]);
            c.regex = Some("bad".to_owned());
            c.action = Some(Action::Drop);
        }),
    ];
    assert_eq!(target(&job, "site").unwrap().url.as_str(), "http://probe:9115/metrics?target=site");
    assert!(target(&job, "bad").unwrap_err().starts_with("dropped {__address__=\"bad\""));
}

#[test]
fn durations_read_and_print_as_in_prometheus() {
    for (text, ms) in [
        ("15s", 15_000),
        ("1m30s", 90_000),
        ("250ms", 250),
        ("1d", 86_400_000),
        ("1w", 604_800_000),
    ] {
        assert_eq!(parse_duration(text), Some(ms), "{text}");
        assert_eq!(format_duration(ms), text);
    }
    for text in ["", "s", "15", "1s1m", "1.5s", "-1s", "1s1s", "99999999999999999999y"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn the_grid_is_steady() {
    assert_eq!(next_due_ms(1_000, None, 15_000, 400), 15_400);
    assert_eq!(next_due_ms(15_400, Some(15_400), 15_000, 400), 30_400);
    assert_eq!(next_due_ms(15_399, Some(15_400), 15_000, 400), 30_400, "woken early");
    assert_eq!(next_due_ms(47_000, Some(15_400), 15_000, 400), 60_400, "two places missed");
    assert_eq!(
        next_due_ms(-3_600_000, Some(15_400), 15_000, 400),
        -3_599_600 + 15_000 - 15_000,
        "clock set back"
    );
    assert_eq!(scrape_time_ms(15_402, 15_400, 15_000), 15_400);
    assert_eq!(scrape_time_ms(15_403, 15_400, 15_000), 15_403);
    assert_eq!(scrape_time_ms(101, 100, 50), 101, "short intervals have no tolerance");
}

/// Scrapes bodies in turn with one cache and writes down what each gives.
struct Script {
    cache: SeriesCache,
    job: ScrapeJob,
    target: Labels,
}

impl Script {
    fn new() -> Self {
        let target = Labels::from_pairs([("job", "j"), ("instance", "i")]);
        Self { cache: SeriesCache::default(), job: ScrapeJob::new("j"), target }
    }

    fn rows(&mut self, body: &str) -> (Rows, Result<(), String>) {
        let mut rows = Rows::default();
        let format =
            if body.ends_with("# EOF\n") { Format::OpenMetrics } else { Format::Prometheus };
        let outcome = self
            .cache
            .read(body.as_bytes(), format, &self.job, &self.target, &Limits::NONE, &mut rows)
            .map_err(|e| e.message().to_owned());
        if outcome.is_err() {
            self.cache.fail(&mut rows);
        }
        (rows, outcome)
    }

    fn check(&mut self, body: &str, expect: &[&str]) {
        let (rows, outcome) = self.rows(body);
        let mut lines: Vec<String> = rows
            .rows
            .iter()
            .map(|row| {
                let value =
                    if is_stale(row.value) { "stale".to_owned() } else { row.value.to_string() };
                format!("{} {value}", row.labels.without("job").without("instance"))
            })
            .collect();
        lines.extend(
            rows.stamped
                .iter()
                .map(|r| format!("{} {} @{}", r.labels.metric_name(), r.value, r.t_ms)),
        );
        lines.extend(rows.metadata.iter().map(|m| format!("{} is a {}", m.name, m.kind.as_str())));
        lines.extend(outcome.err());
        assert_eq!(lines, expect, "{body}");
    }
}

#[test]
fn vanished_series_end_once() {
    let mut script = Script::new();
    script.check("a 1\nb 2\nc 3\n", &["a{} 1", "b{} 2", "c{} 3"]);
    script.check("a 1\nc 4\nd 5\n", &["a{} 1", "c{} 4", "d{} 5", "b{} stale"]);
    script.check("d 5\na 1\nc 4\nb 6\n", &["d{} 5", "a{} 1", "c{} 4", "b{} 6"]);
    script.check("", &["d{} stale", "a{} stale", "c{} stale", "b{} stale"]);
    script.check("", &[]);
}

#[test]
fn labels_are_the_same_allocation_each_time() {
    let mut script = Script::new();
    let (first, _) = script.rows("a{x=\"1\"} 1\nb 2\n");
    let (second, _) = script.rows("b 3\nnew 1\na{x=\"1\"} 1\n");
    assert!(first.rows[0].labels.same_allocation(&second.rows[2].labels));
    assert!(first.rows[1].labels.same_allocation(&second.rows[0].labels));
    assert_eq!((first.counts.added, second.counts.added), (2, 1));
}

#[test]
fn a_failed_scrape_ends_everything_and_stores_nothing() {
    let mut script = Script::new();
    script.check("a 1\nb 2\n", &["a{} 1", "b{} 2"]);
    let broken = "line 2, column 3: expected a value, found 'x'";
    script.check("c 1\na x\n", &["a{} stale", "b{} stale", broken]);
    script.check("a x\n", &["line 1, column 3: expected a value, found 'x'"]);
    script.check("a 3\n", &["a{} 3"]);
    for _ in 0..4 {
        assert!(script.rows("x\n").1.is_err());
    }
    script.check("a 4\n", &["a{} 4"]);
}

#[test]
fn the_same_labels_spelt_otherwise_do_not_end() {
    let mut script = Script::new();
    script.check("a{x=\"1\",y=\"2\"} 1\n", &[r#"a{x="1", y="2"} 1"#]);
    script.check("a{y=\"2\",x=\"1\"} 2\n", &[r#"a{x="1", y="2"} 2"#]);
    script.check("a{x=\"1\",y=\"2\"} 3\n# EOF\n", &[r#"a{x="1", y="2"} 3"#]);
    script.check("b 3\n# EOF\n", &["b{} 3", r#"a{x="1", y="2"} stale"#]);
}

#[test]
fn duplicates_keep_the_first_value() {
    let mut script = Script::new();
    let (rows, _) = script.rows("a 1\na 2\nb 1\n");
    assert_eq!((rows.rows.len(), rows.counts.duplicates, rows.counts.scraped), (2, 1, 3));
    assert_eq!(rows.rows[0].value, 1.0);
}

#[test]
fn own_times_are_stamped_and_not_ended() {
    let mut script = Script::new();
    script.check("a 1 1500\nb 2\n", &["b{} 2", "a 1 @1500"]);
    script.check("b 2\n", &["b{} 2"]);
    script.job.honor_timestamps = false;
    script.check("a 1 1500\nb 2\n", &["a{} 1", "b{} 2"]);
}

#[test]
fn conflicting_labels_move_or_win() {
    let mut script = Script::new();
    let (rows, _) = script.rows("a{job=\"x\",exported_job=\"y\"} 1\n");
    let expect = r#"a{exported_exported_job="x", exported_job="y", instance="i", job="j"}"#;
    assert_eq!(rows.rows[0].labels.to_string(), expect);
    let mut script = Script::new();
    script.job.honor_labels = true;
    let (rows, _) = script.rows("a{job=\"x\",instance=\"\"} 1\n");
    assert_eq!(rows.rows[0].labels.to_string(), r#"a{instance="i", job="x"}"#);
}

#[test]
fn job_limits_fail_the_scrape() {
    let mut script = Script::new();
    script.job.limits.samples = 2;
    script.check("a 1\nb 1\n", &["a{} 1", "b{} 1"]);
    let over = "target sent 3 samples; sample_limit is 2";
    script.check("a 1\nb 1\nc 1\n", &["a{} stale", "b{} stale", over]);
    let (rows, _) = script.rows("a 1\nb 1\nc 1\n");
    assert_eq!((rows.counts.scraped, rows.counts.kept), (3, 3));
    let mut script = Script::new();
    script.job.limits.labels = 3;
    let over = "line 1, column 1: series a has a label count of 4; the limit is 3";
    script.check("a{x=\"1\"} 1\n", &[over]);
}

#[test]
fn only_changed_metadata_is_handed_on() {
    let mut script = Script::new();
    let body = "# HELP a x\n# TYPE a gauge\na 1\n";
    script.check(body, &["a{} 1", "a is a gauge"]);
    script.check(body, &["a{} 1"]);
    script.check(&body.replace("gauge", "counter"), &["a{} 1", "a is a counter"]);
}

#[test]
fn metric_relabelling_drops_before_counting() {
    let mut script = Script::new();
    let rule = RuleConfig {
        source_labels: Some(vec!["__name__".to_owned()]),
        regex: Some("go_.*".to_owned()),
        action: Some(Action::Drop),
        ..RuleConfig::default()
    };
    script.job.metric_relabel = vec![Rule::new(rule).unwrap()];
    let (rows, _) = script.rows("go_gc 1\na 1\n");
    assert_eq!((rows.counts.scraped, rows.counts.kept, rows.counts.added), (2, 1, 1));
}

#[test]
fn target_files_are_read_again_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let mut file = tempfile::NamedTempFile::new_in(dir.path()).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        file.persist(dir.path().join(name)).unwrap();
    };
    let clock = Arc::new(ManualClock::at_ms(0));
    let config = FileSd { files: vec![dir.path().join("*.y[am]*l")], refresh_interval_ms: 300_000 };
    let mut files = Files::new(config, clock);
    assert!(files.refresh());
    assert_eq!(files.groups(), []);
    write("a.yml", "- targets: [one, two]\n  labels: {env: x}\n");
    write("a.json", "[{\"targets\": [\"three\"]}]");
    assert!(files.refresh());
    assert!(!files.refresh());
    let groups = files.groups();
    assert_eq!((groups.len(), groups[0].targets.len()), (1, 2));
    assert!(groups[0].labels["__meta_filepath"].ends_with("a.yml"));
    write("a.yml", "- target: [one]\n");
    assert!(files.refresh());
    assert_eq!(files.groups(), groups, "a bad file keeps what was known");
    assert!(files.complaint().unwrap().contains("a.yml"));
    write("a.yml", "[]\n");
    assert!(files.refresh());
    assert_eq!((files.groups().len(), files.complaint()), (0, None));
}

#[test]
fn docker_answers_become_targets() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let dir = Path::new(root)
        .join("prometheus-config/prometheus__prometheus/discovery/moby/testdata/dockerprom");
    if !dir.exists() {
        eprintln!("skipped: {} is absent", dir.display());
        return;
    }
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let config = DockerSd {
        host: "unix:///x".to_owned(),
        port: 80,
        host_networking_host: "localhost".to_owned(),
        match_first_network: true,
        filters: Vec::new(),
        refresh_interval_ms: 60_000,
    };
    let found =
        docker_sd::group(&config, &read("containers/json.json"), None, &read("networks.json"))
            .unwrap();
    let node = found
        .targets
        .iter()
        .find(|t| t["__meta_docker_container_name"] == "/dockersd_node_1")
        .unwrap();
    assert_eq!(node["__address__"], "172.19.0.2:9100");
    assert_eq!(node["__meta_docker_port_private"], "9100");
    assert_eq!(node["__meta_docker_network_name"], "dockersd_default");
    assert_eq!(node["__meta_docker_network_ingress"], "false");
    assert_eq!(node["__meta_docker_container_label_com_docker_compose_service"], "node");
    assert_eq!(node["__meta_docker_network_label_com_docker_compose_project"], "dockersd");
    let host = found.targets.iter().find(|t| t["__address__"] == "localhost").unwrap();
    assert_eq!(host["__meta_docker_container_network_mode"], "host");
}

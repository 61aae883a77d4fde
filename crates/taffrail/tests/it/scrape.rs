//! Scraping by a real `prometheus.yml`: samples, `up`, staleness, errors in `targets`, reload.

use testkit::{Options, Taffrail, eventually, post};

use crate::target::Target;
use crate::{PROGRAM, quiet_config};

fn prometheus_yml(target: &Target, more: &str) -> String {
    format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 500ms\nscrape_configs:\n  - job_name: app\n    static_configs:\n      - targets: ['{}']\n        labels:\n          env: test\n    metric_relabel_configs:\n      - source_labels: [__name__]\n        regex: secret_.*\n        action: drop\n{more}",
        target.address
    )
}

#[test]
fn a_target_is_scraped_and_its_troubles_are_shown() {
    let target = Target::start(
        "# TYPE requests_total counter\n# HELP requests_total Requests.\nrequests_total{code=\"200\"} 5\nsecret_thing 1\n",
    );
    let dir = tempfile::tempdir().unwrap();
    let broken = "  - job_name: broken\n    static_configs:\n      - targets: ['127.0.0.1:1']\n";
    std::fs::write(dir.path().join("prometheus.yml"), prometheus_yml(&target, broken)).unwrap();
    let config = quiet_config("prometheus: prometheus.yml\nhost:\n  enabled: false\n");
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &Options { config, ..Options::default() });

    let (labels, value) =
        eventually("sample", 10, || taffrail.promql("requests_total").into_iter().next());
    assert_eq!(value, 5.0);
    assert_eq!(labels["instance"], target.address.to_string());
    assert_eq!(
        (&labels["job"], &labels["env"], &labels["code"]),
        (&"app".into(), &"test".into(), &"200".into())
    );
    assert!(taffrail.promql("secret_thing").is_empty());
    assert_eq!(taffrail.promql("scrape_samples_scraped{job=\"app\"}")[0].1, 2.0);
    assert_eq!(taffrail.promql("scrape_samples_post_metric_relabeling{job=\"app\"}")[0].1, 1.0);
    assert_eq!(taffrail.promql("up{job=\"app\"}")[0].1, 1.0);
    let down =
        eventually("down target", 10, || taffrail.promql("up{job=\"broken\"}").into_iter().next());
    assert_eq!(down.1, 0.0);
    let targets = taffrail.get("/api/v1/targets", &[]).json();
    let active = targets["data"]["activeTargets"].as_array().unwrap();
    assert_eq!(active.len(), 2);
    let broken = active.iter().find(|t| t["scrapePool"] == "broken").unwrap();
    assert_eq!(broken["health"], "down");
    assert!(broken["lastError"].as_str().unwrap().contains("refused"), "{broken}");
    let metadata = taffrail.get("/api/v1/metadata", &[("metric", "requests_total")]).json();
    assert_eq!(metadata["data"]["requests_total"][0]["type"], "counter");
    assert_eq!(metadata["data"]["requests_total"][0]["help"], "Requests.");

    // A series that vanishes is gone at once, not five minutes later.
    target.answer(200, "requests_total{code=\"500\"} 1\n");
    eventually("staleness", 10, || {
        taffrail.promql("requests_total{code=\"200\"}").is_empty().then_some(())
    });
    assert_eq!(taffrail.promql("requests_total{code=\"500\"}").len(), 1);
    // So is everything of a target that fails.
    target.answer(500, "");
    eventually("target down", 10, || {
        (taffrail.promql("up{job=\"app\"}")[0].1 == 0.0).then_some(())
    });
    eventually("stale", 10, || taffrail.promql("requests_total").is_empty().then_some(()));
}

#[test]
fn a_reload_changes_jobs_and_a_bad_file_changes_nothing() {
    let target = Target::start("a 1\n");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prometheus.yml");
    std::fs::write(&file, prometheus_yml(&target, "")).unwrap();
    let config = quiet_config("prometheus: prometheus.yml\nhost:\n  enabled: false\n");
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &Options { config, ..Options::default() });
    eventually("first job", 10, || taffrail.promql("up{job=\"app\"}").first().map(|_| ()));

    std::fs::write(&file, "scrape_configs:\n  - job_nam: x\n").unwrap();
    let answer = post(taffrail.address, "/-/reload").unwrap();
    assert_eq!(answer.status, 500);
    assert!(
        answer.body.contains("prometheus.yml:2") && answer.body.contains("job_name"),
        "{}",
        answer.body
    );
    assert_eq!(taffrail.promql("up{job=\"app\"}").len(), 1);

    std::fs::write(
        &file,
        prometheus_yml(&target, "").replace("job_name: app", "job_name: renamed"),
    )
    .unwrap();
    taffrail.hang_up();
    eventually("second job", 10, || taffrail.promql("up{job=\"renamed\"}").first().map(|_| ()));
    eventually("first job gone", 10, || {
        taffrail.promql("up{job=\"app\"}").is_empty().then_some(())
    });
}

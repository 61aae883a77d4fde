//! Rules in the real program: what is recorded, the life of an alert over a crash, files that change, languages.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use testkit::{Options, Taffrail, eventually, post};

use crate::target::Target;
use crate::{PROGRAM, now_ns, quiet_config};

const RULES: &str = "
groups:
- name: g
  rules:
  - record: level:double
    expr: 2 * level
    labels: {team: a}
  - alert: High
    expr: level:double > 10
    for: 6s
    labels: {severity: page}
    annotations: {summary: 'at {{ $value }}'}
";

fn start(dir: &Path, target: &Target, rules: &str) -> Taffrail {
    let prometheus = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [rules/*.yml]\nscrape_configs:\n  - job_name: app\n    static_configs:\n      - targets: ['{}']\n",
        target.address
    );
    std::fs::write(dir.join("prometheus.yml"), prometheus).unwrap();
    std::fs::create_dir_all(dir.join("rules")).unwrap();
    std::fs::write(dir.join("rules/a.yml"), rules).unwrap();
    again(dir)
}

fn again(dir: &Path) -> Taffrail {
    let config = quiet_config("prometheus: prometheus.yml\nhost:\n  enabled: false\n");
    Taffrail::start(PROGRAM, dir, &Options { config, ..Options::default() })
}

/// The alert called `name`, as the API shows it.
fn alert(taffrail: &Taffrail, name: &str) -> Option<serde_json::Value> {
    let answer = taffrail.get("/api/v1/alerts", &[]).json();
    let alerts = answer["data"]["alerts"].as_array().unwrap().clone();
    alerts.into_iter().find(|alert| alert["labels"]["alertname"] == name)
}

fn in_state(taffrail: &Taffrail, name: &str, state: &str) -> serde_json::Value {
    eventually(&format!("{name} {state}"), 20, || {
        alert(taffrail, name).filter(|alert| alert["state"] == state)
    })
}

#[test]
fn an_alert_waits_through_a_crash_fires_and_is_resolved() {
    let target = Target::start("level 8\n");
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), &target, RULES);
    let pending = in_state(&taffrail, "High", "pending");
    assert_eq!(pending["annotations"]["summary"], "at 16");
    assert_eq!(pending["value"], "1.6e+01");
    assert_eq!(taffrail.promql("level:double")[0].0["team"], "a");
    // A rule of the same group finds it at once, and so does a query.
    assert_eq!(taffrail.promql("ALERTS{alertstate=\"pending\"}").len(), 1);
    taffrail.kill();

    let taffrail = again(dir.path());
    let restored = alert(&taffrail, "High").expect("alerts are there before anything is evaluated");
    assert_eq!(restored["activeAt"], pending["activeAt"]);
    let firing = in_state(&taffrail, "High", "firing");
    assert_eq!(firing["activeAt"], pending["activeAt"]);
    taffrail.kill();

    let taffrail = again(dir.path());
    assert_eq!(alert(&taffrail, "High").unwrap()["state"], "firing");
    target.answer(200, "level 1\n");
    eventually("resolved", 20, || alert(&taffrail, "High").is_none().then_some(()));
    eventually("stale", 5, || taffrail.promql("ALERTS").is_empty().then_some(()));
    let groups = taffrail.get("/api/v1/rules", &[("type", "alert")]).json();
    let rule = &groups["data"]["groups"][0]["rules"][0];
    assert_eq!((&rule["state"], &rule["health"]), (&"inactive".into(), &"ok".into()));
    let metrics = taffrail.get("/metrics", &[]).body;
    let group = format!("rule_group=\"{}/rules/a.yml;g\"", dir.path().display());
    assert!(metrics.contains(&format!("prometheus_rule_group_rules{{{group}}} 2")), "{metrics}");
    assert!(metrics.contains(&format!("prometheus_rule_evaluation_failures_total{{{group}}} 0")));
}

#[test]
fn a_bad_rule_file_changes_nothing_and_a_good_one_keeps_states() {
    let target = Target::start("level 8\n");
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), &target, &RULES.replace("6s", "1h"));
    let pending = in_state(&taffrail, "High", "pending");
    let file = dir.path().join("rules/a.yml");

    std::fs::write(&file, RULES.replace("level:double > 10", "level:double >")).unwrap();
    let answer = post(taffrail.address, "/-/reload").unwrap();
    assert_eq!(answer.status, 500);
    assert!(
        answer.body.contains("rules/a.yml:9:5: cannot parse expr of \"High\""),
        "{}",
        answer.body
    );
    assert_eq!(alert(&taffrail, "High").unwrap()["activeAt"], pending["activeAt"]);

    // Seen without being told; the alert has its time still.
    std::fs::write(
        &file,
        RULES
            .replace("6s", "1s")
            .replace("record: level:double", "record: twice:level")
            .replace("level:double >", "twice:level >"),
    )
    .unwrap();
    let firing = in_state(&taffrail, "High", "firing");
    assert_eq!(firing["activeAt"], pending["activeAt"]);
    eventually("end of a series", 10, || taffrail.promql("level:double").is_empty().then_some(()));
    assert_eq!(taffrail.promql("twice:level").len(), 1);
}

#[test]
fn rules_read_log_lines_and_spans() {
    let target = Target::start("level 8\n");
    let dir = tempfile::tempdir().unwrap();
    let rules = "
groups:
- name: lines
  type: logql
  rules:
  - alert: Errors
    expr: sum by (app) (count_over_time({app=\"web\"} |= \"failed\" [5m])) > 1
- name: spans
  type: traceql
  rules:
  - record: spans:rate
    expr: '{ resource.service.name = \"web\" } | count_over_time()'
";
    let taffrail = start(dir.path(), &target, rules);
    let now = now_ns();
    let line = |i: i128| format!("[\"{}\",\"it failed\"]", now + i);
    let push = format!(
        "{{\"streams\":[{{\"stream\":{{\"app\":\"web\"}},\"values\":[{},{}]}}]}}",
        line(0),
        line(1)
    );
    let json = [("Content-Type", "application/json")];
    let answer = testkit::send(taffrail.address, "POST /loki/api/v1/push", &json, push.as_bytes());
    assert_eq!(answer.unwrap().status, 204);
    let span = format!(
        "{{\"resourceSpans\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"service.name\",\"value\":{{\"stringValue\":\"web\"}}}}]}},\
         \"scopeSpans\":[{{\"spans\":[{{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\",\"name\":\"a\",\
         \"startTimeUnixNano\":\"{now}\",\"endTimeUnixNano\":\"{}\"}}]}}]}}]}}",
        now + 1
    );
    let answer = testkit::send(taffrail.address, "POST /v1/traces", &json, span.as_bytes());
    assert_eq!(answer.unwrap().status, 200);
    let firing = in_state(&taffrail, "Errors", "firing");
    assert_eq!((&firing["labels"]["app"], &firing["value"]), (&"web".into(), &"2e+00".into()));
    let recorded = eventually("recorded", 20, || taffrail.promql("spans:rate").into_iter().next());
    assert_eq!(recorded.1, 1.0);
}

#[test]
fn check_reads_rule_files_and_those_that_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let check = |file: &str| {
        let file = dir.path().join(file);
        let output = Command::new(PROGRAM).arg("check").arg(file).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("a.yml", RULES);
    write("prometheus.yml", "rule_files: [a.yml, none.yml]\n");
    let (code, text) = check("a.yml");
    assert_eq!((code, text.contains("(rules): 1 group with 2 rules")), (Some(0), true), "{text}");
    let (code, text) = check("prometheus.yml");
    assert_eq!((code, text.contains("a.yml: 1 group with 2 rules")), (Some(0), true), "{text}");
    assert!(text.contains("no rule file is called \"none.yml\""), "{text}");
    write("taffrail.yml", "rules: ['*.yml']\n");
    write("a.yml", &RULES.replace("2 * level", "2 *"));
    for file in ["a.yml", "prometheus.yml", "taffrail.yml"] {
        let (code, text) = check(file);
        assert_eq!(
            (code, text.contains("a.yml:6:5: cannot parse expr")),
            (Some(2), true),
            "{text}"
        );
    }
}

#[test]
fn unit_tests_of_rules_say_what_fails_and_end_accordingly() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yml"), RULES.replace("6s", "2m")).unwrap();
    let test = |alerts: &str| {
        format!(
            "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n  - {{series: level, values: '8x5'}}\n  alert_rule_test:\n  - eval_time: 3m\n    alertname: High\n    exp_alerts: {alerts}\n"
        )
    };
    let run = |text: &str| {
        let file = dir.path().join("test.yml");
        std::fs::write(&file, text).unwrap();
        let output = Command::new(PROGRAM).args(["test", "rules"]).arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) =
        run(&test("[{exp_labels: {severity: page, team: a}, exp_annotations: {summary: at 16}}]"));
    assert_eq!((code, text.contains("SUCCESS")), (Some(0), true), "{text}");
    let (code, text) = run(&test("[]"));
    assert_eq!((code, text.contains("FAILED")), (Some(1), true), "{text}");
    assert!(text.contains("alertname: High, time: 3m"), "{text}");
}

#[test]
fn alerts_are_sent_to_the_alertmanagers_of_prometheus_yml() {
    let target = Target::start("level 8\n");
    let (alertmanager, got) = recorder();
    let dir = tempfile::tempdir().unwrap();
    let prometheus = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n  external_labels: {{site: lab}}\n\
         rule_files: [rules/*.yml]\n\
         alerting:\n  alert_relabel_configs:\n  - {{action: labeldrop, regex: instance}}\n  \
         alertmanagers:\n  - path_prefix: /am\n    basic_auth: {{username: u, password: p}}\n    \
         alert_relabel_configs: [{{target_label: to, replacement: here}}]\n    static_configs: [{{targets: ['{alertmanager}']}}]\n  \
         - static_configs: [{{targets: ['127.0.0.1:1']}}]\n    relabel_configs: [{{action: drop, source_labels: [__address__], regex: .*}}]\n\
         scrape_configs:\n  - job_name: app\n    static_configs:\n      - targets: ['{}']\n",
        target.address
    );
    std::fs::write(dir.path().join("prometheus.yml"), prometheus).unwrap();
    std::fs::create_dir_all(dir.path().join("rules")).unwrap();
    std::fs::write(dir.path().join("rules/a.yml"), RULES.replace("6s", "1s")).unwrap();
    let taffrail = again(dir.path());

    let (head, body) = eventually("an alert", 20, || got.try_recv().ok());
    assert!(head.starts_with("POST /am/api/v2/alerts HTTP/1.1\r\n"), "{head}");
    assert!(
        head.to_ascii_lowercase()
            .contains("authorization: basic dTpw".to_ascii_lowercase().as_str()),
        "{head}"
    );
    let alerts: serde_json::Value = serde_json::from_str(&body).unwrap();
    let labels = serde_json::json!({"alertname": "High", "job": "app", "severity": "page", "site": "lab", "team": "a", "to": "here"});
    assert_eq!(alerts[0]["labels"], labels);
    assert_eq!(alerts[0]["annotations"]["summary"], "at 16");
    let url = format!("http://{}/graph?g0.expr=level%3Adouble+%3E+10&g0.tab=1", taffrail.address);
    assert_eq!(alerts[0]["generatorURL"], url);
    let known = taffrail.get("/api/v1/alertmanagers", &[]).json();
    assert_eq!(
        known["data"],
        serde_json::json!({
            "activeAlertmanagers": [{"url": format!("http://{alertmanager}/am/api/v2/alerts")}],
            "droppedAlertmanagers": [{"url": "http://127.0.0.1:1/api/v2/alerts"}],
        })
    );
    let starts: jiff::Timestamp = alerts[0]["startsAt"].as_str().unwrap().parse().unwrap();

    target.answer(200, "level 1\n");
    let (_, body) = eventually("a resolved alert", 20, || got.try_recv().ok());
    let alerts: serde_json::Value = serde_json::from_str(&body).unwrap();
    let ends: jiff::Timestamp = alerts[0]["endsAt"].as_str().unwrap().parse().unwrap();
    let now = jiff::Timestamp::from_nanosecond(now_ns()).unwrap();
    assert!(starts < ends && ends <= now, "{starts} {ends} {now}");
    let metrics = taffrail.get("/metrics", &[]).body;
    let sent = format!(
        "prometheus_notifications_sent_total{{alertmanager=\"http://{alertmanager}/am/api/v2/alerts\"}} 2"
    );
    assert!(metrics.contains(&sent), "{metrics}");
}

/// A server that takes everything and hands on what it took: head and body.
fn recorder() -> (std::net::SocketAddr, std::sync::mpsc::Receiver<(String, String)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (took, taken) = std::sync::mpsc::channel();
    let serve = move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut len) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {
                let line = head.lines().last().unwrap_or("").to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    len = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; len];
            stream.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).unwrap();
            let _nobody_waits = took.send((head, String::from_utf8(body).unwrap()));
        }
    };
    std::thread::Builder::new().name("recorder".into()).spawn(serve).unwrap();
    (address, taken)
}

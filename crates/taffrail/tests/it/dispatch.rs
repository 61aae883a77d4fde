//! Alerts on their way through the real program: from a rule to a webhook, over crashes, past silences.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value as Json, json};
use testkit::{Options, Recorder, Taffrail, eventually, send};

use crate::target::Target;
use crate::{PROGRAM, quiet_config};

fn alertmanager(webhook: SocketAddr) -> String {
    format!(
        "route: {{receiver: team, group_by: [alertname], group_wait: 100ms, group_interval: 300ms, repeat_interval: 1h}}\nreceivers:\n- name: team\n  webhook_configs:\n  - url: http://{webhook}/\n"
    )
}

fn start(dir: &Path, further: &str) -> Taffrail {
    let config = format!(
        "alertmanager: alertmanager.yml\ndefault_rules: false\nhost:\n  enabled: false\n{further}"
    );
    Taffrail::start(PROGRAM, dir, &Options { config: quiet_config(&config), ..Options::default() })
}

/// Tells of alerts by number: whether each fires.
fn tell(address: SocketAddr, alerts: &[(usize, bool)]) -> bool {
    let alerts: Vec<Json> = alerts
        .iter()
        .map(|(number, fires)| {
            let labels =
                json!({ "alertname": format!("A{}", number % 3), "n": number.to_string() });
            let ends = if *fires { "2100-01-01T00:00:00Z" } else { "2026-01-01T00:00:01Z" };
            json!({ "labels": labels, "startsAt": "2026-01-01T00:00:00Z", "endsAt": ends })
        })
        .collect();
    let body = Json::from(alerts).to_string();
    let headers = [("Content-Type", "application/json")];
    send(address, "POST /api/v2/alerts", &headers, body.as_bytes())
        .is_ok_and(|answer| answer.status == 200)
}

/// The bodies that a webhook got.
fn bodies(recorder: &Recorder) -> Vec<Json> {
    let requests = recorder.requests();
    requests.iter().map(|request| serde_json::from_str(&request.body).unwrap()).collect()
}

/// What the webhook knows to fire, by group.
fn known(recorder: &Recorder) -> BTreeMap<String, Vec<String>> {
    let mut known = BTreeMap::new();
    for body in bodies(recorder) {
        let group = body["groupLabels"]["alertname"].as_str().unwrap().to_owned();
        let alerts = body["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|alert| alert["status"] == "firing");
        let mut numbers: Vec<String> =
            firing.map(|alert| alert["labels"]["n"].as_str().unwrap().to_owned()).collect();
        numbers.sort();
        known.insert(group, numbers);
    }
    known.retain(|_, numbers| !numbers.is_empty());
    known
}

#[test]
fn a_rule_reaches_a_webhook_and_its_end_does() {
    let webhook = Recorder::ok("");
    let target = Target::start("level 8\n");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("alertmanager.yml"), alertmanager(webhook.address)).unwrap();
    let prometheus = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n  external_labels: {{site: here}}\nrule_files: [rules.yml]\nscrape_configs:\n  - job_name: app\n    static_configs:\n      - targets: ['{}']\n",
        target.address
    );
    std::fs::write(dir.path().join("prometheus.yml"), prometheus).unwrap();
    let rules = "groups:\n- name: g\n  rules:\n  - alert: High\n    expr: level > 5\n    annotations: {summary: 'at {{ $value }}'}\n";
    std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
    let taffrail = start(dir.path(), "prometheus: prometheus.yml\n");
    let first = eventually("told", 20, || bodies(&webhook).first().cloned());
    assert_eq!(first["status"], "firing");
    assert_eq!(first["receiver"], "team");
    assert_eq!(first["groupKey"], "{}:{alertname=\"High\"}");
    let alert = &first["alerts"][0];
    assert_eq!(alert["annotations"]["summary"], "at 8");
    assert_eq!(
        (&alert["labels"]["job"], &alert["labels"]["site"]),
        (&"app".into(), &"here".into())
    );
    let shown = taffrail.get("/api/v2/alerts", &[("filter", "alertname=High")]).json();
    assert_eq!(shown[0]["fingerprint"], alert["fingerprint"]);
    assert_eq!(shown[0]["receivers"], json!([{ "name": "team" }]));
    target.answer(200, "level 1\n");
    let last = eventually("told of the end", 20, || {
        bodies(&webhook).into_iter().find(|body| body["status"] == "resolved")
    });
    assert_eq!(last["alerts"][0]["status"], "resolved");
    assert_eq!(bodies(&webhook).len(), 2, "nothing is told twice");
    let history = eventually("the history", 10, || {
        let query = "{source=\"taffrail\", stream=\"alerts\"}";
        let lines = taffrail.logql(query, 0, 100);
        (lines.len() == 4).then_some(lines)
    });
    let events: Vec<Json> =
        history.iter().map(|(_, line)| serde_json::from_str(line).unwrap()).collect();
    let told = |event: &Json| match &event["event"] {
        Json::String(kind) if kind == "alert" => format!("{} {}", kind, event["state"]),
        kind => format!("{} {}", kind, event["outcome"]),
    };
    assert_eq!(
        events.iter().map(told).collect::<Vec<_>>(),
        [
            "alert \"firing\"",
            "\"notification\" \"delivered\"",
            "alert \"resolved\"",
            "\"notification\" \"delivered\""
        ]
    );
}

#[test]
fn crashes_lose_no_message() {
    const CRASHES: usize = 25;
    // Some answers take a while, so that crashes come before them.
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let webhook = Recorder::start(move |_| {
        let number = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis([0, 30, 5][number % 3]));
        (200, Vec::new(), String::new())
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("alertmanager.yml"), alertmanager(webhook.address)).unwrap();
    let mut fires = BTreeMap::new();
    let mut random = testkit::mix::Random::new(7);
    for _ in 0..CRASHES {
        let taffrail = start(dir.path(), "");
        for _ in 0..1 + random.below(6) {
            let number = usize::try_from(random.below(12)).unwrap();
            let is_firing = random.below(2) == 0;
            // What was acknowledged must be known; nothing here is not.
            assert!(tell(taffrail.address, &[(number, is_firing)]));
            fires.insert(number, is_firing);
            std::thread::sleep(Duration::from_millis(random.below(250)));
        }
        taffrail.kill();
    }
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in fires.iter().filter(|(_, fires)| **fires).map(|(number, _)| number) {
        expected.entry(format!("A{}", number % 3)).or_default().push(number.to_string());
    }
    expected.values_mut().for_each(|numbers| numbers.sort());
    let taffrail = start(dir.path(), "");
    eventually("the webhook knows what fires", 20, || (known(&webhook) == expected).then_some(()));
    // The same body of a group twice in a row is a message whose arrival was not noted before a crash.
    let mut last: BTreeMap<String, Json> = BTreeMap::new();
    let mut twice = 0;
    for body in bodies(&webhook) {
        let group = body["groupKey"].as_str().unwrap().to_owned();
        twice +=
            usize::from(last.insert(group, body["alerts"].clone()) == Some(body["alerts"].clone()));
    }
    assert!(twice <= 3 * CRASHES, "{twice} twice");
    let before = webhook.requests().len();
    taffrail.kill();
    let _taffrail = start(dir.path(), "");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(webhook.requests().len(), before, "a start alone tells nothing again");
}

#[test]
fn a_webhook_that_was_down_hears_everything_in_order() {
    let is_up = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let answers = is_up.clone();
    let webhook = Recorder::start(move |_| {
        let up = answers.load(std::sync::atomic::Ordering::SeqCst);
        (if up { 200 } else { 503 }, Vec::new(), String::new())
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("alertmanager.yml"), alertmanager(webhook.address)).unwrap();
    let taffrail = start(dir.path(), "");
    let waiting = |taffrail: &Taffrail, count: usize| {
        eventually(&format!("{count} wait"), 20, || {
            let line = format!("taffrail_alerting_outbox_notifications {count}\n");
            taffrail.get("/metrics", &[]).body.contains(&line).then_some(())
        });
    };
    for (step, number) in [0, 3, 6].into_iter().enumerate() {
        assert!(tell(taffrail.address, &[(number, true)]));
        waiting(&taffrail, step + 1);
    }
    taffrail.kill();
    let before = webhook.requests().len();
    is_up.store(true, std::sync::atomic::Ordering::SeqCst);
    let taffrail = start(dir.path(), "");
    waiting(&taffrail, 0);
    let heard: Vec<usize> = bodies(&webhook)
        .iter()
        .skip(before)
        .map(|body| body["alerts"].as_array().unwrap().len())
        .collect();
    assert_eq!(heard, [1, 2, 3]);
}

#[test]
fn silences_survive_and_amtool_is_at_home() {
    let webhook = Recorder::ok("");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("alertmanager.yml"), alertmanager(webhook.address)).unwrap();
    let taffrail = start(dir.path(), "");
    let amtool = |taffrail: &Taffrail, args: &[&str]| -> Option<String> {
        let url = format!("--alertmanager.url=http://{}", taffrail.address);
        let output = Command::new("amtool").arg(url).args(args).output().ok()?;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let silence = json!({
        "matchers": [{ "name": "n", "value": "1|2", "isRegex": true, "isEqual": true }],
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "2100-01-01T00:00:00Z",
        "createdBy": "me",
        "comment": "c",
    });
    let headers = [("Content-Type", "application/json")];
    let what = "POST /api/v2/silences";
    let made = send(taffrail.address, what, &headers, silence.to_string().as_bytes()).unwrap();
    let id = made.json()["silenceID"].as_str().unwrap().to_owned();
    taffrail.kill();
    let taffrail = start(dir.path(), "");
    let shown = taffrail.get(&format!("/api/v2/silence/{id}"), &[]).json();
    assert_eq!(shown["status"]["state"], "active");
    assert!(tell(taffrail.address, &[(1, true), (4, true)]));
    let told = eventually("told", 20, || bodies(&webhook).first().cloned());
    assert_eq!(told["alerts"].as_array().unwrap().len(), 1, "{told}");
    let status = taffrail.get("/api/v2/alerts", &[("filter", "n=1")]).json();
    assert_eq!(status[0]["status"]["silencedBy"], json!([id]));
    // Where Debian's package is not there, the API alone was asked.
    if let Some(alerts) = amtool(&taffrail, &["alert", "query"]) {
        assert!(alerts.contains("A1") && alerts.lines().count() == 2, "{alerts}");
        let silences = amtool(&taffrail, &["silence", "query", "-q"]).unwrap();
        assert_eq!(silences.trim(), id);
        amtool(&taffrail, &["silence", "expire", &id]).unwrap();
        assert_eq!(amtool(&taffrail, &["silence", "query", "-q"]).unwrap(), "");
    }
}

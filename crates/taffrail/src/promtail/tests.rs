//! Which files jobs read, under which labels.

#![expect(clippy::disallowed_methods, reason = "the files are those of a user")]

use super::*;

fn found(text: &str, files: &[(&str, &str)]) -> (Vec<Found>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    let path = dir.path().join("promtail.yml");
    std::fs::write(&path, text).unwrap();
    let plan = load(&path, &|_| None, &Arc::default()).unwrap();
    let (before, socket) = (ReadBefore::of(&plan), Path::new("/run/d.sock"));
    (targets::find(&plan, "h1", Some(socket), &before), dir)
}

#[test]
fn targets_are_relabelled_and_hold_no_hidden_labels() {
    let text = r#"
scrape_configs:
- job_name: system
  decompression: {enabled: true, format: gz}
  static_configs:
  - targets: [localhost]
    labels: {job: varlogs, __path__: "/var/log/*log", __path_exclude__: "/var/log/x*"}
  - labels: {job: other, __path__: "/srv/{a,b}.log", __host__: h2}
  - labels: {job: dropped, __path__: "/srv/c.log"}
  - labels: {job: nowhere}
  relabel_configs:
  - {source_labels: [job], regex: dropped, action: drop}
  - {source_labels: [__path__], regex: "/var/(.*)", target_label: path}
- job_name: containers
  docker_sd_configs: [{host: "unix:///run/d.sock"}, {host: "unix:///run/other.sock"}]
- job_name: journal
  journal: {path: /j}
- job_name: push
  loki_push_api: {server: {http_listen_port: 3500}}
  syslog: {listen_address: ":1514"}
  gelf: {}
- job_name: listed
  file_sd_configs: [{files: ["*.json"]}]
"#;
    let listed = r#"[{"targets": ["a", "b"], "labels": {"__path__": "/l/*.log", "env": "x"}},
        {"labels": {"__path__": "relative/../x"}}]"#;
    let (found, _dir) = found(text, &[("sd.json", listed), ("bad.json", "{")]);
    let [system, containers, journal, push, listed] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(containers.others, ["containers of unix:///run/d.sock"]);
    let other = "containers of unix:///run/other.sock are not read: only those of /run/d.sock are";
    assert!(containers.complaints[0].starts_with(other), "{:?}", containers.complaints);
    assert_eq!(journal.others, ["the journal in /j"]);
    assert_eq!(journal.complaints, [""; 0]);
    assert_eq!(
        push.others,
        ["syslog on 0.0.0.0:1514", "gelf on 0.0.0.0:12201", "pushes on 0.0.0.0:3500"]
    );
    assert_eq!(system.files, ["/var/log/*log"]);
    assert_eq!(system.complaints, ["a target has no __path__"]);
    let target = &system.targets[0];
    assert_eq!(target.labels.to_string(), r#"{job="varlogs", path="log/*log"}"#);
    assert_eq!((target.name.as_str(), target.unpacks), ("promtail/system", true));
    assert_eq!(target.exclude[0].as_str(), "/var/log/x*");
    assert_eq!(listed.files, ["/l/*.log", "/l/*.log"]);
    assert_eq!(listed.complaints.len(), 2, "{:?}", listed.complaints);
    assert_eq!(listed.targets[0].labels.to_string(), r#"{env="x"}"#);
}

#[test]
fn positions_of_all_kinds_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("promtail.yml");
    std::fs::write(&path, "positions: {filename: p.yaml}\n").unwrap();
    let text = "positions:\n  /a.log: \"5\"\n  cursor-j: s=1;i=2\n  cursor-4af0: \"1795000000\"\n";
    std::fs::write(dir.path().join("p.yaml"), text).unwrap();
    let before = ReadBefore::of(&load(&path, &|_| None, &Arc::default()).unwrap());
    assert_eq!(before.journals["j"], "s=1;i=2");
    assert_eq!(before.containers_ns["4af0"], 1_795_000_000_000_000_000);
    assert_eq!(before.containers_ns.len(), 1);
}

#[test]
fn what_cannot_run_is_refused_by_name() {
    for (job, expected) in [
        ("  encoding: utf-99\n", "job \"j\": unknown encoding \"utf-99\""),
        (
            "  pipeline_stages: [{metrics: {a: {type: Counter, config: {action: inc}}}}]\n- job_name: k\n  \
             pipeline_stages: [{metrics: {a: {type: Gauge, config: {action: inc}}}}]\n",
            "metric \"promtail_custom_a\" is something else elsewhere",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("promtail.yml");
        std::fs::write(&path, format!("scrape_configs:\n- job_name: j\n{job}")).unwrap();
        let error = load(&path, &|_| None, &Arc::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

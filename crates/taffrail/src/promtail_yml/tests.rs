//! What a `promtail.yml` becomes, and how mistakes in it are shown.

use ingest::pipeline::{Entry, Metrics, Pipeline};
use model::{Labels, ManualClock};

use super::*;

fn load(text: &str) -> Result<(PromtailConfig, Vec<Note>), String> {
    let env = |name: &str| (name == "HOST").then(|| "h1".to_owned());
    super::load(Path::new("/etc/promtail.yml"), text, &env).map_err(|e| e.to_string())
}

fn job_of(lines: &str) -> Job {
    let text = format!("scrape_configs:\n- job_name: j\n{lines}");
    load(&text).unwrap_or_else(|e| panic!("{e}")).0.jobs.remove(0)
}

#[test]
fn the_table_is_well_formed() {
    schema::tests::check(&[keys::OBJECTS, schema::OBJECTS]);
}

#[test]
fn a_usual_file_is_read() {
    let text = r#"
server: {http_listen_port: 9080, grpc_listen_port: 0}
positions: {filename: /tmp/positions.yaml}
clients:
  - url: http://loki:3100/loki/api/v1/push
    external_labels: {host: "${HOST}"}
    tenant_id: team-a
limits_config: {readline_rate_enabled: true, readline_rate: 5.5, max_line_size: 256KB}
scrape_configs:
  - job_name: system
    encoding: UTF-16
    decompression: {enabled: true, initial_delay: 10s, format: gz}
    static_configs:
      - targets: [localhost]
        labels: {job: varlogs, __path__: "/var/log/*log", __path_exclude__: "/var/log/x*"}
    relabel_configs:
      - {source_labels: [__path__], regex: "(.*)", target_label: path, replacement: "${1}"}
  - job_name: containers
    docker_sd_configs:
      - {host: "unix:///var/run/docker.sock", refresh_interval: 5s}
  - job_name: journal
    journal: {json: true, max_age: 12h, labels: {job: systemd}}
  - job_name: syslog
    syslog: {listen_address: "0.0.0.0:1514", idle_timeout: 60s, labels: {job: syslog}}
"#;
    let (config, notes) = load(text).unwrap();
    assert_eq!(config.positions, Path::new("/tmp/positions.yaml"));
    assert_eq!(config.external_labels["host"], "h1");
    assert_eq!(config.external_labels["tenant"], "team-a");
    assert_eq!(config.limits.readline, Some((5.5, 10_000, true)));
    assert_eq!(config.limits.max_line_bytes, 256 << 10);
    let [system, containers, journal, syslog] = config.jobs.as_slice() else { panic!() };
    assert_eq!(system.static_targets[0]["__path_exclude__"], "/var/log/x*");
    assert_eq!(system.encoding.as_deref(), Some("UTF-16"));
    let delay = system.decompression.as_ref().map(|d| d.initial_delay_ns);
    assert_eq!((delay, system.relabel.len()), (Some(10_000_000_000), 1));
    assert_eq!(containers.docker_sd[0].refresh_interval_ms, 5_000);
    let journal = journal.journal.as_ref().unwrap();
    assert_eq!((journal.json, journal.max_age_ns), (true, 12 * 3_600_000_000_000));
    let syslog = syslog.syslog.as_ref().unwrap();
    assert_eq!((syslog.listen_protocol.as_str(), syslog.format.as_str()), ("tcp", "rfc5424"));
    let keys: Vec<&str> = notes.iter().map(|note| note.key.as_str()).collect();
    assert_eq!(keys, ["server", "clients", "syslog"]);
}

#[test]
fn what_is_rarely_meant_is_noted() {
    let check = |text: &str, expected: &[&str]| {
        let (_, notes) = load(&format!("scrape_configs:\n{text}")).unwrap();
        let shown: Vec<String> = notes
            .iter()
            .map(|note| format!("{} {} {:?}", note.line, note.key, note.kind))
            .collect();
        assert_eq!(shown, expected, "{text}");
    };
    check(
        "- job_name: push\n  loki_push_api:\n    server: {http_listen_port: 3500, grpc_listen_port: 0}\n",
        &["4 grpc_listen_port NoGrpc", "3 loki_push_api OpenToAll"],
    );
    check(
        "- job_name: push\n  loki_push_api: {server: {http_listen_port: 1, http_listen_address: 127.0.0.1}}\n",
        &[],
    );
    check("- job_name: s\n  syslog: {listen_address: ':1'}\n", &["3 syslog OpenToAll"]);
    check("- job_name: s\n  syslog: {listen_address: 'localhost:1'}\n", &[]);
    check("- job_name: g\n  gelf:\n", &["3 gelf OpenToAll"]);
    check("- job_name: g\n  gelf: {listen_address: 'localhost:1'}\n", &[]);
    check(
        "- job_name: pods\n  kubernetes_sd_configs: [{role: pod}]\n",
        &["3 kubernetes_sd_configs NotSupportedYet", "2 pods ReadsNothing"],
    );
    check(
        "- job_name: f\n  static_configs:\n  - labels: {__path__: /a}\n  - labels: {path: /b}\n",
        &["5 static_configs NoPath"],
    );
    let made = "  relabel_configs: [{source_labels: [path], target_label: __path__}]\n";
    check(&format!("- job_name: f\n  static_configs: [{{labels: {{path: /b}}}}]\n{made}"), &[]);
    let wrong =
        load("scrape_configs:\n- job_name: p\n  loki_push_api: {server: {http_listen_prot: 1}}\n");
    assert_eq!(
        wrong.unwrap_err(),
        "/etc/promtail.yml:3:3: unknown key \"http_listen_prot\" in push_server; the nearest known key is \"http_listen_port\""
    );
}

#[test]
fn stages_of_a_file_run() {
    let job = job_of(
        r#"  pipeline_stages:
    - cri: {}
    - json: {expressions: {level: , msg: message, took: timing.ms}}
    - template: {source: level, template: '{{ ToUpper .Value }} of {{ .app }}{{ .nowhere }}'}
    - replace: {expression: '(secret\d)', replace: '{{ .Value | ToUpper }}!'}
    - labels: {level: , app: }
    - match:
        selector: '{level=~"WARN.*"} |= "SECRET1!"'
        stages:
          - static_labels: {seen: "yes"}
    - match: {selector: '{job="j"} | json | took > 5', action: drop}
    - metrics:
        lines: {type: Counter, description: all, config: {match_all: true, action: inc}}
        took: {type: histogram, config: {buckets: [0.5, 2]}}
    - output: {source: msg}
"#,
    );
    let metrics = Metrics::default();
    let mut pipeline = Pipeline::new(&job.stages, &metrics).unwrap();
    let clock = ManualClock::at_ms(1_795_000_000_000);
    let mut send = |line: &str| {
        let labels = Labels::from_pairs([("app", "web"), ("job", "j")]);
        let entry = Entry { labels, line: line.to_owned(), ..Entry::default() };
        let mut out = Vec::new();
        pipeline.process(entry, &clock, &mut out);
        out.pop()
    };
    let line =
        r#"2026-11-23T02:50:23Z stdout F {"level":"warn","message":"secret1","timing":{"ms":1}}"#;
    let out = send(line).unwrap();
    assert_eq!(out.line, "secret1");
    assert_eq!(out.labels.get("level"), Some("WARN of web<no value>"));
    assert_eq!((out.labels.get("seen"), out.labels.get("stream")), (Some("yes"), Some("stdout")));
    assert!(send(r#"2026-11-23T02:50:23Z stdout F {"took":7}"#).is_none());
    assert_eq!(metrics.samples(&clock).len(), 1 + 5);
}

#[test]
fn mistakes_have_a_place_and_say_what_would_be_right() {
    let check = |lines: &str, expected: &str| {
        let text = format!("scrape_configs:\n- job_name: j\n{lines}");
        let error = load(&text).unwrap_err();
        assert!(error.contains(expected), "{error}\n{text}");
    };
    check(
        "  pipeline_stage: []\n",
        "/etc/promtail.yml:3:3: unknown key \"pipeline_stage\" in scrape_config; the nearest known key is \"pipeline_stages\"",
    );
    check(
        "  pipeline_stages:\n  - jsn: {}\n",
        ":4:5: unknown key \"jsn\" in stage; the nearest known key is \"json\"",
    );
    check(
        "  pipeline_stages:\n  - json: {expressions: {a: b-c}}\n",
        ":4:5: invalid json stage: JMESPath expression \"b-c\"",
    );
    check(
        "  pipeline_stages:\n  - docker: {}\n    cri: {}\n",
        ":5:5: a stage must have one key; \"cri\" is a second one",
    );
    check("  pipeline_stages:\n  - geoip: {db: x}\n", "geoip is not supported");
    check(
        "  pipeline_stages:\n  - match: {selector: foobar, action: drop}\n",
        "selector \"foobar\"",
    );
    check("  pipeline_stages:\n  - template: {source: a, template: '{{ nope .a }}'}\n", "nope");
    check(
        "  pipeline_stages:\n  - timestamp: {source: a, format: b, action_on_failure: c}\n",
        "must be fudge or skip",
    );
    check(
        "  pipeline_stages:\n  - multiline: {firstline: x, max_wait_time: 3}\n",
        "max_wait_time must be a duration",
    );
    check("  windows_events: {}\n", ":3:3: windows_events is not supported");
    check("  kafka: {}\n", "kafka is not supported");
    check("  syslog: {}\n", "syslog needs a listen_address");
    check("  relabel_configs: [{action: nope}]\n", "unknown relabel action");
    check("- job_name: j\n", "job_name \"j\" is used twice");
    check("- encoding: x\n", "job_name is empty");
    assert!(load("not_a_thing: true\n").unwrap_err().contains("unknown key \"not_a_thing\""));
    assert!(load("target_config: {stdin: true}\n").unwrap_err().contains("stdin is not supported"));
}

#[test]
fn a_file_is_known_by_its_keys() {
    for (text, expected) in [
        ("positions: {filename: x}\nscrape_configs: []\n", true),
        ("scrape_configs:\n- job_name: a\n  pipeline_stages: []\n", true),
        ("clients: [{url: x}]\n", true),
        ("scrape_configs:\n- job_name: a\n  static_configs: []\n", false),
        ("server: {}\ndata_dir: x\n", false),
        ("[", false),
    ] {
        assert_eq!(looks_like_promtail(text), expected, "{text}");
    }
}

//! `promtail.yml` under the real program: its jobs run, whenever the program dies.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use testkit::{Options, Taffrail, eventually};

use crate::{PROGRAM, now_ns, quiet_config};

/// `promtail.yml` beside the configuration.
fn start(dir: &Path, promtail: &str) -> Taffrail {
    fs::write(dir.join("promtail.yml"), promtail).unwrap();
    let more = "host:\n  enabled: false\nquery:\n  max_log_lines: 100000\npromtail: promtail.yml\n";
    Taffrail::start(PROGRAM, dir, &Options { config: quiet_config(more), ..Options::default() })
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Record `number`: a first line, and as many others as its number says.
fn record(number: usize) -> Vec<String> {
    let more = (1..=number % 4).map(|at| format!("  {number}.{at} at some.place(Of.java:{at})"));
    [format!("[{number}] level=error it broke")].into_iter().chain(more).collect()
}

#[test]
fn records_of_many_lines_are_stored_once_whenever_the_program_dies() {
    let begun_ns = now_ns();
    let (data, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = logs.path().join("app.log");
    let promtail = format!(
        r#"
clients: [{{url: "http://loki:3100/loki/api/v1/push", external_labels: {{site: s1}}}}]
positions: {{filename: {logs}/positions.yaml}}
scrape_configs:
- job_name: shop
  static_configs:
  - targets: [localhost]
    labels: {{job: shop, __path__: "{logs}/*.log"}}
  pipeline_stages:
  - multiline: {{firstline: '^\[', max_wait_time: 10m}}
  - regex: {{expression: '^\[(?P<number>\d+)\] level=(?P<level>\w+)'}}
  - labels: {{level: }}
  - metrics:
      records: {{type: Counter, source: number, config: {{action: inc}}}}
  relabel_configs:
  - {{source_labels: [job], target_label: app}}
"#,
        logs = logs.path().display()
    );
    // What Promtail had read is not read again.
    let before = "[old] was sent by Promtail\n";
    append(&log, before);
    let positions = format!("positions:\n  {}: \"{}\"\n", log.display(), before.len());
    fs::write(logs.path().join("positions.yaml"), positions).unwrap();

    let lines = |taffrail: &Taffrail| {
        taffrail.logql(r#"{app="shop", level="error", site="s1"}"#, begun_ns, 100_000)
    };
    let (mut written, mut cut) = (0, Vec::new());
    for round in 0..8 {
        let taffrail = start(data.path(), &promtail);
        for _ in 0..60 {
            // A record whose first lines came before the program died goes on behind that.
            let all = [std::mem::take(&mut cut), record(written)].concat();
            append(&log, &(all.join("\n") + "\n"));
            written += 1;
        }
        let of_next = record(written);
        let (first, rest) = of_next.split_at(of_next.len().div_ceil(2));
        append(&log, &(first.join("\n") + "\n"));
        cut = rest.to_vec();
        written += 1;
        if round % 2 == 0 {
            eventually("some records", 30, || {
                Some(lines(&taffrail)).filter(|l| l.len() >= written - 2)
            });
        }
        if round == 3 {
            fs::rename(&log, logs.path().join("app.log.1")).unwrap();
        }
        taffrail.kill();
    }
    append(&log, &([cut, vec!["[end] level=error".to_owned()]].concat().join("\n") + "\n"));
    let taffrail = start(data.path(), &promtail);
    let stored = eventually("all records", 60, || {
        Some(lines(&taffrail)).filter(|stored| stored.len() >= written)
    });
    let stored: Vec<&str> = stored.iter().map(|(_, line)| line.as_str()).collect();
    let expected: Vec<String> = (0..written).map(|number| record(number).join("\n")).collect();
    assert_eq!(stored, expected);

    let answer = taffrail.get("/metrics", &[]);
    let shown = "# TYPE promtail_custom_records counter\npromtail_custom_records{";
    assert!(answer.body.contains(shown), "{}", answer.body);
    let status = taffrail.get("/api/taffrail/v1/status", &[]).json();
    assert_eq!(status["promtail"][0]["job"], "shop", "{status}");
    taffrail.assert_quiet(&[]);
}

#[test]
fn a_changed_file_changes_the_jobs() {
    let begun_ns = now_ns();
    let (data, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let promtail = |stages: &str| {
        format!(
            "positions: {{filename: {0}/none.yaml}}\nscrape_configs:\n- job_name: j\n  pipeline_stages: {stages}\n  \
             static_configs: [{{labels: {{job: j, __path__: '{0}/*.log'}}}}]\n",
            logs.path().display()
        )
    };
    let log = logs.path().join("a.log");
    append(&log, "one\ndropped one\n");
    let taffrail = start(data.path(), &promtail("[{drop: {expression: ^dropped}}]"));
    let lines = |count: usize| {
        let all = eventually("lines", 30, || {
            Some(taffrail.logql("{job=\"j\"}", begun_ns, 100)).filter(|l| l.len() >= count)
        });
        all.into_iter().map(|(_, line)| line).collect::<Vec<_>>()
    };
    assert_eq!(lines(1), ["one"]);
    let metrics = taffrail.get("/metrics", &[]).body;
    assert!(
        metrics.contains("logentry_dropped_lines_total{reason=\"drop_stage\"} 1\n"),
        "{metrics}"
    );
    fs::write(data.path().join("promtail.yml"), promtail("[{nope: {}}]")).unwrap();
    taffrail.hang_up();
    eventually("refusal", 30, || {
        taffrail.log().iter().any(|line| line.contains("unknown key \"nope\"")).then_some(())
    });
    fs::write(
        data.path().join("promtail.yml"),
        promtail("[{template: {source: x, template: '{{.Entry}}!'}}, {output: {source: x}}]"),
    )
    .unwrap();
    taffrail.hang_up();
    let reloaded = |line: &String| line.contains("configuration reloaded");
    eventually("reload", 30, || taffrail.log().iter().any(reloaded).then_some(()));
    append(&log, "two\n");
    // Which of both readers took the line is a matter of moments; it is there once.
    let taken = lines(2);
    assert!(taken == ["one", "two!"] || taken == ["one", "two"], "{taken:?}");
    eventually("the new stages", 30, || {
        append(&log, "three\n");
        lines(3).iter().any(|line| line == "three!").then_some(())
    });
    taffrail.assert_quiet(&["configuration not reloaded"]);
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn pushed_lines_are_durable_when_they_are_acknowledged_though_they_wait_for_others() {
    let begun_ns = now_ns();
    let data = tempfile::tempdir().unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let promtail = format!(
        r#"
positions: {{filename: {dir}/none.yaml}}
scrape_configs:
- job_name: pushed
  loki_push_api:
    server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}, grpc_listen_port: 0}}
    labels: {{pushserver: push1}}
    use_incoming_timestamp: false
  relabel_configs:
  - {{source_labels: [app], regex: noise, action: drop}}
  - {{source_labels: [app], target_label: application}}
  - {{regex: app, action: labeldrop}}
  pipeline_stages:
  - multiline: {{firstline: '^begin', max_wait_time: 10m}}
"#,
        dir = data.path().display(),
        port = address.port()
    );
    let syslog = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let promtail = format!(
        "{promtail}- job_name: routers\n  syslog: {{listen_address: '{syslog}', label_structured_data: true, labels: {{job: syslog}}}}\n  \
         relabel_configs: [{{source_labels: [__syslog_message_hostname], target_label: host}}]\n"
    );
    let push = |app: &str, lines: &[&str]| {
        let values: Vec<_> = lines.iter().map(|line| serde_json::json!(["1", line])).collect();
        let body = serde_json::json!({"streams": [{"stream": {"app": app}, "values": values}]});
        let headers = [("content-type", "application/json")];
        let send = || {
            let body = body.to_string();
            testkit::send(address, "POST /loki/api/v1/push", &headers, body.as_bytes()).ok()
        };
        assert_eq!(eventually("the listener", 30, send).status, 204);
    };
    for round in 0..3 {
        let taffrail = start(data.path(), &promtail);
        push("shop", &[&format!("begin {round}"), "  more"]);
        push("noise", &["dropped"]);
        push("shop", &["  and more"]);
        taffrail.kill();
    }
    let taffrail = start(data.path(), &promtail);
    push("shop", &["begin 3"]);
    let raw = testkit::send(address, "POST /promtail/api/v1/raw", &[], b"begin a\nbegin b\n");
    assert_eq!(raw.unwrap().status, 204);
    let message = "<165>1 2026-11-23T02:50:23Z r1 bgp 42 - [ex@1 k=\"v\"] a peer is down\n";
    let mut sender = std::net::TcpStream::connect(syslog).unwrap();
    sender.write_all(message.as_bytes()).unwrap();
    let down = || {
        Some(taffrail.logql("{host=\"r1\", job=\"syslog\"}", begun_ns, 9)).filter(|l| !l.is_empty())
    };
    assert_eq!(eventually("the message", 30, down)[0].1, "a peer is down");
    let lines = |query: &str| {
        let all = taffrail.logql(query, begun_ns, 100);
        all.into_iter().map(|(_, line)| line).collect::<Vec<_>>()
    };
    let query = r#"{application="shop", pushserver="push1"}"#;
    let expected: Vec<String> = (0..3).map(|n| format!("begin {n}\n  more\n  and more")).collect();
    assert_eq!(lines(query), expected);
    assert_eq!(lines(r#"{pushserver="push1", application=""}"#), ["begin a"]);
    taffrail.assert_quiet(&[]);
}

#[test]
fn gelf_comes_in_datagrams_packed_and_in_chunks() {
    let sent_s = now_ns() / 1_000_000_000 - 10;
    let data = tempfile::tempdir().unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let promtail = format!(
        r#"
positions: {{filename: {dir}/none.yaml}}
scrape_configs:
- job_name: devices
  gelf: {{listen_address: '{address}', use_incoming_timestamp: true, labels: {{job: gelf}}}}
  relabel_configs:
  - {{source_labels: [__gelf_message_level], target_label: level}}
  - {{source_labels: [__gelf_message_host], target_label: host}}
  - {{source_labels: [__gelf_message_facility], regex: noise, action: drop}}
  pipeline_stages:
  - json: {{expressions: {{shop: _shop}}}}
  - labels: {{shop: }}
"#,
        dir = data.path().display()
    );
    let message = |text: &str, facility: &str| {
        format!(
            r#"{{"version": "1.1", "_shop": "s1", "host": "h1", "short_message": "{text}", "timestamp": {sent_s}.5, "level": 4, "facility": "{facility}"}}"#
        )
    };
    let gzip = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(message("packed", "shop").as_bytes()).unwrap();
        gzip.finish().unwrap()
    };
    let (head, tail) = gzip.split_at(gzip.len() / 2);
    let chunk = |number: u8, part: &[u8]| [&b"\x1e\x0f12345678"[..], &[number, 2], part].concat();
    let datagrams = [
        message("noise", "noise").into_bytes(),
        b"no JSON".to_vec(),
        message("plain", "shop").into_bytes(),
        chunk(1, tail),
        chunk(0, head),
    ];

    let taffrail = start(data.path(), &promtail);
    eventually("the listener", 30, || {
        let status = taffrail.get("/api/taffrail/v1/status", &[]).json();
        let listens = taffrail.log().iter().any(|line| line.contains("GELF is received on"));
        (listens && status["promtail"][0]["others"][0] == format!("gelf on {address}"))
            .then_some(())
    });
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in datagrams {
        socket.send_to(&datagram, address).unwrap();
    }
    let query = r#"{job="gelf", host="h1", level="warning", shop="s1"}"#;
    let stored = eventually("both messages", 30, || {
        Some(taffrail.logql(query, sent_s * 1_000_000_000, 9)).filter(|lines| lines.len() == 2)
    });
    let mut lines: Vec<String> = Vec::new();
    for (t_ns, line) in stored {
        assert_eq!(t_ns, sent_s * 1_000_000_000 + 500_000_000);
        lines.push(line);
    }
    lines.sort();
    let expected = ["packed", "plain"].map(|text| {
        format!(
            r#"{{"version":"1.1","host":"h1","short_message":"{text}","timestamp":{sent_s}.5,"level":4,"facility":"shop","_shop":"s1"}}"#
        )
    });
    assert_eq!(lines, expected);
    let metrics = taffrail.get("/metrics", &[]).body;
    let refused = "logentry_dropped_lines_total{reason=\"gelf_malformed\"} 1\n";
    assert!(metrics.contains(refused), "{metrics}");
    taffrail.assert_quiet(&[]);
}

//! Round trips with real clients: what a library or a peer sends is what queries answer.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Instrumented, Options, Prometheus, Taffrail, clients_wanted, eventually, send};

use crate::{PROGRAM, quiet_config};

/// Folder of the instrumented programs.
fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn start(dir: &Path, more: &str) -> Taffrail {
    let config = quiet_config(&format!("host:\n  enabled: false\n{more}"));
    Taffrail::start(PROGRAM, dir, &Options { config, ..Options::default() })
}

fn start_scraping(dir: &Path, port: u16, more: &str) -> Taffrail {
    let jobs = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  - job_name: app\n{more}    static_configs:\n      - targets: ['127.0.0.1:{port}']\n"
    );
    std::fs::write(dir.join("prometheus.yml"), jobs).unwrap();
    start(dir, "prometheus: prometheus.yml\n")
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The one value of a query, once there is one.
fn value(taffrail: &Taffrail, query: &str) -> f64 {
    eventually(query, 30, || match taffrail.promql(query).as_slice() {
        [(_, value)] => Some(*value),
        _ => None,
    })
}

/// Values of the exemplars' label `name`.
fn exemplars(taffrail: &Taffrail, query: &str, name: &str) -> Vec<String> {
    let day = 86_400;
    let now_s = i64::try_from(crate::now_ns() / 1_000_000_000).unwrap();
    let (start, end) = ((now_s - day).to_string(), (now_s + day).to_string());
    let params = [("query", query), ("start", &start), ("end", &end)];
    let answer = taffrail.get("/api/v1/query_exemplars", &params);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let json = answer.json();
    let all = json["data"].as_array().unwrap().iter().flat_map(|s| s["exemplars"].as_array());
    all.flatten().map(|e| e["labels"][name].as_str().unwrap_or("").to_owned()).collect()
}

#[test]
fn prometheus_client_is_scraped() {
    let Some(clients) = clients_wanted() else { return };
    let mut command = Command::new(clients.join("python/bin/python"));
    command.arg(programs().join("scraped.py"));
    let app = Instrumented::start(command);
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start_scraping(dir.path(), app.port, "");
    assert_eq!(value(&taffrail, "py_requests_total{code=\"200\"}"), 7.0);
    assert_eq!(value(&taffrail, "py_requests_total{code=\"500\"}"), 2.0);
    assert_eq!(value(&taffrail, "py_queue_length"), -3.5);
    assert_eq!(value(&taffrail, "py_latency_seconds_bucket{le=\"0.5\"}"), 3.0);
    assert_eq!(value(&taffrail, "py_latency_seconds_count"), 5.0);
    assert_eq!(value(&taffrail, "py_size_bytes_sum"), 512.0);
    assert_eq!(value(&taffrail, "py_state{py_state=\"down\"}"), 1.0);
    let info = taffrail.promql("py_build_info");
    assert_eq!(info[0].0["quote"], "a\"b\\c\nd");
    assert_eq!(exemplars(&taffrail, "py_requests_total", "trace_id"), ["abc123"]);
    let metadata = taffrail.get("/api/v1/metadata", &[("metric", "py_latency_seconds")]).json();
    assert_eq!(metadata["data"]["py_latency_seconds"][0]["type"], "histogram");
}

#[test]
fn prometheus_client_pushes_to_the_gateway() {
    let Some(clients) = clients_wanted() else { return };
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), "");
    let mut command = Command::new(clients.join("python/bin/python"));
    command.arg(programs().join("pushed.py")).arg(taffrail.address.to_string());
    run(command);
    assert_eq!(value(&taffrail, "backup_bytes{job=\"backup\",path=\"/var/lib\"}"), 1e9);
    eventually("the added value", 30, || {
        (value(&taffrail, "backup_files{job=\"backup\"}") == 13.0).then_some(())
    });
    assert!(value(&taffrail, "push_time_seconds{job=\"backup\"}") > 1.6e9);
    assert!(taffrail.promql("gone_value").is_empty());
}

#[test]
fn client_golang_is_scraped_with_native_histograms() {
    let Some(clients) = clients_wanted() else { return };
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("scraped");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(programs().join("scraped.go"));
    build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOFLAGS", "");
    build.env("GOCACHE", clients.join("go-cache"));
    run(build);
    let app = Instrumented::start(Command::new(program));
    let taffrail = start_scraping(dir.path(), app.port, "    scrape_native_histograms: true\n");
    assert_eq!(value(&taffrail, "go_app_requests_total"), 41.0);
    assert_eq!(value(&taffrail, "histogram_count(go_app_latency_seconds)"), 6.0);
    let sum = value(&taffrail, "histogram_sum(go_app_latency_seconds)");
    assert!((sum - 2.401).abs() < 1e-9, "{sum}");
    let top = value(&taffrail, "histogram_quantile(1, go_app_latency_seconds)");
    assert!((2.7..3.4).contains(&top), "{top}");
    assert_eq!(value(&taffrail, "go_app_size_bytes_count"), 1.0);
    assert_eq!(exemplars(&taffrail, "go_app_requests_total", "trace_id"), ["def456"]);
}

#[test]
fn opentelemetry_sdks_export_metrics() {
    let Some(clients) = clients_wanted() else { return };
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), "receive:\n  otlp_grpc: 127.0.0.1:0\n");
    let http = format!("http://{}/v1/metrics", taffrail.address);
    let grpc = eventually("the gRPC address", 10, || {
        let address = |line: &String| Some(line.split("gRPC on ").nth(1)?.trim().to_owned());
        taffrail.log().iter().find_map(address)
    });
    let python = |protocol: &str, endpoint: &str| {
        let mut command = Command::new(clients.join("python/bin/python"));
        command.arg(programs().join("otel.py")).args([protocol, endpoint]);
        command.arg(format!("python-{protocol}"));
        run(command);
    };
    python("http", &http);
    python("grpc", &format!("http://{grpc}"));
    for protocol in ["http", "proto"] {
        let mut command = Command::new("node");
        command.arg(clients.join("node/otel.mjs")).args([protocol, http.as_str()]);
        command.arg(format!("node-{protocol}"));
        run(command);
    }

    // Exported twice; as differences over HTTP, as totals over gRPC: the same sums.
    for service in ["shop/python-http", "shop/python-grpc"] {
        let of = |metric: &str| format!("{metric}{{job=\"{service}\",instance=\"i-1\"}}");
        assert_eq!(value(&taffrail, &of("http_server_requests_total")), 6.0, "{service}");
        assert_eq!(value(&taffrail, &of("http_server_duration_seconds_count")), 8.0, "{service}");
        let bucket = format!("http_server_duration_seconds_bucket{{job=\"{service}\",le=\"0.5\"}}");
        assert_eq!(value(&taffrail, &bucket), 4.0, "{service}");
        assert_eq!(value(&taffrail, &of("queue_length")), 4.0, "{service}");
        assert_eq!(value(&taffrail, &of("room_temperature_celsius")), 21.5, "{service}");
        let count = format!("histogram_count({})", of("payload_size_bytes"));
        assert_eq!(value(&taffrail, &count), 8.0, "{service}");
        let info = taffrail.promql(&of("target_info"));
        assert_eq!(info[0].0["deployment_environment"], "test");
    }
    for service in ["node-http", "node-proto"] {
        let orders = format!("orders_total{{job=\"{service}\",region=\"eu\"}}");
        assert_eq!(value(&taffrail, &orders), 5.0);
        let sum = format!("latency_milliseconds_sum{{job=\"{service}\"}}");
        assert_eq!(value(&taffrail, &sum), 102.0);
    }
}

#[test]
fn prometheus_writes_remotely_and_grafana_asks() {
    let Some(_) = clients_wanted() else { return };
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), "");
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  external_labels:\n    replica: a\nscrape_configs:\n  - job_name: self\n    static_configs:\n      - targets: ['{}']\nremote_write:\n  - url: http://{}/api/v1/write\n    queue_config:\n      batch_send_deadline: 100ms\n",
        taffrail.address, taffrail.address
    );
    let prometheus = Prometheus::start(dir.path(), &config);
    assert_eq!(value(&taffrail, "up{job=\"self\",replica=\"a\"}"), 1.0);
    eventually("metadata", 90, || {
        let answer = taffrail.get("/api/v1/metadata", &[("metric", "taffrail_build_info")]).json();
        answer["data"]["taffrail_build_info"].is_array().then_some(())
    });
    // What Grafana sends for a panel: a form, with floats for times.
    let now_s = crate::now_ns() as f64 / 1e9;
    let form = format!(
        "query={}&start={:.3}&end={:.3}&step=15",
        testkit::url_encode("sum by (job) (rate(scrape_duration_seconds[1m0s])) or up"),
        now_s - 300.0,
        now_s
    );
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer =
        send(taffrail.address, "POST /api/v1/query_range", &headers, form.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["data"]["resultType"], "matrix");
    assert!(!answer.json()["data"]["result"].as_array().unwrap().is_empty());
    // When the sender ends, what it had sent stays.
    drop(prometheus);
    assert_eq!(taffrail.promql("count(up{replica=\"a\"})")[0].1, 1.0);
}

#[test]
fn libraries_send_their_lines() {
    let Some(clients) = clients_wanted() else { return };
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), "receive:\n  otlp_grpc: 127.0.0.1:0\n");
    let grpc = eventually("the gRPC address", 10, || {
        let address = |line: &String| Some(line.split("gRPC on ").nth(1)?.trim().to_owned());
        taffrail.log().iter().find_map(address)
    });
    let http = format!("http://{}", taffrail.address);
    for (library, address) in [
        ("loki", format!("{http}/loki/api/v1/push")),
        ("otlp-http", format!("{http}/v1/logs")),
        ("otlp-grpc", format!("http://{grpc}")),
        ("elasticsearch", format!("{http}/elasticsearch")),
    ] {
        let mut command = Command::new(clients.join("python/bin/python"));
        command.arg(programs().join("logs.py")).args([library, &address]);
        run(command);
    }
    // What was acknowledged is there.
    let lines = |query: &str| {
        let rows = taffrail.logql(query, 0, 10);
        rows.into_iter().map(|(_, line)| line).collect::<Vec<_>>()
    };
    let declined = "card declined";
    assert_eq!(lines("{app=\"py-loki\", region=\"eu\", severity=\"error\"}"), [declined]);
    for service in ["py-otlp-http", "py-otlp-grpc"] {
        let query = format!("{{service_name=\"{service}\"}} | order_id=\"42\" | host_name=\"box\"");
        assert_eq!(lines(&query), [declined], "{service}");
    }
    assert_eq!(lines("{index=\"py-shop\"} | order_id=\"42\""), [declined; 2]);
    assert_eq!(lines("{index=\"py-shop\"} | json | plain=\"true\"").len(), 1);
    // The library has no time for it.
    let answer = taffrail.get("/api/taffrail/v1/status", &[]).json();
    let corrected = &answer["receivedLogs"]["correctedTimes"];
    assert_eq!(
        *corrected,
        serde_json::json!([{"receiver": "elasticsearch", "reason": "absent", "lines": 1}])
    );
}

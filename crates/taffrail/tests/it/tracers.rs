//! Libraries that instrument programs: what they send over each protocol is what a trace shows.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use testkit::{Options, Taffrail, clients_wanted, eventually};

use crate::shippers::port;
use crate::{PROGRAM, quiet_config};

/// Folder of the programs.
fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn start(dir: &Path, receive: &str) -> Taffrail {
    let config = quiet_config(&format!("host:\n  enabled: false\nreceive:\n{receive}"));
    Taffrail::start(PROGRAM, dir, &Options { config, ..Options::default() })
}

fn python(clients: &Path) -> Command {
    let mut command = Command::new(clients.join("python/bin/python"));
    command.arg(programs().join("traces.py"));
    command
}

fn node(clients: &Path) -> Command {
    let mut command = Command::new("node");
    command.arg(clients.join("node/traces.mjs"));
    command
}

/// What a program printed last.
fn printed(mut command: Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().last().unwrap_or_else(|| panic!("{command:?}: {errors}")).to_owned()
}

/// The one trace, once it has two spans.
fn trace(taffrail: &Taffrail, id: &str) -> Value {
    eventually(&format!("trace {id}"), 60, || {
        let answer = taffrail.get(&format!("/api/traces/{id}"), &[]).json();
        let trace = answer["data"][0].clone();
        (trace["spans"].as_array()?.len() == 2).then_some(trace)
    })
}

fn tag<'a>(span: &'a Value, name: &str) -> &'a Value {
    let tags = span["tags"].as_array().unwrap();
    tags.iter().find(|tag| tag["key"] == name).map_or(&Value::Null, |tag| &tag["value"])
}

/// Checks what all programs send: a server's span `checkout` and a client's `charge card` in it that failed.
fn check(taffrail: &Taffrail, id: &str, service: &str) -> [Value; 2] {
    let trace = trace(taffrail, id);
    let spans = trace["spans"].as_array().unwrap();
    let named = |name: &str| {
        let found = spans.iter().find(|span| span["operationName"] == name);
        found.unwrap_or_else(|| panic!("{service}: no {name} in {trace}")).clone()
    };
    let [parent, child] = [named("checkout"), named("charge card")];
    assert_eq!(trace["traceID"], id, "{service}");
    let process = parent["processID"].as_str().unwrap();
    assert_eq!(trace["processes"][process]["serviceName"], service);
    assert_eq!(tag(&parent, "span.kind"), "server", "{service}");
    let expected = json!({"refType": "CHILD_OF", "traceID": id, "spanID": parent["spanID"]});
    assert_eq!(child["references"], json!([expected]), "{service}");
    assert_eq!(tag(&child, "otel.status_code"), "ERROR", "{service}: {child}");
    let within = |span: &Value| {
        let start = span["startTime"].as_i64().unwrap();
        (start, start + span["duration"].as_i64().unwrap())
    };
    let ((start, end), (first, last)) = (within(&parent), within(&child));
    // Node's SDK takes starts from a clock of whole milliseconds and lengths from a finer one.
    let slack = 1_000;
    assert!(start <= first && last <= end + slack, "{service}: {trace}");
    [parent, child]
}

/// The span of a trace as OTLP/JSON has it.
fn otlp_span(taffrail: &Taffrail, id: &str, name: &str) -> Value {
    let answer = taffrail.get(&format!("/api/v3/traces/{id}"), &[]).json();
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let resources = list(&answer["result"], "resourceSpans").into_iter();
    let scopes = resources.flat_map(|resource| list(&resource, "scopeSpans"));
    let mut spans = scopes.flat_map(|scope| list(&scope, "spans"));
    spans.find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name} in {answer}"))
}

/// The value of an attribute in OTLP/JSON.
fn attribute<'a>(of: &'a Value, name: &str) -> &'a Value {
    let attributes = of["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == name);
    &found.unwrap_or_else(|| panic!("no {name} in {of}"))["value"]
}

#[test]
fn opentelemetry_sdks_export_spans() {
    let Some(clients) = clients_wanted() else { return };
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), "  otlp_grpc: 127.0.0.1:0\n");
    let http = format!("http://{}/v1/traces", taffrail.address);
    let grpc = format!("http://127.0.0.1:{}", port(&taffrail, "OTLP over gRPC"));
    let rust = || Command::new(clients.join("rust/debug/traces"));
    let programs = [
        (python(&clients), "python", "otlp-http", &http),
        (python(&clients), "python", "otlp-grpc", &grpc),
        (node(&clients), "node", "json", &http),
        (node(&clients), "node", "proto", &http),
        (node(&clients), "node", "grpc", &grpc),
        (rust(), "rust", "json", &http),
        (rust(), "rust", "proto", &http),
        (rust(), "rust", "grpc", &grpc),
    ];
    for (mut program, language, protocol, endpoint) in programs {
        let service = format!("{language} {protocol}");
        program.args([protocol, endpoint, &service]);
        let id = printed(program);
        let [parent, child] = check(&taffrail, &id, &service);
        assert_eq!(tag(&parent, "items"), 3);
        assert_eq!(tag(&parent, "otel.scope.name"), "demo");
        assert_eq!(tag(&child, "otel.status_description"), "card declined");
        assert_eq!(tag(&child, "span.kind"), "client");
        assert_eq!((tag(&parent, "price"), tag(&parent, "paid")), (&json!(9.5), &json!(false)));
        assert_eq!(tag(&parent, "tags"), "[\"a\",\"b\"]");
        let link = json!({"refType": "FOLLOWS_FROM", "traceID": "0000000000000007", "spanID": "0000000000000009"});
        assert_eq!(parent["references"], json!([link]), "{service}");
        let [parent, child] =
            ["checkout", "charge card"].map(|name| otlp_span(&taffrail, &id, name));
        let link = &parent["links"][0];
        assert_eq!(*attribute(link, "why"), json!({"stringValue": "retry"}), "{service}");
        let mut events = child["events"].as_array().unwrap().iter();
        let exception = events.find(|event| event["name"] == "exception").unwrap();
        let message = attribute(exception, "exception.message");
        assert_eq!(*message, json!({"stringValue": "declined"}), "{service}");
        if language == "rust" {
            let lists = |value: &Value| value["arrayValue"]["values"].clone();
            let sizes = json!([{"intValue": "-1"}, {"intValue": "9223372036854775807"}]);
            assert_eq!(lists(attribute(&parent, "sizes")), sizes);
            let shares = json!([{"doubleValue": 0.5}, {"doubleValue": 1.5}]);
            assert_eq!(lists(attribute(&parent, "shares")), shares);
            let flags = json!([{"boolValue": true}, {"boolValue": false}]);
            assert_eq!(lists(attribute(&parent, "flags")), flags);
            assert_eq!(link["traceState"], "vendor=x");
            assert_eq!(child["events"][0]["name"], "retry");
        }
    }
    taffrail.assert_quiet(&[]);
}

#[test]
fn clients_of_jaeger_and_zipkin_find_their_ports() {
    let Some(clients) = clients_wanted() else { return };
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(
        dir.path(),
        "  jaeger:\n    thrift_http: 127.0.0.1:0\n    thrift_compact: 127.0.0.1:0\n  zipkin:\n    http: 127.0.0.1:0\n",
    );
    let zipkin = format!("http://127.0.0.1:{}", port(&taffrail, "Zipkin over HTTP"));
    let (v1, v2) = (format!("{zipkin}/api/v1/spans"), format!("{zipkin}/api/v2/spans"));
    let agent = format!("127.0.0.1:{}", port(&taffrail, "Jaeger's compact Thrift over UDP"));
    let collector = port(&taffrail, "Jaeger's Thrift over HTTP");
    let collector = format!("http://127.0.0.1:{collector}/api/traces");
    let go = dir.path().join("traces");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&go).arg(programs().join("traces.go"));
    build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOFLAGS", "");
    build.env("GOCACHE", clients.join("go-cache"));
    assert!(build.status().unwrap().success());
    let senders = [
        (python(&clients), "V1_JSON", &v1),
        (python(&clients), "V2_JSON", &v2),
        (python(&clients), "V2_PROTO3", &v2),
        (node(&clients), "zipkin", &v2),
        (python(&clients), "jaeger", &agent),
        (Command::new(&go), "agent", &agent),
        (Command::new(&go), "collector", &collector),
    ];
    for (mut sender, protocol, endpoint) in senders {
        sender.args([protocol, endpoint, protocol]);
        let [parent, _] = check(&taffrail, &printed(sender), protocol);
        // Zipkin's tags are texts.
        let items = tag(&parent, "items");
        assert!(*items == 3 || *items == "3", "{protocol}: {items}");
    }
    taffrail.assert_quiet(&[]);
}

#[test]
fn what_an_exporter_repeats_through_crashes_is_stored_once() {
    let Some(clients) = clients_wanted() else { return };
    let dir = tempfile::tempdir().unwrap();
    // The port stays the same through restarts.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let receive = format!("  otlp_grpc: {free}\n");
    let mut taffrail = start(dir.path(), &receive);
    let mut exporter = python(&clients);
    exporter.args(["steady", &format!("http://{free}"), "steady"]);
    exporter.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut exporter = exporter.spawn().unwrap();
    let mut acknowledged = Vec::new();
    for line in BufReader::new(exporter.stdout.take().unwrap()).lines() {
        acknowledged.push(line.unwrap());
        if acknowledged.len() % 40 == 20 {
            taffrail.kill();
            taffrail = start(dir.path(), &receive);
        }
    }
    assert!(exporter.wait().unwrap().success());
    assert_eq!(acknowledged.len(), 200);
    for id in &acknowledged {
        let answer = taffrail.get(&format!("/api/traces/{id}"), &[]).json();
        let spans = answer["data"][0]["spans"].as_array().map_or(0, Vec::len);
        assert_eq!(spans, 10, "{id}: {answer}");
    }
    let metrics = taffrail.get("/metrics", &[]).body;
    assert!(metrics.lines().any(|line| line == "taffrail_store_spans 2000"), "{metrics}");
}

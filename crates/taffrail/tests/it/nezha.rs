//! Two systems with injected faults, recorded by others (Nezha, FSE 2023): loaded whole, and from what alerts see to the
//! service at fault, by the service map and by the comparison of traces. Where the data is at hand.
//!
//! Its spans have no kinds and no statuses, a service is a pod. Only two of the faults have traces recorded with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::{Options, Taffrail, eventually};

use crate::{PROGRAM, quiet_config};

const SECOND_NS: i64 = 1_000_000_000;
/// A fault is looked for in what was recorded so long after it was injected; each lasts a few minutes.
const FAULT_NS: i64 = 180 * SECOND_NS;
/// What was before it.
const BEFORE_NS: i64 = 600 * SECOND_NS;

/// A table of comma-separated values: rows by the names of their columns.
fn table(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut text = String::new();
    let file = fs::File::open(path).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut lines = text.lines().map(cells);
    let names = lines.next().unwrap();
    lines.map(|cells| names.iter().cloned().zip(cells).collect()).collect()
}

fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut is_quoted) = (vec![String::new()], false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let cell = cells.last_mut().unwrap();
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            c => cell.push(c),
        }
    }
    cells
}

fn in_folder(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    paths.sort();
    paths
}

/// `2022-08-22 05:18:09…`, UTC.
fn time_ns(text: &str) -> i64 {
    let time: jiff::Timestamp = format!("{}T{}Z", &text[..10], &text[11..19]).parse().unwrap();
    time.as_second() * SECOND_NS
}

/// The service of a pod: its name without the two parts that are random.
fn service(pod: &str) -> &str {
    pod.rsplitn(3, '-').nth(2).unwrap()
}

struct Fault {
    injected_ns: i64,
    service: String,
    kind: String,
}

struct Day {
    folder: PathBuf,
    faults: Vec<Fault>,
    spans: Vec<BTreeMap<String, String>>,
    lines: Vec<BTreeMap<String, String>>,
}

fn day(folder: PathBuf) -> Day {
    let list = in_folder(&folder, "fault_list.json").remove(0);
    let list: BTreeMap<String, Vec<Value>> =
        serde_json::from_str(&fs::read_to_string(list).unwrap()).unwrap();
    let fault = |fault: &Value| Fault {
        injected_ns: time_ns(fault["inject_time"].as_str().unwrap()),
        service: service(fault["inject_pod"].as_str().unwrap()).to_owned(),
        kind: fault["inject_type"].as_str().unwrap().to_owned(),
    };
    let read = |what: &str, ending: &str| {
        let files = in_folder(&folder.join(what), ending);
        files.iter().flat_map(|path| table(path)).collect()
    };
    Day {
        faults: list.values().flatten().map(fault).collect(),
        spans: read("trace", "_trace.csv.gz"),
        lines: read("log", "_log.csv.gz"),
        folder,
    }
}

fn send(taffrail: &Taffrail, path: &str, kind: &str, body: &str) {
    let what = format!("POST {path}");
    let answer =
        testkit::send(taffrail.address, &what, &[("Content-Type", kind)], body.as_bytes()).unwrap();
    assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
    assert!(!answer.body.contains("rejected"), "{path}: {}", answer.body);
}

fn push_spans(taffrail: &Taffrail, spans: &[BTreeMap<String, String>]) {
    for part in spans.chunks(2_000) {
        let mut pods: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for span in part {
            let parent = span["ParentID"].as_str();
            pods.entry(&span["PodName"]).or_default().push(json!({
                "traceId": span["TraceID"],
                "spanId": span["SpanID"],
                "parentSpanId": if parent == "root" { "" } else { parent },
                "name": span["OperationName"],
                "startTimeUnixNano": span["StartTimeUnixNano"],
                "endTimeUnixNano": span["EndTimeUnixNano"],
            }));
        }
        let text = |key: &str, text: &str| json!({"key": key, "value": {"stringValue": text}});
        let groups = pods.into_iter().map(|(pod, spans)| {
            let attributes = [text("service.name", service(pod)), text("k8s.pod.name", pod)];
            json!({"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]})
        });
        let body = json!({"resourceSpans": groups.collect::<Vec<_>>()});
        send(taffrail, "/v1/traces", "application/json", &body.to_string());
    }
}

/// All columns of all metric files, each a metric of its own with the pod as label.
fn push_metrics(taffrail: &Taffrail, folder: &Path) -> usize {
    let mut count = 0;
    for file in in_folder(&folder.join("metric"), ".csv.gz") {
        let mut body = String::new();
        for row in table(&file) {
            let Some(pod) = row.get("PodName").or(row.get("ServiceName")) else { continue };
            let t_ms = time_ns(&row["Time"]) / 1_000_000;
            for (name, value) in &row {
                if let Ok(value) = value.parse::<f64>()
                    && name != "TimeStamp"
                {
                    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
                    body.push_str(&format!("nezha_{name}{{pod=\"{pod}\"}} {value} {t_ms}\n"));
                    count += 1;
                }
            }
        }
        send(taffrail, "/api/v1/import/prometheus", "text/plain", &body);
    }
    count
}

/// Writes the lines as Docker does, a file for each pod, and the configuration that reads them.
fn write_logs(days: &[Day], dir: &Path) -> String {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for line in days.iter().flat_map(|day| &day.lines) {
        let text = files.entry(&line["PodName"]).or_default();
        text.push_str(&line["Log"]);
        text.push('\n');
    }
    let mut jobs = String::from(
        "clients: [{url: \"http://loki:3100/loki/api/v1/push\"}]\nscrape_configs:\n- job_name: nezha\n  \
         pipeline_stages: [{docker: {}}]\n  static_configs:\n",
    );
    for (pod, text) in files {
        let path = dir.join(format!("{pod}.docker"));
        fs::write(&path, text).unwrap();
        let (path, service) = (path.display(), service(pod));
        jobs.push_str(&format!(
            "  - labels: {{job: nezha, pod: {pod}, service: {service}, __path__: \"{path}\"}}\n"
        ));
    }
    jobs
}

/// Who calls whom, by the service map of the time in which `spans` start.
fn edges(taffrail: &Taffrail, starts: &[i64]) -> BTreeSet<(String, String)> {
    let (start, end) = (starts.iter().min().unwrap(), starts.iter().max().unwrap() + 1);
    let params = [("start", &*start.to_string()), ("end", &*end.to_string())];
    let answer = taffrail.get("/api/taffrail/v1/service_graph", &params);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let of = |edge: &Value, side: &str| edge[side].as_str().unwrap().to_owned();
    let edges = answer["edges"].as_array().unwrap();
    edges.iter().map(|edge| (of(edge, "client"), of(edge, "server"))).collect()
}

/// The same out of the files.
fn recorded_edges(spans: &[BTreeMap<String, String>]) -> BTreeSet<(String, String)> {
    let of = |span: &BTreeMap<String, String>| service(&span["PodName"]).to_owned();
    let known = spans.iter().map(|span| ((&span["TraceID"], &span["SpanID"]), of(span)));
    let known: BTreeMap<_, String> = known.collect();
    let edge = |span: &BTreeMap<String, String>| {
        Some((known.get(&(&span["TraceID"], &span["ParentID"]))?.clone(), of(span)))
    };
    spans.iter().filter_map(edge).filter(|(from, to)| from != to).collect()
}

/// Everything that `from` waits for, itself included.
fn reached(edges: &BTreeSet<(String, String)>, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::from([from.to_owned()]);
    loop {
        let next =
            edges.iter().filter(|(from, to)| reached.contains(from) && !reached.contains(to));
        let next: Vec<String> = next.map(|(_, to)| to.clone()).collect();
        if next.is_empty() {
            return reached;
        }
        reached.extend(next);
    }
}

/// The value of an expression at a moment, if it has one.
fn value(taffrail: &Taffrail, path: &str, query: &str, t_ns: i64) -> Vec<(Value, f64)> {
    let time = format!("{}.{:09}", t_ns / SECOND_NS, t_ns % SECOND_NS);
    let answer = taffrail.get(path, &[("query", query), ("time", &time)]);
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    let answer = answer.json();
    let one = |sample: &Value| {
        let number = sample["value"][1].as_str().unwrap().parse().unwrap();
        (sample["metric"].clone(), number)
    };
    answer["data"]["result"].as_array().unwrap().iter().map(one).collect()
}

/// Services from most to least time added in the traces of the fault.
fn by_time(taffrail: &Taffrail, params: &[(&str, &str)]) -> Vec<String> {
    let answer = taffrail.get("/api/taffrail/v1/traces/compare", params);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    assert!(answer["baseline"]["traces"].as_u64() > Some(5), "{answer}");
    assert!(answer["selection"]["traces"].as_u64() > Some(5), "{answer}");
    let services = answer["services"].as_array().unwrap();
    services.iter().map(|s| s["service"].as_str().unwrap().to_owned()).collect()
}

/// Place of a service in a list, from 1.
fn rank(services: &[String], wanted: &str) -> Option<usize> {
    services.iter().position(|service| service == wanted).map(|at| at + 1)
}

#[test]
fn injected_faults_lead_to_the_service_at_fault() {
    let root = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/data/telemetry-nezha/IntelligentDDS__Nezha/rca_data"
    ));
    if !root.is_dir() {
        println!("skipped: no {}", root.display());
        return;
    }
    let days: Vec<Day> = in_folder(root, "").into_iter().map(day).collect();
    let (data, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(data.path().join("promtail.yml"), write_logs(&days, logs.path())).unwrap();
    let more = "host:\n  enabled: false\nretention: 50y\nquery:\n  max_log_lines: 200000\npromtail: promtail.yml\n";
    let options = Options { config: quiet_config(more), ..Options::default() };
    let taffrail = Taffrail::start(PROGRAM, data.path(), &options);

    // All of it is there.
    let mut samples = 0;
    for day in &days {
        push_spans(&taffrail, &day.spans);
        samples += push_metrics(&taffrail, &day.folder);
    }
    let spans: usize = days.iter().map(|day| day.spans.len()).sum();
    let figures = taffrail.get("/metrics", &[]).body;
    assert!(figures.lines().any(|l| l == format!("taffrail_store_spans {spans}")), "{spans}");
    let lines: usize = days.iter().map(|day| day.lines.len()).sum();
    eventually(&format!("{lines} lines"), 120, || {
        (taffrail.logql("{job=\"nezha\"}", 0, 200_000).len() == lines).then_some(())
    });
    println!("{spans} spans, {lines} lines, {samples} samples");
    assert!(samples > 100_000, "{samples}");

    // Every line of a trace is found from it, and knows it.
    let named = taffrail.logql("{job=\"nezha\"} | trace_id!=\"\"", 0, 200_000).len();
    let with_id = |line: &&BTreeMap<String, String>| line["TraceID"].len() == 32;
    assert_eq!(named, days.iter().flat_map(|day| &day.lines).filter(with_id).count());
    let (mut expected, mut found) = (0, 0);
    for day in &days {
        let traces: BTreeSet<&str> = day.spans.iter().map(|span| &*span["TraceID"]).collect();
        for id in &traces {
            expected += day.lines.iter().filter(|line| line["TraceID"] == **id).count();
            let path = format!("/api/taffrail/v1/traces/{id}/logs");
            let answer = taffrail.get(&path, &[("slack", "10m"), ("limit", "100000")]).json();
            found += answer["lines"].as_array().unwrap().len();
        }
    }
    assert_eq!(found, expected);

    let mut outcomes = Vec::new();
    for day in &days {
        let starts: Vec<i64> =
            day.spans.iter().map(|span| span["StartTimeUnixNano"].parse().unwrap()).collect();
        let edges = edges(&taffrail, &starts);
        assert_eq!(edges, recorded_edges(&day.spans));
        let map = day.folder.join("metric/dependency.csv.gz");
        if map.is_file() {
            let known =
                table(&map).into_iter().map(|row| (row["Source"].clone(), row["Target"].clone()));
            let is_service = |name: &str| !name.starts_with(|c: char| c.is_ascii_digit());
            let known: BTreeSet<_> = known.filter(|(_, to)| is_service(to)).collect();
            // One call that the recorders saw is in none of their traces.
            assert!(edges.is_subset(&known) && edges.len() + 1 >= known.len(), "{edges:?}");
        }
        for fault in &day.faults {
            let from_ns = fault.injected_ns;
            if !starts.iter().any(|start| (from_ns..from_ns + FAULT_NS).contains(start)) {
                continue;
            }
            let (alert, services) = outcome(&taffrail, fault, &edges);
            let rank = rank(&services, &fault.service);
            let Fault { kind, service, .. } = fault;
            println!("{kind} of {service}, seen by {alert}: {rank:?} of {services:?}");
            outcomes.push((alert, rank));
        }
    }
    assert!(!outcomes.is_empty());
    let share = |max: usize| {
        let good = outcomes.iter().filter(|(_, rank)| rank.is_some_and(|rank| rank <= max));
        good.count() as f64 / outcomes.len() as f64
    };
    println!("{} faults: {} first, {} in the first three", outcomes.len(), share(1), share(3));
    assert!(share(1) >= 0.5 && share(3) >= 0.75, "{outcomes:?}");
    // Every one that made something slow.
    let slow: Vec<_> = outcomes.iter().filter(|(alert, _)| *alert == "latency").collect();
    assert!(!slow.is_empty() && slow.iter().all(|(_, rank)| *rank == Some(1)), "{outcomes:?}");
}

/// The services that a fault's alert leads to, the likeliest first, and what the alert was about. One on latency leads to
/// where time was added in the slow traces, one on failures to where errors were added; both to what the entry waits for.
fn outcome(
    taffrail: &Taffrail,
    fault: &Fault,
    edges: &BTreeSet<(String, String)>,
) -> (&'static str, Vec<String>) {
    let (kind, services) = match slower_than_usual(taffrail, fault) {
        Some(services) => ("latency", services),
        None => ("errors", by_errors(taffrail, fault)),
    };
    // Entries are what nobody calls.
    let called: BTreeSet<&String> = edges.iter().map(|(_, to)| to).collect();
    let entries = edges.iter().map(|(from, _)| from).filter(|from| !called.contains(from));
    let reached: BTreeSet<String> = entries.flat_map(|entry| reached(edges, entry)).collect();
    (kind, services.into_iter().filter(|service| reached.contains(service)).collect())
}

/// Fires when what users see is slower than it ever was in the ten minutes before: the traces that were are compared with
/// the others.
fn slower_than_usual(taffrail: &Taffrail, fault: &Fault) -> Option<Vec<String>> {
    let end_ns = fault.injected_ns + FAULT_NS;
    let latency = "nezha_LatencyP99s{pod=\"Frontend\"}";
    let slowest = |seconds: i64, at_ns: i64| {
        let query = format!("max_over_time({latency}[{seconds}s])");
        value(taffrail, "/api/v1/query", &query, at_ns).first().map(|(_, value)| *value)
    };
    let usual = slowest(BEFORE_NS / SECOND_NS, fault.injected_ns)?;
    slowest(FAULT_NS / SECOND_NS, end_ns).filter(|now| *now > usual)?;
    let slower = format!("{}ms", (usual * 1_000.0).ceil());
    let (start, end) = (fault.injected_ns.to_string(), end_ns.to_string());
    let params = [("q", "{}"), ("slower", &*slower), ("start", &*start), ("end", &end)];
    Some(by_time(taffrail, &params))
}

/// Errors in lines that belong to traces, by service: those of the worst minute of the fault and what they are more than in
/// the worst minute of the ten before.
fn by_errors(taffrail: &Taffrail, fault: &Fault) -> Vec<String> {
    const MINUTE_NS: i64 = 60 * SECOND_NS;
    let minute = |number: i64| -> BTreeMap<String, f64> {
        let query = "sum by (service) (count_over_time({job=\"nezha\"} | level=\"error\" | trace_id!=\"\" [1m]))";
        let at_ns = fault.injected_ns + number * MINUTE_NS;
        let found = value(taffrail, "/loki/api/v1/query", query, at_ns);
        found.into_iter().map(|(m, n)| (m["service"].as_str().unwrap().to_owned(), n)).collect()
    };
    let worst = |numbers: std::ops::RangeInclusive<i64>| {
        let total = |counts: &BTreeMap<String, f64>| counts.values().sum::<f64>();
        numbers.map(minute).max_by(|a, b| total(a).total_cmp(&total(b))).unwrap()
    };
    let before = worst(-BEFORE_NS / MINUTE_NS + 1..=0);
    let now = worst(1..=FAULT_NS / MINUTE_NS);
    assert!(now.values().sum::<f64>() > before.values().sum(), "no alert: {before:?} {now:?}");
    let usual = |service: &String| before.get(service).copied().unwrap_or(0.0);
    let mut added: Vec<(String, f64)> =
        now.into_iter().map(|(service, n)| (service.clone(), n - usual(&service))).collect();
    added.sort_by(|a, b| b.1.total_cmp(&a.1));
    added.into_iter().map(|(service, _)| service).collect()
}

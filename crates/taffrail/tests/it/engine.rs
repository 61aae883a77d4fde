//! On a real container engine: figures against `docker stats`, every line exactly once through rotations and crashes,
//! deaths with their reasons, and the UI in a real browser. Run by `cargo xtask test`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::{Container, Options, Recorder, Taffrail, docker, engine_wanted, eventually};

use crate::{PROGRAM, now_ns};

/// Reads every second, so that tests do not take minutes; the default is 15.
const CONFIG: &str =
    "containers:\n  interval: 1s\nhost:\n  interval: 1s\nquery:\n  max_log_lines: 1000000\n";

fn start(dir: &Path) -> Taffrail {
    Taffrail::start(PROGRAM, dir, &Options { config: CONFIG.to_owned(), ..Options::default() })
}

/// A value of one container; `None` while there is none.
fn figure(taffrail: &Taffrail, query: &str) -> Option<f64> {
    taffrail.promql(query).first().map(|(_, value)| *value)
}

/// Lifecycle events of a container, oldest first.
fn events(taffrail: &Taffrail, name: &str, since_ns: i128) -> Vec<serde_json::Value> {
    let query = format!("{{container=\"{name}\", stream=\"events\"}}");
    taffrail
        .logql(&query, since_ns, 1000)
        .iter()
        .map(|(_, line)| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn messages_tell_of_the_container() {
    if !engine_wanted() {
        return;
    }
    let slack = Recorder::ok("ok");
    let container = Container::run("told", &[], "echo all is well; echo cannot open /x; sleep 600");
    let dir = tempfile::tempdir().unwrap();
    let alertmanager = format!(
        "route: {{receiver: team, group_by: [alertname], group_wait: 100ms}}\nreceivers:\n- name: team\n  slack_configs:\n  - api_url: http://{}/\n    channel: '#ops'\n    text: '{{{{ template \"slack.default.text\" . }}}}'\n",
        slack.address
    );
    std::fs::write(dir.path().join("alertmanager.yml"), alertmanager).unwrap();
    let config = format!("alertmanager: alertmanager.yml\n{CONFIG}");
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &Options { config, ..Options::default() });
    let name = &container.name;
    eventually("its lines", 30, || {
        let found = taffrail.logql(&format!("{{container=\"{name}\"}} |= `cannot`"), 0, 10);
        (!found.is_empty()).then_some(())
    });
    let alert = format!(
        r#"[{{"labels": {{"alertname": "Bad", "container": "{name}"}}, "annotations": {{"runbook_url": "http://runbooks/bad"}}}}]"#
    );
    let headers = [("Content-Type", "application/json")];
    let what = "POST /api/v2/alerts";
    let sent = testkit::send(taffrail.address, what, &headers, alert.as_bytes()).unwrap();
    assert_eq!(sent.status, 200, "{}", sent.body);
    let told = eventually("told", 20, || slack.requests().first().cloned()).body;
    for part in [name.as_str(), "cannot open /x", "running", "http://runbooks/bad", "?from="] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn figures_agree_with_docker_stats() {
    if !engine_wanted() {
        return;
    }
    // A fifth of a core, which it gets also on a machine that does other things; and 40 MB that stay.
    let hold = "x=$(yes 0123456789abcde | head -c 40000000); while true; do :; done";
    let busy = Container::run("busy", &["--cpus", "0.2", "--memory", "256m"], hold);
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path());
    let name = &busy.name;
    // Building the string takes a while; afterwards both figures are steady.
    eventually("memory held", 60, || {
        figure(&taffrail, &format!("container_memory_working_set_bytes{{name=\"{name}\"}}"))
            .filter(|b| *b > 40e6)
    });
    std::thread::sleep(Duration::from_secs(5));

    let mut cpu_theirs = Vec::new();
    let mut memory_theirs = 0.0;
    let from = Instant::now();
    while from.elapsed() < Duration::from_secs(20) {
        let line =
            docker(&["stats", "--no-stream", "--format", "{{.CPUPerc}} {{.MemUsage}}", name]);
        let mut words = line.split(' ');
        cpu_theirs
            .push(words.next().unwrap().trim_end_matches('%').parse::<f64>().unwrap() / 100.0);
        memory_theirs = mebibytes(words.next().unwrap());
    }
    let window = from.elapsed().as_secs();
    let cpu_theirs = cpu_theirs.iter().sum::<f64>() / cpu_theirs.len() as f64;
    let cpu = figure(
        &taffrail,
        &format!(
            "rate(container_cpu_usage_seconds_total{{name=\"{name}\",cpu=\"total\"}}[{window}s])"
        ),
    )
    .unwrap();
    let memory =
        figure(&taffrail, &format!("container_memory_working_set_bytes{{name=\"{name}\"}}"))
            .unwrap()
            / 1_048_576.0;
    println!(
        "cpu: ours {cpu:.4} cores, docker stats {cpu_theirs:.4}; memory: ours {memory:.2} MiB, docker stats {memory_theirs:.2}"
    );
    assert!((cpu / cpu_theirs - 1.0).abs() < 0.05, "cpu {cpu} against {cpu_theirs}");
    assert!((memory / memory_theirs - 1.0).abs() < 0.05, "memory {memory} against {memory_theirs}");

    assert_eq!(
        figure(&taffrail, &format!("container_spec_memory_limit_bytes{{name=\"{name}\"}}")),
        Some(268_435_456.0)
    );
    let throttled =
        format!("rate(container_cpu_cfs_throttled_periods_total{{name=\"{name}\"}}[15s])");
    assert!(
        figure(&taffrail, &throttled).unwrap() > 1.0,
        "a container at its CPU limit is throttled"
    );
    let labels = &taffrail.promql(&format!("container_start_time_seconds{{name=\"{name}\"}}"))[0].0;
    assert_eq!(labels["image"], testkit::image());
    assert!(labels["id"].as_str().unwrap().len() > 64, "{labels}");
    taffrail.assert_quiet(&[]);
}

/// `21.3MiB` and the like.
fn mebibytes(text: &str) -> f64 {
    let (number, unit) = text.split_at(text.find(char::is_alphabetic).unwrap());
    let factor = match unit {
        "B" => 1.0 / 1_048_576.0,
        "KiB" => 1.0 / 1024.0,
        "MiB" => 1.0,
        "GiB" => 1024.0,
        other => panic!("unit {other}"),
    };
    number.parse::<f64>().unwrap() * factor
}

#[test]
fn an_oom_kill_and_a_short_life_are_on_record() {
    if !engine_wanted() {
        return;
    }
    let since = now_ns() - 1_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path());
    eventually("connection", 20, || {
        (taffrail.get("/api/taffrail/v1/status", &[]).json()["docker"]["state"] == "connected")
            .then_some(())
    });

    let hungry = Container::run(
        "hungry",
        &["--memory", "16m", "--memory-swap", "16m"],
        "x=$(yes 0123456789abcde | head -c 64000000); echo alive",
    );
    let short = Container::run(
        "short",
        &[],
        "echo hello from a short life; echo and an error >&2; sleep 1; exit 7",
    );

    let death =
        |name: &str| events(&taffrail, name, since).into_iter().find(|e| e["event"] == "die");
    let killed = eventually("death of the hungry one", 60, || death(&hungry.name));
    assert_eq!(killed["exit_code"], 137, "{killed}");
    assert_eq!(killed["oom_killed"], true, "{killed}");
    let ended = eventually("death of the short one", 30, || death(&short.name));
    assert_eq!(ended["exit_code"], 7, "{ended}");
    let kinds: Vec<String> = events(&taffrail, &short.name, since)
        .iter()
        .map(|e| e["event"].as_str().unwrap().to_owned())
        .collect();
    for kind in ["create", "start", "die"] {
        assert_eq!(kinds.iter().filter(|k| *k == kind).count(), 1, "{kinds:?}");
    }
    let query = format!("{{container=\"{}\", stream=~\"stdout|stderr\"}}", short.name);
    let lines = eventually("both lines", 20, || {
        Some(taffrail.logql(&query, since, 100)).filter(|l| l.len() == 2)
    });
    let mut texts: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["and an error", "hello from a short life"]);
    let seen =
        format!("count_over_time(container_memory_usage_bytes{{name=\"{}\"}}[5m])", short.name);
    assert!(
        figure(&taffrail, &seen).is_some_and(|n| n >= 1.0),
        "a container that lives one second has a reading"
    );

    let all = taffrail.get("/api/taffrail/v1/containers", &[]).json();
    let state = all["containers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == hungry.name.as_str())
        .unwrap()
        .clone();
    assert_eq!(
        (&state["state"], &state["exitCode"], &state["oomKilled"]),
        (&"exited".into(), &137.into(), &true.into())
    );
    taffrail.assert_quiet(&[]);
}

/// Writes numbered JSON lines, `rate` a second, until it has written `count`; then waits to be stopped.
fn counting(name: &str, rate: u32, count: u32) -> Container {
    let script = format!(
        r#"awk 'BEGIN {{ for (i = 1; i <= {count}; i++) {{ printf "{{\"level\":\"info\",\"seq\":%d,\"msg\":\"order %d accepted for customer %d\"}}\n", i, i * 7, i % 97; if (i % {chunk} == 0) {{ fflush(); system("sleep 0.1") }} }} fflush() }}'; while true; do sleep 1; done"#,
        chunk = rate / 10
    );
    // Rotates about every five seconds at 1,000 lines a second.
    Container::run(name, &["--log-opt", "max-size=1m", "--log-opt", "max-file=40"], &script)
}

/// Sequence numbers of all stored lines of a container, with how often each is there.
fn stored(taffrail: &Taffrail, name: &str, since: i128) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    for (_, line) in
        taffrail.logql(&format!("{{container=\"{name}\", stream=\"stdout\"}}"), since, 1_000_000)
    {
        let json: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        *seen.entry(json["seq"].as_u64().unwrap()).or_default() += 1;
    }
    seen
}

fn assert_exactly_once(seen: &BTreeMap<u64, usize>, count: u32) {
    let missing: Vec<u64> = (1..=u64::from(count)).filter(|n| !seen.contains_key(n)).collect();
    let repeated: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(
        missing.is_empty() && repeated.is_empty(),
        "missing {:?}…, repeated {:?}…",
        missing.get(..20.min(missing.len())),
        repeated.get(..20.min(repeated.len()))
    );
    assert_eq!(seen.len(), count as usize);
}

#[test]
fn every_line_is_stored_exactly_once_through_fifty_crashes_and_rotations() {
    if !engine_wanted() {
        return;
    }
    const COUNT: u32 = 60_000;
    const CRASHES: u32 = 50;
    let since = now_ns() - 1_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let chatty = counting("chatty", 1_000, COUNT);
    // A seed that changes, printed so that a failure can be repeated.
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = seed;
    for _ in 0..CRASHES {
        let taffrail = start(dir.path());
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis((random >> 33) % 1_200));
        taffrail.kill();
    }
    let taffrail = start(dir.path());
    let count =
        format!("sum(count_over_time({{container=\"{}\", stream=\"stdout\"}}[1h]))", chatty.name);
    let arrived = |taffrail: &Taffrail| {
        let answer = taffrail.get("/loki/api/v1/query", &[("query", &count)]).json();
        answer["data"]["result"][0]["value"][1]
            .as_str()
            .and_then(|n| n.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    // As long as more come, however slow the machine; what is missing then is named below.
    let (mut most, mut since_more) = (0.0, Instant::now());
    while most < f64::from(COUNT) && since_more.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(200));
        let now = arrived(&taffrail);
        if now > most {
            (most, since_more) = (now, Instant::now());
        }
    }
    assert_exactly_once(&stored(&taffrail, &chatty.name, since), COUNT);
    // JSON was recognised: the level is a field of every line.
    let leveled =
        format!("sum(count_over_time({{container=\"{}\"}} | level=\"info\" [1h]))", chatty.name);
    let answer = taffrail.get("/loki/api/v1/query", &[("query", &leveled)]).json();
    assert!(
        answer["data"]["result"][0]["value"][1].as_str().unwrap().parse::<f64>().unwrap()
            >= f64::from(COUNT)
    );
    taffrail.assert_quiet(&[]);
}

#[test]
fn long_lines_and_both_streams_arrive_whole() {
    if !engine_wanted() {
        return;
    }
    let since = now_ns() - 1_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    // 100,000 characters come from the engine as seven pieces.
    let script = "yes abcdefghi | tr -d '\\n' | head -c 100000; echo; echo short >&2; while true; do sleep 1; done";
    let script = script.replace("tr -d '\\n'", "awk '{printf \"%s\", $0}'");
    let long = Container::run("long", &[], &script);
    let taffrail = start(dir.path());
    let query = format!("{{container=\"{}\", stream=\"stdout\"}}", long.name);
    let lines = eventually("the long line", 30, || {
        Some(taffrail.logql(&query, since, 10)).filter(|l| !l.is_empty())
    });
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].1.len(), 100_000);
    assert!(lines[0].1.starts_with("abcdefghiabc"));
    let query = format!("{{container=\"{}\", stream=\"stderr\"}}", long.name);
    eventually("stderr", 10, || {
        Some(taffrail.logql(&query, since, 10)).filter(|l| l.len() == 1 && l[0].1 == "short")
    });
}

#[test]
fn prom_client_is_scraped() {
    if !engine_wanted() {
        return;
    }
    let ui = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui");
    let script = "const c=require('prom-client');const h=require('http');c.collectDefaultMetrics();\
        const n=new c.Counter({name:'gateway_http_requests_total',help:'Total HTTP requests',labelNames:['method','path','status']});\
        n.inc({method:'GET',path:'/',status:'200'},3);\
        const d=new c.Histogram({name:'gateway_http_request_duration_seconds',help:'Duration',labelNames:['method','path'],buckets:[0.01,0.05,0.1,0.5,1,5,10]});\
        for(let i=0;i<100;i++)d.observe({method:'GET',path:'/'},i/100);\
        h.createServer(async(q,r)=>{r.setHeader('Content-Type',c.register.contentType);r.end(await c.register.metrics())}).listen(0,'127.0.0.1',function(){console.log(this.address().port)})";
    let mut node = Command::new("node")
        .args(["-e", script])
        .current_dir(ui)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(node.stdout.take().unwrap()),
        &mut port,
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let jobs = format!(
        "scrape_configs:\n  - job_name: gateway\n    scrape_interval: 1s\n    scrape_timeout: 1s\n    static_configs:\n      - targets: ['127.0.0.1:{}']\n",
        port.trim()
    );
    std::fs::write(dir.path().join("prometheus.yml"), jobs).unwrap();
    let config = crate::quiet_config("prometheus: prometheus.yml\n");
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &Options { config, ..Options::default() });
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let query = "gateway_http_requests_total{method=\"GET\",path=\"/\",status=\"200\"}";
        assert_eq!(eventually("counter", 15, || figure(&taffrail, query)), 3.0);
        let median = figure(
            &taffrail,
            "histogram_quantile(0.5, gateway_http_request_duration_seconds_bucket)",
        )
        .unwrap();
        assert!((0.45..0.55).contains(&median), "{median}");
        assert!(figure(&taffrail, "process_resident_memory_bytes{job=\"gateway\"}").unwrap() > 1e6);
        assert!(figure(&taffrail, "nodejs_version_info").is_some());
        assert_eq!(figure(&taffrail, "up{job=\"gateway\"}"), Some(1.0));
    }));
    node.kill().unwrap();
    node.wait().unwrap();
    outcome.unwrap();
    eventually("up is 0 after the end", 10, || {
        (figure(&taffrail, "up{job=\"gateway\"}") == Some(0.0)).then_some(())
    });
}

#[test]
fn the_engine_may_come_and_go() {
    if !engine_wanted() {
        return;
    }
    // The engine of this machine stays; a forwarder in front of its socket comes and goes.
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let config = format!(
        "containers:\n  interval: 1s\n  socket: {}\nquery:\n  max_log_lines: 1000000\n",
        socket.display()
    );
    let steady = Container::run(
        "steady",
        &[],
        "i=0; while true; do i=$((i+1)); echo \"{\\\"seq\\\":$i}\"; sleep 0.1; done",
    );
    let since = now_ns() - 60_000_000_000;
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &Options { config, ..Options::default() });
    let state = || {
        taffrail.get("/api/taffrail/v1/status", &[]).json()["docker"]["state"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    eventually("unavailable", 10, || (state() == "unavailable").then_some(()));
    for _ in 0..2 {
        let mut forwarder = forward(&socket);
        eventually("connected", 40, || (state() == "connected").then_some(()));
        std::thread::sleep(Duration::from_secs(2));
        forwarder.kill().unwrap();
        forwarder.wait().unwrap();
        std::fs::remove_file(&socket).unwrap();
        eventually("unavailable again", 40, || (state() == "unavailable").then_some(()));
    }
    let mut forwarder = forward(&socket);
    eventually("connected", 40, || (state() == "connected").then_some(()));
    docker(&["stop", "-t", "0", &steady.name]);
    let written = docker(&["logs", &steady.name]).lines().count();
    let seen = eventually("all lines", 40, || {
        Some(stored(&taffrail, &steady.name, since)).filter(|s| s.len() >= written)
    });
    assert_exactly_once(&seen, u32::try_from(written).unwrap());
    forwarder.kill().unwrap();
    forwarder.wait().unwrap();
}

/// Forwards `socket` to the engine's.
fn forward(socket: &Path) -> std::process::Child {
    let script = "const n=require('net');n.createServer(c=>{const s=n.connect('/var/run/docker.sock');c.pipe(s);s.pipe(c);c.on('error',()=>s.destroy());s.on('error',()=>c.destroy())}).listen(process.argv[1])";
    Command::new("node").args(["-e", script]).arg(socket).spawn().unwrap()
}

#[test]
fn the_ui_works_in_a_browser() {
    if !engine_wanted() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = tempfile::tempdir().unwrap();
    let shop = [
        "--label",
        "com.docker.compose.project=shop",
        "--label",
        "com.docker.compose.service=web",
        "--memory",
        "64m",
    ];
    let script = r#"i=0; while true; do i=$((i+1)); case $((i%10)) in 0) l=error;; 5) l=warn;; *) l=info;; esac; echo "{\"level\":\"$l\",\"seq\":$i,\"msg\":\"request served\"}"; sleep 0.2; done"#;
    let web = Container::run("web", &shop, script);
    let _failed = Container::run("failed", &[], "echo about to fail >&2; exit 3");
    let taffrail = start(dir.path());
    let name = web.name.clone();
    eventually("readings", 40, || {
        figure(
            &taffrail,
            &format!("rate(container_cpu_usage_seconds_total{{name=\"{name}\"}}[10s])"),
        )
    });
    std::thread::sleep(Duration::from_secs(10));
    let shots = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), Into::into)
        .join("shots");
    let output = Command::new("node")
        .arg(root.join("ui/tests/e2e/run.mjs"))
        .args([
            "--base-url",
            &format!("http://{}", taffrail.address),
            "--container",
            &name,
            "--shots",
        ])
        .arg(&shots)
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
    assert!(output.status.success(), "{text}");
    assert!(
        text.lines().any(|l| l.ends_with("passed, 0 failed") && !l.starts_with("0 ")),
        "{text}"
    );
}

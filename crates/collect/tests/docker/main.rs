//! The container collector against a fake Docker Engine on a unix socket: reconnects, odd answers, vanishing containers,
//! events and logs exactly once.

mod fake;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use collect::container::{ClaimJob, Claims, Config, DockerState, Handle, spawn};
use collect::lines::Treatment;
use collect::scrape::DockerSd;
use ingest::pipeline::{Metrics, MultilineConfig, Pipeline, StageConfig};
use ingest::relabel::{Action, Rule, RuleConfig};
use model::{Labels, SystemClock};
use tokio_util::sync::CancellationToken;

use fake::{Fake, Server};
use store::Store;

/// A collector, its store, and where the fake daemon listens.
struct Bench {
    dir: tempfile::TempDir,
    store: Arc<Store>,
    fake: Arc<Fake>,
}

struct Running {
    handle: Handle,
    cancel: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        Self { dir, store: Arc::default(), fake: Arc::default() }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    fn serve(&self) -> Server {
        Server::start(&self.fake, &self.socket())
    }

    fn collect(&self) -> Running {
        self.collect_for(Arc::default(), true)
    }

    /// With jobs that take over logs, and others stored or not.
    fn collect_for(&self, claims: Arc<Claims>, logs: bool) -> Running {
        let cancel = CancellationToken::new();
        let config = Config {
            endpoint: Some(format!("unix://{}", self.socket().display())),
            interval_ms: 100,
            host_name: "bench".to_owned(),
            proc_root: self.dir.path().join("proc"),
            sys_root: self.dir.path().join("sys"),
            logs,
            joins_traces: true,
            claims,
            logs_since_ns: 0,
        };
        let sink = Arc::clone(&self.store) as Arc<dyn model::Sink>;
        let handle = spawn(config, sink, Arc::new(SystemClock), cancel.clone());
        Running { handle: handle.expect("a unix endpoint"), cancel }
    }
}

impl Running {
    fn state(&self) -> DockerState {
        self.handle.registry.docker_status().state
    }

    fn counter(&self, name: &str) -> u64 {
        let all = self.handle.counters.snapshot();
        all.into_iter().find(|(n, _)| *n == name).map_or(0, |(_, value)| value)
    }

    async fn stop(self) {
        self.cancel.cancel();
        assert!(self.handle.stopped().await, "collector did not stop within 2 s");
    }
}

/// Waits until `holds`; fails after 15 s.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

#[tokio::test]
async fn lines_come_exactly_once_while_the_daemon_comes_and_goes() {
    let bench = Bench::new();
    let running = bench.collect();
    until("unavailable", || {
        let status = running.handle.registry.docker_status();
        status.state == DockerState::Unavailable && status.message.contains("no docker socket")
    })
    .await;
    bench.fake.run("a1", "web");
    let mut want = Vec::new();
    for round in 0..4 {
        let server = bench.serve();
        until("connected", || running.state() == DockerState::Connected).await;
        for line in 0..50 {
            let text = format!("round {round} line {line}");
            bench.fake.log("a1", 1 + u8::from(line % 5 == 0), &format!("{text}\n"));
            want.push(text);
        }
        // A line that is not finished when the connection breaks must come back whole.
        bench.fake.log("a1", 1, &format!("round {round} begun,"));
        until("lines stored", || bench.store.lines("web").len() >= want.len()).await;
        server.stop().await;
        bench.fake.continue_last_line("a1", " ended\n");
        want.push(format!("round {round} begun, ended"));
        until("noticed", || running.state() == DockerState::Unavailable).await;
    }
    let server = bench.serve();
    until("the rest", || bench.store.lines("web").len() >= want.len()).await;
    let mut got = bench.store.lines("web");
    got.sort();
    want.sort();
    assert_eq!(got, want);
    assert!(running.counter("docker_disconnects") >= 4);
    running.stop().await;
    server.stop().await;
}

/// A job that takes over the stdout of the container `web` under the name `claimed`.
#[tokio::test]
async fn lines_that_a_stream_leaves_out_at_a_rotation_are_read() {
    let bench = Bench::new();
    bench.fake.run("a1", "web");
    bench.fake.rotate_log_at("a1", "1k");
    let server = bench.serve();
    bench.fake.log("a1", 1, "first\n");
    let running = bench.collect();
    until("the first line", || bench.store.lines("web") == ["first"]).await;
    let mut want = vec!["first".to_owned()];
    for round in 0..5 {
        for line in 0..250 {
            let text = format!("round {round} line {line}");
            bench.fake.log_unseen("a1", 1 + line % 2, &format!("{text}\n"));
            want.push(text);
        }
        let text = format!("round {round} seen");
        bench.fake.log("a1", 1, &format!("{text}\n"));
        want.push(text);
        until("all lines", || bench.store.lines("web").len() >= want.len()).await;
    }
    let mut got = bench.store.lines("web");
    got.sort();
    want.sort();
    assert_eq!(got, want);
    assert!(running.counter("log_streams_torn") >= 5);
    assert_eq!(running.counter("log_gaps"), 0);
    running.stop().await;
    server.stop().await;
}

fn job(bench: &Bench) -> ClaimJob {
    let rule = |action, source: &str, regex: &str, target: Option<&str>| {
        let config = RuleConfig {
            source_labels: Some(vec![source.to_owned()]),
            regex: Some(regex.to_owned()),
            replacement: target.map(|_| "claimed".to_owned()),
            target_label: target.map(str::to_owned),
            action: Some(action),
            ..RuleConfig::default()
        };
        Rule::new(config).expect("a rule")
    };
    let multiline = MultilineConfig {
        firstline: "^begin".to_owned(),
        max_wait_ns: 3_600_000_000_000,
        max_lines: 128,
    };
    let stages = [StageConfig::Multiline(multiline)];
    let pipeline = Pipeline::new(&stages, &Metrics::default()).expect("a pipeline");
    let (limits, dropped) = (Arc::default(), Arc::default());
    let name = "__meta_docker_container_name";
    let discovery = DockerSd {
        host: format!("unix://{}", bench.socket().display()),
        port: 80,
        host_networking_host: "localhost".to_owned(),
        match_first_network: true,
        filters: Vec::new(),
        refresh_interval_ms: 60_000,
    };
    ClaimJob {
        name: "j".to_owned(),
        discovery: vec![discovery],
        relabel: vec![
            rule(Action::Keep, name, "/web", None),
            rule(Action::Drop, "__meta_docker_container_log_stream", "stderr", None),
            rule(Action::Replace, name, ".*", Some("container")),
        ],
        treatment: Arc::new(Treatment::staged(
            pipeline,
            Labels::default(),
            limits,
            dropped,
            600_000,
        )),
        read_until_ns: Arc::default(),
    }
}

#[tokio::test]
async fn a_log_that_a_job_takes_over_is_stored_once_with_the_jobs_labels_and_stages() {
    let bench = Bench::new();
    for (id, name) in [("a1", "web"), ("b1", "other")] {
        bench.fake.run(id, name);
        bench.fake.log(id, 1, "begin 0\n");
        bench.fake.log(id, 2, "dropped\n");
    }
    let mut want = Vec::new();
    for round in 0..4 {
        let server = bench.serve();
        let claims = Arc::new(Claims::default());
        claims.set(vec![job(&bench)]);
        let running = bench.collect_for(claims, false);
        bench.fake.log("a1", 1, &format!("more of {round}\n"));
        // The record of this round ends with the next one's first line.
        bench.fake.log("a1", 1, &format!("begin {}\n", round + 1));
        want.push(format!("begin {round}\nmore of {round}"));
        until("records", || bench.store.lines("claimed").len() >= want.len()).await;
        running.stop().await;
        server.stop().await;
    }
    assert_eq!(bench.store.lines("claimed"), want);
    // Nobody wanted these.
    assert_eq!((bench.store.lines("web").len(), bench.store.lines("other").len()), (0, 0));
    // The job is gone: the log goes on as every other does. What was held back is let go of.
    let server = bench.serve();
    let claims = Arc::new(Claims::default());
    claims.set(vec![job(&bench)]);
    let running = bench.collect_for(Arc::clone(&claims), true);
    until("the other log", || bench.store.lines("other").len() == 2).await;
    claims.set(Vec::new());
    bench.fake.log("a1", 1, "plain\n");
    until("its own name", || bench.store.lines("web").last().is_some_and(|l| l == "plain")).await;
    assert_eq!(bench.store.lines("web"), ["begin 4", "plain"]);
    assert_eq!(bench.store.lines("claimed"), want);
    running.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_busy_store_loses_and_repeats_nothing() {
    let bench = Bench::new();
    bench.fake.run("a1", "web");
    for line in 0..1200 {
        bench.fake.log("a1", 1, &format!("line {line}\n"));
    }
    bench.store.be_busy(5);
    let server = bench.serve();
    let running = bench.collect();
    until("all lines", || bench.store.lines("web").len() >= 1200).await;
    let want: Vec<String> = (0..1200).map(|line| format!("line {line}")).collect();
    assert_eq!(bench.store.lines("web"), want);
    running.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn odd_states_and_vanishing_containers_disturb_nothing() {
    let bench = Bench::new();
    bench.fake.run("a1", "web");
    bench.fake.run("b2", "odd");
    bench.fake.set_state("b2", "hibernating");
    bench.fake.list_only("c3");
    bench.fake.list_rubbish();
    let server = bench.serve();
    let running = bench.collect();
    until("both known", || running.handle.registry.snapshot().len() == 2).await;
    let odd = running.handle.registry.get("b2").expect("b2");
    assert_eq!(odd.state, "hibernating");
    assert!(running.counter("docker_unreadable") >= 1);
    // No cgroup files here: the daemon's figures are the fall-back.
    until("fall-back", || bench.store.latest("container_cpu_usage_seconds_total", "web").is_some())
        .await;
    assert_eq!(bench.store.latest("container_cpu_usage_seconds_total", "web"), Some(1.5));
    // One vanishes between list and reading: its series end, the others go on.
    bench.fake.vanish("b2");
    bench.fake.event("destroy", "b2", "odd", &[]);
    until("ended", || {
        bench.store.latest("container_cpu_usage_seconds_total", "odd").is_some_and(model::is_stale)
    })
    .await;
    until("forgotten", || running.handle.registry.get("b2").is_none()).await;
    let rounds = bench.store.samples("container_cpu_usage_seconds_total", "web");
    until("more rounds", || {
        bench.store.samples("container_cpu_usage_seconds_total", "web") > rounds + 2
    })
    .await;
    assert_eq!(bench.store.latest("taffrail_container_up", "web"), Some(1.0));
    assert_eq!(bench.store.latest("up", ""), Some(1.0));
    running.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn events_are_stored_once_also_across_restarts() {
    let bench = Bench::new();
    bench.fake.run("a1", "web");
    bench.fake.event("start", "a1", "web", &[]);
    let server = bench.serve();
    let running = bench.collect();
    until("start", || bench.store.events("web").len() == 1).await;
    bench.fake.event("oom", "a1", "web", &[]);
    bench.fake.exit("a1", 137, true);
    bench.fake.event("die", "a1", "web", &[("exitCode", "137")]);
    until("die", || bench.store.events("web").len() == 3).await;
    let die = bench.store.events("web").pop().expect("die");
    assert!(die.contains(r#""exit_code":137,"oom_killed":true"#), "{die}");
    until("state", || {
        running.handle.registry.get("a1").is_some_and(|c| c.exit_code == Some(137) && c.oom_killed)
    })
    .await;
    running.stop().await;
    // The same daemon repeats its events: they are known.
    let running = bench.collect();
    until("again", || running.state() == DockerState::Connected).await;
    until("repeated", || running.counter("events_repeated") >= 3).await;
    running.stop().await;
    assert_eq!(bench.store.events("web").len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn deaths_while_nobody_watched_are_recorded_once() {
    let bench = Bench::new();
    bench.fake.run("a1", "web");
    bench.fake.run("old", "old");
    bench.fake.exit("old", 1, false);
    let server = bench.serve();
    let running = bench.collect();
    until("connected", || running.state() == DockerState::Connected).await;
    until("cursor", || bench.store.has_cursor("docker/events")).await;
    running.stop().await;
    // The daemon is restarted meanwhile, and its memory of events with it.
    bench.fake.log("a1", 1, "last words");
    bench.fake.exit("a1", 3, false);
    for _ in 0..2 {
        let running = bench.collect();
        until("connected", || running.state() == DockerState::Connected).await;
        until("late", || bench.store.events("web").len() == 1).await;
        until("last words", || bench.store.lines("web") == ["last words"]).await;
        running.stop().await;
    }
    let late = bench.store.events("web");
    assert_eq!(late.len(), 1);
    assert!(late[0].contains(r#""exit_code":3"#) && late[0].contains(r#""observed":"late""#));
    assert!(bench.store.events("old").is_empty(), "ended before anything was watched");
    server.stop().await;
}

#[tokio::test]
async fn a_container_of_a_moment_leaves_events_and_lines() {
    let bench = Bench::new();
    let server = bench.serve();
    let running = bench.collect();
    until("connected", || running.state() == DockerState::Connected).await;
    bench.fake.run("a1", "short");
    bench.fake.event("start", "a1", "short", &[]);
    bench.fake.log("a1", 2, "hello\n");
    bench.fake.log("a1", 1, "no newline");
    until("hello", || bench.store.lines("short") == ["hello"]).await;
    bench.fake.exit("a1", 0, false);
    bench.fake.vanish("a1");
    bench.fake.event("die", "a1", "short", &[("exitCode", "0")]);
    bench.fake.event("destroy", "a1", "short", &[]);
    until("everything", || {
        bench.store.events("short").len() == 3
            && bench.store.lines("short") == ["hello", "no newline"]
    })
    .await;
    running.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_watched() {
    let bench = Bench::new();
    let config = Config {
        endpoint: None,
        interval_ms: 100,
        host_name: String::new(),
        proc_root: PathBuf::new(),
        sys_root: PathBuf::new(),
        logs: true,
        joins_traces: true,
        claims: Arc::default(),
        logs_since_ns: 0,
    };
    let sink = Arc::clone(&bench.store) as Arc<dyn model::Sink>;
    let cancel = CancellationToken::new();
    let handle = spawn(config.clone(), Arc::clone(&sink), Arc::new(SystemClock), cancel.clone())
        .expect("no endpoint is fine");
    assert_eq!(handle.registry.docker_status().state, DockerState::Off);
    assert!(handle.stopped().await);
    let remote = Config { endpoint: Some("tcp://127.0.0.1:2375".to_owned()), ..config };
    let refused = spawn(remote, sink, Arc::new(SystemClock), cancel);
    assert!(refused.is_err_and(|e| e.message().contains("not supported")));
}

//! Start, stop, crash, bad configuration, and what an operator sees of each.

use std::process::Command;
use std::time::Duration;

use testkit::{Options, Taffrail, eventually};

use crate::{PROGRAM, quiet_config};

#[test]
fn without_an_engine_it_watches_the_host_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        format!("containers:\n  socket: {}/no.sock\nhost:\n  interval: 1s\n", dir.path().display());
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &Options { config, ..Options::default() });
    assert_eq!(taffrail.get("/-/ready", &[]).status, 200);
    for path in ["/livez", "/readyz", "/healthz", "/-/healthy", "/ready"] {
        assert_eq!(taffrail.get(path, &[]).status, 200, "{path}");
    }
    let load =
        eventually("host metrics", 10, || taffrail.promql("node_load1").first().map(|(_, v)| *v));
    assert!(load >= 0.0);
    let total = taffrail.promql("node_memory_MemTotal_bytes")[0].1;
    assert!(total > 1e8, "{total}");
    let docker = eventually("docker state", 10, || {
        let status = taffrail.get("/api/taffrail/v1/status", &[]).json();
        (status["docker"]["state"] == "unavailable")
            .then(|| status["docker"]["message"].to_string())
    });
    assert!(docker.contains("no docker socket at"), "{docker}");
    let page = taffrail.get("/metrics", &[]);
    assert!(page.body.contains("taffrail_build_info{version="), "{}", page.body);
    let (status, took) = taffrail.stop();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_socket_without_permission_names_the_group() {
    if rustix_is_root() {
        // Root may open any socket; run as nobody to see what others see.
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let socket = dir.path().join("docker.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let script = format!(
            "chmod 711 {d} && chmod 600 {s} && chown nobody {data} && cp {PROGRAM} {d}/taffrail && chmod 755 {d}/taffrail",
            d = dir.path().display(),
            s = socket.display(),
            data = data.display()
        );
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        let config = dir.path().join("t.yml");
        std::fs::write(
            &config,
            format!("listen: 127.0.0.1:0\ncontainers:\n  socket: {}\n", socket.display()),
        )
        .unwrap();
        let command = format!(
            "timeout 4 {}/taffrail run --config {} --data-dir {}",
            dir.path().display(),
            config.display(),
            data.display()
        );
        let output = Command::new("setpriv")
            .args(["--reuid=nobody", "--clear-groups", "sh", "-c", &command])
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(log.contains("permission denied") && log.contains("group root"), "{log}");
    }
}

fn rustix_is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

#[test]
fn wrong_configuration_names_the_place_and_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, text: &str, command: &[&str]| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut args: Vec<String> = command.iter().map(|a| (*a).to_owned()).collect();
        args.push(path.display().to_string());
        let output = Command::new(PROGRAM).args(args).output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.code(), text)
    };
    let (code, text) = run("taffrail.yml", "retention: 3d\nretenton: 3d\n", &["run", "--config"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("taffrail.yml:2:1: unknown key \"retenton\"; did you mean \"retention\"?"),
        "{text}"
    );
    let (code, text) = run("prometheus.yml", "global:\n  scrape_intervall: 15s\n", &["check"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("prometheus.yml:2") && text.contains("scrape_interval"), "{text}");
    let (code, text) = run(
        "prometheus.yml",
        "scrape_configs:\n  - job_name: a\n    static_configs:\n      - targets: ['x:1']\n",
        &["check"],
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("SUCCESS") && text.contains("1 scrape job"), "{text}");
    let (code, text) = run("open.yml", "listen: 0.0.0.0:0\n", &["run", "--config"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("server.tokens"), "{text}");
}

#[test]
fn two_processes_do_not_share_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { config: quiet_config(""), ..Options::default() };
    let _first = Taffrail::start(PROGRAM, dir.path(), &options);
    let data = dir.path().join("data");
    let output = Command::new(PROGRAM)
        .args(["run", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&data.display().to_string()), "{text}");
}

#[test]
fn running_queries_do_not_hold_up_a_stop() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let options = Options { config: quiet_config(""), ..Options::default() };
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    // Both run into `query.timeout`, 30 s, unless somebody ends them.
    let query = "max_over_time(sum_over_time(vector(1)%5B1h:1s%5D)%5B30d:10s%5D)";
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(taffrail.address).unwrap();
            write!(client, "GET /api/v1/query?query={query} HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .unwrap();
            client
        })
        .collect();
    eventually("queries in flight", 10, || {
        let page = taffrail.get("/metrics", &[]).body;
        page.lines()
            .find_map(|line| line.strip_prefix("process_cpu_seconds_total "))
            .and_then(|seconds| seconds.parse::<f64>().ok())
            .filter(|seconds| *seconds > 1.5)
    });
    let (status, took) = taffrail.stop();
    drop(clients);
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn what_was_stored_survives_crash_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { config: quiet_config("host:\n  interval: 1s\n"), ..Options::default() };
    let count = |taffrail: &Taffrail| {
        taffrail.promql("count_over_time(node_load1[10m])").first().map_or(0.0, |(_, v)| *v)
    };
    let first = Taffrail::start(PROGRAM, dir.path(), &options);
    let before = eventually("three readings", 20, || Some(count(&first)).filter(|n| *n >= 3.0));
    first.kill();
    let second = Taffrail::start(PROGRAM, dir.path(), &options);
    let after_crash = count(&second);
    assert!(after_crash >= before, "{after_crash} < {before}");
    let (status, _) = second.stop();
    assert!(status.success());
    let third = Taffrail::start(PROGRAM, dir.path(), &options);
    let after_stop = count(&third);
    assert!(after_stop >= after_crash, "{after_stop} < {after_crash}");
    third.assert_quiet(&[]);
}

#[test]
fn tokens_close_every_door_but_those_of_probes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "0123456789abcdef0123\n").unwrap();
    let config = quiet_config("server:\n  tokens:\n    - role: viewer\n      token_file: token\n");
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &Options { config, ..Options::default() });
    for (path, answer) in [
        ("/livez", "OK"),
        ("/-/healthy", "Taffrail is Healthy."),
        ("/healthz", "Taffrail is Healthy."),
        ("/-/ready", "Taffrail is Ready."),
        ("/readyz", "Taffrail is Ready."),
        ("/ready", "ready"),
    ] {
        let open = taffrail.get(path, &[]);
        assert_eq!((open.status, open.body.trim()), (200, answer), "{path}");
    }
    for path in ["/api/v1/query", "/loki/api/v1/labels", "/metrics", "/api/taffrail/v1/status"] {
        assert_eq!(taffrail.get(path, &[]).status, 401, "{path}");
    }
    let server = format!("http://{}", taffrail.address);
    let token = dir.path().join("token");
    let output = Command::new(PROGRAM)
        .args(["query", "1 + 1", "--server", &server, "--token-file"])
        .arg(&token)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "2");
    let health = Command::new(PROGRAM).args(["health", "--server", &server]).output().unwrap();
    assert_eq!(health.status.code(), Some(1));
    let said = String::from_utf8_lossy(&health.stderr);
    assert!(said.contains("a bearer token is required"), "{said}");
    assert_eq!(testkit::post(taffrail.address, "/-/reload").unwrap().status, 401);
}

#[test]
fn a_damaged_file_is_set_aside_named_and_the_rest_served() {
    let dir = tempfile::tempdir().unwrap();
    let config = quiet_config("host:\n  interval: 1s\n");
    let options = Options { config, ..Options::default() };
    let first = Taffrail::start(PROGRAM, dir.path(), &options);
    eventually("a reading", 10, || first.promql("node_load1").first().map(|_| ()));
    assert!(first.stop().0.success());
    let parts = dir.path().join("data/metrics/parts");
    let is_part = |path: &std::path::PathBuf| path.metadata().unwrap().len() > 1_000;
    let files = std::fs::read_dir(&parts).unwrap().map(|entry| entry.unwrap().path());
    let damaged: Vec<_> = files.filter(is_part).collect();
    assert!(!damaged.is_empty());
    for path in &damaged {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let second = Taffrail::start(PROGRAM, dir.path(), &options);
    assert_eq!(second.get("/-/ready", &[]).status, 200);
    let damage = second.get("/api/taffrail/v1/status", &[]).json()["damage"].to_string();
    let name = damaged[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(damage.contains(&name), "{damage} does not name {name}");
    eventually("new readings", 10, || second.promql("node_load1").first().map(|_| ()));
    let kept = std::fs::read_dir(&parts).unwrap().flatten();
    let aside = kept.filter(|e| e.path().to_string_lossy().ends_with(".corrupt")).count();
    assert_eq!(aside, damaged.len());
}

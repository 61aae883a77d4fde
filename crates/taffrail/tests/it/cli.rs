//! The commands that ask a running Taffrail.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use testkit::{Options, Taffrail, eventually};

use crate::{PROGRAM, now_ns, quiet_config};

fn ask(taffrail: &Taffrail, args: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(args)
        .args(["--server", &format!("http://{}", taffrail.address)])
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn query_health_and_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        config: quiet_config("host:\n  interval: 1s\n  name: box\n"),
        ..Options::default()
    };
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    eventually("host metrics", 10, || taffrail.promql("node_load1").first().map(|_| ()));

    let table = stdout(&ask(&taffrail, &["query", "node_load1"]));
    assert!(
        table.starts_with("SERIES") && table.contains("node_load1{instance=\"box\", job=\"node\"}"),
        "{table}"
    );
    let json = stdout(&ask(&taffrail, &["query", "node_load1", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["data"]["resultType"], "vector");
    let range = stdout(&ask(&taffrail, &["query", "node_load1", "--since", "1m", "--step", "1s"]));
    assert!(range.lines().count() >= 2, "{range}");

    let wrong = ask(&taffrail, &["query", "sum(("]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("parse error"), "{wrong:?}");

    let health = ask(&taffrail, &["health"]);
    assert!(health.status.success() && stdout(&health).contains("ready"), "{health:?}");
    let server = format!("http://{}", taffrail.address);
    drop(taffrail);
    let gone = Command::new(PROGRAM).args(["health", "--server", &server]).output().unwrap();
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("cannot reach"), "{gone:?}");
}

#[test]
fn help_has_examples_and_wrong_flags_exit_2() {
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    assert!(help.status.success() && stdout(&help).contains("Examples:"));
    let wrong = Command::new(PROGRAM).args(["run", "--retentoin", "3d"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("--retention"), "{wrong:?}");
}

#[test]
fn logs_come_back_byte_for_byte_and_what_is_absent_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let bytes = b"caf\xe9 \0 \xff\n";
    std::fs::write(logs.join("a.log"), bytes).unwrap();
    let config = quiet_config(&format!(
        "host:\n  enabled: false\nfiles:\n- paths: ['{}/*.log']\n  labels: {{job: shop}}\n",
        logs.display()
    ));
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &Options { config, ..Options::default() });
    let shop = "{job=\"shop\"}";
    eventually("the line", 30, || {
        Some(ask(&taffrail, &["logs", shop, "--raw"])).filter(|out| !out.stdout.is_empty())
    });
    assert_eq!(ask(&taffrail, &["logs", shop, "--raw"]).stdout, bytes);
    assert_eq!(ask(&taffrail, &["logs", shop, "--raw", "-C", "1"]).stdout, bytes);
    assert_eq!(stdout(&ask(&taffrail, &["logs", shop])), "caf\u{fffd} ␀ \u{fffd}\n");
    for (args, code, words) in [
        (&["logs", "nosuch"][..], 1, "no container \"nosuch\"; containers with lines: none"),
        (&["logs", "{job=\"shopp\"}"], 0, "no stream with job = \"shopp\"; did you mean \"shop\"?"),
        (
            &["logs", "{jobb=\"shop\"}"],
            0,
            "no stream with the label \"jobb\"; did you mean \"job\"?",
        ),
        (&["logs", shop, "-e", "zzz"], 0, "none of them passes the filters"),
    ] {
        let out = ask(&taffrail, args);
        assert_eq!((out.status.code(), stdout(&out).as_str()), (Some(code), ""), "{args:?}");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(said.contains(words), "{args:?}: {said}");
    }
}

/// Connections to the returned address go to where `to` says at that moment.
fn forwarder(to: Arc<Mutex<SocketAddr>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            let _ended = std::io::copy(&mut from, &mut to);
            let _closed = to.shutdown(std::net::Shutdown::Both);
        });
    };
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(*to.lock().unwrap()) else { continue };
            copy(client.try_clone().unwrap(), server.try_clone().unwrap());
            copy(server, client);
        }
    });
    address
}

#[test]
fn lines_are_followed_through_a_restart_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        config: quiet_config("host:\n  enabled: false\ndurability: strict\n"),
        ..Options::default()
    };
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    let push = |taffrail: &Taffrail, line: &str| {
        let t_ns = now_ns();
        let body =
            format!(r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[["{t_ns}","{line}"]]}}]}}"#);
        let headers = [("Content-Type", "application/json")];
        let path = "POST /loki/api/v1/push";
        let answer = testkit::send(taffrail.address, path, &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.body);
    };
    push(&taffrail, "one");
    let to = Arc::new(Mutex::new(taffrail.address));
    let server = format!("http://{}", forwarder(to.clone()));
    let mut following = Command::new(PROGRAM)
        .args(["logs", "{app=\"x\"}", "--follow", "--since", "1h", "--server", &server])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, came) = mpsc::channel();
    let stdout = BufReader::new(following.stdout.take().unwrap());
    std::thread::spawn(move || {
        stdout.lines().map_while(Result::ok).try_for_each(|l| lines.send(l))
    });
    let next = || came.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(next().ends_with("one"));
    push(&taffrail, "two");
    assert!(next().ends_with("two"));
    taffrail.kill();
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    push(&taffrail, "three");
    *to.lock().unwrap() = taffrail.address;
    assert!(next().ends_with("three"), "what was printed is not printed again");
    following.kill().unwrap();
    following.wait().unwrap();
}

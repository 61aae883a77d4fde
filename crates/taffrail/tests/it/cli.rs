//! The commands that ask a running Taffrail.

use std::process::{Command, Output};

use testkit::{Options, Taffrail, eventually};

use crate::{PROGRAM, quiet_config};

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

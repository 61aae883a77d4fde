//! Shippers of logs as they are installed: rsyslog, systemd's journal, and libraries for Fluentd, Beats, Graylog and Loki.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use testkit::{Options, Taffrail, clients_wanted, eventually};

use crate::{PROGRAM, quiet_config};

/// Folder of the programs.
fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn start(dir: &Path, receive: &str) -> Taffrail {
    let config = quiet_config(&format!("host:\n  enabled: false\nreceive:\n{receive}"));
    Taffrail::start(PROGRAM, dir, &Options { config, ..Options::default() })
}

/// The port on which `what` listens, as the log says.
pub(crate) fn port(taffrail: &Taffrail, what: &str) -> String {
    let what = format!("{what} on 127.0.0.1:");
    let of = |line: &String| Some(line.split(&what).nth(1)?.trim().to_owned());
    eventually(&what, 30, || taffrail.log().iter().find_map(of))
}

fn lines(taffrail: &Taffrail, query: &str) -> Vec<String> {
    taffrail.logql(query, 0, 100).into_iter().map(|(_, line)| line).collect()
}

/// The lines of a query, once there are `count`.
fn lines_of(taffrail: &Taffrail, query: &str, count: usize) -> Vec<String> {
    eventually(query, 60, || {
        let found = lines(taffrail, query);
        (found.len() >= count).then_some(found)
    })
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program that is ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn rsyslog_forwards_over_tcp_tls_and_in_datagrams() {
    let Some(_) = clients_wanted() else { return };
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let shown = rcgen::CertificateParams::new(["box".to_owned()]).unwrap();
    let shown = shown.self_signed(&key).unwrap();
    std::fs::write(dir.path().join("box.pem"), shown.pem()).unwrap();
    std::fs::write(dir.path().join("box.key"), key.serialize_pem()).unwrap();
    let taffrail = start(
        dir.path(),
        "  tls:\n    cert_file: box.pem\n    key_file: box.key\n  syslog:\n    tcp: 127.0.0.1:0\n    udp: 127.0.0.1:0\n    tls: 127.0.0.1:0\n    time_zone: UTC\n",
    );
    let (tcp, udp) = (port(&taffrail, "syslog over TCP"), port(&taffrail, "syslog over UDP"));
    let tls = port(&taffrail, "syslog over TLS");
    let (place, socket) = (dir.path().display(), dir.path().join("log.sock"));
    let forward = |tag: &str, more: &str| {
        format!(
            "if $programname == '{tag}' then {{ action(type=\"omfwd\" target=\"127.0.0.1\" {more}) }}\n"
        )
    };
    let config = format!(
        "global(workDirectory=\"{place}\" defaultNetstreamDriverCAFile=\"{place}/box.pem\")
module(load=\"imuxsock\" SysSock.Use=\"off\")
input(type=\"imuxsock\" Socket=\"{}\")
{}{}{}{}",
        socket.display(),
        forward(
            "octets",
            &format!(
                "port=\"{tcp}\" protocol=\"tcp\" template=\"RSYSLOG_SyslogProtocol23Format\" TCP_Framing=\"octet-counted\""
            )
        ),
        forward(
            "lines",
            &format!("port=\"{tcp}\" protocol=\"tcp\" template=\"RSYSLOG_ForwardFormat\"")
        ),
        forward(
            "grams",
            &format!(
                "port=\"{udp}\" protocol=\"udp\" template=\"RSYSLOG_TraditionalForwardFormat\""
            )
        ),
        forward(
            "secret",
            &format!(
                "port=\"{tls}\" protocol=\"tcp\" StreamDriver=\"gtls\" StreamDriverMode=\"1\" StreamDriverAuthMode=\"anon\""
            )
        ),
    );
    let file = dir.path().join("rsyslog.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("/usr/sbin/rsyslogd");
    command.arg("-n").arg("-f").arg(&file).arg("-i").arg(dir.path().join("rsyslog.pid"));
    let said = std::fs::File::create(dir.path().join("rsyslog.log")).unwrap();
    command.stderr(said.try_clone().unwrap()).stdout(said).env("TZ", "UTC");
    let _rsyslog = Running(command.spawn().unwrap());
    eventually("rsyslog", 60, || socket.exists().then_some(()));
    for tag in ["octets", "lines", "grams", "secret"] {
        for i in 0..20 {
            let mut logger = Command::new("logger");
            logger.arg("--socket").arg(&socket).args(["--id=7", "-t", tag, "-p", "daemon.warning"]);
            logger.arg(format!("{tag} {i}"));
            run(logger);
        }
    }
    for tag in ["octets", "lines", "grams", "secret"] {
        let query = format!(
            "{{job=\"syslog\", app=\"{tag}\"}} | level=\"warn\" | facility=\"daemon\" | proc_id=\"7\""
        );
        // rsyslog's message begins with the space behind the tag.
        let found = lines_of(&taffrail, &query, 20);
        let mut found: Vec<&str> = found.iter().map(|line| line.trim_start()).collect();
        found.sort_unstable();
        let mut expected: Vec<String> = (0..20).map(|i| format!("{tag} {i}")).collect();
        expected.sort();
        assert_eq!(found, expected);
    }
    let status = taffrail.get("/api/taffrail/v1/status", &[]).json();
    assert_eq!(status["receivedLogs"]["correctedTimes"], serde_json::json!([]));
}

#[test]
fn journals_are_uploaded() {
    let Some(_) = clients_wanted() else { return };
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(dir.path(), "  max_request: 16MiB\n");
    let (export, journal) = (dir.path().join("a.export"), dir.path().join("a.journal"));
    let now_us = crate::now_ns() / 1_000;
    let mut entries = Vec::new();
    for i in 0..500 {
        let id = "0123456789abcdef0123456789abcdef";
        entries.extend_from_slice(
            format!(
                "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={i}\n_BOOT_ID={id}\n_HOSTNAME=box\n_SYSTEMD_UNIT=shop.service\nSYSLOG_IDENTIFIER=shop\nPRIORITY=3\nORDER_ID={i}\nMESSAGE\n",
                now_us + i
            )
            .as_bytes(),
        );
        let message = format!("card {i}\ndeclined");
        entries.extend_from_slice(&(message.len() as u64).to_le_bytes());
        entries.extend_from_slice(message.as_bytes());
        entries.extend_from_slice(b"\n\n");
    }
    std::fs::write(&export, entries).unwrap();
    let mut write = Command::new("/lib/systemd/systemd-journal-remote");
    write.arg("--output").arg(&journal).arg(&export);
    run(write);
    let mut upload = Command::new("/lib/systemd/systemd-journal-upload");
    upload
        .arg(format!("--url=http://{}", taffrail.address))
        .arg(format!("--file={}", journal.display()));
    upload.arg(format!("--save-state={}", dir.path().join("state").display()));
    upload.arg("--follow=no");
    run(upload);
    let query =
        "{job=\"journal\", unit=\"shop.service\", app=\"shop\", host=\"box\"} | level=\"error\"";
    // Acknowledged: all of it is there.
    let count = taffrail.logql(query, 0, 1_000).len();
    assert_eq!(count, 500);
    assert_eq!(lines(&taffrail, &format!("{query} | ORDER_ID=\"77\"")), ["card 77\ndeclined"]);
}

#[test]
fn libraries_ship_their_lines() {
    let Some(clients) = clients_wanted() else { return };
    let dir = tempfile::tempdir().unwrap();
    let taffrail = start(
        dir.path(),
        "  fluent:\n    tcp: 127.0.0.1:0\n  beats:\n    tcp: 127.0.0.1:0\n  gelf:\n    tcp: 127.0.0.1:0\n    udp: 127.0.0.1:0\n",
    );
    for (library, listener) in [
        ("fluent", "Fluentd's forward protocol over TCP"),
        ("beats", "Lumberjack over TCP"),
        ("gelf-tcp", "GELF over TCP"),
        ("gelf-udp", "GELF over UDP"),
    ] {
        let mut command = Command::new(clients.join("python/bin/python"));
        command.arg(programs().join("shippers.py")).args([library, &port(&taffrail, listener)]);
        run(command);
    }
    let mut pino = Command::new("node");
    pino.arg(clients.join("node/pino.mjs")).arg(format!("http://{}", taffrail.address));
    pino.stdin(Stdio::null());
    let _pino = Running(pino.spawn().unwrap());
    let declined = "card declined";
    // Beats wait for their acknowledgement.
    let query = "{job=\"beats\", service_name=\"py-beats\"} | order_id=\"42\"";
    assert_eq!(lines(&taffrail, query), [declined; 2]);
    let query = "{job=\"fluent\", tag=\"shop.orders\"} | order_id=\"42\"";
    assert_eq!(lines_of(&taffrail, query, 1), [declined]);
    for library in ["gelf-tcp", "gelf-udp"] {
        let query =
            format!("{{job=\"gelf\", app=\"{library}\"}} | order_id=\"42\" | level=\"error\"");
        assert_eq!(lines_of(&taffrail, &query, 1), [declined], "{library}");
    }
    let found = lines_of(&taffrail, "{app=\"pino-shop\"} |= \"card declined\"", 1);
    assert!(found[0].contains("42"), "{found:?}");
}

//! Notifications on their way: to servers that write down what they get, through proxies and TLS, and to mail servers.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use alert::expand::alertmanager::{Alert, Notification, Pairs};
use alert::notify::{Notice, Outcome, default_templates};
use alert::receiver::{Email, Integration, Kind, Slack, SmartHost, Webhook};
use model::SystemClock;
use model::http::{Secret, TlsOptions};
use serde_json::Value as Json;
use taffrail::alertmanager_yml;
use taffrail::notify::Sender;
use testkit::{Alertmanager, Instrumented, MailRecorder, Recorder, clients_wanted, eventually};

use crate::PROGRAM;

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn notice() -> Notice {
    let alert = Alert {
        labels: pairs(&[("alertname", "Down"), ("evil", "x\r\nEvil: yes")]),
        annotations: pairs(&[("summary", "it is down")]),
        ..Alert::default()
    };
    Notice {
        notification: Notification {
            receiver: "team".to_owned(),
            alerts: vec![alert],
            group_labels: pairs(&[("alertname", "Down")]),
            external_url: "http://am".to_owned(),
            ..Notification::default()
        },
        group_key: "{}:{alertname=\"Down\"}".to_owned(),
        ..Notice::default()
    }
}

/// The program does this as it starts; a second time is refused and means nothing.
fn install_tls() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
}

fn send(integration: &Integration) -> Outcome {
    install_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sender = Sender::new("test", "box", Arc::new(SystemClock));
    runtime.block_on(sender.send(integration, &notice(), &default_templates()))
}

fn delivered(integration: &Integration) {
    assert_eq!(send(integration), Outcome::Delivered { remember: Pairs::new() });
}

fn retried(integration: &Integration, why: &str) -> Option<u64> {
    match send(integration) {
        Outcome::Retry { after_ms, reason } => {
            assert!(reason.contains(why), "{reason}");
            assert!(!reason.contains("s3cret"), "{reason}");
            after_ms
        }
        other => panic!("not to be tried again: {other:?}"),
    }
}

fn refused(integration: &Integration, why: &str) {
    match send(integration) {
        Outcome::Refused { reason } => {
            assert!(reason.contains(why), "{reason}");
            assert!(!reason.contains("s3cret"), "{reason}");
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn webhook(url: &str) -> Integration {
    let url = Some(Secret::Text(url.to_owned()));
    Integration::new(Kind::Webhook(Box::new(Webhook { url, ..Webhook::default() })))
}

#[test]
fn webhooks_arrive_with_their_options() {
    let recorder = Recorder::ok("");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    let mut integration = webhook("");
    let Kind::Webhook(webhook) = &mut integration.kind else { unreachable!() };
    webhook.url = Some(Secret::File(file.clone()));
    // Read when it is sent, not before.
    retried(&integration, "cannot read secret file");
    std::fs::write(&file, format!("http://{}/s3cret\n", recorder.address)).unwrap();
    let text = |text: &str| Secret::Text(text.to_owned());
    integration.http.authorization = Some(("Bearer".to_owned(), text("tok")));
    integration.http.headers = vec![("X-Team".to_owned(), text("a"))];
    delivered(&integration);
    let requests = recorder.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("POST", "/s3cret"));
    assert_eq!(requests[0].header("authorization"), Some("Bearer tok"));
    assert_eq!(requests[0].header("x-team"), Some("a"));
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert_eq!(requests[0].header("user-agent"), Some("Taffrail/test"));
    let body: Json = serde_json::from_str(&requests[0].body).unwrap();
    assert_eq!(body["alerts"][0]["labels"]["evil"], "x\r\nEvil: yes");
}

#[test]
fn answers_decide_what_becomes_of_it() {
    let busy = Recorder::start(|_| (503, vec![("Retry-After".into(), "7".into())], "no".into()));
    let after_ms = retried(&webhook(&format!("http://{}/s3cret", busy.address)), "503: no");
    assert_eq!(after_ms, Some(7000));
    let wrong = Recorder::start(|_| (400, Vec::new(), "bad".into()));
    refused(&webhook(&format!("http://{}/", wrong.address)), "400: bad");
    refused(&webhook("gopher://s3cret/"), "scheme \"gopher\"");
    refused(&webhook("no url s3cret"), "is none");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    retried(&webhook(&format!("http://{closed}/s3cret")), "no answer of 127.0.0.1: ");
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut integration = webhook(&format!("http://{}/s3cret", silent.local_addr().unwrap()));
    let Kind::Webhook(slow) = &mut integration.kind else { unreachable!() };
    slow.timeout_ms = 200;
    retried(&integration, "no complete answer of 127.0.0.1 within 0.2 s");
}

#[test]
fn redirects_keep_the_message_or_are_not_followed() {
    let target = Recorder::ok("");
    let to = format!("http://localhost:{}/there", target.address.port());
    let redirect = move |status: u16| {
        let to = to.clone();
        Recorder::start(move |_| (status, vec![("Location".into(), to.clone())], String::new()))
    };
    let (moved, found) = (redirect(308), redirect(302));
    let mut integration = webhook(&format!("http://{}/", moved.address));
    integration.http.authorization = Some(("Bearer".into(), Secret::Text("s3cret".into())));
    delivered(&integration);
    let requests = target.requests();
    assert_eq!(requests.len(), 1);
    // Another host: no secret of this one.
    assert_eq!(requests[0].header("authorization"), None);
    assert!(requests[0].body.contains("\"receiver\":\"team\""));
    refused(&webhook(&format!("http://{}/", found.address)), "302");
    integration.http.follow_redirects = false;
    refused(&integration, "308");
    assert_eq!(target.requests().len(), 1);
}

#[test]
fn messages_go_through_proxies() {
    let proxy = Recorder::ok("ok");
    let mut integration = Integration::new(Kind::Slack(Box::new(Slack {
        api_url: Some(Secret::Text("http://hooks.example/services/x".into())),
        ..Slack::default()
    })));
    integration.http.proxy.url = Some(format!("http://{}", proxy.address));
    delivered(&integration);
    let requests = proxy.requests();
    assert_eq!(requests[0].path, "http://hooks.example/services/x");
    assert!(requests[0].body.contains("\"title\":\"[FIRING:1] Down"));
}

fn email(port: u16) -> Email {
    Email {
        to: "a@example.org, B <b@example.org>".into(),
        from: "am@example.org".into(),
        smarthost: SmartHost { host: "127.0.0.1".into(), port },
        hello: "box.example".into(),
        text: "{{ .CommonLabels.evil }}\n.\n.two".into(),
        headers: [("Subject".to_owned(), "{{ .CommonLabels.evil }} ü".to_owned())].into(),
        require_tls: false,
        ..Email::default()
    }
}

fn mail(email: &Email) -> Integration {
    Integration::new(Kind::Email(Box::new(email.clone())))
}

#[test]
fn mails_without_tls_are_written_as_servers_expect() {
    let server = MailRecorder::start();
    let email = email(server.address.port());
    delivered(&mail(&email));
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(
        mails[0].envelope,
        ["MAIL FROM:<am@example.org>", "RCPT TO:<a@example.org>", "RCPT TO:<b@example.org>"]
    );
    let (head, body) = mails[0].data.split_once("\r\n\r\n").unwrap();
    assert!(!head.lines().any(|line| line.starts_with("Evil")), "{head}");
    assert!(head.contains("Message-Id: <0."), "{head}");
    assert!(body.contains("\r\n.\r\n.two\r\n"), "{body}");
    retried(
        &mail(&Email { require_tls: true, ..email.clone() }),
        "does not advertise the STARTTLS",
    );
    refused(&mail(&Email { to: "nobody".into(), ..email.clone() }), "parse 'to' addresses");
    refused(&mail(&Email { from: "a@b, c@d".into(), ..email }), "exactly one 'from' address");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    retried(&mail(&self::email(closed.port())), "establish connection to 127.0.0.1:");
}

/// Writes a certificate for 127.0.0.1 and its key to `dir`.
fn certificate(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

/// A server of Python's aiosmtpd; `None` where it is not installed.
fn server(dir: &Path, mode: &str, mechanisms: &[&str]) -> Option<Instrumented> {
    let clients = clients_wanted()?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/mail_server.py");
    let mut command = Command::new(clients.join("python/bin/python"));
    command.arg(program).arg(mode).arg(dir).args(mechanisms);
    Some(Instrumented::start(command))
}

fn taken(dir: &Path, number: usize) -> Json {
    eventually("the mail", 10, || {
        let text = std::fs::read_to_string(dir.join(format!("mail-{number}.json"))).ok()?;
        serde_json::from_str(&text).ok()
    })
}

#[test]
fn mails_go_over_tls_with_every_login() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let mut number = 0;
    for (mode, mechanism) in [
        ("starttls", "PLAIN"),
        ("starttls", "LOGIN"),
        ("starttls", "CRAM-MD5"),
        ("implicit", "PLAIN"),
    ] {
        let place = tempfile::tempdir_in(dir.path()).unwrap();
        for file in ["cert.pem", "key.pem"] {
            std::fs::copy(dir.path().join(file), place.path().join(file)).unwrap();
        }
        let Some(server) = server(place.path(), mode, &[mechanism]) else { return };
        let secret = || Some(Secret::Text("secret".into()));
        let email = Email {
            require_tls: true,
            force_implicit_tls: (mode == "implicit").then_some(true),
            auth_username: "user".into(),
            auth_password: secret(),
            auth_secret: secret(),
            tls: TlsOptions {
                ca: Some(Secret::File(place.path().join("cert.pem"))),
                ..TlsOptions::default()
            },
            ..email(server.port)
        };
        delivered(&mail(&email));
        let mail_1 = taken(place.path(), 1);
        assert_eq!(mail_1["is_encrypted"], true, "{mode} {mechanism}");
        assert_eq!(mail_1["is_logged_in"], true, "{mode} {mechanism}");
        assert_eq!(mail_1["hello"], "box.example");
        assert_eq!(mail_1["to"], serde_json::json!(["a@example.org", "b@example.org"]));
        let wrong = Some(Secret::Text("wrong".into()));
        let wrong = Email { auth_password: wrong.clone(), auth_secret: wrong, ..email.clone() };
        retried(&mail(&wrong), "AUTH ");
        // Another name, and an authority that is not the server's.
        let named = |name: &str| TlsOptions { server_name: Some(name.into()), ..email.tls.clone() };
        retried(&mail(&Email { tls: named("other.example"), ..email.clone() }), "establish TLS: ");
        let unknown = Email { tls: TlsOptions::default(), ..email.clone() };
        retried(&mail(&unknown), "establish TLS: ");
        let anybody = TlsOptions { insecure_skip_verify: true, ..TlsOptions::default() };
        delivered(&mail(&Email { tls: anybody, ..email }));
        number += 1;
    }
    assert_eq!(number, 4);
}

#[test]
fn mails_go_to_those_whom_the_server_knows() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = server(dir.path(), "plain", &[]) else { return };
    let to = |to: &str| mail(&Email { to: to.into(), ..email(server.port) });
    delivered(&to("nobody@x.org, a@x.org"));
    assert_eq!(taken(dir.path(), 1)["to"], serde_json::json!(["a@x.org"]));
    refused(&to("nobody@x.org"), "RCPT: 550 5.1.1 no such user");
    retried(&to("nobody@x.org, later@x.org"), "RCPT: 450 4.2.1 try again later");
}

#[test]
fn a_receiver_is_tried_out_from_the_command_line() {
    let recorder = Recorder::start(|request| match request.path.as_str() {
        "/gone" => (404, Vec::new(), "gone".into()),
        _ => (200, Vec::new(), "ok".into()),
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("alertmanager.yml");
    let http = recorder.address;
    let config = format!(
        "route: {{receiver: team}}\nreceivers:\n- name: team\n  slack_configs:\n  - api_url: http://{http}/slack\n    \
         channel: '#{{{{ .CommonLabels.team }}}}'\n  webhook_configs: [{{url: 'http://{http}/gone'}}]\n- name: empty\n"
    );
    std::fs::write(&file, config).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["notify", "test", "--config.file"]).arg(&file).args(args);
        let done = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let (code, out, _) = run(&["--receiver", "team", "--label", "team=x"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("slack[0]: delivered\n"), "{out}");
    assert!(out.contains("webhook[0]: refused: unexpected status code 404: gone\n"), "{out}");
    let sent = recorder.requests();
    let slack = sent.iter().find(|request| request.path == "/slack").unwrap();
    assert!(slack.body.contains("\"channel\":\"#x\""), "{}", slack.body);
    assert!(slack.body.contains("[FIRING:1] TaffrailTest"), "{}", slack.body);
    let (code, out, _) = run(&["--receiver", "team", "--integration", "slack[0]", "--resolved"]);
    assert_eq!((code, out.as_str()), (Some(0), "slack[0]: delivered\n"));
    let (code, _, err) = run(&["--receiver", "taem"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("did you mean \"team\"?"), "{err}");
    let (code, _, err) = run(&["--receiver", "empty"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("has not any integration"), "{err}");
}

/// One file, read by Alertmanager and by us.
#[test]
fn the_same_file_makes_the_same_messages() {
    if clients_wanted().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let theirs = Recorder::start(|_| (200, Vec::new(), "ok".into()));
    let ours = Recorder::start(|_| (200, Vec::new(), "ok".into()));
    std::fs::write(
        dir.path().join("own.tmpl"),
        "{{ define \"own\" }}{{ range .Alerts }}{{ .Labels.instance }};{{ end }}{{ end }}\
         {{ define \"__subject\" }}own {{ .Status }}{{ end }}",
    )
    .unwrap();
    let config = |recorder: &Recorder| {
        let http = recorder.address;
        let templates = dir.path().join("*.tmpl");
        format!(
            r##"
global:
  slack_api_url: http://{http}/slack
  pagerduty_url: http://{http}/pagerduty
  opsgenie_api_url: http://{http}/opsgenie
  opsgenie_api_key: key
  victorops_api_url: http://{http}/victorops
  victorops_api_key: key
templates: ['{templates}']
route: {{receiver: team, group_by: [alertname], group_wait: 1s}}
receivers:
- name: team
  slack_configs: [{{channel: '#a', text: '{{{{ template "own" . }}}}', actions: [{{type: button, text: t, url: 'http://x'}}]}}]
  pagerduty_configs: [{{routing_key: k, details: {{firing: '{{{{ template "own" . }}}}', resolved: 'r', num_firing: 'f', num_resolved: 'n'}}}}]
  webhook_configs: [{{url: 'http://{http}/webhook', max_alerts: 1}}]
  opsgenie_configs: [{{message: '{{{{ template "own" . }}}}', responders: [{{name: t, type: team}}]}}]
  victorops_configs: [{{routing_key: '{{{{ .GroupLabels.alertname }}}}'}}]
  discord_configs: [{{webhook_url: 'http://{http}/discord', title: '{{{{ template "own" . }}}}'}}]
"##,
            templates = templates.display()
        )
    };
    let alertmanager = Alertmanager::start(dir.path(), &config(&theirs), "http://am");
    let alerts = ["i1", "i2"].map(|instance| {
        serde_json::json!({
            "labels": {"alertname": "Down", "instance": instance},
            "startsAt": "2026-01-02T03:04:05Z",
            "endsAt": "2099-01-02T03:04:05Z",
        })
    });
    alertmanager.send_alerts(&serde_json::json!(alerts));
    let theirs = eventually("Alertmanager's notifications", 60, || {
        Some(theirs.requests()).filter(|requests| requests.len() >= 6)
    });
    let webhook = theirs.iter().find(|request| request.path == "/webhook").unwrap();
    let webhook: Json = serde_json::from_str(&webhook.body).unwrap();
    let alert = |instance: &str| Alert {
        labels: pairs(&[("alertname", "Down"), ("instance", instance)]),
        starts_at_ns: 1_767_323_045_000_000_000,
        fingerprint: webhook["alerts"][0]["fingerprint"].as_str().unwrap().to_owned(),
        ..Alert::default()
    };
    let notice = Notice {
        notification: Notification {
            receiver: "team".to_owned(),
            alerts: vec![alert("i1"), alert("i2")],
            group_labels: pairs(&[("alertname", "Down")]),
            external_url: "http://am".to_owned(),
            ..Notification::default()
        },
        group_key: webhook["groupKey"].as_str().unwrap().to_owned(),
        ..Notice::default()
    };
    let path = dir.path().join("ours.yml");
    let options = alertmanager_yml::Options::default();
    let loaded = alertmanager_yml::load(&path, &config(&ours), options, &|_| None).unwrap();
    let templates = alertmanager_yml::templates(&loaded.config).unwrap();
    install_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sender = Sender::new("test", "box", Arc::new(SystemClock));
    let receiver = loaded.config.receiver("team").unwrap();
    for integration in &receiver.integrations {
        let outcome = runtime.block_on(sender.send(integration, &notice, &templates));
        assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
    }
    let told = |requests: Vec<testkit::Recorded>| {
        let mut told: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let authorization = request.header("authorization").map(str::to_owned);
                (request.path, request.method, authorization, request.body)
            })
            .collect();
        told.sort();
        told
    };
    let (theirs, ours) = (told(theirs), told(ours.requests()));
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
}

//! What Debian's Alertmanager sends for the same configuration and the same alerts, byte for byte.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;

use alert::expand::alertmanager::{Alert, Notification, Pairs};
use alert::notify::{Answer, Exchange, Mail, Notice, Step, Surroundings, default_templates};
use alert::receiver::*;
use model::http::Secret;
use serde_json::{Value as Json, json};
use testkit::{Alertmanager, MailRecorder, Recorded, Recorder, clients_wanted, eventually};

const EXTERNAL_URL: &str = "http://am.example:9093/x";
const RECEIVER: &str = "team x.y";
/// 2026-01-02T03:04:05.678Z
const START_NS: i64 = 1_767_323_045_678_000_000;
const SUMMARY: &str = "it is \"down\" & <out> + ü\u{2028}";

/// The requests of one notification to all receivers: two of OpsGenie's PUTs, two of WeChat.
const REQUESTS: usize = 13;

fn config(http: &Recorder, smtp: &MailRecorder) -> String {
    let (http, smtp) = (http.address, smtp.address);
    format!(
        r#"
global:
  smtp_smarthost: {smtp}
  smtp_from: am@example.org
  smtp_require_tls: false
  opsgenie_api_url: http://{http}/opsgenie/
  opsgenie_api_key: key
  victorops_api_url: http://{http}/victorops/
  victorops_api_key: key
  pagerduty_url: http://{http}/pagerduty
  wechat_api_url: http://{http}/wechat/
  wechat_api_secret: s
  wechat_api_corp_id: c
  telegram_api_url: http://{http}
  slack_api_url: http://{http}/slack
route: {{receiver: "{RECEIVER}", group_by: [alertname, zone], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}}
receivers:
- name: "{RECEIVER}"
  email_configs:
  - {{to: "a@example.org, B <b@example.org>", send_resolved: true, text: '{{{{ template "opsgenie.default.description" . }}}}'}}
  slack_configs:
  - channel: '#c'
    send_resolved: true
    text: '{{{{ .CommonAnnotations.summary }}}}'
    link_names: true
    icon_emoji: ':x:'
    fields: [{{title: t, value: '{{{{ .Status }}}}'}}, {{title: u, value: v, short: true}}]
    actions: [{{type: button, text: go, url: 'http://x'}}]
  pagerduty_configs:
  - routing_key: key
    severity: '{{{{ .CommonLabels.severity }}}}'
    class: c
    images: [{{src: 'http://i', alt: a}}]
    links: [{{href: 'http://l', text: t}}]
    details:
      firing: '{{{{ template "pagerduty.default.instances" .Alerts.Firing }}}}'
      resolved: r
      num_firing: 'n{{{{ .Alerts.Firing | len }}}}'
      num_resolved: n
  webhook_configs: [{{url: 'http://{http}/webhook', max_alerts: 2}}]
  opsgenie_configs:
  - tags: 'a,b'
    priority: P1
    responders: [{{name: 'p,q', type: teams}}, {{id: '{{{{ .Status }}}}', type: user}}]
    details: {{x: '{{{{ .Status }}}}'}}
    update_alerts: true
    entity: e
    actions: 'x, y'
    note: n
  victorops_configs: [{{routing_key: rk, custom_fields: {{f: '{{{{ .Status }}}}'}}}}]
  wechat_configs: [{{send_resolved: true, agent_id: '1', to_user: u}}]
  telegram_configs: [{{bot_token: '1:a', chat_id: -5, disable_notifications: true}}]
  sns_configs:
  - api_url: http://{http}
    topic_arn: arn:aws:sns:us-east-2:123456789012:My-Topic.fifo
    sigv4: {{region: us-east-2, access_key: AKIDEXAMPLE, secret_key: secret}}
    attributes: {{severity: 'Sev 2', z: '{{{{ .Status }}}}'}}
  discord_configs: [{{webhook_url: 'http://{http}/discord'}}]
  webex_configs: [{{api_url: 'http://{http}/webex', room_id: r, http_config: {{authorization: {{credentials: c}}}}}}]
"#
    )
}

/// The same receivers as our data.
fn integrations(http: &Recorder) -> Vec<Kind> {
    let http = format!("http://{}", http.address);
    let secret = |text: String| Some(Secret::Text(text));
    let status = || "{{ .Status }}".to_owned();
    vec![
        Kind::Email(Box::new(Email {
            to: "a@example.org, B <b@example.org>".into(),
            from: "am@example.org".into(),
            text: r#"{{ template "opsgenie.default.description" . }}"#.into(),
            ..Email::default()
        })),
        Kind::Slack(Box::new(Slack {
            api_url: secret(format!("{http}/slack")),
            channel: "#c".into(),
            text: "{{ .CommonAnnotations.summary }}".into(),
            link_names: true,
            icon_emoji: ":x:".into(),
            fields: vec![
                SlackField { title: "t".into(), value: status(), short: None },
                SlackField { title: "u".into(), value: "v".into(), short: Some(true) },
            ],
            actions: vec![SlackAction {
                kind: "button".into(),
                text: "go".into(),
                url: "http://x".into(),
                ..SlackAction::default()
            }],
            ..Slack::default()
        })),
        Kind::PagerDuty(Box::new(PagerDuty {
            routing_key: secret("key".into()),
            url: format!("{http}/pagerduty"),
            severity: "{{ .CommonLabels.severity }}".into(),
            class: "c".into(),
            images: vec![PagerDutyImage {
                src: "http://i".into(),
                alt: "a".into(),
                href: String::new(),
            }],
            links: vec![PagerDutyLink { href: "http://l".into(), text: "t".into() }],
            details: BTreeMap::from([
                (
                    "firing".into(),
                    json!(r#"{{ template "pagerduty.default.instances" .Alerts.Firing }}"#),
                ),
                ("resolved".into(), json!("r")),
                ("num_firing".into(), json!("n{{ .Alerts.Firing | len }}")),
                ("num_resolved".into(), json!("n")),
            ]),
            ..PagerDuty::default()
        })),
        Kind::Webhook(Box::new(Webhook {
            url: secret(format!("{http}/webhook")),
            max_alerts: 2,
            ..Webhook::default()
        })),
        Kind::OpsGenie(Box::new(OpsGenie {
            api_key: secret("key".into()),
            api_url: format!("{http}/opsgenie/"),
            tags: "a,b".into(),
            priority: "P1".into(),
            responders: vec![
                OpsGenieResponder {
                    name: "p,q".into(),
                    kind: "teams".into(),
                    ..OpsGenieResponder::default()
                },
                OpsGenieResponder {
                    id: status(),
                    kind: "user".into(),
                    ..OpsGenieResponder::default()
                },
            ],
            details: BTreeMap::from([("x".into(), status())]),
            update_alerts: true,
            entity: "e".into(),
            actions: "x, y".into(),
            note: "n".into(),
            ..OpsGenie::default()
        })),
        Kind::VictorOps(Box::new(VictorOps {
            api_key: secret("key".into()),
            api_url: format!("{http}/victorops/"),
            routing_key: "rk".into(),
            custom_fields: BTreeMap::from([("f".into(), status())]),
            ..VictorOps::default()
        })),
        Kind::WeChat(Box::new(WeChat {
            api_secret: secret("s".into()),
            api_url: format!("{http}/wechat/"),
            corp_id: "c".into(),
            agent_id: "1".into(),
            to_user: "u".into(),
            ..WeChat::default()
        })),
        Kind::Telegram(Box::new(Telegram {
            api_url: http.clone(),
            bot_token: secret("1:a".into()),
            chat_id: secret("-5".into()),
            disable_notifications: true,
            ..Telegram::default()
        })),
        Kind::Sns(Box::new(Sns {
            api_url: http.clone(),
            topic_arn: "arn:aws:sns:us-east-2:123456789012:My-Topic.fifo".into(),
            region: "us-east-2".into(),
            access_key: "AKIDEXAMPLE".into(),
            secret_key: secret("secret".into()),
            attributes: BTreeMap::from([
                ("severity".into(), "Sev 2".into()),
                ("z".into(), status()),
            ]),
            ..Sns::default()
        })),
        Kind::Discord(Box::new(Discord {
            webhook_url: secret(format!("{http}/discord")),
            ..Discord::default()
        })),
        Kind::Webex(Box::new(Webex {
            api_url: format!("{http}/webex"),
            room_id: "r".into(),
            ..Webex::default()
        })),
    ]
}

/// One alert as Alertmanager's API takes it, and as it is told.
fn alert(instance: &str, ends_at: &str, url: &str, annotations: &[(&str, &str)]) -> (Json, Alert) {
    let pairs = |pairs: &[(&str, &str)]| -> Pairs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let labels = pairs(&[
        ("alertname", "Down <1>"),
        ("zone", "a&b"),
        ("instance", instance),
        ("severity", "critical"),
    ]);
    let annotations = pairs(annotations);
    let sent = json!({
        "labels": labels,
        "annotations": annotations,
        "startsAt": "2026-01-02T03:04:05.678Z",
        "endsAt": ends_at,
        "generatorURL": url,
    });
    let resolved = ends_at.starts_with("2026");
    let alert = Alert {
        resolved,
        labels,
        annotations,
        starts_at_ns: START_NS,
        ends_at_ns: resolved.then_some(START_NS + 60_000_000_000),
        generator_url: url.to_owned(),
        ..Alert::default()
    };
    (sent, alert)
}

fn replies(request: &Recorded) -> testkit::Reply {
    let json = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    match request.path.as_str() {
        path if path.contains("sendMessage") => {
            (200, json, r#"{"ok":true,"result":{"message_id":1,"chat":{"id":1}}}"#.to_owned())
        }
        path if path.contains("gettoken") => (200, json, r#"{"access_token":"tok"}"#.to_owned()),
        path if path.contains("message/send") => (200, json, r#"{"errcode":0}"#.to_owned()),
        _ => (200, Vec::new(), "ok".to_owned()),
    }
}

/// Tells all integrations of `notice` and returns what would be sent, by path, and the mail.
fn ours(http: &Recorder, notice: &Notice) -> (BTreeMap<String, String>, Mail) {
    let templates = default_templates();
    let surroundings = Surroundings { templates: &templates, host_name: "box" };
    let (mut requests, mut mails) = (BTreeMap::new(), Vec::new());
    for kind in integrations(http) {
        let integration = Integration::new(kind);
        let mut exchange = Exchange::new(&integration, notice, surroundings, START_NS);
        let mut step = exchange.next(None);
        loop {
            match step {
                Step::Done(_) => break,
                Step::Mail(mail) => {
                    mails.push(*mail);
                    break;
                }
                Step::Http(request) => {
                    let path = request.url.split_once(&http.address.to_string()).unwrap().1;
                    let seen = Recorded {
                        method: request.method.to_owned(),
                        path: path.to_owned(),
                        headers: Vec::new(),
                        body: request.body.clone(),
                    };
                    let (status, headers, body) = replies(&seen);
                    requests.insert(path.to_owned(), request.body);
                    let content_type = headers.first().map_or("", |(_, value)| value).to_owned();
                    let answer =
                        Answer { status, content_type, retry_after_ms: None, body: body.into() };
                    step = exchange.next(Some(&answer));
                }
            }
        }
    }
    (requests, mails.pop().unwrap())
}

/// How the request to Amazon is signed.
fn amazon(http: &Recorder, notice: &Notice, now_ns: i64) -> String {
    let kind = integrations(http).into_iter().find(|kind| kind.name() == "sns").unwrap();
    let templates = default_templates();
    let surroundings = Surroundings { templates: &templates, host_name: "box" };
    let integration = Integration::new(kind);
    match Exchange::new(&integration, notice, surroundings, now_ns).next(None) {
        Step::Http(request) => {
            request.headers.into_iter().find(|(name, _)| *name == "Authorization").unwrap().1
        }
        other => panic!("{other:?}"),
    }
}

/// The parts of a mail by their media types, decoded.
fn parts(data: &str) -> BTreeMap<String, String> {
    let boundary = data.split("boundary=").nth(1).unwrap().lines().next().unwrap();
    let delimiter = format!("--{boundary}");
    let parts = data.split(&delimiter).skip(1).filter(|part| part.contains(": "));
    let decoded = parts.map(|part| {
        let (head, body) = part.split_once("\r\n\r\n").unwrap();
        let kind = head.split("Content-Type: ").nth(1).unwrap().split(';').next().unwrap();
        (kind.to_owned(), decode_quoted_printable(body.strip_suffix("\r\n").unwrap()))
    });
    decoded.collect()
}

fn decode_quoted_printable(text: &str) -> String {
    let mut out = Vec::new();
    let joined = text.replace("=\r\n", "");
    let mut bytes = joined.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'=' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).unwrap().replace("\r\n", "\n")
}

#[test]
fn messages_are_those_of_alertmanager() {
    if clients_wanted().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (http, smtp) = (Recorder::start(replies), MailRecorder::start());
    let (later, over) = ("2099-01-02T03:04:05Z", "2026-01-02T03:05:05.678Z");
    let alerts = [
        alert("i1", later, "http://prom/graph?g0.expr=up%3D%3D0&g0.tab=1", &[("summary", SUMMARY)]),
        alert("i2", over, "", &[("summary", SUMMARY), ("d", "x")]),
        alert("i3", later, "http://x", &[("summary", SUMMARY)]),
    ];
    let alertmanager = Alertmanager::start(dir.path(), &config(&http, &smtp), EXTERNAL_URL);
    alertmanager.send_alerts(&alerts.iter().map(|(sent, _)| sent.clone()).collect());
    let theirs = eventually("Alertmanager's notifications", 60, || {
        let requests = http.requests();
        (requests.len() >= REQUESTS && !smtp.mails().is_empty()).then_some(requests)
    });
    let mail = smtp.mails().pop().unwrap();

    // What only Alertmanager makes: the alerts' identities.
    let webhook = theirs.iter().find(|request| request.path == "/webhook").unwrap();
    let webhook: Json = serde_json::from_str(&webhook.body).unwrap();
    let fingerprints = webhook["alerts"].as_array().unwrap().iter();
    let mut fingerprints = fingerprints.map(|a| a["fingerprint"].as_str().unwrap().to_owned());
    let pairs = |name: &str| -> Pairs {
        let of = webhook[name].as_object().unwrap().iter();
        of.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
    };
    let notice = Notice {
        notification: Notification {
            receiver: RECEIVER.to_owned(),
            alerts: alerts
                .iter()
                .map(|(_, alert)| Alert {
                    fingerprint: fingerprints.next().unwrap_or_default(),
                    ..alert.clone()
                })
                .collect(),
            group_labels: pairs("groupLabels"),
            external_url: EXTERNAL_URL.to_owned(),
            ..Notification::default()
        },
        group_key: webhook["groupKey"].as_str().unwrap().to_owned(),
        ..Notice::default()
    };
    // Signed at the same second, the request to Amazon has the same signature.
    let signed = theirs.iter().find(|request| request.path == "/").unwrap();
    let at = signed.header("x-amz-date").unwrap();
    let at = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", at).unwrap().to_datetime().unwrap();
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    let at_ns = i64::try_from(at.as_nanosecond()).unwrap();
    assert_eq!(Some(amazon(&http, &notice, at_ns).as_str()), signed.header("authorization"));
    let (ours, our_mail) = ours(&http, &notice);
    let theirs: BTreeMap<String, String> =
        theirs.into_iter().map(|request| (request.path, request.body)).collect();
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>(),
        "the requests' paths"
    );
    for (path, theirs) in &theirs {
        assert_eq!(ours.get(path), Some(theirs), "{path}");
    }

    let parts = parts(&mail.data);
    assert_eq!(our_mail.text.as_ref(), parts.get("text/plain"));
    // Version 0.25 has the one address of the page without TLS.
    let page = parts.get("text/html").unwrap().replace("http://schema.org", "https://schema.org");
    assert_eq!(our_mail.html.as_ref(), Some(&page));
    let subject = our_mail.headers.iter().find(|(name, _)| name == "Subject").unwrap();
    assert!(mail.data.contains(&format!("Subject: {}\r\n", subject.1)), "{}", mail.data);
}

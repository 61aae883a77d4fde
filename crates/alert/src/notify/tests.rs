//! Messages against what Alertmanager 0.25 sent for the same alerts, and against documentation for what it does not have.

mod conversations;

use model::http::Secret;

use super::*;
use crate::expand::alertmanager::{Alert, Context};
use crate::receiver::*;

/// 2026-01-02T03:04:05.678Z
const START_NS: i64 = 1_767_323_045_678_000_000;

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn alert(resolved: bool, instance: &str) -> Alert {
    Alert {
        resolved,
        labels: pairs(&[("alertname", "Down"), ("instance", instance), ("severity", "critical")]),
        annotations: pairs(&[("summary", "it is <down> & out")]),
        starts_at_ns: START_NS,
        ends_at_ns: resolved.then_some(START_NS + 60_000_000_000),
        generator_url: "http://prom/graph?g0.expr=up%3D%3D0&g0.tab=1".to_owned(),
        fingerprint: "0123456789abcdef".to_owned(),
    }
}

fn notice(alerts: Vec<Alert>) -> Notice {
    Notice {
        notification: Notification {
            receiver: "team.x".to_owned(),
            alerts,
            group_labels: pairs(&[("alertname", "Down")]),
            external_url: "http://am:9093".to_owned(),
            ..Notification::default()
        },
        group_key: "{}:{alertname=\"Down\"}".to_owned(),
        made_at_ns: START_NS + 1,
        ..Notice::default()
    }
}

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::Text(text.to_owned()))
}

/// The steps of an exchange whose requests get these answers.
fn steps(kind: Kind, notice: &Notice, answers: &[(u16, &str, &str)]) -> Vec<Step> {
    let templates = default_templates();
    let integration = Integration::new(kind);
    let surroundings = Surroundings { templates: &templates, host_name: "box" };
    let mut exchange = Exchange::new(&integration, notice, surroundings, START_NS);
    let mut steps = vec![exchange.next(None)];
    for (status, content_type, body) in answers {
        let answer = Answer {
            status: *status,
            content_type: (*content_type).to_owned(),
            retry_after_ms: None,
            body: body.as_bytes().to_vec(),
        };
        steps.push(exchange.next(Some(&answer)));
    }
    steps
}

fn request(step: &Step) -> &Request {
    match step {
        Step::Http(request) => request,
        other => panic!("no request: {other:?}"),
    }
}

/// Checks the body of the first request.
fn check(kind: Kind, alerts: Vec<Alert>, expected: &str) {
    let steps = steps(kind, &notice(alerts), &[]);
    assert_eq!(request(steps.first().expect("a step")).body, expected);
}

fn refused(kind: Kind, expected: &str) {
    match steps(kind, &notice(vec![alert(false, "a")]), &[]).first() {
        Some(Step::Done(Outcome::Refused { reason })) => {
            assert!(reason.contains(expected), "{reason}")
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn webhooks_get_everything() {
    let webhook = |max_alerts| {
        Kind::Webhook(Box::new(Webhook {
            url: secret("http://x/"),
            max_alerts,
            ..Webhook::default()
        }))
    };
    let expected = concat!(
        r#"{"receiver":"team\\.x","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"Down","#,
        r#""instance":"a","severity":"critical"},"annotations":{"summary":"it is \u003cdown\u003e \u0026 out"},"#,
        r#""startsAt":"2026-01-02T03:04:05.678Z","endsAt":"0001-01-01T00:00:00Z","#,
        r#""generatorURL":"http://prom/graph?g0.expr=up%3D%3D0\u0026g0.tab=1","fingerprint":"0123456789abcdef"}],"#,
        r#""groupLabels":{"alertname":"Down"},"commonLabels":{"alertname":"Down","instance":"a","severity":"critical"},"#,
        r#""commonAnnotations":{"summary":"it is \u003cdown\u003e \u0026 out"},"externalURL":"http://am:9093","#,
        r#""version":"4","groupKey":"{}:{alertname=\"Down\"}","truncatedAlerts":1}"#,
        "\n"
    );
    check(webhook(1), vec![alert(false, "a"), alert(true, "b")], expected);
    let steps =
        steps(webhook(0), &notice(vec![alert(false, "a")]), &[(503, "", "busy"), (200, "", "")]);
    let busy =
        Outcome::Retry { after_ms: None, reason: "unexpected status code 503: busy".to_owned() };
    assert_eq!(steps.get(1), Some(&Step::Done(busy)));
    assert_eq!(steps.get(2), Some(&Step::Done(Outcome::delivered())));
    let payload = serde_json::json!({"text": "{{ .Status }}", "n": "{{ len .Alerts }}", "bad": "{{ .Nope.x }}"});
    let notice = notice(vec![alert(false, "a")]);
    let templated = Kind::Webhook(Box::new(Webhook {
        url: secret("http://x/{{ .GroupLabels.alertname }}"),
        payload: Some(payload),
        ..Webhook::default()
    }));
    let steps = self::steps(templated, &notice, &[]);
    let request = request(&steps[0]);
    assert_eq!(request.url, "http://x/Down");
    assert!(request.body.contains(r#""n":1,"text":"firing"#), "{}", request.body);
    assert!(request.body.contains("cannot expand webhook.payload"), "{}", request.body);
    refused(Kind::Webhook(Box::default()), "webhook.url is missing");
}

#[test]
fn slack_gets_an_attachment() {
    let slack = Slack {
        api_url: secret("http://x/"),
        channel: "#{{ .GroupLabels.alertname }}".to_owned(),
        fields: vec![SlackField { title: "t".into(), value: "{{ .Status }}".into(), short: None }],
        short_fields: true,
        actions: vec![SlackAction {
            kind: "button".into(),
            text: "go".into(),
            name: "n".into(),
            confirm: Some(SlackConfirmation { text: "sure?".into(), ..Default::default() }),
            ..Default::default()
        }],
        ..Slack::default()
    };
    let expected = concat!(
        r##"{"channel":"#Down","username":"Alertmanager","attachments":[{"title":"[FIRING:1] Down (a critical)","##,
        r#""title_link":"http://am:9093/#/alerts?receiver=team%5C.x","text":"","#,
        r#""fallback":"[FIRING:1] Down (a critical) | http://am:9093/#/alerts?receiver=team%5C.x","callback_id":"","#,
        r#""fields":[{"title":"t","value":"firing","short":true}],"#,
        r#""actions":[{"type":"button","text":"go","name":"n","confirm":{"text":"sure?"}}],"#,
        r#""footer":"","color":"danger","mrkdwn_in":["fallback","pretext","text"]}]}"#,
        "\n"
    );
    check(Kind::Slack(Box::new(slack)), vec![alert(false, "a")], expected);
    refused(
        Kind::Slack(Box::new(Slack {
            channel: "{{ .X.y }}".into(),
            api_url: secret("http://x"),
            ..Slack::default()
        })),
        "cannot expand slack.channel",
    );
}

#[test]
fn a_template_that_fails_is_said_in_the_text() {
    let slack =
        Slack { api_url: secret("http://x/"), title: "{{ .Nope.x }}".into(), ..Slack::default() };
    let steps = steps(
        Kind::Slack(Box::new(slack)),
        &notice(vec![alert(false, "a"), alert(true, "b")]),
        &[],
    );
    let body = &request(&steps[0]).body;
    assert!(body.contains("cannot expand slack.title: "), "{body}");
    assert!(body.contains("1 firing, 1 resolved:\\n- firing alertname=Down, instance=a"), "{body}");
}

#[test]
fn slack_changes_its_first_message_and_follows_it_in_its_thread() {
    let slack = |update_message, post_updates_to_thread| {
        Kind::Slack(Box::new(Slack {
            api_url: secret(Slack::POST_MESSAGE),
            channel: "c".into(),
            update_message,
            post_updates_to_thread,
            ..Slack::default()
        }))
    };
    let ok = (200, "application/json", r#"{"ok":true,"ts":"1.2","channel":"C7"}"#);
    let mut notice = notice(vec![alert(false, "a")]);
    let first = steps(slack(true, false), &notice, &[ok]);
    let remember = pairs(&[("channelId", "C7"), ("threadTs", "1.2")]);
    assert_eq!(first[1], Step::Done(Outcome::Delivered { remember: remember.clone() }));
    assert_eq!(steps(slack(false, false), &notice, &[ok])[1], Step::Done(Outcome::delivered()));
    // With both, what the first message said is kept in its thread.
    let first = steps(slack(true, true), &notice, &[ok, ok]);
    assert!(request(&first[1]).body.contains(r#""thread_ts":"1.2""#));
    notice.remembered = remember.clone();
    let next = steps(slack(true, true), &notice, &[ok, ok]);
    assert_eq!(request(&next[0]).url, "https://slack.com/api/chat.update");
    assert!(request(&next[0]).body.starts_with(r#"{"channel":"C7","#));
    assert!(request(&next[0]).body.contains(r#""ts":"1.2""#));
    assert!(request(&next[1]).body.contains(r#""thread_ts":"1.2""#));
    assert_eq!(next[2], Step::Done(Outcome::Delivered { remember }));
    let wrong = (200, "application/json", r#"{"ok":false,"error":"invalid_auth"}"#);
    match &steps(slack(false, true), &notice, &[wrong])[1] {
        Step::Done(Outcome::Refused { reason }) => {
            assert_eq!(reason, "channel \"c\": error response from Slack: invalid_auth");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pagerduty_gets_events_of_both_versions() {
    let one = |name: &str, text: &str| (name.to_owned(), serde_json::Value::from(text));
    let details = [
        one("firing", "f"),
        one("resolved", "r"),
        one("num_firing", "x{{ .Status }}"),
        one("num_resolved", "{{ len .Alerts }}"),
    ];
    let duty = PagerDuty {
        routing_key: secret("key"),
        details: details.into(),
        links: vec![
            PagerDutyLink { href: "http://l".into(), text: "{{ .Status }}".into() },
            PagerDutyLink::default(),
        ],
        ..PagerDuty::default()
    };
    let hash = "c2a3a0ae3b2c4a0a1f5f3ff5e5a2c4d5";
    let notice = notice(vec![alert(false, "a")]);
    assert_eq!(notice.group_hash().len(), 2 * hash.len());
    let expected = format!(
        concat!(
            r#"{{"routing_key":"key","dedup_key":"{}","event_action":"trigger","payload":{{"#,
            r#""summary":"[FIRING:1] Down (a critical)","source":"Alertmanager","severity":"error","#,
            r#""custom_details":{{"firing":"f","num_firing":"xfiring","num_resolved":1,"resolved":"r"}}}},"#,
            r#""client":"Alertmanager","client_url":"http://am:9093/#/alerts?receiver=team%5C.x","#,
            r#""links":[{{"href":"http://l","text":"firing"}}]}}"#,
            "\n"
        ),
        notice.group_hash()
    );
    check(Kind::PagerDuty(Box::new(duty.clone())), vec![alert(false, "a")], &expected);
    let old = PagerDuty { routing_key: None, service_key: secret("old"), ..duty.clone() };
    let expected = format!(
        concat!(
            r#"{{"service_key":"old","incident_key":"{}","event_type":"resolve","#,
            r#""description":"[RESOLVED] Down (a critical)","event_action":"","payload":null,"#,
            r#""details":{{"firing":"f","num_firing":"xresolved","num_resolved":1,"resolved":"r"}}}}"#,
            "\n"
        ),
        notice.group_hash()
    );
    check(Kind::PagerDuty(Box::new(old)), vec![alert(true, "a")], &expected);
    let large = PagerDuty {
        details: [one("firing", &"x".repeat(600_000))].into(),
        description: "d".repeat(2000),
        ..duty
    };
    let steps = steps(Kind::PagerDuty(Box::new(large)), &notice, &[]);
    let body = &request(&steps[0]).body;
    assert!(body.contains("exceeds the maximum size of 512KB"), "{body}");
    assert!(body.contains(&format!("{}…\"", "d".repeat(1023))), "{body}");
}

#[test]
fn opsgenie_is_told_by_alias() {
    let genie = OpsGenie {
        api_key: secret("k{{ .Status }}"),
        api_url: "http://x/".into(),
        update_alerts: true,
        tags: "a,,b".into(),
        message: "m".repeat(200),
        details: [("severity".to_owned(), "{{ .Status }}".to_owned())].into(),
        responders: vec![OpsGenieResponder {
            name: "p,q".into(),
            kind: "teams".into(),
            ..Default::default()
        }],
        ..OpsGenie::default()
    };
    let notice = notice(vec![alert(false, "a")]);
    let ok = (202, "", "");
    let found = steps(Kind::OpsGenie(Box::new(genie.clone())), &notice, &[ok, ok, ok]);
    let created = request(&found[0]);
    assert_eq!(created.url, "http://x/v2/alerts");
    assert!(created.headers.contains(&("Authorization", "GenieKey kfiring".to_owned())));
    for part in [
        format!(r#""message":"{}…""#, "m".repeat(129)),
        r#""details":{"alertname":"Down","instance":"a","severity":"firing"}"#.to_owned(),
        r#""responders":[{"name":"p","type":"team"},{"name":"q","type":"team"}],"tags":["a","b"]}"#
            .to_owned(),
    ] {
        assert!(created.body.contains(&part), "{} has not {part}", created.body);
    }
    let alias = notice.group_hash();
    assert_eq!(request(&found[1]).method, "PUT");
    assert_eq!(
        request(&found[1]).url,
        format!("http://x/v2/alerts/{alias}/message?identifierType=alias")
    );
    assert_eq!(
        request(&found[2]).url,
        format!("http://x/v2/alerts/{alias}/description?identifierType=alias")
    );
    assert_eq!(found[3], Step::Done(Outcome::delivered()));
    let resolved = self::notice(vec![alert(true, "a")]);
    let found = steps(Kind::OpsGenie(Box::new(genie)), &resolved, &[]);
    assert_eq!(
        request(&found[0]).url,
        format!("http://x/v2/alerts/{alias}/close?identifierType=alias")
    );
    assert_eq!(
        request(&found[0]).body,
        "{\"source\":\"http://am:9093/#/alerts?receiver=team%5C.x\"}\n"
    );
}

#[test]
fn labels_lead_nowhere_else() {
    let mut notice = notice(vec![alert(false, "a")]);
    notice.notification.alerts[0].labels.insert("team".into(), "x/../../evil?y#z".into());
    let ops = VictorOps {
        api_key: secret("key"),
        api_url: "http://x/".into(),
        routing_key: "{{ .CommonLabels.team }}".into(),
        ..VictorOps::default()
    };
    let found = steps(Kind::VictorOps(Box::new(ops)), &notice, &[]);
    assert_eq!(request(&found[0]).url, "http://x/key/x%2F..%2F..%2Fevil%3Fy%23z");
    let matrix = Matrix {
        homeserver_url: "http://m".into(),
        access_token: secret("t"),
        room_id: "{{ .CommonLabels.team }}".into(),
        ..Matrix::default()
    };
    let found = steps(Kind::Matrix(Box::new(matrix)), &notice, &[]);
    assert!(
        request(&found[0])
            .url
            .starts_with("http://m/_matrix/client/v3/rooms/x%2F..%2F..%2Fevil%3Fy%23z/send/")
    );
}

#[test]
fn telegram_tries_plain_text_when_its_marks_are_wrong() {
    let telegram = Telegram {
        api_url: "http://t".into(),
        bot_token: secret("1:a"),
        chat_id: secret("-100"),
        message: "<b>{{ .CommonAnnotations.summary }}".into(),
        ..Telegram::default()
    };
    let notice = notice(vec![alert(false, "a")]);
    let wrong = (
        400,
        "application/json",
        r#"{"ok":false,"description":"Bad Request: can't parse entities"}"#,
    );
    let found = steps(Kind::Telegram(Box::new(telegram.clone())), &notice, &[wrong, wrong]);
    assert_eq!(request(&found[0]).url, "http://t/bot1:a/sendMessage");
    assert_eq!(
        request(&found[0]).body,
        concat!(
            r#"{"chat_id":"-100","disable_web_page_preview":"true","parse_mode":"HTML","#,
            r#""text":"\u003cb\u003eit is \u0026lt;down\u0026gt; \u0026amp; out"}"#,
            "\n"
        )
    );
    assert!(!request(&found[1]).body.contains("parse_mode"));
    assert!(matches!(found[2], Step::Done(Outcome::Refused { .. })));
    let flood = (429, "application/json", r#"{"ok":false,"parameters":{"retry_after":5}}"#);
    match &steps(Kind::Telegram(Box::new(telegram)), &notice, &[flood])[1] {
        Step::Done(Outcome::Retry { after_ms, .. }) => assert_eq!(*after_ms, Some(5000)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn jira_issues_go_through_their_life() {
    let jira = Jira {
        api_url: "https://c.atlassian.net/rest/api/2".into(),
        project: "P".into(),
        issue_type: "Bug".into(),
        resolve_transition: "Close".into(),
        reopen_transition: "Reopen".into(),
        reopen_duration_ms: 7_200_000,
        ..Jira::default()
    };
    let firing = notice(vec![alert(false, "a")]);
    let kind = || Kind::Jira(Box::new(jira.clone()));
    let none = (200, "", r#"{"issues":[]}"#);
    let found = steps(kind(), &firing, &[none, (201, "", "{}")]);
    let group = firing.group_hash();
    assert_eq!(request(&found[0]).url, "https://c.atlassian.net/rest/api/3/search/jql");
    assert_eq!(
        request(&found[0]).body,
        format!(
            "{{\"fields\":[\"status\"],\"jql\":\"(resolutiondate is EMPTY OR resolutiondate \\u003e= -120m) and \
             project=\\\"P\\\" and labels=\\\"ALERT{{{group}}}\\\" order by status ASC,resolutiondate DESC\",\
             \"maxResults\":2}}\n"
        )
    );
    assert_eq!(request(&found[1]).url, "https://c.atlassian.net/rest/api/2/issue");
    assert!(
        request(&found[1]).body.contains(r#""priority":{"name":"High"}"#),
        "{}",
        request(&found[1]).body
    );
    assert_eq!(found[2], Step::Done(Outcome::delivered()));
    let resolved = notice(vec![alert(true, "a")]);
    let open = (
        200,
        "",
        r#"{"issues":[{"key":"P-1","fields":{"status":{"statusCategory":{"key":"new"}}}}]}"#,
    );
    let all = (200, "", r#"{"transitions":[{"id":"7","name":"Close"}]}"#);
    let found = steps(kind(), &resolved, &[open, (204, "", ""), all, (204, "", "")]);
    assert_eq!(request(&found[1]).method, "PUT");
    assert_eq!(request(&found[2]).url, "https://c.atlassian.net/rest/api/2/issue/P-1/transitions");
    assert_eq!(request(&found[3]).body, "{\"transition\":{\"id\":\"7\"}}\n");
    assert_eq!(found[4], Step::Done(Outcome::delivered()));
    assert_eq!(steps(kind(), &resolved, &[none])[1], Step::Done(Outcome::delivered()));
}

#[test]
fn wechat_asks_for_a_token_first() {
    let wechat = WeChat {
        api_secret: secret("s&s"),
        corp_id: "c".into(),
        api_url: "http://w/".into(),
        message: "m".into(),
        ..WeChat::default()
    };
    let notice = notice(vec![alert(false, "a")]);
    let token = (200, "", r#"{"access_token":"t"}"#);
    let old = (200, "", r#"{"errcode":42001,"errmsg":"expired"}"#);
    let found = steps(Kind::WeChat(Box::new(wechat)), &notice, &[token, old]);
    assert_eq!(request(&found[0]).url, "http://w/gettoken?corpid=c&corpsecret=s%26s");
    assert_eq!(request(&found[1]).url, "http://w/message/send?access_token=t");
    assert_eq!(
        request(&found[1]).body,
        "{\"text\":{\"content\":\"m\"},\"safe\":\"0\",\"msgtype\":\"text\",\"markdown\":{\"content\":\"\"}}\n"
    );
    assert!(matches!(found[2], Step::Done(Outcome::Retry { .. })));
}

#[test]
fn mails_have_an_identity_and_threads() {
    let email = Email {
        to: "a@b, c@d".into(),
        from: "am@x".into(),
        headers: [("X-Team".to_owned(), "{{ .Status }}".to_owned())].into(),
        text: "{{ .Status }}".into(),
        threading: Some(EmailThreads::Daily),
        ..Email::default()
    };
    let notice = notice(vec![alert(false, "a")]);
    let Some(Step::Mail(mail)) = steps(Kind::Email(Box::new(email)), &notice, &[]).pop() else {
        panic!("no mail");
    };
    let hash = notice.group_hash();
    let hash = &hash[..16];
    let header = |name: &str| {
        mail.headers.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str()).unwrap_or("")
    };
    assert_eq!(header("Subject"), "[FIRING:1] Down (a critical)");
    assert_eq!(header("To"), "a@b, c@d");
    assert_eq!(header("X-Team"), "firing");
    assert_eq!(header("References"), format!("<alert-{hash}-2026-01-02@alertmanager>"));
    assert_eq!(header("Message-Id"), format!("<{}.{hash}@box>", START_NS + 1));
    assert_eq!(mail.text.as_deref(), Some("firing"));
    assert!(mail.html.as_deref().is_some_and(|html| html.contains("it is &lt;down&gt; &amp; out")));
}

#[test]
fn ntfy_and_matrix_get_short_texts() {
    let ntfy = Ntfy { topic: "t".into(), token: secret("tk"), ..Ntfy::default() };
    check(
        Kind::Ntfy(Box::new(ntfy)),
        vec![alert(false, "a")],
        concat!(
            r#"{"topic":"t","title":"[FIRING:1] Down (a critical)","message":"firing: it is \u003cdown\u003e \u0026 out","#,
            r#""priority":5,"tags":["rotating_light"],"click":"http://am:9093/#/alerts?receiver=team%5C.x"}"#,
            "\n"
        ),
    );
    let matrix = Matrix {
        homeserver_url: "http://m/".into(),
        room_id: "!r:m".into(),
        access_token: secret("t"),
        ..Matrix::default()
    };
    check(
        Kind::Matrix(Box::new(matrix)),
        vec![alert(true, "a")],
        concat!(
            r#"{"msgtype":"m.text","body":"[RESOLVED] Down (a critical)\nresolved: it is \u003cdown\u003e \u0026 out","#,
            r#""format":"org.matrix.custom.html","formatted_body":"\u003cp\u003e\u003ca href=\"http://am:9093/#/alerts?receiver=team%5C.x\"\u003e"#,
            r#"\u003cstrong\u003e[RESOLVED] Down (a critical)\u003c/strong\u003e\u003c/a\u003e\u003c/p\u003e\n"#,
            r#"\u003cul\u003e\n\u003cli\u003eresolved: it is \u0026lt;down\u0026gt; \u0026amp; out\u003c/li\u003e\n\u003c/ul\u003e"}"#,
            "\n"
        ),
    );
}

#[test]
fn what_else_is_known_of_an_alert_stands_below() {
    let mut notice = notice(vec![alert(false, "a")]);
    let plain = steps(slack(), &notice, &[]);
    assert!(request(&plain[0]).body.contains(r#""text":"","#));
    let context = Context {
        container: "web".to_owned(),
        image: "nginx:1".to_owned(),
        values: vec![("memory".to_owned(), "512 MiB of 512 MiB".to_owned())],
        log_lines: vec!["out of <memory>".to_owned(), "killed".to_owned()],
        links: vec![("runbook".to_owned(), "http://r/?a=1&b=2".to_owned())],
    };
    notice.notification.contexts.insert("0123456789abcdef".to_owned(), context);
    let text = r#""text":"\nit is \u003cdown\u003e \u0026 out\nContainer: web (nginx:1)\nmemory: 512 MiB of 512 MiB\nLast log lines:\n    out of \u003cmemory\u003e\n    killed\nrunbook: http://r/?a=1\u0026b=2\n""#;
    let found = steps(slack(), &notice, &[]);
    assert!(request(&found[0]).body.contains(text), "{}", request(&found[0]).body);
    let email = Email { to: "a@b".into(), from: "c@d".into(), ..Email::default() };
    match steps(Kind::Email(Box::new(email)), &notice, &[]).pop() {
        Some(Step::Mail(mail)) => {
            let html = mail.html.unwrap_or_default();
            assert!(html.contains("<br>Container: web (nginx:1)<br>memory: 512 MiB of 512 MiB<pre>out of &lt;memory&gt;\nkilled\n</pre><br><a href=\"http://r/?a=1&amp;b=2\">runbook</a>"), "{html}");
        }
        other => panic!("no mail: {other:?}"),
    }
    let webhook = Webhook { url: secret("http://x/"), ..Webhook::default() };
    let found = steps(Kind::Webhook(Box::new(webhook)), &notice, &[]);
    let told = r#","taffrail":{"0123456789abcdef":{"container":"web","image":"nginx:1","values":[{"Name":"memory""#;
    assert!(request(&found[0]).body.contains(told), "{}", request(&found[0]).body);
}

fn slack() -> Kind {
    Kind::Slack(Box::new(Slack { api_url: secret("http://x/"), ..Slack::default() }))
}

#[test]
fn requests_to_amazon_are_signed() {
    let sns = Sns {
        topic_arn: "arn:aws:sns:eu-west-1:1:t".into(),
        access_key: "AKIDEXAMPLE".into(),
        secret_key: secret("s"),
        subject: "a\nb".into(),
        message: "m".into(),
        ..Sns::default()
    };
    let notice = notice(vec![alert(false, "a")]);
    let found =
        steps(Kind::Sns(Box::new(sns.clone())), &notice, &[(400, "", "<Code>Throttling</Code>")]);
    let sent = request(&found[0]);
    assert_eq!(sent.url, "https://sns.eu-west-1.amazonaws.com/");
    assert_eq!(
        sent.body,
        "Action=Publish&Message=m&Subject=a+b&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A1%3At&Version=2010-03-31"
    );
    assert!(sent.headers.contains(&("X-Amz-Date", "20260102T030405Z".to_owned())));
    assert!(matches!(found[1], Step::Done(Outcome::Retry { .. })));
    refused(Kind::Sns(Box::new(Sns { role_arn: "r".into(), ..sns.clone() })), "role_arn");
    refused(Kind::Sns(Box::new(Sns { access_key: String::new(), ..sns })), "access_key is missing");
}

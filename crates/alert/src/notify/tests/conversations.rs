//! Conversations with servers that answer anything.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static TEMPLATES: LazyLock<Templates> = LazyLock::new(default_templates);

fn kinds() -> Vec<Kind> {
    let url = || secret("http://x/");
    vec![
        Kind::Slack(Box::new(Slack {
            api_url: url(),
            update_message: true,
            post_updates_to_thread: true,
            ..Slack::default()
        })),
        Kind::Telegram(Box::new(Telegram {
            bot_token: secret("t"),
            chat_id: secret("1"),
            ..Telegram::default()
        })),
        Kind::Jira(Box::new(Jira {
            api_url: "http://x/rest/api/3".into(),
            project: "P".into(),
            issue_type: "B".into(),
            resolve_transition: "R".into(),
            reopen_transition: "O".into(),
            ..Jira::default()
        })),
        Kind::WeChat(Box::new(WeChat { api_secret: secret("s"), ..WeChat::default() })),
        Kind::OpsGenie(Box::new(OpsGenie {
            api_key: secret("k"),
            update_alerts: true,
            ..OpsGenie::default()
        })),
        Kind::RocketChat(Box::new(RocketChat {
            token: secret("t"),
            token_id: secret("i"),
            ..RocketChat::default()
        })),
        Kind::Webhook(Box::new(Webhook { url: url(), ..Webhook::default() })),
    ]
}

proptest! {
    /// Whatever a server answers, a conversation comes to its end.
    #[test]
    fn conversations_end(
        resolved in any::<bool>(),
        answers in proptest::collection::vec((
            prop_oneof![Just(200_u16), Just(204), Just(400), Just(503)],
            prop_oneof![Just("application/json"), Just("")],
            prop_oneof![
                Just(r#"{"ok":true,"ts":"1","channel":"c","success":true,"access_token":"t"}"#.to_owned()),
                Just(r#"{"issues":[{"key":"K","fields":{"status":{"statusCategory":{"key":"done"}}}}]}"#.to_owned()),
                Just(r#"{"issues":[{"key":"K","fields":{"status":{"statusCategory":{"key":"new"}}}}]}"#.to_owned()),
                Just(r#"{"transitions":[{"name":"R","id":"1"},{"name":"O","id":2}]}"#.to_owned()),
                Just(r#"{"description":"can't parse entities","errcode":42001}"#.to_owned()),
                ".{0,20}",
                "\\[?[{]\"(ok|issues|errcode|key)\":[\\[{\"0-9a-z\\]}]{0,8}",
            ],
        ), 8),
    ) {
        let notice = notice(vec![alert(resolved, "a")]);
        let answers = answers.into_iter().map(|(status, content_type, body)| Answer {
            status,
            content_type: content_type.to_owned(),
            retry_after_ms: None,
            body: body.into_bytes(),
        });
        let answers: Vec<Answer> = answers.collect();
        let templates = &*TEMPLATES;
        let surroundings = Surroundings { templates, host_name: "box" };
        for kind in kinds() {
            let integration = Integration::new(kind);
            let mut exchange = Exchange::new(&integration, &notice, surroundings, 0);
            let mut step = exchange.next(None);
            for answer in &answers {
                if matches!(step, Step::Done(_)) {
                    break;
                }
                step = exchange.next(Some(answer));
            }
            prop_assert!(matches!(step, Step::Done(_)), "{step:?}");
        }
    }
}

//! WeChat: a token first, then the message.

use serde_json::Value as Json;

use super::object::Object;
use super::render::{Render, secret};
use super::url::{join, query};
use super::{Answer, Begun, Outcome, Request, Step, Talk, answer};
use crate::receiver::WeChat;

/// WeChat's code for a token that is too old or none, and for a server that is busy.
const TRIED_AGAIN: [i64; 4] = [-1, 40_014, 42_001, 45_009];

pub(super) fn begin<'a>(it: &WeChat, mut render: Render<'_>) -> Begun<'a> {
    let template = secret("wechat.api_secret", it.api_secret.as_ref())?;
    let api_secret = render.address("wechat.api_secret", template)?;
    let corp_id = render.address("wechat.corp_id", &it.corp_id)?;
    let parameters = query(&[("corpsecret", api_secret.trim()), ("corpid", &corp_id)]);
    let token = Request {
        method: "GET",
        url: join(&it.api_url, &format!("gettoken?{parameters}")),
        headers: Vec::new(),
        body: String::new(),
    };
    let to_user = render.address("wechat.to_user", &it.to_user)?;
    let to_party = render.address("wechat.to_party", &it.to_party)?;
    let to_tag = render.address("wechat.to_tag", &it.to_tag)?;
    let agent_id = render.address("wechat.agent_id", &it.agent_id)?;
    let text = render.main("wechat.message", &it.message);
    let content = |text: &str| Object::new().text("content", text).end();
    let is_markdown = it.message_type == "markdown";
    let body = Object::new()
        .raw("text", &content(if is_markdown { "" } else { &text }))
        .filled("touser", &to_user)
        .filled("toparty", &to_party)
        .filled("totag", &to_tag)
        .filled("agentid", &agent_id)
        .text("safe", "0")
        .filled("msgtype", &it.message_type)
        .raw("markdown", &content(if is_markdown { &text } else { "" }))
        .body();
    let api_url = it.api_url.clone();
    Ok(Box::new(Conversation { token: Some(token), message: Some((api_url, body)) }))
}

struct Conversation {
    token: Option<Request>,
    /// The API's address and the message.
    message: Option<(String, String)>,
}

impl Talk for Conversation {
    fn next(&mut self, answer: Option<&Answer>) -> Step {
        if let Some(token) = self.token.take() {
            return Step::Http(token);
        }
        let Some(answer) = answer else {
            return Step::Done(Outcome::refused("BUG: no answer to a request"));
        };
        if let Err(outcome) = answer::status(answer).and_then(|()| errcode(answer)) {
            return Step::Done(outcome);
        }
        let Some((api_url, body)) = self.message.take() else {
            return Step::Done(Outcome::delivered());
        };
        match answer.json().get("access_token").and_then(Json::as_str) {
            Some(token) if !token.is_empty() => {
                let query = query(&[("access_token", token)]);
                Step::Http(Request::post(join(&api_url, &format!("message/send?{query}")), body))
            }
            _ => Step::Done(Outcome::refused(
                "WeChat gave no token; are corp_id and api_secret right?",
            )),
        }
    }
}

/// WeChat says what went wrong in a body with status 200.
fn errcode(answer: &Answer) -> Result<(), Outcome> {
    let json = answer.json();
    let Some(code) = json.get("errcode").and_then(Json::as_i64).filter(|code| *code != 0) else {
        return Ok(());
    };
    let reason = format!("WeChat answered {code}: {}", json["errmsg"].as_str().unwrap_or(""));
    match TRIED_AGAIN.contains(&code) {
        true => Err(Outcome::Retry { after_ms: None, reason }),
        false => Err(Outcome::Refused { reason }),
    }
}

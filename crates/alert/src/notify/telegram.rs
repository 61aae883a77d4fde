//! Telegram: one message of a bot; as plain text when Telegram cannot read the marks of the formatted one.

use serde_json::Value as Json;

use super::object::Object;
use super::render::{Render, secret};
use super::truncate::chars;
use super::url::join_segment;
use super::{Answer, Begun, Outcome, Request, Step, Talk, answer};
use crate::receiver::Telegram;

/// Characters of a message. Source: Telegram's bot API, `sendMessage`.
const MESSAGE_CHARS_MAX: usize = 4096;

pub(super) fn begin<'a>(it: &Telegram, mut render: Render<'_>) -> Begun<'a> {
    let token = secret("telegram.bot_token", it.bot_token.as_ref())?.trim();
    let chat = secret("telegram.chat_id", it.chat_id.as_ref())?.trim();
    if chat.parse::<i64>().is_err() {
        return Err(Outcome::refused(format!("telegram.chat_id {chat:?} is not a number")));
    }
    let url = join_segment(&it.api_url, &format!("bot{token}/sendMessage"));
    let is_html = it.parse_mode == "HTML";
    let formatted = match is_html {
        true => render.main_html("telegram.message", &it.message),
        false => render.main("telegram.message", &it.message),
    };
    let plain = match is_html {
        true => render.main("telegram.message", &it.message),
        false => formatted.clone(),
    };
    // HTML cannot be cut anywhere.
    let fits = !is_html || formatted.chars().count() <= MESSAGE_CHARS_MAX;
    let message = |text: &str, parse_mode: &str| {
        let mut object = Object::new().text("chat_id", chat);
        if it.disable_notifications {
            object = object.text("disable_notification", "true");
        }
        object = object.text("disable_web_page_preview", "true");
        if it.message_thread_id != 0 {
            object = object.text("message_thread_id", &it.message_thread_id.to_string());
        }
        let body = object
            .filled("parse_mode", parse_mode)
            .text("text", &chars(text, MESSAGE_CHARS_MAX))
            .body();
        Request::post(url.clone(), body)
    };
    let plain = message(&plain, "");
    let first = if fits { message(&formatted, &it.parse_mode) } else { plain.clone() };
    let second = (first != plain).then_some(plain);
    Ok(Box::new(Conversation { first: Some(first), second }))
}

struct Conversation {
    first: Option<Request>,
    /// The plain text.
    second: Option<Request>,
}

impl Talk for Conversation {
    fn next(&mut self, answer: Option<&Answer>) -> Step {
        let Some(answer) = answer else {
            return match self.first.take() {
                Some(first) => Step::Http(first),
                None => Step::Done(Outcome::delivered()),
            };
        };
        let json = answer.json();
        match answer::status(answer) {
            Ok(()) => Step::Done(Outcome::delivered()),
            Err(Outcome::Retry { after_ms, reason }) => {
                let seconds = json.pointer("/parameters/retry_after").and_then(Json::as_u64);
                let after_ms = after_ms.or(seconds.map(|s| s.saturating_mul(1000)));
                Step::Done(Outcome::Retry { after_ms, reason })
            }
            Err(outcome) => {
                let said = json.get("description").and_then(Json::as_str).unwrap_or("");
                match self.second.take() {
                    Some(plain) if said.contains("can't parse entities") => Step::Http(plain),
                    _ => Step::Done(outcome),
                }
            }
        }
    }
}

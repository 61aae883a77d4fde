//! Slack: a message with one attachment, by a webhook or by the API. With the API the first message of a group can be
//! changed, or followed in its thread.

use serde_json::Value as Json;

use super::object::{Object, list, quoted};
use super::render::{Render, secret};
use super::truncate::chars;
use super::{Answer, Begun, Outcome, Request, Step, Talk, answer};
use crate::expand::alertmanager::Pairs;
use crate::receiver::{Slack, SlackAction, SlackField};

/// Characters of a title. Source: Slack's reference of attachments.
const TITLE_CHARS_MAX: usize = 1024;
/// Where messages are changed.
const UPDATE: &str = "https://slack.com/api/chat.update";
/// What upstream formats when the configuration says nothing.
const FORMATTED: [&str; 3] = ["fallback", "pretext", "text"];
/// Names of what is remembered of the first message, as upstream keeps them in its notification log.
const THREAD: &str = "threadTs";
const CHANNEL: &str = "channelId";

pub(super) fn begin<'a>(it: &Slack, mut render: Render<'_>) -> Begun<'a> {
    let (url, token) = match (&it.api_url, &it.app_token) {
        (None, Some(token)) => {
            (it.app_url.clone(), Some(secret("slack.app_token", Some(token))?.to_owned()))
        }
        (url, _) => (secret("slack.api_url", url.as_ref())?.trim().to_owned(), None),
    };
    let channel = render.address("slack.channel", &it.channel)?;
    let message = Message::new(it, &mut render);
    let first = render.notice.remembered.get(THREAD).zip(render.notice.remembered.get(CHANNEL));
    let first = first.map(|(thread, channel)| (thread.clone(), channel.clone()));
    let follows = it.update_message || it.post_updates_to_thread;
    Ok(Box::new(Conversation {
        url,
        token,
        channel,
        message,
        update: it.update_message,
        thread: it.post_updates_to_thread,
        first: first.filter(|_| follows),
        state: State::Start,
    }))
}

/// What is said, without where.
struct Message {
    username: String,
    icon_emoji: String,
    icon_url: String,
    link_names: bool,
    text: String,
    attachment: String,
}

impl Message {
    fn new(it: &Slack, render: &mut Render<'_>) -> Self {
        let title = chars(&render.text("slack.title", &it.title), TITLE_CHARS_MAX);
        let title_link = render.text("slack.title_link", &it.title_link);
        let pretext = render.text("slack.pretext", &it.pretext);
        let fallback = render.text("slack.fallback", &it.fallback);
        let callback_id = render.text("slack.callback_id", &it.callback_id);
        let fields: Vec<String> =
            it.fields.iter().map(|field| self::field(field, it, render)).collect();
        let actions: Vec<String> =
            it.actions.iter().map(|action| self::action(action, render)).collect();
        let image_url = render.text("slack.image_url", &it.image_url);
        let thumb_url = render.text("slack.thumb_url", &it.thumb_url);
        let footer = render.text("slack.footer", &it.footer);
        let color = render.text("slack.color", &it.color);
        let formatted: Vec<String> = match it.mrkdwn_in.as_slice() {
            [] => FORMATTED.iter().map(|name| quoted(name)).collect(),
            names => names.iter().map(|name| quoted(name)).collect(),
        };
        let username = render.text("slack.username", &it.username);
        let icon_emoji = render.text("slack.icon_emoji", &it.icon_emoji);
        let icon_url = render.text("slack.icon_url", &it.icon_url);
        let text = render.text("slack.message_text", &it.message_text);
        let attachment = Object::new()
            .filled("title", &title)
            .filled("title_link", &title_link)
            .filled("pretext", &pretext)
            .text("text", &render.main("slack.text", &it.text))
            .text("fallback", &fallback)
            .text("callback_id", &callback_id)
            .list("fields", &fields)
            .list("actions", &actions)
            .filled("image_url", &image_url)
            .filled("thumb_url", &thumb_url)
            .text("footer", &footer)
            .filled("color", &color)
            .list("mrkdwn_in", &formatted)
            .end();
        Self { username, icon_emoji, icon_url, link_names: it.link_names, text, attachment }
    }

    /// It for `channel`: new, in place of the message `ts`, or in the thread of `thread_ts`.
    fn body(&self, channel: &str, ts: &str, thread_ts: &str) -> String {
        Object::new()
            .filled("channel", channel)
            .filled("username", &self.username)
            .filled("icon_emoji", &self.icon_emoji)
            .filled("icon_url", &self.icon_url)
            .flag("link_names", self.link_names)
            .filled("text", &self.text)
            .raw("attachments", &list(std::slice::from_ref(&self.attachment)))
            .filled("ts", ts)
            .filled("thread_ts", thread_ts)
            .body()
    }
}

fn field(field: &SlackField, it: &Slack, render: &mut Render<'_>) -> String {
    Object::new()
        .filled("title", &render.text("slack.fields.title", &field.title))
        .filled("value", &render.text("slack.fields.value", &field.value))
        .raw("short", if field.short.unwrap_or(it.short_fields) { "true" } else { "false" })
        .end()
}

fn action(action: &SlackAction, render: &mut Render<'_>) -> String {
    let object = Object::new()
        .filled("type", &render.text("slack.actions.type", &action.kind))
        .filled("text", &render.text("slack.actions.text", &action.text))
        .filled("url", &render.text("slack.actions.url", &action.url))
        .filled("style", &render.text("slack.actions.style", &action.style))
        .filled("name", &render.text("slack.actions.name", &action.name))
        .filled("value", &render.text("slack.actions.value", &action.value));
    let Some(confirm) = &action.confirm else { return object.end() };
    let confirm = Object::new()
        .filled("text", &render.text("slack.actions.confirm.text", &confirm.text))
        .filled("title", &render.text("slack.actions.confirm.title", &confirm.title))
        .filled("ok_text", &render.text("slack.actions.confirm.ok_text", &confirm.ok_text))
        .filled(
            "dismiss_text",
            &render.text("slack.actions.confirm.dismiss_text", &confirm.dismiss_text),
        )
        .end();
    object.raw("confirm", &confirm).end()
}

/// What was sent last.
enum State {
    Start,
    /// The first message of the group.
    First,
    /// The first message, changed.
    Updated,
    /// A message in the thread.
    Threaded,
}

struct Conversation {
    url: String,
    token: Option<String>,
    channel: String,
    message: Message,
    update: bool,
    thread: bool,
    /// The first message's time and channel, by which Slack knows it.
    first: Option<(String, String)>,
    state: State,
}

impl Conversation {
    fn post(&self, url: &str, channel: &str, ts: &str, thread_ts: &str) -> Step {
        let request = Request::post(url, self.message.body(channel, ts, thread_ts));
        Step::Http(match &self.token {
            Some(token) => request.with("Authorization", format!("Bearer {token}")),
            None => request,
        })
    }

    fn in_thread(&mut self, thread: &str, channel: &str) -> Step {
        self.state = State::Threaded;
        self.post(&self.url, channel, "", thread)
    }

    fn done(&self) -> Step {
        let remember = match &self.first {
            Some((thread, channel)) => {
                let pair = |name: &str, value: &String| (name.to_owned(), value.clone());
                Pairs::from([pair(THREAD, thread), pair(CHANNEL, channel)])
            }
            None => Pairs::new(),
        };
        Step::Done(Outcome::Delivered { remember })
    }
}

impl Talk for Conversation {
    fn next(&mut self, answer: Option<&Answer>) -> Step {
        if let Some(Err(outcome)) = answer.map(answer::slack) {
            return Step::Done(match outcome {
                Outcome::Refused { reason } => {
                    Outcome::refused(format!("channel {:?}: {reason}", self.channel))
                }
                outcome => outcome,
            });
        }
        let first = self.first.clone();
        match (&self.state, first) {
            (State::Start, None) => {
                self.state = State::First;
                self.post(&self.url, &self.channel, "", "")
            }
            (State::Start, Some((ts, channel))) if self.update => {
                self.state = State::Updated;
                self.post(UPDATE, &channel, &ts, "")
            }
            (State::Start, Some((ts, channel))) => self.in_thread(&ts, &channel),
            (State::First, _) => {
                self.first = answer.and_then(sent).filter(|_| self.update || self.thread);
                match self.first.clone() {
                    // What the message says now would be lost when it is changed.
                    Some((ts, channel)) if self.update && self.thread => {
                        self.in_thread(&ts, &channel)
                    }
                    _ => self.done(),
                }
            }
            (State::Updated, Some((ts, channel))) if self.thread => self.in_thread(&ts, &channel),
            (State::Updated | State::Threaded, _) => self.done(),
        }
    }
}

/// The time and the channel by which Slack knows the message it took.
fn sent(answer: &Answer) -> Option<(String, String)> {
    let answer = answer.json();
    let text = |name: &str| answer.get(name).and_then(Json::as_str).filter(|t| !t.is_empty());
    Some((text("ts")?.to_owned(), text("channel")?.to_owned()))
}

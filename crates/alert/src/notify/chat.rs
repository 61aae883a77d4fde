//! Discord, Microsoft Teams (both ways), Mattermost, Rocket.Chat, Webex.

use super::object::{Object, list};
use super::render::{Render, secret};
use super::truncate::{bytes, chars};
use super::url::join_segment;
use super::{Begun, Request, Sequence, answer};
use crate::receiver::{
    Discord, Mattermost, MattermostAttachment, MattermostField, MattermostPriority, MsTeams,
    MsTeamsV2, RocketChat, RocketChatAction, RocketChatField, Webex,
};

/// Characters of Discord's parts. Source: its reference of embeds and webhooks.
const DISCORD_TITLE_CHARS_MAX: usize = 256;
const DISCORD_DESCRIPTION_CHARS_MAX: usize = 4096;
const DISCORD_CONTENT_CHARS_MAX: usize = 2000;
/// Characters of a message of Mattermost. Source: its page of incoming webhooks.
const MATTERMOST_TEXT_CHARS_MAX: usize = 16_383;
/// Characters of a title of Rocket.Chat.
const ROCKET_CHAT_TITLE_CHARS_MAX: usize = 1024;
/// Bytes of a message of Webex. Source: its API.
const WEBEX_MESSAGE_BYTES_MAX: usize = 7439;

/// `firing` while an alert fires, else `over`.
fn by_state<'t>(render: &Render<'_>, firing: &'t str, over: &'t str) -> &'t str {
    if render.notice.is_resolved() { over } else { firing }
}

pub(super) fn discord<'a>(it: &Discord, mut render: Render<'_>) -> Begun<'a> {
    let url = secret("discord.webhook_url", it.webhook_url.as_ref())?;
    let title = chars(&render.text("discord.title", &it.title), DISCORD_TITLE_CHARS_MAX);
    let content = chars(&render.text("discord.content", &it.content), DISCORD_CONTENT_CHARS_MAX);
    let message = render.main("discord.message", &it.message);
    let frame = Object::new()
        .text("title", &title)
        .text("description", &chars(&message, DISCORD_DESCRIPTION_CHARS_MAX))
        .raw("color", by_state(&render, "10038562", "3066993"))
        .end();
    let body = Object::new()
        .text("content", &content)
        .raw("embeds", &list(&[frame]))
        .filled("username", &it.username)
        .filled("avatar_url", &it.avatar_url)
        .body();
    Sequence::of([Request::post(url.trim(), body)], answer::status)
}

pub(super) fn ms_teams<'a>(it: &MsTeams, mut render: Render<'_>) -> Begun<'a> {
    let url = secret("msteams.webhook_url", it.webhook_url.as_ref())?;
    let title = render.text("msteams.title", &it.title);
    let summary = render.text("msteams.summary", &it.summary);
    let body = Object::new()
        .text("@context", "http://schema.org/extensions")
        .text("type", "MessageCard")
        .text("title", &title)
        .text("summary", &summary)
        .text("text", &render.main("msteams.text", &it.text))
        .text("themeColor", by_state(&render, "8C1A1A", "2DC72D"))
        .body();
    Sequence::of([Request::post(url.trim(), body)], answer::status)
}

pub(super) fn ms_teams_v2<'a>(it: &MsTeamsV2, mut render: Render<'_>) -> Begun<'a> {
    let url = secret("msteamsv2.webhook_url", it.webhook_url.as_ref())?;
    let title = render.text("msteamsv2.title", &it.title);
    let text = render.main("msteamsv2.text", &it.text);
    let title = Object::new()
        .text("type", "TextBlock")
        .text("text", &title)
        .text("weight", "Bolder")
        .text("size", "Medium")
        .raw("wrap", "true")
        .text("style", "heading")
        .text("color", by_state(&render, "Attention", "Good"))
        .end();
    let text =
        Object::new().text("type", "TextBlock").text("text", &text).raw("wrap", "true").end();
    let card = Object::new()
        .text("$schema", "http://adaptivecards.io/schemas/adaptive-card.json")
        .text("type", "AdaptiveCard")
        .text("version", "1.2")
        .raw("body", &list(&[title, text]))
        .raw("msteams", &Object::new().text("width", "full").end())
        .end();
    let attachment = Object::new()
        .text("contentType", "application/vnd.microsoft.card.adaptive")
        .raw("contentUrl", "null")
        .raw("content", &card)
        .end();
    let body =
        Object::new().text("type", "message").raw("attachments", &list(&[attachment])).body();
    Sequence::of([Request::post(url.trim(), body)], answer::status)
}

pub(super) fn mattermost<'a>(it: &Mattermost, mut render: Render<'_>) -> Begun<'a> {
    let url = secret("mattermost.webhook_url", it.webhook_url.as_ref())?;
    let channel = render.address("mattermost.channel", &it.channel)?;
    let username = render.text("mattermost.username", &it.username);
    let icon_url = render.text("mattermost.icon_url", &it.icon_url);
    let icon_emoji = render.text("mattermost.icon_emoji", &it.icon_emoji);
    let kind = render.text("mattermost.type", &it.kind);
    let card = it.card.as_deref().filter(|card| !card.is_empty());
    let card = card.map(|card| render.text("mattermost.props.card", card));
    let priority = it.priority.as_ref().filter(|priority| !priority.priority.is_empty());
    let priority = priority.map(|priority| mattermost_priority(priority, &mut render));
    let attachments: Vec<String> =
        it.attachments.iter().map(|part| mattermost_attachment(part, &mut render)).collect();
    let text = render.main("mattermost.text", &it.text);
    let mut object = Object::new()
        .text("text", &chars(&text, MATTERMOST_TEXT_CHARS_MAX))
        .filled("channel", &channel)
        .filled("username", &username)
        .filled("icon_url", &icon_url)
        .filled("icon_emoji", &icon_emoji)
        .list("attachments", &attachments)
        .filled("type", &kind);
    if let Some(card) = card {
        object = object.raw("props", &Object::new().filled("card", &card).end());
    }
    if let Some(priority) = priority {
        object = object.raw("priority", &priority);
    }
    Sequence::of([Request::post(url.trim(), object.body())], answer::status)
}

/// As loud as Mattermost allows: only important messages ask for an answer, only urgent ones insist.
fn mattermost_priority(priority: &MattermostPriority, render: &mut Render<'_>) -> String {
    let level = render.text("mattermost.priority.priority", &priority.priority).to_lowercase();
    let level = match level.as_str() {
        level @ ("urgent" | "important") => level,
        _ => "standard",
    };
    let asks = priority.requested_ack && level != "standard";
    let insists = priority.persistent_notifications && level == "urgent";
    Object::new()
        .text("priority", level)
        .flag("requested_ack", asks)
        .flag("persistent_notifications", insists)
        .end()
}

fn mattermost_attachment(part: &MattermostAttachment, render: &mut Render<'_>) -> String {
    let fields: Vec<String> =
        part.fields.iter().map(|field| mattermost_field(field, render)).collect();
    let mut filled = |object: Object, name: &str, template: &str| {
        object.filled(name, &render.text(&format!("mattermost.attachments.{name}"), template))
    };
    let mut object = Object::new();
    for (name, template) in [
        ("fallback", &part.fallback),
        ("color", &part.color),
        ("pretext", &part.pretext),
        ("text", &part.text),
        ("author_name", &part.author_name),
        ("author_link", &part.author_link),
        ("author_icon", &part.author_icon),
        ("title", &part.title),
        ("title_link", &part.title_link),
    ] {
        object = filled(object, name, template);
    }
    object = object.list("fields", &fields);
    for (name, template) in [
        ("thumb_url", &part.thumb_url),
        ("footer", &part.footer),
        ("footer_icon", &part.footer_icon),
        ("image_url", &part.image_url),
    ] {
        object = filled(object, name, template);
    }
    object.end()
}

fn mattermost_field(field: &MattermostField, render: &mut Render<'_>) -> String {
    let object = Object::new()
        .filled("title", &render.text("mattermost.attachments.fields.title", &field.title))
        .filled("value", &render.text("mattermost.attachments.fields.value", &field.value));
    match field.short {
        Some(short) => object.raw("short", if short { "true" } else { "false" }).end(),
        None => object.end(),
    }
}

pub(super) fn rocket_chat<'a>(it: &RocketChat, mut render: Render<'_>) -> Begun<'a> {
    let token = secret("rocketchat.token", it.token.as_ref())?;
    let token_id = secret("rocketchat.token_id", it.token_id.as_ref())?;
    let channel = render.address("rocketchat.channel", &it.channel)?;
    let title = chars(&render.text("rocketchat.title", &it.title), ROCKET_CHAT_TITLE_CHARS_MAX);
    let title_link = render.text("rocketchat.title_link", &it.title_link);
    let image_url = render.text("rocketchat.image_url", &it.image_url);
    let thumb_url = render.text("rocketchat.thumb_url", &it.thumb_url);
    let color = render.text("rocketchat.color", &it.color);
    let emoji = render.text("rocketchat.emoji", &it.emoji);
    let avatar = render.text("rocketchat.icon_url", &it.icon_url);
    let field = |field: &RocketChatField, render: &mut Render<'_>| {
        let short = if field.short.unwrap_or(it.short_fields) { "true" } else { "false" };
        Object::new()
            .raw("short", short)
            .filled("title", &render.text("rocketchat.fields.title", &field.title))
            .filled("value", &render.text("rocketchat.fields.value", &field.value))
            .end()
    };
    let fields: Vec<String> = it.fields.iter().map(|f| field(f, &mut render)).collect();
    let action = |action: &RocketChatAction, render: &mut Render<'_>| {
        Object::new()
            .text("type", "button")
            .filled("text", &render.text("rocketchat.actions.text", &action.text))
            .filled("url", &render.text("rocketchat.actions.url", &action.url))
            .raw("is_webview", "false")
            .filled("msg", &render.text("rocketchat.actions.msg", &action.msg))
            .raw("msg_in_chat_window", "false")
            .end()
    };
    let actions: Vec<String> = it.actions.iter().map(|a| action(a, &mut render)).collect();
    let attachment = Object::new()
        .filled("title", &title)
        .filled("title_link", &title_link)
        .filled("text", &render.main("rocketchat.text", &it.text))
        .filled("image_url", &image_url)
        .filled("thumb_url", &thumb_url)
        .filled("color", &color)
        .list("fields", &fields)
        .list("actions", &actions)
        .end();
    let body = Object::new()
        .filled("channel", &channel)
        .filled("emoji", &emoji)
        .filled("avatar", &avatar)
        .raw("attachments", &list(&[attachment]))
        .body();
    let request = Request::post(join_segment(&it.api_url, "api/v1/chat.postMessage"), body)
        .with("X-Auth-Token", token.trim().to_owned())
        .with("X-User-Id", token_id.trim().to_owned());
    Sequence::of([request], answer::rocket_chat)
}

pub(super) fn webex<'a>(it: &Webex, mut render: Render<'_>) -> Begun<'a> {
    let room = render.address("webex.room_id", &it.room_id)?;
    let message = render.main("webex.message", &it.message);
    let body = Object::new()
        .text("markdown", &bytes(&message, WEBEX_MESSAGE_BYTES_MAX))
        .filled("roomId", &room)
        .body();
    Sequence::of([Request::post(it.api_url.trim(), body)], answer::status)
}

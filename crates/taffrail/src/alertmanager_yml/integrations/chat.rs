//! Rooms where people talk.

use alert::receiver::{
    Discord, Kind, Matrix, Mattermost, MattermostAttachment, MattermostField, MattermostPriority,
    MsTeams, MsTeamsV2, RocketChat, RocketChatAction, RocketChatField, Slack, SlackAction,
    SlackConfirmation, SlackField, Telegram, WeChat, Webex,
};
use model::http::Secret;

use super::super::fields::Fields;
use super::super::globals::Globals;
use super::one_secret;
use crate::prometheus_yml::node::Placed;

pub(super) fn slack(f: &Fields<'_>, globals: &Globals) -> Result<Kind, Placed> {
    let mut it = Slack::default();
    globals.put_url("slack_app_url", &mut it.app_url)?;
    f.put_url("app_url", &mut it.app_url)?;
    it.api_url = f.secret_url("api_url", "api_url_file")?;
    it.app_token = f.secret("app_token", "app_token_file")?;
    if it.api_url.is_some() && it.app_token.is_some() {
        let why =
            "at most one of app_token/app_token_file & api_url/api_url_file must be configured";
        return f.wrong(why);
    }
    it.update_message = f.bool("update_message", false);
    it.post_updates_to_thread = f.bool("post_updates_to_thread", false);
    if it.api_url.is_none() && it.app_token.is_none() {
        it.app_token = globals.secret("slack_app_token")?;
        it.api_url = globals.secret_url("slack_api_url")?;
    }
    // A URL in a file is not known yet.
    let is_webhook = matches!(&it.api_url, Some(Secret::Text(url)) if url != Slack::POST_MESSAGE);
    for (key, given) in [
        ("update_message", it.update_message),
        ("post_updates_to_thread", it.post_updates_to_thread),
    ] {
        if given && is_webhook {
            return f.wrong(format!(
                "{key} can only be used with bot tokens. api_url must be set to {}",
                Slack::POST_MESSAGE
            ));
        }
    }
    if it.api_url.is_none() && it.app_token.is_none() {
        return f.wrong("no Slack API URL nor App token set either inline or in a file");
    }
    f.put_all([
        ("channel", &mut it.channel),
        ("username", &mut it.username),
        ("color", &mut it.color),
        ("title", &mut it.title),
        ("title_link", &mut it.title_link),
        ("pretext", &mut it.pretext),
        ("text", &mut it.text),
        ("message_text", &mut it.message_text),
        ("footer", &mut it.footer),
        ("fallback", &mut it.fallback),
        ("callback_id", &mut it.callback_id),
        ("icon_emoji", &mut it.icon_emoji),
        ("icon_url", &mut it.icon_url),
        ("image_url", &mut it.image_url),
        ("thumb_url", &mut it.thumb_url),
    ]);
    f.is_real("channel", &it.channel)?;
    it.short_fields = f.bool("short_fields", false);
    it.link_names = f.bool("link_names", false);
    it.mrkdwn_in = f.node.texts_of("mrkdwn_in").into_iter().map(str::to_owned).collect();
    it.timeout_ms = f.ms("timeout", 0);
    let field = |item: Fields<'_>| -> Result<SlackField, Placed> {
        let (title, value, short) = titled_value(&item, "Slack")?;
        Ok(SlackField { title, value, short })
    };
    it.fields = f.items("fields").map(field).collect::<Result<_, _>>()?;
    it.actions = f.items("actions").map(|item| slack_action(&item)).collect::<Result<_, _>>()?;
    Ok(Kind::Slack(Box::new(it)))
}

fn titled_value(f: &Fields<'_>, whose: &str) -> Result<(String, String, Option<bool>), Placed> {
    let (title, value) = (f.text("title"), f.text("value"));
    if title.is_empty() {
        return f.wrong(format!("missing title in {whose} field configuration"));
    }
    if value.is_empty() {
        return f.wrong(format!("missing value in {whose} field configuration"));
    }
    Ok((title, value, f.node.bool_of("short")))
}

fn slack_action(f: &Fields<'_>) -> Result<SlackAction, Placed> {
    let mut it = SlackAction {
        kind: f.text("type"),
        text: f.text("text"),
        url: f.text("url"),
        style: f.text("style"),
        name: f.text("name"),
        value: f.text("value"),
        confirm: None,
    };
    if it.kind.is_empty() {
        return f.wrong("missing type in Slack action configuration");
    }
    if it.text.is_empty() {
        return f.wrong("missing text in Slack action configuration");
    }
    if let Some(confirm) = f.object("confirm") {
        if confirm.text("text").is_empty() {
            return confirm.wrong("missing text in Slack confirmation configuration");
        }
        it.confirm = Some(SlackConfirmation {
            text: confirm.text("text"),
            title: confirm.text("title"),
            ok_text: confirm.text("ok_text"),
            dismiss_text: confirm.text("dismiss_text"),
        });
    }
    if !it.url.is_empty() {
        (it.name, it.value, it.confirm) = (String::new(), String::new(), None);
    } else if it.name.is_empty() {
        return f.wrong("missing name or url in Slack action configuration");
    }
    Ok(it)
}

pub(super) fn mattermost(f: &Fields<'_>, globals: &Globals) -> Result<Kind, Placed> {
    let webhook_url = match f.secret_url("webhook_url", "webhook_url_file")? {
        Some(own) => Some(own),
        None => globals.secret_url("mattermost_webhook_url")?,
    };
    let mut it = Mattermost { webhook_url, ..Mattermost::default() };
    if it.webhook_url.is_none() {
        return f.wrong("missing webhook_url or webhook_url_file on mattermost_config");
    }
    f.put_all([
        ("channel", &mut it.channel),
        ("username", &mut it.username),
        ("text", &mut it.text),
        ("icon_url", &mut it.icon_url),
        ("icon_emoji", &mut it.icon_emoji),
        ("type", &mut it.kind),
    ]);
    it.attachments =
        f.items("attachments").map(|item| attachment(&item)).collect::<Result<_, _>>()?;
    it.card = f.object("props").map(|props| props.text("card"));
    it.priority = f.object("priority").map(|priority| MattermostPriority {
        priority: priority.text("priority"),
        requested_ack: priority.bool("requested_ack", false),
        persistent_notifications: priority.bool("persistent_notifications", false),
    });
    Ok(Kind::Mattermost(Box::new(it)))
}

fn attachment(f: &Fields<'_>) -> Result<MattermostAttachment, Placed> {
    let field = |item: Fields<'_>| -> Result<MattermostField, Placed> {
        let (title, value, short) = titled_value(&item, "Mattermost")?;
        Ok(MattermostField { title, value, short })
    };
    Ok(MattermostAttachment {
        fallback: f.text("fallback"),
        color: f.text("color"),
        pretext: f.text("pretext"),
        text: f.text("text"),
        author_name: f.text("author_name"),
        author_link: f.text("author_link"),
        author_icon: f.text("author_icon"),
        title: f.text("title"),
        title_link: f.text("title_link"),
        fields: f.items("fields").map(field).collect::<Result<_, _>>()?,
        thumb_url: f.text("thumb_url"),
        footer: f.text("footer"),
        footer_icon: f.text("footer_icon"),
        image_url: f.text("image_url"),
    })
}

pub(super) fn rocket_chat(f: &Fields<'_>, globals: &Globals) -> Result<Kind, Placed> {
    let mut it = RocketChat::default();
    globals.put_url("rocketchat_api_url", &mut it.api_url)?;
    f.put_url("api_url", &mut it.api_url)?;
    it.token = match f.secret("token", "token_file")? {
        Some(own) => Some(own),
        None => globals.secret("rocketchat_token")?,
    };
    it.token_id = match f.secret("token_id", "token_id_file")? {
        Some(own) => Some(own),
        None => globals.secret("rocketchat_token_id")?,
    };
    if it.token_id.is_none() {
        return f.wrong("no global Rocketchat TokenID set either inline or in a file");
    }
    if it.token.is_none() {
        return f.wrong("no global Rocketchat Token set either inline or in a file");
    }
    f.put_all([
        ("channel", &mut it.channel),
        ("color", &mut it.color),
        ("title", &mut it.title),
        ("title_link", &mut it.title_link),
        ("text", &mut it.text),
        ("emoji", &mut it.emoji),
        ("icon_url", &mut it.icon_url),
        ("image_url", &mut it.image_url),
        ("thumb_url", &mut it.thumb_url),
    ]);
    it.short_fields = f.bool("short_fields", false);
    it.link_names = f.bool("link_names", false);
    let field = |item: Fields<'_>| -> Result<RocketChatField, Placed> {
        let (title, value, short) = titled_value(&item, "Rocketchat")?;
        Ok(RocketChatField { title, value, short })
    };
    it.fields = f.items("fields").map(field).collect::<Result<_, _>>()?;
    let action = |item: Fields<'_>| RocketChatAction {
        kind: item.text("type"),
        text: item.text("text"),
        url: item.text("url"),
        msg: item.text("msg"),
    };
    it.actions = f.items("actions").map(action).collect();
    Ok(Kind::RocketChat(Box::new(it)))
}

pub(super) fn discord(f: &Fields<'_>, _: &Globals) -> Result<Kind, Placed> {
    let mut it = Discord {
        webhook_url: one_secret(f, "webhook_url", |key, file| f.secret_url(key, file))?,
        ..Discord::default()
    };
    f.put_all([
        ("content", &mut it.content),
        ("title", &mut it.title),
        ("message", &mut it.message),
        ("username", &mut it.username),
        ("avatar_url", &mut it.avatar_url),
    ]);
    Ok(Kind::Discord(Box::new(it)))
}

pub(super) fn ms_teams(f: &Fields<'_>, _: &Globals) -> Result<Kind, Placed> {
    let mut it = MsTeams {
        webhook_url: one_secret(f, "webhook_url", |key, file| f.secret_url(key, file))?,
        ..MsTeams::default()
    };
    f.put_all([("title", &mut it.title), ("summary", &mut it.summary), ("text", &mut it.text)]);
    Ok(Kind::MsTeams(Box::new(it)))
}

pub(super) fn ms_teams_v2(f: &Fields<'_>, _: &Globals) -> Result<Kind, Placed> {
    let mut it = MsTeamsV2 {
        webhook_url: one_secret(f, "webhook_url", |key, file| f.secret_url(key, file))?,
        ..MsTeamsV2::default()
    };
    f.put_all([("title", &mut it.title), ("text", &mut it.text)]);
    Ok(Kind::MsTeamsV2(Box::new(it)))
}

pub(super) fn webex(f: &Fields<'_>, globals: &Globals) -> Result<Kind, Placed> {
    let mut it = Webex::default();
    globals.put_url("webex_api_url", &mut it.api_url)?;
    f.put_url("api_url", &mut it.api_url)?;
    f.put_all([("room_id", &mut it.room_id), ("message", &mut it.message)]);
    if it.room_id.is_empty() {
        return f.wrong("missing room_id on webex_config");
    }
    if f.node.get("http_config").and_then(|http| http.get("authorization")).is_none() {
        return f.wrong("missing webex_configs.http_config.authorization");
    }
    Ok(Kind::Webex(Box::new(it)))
}

pub(super) fn telegram(f: &Fields<'_>, globals: &Globals) -> Result<Kind, Placed> {
    let mut it = Telegram::default();
    globals.put_url("telegram_api_url", &mut it.api_url)?;
    f.put_url("api_url", &mut it.api_url)?;
    f.put_all([("message", &mut it.message), ("parse_mode", &mut it.parse_mode)]);
    let own = f.secret("bot_token", "bot_token_file")?;
    it.chat_id = f.secret("chat_id", "chat_id_file")?;
    if it.chat_id.is_none() || it.chat_id == Some(Secret::Text("0".to_owned())) {
        return f.wrong("missing chat_id or chat_id_file on telegram_config");
    }
    if !matches!(it.parse_mode.as_str(), "" | "Markdown" | "MarkdownV2" | "HTML") {
        return f.wrong(
            "unknown parse_mode on telegram_config, must be Markdown, MarkdownV2, HTML or empty string",
        );
    }
    it.bot_token = match own {
        Some(own) => Some(own),
        None => globals.secret("telegram_bot_token")?,
    };
    if it.bot_token.is_none() {
        return f.wrong("missing bot_token or bot_token_file on telegram_config");
    }
    it.message_thread_id = f.node.number_of("message_thread_id").unwrap_or(0);
    it.disable_notifications = f.bool("disable_notifications", false);
    it.timeout_ms = f.ms("timeout", 0);
    Ok(Kind::Telegram(Box::new(it)))
}

pub(super) fn we_chat(f: &Fields<'_>, globals: &Globals) -> Result<Kind, Placed> {
    let mut it = WeChat::default();
    globals.put_url("wechat_api_url", &mut it.api_url)?;
    f.put_url("api_url", &mut it.api_url)?;
    f.put_all([
        ("corp_id", &mut it.corp_id),
        ("agent_id", &mut it.agent_id),
        ("to_user", &mut it.to_user),
        ("to_party", &mut it.to_party),
        ("to_tag", &mut it.to_tag),
        ("message", &mut it.message),
        ("message_type", &mut it.message_type),
    ]);
    if it.message_type.is_empty() {
        it.message_type = WeChat::default().message_type;
    }
    if !matches!(it.message_type.as_str(), "text" | "markdown") {
        return f.wrong(format!(
            "weChat message type {:?} does not match valid options ^(text|markdown)$",
            it.message_type
        ));
    }
    it.api_secret = match f.secret("api_secret", "api_secret_file")? {
        Some(own) => Some(own),
        None => globals.secret("wechat_api_secret")?,
    };
    if it.api_secret.is_none() {
        return f.wrong("no global Wechat Api Secret set either inline or in a file");
    }
    if it.corp_id.is_empty() {
        match globals.text("wechat_api_corp_id") {
            Some(id) => id.clone_into(&mut it.corp_id),
            None => return f.wrong("no global Wechat CorpID set"),
        }
    }
    if !it.api_url.ends_with('/') {
        it.api_url.push('/');
    }
    Ok(Kind::WeChat(Box::new(it)))
}

pub(super) fn matrix(f: &Fields<'_>, _: &Globals) -> Result<Kind, Placed> {
    let mut it = Matrix::default();
    f.put_url("homeserver_url", &mut it.homeserver_url)?;
    f.put_all([("room_id", &mut it.room_id), ("message", &mut it.message), ("html", &mut it.html)]);
    it.notice = f.bool("notice", false);
    it.access_token = f.secret("access_token", "access_token_file")?;
    for (key, is_missing) in [
        ("homeserver_url", it.homeserver_url.is_empty()),
        ("room_id", it.room_id.is_empty()),
        ("access_token or access_token_file", it.access_token.is_none()),
    ] {
        if is_missing {
            return f.wrong(format!("missing {key} in matrix config"));
        }
    }
    Ok(Kind::Matrix(Box::new(it)))
}

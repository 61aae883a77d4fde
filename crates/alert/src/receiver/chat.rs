//! Rooms where people talk.

use model::http::Secret;

fn template(name: &str) -> String {
    format!("{{{{ template \"{name}\" . }}}}")
}

/// Slack, by a webhook of its own, or by its API with a token.
#[derive(Debug, Clone, PartialEq)]
pub struct Slack {
    /// `api_url` or `api_url_file`.
    pub api_url: Option<Secret>,
    /// `app_token` or `app_token_file`, for the API.
    pub app_token: Option<Secret>,
    /// Where the API is, for the token.
    pub app_url: String,
    /// A template.
    pub channel: String,
    /// A template.
    pub username: String,
    /// A template.
    pub color: String,
    /// A template.
    pub title: String,
    /// A template.
    pub title_link: String,
    /// A template.
    pub pretext: String,
    /// A template.
    pub text: String,
    /// The text above the attachment; a template.
    pub message_text: String,
    /// Pairs shown beside each other.
    pub fields: Vec<SlackField>,
    /// Whether fields that do not say are short.
    pub short_fields: bool,
    /// A template.
    pub footer: String,
    /// A template.
    pub fallback: String,
    /// A template.
    pub callback_id: String,
    /// A template.
    pub icon_emoji: String,
    /// A template.
    pub icon_url: String,
    /// A template.
    pub image_url: String,
    /// A template.
    pub thumb_url: String,
    /// Whether `@name` in a text calls somebody.
    pub link_names: bool,
    /// What is formatted; upstream's three if empty.
    pub mrkdwn_in: Vec<String>,
    /// Buttons.
    pub actions: Vec<SlackAction>,
    /// Whether the first message of a group of alerts is changed instead of followed by others; with the API only.
    pub update_message: bool,
    /// Whether further messages of a group go to the thread of the first; with the API only.
    pub post_updates_to_thread: bool,
    /// How long a request may take; 0 means the sender's own bound.
    pub timeout_ms: u64,
}

impl Default for Slack {
    fn default() -> Self {
        Self {
            api_url: None,
            app_token: None,
            app_url: Self::POST_MESSAGE.to_owned(),
            channel: String::new(),
            username: template("slack.default.username"),
            color: template("slack.default.color"),
            title: template("slack.default.title"),
            title_link: template("slack.default.titlelink"),
            pretext: template("slack.default.pretext"),
            text: template("slack.default.text"),
            message_text: String::new(),
            fields: Vec::new(),
            short_fields: false,
            footer: template("slack.default.footer"),
            fallback: template("slack.default.fallback"),
            callback_id: template("slack.default.callbackid"),
            icon_emoji: template("slack.default.iconemoji"),
            icon_url: template("slack.default.iconurl"),
            image_url: String::new(),
            thumb_url: String::new(),
            link_names: false,
            mrkdwn_in: Vec::new(),
            actions: Vec::new(),
            update_message: false,
            post_updates_to_thread: false,
            timeout_ms: 0,
        }
    }
}

impl Slack {
    /// Where Slack's API takes messages.
    pub const POST_MESSAGE: &'static str = "https://slack.com/api/chat.postMessage";
}

/// A pair; templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlackField {
    /// Its name.
    pub title: String,
    /// Its value.
    pub value: String,
    /// Whether it may stand beside others; as `short_fields` says if `None`.
    pub short: Option<bool>,
}

/// A button; templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlackAction {
    /// Such as `button`.
    pub kind: String,
    /// What it says.
    pub text: String,
    /// What it opens; then the next three are empty.
    pub url: String,
    /// `default`, `primary` or `danger`.
    pub style: String,
    /// What it sends.
    pub name: String,
    /// What it sends with it.
    pub value: String,
    /// What is asked before.
    pub confirm: Option<SlackConfirmation>,
}

/// A question before a button does something; templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlackConfirmation {
    /// The question.
    pub text: String,
    /// Above it.
    pub title: String,
    /// Yes.
    pub ok_text: String,
    /// No.
    pub dismiss_text: String,
}

/// Mattermost, by an incoming webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct Mattermost {
    /// `webhook_url` or `webhook_url_file`.
    pub webhook_url: Option<Secret>,
    /// A template.
    pub channel: String,
    /// A template.
    pub username: String,
    /// The message; a template.
    pub text: String,
    /// A template.
    pub icon_url: String,
    /// A template.
    pub icon_emoji: String,
    /// Parts below the message. The keys of an attachment beside them are read by upstream and never sent.
    pub attachments: Vec<MattermostAttachment>,
    /// A template.
    pub kind: String,
    /// `props.card`; a template.
    pub card: Option<String>,
    /// How loud it is.
    pub priority: Option<MattermostPriority>,
}

impl Default for Mattermost {
    fn default() -> Self {
        Self {
            webhook_url: None,
            channel: String::new(),
            username: template("mattermost.default.username"),
            text: template("mattermost.default.text"),
            icon_url: String::new(),
            icon_emoji: String::new(),
            attachments: Vec::new(),
            kind: String::new(),
            card: None,
            priority: None,
        }
    }
}

/// A part of a message; templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MattermostAttachment {
    /// Where attachments cannot be shown.
    pub fallback: String,
    /// Of the border.
    pub color: String,
    /// Above it.
    pub pretext: String,
    /// What it says.
    pub text: String,
    /// Who says it.
    pub author_name: String,
    /// Where the author is.
    pub author_link: String,
    /// What the author looks like.
    pub author_icon: String,
    /// Its title.
    pub title: String,
    /// What the title opens.
    pub title_link: String,
    /// Pairs shown beside each other.
    pub fields: Vec<MattermostField>,
    /// A small picture.
    pub thumb_url: String,
    /// Below it.
    pub footer: String,
    /// A picture below it.
    pub footer_icon: String,
    /// A picture.
    pub image_url: String,
}

/// A pair; templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MattermostField {
    /// Its name.
    pub title: String,
    /// Its value.
    pub value: String,
    /// Whether it may stand beside others.
    pub short: Option<bool>,
}

/// How loud a message is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MattermostPriority {
    /// A template.
    pub priority: String,
    /// Whether readers are asked to say that they have read it.
    pub requested_ack: bool,
    /// Whether they are told again until they do.
    pub persistent_notifications: bool,
}

/// Rocket.Chat, by its API.
#[derive(Debug, Clone, PartialEq)]
pub struct RocketChat {
    /// The server.
    pub api_url: String,
    /// `token` or `token_file`.
    pub token: Option<Secret>,
    /// `token_id` or `token_id_file`.
    pub token_id: Option<Secret>,
    /// A template.
    pub channel: String,
    /// A template.
    pub color: String,
    /// A template.
    pub title: String,
    /// A template.
    pub title_link: String,
    /// A template.
    pub text: String,
    /// Pairs shown beside each other.
    pub fields: Vec<RocketChatField>,
    /// Whether fields that do not say are short.
    pub short_fields: bool,
    /// A template.
    pub emoji: String,
    /// A template.
    pub icon_url: String,
    /// A template.
    pub image_url: String,
    /// A template.
    pub thumb_url: String,
    /// Whether `@name` in a text calls somebody.
    pub link_names: bool,
    /// Buttons.
    pub actions: Vec<RocketChatAction>,
}

impl Default for RocketChat {
    fn default() -> Self {
        Self {
            api_url: "https://open.rocket.chat/".to_owned(),
            token: None,
            token_id: None,
            channel: String::new(),
            color: r#"{{ if eq .Status "firing" }}red{{ else }}green{{ end }}"#.to_owned(),
            title: template("rocketchat.default.title"),
            title_link: template("rocketchat.default.titlelink"),
            text: template("rocketchat.default.text"),
            fields: Vec::new(),
            short_fields: false,
            emoji: template("rocketchat.default.emoji"),
            icon_url: template("rocketchat.default.iconurl"),
            image_url: String::new(),
            thumb_url: String::new(),
            link_names: false,
            actions: Vec::new(),
        }
    }
}

/// A pair; templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RocketChatField {
    /// Its name.
    pub title: String,
    /// Its value.
    pub value: String,
    /// Whether it may stand beside others; as `short_fields` says if `None`.
    pub short: Option<bool>,
}

/// A button; templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RocketChatAction {
    /// Read and not needed: all are buttons.
    pub kind: String,
    /// What it says.
    pub text: String,
    /// What it opens.
    pub url: String,
    /// What it says for who touches it.
    pub msg: String,
}

/// Discord, by a webhook of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discord {
    /// `webhook_url` or `webhook_url_file`.
    pub webhook_url: Option<Secret>,
    /// The text above the frame; a template.
    pub content: String,
    /// A template.
    pub title: String,
    /// A template.
    pub message: String,
    /// Whom it seems to come from.
    pub username: String,
    /// What that one looks like.
    pub avatar_url: String,
}

impl Default for Discord {
    fn default() -> Self {
        Self {
            webhook_url: None,
            content: template("discord.default.content"),
            title: template("discord.default.title"),
            message: template("discord.default.message"),
            username: String::new(),
            avatar_url: String::new(),
        }
    }
}

/// Microsoft Teams, by its old connectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MsTeams {
    /// `webhook_url` or `webhook_url_file`.
    pub webhook_url: Option<Secret>,
    /// A template.
    pub title: String,
    /// A template.
    pub summary: String,
    /// A template.
    pub text: String,
}

impl Default for MsTeams {
    fn default() -> Self {
        Self {
            webhook_url: None,
            title: template("msteams.default.title"),
            summary: template("msteams.default.summary"),
            text: template("msteams.default.text"),
        }
    }
}

/// Microsoft Teams, by workflows and adaptive cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MsTeamsV2 {
    /// `webhook_url` or `webhook_url_file`.
    pub webhook_url: Option<Secret>,
    /// A template.
    pub title: String,
    /// A template.
    pub text: String,
}

impl Default for MsTeamsV2 {
    fn default() -> Self {
        Self {
            webhook_url: None,
            title: template("msteamsv2.default.title"),
            text: template("msteamsv2.default.text"),
        }
    }
}

/// Webex; the token of the bot is the `authorization` of the HTTP options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webex {
    /// Where its API takes messages.
    pub api_url: String,
    /// A template.
    pub room_id: String,
    /// A template.
    pub message: String,
}

impl Default for Webex {
    fn default() -> Self {
        Self {
            api_url: "https://webexapis.com/v1/messages".to_owned(),
            room_id: String::new(),
            message: template("webex.default.message"),
        }
    }
}

/// Telegram, by a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telegram {
    /// The server.
    pub api_url: String,
    /// `bot_token` or `bot_token_file`.
    pub bot_token: Option<Secret>,
    /// `chat_id` or `chat_id_file`: a number.
    pub chat_id: Option<Secret>,
    /// The thread of the chat; 0 means none.
    pub message_thread_id: i64,
    /// A template.
    pub message: String,
    /// Whether it makes no sound.
    pub disable_notifications: bool,
    /// How the message is written.
    pub parse_mode: String,
    /// How long a request may take; 0 means the sender's own bound.
    pub timeout_ms: u64,
}

impl Default for Telegram {
    fn default() -> Self {
        Self {
            api_url: "https://api.telegram.org".to_owned(),
            bot_token: None,
            chat_id: None,
            message_thread_id: 0,
            message: template("telegram.default.message"),
            disable_notifications: false,
            parse_mode: "HTML".to_owned(),
            timeout_ms: 0,
        }
    }
}

/// WeChat, by an application of a company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeChat {
    /// `api_secret` or `api_secret_file`; a template.
    pub api_secret: Option<Secret>,
    /// Base of the API, with a slash at its end.
    pub api_url: String,
    /// A template.
    pub corp_id: String,
    /// A template.
    pub agent_id: String,
    /// A template.
    pub to_user: String,
    /// A template.
    pub to_party: String,
    /// A template.
    pub to_tag: String,
    /// A template.
    pub message: String,
    /// `text` or `markdown`.
    pub message_type: String,
}

impl Default for WeChat {
    fn default() -> Self {
        Self {
            api_secret: None,
            api_url: "https://qyapi.weixin.qq.com/cgi-bin/".to_owned(),
            corp_id: String::new(),
            agent_id: template("wechat.default.agent_id"),
            to_user: template("wechat.default.to_user"),
            to_party: template("wechat.default.to_party"),
            to_tag: template("wechat.default.to_tag"),
            message: template("wechat.default.message"),
            message_type: "text".to_owned(),
        }
    }
}

/// Matrix, by the client API of a home server. Source: the specification of Matrix, "Sending events to a room".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// The home server.
    pub homeserver_url: String,
    /// Such as `!id:server`; a template.
    pub room_id: String,
    /// `access_token` or `access_token_file`.
    pub access_token: Option<Secret>,
    /// Whether it is a notice, which bots leave unanswered.
    pub notice: bool,
    /// The plain text; a template.
    pub message: String,
    /// The formatted text; a template of HTML. None if empty.
    pub html: String,
}

impl Default for Matrix {
    fn default() -> Self {
        Self {
            homeserver_url: String::new(),
            room_id: String::new(),
            access_token: None,
            notice: false,
            message: template("matrix.default.message"),
            html: template("matrix.default.html"),
        }
    }
}

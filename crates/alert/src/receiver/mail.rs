//! E-mail.

use std::collections::BTreeMap;

use model::http::{Secret, TlsOptions};

/// A mail by SMTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Email {
    /// Addresses, separated by commas; a template.
    pub to: String,
    /// The sender's address; a template.
    pub from: String,
    /// The server mails are handed to.
    pub smarthost: SmartHost,
    /// What this host calls itself.
    pub hello: String,
    /// Who logs in; nobody if empty.
    pub auth_username: String,
    /// For `PLAIN` and `LOGIN`.
    pub auth_password: Option<Secret>,
    /// For `CRAM-MD5`.
    pub auth_secret: Option<Secret>,
    /// For whom, with `PLAIN`.
    pub auth_identity: String,
    /// Whether a server without STARTTLS gets nothing.
    pub require_tls: bool,
    /// Whether TLS begins with the connection; with `None` it does on port 465.
    pub force_implicit_tls: Option<bool>,
    /// Verification of the server.
    pub tls: TlsOptions,
    /// Further headers and replacements of those that are always there, names as in `Message-Id`; templates.
    pub headers: BTreeMap<String, String>,
    /// The page; a template. None if empty.
    pub html: String,
    /// The plain text; a template. None if empty.
    pub text: String,
    /// Whether the mails of a group of alerts form a thread.
    pub threading: Option<EmailThreads>,
}

impl Default for Email {
    fn default() -> Self {
        Self {
            to: String::new(),
            from: String::new(),
            smarthost: SmartHost::default(),
            hello: "localhost".to_owned(),
            auth_username: String::new(),
            auth_password: None,
            auth_secret: None,
            auth_identity: String::new(),
            require_tls: true,
            force_implicit_tls: None,
            tls: TlsOptions::default(),
            headers: BTreeMap::new(),
            html: r#"{{ template "email.default.html" . }}"#.to_owned(),
            text: String::new(),
            threading: None,
        }
    }
}

impl Email {
    /// Default of the header `Subject`.
    pub const SUBJECT: &'static str = r#"{{ template "email.default.subject" . }}"#;
}

/// Host and port of a mail server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmartHost {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP.
    pub port: u16,
}

/// How long a thread goes on (`threading.thread_by_date`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailThreads {
    /// `none`: one thread for each group of alerts.
    Forever,
    /// `daily`: a new one each day.
    Daily,
}

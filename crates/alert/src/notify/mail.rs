//! E-mail: headers, text and page of a mail. How it is written on the wire and sent is the sender's.

use std::fmt;

use query::template::Moment;

use super::render::Render;
use super::{Answer, Begun, Outcome, Step, Talk};
use crate::receiver::{Email, EmailThreads};

/// Hexadecimal digits of a group's hash in the identity of its thread.
const THREAD_HASH_CHARS: usize = 16;

/// A mail. Its texts are whatever the templates made: whoever writes it encodes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Whom it is from, for the server: exactly one address.
    pub from: String,
    /// Whom it is for, for the server: addresses, separated by commas.
    pub to: String,
    /// `Subject`, `To`, `From`, `Message-Id` and others; all but date and MIME headers. Names are as in `Message-Id`.
    pub headers: Vec<(String, String)>,
    /// The plain text.
    pub text: Option<String>,
    /// The page.
    pub html: Option<String>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("headers", &self.headers).finish_non_exhaustive()
    }
}

pub(super) fn compose<'a>(it: &Email, mut render: Render<'_>) -> Begun<'a> {
    let from = render.address("email.from", &it.from)?;
    let to = render.address("email.to", &it.to)?;
    let mut headers = Vec::new();
    for (name, default) in [("Subject", Email::SUBJECT), ("To", &it.to), ("From", &it.from)] {
        let template = it.headers.get(name).map_or(default, String::as_str);
        headers.push((name.to_owned(), render.text(&format!("email.headers.{name}"), template)));
    }
    for (name, template) in &it.headers {
        if !headers.iter().any(|(given, _)| given == name) {
            headers.push((name.clone(), render.text(&format!("email.headers.{name}"), template)));
        }
    }
    if !it.headers.contains_key("Message-Id") {
        // The same at every try, so that a mail that was taken in spite of an error is known as the same.
        let hash = render.notice.group_hash();
        let id = format!(
            "<{}.{}@{}>",
            render.notice.made_at_ns,
            hash.get(..THREAD_HASH_CHARS).unwrap_or(&hash),
            render.host_name()
        );
        headers.push(("Message-Id".to_owned(), id));
    }
    if let Some(threads) = it.threading {
        let root = thread(&render, threads);
        headers.push(("References".to_owned(), root.clone()));
        headers.push(("In-Reply-To".to_owned(), root));
    }
    let has = |template: &str| !template.is_empty();
    // Both say what failed: nobody reads both.
    let text = has(&it.text).then(|| render.main("email.text", &it.text));
    let html = has(&it.html).then(|| render.main_html("email.html", &it.html));
    let text = match (&text, &html) {
        (None, None) => Some(render.with_failures(String::new())),
        _ => text,
    };
    Ok(Box::new(Once(Some(Mail { from, to, headers, text, html }))))
}

/// The identity of a mail that was never sent, to which all of a group answer: programs show them as one thread.
fn thread(render: &Render<'_>, threads: EmailThreads) -> String {
    let hash = render.notice.group_hash();
    let hash = hash.get(..THREAD_HASH_CHARS).unwrap_or(&hash);
    let day = match threads {
        EmailThreads::Forever => String::new(),
        EmailThreads::Daily => Moment::utc(render.now_ns).format("2006-01-02"),
    };
    format!("<alert-{hash}-{day}@alertmanager>")
}

struct Once(Option<Mail>);

impl Talk for Once {
    fn next(&mut self, _: Option<&Answer>) -> Step {
        match self.0.take() {
            Some(mail) => Step::Mail(Box::new(mail)),
            None => Step::Done(Outcome::delivered()),
        }
    }
}

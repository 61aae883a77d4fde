//! RFC 5424: `1 TIME HOST APP PROCID MSGID [ID NAME="VALUE"…]… TEXT`, behind the priority.

use std::borrow::Cow;

use super::{Element, Format, Message};
use crate::pushed_lines::{Sent, rfc3339_ns};

/// Reads `text`; `None` if it does not begin as the format does. Structured data that is broken is text.
pub(super) fn read(text: &str) -> Option<Message<'_>> {
    let (version, rest) = text.split_once(' ')?;
    if version.is_empty() || version.len() > 2 || !version.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (time, rest) = word(rest);
    let sent = match time {
        "-" => Sent::Absent,
        _ => match rfc3339_ns(time) {
            Some(t_ns) => Sent::At(t_ns),
            // A number and a word may begin any text.
            None if !time.starts_with(|c: char| c.is_ascii_digit()) => return None,
            None => Sent::Unreadable(time),
        },
    };
    let (host, rest) = word(rest);
    let (app_name, rest) = word(rest);
    let (proc_id, rest) = word(rest);
    let (msg_id, rest) = word(rest);
    let (data, rest) = data(rest);
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let is_there = |part| if part == "-" { "" } else { part };
    Some(Message {
        format: Format::Rfc5424,
        priority: None,
        sent,
        host: is_there(host),
        app_name: is_there(app_name),
        proc_id: is_there(proc_id),
        msg_id: is_there(msg_id),
        data,
        text: rest.strip_prefix('\u{feff}').unwrap_or(rest),
    })
}

/// The part before the next space, and what follows the space.
fn word(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// Structured data at the beginning, and what follows.
fn data(text: &str) -> (Vec<Element<'_>>, &str) {
    if let Some(rest) = text.strip_prefix('-')
        && (rest.is_empty() || rest.starts_with(' '))
    {
        return (Vec::new(), rest);
    }
    let mut elements = Vec::new();
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix('[') {
        let Some((element, after)) = element(inner) else { break };
        elements.push(element);
        rest = after;
    }
    (elements, rest)
}

/// An element behind its bracket, and what follows its end.
fn element(text: &str) -> Option<(Element<'_>, &str)> {
    let end = text.find([' ', ']'])?;
    let (id, mut rest) = text.split_at(end);
    if id.is_empty() || id.contains(['"', '=']) {
        return None;
    }
    let mut params = Vec::new();
    loop {
        rest = rest.trim_start_matches(' ');
        if let Some(after) = rest.strip_prefix(']') {
            return Some((Element { id, params }, after));
        }
        let (name, value) = rest.split_once("=\"")?;
        if name.is_empty() || name.contains([' ', ']', '"']) {
            return None;
        }
        let (value, after) = quoted(value)?;
        params.push((name, value));
        rest = after;
    }
}

/// A value up to its closing quote, without escapes, and what follows the quote. A backslash before another character
/// than `"`, `\` and `]` is itself.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let first = text.find(['"', '\\'])?;
    if text[first..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..first]), &text[first + 1..]));
    }
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), &text[at + 1..])),
            '\\' => {
                let (_, next) = chars.next()?;
                if !matches!(next, '"' | '\\' | ']') {
                    value.push('\\');
                }
                value.push(next);
            }
            c => value.push(c),
        }
    }
    None
}

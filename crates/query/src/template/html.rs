//! Escaping for the place in an HTML page where a value is printed, as Go's html/template does: text, attributes, URLs in
//! attributes, values of style sheets.
//!
//! What stands around a value is followed while it is written, so that templates in each other need no analysis. Comments
//! are left out. Values in scripts, in attributes that are scripts, and in `srcset` are refused.

use super::Value;
use super::escapes;
use super::value::Trust;

/// What stands in for a value that would be dangerous where it stands, as in Go.
const UNSAFE: &str = "ZgotmplZ";
const URL_ATTRIBUTES: [&str; 18] = [
    "action",
    "archive",
    "background",
    "cite",
    "classid",
    "codebase",
    "data",
    "formaction",
    "href",
    "icon",
    "longdesc",
    "manifest",
    "poster",
    "profile",
    "src",
    "usemap",
    "xmlns",
    "content-location",
];

/// Where in a page the output is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// The start of a comment is read, its end not.
    Comment,
    /// The name of a tag.
    TagName(String),
    /// In a tag, between attributes.
    Tag,
    AttributeName(String),
    /// Behind an attribute's name.
    AttributeEnd(String),
    /// Behind `=`.
    BeforeValue(String),
    Value {
        kind: Kind,
        /// `None` when the value ends with white space.
        quote: Option<char>,
        part: Part,
    },
    /// What is no markup up to the end of the element: the name of the element.
    Raw(&'static str),
}

/// What an attribute's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Url,
    Style,
    /// A script, or a set of URLs.
    Refused,
}

/// The part of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Start,
    Path,
    Query,
}

/// The page as far as it is written.
#[derive(Debug, Default)]
pub(super) struct Page {
    state: State,
    /// The element whose tag is being read.
    element: String,
}

impl Page {
    /// Writes `text` of the template.
    pub(super) fn push_text(&mut self, text: &str, out: &mut String) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if self.state == State::Comment {
                let Some((_, after)) = rest.split_once("-->") else { return };
                (self.state, rest) = (State::Text, after);
                continue;
            }
            if self.state == State::Text && rest.starts_with("<!--") {
                (self.state, rest) = (State::Comment, rest.split_at(4).1);
                continue;
            }
            if let State::Raw(element) = self.state {
                let tail = rest.strip_prefix("</").unwrap_or("").as_bytes();
                let ends = tail.get(..element.len());
                if ends.is_some_and(|name| name.eq_ignore_ascii_case(element.as_bytes())) {
                    self.state = State::Text;
                }
            }
            out.push(c);
            rest = rest.split_at(c.len_utf8()).1;
            self.follow(c, rest);
        }
    }

    fn follow(&mut self, c: char, rest: &str) {
        let is_space = c.is_ascii_whitespace();
        let state = std::mem::take(&mut self.state);
        self.state = match state {
            State::Text => match c {
                '<' if rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') => {
                    State::TagName(String::new())
                }
                _ => State::Text,
            },
            State::TagName(mut name) => match c {
                '>' => self.open(name),
                c if is_space || c == '/' && !name.is_empty() => {
                    self.element = name;
                    State::Tag
                }
                c => {
                    name.push(c.to_ascii_lowercase());
                    State::TagName(name)
                }
            },
            State::Tag => match c {
                '>' => {
                    let element = std::mem::take(&mut self.element);
                    self.open(element)
                }
                c if is_space || c == '/' => State::Tag,
                c => State::AttributeName(c.to_ascii_lowercase().to_string()),
            },
            State::AttributeName(mut name) => match c {
                '=' => State::BeforeValue(name),
                '>' => {
                    let element = std::mem::take(&mut self.element);
                    self.open(element)
                }
                '/' => State::Tag,
                _ if is_space => State::AttributeEnd(name),
                c => {
                    name.push(c.to_ascii_lowercase());
                    State::AttributeName(name)
                }
            },
            State::AttributeEnd(name) => match c {
                '=' => State::BeforeValue(name),
                '>' => {
                    let element = std::mem::take(&mut self.element);
                    self.open(element)
                }
                '/' => State::Tag,
                _ if is_space => State::AttributeEnd(name),
                c => State::AttributeName(c.to_ascii_lowercase().to_string()),
            },
            State::BeforeValue(name) => match c {
                '"' | '\'' => value(&name, Some(c)),
                '>' => {
                    let element = std::mem::take(&mut self.element);
                    self.open(element)
                }
                _ if is_space => State::BeforeValue(name),
                c => advance(value(&name, None), c),
            },
            State::Value { quote: Some(quote), .. } if c == quote => State::Tag,
            State::Value { quote: None, .. } if is_space => State::Tag,
            State::Value { quote: None, .. } if c == '>' => {
                let element = std::mem::take(&mut self.element);
                self.open(element)
            }
            value @ State::Value { .. } => advance(value, c),
            other => other,
        };
    }

    /// Behind the tag of `element`.
    fn open(&mut self, element: String) -> State {
        let raw = ["script", "style", "textarea", "title"].into_iter().find(|raw| **raw == element);
        self.element.clear();
        raw.map_or(State::Text, State::Raw)
    }

    /// Prints a value.
    ///
    /// # Errors
    /// Where no value may stand.
    pub(super) fn push_value(&mut self, value: &Value, out: &mut String) -> Result<(), String> {
        let mut text = String::new();
        let trust = match value {
            Value::Nil => None,
            Value::Trusted(trust, _) => Some(*trust),
            _ => None,
        };
        if !matches!(value, Value::Nil) {
            value.print(&mut text);
        }
        if let State::BeforeValue(name) = &self.state {
            self.state = self::value(name, None);
        }
        match &self.state {
            State::Text if trust == Some(Trust::Html) => out.push_str(&text),
            State::Text => out.push_str(&escaped(&text, false)),
            State::Comment => {}
            State::Raw("textarea" | "title") => out.push_str(&escaped(&text, false)),
            State::Raw("style") => out.push_str(style_value(&text)),
            State::Raw(element) => {
                return Err(format!("values in <{element}> are not supported"));
            }
            State::Value { kind: Kind::Refused, .. } => {
                return Err(
                    "values in attributes that are scripts or sets of URLs are not supported"
                        .to_owned(),
                );
            }
            State::Value { kind, quote, part } => {
                let text = match (kind, part) {
                    (Kind::Style, _) => style_value(&text).to_owned(),
                    (Kind::Url, Part::Query) => url(&text, trust == Some(Trust::Url)),
                    (Kind::Url, Part::Start) if trust.is_none() && !is_safe_url(&text) => {
                        format!("#{UNSAFE}")
                    }
                    (Kind::Url, _) => url(&text, true),
                    (Kind::Plain | Kind::Refused, _) => text,
                };
                out.push_str(&escaped(&text, quote.is_none()));
            }
            State::TagName(_) | State::Tag | State::AttributeName(_) | State::AttributeEnd(_) => {
                let is_name = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
                let is_plain = is_name && attribute(&text.to_ascii_lowercase()) == Kind::Plain;
                let text = if is_plain { text.as_str() } else { UNSAFE };
                out.push_str(text);
                for c in text.chars() {
                    self.follow(c, "");
                }
            }
            State::BeforeValue(_) => {}
        }
        Ok(())
    }
}

fn value(attribute_name: &str, quote: Option<char>) -> State {
    State::Value { kind: attribute(attribute_name), quote, part: Part::Start }
}

/// The value with one more character of the template.
fn advance(state: State, c: char) -> State {
    let State::Value { kind, quote, part } = state else { return state };
    let part = match c {
        '?' | '#' => Part::Query,
        c if part == Part::Start && !c.is_ascii_whitespace() => Part::Path,
        _ => part,
    };
    State::Value { kind, quote, part }
}

/// What the value of an attribute is, by its name in lower case.
fn attribute(name: &str) -> Kind {
    let name = match name.strip_prefix("data-") {
        Some(name) => name,
        None => match name.split_once(':') {
            Some(("xmlns", _)) => return Kind::Url,
            Some((_, name)) => name,
            None => name,
        },
    };
    match name {
        "style" => Kind::Style,
        "srcset" | "srcdoc" => Kind::Refused,
        name if URL_ATTRIBUTES.contains(&name) => Kind::Url,
        name if name.starts_with("on") => Kind::Refused,
        name if ["src", "uri", "url"].iter().any(|part| name.contains(part)) => Kind::Url,
        _ => Kind::Plain,
    }
}

/// `text` without anything that HTML gives a meaning; in an unquoted attribute also without what ends it.
fn escaped(text: &str, unquoted: bool) -> String {
    if unquoted && text.is_empty() {
        return UNSAFE.to_owned();
    }
    let text = escapes::html(text).replace('+', "&#43;");
    if !unquoted {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ' | '=' | '`' => {
                out.push_str(&format!("&#{};", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether a URL is relative or has a scheme that runs nothing.
fn is_safe_url(text: &str) -> bool {
    match text.split_once(':') {
        Some((scheme, _)) if !scheme.contains('/') => {
            ["http", "https", "mailto"].iter().any(|safe| scheme.eq_ignore_ascii_case(safe))
        }
        _ => true,
    }
}

/// `text` for a URL; when it is part of one already, with what has a meaning there left as it is.
fn url(text: &str, is_url: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let bytes = text.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        let keeps = match byte {
            b'-' | b'.' | b'_' | b'~' => true,
            b'!' | b'#' | b'$' | b'&' | b'*' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'?'
            | b'@' | b'[' | b']' => is_url,
            b'%' => {
                let digits = bytes.get(i + 1..i + 3);
                is_url && digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit))
            }
            byte => byte.is_ascii_alphanumeric(),
        };
        if keeps {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

/// `text` if it is a harmless value of a style sheet.
fn style_value(text: &str) -> &str {
    let letters: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let is_harmful = text.contains(|c: char| "\0\"'()/;@[\\]`{}<>".contains(c))
        || text.contains("--")
        || letters.contains("expression")
        || letters.contains("mozbinding");
    if is_harmful { UNSAFE } else { text }
}

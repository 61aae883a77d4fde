//! JSON objects with their members in a given order, written as Go writes them.
//!
//! The order, the escapes and the line feed at the end matter to nobody but a reader who compares a message with
//! Alertmanager's; that comparison is worth having.

use query::template::Value;
use serde_json::Value as Json;

use crate::expand::alertmanager::json;

/// An object being written.
#[derive(Debug, Default)]
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// `text` as a member.
    pub(super) fn text(self, name: &str, text: &str) -> Self {
        self.raw(name, &quoted(text))
    }

    /// `text` as a member unless it is empty.
    pub(super) fn filled(self, name: &str, text: &str) -> Self {
        if text.is_empty() { self } else { self.text(name, text) }
    }

    /// A member that is only there when it is true.
    pub(super) fn flag(self, name: &str, flag: bool) -> Self {
        if flag { self.raw(name, "true") } else { self }
    }

    /// JSON as a member.
    pub(super) fn raw(mut self, name: &str, json: &str) -> Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        json::push_text(name, &mut self.0);
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    /// A list as a member unless it is empty.
    pub(super) fn list(self, name: &str, items: &[String]) -> Self {
        if items.is_empty() { self } else { self.raw(name, &list(items)) }
    }

    /// The object's text.
    pub(super) fn end(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
    }

    /// The object's text as the body of a request.
    pub(super) fn body(self) -> String {
        self.end() + "\n"
    }
}

/// A list of JSON texts.
pub(super) fn list(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

/// A text in JSON.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    json::push_text(text, &mut out);
    out
}

/// A value of a configuration in JSON, its texts replaced by what `expand` makes of them.
pub(super) fn expanded(value: &Json, expand: &mut dyn FnMut(&str) -> String) -> String {
    match value {
        Json::String(template) => value_or_text(&expand(template)),
        Json::Array(items) => {
            list(&items.iter().map(|item| expanded(item, expand)).collect::<Vec<_>>())
        }
        Json::Object(members) => {
            let member = |object: Object, (name, value): (&String, &Json)| {
                let name = if name.contains("{{") { expand(name) } else { name.clone() };
                object.raw(&name, &expanded(value, expand))
            };
            members.iter().fold(Object::new(), member).end()
        }
        other => plain(other),
    }
}

/// What a template made: JSON that is not a text is what it says, all else a text.
fn value_or_text(text: &str) -> String {
    match serde_json::from_str::<Json>(text) {
        Ok(Json::String(_)) | Err(_) => quoted(text),
        Ok(value) => plain(&value),
    }
}

/// A value in JSON, its members by name.
fn plain(value: &Json) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => match n.as_f64() {
            Some(x) if n.is_f64() => {
                json::write(&Value::Float(x)).unwrap_or_else(|_| n.to_string())
            }
            _ => n.to_string(),
        },
        Json::String(text) => quoted(text),
        Json::Array(items) => list(&items.iter().map(plain).collect::<Vec<_>>()),
        Json::Object(members) => {
            members.iter().fold(Object::new(), |o, (name, value)| o.raw(name, &plain(value))).end()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: &str) {
        let value = serde_json::from_str(value).expect("JSON");
        let found = expanded(&value, &mut |template| template.replace("{{x}}", "<1>"));
        assert_eq!(found, expected);
    }

    #[test]
    fn texts_of_values_are_templates() {
        check(
            r#"{"b":"{{x}}","a":["7",true,1.50,{"{{x}}":null}]}"#,
            r#"{"a":[7,true,1.5,{"\u003c1\u003e":null}],"b":"\u003c1\u003e"}"#,
        );
        check(r#""{\"z\":1,\"a\":\"{{x}}\"}""#, r#"{"a":"\u003c1\u003e","z":1}"#);
        check(r#""yes: no""#, r#""yes: no""#);
        check("{}", "{}");
    }
}

//! A YAML file as a tree in which every key and value knows its line.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A value and the line it stands on, from 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// A key and the line it stands on, from 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) line: usize,
    pub(crate) name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    /// As written, since a label may want `1.10` and not `1.1`.
    Bare(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// An error and its line.
pub(crate) type Placed = (usize, String);

impl Node {
    /// Reads the first document of `text`. As in Prometheus, others may follow and mean nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, Placed> {
        let options = serde_saphyr::options! {
            emit_comments: false,
            non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        };
        match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
            Ok(raw) => Ok(place(raw, &text.lines().collect::<Vec<_>>())),
            Err(e) => {
                let line = e.location().map_or(1, |l| usize::try_from(l.line()).unwrap_or(1));
                let e = e.without_snippet();
                if let serde_saphyr::Error::MultipleDocuments { .. } = e
                    && let Some(first) = lines_before(text, line)
                {
                    return Self::parse(first);
                }
                if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = &e {
                    return Err((line, format!("key {key:?} is given twice")));
                }
                let message = e.to_string();
                let message = message.lines().next().unwrap_or("invalid YAML");
                // The place stands in front already.
                let message = message.rsplit_once(" at line ").map_or(message, |(text, _)| text);
                Err((line, message.to_owned()))
            }
        }
    }

    pub(crate) fn entries(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Value of `key`, unless it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.get_or_null(key).filter(|node| node.value != Value::Null)
    }

    /// Value of `key`, null included.
    pub(crate) fn get_or_null(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(k, _)| k.name == key).map(|(_, node)| node)
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Bare(text) | Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Text of the scalar at `key`.
    pub(crate) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Self::text)
    }

    /// Texts of the list at `key`.
    pub(crate) fn texts_of(&self, key: &str) -> Vec<&str> {
        self.get(key)
            .map(|list| list.items().iter().filter_map(Self::text).collect())
            .unwrap_or_default()
    }

    pub(crate) fn bool_of(&self, key: &str) -> Option<bool> {
        self.text_of(key).and_then(parse_bool)
    }

    pub(crate) fn number_of<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.text_of(key).and_then(|text| text.parse().ok())
    }
}

/// The spellings of YAML 1.1, which Prometheus' reader knows.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

enum Raw {
    Null,
    Bare,
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

fn place(raw: Spanned<Raw>, lines: &[&str]) -> Node {
    let line = usize::try_from(raw.defined.line()).unwrap_or(1).max(1);
    let column = usize::try_from(raw.defined.column()).unwrap_or(1).max(1);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bare => Value::Bare(bare_at(lines, line, column)),
        Raw::Text(text) => Value::Text(text),
        Raw::List(items) => Value::List(items.into_iter().map(|item| place(item, lines)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let key_line = usize::try_from(key.referenced.line()).unwrap_or(line).max(1);
                    (Key { line: key_line, name: key.value }, place(value, lines))
                })
                .collect(),
        ),
    };
    Node { line, value }
}

/// What stands before line `line`, from 1; `None` when that is nothing.
fn lines_before(text: &str, line: usize) -> Option<&str> {
    let end: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    text.get(..end).filter(|first| !first.is_empty() && first.len() < text.len())
}

/// The line, from 1, on which a second document with something in it begins.
pub(crate) fn second_document(text: &str) -> Option<usize> {
    let is_mark = |line: &str| line == "---" || line.starts_with("--- ");
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let first = lines.iter().position(|line| says(line))?;
    let mark = first + 1 + lines[first + 1..].iter().position(|line| is_mark(line))?;
    lines[mark + 1..].iter().any(|line| says(line) && !is_mark(line)).then_some(mark + 1)
}

/// The plain scalar that starts at a place of the file.
fn bare_at(lines: &[&str], line: usize, column: usize) -> String {
    let rest = lines.get(line - 1).map_or("", |l| {
        let start = l.char_indices().nth(column - 1).map_or(l.len(), |(at, _)| at);
        l.get(start..).unwrap_or("")
    });
    rest.chars()
        .take_while(|c| c.is_alphanumeric() || matches!(c, '+' | '-' | '.' | '_' | ':'))
        .collect::<String>()
        .trim_end_matches(':')
        .to_owned()
}

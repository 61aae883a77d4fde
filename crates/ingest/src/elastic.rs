//! Elasticsearch's `_bulk` requests: actions and documents, line by line.
//!
//! Owns: the actions, what becomes of each, and what members of documents mean (Elastic Common Schema). Does not own:
//! documents as lines ([`document`](crate::document)), the other endpoints and their answers (`server`).
//!
//! Lines are only ever added: `index` and `create` are the same, `update` and `delete` are refused, item by item.

use std::str;
use std::sync::Arc;

use model::{Error, ErrorKind, Result, text_of_bytes};
use serde::Deserialize;

use crate::document::{Documents, More, Roles};
use crate::jsonline::split;
use crate::pushed_lines::{Limits, Lines, Pushed, Streams};

/// Bytes of an index' name, as in Elasticsearch.
const INDEX_BYTES_MAX: usize = 255;
/// Bytes of a document's id, likewise.
const ID_BYTES_MAX: usize = 512;

/// What is to be done with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Store it.
    Index,
    /// Store it if there is none of its id; ids are not compared here.
    Create,
    /// Change it; refused.
    Update,
    /// Delete it; refused.
    Delete,
}

impl Action {
    /// Its name in requests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What was asked for.
    pub action: Action,
    /// Index it is for.
    pub index: Arc<str>,
    /// Id it was given, if any.
    pub id: Option<Box<str>>,
    /// Why it was refused.
    pub refused: Option<String>,
    /// Its row in [`Pushed::rows`], unless it was refused.
    pub row: Option<usize>,
}

/// A request: its lines, and what became of each document, in order.
#[derive(Debug, Default)]
pub struct Bulk {
    /// The lines.
    pub pushed: Pushed,
    /// The documents.
    pub items: Vec<Item>,
}

/// What members of documents mean: message, time and labels as the Elastic Common Schema names them, and `log`, where
/// Fluent Bit has the line.
pub fn roles() -> Roles {
    let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    Roles {
        message: list(&["message", "log"]),
        time: list(&["@timestamp", "timestamp"]),
        labels: list(&[
            "service.name",
            "host.name",
            "container.name",
            "kubernetes.namespace",
            "kubernetes.pod.name",
            "kubernetes.container.name",
            "data_stream.dataset",
            "data_stream.namespace",
        ]),
        ignored: Vec::new(),
    }
}

/// What follows the name of an action.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Target {
    _index: Option<String>,
    _id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAction {
    index: Option<Target>,
    create: Option<Target>,
    update: Option<Target>,
    delete: Option<Target>,
}

/// Reads a body that came at `now_ms`; `index` is the one that its path names, for actions that name none.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) when a line that must be an action is none, or the document of one is missing: the
/// whole request is refused then, as by Elasticsearch. [`Limit`](ErrorKind::Limit) beyond a bound.
pub fn bulk(
    body: &[u8],
    index: Option<&str>,
    limits: &Limits,
    streams: &Streams,
    now_ms: i64,
) -> Result<Bulk> {
    let roles = roles();
    let mut documents = Documents::new(&roles, streams);
    let mut lines = Lines::new(limits, now_ms);
    let mut items: Vec<Item> = Vec::new();
    let mut rest = split(body);
    while let Some((number, line)) = rest.next() {
        let (action, target) = action(line).map_err(|e| {
            Error::invalid(format!("Malformed action/metadata line [{number}], {e}"))
        })?;
        if items.len() >= limits.rows_max {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("request has more actions than the limit of {}", limits.rows_max),
            ));
        }
        let name = target._index.as_deref().or(index).unwrap_or("");
        // Mostly the same as before.
        let name = match items.last() {
            Some(item) if &*item.index == name => item.index.clone(),
            _ => Arc::from(name),
        };
        let mut item =
            Item { action, index: name, id: target._id.map(Into::into), refused: None, row: None };
        let document = match action {
            Action::Delete => None,
            _ => Some(rest.next().ok_or_else(|| {
                Error::invalid(format!("the document of the action in line [{number}] is missing"))
            })?),
        };
        match refusal(&item) {
            Some(why) => {
                lines.refused.rows += 1;
                item.refused = Some(why);
            }
            None => add(
                &mut item,
                document.map_or(&b""[..], |(_, line)| line),
                &mut documents,
                &mut lines,
            )?,
        }
        items.push(item);
    }
    if items.is_empty() {
        return Err(Error::invalid("request body is required"));
    }
    Ok(Bulk { pushed: lines.finish(), items })
}

/// Reads one document for `index`.
///
/// # Errors
/// [`Limit`](ErrorKind::Limit) beyond a bound.
pub fn document(
    body: &[u8],
    action: Action,
    (index, id): (&str, Option<&str>),
    limits: &Limits,
    streams: &Streams,
    now_ms: i64,
) -> Result<Bulk> {
    let roles = roles();
    let mut lines = Lines::new(limits, now_ms);
    let mut item =
        Item { action, index: Arc::from(index), id: id.map(Into::into), refused: None, row: None };
    match refusal(&item) {
        Some(why) => {
            lines.refused.rows += 1;
            item.refused = Some(why);
        }
        None => add(&mut item, body, &mut Documents::new(&roles, streams), &mut lines)?,
    }
    Ok(Bulk { pushed: lines.finish(), items: vec![item] })
}

fn action(line: &[u8]) -> Result<(Action, Target), String> {
    let raw: RawAction = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    let all = [
        (Action::Index, raw.index),
        (Action::Create, raw.create),
        (Action::Update, raw.update),
        (Action::Delete, raw.delete),
    ];
    let mut named = all.into_iter().filter_map(|(action, target)| Some((action, target?)));
    match (named.next(), named.next()) {
        (Some(found), None) => Ok(found),
        _ => Err("expected one of index, create, update, delete".to_owned()),
    }
}

/// Why an item is refused whatever its document is.
fn refusal(item: &Item) -> Option<String> {
    let index = &*item.index;
    let id_bytes = item.id.as_deref().map_or(0, str::len);
    if matches!(item.action, Action::Update | Action::Delete) {
        Some(format!("{} is not supported: stored lines do not change", item.action.as_str()))
    } else if index.is_empty() {
        Some("index is missing".to_owned())
    } else if index.len() > INDEX_BYTES_MAX {
        Some(format!("index name has {} bytes; the limit is {INDEX_BYTES_MAX}", index.len()))
    } else if id_bytes > ID_BYTES_MAX {
        Some(format!("id has {id_bytes} bytes; the limit is {ID_BYTES_MAX}"))
    } else {
        None
    }
}

fn add(
    item: &mut Item,
    document: &[u8],
    documents: &mut Documents<'_>,
    lines: &mut Lines,
) -> Result<()> {
    let labels = [("index", &*item.index)];
    let fields = [("_id", item.id.as_deref().unwrap_or(""))];
    let more = More { labels: &labels, fields: &fields };
    match documents.add(&text_of_bytes(document), &more, lines) {
        Ok(true) => item.row = Some(lines.rows.len() - 1),
        Ok(false) => {
            item.refused = Some("the document's fields are too large".to_owned());
        }
        Err(e) if e.kind() == ErrorKind::Limit => return Err(e),
        Err(e) => {
            lines.refused.rows += 1;
            item.refused = Some(format!("failed to parse: {}", e.message()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        rows_max: 10,
        labels_max: 5,
        name_bytes_max: 32,
        value_bytes_max: 32,
        line_fields_bytes_max: 200,
        field_bytes_max: 10_000,
        future_ms_max: 600_000,
    };

    fn read(body: &str, index: Option<&str>) -> Result<Bulk> {
        bulk(body.as_bytes(), index, &LIMITS, &Streams::new(10_000, 10), 1_700_000_000_000)
    }

    #[test]
    fn every_action_has_its_item() {
        let long = "x".repeat(300);
        let body = format!(
            r#"{{"index":{{"_index":"a","_id":"1"}}}}
{{"message":"one","service":{{"name":"s"}},"n":1}}
{{"create":{{}}}}
{{"message":"two"}}
{{"delete":{{"_id":"1"}}}}
{{"update":{{"_id":"1"}}}}
{{"doc":{{}}}}
{{"create":{{}}}}
[]
{{"create":{{"pipeline":"p"}}}}
{{"message":"x","long":"{long}"}}
{{"create":{{"_index":"{long}"}}}}
{{}}
"#
        );
        let bulk = read(&body, Some("b")).unwrap();
        let lines: Vec<String> = bulk
            .pushed
            .rows
            .iter()
            .map(|row| format!("{} {} {}", row.stream, row.line, row.fields))
            .collect();
        assert_eq!(
            lines,
            [
                r#"{index="a", service_name="s"} one {_id="1", n="1"}"#,
                r#"{index="b", service_name="unknown_service"} two {}"#,
            ]
        );
        let refused: Vec<&str> =
            bulk.items.iter().map(|item| item.refused.as_deref().unwrap_or("")).collect();
        let words = [
            "",
            "",
            "delete is not",
            "update is not",
            "failed to parse: not a JSON object",
            "too large",
            "index name has 300",
        ];
        assert_eq!(refused.len(), words.len());
        for (refused, words) in refused.iter().zip(words) {
            assert!(refused.contains(words) && refused.is_empty() == words.is_empty(), "{refused}");
        }
        assert_eq!(bulk.items[1].row, Some(1));
        assert_eq!(bulk.pushed.refused.rows, 5);
    }

    #[test]
    fn what_is_no_request_is_refused_as_a_whole() {
        let check = |body: &str, words: &str| {
            let error = read(body, None).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        };
        check("", "request body is required");
        check("{}", "line [1], expected one of");
        check("{\"index\":{}}\n{}\n{\"what\":{}}\n", "line [3], unknown field `what`");
        check("{\"index\":{}}\n", "the action in line [1] is missing");
        check(&"{\"index\":{}}\n{}\n".repeat(11), "more actions than the limit of 10");
        let nameless = read("{\"index\":{}}\n{}\n", None).unwrap();
        assert_eq!(nameless.items[0].refused.as_deref(), Some("index is missing"));
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_bounded(noise in "[\\[\\]{}\",:a1nul\n ]{0,80}") {
            for body in [noise.clone(), format!("{{\"index\":{{\"_index\":\"a\"}}}}\n{noise}")] {
                if let Ok(bulk) = read(&body, None) {
                    prop_assert!(bulk.items.len() <= LIMITS.rows_max);
                    let rows = bulk.items.iter().filter(|item| item.row.is_some()).count();
                    prop_assert_eq!(rows, bulk.pushed.rows.len());
                }
            }
        }
    }
}

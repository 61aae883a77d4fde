//! Why `taffrail logs` printed nothing: there is no such container or stream, its lines are older, or none of them passes
//! the filters. Said on standard error, so that what reads the lines does not see it.

use std::io::Write as _;

use anyhow::{Result, bail};
use model::{MatchOp, Matcher};
use serde::Deserialize;

use super::super::{Client, visible};
use crate::cli::LogsArgs;
use crate::yaml::nearest;

/// Names listed at most.
const NAMES_MAX: usize = 20;

/// What was asked for.
pub(super) struct Asked<'a> {
    pub(super) client: &'a Client,
    pub(super) args: &'a LogsArgs,
    /// In LogQL.
    pub(super) query: &'a str,
    /// From when on, as the server reads it.
    pub(super) start: &'a str,
}

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    data: Vec<String>,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    data: Vec<serde_json::Value>,
}

impl Asked<'_> {
    /// Says why nothing was found.
    ///
    /// # Errors
    /// When the container that was named does not exist; when the server cannot be asked.
    pub(super) async fn explain_nothing(&self) -> Result<()> {
        let end = self.args.to.as_deref().map(|to| ("end", to));
        let streams = self.streams(self.start, end).await?;
        if streams > 0 {
            let one = if streams == 1 {
                "1 stream has lines"
            } else {
                &format!("{streams} streams have lines")
            };
            return note(&format!("{one} in this time, none of them passes the filters"));
        }
        match self.absence().await? {
            None => note(
                "nothing in this time, older lines are there; --since and --from look further back",
            ),
            Some(what) if self.container().is_some() => bail!("{what}"),
            Some(what) => note(&what),
        }
    }

    /// Before lines are followed: says what is not there yet.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub(super) async fn note_absence(&self) -> Result<()> {
        match self.absence().await? {
            None => Ok(()),
            Some(what) => note(&format!("{what}; waiting for it")),
        }
    }

    /// What has never been stored; `None` when something that is asked for has.
    async fn absence(&self) -> Result<Option<String>> {
        if self.streams("0", None).await? > 0 {
            return Ok(None);
        }
        if self.args.query.is_none() {
            let what = "no container has lines; other streams are asked for by their labels";
            return Ok(Some(format!("{what}, as '{{job=\"varlogs\"}}'")));
        }
        if let Some(name) = self.container() {
            let names = self.names("/loki/api/v1/label/container/values").await?;
            return Ok(Some(absent("container", name, "containers with lines", &names)));
        }
        let selector = selector(self.query);
        let matchers = query::logql::parse_selector(selector).unwrap_or_default();
        let labels = self.names("/loki/api/v1/labels").await?;
        for matcher in matchers.iter().filter(|m| needs_label(m)) {
            let name = matcher.name();
            if !labels.iter().any(|label| label == name) {
                return Ok(Some(absent("stream with the label", name, "labels", &labels)));
            }
            if matcher.op() == MatchOp::Equal {
                let values = self.names(&format!("/loki/api/v1/label/{name}/values")).await?;
                if !values.iter().any(|value| value == matcher.value()) {
                    let what = format!("stream with {name} =");
                    return Ok(Some(absent(&what, matcher.value(), "values", &values)));
                }
            }
        }
        Ok(Some(visible(&format!("no stream matches {selector}"))))
    }

    /// The container's name, when that is what was given.
    fn container(&self) -> Option<&str> {
        self.args.query.as_deref().filter(|query| !query.trim_start().starts_with('{'))
    }

    /// How many streams match and have rows from `start` on.
    async fn streams(&self, start: &str, end: Option<(&str, &str)>) -> Result<usize> {
        let mut params = vec![("match[]", selector(self.query)), ("start", start)];
        params.extend(end);
        let body = self.client.get("/loki/api/v1/series", &params).await?;
        Ok(serde_json::from_str::<Series>(&body)?.data.len())
    }

    async fn names(&self, path: &str) -> Result<Vec<String>> {
        let body = self.client.get(path, &[("start", "0")]).await?;
        Ok(serde_json::from_str::<Names>(&body)?.data)
    }
}

fn note(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "note: {text}")?)
}

/// Whether streams without the label are not what is asked for.
fn needs_label(matcher: &Matcher) -> bool {
    matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex) && !matcher.matches("")
}

/// `no container "webb"; did you mean "web"? containers with lines: db, web`
fn absent(what: &str, name: &str, list: &str, names: &[String]) -> String {
    let mut out = format!("no {what} {name:?}");
    if let Some(near) = nearest(name, names.iter().map(String::as_str)) {
        out.push_str(&format!("; did you mean {near:?}?"));
    } else {
        out.push(';');
    }
    let mut shown: Vec<&str> = names.iter().take(NAMES_MAX).map(String::as_str).collect();
    let more = format!("{} more", names.len().saturating_sub(NAMES_MAX));
    if names.len() > NAMES_MAX {
        shown.push(&more);
    }
    let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
    out.push_str(&format!(" {list}: {shown}"));
    visible(&out)
}

/// The stream selector at the beginning of a query.
fn selector(query: &str) -> &str {
    let (mut quote, mut is_escaped) = (None, false);
    for (at, c) in query.char_indices() {
        match (quote, c) {
            _ if is_escaped => is_escaped = false,
            (Some('"'), '\\') => is_escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '`') => quote = Some(c),
            (None, '}') => return query.get(..=at).unwrap_or(query),
            _ => {}
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_ends_at_its_brace() {
        let check = |query: &str, expected: &str| assert_eq!(selector(query), expected);
        check(r#"{a="}\"", b=`}`} |= "x}""#, r#"{a="}\"", b=`}`}"#);
        check("{a", "{a");
    }

    #[test]
    fn what_is_absent_is_named_with_what_there_is() {
        let check = |name: &str, names: &[&str], expected: &str| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            assert_eq!(absent("container", name, "containers", &names), expected);
        };
        check(
            "webb",
            &["db", "web"],
            "no container \"webb\"; did you mean \"web\"? containers: db, web",
        );
        check("x", &[], "no container \"x\"; containers: none");
        let many: Vec<String> = (0..22).map(|i| format!("c{i}")).collect();
        assert!(absent("container", "zzz", "containers", &many).ends_with("c19, 2 more"));
    }
}

//! The keys of one integration: texts, secrets, addresses.

use std::collections::BTreeMap;
use std::path::Path;

use model::http::Secret;

use super::{line_of, placeholders};
use crate::prometheus_yml::node::{Node, Placed};
use crate::prometheus_yml::schema::go_duration_ms;

/// An integration as it stands in the file, with variables expanded.
pub(super) struct Fields<'a> {
    pub(super) node: &'a Node,
    pub(super) dir: &'a Path,
    /// Whether placeholders are values like any other.
    pub(super) strict: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn wrong<T>(&self, why: impl Into<String>) -> Result<T, Placed> {
        Err((self.node.line, why.into()))
    }

    /// The text of `key`; empty when it has no value, `None` when it is not there.
    pub(super) fn given(&self, key: &str) -> Option<&'a str> {
        self.node.get_or_null(key).map(|value| value.text().unwrap_or(""))
    }

    /// The text of `key`; empty when it is not there.
    pub(super) fn text(&self, key: &str) -> String {
        self.given(key).unwrap_or("").to_owned()
    }

    /// Puts the text of `key`, when it is there, where its default stands.
    pub(super) fn put(&self, key: &str, to: &mut String) {
        if let Some(text) = self.given(key) {
            text.clone_into(to);
        }
    }

    /// As [`Fields::put`], for keys that are called as their fields.
    pub(super) fn put_all<const N: usize>(&self, keys: [(&str, &mut String); N]) {
        keys.into_iter().for_each(|(key, to)| self.put(key, to));
    }

    pub(super) fn bool(&self, key: &str, default: bool) -> bool {
        self.node.get_or_null(key).map_or(default, |_| self.node.bool_of(key).unwrap_or(false))
    }

    /// Milliseconds of a duration of Go.
    pub(super) fn ms(&self, key: &str, default: u64) -> u64 {
        self.given(key).and_then(go_duration_ms).unwrap_or(default)
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        self.node.number_of(key).unwrap_or(0)
    }

    /// Names and texts.
    pub(super) fn texts(&self, key: &str) -> BTreeMap<String, String> {
        let entries = self.node.get(key).map(Node::entries).unwrap_or_default();
        entries.iter().map(|(k, v)| (k.name.clone(), v.text().unwrap_or("").to_owned())).collect()
    }

    /// The objects of a list.
    pub(super) fn items(&self, key: &str) -> impl Iterator<Item = Fields<'a>> {
        let items = self.node.get(key).map(Node::items).unwrap_or_default();
        let (dir, strict) = (self.dir, self.strict);
        items.iter().map(move |node| Fields { node, dir, strict })
    }

    /// The object of `key`.
    pub(super) fn object(&self, key: &str) -> Option<Fields<'a>> {
        let node = self.node.get(key)?;
        Some(Fields { node, dir: self.dir, strict: self.strict })
    }

    /// The secret of a key, or of the file that another one names.
    pub(super) fn secret(&self, key: &str, file: &str) -> Result<Option<Secret>, Placed> {
        let given = |key: &str| self.given(key).filter(|text| !text.is_empty());
        match (given(key), given(file)) {
            (Some(_), Some(_)) => Err((
                line_of(self.node, file),
                format!("at most one of {key} & {file} must be configured"),
            )),
            (Some(text), None) => {
                self.is_real(key, text)?;
                Ok(Some(Secret::Text(text.to_owned())))
            }
            (None, Some(path)) => Ok(Some(Secret::File(self.dir.join(path)))),
            (None, None) => Ok(None),
        }
    }

    /// Refuses what somebody meant to replace.
    pub(super) fn is_real(&self, key: &str, text: &str) -> Result<(), Placed> {
        if self.strict || !placeholders::is_placeholder(text) {
            return Ok(());
        }
        Err((line_of(self.node, key), format!("{key} is a placeholder: put the real value there")))
    }

    /// A secret that is a URL.
    pub(super) fn secret_url(&self, key: &str, file: &str) -> Result<Option<Secret>, Placed> {
        let secret = self.secret(key, file)?;
        self.check_given_url(key)?;
        Ok(secret)
    }

    /// Puts the URL of `key`, when it is there, where its default stands.
    pub(super) fn put_url(&self, key: &str, to: &mut String) -> Result<(), Placed> {
        self.check_given_url(key)?;
        if let Some(url) = self.node.text_of(key).filter(|url| !url.is_empty()) {
            self.is_real(key, url)?;
            url.clone_into(to);
        }
        Ok(())
    }

    /// Refuses what is no URL at `key`; one that is empty is none to Alertmanager, and not given otherwise.
    pub(super) fn check_given_url(&self, key: &str) -> Result<(), Placed> {
        match self.node.text_of(key).filter(|url| !url.is_empty() || self.strict) {
            Some(url) => {
                check_url(url).map_err(|why| (line_of(self.node, key), format!("{key}: {why}")))
            }
            None => Ok(()),
        }
    }
}

/// What Alertmanager demands of URLs, in its words.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    // What the API shows in a secret's place is taken when it comes back.
    if url == crate::prometheus_yml::dump::SECRET {
        return Ok(());
    }
    if url.chars().any(|c| c.is_ascii_control()) {
        return Err(format!("parse {url:?}: net/url: invalid control character in URL"));
    }
    let mut escapes = url.split('%').skip(1);
    let is_escape =
        |rest: &str| rest.len() > 1 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if let Some(rest) = escapes.find(|rest| !is_escape(rest)) {
        let escape: String = rest.chars().take(2).collect();
        return Err(format!("parse {url:?}: invalid URL escape \"%{escape}\""));
    }
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let scheme = if is_scheme { scheme.to_ascii_lowercase() } else { String::new() };
    if scheme != "http" && scheme != "https" {
        return Err(format!("unsupported scheme {scheme:?} for URL"));
    }
    let authority = rest.strip_prefix("//").unwrap_or("").split(['/', '?', '#']).next();
    let host = authority.unwrap_or("").rsplit('@').next().unwrap_or("");
    if host.is_empty() {
        return Err("missing host for URL".to_owned());
    }
    if host.contains([' ', '<', '>', '"']) {
        return Err(format!("parse {url:?}: invalid character in host name"));
    }
    Ok(())
}

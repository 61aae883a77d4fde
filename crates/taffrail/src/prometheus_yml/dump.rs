//! A checked file as YAML again: without comments, and with `<secret>` where a secret stood.

use std::fmt::Write as _;

use collect::scrape::{ScrapeJob, format_duration};

use super::node::{Node, Value};

pub(crate) const SECRET: &str = "<secret>";
/// Keys whose texts are secrets, alone or behind an underscore (`client_secret`).
const SECRET_KEYS: [&str; 8] = [
    "password",
    "secret",
    "secrets",
    "token",
    "credentials",
    "key",
    "api_key",
    "connection_string",
];

/// The whole file.
pub(crate) fn file(root: &Node) -> String {
    let mut out = String::new();
    map(&mut out, root.entries().iter().map(|(key, node)| (key.name.as_str(), node)), 0);
    out
}

/// One job with what it has inherited.
pub(super) fn pool(node: &Node, job: &ScrapeJob) -> String {
    let inherited = [
        ("job_name", job.job_name.clone()),
        ("scrape_interval", format_duration(job.scrape_interval_ms)),
        ("scrape_timeout", format_duration(job.scrape_timeout_ms)),
        ("metrics_path", job.metrics_path.clone()),
        ("scheme", job.scheme.clone()),
    ];
    let mut out = String::new();
    for (key, value) in &inherited {
        let _infallible = writeln!(out, "{key}: {}", text(value));
    }
    let rest = node.entries().iter().map(|(key, node)| (key.name.as_str(), node));
    map(&mut out, rest.filter(|(key, _)| inherited.iter().all(|(known, _)| known != key)), 0);
    out
}

fn map<'a>(out: &mut String, entries: impl Iterator<Item = (&'a str, &'a Node)>, indent: usize) {
    for (key, node) in entries {
        let _infallible = write!(out, "{:indent$}{}:", "", text(key));
        if is_secret(key) && !matches!(node.value, Value::Map(_)) {
            let _infallible = writeln!(out, " {SECRET}");
        } else {
            value(out, node, indent + 2);
        }
    }
}

/// What follows a key's colon.
fn value(out: &mut String, node: &Node, indent: usize) {
    match &node.value {
        Value::Null => out.push('\n'),
        Value::Bare(scalar) => {
            let _infallible = writeln!(out, " {scalar}");
        }
        Value::Text(scalar) => {
            let _infallible = writeln!(out, " {}", text(&without_user(scalar)));
        }
        Value::List(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::List(items) => {
            out.push('\n');
            for item in items {
                let mut inner = String::new();
                value(&mut inner, item, indent + 2);
                // The item's first line stands behind its dash.
                let inner = inner.trim_start_matches(['\n', ' ']);
                let _infallible = write!(out, "{:indent$}- {inner}", "");
            }
        }
        Value::Map(entries) => {
            out.push('\n');
            map(out, entries.iter().map(|(key, node)| (key.name.as_str(), node)), indent);
        }
    }
}

fn is_secret(key: &str) -> bool {
    let named = |name: &&str| {
        key.strip_suffix(*name).is_some_and(|head| head.is_empty() || head.ends_with('_'))
    };
    SECRET_KEYS.iter().any(named) && key != "access_key"
}

/// `http://user:password@host` without user and password.
fn without_user(text: &str) -> String {
    if let Some((scheme, rest)) = text.split_once("://") {
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if let Some((_, host)) = authority.rsplit_once('@') {
            return format!("{scheme}://{SECRET}@{host}{path}");
        }
    }
    text.to_owned()
}

/// A scalar: bare where it can only be read as a text, else in double quotes.
fn text(scalar: &str) -> String {
    let plain = scalar
        .starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/' | '<'))
        && scalar.chars().all(|c| c.is_ascii_alphanumeric() || "_-./<>".contains(c));
    let word = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    if plain && !word.iter().any(|w| scalar.eq_ignore_ascii_case(w)) || is_duration(scalar) {
        scalar.to_owned()
    } else {
        serde_json::Value::from(scalar).to_string()
    }
}

fn is_duration(scalar: &str) -> bool {
    scalar.ends_with(|c: char| c.is_ascii_alphabetic())
        && collect::scrape::parse_duration(scalar).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_reads_as_the_same_file_without_its_secrets() {
        let text = "global:\n  external_labels: {site: \"1.10\", on: 'yes'}\nscrape_configs:\n# comment\n- job_name: a b\n  \
                    basic_auth: {username: u, password: p4ss}\n  proxy_url: http://u:p4ss@proxy:1/x\n  relabel_configs:\n  - \
                    source_labels: [a, b]\n    regex: 'x\"(.*)'\n    action: drop\n  static_configs: [{targets: ['h:1']}]\n";
        let root = Node::parse(text).unwrap();
        let dumped = file(&root);
        assert!(!dumped.contains("p4ss") && !dumped.contains('#'), "{dumped}");
        let again = Node::parse(&dumped).unwrap_or_else(|e| panic!("{e:?}\n{dumped}"));
        assert_eq!(file(&again), dumped);
        assert_eq!(
            again.get("global").unwrap().get("external_labels").unwrap().text_of("site"),
            Some("1.10")
        );
        let job = again.get("scrape_configs").unwrap().items()[0].clone();
        assert_eq!(job.text_of("proxy_url"), Some("http://<secret>@proxy:1/x"));
        let rule = &job.get("relabel_configs").unwrap().items()[0];
        assert_eq!(
            (rule.texts_of("source_labels"), rule.text_of("regex")),
            (vec!["a", "b"], Some("x\"(.*)"))
        );
        let shown = pool(&job, &ScrapeJob::new("a b"));
        assert!(shown.starts_with("job_name: \"a b\"\nscrape_interval: 1m\n"), "{shown}");
    }
}

//! Reads `prometheus.yml` as it is and turns it into typed scrape jobs.
//!
//! Owns: every key Prometheus 3 knows (`schema.rs`), its defaults and refusals (`jobs.rs`, `rules.rs`), expansion of
//! environment variables, and the notes about keys that are read without effect. Does not own: running anything, rule
//! files, and Taffrail's own configuration.

pub(crate) mod dump;
pub(crate) mod expand;
pub(crate) mod http;
pub(crate) mod jobs;
pub(crate) mod node;
mod otlp;
pub(crate) mod relabel;
mod remote_write;
mod rule_files;
pub(crate) mod rules;
pub(crate) mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use collect::scrape::{ScrapeJob, matching_files};

pub use expand::Environment;
pub use rule_files::readers;

use crate::yaml::ConfigError;

use node::{Node, Placed, Value};

/// What a file says, as far as this release acts on it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PrometheusConfig {
    /// Scrape jobs, in the order of the file, then those of `scrape_config_files`.
    pub jobs: Vec<ScrapeJob>,
    /// Labels for everything that leaves the process.
    pub external_labels: BTreeMap<String, String>,
    /// Patterns of rule files, as written.
    pub rule_files: Vec<String>,
    /// How far back in time rules are evaluated, milliseconds.
    pub rule_query_offset_ms: u64,
    /// Where alerts are sent.
    pub alertmanagers: Vec<collect::scrape::alertmanager::Config>,
    /// Applied to alerts before they are sent.
    pub alert_relabel: Vec<ingest::relabel::Rule>,
    /// Where samples are sent on.
    pub remote_write: Vec<collect::forward::Remote>,
    /// How OTLP metrics become series.
    pub otlp: ingest::otlp::translate::Config,
    /// Milliseconds between evaluations of rules; Prometheus' default is a minute.
    pub evaluation_interval_ms: u64,
    /// The file itself, without comments and secrets.
    pub yaml: String,
    /// Each job's effective settings, likewise, by its name.
    pub pool_yaml: BTreeMap<String, String>,
}

/// Why a key has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    /// It means nothing here, and nothing is lost by that.
    NotNeeded,
    /// Prometheus acts on it and this release does not.
    NotSupportedYet,
    /// It stands behind the end of the first document.
    SecondDocument,
    /// Settings of Promtail's own server, in whose place there is one already.
    OwnServer,
    /// Where Promtail sends lines.
    StoredHere,
    /// An address for gRPC, which is not listened on.
    NoGrpc,
    /// A receiver without login on all addresses of the machine.
    OpenToAll,
    /// A job whose targets nothing here finds.
    ReadsNothing,
    /// A target that names no files.
    NoPath,
}

/// A key that was read and has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The file as it was named.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
    /// The key.
    pub key: String,
    /// Why.
    pub kind: NoteKind,
}

/// `file:line: key: text`
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.key, self.text())
    }
}

impl Note {
    /// The note in words: `read, not needed` or `not supported yet`.
    pub fn text(&self) -> &'static str {
        match self.kind {
            NoteKind::NotNeeded => "read, not needed",
            NoteKind::NotSupportedYet => "not supported yet",
            NoteKind::SecondDocument => "a second document, not read, as in Prometheus",
            NoteKind::OwnServer => "not opened: Taffrail's own address serves in its place",
            NoteKind::StoredHere => {
                "not needed: lines are stored here; external_labels are taken over"
            }
            NoteKind::NoGrpc => "not listened on: pushes come over HTTP",
            NoteKind::OpenToAll => {
                "warning: listens on all addresses, and nobody has to log in; give it an address such as 127.0.0.1"
            }
            NoteKind::ReadsNothing => {
                "warning: this job reads nothing: it names no files, and no other targets that are supported"
            }
            NoteKind::NoPath => {
                "warning: this target has no __path__, which says what files to read"
            }
        }
    }
}

/// Reads the file `text` that lies at `path` (relative paths in it start from its folder; files of
/// `scrape_config_files` are read from disk). `env` looks up environment variables.
///
/// # Errors
/// The first mistake with its place; for an unknown key it names the nearest known one.
pub fn load(
    path: &Path,
    text: &str,
    env: Environment<'_>,
) -> Result<(PrometheusConfig, Vec<Note>), ConfigError> {
    let mut notes = Vec::new();
    let file = path.display().to_string();
    let dir = path.parent().unwrap_or(Path::new(""));
    let place = |placed| mistake(path, text, placed);
    let root = read("the file", &file, text, env, &mut notes).map_err(place)?;
    let defaults = jobs::Defaults::new(root.get("global"), dir).map_err(place)?;
    let mut config =
        PrometheusConfig { evaluation_interval_ms: 60_000, ..PrometheusConfig::default() };
    if let Some(global) = root.get("global") {
        for (key, value) in global.get("external_labels").map(Node::entries).unwrap_or_default() {
            config.external_labels.insert(key.name.clone(), value.text().unwrap_or("").to_owned());
        }
        if let Some(ms) =
            global.text_of("evaluation_interval").and_then(collect::scrape::parse_duration)
        {
            config.evaluation_interval_ms = ms;
        }
        let offset = global.text_of("rule_query_offset");
        config.rule_query_offset_ms = offset.and_then(collect::scrape::parse_duration).unwrap_or(0);
    }
    config.rule_files = root.texts_of("rule_files").into_iter().map(str::to_owned).collect();
    if let Some(alerting) = root.get("alerting") {
        config.alert_relabel = relabel::rules(alerting, "alert_relabel_configs").map_err(place)?;
        let blocks = alerting.get("alertmanagers").map(Node::items).unwrap_or_default();
        let blocks = blocks.iter().enumerate().map(|(i, node)| jobs::alertmanager(node, i, dir));
        config.alertmanagers = blocks.collect::<Result<_, _>>().map_err(place)?;
    }
    config.otlp = otlp::settings(root.get("otlp"));
    config.remote_write = remote_write::remotes(&root, dir).map_err(place)?;
    config.yaml = dump::file(&root);
    add_jobs(&root, &defaults, &mut config).map_err(place)?;
    for pattern in root.get("scrape_config_files").map(Node::items).unwrap_or_default() {
        for other in matching_files(&dir.join(pattern.text().unwrap_or(""))) {
            add_file(&other, &defaults, env, &mut config, &mut notes)?;
        }
    }
    Ok((config, notes))
}

fn add_file(
    path: &Path,
    defaults: &jobs::Defaults<'_>,
    env: Environment<'_>,
    config: &mut PrometheusConfig,
    notes: &mut Vec<Note>,
) -> Result<(), ConfigError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError::whole_file(path, format!("cannot read: {e}")))?;
    let place = |placed| mistake(path, &text, placed);
    let root = read("the scrape config file", &file, &text, env, notes).map_err(place)?;
    add_jobs(&root, defaults, config).map_err(place)
}

/// Gives a mistake its column: where its line's text begins.
pub(crate) fn mistake(path: &Path, text: &str, (line, message): Placed) -> ConfigError {
    let indent = text
        .lines()
        .nth(line.saturating_sub(1))
        .map_or(0, |l| l.len() - l.trim_start_matches([' ', '-']).len());
    ConfigError { path: path.to_owned(), line: line as u64, column: indent as u64 + 1, message }
}

/// Parses, expands and checks one file.
fn read(
    object: &str,
    file: &str,
    text: &str,
    env: Environment<'_>,
    notes: &mut Vec<Note>,
) -> Result<Node, Placed> {
    if text.lines().all(|line| line.trim_start().starts_with('#') || line.trim().is_empty()) {
        return Ok(Node { line: 1, value: Value::Null });
    }
    let mut root = Node::parse(text)?;
    if let Some(line) = node::second_document(text) {
        let (file, key) = (file.to_owned(), "---".to_owned());
        notes.push(Note { file, line, key, kind: NoteKind::SecondDocument });
    }
    expand::expand(&mut root, env, false)?;
    schema::Walk { tables: &[schema::OBJECTS], file, notes, check: &rules::check }
        .object(object, &root, false)?;
    Ok(root)
}

fn add_jobs(
    root: &Node,
    defaults: &jobs::Defaults<'_>,
    config: &mut PrometheusConfig,
) -> Result<(), Placed> {
    for node in root.get("scrape_configs").map(Node::items).unwrap_or_default() {
        let job = jobs::job(node, defaults)?;
        if config.jobs.iter().any(|other| other.job_name == job.job_name) {
            return Err((node.line, format!("job_name {:?} is used twice", job.job_name)));
        }
        config.pool_yaml.insert(job.job_name.clone(), dump::pool(node, &job));
        config.jobs.push(job);
    }
    Ok(())
}

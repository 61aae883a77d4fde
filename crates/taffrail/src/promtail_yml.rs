//! Reads `promtail.yml` as it is and turns it into typed jobs.
//!
//! Owns: every key Promtail 3 knows (`keys.rs`), what is refused by name, stages (`stages.rs`) with the LogQL they hold,
//! and the notes about keys without effect. Does not own: running anything, and the positions file, which the tailer
//! reads. Where lines are sent is not needed: they are stored here.

mod keys;
mod stages;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use collect::scrape::{DockerSd, FileSd};
use ingest::pipeline::StageConfig;
use ingest::relabel::Rule;

use crate::prometheus_yml::node::{Node, Placed, Value};
use crate::prometheus_yml::{Environment, Note, NoteKind, expand, jobs, mistake, relabel, schema};
use crate::yaml::ConfigError;

/// What a file says, as far as this release reads it.
#[derive(Debug, Clone)]
pub struct PromtailConfig {
    /// Jobs in the order of the file.
    pub jobs: Vec<Job>,
    /// The file in which Promtail kept how far it had read.
    pub positions: PathBuf,
    /// Labels for all lines: those of the first client that has some.
    pub external_labels: BTreeMap<String, String>,
    /// Limits of all jobs.
    pub limits: Limits,
}

/// One of `scrape_configs`.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// What happens to each line.
    pub stages: Vec<StageConfig>,
    /// What happens to the labels of each target.
    pub relabel: Vec<Rule>,
    /// Label sets of `static_configs`; `__path__` and `__path_exclude__` say which files.
    pub static_targets: Vec<BTreeMap<String, String>>,
    /// Files that list targets.
    pub file_sd: Vec<FileSd>,
    /// Container engines whose containers are targets.
    pub docker_sd: Vec<DockerSd>,
    /// systemd's journal.
    pub journal: Option<Journal>,
    /// A syslog receiver.
    pub syslog: Option<Syslog>,
    /// A receiver of GELF in datagrams.
    pub gelf: Option<Gelf>,
    /// A receiver of Loki's push protocol.
    pub push: Option<Push>,
    /// How files are encoded, as written (`UTF-16`); UTF-8 when absent.
    pub encoding: Option<String>,
    /// Which files are read through a decompressor.
    pub decompression: Option<Decompression>,
}

/// `journal:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Whether a line is the whole record as JSON.
    pub json: bool,
    /// How old records may be, nanoseconds; 7 h by default.
    pub max_age_ns: i64,
    /// Journal folder, where it is not the system's.
    pub path: Option<PathBuf>,
    /// As journalctl takes them.
    pub matches: Option<String>,
    /// Labels of all records.
    pub labels: BTreeMap<String, String>,
}

/// `syslog:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// Host and port.
    pub listen_address: String,
    /// `tcp` or `udp`.
    pub listen_protocol: String,
    /// `rfc3164`, `rfc5424` or `raw`.
    pub format: String,
    /// After so long without a message a connection ends, nanoseconds.
    pub idle_timeout_ns: i64,
    /// Whether structured data become labels `__syslog_message_sd_…`.
    pub label_structured_data: bool,
    /// Whether lines keep the time of their message.
    pub use_incoming_timestamp: bool,
    /// Whether the line is the whole message.
    pub use_rfc5424_message: bool,
    /// Bytes a message may have.
    pub max_message_bytes: u64,
    /// Certificate and key, when connections are encrypted.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Authorities one of which must have signed the certificate that a sender shows.
    pub tls_ca: Option<PathBuf>,
    /// Labels of all messages.
    pub labels: BTreeMap<String, String>,
}

/// `gelf:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gelf {
    /// Host and port.
    pub listen_address: String,
    /// Whether lines keep the time of their message.
    pub use_incoming_timestamp: bool,
    /// Labels of all messages.
    pub labels: BTreeMap<String, String>,
}

/// `loki_push_api:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Host and port of HTTP.
    pub http_listen_address: String,
    /// Port of HTTP; 0 when not given.
    pub http_listen_port: u16,
    /// Whether lines keep their time.
    pub use_incoming_timestamp: bool,
    /// Labels of all lines.
    pub labels: BTreeMap<String, String>,
}

/// `decompression:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decompression {
    /// `gz`, `bz2` or `z`.
    pub format: String,
    /// How long to wait before a file is read first, nanoseconds.
    pub initial_delay_ns: i64,
}

/// `limits_config:`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Lines with more bytes are dropped, or cut; 0 is no limit.
    pub max_line_bytes: u64,
    /// Whether they are cut.
    pub max_line_size_truncate: bool,
    /// Lines per second and at once, over all jobs, and whether those beyond are dropped.
    pub readline: Option<(f64, u64, bool)>,
    /// Streams at a time; 0 is no limit.
    pub max_streams: u64,
}

/// Reads the file `text` that lies at `path`. `env` looks up environment variables: as with Promtail's
/// `-config.expand-env`, but never inside stages.
///
/// # Errors
/// The first mistake with its place; for an unknown key it names the nearest known one.
pub fn load(
    path: &Path,
    text: &str,
    env: Environment<'_>,
) -> Result<(PromtailConfig, Vec<Note>), ConfigError> {
    let mut notes = Vec::new();
    let config = read(path, text, env, &mut notes).map_err(|placed| mistake(path, text, placed))?;
    Ok((config, notes))
}

fn read(
    path: &Path,
    text: &str,
    env: Environment<'_>,
    notes: &mut Vec<Note>,
) -> Result<PromtailConfig, Placed> {
    let mut root = Node::parse(text)?;
    expand::expand(&mut root, env, true)?;
    let file = path.display().to_string();
    let tables = [keys::OBJECTS, schema::OBJECTS];
    schema::Walk { tables: &tables, file: &file, notes, check: &keys::check }.object(
        keys::FILE,
        &root,
        false,
    )?;
    notes.iter_mut().for_each(explain);
    let dir = path.parent().unwrap_or(Path::new(""));
    let clients = root.get("clients").map(Node::items).unwrap_or_default();
    let clients = || clients.iter().chain(root.get("client"));
    let mut external_labels = clients()
        .map(|c| texts(c.get("external_labels")))
        .find(|l| !l.is_empty())
        .unwrap_or_default();
    if let Some(tenant) = clients().find_map(|c| c.text_of("tenant_id")) {
        external_labels.insert(model::TENANT_LABEL.to_owned(), tenant.to_owned());
    }
    let mut found: Vec<Job> = Vec::new();
    for node in root.get("scrape_configs").map(Node::items).unwrap_or_default() {
        let job = job(node, dir)?;
        warn(node, &job, &file, notes);
        if found.iter().any(|other| other.name == job.name) {
            return Err((node.line, format!("job_name {:?} is used twice", job.name)));
        }
        found.push(job);
    }
    let positions = root.get("positions").and_then(|p| p.text_of("filename"));
    Ok(PromtailConfig {
        jobs: found,
        positions: dir.join(positions.unwrap_or("/var/log/positions.yaml")),
        external_labels,
        limits: root.get("limits_config").map_or(Ok(Limits::default()), limits)?,
    })
}

/// Says of a key without effect what is in its place.
fn explain(note: &mut Note) {
    note.kind = match (note.kind, note.key.as_str()) {
        (NoteKind::NotNeeded, "server") => NoteKind::OwnServer,
        (NoteKind::NotNeeded, "client" | "clients") => NoteKind::StoredHere,
        (NoteKind::NotNeeded, "grpc_listen_port" | "grpc_listen_address") => NoteKind::NoGrpc,
        (kind, _) => kind,
    };
}

/// Notes what is right by itself and rarely meant.
fn warn(node: &Node, job: &Job, file: &str, notes: &mut Vec<Note>) {
    let mut note = |line: usize, key: &str, kind: NoteKind| {
        notes.push(Note { file: file.to_owned(), line, key: key.to_owned(), kind });
    };
    let line_of = |name: &str| {
        node.entries()
            .iter()
            .find(|(key, _)| key.name == name)
            .map_or(node.line, |(key, _)| key.line)
    };
    let is_open = |host: &str| matches!(host, "" | "0.0.0.0" | "[::]" | "::");
    if job.push.as_ref().is_some_and(|push| is_open(&push.http_listen_address)) {
        note(line_of("loki_push_api"), "loki_push_api", NoteKind::OpenToAll);
    }
    let is_open_at =
        |address: &str| address.rsplit_once(':').is_some_and(|(host, _)| is_open(host));
    let asks_who = |syslog: &Syslog| syslog.tls_ca.is_some();
    if job.syslog.as_ref().is_some_and(|s| is_open_at(&s.listen_address) && !asks_who(s)) {
        note(line_of("syslog"), "syslog", NoteKind::OpenToAll);
    }
    if job.gelf.as_ref().is_some_and(|gelf| is_open_at(&gelf.listen_address)) {
        note(line_of("gelf"), "gelf", NoteKind::OpenToAll);
    }
    let has_receiver =
        job.push.is_some() || job.syslog.is_some() || job.gelf.is_some() || job.journal.is_some();
    let has_discovery = !job.file_sd.is_empty() || !job.docker_sd.is_empty();
    if !has_receiver && !has_discovery && job.static_targets.is_empty() {
        note(node.line, &job.name, NoteKind::ReadsNothing);
    }
    let rules = node.get("relabel_configs").map(Node::items).unwrap_or_default();
    let is_made = rules.iter().any(|rule| rule.text_of("target_label") == Some("__path__"));
    let groups = node.get("static_configs").map(Node::items).unwrap_or_default();
    for (group, labels) in groups.iter().zip(&job.static_targets) {
        let reads_files = !has_receiver && job.docker_sd.is_empty();
        if reads_files && !is_made && !labels.contains_key("__path__") {
            note(group.line, "static_configs", NoteKind::NoPath);
        }
    }
}

fn job(node: &Node, dir: &Path) -> Result<Job, Placed> {
    let name = node.text_of("job_name").unwrap_or("");
    if name.is_empty() {
        return Err((node.line, "job_name is empty".to_owned()));
    }
    let items = |key: &str| node.get(key).map(Node::items).unwrap_or_default().iter();
    let stages = node.get("pipeline_stages").map_or(Ok(Vec::new()), stages::stages)?;
    Ok(Job {
        name: name.to_owned(),
        stages,
        relabel: relabel::rules(node, "relabel_configs")?,
        static_targets: items("static_configs").map(|group| texts(group.get("labels"))).collect(),
        file_sd: items("file_sd_configs").map(|sd| jobs::file_sd(sd, dir)).collect(),
        docker_sd: items("docker_sd_configs").map(jobs::docker_sd).collect::<Result<_, _>>()?,
        journal: node.get("journal").map(|journal| self::journal(journal, dir)).transpose()?,
        syslog: node.get("syslog").map(|syslog| self::syslog(syslog, dir)).transpose()?,
        gelf: node.get_or_null("gelf").map(gelf),
        push: node.get("loki_push_api").map(push).transpose()?,
        encoding: node.text_of("encoding").filter(|e| !e.is_empty()).map(str::to_owned),
        decompression: match node.get("decompression") {
            Some(d) if d.bool_of("enabled") == Some(true) => Some(decompression(d)?),
            _ => None,
        },
    })
}

/// Names and texts of a mapping.
fn texts(node: Option<&Node>) -> BTreeMap<String, String> {
    let entries = node.map(Node::entries).unwrap_or_default().iter();
    entries.map(|(k, v)| (k.name.clone(), v.text().unwrap_or("").to_owned())).collect()
}

/// A duration of Go at `key`.
fn duration_ns(node: &Node, key: &str) -> Result<Option<i64>, Placed> {
    let Some(value) = node.get(key) else { return Ok(None) };
    let text = value.text().unwrap_or("");
    let ns = model::go_duration_ns(text).ok().filter(|ns| *ns >= 0.0);
    let wrong = || (value.line, format!("{key} must be a duration such as 1h30m, not {text:?}"));
    ns.map(|ns| Some(ns as i64)).ok_or_else(wrong)
}

fn one_of(node: &Node, key: &str, default: &str, known: &[&str]) -> Result<String, Placed> {
    let text = node.text_of(key).filter(|t| !t.is_empty()).unwrap_or(default);
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    let known = known.join(", ");
    Err((jobs::line_of(node, key), format!("{key} must be one of {known}, not {text:?}")))
}

fn journal(node: &Node, dir: &Path) -> Result<Journal, Placed> {
    Ok(Journal {
        json: node.bool_of("json").unwrap_or(false),
        max_age_ns: duration_ns(node, "max_age")?.unwrap_or(7 * 3_600_000_000_000),
        path: node.text_of("path").filter(|p| !p.is_empty()).map(|path| dir.join(path)),
        matches: node.text_of("matches").filter(|m| !m.is_empty()).map(str::to_owned),
        labels: texts(node.get("labels")),
    })
}

fn syslog(node: &Node, dir: &Path) -> Result<Syslog, Placed> {
    let address = node.text_of("listen_address").unwrap_or("");
    if address.is_empty() {
        return Err((node.line, "syslog needs a listen_address".to_owned()));
    }
    let tls = node.get("tls_config").and_then(|tls| {
        Some((dir.join(tls.text_of("cert_file")?), dir.join(tls.text_of("key_file")?)))
    });
    Ok(Syslog {
        listen_address: address.to_owned(),
        listen_protocol: one_of(node, "listen_protocol", "tcp", &["tcp", "udp"])?,
        format: one_of(node, "syslog_format", "rfc5424", &["rfc5424", "rfc3164", "raw"])?,
        idle_timeout_ns: duration_ns(node, "idle_timeout")?.unwrap_or(120_000_000_000),
        label_structured_data: node.bool_of("label_structured_data").unwrap_or(false),
        use_incoming_timestamp: node.bool_of("use_incoming_timestamp").unwrap_or(false),
        use_rfc5424_message: node.bool_of("use_rfc5424_message").unwrap_or(false),
        max_message_bytes: node.number_of("max_message_length").filter(|n| *n > 0).unwrap_or(8192),
        tls,
        tls_ca: node
            .get("tls_config")
            .and_then(|tls| tls.text_of("ca_file"))
            .filter(|file| !file.is_empty())
            .map(|file| dir.join(file)),
        labels: texts(node.get("labels")),
    })
}

fn gelf(node: &Node) -> Gelf {
    let address = node.text_of("listen_address").filter(|address| !address.is_empty());
    Gelf {
        listen_address: address.unwrap_or(":12201").to_owned(),
        use_incoming_timestamp: node.bool_of("use_incoming_timestamp").unwrap_or(false),
        labels: texts(node.get("labels")),
    }
}

fn push(node: &Node) -> Result<Push, Placed> {
    let server = node.get("server");
    let port = server.and_then(|s| s.text_of("http_listen_port")).unwrap_or("0");
    let port =
        port.parse().map_err(|_| (node.line, format!("http_listen_port {port} is above 65535")))?;
    let address = server.and_then(|s| s.text_of("http_listen_address")).unwrap_or("");
    Ok(Push {
        http_listen_address: address.to_owned(),
        http_listen_port: port,
        use_incoming_timestamp: node.bool_of("use_incoming_timestamp").unwrap_or(false),
        labels: texts(node.get("labels")),
    })
}

fn decompression(node: &Node) -> Result<Decompression, Placed> {
    if node.text_of("format").is_none_or(str::is_empty) {
        return Err((node.line, "decompression needs a format: gz, bz2 or z".to_owned()));
    }
    Ok(Decompression {
        format: one_of(node, "format", "", &["gz", "bz2", "z"])?,
        initial_delay_ns: duration_ns(node, "initial_delay")?.unwrap_or(0),
    })
}

fn limits(node: &Node) -> Result<Limits, Placed> {
    let rate = (
        node.number_of("readline_rate").unwrap_or(10_000.0),
        node.number_of("readline_burst").unwrap_or(10_000),
        node.bool_of("readline_rate_drop").unwrap_or(true),
    );
    let enabled = node.bool_of("readline_rate_enabled").unwrap_or(false);
    Ok(Limits {
        max_line_bytes: bytes(node, "max_line_size")?.unwrap_or(0),
        max_line_size_truncate: node.bool_of("max_line_size_truncate").unwrap_or(false),
        readline: enabled.then_some(rate),
        max_streams: node.number_of("max_streams").unwrap_or(0),
    })
}

/// A number of bytes at `key`: `256KB`, in powers of 1024, or bare.
fn bytes(node: &Node, key: &str) -> Result<Option<u64>, Placed> {
    let Some(value) = node.get(key) else { return Ok(None) };
    let text = value.text().unwrap_or("").trim();
    let upper = text.to_ascii_uppercase().replace("IB", "B");
    let spelled = if upper.ends_with('B') { upper } else { format!("{upper}B") };
    let wrong = || (value.line, format!("{key} must be a size such as 256KB, not {text:?}"));
    schema::parse_size(&spelled).map(Some).ok_or_else(wrong)
}

/// Whether a text is a `promtail.yml`: it has scrape configs, and keys that Prometheus does not know.
pub fn looks_like_promtail(text: &str) -> bool {
    const KEYS: [&str; 6] =
        ["positions", "clients", "client", "target_config", "limits_config", "server"];
    const OF_JOBS: [&str; 11] = [
        "pipeline_stages",
        "journal",
        "syslog",
        "loki_push_api",
        "gelf",
        "windows_events",
        "kafka",
        "gcplog",
        "azure_event_hubs",
        "cloudflare",
        "heroku_drain",
    ];
    let Ok(root) = Node::parse(text) else {
        // What is no YAML yet is somebody's file all the same.
        let has_key = |key: &str| text.lines().any(|line| line.strip_prefix(key) == Some(":"));
        return has_key("positions") || has_key("clients");
    };
    let has = |node: &Node, keys: &[&str]| keys.iter().any(|key| node.get_or_null(key).is_some());
    let Some(jobs) = root.get_or_null("scrape_configs") else {
        return has(&root, &["positions", "clients"]);
    };
    let jobs = if let Value::List(jobs) = &jobs.value { jobs.as_slice() } else { &[] };
    has(&root, &KEYS) || jobs.iter().any(|job| has(job, &OF_JOBS))
}

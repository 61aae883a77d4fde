//! What the jobs of a `promtail.yml` read, and from where on.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use collect::file::{Encoding, FilePositions, Pattern, Positions, Target};
use collect::scrape::{DockerSd, matching_files, read_target_groups};
use ingest::relabel;
use model::LabelsBuilder;
use serde::Serialize;

use super::{Plan, Planned};
use crate::promtail_yml::{Job, Push};

/// Where symbolic links of log files may lead, beside the directories of their patterns: those of container logs do so.
const LINKS_LEAD_TO: [&str; 3] = ["/var/log", "/var/lib/docker/containers", "/var/lib/containers"];
/// Of a target that names none.
const ADDRESS: &str = "localhost";

/// What a job reads.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) job: String,
    /// Patterns, as the labels of the targets say.
    pub(super) files: Vec<String>,
    /// Other things that it reads.
    pub(super) others: Vec<String>,
    /// Targets left out, and why.
    pub(super) complaints: Vec<String>,
    /// Labels of the targets; with `files` they tell whether anything changed.
    labels: Vec<String>,
    #[serde(skip)]
    pub(super) targets: Vec<Target>,
}

/// Whether the same is read in the same way.
impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        let parts = |found: &Self| {
            let Self { files, others, complaints, labels, .. } = found;
            let texts = [files, others, complaints, labels].map(Clone::clone);
            (found.job.clone(), texts)
        };
        parts(self) == parts(other)
    }
}

/// How the files of a job are encoded.
///
/// # Errors
/// In words, when the name is not known.
pub(super) fn encoding(job: &Job) -> Result<Encoding, String> {
    let Some(name) = &job.encoding else { return Ok(Encoding::Utf8) };
    Encoding::by_name(name).ok_or_else(|| format!("unknown encoding {name:?}"))
}

/// Where Promtail stopped reading.
#[derive(Debug, Default)]
pub(super) struct ReadBefore {
    /// Bytes of files.
    files: Arc<FilePositions>,
    /// Cursors of journals by job.
    pub(super) journals: HashMap<String, String>,
    /// Times of the last lines of containers by id, Unix nanoseconds.
    pub(super) containers_ns: Arc<HashMap<String, i64>>,
}

impl ReadBefore {
    /// What the positions file says. Reads it.
    pub(super) fn of(plan: &Plan) -> Self {
        let Some(config) = &plan.config else { return Self::default() };
        // It is needed once; afterwards it may be deleted with the program it belonged to.
        let positions = match Positions::load(&config.positions) {
            Ok(positions) => positions,
            Err(error) => {
                tracing::debug!("positions are not taken over: {error}");
                return Self::default();
            }
        };
        // Cursors of containers are Unix seconds.
        let containers = positions.journals.iter().filter_map(|(id, cursor)| {
            let seconds: i64 = cursor.parse().ok()?;
            Some((id.clone(), seconds.checked_mul(1_000_000_000)?))
        });
        let containers_ns = Arc::new(containers.collect());
        Self { files: Arc::new(positions.files), journals: positions.journals, containers_ns }
    }
}

/// The discoveries of a job that ask the engine at `socket`, and what is wrong with the others.
pub(super) fn engines(job: &Job, socket: Option<&Path>) -> (Vec<DockerSd>, Vec<String>) {
    let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (mut same, mut complaints) = (Vec::new(), Vec::new());
    for discovery in &job.docker_sd {
        let host = &discovery.host;
        let is_same = |socket: &Path| {
            let path = host.strip_prefix("unix://").map(Path::new);
            path.is_some_and(|path| canonical(path) == canonical(socket))
        };
        match socket {
            Some(socket) if is_same(socket) => same.push(discovery.clone()),
            Some(socket) => complaints.push(format!(
                "containers of {host} are not read: only those of {} are, as containers.socket says",
                socket.display()
            )),
            None => complaints.push(format!(
                "containers of {host} are not read: containers.enabled is false"
            )),
        }
    }
    (same, complaints)
}

/// Where a target of `loki_push_api` listens.
///
/// # Errors
/// In words, when that cannot be.
pub(super) fn push_address(push: &Push) -> Result<SocketAddr, String> {
    let ip = match push.http_listen_address.as_str() {
        "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        text => text.parse().map_err(|_| {
            format!("http_listen_address {text:?} of loki_push_api is no IP address")
        })?,
    };
    if push.http_listen_port == 0 {
        return Err("loki_push_api needs a server.http_listen_port".to_owned());
    }
    Ok(SocketAddr::new(ip, push.http_listen_port))
}

/// Where a target of `kind`, `syslog` or `gelf`, listens: host and port as Go takes them.
///
/// # Errors
/// In words, when that cannot be.
pub(super) fn socket_address(kind: &str, text: &str) -> Result<SocketAddr, String> {
    let spelled = match text.rsplit_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    };
    let wrong = || format!("listen_address {text:?} of {kind} is no IP address with a port");
    spelled.parse().map_err(|_| wrong())
}

/// The targets of all jobs as they are now. Reads files.
pub(super) fn find(
    plan: &Plan,
    host_name: &str,
    engine: Option<&Path>,
    before: &ReadBefore,
) -> Vec<Found> {
    plan.jobs.iter().map(|planned| of_job(planned, host_name, engine, &before.files)).collect()
}

fn of_job(
    planned: &Planned,
    host_name: &str,
    engine: Option<&Path>,
    positions: &Arc<FilePositions>,
) -> Found {
    let job = &planned.job;
    let mut found = Found {
        job: job.name.clone(),
        files: Vec::new(),
        others: Vec::new(),
        complaints: Vec::new(),
        labels: Vec::new(),
        targets: Vec::new(),
    };
    if let Some(other) = job.decompression.as_ref().filter(|d| d.format != "gz") {
        found.complaints.push(format!("files compressed as {:?} are not read yet", other.format));
    }
    let (engines, mut complaints) = engines(job, engine);
    found.complaints.append(&mut complaints);
    found
        .others
        .extend(engines.iter().map(|discovery| format!("containers of {}", discovery.host)));
    if let Some(journal) = &job.journal {
        let path = journal.path.as_ref().map(|path| format!(" in {}", path.display()));
        found.others.push(format!("the journal{}", path.unwrap_or_default()));
    }
    let syslog = job.syslog.as_ref().map(|syslog| ("syslog", &syslog.listen_address));
    let gelf = job.gelf.as_ref().map(|gelf| ("gelf", &gelf.listen_address));
    for (kind, address) in syslog.into_iter().chain(gelf) {
        match socket_address(kind, address) {
            Ok(address) => found.others.push(format!("{kind} on {address}")),
            Err(complaint) => found.complaints.push(complaint),
        }
    }
    if let Some(push) = &job.push {
        match push_address(push) {
            Ok(address) => found.others.push(format!("pushes on {address}")),
            Err(complaint) => found.complaints.push(complaint),
        }
    }
    let discovered = discover(job, &mut found.complaints);
    // Static labels beside such a target are its own matter.
    let receives = job.syslog.is_some() || job.gelf.is_some() || job.push.is_some();
    let is_of_files = found.others.is_empty() && !receives;
    let is_discovering = !job.file_sd.is_empty() || !is_of_files;
    for labels in &discovered {
        let mut builder = LabelsBuilder::default();
        builder.set("__address__", ADDRESS);
        for (name, value) in labels {
            builder.set(name, value);
        }
        if !relabel::apply(&job.relabel, &mut builder) {
            continue;
        }
        let host = builder.get("__host__");
        if !host.is_empty() && host != host_name {
            continue;
        }
        match target(planned, builder, positions) {
            Ok(target) => {
                found.files.extend(target.paths.iter().map(|path| path.as_str().to_owned()));
                found.labels.push(target.labels.to_string());
                found.targets.push(target);
            }
            // As in Promtail, such a target may be meant for another kind of job.
            Err(None) if is_discovering => {}
            Err(None) => found.complaints.push("a target has no __path__".to_owned()),
            Err(Some(complaint)) => found.complaints.push(complaint),
        }
    }
    found
}

/// Label sets of static targets and of those that files list.
fn discover(job: &Job, complaints: &mut Vec<String>) -> Vec<BTreeMap<String, String>> {
    // Static configurations beside other kinds of targets hold labels of these.
    let mut all = job.static_targets.clone();
    let patterns = job.file_sd.iter().flat_map(|sd| &sd.files);
    for path in patterns.flat_map(|pattern| matching_files(pattern)) {
        let groups = match read_target_groups(&path) {
            Ok(groups) => groups,
            Err(error) => {
                complaints.push(error.message().to_owned());
                continue;
            }
        };
        for group in groups {
            let own: &[BTreeMap<String, String>] =
                if group.targets.is_empty() { &[BTreeMap::new()] } else { &group.targets };
            all.extend(own.iter().map(|own| {
                let mut labels = group.labels.clone();
                labels.extend(own.clone());
                labels
            }));
        }
    }
    all
}

/// A target of the tailer; `Err(None)` when the labels name no files.
fn target(
    planned: &Planned,
    mut labels: LabelsBuilder,
    positions: &Arc<FilePositions>,
) -> Result<Target, Option<String>> {
    let pattern = |name: &str| -> Result<Option<Pattern>, Option<String>> {
        let text = labels.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        let path = std::path::absolute(Path::new(text)).map_err(|e| Some(e.to_string()))?;
        let parsed = Pattern::parse(&path.to_string_lossy());
        parsed.map(Some).map_err(|error| Some(format!("{name}: {}", error.message())))
    };
    let path = pattern("__path__")?.ok_or(None)?;
    let exclude = pattern("__path_exclude__")?;
    labels.retain(|name| !name.starts_with("__"));
    let decompression = planned.job.decompression.as_ref();
    Ok(Target {
        name: format!("promtail/{}", planned.job.name),
        paths: vec![path],
        exclude: exclude.into_iter().collect(),
        labels: labels.build(),
        treatment: Arc::clone(&planned.treatment),
        encoding: planned.encoding,
        start_at_end: false,
        unpacks: decompression.is_some_and(|d| d.format == "gz"),
        follow: LINKS_LEAD_TO.iter().map(PathBuf::from).collect(),
        positions: Arc::clone(positions),
    })
}

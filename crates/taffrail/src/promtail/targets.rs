//! Which files the jobs of a `promtail.yml` read.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use collect::file::{Encoding, Pattern, Positions, Target};
use collect::scrape::{matching_files, read_target_groups};
use ingest::relabel;
use model::LabelsBuilder;
use serde::Serialize;

use super::{Plan, Planned};
use crate::promtail_yml::Job;

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
            let texts = [&found.files, &found.complaints, &found.labels].map(Clone::clone);
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

/// The targets of all jobs as they are now. Reads files.
pub(super) fn find(plan: &Plan, host_name: &str) -> Vec<Found> {
    let Some(config) = &plan.config else { return Vec::new() };
    // It is needed once; afterwards it may be deleted with the program it belonged to.
    let positions = match Positions::load(&config.positions) {
        Ok(positions) => positions,
        Err(error) => {
            tracing::debug!("positions are not taken over: {error}");
            Positions::default()
        }
    };
    let files = Arc::new(positions.files);
    plan.jobs.iter().map(|planned| of_job(planned, host_name, &files)).collect()
}

fn of_job(planned: &Planned, host_name: &str, positions: &Arc<HashMap<PathBuf, u64>>) -> Found {
    let job = &planned.job;
    let mut found = Found {
        job: job.name.clone(),
        files: Vec::new(),
        complaints: Vec::new(),
        labels: Vec::new(),
        targets: Vec::new(),
    };
    if let Some(other) = job.decompression.as_ref().filter(|d| d.format != "gz") {
        found.complaints.push(format!("files compressed as {:?} are not read yet", other.format));
    }
    let discovered = discover(job, &mut found.complaints);
    let is_discovering = !job.file_sd.is_empty();
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
    positions: &Arc<HashMap<PathBuf, u64>>,
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

//! `file_sd_configs`: target groups from JSON and YAML files.
//!
//! Files are looked at every few seconds and read when their time or size changes, and at each refresh interval. A file
//! that cannot be read or understood keeps the groups it had and is complained about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use model::{Clock, Error, ErrorKind, Result};
use regex::Regex;
use serde::Deserialize;

use super::config::{FileSd, TargetGroup};

/// Bytes of one file of targets.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Changes when a file does.
type Stamp = (Option<SystemTime>, u64);

#[derive(Debug)]
struct Known {
    stamp: Option<Stamp>,
    groups: Vec<TargetGroup>,
    complaint: Option<String>,
}

/// The files of one `file_sd_config`.
#[derive(Debug)]
pub(super) struct Files {
    config: FileSd,
    clock: Arc<dyn Clock>,
    known: BTreeMap<PathBuf, Known>,
    read_all_ns: Option<i64>,
}

impl Files {
    pub(super) fn new(config: FileSd, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, known: BTreeMap::new(), read_all_ns: None }
    }

    /// Looks at the files; whether groups or complaints are others than before. True at the first call. Blocks.
    pub(super) fn refresh(&mut self) -> bool {
        let now_ns = self.clock.monotonic_ns();
        let interval_ns = i64::try_from(self.config.refresh_interval_ms)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000);
        let first = self.read_all_ns.is_none();
        let all = self.read_all_ns.is_none_or(|t| now_ns - t >= interval_ns);
        if all {
            self.read_all_ns = Some(now_ns);
        }
        let paths: Vec<PathBuf> =
            self.config.files.iter().flat_map(|pattern| matching_files(pattern)).collect();
        let before = self.known.len();
        self.known.retain(|path, _| paths.contains(path));
        let mut changed = first || self.known.len() != before;
        for path in paths {
            let stamp = std::fs::metadata(&path).ok().map(|m| (m.modified().ok(), m.len()));
            if !all && self.known.get(&path).is_some_and(|known| known.stamp == stamp) {
                continue;
            }
            changed |= self.read(path, stamp);
        }
        changed
    }

    fn read(&mut self, path: PathBuf, stamp: Option<Stamp>) -> bool {
        let known = self.known.entry(path.clone()).or_insert_with(|| Known {
            stamp: None,
            groups: Vec::new(),
            complaint: None,
        });
        known.stamp = stamp;
        match read_target_groups(&path) {
            Ok(groups) => {
                let changed = known.groups != groups || known.complaint.is_some();
                (known.groups, known.complaint) = (groups, None);
                changed
            }
            Err(e) => {
                let complaint = Some(e.message().to_owned());
                let changed = known.complaint != complaint;
                known.complaint = complaint;
                changed
            }
        }
    }

    pub(super) fn groups(&self) -> Vec<TargetGroup> {
        self.known.values().flat_map(|known| known.groups.iter().cloned()).collect()
    }

    pub(super) fn complaint(&self) -> Option<String> {
        let complaints: Vec<&str> =
            self.known.values().filter_map(|k| k.complaint.as_deref()).collect();
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }
}

/// Existing files that `pattern` stands for, sorted. Only its last element may hold `*`, `?` and `[…]`. Reads the folder.
pub fn matching_files(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.contains(['*', '?', '[']) {
        return if pattern.exists() { vec![pattern.to_owned()] } else { Vec::new() };
    }
    let Some(regex) = glob(&name) else { return Vec::new() };
    let dir = match pattern.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| regex.is_match(&entry.file_name().to_string_lossy()))
        .map(|entry| pattern.with_file_name(entry.file_name()))
        .collect();
    files.sort();
    files
}

/// `*`, `?` and `[…]` as a regular expression.
fn glob(pattern: &str) -> Option<Regex> {
    let mut text = String::from("^(?s:");
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => text.push_str(".*"),
            '?' => text.push('.'),
            '[' => {
                text.push('[');
                let class: String = chars.by_ref().take_while(|c| *c != ']').collect();
                text.push_str(&class.replace('\\', "\\\\").replace('[', "\\[").replacen(
                    '!',
                    "^",
                    usize::from(class.starts_with('!')),
                ));
                text.push(']');
            }
            c => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    text.push_str(")$");
    Regex::new(&text).ok()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    #[serde(default)]
    targets: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// Reads one file of target groups (`.json`, `.yml`, `.yaml`), adding `__meta_filepath`.
///
/// # Errors
/// When the file cannot be read, is over 16 MiB, has another extension, or is not a list of `targets` and `labels`.
pub fn read_target_groups(path: &Path) -> Result<Vec<TargetGroup>> {
    let place = path.display();
    let bytes =
        std::fs::metadata(path).map_err(|e| Error::io(format!("read {place}: {e}"), e))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("{place} has {bytes} bytes; the limit is {FILE_BYTES_MAX}"),
        ));
    }
    let text =
        std::fs::read_to_string(path).map_err(|e| Error::io(format!("read {place}: {e}"), e))?;
    groups(path, &text)
}

/// The groups in the text of a file.
pub(super) fn groups(path: &Path, text: &str) -> Result<Vec<TargetGroup>> {
    let place = path.display();
    let extension =
        path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let invalid =
        |e: String| Error::invalid(format!("{place}: {}", e.lines().next().unwrap_or("")));
    let raw: Option<Vec<Option<RawGroup>>> = match extension.as_str() {
        "json" => serde_json::from_str(text).map_err(|e| invalid(e.to_string()))?,
        "yml" | "yaml" => serde_saphyr::from_str(text).map_err(|e| invalid(e.to_string()))?,
        _ => return Err(Error::invalid(format!("{place} ends in none of .json, .yml, .yaml"))),
    };
    raw.unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(i, group)| {
            let group = group
                .ok_or_else(|| Error::invalid(format!("{place}: group {} is empty", i + 1)))?;
            let mut labels = group.labels.unwrap_or_default();
            labels.insert("__meta_filepath".to_owned(), place.to_string());
            Ok(TargetGroup::of_addresses(
                format!("{place}:{i}"),
                group.targets.unwrap_or_default(),
                labels,
            ))
        })
        .collect()
}

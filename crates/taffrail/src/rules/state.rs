//! What groups remember, on disk: one small file for each group that has alerts, replaced in one step when an alert comes,
//! goes or moves on.
//!
//! Format: `docs/format/rules.md`. A file that is damaged or cannot be read costs the alerts in it their times, which
//! are then restored from their series; it is set aside.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alert::evaluate::{Alert, State};
use alert::group::Remembered;
use alert::schedule::group_hash;
use model::{Error, Labels, Result};
use serde::{Deserialize, Serialize};
use storage::fs::{self, Fs};
use twox_hash::XxHash64;

const SUFFIX: &str = ".alerts";
const HEAD: &str = "taffrail-alerts 1";
/// Of groups that are not there, files stay for so long: rule files may come back.
const KEPT_MS: i64 = 7 * 86_400_000;

/// The files.
#[derive(Debug)]
pub(crate) struct StateFiles {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
}

/// What was written down of a group.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    file: String,
    group: String,
    pub(crate) rules: Vec<Remembered>,
}

impl Saved {
    pub(crate) fn is_of(&self, file: &str, group: &str) -> bool {
        self.file == file && self.group == group
    }
}

#[derive(Serialize, Deserialize)]
struct FileForm {
    file: String,
    group: String,
    saved_ms: i64,
    rules: Vec<RuleForm>,
}

#[derive(Serialize, Deserialize)]
struct RuleForm {
    name: String,
    labels: BTreeMap<String, String>,
    alerts: Vec<AlertForm>,
}

#[derive(Serialize, Deserialize)]
struct AlertForm {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// The 64 bits of the number: JSON has neither NaN nor infinities.
    value: u64,
    state: StateForm,
    active_ms: i64,
    fired_ms: Option<i64>,
    resolved_ms: Option<i64>,
    keep_firing_since_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateForm {
    Inactive,
    Pending,
    Firing,
}

impl StateFiles {
    /// Files below `data_dir`; the directory appears with the first of them.
    pub(crate) fn new(fs: Arc<dyn Fs>, data_dir: &Path) -> Self {
        Self { fs, dir: data_dir.join("rules") }
    }

    fn path(&self, file: &str, group: &str) -> PathBuf {
        self.dir.join(format!("{:016x}{SUFFIX}", group_hash(file, group)))
    }

    /// Everything that was written down. Files of groups that are not `known` (file and name) are removed when they are
    /// old, damaged ones set aside. What goes wrong is logged: a start goes on without.
    pub(crate) fn load(&self, known: &[(&str, &str)], now_ms: i64) -> Vec<Saved> {
        self.list().unwrap_or_else(|error| {
            tracing::warn!(%error, "what alerts were is not read; their series tell of them");
            Vec::new()
        })
        .into_iter()
        .filter_map(|path| match self.read(&path) {
            Ok(form) => {
                let is_known = known.contains(&(form.file.as_str(), form.group.as_str()));
                if !is_known && now_ms.saturating_sub(form.saved_ms) > KEPT_MS {
                    self.remove(&form.file, &form.group);
                    return None;
                }
                Some(form.into_saved())
            }
            Err(error) => {
                tracing::warn!(%error, "a file of alerts is set aside; their series tell of them");
                let aside = path.with_extension("corrupt");
                if let Err(error) = self.fs.rename(&path, &aside) {
                    tracing::warn!(%error, file = %path.display(), "cannot set a file aside");
                }
                None
            }
        })
        .collect()
    }

    fn list(&self) -> Result<Vec<PathBuf>> {
        let failed = |e| fs::error(format!("list {}", self.dir.display()), e);
        if !self.fs.exists(&self.dir).map_err(failed)? {
            return Ok(Vec::new());
        }
        let mut paths = Vec::new();
        for entry in self.fs.list(&self.dir).map_err(failed)? {
            let path = self.dir.join(&entry.name);
            if entry.name.ends_with(SUFFIX) {
                paths.push(path);
            } else if entry.name.ends_with(".tmp") {
                // A crash came before the rename; the group's file is whole.
                self.fs.remove(&path).map_err(failed)?;
            }
        }
        Ok(paths)
    }

    fn read(&self, path: &Path) -> Result<FileForm> {
        let bytes =
            self.fs.read(path).map_err(|e| fs::error(format!("read {}", path.display()), e))?;
        decode(&bytes).map_err(|why| Error::corrupt(format!("{}: {why}", path.display())))
    }

    /// Replaces what is written down of a group; nothing is left of one without alerts.
    ///
    /// # Errors
    /// When it cannot be written; what was there before stays.
    pub(crate) fn save(
        &self,
        file: &str,
        group: &str,
        rules: Vec<Remembered>,
        now_ms: i64,
    ) -> Result<()> {
        if rules.is_empty() {
            self.remove(file, group);
            return Ok(());
        }
        let form = FileForm {
            file: file.to_owned(),
            group: group.to_owned(),
            saved_ms: now_ms,
            rules: rules.into_iter().map(RuleForm::of).collect(),
        };
        let path = self.path(file, group);
        let content = encode(&form)?;
        let written = (|| {
            if !self.fs.exists(&self.dir)? {
                self.fs.create_dir_all(&self.dir)?;
                self.fs.sync_dir(self.dir.parent().unwrap_or(&self.dir))?;
            }
            let fresh = path.with_extension("tmp");
            let mut file = self.fs.create(&fresh)?;
            file.write_all(&content)?;
            // The content must be on disk before the name points to it.
            file.sync_data()?;
            self.fs.rename(&fresh, &path)?;
            self.fs.sync_dir(&self.dir)
        })();
        written.map_err(|e| fs::error(format!("write {}", path.display()), e))
    }

    /// Removes what is written down of a group. One that stays tells of alerts that are over, which costs nothing but a
    /// late notice of it.
    pub(crate) fn remove(&self, file: &str, group: &str) {
        let path = self.path(file, group);
        match self.fs.remove(&path).and_then(|()| self.fs.sync_dir(&self.dir)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(error = %e, file = %path.display(), "cannot remove a file of alerts");
            }
            _ => {}
        }
    }
}

fn checksum(json: &[u8]) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(json);
    hasher.finish()
}

fn encode(form: &FileForm) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(form)
        .map_err(|e| Error::invalid(format!("cannot write alerts as JSON: {e}")))?;
    let mut content = format!("{HEAD} {:016x}\n", checksum(&json)).into_bytes();
    content.extend(json);
    content.push(b'\n');
    Ok(content)
}

/// What [`encode`] wrote.
fn decode(bytes: &[u8]) -> std::result::Result<FileForm, String> {
    let end = bytes.iter().position(|b| *b == b'\n').ok_or("it has no first line")?;
    let (head, json) = bytes.split_at(end);
    let head = std::str::from_utf8(head).map_err(|_| "its first line is no text")?;
    let sum = head
        .strip_prefix(HEAD)
        .ok_or_else(|| format!("it begins with {head:.40?}; this version reads {HEAD:?}"))?;
    let json = json.trim_ascii();
    if u64::from_str_radix(sum.trim(), 16) != Ok(checksum(json)) {
        return Err("its checksum is not that of its content".to_owned());
    }
    serde_json::from_slice(json).map_err(|e| e.to_string())
}

impl FileForm {
    fn into_saved(self) -> Saved {
        let rules = self.rules.into_iter().map(RuleForm::into_remembered).collect();
        Saved { file: self.file, group: self.group, rules }
    }
}

impl RuleForm {
    fn of(rule: Remembered) -> Self {
        let alerts = rule.alerts.into_iter().map(AlertForm::of).collect();
        Self { name: rule.name, labels: rule.labels, alerts }
    }

    fn into_remembered(self) -> Remembered {
        let alerts = self.alerts.into_iter().map(AlertForm::into_alert).collect();
        Remembered { name: self.name, labels: self.labels, alerts }
    }
}

impl AlertForm {
    fn of(alert: Alert) -> Self {
        Self {
            labels: alert.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            annotations: alert.annotations,
            value: alert.value.to_bits(),
            state: match alert.state {
                State::Inactive => StateForm::Inactive,
                State::Pending => StateForm::Pending,
                State::Firing => StateForm::Firing,
            },
            active_ms: alert.active_ms,
            fired_ms: alert.fired_ms,
            resolved_ms: alert.resolved_ms,
            keep_firing_since_ms: alert.keep_firing_since_ms,
        }
    }

    fn into_alert(self) -> Alert {
        let labels = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        Alert {
            labels: Labels::from_pairs(labels),
            annotations: self.annotations,
            value: f64::from_bits(self.value),
            state: match self.state {
                StateForm::Inactive => State::Inactive,
                StateForm::Pending => State::Pending,
                StateForm::Firing => State::Firing,
            },
            active_ms: self.active_ms,
            fired_ms: self.fired_ms,
            resolved_ms: self.resolved_ms,
            keep_firing_since_ms: self.keep_firing_since_ms,
            // All are sent again: who was told before takes it for the same.
            sent_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::fs::FaultyFs;

    use super::*;

    fn remembered(value: f64) -> Vec<Remembered> {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", "A"), ("x", "é\"")]),
            annotations: BTreeMap::from([("text".to_owned(), String::new())]),
            value,
            state: State::Firing,
            active_ms: 1,
            fired_ms: Some(2),
            resolved_ms: None,
            keep_firing_since_ms: Some(3),
            sent_ms: None,
        };
        let labels = BTreeMap::from([("team".to_owned(), "{{ $labels.x }}".to_owned())]);
        vec![Remembered { name: "A".to_owned(), labels, alerts: vec![alert] }]
    }

    #[test]
    fn what_was_saved_survives_a_crash_and_nothing_is_half() {
        for seed in 0..200 {
            let fs = FaultyFs::new();
            let shared: Arc<dyn Fs> = Arc::new(fs.clone());
            shared.create_dir_all(Path::new("/data")).unwrap();
            shared.sync_dir(Path::new("/")).unwrap();
            let files = StateFiles::new(shared.clone(), Path::new("/data"));
            files.save("f", "a", remembered(1.0), 0).unwrap();
            files.save("f", "b", remembered(2.0), 0).unwrap();
            files.save("f", "a", remembered(f64::INFINITY), 0).unwrap();
            files.save("f", "b", Vec::new(), 0).unwrap();
            let mut torn = shared.create(&files.path("f", "a").with_extension("tmp")).unwrap();
            torn.write_all(b"taff").unwrap();
            drop(torn);
            fs.crash(seed);
            let kept = StateFiles::new(shared, Path::new("/data")).load(&[("f", "a")], 0);
            let [saved] = kept.as_slice() else { panic!("seed {seed}: {kept:?}") };
            assert!(saved.is_of("f", "a"), "seed {seed}");
            assert_eq!(saved.rules, remembered(f64::INFINITY), "seed {seed}");
        }
    }

    #[test]
    fn damage_is_known_and_old_files_of_nobody_go() {
        let fs = FaultyFs::new();
        let files = StateFiles::new(Arc::new(fs.clone()), Path::new("/data"));
        files.save("f", "a", remembered(1.0), 0).unwrap();
        files.save("f", "b", remembered(1.0), 0).unwrap();
        assert_eq!(files.load(&[("f", "a")], KEPT_MS).len(), 2);
        assert_eq!(files.load(&[("f", "a")], KEPT_MS + 1).len(), 1);
        let good = encode(&files.read(&files.path("f", "a")).unwrap()).unwrap();
        for byte in 0..good.len() - 1 {
            let mut bad = good.clone();
            bad[byte] ^= 1;
            assert!(decode(&bad).is_err(), "byte {byte}");
            assert!(decode(good.get(..byte).unwrap_or_default()).is_err());
        }
        fs.create(&files.path("f", "a")).unwrap().write_all(&good[..good.len() / 2]).unwrap();
        assert!(files.load(&[], 0).is_empty());
        assert!(fs.exists(&files.path("f", "a").with_extension("corrupt")).unwrap());
    }
}

//! From the files that configuration names to the groups that are evaluated.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alert::rule::Group;
use alert::sink::PostableAlert;
use collect::scrape::matching_files;
use ingest::relabel;
use model::Labels;

use crate::config::Config;
use crate::prometheus_yml::PrometheusConfig;
use crate::rule_yml;
use crate::yaml::ConfigError;

/// Groups and what they have in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct RuleSet {
    pub(crate) groups: Vec<Arc<Group>>,
    /// Of groups that name none.
    pub(crate) interval_ms: u64,
    /// Likewise.
    pub(crate) query_offset_ms: u64,
    /// For templates, and added to alerts that leave.
    pub(crate) external_labels: Labels,
    /// Under which users reach this program; without a slash at its end.
    pub(crate) external_url: String,
    /// Applied to alerts that leave, after external labels are added.
    pub(crate) alert_relabel: Vec<relabel::Rule>,
}

impl RuleSet {
    /// Gives an alert its external labels and relabels it; false when it stays here.
    pub(crate) fn leaves(&self, alert: &mut PostableAlert) -> bool {
        if self.external_labels.is_empty() && self.alert_relabel.is_empty() {
            return true;
        }
        let mut labels = alert.labels.to_builder();
        for (name, value) in self.external_labels.iter() {
            if labels.get(name).is_empty() {
                labels.set(name, value);
            }
        }
        if !relabel::apply(&self.alert_relabel, &mut labels) {
            return false;
        }
        alert.labels = labels.build();
        true
    }
}

/// Rule files that exist now, each once: those that `prometheus.yml` names, then those of `rules`.
pub(crate) fn files(config: &Config, prometheus: &PrometheusConfig) -> Vec<PathBuf> {
    let dir_of = |file: &Option<PathBuf>| {
        file.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned()
    };
    let named = [
        (dir_of(&config.prometheus), &prometheus.rule_files),
        (dir_of(&config.path), &config.rules),
    ];
    let mut files: Vec<PathBuf> = Vec::new();
    for (dir, patterns) in named {
        for file in patterns.iter().flat_map(|pattern| matching_files(&dir.join(pattern))) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    files
}

/// The rules that come with the program.
const DEFAULT_RULES: &str = include_str!("../../../../packs/base/rules.yml");
/// What stands as their file.
const DEFAULT_FILE: &str = "taffrail";

/// The groups of one rule file.
///
/// # Errors
/// All mistakes in it, each with its place.
pub(crate) fn read(file: &Path) -> Result<Vec<Group>, Vec<ConfigError>> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| vec![ConfigError::whole_file(file, format!("cannot read: {e}"))])?;
    rule_yml::load(file, &text, false)
}

/// Reads all rule files. `address` is where this program is reached unless configuration says otherwise.
///
/// # Errors
/// All mistakes of all files, each with its place.
pub(crate) fn load(
    config: &Config,
    prometheus: &PrometheusConfig,
    address: &str,
) -> Result<RuleSet, ConfigError> {
    let (mut groups, mut mistakes) = (Vec::new(), Vec::new());
    let default =
        config.default_rules.then(|| rule_yml::load(Path::new(DEFAULT_FILE), DEFAULT_RULES, false));
    let files = files(config, prometheus);
    for read in default.into_iter().chain(files.iter().map(|file| read(file))) {
        match read {
            Ok(found) => groups.extend(found.into_iter().map(Arc::new)),
            Err(found) => mistakes.extend(found.iter().map(ToString::to_string)),
        }
    }
    if !mistakes.is_empty() {
        return Err(ConfigError::placed(&mistakes.join("\n")));
    }
    let labels = prometheus.external_labels.iter();
    Ok(RuleSet {
        groups,
        interval_ms: prometheus.evaluation_interval_ms.max(1),
        query_offset_ms: prometheus.rule_query_offset_ms,
        external_labels: Labels::from_pairs(labels.map(|(n, v)| (n.as_str(), v.as_str()))),
        external_url: config.external_url.clone().unwrap_or_else(|| format!("http://{address}")),
        alert_relabel: prometheus.alert_relabel.clone(),
    })
}

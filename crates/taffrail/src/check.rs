//! `taffrail check`: reads configuration files as a start would, and reports the first mistake of each file and every
//! key that has no effect here.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;

use crate::cli::{CheckArgs, Output};
use crate::config::{self, Overrides};
use crate::yaml::ConfigError;
use crate::{prometheus_yml, promtail, promtail_yml};

/// What was found in one file.
#[derive(Serialize)]
struct Report {
    file: String,
    kind: &'static str,
    error: Option<String>,
    notes: Vec<String>,
    summary: String,
}

/// Runs `taffrail check`; the exit code is 2 when any file is wrong.
///
/// # Errors
/// When the answer cannot be printed.
pub fn check(
    args: &CheckArgs,
    env: &dyn Fn(&str) -> Option<String>,
    out: &mut impl Write,
) -> Result<u8> {
    let reports: Vec<Report> = args.files.iter().map(|file| report(file, env)).collect();
    if args.output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&reports)?)?;
    } else {
        for report in &reports {
            match &report.error {
                Some(error) => writeln!(out, "FAILED   {error}")?,
                None => {
                    writeln!(out, "SUCCESS  {} ({}): {}", report.file, report.kind, report.summary)?
                }
            }
            for note in &report.notes {
                writeln!(out, "  note: {note}")?;
            }
        }
    }
    Ok(if reports.iter().any(|r| r.error.is_some()) { 2 } else { 0 })
}

fn report(file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Report {
    let text = std::fs::read_to_string(file);
    let kind = match &text {
        Ok(text) if promtail_yml::looks_like_promtail(text) => "promtail",
        Ok(text) if looks_like_prometheus(text) => "prometheus",
        _ => "taffrail",
    };
    let outcome = match text {
        Err(error) => Err(ConfigError::whole_file(file, format!("cannot read: {error}"))),
        Ok(text) if kind == "promtail" => promtail_file(file, &text, env),
        Ok(text) if kind == "prometheus" => prometheus(file, &text, env),
        Ok(_) => taffrail(file, env),
    };
    let (error, (summary, notes)) = match outcome {
        Ok(found) => (None, found),
        Err(mistake) => (Some(mistake.to_string()), Default::default()),
    };
    Report { file: file.display().to_string(), kind, error, notes, summary }
}

/// `1 job`, `2 jobs`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A `prometheus.yml` is recognised by the keys that only it has, at the start of a line.
fn looks_like_prometheus(text: &str) -> bool {
    const KEYS: [&str; 11] = [
        "global:",
        "scrape_configs:",
        "rule_files:",
        "alerting:",
        "remote_write:",
        "remote_read:",
        "scrape_config_files:",
        "storage:",
        "otlp:",
        "tracing:",
        "runtime:",
    ];
    text.lines().any(|line| KEYS.iter().any(|key| line.starts_with(key)))
}

fn prometheus(
    file: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, Vec<String>), ConfigError> {
    let (config, notes) = prometheus_yml::load(file, text, env)?;
    Ok((counted(config.jobs.len(), "scrape job"), notes.iter().map(ToString::to_string).collect()))
}

fn promtail_file(
    file: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, Vec<String>), ConfigError> {
    let (config, notes) = promtail_yml::load(file, text, env)?;
    let (jobs, stages) = (config.jobs.len(), config.jobs.iter().map(|job| job.stages.len()));
    let stages: usize = stages.sum();
    promtail::plan(file, config, &Arc::default())?;
    Ok((
        format!("{} with {}", counted(jobs, "scrape job"), counted(stages, "stage")),
        notes.iter().map(ToString::to_string).collect(),
    ))
}

/// Also reads the `prometheus.yml` and the `promtail.yml` it points at.
fn taffrail(
    file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, Vec<String>), ConfigError> {
    let overrides = Overrides { config: Some(file.to_owned()), ..Overrides::default() };
    let config = config::load(&overrides, env)?;
    let mut notes = Vec::new();
    let says_nothing = |text: String| {
        text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    };
    if std::fs::read_to_string(file).is_ok_and(says_nothing) {
        notes.push(format!(
            "{}: the file says nothing: as without one, the host and its containers are watched and nothing else",
            file.display()
        ));
    }
    if let Some(path) = &config.prometheus {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::whole_file(path, format!("cannot read: {e}")))?;
        let (summary, more) = prometheus(path, &text, env)?;
        notes.push(format!("{}: {summary}", path.display()));
        notes.extend(more);
    }
    if let Some(path) = &config.promtail {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::whole_file(path, format!("cannot read: {e}")))?;
        let (summary, more) = promtail_file(path, &text, env)?;
        notes.push(format!("{}: {summary}", path.display()));
        notes.extend(more);
    }
    Ok((format!("listens on {}, data in {}", config.listen, config.data_dir.display()), notes))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_is_known_by_its_keys() {
        for (text, prometheus) in [
            ("otlp: {translation_strategy: NoTranslation}\n", true),
            ("# c\nstorage:\n  exemplars: {max_exemplars: 5}\n", true),
            ("data_dir: x\nserver:\n  storage: 1\n", false),
            ("", false),
        ] {
            assert_eq!(super::looks_like_prometheus(text), prometheus, "{text}");
        }
    }
}

//! `taffrail check`: reads configuration files as a start would, and reports the first mistake of each file, of an
//! `alertmanager.yml` and of rule files all of them, and every key that has no effect here.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use alert::matcher::Syntax;
use anyhow::Result;
use collect::scrape::matching_files;
use serde::Serialize;

use crate::cli::{CheckArgs, Feature, Output};
use crate::config::{self, Overrides};
use crate::yaml::ConfigError;
use crate::{alertmanager_yml, prometheus_yml, promtail, promtail_yml, rules};

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
    let syntax = match args.enable_feature {
        None => Syntax::Fallback,
        Some(Feature::ClassicMode) => Syntax::Classic,
        Some(Feature::Utf8StrictMode) => Syntax::Utf8,
    };
    let options = alertmanager_yml::Options { strict: args.strict, syntax };
    let reports: Vec<Report> = args.files.iter().map(|file| report(file, options, env)).collect();
    if args.output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&reports)?)?;
    } else {
        for report in &reports {
            match &report.error {
                // Of several mistakes each has its line.
                Some(error) => writeln!(out, "FAILED   {}", error.replace('\n', "\n         "))?,
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

fn report(
    file: &Path,
    options: alertmanager_yml::Options,
    env: &dyn Fn(&str) -> Option<String>,
) -> Report {
    let text = std::fs::read_to_string(file);
    let kind = match &text {
        Ok(text) if alertmanager_yml::looks_like_alertmanager(text) => "alertmanager",
        Ok(text) if promtail_yml::looks_like_promtail(text) => "promtail",
        Ok(text) if looks_like_prometheus(text) => "prometheus",
        Ok(text) if looks_like_rules(text) => "rules",
        _ => "taffrail",
    };
    let one = |mistake| vec![mistake];
    let outcome = match text {
        Err(error) => Err(one(ConfigError::whole_file(file, format!("cannot read: {error}")))),
        Ok(text) if kind == "alertmanager" => alertmanager(file, &text, options, env),
        Ok(text) if kind == "promtail" => promtail_file(file, &text, env).map_err(one),
        Ok(text) if kind == "prometheus" => prometheus(file, &text, env),
        Ok(_) if kind == "rules" => rule_file(file).map(|summary| (summary, Vec::new())),
        Ok(_) => taffrail(file, options, env),
    };
    let (error, (summary, notes)) = match outcome {
        Ok(found) => (None, found),
        Err(mistakes) => {
            let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            (Some(mistakes.join("\n")), Default::default())
        }
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

/// A file of rules, or an object of Kubernetes with rules in it.
fn looks_like_rules(text: &str) -> bool {
    let begins = |line: &str| {
        line.starts_with("groups:") || line.trim_end().trim_matches('"') == "kind: PrometheusRule"
    };
    text.lines().any(begins)
}

/// Also reads the rule files it names.
fn prometheus(
    file: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, Vec<String>), Vec<ConfigError>> {
    let (config, notes) = prometheus_yml::load(file, text, env).map_err(|mistake| vec![mistake])?;
    let mut notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    rule_files(file, &config.rule_files, &mut notes)?;
    Ok((counted(config.jobs.len(), "scrape job"), notes))
}

/// Reads the rule files that `patterns` of `file` name.
fn rule_files(
    file: &Path,
    patterns: &[String],
    notes: &mut Vec<String>,
) -> Result<(), Vec<ConfigError>> {
    let dir = file.parent().unwrap_or(Path::new(""));
    let mut mistakes = Vec::new();
    for pattern in patterns {
        let found = matching_files(&dir.join(pattern));
        if found.is_empty() {
            notes.push(format!("{}: no rule file is called {pattern:?}", file.display()));
        }
        for path in found {
            match rule_file(&path) {
                Ok(summary) => notes.push(format!("{}: {summary}", path.display())),
                Err(more) => mistakes.extend(more),
            }
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

fn rule_file(path: &Path) -> Result<String, Vec<ConfigError>> {
    let groups = rules::read(path)?;
    let count = groups.iter().map(|group| group.rules.len()).sum();
    Ok(format!("{} with {}", counted(groups.len(), "group"), counted(count, "rule")))
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

/// Also reads the template files that it names.
fn alertmanager(
    file: &Path,
    text: &str,
    options: alertmanager_yml::Options,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, Vec<String>), Vec<ConfigError>> {
    let loaded = alertmanager_yml::load(file, text, options, env)?;
    let config = loaded.config;
    alertmanager_yml::templates(&config)?;
    let integrations: usize = config.receivers.iter().map(|r| r.integrations.len()).sum();
    let mut summary = format!(
        "{}, {} with {}, {}, {}",
        counted(config.route.walk().len(), "route"),
        counted(config.receivers.len(), "receiver"),
        counted(integrations, "integration"),
        counted(config.inhibit_rules.len(), "inhibition rule"),
        counted(config.time_intervals.len(), "time interval"),
    );
    if !loaded.switched_off.is_empty() {
        let off = counted(loaded.switched_off.len(), "integration");
        summary.push_str(&format!("; {off} switched off"));
    }
    let mut notes: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    for pattern in alertmanager_yml::missing_templates(&config) {
        notes.push(format!("{}: templates: no file matches {pattern}", file.display()));
    }
    Ok((summary, notes))
}

/// Also reads the `prometheus.yml`, the `promtail.yml` and the `alertmanager.yml` it points at.
fn taffrail(
    file: &Path,
    options: alertmanager_yml::Options,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, Vec<String>), Vec<ConfigError>> {
    let one = |mistake| vec![mistake];
    let overrides = Overrides { config: Some(file.to_owned()), ..Overrides::default() };
    let config = config::load(&overrides, env).map_err(one)?;
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
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|e| one(ConfigError::whole_file(path, format!("cannot read: {e}"))))
    };
    let mut add = |path: &Path, (summary, more): (String, Vec<String>)| {
        notes.push(format!("{}: {summary}", path.display()));
        notes.extend(more);
    };
    if let Some(path) = &config.prometheus {
        add(path, prometheus(path, &read(path)?, env)?);
    }
    if let Some(path) = &config.promtail {
        add(path, promtail_file(path, &read(path)?, env).map_err(one)?);
    }
    if let Some(path) = &config.alertmanager {
        add(path, alertmanager(path, &read(path)?, options, env)?);
    }
    rule_files(file, &config.rules, &mut notes)?;
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

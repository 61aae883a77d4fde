//! `taffrail test rules`: runs files of unit tests for rules, those that `promtool test rules` runs.
//!
//! Owns: finding the rule files a test file names, choosing tests, what is printed. Does not own: the tests' form
//! ([`file`]), how one is run ([`run`]), rules (`rule_yml`) and their evaluation (`alert`).

mod file;
mod report;
mod run;
mod storage;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use alert::rule::Group;
use anyhow::{Context as _, Result};
use collect::scrape::matching_files;
use regex::Regex;
use serde::Serialize;

use crate::cli::{Output, TestRulesArgs};
use crate::rule_yml;
use file::TestFile;
use run::Settings;

/// How the tests of a file went.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// The file as it was named.
    pub file: String,
    /// Whether nothing failed.
    pub success: bool,
    /// What is wrong with the file itself.
    pub error: Option<String>,
    /// What is strange without being wrong.
    pub warnings: Vec<String>,
    /// The tests that were run.
    pub tests: Vec<TestReport>,
}

/// How one test went.
#[derive(Debug, Serialize)]
pub struct TestReport {
    /// Its name, or `unnamed#` and its index.
    pub name: String,
    /// Whether nothing failed.
    pub success: bool,
    /// Each case that failed, in words.
    pub failures: Vec<String>,
}

/// What tests are run and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only tests whose names match one of these.
    pub run: Vec<Regex>,
    /// Differences instead of what was expected and what was there.
    pub diff: bool,
    /// Keys that rules do not have mean nothing.
    pub ignore_unknown_fields: bool,
    /// Experimental functions of PromQL.
    pub is_experimental: bool,
    /// Look-back of instant selectors, milliseconds. A sample that old to the millisecond is not found, as in Prometheus 3.
    pub lookback_ms: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            run: Vec::new(),
            diff: false,
            ignore_unknown_fields: false,
            is_experimental: false,
            lookback_ms: 300_000,
        }
    }
}

/// Runs `taffrail test rules`; false when a test failed or a file is wrong.
///
/// # Errors
/// A `--run` that is no regular expression; when the answer cannot be printed.
pub fn test_rules(args: &TestRulesArgs, out: &mut impl Write) -> Result<bool> {
    let compile = |text: &String| Regex::new(text).with_context(|| format!("--run {text:?}"));
    let options = Options {
        run: args.run.iter().map(compile).collect::<Result<_>>()?,
        diff: args.diff,
        ignore_unknown_fields: args.ignore_unknown_fields,
        is_experimental: args.experimental,
        ..Options::default()
    };
    let mut reports = Vec::new();
    for file in &args.files {
        let report = run_file(file, &options);
        if args.output == Output::Table {
            print(&report, out)?;
        }
        reports.push(report);
    }
    if args.output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&reports)?)?;
    }
    Ok(reports.iter().all(|report| report.success))
}

fn print(report: &FileReport, out: &mut impl Write) -> Result<()> {
    writeln!(out, "Unit Testing:  {}", report.file)?;
    for warning in &report.warnings {
        writeln!(out, "  WARNING: {warning}")?;
    }
    if report.success {
        writeln!(out, "  SUCCESS\n")?;
        return Ok(());
    }
    writeln!(out, "  FAILED:")?;
    let failures = report.tests.iter().flat_map(|test| &test.failures);
    for failure in report.error.iter().chain(failures) {
        writeln!(out, "{failure}\n")?;
    }
    Ok(())
}

/// Runs the tests of one file.
pub fn run_file(path: &Path, options: &Options) -> FileReport {
    run_file_with(path, options, &|pattern| glob(path.parent().unwrap_or(Path::new("")), pattern))
}

/// Runs the tests of one file, with rule files that lie where `find` says for each pattern.
pub fn run_file_with(
    path: &Path,
    options: &Options,
    find: &dyn Fn(&Path) -> Vec<PathBuf>,
) -> FileReport {
    let mut report = FileReport {
        file: path.display().to_string(),
        success: false,
        error: None,
        warnings: Vec::new(),
        tests: Vec::new(),
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => {
            report.error = Some(format!("{}: cannot read: {e}", path.display()));
            return report;
        }
    };
    match file::load(path, &text) {
        Ok(file) => {
            tests(&file, options, find, &mut report);
            report.success = report.tests.iter().all(|test| test.success);
        }
        Err(mistake) => report.error = Some(mistake.to_string()),
    }
    report
}

fn tests(
    file: &TestFile,
    options: &Options,
    find: &dyn Fn(&Path) -> Vec<PathBuf>,
    report: &mut FileReport,
) {
    let groups = groups(file, options, find, &mut report.warnings);
    if let Ok(groups) = &groups {
        let strange = run::unknown_groups(groups, &file.order);
        let strange = strange.iter().map(|name| format!("no group is called {name:?}"));
        report.warnings.extend(strange);
    }
    for (i, test) in file.tests.iter().enumerate() {
        if !options.run.is_empty() && !options.run.iter().any(|run| run.is_match(&test.name)) {
            continue;
        }
        let name = match test.name.as_str() {
            "" => format!("unnamed#{i}"),
            name => name.to_owned(),
        };
        let failures = match &groups {
            Ok(groups) => {
                let settings = Settings {
                    is_experimental: options.is_experimental,
                    diff: options.diff,
                    lookback_ms: options.lookback_ms,
                };
                run::run(test, file, groups, settings)
            }
            Err(mistakes) => mistakes.clone(),
        };
        report.tests.push(TestReport { name, success: failures.is_empty(), failures });
    }
}

/// The groups of all rule files, in the order in which the files are named.
fn groups(
    file: &TestFile,
    options: &Options,
    find: &dyn Fn(&Path) -> Vec<PathBuf>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Group>, Vec<String>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for pattern in &file.rule_files {
        let found = find(Path::new(pattern));
        if found.is_empty() {
            warnings.push(format!("no file matches the pattern {pattern}"));
        }
        files.extend(found);
    }
    // As in Prometheus, a file that is named twice counts once.
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    let (mut groups, mut mistakes) = (Vec::new(), Vec::new());
    for file in files {
        match std::fs::read_to_string(&file) {
            Ok(text) => match rule_yml::load(&file, &text, options.ignore_unknown_fields) {
                Ok(more) => groups.extend(more),
                Err(more) => mistakes.extend(more.iter().map(ToString::to_string)),
            },
            Err(e) => mistakes.push(format!("{}: cannot read: {e}", file.display())),
        }
    }
    if mistakes.is_empty() { Ok(groups) } else { Err(mistakes) }
}

/// Files that match `pattern` from `dir` on, in which any part may have `*`, `?` and `[…]`.
pub fn glob(dir: &Path, pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    for part in pattern.components() {
        found = match part {
            std::path::Component::Normal(name) => {
                found.iter().flat_map(|at| matching_files(&at.join(name))).collect()
            }
            other => found.iter().map(|at| at.join(other.as_os_str())).collect(),
        };
    }
    found
}

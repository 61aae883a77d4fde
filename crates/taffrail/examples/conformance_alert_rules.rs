//! Loads rule files of other people and runs their unit tests.
//!
//! Usage: `conformance_alert_rules DIR`, DIR with the layout of the `alert-rules` topic. Every rule file must load; every
//! test must have the verdict that Prometheus' own `promtool` gives, which is success but for [`FAILS_UPSTREAM`].

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for the terminal")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use taffrail::rule_yml;
use taffrail::test_rules::{Options, glob, run_file_with};

/// Tests that `promtool` fails on these files: the tests of kubernetes-mixin are newer than the compiled rules.
const FAILS_UPSTREAM: [(&str, &str); 0] = [];

/// Why a test cannot succeed that does when look-back is a millisecond longer: Prometheus 3 fails it too.
const PROMETHEUS_2: &str =
    "needs a sample exactly as old as the look-back, which Prometheus 2 finds and 3 does not";

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: conformance_alert_rules DIR");
        return ExitCode::from(2);
    };
    let dir = Path::new(&dir);
    let mut found = Vec::new();
    find(dir, &mut found);
    let mut tally = Tally::default();
    for path in &found {
        let case = path.strip_prefix(dir).unwrap_or(path).display().to_string();
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let has = |key: &str| text.lines().any(|line| line.starts_with(key));
        if has("tests:") {
            tests(dir, path, &case, &found, &mut tally);
        } else {
            rules(path, &text, &case, &mut tally);
        }
    }
    let Tally { passed, failed, skipped } = tally;
    println!("alert-rules: {passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn verdict(&mut self, case: &str, wrong: Option<String>) {
        match wrong {
            None => self.passed += 1,
            Some(why) => {
                self.failed += 1;
                println!("FAIL {case}: {why}");
            }
        }
    }

    fn skip(&mut self, case: &str, why: &str) {
        self.skipped += 1;
        println!("SKIP {case}: {why}");
    }
}

fn find(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            found.push(path);
        }
    }
    found.sort();
}

fn rules(path: &Path, text: &str, case: &str, tally: &mut Tally) {
    let wrong = rule_yml::load(path, text, false).err();
    tally.verdict(
        case,
        wrong.map(|mistakes| {
            mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }),
    );
}

fn tests(dir: &Path, path: &Path, case: &str, all: &[PathBuf], tally: &mut Tally) {
    let missing = std::cell::RefCell::new(Vec::new());
    let find = |pattern: &Path| {
        let found = rule_files(dir, path, pattern, all);
        if found.is_empty() {
            missing.borrow_mut().push(pattern.display().to_string());
        }
        found
    };
    let report = run_file_with(path, &Options::default(), &find);
    if !missing.borrow().is_empty() {
        return tally
            .skip(case, &format!("the rules {} are not here", missing.borrow().join(", ")));
    }
    if let Some(error) = report.error {
        tally.verdict(case, Some(error));
    }
    let mut as_before = None;
    for (i, test) in report.tests.iter().enumerate() {
        let case_of_test = format!("{case} {}", test.name);
        match (test.success, FAILS_UPSTREAM.contains(&(case, test.name.as_str()))) {
            (true, true) => {
                tally.verdict(&case_of_test, Some("succeeds; promtool fails it".to_owned()));
            }
            (false, false) => {
                let before = as_before.get_or_insert_with(|| {
                    let options = Options { lookback_ms: 300_001, ..Options::default() };
                    run_file_with(path, &options, &find)
                });
                if before.tests.get(i).is_some_and(|test| test.success) {
                    tally.skip(&case_of_test, PROMETHEUS_2);
                } else {
                    tally.verdict(&case_of_test, Some(test.failures.join("\n")));
                }
            }
            _ => tally.verdict(&case_of_test, None),
        }
    }
}

/// Rule files beside the test; else those of that name in the same repository, or what it compiles to.
fn rule_files(dir: &Path, test: &Path, pattern: &Path, all: &[PathBuf]) -> Vec<PathBuf> {
    let beside = glob(test.parent().unwrap_or(dir), pattern);
    if !beside.is_empty() {
        return beside;
    }
    let repository = test.strip_prefix(dir).ok().and_then(|path| path.components().next());
    let Some(repository) = repository else { return Vec::new() };
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if repository.as_os_str() == "kubernetes-monitoring__kubernetes-mixin" {
        let compiled = dir.join("monitoring-mixins__website/assets/kubernetes");
        return glob(&compiled, Path::new(name.trim_start_matches("prometheus_")));
    }
    let root = dir.join(repository);
    let in_repository = all.iter().filter(|path| path.starts_with(&root));
    let named = |path: &&PathBuf| {
        let other = path.file_name().unwrap_or_default().to_string_lossy();
        // All of openshift's rules make the file that its tests name.
        other == name.as_str() || (name == "rules.yaml" && other.starts_with("prometheus-rule"))
    };
    in_repository.filter(named).cloned().collect()
}

//! Runs collected LogQL cases against this crate: `conformance_logql DIR`, where DIR is laid out as the `loki` data set.
//!
//! Each failure is one line, each reason to skip is counted; the last line sums up. The exit code says only whether
//! anything could be run.

#![expect(clippy::print_stdout, reason = "a command line tool")]

#[path = "conformance_logql/eval.rs"]
mod eval;
#[path = "conformance_logql/stages.rs"]
mod stages;
#[path = "../src/logql/tests/table.rs"]
mod table;
#[path = "conformance_logql/texts.rs"]
mod texts;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value as Json;

/// How a case ended.
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    Skipped(&'static str),
}

#[derive(Default)]
struct Report {
    passed: usize,
    failed: usize,
    skipped: BTreeMap<&'static str, usize>,
}

impl Report {
    fn add(&mut self, file: &str, number: usize, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(what) => {
                self.failed += 1;
                println!("FAIL {file} #{number}: {}", what.replace('\n', "\\n"));
            }
            Outcome::Skipped(reason) => *self.skipped.entry(reason).or_default() += 1,
        }
    }
}

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        println!("usage: conformance_logql DIR");
        return ExitCode::FAILURE;
    };
    let mut report = Report::default();
    run_facts(&Path::new(&dir).join("facts"), &mut report);
    let grammar = Path::new(&dir).join("grafana__lezer-logql/test/expression.txt");
    if let Some(text) = read(&grammar) {
        for (i, outcome) in texts::grammar(&text).into_iter().enumerate() {
            report.add("expression.txt", i, outcome);
        }
    }
    for (reason, count) in &report.skipped {
        println!("skipped {count}: {reason}");
    }
    let skipped: usize = report.skipped.values().sum();
    println!("logql: {} passed, {} failed, {skipped} skipped", report.passed, report.failed);
    if report.passed + report.failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn run_facts(dir: &Path, report: &mut Report) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "json")) {
        let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or("").to_owned();
        // Bodies of the HTTP API are the suite `loki-api`.
        if name.starts_with("api-") {
            continue;
        }
        let Some(facts) = read(path).and_then(|t| serde_json::from_str::<Json>(&t).ok()) else {
            println!("cannot read {}", path.display());
            continue;
        };
        let before = report.passed + report.failed;
        let passed_before = report.passed;
        for (number, case) in facts["cases"].as_array().into_iter().flatten().enumerate() {
            report.add(&name, number, run(&name, case));
        }
        let ran = report.passed + report.failed - before;
        println!("{name}: {} of {ran}", report.passed - passed_before);
    }
}

fn run(file: &str, case: &Json) -> Outcome {
    match file {
        _ if file.starts_with("eval-") => eval::run(case),
        "logql-parse" | "doc-queries" | "bench-queries" => texts::run(file, case),
        _ => stages::run(file, case),
    }
}

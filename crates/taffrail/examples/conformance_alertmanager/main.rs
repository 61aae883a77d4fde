//! Facts and files that come with Alertmanager.
//!
//! Usage: `conformance_alertmanager DIR`, DIR with the layout of the `alertmanager` topic. One module per kind of fact.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for the terminal")]

mod acceptance;
mod config_errors;
mod config_files;
mod matchers;
mod routing;
mod templates;
mod time_intervals;

use std::path::Path;
use std::process::ExitCode;

use alert::matcher::Syntax;
use serde_json::Value as Json;
use taffrail::alertmanager_yml::Options;

/// As Alertmanager's own tests read: without its flags it knows the classic grammar only.
pub(crate) const UPSTREAM: Options = Options { strict: true, syntax: Syntax::Classic };

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: conformance_alertmanager DIR");
        return ExitCode::from(2);
    };
    let dir = Path::new(&dir);
    let mut tally = Tally::default();
    matchers::run(&facts(dir, "matcher-parse"), &mut tally);
    routing::run(&facts(dir, "routing"), &mut tally);
    time_intervals::run(&facts(dir, "time-intervals"), &mut tally);
    templates::run(&facts(dir, "template-functions"), &mut tally);
    let errors = facts(dir, "config-errors");
    config_errors::run(dir, &errors, &mut tally);
    config_files::run(dir, &errors, &mut tally);
    acceptance::run(&facts(dir, "acceptance-scenarios"), &mut tally);
    let Tally { passed, failed, skipped } = tally;
    println!("alertmanager: {passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The cases of a kind.
fn facts(dir: &Path, kind: &str) -> Vec<Json> {
    let text = std::fs::read_to_string(dir.join(format!("facts/{kind}.json"))).unwrap_or_default();
    let facts: Json = serde_json::from_str(&text).unwrap_or_default();
    facts["cases"].as_array().cloned().unwrap_or_default()
}

/// The texts of a list.
pub(crate) fn texts(list: &Json) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

/// `text` with blanks in front of each line.
pub(crate) fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

/// How many cases went how; every one that did not pass is printed.
#[derive(Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    /// A case, and what is wrong about it.
    pub(crate) fn verdict(&mut self, case: &str, result: Result<(), String>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(why) => {
                self.failed += 1;
                println!("FAIL {case}: {why}");
            }
        }
    }

    pub(crate) fn skip(&mut self, case: &str, why: &str) {
        self.skipped += 1;
        println!("SKIP {case}: {why}");
    }
}

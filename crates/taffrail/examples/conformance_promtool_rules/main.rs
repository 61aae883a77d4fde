//! Rule files, unit tests of rules and templates that come with Prometheus.
//!
//! Usage: `conformance_promtool_rules DIR`, DIR with the layout of the `promtool-rules` topic. One module per kind of
//! fact.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for the terminal")]

mod rule_files;
mod templates;
mod unit_tests;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: conformance_promtool_rules DIR");
        return ExitCode::from(2);
    };
    let dir = Path::new(&dir);
    let mut tally = Tally::default();
    let upstream = dir.join("prometheus__prometheus");
    rule_files::run(&upstream, &mut tally);
    unit_tests::run(&upstream, &mut tally);
    templates::run(dir, &mut tally);
    let Tally { passed, failed, skipped } = tally;
    println!("promtool-rules: {passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
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
    pub(crate) fn verdict(&mut self, case: &str, wrong: Option<String>) {
        match wrong {
            None => self.passed += 1,
            Some(why) => {
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

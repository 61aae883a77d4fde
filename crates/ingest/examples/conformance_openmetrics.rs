//! Runs the OpenMetrics parser cases below a directory: every `test.json` says whether its file must parse.
//!
//! Usage: `conformance_openmetrics DIR`, DIR with the layout of the `openmetrics` topic.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for the terminal")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ingest::exposition::{Format, Limits, validate};

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: conformance_openmetrics DIR");
        return ExitCode::from(2);
    };
    let mut cases = Vec::new();
    find(Path::new(&dir), &mut cases);
    cases.sort();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in &cases {
        match run(case) {
            Ok(()) => passed += 1,
            Err(Outcome::Failed(why)) => {
                println!("FAIL {}: {why}", case.display());
                failed += 1;
            }
            Err(Outcome::Skipped(why)) => {
                println!("SKIP {}: {why}", case.display());
                skipped += 1;
            }
        }
    }
    println!("openmetrics: {passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

enum Outcome {
    Failed(String),
    Skipped(String),
}

fn find(dir: &Path, cases: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, cases);
        } else if path.file_name().is_some_and(|n| n == "test.json") {
            cases.push(path);
        }
    }
}

fn run(case: &Path) -> Result<(), Outcome> {
    let skipped = |why: String| Outcome::Skipped(why);
    let text = std::fs::read_to_string(case).map_err(|e| skipped(e.to_string()))?;
    let test: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| skipped(e.to_string()))?;
    if test["type"] != "text" {
        return Err(Outcome::Skipped(format!("type {} is not the text format", test["type"])));
    }
    let must_parse =
        test["shouldParse"].as_bool().ok_or_else(|| skipped("no shouldParse".to_owned()))?;
    let file = test["file"].as_str().unwrap_or("metrics");
    let body = std::fs::read(case.with_file_name(file)).map_err(|e| skipped(e.to_string()))?;
    match (validate(&body, Format::OpenMetrics, &Limits::NONE), must_parse) {
        (Ok(()), true) | (Err(_), false) => Ok(()),
        (Ok(()), false) => Err(Outcome::Failed("accepted, must be refused".to_owned())),
        (Err(e), true) => Err(Outcome::Failed(format!("refused: {e}"))),
    }
}

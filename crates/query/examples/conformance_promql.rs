//! Runs Prometheus' own tests of PromQL: scripts (`promqltest/testdata/*.test`) and parser tables (`facts/*.json`).
//!
//! `conformance_promql DIR`; one line per failure, the counts last. Nothing is skipped. Exit code 1 only when
//! nothing could be run; whether failures are acceptable is judged elsewhere.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's output is its purpose"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use query::promql::{self, testing};
use serde_json::Value as Json;

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn case(&mut self, ok: bool, describe: impl Fn() -> String) {
        if ok {
            self.passed += 1;
        } else {
            self.failed += 1;
            println!("FAIL {}", describe());
        }
    }
}

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: conformance_promql DIR");
        return ExitCode::FAILURE;
    };
    let mut tally = Tally::default();
    let root = dir.join("prometheus__prometheus");
    for path in files(&root.join("promql/promqltest/testdata"), "test") {
        script(&path, &mut tally);
    }
    parser_table(&dir.join("facts/promql-parse.json"), &mut tally);
    series_table(&dir.join("facts/promqltest-series-notation.json"), &mut tally);
    let Tally { passed, failed } = tally;
    println!("promql: {passed} passed, {failed} failed, 0 skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == extension));
    paths.sort();
    paths
}

fn script(path: &Path, tally: &mut Tally) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let outcome = match std::fs::read_to_string(path) {
        Ok(text) => testing::run_script(&text),
        Err(e) => return tally.case(false, || format!("{name}: {e}")),
    };
    match outcome {
        Ok(outcome) => {
            tally.passed += outcome.passed;
            for case in outcome.failures {
                tally.case(false, || {
                    format!(
                        "{name}:{}: {}: {}",
                        case.line,
                        case.query,
                        case.reason.replace('\n', " ")
                    )
                });
            }
        }
        Err(e) => tally.case(false, || format!("{name}: {e}")),
    }
}

fn cases(path: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let json: Json = serde_json::from_str(&text).unwrap_or_default();
    json["cases"].as_array().cloned().unwrap_or_default()
}

fn parser_table(path: &Path, tally: &mut Tally) {
    for case in cases(path) {
        let query = case["query"].as_str().unwrap_or_default();
        let result = promql::parse(query);
        let reparsed = result.as_ref().map(promql::format).ok().map(|text| promql::parse(&text));
        tally.case(Some(result.is_ok()) == case["valid"].as_bool(), || {
            format!(
                "parse {query:?}: {}",
                result.as_ref().err().map_or("accepted".into(), |e| e.to_string())
            )
        });
        if let Some(Err(e)) = reparsed {
            tally.case(false, || format!("printed form of {query:?} does not parse: {e}"));
        }
    }
}

fn series_table(path: &Path, tally: &mut Tally) {
    for case in cases(path) {
        let text = case["series_description"].as_str().unwrap_or_default();
        let result = testing::parse_series(text);
        let ok = match (&result, case["valid"].as_bool()) {
            (Ok((_, values)), Some(true)) => {
                let expected = case["expected_values_go"].as_array().cloned().unwrap_or_default();
                let expected: Vec<_> =
                    expected.iter().map(|v| v.as_f64().map(testing::Noted::Number)).collect();
                *values == expected
            }
            (result, valid) => Some(result.is_ok()) == valid,
        };
        tally.case(ok, || format!("series {text:?}: {result:?}"));
    }
}

//! Runs what is known of Tempo's and Grafana's own tests of TraceQL: which queries parse, and which are refused.
//!
//! `conformance_traceql DIR`; one line per failure, the counts last. A query that Tempo parses and then calls unsupported
//! passes when it is understood here, or refused as not supported. Exit code 1 only when nothing could be run.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's output is its purpose"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use query::traceql;
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
        eprintln!("usage: conformance_traceql DIR");
        return ExitCode::FAILURE;
    };
    let mut tally = Tally::default();
    examples(&dir.join("facts/traceql-examples.json"), &mut tally);
    grammar(&dir.join("grafana__lezer-traceql/test/expression.txt"), &mut tally);
    let Tally { passed, failed } = tally;
    println!("tempo: {passed} passed, {failed} failed, 0 skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Tempo's table of accepted and refused queries.
fn examples(path: &Path, tally: &mut Tally) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let json: Json = serde_json::from_str(&text).unwrap_or_default();
    for case in json["cases"].as_array().into_iter().flatten() {
        let query = case["query"].as_str().unwrap_or_default();
        let class = case["class"].as_str().unwrap_or_default();
        let result = traceql::parse(query);
        let ok = match (class, &result) {
            ("valid" | "dump", result) => result.is_ok(),
            ("parse_fails" | "validate_fails", Err(e)) => e.span().is_some(),
            ("unsupported", Err(e)) => e.message().contains("not supported"),
            ("unsupported", Ok(_)) => true,
            _ => false,
        };
        tally.case(ok, || {
            let outcome = result.as_ref().map_or_else(ToString::to_string, |_| "accepted".into());
            format!("{class} {query:?}: {outcome}")
        });
    }
}

/// Cases of Grafana's editor: a name, the query, `==>` and its tree, in which an error would show as `⚠`.
fn grammar(path: &Path, tally: &mut Tally) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    for case in text.split("\n# ") {
        let Some((head, tree)) = case.split_once("\n==>") else { continue };
        let Some((_, query)) = head.split_once('\n') else { continue };
        let result = traceql::parse(query);
        tally.case(result.is_ok() != tree.contains('⚠'), || {
            let outcome = result.as_ref().map_or_else(ToString::to_string, |_| "accepted".into());
            format!("grammar {query:?}: {outcome}")
        });
    }
}

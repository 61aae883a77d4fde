//! Files of unit tests with the verdicts that `promtool`'s own tests demand, and the example of the documentation.

use std::path::Path;

use regex::Regex;
use taffrail::test_rules::{FileReport, Options, run_file};

use crate::Tally;

/// File, tests to run, whether unknown keys are ignored, and whether it must succeed.
const FILES: [(&str, &str, bool, bool); 20] = [
    ("unittest.yml", "", false, true),
    ("long-period.yml", "", false, true),
    ("bad-input-series.yml", "", false, false),
    ("bad-promql.yml", "", false, false),
    ("bad-rules-syntax-test.yml", "", false, false),
    ("bad-rules-error-test.yml", "", false, false),
    ("failing.yml", "", false, false),
    // Refused before Prometheus 2.33 only.
    ("at-modifier-test.yml", "", false, true),
    ("negative-offset-test.yml", "", false, true),
    ("no-test-group-interval.yml", "", false, true),
    ("start-time-test.yml", "", false, true),
    ("rules_run.yml", "", false, false),
    ("rules_run.yml", "correct", false, true),
    ("rules_run.yml", "wrong", false, false),
    ("rules_run_extrafields.yml", "", true, true),
    ("rules_run_extrafields.yml", "", false, false),
    ("rules_run_fuzzy.yml", "correct", false, true),
    ("rules_run_fuzzy.yml", "wrong", false, false),
    ("rules_run_no_fuzzy.yml", "", false, false),
    ("rules_run_no_fuzzy.yml", "none of these", false, true),
];

pub(crate) fn run(upstream: &Path, tally: &mut Tally) {
    let folder = upstream.join("cmd/promtool/testdata");
    for (name, only, ignore_unknown_fields, succeeds) in FILES {
        let path = folder.join(name);
        let case = format!("{name} {only:?} {ignore_unknown_fields}");
        if !path.exists() {
            tally.skip(&case, "the file is not here");
            continue;
        }
        let run = Regex::new(only).into_iter().filter(|_| !only.is_empty()).collect();
        let options = Options { run, ignore_unknown_fields, ..Options::default() };
        verdict(&case, &run_file(&path, &options), succeeds, tally);
    }
    if let Err(why) = example(&upstream.join("docs/configuration/unit_testing_rules.md"), tally) {
        tally.skip("unit_testing_rules.md", &why);
    }
}

fn verdict(case: &str, report: &FileReport, succeeds: bool, tally: &mut Tally) {
    let failures = report.tests.iter().flat_map(|test| test.failures.iter());
    let all: Vec<&str> = report.error.iter().chain(failures).map(String::as_str).collect();
    let wrong = match (report.success, succeeds) {
        (true, false) => Some("succeeds, must fail".to_owned()),
        (false, true) => Some(all.join("\n")),
        _ => None,
    };
    tally.verdict(case, wrong);
}

/// The files below `### NAME` in the documentation.
#[expect(clippy::disallowed_methods, reason = "files of somebody's, not of the stores")]
fn example(document: &Path, tally: &mut Tally) -> Result<(), String> {
    let text = std::fs::read_to_string(document).map_err(|e| e.to_string())?;
    let dir = std::env::temp_dir().join(format!("promtool-rules-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    for name in ["test.yml", "alerts.yml"] {
        let (_, rest) = text.split_once(&format!("### `{name}`")).ok_or("no such heading")?;
        let (_, rest) = rest.split_once("```yaml\n").ok_or("no block of YAML")?;
        let (block, _) = rest.split_once("```").ok_or("an open block")?;
        std::fs::write(dir.join(name), block).map_err(|e| e.to_string())?;
    }
    verdict(
        "unit_testing_rules.md",
        &run_file(&dir.join("test.yml"), &Options::default()),
        true,
        tally,
    );
    std::fs::remove_dir_all(&dir).map_err(|e| e.to_string())
}

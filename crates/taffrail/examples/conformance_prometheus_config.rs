//! Loads the configuration files below a directory, and runs relabelling facts.
//!
//! Usage: `conformance_prometheus_config DIR`, DIR with the layout of the `prometheus-config` topic. Files named in
//! `facts/expected-errors.json` or `*.bad.*` must be refused, and so must those in [`REFUSED`]; all others must load, also
//! those that upstream refuses under flags or in `promtool` alone. Each relabelling fact must give its result.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for the terminal")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use collect::scrape::read_target_groups;
use ingest::exposition::{Format, series_labels};
use ingest::relabel;
use model::Labels;
use serde_json::Value;
use taffrail::prometheus_yml;

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: conformance_prometheus_config DIR");
        return ExitCode::from(2);
    };
    let dir = Path::new(&dir);
    let mut tally = Tally::default();
    files(dir, &mut tally);
    relabelling(dir, &mut tally);
    let Tally { passed, failed, skipped } = tally;
    println!("prometheus-config: {passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn pass(&mut self) {
        self.passed += 1;
    }

    fn fail(&mut self, case: &str, why: &str) {
        self.failed += 1;
        println!("FAIL {case}: {why}");
    }

    fn skip(&mut self, case: &str, why: &str) {
        self.skipped += 1;
        println!("SKIP {case}: {why}");
    }
}

fn find(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { find(&path, found) } else { found.push(path) }
    }
    found.sort();
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

/// What a file's name and place say about it.
enum Expect {
    Load,
    Refuse,
    Nothing,
    Skip(&'static str),
}

fn files(dir: &Path, tally: &mut Tally) {
    let expected = json(&dir.join("facts/expected-errors.json")).unwrap_or_default();
    let errors = expected["expected_errors"].as_object();
    let must_fail: BTreeSet<&str> =
        errors.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut found = Vec::new();
    find(dir, &mut found);
    for path in found {
        let case = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let outcome = match expectation(&case, &name, &must_fail) {
            Expect::Nothing => continue,
            Expect::Skip(why) => {
                tally.skip(&case, why);
                continue;
            }
            Expect::Load => load(&case, &path).err().map(|e| format!("refused: {e}")),
            Expect::Refuse => {
                load(&case, &path).ok().map(|()| "loaded, must be refused".to_owned())
            }
        };
        match outcome {
            None => tally.pass(),
            Some(why) => tally.fail(&case, &why),
        }
    }
}

fn expectation(case: &str, name: &str, must_fail: &BTreeSet<&str>) -> Expect {
    let is_config = [".yml", ".yaml", ".json"].iter().any(|end| name.ends_with(end));
    if case.contains("discovery/") || case.starts_with("facts/") || !is_config {
        return Expect::Nothing;
    }
    if ["rbac-setup", "web-config", ".rules."].iter().any(|part| name.contains(part)) {
        return Expect::Skip("a file of another kind: no configuration of the scraper reads it");
    }
    if PROMTOOL_ONLY.contains(&name) {
        return Expect::Load;
    }
    let refused = must_fail.contains(name)
        || REFUSED.contains(&name)
        || name.contains(".bad.")
        || name.starts_with("bad-sd-file");
    if refused { Expect::Refuse } else { Expect::Load }
}

/// Refused by tests upstream that the facts do not hold: for the API of Alertmanager that is gone, names that legacy
/// validation forbids, and two user names.
const REFUSED: [&str; 4] = [
    "config_with_deprecated_am_api_config.yml",
    "otlp_allow_utf8.incompatible.yml",
    "otlp_no_translation.incompatible.yml",
    "http.conf.basic-auth.bad-username.yaml",
];

/// `promtool` refuses these for files that do not exist or for what relabelling leaves of a target; Prometheus loads them.
const PROMTOOL_ONLY: [&str; 3] = [
    "authorization_credentials_file.bad.yml",
    "url_in_alert_targetgroup_with_relabel_config.bad.yml",
    "url_in_scrape_targetgroup_with_relabel_config.bad.yml",
];

/// Files of HTTP and TLS settings alone become the settings of a job; those of jobs alone are included by another.
fn load(case: &str, path: &Path) -> Result<(), String> {
    if case.contains("sd-file") {
        return read_target_groups(path).map(|_| ()).map_err(|e| e.to_string());
    }
    if case.contains("scrape_configs/") {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = format!("scrape_config_files: [{name}]\n");
        let including = path.with_file_name("including.yml");
        let (config, _) =
            prometheus_yml::load(&including, &text, &|_| None).map_err(|e| e.to_string())?;
        return if config.jobs.is_empty() { Err("no jobs".to_owned()) } else { Ok(()) };
    }
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let indented = |by: &str| text.lines().map(|line| format!("{by}{line}\n")).collect::<String>();
    let text = if case.contains("http.conf.") {
        format!("scrape_configs:\n  -\n{}", with_name(&text, &indented("    ")))
    } else if case.contains("tls_config.") {
        format!("scrape_configs:\n  - job_name: x\n    tls_config:\n{}", indented("      "))
    } else {
        text
    };
    prometheus_yml::load(path, &text, &|_| None).map(|_| ()).map_err(|e| e.to_string())
}

fn with_name(text: &str, indented: &str) -> String {
    if text.trim_start().starts_with('{') {
        return indented.replacen('{', "{\"job_name\": \"x\", ", 1);
    }
    format!("    job_name: x\n{indented}")
}

fn relabelling(dir: &Path, tally: &mut Tally) {
    let Some(facts) = json(&dir.join("facts/relabel.json")) else { return };
    for (i, fact) in facts["cases"].as_array().into_iter().flatten().enumerate() {
        let case = format!("facts/relabel.json[{i}]");
        let rules = fact["relabel_config_yaml"].as_str().unwrap_or("");
        if fact["note"].as_str().is_some_and(|note| note.contains("VictoriaMetrics-only"))
            || rules.contains("{{")
        {
            tally.skip(&case, "an extension that Prometheus does not have");
            continue;
        }
        if rules.contains("hashmod") {
            tally.skip(&case, "VictoriaMetrics hashes with xxhash, Prometheus with MD5");
            continue;
        }
        match relabel_fact(rules, fact) {
            Ok((found, expect)) if found == expect => tally.pass(),
            Ok((found, expect)) => tally.fail(&case, &format!("gave {found}, expected {expect}")),
            Err(why) => tally.fail(&case, &why),
        }
    }
}

fn relabel_fact(rules: &str, fact: &Value) -> Result<(Labels, Labels), String> {
    let indented: String = rules.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("scrape_configs:\n  - job_name: x\n    metric_relabel_configs:\n{indented}");
    let (config, _) = prometheus_yml::load(Path::new("relabel.yml"), &text, &|_| None)
        .map_err(|e| e.to_string())?;
    let input = labels(fact["metric_in"].as_str().unwrap_or(""))?;
    let expect = labels(fact["metric_out"].as_str().unwrap_or(""))?;
    let rules = &config.jobs[0].metric_relabel;
    let mut found = relabel::apply_to(rules, &input).unwrap_or_default();
    if fact["finalize_drop_dunder_labels"] == true {
        let keep = |name: &str| !name.starts_with("__") || name == model::METRIC_NAME;
        found = found.iter().filter(|(name, _)| keep(name)).collect();
    }
    Ok((found, expect))
}

/// Labels of a series text in which names may hold any character.
fn labels(series: &str) -> Result<Labels, String> {
    let (name, inside) = series.split_once('{').unwrap_or((series, "}"));
    let mut quoted = vec![format!("\"{}\"", if name.is_empty() { "none" } else { name })];
    let mut rest = inside.trim_end_matches('}');
    while let Some((label, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').ok_or("an open quote")?;
        quoted.push(format!("\"{}\"=\"{value}\"", label.trim_start_matches(',')));
        rest = after;
    }
    let text = format!("{{{}}}", quoted.join(","));
    let labels = series_labels(&text, Format::Prometheus).map_err(|e| e.message().to_owned())?;
    Ok(if name.is_empty() { labels.without(model::METRIC_NAME) } else { labels })
}

//! Loads Promtail's configuration files below a directory.
//!
//! Usage: `conformance_promtail_config DIR`, DIR with the layout of the `loki` topic. Files of Promtail are those of
//! Alloy's converter and of Loki's own folder. What Promtail itself refuses must be refused, with the reason in
//! [`REFUSED`]; so must what [`NOT_SUPPORTED`] names; all others must load, and what they ask for must be in the result.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for the terminal")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use taffrail::promtail_yml::{self, PromtailConfig};

/// Promtail refuses these when it starts: the converter, from whose tests they are, copies such texts unseen. File,
/// and what the refusal must say.
const REFUSED: [(&str, &str); 7] = [
    ("bad_config.yaml", "unknown key \"not_a_thing\""),
    ("mixed_pipeline.yaml", "JMESPath expression \"thumbs-up\""),
    ("pipeline_stages_part1.yaml", "JMESPath expression \"thumbs-up\""),
    ("sd_pipeline_example.yaml", "JMESPath expression \"thumbs-up\""),
    ("static_pipeline_example.yaml", "JMESPath expression \"thumbs-up\""),
    ("docker_relabel.yaml", "JMESPath expression \"thumbs-up\""),
    ("pipeline_stages_match_nested.yaml", "selector \"foobar\""),
];

/// Not supported, and refused by name.
const NOT_SUPPORTED: [(&str, &str); 3] = [
    ("azure_event_hubs.yaml", "azure_event_hubs is not supported"),
    ("cloudflare_relabel.yaml", "cloudflare is not supported"),
    ("unsupported.yaml", "stdin is not supported"),
];

/// Something that must be in the result.
type Fact = fn(&PromtailConfig) -> bool;

const FACTS: [(&str, Fact); 10] = [
    ("promtail.yaml", |c| c.jobs.iter().any(|job| job.stages.len() == 2)),
    ("file.yaml", |c| c.jobs[0].file_sd.len() == 2 && c.jobs[0].file_sd[0].files.len() == 3),
    ("globalpositions.yaml", |c| c.positions == Path::new("/good/positions.yml")),
    ("journal.yaml", |c| {
        let journal = c.jobs[0].journal.as_ref();
        journal.is_some_and(|j| j.json && j.max_age_ns == 72_000_000_000_000 && j.labels.len() == 2)
    }),
    ("limits_config.yaml", |c| {
        let limits = &c.limits;
        limits.max_line_bytes == 262_144
            && limits.max_line_size_truncate
            && limits.max_streams == 100
            && limits.readline == Some((1000.5, 1000, true))
    }),
    ("gelf.yaml", |c| {
        let gelf = c.jobs[0].gelf.as_ref();
        gelf.is_some_and(|g| {
            g.listen_address == "localhost:12201" && g.use_incoming_timestamp && g.labels.len() == 2
        })
    }),
    ("push_api.yaml", |c| {
        let push = c.jobs[0].push.as_ref();
        push.is_some_and(|p| p.http_listen_port == 9094 && p.use_incoming_timestamp)
    }),
    // The tenant of a client is a label here.
    ("remote_write_basic_auth.yaml", |c| {
        let labels: Vec<&str> = c.external_labels.keys().map(String::as_str).collect();
        labels == ["cluster", "host", "tenant"] && c.external_labels["tenant"] == "sparrow"
    }),
    ("pipeline_stages_structured_metadata.yaml", |c| c.jobs[0].stages.len() == 2),
    ("syslog.yaml", |c| {
        let formats: Vec<&str> =
            c.jobs.iter().filter_map(|j| Some(j.syslog.as_ref()?.format.as_str())).collect();
        formats == ["rfc5424", "rfc3164", "rfc5424", "raw"]
            && c.jobs[0].syslog.as_ref().is_some_and(|s| s.max_message_bytes == 1024)
    }),
];

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: conformance_promtail_config DIR");
        return ExitCode::from(2);
    };
    let mut files = Vec::new();
    find(Path::new(&dir), &mut files);
    let (mut passed, mut failed) = (0, 0);
    for path in files {
        let case = path.strip_prefix(&dir).unwrap_or(&path).display().to_string();
        match check(&path) {
            Ok(()) => passed += 1,
            Err(why) => {
                failed += 1;
                println!("FAIL {case}: {why}");
            }
        }
    }
    println!("promtail-config: {passed} passed, {failed} failed, 0 skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Promtail's files.
fn find(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_promtail = path.to_string_lossy().contains("promtail");
        if path.is_dir() {
            find(&path, found);
        } else if is_promtail && path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            found.push(path);
        }
    }
    found.sort();
}

fn check(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let outcome = promtail_yml::load(path, &text, &|_| None);
    let mut refusals = REFUSED.iter().chain(&NOT_SUPPORTED);
    match (outcome, refusals.find(|(file, _)| *file == name)) {
        (Err(error), Some((_, reason))) if error.to_string().contains(reason) => Ok(()),
        (Err(error), _) => Err(format!("refused: {error}")),
        (Ok(_), Some((_, reason))) => Err(format!("loaded, must be refused: {reason}")),
        (Ok((config, _)), None) => match FACTS.iter().find(|(file, _)| *file == name) {
            Some((_, holds)) if !holds(&config) => Err(format!("read as {config:?}")),
            _ => Ok(()),
        },
    }
}

//! Files of Alertmanager and of others who use it: those that are named for what is wrong in them must be refused when the
//! reading is strict, all others must load, strictly and not. Files of templates must be templates.

use std::path::{Path, PathBuf};

use alert::expand::alertmanager::Templates;
use serde_json::Value as Json;
use taffrail::alertmanager_yml::{self, Options};

use crate::{Tally, UPSTREAM};

/// What a file is called that is wrong.
const WRONG: [&str; 10] = [
    "-both-",
    "-no-",
    "nil-",
    "invalid",
    "missing",
    ".bad.",
    "-old-team",
    "-duplicate",
    "-conflict",
    "-update-message-and-webhook",
];

/// Called like one that is wrong, and right.
const RIGHT: [&str; 1] = ["conf.smtp-no-username-or-password.yml"];

pub(crate) fn run(dir: &Path, errors: &[Json], tally: &mut Tally) {
    let mut files = Vec::new();
    find(dir, &mut files);
    for path in files {
        let case = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if name.ends_with(".tmpl") {
            let added = Templates::new().add(&name, &text);
            tally.verdict(&case, added.map_err(|e| e.message().to_owned()));
        } else if case.contains("/cli/config/") {
            tally.skip(&case, "settings of amtool, which is a client");
        } else if case.contains("/api/") {
            tally.skip(&case, "the description of an API");
        } else if errors
            .iter()
            .any(|e| e["config_file"].as_str().is_some_and(|f| case.ends_with(f)))
        {
            // Told among the config errors.
            continue;
        } else if WRONG.iter().any(|part| name.contains(part)) && !RIGHT.contains(&&*name) {
            let strict = alertmanager_yml::load(&path, &text, UPSTREAM, &|_| None);
            let verdict = strict.map_or(Ok(()), |_| Err("loaded, must be refused".to_owned()));
            tally.verdict(&case, verdict);
        } else {
            tally.verdict(&case, loads(&path, &text));
        }
    }
}

/// Loads the file in all ways.
fn loads(path: &Path, text: &str) -> Result<(), String> {
    for options in [UPSTREAM, Options { strict: true, ..Options::default() }, Options::default()] {
        alertmanager_yml::load(path, text, options, &|_| None).map_err(|mistakes| {
            mistakes.iter().map(|m| format!("{options:?}: {m}\n")).collect::<String>()
        })?;
    }
    Ok(())
}

fn find(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml" || e == "tmpl") {
            found.push(path);
        }
    }
    found.sort();
}

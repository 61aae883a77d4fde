//! Configurations that Alertmanager refuses, and why: `facts/config-errors.json`.

use std::path::Path;

use serde_json::Value as Json;
use taffrail::alertmanager_yml;

use crate::{Tally, UPSTREAM};

pub(crate) fn run(dir: &Path, cases: &[Json], tally: &mut Tally) {
    for case in cases {
        let name = format!("config error {}", case["name"].as_str().unwrap_or_default());
        let error = case["expect_error"].as_str().unwrap_or_default();
        let text = match (case["config_yaml"].as_str(), case["config_file"].as_str()) {
            (Some(text), _) => text.to_owned(),
            (None, file) => {
                let path = dir.join("prometheus__alertmanager").join(file.unwrap_or_default());
                match std::fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(_) => {
                        tally.skip(&name, &format!("{} is not here", path.display()));
                        continue;
                    }
                }
            }
        };
        tally.verdict(&name, refused(&text, error));
    }
}

/// Whether `text` is refused, one of the reasons being `error`.
pub(crate) fn refused(text: &str, error: &str) -> Result<(), String> {
    match alertmanager_yml::load(Path::new("facts.yml"), text, UPSTREAM, &|_| None) {
        Ok(_) => Err(format!("loaded, must be refused: {error}")),
        Err(mistakes) => {
            let said: Vec<&str> = mistakes.iter().map(|m| m.message.as_str()).collect();
            if said.iter().any(|message| says(message, error)) {
                return Ok(());
            }
            Err(format!("refused with {said:?}, not {error:?}"))
        }
    }
}

/// Whether a message has an error's text. Keys that do not exist, which Go's YAML words by the types of its fields, only
/// need the same key.
fn says(message: &str, error: &str) -> bool {
    let key = error.split("field ").nth(1).and_then(|rest| rest.split(" not found in type").next());
    match key {
        Some(key) => message.starts_with(&format!("unknown key {key:?}")),
        None => message.contains(error),
    }
}

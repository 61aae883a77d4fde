//! Rule files that must load or be refused: `*.bad.yaml` and those that `promtool`'s own tests refuse, or not.

use std::path::{Path, PathBuf};

use taffrail::rule_yml;

use crate::Tally;

/// Rule files that are refused for another reason than their name tells.
const REFUSED: [&str; 3] = ["bad-rules-syntax.yml", "rules-bad.yml", "rules_extrafields.yml"];

pub(crate) fn run(upstream: &Path, tally: &mut Tally) {
    for folder in ["model/rulefmt/testdata", "cmd/promtool/testdata"] {
        let entries = std::fs::read_dir(upstream.join(folder)).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if text.lines().any(|line| line.starts_with("groups:")) {
                file(&path, &text, tally);
            }
        }
    }
}

fn file(path: &Path, text: &str, tally: &mut Tally) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let refused = name.contains(".bad.") || REFUSED.contains(&name.as_str());
    let wrong = match (rule_yml::load(path, text, false), refused) {
        (Ok(_), true) => Some("loaded, must be refused".to_owned()),
        (Err(mistakes), false) => mistakes.first().map(|mistake| format!("refused: {mistake}")),
        _ => None,
    };
    tally.verdict(&name, wrong);
    if name.contains("extrafields") {
        let wrong = rule_yml::load(path, text, true).err();
        let wrong = wrong.and_then(|mistakes| Some(format!("refused: {}", mistakes.first()?)));
        tally.verdict(&format!("{name}, unknown keys ignored"), wrong);
    }
}

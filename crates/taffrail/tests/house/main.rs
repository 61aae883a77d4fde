//! The house rules that run: which crate may depend on which, and what every file must have.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crate → the crates of this workspace it may name in `[dependencies]`. The direction of data, see `ARCHITECTURE.md`.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("storage", &["model"]),
    ("tsdb", &["model", "storage"]),
    ("logdb", &["model", "storage"]),
    ("tracedb", &["model", "storage"]),
    ("query", &["model"]),
    ("ingest", &["model"]),
    ("collect", &["model", "ingest"]),
    ("alert", &["model", "query"]),
    ("dashboard", &["model"]),
    ("server", &["model", "query", "ingest", "collect", "alert", "dashboard"]),
    (
        "taffrail",
        &[
            "model",
            "storage",
            "tsdb",
            "logdb",
            "tracedb",
            "query",
            "ingest",
            "collect",
            "alert",
            "dashboard",
            "server",
        ],
    ),
    ("sdk", &[]),
    ("testkit", &[]),
];

/// Crates that must stay synchronous.
const SYNCHRONOUS: &[&str] = &["model", "storage", "tsdb", "logdb", "tracedb", "query", "ingest"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Names in the `[dependencies]` table of a crate's manifest.
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
    let table = manifest.split("[dependencies]\n").nth(1).unwrap_or("");
    let table = table.split("\n[").next().unwrap_or("");
    table
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn data_flows_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let folders = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap());
    for name in folders {
        let edges = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("crate {name} has no row in EDGES"));
        for dependency in dependencies(&name) {
            if allowed.contains_key(dependency.as_str()) {
                assert!(
                    edges.contains(&dependency.as_str()),
                    "{name} must not depend on {dependency}"
                );
            }
        }
    }
}

#[test]
fn stores_and_languages_know_no_runtime() {
    for name in SYNCHRONOUS {
        for banned in ["tokio", "axum", "hyper", "reqwest", "futures-util"] {
            assert!(!dependencies(name).contains(banned), "{name} must not depend on {banned}");
        }
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_says_what_it_owns() {
    let mut files = Vec::new();
    for dir in ["crates", "xtask", "fuzz/fuzz_targets"] {
        sources(&root().join(dir), &mut files);
    }
    assert!(files.len() > 50, "only {} files found", files.len());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.display();
        assert!(text.starts_with("//!"), "{shown} does not open with //!");
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for banned in [
            "mod.rs",
            "util.rs",
            "utils.rs",
            "common.rs",
            "helper.rs",
            "helpers.rs",
            "misc.rs",
            "manager.rs",
        ] {
            assert_ne!(name, banned, "{shown}");
        }
        for banned in ["todo!(", "unimplemented!(", "#[ignore", "#[allow(", "dbg!("] {
            // This file names them.
            assert!(
                path.ends_with("tests/house/main.rs") || !text.contains(banned),
                "{shown} holds {banned}"
            );
        }
    }
}

#[test]
fn every_crate_has_the_licence_and_the_lints() {
    for (name, _) in EDGES {
        let manifest =
            fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("license.workspace = true"), "{name}");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name}");
    }
}

#[test]
fn every_link_in_the_docs_leads_somewhere() {
    let mut pages = Vec::new();
    let mut folders = vec![root()];
    while let Some(dir) = folders.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap();
            if path.is_dir()
                && !["target", "node_modules", ".git", "crates", "dist"].contains(&name.as_str())
            {
                folders.push(path);
            } else if name.ends_with(".md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.len() >= 10, "only {} pages found", pages.len());
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(
                    page.parent().unwrap().join(file).exists(),
                    "{}: broken link {link}",
                    page.display()
                );
            }
        }
    }
}

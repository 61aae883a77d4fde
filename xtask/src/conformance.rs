//! Third-party suites: which exist, how each is run, and the floors below which none may fall.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::shell::{Cmd, data, root, step};

/// A suite that runs today.
struct Suite {
    name: &'static str,
    /// Folder below `../shared/data`.
    topic: &'static str,
    package: &'static str,
    example: &'static str,
}

const SUITES: &[Suite] = &[
    Suite { name: "promql", topic: "promql", package: "query", example: "conformance_promql" },
    Suite { name: "logql", topic: "loki", package: "query", example: "conformance_logql" },
    Suite { name: "tempo", topic: "tempo", package: "query", example: "conformance_traceql" },
    Suite { name: "loki-api", topic: "loki", package: "server", example: "conformance_loki_api" },
    Suite {
        name: "openmetrics",
        topic: "openmetrics",
        package: "ingest",
        example: "conformance_openmetrics",
    },
    Suite {
        name: "exposition",
        topic: "exposition",
        package: "ingest",
        example: "conformance_exposition",
    },
    Suite {
        name: "prometheus-config",
        topic: "prometheus-config",
        package: "taffrail",
        example: "conformance_prometheus_config",
    },
    Suite {
        name: "promtail-config",
        topic: "loki",
        package: "taffrail",
        example: "conformance_promtail_config",
    },
    Suite {
        name: "prometheus-api",
        topic: "prometheus-api",
        package: "server",
        example: "conformance_prometheus_api",
    },
    Suite {
        name: "docker-api",
        topic: "docker-api",
        package: "collect",
        example: "conformance_docker_api",
    },
    Suite {
        name: "node-exporter",
        topic: "node-exporter",
        package: "collect",
        example: "conformance_node_exporter",
    },
    Suite {
        name: "cadvisor",
        topic: "cadvisor",
        package: "collect",
        example: "conformance_cadvisor",
    },
    Suite {
        name: "remote-write",
        topic: "compliance",
        package: "server",
        example: "conformance_remote_write",
    },
    Suite { name: "otlp", topic: "otlp", package: "ingest", example: "conformance_otlp" },
    Suite { name: "jaeger", topic: "jaeger", package: "server", example: "conformance_jaeger" },
    Suite {
        name: "promtool-rules",
        topic: "promtool-rules",
        package: "taffrail",
        example: "conformance_promtool_rules",
    },
    Suite {
        name: "alert-rules",
        topic: "alert-rules",
        package: "taffrail",
        example: "conformance_alert_rules",
    },
    Suite {
        name: "alertmanager",
        topic: "alertmanager",
        package: "taffrail",
        example: "conformance_alertmanager",
    },
    Suite {
        name: "remote-write-sender",
        topic: "compliance",
        package: "collect",
        example: "conformance_remote_write_sender",
    },
];

/// Suites whose part of the program does not exist yet.
const NOT_YET: &[(&str, &str)] = &[("dashboards", "Grafana dashboards are not read yet")];

/// What a suite's last line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcome {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// `cargo xtask conformance SUITE [DIR]` or `all`.
pub(crate) fn conformance(args: &[String]) -> Result<()> {
    match args {
        [all] if all == "all" => floors(),
        [suite] => run(find(suite)?, None).map(|_| ()),
        [suite, dir] => run(find(suite)?, Some(Path::new(dir))).map(|_| ()),
        _ => bail!("which suite? one of: {}, or all", names()),
    }
}

fn names() -> String {
    SUITES.iter().map(|s| s.name).collect::<Vec<_>>().join(", ")
}

fn find(name: &str) -> Result<&'static Suite> {
    if let Some((_, reason)) = NOT_YET.iter().find(|(n, _)| *n == name) {
        bail!("suite {name} has nothing to run: {reason}");
    }
    SUITES
        .iter()
        .find(|s| s.name == name)
        .with_context(|| format!("unknown suite {name:?}; one of: {}", names()))
}

fn run(suite: &Suite, dir: Option<&Path>) -> Result<Outcome> {
    let dir = match dir {
        // Examples run in the root; the user's path is relative to where they stand.
        Some(dir) => std::env::current_dir()?.join(dir),
        None => data().join(suite.topic),
    };
    if std::fs::read_dir(&dir).map_or(true, |mut entries| entries.next().is_none()) {
        bail!("suite {}: no files in {}", suite.name, dir.display());
    }
    let dir = dir.display().to_string();
    let mut last = String::new();
    let args =
        ["run", "--quiet", "--package", suite.package, "--example", suite.example, "--", &dir];
    let succeeded = Cmd::new("cargo", &args).watch(|line| {
        if !line.trim().is_empty() {
            line.clone_into(&mut last);
        }
    })?;
    let outcome = parse(suite.name, &last).with_context(|| {
        format!("suite {} did not end with its summary but with {last:?}", suite.name)
    })?;
    if !succeeded {
        bail!("suite {} ended with an error", suite.name);
    }
    if outcome.passed + outcome.failed == 0 {
        bail!("suite {} ran nothing", suite.name);
    }
    Ok(outcome)
}

/// `SUITE: N passed, M failed, K skipped`.
fn parse(suite: &str, line: &str) -> Option<Outcome> {
    let mut numbers = line
        .strip_prefix(suite)?
        .strip_prefix(": ")?
        .split(", ")
        .zip(["passed", "failed", "skipped"]);
    let mut next = || {
        let (part, word) = numbers.next()?;
        part.strip_suffix(word)?.trim().parse().ok()
    };
    Some(Outcome { passed: next()?, failed: next()?, skipped: next()? })
}

/// Runs every suite and compares with `.ci/floors`: lines of `suite passed`. More than the floor is good; raise it.
fn floors() -> Result<()> {
    if !data().exists() {
        println!("conformance: skipped, {} is absent", data().display());
        return Ok(());
    }
    let path: PathBuf = root().join(".ci/floors");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut below = Vec::new();
    let mut rows = Vec::new();
    for suite in SUITES {
        let floor = text
            .lines()
            .find_map(|line| {
                line.strip_prefix(suite.name)?.strip_prefix(' ')?.trim().parse::<u64>().ok()
            })
            .with_context(|| format!("no floor for suite {} in {}", suite.name, path.display()))?;
        step(&format!("conformance {}", suite.name));
        let outcome = run(suite, None)?;
        if outcome.passed < floor {
            below.push(format!("{}: {} passed, the floor is {floor}", suite.name, outcome.passed));
        }
        rows.push(format!(
            "{:18} {:6} passed {:6} failed {:6} skipped   floor {floor}",
            suite.name, outcome.passed, outcome.failed, outcome.skipped
        ));
    }
    step("conformance, all suites");
    println!("{}", rows.join("\n"));
    if below.is_empty() { Ok(()) } else { bail!("below the floor: {}", below.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_lines_are_read_strictly() {
        let good = Outcome { passed: 3, failed: 1, skipped: 0 };
        assert_eq!(parse("promql", "promql: 3 passed, 1 failed, 0 skipped"), Some(good));
        assert_eq!(parse("promql", "logql: 3 passed, 1 failed, 0 skipped"), None);
        assert_eq!(parse("promql", "promql: 3 passed, 1 failed"), None);
    }
}

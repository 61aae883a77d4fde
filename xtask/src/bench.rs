//! `cargo xtask bench SUITE`: figures, side by side with Debian's packages of the programs we replace.

mod alerting;
mod idle;
mod logs;
mod metrics;
mod process;
mod server;
mod suite;
mod tail;
mod traces;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::shell::{Cmd, binary, root, step, target};

/// `cargo xtask bench SUITE [OPTIONS]`.
pub(crate) fn bench(args: &[String]) -> Result<()> {
    let rest = args.get(1..).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("idle") => idle::idle(rest),
        Some("alerting") => alerting::alerting(rest),
        Some("metrics") => metrics::metrics(rest),
        Some("logs") => logs::logs(rest),
        Some("tail") => tail::tail(rest),
        Some("traces") => traces::traces(rest),
        Some("build") => build(),
        other => {
            let given = other.unwrap_or("");
            bail!(
                "which suite? alerting, idle, metrics, logs, traces, tail or build; not {given:?}"
            )
        }
    }
}

/// Store benchmarks are examples of their crates.
fn example(package: &str, name: &str, args: &[String]) -> Result<()> {
    let mut all =
        vec!["run", "--release", "--quiet", "--package", package, "--example", name, "--"];
    all.extend(args.iter().map(String::as_str));
    Cmd::new("cargo", &all).run()
}

/// Clean build times and the binary's size.
fn build() -> Result<()> {
    let dir = target().join("bench-build");
    let mut rows = vec![["measure".to_owned(), "taffrail".to_owned()]];
    for (profile, args) in [
        ("dev", &["build", "--package", "taffrail"][..]),
        ("release", &["build", "--package", "taffrail", "--release"][..]),
    ] {
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        step(&format!("clean {profile} build"));
        let started = Instant::now();
        Cmd::new("cargo", args).env("CARGO_TARGET_DIR", &dir.display().to_string()).run()?;
        rows.push([
            format!("clean {profile} build, wall s"),
            format!("{:.0}", started.elapsed().as_secs_f64()),
        ]);
    }
    std::fs::remove_dir_all(&dir)?;
    if !std::path::Path::new(&binary("release")).exists() {
        Cmd::new("cargo", &["build", "--package", "taffrail", "--release"]).run()?;
    }
    let bytes = std::fs::metadata(binary("release"))?.len();
    rows.push(["release binary, MB".to_owned(), format!("{:.1}", bytes as f64 / 1e6)]);
    let lock = std::fs::read_to_string(root().join("Cargo.lock"))?;
    rows.push([
        "packages in Cargo.lock".to_owned(),
        lock.matches("[[package]]").count().to_string(),
    ]);
    table(&rows);
    Ok(())
}

/// Prints columns, each as wide as its widest cell.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) {
    let widths: Vec<usize> =
        (0..N).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    println!();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

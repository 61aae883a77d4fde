//! `cargo xtask test` and `cargo xtask lint`.

use anyhow::{Result, bail};

use crate::docker::Engine;
use crate::shell::{Cmd, root, step};
use crate::tally::Tally;
use crate::{setup, shell};

/// What property tests begin with, so that the same tree passes or fails every time.
const SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "4");

/// Everything: unit, model and format tests, UI tests, and the end-to-end tests on a real Docker Engine and Chromium.
pub(crate) fn test() -> Result<()> {
    setup::packages(&[("/usr/bin/chromium", "chromium")])?;
    setup::ui()?;
    let clients = setup::clients()?.display().to_string();
    let engine = Engine::ready()?;
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    let mut run = |what: &str, cmd: Cmd| -> Result<()> {
        step(what);
        if !cmd.watch(|line| tally.read(line))? {
            failed.push(what.to_owned());
        }
        Ok(())
    };
    let ui = root().join("ui");
    run("UI unit tests", Cmd::new("npm", &["run", "--silent", "test"]).dir(&ui))?;
    run("UI size budget", Cmd::new("npm", &["run", "--silent", "budget"]).dir(&ui))?;
    // The end-to-end tests start the program as built here.
    run("building taffrail", Cmd::new("cargo", &["build", "--package", "taffrail"]))?;
    let seed = std::env::var(SEED.0).unwrap_or_else(|_| SEED.1.to_owned());
    println!("property tests begin with {}={seed}", SEED.0);
    let nextest = Cmd::new("cargo", &["nextest", "--version"]).succeeds();
    let args: &[&str] = if nextest {
        &["nextest", "run", "--workspace", "--no-fail-fast"]
    } else {
        &["test", "--workspace", "--no-fail-fast"]
    };
    let cargo = Cmd::new("cargo", args)
        .env(SEED.0, &seed)
        .env("TAFFRAIL_E2E", "1")
        .env("TAFFRAIL_TEST_IMAGE", crate::docker::IMAGE)
        .env("TAFFRAIL_TEST_CLIENTS", &clients);
    run(
        "Rust tests, end to end included",
        cargo.env("TAFFRAIL_TEST_BINARY", &shell::binary("debug")),
    )?;
    drop(engine);
    println!();
    for what in &failed {
        println!("failed: {what}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed.max(failed.len() as u64));
    if !failed.is_empty() {
        bail!("tests failed");
    }
    if tally.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// Lints, with warnings as errors.
pub(crate) fn lint() -> Result<()> {
    step("rustfmt");
    Cmd::new("cargo", &["fmt", "--all", "--check"]).run()?;
    step("clippy");
    Cmd::new(
        "cargo",
        &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
    )
    .run()?;
    setup::npm_packages()?;
    step("svelte-check");
    Cmd::new("npm", &["run", "--silent", "check"]).dir(root().join("ui")).run()
}

//! The project's own commands: `cargo xtask run | test | conformance | bench | fuzz | lint`.
//!
//! Owns: setting a bare machine up, and calling cargo, npm, Docker and the peers in the right order. Does not own: what
//! is tested (each crate's tests and `examples/conformance_*`) or measured (`examples/bench_*`, [`bench`]).

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its user"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a development tool works on the file system, the clock and the environment directly"
)]

mod bench;
mod conformance;
mod docker;
mod fuzz;
mod setup;
mod shell;
mod tally;
mod test;

use std::process::ExitCode;

use anyhow::Result;

const HELP: &str = "\
cargo xtask COMMAND

  run [ARGS…]               build the UI and the program, then start it; ARGS go to `taffrail run`
  test                      set up what tests need (Debian packages, Docker, Chromium) and run all of them
  conformance SUITE [DIR]   run a third-party suite; DIR has the layout of its topic in ../shared/data
  conformance all           run every suite there is and hold each against its floor in .ci/floors
  bench SUITE               measure, side by side with peers: alerting, idle, metrics, logs, tail, build
  fuzz [TARGET…] [SECONDS]  fuzz some decoders, or each, for a minute (nightly toolchain, cargo-fuzz)
  lint                      clippy with warnings as errors, rustfmt, svelte-check

Examples:
  cargo xtask run --listen 127.0.0.1:9090
  cargo xtask conformance promql
  cargo xtask bench idle --minutes 10";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let outcome = match args.first().map(String::as_str) {
        Some("run") => run(rest),
        Some("test") => test::test(),
        Some("conformance") => conformance::conformance(rest),
        Some("bench") => bench::bench(rest),
        Some("fuzz") => fuzz::fuzz(rest),
        Some("lint") => test::lint(),
        Some("help" | "--help" | "-h") | None => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => Err(anyhow::anyhow!("unknown command {other:?}\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    setup::ui()?;
    shell::step("building taffrail (release)");
    shell::Cmd::new("cargo", &["build", "--release", "--package", "taffrail"]).run()?;
    let mut all = vec!["run".to_owned()];
    // Data of a trial belongs beside the checkout, not into the system's directories.
    if !args.iter().any(|a| a.starts_with("--data-dir") || a.starts_with("--config") || a == "-c") {
        all.extend([
            "--data-dir".to_owned(),
            shell::root().join("taffrail-data").display().to_string(),
        ]);
    }
    all.extend(args.iter().cloned());
    shell::step(&format!("taffrail {}", all.join(" ")));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    shell::Cmd::new(&shell::binary("release"), &all).replace()
}

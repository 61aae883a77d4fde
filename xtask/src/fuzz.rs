//! `cargo xtask fuzz`: one target per decoder of foreign bytes, in `fuzz/`.

use anyhow::{Result, bail};

use crate::shell::{Cmd, root, step};

/// `cargo xtask fuzz [TARGET…] [SECONDS]`: each for a minute, or so many seconds.
pub(crate) fn fuzz(args: &[String]) -> Result<()> {
    if !Cmd::new("cargo", &["fuzz", "--version"]).succeeds() {
        step("installing cargo-fuzz");
        Cmd::new("cargo", &["install", "--locked", "cargo-fuzz"]).run()?;
    }
    let targets = targets()?;
    let (mut seconds, mut wanted) = ("60", Vec::new());
    for arg in args {
        if arg.parse::<u32>().is_ok() {
            seconds = arg;
        } else if targets.contains(arg) {
            wanted.push(arg);
        } else {
            bail!("unknown target {arg:?}; one of: {}", targets.join(", "));
        }
    }
    if wanted.is_empty() {
        wanted.extend(&targets);
    }
    for target in &wanted {
        step(&format!("fuzzing {target} for {seconds} s"));
        let limit = format!("-max_total_time={seconds}");
        Cmd::new(
            "cargo",
            &[
                "+nightly",
                "fuzz",
                "run",
                target,
                "--",
                &limit,
                "-max_len=65536",
                "-timeout=10",
                "-rss_limit_mb=1024",
            ],
        )
        .run()?;
    }
    println!("{} targets fuzzed, no crash", wanted.len());
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        names.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    if names.is_empty() {
        bail!("no fuzz targets in fuzz/fuzz_targets");
    }
    names.sort();
    Ok(names)
}

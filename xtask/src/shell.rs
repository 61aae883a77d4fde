//! Starting other programs, from the project's root.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The project's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Third-party suites and real data.
pub(crate) fn data() -> PathBuf {
    root().join("../shared/data")
}

/// Path of the program in a build profile's directory.
pub(crate) fn binary(profile: &str) -> String {
    target().join(profile).join("taffrail").display().to_string()
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Says what happens next.
pub(crate) fn step(text: &str) {
    println!("\n==> {text}");
}

/// A program and its arguments.
pub(crate) struct Cmd {
    command: Command,
    text: String,
}

impl Cmd {
    pub(crate) fn new(program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).current_dir(root());
        Self { command, text: format!("{program} {}", args.join(" ")) }
    }

    pub(crate) fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it with our own input and output.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.command.status().with_context(|| format!("start {}", self.text))?;
        if !status.success() {
            bail!("{} failed: {status}", self.text);
        }
        Ok(())
    }

    /// Whether it can be started and succeeds, silently.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    }

    /// Its standard output.
    pub(crate) fn output(mut self) -> Result<String> {
        let output = self
            .command
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("start {}", self.text))?;
        if !output.status.success() {
            bail!("{} failed: {}", self.text, output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it, passing its output on line by line, and gives each line to `seen` as well. Whether it succeeded.
    pub(crate) fn watch(mut self, mut seen: impl FnMut(&str)) -> Result<bool> {
        // Test runners write their summaries to standard error; one pipe keeps the order.
        let (reader, writer) = std::io::pipe()?;
        self.command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let mut child = self.command.spawn().with_context(|| format!("start {}", self.text))?;
        // The command keeps the write ends; without dropping them the pipe would never end.
        drop(self.command);
        for line in BufReader::new(reader).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            seen(&line);
        }
        Ok(child.wait()?.success())
    }

    /// Becomes the program.
    pub(crate) fn replace(mut self) -> Result<()> {
        use std::os::unix::process::CommandExt as _;
        Err(self.command.exec()).with_context(|| format!("start {}", self.text))
    }
}

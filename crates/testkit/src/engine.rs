//! A real container engine, through its command line.

use std::process::Command;

/// Whether tests on the engine were asked for (`cargo xtask test` does); otherwise says that they are skipped.
pub fn engine_wanted() -> bool {
    let wanted = std::env::var_os("TAFFRAIL_E2E").is_some();
    if !wanted {
        eprintln!("skipped: needs a container engine; `cargo xtask test` sets one up");
    }
    wanted
}

/// Name of the test image.
pub fn image() -> String {
    std::env::var("TAFFRAIL_TEST_IMAGE").unwrap_or_else(|_| "taffrail-test/busybox:1".to_owned())
}

/// Runs `docker ARGS` and returns what it prints.
///
/// # Panics
/// When it fails.
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A container that is removed when dropped.
#[derive(Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
}

impl Container {
    /// `docker run -d OPTIONS image sh -c SCRIPT` under a name of its own.
    pub fn run(name: &str, options: &[&str], script: &str) -> Self {
        let name = format!("taffrail-it-{name}-{}", std::process::id());
        let image = image();
        let mut args = vec!["run", "-d", "--name", &name];
        args.extend(options);
        args.extend([image.as_str(), "sh", "-c", script]);
        docker(&args);
        Self { name }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _gone = Command::new("docker").args(["rm", "-f", "-v", &self.name]).output();
    }
}

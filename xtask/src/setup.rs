//! What a bare machine lacks: Debian packages, the UI's npm packages and its build.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, bail};

use crate::shell::{Cmd, root, step, target};

/// Installs Debian packages for those `(program, package)` pairs whose program is missing. Needs root; elsewhere it
/// says what to install.
pub(crate) fn packages(wanted: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(program, _)| !exists(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !Cmd::new("sh", &["-c", "test \"$(id -u)\" = 0"]).succeeds() || !exists("apt-get") {
        bail!(
            "these Debian packages are needed: {}; install them, or run as root",
            missing.join(" ")
        );
    }
    step(&format!("installing Debian packages: {}", missing.join(" ")));
    Cmd::new("apt-get", &["update", "-qq"]).run()?;
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(&missing);
    // Debian starts a service as it is installed; the tests start their own, as children.
    Cmd::new("apt-get", &args).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").run()
}

/// Whether `program` is a path that exists, or is on the PATH or in `/usr/sbin`.
pub(crate) fn exists(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(program).exists())
}

/// Builds `ui/dist` when it is missing or older than its sources.
pub(crate) fn ui() -> Result<()> {
    let ui = root().join("ui");
    if !exists("npm") {
        bail!("npm is needed to build the UI; install Node.js 20 or newer");
    }
    npm_packages()?;
    let built = modified(&ui.join("dist/index.html"));
    let sources = newest(&ui.join("src"))
        .max(modified(&ui.join("index.html")))
        .max(modified(&ui.join("package-lock.json")));
    if built.is_none() || built < sources {
        step("building the UI");
        Cmd::new("npm", &["run", "--silent", "build"]).dir(&ui).run()?;
    }
    Ok(())
}

/// Installs `ui/node_modules` as locked.
pub(crate) fn npm_packages() -> Result<()> {
    let ui = root().join("ui");
    let installed = modified(&ui.join("node_modules/.package-lock.json"));
    if installed.is_none() || installed < modified(&ui.join("package-lock.json")) {
        step("installing the UI's npm packages");
        Cmd::new("npm", &["ci", "--no-audit", "--no-fund", "--loglevel=error"]).dir(&ui).run()?;
    }
    Ok(())
}

/// Libraries of the client round trips: a Python environment, Node packages and Rust crates as locked, Go's from Debian.
/// Returns their directory.
pub(crate) fn clients() -> Result<PathBuf> {
    packages(&[
        ("prometheus", "prometheus"),
        ("prometheus-alertmanager", "prometheus-alertmanager"),
        ("go", "golang-go"),
        (
            "/usr/share/gocode/src/github.com/prometheus/client_golang",
            "golang-github-prometheus-client-golang-dev",
        ),
        (
            "/usr/share/gocode/src/go.opentelemetry.io/otel/exporters/jaeger",
            "golang-opentelemetry-otel-dev",
        ),
        ("rsyslogd", "rsyslog"),
        ("/usr/share/doc/rsyslog-gnutls", "rsyslog-gnutls"),
        ("/lib/systemd/systemd-journal-upload", "systemd-journal-remote"),
    ])?;
    let programs = root().join("crates/taffrail/tests/clients");
    let dir = target().join("clients");
    let (python, node) = (dir.join("python"), dir.join("node"));
    let requirements = programs.join("requirements.txt");
    let installed = modified(&python.join("installed"));
    if installed.is_none() || installed < modified(&requirements) {
        step("installing Python clients");
        let pip = python.join("bin/pip").display().to_string();
        let (python, requirements) =
            (python.display().to_string(), requirements.display().to_string());
        Cmd::new("python3", &["-m", "venv", "--clear", &python]).run()?;
        let quiet = ["install", "--quiet", "--disable-pip-version-check", "--requirement"];
        Cmd::new(&pip, &[&quiet[..], &[requirements.as_str()]].concat()).run()?;
        std::fs::write(Path::new(&python).join("installed"), "")?;
    }
    // Node finds packages above a script only: they are installed beside a copy of it.
    std::fs::create_dir_all(&node)?;
    for file in ["package.json", "package-lock.json", "otel.mjs", "pino.mjs", "traces.mjs"] {
        std::fs::copy(programs.join(file), node.join(file))?;
    }
    let installed = modified(&node.join("node_modules/.package-lock.json"));
    if installed.is_none() || installed < modified(&programs.join("package-lock.json")) {
        step("installing Node clients");
        Cmd::new("npm", &["ci", "--no-audit", "--no-fund", "--loglevel=error"]).dir(&node).run()?;
    }
    step("building Rust clients");
    let (manifest, built) = (programs.join("traces-rs/Cargo.toml"), dir.join("rust"));
    let (manifest, built) = (manifest.display().to_string(), built.display().to_string());
    let place = ["--manifest-path", manifest.as_str(), "--target-dir", built.as_str()];
    Cmd::new("cargo", &[&["build", "--quiet", "--locked"], &place[..]].concat()).run()?;
    Ok(dir)
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn newest(dir: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(dir).ok()?;
    entries
        .flatten()
        .map(
            |entry| {
                if entry.path().is_dir() { newest(&entry.path()) } else { modified(&entry.path()) }
            },
        )
        .max()
        .flatten()
}

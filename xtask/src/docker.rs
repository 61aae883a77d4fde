//! A Docker Engine for tests and benchmarks: the one that answers, or one started here and ended with us.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::shell::{Cmd, step, target};
use crate::{setup, shell};

/// Name of the image made from busybox-static.
pub(crate) const IMAGE: &str = "taffrail-test/busybox:1";

/// An engine that answers.
pub(crate) struct Engine {
    started: Option<Child>,
}

impl Engine {
    /// Installs what is missing, starts `dockerd` when none answers, and makes the test image.
    pub(crate) fn ready() -> Result<Self> {
        setup::packages(&[
            ("dockerd", "docker.io"),
            ("docker", "docker.io"),
            ("/bin/busybox", "busybox-static"),
            ("iptables", "iptables"),
        ])?;
        let mut engine = Self { started: None };
        if !answers() {
            engine.start()?;
        }
        image()?;
        Ok(engine)
    }

    fn start(&mut self) -> Result<()> {
        step("starting dockerd");
        remove_stale_pid_file();
        let log = target().join("dockerd.log");
        std::fs::create_dir_all(target())?;
        let file = File::create(&log)?;
        let program =
            if setup::exists("/usr/sbin/dockerd") { "/usr/sbin/dockerd" } else { "dockerd" };
        let child = Command::new(program)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("start dockerd")?;
        self.started = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !answers() {
            if Instant::now() > deadline {
                bail!("dockerd does not answer after 60 s; its log is {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(child) = &mut self.started {
            // SIGTERM, so that it ends its containers and unmounts what it mounted.
            let _ended = Cmd::new("kill", &[&child.id().to_string()]).succeeds();
            let _reaped = child.wait();
        }
    }
}

/// A dockerd that was killed leaves its pid file, and the next one refuses to start beside it. Nothing answers at the
/// socket here, so the file is stale unless a living dockerd has that number.
fn remove_stale_pid_file() {
    const PID_FILE: &str = "/var/run/docker.pid";
    let Ok(pid) = std::fs::read_to_string(PID_FILE) else { return };
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let lives = stat.contains("(dockerd)") && !stat.contains(") Z ");
    if !lives && std::fs::remove_file(PID_FILE).is_ok() {
        println!("removed {PID_FILE} of a dockerd that is gone");
    }
}

fn answers() -> bool {
    Cmd::new("docker", &["info"]).succeeds()
}

/// Makes the test image: busybox and nothing else.
fn image() -> Result<()> {
    if Cmd::new("docker", &["image", "inspect", IMAGE]).succeeds() {
        return Ok(());
    }
    step("making the test image from busybox-static");
    let dir = target().join("test-image");
    std::fs::create_dir_all(dir.join("bin"))?;
    std::fs::copy("/bin/busybox", dir.join("bin/busybox"))?;
    for applet in [
        "sh", "sleep", "awk", "cat", "echo", "dd", "tail", "head", "yes", "true", "false", "seq",
        "date", "nc", "wget",
    ] {
        let link = dir.join("bin").join(applet);
        if !link.exists() {
            std::os::unix::fs::symlink("busybox", link)?;
        }
    }
    let script =
        format!("tar -C '{}' -c . | docker import -c 'CMD [\"/bin/sh\"]' - {IMAGE}", dir.display());
    shell::Cmd::new("sh", &["-c", &script]).run()
}

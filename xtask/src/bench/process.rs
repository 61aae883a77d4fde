//! A measured process: started here, read from `/proc`, ended with us.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// How long a program may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(180);

/// A running program under measurement.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    child: Child,
    cpu_at_start: f64,
}

impl Measured {
    /// Starts `command` silently.
    pub(crate) fn start(name: &'static str, mut command: Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name, child, cpu_at_start: 0.0 })
    }

    /// Leaves out the CPU used so far.
    pub(crate) fn mark(&mut self) {
        self.cpu_at_start = self.cpu_total();
    }

    /// CPU seconds since [`mark`](Self::mark).
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.cpu_total() - self.cpu_at_start
    }

    /// CPU seconds, user and system, of the whole life. Nanoseconds of the scheduler, not ticks, unless threads ended.
    fn cpu_total(&self) -> f64 {
        // Threads that ended are only in the process' ticks.
        self.cpu_of_living().max(self.ticks())
    }

    /// CPU seconds of the threads that live now, to the nanosecond: differences are those of one request.
    pub(crate) fn cpu_of_living(&self) -> f64 {
        let mut ns = 0.0;
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        for task in tasks.into_iter().flatten().flatten() {
            let stat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            ns += stat.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
        }
        ns / 1e9
    }

    fn ticks(&self) -> f64 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        let number =
            |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        (number(11) + number(12)) / 100.0
    }

    /// A field of `/proc/PID/status` in MB, such as `VmRSS` or `VmHWM`.
    pub(crate) fn memory_mb(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0)
            * 1024.0
            / 1e6
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(pid).status().context("start kill")?;
        let deadline = Instant::now() + STOP_PATIENCE;
        while self.is_running() {
            ensure!(Instant::now() < deadline, "{} does not end at SIGTERM", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

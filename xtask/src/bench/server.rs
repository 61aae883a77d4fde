//! The real binary under measurement, on a data directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::get;

use super::process::Measured;
use crate::shell::binary;

const PORT: u16 = 17_350;

/// The real binary with an empty data directory.
pub(crate) struct Server {
    pub(crate) process: Measured,
    pub(crate) address: SocketAddr,
    dir: PathBuf,
    reaped_before: f64,
    cpu_at_start: f64,
}

impl Server {
    pub(crate) fn start(work: &Path) -> Result<Self> {
        let dir = work.join("taffrail");
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        let text = "containers:\n  enabled: false\nhost:\n  enabled: false\nmemory_limit: 2GiB\n";
        std::fs::write(dir.join("taffrail.yml"), text)?;
        Self::run(dir)
    }

    fn run(dir: PathBuf) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], PORT));
        let mut command = Command::new(binary("release"));
        command.arg("run").arg("--config").arg(dir.join("taffrail.yml"));
        command.arg("--data-dir").arg(dir.join("data"));
        command.arg("--listen").arg(address.to_string());
        let reaped_before = reaped_cpu();
        let mut process = Measured::start("taffrail", command)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !get(address, "/-/ready", &[]).is_ok_and(|answer| answer.status == 200) {
            ensure!(process.is_running(), "taffrail ended before it was ready");
            ensure!(Instant::now() < deadline, "taffrail is not ready after 60 s");
            std::thread::sleep(Duration::from_millis(20));
        }
        let cpu_at_start = process.cpu_of_living();
        process.mark();
        Ok(Self { process, address, dir, reaped_before, cpu_at_start })
    }

    /// Ends it as an operator would, which writes everything to files; CPU seconds of its whole life but for the start.
    pub(crate) fn end(mut self) -> Result<f64> {
        self.process.stop()?;
        Ok(reaped_cpu() - self.reaped_before - self.cpu_at_start)
    }

    /// Ends it and starts it again on the data it left.
    pub(crate) fn restart(mut self) -> Result<Self> {
        self.process.stop()?;
        Self::run(self.dir)
    }

    /// CPU seconds of what `ask` does, on average of `times`; once before without measuring.
    pub(crate) fn cpu_of(&self, times: u32, mut ask: impl FnMut() -> Result<()>) -> Result<f64> {
        ask()?;
        let before = self.process.cpu_of_living();
        for _ in 0..times {
            ask()?;
        }
        Ok((self.process.cpu_of_living() - before) / f64::from(times))
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

/// CPU seconds, in ticks of 10 ms, of children that ended.
fn reaped_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(13).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

//! The generated lines, and the server they are pushed to.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use testkit::service_logs::{STREAMS, ServiceLogs};
use testkit::{get, loki_push, send};

use crate::bench::process::Measured;
use crate::shell::binary;

const PORT: u16 = 17_350;
const SEED: u64 = 1;
const PER_DAY: u64 = 10_000_000;
/// Lines of a request.
const BATCH: usize = 2_000;

/// How lines are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Protobuf,
    Json,
}

/// Generated lines: made anew by each pass over them, so that they need no memory.
pub(super) struct Lines {
    start_ms: i64,
    rows: usize,
    bytes: u64,
    end_ms: i64,
    pub(super) entropy_bytes: f64,
}

impl Lines {
    /// `rows` lines that end about now.
    pub(super) fn new(rows: usize) -> Result<Self> {
        let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let span_ms = i64::try_from(rows as u64 * 86_400_000 / PER_DAY)?;
        let start_ms = now_ms - span_ms - 600_000;
        let entropy_bytes = ServiceLogs::new(SEED, 0, PER_DAY).entropy_bits() / 8.0;
        let mut lines = Self { start_ms, rows, bytes: 0, end_ms: start_ms, entropy_bytes };
        let (mut bytes, mut end_ms) = (0, start_ms);
        lines.each(|_, t_ms, line| {
            bytes += line.len() as u64;
            end_ms = t_ms;
            Ok(())
        })?;
        (lines.bytes, lines.end_ms) = (bytes, end_ms);
        Ok(lines)
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Megabytes of text.
    pub(super) fn mb(&self) -> f64 {
        self.bytes as f64 / 1e6
    }

    /// Visits stream, time in milliseconds and text of each.
    fn each(&self, mut visit: impl FnMut(usize, i64, &str) -> Result<()>) -> Result<()> {
        let mut logs = ServiceLogs::new(SEED, self.start_ms, PER_DAY);
        let mut line = String::new();
        for _ in 0..self.rows {
            let (stream, t_ms) = logs.next_into(&mut line);
            visit(stream, t_ms, &line)?;
        }
        Ok(())
    }

    /// Writes the plain lines to a file in `work`.
    pub(super) fn write(&self, work: &Path) -> Result<PathBuf> {
        let path = work.join("raw.log");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        self.each(|_, _, line| Ok(writeln!(file, "{line}")?))?;
        file.flush()?;
        Ok(path)
    }
}

/// The real binary with an empty data directory.
pub(super) struct Server {
    pub(super) process: Measured,
    address: SocketAddr,
    dir: PathBuf,
    reaped_before: f64,
    cpu_at_start: f64,
}

impl Server {
    pub(super) fn start(work: &Path) -> Result<Self> {
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
    pub(super) fn end(mut self) -> Result<f64> {
        self.process.stop()?;
        Ok(reaped_cpu() - self.reaped_before - self.cpu_at_start)
    }

    /// Ends it and starts it again on the data it left.
    pub(super) fn restart(mut self) -> Result<Self> {
        self.process.stop()?;
        Self::run(self.dir)
    }

    /// Its data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Pushes all lines, in order of time, and waits for each answer.
    pub(super) fn push(&self, lines: &Lines, wire: Wire) -> Result<()> {
        let labels: Vec<String> = (0..STREAMS)
            .map(|stream| {
                let pairs = ServiceLogs::labels(stream).map(|(n, v)| format!("{n}=\"{v}\""));
                format!("{{{}}}", pairs.join(","))
            })
            .collect();
        let mut batch: Vec<Vec<(i64, String)>> = vec![Vec::new(); STREAMS];
        let mut count = 0;
        lines.each(|stream, t_ms, line| {
            batch[stream].push((t_ms * 1_000_000, line.to_owned()));
            count += 1;
            if count % BATCH == 0 || count == lines.rows {
                self.send(&labels, &batch, wire)?;
                batch.iter_mut().for_each(Vec::clear);
            }
            Ok(())
        })
    }

    fn send(&self, labels: &[String], batch: &[Vec<(i64, String)>], wire: Wire) -> Result<()> {
        let streams: Vec<loki_push::Stream<'_>> = labels
            .iter()
            .zip(batch)
            .filter(|(_, lines)| !lines.is_empty())
            .map(|(labels, lines)| {
                let lines = lines.iter().map(|(t_ns, line)| (*t_ns, line.as_str())).collect();
                (labels.as_str(), lines)
            })
            .collect();
        let (body, kind) = match wire {
            Wire::Protobuf => (loki_push::protobuf(&streams), "application/x-protobuf"),
            Wire::Json => (loki_push::json(&streams), "application/json"),
        };
        let headers = [("Content-Type", kind)];
        let answer = send(self.address, "POST /loki/api/v1/push", &headers, &body)?;
        ensure!(answer.status == 204, "push: {} {}", answer.status, answer.body);
        Ok(())
    }

    /// CPU seconds of one range query over all lines, on average.
    pub(super) fn query_cpu(&self, query: &str, lines: &Lines, times: u32) -> Result<f64> {
        let (start, end) =
            (format!("{}000000", lines.start_ms), format!("{}000000", lines.end_ms + 1));
        let params = [("query", query), ("start", &start), ("end", &end), ("step", "1h")];
        let ask = || -> Result<()> {
            let answer = get(self.address, "/loki/api/v1/query_range", &params)?;
            ensure!(answer.status == 200, "{query}: {} {}", answer.status, answer.body);
            Ok(())
        };
        ask()?;
        let before = self.process.cpu_of_living();
        for _ in 0..times {
            ask()?;
        }
        Ok((self.process.cpu_of_living() - before) / f64::from(times))
    }
}

/// CPU seconds, in ticks of 10 ms, of children that ended.
fn reaped_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(13).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Bytes of all files in `dir` and below.
pub(super) fn dir_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { dir_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

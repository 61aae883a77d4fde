//! The generated lines, and how they are pushed and asked for.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use testkit::service_logs::{STREAMS, ServiceLogs};
use testkit::{get, loki_push, send};

use crate::bench::server::Server;
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

impl Server {
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
        self.cpu_of(times, ask)
    }
}

//! The compared servers: how each is started, told to settle, and measured.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use testkit::{get, post};

use super::load::{Bodies, Body, Wire};
use crate::bench::process::Measured;
use crate::shell::binary;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Kind {
    Taffrail,
    VictoriaMetrics,
    Prometheus,
}

/// In the order of the tables.
pub(super) const KINDS: [Kind; 3] = [Kind::Taffrail, Kind::VictoriaMetrics, Kind::Prometheus];

impl Kind {
    pub(in crate::bench) fn name(self) -> &'static str {
        match self {
            Self::Taffrail => "taffrail",
            Self::VictoriaMetrics => "victoria-metrics",
            Self::Prometheus => "prometheus",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Taffrail => 17_345,
            Self::VictoriaMetrics => 17_346,
            Self::Prometheus => 17_347,
        }
    }

    fn ready(self) -> &'static str {
        if self == Self::VictoriaMetrics { "/health" } else { "/-/ready" }
    }

    fn command(self, dir: &Path, scrape: &Path) -> Command {
        let address = format!("127.0.0.1:{}", self.port());
        let data = dir.join("data");
        match self {
            Self::Taffrail => {
                let mut command = Command::new(binary("release"));
                command.arg("run").arg("--config").arg(dir.join("taffrail.yml"));
                command.arg("--data-dir").arg(data).arg("--listen").arg(address);
                command
            }
            Self::VictoriaMetrics => {
                let mut command = Command::new("victoria-metrics");
                command
                    .arg(format!("-storageDataPath={}", data.display()))
                    .arg(format!("-httpListenAddr={address}"))
                    .arg(format!("-promscrape.config={}", scrape.display()))
                    .args(["-retentionPeriod=1", "-search.disableCache"])
                    .args(["-search.latencyOffset=0s", "-search.maxUniqueTimeseries=10000000"]);
                command
            }
            Self::Prometheus => {
                let mut command = Command::new("prometheus");
                command
                    .arg(format!("--config.file={}", scrape.display()))
                    .arg(format!("--storage.tsdb.path={}", data.display()))
                    .arg(format!("--web.listen-address={address}"))
                    .args(["--web.enable-remote-write-receiver", "--web.enable-admin-api"]);
                command
            }
        }
    }
}

/// A server at work.
pub(in crate::bench) struct Server {
    kind: Kind,
    dir: PathBuf,
    pub(in crate::bench) process: Measured,
    pub(in crate::bench) address: SocketAddr,
}

impl Server {
    /// Starts `kind` with an empty data directory; `scrape` is a list of `scrape_configs`, or empty.
    pub(in crate::bench) fn start(kind: Kind, work: &Path, scrape: &str) -> Result<Self> {
        Self::start_with(kind, work, scrape, "")
    }

    /// As [`start`](Self::start), with more keys in the scrape configuration.
    pub(in crate::bench) fn start_with(
        kind: Kind,
        work: &Path,
        scrape: &str,
        more: &str,
    ) -> Result<Self> {
        let dir = work.join(kind.name());
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        let file = dir.join("prometheus.yml");
        let list = if scrape.is_empty() { " []\n".to_owned() } else { format!("\n{scrape}") };
        std::fs::write(&file, format!("{more}scrape_configs:{list}"))?;
        let ours = "prometheus: prometheus.yml\ncontainers:\n  enabled: false\nhost:\n  enabled: false\nmemory_limit: 12GiB\n";
        std::fs::write(dir.join("taffrail.yml"), ours)?;
        Self::run(kind, dir)
    }

    fn run(kind: Kind, dir: PathBuf) -> Result<Self> {
        let process =
            Measured::start(kind.name(), kind.command(&dir, &dir.join("prometheus.yml")))?;
        let address = SocketAddr::from(([127, 0, 0, 1], kind.port()));
        let mut server = Self { kind, dir, process, address };
        let deadline = Instant::now() + Duration::from_secs(300);
        while !get(address, kind.ready(), &[]).is_ok_and(|answer| answer.status == 200) {
            ensure!(server.process.is_running(), "{} ended before it was ready", kind.name());
            ensure!(Instant::now() < deadline, "{} is not ready after 300 s", kind.name());
            std::thread::sleep(Duration::from_millis(5));
        }
        server.process.mark();
        Ok(server)
    }

    /// Ends it as an operator would and starts it again on the data it left.
    pub(super) fn restart_in_order(mut self) -> Result<Self> {
        self.process.stop()?;
        self.restart_after_kill()
    }

    /// Starts it again on the data it left.
    pub(in crate::bench) fn restart_after_kill(self) -> Result<Self> {
        let Self { kind, dir, process, .. } = self;
        drop(process);
        Self::run(kind, dir)
    }

    /// Waits until it has used next to no CPU for a second: what it does behind answers is not what is asked about. Gives
    /// up waiting, not measuring, after half a minute.
    pub(super) fn wait_for_idle(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut before = self.process.cpu_of_living();
        while Instant::now() < deadline {
            std::thread::sleep(Duration::from_secs(1));
            let now = self.process.cpu_of_living();
            if (now - before).abs() < 0.03 {
                break;
            }
            before = now;
        }
    }

    /// Bytes of all its files, as they are.
    pub(super) fn bytes(&self) -> u64 {
        crate::bench::idle::bytes_below(&self.dir.join("data"))
    }

    /// Sends all bodies; seconds of wall time and of its CPU.
    pub(super) fn push(&mut self, bodies: &Bodies, connections: usize) -> Result<(f64, f64)> {
        self.process.mark();
        let started = Instant::now();
        let pushed =
            send(self.address, bodies, connections, &AtomicBool::new(false), &AtomicU64::new(0))?;
        ensure!(pushed == bodies.samples, "{pushed} of {} samples were taken", bodies.samples);
        Ok((started.elapsed().as_secs_f64(), self.process.cpu_seconds()))
    }

    /// Sends bodies and kills the server once `share` of the samples are acknowledged. Samples acknowledged.
    pub(super) fn push_and_kill(
        &mut self,
        bodies: &Bodies,
        connections: usize,
        share: f64,
    ) -> Result<u64> {
        let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
        let address = self.address;
        let enough = (bodies.samples as f64 * share) as u64;
        let ended_early = std::thread::scope(|scope| {
            let sender = scope.spawn(|| send(address, bodies, connections, &stop, &acknowledged));
            while acknowledged.load(Ordering::SeqCst) < enough && !sender.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let ended_early = sender.is_finished();
            self.process.kill();
            stop.store(true, Ordering::SeqCst);
            // That requests fail now is what is meant to happen.
            let _failed = sender.join();
            ended_early
        });
        ensure!(!ended_early, "the requests ended before the server was killed");
        Ok(acknowledged.load(Ordering::SeqCst))
    }

    /// Bytes of all its files once flushing and merging have come to rest.
    pub(super) fn settled_bytes(&mut self) -> Result<u64> {
        match self.kind {
            Kind::Taffrail => {
                self.process.stop()?;
                let dir = self.dir.clone();
                self.process = Measured::start(
                    self.kind.name(),
                    self.kind.command(&dir, &dir.join("prometheus.yml")),
                )?;
                quiet_bytes(&self.dir.join("data/metrics"))
            }
            Kind::VictoriaMetrics => {
                get(self.address, "/internal/force_flush", &[])?;
                get(self.address, "/internal/force_merge", &[])?;
                quiet_bytes(&self.dir.join("data"))
            }
            Kind::Prometheus => {
                // The head becomes a block, as it would after two hours.
                let answer = post(self.address, "/api/v1/admin/tsdb/snapshot")?;
                ensure!(answer.status == 200, "{}", answer.body);
                quiet_bytes(&self.dir.join("data/snapshots"))
            }
        }
    }
}

/// Waits until the files below `dir` have had the same size for three seconds.
fn quiet_bytes(dir: &Path) -> Result<u64> {
    let deadline = Instant::now() + Duration::from_secs(300);
    let (mut bytes, mut since) = (0, Instant::now());
    loop {
        let now = crate::bench::idle::bytes_below(dir);
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
        if bytes > 0 && since.elapsed() > Duration::from_secs(3) {
            return Ok(bytes);
        }
        if Instant::now() > deadline {
            bail!("{} does not come to rest", dir.display());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Sends the bodies in order, each target's on one connection; returns the samples acknowledged.
fn send(
    address: SocketAddr,
    bodies: &Bodies,
    connections: usize,
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Result<u64> {
    let lane = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            let lane = lane.fetch_add(1, Ordering::SeqCst);
            let mut connection = Connection::open(address, bodies.wire)?;
            for (target, body) in &bodies.requests {
                if target % connections != lane {
                    continue;
                }
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                connection.post(body)?;
                acknowledged.fetch_add(body.samples, Ordering::SeqCst);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(work)).collect();
        let mut outcome = Ok(());
        for thread in threads {
            let ended = thread.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?;
            outcome = outcome.and(ended);
        }
        outcome
    })?;
    Ok(acknowledged.load(Ordering::SeqCst))
}

/// A kept-alive connection for pushes.
struct Connection {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Connection {
    fn open(address: SocketAddr, wire: Wire) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let head = format!("HTTP/1.1\r\nHost: {address}\r\n{}", wire.headers());
        Ok(Self { stream: BufReader::new(stream), head })
    }

    fn post(&mut self, body: &Body) -> Result<()> {
        let (path, length) = (&body.path, body.bytes.len());
        let mut request =
            format!("POST {path} {}Content-Length: {length}\r\n\r\n", self.head).into_bytes();
        request.extend_from_slice(&body.bytes);
        self.stream.get_mut().write_all(&request)?;
        let (mut line, mut length, mut status) = (String::new(), 0usize, 0u16);
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
            let text = line.trim_end().to_ascii_lowercase();
            if status == 0 {
                status =
                    text.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status")?;
            } else if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            } else if text.is_empty() {
                break;
            }
        }
        let mut rest = vec![0; length];
        self.stream.read_exact(&mut rest)?;
        ensure!(
            (200..300).contains(&status),
            "a push was answered with {status}: {}",
            String::from_utf8_lossy(&rest)
        );
        Ok(())
    }
}

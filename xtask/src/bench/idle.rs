//! `bench idle`: what watching 20 containers costs, beside Debian's prometheus and prometheus-node-exporter, which do
//! the host's share of it (there is no Debian package of cAdvisor, Loki or Promtail to add theirs).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::process::Measured;
use super::table;
use crate::docker::{Engine, IMAGE};
use crate::setup;
use crate::shell::{Cmd, binary, step, target};

const CONTAINERS: usize = 20;
const OURS_PORT: u16 = 17245;
const PROMETHEUS_PORT: u16 = 19090;
const NODE_EXPORTER_PORT: u16 = 19100;

/// Containers of the benchmark, removed at the end.
struct Fleet;

impl Fleet {
    fn start() -> Result<Self> {
        step(&format!("starting {CONTAINERS} containers, each writing a JSON line a second"));
        let fleet = Self;
        fleet.remove();
        let script = r#"i=0; while true; do i=$((i+1)); echo "{\"level\":\"info\",\"seq\":$i,\"msg\":\"request served\",\"path\":\"/api/items/$((i%50))\"}"; sleep 1; done"#;
        for i in 0..CONTAINERS {
            let name = name(i);
            Cmd::new(
                "docker",
                &["run", "-d", "--name", &name, "--memory", "64m", IMAGE, "sh", "-c", script],
            )
            .output()?;
        }
        Ok(fleet)
    }

    fn remove(&self) {
        let names: Vec<String> = (0..CONTAINERS).map(name).collect();
        let mut args = vec!["rm", "-f"];
        args.extend(names.iter().map(String::as_str));
        let _absent = Cmd::new("docker", &args).succeeds();
    }
}

fn name(index: usize) -> String {
    format!("taffrail-bench-{index}")
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.remove();
    }
}

pub(crate) fn idle(args: &[String]) -> Result<()> {
    let minutes: f64 = match args {
        [] => 10.0,
        [flag, minutes] if flag == "--minutes" => {
            minutes.parse().with_context(|| format!("--minutes {minutes:?} is not a number"))?
        }
        _ => bail!("usage: cargo xtask bench idle [--minutes N]"),
    };
    setup::ui()?;
    step("building taffrail (release)");
    Cmd::new("cargo", &["build", "--release", "--package", "taffrail"]).run()?;
    setup::packages(&[
        ("prometheus", "prometheus"),
        ("prometheus-node-exporter", "prometheus-node-exporter"),
    ])?;
    let _engine = Engine::ready()?;
    let _fleet = Fleet::start()?;
    let work = target().join("bench-idle");
    if work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    std::fs::create_dir_all(&work)?;

    let started = Instant::now();
    let mut ours = taffrail(&work)?;
    wait_for(OURS_PORT, "/-/ready", &mut ours)?;
    let start_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut peers = [node_exporter()?, prometheus(&work)?];
    for (peer, (port, path)) in
        peers.iter_mut().zip([(NODE_EXPORTER_PORT, "/metrics"), (PROMETHEUS_PORT, "/-/ready")])
    {
        wait_for(port, path, peer)?;
    }

    step(&format!("measuring for {minutes} minutes"));
    ours.mark();
    peers.iter_mut().for_each(Measured::mark);
    let measured = Instant::now();
    let mut samples: Vec<(f64, f64)> = Vec::new();
    while measured.elapsed().as_secs_f64() < minutes * 60.0 {
        std::thread::sleep(Duration::from_secs(5));
        samples.push((ours.memory_mb("VmRSS"), peers.iter().map(|p| p.memory_mb("VmRSS")).sum()));
        if !ours.is_running() {
            bail!("{} ended during the measurement", ours.name);
        }
    }
    let seconds = measured.elapsed().as_secs_f64();
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let (rss, peers_rss): (Vec<f64>, Vec<f64>) = samples.into_iter().unzip();
    let peers_cpu: f64 = peers.iter().map(Measured::cpu_seconds).sum();
    let peers_peak: f64 = peers.iter().map(|p| p.memory_mb("VmHWM")).sum();
    let size_mb = |path: &str| std::fs::metadata(path).map_or(0.0, |m| m.len() as f64 / 1e6);
    let peers_size = size_mb("/usr/bin/prometheus") + size_mb("/usr/bin/prometheus-node-exporter");
    let disk_mb = |dir: &Path| bytes_below(dir) as f64 / 1e6;
    let row = |what: &str, ours: f64, peer: f64| {
        let ratio = if peer > 0.0 { format!("{:.2}", ours / peer) } else { "-".to_owned() };
        [
            what.to_owned(),
            format!("{ours:.2}"),
            if peer > 0.0 { format!("{peer:.2}") } else { "-".to_owned() },
            ratio,
        ]
    };
    table(&[
        [
            "measure".to_owned(),
            "taffrail".to_owned(),
            "prometheus + node_exporter".to_owned(),
            "ratio".to_owned(),
        ],
        row("RSS median, MB", median(rss), median(peers_rss)),
        row("RSS peak, MB", ours.memory_mb("VmHWM"), peers_peak),
        row("CPU, % of a core", ours.cpu_seconds() / seconds * 100.0, peers_cpu / seconds * 100.0),
        row("data on disk, MB", disk_mb(&work.join("taffrail")), disk_mb(&work.join("prometheus"))),
        row("start until ready, ms", start_ms, 0.0),
        row("program size, MB", size_mb(&binary("release")), peers_size),
    ]);
    println!(
        "\ntaffrail: {CONTAINERS} containers (metrics, events, logs) and the host every 15 s; peers: the host every 15 s."
    );
    Ok(())
}

fn taffrail(work: &Path) -> Result<Measured> {
    let mut command = Command::new(binary("release"));
    command
        .arg("run")
        .arg("--data-dir")
        .arg(work.join("taffrail"))
        .arg("--listen")
        .arg(format!("127.0.0.1:{OURS_PORT}"));
    Measured::start("taffrail", command)
}

fn node_exporter() -> Result<Measured> {
    let mut command = Command::new("prometheus-node-exporter");
    command.arg(format!("--web.listen-address=127.0.0.1:{NODE_EXPORTER_PORT}"));
    Measured::start("prometheus-node-exporter", command)
}

fn prometheus(work: &Path) -> Result<Measured> {
    let config: PathBuf = work.join("prometheus.yml");
    let text = format!(
        "global:\n  scrape_interval: 15s\nscrape_configs:\n  - job_name: node\n    static_configs:\n      - targets: ['127.0.0.1:{NODE_EXPORTER_PORT}']\n"
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", work.join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}"));
    Measured::start("prometheus", command)
}

fn wait_for(port: u16, path: &str, process: &mut Measured) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !answers(port, path) {
        if !process.is_running() {
            bail!("{} ended before it was ready", process.name);
        }
        if Instant::now() > deadline {
            bail!("{} is not ready after 60 s", process.name);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn answers(port: u16, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut head = [0u8; 12];
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_exact(&mut head).is_ok()
        && head.ends_with(b" 200")
}

/// Bytes of all files below `dir`.
pub(super) fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            if entry.path().is_dir() {
                bytes_below(&entry.path())
            } else {
                entry.metadata().map_or(0, |m| m.len())
            }
        })
        .sum()
}

//! The samples of the benchmark: as remote write bodies made beforehand, and as targets to scrape.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::mix::{Mix, STEP_MS};
use testkit::remote_write::{Series, encode};

/// How samples are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// Remote write 1.0.
    RemoteWrite,
    /// Exposition text, to VictoriaMetrics' path for it.
    Text,
}

impl Wire {
    /// Headers that say what a body is.
    pub(super) fn headers(self) -> &'static str {
        match self {
            Self::RemoteWrite => {
                "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                 X-Prometheus-Remote-Write-Version: 0.1.0\r\n"
            }
            Self::Text => "Content-Type: text/plain\r\n",
        }
    }
}

/// One request.
pub(super) struct Body {
    /// Path and query.
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
    pub(super) samples: u64,
}

/// Requests in order of time: each some scrapes of one target.
pub(super) struct Bodies {
    pub(super) wire: Wire,
    /// With the number of the target.
    pub(super) requests: Vec<(usize, Body)>,
    pub(super) samples: u64,
}

impl Bodies {
    /// `rounds` scrapes of every target of `mix`, the first at `first_ms`, by remote write.
    pub(super) fn generate(
        mix: &mut Mix,
        first_ms: i64,
        rounds: usize,
        per_request: usize,
    ) -> Self {
        Self::of(Wire::RemoteWrite, mix, first_ms, rounds, per_request)
    }

    /// The same on any wire; as text there is one scrape per request.
    pub(super) fn of(
        wire: Wire,
        mix: &mut Mix,
        first_ms: i64,
        rounds: usize,
        per_request: usize,
    ) -> Self {
        let names = if wire == Wire::Text { names(mix) } else { Vec::new() };
        let per_request = if wire == Wire::Text { 1 } else { per_request };
        let mut series: Vec<Series> = (0..mix.len())
            .map(|number| Series { labels: mix.labels(number).to_vec(), samples: Vec::new() })
            .collect();
        let (mut requests, mut values, mut samples) = (Vec::new(), Vec::new(), 0);
        let mut t_ms = first_ms;
        let per_target = mix.per_target();
        for round in 1..=rounds {
            mix.scrape(&mut values);
            for (series, value) in series.iter_mut().zip(&values) {
                series.samples.push((t_ms, *value));
            }
            if round % per_request == 0 || round == rounds {
                for (target, series) in series.chunks(per_target).enumerate() {
                    let (path, bytes) = match wire {
                        Wire::RemoteWrite => {
                            let all = series.iter().map(|one| (one, one.samples.as_slice()));
                            ("/api/v1/write".to_owned(), encode(all))
                        }
                        Wire::Text => {
                            let path = format!("/api/v1/import/prometheus?timestamp={t_ms}");
                            let from = target * per_target;
                            let lines = names[from..].iter().zip(&values[from..]);
                            (path, text(lines.take(series.len())).into_bytes())
                        }
                    };
                    let count = series.iter().map(|one| one.samples.len() as u64).sum();
                    samples += count;
                    requests.push((target, Body { path, bytes, samples: count }));
                }
                series.iter_mut().for_each(|one| one.samples.clear());
            }
            t_ms += STEP_MS;
        }
        Self { wire, requests, samples }
    }
}

/// Targets that answer each scrape with new values.
pub(in crate::bench) struct Exporter {
    address: SocketAddr,
    targets: u64,
    scrapes: Arc<AtomicU64>,
}

/// A target's texts, one scrape after another, made beforehand: serving them costs the machine little.
type Texts = Vec<Vec<Arc<str>>>;

const ROUNDS: usize = 20;

impl Exporter {
    pub(in crate::bench) fn start(mut mix: Mix) -> Result<Self> {
        let texts = texts(&mut mix);
        let targets = texts.len() as u64;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let scrapes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&scrapes);
        let texts = Arc::new((texts, Mutex::new(vec![0usize; targets as usize])));
        // Lives as long as the program; its connections end with their clients.
        std::thread::Builder::new().name("exporter".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let (texts, counter) = (Arc::clone(&texts), Arc::clone(&counter));
                std::thread::spawn(move || serve(stream, &texts.0, &texts.1, &counter));
            }
        })?;
        Ok(Self { address, targets, scrapes })
    }

    pub(in crate::bench) fn targets(&self) -> u64 {
        self.targets
    }

    pub(in crate::bench) fn scrapes(&self) -> u64 {
        self.scrapes.load(Ordering::SeqCst)
    }

    /// A job per target, as each has a path of its own.
    pub(in crate::bench) fn scrape_configs(&self) -> String {
        let mut out = String::new();
        for target in 0..self.targets {
            let _infallible = write!(
                out,
                "  - job_name: 'pods-{target}'\n    scrape_interval: 1s\n    scrape_timeout: 1s\n    honor_labels: true\n    metrics_path: /{target}\n    static_configs:\n      - targets: ['{}']\n",
                self.address
            );
        }
        out
    }

    pub(in crate::bench) fn wait_for(&self, scrapes: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.scrapes() < scrapes {
            ensure!(Instant::now() < deadline, "{} of {scrapes} scrapes came", self.scrapes());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Each series up to its value.
fn names(mix: &Mix) -> Vec<String> {
    let name = |number| {
        let mut text = String::new();
        let labels = mix.labels(number);
        let name = labels.iter().find(|(n, _)| n == "__name__").map_or("", |(_, v)| v);
        let _infallible = write!(text, "{name}{{");
        let rest = labels.iter().filter(|(n, _)| n != "__name__");
        for (i, (name, value)) in rest.enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let _infallible = write!(text, "{comma}{name}=\"{value}\"");
        }
        text + "} "
    };
    (0..mix.len()).map(name).collect()
}

fn text<'a>(lines: impl Iterator<Item = (&'a String, &'a f64)>) -> String {
    let mut text = String::new();
    for (name, value) in lines {
        let _infallible = writeln!(text, "{name}{value}");
    }
    text
}

fn texts(mix: &mut Mix) -> Texts {
    let names = names(mix);
    let targets = mix.len().div_ceil(mix.per_target());
    let mut texts: Texts = vec![Vec::new(); targets];
    let mut values = Vec::new();
    for _ in 0..ROUNDS {
        mix.scrape(&mut values);
        let lines: Vec<(&String, &f64)> = names.iter().zip(&values).collect();
        for (texts, lines) in texts.iter_mut().zip(lines.chunks(mix.per_target())) {
            texts.push(text(lines.iter().copied()).into());
        }
    }
    texts
}

fn serve(stream: TcpStream, texts: &Texts, rounds: &Mutex<Vec<usize>>, counter: &AtomicU64) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut target = 0usize;
    loop {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(path) = line.strip_prefix("GET /") {
            target = path.split([' ', '?']).next().and_then(|t| t.parse().ok()).unwrap_or(0);
        }
        if line != "\r\n" {
            continue;
        }
        let Some(texts) = texts.get(target) else { return };
        let round = rounds.lock().map_or(0, |mut rounds| {
            rounds[target] += 1;
            rounds[target]
        });
        let text = &texts[round % texts.len()];
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        let stream = reader.get_mut();
        if stream.write_all(head.as_bytes()).is_err() || stream.write_all(text.as_bytes()).is_err()
        {
            return;
        }
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

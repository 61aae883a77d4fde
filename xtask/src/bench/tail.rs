//! `bench tail`: log files under the real program: what reading them costs, and whether every line is stored once.
//!
//! First one log is written without rest, which gives the share of a core of the whole process (reading, recognising,
//! storing) and the delay until a live tail shows a line. Then six logs are rotated, each in one way, while the program is
//! killed with SIGKILL every few seconds; at the end it is asked for every line.
//!
//! What no reader can see is scripted around: `copytruncate` loses what is written between the copy and the truncation, so
//! the writer pauses there; a file that is deleted, or emptied without a copy, is stored first, for a reader that was
//! killed has nothing left to read; and rotated files are removed only when their lines were stored, however long a restart
//! takes.

mod logs;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use testkit::get;

use self::logs::{Log, Way, unix_ns};
use super::process::Measured;
use super::table;
use crate::setup;
use crate::shell::{Cmd, binary, step, target};

const PORT: u16 = 17_445;
/// How long one log is written without rest.
const CALM: Duration = Duration::from_secs(20);
/// Distance of kills.
const KILL_EVERY: Duration = Duration::from_secs(5);
/// Lines asked for at once.
const PAGE_LINES: usize = 100_000;
/// How long the last lines may take to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// `cargo xtask bench tail [ROTATIONS [LINES PER SECOND]]`.
pub(crate) fn tail(args: &[String]) -> Result<()> {
    let number = |at: usize, default: usize| -> Result<usize> {
        args.get(at).map_or(Ok(default), |text| text.parse().context("a number is expected"))
    };
    let (rotations, lines_per_second) = (number(0, 1_000)?, number(1, 50_000)?);
    setup::ui()?;
    step("building taffrail (release)");
    Cmd::new("cargo", &["build", "--release", "--package", "taffrail"]).run()?;
    let work = target().join("bench-tail");
    if work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    std::fs::create_dir_all(work.join("logs"))?;
    let bench = Bench { work, begun_ns: unix_ns(), lines_per_second };
    bench.configure()?;
    bench.calm()?;
    bench.rotate(rotations)
}

struct Bench {
    work: PathBuf,
    begun_ns: i64,
    lines_per_second: usize,
}

impl Bench {
    fn configure(&self) -> Result<()> {
        let text = format!(
            "containers:\n  enabled: false\nhost:\n  enabled: false\nquery:\n  max_log_lines: {PAGE_LINES}\n\
             files:\n- paths: ['{}/*.log']\n",
            self.logs().display()
        );
        Ok(std::fs::write(self.work.join("taffrail.yml"), text)?)
    }

    fn logs(&self) -> PathBuf {
        self.work.join("logs")
    }

    fn start(&self) -> Result<Measured> {
        let mut command = Command::new(binary("release"));
        command.arg("run").arg("--config").arg(self.work.join("taffrail.yml"));
        command.arg("--data-dir").arg(self.work.join("data"));
        command.arg("--listen").arg(format!("127.0.0.1:{PORT}"));
        let mut server = Measured::start("taffrail", command)?;
        let deadline = Instant::now() + PATIENCE;
        while !get(address(), "/-/ready", &[]).is_ok_and(|answer| answer.status == 200) {
            ensure!(server.is_running(), "taffrail ended before it was ready");
            ensure!(Instant::now() < deadline, "taffrail is not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// The share of a core and the delay of one log that is written without rest.
    fn calm(&self) -> Result<()> {
        step(&format!("one log at {} lines/s for {} s", self.lines_per_second, CALM.as_secs()));
        let mut server = self.start()?;
        let mut log = Log::create(&self.logs(), "calm", Way::Rename)?;
        let mut probe = Log::create(&self.logs(), "probe", Way::Rename)?;
        let follower = Follower::start(&selector(&self.logs(), "probe"))?;
        // Not the first moments, in which all is new.
        log.write_for(Duration::from_secs(3), self.lines_per_second, |_| Ok(()))?;
        server.mark();
        let (begun, written) = (Instant::now(), log.written);
        let mut probes = 0_u32;
        log.write_for(CALM, self.lines_per_second, |age| {
            if age >= Duration::from_millis(230) * probes {
                probe.write(1)?;
                probes += 1;
            }
            Ok(())
        })?;
        let (seconds, cpu) = (begun.elapsed().as_secs_f64(), server.cpu_seconds());
        let lines = (log.written - written) as f64;
        let memory_mb = server.memory_mb("VmHWM");
        // What the last lines cost is not counted, but they must come.
        for log in [&log, &probe] {
            self.wait_for(log)?;
        }
        let mut delays = follower.stop()?;
        delays.sort_unstable();
        let delay_ms = |share: f64| {
            let at = (delays.len() as f64 * share) as usize;
            delays
                .get(at.min(delays.len().saturating_sub(1)))
                .map_or(f64::NAN, |ns| *ns as f64 / 1e6)
        };
        let row = |what: &str, value: String, aim: &str| [what.to_owned(), value, aim.to_owned()];
        table(&[
            row("one log, no rotation", "taffrail".to_owned(), "aim"),
            row("lines/s written", format!("{:.0}", lines / seconds), ""),
            row("bytes a line", format!("{:.0}", log.bytes as f64 / log.written as f64), ""),
            row("CPU, % of a core", format!("{:.1}", cpu / seconds * 100.0), "20"),
            row("CPU, us a line", format!("{:.2}", cpu / lines * 1e6), "4"),
            row(
                "written until shown by `taffrail logs -f`, median ms",
                format!("{:.0}", delay_ms(0.5)),
                "200",
            ),
            row("the same, 99 %", format!("{:.0}", delay_ms(0.99)), ""),
            row("resident memory, peak MB", format!("{memory_mb:.0}"), ""),
        ]);
        ensure!(delays.len() as u32 >= probes / 2, "{} of {probes} lines were shown", delays.len());
        server.stop()
    }

    /// Every way of rotation beside kills.
    fn rotate(&self, rotations: usize) -> Result<()> {
        step(&format!(
            "{rotations} rotations of each kind at {} lines/s altogether, with kill -9 every {} s",
            self.lines_per_second,
            KILL_EVERY.as_secs()
        ));
        let mut server = self.start()?;
        let left = Arc::new(AtomicUsize::new(Way::ALL.len()));
        let failed = Arc::new(AtomicBool::new(false));
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let begun = Instant::now();
        let mut threads = Vec::new();
        for way in Way::ALL {
            let mut log = Log::create(&self.logs(), way.name(), way)?;
            let rate = self.lines_per_second / Way::ALL.len();
            let (left, failed, outcomes) = (left.clone(), failed.clone(), outcomes.clone());
            let begun_ns = self.begun_ns;
            threads.push(std::thread::spawn(move || {
                let stored = |log: &Log| is_last_stored(log, begun_ns);
                let done = log.live(rotations, rate, &failed, stored);
                failed.fetch_or(done.is_err(), Ordering::Relaxed);
                left.fetch_sub(1, Ordering::Relaxed);
                if let Ok(mut outcomes) = outcomes.lock() {
                    outcomes.push(done.map(|()| log));
                }
            }));
        }
        let (mut kills, mut killed) = (0, Instant::now());
        let mut trouble = None;
        while left.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(Duration::from_millis(50));
            if trouble.is_none() && killed.elapsed() >= KILL_EVERY {
                server.kill();
                match self.start() {
                    Ok(started) => server = started,
                    Err(error) => {
                        failed.store(true, Ordering::Relaxed);
                        trouble = Some(error);
                    }
                }
                (kills, killed) = (kills + 1, Instant::now());
            }
        }
        for thread in threads {
            ensure!(thread.join().is_ok(), "a writer panicked");
        }
        if let Some(error) = trouble {
            return Err(error);
        }
        let seconds = begun.elapsed().as_secs_f64();
        let mut logs = Vec::new();
        for outcome in
            outcomes.lock().map_or_else(|_| Vec::new(), |mut done| std::mem::take(&mut *done))
        {
            logs.push(outcome?);
        }
        logs.sort_by_key(|log| log.way);
        let written: usize = logs.iter().map(|log| log.written).sum();
        step(&format!("{kills} kills; asking for {written} lines"));
        let mut rows =
            vec![["kind", "rotations", "written", "stored", "lost", "twice"].map(str::to_owned)];
        let (mut wrong, mut all) = (0, [0; 4]);
        for log in &logs {
            self.wait_for(log)?;
            let found = self.found(log)?;
            let lost = said(&log.name, "lost", &found, |times| times == 0);
            let twice = said(&log.name, "twice", &found, |times| times > 1);
            let stored: usize = found.iter().map(|times| usize::from(*times)).sum();
            wrong += lost + twice;
            for (sum, n) in all.iter_mut().zip([log.written, stored, lost, twice]) {
                *sum += n;
            }
            let mut row = vec![log.way.name().to_owned(), log.rotations.to_string()];
            row.extend([log.written, stored, lost, twice].map(|n| n.to_string()));
            rows.push(row.try_into().unwrap_or_default());
        }
        let mut row =
            vec!["all".to_owned(), logs.iter().map(|log| log.rotations).sum::<usize>().to_string()];
        row.extend(all.map(|n| n.to_string()));
        rows.push(row.try_into().unwrap_or_default());
        table(&rows);
        println!("\n{kills} kills, {:.0} lines/s written on average", written as f64 / seconds);
        server.stop()?;
        ensure!(wrong == 0, "lines were lost or stored twice");
        Ok(())
    }

    /// Waits until the last line of `log` is stored, and another look finds no more lines than the one before.
    fn wait_for(&self, log: &Log) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_last_stored(log, self.begun_ns)? {
            ensure!(Instant::now() < deadline, "the last line of {} does not come", log.name);
            std::thread::sleep(Duration::from_millis(50));
        }
        let query = format!("sum(count_over_time({}[1d]))", selector(&self.logs(), &log.name));
        let mut before = None;
        loop {
            let answer = get(address(), "/loki/api/v1/query", &[("query", &query)])?.json();
            let count = answer.pointer("/data/result/0/value/1").cloned();
            let is_steady = count.is_some() && before == count;
            before = count;
            if is_steady {
                return Ok(());
            }
            // A search for rotated files takes up to a second.
            std::thread::sleep(Duration::from_secs(2));
        }
    }

    /// How often each line of `log` is stored, by its number.
    fn found(&self, log: &Log) -> Result<Vec<u8>> {
        let mut found = vec![0_u8; log.written];
        let mut from_ns = self.begun_ns;
        loop {
            let (start, limit) = (from_ns.to_string(), PAGE_LINES.to_string());
            let params = [
                ("query", selector(&self.logs(), &log.name)),
                ("start", start),
                ("end", (unix_ns() + 60_000_000_000).to_string()),
                ("limit", limit),
                ("direction", "forward".to_owned()),
            ];
            let params: Vec<(&str, &str)> = params.iter().map(|(k, v)| (*k, v.as_str())).collect();
            let answer = get(address(), "/loki/api/v1/query_range", &params)?;
            ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
            let answer = answer.json();
            let mut lines = 0;
            for stream in
                answer.pointer("/data/result").and_then(|r| r.as_array()).into_iter().flatten()
            {
                for value in stream["values"].as_array().into_iter().flatten() {
                    let t_ns: i64 = value[0].as_str().unwrap_or_default().parse()?;
                    from_ns = from_ns.max(t_ns + 1);
                    lines += 1;
                    let line = value[1].as_str().unwrap_or_default();
                    match logs::number_of(line).and_then(|number| found.get_mut(number)) {
                        Some(times) => *times = times.saturating_add(1),
                        None => bail!("a line that nobody wrote: {line:?}"),
                    }
                }
            }
            if lines < PAGE_LINES {
                return Ok(found);
            }
        }
    }
}

/// Prints the numbers of the lines that were found so often, in runs, and returns how many they are.
fn said(log: &str, what: &str, found: &[u8], is_so: impl Fn(u8) -> bool) -> usize {
    let numbers: Vec<usize> = (0..found.len()).filter(|number| is_so(found[*number])).collect();
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        if let [first, .., last] | [first @ last] = run {
            println!("{log}: {what}: lines {first} to {last}");
        }
    }
    numbers.len()
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], PORT))
}

fn selector(dir: &Path, name: &str) -> String {
    format!("{{filename=\"{}/{name}.log\"}}", dir.display())
}

/// Whether the line written last is stored. `false` while the program does not answer.
fn is_last_stored(log: &Log, begun_ns: i64) -> Result<bool> {
    let params = [
        ("query", selector(&log.dir, &log.name)),
        ("start", begun_ns.to_string()),
        ("end", (unix_ns() + 60_000_000_000).to_string()),
        ("limit", "1".to_owned()),
    ];
    let params: Vec<(&str, &str)> = params.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let Ok(answer) = get(address(), "/loki/api/v1/query_range", &params) else { return Ok(false) };
    if answer.status != 200 {
        return Ok(false);
    }
    let Ok(answer) = serde_json::from_str::<serde_json::Value>(&answer.body) else {
        return Ok(false);
    };
    let line = answer.pointer("/data/result/0/values/0/1").and_then(|line| line.as_str());
    Ok(line.and_then(logs::number_of) == log.written.checked_sub(1))
}

/// `taffrail logs -f`, and how long after it was written it showed each line, in nanoseconds.
struct Follower {
    child: Child,
    reader: std::thread::JoinHandle<Vec<i64>>,
}

impl Follower {
    fn start(query: &str) -> Result<Self> {
        let mut command = Command::new(binary("release"));
        let server = format!("http://127.0.0.1:{PORT}");
        command.args(["logs", "--server", &server, "--raw", "-f", query]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let out = child.stdout.take().context("it has an output")?;
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.filter_map(|line| Some(unix_ns() - logs::written_ns(&line)?)).collect()
        });
        Ok(Self { child, reader })
    }

    fn stop(mut self) -> Result<Vec<i64>> {
        self.child.kill()?;
        self.child.wait()?;
        self.reader.join().map_err(|_| anyhow::anyhow!("reading `taffrail logs` panicked"))
    }
}

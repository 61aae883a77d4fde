//! A running Taffrail.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::http::{self, Answer};

/// How to start it.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// Content of `taffrail.yml`.
    pub config: String,
    /// Further arguments of `run`.
    pub args: Vec<String>,
}

/// A running Taffrail on a free port, ended when dropped.
#[derive(Debug)]
pub struct Taffrail {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

/// The program under test: `TAFFRAIL_TEST_BINARY`, or cargo's.
fn program(from_cargo: &str) -> PathBuf {
    std::env::var_os("TAFFRAIL_TEST_BINARY").map_or_else(|| from_cargo.into(), PathBuf::from)
}

impl Taffrail {
    /// Starts it with its files in `dir` (kept by the caller, so that it can start again there) and waits until it serves.
    ///
    /// `from_cargo` is `env!("CARGO_BIN_EXE_taffrail")` of the calling test.
    ///
    /// # Panics
    /// With its log, when it does not come up within 30 s.
    pub fn start(from_cargo: &str, dir: &Path, options: &Options) -> Self {
        let config = dir.join("taffrail.yml");
        std::fs::write(&config, &options.config).unwrap();
        let mut command = Command::new(program(from_cargo));
        command.arg("run").arg("--config").arg(config).arg("--data-dir").arg(dir.join("data"));
        command.args(["--listen", "127.0.0.1:0"]).args(&options.args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let addresses = read_log(&mut child, log.clone());
        match addresses.recv_timeout(Duration::from_secs(30)) {
            Ok(address) => Self { child, address, log },
            Err(_) => {
                let _ended = child.kill();
                panic!("taffrail did not come up; its log:\n{}", log.lock().unwrap().join("\n"));
            }
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; how it ended and how long that took.
    ///
    /// # Panics
    /// When it still runs after 20 s.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        assert!(Command::new("kill").arg(self.pid().to_string()).status().unwrap().success());
        let status = crate::eventually("stop", 20, || self.child.try_wait().unwrap());
        (status, started.elapsed())
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        assert!(
            Command::new("kill")
                .args(["-HUP", &self.pid().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    /// `GET path?params`; panics when the server does not answer.
    pub fn get(&self, path: &str, params: &[(&str, &str)]) -> Answer {
        http::get(self.address, path, params)
            .unwrap_or_else(|e| panic!("GET {path}: {e}; log:\n{}", self.log().join("\n")))
    }

    /// Instant PromQL query: pairs of labels and value. Panics on an error answer.
    pub fn promql(&self, query: &str) -> Vec<(serde_json::Value, f64)> {
        let answer = self.get("/api/v1/query", &[("query", query)]);
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let json = answer.json();
        let result = json["data"]["result"].as_array().unwrap().clone();
        result
            .into_iter()
            .map(|sample| {
                (sample["metric"].clone(), sample["value"][1].as_str().unwrap().parse().unwrap())
            })
            .collect()
    }

    /// All lines of a log query since `start_ns`, oldest first, as (time, line). Panics on an error answer.
    pub fn logql(&self, query: &str, start_ns: i128, limit: usize) -> Vec<(i128, String)> {
        let params = [
            ("query", query),
            ("start", &start_ns.to_string()),
            ("limit", &limit.to_string()),
            ("direction", "forward"),
        ];
        let answer = self.get("/loki/api/v1/query_range", &params);
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let mut rows = Vec::new();
        for stream in answer.json()["data"]["result"].as_array().unwrap() {
            for value in stream["values"].as_array().unwrap() {
                rows.push((
                    value[0].as_str().unwrap().parse().unwrap(),
                    value[1].as_str().unwrap().to_owned(),
                ));
            }
        }
        rows.sort();
        rows
    }

    /// Its log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Fails the test when the log holds an ERROR or WARN line that contains none of `expected`.
    ///
    /// # Panics
    /// With that line.
    pub fn assert_quiet(&self, expected: &[&str]) {
        for line in self.log() {
            let loud = line.contains(" ERROR ") || line.contains(" WARN ");
            assert!(
                !loud || expected.iter().any(|e| line.contains(e)),
                "unexpected in the log: {line}"
            );
        }
    }
}

impl Drop for Taffrail {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            eprintln!(
                "--- log of taffrail, last lines ---\n{}",
                log.get(log.len().saturating_sub(40)..).unwrap_or_default().join("\n")
            );
        }
    }
}

/// Collects the log in the background; the address it names comes through the channel.
fn read_log(child: &mut Child, log: Arc<Mutex<Vec<String>>>) -> Receiver<SocketAddr> {
    let (found, addresses) = channel();
    let stderr = child.stderr.take().unwrap();
    let reader = std::thread::Builder::new().name("log".into()).spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(address) = line
                .split("open http://")
                .nth(1)
                .and_then(|rest| rest.split([' ', '/']).next()?.parse().ok())
            {
                let _nobody_waits = found.send(address);
            }
            log.lock().unwrap().push(line);
        }
    });
    reader.unwrap();
    addresses
}

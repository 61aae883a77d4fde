//! Watches this machine's containers and host for some seconds and prints what a store would be given.
//!
//! `observe [SECONDS] [SOCKET]`; cursors live in memory only.

#![expect(clippy::print_stdout, reason = "a command-line tool")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use collect::{container, host};
use model::{Done, LogBatch, MetricBatch, Receipt, Sink, SystemClock};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Printer {
    cursors: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Sink for Printer {
    fn append_metrics(&self, batch: MetricBatch, done: Done) {
        println!("-- {} at {}: {} rows", batch.source, batch.t_ms, batch.sample_count());
        for (labels, value) in batch.samples() {
            println!("{labels} {value}");
        }
        let stored = u64::try_from(batch.sample_count()).unwrap_or(0);
        done.call(Ok(Receipt { stored, rejected: Vec::new() }));
    }

    fn append_logs(&self, batch: LogBatch, done: Done) {
        for record in batch.rows.iter() {
            println!("{} {} {} {}", record.t_ns, record.stream, record.fields, record.line);
        }
        if let Some(cursor) = batch.cursor {
            let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
            cursors.insert(batch.source.to_string(), cursor);
        }
        let stored = u64::try_from(batch.rows.len()).unwrap_or(0);
        done.call(Ok(Receipt { stored, rejected: Vec::new() }));
    }

    fn cursor(&self, source: &str) -> model::Result<Option<Vec<u8>>> {
        let cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(cursors.get(source).cloned())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(10), |s| s.parse())?;
    let socket = arguments.next().unwrap_or_else(|| "/var/run/docker.sock".to_owned());
    let sink: Arc<dyn Sink> = Arc::new(Printer::default());
    let clock: Arc<dyn model::Clock> = Arc::new(SystemClock);
    let cancel = CancellationToken::new();
    let config = container::Config {
        endpoint: Some(socket),
        interval_ms: 5000,
        host_name: "here".to_owned(),
        proc_root: PathBuf::from("/proc"),
        sys_root: PathBuf::from("/sys"),
        logs: true,
        joins_traces: true,
        claims: Arc::default(),
        logs_since_ns: 0,
    };
    let host_config = host::Config {
        interval_ms: 5000,
        host_name: "here".to_owned(),
        proc_root: PathBuf::from("/proc"),
        sys_root: PathBuf::from("/sys"),
        root: PathBuf::from("/"),
    };
    let containers =
        container::spawn(config, Arc::clone(&sink), Arc::clone(&clock), cancel.clone())?;
    let host = host::spawn(host_config, sink, clock, cancel.clone());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    println!("{:?}", containers.registry.docker_status());
    for state in containers.registry.snapshot() {
        println!("{state:?}");
    }
    println!("{:?}", containers.counters.snapshot());
    cancel.cancel();
    println!("stopped: {} {}", containers.stopped().await, host.stopped().await);
    Ok(())
}

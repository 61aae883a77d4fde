//! Debian's Prometheus, to compare with.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::http::{self, Answer};

/// A running Prometheus on a free port, ended when dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Prometheus {
    /// Starts it with `config` as its `prometheus.yml` and its data in `dir`; it takes remote writes.
    ///
    /// # Panics
    /// When it is not ready within 30 s.
    pub fn start(dir: &Path, config: &str) -> Self {
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let address = free_address();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--web.enable-remote-write-receiver", "--log.level=error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let prometheus = Self { child, address };
        crate::eventually("prometheus ready", 30, || {
            let answer = http::get(address, "/-/ready", &[]).ok()?;
            (answer.status == 200).then_some(())
        });
        prometheus
    }

    /// `GET path?params`; panics when the server does not answer.
    pub fn get(&self, path: &str, params: &[(&str, &str)]) -> Answer {
        http::get(self.address, path, params).unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A loopback address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

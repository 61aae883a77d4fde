//! Debian's Alertmanager, to compare with.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::http;
use crate::prometheus::free_address;

/// A running Alertmanager on a free port, ended when dropped.
#[derive(Debug)]
pub struct Alertmanager {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Alertmanager {
    /// Starts it with `config` as its `alertmanager.yml`, its data in `dir` and `external_url` as its own address, without a
    /// cluster.
    ///
    /// # Panics
    /// When it is not ready within 30 s.
    pub fn start(dir: &Path, config: &str, external_url: &str) -> Self {
        let file = dir.join("alertmanager.yml");
        std::fs::write(&file, config).unwrap();
        let address = free_address();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", dir.join("alertmanager").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg(format!("--web.external-url={external_url}"))
            .args(["--web.route-prefix=/", "--cluster.listen-address=", "--log.level=error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let alertmanager = Self { child, address };
        crate::eventually("alertmanager ready", 30, || {
            let answer = http::get(address, "/-/ready", &[]).ok()?;
            (answer.status == 200).then_some(())
        });
        alertmanager
    }

    /// Hands it alerts as its API takes them.
    ///
    /// # Panics
    /// When it does not take them.
    pub fn send_alerts(&self, alerts: &serde_json::Value) {
        let body = alerts.to_string();
        let headers = [("Content-Type", "application/json")];
        let answer = http::send(self.address, "POST /api/v2/alerts", &headers, body.as_bytes());
        assert_eq!(answer.unwrap().status, 200);
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

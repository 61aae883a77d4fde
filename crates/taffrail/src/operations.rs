//! The running process as Prometheus' status and administration endpoints show it.

use std::collections::BTreeMap;

use collect::scrape::format_duration;
use model::{LogDeletion, Matcher, Result, RetentionPreview, RetentionRule};
use server::operations::{
    Notification, Operations, PartInfo, Readers, RuntimeInfo, ScrapePool, StoreInfo,
};
use storage::writer::WriterState;

use crate::memory;
use crate::process::Process;
use crate::prometheus_yml;

impl Operations for Process {
    fn runtime(&self) -> RuntimeInfo {
        let retention_ms = u64::try_from(self.config.retention_ms).unwrap_or(0);
        let mut retention = format_duration(retention_ms);
        if let Some(bytes) = self.config.disk_limit_bytes {
            retention.push_str(&format!(" or {bytes}B"));
        }
        let stats = self.stores.metrics.stats();
        RuntimeInfo {
            started_ms: self.started_ms,
            working_dir: std::env::current_dir().unwrap_or_default().display().to_string(),
            host_name: self.config.host_name.clone(),
            reload_ok: self.last_reload.lock().is_none(),
            config_ms: self.loaded.lock().at_ms,
            corruption_count: stats.quarantined + self.stores.damage.len() as u64,
            thread_count: memory::usage().threads,
            core_count: std::thread::available_parallelism().map_or(1, usize::from),
            memory_limit_bytes: self.config.memory_limit_bytes,
            retention,
        }
    }

    fn flags(&self) -> BTreeMap<String, String> {
        let config = &self.config;
        let path = |path: &Option<std::path::PathBuf>| {
            path.as_ref().map(|p| p.display().to_string()).unwrap_or_default()
        };
        let duration = |ms: i64| format_duration(u64::try_from(ms).unwrap_or(0));
        [
            ("config.file", path(&config.prometheus)),
            ("query.lookback-delta", duration(config.query.lookback_ms)),
            ("query.max-concurrency", config.query.concurrency.to_string()),
            ("query.max-samples", config.query.limits.samples_max.to_string()),
            ("query.timeout", duration(config.query.limits.time_ms_max)),
            ("storage.tsdb.path", config.data_dir.display().to_string()),
            ("storage.tsdb.retention.size", config.disk_limit_bytes.unwrap_or(0).to_string()),
            ("storage.tsdb.retention.time", duration(config.retention_ms)),
            ("taffrail.config", path(&config.path)),
            ("web.enable-admin-api", config.admin_api.to_string()),
            ("web.enable-lifecycle", "true".to_owned()),
            ("web.external-url", config.external_url.clone().unwrap_or_default()),
            ("web.listen-address", config.listen.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    fn config_yaml(&self) -> String {
        self.loaded.lock().config.yaml.clone()
    }

    fn external_labels(&self) -> Vec<(String, String)> {
        self.loaded.lock().config.external_labels.clone().into_iter().collect()
    }

    fn scrape_pools(&self) -> Vec<ScrapePool> {
        let loaded = self.loaded.lock();
        let yaml = |name: &str| loaded.config.pool_yaml.get(name).cloned().unwrap_or_default();
        loaded
            .config
            .jobs
            .iter()
            .map(|job| ScrapePool {
                name: job.job_name.clone(),
                yaml: yaml(&job.job_name),
                relabel: job.relabel.clone(),
            })
            .collect()
    }

    fn store(&self) -> StoreInfo {
        let stats = self.stores.metrics.stats();
        let parts = self.stores.metrics.part_list().into_iter().map(|part| PartInfo {
            name: part.name,
            first_ms: part.first_ms,
            last_ms: part.last_ms,
            samples: part.samples,
            series: part.series,
            columns: part.series,
            level: u32::from(part.level) + 1,
        });
        StoreInfo {
            series: stats.series,
            head_samples: stats.samples_head,
            disk_bytes: stats.part_bytes + stats.wal_bytes,
            part_samples: stats.part_samples,
            parts: parts.collect(),
        }
    }

    fn notifications(&self) -> Vec<Notification> {
        let mut all = Vec::new();
        let mut note = |text: String, since_ms| all.push(Notification { text, since_ms });
        if let Some(why) = &*self.last_reload.lock() {
            note(format!("Configuration reload has failed: {why}"), self.loaded.lock().at_ms);
        }
        match self.stores.state() {
            WriterState::Ok => {}
            WriterState::DiskFull { message } | WriterState::Failed { message } => {
                note(format!("Data is not accepted: {message}"), self.clock.now_ms());
            }
        }
        for damage in &self.stores.damage {
            note(damage.clone(), self.started_ms);
        }
        all
    }

    fn readers(&self) -> Readers {
        let files = crate::rules::files(&self.config, &self.loaded.lock().config);
        prometheus_yml::readers(&files)
    }

    fn alertmanagers(&self) -> (Vec<String>, Vec<String>) {
        self.alert_sender.urls()
    }

    fn rule_groups(&self) -> Vec<alert::group::GroupReport> {
        self.rules.report()
    }

    fn delete_series(&self, selectors: &[Vec<Matcher>], start_ms: i64, end_ms: i64) -> Result<()> {
        self.stores.metrics.delete(selectors, start_ms, end_ms)
    }

    fn clean_tombstones(&self) -> Result<()> {
        self.stores.metrics.clean_tombstones().map(|_parts| ())
    }

    /// The store moves its head into parts first and links all of them: a snapshot is always whole.
    fn snapshot(&self, _skip_head: bool) -> Result<String> {
        self.stores.metrics.snapshot(&self.config.data_dir.join("snapshots"))
    }

    fn log_retention(&self) -> (Vec<(String, RetentionRule)>, i64) {
        let logs = &self.config.logs;
        (logs.retention_rules.clone(), logs.retention_ms)
    }

    fn preview_log_retention(
        &self,
        rules: Vec<RetentionRule>,
        default_ms: i64,
    ) -> Result<Vec<RetentionPreview>> {
        self.stores.logs.preview_retention(rules, default_ms)
    }

    fn trace_retention(&self) -> (Vec<(String, RetentionRule)>, i64) {
        let traces = &self.config.traces;
        (traces.retention_rules.clone(), traces.retention_ms)
    }

    fn preview_trace_retention(
        &self,
        rules: Vec<RetentionRule>,
        default_ms: i64,
    ) -> Result<Vec<RetentionPreview>> {
        self.stores.traces.preview_retention(rules, default_ms)
    }

    fn log_deletions(&self) -> Vec<LogDeletion> {
        self.stores.logs.deletions()
    }

    fn delete_logs(&self, deletion: LogDeletion) -> Result<()> {
        let deletion = self.stores.logs.delete(deletion)?;
        tracing::info!(id = deletion.id, query = deletion.query, "log rows deleted");
        Ok(())
    }

    fn cancel_log_deletion(&self, id: &str, force: bool) -> Result<()> {
        self.stores.logs.cancel_deletion(id, force)?;
        tracing::info!(id, "deletion of log rows cancelled");
        Ok(())
    }
}

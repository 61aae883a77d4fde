//! `traces:` of `taffrail.yml`: how long traces are kept, and how much of them.

use serde::Deserialize;

use super::{DAY_MS, MIB, Mistakes};
use crate::yaml::ConfigError;

/// `traces:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTraces {
    /// How long traces are kept, if not as long as everything: `7d`.
    pub retention: Option<String>,
    /// Disk for traces: `20GiB`; what arrived first is deleted first. Default: no limit but `disk_limit`.
    pub disk_limit: Option<String>,
}

/// What happens to traces.
#[derive(Debug, Clone)]
pub struct Traces {
    /// How long they are kept.
    pub retention_ms: i64,
    /// Bytes of them.
    pub disk_limit_bytes: Option<u64>,
}

/// `retention_ms` is that of everything.
pub(super) fn check(
    raw: RawTraces,
    retention_ms: i64,
    mistakes: &Mistakes<'_>,
) -> Result<Traces, ConfigError> {
    let retention_ms = match raw.retention {
        Some(text) => mistakes.duration("traces.retention", &text, 60_000, 100 * 365 * DAY_MS)?,
        None => retention_ms,
    };
    let disk_limit_bytes = raw
        .disk_limit
        .map(|text| mistakes.bytes("traces.disk_limit", &text, 64 * MIB))
        .transpose()?;
    Ok(Traces { retention_ms, disk_limit_bytes })
}

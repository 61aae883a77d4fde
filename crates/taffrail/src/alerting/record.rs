//! What alerting remembers, on disk: a write-ahead log of changes that begins anew with a snapshot when it has grown.
//!
//! Format: `docs/format/alerting.md`.

use std::path::Path;
use std::sync::Arc;

use alert::dispatch::Dispatcher;
use alert::record::Change;
use model::Result;
use storage::fs::Fs;
use storage::wal::{Durability, Wal, WalConfig};

/// Of a segment.
const SEGMENT_BYTES: u64 = 16 << 20;
/// A log smaller than this is left as it is.
const SNAPSHOT_BYTES_MIN: u64 = 4 << 20;
/// A log begins anew when it is so many times as large as its snapshot was.
const GROWTH: u64 = 4;
/// All records are changes.
const KIND: u8 = 1;

/// The log.
#[derive(Debug)]
pub(super) struct Record {
    wal: Wal,
    /// Bytes behind which it begins anew.
    full_bytes: u64,
    /// Whether changes are missing in it, because the disk was full.
    has_gap: bool,
}

impl Record {
    /// Opens the log in `dir` and shows every change to `visit`. Damaged records are logged and passed over.
    pub(super) fn open(fs: Arc<dyn Fs>, dir: &Path, visit: &mut dyn FnMut(Change)) -> Result<Self> {
        let config = WalConfig { segment_bytes: SEGMENT_BYTES, durability: Durability::Strict };
        let (wal, recovery) = Wal::open(fs, &dir.join("wal"), config, &mut |record| {
            match Change::decode(record.payload) {
                Ok(change) => visit(change),
                Err(error) => tracing::error!(%error, record = record.seq, "passed over"),
            }
            Ok(())
        })?;
        for damage in &recovery.damage {
            tracing::error!(
                segment = damage.segment,
                kept_as = damage.kept_as,
                missing_records = recovery.missing_records,
                "the record of alerting is damaged: {}",
                damage.reason
            );
        }
        Ok(Self { wal, full_bytes: SNAPSHOT_BYTES_MIN, has_gap: false })
    }

    /// Writes `changes`, after which `state` is as it is.
    pub(super) fn append(&mut self, changes: &[Change], state: &Dispatcher) -> Result<()> {
        if self.has_gap || self.wal.bytes() > self.full_bytes {
            return self.begin_anew(state);
        }
        for change in changes {
            self.has_gap = true;
            self.wal.append(KIND, &change.encode())?;
            self.has_gap = false;
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.wal.sync()
    }

    fn begin_anew(&mut self, state: &Dispatcher) -> Result<()> {
        self.has_gap = true;
        self.wal.start_segment()?;
        let first = self.wal.next_seq();
        for change in state.snapshot() {
            self.wal.append(KIND, &change.encode())?;
        }
        // The snapshot is durable before what it stands for goes.
        self.wal.sync()?;
        self.wal.drop_before(first)?;
        self.has_gap = false;
        self.full_bytes = self.wal.bytes().saturating_mul(GROWTH).max(SNAPSHOT_BYTES_MIN);
        Ok(())
    }
}

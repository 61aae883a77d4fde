//! The write-ahead log of a Prometheus data directory: what is not in blocks yet.
//!
//! Prometheus keeps every sample of its head in the log until a block holds it, so its memory-mapped chunks
//! (`chunks_head`) need not be read. Out-of-order samples of the head (`wbl`) are not read; that is said.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ingest::prometheus_tsdb::{PAGE_BYTES, Record, Tombstones, WalPages, decode_record};
use model::Labels;
use std::collections::HashMap;
use storage::fs::{Fs as _, RealFs};

use super::Outlet;
use super::blocks::Blocks;

/// The log.
pub(super) struct Head {
    /// Segments in order, the last checkpoint's first.
    segments: Vec<(PathBuf, u64)>,
    /// Samples before this are in blocks, Unix milliseconds.
    from_ms: i64,
    has_out_of_order: bool,
}

impl Head {
    /// Finds the log in `dir`.
    pub(super) fn find(dir: &Path, blocks: &Blocks) -> Result<Option<Self>> {
        let list = |dir: &Path| match RealFs.list(dir) {
            Ok(entries) => Ok(entries),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(e).with_context(|| format!("read directory {}", dir.display())),
        };
        let wal = dir.join("wal");
        let entries = list(&wal)?;
        let number = |name: &str| name.parse::<u64>().ok().filter(|_| name.len() == 8);
        let checkpoint = entries
            .iter()
            .filter(|e| e.is_dir)
            .filter_map(|e| Some((number(e.name.strip_prefix("checkpoint.")?)?, &e.name)))
            .max();
        let mut segments = Vec::new();
        if let Some((_, name)) = checkpoint {
            let dir = wal.join(name);
            for entry in list(&dir)? {
                segments.push((dir.join(&entry.name), entry.len));
            }
        }
        for entry in entries.iter().filter(|e| !e.is_dir) {
            // The checkpoint replaces the segments up to its own number.
            let newer = number(&entry.name).is_some_and(|n| checkpoint.is_none_or(|(c, _)| n > c));
            if newer {
                segments.push((wal.join(&entry.name), entry.len));
            }
        }
        if segments.is_empty() {
            return Ok(None);
        }
        let has_out_of_order = list(&dir.join("wbl"))?.iter().any(|e| e.len > 0);
        let from_ms = blocks.end_ms().unwrap_or(i64::MIN);
        Ok(Some(Self { segments, from_ms, has_out_of_order }))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, bytes)| bytes).sum()
    }

    pub(super) fn say(&self, out: &mut impl Write) -> Result<()> {
        writeln!(
            out,
            "the head: {} segments of its write-ahead log, {} bytes",
            self.segments.len(),
            self.bytes()
        )?;
        if self.has_out_of_order {
            writeln!(
                out,
                "out-of-order samples of the head (wbl) are not read; stop Prometheus after it has compacted, or import \
                 a snapshot (/api/v1/admin/tsdb/snapshot), to have them"
            )?;
        }
        Ok(())
    }

    /// Reads the log; samples that blocks hold are passed over. Deletions apply to what was logged before them.
    pub(super) fn read(&self, outlet: &mut Outlet) -> Result<()> {
        let tombstones = self.tombstones(outlet)?;
        let mut series: HashMap<u64, Labels> = HashMap::new();
        let mut unknown = 0_u64;
        self.records(outlet, true, &mut |record, outlet| {
            let of = |number: u64, t_ms: i64, deleted: &mut u64| {
                let is_deleted = tombstones.of(number).iter().any(|i| i.contains(t_ms));
                *deleted += u64::from(is_deleted);
                t_ms >= self.from_ms && !is_deleted
            };
            match record {
                Record::Series(number, labels) => drop(series.insert(number, labels)),
                Record::Sample(number, t_ms, value) => match series.get(&number) {
                    Some(labels) if of(number, t_ms, &mut outlet.skipped.deleted) => {
                        outlet.sample(labels, t_ms, value);
                    }
                    Some(_) => {}
                    None => unknown += 1,
                },
                Record::Histogram(number, t_ms, value) => match series.get(&number) {
                    Some(labels) if of(number, t_ms, &mut outlet.skipped.deleted) => {
                        outlet.histogram(labels, t_ms, *value);
                    }
                    Some(_) => {}
                    None => unknown += 1,
                },
                // Prometheus forgets exemplars at a restart; a store keeps only the latest.
                Record::Exemplar(..) | Record::Tombstone(..) => {}
            }
            if outlet.is_full() { outlet.flush(None) } else { Ok(()) }
        })?;
        if unknown > 0 {
            outlet
                .skipped
                .damaged(format!("wal: {unknown} samples of series that were never named"));
        }
        outlet.flush(None)
    }

    fn tombstones(&self, outlet: &mut Outlet) -> Result<Tombstones> {
        let mut tombstones = Tombstones::default();
        self.records(outlet, false, &mut |record, _| {
            if let Record::Tombstone(number, interval) = record {
                tombstones.add(number, interval);
            }
            Ok(())
        })?;
        Ok(tombstones)
    }

    /// Visits every record; the first damage of a segment ends the segment.
    fn records(
        &self,
        outlet: &mut Outlet,
        count: bool,
        visit: &mut dyn FnMut(Record, &mut Outlet) -> Result<()>,
    ) -> Result<()> {
        for (path, bytes) in &self.segments {
            let file =
                RealFs.open_read(path).with_context(|| format!("read {}", path.display()))?;
            let (mut pages, mut at) = (WalPages::default(), 0);
            let mut page = vec![0; PAGE_BYTES];
            let len = file.len().min(*bytes);
            while at < len {
                let want = usize::try_from(len - at).unwrap_or(PAGE_BYTES).min(PAGE_BYTES);
                page.resize(want, 0);
                file.read_exact_at(&mut page, at)
                    .with_context(|| format!("read {}", path.display()))?;
                at += want as u64;
                // What the outlet refuses ends everything; what the bytes are wrong about, the segment.
                let mut refused = None;
                let read = pages.page(&page, &mut |record| {
                    decode_record(record, &mut |one| {
                        visit(one, outlet).map_err(|e| {
                            refused = Some(e);
                            model::Error::corrupt("stopped")
                        })
                    })
                });
                if let Some(e) = refused {
                    return Err(e);
                }
                if let Err(e) = read {
                    let last = self.segments.last().is_some_and(|(last, _)| last == path);
                    // A crash tears the last record of the last segment.
                    if count && !(last && at == len) {
                        outlet.skipped.damaged(format!("{}: near byte {at}: {e}", path.display()));
                    }
                    break;
                }
                if count {
                    outlet.bytes += want as u64;
                }
            }
        }
        Ok(())
    }
}

//! OpenMetrics files, a piece at a time, with their exemplars and metadata: every sample needs a time, as
//! `promtool tsdb create-blocks-from` has it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ingest::exposition::{
    self, Families, Format, Limits, Metadata, Sample, Visitor, series_labels,
};
use model::{Error, Labels};
use storage::fs::{Fs as _, ReadFile, RealFs};

use super::{Outlet, Position};

/// Read at a time; a line may not be longer.
const PIECE_BYTES: usize = 4 << 20;
const END: &[u8] = b"# EOF\n";

/// A file.
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    file: Box<dyn ReadFile>,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = RealFs.open_read(path).with_context(|| format!("read {}", path.display()))?;
        let this = Self { path: path.to_owned(), bytes: file.len(), file };
        let tail_at = this.bytes.saturating_sub(END.len() as u64);
        let mut tail = vec![0; usize::try_from(this.bytes - tail_at).unwrap_or(0)];
        this.file
            .read_exact_at(&mut tail, tail_at)
            .with_context(|| format!("read {}", path.display()))?;
        // Said first: a file that was cut off would otherwise be noticed at its end only.
        anyhow::ensure!(
            tail.trim_ascii_end().ends_with(b"# EOF"),
            "{}: the last line must be # EOF, as OpenMetrics has it; the file is cut off or not OpenMetrics",
            path.display()
        );
        Ok(this)
    }

    fn name(&self) -> String {
        format!("{} of {} bytes", self.path.display(), self.bytes)
    }

    /// Reads what is not done yet.
    pub(super) fn read(&self, outlet: &mut Outlet, done: &[Position]) -> Result<()> {
        let name = self.name();
        let mut at = done.iter().find(|p| p.piece == name).map_or(0, |p| p.done).min(self.bytes);
        outlet.bytes += at;
        let (mut piece, mut lines) = (Vec::new(), 0);
        let mut families = Families::default();
        while at < self.bytes {
            let want = usize::try_from(self.bytes - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            piece.resize(want, 0);
            self.file
                .read_exact_at(&mut piece, at)
                .with_context(|| format!("read {}", self.path.display()))?;
            let is_last = at + want as u64 == self.bytes;
            if !is_last {
                // Whole lines only; the rest comes with the next piece.
                let end = piece.iter().rposition(|b| *b == b'\n').with_context(|| {
                    format!("{}: a line is longer than {PIECE_BYTES} bytes", self.path.display())
                })?;
                piece.truncate(end + 1);
            }
            let len = piece.len();
            if !is_last {
                piece.extend_from_slice(END);
            }
            let last = (String::new(), Labels::default());
            let mut visitor = Lines { outlet, families: &mut families, last };
            exposition::parse(&piece, Format::OpenMetrics, &Limits::NONE, &mut visitor).map_err(
                |e| {
                    // Lines are counted from the start of the piece.
                    let from = if at == 0 {
                        String::new()
                    } else {
                        format!("behind byte {at} and {lines} lines: ")
                    };
                    anyhow::anyhow!("{}: {from}{e}", self.path.display())
                },
            )?;
            lines += piece.iter().filter(|b| **b == b'\n').count() - usize::from(!is_last);
            at += len as u64;
            outlet.bytes += len as u64;
            // Said again if a later piece has more of this family.
            outlet.batch.metadata.extend(families.last().cloned());
            outlet.flush(Some(Position { piece: name.clone(), done: at }))?;
        }
        Ok(())
    }
}

struct Lines<'a> {
    outlet: &'a mut Outlet,
    families: &'a mut Families,
    /// Lines of a series mostly follow each other.
    last: (String, Labels),
}

impl Visitor for Lines<'_> {
    fn expected(&self) -> &str {
        &self.last.0
    }

    fn sample(&mut self, sample: Sample<'_>) -> model::Result<()> {
        let t_ms = sample.timestamp_ms.ok_or_else(|| {
            Error::invalid(format!("expected a timestamp behind the value of {}", sample.series))
        })?;
        if !sample.predicted {
            self.last =
                (sample.series.to_owned(), series_labels(sample.series, Format::OpenMetrics)?);
        }
        self.outlet.sample(&self.last.1, t_ms, sample.value);
        if let Some(exemplar) = sample.exemplar {
            self.outlet.exemplar(&self.last.1, exemplar.decode(t_ms)?);
        }
        if self.outlet.is_full() {
            self.outlet.flush(None).map_err(|e| Error::invalid(e.to_string()))?;
        }
        Ok(())
    }

    fn metadata(&mut self, metadata: Metadata<'_>) -> model::Result<()> {
        self.outlet.batch.metadata.extend(self.families.add(metadata));
        Ok(())
    }
}

//! [`BodyReader`]: what a scrape does between the response and the store, for callers that fetch nothing.

use std::sync::Arc;

use ingest::exposition::{Encoding, Limits};
use model::{Labels, MetricBatch, Result};

use super::cache::{Rows, Scrape, SeriesCache};
use super::config::ScrapeJob;

/// Reads the bodies of one target, one after another, with what it learnt from those before: series that come in the
/// same order cost a comparison of bytes each.
#[derive(Debug)]
pub struct BodyReader {
    source: Arc<str>,
    job: ScrapeJob,
    target: Labels,
    limits: Limits,
    cache: SeriesCache,
}

impl BodyReader {
    /// A reader for the target with these labels; `source` names its batches.
    pub fn new(source: Arc<str>, job: ScrapeJob, target: Labels, limits: Limits) -> Self {
        Self { source, job, target, limits, cache: SeriesCache::default() }
    }

    /// The body's samples at `t_ms` (Unix milliseconds), with staleness markers for series that are gone.
    ///
    /// # Errors
    /// As [`ingest::exposition::decode`], or a limit of the job.
    pub fn read(&mut self, body: &[u8], encoding: Encoding, t_ms: i64) -> Result<MetricBatch> {
        let mut rows = Rows::default();
        let (job, target, limits) = (&self.job, &self.target, &self.limits);
        let scrape = Scrape { body, encoding, t_ms, job, target, limits };
        self.cache.read(&scrape, &mut rows)?;
        Ok(MetricBatch {
            source: Arc::clone(&self.source),
            t_ms,
            rows: rows.rows,
            steady: rows.steady,
            stamped: rows.stamped,
            histograms: rows.histograms,
            exemplars: rows.exemplars,
            metadata: rows.metadata,
        })
    }
}

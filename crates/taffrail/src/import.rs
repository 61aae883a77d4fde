//! `taffrail import`: samples of other programs' files into a running Taffrail, or into a data directory that no process
//! uses.
//!
//! Owns: what is read and in which order, refusing what retention would drop, the position from which a second run goes
//! on, and progress. Does not own: the formats (`ingest::prometheus_tsdb`, `ingest::exposition`), nor storing.
//!
//! A thread reads and decodes; batches go through a short queue to the target, several under way at once. A position is
//! written down once everything before it is durable at the target. Samples that arrive twice are stored once, so a
//! position that is lost costs time and nothing else.

mod blocks;
mod head;
mod openmetrics;
mod position;
mod progress;
mod target;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use model::{
    Clock as _, Exemplar, ExemplarRow, HistogramRow, Labels, MetricBatch, StampedRow, SystemClock,
    is_stale,
};

use crate::cli::ImportSource;
use crate::stores::FUTURE_MS_MAX;
use blocks::Blocks;
use position::Position;
use progress::Progress;
use target::Target;

/// Samples of a batch; a request of so many has some 1 to 2 MB before compression.
const BATCH_SAMPLES: usize = 50_000;
/// Batches decoded ahead.
const QUEUE: usize = 4;
/// Batches at the target at the same time.
const UNDER_WAY: usize = 4;
/// Causes of damage shown.
const DAMAGE_SHOWN: usize = 5;

/// Something that was read, on its way to the target.
struct Step {
    batch: MetricBatch,
    /// Where a later run goes on once this is durable; `None` when only a later step says so.
    position: Option<Position>,
    /// Bytes of the source read for it.
    bytes: u64,
}

/// What was left out while reading.
#[derive(Debug, Default)]
struct Skipped {
    /// Samples older than the target keeps.
    too_old: u64,
    /// Samples that were deleted at the source.
    deleted: u64,
    /// Histograms that make no sense.
    invalid: u64,
    /// Chunks, series and records that are damaged.
    damaged: u64,
    /// What the first of them says.
    damage: Vec<String>,
}

impl Skipped {
    fn damaged(&mut self, what: String) {
        self.damaged += 1;
        if self.damage.len() < DAMAGE_SHOWN {
            self.damage.push(what);
        }
    }
}

/// Gathers samples into batches and hands them on.
struct Outlet {
    /// Samples before this are left out, Unix milliseconds.
    cutoff_ms: i64,
    source: Arc<str>,
    batch: MetricBatch,
    bytes: u64,
    skipped: Skipped,
    steps: tokio::sync::mpsc::Sender<Step>,
}

impl Outlet {
    fn sample(&mut self, labels: &Labels, t_ms: i64, value: f64) {
        if t_ms < self.cutoff_ms {
            self.skipped.too_old += 1;
        } else {
            self.batch.stamped.push(StampedRow::new(labels.clone(), t_ms, value));
        }
    }

    fn histogram(&mut self, labels: &Labels, t_ms: i64, value: model::Histogram) {
        if is_stale(value.sum) {
            // The end of a series is the same for both kinds.
            self.sample(labels, t_ms, value.sum);
        } else if t_ms < self.cutoff_ms {
            self.skipped.too_old += 1;
        } else if value.validate().is_err() {
            self.skipped.invalid += 1;
        } else {
            let row = HistogramRow { labels: labels.clone(), t_ms, value: Arc::new(value) };
            self.batch.histograms.push(row);
        }
    }

    fn exemplar(&mut self, labels: &Labels, exemplar: Exemplar) {
        if exemplar.t_ms >= self.cutoff_ms {
            self.batch.exemplars.push(ExemplarRow { series: labels.clone(), exemplar });
        }
    }

    fn is_full(&self) -> bool {
        let batch = &self.batch;
        batch.stamped.len() + batch.histograms.len() + batch.exemplars.len() >= BATCH_SAMPLES
    }

    /// Hands over what was gathered.
    fn flush(&mut self, position: Option<Position>) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.batch.source = self.source.clone();
        let step = Step { batch, position, bytes: std::mem::take(&mut self.bytes) };
        // The other end is gone only when the target failed, which is what the user is told.
        self.steps.blocking_send(step).ok().context("the target takes nothing more")
    }
}

/// Runs `taffrail import`; `false` when something could not be read or was refused.
///
/// # Errors
/// When the source or the target cannot be used.
pub async fn import(
    source: &ImportSource,
    env: &dyn Fn(&str) -> Option<String>,
    out: &mut impl Write,
) -> Result<bool> {
    let args = source.target();
    let target = Target::open(args, env).await?;
    let retention_ms = target.retention_ms();
    let cutoff_ms = SystemClock.now_ms().saturating_sub(retention_ms);
    let plan = Plan::make(source, cutoff_ms)?;
    plan.say(out, retention_ms)?;
    if args.dry_run {
        return match plan {
            // Blocks have said what is in them.
            Plan::Tsdb { .. } => Ok(true),
            Plan::OpenMetrics(_) => rehearse(plan, cutoff_ms, args.quiet, out).await,
        };
    }
    let mut journal = position::Journal::open(args, &target, &plan.source_name(), env)?;
    journal.say(out)?;
    let mut progress = Progress::new(plan.bytes(), args.quiet);
    let (received, reader) = spawn(plan, cutoff_ms, journal.positions().to_vec())?;
    let written = write_all(&target, received, &mut journal, &mut progress).await;
    let (read, skipped) = reader.join().map_err(|_| anyhow::anyhow!("BUG: the reader panicked"))?;
    let totals = written?;
    read?;
    target.close().await?;
    progress.finish();
    report(out, &totals, &skipped, &progress)?;
    Ok(totals.refused == 0 && skipped.damaged + skipped.invalid == 0)
}

/// Outcome of reading, and what was left out.
type Reader = std::thread::JoinHandle<(Result<()>, Skipped)>;

/// Starts to read what is not done yet.
fn spawn(
    plan: Plan,
    cutoff_ms: i64,
    done: Vec<Position>,
) -> Result<(tokio::sync::mpsc::Receiver<Step>, Reader)> {
    let (steps, received) = tokio::sync::mpsc::channel(QUEUE);
    let mut outlet = Outlet {
        cutoff_ms,
        source: Arc::from("import"),
        batch: MetricBatch { source: Arc::from("import"), ..MetricBatch::default() },
        bytes: 0,
        skipped: Skipped::default(),
        steps,
    };
    let reader = std::thread::Builder::new().name("import".to_owned()).spawn(move || {
        let outcome = plan.read(&mut outlet, &done);
        (outcome, outlet.skipped)
    })?;
    Ok((received, reader))
}

/// Reads everything and says what an import would do with it. What the target has already is not known here.
async fn rehearse(plan: Plan, cutoff_ms: i64, quiet: bool, out: &mut impl Write) -> Result<bool> {
    let newest_ms = SystemClock.now_ms().saturating_add(FUTURE_MS_MAX);
    let mut progress = Progress::new(plan.bytes(), quiet);
    let (mut received, reader) = spawn(plan, cutoff_ms, Vec::new())?;
    let mut totals = Totals::default();
    let mut range: Option<[i64; 2]> = None;
    while let Some(Step { batch, bytes, .. }) = received.recv().await {
        let times = batch.stamped.iter().map(|row| row.t_ms);
        let times = times.chain(batch.histograms.iter().map(|row| row.t_ms));
        let mut samples = 0;
        for t_ms in times {
            samples += 1;
            if t_ms > newest_ms {
                totals.refused += 1;
            } else {
                let [from, to] = range.unwrap_or([t_ms, t_ms]);
                range = Some([from.min(t_ms), to.max(t_ms)]);
            }
        }
        totals.sent += samples;
        totals.exemplars += batch.exemplars.len() as u64;
        totals.families += batch.metadata.len() as u64;
        progress.add(bytes, samples);
    }
    let (read, skipped) = reader.join().map_err(|_| anyhow::anyhow!("BUG: the reader panicked"))?;
    read?;
    progress.finish();
    write!(out, "{} samples would be imported", totals.sent - totals.refused)?;
    if let Some([from, to]) = range {
        write!(out, ", from {} to {}", utc(from), utc(to))?;
    }
    writeln!(out)?;
    report_rest(out, &totals, &skipped, "more than ten minutes in the future, would be refused")?;
    Ok(totals.refused == 0)
}

/// What became of the samples.
#[derive(Debug, Default)]
struct Totals {
    sent: u64,
    exemplars: u64,
    /// Descriptions of metrics.
    families: u64,
    refused: u64,
    /// Why, of the first refusals.
    reasons: Vec<String>,
}

async fn write_all(
    target: &Target,
    received: tokio::sync::mpsc::Receiver<Step>,
    journal: &mut position::Journal,
    progress: &mut Progress,
) -> Result<Totals> {
    let mut totals = Totals::default();
    let steps = futures_util::stream::unfold(received, |mut received| async {
        received.recv().await.map(|step| (step, received))
    });
    let outcomes = steps.map(|Step { batch, position, bytes }| async move {
        let samples = (batch.stamped.len() + batch.histograms.len()) as u64;
        let beside = (batch.exemplars.len() as u64, batch.metadata.len() as u64);
        let is_empty = samples + beside.0 + beside.1 == 0;
        let outcome =
            if is_empty { Ok(target::Outcome::default()) } else { target.write(batch).await };
        outcome.map(|outcome| (outcome, position, bytes, samples, beside))
    });
    // In order, so that a position never says more than is durable.
    let mut outcomes = std::pin::pin!(outcomes.buffered(UNDER_WAY));
    while let Some(outcome) = outcomes.next().await {
        let (outcome, position, bytes, samples, (exemplars, families)) = outcome?;
        totals.sent += samples;
        totals.exemplars += exemplars;
        totals.families += families;
        totals.refused += outcome.refused;
        for reason in outcome.reasons {
            if totals.reasons.len() < DAMAGE_SHOWN && !totals.reasons.contains(&reason) {
                totals.reasons.push(reason);
            }
        }
        if let Some(position) = position {
            journal.note(position)?;
        }
        progress.add(bytes, samples);
    }
    Ok(totals)
}

fn report(
    out: &mut impl Write,
    totals: &Totals,
    skipped: &Skipped,
    progress: &Progress,
) -> Result<()> {
    writeln!(out, "imported {} samples{}", totals.sent - totals.refused, progress.speed())?;
    report_rest(out, totals, skipped, "refused by the target")
}

/// What is not a sample that came in; `refused` says why samples are counted so.
fn report_rest(
    out: &mut impl Write,
    totals: &Totals,
    skipped: &Skipped,
    refused: &str,
) -> Result<()> {
    for (count, what) in [
        (totals.exemplars, "exemplars; of each series the latest are kept"),
        (totals.families, "descriptions of metrics (type, help, unit)"),
        (totals.refused, refused),
        (skipped.too_old, "older than the target's retention, left out"),
        (skipped.deleted, "deleted at the source, left out"),
        (skipped.invalid, "histograms that make no sense, left out"),
        (skipped.damaged, "chunks, series or records damaged, left out"),
    ] {
        if count > 0 {
            writeln!(out, "{count} {what}")?;
        }
    }
    for reason in totals.reasons.iter().chain(&skipped.damage) {
        writeln!(out, "  {reason}")?;
    }
    Ok(())
}

fn utc(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or(ms.to_string(), |t| t.to_string())
}

/// What will be read.
enum Plan {
    Tsdb { dir: PathBuf, blocks: Blocks, head: Option<head::Head> },
    OpenMetrics(Vec<openmetrics::File>),
}

impl Plan {
    fn make(source: &ImportSource, cutoff_ms: i64) -> Result<Self> {
        Ok(match source {
            ImportSource::Tsdb { dir, no_head, .. } => {
                let blocks = Blocks::find(dir, cutoff_ms)?;
                let head = if *no_head { None } else { head::Head::find(dir, &blocks)? };
                if blocks.is_empty() && head.is_none() {
                    bail!(
                        "{} holds no blocks and no write-ahead log; name Prometheus' data directory \
                         (its --storage.tsdb.path), or one with blocks in it",
                        dir.display()
                    );
                }
                Self::Tsdb { dir: dir.clone(), blocks, head }
            }
            ImportSource::Openmetrics { files, .. } => Self::OpenMetrics(
                files.iter().map(|f| openmetrics::File::open(f)).collect::<Result<_>>()?,
            ),
        })
    }

    /// What a position belongs to.
    fn source_name(&self) -> String {
        let absolute = |path: &Path| {
            std::path::absolute(path).unwrap_or(path.to_owned()).display().to_string()
        };
        match self {
            Self::Tsdb { dir, .. } => format!("tsdb {}", absolute(dir)),
            Self::OpenMetrics(files) => {
                files.iter().map(|f| format!("openmetrics {} ", absolute(&f.path))).collect()
            }
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Tsdb { blocks, head, .. } => {
                blocks.bytes() + head.as_ref().map_or(0, head::Head::bytes)
            }
            Self::OpenMetrics(files) => files.iter().map(|f| f.bytes).sum(),
        }
    }

    fn say(&self, out: &mut impl Write, retention_ms: i64) -> Result<()> {
        let retention = collect::scrape::format_duration(retention_ms.unsigned_abs());
        match self {
            Self::Tsdb { blocks, head, .. } => {
                blocks.say(out, &retention)?;
                match head {
                    Some(head) => head.say(out)?,
                    None => writeln!(out, "no head: what is not in blocks yet is not read")?,
                }
            }
            Self::OpenMetrics(files) => {
                for file in files {
                    writeln!(out, "{}: {} bytes", file.path.display(), file.bytes)?;
                }
                writeln!(
                    out,
                    "samples older than the target's retention of {retention} will be left out"
                )?;
            }
        }
        Ok(())
    }

    fn read(&self, outlet: &mut Outlet, done: &[Position]) -> Result<()> {
        match self {
            Self::Tsdb { blocks, head, .. } => {
                blocks.read(outlet, done)?;
                match head {
                    Some(head) => head.read(outlet),
                    None => Ok(()),
                }
            }
            Self::OpenMetrics(files) => files.iter().try_for_each(|file| file.read(outlet, done)),
        }
    }
}

//! Visits: showing the series of a plan to a query's workers, by group, without making their labels.
//!
//! Owns: who shows what. Does not own: which series there are and where their pieces lie ([`plan`]), reading these
//! ([`read`], [`rolled`]), groups ([`groups`]), showing series as sums ([`sums`]). Why and how:
//! `docs/decisions/0006-visiting-plans.md`.
//!
//! The series of one target are a unit: they have the same times, in parts and in the head, so a unit's times are joined
//! once and its pages read stripe by stripe. Units are cut into morsels, which threads take from one queue. A series that
//! is in several units, or has samples that overlap, is joined by itself; such series come last.

mod groups;
mod plan;
mod read;
mod rolled;
mod slot;
mod sums;
mod tail;
#[cfg(test)]
mod tests;

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{ScopedJoinHandle, available_parallelism};

use model::{Budget, ErrorKind, MetricPlan, MetricVisitor, Result, Visited};
use parking_lot::Mutex;

use self::plan::Layout;
use self::read::Reader;
pub(crate) use self::tail::Tails;
use crate::shard::Shared;

/// Samples that are worth a thread.
const SAMPLES_PER_THREAD: usize = 1 << 19;
/// Most threads one visit uses.
const THREADS_MAX: usize = 8;

/// Shows `plan`'s series in all of `shards`.
///
/// # Errors
/// Those of `visitor` and `budget`, and failures to read.
pub(crate) fn visit(
    shards: &[&Shared],
    plan: &MetricPlan,
    visitor: &dyn MetricVisitor,
    budget: &Budget,
) -> Result<Visited> {
    let mut visited = Visited { complete: true, ..Visited::default() };
    let Some(start_ms) = shards.iter().map(|s| s.oldest_ms()).max() else { return Ok(visited) };
    let range = (plan.start_ms.max(start_ms), plan.end_ms);
    if range.0 > range.1 {
        return Ok(visited);
    }
    budget.check()?;
    for shard in shards {
        shard.quarantine_warnings(range, &mut visited.warnings);
    }
    let layout = match Layout::new(shards, plan, range, visitor, budget) {
        Ok(Some(layout)) => layout,
        Ok(None) => return Ok(Visited::default()),
        Err(e) => return declined(e),
    };
    match show_all(&layout, visitor, budget) {
        Ok(()) => Ok(visited),
        Err(e) => declined(e),
    }
}

/// After damage, which was noted where it was met, the ordinary way finds out what is left.
fn declined(e: model::Error) -> Result<Visited> {
    if e.kind() == ErrorKind::Corrupt { Ok(Visited::default()) } else { Err(e) }
}

fn show_all(layout: &Layout<'_>, visitor: &dyn MetricVisitor, budget: &Budget) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let work = || {
        let (mut reader, mut worker) = (Reader::new(layout, budget), visitor.worker());
        loop {
            let morsel = next.fetch_add(1, Ordering::Relaxed);
            let Some(work) = layout.morsels.get(morsel) else { return };
            let shown = budget.check().and_then(|()| {
                reader.show(work, &mut *worker)?;
                worker.end_morsel(morsel)
            });
            if let Err(e) = shown {
                // Nobody starts another one.
                next.store(layout.morsels.len(), Ordering::Relaxed);
                failed.lock().get_or_insert(e);
                return;
            }
        }
    };
    let cores = available_parallelism().map_or(1, NonZero::get);
    let worth = layout.samples_max() / SAMPLES_PER_THREAD + 1;
    let threads = cores.min(THREADS_MAX).min(worth).min(layout.morsels.len());
    std::thread::scope(|scope| {
        let spawn = |_| {
            let builder = std::thread::Builder::new().name("tsdb-visit".into());
            // Without another thread the work is done by this one.
            builder.spawn_scoped(scope, work).ok()
        };
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        work();
        let panic = others.into_iter().map(ScopedJoinHandle::join).find_map(Result::err);
        if let Some(panic) = panic {
            std::panic::resume_unwind(panic);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

//! Visits: series shown to a query one after the other, by group, instead of handed over with their labels.
//!
//! Owns: the words of a visit, and the visit of a source that can only [`select`](MetricSource::select). Does not own:
//! what is made of the series (`query`), where they are (`tsdb`). Why: `docs/decisions/0006-visiting-plans.md`.

use std::sync::Arc;

use crate::{
    Budget, Error, ErrorKind, Grouping, Labels, MetricPlan, MetricSource, Result, RollUpNeeds,
    RollUpView, SeriesData,
};

/// One series on its way past a worker; the slices are the source's scratch memory.
#[derive(Debug, Clone, Copy)]
pub struct SeriesView<'a> {
    /// What [`MetricVisitor::group`] answered for its labels.
    pub group: u32,
    /// Names `timestamps` among all that this worker is shown: equal numbers, equal times. 0 says nothing.
    pub times_id: u64,
    /// Unix milliseconds, strictly ascending.
    pub timestamps: &'a [i64],
    /// Values at those times; may be the staleness marker.
    pub values: &'a [f64],
    /// How many series this stands for; more than one only as the worker's [`Together`] allows.
    pub count: u32,
}

/// Which series of one group and with the same times a worker likes to be shown as one, because that is the same to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Together {
    /// None.
    Apart,
    /// Those of whole numbers, as their sum, as long as all sums are below 2^53 and so exact.
    Sum,
    /// As `Sum`, those that never fall and of which every value is at least 0 and `headroom` times what they rise from
    /// there to the value `rows` rows later, or to the last one.
    RisingSum {
        /// At least 0.
        headroom: f64,
        /// At least 1.
        rows: usize,
    },
    /// Those without a staleness marker, with any values: only how many they are counts.
    Count,
}

/// What a query makes of the series it visits; shared by all threads of a visit.
pub trait MetricVisitor: Sync {
    /// Number of the group with these labels, which is any the visitor likes. Called at least once per group and never
    /// per sample; may be called again for the same labels.
    ///
    /// # Errors
    /// Ends the visit.
    fn group(&self, labels: &Labels) -> Result<u32>;

    /// A worker for one thread.
    fn worker(&self) -> Box<dyn MetricWorker + '_>;

    /// What its workers want to know of windows when they can do without the samples; the plan's times are whole
    /// windows then. A source that keeps roll-ups may show those of a series instead of its samples.
    fn roll_ups(&self) -> Option<RollUpNeeds> {
        None
    }
}

/// One thread's side of a visit: takes series, morsel after morsel.
pub trait MetricWorker {
    /// What may be shown together of the series with these times, which have the number `times_id`.
    fn together(&mut self, _times_id: u64, _timestamps: &[i64]) -> Together {
        Together::Apart
    }

    /// One series of the current morsel; never empty. Charges the budget for its samples.
    ///
    /// # Errors
    /// Ends the visit.
    fn series(&mut self, series: SeriesView<'_>) -> Result<()>;

    /// One series of the current morsel, by windows; only called if [`MetricVisitor::roll_ups`] asks for it. False: they do
    /// not say enough, and its samples are shown instead.
    ///
    /// # Errors
    /// Ends the visit.
    fn rolled(&mut self, _series: RollUpView<'_>) -> Result<bool> {
        Err(Error::new(ErrorKind::Bug, "a source showed roll-ups that nobody asked for"))
    }

    /// All series of the current morsel were shown, and it was number `morsel`. Morsels are numbered from 0 without
    /// gaps, whichever worker has them; combining what they gave in this order makes results independent of threads.
    ///
    /// # Errors
    /// Ends the visit.
    fn end_morsel(&mut self, morsel: usize) -> Result<()>;
}

/// How a visit ended.
#[derive(Debug, Default)]
pub struct Visited {
    /// Whether every sample of the plan was shown. Otherwise (native histograms, start times, damage met on the way) what was shown
    /// is of no use and [`select`](MetricSource::select) has to be asked.
    pub complete: bool,
    /// Why the answer may be partial, for the reader.
    pub warnings: Vec<String>,
}

/// The visit of a source that has nothing better: one morsel, in order of labels.
///
/// # Errors
/// Those of `source` and `visitor`.
pub(crate) fn visit_selected(
    source: &(impl MetricSource + ?Sized),
    plan: &MetricPlan,
    visitor: &dyn MetricVisitor,
    budget: &Budget,
) -> Result<Visited> {
    let selected = source.select(plan, budget)?;
    let has_more = |series: &SeriesData| !series.histograms.is_empty() || series.starts.is_some();
    if selected.series.iter().any(has_more) {
        return Ok(Visited::default());
    }
    let mut worker = visitor.worker();
    let mut times_id = 0;
    let mut times: Option<Arc<[i64]>> = None;
    for series in &selected.series {
        let group = visitor.group(&group_labels(plan.grouping.as_ref(), &series.labels))?;
        if !times.as_ref().is_some_and(|times| Arc::ptr_eq(times, &series.timestamps)) {
            times = Some(Arc::clone(&series.timestamps));
            times_id += 1;
        }
        let (timestamps, values) = (&series.timestamps, &series.values);
        worker.series(SeriesView { group, times_id, timestamps, values, count: 1 })?;
    }
    worker.end_morsel(0)?;
    Ok(Visited { complete: true, warnings: selected.warnings })
}

/// The labels of the group that a series with `labels` is in; none means one group for all.
pub fn group_labels(grouping: Option<&Grouping>, labels: &Labels) -> Labels {
    let Some(grouping) = grouping else { return Labels::default() };
    let named = |name: &str| grouping.labels.iter().any(|n| n == name);
    labels.iter().filter(|(name, _)| named(name) != grouping.without).collect()
}

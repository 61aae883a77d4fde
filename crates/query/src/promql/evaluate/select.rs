//! Selectors: one request to the source each, then one walk along each series.

use std::sync::Arc;

use model::{
    Histogram, Labels, Matcher, MetricPlan, ResetHint, Result, SeriesData, StartTimes, is_stale,
};

use super::{Detail, Evaluator, native};
use crate::histogram;
use crate::promql::ast::{Duration, Edges, Expr, Kind, Selector, Subquery};
use crate::promql::notes::About;
use crate::vector::{ABSENT, Grid, Row, is_present};

/// The samples behind a range selector, and where its windows are.
pub(crate) struct Ranges {
    pub(crate) series: Vec<RangeSeries>,
    /// The ends of the windows.
    pub(crate) ends: Grid,
    pub(crate) range_ms: i64,
    pub(crate) edges: Edges,
}

impl Ranges {
    /// The window `(from, to]` of a step.
    pub(crate) fn window_ms(&self, step: usize) -> (i64, i64) {
        let to = self.ends.time_ms(step);
        (to.saturating_sub(self.range_ms), to)
    }
}

/// One series' samples, without staleness markers.
pub(crate) struct RangeSeries {
    pub(crate) labels: Labels,
    pub(crate) drop_name: bool,
    pub(crate) times: Arc<[i64]>,
    pub(crate) values: Vec<f64>,
    /// Native histograms, beside the numbers.
    pub(crate) histograms: Vec<(i64, Arc<Histogram>)>,
    /// Since when both count, where it is known.
    pub(crate) starts: Option<Box<StartTimes>>,
}

impl RangeSeries {
    /// Start times of the numbers; none when they are not known.
    pub(crate) fn starts(&self) -> &[i64] {
        self.starts.as_ref().map_or(&[], |starts| &starts.values)
    }
}

/// What of the sample that an instant selector picks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    Value,
    /// Its time, in seconds.
    Seconds,
    /// Its time, in milliseconds; of a histogram the histogram itself.
    Milliseconds,
    /// Since when it counts, in seconds; 0 when that is not known.
    StartSeconds,
}

impl Pick {
    fn number(self, t_ms: i64, start_ms: Option<i64>, value: f64) -> f64 {
        match self {
            Self::Value => value,
            Self::Seconds => t_ms as f64 / 1000.0,
            Self::Milliseconds => t_ms as f64,
            Self::StartSeconds => start_ms.unwrap_or(0) as f64 / 1000.0,
        }
    }
}

impl Evaluator<'_> {
    /// The steps of `grid` as a selector with this offset and `@` sees them.
    pub(super) fn shifted(
        &self,
        grid: Grid,
        at_ms: Option<i64>,
        offset: Option<&Duration>,
    ) -> Result<Grid> {
        let offset_ms = match offset {
            Some(offset) => offset.resolve_ms(self.step_ms, self.range_ms())?,
            None => 0,
        };
        let start_ms = at_ms.unwrap_or(grid.start_ms).saturating_sub(offset_ms);
        Ok(Grid { start_ms, step_ms: if at_ms.is_some() { 0 } else { grid.step_ms }, ..grid })
    }

    /// Asks the source for `selector`'s samples in `(after, to]`.
    fn select(
        &mut self,
        selector: &Selector,
        after_ms: i64,
        to_ms: i64,
        range_ms: i64,
        function: &'static str,
    ) -> Result<Vec<SeriesData>> {
        let plan = MetricPlan {
            matchers: selector.matchers.clone(),
            start_ms: after_ms.saturating_add(1),
            end_ms: to_ms,
            step_ms: self.step_ms,
            range_ms,
            function,
            grouping: self.grouping_hint.take(),
        };
        let selected = self.source.select(&plan, self.budget)?;
        for warning in selected.warnings {
            self.notes.source_warning(warning);
        }
        let samples: u64 = selected.series.iter().map(|s| s.values.len() as u64).sum();
        self.budget.charge_samples(samples)?;
        let mut series = selected.series;
        for one in series.iter_mut().filter(|one| !one.histograms.is_empty()) {
            if self.detail == Detail::Statistics {
                reduce_to_statistics(&mut one.histograms);
            }
            let cost = one.histograms.iter().map(|(_, h)| histogram::samples(h)).sum();
            self.budget.charge_samples(cost)?;
        }
        Ok(series)
    }

    /// An instant selector: at each step the last sample inside the look-back.
    pub(super) fn selector(
        &mut self,
        at: usize,
        selector: &Selector,
        grid: Grid,
    ) -> Result<Vec<Row>> {
        let times = self.shifted(grid, self.at_ms(selector.at), selector.offset.as_ref())?;
        if selector.edges == Edges::Smoothed {
            return self.smoothed(at, selector, times);
        }
        let lookback_ms = self.query.lookback_ms;
        if let Some(rows) = self.rolled(("", selector), (times, grid), (lookback_ms, None))? {
            return Ok(rows);
        }
        self.instant_at(selector, times, Pick::Value)
    }

    /// Times of the samples that the selector picks: `timestamp(selector)`, `start_timestamp(selector)`.
    pub(super) fn sample_times(
        &mut self,
        selector: &Selector,
        grid: Grid,
        pick: Pick,
    ) -> Result<Vec<Row>> {
        let times = self.shifted(grid, self.at_ms(selector.at), selector.offset.as_ref())?;
        let mut rows = self.instant_at(selector, times, pick)?;
        for row in &mut rows {
            row.drop_name = true;
        }
        Ok(rows)
    }

    /// For the series that `matchers` pick, the times (Unix milliseconds) of the numbers seen at the steps of `times`.
    pub(super) fn picked_times(&mut self, matchers: Vec<Matcher>, times: Grid) -> Result<Vec<Row>> {
        let edges = Edges::Plain;
        let selector = Selector { name: None, matchers, offset: None, at: None, edges };
        self.instant_at(&selector, times, Pick::Milliseconds)
    }

    fn instant_at(&mut self, selector: &Selector, times: Grid, pick: Pick) -> Result<Vec<Row>> {
        if times.count == 0 {
            return Ok(Vec::new());
        }
        let lookback_ms = self.query.lookback_ms;
        let after_ms = times.start_ms.saturating_sub(lookback_ms);
        let selected = self.select(selector, after_ms, times.last_ms(), 0, "")?;
        self.charge_rows(selected.len(), times.count)?;
        // A source that knows no start at all has nothing to say about them.
        if pick == Pick::StartSeconds && selected.iter().all(|series| series.starts.is_none()) {
            return Ok(Vec::new());
        }
        let mut rows = Vec::with_capacity(selected.len());
        for (i, series) in selected.into_iter().enumerate() {
            if i % 256 == 0 {
                self.budget.check()?;
            }
            let row = if !series.histograms.is_empty() {
                instant_cells(series, times, lookback_ms, pick)
            } else {
                let values = match pick {
                    Pick::Value => instant_values(&series, times, lookback_ms, |_, value| value),
                    _ => instant_values(&series, times, lookback_ms, |at, value| {
                        let start = series.starts.as_ref().map(|starts| starts.values[at]);
                        pick.number(series.timestamps[at], start, value)
                    }),
                };
                Row::new(series.labels, values)
            };
            if row.any() {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// An instant selector that interpolates between the samples around each step.
    fn smoothed(&mut self, at: usize, selector: &Selector, times: Grid) -> Result<Vec<Row>> {
        if times.count == 0 {
            return Ok(Vec::new());
        }
        let lookback_ms = self.query.lookback_ms;
        let after_ms = times.start_ms.saturating_sub(lookback_ms);
        let to_ms = times.last_ms().saturating_add(lookback_ms);
        let selected = self.select(selector, after_ms, to_ms, 0, "")?;
        self.charge_rows(selected.len(), times.count)?;
        let mut rows = Vec::with_capacity(selected.len());
        for series in selected {
            self.budget.check()?;
            let mut row = if series.histograms.is_empty() {
                let values = smoothed_values(&series, times, lookback_ms);
                Row::new(series.labels, values)
            } else {
                let (row, remarks) = native::smoothed_cells(&series, times, lookback_ms);
                self.tell(at, remarks, About::Metric(series.labels.metric_name()));
                row
            };
            row.drop_name = false;
            if row.any() {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// The samples a range selector or subquery needs; `function` is what will be applied to it.
    pub(super) fn ranges(
        &mut self,
        expr: &Expr,
        grid: Grid,
        function: &'static str,
    ) -> Result<Ranges> {
        match &expr.kind {
            Kind::Range { selector, range } => {
                let range_ms = self.positive_ms(range)?;
                let ends = self.shifted(grid, self.at_ms(selector.at), selector.offset.as_ref())?;
                self.range_selector(selector, ends, range_ms, function)
            }
            Kind::Subquery(subquery) => {
                let ends = self.shifted(grid, self.at_ms(subquery.at), subquery.offset.as_ref())?;
                self.subquery(subquery, ends)
            }
            _ => Err(model::Error::invalid("expected a range vector")),
        }
    }

    pub(super) fn positive_ms(&self, duration: &Duration) -> Result<i64> {
        let ms = duration.resolve_ms(self.step_ms, self.range_ms())?;
        if ms <= 0 {
            return Err(model::Error::invalid("duration must be greater than 0"));
        }
        Ok(ms)
    }

    fn range_selector(
        &mut self,
        selector: &Selector,
        ends: Grid,
        range_ms: i64,
        function: &'static str,
    ) -> Result<Ranges> {
        let edges = selector.edges;
        let mut ranges = Ranges { series: Vec::new(), ends, range_ms, edges };
        if ends.count == 0 {
            return Ok(ranges);
        }
        let lookback_ms = self.query.lookback_ms;
        let before_ms = if edges == Edges::Plain { 0 } else { lookback_ms };
        let ahead_ms = if edges == Edges::Smoothed { lookback_ms } else { 0 };
        let after_ms = ends.start_ms.saturating_sub(range_ms).saturating_sub(before_ms);
        let to_ms = ends.last_ms().saturating_add(ahead_ms);
        let selected = self.select(selector, after_ms, to_ms, range_ms, function)?;
        ranges.series = selected.into_iter().map(without_markers).collect();
        Ok(ranges)
    }

    fn subquery(&mut self, subquery: &Subquery, ends: Grid) -> Result<Ranges> {
        let range_ms = self.positive_ms(&subquery.range)?;
        let step_ms = match &subquery.step {
            Some(step) => self.positive_ms(step)?,
            None => self.options.subquery_step_ms.max(1),
        };
        // Steps are multiples of the subquery's own step, so that neighbouring windows share them.
        let after_ms = ends.start_ms.saturating_sub(range_ms);
        let start_ms = after_ms.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
        let span = ends.last_ms().saturating_sub(start_ms);
        let count = if span < 0 || ends.count == 0 { 0 } else { (span / step_ms) as usize + 1 };
        let inner = Grid { start_ms, step_ms, count };
        // Scalars inside cost as much per step as a sample, and there may be no series to pay for them.
        self.budget.charge_samples(count as u64)?;
        self.budget.charge_bytes((count as u64).saturating_mul(8))?;
        let rows = if count == 0 {
            Vec::new()
        } else {
            self.with_detail(Detail::Always, |this| this.eval_vector(&subquery.inner, inner))?
        };
        for row in &rows {
            let numbers = row.values.iter().filter(|v| is_present(**v)).count() as u64;
            let histograms: u64 = row.histogram_steps().map(|(_, h)| histogram::samples(h)).sum();
            self.budget.charge_samples(numbers + histograms)?;
        }
        let series = rows.into_iter().map(|row| row_samples(row, inner)).collect();
        Ok(Ranges { series, ends, range_ms, edges: Edges::Plain })
    }
}

/// The index of the first of `times` after `t_ms`, not before `from`; times searched for ascend.
#[inline]
pub(crate) fn advance(times: &[i64], from: usize, t_ms: i64) -> usize {
    // Steps are usually a few samples apart: gallop, then search inside the last leap.
    let mut low = from;
    let mut leap = 1;
    while let Some(t) = times.get(low + leap - 1) {
        if *t > t_ms {
            break;
        }
        low += leap;
        leap *= 2;
    }
    let high = (low + leap - 1).min(times.len());
    let tail = times.get(low..high).unwrap_or_default();
    low + tail.partition_point(|t| *t <= t_ms)
}

/// At each step what `pick` makes of the place and value of the last number inside the look-back.
fn instant_values(
    series: &SeriesData,
    times: Grid,
    lookback_ms: i64,
    pick: impl Fn(usize, f64) -> f64,
) -> Vec<f64> {
    let mut next = 0;
    times
        .times_ms()
        .map(|t_ms| {
            next = advance(&series.timestamps, next, t_ms);
            let Some(last) = next.checked_sub(1) else { return ABSENT };
            let (at_ms, value) = (series.timestamps[last], series.values[last]);
            if at_ms <= t_ms.saturating_sub(lookback_ms) || is_stale(value) {
                ABSENT
            } else {
                pick(last, value)
            }
        })
        .collect()
}

/// As [`instant_values`], of a series with histograms.
fn instant_cells(series: SeriesData, times: Grid, lookback_ms: i64, pick: Pick) -> Row {
    let mut row = Row::empty(series.labels, false, times.count);
    let (mut number, mut native) = (0, 0);
    for (step, t_ms) in times.times_ms().enumerate() {
        number = advance(&series.timestamps, number, t_ms);
        let rest = series.histograms.get(native..).unwrap_or_default();
        native += rest.iter().take_while(|(at_ms, _)| *at_ms <= t_ms).count();
        let oldest = t_ms.saturating_sub(lookback_ms);
        let number_ms = number.checked_sub(1).map(|i| series.timestamps[i]);
        let native_ms = native.checked_sub(1).map(|i| series.histograms[i].0);
        if number_ms.max(native_ms).is_none_or(|at_ms| at_ms <= oldest) {
            continue;
        }
        let starts = series.starts.as_ref();
        if native_ms > number_ms {
            let (at_ms, histogram) = &series.histograms[native - 1];
            if histogram::is_marker(histogram) {
                continue;
            }
            match pick {
                Pick::Value | Pick::Milliseconds => row.put_histogram(step, histogram.clone()),
                _ => {
                    let start = starts.map(|starts| starts.histograms[native - 1]);
                    row.values[step] = pick.number(*at_ms, start, f64::NAN);
                }
            }
        } else if !is_stale(series.values[number - 1]) {
            let start = starts.map(|starts| starts.values[number - 1]);
            let (at_ms, value) = (series.timestamps[number - 1], series.values[number - 1]);
            row.values[step] = pick.number(at_ms, start, value);
        }
    }
    row
}

/// Keeps count and sum, and says where the counter started anew while that can still be seen.
fn reduce_to_statistics(histograms: &mut [(i64, Arc<Histogram>)]) {
    let mut previous: Option<Arc<Histogram>> = None;
    for (_, h) in histograms.iter_mut().filter(|(_, h)| !histogram::is_marker(h)) {
        let hint = match (h.hint, &previous) {
            (ResetHint::Unknown, Some(before)) if histogram::is_reset(h, before) => {
                ResetHint::Reset
            }
            (ResetHint::Unknown, Some(_)) => ResetHint::NotReset,
            (hint, _) => hint,
        };
        let reduced = Arc::new(histogram::statistics(h, hint));
        previous = Some(std::mem::replace(h, reduced));
    }
}

/// Values interpolated between the samples around each step; after the last sample its value, before the first none.
pub(super) fn smoothed_values(series: &SeriesData, times: Grid, lookback_ms: i64) -> Vec<f64> {
    let mut next = 0;
    times
        .times_ms()
        .map(|t_ms| {
            next = advance(&series.timestamps, next, t_ms);
            let Some(last) = next.checked_sub(1) else { return ABSENT };
            let (from_ms, from) = (series.timestamps[last], series.values[last]);
            if from_ms <= t_ms.saturating_sub(lookback_ms) || is_stale(from) {
                return ABSENT;
            }
            match (series.timestamps.get(next), series.values.get(next)) {
                (Some(to_ms), Some(to)) if *to_ms <= t_ms + lookback_ms && !is_stale(*to) => {
                    from + (to - from) * ((t_ms - from_ms) as f64 / (to_ms - from_ms) as f64)
                }
                _ => from,
            }
        })
        .collect()
}

fn without_markers(series: SeriesData) -> RangeSeries {
    let SeriesData { labels, timestamps, values, histograms, starts } = series;
    let whole = !values.iter().any(|v| is_stale(*v))
        && !histograms.iter().any(|(_, h)| histogram::is_marker(h));
    let mut kept =
        RangeSeries { labels, drop_name: false, times: timestamps, values, histograms, starts };
    if whole {
        return kept;
    }
    if let Some(starts) = &mut kept.starts {
        let mut of = kept.values.iter();
        starts.values.retain(|_| of.next().is_some_and(|v| !is_stale(*v)));
        let mut of = kept.histograms.iter();
        starts.histograms.retain(|_| of.next().is_some_and(|(_, h)| !histogram::is_marker(h)));
    }
    let numbers = kept.times.iter().zip(&kept.values).filter(|(_, v)| !is_stale(**v));
    let (times, values): (Vec<i64>, Vec<f64>) = numbers.map(|(t, v)| (*t, *v)).unzip();
    (kept.times, kept.values) = (times.into(), values);
    kept.histograms.retain(|(_, h)| !histogram::is_marker(h));
    kept
}

fn row_samples(row: Row, grid: Grid) -> RangeSeries {
    let present = grid.times_ms().zip(&row.values).filter(|(_, v)| is_present(**v));
    let (times, values): (Vec<i64>, Vec<f64>) = present.map(|(t, v)| (t, *v)).unzip();
    // A subquery skips samples and repeats others: what they say about the one before them no longer holds.
    let unhinted = |h: &Arc<Histogram>| match h.hint {
        ResetHint::Unknown | ResetHint::Gauge => h.clone(),
        _ => Arc::new(Histogram { hint: ResetHint::Unknown, ..h.as_ref().clone() }),
    };
    let histograms =
        row.histogram_steps().map(|(step, h)| (grid.time_ms(step), unhinted(h))).collect();
    RangeSeries {
        labels: row.labels,
        drop_name: row.drop_name,
        times: times.into(),
        values,
        histograms,
        starts: None,
    }
}

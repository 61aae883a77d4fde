//! Selectors: one request to the source each, then one walk along each series.

use std::sync::Arc;

use model::{Labels, Matcher, MetricPlan, Result, SeriesData, is_stale};

use super::{Evaluator, SUBQUERY_STEP_MS};
use crate::promql::ast::{Duration, Edges, Expr, Kind, Selector, Subquery};
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
        Ok(selected.series)
    }

    /// An instant selector: at each step the last sample inside the look-back.
    pub(super) fn selector(&mut self, selector: &Selector, grid: Grid) -> Result<Vec<Row>> {
        self.instant(selector, grid, |_, value| value)
    }

    /// Times of the samples that the selector picks, in seconds: `timestamp(selector)`.
    pub(super) fn sample_times(&mut self, selector: &Selector, grid: Grid) -> Result<Vec<Row>> {
        let mut rows = self.instant(selector, grid, |t_ms, _| t_ms as f64 / 1000.0)?;
        for row in &mut rows {
            row.drop_name = true;
        }
        Ok(rows)
    }

    /// For the series that `matchers` pick, the times (Unix milliseconds) of the samples seen at the steps of `times`.
    pub(super) fn picked_times(&mut self, matchers: Vec<Matcher>, times: Grid) -> Result<Vec<Row>> {
        let edges = Edges::Plain;
        let selector = Selector { name: None, matchers, offset: None, at: None, edges };
        self.instant_at(&selector, times, |t_ms, _| t_ms as f64)
    }

    fn instant(
        &mut self,
        selector: &Selector,
        grid: Grid,
        pick: impl Fn(i64, f64) -> f64,
    ) -> Result<Vec<Row>> {
        let times = self.shifted(grid, self.at_ms(selector.at), selector.offset.as_ref())?;
        self.instant_at(selector, times, pick)
    }

    fn instant_at(
        &mut self,
        selector: &Selector,
        times: Grid,
        pick: impl Fn(i64, f64) -> f64,
    ) -> Result<Vec<Row>> {
        if times.count == 0 {
            return Ok(Vec::new());
        }
        let lookback_ms = self.query.lookback_ms;
        let smoothed = selector.edges == Edges::Smoothed;
        let after_ms = times.start_ms.saturating_sub(lookback_ms);
        let ahead_ms = if smoothed { lookback_ms } else { 0 };
        let to_ms = times.last_ms().saturating_add(ahead_ms);
        let selected = self.select(selector, after_ms, to_ms, 0, "")?;
        self.charge_rows(selected.len(), times.count)?;
        let mut rows = Vec::with_capacity(selected.len());
        for (i, series) in selected.into_iter().enumerate() {
            if i % 256 == 0 {
                self.budget.check()?;
            }
            let values = if smoothed {
                smoothed_values(&series, times, lookback_ms)
            } else {
                instant_values(&series, times, lookback_ms, &pick)
            };
            if values.iter().copied().any(is_present) {
                rows.push(Row::new(series.labels, values));
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
            None => SUBQUERY_STEP_MS,
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
        let rows = if count == 0 { Vec::new() } else { self.eval_vector(&subquery.inner, inner)? };
        let samples: u64 =
            rows.iter().map(|r| r.values.iter().filter(|v| is_present(**v)).count() as u64).sum();
        self.budget.charge_samples(samples)?;
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

fn instant_values(
    series: &SeriesData,
    times: Grid,
    lookback_ms: i64,
    pick: impl Fn(i64, f64) -> f64,
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
                pick(at_ms, value)
            }
        })
        .collect()
}

/// Values interpolated between the samples around each step; after the last sample its value, before the first none.
fn smoothed_values(series: &SeriesData, times: Grid, lookback_ms: i64) -> Vec<f64> {
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
    let SeriesData { labels, timestamps, values, .. } = series;
    if !values.iter().any(|v| is_stale(*v)) {
        return RangeSeries { labels, drop_name: false, times: timestamps, values };
    }
    let kept = timestamps.iter().zip(&values).filter(|(_, v)| !is_stale(**v));
    let (times, values): (Vec<i64>, Vec<f64>) = kept.map(|(t, v)| (*t, *v)).unzip();
    RangeSeries { labels, drop_name: false, times: times.into(), values }
}

fn row_samples(row: Row, grid: Grid) -> RangeSeries {
    let present = grid.times_ms().zip(&row.values).filter(|(_, v)| is_present(**v));
    let (times, values): (Vec<i64>, Vec<f64>) = present.map(|(t, v)| (t, *v)).unzip();
    RangeSeries { labels: row.labels, drop_name: row.drop_name, times: times.into(), values }
}

//! A log source over a table in memory: applies plans literally, so that it says what a store must do.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use model::{
    Budget, Labels, LogAggregation, LogPlan, LogRow, LogSource, Matcher, Order, PATTERN_LABEL,
    Result, StepCounts, StreamVolume, TimeRange, label_of,
};

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) stream: Labels,
    pub(crate) t_ns: i64,
    pub(crate) line: String,
    pub(crate) fields: Labels,
}

/// All rows.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    /// Whether it counts itself when asked to.
    pub(crate) aggregates: bool,
}

impl Table {
    fn select(&self, plan: &LogPlan) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|r| plan.range.contains(r.t_ns))
            .filter(|r| plan.matchers.iter().all(|m| m.matches_labels(&r.stream)))
            .filter(|r| plan.line_filters.iter().all(|f| f.matches(&r.line)))
            .filter(|r| {
                // A hint, taken literally: what it leaves out must not be missed.
                let Row { stream, t_ns, line, fields } = r;
                let row = LogRow { stream, t_ns: *t_ns, line, fields };
                plan.demands.iter().all(|d| d.matches(&row))
            })
            .filter(|r| {
                let holds = |m: &Matcher| m.matches(label_of(&r.stream, &r.fields, m.name()));
                plan.label_filters.iter().all(holds)
            })
            .collect();
        match plan.order {
            Order::Forward => rows.sort_by_key(|r| r.t_ns),
            Order::Backward => rows.sort_by_key(|r| std::cmp::Reverse(r.t_ns)),
            Order::Any => {}
        }
        rows
    }
}

impl LogSource for Table {
    fn scan(
        &self,
        plan: &LogPlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&LogRow<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<String>> {
        for row in self.select(plan) {
            budget.charge_samples(1)?;
            let line = if plan.needs_line { row.line.as_str() } else { "" };
            // A row's pattern is a field here, which nobody sees who does not ask.
            let is_needed = |name: &str| match &plan.needed_fields {
                _ if name == PATTERN_LABEL => plan.patterns,
                Some(names) => names.iter().any(|needed| needed == name),
                None => true,
            };
            let fields: Labels = row.fields.iter().filter(|(name, _)| is_needed(name)).collect();
            let row = LogRow { stream: &row.stream, t_ns: row.t_ns, line, fields: &fields };
            if visit(&row).is_break() {
                break;
            }
        }
        Ok(Vec::new())
    }

    fn aggregate(
        &self,
        plan: &LogPlan,
        aggregation: &LogAggregation,
        budget: &Budget,
    ) -> Result<Option<Vec<StepCounts>>> {
        if !self.aggregates {
            return Ok(None);
        }
        let LogAggregation { start_ns, end_ns, step_ns, window_ns, bytes, ref by, extents } =
            *aggregation;
        let steps = usize::try_from((end_ns - start_ns) / step_ns + 1).unwrap_or(0);
        let mut counts: BTreeMap<Labels, (Vec<u64>, (i64, i64))> = BTreeMap::new();
        for row in self.select(plan) {
            budget.charge_samples(1)?;
            let group = match by {
                None => row.stream.clone(),
                Some(names) => Labels::from_pairs(
                    names.iter().map(|n| (n.as_str(), label_of(&row.stream, &row.fields, n))),
                ),
            };
            let (per_step, extent) =
                counts.entry(group).or_insert_with(|| (vec![0; steps], (i64::MAX, i64::MIN)));
            *extent = (extent.0.min(row.t_ns), extent.1.max(row.t_ns));
            let mut t_ns = start_ns;
            for count in per_step.iter_mut() {
                if t_ns - window_ns < row.t_ns && row.t_ns <= t_ns {
                    *count += if bytes { row.line.len() as u64 } else { 1 };
                }
                t_ns += step_ns;
            }
        }
        let counts = counts.into_iter().map(|(labels, (counts, extent))| {
            let extent = extents.then_some(extent);
            StepCounts { labels, counts, extent }
        });
        Ok(Some(counts.collect()))
    }

    fn volumes(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<StreamVolume>> {
        let plan = LogPlan { matchers: matchers.to_vec(), ..LogPlan::all(range, Order::Any) };
        let mut volumes: BTreeMap<Labels, (u64, u64)> = BTreeMap::new();
        for row in self.select(&plan) {
            budget.charge_samples(1)?;
            let (rows, bytes) = volumes.entry(row.stream.clone()).or_default();
            *rows += 1;
            *bytes += row.line.len() as u64;
        }
        let volume = |(stream, (rows, bytes))| StreamVolume { stream, rows, bytes, blocks: 1 };
        Ok(volumes.into_iter().map(volume).collect())
    }

    fn streams(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        _budget: &Budget,
    ) -> Result<Vec<Labels>> {
        let is_selected = |labels: &Labels| {
            selectors.is_empty()
                || selectors.iter().any(|s| s.iter().all(|m| m.matches_labels(labels)))
        };
        let rows = self.rows.iter().filter(|r| range.contains(r.t_ns));
        let mut streams: Vec<Labels> =
            rows.map(|r| r.stream.clone()).filter(|s| is_selected(s)).collect();
        streams.sort();
        streams.dedup();
        Ok(streams)
    }
}

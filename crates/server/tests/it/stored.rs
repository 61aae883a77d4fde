//! A store of log lines in memory: what receivers hand to it, queries read back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use model::{
    Budget, Done, Labels, LogAggregation, LogBatch, LogPlan, LogRecord, LogRow, LogSource, Matcher,
    MetricBatch, Order, PATTERN_LABEL, Receipt, Result, Sink, StepCounts, StreamVolume, TimeRange,
    label_of,
};
use parking_lot::Mutex;

/// Lines in order of arrival, and what every scan warns of.
#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) lines: Mutex<Vec<LogRecord>>,
    pub(crate) warnings: Vec<String>,
}

impl Sink for Stored {
    fn append_metrics(&self, _batch: MetricBatch, done: Done) {
        done.call(Ok(Receipt::default()));
    }

    fn append_logs(&self, batch: LogBatch, done: Done) {
        let stored = batch.rows.len() as u64;
        self.lines.lock().extend(batch.rows.iter().map(LogRow::to_record));
        done.call(Ok(Receipt { stored, rejected: Vec::new() }));
    }

    fn cursor(&self, _source: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// As a store that finds them would say: words with digits vary.
fn pattern(line: &str) -> String {
    let varies = |word: &&str| word.contains(|c: char| c.is_ascii_digit());
    let words = line.split(' ').map(|word| if varies(&word) { "<_>" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

impl LogSource for Stored {
    fn scan(
        &self,
        plan: &LogPlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&LogRow<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<String>> {
        let mut lines = self.lines.lock().clone();
        lines.sort_by_key(|line| line.t_ns);
        if plan.order == Order::Backward {
            lines.reverse();
        }
        for LogRecord { stream, t_ns, line, fields } in &lines {
            let has = |m: &Matcher| m.matches(label_of(stream, fields, m.name()));
            let is_wanted = plan.range.contains(*t_ns)
                && plan.matchers.iter().all(|m| m.matches_labels(stream))
                && plan.line_filters.iter().all(|f| f.matches(line))
                && plan.label_filters.iter().all(has);
            if !is_wanted {
                continue;
            }
            budget.charge_samples(1)?;
            let with_pattern = fields.with(PATTERN_LABEL, &pattern(line));
            let fields = if plan.patterns { &with_pattern } else { fields };
            if visit(&LogRow { stream, t_ns: *t_ns, line, fields }).is_break() {
                break;
            }
        }
        Ok(self.warnings.clone())
    }

    fn aggregate(
        &self,
        _plan: &LogPlan,
        _aggregation: &LogAggregation,
        _budget: &Budget,
    ) -> Result<Option<Vec<StepCounts>>> {
        Ok(None)
    }

    fn volumes(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<StreamVolume>> {
        let plan = LogPlan { matchers: matchers.to_vec(), ..LogPlan::all(range, Order::Any) };
        let mut volumes: BTreeMap<Labels, StreamVolume> = BTreeMap::new();
        self.scan(&plan, budget, &mut |row| {
            let stream = row.stream.clone();
            let none = StreamVolume { stream: stream.clone(), rows: 0, bytes: 0, blocks: 1 };
            let volume = volumes.entry(stream).or_insert(none);
            volume.rows += 1;
            volume.bytes += row.line.len() as u64;
            ControlFlow::Continue(())
        })?;
        Ok(volumes.into_values().collect())
    }

    fn streams(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Labels>> {
        let all = self.volumes(&[], range, budget)?.into_iter().map(|volume| volume.stream);
        let is_wanted = |stream: &Labels| {
            let fits = |selector: &Vec<Matcher>| selector.iter().all(|m| m.matches_labels(stream));
            selectors.is_empty() || selectors.iter().any(fits)
        };
        Ok(all.filter(is_wanted).collect())
    }
}

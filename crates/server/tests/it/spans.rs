//! A store of spans in memory: what receivers hand to it, queries read back.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;

use model::{
    AttributeScope, AttributeValue, Budget, Done, Error, ErrorKind, LogBatch, MetricBatch,
    Operation, Receipt, RejectReason, Result, Sink, SpanBatch, TimeRange, Trace, TracePlan,
    TraceSource,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Batches in the order they came; spans named `refused` are, and it fails as often as it was told to.
#[derive(Default)]
pub(crate) struct Spans {
    pub(crate) batches: Mutex<Vec<SpanBatch>>,
    pub(crate) failures: Mutex<VecDeque<ErrorKind>>,
    pub(crate) came: Notify,
}

impl Spans {
    /// All spans as `source service name`, in the order they came.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for SpanBatch { source, groups } in &*self.batches.lock() {
            for group in groups {
                let service = group.resource.service().unwrap_or("-");
                let spans = group.spans.iter();
                names.extend(spans.map(|span| format!("{source} {service} {}", span.name)));
            }
        }
        names
    }
}

impl Sink for Spans {
    fn append_metrics(&self, _batch: MetricBatch, done: Done) {
        done.call(Ok(Receipt::default()));
    }

    fn append_logs(&self, _batch: LogBatch, done: Done) {
        done.call(Ok(Receipt::default()));
    }

    fn append_spans(&self, mut batch: SpanBatch, done: Done) {
        if let Some(kind) = self.failures.lock().pop_front() {
            return done.call(Err(Error::new(kind, "told to fail")));
        }
        let before = batch.len();
        for group in &mut batch.groups {
            group.spans.retain(|span| &*span.name != "refused");
        }
        let stored = batch.len() as u64;
        let refused = before as u64 - stored;
        let rejected = (refused > 0).then_some((RejectReason::TooOld, refused));
        self.batches.lock().push(batch);
        self.came.notify_one();
        done.call(Ok(Receipt { stored, rejected: rejected.into_iter().collect() }));
    }

    fn cursor(&self, _source: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

impl TraceSource for Spans {
    fn trace(&self, trace_id: u128, budget: &Budget) -> Result<Option<Trace>> {
        let mut trace = Trace { trace_id, groups: Vec::new() };
        for mut group in self.batches.lock().iter().flat_map(|batch| batch.groups.clone()) {
            group.spans.retain(|span| span.trace_id == trace_id);
            budget.charge_samples(group.spans.len() as u64)?;
            if !group.spans.is_empty() {
                trace.groups.push(group);
            }
        }
        Ok((!trace.groups.is_empty()).then_some(trace))
    }

    fn scan(
        &self,
        _plan: &TracePlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&Trace) -> ControlFlow<()>,
    ) -> Result<()> {
        let ids: BTreeSet<u128> = {
            let batches = self.batches.lock();
            let groups = batches.iter().flat_map(|batch| &batch.groups);
            groups.flat_map(|g| &g.spans).map(|span| span.trace_id).collect()
        };
        for id in ids {
            if let Some(trace) = self.trace(id, budget)?
                && visit(&trace).is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn services(&self, _range: TimeRange, _budget: &Budget) -> Result<Vec<String>> {
        let batches = self.batches.lock();
        let groups = batches.iter().flat_map(|batch| &batch.groups);
        let services: BTreeSet<&str> = groups.filter_map(|g| g.resource.service()).collect();
        Ok(services.into_iter().map(str::to_owned).collect())
    }

    fn operations(
        &self,
        _service: &str,
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<Vec<Operation>> {
        Ok(Vec::new())
    }

    fn attribute_names(
        &self,
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<Vec<(AttributeScope, String)>> {
        let mut names = BTreeSet::new();
        self.each_attribute(&mut |scope, name, _| {
            names.insert((scope, name.to_owned()));
        });
        Ok(names.into_iter().collect())
    }

    fn attribute_values(
        &self,
        wanted: AttributeScope,
        wanted_name: &str,
        _range: TimeRange,
        _limit: usize,
        _budget: &Budget,
    ) -> Result<Vec<AttributeValue>> {
        let mut values = Vec::new();
        self.each_attribute(&mut |scope, name, value| {
            if scope == wanted && name == wanted_name && !values.contains(value) {
                values.push(value.clone());
            }
        });
        Ok(values)
    }
}

impl Spans {
    fn each_attribute(&self, f: &mut dyn FnMut(AttributeScope, &str, &AttributeValue)) {
        for group in self.batches.lock().iter().flat_map(|batch| &batch.groups) {
            group.resource.attributes.iter().for_each(|(n, v)| f(AttributeScope::Resource, n, v));
            for span in &group.spans {
                span.attributes.iter().for_each(|(n, v)| f(AttributeScope::Span, n, v));
            }
        }
    }
}

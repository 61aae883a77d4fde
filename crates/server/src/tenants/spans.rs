//! Spans of tenants: whose a span is stands in its resource, and nobody sees another's.

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{
    AttributeScope, AttributeValue, Attributes, Budget, Error, Matcher, Operation, Resource,
    Result, SpanGroup, SpanPlan, TENANT_LABEL, TimeRange, Trace, TracePlan, TraceSource,
    TraceSummary,
};

/// Makes `groups` those of `tenant`, whatever their resources say of it.
pub(super) fn mark(groups: &mut [SpanGroup], tenant: &str) {
    let mut last: Option<(Arc<Resource>, Arc<Resource>)> = None;
    for group in groups {
        // Neighbours share their resource.
        let marked = match &last {
            Some((theirs, marked)) if Arc::ptr_eq(theirs, &group.resource) => marked.clone(),
            _ => {
                let mut marked = Resource::clone(&group.resource);
                marked.attributes.retain(|(name, _)| **name != *TENANT_LABEL);
                let value = AttributeValue::String(tenant.to_owned());
                marked.attributes.push((TENANT_LABEL.into(), value));
                Arc::new(marked)
            }
        };
        last = Some((std::mem::replace(&mut group.resource, marked.clone()), marked));
    }
}

/// The spans of some tenants.
pub(super) struct OfTenants {
    all: Arc<dyn TraceSource>,
    scope: Matcher,
}

impl OfTenants {
    pub(super) fn new(all: Arc<dyn TraceSource>, scope: Matcher) -> Self {
        Self { all, scope }
    }

    fn is_theirs(&self, attributes: &Attributes) -> bool {
        let tenant = attributes.iter().find(|(name, _)| **name == *TENANT_LABEL);
        match tenant {
            None => self.scope.matches(""),
            Some((_, value)) => self.scope.matches(&value.to_string()),
        }
    }

    fn no_list<T>(&self) -> Result<T> {
        Err(Error::invalid(
            "spans cannot be searched by tenant yet; a trace can be asked for by its id",
        ))
    }
}

impl TraceSource for OfTenants {
    fn find(&self, _plan: &SpanPlan, _budget: &Budget) -> Result<Vec<TraceSummary>> {
        self.no_list()
    }

    fn trace(&self, trace_id: u128, budget: &Budget) -> Result<Option<Trace>> {
        let Some(mut trace) = self.all.trace(trace_id, budget)? else { return Ok(None) };
        trace.groups.retain(|group| self.is_theirs(&group.resource.attributes));
        Ok((!trace.groups.is_empty()).then_some(trace))
    }

    fn scan(
        &self,
        plan: &TracePlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&Trace) -> ControlFlow<()>,
    ) -> Result<()> {
        // What others' spans satisfy brings a trace here, and leaves nothing to find in it.
        self.all.scan(plan, budget, &mut |trace| {
            let is_theirs = |group: &&SpanGroup| self.is_theirs(&group.resource.attributes);
            if trace.groups.iter().all(|group| is_theirs(&group)) {
                return visit(trace);
            }
            let groups: Vec<SpanGroup> = trace.groups.iter().filter(is_theirs).cloned().collect();
            if groups.is_empty() {
                return ControlFlow::Continue(());
            }
            visit(&Trace { trace_id: trace.trace_id, groups })
        })
    }

    fn services(&self, _range: TimeRange, _budget: &Budget) -> Result<Vec<String>> {
        self.no_list()
    }

    fn operations(
        &self,
        _service: &str,
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<Vec<Operation>> {
        self.no_list()
    }

    fn attribute_names(
        &self,
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<Vec<(AttributeScope, String)>> {
        self.no_list()
    }

    fn attribute_values(
        &self,
        _scope: AttributeScope,
        _name: &str,
        _range: TimeRange,
        _limit: usize,
        _budget: &Budget,
    ) -> Result<Vec<AttributeValue>> {
        self.no_list()
    }
}

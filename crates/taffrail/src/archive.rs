//! Archived traces: copies in a store of their own, which no retention and no disk limit removes.
//!
//! A trace that the live store does not have any more is read from there. Searches and lists are about live traces alone, as
//! in Jaeger. Does not own: who may archive, and by which call (`server`).

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{
    AttributeScope, AttributeValue, Budget, Done, Edge, EdgePlan, Error, ErrorKind, Operation,
    Result, TimeRange, Trace, TracePlan, TraceSource,
};

/// The archive takes at most this part of the disk limit: what it has cannot make room.
pub(crate) const PART_OF_LIMIT: u64 = 8;

/// Both stores.
pub(crate) struct Archived {
    pub(crate) live: Arc<tracedb::Store>,
    pub(crate) archive: Arc<tracedb::Store>,
    /// Bytes the archive may take, by the disk limits.
    pub(crate) bytes_max: Option<u64>,
}

/// Bytes that a store takes on disk.
pub(crate) fn bytes_of(store: &tracedb::Store) -> u64 {
    let stats = store.stats();
    stats.part_bytes + stats.wal_bytes
}

impl server::TraceArchive for Archived {
    fn keep(&self, trace: &Trace, done: Done) {
        let taken = bytes_of(&self.archive);
        if let Some(max) = self.bytes_max.filter(|max| taken >= *max) {
            let message = format!(
                "archived traces take {taken} bytes; the limit is {max}, a {PART_OF_LIMIT}th of the disk limit"
            );
            return done.call(Err(Error::new(ErrorKind::Limit, message)));
        }
        self.archive.append(&trace.groups, done);
    }
}

impl TraceSource for Archived {
    fn trace(&self, trace_id: u128, budget: &Budget) -> Result<Option<Trace>> {
        match self.live.trace(trace_id, budget)? {
            None => self.archive.trace(trace_id, budget),
            found => Ok(found),
        }
    }

    fn scan(
        &self,
        plan: &TracePlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&Trace) -> ControlFlow<()>,
    ) -> Result<()> {
        self.live.scan(plan, budget, visit)
    }

    fn services(&self, range: TimeRange, budget: &Budget) -> Result<Vec<String>> {
        self.live.services(range, budget)
    }

    fn operations(
        &self,
        service: &str,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Operation>> {
        self.live.operations(service, range, budget)
    }

    fn edges(&self, plan: &EdgePlan, budget: &Budget) -> Result<Vec<Edge>> {
        self.live.edges(plan, budget)
    }

    fn attribute_names(
        &self,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<(AttributeScope, String)>> {
        self.live.attribute_names(range, budget)
    }

    fn attribute_values(
        &self,
        scope: AttributeScope,
        name: &str,
        range: TimeRange,
        limit: usize,
        budget: &Budget,
    ) -> Result<Vec<AttributeValue>> {
        self.live.attribute_values(scope, name, range, limit, budget)
    }
}

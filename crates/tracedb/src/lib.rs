//! The trace store.
//!
//! An empty room: this release accepts no spans. What will live here implements [`model::TraceSource`]; queries reach
//! it only through that trait. It will not decode OTLP, Jaeger or Zipkin (that is `ingest`) and will not parse TraceQL
//! (that is `query`).

use model::{Budget, Error, SpanPlan, TraceSource, TraceSummary};

/// A trace store that holds nothing, for the places that need a [`TraceSource`] today.
#[derive(Debug, Default)]
pub struct Empty;

impl TraceSource for Empty {
    fn find(&self, _plan: &SpanPlan, _budget: &Budget) -> Result<Vec<TraceSummary>, Error> {
        Ok(Vec::new())
    }

    fn trace(&self, _trace_id: u128, _budget: &Budget) -> Result<Option<model::Trace>, Error> {
        Ok(None)
    }
}

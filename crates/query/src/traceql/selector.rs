//! Queries asked of one trace at hand: whether it is one that a search would find.

use model::{Error, Result, Trace};

use super::ast::{Root, Stage};
use super::spansets;
use super::view::View;

/// A search as a condition on traces.
#[derive(Debug, Clone)]
pub struct Selector {
    stages: Vec<Stage>,
}

impl Selector {
    /// Reads a query.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) when it is none, or a metric.
    pub fn parse(text: &str) -> Result<Self> {
        match super::parse(text)?.root {
            Root::Spans(stages) => Ok(Self { stages }),
            Root::Metrics(_) => {
                Err(Error::invalid("the query is a metric, which no trace is; ask for spans"))
            }
        }
    }

    /// Whether the pipeline leaves something of the trace.
    ///
    /// Cost: looks at each span; the tree of the trace is made where the query asks for it.
    pub fn matches(&self, trace: &Trace) -> bool {
        // Without a budget nothing fails.
        spansets::run(&View::new(trace), &self.stages).is_ok_and(|sets| !sets.is_empty())
    }
}

//! Reading rows of a source with visits that may fail: the failure ends the scan and is what comes back.

use std::ops::ControlFlow;

use model::{Budget, LogPlan, LogRow, LogSource, Result};

/// Visits the rows of `plan` until a visit breaks or fails. Returns the source's warnings.
///
/// # Errors
/// The visit's, or the source's.
pub(super) fn scan(
    source: &dyn LogSource,
    plan: &LogPlan,
    budget: &Budget,
    mut visit: impl FnMut(&LogRow<'_>) -> Result<ControlFlow<()>>,
) -> Result<Vec<String>> {
    let mut failure = None;
    let warnings = source.scan(plan, budget, &mut |row| {
        visit(row).unwrap_or_else(|e| {
            failure = Some(e);
            ControlFlow::Break(())
        })
    })?;
    failure.map_or(Ok(warnings), Err)
}

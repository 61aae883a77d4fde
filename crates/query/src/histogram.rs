//! Computing with native histograms: sums and differences, resets, cuts, estimates, their text.
//!
//! Owns: the arithmetic of [`model::Histogram`], which makes layouts alike before it adds. Does not own: shape and bounds
//! (`model`), vectors (`vector`), which function does what (`promql`). Source: Prometheus, "Native Histograms"
//! specification. Results have no empty buckets.

mod compare;
mod estimate;
mod fold;
mod text;
mod total;
mod trim;

pub(crate) use compare::{equal, is_reset};
pub(crate) use estimate::{NanShare, fraction, quantile, variance};
pub(crate) use fold::{mean, sum};
pub use text::describe;
pub(crate) use text::format_general;
pub(crate) use total::{Merged, MixedSchemas, Total, negated, scaled};
pub(crate) use trim::trimmed;

use model::{Histogram, is_stale};

/// Whether it marks its series as gone.
pub(crate) fn is_marker(h: &Histogram) -> bool {
    is_stale(h.sum)
}

/// Only what `histogram_count` and its like read, and the hint.
pub(crate) fn statistics(h: &Histogram, hint: model::ResetHint) -> Histogram {
    Histogram { count: h.count, sum: h.sum, hint, ..Histogram::default() }
}

/// Memory that `h` takes.
pub(crate) fn bytes(h: &Histogram) -> u64 {
    let buckets = h.positive.len() + h.negative.len() + h.custom_bounds.len();
    let spans = h.positive_spans.len() + h.negative_spans.len();
    ((buckets + spans) * 8 + size_of::<Histogram>()) as u64
}

/// What `h` costs of a query's samples: one for every 16 bytes, as Prometheus counts.
pub(crate) fn samples(h: &Histogram) -> u64 {
    bytes(h).div_ceil(16)
}

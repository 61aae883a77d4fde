//! What operations on rows of floats and histograms want to tell the reader. The language words it and adds the place.

/// One thing to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remark {
    /// Floats and histograms stood where only one kind may; there is no result.
    MixedKinds,
    /// Exponential and custom buckets stood where only one kind may; there is no result.
    MixedSchemas,
    /// Histograms were left out.
    Ignored,
    /// A counter was expected, a gauge histogram came.
    NotCounter,
    /// A gauge was expected, a counter histogram came.
    NotGauge,
    /// A sample says it counts since before the sample before it.
    StartOverlap,
    /// Histograms that start anew met others that go on, in an addition.
    CollisionInAddition,
    CollisionInSubtraction,
    CollisionInAggregation,
    /// Custom bounds differed, in an addition.
    ReconciledInAddition,
    ReconciledInSubtraction,
    ReconciledInAggregation,
    /// The operator does not exist between two floats.
    FloatFloat,
    FloatHistogram,
    HistogramFloat,
    HistogramHistogram,
}

const ALL: [Remark; 16] = [
    Remark::MixedKinds,
    Remark::MixedSchemas,
    Remark::Ignored,
    Remark::NotCounter,
    Remark::NotGauge,
    Remark::StartOverlap,
    Remark::CollisionInAddition,
    Remark::CollisionInSubtraction,
    Remark::CollisionInAggregation,
    Remark::ReconciledInAddition,
    Remark::ReconciledInSubtraction,
    Remark::ReconciledInAggregation,
    Remark::FloatFloat,
    Remark::FloatHistogram,
    Remark::HistogramFloat,
    Remark::HistogramHistogram,
];

/// A set of [`Remark`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Remarks(u32);

impl Remarks {
    /// Only `remark`.
    pub(crate) fn only(remark: Remark) -> Self {
        let mut remarks = Self::default();
        remarks.add(remark);
        remarks
    }

    pub(crate) fn add(&mut self, remark: Remark) {
        self.0 |= 1 << remark as u32;
    }

    /// Adds all of `other`.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in it.
    pub(crate) fn iter(self) -> impl Iterator<Item = Remark> {
        ALL.into_iter().filter(move |remark| self.0 & (1 << *remark as u32) != 0)
    }
}

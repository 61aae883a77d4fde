//! The `stats` object of query answers.

use serde_json::{Value, json};

/// What a `stats` parameter asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `true` or `all`. Figures per step are behind a feature flag in Prometheus and are not kept here.
    Known,
    /// Any other text, which Prometheus takes as `true` for now.
    Deprecated,
}

impl Wanted {
    pub(super) fn of(text: &str) -> Option<Self> {
        match text {
            "" => None,
            "true" | "all" => Some(Self::Known),
            _ => Some(Self::Deprecated),
        }
    }

    pub(super) fn warning(self) -> Option<String> {
        (self == Self::Deprecated).then(|| {
            "the stats parameter knows \"true\" and \"all\"; any other value counts as \"true\" and will be refused one day"
                .to_owned()
        })
    }
}

/// What a query cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statistics {
    pub(super) queue_ns: i64,
    pub(super) preparation_ns: i64,
    pub(super) evaluation_ns: i64,
    pub(super) samples: u64,
}

impl Statistics {
    /// Samples are read once and stay in memory until the query ends, which makes read, loaded and peak one number.
    /// Vectors are sorted while they are evaluated.
    pub(super) fn to_json(self) -> Value {
        let seconds = |ns: i64| ns as f64 / 1e9;
        let executed_ns = self.preparation_ns + self.evaluation_ns;
        json!({
            "timings": {
                "evalTotalTime": seconds(executed_ns),
                "resultSortTime": 0.0,
                "queryPreparationTime": seconds(self.preparation_ns),
                "innerEvalTime": seconds(self.evaluation_ns),
                "execQueueTime": seconds(self.queue_ns),
                "execTotalTime": seconds(self.queue_ns + executed_ns),
            },
            "samples": {
                "totalQueryableSamples": self.samples,
                "peakSamples": self.samples,
                "samplesRead": self.samples,
            },
        })
    }
}

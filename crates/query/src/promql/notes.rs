//! Annotations of a result: warnings and infos with the place they are about, each once.

use crate::syntax::position;
use crate::vector::remarks::{Remark, Remarks};

/// What a remark is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum About<'a> {
    /// A function of ranges, at a series of this metric.
    Metric(&'a str),
    /// An aggregation, at a group of this metric.
    Aggregation(&'a str, &'a str),
    /// An operator.
    Operator(&'a str),
}

/// Collects annotations for one query text.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

impl Notes {
    /// Something that makes the result doubtful, about the expression at byte `at` of `text`.
    pub(crate) fn warn(&mut self, text: &str, at: usize, message: &str) {
        let (line, column) = position(text, at);
        push(&mut self.warnings, format!("PromQL warning: {message} ({line}:{column})"));
    }

    /// Something worth knowing.
    pub(crate) fn info(&mut self, text: &str, at: usize, message: &str) {
        let (line, column) = position(text, at);
        push(&mut self.infos, format!("PromQL info: {message} ({line}:{column})"));
    }

    /// What an operation had to tell about the expression at byte `at`.
    pub(crate) fn tell(&mut self, text: &str, at: usize, remarks: Remarks, about: About<'_>) {
        for remark in remarks.iter() {
            let (doubtful, message) = worded(remark, about);
            if doubtful {
                self.warn(text, at, &message);
            } else {
                self.info(text, at, &message);
            }
        }
    }

    /// A source's own words.
    pub(crate) fn source_warning(&mut self, message: String) {
        push(&mut self.warnings, message);
    }
}

/// Annotations of one kind that a result may carry.
const NOTES_MAX: usize = 50;

fn push(list: &mut Vec<String>, message: String) {
    if list.contains(&message) {
        return;
    }
    match list.len() {
        n if n < NOTES_MAX => list.push(message),
        NOTES_MAX => list.push(format!("more than {NOTES_MAX} annotations; the rest is left out")),
        _ => {}
    }
}

/// Whether it makes the result doubtful, and what it says.
fn worded(remark: Remark, about: About<'_>) -> (bool, String) {
    let metric = match about {
        About::Metric(metric) | About::Aggregation(_, metric) => metric,
        About::Operator(_) => "",
    };
    let types = |left: &str, right: &str| {
        let About::Operator(op) = about else { return (false, String::new()) };
        let message = format!(
            "incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}"
        );
        (false, message)
    };
    let collision =
        |during: &str| (true, format!("conflicting counter resets during histogram {during}"));
    let reconciled = |during: &str| {
        (false, format!("mismatched custom buckets were reconciled during {during}"))
    };
    match (remark, about) {
        (Remark::MixedKinds, About::Aggregation(..)) => {
            (true, "encountered a mix of histograms and floats for aggregation".into())
        }
        (Remark::MixedKinds, _) => {
            (true, format!("encountered a mix of histograms and floats for metric name {metric:?}"))
        }
        (Remark::MixedSchemas, About::Operator(op)) => {
            (true, format!("incompatible bucket layout encountered for binary operator {op}"))
        }
        (Remark::MixedSchemas, _) => (
            true,
            format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric:?}"
            ),
        ),
        (Remark::Ignored, About::Aggregation(op, _)) => {
            (false, format!("ignored histogram in {op} aggregation"))
        }
        (Remark::Ignored, _) => (
            false,
            format!(
                "ignored histograms in a range containing both floats and histograms for metric name {metric:?}"
            ),
        ),
        (Remark::NotCounter, _) => {
            (true, format!("this native histogram metric is not a counter: {metric:?}"))
        }
        (Remark::NotGauge, _) => {
            (true, format!("this native histogram metric is not a gauge: {metric:?}"))
        }
        (Remark::StartOverlap, _) => (
            true,
            format!(
                "sample has start time that overlaps with previous sample timestamp for metric {metric:?}"
            ),
        ),
        (Remark::CollisionInAddition, _) => collision("addition"),
        (Remark::CollisionInSubtraction, _) => collision("subtraction"),
        (Remark::CollisionInAggregation, _) => collision("aggregation"),
        (Remark::ReconciledInAddition, _) => reconciled("addition"),
        (Remark::ReconciledInSubtraction, _) => reconciled("subtraction"),
        (Remark::ReconciledInAggregation, _) => reconciled("aggregation"),
        (Remark::FloatFloat, _) => types("float", "float"),
        (Remark::FloatHistogram, _) => types("float", "histogram"),
        (Remark::HistogramFloat, _) => types("histogram", "float"),
        (Remark::HistogramHistogram, _) => types("histogram", "histogram"),
    }
}

//! `traces_spanmetrics_*`: calls, durations and bytes of spans by service, name, kind and status.

use model::{AttributeValue, Span, SpanGroup};

use super::SpanMetricsConfig;
use super::table::{Metric, Table, put_text};
use crate::otlp::names::{self, LabelRules};
use crate::otlp::traces::{KINDS, STATUSES, span_bytes};

const CALLS: usize = 0;
const LATENCY: usize = 1;
const SIZE: usize = 2;

/// As the classic rules of Prometheus: what is no letter or digit becomes `_`.
const RULES: LabelRules =
    LabelRules { utf8: false, key_before_underscore: false, keep_underscores: true };

/// Labels that each series has.
const OWN: [&str; 4] = ["service", "span_name", "span_kind", "status_code"];

#[derive(Debug)]
pub(super) struct Requests {
    pub(super) table: Table,
    dimensions: Vec<Dimension>,
    has_sizes: bool,
    key: Vec<u8>,
}

#[derive(Debug)]
struct Dimension {
    attribute: String,
    label: String,
}

impl Requests {
    pub(super) fn new(config: &SpanMetricsConfig) -> Self {
        let mut metrics = vec![
            Metric::counter("traces_spanmetrics_calls_total", "Spans."),
            Metric::histogram(
                "traces_spanmetrics_latency",
                "How long spans took, in seconds.",
                &config.request_bounds,
            ),
        ];
        if config.sizes {
            let help = "Bytes of spans as OTLP writes them.";
            metrics.push(Metric::counter("traces_spanmetrics_size_total", help));
        }
        let dimension = |attribute: &String| {
            let label = names::label_name(attribute, RULES)
                .map_or_else(|_| attribute.clone(), |label| label.into_owned());
            // As Tempo: what would take a label of the series' own is set apart.
            let is_own = OWN.contains(&label.as_str());
            let label = if is_own { format!("__{label}") } else { label };
            Dimension { attribute: attribute.clone(), label }
        };
        Self {
            table: Table::new(metrics, config.series_max),
            dimensions: config.dimensions.iter().map(dimension).collect(),
            has_sizes: config.sizes,
            key: Vec::new(),
        }
    }

    pub(super) fn observe(&mut self, service: &str, group: &SpanGroup, span: &Span, now_ms: i64) {
        let Self { table, dimensions, has_sizes, key } = self;
        key.clear();
        key.extend([span.kind as u8, span.status as u8]);
        [service, &*span.name].into_iter().for_each(|text| put_text(key, text));
        let values: Vec<String> =
            dimensions.iter().map(|d| value_of(&d.attribute, group, span)).collect();
        values.iter().for_each(|value| put_text(key, value));
        let series = table.series(key, now_ms, || {
            let kind = KINDS.get(span.kind as usize).copied().unwrap_or_default();
            let status = STATUSES.get(span.status as usize).copied().unwrap_or_default();
            let own = [service, &*span.name, kind, status];
            let own = OWN.iter().map(|name| (*name).to_owned()).zip(own);
            let more = dimensions.iter().zip(&values).filter(|(_, value)| !value.is_empty());
            own.chain(more.map(|(d, value)| (d.label.clone(), value.as_str()))).collect()
        });
        series.add(CALLS, 1.0);
        series.record(LATENCY, span.duration_ns() as f64 / 1e9, span.trace_id, now_ms);
        if *has_sizes {
            series.add(SIZE, span_bytes(span) as f64);
        }
    }
}

/// The attribute's text on the span, or else on its resource; `""` without.
fn value_of(attribute: &str, group: &SpanGroup, span: &Span) -> String {
    text_of(attribute, &span.attributes)
        .or_else(|| text_of(attribute, &group.resource.attributes))
        .unwrap_or_default()
}

fn text_of(name: &str, attributes: &[(std::sync::Arc<str>, AttributeValue)]) -> Option<String> {
    attributes.iter().find(|(key, _)| &**key == name).map(|(_, value)| value.to_string())
}

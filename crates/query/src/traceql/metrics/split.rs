//! `compare`: what is different about some of the spans, attribute by attribute.
//!
//! Spans are of the selection or the baseline; of each side every attribute's values are counted, and shown are the most
//! frequent ones, with how many spans have the attribute at all.

use std::collections::BTreeMap;

use model::{AttributeScope, Budget, Result};

use super::{Series, Steps};
use crate::traceql::ast::Split;
use crate::traceql::value::Value;
use crate::traceql::view::View;

/// Values counted of one attribute on one side; with more, the rest is left out and said to be.
const VALUES_MAX: usize = 10_000;

const SIDES: [(&str, &str); 2] = [("baseline", "baseline_total"), ("selection", "selection_total")];

/// Both sides.
pub(super) struct Sides<'m> {
    split: &'m Split,
    sides: [BTreeMap<String, Values>; 2],
}

/// Values of one attribute.
#[derive(Default)]
struct Values {
    /// By their text: each with its counts per step.
    counts: BTreeMap<String, (Value<'static>, Vec<u64>)>,
    totals: Vec<u64>,
    /// Whether there were more than are counted.
    is_cut: bool,
}

impl<'m> Sides<'m> {
    pub(super) fn new(split: &'m Split) -> Self {
        Self { split, sides: [BTreeMap::new(), BTreeMap::new()] }
    }

    /// Counts a span.
    pub(super) fn add(
        &mut self,
        view: &View<'_>,
        span: u32,
        step: usize,
        steps: usize,
        budget: &Budget,
    ) -> Result<()> {
        let of = view.span(span);
        let is_in_window =
            self.split.window.is_none_or(|(start, end)| (start..end).contains(&of.start_ns));
        let is_selected = is_in_window && self.split.selection.holds(view, span);
        let side = &mut self.sides[usize::from(is_selected)];
        let mut note = |label: String, value: Value<'_>| -> Result<()> {
            let values = match side.get_mut(&label) {
                Some(values) => values,
                None => {
                    budget.charge_bytes((label.len() + steps * 8 + 64) as u64)?;
                    let values = Values { totals: vec![0; steps], ..Values::default() };
                    side.entry(label).or_insert(values)
                }
            };
            values.totals[step] += 1;
            let text = value.to_string();
            if let Some((_, counts)) = values.counts.get_mut(&text) {
                counts[step] += 1;
            } else if values.counts.len() < VALUES_MAX {
                budget.charge_bytes((2 * text.len() + steps * 8 + 96) as u64)?;
                let mut counts = vec![0; steps];
                counts[step] = 1;
                values.counts.insert(text, (value.into_owned(), counts));
            } else {
                values.is_cut = true;
            }
            Ok(())
        };
        note("name".to_owned(), Value::Text((&*of.name).into()))?;
        note("kind".to_owned(), Value::Kind(of.kind))?;
        note("status".to_owned(), Value::Status(of.status))?;
        if !of.status_message.is_empty() {
            note("statusMessage".to_owned(), Value::Text((&*of.status_message).into()))?;
        }
        for (label, value) in
            [("rootName", view.root_name()), ("rootServiceName", view.root_service())]
        {
            if let Some(value) = value {
                note(label.to_owned(), Value::Text(value.into()))?;
            }
        }
        let own = (AttributeScope::Span, &of.attributes);
        let resource = (AttributeScope::Resource, &view.group(span).resource.attributes);
        for (scope, attributes) in [own, resource] {
            let scope = if scope == AttributeScope::Span { "span" } else { "resource" };
            for (index, (name, value)) in attributes.iter().enumerate() {
                // A name that repeats counts once, as it is read once.
                if attributes[..index].iter().all(|(known, _)| known != name) {
                    note(format!("{scope}.{name}"), Value::from(value))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(self, steps: &Steps) -> Vec<Series> {
        let points = |counts: &[u64]| -> Vec<(i64, f64)> {
            let all = counts.iter().enumerate();
            all.map(|(step, count)| (steps.t_ns(step), *count as f64)).collect()
        };
        let text = |text: &str| Value::Text(text.to_owned().into());
        let series = |labels, points| Series { labels, points, exemplars: Vec::new() };
        let mut all = Vec::new();
        for ((side, total), attributes) in SIDES.into_iter().zip(self.sides) {
            for (label, values) in attributes {
                let mut counts: Vec<(Value<'static>, Vec<u64>)> =
                    values.counts.into_values().collect();
                let is_cut = values.is_cut || counts.len() > self.split.top;
                // Stable: of equally frequent ones, those of the first texts.
                counts.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.iter().sum::<u64>()));
                for (value, counts) in counts.into_iter().take(self.split.top) {
                    let labels =
                        vec![("__meta_type".to_owned(), text(side)), (label.clone(), value)];
                    all.push(series(labels, points(&counts)));
                }
                let of = |kind: &str| (label.clone(), kind.to_owned());
                let (own, kind) = of(total);
                let labels = vec![("__meta_type".to_owned(), text(&kind)), (own, Value::Nil)];
                all.push(series(labels, points(&values.totals)));
                if is_cut {
                    let labels = vec![
                        ("__meta_type".to_owned(), text(side)),
                        ("__meta_error".to_owned(), text("__too_many_values__")),
                        (label, Value::Nil),
                    ];
                    all.push(series(labels, points(&values.totals)));
                }
            }
        }
        all
    }
}

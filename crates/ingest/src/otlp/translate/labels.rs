//! Labels of series, of exemplars and of `target_info`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::{Labels, METRIC_NAME};

use super::super::names::{LabelRules, label_name};
use super::super::{Attributes, ExemplarPoint, ScopeMetrics, Value};
use super::{Config, Limits};

/// Code points all labels of an exemplar may have together with attributes; without them ids alone stay.
const EXEMPLAR_CHARS_MAX: usize = 128;

const SERVICE_NAME: &str = "service.name";
const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_INSTANCE: &str = "service.instance.id";

/// Makes the labels of one scope's points.
pub(super) struct LabelMaker {
    rules: LabelRules,
    /// From the resource; a point's own labels win over them. The first reason when one cannot be named.
    promoted: Result<BTreeMap<String, String>, String>,
    /// From the scope and the service; they win over a point's own.
    fixed: BTreeMap<String, String>,
}

/// Labels of a point without a name.
pub(super) struct PointLabels(BTreeMap<String, String>);

impl PointLabels {
    /// The series `name` of the point, with `extra` labels.
    pub(super) fn series(&self, name: &str, extra: &[(&str, &str)]) -> Labels {
        let over = |label: &str| label == METRIC_NAME || extra.iter().any(|(n, _)| *n == label);
        let mut pairs: Vec<(&str, &str)> = self
            .0
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .filter(|(n, v)| !over(n) && !v.is_empty())
            .collect();
        pairs.push((METRIC_NAME, name));
        pairs.extend(extra);
        pairs.sort_unstable();
        pairs.into_iter().collect()
    }
}

impl LabelMaker {
    pub(super) fn new(config: &Config, resource: &Attributes, scope: &ScopeMetrics) -> Self {
        let rules = config.label_rules();
        let promoted = joined(resource.iter().filter(|(key, _)| config.promote.wants(key)), rules);
        let mut fixed = BTreeMap::new();
        if config.promote_scope && !scope.name.is_empty() {
            for (key, value) in &scope.attributes {
                let name = format!("otel_scope_{key}");
                if let Ok(name) = label_name(&name, rules) {
                    fixed.insert(name.into_owned(), value.to_text());
                }
            }
            for (key, value) in [
                ("otel_scope_name", &scope.name),
                ("otel_scope_version", &scope.version),
                ("otel_scope_schema_url", &scope.schema_url),
            ] {
                fixed.insert(key.to_owned(), value.clone());
            }
        }
        fixed.extend(identity(resource).map(|(name, value)| (name.to_owned(), value)));
        Self { rules, promoted, fixed }
    }

    /// Labels of a point with `attributes`.
    ///
    /// # Errors
    /// In words, when an attribute cannot be a label or a limit is passed.
    pub(super) fn labels(
        &self,
        attributes: &Attributes,
        limits: &Limits,
    ) -> Result<PointLabels, String> {
        let mut labels = joined(attributes.iter(), self.rules)?;
        for (name, value) in self.promoted.as_ref().map_err(Clone::clone)? {
            if !labels.contains_key(name) {
                labels.insert(name.clone(), value.clone());
            }
        }
        labels.extend(self.fixed.iter().map(|(n, v)| (n.clone(), v.clone())));
        check(&labels, limits)?;
        Ok(PointLabels(labels))
    }

    pub(super) fn exemplar(&self, exemplar: &ExemplarPoint) -> Labels {
        let hex = |id: &[u8]| {
            let set = id.iter().any(|b| *b != 0);
            set.then(|| id.iter().map(|b| format!("{b:02x}")).collect::<String>())
        };
        let ids: Vec<(&str, String)> =
            [("trace_id", hex(&exemplar.trace_id)), ("span_id", hex(&exemplar.span_id))]
                .into_iter()
                .filter_map(|(name, id)| id.map(|id| (name, id)))
                .collect();
        let own: Vec<(Cow<'_, str>, String)> = exemplar
            .attributes
            .iter()
            .filter_map(|(key, value)| Some((label_name(key, self.rules).ok()?, value.to_text())))
            .collect();
        let chars = |name: &str, value: &str| name.chars().count() + value.chars().count();
        let total: usize = ids.iter().map(|(n, v)| chars(n, v)).sum::<usize>()
            + own.iter().map(|(n, v)| chars(n, v)).sum::<usize>();
        let ids = ids.iter().map(|(n, v)| (*n, v.as_str()));
        if total > EXEMPLAR_CHARS_MAX {
            return Labels::from_pairs(ids);
        }
        Labels::from_pairs(own.iter().map(|(n, v)| (n.as_ref(), v.as_str())).chain(ids))
    }
}

/// `job` and `instance`, as far as the resource says who it is.
fn identity(resource: &Attributes) -> impl Iterator<Item = (&'static str, String)> {
    let get = |key: &str| resource.iter().find(|(k, _)| k == key).map(|(_, v)| v.to_text());
    let job = get(SERVICE_NAME).map(|name| match get(SERVICE_NAMESPACE) {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name,
    });
    [("job", job), ("instance", get(SERVICE_INSTANCE))]
        .into_iter()
        .filter_map(|(label, value)| Some((label, value.filter(|v| !v.is_empty())?)))
}

/// Labels of `target_info`; `None` when there is nothing to say or nobody to say it of.
pub(super) fn target_info(
    config: &Config,
    resource: &Attributes,
    limits: &Limits,
) -> Option<Labels> {
    let identity: BTreeMap<_, _> = identity(resource).collect();
    let is_identifying =
        |key: &str| matches!(key, SERVICE_NAME | SERVICE_NAMESPACE | SERVICE_INSTANCE);
    let others = resource.iter().filter(|(key, _)| !is_identifying(key)).count();
    if identity.is_empty() || others == 0 {
        return None;
    }
    let rules = config.label_rules();
    let wanted = resource.iter().filter(|(key, _)| config.keep_identifying || !is_identifying(key));
    // One attribute that cannot be named must not hide the others.
    let wanted = wanted.filter(|(key, _)| label_name(key, rules).is_ok());
    let mut labels = joined(wanted, rules).ok()?;
    labels.extend(identity.into_iter().map(|(name, value)| (name.to_owned(), value)));
    check(&labels, limits).ok()?;
    Some(PointLabels(labels).series("target_info", &[]))
}

/// Attributes by label name; where several become one, their values are joined with `;` in the order of the keys.
fn joined<'a>(
    attributes: impl Iterator<Item = &'a (String, Value)>,
    rules: LabelRules,
) -> Result<BTreeMap<String, String>, String> {
    let mut sorted: Vec<_> = attributes.collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in sorted {
        let name = label_name(key, rules)?;
        match labels.get_mut(name.as_ref()) {
            Some(known) => {
                known.push(';');
                known.push_str(&value.to_text());
            }
            None => {
                labels.insert(name.into_owned(), value.to_text());
            }
        }
    }
    Ok(labels)
}

fn check(labels: &BTreeMap<String, String>, limits: &Limits) -> Result<(), String> {
    // The name is one more.
    if labels.len() >= limits.labels_max {
        return Err(format!(
            "a point has {} labels; the limit is {}",
            labels.len() + 1,
            limits.labels_max
        ));
    }
    for (name, value) in labels {
        for (what, text, max) in
            [("name", name, limits.name_bytes_max), ("value", value, limits.value_bytes_max)]
        {
            if text.len() > max {
                return Err(format!(
                    "label {what} of {name:.64?} has {} bytes; the limit is {max}",
                    text.len()
                ));
            }
        }
    }
    Ok(())
}

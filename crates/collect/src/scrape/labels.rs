//! From the labels in a body to those in the store: the target's labels, metric relabelling, limits, valid names.
//!
//! Runs once per new series; the cache keeps the outcome.

use ingest::exposition::{Format, canonical_bound, series_labels};
use ingest::relabel;
use model::{Error, ErrorKind, Labels, LabelsBuilder, METRIC_NAME, MetricKind, Result};

use super::config::ScrapeJob;

/// Labels under which a series of a family of type `kind` is stored; `None` when relabelling drops it.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) for a series that ends without a name or with one the job's scheme forbids,
/// [`Limit`](ErrorKind::Limit) for one beyond the job's limits.
pub(super) fn finish_labels(
    series: &str,
    format: Format,
    kind: MetricKind,
    job: &ScrapeJob,
    target: &Labels,
) -> Result<Option<Labels>> {
    let mut labels = series_labels(series, format)?.to_builder();
    for bound in ["le", "quantile"] {
        let value = labels.get(bound).to_owned();
        if !value.is_empty() {
            labels.set(bound, &canonical_bound(kind, bound, &value));
        }
    }
    if job.honor_labels {
        for (name, value) in target.iter() {
            if labels.get(name).is_empty() {
                labels.set(name, value);
            }
        }
    } else {
        put_target_first(&mut labels, target);
    }
    if !relabel::apply(&job.metric_relabel, &mut labels) {
        return Ok(None);
    }
    let labels = labels.build();
    if labels.is_empty() {
        return Ok(None);
    }
    if labels.metric_name().is_empty() {
        return Err(Error::invalid("series has no name after metric relabelling"));
    }
    if job.legacy_names {
        check_legacy(&labels)?;
    }
    check_limits(&labels, job)?;
    Ok(Some(labels))
}

/// Names of the time before UTF-8: letters, digits and underscores, for metrics also colons.
fn check_legacy(labels: &Labels) -> Result<()> {
    let fits = |name: &str, colons: bool| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || (colons && b == b':');
        !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(fits)
    };
    let refused = |what: &str, name: &str| {
        Err(Error::invalid(format!(
            "{what} name {name:.128?} is not valid under metric_name_validation_scheme legacy"
        )))
    };
    if !fits(labels.metric_name(), true) {
        return refused("metric", labels.metric_name());
    }
    match labels.iter().find(|(name, _)| !fits(name, false)) {
        Some((name, _)) => refused("label", name),
        None => Ok(()),
    }
}

/// The target's labels win; the body's move to `exported_…`, with the prefix as often as it takes.
fn put_target_first(labels: &mut LabelsBuilder, target: &Labels) {
    let mut moved = Vec::new();
    for (name, value) in target.iter() {
        let exposed = labels.get(name).to_owned();
        if !exposed.is_empty() {
            moved.push((name, exposed));
        }
        labels.set(name, value);
    }
    for (name, value) in moved {
        let mut name = format!("exported_{name}");
        while !labels.get(&name).is_empty() {
            name.insert_str(0, "exported_");
        }
        labels.set(&name, &value);
    }
}

fn check_limits(labels: &Labels, job: &ScrapeJob) -> Result<()> {
    let limit = |what: &str, found: usize, max: u64| {
        if max == 0 || found as u64 <= max {
            return Ok(());
        }
        let name = labels.get(METRIC_NAME).unwrap_or("");
        Err(Error::new(
            ErrorKind::Limit,
            format!("series {name:.128} has {what} {found}; the limit is {max}"),
        ))
    };
    limit("a label count of", labels.len(), job.limits.labels)?;
    for (name, value) in labels.iter() {
        limit("a label name length of", name.len(), job.limits.label_name_bytes)?;
        limit("a label value length of", value.len(), job.limits.label_value_bytes)?;
    }
    Ok(())
}

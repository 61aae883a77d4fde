//! From discovered labels to a target: defaults, relabelling, identity, URL.

use std::collections::BTreeMap;

use ingest::relabel;
use model::{Error, Labels, LabelsBuilder, Result};
use reqwest::Url;

use super::config::{ScrapeJob, TargetGroup};

/// Everything fixed about one target.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    /// Before relabelling.
    pub(super) discovered: Labels,
    /// After relabelling, what its series carry.
    pub(super) labels: Labels,
    pub(super) url: Url,
    pub(super) interval_ms: u64,
    pub(super) timeout_ms: u64,
}

impl Target {
    /// What makes two targets the same: public labels and URL.
    pub(super) fn key(&self) -> (Labels, String) {
        (self.labels.clone(), self.url.to_string())
    }
}

/// What became of one discovered label set.
pub(super) enum Outcome {
    Active(Box<Target>),
    /// Dropped by relabelling; the discovered labels.
    Dropped(Labels),
}

/// Works out the targets of a group.
pub(super) fn from_group<'a>(
    job: &'a ScrapeJob,
    group: &'a TargetGroup,
) -> impl Iterator<Item = Result<Outcome>> + 'a {
    group.targets.iter().map(move |own| {
        from_labels(job, own, &group.labels)
            .map_err(|e| e.context(format_args!("target of {}", group.source)))
    })
}

fn from_labels(
    job: &ScrapeJob,
    own: &BTreeMap<String, String>,
    shared: &BTreeMap<String, String>,
) -> Result<Outcome> {
    let mut labels = LabelsBuilder::default();
    for (name, value) in shared.iter().chain(own) {
        labels.set(name, value);
    }
    let mut set_default = |name: &str, value: &str| {
        if labels.get(name).is_empty() {
            labels.set(name, value);
        }
    };
    set_default("job", &job.job_name);
    set_default("__scrape_interval__", &format_duration(job.scrape_interval_ms));
    set_default("__scrape_timeout__", &format_duration(job.scrape_timeout_ms));
    set_default("__metrics_path__", &job.metrics_path);
    set_default("__scheme__", &job.scheme);
    for (name, values) in &job.params {
        if let Some(first) = values.first() {
            set_default(&format!("__param_{name}"), first);
        }
    }
    let discovered = labels.clone().build();
    if !relabel::apply(&job.relabel, &mut labels) {
        return Ok(Outcome::Dropped(discovered));
    }
    let address = labels.get("__address__").to_owned();
    if address.is_empty() {
        return Err(Error::invalid("no address"));
    }
    if address.contains('/') {
        return Err(Error::invalid(format!("{address:?} is not a host and port")));
    }
    let interval_ms = duration_label(&labels, "__scrape_interval__")?;
    let timeout_ms = duration_label(&labels, "__scrape_timeout__")?;
    if timeout_ms > interval_ms {
        return Err(Error::invalid(format!(
            "scrape timeout of {timeout_ms} ms is greater than the interval of {interval_ms} ms"
        )));
    }
    let url = url(job, &labels, &address)?;
    if labels.get("instance").is_empty() {
        labels.set("instance", &address);
    }
    labels.retain(|name| !name.starts_with("__"));
    let labels = labels.build();
    Ok(Outcome::Active(Box::new(Target { discovered, labels, url, interval_ms, timeout_ms })))
}

fn duration_label(labels: &LabelsBuilder, name: &str) -> Result<u64> {
    let text = labels.get(name);
    parse_duration(text)
        .filter(|ms| *ms > 0)
        .ok_or_else(|| Error::invalid(format!("{name} is not a duration above 0: {text:?}")))
}

fn url(job: &ScrapeJob, labels: &LabelsBuilder, address: &str) -> Result<Url> {
    let scheme = labels.get("__scheme__");
    if !matches!(scheme, "http" | "https") {
        return Err(Error::invalid(format!("scheme is neither http nor https: {scheme:?}")));
    }
    let path = labels.get("__metrics_path__");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut url = Url::parse(&format!("{scheme}://{address}{slash}{path}"))
        .map_err(|e| Error::invalid(format!("{address:?} makes no URL: {e}")))?;
    let mut params = job.params.clone();
    for (name, value) in labels.pairs() {
        if let Some(name) = name.strip_prefix("__param_") {
            let values = params.entry(name.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => value.clone_into(first),
                None => values.push(value.to_owned()),
            }
        }
    }
    if params.values().any(|values| !values.is_empty()) {
        let mut query = url.query_pairs_mut();
        for (name, values) in &params {
            query.extend_pairs(values.iter().map(|value| (name, value)));
        }
    }
    Ok(url)
}

const UNITS_MS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a Prometheus duration (`1h30m`, `0`): each unit at most once, largest first. Milliseconds.
pub fn parse_duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut total, mut next_unit) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(unit_len);
        let unit_at =
            UNITS_MS.iter().position(|(u, _)| *u == unit).filter(|at| *at >= next_unit)?;
        let ms = number.parse::<u64>().ok()?.checked_mul(UNITS_MS[unit_at].1)?;
        total = total.checked_add(ms)?;
        (rest, next_unit) = (tail, unit_at + 1);
    }
    (!text.is_empty()).then_some(total)
}

/// Writes milliseconds as Prometheus does: `90000` as `1m30s`.
pub fn format_duration(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let (mut rest, mut text) = (ms, String::new());
    for (unit, unit_ms) in UNITS_MS {
        // Years and weeks only when they divide the whole, as Prometheus prints them.
        let exact_only = matches!(unit, "y" | "w");
        if rest < unit_ms || (exact_only && rest % unit_ms != 0) {
            continue;
        }
        text.push_str(&format!("{}{unit}", rest / unit_ms));
        rest %= unit_ms;
    }
    text
}

//! From a checked `scrape_config` to a [`ScrapeJob`], with Prometheus' defaults.

use std::collections::BTreeMap;
use std::path::Path;

use collect::scrape::{
    DockerSd, FileSd, HistogramOptions, HttpSd, JobLimits, NameEscaping, ScrapeJob, ScrapeProtocol,
    TargetGroup, alertmanager, parse_duration,
};

use super::http;
use super::node::{Node, Placed};
use super::relabel;
use super::schema::parse_size;

const INTERVAL_MS: u64 = 60_000;
const TIMEOUT_MS: u64 = 10_000;

/// What jobs inherit.
pub(super) struct Defaults<'a> {
    global: Option<&'a Node>,
    interval_ms: u64,
    timeout_ms: u64,
    /// Folder relative paths start from.
    dir: &'a Path,
}

impl<'a> Defaults<'a> {
    pub(super) fn new(global: Option<&'a Node>, dir: &'a Path) -> Result<Self, Placed> {
        let duration = |key: &str| {
            global.and_then(|g| g.text_of(key)).and_then(parse_duration).filter(|ms| *ms > 0)
        };
        let interval_ms = duration("scrape_interval").unwrap_or(INTERVAL_MS);
        let timeout_ms = duration("scrape_timeout").unwrap_or(TIMEOUT_MS.min(interval_ms));
        if let Some(global) = global {
            if timeout_ms > interval_ms {
                return Err((line_of(global, "scrape_timeout"), too_long(timeout_ms, interval_ms)));
            }
            protocols(global)?;
            naming(global, None)?;
            histograms(global, None)?;
        }
        Ok(Self { global, interval_ms, timeout_ms, dir })
    }

    /// A setting of the job, else the global one.
    fn pick<T>(&self, node: &Node, read: impl Fn(&Node) -> Option<T>) -> Option<T> {
        read(node).or_else(|| self.global.and_then(read))
    }
}

pub(crate) fn line_of(node: &Node, key: &str) -> usize {
    node.get_or_null(key).map_or(node.line, |n| n.line)
}

fn too_long(timeout_ms: u64, interval_ms: u64) -> String {
    format!(
        "scrape timeout of {timeout_ms} ms is greater than the scrape interval of {interval_ms} ms"
    )
}

/// One job.
pub(super) fn job(node: &Node, defaults: &Defaults<'_>) -> Result<ScrapeJob, Placed> {
    let name = node.text_of("job_name").unwrap_or("");
    if name.is_empty() {
        return Err((node.line, "job_name is empty".to_owned()));
    }
    let duration = |key: &str| node.text_of(key).and_then(parse_duration).filter(|ms| *ms > 0);
    let interval_ms = duration("scrape_interval").unwrap_or(defaults.interval_ms);
    let timeout_ms = duration("scrape_timeout").unwrap_or(defaults.timeout_ms.min(interval_ms));
    if timeout_ms > interval_ms {
        return Err((line_of(node, "scrape_timeout"), too_long(timeout_ms, interval_ms)));
    }
    let (legacy_names, name_escaping) = naming(node, defaults.global)?;
    let scheme = node.text_of("scheme").unwrap_or("http");
    if !matches!(scheme, "http" | "https") {
        return Err((
            line_of(node, "scheme"),
            format!("scheme must be http or https, not {scheme:?}"),
        ));
    }
    let relabel = relabel::rules(node, "relabel_configs")?;
    let static_targets = static_targets(node, name, relabel.is_empty())?;
    let own_protocols = protocols(node)?;
    let global_protocols = defaults.global.map_or(Ok(None), protocols)?;
    let mut job = ScrapeJob::new(name);
    job.scrape_interval_ms = interval_ms;
    job.scrape_timeout_ms = timeout_ms;
    job.metrics_path = node.text_of("metrics_path").unwrap_or("/metrics").to_owned();
    job.scheme = scheme.to_owned();
    job.params = params(node);
    job.honor_labels = node.bool_of("honor_labels").unwrap_or(false);
    job.honor_timestamps = node.bool_of("honor_timestamps").unwrap_or(true);
    job.track_timestamps_staleness = node.bool_of("track_timestamps_staleness").unwrap_or(false);
    job.extra_scrape_metrics =
        defaults.pick(node, |n| n.bool_of("extra_scrape_metrics")).unwrap_or(false);
    job.enable_compression = node.bool_of("enable_compression").unwrap_or(true);
    job.fallback_protocol = fallback(node)?;
    job.legacy_names = legacy_names;
    job.name_escaping = name_escaping;
    job.histograms = histograms(node, defaults.global)?;
    job.protocols = match own_protocols.or(global_protocols) {
        Some(protocols) => protocols,
        // Native histograms come in protobuf only, so who wants them prefers it.
        None if job.histograms.scrape_native => ScrapeProtocol::ALL.to_vec(),
        None => ScrapeProtocol::TEXT.to_vec(),
    };
    job.relabel = relabel;
    job.metric_relabel = relabel::rules(node, "metric_relabel_configs")?;
    job.limits = limits(node, defaults);
    job.http = http::options(node, defaults.dir);
    job.static_targets = static_targets;
    discoveries(node, defaults.dir, &mut job)?;
    Ok(job)
}

/// One block of `alertmanagers`: found like the targets of a job, reached like them.
pub(super) fn alertmanager(
    node: &Node,
    number: usize,
    dir: &Path,
) -> Result<alertmanager::Config, Placed> {
    let scheme = node.text_of("scheme").unwrap_or("http");
    if !matches!(scheme, "http" | "https") {
        let why = format!("scheme must be http or https, not {scheme:?}");
        return Err((line_of(node, "scheme"), why));
    }
    let mut job = ScrapeJob::new(format!("alertmanagers/{number}"));
    job.metrics_path = node.text_of("path_prefix").unwrap_or("/").to_owned();
    job.scheme = scheme.to_owned();
    let timeout = node.text_of("timeout").and_then(parse_duration).filter(|ms| *ms > 0);
    job.scrape_timeout_ms = timeout.unwrap_or(TIMEOUT_MS);
    job.relabel = relabel::rules(node, "relabel_configs")?;
    job.http = http::options(node, dir);
    job.static_targets = static_targets(node, &job.job_name, job.relabel.is_empty())?;
    discoveries(node, dir, &mut job)?;
    Ok(alertmanager::Config { job, alert_relabel: relabel::rules(node, "alert_relabel_configs")? })
}

fn discoveries(node: &Node, dir: &Path, job: &mut ScrapeJob) -> Result<(), Placed> {
    job.file_sd = items(node, "file_sd_configs").map(|sd| file_sd(sd, dir)).collect();
    job.docker_sd = items(node, "docker_sd_configs").map(docker_sd).collect::<Result<_, _>>()?;
    job.http_sd = items(node, "http_sd_configs").map(|sd| http_sd(sd, dir)).collect();
    Ok(())
}

fn items<'a>(node: &'a Node, key: &str) -> impl Iterator<Item = &'a Node> {
    node.get(key).map(Node::items).unwrap_or_default().iter()
}

fn params(node: &Node) -> BTreeMap<String, Vec<String>> {
    let entries = node.get("params").map(Node::entries).unwrap_or_default();
    let texts =
        |values: &Node| values.items().iter().filter_map(Node::text).map(str::to_owned).collect();
    entries.iter().map(|(key, values)| (key.name.clone(), texts(values))).collect()
}

fn limits(node: &Node, defaults: &Defaults<'_>) -> JobLimits {
    let count = |key: &str| defaults.pick(node, |n| n.number_of(key)).unwrap_or(0);
    JobLimits {
        body_bytes: defaults
            .pick(node, |n| n.text_of("body_size_limit").and_then(parse_size))
            .unwrap_or(0),
        samples: count("sample_limit"),
        targets: count("target_limit"),
        labels: count("label_limit"),
        label_name_bytes: count("label_name_length_limit"),
        label_value_bytes: count("label_value_length_limit"),
        dropped_targets: count("keep_dropped_targets"),
    }
}

/// What becomes of histograms, by the job's keys and else the global ones.
fn histograms(node: &Node, global: Option<&Node>) -> Result<HistogramOptions, Placed> {
    let flag = |key: &str| {
        node.bool_of(key).or_else(|| global.and_then(|g| g.bool_of(key))).unwrap_or(false)
    };
    let factor = node.number_of("native_histogram_min_bucket_factor").unwrap_or(0.0_f64);
    if !factor.is_finite() || factor < 0.0 {
        return Err((
            line_of(node, "native_histogram_min_bucket_factor"),
            format!("native_histogram_min_bucket_factor must be a number from 0, not {factor}"),
        ));
    }
    Ok(HistogramOptions {
        scrape_native: flag("scrape_native_histograms"),
        // The second is the name it had before.
        always_classic: flag("always_scrape_classic_histograms")
            || flag("scrape_classic_histograms"),
        convert_classic: flag("convert_classic_histograms_to_nhcb"),
        bucket_limit: node.number_of("native_histogram_bucket_limit").unwrap_or(0),
        min_bucket_factor: factor,
    })
}

/// Whether only names of letters, digits and underscores are valid, and how other names are escaped; the two must agree.
fn naming(node: &Node, global: Option<&Node>) -> Result<(bool, NameEscaping), Placed> {
    let pick = |key: &str| node.text_of(key).or_else(|| global.and_then(|g| g.text_of(key)));
    let (validation, escaping) = (
        pick("metric_name_validation_scheme").unwrap_or(""),
        pick("metric_name_escaping_scheme").unwrap_or(""),
    );
    let line = line_of(node, "metric_name_validation_scheme");
    if !matches!(validation, "" | "legacy" | "utf8") {
        return Err((
            line,
            format!("metric_name_validation_scheme must be legacy or utf8, not {validation:?}"),
        ));
    }
    let legacy = validation == "legacy";
    let escaping = match escaping {
        "" if legacy => NameEscaping::Underscores,
        "" | "allow-utf-8" => NameEscaping::AllowUtf8,
        "underscores" => NameEscaping::Underscores,
        "dots" => NameEscaping::Dots,
        "values" => NameEscaping::Values,
        _ => return Err((line, format!("unknown metric_name_escaping_scheme {escaping:?}"))),
    };
    if legacy && escaping == NameEscaping::AllowUtf8 {
        return Err((
            line,
            "metric_name_escaping_scheme allow-utf-8 needs validation scheme utf8".to_owned(),
        ));
    }
    Ok((legacy, escaping))
}

fn known_protocol(line: usize, name: &str) -> Result<ScrapeProtocol, Placed> {
    ScrapeProtocol::ALL.into_iter().find(|protocol| protocol.as_str() == name).ok_or_else(|| {
        let known = ScrapeProtocol::ALL.map(ScrapeProtocol::as_str).join(", ");
        (line, format!("unknown scrape protocol {name:?}; known are {known}"))
    })
}

/// What to ask targets for.
fn protocols(node: &Node) -> Result<Option<Vec<ScrapeProtocol>>, Placed> {
    let Some(list) = node.get("scrape_protocols") else { return Ok(None) };
    let mut protocols = Vec::new();
    for item in list.items() {
        let name = item.text().unwrap_or("");
        let protocol = known_protocol(item.line, name)?;
        if protocols.contains(&protocol) {
            return Err((item.line, format!("scrape_protocols has {name:?} twice")));
        }
        protocols.push(protocol);
    }
    Ok(Some(protocols).filter(|protocols| !protocols.is_empty()))
}

fn fallback(node: &Node) -> Result<Option<ScrapeProtocol>, Placed> {
    node.get("fallback_scrape_protocol")
        .map(|value| known_protocol(value.line, value.text().unwrap_or("")))
        .transpose()
}

fn static_targets(
    node: &Node,
    name: &str,
    check_addresses: bool,
) -> Result<Vec<TargetGroup>, Placed> {
    let mut groups = Vec::new();
    for (i, group) in items(node, "static_configs").enumerate() {
        let mut addresses = Vec::new();
        for target in group.get("targets").map(Node::items).unwrap_or_default() {
            let address = target.text().unwrap_or("");
            if check_addresses && (address.contains('/') || address.is_empty()) {
                return Err((
                    target.line,
                    format!(
                        "{address:?} is not a host and port; scheme and path have their own keys"
                    ),
                ));
            }
            addresses.push(address.to_owned());
        }
        let labels = group.get("labels").map(Node::entries).unwrap_or_default();
        let labels = labels
            .iter()
            .map(|(k, v)| (k.name.clone(), v.text().unwrap_or("").to_owned()))
            .collect();
        groups.push(TargetGroup::of_addresses(format!("{name}/{i}"), addresses, labels));
    }
    Ok(groups)
}

pub(crate) fn file_sd(node: &Node, dir: &Path) -> FileSd {
    FileSd {
        files: node.texts_of("files").into_iter().map(|file| dir.join(file)).collect(),
        refresh_interval_ms: refresh_interval_ms(node, 300_000),
    }
}

pub(crate) fn docker_sd(node: &Node) -> Result<DockerSd, Placed> {
    let filter = |filter: &Node| {
        let values = filter.texts_of("values").into_iter().map(str::to_owned).collect();
        (filter.text_of("name").unwrap_or("").to_owned(), values)
    };
    Ok(DockerSd {
        host: node.text_of("host").unwrap_or("").to_owned(),
        port: port(node, 80)?,
        host_networking_host: node
            .text_of("host_networking_host")
            .unwrap_or("localhost")
            .to_owned(),
        match_first_network: node.bool_of("match_first_network").unwrap_or(true),
        filters: items(node, "filters").map(filter).collect(),
        refresh_interval_ms: refresh_interval_ms(node, 60_000),
    })
}

fn refresh_interval_ms(node: &Node, default_ms: u64) -> u64 {
    node.text_of("refresh_interval").and_then(parse_duration).unwrap_or(default_ms)
}

fn http_sd(node: &Node, dir: &Path) -> HttpSd {
    HttpSd {
        url: node.text_of("url").unwrap_or("").to_owned(),
        refresh_interval_ms: refresh_interval_ms(node, 60_000),
        http: http::options(node, dir),
    }
}

fn port(node: &Node, default: u16) -> Result<u16, Placed> {
    let Some(text) = node.text_of("port") else { return Ok(default) };
    text.parse().map_err(|_| (line_of(node, "port"), format!("port {text} is above 65535")))
}

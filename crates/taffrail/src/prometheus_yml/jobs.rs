//! From a checked `scrape_config` to a [`ScrapeJob`], with Prometheus' defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use collect::scrape::{
    DockerSd, FileSd, HttpOptions, JobLimits, ScrapeJob, Secret, TargetGroup, TlsOptions,
    parse_duration,
};
use ingest::exposition::Format;

use super::node::{Node, Placed};
use super::relabel;
use super::schema::parse_size;

const INTERVAL_MS: u64 = 60_000;
const TIMEOUT_MS: u64 = 10_000;
const PROTOCOLS: [&str; 5] = [
    "OpenMetricsText0.0.1",
    "OpenMetricsText1.0.0",
    "PrometheusProto",
    "PrometheusText0.0.4",
    "PrometheusText1.0.0",
];

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
        }
        Ok(Self { global, interval_ms, timeout_ms, dir })
    }

    /// A setting of the job, else the global one.
    fn pick<T>(&self, node: &Node, read: impl Fn(&Node) -> Option<T>) -> Option<T> {
        read(node).or_else(|| self.global.and_then(read))
    }
}

fn line_of(node: &Node, key: &str) -> usize {
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
    naming(node, defaults.global)?;
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
    job.fallback_format = fallback(node)?;
    if let Some(formats) = own_protocols.or(global_protocols) {
        job.formats = formats;
    }
    job.relabel = relabel;
    job.metric_relabel = relabel::rules(node, "metric_relabel_configs")?;
    job.limits = limits(node, defaults);
    job.http = http(node, defaults.dir)?;
    job.static_targets = static_targets;
    job.file_sd = items(node, "file_sd_configs").map(|sd| file_sd(sd, defaults.dir)).collect();
    job.docker_sd = items(node, "docker_sd_configs").map(docker_sd).collect::<Result<_, _>>()?;
    Ok(job)
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
    }
}

/// Validation and escaping of names, which must agree with each other.
fn naming(node: &Node, global: Option<&Node>) -> Result<(), Placed> {
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
    if !matches!(escaping, "" | "allow-utf-8" | "underscores" | "dots" | "values") {
        return Err((line, format!("unknown metric_name_escaping_scheme {escaping:?}")));
    }
    if validation == "legacy" && escaping == "allow-utf-8" {
        return Err((
            line,
            "metric_name_escaping_scheme allow-utf-8 needs validation scheme utf8".to_owned(),
        ));
    }
    Ok(())
}

fn known_protocol(line: usize, name: &str) -> Result<Option<Format>, Placed> {
    if !PROTOCOLS.contains(&name) {
        return Err((
            line,
            format!("unknown scrape protocol {name:?}; known are {}", PROTOCOLS.join(", ")),
        ));
    }
    Ok(match name.as_bytes()[0] {
        b'O' => Some(Format::OpenMetrics),
        _ if name.starts_with("PrometheusText") => Some(Format::Prometheus),
        _ => None,
    })
}

/// The formats to ask for; protobuf is left out, so a target falls back to text.
fn protocols(node: &Node) -> Result<Option<Vec<Format>>, Placed> {
    let Some(list) = node.get("scrape_protocols") else { return Ok(None) };
    let mut seen = Vec::new();
    let mut formats = Vec::new();
    for item in list.items() {
        let name = item.text().unwrap_or("");
        if seen.contains(&name) {
            return Err((item.line, format!("scrape_protocols has {name:?} twice")));
        }
        seen.push(name);
        if let Some(format) = known_protocol(item.line, name)?.filter(|f| !formats.contains(f)) {
            formats.push(format);
        }
    }
    if formats.is_empty() {
        formats.push(Format::Prometheus);
    }
    Ok(Some(formats))
}

fn fallback(node: &Node) -> Result<Option<Format>, Placed> {
    match node.get("fallback_scrape_protocol") {
        Some(value) => known_protocol(value.line, value.text().unwrap_or("")),
        None => Ok(None),
    }
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

fn join(dir: &Path, path: &str) -> PathBuf {
    dir.join(path)
}

fn file_sd(node: &Node, dir: &Path) -> FileSd {
    FileSd {
        files: node.texts_of("files").into_iter().map(|file| join(dir, file)).collect(),
        refresh_interval_ms: node
            .text_of("refresh_interval")
            .and_then(parse_duration)
            .unwrap_or(300_000),
    }
}

fn docker_sd(node: &Node) -> Result<DockerSd, Placed> {
    let port = match node.text_of("port") {
        None => 80,
        Some(text) => text
            .parse()
            .map_err(|_| (line_of(node, "port"), format!("port {text} is above 65535")))?,
    };
    let filter = |filter: &Node| {
        let values = filter.texts_of("values").into_iter().map(str::to_owned).collect();
        (filter.text_of("name").unwrap_or("").to_owned(), values)
    };
    Ok(DockerSd {
        host: node.text_of("host").unwrap_or("").to_owned(),
        port,
        host_networking_host: node
            .text_of("host_networking_host")
            .unwrap_or("localhost")
            .to_owned(),
        match_first_network: node.bool_of("match_first_network").unwrap_or(true),
        filters: items(node, "filters").map(filter).collect(),
        refresh_interval_ms: node
            .text_of("refresh_interval")
            .and_then(parse_duration)
            .unwrap_or(60_000),
    })
}

fn secret(node: &Node, text_key: &str, file_key: &str, dir: &Path) -> Option<Secret> {
    let text = node.text_of(text_key).map(|text| Secret::Text(text.to_owned()));
    text.or_else(|| node.text_of(file_key).map(|file| Secret::File(join(dir, file))))
}

fn http(node: &Node, dir: &Path) -> Result<HttpOptions, Placed> {
    let empty = || Secret::Text(String::new());
    let basic_auth = node.get("basic_auth").map(|auth| {
        let user = secret(auth, "username", "username_file", dir).unwrap_or_else(empty);
        (user, secret(auth, "password", "password_file", dir).unwrap_or_else(empty))
    });
    let bearer = secret(node, "bearer_token", "bearer_token_file", dir)
        .map(|token| ("Bearer".to_owned(), token));
    let authorization = node.get("authorization").and_then(|auth| {
        let scheme = auth.text_of("type").unwrap_or("Bearer").trim().to_owned();
        secret(auth, "credentials", "credentials_file", dir)
            .map(|credentials| (scheme, credentials))
    });
    let mut headers = Vec::new();
    for (key, header) in node.get("http_headers").map(Node::entries).unwrap_or_default() {
        let texts = header.texts_of("values").into_iter().chain(header.texts_of("secrets"));
        headers.extend(texts.map(|text| (key.name.clone(), Secret::Text(text.to_owned()))));
        let files = header.texts_of("files").into_iter();
        headers.extend(files.map(|file| (key.name.clone(), Secret::File(join(dir, file)))));
    }
    Ok(HttpOptions {
        basic_auth,
        authorization: authorization.or(bearer),
        follow_redirects: node.bool_of("follow_redirects").unwrap_or(true),
        headers,
        proxy_url: node.text_of("proxy_url").filter(|url| !url.is_empty()).map(str::to_owned),
        tls: node.get("tls_config").map(|tls| tls_options(tls, dir)).unwrap_or_default(),
    })
}

fn tls_options(tls: &Node, dir: &Path) -> TlsOptions {
    let path = |key: &str| tls.text_of(key).filter(|p| !p.is_empty()).map(|p| join(dir, p));
    TlsOptions {
        ca: tls.text_of("ca").map(str::to_owned),
        ca_file: path("ca_file"),
        client_files: path("cert_file").zip(path("key_file")),
        insecure_skip_verify: tls.bool_of("insecure_skip_verify").unwrap_or(false),
    }
}

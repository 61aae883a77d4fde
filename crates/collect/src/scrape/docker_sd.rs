//! `docker_sd_configs`: targets from the containers of a Docker Engine.
//!
//! Source: Prometheus configuration reference, `docker_sd_config`; Docker Engine API `/containers/json`, `/networks`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use model::{Error, Result};
use serde::Deserialize;

use super::config::{DockerSd, TargetGroup};

/// Answers `GET path` of the engine at `host` (`unix:///…` or `http://…`) with the body of a 200 response.
pub type DockerApi = Arc<dyn Fn(String, String) -> BoxFuture<'static, Result<Bytes>> + Send + Sync>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    labels: Option<BTreeMap<String, String>>,
    ports: Option<Vec<Port>>,
    host_config: Option<HostConfig>,
    network_settings: Option<NetworkSettings>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    #[serde(rename = "IP", default)]
    ip: String,
    private_port: u16,
    #[serde(default)]
    public_port: u16,
    #[serde(rename = "Type", default)]
    protocol: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    network_mode: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Endpoint>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Endpoint {
    #[serde(rename = "NetworkID", default)]
    network_id: String,
    #[serde(rename = "IPAddress", default)]
    ip_address: String,
    #[serde(rename = "GlobalIPv6Address", default)]
    ipv6_address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    name: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    ingress: bool,
    labels: Option<BTreeMap<String, String>>,
}

/// Asks the engine once: for running containers, and with `also_ended` for all there are.
pub(crate) async fn discover(
    config: &DockerSd,
    api: &DockerApi,
    also_ended: bool,
) -> Result<Vec<TargetGroup>> {
    let filters: BTreeMap<&str, &[String]> =
        config.filters.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    let mut query = if also_ended { "?all=1".to_owned() } else { String::new() };
    if !filters.is_empty() {
        let json = serde_json::to_string(&filters).map_err(|e| Error::invalid(e.to_string()))?;
        query.push_str(if also_ended { "&filters=" } else { "?filters=" });
        query.push_str(&percent_encode(&json));
    }
    let containers = api(config.host.clone(), format!("/containers/json{query}")).await?;
    // Containers in another one's network are resolved through it, though the filters may hide it.
    let everyone = if filters.is_empty() {
        None
    } else {
        let all = if also_ended { "?all=1" } else { "" };
        Some(api(config.host.clone(), format!("/containers/json{all}")).await?)
    };
    let networks = api(config.host.clone(), "/networks".to_owned()).await?;
    group(config, &containers, everyone.as_deref(), &networks).map(|group| vec![group])
}

/// The targets in the engine's answers.
pub(super) fn group(
    config: &DockerSd,
    containers: &[u8],
    everyone: Option<&[u8]>,
    networks: &[u8],
) -> Result<TargetGroup> {
    let containers: Vec<Container> = read("container list", containers)?;
    let hidden: Vec<Container> = match everyone {
        Some(everyone) => read("container list", everyone)?,
        None => Vec::new(),
    };
    let networks: Vec<Network> = read("network list", networks)?;
    let network_labels: HashMap<String, BTreeMap<String, String>> =
        networks.into_iter().map(|n| (n.id.clone(), labels_of_network(n))).collect();
    let by_id: HashMap<&str, &Container> =
        containers.iter().chain(&hidden).map(|c| (c.id.as_str(), c)).collect();
    let mut targets = Vec::new();
    for container in containers.iter().filter(|c| !c.names.is_empty()) {
        for endpoint in endpoints(config, container, &by_id) {
            let mut common = labels_of_container(container);
            common.extend(network_labels.get(&endpoint.network_id).cloned().unwrap_or_default());
            targets_of_endpoint(config, container, &endpoint, &common, &mut targets);
        }
    }
    Ok(TargetGroup { source: config.host.clone(), targets, labels: BTreeMap::new() })
}

fn read<'a, T: Deserialize<'a>>(what: &str, json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|e| Error::invalid(format!("cannot read the {what}: {e}")))
}

fn network_mode(container: &Container) -> &str {
    container.host_config.as_ref().map_or("", |h| &h.network_mode)
}

fn networks_of(container: &Container) -> BTreeMap<String, Endpoint> {
    container.network_settings.as_ref().and_then(|s| s.networks.clone()).unwrap_or_default()
}

/// The networks that make targets of a container.
fn endpoints(
    config: &DockerSd,
    container: &Container,
    by_id: &HashMap<&str, &Container>,
) -> Vec<Endpoint> {
    let mut networks = networks_of(container);
    let mut mode = network_mode(container);
    // A chain of shared networks longer than the list of containers would be a circle.
    for _ in 0..by_id.len() {
        let Some(other) = mode.strip_prefix("container:").filter(|_| networks.is_empty()) else {
            break;
        };
        let Some(other) = by_id.get(other) else { break };
        networks = networks_of(other);
        mode = network_mode(other);
    }
    if !config.match_first_network || networks.len() < 2 {
        return networks.into_values().collect();
    }
    let user_defined = !matches!(mode, "default" | "bridge" | "host" | "none" | "nat" | "")
        && !mode.starts_with("container:");
    let chosen = if user_defined { networks.remove(mode) } else { None };
    chosen.or_else(|| networks.into_values().next()).into_iter().collect()
}

fn targets_of_endpoint(
    config: &DockerSd,
    container: &Container,
    endpoint: &Endpoint,
    common: &BTreeMap<String, String>,
    targets: &mut Vec<BTreeMap<String, String>>,
) {
    let ip =
        if endpoint.ip_address.is_empty() { &endpoint.ipv6_address } else { &endpoint.ip_address };
    let mut add = |address: String, port: &[(&str, String)]| {
        let mut labels = common.clone();
        labels.insert("__meta_docker_network_ip".to_owned(), ip.clone());
        labels.insert("__address__".to_owned(), address);
        labels.extend(
            port.iter().map(|(name, value)| (format!("__meta_docker_port_{name}"), value.clone())),
        );
        targets.push(labels);
    };
    let mut any = false;
    for port in container.ports.iter().flatten().filter(|p| p.protocol == "tcp") {
        any = true;
        let mut labels = vec![("private", port.private_port.to_string())];
        if port.public_port > 0 {
            labels.push(("public", port.public_port.to_string()));
            labels.push(("public_ip", port.ip.clone()));
        }
        add(join(ip, port.private_port), &labels);
    }
    if !any {
        // Also the way of containers in the host's network, which have no ports of their own.
        let in_host = network_mode(container) == "host";
        add(if in_host { config.host_networking_host.clone() } else { join(ip, config.port) }, &[]);
    }
}

fn join(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn labels_of_container(container: &Container) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("__meta_docker_container_id".to_owned(), container.id.clone()),
        ("__meta_docker_container_name".to_owned(), container.names[0].clone()),
        ("__meta_docker_container_network_mode".to_owned(), network_mode(container).to_owned()),
    ]);
    for (name, value) in container.labels.iter().flatten() {
        labels.insert(format!("__meta_docker_container_label_{}", sanitise(name)), value.clone());
    }
    labels
}

fn labels_of_network(network: Network) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("__meta_docker_network_id".to_owned(), network.id),
        ("__meta_docker_network_name".to_owned(), network.name),
        ("__meta_docker_network_scope".to_owned(), network.scope),
        ("__meta_docker_network_internal".to_owned(), network.internal.to_string()),
        ("__meta_docker_network_ingress".to_owned(), network.ingress.to_string()),
    ]);
    for (name, value) in network.labels.into_iter().flatten() {
        labels.insert(format!("__meta_docker_network_label_{}", sanitise(&name)), value);
    }
    labels
}

/// Everything but ASCII letters, digits and underscores becomes an underscore.
fn sanitise(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

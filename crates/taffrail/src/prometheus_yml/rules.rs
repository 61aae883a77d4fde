//! What Prometheus demands of objects beyond the types of their keys.

use std::collections::BTreeSet;

use collect::scrape::parse_duration;

use super::http::JWT_BEARER;
use super::node::{Node, Placed, Value};
use super::relabel;

/// The check of the object called `name`.
pub(crate) fn check(name: &str, node: &Node) -> Result<(), Placed> {
    match name {
        "basic_auth" => {
            at_most_one(node, &["username", "username_file", "username_ref"])?;
            at_most_one(node, &["password", "password_file", "password_ref"])
        }
        "authorization" => {
            at_most_one(node, &["credentials", "credentials_file", "credentials_ref"])?;
            refuse(
                node,
                "type",
                |t| t.eq_ignore_ascii_case("basic"),
                "cannot be \"basic\"; use basic_auth",
            )
        }
        "oauth2" => oauth2(node),
        "tls" => tls(node),
        "relabel" => relabel::rule(node).map(|_| ()),
        "static" => labels(node.get("labels")),
        "filter" => need_list(node, "values"),
        "file_sd" => file_sd(node),
        "global" => labels(node.get("external_labels")),
        "remote_write" | "remote_read" => remote(name, node),
        "queue_config" => queue(node),
        "tracing" => tracing(node),
        "otlp" => otlp(node),
        "chunk_encoding" => one_of(node, "floats", &["xor", "xor2"]),
        "retention" => percentage(node),
        "alertmanager" => one_of(node, "api_version", &["v2"]),
        "the file" => names_once(node).and_then(|()| otlp_names(node)),
        _ => discovery(name, node),
    }?;
    if node.entries().iter().any(|(key, _)| HTTP_KEYS.contains(&key.name.as_str())) {
        http(name, node)?;
    }
    Ok(())
}

const HTTP_KEYS: [&str; 11] = [
    "basic_auth",
    "authorization",
    "oauth2",
    "bearer_token",
    "bearer_token_file",
    "tls_config",
    "http_headers",
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
];

/// Headers that other settings decide.
const RESERVED_HEADERS: [&str; 18] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "user-agent",
    "www-authenticate",
    "x-prometheus-remote-read-version",
    "x-prometheus-remote-write-version",
    "x-prometheus-scrape-timeout-seconds",
];

fn http(object: &str, node: &Node) -> Result<(), Placed> {
    at_most_one(node, &["bearer_token", "bearer_token_file"])?;
    let has_bearer =
        ["bearer_token", "bearer_token_file"].into_iter().find(|key| node.get(key).is_some());
    let mut ways = vec!["basic_auth", "authorization", "oauth2"];
    ways.extend(has_bearer);
    if object != "alertmanager" || node.get("sigv4").is_none() {
        at_most_one(node, &ways)?;
    }
    for (key, _) in node.get("http_headers").map(Node::entries).unwrap_or_default() {
        if RESERVED_HEADERS.contains(&key.name.to_ascii_lowercase().as_str()) {
            return Err((key.line, format!("{:?} is a reserved header", key.name)));
        }
    }
    proxy(node)
}

fn proxy(node: &Node) -> Result<(), Placed> {
    let from_environment = node.bool_of("proxy_from_environment") == Some(true);
    let has = |key: &str| node.text_of(key).is_some_and(|t| !t.is_empty());
    if from_environment && (has("proxy_url") || has("no_proxy")) {
        return Err((
            node.line,
            "proxy_from_environment excludes proxy_url and no_proxy".to_owned(),
        ));
    }
    if has("no_proxy") && !has("proxy_url") {
        return Err((node.line, "no_proxy needs proxy_url".to_owned()));
    }
    if node.get("proxy_connect_header").is_some() && !has("proxy_url") && !from_environment {
        return Err((
            node.line,
            "proxy_connect_header needs proxy_url or proxy_from_environment".to_owned(),
        ));
    }
    Ok(())
}

fn oauth2(node: &Node) -> Result<(), Placed> {
    need(node, "client_id")?;
    need(node, "token_url")?;
    // As in Prometheus the keys of the other grant are not looked at.
    if node.text_of("grant_type") == Some(JWT_BEARER) {
        at_most_one(
            node,
            &[
                "client_certificate_key",
                "client_certificate_key_file",
                "client_certificate_key_ref",
            ],
        )?;
        if node.text_of("signature_algorithm") != Some("") {
            one_of(node, "signature_algorithm", &["RS256", "RS384", "RS512"])?;
        }
    } else {
        at_most_one(node, &["client_secret", "client_secret_file", "client_secret_ref"])?;
    }
    proxy(node)
}

fn tls(node: &Node) -> Result<(), Placed> {
    at_most_one(node, &["ca", "ca_file", "ca_ref"])?;
    at_most_one(node, &["cert", "cert_file", "cert_ref"])?;
    at_most_one(node, &["key", "key_file", "key_ref"])?;
    let has =
        |keys: [&str; 3]| keys.iter().any(|key| node.text_of(key).is_some_and(|t| !t.is_empty()));
    let (cert, key) = (has(["cert", "cert_file", "cert_ref"]), has(["key", "key_file", "key_ref"]));
    if cert != key {
        return Err((node.line, "tls_config needs certificate and key together".to_owned()));
    }
    const VERSIONS: [&str; 4] = ["TLS10", "TLS11", "TLS12", "TLS13"];
    one_of(node, "min_version", &VERSIONS)?;
    one_of(node, "max_version", &VERSIONS)?;
    let (min, max) = (node.text_of("min_version"), node.text_of("max_version"));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return Err((node.line, format!("max_version {max} is below min_version {min}")));
    }
    Ok(())
}

fn labels(node: Option<&Node>) -> Result<(), Placed> {
    for (key, value) in node.map(Node::entries).unwrap_or_default() {
        if key.name.is_empty() || key.name == model::METRIC_NAME {
            return Err((key.line, format!("{:?} is not a label name that can be set", key.name)));
        }
        if matches!(value.value, Value::List(_) | Value::Map(_)) {
            return Err((value.line, format!("label {:?} must be a text", key.name)));
        }
    }
    Ok(())
}

fn file_sd(node: &Node) -> Result<(), Placed> {
    need_list(node, "files")?;
    for file in node.get("files").map(Node::items).unwrap_or_default() {
        let text = file.text().unwrap_or("");
        let (dir, name) = text.rsplit_once('/').unwrap_or(("", text));
        let fits = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"]
            .iter()
            .any(|end| name.ends_with(end));
        if !fits || dir.contains('*') {
            let message = format!(
                "path {text:?} must end in .json, .yml or .yaml, with * only in its last part"
            );
            return Err((file.line, message));
        }
    }
    Ok(())
}

fn remote(name: &str, node: &Node) -> Result<(), Placed> {
    need(node, "url")?;
    if name == "remote_write" {
        let messages = ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"];
        one_of(node, "protobuf_message", &messages)?;
    }
    headers(node)
}

fn headers(node: &Node) -> Result<(), Placed> {
    for (key, _) in node.get("headers").map(Node::entries).unwrap_or_default() {
        let reserved = RESERVED_HEADERS.contains(&key.name.to_ascii_lowercase().as_str());
        if reserved {
            return Err((key.line, format!("{:?} is a reserved header", key.name)));
        }
    }
    Ok(())
}

fn queue(node: &Node) -> Result<(), Placed> {
    for key in ["max_samples_per_send", "min_shards", "max_shards", "capacity"] {
        refuse(node, key, |t| t == "0", "must be above 0")?;
    }
    let shards = |key: &str, default: u64| node.number_of(key).unwrap_or(default);
    if shards("min_shards", 1) > shards("max_shards", 50) {
        return Err((node.line, "min_shards must not be greater than max_shards".to_owned()));
    }
    let backoff =
        |key: &str, default: u64| node.text_of(key).and_then(parse_duration).unwrap_or(default);
    if backoff("max_backoff", 5000) < backoff("min_backoff", 30) {
        return Err((node.line, "max_backoff must not be less than min_backoff".to_owned()));
    }
    Ok(())
}

fn tracing(node: &Node) -> Result<(), Placed> {
    need(node, "endpoint")?;
    one_of(node, "client_type", &["http", "grpc"])?;
    one_of(node, "compression", &["gzip"])?;
    headers(node)
}

fn otlp(node: &Node) -> Result<(), Placed> {
    let all = node.bool_of("promote_all_resource_attributes") == Some(true);
    let (promote, ignore) = ("promote_resource_attributes", "ignore_resource_attributes");
    if all && !node.texts_of(promote).is_empty() {
        return Err((node.line, format!("promote_all_resource_attributes excludes {promote}")));
    }
    if !all && !node.texts_of(ignore).is_empty() {
        return Err((node.line, format!("{ignore} needs promote_all_resource_attributes")));
    }
    for key in [promote, ignore] {
        let mut seen = BTreeSet::new();
        for text in node.texts_of(key) {
            if text.trim().is_empty() || !seen.insert(text.trim()) {
                return Err((
                    node.line,
                    format!("{key} has an empty or repeated attribute {text:?}"),
                ));
            }
        }
    }
    let strategies = [
        "UnderscoreEscapingWithSuffixes",
        "UnderscoreEscapingWithoutSuffixes",
        "NoUTF8EscapingWithSuffixes",
        "NoTranslation",
    ];
    one_of(node, "translation_strategy", &strategies)
}

/// Names that OTLP leaves as they are need the validation of names to allow them.
fn otlp_names(node: &Node) -> Result<(), Placed> {
    let global = node.get("global");
    let validation = global.and_then(|g| g.text_of("metric_name_validation_scheme"));
    let strategy = node.get("otlp").and_then(|otlp| otlp.get("translation_strategy"));
    match strategy.map(|s| (s.line, s.text().unwrap_or(""))) {
        Some((line, text @ ("NoUTF8EscapingWithSuffixes" | "NoTranslation")))
            if validation == Some("legacy") =>
        {
            Err((
                line,
                format!("translation_strategy {text} needs metric_name_validation_scheme utf8"),
            ))
        }
        _ => Ok(()),
    }
}

fn percentage(node: &Node) -> Result<(), Placed> {
    let fits = node.number_of::<f64>("percentage").is_none_or(|p| (0.0..=100.0).contains(&p));
    if fits { Ok(()) } else { Err((node.line, "percentage must be from 0 to 100".to_owned())) }
}

fn names_once(node: &Node) -> Result<(), Placed> {
    for list in ["remote_write", "remote_read"] {
        let mut seen = BTreeSet::new();
        for item in node.get(list).map(Node::items).unwrap_or_default() {
            if let Some(name) = item.text_of("name").filter(|n| !n.is_empty())
                && !seen.insert(name)
            {
                return Err((item.line, format!("{list} has two entries named {name:?}")));
            }
        }
    }
    for pattern in node.get("rule_files").map(Node::items).unwrap_or_default() {
        let text = pattern.text().unwrap_or("");
        if text.rsplit_once('/').is_some_and(|(dir, _)| dir.contains('*')) {
            return Err((
                pattern.line,
                format!("rule file path {text:?} may have * only in its last part"),
            ));
        }
    }
    Ok(())
}

/// What single service discoveries need; those that are not supported yet are still checked, as Prometheus would.
fn discovery(name: &str, node: &Node) -> Result<(), Placed> {
    match name {
        "azure_sd" => azure(node),
        "docker_sd" => need(node, "host"),
        "dockerswarm_sd" => {
            need(node, "host")?;
            need(node, "role")?;
            one_of(node, "role", &["services", "tasks", "nodes"])
        }
        "dns_sd" => {
            need_list(node, "names")?;
            one_of(node, "type", &["SRV", "A", "AAAA", "MX", "NS"])?;
            let is_srv = node.text_of("type").is_none_or(|t| t == "SRV");
            if is_srv { Ok(()) } else { need(node, "port") }
        }
        "eureka_sd" => url(node, "server"),
        "gce_sd" => need(node, "project").and_then(|()| need(node, "zone")),
        "hetzner_sd" => required_choice(node, "role", &["hcloud", "robot"]),
        "http_sd" => url(node, "url"),
        "ionos_sd" => need(node, "datacenter_id"),
        "kubernetes_sd" => kubernetes(node),
        "kuma_sd" => url(node, "server"),
        "marathon_sd" => marathon(node),
        "nerve_sd" => {
            need_list(node, "servers")?;
            need_list(node, "paths")?;
            let bad = node.texts_of("paths").into_iter().find(|p| !p.starts_with('/'));
            bad.map_or(Ok(()), |p| Err((node.line, format!("path {p:?} must begin with /"))))
        }
        "oci_sd" => one_of(node, "auth", &["api_key", "instance_principal"]),
        "openstack_sd" => {
            required_choice(node, "role", &["instance", "hypervisor", "loadbalancer"])?;
            one_of(node, "availability", &["public", "admin", "internal"])?;
            need(node, "region")
        }
        "outscale_sd" => {
            need(node, "region")?;
            need(node, "access_key")?;
            exactly_one(node, &["secret_key", "secret_key_file"])
        }
        "ovhcloud_sd" => {
            for key in ["application_key", "application_secret", "consumer_key"] {
                need(node, key)?;
            }
            required_choice(node, "service", &["vps", "dedicated_server"])
        }
        "puppetdb_sd" => url(node, "url").and_then(|()| need(node, "query")),
        "scaleway_sd" => {
            required_choice(node, "role", &["instance", "baremetal"])?;
            need(node, "project_id")?;
            need(node, "access_key")?;
            exactly_one(node, &["secret_key", "secret_key_file"])
        }
        "stackit_sd" if node.get("endpoint").is_some() => url(node, "endpoint"),
        "triton_sd" => {
            for key in ["account", "dns_suffix", "endpoint"] {
                need(node, key)?;
            }
            one_of(node, "role", &["container", "cn"])
        }
        "uyuni_sd" => {
            ["server", "username", "password"].into_iter().try_for_each(|key| need(node, key))
        }
        _ => Ok(()),
    }
}

fn azure(node: &Node) -> Result<(), Placed> {
    let methods = ["OAuth", "ManagedIdentity", "SDK", "WorkloadIdentity"];
    one_of(node, "authentication_method", &methods)?;
    need(node, "subscription_id")?;
    if node.text_of("authentication_method").is_none_or(|m| m == "OAuth") {
        return ["tenant_id", "client_id", "client_secret"]
            .into_iter()
            .try_for_each(|key| need(node, key));
    }
    Ok(())
}

fn marathon(node: &Node) -> Result<(), Placed> {
    need_list(node, "servers")?;
    let tokens = ["auth_token", "auth_token_file"];
    at_most_one(node, &tokens)?;
    let mut ways =
        vec!["basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file"];
    ways.extend(tokens);
    at_most_one(node, &ways)
}

fn kubernetes(node: &Node) -> Result<(), Placed> {
    let roles = ["endpoints", "endpointslice", "service", "pod", "node", "ingress"];
    required_choice(node, "role", &roles)?;
    let has_http = HTTP_KEYS.iter().find(|key| node.get(key).is_some());
    let has_server = node.text_of("api_server").is_some_and(|s| !s.is_empty());
    if node.text_of("kubeconfig_file").is_some_and(|f| !f.is_empty()) {
        let own = node.get("namespaces").and_then(|n| n.bool_of("own_namespace")) == Some(true);
        for (clashes, what) in [
            (has_server, "api_server"),
            (has_http.is_some(), "HTTP settings"),
            (own, "own_namespace"),
        ] {
            if clashes {
                return Err((node.line, format!("kubeconfig_file excludes {what}")));
            }
        }
    } else if let Some(key) = has_http.filter(|_| !has_server) {
        return Err((node.line, format!("{key} needs api_server")));
    }
    if has_server && node.get("namespaces").and_then(|n| n.bool_of("own_namespace")) == Some(true) {
        return Err((node.line, "api_server excludes own_namespace".to_owned()));
    }
    let role = node.text_of("role").unwrap_or("");
    let allowed: &[&str] = match role {
        "pod" => &["pod", "node"],
        "endpoints" => &["pod", "service", "endpoints"],
        "endpointslice" => &["pod", "service", "endpointslice"],
        other => &[other],
    };
    let nodes_too = node.get("attach_metadata").and_then(|m| m.bool_of("node")) == Some(true);
    for selector in node.get("selectors").map(Node::items).unwrap_or_default() {
        let wanted = selector.text_of("role").unwrap_or("");
        let fits = allowed.contains(&wanted) || (wanted == "node" && nodes_too);
        if !fits {
            return Err((
                selector.line,
                format!("role {role} takes only selectors of {}", allowed.join(", ")),
            ));
        }
    }
    Ok(())
}

fn need(node: &Node, key: &str) -> Result<(), Placed> {
    if node.text_of(key).is_some_and(|text| !text.trim().is_empty()) {
        return Ok(());
    }
    Err((
        node.get_or_null(key).map_or(node.line, |n| n.line.max(node.line)),
        format!("{key} is missing or empty"),
    ))
}

fn need_list(node: &Node, key: &str) -> Result<(), Placed> {
    if node.texts_of(key).is_empty() {
        return Err((node.line, format!("{key} is missing or empty")));
    }
    Ok(())
}

fn at_most_one(node: &Node, keys: &[&str]) -> Result<(), Placed> {
    let mut given = keys.iter().filter(|key| {
        node.get(key).is_some_and(|value| value.text().is_none_or(|text| !text.is_empty()))
    });
    match (given.next(), given.next()) {
        (Some(first), Some(second)) => {
            let line = node.get(second).map_or(node.line, |n| n.line);
            Err((line, format!("{first} and {second} exclude each other")))
        }
        _ => Ok(()),
    }
}

fn exactly_one(node: &Node, keys: &[&str]) -> Result<(), Placed> {
    at_most_one(node, keys)?;
    if keys.iter().any(|key| node.text_of(key).is_some_and(|text| !text.is_empty())) {
        return Ok(());
    }
    Err((node.line, format!("one of {} is missing", keys.join(" and "))))
}

fn one_of(node: &Node, key: &str, choices: &[&str]) -> Result<(), Placed> {
    let Some(value) = node.get(key) else { return Ok(()) };
    let text = value.text().unwrap_or("");
    if choices.contains(&text) {
        return Ok(());
    }
    Err((value.line, format!("{key} must be one of {}, not {text:?}", choices.join(", "))))
}

fn required_choice(node: &Node, key: &str, choices: &[&str]) -> Result<(), Placed> {
    need(node, key)?;
    one_of(node, key, choices)
}

fn refuse(node: &Node, key: &str, bad: impl Fn(&str) -> bool, message: &str) -> Result<(), Placed> {
    match node.get(key) {
        Some(value) if value.text().is_some_and(bad) => {
            Err((value.line, format!("{key} {message}")))
        }
        _ => Ok(()),
    }
}

fn url(node: &Node, key: &str) -> Result<(), Placed> {
    need(node, key)?;
    let (line, text) = node.get(key).map_or((node.line, ""), |v| (v.line, v.text().unwrap_or("")));
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or("")) {
        None => Err((line, format!("{key} must be an http or https URL, not {text:?}"))),
        Some("") => Err((line, format!("{key} {text:?} has no host"))),
        Some(_) => Ok(()),
    }
}

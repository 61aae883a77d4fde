//! `remote_write`: from a checked block to a [`Remote`], with Prometheus' defaults.

use std::path::Path;

use collect::forward::{MetadataConfig, QueueConfig, Remote};
use collect::scrape::{Secret, parse_duration};
use ingest::write_request::Version;

use super::http;
use super::node::{Node, Placed};
use super::relabel;
use crate::remote_write::short_hash;

const TIMEOUT_MS: u64 = 30_000;
const METADATA_INTERVAL_MS: u64 = 60_000;
/// Samples and metrics of a request.
const PER_SEND: usize = 2_000;

/// The blocks of a file; relative paths start from `dir`.
pub(super) fn remotes(root: &Node, dir: &Path) -> Result<Vec<Remote>, Placed> {
    let blocks = root.get("remote_write").map(Node::items).unwrap_or_default();
    let mut remotes: Vec<Remote> = Vec::new();
    for block in blocks {
        let remote = remote(block, dir)?;
        if remotes.iter().any(|other| other.id == remote.id) {
            return Err((
                block.line,
                format!("remote_write has the url {:?} twice; give each block a name", remote.url),
            ));
        }
        remotes.push(remote);
    }
    Ok(remotes)
}

fn remote(block: &Node, dir: &Path) -> Result<Remote, Placed> {
    let url = block.text_of("url").unwrap_or("");
    let line = block.get("url").map_or(block.line, |node| node.line);
    let parsed = reqwest::Url::parse(url).map_err(|e| (line, format!("url {url:?}: {e}")))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err((line, format!("url {url:?} must begin with http:// or https://")));
    }
    let duration = |node: &Node, key: &str, default: u64| {
        node.text_of(key).and_then(parse_duration).unwrap_or(default)
    };
    let given_name = block.text_of("name").filter(|name| !name.is_empty());
    // Another receiver, or one of another name, has its own place in the queue; other settings can change under way.
    let id = short_hash(&format!("{}\n{url}", given_name.unwrap_or("")));
    let mut options = http::options(block, dir);
    for (key, value) in block.get("headers").map(Node::entries).unwrap_or_default() {
        let value = Secret::Text(value.text().unwrap_or("").to_owned());
        options.headers.push((key.name.clone(), value));
    }
    let v2 = block.text_of("protobuf_message") == Some("io.prometheus.write.v2.Request");
    let metadata = block.get("metadata_config");
    let send_metadata = metadata.and_then(|node| node.bool_of("send")).unwrap_or(true);
    Ok(Remote {
        name: given_name.map_or_else(|| id.clone(), str::to_owned),
        id,
        url: url.to_owned(),
        version: if v2 { Version::V2 } else { Version::V1 },
        timeout_ms: duration(block, "remote_timeout", TIMEOUT_MS),
        http: options,
        relabel: relabel::rules(block, "write_relabel_configs")?,
        send_exemplars: block.bool_of("send_exemplars").unwrap_or(false),
        send_native_histograms: block.bool_of("send_native_histograms").unwrap_or(false),
        queue: block.get("queue_config").map_or_else(QueueConfig::default, |node| {
            let default = QueueConfig::default();
            let size = |key: &str, default: usize| node.number_of(key).unwrap_or(default).max(1);
            QueueConfig {
                min_shards: size("min_shards", default.min_shards),
                max_shards: size("max_shards", default.max_shards),
                max_samples_per_send: size("max_samples_per_send", default.max_samples_per_send),
                batch_send_deadline_ms: duration(
                    node,
                    "batch_send_deadline",
                    default.batch_send_deadline_ms,
                ),
                min_backoff_ms: duration(node, "min_backoff", default.min_backoff_ms),
                max_backoff_ms: duration(node, "max_backoff", default.max_backoff_ms),
                retry_on_http_429: node.bool_of("retry_on_http_429").unwrap_or(false),
                sample_age_limit_ms: duration(node, "sample_age_limit", 0),
            }
        }),
        metadata: send_metadata.then(|| MetadataConfig {
            send_interval_ms: metadata.map_or(METADATA_INTERVAL_MS, |n| {
                duration(n, "send_interval", METADATA_INTERVAL_MS)
            }),
            max_samples_per_send: metadata
                .and_then(|node| node.number_of("max_samples_per_send"))
                .unwrap_or(PER_SEND),
        }),
    })
}

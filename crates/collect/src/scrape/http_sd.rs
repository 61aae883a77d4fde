//! `http_sd_configs`: target groups from a server's JSON list.
//!
//! Source: Prometheus, "HTTP service discovery".

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Error, ErrorKind, Result};
use reqwest::Url;
use serde::Deserialize;

use super::config::{HttpSd, TargetGroup};
use super::http::{self, Http};
use super::target::format_duration;

/// Bytes of a list at most.
const LIST_BYTES_MAX: usize = 64 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    #[serde(default)]
    targets: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// Asks once; the answer must be there before it is time to ask again.
pub(super) async fn discover(config: &HttpSd, http: &Http) -> Result<Vec<TargetGroup>> {
    let url = Url::parse(&config.url)
        .map_err(|e| Error::invalid(format!("{:?} is not a URL: {e}", config.url)))?;
    let interval_ms = config.refresh_interval_ms;
    let fetch = http::fetch_list(http, &config.http, &url, interval_ms, LIST_BYTES_MAX);
    let body = match tokio::time::timeout(Duration::from_millis(interval_ms), fetch).await {
        Ok(body) => body?,
        Err(_) => {
            let within = format_duration(interval_ms);
            return Err(Error::new(
                ErrorKind::Busy,
                format!("no complete answer of {url} within {within}"),
            ));
        }
    };
    groups(&config.url, &body)
}

/// The groups in an answer.
pub(super) fn groups(url: &str, body: &[u8]) -> Result<Vec<TargetGroup>> {
    let raw: Option<Vec<Option<RawGroup>>> = serde_json::from_slice(body)
        .map_err(|e| Error::invalid(format!("{url} answered with no list of targets: {e}")))?;
    let group = |(i, group): (usize, Option<RawGroup>)| {
        let group =
            group.ok_or_else(|| Error::invalid(format!("{url}: group {} is empty", i + 1)))?;
        let mut labels = group.labels.unwrap_or_default();
        labels.insert("__meta_url".to_owned(), url.to_owned());
        let targets = group.targets.unwrap_or_default();
        Ok(TargetGroup::of_addresses(format!("{url}:{i}"), targets, labels))
    };
    raw.unwrap_or_default().into_iter().enumerate().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_groups() {
        let body = br#"[{"targets":["a:1","b:2"],"labels":{"env":"x"}},{"targets":[]}]"#;
        let found = groups("http://sd/", body).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].targets[1]["__address__"], "b:2");
        assert_eq!(found[0].labels["env"], "x");
        assert_eq!(found[1].labels["__meta_url"], "http://sd/");
        assert_eq!(found[0].source, "http://sd/:0");
    }

    #[test]
    fn other_answers_are_refused() {
        for (body, expect) in [
            (
                "{}",
                "http://sd/ answered with no list of targets: invalid type: map, expected a sequence at line 1 column 0",
            ),
            ("[null]", "http://sd/: group 1 is empty"),
            (
                "[{\"target\":[]}]",
                "http://sd/ answered with no list of targets: unknown field `target`, expected `targets` or `labels` at line 1 column 10",
            ),
        ] {
            assert_eq!(groups("http://sd/", body.as_bytes()).unwrap_err().message(), expect);
        }
    }
}

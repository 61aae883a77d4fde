//! What the fuzz targets ask of scraping: lists of targets from files, servers and the container engine, and answers of
//! token servers.

use std::path::Path;

use super::config::DockerSd;
use super::{TargetGroup, docker_sd, file_sd, http, http_sd};

/// Reads `bytes` as each kind of list.
///
/// # Panics
/// When a reader does, or makes more targets than the bytes can name.
pub fn discovery(bytes: &[u8]) {
    let bounded = |groups: &[TargetGroup]| {
        assert!(groups.iter().map(|g| g.targets.len()).sum::<usize>() <= bytes.len());
    };
    // Either outcome is fine; it must come back.
    if let Ok(groups) = http_sd::groups("http://sd/", bytes) {
        bounded(&groups);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        for file in ["targets.json", "targets.yml"] {
            if let Ok(groups) = file_sd::groups(Path::new(file), text) {
                // An alias of YAML names a list again; the parser bounds how often.
                assert!(groups.len() <= bytes.len().max(1_000_000));
            }
        }
    }
    let config = DockerSd {
        host: "unix:///run/docker.sock".to_owned(),
        port: 80,
        host_networking_host: "localhost".to_owned(),
        match_first_network: bytes.len().is_multiple_of(2),
        filters: Vec::new(),
        refresh_interval_ms: 60_000,
    };
    let half = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let (containers, networks) = bytes.split_at(half);
    let networks = networks.get(1..).filter(|n| !n.is_empty()).unwrap_or(b"[]");
    docker_sd::group(&config, containers, None, networks).ok();
}

/// Reads `bytes` as an OAuth 2.0 server's answer to who asks for a token.
///
/// # Panics
/// When the reader does, or makes more of it than it has bytes.
pub fn token_answer(bytes: &[u8]) {
    http::oauth2::check_answer(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn noise_is_refused_or_bounded(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            token in "[ -~]{0,40}", seconds in any::<f64>(), why in ".{0,300}",
        ) {
            super::token_answer(&bytes);
            let json = |value: &str| serde_json::Value::from(value).to_string();
            let good = format!(r#"{{"access_token":{},"expires_in":"{seconds}"}}"#, json(&token));
            super::token_answer(good.as_bytes());
            let bad = format!(r#"{{"error":{0},"error_description":{0}}}"#, json(&why));
            super::token_answer(bad.as_bytes());
            super::token_answer(format!("access_token={token}&expires_in={seconds}").as_bytes());
        }
    }
}

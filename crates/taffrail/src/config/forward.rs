//! `traces.forward:` of `taffrail.yml`: where spans go on to, by OTLP over HTTP. Names as in `remote_write` of Prometheus.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use collect::forward::spans::{SpanQueue, SpanRemote};
use collect::scrape::{HttpOptions, Secret, TlsOptions};
use serde::Deserialize;

use super::Mistakes;
use crate::remote_write::short_hash;
use crate::yaml::ConfigError;

/// An entry of `traces.forward`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawForward {
    /// Where requests go: `https://otlp.example.com/v1/traces`.
    pub url: String,
    /// What figures and messages call it. Default: made of the URL.
    pub name: Option<String>,
    /// Headers of each request.
    pub headers: Option<BTreeMap<String, String>>,
    /// User and password.
    pub basic_auth: Option<RawBasicAuth>,
    /// A token or the like.
    pub authorization: Option<RawAuthorization>,
    /// Verification of the receiver, and who we are.
    pub tls_config: Option<RawTls>,
    /// How long a request may take. Default: 30s.
    pub remote_timeout: Option<String>,
    /// `gzip` or `none`. Default: gzip.
    pub compression: Option<String>,
    /// Batching and retries.
    pub queue_config: Option<RawQueue>,
}

/// `basic_auth:`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawBasicAuth {
    /// The user.
    pub username: String,
    /// The password, unless it is in a file.
    pub password: Option<String>,
    /// A file with the password. Relative to this file.
    pub password_file: Option<PathBuf>,
}

/// `authorization:`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAuthorization {
    /// The scheme. Default: Bearer.
    pub r#type: Option<String>,
    /// The token, unless it is in a file.
    pub credentials: Option<String>,
    /// A file with the token. Relative to this file.
    pub credentials_file: Option<PathBuf>,
}

/// `tls_config:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// Certificates of the only authorities to trust. Relative to this file, as all of these.
    pub ca_file: Option<PathBuf>,
    /// Our certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Name to verify instead of the URL's.
    pub server_name: Option<String>,
    /// Whether any certificate is taken. Default: false.
    pub insecure_skip_verify: Option<bool>,
}

/// `queue_config:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawQueue {
    /// Requests side by side at most. Default: 10.
    pub max_shards: Option<usize>,
    /// Spans of a request, about. Default: 8192.
    pub max_spans_per_send: Option<usize>,
    /// How long spans wait for a request to become full. Default: 1s.
    pub batch_send_deadline: Option<String>,
    /// Pause before the first retry. Default: 1s.
    pub min_backoff: Option<String>,
    /// Pause between retries at most. Default: 30s.
    pub max_backoff: Option<String>,
}

// What follows is what is meant.

const REMOTES_MAX: usize = 16;
const TIMEOUT_MS: u64 = 30_000;

/// Relative paths start from `base`.
pub(super) fn check(
    raw: Vec<RawForward>,
    base: &Path,
    mistakes: &Mistakes<'_>,
) -> Result<Vec<SpanRemote>, ConfigError> {
    if raw.len() > REMOTES_MAX {
        let message = format!("traces.forward: {} receivers; at most {REMOTES_MAX}", raw.len());
        return Err(mistakes.error("traces.forward", message));
    }
    let mut remotes: Vec<SpanRemote> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let remote = entry(index, raw, base, mistakes)?;
        if remotes.iter().any(|other| other.id == remote.id || other.name == remote.name) {
            let message =
                format!("traces.forward: {:?} is there twice; give each a name", remote.url);
            return Err(mistakes.error(&format!("traces.forward.{index}.url"), message));
        }
        remotes.push(remote);
    }
    Ok(remotes)
}

fn entry(
    index: usize,
    raw: RawForward,
    base: &Path,
    mistakes: &Mistakes<'_>,
) -> Result<SpanRemote, ConfigError> {
    let key = |name: &str| format!("traces.forward.{index}.{name}");
    let wrong =
        |name: &str, what: String| mistakes.error(&key(name), format!("traces.forward: {what}"));
    let url = &raw.url;
    let parsed = reqwest::Url::parse(url).map_err(|e| wrong("url", format!("url {url:?}: {e}")))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        let what = format!("url {url:?} must begin with http:// or https://");
        return Err(wrong("url", what));
    }
    let gzip = match raw.compression.as_deref() {
        None | Some("gzip") => true,
        Some("none") => false,
        Some(other) => {
            let what = format!("compression {other:?} is neither gzip nor none");
            return Err(wrong("compression", what));
        }
    };
    let duration = |name: &str, text: Option<String>, standard: u64| match text {
        None => Ok(standard),
        Some(text) => {
            let ms = mistakes.duration(&key(name), &text, 1, 3_600_000)?;
            Ok(ms.unsigned_abs())
        }
    };
    let queue = raw.queue_config.unwrap_or_default();
    let size = |name: &str, given: Option<usize>, standard: usize, max: usize| {
        let number = given.unwrap_or(standard);
        if (1..=max).contains(&number) {
            return Ok(number);
        }
        let name = format!("queue_config.{name}");
        Err(wrong(&name, format!("{name}: {number} is not between 1 and {max}")))
    };
    let standard = SpanQueue::default();
    let secret = |of: &str, name: &str, text: Option<String>, file: Option<PathBuf>| {
        let (name, file_name) = (format!("{of}.{name}"), format!("{of}.{name}_file"));
        match (text, file) {
            (Some(text), None) => Ok(Secret::Text(text)),
            (None, Some(file)) => Ok(Secret::File(base.join(file))),
            (Some(_), Some(_)) => Err(wrong(of, format!("{name} and {file_name} are both there"))),
            (None, None) => Err(wrong(of, format!("{name} or {file_name} is missing"))),
        }
    };
    let basic_auth = match raw.basic_auth {
        None => None,
        Some(auth) => {
            let password = secret("basic_auth", "password", auth.password, auth.password_file)?;
            Some((Secret::Text(auth.username), password))
        }
    };
    let authorization = match raw.authorization {
        None => None,
        Some(_) if basic_auth.is_some() => {
            let what = "basic_auth and authorization are both there".to_owned();
            return Err(wrong("authorization", what));
        }
        Some(auth) => {
            let credentials =
                secret("authorization", "credentials", auth.credentials, auth.credentials_file)?;
            Some((auth.r#type.unwrap_or_else(|| "Bearer".to_owned()), credentials))
        }
    };
    let tls = raw.tls_config.unwrap_or_default();
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        let what = "tls_config: cert_file and key_file belong together".to_owned();
        return Err(wrong("tls_config", what));
    }
    let file = |path: PathBuf| Secret::File(base.join(path));
    let mut http = HttpOptions::plain();
    (http.basic_auth, http.authorization) = (basic_auth, authorization);
    http.headers = raw
        .headers
        .unwrap_or_default()
        .into_iter()
        .map(|(name, value)| (name, Secret::Text(value)))
        .collect();
    http.tls = TlsOptions {
        ca: tls.ca_file.map(file),
        client: tls.cert_file.map(file).zip(tls.key_file.map(file)),
        server_name: tls.server_name,
        insecure_skip_verify: tls.insecure_skip_verify.unwrap_or(false),
        ..TlsOptions::default()
    };
    let id = short_hash(&format!("{}\n{url}", raw.name.as_deref().unwrap_or("")));
    Ok(SpanRemote {
        name: raw.name.clone().unwrap_or_else(|| id.clone()),
        id,
        url: url.clone(),
        timeout_ms: duration("remote_timeout", raw.remote_timeout, TIMEOUT_MS)?,
        gzip,
        http,
        queue: SpanQueue {
            max_shards: size("max_shards", queue.max_shards, standard.max_shards, 1_000)?,
            max_spans_per_send: size(
                "max_spans_per_send",
                queue.max_spans_per_send,
                standard.max_spans_per_send,
                1_000_000,
            )?,
            batch_send_deadline_ms: duration(
                "queue_config.batch_send_deadline",
                queue.batch_send_deadline,
                standard.batch_send_deadline_ms,
            )?,
            min_backoff_ms: duration(
                "queue_config.min_backoff",
                queue.min_backoff,
                standard.min_backoff_ms,
            )?,
            max_backoff_ms: duration(
                "queue_config.max_backoff",
                queue.max_backoff,
                standard.max_backoff_ms,
            )?,
        },
    })
}

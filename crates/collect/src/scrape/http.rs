//! The HTTP side: clients by TLS needs, one request per scrape, bounded bodies, readable errors.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use ingest::exposition::{Encoding, Format};
use model::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy, header, redirect};

use super::config::{HttpOptions, ScrapeJob, Secret};
use super::target::Target;

const REDIRECTS_MAX: usize = 10;

/// Hands out clients; jobs with equal needs share one, with its connections.
#[derive(Debug)]
pub(super) struct Clients {
    user_agent: String,
    cached: Mutex<Vec<(ClientKey, Client)>>,
}

/// What a client is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ClientKey {
    https: bool,
    follow_redirects: bool,
    proxy_url: Option<String>,
    tls: super::config::TlsOptions,
}

impl Clients {
    pub(super) fn new(version: &str) -> Self {
        Self { user_agent: format!("Taffrail/{version}"), cached: Mutex::new(Vec::new()) }
    }

    /// The client for a job's targets of one scheme.
    pub(super) fn get(&self, options: &HttpOptions, https: bool) -> Result<Client> {
        let key = ClientKey {
            https,
            follow_redirects: options.follow_redirects,
            proxy_url: options.proxy_url.clone(),
            tls: if https { options.tls.clone() } else { Default::default() },
        };
        if let Some((_, client)) = self.cached.lock().iter().find(|(k, _)| *k == key) {
            return Ok(client.clone());
        }
        let client = self.build(&key)?;
        self.cached.lock().push((key, client.clone()));
        Ok(client)
    }

    /// Forgets all clients, so that changed certificate files are read again.
    pub(super) fn clear(&self) {
        self.cached.lock().clear();
    }

    fn build(&self, key: &ClientKey) -> Result<Client> {
        let redirects = if key.follow_redirects {
            redirect::Policy::limited(REDIRECTS_MAX)
        } else {
            redirect::Policy::none()
        };
        let mut builder = Client::builder()
            .user_agent(&self.user_agent)
            .redirect(redirects)
            .no_proxy()
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true);
        if let Some(proxy_url) = &key.proxy_url {
            builder =
                builder.proxy(Proxy::all(proxy_url).map_err(|e| failed("set up the proxy", &e))?);
        }
        builder = tls(builder, key)?;
        builder.build().map_err(|e| failed("build the HTTP client", &e))
    }
}

fn tls(mut builder: ClientBuilder, key: &ClientKey) -> Result<ClientBuilder> {
    if !key.https {
        // Loading the machine's authorities costs time and memory that plain HTTP has no use for. A redirect from HTTP
        // to HTTPS therefore fails verification; such a target belongs under `scheme: https`.
        return Ok(builder.tls_certs_only([]));
    }
    let read = |path: &std::path::Path| {
        std::fs::read(path)
            .map_err(|e| Error::io(format!("cannot read {}: {e}", path.display()), e))
    };
    let ca = match (&key.tls.ca, &key.tls.ca_file) {
        (Some(pem), _) => Some(pem.clone().into_bytes()),
        (None, Some(path)) => Some(read(path)?),
        (None, None) => None,
    };
    if let Some(pem) = ca {
        let authorities = Certificate::from_pem_bundle(&pem)
            .map_err(|e| failed("read the certificate authorities", &e))?;
        builder = builder.tls_certs_only(authorities);
    }
    if let Some((cert, key_file)) = &key.tls.client_files {
        let mut pem = read(cert)?;
        pem.push(b'\n');
        pem.extend(read(key_file)?);
        let identity =
            Identity::from_pem(&pem).map_err(|e| failed("read the client certificate", &e))?;
        builder = builder.identity(identity);
    }
    Ok(builder.tls_danger_accept_invalid_certs(key.tls.insecure_skip_verify))
}

/// A complete answer.
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    pub(super) format: Format,
}

/// One scrape request, without its time limit.
pub(super) async fn fetch(
    client: &Client,
    job: &ScrapeJob,
    target: &Target,
    body_bytes_max: usize,
) -> Result<Fetched> {
    let mut request = client
        .get(target.url.clone())
        .header(header::ACCEPT, accept(&job.formats))
        .header("X-Prometheus-Scrape-Timeout-Seconds", seconds_text(target.timeout_ms))
        .timeout(Duration::from_millis(target.timeout_ms));
    if let Some((user, password)) = &job.http.basic_auth {
        request = request.basic_auth(reveal(user).await?, Some(reveal(password).await?));
    }
    if let Some((scheme, credentials)) = &job.http.authorization {
        request = request
            .header(header::AUTHORIZATION, format!("{scheme} {}", reveal(credentials).await?));
    }
    for (name, value) in &job.http.headers {
        request = request.header(name, reveal(value).await?);
    }
    let mut response = request.send().await.map_err(|e| request_failed(&e, target))?;
    let status = response.status();
    if status != 200 {
        return Err(Error::invalid(format!("server returned HTTP status {status}")));
    }
    let content_type =
        response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    let format = match Encoding::of_media_type(media_type) {
        Some(Encoding::Text(format)) => Some(format),
        _ => None,
    };
    let format = format.or(job.fallback_format).ok_or_else(|| {
        Error::invalid(format!(
            "target sent Content-Type {content_type:?}, which is no text exposition format, and the job has no \
             fallback_scrape_protocol"
        ))
    })?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| request_failed(&e, target))? {
        if body.len() + chunk.len() > body_bytes_max {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("body has more bytes than the limit of {body_bytes_max}"),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched { body, format })
}

fn accept(formats: &[Format]) -> String {
    let mut parts = Vec::new();
    for (i, format) in formats.iter().enumerate() {
        let weight = 9 - 2 * i.min(3);
        parts.push(match format {
            Format::OpenMetrics => format!(
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.{weight},\
                 application/openmetrics-text;version=0.0.1;q=0.{}",
                weight - 1
            ),
            Format::Prometheus => format!(
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.{weight},text/plain;version=0.0.4;q=0.{}",
                weight - 1
            ),
        });
    }
    parts.push("*/*;q=0.1".to_owned());
    parts.join(",")
}

/// Milliseconds as decimal seconds without needless zeros.
pub(super) fn seconds_text(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

async fn reveal(secret: &Secret) -> Result<String> {
    match secret {
        Secret::Text(text) => Ok(text.clone()),
        Secret::File(path) => tokio::fs::read_to_string(path)
            .await
            .map(|text| text.trim().to_owned())
            .map_err(|e| Error::io(format!("cannot read secret file {}: {e}", path.display()), e)),
    }
}

fn failed(what: &str, error: &reqwest::Error) -> Error {
    Error::invalid(format!("cannot {what}: {}", innermost(error)))
}

fn request_failed(error: &reqwest::Error, target: &Target) -> Error {
    if error.is_timeout() {
        return Error::new(
            ErrorKind::Busy,
            format!(
                "no complete answer within {}",
                super::target::format_duration(target.timeout_ms)
            ),
        );
    }
    let url = target.url.as_str();
    let what = if error.is_connect() {
        "connect to"
    } else if error.is_redirect() {
        "follow redirects"
    } else if error.is_body() || error.is_decode() {
        "read the body"
    } else {
        "request"
    };
    Error::new(ErrorKind::Io, format!("cannot {what} {url}: {}", innermost(error)))
}

/// The last cause, which says what happened; the outer ones only repeat that a request failed.
fn innermost(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// A client shared by the tasks of one job.
pub(super) type SharedClients = Arc<Clients>;

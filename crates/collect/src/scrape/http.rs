//! The HTTP side: one request per scrape with its redirects, bounded bodies, content negotiation, readable errors.

mod assertion;
mod clients;
pub(super) mod oauth2;
#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use ingest::exposition::Encoding;
use model::{Clock, Error, ErrorKind, Result};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};

use super::config::{HttpOptions, NameEscaping, ScrapeJob, ScrapeProtocol, Secret, TlsOptions};
use super::target::{Target, format_duration};
use clients::{Clients, Needs};
use oauth2::Tokens;

const REDIRECTS_MAX: usize = 10;

/// What requests are made with, shared by all jobs.
#[derive(Debug)]
pub(crate) struct Http {
    clients: Clients,
    tokens: Tokens,
}

impl Http {
    pub(crate) fn new(version: &str, clock: Arc<dyn Clock>) -> Self {
        Self { clients: Clients::new(version), tokens: Tokens::new(clock) }
    }

    /// Forgets clients and tokens: the configuration was read again.
    pub(super) fn clear(&self) {
        self.clients.clear();
        self.tokens.clear();
    }
}

/// A complete answer to a scrape.
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    pub(super) encoding: Encoding,
}

/// One scrape request, within the target's time.
pub(super) async fn fetch(
    http: &Http,
    job: &ScrapeJob,
    target: &Target,
    body_bytes_max: usize,
) -> Result<Fetched> {
    let scrape = async {
        let headers = |request: RequestBuilder| {
            let encoding = if job.enable_compression { "gzip" } else { "identity" };
            request
                .header(header::ACCEPT, accept(&job.protocols, job.name_escaping))
                .header(header::ACCEPT_ENCODING, encoding)
                .header("X-Prometheus-Scrape-Timeout-Seconds", seconds_text(target.timeout_ms))
        };
        let response = get(http, &job.http, &target.url, headers).await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(Error::invalid(format!("server returned HTTP status {status}")));
        }
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|v| v.to_str().ok()).unwrap_or("");
        let encoding = negotiated(content_type, job.fallback_protocol)?;
        let body = read_body(response, body_bytes_max, &target.url).await?;
        Ok(Fetched { body, encoding })
    };
    match tokio::time::timeout(Duration::from_millis(target.timeout_ms), scrape).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::new(
            ErrorKind::Busy,
            format!("no complete answer within {}", format_duration(target.timeout_ms)),
        )),
    }
}

/// The body of a list of targets.
pub(super) async fn fetch_list(
    http: &Http,
    options: &HttpOptions,
    url: &Url,
    refresh_interval_ms: u64,
    body_bytes_max: usize,
) -> Result<Vec<u8>> {
    let headers = |request: RequestBuilder| {
        let seconds = seconds_text(refresh_interval_ms);
        request
            .header(header::ACCEPT, "application/json")
            .header("X-Prometheus-Refresh-Interval-Seconds", seconds)
    };
    let response = get(http, options, url, headers).await?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(Error::invalid(format!("server returned HTTP status {status}")));
    }
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|v| v.to_str().ok()).unwrap_or("");
    if media_type(content_type).as_deref() != Some("application/json") {
        return Err(Error::invalid(format!(
            "server sent Content-Type {content_type:.200?}; expected application/json"
        )));
    }
    read_body(response, body_bytes_max, url).await
}

/// Sends what `headers` completes to `url`, once; an answer that redirects is an answer.
pub(crate) async fn post(
    http: &Http,
    options: &HttpOptions,
    url: &Url,
    headers: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> Result<Response> {
    let request = headers(request(http, options, Method::POST, url)?);
    let request = with_credentials(http, options, request).await?;
    request.send().await.map_err(|e| request_failed(&e, url))
}

/// TLS for connections that speak no HTTP, read from the options' files now.
pub(crate) fn tls_config(options: &TlsOptions) -> Result<rustls::ClientConfig> {
    clients::tls::plain(options)
}

/// Sends `method` with `body` and `headers` to `url`, following redirects if the options say so: those that keep method and
/// body always, the others of a `GET` only. Credentials, headers and `headers` go to the first URL's host only, and never
/// from HTTPS to HTTP. A header of `headers` stands in for those the options have by that name.
pub(crate) async fn send(
    http: &Http,
    options: &HttpOptions,
    method: Method,
    url: &Url,
    headers: &[(&str, String)],
    body: &str,
) -> Result<Response> {
    let brings = |name: &str| headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let mut options = options.clone();
    options.headers.retain(|(name, _)| !brings(name));
    if brings("Authorization") {
        options = HttpOptions { basic_auth: None, authorization: None, oauth2: None, ..options };
    }
    let mut at = url.clone();
    let mut is_trusted = true;
    for _ in 0..=REDIRECTS_MAX {
        let mut request = request(http, &options, method.clone(), &at)?;
        if method != Method::GET {
            request = request.body(body.to_owned());
        }
        for (name, value) in headers {
            if is_trusted || name.eq_ignore_ascii_case("Content-Type") {
                request = request.header(*name, value);
            }
        }
        let request =
            if is_trusted { with_credentials(http, &options, request).await? } else { request };
        let response = request.send().await.map_err(|e| unanswered(&e, &at))?;
        let keeps = matches!(response.status().as_u16(), 307 | 308) || method == Method::GET;
        let next = redirected(&response, &at).filter(|_| options.follow_redirects && keeps);
        let Some(next) = next else { return Ok(response) };
        let next = next?;
        is_trusted &= next.host_str() == url.host_str()
            && !(at.scheme() == "https" && next.scheme() == "http");
        at = next;
    }
    Err(Error::invalid(format!("more than {REDIRECTS_MAX} redirects")))
}

/// As [`request_failed`], but with the host alone: the rest of the URL may be a secret.
fn unanswered(error: &reqwest::Error, url: &Url) -> Error {
    let host = url.host_str().unwrap_or("the server");
    // A header or a URL that is none fails before anything is sent, and always.
    match error.is_builder() {
        true => Error::invalid(format!("cannot make a request to {host}: {}", innermost(error))),
        false => Error::new(ErrorKind::Io, format!("no answer of {host}: {}", innermost(error))),
    }
}

/// Asks for `url`, following redirects if the options say so. Credentials and headers of the options go to the first
/// URL's host only, and never from HTTPS to HTTP.
async fn get(
    http: &Http,
    options: &HttpOptions,
    url: &Url,
    headers: impl Fn(RequestBuilder) -> RequestBuilder,
) -> Result<Response> {
    let mut at = url.clone();
    let mut is_trusted = true;
    for _ in 0..=REDIRECTS_MAX {
        let request = headers(request(http, options, Method::GET, &at)?);
        let request =
            if is_trusted { with_credentials(http, options, request).await? } else { request };
        let response = request.send().await.map_err(|e| request_failed(&e, &at))?;
        let Some(next) = redirected(&response, &at).filter(|_| options.follow_redirects) else {
            return Ok(response);
        };
        let next = next?;
        is_trusted &= next.host_str() == url.host_str()
            && !(at.scheme() == "https" && next.scheme() == "http");
        at = next;
    }
    Err(Error::invalid(format!("cannot request {url}: more than {REDIRECTS_MAX} redirects")))
}

/// Where a response sends the request to.
fn redirected(response: &Response, from: &Url) -> Option<Result<Url>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?;
    let next = location.to_str().ok().and_then(|text| from.join(text).ok());
    let next = next.filter(|url| matches!(url.scheme(), "http" | "https"));
    Some(next.ok_or_else(|| {
        Error::invalid(format!("cannot follow the redirect of {from} to {location:.200?}"))
    }))
}

fn request(
    http: &Http,
    options: &HttpOptions,
    method: Method,
    url: &Url,
) -> Result<RequestBuilder> {
    let https = url.scheme() == "https";
    let mut needs = Needs {
        https,
        http2: options.enable_http2,
        proxy: options.proxy.clone(),
        tls: if https { options.tls.clone() } else { Default::default() },
        host: None,
    };
    let Some(server_name) = needs.tls.server_name.clone() else {
        return Ok(http.clients.get(&needs)?.request(method, url.clone()));
    };
    if needs.proxy != Default::default() {
        return Err(Error::invalid(
            "tls_config.server_name together with a proxy is not supported",
        ));
    }
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']).to_owned();
    let authority = url.authority().rsplit('@').next().unwrap_or("").to_owned();
    needs.host = Some(host);
    let mut named = url.clone();
    named
        .set_host(Some(&server_name))
        .map_err(|e| Error::invalid(format!("server_name {server_name:.200?} is no name: {e}")))?;
    Ok(http.clients.get(&needs)?.request(method, named).header(header::HOST, authority))
}

async fn with_credentials(
    http: &Http,
    options: &HttpOptions,
    mut request: RequestBuilder,
) -> Result<RequestBuilder> {
    if let Some((user, password)) = &options.basic_auth {
        request = request.basic_auth(reveal(user).await?, Some(reveal(password).await?));
    }
    if let Some((scheme, credentials)) = &options.authorization {
        request = request
            .header(header::AUTHORIZATION, format!("{scheme} {}", reveal(credentials).await?));
    }
    if let Some(oauth) = &options.oauth2 {
        let value = http.tokens.authorization(&http.clients, oauth).await?;
        request = request.header(header::AUTHORIZATION, value);
    }
    for (name, value) in &options.headers {
        request = request.header(name, reveal(value).await?);
    }
    Ok(request)
}

async fn read_body(mut response: Response, bytes_max: usize, url: &Url) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| request_failed(&e, url))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("body has more bytes than the limit of {bytes_max}"),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The `Accept` header: what the job prefers first, and anything if need be.
fn accept(protocols: &[ScrapeProtocol], escaping: NameEscaping) -> String {
    let mut weight = ScrapeProtocol::ALL.len() + 1;
    let mut header = String::new();
    for protocol in protocols {
        header.push_str(protocol.media_range());
        if protocol.negotiates_escaping() {
            header.push_str(";escaping=");
            header.push_str(escaping.as_str());
        }
        header.push_str(&format!(";q=0.{weight},"));
        weight -= 1;
    }
    header + &format!("*/*;q=0.{weight}")
}

/// What a body is encoded in, by its `Content-Type` or else the job's fallback.
fn negotiated(content_type: &str, fallback: Option<ScrapeProtocol>) -> Result<Encoding> {
    let named = media_type(content_type);
    if let Some(encoding) = named.as_deref().and_then(Encoding::of_media_type) {
        return Ok(encoding);
    }
    fallback.map(ScrapeProtocol::encoding).ok_or_else(|| {
        let what = match (content_type, named) {
            ("", _) => "no Content-Type".to_owned(),
            (_, None) => format!("the malformed Content-Type {content_type:.200?}"),
            _ => format!("Content-Type {content_type:.200?}, which is no exposition format"),
        };
        Error::invalid(format!("target sent {what}, and the job has no fallback_scrape_protocol"))
    })
}

/// The media type of a `Content-Type` in lower case; `None` when the header does not follow its grammar.
///
/// Source: RFC 9110, 8.3.1.
fn media_type(content_type: &str) -> Option<String> {
    let is_token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let (media_type, mut rest) = content_type.split_once(';').unwrap_or((content_type, ""));
    let media_type = media_type.trim().to_ascii_lowercase();
    let (kind, subtype) = media_type.split_once('/')?;
    if !is_token(kind) || !is_token(subtype) {
        return None;
    }
    loop {
        rest = rest.trim();
        if rest.is_empty() {
            return Some(media_type);
        }
        let (name, value) = rest.split_once('=')?;
        if !is_token(name.trim()) {
            return None;
        }
        let end = if value.starts_with('"') {
            let mut escaped = false;
            let close = value.char_indices().skip(1).find(|(_, c)| {
                let closes = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                closes
            });
            close?.0 + 1
        } else {
            let end = value.find(';').unwrap_or(value.len());
            if !is_token(value.get(..end)?.trim()) {
                return None;
            }
            end
        };
        rest = value.get(end..)?.trim_start();
        rest = match rest.strip_prefix(';') {
            Some(more) => more,
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
}

/// Milliseconds as decimal seconds without needless zeros.
pub(super) fn seconds_text(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(crate) async fn reveal(secret: &Secret) -> Result<String> {
    match secret {
        Secret::Text(text) => Ok(text.clone()),
        Secret::File(path) => tokio::fs::read_to_string(path)
            .await
            .map(|text| text.trim().to_owned())
            .map_err(|e| Error::io(format!("cannot read secret file {}: {e}", path.display()), e)),
    }
}

fn request_failed(error: &reqwest::Error, url: &Url) -> Error {
    let what = if error.is_connect() {
        "connect to"
    } else if error.is_body() || error.is_decode() {
        "read the body of"
    } else {
        "request"
    };
    let mut url = url.clone();
    if url.password().is_some() && url.set_password(None).is_err() {
        return Error::new(
            ErrorKind::Io,
            format!("cannot {what} the target: {}", innermost(error)),
        );
    }
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

//! Requests to servers that are told something and asked nothing: notifications.
//!
//! Owns: one request and the start of its answer, by the HTTP options all of the house's requests have. Does not own: what
//! is sent, and what answers mean.

use std::sync::Arc;
use std::time::Duration;

use model::http::{HttpOptions, Secret, TlsOptions};
use model::{Clock, Error, ErrorKind, Result};
use reqwest::{Method, Url, header};

use crate::forward::retry_after_ms;
use crate::scrape::http::{self, Http};

/// Bytes of an answer that are read; the rest is left.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Sends requests. Connections are kept for the next one.
#[derive(Debug)]
pub struct Client {
    http: Http,
    clock: Arc<dyn Clock>,
}

/// A request.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// In capitals.
    pub method: &'a str,
    /// With scheme `http` or `https`.
    pub url: &'a str,
    /// In place of those that the options have by the same names.
    pub headers: &'a [(&'static str, String)],
    /// Nothing with `GET`.
    pub body: &'a str,
    /// From the start to the end of the answer.
    pub timeout: Duration,
}

impl std::fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest may be secret.
        f.debug_struct("Outgoing").field("method", &self.method).finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Such as 200.
    pub status: u16,
    /// The header `Content-Type`, empty without one.
    pub content_type: String,
    /// The header `Retry-After`, as milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// Its first megabyte.
    pub body: Vec<u8>,
}

impl Client {
    /// A client that calls itself `Taffrail/<version>`.
    pub fn new(version: &str, clock: Arc<dyn Clock>) -> Self {
        Self { http: Http::new(version, Arc::clone(&clock)), clock }
    }

    /// Sends `outgoing` and reads what comes back, whatever it is.
    ///
    /// # Errors
    /// Invalid: the URL or a header is none, or the options cannot be met; a second try helps nothing. Io or busy: there was
    /// no answer, or none in time. No error has the URL, nor anything else that may be secret.
    pub async fn send(&self, options: &HttpOptions, outgoing: Outgoing<'_>) -> Result<Incoming> {
        let url = Url::parse(outgoing.url)
            .map_err(|e| Error::invalid(format!("the URL to send to is none: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::invalid(format!(
                "the URL to send to has the scheme {:.20?}; expected http or https",
                url.scheme()
            )));
        }
        let method = Method::from_bytes(outgoing.method.as_bytes())
            .map_err(|_| Error::invalid(format!("{:?} is no method", outgoing.method)))?;
        let exchange = async {
            let response =
                http::send(&self.http, options, method, &url, outgoing.headers, outgoing.body);
            self.read(response.await?).await
        };
        match tokio::time::timeout(outgoing.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(
                ErrorKind::Busy,
                format!(
                    "no complete answer of {} within {} s",
                    url.host_str().unwrap_or("the server"),
                    outgoing.timeout.as_secs_f64()
                ),
            )),
        }
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Incoming> {
        let text = |name: header::HeaderName| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or("").to_owned()
        };
        let content_type = text(header::CONTENT_TYPE);
        let retry_after_ms = retry_after_ms(&text(header::RETRY_AFTER), self.clock.now_ms());
        let status = response.status().as_u16();
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let chunk = chunk.map_err(|_| Error::new(ErrorKind::Io, "the answer breaks off"))?;
            match chunk {
                Some(chunk) if body.len() < ANSWER_BYTES_MAX => body.extend_from_slice(&chunk),
                _ => break,
            }
        }
        Ok(Incoming { status, content_type, retry_after_ms, body })
    }
}

/// TLS for connections that speak no HTTP. Files are read now.
///
/// # Errors
/// Invalid or io: a file cannot be read or is not what it should be.
pub fn tls_config(options: &TlsOptions) -> Result<rustls::ClientConfig> {
    http::tls_config(options)
}

/// The text of a secret, its file read now.
///
/// # Errors
/// Io: the file cannot be read.
pub async fn reveal(secret: &Secret) -> Result<String> {
    http::reveal(secret).await
}

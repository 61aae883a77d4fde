//! HTTP clients by what they need: TLS settings, proxies, versions of HTTP. Requests with equal needs share one, with
//! its connections.

pub(super) mod tls;

use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};
use model::{Error, Result};
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, redirect};

use super::super::config::{ProxyOptions, Secret, TlsOptions};
use super::innermost;

/// Clients kept at most; beyond, all are made anew. A job needs one, or one per target with `server_name`.
const CLIENTS_MAX: usize = 10_000;

/// What a client is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) https: bool,
    pub(super) http2: bool,
    pub(super) proxy: ProxyOptions,
    pub(super) tls: TlsOptions,
    /// With `server_name`, the host that is really meant: the name is asked for and verified, the host connected to.
    pub(super) host: Option<String>,
}

/// When a file was written and how long it is.
type Stamp = Option<(SystemTime, u64)>;

#[derive(Debug)]
struct Cached {
    needs: Needs,
    /// Of the files that went into the client; when they change, it is built anew.
    stamps: Vec<Stamp>,
    client: Client,
}

/// Builds and keeps clients.
#[derive(Debug)]
pub(in super::super) struct Clients {
    user_agent: String,
    cached: Mutex<Vec<Cached>>,
}

impl Clients {
    pub(in super::super) fn new(version: &str) -> Self {
        Self { user_agent: format!("Taffrail/{version}"), cached: Mutex::new(Vec::new()) }
    }

    /// The client for requests with these needs.
    pub(super) fn get(&self, needs: &Needs) -> Result<Client> {
        let stamps = stamps(needs);
        if let Some(found) = self.cached.lock().iter().find(|c| c.needs == *needs)
            && found.stamps == stamps
        {
            return Ok(found.client.clone());
        }
        let client = self.build(needs)?;
        let mut cached = self.cached.lock();
        cached.retain(|c| c.needs != *needs);
        if cached.len() >= CLIENTS_MAX {
            cached.clear();
        }
        cached.push(Cached { needs: needs.clone(), stamps, client: client.clone() });
        Ok(client)
    }

    /// Forgets all clients.
    pub(in super::super) fn clear(&self) {
        self.cached.lock().clear();
    }

    fn build(&self, needs: &Needs) -> Result<Client> {
        let mut builder = Client::builder()
            .user_agent(&self.user_agent)
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true);
        if !needs.http2 {
            builder = builder.http1_only();
        }
        if let Some(host) = &needs.host {
            builder = builder.dns_resolver(Pinned { host: host.clone() });
        }
        builder = proxy(builder, &needs.proxy)?;
        builder = if needs.https {
            tls::configure(builder, &needs.tls, needs.http2)?
        } else {
            // Loading the machine's authorities costs time and memory that plain HTTP has no use for.
            builder.tls_certs_only([])
        };
        builder.build().map_err(|e| failed("build the HTTP client", &e))
    }
}

fn stamps(needs: &Needs) -> Vec<Stamp> {
    let tls = needs.tls.ca.iter().chain(needs.tls.client.iter().flat_map(|(c, k)| [c, k]));
    let proxy = needs.proxy.connect_headers.iter().map(|(_, value)| value);
    let paths = tls.chain(proxy).filter_map(|secret| match secret {
        Secret::File(path) => Some(path),
        Secret::Text(_) => None,
    });
    let stamp = |path: &std::path::PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    paths.map(stamp).collect()
}

fn read(secret: &Secret) -> Result<Vec<u8>> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|e| Error::io(format!("cannot read {}: {e}", path.display()), e))
    };
    match secret {
        Secret::Text(text) => Ok(text.clone().into_bytes()),
        Secret::File(path) => read(path),
    }
}

fn proxy(builder: ClientBuilder, options: &ProxyOptions) -> Result<ClientBuilder> {
    if options.from_environment {
        return Ok(builder);
    }
    let Some(url) = &options.url else { return Ok(builder.no_proxy()) };
    let mut headers = HeaderMap::new();
    for (name, value) in &options.connect_headers {
        let value = read(value)?;
        let bad = |_| Error::invalid(format!("proxy_connect_header {name:.200?} is not a header"));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad(()))?;
        headers.append(header, HeaderValue::from_bytes(value.trim_ascii()).map_err(|_| bad(()))?);
    }
    let proxy = Proxy::all(url).map_err(|e| failed("set up the proxy", &e))?;
    let proxy = proxy.no_proxy(NoProxy::from_string(&options.no_proxy));
    Ok(builder.proxy(if headers.is_empty() { proxy } else { proxy.headers(headers) }))
}

/// Resolves every name to the addresses of one host.
#[derive(Debug)]
struct Pinned {
    host: String,
}

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn failed(what: &str, error: &reqwest::Error) -> Error {
    Error::invalid(format!("cannot {what}: {}", innermost(error)))
}

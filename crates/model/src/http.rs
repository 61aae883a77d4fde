//! How an HTTP request is made, as configurations say it: credentials, proxy, TLS.
//!
//! Owns: these settings as plain data, shared by all that ask other servers (scraping and discovery, forwarding,
//! notifications), and [`Secret`]. Does not own: the clients that act on them (`collect`), nor reading them from YAML (the
//! binary). Source: the `http_config` of Prometheus and Alertmanager, which is one and the same.

use std::fmt;
use std::path::PathBuf;

/// A value that never shows in logs, or the file it is read from at each use.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The value itself.
    Text(String),
    /// A file whose trimmed content is the value.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("<secret>"),
            Self::File(path) => write!(f, "<secret in {}>", path.display()),
        }
    }
}

/// How requests are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// User name and password.
    pub basic_auth: Option<(Secret, Secret)>,
    /// Scheme (`Bearer`) and credentials of the `Authorization` header.
    pub authorization: Option<(String, Secret)>,
    /// Where to get a token for the `Authorization` header.
    pub oauth2: Option<Box<OAuth2>>,
    /// Whether to follow up to ten redirects.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be negotiated with HTTPS servers.
    pub enable_http2: bool,
    /// Headers added to each request.
    pub headers: Vec<(String, Secret)>,
    /// The way there.
    pub proxy: ProxyOptions,
    /// Verification of HTTPS servers.
    pub tls: TlsOptions,
}

impl HttpOptions {
    /// Requests as Prometheus makes them unless told otherwise.
    pub fn plain() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            follow_redirects: true,
            enable_http2: true,
            headers: Vec::new(),
            proxy: ProxyOptions::default(),
            tls: TlsOptions::default(),
        }
    }
}

/// Proxies; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyOptions {
    /// Proxy for all requests: `http`, `https` or `socks5`.
    pub url: Option<String>,
    /// Hosts, domains and networks to be reached without it, separated by commas.
    pub no_proxy: String,
    /// Whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the environment count.
    pub from_environment: bool,
    /// Headers for the proxy alone.
    pub connect_headers: Vec<(String, Secret)>,
}

/// Verification of HTTPS servers. PEM texts may come from files, which are read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The only authorities to trust.
    pub ca: Option<Secret>,
    /// The client's certificate chain and key.
    pub client: Option<(Secret, Secret)>,
    /// Name to ask for and to verify instead of the target's.
    pub server_name: Option<String>,
    /// Whether any certificate is taken.
    pub insecure_skip_verify: bool,
    /// Oldest version to accept; never older than 1.2.
    pub min_version: Option<TlsVersion>,
    /// Newest version to accept.
    pub max_version: Option<TlsVersion>,
}

/// Versions of TLS, in the words of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// `TLS10`
    Tls10,
    /// `TLS11`
    Tls11,
    /// `TLS12`
    Tls12,
    /// `TLS13`
    Tls13,
}

/// How OAuth 2.0 gives out tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    /// Who asks.
    pub client_id: String,
    /// The proof of the client credentials grant.
    pub client_secret: Secret,
    /// What the token is for.
    pub scopes: Vec<String>,
    /// Where tokens are.
    pub token_url: String,
    /// Further parameters of the request.
    pub endpoint_params: Vec<(String, String)>,
    /// Verification of the token's server.
    pub tls: TlsOptions,
    /// The way there.
    pub proxy: ProxyOptions,
    /// How the client proves who it is.
    pub grant: Grant,
}

/// Grants of OAuth 2.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// By the client's secret (RFC 6749, 4.4).
    ClientCredentials,
    /// By a token the client signs (RFC 7523, 2.1).
    Assertion(Assertion),
    /// One that cannot be asked for; requests fail and say so.
    Unknown(String),
}

/// What the client signs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assertion {
    /// RSA private key in PEM; without one requests fail and say so.
    pub key: Option<Secret>,
    /// Name of the key for the token's server; none if empty.
    pub key_id: String,
    /// How it is signed.
    pub algorithm: SignatureAlgorithm,
    /// Who issues it; the client if empty.
    pub issuer: String,
    /// Whom it is for; the token's URL if empty.
    pub audience: String,
    /// Further claims, which win over those always made.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

/// RSA signatures of PKCS #1, version 1.5.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// Over SHA-256.
    #[default]
    Rs256,
    /// Over SHA-384.
    Rs384,
    /// Over SHA-512.
    Rs512,
}

impl SignatureAlgorithm {
    /// The name in tokens and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }
}

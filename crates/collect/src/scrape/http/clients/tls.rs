//! TLS of requests: whose certificates are believed, which one is shown, which versions are spoken.
//!
//! Does not own reading the files, nor the clients the settings go into.

use std::sync::Arc;

use model::{Error, Result};
use reqwest::tls::Version;
use reqwest::{ClientBuilder, Identity};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use super::super::super::config::{TlsOptions, TlsVersion};
use super::{failed, read};

/// Sets up TLS for a client that needs it. HTTP/2 is offered with `http2`.
pub(super) fn configure(
    builder: ClientBuilder,
    options: &TlsOptions,
    http2: bool,
) -> Result<ClientBuilder> {
    let spoken = Spoken::new(options)?;
    let anchors = options.ca.as_ref().map(|ca| authorities(&read(ca)?)).transpose()?;
    let identity = match &options.client {
        Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
        None => None,
    };
    if let Some(anchors) = anchors
        && !options.insecure_skip_verify
    {
        let verifier = Arc::new(believing(anchors)?);
        let mut config = config(verifier, identity, &spoken.versions()?)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        return Ok(builder.tls_backend_preconfigured(config));
    }
    let mut builder = builder;
    if let Some((certificate, key)) = identity {
        let pem = [certificate, key].join(&b'\n');
        let identity =
            Identity::from_pem(&pem).map_err(|e| failed("read the client certificate", &e))?;
        builder = builder.identity(identity);
    }
    if !spoken.tls12 {
        builder = builder.tls_version_min(Version::TLS_1_3);
    }
    if !spoken.tls13 {
        builder = builder.tls_version_max(Version::TLS_1_2);
    }
    Ok(builder.tls_danger_accept_invalid_certs(options.insecure_skip_verify))
}

fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| Error::invalid(format!("cannot read the certificate authorities: {e}")))?;
    if found.is_empty() {
        return Err(Error::invalid("the certificate authorities' text has no certificate"));
    }
    Ok(found)
}

/// Settings for connections that speak something else than HTTP.
pub(in super::super) fn plain(options: &TlsOptions) -> Result<ClientConfig> {
    let identity = match &options.client {
        Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
        None => None,
    };
    let verifier: Arc<dyn ServerCertVerifier> = match &options.ca {
        _ if options.insecure_skip_verify => Arc::new(Anybody(ring::default_provider())),
        Some(ca) => Arc::new(believing(authorities(&read(ca)?)?)?),
        None => {
            let verifier = rustls_platform_verifier::Verifier::new(ring::default_provider().into());
            Arc::new(verifier.map_err(|e| {
                Error::invalid(format!("cannot load the machine's certificate authorities: {e}"))
            })?)
        }
    };
    config(verifier, identity, &Spoken::new(options)?.versions()?)
}

/// Versions of TLS that may be spoken.
struct Spoken {
    tls12: bool,
    tls13: bool,
}

impl Spoken {
    fn new(options: &TlsOptions) -> Result<Self> {
        let tls13 = match options.max_version {
            None | Some(TlsVersion::Tls13) => true,
            Some(TlsVersion::Tls12) => false,
            Some(TlsVersion::Tls10 | TlsVersion::Tls11) => {
                return Err(Error::invalid(
                    "max_version is below TLS 1.2, the oldest that is spoken",
                ));
            }
        };
        Ok(Self { tls12: options.min_version != Some(TlsVersion::Tls13), tls13 })
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>> {
        match (self.tls12, self.tls13) {
            (true, true) => Ok(vec![&rustls::version::TLS12, &rustls::version::TLS13]),
            (true, false) => Ok(vec![&rustls::version::TLS12]),
            (false, true) => Ok(vec![&rustls::version::TLS13]),
            (false, false) => Err(Error::invalid("min_version is above max_version")),
        }
    }
}

fn refused(what: &str, e: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("{what}: {e}"))
}

/// Believes `anchors` and nobody else.
fn believing(anchors: Vec<CertificateDer<'static>>) -> Result<Verifier> {
    let mut roots = RootCertStore::empty();
    for anchor in &anchors {
        let added = roots.add(anchor.clone());
        added.map_err(|e| refused("cannot read the certificate authorities", &e))?;
    }
    let chains = WebPkiServerVerifier::builder(Arc::new(roots))
        .build()
        .map_err(|e| refused("cannot use the certificate authorities", &e))?;
    Ok(Verifier { chains, anchors })
}

fn config(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_protocol_versions(versions)
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let what = "cannot read the client certificate";
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificate)
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| refused(what, &e))?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|e| refused("cannot read the client's key", &e))?;
    builder.with_client_auth_cert(chain, key).map_err(|e| refused(what, &e))
}

/// Believes everybody, as `insecure_skip_verify` asks.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, shown, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Believes chains that end in an anchor, and an anchor that is itself shown by the server: `openssl req -x509` makes
/// self-signed certificates that are authorities too, which a chain must not end with.
#[derive(Debug)]
struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    anchors: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        match self.chains.verify_server_cert(shown, intermediates, name, ocsp, now) {
            // What a certificate may be used for is looked at after its dates, so those are in order here.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.anchors.iter().any(|anchor| anchor == shown) =>
            {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, shown, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

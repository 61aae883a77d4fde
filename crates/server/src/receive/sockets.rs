//! Sockets of the receivers that are not HTTP: where each of them listens, in the clear, by TLS and by datagrams.
//!
//! Owns: binding them, certificates, and the socket options. Does not own: what is said over them.
//!
//! None of their protocols can carry one of our tokens. Whoever reaches a socket can write; certificates of clients can be
//! asked for, and Fluentd's shared key.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::{Error, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

use crate::Listener;

/// A silent peer is asked for a sign of life this often, so that connections of dead ones end.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Bytes of datagrams the kernel holds for us, as far as it allows.
const DATAGRAM_BYTES: usize = 4 << 20;

/// Where a receiver listens; nowhere by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Connections in the clear.
    pub tcp: Option<SocketAddr>,
    /// Connections by TLS.
    pub tls: Option<SocketAddr>,
    /// Datagrams.
    pub udp: Option<SocketAddr>,
}

/// Bound sockets of one receiver.
pub struct Sockets {
    pub(super) tcp: Option<Listener>,
    pub(super) tls: Option<(Listener, TlsAcceptor)>,
    pub(super) udp: Option<UdpSocket>,
}

impl Sockets {
    /// Binds `addresses`; `certificate` is for TLS.
    ///
    /// # Errors
    /// [`Io`](model::ErrorKind::Io) naming the address; [`Invalid`](model::ErrorKind::Invalid) for TLS without a
    /// certificate.
    pub async fn bind(
        addresses: &Addresses,
        certificate: Option<Arc<ServerConfig>>,
    ) -> Result<Self> {
        let mut sockets = Self { tcp: None, tls: None, udp: None };
        if let Some(address) = addresses.tcp {
            sockets.tcp = Some(Listener::bind(address).await?);
        }
        if let Some(address) = addresses.tls {
            let config = certificate
                .ok_or_else(|| Error::invalid(format!("TLS on {address} needs a certificate")))?;
            sockets.tls = Some((Listener::bind(address).await?, TlsAcceptor::from(config)));
        }
        if let Some(address) = addresses.udp {
            let failed = |e| Error::io(format!("receive datagrams on {address}"), e);
            let socket = UdpSocket::bind(address).await.map_err(failed)?;
            // Less than asked for is what the kernel's limit allows.
            let _best_effort = socket2::SockRef::from(&socket).set_recv_buffer_size(DATAGRAM_BYTES);
            sockets.udp = Some(socket);
        }
        Ok(sockets)
    }

    /// The addresses in use, with the real ports where port 0 was asked for.
    pub fn addresses(&self) -> Addresses {
        Addresses {
            tcp: self.tcp.as_ref().map(Listener::address),
            tls: self.tls.as_ref().map(|(listener, _)| listener.address()),
            udp: self.udp.as_ref().and_then(|socket| socket.local_addr().ok()),
        }
    }
}

/// What a server shows of itself by TLS: `certificate` (with those that lead to its authority) and `key`, both PEM. With
/// `authorities` only clients are let in that show a certificate of one of them.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) in words.
pub fn certificate(
    certificate: &[u8],
    key: &[u8],
    authorities: Option<&[u8]>,
) -> Result<Arc<ServerConfig>> {
    let chain = certificates(certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|e| Error::invalid(format!("cannot read the certificate's key: {e}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable =
        |e: &dyn std::fmt::Display| Error::invalid(format!("cannot use the certificate: {e}"));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(&e))?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(pem, "authorities of clients")? {
                roots.add(authority).map_err(|e| unusable(&e))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| unusable(&e))?)
        }
    };
    builder.with_single_cert(chain, key).map(Arc::new).map_err(|e| unusable(&e))
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| Error::invalid(format!("cannot read the {what}: {e}")))?;
    if found.is_empty() {
        return Err(Error::invalid(format!("the {what}: no certificate in the text")));
    }
    Ok(found)
}

/// Has the kernel find out when the peer is gone.
pub(super) fn keep_alive(stream: &TcpStream) {
    let every = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE);
    let _best_effort = socket2::SockRef::from(stream).set_tcp_keepalive(&every);
}

/// The peer's address as logs name it: an IPv4 address is one, also when it came by IPv6.
pub(super) fn spell(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

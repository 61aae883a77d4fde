//! `receive:` of `taffrail.yml`, as far as it is about receivers with sockets of their own: syslog, Fluentd's forward
//! protocol, Beats, GELF, Jaeger, Zipkin.
//!
//! They are off unless an address is named. Protocols other than HTTP and gRPC carry no tokens, so an address beyond
//! loopback is taken as it is written: whoever can reach it can write.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Deserialize;
use server::Access;
use server::receive::sockets::{self, Addresses};

use super::{ConfigError, Mistakes};

/// `receive.tls`: what these receivers show of themselves by TLS.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCertificate {
    /// File with the certificate and those that lead to its authority, PEM. Relative to this file.
    pub cert_file: PathBuf,
    /// File with its key, PEM.
    pub key_file: PathBuf,
    /// File with authorities, PEM; only clients that show a certificate of one of them are let in. Default: all are.
    pub client_ca_file: Option<PathBuf>,
}

/// `receive.syslog`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSyslog {
    /// Address for connections in the clear: `127.0.0.1:1514`.
    pub tcp: Option<String>,
    /// Address for connections by TLS; needs `receive.tls`.
    pub tls: Option<String>,
    /// Address for datagrams.
    pub udp: Option<String>,
    /// Zone of times that have none (RFC 3164): `Europe/Berlin`. Default: the machine's.
    pub time_zone: Option<String>,
}

/// `receive.fluent`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFluent {
    /// Address for connections in the clear, and for heartbeats in datagrams: `127.0.0.1:24224`.
    pub tcp: Option<String>,
    /// Address for connections by TLS; needs `receive.tls`.
    pub tls: Option<String>,
    /// File whose first line is the key that senders must know. Default: none is asked for.
    pub shared_key_file: Option<PathBuf>,
}

/// `receive.beats`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawBeats {
    /// Address for connections in the clear: `127.0.0.1:5044`.
    pub tcp: Option<String>,
    /// Address for connections by TLS; needs `receive.tls`.
    pub tls: Option<String>,
}

/// `receive.gelf`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawGelf {
    /// Address for connections in the clear: `127.0.0.1:12201`.
    pub tcp: Option<String>,
    /// Address for connections by TLS; needs `receive.tls`.
    pub tls: Option<String>,
    /// Address for datagrams.
    pub udp: Option<String>,
}

/// `receive.jaeger`; the paths and methods are served on the usual addresses, too.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawJaeger {
    /// Address of `POST /api/traces`, as of a collector: `127.0.0.1:14268`.
    pub thrift_http: Option<String>,
    /// Address of the collector's gRPC service: `127.0.0.1:14250`.
    pub grpc: Option<String>,
    /// Address for datagrams in compact Thrift, as of an agent: `127.0.0.1:6831`.
    pub thrift_compact: Option<String>,
    /// Address for datagrams in binary Thrift: `127.0.0.1:6832`.
    pub thrift_binary: Option<String>,
}

/// `receive.zipkin`; its paths are served on the usual address, too.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawZipkin {
    /// Address of `POST /api/v1/spans` and `POST /api/v2/spans`: `127.0.0.1:9411`.
    pub http: Option<String>,
}

/// Everything that was written.
pub(super) struct Written {
    pub(super) certificate: Option<RawCertificate>,
    pub(super) syslog: Option<RawSyslog>,
    pub(super) fluent: Option<RawFluent>,
    pub(super) beats: Option<RawBeats>,
    pub(super) gelf: Option<RawGelf>,
    pub(super) jaeger: Option<RawJaeger>,
    pub(super) zipkin: Option<RawZipkin>,
}

/// A certificate with its key, ready for TLS.
#[derive(Clone)]
pub struct Certificate {
    /// The settings of TLS.
    pub tls: Arc<rustls::ServerConfig>,
    /// Of the files, so that a change of them is noticed.
    checksum: u32,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(&self.checksum).finish()
    }
}

/// Receivers with sockets of their own.
#[derive(Debug, Clone, Default)]
pub struct SocketReceivers {
    /// For TLS.
    pub certificate: Option<Certificate>,
    /// Syslog.
    pub syslog: Option<Syslog>,
    /// Fluentd's forward protocol.
    pub fluent: Option<Fluent>,
    /// Where Beats send to.
    pub beats: Option<Addresses>,
    /// Where GELF comes.
    pub gelf: Option<Addresses>,
    /// Where Jaeger's clients send to.
    pub jaeger: Jaeger,
    /// Where Zipkin's clients send to, beside the usual address.
    pub zipkin: Option<SocketAddr>,
}

/// Where Jaeger's clients send to, beside the usual addresses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Jaeger {
    /// Batches over HTTP.
    pub thrift_http: Option<SocketAddr>,
    /// Batches over gRPC.
    pub grpc: Option<SocketAddr>,
    /// Datagrams in compact Thrift.
    pub thrift_compact: Option<SocketAddr>,
    /// Datagrams in binary Thrift.
    pub thrift_binary: Option<SocketAddr>,
}

/// Fluentd's forward protocol.
#[derive(Clone)]
pub struct Fluent {
    /// Where it listens.
    pub addresses: Addresses,
    /// The key that senders must know.
    pub shared_key: Option<Arc<str>>,
}

impl fmt::Debug for Fluent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.shared_key.as_ref().map(|key| crc32c::crc32c(key.as_bytes()));
        f.debug_tuple("Fluent").field(&self.addresses).field(&key).finish()
    }
}

/// Syslog.
#[derive(Debug, Clone)]
pub struct Syslog {
    /// Where it listens.
    pub addresses: Addresses,
    /// Zone of times that have none.
    pub zone: TimeZone,
}

/// Checks what was written; `base` is the directory of the file. Addresses of protocols that can carry tokens must not be
/// reachable from other machines while there are none.
pub(super) fn check(
    written: Written,
    access: &Access,
    base: &Path,
    mistakes: &Mistakes<'_>,
) -> Result<SocketReceivers, ConfigError> {
    let Written { certificate, syslog, fluent, beats, gelf, jaeger, zipkin } = written;
    let certificate = certificate.map(|raw| read_certificate(&raw, base, mistakes)).transpose()?;
    let has_certificate = certificate.is_some();
    let syslog = syslog
        .map(|raw| {
            let RawSyslog { tcp, tls, udp, time_zone } = raw;
            Ok(Syslog {
                addresses: addresses("syslog", [tcp, tls, udp], has_certificate, mistakes)?,
                zone: zone(time_zone.as_deref(), mistakes)?,
            })
        })
        .transpose()?;
    let fluent = fluent
        .map(|RawFluent { tcp, tls, shared_key_file }| {
            // Heartbeats come to the port of the connections.
            let udp = tcp.clone();
            let shared_key = shared_key_file.map(|file| read_key(&file, base, mistakes));
            Ok(Fluent {
                addresses: addresses("fluent", [tcp, tls, udp], has_certificate, mistakes)?,
                shared_key: shared_key.transpose()?,
            })
        })
        .transpose()?;
    let beats = beats
        .map(|RawBeats { tcp, tls }| {
            addresses("beats", [tcp, tls, None], has_certificate, mistakes)
        })
        .transpose()?;
    let gelf = gelf
        .map(|raw| addresses("gelf", [raw.tcp, raw.tls, raw.udp], has_certificate, mistakes))
        .transpose()?;
    let jaeger = jaeger.map(|raw| check_jaeger(raw, access, mistakes)).transpose()?;
    let zipkin = zipkin
        .map(|raw| match raw.http {
            Some(text) => guarded("receive.zipkin.http", &text, access, mistakes),
            None => Err(no_address("receive.zipkin", mistakes)),
        })
        .transpose()?;
    let jaeger = jaeger.unwrap_or_default();
    Ok(SocketReceivers { certificate, syslog, fluent, beats, gelf, jaeger, zipkin })
}

fn check_jaeger(
    raw: RawJaeger,
    access: &Access,
    mistakes: &Mistakes<'_>,
) -> Result<Jaeger, ConfigError> {
    let RawJaeger { thrift_http, grpc, thrift_compact, thrift_binary } = raw;
    if [&thrift_http, &grpc, &thrift_compact, &thrift_binary].iter().all(|a| a.is_none()) {
        return Err(no_address("receive.jaeger", mistakes));
    }
    let guarded = |name: &str, text: Option<String>| {
        let key = format!("receive.jaeger.{name}");
        text.map(|text| guarded(&key, &text, access, mistakes)).transpose()
    };
    let open = |name: &str, text: Option<String>| {
        let key = format!("receive.jaeger.{name}");
        text.map(|text| mistakes.address_of(&key, &text)).transpose()
    };
    Ok(Jaeger {
        thrift_http: guarded("thrift_http", thrift_http)?,
        grpc: guarded("grpc", grpc)?,
        thrift_compact: open("thrift_compact", thrift_compact)?,
        thrift_binary: open("thrift_binary", thrift_binary)?,
    })
}

fn no_address(key: &str, mistakes: &Mistakes<'_>) -> ConfigError {
    mistakes.error(key, format!("{key} names no address to listen on"))
}

/// An address of a protocol that can carry tokens: one that other machines can reach needs some.
pub(super) fn guarded(
    key: &str,
    text: &str,
    access: &Access,
    mistakes: &Mistakes<'_>,
) -> Result<SocketAddr, ConfigError> {
    let address = mistakes.address_of(key, text)?;
    if address.ip().is_loopback() || !access.tokens.is_empty() {
        return Ok(address);
    }
    let message = format!(
        "{key}: {address} is reachable from other machines, and without server.tokens everybody there could write; \
         add server.tokens, or use 127.0.0.1"
    );
    Err(mistakes.error(key, message))
}

fn read_key(file: &Path, base: &Path, mistakes: &Mistakes<'_>) -> Result<Arc<str>, ConfigError> {
    let key = "receive.fluent.shared_key_file";
    let file = base.join(file);
    let text = std::fs::read_to_string(&file)
        .map_err(|e| mistakes.error(key, format!("{key}: cannot read {}: {e}", file.display())))?;
    match text.lines().next().map(str::trim) {
        Some(secret) if !secret.is_empty() => Ok(Arc::from(secret)),
        _ => Err(mistakes.error(key, format!("{key}: {} holds no key", file.display()))),
    }
}

fn read_certificate(
    raw: &RawCertificate,
    base: &Path,
    mistakes: &Mistakes<'_>,
) -> Result<Certificate, ConfigError> {
    let read = |key: &str, file: &Path| {
        let key = format!("receive.tls.{key}");
        let file = base.join(file);
        std::fs::read(&file).map_err(|e| {
            mistakes.error(&key, format!("{key}: cannot read {}: {e}", file.display()))
        })
    };
    let (chain, key) = (read("cert_file", &raw.cert_file)?, read("key_file", &raw.key_file)?);
    let authorities =
        raw.client_ca_file.as_deref().map(|file| read("client_ca_file", file)).transpose()?;
    let tls = sockets::certificate(&chain, &key, authorities.as_deref())
        .map_err(|e| mistakes.error("receive.tls", format!("receive.tls: {}", e.message())))?;
    let files = [&chain, &key, authorities.as_deref().unwrap_or_default()];
    let checksum = files.iter().fold(0, |sum, file| crc32c::crc32c_append(sum, file));
    Ok(Certificate { tls, checksum })
}

/// Addresses for TCP, TLS and datagrams.
fn addresses(
    receiver: &str,
    [tcp, tls, udp]: [Option<String>; 3],
    has_certificate: bool,
    mistakes: &Mistakes<'_>,
) -> Result<Addresses, ConfigError> {
    let of = |name: &str, text: Option<String>| {
        let key = format!("receive.{receiver}.{name}");
        text.map(|text| mistakes.address_of(&key, &text)).transpose()
    };
    let addresses = Addresses { tcp: of("tcp", tcp)?, tls: of("tls", tls)?, udp: of("udp", udp)? };
    let key = format!("receive.{receiver}");
    if addresses == Addresses::default() {
        return Err(no_address(&key, mistakes));
    }
    if addresses.tls.is_some() && !has_certificate {
        let key = format!("{key}.tls");
        let message = format!("{key} needs receive.tls with cert_file and key_file");
        return Err(mistakes.error(&key, message));
    }
    Ok(addresses)
}

fn zone(name: Option<&str>, mistakes: &Mistakes<'_>) -> Result<TimeZone, ConfigError> {
    let Some(name) = name else { return Ok(TimeZone::system()) };
    TimeZone::get(name).map_err(|_| {
        let key = "receive.syslog.time_zone";
        let message = format!("{key}: {name:?} is not a time zone such as Europe/Berlin or UTC");
        mistakes.error(key, message)
    })
}

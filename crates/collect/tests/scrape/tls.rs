//! TLS: authorities, client certificates, names, versions, certificates that change.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use collect::scrape::{ScrapeJob, Secret, TlsVersion};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::scene::{Scene, TEXT, install_provider, patient_job};

/// Signs certificates for one test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        install_provider();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key for `name`, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn own(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![certificate.der().clone()], key)
    }

    pub(crate) fn server_config(&self, name: &str) -> ServerConfig {
        let (chain, key) = self.own(name);
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    /// As [`server_config`](Self::server_config), for clients of this authority only.
    fn mutual_config(&self, name: &str) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let (chain, key) = self.own(name);
        let builder = ServerConfig::builder().with_client_cert_verifier(verifier);
        builder.with_single_cert(chain, key).unwrap()
    }
}

pub(crate) async fn serve_tls(app: Router, config: ServerConfig) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(app.clone()));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                // A client may hang up at any time.
                if is_h2 {
                    let server = http2::Builder::new(TokioExecutor::new());
                    server.serve_connection(TokioIo::new(stream), service).await.ok();
                } else {
                    let server = http1::Builder::new();
                    server.serve_connection(TokioIo::new(stream), service).await.ok();
                }
            });
        }
    });
    address
}

/// Says which version of HTTP and which host it was asked with.
fn app() -> Router {
    let metrics = |request: Request| async move {
        let version = if request.version() == axum::http::Version::HTTP_2 { 2 } else { 1 };
        (TEXT, format!("http_version {version}\n"))
    };
    Router::new().route("/metrics", get(metrics))
}

fn secure(name: &str, address: &str, set: impl Fn(&mut ScrapeJob)) -> ScrapeJob {
    let mut job = patient_job(name, address);
    job.scheme = "https".to_owned();
    set(&mut job);
    job
}

fn text(pem: &str) -> Secret {
    Secret::Text(pem.to_owned())
}

#[tokio::test]
async fn servers_are_verified_as_configured() {
    let authority = Authority::new();
    let ca = authority.pem();
    let by_address = serve_tls(app(), authority.server_config("127.0.0.1")).await;
    let by_name = serve_tls(app(), authority.server_config("metrics.test")).await;
    let trusted = |job: &mut ScrapeJob| job.http.tls.ca = Some(text(&ca));
    let scene = Scene::start(vec![
        secure("trusted", &by_address, trusted),
        secure("http1", &by_address, |job| {
            trusted(job);
            job.http.enable_http2 = false;
        }),
        secure("stranger", &by_address, |job| {
            job.http.tls.ca = Some(text(&Authority::new().pem()));
        }),
        secure("careless", &by_name, |job| job.http.tls.insecure_skip_verify = true),
        secure("misnamed", &by_name, trusted),
        secure("named", &by_name, |job| {
            trusted(job);
            job.http.tls.server_name = Some("metrics.test".to_owned());
        }),
        secure("no certificates", &by_name, |job| job.http.tls.ca = Some(text("nothing"))),
    ]);
    for job in ["trusted", "http1", "careless", "named"] {
        scene.up(job).await;
    }
    assert_eq!(scene.value("http_version", "trusted"), Some(2.0));
    assert_eq!(scene.value("http_version", "http1"), Some(1.0));
    scene.fails("stranger", "certificate").await;
    scene.fails("misnamed", "certificate not valid for name").await;
    scene.fails("no certificates", "text has no certificate").await;
    scene.stop().await;
}

/// What `openssl req -x509` makes: a certificate that signed itself and calls itself an authority.
fn self_signed(name: &str, is_over: bool) -> (String, ServerConfig) {
    install_provider();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    if is_over {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let chain = vec![certificate.der().clone()];
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    (certificate.pem(), config.unwrap())
}

#[tokio::test]
async fn a_self_signed_server_may_be_named_as_its_own_authority() {
    let (pem, config) = self_signed("127.0.0.1", false);
    let own = serve_tls(app(), config).await;
    let (named_pem, config) = self_signed("metrics.test", false);
    let named = serve_tls(app(), config).await;
    let (over_pem, config) = self_signed("127.0.0.1", true);
    let over = serve_tls(app(), config).await;
    let job = |name: &str, server: &str, ca: &str| {
        secure(name, server, |job| job.http.tls.ca = Some(text(ca)))
    };
    let scene = Scene::start(vec![
        job("own", &own, &pem),
        job("one of many", &own, &format!("{named_pem}{pem}")),
        job("stranger", &own, &named_pem),
        job("misnamed", &named, &named_pem),
        job("over", &over, &over_pem),
    ]);
    scene.up("own").await;
    scene.up("one of many").await;
    scene.fails("stranger", "certificate").await;
    scene.fails("misnamed", "certificate not valid for name").await;
    scene.fails("over", "certificate expired").await;
    scene.stop().await;
}

#[tokio::test]
async fn clients_show_their_certificate() {
    let authority = Authority::new();
    let server = serve_tls(app(), authority.mutual_config("127.0.0.1")).await;
    let (certificate, key) = authority.issue("scraper");
    let dir = tempfile::tempdir().unwrap();
    let files = [dir.path().join("cert.pem"), dir.path().join("key.pem")];
    // At first the wrong pair lies there.
    let (wrong_certificate, wrong_key) = Authority::new().issue("scraper");
    std::fs::write(&files[0], wrong_certificate).unwrap();
    std::fs::write(&files[1], wrong_key).unwrap();
    let with = |name: &str, client| {
        secure(name, &server, |job| job.http.tls.ca = Some(text(&authority.pem())))
            .with_client(client)
    };
    let scene = Scene::start(vec![
        with("inline", Some((text(&certificate), text(&key)))),
        with("files", Some((Secret::File(files[0].clone()), Secret::File(files[1].clone())))),
        with("none", None),
    ]);
    scene.up("inline").await;
    scene.fails("none", "cannot").await;
    scene.fails("files", "cannot").await;
    std::fs::write(&files[0], &certificate).unwrap();
    std::fs::write(&files[1], &key).unwrap();
    scene.up("files").await;
    scene.stop().await;
}

trait WithClient {
    fn with_client(self, client: Option<(Secret, Secret)>) -> Self;
}

impl WithClient for ScrapeJob {
    fn with_client(mut self, client: Option<(Secret, Secret)>) -> Self {
        self.http.tls.client = client;
        self
    }
}

#[tokio::test]
async fn versions_have_bounds() {
    let authority = Authority::new();
    let (chain, key) = authority.own("127.0.0.1");
    let old = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let server = serve_tls(app(), old).await;
    let between = |name: &str, min, max| {
        secure(name, &server, |job| {
            job.http.tls.ca = Some(text(&authority.pem()));
            (job.http.tls.min_version, job.http.tls.max_version) = (min, max);
        })
    };
    let scene = Scene::start(vec![
        between("any", None, None),
        between("old", Some(TlsVersion::Tls10), Some(TlsVersion::Tls12)),
        between("new", Some(TlsVersion::Tls13), None),
        between("ancient", None, Some(TlsVersion::Tls11)),
    ]);
    scene.up("any").await;
    scene.up("old").await;
    scene.fails("new", "cannot connect").await;
    scene.fails("ancient", "max_version is below TLS 1.2, the oldest that is spoken").await;
    scene.stop().await;
}

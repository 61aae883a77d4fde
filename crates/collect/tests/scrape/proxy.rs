//! Proxies: for plain requests, tunnels for HTTPS, exceptions, headers of their own.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use collect::scrape::{ProxyOptions, Secret};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::scene::{Scene, TEXT, patient_job, serve};
use crate::tls::{Authority, serve_tls};

#[tokio::test]
async fn plain_requests_go_to_the_proxy_unless_excepted() {
    let direct =
        serve(Router::new().route("/metrics", get(|| async { (TEXT, "proxied 0\n") }))).await;
    let proxy = serve(Router::new().fallback(|request: Request| async move {
        assert_eq!(request.uri().authority().map(|a| a.as_str()), Some("metrics.test:81"));
        (TEXT, "proxied 1\n")
    }))
    .await;
    let options = ProxyOptions {
        url: Some(format!("http://{proxy}")),
        no_proxy: "example.org,127.0.0.1".to_owned(),
        ..ProxyOptions::default()
    };
    let through = |name: &str, address: &str| {
        let mut job = patient_job(name, address);
        job.http.proxy = options.clone();
        job
    };
    let scene =
        Scene::start(vec![through("through", "metrics.test:81"), through("around", &direct)]);
    scene.up("through").await;
    scene.up("around").await;
    assert_eq!(scene.value("proxied", "through"), Some(1.0));
    assert_eq!(scene.value("proxied", "around"), Some(0.0));
    scene.stop().await;
}

/// A proxy that knows `CONNECT` alone, tunnels to `target` whatever was asked for, and notes the requests.
async fn tunnel(target: String, asked: Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (target, asked) = (target.clone(), Arc::clone(&asked));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                asked.lock().push(String::from_utf8(head).unwrap().to_ascii_lowercase());
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut server = TcpStream::connect(target).await.unwrap();
                // Either side may hang up first.
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    address
}

#[tokio::test]
async fn https_goes_through_a_tunnel() {
    let authority = Authority::new();
    let app = Router::new().route("/metrics", get(|| async { (TEXT, "a 1\n") }));
    let server = serve_tls(app, authority.server_config("metrics.test")).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let proxy = tunnel(server, Arc::clone(&asked)).await;
    let mut job = patient_job("tunnel", "metrics.test:8443");
    job.scheme = "https".to_owned();
    job.http.tls.ca = Some(Secret::Text(authority.pem()));
    job.http.proxy = ProxyOptions {
        url: Some(format!("http://{proxy}")),
        connect_headers: vec![("X-Gate".to_owned(), Secret::Text("7".to_owned()))],
        ..ProxyOptions::default()
    };
    let scene = Scene::start(vec![job]);
    scene.up("tunnel").await;
    let first = asked.lock()[0].clone();
    assert!(first.starts_with("connect metrics.test:8443 http/1.1\r\n"), "{first}");
    assert!(first.contains("\r\nx-gate: 7\r\n"), "{first}");
    scene.stop().await;
}

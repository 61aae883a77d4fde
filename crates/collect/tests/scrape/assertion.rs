//! The OAuth 2.0 grant for a signed assertion, against a token's server that checks the signature.
//!
//! The keys `rsa.*.pem` are one key in two envelopes, made for these tests and used nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use collect::scrape::{
    Assertion, Grant, OAuth2, ProxyOptions, ScrapeJob, Secret, SignatureAlgorithm, TlsOptions,
};
use rcgen::PublicKeyData as _;
use rustls::SignatureScheme;
use serde_json::{Value, json};

use crate::scene::{Scene, TEXT, patient_job, serve};

const PKCS1: &str = include_str!("rsa.pkcs1.pem");
const PKCS8: &str = include_str!("rsa.pkcs8.pem");

/// Header and claims of a token that the key's owner signed.
fn verified(token: &str) -> (Value, Value) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let [head, claims] =
        [head, claims].map(|part| serde_json::from_slice::<Value>(&decode(part)).unwrap());
    let scheme = match head["alg"].as_str().unwrap() {
        "RS256" => SignatureScheme::RSA_PKCS1_SHA256,
        "RS384" => SignatureScheme::RSA_PKCS1_SHA384,
        "RS512" => SignatureScheme::RSA_PKCS1_SHA512,
        other => panic!("{other}"),
    };
    let provider = rustls::crypto::ring::default_provider();
    let mapping = provider.signature_verification_algorithms.mapping;
    let (_, algorithms) = mapping.iter().find(|(known, _)| *known == scheme).unwrap();
    let key = rcgen::KeyPair::from_pem(PKCS8).unwrap();
    let verify = |message: &str| {
        algorithms[0].verify_signature(key.der_bytes(), message.as_bytes(), &decode(signature))
    };
    verify(signed).unwrap();
    verify(&signed[1..]).unwrap_err();
    (head, claims)
}

fn with(name: &str, address: &str, assertion: Assertion) -> ScrapeJob {
    let mut job = patient_job(name, address);
    job.http.oauth2 = Some(Box::new(OAuth2 {
        client_id: "client".to_owned(),
        client_secret: Secret::Text("not sent".to_owned()),
        scopes: vec!["read".to_owned(), "more".to_owned()],
        token_url: format!("http://{address}/{name}"),
        endpoint_params: vec![("resource".to_owned(), "r/1".to_owned())],
        tls: TlsOptions::default(),
        proxy: ProxyOptions::default(),
        grant: Grant::Assertion(assertion),
    }));
    job
}

/// A token's server that is content with the claims `expected`, beyond times and identifier.
fn tokens(expected: Value, asked: &Arc<AtomicU32>) -> axum::routing::MethodRouter {
    let asked = Arc::clone(asked);
    post(move |headers: HeaderMap, body: String| async move {
        assert!(!headers.contains_key(header::AUTHORIZATION) && !body.contains("not"), "{body}");
        let form: Vec<_> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let [(grant, jwt_bearer), (assertion, token), parameter] = &form[..] else {
            panic!("{form:?}");
        };
        assert_eq!((grant.as_str(), assertion.as_str()), ("grant_type", "assertion"));
        assert_eq!(jwt_bearer, "urn:ietf:params:oauth:grant-type:jwt-bearer");
        assert_eq!(*parameter, ("resource".to_owned(), "r/1".to_owned()));
        let (head, mut claims) = verified(token);
        let claims = claims.as_object_mut().unwrap();
        let [iat, exp] = ["iat", "exp"].map(|name| claims.remove(name).unwrap().as_i64().unwrap());
        assert_eq!((exp - iat, iat > 1_600_000_000), (600, true));
        assert_eq!(claims.remove("jti").unwrap().as_str().map(str::len), Some(36));
        let token_url = format!("http://{}/plain", headers[header::HOST].to_str().unwrap());
        if claims["aud"] == token_url.as_str() {
            claims["aud"] = json!("<token_url>");
        }
        assert_eq!(json!({"head": head, "claims": claims}), expected);
        asked.fetch_add(1, Ordering::SeqCst);
        ([(header::CONTENT_TYPE, "application/json")], r#"{"access_token":"t","expires_in":3600}"#)
            .into_response()
    })
}

#[tokio::test]
async fn assertions_are_signed_and_their_tokens_kept() {
    let asked = [(); 3].map(|()| Arc::new(AtomicU32::new(0)));
    let metrics = get(|headers: HeaderMap| async move {
        match headers.get(header::AUTHORIZATION).is_some_and(|v| v == "Bearer t") {
            true => (TEXT, "a 1\n").into_response(),
            false => StatusCode::UNAUTHORIZED.into_response(),
        }
    });
    let plain = json!({"head": {"alg": "RS256", "typ": "JWT"}, "claims": {
        "iss": "client", "sub": "client", "aud": "<token_url>", "scope": "read more"}});
    let whole = json!({"head": {"alg": "RS384", "typ": "JWT", "kid": "k"}, "claims": {
        "iss": "me", "sub": "someone", "aud": "you", "scope": "read more", "n": 1}});
    let file = json!({"head": {"alg": "RS512", "typ": "JWT"}, "claims": {
        "iss": "client", "sub": "client", "aud": "you", "scope": "read more"}});
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    std::fs::write(&path, PKCS1).unwrap();
    let denied =
        (StatusCode::BAD_REQUEST, r#"{"error":"invalid_grant","error_description":"unknown kid"}"#);
    let app = Router::new()
        .route("/metrics", metrics)
        .route("/plain", tokens(plain, &asked[0]))
        .route("/whole", tokens(whole, &asked[1]))
        .route("/file", tokens(file, &asked[2]))
        .route("/denied", post(move || async move { denied }));
    let address = serve(app).await;
    let inline = || Some(Secret::Text(PKCS8.to_owned()));
    let scene = Scene::start(vec![
        with("plain", &address, Assertion { key: inline(), ..Assertion::default() }),
        with(
            "whole",
            &address,
            Assertion {
                key: inline(),
                key_id: "k".to_owned(),
                algorithm: SignatureAlgorithm::Rs384,
                issuer: "me".to_owned(),
                audience: "you".to_owned(),
                claims: json!({"sub": "someone", "n": 1}).as_object().cloned().unwrap(),
            },
        ),
        with(
            "file",
            &address,
            Assertion {
                key: Some(Secret::File(path)),
                algorithm: SignatureAlgorithm::Rs512,
                audience: "you".to_owned(),
                ..Assertion::default()
            },
        ),
        with("denied", &address, Assertion { key: inline(), ..Assertion::default() }),
        with("keyless", &address, Assertion::default()),
    ]);
    for job in ["plain", "whole", "file"] {
        scene.up(job).await;
    }
    scene
        .table
        .until("a third scrape", || {
            let batches = scene.table.batches();
            batches.iter().filter(|b| b.source.contains("/plain/")).count() >= 3
        })
        .await;
    assert_eq!(asked.map(|n| n.load(Ordering::SeqCst)), [1, 1, 1]);
    scene.fails("denied", "HTTP status 400 Bad Request: invalid_grant: unknown kid").await;
    scene
        .fails("keyless", "client_certificate_key or client_certificate_key_file is missing")
        .await;
    scene.stop().await;
}

//! Credentials: every way to give them, OAuth 2.0, and what redirects do to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use collect::scrape::{Grant, OAuth2, ProxyOptions, ScrapeJob, Secret, TlsOptions};

use crate::scene::{Scene, TEXT, patient_job, serve};

fn text(secret: &str) -> Secret {
    Secret::Text(secret.to_owned())
}

/// Answers only to the header it wants.
fn guarded(wanted: &'static str) -> axum::routing::MethodRouter {
    get(move |headers: HeaderMap| async move {
        let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        if given == Some(wanted) {
            (TEXT, "a 1\n").into_response()
        } else {
            StatusCode::UNAUTHORIZED.into_response()
        }
    })
}

fn at(path: &str, address: &str, set: impl Fn(&mut ScrapeJob)) -> ScrapeJob {
    let mut job = patient_job(path, address);
    job.metrics_path = format!("/{path}");
    set(&mut job);
    job
}

#[tokio::test]
async fn credentials_reach_the_target() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "from a file\n").unwrap();
    let headers = get(|headers: HeaderMap| async move {
        let all: Vec<_> = headers.get_all("x-tenant").iter().collect();
        assert_eq!(all, ["a", "from a file"]);
        (TEXT, "a 1\n")
    });
    let app = Router::new()
        .route("/basic", guarded("Basic dTpmcm9tIGEgZmlsZQ=="))
        .route("/bearer", guarded("Bearer from a file"))
        .route("/other", guarded("Token t"))
        .route("/headers", headers);
    let address = serve(app).await;
    let scene = Scene::start(vec![
        at("basic", &address, |job| {
            job.http.basic_auth = Some((text("u"), Secret::File(file.clone())));
        }),
        at("bearer", &address, |job| {
            job.http.authorization = Some(("Bearer".to_owned(), Secret::File(file.clone())));
        }),
        at("other", &address, |job| {
            job.http.authorization = Some(("Token".to_owned(), text("t")));
        }),
        at("headers", &address, |job| {
            job.http.headers = vec![
                ("X-Tenant".to_owned(), text("a")),
                ("X-Tenant".to_owned(), Secret::File(file.clone())),
            ];
        }),
        ScrapeJob { job_name: "none".to_owned(), ..at("basic", &address, |_| {}) },
        ScrapeJob {
            job_name: "no file".to_owned(),
            ..at("bearer", &address, |job| {
                let missing = Secret::File("/missing/secret".into());
                job.http.authorization = Some(("Bearer".to_owned(), missing));
            })
        },
    ]);
    for job in ["basic", "bearer", "other", "headers"] {
        scene.up(job).await;
    }
    scene.fails("none", "server returned HTTP status 401 Unauthorized").await;
    scene.fails("no file", "cannot read secret file /missing/secret: No such file").await;
    scene.stop().await;
}

/// A token's server that takes the credentials in one place only.
fn tokens(in_body: bool, expires_in: u32, asked: &Arc<AtomicU32>) -> axum::routing::MethodRouter {
    let asked = Arc::clone(asked);
    post(move |headers: HeaderMap, body: String| async move {
        let has_header =
            headers.get("authorization").is_some_and(|v| v == "Basic aWQlMkYxOnMlMjZ0");
        let has_body = body.contains("client_id=id%2F1&client_secret=s%26t");
        if (in_body && !has_body) || (!in_body && !has_header) {
            return (StatusCode::UNAUTHORIZED, "who?").into_response();
        }
        assert!(
            body.starts_with("grant_type=client_credentials&scope=read+more&audience=x"),
            "{body}"
        );
        let n = asked.fetch_add(1, Ordering::SeqCst);
        let answer =
            format!(r#"{{"access_token":"t{n}","token_type":"bearer","expires_in":{expires_in}}}"#);
        ([(header::CONTENT_TYPE, "application/json")], answer).into_response()
    })
}

fn oauth2(token_url: String) -> Option<Box<OAuth2>> {
    Some(Box::new(OAuth2 {
        client_id: "id/1".to_owned(),
        client_secret: text("s&t"),
        scopes: vec!["read".to_owned(), "more".to_owned()],
        token_url,
        endpoint_params: vec![("audience".to_owned(), "x".to_owned())],
        tls: TlsOptions::default(),
        proxy: ProxyOptions::default(),
        grant: Grant::ClientCredentials,
    }))
}

#[tokio::test]
async fn oauth2_tokens_are_fetched_kept_and_renewed() {
    let [kept, renewed, body] = [(); 3].map(|()| Arc::new(AtomicU32::new(0)));
    let bearer = |headers: HeaderMap| async move {
        let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let Some(n) = given.and_then(|v| v.strip_prefix("Bearer t")) else {
            return StatusCode::UNAUTHORIZED.into_response();
        };
        (TEXT, format!("token {n}\n")).into_response()
    };
    let app = Router::new()
        .route("/metrics", get(bearer))
        .route("/kept", tokens(false, 3600, &kept))
        .route("/renewed", tokens(false, 5, &renewed))
        .route("/body", tokens(true, 3600, &body))
        .route("/refused", post(|| async { (StatusCode::FORBIDDEN, "no") }))
        .route("/odd", post(|| async { "[]" }));
    let address = serve(app).await;
    let with = |name: &str| {
        let mut job = patient_job(name, &address);
        job.http.oauth2 = oauth2(format!("http://{address}/{name}"));
        job
    };
    let mut foreign = with("grant");
    foreign.http.oauth2.as_mut().unwrap().grant = Grant::Unknown("jwt".to_owned());
    let scene = Scene::start(vec![
        with("kept"),
        with("renewed"),
        with("body"),
        with("refused"),
        with("odd"),
        foreign,
    ]);
    for job in ["kept", "body"] {
        scene.up(job).await;
    }
    // Tokens of five seconds end within the leeway, so that each scrape asks anew.
    scene.table.until("a third token", || scene.value("token", "renewed") >= Some(2.0)).await;
    scene
        .table
        .until("a third scrape", || {
            let batches = scene.table.batches();
            batches.iter().filter(|b| b.source.contains("/kept/")).count() >= 3
        })
        .await;
    assert_eq!([&kept, &body].map(|n| n.load(Ordering::SeqCst)), [1, 1]);
    scene.fails("refused", "oauth2: the token's server returned HTTP status 403 Forbidden").await;
    scene.fails("odd", "oauth2: the answer of the token's server has no access_token").await;
    scene.fails("grant", "oauth2: the grant_type jwt is not supported").await;
    scene.stop().await;
}

#[tokio::test]
async fn redirects_are_followed_without_the_credentials_of_another_host() {
    async fn bare(headers: HeaderMap) -> Response {
        let leaks = headers.contains_key("authorization") || headers.contains_key("x-key");
        let has_rest = headers.contains_key("x-prometheus-scrape-timeout-seconds");
        (TEXT, format!("leaks {}\nrest {}\n", u8::from(leaks), u8::from(has_rest))).into_response()
    }
    let other = serve(Router::new().route("/bare", get(bare))).await;
    let elsewhere = format!("http://{}/bare", other.replace("127.0.0.1", "localhost"));
    let app = Router::new()
        .route("/bare", get(bare))
        .route("/elsewhere", get(move || async move { Redirect::permanent(&elsewhere) }))
        .route("/here", get(|| async { Redirect::to("bare") }))
        .route("/circle", get(|| async { Redirect::temporary("/circle") }))
        .route("/odd", get(|| async { (StatusCode::FOUND, [("location", "ftp://x/")]) }));
    let address = serve(app).await;
    let with = |name: &str| {
        at(name, &address, |job| {
            job.http.authorization = Some(("Bearer".to_owned(), text("t")));
            job.http.headers = vec![("X-Key".to_owned(), text("k"))];
        })
    };
    let mut stays = with("here");
    stays.job_name = "stays".to_owned();
    stays.http.follow_redirects = false;
    let scene =
        Scene::start(vec![with("elsewhere"), with("here"), with("circle"), with("odd"), stays]);
    scene.up("elsewhere").await;
    scene.up("here").await;
    assert_eq!(
        (scene.value("leaks", "elsewhere"), scene.value("rest", "elsewhere")),
        (Some(0.0), Some(1.0))
    );
    assert_eq!(scene.value("leaks", "here"), Some(1.0));
    scene.fails("circle", "more than 10 redirects").await;
    scene.fails("odd", "cannot follow the redirect of").await;
    scene.fails("stays", "server returned HTTP status 303 See Other").await;
    scene.stop().await;
}

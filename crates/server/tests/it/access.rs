//! The authorisation matrix: every route of the table against every kind of caller.

use axum::body::Body;
use http::Request;
use server::{ROUTE_COUNT_MAX, Role, RouteInfo, route_list, router};

use crate::table::{app, open_access, token_access};
use crate::{ask, get};

const CALLERS: [(&str, Option<Role>); 6] = [
    ("", None),
    ("Bearer wrong-0123456789", None),
    ("Bearer viewer-0123456789", Some(Role::Viewer)),
    ("Bearer editor-0123456789", Some(Role::Editor)),
    ("Bearer admin-0123456789", Some(Role::Admin)),
    ("Bearer ingest-0123456789", Some(Role::Ingest)),
];

#[tokio::test]
async fn every_route_holds_its_role() {
    let router = router(&app(token_access()));
    let routes: Vec<_> = route_list().collect();
    assert!(routes.len() > 30 && routes.len() <= ROUTE_COUNT_MAX, "{}", routes.len());
    let (mut cells, mut skipped) = (0, 0);
    for route in &routes {
        let path = route.path.replace("{name}", "job").replace("{*group}", "some_job");
        // What follows such a path is part of it.
        let is_open_ended = route.path.ends_with("{*group}");
        for spelled in [path.clone(), format!("{path}/"), path.replacen('/', "//", 1)] {
            // A route that is there with a slash more, or has an index without a name here.
            let same = |other: &RouteInfo| other.path.replace("{index}", "") == spelled;
            let is_another = spelled != path && routes.iter().any(same);
            if (is_open_ended && spelled.ends_with('/')) || is_another {
                skipped += 1;
                continue;
            }
            for (authorization, role) in CALLERS {
                let mut request = Request::builder()
                    .method(route.method)
                    .uri(&spelled)
                    .header("host", "localhost");
                if !authorization.is_empty() {
                    request = request.header("authorization", authorization);
                }
                let (status, _, body) = ask(&router, request.body(Body::empty()).unwrap()).await;
                let may =
                    route.role == Role::Open || role.is_some_and(|role| role.allows(route.role));
                let what =
                    format!("{} {spelled} as {authorization:?}: {status} {body:.60}", route.method);
                if spelled == path {
                    let refused = matches!(status.as_u16(), 401 | 403);
                    assert_eq!(refused, !may, "{what}");
                } else {
                    // Other spellings are no routes: pages or nothing, never data.
                    assert!(body.contains("<html") || status.as_u16() == 404, "{what}");
                }
                cells += 1;
            }
        }
    }
    // Those that are open-ended, `/elasticsearch/`, and `//_bulk` by two methods.
    let open_ended = routes.iter().filter(|r| r.path.ends_with("{*group}")).count();
    assert_eq!(skipped, open_ended + 3);
    assert_eq!(cells, (routes.len() * 3 - skipped) * CALLERS.len());
}

#[tokio::test]
async fn wrong_methods_are_refused() {
    let router = router(&app(open_access()));
    for (method, path, expected, allow) in [
        ("GET", "/-/reload", 405, "POST,PUT"),
        ("PUT", "/api/v1/query", 405, "GET,HEAD,POST"),
        ("DELETE", "/api/v1/series", 405, "GET,HEAD,POST"),
        ("POST", "/api/taffrail/v1/status", 405, "GET,HEAD"),
        ("HEAD", "/api/v1/write", 405, "POST"),
        ("GET", "/metrics/job/x", 405, "PUT,POST,DELETE"),
        // RFC 9110, 9.3.2: as GET, without the content.
        ("HEAD", "/api/taffrail/v1/status", 200, ""),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .body(Body::empty())
            .unwrap();
        let (status, headers, body) = ask(&router, request).await;
        let allowed = headers.get("allow").map_or("", |v| v.to_str().unwrap());
        assert_eq!((status.as_u16(), allowed), (expected, allow), "{method} {path}");
        assert!(body.is_empty(), "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn other_pages_in_the_browser_reach_nothing() {
    let router = router(&app(open_access()));
    for path in ["/api/v1/query?query=up", "/", "/assets/x.js", "/metrics"] {
        let request =
            Request::get(path).header("host", "rebound.example").body(Body::empty()).unwrap();
        assert_eq!(ask(&router, request).await.0, 421, "{path}");
    }
    let reload = Request::post("/-/reload")
        .header("host", "localhost")
        .header("origin", "https://evil.example")
        .body(Body::empty())
        .unwrap();
    assert_eq!(ask(&router, reload).await.0, 403);
    let tail = Request::get("/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D")
        .header("host", "localhost")
        .header("origin", "https://evil.example");
    assert_eq!(ask(&router, tail.body(Body::empty()).unwrap()).await.0, 403);
}

#[tokio::test]
async fn pages_come_with_a_fresh_strict_policy() {
    let router = router(&app(open_access()));
    let (status, first, _) = get(&router, "/containers/web").await;
    let (_, second, _) = get(&router, "/").await;
    assert_eq!(status, 200);
    let policy = first["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self' 'nonce-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"));
    assert_ne!(policy, second["content-security-policy"].to_str().unwrap());
    assert_eq!(first["x-content-type-options"], "nosniff");
}

//! Tenants: lines belong to the one a request names or its token is of, and nobody else sees them.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use futures_util::StreamExt as _;
use http::Request;
use model::{Labels, LogRecord};
use serde_json::{Value, json};
use server::{Access, Listener, Role, Tenant, Tenants, Token, route_list, router, serve};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_util::sync::CancellationToken;

use crate::ask;
use crate::stored::Stored;
use crate::table::{NOW_MS, app_over, app_storing, open_access};

/// Access with tenants by header, and a token of tenant `a` for each role.
fn access(default: Option<&str>) -> Access {
    let tenants = Tenants { from_header: true, default: default.map(|n| Tenant::new(n).unwrap()) };
    let token = |role: Role| {
        Token::new(&format!("{}-of-a-0123456789", role.as_str()), role)
            .of_tenant(Tenant::new("a").unwrap())
    };
    Access { tenants, tokens: [Role::Admin, Role::Viewer].map(token).to_vec(), ..open_access() }
}

struct Server(Router);

impl Server {
    fn new(access: Access) -> (Self, Arc<Stored>) {
        let stored = Arc::new(Stored::default());
        (Self(router(&app_storing(access, stored.clone()).0)), stored)
    }

    /// Status and body of a request of `who`: `""`, a header's value, or `token …`.
    async fn send(&self, who: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        request = match who.strip_prefix("token ") {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None if who.is_empty() => request,
            None => request.header("x-scope-orgid", who),
        };
        if method == "POST" {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let (status, _, body) = ask(&self.0, request).await;
        (status.as_u16(), body)
    }

    async fn push(&self, who: &str, line: &str) -> (u16, String) {
        let t_ns = (NOW_MS - 5_000) * 1_000_000;
        let streams =
            json!([{"stream": {"app": "x", "tenant": "b"}, "values": [[t_ns.to_string(), line]]}]);
        self.send(who, "POST", "/loki/api/v1/push", &json!({"streams": streams}).to_string()).await
    }

    async fn json(&self, who: &str, path: &str) -> Value {
        let (status, body) = self.send(who, "GET", path, "").await;
        assert_eq!(status, 200, "{who} {path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The lines a query finds, in order.
    async fn lines(&self, who: &str, selector: &str) -> String {
        let query: String = form_urlencoded::byte_serialize(selector.as_bytes()).collect();
        let path = format!("/loki/api/v1/query_range?direction=forward&query={query}");
        let answer = self.json(who, &path).await;
        let streams = answer["data"]["result"].as_array().unwrap();
        let entries = streams.iter().flat_map(|s| s["values"].as_array().unwrap());
        let mut lines: Vec<&str> = entries.map(|v| v[1].as_str().unwrap()).collect();
        lines.sort_unstable();
        lines.join(" ")
    }
}

#[tokio::test]
async fn lines_are_seen_by_their_tenant_alone() {
    let (server, stored) = Server::new(access(None));
    for (who, line) in [("a", "of-a"), ("b", "of-b"), ("token admin-of-a-0123456789", "by-token")] {
        assert_eq!(server.push(who, line).await, (204, String::new()), "{who}");
    }
    // What a client says of the label does not count.
    let tenants: Vec<String> =
        stored.lines.lock().iter().map(|l| l.stream.get("tenant").unwrap().to_owned()).collect();
    assert_eq!(tenants, ["a", "b", "a"]);
    for (who, selector, expected) in [
        ("a", "{app=\"x\"}", "by-token of-a"),
        ("b", "{app=\"x\"}", "of-b"),
        ("c", "{app=\"x\"}", ""),
        ("a|b", "{app=\"x\"}", "by-token of-a of-b"),
        ("a|b", "{app=\"x\", __tenant_id__=~\"b|c\"}", "of-b"),
        ("a", "{app=\"x\", tenant=\"b\"}", ""),
        ("token viewer-of-a-0123456789", "{app=\"x\"}", "by-token of-a"),
    ] {
        assert_eq!(server.lines(who, selector).await, expected, "{who} {selector}");
    }
    let ask = async |who: &str, path: &str| server.json(who, path).await;
    assert_eq!(ask("b", "/loki/api/v1/label/tenant/values").await["data"], json!(["b"]));
    assert_eq!(ask("c", "/loki/api/v1/labels").await["data"], json!([]));
    assert_eq!(ask("c", "/loki/api/v1/series").await["data"], json!([]));
    let query = "query=%7Bapp%3D%22x%22%7D";
    assert_eq!(ask("b", &format!("/loki/api/v1/index/stats?{query}")).await["entries"], 1);
    let volume = ask("c", &format!("/loki/api/v1/index/volume?{query}")).await;
    assert_eq!(volume["data"]["result"], json!([]));
    assert_eq!(ask("c", "/loki/api/v1/detected_labels").await["detectedLabels"], json!([]));
    let patterns = ask("b", &format!("/loki/api/v1/patterns?{query}")).await;
    assert_eq!(patterns["data"].as_array().unwrap().len(), 1, "{patterns}");
    let count = "query=sum(count_over_time(%7Bapp%3D%22x%22%7D[1h]))";
    let counted = ask("b", &format!("/loki/api/v1/query?{count}")).await;
    assert_eq!(counted["data"]["result"][0]["value"][1], "1");
}

#[tokio::test]
async fn requests_that_do_not_say_whose_they_are_get_lokis_words() {
    let (server, stored) = Server::new(access(None));
    let path = "/loki/api/v1/labels";
    for (who, method, path, status, words) in [
        ("", "GET", path, 401, "no org id"),
        ("", "POST", "/loki/api/v1/push", 401, "no org id"),
        ("a|b", "POST", "/loki/api/v1/push", 400, "multiple org IDs present"),
        (
            "a|b",
            "GET",
            "/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D",
            400,
            "multiple org IDs present",
        ),
        ("a/b", "GET", path, 400, "tenant ID 'a/b' contains unsupported character '/'"),
        ("..", "GET", path, 400, "tenant ID is '.' or '..'"),
    ] {
        let (got, body) = server.send(who, method, path, "{}").await;
        assert_eq!((got, body.trim_end()), (status, words), "{who:?} {method} {path}");
    }
    let foreign = Request::get(path)
        .header("host", "localhost")
        .header("authorization", "Bearer viewer-of-a-0123456789")
        .header("x-scope-orgid", "b");
    let (status, _, body) = ask(&server.0, foreign.body(Body::empty()).unwrap()).await;
    assert_eq!(status, 403, "{body}");
    assert!(stored.lines.lock().is_empty());
}

/// Routes of Loki that say nothing of lines, and are for all.
const OF_ALL: [&str; 8] = [
    "/format_query",
    "/rules",
    "/rules/{namespace}",
    "/rules/{namespace}/{group}",
    "/drilldown-limits",
    "/buildinfo",
    "/api/v1/alerts",
    "/logs/retention",
];

#[tokio::test]
async fn every_route_of_lines_asks_for_the_tenant() {
    let (server, _) = Server::new(access(None));
    let mut asked = 0;
    for route in route_list() {
        let is_of_lines = ["/loki/", "/api/prom/", "/elasticsearch/_bulk", "/insert/", "/upload"]
            .iter()
            .any(|prefix| route.path.starts_with(prefix))
            || [
                "/v1/logs",
                "/_bulk",
                "/_doc",
                "/_create/{id}",
                "/_doc/{id}",
                "/logs/context",
                "/logs/patterns",
                "/traces/{id}/logs",
            ]
            .iter()
            .any(|suffix| route.path.ends_with(suffix));
        if !is_of_lines || OF_ALL.iter().any(|suffix| route.path.ends_with(suffix)) {
            continue;
        }
        let (status, body) = server.send("", route.method, route.path, "").await;
        assert_eq!((status, body.trim_end()), (401, "no org id"), "{route:?}");
        asked += 1;
    }
    assert!(asked > 50, "{asked}");
}

#[tokio::test]
async fn the_default_is_of_those_who_say_nothing() {
    let (server, stored) = Server::new(access(Some("ops")));
    assert_eq!(server.push("", "of-ops").await.0, 204);
    assert_eq!(server.push("b", "of-b").await.0, 204);
    stored.lines.lock().push(LogRecord {
        stream: Labels::from_pairs([("app", "x")]),
        t_ns: (NOW_MS - 4_000) * 1_000_000,
        line: "collected".into(),
        fields: Labels::default(),
    });
    assert_eq!(server.lines("", "{app=\"x\"}").await, "collected of-ops");
    assert_eq!(server.lines("ops", "{app=\"x\"}").await, "collected of-ops");
    assert_eq!(server.lines("ops|b", "{app=\"x\"}").await, "collected of-b of-ops");
    assert_eq!(server.lines("b", "{app=\"x\"}").await, "of-b");
}

#[tokio::test]
async fn without_tenants_the_header_means_nothing_but_tokens_hold() {
    let mut access = access(None);
    access.tenants = Tenants::default();
    let (server, stored) = Server::new(access);
    assert_eq!(server.push("a", "one").await.0, 204);
    assert_eq!(stored.lines.lock()[0].stream.get("tenant"), Some("b"));
    assert_eq!(server.push("token admin-of-a-0123456789", "two").await.0, 204);
    assert_eq!(server.lines("c|../", "{app=\"x\"}").await, "one two");
    assert_eq!(server.lines("token viewer-of-a-0123456789", "{app=\"x\"}").await, "two");
    // What looks at all streams is not for such a token.
    for of in ["logs", "traces"] {
        let path = format!("/api/taffrail/v1/{of}/retention");
        let (status, body) = server.send("token viewer-of-a-0123456789", "GET", &path, "").await;
        assert_eq!(status, 403, "{body}");
    }
}

#[tokio::test]
async fn deletions_are_of_their_tenant() {
    let (server, _) = Server::new(access(None));
    let path = "/loki/api/v1/delete";
    let made = format!("{path}?query=%7Bapp%3D%22x%22%7D%20%7C%3D%20%22y%22&start=1");
    assert_eq!(server.send("a", "PUT", &made, "").await, (204, String::new()));
    assert_eq!(server.send("a|b", "PUT", &made, "").await.0, 400);
    let listed = server.json("a", path).await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["query"], "{app=\"x\"} |= \"y\"");
    assert_eq!(server.json("b", path).await, json!([]));
    let id = listed[0]["request_id"].as_str().unwrap();
    let cancel = format!("{path}?request_id={id}");
    assert_eq!(server.send("b", "DELETE", &cancel, "").await.0, 404);
    assert_eq!(server.send("a", "DELETE", &cancel, "").await.0, 204);
}

#[tokio::test]
async fn tails_show_lines_of_their_tenant() {
    let sink = Arc::new(Stored::default());
    let (app, hub) = app_storing(access(None), sink);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, router(&app), 16, stop.clone()));
    let url = format!("ws://{address}/loki/api/v1/tail?query=%7Bapp%3D%22x%22%7D");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("x-scope-orgid", "a".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let record = |tenant: &str| LogRecord {
        stream: Labels::from_pairs([("app", "x"), ("tenant", tenant)]),
        t_ns: NOW_MS * 1_000_000,
        line: format!("of-{tenant}"),
        fields: Labels::default(),
    };
    // It listens once its handshake is through and its history read.
    while !hub.has_listeners() {
        tokio::task::yield_now().await;
    }
    hub.publish(Arc::new([record("b"), record("a"), record("")].into_iter().collect()));
    let text = loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            break text.to_string();
        }
    };
    assert!(text.contains("of-a") && !text.contains("of-b"), "{text}");
    hub.stop();
    stop.cancel();
    while let Some(Ok(_)) = socket.next().await {}
    server.await.unwrap();
}

#[tokio::test]
async fn other_receivers_mark_their_lines_too() {
    let kept = Arc::new(crate::table::Kept::default());
    let files = Arc::new(crate::table::Files::default());
    let (app, _) = app_over(access(None), kept.clone(), files);
    let server = Server(router(&app));
    let bulk = "{\"index\":{}}\n{\"message\":\"m\"}\n";
    let otlp = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"timeUnixNano": "1435781455000000000", "body": {"stringValue": "m"}}]}]}]});
    let journal = "__REALTIME_TIMESTAMP=1435781455000000\nMESSAGE=m\n\n";
    for (path, body) in [
        ("/logs/_bulk", bulk.to_owned()),
        ("/logs/_doc", "{\"message\":\"m\"}".to_owned()),
        ("/v1/logs", otlp.to_string()),
        ("/insert/jsonline", "{\"_msg\":\"m\"}\n".to_owned()),
    ] {
        let (status, answer) = server.send("b", "POST", path, &body).await;
        assert!(status < 300, "{path}: {status} {answer}");
    }
    let request = Request::post("/upload").header("host", "localhost").header("x-scope-orgid", "b");
    assert_eq!(ask(&server.0, request.body(Body::from(journal)).unwrap()).await.0, 202);
    let batches = kept.1.lock();
    assert_eq!(batches.len(), 5);
    for batch in &*batches {
        for row in batch.rows.iter() {
            assert_eq!(row.stream.get("tenant"), Some("b"), "{}", batch.source);
        }
    }
}

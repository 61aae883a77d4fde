//! Answers byte for byte where clients depend on them, and errors in each API's own form.

use axum::body::Body;
use http::Request;
use server::router;

use crate::table::{NOW_MS, app, open_access};
use crate::{ask, get};

/// Asks and compares status and body.
async fn check(path: &str, status: u16, body: &str) {
    let router = router(&app(open_access()));
    let (got, headers, text) = get(&router, path).await;
    assert_eq!((got.as_u16(), text.as_str()), (status, body), "{path}");
    let kind = headers["content-type"].to_str().unwrap();
    assert!(
        if body.starts_with('{') {
            kind == "application/json"
        } else {
            kind.starts_with("text/plain")
        },
        "{path}: {kind}"
    );
}

#[tokio::test]
async fn prometheus_queries() {
    check(
        "/api/v1/query?query=up%7Bjob%3D%22node%22%7D&time=2015-07-01T20:10:51.781Z",
        200,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"localhost:9091","job":"node"},"value":[1435781451.781,"1"]}]}}"#,
    )
    .await;
    check(
        "/api/v1/query?query=1%2B1",
        200,
        &format!(
            r#"{{"status":"success","data":{{"resultType":"scalar","result":[{},"2"]}}}}"#,
            NOW_MS / 1000
        ),
    )
    .await;
    for (time, shown) in [("1.5", "1.5"), ("0.05", "0.05"), ("-1.25", "-1.25"), ("1.123", "1.123")]
    {
        check(
            &format!("/api/v1/query?query=2&time={time}"),
            200,
            &format!(
                r#"{{"status":"success","data":{{"resultType":"scalar","result":[{shown},"2"]}}}}"#
            ),
        )
        .await;
    }
    check(
        "/api/v1/query_range?query=up%7Bjob%3D%22node%22%7D&start=1435781430&end=1435781460&step=15s",
        200,
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","instance":"localhost:9091","job":"node"},"values":[[1435781430,"1"],[1435781445,"1"],[1435781460,"1"]]}]}}"#,
    )
    .await;
    check("/api/v1/label/job/values", 200, r#"{"status":"success","data":["node","prometheus"]}"#)
        .await;
    check(
        "/api/v1/label/U__http_2e_status__code/values",
        200,
        r#"{"status":"success","data":["404"]}"#,
    )
    .await;
    check(
        "/api/v1/labels?match[]=foo",
        200,
        r#"{"status":"success","data":["__name__","http.status_code","http_status_code"]}"#,
    )
    .await;
    check(
        "/api/v1/series?match[]=up&limit=1",
        200,
        r#"{"status":"success","data":[{"__name__":"up","instance":"localhost:9090","job":"prometheus"}],"warnings":["results truncated due to limit"]}"#,
    )
    .await;
    check("/api/v1/metadata?metric=http_requests_total", 200, r#"{"status":"success","data":{"http_requests_total":[{"type":"counter","help":"Number of HTTP requests","unit":""},{"type":"counter","help":"Amount of HTTP requests","unit":""}]}}"#).await;
}

#[tokio::test]
async fn prometheus_errors() {
    let bad =
        |error: &str| format!(r#"{{"status":"error","errorType":"bad_data","error":{error:?}}}"#);
    check("/api/v1/series", 400, &bad("no match[] parameter provided")).await;
    check(
        "/api/v1/query?query=up&time=abc",
        400,
        &bad("invalid parameter \"time\": invalid time value for 'time': cannot parse \"abc\" to a valid timestamp"),
    )
    .await;
    check(
        "/api/v1/query_range?query=up&start=2&end=1&step=1",
        400,
        &bad("invalid parameter \"end\": end timestamp must not be before start time"),
    )
    .await;
    check(
        "/api/v1/query_range?query=up&start=1&end=2&step=0",
        400,
        &bad("invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"),
    )
    .await;
    check(
        "/api/v1/query_range?query=up&start=0&end=1000000&step=1",
        400,
        &bad("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"),
    )
    .await;
    let router = router(&app(open_access()));
    let (status, _, body) = get(&router, "/api/v1/query?query=sum((up)").await;
    assert_eq!(status, 400);
    assert!(
        body.contains(r#"invalid parameter \"query\": 1:"#) && body.contains("parse error"),
        "{body}"
    );
}

#[tokio::test]
async fn a_query_that_the_data_makes_impossible_is_an_execution_error() {
    for (query, status) in [
        ("label_replace(up,%22x%22,%22%22,%22job%22,%22(%22)", 422),
        ("up[5m]", 400),
        ("rate(up)", 400),
    ] {
        for path in [
            format!("/api/v1/query_range?query={query}&start=1&end=2&step=1"),
            format!("/api/v1/query?query={query}"),
        ] {
            if query == "up[5m]" && !path.contains("query_range") {
                continue;
            }
            let kind = if status == 422 { "execution" } else { "bad_data" };
            let (got, _, body) = get(&router(&app(open_access())), &path).await;
            assert_eq!(got, status, "{path}: {body}");
            assert!(body.contains(&format!(r#""errorType":"{kind}""#)), "{path}: {body}");
        }
    }
}

#[tokio::test]
async fn forms_are_read_like_query_strings() {
    let router = router(&app(open_access()));
    let request = Request::post("/api/v1/query?time=1435781451.781")
        .header("host", "localhost")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("query=up%7Bjob%3D%22node%22%7D"))
        .unwrap();
    let (status, _, body) = ask(&router, request).await;
    assert_eq!(status, 200);
    assert!(body.contains("1435781451.781"), "{body}");
    let huge = Request::post("/api/v1/query")
        .header("host", "localhost")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(vec![b'a'; 2 << 20]))
        .unwrap();
    assert_eq!(ask(&router, huge).await.0, 413);
}

#[tokio::test]
async fn loki_queries_and_errors() {
    let router = router(&app(open_access()));
    let end = NOW_MS * 1_000_000;
    let path =
        format!("/loki/api/v1/query_range?query=%7Bcontainer%3D%22web%22%7D&end={end}&limit=2");
    let (status, _, body) = get(&router, &path).await;
    assert_eq!(status, 200, "{body}");
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["data"]["resultType"], "streams");
    assert_eq!(json["data"]["result"][0]["stream"]["container"], "web");
    assert_eq!(
        json["data"]["result"][0]["values"][0],
        serde_json::json!(["1435781459000000000", "line 9"])
    );
    assert_eq!(json["data"]["result"][0]["values"].as_array().unwrap().len(), 2);
    assert!(json["data"]["stats"]["summary"]["totalLinesProcessed"].as_u64().unwrap() >= 2);

    // What Grafana asks when a Loki data source is saved.
    let (status, _, body) = get(&router, "/loki/api/v1/query?direction=backward&query=vector(1)%2Bvector(1)&time=1435781460000000000").await;
    assert_eq!(status, 200, "{body}");
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["data"]["resultType"], "vector");
    assert_eq!(json["data"]["result"][0]["value"][1], "2");
    let (status, _, body) = get(&router, "/loki/api/v1/labels").await;
    assert_eq!(
        (status.as_u16(), body.as_str()),
        (200, r#"{"data":["container","stream"],"status":"success"}"#)
    );
    let (status, _, body) = get(&router, "/loki/api/v1/status/buildinfo").await;
    assert_eq!(status, 200);
    assert!(body.starts_with('{') && body.contains("\"version\""), "{body}");

    for (path, part) in [
        ("/loki/api/v1/query_range?query=%7B", "parse error at line 1, col"),
        (
            "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&limit=6000",
            "max entries limit per query exceeded",
        ),
        (
            "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&start=5&end=4",
            "end timestamp must not be before",
        ),
        (
            "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&direction=sideways",
            "invalid direction",
        ),
    ] {
        let (status, headers, body) = get(&router, path).await;
        assert_eq!(status, 400, "{path}");
        assert!(
            body.contains(part)
                && headers["content-type"].to_str().unwrap().starts_with("text/plain"),
            "{path}: {body}"
        );
    }
}

#[tokio::test]
async fn targets_containers_and_figures() {
    let router = router(&app(open_access()));
    let (_, _, body) = get(&router, "/api/v1/targets").await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["data"]["activeTargets"][0]["lastScrape"], "2015-07-01T20:11:00Z");
    assert_eq!(json["data"]["droppedTargetCounts"]["node"], 1);
    let (_, _, body) = get(&router, "/api/v1/targets?state=active&scrapePool=none").await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (
            json["data"]["activeTargets"].as_array().unwrap().len(),
            json["data"]["droppedTargets"].as_array().unwrap().len()
        ),
        (0, 0)
    );
    let (_, _, body) = get(&router, "/api/taffrail/v1/containers").await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&json["containers"][0]["name"], &json["containers"][0]["memoryLimitBytes"]),
        (&"web".into(), &serde_json::Value::Null)
    );
    let (_, _, body) = get(&router, "/metrics").await;
    assert!(body.contains("# TYPE a_total counter\na_total{b=\"\\\"\"} 1\n"), "{body}");
    assert!(body.contains("taffrail_http_requests_total{handler=\"/api/v1/targets\",method=\"GET\",code=\"2xx\"} 2"), "{body}");
    let (status, _, body) = get(&router, "/api/v1/no_such_thing").await;
    assert_eq!((status.as_u16(), body.as_str()), (404, "404 page not found\n"));
}

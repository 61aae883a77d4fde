//! Prometheus' API beyond queries: limits, statistics, federation, remote read, compression, administration, cardinality.

use std::io::Read as _;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use server::router;
use tower::ServiceExt as _;

use crate::table::{NOW_MS, app, open_access};
use crate::{ask, get};

async fn json_of(path: &str) -> Value {
    let (status, _, body) = get(&router(&app(open_access())), path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn limits_and_statistics() {
    let answer = json_of("/api/v1/query?query=up&limit=1&stats=all").await;
    assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(answer["warnings"], json!(["results truncated due to limit"]));
    assert!(answer["data"]["stats"]["samples"]["samplesRead"].as_u64().unwrap() > 0);
    assert!(answer["data"]["stats"]["timings"]["execTotalTime"].is_number());
    assert!(json_of("/api/v1/query?query=up").await["data"].get("stats").is_none());
    let answer = json_of("/api/v1/query?query=1&stats=yes").await;
    assert_eq!(answer["warnings"].as_array().unwrap().len(), 1);
    for (path, error) in [
        (
            "/api/v1/query?query=up&limit=x",
            "invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "/api/v1/query?query=up&limit=-1",
            "invalid parameter \"limit\": limit must be non-negative",
        ),
        (
            "/api/v1/query?query=up&timeout=x",
            "invalid parameter \"timeout\": cannot parse \"x\" to a valid duration",
        ),
        (
            "/api/v1/query?query=up&lookback_delta=x",
            "error parsing lookback delta duration: cannot parse \"x\" to a valid duration",
        ),
        ("/api/v1/rules?type=foo", "invalid parameter \"type\": not supported value \"foo\""),
        ("/api/v1/metadata?limit=x", "limit must be a number"),
        ("/api/v1/status/tsdb?limit=0", "limit must be a positive number"),
        ("/api/v1/status/tsdb?limit=10001", "limit must not exceed 10000"),
        ("/api/v1/targets/relabel_steps", "no scrapePool parameter provided"),
        (
            "/api/v1/scrape_pools/config?scrapePool=none",
            "error getting scrape config: scrape pool \"none\" not found",
        ),
    ] {
        let (status, _, body) = get(&router(&app(open_access())), path).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status.as_u16(), body["error"].as_str().unwrap()), (400, error), "{path}");
    }
}

#[tokio::test]
async fn large_answers_are_compressed_in_pieces() {
    let path = "/api/v1/query_range?query=up&start=1435780860&end=1435781460&step=0.1";
    let plain = get(&router(&app(open_access())), path).await.2;
    assert!(plain.len() > 64 << 10, "{}", plain.len());
    for coding in ["gzip", "zstd"] {
        let request =
            Request::get(path).header("host", "localhost").header("accept-encoding", coding);
        let request = request.body(Body::empty()).unwrap();
        let response = router(&app(open_access())).oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], coding);
        assert_eq!(response.headers()["vary"], "Accept-Encoding");
        assert!(!response.headers().contains_key("content-length"));
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert!(bytes.len() < plain.len() / 5);
        let mut text = String::new();
        if coding == "gzip" {
            flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        } else {
            zstd::stream::read::Decoder::new(&bytes[..])
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
        }
        assert_eq!(text, plain);
    }
}

#[tokio::test]
async fn other_origins_ask_first() {
    let request = Request::options("/api/v1/query")
        .header("host", "localhost")
        .header("origin", "https://dashboards.example")
        .body(Body::empty())
        .unwrap();
    let (status, headers, _) = ask(&router(&app(open_access())), request).await;
    assert_eq!(status, 204);
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(headers["access-control-allow-methods"], "GET, POST, OPTIONS");
    let (_, headers, _) = get(&router(&app(open_access())), "/api/v1/query?query=1").await;
    assert!(!headers.contains_key("access-control-allow-origin"));
    let request = Request::head("/api/v1/query?query=1").header("host", "localhost");
    let (status, headers, body) =
        ask(&router(&app(open_access())), request.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status.as_u16(), &headers["content-type"], &*body),
        (200, &"application/json".parse().unwrap(), "")
    );
}

#[tokio::test]
async fn federation_in_both_formats() {
    let path = "/federate?match[]=up&match[]=%7Bjob=%22node%22%7D&match[]=foo";
    let (status, headers, body) = get(&router(&app(open_access())), path).await;
    assert_eq!(status, 200);
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert_eq!(
        body,
        format!(
            "# TYPE foo untyped\nfoo{{http_status_code=\"404\",http_status_code=\"200\",instance=\"\",site=\"a\"}} 1 {NOW_MS}\n\
             # TYPE up untyped\nup{{instance=\"localhost:9090\",job=\"prometheus\",site=\"a\"}} 1 {NOW_MS}\n\
             up{{instance=\"localhost:9091\",job=\"node\",site=\"a\"}} 1 {NOW_MS}\n"
        )
        .replace("http_status_code=\"404\"", "http_status_code=\"404\"")
    );
    let request = Request::get(path).header("host", "localhost").header(
        "accept",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    );
    let response =
        router(&app(open_access())).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let mut families = ingest::protobuf::Delimited::new(&bytes);
    let mut names = Vec::new();
    while let Some(mut family) = families.next_message().unwrap() {
        while let Some(field) = family.next_field().unwrap() {
            if field.number == 1 {
                names.push(field.text().unwrap().to_owned());
            }
        }
    }
    assert_eq!(names, ["foo", "up"]);
    let (status, _, _) = get(&router(&app(open_access())), "/federate?match[]=%7B").await;
    assert_eq!(status, 400);
}

/// A request for `up` in the last minute, of one matcher, in the wire format.
fn read_request(response_types: &[u8]) -> Vec<u8> {
    let text =
        |field: u8, text: &str| [&[field << 3 | 2, text.len() as u8], text.as_bytes()].concat();
    let varint = |mut n: u64| {
        let mut out = Vec::new();
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out
    };
    let matcher = [text(2, "__name__"), text(3, "up")].concat();
    let query = [
        vec![1 << 3],
        varint((NOW_MS - 60_000) as u64),
        vec![2 << 3],
        varint(NOW_MS as u64),
        vec![3 << 3 | 2, matcher.len() as u8],
        matcher,
    ]
    .concat();
    let mut request = [vec![1 << 3 | 2, query.len() as u8], query].concat();
    response_types.iter().for_each(|t| request.extend([2 << 3, *t]));
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

async fn read(body: Vec<u8>) -> (u16, String, Vec<u8>) {
    let request = Request::post("/api/v1/read").header("host", "localhost").body(Body::from(body));
    let response = router(&app(open_access())).oneshot(request.unwrap()).await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let status = response.status().as_u16();
    (status, kind, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn remote_read_in_both_forms() {
    let (status, kind, body) = read(read_request(&[])).await;
    assert_eq!((status, &*kind), (200, "application/x-protobuf"));
    let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let count =
        |needle: &str| message.windows(needle.len()).filter(|w| *w == needle.as_bytes()).count();
    assert_eq!((count("localhost:909"), count("site")), (2, 2));

    let (status, kind, body) = read(read_request(&[1, 0])).await;
    assert_eq!(status, 200);
    assert_eq!(kind, "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
    let mut rest = &body[..];
    let mut frames = 0;
    while let [low, after @ ..] = rest {
        let (length, after) = if *low < 0x80 {
            (usize::from(*low), after)
        } else {
            (usize::from(*low & 0x7f) | usize::from(after[0]) << 7, &after[1..])
        };
        let (crc, after) = after.split_at(4);
        let (frame, after) = after.split_at(length);
        assert_eq!(crc, crc32c::crc32c(frame).to_be_bytes());
        (rest, frames) = (after, frames + 1);
    }
    assert_eq!(frames, 2);

    assert_eq!(read(read_request(&[9])).await.0, 400);
    assert_eq!(read(b"nonsense".to_vec()).await.0, 400);
}

#[tokio::test]
async fn administration_is_off_unless_configured() {
    let post =
        |path: &str| Request::post(path).header("host", "localhost").body(Body::empty()).unwrap();
    let on = router(&app(open_access()));
    assert_eq!(ask(&on, post("/api/v1/admin/tsdb/delete_series?match[]=up")).await.0, 204);
    assert_eq!(ask(&on, post("/api/v1/admin/tsdb/delete_series")).await.0, 400);
    assert_eq!(ask(&on, post("/api/v1/admin/tsdb/clean_tombstones")).await.0, 204);
    let (_, _, body) = ask(&on, post("/api/v1/admin/tsdb/snapshot?skip_head=true")).await;
    assert_eq!(body, r#"{"status":"success","data":{"name":"20150701T201100Z-parts"}}"#);
    let off = router(&crate::table::app_without_admin());
    let (status, _, body) = ask(&off, post("/api/v1/admin/tsdb/snapshot")).await;
    assert_eq!(
        (status.as_u16(), &*body),
        (503, r#"{"status":"error","errorType":"unavailable","error":"admin APIs disabled"}"#)
    );
}

#[tokio::test]
async fn cardinality_and_what_a_drop_would_break() {
    let answer = json_of("/api/taffrail/v1/cardinality?limit=2").await;
    assert_eq!((&answer["series"], &answer["metrics"][0]["name"]), (&json!(7), &json!("up")));
    assert_eq!(answer["metrics"].as_array().unwrap().len(), 2);
    assert_eq!(answer["labels"][0]["name"], "__name__");
    assert_eq!(answer["churn"].as_array().unwrap().len(), 3);
    assert_eq!(answer["newPerHour"], 0.0);
    let answer = json_of("/api/taffrail/v1/cardinality/drop?match[]=up%7Bjob=%22node%22%7D").await;
    assert_eq!((&answer["series"], &answer["rules"][0]["name"]), (&json!(1), &json!("job:up:sum")));
    let answer = json_of("/api/taffrail/v1/cardinality/drop?match[]=foo").await;
    assert_eq!((&answer["rules"], &answer["dashboards"]), (&json!([]), &Value::Null));
    for path in ["/api/taffrail/v1/cardinality/drop", "/api/taffrail/v1/cardinality?start=5&end=4"]
    {
        assert_eq!(get(&router(&app(open_access())), path).await.0, 400, "{path}");
    }
}

proptest! {
    #[test]
    fn noise_as_a_read_request_is_refused_or_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        server::fuzzing::read_request(&bytes);
    }
}

//! Loki's API beside queries: volumes, fields, patterns, deletions, the calls of its first clients.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use server::router;

use crate::table::{NOW_MS, app, app_without_admin, open_access};
use crate::{ask, get};

const WEB: &str = "query=%7Bcontainer%3D%22web%22%7D";

async fn json_of(path: &str) -> Value {
    let router = router(&app(open_access()));
    let (status, _, body) = get(&router, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn entries_say_where_labels_come_from_when_asked() {
    let router = router(&app(open_access()));
    let path =
        format!("/loki/api/v1/query_range?{WEB}%20%7C%20pattern%20%22line%20%3Cn%3E%22&limit=1");
    let plain: Value = serde_json::from_str(&get(&router, &path).await.2).unwrap();
    let result = &plain["data"]["result"][0];
    assert_eq!(result["stream"], json!({"container": "web", "stream": "stdout", "n": "9"}));
    assert_eq!(result["values"][0], json!(["1435781459000000000", "line 9"]));
    let request = Request::get(&path)
        .header("host", "localhost")
        .header("x-loki-response-encoding-flags", "categorize-labels")
        .body(Body::empty())
        .unwrap();
    let told: Value = serde_json::from_str(&ask(&router, request).await.2).unwrap();
    assert_eq!(told["data"]["encodingFlags"], json!(["categorize-labels"]));
    let result = &told["data"]["result"][0];
    assert_eq!(result["stream"], json!({"container": "web", "stream": "stdout"}));
    let entry = json!(["1435781459000000000", "line 9", {"parsed": {"n": "9"}}]);
    assert_eq!(result["values"][0], entry);
    assert_eq!(told["data"]["stats"]["summary"]["totalEntriesReturned"], 1);
}

#[tokio::test]
async fn intervals_thin_out_entries_and_instants_have_none() {
    let answer = json_of(&format!("/loki/api/v1/query_range?{WEB}&interval=3s")).await;
    let values = answer["data"]["result"][0]["values"].as_array().unwrap();
    let lines: Vec<&str> = values.iter().map(|v| v[1].as_str().unwrap()).collect();
    assert_eq!(lines, ["line 9", "line 6", "line 3", "line 0"]);
    let router = router(&app(open_access()));
    for (path, part) in [
        (format!("/loki/api/v1/query?{WEB}"), "log queries are not supported as an instant query"),
        (format!("/loki/api/v1/query_range?{WEB}&interval=x"), "\"interval\""),
        (format!("/loki/api/v1/index/volume?{WEB}&aggregateBy=x"), "aggregation option"),
        ("/loki/api/v1/index/stats?query=x".to_owned(), "parse error"),
        (format!("/loki/api/v1/tail?{WEB}&delay_for=6"), "delay_for can't be greater than 5"),
        (format!("/loki/api/v1/detected_fields?{WEB}&limit=100000"), "limit is 100000"),
    ] {
        let (status, _, body) = get(&router, &path).await;
        assert_eq!(status, 400, "{path}");
        assert!(body.contains(part), "{path}: {body}");
    }
}

#[tokio::test]
async fn volumes_and_statistics_of_the_index() {
    let stats = json_of(&format!("/loki/api/v1/index/stats?{WEB}")).await;
    assert_eq!(stats, json!({"streams": 1, "chunks": 1, "bytes": 60, "entries": 10}));
    let volume = json_of(&format!("/loki/api/v1/index/volume?{WEB}&targetLabels=stream")).await;
    assert_eq!(volume["data"]["resultType"], "vector");
    let of_stream =
        json!({"metric": {"stream": "stdout"}, "value": [NOW_MS as f64 / 1000.0, "60"]});
    assert_eq!(volume["data"]["result"], json!([of_stream]));
    let volume = json_of(&format!("/loki/api/v1/index/volume?{WEB}&aggregateBy=labels")).await;
    assert_eq!(volume["data"]["result"][0]["metric"], json!({"container": ""}));
    let volume = json_of(&format!("/loki/api/v1/index/volume_range?{WEB}&since=10s&step=5s")).await;
    assert_eq!(volume["data"]["resultType"], "matrix");
    assert_eq!(
        volume["data"]["result"],
        json!([{"metric": {"container": "web"}, "values": [[1435781450.0, "30"], [1435781455.0, "30"]]}])
    );
    let shards = json_of(&format!("/loki/api/v1/index/shards?{WEB}")).await;
    assert_eq!(shards["shards"][0]["stats"]["entries"], 10);
}

#[tokio::test]
async fn labels_fields_and_patterns_are_detected() {
    let labels = json_of("/loki/api/v1/detected_labels").await;
    let both = json!([
        {"label": "container", "cardinality": 1},
        {"label": "stream", "cardinality": 1},
    ]);
    assert_eq!(labels["detectedLabels"], both);
    let query = format!("{WEB}%20%7C%20pattern%20%22line%20%3Cn%3E%22");
    let fields = json_of(&format!("/loki/api/v1/detected_fields?{query}")).await;
    let n = json!({"label": "n", "type": "int", "cardinality": 10, "parsers": null});
    assert_eq!((&fields["fields"], &fields["limit"]), (&json!([n]), &json!(1000)));
    let values = json_of(&format!("/loki/api/v1/detected_field/n/values?{query}&limit=3")).await;
    assert_eq!(values["values"], json!(["0", "1", "2"]));
    let patterns = json_of(&format!("/loki/api/v1/patterns?{WEB}&step=1m")).await;
    assert_eq!(
        patterns["data"],
        json!([{"pattern": "line <_>", "level": "", "samples": [[1435781400, 10]]}])
    );
}

#[tokio::test]
async fn patterns_have_a_history() {
    let path = "/api/taffrail/v1/logs/patterns";
    let part = json_of(&format!("{path}?{WEB}&since=5s&step=10s")).await;
    let all = json_of(&format!("{path}?{WEB}&since=1h&lookback=1h&new=true")).await;
    let seen = |n: i64| (1_435_781_450 + n).to_string() + "000000000";
    let pattern = |count: u64, is_new: bool, samples: Value| {
        json!([{
            "pattern": "line <_>", "count": count, "is_new": is_new, "samples": samples,
            "first_seen": seen(0), "last_seen": seen(9),
        }])
    };
    assert_eq!(part["patterns"], pattern(5, false, json!([[1_435_781_450, 5]])));
    assert_eq!((&part["step_s"], &part["lookback_s"]), (&json!(10.0), &json!(86_400.0)));
    let step = all["step_s"].as_f64().unwrap();
    assert_eq!(all["patterns"][0]["count"], 10, "{all}");
    assert!(step >= 10.0, "{all}");
    let known = json_of(&format!("{path}?{WEB}&since=5s&new=true")).await;
    assert_eq!(known["patterns"], json!([]));
    let router = router(&app(open_access()));
    for (query, part) in [
        (format!("{WEB}%20%7C%20json"), "behind other stages use sum by (__pattern__)"),
        (format!("{WEB}&lookback=soon"), "lookback is \"soon\"; it is a duration"),
        (format!("{WEB}&new=perhaps"), "new is \"perhaps\"; it is true or false"),
    ] {
        let (status, _, body) = get(&router, &format!("{path}?{query}")).await;
        assert_eq!(status, 400, "{query}");
        let error: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
        assert!(error.to_string().replace("\\\"", "\"").contains(part), "{query}: {error}");
    }
}

#[tokio::test]
async fn rows_have_surroundings() {
    let exact = "query=%7Bcontainer%3D%22web%22,stream%3D%22stdout%22%7D";
    let path = "/api/taffrail/v1/logs/context";
    let around =
        json_of(&format!("{path}?{exact}&time=1435781455000000000&before=2&after=1")).await;
    let row = |n: i64| json!([(1_435_781_450 + n).to_string() + "000000000", format!("line {n}")]);
    assert_eq!(around, json!({"before": [row(3), row(4)], "after": [row(5), row(6)]}));
    let router = router(&app(open_access()));
    for (query, part) in [
        ("query=%7Ba%3D~%22b%22%7D&time=1".to_owned(), "may select several"),
        (exact.to_owned(), "time not set"),
        (format!("{exact}&time=1&before=100000"), "before is 100000; the limit is 5000"),
    ] {
        let (status, _, body) = get(&router, &format!("{path}?{query}")).await;
        assert_eq!(status, 400, "{query}");
        assert!(body.contains(part), "{query}: {body}");
    }
    let part = "query=%7Bcontainer%3D%22web%22%7D&time=1435781455000000000";
    let (status, _, body) = get(&router, &format!("{path}?{part}")).await;
    assert_eq!(status, 404);
    assert!(body.contains("the first has stream besides"), "{body}");
    // Nothing is there then, and the stream is.
    let (status, ..) = get(&router, &format!("{path}?{exact}&time=1&before=0&after=0")).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn queries_are_laid_out() {
    let answer = json_of("/loki/api/v1/format_query?query=%7Ba%3D%22b%22%7D%7Cjson").await;
    assert_eq!(answer, json!({"status": "success", "data": "{a=\"b\"} | json"}));
    let router = router(&app(open_access()));
    let (status, _, body) = get(&router, "/loki/api/v1/format_query?query=%7B").await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status.as_u16(), &answer["status"]), (400, &json!("invalid-query")));
    assert!(answer["error"].as_str().unwrap().starts_with("parse error at line 1, col 2"));
}

#[tokio::test]
async fn deletions_are_listed_made_and_taken_back() {
    let listed = json_of("/loki/api/v1/delete").await;
    let first = json!({
        "request_id": "0000002a",
        "start_time": 0,
        "end_time": NOW_MS / 1000,
        "query": "{container=\"web\"}",
        "status": "received",
        "created_at": NOW_MS as f64 / 1000.0,
    });
    assert_eq!(listed, json!([first]));
    let on = router(&app(open_access()));
    let off = router(&app_without_admin());
    let selection = format!("{WEB}%20%7C%3D%20%22line%22");
    for (method, query, status, part) in [
        ("POST", format!("{selection}&start=1"), 204, ""),
        ("PUT", format!("{selection}&start=1&end=2"), 204, ""),
        ("POST", selection.clone(), 400, "start time not set"),
        ("POST", "start=1".to_owned(), 400, "query not set"),
        ("POST", format!("{selection}&start=2&end=1"), 400, "can't be greater"),
        ("POST", format!("{selection}&start=1&end=2000000000"), 400, "future"),
        ("POST", format!("{WEB}%20%7C%20json&start=1"), 400, "line filters"),
        ("POST", "query=x&start=1".to_owned(), 400, "parse error"),
        ("DELETE", "request_id=0000002a".to_owned(), 204, ""),
        ("DELETE", "request_id=1&force=true".to_owned(), 404, "no such deletion"),
        ("DELETE", String::new(), 400, "request_id not set"),
    ] {
        let request = || {
            Request::builder()
                .method(method)
                .uri(format!("/loki/api/v1/delete?{query}"))
                .header("host", "localhost")
                .body(Body::empty())
                .unwrap()
        };
        let (got, _, body) = ask(&on, request()).await;
        assert_eq!(got.as_u16(), status, "{method} {query}: {body}");
        assert!(body.contains(part), "{method} {query}: {body}");
        if status == 204 {
            assert_eq!(ask(&off, request()).await.0, 403, "{method} {query}");
        }
    }
}

#[tokio::test]
async fn first_clients_and_what_loki_says_of_itself() {
    let answer = json_of(&format!("/api/prom/query?{WEB}&limit=1&regexp=.*7")).await;
    let streams = json!([{
        "labels": "{container=\"web\", stream=\"stdout\"}",
        "entries": [{"ts": "2015-07-01T20:10:57Z", "line": "line 7"}],
    }]);
    assert_eq!(answer["streams"], streams);
    assert_eq!(json_of("/api/prom/label").await, json!({"values": ["container", "stream"]}));
    assert_eq!(json_of("/api/prom/label/container/values").await, json!({"values": ["web"]}));
    assert_eq!(json_of("/prometheus/api/v1/rules").await["data"], json!({"groups": []}));
    assert_eq!(json_of("/loki/api/v1/drilldown-limits").await["limits"]["volume_enabled"], true);
    let router = router(&app(open_access()));
    for (path, status, part) in [
        ("/loki/api/v1/rules", 404, "no rule groups found"),
        ("/loki/api/v1/rules/x/y", 404, "group does not exist"),
        ("/services", 200, "store => Running"),
        ("/ring", 404, "one process"),
        ("/distributor/ring", 404, "one process"),
        ("/log_level", 404, "one process"),
        ("/config", 200, "max_entries_limit_per_query: 5000"),
        ("/api/prom/query?query=vector(1)", 400, "only support streams"),
    ] {
        let (got, _, body) = get(&router, path).await;
        assert_eq!(got.as_u16(), status, "{path}");
        assert!(body.contains(part), "{path}: {body}");
    }
}

#[tokio::test]
async fn retention_is_previewed_for_rules_in_force_and_for_others() {
    let keeps = |answer: &Value| -> Vec<u64> {
        let classes = answer["classes"].as_array().unwrap();
        classes.iter().map(|class| class["keepMs"].as_u64().unwrap()).collect()
    };
    let day = 86_400_000;
    let answer = json_of("/api/taffrail/v1/logs/retention").await;
    assert_eq!(keeps(&answer), [day, 15 * day]);
    assert_eq!(answer["classes"][0]["selector"], "{app=\"debug\"}");
    assert_eq!(answer["classes"][1]["selector"], Value::Null);
    let answer = json_of(
        "/api/taffrail/v1/logs/retention?default=1h&selector=%7Ba=%22b%22%7D&keep=2d&selector=%7Bc=~%22d.%2B%22%7D&keep=3d",
    )
    .await;
    assert_eq!(keeps(&answer), [2 * day, 3 * day, 3_600_000]);
    let answer = json_of("/api/taffrail/v1/traces/retention").await;
    assert_eq!(
        (keeps(&answer), &answer["classes"][0]["service"]),
        (vec![60_000, 120_000], &"noise".into())
    );
    let answer = json_of("/api/taffrail/v1/traces/retention?default=1h&service=a.*&keep=2d").await;
    assert_eq!(keeps(&answer), [2 * day, 3_600_000]);
    let (status, _, body) =
        get(&router(&app(open_access())), "/api/taffrail/v1/traces/retention?service=(&keep=2d")
            .await;
    assert!(status == 400 && body.contains("invalid regular expression"), "{body}");
    for (bad, message) in [
        ("selector=%7Ba=%22b%22%7D", "1 selectors and 0 times to keep"),
        ("selector=%7Ba&keep=1d", "selector \"{a\""),
        ("default=soon", "\"soon\" is not a duration"),
    ] {
        let router = router(&app(open_access()));
        let (status, _, body) =
            get(&router, &format!("/api/taffrail/v1/logs/retention?{bad}")).await;
        let error = serde_json::from_str::<Value>(&body).unwrap()["error"].clone();
        assert_eq!(status, 400);
        assert!(error.as_str().unwrap().contains(message), "{error}");
    }
}

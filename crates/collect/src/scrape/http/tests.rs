//! Content types, and how a scrape is asked for.

use ingest::exposition::Format;

use super::*;

#[test]
fn the_accept_header_is_that_of_prometheus() {
    assert_eq!(
        accept(&ScrapeProtocol::ALL, NameEscaping::AllowUtf8),
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
         application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
         application/openmetrics-text;version=0.0.1;q=0.4,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
         text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    );
    assert_eq!(
        accept(&[ScrapeProtocol::PrometheusText1], NameEscaping::Underscores),
        "text/plain;version=1.0.0;escaping=underscores;q=0.6,*/*;q=0.5"
    );
}

#[test]
fn content_types_choose_the_decoder() {
    let check = |content_type: &str, fallback, expect: Result<Encoding, &str>| {
        let found = negotiated(content_type, fallback).map_err(|e| e.message().to_owned());
        assert_eq!(found, expect.map_err(str::to_owned), "{content_type}");
    };
    let (prometheus, open) =
        (Encoding::Text(Format::Prometheus), Encoding::Text(Format::OpenMetrics));
    check("text/plain", None, Ok(prometheus));
    check("Text/Plain; version=0.0.4; charset=utf-8;", None, Ok(prometheus));
    check("application/openmetrics-text; version=\"1.0.0\" ;escaping=dots", None, Ok(open));
    check(
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
        None,
        Ok(Encoding::Protobuf),
    );
    check("", Some(ScrapeProtocol::OpenMetricsText0), Ok(open));
    check("text/html", Some(ScrapeProtocol::PrometheusText0), Ok(prometheus));
    check("text/plain; charset", Some(ScrapeProtocol::PrometheusProto), Ok(Encoding::Protobuf));
    check(
        "",
        None,
        Err("target sent no Content-Type, and the job has no fallback_scrape_protocol"),
    );
    check(
        "text/html",
        None,
        Err(
            "target sent Content-Type \"text/html\", which is no exposition format, and the job has no fallback_scrape_protocol",
        ),
    );
    check(
        "text/plain; charset",
        None,
        Err(
            "target sent the malformed Content-Type \"text/plain; charset\", and the job has no fallback_scrape_protocol",
        ),
    );
}

#[test]
fn malformed_content_types_are_none() {
    for text in [
        "text",
        "text/",
        "/plain",
        "a b/c",
        "text/plain; a",
        "text/plain; a=",
        "a/b; c=\"d",
        "a/b; c=\"d\"e",
    ] {
        assert_eq!(media_type(text), None, "{text}");
    }
    assert_eq!(media_type("A/B ; c=\"d\\\";e\"; f=g"), Some("a/b".to_owned()));
}

#[test]
fn times_are_written_short() {
    assert_eq!(
        ["150", "10000", "1500"].map(|ms| seconds_text(ms.parse().unwrap())),
        ["0.15", "10", "1.5"]
    );
}

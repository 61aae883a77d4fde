//! Files in; jobs, notes or a mistake with its place out.

use std::path::Path;

use collect::scrape::{
    Assertion, Grant, NameEscaping, ScrapeJob, ScrapeProtocol, Secret, SignatureAlgorithm,
    TlsVersion,
};

use super::{PrometheusConfig, load};

fn env(name: &str) -> Option<String> {
    (name == "TOKEN").then(|| "s3cret".to_owned())
}

fn read(text: &str) -> Result<(PrometheusConfig, Vec<String>), String> {
    let (config, notes) =
        load(Path::new("/etc/p/prometheus.yml"), text, &env).map_err(|e| e.to_string())?;
    Ok((config, notes.iter().map(ToString::to_string).collect()))
}

fn job(text: &str) -> ScrapeJob {
    let indented: String = text.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("scrape_configs:\n  - job_name: j\n{indented}");
    read(&text).unwrap().0.jobs.remove(0)
}

fn check_error(text: &str, expect: &str) {
    assert_eq!(read(text).unwrap_err(), format!("/etc/p/prometheus.yml:{expect}"), "{text}");
}

#[test]
fn defaults_are_those_of_prometheus() {
    let (config, notes) = read("scrape_configs:\n  - job_name: j\n").unwrap();
    assert_eq!(config.jobs, [ScrapeJob::new("j")]);
    assert!(notes.is_empty());
    assert_eq!(read("").unwrap().0.jobs, []);
    assert_eq!(read("# nothing\n").unwrap().0.evaluation_interval_ms, 60_000);
}

#[test]
fn jobs_inherit_from_global() {
    let text = "global: {scrape_interval: 5s, sample_limit: 7, body_size_limit: 2KB}\n\
        scrape_configs:\n  - job_name: a\n  - job_name: b\n    scrape_interval: 30s\n    sample_limit: 9\n";
    let jobs = read(text).unwrap().0.jobs;
    let seen: Vec<_> = jobs
        .iter()
        .map(|j| (j.scrape_interval_ms, j.scrape_timeout_ms, j.limits.samples))
        .collect();
    assert_eq!(seen, [(5_000, 5_000, 7), (30_000, 5_000, 9)]);
    assert_eq!(jobs[0].limits.body_bytes, 2048);
}

#[test]
fn http_settings_are_taken_over() {
    let job = job(
        "basic_auth: {username: u, password_file: pw}\ntls_config: {ca_file: /ca.pem, insecure_skip_verify: yes}\n\
        scheme: https\nmetrics_path: /m\nparams: {a: [b, 1.10]}\nfollow_redirects: off\n\
        scrape_protocols: [PrometheusProto, PrometheusText0.0.4]\nfallback_scrape_protocol: PrometheusText0.0.4\n",
    );
    let (user, password) = job.http.basic_auth.unwrap();
    assert_eq!(user, Secret::Text("u".to_owned()));
    assert_eq!(password, Secret::File("/etc/p/pw".into()));
    assert_eq!(format!("{user:?}"), "<secret>");
    assert_eq!(job.http.tls.ca, Some(Secret::File("/ca.pem".into())));
    assert!(job.http.tls.insecure_skip_verify && !job.http.follow_redirects);
    assert_eq!(job.params["a"], ["b", "1.10"]);
    assert_eq!(
        (job.protocols, job.fallback_protocol),
        (
            vec![ScrapeProtocol::PrometheusProto, ScrapeProtocol::PrometheusText0],
            Some(ScrapeProtocol::PrometheusText0)
        )
    );
}

#[test]
fn the_whole_way_to_a_target_is_taken_over() {
    let job = job(
        "oauth2: {client_id: i, client_secret_file: s, token_url: 'https://t/', scopes: [a, b], \
        endpoint_params: {c: d}, tls_config: {min_version: TLS13}, proxy_url: 'http://p:1'}\n\
        tls_config: {cert: C, key_file: k, server_name: n, min_version: TLS12, max_version: TLS13}\n\
        proxy_url: 'socks5://q:2'\nno_proxy: 'a,b'\nproxy_connect_header: {x: [y]}\n\
        enable_http2: false\nenable_compression: false\nhttp_headers: {z: {values: [v], files: [f]}}\n\
        http_sd_configs: [{url: 'http://sd/', refresh_interval: 5s, follow_redirects: false}]\n",
    );
    let oauth2 = job.http.oauth2.unwrap();
    assert_eq!((oauth2.client_id.as_str(), oauth2.token_url.as_str()), ("i", "https://t/"));
    assert_eq!(oauth2.client_secret, Secret::File("/etc/p/s".into()));
    assert_eq!((oauth2.scopes.join(" ").as_str(), oauth2.grant), ("a b", Grant::ClientCredentials));
    assert_eq!(oauth2.endpoint_params, [("c".to_owned(), "d".to_owned())]);
    assert_eq!(oauth2.tls.min_version, Some(TlsVersion::Tls13));
    assert_eq!(oauth2.proxy.url.as_deref(), Some("http://p:1"));
    let tls = job.http.tls;
    let client = (Secret::Text("C".to_owned()), Secret::File("/etc/p/k".into()));
    assert_eq!((tls.client, tls.server_name.as_deref()), (Some(client), Some("n")));
    assert_eq!(
        (tls.min_version, tls.max_version),
        (Some(TlsVersion::Tls12), Some(TlsVersion::Tls13))
    );
    let proxy = job.http.proxy;
    assert_eq!((proxy.url.as_deref(), proxy.no_proxy.as_str()), (Some("socks5://q:2"), "a,b"));
    assert_eq!(proxy.connect_headers, [("x".to_owned(), Secret::Text("y".to_owned()))]);
    assert!(!job.http.enable_http2 && !job.enable_compression);
    assert_eq!(job.http.headers.len(), 2);
    let sd = &job.http_sd[0];
    assert_eq!((sd.url.as_str(), sd.refresh_interval_ms), ("http://sd/", 5000));
    assert!(!sd.http.follow_redirects);
}

#[test]
fn signed_assertions_are_taken_over() {
    const HEAD: &str = "oauth2: {client_id: i, token_url: 'https://t/', \
        grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', ";
    let check = |keys: &str, expected: Assertion| {
        let oauth2 = job(&format!("{HEAD}{keys}}}\n")).http.oauth2.unwrap();
        assert_eq!(oauth2.grant, Grant::Assertion(expected));
    };
    check("", Assertion::default());
    // Keys of the other grant are read over, as in Prometheus.
    check("client_secret: a, client_secret_file: b, signature_algorithm: ''", Assertion::default());
    check(
        "client_certificate_key_file: k.pem, client_certificate_key_id: id, iss: me, audience: you, \
        signature_algorithm: RS512, claims: {a: '1', b: 1, c: 1.5, d: true, e: null, f: [x, {y: no}]}",
        Assertion {
            key: Some(Secret::File("/etc/p/k.pem".into())),
            key_id: "id".to_owned(),
            algorithm: SignatureAlgorithm::Rs512,
            issuer: "me".to_owned(),
            audience: "you".to_owned(),
            claims: serde_json::from_str(
                r#"{"a": "1", "b": 1, "c": 1.5, "d": true, "e": null, "f": ["x", {"y": false}]}"#,
            )
            .unwrap(),
        },
    );
    let refused = |keys: &str, expected: &str| {
        check_error(&format!("scrape_configs:\n- job_name: j\n  {HEAD}{keys}}}\n"), expected);
    };
    refused(
        "signature_algorithm: ES256",
        "3:3: signature_algorithm must be one of RS256, RS384, RS512, not \"ES256\"",
    );
    refused(
        "client_certificate_key: a, client_certificate_key_file: b",
        "3:3: client_certificate_key and client_certificate_key_file exclude each other",
    );
}

#[test]
fn histograms_and_names_have_their_keys() {
    let text = "global: {scrape_native_histograms: true, metric_name_escaping_scheme: dots}\n\
        scrape_configs:\n\
        - {job_name: a, native_histogram_bucket_limit: 9, native_histogram_min_bucket_factor: 1.1}\n\
        - {job_name: b, scrape_native_histograms: false, always_scrape_classic_histograms: true, keep_dropped_targets: 3}\n\
        - {job_name: c, metric_name_validation_scheme: legacy, metric_name_escaping_scheme: values, \
           convert_classic_histograms_to_nhcb: true, scrape_protocols: [PrometheusText0.0.4]}\n";
    let (config, notes) = read(text).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    let [a, b, c] = config.jobs.as_slice() else { panic!("three jobs") };
    assert_eq!(a.protocols, ScrapeProtocol::ALL);
    assert_eq!((a.histograms.bucket_limit, a.histograms.min_bucket_factor), (9, 1.1));
    assert_eq!((a.name_escaping, a.legacy_names), (NameEscaping::Dots, false));
    assert_eq!(b.protocols, ScrapeProtocol::TEXT);
    assert!(b.histograms.always_classic && !b.histograms.scrape_native);
    assert_eq!(b.limits.dropped_targets, 3);
    assert_eq!((c.name_escaping, c.legacy_names), (NameEscaping::Values, true));
    assert!(c.histograms.convert_classic);
    assert_eq!(c.protocols, [ScrapeProtocol::PrometheusText0]);
}

#[test]
fn targets_and_discoveries_are_taken_over() {
    let job = job("static_configs:\n- targets: [a:1, b]\n  labels: {env: 1.10, on: yes}\n\
        file_sd_configs: [{files: [t/*.json]}]\ndocker_sd_configs: [{host: 'unix:///s', filters: [{name: label, values: [x]}]}]\n");
    assert_eq!(job.static_targets[0].targets.len(), 2);
    assert_eq!(job.static_targets[0].labels["env"], "1.10", "as written");
    assert_eq!(job.static_targets[0].labels["on"], "yes");
    assert_eq!(job.file_sd[0].files, [Path::new("/etc/p/t/*.json")]);
    assert_eq!(job.file_sd[0].refresh_interval_ms, 300_000);
    assert_eq!((job.docker_sd[0].port, job.docker_sd[0].match_first_network), (80, true));
    assert_eq!(job.docker_sd[0].filters, [("label".to_owned(), vec!["x".to_owned()])]);
}

#[test]
fn variables_are_expanded_but_not_in_relabelling() {
    let job = job("bearer_token: ${TOKEN}\nmetrics_path: /${NOT_SET:-x}\n\
        relabel_configs: [{target_label: '${1}', replacement: '${TOKEN}-$1'}]\n");
    assert_eq!(
        job.http.authorization,
        Some(("Bearer".to_owned(), Secret::Text("s3cret".to_owned())))
    );
    assert_eq!(job.metrics_path, "/x");
    check_error(
        "global:\n  query_log_file: a${NOT_SET}\n",
        "2:3: environment variable NOT_SET is not set; ${NOT_SET:-} would allow that",
    );
    let (config, _) = read("global: {external_labels: {a: '$TOKEN$NOT_SET$$x'}}\n").unwrap();
    assert_eq!(config.external_labels["a"], "s3cret$x");
}

#[test]
fn mistakes_name_place_and_nearest_key() {
    check_error(
        "global:\n  scrape_intervall: 5s\n",
        "2:3: unknown key \"scrape_intervall\" in global; the nearest known key is \"scrape_interval\"",
    );
    check_error(
        "scrape_configs:\n  - job_name: a\n    static_config:\n      - targets: [x]\n",
        "3:5: unknown key \"static_config\" in job; the nearest known key is \"static_configs\"",
    );
    check_error(
        "scrape_configs:\n  - job_name: a\n    scrape_interval: 5s\n    scrape_timeout: 6s\n",
        "4:5: scrape timeout of 6000 ms is greater than the scrape interval of 5000 ms",
    );
    check_error(
        "scrape_configs:\n  - job_name: a\n  - job_name: a\n",
        "3:5: job_name \"a\" is used twice",
    );
    check_error("scrape_configs:\n  - job_name:\n", "2:5: job_name is empty");
    check_error(
        "scrape_configs:\n  - job_name: a\n    static_configs:\n      - targets:\n          - http://x/\n",
        "5:13: \"http://x/\" is not a host and port; scheme and path have their own keys",
    );
    check_error(
        "global:\n  scrape_interval: 5 minutes\n",
        "2:3: scrape_interval must be a duration such as 15s or 1h30m, not \"5 minutes\"",
    );
    check_error(
        "scrape_configs:\n  - job_name: a\n    relabel_configs:\n      - regex: a(\n        target_label: b\n",
        "4:9: regex: invalid regular expression \"a(\": unclosed group",
    );
    check_error("scrape_configs: {}\n", "1:1: scrape_configs must be a list");
    assert!(read("a: [\n").unwrap_err().starts_with("/etc/p/prometheus.yml:"));
    assert!(read("global: {scrape_interval: 1s}\nglobal: {}\n").unwrap_err().contains(":2:"));
}

#[test]
fn keys_without_effect_are_noted_once() {
    let text = "rule_files: [a.yml]\nruntime: {gogc: 1}\nremote_write:\n  - url: http://x\n    sigv4: {region: eu}\n    queue_config: {capacity: 9}\n\
        scrape_configs:\n  - job_name: a\n    enable_http2: false\n    static_configs: [{targets: [x]}]\n    consul_sd_configs: [{}]\n";
    let (config, notes) = read(text).unwrap();
    assert_eq!(config.rule_files, ["a.yml"]);
    assert_eq!(config.jobs[0].static_targets.len(), 1);
    let expect = [
        "2: runtime: read, not needed",
        "5: sigv4: not supported yet",
        "6: capacity: read, not needed",
        "11: consul_sd_configs: not supported yet",
    ];
    let expect: Vec<String> =
        expect.iter().map(|line| format!("/etc/p/prometheus.yml:{line}")).collect();
    assert_eq!(notes, expect);
}

#[test]
fn published_stacks_load() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/stacks");
    if !Path::new(root).exists() {
        eprintln!("skipped: {root} is absent");
        return;
    }
    for (file, jobs) in [
        ("stefanprodan__dockprom/prometheus/prometheus.yml", 4),
        ("joshjhall__containers/examples/observability/prometheus.yml", 5),
    ] {
        let path = Path::new(root).join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let (config, _) = load(&path, &text, &|_| None).unwrap();
        assert_eq!(config.jobs.len(), jobs, "{file}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived(text in "([a-z_]{1,8}: |global:\n|  - |\n|\\[|\\]|\\{|\\}|\\$|'|[0-9]|scrape_configs:\n){0,40}") {
        if let Err(mistake) = read(&text) {
            proptest::prop_assert!(mistake.starts_with("/etc/p/prometheus.yml:"), "{}", mistake);
        }
    }
}

#[test]
fn what_follows_the_first_document_is_not_read() {
    let first = "# c\n---\nscrape_configs:\n  - job_name: j\n";
    for (end, notes) in [
        ("---\n", &[][..]),
        ("--- # end\n---\n# nothing\n", &[]),
        ("...\n", &[]),
        (
            "---\n\nscrape_configs: 7\n---\n",
            &["/etc/p/prometheus.yml:5: ---: a second document, not read, as in Prometheus"],
        ),
    ] {
        let (config, told) = read(&format!("{first}{end}")).unwrap();
        assert_eq!(config.jobs.len(), 1, "{end}");
        assert_eq!(told, notes, "{end}");
    }
    let mistake = read("scrape_configs: 7\n---\nscrape_configs: []\n").unwrap_err();
    assert!(mistake.starts_with("/etc/p/prometheus.yml:1:"), "{mistake}");
}

//! Scraping without sockets: targets, the series cache, the time grid, discovery answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ingest::exposition::{Encoding, Format, Limits};
use ingest::relabel::{Action, Rule, RuleConfig};
use model::{Labels, ManualClock, is_stale};
use proptest::prelude::*;

use super::cache::{Rows, Scrape, SeriesCache};
use super::config::{DockerSd, FileSd, ScrapeJob, TargetGroup};
use super::docker_sd;
use super::file_sd::Files;
use super::target::{self, Outcome, Target, format_duration, parse_duration};
use super::worker::{next_due_ms, scrape_time_ms};

fn group(addresses: &[&str]) -> TargetGroup {
    TargetGroup::of_addresses("test", addresses.iter().map(|a| (*a).to_owned()), BTreeMap::new())
}

fn target(job: &ScrapeJob, address: &str) -> Result<Target, String> {
    let group = group(&[address]);
    let outcome =
        target::from_group(job, &group).next().unwrap().map_err(|e| e.message().to_owned())?;
    match outcome {
        Outcome::Active(target) => Ok(*target),
        Outcome::Dropped(labels) => Err(format!("dropped {labels}")),
    }
}

#[test]
fn targets_get_defaults_and_lose_their_working_labels() {
    let mut job = ScrapeJob::new("j");
    job.params.insert("module".to_owned(), vec!["a b".to_owned(), "c".to_owned()]);
    let found = target(&job, "host:9100").unwrap();
    assert_eq!(found.labels.to_string(), r#"{instance="host:9100", job="j"}"#);
    assert_eq!(found.url.as_str(), "http://host:9100/metrics?module=a+b&module=c");
    assert_eq!(found.discovered.get("__scrape_interval__"), Some("1m"));
    assert_eq!((found.interval_ms, found.timeout_ms), (60_000, 10_000));
    assert!(target(&job, "http://host/x").unwrap_err().contains("is not a host and port"));
}

#[test]
fn relabelling_moves_and_drops_targets() {
    let mut job = ScrapeJob::new("j");
    let rule = |edit: fn(&mut RuleConfig)| {
        let mut config = RuleConfig::default();
        edit(&mut config);
        Rule::new(config).unwrap()
    };
    job.relabel = vec![
        rule(|c| {
            c.source_labels = Some(vec!["__address__".to_owned()]);
            c.target_label = Some("__param_target".to_owned());
        }),
        rule(|c| {
            c.target_label = Some("__address__".to_owned());
            c.replacement = Some("probe:9115".to_owned());
        }),
        rule(|c| {
            c.source_labels = Some(vec!["__param_target".to_owned()]);
            c.regex = Some("bad".to_owned());
            c.action = Some(Action::Drop);
        }),
    ];
    assert_eq!(target(&job, "site").unwrap().url.as_str(), "http://probe:9115/metrics?target=site");
    assert!(target(&job, "bad").unwrap_err().starts_with("dropped {__address__=\"bad\""));
}

#[test]
fn durations_read_and_print_as_in_prometheus() {
    for (text, ms) in [
        ("15s", 15_000),
        ("1m30s", 90_000),
        ("250ms", 250),
        ("1d", 86_400_000),
        ("1w", 604_800_000),
    ] {
        assert_eq!(parse_duration(text), Some(ms), "{text}");
        assert_eq!(format_duration(ms), text);
    }
    for text in ["", "s", "15", "1s1m", "1.5s", "-1s", "1s1s", "99999999999999999999y"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn the_grid_is_steady() {
    assert_eq!(next_due_ms(1_000, None, 15_000, 400), 15_400);
    assert_eq!(next_due_ms(15_400, Some(15_400), 15_000, 400), 30_400);
    assert_eq!(next_due_ms(15_399, Some(15_400), 15_000, 400), 30_400, "woken early");
    assert_eq!(next_due_ms(47_000, Some(15_400), 15_000, 400), 60_400, "two places missed");
    assert_eq!(
        next_due_ms(-3_600_000, Some(15_400), 15_000, 400),
        -3_599_600 + 15_000 - 15_000,
        "clock set back"
    );
    assert_eq!(scrape_time_ms(15_402, 15_400, 15_000), 15_400);
    assert_eq!(scrape_time_ms(15_403, 15_400, 15_000), 15_403);
    assert_eq!(scrape_time_ms(101, 100, 50), 101, "short intervals have no tolerance");
}

/// Scrapes bodies in turn with one cache and writes down what each gives.
struct Script {
    cache: SeriesCache,
    job: ScrapeJob,
    target: Labels,
}

impl Script {
    fn new() -> Self {
        let target = Labels::from_pairs([("job", "j"), ("instance", "i")]);
        Self { cache: SeriesCache::default(), job: ScrapeJob::new("j"), target }
    }

    fn rows(&mut self, body: &str) -> (Rows, Result<(), String>) {
        let format =
            if body.ends_with("# EOF\n") { Format::OpenMetrics } else { Format::Prometheus };
        self.rows_of(body.as_bytes(), Encoding::Text(format))
    }

    fn rows_of(&mut self, body: &[u8], encoding: Encoding) -> (Rows, Result<(), String>) {
        let mut rows = Rows::default();
        let scrape = Scrape {
            body,
            encoding,
            t_ms: 1000,
            job: &self.job,
            target: &self.target,
            limits: &Limits::NONE,
        };
        let outcome = self.cache.read(&scrape, &mut rows).map_err(|e| e.message().to_owned());
        if outcome.is_err() {
            self.cache.fail(&mut rows);
        }
        (rows, outcome)
    }

    fn check(&mut self, body: &str, expect: &[&str]) {
        let (rows, outcome) = self.rows(body);
        let mut lines = told(&rows);
        lines.extend(
            rows.stamped
                .iter()
                .map(|r| format!("{} {} @{}", r.labels.metric_name(), r.value, r.t_ms)),
        );
        lines.extend(rows.histograms.iter().map(|r| {
            let (h, labels) = (&r.value, r.labels.without("job").without("instance"));
            format!("{labels} schema {} {:?} @{}", h.schema, h.positive, r.t_ms)
        }));
        lines.extend(rows.exemplars.iter().map(|r| {
            let e = &r.exemplar;
            format!("{} # {} {} @{}", r.series.metric_name(), e.labels, e.value, e.t_ms)
        }));
        lines.extend(rows.metadata.iter().map(|m| format!("{} is a {}", m.name, m.kind.as_str())));
        lines.extend(outcome.err());
        assert_eq!(lines, expect, "{body}");
    }
}

/// The samples at the scrape's time, one line each.
fn told(rows: &Rows) -> Vec<String> {
    let steady = rows.steady.series.iter().zip(rows.steady.values.iter().copied());
    let others = rows.rows.iter().map(|row| (&row.labels, row.value));
    let one = |(labels, value): (&Labels, f64)| {
        let value = if is_stale(value) { "stale".to_owned() } else { value.to_string() };
        format!("{} {value}", labels.without("job").without("instance"))
    };
    steady.chain(others).map(one).collect()
}

#[test]
fn a_body_with_other_numbers_only_shares_the_list_of_its_series() {
    let mut script = Script::new();
    let rule = RuleConfig {
        source_labels: Some(vec!["__name__".to_owned()]),
        regex: Some("go_.*".to_owned()),
        action: Some(Action::Drop),
        ..RuleConfig::default()
    };
    script.job.metric_relabel = vec![Rule::new(rule).unwrap()];
    let body = |a: f64, b: f64| {
        format!("go_1 7\n# TYPE a gauge\na{{x=\"1\"}} {a}\ngo_2 7\ngo_3 7\nb {b}\ngo_4 7\n")
    };
    let mut scrape = |body: &str| {
        let (rows, outcome) = script.rows(body);
        assert_eq!(outcome, Ok(()), "{body}");
        rows
    };
    for (a, b) in [(1.0, 2.0), (1.0, 2.0)] {
        assert!(scrape(&body(a, b)).steady.series.is_empty());
    }
    let third = scrape(&body(3.0, -1.5e9));
    let fourth = scrape(&body(3.0, f64::INFINITY));
    assert_eq!(told(&third), ["a{x=\"1\"} 3", "b{} -1500000000"]);
    assert_eq!(told(&fourth), ["a{x=\"1\"} 3", "b{} inf"]);
    assert!(third.rows.is_empty() && Arc::ptr_eq(&third.steady.series, &fourth.steady.series));
    assert_eq!((fourth.counts.scraped, fourth.counts.kept, fourth.counts.added), (6, 2, 0));
    // A departure is told in full, and what is gone ends.
    let fifth = scrape("a{x=\"1\"} 4\n");
    assert!(fifth.steady.series.is_empty());
    assert_eq!(told(&fifth), ["a{x=\"1\"} 4", "b{} stale"]);
}

#[test]
fn steady_series_end_with_a_failure_and_come_back() {
    let mut script = Script::new();
    for _ in 0..4 {
        script.check("a 1\nb 2\n", &["a{} 1", "b{} 2"]);
    }
    let broken = "line 2, column 3: expected a value, found 'x'";
    script.check("a 1\nb x\n", &["a{} stale", "b{} stale", broken]);
    script.check("a 1\nb 2\n", &["a{} 1", "b{} 2"]);
    script.check("a 1\n", &["a{} 1", "b{} stale"]);
    script.job.limits.samples = 1;
    for _ in 0..3 {
        script.check("a 1\n", &["a{} 1"]);
    }
}

proptest! {
    #[test]
    fn a_target_reads_the_same_with_and_without_a_memory_of_its_last_body(
        bodies in proptest::collection::vec(proptest::collection::vec((0usize..7, 0usize..6), 0..6), 1..12),
        repeats in proptest::collection::vec(1usize..4, 12),
    ) {
        let (mut with, mut without) = (Script::new(), Script::new());
        let series = ["a", "b{x=\"1\"}", "# TYPE a counter", "a ", "c{}", "# HELP a b", "go_x"];
        let values = [" 1", " 2.5", " NaN", " 7 1500", "", " 1e3"];
        for (lines, repeat) in bodies.into_iter().zip(repeats) {
            let body: String =
                lines.iter().map(|(s, v)| format!("{}{}\n", series[*s], values[*v])).collect();
            for _ in 0..repeat {
                without.cache.forget_steady();
                let (one, two) = (with.rows(&body), without.rows(&body));
                prop_assert_eq!(told(&one.0), told(&two.0));
                let rest = |rows: &Rows| {
                    let stamped = rows.stamped.iter().map(|r| format!("{} {} {}", r.labels, r.value, r.t_ms));
                    (stamped.collect::<Vec<_>>(), rows.metadata.clone(), rows.counts)
                };
                prop_assert_eq!(rest(&one.0), rest(&two.0));
                prop_assert_eq!(one.1, two.1);
            }
        }
    }
}

#[test]
fn vanished_series_end_once() {
    let mut script = Script::new();
    script.check("a 1\nb 2\nc 3\n", &["a{} 1", "b{} 2", "c{} 3"]);
    script.check("a 1\nc 4\nd 5\n", &["a{} 1", "c{} 4", "d{} 5", "b{} stale"]);
    script.check("d 5\na 1\nc 4\nb 6\n", &["d{} 5", "a{} 1", "c{} 4", "b{} 6"]);
    script.check("", &["d{} stale", "a{} stale", "c{} stale", "b{} stale"]);
    script.check("", &[]);
}

#[test]
fn labels_are_the_same_allocation_each_time() {
    let mut script = Script::new();
    let (first, _) = script.rows("a{x=\"1\"} 1\nb 2\n");
    let (second, _) = script.rows("b 3\nnew 1\na{x=\"1\"} 1\n");
    assert!(first.rows[0].labels.same_allocation(&second.rows[2].labels));
    assert!(first.rows[1].labels.same_allocation(&second.rows[0].labels));
    assert_eq!((first.counts.added, second.counts.added), (2, 1));
}

#[test]
fn a_failed_scrape_ends_everything_and_stores_nothing() {
    let mut script = Script::new();
    script.check("a 1\nb 2\n", &["a{} 1", "b{} 2"]);
    let broken = "line 2, column 3: expected a value, found 'x'";
    script.check("c 1\na x\n", &["a{} stale", "b{} stale", broken]);
    script.check("a x\n", &["line 1, column 3: expected a value, found 'x'"]);
    script.check("a 3\n", &["a{} 3"]);
    for _ in 0..4 {
        assert!(script.rows("x\n").1.is_err());
    }
    script.check("a 4\n", &["a{} 4"]);
}

#[test]
fn the_same_labels_spelt_otherwise_do_not_end() {
    let mut script = Script::new();
    script.check("a{x=\"1\",y=\"2\"} 1\n", &[r#"a{x="1", y="2"} 1"#]);
    script.check("a{y=\"2\",x=\"1\"} 2\n", &[r#"a{x="1", y="2"} 2"#]);
    script.check("a{x=\"1\",y=\"2\"} 3\n# EOF\n", &[r#"a{x="1", y="2"} 3"#]);
    script.check("b 3\n# EOF\n", &["b{} 3", r#"a{x="1", y="2"} stale"#]);
}

#[test]
fn duplicates_keep_the_first_value() {
    let mut script = Script::new();
    let (rows, _) = script.rows("a 1\na 2\nb 1\n");
    let counts = rows.counts;
    assert_eq!((rows.rows.len(), counts.duplicates, counts.scraped, counts.kept), (2, 1, 3, 3));
    assert_eq!(rows.rows[0].value, 1.0);
    script.check("a 1 1500\na 2 1600\na 3\n", &["b{} stale", "a 1 @1500", "a 2 @1600"]);
}

/// `h` with the bounds 1 and 2, in text.
const CLASSIC: &str =
    "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_count 3\nh_sum 4\n";

/// A family `h` with one observation in each of five native buckets of schema 3 from index 1, and the classic bounds 1
/// and +Inf.
const NATIVE: &[u8] = &[
    48, 0x0a, 1, b'h', 0x18, 4, 0x22, 41, 0x3a, 39, // family, its type, metric, histogram
    0x08, 5, 0x11, 0, 0, 0, 0, 0, 0, 16, 64, // count 5, sum 4
    0x1a, 11, 0x08, 3, 0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // 3 up to 1
    0x28, 6, 0x62, 4, 0x08, 2, 0x10, 5, // schema 3, a span of 5 from 1
    0x6a, 5, 2, 0, 0, 0, 0, // the first count is 1, the others do not differ
];

#[test]
fn histograms_come_in_the_form_the_job_asks_for() {
    let classic =
        [r#"h_count{} 5"#, r#"h_sum{} 4"#, r#"h_bucket{le="1.0"} 3"#, r#"h_bucket{le="+Inf"} 5"#];
    let check = |set: fn(&mut ScrapeJob), expect: &[&str]| {
        let mut script = Script::new();
        set(&mut script.job);
        let (rows, outcome) = script.rows_of(NATIVE, Encoding::Protobuf);
        assert_eq!(outcome, Ok(()));
        let mut lines: Vec<String> = rows
            .rows
            .iter()
            .map(|r| format!("{} {}", r.labels.without("job").without("instance"), r.value))
            .collect();
        lines.extend(rows.histograms.iter().map(|r| {
            format!("{} schema {} {:?}", r.labels.metric_name(), r.value.schema, r.value.positive)
        }));
        assert_eq!(lines, expect);
        assert_eq!(rows.counts.kept, expect.len() as u64);
    };
    let whole = "h schema 3 [1.0, 1.0, 1.0, 1.0, 1.0]";
    check(|_| {}, &classic);
    check(|job| job.histograms.scrape_native = true, &[whole]);
    check(
        |job| (job.histograms.scrape_native, job.histograms.always_classic) = (true, true),
        &[&classic[..], &[whole]].concat(),
    );
    check(
        |job| (job.histograms.scrape_native, job.histograms.bucket_limit) = (true, 3),
        // Indexes 1 to 5 of schema 3 are 1, 1, 2, 2, 3 of schema 2.
        &["h schema 2 [2.0, 2.0, 1.0]"],
    );
    check(
        |job| (job.histograms.scrape_native, job.histograms.min_bucket_factor) = (true, 1.3),
        &["h schema 1 [4.0, 1.0]"],
    );
    check(|job| job.histograms.convert_classic = true, &["h schema -53 [3.0, 2.0]"]);
    check(
        |job| (job.histograms.scrape_native, job.histograms.convert_classic) = (true, true),
        &[whole],
    );
}

#[test]
fn custom_buckets_end_and_have_limits() {
    let mut script = Script::new();
    script.job.histograms.convert_classic = true;
    let one = "h{} schema -53 [1.0, 2.0] @1000";
    script.check(CLASSIC, &[one, "h is a histogram"]);
    script.check(CLASSIC, &[one]);
    script.check("", &["h{} stale"]);
    script.check(CLASSIC, &[one]);
    script.job.histograms.bucket_limit = 1;
    let over = "series h has 2 buckets; native_histogram_bucket_limit is 1";
    script.check(CLASSIC, &["h{} stale", over]);
}

#[test]
fn bounds_are_spelt_one_way() {
    let mut script = Script::new();
    script.check(
        "# TYPE h histogram\nh_bucket{le=\"10\"} 1\n# TYPE s summary\ns{quantile=\"0.50\"} 2\n\
         # TYPE g gauge\ng{le=\"10\"} 3\n",
        &[
            r#"h_bucket{le="10.0"} 1"#,
            r#"s{quantile="0.5"} 2"#,
            r#"g{le="10"} 3"#,
            "h is a histogram",
            "s is a summary",
            "g is a gauge",
        ],
    );
}

#[test]
fn only_changed_exemplars_are_handed_on() {
    let mut script = Script::new();
    let body = |exemplar: &str| format!("# TYPE a counter\na_total 1{exemplar}\n# EOF\n");
    let total = "a_total{} 1";
    script.check(
        &body(" # {id=\"x\"} 0.5 1.5"),
        &[total, "a_total # {id=\"x\"} 0.5 @1500", "a is a counter"],
    );
    script.check(&body(" # {id=\"x\"} 0.5 1.5"), &[total]);
    script.check(&body(" # {id=\"y\"} 0.7"), &[total, "a_total # {id=\"y\"} 0.7 @1000"]);
    script.check(&body(""), &[total]);
    // A failed scrape stores nothing, so what it brought is handed on by the next.
    assert!(script.rows("a_total 1 # {id=\"z\"} 1\nx\n# EOF\n").1.is_err());
    script.check(&body(" # {id=\"z\"} 1"), &[total, "a_total # {id=\"z\"} 1 @1000"]);
}

#[test]
fn legacy_names_fail_the_scrape_when_asked_for() {
    let mut script = Script::new();
    script.check("{\"a.b\"} 1\n", &["a.b{} 1"]);
    let mut script = Script::new();
    script.job.legacy_names = true;
    script.check("a:b{c_1=\"d\"} 1\n", &[r#"a:b{c_1="d"} 1"#]);
    let refused = |what: &str, name: &str| {
        format!(
            "line 1, column 1: {what} name {name:?} is not valid under metric_name_validation_scheme legacy"
        )
    };
    script.check("{\"a.b\"} 1\n", &[r#"a:b{c_1="d"} stale"#, &refused("metric", "a.b")]);
    script.check("a{\"c.d\"=\"e\"} 1\n", &[&refused("label", "c.d")]);
}

#[test]
fn own_times_are_stamped_and_not_ended() {
    let mut script = Script::new();
    script.check("a 1 1500\nb 2\n", &["b{} 2", "a 1 @1500"]);
    script.check("b 2\n", &["b{} 2"]);
    script.job.honor_timestamps = false;
    script.check("a 1 1500\nb 2\n", &["a{} 1", "b{} 2"]);
}

#[test]
fn conflicting_labels_move_or_win() {
    let mut script = Script::new();
    let (rows, _) = script.rows("a{job=\"x\",exported_job=\"y\"} 1\n");
    let expect = r#"a{exported_exported_job="x", exported_job="y", instance="i", job="j"}"#;
    assert_eq!(rows.rows[0].labels.to_string(), expect);
    let mut script = Script::new();
    script.job.honor_labels = true;
    let (rows, _) = script.rows("a{job=\"x\",instance=\"\"} 1\n");
    assert_eq!(rows.rows[0].labels.to_string(), r#"a{instance="i", job="x"}"#);
}

#[test]
fn job_limits_fail_the_scrape() {
    let mut script = Script::new();
    script.job.limits.samples = 2;
    script.check("a 1\nb 1\n", &["a{} 1", "b{} 1"]);
    let over = "target sent 3 samples; sample_limit is 2";
    script.check("a 1\nb 1\nc 1\n", &["a{} stale", "b{} stale", over]);
    let (rows, _) = script.rows("a 1\nb 1\nc 1\n");
    assert_eq!((rows.counts.scraped, rows.counts.kept), (3, 3));
    let mut script = Script::new();
    script.job.limits.labels = 3;
    let over = "line 1, column 1: series a has a label count of 4; the limit is 3";
    script.check("a{x=\"1\"} 1\n", &[over]);
}

#[test]
fn only_changed_metadata_is_handed_on() {
    let mut script = Script::new();
    let body = "# HELP a x\n# TYPE a gauge\na 1\n";
    script.check(body, &["a{} 1", "a is a gauge"]);
    script.check(body, &["a{} 1"]);
    script.check(&body.replace("gauge", "counter"), &["a{} 1", "a is a counter"]);
}

#[test]
fn metric_relabelling_drops_before_counting() {
    let mut script = Script::new();
    let rule = RuleConfig {
        source_labels: Some(vec!["__name__".to_owned()]),
        regex: Some("go_.*".to_owned()),
        action: Some(Action::Drop),
        ..RuleConfig::default()
    };
    script.job.metric_relabel = vec![Rule::new(rule).unwrap()];
    let (rows, _) = script.rows("go_gc 1\na 1\n");
    assert_eq!((rows.counts.scraped, rows.counts.kept, rows.counts.added), (2, 1, 1));
}

#[test]
fn target_files_are_read_again_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let mut file = tempfile::NamedTempFile::new_in(dir.path()).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        file.persist(dir.path().join(name)).unwrap();
    };
    let clock = Arc::new(ManualClock::at_ms(0));
    let config = FileSd { files: vec![dir.path().join("*.y[am]*l")], refresh_interval_ms: 300_000 };
    let mut files = Files::new(config, clock);
    assert!(files.refresh());
    assert_eq!(files.groups(), []);
    write("a.yml", "- targets: [one, two]\n  labels: {env: x}\n");
    write("a.json", "[{\"targets\": [\"three\"]}]");
    assert!(files.refresh());
    assert!(!files.refresh());
    let groups = files.groups();
    assert_eq!((groups.len(), groups[0].targets.len()), (1, 2));
    assert!(groups[0].labels["__meta_filepath"].ends_with("a.yml"));
    write("a.yml", "- target: [one]\n");
    assert!(files.refresh());
    assert_eq!(files.groups(), groups, "a bad file keeps what was known");
    assert!(files.complaint().unwrap().contains("a.yml"));
    write("a.yml", "[]\n");
    assert!(files.refresh());
    assert_eq!((files.groups().len(), files.complaint()), (0, None));
}

#[test]
fn docker_answers_become_targets() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let dir = Path::new(root)
        .join("prometheus-config/prometheus__prometheus/discovery/moby/testdata/dockerprom");
    if !dir.exists() {
        eprintln!("skipped: {} is absent", dir.display());
        return;
    }
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let config = DockerSd {
        host: "unix:///x".to_owned(),
        port: 80,
        host_networking_host: "localhost".to_owned(),
        match_first_network: true,
        filters: Vec::new(),
        refresh_interval_ms: 60_000,
    };
    let found =
        docker_sd::group(&config, &read("containers/json.json"), None, &read("networks.json"))
            .unwrap();
    let node = found
        .targets
        .iter()
        .find(|t| t["__meta_docker_container_name"] == "/dockersd_node_1")
        .unwrap();
    assert_eq!(node["__address__"], "172.19.0.2:9100");
    assert_eq!(node["__meta_docker_port_private"], "9100");
    assert_eq!(node["__meta_docker_network_name"], "dockersd_default");
    assert_eq!(node["__meta_docker_network_ingress"], "false");
    assert_eq!(node["__meta_docker_container_label_com_docker_compose_service"], "node");
    assert_eq!(node["__meta_docker_network_label_com_docker_compose_project"], "dockersd");
    let host = found.targets.iter().find(|t| t["__address__"] == "localhost").unwrap();
    assert_eq!(host["__meta_docker_container_network_mode"], "host");
}

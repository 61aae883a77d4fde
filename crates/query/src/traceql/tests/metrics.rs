//! Series over a shop's spans.

use model::Budget;

use super::table::{MAY_NS, MS, shop};
use crate::traceql::{Series, Times, metrics, parse};

fn run(text: &str, step_ms: i64) -> Vec<Series> {
    let query = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let (start_ns, end_ns) = (MAY_NS - 10_000 * MS, MAY_NS + 2_000 * MS);
    let times = Times { start_ns, end_ns, step_ns: step_ms * MS, exemplars: 3 };
    metrics(&shop(), &query, &times, &Budget::unlimited()).unwrap()
}

/// Each series as `labels: value@seconds …`, seconds from the start; without zeros.
fn check(text: &str, step_ms: i64, expect: &[&str]) {
    let show = |series: &Series| {
        let labels: Vec<String> =
            series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let points: Vec<String> = series
            .points
            .iter()
            .filter(|(_, value)| *value != 0.0)
            .map(|(t_ns, v)| {
                format!("{}@{}", (v * 1e6).round() / 1e6, (t_ns - MAY_NS) / 1_000_000_000)
            })
            .collect();
        format!("{}: {}", labels.join(","), points.join(" "))
    };
    assert_eq!(run(text, step_ms).iter().map(show).collect::<Vec<_>>(), expect, "{text}");
}

#[test]
fn spans_are_counted_at_their_start() {
    check("{} | count_over_time()", 1000, &["__name__=count_over_time: 1@-4 5@1 1@2"]);
    check("{} | rate()", 2000, &["__name__=rate: 0.5@-4 3@2"]);
    check("{} | rate()", 0, &["__name__=rate: 0.583333@2"]);
    check("{ status = error } | count_over_time()", 0, &["__name__=count_over_time: 1@2"]);
    check("{ name = \"none\" } | rate()", 0, &[]);
    assert_eq!(run("{} | rate()", 1000)[0].points.len(), 12);
}

#[test]
fn series_are_split_by_fields() {
    check(
        "{} | count_over_time() by (resource.service.name)",
        0,
        &[
            "resource.service.name=cart: 2@2",
            "resource.service.name=db: 2@2",
            "resource.service.name=web: 2@2",
            "resource.service.name=worker: 1@2",
        ],
    );
    check(
        "{ .size > 1 } | count_over_time() by (.size, kind)",
        0,
        &[".size=2.5,kind=unspecified: 1@2", ".size=10,kind=client: 1@2"],
    );
    check(
        "{ kind = server } | count_over_time() by (.nothing, rootName)",
        0,
        &[".nothing=nil,rootName=GET /: 1@2"],
    );
}

#[test]
fn values_are_summed_up_in_seconds() {
    let cart = "{ resource.service.name = \"cart\" }";
    check(&format!("{cart} | sum_over_time(duration)"), 0, &["__name__=sum_over_time: 0.05@2"]);
    check(&format!("{cart} | avg_over_time(duration)"), 0, &["__name__=avg_over_time: 0.025@2"]);
    check(&format!("{cart} | min_over_time(span.size)"), 0, &["__name__=min_over_time: 2.5@2"]);
    check(&format!("{cart} | max_over_time(span.size)"), 0, &["__name__=max_over_time: 10@2"]);
    check(&format!("{cart} | max_over_time(name2)").replace("name2", ".nothing"), 0, &[]);
    check(
        "{} | histogram_over_time(duration)",
        0,
        &[
            "__bucket=0.001048576: 1@2",
            "__bucket=0.002097152: 1@2",
            "__bucket=0.008388608: 1@2",
            "__bucket=0.016777216: 1@2",
            "__bucket=0.033554432: 2@2",
            "__bucket=0.134217728: 1@2",
        ],
    );
    check(
        "{} | quantile_over_time(duration, 0, 1) by (resource.cluster)",
        0,
        &["resource.cluster=one,p=0: 0.001@2", "resource.cluster=one,p=1: 0.1@2"],
    );
}

#[test]
fn structure_selects_spans_of_metrics_too() {
    check(
        "{ name = \"cart.add\" } >> {} | count_over_time() by (name)",
        0,
        &["name=INSERT: 1@2", "name=SELECT: 1@2"],
    );
    check(
        "{ nestedSetParent < 0 && true } | count_over_time() by (resource.service.name)",
        0,
        &["resource.service.name=web: 2@2"],
    );
    check("{} | count() > 2 | count_over_time()", 0, &["__name__=count_over_time: 5@2"]);
}

#[test]
fn series_are_compared_and_calculated_with() {
    check(
        "{} | count_over_time() by (resource.service.name) > 1",
        0,
        &[
            "resource.service.name=cart: 2@2",
            "resource.service.name=db: 2@2",
            "resource.service.name=web: 2@2",
        ],
    );
    check(
        "{} | count_over_time() by (resource.service.name) | topk(1)",
        1000,
        &[
            "resource.service.name=cart: 2@1",
            "resource.service.name=web: 1@2",
            "resource.service.name=worker: 1@-4",
        ],
    );
    check(
        "{} | count_over_time() by (resource.service.name) | bottomk(1)",
        0,
        &["resource.service.name=worker: 1@2"],
    );
    check(
        "({ status = error } | count_over_time()) / ({} | count_over_time()) * 100",
        0,
        &[": 14.285714@2"],
    );
    check(
        "10 - ({} | count_over_time() by (kind))",
        0,
        &["kind=client: 9@2", "kind=server: 9@2", "kind=unspecified: 5@2"],
    );
    let join =
        "({} | count_over_time() by (name)) + ({ status = ok } | count_over_time() by (name))";
    check(join, 0, &["name=SELECT: 2@2"]);
}

#[test]
fn comparisons_show_both_sides_by_attribute() {
    let all = run("{ resource.service.name = \"db\" } | compare({ status = error }, 1)", 0);
    let show = |series: &Series| {
        let labels: Vec<String> =
            series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{} {}", labels.join(","), series.points[0].1)
    };
    let all: Vec<String> = all.iter().map(show).collect();
    for expect in [
        "__meta_type=baseline,name=SELECT 1",
        "__meta_type=selection,name=INSERT 1",
        "__meta_type=selection,statusMessage=lock timeout 1",
        "__meta_type=baseline_total,resource.cluster=nil 1",
        "__meta_type=selection,rootServiceName=web 1",
    ] {
        assert!(all.iter().any(|series| series == expect), "{expect} in {all:#?}");
    }
    let many = run("{} | compare({ status = error }, 1)", 0);
    let is_cut = |s: &&Series| s.labels.iter().any(|(name, _)| name == "__meta_error");
    assert!(many.iter().filter(is_cut).count() >= 2, "{many:#?}");
}

#[test]
fn exemplars_point_to_spans() {
    let all = run("{} | max_over_time(duration) by (resource.service.name)", 0);
    let of = |at: usize| &all[at].exemplars;
    assert_eq!((of(0)[0].span_id, of(0)[0].value), (2, 0.03));
    assert_eq!(all.iter().map(|s| s.exemplars.len()).sum::<usize>(), 3);
    let counted = run("{} | count_over_time()", 1000);
    assert_eq!(counted[0].exemplars.len(), 3);
    assert!(counted[0].exemplars.iter().any(|e| e.value == 5.0));
    let none = run("{} | rate() with (exemplars=false)", 0);
    assert!(none[0].exemplars.is_empty());
}

#[test]
fn bad_times_are_refused() {
    let query = parse("{} | rate()").unwrap();
    let fails = |start_ns, end_ns, step_ns| {
        let times = Times { start_ns, end_ns, step_ns, exemplars: 0 };
        metrics(&shop(), &query, &times, &Budget::unlimited()).unwrap_err().to_string()
    };
    assert!(fails(5, 5, 0).contains("after its start"));
    assert!(fails(0, 1, -1).contains("not negative"));
    assert!(fails(0, 1_000_000, 1).contains("the limit is 11000"));
    assert!(fails(i64::MIN, i64::MAX, 1).contains("292 years"));
    let search = parse("{}").unwrap();
    let times = Times { start_ns: 0, end_ns: 1, step_ns: 0, exemplars: 0 };
    assert!(metrics(&shop(), &search, &times, &Budget::unlimited()).is_err());
}

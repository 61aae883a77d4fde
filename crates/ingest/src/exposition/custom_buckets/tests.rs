//! Classic buckets become custom ones, and only honest sets of them.

use super::*;
use crate::exposition::{Limits, parse};

#[derive(Default)]
struct Scribe(Vec<String>);

impl Visitor for Scribe {
    fn sample(&mut self, s: Sample<'_>) -> Result<()> {
        self.0.push(format!("{} {}", s.series, s.value));
        Ok(())
    }

    fn histogram(&mut self, s: NativeSample<'_>) -> Result<()> {
        let h = &s.value;
        self.0.push(format!(
            "{} {:?} {:?} count {} sum {} integer {} exemplars {}",
            s.series,
            h.custom_bounds,
            h.positive,
            h.count,
            h.sum,
            h.integer,
            s.exemplars.len()
        ));
        Ok(())
    }

    fn metadata(&mut self, _: Metadata<'_>) -> Result<()> {
        Ok(())
    }
}

fn check(body: &str, keep_classic: bool, expect: &[&str]) {
    let mut scribe = Scribe::default();
    let format = if body.ends_with("# EOF\n") { Format::OpenMetrics } else { Format::Prometheus };
    let mut visitor = CustomBuckets::new(&mut scribe, format, keep_classic);
    parse(body.as_bytes(), format, &Limits::NONE, &mut visitor).unwrap();
    visitor.finish().unwrap();
    assert_eq!(scribe.0, expect, "{body}");
}

const BODY: &str = "# TYPE h histogram\n\
    h_bucket{a=\"x\",le=\"1\"} 1\nh_bucket{a=\"x\",le=\"2\"} 3\nh_bucket{a=\"x\",le=\"+Inf\"} 3\n\
    h_count{a=\"x\"} 3\nh_sum{a=\"x\"} 4.5\n\
    h_bucket{a=\"y\",le=\"1\"} 0.5\nh_count{a=\"y\"} 2\nh_sum{a=\"y\"} 9\n\
    # TYPE g gauge\ng 1\n";

#[test]
fn buckets_become_one_sample() {
    let (x, y) = (
        "h{a=\"x\"} [1.0, 2.0] [1.0, 2.0] count 3 sum 4.5 integer true exemplars 0",
        "h{a=\"y\"} [1.0] [0.5, 1.5] count 2 sum 9 integer false exemplars 0",
    );
    check(BODY, false, &[x, y, "g 1"]);
    let classic: Vec<&str> = BODY.lines().filter(|l| l.starts_with("h_")).collect();
    let all = [&classic[..5], &[x], &classic[5..], &[y, "g 1"]].concat();
    check(BODY, true, &all);
}

#[test]
fn other_series_stay_as_they_are() {
    check(
        "# TYPE h gauge\nh_bucket{le=\"1\"} 1\nh_count 1\n",
        false,
        &["h_bucket{le=\"1\"} 1", "h_count 1"],
    );
    check(
        "# TYPE h histogram\nother_count 1\nh_bucket 2\n",
        false,
        &["other_count 1", "h_bucket 2"],
    );
}

#[test]
fn what_does_not_add_up_is_left_out() {
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 5\nh_bucket{le=\"2\"} 3\nh_count 5\n",
        false,
        &[],
    );
    check("# TYPE h histogram\nh_bucket{le=\"+Inf\"} 5\nh_count 6\n", false, &[]);
    check("# TYPE h histogram\nh_sum 5\n", false, &[]);
}

#[test]
fn exemplars_move_to_the_histogram() {
    check(
        "# TYPE h histogram\nh_bucket{le=\"1.0\"} 1 # {id=\"a\"} 0.5\nh_bucket{le=\"+Inf\"} 2 # {id=\"b\"} 3\n\
         h_count 2\nh_sum 3.5\n# EOF\n",
        false,
        &["h [1.0] [1.0, 1.0] count 2 sum 3.5 integer true exemplars 2"],
    );
}

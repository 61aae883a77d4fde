//! Pushes, groups and their files.

use proptest::prelude::*;

use super::*;
use crate::exposition::Format;

fn check(path: &str, expected: &str) {
    let labels = group_labels(path).map(|l| l.to_string()).unwrap_or_else(|e| e.to_string());
    assert_eq!(labels, expected);
}

#[test]
fn paths_name_groups() {
    check("job/a", r#"{job="a"}"#);
    check("job/a%2Fb/dir/c", r#"{dir="c", job="a/b"}"#);
    check("job@base64/YS9i/instance@base64/=", r#"{job="a/b"}"#);
    // A slash at the end is an empty value, which is no label; behind whole pairs it is nothing.
    check("job/a/b/", r#"{job="a"}"#);
    check("job/a/b@base64/", r#"{job="a"}"#);
    check("job/a/b@base64/=", r#"{job="a"}"#);
    check("job/a/", r#"{job="a"}"#);
    check("job/a/b/c/", r#"{b="c", job="a"}"#);
    check("job/a/b//c/d", r#"{c="d", job="a"}"#);
    check("job/", "job name is required");
    check("job/a/U__http_2e_path/x", r#"{http.path="x", job="a"}"#);
    check("job/a/b/c/b/d", "group has the label \"b\" twice");
    check("job@base64/!", "label value \"!\" is not base64 of UTF-8");
}

#[test]
fn groups_come_back_from_their_files() {
    let text = b"# HELP h Help\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum NaN\nh_count 1\nx -Inf\n";
    let labels = group_labels("job/a").unwrap();
    let encoding = Encoding::Text(Format::Prometheus);
    let families = read(text, encoding, &labels, &exposition::Limits::NONE, 5).unwrap();
    assert_eq!((families.len(), families["h"].samples.len()), (2, 3));
    let limits = Limits { push: exposition::Limits::NONE, groups_max: 1, series_max: 10 };
    let group = Groups::default().pushed(&labels, families, true, 5, &limits).unwrap();
    let content = group.encode();
    assert_eq!(Group::decode(&content).unwrap().encode(), content);
    for at in 0..content.len() {
        let mut damaged = content.clone();
        damaged[at] ^= 1;
        assert!(Group::decode(&damaged).is_err(), "byte {at}");
    }
}

proptest! {
    #[test]
    fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..200), path in "[a-z/%@_0-9]{0,40}") {
        prop_assert!(Group::decode(&noise).is_err());
        drop(group_labels(&path));
    }
}

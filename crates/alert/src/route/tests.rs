//! Inheritance, matching, keys.

use super::*;
use crate::matcher::Syntax;

fn written(matchers: &str, receiver: &str, routes: Vec<Written>) -> Written {
    Written {
        receiver: Some(receiver.to_owned()).filter(|name| !name.is_empty()),
        matchers: Syntax::Fallback.parse(matchers).unwrap().matchers,
        routes,
        ..Written::default()
    }
}

fn tree() -> Route {
    let continuing = |route: Written| Written { continues: true, ..route };
    let inner = vec![
        continuing(written("env=prod", "first", Vec::new())),
        written("z=~\".*\",env=~\"pr.*\"", "second", Vec::new()),
        written("env=prod", "third", Vec::new()),
    ];
    let mut a = written("team=a", "a", inner);
    a.group_by = Some(GroupBy::All);
    a.group_wait_ms = Some(1);
    a.labels.insert("x".to_owned(), "1".to_owned());
    a.mute_time_intervals.push("night".to_owned());
    Route::new(written("", "root", vec![a, written("team=b", "", Vec::new())]))
}

fn check(pairs: &[(&str, &str)], expected: &[(&str, &str)]) {
    let tree = tree();
    let found: Vec<(&str, &str)> = tree
        .matching(&Labels::from_pairs(pairs.iter().copied()))
        .iter()
        .map(|route| (route.receiver.as_str(), route.id.as_str()))
        .collect();
    assert_eq!(found, expected, "{pairs:?}");
}

#[test]
fn the_innermost_routes_match_and_only_some_continue() {
    check(&[], &[("root", "{}")]);
    check(&[("team", "b")], &[("root", "{}/{team=\"b\"}/1")]);
    check(&[("team", "a")], &[("a", "{}/{team=\"a\"}/0")]);
    check(
        &[("team", "a"), ("env", "prod")],
        &[
            ("first", "{}/{team=\"a\"}/0/{env=\"prod\"}/0"),
            ("second", "{}/{team=\"a\"}/0/{env=~\"pr.*\",z=~\".*\"}/1"),
        ],
    );
}

#[test]
fn routes_inherit_all_but_time_intervals() {
    let tree = tree();
    let routes = tree.walk();
    let second = routes.iter().find(|route| route.receiver == "second").unwrap();
    assert_eq!(second.key, "{}/{team=\"a\"}/{env=~\"pr.*\",z=~\".*\"}");
    assert_eq!((&second.group_by, second.group_wait_ms), (&GroupBy::All, 1));
    assert_eq!(second.group_interval_ms, GROUP_INTERVAL_MS);
    assert_eq!(second.labels["x"], "1");
    assert!(second.mute_time_intervals.is_empty());
    let labels = Labels::from_pairs([("a", "1"), ("b", "2")]);
    assert_eq!(second.group_labels(&labels), labels);
    assert!(tree.group_labels(&labels).is_empty());
}

//! One line per case: rules, labels in, labels out (`None` when dropped).

use model::Labels;

use super::{Action, Rule, RuleConfig, apply_to};

fn rule(edit: impl FnOnce(&mut RuleConfig)) -> Rule {
    let mut config = RuleConfig::default();
    edit(&mut config);
    Rule::new(config).unwrap()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn names(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|n| (*n).to_owned()).collect())
}

fn check(rule: Rule, input: &[(&str, &str)], expect: Option<&[(&str, &str)]>) {
    let input = Labels::from_pairs(input.iter().copied());
    let expect = expect.map(|pairs| Labels::from_pairs(pairs.iter().copied()));
    assert_eq!(apply_to(&[rule], &input), expect);
}

#[test]
fn replace_expands_numbered_and_braced_groups() {
    let both = rule(|c| {
        c.source_labels = names(&["a", "b"]);
        c.regex = text("(.)(.*);(.*)");
        c.target_label = text("${1}_label");
        c.replacement = text("$3-${2}$$-$9-$1x");
    });
    check(
        both,
        &[("a", "xyz"), ("b", "q")],
        Some(&[("a", "xyz"), ("b", "q"), ("x_label", "q-yz$--")]),
    );
}

#[test]
fn replace_with_an_empty_result_removes_the_label() {
    let remove = rule(|c| {
        c.source_labels = names(&["gone"]);
        c.target_label = text("a");
    });
    check(remove, &[("a", "1"), ("b", "2")], Some(&[("b", "2")]));
}

#[test]
fn regexes_are_anchored_and_dots_match_newlines() {
    let keep = |pattern: &str| {
        rule(|c| {
            c.source_labels = names(&["a"]);
            c.regex = text(pattern);
            c.action = Some(Action::Keep);
        })
    };
    check(keep("b"), &[("a", "abc")], None);
    check(keep("a.c"), &[("a", "a\nc")], Some(&[("a", "a\nc")]));
    check(keep("x|abc"), &[("a", "abc")], Some(&[("a", "abc")]));
}

#[test]
fn hashmod_is_that_of_prometheus() {
    let hash = rule(|c| {
        c.source_labels = names(&["a"]);
        c.target_label = text("shard");
        c.modulus = Some(1000);
        c.action = Some(Action::HashMod);
    });
    // Expected value computed with another implementation of MD5.
    check(hash, &[("a", "foo")], Some(&[("a", "foo"), ("shard", "696")]));
}

#[test]
fn labelmap_takes_names_from_before_the_rule() {
    let map = rule(|c| {
        c.regex = text("meta_(.+)");
        c.replacement = text("my.${1}");
        c.action = Some(Action::LabelMap);
    });
    check(map, &[("meta_a", "1"), ("b", "2")], Some(&[("meta_a", "1"), ("b", "2"), ("my.a", "1")]));
}

#[test]
fn invalid_rules_say_what_is_wrong() {
    let error = |edit: fn(&mut RuleConfig)| {
        let mut config = RuleConfig::default();
        edit(&mut config);
        Rule::new(config).unwrap_err().message().to_owned()
    };
    assert_eq!(error(|c| c.regex = text("a")), "replace needs a target_label");
    assert_eq!(error(|c| c.action = Some(Action::HashMod)), "hashmod needs a modulus above 0");
    assert_eq!(
        error(|c| (c.action, c.modulus) = (Some(Action::LabelKeep), Some(8))),
        "labelkeep takes only regex"
    );
    assert!(error(|c| c.regex = text("(")).starts_with("regex: invalid regular expression"));
}

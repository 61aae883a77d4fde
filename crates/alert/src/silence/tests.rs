//! The life of silences.

use super::*;

fn silence(id: &str, alertname: &str, starts_ms: i64, ends_ms: i64) -> Silence {
    let matcher = Matcher::new("alertname", Op::Equal, alertname).unwrap();
    Silence {
        id: id.to_owned(),
        matchers: Matchers(vec![matcher]),
        starts_ms,
        ends_ms,
        updated_ms: 0,
        created_by: "me".to_owned(),
        comment: String::new(),
        annotations: BTreeMap::new(),
    }
}

/// Sets silences one after the other, each at the time given with it, and tells what each call made: ids with start and
/// end.
fn check(steps: &[(i64, Silence)], expected: &[&str]) {
    let mut silences = Silences::default();
    let mut found = Vec::new();
    for (number, (now_ms, silence)) in steps.iter().enumerate() {
        let changed = silences.set(silence.clone(), format!("n{number}"), *now_ms);
        let told = |s: &Arc<Silence>| format!("{} {}..{}", s.id, s.starts_ms, s.ends_ms);
        found.push(match changed {
            Ok(changed) => changed.iter().map(told).collect::<Vec<_>>().join(", "),
            Err(error) => error.message().to_owned(),
        });
    }
    assert_eq!(found, expected);
}

#[test]
fn silences_change_in_place_only_where_the_past_stays() {
    // Active: the end moves.
    check(
        &[(1000, silence("", "a", 500, 9000)), (2000, silence("n0", "a", 1000, 8000))],
        &["n0 1000..9000", "n0 1000..8000"],
    );
    // Other matchers: the first ends, another begins.
    check(
        &[(1000, silence("", "a", 1000, 9000)), (2000, silence("n0", "b", 1000, 8000))],
        &["n0 1000..9000", "n0 1000..2000, n1 2000..8000"],
    );
    // Pending: all but the matchers.
    check(
        &[(1000, silence("", "a", 5000, 9000)), (2000, silence("n0", "a", 4000, 8000))],
        &["n0 5000..9000", "n0 4000..8000"],
    );
    // Expired: only a new one.
    check(
        &[(1000, silence("", "a", 1000, 1500)), (2000, silence("n0", "a", 1000, 8000))],
        &["n0 1000..1500", "n1 2000..8000"],
    );
    check(&[(1000, silence("gone", "a", 1000, 9000))], &["silence not found"]);
    check(
        &[(1000, silence("", "", 1000, 9000))],
        &["invalid silence: at least one matcher must not match the empty string"],
    );
}

#[test]
fn a_silence_may_only_exclude() {
    let mut all_but = silence("", "a", 1000, 2000);
    let matcher = Matcher::new("alertname", Op::NotEqual, "Watchdog").unwrap();
    all_but.matchers = Matchers(vec![matcher]);
    let mut silences = Silences::default();
    silences.set(all_but, "s".to_owned(), 1000).unwrap();
    let covered =
        |name: &str| silences.covering(&Labels::from_pairs([("alertname", name)]), 1000).count();
    assert_eq!((covered("Watchdog"), covered("Disk")), (0, 1));
}

#[test]
fn silences_cover_while_active_and_are_forgotten_later() {
    let mut silences = Silences::default();
    silences.set(silence("", "a", 1000, 2000), "s".to_owned(), 0).unwrap();
    let labels = Labels::from_pairs([("alertname", "a")]);
    let covered = |silences: &Silences, now_ms| silences.covering(&labels, now_ms).count();
    assert_eq!([999, 1000, 1999, 2000].map(|t| covered(&silences, t)), [0, 1, 1, 0]);
    silences.expire("s", 1500).unwrap();
    assert_eq!(covered(&silences, 1500), 0);
    assert_eq!(silences.expire("s", 1600).unwrap_err().message(), "silence s already expired");
    assert!(silences.forget_expired(1600, 1000).is_empty());
    assert_eq!(silences.forget_expired(2500, 1000), ["s"]);
    assert!(silences.get("s").is_none());
}

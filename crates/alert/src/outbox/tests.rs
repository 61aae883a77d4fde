//! The order of messages and when they are tried again.

use super::*;

fn job(outbox: &mut Outbox, group: &str, at_ms: i64) -> Arc<Job> {
    let key = LogKey {
        group_key: group.to_owned(),
        receiver: "r".to_owned(),
        integration: "webhook".to_owned(),
        index: 0,
    };
    let job = Arc::new(Job {
        id: outbox.next_id(),
        key,
        reason: Reason::First,
        group_labels: Labels::default(),
        route_labels: Pairs::new(),
        alerts: Vec::new(),
        at_ms,
        repeat_interval_ms: 1,
        former: None,
    });
    outbox.add(job.clone());
    job
}

fn done(outbox: &mut Outbox, id: u64) {
    outbox.remove(&[id]);
}

fn failed(outbox: &mut Outbox, id: u64, after_ms: Option<i64>, now_ms: i64) -> Option<i64> {
    let key = outbox.iter().find(|job| job.id == id)?.key.clone();
    outbox.failed(&key, id, after_ms, now_ms)
}

fn due(outbox: &mut Outbox, now_ms: i64) -> Vec<u64> {
    outbox.take_due(10, now_ms).iter().map(|job| job.id).collect()
}

#[test]
fn a_group_waits_for_its_first_message_and_for_no_other_group() {
    let mut outbox = Outbox::default();
    for group in ["a", "a", "b"] {
        job(&mut outbox, group, 0);
    }
    assert_eq!(due(&mut outbox, 0), [1, 3]);
    assert_eq!((failed(&mut outbox, 1, None, 0), outbox.next_ms()), (Some(500), Some(500)));
    done(&mut outbox, 3);
    assert_eq!(due(&mut outbox, 499), [0_u64; 0]);
    assert_eq!(due(&mut outbox, 500), [1]);
    assert_eq!(failed(&mut outbox, 1, Some(90_000), 500), Some(90_500), "as the receiver asks");
    assert_eq!(due(&mut outbox, 90_500), [1]);
    done(&mut outbox, 1);
    assert_eq!((due(&mut outbox, 90_500), outbox.len()), (vec![2], 1));
}

#[test]
fn an_integration_that_hangs_leaves_room_for_others() {
    let mut outbox = Outbox::default();
    for number in 0..20 {
        job(&mut outbox, &format!("{}", 100 - number), number);
    }
    let first: Vec<u64> = (1..=UNDER_WAY_MAX as u64).collect();
    assert_eq!(due(&mut outbox, 100), first, "in the order they were made");
    assert!(outbox.take_due(100, 100).is_empty());
    let mut other = Job::clone(outbox.iter().next().unwrap());
    (other.id, other.key.receiver) = (outbox.next_id(), "other".to_owned());
    outbox.add(Arc::new(other));
    assert_eq!(due(&mut outbox, 100), [21]);
    done(&mut outbox, 1);
    assert_eq!(due(&mut outbox, 100), [UNDER_WAY_MAX as u64 + 1]);
}

#[test]
fn a_message_of_a_former_life_is_there_once() {
    let mut outbox = Outbox::default();
    let first = job(&mut outbox, "a", 0);
    let second = job(&mut outbox, "a", 1);
    // A snapshot that was cut off behind the first.
    outbox.restore(first);
    assert_eq!(outbox.iter().map(|job| job.id).collect::<Vec<_>>(), [1, 2]);
    outbox.restore(second);
    assert_eq!(outbox.len(), 2);
}

#[test]
fn a_receiver_cannot_ask_for_silence() {
    let mut outbox = Outbox::default();
    job(&mut outbox, "a", 0);
    assert_eq!(due(&mut outbox, 0), [1]);
    assert_eq!(failed(&mut outbox, 1, Some(i64::MAX), 0), Some(ASKED_MAX_MS));
}

#[test]
fn waits_grow_to_a_minute() {
    let waits: Vec<_> = [0, 1, 2, 3, 11, 12, 1000].into_iter().map(backoff_ms).collect();
    assert_eq!(waits, [500, 750, 1125, 1687, 43_248, 60_000, 60_000]);
}

#[test]
fn what_is_too_much_or_too_old_is_given_up_and_said() {
    let mut outbox = Outbox::default();
    for at_ms in 0..=GROUP_JOBS_MAX {
        job(&mut outbox, "a", i64::try_from(at_ms).unwrap());
    }
    let dropped = outbox.take_dropped();
    assert_eq!((dropped.len(), dropped[0].job.id, outbox.len()), (1, 1, GROUP_JOBS_MAX));
    // What is being sent stays.
    assert_eq!(due(&mut outbox, 1000), [2]);
    job(&mut outbox, "a", 1000);
    assert_eq!(outbox.take_dropped()[0].job.id, 3);
    failed(&mut outbox, 2, None, 1000);
    outbox.forget_old(JOB_AGE_MAX_MS + 10);
    let dropped: Vec<_> = outbox.take_dropped().iter().map(|dropped| dropped.job.id).collect();
    assert_eq!(dropped, [2, 4, 5, 6, 7, 8, 9, 10], "those made before 10");
}

#[test]
fn alerts_are_told_by_job_and_instance_first() {
    let mut told: Vec<Told> = [
        &[("alertname", "x")][..],
        &[("alertname", "b"), ("job", "j"), ("instance", "2")],
        &[("alertname", "c"), ("job", "j"), ("instance", "1")],
        &[("alertname", "a"), ("b", "c")],
        &[("alertname", "z"), ("job", "a")],
    ]
    .iter()
    .map(|pairs| Told {
        labels: Labels::from_pairs(pairs.iter().copied()),
        annotations: Pairs::new(),
        starts_ms: 0,
        ends_ms: None,
        generator_url: String::new(),
    })
    .collect();
    told.sort_by(Told::order);
    let names: Vec<_> = told.iter().map(|told| told.labels.get("alertname").unwrap()).collect();
    assert_eq!(names, ["z", "c", "b", "x", "a"]);
}

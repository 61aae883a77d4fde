//! Samples with times of their own, as the scrapes they once were.
//!
//! Owns: taking a pushed batch (remote write) apart by target and time, so that its samples become rows that share their
//! timestamp and compress like scrapes, and one answer out of those to the pieces. Does not own: which shard a piece
//! goes to ([`store`](crate::store)), nor what becomes of what fits no group.

use std::sync::Arc;

use model::{Done, Error, Labels, MetricBatch, MetricRow, Receipt, StampedRow};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// Fewer samples of one target and time are not worth a row.
const GROUP_MIN: usize = 8;

/// One target's samples at one time.
struct Group {
    source: Arc<str>,
    t_ms: i64,
    rows: Vec<MetricRow>,
}

/// Takes the groups out of `batch`, in order of time; each is a batch of rows. What stays has none.
pub(crate) fn take_groups(batch: &mut MetricBatch) -> Vec<MetricBatch> {
    let mut taken = Vec::new();
    if batch.steady.is_group && !batch.steady.series.is_empty() {
        let steady = std::mem::take(&mut batch.steady);
        let source = group_source(&batch.source, &steady.series[0]);
        taken.push(MetricBatch { source, t_ms: batch.t_ms, steady, ..MetricBatch::default() });
    }
    if batch.stamped.len() < GROUP_MIN {
        return taken;
    }
    let numbers = group_numbers(&batch.stamped);
    let mut counts: Vec<usize> = Vec::new();
    for number in &numbers {
        counts.resize(counts.len().max(number + 1), 0);
        counts[*number] += 1;
    }
    let mut groups: Vec<Group> = Vec::with_capacity(counts.len());
    for (row, number) in std::mem::take(&mut batch.stamped).into_iter().zip(numbers) {
        if number == groups.len() {
            let source = group_source(&batch.source, &row.labels);
            let rows = Vec::with_capacity(counts[number]);
            groups.push(Group { source, t_ms: row.t_ms, rows });
        }
        groups[number].rows.push(MetricRow { labels: row.labels, value: row.value });
    }
    for Group { source, t_ms, rows } in groups {
        if rows.len() < GROUP_MIN {
            let stamped = rows.into_iter().map(|row| StampedRow::new(row.labels, t_ms, row.value));
            batch.stamped.extend(stamped);
        } else {
            taken.push(MetricBatch { source, t_ms, rows, ..MetricBatch::default() });
        }
    }
    taken.sort_by_key(|group| group.t_ms);
    taken
}

/// The group of each row, numbered in order of appearance.
fn group_numbers(rows: &[StampedRow]) -> Vec<usize> {
    let mut keys: Vec<(u64, i64)> = Vec::new();
    let mut by_key: FxHashMap<(u64, i64), usize> = FxHashMap::default();
    // Senders gather what one scrape brought, or the samples of one series after another: most rows are of the group of
    // the row before, of the one after that, or of the one with which the series before began.
    let (mut current, mut began) = (0, 0);
    let mut numbers = Vec::with_capacity(rows.len());
    for row in rows {
        let key = (row.target, row.t_ms);
        let before = current;
        let likely = [before, before + 1, began];
        current = match likely.into_iter().find(|number| keys.get(*number) == Some(&key)) {
            Some(number) => number,
            None => *by_key.entry(key).or_insert_with(|| {
                keys.push(key);
                keys.len() - 1
            }),
        };
        began = if current == before || current == before + 1 { began } else { current };
        numbers.push(current);
    }
    numbers
}

/// The source of a group, by any of its series.
fn group_source(source: &str, labels: &Labels) -> Arc<str> {
    let of = |name: &str| labels.get(name).unwrap_or("");
    format!("{source}/{}/{}", of("job"), of("instance")).into()
}

/// Whether nothing is left of a batch.
pub(crate) fn is_empty(batch: &MetricBatch) -> bool {
    batch.sample_count() == 0 && batch.exemplars.is_empty() && batch.metadata.is_empty()
}

/// What the pieces' answers make so far.
struct Answers {
    open: usize,
    receipt: Receipt,
    failed: Option<Error>,
    done: Option<Done>,
}

/// `count` answers whose sum goes to `done`: an error when any piece failed, as then the batch must be sent again.
pub(crate) fn fan_in(done: Done, count: usize) -> Vec<Done> {
    let answers =
        Answers { open: count, receipt: Receipt::default(), failed: None, done: Some(done) };
    let answers = Arc::new(Mutex::new(answers));
    let one = |_| {
        let answers = Arc::clone(&answers);
        Done::new(move |outcome| {
            let mut all = answers.lock();
            all.open -= 1;
            match outcome {
                Ok(receipt) => add(&mut all.receipt, receipt),
                Err(e) => all.failed = Some(e),
            }
            if all.open > 0 {
                return;
            }
            let outcome = match all.failed.take() {
                Some(e) => Err(e),
                None => Ok(std::mem::take(&mut all.receipt)),
            };
            let done = all.done.take();
            drop(all);
            if let Some(done) = done {
                done.call(outcome);
            }
        })
    };
    (0..count).map(one).collect()
}

fn add(sum: &mut Receipt, more: Receipt) {
    sum.stored += more.stored;
    for (reason, count) in more.rejected {
        match sum.rejected.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum += count,
            None => sum.rejected.push((reason, count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_grouped_by_target_and_time(keys in proptest::collection::vec((0u64..3, 0i64..4), 0..60)) {
            let row = |(target, t_ms)| StampedRow { labels: Labels::default(), t_ms, value: 0.0, target };
            let rows: Vec<StampedRow> = keys.iter().copied().map(row).collect();
            let mut distinct = Vec::new();
            let expected: Vec<usize> = keys
                .iter()
                .map(|key| {
                    distinct.iter().position(|known| known == key).unwrap_or_else(|| {
                        distinct.push(*key);
                        distinct.len() - 1
                    })
                })
                .collect();
            prop_assert_eq!(group_numbers(&rows), expected);
        }
    }
}

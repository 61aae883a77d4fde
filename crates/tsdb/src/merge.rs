//! Merging the parts of a day, so that their number stays small and closed days take their final form.
//!
//! Owns: what to merge when. Does not own: the merge itself ([`write`]), how fast it goes and when it stops ([`pace`]),
//! the parts' bytes ([`part`](crate::part)).
//!
//! Only neighbours in sequence are merged: then the newest sequence number of the result still orders it among the
//! others, and of two samples at the same time the later one keeps counting.
//!
//! A sample is written three times: by its flush, by one merge inside its day, and when the day is closed. How many
//! flushed parts make a merge grows with the merged ones there are, so that both kinds stay few (about the root of twice
//! the flushes) without a third one. What comes for a closed day is merged by tiers of its own, and with the whole day
//! only once it is a good part of it.

mod pace;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use model::{Error, ErrorKind, Result};

use crate::cuts::Tombstone;
use crate::flush::DayParts;
use crate::part::{DAY_MS, Part, day_of};
use crate::postings::matching;
use crate::shard::Shared;

pub(crate) use pace::{Brake, Pace};

/// Parts of one level that are merged to one of the next, at least.
const FAN_IN: usize = 8;
/// Late parts a closed day collects, at least, before it is written anew.
const LATE_PARTS: usize = 4;
/// A closed day is written anew when its late parts have this part of its bytes.
const LATE_SHARE: u64 = 4;
/// How long after its end a day is closed.
const CLOSE_AFTER_MS: i64 = 10 * 60_000;
/// Level of a closed day's part.
const COLD_LEVEL: u8 = 100;
/// How often the merger looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The next merge, if one is due.
struct Due {
    inputs: Vec<Arc<Part>>,
    level: u8,
    cold: bool,
}

fn due(parts: &[Arc<Part>], now_ms: i64) -> Option<Due> {
    let mut days: BTreeMap<i64, Vec<&Arc<Part>>> = BTreeMap::new();
    for part in parts {
        days.entry(day_of(part.meta().first_ms)).or_default().push(part);
    }
    for (day, parts) in days {
        let is_closed = (day + 1) * DAY_MS + CLOSE_AFTER_MS <= now_ms;
        let inputs = |parts: &[&Arc<Part>]| parts.iter().map(|part| Arc::clone(part)).collect();
        if is_closed {
            let bytes = |cold: bool| {
                let of = parts.iter().filter(|part| part.meta().cold == cold);
                (of.clone().count(), of.map(|part| part.file_bytes()).sum::<u64>())
            };
            let ((cold, cold_bytes), (late, late_bytes)) = (bytes(true), bytes(false));
            if cold == 0 || late > LATE_PARTS && late_bytes >= cold_bytes / LATE_SHARE {
                return Some(Due { inputs: inputs(&parts), level: COLD_LEVEL, cold: true });
            }
        }
        let merged = parts.iter().filter(|part| part.meta().level > 0).count();
        for run in parts.chunk_by(|a, b| a.meta().level == b.meta().level) {
            let level = run[0].meta().level;
            let (is_due, most) = if is_closed {
                (run.len() >= FAN_IN && !run[0].meta().cold, level < COLD_LEVEL - 1)
            } else {
                (run.len() >= FAN_IN.max(merged), level == 0)
            };
            if is_due && most {
                return Some(Due { inputs: inputs(run), level: level + 1, cold: false });
            }
        }
    }
    None
}

/// Does one merge if one is due; whether it did.
///
/// # Errors
/// A failure to read or write, [`Busy`](ErrorKind::Busy) when there is no room for its output,
/// [`Cancelled`](ErrorKind::Cancelled) by [`Brake::stop`]: all is as before then.
pub(crate) fn merge_once(shared: &Shared, pace: &mut Pace) -> Result<bool> {
    let _merging = pace.lock(shared);
    let parts = shared.head.read().parts.clone();
    let Some(due) = due(&parts, shared.clock.now_ms()) else {
        return enforce_rules(shared, &parts, pace);
    };
    let seqs = due.inputs.iter().map(|part| part.meta());
    let first_seq = seqs.clone().map(|meta| meta.first_seq).min().unwrap_or(0);
    let last_seq = seqs.map(|meta| meta.last_seq).max().unwrap_or(0);
    // A closed day written anew must not get the name of one of its inputs.
    let taken = due.inputs.iter().map(|part| part.meta().level).max().unwrap_or(0);
    let level =
        if taken >= due.level { taken.checked_add(1).unwrap_or(COLD_LEVEL) } else { due.level };
    let output = DayParts::new(shared, (first_seq, last_seq), level, due.cold);
    replace(shared, &due.inputs, output, pace)?;
    drop_done(shared)?;
    Ok(true)
}

/// Writes `inputs` as `output`, without what is hidden, and makes that live instead; false when one of them is gone.
fn replace(
    shared: &Shared,
    inputs: &[Arc<Part>],
    output: DayParts<'_>,
    pace: &mut Pace,
) -> Result<bool> {
    make_room(shared, inputs)?;
    let tombstones = shared.head.read().tombstones.clone();
    let mut output = output.under(tombstones.last().map_or(0, |tombstone| tombstone.number));
    let merged = write::write(shared, inputs, &tombstones, &mut output, pace);
    let merged = merged.and_then(|()| output.finish());
    merged.and_then(|names| shared.replace_parts(inputs, &names))
}

/// Checks that the output, which is no larger than `inputs`, leaves the disk the bytes that are to be kept free. Parts
/// past retention, which would make room, are not waited for.
fn make_room(shared: &Shared, inputs: &[Arc<Part>]) -> Result<()> {
    let floor = shared.common.config.free_bytes_floor;
    let needed: u64 = inputs.iter().map(|part| part.file_bytes()).sum();
    let free = shared.free_bytes()?;
    if free >= needed.saturating_add(floor) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Busy,
        format!(
            "merging {} parts takes {needed} bytes; {free} are free, of which {floor} must stay",
            inputs.len()
        ),
    ))
}

/// Writes a part anew without what is hidden.
fn rewrite(shared: &Shared, part: &Arc<Part>, pace: &mut Pace) -> Result<bool> {
    let meta = part.meta();
    let seqs = (meta.first_seq, meta.last_seq);
    let output = DayParts::new(shared, seqs, meta.level, meta.cold).instead_of(part);
    replace(shared, std::slice::from_ref(part), output, pace)
}

/// Writes one part of a closed day anew that has series of which nothing in it is inside retention; whether it did.
fn enforce_rules(shared: &Shared, parts: &[Arc<Part>], pace: &mut Pace) -> Result<bool> {
    let retention = shared.retention();
    if retention.rules.is_empty() {
        return Ok(false);
    }
    for part in parts.iter().filter(|part| part.meta().cold) {
        let over = retention.expired(part.meta().last_ms);
        if over & !part.settled() == 0 {
            continue;
        }
        let index = part.index().inspect_err(|e| shared.note_damage(part, e))?;
        if retention.has_expired(&index, part.meta().last_ms) {
            return rewrite(shared, part, pace);
        }
        part.settle(over);
    }
    Ok(false)
}

/// Writes all parts anew that have something under a tombstone, and forgets the tombstones; returns how many parts.
///
/// # Errors
/// As [`merge_once`].
pub(crate) fn clean_tombstones(shared: &Shared, pace: &mut Pace) -> Result<usize> {
    let _merging = pace.lock(shared);
    let parts = shared.head.read().parts.clone();
    let mut rewritten = 0;
    for part in parts {
        if needs_tombstone(shared, &part)? {
            rewritten += usize::from(rewrite(shared, &part, pace)?);
        }
    }
    drop_done(shared)?;
    Ok(rewritten)
}

fn needs_tombstone(shared: &Shared, part: &Arc<Part>) -> Result<bool> {
    let tombstones = shared.head.read().tombstones.clone();
    for tombstone in tombstones.iter().filter(|tombstone| tombstone.concerns(part)) {
        if has_series(shared, part, tombstone)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_series(shared: &Shared, part: &Arc<Part>, tombstone: &Tombstone) -> Result<bool> {
    let index = part.index().inspect_err(|e| shared.note_damage(part, e))?;
    Ok(!matching(&*index, &tombstone.matchers).is_empty())
}

/// Forgets tombstones that no part needs any more. The caller holds `merging`, so parts only come by flushes, which no
/// tombstone made before concerns.
fn drop_done(shared: &Shared) -> Result<()> {
    let (parts, tombstones) = {
        let head = shared.head.read();
        (head.parts.clone(), head.tombstones.clone())
    };
    let mut done = Vec::new();
    for tombstone in tombstones {
        let mut is_needed = false;
        for part in parts.iter().filter(|part| tombstone.concerns(part)) {
            is_needed = is_needed || has_series(shared, part, &tombstone)?;
        }
        if !is_needed {
            done.push(tombstone);
        }
    }
    if done.is_empty() { Ok(()) } else { shared.drop_tombstones(&done) }
}

/// Does one merge in whichever shard one is due; a shard that fails does not keep the others from theirs.
fn merge_any(shards: &[Arc<Shared>], pace: &mut Pace) -> Result<bool> {
    let mut failed = Ok(false);
    for shared in shards {
        match merge_once(shared, pace) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(e) => failed = Err(e),
        }
    }
    failed
}

/// The merger's thread: works when woken or by itself now and then, until `wake` is closed or the brake is pulled.
pub(crate) fn run(shards: &[Arc<Shared>], wake: &Receiver<()>) {
    let Some(shared) = shards.first() else { return };
    let mut pace = Pace::slow(shared);
    let mut failure = String::new();
    loop {
        match wake.recv_timeout(LOOK_EVERY) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        pace.restart();
        loop {
            match merge_any(shards, &mut pace) {
                Ok(true) => failure.clear(),
                Ok(false) => break,
                Err(e) if e.kind() == ErrorKind::Corrupt => {}
                Err(e) if e.kind() == ErrorKind::Cancelled => return,
                Err(e) => {
                    // Tried again twice a minute: the same again is no news.
                    if e.to_string() != failure {
                        failure = e.to_string();
                        tracing::warn!(error = %e, "merge of metric parts failed; it will be tried again");
                    }
                    break;
                }
            }
        }
    }
}

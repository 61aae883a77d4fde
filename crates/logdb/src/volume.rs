//! How much streams have in a range of time, read off the index of parts: nothing is decoded.
//!
//! Runs that lie wholly inside count as they are, others in proportion to how much of their time does.

use std::collections::BTreeMap;

use model::{Budget, Labels, Matcher, Result, StreamVolume, TimeRange};

use crate::block::Run;
use crate::select;
use crate::view::View;

/// Volumes of the streams that satisfy `matchers`.
pub(crate) fn run(
    view: &View,
    matchers: &[Matcher],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<StreamVolume>> {
    let mut volumes: BTreeMap<&Labels, (u64, u64, u64)> = BTreeMap::new();
    for part in view.all_parts() {
        budget.check()?;
        if !range.overlaps(part.summary.min_ns, part.summary.max_ns) {
            continue;
        }
        let wanted = select::matching(&part.streams, matchers);
        for block in &part.blocks {
            let hit = |run: &&Run| {
                wanted.get(run.stream as usize) == Some(&true)
                    && range.overlaps(run.min_ns, run.max_ns)
            };
            for run in block.runs.iter().filter(hit) {
                let rows = rows_within(run, range);
                let share = rows as f64 / f64::from(run.rows.max(1));
                let volume = volumes.entry(&part.streams[run.stream as usize]).or_default();
                volume.0 += rows;
                volume.1 += (run.raw_bytes as f64 * share).round() as u64;
                volume.2 += 1;
            }
        }
    }
    for chunk in view.chunks.iter().filter(|c| range.overlaps(c.min_ns, c.max_ns)) {
        budget.check()?;
        let wanted = select::matching(chunk.rows.streams(), matchers);
        let mut seen = vec![false; wanted.len()];
        for i in 0..chunk.len() {
            let number = chunk.rows.stream_number(i) as usize;
            if wanted[number] && range.contains(chunk.rows.t_ns(i)) {
                let volume = volumes.entry(&chunk.rows.streams()[number]).or_default();
                volume.0 += 1;
                volume.1 += chunk.rows.line_len(i) as u64;
                volume.2 += u64::from(!std::mem::replace(&mut seen[number], true));
            }
        }
    }
    let volume = |(stream, (rows, bytes, blocks)): (&Labels, (u64, u64, u64))| StreamVolume {
        stream: stream.clone(),
        rows,
        bytes,
        blocks,
    };
    Ok(volumes.into_iter().filter(|(_, v)| v.0 > 0).map(volume).collect())
}

/// About how many rows of `run` are in `range`; all when it lies inside.
fn rows_within(run: &Run, range: TimeRange) -> u64 {
    let rows = u64::from(run.rows);
    let (from_ns, to_ns) =
        (run.min_ns.max(range.start_ns), run.max_ns.min(range.end_ns.saturating_sub(1)));
    if (from_ns, to_ns) == (run.min_ns, run.max_ns) {
        return rows;
    }
    // One more than the difference: both ends belong to it.
    let span = |from: i64, to: i64| (i128::from(to) - i128::from(from) + 1) as f64;
    (rows as f64 * span(from_ns, to_ns) / span(run.min_ns, run.max_ns)).round() as u64
}

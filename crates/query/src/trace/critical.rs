//! The critical path: what a trace waited for, from its root's end back to its start.
//!
//! Backwards from the end of a span, the child that ended last is what it waited for; before that child began, the one that
//! had ended last by then, and so on. What is left is the span's own time. A child counts only as far as it lies within
//! its parent: work that goes on after it was not waited for, and where clocks disagree nothing can be said.
//!
//! Source: "CRISP: Critical Path Analysis of Large-Scale Microservice Architectures", USENIX ATC 2022.

use std::cmp::Reverse;

use model::{Budget, Result};

use super::waterfall::{Children, Row};

/// A stretch of time: `[start, end)` in Unix nanoseconds, the end never before the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
}

impl Interval {
    /// The part of it within `outer`, if they touch.
    pub(super) fn within(self, outer: Self) -> Option<Self> {
        let start_ns = self.start_ns.max(outer.start_ns);
        let end_ns = self.end_ns.min(outer.end_ns);
        (start_ns <= end_ns).then_some(Self { start_ns, end_ns })
    }
}

/// A span on the path whose beginning has not been reached yet.
struct Open {
    row: usize,
    start_ns: i64,
    /// What is behind it is done.
    until_ns: i64,
    /// Children within it and their parts, those that end first and are shortest at the front.
    left: Vec<(u32, Interval)>,
}

impl Open {
    fn new(row: usize, own: Interval, rows: &[Row<'_>], children: &Children) -> Self {
        let part = |child: &u32| Some((*child, rows[*child as usize].interval().within(own)?));
        let mut left: Vec<(u32, Interval)> = children.of(row).iter().filter_map(part).collect();
        left.sort_by_key(|(_, part)| (part.end_ns, Reverse(part.start_ns)));
        Self { row, start_ns: own.start_ns, until_ns: own.end_ns, left }
    }

    /// The child that ended last by `until_ns`; those that ended later were not waited for.
    fn last_finished(&mut self) -> Option<(u32, Interval)> {
        while let Some((child, part)) = self.left.pop() {
            if part.end_ns <= self.until_ns {
                return Some((child, part));
            }
        }
        None
    }
}

/// Notes on `rows` which parts of them are the critical path of the tree of `root`.
pub(super) fn critical_path(
    rows: &mut [Row<'_>],
    root: usize,
    children: &Children,
    budget: &Budget,
) -> Result<()> {
    let mut open = vec![Open::new(root, rows[root].interval(), rows, children)];
    let note = |rows: &mut [Row<'_>], row: usize, start_ns: i64, end_ns: i64| {
        if start_ns < end_ns {
            rows[row].critical.push((start_ns, end_ns));
        }
    };
    while let Some(last) = open.last_mut() {
        budget.check()?;
        match last.last_finished() {
            Some((child, part)) => {
                note(rows, last.row, part.end_ns, last.until_ns);
                last.until_ns = part.start_ns;
                open.push(Open::new(child as usize, part, rows, children));
            }
            None => {
                note(rows, last.row, last.start_ns, last.until_ns);
                open.pop();
            }
        }
    }
    rows.iter_mut().for_each(|row| row.critical.reverse());
    Ok(())
}

//! How long which streams are kept: classes of streams, what is past its time, and what a change of rules would remove.
//!
//! A stream belongs to the first rule that matches its labels, or to none, for which the store's retention holds. Rows of
//! one class go to parts of their own, so that retention is the removal of files. A part from before a rule has streams of
//! several classes: it is written anew without a class whose time is over. Rows go when the last one of their part (of a
//! day at most) is past its time. Does not own: writing and removing parts (`merge`, `engine`).

use model::{Error, Labels, Result, RetentionPreview, RetentionRule};

use crate::part::Part;
use crate::store::Store;

/// Rules of retention at most.
pub const RULES_MAX: usize = 8;

/// Classes of streams: bit *i* is rule *i*, the bit behind the last rule is the streams that no rule matches.
pub(crate) type Classes = u16;

/// The rules of a store.
#[derive(Debug, Clone)]
pub(crate) struct Retention {
    rules: Vec<RetentionRule>,
    default_ms: i64,
}

impl Retention {
    pub(crate) fn new(rules: Vec<RetentionRule>, default_ms: i64) -> Result<Self> {
        if rules.len() > RULES_MAX {
            let message =
                format!("{} rules of retention for logs; at most {RULES_MAX}", rules.len());
            return Err(Error::invalid(message));
        }
        Ok(Self { rules, default_ms })
    }

    /// Number of the class of a stream, up to the number of rules.
    pub(crate) fn class(&self, stream: &Labels) -> usize {
        let is_its = |rule: &RetentionRule| rule.matchers.iter().all(|m| m.matches_labels(stream));
        self.rules.iter().position(is_its).unwrap_or(self.rules.len())
    }

    /// How long rows of a class are kept, in milliseconds.
    pub(crate) fn keep_ms(&self, class: usize) -> i64 {
        self.rules.get(class).map_or(self.default_ms, |rule| rule.retention_ms)
    }

    /// First nanosecond that a class keeps at `now_ms`.
    pub(crate) fn oldest_ns(&self, class: usize, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.keep_ms(class)).saturating_mul(1_000_000)
    }

    /// How long the class that is kept longest is kept, in milliseconds.
    pub(crate) fn longest_ms(&self) -> i64 {
        self.rules.iter().map(|rule| rule.retention_ms).fold(self.default_ms, i64::max)
    }

    fn classes(&self) -> std::ops::RangeInclusive<usize> {
        0..=self.rules.len()
    }

    /// The classes of the streams of `part`.
    pub(crate) fn classes_of(&self, part: &Part) -> Classes {
        *part.classes.get_or_init(|| {
            if self.rules.is_empty() {
                return 1;
            }
            part.streams.iter().fold(0, |classes, stream| classes | 1 << self.class(stream))
        })
    }

    /// The classes that keep nothing up to `max_ns`.
    fn over(&self, max_ns: i64, now_ms: i64) -> Classes {
        let is_over = |class: &usize| max_ns < self.oldest_ns(*class, now_ms);
        self.classes().filter(is_over).fold(0, |classes, class| classes | 1 << class)
    }

    /// Whether all of `part` is past its time.
    pub(crate) fn is_over(&self, part: &Part, now_ms: i64) -> bool {
        self.classes_of(part) & !self.over(part.summary.max_ns, now_ms) == 0
    }

    /// Whether some streams of `part`, but not all, are past their time.
    pub(crate) fn is_partly_over(&self, part: &Part, now_ms: i64) -> bool {
        let (all, over) = (self.classes_of(part), self.over(part.summary.max_ns, now_ms));
        all & over != 0 && all & !over != 0
    }
}

impl Store {
    /// What `rules`, with `default_ms` for all other streams, would keep and remove now: one entry per rule, then one for
    /// the rest. Nothing changes.
    ///
    /// Cost: reads the indexes of all parts, which are in memory. Rows are counted by runs of a stream in a block: those of
    /// a run that is partly past its time count as kept.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) with more than [`RULES_MAX`] rules.
    pub fn preview_retention(
        &self,
        rules: Vec<RetentionRule>,
        default_ms: i64,
    ) -> Result<Vec<RetentionPreview>> {
        let retention = Retention::new(rules, default_ms)?;
        let now_ms = self.clock.now_ms();
        let view = self.shared.snapshot();
        let mut all: Vec<RetentionPreview> = retention
            .classes()
            .map(|class| RetentionPreview {
                keep_ms: retention.keep_ms(class),
                ..Default::default()
            })
            .collect();
        view.streams().iter().for_each(|stream| all[retention.class(stream)].streams += 1);
        let mut add = |class: usize, (rows, bytes): (u64, u64), (min_ns, max_ns): (i64, i64)| {
            let of = &mut all[class];
            of.rows += rows;
            of.disk_bytes += bytes;
            of.oldest_ns = Some(of.oldest_ns.map_or(min_ns, |known| known.min(min_ns)));
            if max_ns < retention.oldest_ns(class, now_ms) {
                of.going_rows += rows;
                of.going_disk_bytes += bytes;
            }
        };
        for part in view.all_parts() {
            let classes: Vec<usize> = part.streams.iter().map(|s| retention.class(s)).collect();
            // Bytes of blocks in memory are not of a file yet.
            let is_file = part.is_file();
            let per_row =
                if is_file { part.bytes as f64 / part.summary.rows.max(1) as f64 } else { 0.0 };
            for run in part.blocks.iter().flat_map(|block| &block.runs) {
                let rows = u64::from(run.rows);
                let bytes = (rows as f64 * per_row).round() as u64;
                add(classes[run.stream as usize], (rows, bytes), (run.min_ns, run.max_ns));
            }
        }
        for chunk in &view.chunks {
            let classes: Vec<usize> =
                chunk.rows.streams().iter().map(|s| retention.class(s)).collect();
            for i in 0..chunk.len() {
                let t_ns = chunk.rows.t_ns(i);
                add(classes[chunk.rows.stream_number(i) as usize], (1, 0), (t_ns, t_ns));
            }
        }
        Ok(all)
    }
}

//! Deleted rows: how a deletion is kept in the manifest, and when its rows leave the disk.
//!
//! A deletion takes effect for readers as soon as it is noted, and can be taken back for a day. Afterwards the parts with
//! its rows are written anew without them. It is remembered until all of its range has passed retention, because rows of
//! it may still arrive. Does not own: leaving rows out of results (`select`), writing parts (`merge`).

use std::sync::Arc;

use model::{
    Error, ErrorKind, LineFilter, LineFilterOp, LogDeletion, MatchOp, Matcher, Result, TimeRange,
};
use storage::codec::{Reader, put_bytes, put_count, put_zigzag};
use storage::manifest::Edit;

use crate::engine::Engine;
use crate::part::Part;
use crate::select;
use crate::store::Store;

/// Key of a deletion in the manifest, before its id.
pub(crate) const PREFIX: &str = "delete/";
const VERSION: u8 = 1;
/// Deletions kept at a time; each costs readers of its range.
const COUNT_MAX: usize = 1000;
/// How long a deletion can be taken back, in milliseconds.
pub(crate) const CANCEL_MS: i64 = 24 * 3_600_000;
/// Conditions and patterns one deletion may have.
const CONDITIONS_MAX: usize = 1000;

const MATCH_OPS: [MatchOp; 4] =
    [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
const LINE_OPS: [LineFilterOp; 4] = [
    LineFilterOp::Contains,
    LineFilterOp::NotContains,
    LineFilterOp::Regex,
    LineFilterOp::NotRegex,
];

/// Appends a deletion as `docs/format/logs.md` draws it.
pub(crate) fn encode(deletion: &LogDeletion, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.push(u8::from(deletion.done));
    put_zigzag(out, deletion.created_ms);
    put_zigzag(out, deletion.range.start_ns);
    put_zigzag(out, deletion.range.end_ns);
    put_bytes(out, deletion.query.as_bytes());
    put_count(out, deletion.matchers.len());
    for matcher in &deletion.matchers {
        out.push(MATCH_OPS.iter().position(|op| *op == matcher.op()).unwrap_or_default() as u8);
        put_bytes(out, matcher.name().as_bytes());
        put_bytes(out, matcher.value().as_bytes());
    }
    put_count(out, deletion.line_filters.len());
    for filter in &deletion.line_filters {
        out.push(LINE_OPS.iter().position(|op| *op == filter.op).unwrap_or_default() as u8);
        put_count(out, filter.patterns.len());
        filter.patterns.iter().for_each(|pattern| put_bytes(out, pattern.as_bytes()));
    }
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(id: &str, bytes: &[u8]) -> Result<LogDeletion> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8()?;
    if version != VERSION {
        return Err(Error::invalid(format!(
            "deletion {id} of logs has format version {version}; this program reads {VERSION}"
        )));
    }
    let done = reader.u8()? != 0;
    let created_ms = reader.zigzag()?;
    let range = TimeRange::new(reader.zigzag()?, reader.zigzag()?);
    let query = reader.str()?.to_owned();
    let unknown = || Error::corrupt(format!("deletion {id} of logs has an unknown operator"));
    let mut matchers = Vec::new();
    for _ in 0..reader.count(CONDITIONS_MAX)? {
        let op = *MATCH_OPS.get(usize::from(reader.u8()?)).ok_or_else(unknown)?;
        let (name, value) = (reader.str()?, reader.str()?);
        matchers.push(Matcher::new(op, name, value)?);
    }
    let mut line_filters = Vec::new();
    for _ in 0..reader.count(CONDITIONS_MAX)? {
        let op = *LINE_OPS.get(usize::from(reader.u8()?)).ok_or_else(unknown)?;
        let count = reader.count(CONDITIONS_MAX)?;
        let patterns =
            (0..count).map(|_| reader.str().map(str::to_owned)).collect::<Result<Vec<_>>>()?;
        line_filters.push(LineFilter::new(op, patterns)?);
    }
    let id = id.to_owned();
    Ok(LogDeletion { id, query, matchers, line_filters, range, created_ms, done })
}

/// Whether `part` may hold rows of `deletion`.
fn touches(deletion: &LogDeletion, part: &Part) -> bool {
    let LogDeletion { range, matchers, .. } = deletion;
    if !range.overlaps(part.summary.min_ns, part.summary.max_ns) {
        return false;
    }
    let wanted = select::matching(&part.streams, matchers);
    part.blocks.iter().any(|block| select::bounds(block, &wanted, *range).is_some())
}

impl Store {
    /// Deletes the rows of `deletion`, whose `id` and `created_ms` are given here, and returns it with them. Readers see
    /// the rows no more once this returns; they leave the disk after a day.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit) when there are too many deletions; as [`flush`](Self::flush) when it cannot be noted.
    pub fn delete(&self, deletion: LogDeletion) -> Result<LogDeletion> {
        let created_ms = self.clock.now_ms();
        self.writer.run(move |engine, _| engine.delete(deletion, created_ms))?
    }

    /// All deletions remembered, the oldest first.
    pub fn deletions(&self) -> Vec<LogDeletion> {
        self.shared.view.read().deletions.to_vec()
    }

    /// Takes a deletion back; its rows are there again. When it is older than a day, only `force` does so, as far as its
    /// rows are still on disk.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) without such a deletion, [`Invalid`](ErrorKind::Invalid) when it is too late.
    pub fn cancel_deletion(&self, id: &str, force: bool) -> Result<()> {
        let (id, now_ms) = (id.to_owned(), self.clock.now_ms());
        self.writer.run(move |engine, _| engine.cancel_deletion(&id, force, now_ms))?
    }

    /// Writes parts anew whose deleted rows can no longer be taken back; returns how many.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub(crate) fn apply_deletions(&self) -> Result<u64> {
        let due_ms = self.clock.now_ms().saturating_sub(CANCEL_MS);
        let mut rewritten = 0;
        loop {
            let view = self.shared.snapshot();
            let is_due = |d: &&LogDeletion| !d.done && d.created_ms <= due_ms;
            let Some(deletion) = view.deletions.iter().find(is_due) else { return Ok(rewritten) };
            let has_rows = |p: &&Arc<Part>| p.damaged_blocks() == 0 && touches(deletion, p);
            let parts: Vec<Arc<Part>> = view.parts.iter().filter(has_rows).cloned().collect();
            for part in parts {
                rewritten += u64::from(crate::merge::merge(self, &[part])?);
            }
            let id = deletion.id.clone();
            self.writer.run(move |engine, _| engine.finish_deletion(&id))??;
        }
    }
}

impl Engine {
    fn delete(&mut self, mut deletion: LogDeletion, created_ms: i64) -> Result<LogDeletion> {
        let mut all = self.shared.view.read().deletions.to_vec();
        if all.len() >= COUNT_MAX {
            let message =
                format!("there are {} deletions of logs; the limit is {COUNT_MAX}", all.len());
            return Err(Error::new(ErrorKind::Limit, message));
        }
        let conditions = deletion.matchers.len().max(deletion.line_filters.len());
        let patterns = deletion.line_filters.iter().map(|f| f.patterns.len()).max().unwrap_or(0);
        if conditions.max(patterns) > CONDITIONS_MAX {
            return Err(Error::invalid(format!(
                "deletion has {} conditions; the limit is {CONDITIONS_MAX}",
                conditions.max(patterns)
            )));
        }
        deletion.created_ms = created_ms;
        deletion.done = false;
        deletion.id = loop {
            let id = format!("{:08x}", self.next_id());
            if all.iter().all(|d| d.id != id) {
                break id;
            }
        };
        all.push(deletion.clone());
        self.commit_deletions(vec![set_edit(&deletion)], all)?;
        Ok(deletion)
    }

    fn cancel_deletion(&mut self, id: &str, force: bool, now_ms: i64) -> Result<()> {
        let mut all = self.shared.view.read().deletions.to_vec();
        let Some(at) = all.iter().position(|d| d.id == id) else {
            let message = "could not find delete request with given id";
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        if !force && all[at].created_ms < now_ms.saturating_sub(CANCEL_MS) {
            return Err(Error::invalid(
                "deletion of request past the deadline of 24h0m0s since its creation is not allowed",
            ));
        }
        all.remove(at);
        self.commit_deletions(vec![Edit::Unset { key: format!("{PREFIX}{id}") }], all)
    }

    fn finish_deletion(&mut self, id: &str) -> Result<()> {
        let mut all = self.shared.view.read().deletions.to_vec();
        let Some(deletion) = all.iter_mut().find(|d| d.id == id) else { return Ok(()) };
        deletion.done = true;
        let edit = set_edit(deletion);
        self.commit_deletions(vec![edit], all)
    }

    /// Forgets deletions of rows that retention has taken by now.
    pub(crate) fn forget_deletions(&mut self, oldest_ns: i64) -> Result<()> {
        let all = self.shared.view.read().deletions.to_vec();
        let (gone, kept): (Vec<LogDeletion>, Vec<LogDeletion>) =
            all.into_iter().partition(|d| d.range.end_ns <= oldest_ns);
        if gone.is_empty() {
            return Ok(());
        }
        let edits = gone.iter().map(|d| Edit::Unset { key: format!("{PREFIX}{}", d.id) });
        self.commit_deletions(edits.collect(), kept)
    }

    /// First the manifest, then readers: what they were told stays so after a crash.
    fn commit_deletions(&mut self, edits: Vec<Edit>, all: Vec<LogDeletion>) -> Result<()> {
        self.manifest.commit(&edits)?;
        self.shared.view.write().deletions = all.into();
        Ok(())
    }
}

fn set_edit(deletion: &LogDeletion) -> Edit {
    let mut value = Vec::new();
    encode(deletion, &mut value);
    Edit::Set { key: format!("{PREFIX}{}", deletion.id), value }
}

//! Stack traces that come as many lines and are one record: Java and its relatives, .NET, Node, Python, Go, Rust.
//!
//! Owns: knowing a trace's first line, which lines continue it, and holding them back until it is complete. A line is
//! only joined when its form says that it continues a trace of the kind that has begun (`\tat …`, `  File "…"`,
//! `goroutine 1 [running]:`), so that unrelated lines never are; a message in front of a trace stays a record of its
//! own. Held back are only lines that look like a trace's first, and what continues it, for [`HOLD_NS`] at most behind
//! the last one. Does not own: streams (each needs a [`Joiner`]), and Promtail's `multiline` stage.

mod grammar;
#[cfg(test)]
mod tests;

use self::grammar::{Kind, Verdict};

/// So long a trace waits for its next line, on the caller's monotonic clock.
pub const HOLD_NS: i64 = 200_000_000;
/// Lines further apart than this by their own times do not belong together.
const GAP_NS: i64 = 1_000_000_000;
/// Lines of one record; a longer trace becomes several.
const LINES_MAX: usize = 1_000;
/// Bytes of one record.
const BYTES_MAX: usize = 256 << 10;

/// A record: one line as it came, or a trace with its lines joined by newlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a, M> {
    /// The text.
    pub line: &'a str,
    /// The marks of its lines, in order; one at least.
    pub marks: &'a [M],
}

/// Joins the lines of one stream; `M` is what the caller wants to know again of a line, its place for example.
#[derive(Debug)]
pub struct Joiner<M> {
    kind: Option<Kind>,
    text: String,
    marks: Vec<M>,
    /// How much of the text, and how many lines, belong to the trace whatever comes.
    sure: (usize, usize),
    last_t_ns: i64,
    /// When the last line came.
    last_ns: i64,
}

impl<M> Default for Joiner<M> {
    fn default() -> Self {
        Self {
            kind: None,
            text: String::new(),
            marks: Vec::new(),
            sure: (0, 0),
            last_t_ns: 0,
            last_ns: 0,
        }
    }
}

impl<M> Joiner<M> {
    /// Takes the next line, of time `t_ns`, that came at `now_ns` on a monotonic clock; gives `out` what is complete.
    ///
    /// Cost: one search in a line that belongs to no trace, and no copy.
    pub fn push(
        &mut self,
        line: &str,
        t_ns: i64,
        mark: M,
        now_ns: i64,
        out: &mut impl FnMut(Record<'_, M>),
    ) {
        if let Some(kind) = self.kind {
            let apart = t_ns.abs_diff(self.last_t_ns) > GAP_NS.unsigned_abs();
            let verdict = if apart { Verdict::No } else { kind.continues(line) };
            if let Verdict::Yes(next) | Verdict::Perhaps(next) = verdict {
                if self.marks.len() >= LINES_MAX || self.text.len() + line.len() >= BYTES_MAX {
                    self.flush(out);
                }
                self.hold(line, t_ns, mark, now_ns);
                self.kind = Some(next);
                if let Verdict::Yes(_) = verdict {
                    self.sure = (self.text.len(), self.marks.len());
                }
                return;
            }
            let (now_t_ns, unsure) = (self.last_t_ns, self.unsure());
            self.flush(out);
            // What did not continue this trace may begin another.
            for (line, mark) in unsure {
                self.push(&line, now_t_ns, mark, now_ns, out);
            }
            if self.kind.is_some() {
                return self.push(line, t_ns, mark, now_ns, out);
            }
        }
        match Kind::begins(line) {
            None => out(Record { line, marks: &[mark] }),
            Some(kind) => {
                self.hold(line, t_ns, mark, now_ns);
                self.kind = Some(kind);
                self.sure = (self.text.len(), self.marks.len());
            }
        }
    }

    /// Takes out the lines of which the next one would have said whether they belong to the trace.
    fn unsure(&mut self) -> Vec<(String, M)> {
        let (sure_len, sure_lines) = self.sure;
        if sure_lines == self.marks.len() || sure_lines == 0 {
            return Vec::new();
        }
        // Behind the newline between both.
        let text = self.text.split_off(sure_len);
        let lines = text.split('\n').skip(1).map(str::to_owned);
        lines.zip(self.marks.drain(sure_lines..)).collect()
    }

    fn hold(&mut self, line: &str, t_ns: i64, mark: M, now_ns: i64) {
        if !self.marks.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line);
        self.marks.push(mark);
        self.last_t_ns = t_ns;
        self.last_ns = now_ns;
    }

    /// Lets go of what has waited long enough.
    pub fn flush_due(&mut self, now_ns: i64, out: &mut impl FnMut(Record<'_, M>)) {
        if self.next_due_ns().is_some_and(|due_ns| due_ns <= now_ns) {
            self.flush(out);
        }
    }

    /// Lets go of what is held back: nothing more comes.
    pub fn flush(&mut self, out: &mut impl FnMut(Record<'_, M>)) {
        let (sure_len, sure_lines) = self.sure;
        if let (Some(text), Some(marks @ [_, ..])) =
            (self.text.get(..sure_len), self.marks.get(..sure_lines))
        {
            out(Record { line: text, marks });
        }
        // Lines of which the next one would have said whether they belong to it.
        let rest = self.text.get(sure_len..).unwrap_or("");
        let rest = if sure_lines > 0 { rest.strip_prefix('\n') } else { Some(rest) };
        let marks = self.marks.get(sure_lines..).unwrap_or(&[]);
        for (line, mark) in rest.unwrap_or("").split('\n').zip(marks) {
            out(Record { line, marks: std::slice::from_ref(mark) });
        }
        self.discard();
    }

    /// Forgets what is held back: it will be read again.
    pub fn discard(&mut self) {
        self.text.clear();
        self.marks.clear();
        self.sure = (0, 0);
        self.kind = None;
    }

    /// The lines that are held back, in order, each with its mark.
    pub fn held(&self) -> impl Iterator<Item = (&str, &M)> {
        self.text.split('\n').zip(&self.marks)
    }

    /// Whether lines are held back.
    pub fn is_holding(&self) -> bool {
        !self.marks.is_empty()
    }

    /// When [`flush_due`](Self::flush_due) has something to do.
    pub fn next_due_ns(&self) -> Option<i64> {
        (!self.marks.is_empty()).then(|| self.last_ns.saturating_add(HOLD_NS))
    }
}

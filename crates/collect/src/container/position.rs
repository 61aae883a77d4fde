//! Where in a container's log reading stands, so that it goes on exactly behind the last stored line.
//!
//! Within one output (stdout, stderr) lines keep their order; between the two, times may be swapped by a moment, since
//! the runtime stamps a line before it writes it. The position is therefore kept per output: the time of its last
//! stored line and how many lines with exactly that time were stored. Reading again starts a little before both and
//! skips, per output, up to and including that line. When the clock was set back, later lines have smaller times; the
//! highest time seen tells such a place from a log whose old lines were rotated away. What cannot be told: a clock set
//! back while nobody read, which has passed its old reading before reading is resumed.
//!
//! ```text
//!  cursor   "1 since done | last same high | last same high"     decimal, ns; i64::MIN when nothing was stored
//! ```

use std::fmt::Write as _;

/// How far the times of the two outputs may be swapped.
const SWAP_NS: i64 = 10_000_000_000;

/// Position behind the stored lines of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    outputs: [Output; 2],
    /// Time from which the runtime must be asked; 0 for all.
    pub(crate) since_ns: i64,
    /// End of the run that was read completely; 0 when none.
    pub(crate) done_ns: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Output {
    last_ns: i64,
    same: u64,
    high_ns: i64,
}

const NONE: Output = Output { last_ns: i64::MIN, same: 0, high_ns: i64::MIN };

impl Position {
    /// Before everything from `since_ns` on.
    pub(crate) fn start(since_ns: i64) -> Self {
        Self { outputs: [NONE; 2], since_ns, done_ns: 0 }
    }

    /// Reads a stored cursor.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut numbers = text.split([' ', '|']).filter(|p| !p.is_empty()).map(str::parse::<i64>);
        let mut next = || numbers.next()?.ok();
        if next()? != 1 {
            return None;
        }
        let (since_ns, done_ns) = (next()?, next()?);
        let mut outputs = [NONE; 2];
        for output in &mut outputs {
            *output =
                Output { last_ns: next()?, same: u64::try_from(next()?).ok()?, high_ns: next()? };
        }
        Some(Self { outputs, since_ns, done_ns })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = format!("1 {} {}", self.since_ns, self.done_ns);
        for output in &self.outputs {
            // Writing to a String cannot fail.
            write!(text, " | {} {} {}", output.last_ns, output.same, output.high_ns)
                .unwrap_or_default();
        }
        text.into_bytes()
    }

    /// Notes a line as stored.
    pub(crate) fn advance(&mut self, output: usize, t_ns: i64) {
        let Some(output) = self.outputs.get_mut(output) else { return };
        if output.last_ns == t_ns {
            output.same += 1;
        } else {
            (output.last_ns, output.same) = (t_ns, 1);
        }
        output.high_ns = output.high_ns.max(t_ns);
        // Caught up with the time before the clock was set back.
        if t_ns >= output.high_ns {
            output.high_ns = t_ns;
        }
    }

    /// Fixes from where to ask when reading is resumed; `pending_ns` is the time of a line whose end has not come.
    ///
    /// A terminal has one output, and nothing can be swapped.
    pub(crate) fn settle(&mut self, terminal: bool, pending_ns: Option<i64>) {
        let high = self.outputs.iter().map(|o| o.high_ns).max().unwrap_or(i64::MIN);
        if high == i64::MIN {
            return;
        }
        let swap_ns = if terminal { 0 } else { SWAP_NS };
        let mut since = i64::MAX;
        for output in &self.outputs {
            let stepped_back = output.high_ns > output.last_ns;
            let own = if stepped_back {
                output.last_ns
            } else {
                output.last_ns.max(high.saturating_sub(swap_ns))
            };
            since = since.min(own);
        }
        self.since_ns = since.min(pending_ns.unwrap_or(i64::MAX)).max(0);
    }

    /// The terminal's last line had no end and its writer is gone: the next line must not be read glued to it.
    pub(crate) fn past_last(&mut self) {
        self.since_ns = self.outputs.iter().map(|o| o.last_ns).max().unwrap_or(0).saturating_add(1);
    }

    /// Whether a line at `t_ns` of `output` is where this position stands.
    pub(crate) fn stands_at(&self, output: usize, t_ns: i64) -> bool {
        self.outputs.get(output).is_some_and(|o| o.last_ns == t_ns)
    }

    /// Whether the last stored line of `output` is later than `t_ns`.
    pub(crate) fn is_past(&self, output: usize, t_ns: i64) -> bool {
        self.outputs.get(output).is_some_and(|o| o.last_ns > t_ns)
    }

    /// Begins reading again at this position.
    pub(crate) fn resume(&self) -> Resume {
        Resume {
            outputs: self.outputs,
            passed: self.outputs.map(|o| o.last_ns == i64::MIN),
            same: [0; 2],
            since_ns: self.since_ns,
        }
    }
}

/// What a line is to a reader that resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not stored yet.
    New,
    /// Stored before.
    Before,
    /// Not stored yet, and the last stored line, which should have come first, did not come.
    BehindGap,
}

/// Tells stored lines from new ones after reading began again.
#[derive(Debug)]
pub(crate) struct Resume {
    outputs: [Output; 2],
    passed: [bool; 2],
    same: [u64; 2],
    since_ns: i64,
}

impl Resume {
    /// Judges the next line of an output.
    pub(crate) fn judge(&mut self, index: usize, t_ns: i64) -> Seen {
        let (Some(output), Some(passed), Some(same)) =
            (self.outputs.get(index), self.passed.get_mut(index), self.same.get_mut(index))
        else {
            return Seen::New;
        };
        if *passed {
            return Seen::New;
        }
        if t_ns == output.last_ns {
            *same += 1;
            *passed = *same >= output.same;
            return Seen::Before;
        }
        if t_ns < output.last_ns {
            return Seen::Before;
        }
        // Past the last stored line without having seen it: it was rotated away, or the runtime left a piece of the log
        // out. Unless the clock was set back, then these are the lines from before that.
        if *same > 0 || t_ns > output.high_ns || output.high_ns == output.last_ns {
            *passed = true;
            let expected = output.last_ns >= self.since_ns;
            return if *same == 0 && expected { Seen::BehindGap } else { Seen::New };
        }
        Seen::Before
    }
}

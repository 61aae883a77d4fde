//! A line on the terminal that says how far an import is; nothing when standard error is no terminal.

use std::io::{IsTerminal as _, Write as _};

use model::{Clock as _, SystemClock};

const NS_PER_S: f64 = 1e9;
/// The line is drawn again after so long.
const REDRAW_NS: i64 = 100_000_000;
const BAR_WIDTH: u64 = 30;

/// How far it is.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    total_bytes: u64,
    bytes: u64,
    samples: u64,
    started_ns: i64,
    drawn_ns: i64,
    seconds: f64,
}

impl Progress {
    /// Of a source of `total_bytes`.
    pub(super) fn new(total_bytes: u64, quiet: bool) -> Self {
        let now = SystemClock.monotonic_ns();
        Self {
            shown: !quiet && std::io::stderr().is_terminal(),
            total_bytes,
            bytes: 0,
            samples: 0,
            started_ns: now,
            drawn_ns: now,
            seconds: 0.0,
        }
    }

    /// So much more is done.
    pub(super) fn add(&mut self, bytes: u64, samples: u64) {
        self.bytes += bytes;
        self.samples += samples;
        let now = SystemClock.monotonic_ns();
        self.seconds = (now - self.started_ns) as f64 / NS_PER_S;
        if self.shown && now - self.drawn_ns >= REDRAW_NS {
            self.drawn_ns = now;
            self.draw(&self.line());
        }
    }

    /// Takes the line away.
    pub(super) fn finish(&mut self) {
        self.seconds = (SystemClock.monotonic_ns() - self.started_ns) as f64 / NS_PER_S;
        if self.shown {
            self.draw("");
        }
    }

    /// ` in 2.3 s: 1.2 M samples/s, 34.5 MB/s read`
    pub(super) fn speed(&self) -> String {
        let seconds = self.seconds.max(1e-3);
        format!(
            " in {seconds:.1} s: {:.2} M samples/s, {:.1} MB/s read",
            self.samples as f64 / seconds / 1e6,
            self.bytes as f64 / seconds / 1e6
        )
    }

    fn line(&self) -> String {
        let (bytes, total) = (self.bytes.min(self.total_bytes), self.total_bytes.max(1));
        let filled = usize::try_from(BAR_WIDTH * bytes / total).unwrap_or(0);
        let seconds = self.seconds.max(1e-3);
        let left = seconds * (total - bytes) as f64 / bytes.max(1) as f64;
        format!(
            "[{}{}] {:3} %  {:.1} M samples  {:.1} MB/s  {left:.0} s left",
            "=".repeat(filled),
            " ".repeat(BAR_WIDTH as usize - filled),
            100 * bytes / total,
            self.samples as f64 / 1e6,
            self.bytes as f64 / seconds / 1e6,
        )
    }

    fn draw(&self, line: &str) {
        let mut terminal = std::io::stderr().lock();
        // Back to the start of the line, and what was there away. A terminal that is gone is no reason to stop.
        let _best_effort = write!(terminal, "\r\x1b[K{line}").and_then(|()| terminal.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        let mut progress = Progress::new(2_000_000, true);
        (progress.bytes, progress.samples, progress.seconds) = (500_000, 1_500_000, 0.5);
        assert_eq!(
            progress.line(),
            "[=======                       ]  25 %  1.5 M samples  1.0 MB/s  2 s left"
        );
        assert_eq!(progress.speed(), " in 0.5 s: 3.00 M samples/s, 1.0 MB/s read");
        // Nothing to read.
        assert!(Progress::new(0, true).line().contains("  0 %"));
    }
}

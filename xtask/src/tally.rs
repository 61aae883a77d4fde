//! Adding up what test runners report.

/// Tests passed and failed, over all runners.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// Adds what a line reports, if it is a runner's summary: cargo test's `test result: ok. 5 passed; 0 failed; …`,
    /// nextest's `Summary […] 7 tests run: 6 passed, 1 failed, 0 skipped`, or a plain `5 passed, 0 failed`.
    pub(crate) fn read(&mut self, line: &str) {
        let line = plain(line);
        // What a failed test printed is indented, and no summary of this run.
        let numbers = line
            .strip_prefix("test result:")
            .and_then(|rest| rest.split_once(". ").map(|(_, n)| n));
        let summary = line.trim_start().strip_prefix("Summary");
        let numbers =
            numbers.or_else(|| summary.and_then(|s| s.split_once("run: ")).map(|(_, n)| n));
        let is_plain = line.starts_with(|c: char| c.is_ascii_digit());
        let numbers = numbers.or_else(|| is_plain.then_some(line.as_str()));
        let Some(numbers) = numbers else { return };
        let count = |word: &str| -> Option<u64> {
            let parts = numbers.split([',', ';', '(']);
            parts
                .filter_map(|part| part.trim().split_once(' '))
                .find(|(_, w)| w.trim_end_matches(')') == word)
                .and_then(|(n, _)| n.parse().ok())
        };
        if let Some(passed) = count("passed") {
            self.passed += passed;
            self.failed += count("failed").unwrap_or(0) + count("timed out").unwrap_or(0);
        }
    }
}

/// A line without terminal colours.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        rest = after.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        rest = rest.get(1..).unwrap_or("");
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_all_runners_are_read() {
        let check = |line: &str, passed: u64, failed: u64| {
            let mut tally = Tally::default();
            tally.read(line);
            assert_eq!(tally, Tally { passed, failed }, "{line}");
        };
        check(
            "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            5,
            0,
        );
        check("test result: FAILED. 5 passed; 2 failed; 0 ignored", 5, 2);
        check("     Summary [   0.1s] 7 tests run: 6 passed, 1 failed, 0 skipped", 6, 1);
        check(
            "\u{1b}[32m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m7\u{1b}[0m tests run: \u{1b}[1m7\u{1b}[0m \u{1b}[32mpassed\u{1b}[0m, \u{1b}[1m3\u{1b}[0m \u{1b}[33mskipped\u{1b}[0m",
            7,
            0,
        );
        check("     Summary [   0.1s] 7 tests run: 7 passed (1 slow), 0 skipped", 7, 0);
        check("12 passed, 3 failed", 12, 3);
        check("promql: 12 passed, 3 failed, 1 skipped", 0, 0);
        check("nothing here passed, really", 0, 0);
        check("    test result: FAILED. 0 passed; 1 failed; 0 ignored", 0, 0);
        check("    30 passed, 1 failed", 0, 0);
    }
}

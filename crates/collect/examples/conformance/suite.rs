//! Counting and printing for the conformance examples: one line per failure, a last line with the sums.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What one run of a suite came to.
pub(crate) struct Suite {
    name: &'static str,
    passed: u64,
    failed: u64,
    skipped: BTreeMap<String, u64>,
}

impl Suite {
    /// Nothing checked yet.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, passed: 0, failed: 0, skipped: BTreeMap::new() }
    }

    /// The directory given on the command line, when it has anything in it.
    pub(crate) fn dir() -> Option<PathBuf> {
        let dir = PathBuf::from(std::env::args_os().nth(1)?);
        let mut entries = std::fs::read_dir(&dir).ok()?;
        entries.next().is_some().then_some(dir)
    }

    /// Counts one comparison.
    pub(crate) fn check<T: PartialEq + Debug>(&mut self, what: &str, got: T, want: T) {
        if got == want {
            self.passed += 1;
        } else {
            self.fail(&format!("{what}: got {got:?}, want {want:?}"));
        }
    }

    /// Counts one comparison of numbers, exact to twelve digits.
    pub(crate) fn check_number(&mut self, what: &str, got: Option<f64>, want: f64) {
        let near = |got: f64| (got - want).abs() <= 1e-12 * want.abs().max(1e-9);
        if got.is_some_and(near) {
            self.passed += 1;
        } else {
            self.fail(&format!("{what}: got {got:?}, want {want:?}"));
        }
    }

    /// Counts a failure.
    pub(crate) fn fail(&mut self, what: &str) {
        self.failed += 1;
        println!("FAIL {what}");
    }

    /// Counts a case that does not apply, with the reason.
    pub(crate) fn skip(&mut self, reason: &str) {
        *self.skipped.entry(reason.to_owned()).or_default() += 1;
    }

    /// Prints reasons and sums. Fails only when nothing ran.
    pub(crate) fn finish(self) -> ExitCode {
        let skipped: u64 = self.skipped.values().sum();
        for (reason, count) in &self.skipped {
            println!("SKIP {count}: {reason}");
        }
        println!(
            "{}: {} passed, {} failed, {skipped} skipped",
            self.name, self.passed, self.failed
        );
        if self.passed + self.failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// All files below `dir`, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

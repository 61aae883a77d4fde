//! How long what is kept: rules by selector, and what they would remove.

use crate::Matcher;

/// A retention of its own for some series or streams; of several the first that matches holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// How long samples or rows are kept, in milliseconds; > 0.
    pub retention_ms: i64,
}

/// What a class of log streams has, and what of it is past its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionPreview {
    /// How long the class is kept, in milliseconds.
    pub keep_ms: i64,
    /// Its streams with stored rows.
    pub streams: u64,
    /// Its rows.
    pub rows: u64,
    /// Bytes of their files: those of a part belong to its streams by their rows.
    pub disk_bytes: u64,
    /// Its oldest row, Unix nanoseconds.
    pub oldest_ns: Option<i64>,
    /// Rows past their time: they leave as soon as their whole part is, and that has rows of one day at most.
    pub going_rows: u64,
    /// Bytes of their files.
    pub going_disk_bytes: u64,
}

//! Logs: what collectors hand over, and the plans with which queries ask for rows.

mod bytes;
mod rows;

use std::ops::ControlFlow;
use std::sync::Arc;

use regex::Regex;

pub use self::bytes::{bytes_of_text, shown_text, text_of_bytes};
pub use self::rows::LogRows;
use crate::{Budget, Labels, Matcher, Result, TimeRange};

/// The stream label that says whose a stream is.
pub const TENANT_LABEL: &str = "tenant";

/// The label that has the pattern of a row's line (`user <_> logged in`), as a source finds it. A plan may filter by it and an
/// aggregation tell rows apart by it; rows themselves come with it only if their plan says so.
pub const PATTERN_LABEL: &str = "__pattern__";

/// One log line by itself; many of them are held as [`LogRows`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Stream labels; the same allocation for all records of a stream where the collector can.
    pub stream: Labels,
    /// Unix nanoseconds, UTC.
    pub t_ns: i64,
    /// The line without its newline, as the source wrote it; bytes that are not UTF-8 as [`text_of_bytes`] keeps them.
    pub line: String,
    /// Fields beside the line (structured metadata: `level`, `trace_id`, …), often empty.
    pub fields: Labels,
}

/// Lines of one source, and how far that source has now been read.
///
/// The cursor is committed in the same WAL record as the lines, so that after any crash reading goes on exactly behind
/// the last stored line.
#[derive(Debug, Clone, Default)]
pub struct LogBatch {
    /// Stable key of the producer (`docker/<container id>`).
    pub source: Arc<str>,
    /// In the order read; times within a stream normally ascend but need not.
    pub rows: LogRows,
    /// Opaque position behind `rows`; replaces the one stored for `source`.
    pub cursor: Option<Vec<u8>>,
}

/// Order in which rows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first over all streams.
    Forward,
    /// Newest first over all streams.
    Backward,
    /// Any; what aggregations ask for.
    Any,
}

/// How a line filter compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFilterOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Regex,
    /// `!~`
    NotRegex,
}

/// One condition on the raw line: any of the alternatives (`|= "a" or "b"`) must hold, or none for a negated one.
#[derive(Debug, Clone)]
pub struct LineFilter {
    /// Comparison.
    pub op: LineFilterOp,
    /// Texts or patterns as written.
    pub patterns: Vec<String>,
    /// Compiled patterns, one per pattern, for the two regex operators (not anchored); empty otherwise.
    pub regexes: Vec<Regex>,
}

impl LineFilter {
    /// A filter; compiles `patterns` when `op` is a regular expression.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) as [`line_regex`](crate::line_regex).
    pub fn new(op: LineFilterOp, patterns: Vec<String>) -> Result<Self> {
        let regexes = match op {
            LineFilterOp::Contains | LineFilterOp::NotContains => Vec::new(),
            LineFilterOp::Regex | LineFilterOp::NotRegex => {
                patterns.iter().map(|p| crate::line_regex(p)).collect::<Result<_>>()?
            }
        };
        Ok(Self { op, patterns, regexes })
    }

    /// Whether `line` satisfies it.
    pub fn matches(&self, line: &str) -> bool {
        match self.op {
            LineFilterOp::Contains => self.patterns.iter().any(|p| line.contains(p.as_str())),
            LineFilterOp::NotContains => !self.patterns.iter().any(|p| line.contains(p.as_str())),
            LineFilterOp::Regex => self.regexes.iter().any(|r| r.is_match(line)),
            LineFilterOp::NotRegex => !self.regexes.iter().any(|r| r.is_match(line)),
        }
    }
}

/// One request for rows. A source must apply matchers, times and filters exactly.
#[derive(Debug, Clone)]
pub struct LogPlan {
    /// Stream selector; all must hold.
    pub matchers: Vec<Matcher>,
    /// Times wanted.
    pub range: TimeRange,
    /// Filters on the raw line, all must hold.
    pub line_filters: Vec<LineFilter>,
    /// Conditions on labels of single rows, all must hold (see [`label_of`]).
    pub label_filters: Vec<Matcher>,
    /// Order of the visit.
    pub order: Order,
    /// How many rows the caller takes at most; a source may leave out what comes behind them.
    pub limit: Option<usize>,
    /// Hint: rows that fail one of these may be left out.
    pub demands: Vec<LogDemand>,
    /// Hint: whether lines are needed at all (`false` for a plain count); rows then may carry `""`.
    pub needs_line: bool,
    /// Hint: the names of the fields that are needed, `None` for all; rows may come without others.
    pub needed_fields: Option<Vec<String>>,
    /// Whether rows come with the field [`PATTERN_LABEL`], which a source without patterns leaves out.
    pub patterns: bool,
}

impl LogPlan {
    /// A plan for all rows of `range` in `order`, with lines and fields.
    pub fn all(range: TimeRange, order: Order) -> Self {
        Self {
            matchers: Vec::new(),
            range,
            line_filters: Vec::new(),
            label_filters: Vec::new(),
            order,
            limit: None,
            demands: Vec::new(),
            needs_line: true,
            needed_fields: None,
            patterns: false,
        }
    }
}

/// What a row needs for a filter behind a parser to let it pass: the label, either as it is stored, or out of the line, which
/// then has one of the texts.
#[derive(Debug, Clone)]
pub struct LogDemand {
    /// Condition on the label as [`label_of`] tells it.
    pub label: Matcher,
    /// Texts of which the line otherwise contains one.
    pub texts: Vec<String>,
}

impl LogDemand {
    /// Whether a row satisfies it.
    pub fn matches(&self, row: &LogRow<'_>) -> bool {
        self.label.matches(label_of(row.stream, row.fields, self.label.name()))
            || self.texts.iter().any(|text| row.line.contains(text.as_str()))
    }
}

/// Rows that are to go: those of a selection, in a range of time, whenever they arrive.
#[derive(Debug, Clone)]
pub struct LogDeletion {
    /// Names it within its store.
    pub id: String,
    /// The selection as its author wrote it.
    pub query: String,
    /// Stream selector; all must hold.
    pub matchers: Vec<Matcher>,
    /// Filters on the raw line, all must hold.
    pub line_filters: Vec<LineFilter>,
    /// Times of the rows.
    pub range: TimeRange,
    /// When it was asked for, Unix milliseconds.
    pub created_ms: i64,
    /// Whether the rows are gone from disk, too; until then readers leave them out.
    pub done: bool,
}

/// The label `name` of a row: that of its stream, otherwise its field; `""` when it has neither.
pub fn label_of<'a>(stream: &'a Labels, fields: &'a Labels, name: &str) -> &'a str {
    stream.get(name).or_else(|| fields.get(name)).unwrap_or("")
}

/// One row, borrowed from where it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRow<'a> {
    /// Stream labels.
    pub stream: &'a Labels,
    /// Unix nanoseconds, UTC.
    pub t_ns: i64,
    /// The line, byte for byte as stored.
    pub line: &'a str,
    /// Fields beside the line.
    pub fields: &'a Labels,
}

impl LogRow<'_> {
    /// The row by itself.
    pub fn to_record(self) -> LogRecord {
        let Self { stream, t_ns, line, fields } = self;
        LogRecord { stream: stream.clone(), t_ns, line: line.to_owned(), fields: fields.clone() }
    }
}

/// A step aggregation that a source may compute without giving out rows: for each group of rows and each step time `t`
/// (`start_ns`, `start_ns + step_ns`, … ≤ `end_ns`), rows with time in `(t - window_ns, t]`.
#[derive(Debug, Clone)]
pub struct LogAggregation {
    /// First step time, Unix nanoseconds.
    pub start_ns: i64,
    /// Last step time.
    pub end_ns: i64,
    /// Distance of steps; > 0.
    pub step_ns: i64,
    /// Window behind each step; > 0.
    pub window_ns: i64,
    /// Sum the lines' bytes instead of counting rows.
    pub bytes: bool,
    /// Tell for each group when its first and last row was.
    pub extents: bool,
    /// Labels by which rows are told apart (see [`label_of`]), ascending; `None`: by all labels of their streams.
    pub by: Option<Vec<String>>,
}

/// Result of a [`LogAggregation`] for one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepCounts {
    /// The group's labels; those without value are left out.
    pub labels: Labels,
    /// One number per step; 0 where no row fell into the window.
    pub counts: Vec<u64>,
    /// Times of the first and the last row counted, if they were asked for.
    pub extent: Option<(i64, i64)>,
}

/// How much a stream has in a range of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamVolume {
    /// Stream labels.
    pub stream: Labels,
    /// Rows.
    pub rows: u64,
    /// Bytes of their lines.
    pub bytes: u64,
    /// Stored pieces that must be looked at to read them.
    pub blocks: u64,
}

/// Something that holds log rows: the embedded store, a cluster, a test's table.
pub trait LogSource: Send + Sync {
    /// Visits the rows of `plan` until `visit` breaks off. Returns warnings for the reader (a quarantined part).
    ///
    /// # Errors
    /// [`Limit`](crate::ErrorKind::Limit) or [`Cancelled`](crate::ErrorKind::Cancelled) from `budget`, or a failure to
    /// read.
    fn scan(
        &self,
        plan: &LogPlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&LogRow<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<String>>;

    /// Computes `aggregation` over the rows of `plan` inside the store; `None` when it cannot, and the caller scans.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    fn aggregate(
        &self,
        plan: &LogPlan,
        aggregation: &LogAggregation,
        budget: &Budget,
    ) -> Result<Option<Vec<StepCounts>>>;

    /// About how much the streams that satisfy all `matchers` have in `range`, in order of their labels; streams without
    /// rows in it are left out. Deleted rows that are still stored count.
    ///
    /// Cost: that of looking through an index, no rows are read.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    fn volumes(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<StreamVolume>>;

    /// Streams that match any of `selectors` (none means all) and have rows in `range`; sorted, without duplicates.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    fn streams(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Labels>>;
}

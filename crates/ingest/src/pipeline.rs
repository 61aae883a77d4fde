//! Pipelines: what Promtail calls stages, which take values out of a line, make labels and fields of them, rewrite the
//! line, join lines, count them, or drop them.
//!
//! Owns: every stage of Promtail 3 but `geoip`, their checks and defaults, and the state they keep. Does not own: reading
//! them from a file, and LogQL: whoever reads the configuration hands in [selectors](Selector) and
//! [templates](Template) compiled. Pure and synchronous: time comes from the caller's clock, and what a stage holds back
//! is asked for by [`Pipeline::flush_due`].
//!
//! Source: Promtail's reference of pipeline stages.

mod cri;
mod drop;
mod event_log;
mod jmespath;
mod json;
mod labels;
mod limit;
mod line;
mod logfmt;
mod matching;
mod metrics;
mod multiline;
mod patterns;
mod stage;
#[cfg(test)]
mod tests;
mod timestamp;
mod values;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use model::{Clock, Labels, Result};

pub use self::cri::CriConfig;
pub use self::drop::{DropConfig, SamplingConfig};
pub use self::event_log::EventLogConfig;
pub use self::json::JsonConfig;
pub use self::labels::{StaticLabel, TenantConfig};
pub use self::limit::LimitConfig;
pub use self::line::{PackConfig, TemplateConfig, Verbatim};
pub use self::logfmt::LogfmtConfig;
pub use self::matching::{MatchConfig, SelectedAction};
pub use self::metrics::{Declared, Family, MetricConfig, MetricKind, Metrics, Sample};
pub use self::multiline::MultilineConfig;
pub use self::patterns::{RegexConfig, ReplaceConfig};
use self::stage::{Context, Stage};
pub use self::timestamp::{OnFailure, TimestampConfig};
pub use self::values::Values;

/// A line on its way through a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Labels of its stream.
    pub labels: Labels,
    /// Unix nanoseconds, UTC.
    pub t_ns: i64,
    /// The line.
    pub line: String,
    /// Fields beside the line (structured metadata).
    pub fields: Labels,
    /// What stages found; empty for a fresh line.
    pub values: Values,
    /// The tenant it belongs to, when a stage named one.
    pub tenant: Option<String>,
    /// Where its first line stands, in the caller's count; see [`Pipeline::held`].
    pub position: u64,
    /// Where the further lines that were joined to it stand, in order; empty for a fresh line.
    pub joined: Vec<u64>,
}

/// A stage as configured.
#[derive(Debug, Clone)]
pub enum StageConfig {
    /// `docker`: lines of Docker's json-file driver.
    Docker,
    /// `cri`: lines of a container runtime as the kubelet has them.
    Cri(CriConfig),
    /// `json`
    Json(JsonConfig),
    /// `logfmt`
    Logfmt(LogfmtConfig),
    /// `regex`
    Regex(RegexConfig),
    /// `replace`
    Replace(ReplaceConfig),
    /// `template`
    Template(TemplateConfig),
    /// `timestamp`
    Timestamp(TimestampConfig),
    /// `output`: the line becomes the value called so.
    Output(String),
    /// `labels`: label and value it is taken from.
    Labels(Vec<(String, String)>),
    /// `labeldrop`
    LabelDrop(Vec<String>),
    /// `labelallow`
    LabelAllow(Vec<String>),
    /// `static_labels`
    StaticLabels(Vec<StaticLabel>),
    /// `structured_metadata`: field and value, or label, it is taken from.
    StructuredMetadata(Vec<(String, String)>),
    /// `metrics`: all of one stage.
    Metrics(Vec<MetricConfig>),
    /// `match`
    Match(MatchConfig),
    /// `drop`
    Drop(DropConfig),
    /// `limit`
    Limit(LimitConfig),
    /// `multiline`
    Multiline(MultilineConfig),
    /// `pack`
    Pack(PackConfig),
    /// `sampling`
    Sampling(SamplingConfig),
    /// `tenant`
    Tenant(TenantConfig),
    /// `decolorize`
    Decolorize,
    /// `eventlogmessage`
    EventLogMessage(EventLogConfig),
}

/// A compiled LogQL log query, as `match` has it.
pub trait Selector: Debug + Send + Sync {
    /// Whether a line of the stream `labels` is meant.
    fn selects(&self, labels: &Labels, fields: &Labels, t_ns: i64, line: &str) -> bool;
}

/// A compiled Go template.
pub trait Template: Debug + Send + Sync {
    /// The text it makes of `values`; a name without value prints as `<no value>`.
    ///
    /// # Errors
    /// In words, when a function fails.
    fn render(
        &self,
        t_ns: i64,
        line: &str,
        values: &dyn TemplateValues,
    ) -> std::result::Result<String, String>;
}

/// What a template can name.
pub trait TemplateValues {
    /// The value called `name`.
    fn get(&self, name: &str) -> Option<&str>;
    /// Visits all, by name.
    fn for_each(&self, visit: &mut dyn FnMut(&str, &str));
}

/// Stages, ready to run.
#[derive(Debug)]
pub struct Pipeline {
    stages: Vec<Stage>,
    dropped: BTreeMap<Arc<str>, u64>,
    paused_until_ns: Option<i64>,
}

impl Pipeline {
    /// Compiles `configs`; what `metrics` stages count goes into `metrics`.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid), naming the stage and what is wrong with it.
    pub fn new(configs: &[StageConfig], metrics: &Metrics) -> Result<Self> {
        let stages = Stage::compile_all(configs, metrics)?;
        Ok(Self { stages, dropped: BTreeMap::new(), paused_until_ns: None })
    }

    /// The same stages for another source of lines: it holds back nothing of the first one's, and shares with it what
    /// counts and limits all sources of a job together.
    pub fn fork(&self) -> Self {
        Self {
            stages: self.stages.iter().map(Stage::fork).collect(),
            dropped: BTreeMap::new(),
            paused_until_ns: None,
        }
    }

    /// Whether it leaves every line as it is.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Sends `entry` through; what comes out, which may be earlier lines, goes behind those in `out`.
    pub fn process(&mut self, mut entry: Entry, clock: &dyn Clock, out: &mut Vec<Entry>) {
        entry.values.take_labels(&entry.labels);
        let Self { stages, dropped, paused_until_ns } = self;
        stage::run(stages, entry, &mut Context { clock, dropped, paused_until_ns }, out);
    }

    /// Lets go of what has been held back long enough.
    pub fn flush_due(&mut self, clock: &dyn Clock, out: &mut Vec<Entry>) {
        self.flush_held(false, clock, out);
    }

    /// Lets go of everything that is held back: the source has ended.
    pub fn flush(&mut self, clock: &dyn Clock, out: &mut Vec<Entry>) {
        self.flush_held(true, clock, out);
    }

    fn flush_held(&mut self, all: bool, clock: &dyn Clock, out: &mut Vec<Entry>) {
        let Self { stages, dropped, paused_until_ns } = self;
        stage::flush(stages, all, &mut Context { clock, dropped, paused_until_ns }, out);
    }

    /// The smallest [position](Entry::position) of the lines that are held back; `None` when none is.
    pub fn oldest_held(&self) -> Option<u64> {
        self.stages.iter().filter_map(Stage::oldest_held).min()
    }

    /// The [positions](Entry::position) of all lines that are held back, in no order: they were taken and must not be
    /// counted as stored.
    pub fn held(&self) -> Vec<u64> {
        let mut positions = Vec::new();
        let mut visit = |entry: &Entry| {
            positions.push(entry.position);
            positions.extend_from_slice(&entry.joined);
        };
        self.stages.iter().for_each(|stage| stage.visit_held(&mut visit));
        positions
    }

    /// Whether it may hold lines back.
    pub fn may_hold(&self) -> bool {
        self.stages.iter().any(Stage::may_hold)
    }

    /// When [`flush_due`](Self::flush_due) has something to do, on the monotonic clock.
    pub fn next_due_ns(&self) -> Option<i64> {
        self.stages.iter().filter_map(Stage::next_due_ns).min()
    }

    /// Until when the caller should send nothing more, on the monotonic clock: a `limit` that does not drop is reached.
    pub fn paused_until_ns(&self) -> Option<i64> {
        self.paused_until_ns
    }

    /// Lines dropped since the last call, by reason.
    pub fn take_dropped(&mut self) -> BTreeMap<Arc<str>, u64> {
        std::mem::take(&mut self.dropped)
    }
}

//! One stage, compiled, and how entries go from stage to stage.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Clock, Result};

use super::cri::Cri;
use super::drop::{Drop, Sampling};
use super::event_log::EventLog;
use super::json::Json;
use super::labels::{LabelNames, LabelSources, StaticLabels, Tenant};
use super::limit::Limit;
use super::line::{Output, Pack, TemplateStage, decolorize};
use super::logfmt::Logfmt;
use super::matching::Match;
use super::metrics::{Counting, Metrics};
use super::multiline::Multiline;
use super::patterns::{Regex, Replace};
use super::timestamp::Timestamp;
use super::{Entry, StageConfig, TimestampConfig};

/// What stages share while an entry goes through.
pub(super) struct Context<'a> {
    pub(super) clock: &'a dyn Clock,
    pub(super) dropped: &'a mut BTreeMap<Arc<str>, u64>,
    pub(super) paused_until_ns: &'a mut Option<i64>,
}

/// What a stage makes of an entry.
pub(super) enum Step {
    Next(Entry),
    Dropped(Arc<str>),
    /// Kept back, or part of one that is.
    Held,
    /// These go on, in this order.
    Many(Vec<Entry>),
}

/// A compiled stage and its state.
#[derive(Debug)]
pub(super) enum Stage {
    Cri(Cri),
    Json(Json),
    Logfmt(Logfmt),
    Regex(Regex),
    Replace(Replace),
    Template(TemplateStage),
    Timestamp(Timestamp),
    Output(Output),
    Labels(LabelSources),
    LabelDrop(LabelNames),
    LabelAllow(LabelNames),
    StaticLabels(StaticLabels),
    StructuredMetadata(LabelSources),
    Metrics(Counting),
    Match(Match),
    Drop(Drop),
    Limit(Limit),
    Multiline(Multiline),
    Pack(Pack),
    Sampling(Sampling),
    Tenant(Tenant),
    Decolorize,
    EventLog(EventLog),
}

impl Stage {
    /// Compiles stages; some are several.
    pub(super) fn compile_all(configs: &[StageConfig], metrics: &Metrics) -> Result<Vec<Self>> {
        let mut stages = Vec::with_capacity(configs.len());
        for config in configs {
            let (name, compiled) = Self::compile(config, metrics);
            stages.extend(compiled.map_err(|e| e.context(format!("invalid {name} stage")))?);
        }
        Ok(stages)
    }

    fn compile(config: &StageConfig, metrics: &Metrics) -> (&'static str, Result<Vec<Self>>) {
        let one = |stage: Result<Self>| stage.map(|stage| vec![stage]);
        match config {
            StageConfig::Docker => ("docker", docker()),
            StageConfig::Cri(c) => ("cri", one(Cri::new(c).map(Self::Cri))),
            StageConfig::Json(c) => ("json", one(Json::new(c).map(Self::Json))),
            StageConfig::Logfmt(c) => ("logfmt", one(Logfmt::new(c).map(Self::Logfmt))),
            StageConfig::Regex(c) => ("regex", one(Regex::new(c).map(Self::Regex))),
            StageConfig::Replace(c) => ("replace", one(Replace::new(c).map(Self::Replace))),
            StageConfig::Template(c) => {
                ("template", one(TemplateStage::new(c).map(Self::Template)))
            }
            StageConfig::Timestamp(c) => ("timestamp", one(Timestamp::new(c).map(Self::Timestamp))),
            StageConfig::Output(source) => ("output", one(Output::new(source).map(Self::Output))),
            StageConfig::Labels(c) => ("labels", one(LabelSources::new(c).map(Self::Labels))),
            StageConfig::LabelDrop(c) => {
                ("labeldrop", one(LabelNames::new(c).map(Self::LabelDrop)))
            }
            StageConfig::LabelAllow(c) => {
                ("labelallow", one(LabelNames::new(c).map(Self::LabelAllow)))
            }
            StageConfig::StaticLabels(c) => {
                ("static_labels", one(StaticLabels::new(c).map(Self::StaticLabels)))
            }
            StageConfig::StructuredMetadata(c) => {
                ("structured_metadata", one(LabelSources::new(c).map(Self::StructuredMetadata)))
            }
            StageConfig::Metrics(c) => ("metrics", one(metrics.stage(c).map(Self::Metrics))),
            StageConfig::Match(c) => ("match", one(Match::new(c, metrics).map(Self::Match))),
            StageConfig::Drop(c) => ("drop", one(Drop::new(c).map(Self::Drop))),
            StageConfig::Limit(c) => ("limit", one(Limit::new(c).map(Self::Limit))),
            StageConfig::Multiline(c) => ("multiline", one(Multiline::new(c).map(Self::Multiline))),
            StageConfig::Pack(c) => ("pack", Ok(vec![Self::Pack(Pack::new(c))])),
            StageConfig::Sampling(c) => ("sampling", one(Sampling::new(c).map(Self::Sampling))),
            StageConfig::Tenant(c) => ("tenant", one(Tenant::new(c).map(Self::Tenant))),
            StageConfig::Decolorize => ("decolorize", Ok(vec![Self::Decolorize])),
            StageConfig::EventLogMessage(c) => {
                ("eventlogmessage", one(EventLog::new(c).map(Self::EventLog)))
            }
        }
    }

    /// The same stage without what it holds back.
    pub(super) fn fork(&self) -> Self {
        match self {
            Self::Cri(s) => Self::Cri(s.fork()),
            Self::Json(s) => Self::Json(s.clone()),
            Self::Logfmt(s) => Self::Logfmt(s.clone()),
            Self::Regex(s) => Self::Regex(s.clone()),
            Self::Replace(s) => Self::Replace(s.clone()),
            Self::Template(s) => Self::Template(s.clone()),
            Self::Timestamp(s) => Self::Timestamp(s.fork()),
            Self::Output(s) => Self::Output(s.clone()),
            Self::Labels(s) => Self::Labels(s.clone()),
            Self::LabelDrop(s) => Self::LabelDrop(s.clone()),
            Self::LabelAllow(s) => Self::LabelAllow(s.clone()),
            Self::StaticLabels(s) => Self::StaticLabels(s.clone()),
            Self::StructuredMetadata(s) => Self::StructuredMetadata(s.clone()),
            Self::Metrics(s) => Self::Metrics(s.clone()),
            Self::Match(s) => Self::Match(s.fork()),
            Self::Drop(s) => Self::Drop(s.clone()),
            Self::Limit(s) => Self::Limit(s.clone()),
            Self::Multiline(s) => Self::Multiline(s.fork()),
            Self::Pack(s) => Self::Pack(s.clone()),
            Self::Sampling(s) => Self::Sampling(s.clone()),
            Self::Tenant(s) => Self::Tenant(s.clone()),
            Self::Decolorize => Self::Decolorize,
            Self::EventLog(s) => Self::EventLog(s.clone()),
        }
    }

    fn process(&mut self, mut entry: Entry, context: &mut Context<'_>) -> Step {
        match self {
            Self::Cri(s) => return s.process(entry, context),
            Self::Match(s) => return s.process(entry, context),
            Self::Multiline(s) => return s.process(entry, context),
            Self::Json(s) => {
                if let Err(reason) = s.process(&mut entry) {
                    return Step::Dropped(reason);
                }
            }
            Self::Drop(s) => {
                if let Some(reason) = s.drops(&entry, context) {
                    return Step::Dropped(reason);
                }
            }
            Self::Limit(s) => {
                if let Some(reason) = s.drops(&entry, context) {
                    return Step::Dropped(reason);
                }
            }
            Self::Sampling(s) => {
                if let Some(reason) = s.drops() {
                    return Step::Dropped(reason);
                }
            }
            Self::Logfmt(s) => s.process(&mut entry),
            Self::Regex(s) => s.process(&mut entry),
            Self::Replace(s) => s.process(&mut entry),
            Self::Template(s) => s.process(&mut entry),
            Self::Timestamp(s) => s.process(&mut entry, context),
            Self::Output(s) => s.process(&mut entry),
            Self::Labels(s) => s.set_labels(&mut entry),
            Self::LabelDrop(s) => s.drop_from(&mut entry),
            Self::LabelAllow(s) => s.keep_in(&mut entry),
            Self::StaticLabels(s) => s.process(&mut entry),
            Self::StructuredMetadata(s) => s.set_fields(&mut entry),
            Self::Metrics(s) => s.process(&entry, context),
            Self::Pack(s) => s.process(&mut entry, context),
            Self::Tenant(s) => s.process(&mut entry),
            Self::Decolorize => decolorize(&mut entry.line),
            Self::EventLog(s) => s.process(&mut entry),
        }
        Step::Next(entry)
    }

    /// Lets go of what it holds back: all of it, or what is due.
    fn flush(&mut self, all: bool, context: &mut Context<'_>) -> Vec<Entry> {
        match self {
            Self::Cri(s) => s.flush(all),
            Self::Multiline(s) => s.flush(all, context),
            Self::Match(s) => s.flush(all, context),
            _ => Vec::new(),
        }
    }

    pub(super) fn oldest_held(&self) -> Option<u64> {
        match self {
            Self::Cri(s) => s.oldest_held(),
            Self::Multiline(s) => s.oldest_held(),
            Self::Match(s) => s.oldest_held(),
            _ => None,
        }
    }

    pub(super) fn visit_held(&self, visit: &mut dyn FnMut(&Entry)) {
        match self {
            Self::Cri(s) => s.visit_held(visit),
            Self::Multiline(s) => s.visit_held(visit),
            Self::Match(s) => s.visit_held(visit),
            _ => {}
        }
    }

    pub(super) fn may_hold(&self) -> bool {
        match self {
            Self::Cri(_) | Self::Multiline(_) => true,
            Self::Match(s) => s.may_hold(),
            _ => false,
        }
    }

    pub(super) fn next_due_ns(&self) -> Option<i64> {
        match self {
            Self::Multiline(s) => s.next_due_ns(),
            Self::Match(s) => s.next_due_ns(),
            _ => None,
        }
    }
}

/// Docker's json-file lines: the time, the stream as a label, and the text as the line.
fn docker() -> Result<Vec<Stage>> {
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let json = super::JsonConfig {
        expressions: vec![
            pair("output", "log"),
            pair("stream", "stream"),
            pair("timestamp", "time"),
        ],
        source: None,
        drop_malformed: false,
    };
    let time = TimestampConfig::new("timestamp", "RFC3339Nano");
    Ok(vec![
        Stage::Json(Json::new(&json)?),
        Stage::Labels(LabelSources::new(&[pair("stream", "stream")])?),
        Stage::Timestamp(Timestamp::new(&time)?),
        Stage::Output(Output::new("output")?),
    ])
}

/// Sends `entry` through `stages`.
pub(super) fn run(
    mut stages: &mut [Stage],
    mut entry: Entry,
    context: &mut Context<'_>,
    out: &mut Vec<Entry>,
) {
    while let Some((stage, behind)) = stages.split_first_mut() {
        match stage.process(entry, context) {
            Step::Next(next) => entry = next,
            Step::Held => return,
            Step::Dropped(reason) => {
                *context.dropped.entry(reason).or_default() += 1;
                return;
            }
            Step::Many(entries) => {
                for entry in entries {
                    run(behind, entry, context, out);
                }
                return;
            }
        }
        stages = behind;
    }
    out.push(entry);
}

/// Lets go of what `stages` hold back, first stage first, so that it passes those behind.
pub(super) fn flush(
    stages: &mut [Stage],
    all: bool,
    context: &mut Context<'_>,
    out: &mut Vec<Entry>,
) {
    let mut rest = stages;
    while let Some((stage, behind)) = rest.split_first_mut() {
        for entry in stage.flush(all, context) {
            run(behind, entry, context, out);
        }
        rest = behind;
    }
}

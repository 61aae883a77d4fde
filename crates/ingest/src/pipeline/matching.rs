//! The `match` stage: stages for some lines only, or the end of them.

use std::sync::Arc;

use model::{Error, Result};

use super::drop::reason;
use super::metrics::Metrics;
use super::stage::{self, Context, Stage, Step};
use super::{Entry, Selector, StageConfig};

/// Settings of the `match` stage.
#[derive(Debug, Clone)]
pub struct MatchConfig {
    /// Which lines are meant.
    pub selector: Arc<dyn Selector>,
    /// What becomes of them.
    pub action: SelectedAction,
}

/// What the `match` stage does with the lines that are meant; all others pass.
#[derive(Debug, Clone)]
pub enum SelectedAction {
    /// They go through these stages, of which there must be one.
    Keep(Vec<StageConfig>),
    /// They are dropped and counted under this reason; `match_stage` when absent.
    Drop(Option<String>),
}

#[derive(Debug)]
pub(super) struct Match {
    selector: Arc<dyn Selector>,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Keep(Vec<Stage>),
    Drop(Arc<str>),
}

impl Match {
    pub(super) fn new(config: &MatchConfig, metrics: &Metrics) -> Result<Self> {
        let action = match &config.action {
            SelectedAction::Keep(stages) if stages.is_empty() => {
                return Err(Error::invalid("needs stages, or action: drop"));
            }
            SelectedAction::Keep(stages) => Action::Keep(Stage::compile_all(stages, metrics)?),
            SelectedAction::Drop(given) => Action::Drop(reason(given.as_deref(), "match_stage")),
        };
        Ok(Self { selector: Arc::clone(&config.selector), action })
    }

    pub(super) fn fork(&self) -> Self {
        let action = match &self.action {
            Action::Keep(stages) => Action::Keep(stages.iter().map(Stage::fork).collect()),
            Action::Drop(reason) => Action::Drop(Arc::clone(reason)),
        };
        Self { selector: Arc::clone(&self.selector), action }
    }

    pub(super) fn process(&mut self, mut entry: Entry, context: &mut Context<'_>) -> Step {
        if !self.selector.selects(&entry.labels, &entry.fields, entry.t_ns, &entry.line) {
            return Step::Next(entry);
        }
        match &mut self.action {
            Action::Drop(reason) => Step::Dropped(Arc::clone(reason)),
            Action::Keep(stages) => {
                entry.values.take_labels(&entry.labels);
                let mut out = Vec::with_capacity(1);
                stage::run(stages, entry, context, &mut out);
                Step::Many(out)
            }
        }
    }

    fn stages(&self) -> &[Stage] {
        match &self.action {
            Action::Keep(stages) => stages,
            Action::Drop(_) => &[],
        }
    }

    pub(super) fn flush(&mut self, all: bool, context: &mut Context<'_>) -> Vec<Entry> {
        let mut out = Vec::new();
        if let Action::Keep(stages) = &mut self.action {
            stage::flush(stages, all, context, &mut out);
        }
        out
    }

    pub(super) fn oldest_held(&self) -> Option<u64> {
        self.stages().iter().filter_map(Stage::oldest_held).min()
    }

    pub(super) fn visit_held(&self, visit: &mut dyn FnMut(&Entry)) {
        self.stages().iter().for_each(|stage| stage.visit_held(visit));
    }

    pub(super) fn may_hold(&self) -> bool {
        self.stages().iter().any(Stage::may_hold)
    }

    pub(super) fn next_due_ns(&self) -> Option<i64> {
        self.stages().iter().filter_map(Stage::next_due_ns).min()
    }
}

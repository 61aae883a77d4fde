//! The `multiline` stage: lines become one from a first line to the next, per stream.

use std::collections::BTreeMap;

use model::{Error, Labels, Result};
use regex::Regex;

use super::Entry;
use super::patterns::compile;
use super::stage::{Context, Step};

/// Settings of the `multiline` stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultilineConfig {
    /// RE2 that first lines match somewhere.
    pub firstline: String,
    /// Nanoseconds without a line after which a block is complete; Promtail's default is 3 s.
    pub max_wait_ns: i64,
    /// Lines of a block; Promtail's default is 128. 0 means any number.
    pub max_lines: u64,
}

/// Beyond so many bytes a block is complete.
const BLOCK_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Multiline {
    firstline: Regex,
    max_wait_ns: i64,
    max_lines: u64,
    /// Streams that had a first line; before it, lines pass.
    blocks: BTreeMap<Labels, Option<Block>>,
}

/// Lines held back.
#[derive(Debug)]
struct Block {
    entry: Entry,
    lines: u64,
    /// When the last of them came.
    at_ns: i64,
}

impl Multiline {
    pub(super) fn new(config: &MultilineConfig) -> Result<Self> {
        if config.firstline.is_empty() {
            return Err(Error::invalid("needs firstline, a regular expression"));
        }
        Ok(Self {
            firstline: compile(&config.firstline)?,
            max_wait_ns: config.max_wait_ns,
            max_lines: config.max_lines,
            blocks: BTreeMap::new(),
        })
    }

    pub(super) fn fork(&self) -> Self {
        Self {
            firstline: self.firstline.clone(),
            max_wait_ns: self.max_wait_ns,
            max_lines: self.max_lines,
            blocks: BTreeMap::new(),
        }
    }

    pub(super) fn process(&mut self, entry: Entry, context: &Context<'_>) -> Step {
        let is_first = self.firstline.is_match(&entry.line);
        let known = self.blocks.contains_key(&entry.labels);
        if !is_first && !known {
            return Step::Next(entry);
        }
        let at_ns = context.clock.monotonic_ns();
        let held = self.blocks.entry(entry.labels.clone()).or_default();
        let mut complete = Vec::new();
        if let Some(block) =
            held.take_if(|block| is_first || at_ns.saturating_sub(block.at_ns) >= self.max_wait_ns)
        {
            complete.push(block.entry);
        }
        let block = match held {
            None => held.insert(Block { entry, lines: 1, at_ns }),
            Some(block) => {
                block.entry.line.push('\n');
                block.entry.line.push_str(&entry.line);
                block.entry.joined.push(entry.position);
                block.entry.joined.extend_from_slice(&entry.joined);
                block.lines += 1;
                block.at_ns = at_ns;
                block
            }
        };
        if block.lines == self.max_lines || block.entry.line.len() > BLOCK_BYTES_MAX {
            complete.extend(held.take().map(|block| block.entry));
        }
        if complete.is_empty() { Step::Held } else { Step::Many(complete) }
    }

    pub(super) fn flush(&mut self, all: bool, context: &Context<'_>) -> Vec<Entry> {
        let now_ns = context.clock.monotonic_ns();
        let is_due =
            |block: &mut Block| all || now_ns.saturating_sub(block.at_ns) >= self.max_wait_ns;
        let due = self.blocks.values_mut().filter_map(|held| held.take_if(|b| is_due(b)));
        let mut due: Vec<Entry> = due.map(|block| block.entry).collect();
        due.sort_by_key(|entry| entry.position);
        due
    }

    pub(super) fn oldest_held(&self) -> Option<u64> {
        self.blocks.values().flatten().map(|block| block.entry.position).min()
    }

    pub(super) fn visit_held(&self, visit: &mut dyn FnMut(&Entry)) {
        self.blocks.values().flatten().for_each(|block| visit(&block.entry));
    }

    pub(super) fn next_due_ns(&self) -> Option<i64> {
        let last = self.blocks.values().flatten().map(|block| block.at_ns).min()?;
        Some(last.saturating_add(self.max_wait_ns))
    }
}

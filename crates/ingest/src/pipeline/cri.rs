//! The `cri` stage: lines as a container runtime writes them for the kubelet, `TIME STREAM FLAGS TEXT`, and parts of lines
//! put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Error, Labels, Result};

use super::stage::{Context, Step};
use super::timestamp::Timestamp;
use super::{Entry, TimestampConfig};

/// Settings of the `cri` stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CriConfig {
    /// Streams of which a part may be held back at a time; when there are more, all parts go on as they are.
    pub max_partial_lines: u64,
    /// Bytes a line put together may have, if it is cut; 0 means any number.
    pub max_partial_line_size: u64,
    /// Whether longer ones are cut.
    pub max_partial_line_size_truncate: bool,
}

impl Default for CriConfig {
    fn default() -> Self {
        Self {
            max_partial_lines: 100,
            max_partial_line_size: 0,
            max_partial_line_size_truncate: false,
        }
    }
}

/// Beyond so many bytes a line without end goes on as it is.
const WHOLE_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Cri {
    streams_max: usize,
    bytes_max: Option<usize>,
    names: Names,
    time: Timestamp,
    /// Lines whose end has not come.
    parts: BTreeMap<Labels, Entry>,
}

/// Names of the values it finds.
#[derive(Debug, Clone)]
struct Names {
    time: Arc<str>,
    stream: Arc<str>,
    flags: Arc<str>,
    content: Arc<str>,
}

impl Cri {
    pub(super) fn new(config: &CriConfig) -> Result<Self> {
        if config.max_partial_lines == 0 {
            return Err(Error::invalid("max_partial_lines must be 1 or more"));
        }
        let cut = config.max_partial_line_size_truncate && config.max_partial_line_size > 0;
        let bytes = usize::try_from(config.max_partial_line_size).unwrap_or(usize::MAX);
        Ok(Self {
            streams_max: usize::try_from(config.max_partial_lines).unwrap_or(usize::MAX),
            bytes_max: cut.then_some(bytes),
            names: Names {
                time: "time".into(),
                stream: "stream".into(),
                flags: "flags".into(),
                content: "content".into(),
            },
            time: Timestamp::new(&TimestampConfig::new("time", "RFC3339Nano"))?,
            parts: BTreeMap::new(),
        })
    }

    pub(super) fn fork(&self) -> Self {
        Self {
            streams_max: self.streams_max,
            bytes_max: self.bytes_max,
            names: self.names.clone(),
            time: self.time.fork(),
            parts: BTreeMap::new(),
        }
    }

    pub(super) fn process(&mut self, mut entry: Entry, context: &Context<'_>) -> Step {
        // What is no such line passes.
        let Some((time, stream, flags, content)) = fields(&entry.line) else {
            return Step::Next(entry);
        };
        let is_part = flags == "P";
        entry.values.set(&self.names.time, time.to_owned());
        entry.values.set(&self.names.stream, stream.to_owned());
        entry.values.set(&self.names.flags, flags.to_owned());
        entry.values.set(&self.names.content, content.to_owned());
        entry.labels = entry.labels.with("stream", stream);
        let content_at = entry.line.len() - content.len();
        entry.line.drain(..content_at);
        self.time.process(&mut entry, context);
        let mut whole = match self.parts.remove(&entry.labels) {
            Some(mut before) => {
                before.line.push_str(&entry.line);
                before.joined.push(entry.position);
                before.values = entry.values;
                before.t_ns = entry.t_ns;
                before
            }
            None => entry,
        };
        if let Some(bytes_max) = self.bytes_max {
            whole.line.truncate(whole.line.floor_char_boundary(bytes_max));
        }
        if !is_part || whole.line.len() > WHOLE_BYTES_MAX {
            return Step::Next(whole);
        }
        let too_many = if self.parts.len() >= self.streams_max { self.flush(true) } else { vec![] };
        self.parts.insert(whole.labels.clone(), whole);
        if too_many.is_empty() { Step::Held } else { Step::Many(too_many) }
    }

    /// Parts have no time at which they are due: the runtime writes the end of every line.
    pub(super) fn flush(&mut self, all: bool) -> Vec<Entry> {
        if !all {
            return Vec::new();
        }
        let mut parts: Vec<Entry> = std::mem::take(&mut self.parts).into_values().collect();
        parts.sort_by_key(|entry| entry.position);
        parts
    }

    pub(super) fn visit_held(&self, visit: &mut dyn FnMut(&Entry)) {
        self.parts.values().for_each(visit);
    }

    pub(super) fn oldest_held(&self) -> Option<u64> {
        self.parts.values().map(|entry| entry.position).min()
    }
}

/// Time, stream, flags and text.
fn fields(line: &str) -> Option<(&str, &str, &str, &str)> {
    let (time, rest) = line.split_once(' ')?;
    let (stream, rest) = rest.split_once(' ')?;
    let (flags, content) = rest.split_once(' ')?;
    let fits = !time.is_empty() && !flags.is_empty() && matches!(stream, "stdout" | "stderr");
    fits.then_some((time, stream, flags, content))
}

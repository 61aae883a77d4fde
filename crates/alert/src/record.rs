//! Changes of what alerting remembers, as records that can be written down and read again.
//!
//! Owns: the shape of records (JSON, one object a record). Does not own: files. Replaying all records in order gives
//! the state again; a record of a later version that cannot be read is an error of that record alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Error, Labels, MatchOp, Result};
use serde::{Deserialize, Serialize};

use crate::active::{ActiveAlert, Fingerprint};
use crate::expand::alertmanager::Pairs;
use crate::matcher::{Matcher, Matchers};
use crate::notification_log::{LogEntry, LogKey, Reason};
use crate::outbox::{Job, Told};
use crate::silence::Silence;

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// An alert is new or other than before.
    Alert(Arc<ActiveAlert>),
    /// Alerts were forgotten.
    AlertsGone(Vec<Fingerprint>),
    /// A silence is new or other than before.
    Silence(Arc<Silence>),
    /// Silences were forgotten, by id.
    SilencesGone(Vec<String>),
    /// What a receiver was told last of a group; `None` when that was forgotten.
    Told {
        /// Whom, and of what.
        key: LogKey,
        /// What.
        entry: Option<LogEntry>,
    },
    /// A message is to be sent.
    Job(Arc<Job>),
    /// Messages arrived, were refused or given up, by number.
    JobsGone(Vec<u64>),
}

type Text = String;
type Map = BTreeMap<Text, Text>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Written {
    Alert(WrittenAlert),
    AlertsGone(Vec<Fingerprint>),
    Silence(WrittenSilence),
    SilencesGone(Vec<Text>),
    Told { key: LogKey, entry: Option<LogEntry> },
    Job(WrittenJob),
    JobsGone(Vec<u64>),
}

#[derive(Serialize, Deserialize)]
struct WrittenAlert {
    labels: Map,
    annotations: Pairs,
    starts_ms: i64,
    ends_ms: i64,
    updated_ms: i64,
    generator_url: Text,
    timeout: bool,
}

#[derive(Serialize, Deserialize)]
struct WrittenSilence {
    id: Text,
    /// Name, operator, value.
    matchers: Vec<(Text, Text, Text)>,
    starts_ms: i64,
    ends_ms: i64,
    updated_ms: i64,
    created_by: Text,
    comment: Text,
    annotations: Map,
}

#[derive(Serialize, Deserialize)]
struct WrittenJob {
    id: u64,
    key: LogKey,
    reason: Reason,
    group_labels: Map,
    route_labels: Pairs,
    alerts: Vec<WrittenTold>,
    at_ms: i64,
    repeat_interval_ms: u64,
    former: Option<LogEntry>,
}

#[derive(Serialize, Deserialize)]
struct WrittenTold {
    labels: Map,
    annotations: Pairs,
    starts_ms: i64,
    ends_ms: Option<i64>,
    generator_url: Text,
}

impl Change {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Maps have texts as keys, so this cannot fail.
        serde_json::to_vec(&self.written()).unwrap_or_default()
    }

    /// From bytes.
    ///
    /// # Errors
    /// Corrupt, with the place.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let written: Written =
            serde_json::from_slice(bytes).map_err(|e| corrupt(&e.to_string()))?;
        Ok(match written {
            Written::Alert(alert) => Self::Alert(Arc::new(alert.read())),
            Written::AlertsGone(gone) => Self::AlertsGone(gone),
            Written::Silence(silence) => Self::Silence(Arc::new(silence.read()?)),
            Written::SilencesGone(ids) => Self::SilencesGone(ids),
            Written::Told { key, entry } => Self::Told { key, entry },
            Written::Job(job) => Self::Job(Arc::new(job.read())),
            Written::JobsGone(ids) => Self::JobsGone(ids),
        })
    }

    fn written(&self) -> Written {
        match self {
            Self::Alert(alert) => Written::Alert(WrittenAlert::of(alert)),
            Self::AlertsGone(gone) => Written::AlertsGone(gone.clone()),
            Self::Silence(silence) => Written::Silence(WrittenSilence::of(silence)),
            Self::SilencesGone(ids) => Written::SilencesGone(ids.clone()),
            Self::Told { key, entry } => Written::Told { key: key.clone(), entry: entry.clone() },
            Self::Job(job) => Written::Job(WrittenJob::of(job)),
            Self::JobsGone(ids) => Written::JobsGone(ids.clone()),
        }
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(model::ErrorKind::Corrupt, format!("cannot read a record of alerting: {what}"))
}

fn map(labels: &Labels) -> Map {
    crate::active::pairs(labels)
}

fn labels(map: &Map) -> Labels {
    Labels::from_pairs(map.iter().map(|(name, value)| (&**name, &**value)))
}

impl WrittenAlert {
    fn of(alert: &ActiveAlert) -> Self {
        Self {
            labels: map(&alert.labels),
            annotations: alert.annotations.clone(),
            starts_ms: alert.starts_ms,
            ends_ms: alert.ends_ms,
            updated_ms: alert.updated_ms,
            generator_url: alert.generator_url.clone(),
            timeout: alert.timeout,
        }
    }

    fn read(self) -> ActiveAlert {
        ActiveAlert {
            labels: labels(&self.labels),
            annotations: self.annotations,
            starts_ms: self.starts_ms,
            ends_ms: self.ends_ms,
            updated_ms: self.updated_ms,
            generator_url: self.generator_url,
            timeout: self.timeout,
        }
    }
}

impl WrittenSilence {
    fn of(silence: &Silence) -> Self {
        let matchers = silence
            .matchers
            .0
            .iter()
            .map(|m| (m.name().to_owned(), m.op().as_str().to_owned(), m.value().to_owned()));
        Self {
            id: silence.id.clone(),
            matchers: matchers.collect(),
            starts_ms: silence.starts_ms,
            ends_ms: silence.ends_ms,
            updated_ms: silence.updated_ms,
            created_by: silence.created_by.clone(),
            comment: silence.comment.clone(),
            annotations: silence.annotations.clone(),
        }
    }

    fn read(self) -> Result<Silence> {
        let matchers = self.matchers.into_iter().map(|(name, op, value)| {
            let op = match &*op {
                "=" => MatchOp::Equal,
                "!=" => MatchOp::NotEqual,
                "=~" => MatchOp::Regex,
                "!~" => MatchOp::NotRegex,
                other => return Err(corrupt(&format!("{other:?} is no operator of a matcher"))),
            };
            Matcher::new(name, op, value)
        });
        Ok(Silence {
            id: self.id,
            matchers: Matchers(matchers.collect::<Result<_>>()?),
            starts_ms: self.starts_ms,
            ends_ms: self.ends_ms,
            updated_ms: self.updated_ms,
            created_by: self.created_by,
            comment: self.comment,
            annotations: self.annotations,
        })
    }
}

impl WrittenJob {
    fn of(job: &Job) -> Self {
        Self {
            id: job.id,
            key: job.key.clone(),
            reason: job.reason,
            group_labels: map(&job.group_labels),
            route_labels: job.route_labels.clone(),
            alerts: job.alerts.iter().map(WrittenTold::of).collect(),
            at_ms: job.at_ms,
            repeat_interval_ms: job.repeat_interval_ms,
            former: job.former.clone(),
        }
    }

    fn read(self) -> Job {
        Job {
            id: self.id,
            key: self.key,
            reason: self.reason,
            group_labels: labels(&self.group_labels),
            route_labels: self.route_labels,
            alerts: self.alerts.into_iter().map(WrittenTold::read).collect(),
            at_ms: self.at_ms,
            repeat_interval_ms: self.repeat_interval_ms,
            former: self.former,
        }
    }
}

impl WrittenTold {
    fn of(told: &Told) -> Self {
        Self {
            labels: map(&told.labels),
            annotations: told.annotations.clone(),
            starts_ms: told.starts_ms,
            ends_ms: told.ends_ms,
            generator_url: told.generator_url.clone(),
        }
    }

    fn read(self) -> Told {
        Told {
            labels: labels(&self.labels),
            annotations: self.annotations,
            starts_ms: self.starts_ms,
            ends_ms: self.ends_ms,
            generator_url: self.generator_url,
        }
    }
}

//! Silences: alerts that are told to nobody for a while.
//!
//! Owns: the life of a silence (pending, active, expired, forgotten), what may be changed of one, which alerts it
//! covers. Does not own: ids and times (they are given), durability, and how silences come and go (`server`).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Error, Labels, Result};

use crate::matcher::{Matcher, Matchers, Op};

/// Most bytes of a comment; as long as a record may be read by people.
pub const COMMENT_BYTES_MAX: usize = 64 << 10;
/// Most silences, expired ones included.
pub const SILENCES_MAX: usize = 100_000;

/// One silence. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Silence {
    /// A UUID; empty of one that is to be made.
    pub id: String,
    /// Which alerts it covers: those that all of them match.
    pub matchers: Matchers,
    /// From when on.
    pub starts_ms: i64,
    /// Until when.
    pub ends_ms: i64,
    /// When it was made or changed last.
    pub updated_ms: i64,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// What was written with it.
    pub annotations: BTreeMap<String, String>,
}

/// Where a silence is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceState {
    /// It covers alerts.
    Active,
    /// It will.
    Pending,
    /// It did.
    Expired,
}

impl SilenceState {
    /// As the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Expired => "expired",
        }
    }
}

impl Silence {
    /// Where it is in its life.
    pub fn state(&self, now_ms: i64) -> SilenceState {
        if now_ms < self.starts_ms {
            SilenceState::Pending
        } else if now_ms < self.ends_ms {
            SilenceState::Active
        } else {
            SilenceState::Expired
        }
    }

    fn check(&self) -> Result<()> {
        let invalid = |what: &str| Err(Error::invalid(format!("invalid silence: {what}")));
        if self.matchers.0.is_empty() {
            return invalid("at least one matcher required");
        }
        // A condition that excludes something says enough.
        let says_nothing = |matcher: &Matcher| {
            matches!(matcher.op(), Op::Equal | Op::Regex) && matcher.matches_value("")
        };
        if self.matchers.0.iter().all(says_nothing) {
            return invalid("at least one matcher must not match the empty string");
        }
        if self.comment.len() > COMMENT_BYTES_MAX {
            let len = self.comment.len();
            return invalid(&format!("comment of {len} bytes is over {COMMENT_BYTES_MAX}"));
        }
        match self.ends_ms < self.starts_ms {
            true => invalid("end time must not be before start time"),
            false => Ok(()),
        }
    }
}

/// All silences that are remembered.
#[derive(Debug, Default)]
pub struct Silences {
    by_id: BTreeMap<String, Arc<Silence>>,
    /// Those that may cover alerts now or later, so that expired ones cost nothing.
    living: BTreeMap<String, Arc<Silence>>,
}

impl Silences {
    /// Puts a silence as it was remembered, in place of one with the same id if that is older. Whether it was taken.
    pub fn restore(&mut self, silence: Silence) -> bool {
        if self.by_id.get(&silence.id).is_some_and(|known| known.updated_ms > silence.updated_ms) {
            return false;
        }
        self.put(silence);
        true
    }

    /// Makes a silence, or changes the one with its id: in place where that does not change the past, else the former
    /// expires and a new one with `new_id` begins. Gives what changed; the silence that holds is the last.
    ///
    /// # Errors
    /// Invalid, in Alertmanager's words; `NotFound` for an unknown id; `Limit` over [`SILENCES_MAX`].
    pub fn set(
        &mut self,
        mut silence: Silence,
        new_id: String,
        now_ms: i64,
    ) -> Result<Vec<Arc<Silence>>> {
        let former = match &*silence.id {
            "" => None,
            id => Some(self.get(id).cloned().ok_or_else(not_found)?),
        };
        silence.updated_ms = now_ms;
        if let Some(former) = &former
            && may_become(former, &silence, now_ms)
        {
            silence.check()?;
            return Ok(vec![self.put(silence)]);
        }
        silence.starts_ms = silence.starts_ms.max(now_ms);
        silence.id = new_id;
        silence.check()?;
        if self.by_id.len() >= SILENCES_MAX {
            let message = format!("there are {SILENCES_MAX} silences already");
            return Err(Error::new(model::ErrorKind::Limit, message));
        }
        let mut changed = Vec::new();
        if let Some(former) = former.filter(|s| s.state(now_ms) != SilenceState::Expired) {
            changed.push(self.expire(&former.id, now_ms)?);
        }
        changed.push(self.put(silence));
        Ok(changed)
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// `NotFound` for an unknown id, invalid for one that is expired.
    pub fn expire(&mut self, id: &str, now_ms: i64) -> Result<Arc<Silence>> {
        let known = self.get(id).ok_or_else(not_found)?;
        let mut silence = Silence::clone(known);
        match silence.state(now_ms) {
            SilenceState::Expired => {
                return Err(Error::invalid(format!("silence {id} already expired")));
            }
            SilenceState::Active => silence.ends_ms = now_ms,
            SilenceState::Pending => (silence.starts_ms, silence.ends_ms) = (now_ms, now_ms),
        }
        silence.updated_ms = now_ms;
        Ok(self.put(silence))
    }

    /// Forgets silences that expired more than `retention_ms` ago; gives their ids.
    pub fn forget_expired(&mut self, now_ms: i64, retention_ms: u64) -> Vec<String> {
        self.living.retain(|_, silence| silence.state(now_ms) != SilenceState::Expired);
        let over =
            |silence: &Silence| silence.ends_ms.saturating_add_unsigned(retention_ms) <= now_ms;
        let old = self.by_id.extract_if(.., |_, silence| over(silence));
        old.map(|(id, _)| id).collect()
    }

    /// Forgets silences.
    pub fn forget(&mut self, ids: &[String]) {
        for id in ids {
            self.by_id.remove(id);
            self.living.remove(id);
        }
    }

    /// The silence with this id.
    pub fn get(&self, id: &str) -> Option<&Arc<Silence>> {
        self.by_id.get(id)
    }

    /// All, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Silence>> {
        self.by_id.values()
    }

    /// Those that keep alerts with `labels` silent now.
    pub fn covering(&self, labels: &Labels, now_ms: i64) -> impl Iterator<Item = &Arc<Silence>> {
        let covers = move |silence: &&Arc<Silence>| {
            silence.state(now_ms) == SilenceState::Active && silence.matchers.matches(labels)
        };
        self.living.values().filter(covers)
    }

    fn put(&mut self, silence: Silence) -> Arc<Silence> {
        let silence = Arc::new(silence);
        self.living.insert(silence.id.clone(), silence.clone());
        self.by_id.insert(silence.id.clone(), silence.clone());
        silence
    }
}

/// Whether `former` can become `next` without another past.
fn may_become(former: &Silence, next: &Silence, now_ms: i64) -> bool {
    if former.matchers != next.matchers {
        return false;
    }
    match former.state(now_ms) {
        SilenceState::Active => {
            former.starts_ms.div_euclid(1000) == next.starts_ms.div_euclid(1000)
                && next.ends_ms >= now_ms
        }
        SilenceState::Pending => next.starts_ms >= now_ms,
        SilenceState::Expired => false,
    }
}

fn not_found() -> Error {
    Error::new(model::ErrorKind::NotFound, "silence not found")
}

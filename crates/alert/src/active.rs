//! Alerts as they are handed over to be routed: who they are, since when, until when.
//!
//! Owns: identity, what becomes of an alert that is told again, which time counts as over. Does not own: where alerts
//! come from (rules, the API) and where they go.

use std::fmt::Write as _;
use std::hash::Hasher;

use model::{Labels, LabelsBuilder};
use serde::{Deserialize, Serialize};

use crate::expand::alertmanager::Pairs;

/// An alert that somebody told of. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveAlert {
    /// Its identity.
    pub labels: Labels,
    /// What is said of it.
    pub annotations: Pairs,
    /// Since when.
    pub starts_ms: i64,
    /// Until when; in the future while it fires.
    pub ends_ms: i64,
    /// When it was told last.
    pub updated_ms: i64,
    /// Where it comes from.
    pub generator_url: String,
    /// Whether nobody said an end, so that it ends when it is not told again in time.
    pub timeout: bool,
}

impl ActiveAlert {
    /// Whether it is over at `now_ms`.
    pub fn resolved(&self, now_ms: i64) -> bool {
        self.ends_ms <= now_ms
    }

    /// What it becomes when `newer`, an alert with the same labels, is told: one alert from the earlier start on if
    /// the two overlap, else the newer alone.
    #[must_use]
    pub fn told_again(&self, newer: Self) -> Self {
        let within = |t: i64, of: &Self| t > of.starts_ms && t < of.ends_ms;
        if !within(newer.ends_ms, self) && !within(newer.starts_ms, self) {
            return newer;
        }
        let (old, mut merged) = match newer.updated_ms < self.updated_ms {
            true => (&newer.clone(), self.clone()),
            false => (self, newer),
        };
        merged.starts_ms = merged.starts_ms.min(old.starts_ms);
        let later_end = old.ends_ms > merged.ends_ms;
        // An end that was said outlives one that was only supposed.
        let stands = match merged.resolved(merged.updated_ms) {
            true => old.resolved(merged.updated_ms),
            false => !old.timeout,
        };
        if later_end && stands {
            merged.ends_ms = old.ends_ms;
        }
        merged
    }

    /// Its identity as Prometheus and Alertmanager count it: stable between processes and versions.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.labels)
    }
}

/// The 64 bits by which Alertmanager's API and messages name a set of labels: FNV-1a over names and values, each
/// followed by a byte 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// That of `labels`.
    pub fn of(labels: &Labels) -> Self {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        for (name, value) in labels.iter() {
            for text in [name, value] {
                hash.write(text.as_bytes());
                hash.write(&[255]);
            }
        }
        Self(hash.finish())
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Labels as Go prints them: `{a="1", b="2"}`.
pub fn display_labels(labels: &Labels) -> String {
    let mut out = String::from("{");
    for (index, (name, value)) in labels.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        // Writing to a String cannot fail.
        let _infallible = write!(out, "{comma}{name}={}", query::template::go_quote(value));
    }
    out.push('}');
    out
}

/// The labels of `labels` whose names `wanted` knows.
pub fn only(labels: &Labels, wanted: impl Fn(&str) -> bool) -> Labels {
    let mut builder = LabelsBuilder::default();
    labels
        .iter()
        .filter(|(name, _)| wanted(name))
        .for_each(|(name, value)| builder.set(name, value));
    builder.build()
}

/// Labels as the templates of notifications have them.
pub fn pairs(labels: &Labels) -> Pairs {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(starts_ms: i64, ends_ms: i64, updated_ms: i64, timeout: bool) -> ActiveAlert {
        ActiveAlert {
            labels: Labels::from_pairs([("alertname", "a")]),
            annotations: Pairs::new(),
            starts_ms,
            ends_ms,
            updated_ms,
            generator_url: String::new(),
            timeout,
        }
    }

    fn check(old: ActiveAlert, newer: ActiveAlert, starts_ms: i64, ends_ms: i64) {
        let found = old.told_again(newer.clone());
        assert_eq!((found.starts_ms, found.ends_ms), (starts_ms, ends_ms), "{old:?} {newer:?}");
    }

    #[test]
    fn alerts_told_again_are_one() {
        // Told again: the earlier start stands, the end moves on.
        check(alert(10, 100, 10, true), alert(50, 150, 50, true), 10, 150);
        // Said to be over.
        check(alert(10, 100, 10, true), alert(10, 60, 60, false), 10, 60);
        // A supposed end does not shorten one that was said.
        check(alert(10, 200, 10, false), alert(20, 150, 20, true), 10, 200);
        // They do not overlap: it began anew.
        check(alert(10, 20, 20, false), alert(30, 150, 30, true), 30, 150);
        // The older of two words comes late.
        check(alert(10, 200, 50, true), alert(10, 100, 20, true), 10, 200);
    }

    #[test]
    fn fingerprints_are_those_of_prometheus() {
        assert_eq!(Fingerprint::of(&Labels::default()).to_string(), "cbf29ce484222325");
        let labels = Labels::from_pairs([("alertname", "a\"b"), ("x", "1")]);
        assert_eq!(display_labels(&labels), r#"{alertname="a\"b", x="1"}"#);
    }
}

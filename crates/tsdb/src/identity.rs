//! Identities: 64 bits that stand for a set of labels while this process runs.
//!
//! Owns: how they are made, alike from the pairs of the head and from the values of an index. They find the same series in several
//! places without making its labels. The hash is keyed at random, so that nobody can make two series meet; by chance one
//! pair in 10^19 does.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// That of no labels, to which pairs are added in any order.
pub(crate) const NONE: u64 = 0;

/// What one label adds.
pub(crate) fn of_pair(name: &str, value: &str) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    KEY.get_or_init(RandomState::new).hash_one((name, value))
}

/// Takes a pair in.
#[inline]
pub(crate) fn add(identity: &mut u64, pair: u64) {
    *identity = identity.wrapping_add(pair);
}

/// That of `labels`.
#[cfg(test)]
pub(crate) fn of(labels: &model::Labels) -> u64 {
    let mut identity = NONE;
    labels.iter().for_each(|(name, value)| add(&mut identity, of_pair(name, value)));
    identity
}

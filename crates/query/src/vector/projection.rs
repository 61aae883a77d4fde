//! Series that agree in some of their labels: the keys of grouping and matching, found without building them.

use std::hash::{Hash, Hasher};

use hashbrown::HashTable;
use model::Labels;
use rustc_hash::FxHasher;

use super::is_metadata_label;

/// Which labels count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Projection<'a> {
    names: &'a [String],
    /// All but the names and what describes the metric, instead of the names alone.
    without: bool,
}

impl<'a> Projection<'a> {
    /// The labels among `names`, or those not among them.
    pub(crate) fn new(names: &'a [String], without: bool) -> Self {
        Self { names, without }
    }

    fn keeps(self, name: &str) -> bool {
        let named = self.names.iter().any(|n| n == name);
        if self.without { !named && !is_metadata_label(name) } else { named }
    }

    fn pairs(self, labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
        labels.iter().filter(move |(name, _)| self.keeps(name))
    }

    /// Only the labels that count.
    pub(crate) fn of(self, labels: &Labels) -> Labels {
        self.pairs(labels).collect()
    }

    fn hash(self, labels: &Labels) -> u64 {
        let mut hasher = FxHasher::default();
        self.pairs(labels).for_each(|pair| pair.hash(&mut hasher));
        hasher.finish()
    }

    fn same(self, a: &Labels, b: &Labels) -> bool {
        self.pairs(a).eq(self.pairs(b))
    }
}

/// Numbers the distinct projections of labels from 0, in order of first appearance.
#[derive(Debug)]
pub(crate) struct Numbering<'a> {
    projection: Projection<'a>,
    table: HashTable<usize>,
    /// For each number, the first labels that got it.
    first: Vec<Labels>,
}

impl<'a> Numbering<'a> {
    /// Without any numbers yet.
    pub(crate) fn new(projection: Projection<'a>) -> Self {
        Self { projection, table: HashTable::new(), first: Vec::new() }
    }

    /// The number of `labels`' projection, a new one if it has none.
    pub(crate) fn number(&mut self, labels: &Labels) -> usize {
        let Self { projection, table, first } = self;
        let hash = projection.hash(labels);
        let same = |n: &usize| projection.same(&first[*n], labels);
        if let Some(number) = table.find(hash, same) {
            return *number;
        }
        first.push(labels.clone());
        let number = first.len() - 1;
        table.insert_unique(hash, number, |n| projection.hash(&first[*n]));
        number
    }

    /// The number of `labels`' projection, if it has one.
    pub(crate) fn find(&self, labels: &Labels) -> Option<usize> {
        let same = |n: &usize| self.projection.same(&self.first[*n], labels);
        self.table.find(self.projection.hash(labels), same).copied()
    }

    /// The projected labels of each number.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Labels> {
        self.first.iter().map(|labels| self.projection.of(labels))
    }
}

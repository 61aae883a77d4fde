//! Who is whose parent in a trace, whatever was sent: spans without their parent, ids that repeat, parents in a circle.
//!
//! The spans are a forest: a span whose parent is not stored is the root of its own tree, and of spans that are parents of
//! each other in a circle the first one counts as such. Everything here takes time linear in the number of spans.

use std::sync::Arc;

use model::{Span, SpanGroup, SpanKind};
use rustc_hash::FxHashMap;

use super::ast::Relation;

const NONE: u32 = u32::MAX;

/// A trace's forest; spans by their index in order of start.
#[derive(Debug)]
pub(crate) struct Tree {
    /// `NONE` for roots.
    parents: Vec<u32>,
    child_counts: Vec<u32>,
    /// Parents before their children.
    order: Vec<u32>,
    /// Left and right number, from 1.
    nested: Vec<(i64, i64)>,
    /// Spans with equal numbers are siblings; `NONE` for spans that never had a parent.
    families: Vec<u32>,
}

impl Tree {
    pub(crate) fn new(spans: &[(&SpanGroup, &Span)]) -> Self {
        let mut parents = parents(spans);
        cut_circles(&mut parents);
        let mut child_counts = vec![0_u32; spans.len()];
        for parent in parents.iter().filter(|parent| **parent != NONE) {
            child_counts[*parent as usize] += 1;
        }
        let (order, nested) = number(&parents, &child_counts);
        let families = families(spans, &parents);
        Self { parents, child_counts, order, nested, families }
    }

    pub(crate) fn parent(&self, span: u32) -> Option<u32> {
        Some(self.parents[span as usize]).filter(|parent| *parent != NONE)
    }

    /// Parents before their children, children in order of start: depth first.
    pub(crate) fn order(&self) -> &[u32] {
        &self.order
    }

    pub(super) fn child_count(&self, span: u32) -> u32 {
        self.child_counts[span as usize]
    }

    /// Left and right number of the nested set: descendants' numbers lie between.
    pub(super) fn nested_set(&self, span: u32) -> (i64, i64) {
        self.nested[span as usize]
    }

    /// Left number of the parent.
    pub(super) fn nested_set_parent(&self, span: u32) -> Option<i64> {
        self.parent(span).map(|parent| self.nested_set(parent).0)
    }

    /// Which spans are `relation` to one of those in `of`.
    pub(super) fn related(&self, relation: Relation, of: &[u32]) -> Vec<bool> {
        let count = self.parents.len();
        let mut is_of = vec![false; count];
        of.iter().for_each(|span| is_of[*span as usize] = true);
        let mut related = vec![false; count];
        match relation {
            Relation::Child => {
                for (span, parent) in self.with_parents() {
                    related[span] = is_of[parent];
                }
            }
            Relation::Parent => {
                for (_, parent) in self.with_parents().filter(|(span, _)| is_of[*span]) {
                    related[parent] = true;
                }
            }
            Relation::Descendant => {
                for span in self.order.iter().map(|span| *span as usize) {
                    let parent = self.parents[span];
                    related[span] =
                        parent != NONE && (is_of[parent as usize] || related[parent as usize]);
                }
            }
            Relation::Ancestor => {
                for span in self.order.iter().rev().map(|span| *span as usize) {
                    let parent = self.parents[span];
                    if parent != NONE && (is_of[span] || related[span]) {
                        related[parent as usize] = true;
                    }
                }
            }
            Relation::Sibling => {
                let mut counts: FxHashMap<u32, u32> = FxHashMap::default();
                for span in of {
                    *counts.entry(self.families[*span as usize]).or_default() += 1;
                }
                for (span, family) in self.families.iter().enumerate() {
                    let count = counts.get(family).copied().unwrap_or(0);
                    related[span] = *family != NONE && count > u32::from(is_of[span]);
                }
            }
        }
        related
    }

    fn with_parents(&self) -> impl Iterator<Item = (usize, usize)> {
        let all = self.parents.iter().enumerate();
        all.filter(|(_, parent)| **parent != NONE).map(|(span, parent)| (span, *parent as usize))
    }
}

/// The parent of each span; of several spans with one id, the one of the same process, or else the one that was called,
/// or else the first. Zipkin's clients give both sides of a call one id: the called one is the child of the caller's.
fn parents(spans: &[(&SpanGroup, &Span)]) -> Vec<u32> {
    let mut by_id: FxHashMap<u64, u32> = FxHashMap::default();
    let mut repeated: FxHashMap<u64, Vec<u32>> = FxHashMap::default();
    for (index, (_, span)) in spans.iter().enumerate() {
        let index = index as u32;
        let first = *by_id.entry(span.span_id).or_insert(index);
        if first != index {
            repeated.entry(span.span_id).or_insert_with(|| vec![first]).push(index);
        }
    }
    let first_of = |all: &[u32], is_it: fn(SpanKind) -> bool| {
        all.iter().copied().find(|i| is_it(spans[*i as usize].1.kind))
    };
    let parent = |(group, span): &(&SpanGroup, &Span)| {
        if span.kind.is_called()
            && let Some(all) = repeated.get(&span.span_id)
            && let Some(caller) = first_of(all, SpanKind::is_caller)
        {
            return caller;
        }
        if span.parent_id == 0 {
            return NONE;
        }
        let of_several = repeated.get(&span.parent_id).and_then(|all| {
            let is_own = |i: &u32| Arc::ptr_eq(&spans[*i as usize].0.resource, &group.resource);
            let own = all.iter().copied().find(is_own);
            own.or_else(|| {
                first_of(all, SpanKind::is_caller).and_then(|_| first_of(all, SpanKind::is_called))
            })
        });
        of_several.or_else(|| by_id.get(&span.parent_id).copied()).unwrap_or(NONE)
    };
    spans.iter().map(parent).collect()
}

/// Takes the parent from the first span of each circle.
fn cut_circles(parents: &mut [u32]) {
    // 0: not seen; otherwise the number of the walk that saw it.
    let mut seen = vec![0_u32; parents.len()];
    for start in 0..parents.len() {
        let walk = start as u32 + 1;
        let mut at = start;
        while seen[at] == 0 {
            seen[at] = walk;
            match parents[at] {
                NONE => break,
                parent => at = parent as usize,
            }
        }
        if seen[at] == walk && parents[at] != NONE {
            // The walk came back to itself at `at`: once around, for the first span of the circle.
            let mut first = at;
            let mut next = parents[at] as usize;
            while next != at {
                first = first.min(next);
                next = parents[next] as usize;
            }
            parents[first] = NONE;
        }
    }
}

/// The spans with parents first, and their nested-set numbers; children in order of start.
fn number(parents: &[u32], child_counts: &[u32]) -> (Vec<u32>, Vec<(i64, i64)>) {
    // Children of a span, one after the other, behind those of the span before.
    let mut ends: Vec<u32> = Vec::with_capacity(parents.len());
    let mut end = 0;
    for count in child_counts {
        ends.push(end);
        end += count;
    }
    let mut children = vec![0_u32; end as usize];
    for (span, parent) in parents.iter().enumerate().filter(|(_, parent)| **parent != NONE) {
        let slot = &mut ends[*parent as usize];
        children[*slot as usize] = span as u32;
        *slot += 1;
    }
    let mut order = Vec::with_capacity(parents.len());
    let mut nested = vec![(0, 0); parents.len()];
    let mut number = 0;
    let mut take = || {
        number += 1;
        number
    };
    // A span, and the children of it that are still to come.
    let mut open: Vec<(u32, std::ops::Range<u32>)> = Vec::new();
    for root in (0..parents.len() as u32).filter(|span| parents[*span as usize] == NONE) {
        let mut next = Some(root);
        loop {
            match next {
                Some(span) => {
                    order.push(span);
                    nested[span as usize].0 = take();
                    let end = ends[span as usize];
                    open.push((span, end - child_counts[span as usize]..end));
                }
                None => {
                    let Some((done, _)) = open.pop() else { break };
                    nested[done as usize].1 = take();
                }
            }
            next = match open.last_mut() {
                Some((_, left)) => left.next().map(|at| children[at as usize]),
                None => break,
            };
        }
    }
    (order, nested)
}

/// Numbers of families by the id of the parent, stored or not.
fn families(spans: &[(&SpanGroup, &Span)], parents: &[u32]) -> Vec<u32> {
    let mut numbers: FxHashMap<(u64, bool), u32> = FxHashMap::default();
    let family = |((_, span), parent): (&(&SpanGroup, &Span), &u32)| {
        let next = numbers.len() as u32;
        // The called half of a shared span is no sibling of the caller's, which is its parent.
        let has_its_id = |parent: &u32| spans[*parent as usize].1.span_id == span.span_id;
        let is_half = *parent != NONE && has_its_id(parent) && span.parent_id != span.span_id;
        match (is_half, span.parent_id) {
            (true, _) => *numbers.entry((span.span_id, true)).or_insert(next),
            (false, 0) => NONE,
            (false, id) => *numbers.entry((id, false)).or_insert(next),
        }
    };
    spans.iter().zip(parents).map(family).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(ids: &[(u64, u64)]) -> Tree {
        let span = |(i, (span_id, parent_id)): (usize, &(u64, u64))| Span {
            span_id: *span_id,
            parent_id: *parent_id,
            start_ns: i as i64,
            ..Span::default()
        };
        let group =
            SpanGroup { spans: ids.iter().enumerate().map(span).collect(), ..SpanGroup::default() };
        let spans: Vec<(&SpanGroup, &Span)> = group.spans.iter().map(|s| (&group, s)).collect();
        Tree::new(&spans)
    }

    #[test]
    fn nested_sets_are_numbered_by_start() {
        let tree = tree(&[(1, 0), (2, 1), (3, 1), (4, 2), (5, 99)]);
        let all: Vec<_> = (0..5).map(|i| tree.nested_set(i)).collect();
        assert_eq!(all, [(1, 8), (2, 5), (6, 7), (3, 4), (9, 10)]);
        assert_eq!(tree.nested_set_parent(3), Some(2));
        assert_eq!((tree.child_count(0), tree.child_count(4)), (2, 0));
    }

    #[test]
    fn the_called_half_of_a_shared_span_is_below_the_callers() {
        let span = |span_id, parent_id, kind, start_ns| Span {
            span_id,
            parent_id,
            kind,
            start_ns,
            ..Span::default()
        };
        let of = |spans| SpanGroup { resource: Arc::default(), spans, ..SpanGroup::default() };
        let groups = [
            of(vec![span(1, 0, SpanKind::Server, 0), span(2, 1, SpanKind::Client, 1)]),
            of(vec![span(2, 1, SpanKind::Server, 2), span(3, 2, SpanKind::Client, 3)]),
            // Of nobody known.
            of(vec![span(4, 2, SpanKind::Internal, 4)]),
        ];
        let all = groups.iter().flat_map(|g| g.spans.iter().map(move |s| (g, s)));
        let tree = Tree::new(&all.collect::<Vec<_>>());
        let parents: Vec<_> = (0..5).map(|i| tree.parent(i)).collect();
        assert_eq!(parents, [None, Some(0), Some(1), Some(2), Some(2)]);
        assert!(!tree.related(Relation::Sibling, &[1])[2]);
        assert!(tree.related(Relation::Child, &[1])[2]);
    }

    #[test]
    fn circles_are_cut_at_their_first_span() {
        let tree = tree(&[(9, 3), (1, 2), (2, 3), (3, 1), (7, 7)]);
        assert_eq!(
            (0..5).map(|i| tree.parent(i)).collect::<Vec<_>>(),
            [Some(3), None, Some(3), Some(1), None,]
        );
    }

    #[test]
    fn very_deep_and_very_wide_traces_are_walked_without_recursion() {
        let deep = tree(&(1..=200_000).map(|i| (i, i - 1)).collect::<Vec<_>>());
        assert_eq!(deep.nested_set(0), (1, 400_000));
        assert!(deep.related(Relation::Ancestor, &[199_999])[0]);
        let wide = tree(&(1..=200_000).map(|i| (i, u64::from(i > 1))).collect::<Vec<_>>());
        assert_eq!(wide.child_count(0), 199_999);
    }

    proptest! {
        /// Against the definitions, by walking from every span; ids repeat, miss and run in circles.
        #[test]
        fn relations_are_what_walking_from_span_to_span_finds(
            ids in proptest::collection::vec((1_u64..12, 0_u64..14), 1..24),
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let tree = tree(&ids);
            let count = ids.len() as u32;
            let mut of: Vec<u32> = picks.iter().map(|p| p.index(ids.len()) as u32).collect();
            of.sort_unstable();
            of.dedup();
            let ancestors = |span: u32| {
                let mut all = Vec::new();
                let mut at = span;
                while let Some(parent) = tree.parent(at) {
                    prop_assert!(all.len() <= ids.len(), "circle from {span}");
                    all.push(parent);
                    at = parent;
                }
                Ok(all)
            };
            for span in 0..count {
                let above = ancestors(span)?;
                if let Some(parent) = tree.parent(span) {
                    prop_assert_eq!(ids[parent as usize].0, ids[span as usize].1);
                }
                for other in 0..count {
                    let (l, r) = tree.nested_set(span);
                    let (ol, or) = tree.nested_set(other);
                    prop_assert_eq!(above.contains(&other), ol < l && r < or);
                }
                let mut expect = [false; 5];
                for other in of.iter().copied() {
                    expect[0] |= tree.parent(span) == Some(other);
                    expect[1] |= tree.parent(other) == Some(span);
                    expect[2] |= above.contains(&other);
                    expect[3] |= ancestors(other)?.contains(&span);
                    let (own, its) = (ids[span as usize].1, ids[other as usize].1);
                    expect[4] |= other != span && own != 0 && own == its;
                }
                let relations = [
                    Relation::Child,
                    Relation::Parent,
                    Relation::Descendant,
                    Relation::Ancestor,
                    Relation::Sibling,
                ];
                for (relation, expect) in relations.into_iter().zip(expect) {
                    let got = tree.related(relation, &of)[span as usize];
                    prop_assert_eq!(got, expect, "{:?} {}", relation, span);
                }
            }
        }
    }
}

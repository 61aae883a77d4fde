//! Matching: from label matchers to sets of series numbers, over any index that can enumerate values.

use model::{MatchOp, Matcher};
use roaring::RoaringBitmap;

/// What matching needs of an index, of the head or of a part.
pub(crate) trait Lookup {
    /// All series.
    fn all(&self) -> RoaringBitmap;

    /// Series whose label `name` has exactly `value`.
    fn equal(&self, name: &str, value: &str) -> RoaringBitmap;

    /// Series that have label `name` with a value for which `keep` is true.
    fn union(&self, name: &str, keep: &mut dyn FnMut(&str) -> bool) -> RoaringBitmap;
}

/// Series for which all of `matchers` hold; no matcher means all.
pub(crate) fn matching(index: &impl Lookup, matchers: &[Matcher]) -> RoaringBitmap {
    let mut found: Option<RoaringBitmap> = None;
    let (excluding, requiring): (Vec<&Matcher>, Vec<&Matcher>) =
        matchers.iter().partition(|m| m.matches_empty());
    for matcher in requiring {
        let set = values(index, matcher, true);
        found = Some(match found {
            Some(before) => before & set,
            None => set,
        });
        if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
            return RoaringBitmap::new();
        }
    }
    let mut found = found.unwrap_or_else(|| index.all());
    for matcher in excluding {
        found -= values(index, matcher, false);
    }
    found
}

/// Series that have the label with a value for which the matcher's answer is `wanted`.
fn values(index: &impl Lookup, matcher: &Matcher, wanted: bool) -> RoaringBitmap {
    let positive = matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
    // The listed strings are those that match (positive) or those that do not: look these up, enumerate otherwise.
    if positive == wanted {
        match matcher.op() {
            MatchOp::Equal | MatchOp::NotEqual => {
                return index.equal(matcher.name(), matcher.value());
            }
            MatchOp::Regex | MatchOp::NotRegex => {
                if let Some(alternatives) = matcher.alternatives() {
                    let mut set = RoaringBitmap::new();
                    for value in alternatives {
                        set |= index.equal(matcher.name(), value);
                    }
                    return set;
                }
            }
        }
    }
    index.union(matcher.name(), &mut |value| matcher.matches(value) == wanted)
}

//! Where a needle can be in a text of which only the skeleton is known.
//!
//! A text is literals with slots between them. A needle lies in one literal, in one slot, or across: it ends one slot,
//! is the whole of others and of the literals between, and begins the last. Each way is a list of conditions on slots.

use crate::needle::Needle;

/// Steps of the search for ways; more are given up.
const STEPS_MAX: usize = 4096;
/// Ways that are kept apart.
const WAYS_MAX: usize = 256;

/// Conditions on slots, by their number; all must hold.
pub(super) type Way = Vec<(usize, Needle)>;

/// What the skeleton says about the texts that have it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// None has the needle.
    Never,
    /// All have it.
    Always,
    /// Those have it that satisfy one of these.
    Ways(Vec<Way>),
    /// There are too many ways.
    Unknown,
}

/// Finds the ways `needle` can be in texts with these `literals`, one more than slots. `can` says whether a slot may
/// satisfy a condition at all.
pub(super) fn place<'a>(
    literals: &'a [Vec<u8>],
    needle: &'a Needle,
    can: &'a mut dyn FnMut(usize, &Needle) -> bool,
) -> Placed {
    if needle.is_trivial() {
        return Placed::Always;
    }
    let mut search = Search {
        literals,
        needle,
        can,
        steps: 0,
        found: Vec::new(),
        always: false,
        conditions: Vec::new(),
    };
    search.start();
    if search.always {
        Placed::Always
    } else if search.steps > STEPS_MAX || search.found.len() > WAYS_MAX {
        Placed::Unknown
    } else if search.found.is_empty() {
        Placed::Never
    } else {
        Placed::Ways(search.found)
    }
}

struct Search<'a> {
    literals: &'a [Vec<u8>],
    needle: &'a Needle,
    can: &'a mut dyn FnMut(usize, &Needle) -> bool,
    steps: usize,
    found: Vec<Way>,
    always: bool,
    /// Of the way being tried.
    conditions: Way,
}

impl<'a> Search<'a> {
    fn slots(&self) -> usize {
        self.literals.len().saturating_sub(1)
    }

    fn start(&mut self) {
        let (literals, needle) = (self.literals, self.needle);
        if needle.start {
            if let Some(first) = literals.first() {
                self.literal(0, first, needle.text());
            }
            return;
        }
        let finder = (!needle.end).then(|| needle.finder());
        for (i, literal) in literals.iter().enumerate() {
            if finder.as_ref().is_some_and(|f| f.find(literal).is_some()) {
                self.always = true;
                return;
            }
            // It may begin in the literal and go on behind it.
            let from = if needle.end {
                0
            } else {
                (literal.len() + 1).saturating_sub(needle.text().len())
            };
            for rest in (from..literal.len()).map(|o| &literal[o..]) {
                self.literal(i, rest, needle.text());
            }
        }
        for slot in 0..self.slots() {
            self.slot(slot, needle.text(), false);
        }
    }

    /// The needle from `rest` on begins where the last bytes of literal `i` do, which are `literal`.
    fn literal(&mut self, i: usize, literal: &[u8], rest: &'a [u8]) {
        let is_last = i == self.slots();
        if rest.len() <= literal.len() {
            if !self.needle.same(&literal[..rest.len()], rest) {
                return;
            }
            match self.needle.end {
                false => self.complete(),
                true if rest.len() < literal.len() => {}
                true if is_last => self.complete(),
                true => self.slot(i, &[], true),
            }
        } else if !is_last && self.needle.same(literal, &rest[..literal.len()]) {
            self.slot(i, &rest[literal.len()..], true);
        }
    }

    /// The needle from `rest` on is in slot `i` and behind it: from its beginning on if `start`.
    fn slot(&mut self, i: usize, rest: &'a [u8], start: bool) {
        self.steps += 1;
        if self.steps > STEPS_MAX || self.always {
            return;
        }
        if !self.needle.end {
            self.with(i, rest, start, false, Self::complete);
        }
        let literals = self.literals;
        let literal = &literals[i + 1];
        // What begins at the end of a slot was found at the literal behind it.
        let first = usize::from(!start);
        let end = rest.len() + usize::from(self.needle.end);
        for p in first..end {
            let tail = &rest[p..];
            let fits = match (literal.first(), tail.first()) {
                (Some(a), Some(b)) => self.needle.same(&[*a], &[*b]),
                _ => true,
            };
            if fits {
                self.with(i, &rest[..p], start, true, |s| s.literal(i + 1, literal, tail));
            }
        }
    }

    /// Goes on under one more condition.
    fn with(
        &mut self,
        slot: usize,
        text: &[u8],
        start: bool,
        end: bool,
        then: impl FnOnce(&mut Self),
    ) {
        let condition = self.needle.piece(text, start, end);
        if condition.is_trivial() {
            return then(self);
        }
        if (self.can)(slot, &condition) {
            self.conditions.push((slot, condition));
            then(self);
            self.conditions.pop();
        }
    }

    fn complete(&mut self) {
        if self.conditions.is_empty() {
            self.always = true;
        } else if self.found.len() <= WAYS_MAX {
            self.found.push(self.conditions.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(placed: &Placed, slots: &[String]) -> Option<bool> {
        match placed {
            Placed::Never => Some(false),
            Placed::Always => Some(true),
            Placed::Unknown => None,
            Placed::Ways(ways) => Some(ways.iter().any(|way| {
                way.iter().all(|(slot, needle)| needle.matches(slots[*slot].as_bytes()))
            })),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn ways_are_those_of_the_whole_text(
            literals in prop::collection::vec("[ab]{0,3}", 1..5),
            slots in prop::collection::vec("[abAB]{0,3}", 5),
            text in "[abA]{0,5}",
            (start, end, fold) in any::<(bool, bool, bool)>(),
        ) {
            let mut whole = literals[0].clone();
            for (slot, literal) in slots.iter().zip(&literals[1..]) {
                whole.push_str(slot);
                whole.push_str(literal);
            }
            let literals: Vec<Vec<u8>> = literals.into_iter().map(String::into_bytes).collect();
            let needle = match fold {
                true => Needle::contains_folded(text.as_bytes()),
                false => Needle::contains(text.as_bytes()),
            };
            let text = needle.text().to_vec();
            let needle = needle.piece(&text, start, end);
            let placed = place(&literals, &needle, &mut |slot, n| {
                // What a slot cannot satisfy may be left out.
                n.matches(slots[slot].as_bytes())
            });
            prop_assert_eq!(holds(&placed, &slots), Some(needle.matches(whole.as_bytes())));
            let placed = place(&literals, &needle, &mut |_, _| true);
            prop_assert_eq!(holds(&placed, &slots), Some(needle.matches(whole.as_bytes())));
        }
    }

    #[test]
    fn too_many_ways_are_given_up() {
        let literals = vec![Vec::new(); 30];
        let needle = Needle::equals(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        assert_eq!(place(&literals, &needle, &mut |_, _| true), Placed::Unknown);
    }
}

//! What a regular expression demands of a text that it matches: literals that must be in it.
//!
//! Many expressions that people write are nothing but literals (`error|fatal`, `(?i)timeout`, `.*refused.*`): those need no
//! automaton at all. Of others, the literals say which texts need to be looked at.

use std::collections::BTreeSet;

use regex_syntax::Parser;
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::needle::Needle;

/// Texts that are kept apart where an expression has several (`(a|b)(c|d)`).
const TEXTS_MAX: usize = 32;
/// Characters of a class that are kept apart.
const CLASS_MAX: usize = 4;
/// Shorter literals occur in too many texts to be worth a look.
const USEFUL_MIN: usize = 3;
/// Lists of literals that are looked for.
const LISTS_MAX: usize = 3;
/// Characters beyond ASCII that are the same letter in another case: of `k`, and of `s`.
const FOLDED_ALIENS: [&str; 2] = ["\u{212a}", "\u{17f}"];

/// What must be in a text for an expression to match it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Demands {
    /// Of each list, one must be in the text; an empty list of lists demands nothing.
    pub(crate) all: Vec<Vec<Needle>>,
    /// Whether every text with one of the only list matches.
    pub(crate) is_exact: bool,
    /// Texts with these may match although they have nothing of the lists.
    pub(crate) suspects: Vec<Needle>,
}

/// The demands of any of `patterns`, which are in the syntax of the `regex` crate.
pub(crate) fn demands<'p>(patterns: impl Iterator<Item = &'p str>) -> Demands {
    let Some(branches) =
        patterns.map(|p| Parser::new().parse(p).ok()).collect::<Option<Vec<Hir>>>()
    else {
        return Demands::default();
    };
    let branches: Vec<Found> = branches.iter().map(|hir| look(&trimmed(hir))).collect();
    let found = alternatives(branches);
    let is_exact = found.exact.is_some() && !found.is_loose;
    let mut lists: Vec<Vec<Literal>> = found.lists();
    let is_exact = is_exact && !lists.is_empty();
    if !is_exact {
        lists.retain(|list| list.iter().all(|l| l.text.len() >= USEFUL_MIN));
        let shortest = |list: &Vec<Literal>| list.iter().map(|l| l.text.len()).min().unwrap_or(0);
        lists.sort_by_key(|list| std::cmp::Reverse(shortest(list)));
        lists.truncate(LISTS_MAX);
    }
    let folded = |list: &[Literal], letter: &u8| {
        list.iter().any(|l| l.folded == Some(true) && l.text.contains(letter))
    };
    let aliens: Vec<Needle> = [b'k', b's']
        .iter()
        .zip(FOLDED_ALIENS)
        .filter(|(letter, _)| lists.iter().any(|list| folded(list, letter)))
        .map(|(_, alien)| Needle::contains(alien.as_bytes()))
        .collect();
    let needles = |list: Vec<Literal>| list.into_iter().map(Literal::needle).collect();
    Demands { all: lists.into_iter().map(needles).collect(), is_exact, suspects: aliens }
}

/// A text that an expression demands.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Literal {
    text: Vec<u8>,
    /// Whether the case of its letters does not count; `None` when it has none.
    folded: Option<bool>,
}

impl Literal {
    fn exact(text: &[u8]) -> Self {
        let folded = text.iter().any(u8::is_ascii_alphabetic).then_some(false);
        Self { text: text.to_vec(), folded }
    }

    fn folded(letter: u8) -> Self {
        Self { text: vec![letter.to_ascii_lowercase()], folded: Some(true) }
    }

    /// Both behind each other; `None` when cases count in one only.
    fn then(&self, next: &Self) -> Option<Self> {
        let folded = match (self.folded, next.folded) {
            (Some(a), Some(b)) if a != b => return None,
            (a, b) => a.or(b),
        };
        Some(Self { text: [self.text.as_slice(), &next.text].concat(), folded })
    }

    fn needle(self) -> Needle {
        match self.folded {
            Some(true) => Needle::contains_folded(&self.text),
            _ => Needle::contains(&self.text),
        }
    }
}

/// What was found out about a part of an expression.
#[derive(Debug, Default)]
struct Found {
    /// It matches these texts and no others.
    exact: Option<Vec<Literal>>,
    /// It does not match everywhere where one of those is.
    is_loose: bool,
    /// Of each list, one must be there.
    lists: Vec<Vec<Literal>>,
}

impl Found {
    fn exactly(texts: Vec<Literal>) -> Self {
        Self { exact: Some(texts), ..Self::default() }
    }

    /// All that it demands.
    fn lists(mut self) -> Vec<Vec<Literal>> {
        let exact = self.exact.take().filter(|texts| texts.iter().all(|l| !l.text.is_empty()));
        self.lists.extend(exact.filter(|texts| !texts.is_empty()));
        self.lists
    }
}

/// An expression without what may as well be nothing at its ends: it is searched anywhere.
fn trimmed(hir: &Hir) -> Hir {
    let HirKind::Concat(parts) = hir.kind() else { return hir.clone() };
    let is_optional = |part: &Hir| {
        let mut part = part;
        while let HirKind::Capture(capture) = part.kind() {
            part = &capture.sub;
        }
        matches!(part.kind(), HirKind::Repetition(r) if r.min == 0)
    };
    let from = parts.iter().take_while(|p| is_optional(p)).count();
    let behind = parts.iter().rev().take_while(|p| is_optional(p)).count();
    match parts.get(from..parts.len().saturating_sub(behind)) {
        Some(rest) => Hir::concat(rest.to_vec()),
        None => Hir::empty(),
    }
}

fn look(hir: &Hir) -> Found {
    match hir.kind() {
        HirKind::Empty => Found::exactly(vec![Literal::default()]),
        HirKind::Look(_) => Found { is_loose: true, ..Found::exactly(vec![Literal::default()]) },
        HirKind::Literal(literal) => Found::exactly(vec![Literal::exact(&literal.0)]),
        HirKind::Class(class) => of_class(class),
        HirKind::Capture(capture) => look(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            Found { lists: look(&repetition.sub).lists(), ..Found::default() }
        }
        HirKind::Repetition(_) => Found::default(),
        HirKind::Concat(parts) => sequence(parts),
        HirKind::Alternation(branches) => alternatives(branches.iter().map(look).collect()),
    }
}

fn of_class(class: &Class) -> Found {
    let mut chars: Vec<char> = Vec::new();
    let ranges: Vec<(u32, u32)> = match class {
        Class::Unicode(class) => {
            class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect()
        }
        // Single bytes beyond ASCII are not characters.
        Class::Bytes(class) if !class.is_ascii() => return Found::default(),
        Class::Bytes(class) => {
            class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect()
        }
    };
    for (start, end) in ranges {
        if (end - start) as usize + chars.len() >= CLASS_MAX {
            return Found::default();
        }
        chars.extend((start..=end).filter_map(char::from_u32));
    }
    let ascii: Vec<u8> = chars.iter().filter_map(|c| u8::try_from(*c).ok()).collect();
    let mut letters: Vec<u8> = ascii.iter().map(u8::to_ascii_lowercase).collect();
    letters.dedup();
    letters.sort_unstable();
    letters.dedup();
    let aliens = chars.iter().filter(|c| FOLDED_ALIENS.iter().any(|a| a.starts_with(**c))).count();
    if let ([letter], [_, _]) = (letters.as_slice(), ascii.as_slice())
        && chars.len() == ascii.len() + aliens
    {
        return Found::exactly(vec![Literal::folded(*letter)]);
    }
    let text = |c: &char| Literal::exact(c.to_string().as_bytes());
    Found::exactly(chars.iter().map(text).collect())
}

fn sequence(parts: &[Hir]) -> Found {
    let mut lists = Vec::new();
    let mut current = vec![Literal::default()];
    let (mut is_whole, mut is_loose) = (true, false);
    let useful = |texts: &[Literal]| texts.iter().all(|l| !l.text.is_empty());
    for part in parts {
        let found = look(part);
        is_loose |= found.is_loose;
        let joined = found.exact.as_ref().and_then(|next| joined(&current, next));
        match (joined, found) {
            (Some(joined), _) => current = joined,
            (None, found) => {
                is_whole = false;
                let before = std::mem::replace(&mut current, vec![Literal::default()]);
                lists.extend(useful(&before).then_some(before));
                match found.exact {
                    Some(exact) => current = exact,
                    None => lists.extend(found.lists),
                }
            }
        }
    }
    if is_whole {
        return Found { exact: Some(current), is_loose, lists };
    }
    lists.extend(useful(&current).then_some(current));
    Found { exact: None, is_loose, lists }
}

/// Each of `a` with each of `b` behind it.
fn joined(a: &[Literal], b: &[Literal]) -> Option<Vec<Literal>> {
    if a.len() * b.len() > TEXTS_MAX || b.is_empty() {
        return None;
    }
    a.iter().flat_map(|first| b.iter().map(|next| first.then(next))).collect()
}

fn alternatives(mut branches: Vec<Found>) -> Found {
    if branches.len() == 1 {
        return branches.remove(0);
    }
    let is_loose = branches.iter().any(|b| b.is_loose);
    if branches.iter().all(|b| b.exact.is_some()) {
        let texts: BTreeSet<Literal> =
            branches.iter().flat_map(|b| b.exact.iter().flatten()).cloned().collect();
        if texts.len() <= TEXTS_MAX {
            return Found {
                exact: Some(texts.into_iter().collect()),
                is_loose,
                ..Found::default()
            };
        }
    }
    // Of each branch the list that says most.
    let mut union = Vec::new();
    for branch in branches {
        let shortest = |list: &Vec<Literal>| list.iter().map(|l| l.text.len()).min();
        match branch.lists().into_iter().max_by_key(shortest) {
            Some(list) => union.extend(list),
            None => return Found::default(),
        }
    }
    union.sort_unstable();
    union.dedup();
    let lists = if union.len() > TEXTS_MAX { Vec::new() } else { vec![union] };
    Found { exact: None, is_loose, lists }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, exact: bool, lists: &[&[&str]]) {
        let found = demands(std::iter::once(pattern));
        let shown: Vec<Vec<String>> = found
            .all
            .iter()
            .map(|list| {
                let shown = |n: &Needle| {
                    let fold = if n.is_folded() { "~" } else { "" };
                    format!("{fold}{}", String::from_utf8_lossy(n.text()))
                };
                list.iter().map(shown).collect()
            })
            .collect();
        assert_eq!(
            (shown, found.is_exact),
            (lists.iter().map(|l| l.iter().map(|s| (*s).to_owned()).collect()).collect(), exact),
            "{pattern}"
        );
    }

    #[test]
    fn literals_are_found() {
        check("error", true, &[&["error"]]);
        check("error|fatal", true, &[&["error", "fatal"]]);
        check("(?i)Error", true, &[&["~error"]]);
        check("(?i)task", true, &[&["~task"]]);
        check(".*refused.*", true, &[&["refused"]]);
        check("(?:.*)took (1|2)ms", true, &[&["took 1ms", "took 2ms"]]);
        check("^error", false, &[&["error"]]);
        check("status=5[0-9]{2} ", false, &[&["status=5"]]);
        check("(err|warn)[0-9]+ in module", false, &[&[" in module"], &["err", "warn"]]);
        check("(?i)error code", true, &[&["~error code"]]);
        check("(?i:err)or: [a-z]+ failed", false, &[&[" failed"], &["or: "], &["~err"]]);
        check("[0-9]+", false, &[]);
        check("a?b", true, &[&["b"]]);
        check("(abc)*", false, &[]);
        check("foo(bar)?", true, &[&["foo"]]);
        check("", false, &[]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_matches_has_what_is_demanded(
            parts in prop::collection::vec(prop_oneof![
                "[abk]{1,4}", Just("(a|bb)".to_owned()), Just("(?i:kab)".to_owned()), Just("x*".to_owned()), Just(".*".to_owned()),
                Just("[ab]".to_owned()), Just("(abk)+".to_owned()), Just("|".to_owned()), Just("^".to_owned()), Just("(?i)".to_owned()),
            ], 1..5),
            texts in prop::collection::vec("[abkABKx\u{212a}]{0,12}", 1..20),
        ) {
            let pattern = parts.concat();
            let regex = regex::Regex::new(&pattern).unwrap();
            let found = demands(std::iter::once(pattern.as_str()));
            for text in texts {
                let has = |needles: &[Needle]| needles.iter().any(|n| n.matches(text.as_bytes()));
                let is_suspect = has(&found.suspects);
                if regex.is_match(&text) {
                    prop_assert!(is_suspect || found.all.iter().all(|list| has(list)), "{pattern} {text}");
                } else if found.is_exact {
                    prop_assert!(!found.all.iter().all(|list| has(list)), "{pattern} {text}");
                }
            }
        }
    }
}

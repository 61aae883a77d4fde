//! Words that vary without looking like values (`user bob logged in`), and the patterns that were made of them.
//!
//! Patterns of one form (the same punctuation and number of words) that differ in few words are compared. Where more than
//! [`WORDS_ALIKE`] different words stood in one place, it is a value, and the pattern with it there (a *template*) takes the place of
//! all it covers: from then on, and, as patterns are looked up when they are read, in what was stored before. Templates
//! are kept in the manifest. What has been compared so far is not, nor does it grow beyond a bound.

use std::borrow::Cow;

use parking_lot::RwLock;
use rustc_hash::{FxHashMap, FxHashSet};
use storage::manifest::Edit;

use super::text::{self, VALUE, Words};
use crate::filter::token_hash;

/// Manifest key of a template; its hash follows.
pub(crate) const PREFIX: &str = "pattern/";
/// So many different words in one place may be names of different things that happen.
const WORDS_ALIKE: usize = 8;
/// Patterns with more words are not compared.
const WORDS_MAX: usize = 128;
/// Patterns of one form that are remembered for comparison, and of all forms.
const MEMBERS_MAX: usize = 256;
const MEMBERS_ALL_MAX: usize = 16_384;
/// Templates there may be; beyond, patterns stay as they are.
const TEMPLATES_MAX: usize = 4_096;
/// Patterns of one block that are compared.
const LEARNED_MAX: usize = 512;

/// Stands for a value among hashes of words.
const ANY: u64 = 0;

/// Templates, and what is remembered for making more.
#[derive(Debug, Default)]
pub(crate) struct Known {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    forms: FxHashMap<u64, Form>,
    members: usize,
    templates: usize,
    /// What the manifest does not have yet.
    edits: Vec<Edit>,
}

#[derive(Debug, Default)]
struct Form {
    /// Those with the fewest values first.
    templates: Vec<Template>,
    /// Patterns that no template covers, the oldest first.
    members: Vec<Box<[u64]>>,
}

#[derive(Debug)]
struct Template {
    words: Box<[u64]>,
    /// With each varying word replaced by a value.
    source: String,
    /// As it is shown.
    text: String,
}

impl Known {
    /// Takes in a template that the manifest has.
    pub(crate) fn load(&self, source: &str) {
        let words = Words::new(source);
        let mut state = self.state.write();
        let (form, hashes) = hashes(&words);
        if hashes.len() <= WORDS_MAX && state.templates < TEMPLATES_MAX {
            state.templates += 1;
            state.forms.entry(form).or_default().insert(Template::new(hashes, source.to_owned()));
        }
    }

    /// Compares patterns of a block with those before.
    pub(crate) fn learn(&self, patterns: &[String]) {
        let mut state = self.state.write();
        patterns.iter().take(LEARNED_MAX).for_each(|pattern| state.learn(pattern));
    }

    /// What `pattern` is called now.
    pub(crate) fn resolve<'p>(&self, pattern: &'p str) -> Cow<'p, str> {
        let state = self.state.read();
        if state.templates == 0 {
            return Cow::Borrowed(pattern);
        }
        let (form, hashes) = hashes(&Words::new(pattern));
        let found = state.forms.get(&form).and_then(|form| form.covering(&hashes));
        found.map_or(Cow::Borrowed(pattern), |template| Cow::Owned(template.text.clone()))
    }

    /// What the manifest does not have yet. Whoever commits it calls [`saved`](Self::saved) afterwards.
    pub(crate) fn edits(&self) -> Vec<Edit> {
        self.state.read().edits.clone()
    }

    /// The first `count` edits are in the manifest.
    pub(crate) fn saved(&self, count: usize) {
        let mut state = self.state.write();
        let count = count.min(state.edits.len());
        state.edits.drain(..count);
    }
}

impl State {
    fn learn(&mut self, pattern: &str) {
        let words = Words::new(pattern);
        let (key, hashes) = hashes(&words);
        let is_small = (2..=WORDS_MAX).contains(&hashes.len());
        if !is_small || self.templates >= TEMPLATES_MAX {
            return;
        }
        if self.members >= MEMBERS_ALL_MAX {
            self.forms.retain(|_, form| {
                form.members.clear();
                !form.templates.is_empty()
            });
            self.members = 0;
        }
        let form = self.forms.entry(key).or_default();
        if form.covering(&hashes).is_some() || form.members.iter().any(|m| **m == *hashes) {
            return;
        }
        if form.members.len() >= MEMBERS_MAX {
            form.members.remove(0);
            self.members -= 1;
        }
        form.members.push(hashes.clone().into());
        self.members += 1;
        let Some(varying) = form.varying(&hashes) else { return };
        let source = words.replaced(|i| varying[i]).into_owned();
        let made = hashes.iter().zip(&varying).map(|(h, v)| if *v { ANY } else { *h }).collect();
        let template = Template::new(made, source);
        let before = form.members.len();
        form.members.retain(|member| !template.covers(member));
        self.members -= before - form.members.len();
        for gone in form.templates.extract_if(.., |old| template.covers(&old.words)) {
            self.edits.push(Edit::Unset { key: gone.key() });
            self.templates -= 1;
        }
        let value = template.source.as_bytes().to_vec();
        self.edits.push(Edit::Set { key: template.key(), value });
        self.templates += 1;
        form.insert(template);
    }
}

impl Form {
    fn covering(&self, words: &[u64]) -> Option<&Template> {
        self.templates.iter().find(|t| t.covers(words))
    }

    fn insert(&mut self, template: Template) {
        self.templates.push(template);
        self.templates.sort_by(|a, b| (a.values(), &a.source).cmp(&(b.values(), &b.source)));
    }

    /// Which words of a pattern vary, if any does and one that says something stays.
    fn varying(&self, words: &[u64]) -> Option<Vec<bool>> {
        let differing_max = (words.len() * 4 / 10).max(1);
        let differing = |other: &[u64]| words.iter().zip(other).filter(|(a, b)| a != b).count();
        let others = self.members.iter().chain(self.templates.iter().map(|t| &t.words));
        let alike: Vec<&[u64]> =
            others.map(|o| &**o).filter(|other| differing(other) <= differing_max).collect();
        if alike.len() <= WORDS_ALIKE {
            return None;
        }
        let varies = |i: usize| {
            let seen: FxHashSet<u64> = alike.iter().map(|other| other[i]).collect();
            words[i] != ANY && seen.len() > WORDS_ALIKE
        };
        let varying: Vec<bool> = (0..words.len()).map(varies).collect();
        let stays = words.iter().zip(&varying).any(|(word, varies)| *word != ANY && !varies);
        (stays && varying.contains(&true)).then_some(varying)
    }
}

impl Template {
    fn new(words: Vec<u64>, source: String) -> Self {
        Self { words: words.into(), text: text::normalised(&source), source }
    }

    fn covers(&self, words: &[u64]) -> bool {
        self.words.iter().zip(words).all(|(own, other)| *own == ANY || own == other)
    }

    fn values(&self) -> usize {
        self.words.iter().filter(|word| **word == ANY).count()
    }

    fn key(&self) -> String {
        format!("{PREFIX}{:016x}", token_hash(self.source.as_bytes()))
    }
}

/// The form of a pattern, and a hash for each of its words.
fn hashes(words: &Words<'_>) -> (u64, Vec<u64>) {
    let of_word = |i: usize| match words.get(i) {
        VALUE => ANY,
        word => token_hash(word.as_bytes()).max(1),
    };
    let form = words.gaps().fold(words.ranges.len() as u64, |form, gap| {
        (form.rotate_left(5) ^ token_hash(gap.as_bytes())).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    (form, (0..words.ranges.len()).map(of_word).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 12] =
        ["ann", "bob", "cem", "dan", "eve", "fay", "gus", "hal", "ida", "jim", "kay", "lea"];

    fn learned(patterns: impl IntoIterator<Item = String>) -> Known {
        let known = Known::default();
        known.learn(&patterns.into_iter().collect::<Vec<_>>());
        known
    }

    fn check(known: &Known, pattern: &str, expect: &str) {
        assert_eq!(known.resolve(pattern), expect);
    }

    #[test]
    fn words_that_vary_become_values() {
        let known = learned(NAMES.map(|name| format!("user {name} logged in from <_>")));
        check(&known, "user bob logged in from <_>", "user <_> logged in from <_>");
        check(&known, "user zoe logged in from <_>", "user <_> logged in from <_>");
        check(&known, "user zoe logged out from <_>", "user zoe logged out from <_>");
        check(&known, "user zoe logged in", "user zoe logged in");
        // A second word that varies widens the template, and the first one is gone.
        let cities = NAMES.map(|city| format!("user x{city} logged in at {city} today"));
        let known = learned(cities);
        check(&known, "user xann logged in at bob today", "user <_> logged in at <_> today");
        let paths = learned(NAMES.map(|name| format!("GET /<_>/{name}/<_> took <_>")));
        check(&paths, "GET /<_>/bob/<_> took <_>", "GET /<_> took <_>");
    }

    #[test]
    fn few_words_and_other_messages_stay() {
        let known = learned(NAMES[..8].iter().map(|verb| format!("{verb} file <_>")));
        check(&known, "bob file <_>", "bob file <_>");
        let known = learned((0..12).map(|i| {
            let word = |k: usize| NAMES[(i * 5 + k * 7) % 12];
            format!("<_> INFO {} {} {} {}", word(1), word(2), word(3), NAMES[i])
        }));
        check(&known, "<_> INFO ann bob cem dan", "<_> INFO ann bob cem dan");
        let known = learned(NAMES.map(|name| format!("{name} {name}")));
        check(&known, "ann ann", "ann ann");
    }

    #[test]
    fn templates_survive_in_the_manifest() {
        let known = learned(NAMES.map(|name| format!("user {name} did {name}/x")));
        let edits = known.edits();
        let again = Known::default();
        for edit in &edits {
            if let Edit::Set { value, .. } = edit {
                again.load(std::str::from_utf8(value).unwrap());
            }
        }
        for name in NAMES {
            let pattern = format!("user {name} did {name}/x");
            assert_eq!(known.resolve(&pattern), again.resolve(&pattern));
            assert_ne!(known.resolve(&pattern), pattern);
        }
        known.saved(edits.len());
        assert_eq!(known.edits(), []);
        assert_eq!(again.edits(), []);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(40))]

        #[test]
        fn anything_can_be_learned(patterns in proptest::collection::vec("([ab<_> =/\"]|<_>){0,30}", 0..300)) {
            let known = learned(patterns.clone());
            for pattern in &patterns {
                let name = known.resolve(pattern).into_owned();
                proptest::prop_assert!(name.len() <= pattern.len().max(name.len()));
            }
            proptest::prop_assert!(known.state.read().members <= MEMBERS_ALL_MAX);
        }
    }
}

//! [`Labels`]: a sorted, immutable set of name/value pairs in one allocation.
//!
//! Layout: for each pair in ascending byte order of names, `len(name) name len(value) value`, where a length is written
//! as one Unicode scalar value (`0..0xD800` as itself, larger ones shifted past the surrogates), so that the whole is a
//! valid `str`, slices are checked and cheap, and equality is one `memcmp`. The layout lives in memory only.
//!
//! Beside the text stands its [fingerprint](Labels::fingerprint), made once with the labels: tables need not hash them
//! again, and who kept the fingerprint of a series need not keep its text to know it when it comes again.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

use crate::{Error, Result};

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Longest name or value in bytes that the packed form can express.
const LEN_MAX: usize = 0x10_FFFF - 0x800;

/// A sorted set of labels without duplicates and without empty values. Cloning is a reference count.
#[derive(Clone)]
pub struct Labels {
    packed: Arc<str>,
    fingerprint: u64,
}

impl Default for Labels {
    fn default() -> Self {
        Self::of_packed(Arc::from(""))
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.packed == other.packed
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fingerprint);
    }
}

impl Labels {
    fn of_packed(packed: Arc<str>) -> Self {
        let fingerprint = fingerprint_of(&packed);
        Self { packed, fingerprint }
    }

    /// The labels that consist of `pairs`, which ascend by name.
    pub fn of_pairs<'a>(pairs: impl Iterator<Item = &'a Pair> + Clone) -> Self {
        debug_assert!(pairs.clone().map(Pair::name).is_sorted_by(|a, b| a < b), "pairs ascend");
        let mut packed = String::with_capacity(pairs.clone().map(|pair| pair.0.len()).sum());
        pairs.for_each(|pair| packed.push_str(&pair.0));
        Self::of_packed(Arc::from(packed))
    }

    /// 64 bits that stand for these labels while this process runs: of two different sets of labels they are equal by a
    /// chance of 1 in 2^64, unless somebody who can watch this process looks for such a pair.
    #[inline]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The packed form of each pair, in ascending order of names: what [`Pair::packed`] gives.
    pub fn packed_pairs(&self) -> impl Iterator<Item = &str> {
        let mut rest = &*self.packed;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let before = rest;
            take(&mut rest);
            take(&mut rest);
            before.get(..before.len() - rest.len())
        })
    }

    /// Builds from pairs in any order; a later pair replaces an earlier one of the same name, empty values are dropped.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    /// Value of label `name`; `None` when absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        for (n, v) in self.iter() {
            match n.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return Some(v),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The metric name, or `""`.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// Pairs `(name, value)` in ascending byte order of names.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.packed }
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// A number for the scrape target that `job` and `instance` name: labels that agree in both have the same one.
    pub fn target(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (name, value) in self.iter().filter(|(name, _)| matches!(*name, "instance" | "job")) {
            (name, value).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Bytes of the packed form; what keeping it in memory costs, without the reference counts.
    pub fn packed_len(&self) -> usize {
        self.packed.len()
    }

    /// Whether both are the same allocation (a fast, sufficient test for equality).
    pub fn same_allocation(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.packed, &other.packed)
    }

    /// A builder that starts from these labels.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// These labels without `name`.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        if self.get(name).is_none() {
            return self.clone();
        }
        self.iter().filter(|(n, _)| *n != name).collect()
    }

    /// These labels with `name` set to `value` (removed when `value` is empty).
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut builder = self.to_builder();
        builder.set(name, value);
        builder.build()
    }
}

/// Collects pairs that are already sorted and unique, or sorts them.
impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(iter: I) -> Self {
        let mut packed = String::new();
        let mut previous: Option<&str> = None;
        let mut iter = iter.into_iter();
        while let Some((name, value)) = iter.next() {
            if previous.is_some_and(|p| p >= name)
                || value.is_empty()
                || name.len().max(value.len()) > LEN_MAX
            {
                // Not in order after all: fall back to the builder with what was seen so far.
                let seen = Labels::of_packed(Arc::from(packed));
                let mut builder = seen.to_builder();
                builder.set(name, value);
                for (n, v) in iter {
                    builder.set(n, v);
                }
                return builder.build();
            }
            push(&mut packed, name);
            push(&mut packed, value);
            previous = Some(name);
        }
        Self::of_packed(Arc::from(packed))
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

/// `{a="b", c="d"}`, with the metric name in front as Prometheus prints series.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric_name())?;
        f.write_str("{")?;
        let mut separator = "";
        for (name, value) in self.iter().filter(|(n, _)| *n != METRIC_NAME) {
            write!(f, "{separator}{name}={value:?}")?;
            separator = ", ";
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One label by itself, in the packed form: equal text, equal label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair(Box<str>);

impl Pair {
    /// The label `name` with `value`; `None` when one of them is longer than labels can be.
    pub fn new(name: &str, value: &str) -> Option<Self> {
        if name.len().max(value.len()) > LEN_MAX {
            return None;
        }
        let mut packed = String::with_capacity(name.len() + value.len() + 8);
        push(&mut packed, name);
        push(&mut packed, value);
        Some(Self(packed.into()))
    }

    /// The pair whose packed form is `packed`, as [`Labels::packed_pairs`] gives it.
    ///
    /// # Panics
    /// When `packed` is no packed pair.
    pub fn of_packed(packed: &str) -> Self {
        let mut rest = packed;
        take(&mut rest);
        take(&mut rest);
        assert!(rest.is_empty(), "BUG: text behind a packed pair");
        Self(packed.into())
    }

    /// The packed form.
    pub fn packed(&self) -> &str {
        &self.0
    }

    /// Name of the label.
    pub fn name(&self) -> &str {
        take(&mut &*self.0)
    }

    /// Value of the label.
    pub fn value(&self) -> &str {
        let mut rest = &*self.0;
        take(&mut rest);
        take(&mut rest)
    }
}

/// Keyed at random for each process.
fn fingerprint_of(packed: &str) -> u64 {
    let mut hasher = SeedableRandomState::with_seed(0, SharedSeed::global_random()).build_hasher();
    hasher.write(packed.as_bytes());
    hasher.finish()
}

/// Iterator over `(name, value)` pairs of [`Labels`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = take(&mut self.rest);
        let value = take(&mut self.rest);
        Some((name, value))
    }
}

fn push(packed: &mut String, text: &str) {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let scalar = if len < 0xD800 { len } else { len + 0x800 };
    packed.push(char::from_u32(scalar).expect("BUG: label length checked by LEN_MAX"));
    packed.push_str(text);
}

fn take<'a>(rest: &mut &'a str) -> &'a str {
    let mut chars = rest.chars();
    let scalar = chars.next().expect("BUG: packed labels end early") as usize;
    let len = if scalar < 0xD800 { scalar } else { scalar - 0x800 };
    let (text, tail) = chars.as_str().split_at(len);
    *rest = tail;
    text
}

/// Collects labels in any order.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets `name` to `value`; an empty value removes the label. Names or values past the packed form's bound
    /// (1,112,063 bytes; stores and receivers have far lower limits) are cut at a character boundary.
    pub fn set(&mut self, name: &str, value: &str) {
        let (name, value) = (cut(name), cut(value));
        match self.pairs.iter_mut().find(|(n, _)| n == name) {
            _ if value.is_empty() => self.pairs.retain(|(n, _)| n != name),
            Some((_, v)) => value.clone_into(v),
            None => self.pairs.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Like [`set`](Self::set), but refuses a name or value longer than `bytes_max`.
    ///
    /// # Errors
    /// [`Limit`](crate::ErrorKind::Limit) naming the label and the bound.
    pub fn set_bounded(&mut self, name: &str, value: &str, bytes_max: usize) -> Result<()> {
        let len = name.len().max(value.len());
        if len > bytes_max {
            return Err(Error::new(
                crate::ErrorKind::Limit,
                format!("label {:.64} has {len} bytes; the limit is {bytes_max}", name),
            ));
        }
        self.set(name, value);
        Ok(())
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) {
        self.pairs.retain(|(n, _)| n != name);
    }

    /// Keeps the labels for which `keep(name)` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.pairs.retain(|(n, _)| keep(n));
    }

    /// Current value of `name`, or `""`.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// Current pairs, in no particular order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The finished, sorted labels.
    pub fn build(mut self) -> Labels {
        self.pairs.sort_unstable();
        let mut packed =
            String::with_capacity(self.pairs.iter().map(|(n, v)| n.len() + v.len() + 4).sum());
        for (name, value) in &self.pairs {
            push(&mut packed, name);
            push(&mut packed, value);
        }
        Labels::of_packed(Arc::from(packed))
    }
}

fn cut(text: &str) -> &str {
    if text.len() <= LEN_MAX {
        return text;
    }
    let mut end = LEN_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.split_at(end).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_sorts_and_reads_back() {
        let labels =
            Labels::from_pairs([("job", "a"), ("__name__", "up"), ("empty", ""), ("job", "b")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("__name__", "up"), ("job", "b")]);
        assert_eq!(labels.get("job"), Some("b"));
        assert_eq!(labels.get("none"), None);
        assert_eq!(labels.to_string(), r#"up{job="b"}"#);
        assert_eq!(labels.without("job"), Labels::from_pairs([("__name__", "up")]));
        assert_eq!(labels.with("a", "1").len(), 3);
    }

    #[test]
    fn lengths_around_the_surrogates_survive() {
        for len in [0xD7FF, 0xD800, 0xDFFF, 0xE000, 70_000] {
            let value = "x".repeat(len);
            let labels = Labels::from_pairs([("v", value.as_str()), ("w", "é")]);
            assert_eq!(labels.get("v").map(str::len), Some(len));
            assert_eq!(labels.get("w"), Some("é"));
        }
    }

    #[test]
    fn unsorted_iterators_are_sorted() {
        let labels: Labels = [("b", "1"), ("a", "2"), ("c", "")].into_iter().collect();
        assert_eq!(labels, Labels::from_pairs([("a", "2"), ("b", "1")]));
    }

    #[test]
    fn labels_are_the_sum_of_their_pairs() {
        let labels = Labels::from_pairs([("job", "a"), ("__name__", "up"), ("x", "é")]);
        let pairs: Vec<Pair> = labels.packed_pairs().map(Pair::of_packed).collect();
        let names: Vec<(&str, &str)> = pairs.iter().map(|p| (p.name(), p.value())).collect();
        assert_eq!(names, labels.iter().collect::<Vec<_>>());
        assert_eq!(Pair::new("job", "a").as_ref(), Some(&pairs[1]));
        let again = Labels::of_pairs(pairs.iter());
        assert_eq!(again, labels);
        assert_eq!(again.fingerprint(), labels.fingerprint());
        assert_ne!(again.fingerprint(), labels.with("x", "e").fingerprint());
        assert_eq!(Labels::of_pairs([].iter()), Labels::default());
    }

    #[test]
    fn order_is_by_pairs() {
        let a = Labels::from_pairs([("a", "xxxxxxxxxx")]);
        let b = Labels::from_pairs([("b", "x")]);
        assert!(a < b);
    }
}

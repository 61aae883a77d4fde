//! [`Fields`]: the names and values beside one line, until they are labels.

use std::borrow::Cow;

use model::Labels;
use smallvec::SmallVec;

/// Fields of one line at most.
pub const FIELDS_MAX: usize = 4_096;

/// Fields of one line in the order they came; a later one of the same name wins.
#[derive(Debug, Clone, Default)]
pub struct Fields<'a> {
    pairs: SmallVec<[(Cow<'a, str>, Cow<'a, str>); 12]>,
    /// Fields that were too many.
    excess: usize,
}

impl<'a> Fields<'a> {
    /// Adds a field under a name that is one already; an empty value is none.
    pub fn set(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        if value.is_empty() {
            return;
        }
        if self.pairs.len() < FIELDS_MAX {
            self.pairs.push((name, value));
        } else {
            self.excess += 1;
        }
    }

    /// Adds a field under the [name](field_name) its own becomes; one without any is left out.
    pub fn add(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        let name = field_name(name);
        if !name.is_empty() {
            self.set(name, value);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Number of fields, those beyond [`FIELDS_MAX`] included, which are not kept.
    pub fn len(&self) -> usize {
        self.pairs.len() + self.excess
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.pairs.clear();
        self.excess = 0;
    }

    /// The fields as labels; none is left.
    pub fn take(&mut self) -> Labels {
        // Stable: of equal names the last one came last.
        self.pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let pairs = &self.pairs;
        let is_last = |i: usize| pairs.get(i + 1).is_none_or(|next| next.0 != pairs[i].0);
        let labels = (0..pairs.len())
            .filter(|i| is_last(*i))
            .map(|i| (&*pairs[i].0, &*pairs[i].1))
            .collect();
        self.clear();
        labels
    }
}

/// A name that queries can spell: letters, digits and `_`, no digit first; other characters become `_`.
pub fn field_name(name: Cow<'_, str>) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.bytes().all(is_plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return name;
    }
    let mut plain = String::with_capacity(name.len() + 1);
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        plain.push('_');
    }
    plain.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    Cow::Owned(plain)
}

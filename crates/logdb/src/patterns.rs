//! Patterns: what a line is once its values are taken out (`user <_> logged in`), known for every row.
//!
//! A pattern is made of the skeleton that the line has anyway ([`split`](crate::split)), by [`text`]. Words without digits
//! that turn out to vary are found by [`known`], which remembers them for all blocks, so that a line has the same pattern
//! next week. [`coded`] stores which pattern each row of a block has, and reads it.
//!
//! Does not own: what queries do with patterns (`select`, `aggregate`, `scan`).

pub(crate) mod coded;
pub(crate) mod known;
pub(crate) mod text;

use rustc_hash::FxHashMap;

use crate::split::{self, SLOT, Slots};

/// Finds the patterns of lines, without building the text of one twice.
#[derive(Default)]
pub(crate) struct Miner {
    slots: Slots,
    skeleton: Vec<u8>,
    message_slots: Slots,
    message_skeleton: Vec<u8>,
    /// Which slot of a skeleton is its message, and the pattern's number where none is.
    skeletons: FxHashMap<Vec<u8>, Skeleton>,
    /// Numbers by skeleton and the skeleton of the message.
    messages: FxHashMap<Vec<u8>, u32>,
    key: Vec<u8>,
    texts: Vec<String>,
    numbers: FxHashMap<String, u32>,
}

#[derive(Clone, Copy)]
enum Skeleton {
    Pattern(u32),
    /// Its own number, and the slot of the message.
    WithMessage(u32, usize),
}

impl Miner {
    /// Number of the pattern of `line`, which is UTF-8, among [`texts`](Self::into_texts).
    pub(crate) fn add(&mut self, line: &[u8]) -> u32 {
        split::split(line, &mut self.slots, &mut self.skeleton);
        let known = self.skeletons.get(&self.skeleton).copied();
        let (skeleton, slot) = match known.unwrap_or_else(|| self.add_skeleton()) {
            Skeleton::Pattern(number) => return number,
            Skeleton::WithMessage(skeleton, slot) => (skeleton, slot),
        };
        let message = self.slots.found.get(slot);
        let message = message.and_then(|slot| line.get(slot.start as usize..slot.end as usize));
        let message = message.unwrap_or_default();
        split::split(message, &mut self.message_slots, &mut self.message_skeleton);
        self.key.clear();
        self.key.extend_from_slice(&skeleton.to_le_bytes());
        self.key.extend_from_slice(&self.message_skeleton);
        if let Some(number) = self.messages.get(&self.key) {
            return *number;
        }
        let inner = text::of_message(&literals(&self.message_skeleton));
        let text = text::of_line(&literals(&self.skeleton), Some((slot, &inner)));
        let number = self.number(text);
        self.messages.insert(self.key.clone(), number);
        number
    }

    fn add_skeleton(&mut self) -> Skeleton {
        let literals = literals(&self.skeleton);
        let found = match text::message_slot(&literals) {
            Some(slot) => Skeleton::WithMessage(self.skeletons.len() as u32, slot),
            None => {
                let text = text::of_line(&literals, None);
                Skeleton::Pattern(self.number(text))
            }
        };
        self.skeletons.insert(self.skeleton.clone(), found);
        found
    }

    fn number(&mut self, text: String) -> u32 {
        let next = self.texts.len() as u32;
        *self.numbers.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            next
        })
    }

    /// The patterns found, by number.
    pub(crate) fn into_texts(self) -> Vec<String> {
        self.texts
    }
}

/// What is between the slots of a skeleton.
fn literals(skeleton: &[u8]) -> Vec<&[u8]> {
    skeleton.split(|b| *b == SLOT).collect()
}

/// The pattern of one line, before words that vary are taken out.
#[cfg(test)]
pub(crate) fn of_line(line: &str) -> String {
    let mut miner = Miner::default();
    miner.add(line.as_bytes());
    miner.into_texts().swap_remove(0)
}

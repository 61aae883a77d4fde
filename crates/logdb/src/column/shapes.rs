//! Writing the `SHAPES` encoding: skeletons, which one each row has, and a column per kind of slot.

use rustc_hash::FxHashMap;
use storage::codec::put_count;

use super::{Encoder, SHAPES, TRIAL_ROWS};
use crate::split::{self, Form, Mark, SLOT, Slot, Slots};
use crate::texts;

/// Distinct skeletons one column may have, the one for "everything else" included.
const SHAPES_MAX: usize = 256;
/// Rows a skeleton must have to be worth writing.
const SHAPE_ROWS_MIN: u32 = 2;
/// Shapes a value is tried against before it is taken apart from scratch, the last ones found first.
const RECENT: usize = 4;
/// Beginnings of values for which the last shape is remembered.
const BEGINNINGS: usize = 256;
/// Column key of values that are kept whole.
const WHOLE_KEY: u64 = 0;

/// Values taken apart.
struct Split {
    /// Skeleton of each shape.
    skeletons: Vec<Vec<u8>>,
    /// What the slots of each shape's first value are.
    marks: Vec<Vec<Mark>>,
    /// How many rows each shape has.
    rows: Vec<u32>,
    /// Shape of each row.
    shapes: Vec<u32>,
    /// Slots of all rows behind each other.
    slots: Vec<Slot>,
}

impl Encoder {
    /// Appends `values` taken apart, if a trial says that it pays.
    pub(super) fn shapes(&mut self, values: &[&[u8]], depth: u8, out: &mut Vec<u8>) -> bool {
        // Lines of JSON objects always pay when there are many; all else is tried first.
        let is_json = depth == 0 && values.iter().step_by(61).all(|v| v.starts_with(b"{\""));
        if values.len() > TRIAL_ROWS && !is_json && !self.shapes_pay(&sample(values), depth) {
            return false;
        }
        let Some(split) = Split::new(values) else { return false };
        if values.len() > TRIAL_ROWS {
            self.put_split(values, &split, depth, out);
            return true;
        }
        // Few values: the trial is the thing itself.
        let mut packed = Vec::new();
        let was_trial = std::mem::replace(&mut self.trial, true);
        self.put_split(values, &split, depth, &mut packed);
        self.trial = was_trial;
        if !self.is_ten_percent_below_text(values, packed.len()) {
            return false;
        }
        out.extend_from_slice(&packed);
        // The trial kept its tokens to itself, and these few values are quickly gone through.
        self.add_tokens(values);
        true
    }

    fn shapes_pay(&mut self, sample: &[&[u8]], depth: u8) -> bool {
        let Some(split) = Split::new(sample) else { return false };
        let mut packed = Vec::new();
        let was_trial = std::mem::replace(&mut self.trial, true);
        self.put_split(sample, &split, depth, &mut packed);
        self.trial = was_trial;
        self.is_ten_percent_below_text(sample, packed.len())
    }

    fn is_ten_percent_below_text(&mut self, values: &[&[u8]], len: usize) -> bool {
        let mut plain = Vec::new();
        self.text(values, &mut plain);
        len * 10 <= plain.len() * 9
    }

    fn put_split(&mut self, values: &[&[u8]], split: &Split, depth: u8, out: &mut Vec<u8>) {
        let (kept, codes) = split.numbered();
        let mut plan = Plan { kept, keys: Vec::new(), slot_columns: Vec::new() };
        let columns = plan.distribute(values, split, &codes);
        out.push(SHAPES);
        put_count(out, plan.kept.len());
        let skeletons: Vec<&[u8]> = plan.skeletons(split);
        put_skeletons(&skeletons, self, out);
        for columns in &plan.slot_columns {
            columns.iter().for_each(|c| put_count(out, *c));
        }
        self.codes(&codes, plan.kept.len(), out);
        put_count(out, columns.len());
        if !self.trial {
            skeletons.iter().for_each(|s| {
                s.split(|b| *b == SLOT).for_each(|literal| self.tokens.add_text(literal));
            });
        }
        let mut body = Vec::new();
        for column in columns {
            body.clear();
            self.nested(&column, depth + 1, &mut body);
            put_count(out, body.len());
            out.extend_from_slice(&body);
        }
    }
}

/// Skeletons contain the byte that ends texts, so slots are written as `0xFE`, which UTF-8 does not use either.
fn put_skeletons(skeletons: &[&[u8]], encoder: &mut Encoder, out: &mut Vec<u8>) {
    let escaped: Vec<Vec<u8>> = skeletons
        .iter()
        .map(|s| s.iter().map(|b| if *b == SLOT { 0xFE } else { *b }).collect())
        .collect();
    let slices: Vec<&[u8]> = escaped.iter().map(Vec::as_slice).collect();
    texts::encode(&slices, &mut encoder.zstd, out);
}

/// Which shapes are written, and which column each of their slots goes to.
struct Plan {
    /// Shapes by their written number; `None` stands for values kept whole.
    kept: Vec<Option<u32>>,
    keys: Vec<u64>,
    slot_columns: Vec<Vec<usize>>,
}

impl Plan {
    fn skeletons<'s>(&self, split: &'s Split) -> Vec<&'s [u8]> {
        let skeleton = |shape: &Option<u32>| match shape {
            Some(shape) => split.skeletons[*shape as usize].as_slice(),
            None => &[SLOT],
        };
        self.kept.iter().map(skeleton).collect()
    }

    fn column_of(&mut self, key: u64) -> usize {
        self.keys.iter().position(|k| *k == key).unwrap_or_else(|| {
            self.keys.push(key);
            self.keys.len() - 1
        })
    }

    /// Values of each column in row order.
    fn distribute<'v>(
        &mut self,
        values: &[&'v [u8]],
        split: &Split,
        codes: &[u16],
    ) -> Vec<Vec<&'v [u8]>> {
        self.slot_columns = vec![Vec::new(); self.kept.len()];
        let mut known = vec![false; self.kept.len()];
        let mut columns: Vec<Vec<&[u8]>> = Vec::new();
        let mut at = 0;
        for ((value, shape), code) in values.iter().zip(&split.shapes).zip(codes) {
            let marks = &split.marks[*shape as usize];
            let shape_slots = marks.len();
            let slots = &split.slots[at..at + shape_slots];
            at += shape_slots;
            let code = usize::from(*code);
            if !known[code] {
                // The first row of a shape decides; keys of later rows are the same or at least as good.
                known[code] = true;
                let keys: Vec<u64> = match self.kept[code] {
                    Some(_) => marks.iter().map(|m| m.key).collect(),
                    None => vec![WHOLE_KEY],
                };
                self.slot_columns[code] = keys.into_iter().map(|k| self.column_of(k)).collect();
                columns.resize(self.keys.len(), Vec::new());
            }
            if self.kept[code].is_none() {
                columns[self.slot_columns[code][0]].push(value);
                continue;
            }
            for (slot, column) in slots.iter().zip(&self.slot_columns[code]) {
                columns[*column].push(&value[slot.start as usize..slot.end as usize]);
            }
        }
        columns
    }
}

impl Split {
    /// `None` when hardly any value shares its skeleton with another.
    fn new(values: &[&[u8]]) -> Option<Self> {
        let mut split = Self {
            skeletons: Vec::new(),
            marks: Vec::new(),
            rows: Vec::new(),
            shapes: Vec::with_capacity(values.len()),
            slots: Vec::new(),
        };
        let mut known: FxHashMap<Vec<u8>, u32> = FxHashMap::default();
        let mut guess = Guess::default();
        let (mut slots, mut skeleton) = (Slots::default(), Vec::new());
        for (i, value) in values.iter().enumerate() {
            if i == 1 {
                // Values are alike: as many slots as the first one has, and some more.
                split.slots.reserve(values.len() * (split.slots.len() + 1));
            }
            let shape = guess.fit(value, &mut split.slots).unwrap_or_else(|| {
                split::split(value, &mut slots, &mut skeleton);
                split.slots.extend_from_slice(&slots.found);
                let shape = split.shape(&skeleton, &slots.marks, &mut known);
                guess.learn(value, shape, &skeleton, &slots.marks);
                shape
            });
            split.rows[shape as usize] += 1;
            split.shapes.push(shape);
            if i & 255 == 255 && split.skeletons.len() * 2 > i {
                return None;
            }
        }
        let useful = split.rows.iter().any(|rows| *rows >= SHAPE_ROWS_MIN);
        (useful && !split.slots.is_empty()).then_some(split)
    }

    fn shape(
        &mut self,
        skeleton: &[u8],
        marks: &[Mark],
        known: &mut FxHashMap<Vec<u8>, u32>,
    ) -> u32 {
        if let Some(shape) = known.get(skeleton) {
            return *shape;
        }
        let shape = self.skeletons.len() as u32;
        known.insert(skeleton.to_vec(), shape);
        self.marks.push(marks.to_vec());
        self.skeletons.push(skeleton.to_vec());
        self.rows.push(0);
        shape
    }

    /// The shapes worth writing, most frequent first, and each row's number among them.
    fn numbered(&self) -> (Vec<Option<u32>>, Vec<u16>) {
        let mut order: Vec<u32> = (0..self.rows.len() as u32)
            .filter(|shape| self.rows[*shape as usize] >= SHAPE_ROWS_MIN)
            .collect();
        order.sort_by_key(|shape| (std::cmp::Reverse(self.rows[*shape as usize]), *shape));
        order.truncate(SHAPES_MAX - 1);
        let mut kept: Vec<Option<u32>> = order.iter().map(|s| Some(*s)).collect();
        let mut numbers = vec![None; self.rows.len()];
        for (number, shape) in order.iter().enumerate() {
            numbers[*shape as usize] = Some(number as u16);
        }
        let whole = kept.len() as u16;
        if numbers.iter().any(Option::is_none) {
            kept.push(None);
        }
        let codes = self.shapes.iter().map(|s| numbers[*s as usize].unwrap_or(whole)).collect();
        (kept, codes)
    }
}

/// Guesses which shape a value has: the last one that began alike, or one of the last few.
struct Guess {
    /// Forms by shape; `None` for shapes of which there are too many to be worth it.
    forms: Vec<Option<Form>>,
    /// Shape by the hash of a beginning; `u32::MAX` for none.
    by_beginning: [u32; BEGINNINGS],
    recent: [u32; RECENT],
}

impl Default for Guess {
    fn default() -> Self {
        let (by_beginning, recent) = ([u32::MAX; BEGINNINGS], [u32::MAX; RECENT]);
        Self { forms: Vec::new(), by_beginning, recent }
    }
}

impl Guess {
    /// The shape of `value`, whose slots are appended; `None` if no guess fits.
    fn fit(&mut self, value: &[u8], slots: &mut Vec<Slot>) -> Option<u32> {
        let forms = &self.forms;
        let mut fits =
            |shape: u32| forms.get(shape as usize)?.as_ref()?.fit(value, slots).then_some(shape);
        let beginning = beginning(value);
        let first = self.by_beginning[beginning];
        if let Some(shape) = fits(first) {
            return Some(shape);
        }
        let at = self.recent.iter().position(|shape| *shape != first && fits(*shape).is_some())?;
        self.recent[..=at].rotate_right(1);
        self.by_beginning[beginning] = self.recent[0];
        Some(self.recent[0])
    }

    fn learn(&mut self, value: &[u8], shape: u32, skeleton: &[u8], marks: &[Mark]) {
        let at = shape as usize;
        if at < SHAPES_MAX * 4 {
            self.forms.resize_with(self.forms.len().max(at + 1), || None);
            self.forms[at].get_or_insert_with(|| Form::new(skeleton, marks));
        }
        self.by_beginning[beginning(value)] = shape;
        self.recent.rotate_right(1);
        self.recent[0] = shape;
    }
}

/// A number below [`BEGINNINGS`] that values with the same first eight bytes share.
fn beginning(value: &[u8]) -> usize {
    let mut first = [0; 8];
    let len = value.len().min(8);
    first[..len].copy_from_slice(&value[..len]);
    (u64::from_le_bytes(first).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize
}

/// Four runs of neighbours from all over the column.
fn sample<'v>(values: &[&'v [u8]]) -> Vec<&'v [u8]> {
    let run = TRIAL_ROWS / 4;
    let stride = (values.len() - run) / 3;
    (0..4).flat_map(|i| &values[i * stride..i * stride + run]).copied().collect()
}

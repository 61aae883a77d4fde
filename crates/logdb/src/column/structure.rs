//! What the encoding of a column says about its values without putting them together: which entry of a dictionary each one is,
//! or which skeleton it has, and of one slot the same.
//!
//! Equal keys mean equal values, or values that differ in nothing but slots; where the encoding says nothing, a key is
//! *open*.

use model::Result;

use super::codes::Codes;
use super::decode::{Column, Kind};
use super::skeletons::{Shapes, Skeleton};

/// Keys one column may have; beyond, they tell too little.
const KEYS_MAX: usize = 1 << 16;

/// A key for each value of a column.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Key of each value.
    pub(crate) of_rows: Vec<u32>,
    /// For each key whether it is open.
    pub(crate) are_open: Vec<bool>,
}

/// What is known of the values of a slot.
enum Inner<'c> {
    Same,
    Coded { codes: &'c Codes, are_open: Vec<bool> },
    Unknown,
}

impl Inner<'_> {
    fn are_open(&self) -> Vec<bool> {
        match self {
            Self::Same => vec![false],
            Self::Coded { are_open, .. } => are_open.clone(),
            Self::Unknown => vec![true],
        }
    }

    fn code(&self, value: usize) -> usize {
        match self {
            Self::Coded { codes, .. } => codes.get(value),
            Self::Same | Self::Unknown => 0,
        }
    }
}

/// Where the values of an asked slot are among those of its column: how many the row has there, and which one it is.
struct Place {
    column: usize,
    values: usize,
    asked: Option<usize>,
}

impl Column {
    /// What is between the slots of each skeleton; none when values are not taken apart.
    pub(crate) fn skeletons(&self) -> impl Iterator<Item = Vec<&[u8]>> {
        let skeletons = match &self.kind {
            Kind::Shapes(shapes) => shapes.skeletons.as_slice(),
            _ => &[],
        };
        skeletons.iter().map(|s| s.literals.iter().map(Vec::as_slice).collect())
    }

    /// A key for each value; `asked` has for each skeleton the slot that is looked into. `None` when the encoding says
    /// nothing of any value, or there are too many keys.
    pub(crate) fn keys(&self, asked: &[Option<usize>]) -> Result<Option<Keys>> {
        let keys = match self.inner()? {
            _ if matches!(self.kind, Kind::Shapes(_)) => {
                let Kind::Shapes(shapes) = &self.kind else { return Ok(None) };
                return shapes.keys(asked);
            }
            Inner::Unknown => return Ok(None),
            inner => Keys {
                of_rows: (0..self.len).map(|row| inner.code(row) as u32).collect(),
                are_open: inner.are_open(),
            },
        };
        Ok(Some(keys))
    }

    fn inner(&self) -> Result<Inner<'_>> {
        Ok(match &self.kind {
            Kind::Const(_) => Inner::Same,
            Kind::Dict { values, codes } => {
                Inner::Coded { codes: codes.get()?, are_open: vec![false; values.len().max(1)] }
            }
            Kind::Shapes(shapes) => Inner::Coded {
                codes: &shapes.codes,
                are_open: shapes.skeletons.iter().map(Skeleton::is_whole).collect(),
            },
            _ => Inner::Unknown,
        })
    }
}

impl Skeleton {
    /// Whether it is of values kept whole.
    fn is_whole(&self) -> bool {
        self.literals.len() == 2 && self.literals.iter().all(Vec::is_empty)
    }
}

impl Shapes {
    fn keys(&self, asked: &[Option<usize>]) -> Result<Option<Keys>> {
        let slot = |s: usize| asked.get(s).copied().flatten();
        // Columns that are looked into, and what is known of their values.
        let mut columns: Vec<(usize, Inner<'_>)> = Vec::new();
        let mut first = Vec::with_capacity(self.skeletons.len());
        let mut are_open = Vec::new();
        for (s, skeleton) in self.skeletons.iter().enumerate() {
            first.push(are_open.len());
            match slot(s).and_then(|slot| skeleton.columns.get(slot)) {
                None => are_open.push(skeleton.is_whole()),
                Some(column) => {
                    let at = match columns.iter().position(|(known, _)| known == column) {
                        Some(at) => at,
                        None => {
                            let Some(lazy) = self.columns.get(*column) else { return Ok(None) };
                            columns.push((*column, lazy.get()?.inner()?));
                            columns.len() - 1
                        }
                    };
                    are_open.extend(columns[at].1.are_open());
                }
            }
            if are_open.len() > KEYS_MAX {
                return Ok(None);
            }
        }
        let places: Vec<Vec<Place>> = (self.skeletons.iter().enumerate())
            .map(|(s, skeleton)| skeleton.places(slot(s), &columns))
            .collect();
        let mut next = vec![0; columns.len()];
        let mut of_rows = Vec::with_capacity(self.codes.len());
        self.codes.for_each(|_, skeleton| {
            let mut key = first.get(skeleton).copied().unwrap_or(0);
            for place in places.get(skeleton).map_or(&[][..], Vec::as_slice) {
                if let Some(asked) = place.asked {
                    key += columns[place.column].1.code(next[place.column] + asked);
                }
                next[place.column] += place.values;
            }
            // Fewer than `KEYS_MAX`.
            of_rows.push(key as u32);
        });
        Ok(Some(Keys { of_rows, are_open }))
    }
}

impl Skeleton {
    fn places(&self, asked: Option<usize>, columns: &[(usize, Inner<'_>)]) -> Vec<Place> {
        let place = |(at, (column, _)): (usize, &(usize, Inner<'_>))| {
            let own = self.columns.iter().enumerate().filter(|(_, own)| *own == column);
            let slots: Vec<usize> = own.map(|(slot, _)| slot).collect();
            let asked = slots.iter().position(|slot| Some(*slot) == asked);
            (!slots.is_empty()).then_some(Place { column: at, values: slots.len(), asked })
        };
        columns.iter().enumerate().filter_map(place).collect()
    }
}

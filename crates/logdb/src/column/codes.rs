//! Small numbers, one per value of a column: written, read, counted.
//!
//! Does not own: what they stand for (`dict`, `shapes`, [`patterns`](crate::patterns)).

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, OnceLock};

use model::{Error, Result};
use storage::codec::{Reader, ints};

use super::Encoder;
use crate::bits::Bits;

/// Small numbers, one per value.
#[derive(Debug)]
pub(crate) enum Codes {
    /// So many zeros.
    Zeros(usize),
    Narrow(Vec<u8>),
    Wide(Vec<u16>),
}

impl Codes {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Zeros(len) => *len,
            Self::Narrow(codes) => codes.len(),
            Self::Wide(codes) => codes.len(),
        }
    }

    /// The code of value `i`.
    pub(crate) fn get(&self, i: usize) -> usize {
        match self {
            Self::Zeros(_) => 0,
            Self::Narrow(codes) => codes.get(i).copied().map_or(0, usize::from),
            Self::Wide(codes) => codes.get(i).copied().map_or(0, usize::from),
        }
    }

    /// Calls `visit(position, code)` for each in turn until it breaks off.
    #[inline]
    pub(super) fn try_for_each(
        &self,
        mut visit: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Self::Zeros(len) => (0..*len).try_for_each(|i| visit(i, 0)),
            Self::Narrow(codes) => {
                codes.iter().enumerate().try_for_each(|(i, c)| visit(i, usize::from(*c)))
            }
            Self::Wide(codes) => {
                codes.iter().enumerate().try_for_each(|(i, c)| visit(i, usize::from(*c)))
            }
        }
    }

    /// Calls `visit(position, code)` for each in turn.
    #[inline]
    pub(super) fn for_each(&self, mut visit: impl FnMut(usize, usize)) {
        let flow = self.try_for_each(|i, code| {
            visit(i, code);
            ControlFlow::Continue(())
        });
        debug_assert!(flow.is_continue(), "nothing breaks off");
    }

    /// The positions whose code is one of those that `keep` has set.
    pub(super) fn among(&self, keep: &Bits) -> Bits {
        match self {
            Self::Zeros(len) if keep.get(0) => Bits::all(*len),
            Self::Zeros(len) => Bits::new(*len),
            Self::Narrow(codes) => {
                let table: [bool; 256] = std::array::from_fn(|code| keep.get(code));
                Bits::from_fn(codes.len(), |i| table[usize::from(codes[i])])
            }
            Self::Wide(codes) => Bits::from_fn(codes.len(), |i| keep.get(usize::from(codes[i]))),
        }
    }

    /// How often each of `distinct` codes is there.
    pub(super) fn histogram(&self, distinct: usize) -> Vec<usize> {
        let mut counts = vec![0; distinct];
        match self {
            Self::Zeros(len) => counts.iter_mut().take(1).for_each(|c| *c = *len),
            Self::Narrow(codes) => {
                count_narrow(codes).iter().zip(&mut counts).for_each(|(n, count)| *count = *n);
            }
            Self::Wide(codes) => {
                for code in codes {
                    counts.iter_mut().skip(usize::from(*code)).take(1).for_each(|c| *c += 1);
                }
            }
        }
        counts
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Zeros(_) => 0,
            Self::Narrow(codes) => codes.capacity(),
            Self::Wide(codes) => codes.capacity() * 2,
        }
    }
}

/// How often each byte is there. Four tables, so that a run of equal bytes does not wait for itself.
pub(crate) fn count_narrow(codes: &[u8]) -> [usize; 256] {
    let mut tables = [[0_u32; 256]; 4];
    let (groups, rest) = codes.as_chunks::<4>();
    for [a, b, c, d] in groups {
        tables[0][usize::from(*a)] += 1;
        tables[1][usize::from(*b)] += 1;
        tables[2][usize::from(*c)] += 1;
        tables[3][usize::from(*d)] += 1;
    }
    rest.iter().for_each(|code| tables[0][usize::from(*code)] += 1);
    std::array::from_fn(|i| tables.iter().map(|t| t[i] as usize).sum())
}

/// Codes that are decoded when first needed.
#[derive(Debug)]
pub(super) struct LazyCodes {
    data: Arc<[u8]>,
    range: Range<usize>,
    len: usize,
    distinct: usize,
    cell: OnceLock<Codes>,
}

impl LazyCodes {
    /// The codes of `len` values below `distinct` that `range` of `data` is.
    pub(super) fn new(data: &Arc<[u8]>, range: Range<usize>, len: usize, distinct: usize) -> Self {
        Self { data: Arc::clone(data), range, len, distinct, cell: OnceLock::new() }
    }

    /// The codes, if they were decoded already.
    pub(super) fn decoded(&self) -> Option<&Codes> {
        self.cell.get()
    }

    pub(super) fn get(&self) -> Result<&Codes> {
        if let Some(codes) = self.cell.get() {
            return Ok(codes);
        }
        let bytes = self.data.get(self.range.clone()).unwrap_or_default();
        let codes = read_codes(&mut Reader::new(bytes), self.len, self.distinct)?;
        Ok(self.cell.get_or_init(|| codes))
    }
}

impl Encoder {
    /// Small numbers below `distinct`: zstd over bytes or packed integers, whichever is smaller.
    pub(crate) fn codes(&mut self, codes: &[u16], distinct: usize, out: &mut Vec<u8>) {
        if distinct <= 1 {
            return;
        }
        let mut packed = vec![0];
        let wide: Vec<i64> = codes.iter().map(|c| i64::from(*c)).collect();
        ints::encode_sampled(&wide, &mut packed);
        let low = codes.iter().map(|c| c.to_le_bytes()[0]);
        let width = shared_width(distinct);
        let raw: Vec<u8> = if let Some(width) = width {
            let together = |codes: &[u16]| {
                let placed = codes.iter().zip((0..8).step_by(width as usize));
                placed.fold(0, |byte, (code, shift)| byte | code.to_le_bytes()[0] << shift)
            };
            codes.chunks(8 / width as usize).map(together).collect()
        } else if distinct <= 256 {
            low.collect()
        } else {
            // Low bytes, then high bytes: the high ones compress to almost nothing.
            low.chain(codes.iter().map(|c| c.to_le_bytes()[1])).collect()
        };
        let mut squeezed = vec![if width.is_some() { 2 } else { 1 }];
        self.zstd.put_frame(&raw, &mut squeezed);
        out.extend_from_slice(if squeezed.len() < packed.len() { &squeezed } else { &packed });
    }
}

/// Bits of each code where several share a byte, so that a byte is worth more than a code: no symbol of zstd takes
/// less than a bit. `None` when each has a byte of its own.
fn shared_width(distinct: usize) -> Option<u32> {
    match distinct {
        0..=2 => Some(1),
        3..=4 => Some(2),
        5..=16 => Some(4),
        _ => None,
    }
}

/// Reads `len` codes, all below `distinct`.
pub(crate) fn read_codes(reader: &mut Reader<'_>, len: usize, distinct: usize) -> Result<Codes> {
    if distinct <= 1 {
        return Ok(Codes::Zeros(len));
    }
    let is_wide = distinct > 256;
    let codes = match (reader.u8()?, shared_width(distinct)) {
        (0, _) => {
            let mut codes = Vec::new();
            ints::decode_blocks(reader, len, len, |block| {
                codes.extend(block.iter().map(|c| u16::try_from(*c).unwrap_or(u16::MAX)));
            })?;
            match is_wide {
                true => Codes::Wide(codes),
                false => Codes::Narrow(
                    codes.iter().map(|c| u8::try_from(*c)).collect::<Result<_, _>>().map_err(
                        |_| Error::corrupt(format!("codes are not all below {distinct}")),
                    )?,
                ),
            }
        }
        (1, _) => {
            let mut raw = Vec::new();
            crate::pack::take_frame(reader, if is_wide { len * 2 } else { len }, &mut raw)?;
            match raw.split_at_checked(len) {
                Some((low, high)) if is_wide => {
                    let pairs = low.iter().zip(high);
                    Codes::Wide(
                        pairs.map(|(low, high)| u16::from_le_bytes([*low, *high])).collect(),
                    )
                }
                _ => Codes::Narrow(raw),
            }
        }
        (2, Some(width)) => {
            let mut raw = Vec::new();
            crate::pack::take_frame(reader, len.div_ceil(8 / width as usize), &mut raw)?;
            Codes::Narrow(apart(&raw, width, len))
        }
        (tag, _) => {
            return Err(Error::corrupt(format!("{distinct} codes are not stored as {tag}")));
        }
    };
    let largest = match &codes {
        Codes::Zeros(_) => None,
        Codes::Narrow(codes) => codes.iter().max().copied().map(u16::from),
        Codes::Wide(codes) => codes.iter().max().copied(),
    };
    match largest.filter(|code| usize::from(*code) >= distinct) {
        Some(code) => Err(Error::corrupt(format!("code {code} is not below {distinct}"))),
        None => Ok(codes),
    }
}

/// The first `len` codes of `width` bits that `raw` holds.
fn apart(raw: &[u8], width: u32, len: usize) -> Vec<u8> {
    fn all<const CODES: usize>(raw: &[u8]) -> Vec<u8> {
        let width = 8 / CODES;
        let mut codes = vec![[0_u8; CODES]; raw.len()];
        for (byte, codes) in raw.iter().zip(&mut codes) {
            for (i, code) in codes.iter_mut().enumerate() {
                *code = byte >> (i * width) & (0xff >> (8 - width));
            }
        }
        codes.into_flattened()
    }
    let mut codes = match width {
        1 => all::<8>(raw),
        2 => all::<4>(raw),
        _ => all::<2>(raw),
    };
    codes.truncate(len);
    codes
}

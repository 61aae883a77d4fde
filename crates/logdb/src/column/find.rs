//! Searching a column: by its alphabet, its distinct values, its numbers, and only then by its text.

use model::Result;
use storage::codec::Reader;

use super::decode::{Column, Hex, Kind, NumberFormat};
use super::placements::{self, Placed};
use super::{CONST, DECIMAL, FIXED, HEX, INT, IPV4, TIME, UUID};
use crate::bits::Bits;
use crate::needle::Needle;
use crate::texts::Texts;
use crate::typed::{self, TimeFormat};

/// Longest text of a number, and of an address.
const INT_LEN_MAX: usize = 20;
const IPV4_LEN_MAX: usize = 15;

/// Which values have something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hits {
    None,
    All,
    Some(Bits),
}

impl Hits {
    pub(crate) fn get(&self, i: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(bits) => bits.get(i),
        }
    }

    /// As a set of `len` values.
    pub(crate) fn into_bits(self, len: usize) -> Bits {
        match self {
            Self::None => Bits::new(len),
            Self::All => Bits::all(len),
            Self::Some(bits) => bits,
        }
    }
}

impl From<Bits> for Hits {
    fn from(bits: Bits) -> Self {
        if bits.is_clear() { Self::None } else { Self::Some(bits) }
    }
}

/// What texts of one typed encoding can be made of.
#[derive(Debug, Clone, Copy)]
struct Alphabet {
    has: fn(u8) -> bool,
    /// Most digits behind each other.
    digits_max: usize,
    len_max: usize,
}

impl Alphabet {
    fn may_have(&self, needle: &Needle) -> bool {
        needle.text().len() <= self.len_max
            && needle.is_spelled_with(self.has)
            && longest_digits(needle.text()) <= self.digits_max
    }
}

const INTS: Alphabet = Alphabet {
    has: |b| b.is_ascii_digit() || b == b'-',
    digits_max: INT_LEN_MAX,
    len_max: INT_LEN_MAX,
};
const DIGITS: Alphabet = Alphabet { has: |b| b.is_ascii_digit(), ..INTS };
const DECIMALS: Alphabet = Alphabet {
    has: |b| b.is_ascii_digit() || matches!(b, b'-' | b'.'),
    digits_max: INT_LEN_MAX,
    len_max: INT_LEN_MAX + 2,
};
const ADDRESSES: Alphabet =
    Alphabet { has: |b| b.is_ascii_digit() || b == b'.', digits_max: 3, len_max: IPV4_LEN_MAX };

fn times(layout: u8, digits: u8) -> Alphabet {
    let has: fn(u8) -> bool = if layout == b'/' {
        |b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b':' | b' ' | b'+' | b'-' | b'.' | b',')
    } else {
        |b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b':' | b'.' | b',' | b' ' | b'T' | b'Z')
    };
    // Years and zones have four.
    let digits_max = if digits == typed::TRIMMED { 9 } else { usize::from(digits.clamp(4, 9)) };
    Alphabet { has, digits_max, len_max: 64 }
}

fn ids(width: usize, dashes: bool, upper: bool) -> Alphabet {
    let has: fn(u8) -> bool = match (dashes, upper) {
        (false, false) => |b| matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        (false, true) => |b| matches!(b, b'0'..=b'9' | b'A'..=b'F'),
        (true, false) => |b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'),
        (true, true) => |b| matches!(b, b'0'..=b'9' | b'A'..=b'F' | b'-'),
    };
    let len_max = width * 2 + if dashes { 4 } else { 0 };
    Alphabet { has, digits_max: len_max, len_max }
}

fn longest_digits(text: &[u8]) -> usize {
    text.split(|b| !b.is_ascii_digit()).map(<[u8]>::len).max().unwrap_or(0)
}

/// Whether a value of the column that `bytes` are may have `needle`, as far as its first bytes tell.
pub(super) fn may_have_encoded(bytes: &[u8], needle: &Needle) -> bool {
    let mut reader = Reader::new(bytes);
    let mut alphabet = || -> Result<Option<Alphabet>> {
        Ok(Some(match reader.u8()? {
            CONST => {
                let value = reader.bytes()?;
                // Nothing is an alphabet that has all, and all has nothing.
                let len_max = if needle.matches(value) { usize::MAX } else { 0 };
                Alphabet { has: |_| true, digits_max: usize::MAX, len_max }
            }
            INT => INTS,
            FIXED => DIGITS,
            DECIMAL => DECIMALS,
            IPV4 => ADDRESSES,
            TIME => {
                let (layout, _, digits) = (reader.u8()?, reader.u8()?, reader.u8()?);
                times(layout, digits)
            }
            tag @ (HEX | UUID) => {
                let upper = reader.u8()? != 0;
                let width = if tag == UUID { 16 } else { reader.count(64)? };
                ids(width, tag == UUID, upper)
            }
            _ => return Ok(None),
        }))
    };
    // What cannot be read is found out when it is opened; an empty text says nothing about alphabets.
    match alphabet() {
        Ok(Some(alphabet)) => needle.text().is_empty() || alphabet.may_have(needle),
        _ => true,
    }
}

impl Column {
    /// Whether a value may have `needle`, as far as that can be told without looking at values.
    pub(super) fn may_have(&self, needle: &Needle) -> bool {
        if needle.text().is_empty() {
            return true;
        }
        match &self.kind {
            Kind::Const(value) => needle.matches(value),
            Kind::Numbers { format, .. } => match format {
                NumberFormat::Int => INTS.may_have(needle),
                NumberFormat::Fixed(_) => DIGITS.may_have(needle),
                NumberFormat::Ipv4 => ADDRESSES.may_have(needle),
                NumberFormat::Time(TimeFormat { layout, digits, .. }) => {
                    times(*layout, *digits).may_have(needle)
                }
            },
            Kind::Decimal { .. } => DECIMALS.may_have(needle),
            Kind::Hex(hex) => ids(hex.width, hex.dashes, hex.upper).may_have(needle),
            Kind::Dict { .. } | Kind::Affix { .. } | Kind::Text(_) | Kind::Shapes(_) => true,
        }
    }

    /// The values that have `needle`; exact.
    pub(crate) fn find(&self, needle: &Needle) -> Result<Hits> {
        if needle.is_trivial() {
            return Ok(Hits::All);
        }
        if self.len == 0 || !self.may_have(needle) {
            return Ok(Hits::None);
        }
        Ok(match &self.kind {
            // Decided by the test above, unless the needle is empty.
            Kind::Const(value) if needle.matches(value) => Hits::All,
            Kind::Const(_) => Hits::None,
            Kind::Dict { values, codes } => {
                let mut found = Bits::new(values.len());
                values.find(needle, &mut found);
                match found.count() {
                    0 => Hits::None,
                    all if all == values.len() => Hits::All,
                    _ => Hits::from(codes.get()?.among(&found)),
                }
            }
            Kind::Text(texts) => {
                let mut hits = Bits::new(self.len);
                texts.find(needle, &mut hits);
                Hits::from(hits)
            }
            Kind::Shapes(shapes) => shapes.find(needle)?,
            Kind::Affix { prefix, suffix, inner } => {
                let literals = [prefix.clone(), suffix.clone()];
                let mut can = |_: usize, needle: &Needle| inner.may_have(needle);
                match placements::place(&literals, needle, &mut can) {
                    Placed::Never => Hits::None,
                    Placed::Always => Hits::All,
                    Placed::Ways(ways) => {
                        let mut hits = Bits::new(self.len);
                        for way in ways {
                            let mut here = Bits::all(self.len);
                            for (_, condition) in way {
                                here.and(&inner.find(&condition)?.into_bits(self.len));
                            }
                            hits.or(&here);
                        }
                        Hits::from(hits)
                    }
                    Placed::Unknown => self.find_spelled(needle),
                }
            }
            Kind::Numbers { format: NumberFormat::Ipv4, numbers } if needle.start && needle.end => {
                typed::parse_ipv4(needle.text()).map_or(Hits::None, |wanted| {
                    Hits::from(Bits::from_fn(numbers.len(), |i| numbers[i] == wanted))
                })
            }
            Kind::Numbers { format, numbers } => {
                let width = match format {
                    NumberFormat::Int => Some(1),
                    NumberFormat::Fixed(width) => Some(*width),
                    NumberFormat::Time(_) | NumberFormat::Ipv4 => None,
                };
                match (width, Digits::new(needle)) {
                    (Some(width), Some(digits)) => digits.find_in(numbers, width),
                    _ => self.find_spelled(needle),
                }
            }
            Kind::Decimal { scales, mantissas } => match Digits::new(needle) {
                Some(digits) => digits.find_in_decimals(scales, mantissas),
                None => self.find_spelled(needle),
            },
            Kind::Hex(hex) => {
                hex.find(needle, self.len).unwrap_or_else(|| self.find_spelled(needle))
            }
        })
    }

    /// One search over all values, spelled out, is much cheaper than one per value.
    fn find_spelled(&self, needle: &Needle) -> Hits {
        let mut spelled = Texts::default();
        (0..self.len).for_each(|i| spelled.push_with(|out| self.append(i, out)));
        let mut hits = Bits::new(self.len);
        spelled.find(needle, &mut hits);
        Hits::from(hits)
    }
}

/// A needle of digits alone, found in numbers without spelling them: the digits at place `p` from the right are
/// `number / 10^p % 10^len`.
struct Digits {
    value: u64,
    len: usize,
    start: bool,
    end: bool,
}

impl Digits {
    /// `None` when there are other characters, or too many.
    fn new(needle: &Needle) -> Option<Self> {
        let value = typed::parse_digits(needle.text())?.unsigned_abs();
        Some(Self { value, len: needle.text().len(), start: needle.start, end: needle.end })
    }

    /// The integers with the needle, of at least `width` digits, padded with zeros.
    fn find_in(&self, numbers: &[i64], width: usize) -> Hits {
        let modulus = 10_u64.pow(self.len as u32);
        Hits::from(Bits::from_fn(numbers.len(), |i| {
            let number = numbers[i];
            // What begins with a digit has no sign.
            !(self.start && number < 0) && self.is_in(number.unsigned_abs(), width, modulus)
        }))
    }

    fn find_in_decimals(&self, scales: &[i64], mantissas: &[i64]) -> Hits {
        let modulus = 10_u64.pow(self.len as u32);
        let in_whole = Self { end: false, ..*self };
        let in_fraction = Self { start: false, ..*self };
        Hits::from(Bits::from_fn(mantissas.len().min(scales.len()), |i| {
            let (mantissa, scale) = (mantissas[i].unsigned_abs(), scales[i]);
            let scale = usize::try_from(scale).unwrap_or(0).min(typed::DIGITS_MAX);
            let is_signed = mantissas[i] < 0;
            if scale == 0 {
                return !(self.start && is_signed) && self.is_in(mantissa, 1, modulus);
            }
            let unit = 10_u64.pow(scale as u32);
            let (whole, fraction) = (mantissa / unit, mantissa % unit);
            let may_be_whole = !self.end && (!self.start || !is_signed);
            (may_be_whole && in_whole.is_in(whole, 1, modulus))
                || (!self.start && in_fraction.is_in(fraction, scale, modulus))
        }))
    }

    /// Whether `number`, padded to `width` digits, has it.
    #[inline]
    fn is_in(&self, number: u64, width: usize, modulus: u64) -> bool {
        let digits = (number.checked_ilog10().unwrap_or(0) as usize + 1).max(width);
        let Some(places) = digits.checked_sub(self.len) else { return false };
        match (self.start, self.end) {
            (true, true) => places == 0 && number == self.value,
            (false, true) => number % modulus == self.value,
            (true, false) => {
                let above = 10_u64.checked_pow(places as u32).map_or(0, |unit| number / unit);
                above == self.value
            }
            (false, false) => {
                let mut rest = number;
                for _ in 0..=places {
                    if rest % modulus == self.value {
                        return true;
                    }
                    rest /= 10;
                }
                false
            }
        }
    }
}

/// Digits before the dashes of a UUID.
const UUID_DIGITS: [usize; 4] = [8, 12, 16, 20];

impl Hex {
    /// The ids with `needle`, searched as they are stored; `None` when it is too short for that.
    fn find(&self, needle: &Needle, len: usize) -> Option<Hits> {
        let text = needle.text();
        let digits: Vec<u8> = text.iter().filter(|b| **b != b'-').map(|b| value(*b)).collect();
        if digits.len() < 4 {
            return None;
        }
        let mut hits = Bits::new(len);
        let last = (self.width * 2).checked_sub(digits.len())?;
        let fits = |at: usize| {
            (!needle.start || at == 0)
                && (!needle.end || at == last)
                && (!self.dashes || dashes_fit(text, at))
        };
        let (bytes, width) = (self.bytes(), self.width);
        if needle.start || needle.end || text.contains(&b'-') {
            // Few places: each id is compared there.
            for at in (0..=last).filter(|at| fits(*at)) {
                let same = |id: &[u8]| {
                    digits.iter().enumerate().all(|(i, digit)| nibble(id, at + i) == *digit)
                };
                let rows = bytes.chunks_exact(width.max(1)).enumerate().filter(|(_, id)| same(id));
                rows.for_each(|(row, _)| hits.set(row));
            }
            return Some(Hits::from(hits));
        }
        // Any place: whole bytes are searched in all ids at once, and single digits beside them compared.
        for odd in 0..2 {
            let whole: Vec<u8> =
                digits[odd..].chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
            let finder = memchr::memmem::Finder::new(&whole);
            let mut from = 0;
            while let Some(at) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
                let found = from + at;
                from = found + 1;
                let (row, byte) = (found / width, found % width);
                let Some(at) = (byte * 2).checked_sub(odd) else { continue };
                let id = self.get(row);
                if at <= last
                    && fits(at)
                    && digits.iter().enumerate().all(|(i, digit)| nibble(id, at + i) == *digit)
                {
                    hits.set(row);
                }
            }
        }
        Some(Hits::from(hits))
    }
}

/// Whether dashes of `text` stand where those of a UUID do, when its first digit is digit `at`.
fn dashes_fit(text: &[u8], at: usize) -> bool {
    let leading = text.iter().take_while(|b| **b == b'-').count();
    // A dash in front belongs before digit `at`.
    if leading > 1 || (leading == 1 && !UUID_DIGITS.contains(&at)) {
        return false;
    }
    let mut digit = at;
    let mut previous_dash = leading == 1;
    for b in &text[leading..] {
        if *b == b'-' {
            if previous_dash || !UUID_DIGITS.contains(&digit) {
                return false;
            }
            previous_dash = true;
        } else {
            // A digit that a dash must stand before, unless it is the first of the needle.
            if UUID_DIGITS.contains(&digit) && digit != at && !previous_dash {
                return false;
            }
            digit += 1;
            previous_dash = false;
        }
    }
    true
}

/// Hexadecimal digit `i` of `id`.
fn nibble(id: &[u8], i: usize) -> u8 {
    let byte = id.get(i / 2).copied().unwrap_or(0);
    if i.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
}

/// The value of a hexadecimal digit; the alphabet was tested before.
fn value(digit: u8) -> u8 {
    char::from(digit).to_digit(16).map_or(0, |d| d as u8)
}

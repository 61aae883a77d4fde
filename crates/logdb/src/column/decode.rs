//! Reading columns: opened without decoding what a query does not touch.
//!
//! Does not own: searching (`find`), columns of columns (`skeletons`).

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, OnceLock};

use model::{Error, Result};
use rustc_hash::FxHashMap;
use storage::codec::{Reader, ints};

use super::codes::{Codes, LazyCodes};
use super::find;
use super::skeletons::Shapes;
use super::{
    AFFIX, CONST, DECIMAL, DEPTH_MAX, DICT, DICT_MAX, FIXED, HEX, INT, IPV4, SHAPES, TEXT, TIME,
    UUID,
};
use crate::bits::Bits;
use crate::needle::Needle;
use crate::texts::{self, Texts};
use crate::typed::{self, DIGITS_MAX, TimeFormat};

/// One column, opened.
#[derive(Debug)]
pub(crate) struct Column {
    pub(super) len: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Const(Vec<u8>),
    Dict { values: Texts, codes: LazyCodes },
    Numbers { format: NumberFormat, numbers: Vec<i64> },
    Decimal { scales: Vec<i64>, mantissas: Vec<i64> },
    Hex(Hex),
    Affix { prefix: Vec<u8>, suffix: Vec<u8>, inner: Box<Column> },
    Text(Texts),
    Shapes(Box<Shapes>),
}

#[derive(Debug)]
pub(super) enum NumberFormat {
    Int,
    Fixed(usize),
    Time(TimeFormat),
    Ipv4,
}

/// Ids of one width, two digits in a byte, where they are stored.
#[derive(Debug)]
pub(super) struct Hex {
    pub(super) dashes: bool,
    pub(super) upper: bool,
    /// Bytes of an id.
    pub(super) width: usize,
    data: Arc<[u8]>,
    range: Range<usize>,
}

impl Hex {
    /// All ids behind each other.
    pub(super) fn bytes(&self) -> &[u8] {
        self.data.get(self.range.clone()).unwrap_or_default()
    }

    /// Id `i`.
    pub(super) fn get(&self, i: usize) -> &[u8] {
        self.bytes().get(i * self.width..(i + 1) * self.width).unwrap_or_default()
    }

    /// Bytes of an id as text.
    pub(super) fn text_len(&self) -> usize {
        self.width * 2 + if self.dashes { 4 } else { 0 }
    }
}

/// Distinct values, and the code of each value among them.
pub(crate) type Dictionary<'c> = (Vec<&'c [u8]>, &'c Codes);

/// A column that is decoded when first needed.
#[derive(Debug)]
pub(crate) struct Lazy {
    data: Arc<[u8]>,
    range: Range<usize>,
    len: usize,
    depth: u8,
    cell: OnceLock<Column>,
}

impl Lazy {
    /// The column of `len` values that `range` of `data` is.
    pub(crate) fn new(data: &Arc<[u8]>, range: Range<usize>, len: usize) -> Self {
        Self::nested(data, range, len, 0)
    }

    pub(super) fn nested(data: &Arc<[u8]>, range: Range<usize>, len: usize, depth: u8) -> Self {
        Self { data: Arc::clone(data), range, len, depth, cell: OnceLock::new() }
    }

    /// Values it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The column, decoded.
    pub(crate) fn get(&self) -> Result<&Column> {
        if let Some(column) = self.cell.get() {
            return Ok(column);
        }
        let column = Column::at(&self.data, self.range.clone(), self.len, self.depth)?;
        Ok(self.cell.get_or_init(|| column))
    }

    /// Whether a value may have `needle`, as far as that can be told without decoding.
    pub(super) fn may_have(&self, needle: &Needle) -> bool {
        match self.cell.get() {
            Some(column) => column.may_have(needle),
            None => {
                let bytes = self.data.get(self.range.clone()).unwrap_or_default();
                find::may_have_encoded(bytes, needle)
            }
        }
    }

    /// Bytes of memory it takes, with what is decoded.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.cell.get().map_or(0, Column::memory_bytes)
    }
}

impl Column {
    /// Opens the column of `len` values that `data` is.
    pub(crate) fn open(data: Arc<[u8]>, len: usize) -> Result<Self> {
        let end = data.len();
        Self::at(&data, 0..end, len, 0)
    }

    /// Values it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn at(data: &Arc<[u8]>, range: Range<usize>, len: usize, depth: u8) -> Result<Self> {
        if len == 0 {
            return Ok(Self { len, kind: Kind::Const(Vec::new()) });
        }
        let base = range.start;
        let bytes = data.get(range).unwrap_or_default();
        let mut reader = Reader::new(bytes);
        let tag = reader.u8()?;
        let kind = match tag {
            SHAPES if depth < DEPTH_MAX => {
                Kind::Shapes(Box::new(Shapes::read(&mut reader, data, base, len, depth)?))
            }
            AFFIX => {
                let (prefix, suffix) = (reader.bytes()?.to_vec(), reader.bytes()?.to_vec());
                let tag = reader.u8()?;
                let kind = read_plain(tag, &mut reader, data, base, len)?;
                Kind::Affix { prefix, suffix, inner: Box::new(Self { len, kind }) }
            }
            _ => read_plain(tag, &mut reader, data, base, len)?,
        };
        Ok(Self { len, kind })
    }

    /// Visits the selected values in ascending order.
    pub(crate) fn for_each(
        &self,
        select: &Bits,
        visit: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<()> {
        self.try_for_each(select, &mut |row, value| {
            visit(row, value);
            ControlFlow::Continue(())
        })
        .map(drop)
    }

    /// Visits the selected values in ascending order until `visit` breaks off.
    pub(crate) fn try_for_each(
        &self,
        select: &Bits,
        visit: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        if let Kind::Shapes(shapes) = &self.kind {
            return shapes.try_for_each(select, visit);
        }
        self.prepare()?;
        let mut scratch = Vec::new();
        for i in select.ones() {
            let flow = match &self.kind {
                Kind::Const(value) => visit(i, value),
                Kind::Dict { values, codes } => visit(i, dict_value(values, codes, i)),
                Kind::Text(texts) => visit(i, texts.get(i)),
                _ => {
                    scratch.clear();
                    self.append(i, &mut scratch);
                    visit(i, &scratch)
                }
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The distinct values and their codes, if it is stored as such.
    pub(crate) fn dictionary(&self) -> Result<Option<Dictionary<'_>>> {
        Ok(match &self.kind {
            Kind::Const(value) => Some((vec![value.as_slice()], &Codes::Zeros(0))),
            Kind::Dict { values, codes } => {
                Some(((0..values.len()).map(|i| values.get(i)).collect(), codes.get()?))
            }
            _ => None,
        })
    }

    /// The distinct values, and which of them each row has; each value is looked at.
    pub(crate) fn coded(&self) -> Result<(Vec<Vec<u8>>, Vec<u32>)> {
        let mut values: Vec<Vec<u8>> = Vec::new();
        let mut known: FxHashMap<Vec<u8>, u32> = FxHashMap::default();
        let mut codes = Vec::with_capacity(self.len);
        self.for_each(&Bits::all(self.len), &mut |_, value| {
            let code = known.get(value).copied().unwrap_or_else(|| {
                let code = values.len() as u32;
                values.push(value.to_vec());
                known.insert(value.to_vec(), code);
                code
            });
            codes.push(code);
        })?;
        Ok((values, codes))
    }

    /// Lengths in bytes of all values, without putting values together.
    pub(crate) fn lens(&self) -> Result<Vec<u32>> {
        let mut lens = vec![0; self.len];
        self.add_lens(&mut lens)?;
        Ok(lens)
    }

    /// Adds the length of each value to `lens`, which has as many.
    pub(super) fn add_lens(&self, lens: &mut [u32]) -> Result<()> {
        // Lines have at most some hundred KiB.
        let add_to_all = |lens: &mut [u32], len: usize| {
            lens.iter_mut().for_each(|total| *total += len as u32);
        };
        match &self.kind {
            Kind::Shapes(shapes) => shapes.add_lens(lens)?,
            Kind::Const(value) => add_to_all(lens, value.len()),
            Kind::Hex(hex) => add_to_all(lens, hex.text_len()),
            Kind::Dict { values, codes } => {
                let known: Vec<u32> =
                    (0..values.len()).map(|i| values.get(i).len() as u32).collect();
                codes.get()?.for_each(|i, code| lens[i] += known[code]);
            }
            Kind::Affix { prefix, suffix, inner } => {
                inner.add_lens(lens)?;
                add_to_all(lens, prefix.len() + suffix.len());
            }
            Kind::Numbers { format: NumberFormat::Time(format), .. }
                if format.digits != typed::TRIMMED =>
            {
                add_to_all(lens, self.value_len(0));
            }
            _ => {
                lens.iter_mut().enumerate().for_each(|(i, len)| *len += self.value_len(i) as u32);
            }
        }
        Ok(())
    }

    /// Decodes what reading single values takes for granted.
    pub(super) fn prepare(&self) -> Result<()> {
        match &self.kind {
            Kind::Dict { codes, .. } => codes.get().map(drop),
            _ => Ok(()),
        }
    }

    /// Bytes of memory that what is decoded takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let own = match &self.kind {
            Kind::Const(value) => value.capacity(),
            Kind::Dict { values, codes } => {
                values.memory_bytes() + codes.decoded().map_or(0, Codes::memory_bytes)
            }
            Kind::Numbers { numbers, .. } => numbers.capacity() * size_of::<i64>(),
            Kind::Decimal { scales, mantissas } => {
                (scales.capacity() + mantissas.capacity()) * size_of::<i64>()
            }
            Kind::Hex(_) => 0,
            Kind::Affix { prefix, suffix, inner } => {
                prefix.capacity() + suffix.capacity() + inner.memory_bytes()
            }
            Kind::Text(texts) => texts.memory_bytes(),
            Kind::Shapes(shapes) => shapes.memory_bytes(),
        };
        own + size_of::<Self>()
    }

    /// Bytes of value `i`.
    fn value_len(&self, i: usize) -> usize {
        match &self.kind {
            Kind::Const(value) => value.len(),
            Kind::Text(texts) => texts.get(i).len(),
            Kind::Hex(hex) => hex.text_len(),
            // Measured as a whole.
            Kind::Dict { .. } | Kind::Affix { .. } | Kind::Shapes(_) => 0,
            Kind::Decimal { scales, mantissas } => {
                let scale = scales.get(i).map_or(0, |s| usize::try_from(*s).unwrap_or(0));
                let scale = scale.min(DIGITS_MAX);
                let mantissa = mantissas.get(i).copied().unwrap_or(0);
                let digits = digits(mantissa.unsigned_abs()).max(scale + 1);
                digits + usize::from(scale > 0) + usize::from(mantissa < 0)
            }
            Kind::Numbers { format, numbers } => {
                let number = numbers.get(i).copied().unwrap_or(0);
                match format {
                    NumberFormat::Int => digits(number.unsigned_abs()) + usize::from(number < 0),
                    NumberFormat::Fixed(width) => digits(number.unsigned_abs()).max(*width),
                    NumberFormat::Ipv4 => {
                        let part = |shift: u32| digits((number >> shift & 255).unsigned_abs());
                        part(24) + part(16) + part(8) + part(0) + 3
                    }
                    NumberFormat::Time(format) if format.digits != typed::TRIMMED => {
                        let clock = if format.layout == b'/' { 20 } else { 19 };
                        let fraction = usize::from(format.digits.min(9));
                        clock + usize::from(fraction > 0) + fraction + format.zone.len()
                    }
                    NumberFormat::Time(format) => {
                        let mut text = Vec::with_capacity(40);
                        typed::format_time(number, format, &mut text);
                        text.len()
                    }
                }
            }
        }
    }

    /// Clears the bits of `select` whose value fails `test`; asks once per distinct value where it can.
    pub(crate) fn retain(
        &self,
        select: &mut Bits,
        test: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        match &self.kind {
            Kind::Const(value) => {
                if !select.is_clear() && !test(value) {
                    *select = Bits::new(self.len);
                }
            }
            Kind::Dict { values, codes } => {
                let keep = Bits::from_fn(values.len(), |i| test(values.get(i)));
                select.and(&codes.get()?.among(&keep));
            }
            _ => {
                let mut failed = Vec::new();
                self.for_each(select, &mut |i, value| {
                    if !test(value) {
                        failed.push(i);
                    }
                })?;
                failed.into_iter().for_each(|i| select.clear(i));
            }
        }
        Ok(())
    }

    /// Appends value `i`.
    pub(super) fn append(&self, i: usize, out: &mut Vec<u8>) {
        let number = |numbers: &[i64]| numbers.get(i).copied().unwrap_or(0);
        match &self.kind {
            Kind::Const(value) => out.extend_from_slice(value),
            Kind::Dict { values, codes } => out.extend_from_slice(dict_value(values, codes, i)),
            Kind::Numbers { format, numbers } => match format {
                NumberFormat::Int => typed::format_int(number(numbers), out),
                NumberFormat::Fixed(width) => {
                    typed::format_digits(number(numbers).unsigned_abs(), *width, out);
                }
                NumberFormat::Time(format) => typed::format_time(number(numbers), format, out),
                NumberFormat::Ipv4 => typed::format_ipv4(number(numbers), out),
            },
            Kind::Decimal { scales, mantissas } => {
                let scale = usize::try_from(number(scales)).unwrap_or(0).min(DIGITS_MAX);
                typed::format_decimal(number(mantissas), scale, out);
            }
            Kind::Hex(hex) if hex.dashes => typed::format_uuid(hex.get(i), hex.upper, out),
            Kind::Hex(hex) => typed::format_hex(hex.get(i), hex.upper, out),
            Kind::Affix { prefix, suffix, inner } => {
                out.extend_from_slice(prefix);
                inner.append(i, out);
                out.extend_from_slice(suffix);
            }
            Kind::Text(texts) => out.extend_from_slice(texts.get(i)),
            // Put together by a `Feed`, never one by one.
            Kind::Shapes(_) => {}
        }
    }
}

/// Decimal digits of `value`.
fn digits(value: u64) -> usize {
    value.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Value `i` of a dictionary whose codes are [prepared](Column::prepare).
fn dict_value<'a>(values: &'a Texts, codes: &LazyCodes, i: usize) -> &'a [u8] {
    codes.decoded().map_or(&[], |codes| values.get(codes.get(i)))
}

/// The encodings that contain no other column.
fn read_plain(
    tag: u8,
    reader: &mut Reader<'_>,
    data: &Arc<[u8]>,
    base: usize,
    len: usize,
) -> Result<Kind> {
    let numbers = |reader: &mut Reader<'_>| {
        let mut numbers = Vec::new();
        ints::decode(reader, len, &mut numbers).map(|()| numbers)
    };
    Ok(match tag {
        CONST => Kind::Const(reader.bytes()?.to_vec()),
        DICT => {
            let count = reader.count(DICT_MAX)?;
            let values = texts::decode(reader, count)?;
            let start = base + reader.position();
            let range = start..start + reader.remaining();
            Kind::Dict { codes: LazyCodes::new(data, range, len, count), values }
        }
        INT => Kind::Numbers { format: NumberFormat::Int, numbers: numbers(reader)? },
        FIXED => {
            let format = NumberFormat::Fixed(reader.count(DIGITS_MAX)?);
            Kind::Numbers { format, numbers: numbers(reader)? }
        }
        IPV4 => Kind::Numbers { format: NumberFormat::Ipv4, numbers: numbers(reader)? },
        DECIMAL => Kind::Decimal { scales: numbers(reader)?, mantissas: numbers(reader)? },
        TIME => {
            let (layout, point, digits) = (reader.u8()?, reader.u8()?, reader.u8()?);
            let zone = reader.bytes()?.to_vec();
            let format = NumberFormat::Time(TimeFormat { layout, point, digits, zone });
            Kind::Numbers { format, numbers: numbers(reader)? }
        }
        HEX | UUID => {
            let upper = reader.u8()? != 0;
            let width = if tag == UUID { 16 } else { reader.count(64)? };
            let start = base + reader.position();
            let bytes = reader.take(width.saturating_mul(len))?.len();
            let (data, range) = (Arc::clone(data), start..start + bytes);
            Kind::Hex(Hex { dashes: tag == UUID, upper, width, data, range })
        }
        TEXT => Kind::Text(texts::decode(reader, len)?),
        _ => return Err(Error::corrupt(format!("column has the unknown tag {tag}"))),
    })
}

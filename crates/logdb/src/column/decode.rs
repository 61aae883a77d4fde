//! Reading columns: opened without decoding what a query does not touch, searched without building lines.

use std::cell::OnceCell;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use memchr::memmem::Finder;
use model::{Error, Result};
use rustc_hash::FxHashMap;
use storage::codec::{Reader, ints};

use super::{
    AFFIX, CONST, DECIMAL, DEPTH_MAX, DICT, DICT_MAX, FIXED, HEX, INT, IPV4, SHAPES, TEXT, TIME,
    UUID,
};
use crate::bits::Bits;
use crate::texts::{self, Texts};
use crate::typed::{self, DIGITS_MAX, TimeFormat};

/// Values all columns of one `SHAPES` may have together; far above what a block's bytes allow.
const VALUES_MAX: usize = 1 << 24;
/// Shapes one column may have.
const SHAPES_MAX: usize = 256;
/// How a skeleton's slots are written on disk.
const SLOT_ON_DISK: u8 = 0xFE;

/// One column, opened.
#[derive(Debug)]
pub(crate) struct Column {
    len: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Const(Vec<u8>),
    Dict { values: Texts, codes: Vec<u16> },
    Numbers { format: NumberFormat, numbers: Vec<i64> },
    Decimal { scales: Vec<i64>, mantissas: Vec<i64> },
    Hex { dashes: bool, upper: bool, width: usize, bytes: Vec<u8> },
    Affix { prefix: Vec<u8>, suffix: Vec<u8>, inner: Box<Column> },
    Text(Texts),
    Shapes(Box<Shapes>),
}

#[derive(Debug)]
enum NumberFormat {
    Int,
    Fixed(usize),
    Time(TimeFormat),
    Ipv4,
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

    fn at(data: &Arc<[u8]>, range: Range<usize>, len: usize, depth: u8) -> Result<Self> {
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
                let kind = read_plain(tag, &mut reader, len)?;
                Kind::Affix { prefix, suffix, inner: Box::new(Self { len, kind }) }
            }
            _ => read_plain(tag, &mut reader, len)?,
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

    /// The distinct values, and which of them each row has.
    pub(crate) fn coded(&self) -> Result<(Vec<Vec<u8>>, Vec<u32>)> {
        match &self.kind {
            Kind::Const(value) => Ok((vec![value.clone()], vec![0; self.len])),
            Kind::Dict { values, codes } => {
                let values = (0..values.len()).map(|i| values.get(i).to_vec()).collect();
                Ok((values, codes.iter().map(|code| u32::from(*code)).collect()))
            }
            _ => {
                let mut all = Bits::new(self.len);
                all.set_range(0, self.len);
                let mut values: Vec<Vec<u8>> = Vec::new();
                let mut known: FxHashMap<Vec<u8>, u32> = FxHashMap::default();
                let mut codes = Vec::with_capacity(self.len);
                self.for_each(&all, &mut |_, value| {
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
        }
    }

    /// Visits the lengths in bytes of the selected values, ascending, without putting values together.
    pub(crate) fn lens(&self, select: &Bits, visit: &mut dyn FnMut(usize)) -> Result<()> {
        match &self.kind {
            Kind::Shapes(shapes) => return shapes.lens(select, visit),
            _ => select.ones().for_each(|i| visit(self.value_len(i))),
        }
        Ok(())
    }

    /// Bytes of value `i`.
    fn value_len(&self, i: usize) -> usize {
        match &self.kind {
            Kind::Const(value) => value.len(),
            Kind::Dict { values, codes } => dict_value(values, codes, i).len(),
            Kind::Text(texts) => texts.get(i).len(),
            Kind::Hex { dashes, width, .. } => width * 2 + if *dashes { 4 } else { 0 },
            Kind::Affix { prefix, suffix, inner } => {
                prefix.len() + inner.value_len(i) + suffix.len()
            }
            Kind::Shapes(_) => 0,
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
                let keep: Vec<bool> = (0..values.len()).map(|i| test(values.get(i))).collect();
                for (i, code) in codes.iter().enumerate() {
                    if !keep.get(usize::from(*code)).copied().unwrap_or(false) {
                        select.clear(i);
                    }
                }
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

    /// The rows whose value contains `needle`; exact.
    pub(crate) fn find(&self, needle: &Finder<'_>) -> Result<Bits> {
        let mut hits = Bits::new(self.len);
        match &self.kind {
            Kind::Const(value) => {
                if needle.find(value).is_some() {
                    hits.set_range(0, self.len);
                }
            }
            Kind::Dict { values, codes } => {
                let mut found = Bits::new(values.len());
                values.find(needle, &mut found);
                if !found.is_clear() {
                    let rows =
                        codes.iter().enumerate().filter(|(_, c)| found.get(usize::from(**c)));
                    rows.for_each(|(i, _)| hits.set(i));
                }
            }
            Kind::Text(texts) => texts.find(needle, &mut hits),
            Kind::Shapes(shapes) => return shapes.find(needle),
            _ => {
                if self.can_spell(needle.needle()) {
                    // One search over all values is much cheaper than one per value.
                    let mut spelled = Texts::default();
                    (0..self.len).for_each(|i| spelled.push_with(|out| self.append(i, out)));
                    spelled.find(needle, &mut hits);
                }
            }
        }
        Ok(hits)
    }

    /// Whether the values' alphabet has all bytes of `needle`.
    fn can_spell(&self, needle: &[u8]) -> bool {
        let all = |f: fn(&u8) -> bool| needle.iter().all(f);
        match &self.kind {
            Kind::Numbers { format: NumberFormat::Int, .. } => {
                all(|b| b.is_ascii_digit() || *b == b'-')
            }
            Kind::Numbers { format: NumberFormat::Fixed(_), .. } => all(u8::is_ascii_digit),
            Kind::Numbers { format: NumberFormat::Ipv4, .. } => {
                all(|b| b.is_ascii_digit() || *b == b'.')
            }
            Kind::Numbers { format: NumberFormat::Time(format), .. } if format.layout != b'/' => {
                all(|b| {
                    b.is_ascii_digit()
                        || matches!(b, b'-' | b'+' | b':' | b'.' | b',' | b' ' | b'T' | b'Z')
                })
            }
            Kind::Decimal { .. } => all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.')),
            Kind::Hex { .. } => all(|b| b.is_ascii_hexdigit() || *b == b'-'),
            _ => true,
        }
    }

    /// Appends value `i`.
    fn append(&self, i: usize, out: &mut Vec<u8>) {
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
            Kind::Hex { dashes, upper, width, bytes } => {
                let bytes = bytes.get(i * width..(i + 1) * width).unwrap_or_default();
                if *dashes {
                    typed::format_uuid(bytes, *upper, out);
                } else {
                    typed::format_hex(bytes, *upper, out);
                }
            }
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

fn dict_value<'a>(values: &'a Texts, codes: &[u16], i: usize) -> &'a [u8] {
    codes.get(i).map_or(&[], |code| values.get(usize::from(*code)))
}

/// The encodings that contain no other column.
fn read_plain(tag: u8, reader: &mut Reader<'_>, len: usize) -> Result<Kind> {
    let numbers = |reader: &mut Reader<'_>| {
        let mut numbers = Vec::new();
        ints::decode(reader, len, &mut numbers).map(|()| numbers)
    };
    Ok(match tag {
        CONST => Kind::Const(reader.bytes()?.to_vec()),
        DICT => {
            let count = reader.count(DICT_MAX)?;
            let values = texts::decode(reader, count)?;
            Kind::Dict { codes: read_codes(reader, len, count)?, values }
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
            let bytes = reader.take(width.saturating_mul(len))?.to_vec();
            Kind::Hex { dashes: tag == UUID, upper, width, bytes }
        }
        TEXT => Kind::Text(texts::decode(reader, len)?),
        _ => return Err(Error::corrupt(format!("column has the unknown tag {tag}"))),
    })
}

fn read_codes(reader: &mut Reader<'_>, len: usize, distinct: usize) -> Result<Vec<u16>> {
    if distinct <= 1 {
        return Ok(vec![0; len]);
    }
    let codes: Vec<u16> = if reader.u8()? == 0 {
        let mut wide = Vec::new();
        ints::decode(reader, len, &mut wide)?;
        wide.into_iter().map(|c| u16::try_from(c).unwrap_or(u16::MAX)).collect()
    } else {
        let wide = distinct > 256;
        let mut raw = Vec::new();
        crate::pack::take_frame(reader, if wide { len * 2 } else { len }, &mut raw)?;
        let (low, high) = raw.split_at_checked(len).unwrap_or_default();
        let high = high.iter().copied().chain(std::iter::repeat(0));
        low.iter().zip(high).map(|(low, high)| u16::from_le_bytes([*low, high])).collect()
    };
    match codes.iter().find(|c| usize::from(**c) >= distinct) {
        Some(code) => Err(Error::corrupt(format!("code {code} is not below {distinct}"))),
        None => Ok(codes),
    }
}

/// Values taken apart: skeletons, and columns for what varies.
#[derive(Debug)]
struct Shapes {
    skeletons: Vec<Skeleton>,
    codes: Vec<u16>,
    columns: Vec<Lazy>,
    /// Bytes that stand beside slots.
    edges: Box<[bool; 256]>,
}

#[derive(Debug)]
struct Skeleton {
    /// One more than slots.
    literals: Vec<Vec<u8>>,
    /// Column of each slot.
    columns: Vec<usize>,
}

/// A column that is decoded when first needed.
#[derive(Debug)]
struct Lazy {
    data: Arc<[u8]>,
    range: Range<usize>,
    len: usize,
    depth: u8,
    cell: OnceCell<Column>,
}

impl Lazy {
    fn get(&self) -> Result<&Column> {
        if let Some(column) = self.cell.get() {
            return Ok(column);
        }
        let column = Column::at(&self.data, self.range.clone(), self.len, self.depth)?;
        Ok(self.cell.get_or_init(|| column))
    }
}

/// One column of a pass over rows: its values in order.
struct Feed<'c> {
    column: &'c Column,
    /// For a column of columns: the values the pass needs, put together.
    built: Option<Texts>,
    /// How many of those were taken.
    taken: usize,
    /// Next value of the column.
    next: usize,
}

impl Feed<'_> {
    fn append(&mut self, out: &mut Vec<u8>) {
        match &self.built {
            Some(texts) => out.extend_from_slice(texts.get(self.taken)),
            None => self.column.append(self.next, out),
        }
        self.taken += 1;
        self.next += 1;
    }

    fn take_len(&mut self) -> usize {
        let len = match &self.built {
            Some(texts) => texts.get(self.taken).len(),
            None => self.column.value_len(self.next),
        };
        self.taken += 1;
        self.next += 1;
        len
    }
}

impl Shapes {
    fn read(
        reader: &mut Reader<'_>,
        data: &Arc<[u8]>,
        base: usize,
        len: usize,
        depth: u8,
    ) -> Result<Self> {
        let count = reader.count(SHAPES_MAX)?;
        let texts = texts::decode(reader, count)?;
        let mut skeletons = Vec::with_capacity(count);
        for i in 0..count {
            let literals: Vec<Vec<u8>> =
                texts.get(i).split(|b| *b == SLOT_ON_DISK).map(<[u8]>::to_vec).collect();
            let columns = (1..literals.len()).map(|_| reader.count(VALUES_MAX));
            let columns = columns.collect::<Result<Vec<usize>>>()?;
            skeletons.push(Skeleton { literals, columns });
        }
        let codes = read_codes(reader, len, count)?;
        let column_count = reader.count(reader.remaining())?;
        let lens = value_counts(&skeletons, &codes, column_count)?;
        let mut columns = Vec::with_capacity(column_count);
        for len in lens {
            let bytes = reader.count(reader.remaining())?;
            let start = base + reader.position();
            reader.take(bytes)?;
            let range = start..start + bytes;
            columns.push(Lazy {
                data: Arc::clone(data),
                range,
                len,
                depth: depth + 1,
                cell: OnceCell::new(),
            });
        }
        let mut edges = Box::new([false; 256]);
        for skeleton in &skeletons {
            let slots = skeleton.columns.len();
            for literal in skeleton.literals.iter().take(slots) {
                literal.last().iter().for_each(|b| edges[usize::from(**b)] = true);
            }
            for literal in skeleton.literals.iter().skip(1) {
                literal.first().iter().for_each(|b| edges[usize::from(**b)] = true);
            }
        }
        Ok(Self { skeletons, codes, columns, edges })
    }

    fn for_each(&self, select: &Bits, visit: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        self.try_for_each(select, &mut |row, value| {
            visit(row, value);
            ControlFlow::Continue(())
        })
        .map(drop)
    }

    fn try_for_each(
        &self,
        select: &Bits,
        visit: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        if select.is_clear() {
            return Ok(ControlFlow::Continue(()));
        }
        let mut feeds = self.feeds(select)?;
        let mut line = Vec::new();
        for (row, code) in self.codes.iter().enumerate() {
            let Some(skeleton) = self.skeletons.get(usize::from(*code)) else { continue };
            if !select.get(row) {
                skeleton.columns.iter().for_each(|c| feeds[*c].next += 1);
                continue;
            }
            line.clear();
            for (literal, column) in skeleton.literals.iter().zip(&skeleton.columns) {
                line.extend_from_slice(literal);
                feeds[*column].append(&mut line);
            }
            line.extend_from_slice(skeleton.literals.last().map_or(&[], Vec::as_slice));
            if visit(row, &line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn lens(&self, select: &Bits, visit: &mut dyn FnMut(usize)) -> Result<()> {
        if select.is_clear() {
            return Ok(());
        }
        let mut feeds = self.feeds(select)?;
        let fixed: Vec<usize> =
            self.skeletons.iter().map(|s| s.literals.iter().map(Vec::len).sum()).collect();
        for (row, code) in self.codes.iter().enumerate() {
            let Some(skeleton) = self.skeletons.get(usize::from(*code)) else { continue };
            let wanted = select.get(row);
            let mut len = fixed[usize::from(*code)];
            for column in &skeleton.columns {
                if wanted {
                    len += feeds[*column].take_len();
                } else {
                    feeds[*column].next += 1;
                }
            }
            if wanted {
                visit(len);
            }
        }
        Ok(())
    }

    /// Opens all columns for one pass over the selected rows.
    fn feeds(&self, select: &Bits) -> Result<Vec<Feed<'_>>> {
        let columns = self.columns.iter().map(Lazy::get).collect::<Result<Vec<_>>>()?;
        let mut needed: Vec<Option<Bits>> = columns
            .iter()
            .map(|c| matches!(c.kind, Kind::Shapes(_)).then(|| Bits::new(c.len)))
            .collect();
        if needed.iter().any(Option::is_some) {
            let mut cursors = vec![0_usize; columns.len()];
            for (row, code) in self.codes.iter().enumerate() {
                let Some(skeleton) = self.skeletons.get(usize::from(*code)) else { continue };
                for column in &skeleton.columns {
                    if let (true, Some(bits)) = (select.get(row), &mut needed[*column]) {
                        bits.set(cursors[*column]);
                    }
                    cursors[*column] += 1;
                }
            }
        }
        let mut feeds = Vec::with_capacity(columns.len());
        for (column, needed) in columns.into_iter().zip(needed) {
            let mut built = None;
            if let Some(needed) = needed {
                let mut texts = Texts::default();
                column.for_each(&needed, &mut |_, value| texts.push(value))?;
                built = Some(texts);
            }
            feeds.push(Feed { column, built, taken: 0, next: 0 });
        }
        Ok(feeds)
    }

    /// A piece of the needle without any byte that stands beside a slot lies inside one slot or inside one literal. So
    /// pieces are searched column by column; only if the needle is more than one piece, lines are put together to check.
    fn find(&self, needle: &Finder<'_>) -> Result<Bits> {
        let text = needle.needle();
        let mut pieces: Vec<&[u8]> = text.split(|b| self.edges[usize::from(*b)]).collect();
        let exact = pieces.len() == 1 && !text.is_empty();
        pieces.retain(|p| !p.is_empty());
        pieces.sort_unstable_by_key(|p| std::cmp::Reverse(p.len()));
        pieces.dedup();
        let mut hits = Bits::new(self.codes.len());
        hits.set_range(0, self.codes.len());
        for piece in pieces {
            hits.and(&self.find_piece(piece)?);
            if hits.is_clear() {
                return Ok(hits);
            }
        }
        if !exact {
            let mut found = Bits::new(self.codes.len());
            self.for_each(&hits, &mut |row, line| {
                if needle.find(line).is_some() {
                    found.set(row);
                }
            })?;
            hits = found;
        }
        Ok(hits)
    }

    fn find_piece(&self, piece: &[u8]) -> Result<Bits> {
        let finder = Finder::new(piece);
        let in_literal: Vec<bool> = self
            .skeletons
            .iter()
            .map(|s| s.literals.iter().any(|l| finder.find(l).is_some()))
            .collect();
        let mut hits = Bits::new(self.codes.len());
        if in_literal.iter().all(|hit| *hit) {
            hits.set_range(0, self.codes.len());
            return Ok(hits);
        }
        let mut found: Vec<Option<Bits>> = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let bits = column.get()?.find(&finder)?;
            found.push(Some(bits).filter(|b| !b.is_clear()));
        }
        if found.iter().all(Option::is_none) && !in_literal.contains(&true) {
            return Ok(hits);
        }
        let mut cursors = vec![0_usize; self.columns.len()];
        for (row, code) in self.codes.iter().enumerate() {
            let code = usize::from(*code);
            let Some(skeleton) = self.skeletons.get(code) else { continue };
            let mut hit = in_literal[code];
            for column in &skeleton.columns {
                hit = hit || found[*column].as_ref().is_some_and(|b| b.get(cursors[*column]));
                cursors[*column] += 1;
            }
            if hit {
                hits.set(row);
            }
        }
        Ok(hits)
    }
}

/// How many values each column must have, given the rows' shapes.
fn value_counts(skeletons: &[Skeleton], codes: &[u16], columns: usize) -> Result<Vec<usize>> {
    let mut rows = vec![0_usize; skeletons.len()];
    for code in codes {
        if let Some(count) = rows.get_mut(usize::from(*code)) {
            *count += 1;
        }
    }
    let mut counts = vec![0_usize; columns];
    let mut total = 0_usize;
    for (skeleton, rows) in skeletons.iter().zip(rows) {
        for column in &skeleton.columns {
            let Some(count) = counts.get_mut(*column) else {
                return Err(Error::corrupt(format!("slot goes to column {column} of {columns}")));
            };
            *count += rows;
            total += rows;
        }
    }
    if total > VALUES_MAX {
        return Err(Error::corrupt(format!(
            "columns hold {total} values; the limit is {VALUES_MAX}"
        )));
    }
    Ok(counts)
}

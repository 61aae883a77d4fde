//! Columns of texts: distinct ones once where they repeat, compressed; and the tools that all column encoders share.
//!
//! Does not own: columns of numbers (`storage::codec`). Drawn in `docs/format/traces.md`.

use std::fmt;

use memchr::memmem;
use model::{Error, ErrorKind, Result};
use storage::codec::{Reader, blob, ints, put_count};

use crate::texts::{Text, Texts};

/// Plain bytes that the texts of one column may have.
const TEXT_BYTES_MAX: usize = 1 << 30;
/// Fewer bytes than this are not worth compressing.
const PACKED_BYTES_MIN: usize = 48;
const RAW: u8 = 0;
const ZSTD: u8 = 1;

/// Encodes columns; holds what is used again and again.
pub(crate) struct Encoder {
    compressor: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
    /// By number of a text: in which column it was seen last, and its code there.
    seen: Vec<(u32, u32)>,
    column: u32,
    /// Distinct texts of the column that was encoded last.
    distinct: Vec<Text>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

fn refused(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Bug, "cannot compress with zstd").with_source(e)
}

impl Encoder {
    /// An encoder that compresses with `level` of zstd.
    pub(crate) fn new(level: i32) -> Result<Self> {
        let compressor = zstd::bulk::Compressor::new(level).map_err(refused)?;
        Ok(Self {
            compressor,
            packed: Vec::new(),
            seen: Vec::new(),
            column: 0,
            distinct: Vec::new(),
        })
    }

    /// Appends `plain`, compressed if that makes it smaller, with its length.
    pub(crate) fn pack(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if plain.len() >= PACKED_BYTES_MIN {
            self.packed.clear();
            self.packed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
            let len =
                self.compressor.compress_to_buffer(plain, &mut self.packed).map_err(refused)?;
            if len < plain.len() {
                let mut head = Vec::with_capacity(5);
                put_count(&mut head, plain.len());
                put_count(out, 1 + head.len() + len);
                out.push(ZSTD);
                out.extend_from_slice(&head);
                out.extend_from_slice(&self.packed);
                return Ok(());
            }
        }
        put_count(out, 1 + plain.len());
        out.push(RAW);
        out.extend_from_slice(plain);
        Ok(())
    }

    /// Appends a column of texts; an empty one appends nothing.
    pub(crate) fn texts(
        &mut self,
        texts: &Texts,
        column: &[Text],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.distinct.clear();
        if column.is_empty() {
            return Ok(());
        }
        if self.seen.len() < texts.len() {
            self.seen.resize(texts.len(), (0, 0));
        }
        // Columns of 4 billion blocks later, an old note could be taken for a new one.
        if self.column == u32::MAX {
            self.seen.fill((0, 0));
            self.column = 0;
        }
        self.column += 1;
        let mut distinct = std::mem::take(&mut self.distinct);
        let mut codes = Vec::with_capacity(column.len());
        for text in column {
            let seen = &mut self.seen[*text as usize];
            if seen.0 != self.column {
                *seen = (self.column, distinct.len() as u32);
                distinct.push(*text);
            }
            codes.push(i64::from(seen.1));
        }
        // Codes of texts that hardly repeat are larger than what they save.
        let is_plain = distinct.len() > column.len() / 2;
        let stored = if is_plain { column } else { &distinct };
        put_count(out, stored.len());
        if !is_plain {
            ints::encode(&codes, out);
        }
        let lengths: Vec<i64> = stored.iter().map(|t| texts.get(*t).len() as i64).collect();
        ints::encode(&lengths, out);
        let mut plain = Vec::with_capacity(lengths.iter().sum::<i64>() as usize);
        stored.iter().for_each(|t| plain.extend_from_slice(texts.get(*t)));
        self.distinct = distinct;
        self.pack(&plain, out)
    }

    /// Distinct texts of the column that was encoded last.
    pub(crate) fn distinct(&self) -> &[Text] {
        &self.distinct
    }
}

/// Takes what [`Encoder::pack`] wrote.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt); so for all that decode here.
pub(crate) fn unpack(reader: &mut Reader<'_>) -> Result<Vec<u8>> {
    match reader.bytes()?.split_first() {
        Some((&RAW, plain)) => Ok(plain.to_vec()),
        Some((&ZSTD, packed)) => blob::decompress_zstd(packed, TEXT_BYTES_MAX),
        _ => Err(Error::corrupt("texts are packed in an unknown way")),
    }
}

/// Takes `count` numbers.
pub(crate) fn take_ints(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>> {
    let mut values = Vec::new();
    ints::decode(reader, count, &mut values)?;
    Ok(values)
}

/// Takes `count` numbers that are all below `end`.
pub(crate) fn take_codes(reader: &mut Reader<'_>, count: usize, end: usize) -> Result<Vec<u32>> {
    let mut codes: Vec<u32> = Vec::new();
    let mut all_bits = 0;
    ints::decode_blocks(reader, count, count, |block| {
        all_bits |= block.iter().fold(0, |bits, code| bits | code.cast_unsigned());
        codes.extend(block.iter().map(|code| *code as u32));
    })?;
    let largest = codes.iter().max().map_or(0, |code| *code as usize);
    if count > 0 && (all_bits > u64::from(u32::MAX) || largest >= end) {
        return Err(Error::corrupt(format!("code of a column is not below {end}")));
    }
    Ok(codes)
}

/// A column of texts, decoded.
#[derive(Debug, Default)]
pub(crate) struct TextColumn {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// `None`: the values stand there one by one.
    codes: Option<Vec<u32>>,
}

impl TextColumn {
    /// Takes a column of `count` texts.
    pub(crate) fn decode(reader: &mut Reader<'_>, count: usize) -> Result<Self> {
        if count == 0 {
            return Ok(Self::default());
        }
        let distinct = reader.count(count)?;
        let is_plain = distinct > count / 2;
        if is_plain && distinct != count {
            return Err(Error::corrupt(format!("column has {distinct} texts for {count} values")));
        }
        let codes = if is_plain { None } else { Some(take_codes(reader, count, distinct)?) };
        let mut end = 0_u32;
        let mut ends = Vec::new();
        let mut is_over = false;
        ints::decode_blocks(reader, distinct, distinct, |block| {
            for len in block {
                let sum = u32::try_from(*len).ok().and_then(|len| end.checked_add(len));
                is_over |= sum.is_none();
                end = sum.unwrap_or(0);
                ends.push(end);
            }
        })?;
        let bytes = unpack(reader)?;
        if is_over || bytes.len() != end as usize {
            let len = bytes.len();
            return Err(Error::corrupt(format!("texts of a column do not have its {len} bytes")));
        }
        Ok(Self { bytes, ends, codes })
    }

    /// Texts stored.
    pub(crate) fn distinct(&self) -> usize {
        self.ends.len()
    }

    /// The code of value `index`, below [`distinct`](Self::distinct).
    pub(crate) fn code(&self, index: usize) -> usize {
        self.codes.as_ref().map_or(index, |codes| codes[index] as usize)
    }

    /// The text with `code`.
    pub(crate) fn text(&self, code: usize) -> &[u8] {
        let start = if code == 0 { 0 } else { self.ends[code - 1] };
        &self.bytes[start as usize..self.ends[code] as usize]
    }

    /// Whether each text is `wanted`, by code.
    pub(crate) fn equal(&self, wanted: &[u8]) -> Vec<bool> {
        let mut equal = vec![false; self.distinct()];
        if wanted.is_empty() {
            for (code, is_equal) in equal.iter_mut().enumerate() {
                *is_equal = self.text(code).is_empty();
            }
            return equal;
        }
        // All texts at once, back to back; what is found across the end of one is none.
        let finder = memmem::Finder::new(wanted);
        let mut from = 0;
        while let Some(at) = finder.find(&self.bytes[from..]).map(|at| from + at) {
            let code = self.ends.partition_point(|end| *end as usize <= at);
            equal[code] = self.text(code) == wanted;
            from = self.ends[code] as usize;
        }
        equal
    }

    /// Value `index`.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        self.text(self.code(index))
    }
}

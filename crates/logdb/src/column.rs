//! One column of strings, in the encoding that its values suit: written here, read by [`decode`] and [`skeletons`], searched by [`find`].
//! [`structure`] tells values apart as far as the encoding does.
//!
//! A column is a tag byte and a body; how many values it has is known from outside. Typed encodings are used only when
//! formatting gives every value back byte for byte. `SHAPES` takes values apart (see [`split`](crate::split)) into
//! columns of their own, so columns nest, at most [`DEPTH_MAX`] deep. The bodies are drawn in `docs/format/logs.md`.
//!
//! Does not own: rows, times, streams (`block`).

mod codes;
mod decode;
mod dict;
mod find;
mod placements;
mod shapes;
mod skeletons;
mod structure;
#[cfg(test)]
mod tests;

use storage::codec::{ints, put_bytes, put_count};

use crate::filter::TokenSet;
use crate::pack::Zstd;
use crate::split::is_token_byte;
use crate::texts;
use crate::typed::{self, TimeFormat};

use self::dict::Dict;
pub(crate) use codes::{Codes, count_narrow, read_codes};
pub(crate) use decode::{Column, Lazy};
pub(crate) use find::Hits;

const CONST: u8 = 1;
const DICT: u8 = 2;
const INT: u8 = 3;
const FIXED: u8 = 4;
const DECIMAL: u8 = 5;
const TIME: u8 = 6;
const IPV4: u8 = 7;
const HEX: u8 = 8;
const UUID: u8 = 9;
const AFFIX: u8 = 10;
const TEXT: u8 = 11;
const SHAPES: u8 = 12;

/// Distinct values a dictionary may have.
const DICT_MAX: usize = 4096;
/// How deep columns nest: lines, their parts, the parts' parts.
const DEPTH_MAX: u8 = 2;
/// Rows on which taking values apart is tried before all are.
const TRIAL_ROWS: usize = 1024;

/// Values by which it is decided whether an encoding is tried on all.
const SAMPLE: usize = 48;

/// Encodes columns; keeps what is reused from one to the next.
pub(crate) struct Encoder {
    zstd: Zstd,
    /// Distinct tokens of the values encoded so far.
    tokens: TokenSet,
    /// Trials must not add tokens twice.
    trial: bool,
}

impl Encoder {
    /// An encoder that compresses with zstd `level`.
    pub(crate) fn new(level: i32) -> model::Result<Self> {
        Ok(Self { zstd: Zstd::new(level)?, tokens: TokenSet::default(), trial: false })
    }

    /// Token filter of everything encoded since the last call.
    pub(crate) fn take_filter(&mut self) -> Vec<u8> {
        let filter = self.tokens.build();
        self.tokens.clear();
        filter
    }

    /// Appends `values`, which must be valid UTF-8; no values give no bytes.
    pub(crate) fn column(&mut self, values: &[&[u8]], out: &mut Vec<u8>) {
        self.nested(values, 0, out);
    }

    fn nested(&mut self, values: &[&[u8]], depth: u8, out: &mut Vec<u8>) {
        let Some((first, rest)) = values.split_first() else { return };
        if rest.iter().all(|v| v == first) {
            out.push(CONST);
            put_bytes(out, first);
            self.add_tokens(&[first]);
            return;
        }
        let sample = sample(values);
        let mut typed = Vec::new();
        if self.typed(values, &sample, &mut typed) {
            // Few distinct numbers (status codes) may still be smaller as a dictionary.
            let dict = is_repetitive(&sample).then(|| Dict::build(values)).flatten();
            if let Some(dict) = dict.filter(|d| d.values.len() * 8 <= values.len()) {
                let mut packed = Vec::new();
                self.dict(&dict, &mut packed);
                if packed.len() < typed.len() {
                    typed = packed;
                }
            }
            out.extend_from_slice(&typed);
            return;
        }
        if let Some(dict) = Dict::build(values) {
            self.add_tokens(&dict.values);
            self.dict(&dict, out);
        } else if !(depth < DEPTH_MAX && self.shapes(values, depth, out)) {
            self.add_tokens(values);
            self.text(values, out);
        }
    }

    fn add_tokens(&mut self, values: &[&[u8]]) {
        if !self.trial {
            values.iter().for_each(|v| self.tokens.add_text(v));
        }
    }

    fn text(&mut self, values: &[&[u8]], out: &mut Vec<u8>) {
        out.push(TEXT);
        texts::encode(values, &mut self.zstd, out);
    }

    fn dict(&mut self, dict: &Dict<'_>, out: &mut Vec<u8>) {
        out.push(DICT);
        put_count(out, dict.values.len());
        texts::encode(&dict.values, &mut self.zstd, out);
        self.codes(&dict.codes, dict.values.len(), out);
    }

    /// Appends strings behind each other.
    pub(crate) fn texts(&mut self, values: &[&[u8]], out: &mut Vec<u8>) {
        texts::encode(values, &mut self.zstd, out);
    }

    /// Tries the typed encodings, then once more without what all values begin and end with.
    fn typed(&mut self, values: &[&[u8]], sample: &[&[u8]], out: &mut Vec<u8>) -> bool {
        if sample.len() < values.len() {
            let was_trial = std::mem::replace(&mut self.trial, true);
            let fits = self.typed_whole(sample, out) || self.affixed(sample, out);
            self.trial = was_trial;
            out.clear();
            if !fits {
                return false;
            }
        }
        self.typed_whole(values, out) || self.affixed(values, out)
    }

    fn affixed(&mut self, values: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let (prefix, suffix) = common_affixes(values);
        if prefix + suffix == 0 {
            return false;
        }
        let inner: Vec<&[u8]> = values.iter().map(|v| &v[prefix..v.len() - suffix]).collect();
        let (before, after) = (&values[0][..prefix], &values[0][values[0].len() - suffix..]);
        out.push(AFFIX);
        put_bytes(out, before);
        put_bytes(out, after);
        let is_edge = |b: Option<&u8>| b.is_none_or(|b| !is_token_byte(*b));
        let are_apart = is_edge(before.last()) && is_edge(after.first());
        let was_trial = self.trial;
        self.trial |= !are_apart;
        let fits = self.typed_whole(&inner, out);
        self.trial = was_trial;
        if !fits {
            out.clear();
        } else if are_apart {
            self.add_tokens(&[before, after]);
        } else {
            // Tokens straddle the affixes, so they are those of the whole values.
            self.add_tokens(values);
        }
        fits
    }

    fn typed_whole(&mut self, values: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let first = values[0];
        match first.iter().copied().find(|b| !b.is_ascii_digit()) {
            None if first.is_empty() => false,
            None | Some(b'-' | b'.') if first.len() <= 20 => {
                int(values, out)
                    || fixed(values, out)
                    || decimal(values, out)
                    || ipv4(values, out)
                    || self.time(values, out)
                    || self.hex(values, out)
            }
            Some(b'-' | b'/') if first.len() <= 40 => {
                self.time(values, out) || self.hex(values, out)
            }
            _ => self.hex(values, out),
        }
    }

    fn time(&mut self, values: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let fits = time(values, out);
        if fits && values[0].get(2) == Some(&b'/') {
            // Names of months are tokens; any of them may occur.
            self.add_tokens(&[b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"]);
        }
        fits
    }

    fn hex(&mut self, values: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let fits = hex(values, out);
        if fits {
            self.add_tokens(values);
        }
        fits
    }
}

/// Values from all over the column, or all of them when they are few.
fn sample<'v>(values: &[&'v [u8]]) -> Vec<&'v [u8]> {
    let stride = if values.len() < SAMPLE * 4 { 1 } else { values.len() / SAMPLE };
    values.iter().step_by(stride).copied().collect()
}

/// Whether values occur more than once in `sample`, so that a dictionary is worth trying.
fn is_repetitive(sample: &[&[u8]]) -> bool {
    let mut sorted = sample.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.len() * 16 < sample.len() * 15
}

/// Lengths of the common prefix and suffix, cut back so that they take no digits off a number.
fn common_affixes(values: &[&[u8]]) -> (usize, usize) {
    let first = values[0];
    let (mut prefix, mut suffix) = (first.len(), first.len());
    for value in values {
        if !value.starts_with(&first[..prefix]) {
            prefix = first[..prefix].iter().zip(*value).take_while(|(a, b)| a == b).count();
        }
        let end = &first[first.len() - suffix..];
        if !value.ends_with(end) {
            let pairs = end.iter().rev().zip(value.iter().rev());
            suffix = pairs.take_while(|(a, b)| a == b).count();
        }
        if prefix + suffix == 0 {
            break;
        }
    }
    while prefix > 0 && first[prefix - 1].is_ascii_digit() {
        prefix -= 1;
    }
    let digits = first[first.len() - suffix..].iter().take_while(|b| b.is_ascii_digit()).count();
    suffix -= digits;
    let shortest = values.iter().map(|v| v.len()).min().unwrap_or(0);
    if prefix + suffix >= shortest { (0, 0) } else { (prefix, suffix) }
}

fn int(values: &[&[u8]], out: &mut Vec<u8>) -> bool {
    let Some(parsed) = values.iter().map(|v| typed::parse_int(v)).collect::<Option<Vec<i64>>>()
    else {
        return false;
    };
    out.push(INT);
    ints::encode_sampled(&parsed, out);
    true
}

fn fixed(values: &[&[u8]], out: &mut Vec<u8>) -> bool {
    let width = values[0].len();
    if values.iter().any(|v| v.len() != width) {
        return false;
    }
    let Some(parsed) = values.iter().map(|v| typed::parse_digits(v)).collect::<Option<Vec<i64>>>()
    else {
        return false;
    };
    out.push(FIXED);
    put_count(out, width);
    ints::encode_sampled(&parsed, out);
    true
}

fn decimal(values: &[&[u8]], out: &mut Vec<u8>) -> bool {
    let Some(parsed) =
        values.iter().map(|v| typed::parse_decimal(v)).collect::<Option<Vec<(i64, u8)>>>()
    else {
        return false;
    };
    let (mantissas, scales): (Vec<i64>, Vec<i64>) =
        parsed.into_iter().map(|(mantissa, scale)| (mantissa, i64::from(scale))).unzip();
    out.push(DECIMAL);
    ints::encode_sampled(&scales, out);
    ints::encode_sampled(&mantissas, out);
    true
}

fn ipv4(values: &[&[u8]], out: &mut Vec<u8>) -> bool {
    let Some(parsed) = values.iter().map(|v| typed::parse_ipv4(v)).collect::<Option<Vec<i64>>>()
    else {
        return false;
    };
    out.push(IPV4);
    ints::encode_sampled(&parsed, out);
    true
}

fn time(values: &[&[u8]], out: &mut Vec<u8>) -> bool {
    let Some(parsed) = values.iter().map(|v| typed::parse_time(v)).collect::<Option<Vec<_>>>()
    else {
        return false;
    };
    let first = parsed[0];
    let same_digits = parsed.iter().all(|t| t.digits == first.digits);
    let point = parsed.iter().map(|t| t.point).max().unwrap_or(0);
    let same_form = parsed.iter().all(|t| {
        t.layout == first.layout && t.zone == first.zone && (t.point == point || t.digits == 0)
    });
    if !same_form || !(same_digits || parsed.iter().all(typed::ParsedTime::is_trimmed)) {
        return false;
    }
    let format = TimeFormat {
        layout: first.layout,
        point,
        digits: if same_digits { first.digits } else { typed::TRIMMED },
        zone: first.zone.to_vec(),
    };
    out.push(TIME);
    out.extend_from_slice(&[format.layout, format.point, format.digits]);
    put_bytes(out, &format.zone);
    let scaled: Vec<i64> = parsed.iter().map(|t| t.scaled(format.digits)).collect();
    ints::encode_sampled(&scaled, out);
    true
}

/// Hexadecimal ids of one length, and UUIDs.
fn hex(values: &[&[u8]], out: &mut Vec<u8>) -> bool {
    let width = values[0].len();
    if !(8..=128).contains(&width) || values.iter().any(|v| v.len() != width) {
        return false;
    }
    let mut bytes = Vec::with_capacity(values.len() * width / 2);
    for upper in [false, true] {
        bytes.clear();
        if values.iter().all(|v| typed::parse_hex(v, upper, &mut bytes)) {
            out.extend_from_slice(&[HEX, u8::from(upper)]);
            put_count(out, width / 2);
            out.extend_from_slice(&bytes);
            return true;
        }
        bytes.clear();
        if width == 36 && values.iter().all(|v| typed::parse_uuid(v, upper, &mut bytes)) {
            out.extend_from_slice(&[UUID, u8::from(upper)]);
            out.extend_from_slice(&bytes);
            return true;
        }
    }
    false
}

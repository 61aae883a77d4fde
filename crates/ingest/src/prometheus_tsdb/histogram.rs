//! Chunks of native histograms: a layout of buckets that all samples share, then the samples as differences of
//! differences (integers) or XOR differences (floats).

use model::histogram::BUCKETS_MAX;
use model::{BucketSpan, Error, Histogram, ResetHint, Result, is_stale};

use super::bits::{Bits, XorFloat};

/// Spans of one side, and custom bounds, at most.
const LAYOUT_MAX: u64 = BUCKETS_MAX as u64;

/// Spans and custom bounds of all samples of a chunk together: each sample gets its own copy, which costs no bits of the
/// chunk.
const LAYOUT_COPIES_MAX: usize = 1 << 22;

/// What all histograms of a chunk share.
struct Layout {
    /// Of the first sample; see [`Layout::hint`].
    flags: u8,
    template: Histogram,
    positive: usize,
    negative: usize,
}

impl Layout {
    fn read(count: u16, data: &[u8], integer: bool) -> Result<(Self, Bits<'_>)> {
        let Some((&flags, rest)) = data.split_first() else {
            return Err(Error::corrupt("histogram chunk without flags"));
        };
        let mut bits = Bits::new(rest);
        let zero_threshold = match bits.bits(8)? {
            0 => 0.0,
            255 => bits.f64()?,
            // Powers of two: 2^-243 is stored as 1.
            exponent => f64::exp2(exponent as f64 - 244.0),
        };
        let schema = bits.varbit_int()?;
        let schema = i32::try_from(schema)
            .map_err(|_| Error::corrupt(format!("histogram schema {schema} is unknown")))?;
        let (positive_spans, positive) = spans(&mut bits)?;
        let (negative_spans, negative) = spans(&mut bits)?;
        let mut template = Histogram {
            schema,
            integer,
            zero_threshold,
            positive_spans,
            negative_spans,
            ..Histogram::default()
        };
        if template.has_custom_bounds() {
            let bounds = bits.varbit_uint()?;
            if bounds > LAYOUT_MAX {
                return Err(Error::corrupt(format!(
                    "{bounds} custom bounds; at most {LAYOUT_MAX}"
                )));
            }
            for _ in 0..bounds {
                let bound = match bits.varbit_uint()? {
                    0 => bits.f64()?,
                    // Multiples of a thousandth are stored as integers, plus one.
                    thousandths => (thousandths - 1) as f64 / 1000.0,
                };
                template.custom_bounds.push(bound);
            }
        }
        let items = template.positive_spans.len()
            + template.negative_spans.len()
            + template.custom_bounds.len();
        if items * usize::from(count) > LAYOUT_COPIES_MAX {
            return Err(Error::corrupt(format!(
                "{count} histograms of {items} spans and bounds in a chunk; at most {LAYOUT_COPIES_MAX} together"
            )));
        }
        Ok((Self { flags, template, positive, negative }, bits))
    }

    /// Within a chunk there are no resets; whether there is one before it is in its flags.
    fn hint(&self, number: u16) -> ResetHint {
        match (self.flags >> 6, number) {
            (0b11, _) => ResetHint::Gauge,
            (_, 1..) => ResetHint::NotReset,
            (0b10, 0) => ResetHint::Reset,
            _ => ResetHint::Unknown,
        }
    }

    /// The end of the series at a histogram of number `number`.
    fn stale(&self, number: u16, sum: f64) -> Histogram {
        Histogram {
            integer: self.template.integer,
            hint: self.hint(number),
            sum,
            ..Histogram::default()
        }
    }
}

/// Spans, and how many buckets they have.
fn spans(bits: &mut Bits<'_>) -> Result<(Vec<BucketSpan>, usize)> {
    let count = bits.varbit_uint()?;
    if count > LAYOUT_MAX {
        return Err(Error::corrupt(format!("{count} histogram spans; at most {LAYOUT_MAX}")));
    }
    let (mut spans, mut buckets) = (Vec::new(), 0_usize);
    for _ in 0..count {
        let (length, offset) = (bits.varbit_uint()?, bits.varbit_int()?);
        let (Ok(length), Ok(offset)) = (u32::try_from(length), i32::try_from(offset)) else {
            return Err(Error::corrupt(format!("histogram span of {length} at {offset}")));
        };
        buckets = buckets.saturating_add(length as usize);
        if buckets > BUCKETS_MAX {
            return Err(Error::corrupt(format!(
                "{buckets} histogram buckets; at most {BUCKETS_MAX}"
            )));
        }
        spans.push(BucketSpan { offset, length });
    }
    Ok((spans, buckets))
}

/// An integer that is written as the difference of its differences.
#[derive(Clone, Copy, Default)]
struct Integer {
    value: i64,
    distance: i64,
}

impl Integer {
    /// Moves on to value `number` (from 1): by a distance first, then by changes of it.
    fn advance(&mut self, number: u16, by: i64) {
        self.distance = if number == 1 { by } else { self.distance.wrapping_add(by) };
        self.value = self.value.wrapping_add(self.distance);
    }
}

/// The time of histogram `number`.
fn next_time(t: &mut Integer, number: u16, bits: &mut Bits<'_>) -> Result<i64> {
    match number {
        0 => t.value = bits.varbit_int()?,
        1 => t.advance(1, bits.varbit_uint()?.cast_signed()),
        _ => t.advance(number, bits.varbit_int()?),
    }
    Ok(t.value)
}

pub(super) fn integers(count: u16, data: &[u8], out: &mut Vec<(i64, Histogram)>) -> Result<()> {
    let (layout, mut bits) = Layout::read(count, data, true)?;
    let (mut t, mut total, mut zero) = (Integer::default(), Integer::default(), Integer::default());
    let mut sum = XorFloat::default();
    let mut buckets = vec![Integer::default(); layout.positive + layout.negative];
    for number in 0..count {
        let time = next_time(&mut t, number, &mut bits)?;
        if number == 0 {
            total.value = bits.varbit_uint()?.cast_signed();
            zero.value = bits.varbit_uint()?.cast_signed();
            sum = XorFloat::new(bits.f64()?);
        } else {
            total.advance(number, bits.varbit_int()?);
            zero.advance(number, bits.varbit_int()?);
            sum.advance(&mut bits)?;
        }
        if is_stale(sum.value) && number > 0 {
            out.push((time, layout.stale(number, sum.value)));
            continue;
        }
        for bucket in &mut buckets {
            let by = bits.varbit_int()?;
            if number == 0 {
                bucket.value = by;
            } else {
                bucket.advance(number, by);
            }
        }
        if is_stale(sum.value) {
            out.push((time, layout.stale(number, sum.value)));
            continue;
        }
        let (positive, negative) = buckets.split_at(layout.positive);
        out.push((
            time,
            Histogram {
                hint: layout.hint(number),
                count: total.value as f64,
                zero_count: zero.value as f64,
                sum: sum.value,
                positive: absolute(positive),
                negative: absolute(negative),
                ..layout.template.clone()
            },
        ));
    }
    Ok(())
}

/// Buckets are differences to the bucket before, too.
fn absolute(buckets: &[Integer]) -> Vec<f64> {
    let mut count = 0_i64;
    buckets
        .iter()
        .map(|bucket| {
            count = count.wrapping_add(bucket.value);
            count as f64
        })
        .collect()
}

pub(super) fn floats(count: u16, data: &[u8], out: &mut Vec<(i64, Histogram)>) -> Result<()> {
    let (layout, mut bits) = Layout::read(count, data, false)?;
    let mut t = Integer::default();
    let (mut total, mut zero, mut sum) =
        (XorFloat::default(), XorFloat::default(), XorFloat::default());
    let mut buckets = vec![XorFloat::default(); layout.positive + layout.negative];
    for number in 0..count {
        let time = next_time(&mut t, number, &mut bits)?;
        for value in [&mut total, &mut zero, &mut sum] {
            next_float(value, number, &mut bits)?;
        }
        if is_stale(sum.value) && number > 0 {
            out.push((time, layout.stale(number, sum.value)));
            continue;
        }
        for bucket in &mut buckets {
            next_float(bucket, number, &mut bits)?;
        }
        if is_stale(sum.value) {
            out.push((time, layout.stale(number, sum.value)));
            continue;
        }
        let (positive, negative) = buckets.split_at(layout.positive);
        out.push((
            time,
            Histogram {
                hint: layout.hint(number),
                count: total.value,
                zero_count: zero.value,
                sum: sum.value,
                positive: positive.iter().map(|bucket| bucket.value).collect(),
                negative: negative.iter().map(|bucket| bucket.value).collect(),
                ..layout.template.clone()
            },
        ));
    }
    Ok(())
}

fn next_float(float: &mut XorFloat, number: u16, bits: &mut Bits<'_>) -> Result<()> {
    if number == 0 {
        *float = XorFloat::new(bits.f64()?);
    } else {
        float.advance(bits)?;
    }
    Ok(())
}

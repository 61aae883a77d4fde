//! Ascending timestamps: a grid of one stride plus small residuals, or plain integers where that is smaller.
//!
//! ```text
//! times = kind u8 body
//! plain = ints                                   the timestamps themselves
//! grid  = first, stride, ints(k - i), ints(t - first - k × stride)     k: the nearest line of the grid
//! ```

use model::{Error, Result};

use super::{Reader, check_count, ints, put_zigzag};

const PLAIN: u8 = 0;
const GRID: u8 = 1;

/// Appends `times` (any order survives; ascending ones are small); an empty slice appends nothing.
pub fn encode(times: &[i64], out: &mut Vec<u8>) {
    if times.is_empty() {
        return;
    }
    let mut plain = vec![PLAIN];
    ints::encode(times, &mut plain);
    match grid(times) {
        Some(grid) if grid.len() < plain.len() => out.extend_from_slice(&grid),
        _ => out.extend_from_slice(&plain),
    }
}

fn grid(times: &[i64]) -> Option<Vec<u8>> {
    let first = *times.first()?;
    let mut deltas: Vec<i64> = times.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    if deltas.is_empty() {
        return None;
    }
    let middle = deltas.len() / 2;
    let stride = *deltas.select_nth_unstable(middle).1;
    if stride <= 0 || times.last()?.checked_sub(first).is_none() {
        return None;
    }
    let mut lines = Vec::with_capacity(times.len());
    let mut residuals = Vec::with_capacity(times.len());
    for (i, &t) in times.iter().enumerate() {
        let offset = t.checked_sub(first)?;
        let line = offset.checked_add(stride / 2)?.div_euclid(stride);
        lines.push(line.wrapping_sub(i64::try_from(i).ok()?));
        residuals.push(offset - line * stride);
    }
    let mut out = vec![GRID];
    put_zigzag(&mut out, first);
    put_zigzag(&mut out, stride);
    ints::encode(&lines, &mut out);
    ints::encode(&residuals, &mut out);
    Some(out)
}

/// Appends `count` timestamps written by [`encode`] to `out`.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) on short or impossible input, or when `count` is over
/// [`COUNT_MAX`](super::COUNT_MAX).
pub fn decode(r: &mut Reader<'_>, count: usize, out: &mut Vec<i64>) -> Result<()> {
    check_count(count)?;
    if count == 0 {
        return Ok(());
    }
    match r.u8()? {
        PLAIN => ints::decode(r, count, out),
        GRID => {
            let (first, stride) = (r.zigzag()?, r.zigzag()?);
            let (mut lines, mut residuals) = (Vec::new(), Vec::new());
            ints::decode(r, count, &mut lines)?;
            ints::decode(r, count, &mut residuals)?;
            out.extend((0i64..).zip(lines.iter().zip(&residuals)).map(|(i, (line, residual))| {
                first
                    .wrapping_add(line.wrapping_add(i).wrapping_mul(stride))
                    .wrapping_add(*residual)
            }));
            Ok(())
        }
        kind => Err(Error::corrupt(format!("unknown timestamp kind {kind}"))),
    }
}

//! What of a target's rows lies where, in the inputs and in the output of a merge.
//!
//! Owns: which chunks of the inputs overlap in time, which are copied, and reading a series from them. Does not own: which
//! series there are ([`write`](super)).
//!
//! Chunks of the inputs that overlap in time are one segment, any other is one by itself. Segments of one chunk of some
//! length keep their columns as they are encoded; all others are joined with their neighbours. A day that is closed for
//! the first time gets the longest chunks. Why so: `docs/decisions/0016-merges.md`.

use std::sync::Arc;

use model::Result;

use super::{Inputs, on_grid};
use crate::column::Column;
use crate::page::{Packed, ROWS_MAX, SERIES_MAX};
use crate::part::{Cell, usual_chunks};
use crate::scan::{Piece, Pieces, Window, merge};

/// Chunks with fewer rows are encoded anew with their neighbours: what each column begins with weighs too much in them.
/// Tests have few.
const COPIED_ROWS_MIN: usize = if cfg!(test) { 3 } else { 480 };

/// The rows of one target.
pub(super) struct Layout {
    /// All timestamps.
    pub(super) grid: Vec<i64>,
    /// Rows of the output's chunks.
    pub(super) lengths: Vec<usize>,
    /// Whether any chunk is copied.
    pub(super) is_copied: bool,
    /// Whether the output is the part of a closed day.
    is_closed: bool,
    groups: Vec<Group>,
}

/// Neighbours that are encoded together, or one that is copied.
struct Group {
    segments: Vec<Segment>,
    is_copied: bool,
}

/// Chunks of the inputs that overlap in time.
struct Segment {
    /// In order of sequence.
    sources: Vec<Source>,
    times: Arc<[i64]>,
}

/// One chunk of one input.
struct Source {
    input: usize,
    /// Number of the target in there.
    target: usize,
    chunk: usize,
    window: Window,
    /// The stripe whose columns were read last; each is wanted once.
    stripe: Option<usize>,
    columns: Vec<Option<Packed>>,
}

impl Layout {
    /// What the inputs have of the target `key`, and how the part of a closed or an open day will have it.
    pub(super) fn find(inputs: &mut Inputs<'_>, key: &str, is_closed: bool) -> Result<Self> {
        let mut groups: Vec<Group> = Vec::new();
        for segment in segments(sources(inputs, key)?) {
            let is_copied = match &segment.sources[..] {
                [only] => {
                    let is_final = !is_closed || inputs.parts[only.input].meta().cold;
                    is_final && (COPIED_ROWS_MIN..=ROWS_MAX).contains(&segment.times.len())
                }
                _ => false,
            };
            match groups.last_mut() {
                Some(group) if !is_copied && !group.is_copied => group.segments.push(segment),
                _ => groups.push(Group { segments: vec![segment], is_copied }),
            }
        }
        let is_copied = groups.iter().any(|group| group.is_copied);
        let segments = groups.iter().flat_map(|group| &group.segments);
        let grid: Vec<i64> = segments.flat_map(|segment| segment.times.iter().copied()).collect();
        let lengths = if is_copied {
            groups.iter().flat_map(Group::lengths).collect()
        } else {
            usual_chunks(grid.len()).collect()
        };
        Ok(Self { grid, lengths, is_copied, is_closed, groups })
    }

    /// What the series that is at `places` (input, number) has in each chunk of the output.
    pub(super) fn cells(
        &mut self,
        inputs: &mut Inputs<'_>,
        places: &[(usize, usize)],
    ) -> Result<Vec<Cell>> {
        let mut cells = Vec::with_capacity(self.lengths.len());
        for group in &mut self.groups {
            if group.is_copied {
                cells.push(group.segments[0].cell(inputs, places, self.is_closed)?);
                continue;
            }
            let column = group.column(inputs, places)?;
            let mut start = 0;
            for rows in group.lengths() {
                cells.push(Cell::Plain(column.slice(start, start + rows)));
                start += rows;
            }
        }
        Ok(cells)
    }

    /// What the series has in all rows, if nothing is copied.
    pub(super) fn column(
        &mut self,
        inputs: &mut Inputs<'_>,
        places: &[(usize, usize)],
    ) -> Result<Column> {
        match &mut self.groups[..] {
            [all] => all.column(inputs, places),
            _ => Ok(Column::default()),
        }
    }
}

impl Group {
    /// Rows of each of its chunks in the output, if it is not all of it: about the same, so that what is added to a chunk
    /// makes no small one.
    fn lengths(&self) -> impl Iterator<Item = usize> + use<> {
        let rows: usize = self.segments.iter().map(|segment| segment.times.len()).sum();
        let chunks = rows.div_ceil(ROWS_MAX);
        (0..chunks).map(move |chunk| rows * (chunk + 1) / chunks - rows * chunk / chunks)
    }

    /// What the series at `places` has in all of it.
    fn column(&mut self, inputs: &mut Inputs<'_>, places: &[(usize, usize)]) -> Result<Column> {
        let (mut all, mut rows) = (Column::default(), 0);
        for segment in &mut self.segments {
            let column = segment.column(inputs, places)?;
            all.append(rows, &column, segment.times.len());
            rows += segment.times.len();
        }
        Ok(all)
    }
}

impl Segment {
    /// What the series at `places` has in it, as it is encoded if that can be.
    fn cell(
        &mut self,
        inputs: &mut Inputs<'_>,
        places: &[(usize, usize)],
        is_closed: bool,
    ) -> Result<Cell> {
        if let [only] = &mut self.sources[..]
            && let Some((id, packed)) = only.take(inputs, places)?
        {
            return Ok(match only.kept(inputs, id, &packed)? {
                None if is_closed => {
                    let column = inputs.check(only.input, packed.column())?;
                    Cell::Packed(packed, Some(column))
                }
                None => Cell::Packed(packed, None),
                Some(piece) => Cell::Plain(self.place(&piece)),
            });
        }
        Ok(Cell::Plain(self.column(inputs, places)?))
    }

    /// The same, decoded.
    fn column(&mut self, inputs: &mut Inputs<'_>, places: &[(usize, usize)]) -> Result<Column> {
        let mut pieces = Pieces::new();
        let is_alone = self.sources.len() == 1;
        for source in &mut self.sources {
            let Some((id, packed)) = source.take(inputs, places)? else { continue };
            match source.kept(inputs, id, &packed)? {
                Some(piece) => pieces.push(piece),
                None if is_alone => return inputs.check(source.input, packed.column()),
                None => {
                    let column = inputs.check(source.input, packed.column())?;
                    pieces.extend(source.window.cut(column));
                }
            }
        }
        Ok(self.place(&merge(&pieces)))
    }

    /// A piece of a series that has no times but those of the segment.
    fn place(&self, piece: &Piece) -> Column {
        let column = on_grid(&self.times, piece);
        column.expect("BUG: a segment has all times of its chunks")
    }
}

impl Source {
    /// Takes the column of the series at `places` out of it, and its number there; `None` when it has none.
    fn take(
        &mut self,
        inputs: &mut Inputs<'_>,
        places: &[(usize, usize)],
    ) -> Result<Option<(usize, Packed)>> {
        let scan = &mut inputs.scans[self.input];
        let index = Arc::clone(&scan.index);
        let target = &index.targets()[self.target];
        let ids = target.first_series..target.first_series + target.series;
        let is_here = |(input, id): &&(usize, usize)| *input == self.input && ids.contains(id);
        let Some((_, id)) = places.iter().find(is_here) else { return Ok(None) };
        let offset = id - target.first_series;
        let stripe = offset / SERIES_MAX;
        if self.stripe != Some(stripe) {
            let columns = scan.packed(target, (offset, self.chunk));
            let columns = inputs.check(self.input, columns)?;
            self.columns = columns.into_iter().map(Some).collect();
            self.stripe = Some(stripe);
        }
        let packed = self.columns.get_mut(offset % SERIES_MAX).and_then(Option::take);
        Ok(packed.map(|packed| (*id, packed)))
    }

    /// What is left of the column of series `id`; `None` for all.
    fn kept(&self, inputs: &Inputs<'_>, id: usize, packed: &Packed) -> Result<Option<Piece>> {
        let cuts = &inputs.cuts[self.input];
        if !cuts.hides(id) {
            return Ok(None);
        }
        let piece = self.window.cut(inputs.check(self.input, packed.column())?);
        let kept = piece.and_then(|piece| cuts.piece(id, piece));
        Ok(Some(kept.unwrap_or_else(|| merge(&Pieces::new()))))
    }
}

/// The chunks that the inputs have of the target `key`, in order of sequence.
fn sources(inputs: &mut Inputs<'_>, key: &str) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for input in 0..inputs.scans.len() {
        let index = Arc::clone(&inputs.scans[input].index);
        let targets = index.targets().iter().enumerate().filter(|(_, target)| target.key == key);
        for (number, target) in targets {
            for chunk in 0..target.chunks() {
                let window = inputs.scans[input].window(target, chunk);
                let window = inputs.check(input, window)?;
                let (stripe, columns) = (None, Vec::new());
                sources.push(Source { input, target: number, chunk, window, stripe, columns });
            }
        }
    }
    Ok(sources)
}

/// Puts those that overlap together, in order of time.
fn segments(mut sources: Vec<Source>) -> Vec<Segment> {
    let first = |source: &Source| source.window.times().first().copied().unwrap_or(i64::MAX);
    let last = |source: &Source| source.window.times().last().copied().unwrap_or(i64::MIN);
    let mut order: Vec<usize> = (0..sources.len()).collect();
    order.sort_by_key(|number| first(&sources[*number]));
    // Of each source, in order of sequence, its segment.
    let (mut segment_of, mut count, mut end) = (vec![0; sources.len()], 0usize, i64::MIN);
    for number in order {
        if count == 0 || first(&sources[number]) > end {
            count += 1;
        }
        end = end.max(last(&sources[number]));
        segment_of[number] = count - 1;
    }
    let mut grouped: Vec<Vec<Source>> = Vec::new();
    grouped.resize_with(count, Vec::new);
    for (source, segment) in sources.drain(..).zip(segment_of) {
        grouped[segment].push(source);
    }
    let segment = |sources: Vec<Source>| {
        let times = match &sources[..] {
            [only] => only.window.shared_times(),
            _ => {
                let all = sources.iter().flat_map(|source| source.window.times().iter().copied());
                let mut times: Vec<i64> = all.collect();
                times.sort_unstable();
                times.dedup();
                times.into()
            }
        };
        Segment { sources, times }
    };
    grouped.into_iter().map(segment).collect()
}

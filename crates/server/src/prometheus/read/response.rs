//! The answers of remote read: `ReadResponse` and the frames of `ChunkedReadResponse`.

use model::{Histogram, Labels, ResetHint, SeriesData};

use super::super::wire;
use super::xor;

/// Bytes of chunks in one frame, as Prometheus has it by default.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Frames are handed on together until they have this many bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Samples of one chunk, as Prometheus writes them.
const CHUNK_SAMPLES: usize = 120;
/// `Chunk.Encoding.XOR`
const ENCODING_XOR: u64 = 1;

/// A `ReadResponse`: one result per query, in order.
pub(super) fn samples(answers: &[Vec<SeriesData>]) -> Vec<u8> {
    let mut out = Vec::new();
    for series in answers {
        wire::message(&mut out, 1, |result| {
            for one in series {
                wire::message(result, 1, |out| time_series(out, one));
            }
        });
    }
    out
}

fn time_series(out: &mut Vec<u8>, series: &SeriesData) {
    labels(out, &series.labels);
    for (t_ms, value) in series.timestamps.iter().zip(&series.values) {
        wire::message(out, 2, |sample| {
            wire::double(sample, 1, *value);
            wire::number(sample, 2, *t_ms as u64);
        });
    }
    for (t_ms, value) in &series.histograms {
        wire::message(out, 4, |out| histogram(out, *t_ms, value));
    }
}

fn labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels.iter() {
        wire::message(out, 1, |label| {
            wire::bytes(label, 1, name.as_bytes());
            wire::bytes(label, 2, value.as_bytes());
        });
    }
}

fn histogram(out: &mut Vec<u8>, t_ms: i64, h: &Histogram) {
    if h.integer {
        wire::varint(out, 1 << 3);
        wire::varint(out, h.count as u64);
    } else {
        wire::double(out, 2, h.count);
    }
    wire::double(out, 3, h.sum);
    wire::number(out, 4, wire::zigzag(i64::from(h.schema)));
    wire::double(out, 5, h.zero_threshold);
    if h.integer {
        wire::varint(out, 6 << 3);
        wire::varint(out, h.zero_count as u64);
    } else {
        wire::double(out, 7, h.zero_count);
    }
    let sides = [(8, &h.negative_spans, &h.negative), (11, &h.positive_spans, &h.positive)];
    for (first, spans, counts) in sides {
        for span in spans {
            wire::message(out, first, |out| {
                wire::number(out, 1, wire::zigzag(i64::from(span.offset)));
                wire::number(out, 2, u64::from(span.length));
            });
        }
        if h.integer {
            wire::signed(out, first + 1, wire::deltas(counts));
        } else {
            wire::doubles(out, first + 2, counts);
        }
    }
    let hint = match h.hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    wire::number(out, 14, hint);
    wire::number(out, 15, t_ms as u64);
    wire::doubles(out, 16, &h.custom_bounds);
}

/// Frames of a `ChunkedReadResponse`: length, CRC-32C, message. Series are dropped as they are written.
pub(super) struct Frames {
    queries: Vec<std::vec::IntoIter<SeriesData>>,
    query_index: usize,
    /// The series being written, and how many of its samples are.
    current: Option<(SeriesData, usize)>,
}

impl Frames {
    pub(super) fn new(answers: Vec<Vec<SeriesData>>) -> Self {
        let queries = answers.into_iter().map(Vec::into_iter).collect();
        Self { queries, query_index: 0, current: None }
    }

    /// Appends one frame; `false` at the end.
    fn frame(&mut self, out: &mut Vec<u8>) -> bool {
        while self.current.is_none() {
            let Some(series) = self.queries.get_mut(self.query_index) else { return false };
            match series.next() {
                Some(next) => self.current = Some((next, 0)),
                None => self.query_index += 1,
            }
        }
        let Some((series, written)) = &mut self.current else { return false };
        let mut chunked = Vec::new();
        labels(&mut chunked, &series.labels);
        while *written < series.values.len() && chunked.len() < FRAME_BYTES_MAX {
            let end = (*written + CHUNK_SAMPLES).min(series.values.len());
            let (times, values) =
                (&series.timestamps[*written..end], &series.values[*written..end]);
            wire::message(&mut chunked, 2, |chunk| {
                wire::number(chunk, 1, times.first().map_or(0, |t| *t as u64));
                wire::number(chunk, 2, times.last().map_or(0, |t| *t as u64));
                wire::number(chunk, 3, ENCODING_XOR);
                wire::bytes(chunk, 4, &xor::encode(times, values));
            });
            *written = end;
        }
        if *written == series.values.len() {
            self.current = None;
        }
        let mut message = Vec::new();
        wire::bytes(&mut message, 1, &chunked);
        wire::number(&mut message, 2, self.query_index as u64);
        wire::varint(out, message.len() as u64);
        out.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
        out.extend_from_slice(&message);
        true
    }
}

impl Iterator for Frames {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut piece = Vec::new();
        while piece.len() < PIECE_BYTES && self.frame(&mut piece) {}
        (!piece.is_empty()).then_some(piece)
    }
}

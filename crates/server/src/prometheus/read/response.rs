//! The answers of remote read: `ReadResponse` and the frames of `ChunkedReadResponse`.

use model::{Histogram, Labels, ResetHint, SeriesData};

use super::super::wire;
use super::{histograms, xor};

/// Bytes of chunks in one frame, as Prometheus has it by default.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Frames are handed on together until they have this many bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Samples of one chunk, as Prometheus writes them.
const CHUNK_SAMPLES: usize = 120;
/// `Chunk.Encoding`: `XOR`, `HISTOGRAM`, `FLOAT_HISTOGRAM`.
const ENCODING_XOR: u64 = 1;
const ENCODING_HISTOGRAM: u64 = 2;
const ENCODING_FLOAT_HISTOGRAM: u64 = 3;

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

/// A series, and how many of its samples and histograms are written.
struct Progress {
    series: SeriesData,
    samples: usize,
    histograms: usize,
}

impl Progress {
    fn of(series: SeriesData) -> Self {
        Self { series, samples: 0, histograms: 0 }
    }

    fn is_whole(&self) -> bool {
        self.samples == self.series.values.len() && self.histograms == self.series.histograms.len()
    }

    /// Appends the next chunk in the order of time: each kind up to where the other goes on.
    fn chunk(&mut self, out: &mut Vec<u8>) {
        let series = &self.series;
        let (times, values) = (&series.timestamps[self.samples..], &series.values[self.samples..]);
        let histograms = &series.histograms[self.histograms..];
        let limit = histograms.first().map_or(i64::MAX, |(t_ms, _)| *t_ms);
        let len = times.partition_point(|t_ms| *t_ms < limit).min(CHUNK_SAMPLES);
        if let Some((first, last)) = times[..len].first().zip(times[..len].last()) {
            let data = xor::encode(&times[..len], &values[..len]);
            chunk(out, (*first, *last), ENCODING_XOR, &data);
            self.samples += len;
            return;
        }
        let limit = times.first().copied().unwrap_or(i64::MAX);
        let run = &histograms[..histograms.partition_point(|(t_ms, _)| *t_ms <= limit)];
        let run = &run[..histograms::run_length(run)];
        if let Some(((first_ms, first), (last_ms, _))) = run.first().zip(run.last()) {
            let encoding =
                if first.integer { ENCODING_HISTOGRAM } else { ENCODING_FLOAT_HISTOGRAM };
            chunk(out, (*first_ms, *last_ms), encoding, &histograms::encode(run));
            self.histograms += run.len();
        }
    }
}

fn chunk(out: &mut Vec<u8>, (first_ms, last_ms): (i64, i64), encoding: u64, data: &[u8]) {
    wire::message(out, 2, |chunk| {
        wire::number(chunk, 1, first_ms as u64);
        wire::number(chunk, 2, last_ms as u64);
        wire::number(chunk, 3, encoding);
        wire::bytes(chunk, 4, data);
    });
}

/// Frames of a `ChunkedReadResponse`: length, CRC-32C, message. Series are dropped as they are written.
pub(super) struct Frames {
    queries: Vec<std::vec::IntoIter<SeriesData>>,
    query_index: usize,
    /// The series being written.
    current: Option<Progress>,
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
                Some(next) => self.current = Some(Progress::of(next)),
                None => self.query_index += 1,
            }
        }
        let Some(current) = &mut self.current else { return false };
        let mut chunked = Vec::new();
        labels(&mut chunked, &current.series.labels);
        while !current.is_whole() && chunked.len() < FRAME_BYTES_MAX {
            current.chunk(&mut chunked);
        }
        if current.is_whole() {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ingest::prometheus_tsdb::{Samples, decode_chunk};
    use ingest::protobuf::Reader;

    use super::*;

    /// First and last time, encoding and samples of the chunks of a series, by way of another reader of the formats.
    fn chunks(frame: &[u8]) -> Vec<(i64, i64, u8, Samples)> {
        // A length of 128 to 16,383 takes two bytes.
        let length = usize::from(frame[0] & 0x7f) | usize::from(frame[1]) << 7;
        let (crc, message) = (&frame[2..6], &frame[6..]);
        assert_eq!((frame[0] >= 0x80, message.len()), (true, length), "one frame");
        assert_eq!(crc, crc32c::crc32c(message).to_be_bytes());
        let mut chunks = Vec::new();
        let mut message = Reader::new(message);
        while let Some(field) = message.next_field().unwrap() {
            if field.number != 1 {
                continue;
            }
            let mut series = field.message().unwrap();
            while let Some(field) = series.next_field().unwrap() {
                if field.number != 2 {
                    continue;
                }
                let mut chunk = field.message().unwrap();
                let (mut first, mut last, mut encoding, mut data) = (0, 0, 0, &[][..]);
                while let Some(field) = chunk.next_field().unwrap() {
                    match field.number {
                        1 => first = field.int64().unwrap(),
                        2 => last = field.int64().unwrap(),
                        3 => encoding = field.int32().unwrap() as u8,
                        _ => data = field.bytes().unwrap(),
                    }
                }
                let mut samples = Samples::default();
                decode_chunk(encoding, data, &mut samples).unwrap();
                chunks.push((first, last, encoding, samples));
            }
        }
        chunks
    }

    #[test]
    fn chunks_of_all_kinds_follow_in_the_order_of_time() {
        let histogram = |t_ms: i64, integer, count| {
            let count = f64::from(count);
            (
                t_ms,
                Arc::new(Histogram { integer, count, zero_count: count, ..Histogram::default() }),
            )
        };
        let series = SeriesData {
            labels: Labels::from_pairs([("__name__", "h")]),
            timestamps: Arc::from([1, 2, 10]),
            values: vec![1.0, 2.0, model::stale_nan()],
            histograms: vec![histogram(3, true, 1), histogram(4, true, 2), histogram(11, false, 1)],
            starts: None,
        };
        let pieces: Vec<Vec<u8>> = Frames::new(vec![vec![series]]).collect();
        assert_eq!(pieces.len(), 1);
        let chunks = chunks(&pieces[0]);
        let shape: Vec<_> = chunks.iter().map(|(a, b, encoding, _)| (*a, *b, *encoding)).collect();
        assert_eq!(shape, [(1, 2, 1), (3, 4, 2), (10, 10, 1), (11, 11, 3)]);
        let floats: Vec<i64> = chunks.iter().flat_map(|c| &c.3.floats).map(|(t, _)| *t).collect();
        assert_eq!(floats, [1, 2, 10]);
        let counts: Vec<_> =
            chunks.iter().flat_map(|c| &c.3.histograms).map(|(t, h)| (*t, h.count)).collect();
        assert_eq!(counts, [(3, 1.0), (4, 2.0), (11, 1.0)]);
    }
}

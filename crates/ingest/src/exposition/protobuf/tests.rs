//! Messages become the samples that their text form has; damage is named with its place.

use proptest::prelude::*;

use super::*;
use crate::exposition::{Encoding, decode, series_labels};

/// A message being written; nested ones are written first and put in as bytes.
#[derive(Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, number: u32, value: u64) -> Self {
        self.raw(u64::from(number) << 3);
        self.raw(value);
        self
    }

    fn double(mut self, number: u32, value: f64) -> Self {
        self.raw(u64::from(number) << 3 | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, number: u32, content: &[u8]) -> Self {
        self.raw(u64::from(number) << 3 | 2);
        self.raw(content.len() as u64);
        self.0.extend(content);
        self
    }

    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn delimited(&self) -> Vec<u8> {
        let mut body = Self::default();
        body.raw(self.0.len() as u64);
        body.0.extend(&self.0);
        body.0
    }
}

fn message() -> Message {
    Message::default()
}

fn zig(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

fn label(name: &str, value: &str) -> Message {
    message().bytes(1, name.as_bytes()).bytes(2, value.as_bytes())
}

fn family(name: &str, kind: u64, metrics: &[Message]) -> Message {
    let start = message().bytes(1, name.as_bytes()).bytes(2, b"Some help.").varint(3, kind);
    metrics.iter().fold(start, |m, metric| m.bytes(4, &metric.0))
}

/// Writes everything down, one line each.
#[derive(Default)]
struct Scribe {
    lines: Vec<String>,
    histograms: Vec<Histogram>,
    wanted: Histograms,
}

impl Visitor for Scribe {
    fn histograms(&self) -> Histograms {
        self.wanted
    }

    fn sample(&mut self, s: Sample<'_>) -> Result<()> {
        series_labels(s.series, Encoding::Protobuf.series_format())?;
        let time = s.timestamp_ms.map(|t| format!(" @{t}")).unwrap_or_default();
        let exemplar = s.exemplar.map(|e| e.decode(7)).transpose()?;
        let exemplar = exemplar
            .map(|e| format!(" # {} {} @{}", e.labels, e.value, e.t_ms))
            .unwrap_or_default();
        self.lines.push(format!("{} {}{time}{exemplar}", s.series, s.value));
        Ok(())
    }

    fn histogram(&mut self, s: NativeSample<'_>) -> Result<()> {
        self.lines.push(format!("{} native, {} exemplars", s.series, s.exemplars.len()));
        self.histograms.push(s.value);
        Ok(())
    }

    fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()> {
        self.lines.push(match metadata {
            Metadata::Type { name, kind } => format!("type {name} {}", kind.as_str()),
            Metadata::Help { name, text } => format!("help {name} {text}"),
            Metadata::Unit { name, unit } => format!("unit {name} {unit}"),
        });
        Ok(())
    }
}

fn read(families: &[Message], wanted: Histograms) -> Result<Scribe, String> {
    let body: Vec<u8> = families.iter().flat_map(Message::delimited).collect();
    let mut scribe = Scribe { wanted, ..Scribe::default() };
    decode(&body, Encoding::Protobuf, &Limits::NONE, &mut scribe)
        .map_err(|e| e.message().to_owned())?;
    Ok(scribe)
}

fn check(families: &[Message], wanted: Histograms, expect: &[&str]) {
    assert_eq!(
        read(families, wanted).map(|s| s.lines),
        Ok(expect.iter().map(|l| (*l).to_owned()).collect())
    );
}

#[test]
fn simple_kinds() {
    let exemplar = message()
        .bytes(1, &label("trace_id", "abc").0)
        .double(2, 0.5)
        .bytes(3, &message().varint(1, 2).varint(2, 5_000_000).0);
    let counter = message()
        .bytes(1, &label("code", "2\"00").0)
        .bytes(1, &label("zone.name", "a").0)
        .bytes(3, &message().double(1, 3.0).bytes(2, &exemplar.0).0)
        .varint(6, 1234);
    let gauge = message().bytes(2, &message().double(1, -1.5).0);
    let untyped = message().bytes(5, &message().double(1, f64::NAN).0);
    check(
        &[
            family("hits_bytes_total", 0, &[counter]).bytes(5, b"bytes"),
            family("level", 1, &[gauge, message()]),
            family("some.thing", 3, &[untyped]),
            family("empty", 1, &[]),
        ],
        Histograms::Native,
        &[
            "type hits_bytes_total counter",
            "help hits_bytes_total Some help.",
            "unit hits_bytes_total bytes",
            "hits_bytes_total{code=\"2\\\"00\",\"zone.name\"=\"a\"} 3 @1234 # {trace_id=\"abc\"} 0.5 @2005",
            "type level gauge",
            "help level Some help.",
            "level -1.5",
            "level 0",
            "type some.thing unknown",
            "help some.thing Some help.",
            "{\"some.thing\"} NaN",
        ],
    );
}

#[test]
fn summaries() {
    let quantile = |q: f64, v: f64| message().double(1, q).double(2, v).0;
    let summary = message().varint(1, 4).double(2, 10.0);
    let summary = summary.bytes(3, &quantile(0.5, 2.0)).bytes(3, &quantile(1.0, 4.0));
    let metric = message().bytes(1, &label("a", "b").0).bytes(4, &summary.0);
    check(
        &[family("s", 2, &[metric])],
        Histograms::Native,
        &[
            "type s summary",
            "help s Some help.",
            "s_count{a=\"b\"} 4",
            "s_sum{a=\"b\"} 10",
            "s{a=\"b\",quantile=\"0.5\"} 2",
            "s{a=\"b\",quantile=\"1.0\"} 4",
        ],
    );
}

fn native_parts() -> Message {
    let bucket = |count: u64, le: f64| message().varint(1, count).double(2, le).0;
    message()
        .varint(1, 7)
        .double(2, 12.5)
        .bytes(3, &bucket(3, 1.0))
        .bytes(3, &bucket(6, 2.0))
        .varint(5, zig(1))
        .double(6, 0.001)
        .varint(7, 1)
        // Positive buckets -1, 0 and 3 with 1, 2 and 3 observations, written as differences.
        .bytes(12, &message().varint(1, zig(-1)).varint(2, 2).0)
        .bytes(12, &message().varint(1, zig(2)).varint(2, 1).0)
        .varint(13, zig(1))
        .varint(13, zig(1))
        .varint(13, zig(1))
}

#[test]
fn histograms_in_every_form() {
    let stamped = message().double(2, 1.5).bytes(3, &message().varint(1, 1).0);
    let parts = native_parts().bytes(16, &stamped.0).bytes(16, &message().double(2, 2.0).0);
    let families = [family("h", 4, &[message().bytes(7, &parts.0)])];
    let metadata = ["type h histogram", "help h Some help."];
    let native = ["h native, 1 exemplars"];
    let classic = [
        "h_count 7",
        "h_sum 12.5",
        "h_bucket{le=\"1.0\"} 3",
        "h_bucket{le=\"2.0\"} 6",
        "h_bucket{le=\"+Inf\"} 7",
    ];
    check(&families, Histograms::Native, &[&metadata[..], &native].concat());
    check(&families, Histograms::NativeAndClassic, &[&metadata[..], &native, &classic].concat());
    check(&families, Histograms::Classic, &[&metadata[..], &classic].concat());

    let read = read(&families, Histograms::Native).unwrap();
    let span = |offset, length| BucketSpan { offset, length };
    let expect = Histogram {
        schema: 1,
        integer: true,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count: 7.0,
        sum: 12.5,
        positive_spans: vec![span(-1, 2), span(2, 1)],
        positive: vec![1.0, 2.0, 3.0],
        ..Histogram::default()
    };
    assert_eq!(read.histograms, [expect]);
}

#[test]
fn float_and_gauge_histograms() {
    let packed: Vec<u8> = [0.5_f64, 0.0, 1.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    let parts = message()
        .double(4, 2.5)
        .double(8, 0.5)
        .varint(5, zig(10))
        .bytes(9, &message().varint(1, zig(4)).varint(2, 3).0)
        .bytes(11, &packed);
    let read =
        read(&[family("g", 5, &[message().bytes(7, &parts.0)])], Histograms::Native).unwrap();
    let h = &read.histograms[0];
    assert_eq!((h.integer, h.hint, h.count, h.zero_count), (false, ResetHint::Gauge, 2.5, 0.5));
    // Schema 10 has buckets four times finer than 8: the indexes 4 and 6 become 1 and 2.
    assert_eq!((h.schema, h.negative.as_slice()), (8, [0.5, 1.5].as_slice()));
    assert_eq!(h.negative_spans, [BucketSpan { offset: 1, length: 2 }]);
}

#[test]
fn errors_name_message_and_offset() {
    let refused = |families: &[Message], expect: &str| {
        assert_eq!(read(families, Histograms::Native).err().as_deref(), Some(expect));
    };
    let good = family("a", 1, &[message()]);
    refused(
        &[good.clone(), message().varint(3, 9)],
        "message 2: field 3 at offset 21: metric type 9 is unknown",
    );
    refused(&[message()], "message 1: the metric family has no name");
    refused(
        &[family("a", 1, &[message()]).bytes(5, b"bytes")],
        "message 1: expected a metric name that ends with _bytes, found \"a\"",
    );
    let wrong = message().bytes(2, &message().varint(1, 5).0);
    refused(
        &[good, family("a", 1, &[wrong])],
        "message 2: metric \"a\": field 1 at offset 42: expected 8 fixed bytes, found a varint",
    );
    let lying = native_parts().varint(13, zig(100));
    refused(
        &[family("h", 4, &[message().bytes(7, &lying.0)])],
        "message 1: metric \"h\": positive spans name 3 buckets, 4 are there; at most 65536",
    );
    let error = decode(&[5, 1, 2], Encoding::Protobuf, &Limits::NONE, &mut Scribe::default());
    assert_eq!(
        error.unwrap_err().message(),
        "message 1: message at offset 0: length is 5; 2 bytes are left"
    );
}

#[test]
fn limits_hold() {
    let metric =
        message().bytes(1, &label("name", "value").0).bytes(2, &message().double(1, 1.0).0);
    let body = family("gauge", 1, &[metric.clone(), metric]).delimited();
    let refused = |limits: Limits, expect: &str| {
        let e = decode(&body, Encoding::Protobuf, &limits, &mut Scribe::default()).unwrap_err();
        assert_eq!((e.kind(), e.message()), (ErrorKind::Limit, expect));
    };
    let none = Limits::NONE;
    refused(
        Limits { samples_max: 1, ..none },
        "message 1: metric \"gauge\": body has more samples than the limit of 1",
    );
    refused(
        Limits { labels_max: 0, ..none },
        "message 1: metric \"gauge\": series has a label count of 1; the limit is 0",
    );
    refused(
        Limits { name_bytes_max: 4, ..none },
        "message 1: metric name has 5 bytes; the limit is 4",
    );
    refused(
        Limits { value_bytes_max: 4, ..none },
        "message 1: metric \"gauge\": label value has a length of 5; the limit is 4",
    );
    refused(
        Limits { body_bytes_max: 9, ..none },
        &format!("body has {} bytes; the limit is 9", body.len()),
    );
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut scribe = Scribe { wanted: Histograms::NativeAndClassic, ..Scribe::default() };
        let outcome = decode(&noise, Encoding::Protobuf, &Limits::NONE, &mut scribe);
        // Every metric is at least two bytes, and a summary or histogram of nothing makes four series.
        prop_assert!(scribe.lines.len() <= 4 * noise.len());
        prop_assert!(outcome.is_ok() || !outcome.unwrap_err().message().is_empty());
    }

    #[test]
    fn damaged_bodies_are_refused_or_bounded(at in 0..200_usize, byte in any::<u8>()) {
        let mut body = family("h", 4, &[message().bytes(7, &native_parts().0)]).delimited();
        let at = at % body.len();
        body[at] = byte;
        let mut scribe = Scribe { wanted: Histograms::NativeAndClassic, ..Scribe::default() };
        if decode(&body, Encoding::Protobuf, &Limits::NONE, &mut scribe).is_ok() {
            prop_assert!(scribe.histograms.iter().all(|h| h.validate().is_ok()));
        }
    }
}

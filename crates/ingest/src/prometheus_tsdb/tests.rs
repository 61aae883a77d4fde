//! Files that Prometheus wrote are read whole; what it cannot write yet is put together by hand; noise is refused.

use model::{Histogram, ResetHint, Result, is_stale};
use proptest::prelude::*;

use super::*;

const START_MS: i64 = 1_750_003_200_000;

fn file(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/prometheus_tsdb");
    std::fs::read(format!("{dir}/{name}")).unwrap()
}

/// All series of a block with their samples.
fn block(name: &str) -> Vec<(String, Samples)> {
    let (index, chunks) = (file(&format!("{name}.index")), file(&format!("{name}.chunks")));
    check_segment_header(&chunks).unwrap();
    let index = Index::open(&index).unwrap();
    index
        .series()
        .map(|entry| {
            let entry = entry.unwrap();
            let mut samples = Samples::default();
            for chunk in &entry.chunks {
                assert_eq!(chunk.at.segment_index(), 0);
                let frame = &chunks[usize::try_from(chunk.at.offset()).unwrap()..];
                let (encoding, data) = open_frame(frame).unwrap();
                decode_chunk(encoding, data, &mut samples).unwrap();
                let last = samples.floats.last().map(|s| s.0);
                assert_eq!(last.max(samples.histograms.last().map(|s| s.0)), Some(chunk.max_ms));
            }
            (entry.labels.to_string(), samples)
        })
        .collect()
}

/// Of histogram `number` in `histograms.*`.
fn expected_histogram(number: u32) -> Histogram {
    let k = f64::from(number);
    let half = f64::from(number / 2);
    Histogram {
        schema: 3,
        integer: true,
        zero_threshold: 0.001,
        zero_count: 2.0 * k,
        count: 6.0 * k + 4.0 + half,
        sum: 0.5 * k,
        negative_spans: vec![model::BucketSpan { offset: 0, length: 1 }],
        negative: vec![half],
        positive_spans: vec![
            model::BucketSpan { offset: -2, length: 2 },
            model::BucketSpan { offset: 3, length: 1 },
        ],
        positive: vec![k, 2.0 * k + 1.0, k + 3.0],
        ..Histogram::default()
    }
}

#[test]
fn floats_of_a_block() {
    let series = block("floats");
    let names: Vec<&str> = series.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [r#"a_total{zone="é"}"#, r#"b{host="h0"}"#, r#"b{host="h1"}"#]);
    let squares: Vec<(i64, f64)> =
        (0..200).map(|k| (START_MS + 15_000 * k, (k * k) as f64)).collect();
    assert_eq!(series[0].1.floats, squares);
    let uneven: Vec<(i64, f64)> =
        (0..150).map(|k| (START_MS + k * (k + 1) / 4 * 1_000 + k, k as f64 * 0.5 - 3.0)).collect();
    assert_eq!(series[1].1.floats, uneven);
    assert_eq!(series[2].1.floats, [(START_MS, f64::INFINITY)]);
    let meta = BlockMeta::decode(&file("floats.meta.json")).unwrap();
    assert_eq!((meta.stats.num_samples, meta.stats.num_series), (351, 3));
    assert_eq!((meta.min_time, meta.ulid.len()), (START_MS, 26));
}

fn check_histograms(series: &str, histograms: &[(i64, Histogram)]) {
    assert_eq!(histograms.len(), 40, "{series}");
    for (k, (t_ms, found)) in (0_u32..).zip(histograms) {
        assert_eq!(*t_ms, START_MS + 15_000 * i64::from(k));
        match series {
            r#"lat{path="/"}"# if k == 39 => {
                assert!(is_stale(found.sum) && found.positive.is_empty())
            }
            r#"lat{path="/"}"# => {
                found.validate().unwrap();
                assert_eq!(
                    Histogram { hint: ResetHint::Unknown, ..found.clone() },
                    expected_histogram(k)
                );
            }
            _ => {
                let k = f64::from(k);
                assert!(!found.integer && found.zero_threshold == 2_f64.powi(-128));
                assert_eq!((found.count, found.sum), (4.5 * k + 1.0, 0.25 * k));
                assert_eq!(found.positive, [k, 2.5 * k, 0.5 * k + 1.0]);
            }
        }
    }
}

#[test]
fn histograms_of_a_block() {
    let series = block("histograms");
    assert_eq!(series.len(), 3);
    for (name, samples) in &series[..2] {
        check_histograms(name, &samples.histograms);
        assert_eq!(samples.histograms[1].1.hint, ResetHint::NotReset);
    }
    let up = &series[2].1.floats;
    assert_eq!(
        up[..3],
        [0.0, 1.0, 0.0]
            .map(|v| v)
            .iter()
            .enumerate()
            .map(|(k, v)| (START_MS + 15_000 * k as i64, *v))
            .collect::<Vec<_>>()
    );
    assert!(is_stale(up[39].1));
}

/// Every record of a segment file.
fn records(segment: &[u8]) -> Result<Vec<Record>> {
    let (mut pages, mut records) = (WalPages::default(), Vec::new());
    for page in segment.chunks(PAGE_BYTES) {
        pages.page(page, &mut |record| {
            decode_record(record, &mut |one| {
                records.push(one);
                Ok(())
            })
        })?;
    }
    Ok(records)
}

#[test]
fn the_log_holds_the_same() {
    let records = records(&file("histograms.wal")).unwrap();
    let mut series = std::collections::BTreeMap::new();
    let (mut histograms, mut floats) =
        (std::collections::BTreeMap::<u64, Vec<_>>::new(), Vec::new());
    for record in records {
        match record {
            Record::Series(number, labels) => drop(series.insert(number, labels.to_string())),
            Record::Sample(number, t_ms, value) => floats.push((number, t_ms, value)),
            Record::Histogram(number, t_ms, h) => {
                histograms.entry(number).or_default().push((t_ms, *h));
            }
            Record::Exemplar(..) | Record::Tombstone(..) => panic!("none was written"),
        }
    }
    assert_eq!(series.len(), 3);
    for (number, histograms) in histograms {
        check_histograms(&series[&number], &histograms);
    }
    assert_eq!(floats.len(), 40);
    assert!(floats.iter().all(|(number, ..)| series[number] == r#"up{job="j"}"#));
}

#[test]
fn a_changed_byte_is_found_by_its_checksum() {
    let (mut index, mut chunks, mut wal) =
        (file("floats.index"), file("floats.chunks"), file("histograms.wal"));
    chunks[SEGMENT_HEADER_BYTES + 20] ^= 1;
    let error = open_frame(&chunks[SEGMENT_HEADER_BYTES..]).unwrap_err();
    assert!(error.message().starts_with("checksum of chunk"), "{error}");
    // Behind the header of the first fragment.
    wal[8] ^= 1;
    assert!(records(&wal).unwrap_err().message().contains("checksum of a wal fragment"));
    let whole = Index::open(&index).unwrap();
    let (mut series, first) = (whole.series(), whole.series().next().unwrap().unwrap());
    series.next();
    let second_ends = series.progress().0;
    assert!(second_ends > 0 && first.labels.metric_name() == "a_total");
    let series_at = usize::try_from(first.reference).unwrap() * 16;
    index[series_at + 3] ^= 1;
    let damaged = Index::open(&index).unwrap();
    let entries: Vec<_> = damaged.series().collect();
    assert_eq!(entries.len(), 3);
    let error = entries[0].as_ref().unwrap_err();
    assert!(
        error.message().starts_with(&format!("series at offset {series_at} of the index: ")),
        "{error}"
    );
    assert_eq!(entries[1].as_ref().unwrap().labels.metric_name(), "b");
}

/// Writes bits, most significant first.
#[derive(Default)]
struct BitWriter(Vec<bool>);

impl BitWriter {
    fn bits(&mut self, value: u64, width: u32) -> &mut Self {
        self.0.extend((0..width).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    /// A small number: zero, or in the class of three bits.
    fn small(&mut self, value: u64) -> &mut Self {
        if value == 0 { self.bits(0, 1) } else { self.bits(0b10, 2).bits(value, 3) }
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            bits.iter().enumerate().fold(0, |b, (i, on)| b | u8::from(*on) << (7 - i))
        };
        self.0.chunks(8).map(byte).collect()
    }
}

#[test]
fn custom_bounds_are_thousandths_or_floats() {
    let mut bits = BitWriter::default();
    // Two samples, no flags, zero threshold 0, schema -53.
    bits.bits(2, 16).bits(0, 8).bits(0, 8);
    bits.bits(0b11110, 5).bits((-53_i64).cast_unsigned() & 0xfff, 12);
    // One span of two buckets at 0, no negative ones.
    bits.small(1).small(2).small(0).small(0);
    // Bounds 0.003 and pi.
    bits.small(2).small(4).bits(0, 1).bits(std::f64::consts::PI.to_bits(), 64);
    // At 1 ms: 3 observations, none in the zero bucket, sum 0; buckets 1 and 2.
    bits.small(1).small(3).small(0).bits(0, 64).small(1).small(1);
    // At 3 ms: one more, in the second bucket.
    bits.small(2).small(1).small(0).bits(0, 1).small(0).small(1);
    let mut samples = Samples::default();
    decode_chunk(2, &bits.bytes(), &mut samples).unwrap();
    let [(t0, first), (t1, second)] = &samples.histograms[..] else { panic!("{samples:?}") };
    assert_eq!((*t0, *t1), (1, 3));
    assert_eq!(first.custom_bounds, [0.003, std::f64::consts::PI]);
    assert_eq!((&first.positive[..], &second.positive[..]), (&[1.0, 2.0][..], &[1.0, 3.0][..]));
    first.validate().unwrap();
    second.validate().unwrap();
}

#[test]
fn a_layout_that_is_copied_too_often_is_refused() {
    let mut bits = BitWriter::default();
    bits.bits(u64::from(u16::MAX), 16).bits(0, 8).bits(0, 8);
    bits.bits(0b11110, 5).bits((-53_i64).cast_unsigned() & 0xfff, 12).small(0).small(0);
    bits.bits(0b1110, 4).bits(400, 9);
    for _ in 0..400 {
        bits.small(1);
    }
    let error = decode_chunk(2, &bits.bytes(), &mut Samples::default()).unwrap_err();
    assert!(error.message().contains("65535 histograms of 400 spans and bounds"), "{error}");
}

#[test]
fn tombstones_name_series_and_times() {
    let mut bytes = vec![0x01, 0x30, 0xba, 0x30, 1];
    let entries = [0x90, 0x03, 20, 40];
    bytes.extend(entries);
    bytes.extend(crc32c::crc32c(&entries).to_be_bytes());
    let tombstones = Tombstones::decode(&bytes).unwrap();
    assert_eq!(tombstones.of(400), [Interval { min_ms: 10, max_ms: 20 }]);
    assert!(tombstones.of(400)[0].contains(20) && !tombstones.of(400)[0].contains(21));
    assert_eq!(tombstones.of(1), []);
    bytes[6] ^= 1;
    assert!(Tombstones::decode(&bytes).is_err());
}

/// Bytes with the checksum behind them.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes);
    bytes.extend(crc.to_be_bytes());
    bytes
}

fn samples_bytes(samples: &Samples) -> usize {
    let of = |h: &Histogram| {
        let spans = h.positive_spans.len() + h.negative_spans.len();
        8 * (spans + h.positive.len() + h.negative.len() + h.custom_bounds.len())
    };
    16 * samples.floats.len()
        + samples.histograms.iter().map(|(_, h)| size_of::<Histogram>() + of(h)).sum::<usize>()
}

proptest! {
    #[test]
    fn noise_is_refused_or_bounded(encoding in 0_u8..6, mut noise in proptest::collection::vec(any::<u8>(), 0..400), at in any::<u16>()) {
        let mut samples = Samples::default();
        let _ignored = decode_chunk(encoding, &noise, &mut samples);
        // A histogram without buckets takes four bits and some 200 bytes.
        prop_assert!(samples_bytes(&samples) <= noise.len() * 1024 + 8 * (1 << 22));
        let _ignored = open_frame(&noise);
        let _ignored = Tombstones::decode(&noise);
        let _ignored = BlockMeta::decode(&noise);
        let _ignored = decode_record(&noise, &mut |_| Ok(()));
        let _ignored = WalPages::default().page(&noise, &mut |_| Ok(()));
        if let Ok(index) = Index::open(&noise) {
            prop_assert!(index.series().count() <= noise.len());
        }
        // Noise behind right checksums gets further.
        let mut index = file("floats.index");
        let len = index.len();
        noise.truncate(48);
        let from = usize::from(at) % (len - 52);
        for (byte, noise) in index[5 + from / 2..].iter_mut().zip(&noise) {
            *byte ^= noise;
        }
        let contents = sealed(index[len - 52..len - 4].to_vec());
        index.splice(len - 52.., contents);
        if let Ok(index) = Index::open(&index) {
            prop_assert!(index.series().count() <= len);
        }
    }
}

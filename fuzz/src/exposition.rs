//! The properties of all exposition formats.

use ingest::exposition::{
    Encoding, Histograms, Limits, Metadata, NativeSample, Sample, Visitor, decode, series_labels,
    validate,
};
use model::Result;

use crate::assert_bounded;

#[derive(Debug, PartialEq)]
struct Row {
    series: String,
    bits: u64,
    timestamp_ms: Option<i64>,
    exemplar: Option<String>,
}

#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    metadata: usize,
    /// What an earlier parse found, offered as the prediction.
    expected: Vec<String>,
    predicted: usize,
}

impl Visitor for Rows {
    fn expected(&self) -> &str {
        self.expected.get(self.rows.len()).map_or("", String::as_str)
    }

    fn sample(&mut self, sample: Sample<'_>) -> Result<()> {
        self.predicted += usize::from(sample.predicted);
        self.rows.push(Row {
            series: sample.series.to_owned(),
            bits: sample.value.to_bits(),
            timestamp_ms: sample.timestamp_ms,
            exemplar: sample.exemplar.map(|e| format!("{:?}", e.decode(0))),
        });
        Ok(())
    }

    fn histograms(&self) -> Histograms {
        Histograms::NativeAndClassic
    }

    fn histogram(&mut self, sample: NativeSample<'_>) -> Result<()> {
        assert!(sample.value.validate().is_ok(), "{:?}", sample.value);
        self.predicted += usize::from(sample.predicted);
        self.rows.push(Row {
            series: sample.series.to_owned(),
            bits: sample.value.sum.to_bits(),
            timestamp_ms: sample.timestamp_ms,
            exemplar: None,
        });
        Ok(())
    }

    fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()> {
        self.metadata += 1;
        if let Metadata::Help { text, .. } = metadata {
            assert!(text.len() < 1 << 20, "help of {} bytes", text.len());
        }
        Ok(())
    }
}

/// Parses `body` and checks what came of it.
///
/// # Panics
/// When a property does not hold.
pub fn check(body: &[u8], encoding: Encoding) {
    let format = encoding.series_format();
    let mut first = Rows::default();
    let parsed = decode(body, encoding, &Limits::NONE, &mut first);
    if let Err(e) = &parsed
        && let Some((start, end)) = e.span()
    {
        assert!(start <= end && end <= body.len(), "span {start}..{end} of {}", body.len());
    }
    for row in &first.rows {
        let labels = series_labels(&row.series, format);
        // A label given twice is found only here.
        let twice = labels.as_ref().is_err_and(|e| e.message().contains("once"));
        assert!(labels.is_ok() || twice, "{:?}: {labels:?}", row.series);
        assert_bounded(labels.map_or(0, |l| l.packed_len()), row.series.len());
    }
    if parsed.is_ok() {
        let expected = first.rows.iter().map(|r| r.series.clone()).collect();
        let mut second = Rows { expected, ..Rows::default() };
        let again = decode(body, encoding, &Limits::NONE, &mut second);
        assert!(again.is_ok(), "{again:?}");
        assert_eq!(first.rows, second.rows);
        assert_eq!(first.metadata, second.metadata);
        assert_eq!(second.predicted, second.rows.len());
    }
    if let Encoding::Text(format) = encoding {
        // Whatever the verdict: it must come back, and be no milder.
        let valid = validate(body, format, &Limits::NONE);
        assert!(parsed.is_ok() || valid.is_err());
    }
}

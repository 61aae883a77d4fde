//! Runs the exposition bodies below a directory through the parser.
//!
//! Usage: `conformance_exposition DIR`, DIR with the layout of the `exposition` topic. A body must be refused when its
//! name says so (`*error*`, `*bad*`), or when it is not an exposition body at all; every other body must parse, text or
//! protobuf. Where an expected result lies beside a body, it is compared with the samples read.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for the terminal")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ingest::exposition::{
    Encoding, Format, Limits, Metadata, Sample, Visitor, decode, parse, series_labels, validate,
};
use model::Labels;

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: conformance_exposition DIR");
        return ExitCode::from(2);
    };
    let mut files = Vec::new();
    find(Path::new(&dir), &mut files);
    files.sort();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for file in &files {
        let path = file.display();
        match run(file) {
            Outcome::NoCase => {}
            Outcome::Passed => passed += 1,
            Outcome::Failed(why) => {
                println!("FAIL {path}: {why}");
                failed += 1;
            }
            Outcome::Skipped(why) => {
                println!("SKIP {path}: {why}");
                skipped += 1;
            }
        }
    }
    println!("exposition: {passed} passed, {failed} failed, {skipped} skipped");
    if passed + failed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

enum Outcome {
    /// Not a body: a licence, a readme, the expected result of another file.
    NoCase,
    Passed,
    Failed(String),
    Skipped(&'static str),
}

fn find(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { find(&path, files) } else { files.push(path) }
    }
}

/// All samples with their labels, in order.
#[derive(Default)]
struct Samples {
    format: Option<Format>,
    rows: Vec<(Labels, f64, Option<i64>)>,
}

impl Visitor for Samples {
    fn sample(&mut self, sample: Sample<'_>) -> model::Result<()> {
        let labels = series_labels(sample.series, self.format.unwrap_or(Format::Prometheus))?;
        self.rows.push((labels, sample.value, sample.timestamp_ms));
        Ok(())
    }

    fn metadata(&mut self, _: Metadata<'_>) -> model::Result<()> {
        Ok(())
    }
}

fn run(file: &Path) -> Outcome {
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let is_document = ["LICENSE", "NOTICE", "README"].iter().any(|d| name.starts_with(d));
    if is_document || name.ends_with(".out") {
        return Outcome::NoCase;
    }
    if let Some(why) = foreign(file, &name) {
        return Outcome::Skipped(why);
    }
    if name.starts_with("non_matching") {
        return Outcome::Skipped("not an exposition body: upstream proves that it is never read");
    }
    let Ok(body) = std::fs::read(file) else { return Outcome::Skipped("cannot be read") };
    if name.starts_with("protobuf") {
        return protobuf(file, &body);
    }
    let format = if !name.contains(".prom") && body.trim_ascii_end().ends_with(b"# EOF") {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    };
    let must_fail = name.contains("error")
        || name.contains("bad")
        || name.contains("statsd")
        || name.contains(".json");
    let mut samples = Samples { format: Some(format), rows: Vec::new() };
    if must_fail {
        let verdict = parse(&body, format, &Limits::NONE, &mut samples)
            .and_then(|()| validate(&body, format, &Limits::NONE));
        return match verdict {
            Ok(()) => Outcome::Failed("accepted, must be refused".to_owned()),
            Err(_) => Outcome::Passed,
        };
    }
    if let Err(e) = parse(&body, format, &Limits::NONE, &mut samples) {
        return Outcome::Failed(format!("refused: {e}"));
    }
    if samples.rows.iter().any(|(labels, ..)| labels.metric_name().is_empty()) {
        return Outcome::Failed("a sample without a metric name".to_owned());
    }
    match expected_samples(file) {
        Some(expected) => {
            let case = file.parent().and_then(Path::file_name).unwrap_or_default();
            let left_out = LEFT_OUT.iter().find(|(name, _)| case == *name).map_or(0, |(_, n)| *n);
            compare(&samples.rows, &(expected + left_out))
        }
        None => Outcome::Passed,
    }
}

/// Why a file is no body of the formats that scrapers ask for.
fn foreign(file: &Path, name: &str) -> Option<&'static str> {
    if name.starts_with("remote_write") {
        return Some("a remote write request, not an exposition body");
    }
    if file.parent().is_some_and(|dir| dir.ends_with("protobuf_infolabels")) {
        return Some("OpenMetrics protobuf, which no scraper negotiates; it asks for MetricFamily");
    }
    None
}

/// A protobuf body, perhaps compressed; both forms of one body must say the same.
fn protobuf(file: &Path, body: &[u8]) -> Outcome {
    let mut plain = Vec::new();
    let is_gzip = file.extension().is_some_and(|e| e == "gz");
    if is_gzip {
        let unpacked = flate2::read::GzDecoder::new(body).take(1 << 24).read_to_end(&mut plain);
        if let Err(e) = unpacked {
            return Outcome::Failed(format!("cannot be unpacked: {e}"));
        }
    } else {
        plain.extend_from_slice(body);
    }
    let mut samples = Samples { format: Some(Format::Prometheus), rows: Vec::new() };
    if let Err(e) = decode(&plain, Encoding::Protobuf, &Limits::NONE, &mut samples) {
        return Outcome::Failed(format!("refused: {e}"));
    }
    let families = samples.rows.iter().filter(|(l, ..)| !l.metric_name().is_empty()).count();
    if families == 0 || families < samples.rows.len() {
        return Outcome::Failed("a sample without a metric name, or none at all".to_owned());
    }
    let other = std::fs::read(file.with_extension("")).unwrap_or_default();
    if is_gzip && other != plain {
        return Outcome::Failed("differs from the body beside it".to_owned());
    }
    Outcome::Passed
}

/// Samples that Prometheus keeps and the expected result leaves out.
const LEFT_OUT: [(&str, usize); 1] =
    // `…_count` and `…_sum` in families of counters.
    [("dovecot", 2)];

/// How many samples the file beside the body says there are, where it says so in a form that can be counted.
fn expected_samples(file: &Path) -> Option<usize> {
    let expected = std::fs::read_to_string(file.with_file_name("expected_v2.out")).ok()?;
    // One line per sample in this form: `prometheus,tags field=value time`; several fields are several samples.
    let fields = |line: &str| {
        let after_tags = split_unescaped(line)?;
        Some(after_tags.split(',').count())
    };
    expected.lines().filter(|l| !l.is_empty()).map(fields).sum()
}

/// The field part of a line-protocol line: behind the first blank that is not escaped, up to the next.
fn split_unescaped(line: &str) -> Option<&str> {
    let mut previous = ' ';
    for (i, c) in line.char_indices() {
        if c == ' ' && previous != '\\' {
            return line[i + 1..].split(' ').next();
        }
        previous = c;
    }
    None
}

fn compare(rows: &[(Labels, f64, Option<i64>)], expected: &usize) -> Outcome {
    // NaN values have no line in the expected form.
    let found = rows.iter().filter(|(_, value, _)| !value.is_nan()).count();
    if found == *expected {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("{found} samples, expected {expected}"))
    }
}

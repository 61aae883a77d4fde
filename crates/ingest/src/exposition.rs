//! What targets expose: Prometheus text 0.0.4 and 1.0.0, OpenMetrics 1.0 text, and protobuf; one pass over the body,
//! samples, native histograms and metadata to a [`Visitor`].
//!
//! Owns: the grammar of the text formats, label and help escapes, quoted UTF-8 names, timestamps, exemplars, `# EOF`, and
//! the limits of [`Limits`]; the messages of the protobuf format (`protobuf.rs`); classic histograms as native ones with
//! custom buckets ([`CustomBuckets`]). [`parse`] is as forgiving as Prometheus' own scraper where targets in the wild need
//! it; [`validate`] adds the rules of the specifications about metric families (`strict.rs`). Does not own: identity of
//! series beyond [`series_labels`], relabelling, and the wire format of protocol buffers.
//!
//! The fast path: a scraper knows which series came at this position last time and offers its bytes through
//! [`Visitor::expected`]; if the line starts with them, nothing is scanned, hashed or allocated. A body that differs from
//! the last one in its numbers only is not parsed at all ([`Shape`]).

mod bounds;
mod custom_buckets;
mod decimal;
mod exemplar;
mod families;
mod labels;
mod protobuf;
mod shape;
mod strict;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};
use model::{Error, ErrorKind, Histogram, MetricKind, Result};

pub use bounds::{canonical_bound, open_metrics_float};
pub use custom_buckets::CustomBuckets;
pub use exemplar::RawExemplar;
pub use families::Families;
pub use labels::series_labels;
pub use shape::Shape;
pub use strict::validate;

use exemplar::EXEMPLAR_CHARS_MAX;
use labels::Scanner;

/// The value Prometheus stores for every NaN it reads, so that no foreign NaN looks like a staleness marker.
const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Which of the text formats a body is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4 (and 1.0.0, which adds quoted names).
    Prometheus,
    /// OpenMetrics 1.0 text.
    OpenMetrics,
}

/// What a body is encoded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// One of the text formats.
    Text(Format),
    /// `io.prometheus.client.MetricFamily` messages, each behind its length.
    Protobuf,
}

impl Encoding {
    /// The encoding a media type (without parameters) names; `None` for any other.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        Some(match media_type.to_ascii_lowercase().as_str() {
            "application/openmetrics-text" => Self::Text(Format::OpenMetrics),
            "text/plain" => Self::Text(Format::Prometheus),
            "application/vnd.google.protobuf" => Self::Protobuf,
            _ => return None,
        })
    }

    /// The format in which [`Sample::series`] is written.
    pub fn series_format(self) -> Format {
        match self {
            Self::Text(format) => format,
            Self::Protobuf => Format::Prometheus,
        }
    }
}

/// Which form of histograms a visitor wants where a body has more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Histograms {
    /// Native ones; classic buckets where there is no native form.
    #[default]
    Native,
    /// Native ones, and classic buckets beside them.
    NativeAndClassic,
    /// Classic buckets only.
    Classic,
}

/// Bounds on foreign input; `usize::MAX` switches one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole body, decompressed.
    pub body_bytes_max: usize,
    /// Sample lines in a body.
    pub samples_max: usize,
    /// Labels of one series, without its name.
    pub labels_max: usize,
    /// Bytes of a metric or label name.
    pub name_bytes_max: usize,
    /// Bytes of a label value, unescaped.
    pub value_bytes_max: usize,
}

impl Limits {
    /// No bound but the memory the caller already spent on the body.
    pub const NONE: Self = Self {
        body_bytes_max: usize::MAX,
        samples_max: usize::MAX,
        labels_max: usize::MAX,
        name_bytes_max: usize::MAX,
        value_bytes_max: usize::MAX,
    };
}

/// One sample line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// Name and labels exactly as written (`a_total{b="c"}`); [`series_labels`] turns them into labels.
    pub series: &'a str,
    /// Value; every NaN is the one plain NaN, never a staleness marker.
    pub value: f64,
    /// The line's own time in Unix milliseconds, if it has one.
    pub timestamp_ms: Option<i64>,
    /// Its exemplar; not in the Prometheus text format.
    pub exemplar: Option<RawExemplar<'a>>,
    /// Whether `series` equals what [`Visitor::expected`] offered.
    pub predicted: bool,
    /// Where `series` ends in a body of text, in bytes; `None` in other formats.
    pub series_end: Option<usize>,
}

/// One native histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeSample<'a> {
    /// Name and labels, as in [`Sample::series`].
    pub series: &'a str,
    /// Valid, without empty buckets.
    pub value: Histogram,
    /// Its own time in Unix milliseconds, if it has one.
    pub timestamp_ms: Option<i64>,
    /// Its exemplars.
    pub exemplars: &'a [RawExemplar<'a>],
    /// As in [`Sample::predicted`].
    pub predicted: bool,
}

/// One metadata line; names are unquoted, texts unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metadata<'a> {
    /// `# TYPE name kind`
    Type {
        /// Metric (family) name.
        name: Cow<'a, str>,
        /// Declared type.
        kind: MetricKind,
    },
    /// `# HELP name text`
    Help {
        /// Metric (family) name.
        name: Cow<'a, str>,
        /// Unescaped text.
        text: Cow<'a, str>,
    },
    /// `# UNIT name unit`
    Unit {
        /// Metric (family) name.
        name: Cow<'a, str>,
        /// Unit, may be empty.
        unit: Cow<'a, str>,
    },
}

/// Receives what a body contains, in its order. An error ends the parse; the parser adds line and column to it.
pub trait Visitor {
    /// The series text expected on the next sample line; `""` when unknown. Must have come from an earlier
    /// [`Sample::series`] of the same [`Format`], because a match skips all checks of it.
    fn expected(&self) -> &str {
        ""
    }

    /// Bytes of the expected series if `text` starts with it, and it is known. For visitors that recognise a series
    /// without keeping its text; what [`expected`](Self::expected) asks for holds here, too.
    fn expects(&self, text: &str) -> Option<usize> {
        let expected = self.expected();
        (!expected.is_empty() && text.starts_with(expected)).then_some(expected.len())
    }

    /// A sample.
    ///
    /// # Errors
    /// Whatever the visitor refuses.
    fn sample(&mut self, sample: Sample<'_>) -> Result<()>;

    /// Which form of histograms is wanted.
    fn histograms(&self) -> Histograms {
        Histograms::default()
    }

    /// A native histogram. Text formats have none, so visitors of text alone need not implement it.
    ///
    /// # Errors
    /// Whatever the visitor refuses.
    fn histogram(&mut self, _: NativeSample<'_>) -> Result<()> {
        Ok(())
    }

    /// A metadata line.
    ///
    /// # Errors
    /// Whatever the visitor refuses.
    fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()>;
}

/// Parses a whole body in any encoding; for text see [`parse`].
///
/// Cost: one pass; protobuf allocates for native histograms only.
///
/// # Errors
/// As [`parse`]; for protobuf the message names the message (from 1), the field and its offset in the body.
pub fn decode(
    body: &[u8],
    encoding: Encoding,
    limits: &Limits,
    visitor: &mut impl Visitor,
) -> Result<()> {
    match encoding {
        Encoding::Text(format) => parse(body, format, limits, visitor),
        Encoding::Protobuf => {
            check_size(body, limits)?;
            protobuf::parse(body, limits, visitor)
        }
    }
}

fn check_size(body: &[u8], limits: &Limits) -> Result<()> {
    if body.len() <= limits.body_bytes_max {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Limit,
        format!("body has {} bytes; the limit is {}", body.len(), limits.body_bytes_max),
    ))
}

/// Parses a whole body of text. Samples handed out before an error stay with the visitor, which must then discard them.
///
/// Cost: one pass, no allocation per sample; metadata with escapes allocates once.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) or [`Limit`](ErrorKind::Limit), the message naming line, column (both from 1, in
/// bytes) and what was expected, with the byte offset as span.
///
/// Source: Prometheus "Exposition formats"; OpenMetrics 1.0 ABNF.
pub fn parse(
    body: &[u8],
    format: Format,
    limits: &Limits,
    visitor: &mut impl Visitor,
) -> Result<()> {
    check_size(body, limits)?;
    let text = std::str::from_utf8(body).map_err(|e| {
        locate(body, e.valid_up_to(), Error::invalid("expected UTF-8, found an invalid byte"))
    })?;
    let mut parser = Parser { text, format, limits, samples: 0, escapes_strict: false };
    parser.run(visitor).map_err(|(at, e)| locate(body, at, e))
}

/// An error and the byte offset it belongs to.
type At = (usize, Error);

/// Puts `line L, column C: ` before the message and attaches the offset.
fn locate(body: &[u8], at: usize, error: Error) -> Error {
    let before = body.get(..at).unwrap_or(body);
    let line = memchr_iter(b'\n', before).count() + 1;
    let column = at - memchr::memrchr(b'\n', before).map_or(0, |p| p + 1) + 1;
    error.context(format_args!("line {line}, column {column}")).with_span(at, at)
}

fn expected_at(text: &str, at: usize, what: &str) -> At {
    let found = match text.get(at..).and_then(|rest| rest.chars().next()) {
        None => "the end of the body".to_owned(),
        Some('\n') => "the end of the line".to_owned(),
        Some(c) => format!("{c:?}"),
    };
    (at, Error::invalid(format!("expected {what}, found {found}")))
}

struct Parser<'a> {
    text: &'a str,
    format: Format,
    limits: &'a Limits,
    samples: usize,
    /// Whether escapes other than `\\`, `\"` and `\n` are errors.
    escapes_strict: bool,
}

impl<'a> Parser<'a> {
    fn run(&mut self, visitor: &mut impl Visitor) -> Result<(), At> {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if let Some(next) = self.predicted_line(at, visitor)? {
                at = next;
                continue;
            }
            let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |n| at + n);
            let ended = match self.format {
                Format::Prometheus => self.prometheus_line(at, end, visitor)?,
                Format::OpenMetrics => self.open_metrics_line(at, end, visitor)?,
            };
            at = end + 1;
            if ended {
                return match bytes.get(at..) {
                    None | Some([]) => Ok(()),
                    Some(_) => Err(expected_at(self.text, at, "nothing after # EOF")),
                };
            }
        }
        match self.format {
            Format::Prometheus => Ok(()),
            Format::OpenMetrics => {
                Err((bytes.len(), Error::invalid("expected # EOF as the last line")))
            }
        }
    }

    fn prometheus_line(
        &mut self,
        at: usize,
        end: usize,
        visitor: &mut impl Visitor,
    ) -> Result<bool, At> {
        let start = self.skip_blanks(at, end);
        if start == end {
            return Ok(false);
        }
        if self.byte(start) == Some(b'#') {
            self.prometheus_comment(start, end, visitor)?;
        } else {
            self.sample(start, end, visitor)?;
        }
        Ok(false)
    }

    fn prometheus_comment(
        &self,
        at: usize,
        end: usize,
        visitor: &mut impl Visitor,
    ) -> Result<(), At> {
        let word_at = self.skip_blanks(at + 1, end);
        let rest = &self.text[word_at..end];
        // `#` and the keyword must be apart, and so must keyword and name; anything else is a comment.
        let Some(keyword) = ["HELP", "TYPE"]
            .into_iter()
            .find(|k| rest.strip_prefix(k).is_some_and(|r| r.starts_with([' ', '\t'])))
            .filter(|_| word_at > at + 1)
        else {
            return Ok(());
        };
        let name_at = self.skip_blanks(word_at + keyword.len(), end);
        if name_at == end {
            return Ok(());
        }
        let (name, name_end) = self.scanner().metadata_name(name_at, end)?;
        let text_at = self.skip_blanks(name_end, end);
        if text_at == name_end && text_at < end {
            return Err(expected_at(self.text, text_at, "a space after the metric name"));
        }
        let text = &self.text[text_at..end];
        let metadata = if keyword == "TYPE" {
            let text = text.trim_end_matches([' ', '\t']);
            let kind = metric_kind(text, self.format).ok_or_else(|| {
                (text_at, Error::invalid(format!("expected a metric type, found {text:?}")))
            })?;
            Metadata::Type { name, kind }
        } else {
            Metadata::Help { name, text: labels::unescape_help(text, false) }
        };
        visitor.metadata(metadata).map_err(|e| (at, e))
    }

    fn open_metrics_line(
        &mut self,
        at: usize,
        end: usize,
        visitor: &mut impl Visitor,
    ) -> Result<bool, At> {
        let line = &self.text[at..end];
        if line == "# EOF" {
            return Ok(true);
        }
        if end == self.text.len() {
            return Err((end, Error::invalid("expected # EOF as the last line")));
        }
        if !line.starts_with('#') {
            return self.sample(at, end, visitor).map(|()| false);
        }
        let Some(keyword) = ["HELP", "TYPE", "UNIT"]
            .into_iter()
            .find(|k| line[1..].strip_prefix(' ').and_then(|r| r.strip_prefix(k)).is_some())
        else {
            return Err((at, Error::invalid("expected # HELP, # TYPE, # UNIT or # EOF")));
        };
        let name_at = self.one_space(at + 6, end)?;
        let (name, name_end) = self.scanner().metadata_name(name_at, end)?;
        let text_at = self.one_space(name_end, end)?;
        let text = &self.text[text_at..end];
        let metadata = match keyword {
            "TYPE" => {
                let kind = metric_kind(text, self.format).ok_or_else(|| {
                    (text_at, Error::invalid(format!("expected a metric type, found {text:?}")))
                })?;
                Metadata::Type { name, kind }
            }
            "UNIT" => {
                if !text.is_empty() && !unit_fits(&name, text) {
                    let message =
                        format!("expected a metric name that ends with _{text}, found {name:?}");
                    return Err((text_at, Error::invalid(message)));
                }
                Metadata::Unit { name, unit: Cow::Borrowed(text) }
            }
            _ => Metadata::Help { name, text: labels::unescape_help(text, true) },
        };
        visitor.metadata(metadata).map_err(|e| (at, e)).map(|()| false)
    }

    /// The line at `at`, if it is the expected series, one space and a plain number: what nearly all lines are. Returns
    /// where the next begins.
    #[inline]
    fn predicted_line(
        &mut self,
        at: usize,
        visitor: &mut impl Visitor,
    ) -> Result<Option<usize>, At> {
        let Some(len) = visitor.expects(&self.text[at..]) else { return Ok(None) };
        let series_end = at + len;
        let behind = &self.text.as_bytes()[series_end..];
        let Some((b' ', rest)) = behind.split_first() else { return Ok(None) };
        let Some((value, len)) = decimal::read(rest) else { return Ok(None) };
        if rest.get(len) != Some(&b'\n') || self.samples >= self.limits.samples_max {
            return Ok(None);
        }
        self.samples += 1;
        let series = &self.text[at..series_end];
        let sample = Sample {
            series,
            value,
            timestamp_ms: None,
            exemplar: None,
            predicted: true,
            series_end: Some(series_end),
        };
        visitor.sample(sample).map_err(|e| (at, e))?;
        Ok(Some(series_end + 1 + len + 1))
    }

    /// A sample line `[at, end)`.
    fn sample(&mut self, at: usize, end: usize, visitor: &mut impl Visitor) -> Result<(), At> {
        self.samples += 1;
        if self.samples > self.limits.samples_max {
            let message =
                format!("body has more samples than the limit of {}", self.limits.samples_max);
            return Err((at, Error::new(ErrorKind::Limit, message)));
        }
        let predicted_end = self.predicted_end(at, end, visitor);
        let series_end = match predicted_end {
            Some(series_end) => series_end,
            None => self.scanner().series(at, end)?,
        };
        let series = &self.text[at..series_end];
        let (value, timestamp_ms, exemplar) = match self.format {
            Format::Prometheus => self.prometheus_value(series_end, end)?,
            Format::OpenMetrics => self.open_metrics_value(series_end, end)?,
        };
        let predicted = predicted_end.is_some();
        let exemplar = exemplar.map(RawExemplar::Text);
        let series_end = Some(series_end);
        visitor
            .sample(Sample { series, value, timestamp_ms, exemplar, predicted, series_end })
            .map_err(|e| (at, e))
    }

    /// Where the series ends when the line starts with the expected one and cannot go on as a longer one.
    fn predicted_end(&self, at: usize, end: usize, visitor: &impl Visitor) -> Option<usize> {
        let series_end = at + visitor.expects(&self.text[at..end])?;
        if self.text[at..series_end].ends_with('}') {
            return Some(series_end);
        }
        // A bare name may be followed by labels, in the old format even after blanks.
        let next = self.skip_blanks(series_end, end);
        (next > series_end && self.byte(next) != Some(b'{')).then_some(series_end)
    }

    fn prometheus_value(
        &self,
        at: usize,
        end: usize,
    ) -> Result<(f64, Option<i64>, Option<&'a str>), At> {
        let value_at = self.skip_blanks(at, end);
        // `a{b="c"}1` is accepted as Prometheus does; after a bare name the scanner has seen to a blank.
        let value_end = self.token_end(value_at, end);
        let value = number(&self.text[value_at..value_end])
            .ok_or_else(|| expected_at(self.text, value_at, "a value"))?;
        let time_at = self.skip_blanks(value_end, end);
        if time_at == end {
            return Ok((value, None, None));
        }
        let time_end = self.token_end(time_at, end);
        let time = &self.text[time_at..time_end];
        let digits = time.strip_prefix('-').unwrap_or(time);
        let timestamp_ms = (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| time.parse::<i64>().ok())
            .flatten()
            .ok_or_else(|| expected_at(self.text, time_at, "a timestamp in milliseconds"))?;
        let rest = self.skip_blanks(time_end, end);
        if rest != end {
            return Err(expected_at(self.text, rest, "the end of the line"));
        }
        Ok((value, Some(timestamp_ms), None))
    }

    fn open_metrics_value(
        &self,
        at: usize,
        end: usize,
    ) -> Result<(f64, Option<i64>, Option<&'a str>), At> {
        let value_at = self.one_space(at, end)?;
        let value_end = self.token_end(value_at, end);
        let value = number(&self.text[value_at..value_end])
            .ok_or_else(|| expected_at(self.text, value_at, "a value"))?;
        let mut at = value_end;
        let mut timestamp_ms = None;
        if at < end && !self.text[at..end].starts_with(" #") {
            let time_at = self.one_space(at, end)?;
            at = self.token_end(time_at, end);
            timestamp_ms = Some(
                seconds(&self.text[time_at..at])
                    .ok_or_else(|| expected_at(self.text, time_at, "a timestamp in seconds"))?,
            );
        }
        if at == end {
            return Ok((value, timestamp_ms, None));
        }
        let hash_at = self.one_space(at, end)?;
        self.exemplar(hash_at, end)?;
        Ok((value, timestamp_ms, Some(&self.text[hash_at..end])))
    }

    /// Checks `# {labels} value [timestamp]` in `[at, end)`.
    fn exemplar(&self, at: usize, end: usize) -> Result<(), At> {
        if self.byte(at) != Some(b'#') {
            return Err(expected_at(self.text, at, "an exemplar or the end of the line"));
        }
        let labels_at = self.one_space(at + 1, end)?;
        let (labels_end, chars) = self.scanner().exemplar_labels(labels_at, end)?;
        if chars > EXEMPLAR_CHARS_MAX {
            let message = format!(
                "exemplar labels have {chars} characters; the limit is {EXEMPLAR_CHARS_MAX}"
            );
            return Err((labels_at, Error::new(ErrorKind::Limit, message)));
        }
        let value_at = self.one_space(labels_end, end)?;
        let value_end = self.token_end(value_at, end);
        number(&self.text[value_at..value_end])
            .ok_or_else(|| expected_at(self.text, value_at, "an exemplar value"))?;
        if value_end == end {
            return Ok(());
        }
        let time_at = self.one_space(value_end, end)?;
        seconds(&self.text[time_at..end])
            .map(|_| ())
            .ok_or_else(|| expected_at(self.text, time_at, "an exemplar timestamp in seconds"))
    }

    fn scanner(&self) -> Scanner<'a> {
        Scanner {
            text: self.text,
            format: self.format,
            limits: *self.limits,
            escapes_strict: self.escapes_strict,
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn skip_blanks(&self, mut at: usize, end: usize) -> usize {
        while at < end && matches!(self.byte(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        at
    }

    fn one_space(&self, at: usize, end: usize) -> Result<usize, At> {
        if at < end && self.byte(at) == Some(b' ') {
            return Ok(at + 1);
        }
        Err(expected_at(self.text, at, "one space"))
    }

    fn token_end(&self, mut at: usize, end: usize) -> usize {
        while at < end && !matches!(self.byte(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        at
    }
}

/// The one plain NaN for every NaN.
fn normal_nan(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(NORMAL_NAN_BITS) } else { value }
}

/// Whether a metric name carries `unit` as its last part.
fn unit_fits(name: &str, unit: &str) -> bool {
    name.strip_suffix(unit).is_some_and(|stem| stem.ends_with('_') && stem.len() > 1)
}

fn metric_kind(text: &str, format: Format) -> Option<MetricKind> {
    Some(match (text, format) {
        ("counter", _) => MetricKind::Counter,
        ("gauge", _) => MetricKind::Gauge,
        ("histogram", _) => MetricKind::Histogram,
        ("summary", _) => MetricKind::Summary,
        ("untyped", Format::Prometheus) | ("unknown", Format::OpenMetrics) => MetricKind::Unknown,
        ("gaugehistogram", Format::OpenMetrics) => MetricKind::GaugeHistogram,
        ("info", Format::OpenMetrics) => MetricKind::Info,
        ("stateset", Format::OpenMetrics) => MetricKind::StateSet,
        _ => return None,
    })
}

/// A sample value: decimal, `NaN`, or an infinity, in any case of letters.
fn number(text: &str) -> Option<f64> {
    if let Some((value, len)) = decimal::read(text.as_bytes())
        && len == text.len()
    {
        return Some(value);
    }
    let value: f64 = text.parse().ok()?;
    if value.is_nan() {
        // A sign before NaN is not in either grammar, though Rust reads it.
        return text.eq_ignore_ascii_case("nan").then(|| f64::from_bits(NORMAL_NAN_BITS));
    }
    Some(value)
}

/// Seconds with a fraction as milliseconds; NaN and infinities are not times.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn seconds(text: &str) -> Option<i64> {
    let value = number(text)?;
    let ms = (value * 1000.0).round();
    (ms.is_finite() && ms.abs() < 9.0e15).then_some(ms as i64)
}

//! Remote write, receiving side: `prometheus.WriteRequest` (1.0) and `io.prometheus.write.v2.Request` (2.0).
//!
//! Owns: which message a `Content-Type` names, both messages' fields, and what makes a series, histogram or exemplar
//! acceptable. One pass over the unpacked body; a series that is not acceptable is refused alone and named, bytes that
//! are not such a message refuse the whole. Does not own: compression (`compression.rs`), HTTP, storing. Start (created)
//! timestamps are read over: the store has no place for them.
//!
//! The fast path: of a series that was [known](crate::known) and is expected next, the label bytes are compared with the
//! labels (`predicted.rs`), and its samples are read where they lie. Everything else takes the path that checks.
//!
//! Source: "Prometheus Remote-Write" 1.0 and 2.0 specifications.

mod histogram;
mod predicted;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use model::{
    Error, ErrorKind, Exemplar, ExemplarRow, HistogramRow, Labels, METRIC_NAME, MetricKind,
    MetricMetadata, Result, StampedRow,
};
use rustc_hash::FxHashMap;

use crate::known::{ByLabels, Key as _, Known, News, Walk};
use crate::protobuf::{Field, Reader};

/// Which message a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// `prometheus.WriteRequest`
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

impl Message {
    /// The message a `Content-Type` header names.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for other media types and other messages; the answer is 415.
    pub fn from_content_type(content_type: &str) -> Result<Self> {
        let mut parts = content_type.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or("");
        if !media_type.eq_ignore_ascii_case("application/x-protobuf") {
            return Err(Error::invalid(format!(
                "content type {media_type:?} is not supported; it must be application/x-protobuf"
            )));
        }
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            if name.trim().eq_ignore_ascii_case("proto") {
                return match value.trim().trim_matches('"') {
                    "prometheus.WriteRequest" => Ok(Self::V1),
                    "io.prometheus.write.v2.Request" => Ok(Self::V2),
                    other => Err(Error::invalid(format!(
                        "message {other:?} is not supported; known are prometheus.WriteRequest and \
                         io.prometheus.write.v2.Request"
                    ))),
                };
            }
        }
        Ok(Self::V1)
    }
}

/// Bounds of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Samples, histograms, exemplars, metadata and symbols together.
    pub rows_max: usize,
    /// Labels of one series, its name included.
    pub labels_max: usize,
    /// Bytes of a label name.
    pub name_bytes_max: usize,
    /// Bytes of a label value.
    pub value_bytes_max: usize,
    /// Bytes of all series' labels together, each counted as often as a series names it.
    pub label_bytes_max: usize,
    /// Buckets of all histograms together.
    pub buckets_max: usize,
}

/// What a request holds: what can be stored, and what cannot.
#[derive(Debug, Default)]
pub struct Request {
    /// Float samples.
    pub samples: Vec<StampedRow>,
    /// Native histograms, validated.
    pub histograms: Vec<HistogramRow>,
    /// Exemplars.
    pub exemplars: Vec<ExemplarRow>,
    /// Type, help and unit; the last one of a name wins.
    pub metadata: Vec<MetricMetadata>,
    /// What was refused.
    pub refused: Refused,
}

/// Rows that were refused, by kind, and the first reasons.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Series refused although they carry no row: their labels are wrong.
    pub series: u64,
    /// Why, of the first few.
    pub reasons: Vec<String>,
}

/// Reasons kept for the answer; the counts go on.
const REASONS_MAX: usize = 10;

impl Refused {
    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.samples + self.histograms + self.exemplars + self.series == 0
    }

    /// Adds a reason, unless there are enough.
    pub fn because(&mut self, reason: impl Into<String>) {
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason.into());
        }
    }
}

/// Reads a request.
///
/// Cost: one pass; labels of a series are one allocation, shared by its rows.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) when the bytes are not such a message, naming field and offset;
/// [`Limit`](ErrorKind::Limit) naming limit and cost.
pub fn decode(message: Message, body: &[u8], limits: &Limits) -> Result<Request> {
    decode_known(message, body, limits, &Known::new(0)).map(|(request, _)| request)
}

/// Reads a request with what is known of earlier ones under the same limits, and says what was new in it. The request is
/// the same as [`decode`]'s.
///
/// Cost: a known series in its usual place costs a comparison of its labels and no allocation.
///
/// # Errors
/// As [`decode`].
pub fn decode_known(
    message: Message,
    body: &[u8],
    limits: &Limits,
    known: &Known<ByLabels>,
) -> Result<(Request, News<ByLabels>)> {
    let mut decoder = Decoder {
        limits,
        request: Request::default(),
        rows: 0,
        label_bytes: 0,
        buckets: 0,
        metadata: FxHashMap::default(),
        walk: known.walk(),
        is_remembering: known.has_room(),
    };
    match message {
        Message::V1 => decoder.v1(body)?,
        Message::V2 => decoder.v2(body)?,
    }
    Ok((decoder.request, decoder.walk.finish()))
}

struct Decoder<'l> {
    limits: &'l Limits,
    request: Request,
    rows: usize,
    label_bytes: usize,
    buckets: usize,
    /// Position of each name in `request.metadata`.
    metadata: FxHashMap<Arc<str>, usize>,
    walk: Walk<'l, ByLabels>,
    /// Whether new series are noted.
    is_remembering: bool,
}

/// One series as it is read: rows first, labels checked once all of them are known.
#[derive(Default)]
struct Series<'a> {
    pairs: Vec<(&'a [u8], &'a [u8])>,
    samples: Vec<(i64, f64)>,
    histograms: Vec<(i64, Result<model::Histogram>)>,
    exemplars: Vec<ReadExemplar<'a>>,
    metadata: Option<(MetricKind, u32, u32)>,
}

struct ReadExemplar<'a> {
    pairs: Vec<(&'a [u8], &'a [u8])>,
    value: f64,
    t_ms: i64,
}

impl Decoder<'_> {
    fn v1(&mut self, body: &[u8]) -> Result<()> {
        let mut reader = Reader::new(body);
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 if self.predicted_v1(&field)? => {}
                1 => {
                    let series = self.series_v1(&field)?;
                    self.take(series, &[])?;
                }
                3 => self.metadata_v1(&field)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn series_v1<'a>(&mut self, field: &Field<'a>) -> Result<Series<'a>> {
        let mut series = Series::default();
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => self.label_v1(&field, &mut series.pairs)?,
                2 => series.samples.push(self.sample(&field)?),
                3 => {
                    self.row()?;
                    let mut exemplar = ReadExemplar { pairs: Vec::new(), value: 0.0, t_ms: 0 };
                    let mut reader = field.message()?;
                    while let Some(field) = reader.next_field()? {
                        match field.number {
                            1 => self.label_v1(&field, &mut exemplar.pairs)?,
                            2 => exemplar.value = field.double()?,
                            3 => exemplar.t_ms = field.int64()?,
                            _ => {}
                        }
                    }
                    series.exemplars.push(exemplar);
                }
                4 => series.histograms.push(self.histogram(&field)?),
                _ => {}
            }
        }
        Ok(series)
    }

    fn label_v1<'a>(&self, field: &Field<'a>, pairs: &mut Vec<(&'a [u8], &'a [u8])>) -> Result<()> {
        // Past the limit the series is refused anyway; what it says is not kept.
        let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => name = field.bytes()?,
                2 => value = field.bytes()?,
                _ => {}
            }
        }
        if pairs.len() <= self.limits.labels_max {
            pairs.push((name, value));
        }
        Ok(())
    }

    fn metadata_v1(&mut self, field: &Field<'_>) -> Result<()> {
        self.row()?;
        let (mut kind, mut name, mut help, mut unit) = (MetricKind::Unknown, "", "", "");
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => kind = metric_kind(field.int32()?),
                2 => name = field.text()?,
                4 => help = field.text()?,
                5 => unit = field.text()?,
                _ => {}
            }
        }
        if !name.is_empty() {
            self.metadata_is(name, kind, help, unit);
        }
        Ok(())
    }

    fn v2(&mut self, body: &[u8]) -> Result<()> {
        // Series may come before the symbols they refer to: symbols are gathered first.
        let mut symbols: Vec<&[u8]> = Vec::new();
        let mut reader = Reader::new(body);
        while let Some(field) = reader.next_field()? {
            if field.number == 4 {
                self.row()?;
                symbols.push(field.bytes()?);
            }
        }
        if symbols.first().is_some_and(|first| !first.is_empty()) {
            return Err(Error::invalid("symbols must start with the empty string"));
        }
        let mut reader = Reader::new(body);
        while let Some(field) = reader.next_field()? {
            if field.number == 5 && !self.predicted_v2(&field, &symbols)? {
                let series = self.series_v2(&field, &symbols)?;
                self.take(series, &symbols)?;
            }
        }
        Ok(())
    }

    fn series_v2<'a>(&mut self, field: &Field<'a>, symbols: &[&'a [u8]]) -> Result<Series<'a>> {
        let mut series = Series::default();
        let mut refs = Vec::new();
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => self.references(&field, &mut refs)?,
                2 => series.samples.push(self.sample(&field)?),
                3 => series.histograms.push(self.histogram(&field)?),
                4 => {
                    self.row()?;
                    let (mut refs, mut value, mut t_ms) = (Vec::new(), 0.0, 0);
                    let mut reader = field.message()?;
                    while let Some(field) = reader.next_field()? {
                        match field.number {
                            1 => self.references(&field, &mut refs)?,
                            2 => value = field.double()?,
                            3 => t_ms = field.int64()?,
                            _ => {}
                        }
                    }
                    let pairs = resolve(&field, &refs, symbols)?;
                    series.exemplars.push(ReadExemplar { pairs, value, t_ms });
                }
                5 => {
                    self.row()?;
                    let (mut kind, mut help, mut unit) = (MetricKind::Unknown, 0, 0);
                    let mut reader = field.message()?;
                    while let Some(field) = reader.next_field()? {
                        match field.number {
                            1 => kind = metric_kind(field.int32()?),
                            3 => help = field.uint32()?,
                            4 => unit = field.uint32()?,
                            _ => {}
                        }
                    }
                    series.metadata = Some((kind, help, unit));
                }
                _ => {}
            }
        }
        series.pairs = resolve(field, &refs, symbols)?;
        Ok(series)
    }

    /// Appends packed references, not more than can become labels.
    fn references(&self, field: &Field<'_>, refs: &mut Vec<u64>) -> Result<()> {
        let max = (self.limits.labels_max + 1) * 2;
        let mut count = refs.len();
        field.varints(|reference| {
            count += 1;
            if count <= max {
                refs.push(reference);
            }
            Ok(())
        })?;
        if !count.is_multiple_of(2) {
            return Err(
                field.error(format_args!("{count} label references; they must come in pairs"))
            );
        }
        Ok(())
    }

    fn sample(&mut self, field: &Field<'_>) -> Result<(i64, f64)> {
        self.row()?;
        let (mut t_ms, mut value) = (0, 0.0);
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => value = field.double()?,
                2 => t_ms = field.int64()?,
                _ => {}
            }
        }
        Ok((t_ms, value))
    }

    fn histogram(&mut self, field: &Field<'_>) -> Result<(i64, Result<model::Histogram>)> {
        self.row()?;
        let left = self.limits.buckets_max - self.buckets;
        let (t_ms, buckets, histogram) = histogram::read(field.message()?, left).map_err(|e| {
            if e.kind() == ErrorKind::Limit {
                self.limit("buckets", self.limits.buckets_max)
            } else {
                e
            }
        })?;
        self.buckets += buckets;
        Ok((t_ms, histogram))
    }

    fn row(&mut self) -> Result<()> {
        self.rows += 1;
        if self.rows > self.limits.rows_max {
            return Err(self.limit("rows", self.limits.rows_max));
        }
        Ok(())
    }

    fn limit(&self, what: &str, max: usize) -> Error {
        Error::new(
            ErrorKind::Limit,
            format!("request has more {what} than the limit of {max}; send it in smaller requests"),
        )
    }

    /// Checks a series and books its rows as stored or refused.
    fn take(&mut self, series: Series<'_>, symbols: &[&[u8]]) -> Result<()> {
        let labels = match self.labels(&series.pairs) {
            Ok(labels) => labels,
            Err(error) if error.kind() == ErrorKind::Limit => return Err(error),
            Err(error) => {
                let refused = &mut self.request.refused;
                refused.samples += series.samples.len() as u64;
                refused.histograms += series.histograms.len() as u64;
                refused.exemplars += series.exemplars.len() as u64;
                refused.series += 1;
                refused.because(error.message());
                return Ok(());
            }
        };
        if !series.samples.is_empty() && !series.histograms.is_empty() {
            let refused = &mut self.request.refused;
            refused.samples += series.samples.len() as u64;
            refused.histograms += series.histograms.len() as u64;
            refused.exemplars += series.exemplars.len() as u64;
            refused.because(format!("series {labels} has both samples and histograms"));
            return Ok(());
        }
        if let Some(metadata) = series.metadata {
            self.metadata_v2(&labels, metadata, symbols)?;
        }
        let target = self.remember(&labels);
        let request = &mut self.request;
        request.samples.extend(series.samples.into_iter().map(|(t_ms, value)| StampedRow {
            labels: labels.clone(),
            t_ms,
            value,
            target,
        }));
        for (t_ms, histogram) in series.histograms {
            match histogram {
                Ok(value) => request.histograms.push(HistogramRow {
                    labels: labels.clone(),
                    t_ms,
                    value: Arc::new(value),
                }),
                Err(error) => {
                    request.refused.histograms += 1;
                    request.refused.because(format!("series {labels}: {}", error.message()));
                }
            }
        }
        for exemplar in series.exemplars {
            match self.label_set(&exemplar.pairs) {
                Ok(own) => self.request.exemplars.push(ExemplarRow {
                    series: labels.clone(),
                    exemplar: Exemplar { labels: own, value: exemplar.value, t_ms: exemplar.t_ms },
                }),
                Err(error) if error.kind() == ErrorKind::Limit => return Err(error),
                Err(error) => {
                    let refused = &mut self.request.refused;
                    refused.exemplars += 1;
                    refused.because(format!("exemplar of {labels}: {}", error.message()));
                }
            }
        }
        Ok(())
    }

    /// Notes where an accepted series stands in the order; returns its target.
    fn remember(&mut self, labels: &Labels) -> u64 {
        if !self.is_remembering {
            return labels.target();
        }
        let known = self.walk.find(ByLabels.hash(labels), |entry| entry.labels == *labels);
        match known {
            Some(entry) => entry.target,
            None => self.walk.add(ByLabels, labels),
        }
    }

    /// Metadata that hangs on a series.
    fn metadata_v2(
        &mut self,
        labels: &Labels,
        (kind, help, unit): (MetricKind, u32, u32),
        symbols: &[&[u8]],
    ) -> Result<()> {
        let text = |reference: u32| {
            let symbol = match symbols.get(reference as usize) {
                Some(symbol) => symbol,
                None if reference == 0 => &&[][..],
                None => return Err(unknown_symbol(u64::from(reference), symbols.len())),
            };
            std::str::from_utf8(symbol)
                .map_err(|_| Error::invalid(format!("symbol {reference} is not UTF-8")))
        };
        let (help, unit) = (text(help)?, text(unit)?);
        if kind != MetricKind::Unknown || !help.is_empty() || !unit.is_empty() {
            self.metadata_is(family(labels.metric_name(), kind), kind, help, unit);
        }
        Ok(())
    }

    fn metadata_is(&mut self, name: &str, kind: MetricKind, help: &str, unit: &str) {
        let row =
            |name: Arc<str>| MetricMetadata { name, kind, help: help.into(), unit: unit.into() };
        if let Some(&at) = self.metadata.get(name)
            && let Some(known) = self.request.metadata.get_mut(at)
        {
            if known.kind != kind || *known.help != *help || *known.unit != *unit {
                *known = row(known.name.clone());
            }
            return;
        }
        let name: Arc<str> = name.into();
        self.metadata.insert(name.clone(), self.request.metadata.len());
        self.request.metadata.push(row(name));
    }

    /// The labels of a series.
    fn labels(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<Labels> {
        let labels = self.label_set(pairs)?;
        if labels.metric_name().is_empty() {
            return Err(Error::invalid(format!("series {labels} has no {METRIC_NAME}")));
        }
        Ok(labels)
    }

    fn label_set(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<Labels> {
        let limits = self.limits;
        if pairs.len() > limits.labels_max {
            return Err(Error::invalid(format!(
                "a series has more labels than the limit of {}",
                limits.labels_max
            )));
        }
        let mut texts = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            self.label_bytes += name.len() + value.len();
            if self.label_bytes > limits.label_bytes_max {
                return Err(self.limit("bytes of labels", limits.label_bytes_max));
            }
            texts.push(label(name, value, limits)?);
        }
        // Senders must sort; as in Prometheus, those that do not are served all the same.
        texts.sort_unstable_by_key(|(name, _)| *name);
        if let Some(twice) = texts.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(Error::invalid(format!("label {:?} is there twice", twice[0].0)));
        }
        Ok(texts.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

fn label<'a>(name: &'a [u8], value: &'a [u8], limits: &Limits) -> Result<(&'a str, &'a str)> {
    let text = |what: &str, bytes: &'a [u8], max: usize| {
        if bytes.len() > max {
            return Err(Error::invalid(format!(
                "a label {what} has {} bytes; the limit is {max}",
                bytes.len()
            )));
        }
        std::str::from_utf8(bytes).map_err(|_| {
            let lossy = String::from_utf8_lossy(bytes.get(..64).unwrap_or(bytes));
            Error::invalid(format!("label {what} {lossy:?} is not UTF-8"))
        })
    };
    let name = text("name", name, limits.name_bytes_max)?;
    let value = text("value", value, limits.value_bytes_max)?;
    if name.is_empty() {
        return Err(Error::invalid(format!("a label with the value {value:.64?} has no name")));
    }
    Ok((name, value))
}

fn resolve<'a>(
    field: &Field<'_>,
    refs: &[u64],
    symbols: &[&'a [u8]],
) -> Result<Vec<(&'a [u8], &'a [u8])>> {
    let symbol = |reference: u64| {
        usize::try_from(reference)
            .ok()
            .and_then(|at| symbols.get(at).copied())
            .ok_or_else(|| field.error(unknown_symbol(reference, symbols.len())))
    };
    refs.chunks_exact(2).map(|pair| Ok((symbol(pair[0])?, symbol(pair[1])?))).collect()
}

fn unknown_symbol(reference: u64, count: usize) -> Error {
    Error::invalid(format!("symbol {reference} is not there; {count} symbols are"))
}

fn metric_kind(number: i32) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

/// In 2.0 metadata hangs on series; the family of a classic histogram's or summary's series is named without the suffix.
fn family(name: &str, kind: MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => &["_bucket", "_count", "_sum"],
        MetricKind::Summary => &["_count", "_sum"],
        _ => &[],
    };
    suffixes
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .filter(|stem| !stem.is_empty())
        .unwrap_or(name)
}

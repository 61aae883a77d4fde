//! `/federate`: the current sample of selected series as an exposition, for another Prometheus to scrape.
//!
//! Source: Prometheus documentation, "Federation". The text format and delimited protocol buffers, chosen by `Accept`.
//! Samples carry their times; a series that ended is left out, and so is one without a name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use ::query::promql;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use model::{
    Budget, Histogram, Labels, METRIC_NAME, Matcher, MetricPlan, MetricSource, ResetHint, Result,
    is_stale,
};

use super::{positioned, wire};
use crate::params::Params;
use crate::{App, assets, streamed};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
const TEXT_UTF8: &str = "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores";
const PROTOBUF_UTF8: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=allow-utf-8";
/// Bytes handed on at once.
const PIECE_BYTES: usize = 64 << 10;

/// What is sent of one series.
struct Current {
    labels: Labels,
    t_ms: i64,
    value: Point,
}

enum Point {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// How it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    protobuf: bool,
    /// Whether names may be any UTF-8; otherwise what is not a letter, digit or colon becomes `_`.
    utf8: bool,
}

impl Format {
    /// The first format of `Accept` by weight that is known; the text format when there is none.
    fn negotiate(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
        let mut best: Option<(f64, Self)> = None;
        for offer in accept.split(',') {
            let mut parts = offer.split(';').map(str::trim);
            let kind = parts.next().unwrap_or("");
            let parameters: BTreeMap<&str, &str> =
                parts.filter_map(|p| p.split_once('=')).collect();
            let is = |name: &str, value: &str| parameters.get(name).is_none_or(|v| *v == value);
            let protobuf = match kind {
                "application/vnd.google.protobuf" => {
                    if !is("proto", "io.prometheus.client.MetricFamily")
                        || !is("encoding", "delimited")
                    {
                        continue;
                    }
                    true
                }
                "text/plain" if is("version", "0.0.4") || is("version", "1.0.0") => false,
                _ => continue,
            };
            let weight = parameters.get("q").map_or(1.0, |q| q.parse().unwrap_or(0.0));
            let utf8 = parameters.get("escaping").is_some_and(|v| *v == "allow-utf-8");
            if weight > 0.0 && best.is_none_or(|(other, _)| weight > other) {
                best = Some((weight, Self { protobuf, utf8 }));
            }
        }
        best.map_or(Self { protobuf: false, utf8: false }, |(_, format)| format)
    }

    fn content_type(self) -> &'static str {
        match (self.protobuf, self.utf8) {
            (false, false) => TEXT,
            (false, true) => TEXT_UTF8,
            (true, false) => PROTOBUF,
            (true, true) => PROTOBUF_UTF8,
        }
    }
}

pub(crate) async fn federate(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let selectors: Result<Vec<Vec<Matcher>>> = params
        .all("match[]")
        .map(|text| promql::parse_selector(text).map_err(|e| positioned(e, text)))
        .collect();
    let selectors = match selectors {
        Ok(selectors) => selectors,
        Err(e) => return assets::plain(StatusCode::BAD_REQUEST, e.message()),
    };
    let end_ms = app.clock.now_ms();
    let start_ms = end_ms - app.config.lookback_ms;
    let source = app.metrics.clone();
    let work =
        move |budget: &Budget| current(source.as_ref(), &selectors, start_ms, end_ms, budget);
    match app.queries.run(None, work).await {
        Ok(all) => {
            let format = Format::negotiate(&headers);
            let mut external: BTreeMap<String, String> =
                app.host.external_labels().into_iter().collect();
            // So that the scraping side does not take its target's address for the series' own.
            external.entry("instance".to_owned()).or_default();
            let families = Families { all: all.into_iter().peekable(), external, format };
            streamed::respond(families, format.content_type())
        }
        Err(e) => {
            assets::plain(StatusCode::INTERNAL_SERVER_ERROR, &crate::error::public_message(&e))
        }
    }
}

/// The last sample of each series inside `(start_ms, end_ms]`, sorted by name, then by labels.
fn current(
    source: &dyn MetricSource,
    selectors: &[Vec<Matcher>],
    start_ms: i64,
    end_ms: i64,
    budget: &Budget,
) -> Result<Vec<Current>> {
    let mut found: BTreeMap<(String, Labels), Current> = BTreeMap::new();
    for matchers in selectors {
        let plan = MetricPlan {
            matchers: matchers.clone(),
            start_ms: start_ms + 1,
            end_ms,
            step_ms: 0,
            range_ms: 0,
            function: "",
            grouping: None,
        };
        for series in source.select(&plan, budget)?.series {
            let float = series.timestamps.last().copied().zip(series.values.last().copied());
            let histogram = series.histograms.last();
            let (t_ms, value) = match (float, histogram) {
                (Some((t, _)), Some((th, h))) if th > &t => (*th, Point::Histogram(h.clone())),
                (None, Some((th, h))) => (*th, Point::Histogram(h.clone())),
                (Some((t, v)), _) => (t, Point::Float(v)),
                (None, None) => continue,
            };
            let ended = match &value {
                Point::Float(v) => is_stale(*v),
                Point::Histogram(h) => is_stale(h.sum),
            };
            let name = series.labels.metric_name().to_owned();
            if !ended && !name.is_empty() {
                let labels = series.labels;
                found.insert((name, labels.clone()), Current { labels, t_ms, value });
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Families one after the other; each piece has at least one.
struct Families {
    all: std::iter::Peekable<std::vec::IntoIter<Current>>,
    external: BTreeMap<String, String>,
    format: Format,
}

impl Iterator for Families {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut piece = Vec::new();
        while piece.len() < PIECE_BYTES {
            let Some(first) = self.all.next() else { break };
            let mut family = vec![first];
            while let Some(next) = self.all.next_if(|next| same_family(&family[0], next)) {
                family.push(next);
            }
            if self.format.protobuf {
                self.write_protobuf(&mut piece, &family);
            } else {
                let mut text = String::new();
                self.write_text(&mut text, &family);
                piece.extend_from_slice(text.as_bytes());
            }
        }
        (!piece.is_empty()).then_some(piece)
    }
}

fn same_family(a: &Current, b: &Current) -> bool {
    a.labels.metric_name() == b.labels.metric_name() && kind(a) == kind(b)
}

/// Name of a family's type, and its number in protocol buffers.
fn kind(of: &Current) -> (&'static str, u64) {
    match &of.value {
        Point::Float(_) => ("untyped", 3),
        Point::Histogram(h) if h.hint == ResetHint::Gauge => ("gaugehistogram", 5),
        Point::Histogram(_) => ("histogram", 4),
    }
}

impl Families {
    /// Labels of a series without its name, then the external ones it does not have.
    fn labels<'a>(&'a self, current: &'a Current) -> impl Iterator<Item = (&'a str, &'a str)> {
        let own = current.labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let external = self.external.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        own.chain(external.filter(|(name, _)| current.labels.get(name).is_none()))
    }

    fn name<'a>(&self, name: &'a str) -> std::borrow::Cow<'a, str> {
        if self.format.utf8 || is_legacy(name) { name.into() } else { underscores(name).into() }
    }

    fn write_text(&self, out: &mut String, family: &[Current]) {
        let name = self.name(family[0].labels.metric_name());
        let legacy = is_legacy(&name);
        let (kind, _) = kind(&family[0]);
        if legacy {
            let _infallible = writeln!(out, "# TYPE {name} {kind}");
        } else {
            let _infallible = writeln!(out, "# TYPE \"{}\" {kind}", escaped(&name));
        }
        for current in family {
            match &current.value {
                Point::Float(value) => self.line(out, &name, "", current, None, *value),
                // The text format has no native histograms: what remains is the last bucket, sum and count.
                Point::Histogram(h) => {
                    self.line(out, &name, "_bucket", current, Some("+Inf"), h.count);
                    self.line(out, &name, "_sum", current, None, h.sum);
                    self.line(out, &name, "_count", current, None, h.count);
                }
            }
        }
    }

    fn line(
        &self,
        out: &mut String,
        name: &str,
        suffix: &str,
        current: &Current,
        le: Option<&str>,
        value: f64,
    ) {
        let legacy = is_legacy(name);
        let mut separator = '{';
        if legacy {
            let _infallible = write!(out, "{name}{suffix}");
        } else {
            let _infallible = write!(out, "{{\"{}{suffix}\"", escaped(name));
            separator = ',';
        }
        for (label, value) in self.labels(current).chain(le.map(|le| ("le", le))) {
            let label = self.name(label);
            out.push(separator);
            separator = ',';
            if is_legacy(&label) && !label.contains(':') {
                out.push_str(&label);
            } else {
                let _infallible = write!(out, "\"{}\"", escaped(&label));
            }
            let _infallible = write!(out, "=\"{}\"", escaped(value));
        }
        out.push_str(if separator == ',' { "} " } else { " " });
        go_number(out, value);
        let _infallible = writeln!(out, " {}", current.t_ms);
    }

    fn write_protobuf(&self, out: &mut Vec<u8>, family: &[Current]) {
        let mut message = Vec::new();
        wire::bytes(&mut message, 1, self.name(family[0].labels.metric_name()).as_bytes());
        wire::number(&mut message, 3, kind(&family[0]).1);
        for current in family {
            wire::message(&mut message, 4, |metric| {
                for (name, value) in self.labels(current) {
                    wire::message(metric, 1, |label| {
                        wire::bytes(label, 1, self.name(name).as_bytes());
                        wire::bytes(label, 2, value.as_bytes());
                    });
                }
                match &current.value {
                    Point::Float(value) => {
                        wire::message(metric, 5, |untyped| wire::double(untyped, 1, *value));
                    }
                    Point::Histogram(h) => wire::message(metric, 7, |out| histogram(out, h)),
                }
                wire::number(metric, 6, current.t_ms as u64);
            });
        }
        wire::varint(out, message.len() as u64);
        out.extend_from_slice(&message);
    }
}

/// `io.prometheus.client.Histogram`
fn histogram(out: &mut Vec<u8>, h: &Histogram) {
    if h.integer {
        wire::number(out, 1, h.count as u64);
    } else {
        wire::double(out, 4, h.count);
    }
    wire::double(out, 2, h.sum);
    wire::number(out, 5, wire::zigzag(i64::from(h.schema)));
    wire::double(out, 6, h.zero_threshold);
    if h.integer {
        wire::number(out, 7, h.zero_count as u64);
    } else {
        wire::double(out, 8, h.zero_count);
    }
    for (first, spans, counts) in
        [(9, &h.negative_spans, &h.negative), (12, &h.positive_spans, &h.positive)]
    {
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
    // Without buckets, spans or a zero bucket a reader could not tell it from a classic one.
    if h.positive_spans.is_empty() && h.negative_spans.is_empty() && h.zero_count == 0.0 {
        wire::message(out, 12, |_| {});
    }
}

fn is_legacy(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

fn underscores(name: &str) -> String {
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    let kept = |c: char| {
        if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' }
    };
    digit
        .then_some('_')
        .into_iter()
        .chain(name.chars().skip(usize::from(digit)).map(kept))
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// As Go's `%g` prints it, which the text format uses: with an exponent below 1e-4 and from 1e6 on.
fn go_number(out: &mut String, value: f64) {
    if !value.is_finite() || value == 0.0 {
        return super::json::number(out, value);
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let _infallible = if (-4..6).contains(&exponent) {
        write!(out, "{value}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{mantissa}e{sign}{:02}", exponent.abs())
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_text_format() {
        for (value, expected) in [
            (0.0, "0"),
            (-1.0, "-1"),
            (0.1, "0.1"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (1_435_781_460.5, "1.4357814605e+09"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            let mut out = String::new();
            go_number(&mut out, value);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn formats_are_negotiated() {
        let check = |accept: &str, protobuf, utf8| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(Format::negotiate(&headers), Format { protobuf, utf8 }, "{accept}");
        };
        check("*/*", false, false);
        check(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,text/plain;version=0.0.4;q=0.4",
            true,
            false,
        );
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3",
            false,
            true,
        );
        check("application/vnd.google.protobuf;encoding=text", false, false);
    }

    #[test]
    fn names_lose_what_the_old_format_lacks() {
        assert_eq!(underscores("http.requests/total"), "http_requests_total");
        assert_eq!(underscores("9a"), "_a");
    }
}

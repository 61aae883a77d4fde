//! Exemplars as they stand in a body, and decoded.
//!
//! Most exemplars are the same from scrape to scrape; a scraper compares their bytes and decodes only what is new.

use model::{Error, ErrorKind, Exemplar, LabelsBuilder, Result};

use super::labels::Scanner;
use super::{Format, Limits, number, seconds};
use crate::protobuf::Reader;

/// Code points all label names and values of an exemplar may have together.
pub(super) const EXEMPLAR_CHARS_MAX: usize = 128;

/// An exemplar that was not decoded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawExemplar<'a> {
    /// `# {labels} value [seconds]` of OpenMetrics text, its syntax already checked.
    Text(&'a str),
    /// The bytes of an `io.prometheus.client.Exemplar`.
    Protobuf(&'a [u8]),
}

impl RawExemplar<'_> {
    /// What is the same exactly if the exemplar is.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Protobuf(bytes) => bytes,
        }
    }

    /// Labels, value and the exemplar's own time in Unix milliseconds, or `default_ms` when it has none.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when it does not decode, [`Limit`](ErrorKind::Limit) when its labels have more
    /// than 128 characters.
    pub fn decode(&self, default_ms: i64) -> Result<Exemplar> {
        let (exemplar, own_ms) = match self {
            Self::Text(text) => decode_text(text)?,
            Self::Protobuf(bytes) => decode_protobuf(Reader::new(bytes))?,
        };
        let chars: usize =
            exemplar.labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
        if chars > EXEMPLAR_CHARS_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "exemplar labels have {chars} characters; the limit is {EXEMPLAR_CHARS_MAX}"
                ),
            ));
        }
        Ok(Exemplar { t_ms: own_ms.unwrap_or(default_ms), ..exemplar })
    }
}

fn decode_text(text: &str) -> Result<(Exemplar, Option<i64>)> {
    let broken = || Error::invalid(format!("expected an exemplar, found {text:.200?}"));
    let format = Format::OpenMetrics;
    let scanner = Scanner { text, format, limits: Limits::NONE, escapes_strict: false };
    let labels_at = text.find('{').ok_or_else(broken)?;
    let mut labels = LabelsBuilder::default();
    let labels_end = scanner
        .exemplar_label_pairs(labels_at, text.len(), &mut |name, value| labels.set(name, value))
        .map_err(|(_, e)| e)?;
    let mut parts = text.get(labels_end..).unwrap_or("").split(' ').filter(|p| !p.is_empty());
    let value = parts.next().and_then(number).ok_or_else(broken)?;
    let own_ms = parts.next().map(|time| seconds(time).ok_or_else(broken)).transpose()?;
    Ok((Exemplar { labels: labels.build(), value, t_ms: 0 }, own_ms))
}

fn decode_protobuf(mut message: Reader<'_>) -> Result<(Exemplar, Option<i64>)> {
    let (mut labels, mut value, mut own_ms) = (LabelsBuilder::default(), 0.0, None);
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => {
                let (name, text) = super::protobuf::label_pair(field.message()?)?;
                labels.set(name, text);
            }
            2 => value = field.double()?,
            3 => own_ms = Some(timestamp_ms(field.message()?)?),
            _ => {}
        }
    }
    Ok((Exemplar { labels: labels.build(), value, t_ms: 0 }, own_ms))
}

/// `google.protobuf.Timestamp` in milliseconds.
fn timestamp_ms(mut message: Reader<'_>) -> Result<i64> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => seconds = field.int64()?,
            2 => nanos = field.int32()?,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000)))
}

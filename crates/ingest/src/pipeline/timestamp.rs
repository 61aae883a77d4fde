//! The `timestamp` stage: the line's time from a value.

use std::collections::HashMap;

use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use model::layout::{self, Layout, WallTime};
use model::{Error, Labels, Result};

use super::Entry;
use super::stage::Context;

/// Settings of the `timestamp` stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampConfig {
    /// The value that is the time.
    pub source: String,
    /// A layout of Go, the name of one (`RFC3339`), or `Unix`, `UnixMs`, `UnixUs`, `UnixNs`.
    pub format: String,
    /// Formats tried in order when that one does not fit.
    pub fallback_formats: Vec<String>,
    /// The zone of times that do not say theirs; UTC when absent.
    pub location: Option<String>,
    /// What becomes of lines without a time that can be read.
    pub action_on_failure: OnFailure,
}

/// What becomes of a line whose time cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It gets the time of the last line of its stream, and a nanosecond.
    Fudge,
    /// It keeps the time it has.
    Skip,
}

impl TimestampConfig {
    /// The value `source` in `format`, with Promtail's defaults.
    pub fn new(source: &str, format: &str) -> Self {
        Self {
            source: source.to_owned(),
            format: format.to_owned(),
            fallback_formats: Vec::new(),
            location: None,
            action_on_failure: OnFailure::Fudge,
        }
    }
}

/// So many streams' last times are kept.
const STREAMS_MAX: usize = 10_000;

const LAYOUTS: [(&str, &str); 10] = [
    ("ANSIC", "Mon Jan _2 15:04:05 2006"),
    ("UnixDate", "Mon Jan _2 15:04:05 MST 2006"),
    ("RubyDate", "Mon Jan 02 15:04:05 -0700 2006"),
    ("RFC822", "02 Jan 06 15:04 MST"),
    ("RFC822Z", "02 Jan 06 15:04 -0700"),
    ("RFC850", "Monday, 02-Jan-06 15:04:05 MST"),
    ("RFC1123", "Mon, 02 Jan 2006 15:04:05 MST"),
    ("RFC1123Z", "Mon, 02 Jan 2006 15:04:05 -0700"),
    ("RFC3339", "2006-01-02T15:04:05Z07:00"),
    ("RFC3339Nano", "2006-01-02T15:04:05.999999999Z07:00"),
];

#[derive(Debug)]
pub(super) struct Timestamp {
    source: String,
    formats: Vec<Format>,
    zone: TimeZone,
    /// Times of the last lines, when failures are fudged.
    last_ns: Option<HashMap<Labels, i64>>,
}

#[derive(Debug, Clone)]
enum Format {
    /// So many nanoseconds each.
    Unix(i64),
    /// In the configured zone unless it is a layout with a name.
    Layout { layout: Layout, is_named: bool },
}

impl Timestamp {
    pub(super) fn new(config: &TimestampConfig) -> Result<Self> {
        if config.source.is_empty() || config.format.is_empty() {
            return Err(Error::invalid("needs a source and a format"));
        }
        let name = config.location.as_deref().unwrap_or("");
        let zone = layout::zone(name)
            .ok_or_else(|| Error::invalid(format!("unknown location {name:?}")))?;
        let formats = std::iter::once(&config.format).chain(&config.fallback_formats);
        Ok(Self {
            source: config.source.clone(),
            formats: formats.map(|format| Format::new(format)).collect(),
            zone,
            last_ns: (config.action_on_failure == OnFailure::Fudge).then(HashMap::new),
        })
    }

    pub(super) fn fork(&self) -> Self {
        Self {
            source: self.source.clone(),
            formats: self.formats.clone(),
            zone: self.zone.clone(),
            last_ns: self.last_ns.as_ref().map(|_| HashMap::new()),
        }
    }

    pub(super) fn process(&mut self, entry: &mut Entry, context: &Context<'_>) {
        let text = entry.values.get(&self.source);
        let read = text.and_then(|text| {
            self.formats.iter().find_map(|format| format.read(text, &self.zone, context))
        });
        let Some(last_ns) = &mut self.last_ns else {
            entry.t_ns = read.unwrap_or(entry.t_ns);
            return;
        };
        let fudged = || last_ns.get(&entry.labels).map(|last_ns| last_ns.saturating_add(1));
        let Some(t_ns) = read.or_else(fudged) else { return };
        entry.t_ns = t_ns;
        match last_ns.get_mut(&entry.labels) {
            Some(last) => *last = t_ns,
            None => {
                if last_ns.len() >= STREAMS_MAX {
                    last_ns.clear();
                }
                last_ns.insert(entry.labels.clone(), t_ns);
            }
        }
    }
}

impl Format {
    fn new(format: &str) -> Self {
        match format {
            "Unix" => Self::Unix(1_000_000_000),
            "UnixMs" => Self::Unix(1_000_000),
            "UnixUs" => Self::Unix(1_000),
            "UnixNs" => Self::Unix(1),
            _ => {
                let named = LAYOUTS.into_iter().find(|(name, _)| *name == format);
                let layout = Layout::new(named.map_or(format, |(_, layout)| layout));
                Self::Layout { layout, is_named: named.is_some() }
            }
        }
    }

    /// Unix nanoseconds.
    fn read(&self, text: &str, zone: &TimeZone, context: &Context<'_>) -> Option<i64> {
        let zoned = match self {
            Self::Unix(unit_ns) => return unix_ns(text, *unit_ns),
            Self::Layout { layout, is_named: true } => {
                layout.read(text)?.to_zoned(&TimeZone::UTC)?
            }
            Self::Layout { layout, .. } if layout.has_year() => {
                layout.read(text)?.to_zoned(zone)?
            }
            Self::Layout { layout, .. } => {
                let now = jiff::Timestamp::from_nanosecond(context.clock.now_ns().into()).ok()?;
                without_year(layout.read(text)?, &now.to_zoned(zone.clone()))?.to_zoned(zone)?
            }
        };
        i64::try_from(zoned.timestamp().as_nanosecond()).ok()
    }
}

/// The time of the year that lies next to `now`: December in January was last year.
fn without_year(wall: WallTime, now: &Zoned) -> Option<WallTime> {
    let year = match (wall.time.month(), now.month()) {
        (12, 1) => now.year() - 1,
        (1, 12) => now.year() + 1,
        _ => now.year(),
    };
    let date = wall.time.date();
    // On 29 February of a year that has none it is 1 March.
    let date = jiff::civil::Date::new(year, date.month(), date.day())
        .or_else(|_| jiff::civil::Date::new(year, 3, 1))
        .ok()?;
    Some(WallTime { time: DateTime::from_parts(date, wall.time.time()), ..wall })
}

/// A whole number of units; seconds may have a fraction.
fn unix_ns(text: &str, unit_ns: i64) -> Option<i64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if unit_ns == 1_000_000_000 => (whole, fraction),
        _ => (text, ""),
    };
    let ns = whole.parse::<i64>().ok()?.checked_mul(unit_ns)?;
    if fraction.is_empty() {
        return Some(ns).filter(|_| whole.len() == text.len());
    }
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    ns.checked_add(digits)
}

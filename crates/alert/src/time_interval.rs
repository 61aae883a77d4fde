//! Time intervals, in which routes are muted or active: when a moment lies inside of one, and the texts they are made of.
//!
//! Owns: ranges of minutes, days, months and years, and how Alertmanager writes them. Does not own: YAML, names of
//! intervals, what happens inside of them. Source: Alertmanager documentation, "Configuration", "Time interval".

#[cfg(test)]
mod tests;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use model::{Error, Result};

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;
/// Most days a month has.
const MONTH_DAYS_MAX: i32 = 31;
/// Days that every month has.
const MONTH_DAYS_MIN: i32 = 28;

const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Times of which all kinds of ranges that are given must hold, each by one of its ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TimeInterval {
    /// Of the day.
    pub times: Vec<Times>,
    /// 0 is Sunday.
    pub weekdays: Vec<Range>,
    /// From 1; negative ones count from the month's end, of which -1 is the last day.
    pub days_of_month: Vec<Range>,
    /// From 1.
    pub months: Vec<Range>,
    /// As 2026.
    pub years: Vec<Range>,
    /// Where all that holds; UTC by default.
    pub location: Option<TimeZone>,
}

/// Numbers from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: i32,
    /// The last.
    pub last: i32,
}

/// Minutes `[start, end)` of a day, 0 to 1440; with the end before the start, both sides of midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The first minute.
    pub start_minute: u16,
    /// The first minute behind it.
    pub end_minute: u16,
}

impl TimeInterval {
    /// Whether `t_ms`, Unix milliseconds, lies inside.
    pub fn contains(&self, t_ms: i64) -> bool {
        let Ok(t) = jiff::Timestamp::from_millisecond(t_ms) else { return false };
        let zone = self.location.clone().unwrap_or(TimeZone::UTC);
        let t: DateTime = zone.to_datetime(t);
        let minute = u16::from(t.hour().unsigned_abs()) * 60 + u16::from(t.minute().unsigned_abs());
        let month_days = i32::from(t.days_in_month());
        let weekday = i32::from(t.weekday().to_sunday_zero_offset());
        let holds = |ranges: &[Range], at: i32| {
            ranges.is_empty() || ranges.iter().any(|range| range.contains(at))
        };
        let day = i32::from(t.day());
        (self.times.is_empty() || self.times.iter().any(|times| times.contains(minute)))
            && holds(&self.weekdays, weekday)
            && (self.days_of_month.is_empty()
                || self.days_of_month.iter().any(|range| range.of_month(month_days).contains(day)))
            && holds(&self.months, i32::from(t.month()))
            && holds(&self.years, i32::from(t.year()))
    }
}

/// Whether one of `intervals` contains `t_ms`, Unix milliseconds.
pub fn any_contains(intervals: &[TimeInterval], t_ms: i64) -> bool {
    intervals.iter().any(|interval| interval.contains(t_ms))
}

impl Range {
    fn contains(self, at: i32) -> bool {
        (self.first..=self.last).contains(&at)
    }

    /// The same days of a month that has `days`, counted from its first.
    fn of_month(self, days: i32) -> Self {
        let from_start = |day: i32| if day < 0 { days + day + 1 } else { day };
        Self { first: from_start(self.first), last: from_start(self.last) }
    }
}

impl Times {
    /// Reads `HH:MM` twice; an end at or before the start is another day's, and equal ones are refused.
    ///
    /// # Errors
    /// `Invalid`, in Alertmanager's words.
    pub fn parse(start: &str, end: &str) -> Result<Self> {
        if start.is_empty() || end.is_empty() {
            return Err(Error::invalid("both start and end times must be provided"));
        }
        let times = Self { start_minute: minute_of(start)?, end_minute: minute_of(end)? };
        if times.start_minute == times.end_minute {
            return Err(Error::invalid(Self::BACKWARDS));
        }
        Ok(times)
    }

    /// What Alertmanager says of times whose end is not behind their start.
    pub const BACKWARDS: &str = "start time cannot be equal or greater than end time";

    /// Whether they go over midnight, which Alertmanager refuses.
    pub fn is_over_midnight(self) -> bool {
        self.end_minute < self.start_minute
    }

    fn contains(self, minute: u16) -> bool {
        if self.is_over_midnight() {
            return minute >= self.start_minute || minute < self.end_minute;
        }
        (self.start_minute..self.end_minute).contains(&minute)
    }
}

fn minute_of(text: &str) -> Result<u16> {
    let two_digits = |text: &str| -> Option<u16> {
        let is_number = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        if is_number { text.parse().ok() } else { None }
    };
    let minute = text.split_once(':').and_then(|(hour, minute)| {
        let minute = two_digits(minute).filter(|minute| *minute < 60)?;
        Some(two_digits(hour)? * 60 + minute)
    });
    minute
        .filter(|minute| *minute <= DAY_MINUTES)
        .ok_or_else(|| Error::invalid(format!("couldn't parse timestamp {text}, invalid format")))
}

/// Reads `monday` or `monday:friday`.
///
/// # Errors
/// `Invalid`, in Alertmanager's words.
pub fn weekdays(text: &str) -> Result<Range> {
    let range = range(text, |name| {
        let found = WEEKDAYS.iter().position(|day| *day == name);
        number(found).ok_or_else(|| format!("{name} is not a valid weekday"))
    })?;
    if range.first > range.last {
        return Err(Error::invalid("start day cannot be before end day"));
    }
    Ok(range)
}

/// Reads `1`, `1:15` or `-7:-1`.
///
/// # Errors
/// `Invalid`, in Alertmanager's words.
pub fn days_of_month(text: &str) -> Result<Range> {
    let range = range(text, |day| {
        day.parse().map_err(|_| format!("{day} is not a valid day of the month"))
    })?;
    for day in [range.first, range.last] {
        if day == 0 || day.abs() > MONTH_DAYS_MAX {
            let why = format!("{day} is not a valid day of the month: out of range");
            return Err(Error::invalid(why));
        }
    }
    if range.first < 0 && range.last > 0 {
        return Err(Error::invalid("end day must be negative if start day is negative"));
    }
    // In the shortest month; a longer one may have days between them.
    let from_start = |day: i32| if day < 0 { MONTH_DAYS_MIN + day } else { day };
    if from_start(range.first) > from_start(range.last) {
        let why = format!("end day {} is always before start day {}", range.last, range.first);
        return Err(Error::invalid(why));
    }
    Ok(range)
}

/// Reads `january`, `january:march` or `1:3`.
///
/// # Errors
/// `Invalid`, in Alertmanager's words.
pub fn months(text: &str) -> Result<Range> {
    let text = text.to_lowercase();
    let range = range(&text, |name| {
        let named = number(MONTHS.iter().position(|month| *month == name)).map(|i| i + 1);
        let month = named.or_else(|| name.parse().ok());
        let month: i32 = month.ok_or_else(|| format!("{name} is not a valid month"))?;
        if (1..=12).contains(&month) {
            return Ok(month);
        }
        Err(format!("{name} is not a valid month: out of range"))
    })?;
    if range.first > range.last {
        let (first, last) = text.split_once(':').unwrap_or((&text, &text));
        let why = format!("end month {last} is before start month {first}");
        return Err(Error::invalid(why));
    }
    Ok(range)
}

/// Reads `2026` or `2026:2030`.
///
/// # Errors
/// `Invalid`, in Alertmanager's words.
pub fn years(text: &str) -> Result<Range> {
    let range =
        range(text, |year| year.parse().map_err(|_| format!("{year} is not a valid year")))?;
    if range.first > range.last {
        let why = format!("end year {} is before start year {}", range.last, range.first);
        return Err(Error::invalid(why));
    }
    Ok(range)
}

/// Reads the name of a time zone, such as `Europe/Berlin`, `UTC` or `Local`.
///
/// # Errors
/// `Invalid` when the time zone database of this system has no such zone.
pub fn location(name: &str) -> Result<TimeZone> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => Ok(TimeZone::system()),
        _ => TimeZone::get(name).map_err(|_| Error::invalid(format!("unknown time zone {name}"))),
    }
}

fn range(text: &str, member: impl Fn(&str) -> Result<i32, String>) -> Result<Range> {
    let text = text.to_lowercase();
    let (first, last) = text.split_once(':').unwrap_or((&text, &text));
    if last.contains(':') {
        return Err(Error::invalid(format!("couldn't parse range {text}, invalid format")));
    }
    let member = |name| member(name).map_err(Error::invalid);
    Ok(Range { first: member(first)?, last: member(last)? })
}

fn number(index: Option<usize>) -> Option<i32> {
    index.and_then(|index| i32::try_from(index).ok())
}

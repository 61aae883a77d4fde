//! Times in Go's reference layout (`2006-01-02T15:04:05.000Z07:00`): writing and reading.

use jiff::civil::{Date, DateTime, Time as Clock};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use super::value::Time;
use crate::logql::units;

/// How a time prints when no layout is given.
pub(super) const DEFAULT_LAYOUT: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

/// One element of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element<'l> {
    Literal(&'l str),
    Year4,
    Year2,
    MonthName,
    MonthShort,
    Month {
        padded: bool,
    },
    WeekdayName,
    WeekdayShort,
    Day {
        pad: Option<char>,
    },
    DayOfYear,
    Hour24,
    Hour12 {
        padded: bool,
    },
    Minute {
        padded: bool,
    },
    Second {
        padded: bool,
    },
    HalfDay {
        upper: bool,
    },
    /// `.000` writes all digits, `.999` drops trailing zeros.
    Fraction {
        separator: char,
        digits: usize,
        trims: bool,
    },
    ZoneName,
    /// `Z` for UTC when `z`.
    Offset {
        colon: bool,
        minutes: bool,
        z: bool,
    },
}

const ELEMENTS: &[(&str, Element<'static>)] = &[
    ("January", Element::MonthName),
    ("Jan", Element::MonthShort),
    ("Monday", Element::WeekdayName),
    ("Mon", Element::WeekdayShort),
    ("MST", Element::ZoneName),
    ("2006", Element::Year4),
    ("-07:00", Element::Offset { colon: true, minutes: true, z: false }),
    ("-0700", Element::Offset { colon: false, minutes: true, z: false }),
    ("-07", Element::Offset { colon: false, minutes: false, z: false }),
    ("Z07:00", Element::Offset { colon: true, minutes: true, z: true }),
    ("Z0700", Element::Offset { colon: false, minutes: true, z: true }),
    ("Z07", Element::Offset { colon: false, minutes: false, z: true }),
    ("002", Element::DayOfYear),
    ("01", Element::Month { padded: true }),
    ("02", Element::Day { pad: Some('0') }),
    ("03", Element::Hour12 { padded: true }),
    ("04", Element::Minute { padded: true }),
    ("05", Element::Second { padded: true }),
    ("06", Element::Year2),
    ("15", Element::Hour24),
    ("PM", Element::HalfDay { upper: true }),
    ("pm", Element::HalfDay { upper: false }),
    ("_2", Element::Day { pad: Some(' ') }),
    ("1", Element::Month { padded: false }),
    ("2", Element::Day { pad: None }),
    ("3", Element::Hour12 { padded: false }),
    ("4", Element::Minute { padded: false }),
    ("5", Element::Second { padded: false }),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

fn elements(layout: &str) -> Vec<Element<'_>> {
    let mut out = Vec::new();
    let mut literal_start = 0;
    let mut at = 0;
    while at < layout.len() {
        let Some(rest) = layout.get(at..) else {
            at += 1;
            continue;
        };
        let found = fraction(rest).or_else(|| {
            ELEMENTS.iter().find(|(t, _)| rest.starts_with(t)).map(|(t, e)| (*e, t.len()))
        });
        let Some((element, len)) = found else {
            at += 1;
            continue;
        };
        if literal_start < at {
            out.push(Element::Literal(layout.get(literal_start..at).unwrap_or("")));
        }
        out.push(element);
        at += len;
        literal_start = at;
    }
    if literal_start < layout.len() {
        out.push(Element::Literal(layout.get(literal_start..).unwrap_or("")));
    }
    out
}

/// `.000` or `,999`, not followed by another digit.
fn fraction(rest: &str) -> Option<(Element<'static>, usize)> {
    let separator = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let tail = rest.split_at(1).1;
    let digit = tail.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = tail.chars().take_while(|c| *c == digit).count();
    if tail.split_at(digits).1.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some((Element::Fraction { separator, digits, trims: digit == '9' }, digits + 1))
}

/// The zone called `name`; `""` and `Local` are UTC.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    match name {
        "" | "UTC" | "Local" => Ok(TimeZone::UTC),
        _ => TimeZone::get(name).map_err(|_| format!("unknown time zone {}", units::excerpt(name))),
    }
}

/// `time` in `layout`; times out of range print as their Unix nanoseconds.
pub(super) fn format(time: &Time, layout: &str) -> String {
    let Ok(timestamp) = Timestamp::from_nanosecond(time.t_ns) else {
        return time.t_ns.to_string();
    };
    let zoned = timestamp.to_zoned(time.zone.clone());
    elements(layout).into_iter().map(|e| write_element(e, &zoned)).collect()
}

fn write_element(element: Element<'_>, t: &Zoned) -> String {
    let padded = |n: i8, padded: bool| if padded { format!("{n:02}") } else { n.to_string() };
    match element {
        Element::Literal(text) => text.to_owned(),
        Element::Year4 => format!("{:04}", t.year()),
        Element::Year2 => format!("{:02}", t.year().rem_euclid(100)),
        Element::MonthName => month_name(t).to_owned(),
        Element::MonthShort => month_name(t).chars().take(3).collect(),
        Element::Month { padded: p } => padded(t.month(), p),
        Element::WeekdayName => weekday_name(t).to_owned(),
        Element::WeekdayShort => weekday_name(t).chars().take(3).collect(),
        Element::Day { pad: Some(' ') } => format!("{:>2}", t.day()),
        Element::Day { pad } => padded(t.day(), pad.is_some()),
        Element::DayOfYear => format!("{:03}", t.day_of_year()),
        Element::Hour24 => padded(t.hour(), true),
        Element::Hour12 { padded: p } => padded((t.hour() + 11) % 12 + 1, p),
        Element::Minute { padded: p } => padded(t.minute(), p),
        Element::Second { padded: p } => padded(t.second(), p),
        Element::HalfDay { upper } => match (t.hour() >= 12, upper) {
            (true, true) => "PM",
            (false, true) => "AM",
            (true, false) => "pm",
            (false, false) => "am",
        }
        .to_owned(),
        Element::Fraction { separator, digits, trims } => {
            let nanos: String =
                format!("{:09}", t.subsec_nanosecond()).chars().take(digits).collect();
            let kept = if trims { nanos.trim_end_matches('0') } else { &nanos };
            if kept.is_empty() { String::new() } else { format!("{separator}{kept}") }
        }
        Element::ZoneName => zone_name(t),
        Element::Offset { colon, minutes, z } => {
            write_offset(t.offset().seconds(), colon, minutes, z)
        }
    }
}

fn month_name(t: &Zoned) -> &'static str {
    let index = usize::try_from(t.month() - 1).unwrap_or(0);
    MONTHS.get(index).copied().unwrap_or("")
}

fn weekday_name(t: &Zoned) -> &'static str {
    let index = usize::try_from(t.weekday().to_monday_zero_offset()).unwrap_or(0);
    WEEKDAYS.get(index).copied().unwrap_or("")
}

fn zone_name(t: &Zoned) -> String {
    if t.time_zone() == &TimeZone::UTC {
        return "UTC".to_owned();
    }
    t.strftime("%Z").to_string()
}

fn write_offset(seconds: i32, colon: bool, minutes: bool, z: bool) -> String {
    if z && seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let total_minutes = seconds.abs() / 60;
    let (hours, rest) = (total_minutes / 60, total_minutes % 60);
    match (minutes, colon) {
        (false, _) => format!("{sign}{hours:02}"),
        (true, true) => format!("{sign}{hours:02}:{rest:02}"),
        (true, false) => format!("{sign}{hours:02}{rest:02}"),
    }
}

/// What has been read of a time so far.
#[derive(Debug)]
struct Parts {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    afternoon: Option<bool>,
    offset_seconds: Option<i32>,
}

/// Reads `text` in `layout`; without an offset in it, it is a wall clock time in `zone`.
pub(super) fn parse(layout: &str, text: &str, zone: &TimeZone) -> Result<Time, String> {
    let fail = || {
        let (text, layout) = (units::excerpt(text), units::excerpt(layout));
        format!("parsing time {text:?} as {layout:?}: cannot parse")
    };
    let mut parts = Parts {
        year: 0,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        nanosecond: 0,
        afternoon: None,
        offset_seconds: None,
    };
    let mut rest = text;
    for element in elements(layout) {
        rest = read_element(element, rest, &mut parts).ok_or_else(fail)?;
    }
    if !rest.is_empty() {
        return Err(fail());
    }
    finish(&parts, zone).ok_or_else(fail)
}

fn finish(parts: &Parts, zone: &TimeZone) -> Option<Time> {
    let hour = match parts.afternoon {
        Some(true) if parts.hour < 12 => parts.hour + 12,
        Some(false) if parts.hour == 12 => 0,
        _ => parts.hour,
    };
    let date = Date::new(parts.year, parts.month, parts.day).ok()?;
    let clock = Clock::new(hour, parts.minute, parts.second, parts.nanosecond).ok()?;
    let zone = match parts.offset_seconds {
        Some(0) => TimeZone::UTC,
        Some(seconds) => TimeZone::fixed(Offset::from_seconds(seconds).ok()?),
        None => zone.clone(),
    };
    let zoned = DateTime::from_parts(date, clock).to_zoned(zone.clone()).ok()?;
    Some(Time { t_ns: zoned.timestamp().as_nanosecond(), zone })
}

fn read_element<'t>(element: Element<'_>, rest: &'t str, parts: &mut Parts) -> Option<&'t str> {
    let number = |rest: &'t str, min: usize, max: usize| -> Option<(i32, &'t str)> {
        let len = rest.bytes().take(max).take_while(u8::is_ascii_digit).count();
        let (digits, tail) = rest.split_at(len);
        if len < min { None } else { Some((digits.parse().ok()?, tail)) }
    };
    let short = |rest: &'t str, padded: bool| -> Option<(i8, &'t str)> {
        let (n, tail) = number(rest, if padded { 2 } else { 1 }, 2)?;
        Some((i8::try_from(n).ok()?, tail))
    };
    match element {
        Element::Literal(text) => rest.strip_prefix(text),
        Element::Year4 => {
            let (year, tail) = number(rest, 4, 4)?;
            parts.year = i16::try_from(year).ok()?;
            Some(tail)
        }
        Element::Year2 => {
            let (year, tail) = number(rest, 2, 2)?;
            parts.year = i16::try_from(if year >= 69 { 1900 + year } else { 2000 + year }).ok()?;
            Some(tail)
        }
        Element::MonthName | Element::MonthShort => {
            let (index, tail) = name_at(&MONTHS, rest, element == Element::MonthShort)?;
            parts.month = i8::try_from(index + 1).ok()?;
            Some(tail)
        }
        Element::WeekdayName => name_at(&WEEKDAYS, rest, false).map(|(_, tail)| tail),
        Element::WeekdayShort => name_at(&WEEKDAYS, rest, true).map(|(_, tail)| tail),
        Element::Month { padded } => assign(&mut parts.month, short(rest, padded)?),
        Element::Day { pad } => {
            let rest = if pad == Some(' ') { rest.trim_start_matches(' ') } else { rest };
            assign(&mut parts.day, short(rest, pad == Some('0'))?)
        }
        Element::DayOfYear => number(rest, 3, 3).map(|(_, tail)| tail),
        Element::Hour24 => assign(&mut parts.hour, short(rest, true)?),
        Element::Hour12 { padded } => assign(&mut parts.hour, short(rest, padded)?),
        Element::Minute { padded } => assign(&mut parts.minute, short(rest, padded)?),
        Element::Second { padded } => {
            let tail = assign(&mut parts.second, short(rest, padded)?)?;
            // A fraction may follow the seconds even where the layout has none.
            Some(read_fraction(tail, parts).unwrap_or(tail))
        }
        Element::HalfDay { .. } => {
            let (word, tail) = rest.split_at_checked(2)?;
            parts.afternoon = Some(word.eq_ignore_ascii_case("pm"));
            (parts.afternoon == Some(true) || word.eq_ignore_ascii_case("am")).then_some(tail)
        }
        // The seconds in front took the digits already.
        Element::Fraction { .. } => Some(read_fraction(rest, parts).unwrap_or(rest)),
        Element::ZoneName => {
            let len = rest.bytes().take_while(u8::is_ascii_uppercase).count();
            (3..=5).contains(&len).then(|| rest.split_at(len).1)
        }
        Element::Offset { colon, minutes, z } => read_offset(rest, colon, minutes, z, parts),
    }
}

fn assign<'t>(slot: &mut i8, (value, tail): (i8, &'t str)) -> Option<&'t str> {
    *slot = value;
    Some(tail)
}

fn read_fraction<'t>(rest: &'t str, parts: &mut Parts) -> Option<&'t str> {
    let tail = rest.strip_prefix(['.', ','])?;
    let len = tail.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, tail) = tail.split_at(len);
    if digits.is_empty() {
        return None;
    }
    parts.nanosecond = format!("{digits:0<9}").get(..9)?.parse().ok()?;
    Some(tail)
}

fn read_offset<'t>(
    rest: &'t str,
    colon: bool,
    minutes: bool,
    z: bool,
    parts: &mut Parts,
) -> Option<&'t str> {
    if z && let Some(tail) = rest.strip_prefix('Z') {
        parts.offset_seconds = Some(0);
        return Some(tail);
    }
    let sign = match rest.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, mut tail) = rest.split_at(1).1.split_at_checked(2)?;
    let mut seconds = hours.parse::<u8>().ok().map(|h| i32::from(h) * 3600)?;
    if minutes {
        tail = if colon { tail.strip_prefix(':')? } else { tail };
        let (digits, after) = tail.split_at_checked(2)?;
        seconds += digits.parse::<u8>().ok().map(|m| i32::from(m) * 60)?;
        tail = after;
    }
    parts.offset_seconds = Some(sign * seconds);
    Some(tail)
}

/// Which of `names` the text starts with.
fn name_at<'t>(names: &[&str], rest: &'t str, is_short: bool) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(i, name)| {
        let name = if is_short { name.get(..3).unwrap_or(name) } else { name };
        let (head, tail) = rest.split_at_checked(name.len())?;
        head.eq_ignore_ascii_case(name).then_some((i, tail))
    })
}

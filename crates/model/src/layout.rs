//! Times in Go's reference layout (`2006-01-02T15:04:05.000Z07:00`), with which Loki's templates and Promtail's stages
//! describe times: writing and reading.

use jiff::Zoned;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

/// A layout, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    text: Box<str>,
    elements: Vec<Element>,
}

/// A time as it was read: what a clock on the wall showed, and how far that clock was from UTC if the text says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallTime {
    /// Date and time; the year is 0 when the layout has none.
    pub time: DateTime,
    /// Seconds east of UTC.
    pub offset_seconds: Option<i32>,
}

/// One element of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    /// Bytes `[start, end)` of the layout.
    Literal {
        start: usize,
        end: usize,
    },
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

const ELEMENTS: &[(&str, Element)] = &[
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

impl Layout {
    /// Takes `text` apart; every text is a layout, what is no element of a time stands for itself.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), elements: elements(text) }
    }

    /// Whether times in this layout say their year.
    pub fn has_year(&self) -> bool {
        self.elements.iter().any(|e| matches!(e, Element::Year2 | Element::Year4))
    }

    /// `time` in this layout.
    pub fn write(&self, time: &Zoned) -> String {
        self.elements.iter().map(|element| write_element(&self.text, *element, time)).collect()
    }

    /// Reads `text`, all of it; `None` when it does not fit the layout or is no time.
    pub fn read(&self, text: &str) -> Option<WallTime> {
        let mut parts = Parts {
            year: 0,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            nanosecond: 0,
            day_of_year: None,
            afternoon: None,
            offset_seconds: None,
        };
        let mut rest = text;
        for element in &self.elements {
            rest = read_element(&self.text, *element, rest, &mut parts)?;
        }
        if rest.is_empty() { finish(&parts) } else { None }
    }
}

impl WallTime {
    /// The moment; without an offset of its own it is the time in `zone`. `None` beyond the years that can be.
    pub fn to_zoned(&self, zone: &TimeZone) -> Option<Zoned> {
        let zone = match self.offset_seconds {
            Some(0) => TimeZone::UTC,
            Some(seconds) => TimeZone::fixed(Offset::from_seconds(seconds).ok()?),
            None => zone.clone(),
        };
        self.time.to_zoned(zone).ok()
    }
}

/// The zone called `name`, as `Europe/Berlin`; `""` and `Local` are UTC. `None` when there is no such zone.
pub fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" | "Local" => Some(TimeZone::UTC),
        _ => TimeZone::get(name).ok(),
    }
}

fn elements(layout: &str) -> Vec<Element> {
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
            out.push(Element::Literal { start: literal_start, end: at });
        }
        out.push(element);
        at += len;
        literal_start = at;
    }
    if literal_start < layout.len() {
        out.push(Element::Literal { start: literal_start, end: layout.len() });
    }
    out
}

/// `.000` or `,999`, not followed by another digit.
fn fraction(rest: &str) -> Option<(Element, usize)> {
    let separator = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let tail = rest.split_at(1).1;
    let digit = tail.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = tail.chars().take_while(|c| *c == digit).count();
    if tail.split_at(digits).1.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some((Element::Fraction { separator, digits, trims: digit == '9' }, digits + 1))
}

fn write_element(layout: &str, element: Element, t: &Zoned) -> String {
    let padded = |n: i8, padded: bool| if padded { format!("{n:02}") } else { n.to_string() };
    match element {
        Element::Literal { start, end } => layout.get(start..end).unwrap_or("").to_owned(),
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
    day_of_year: Option<i16>,
    afternoon: Option<bool>,
    offset_seconds: Option<i32>,
}

fn finish(parts: &Parts) -> Option<WallTime> {
    let hour = match parts.afternoon {
        Some(true) if parts.hour < 12 => parts.hour + 12,
        Some(false) if parts.hour == 12 => 0,
        _ => parts.hour,
    };
    let date = match parts.day_of_year {
        Some(day) => Date::new(parts.year, 1, 1).ok()?.with().day_of_year(day).build().ok()?,
        None => Date::new(parts.year, parts.month, parts.day).ok()?,
    };
    let clock = Time::new(hour, parts.minute, parts.second, parts.nanosecond).ok()?;
    let time = DateTime::from_parts(date, clock);
    Some(WallTime { time, offset_seconds: parts.offset_seconds })
}

fn read_element<'t>(
    layout: &str,
    element: Element,
    rest: &'t str,
    parts: &mut Parts,
) -> Option<&'t str> {
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
        Element::Literal { start, end } => rest.strip_prefix(layout.get(start..end)?),
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
        Element::DayOfYear => {
            let (day, tail) = number(rest, 3, 3)?;
            parts.day_of_year = Some(i16::try_from(day).ok()?);
            Some(tail)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_read_and_write() {
        let check = |layout: &str, text: &str, expected: Option<&str>| {
            let read = Layout::new(layout).read(text).and_then(|t| t.to_zoned(&TimeZone::UTC));
            assert_eq!(
                read.map(|t| t.timestamp().to_string()).as_deref(),
                expected,
                "{text:?} as {layout:?}"
            );
        };
        check(
            "2006-01-02T15:04:05Z07:00",
            "2026-11-23T02:50:23+01:00",
            Some("2026-11-23T01:50:23Z"),
        );
        check("02/Jan/2006:15:04:05 -0700", "1/Jan/2026:15:04:05 -0700", None);
        check(
            "2/Jan/2006:15:04:05 -0700",
            "1/Jan/2026:15:04:05 -0700",
            Some("2026-01-01T22:04:05Z"),
        );
        check(
            "2006-01-02 15:04:05,000",
            "2026-11-23 02:50:23,125",
            Some("2026-11-23T02:50:23.125Z"),
        );
        check("2006 002", "2026 045", Some("2026-02-14T00:00:00Z"));
        check("2006-01-02", "2026-02-30", None);
        check("2006-01-02", "2026-02-03 ", None);
        assert!(!Layout::new("Jan _2 15:04:05").has_year());
    }

    const DEFAULT: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

    #[test]
    fn what_is_written_is_read_again() {
        let time = Layout::new(DEFAULT).read("2026-11-23 02:50:23.5 +0000 UTC").unwrap();
        let zoned = time.to_zoned(&TimeZone::UTC).unwrap();
        assert_eq!(Layout::new(DEFAULT).write(&zoned), "2026-11-23 02:50:23.5 +0000 UTC");
        assert_eq!(Layout::new("Jan _2 3PM (.000)").write(&zoned), "Nov 23 2AM (.500)");
    }
}

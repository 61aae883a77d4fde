//! RFC 3164, as programs write it: `TIME HOST TAG[PID]: TEXT`, behind the priority.
//!
//! The time is `Oct  9 22:33:20`, also with a fraction or a year (`Oct  9 2023 22:33:20`, `Oct  9 22:33:20 2023`), or RFC
//! 3339's. The host may be missing, as programs leave it out that write to the local daemon. A tag ends with a colon
//! or has a process id; anything else is text, as in `CEF:0|…`.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::{Format, Message};
use crate::pushed_lines::{Sent, rfc3339_ns};

/// Bytes of a tag.
const TAG_BYTES_MAX: usize = 128;
/// How far ahead of its arrival a time without a year may be.
const AHEAD_NS_MAX: i64 = 86_400_000_000_000;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Reads `text`; `None` if no time stands at its beginning.
pub(super) fn read<'a>(text: &'a str, zone: &TimeZone, now_ns: i64) -> Option<Message<'a>> {
    let (t_ns, rest) = match text.split_once(' ') {
        Some((word, rest)) if word.len() >= 20 && rfc3339_ns(word).is_some() => {
            (rfc3339_ns(word)?, rest)
        }
        _ => {
            let (stamp, rest) = Stamp::read(text)?;
            (stamp.time_ns(zone, now_ns)?, rest)
        }
    };
    let rest = rest.trim_start_matches(' ');
    let (host, rest) = host(rest);
    let (app_name, proc_id, text) = tag(rest).unwrap_or(("", "", rest));
    Some(Message {
        format: Format::Rfc3164,
        sent: Sent::At(t_ns),
        host,
        app_name,
        proc_id,
        ..Message::bare(text)
    })
}

/// The host and what follows; none if a tag stands in its place.
fn host(text: &str) -> (&str, &str) {
    let word_end = text.find(' ').unwrap_or(text.len());
    let (word, rest) = text.split_at(word_end);
    let is_host = !word.is_empty()
        && !rest.is_empty()
        && !word.ends_with(':')
        && !word.contains(['[', ']', '(', '"', '=']);
    if is_host { (word, rest.strip_prefix(' ').unwrap_or(rest)) } else { ("", text) }
}

/// Tag, process id and text.
fn tag(text: &str) -> Option<(&str, &str, &str)> {
    let end = text.find([':', '[', ' '])?;
    let (tag, rest) = text.split_at(end);
    if tag.is_empty() || tag.len() > TAG_BYTES_MAX {
        return None;
    }
    let (proc_id, rest) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (proc_id, rest) = inner.split_once(']')?;
            if proc_id.contains(' ') {
                return None;
            }
            (proc_id, rest.strip_prefix(':').unwrap_or(rest))
        }
        None => ("", rest.strip_prefix(':')?),
    };
    match rest.strip_prefix(' ') {
        Some(text) => Some((tag, proc_id, text)),
        // Without a space it is no tag, unless a process id says so.
        None if rest.is_empty() || !proc_id.is_empty() => Some((tag, proc_id, rest)),
        None => None,
    }
}

/// A time without a zone, perhaps without a year.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    month: i8,
    day: i8,
    time: Time,
    year: Option<i16>,
}

impl Stamp {
    /// The stamp at the beginning, and what follows.
    fn read(text: &str) -> Option<(Self, &str)> {
        let month = text.get(..3)?;
        let month = MONTHS.iter().position(|name| month.eq_ignore_ascii_case(name))?;
        let rest = text.get(3..)?.strip_prefix(' ')?.trim_start_matches(' ');
        let (day, rest) = rest.split_once(' ')?;
        let day = number(day, 1..=31)?;
        let rest = rest.trim_start_matches(' ');
        let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let (year, time, rest) = match year(first) {
            Some(year) => {
                let after = after.trim_start_matches(' ');
                let (time, after) = after.split_once(' ').unwrap_or((after, ""));
                (Some(year), time, after)
            }
            None => match after.split_once(' ') {
                Some((word, rest)) if year(word).is_some() => (year(word), first, rest),
                _ => (None, first, after),
            },
        };
        let stamp = Self {
            month: i8::try_from(month + 1).ok()?,
            day: i8::try_from(day).ok()?,
            time: clock_time(time.trim_end_matches(':'))?,
            year,
        };
        Some((stamp, rest))
    }

    /// The moment it stands for, Unix nanoseconds.
    fn time_ns(&self, zone: &TimeZone, now_ns: i64) -> Option<i64> {
        let in_year = |year: i16| {
            let date = Date::new(year, self.month, self.day).ok()?;
            let moment = zone.to_timestamp(DateTime::from_parts(date, self.time)).ok()?;
            i64::try_from(moment.as_nanosecond()).ok()
        };
        if let Some(year) = self.year {
            return in_year(year);
        }
        let now = jiff::Timestamp::from_nanosecond(i128::from(now_ns)).ok()?;
        let this = zone.to_datetime(now).year();
        // The last one it can have been; on New Year's Eve clocks disagree about the year, and a leap day is in few of them.
        let newest_ns = now_ns.saturating_add(AHEAD_NS_MAX);
        let years = [this + 1, this, this - 1, this - 2, this - 3, this - 4];
        years.into_iter().filter_map(in_year).find(|t_ns| *t_ns <= newest_ns)
    }
}

fn number(text: &str, range: std::ops::RangeInclusive<u16>) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = if is_number { text.parse().ok()? } else { return None };
    range.contains(&number).then_some(number)
}

fn year(word: &str) -> Option<i16> {
    if word.len() != 4 {
        return None;
    }
    number(word, 1970..=9998).and_then(|year| i16::try_from(year).ok())
}

/// `22:33:20`, `22:33:20.125`
fn clock_time(text: &str) -> Option<Time> {
    let mut parts = text.splitn(3, ':');
    let mut next = |max| number(parts.next()?, 0..=max);
    let (hour, minute) = (next(23)?, next(59)?);
    let last = parts.next()?;
    let (second, fraction) = last.split_once(['.', ',']).unwrap_or((last, "0"));
    // A leap second is the second before it.
    let second = number(second, 0..=60)?.min(59);
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let small = |n: u16| i8::try_from(n).ok();
    Time::new(small(hour)?, small(minute)?, small(second)?, digits.parse().ok()?).ok()
}

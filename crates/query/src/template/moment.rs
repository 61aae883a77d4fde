//! Moments and durations, and what templates can call on them, as on Go's `time.Time` and `time.Duration`.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use model::layout::Layout;

use super::function::{Function, Param};
use super::value::Value;

/// How a moment prints when no layout is given.
const DEFAULT_LAYOUT: &str = "2006-01-02 15:04:05.999999999 -0700 MST";
/// Unix seconds of the year 1, Go's time of nothing.
const ZERO_SECONDS: i128 = -62_135_596_800;

/// A moment and the zone it is shown in.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Unix nanoseconds.
    pub t_ns: i128,
    /// Where the clock on the wall hangs.
    pub zone: TimeZone,
}

impl Moment {
    /// A moment in UTC.
    pub fn utc(t_ns: impl Into<i128>) -> Self {
        Self { t_ns: t_ns.into(), zone: TimeZone::UTC }
    }

    /// Go's time of nothing, in the year 1.
    pub fn zero() -> Self {
        Self::utc(ZERO_SECONDS * 1_000_000_000)
    }

    /// It in `layout`, as Go describes layouts; moments out of range print as their Unix nanoseconds.
    pub fn format(&self, layout: &str) -> String {
        match self.zoned() {
            Ok(zoned) => Layout::new(layout).write(&zoned),
            Err(_) => self.t_ns.to_string(),
        }
    }

    /// It as an action prints it.
    pub fn to_text(&self) -> String {
        self.format(DEFAULT_LAYOUT)
    }

    fn zoned(&self) -> Result<Zoned, String> {
        let timestamp = Timestamp::from_nanosecond(self.t_ns);
        let timestamp = timestamp.map_err(|_| format!("time {} ns is out of range", self.t_ns))?;
        Ok(timestamp.to_zoned(self.zone.clone()))
    }
}

/// `ns` nanoseconds as Go prints a duration: `1h30m0s`, `1.5s`, `0s`.
pub fn duration_text(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let all = ns.unsigned_abs();
    let decimal = |unit_ns: u64, value: u64| {
        let digits = unit_ns.ilog10() as usize;
        let fraction = format!("{:0digits$}", value % unit_ns);
        let fraction = if digits == 0 { "" } else { fraction.trim_end_matches('0') };
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{}{point}{fraction}", value / unit_ns)
    };
    match all {
        0 => "0s".to_owned(),
        1..=999 => format!("{sign}{all}ns"),
        1000..=999_999 => format!("{sign}{}µs", decimal(1000, all)),
        1_000_000..=999_999_999 => format!("{sign}{}ms", decimal(1_000_000, all)),
        _ => {
            let minutes = all / 60_000_000_000;
            let seconds = decimal(1_000_000_000, all % 60_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

fn moment(args: &[Value]) -> Result<&Moment, String> {
    args.iter().find_map(as_moment).ok_or_else(|| "not a time".to_owned())
}

fn as_moment(value: &Value) -> Option<&Moment> {
    match value {
        Value::Time(moment) => Some(moment),
        _ => None,
    }
}

fn other(args: &[Value]) -> Result<&Moment, String> {
    moment(args.get(1..).unwrap_or(&[]))
}

fn argument(args: &[Value], index: usize) -> &Value {
    args.get(index).unwrap_or(&Value::Nil)
}

fn whole(value: i128) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX }))
}

fn unix(args: &[Value], unit_ns: i128) -> Result<Value, String> {
    Ok(whole(moment(args)?.t_ns.div_euclid(unit_ns)))
}

fn part(args: &[Value], of: fn(&Zoned) -> i64) -> Result<Value, String> {
    Ok(Value::Int(of(&moment(args)?.zoned()?)))
}

/// The duration from the second moment to the first, as far as 292 years.
fn between(a: &Moment, b: &Moment) -> Value {
    let Value::Int(ns) = whole(a.t_ns - b.t_ns) else { return Value::Nil };
    Value::Duration(ns)
}

/// What can be called on a moment.
pub(super) static TIME_METHODS: &[Function] = &[
    Function::new("Format", &[Param::Text], |a| {
        Ok(Value::Text(moment(a)?.format(argument(a, 1).as_text())))
    }),
    Function::new("String", &[], |a| Ok(Value::Text(moment(a)?.to_text()))),
    Function::new("Unix", &[], |a| unix(a, 1_000_000_000)),
    Function::new("UnixMilli", &[], |a| unix(a, 1_000_000)),
    Function::new("UnixMicro", &[], |a| unix(a, 1000)),
    Function::new("UnixNano", &[], |a| unix(a, 1)),
    Function::new("UTC", &[], |a| Ok(Value::Time(Moment::utc(moment(a)?.t_ns)))),
    Function::new("Local", &[], |a| {
        Ok(Value::Time(Moment { t_ns: moment(a)?.t_ns, zone: TimeZone::system() }))
    }),
    Function::new("Add", &[Param::Duration], |a| {
        let Moment { t_ns, zone } = moment(a)?.clone();
        Ok(Value::Time(Moment { t_ns: t_ns + i128::from(argument(a, 1).as_int()), zone }))
    }),
    Function::new("Sub", &[Param::Time], |a| Ok(between(moment(a)?, other(a)?))),
    Function::new("Before", &[Param::Time], |a| Ok(Value::Bool(moment(a)?.t_ns < other(a)?.t_ns))),
    Function::new("After", &[Param::Time], |a| Ok(Value::Bool(moment(a)?.t_ns > other(a)?.t_ns))),
    Function::new("Equal", &[Param::Time], |a| Ok(Value::Bool(moment(a)?.t_ns == other(a)?.t_ns))),
    Function::new("Compare", &[Param::Time], |a| {
        Ok(Value::Int(moment(a)?.t_ns.cmp(&other(a)?.t_ns) as i64))
    }),
    Function::new("IsZero", &[], |a| Ok(Value::Bool(moment(a)?.t_ns == Moment::zero().t_ns))),
    Function::new("AddDate", &[Param::Int, Param::Int, Param::Int], |a| {
        let zoned = moment(a)?.zoned()?;
        let days = i64::from(zoned.day()) - 1;
        // January 31 and a month is March 3: days are counted on from the first of the month.
        let zoned = zoned.first_of_month().map_err(|e| e.to_string())?;
        let number = |i| argument(a, i).as_int();
        let span = jiff::Span::new()
            .try_years(number(1))
            .and_then(|s| s.try_months(number(2)))
            .and_then(|s| s.try_days(number(3).saturating_add(days)));
        let span = span.map_err(|e| e.to_string())?;
        let moved = zoned.checked_add(span).map_err(|e| e.to_string())?;
        let t_ns = moved.timestamp().as_nanosecond();
        Ok(Value::Time(Moment { t_ns, zone: moved.time_zone().clone() }))
    }),
    Function::new("Year", &[], |a| part(a, |t| i64::from(t.year()))),
    Function::new("Day", &[], |a| part(a, |t| i64::from(t.day()))),
    Function::new("Hour", &[], |a| part(a, |t| i64::from(t.hour()))),
    Function::new("Minute", &[], |a| part(a, |t| i64::from(t.minute()))),
    Function::new("Second", &[], |a| part(a, |t| i64::from(t.second()))),
    Function::new("Nanosecond", &[], |a| part(a, |t| i64::from(t.subsec_nanosecond()))),
    Function::new("YearDay", &[], |a| part(a, |t| i64::from(t.day_of_year()))),
    Function::new("Month", &[], |a| Ok(Value::Text(moment(a)?.format("January")))),
    Function::new("Weekday", &[], |a| Ok(Value::Text(moment(a)?.format("Monday")))),
];

fn ns(args: &[Value]) -> i64 {
    argument(args, 0).as_int()
}

/// What can be called on a duration.
pub(super) static DURATION_METHODS: &[Function] = &[
    Function::new("String", &[], |a| Ok(Value::Text(duration_text(ns(a))))),
    Function::new("Hours", &[], |a| Ok(Value::Float(ns(a) as f64 / 3.6e12))),
    Function::new("Minutes", &[], |a| Ok(Value::Float(ns(a) as f64 / 6e10))),
    Function::new("Seconds", &[], |a| Ok(Value::Float(ns(a) as f64 / 1e9))),
    Function::new("Milliseconds", &[], |a| Ok(Value::Int(ns(a) / 1_000_000))),
    Function::new("Microseconds", &[], |a| Ok(Value::Int(ns(a) / 1000))),
    Function::new("Nanoseconds", &[], |a| Ok(Value::Int(ns(a)))),
    Function::new("Abs", &[], |a| Ok(Value::Duration(ns(a).saturating_abs()))),
    Function::new("Truncate", &[Param::Duration], |a| {
        let unit = argument(a, 1).as_int();
        Ok(Value::Duration(if unit <= 0 { ns(a) } else { ns(a) - ns(a) % unit }))
    }),
    Function::new("Round", &[Param::Duration], |a| {
        let (ns, unit) = (ns(a), argument(a, 1).as_int());
        if unit <= 0 {
            return Ok(Value::Duration(ns));
        }
        let rest = ns % unit;
        // Halves away from zero.
        let up = rest.unsigned_abs() >= unit.unsigned_abs() - rest.unsigned_abs();
        let whole = ns - rest;
        let step = if up { unit * ns.signum() } else { 0 };
        Ok(Value::Duration(whole.saturating_add(step)))
    }),
];
